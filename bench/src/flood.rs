//! Sending as fast as the gateway goes, without sealing and checking being the bottleneck.
//!
//! A chunk of packets is sealed into memory with the clock stopped. Then the clock runs while the chunk is
//! copied into buffers, sent, and what comes back is copied aside. With the clock stopped again, what came
//! is opened and checked. Payloads carry the packet's number in place of a time; when it was really sent is
//! in a table beside the chunk.
//!
//! The loop is closed: no more than a set number of packets is on the way to each of our ports, so that
//! neither ring overflows and the rate found is the one at which nothing is lost.

use voxlane::dpdk::MAX_BURST;

use super::engine::{Engine, FloodOptions, NUMBERED, STALL_NS};
use super::line::Line;
use super::traffic::{FRAME_ROOM, MAX_FRAMES_PER_STEP, Sink};
use super::verify::Outcome;

/// Frames copied into one port's buffers before it is polled again.
const BURST: usize = 32;

/// Room for received frames that the chunk did not cause, such as ARP requests.
const SPARE_RECEIVED: usize = 1_024;

/// Frames lie side by side in whole cache lines.
const STRIDE_UNIT: usize = 64;

/// A chunk, and what came back for it.
pub struct Flood {
    options: FloodOptions,
    sealed: Sealed,
    /// When each frame of the chunk was sent, in nanoseconds of the run; 0 for "not yet".
    sent_ns: Vec<u64>,
    received: Received,
    /// Packets on the way to each port.
    in_flight: Vec<u64>,
    /// Number of the chunk's first frame in the run.
    base: u64,
    /// Number of the next packet of the run.
    next: u64,
}

impl Flood {
    /// Room for one chunk of frames of up to `frame_len` bytes on `ports` ports. All memory is taken here.
    pub fn new(options: FloodOptions, frame_len: usize, ports: usize) -> Self {
        let capacity = options.chunk.max(1) + MAX_FRAMES_PER_STEP;
        Flood {
            options,
            sealed: Sealed { store: Store::new(capacity, frame_len), frames: Vec::with_capacity(capacity) },
            sent_ns: vec![0; capacity],
            received: Received {
                store: Store::new(capacity + SPARE_RECEIVED, frame_len),
                frames: Vec::with_capacity(capacity + SPARE_RECEIVED),
                capacity: capacity + SPARE_RECEIVED,
            },
            in_flight: vec![0; ports],
            base: 0,
            next: 0,
        }
    }

    /// Sends chunk after chunk.
    pub fn send<L: Line>(mut self, engine: &mut Engine<L>) {
        while !engine.control.is_stopped()
            && self.next < self.options.total
            && engine.stats.on_clock_ns.value() < self.options.limit_ns
        {
            self.seal(engine);
            self.exchange(engine);
            self.verify(engine);
            engine.serve_neighbours();
            self.base += self.sealed.frames.len() as u64;
        }
    }

    /// Clock stopped: seals the next chunk.
    fn seal<L: Line>(&mut self, engine: &mut Engine<L>) {
        self.sealed.frames.clear();
        let streams = engine.traffic.streams() as u64;
        while self.next < self.options.total && self.sealed.frames.len() < self.options.chunk {
            let stream = (self.next % streams) as usize;
            let (tx_port, rx_port) = (engine.traffic.tx_port(stream), engine.traffic.rx_port(stream));
            let mut sink = SealedSink {
                sealed: &mut self.sealed,
                base: self.base,
                tx_port,
                rx_port,
                room: [0; FRAME_ROOM],
            };
            engine.traffic.send_next(stream, &mut sink);
            self.next += 1;
        }
    }

    /// Clock running: sends the chunk and collects what comes, until all has come or nothing moves.
    fn exchange<L: Line>(&mut self, engine: &mut Engine<L>) {
        let mut start_ns = engine.clock.now_ns();
        let mut progress_ns = start_ns;
        let mut cursor = 0;
        self.in_flight.fill(0);
        loop {
            let sent = self.send_burst(engine, cursor);
            cursor += sent;
            engine.flush();
            let came = self.receive_burst(engine);
            if self.received.is_full(engine.lines.len()) {
                // Rare: far more came than was sent. Make room with the clock stopped.
                engine.stats.on_clock_ns.add(engine.clock.now_ns() - start_ns);
                self.verify(engine);
                start_ns = engine.clock.now_ns();
                progress_ns = start_ns;
            }
            let is_sent = cursor == self.sealed.frames.len();
            let is_idle = engine.lines.iter().all(|line| line.waiting() == 0);
            if sent + came > 0 {
                progress_ns = engine.clock.now_ns();
            }
            if is_sent && is_idle && self.in_flight.iter().all(|count| *count == 0) {
                break;
            }
            if engine.control.is_aborted() {
                break;
            }
            if engine.clock.now_ns() - progress_ns > STALL_NS {
                engine.stats.stalls.add(1);
                if is_sent {
                    break;
                }
                self.in_flight.fill(0);
                progress_ns = engine.clock.now_ns();
            }
        }
        engine.stats.on_clock_ns.add(progress_ns - start_ns);
        // Frames that an abort kept from being sent were counted as they were sealed.
        let unsent = self.sealed.frames.iter().skip(cursor).filter(|frame| frame.is_valid).count();
        engine.stats.not_taken.add(unsent as u64);
    }

