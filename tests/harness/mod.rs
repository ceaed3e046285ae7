//! What the end-to-end tests share: the machine they need, namespaces joined to the gateway by veth pairs, the
//! gateway itself as a process, and the peers that talk to it (GStreamer, testpmd, voxload, hand-made frames).
//!
//! Every name carries the process id and a counter, every resource is given back by `Drop`, and nothing waits
//! by sleeping for a fixed time: [`wait_until`] polls a condition up to a deadline. One lock file serialises the
//! tests, because they share hugepages and cores.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of the harness")]
#![forbid(unsafe_code)]

pub mod aac;
pub mod audio;
pub mod call;
pub mod capture;
pub mod config_text;
pub mod frame;
pub mod gateway;
pub mod gstreamer;
pub mod libsrtp;
pub mod memif_site;
pub mod namespace;
pub mod process;
pub mod raw_socket;
pub mod scrape;
pub mod testpmd;
pub mod voxload;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use call::Phone;
pub use config_text::{ConfigText, LegText, PortText, SessionText};
pub use gateway::{Gateway, Stopped};
pub use memif_site::MemifSite;
pub use namespace::{Namespace, Veth};
pub use process::Process;
pub use scrape::Scrape;

/// Hugepages of 2 MiB that gateway, generator and testpmd need at once.
const HUGEPAGES: u64 = 1536;
const LOCK_FILE: &str = "/run/voxlane-tests.lock";
/// What all names of the tests start with.
const PREFIX: &str = "vxt";
/// Where gateways keep their locks.
const RUNTIME_DIRECTORY: &str = "/run/voxlane";
/// Where gateways keep their index journals.
const INDEX_DIRECTORY: &str = "/dev/shm/voxlane";
/// Where the kernel keeps the number of reserved hugepages.
const HUGEPAGES_FILE: &str = "/proc/sys/vm/nr_hugepages";

/// The machine, held by one test at a time, and a directory that goes away with it.
pub struct Machine {
    directory: tempfile::TempDir,
    _lock: File,
}

impl Machine {
    /// Waits for its turn, checks for root and reserves hugepages.
    pub fn take() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the end-to-end tests make namespaces and reserve hugepages: run them as root, `sudo make test`"
        );
        let lock = File::create(LOCK_FILE).unwrap_or_else(|error| panic!("cannot open {LOCK_FILE}: {error}"));
        lock.lock().unwrap_or_else(|error| panic!("cannot lock {LOCK_FILE}: {error}"));
        namespace::remove_leftovers();
        reserve_hugepages();
        let directory = tempfile::Builder::new()
            .prefix("voxlane-test-")
            .tempdir()
            .expect("the temporary directory is writable");
        Machine { directory, _lock: lock }
    }

    /// The test's own directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }
}

impl Drop for Machine {
    /// Removes the locks and journals of this process's gateways: their names hold its process id.
    fn drop(&mut self) {
        let ours = format!("{PREFIX}{}x", std::process::id());
        for directory in [RUNTIME_DIRECTORY, INDEX_DIRECTORY] {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&ours) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// A name that no other test uses: short enough for an interface with two more characters.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}x{number}", std::process::id())
}

/// Polls `condition` until it gives a value; panics after `limit`, naming `what` was waited for.
pub fn wait_until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails with the command that installs `program` if it is missing.
pub fn require(program: &str, package: &str) {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(found, "{program} is missing: apt-get install -y {package}");
}

/// Runs `command` to its end and returns what it printed; panics with its errors if it fails.
pub fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let _ = write!(text, "{}", String::from_utf8_lossy(&output.stderr));
        panic!("{command:?} ended with {}:\n{text}", output.status);
    }
    text
}

/// A command line split at blanks, run to its end: for fixed commands without quoting.
pub fn sh(line: &str) -> String {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a command");
    run(Command::new(program).args(words))
}

/// A literal address.
pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|error| panic!("{text:?} is no address: {error}"))
}

fn reserve_hugepages() {
    let reserved = || {
        fs::read_to_string(HUGEPAGES_FILE).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    if reserved() < HUGEPAGES {
        // The kernel gives what it can find; never lowered, because others may use them.
        let written = fs::write(HUGEPAGES_FILE, HUGEPAGES.to_string());
        let got = reserved();
        assert!(
            written.is_ok() && got >= HUGEPAGES,
            "{got} hugepages instead of {HUGEPAGES}: free memory, then sysctl -w vm.nr_hugepages={HUGEPAGES}"
        );
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if !mounts.lines().any(|line| line.split_whitespace().nth(2) == Some("hugetlbfs")) {
        fs::create_dir_all("/dev/hugepages").expect("/dev is writable for root");
        sh("mount -t hugetlbfs nodev /dev/hugepages");
    }
}
