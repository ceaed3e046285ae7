//! Sending faster than a generator can seal and check: as fast as the gateway goes, or at a rate of millions.
//!
//! A chunk of packets is sealed into memory with the clock stopped. Then the clock runs while the chunk is
//! copied into buffers, sent, and what comes back is copied aside. With the clock stopped again, what came
//! is opened and checked. Payloads carry the packet's number in place of a time; when it was really sent is
//! in a table beside the chunk. The clock is read once per round of bursts, not per packet.
//!
//! As fast as the gateway goes, the loop is closed: no more than a set number of packets is on the way to each of
//! our ports, so that neither ring overflows and the rate found is the one at which nothing is lost. At a rate,
//! nothing waits: a packet that the port does not take when it is due is lost, as at a wire.
//!
//! Streams are visited in the order of [`super::order`].

use voxlane::dpdk::MAX_BURST;
use voxlane::telemetry::Counter;

use super::chunk::{Received, Sealed, capacity};
use super::engine::{Engine, FloodOptions};
use super::line::Line;
use super::order::Order;
use super::pace::Pacer;
use super::payload::NUMBERED;
use super::step::{Before, Step};
use super::verify::Outcome;

/// Most frames that are put into buffers before the ports are polled again: three quarters of a burst to each of two.
const BURST: usize = MAX_BURST + MAX_BURST / 2;

/// How often is looked for the next step.
const STEP_POLL: std::time::Duration = std::time::Duration::from_millis(1);

/// A chunk, and what came back for it.
pub struct Flood {
    options: FloodOptions,
    order: Order,
    sealed: Sealed,
    received: Received,
    /// When each frame of the chunk was sent, in nanoseconds of the run; 0 for "not yet".
    sent_ns: Vec<u64>,
    /// Packets on the way to each port.
    in_flight: Vec<u64>,
    /// Most packets on the way to each port now.
    window: u64,
    /// Whether it held back a packet in the latest round.
    is_window_full: bool,
    /// Buffers free in each port's next burst.
    room: Vec<usize>,
    /// Number of the chunk's first frame in the run.
    base: u64,
    /// Number of the next packet of the run.
    next: u64,
    /// Whether the packets of now do not count for the time.
    is_settling: bool,
}

impl Flood {
    /// Room for one chunk of frames of up to `frame_len` bytes on `ports` ports, visiting `streams` streams. All
    /// memory is taken here.
    pub fn new(options: FloodOptions, frame_len: usize, ports: usize, streams: usize, seed: u64) -> Self {
        let chunk = options.chunk.max(1);
        Flood {
            options,
            order: Order::new(streams as u64, seed),
            sealed: Sealed::new(chunk, frame_len),
            received: Received::new(chunk, frame_len),
            sent_ns: vec![1; capacity(chunk)],
            in_flight: vec![0; ports],
            window: options.in_flight,
            is_window_full: false,
            room: vec![0; ports],
            base: 0,
            next: 0,
            is_settling: false,
        }
    }

    /// Sends chunk after chunk: one step, or as many as are ordered.
    pub fn send<L: Line>(mut self, engine: &mut Engine<L>) {
        engine.verifier.start_sampling();
        self.settle(engine);
        let Some(mut number) = self.options.is_stepped.then_some(0) else {
            return self.step(engine, self.options.step);
        };
        while !engine.control.is_stopped() {
            match engine.control.steps.next() {
                Err(_) => break,
                // The gateway may look for us meanwhile.
                Ok(None) => {
                    engine.poll();
                    std::thread::sleep(STEP_POLL);
                }
                Ok(Some(step)) => {
                    number += 1;
                    let before = Before::now(&engine.stats);
                    self.step(engine, step);
                    engine.control.steps.answer(before.since(&engine.stats, number));
                }
            }
        }
    }

    /// Packets that do not count for the time: a gateway's first packet of each stream has more to do.
    fn settle<L: Line>(&mut self, engine: &mut Engine<L>) {
        self.is_settling = true;
        self.step(engine, Step { limit_ns: u64::MAX, packets: self.options.settle, rate: None });
        self.is_settling = false;
        engine.stats.settled.add(engine.stats.sent.value());
    }

    fn step<L: Line>(&mut self, engine: &mut Engine<L>, step: Step) {
        let end = self.next.saturating_add(step.packets);
        let end_ns = engine.stats.on_clock_ns.value().saturating_add(step.limit_ns);
        while !engine.control.is_stopped() && self.next < end && engine.stats.on_clock_ns.value() < end_ns {
            self.seal(engine, end);
            self.exchange(engine, step.rate);
            self.verify(engine);
            engine.serve_neighbours();
            self.base += self.sealed.frames().len() as u64;
        }
    }

