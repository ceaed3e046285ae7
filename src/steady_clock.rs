//! A clock that does not jump, made from one that may: what timers run on.
//!
//! A machine that is suspended, a virtual one that is moved, a time-stamp counter that differs from core to core: whatever
//! a clock does then, timers must neither all fire at once nor stand still until it has caught up. So time goes on by
//! the difference of two readings, but never back, and never by more than [`MAX_STEP`] from one reading to the next.

#![forbid(unsafe_code)]

use std::time::Duration;

/// Longest step that is believed. Whoever reads the clock does so far more often.
pub const MAX_STEP: Duration = Duration::from_secs(1);

/// Time since it was made.
#[derive(Debug, Clone)]
pub struct SteadyClock {
    last: Duration,
    now: Duration,
}

impl SteadyClock {
    /// A clock at zero, over one that reads `reading`.
    pub fn new(reading: Duration) -> Self {
        SteadyClock { last: reading, now: Duration::ZERO }
    }

    /// What the time is when the clock below reads `reading`.
    pub fn advance(&mut self, reading: Duration) -> Duration {
        let step = reading.saturating_sub(self.last).min(MAX_STEP);
        self.last = reading;
        self.now = self.now.saturating_add(step);
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: Duration = Duration::from_secs(5 * 3600);

    #[test]
    fn goes_with_a_clock_that_behaves() {
        let mut clock = SteadyClock::new(HOURS);
        let readings = [0, 3, 3, 500, 999, 1999].map(Duration::from_millis);
        assert_eq!(readings.map(|reading| clock.advance(HOURS + reading)), readings);
    }

    #[test]
    fn neither_a_jump_ahead_nor_one_back_is_more_than_a_step() {
        let mut clock = SteadyClock::new(HOURS);
        let second = Duration::from_secs(1);
        assert_eq!(clock.advance(HOURS + second), second);
        assert_eq!(clock.advance(3 * HOURS), 2 * second, "ahead by ten hours");
        assert_eq!(clock.advance(Duration::ZERO), 2 * second, "back by fifteen");
        assert_eq!(clock.advance(second / 4), 2 * second + second / 4, "and on from there at once");
        assert_eq!(clock.advance(Duration::MAX), 3 * second + second / 4);
    }
}
