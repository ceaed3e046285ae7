//! Pools of mbufs in hugepage memory.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::eal::EalInner;
use super::{Eal, Error, Mbuf};

/// A fixed number of mbufs, all taken from the EAL's memory at creation. Cheap to clone; the last clone frees
/// the pool, unless an mbuf is still out: then the pool and the environment stay mapped until the process ends.
#[derive(Clone)]
pub struct Mempool(Arc<Inner>);

struct Inner {
    raw: NonNull<dpdk_sys::rte_mempool>,
    name: String,
    size: u32,
    /// Most mbufs that were out when anybody looked.
    high_water: AtomicU32,
    /// The pool's memory belongs to the environment; taken out (and leaked) when mbufs are still out.
    eal: Option<Arc<EalInner>>,
}

/// How much of a pool is in use, in mbufs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MempoolUse {
    /// All mbufs of the pool.
    pub size: u32,
    /// Mbufs that are neither in the pool nor in an lcore's cache of it.
    pub in_use: u32,
    /// Most of them that were out at any of the moments when somebody [looked](Mempool::usage).
    pub high_water: u32,
}

// SAFETY: mempool operations are thread-safe (multi-producer, multi-consumer ring ops are the default).
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Creates a pool of `size` mbufs with `data_room` bytes each after the headroom, on `socket`
    /// (`None`: any NUMA node), with a cache of `cache` mbufs per lcore (at most 512, and size / 1.5).
    ///
    /// # Errors
    /// [`Error::Call`] when the name is taken or hugepage memory does not suffice.
    pub fn new(
        eal: &Eal,
        name: &str,
        size: u32,
        cache: u32,
        data_room: u16,
        socket: Option<u32>,
    ) -> Result<Self, Error> {
        let text = CString::new(name).map_err(|_| Error::NulByte { value: name.to_owned() })?;
        let cache = cache.min(dpdk_sys::VX_MEMPOOL_CACHE_MAX).min(size * 2 / 3);
        let room = data_room.saturating_add(dpdk_sys::VX_PKTMBUF_HEADROOM as u16);
        let socket = socket.map_or(-1, |node| node as i32);
        // SAFETY: `text` is NUL-terminated and outlives the call; the environment is initialised (`eal`).
        let raw = unsafe { dpdk_sys::rte_pktmbuf_pool_create(text.as_ptr(), size, cache, 0, room, socket) };
        let raw = NonNull::new(raw).ok_or_else(|| {
            Error::from_status(format!("creating the mempool {name} of {size} buffers of {room} bytes"), -1)
        })?;
        let (name, high_water) = (name.to_owned(), AtomicU32::new(0));
        Ok(Mempool(Arc::new(Inner { raw, name, size, high_water, eal: Some(eal.inner()) })))
    }

    /// Takes one mbuf with an empty packet in it; `None` when the pool is exhausted.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives; the mbuf that comes out is initialised, unshared and ours.
        let mbuf =
            unsafe { NonNull::new(dpdk_sys::vx_mbuf_alloc(self.raw())).map(|raw| Mbuf::from_raw(raw)) };
        #[cfg(any(test, feature = "fault-injection"))]
        let mbuf = mbuf.inspect(Mbuf::poison_room);
        mbuf
    }

    /// Fills the spare room of `frames` with empty mbufs, all or none. Returns whether it did.
    pub fn alloc_bulk<const N: usize>(&self, frames: &mut arrayvec::ArrayVec<Mbuf, N>) -> bool {
        let start = frames.len();
        let count = N - start;
        // SAFETY: the array has room for `count` pointers behind its first `start`; on success (0) all of
        // them are initialised, unshared and ours; `Mbuf` is a transparent pointer.
        unsafe {
            let slots = frames.as_mut_ptr().add(start).cast();
            if dpdk_sys::vx_mbuf_alloc_bulk(self.raw(), slots, count as u32) != 0 {
                return false;
            }
            frames.set_len(N);
        }
        #[cfg(any(test, feature = "fault-injection"))]
        frames[start..].iter().for_each(Mbuf::poison_room);
        true
    }

    /// Takes every mbuf that is there once, writes to its data and gives it back, so that its pages and those of the ring
    /// are mapped. Returns how many. Before the first packet, or others go without.
    pub fn touch(&self) -> usize {
        let mut all: Vec<Mbuf> = std::iter::from_fn(|| self.alloc()).collect();
        for frame in &mut all {
            if frame.resize(1) {
                frame.data_mut().fill(0);
            }
        }
        all.len()
    }

    /// How many mbufs are out. Walks the lcores' caches, so it is for metrics and tests, not for a packet path.
    pub fn usage(&self) -> MempoolUse {
        // SAFETY: the pool lives; the count reads it without locking.
        let available = unsafe { dpdk_sys::rte_mempool_avail_count(self.raw()) };
        let in_use = self.0.size.saturating_sub(available);
        let high_water = self.0.high_water.fetch_max(in_use, Ordering::Relaxed).max(in_use);
        MempoolUse { size: self.0.size, in_use, high_water }
    }

    /// The name that the pool was created with.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    #[inline]
    pub(super) fn raw(&self) -> *mut dpdk_sys::rte_mempool {
        self.0.raw.as_ptr()
    }
}

impl std::fmt::Debug for Mempool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mempool").field("name", &self.0.name).field("usage", &self.usage()).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the pool lives.
        let available = unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) };
        if available == self.size {
            // SAFETY: every mbuf is back, no handle to the pool is left (this is the last one), and every port
            // that was given the pool has dropped its clone after closing.
            unsafe { dpdk_sys::rte_mempool_free(self.raw.as_ptr()) };
            return;
        }
        // An mbuf is still owned somewhere: its memory must stay. Keep the environment for good.
        tracing::error!(
            pool = %self.name,
            missing = self.size - available.min(self.size),
            "a mempool is dropped while buffers are out; it stays mapped until the process ends"
        );
        if let Some(eal) = self.eal.take() {
            Box::leak(Box::new(eal));
        }
    }
}
