//! The worker: one pinned lcore that polls its queues and runs the packet path to completion.
//!
//! What it shares with others, and who writes what:
//!
//! | shared | written by | read by |
//! |---|---|---|
//! | counters | this worker | metrics |
//! | `WorkerShared::phase` | control | this worker, each housekeeping |
//! | `punts`, `learned` (bounded queues) | this worker | control |
//! | `commands`, `originated` (bounded queues) | control | this worker, each housekeeping |
//! | `handovers` (bounded queues) | other workers | the owner of the stream |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam::queue::ArrayQueue;

use super::frame::{Authenticated, Matched, Sealed};
use super::pipeline::{Pipeline, PipelinePort, Sink};
use super::{Burst, DropReason, Frame, Transmitter};
use crate::dpdk::{self, Mbuf, Poller, RxQueue};
use crate::session::{Egress, Endpoint, StreamId};
use crate::srtp::Provider;
use crate::telemetry::{Balance, WorkerCounters};

/// Rounds over all queues between two looks at what control wants.
const HOUSEKEEPING_ROUNDS: u64 = 32;
/// Rounds without a frame after which a draining worker is done.
const DRAIN_EMPTY_ROUNDS: u32 = 2_000;
/// Panics after which the worker gives up, so that the supervisor restarts the process.
const PANIC_LIMIT: u64 = 16;

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
    /// Frames that the host side sends, with the index of their port.
    pub originated: ArrayQueue<(u8, Mbuf)>,
    /// Frames of this worker's streams that other workers received, with the port that they arrived on.
    pub handovers: ArrayQueue<(u8, Frame<Mbuf, Matched>)>,
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
}

/// One port as one worker sees it.
pub struct WorkerPort {
    /// Its receive queue.
    pub rx: RxQueue,
    /// What the stages need of it.
    pub pipeline: PipelinePort,
}

/// One worker with everything that it owns.
pub struct Worker<P: Provider> {
    pipeline: Pipeline<P>,
    ports: Vec<WorkerPort>,
    io: Io,
}

/// The sink of the worker's pipeline.
struct Io {
    shared: Arc<WorkerShared>,
    /// All workers, by number.
    peers: Vec<Arc<WorkerShared>>,
    /// By port index.
    transmitters: Vec<Transmitter>,
    /// Counters of the queue whose burst is in the stages.
    arrival: Arc<crate::telemetry::QueueCounters>,
}

impl WorkerShared {
    const RUN: u8 = 0;
    const DRAIN: u8 = 1;
    const STOP: u8 = 2;

