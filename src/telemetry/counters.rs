//! What a worker counts, and the balance that must come out exact.
//!
//! Every block below is written by exactly one worker and read by the metrics thread (and, at shutdown,
//! by the report). A count is therefore a relaxed load and a relaxed store of a 64-bit word: no lock
//! prefix, no barrier, no shared cache line that two cores write. Blocks start on their own pair of cache
//! lines (128 bytes, because the adjacent-line prefetcher couples two), so that neighbours do not share one.
//!
//! Readers may see a burst half counted while traffic runs. The [`Balance`] is exact once the workers are
//! quiescent: joined, or past a burst boundary that the reader has observed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::histogram::Histogram;
use super::stage_clock::{PollGap, Stage};
use crate::dpdk::HeapCounts;
use crate::fastpath::DropReason;

/// A 64-bit count with one writer and any number of readers.
///
/// A second writer would lose counts (and nothing worse): the update is not atomic as a whole, which is
/// what makes it cost two plain instructions.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A count of zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`, wrapping at 2^64. Writer only.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Raises the value to `n` if it is lower: for maxima. Writer only.
    #[inline(always)]
    pub fn raise_to(&self, n: u64) {
        if n > self.0.load(Ordering::Relaxed) {
            self.0.store(n, Ordering::Relaxed);
        }
    }

    /// The count as last stored by the writer; it never goes back (but for the wrap at 2^64).
    #[inline(always)]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts on one queue (RX and TX) of one port.
///
/// Written by the worker that polls the queue, read by the metrics thread and the final report. Every
/// frame that enters (`rx_packets`, `handed_over_in`) leaves in exactly one of `tx_packets`, `dropped`,
/// `punted` and `handed_over_out`: see [`Balance`].
///
/// A frame is accounted on the queue on which it *arrived*, even when it leaves by another port: then
/// `tx_packets` of the arrival queue counts it, so that each queue balances by itself.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct QueueCounters {
    /// Frames that the port delivered to this queue.
    pub rx_packets: Counter,
    /// Their bytes, from the Ethernet header to the end of the payload, without the FCS.
    pub rx_bytes: Counter,
    /// Polls that returned at least one frame.
    pub rx_bursts: Counter,
    /// Polls that returned none.
    pub empty_polls: Counter,
    /// Frames of this queue that were forwarded: the transmitting port took them.
    pub tx_packets: Counter,
    /// Their bytes as transmitted, without the FCS.
    pub tx_bytes: Counter,
    /// Calls of the transmit function that carried at least one frame.
    pub tx_bursts: Counter,
    /// Further calls for what the port did not take at first.
    pub tx_retries: Counter,
    /// Frames of the gateway's own host side (ARP, ND, ICMP replies, control) sent through this queue. They
    /// did not arrive here, so they are no part of the balance.
    pub originated_packets: Counter,
    /// Frames of the gateway's own host side that the port did not take.
    pub originated_dropped: Counter,
    /// Frames given to the host side: ARP, ND, ICMP, STUN, DTLS.
    pub punted: Counter,
    /// Frames given to the worker on which their stream is homed.
    pub handed_over_out: Counter,
    /// Frames taken over from the worker that received them.
    pub handed_over_in: Counter,
    /// Frames that were not forwarded, by [`DropReason::index`].
    pub dropped: [Counter; DropReason::COUNT],
    /// Frames that were forwarded although there was a reason not to, because their leg counts only; by
    /// [`DropReason::index`]. No part of the balance: `tx_packets` has them, or another reason's count.
    pub tolerated: [Counter; DropReason::COUNT],
    /// TSC cycles from the RX burst that delivered a forwarded frame to the TX burst that took it.
    pub latency: Histogram,
    /// The same of the very first forwarded frame; 0 before it.
    pub first_latency: Counter,
    /// TSC cycles from each poll of the queue to the next.
    pub poll_gap: PollGap,
}

impl QueueCounters {
    /// All zero.
    pub const fn new() -> Self {
        Self {
            rx_packets: Counter::new(),
            rx_bytes: Counter::new(),
            rx_bursts: Counter::new(),
            empty_polls: Counter::new(),
            tx_packets: Counter::new(),
            tx_bytes: Counter::new(),
            tx_bursts: Counter::new(),
            tx_retries: Counter::new(),
            originated_packets: Counter::new(),
            originated_dropped: Counter::new(),
            punted: Counter::new(),
            handed_over_out: Counter::new(),
            handed_over_in: Counter::new(),
            dropped: [const { Counter::new() }; DropReason::COUNT],
            tolerated: [const { Counter::new() }; DropReason::COUNT],
            latency: Histogram::new(),
            first_latency: Counter::new(),
            poll_gap: PollGap::new(),
        }
    }

