//! Where a worker's time goes, and for how long it left a queue alone.
//!
//! A [`StageClock`] belongs to one worker. At each transition between stages it reads the time-stamp counter once
//! and gives the cycles since the last transition to the stage that ends. At each poll of a queue it notes the time
//! since that queue's previous poll in the queue's [`PollGap`]: the stall that another system would call a
//! stop-the-world pause. The longest gap is kept with the stage that took the largest share of it.
//!
//! The sums are the worker's own plain memory; [`StageClock::publish`] copies them into [`WorkerCounters`] once in a
//! while. Nothing here allocates after [`StageClock::new`].

use super::counters::{Counter, WorkerCounters};
use super::histogram::Histogram;
use crate::dpdk;

macro_rules! stages {
    ($( $variant:ident $label:literal $doc:literal; )+) => {
        /// What a worker is doing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Stage {
            $( #[doc = $doc] $variant, )+
        }

        impl Stage {
            /// Every stage, in the order of the packet path.
            pub const ALL: &'static [Stage] = &[ $( Stage::$variant, )+ ];

            /// The value of the label `stage`.
            pub const fn label(self) -> &'static str {
                match self { $( Stage::$variant => $label, )+ }
            }

            /// What the stage does, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $( Stage::$variant => $doc, )+ }
            }
        }
    };
}

stages! {
    Rx "rx" "RX bursts that returned frames.";
    Classify "classify" "Headers, checksums and RFC 7983 demultiplexing.";
    FindStream "find_stream" "From local address and port to the stream; frames homed elsewhere are handed over.";
    Open "open" "Replay window, verification and decryption.";
    Inspect "inspect" "Payload types, extension elements, RTCP compound structure.";
    Reencapsulate "reencapsulate" "Next hop, MTU and room for the other leg's headers.";
    Seal "seal" "Encryption, tag and the other leg's headers.";
    Tx "tx" "TX bursts.";
    Handover "handover" "Taking frames over from other workers.";
    Housekeeping "housekeeping" "Commands and frames from the control thread.";
    Idle "idle" "Polls that found nothing, and the loop around them.";
}

impl Stage {
    /// Number of stages.
    pub const COUNT: usize = Self::ALL.len();
}

/// How long one queue waited from one poll to the next, in TSC cycles.
///
/// Written by the worker that polls the queue, read by the metrics thread and the final report.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct PollGap {
    /// Every gap.
    pub gaps: Histogram,
    /// The longest gap and its stage in one word, so that a reader never sees the one without the other:
    /// `cycles << 8 | stage`.
    longest: Counter,
}

/// The longest gap of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongestGap {
    /// From the one poll to the next, in TSC cycles.
    pub cycles: u64,
    /// The stage that took the largest share of it.
    pub stage: Stage,
}

impl PollGap {
    /// No gap yet.
    pub const fn new() -> Self {
        PollGap { gaps: Histogram::new(), longest: Counter::new() }
    }

    /// The longest gap since the end of the warm-up; `None` before the second poll.
    pub fn longest(&self) -> Option<LongestGap> {
        let word = self.longest.value();
        let stage = *Stage::ALL.get((word & 0xff) as usize)?;
        (word != 0).then_some(LongestGap { cycles: word >> 8, stage })
    }

    /// Notes a gap of `cycles`. `blame` names the stage that took the largest share; it is asked only for a new
    /// maximum. Writer only.
    #[inline(always)]
    pub fn record(&self, cycles: u64, blame: impl FnOnce() -> Stage) {
        self.gaps.record(cycles);
        if cycles > self.longest.value() >> 8 {
            self.longest.raise_to((cycles.min(u64::MAX >> 8) << 8) | blame() as u64);
        }
    }
}

/// The clock of one worker.
#[derive(Debug)]
pub struct StageClock {
    current: Stage,
    /// When the current stage began, in TSC cycles.
    since: u64,
    cycles: [u64; Stage::COUNT],
    frames: [u64; Stage::COUNT],
    queues: Vec<LastPoll>,
}

/// What was true when a queue was polled last.
#[derive(Debug, Clone, Copy, Default)]
struct LastPoll {
    /// In TSC cycles; 0 if the next gap is not to be recorded.
    at: u64,
    cycles: [u64; Stage::COUNT],
}

impl StageClock {
    /// A clock for a worker that polls `queues` queues.
    pub fn new(queues: usize) -> Self {
        StageClock {
            current: Stage::Idle,
            since: dpdk::cycles(),
            cycles: [0; Stage::COUNT],
            frames: [0; Stage::COUNT],
            queues: vec![LastPoll::default(); queues],
        }
    }

