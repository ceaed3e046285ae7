//! Frames that the gateway itself makes: what its host side answers, and whatever will be sent to several legs or
//! without a packet that arrived (fan-out, repacketizing, comfort noise).
//!
//! An [`AudioFramePool`] belongs to the one thread that acquires from it. It has three buckets of frames of one size
//! each, every bucket a mempool of DPDK in hugepages, filled at start. A length finds its bucket in a table; a bucket
//! that is empty is counted and the next larger one asked; when all are empty the caller gets nothing, and never memory
//! of the heap. Anybody may give frames back: another worker, or a driver once it has sent them.
//!
//! ```text
//! AudioFramePool ── acquire ─► AudioFrame ── into_mbuf ─► TxQueue::tx_burst ─────────────► back in its bucket
//!                                  │  ▲
//!                            share ▼  │ try_unique: the last reference
//!                              SharedFrame ── clone ─► TxQueue::tx_burst_shared, each port ─► back with the last one
//! ```
//!
//! An [`AudioFrame`] has one owner, who may write; a [`SharedFrame`] has many, who may read. Neither can be freed twice,
//! because giving back is what their `drop` does, once each. A new frame is empty: bytes come in only by being written,
//! so nothing that an earlier frame left in the buffer can be read or sent.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Eal, Error, Mbuf, Mempool};
use crate::telemetry::{PoolCounters, PoolUse};

/// Buckets of a pool.
pub const BUCKETS: usize = 3;

/// Sizes of buckets are multiples of this many bytes, a cache line.
pub const SIZE_STEP: usize = 64;

/// Largest size of a bucket in bytes: a jumbo frame.
pub const MAX_SIZE: u16 = 9216;

/// References to one frame beyond which the process ends, as for [`Arc`]: the mbuf counts them in 16 bits.
const MAX_REFERENCES: u16 = i16::MAX as u16;

/// Frames of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameBucket {
    /// Bytes that a frame holds, behind a headroom of 128 bytes; a multiple of [`SIZE_STEP`], at most [`MAX_SIZE`].
    pub bytes: u16,
    /// How many can be out at a time.
    pub frames: u32,
}

impl FrameBucket {
    /// Voice of 20 ms at 48 kHz in 8 and in 16 bits, and 40 ms in 16 bits.
    pub const DEFAULT: [FrameBucket; BUCKETS] = [
        FrameBucket { bytes: 960, frames: 128 },
        FrameBucket { bytes: 1920, frames: 64 },
        FrameBucket { bytes: 3840, frames: 32 },
    ];
}

/// Who gives the frames of a pool back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Releasers {
    /// The lcore that acquires them, mostly, and sometimes one of so many others: with a cache for each of them.
    OwnerAnd(u32),
    /// Other threads only. A cache would collect frames where nobody acquires.
    Others,
}

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoFrame {
    /// No bucket has frames of that length.
    #[error("no bucket has frames that long; raise the last of [memory] frame_buckets")]
    TooLong,
    /// Every bucket with frames of that length is empty.
    #[error("all frames that long are in use; raise [memory] frame_buckets")]
    Exhausted,
}

/// Frames of three sizes, all taken at start. Belongs to the thread that acquires.
#[derive(Debug)]
pub struct AudioFramePool {
    buckets: [Bucket; BUCKETS],
    table: BucketTable,
}

#[derive(Debug)]
struct Bucket {
    pool: Mempool,
    counters: Arc<PoolCounters>,
}

/// What one bucket has counted, for metrics and the final report; outlives the pool.
#[derive(Debug, Clone)]
pub struct BucketAccount {
    pool: Mempool,
    counters: Arc<PoolCounters>,
}

/// From a length to the smallest bucket that holds it, in one load.
#[derive(Debug)]
struct BucketTable(Box<[u8]>);

impl AudioFramePool {
    /// Takes the memory on `socket` (`None`: any NUMA node). The buckets, in the order of their sizes, are named `NAME_b0`,
    /// `NAME_b1` and `NAME_b2`.
    ///
    /// # Errors
    /// [`Error::Call`] when a name is taken or hugepage memory does not suffice.
    pub fn new(
        eal: &Eal,
        name: &str,
        buckets: &[FrameBucket; BUCKETS],
        releasers: Releasers,
        socket: Option<u32>,
    ) -> Result<Self, Error> {
        let make = |(number, bucket): (usize, &FrameBucket)| {
            let (frames, cache) = layout(bucket.frames, releasers);
            let pool = Mempool::new(eal, &format!("{name}_b{number}"), frames, cache, bucket.bytes, socket)?;
            Ok(Bucket { pool, counters: Arc::default() })
        };
        let [b0, b1, b2] = buckets;
        let made = [make((0, b0))?, make((1, b1))?, make((2, b2))?];
        Ok(AudioFramePool { buckets: made, table: BucketTable::new(buckets.map(|bucket| bucket.bytes)) })
    }