    /// Clock stopped: seals the next chunk, up to packet `end` of the run.
    fn seal<L: Line>(&mut self, engine: &mut Engine<L>, end: u64) {
        self.sealed.clear();
        while self.next < end && self.sealed.frames().len() < self.options.chunk {
            let stream = self.order.next_stream() as usize;
            let (tx_port, rx_port) = (engine.traffic.tx_port(stream), engine.traffic.rx_port(stream));
            engine.traffic.send_next(stream, &mut self.sealed.sink(self.base, tx_port, rx_port));
            self.next += 1;
        }
    }

    /// Clock running: sends the chunk and collects what comes, until all has come or nothing moves.
    fn exchange<L: Line>(&mut self, engine: &mut Engine<L>, rate: Option<u64>) {
        let total = self.sealed.frames().len();
        let pacer = rate.and_then(|rate| Pacer::per_second(rate, total as u64).ok());
        let mut cursor = 0;
        self.window = if pacer.is_some() { u64::MAX } else { self.options.in_flight };
        self.in_flight.fill(0);
        let mut start_ns = engine.clock.now_ns();
        // Of the latest round in which something moved, and of the latest in any case.
        let (mut progress_ns, mut before_ns) = (start_ns, start_ns);
        let mut has_moved = false;
        loop {
            let now_ns = engine.clock.now_ns();
            if has_moved {
                progress_ns = now_ns;
                // Rare: far more came than was sent. Make room with the clock stopped.
                if self.received.is_full(engine.lines.len()) {
                    self.count(&engine.stats.on_clock_ns, now_ns - start_ns);
                    self.verify(engine);
                    start_ns = engine.clock.now_ns();
                    progress_ns = start_ns;
                }
            }
            // More was to be sent, or nothing is left to be: it is the gateway's turn.
            if self.is_window_full || cursor == total {
                self.count(&engine.stats.waiting_ns, now_ns.saturating_sub(before_ns));
            }
            before_ns = now_ns.max(start_ns);
            let is_sent = cursor == total && engine.lines.iter().all(|line| line.waiting() == 0);
            if is_sent && self.in_flight.iter().all(|count| *count == 0) || engine.control.is_aborted() {
                break;
            }
            if before_ns - progress_ns > self.options.stall_ns {
                // At a rate, it may be long until the next packet is due, and what is lost never comes.
                if is_sent || pacer.is_none() {
                    engine.stats.stalls.add(u64::from(pacer.is_none()));
                    if is_sent {
                        break;
                    }
                    self.in_flight.fill(0);
                    progress_ns = before_ns;
                }
            }
            let due = pacer.map_or(total, |pacer| pacer.due(before_ns.saturating_sub(start_ns)) as usize);
            let sent = self.send_burst(engine, cursor, due, before_ns);
            cursor += sent;
            engine.flush();
            if pacer.is_some() {
                self.discard(engine);
            }
            has_moved = sent + self.receive_burst(engine) > 0;
        }
        self.count(&engine.stats.on_clock_ns, progress_ns - start_ns);
        // Frames that an abort kept from being sent were counted as they were sealed.
        let unsent = self.sealed.frames().iter().skip(cursor).filter(|frame| frame.is_valid).count();
        engine.stats.not_taken.add(unsent as u64);
    }

    /// Adds to a time, unless this is not to be part of the result.
    fn count(&self, time: &Counter, ns: u64) {
        if !self.is_settling {
            time.add(ns);
        }
    }

    /// Puts frames `from..due` into buffers, as far as there is room; returns how many.
    #[inline]
    fn send_burst<L: Line>(&mut self, engine: &mut Engine<L>, from: usize, due: usize, now_ns: u64) -> usize {
        let due = due.min(from + BURST);
        self.is_window_full = false;
        if from >= due {
            return 0;
        }
        for (room, line) in self.room.iter_mut().zip(&mut engine.lines) {
            *room = line.room();
        }
        let mut at = from;
        for frame in &self.sealed.frames()[from..due] {
            let (tx_port, rx_port) = (usize::from(frame.tx_port), usize::from(frame.rx_port));
            self.is_window_full = self.in_flight[rx_port] >= self.window;
            if self.is_window_full || self.room[tx_port] == 0 {
                break;
            }
            engine.lines[tx_port].offer(self.sealed.bytes(at, *frame));
            self.room[tx_port] -= 1;
            self.in_flight[rx_port] += u64::from(frame.is_valid);
            at += 1;
        }
        self.sent_ns[from..at].fill(now_ns.max(1));
        at - from
    }

