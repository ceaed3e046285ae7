//! The worker: one pinned lcore that polls its queues and runs the packet path to completion.
//!
//! What it shares with others, and who writes what:
//!
//! | shared | written by | read by |
//! |---|---|---|
//! | counters | this worker | metrics |
//! | `WorkerShared::phase` | control | this worker, each housekeeping |
//! | `WorkerShared::warmth` | this worker | control, at start |
//! | `punts`, `learned` (bounded queues) | this worker | control |
//! | `panic_note` | this worker, when it is empty | control, which empties it |
//! | `WorkerShared::rounds`, `now` | this worker | control |
//! | `originated` (bounded queue) | control | this worker, each housekeeping |
//! | commands ([`control_link`](super::control_link)) | control | this worker, each round |
//! | what commands replaced (the same) | this worker | control, which frees it |
//! | words of the lookup for its own streams | this worker, on command | all workers |
//! | `flight` | this worker | control, after a panic |
//! | `quarantined` (bounded queue) | this worker | control, which logs it |
//! | tap arena (`dpdk::arena`) | this worker | recorder |
//! | hand-over rings ([`handover`](super::handover)) | one other worker each | this worker, each round |

mod io;
pub mod shared;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use io::Io;
use shared::WorkerShared;

use super::control_link::WorkerEnd;
use super::faults::{self, Point};
use super::frame::Matched;
use super::handover::{Inbox, Outbox};
use super::pipeline::{Pipeline, PipelinePort};
use super::timer_clock::TimerClock;
use super::{BURST, Burst, DropReason, Frame, Transmitter, WarmUp, install_panic_hook};
use crate::dpdk::{self, HeapWatch, Mbuf, Poller, RxQueue, cycles, lockdown};
use crate::srtp::Provider;
use crate::tap::TapWriter;
use crate::telemetry::{Balance, EventKind, QueueCounters, Stage, StageClock};

/// Rounds over all queues between two looks at what control wants.
const HOUSEKEEPING_ROUNDS: u64 = 32;
/// Changes to sessions that a worker makes between two bursts. Each touches a few lines that another core wrote last:
/// more of them would be a pause.
const COMMANDS_PER_ROUND: usize = 8;
/// Rounds without a frame after which a draining worker is done.
const DRAIN_EMPTY_ROUNDS: u32 = 2_000;
/// Rounds before anything is held against the worker: its code and its streams come into the caches.
const WARM_UP_ROUNDS: u64 = 4096;

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
    /// What control wants of its streams.
    link: WorkerEnd,
    timers: TimerClock,
    /// Whether it locks itself out of the kernel once it has warmed up.
    lockdown: bool,
    /// What it does first.
    warm_up: Option<WarmUp<P>>,
}

/// How far a worker has come.
#[derive(Default)]
struct Rounds {
    /// Over all queues.
    done: u64,
    /// Those since the last frame.
    idle: u32,
    /// From the end of the warm-up on.
    heap_watch: Option<HeapWatch>,
}

impl<P: Provider> Worker<P> {
    /// A worker over its queues. `ports` and `transmitters` are in the order of port indices; `handover` are its
    /// ends of the rings between the workers ([`handover::mesh`](super::handover::mesh)), `link` its end of what
    /// control wants.
    ///
    /// # Panics
    /// Never; a worker without ports returns from [`Worker::run`] when it is told to.
    pub fn new(
        pipeline: Pipeline<P>,
        ports: Vec<WorkerPort>,
        transmitters: Vec<Transmitter>,
        shared: Arc<WorkerShared>,
        handover: HandoverEnds,
        link: WorkerEnd,
        tsc_hz: u64,
    ) -> Self {
        let arrival = ports.first().map(|port| Arc::clone(&port.pipeline.counters)).unwrap_or_default();
        let (outbox, inbox) = handover;
        let clock = StageClock::new(ports.len());
        let io = Io { shared, outbox, transmitters, arrival, clock, tap: None };
        let timers = TimerClock::new(tsc_hz);
        Worker { pipeline, ports, inbox, io, link, timers, lockdown: false, warm_up: None }
    }

    /// Locks the worker out of the kernel once it has warmed up ([`lockdown`]): for workers whose ports are all
    /// [kernel-free](lockdown::is_kernel_free) or PCI devices.
    pub fn with_lockdown(self, lockdown: bool) -> Self {
        Worker { lockdown, ..self }
    }

    /// Warms up before the first poll ([`WarmUp`]).
    pub fn with_warm_up(self, warm_up: WarmUp<P>) -> Self {
        Worker { warm_up: Some(warm_up), ..self }
    }

