//! The environment abstraction layer: initialised once, outlives everything made from it.

use std::ffi::{CStr, CString, c_char};
use std::os::raw::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Error, LcoreHandle, Mbuf, Mempool};

/// What the environment is started with.
#[derive(Debug, Clone)]
pub struct EalOptions {
    /// File prefix: names the run-time directory of this instance.
    pub name: String,
    /// Hugepage memory taken at start, in MiB.
    pub memory_mib: u32,
    /// Ordinary pages instead of hugepages: for tests of what needs no real device memory.
    pub no_huge: bool,
    /// Cores of the calling thread, which becomes the main lcore.
    pub main_cores: Vec<u16>,
    /// One pinned worker lcore on each; lcore ids are `1..=worker_cores.len()` in this order.
    pub worker_cores: Vec<u16>,
    /// PCI devices that may be probed; with none the PCI bus is left alone.
    pub pci_devices: Vec<String>,
    /// Whether DPDK's own informational messages are shown, beside its errors.
    pub verbose: bool,
}

impl EalOptions {
    /// An environment for tests: no hugepages, no PCI, nothing left on disk.
    pub fn for_tests(worker_cores: Vec<u16>) -> Self {
        EalOptions {
            name: format!("voxlane-test-{}", std::process::id()),
            memory_mib: 128,
            no_huge: true,
            main_cores: super::allowed_cores(),
            worker_cores,
            pci_devices: Vec::new(),
            verbose: false,
        }
    }

    fn arguments(&self) -> Vec<String> {
        let cores = |cores: &[u16]| {
            let list: Vec<_> = cores.iter().map(u16::to_string).collect();
            format!("({})", list.join(","))
        };
        let mut lcores = format!("0@{}", cores(&self.main_cores));
        for (position, core) in self.worker_cores.iter().enumerate() {
            lcores.push_str(&format!(",{}@{core}", position + 1));
        }
        // Without hugepages DPDK 22.11 falls back to its legacy allocator, which refuses --in-memory.
        let no_files = if self.no_huge { "--no-shconf" } else { "--in-memory" };
        let mut arguments: Vec<String> =
            ["voxlane", no_files, "--no-telemetry", "--main-lcore=0"].map(str::to_owned).to_vec();
        arguments.push(format!("--file-prefix={}", self.name));
        arguments.push(format!("--lcores={lcores}"));
        arguments.push(format!("--log-level=*:{}", if self.verbose { "info" } else { "error" }));
        arguments.push("-m".to_owned());
        arguments.push(self.memory_mib.to_string());
        if self.no_huge {
            arguments.push("--no-huge".to_owned());
        }
        if self.pci_devices.is_empty() {
            arguments.push("--no-pci".to_owned());
        }
        for device in &self.pci_devices {
            arguments.push("-a".to_owned());
            arguments.push(device.clone());
        }
        arguments
    }
}

/// The running environment.
#[derive(Clone)]
pub struct Eal(Arc<EalInner>);

pub(super) struct EalInner {
    worker_lcores: u32,
    /// Whether an lcore has [parked](super::lockdown::park) and so will never be free again.
    parked: AtomicBool,
}

static INITIALISED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Initialises DPDK. The calling thread becomes the main lcore and is pinned to `main_cores`.
    ///
    /// Memory is taken without files (`--in-memory`), so a process that is killed leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialised`] on a second call in one process; [`Error::VersionMismatch`] and
    /// [`Error::MbufLayout`] when the libraries are not those that the binary was built for; [`Error::Call`].
    pub fn init(options: &EalOptions) -> Result<Self, Error> {
        check_version()?;
        if INITIALISED.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyInitialised);
        }
        let arguments = options
            .arguments()
            .into_iter()
            .map(|argument| CString::new(argument.clone()).map_err(|_| Error::NulByte { value: argument }))
            .collect::<Result<Vec<_>, _>>()?;
        // getopt permutes this array, so it is a copy of pointers, and the strings outlive the call.
        let mut argv: Vec<*mut c_char> = arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
        argv.push(std::ptr::null_mut());
        // SAFETY: argc/argv describe NUL-terminated strings that outlive the call; this is the only call.
        let status = unsafe { dpdk_sys::rte_eal_init((argv.len() - 1) as c_int, argv.as_mut_ptr()) };
        if status < 0 {
            return Err(Error::from_status(
                format!("starting the DPDK environment with {} MiB of memory", options.memory_mib),
                -1,
            ));
        }
        // EAL may keep pointers into its arguments for as long as the process lives.
        Box::leak(arguments.into_boxed_slice());
        let eal = Eal(Arc::new(EalInner {
            worker_lcores: options.worker_cores.len() as u32,
            parked: AtomicBool::new(false),
        }));
        let probe = Mempool::new(&eal, "voxlane_selfcheck", 15, 0, 2048, None)?;
        Mbuf::check_layout(&probe)?;
        Ok(eal)
    }

    /// Frequency of [`super::cycles`], in Hz.
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: reads a value that initialisation computed.
        unsafe { dpdk_sys::rte_get_tsc_hz() }
    }

    /// DPDK's run-time version, such as `DPDK 22.11.11`.
    pub fn version() -> String {
        // SAFETY: rte_version returns a static NUL-terminated string.
        unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy().into_owned()
    }

    /// Runs `work` on worker lcore `lcore` (1-based position in [`EalOptions::worker_cores`]).
    ///
    /// # Errors
    /// [`Error::UnknownLcore`]; [`Error::Call`] when the lcore is still busy.
    pub fn launch<T: Send + 'static>(
        &self,
        lcore: u32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<LcoreHandle<T>, Error> {
        if lcore == 0 || lcore > self.0.worker_lcores {
            return Err(Error::UnknownLcore { lcore });
        }
        LcoreHandle::launch(self.inner(), lcore, work)
    }

    pub(super) fn inner(&self) -> Arc<EalInner> {
        Arc::clone(&self.0)
    }
}

impl EalInner {
    pub(super) fn note_parked_lcore(&self) {
        self.parked.store(true, Ordering::Release);
    }
}

impl Drop for EalInner {
    fn drop(&mut self) {
        // Cleaning up waits for every lcore to be free (rte_service_finalize, 22.11). There is nothing to clean up that
        // the end of the process does not: no files, and ports and pools are gone by now.
        if *self.parked.get_mut() {
            return;
        }
        // SAFETY: everything made from the environment held a clone of it and is gone.
        unsafe { dpdk_sys::rte_eal_cleanup() };
    }
}

/// A structure's layout may change with every (ABI) release, so year and month must agree.
fn check_version() -> Result<(), Error> {
    let built = format!("{}.{:02}", dpdk_sys::VX_BUILD_VERSION_YEAR, dpdk_sys::VX_BUILD_VERSION_MONTH);
    let running = Eal::version();
    if running.split_whitespace().last().is_some_and(|version| version.starts_with(&built)) {
        return Ok(());
    }
    Err(Error::VersionMismatch { built, running })
}
