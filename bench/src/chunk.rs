//! A chunk of a flood in memory: frames sealed beforehand, and what came back for them.
//!
//! All memory is taken and touched when the run is set up, so that no page fault is on the clock.

use voxlane::dpdk::MAX_BURST;

use super::payload::NUMBERED;
use super::traffic::{FRAME_ROOM, MAX_FRAMES_PER_STEP, Sink};

/// Room for received frames that the chunk did not cause, such as ARP requests.
const SPARE_RECEIVED: usize = 1_024;

/// Frames lie side by side in whole cache lines.
const STRIDE_UNIT: usize = 64;

/// Frames in memory, side by side.
struct Store {
    bytes: Vec<u8>,
    stride: usize,
}

impl Store {
    /// Room for `count` frames of up to `len` bytes.
    fn new(count: usize, len: usize) -> Self {
        let stride = len.next_multiple_of(STRIDE_UNIT);
        // Not zero: the allocator would hand out pages that fault at the first touch.
        Store { bytes: vec![0xa5; count * stride], stride }
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
    fn frame(&self, at: usize, len: usize) -> Option<&[u8]> {
        let start = at * self.stride;
        self.bytes.get(start..start + len)
    }

    /// The same, to be changed.
    #[inline]
    fn frame_mut(&mut self, at: usize, len: usize) -> Option<&mut [u8]> {
        let start = at * self.stride;
        self.bytes.get_mut(start..start + len)
    }
}

/// Frames sealed beforehand.
pub struct Sealed {
    store: Store,
    frames: Vec<SealedFrame>,
    /// Where a frame is built before it is known how long it is.
    room: Box<[u8; FRAME_ROOM]>,
}

/// A frame sealed beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedFrame {
    /// Length in bytes.
    pub len: u16,
    /// The port that it is sent through.
    pub tx_port: u8,
    /// The port that it comes back on.
    pub rx_port: u8,
    /// Whether the other side is to receive it.
    pub is_valid: bool,
}

impl Sealed {
    /// Room for `chunk` packets, each with all that may go with it, of frames of up to `frame_len` bytes.
    pub fn new(chunk: usize, frame_len: usize) -> Self {
        let capacity = capacity(chunk);
        Sealed {
            store: Store::new(capacity, frame_len),
            frames: Vec::with_capacity(capacity),
            room: Box::new([0; FRAME_ROOM]),
        }
    }

    /// The frames' descriptions, in the order in which they are sent.
    #[inline]
    pub fn frames(&self) -> &[SealedFrame] {
        &self.frames
    }

    /// The bytes of frame `at`, which has the description `frame`.
    #[inline]
    pub fn bytes(&self, at: usize, frame: SealedFrame) -> &[u8] {
        self.store.frame(at, usize::from(frame.len)).unwrap_or_default()
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// Where the next frames go. `base` is the number of the chunk's first frame in the run.
    pub fn sink(&mut self, base: u64, tx_port: usize, rx_port: usize) -> SealedSink<'_> {
        SealedSink { sealed: self, base, tx_port: tx_port as u8, rx_port: rx_port as u8 }
    }
}

/// Frames that a chunk of that many packets may have.
pub const fn capacity(chunk: usize) -> usize {
    chunk + MAX_FRAMES_PER_STEP
}

/// Where one packet is sealed to.
pub struct SealedSink<'f> {
    sealed: &'f mut Sealed,
    base: u64,
    tx_port: u8,
    rx_port: u8,
}

impl Sink for SealedSink<'_> {
    fn slot(&mut self) -> &mut [u8] {
        &mut *self.sealed.room
    }

    fn commit(&mut self, len: usize, is_valid: bool) {
        let Sealed { store, frames, room } = &mut *self.sealed;
        if let Some(len) = room.get(..len).and_then(|frame| store.put(frames.len(), frame)) {
            let (tx_port, rx_port) = (self.tx_port, self.rx_port);
            frames.push(SealedFrame { len: len as u16, tx_port, rx_port, is_valid });
        }
    }

    fn stamp(&self) -> u64 {
        NUMBERED | (self.base + self.sealed.frames.len() as u64)
    }
}

/// Received frames, kept for later.
pub struct Received {
    store: Store,
    frames: Vec<ReceivedFrame>,
    capacity: usize,
}

/// A received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// Length in bytes, as far as it was kept.
    pub len: u16,
    /// The port that it came on.
    pub port: u8,
    /// When its burst was taken, in nanoseconds of the run.
    pub arrival_ns: u64,
}

impl Received {
    /// Room for what comes back for `chunk` packets of frames of up to `frame_len` bytes.
    pub fn new(chunk: usize, frame_len: usize) -> Self {
        let capacity = capacity(chunk) + SPARE_RECEIVED;
        Received { store: Store::new(capacity, frame_len), frames: Vec::with_capacity(capacity), capacity }
    }

    /// Keeps a frame.
    #[inline]
    pub fn keep(&mut self, port: usize, frame: &[u8], arrival_ns: u64) {
        if let Some(len) = self.store.put(self.frames.len(), frame) {
            self.frames.push(ReceivedFrame { len: len as u16, port: port as u8, arrival_ns });
        }
    }

    /// Whether a burst from each of `ports` ports might not fit any more.
    #[inline]
    pub fn is_full(&self, ports: usize) -> bool {
        self.frames.len() + ports * MAX_BURST > self.capacity
    }

    /// Gives every frame to `each`, in the order of arrival, and forgets it.
    pub fn take(&mut self, mut each: impl FnMut(ReceivedFrame, &mut [u8])) {
        let Received { store, frames, .. } = self;
        for (at, frame) in frames.drain(..).enumerate() {
            if let Some(bytes) = store.frame_mut(at, usize::from(frame.len)) {
                each(frame, bytes);
            }
        }
    }
}
