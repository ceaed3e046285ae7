//! Running a closure on a pinned worker lcore.

use std::os::raw::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use super::Error;
use super::eal::EalInner;

/// A closure running on an lcore. Dropping the handle waits for it.
pub struct LcoreHandle<T> {
    lcore: u32,
    result: Arc<Mutex<Option<thread::Result<T>>>>,
    joined: bool,
    _eal: Arc<EalInner>,
}

struct Task<F, T> {
    work: F,
    result: Arc<Mutex<Option<thread::Result<T>>>>,
}

impl<T: Send + 'static> LcoreHandle<T> {
    pub(super) fn launch<F>(eal: Arc<EalInner>, lcore: u32, work: F) -> Result<Self, Error>
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let result = Arc::new(Mutex::new(None));
        let task = Box::into_raw(Box::new(Task { work, result: Arc::clone(&result) }));
        // SAFETY: `run::<F, T>` matches the type of `task`, which it takes over; the lcore is a worker of the
        // environment and refuses with EBUSY if it already runs something.
        let status = unsafe { dpdk_sys::rte_eal_remote_launch(Some(run::<F, T>), task.cast(), lcore) };
        if status != 0 {
            // SAFETY: the launch was refused, so the task is still ours.
            drop(unsafe { Box::from_raw(task) });
            return Err(Error::from_status(format!("launching a worker on lcore {lcore}"), status));
        }
        Ok(LcoreHandle { lcore, result, joined: false, _eal: eal })
    }

    /// Waits for the closure and returns its value, or the panic that ended it.
    pub fn join(mut self) -> thread::Result<T> {
        self.wait();
        let mut result = self.result.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        result.take().expect("the lcore stores its result before it returns, and it has returned")
    }
}

impl<T> LcoreHandle<T> {
    /// Whether the closure has returned.
    pub fn is_finished(&self) -> bool {
        self.result.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
    }

    fn wait(&mut self) {
        if !self.joined {
            // SAFETY: the lcore was launched by us and is not waited for elsewhere.
            unsafe { dpdk_sys::rte_eal_wait_lcore(self.lcore) };
            self.joined = true;
        }
    }
}

impl<T> Drop for LcoreHandle<T> {
    fn drop(&mut self) {
        self.wait();
    }
}

/// The C side of an lcore: no panic may cross it.
unsafe extern "C" fn run<F, T>(task: *mut c_void) -> c_int
where
    F: FnOnce() -> T,
{
    // SAFETY: `launch` passed a boxed task of this very type and gave it up.
    let Task { work, result } = *unsafe { Box::from_raw(task.cast::<Task<F, T>>()) };
    let outcome = catch_unwind(AssertUnwindSafe(work));
    *result.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(outcome);
    0
}
