//! What DPDK can refuse, with the value that it refused and what mends it.

use std::ffi::CStr;

/// Why a DPDK operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `rte_eal_init` was called before in this process; DPDK cannot be initialised twice.
    #[error("the DPDK environment was already initialised in this process; it can be initialised once")]
    AlreadyInitialised,
    /// A string for DPDK holds a NUL byte.
    #[error("{value:?} holds a NUL byte, which DPDK cannot take; remove it")]
    NulByte {
        /// The string.
        value: String,
    },
    /// The libraries loaded at run time are not of the release that this binary was built with.
    #[error("built with DPDK {built} headers but running with {running}; rebuild, or install DPDK {built}")]
    VersionMismatch {
        /// Release of the headers.
        built: String,
        /// Release that `rte_version()` reports.
        running: String,
    },
    /// A field of a live mbuf is not where the headers said it is.
    #[error(
        "the mbuf field {field} is not where the headers said (expected {expected:#x}, read {read:#x}); \
         rebuild against the installed DPDK"
    )]
    MbufLayout {
        /// Name of the field in `rte_mbuf`.
        field: &'static str,
        /// Value that C reads.
        expected: u64,
        /// Value that the offset reads.
        read: u64,
    },
    /// A DPDK call returned an error number.
    #[error("{operation} failed: {reason} ({errno}){hint}")]
    Call {
        /// What was attempted, with the value that it was attempted with.
        operation: String,
        /// Positive error number.
        errno: i32,
        /// DPDK's text for it.
        reason: String,
        /// What to do about it; empty where nothing better than the reason is known.
        hint: &'static str,
    },
    /// There is not enough memory for what the sessions need.
    #[error("{mib} MiB for {what} could not be had; raise hugepages_mib, or configure fewer sessions")]
    Memory {
        /// What it was for.
        what: &'static str,
        /// How much was asked for, in MiB.
        mib: usize,
    },
    /// The port has fewer queues than asked for.
    #[error(
        "port {port} ({driver}) offers {available} queue pairs, {wanted} were asked for; use fewer workers"
    )]
    TooFewQueues {
        /// Device name.
        port: String,
        /// Driver name.
        driver: String,
        /// Queue pairs that the driver offers.
        available: u16,
        /// Queue pairs that were asked for.
        wanted: u16,
    },
    /// A worker core was not given to the environment at start.
    #[error("lcore {lcore} is not one of the worker lcores that the environment was started with")]
    UnknownLcore {
        /// The lcore id.
        lcore: u32,
    },
    /// The kernel refused to lock a thread out.
    #[error(
        "a worker cannot lock itself out of the kernel: {step}: {reason}; run voxlane where seccomp filters are \
         allowed, or set [worker] lockdown = false"
    )]
    Lockdown {
        /// What was attempted.
        step: &'static str,
        /// The kernel's reason.
        reason: std::io::Error,
    },
    /// The operating system refused to pin a thread.
    #[error("cannot run on cores {cores:?}: {reason}; choose cores that `taskset -pc $$` lists")]
    Affinity {
        /// The cores that were asked for.
        cores: Vec<u16>,
        /// The operating system's reason.
        reason: std::io::Error,
    },
}

impl Error {
    /// The error of a call that returned a negative errno (or −1 with the thread's `rte_errno` set).
    pub(super) fn from_status(operation: impl Into<String>, status: i32) -> Self {
        // SAFETY: reads a thread-local integer.
        let errno = if status < -1 { -status } else { unsafe { dpdk_sys::vx_errno() }.max(-status) };
        // SAFETY: rte_strerror returns a NUL-terminated string that lives until the thread's next call.
        let reason = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno)) }.to_string_lossy().into_owned();
        Error::Call { operation: operation.into(), errno, reason, hint: hint(errno) }
    }
}

fn hint(errno: i32) -> &'static str {
    match errno {
        libc::ENOMEM => "; give it more hugepages ([memory] hugepages_mib, vm.nr_hugepages)",
        libc::EACCES | libc::EPERM => "; run as root",
        libc::ENODEV => "; check the device's name and that its driver is installed (apt-get install dpdk)",
        _ => "",
    }
}
