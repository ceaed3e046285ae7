//! What every pool counts, whatever it holds.
//!
//! A pool has one block of [`PoolCounters`] for each thread that acquires from it or releases to it, written by that
//! thread alone (see [`counters`](super::counters)): an object may be acquired by control and released by a worker, and
//! neither waits for the other. The metrics thread and the final report add the blocks up ([`PoolUse::of`]).
//!
//! Pools that are mempools of DPDK are counted from outside, because a driver takes from them and gives back to them
//! in C: see [`PoolUse::of_mempool`].

use std::ops::Deref;

use super::counters::Counter;

/// One thread's account with one pool.
///
/// Written by that thread, read by the metrics thread and the final report.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct PoolCounters {
    acquired: Counter,
    reused: Counter,
    released: Counter,
    exhausted: Counter,
    high_water: Counter,
}

impl PoolCounters {
    /// All zero.
    pub const fn new() -> Self {
        Self {
            acquired: Counter::new(),
            reused: Counter::new(),
            released: Counter::new(),
            exhausted: Counter::new(),
            high_water: Counter::new(),
        }
    }

    /// Counts `objects` taken out, of which `reused` had been out before. Writer only.
    #[inline]
    pub fn count_acquired(&self, objects: u64, reused: u64) {
        self.acquired.add(objects);
        self.reused.add(reused);
    }

    /// Counts `objects` given back. Writer only.
    #[inline]
    pub fn count_released(&self, objects: u64) {
        self.released.add(objects);
    }

    /// Counts `requests` that found the pool empty. Writer only.
    #[inline]
    pub fn count_exhausted(&self, requests: u64) {
        self.exhausted.add(requests);
    }

    /// Notes that this thread saw `in_use` objects out at once. Writer only.
    #[inline]
    pub fn raise_high_water(&self, in_use: u64) {
        self.high_water.raise_to(in_use);
    }

    /// Objects taken out through this block.
    pub fn acquired(&self) -> u64 {
        self.acquired.value()
    }

    /// Of them, those that had been out before.
    pub fn reused(&self) -> u64 {
        self.reused.value()
    }

    /// Objects given back through this block.
    pub fn released(&self) -> u64 {
        self.released.value()
    }

    /// Requests that found the pool empty.
    pub fn exhausted(&self) -> u64 {
        self.exhausted.value()
    }
}

/// The account of one pool now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Objects that the pool holds in all.
    pub size: u64,
    /// Objects that are out.
    pub in_use: u64,
    /// Objects taken out since the start.
    pub acquired: u64,
    /// Of them, those that had been out before: all but the first use of each.
    pub reused: u64,
    /// Objects given back since the start.
    pub released: u64,
    /// Most objects that were out at once.
    pub high_water: u64,
    /// Requests that found the pool empty, each a counted drop or a refusal and never a use of the heap.
    pub exhausted: u64,
}

impl PoolUse {
    /// The sum of `blocks` of a pool with `size` objects. The high-water mark is exact where one thread acquires and
    /// notes it; with several it is the sum of what each saw, and so at most too high, but never above `size`.
    pub fn of<B: Deref<Target = PoolCounters>>(size: u64, blocks: impl IntoIterator<Item = B>) -> Self {
        let mut sum = PoolUse { size, ..PoolUse::default() };
        for block in blocks {
            // What was released was acquired before: in this order a scrape sees too many in use, never too few.
            sum.released = sum.released.wrapping_add(block.released());
            sum.acquired = sum.acquired.wrapping_add(block.acquired());
            sum.reused = sum.reused.wrapping_add(block.reused());
            sum.exhausted = sum.exhausted.wrapping_add(block.exhausted());
            sum.high_water = sum.high_water.saturating_add(block.high_water.value());
        }
        sum.in_use = sum.acquired.saturating_sub(sum.released);
        sum.high_water = sum.high_water.max(sum.in_use).min(size);
        sum
    }

    /// A pool of `size` objects of which nobody sees each one being handed out, and `in_use` are out: `acquired` is
    /// counted where the objects arrive. At most `size` acquisitions were first uses, so the rest is an exact lower
    /// bound of those that were not.
    pub fn of_mempool(size: u64, in_use: u64, high_water: u64, acquired: u64) -> Self {
        PoolUse {
            size,
            in_use,
            acquired,
            reused: acquired.saturating_sub(size),
            released: acquired.saturating_sub(in_use),
            high_water: high_water.max(in_use),
            exhausted: 0,
        }
    }

    /// Share of the acquisitions that an object served which had been used before; `None` before the first one.
    pub fn reuse_rate(&self) -> Option<f64> {
        (self.acquired > 0).then(|| self.reused as f64 / self.acquired as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control acquires, two workers release: the sum is the pool's account.
    #[test]
    fn blocks_of_several_threads_add_up() {
        let (control, worker, idle) = (PoolCounters::new(), PoolCounters::new(), PoolCounters::new());
        control.count_acquired(4, 0);
        control.raise_high_water(4);
        worker.count_released(3);
        control.count_acquired(2, 2);
        control.raise_high_water(3);
        control.count_exhausted(1);
        let sum = PoolUse::of(8, [&control, &worker, &idle]);
        let expected =
            PoolUse { size: 8, in_use: 3, acquired: 6, reused: 2, released: 3, high_water: 4, exhausted: 1 };
        assert_eq!(sum, expected);
        assert_eq!(sum.reuse_rate(), Some(2.0 / 6.0));
    }

    #[test]
    fn an_unused_pool_has_no_reuse_rate() {
        let none: [&PoolCounters; 0] = [];
        assert_eq!(PoolUse::of(8, none), PoolUse { size: 8, ..PoolUse::default() });
        assert_eq!(PoolUse::of(8, none).reuse_rate(), None);
    }

    /// The marks of several threads are those of different moments: their sum is no more than there is.
    #[test]
    fn the_high_water_mark_is_never_above_the_size() {
        let blocks = [PoolCounters::new(), PoolCounters::new()];
        blocks.iter().for_each(|block| block.raise_high_water(6));
        assert_eq!(PoolUse::of(8, &blocks).high_water, 8);
        blocks[0].count_acquired(7, 0);
        assert_eq!(PoolUse::of(20, &blocks[..1]).high_water, 7, "what is out now counts, too");
    }

    #[test]
    fn a_mempool_s_first_uses_are_at_most_its_size() {
        let of = |acquired| PoolUse::of_mempool(100, 30, 20, acquired);
        assert_eq!((of(0).reused, of(100).reused, of(101).reused), (0, 0, 1));
        assert_eq!(of(100_000).reuse_rate(), Some(0.999));
        assert_eq!((of(50).released, of(50).high_water), (20, 30));
    }
}