    /// An empty frame with room for `len` bytes.
    ///
    /// # Errors
    /// [`NoFrame`]; each bucket that was found empty has counted it.
    #[inline]
    pub fn acquire(&mut self, len: usize) -> Result<AudioFrame, NoFrame> {
        let first = self.table.bucket_of(len).ok_or(NoFrame::TooLong)?;
        for bucket in self.buckets.iter().skip(first) {
            if let Some(mbuf) = bucket.pool.alloc() {
                bucket.counters.count_acquired(1, 0);
                return Ok(AudioFrame(mbuf));
            }
            bucket.counters.count_exhausted(1);
        }
        Err(NoFrame::Exhausted)
    }

    /// A frame with these `bytes`.
    ///
    /// # Errors
    /// [`NoFrame`].
    #[inline]
    pub fn acquire_with(&mut self, bytes: &[u8]) -> Result<AudioFrame, NoFrame> {
        let mut frame = self.acquire(bytes.len())?;
        if frame.extend_from_slice(bytes) { Ok(frame) } else { Err(NoFrame::TooLong) }
    }

    /// The buckets' accounts, in the order of sizes.
    pub fn accounts(&self) -> [BucketAccount; BUCKETS] {
        self.buckets.each_ref().map(|Bucket { pool, counters }| BucketAccount {
            pool: pool.clone(),
            counters: Arc::clone(counters),
        })
    }
}

/// How many mbufs give `frames` to the owner at any time, and the size of the lcores' caches. What lies in the cache of
/// another lcore cannot be acquired until that lcore's cache is full: half as much again as its size.
fn layout(frames: u32, releasers: Releasers) -> (u32, u32) {
    match releasers {
        Releasers::Others => (frames, 0),
        Releasers::OwnerAnd(others) => {
            let cache = (frames / 4).min(dpdk_sys::VX_MEMPOOL_CACHE_MAX);
            (frames.saturating_add(others.saturating_mul(cache + cache / 2)), cache)
        }
    }
}

impl BucketAccount {
    /// The bucket's name, a metric label.
    pub fn name(&self) -> &str {
        self.pool.name()
    }

    /// The account now.
    pub fn read(&self) -> PoolUse {
        let usage = self.pool.usage();
        let (size, in_use, high_water) = (usage.size.into(), usage.in_use.into(), usage.high_water.into());
        let account = PoolUse::of_mempool(size, in_use, high_water, self.counters.acquired());
        PoolUse { exhausted: self.counters.exhausted(), ..account }
    }
}

impl BucketTable {
    /// `sizes` rise.
    fn new(sizes: [u16; BUCKETS]) -> Self {
        let steps = usize::from(sizes[BUCKETS - 1]) / SIZE_STEP;
        let bucket_of = |step: usize| sizes.iter().position(|&size| step * SIZE_STEP <= usize::from(size));
        BucketTable((0..=steps).map(|step| bucket_of(step).unwrap_or(BUCKETS) as u8).collect())
    }

    #[inline(always)]
    fn bucket_of(&self, len: usize) -> Option<usize> {
        self.0.get(len.div_ceil(SIZE_STEP)).map(|&bucket| usize::from(bucket))
    }
}

/// A frame of an [`AudioFramePool`] with one owner. Dropping it gives it back.
///
/// `len` is what was written; the capacity is the bucket's, whatever length was asked for.
pub struct AudioFrame(Mbuf);

impl AudioFrame {
    /// The bytes that were written.
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        self.0.data()
    }

    /// The same, to change in place.
    #[inline(always)]
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.0.data_mut()
    }

    /// Logical length in bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes from the frame's start that there is room for.
    #[inline(always)]
    pub fn capacity(&self) -> usize {
        self.0.len() + self.0.tailroom()
    }

    /// Bytes that there is room for in front.
    #[inline(always)]
    pub fn headroom(&self) -> usize {
        self.0.headroom()
    }

    /// Appends `bytes`; `false` if they do not fit, and nothing changed.
    #[inline]
    #[must_use]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> bool {
        let len = self.0.len();
        let fits = self.0.resize(len + bytes.len());
        if fits && let Some(end) = self.0.data_mut().get_mut(len..) {
            end.copy_from_slice(bytes);
        }
        fits
    }

    /// Puts `bytes` in front, such as headers; `false` if they do not fit, and nothing changed.
    #[inline]
    #[must_use]
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.headroom() && self.0.move_start(-(bytes.len() as isize));
        if fits && let Some(start) = self.0.data_mut().get_mut(..bytes.len()) {
            start.copy_from_slice(bytes);
        }
        fits
    }

    /// Cuts the end off, or appends zeros; `false` if it does not fit, and nothing changed.
    #[inline]
    #[must_use]
    pub fn resize(&mut self, len: usize) -> bool {
        let before = self.0.len();
        let fits = self.0.resize(len);
        if fits && let Some(new) = self.0.data_mut().get_mut(before..) {
            new.fill(0);
        }
        fits
    }

    /// The mbuf, for transmission by one port.
    #[inline]
    pub fn into_mbuf(self) -> Mbuf {
        self.0
    }

    /// The frame as the first of many references.
    #[inline]
    pub fn share(self) -> SharedFrame {
        SharedFrame(self.0.into_raw())
    }
}