    #[inline]
    fn send_burst<L: Line>(&mut self, engine: &mut Engine<L>, from: usize) -> usize {
        let mut sent = 0;
        while sent < BURST {
            let Some(frame) = self.sealed.frames.get(from + sent) else {
                break;
            };
            let line = &mut engine.lines[frame.tx_port];
            if self.in_flight[frame.rx_port] >= self.options.in_flight || line.room() == 0 {
                break;
            }
            let from_store = self.sealed.store.frame_mut(from + sent, frame.len);
            if let (Some(bytes), Some(slot)) = (from_store, line.slot().get_mut(..frame.len)) {
                slot.copy_from_slice(bytes);
            }
            self.sent_ns[from + sent] = engine.clock.now_ns().max(1);
            line.commit(frame.len, frame.is_valid);
            self.in_flight[frame.rx_port] += u64::from(frame.is_valid);
            sent += 1;
        }
        sent
    }

    #[inline]
    fn receive_burst<L: Line>(&mut self, engine: &mut Engine<L>) -> usize {
        let mut came = 0;
        for (port, line) in engine.lines.iter_mut().enumerate() {
            let count = line.receive(&mut |frame, arrival_ns| self.received.keep(port, frame, arrival_ns));
            self.in_flight[port] = self.in_flight[port].saturating_sub(count as u64);
            came += count;
        }
        came
    }

    /// Clock stopped: checks what came.
    fn verify<L: Line>(&mut self, engine: &mut Engine<L>) {
        let (base, sent_ns) = (self.base, &self.sent_ns);
        let sent_at = |stamp: u64| {
            if stamp & NUMBERED == 0 {
                return Some(stamp);
            }
            let at = usize::try_from((stamp & !NUMBERED).checked_sub(base)?).ok()?;
            sent_ns.get(at).copied().filter(|ns| *ns != 0)
        };
        for (at, frame) in self.received.frames.drain(..).enumerate() {
            let Some(bytes) = self.received.store.frame_mut(at, frame.len) else {
                continue;
            };
            if engine.verifier.receive(frame.port, bytes, frame.arrival_ns, sent_at) == Outcome::ForHost {
                engine.neighbours.receive(frame.port, frame.arrival_ns, bytes);
            }
        }
    }
}

/// Frames in memory, side by side.
struct Store {
    bytes: Vec<u8>,
    stride: usize,
}

impl Store {
    /// Room for `count` frames of up to `len` bytes.
    fn new(count: usize, len: usize) -> Self {
        let stride = len.next_multiple_of(STRIDE_UNIT);
        Store { bytes: vec![0; count * stride], stride }
    }

    /// Keeps `frame` as number `at`. A longer one than fits is cut, and then fails every check there is.
    /// Returns the length kept, or `None` when there is no such number.
    #[inline]
    fn put(&mut self, at: usize, frame: &[u8]) -> Option<usize> {
        let len = frame.len().min(self.stride);
        let to = self.frame_mut(at, len)?;
        to.copy_from_slice(frame.get(..len)?);
        Some(len)
    }

    /// The first `len` bytes of frame `at`.
    #[inline]
    fn frame_mut(&mut self, at: usize, len: usize) -> Option<&mut [u8]> {
        let start = at * self.stride;
        self.bytes.get_mut(start..start + len)
    }
}

/// Frames sealed beforehand.
struct Sealed {
    store: Store,
    frames: Vec<SealedFrame>,
}

struct SealedFrame {
    len: usize,
    tx_port: usize,
    rx_port: usize,
    is_valid: bool,
}

/// Where one packet is sealed to.
struct SealedSink<'f> {
    sealed: &'f mut Sealed,
    base: u64,
    tx_port: usize,
    rx_port: usize,
    room: [u8; FRAME_ROOM],
}

impl Sink for SealedSink<'_> {
    fn slot(&mut self) -> &mut [u8] {
        &mut self.room
    }

    fn commit(&mut self, len: usize, is_valid: bool) {
        let Sealed { store, frames } = &mut *self.sealed;
        if let Some(len) = self.room.get(..len).and_then(|frame| store.put(frames.len(), frame)) {
            frames.push(SealedFrame { len, tx_port: self.tx_port, rx_port: self.rx_port, is_valid });
        }
    }

    fn stamp(&self) -> u64 {
        NUMBERED | (self.base + self.sealed.frames.len() as u64)
    }
}

/// Received frames, kept for later.
struct Received {
    store: Store,
    frames: Vec<ReceivedFrame>,
    capacity: usize,
}

struct ReceivedFrame {
    len: usize,
    port: usize,
    arrival_ns: u64,
}

impl Received {
    #[inline]
    fn keep(&mut self, port: usize, frame: &[u8], arrival_ns: u64) {
        if let Some(len) = self.store.put(self.frames.len(), frame) {
            self.frames.push(ReceivedFrame { len, port, arrival_ns });
        }
    }

    /// Whether a burst from each of `ports` ports might not fit any more.
    fn is_full(&self, ports: usize) -> bool {
        self.frames.len() + ports * MAX_BURST > self.capacity
    }
}
