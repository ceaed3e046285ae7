//! What one worker shares with control, and how control tells it to wait, to go and to stop. Who writes what is in the
//! table of [`worker`](super).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::dpdk::Mbuf;
use crate::fastpath::PanicNote;
#[cfg(any(test, feature = "fault-injection"))]
use crate::fastpath::faults;
use crate::session::{Ended, Endpoint, StreamId};
use crate::telemetry::{FlightRecorder, WorkerCounters};

/// Panics after which the worker gives up, so that the supervisor restarts the process: each has put a stream out of
/// service or has no stream to blame, and a fresh start is better than a gateway that shrinks.
const PANIC_LIMIT: u64 = 16;

/// What control and other threads share with one worker.
pub struct WorkerShared {
    /// [`RUN`](Self::RUN), [`DRAIN`](Self::DRAIN), [`STOP`](Self::STOP) or [`WAIT`](Self::WAIT).
    pub(super) phase: AtomicU8,
    /// 0, [`WARM`](Self::WARM) or [`READY`](Self::READY).
    pub(super) warmth: AtomicU8,
    /// Frames for the host side.
    pub punts: ArrayQueue<Punt>,
    /// Sources that authenticated and differ from their stream's remote.
    pub learned: ArrayQueue<LearnEvent>,
    /// Sessions whose time is over.
    pub ended: ArrayQueue<Ended>,
    /// How many rounds it has begun: what it looked up before is forgotten by then.
    rounds: AtomicU64,
    /// The clock of its sessions' timers, in ticks ([`TICKS_PER_SECOND`](crate::session::TICKS_PER_SECOND)).
    pub(super) now: AtomicU32,
    /// Frames that the host side sends, with the index of their port.
    pub originated: ArrayQueue<(u8, Mbuf)>,
    /// What its first unreported panic said.
    pub panic_note: Arc<PanicNote>,
    /// What it did last.
    pub flight: FlightRecorder,
    /// Streams that it put out of service.
    pub quarantined: ArrayQueue<StreamId>,
    /// What is to go wrong.
    #[cfg(any(test, feature = "fault-injection"))]
    pub faults: Arc<faults::Plan>,
    /// What the worker counts about itself.
    pub counters: Arc<WorkerCounters>,
}

/// A frame for the host side.
pub struct Punt {
    /// Index of the port that it arrived on.
    pub port: u8,
    /// The frame as received.
    pub frame: Mbuf,
}

/// An authenticated packet came from a source that is not its stream's remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnEvent {
    /// The stream.
    pub stream: StreamId,
    /// Which of the sessions that had its place.
    pub generation: u32,
    /// The new source.
    pub source: Endpoint,
    /// Whether it is the source of RTCP.
    pub is_rtcp: bool,
}

impl WorkerShared {
    pub(super) const RUN: u8 = 0;
    pub(super) const DRAIN: u8 = 1;
    pub(super) const STOP: u8 = 2;
    pub(super) const WAIT: u8 = 3;

    pub(super) const WARM: u8 = 1;
    pub(super) const READY: u8 = 2;

    /// Queues of the sizes that a worker needs.
    pub fn new() -> Self {
        WorkerShared {
            phase: AtomicU8::new(Self::RUN),
            warmth: AtomicU8::new(0),
            punts: ArrayQueue::new(1024),
            learned: ArrayQueue::new(1024),
            ended: ArrayQueue::new(1024),
            rounds: AtomicU64::new(0),
            now: AtomicU32::new(1),
            originated: ArrayQueue::new(256),
            panic_note: Arc::default(),
            flight: FlightRecorder::new(),
            quarantined: ArrayQueue::new(PANIC_LIMIT as usize),
            #[cfg(any(test, feature = "fault-injection"))]
            faults: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// How many rounds the worker has begun. What it did in earlier ones is seen by whoever reads this.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// The worker begins a round.
    #[inline(always)]
    pub(crate) fn begin_round(&self, round: u64) {
        self.rounds.store(round, Ordering::Release);
    }

    /// The clock of the worker's sessions, in ticks ([`TICKS_PER_SECOND`](crate::session::TICKS_PER_SECOND)).
    pub fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// Asks a worker that is not launched yet to wait after its warm-up until [`WorkerShared::go`]: ports must not be
    /// polled while they start.
    pub fn wait(&self) {
        self.phase.store(Self::WAIT, Ordering::Release);
    }

    /// Lets a worker that waits poll.
    pub fn go(&self) {
        self.phase.store(Self::RUN, Ordering::Release);
    }

    /// Whether the worker has relayed its own frames.
    pub fn is_warm(&self) -> bool {
        self.warmth.load(Ordering::Acquire) >= Self::WARM
    }

    /// Whether it has polled for a while, and locked itself out of the kernel if it is to: from here on everything is held
    /// against it.
    pub fn is_ready(&self) -> bool {
        self.warmth.load(Ordering::Acquire) == Self::READY
    }

    /// Asks the worker to finish what its queues still hold and return.
    pub fn drain(&self) {
        self.phase.store(Self::DRAIN, Ordering::Release);
    }

    /// Whether the worker has caught so many panics that it has ended, or is about to.
    pub fn has_given_up(&self) -> bool {
        self.counters.panics.value() >= PANIC_LIMIT
    }

    /// Asks the worker to return at once.
    pub fn stop(&self) {
        self.phase.store(Self::STOP, Ordering::Release);
    }
}

impl Default for WorkerShared {
    fn default() -> Self {
        Self::new()
    }
}
