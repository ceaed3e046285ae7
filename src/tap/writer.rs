//! The worker's end of the tap. Takes neither heap nor lock nor system call, and never waits.

use std::sync::Arc;

use super::counters::WorkerTapCounters;
use super::record::{Head, TapTag};
use crate::dpdk::arena::{self, Append};

/// Puts packets of tapped streams into the worker's arena.
pub struct TapWriter {
    arena: arena::Writer,
    counters: Arc<WorkerTapCounters>,
}

impl TapWriter {
    /// Writes into `arena` and counts in `counters`, which no other thread writes.
    pub fn new(arena: arena::Writer, counters: Arc<WorkerTapCounters>) -> Self {
        TapWriter { arena, counters }
    }

    /// Copies an opened packet that arrived at `rx_cycles` for the recorder, or counts it as lost.
    #[inline(never)]
    pub fn record(&mut self, tag: TapTag, is_rtcp: bool, rx_cycles: u64, packet: &[u8]) {
        match self.arena.append(Head { tag, is_rtcp, rx_cycles }.to_words(), packet) {
            Append::Stored => self.counters.records.add(1),
            Append::StoredInNewBlock => {
                self.counters.records.add(1);
                self.counters.blocks_taken.add(1);
            }
            Append::NoBlock | Append::TooLong => self.counters.no_block.add(1),
        }
    }

    /// The end of a run: the last block goes to the recorder as it is.
    pub fn close(&mut self) {
        self.arena.close();
    }
}

impl std::fmt::Debug for TapWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapWriter").field("counters", &self.counters).finish_non_exhaustive()
    }
}