    /// Queues of the sizes that a worker needs; `handover` is the depth of the hand-over ring.
    pub fn new(handover: usize) -> Self {
        WorkerShared {
            phase: AtomicU8::new(Self::RUN),
            punts: ArrayQueue::new(1024),
            learned: ArrayQueue::new(1024),
            commands: ArrayQueue::new(1024),
            originated: ArrayQueue::new(256),
            handovers: ArrayQueue::new(handover),
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

impl<P: Provider> Worker<P> {
    /// A worker over its queues. `ports` and `transmitters` are in the order of port indices; `peers` has all
    /// workers by number, this one included.
    ///
    /// # Panics
    /// Never; a worker without ports returns from [`Worker::run`] when it is told to.
    pub fn new(
        pipeline: Pipeline<P>,
        ports: Vec<WorkerPort>,
        transmitters: Vec<Transmitter>,
        shared: Arc<WorkerShared>,
        peers: Vec<Arc<WorkerShared>>,
    ) -> Self {
        let arrival = ports.first().map(|port| Arc::clone(&port.pipeline.counters)).unwrap_or_default();
        Worker { pipeline, ports, io: Io { shared, peers, transmitters, arrival } }
    }

    /// Polls until control stops it; returns the worker so that its queues outlive the polling. Call
    /// [`Worker::finish`] once all workers have returned.
    pub fn run(mut self) -> Self {
        let shared = Arc::clone(&self.io.shared);
        let counters = &shared.counters;
        let poller = Poller::register();
        let mut round: u64 = 0;
        let mut idle_rounds = 0_u32;
        loop {
            let mut busy = false;
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
            match shared.phase.load(Ordering::Acquire) {
                WorkerShared::RUN => {}
                WorkerShared::DRAIN if idle_rounds < DRAIN_EMPTY_ROUNDS => {}
                _ => break,
            }
            if counters.panics.value() >= PANIC_LIMIT {
                break;
            }
        }
        self
    }

    /// The end of a run, when no worker polls any more: relays what another worker handed over after this one had
    /// stopped looking, takes back what the ports still hold and writes the exact end of every stream's indices.
    pub fn finish(&mut self) {
        self.take_handovers();
        self.housekeeping();
        self.io.transmitters.iter_mut().for_each(Transmitter::reap);
        for stream in &mut self.pipeline.streams {
            stream.settle_journal();
        }
    }

    /// One burst from one port. Returns whether there was a frame.
    #[inline]
    fn poll(&mut self, index: usize) -> bool {
        let Some(port) = self.ports.get_mut(index) else { return false };
        let mut burst: Burst<Mbuf> = Burst::new();
        if port.rx.rx_burst(&mut burst) == 0 {
            port.pipeline.counters.empty_polls.add(1);
            return false;
        }
        let rx_cycles = dpdk::cycles();
        port.pipeline.counters.rx_bursts.add(1);
        let (pipeline, io) = (&mut self.pipeline, &mut self.io);
        guarded(io, &mut port.pipeline, |io, port| pipeline.process(port, burst, rx_cycles, io));
        true
    }

    /// Frames of own streams that other workers received.
    #[inline]
    fn take_handovers(&mut self) -> bool {
        let mut busy = false;
        while let Some((port, frame)) = self.io.shared.handovers.pop() {
            busy = true;
            let Some(port) = self.ports.get_mut(usize::from(port)) else { continue };
            port.pipeline.counters.handed_over_in.add(1);
            let mut burst: Burst<Frame<Mbuf, Matched>> = Burst::new();
            burst.push(frame);
            let (pipeline, io) = (&mut self.pipeline, &mut self.io);
            guarded(io, &mut port.pipeline, |io, port| pipeline.process_matched(port, burst, io));
        }
        busy
    }

    /// What control wants, at a burst boundary.
    fn housekeeping(&mut self) {
        while let Some(command) = self.io.shared.commands.pop() {
            self.apply(command);
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
        let Command::SetRemote { inbound, outbound, remote, egress, rtp, rtcp } = command;
        if let Some(stream) = self.pipeline.streams.get_mut(inbound.0 as usize) {
            if rtp {
                stream.source = Some(remote);
            }
            if rtcp {
                stream.rtcp_source = Some(remote);
            }
        }
        if let Some(stream) = self.pipeline.streams.get_mut(outbound.0 as usize) {
            if rtcp {
                stream.rtcp_egress = Some(egress.clone());
            }
            if rtp {
                stream.rtp_egress = Some(egress);
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
    for transmitter in &mut io.transmitters {
        transmitter.flush(&port.counters);
    }
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
        self.peers.get(usize::from(worker)).is_some_and(|peer| peer.handovers.push((port, frame)).is_ok())
    }

    #[inline]
    fn transmit(&mut self, frame: Frame<Mbuf, Sealed>) {
        // Templates are built for existing ports only; a frame for none would show up in the balance.
        if let Some(transmitter) = self.transmitters.get_mut(usize::from(frame.port())) {
            transmitter.push(frame, &self.arrival);
        }
    }

    #[inline]
    fn learned(&mut self, stream: StreamId, authenticated: &Authenticated) {
        let event = LearnEvent { stream, source: authenticated.source, is_rtcp: authenticated.is_rtcp };
        // A full queue costs nothing: the stream's next packet reports again.
        let _ = self.shared.learned.push(event);
    }
}
