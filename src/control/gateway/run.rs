//! The control thread's loop while packets flow: the host side, requests for sessions, the journal's copies, workers
//! that ended.
//!
//! It sleeps when there is nothing to do; whoever puts a request into the inbox wakes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Gateway;
use super::workers::log_panics;
use crate::control::clock_watch::Reading;
use crate::control::config::Config;
use crate::control::reload;
use crate::dpdk::{self, LcoreHandle};
use crate::session::Journal;
use crate::srtp::Provider;

/// How often the pools are looked at.
const POOL_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the control thread sleeps when there is nothing to do and nobody wakes it.
const IDLE_WAIT: Duration = Duration::from_micros(500);
/// Requests for sessions that are answered before the host side gets its turn.
const REQUESTS_PER_ROUND: usize = 256;

/// Why [`Gateway::run`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Asked,
    /// A worker has caught so many panics that it gave up.
    Panics,
    /// A worker ended for another reason; the log has it.
    WorkerEnded,
}

impl<P: Provider> Gateway<P> {
    /// Runs the host side on the calling thread until `stop` is set, or a worker has ended by itself.
    pub fn run(&mut self, stop: &AtomicBool) -> End {
        self.run_and_reload(stop, &AtomicBool::new(false), || None)
    }

    /// The same; whenever `reload` is set, `read` is asked for the configuration, whose sessions are applied as by
    /// [`Gateway::reload`].
    pub fn run_and_reload(
        &mut self,
        stop: &AtomicBool,
        reload: &AtomicBool,
        mut read: impl FnMut() -> Option<Config>,
    ) -> End {
        self.inbox.attend();
        let mut next_look = Duration::ZERO;
        while !stop.load(Ordering::Acquire) {
            if reload.swap(false, Ordering::AcqRel)
                && let Some(config) = read()
            {
                reload::log(&self.reload(&config));
            }
            let now = self.now();
            let busy = self.poll(now);
            if now >= next_look {
                next_look = now + POOL_LOOK_INTERVAL;
                // For the high-water marks.
                for pool in &self.telemetry.pools {
                    let _ = (pool.read)();
                }
            }
            #[cfg(feature = "fault-injection")]
            self.faults.poll(&self.shared, &self.buffers);
            // At once, or what the worker did before would be overwritten by what it did since.
            log_panics(&self.shared, self.eal.tsc_hz());
            if self.workers.iter().any(LcoreHandle::is_finished) {
                let end = if self.shared.iter().any(|worker| worker.has_given_up()) {
                    End::Panics
                } else {
                    End::WorkerEnded
                };
                tracing::error!(
                    ?end,
                    "a worker has ended; stopping so that the supervisor starts voxlane again"
                );
                return end;
            }
            if !busy {
                std::thread::park_timeout(IDLE_WAIT);
            }
        }
        End::Asked
    }

    /// One round of the host side and of requests, `now` after the start, and once a second the copy of the index journal:
    /// for those who run no [`Gateway::run`]. Returns whether there was something to do.
    pub fn poll(&mut self, now: Duration) -> bool {
        let before = dpdk::cycles();
        let reading = Reading { before, monotonic: self.monotonic(), after: dpdk::cycles() };
        self.clocks.look(reading);
        let mut busy = self.host.poll(now.as_nanos() as u64, &self.ports);
        if now >= self.next_copy {
            self.next_copy = now + Duration::from_secs(1);
            busy = true;
            if let Some(Err(error)) = self.host.sessions.journal().map(Journal::persist) {
                tracing::warn!(%error, "the index journal was not copied to disk");
            }
        }
        for _ in 0..REQUESTS_PER_ROUND {
            let Some((request, answers)) = self.inbox.next() else { break };
            busy = true;
            let answer = self.carry_out(request);
            // Whoever asked may have gone.
            let _ = answers.send(answer);
        }
        busy
    }

    /// What the timers of the host side run on.
    pub(super) fn now(&mut self) -> Duration {
        let reading = self.monotonic();
        self.clock.advance(reading)
    }

    /// The kernel's monotonic clock, since the start.
    fn monotonic(&self) -> Duration {
        let reading = self.started.elapsed();
        #[cfg(feature = "fault-injection")]
        let reading = self.faults.shifted(reading);
        reading
    }
}
