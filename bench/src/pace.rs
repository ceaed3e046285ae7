//! When packets are due: an even schedule over all streams, in integers, without drift.
//!
//! Packet `n` of the run is due at `n / rate` and belongs to stream `n mod streams`, so every stream has
//! the same spacing and the streams' phases are spread evenly over it. A sender that was held up sees more
//! packets due and catches up; how far it was behind is reported, as it would look like jitter.

const NS_PER_SECOND: u128 = 1_000_000_000;

/// A rate in packets per `period`, and how many packets there are in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacer {
    packets: u64,
    period_ns: u64,
    total: u64,
}

/// Why a pace cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaceError {
    /// A rate of zero, or a spacing of zero.
    #[error("a rate of zero sends nothing; use a rate of at least 1 packet/s (--rate) or 1 ms (--ptime)")]
    Zero,
}

impl Pacer {
    /// `rate` packets per second over all streams; `total` packets and then no more.
    ///
    /// # Errors
    /// [`PaceError::Zero`].
    pub fn per_second(rate: u64, total: u64) -> Result<Self, PaceError> {
        Self::new(rate, NS_PER_SECOND as u64, total)
    }

    /// One packet of each of `streams` streams per `period_ns`; `total` packets and then no more.
    ///
    /// # Errors
    /// [`PaceError::Zero`].
    pub fn per_period(streams: u64, period_ns: u64, total: u64) -> Result<Self, PaceError> {
        Self::new(streams, period_ns, total)
    }

    fn new(packets: u64, period_ns: u64, total: u64) -> Result<Self, PaceError> {
        if packets == 0 || period_ns == 0 {
            return Err(PaceError::Zero);
        }
        Ok(Pacer { packets, period_ns, total })
    }

    /// The same pace for as many packets as are due within `ns`.
    pub fn lasting(self, ns: u64) -> Self {
        let total = u128::from(ns) * u128::from(self.packets) / u128::from(self.period_ns);
        Pacer { total: u64::try_from(total).unwrap_or(u64::MAX), ..self }
    }

    /// How many packets should have been sent `elapsed_ns` after the start. Packet 0 is due at once.
    #[inline]
    pub fn due(&self, elapsed_ns: u64) -> u64 {
        let due = u128::from(elapsed_ns) * u128::from(self.packets) / u128::from(self.period_ns) + 1;
        u64::try_from(due).unwrap_or(u64::MAX).min(self.total)
    }

    /// When packet `n` (from 0) is due, in nanoseconds after the start: the first moment at which
    /// [`Pacer::due`] exceeds `n`.
    #[inline]
    pub fn due_at(&self, n: u64) -> u64 {
        let at = (u128::from(n) * u128::from(self.period_ns)).div_ceil(u128::from(self.packets));
        u64::try_from(at).unwrap_or(u64::MAX)
    }

    /// Packets in all.
    pub const fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_schedule_neither_drifts_nor_overshoots() {
        // 20,000 streams at 20 ms: one packet per microsecond, a million a second.
        let pacer = Pacer::per_period(20_000, 20 * MS, u64::MAX).expect("not zero");
        assert_eq!(pacer.due(0), 1);
        assert_eq!(pacer.due(999), 1);
        assert_eq!(pacer.due(1_000), 2);
        let day = 86_400 * 1_000 * MS;
        assert_eq!(pacer.due(day), 86_400 * 1_000_000 + 1);
    }

    #[test]
    fn due_at_is_the_first_moment_that_due_counts_the_packet() {
        for (packets, period) in [(1, 20 * MS), (3, 20 * MS), (7, 1_000 * MS), (999_983, 1_000 * MS)] {
            let pacer = Pacer::new(packets, period, u64::MAX).expect("not zero");
            for n in (0..50).chain([1_000_003, 77_777_777]) {
                let at = pacer.due_at(n);
                assert_eq!(pacer.due(at), n + 1, "packet {n} of {packets} per {period} ns");
                assert!(at == 0 || pacer.due(at - 1) == n, "packet {n} of {packets} per {period} ns");
            }
        }
    }

    #[test]
    fn the_total_bounds_what_is_due() {
        let pacer = Pacer::per_second(50, 10).expect("not zero");
        assert_eq!(pacer.due(u64::MAX), 10);
        assert_eq!(pacer.lasting(2_000 * MS).total(), 100);
        assert_eq!(pacer.lasting(2_000 * MS).due(1_999 * MS), 100);
    }

    #[test]
    fn nothing_per_second_is_refused() {
        assert_eq!(Pacer::per_second(0, 1), Err(PaceError::Zero));
        assert_eq!(Pacer::per_period(5, 0, 1), Err(PaceError::Zero));
    }
}
