//! Knowing that every poller has let go of what it held when one asked.
//!
//! A [`Poller`] counts its rounds; between two rounds it holds no pointer into a driver's rings. Whoever is about
//! to take such a ring away waits until every poller has begun a new round ([`wait_for_grace_period`]).
//!
//! Written by the polling thread (one plain store a round, on a cache line of its own); read by the thread that
//! waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;

type Rounds = CachePadded<AtomicU64>;

static POLLERS: Mutex<Vec<Weak<Rounds>>> = Mutex::new(Vec::new());

/// One polling thread, known until it is dropped.
#[derive(Debug)]
pub struct Poller(Arc<Rounds>);

impl Poller {
    /// Makes the calling thread's polling known.
    pub fn register() -> Self {
        let rounds = Arc::new(Rounds::new(AtomicU64::new(0)));
        let mut pollers = POLLERS.lock().unwrap_or_else(PoisonError::into_inner);
        pollers.retain(|poller| poller.strong_count() > 0);
        pollers.push(Arc::downgrade(&rounds));
        Poller(rounds)
    }

    /// Between two rounds: nothing of a driver's is held.
    #[inline(always)]
    pub fn begin_round(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// Waits until every poller has begun a round after this call, or is gone; at most `limit`. Returns whether all
/// have.
pub fn wait_for_grace_period(limit: Duration) -> bool {
    let waiting: Vec<(Weak<Rounds>, u64)> = POLLERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .filter_map(|poller| Some((Weak::clone(poller), poller.upgrade()?.load(Ordering::Acquire))))
        .collect();
    let deadline = Instant::now() + limit;
    for (poller, before) in waiting {
        while poller.upgrade().is_some_and(|rounds| rounds.load(Ordering::Acquire) == before) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_round_that_began_after_the_call() {
        let poller = Poller::register();
        poller.begin_round();
        assert!(!wait_for_grace_period(Duration::from_millis(20)), "the round that was on is not over");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_for_grace_period(Duration::from_secs(30)));
            while !waiter.is_finished() {
                poller.begin_round();
                std::thread::yield_now();
            }
            assert!(waiter.join().expect("no panic"));
        });
        drop(poller);
        assert!(wait_for_grace_period(Duration::from_millis(20)), "nobody polls any more");
    }
}
