//! Token buckets: how often the host side answers, and how much workers punt to it.

#![forbid(unsafe_code)]

/// Allows a number of events per second on average, and as many at once after a second of silence.
///
/// Time is in ticks of any clock that does not usually run backwards: nanoseconds, or cycles of the time-stamp counter.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: u64,
    /// One token in the bucket's own unit: a tick at one token per second adds exactly one.
    token: u64,
    level: u64,
    updated: u64,
}

impl TokenBucket {
    /// A full bucket on a clock with `hz` ticks a second. With a rate of zero it allows nothing.
    pub fn new(per_second: u32, hz: u64) -> Self {
        let per_second = u64::from(per_second);
        let token = hz.max(1);
        TokenBucket { per_second, token, level: per_second.saturating_mul(token), updated: 0 }
    }

    /// Takes a token at time `now`, in ticks. False if there is none.
    #[inline]
    pub fn take(&mut self, now: u64) -> bool {
        let elapsed = now.saturating_sub(self.updated);
        // A clock that jitters goes on; one that jumped back by more than a bucket holds is believed, or nothing would be
        // allowed until it has caught up.
        if now > self.updated || self.updated - now > self.token {
            self.updated = now;
        }
        let gained = elapsed.saturating_mul(self.per_second);
        self.level = self.level.saturating_add(gained).min(self.per_second.saturating_mul(self.token));
        match self.level.checked_sub(self.token) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(bucket: &mut TokenBucket, now_ns: u64) -> usize {
        (0..10_000).take_while(|_| bucket.take(now_ns)).count()
    }

    #[test]
    fn allows_the_rate_and_one_second_of_burst() {
        let mut bucket = TokenBucket::new(100, SECOND);
        assert_eq!(taken(&mut bucket, 0), 100);
        assert_eq!(taken(&mut bucket, 0), 0);
        assert_eq!(taken(&mut bucket, 10_000_000), 1, "one hundredth of a second");
        assert_eq!(taken(&mut bucket, 19_999_999), 0);
        assert_eq!(taken(&mut bucket, 20_000_000), 1, "no part of a token is lost in between");
        assert_eq!(taken(&mut bucket, 3600 * SECOND), 100, "silence saves up no more than a second");
    }

    #[test]
    fn a_rate_of_zero_allows_nothing() {
        let mut bucket = TokenBucket::new(0, SECOND);
        assert!(!bucket.take(0) && !bucket.take(u64::MAX));
    }

    #[test]
    fn extremes_of_time_and_rate_do_not_overflow() {
        let mut bucket = TokenBucket::new(u32::MAX, SECOND);
        assert!(bucket.take(u64::MAX));
        assert!(bucket.take(0), "a clock that ran backwards adds nothing and takes nothing away");
        let mut bucket = TokenBucket::new(1, SECOND);
        assert!(bucket.take(5 * SECOND) && !bucket.take(4 * SECOND) && !bucket.take(5 * SECOND));
        assert!(bucket.take(6 * SECOND));
    }

    #[test]
    fn a_clock_that_jumped_back_by_hours_does_not_close_the_bucket_for_hours() {
        let mut bucket = TokenBucket::new(10, SECOND);
        let hours = 5 * 3600 * SECOND;
        assert_eq!(taken(&mut bucket, hours), 10);
        assert_eq!(taken(&mut bucket, 0), 0, "the jump itself brings nothing");
        assert_eq!(taken(&mut bucket, SECOND / 2), 5);
        assert_eq!(taken(&mut bucket, hours), 10, "nor does one ahead bring more than a second");
    }
}
