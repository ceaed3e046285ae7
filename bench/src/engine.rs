//! The generator's loop: everything that happens on its one lcore, from the first ARP request to the last
//! straggler.
//!
//! Prepare (resolve the gateway, open the paths) → send, paced ([`super::paced`]) or as a flood
//! ([`super::flood`]), receiving all the while → drain. The engine works on [`Line`]s and knows nothing of
//! DPDK; it returns when nothing polls any more, and only then may the ports close.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::clock::Clock;
use super::flood::Flood;
use super::line::Line;
use super::neighbours::Neighbours;
use super::pace::Pacer;
use super::payload::NUMBERED;
use super::plan::Plan;
use super::reports::Reports;
use super::stats::Stats;
use super::step::{Step, Steps};
use super::traffic::{MAX_FRAMES_PER_STEP, Traffic};
use super::verify::{Outcome, Verifier};

/// A warm-up packet that did not come back is followed by another after this long.
const WARM_UP_INTERVAL_NS: u64 = 100_000_000;

/// If nothing moves for this long, packets on the way no longer count against the in-flight limit.
pub const STALL_NS: u64 = 20_000_000;

/// After the last packet came, duplicates of it have this long to come, too.
const LINGER_NS: u64 = 20_000_000;

/// Ends a run early, and orders its steps: the main thread's word to the engine.
#[derive(Debug, Default)]
pub struct Control {
    state: AtomicU8,
    /// Steps of a flood.
    pub steps: Steps,
}

const RUN: u8 = 0;
const STOP: u8 = 1;
const ABORT: u8 = 2;

impl Control {
    /// Ends sending; what is out is still waited for.
    pub fn stop(&self) {
        self.state.fetch_max(STOP, Ordering::Relaxed);
    }

    /// Ends all use of the ports at once.
    pub fn abort(&self) {
        self.state.store(ABORT, Ordering::Relaxed);
    }

    /// Whether sending is to end.
    pub fn is_stopped(&self) -> bool {
        self.state.load(Ordering::Relaxed) != RUN
    }

    /// Whether the ports must not be used any more.
    pub fn is_aborted(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ABORT
    }
}

/// How packets are sent.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// On a schedule, with a schedule of its own for RTCP.
    Paced(PacedOptions),
    /// As fast as the gateway goes.
    Flood(FloodOptions),
}

/// How packets are sent on a schedule.
#[derive(Debug, Clone, Copy)]
pub struct PacedOptions {
    /// The schedule of media.
    pub media: Pacer,
    /// That of RTCP, if any.
    pub reports: Option<Pacer>,
    /// After this many nanoseconds the run ends, even if the schedule could not be kept.
    pub limit_ns: u64,
    /// Packets on the way at a time; `u64::MAX` for no limit.
    pub in_flight: u64,
}

/// How a flood is sent.
#[derive(Debug, Clone, Copy)]
pub struct FloodOptions {
    /// Packets sealed beforehand at a time.
    pub chunk: usize,
    /// Packets on the way to one port at a time; `u64::MAX` for no limit.
    pub in_flight: u64,
    /// Packets before the clock counts.
    pub settle: u64,
    /// If nothing moves for this long, packets on the way are given up, in nanoseconds.
    pub stall_ns: u64,
    /// What is sent, unless steps are ordered one by one.
    pub step: Step,
    /// Whether they are.
    pub is_stepped: bool,
    /// Whether there is no gateway at the other end but a forwarder that changes nothing.
    pub is_mirrored: bool,
}

/// What the engine is told to do.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// How packets are sent.
    pub mode: Mode,
    /// How long resolving the gateway and opening the paths may take, in nanoseconds.
    pub prepare_ns: u64,
    /// Whether paths are opened by warm-up packets.
    pub warm_up: bool,
    /// How long nothing may come before the rest is given up, in nanoseconds.
    pub drain_ns: u64,
}

