//! What the tap counts. Each count has one writer: the worker, the recorder thread or the finisher thread.

use std::sync::Arc;

use crate::telemetry::{Counter, PoolUse};

/// Why a record is not in a file that it belongs into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The worker found no empty block: the recorder, or the disk, is too slow.
    NoBlock,
    /// The record came after its tap had ended.
    NoSession,
    /// The packet alone is more than `[tap] max_file_mib`; never with the least that can be configured.
    FileLimit,
    /// The directory has `[tap] max_total_mib`.
    TotalLimit,
    /// The directory has `[tap] max_files`.
    FileCount,
    /// The disk has no more than `[tap] min_free_mib` left, or nothing.
    DiskFull,
    /// The file could not be made or written.
    WriteError,
    /// The packet came so late that those after it were written already; the audio file lacks it.
    Late,
}

impl Loss {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Loss; 8] = [
        Loss::NoBlock,
        Loss::NoSession,
        Loss::FileLimit,
        Loss::TotalLimit,
        Loss::FileCount,
        Loss::DiskFull,
        Loss::WriteError,
        Loss::Late,
    ];

    /// Value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Loss::NoBlock => "no_block",
            Loss::NoSession => "no_session",
            Loss::FileLimit => "file_limit",
            Loss::TotalLimit => "total_limit",
            Loss::FileCount => "file_count",
            Loss::DiskFull => "disk_full",
            Loss::WriteError => "write_error",
            Loss::Late => "late",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Written by one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerTapCounters {
    /// Packets of tapped streams that the recorder gets.
    pub records: Counter,
    /// Those for which there was no block.
    pub no_block: Counter,
    /// Blocks taken.
    pub blocks_taken: Counter,
}

/// Of the whole tap.
#[derive(Debug, Default)]
pub struct TapCounters {
    /// By worker.
    pub workers: Vec<Arc<WorkerTapCounters>>,
    /// Blocks in all arenas together.
    pub blocks: u64,
    /// Blocks that came back empty. Written by the recorder, as are the next ones.
    pub blocks_returned: Counter,
    /// The most blocks that were out when the recorder began a round.
    pub blocks_high_water: Counter,
    /// Octets written to files.
    pub bytes: Counter,
    /// Files begun.
    pub files_begun: Counter,
    /// Records that a file lacks, but for those that the workers count.
    lost: [Counter; Loss::ALL.len()],
    /// Files that are under their final name. Written by the finisher.
    pub files_completed: Counter,
    /// Files that could not be completed, and what could not be begun is not among them. Written by the finisher.
    pub files_failed: Counter,
    /// Incomplete files of an earlier run that were completed at start.
    pub files_recovered: Counter,
}

impl TapCounters {
    /// For workers with `blocks` blocks each.
    pub fn new(workers: usize, blocks: usize) -> Self {
        TapCounters {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            blocks: (workers * blocks) as u64,
            ..Self::default()
        }
    }

    /// Counts `records` that a file lacks. Recorder only.
    pub fn count_lost(&self, loss: Loss, records: u64) {
        if let Some(counter) = self.lost.get(loss.index()) {
            counter.add(records);
        }
    }

    /// Records lost for one reason.
    pub fn lost(&self, loss: Loss) -> u64 {
        let by_workers = match loss {
            Loss::NoBlock => self.workers.iter().map(|worker| worker.no_block.value()).sum(),
            _ => 0,
        };
        by_workers + self.lost.get(loss.index()).map_or(0, Counter::value)
    }

    /// The account of the blocks. They go round in order, so each is used once before one is used again. The most that were
    /// out is what the recorder saw at the start of its rounds.
    pub fn account(&self) -> PoolUse {
        let acquired: u64 = self.workers.iter().map(|worker| worker.blocks_taken.value()).sum();
        PoolUse {
            size: self.blocks,
            in_use: self.blocks_in_use(),
            acquired,
            reused: acquired.saturating_sub(self.blocks),
            released: self.blocks_returned.value(),
            high_water: self.blocks_high_water.value(),
            exhausted: self.lost(Loss::NoBlock),
        }
    }

    /// Blocks that hold something, or are being filled.
    pub fn blocks_in_use(&self) -> u64 {
        let returned = self.blocks_returned.value();
        let taken: u64 = self.workers.iter().map(|worker| worker.blocks_taken.value()).sum();
        taken.saturating_sub(returned)
    }
}