    /// Gives it where packets of tapped streams are copied to.
    pub fn with_tap(mut self, tap: Option<TapWriter>) -> Self {
        self.io.tap = tap;
        self
    }

    /// Polls until control stops it; returns the worker so that its queues outlive the polling. Call
    /// [`Worker::finish`] once all workers have returned.
    pub fn run(mut self) -> Self {
        let shared = Arc::clone(&self.io.shared);
        shared.panic_note.adopt();
        #[cfg(any(test, feature = "fault-injection"))]
        shared.faults.adopt();
        install_panic_hook();
        let (worker, ports) = (self.pipeline.worker.into(), self.ports.len() as u64);
        shared.flight.record(dpdk::cycles(), EventKind::WorkerStarted, worker, ports);
        if let Some(warm_up) = self.warm_up.take() {
            self.warm_up(warm_up);
        }
        shared.warmth.store(WorkerShared::WARM, Ordering::Release);
        while shared.phase.load(Ordering::Acquire) == WorkerShared::WAIT {
            std::thread::yield_now();
        }
        let poller = Poller::register();
        let mut rounds = Rounds::default();
        // Each burst has its own unwind boundary; this one is for what is outside of them.
        while catch_unwind(AssertUnwindSafe(|| self.poll_until_told(&poller, &mut rounds))).is_err() {
            self.recover();
            if shared.has_given_up() {
                break;
            }
        }
        drop(rounds.heap_watch.take());
        let loops = shared.counters.loops.value();
        shared.flight.record(dpdk::cycles(), EventKind::WorkerStopped, worker, loops);
        self
    }

    /// Relays frames of its own making as if they had come from its first port, and uses the unwinder once.
    #[cold]
    fn warm_up(&mut self, mut warm_up: WarmUp<P>) {
        self.pipeline.lookup.touch();
        self.pipeline.streams.touch();
        self.io.transmitters.iter_mut().for_each(|transmitter| transmitter.mute(true));
        let (all, mut sent) = (warm_up.bursts(), 0);
        for number in 0..all {
            // Full ones first, then single packets: what comes first is one.
            let len = if number < all / 2 { BURST } else { 1 + number % 4 };
            let mut burst = warm_up.burst(len);
            let frames = burst.len();
            let rx_cycles = self.io.clock.enter(Stage::Classify, frames);
            process(&mut self.io, &mut warm_up.pipeline, &mut warm_up.port, &mut burst, rx_cycles);
            sent += frames as u64;
        }
        self.io.transmitters.iter_mut().for_each(|transmitter| transmitter.mute(false));
        let counters = &self.io.shared.counters;
        counters.warm_up_frames.add(sent);
        counters.warm_up_forwarded.add(warm_up.port.counters.tx_packets.value());
        // The unwinder sets itself up on its first use, for which it may enter the kernel.
        let _ = catch_unwind(|| resume_unwind(Box::new(())));
        self.io.clock = StageClock::new(self.ports.len());
        if let Some(port) = self.ports.first() {
            self.io.arrival = Arc::clone(&port.pipeline.counters);
        }
    }

    fn poll_until_told(&mut self, poller: &Poller, rounds: &mut Rounds) {
        let shared = Arc::clone(&self.io.shared);
        let counters = &shared.counters;
        loop {
            let mut busy = false;
            if rounds.done < WARM_UP_ROUNDS {
                self.io.clock.restart();
            }
            poller.begin_round();
            shared.begin_round(rounds.done);
            faults::at(Point::Poll);
            for index in 0..self.ports.len() {
                busy |= self.poll(index);
            }
            busy |= self.take_handovers();
            self.tend_sessions();
            counters.loops.add(1);
            counters.busy_loops.add(u64::from(busy));
            rounds.done = rounds.done.wrapping_add(1);
            rounds.idle = if busy { 0 } else { rounds.idle.saturating_add(1) };
            if !rounds.done.is_multiple_of(HOUSEKEEPING_ROUNDS) {
                continue;
            }
            self.housekeeping();
            if rounds.done == WARM_UP_ROUNDS {
                if self.lockdown && !self.lock_down() {
                    break;
                }
                rounds.heap_watch = Some(HeapWatch::start(Arc::clone(&counters.heap)));
                self.io.clock.restart();
                shared.warmth.store(WorkerShared::READY, Ordering::Release);
            }
            match shared.phase.load(Ordering::Acquire) {
                WorkerShared::RUN => {}
                WorkerShared::DRAIN if rounds.idle < DRAIN_EMPTY_ROUNDS => {}
                _ => break,
            }
            if shared.has_given_up() {
                break;
            }
        }
    }