/// Why no packet was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The gateway does not answer ARP or neighbour discovery.
    #[error(
        "port \"{port}\": the gateway does not answer for {address} after {seconds} s; check that it runs with this \
         configuration and that the device of --port {port} is the other end of its port"
    )]
    Unresolved {
        /// The gateway's port.
        port: String,
        /// The gateway's address.
        address: std::net::IpAddr,
        /// How long was waited.
        seconds: u64,
    },
    /// The gateway answers but no packet comes through.
    #[error(
        "no packet of session \"{session}\" from {source_address} comes back to {sink_address} after {seconds} s; look at the gateway's \
         drop reasons (voxlane_dropped_packets_total), or send regardless with --no-warm-up"
    )]
    NotRelayed {
        /// The session's id.
        session: String,
        /// Where it was sent from.
        source_address: std::net::SocketAddr,
        /// Where it should have come.
        sink_address: std::net::SocketAddr,
        /// How long was waited.
        seconds: u64,
    },
}

/// One representative stream of every pair of addresses that packets go between.
#[derive(Debug, Clone)]
pub struct Path {
    /// Index of the stream.
    pub stream: usize,
    session: String,
    source: std::net::SocketAddr,
    sink: std::net::SocketAddr,
}

/// The generator, but for its ports.
pub struct Engine<L> {
    pub(super) lines: Vec<L>,
    pub(super) traffic: Traffic,
    pub(super) reports: Option<Reports>,
    pub(super) verifier: Verifier,
    pub(super) neighbours: Neighbours,
    pub(super) paths: Vec<Path>,
    pub(super) clock: Clock,
    pub(super) stats: Arc<Stats>,
    pub(super) control: Arc<Control>,
    pub(super) options: EngineOptions,
}

impl<L: Line> Engine<L> {
    /// Does the whole run.
    ///
    /// # Errors
    /// [`PrepareError`], before any packet that counts was sent.
    pub fn run(&mut self) -> Result<(), PrepareError> {
        self.prepare()?;
        match self.options.mode {
            Mode::Paced(options) => self.send_paced(options),
            Mode::Flood(options) => {
                let (frame_len, streams) = (self.traffic.longest_frame(), self.traffic.streams());
                Flood::new(options, frame_len, self.lines.len(), streams, self.traffic.seed()).send(self);
            }
        }
        self.drain();
        Ok(())
    }

    /// Receives what has come, once per port, and does what the host has to do. Returns how many frames came.
    #[inline]
    pub(super) fn poll(&mut self) -> usize {
        let mut count = 0;
        let Self { lines, verifier, neighbours, .. } = self;
        for (port, line) in lines.iter_mut().enumerate() {
            count += line.receive(|frame, arrival_ns| {
                if verifier.receive(port, frame, arrival_ns, in_ns) == Outcome::ForHost {
                    neighbours.receive(port, arrival_ns, frame);
                }
            });
        }
        self.serve_neighbours();
        count
    }

    /// Sends what the host has to say and follows the gateway's MAC addresses.
    #[inline]
    pub(super) fn serve_neighbours(&mut self) {
        let now_ns = self.clock.now_ns();
        // A mirror has no MAC address to ask for, and would send the question back.
        if self.is_mirrored() || !self.neighbours.is_due(now_ns) {
            return;
        }
        let Self { lines, traffic, reports, neighbours, .. } = self;
        neighbours.poll(now_ns);
        neighbours.resolved(|port, address, mac| {
            traffic.set_next_hop(port, address, mac);
            if let Some(reports) = reports {
                reports.set_next_hop(port, address, mac);
            }
        });
        neighbours.send(|port, frame| {
            let line = &mut lines[port];
            if line.room() == 0 {
                return false;
            }
            if let Some(slot) = line.slot().get_mut(..frame.len()) {
                slot.copy_from_slice(frame);
                line.commit(frame.len(), false);
            }
            true
        });
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        for line in &mut self.lines {
            line.flush();
        }
    }

    /// Whether a step of [`Traffic`] fits through the stream's port now.
    #[inline]
    pub(super) fn has_room(&mut self, stream: usize) -> bool {
        self.lines[self.traffic.tx_port(stream)].room() >= MAX_FRAMES_PER_STEP
    }

