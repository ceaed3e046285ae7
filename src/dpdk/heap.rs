//! The heap, with the operations of worker threads counted: the proof that the packet path does without.
//!
//! A binary installs [`CountingAllocator`] as its `#[global_allocator]`. A worker starts a [`HeapWatch`] once it has
//! warmed up; from then on every allocation and every free on its thread is counted in its [`HeapCounts`], written by
//! that thread alone (a plain load and store) and read by the metrics thread. Other threads pay one thread-local load
//! and a comparison.
//!
//! A thread that has [locked itself out of the kernel](super::lockdown) must not reach the C library's heap, which
//! may ask the kernel for memory or wait for a lock. It does not in steady state; a panic does (its payload and the
//! unwinder's exception are boxed). Such a thread is served from a fixed reserve in this binary, which anyone may
//! give back to; what it frees of other memory is left alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lockdown;

/// The C library's heap, with watched threads' use of it counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

/// Heap operations of one worker since its watch began.
///
/// Written by the watched thread, read by the metrics thread and the final report.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct HeapCounts {
    allocations: AtomicU64,
    frees: AtomicU64,
}

/// While it lives, the heap operations of the thread that made it are counted.
#[derive(Debug)]
pub struct HeapWatch {
    counts: Arc<HeapCounts>,
    /// It belongs to its thread.
    _not_send: PhantomData<*const ()>,
}

thread_local! {
    /// Null, or the counts of the watch that lives on this thread. Has no destructor, so it can be read at any time.
    static WATCHED: Cell<*const HeapCounts> = const { Cell::new(ptr::null()) };
}

impl HeapCounts {
    /// Counts with these values, for tests of what shows them.
    #[cfg(test)]
    pub(crate) fn of(allocations: u64, frees: u64) -> Self {
        HeapCounts { allocations: AtomicU64::new(allocations), frees: AtomicU64::new(frees) }
    }

    /// Allocations, each growth or shrinking of a block included.
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Blocks given back.
    pub fn frees(&self) -> u64 {
        self.frees.load(Ordering::Relaxed)
    }
}

impl HeapWatch {
    /// Counts what the calling thread does from now on. A thread's second watch takes the place of its first.
    pub fn start(counts: Arc<HeapCounts>) -> Self {
        WATCHED.set(Arc::as_ptr(&counts));
        HeapWatch { counts, _not_send: PhantomData }
    }
}

impl Drop for HeapWatch {
    fn drop(&mut self) {
        if WATCHED.get() == Arc::as_ptr(&self.counts) {
            WATCHED.set(ptr::null());
        }
    }
}