    /// After a panic outside of a burst's own boundary, with frames in any state: what is queued for transmission is given
    /// up, and every frame without a fate is counted as lost.
    #[cold]
    fn recover(&mut self) {
        self.io.transmitters.iter_mut().for_each(Transmitter::abandon);
        self.io.outbox.publish();
        let counters = self.ports.iter().map(|port| &*port.pipeline.counters);
        let lost = counters.map(count_lost).sum();
        self.io.note_panic(self.pipeline.streams.blame(), lost);
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
        self.carry_out();
        if let Some(tap) = &mut self.io.tap {
            tap.close();
        }
        self.io.transmitters.iter_mut().for_each(Transmitter::reap);
        self.pipeline.streams.settle_journals();
    }

    /// Does what control wants of the sessions, when no worker polls any more.
    pub fn carry_out(&mut self) {
        while self.link.apply(&mut self.pipeline, usize::MAX) > 0 {}
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
        self.io.shared.flight.record(rx_cycles, EventKind::BurstReceived, index as u64, frames as u64);
        process(&mut self.io, &mut self.pipeline, &mut port.pipeline, &mut burst, rx_cycles);
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
                guarded(&mut self.io, &mut self.pipeline, &mut port.pipeline, |io, pipeline, port| {
                    pipeline.process_handed_over(port, &mut burst, io);
                });
            }
        }
        busy
    }

    /// What control wants, at a burst boundary.
    fn housekeeping(&mut self) {
        self.io.clock.enter(Stage::Housekeeping, 0);
        self.io.clock.publish(&self.io.shared.counters);
        self.pipeline.streams.set_now(self.timers.advance(cycles()));
        self.io.shared.now.store(self.timers.now(), Ordering::Relaxed);
        faults::at(Point::Housekeeping);
        while let Some((port, frame)) = self.io.shared.originated.pop() {
            let index = usize::from(port);
            if let (Some(transmitter), Some(port)) =
                (self.io.transmitters.get_mut(index), self.ports.get(index))
            {
                transmitter.originate(frame, &port.pipeline.counters);
            }
        }
    }

    /// Sessions that come, change and go, a few in each round, and a look at those whose time may be over.
    #[inline]
    fn tend_sessions(&mut self) {
        self.link.apply(&mut self.pipeline, COMMANDS_PER_ROUND);
        let shared = &self.io.shared;
        let due = self.timers.due_sessions(self.pipeline.streams.capacity() / 2);
        if due > 0 {
            self.pipeline.streams.sweep(due, |ended| shared.ended.push(ended).is_ok());
        }
    }
}

/// One burst through all stages. A function of its own, so that the warm-up runs the very code that packets will.
#[inline(never)]
fn process<P: Provider>(
    io: &mut Io,
    pipeline: &mut Pipeline<P>,
    port: &mut PipelinePort,
    burst: &mut Burst<Mbuf>,
    rx_cycles: u64,
) {
    guarded(io, pipeline, port, |io, pipeline, port| pipeline.process(port, burst, rx_cycles, io));
}

/// Runs the stages over one burst and sends what came out. A panic in them costs the burst: its buffers go back
/// to their pool while the stack unwinds, and what was not yet accounted for is counted as such.
#[inline]
fn guarded<P: Provider>(
    io: &mut Io,
    pipeline: &mut Pipeline<P>,
    port: &mut PipelinePort,
    stages: impl FnOnce(&mut Io, &mut Pipeline<P>, &mut PipelinePort),
) {
    if !Arc::ptr_eq(&io.arrival, &port.counters) {
        io.arrival = Arc::clone(&port.counters);
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| stages(io, pipeline, port)));
    let pending = io.transmitters.iter().map(Transmitter::pending).sum();
    io.clock.enter(Stage::Tx, pending);
    for transmitter in &mut io.transmitters {
        transmitter.flush(&port.counters);
    }
    io.outbox.publish();
    if outcome.is_err() {
        io.note_panic(pipeline.streams.blame(), count_lost(&port.counters));
    }
}

/// Counts the frames of a queue that have no fate as lost to a panic; returns how many.
#[cold]
fn count_lost(counters: &QueueCounters) -> u64 {
    let lost = Balance::of(counters).unaccounted().max(0) as u64;
    counters.count_dropped(DropReason::WorkerPanic, lost);
    lost
}