impl std::fmt::Debug for AudioFrame {
    /// Shows the shape, never the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioFrame").field("capacity", &self.capacity()).field("len", &self.len()).finish()
    }
}

/// One of several references to a frame. A clone refers to the same bytes; with the last one the frame goes back.
#[repr(transparent)]
pub struct SharedFrame(NonNull<dpdk_sys::rte_mbuf>);

// SAFETY: a reference owns one count of an mbuf, which is changed atomically; while there may be several, the bytes and
// fields are only read.
unsafe impl Send for SharedFrame {}
// SAFETY: as above.
unsafe impl Sync for SharedFrame {}

impl SharedFrame {
    /// The bytes.
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        let mbuf = std::mem::ManuallyDrop::new(
            // SAFETY: not dropped, and used to read only, which any number of owners may.
            unsafe { Mbuf::from_raw(self.0) },
        );
        let (start, len) = (mbuf.data().as_ptr(), mbuf.len());
        // SAFETY: the bytes live as long as this reference is held, and nobody writes to them meanwhile.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// How many references there are; others may change it at any time, unless it is one.
    #[inline]
    pub fn references(&self) -> u16 {
        const REFCNT: usize = dpdk_sys::VX_MBUF_REFCNT as usize;
        // SAFETY: the offset is that of the 16-bit count of a live mbuf, which C changes atomically, too.
        let count = unsafe { &*self.0.as_ptr().cast::<u8>().add(REFCNT).cast::<AtomicU16>() };
        count.load(Ordering::Acquire)
    }

    /// The frame, to write to, if this is the last reference.
    ///
    /// # Errors
    /// The reference itself, if there are others.
    #[inline]
    pub fn try_unique(self) -> Result<AudioFrame, SharedFrame> {
        // Whoever gave up the count before this one has released what it read (`rte_mbuf_refcnt_update`).
        if self.references() != 1 {
            return Err(self);
        }
        let raw = std::mem::ManuallyDrop::new(self).0;
        // SAFETY: the one reference is ours, and only its owner could make another.
        Ok(AudioFrame(unsafe { Mbuf::from_raw(raw) }))
    }
}

impl Clone for SharedFrame {
    /// Ends the process beyond 32,767 references, as [`Arc`] does beyond `isize::MAX`.
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: the mbuf lives, for we hold a reference; the new one is given up when the clone is dropped or sent.
        if unsafe { dpdk_sys::vx_mbuf_share(self.0.as_ptr()) } > MAX_REFERENCES {
            std::process::abort();
        }
        SharedFrame(self.0)
    }
}

impl Drop for SharedFrame {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: one reference is ours, and is given up here; with the last one the mbuf goes back to its pool.
        unsafe { dpdk_sys::vx_mbuf_free(self.0.as_ptr()) }
    }
}

impl std::fmt::Debug for SharedFrame {
    /// Shows the shape, never the bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedFrame")
            .field("len", &self.data().len())
            .field("references", &self.references())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table against a search, for every length and several shapes.
    #[test]
    fn every_length_finds_the_smallest_bucket_that_holds_it() {
        for sizes in [FrameBucket::DEFAULT.map(|bucket| bucket.bytes), [64, 128, 192], [64, 1024, MAX_SIZE]] {
            let table = BucketTable::new(sizes);
            for len in 0..=usize::from(MAX_SIZE) + 65 {
                let expected = sizes.iter().position(|&size| len <= usize::from(size));
                assert_eq!(table.bucket_of(len), expected, "{len} in {sizes:?}");
            }
            assert_eq!(table.bucket_of(usize::MAX), None);
        }
    }

    #[test]
    fn what_lies_in_the_caches_of_others_does_not_make_frames_fewer() {
        assert_eq!(layout(128, Releasers::Others), (128, 0));
        assert_eq!(layout(128, Releasers::OwnerAnd(0)), (128, 32));
        assert_eq!(layout(128, Releasers::OwnerAnd(3)), (128 + 3 * 48, 32));
        assert_eq!(layout(2, Releasers::OwnerAnd(3)), (2, 0), "too few for a cache");
    }
}