    /// What the ports did not take is lost.
    fn discard<L: Line>(&mut self, engine: &mut Engine<L>) {
        for line in &mut engine.lines {
            if line.waiting() > 0 {
                engine.stats.refused.add(line.discard() as u64);
            }
        }
    }

    #[inline]
    fn receive_burst<L: Line>(&mut self, engine: &mut Engine<L>) -> usize {
        let mut came = 0;
        for (port, line) in engine.lines.iter_mut().enumerate() {
            let (received, mut media) = (&mut self.received, 0);
            came += line.receive(|frame, arrival_ns| {
                media += u64::from(is_udp(frame));
                received.keep(port, frame, arrival_ns);
            });
            // What the gateway says as a host answers no packet: counted as one, it would have the last packet of a chunk
            // waited for no more.
            self.in_flight[port] = self.in_flight[port].saturating_sub(media);
        }
        came
    }

    /// Clock stopped: checks what came.
    fn verify<L: Line>(&mut self, engine: &mut Engine<L>) {
        if self.options.is_mirrored {
            return self.compare(engine);
        }
        let (base, sent_ns) = (self.base, &self.sent_ns);
        let sent_at = |stamp: u64| {
            if stamp & NUMBERED == 0 {
                return Some(stamp);
            }
            let at = usize::try_from((stamp & !NUMBERED).checked_sub(base)?).ok()?;
            sent_ns.get(at).copied().filter(|ns| *ns != 0)
        };
        self.received.take(|frame, bytes| {
            let port = usize::from(frame.port);
            if engine.verifier.receive(port, bytes, frame.arrival_ns, sent_at) == Outcome::ForHost {
                engine.neighbours.receive(port, frame.arrival_ns, bytes);
            }
        });
    }

    /// Clock stopped: compares what came with what was sent, as a forwarder that changes nothing returns it.
    fn compare<L: Line>(&mut self, engine: &mut Engine<L>) {
        let stats = &engine.stats;
        let mut cursors = vec![0; self.in_flight.len()];
        let Flood { received, sealed, sent_ns, .. } = self;
        received.take(|frame, bytes| {
            let cursor = &mut cursors[usize::from(frame.port)];
            let rest = sealed.frames().iter().enumerate().skip(*cursor);
            let mut of_port = rest.filter(|(_, sent)| sent.is_valid && sent.rx_port == frame.port);
            match of_port.next() {
                None => stats.unexpected.add(1),
                Some((at, sent)) => {
                    *cursor = at + 1;
                    if sealed.bytes(at, *sent) == bytes {
                        stats.received.add(1);
                        stats.latency.record(frame.arrival_ns.saturating_sub(sent_ns[at]));
                    } else {
                        stats.corrupted.add(1);
                    }
                }
            }
        });
    }
}

/// Whether a frame is UDP over IPv4 or IPv6, with or without a VLAN tag: all media is, and nothing that a host says.
#[inline]
fn is_udp(frame: &[u8]) -> bool {
    const UDP: u8 = 17;
    match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0x00, _, _, packet @ ..]
        | [_, _, _, _, _, _, _, _, _, _, _, _, packet @ ..] => match packet {
            [0x08, 0x00, ip @ ..] => ip.get(9) == Some(&UDP),
            [0x86, 0xdd, ip @ ..] => ip.get(6) == Some(&UDP),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_is_no_media() {
        let frame = |ethertype: [u8; 2], at: usize, protocol: u8, tag: &[u8]| {
            let mut frame = [&[2; 12], tag, &ethertype, &[0; 40][..]].concat();
            frame[14 + tag.len() + at] = protocol;
            frame
        };
        for tag in [&[][..], &[0x81, 0, 0, 7]] {
            assert!(is_udp(&frame([0x08, 0x00], 9, 17, tag)), "IPv4");
            assert!(is_udp(&frame([0x86, 0xdd], 6, 17, tag)), "IPv6");
            assert!(!is_udp(&frame([0x08, 0x06], 9, 17, tag)), "ARP");
            assert!(!is_udp(&frame([0x08, 0x00], 9, 1, tag)), "ICMP");
            assert!(!is_udp(&frame([0x86, 0xdd], 6, 58, tag)), "neighbour discovery");
        }
        assert!(!is_udp(&[2; 11]));
    }
}
