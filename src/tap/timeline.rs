//! Where on a file's time line a packet belongs.
//!
//! RTP timestamps say it, as long as they agree with the clock by which packets arrive. Where they do not (another
//! source, a sender whose clock stood still or jumped), the packet goes where its arrival says, and the timestamps count
//! on from there. So a gap in a file is never longer than the time that passed, whatever a sender writes into its
//! headers.

/// How far timestamps may be off the arrival clock, in nanoseconds, before they are not believed.
const TOLERANCE_NS: u64 = 2_000_000_000;

/// The time line of one file, in ticks of the RTP clock.
#[derive(Debug)]
pub(super) struct Timeline {
    clock_rate: u32,
    last: Option<Last>,
}

/// The packet before.
#[derive(Debug, Clone, Copy)]
struct Last {
    ssrc: u32,
    timestamp: u32,
    arrival_ns: u64,
    position: u64,
}

impl Timeline {
    pub(super) fn new(clock_rate: u32) -> Self {
        Timeline { clock_rate: clock_rate.max(1), last: None }
    }

    /// Where the packet before started, and where this one does. The first one starts at 0.
    pub(super) fn step(&mut self, ssrc: u32, timestamp: u32, arrival_ns: u64) -> (u64, u64) {
        let before = self.last.map_or(0, |last| last.position);
        let position = match self.last {
            None => 0,
            Some(last) => {
                let elapsed = self.ticks(arrival_ns.saturating_sub(last.arrival_ns));
                let step = i64::from(timestamp.wrapping_sub(last.timestamp) as i32);
                let is_believed =
                    ssrc == last.ssrc && step.abs_diff(elapsed as i64) <= self.ticks(TOLERANCE_NS);
                if is_believed { last.position.saturating_add_signed(step) } else { last.position + elapsed }
            }
        };
        self.last = Some(Last { ssrc, timestamp, arrival_ns, position });
        (before, position)
    }

    fn ticks(&self, ns: u64) -> u64 {
        (u128::from(ns) * u128::from(self.clock_rate) / 1_000_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(line: &mut Timeline, ssrc: u32, timestamp: u32, arrival_ns: u64) -> u64 {
        line.step(ssrc, timestamp, arrival_ns).1
    }

    #[test]
    fn timestamps_rule_as_long_as_they_agree_with_arrival() {
        let mut line = Timeline::new(8_000);
        assert_eq!(at(&mut line, 1, u32::MAX - 79, 0), 0);
        assert_eq!(at(&mut line, 1, 80, 35 * MS), 160, "over the wrap, whatever the jitter");
        assert_eq!(at(&mut line, 1, 80 + 8_000, 1_020 * MS), 8_160, "a pause of a second");
        assert_eq!(at(&mut line, 1, 80 + 7_840, 1_030 * MS), 8_000, "an earlier one");
    }

    #[test]
    fn what_disagrees_goes_where_it_arrived() {
        let mut line = Timeline::new(8_000);
        at(&mut line, 1, 0, 0);
        assert_eq!(at(&mut line, 1, 1 << 30, 20 * MS), 160, "a jump of 37 hours is 20 ms");
        assert_eq!(at(&mut line, 1, (1 << 30) + 160, 40 * MS), 320, "and goes on from there");
        assert_eq!(at(&mut line, 1, (1 << 30) + 320, 10_040 * MS), 80_320, "a clock that stood still");
        assert_eq!(at(&mut line, 2, 5, 10_060 * MS), 80_480, "another source");
    }
}
