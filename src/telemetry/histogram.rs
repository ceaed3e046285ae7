//! A latency histogram that one worker writes and any thread reads, without lock or heap.
//!
//! Log-linear, as HdrHistogram is: every octave (power of two) of the value range is cut into
//! [`SUB_BUCKETS`] equal parts, so a bucket is never wider than 1/32 of the smallest value in it and a
//! reported percentile lies at most [`MAX_RELATIVE_ERROR`] above the true one. Values below 64 have a
//! bucket each and are exact.
//!
//! Values come from the worker's transmit stage, as TSC cycles from RX to TX. They go, as a
//! [`HistogramSnapshot`], to the metrics thread (which turns them into a Prometheus histogram and
//! quantile gauges) and to the live table of the demo.

use super::counters::Counter;

/// Equal parts into which one octave of the value range is cut.
pub const SUB_BUCKETS: usize = 1 << SUB_BITS;

/// How far above the true value a percentile may be reported, as a fraction of the true value: 1/32.
pub const MAX_RELATIVE_ERROR: f64 = 1.0 / SUB_BUCKETS as f64;

/// Buckets of one histogram: 8 KiB of counters, of which steady traffic touches a handful of lines.
pub const BUCKETS: usize = 1024;

/// The first value of the last bucket, which has no upper end: 63 * 2^30 cycles, 22.5 s at 3 GHz. Larger
/// values are not lost: they are counted there, and sum and maximum take them exactly.
pub const RANGE_END: u64 = (2 * SUB_BUCKETS as u64 - 1) << (BUCKETS / SUB_BUCKETS - 2);

const SUB_BITS: u32 = 5;
const LAST_BUCKET: usize = BUCKETS - 1;

/// Counts of values by size, in TSC cycles (or any other unit: the histogram does not care).
///
/// Written by exactly one thread, the worker that owns the queue; read by any. Two writers would lose
/// counts (never memory safety), because [`Counter`] updates are a plain load and store.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum: Counter,
    max: Counter,
}

impl Histogram {
    /// An empty histogram. The only memory it will ever use is its own 8 KiB.
    pub const fn new() -> Self {
        Self { buckets: [const { Counter::new() }; BUCKETS], sum: Counter::new(), max: Counter::new() }
    }

    /// Counts one value. Writer only.
    #[inline]
    pub fn record(&self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts the same value `n` times, as for packets of one burst that share a time stamp. Writer only.
    ///
    /// The sum wraps at 2^64 (two years of ten million packets a second at 30,000 cycles each); to
    /// Prometheus that looks like a restart, which `rate()` bridges.
    #[inline]
    pub fn record_n(&self, value: u64, n: u64) {
        if n == 0 {
            return;
        }
        // `bucket_of` is below BUCKETS by construction, so the fallback is never taken; it is here so that
        // no panic branch remains in the packet path.
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.add(n);
        }
        self.sum.add(value.wrapping_mul(n));
        self.max.raise_to(value);
    }

    /// A copy for the reader. Takes 8 KiB of heap: not for a worker.
    ///
    /// The writer goes on meanwhile, so the copy is not one instant: it may hold a value's bucket but not
    /// yet its share of the sum. The count is always that of the copied buckets, and no count is ever
    /// lower than in an earlier copy.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut counts = zeroed_counts();
        for (copy, bucket) in counts.iter_mut().zip(&self.buckets) {
            *copy = bucket.value();
        }
        HistogramSnapshot { counts, sum: self.sum.value(), max: self.max.value() }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram's contents at about one moment; plain data for the reading thread.
#[derive(Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Box<[u64; BUCKETS]>,
    sum: u64,
    max: u64,
}

