//! The worker: one pinned lcore that polls its queues and runs the packet path to completion.
//!
//! What it shares with others, and who writes what:
//!
//! | shared | written by | read by |
//! |---|---|---|
//! | counters | this worker | metrics |
//! | `WorkerShared::phase` | control | this worker, each housekeeping |
//! | `punts`, `learned` (bounded queues) | this worker | control |
//! | `panic_note` | this worker, when it is empty | control, which empties it |
//! | `commands`, `originated` (bounded queues) | control | this worker, each housekeeping |
//! | hand-over rings ([`handover`](super::handover)) | one other worker each | this worker, each round |
//! | `retired` (bounded queue) | this worker | control, which frees it |

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam::queue::ArrayQueue;

use super::frame::{Authenticated, Matched, Sealed};
use super::handover::{Inbox, Outbox};
use super::pipeline::{Pipeline, PipelinePort, Sink};
use super::{BURST, Burst, DropReason, Frame, PanicNote, Transmitter, install_panic_hook};
use crate::dpdk::{HeapWatch, Mbuf, Poller, RxQueue, lockdown};
use crate::session::{Egress, Endpoint, KeyChange, StreamId};
use crate::srtp::Provider;
use crate::telemetry::{Balance, Stage, StageClock, WorkerCounters};

/// Rounds over all queues between two looks at what control wants.
const HOUSEKEEPING_ROUNDS: u64 = 32;
/// Rounds without a frame after which a draining worker is done.
const DRAIN_EMPTY_ROUNDS: u32 = 2_000;
/// Panics after which the worker gives up, so that the supervisor restarts the process.
const PANIC_LIMIT: u64 = 16;
/// Rounds before anything is held against the worker: its code and its streams come into the caches.
const WARM_UP_ROUNDS: u64 = 4096;

/// What control and other threads share with one worker.
pub struct WorkerShared {
    /// [`RUN`](Self::RUN), [`DRAIN`](Self::DRAIN) or [`STOP`](Self::STOP).
    phase: AtomicU8,
    /// Frames for the host side.
    pub punts: ArrayQueue<Punt>,
    /// Sources that authenticated and differ from their stream's remote.
    pub learned: ArrayQueue<LearnEvent>,
    /// Changes to the worker's streams.
    pub commands: ArrayQueue<Command>,
    /// Key changes that were made, with what they replaced: only control frees memory.
    pub retired: ArrayQueue<Box<KeyChange>>,
    /// Frames that the host side sends, with the index of their port.
    pub originated: ArrayQueue<(u8, Mbuf)>,
    /// What its first unreported panic said.
    pub panic_note: Arc<PanicNote>,
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
    /// The new source.
    pub source: Endpoint,
    /// Whether it is the source of RTCP.
    pub is_rtcp: bool,
}

/// A change that control makes to a worker's streams.
#[derive(Debug)]
pub enum Command {
    /// The remote of a leg is known: `inbound` receives from it and `outbound` sends to it.
    SetRemote {
        /// The stream that the leg sends.
        inbound: StreamId,
        /// The stream that the leg receives.
        outbound: StreamId,
        /// The remote for RTP, or for RTCP.
        remote: Endpoint,
        /// The way there.
        egress: Egress,
        /// Whether RTP goes there.
        rtp: bool,
        /// Whether RTCP goes there.
        rtcp: bool,
    },
    /// A leg has new keys.
    SetKeys(Box<KeyChange>),
}

/// One port as one worker sees it.
pub struct WorkerPort {
    /// Its receive queue.
    pub rx: RxQueue,
    /// What the stages need of it.
    pub pipeline: PipelinePort,
}

/// A worker's ends of the rings between the workers.
pub type HandoverEnds = (Outbox<Frame<Mbuf, Matched>>, Inbox<Frame<Mbuf, Matched>>);

/// One worker with everything that it owns.
pub struct Worker<P: Provider> {
    pipeline: Pipeline<P>,
    ports: Vec<WorkerPort>,
    /// Frames of own streams that other workers received.
    inbox: Inbox<Frame<Mbuf, Matched>>,
    io: Io,
    /// Whether it locks itself out of the kernel once it has warmed up.
    lockdown: bool,
}

/// The sink of the worker's pipeline.
struct Io {
    shared: Arc<WorkerShared>,
    /// Frames of other workers' streams.
    outbox: Outbox<Frame<Mbuf, Matched>>,
    /// By port index.
    transmitters: Vec<Transmitter>,
    /// Counters of the queue whose burst is in the stages.
    arrival: Arc<crate::telemetry::QueueCounters>,
    clock: StageClock,
}

impl WorkerShared {
    const RUN: u8 = 0;
    const DRAIN: u8 = 1;
    const STOP: u8 = 2;