    /// Ends the current stage and begins `stage`, which is to work on `frames` frames. Returns the time, in TSC
    /// cycles.
    #[inline(always)]
    pub fn enter(&mut self, stage: Stage, frames: usize) -> u64 {
        let now = dpdk::cycles();
        self.enter_at(now, stage, frames);
        now
    }

    /// Ends the current stage by a poll of `queue` (its position among the worker's queues) and notes the gap since
    /// the previous one in `gap`. [`StageClock::arrived`] or [`StageClock::found_nothing`] follows.
    #[inline(always)]
    pub fn polled(&mut self, queue: usize, gap: &PollGap) {
        self.polled_at(dpdk::cycles(), queue, gap);
    }

    /// The poll returned `frames` frames.
    #[inline(always)]
    pub fn arrived(&mut self, frames: usize) {
        self.frames[Stage::Rx as usize] += frames as u64;
    }

    /// The poll returned nothing: its time counts as idle.
    #[inline(always)]
    pub fn found_nothing(&mut self) {
        self.current = Stage::Idle;
    }

    /// Forgets when the queues were polled last, so that the time up to each queue's next poll is no gap: for the
    /// warm-up and whatever else is known to interrupt polling.
    #[inline]
    pub fn restart(&mut self) {
        for queue in &mut self.queues {
            queue.at = 0;
        }
    }

    /// Makes the sums visible to the metrics thread.
    #[inline]
    pub fn publish(&self, counters: &WorkerCounters) {
        // Sums only grow, so raising is setting.
        for (counter, &sum) in counters.stage_cycles.iter().zip(&self.cycles) {
            counter.raise_to(sum);
        }
        for (counter, &sum) in counters.stage_frames.iter().zip(&self.frames) {
            counter.raise_to(sum);
        }
    }

    #[inline(always)]
    fn enter_at(&mut self, now: u64, stage: Stage, frames: usize) {
        // In bounds for every stage; the compiler sees it, too, and leaves no check.
        // A counter that jumped back adds nothing; one that jumped ahead looks like the stall that it may have been.
        let spent = &mut self.cycles[self.current as usize];
        *spent = spent.saturating_add(now.saturating_sub(self.since));
        self.frames[stage as usize] += frames as u64;
        self.current = stage;
        self.since = now;
    }

    #[inline(always)]
    fn polled_at(&mut self, now: u64, queue: usize, gap: &PollGap) {
        self.enter_at(now, Stage::Rx, 0);
        let Some(last) = self.queues.get_mut(queue) else { return };
        if last.at != 0 {
            gap.record(now.saturating_sub(last.at), || largest_share(&last.cycles, &self.cycles));
        }
        *last = LastPoll { at: now, cycles: self.cycles };
    }
}

