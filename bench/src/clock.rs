//! The run's clock: nanoseconds since it started, from the time-stamp counter.

/// Converts time-stamp counter readings to nanoseconds since the start with one multiplication.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: u64,
    /// Nanoseconds per cycle, as a fraction of 2^32.
    ns_per_cycle: u64,
}

impl Clock {
    /// A clock that starts at the reading `start` of a counter of `hz` cycles per second.
    pub fn new(start: u64, hz: u64) -> Self {
        let ns_per_cycle = (1_000_000_000_u128 << 32) / u128::from(hz.max(1));
        Clock { start, ns_per_cycle: u64::try_from(ns_per_cycle).unwrap_or(u64::MAX) }
    }

    /// Nanoseconds from the start to the reading `cycles`; 0 for an earlier one.
    #[inline]
    pub fn ns_at(&self, cycles: u64) -> u64 {
        let elapsed = u128::from(cycles.saturating_sub(self.start));
        ((elapsed * u128::from(self.ns_per_cycle)) >> 32) as u64
    }

    /// Nanoseconds from the start to now.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.ns_at(voxlane::dpdk::cycles())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_day_within_a_millisecond() {
        for hz in [1_000_000_000, 2_445_432_000, 2_999_999_999, 5_000_000_000_u64] {
            let clock = Clock::new(1_000, hz);
            assert_eq!(clock.ns_at(10), 0);
            let ns = clock.ns_at(1_000 + 86_400 * hz);
            let error = ns.abs_diff(86_400 * 1_000_000_000);
            assert!(error < 1_000_000, "{error} ns off at {hz} Hz");
        }
    }
}
