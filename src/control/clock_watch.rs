//! Whether the time-stamp counter and the kernel's monotonic clock go on together.
//!
//! A worker has the time-stamp counter alone and cannot tell a jump of it from a stall: both are one long poll gap. The
//! control thread can, for it may ask the kernel: at each look it compares how far both clocks have come since the last.
//! After a stall, be it of this thread, of the process or of the whole machine, they agree; after a jump of one of them
//! (a virtual machine that was moved or suspended, firmware that wrote the counter) they do not.

use std::sync::Arc;
use std::time::Duration;

use crate::dpdk::cycles_to_ns;
use crate::telemetry::Counter;

/// What the clocks may differ by from one look to the next. Drift is far below, even over minutes without a look.
const TOLERANCE_NS: i128 = 100_000_000;

/// Compares the two clocks.
#[derive(Debug)]
pub(super) struct ClockWatch {
    tsc_hz: u64,
    last: Option<Reading>,
    jumps: Arc<Counter>,
}

/// A reading of the monotonic clock, between two of the counter: this thread may lose its core between any two of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Cycles before it.
    pub(super) before: u64,
    /// Since any moment.
    pub(super) monotonic: Duration,
    /// Cycles after it.
    pub(super) after: u64,
}

impl ClockWatch {
    /// Counts jumps in `jumps`, of which this is the only writer.
    pub(super) fn new(tsc_hz: u64, jumps: Arc<Counter>) -> Self {
        ClockWatch { tsc_hz, last: None, jumps }
    }

    /// Compares; counts and logs a jump. Answers by how many seconds the time-stamp counter is ahead then.
    pub(super) fn look(&mut self, now: Reading) -> Option<f64> {
        let last = self.last.replace(now)?;
        let went_on = now.monotonic.as_nanos() as i128 - last.monotonic.as_nanos() as i128;
        // The counter went on by something between these two.
        let least = self.ns(last.after, now.before) - went_on;
        let most = self.ns(last.before, now.after) - went_on;
        let ahead = if least > TOLERANCE_NS {
            least
        } else if most < -TOLERANCE_NS {
            most
        } else {
            return None;
        };
        self.jumps.add(1);
        let seconds = ahead as f64 / 1e9;
        tracing::warn!(
            seconds = format!("{seconds:.3}"),
            "the time-stamp counter has gone on by so much more than the monotonic clock: one of them jumped; a poll \
             gap of that length is no stall"
        );
        Some(seconds)
    }

    /// Nanoseconds from one reading of the counter to the other, negative if that is lower.
    fn ns(&self, from: u64, to: u64) -> i128 {
        match to.checked_sub(from) {
            Some(cycles) => i128::from(cycles_to_ns(cycles, self.tsc_hz)),
            None => -i128::from(cycles_to_ns(from - to, self.tsc_hz)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 2_000_000_000;

    fn at(counter_ms: u64, monotonic_ms: u64) -> Reading {
        let before = counter_ms * (HZ / 1_000);
        Reading { before, monotonic: Duration::from_millis(monotonic_ms), after: before + 100 }
    }

    fn watch() -> (ClockWatch, Arc<Counter>) {
        let jumps = Arc::new(Counter::new());
        (ClockWatch::new(HZ, Arc::clone(&jumps)), jumps)
    }

    #[test]
    fn clocks_that_go_on_together_are_no_jump_however_long_nobody_looked() {
        let (mut watch, jumps) = watch();
        // Every half millisecond, after a stall of ten minutes with half a tenth of a second of drift, and on.
        let looks = [(5_000, 0), (5_001, 1), (605_001, 600_050), (605_002, 600_051)];
        assert!(looks.into_iter().all(|(counter, monotonic)| watch.look(at(counter, monotonic)).is_none()));
        // The thread lost its core between the readings, for seconds.
        let lost = Reading { after: at(615_000, 0).after, ..at(605_003, 600_052) };
        assert_eq!(watch.look(lost), None);
        assert_eq!(watch.look(at(615_001, 610_053)), None);
        assert_eq!(jumps.value(), 0);
    }

    #[test]
    fn a_jump_of_either_clock_either_way_is_counted_once() {
        let (mut watch, jumps) = watch();
        let mut look = |counter, monotonic| watch.look(at(counter, monotonic)).map(|seconds| seconds.round());
        assert_eq!(look(10_000_000, 5_000_000), None);
        assert_eq!(look(17_200_001, 5_000_001), Some(7_200.0), "the counter ahead");
        assert_eq!(look(17_200_002, 5_000_002), None);
        assert_eq!(look(3_000, 5_000_003), Some(-17_197.0), "back");
        assert_eq!(look(3_001, 8_600_004), Some(-3_600.0), "the monotonic clock ahead");
        assert_eq!(look(3_002, 5_000_005), Some(3_600.0), "back");
        assert_eq!(look(3_003, 5_000_006), None);
        assert_eq!(jumps.value(), 4);
    }
}
