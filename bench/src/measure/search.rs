//! The highest rate without loss, by binary search (RFC 2544 §26.1).
//!
//! A trial sends at a constant rate for a fixed time; the rate passes if every packet came back. The search
//! narrows the bracket from a rate that passed to one that did not until both are close enough.

/// Halves the bracket `passed..failed` until it is no wider than `resolution` (a share of the upper end) and returns
/// the highest rate that passed. `trial` says whether a rate passes.
///
/// # Errors
/// Those of `trial`.
pub fn highest_rate<E>(
    mut passed: u64,
    mut failed: u64,
    resolution: f64,
    mut trial: impl FnMut(u64) -> Result<bool, E>,
) -> Result<u64, E> {
    while failed > passed && (failed - passed) as f64 > resolution * failed as f64 {
        let middle = passed + (failed - passed) / 2;
        if middle == passed {
            break;
        }
        if trial(middle)? {
            passed = middle;
        } else {
            failed = middle;
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(capacity: u64) -> (u64, u32) {
        let mut trials = 0;
        let found = highest_rate(0, 4_000_000, 0.01, |rate| {
            trials += 1;
            Ok::<_, ()>(rate <= capacity)
        });
        (found.expect("no trial fails"), trials)
    }

    #[test]
    fn finds_the_capacity_from_below() {
        for capacity in [50_000, 999_999, 1_234_567, 3_990_000] {
            let (found, trials) = search(capacity);
            assert!(found <= capacity, "{found} of {capacity}");
            assert!(capacity - found <= capacity / 50 + 1, "{found} of {capacity}");
            assert!(trials <= 14, "{trials}");
        }
    }

    #[test]
    fn ends_when_nothing_passes() {
        assert_eq!(search(0).0, 0);
    }

    #[test]
    fn an_error_ends_the_search() {
        assert_eq!(highest_rate(0, 10, 0.01, |_| Err("broken")), Err("broken"));
    }
}
