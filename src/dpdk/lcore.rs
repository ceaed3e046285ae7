//! Running a closure on a pinned worker lcore.
//!
//! The closure's result is published by plain stores and one atomic one, because the lcore may have
//! [locked itself out of the kernel](super::lockdown): then it neither returns to the environment's loop nor takes a
//! lock, but parks until the process ends.

use std::cell::UnsafeCell;
use std::os::raw::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use super::eal::EalInner;
use super::{Error, lockdown};

/// How often a waiting thread looks whether the closure has returned.
const WAIT_INTERVAL: Duration = Duration::from_micros(200);

/// A closure running on an lcore. Dropping the handle waits for it.
pub struct LcoreHandle<T> {
    lcore: u32,
    outcome: Arc<Outcome<T>>,
    joined: bool,
    eal: Arc<EalInner>,
}

struct Task<F, T> {
    work: F,
    outcome: Arc<Outcome<T>>,
}

/// What the closure came to.
///
/// `value` is written by the lcore while the state is [`RUNNING`](Outcome::RUNNING), and read by the handle's owner
/// after it has seen another.
struct Outcome<T> {
    state: AtomicU8,
    value: UnsafeCell<Option<thread::Result<T>>>,
}

// SAFETY: `state` orders the one write before the one reader; the value moves between threads.
unsafe impl<T: Send> Sync for Outcome<T> {}

impl<T> Outcome<T> {
    const RUNNING: u8 = 0;
    /// The lcore is back in the environment's loop, or on its way.
    const RETURNED: u8 = 1;
    /// The lcore is locked out of the kernel and sleeps for ever.
    const PARKED: u8 = 2;

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }
}

impl<T: Send + 'static> LcoreHandle<T> {
    pub(super) fn launch<F>(eal: Arc<EalInner>, lcore: u32, work: F) -> Result<Self, Error>
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let state = AtomicU8::new(Outcome::<T>::RUNNING);
        let outcome = Arc::new(Outcome { state, value: UnsafeCell::new(None) });
        let task = Box::into_raw(Box::new(Task { work, outcome: Arc::clone(&outcome) }));
        // SAFETY: `run::<F, T>` matches the type of `task`, which it takes over; the lcore is a worker of the
        // environment and refuses with EBUSY if it already runs something.
        let status = unsafe { dpdk_sys::rte_eal_remote_launch(Some(run::<F, T>), task.cast(), lcore) };
        if status != 0 {
            // SAFETY: the launch was refused, so the task is still ours.
            drop(unsafe { Box::from_raw(task) });
            return Err(Error::from_status(format!("launching a worker on lcore {lcore}"), status));
        }
        Ok(LcoreHandle { lcore, outcome, joined: false, eal })
    }

    /// Waits for the closure and returns its value, or the panic that ended it.
    pub fn join(mut self) -> thread::Result<T> {
        self.wait().expect("nobody has taken the value before: joining takes the handle")
    }
}

impl<T> LcoreHandle<T> {
    /// Whether the closure has returned.
    pub fn is_finished(&self) -> bool {
        self.outcome.state() != Outcome::<T>::RUNNING
    }

    /// Waits for the end and takes the value, the first time.
    fn wait(&mut self) -> Option<thread::Result<T>> {
        if self.joined {
            return None;
        }
        self.joined = true;
        while self.outcome.state() == Outcome::<T>::RUNNING {
            thread::sleep(WAIT_INTERVAL);
        }
        if self.outcome.state() == Outcome::<T>::RETURNED {
            // SAFETY: the lcore was launched by us and is not waited for elsewhere.
            unsafe { dpdk_sys::rte_eal_wait_lcore(self.lcore) };
        } else {
            self.eal.note_parked_lcore();
        }
        // SAFETY: the lcore wrote the value before the state and does not touch it any more; this handle is the only
        // other owner, and it is borrowed mutably.
        unsafe { (*self.outcome.value.get()).take() }
    }
}

impl<T> Drop for LcoreHandle<T> {
    fn drop(&mut self) {
        // A parked lcore never lets go of its share of the outcome, so the value is dropped here.
        drop(self.wait());
    }
}

/// The C side of an lcore: no panic may cross it.
unsafe extern "C" fn run<F, T>(task: *mut c_void) -> c_int
where
    F: FnOnce() -> T,
{
    // SAFETY: `launch` passed a boxed task of this very type and gave it up.
    let Task { work, outcome } = *unsafe { Box::from_raw(task.cast::<Task<F, T>>()) };
    let value = catch_unwind(AssertUnwindSafe(work));
    // SAFETY: the handle does not look at the value before the state changes; it was `None`, so nothing is dropped.
    unsafe { *outcome.value.get() = Some(value) };
    if lockdown::is_locked() {
        outcome.state.store(Outcome::<T>::PARKED, Ordering::Release);
        lockdown::park();
    }
    outcome.state.store(Outcome::<T>::RETURNED, Ordering::Release);
    0
}