impl HistogramSnapshot {
    /// A snapshot without values: the neutral element of [`HistogramSnapshot::merge`].
    pub fn empty() -> Self {
        Self { counts: zeroed_counts(), sum: 0, max: 0 }
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values, modulo 2^64, in the histogram's unit.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value, exactly (see [`HistogramSnapshot::delta`] for differences); 0 when empty.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The arithmetic mean, or `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        match self.count() {
            0 => None,
            count => Some(self.sum as f64 / count as f64),
        }
    }

    /// The value that `percent` per cent of all values do not exceed (nearest rank), or `None` when empty.
    ///
    /// `percent` is clamped to 0..=100 and taken to four decimals; 100 gives the exact maximum. The result is never below the true
    /// percentile and at most [`MAX_RELATIVE_ERROR`] above it for values below [`RANGE_END`]; where the
    /// rank falls among larger values it is the maximum.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // In integers, because 99.9 % of 1,000 comes out a hair above 999 in floating point and would be the
        // 1,000th value. A NaN becomes 0 by the cast and so the smallest value.
        let millionths = (percent.clamp(0.0, 100.0) * 10_000.0).round() as u128;
        let rank = (millionths * u128::from(count)).div_ceil(1_000_000).clamp(1, u128::from(count)) as u64;
        let mut seen = 0;
        for (bucket, &n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Some(highest_value(bucket).min(self.max));
            }
        }
        Some(self.max)
    }

    /// How many values are certainly not larger than `bound`: those in buckets that end at or below it.
    ///
    /// This is a Prometheus `le` bucket whose real bound is at most [`MAX_RELATIVE_ERROR`] below the one
    /// it is labelled with. It never decreases as `bound` grows.
    pub fn count_at_most(&self, bound: u64) -> u64 {
        // A bound that ends its bucket includes it; any other bound includes only the buckets before.
        let full = if bound == u64::MAX { BUCKETS } else { bucket_of(bound + 1) };
        self.counts.iter().take(full).sum()
    }

    /// Adds another snapshot's values, as for the total of a port's queues.
    pub fn merge(&mut self, other: &HistogramSnapshot) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// The values recorded since `earlier`, a snapshot of the same histogram.
    ///
    /// The maximum is exact where a new record was set in between; otherwise it is the end of the highest
    /// bucket that grew, because the writer keeps only one maximum.
    pub fn delta(&self, earlier: &HistogramSnapshot) -> HistogramSnapshot {
        let mut counts = zeroed_counts();
        let mut highest = None;
        for (bucket, count) in counts.iter_mut().enumerate() {
            let (now, before) = (self.counts.get(bucket), earlier.counts.get(bucket));
            *count = now.copied().unwrap_or(0).saturating_sub(before.copied().unwrap_or(0));
            if *count > 0 {
                highest = Some(bucket);
            }
        }
        // A new record lies in the highest bucket that grew, so the minimum below is that record.
        let max = highest.map_or(0, |bucket| highest_value(bucket).min(self.max));
        HistogramSnapshot { counts, sum: self.sum.wrapping_sub(earlier.sum), max }
    }
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self::empty()
    }
}

impl std::fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistogramSnapshot")
            .field("count", &self.count())
            .field("sum", &self.sum)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

/// The bucket that counts `value`; always below [`BUCKETS`].
///
/// Bucket `32 * shift + top` holds the values whose highest six bits are `top` (32..64) once the lowest
/// `shift` are cut off; with `shift` 0 that continues the exact buckets 0..32 without a gap.
#[inline]
const fn bucket_of(value: u64) -> usize {
    if value >= RANGE_END {
        return LAST_BUCKET;
    }
    let magnitude = u64::BITS - (value | 1).leading_zeros();
    let shift = magnitude.saturating_sub(SUB_BITS + 1);
    ((shift as usize) << SUB_BITS) + (value >> shift) as usize
}

/// The largest value that `bucket` counts; the last bucket takes everything up to `u64::MAX`.
const fn highest_value(bucket: usize) -> u64 {
    if bucket >= LAST_BUCKET {
        return u64::MAX;
    }
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let top = (bucket - (shift << SUB_BITS)) as u64;
    ((top + 1) << shift) - 1
}

fn zeroed_counts() -> Box<[u64; BUCKETS]> {
    Box::new([0; BUCKETS])
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