    /// Queues of the sizes that a worker needs.
    pub fn new() -> Self {
        WorkerShared {
            phase: AtomicU8::new(Self::RUN),
            punts: ArrayQueue::new(1024),
            learned: ArrayQueue::new(1024),
            commands: ArrayQueue::new(1024),
            retired: ArrayQueue::new(1024),
            originated: ArrayQueue::new(256),
            panic_note: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// Asks the worker to finish what its queues still hold and return.
    pub fn drain(&self) {
        self.phase.store(Self::DRAIN, Ordering::Release);
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

impl<P: Provider> Worker<P> {
    /// A worker over its queues. `ports` and `transmitters` are in the order of port indices; `handover` are its
    /// ends of the rings between the workers ([`handover::mesh`](super::handover::mesh)).
    ///
    /// # Panics
    /// Never; a worker without ports returns from [`Worker::run`] when it is told to.
    pub fn new(
        pipeline: Pipeline<P>,
        ports: Vec<WorkerPort>,
        transmitters: Vec<Transmitter>,
        shared: Arc<WorkerShared>,
        handover: HandoverEnds,
    ) -> Self {
        let arrival = ports.first().map(|port| Arc::clone(&port.pipeline.counters)).unwrap_or_default();
        let (outbox, inbox) = handover;
        let clock = StageClock::new(ports.len());
        let io = Io { shared, outbox, transmitters, arrival, clock };
        Worker { pipeline, ports, inbox, io, lockdown: false }
    }

    /// Locks the worker out of the kernel once it has warmed up ([`lockdown`]): for workers whose ports are all
    /// [kernel-free](lockdown::is_kernel_free) or PCI devices.
    pub fn with_lockdown(self, lockdown: bool) -> Self {
        Worker { lockdown, ..self }
    }

    /// Polls until control stops it; returns the worker so that its queues outlive the polling. Call
    /// [`Worker::finish`] once all workers have returned.
    pub fn run(mut self) -> Self {
        let shared = Arc::clone(&self.io.shared);
        let counters = &shared.counters;
        shared.panic_note.adopt();
        install_panic_hook();
        let poller = Poller::register();
        let mut heap_watch = None;
        let mut round: u64 = 0;
        let mut idle_rounds = 0_u32;
        loop {
            let mut busy = false;
            if round < WARM_UP_ROUNDS {
                self.io.clock.restart();
            }
            poller.begin_round();
            for index in 0..self.ports.len() {
                busy |= self.poll(index);
            }
            busy |= self.take_handovers();
            counters.loops.add(1);
            counters.busy_loops.add(u64::from(busy));
            round = round.wrapping_add(1);
            idle_rounds = if busy { 0 } else { idle_rounds.saturating_add(1) };
            if !round.is_multiple_of(HOUSEKEEPING_ROUNDS) {
                continue;
            }
            self.housekeeping();
            if round == WARM_UP_ROUNDS {
                if self.lockdown && !self.lock_down() {
                    break;
                }
                heap_watch = Some(HeapWatch::start(Arc::clone(&counters.heap)));
                self.io.clock.restart();
            }
            match shared.phase.load(Ordering::Acquire) {
                WorkerShared::RUN => {}
                WorkerShared::DRAIN if idle_rounds < DRAIN_EMPTY_ROUNDS => {}
                _ => break,
            }
            if counters.panics.value() >= PANIC_LIMIT {
                break;
            }
        }
        drop(heap_watch);
        self
    }

    /// Makes the last system calls. `false` if the kernel refuses; control finds the reason in the panic note.
    #[cold]
    fn lock_down(&self) -> bool {
        // The unwinder sets itself up on its first use, for which it may enter the kernel.
        let _ = catch_unwind(|| resume_unwind(Box::new(())));
        match lockdown::enter() {
            Ok(()) => {
                self.io.shared.counters.lockdown.raise_to(1);
                true
            }
            Err(error) => {
                self.io.shared.panic_note.write(&error);
                false
            }
        }
    }

    /// The end of a run, when no worker polls any more: relays what another worker handed over after this one had
    /// stopped looking, takes back what the ports still hold and writes the exact end of every stream's indices.
    pub fn finish(&mut self) {
        while self.take_handovers() {}
        self.housekeeping();
        self.io.transmitters.iter_mut().for_each(Transmitter::reap);
        self.pipeline.streams.settle_journals();
    }

    /// One burst from one port. Returns whether there was a frame.
    #[inline]
    fn poll(&mut self, index: usize) -> bool {
        let Some(port) = self.ports.get_mut(index) else { return false };
        let mut burst: Burst<Mbuf> = Burst::new();
        self.io.clock.polled(index, &port.pipeline.counters.poll_gap);
        let frames = port.rx.rx_burst(&mut burst);
        if frames == 0 {
            self.io.clock.found_nothing();
            port.pipeline.counters.empty_polls.add(1);
            return false;
        }
        self.io.clock.arrived(frames);
        let rx_cycles = self.io.clock.enter(Stage::Classify, frames);
        port.pipeline.counters.rx_bursts.add(1);
        let (pipeline, io) = (&mut self.pipeline, &mut self.io);
        guarded(io, &mut port.pipeline, |io, port| pipeline.process(port, &mut burst, rx_cycles, io));
        true
    }

    /// Frames of own streams that other workers received: from each of them as many as it can receive in one
    /// round, so that own queues get their turn. Returns whether there was a frame.
    #[inline]
    fn take_handovers(&mut self) -> bool {
        let mut busy = false;
        let most = self.ports.len() * BURST;
        for ring in 0..self.inbox.rings() {
            let mut taken = 0;
            while taken < most {
                let mut burst: Burst<Frame<Mbuf, Matched>> = Burst::new();
                let Some(port) = self.inbox.take(ring, &mut burst) else { break };
                taken += burst.len();
                busy = true;
                // Workers have the same ports; a frame for none would show up in the balance.
                let Some(port) = self.ports.get_mut(usize::from(port)) else { continue };
                self.io.clock.enter(Stage::Handover, burst.len());
                let (pipeline, io) = (&mut self.pipeline, &mut self.io);
                guarded(io, &mut port.pipeline, |io, port| {
                    pipeline.process_handed_over(port, &mut burst, io)
                });
            }
        }
        busy
    }

    /// What control wants, at a burst boundary.
    fn housekeeping(&mut self) {
        self.io.clock.enter(Stage::Housekeeping, 0);
        self.io.clock.publish(&self.io.shared.counters);
        // What a change replaces must not be dropped here for want of room.
        while !self.io.shared.retired.is_full()
            && let Some(command) = self.io.shared.commands.pop()
        {
            // Expanding keys takes microseconds: with thousands of changes, packets must not wait for all of them.
            let is_key_change = matches!(command, Command::SetKeys(_));
            self.apply(command);
            if is_key_change {
                break;
            }
        }
        while let Some((port, frame)) = self.io.shared.originated.pop() {
            let index = usize::from(port);
            if let (Some(transmitter), Some(port)) =
                (self.io.transmitters.get_mut(index), self.ports.get(index))
            {
                transmitter.originate(frame, &port.pipeline.counters);
            }
        }
    }

    fn apply(&mut self, command: Command) {
        let streams = &mut self.pipeline.streams;
        match command {
            Command::SetRemote { inbound, outbound, remote, egress, rtp, rtcp } => {
                streams.set_source(inbound, remote, rtp, rtcp);
                streams.set_egress(outbound, Some(&egress), rtp, rtcp);
            }
            Command::SetKeys(mut change) => {
                streams.change_keys(&mut change);
                let _ = self.io.shared.retired.push(change);
            }
        }
    }
}

/// Runs the stages over one burst and sends what came out. A panic in them costs the burst: its buffers go back
/// to their pool while the stack unwinds, and what was not yet accounted for is counted as such.
#[inline]
fn guarded(io: &mut Io, port: &mut PipelinePort, stages: impl FnOnce(&mut Io, &mut PipelinePort)) {
    if !Arc::ptr_eq(&io.arrival, &port.counters) {
        io.arrival = Arc::clone(&port.counters);
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| stages(io, port)));
    let pending = io.transmitters.iter().map(Transmitter::pending).sum();
    io.clock.enter(Stage::Tx, pending);
    for transmitter in &mut io.transmitters {
        transmitter.flush(&port.counters);
    }
    io.outbox.publish();
    if outcome.is_err() {
        io.shared.counters.panics.add(1);
        let lost = Balance::of(&port.counters).unaccounted().max(0) as u64;
        port.counters.count_dropped(DropReason::WorkerPanic, lost);
    }
}

impl Sink<Mbuf> for Io {
    #[inline]
    fn punt(&mut self, port: u8, buffer: Mbuf) -> bool {
        self.shared.punts.push(Punt { port, frame: buffer }).is_ok()
    }

    #[inline]
    fn hand_over(&mut self, worker: u16, port: u8, frame: Frame<Mbuf, Matched>) -> bool {
        self.outbox.push(worker, port, frame)
    }

    #[inline]
    fn transmit(&mut self, frame: Frame<Mbuf, Sealed>) {
        // Templates are built for existing ports only; a frame for none would show up in the balance.
        if let Some(transmitter) = self.transmitters.get_mut(usize::from(frame.port())) {
            transmitter.push(frame, &self.arrival);
        }
    }

    #[inline]
    fn learned(&mut self, sender: &Authenticated) {
        let Authenticated { stream, source, is_rtcp } = *sender;
        let event = LearnEvent { stream, source, is_rtcp };
        // A full queue costs nothing: the stream's next packet reports again.
        let _ = self.shared.learned.push(event);
    }

    #[inline(always)]
    fn enter(&mut self, stage: Stage, frames: usize) {
        self.clock.enter(stage, frames);
    }
}