    fn is_mirrored(&self) -> bool {
        matches!(self.options.mode, Mode::Flood(FloodOptions { is_mirrored: true, .. }))
    }

    fn prepare(&mut self) -> Result<(), PrepareError> {
        if self.is_mirrored() {
            // A memif server has no buffer to send into before its client has polled once.
            self.poll();
            return Ok(());
        }
        let start_ns = self.clock.now_ns();
        let deadline_ns = start_ns.saturating_add(self.options.prepare_ns);
        let seconds = self.options.prepare_ns / 1_000_000_000;
        self.neighbours.start(start_ns);
        while let Some((port, address)) = self.neighbours.unresolved() {
            if self.control.is_stopped() {
                return Ok(());
            }
            if self.clock.now_ns() > deadline_ns {
                let port = port.to_owned();
                return Err(PrepareError::Unresolved { port, address, seconds });
            }
            self.poll();
        }
        if !self.options.warm_up {
            return Ok(());
        }
        let mut next_ns = 0;
        while let Some(cold) = self.paths.iter().find(|path| !self.verifier.is_warm(path.stream)) {
            let now_ns = self.clock.now_ns();
            if self.control.is_stopped() {
                return Ok(());
            }
            if now_ns > deadline_ns {
                return Err(PrepareError::NotRelayed {
                    session: cold.session.clone(),
                    source_address: cold.source,
                    sink_address: cold.sink,
                    seconds,
                });
            }
            if now_ns >= next_ns {
                next_ns = now_ns + WARM_UP_INTERVAL_NS;
                self.send_warm_ups();
            }
            self.poll();
        }
        Ok(())
    }

    fn send_warm_ups(&mut self) {
        for at in 0..self.paths.len() {
            let stream = self.paths[at].stream;
            if !self.verifier.is_warm(stream) && self.has_room(stream) {
                let line = &mut self.lines[self.traffic.tx_port(stream)];
                self.traffic.send_warm_up(stream, line);
                line.flush();
            }
        }
    }

    /// Sends what is held back, then waits for what is out: until all has come and duplicates had their
    /// chance, or until nothing came for the drain time.
    fn drain(&mut self) {
        let streams = self.traffic.streams();
        let mut released = 0;
        let mut progress_ns = self.clock.now_ns();
        let mut before = u64::MAX;
        while !self.control.is_aborted() {
            while released < streams && self.has_room(released) {
                let line = &mut self.lines[self.traffic.tx_port(released)];
                self.traffic.release(released, line);
                released += 1;
            }
            self.flush();
            self.poll();
            let now_ns = self.clock.now_ns();
            let waiting: usize = self.lines.iter().map(Line::waiting).sum();
            let missing = self.stats.outstanding() + self.stats.rtcp_outstanding();
            let missing = missing + (waiting + streams - released) as u64;
            if missing != before {
                (before, progress_ns) = (missing, now_ns);
            }
            let patience_ns = if missing == 0 { LINGER_NS } else { self.options.drain_ns };
            if now_ns - progress_ns > patience_ns {
                break;
            }
        }
        let waiting: usize = self.lines.iter().map(Line::waiting).sum();
        self.stats.not_taken.add(waiting as u64);
    }
}

/// The send time that a stamp is, if it is a time and not the number of a pre-sealed packet.
#[inline]
fn in_ns(stamp: u64) -> Option<u64> {
    (stamp & NUMBERED == 0).then_some(stamp)
}

/// One stream for every pair of addresses between which packets of the plan go.
pub fn paths(plan: &Plan<'_>) -> Vec<Path> {
    let mut seen = BTreeSet::new();
    let streams = plan.streams.iter().enumerate();
    streams
        .filter(|(_, stream)| {
            let sent = (stream.tx_port, stream.source.ip(), stream.sender.local.ip());
            seen.insert((sent, stream.rx_port, stream.receiver.local.ip(), stream.sink.ip()))
        })
        .map(|(at, stream)| Path {
            stream: at,
            session: stream.session.to_owned(),
            source: stream.source,
            sink: stream.sink,
        })
        .collect()
}
