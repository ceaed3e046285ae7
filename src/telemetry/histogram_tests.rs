//! The histogram against the slow, obvious one: a sorted list of every value.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Every value ever recorded, sorted when asked.
#[derive(Default)]
struct Exact(Vec<u64>);

impl Exact {
    fn record(&mut self, value: u64) {
        self.0.push(value);
        self.0.sort_unstable();
    }

    /// `hundredths` of a per cent, so that the rank is exact.
    fn percentile(&self, hundredths: usize) -> u64 {
        let rank = (hundredths * self.0.len()).div_ceil(10_000);
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    fn count_at_most(&self, bound: u64) -> u64 {
        self.0.iter().filter(|&&value| value <= bound).count() as u64
    }
}

/// SplitMix64: enough for test data, and the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A value of a random magnitude below 2^`bits`, so that every octave is tried.
    fn of_any_magnitude(&mut self, bits: u32) -> u64 {
        let bits = self.next() % u64::from(bits) + 1;
        self.next() >> (64 - bits)
    }
}

/// In hundredths of a per cent.
const PERCENTILES: [usize; 10] = [0, 100, 1_000, 5_000, 7_500, 9_000, 9_900, 9_990, 9_999, 10_000];

#[test]
fn buckets_follow_one_another_without_gap_or_overlap() {
    assert_eq!(bucket_of(0), 0);
    for bucket in 0..LAST_BUCKET {
        let highest = highest_value(bucket);
        assert_eq!(bucket_of(highest), bucket, "highest value {highest}");
        assert_eq!(bucket_of(highest + 1), bucket + 1, "value {}", highest + 1);
    }
    assert_eq!(highest_value(LAST_BUCKET - 1) + 1, RANGE_END);
    assert_eq!(bucket_of(RANGE_END), LAST_BUCKET);
    assert_eq!(bucket_of(u64::MAX), LAST_BUCKET);
}

#[test]
fn no_bucket_is_wider_than_the_promised_error() {
    for bucket in 1..LAST_BUCKET {
        let lowest = highest_value(bucket - 1) + 1;
        let error = (highest_value(bucket) - lowest) as f64 / lowest as f64;
        assert!(error < MAX_RELATIVE_ERROR, "bucket {bucket}: {error}");
    }
}

#[test]
fn percentiles_agree_with_the_sorted_list_within_the_error() {
    let mut random = Random(1);
    for round in 0..40 {
        let (histogram, mut exact) = (Histogram::new(), Exact::default());
        for _ in 0..=random.next() % 500 {
            let value = match round % 4 {
                0 => random.next() % 200,
                1 => random.of_any_magnitude(35),
                2 => 30_000 + random.next() % 3_000,
                _ => 7,
            };
            histogram.record(value);
            exact.record(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), exact.0.len() as u64);
        assert_eq!(snapshot.sum(), exact.0.iter().sum::<u64>());
        assert_eq!(snapshot.max(), exact.percentile(10_000));
        for hundredths in PERCENTILES {
            let percent = hundredths as f64 / 100.0;
            let found = snapshot.percentile(percent).expect("not empty");
            let truth = exact.percentile(hundredths);
            let limit = truth + truth / SUB_BUCKETS as u64;
            assert!((truth..=limit).contains(&found), "round {round}, p{percent}: {found}, truth {truth}");
        }
    }
}

#[test]
fn ranks_are_exact_at_every_count() {
    for count in 1..=3_000 {
        let histogram = Histogram::new();
        for value in 0..2 {
            // The last value of `count` is 1, all others are 0: a rank too high by one is seen at once.
            histogram.record_n(value, if value == 0 { count - 1 } else { 1 });
        }
        let snapshot = histogram.snapshot();
        for hundredths in PERCENTILES {
            let last = (hundredths as u64 * count).div_ceil(10_000).max(1) == count;
            let found = snapshot.percentile(hundredths as f64 / 100.0);
            assert_eq!(found, Some(u64::from(last)), "{hundredths} of {count}");
        }
    }
}

#[test]
fn a_bound_counts_what_is_surely_below_it() {
    let mut random = Random(2);
    let (histogram, mut exact) = (Histogram::new(), Exact::default());
    for _ in 0..600 {
        let value = random.of_any_magnitude(40);
        histogram.record(value);
        exact.record(value);
    }
    let snapshot = histogram.snapshot();
    let mut bounds: Vec<u64> = (0..600).map(|_| random.of_any_magnitude(36)).collect();
    bounds.extend([0, 1, 63, 64, 65, RANGE_END - 1, RANGE_END]);
    bounds.sort_unstable();
    let mut before = 0;
    for bound in bounds {
        let found = snapshot.count_at_most(bound);
        assert!(found >= before, "a larger bound counts no less");
        before = found;
        if bound < RANGE_END {
            let lowest = exact.count_at_most(bound - bound / SUB_BUCKETS as u64 - u64::from(bound >= 64));
            assert!((lowest..=exact.count_at_most(bound)).contains(&found), "bound {bound}: {found}");
        }
    }
    assert_eq!(snapshot.count_at_most(u64::MAX), 600);
}