/// The stage whose sum grew most.
#[cold]
fn largest_share(before: &[u64; Stage::COUNT], after: &[u64; Stage::COUNT]) -> Stage {
    let grown = before.iter().zip(after).map(|(before, after)| after.wrapping_sub(*before));
    Stage::ALL.iter().zip(grown).max_by_key(|&(_, cycles)| cycles).map_or(Stage::Idle, |(&stage, _)| stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that was started at 1,000 cycles.
    fn clock(queues: usize) -> StageClock {
        StageClock { since: 1_000, ..StageClock::new(queues) }
    }

    #[test]
    fn cycles_go_to_the_stage_that_ends_and_frames_to_the_one_that_begins() {
        let (mut clock, gap, counters) = (clock(1), PollGap::new(), WorkerCounters::new());
        clock.polled_at(1_010, 0, &gap);
        clock.enter_at(1_030, Stage::Classify, 4);
        clock.enter_at(1_100, Stage::Open, 3);
        clock.enter_at(1_500, Stage::Tx, 2);
        clock.polled_at(1_600, 0, &gap);
        clock.found_nothing();
        clock.polled_at(1_650, 0, &gap);
        clock.publish(&counters);
        let shown = |stage: Stage| {
            (counters.stage_cycles[stage as usize].value(), counters.stage_frames[stage as usize].value())
        };
        assert_eq!(shown(Stage::Idle), (10 + 50, 0), "from the start to the first poll, and the empty poll");
        assert_eq!(shown(Stage::Rx), (20, 0));
        assert_eq!(shown(Stage::Classify), (70, 4));
        assert_eq!(shown(Stage::Open), (400, 3));
        assert_eq!(shown(Stage::Tx), (100, 2));
        assert_eq!(shown(Stage::Seal), (0, 0));
    }

    #[test]
    fn the_longest_gap_names_the_stage_with_the_largest_share() {
        let (mut clock, gap) = (clock(1), PollGap::new());
        clock.polled_at(2_000, 0, &gap);
        assert_eq!(gap.longest(), None, "one poll is no gap");
        // Seal in two stretches of 300 outweighs open's one of 400.
        clock.enter_at(2_010, Stage::Seal, 1);
        clock.enter_at(2_310, Stage::Open, 1);
        clock.enter_at(2_710, Stage::Seal, 1);
        clock.enter_at(3_010, Stage::Tx, 1);
        clock.polled_at(3_020, 0, &gap);
        let longest = LongestGap { cycles: 1_020, stage: Stage::Seal };
        assert_eq!(gap.longest(), Some(longest));
        clock.enter_at(3_900, Stage::Housekeeping, 0);
        clock.polled_at(4_040, 0, &gap);
        assert_eq!(gap.longest(), Some(longest), "as long, but no longer");
        clock.enter_at(4_050, Stage::Housekeeping, 0);
        clock.polled_at(5_061, 0, &gap);
        assert_eq!(gap.longest(), Some(LongestGap { cycles: 1_021, stage: Stage::Housekeeping }));
        assert_eq!(gap.gaps.snapshot().count(), 3);
        assert_eq!(gap.gaps.snapshot().max(), 1_021);
    }

    #[test]
    fn each_queue_has_its_own_gap_over_the_whole_round() {
        let mut clock = clock(2);
        let gaps = [PollGap::new(), PollGap::new()];
        clock.polled_at(2_000, 0, &gaps[0]);
        clock.enter_at(2_100, Stage::Open, 1);
        clock.polled_at(2_500, 1, &gaps[1]);
        clock.enter_at(2_600, Stage::Tx, 1);
        clock.polled_at(2_900, 0, &gaps[0]);
        clock.polled_at(2_950, 1, &gaps[1]);
        assert_eq!(gaps[0].longest(), Some(LongestGap { cycles: 900, stage: Stage::Open }));
        assert_eq!(gaps[1].longest(), Some(LongestGap { cycles: 450, stage: Stage::Tx }));
    }

    #[test]
    fn a_restart_leaves_the_interruption_out() {
        let (mut clock, gap) = (clock(1), PollGap::new());
        clock.polled_at(2_000, 0, &gap);
        clock.polled_at(2_100, 0, &gap);
        clock.restart();
        clock.polled_at(1_000_000, 0, &gap);
        clock.polled_at(1_000_050, 0, &gap);
        assert_eq!(gap.gaps.snapshot().count(), 2);
        assert_eq!(gap.longest().map(|longest| longest.cycles), Some(100));
        clock.polled_at(1_000_100, 1, &gap);
        assert_eq!(gap.gaps.snapshot().count(), 2, "a queue that the clock does not know");
    }

    #[test]
    fn a_counter_that_jumps_by_hours_either_way_breaks_no_sum() {
        const HOURS: u64 = 5 * 3600 * 3_000_000_000;
        let (mut clock, gap, counters) = (clock(1), PollGap::new(), WorkerCounters::new());
        clock.polled_at(HOURS, 0, &gap);
        clock.enter_at(HOURS + 10, Stage::Open, 1);
        clock.enter_at(100, Stage::Seal, 1);
        clock.polled_at(150, 0, &gap);
        clock.publish(&counters);
        assert_eq!(counters.stage_cycles[Stage::Open as usize].value(), 0, "back");
        assert_eq!(counters.stage_cycles[Stage::Seal as usize].value(), 50);
        assert_eq!(gap.longest(), None);
        clock.polled_at(u64::MAX, 0, &gap);
        clock.polled_at(7, 0, &gap);
        let longest = LongestGap { cycles: u64::MAX >> 8, stage: Stage::Rx };
        assert_eq!(gap.longest(), Some(longest), "ahead is a stall, cut to what there is room for");
    }

    #[test]
    fn labels_are_unique_and_the_json_name_is_the_label() {
        let mut labels: Vec<_> = Stage::ALL.iter().map(|stage| stage.label()).collect();
        for &stage in Stage::ALL {
            assert_eq!(Stage::ALL[stage as usize], stage);
            let json = serde_json::to_value(stage).expect("a string");
            assert_eq!(json, stage.label());
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Stage::COUNT);
    }
}
