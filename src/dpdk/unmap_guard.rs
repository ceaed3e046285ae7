//! Lets a memif peer leave while its rings are polled.
//!
//! When a peer disconnects, DPDK's interrupt thread marks the memif port as down and unmaps its rings at once
//! (drivers/net/memif, `memif_disconnect`, 22.11). A worker that was inside the port's receive or transmit function
//! then reads unmapped memory and the process dies. The driver offers no hook between the two steps, but the second
//! one is a call of `munmap` that this binary answers itself: on the interrupt thread it first waits until every
//! poller has begun a new round. From then on all of them see the port as down.
//!
//! Every other thread's `munmap` goes straight to the kernel.

use std::ffi::{c_int, c_long, c_void};
use std::time::Duration;

use super::quiescence::wait_for_grace_period;

/// The thread on which DPDK handles disconnects (`eal_interrupts.c`).
const INTERRUPT_THREAD: &[u8] = b"eal-intr-thread\0";
/// A margin before the rounds are watched: the driver writes the port's state without a barrier.
const SETTLE: Duration = Duration::from_millis(100);
/// A worker's round takes microseconds; one that was descheduled, milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// Takes the place of the C library's function of this name for every library in the process.
///
/// # Safety
/// As munmap(2): nothing may use the range any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut c_void, length: usize) -> c_int {
    if on_interrupt_thread() {
        std::thread::sleep(SETTLE);
        wait_for_grace_period(LIMIT);
    }
    // SAFETY: the caller's promise; the system call is the one that the C library would make.
    let status: c_long = unsafe { libc::syscall(libc::SYS_munmap, address, length) };
    status as c_int
}

fn on_interrupt_thread() -> bool {
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes with a NUL byte at the end.
    let status = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    status == 0 && name.starts_with(INTERRUPT_THREAD)
}
