//! What the machine must offer before the gateway starts; each refusal is one sentence with the command that
//! mends it.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::config::{Config, Device};
use super::placement::{PlacementError, Topology};
use crate::dpdk;

/// Where the locks of running gateways and the sockets of demos are.
pub const RUNTIME_DIRECTORY: &str = "/run/voxlane";

/// Where the index journals of running gateways are: always a memory file system, while `/run` is one only
/// where the distribution's init made it so.
pub const INDEX_DIRECTORY: &str = "/dev/shm/voxlane";

const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";

/// Why the gateway refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Not enough privilege.
    #[error("voxlane needs root for hugepages and devices; run it with sudo or as a service")]
    NotRoot,
    /// Workers and control cannot run where they are to run.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// Another gateway polls on the core.
    #[error(
        "core {core} is taken by the gateway with process id {pid}; choose another worker core, or stop that gateway: kill {pid}"
    )]
    CoreTaken {
        /// The core.
        core: u16,
        /// The other gateway's process id.
        pid: String,
    },
    /// A gateway of the same name runs.
    #[error(
        "a gateway named {name:?} is already running (pid {pid}); stop it with: kill {pid}, or change [gateway] name"
    )]
    AlreadyRunning {
        /// The name.
        name: String,
        /// Its process id.
        pid: String,
    },
    /// Too few free hugepages.
    #[error(
        "[memory] hugepages_mib = {wanted} but {free} MiB of hugepages are free; reserve them with: sysctl -w vm.nr_hugepages={remedy}"
    )]
    Hugepages {
        /// MiB that the configuration takes.
        wanted: u32,
        /// MiB that are free.
        free: u64,
        /// Value for the command.
        remedy: u64,
    },
    /// A network interface that a virtual device uses does not exist.
    #[error(
        "port {port:?} uses the network interface {interface}, which does not exist; create it, or name one that `ip link` lists"
    )]
    InterfaceMissing {
        /// The port.
        port: String,
        /// The interface.
        interface: String,
    },
    /// A PCI device does not exist.
    #[error(
        "port {port:?} uses the PCI device {address}, which does not exist; `dpdk-devbind.py --status-dev net` lists those that do"
    )]
    PciMissing {
        /// The port.
        port: String,
        /// The address.
        address: String,
    },
    /// A file could not be used.
    #[error("cannot use {path}: {reason}; check that the directory is writable")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
}

/// Held while the gateway runs; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct InstanceLock {
    _files: Vec<File>,
}

/// Checks the machine against `config` and takes the instance's and the cores' locks.
///
/// # Errors
/// [`PreflightError`], the first that applies.
pub fn check(config: &Config) -> Result<InstanceLock, PreflightError> {
    check_root()?;
    Topology::read(&dpdk::allowed_cores()).check_cores(&config.cores)?;
    check_devices(config)?;
    let lock = lock_instance(config, Path::new(RUNTIME_DIRECTORY))?;
    config.ports.iter().for_each(|port| remove_stale_socket(&port.device));
    check_hugepages(config.memory.hugepages_mib, Path::new(HUGEPAGES))?;
    Ok(lock)
}

fn check_root() -> Result<(), PreflightError> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1).map(str::to_owned));
    match effective.as_deref() {
        Some("0") => Ok(()),
        _ => Err(PreflightError::NotRoot),
    }
}