#[test]
fn values_below_64_and_bucket_ends_are_exact() {
    let histogram = Histogram::new();
    (0..64).for_each(|value| histogram.record(value));
    let snapshot = histogram.snapshot();
    for value in 0..64 {
        assert_eq!(snapshot.count_at_most(value), value + 1);
        let percent = (value + 1) as f64 / 64.0 * 100.0;
        assert_eq!(snapshot.percentile(percent), Some(value));
    }
}

#[test]
fn values_above_the_range_are_counted_and_the_maximum_stays_exact() {
    let histogram = Histogram::new();
    histogram.record_n(100, 9);
    histogram.record(RANGE_END + 12_345);
    let snapshot = histogram.snapshot();
    assert_eq!(snapshot.count(), 10);
    assert_eq!(snapshot.max(), RANGE_END + 12_345);
    assert_eq!(snapshot.percentile(100.0), Some(RANGE_END + 12_345));
    assert_eq!(snapshot.sum(), 900 + RANGE_END + 12_345);
    assert_eq!(snapshot.count_at_most(RANGE_END + 20_000), 9, "not surely below any bound");
    histogram.record(u64::MAX);
    assert_eq!(histogram.snapshot().percentile(100.0), Some(u64::MAX));
}

#[test]
fn an_empty_histogram_has_no_percentile() {
    let snapshot = Histogram::new().snapshot();
    assert_eq!(snapshot, HistogramSnapshot::empty());
    assert_eq!((snapshot.count(), snapshot.sum(), snapshot.max()), (0, 0, 0));
    assert_eq!((snapshot.percentile(50.0), snapshot.mean()), (None, None));
    let histogram = Histogram::new();
    histogram.record_n(5, 0);
    assert_eq!(histogram.snapshot(), snapshot, "no value, no trace");
}

#[test]
fn a_percentile_out_of_range_is_clamped() {
    let histogram = Histogram::new();
    histogram.record(3);
    histogram.record(9);
    let snapshot = histogram.snapshot();
    assert_eq!(snapshot.percentile(-1.0), Some(3));
    assert_eq!(snapshot.percentile(f64::NAN), Some(3));
    assert_eq!(snapshot.percentile(1e9), Some(9));
    assert_eq!(snapshot.mean(), Some(6.0));
}

#[test]
fn a_merge_is_as_if_one_histogram_had_taken_all_values() {
    let mut random = Random(3);
    let (all, one, two) = (Histogram::new(), Histogram::new(), Histogram::new());
    for turn in 0..1000 {
        let value = random.of_any_magnitude(50);
        all.record(value);
        if turn % 3 == 0 {
            one.record(value)
        } else {
            two.record(value)
        };
    }
    let mut merged = HistogramSnapshot::default();
    merged.merge(&one.snapshot());
    merged.merge(&two.snapshot());
    assert_eq!(merged, all.snapshot());
}

#[test]
fn a_delta_holds_what_came_in_between() {
    let (whole, later) = (Histogram::new(), Histogram::new());
    whole.record_n(1_000_000, 3);
    whole.record(50);
    let earlier = whole.snapshot();
    for value in [40, 50, 60, 2_000] {
        whole.record(value);
        later.record(value);
    }
    let delta = whole.snapshot().delta(&earlier);
    assert_eq!((delta.count(), delta.sum()), (4, 2_150));
    assert_eq!(delta.percentile(50.0), Some(50));
    // 2,000 set no new record, so its bucket's end stands for it: 1,984..=2,015.
    assert_eq!(delta.max(), 2_015);
    whole.record(5_000_001);
    assert_eq!(whole.snapshot().delta(&earlier).max(), 5_000_001, "a new record is exact");
    assert_eq!(earlier.delta(&earlier), HistogramSnapshot::empty());
}

#[test]
fn a_reader_never_sees_counts_go_back_and_ends_with_all_of_them() {
    const VALUES: u64 = 200_000;
    let (histogram, done) = (Histogram::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(4);
            for _ in 0..VALUES {
                histogram.record(random.of_any_magnitude(30));
            }
            done.store(true, Ordering::Release);
        });
        let mut earlier = histogram.snapshot();
        while !done.load(Ordering::Acquire) {
            let now = histogram.snapshot();
            assert!(now.counts.iter().zip(earlier.counts.iter()).all(|(now, before)| now >= before));
            assert!(now.max >= earlier.max && now.sum >= earlier.sum);
            assert!(now.percentile(99.0) <= Some(now.max));
            earlier = now;
        }
    });
    assert_eq!(histogram.snapshot().count(), VALUES);
}