    /// Counts `n` frames dropped for `reason`. Writer only.
    #[inline]
    pub fn count_dropped(&self, reason: DropReason, n: u64) {
        self.drop_counter(reason).add(n);
    }

    /// Counts `n` frames let pass in spite of `reason`. Writer only.
    #[inline]
    pub fn count_tolerated(&self, reason: DropReason, n: u64) {
        self.tolerated[reason.index()].add(n);
    }

    /// Frames let pass in spite of `reason`.
    pub fn tolerated_for(&self, reason: DropReason) -> u64 {
        self.tolerated[reason.index()].value()
    }

    /// Frames dropped for `reason`.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.drop_counter(reason).value()
    }

    /// Frames dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(Counter::value).sum()
    }

    #[inline]
    fn drop_counter(&self, reason: DropReason) -> &Counter {
        // In bounds for every value of the enum (its own test compares `index` with the position in ALL);
        // the compiler sees the same and leaves no bounds check.
        &self.dropped[reason.index()]
    }
}

impl Default for QueueCounters {
    fn default() -> Self {
        Self::new()
    }
}

/// What one worker counts about itself, whatever its queues.
///
/// Written by that worker, read by the metrics thread.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct WorkerCounters {
    /// Rounds over all queues of the worker.
    pub loops: Counter,
    /// Rounds in which at least one queue had a frame.
    pub busy_loops: Counter,
    /// Panics that the burst's unwind boundary caught.
    pub panics: Counter,
    /// Streams put out of service because a panic happened on one of their frames.
    pub quarantined_streams: Counter,
    /// Frames of its own making that the worker put through the stages before the first packet.
    pub warm_up_frames: Counter,
    /// Those of them that came out: all, or the warm-up does not what it is for.
    pub warm_up_forwarded: Counter,
    /// 1 once the worker has locked itself out of the kernel.
    pub lockdown: Counter,
    /// Heap operations on the worker's thread since the end of its warm-up.
    pub heap: Arc<HeapCounts>,
    /// TSC cycles by [`Stage`], as last published.
    pub stage_cycles: [Counter; Stage::COUNT],
    /// Frames that entered each [`Stage`], as last published.
    pub stage_frames: [Counter; Stage::COUNT],
}

impl WorkerCounters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Where the frames of a queue went. Frames, not bytes.
///
/// Conservation says that `rx + handed_in == tx + dropped + punted + handed_out`, for every queue by
/// itself and so for any sum of queues; over *all* queues `handed_in == handed_out` too, unless frames are
/// still in a hand-over ring.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Received from the port.
    pub rx: u64,
    /// Forwarded.
    pub tx: u64,
    /// Dropped, for any reason.
    pub dropped: u64,
    /// Given to the host side.
    pub punted: u64,
    /// Given to another worker.
    pub handed_out: u64,
    /// Taken over from another worker.
    pub handed_in: u64,
}

impl Balance {
    /// The balance of one queue; exact only while its worker is quiescent.
    pub fn of(counters: &QueueCounters) -> Self {
        Self {
            rx: counters.rx_packets.value(),
            tx: counters.tx_packets.value(),
            dropped: counters.dropped_total(),
            punted: counters.punted.value(),
            handed_out: counters.handed_over_out.value(),
            handed_in: counters.handed_over_in.value(),
        }
    }

    /// Frames that came in: received and taken over.
    pub fn entered(&self) -> u64 {
        self.rx.saturating_add(self.handed_in)
    }

    /// Frames whose fate is counted: forwarded, dropped, punted and handed over.
    pub fn accounted(&self) -> u64 {
        self.tx.saturating_add(self.dropped).saturating_add(self.punted).saturating_add(self.handed_out)
    }

    /// Frames that came in and have no fate (positive), or whose fate was counted twice (negative).
    pub fn unaccounted(&self) -> i64 {
        self.entered().wrapping_sub(self.accounted()) as i64
    }

    /// Whether every frame that came in has exactly one fate.
    pub fn is_exact(&self) -> bool {
        self.unaccounted() == 0
    }
}

impl std::ops::Add for Balance {
    type Output = Balance;

    fn add(self, other: Balance) -> Balance {
        Balance {
            rx: self.rx.saturating_add(other.rx),
            tx: self.tx.saturating_add(other.tx),
            dropped: self.dropped.saturating_add(other.dropped),
            punted: self.punted.saturating_add(other.punted),
            handed_out: self.handed_out.saturating_add(other.handed_out),
            handed_in: self.handed_in.saturating_add(other.handed_in),
        }
    }
}

impl std::iter::Sum for Balance {
    fn sum<I: Iterator<Item = Balance>>(balances: I) -> Balance {
        balances.fold(Balance::default(), |total, one| total + one)
    }
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