fn check_devices(config: &Config) -> Result<(), PreflightError> {
    for port in &config.ports {
        match &port.device {
            Device::Pci(address) => {
                if !Path::new("/sys/bus/pci/devices").join(address).exists() {
                    return Err(PreflightError::PciMissing {
                        port: port.name.clone(),
                        address: address.clone(),
                    });
                }
            }
            Device::Virtual(devargs) => {
                let interface = devargs.split(',').find_map(|argument| argument.strip_prefix("iface="));
                let takes_existing = ["net_af_packet", "net_af_xdp"].iter().any(|d| devargs.starts_with(d));
                if let Some(interface) = interface.filter(|_| takes_existing)
                    && !Path::new("/sys/class/net").join(interface).exists()
                {
                    return Err(PreflightError::InterfaceMissing {
                        port: port.name.clone(),
                        interface: interface.to_owned(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// A memif server that was killed leaves its socket file behind, and the driver refuses to start beside it. The
/// file goes if nobody listens on it; one that somebody uses stays, and the driver says so.
fn remove_stale_socket(device: &Device) {
    let Device::Virtual(devargs) = device else { return };
    let arguments: Vec<&str> = devargs.split(',').collect();
    if !devargs.starts_with("net_memif") || !arguments.contains(&"role=server") {
        return;
    }
    for path in arguments.iter().filter_map(|argument| argument.strip_prefix("socket=")) {
        let refused =
            UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if refused && fs::remove_file(path).is_ok() {
            tracing::info!(path, "removed the socket of a memif server that is gone");
        }
    }
}

/// `hugepages` is the sysfs directory with one folder per page size.
fn check_hugepages(wanted_mib: u32, hugepages: &Path) -> Result<(), PreflightError> {
    let number = |path: PathBuf| -> u64 {
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    let mut free_kib = 0;
    for entry in fs::read_dir(hugepages).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name.strip_prefix("hugepages-").and_then(|rest| rest.strip_suffix("kB"));
        let size: u64 = size.and_then(|kib| kib.parse().ok()).unwrap_or(0);
        free_kib += size * number(entry.path().join("free_hugepages"));
    }
    let free = free_kib / 1024;
    if free >= u64::from(wanted_mib) {
        return Ok(());
    }
    let present = number(hugepages.join("hugepages-2048kB/nr_hugepages"));
    let missing_pages = (u64::from(wanted_mib) - free).div_ceil(2);
    Err(PreflightError::Hugepages { wanted: wanted_mib, free, remedy: present + missing_pages })
}

fn lock_instance(config: &Config, directory: &Path) -> Result<InstanceLock, PreflightError> {
    fs::create_dir_all(directory)
        .map_err(|reason| PreflightError::File { path: directory.to_owned(), reason })?;
    let name = &config.gateway.name;
    let instance = lock_file(&directory.join(format!("{name}.lock")))?
        .map_err(|pid| PreflightError::AlreadyRunning { name: name.clone(), pid })?;
    let mut files = vec![instance];
    // A core on which workers share by choice can be shared with another gateway as well.
    let exclusive = config.cores.workers.iter().filter(|_| !config.cores.allow_shared);
    for &core in exclusive {
        let file = lock_file(&directory.join(format!("core-{core}.lock")))?
            .map_err(|pid| PreflightError::CoreTaken { core, pid })?;
        files.push(file);
    }
    Ok(InstanceLock { _files: files })
}

/// Takes the lock and writes our process id; the inner error is the id of the process that holds it.
fn lock_file(path: &Path) -> Result<Result<File, String>, PreflightError> {
    let failed = |reason| PreflightError::File { path: path.to_owned(), reason };
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            file.rewind().map_err(failed)?;
            write!(file, "{}", std::process::id()).map_err(failed)?;
            Ok(Ok(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(failed)?;
            Ok(Err(if pid.is_empty() { "unknown".to_owned() } else { pid }))
        }
        Err(TryLockError::Error(reason)) => Err(failed(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_sum_over_page_sizes_and_name_the_command() {
        let directory = std::env::temp_dir().join(format!("voxlane-hugepages-{}", std::process::id()));
        for (size, present, free) in [("hugepages-2048kB", 300, 10), ("hugepages-1048576kB", 1, 1)] {
            let folder = directory.join(size);
            fs::create_dir_all(&folder).expect("a temporary folder");
            fs::write(folder.join("nr_hugepages"), format!("{present}\n")).expect("a file");
            fs::write(folder.join("free_hugepages"), format!("{free}\n")).expect("a file");
        }
        assert!(check_hugepages(1044, &directory).is_ok(), "20 MiB + 1 GiB");
        let refused = check_hugepages(1045, &directory).expect_err("one too many").to_string();
        assert_eq!(
            refused,
            "[memory] hugepages_mib = 1045 but 1044 MiB of hugepages are free; \
             reserve them with: sysctl -w vm.nr_hugepages=301"
        );
        fs::remove_dir_all(&directory).expect("our own folder");
    }

    #[test]
    fn a_lock_is_exclusive_and_names_its_holder() {
        let path = std::env::temp_dir().join(format!("voxlane-lock-{}", std::process::id()));
        let held = lock_file(&path).expect("a temporary file").expect("nobody holds it");
        let refused = lock_file(&path).expect("a temporary file").expect_err("it is held");
        assert_eq!(refused, std::process::id().to_string());
        drop(held);
        assert!(lock_file(&path).expect("a temporary file").is_ok(), "free again at once");
        fs::remove_file(&path).expect("our own file");
    }
}