/// Adds one to a count that only this thread writes.
#[inline(always)]
fn count(of: impl FnOnce(&HeapCounts) -> &AtomicU64) {
    let watched = WATCHED.get();
    if !watched.is_null() {
        // SAFETY: the watch holds the counts alive and clears the pointer before it lets go of them; it cannot leave
        // this thread.
        let counter = of(unsafe { &*watched });
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

// SAFETY: every block comes from `System` or from the reserve and goes back to where it came from, which its address
// tells; a block of `System` that a locked thread frees is leaked, which is sound.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|counts| &counts.allocations);
        if lockdown::is_locked() {
            return RESERVE.take(layout);
        }
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(|counts| &counts.allocations);
        if lockdown::is_locked() {
            let block = RESERVE.take(layout);
            if !block.is_null() {
                // SAFETY: the block is new and `layout.size()` long.
                unsafe { block.write_bytes(0, layout.size()) };
            }
            return block;
        }
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(|counts| &counts.frees);
        if RESERVE.holds(block) {
            RESERVE.give_back();
        } else if !lockdown::is_locked() {
            // SAFETY: the block is not of the reserve, so `System` made it.
            unsafe { System.dealloc(block, layout) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !RESERVE.holds(block) && !lockdown::is_locked() {
            count(|counts| &counts.allocations);
            // SAFETY: the block is not of the reserve, so `System` made it.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller promises a non-zero size that does not overflow with the old alignment; both blocks are
        // valid for the smaller size and distinct.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

/// Memory for locked threads: a bump allocator that begins anew when everything is back.
#[repr(C, align(64))]
struct Reserve {
    memory: UnsafeCell<[u8; RESERVE_BYTES]>,
    /// Blocks that are out in the upper half, bytes used in the lower; one word, so that they change together.
    state: AtomicU64,
}

/// A panic takes a few hundred bytes, and its message.
const RESERVE_BYTES: usize = 256 * 1024;

static RESERVE: Reserve = Reserve { memory: UnsafeCell::new([0; RESERVE_BYTES]), state: AtomicU64::new(0) };

// SAFETY: the memory is only handed out in disjoint blocks, by an atomic word.
unsafe impl Sync for Reserve {}

impl Reserve {
    /// A block, or null when there is no room.
    #[cold]
    fn take(&self, layout: Layout) -> *mut u8 {
        let base = self.memory.get().cast::<u8>();
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (blocks, used) = (state >> 32, (state & u64::from(u32::MAX)) as usize);
            let start = (base as usize + used).next_multiple_of(layout.align()) - base as usize;
            let Some(end) = start.checked_add(layout.size()).filter(|&end| end <= RESERVE_BYTES) else {
                return ptr::null_mut();
            };
            let next = ((blocks + 1) << 32) | end as u64;
            match self.state.compare_exchange_weak(state, next, Ordering::Acquire, Ordering::Relaxed) {
                // SAFETY: `start` is within the memory.
                Ok(_) => return unsafe { base.add(start) },
                Err(changed) => state = changed,
            }
        }
    }

    #[inline(always)]
    fn holds(&self, block: *const u8) -> bool {
        (block as usize).wrapping_sub(self.memory.get() as usize) < RESERVE_BYTES
    }

    #[cold]
    fn give_back(&self) {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let blocks = (state >> 32).saturating_sub(1);
            let next = if blocks == 0 { 0 } else { (blocks << 32) | (state & u64::from(u32::MAX)) };
            match self.state.compare_exchange_weak(state, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => state = changed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a valid layout")
    }

    #[test]
    fn only_the_watched_thread_is_counted_and_only_while_watched() {
        let (counts, heap) = (Arc::new(HeapCounts::default()), CountingAllocator);
        // SAFETY: each block is used within its size and freed once with its layout.
        let use_heap = move || unsafe {
            let block = heap.alloc(layout(100, 8));
            let block = heap.realloc(block, layout(100, 8), 200);
            heap.dealloc(block, layout(200, 8));
            let zeroed = heap.alloc_zeroed(layout(64, 64));
            assert_eq!(*zeroed.add(63), 0);
            heap.dealloc(zeroed, layout(64, 64));
        };
        use_heap();
        let watch = HeapWatch::start(Arc::clone(&counts));
        use_heap();
        std::thread::scope(|scope| scope.spawn(use_heap).join()).expect("no panic");
        assert_eq!((counts.allocations(), counts.frees()), (3, 2));
        drop(watch);
        use_heap();
        assert_eq!((counts.allocations(), counts.frees()), (3, 2));
        assert_eq!(Arc::strong_count(&counts), 1);
    }

    #[test]
    fn the_reserve_hands_out_disjoint_aligned_blocks_and_begins_anew() {
        let reserve = Reserve { memory: UnsafeCell::new([0; RESERVE_BYTES]), state: AtomicU64::new(0) };
        let first = reserve.take(layout(3, 1));
        let second = reserve.take(layout(100, 64));
        assert_eq!(second as usize % 64, 0);
        assert!(second as usize >= first as usize + 3);
        assert!(reserve.holds(first) && reserve.holds(second) && !reserve.holds(ptr::null()));
        assert!(reserve.take(layout(RESERVE_BYTES, 1)).is_null(), "there is no room for this");
        reserve.give_back();
        assert!(reserve.take(layout(1, 1)) as usize > second as usize, "one is still out");
        reserve.give_back();
        reserve.give_back();
        assert_eq!(reserve.take(layout(3, 1)), first, "all were back");
    }
}
