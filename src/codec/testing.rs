//! What the tests of payload formats share.

use crate::wire::testing::Random;

/// Calls `try_one` with random payloads of every length up to `longest`, `rounds` of each: all bytes random, then with
/// each of `starts` in front.
pub(super) fn random_payloads(
    longest: usize,
    rounds: usize,
    starts: &[&[u8]],
    mut try_one: impl FnMut(&[u8]),
) {
    let mut random = Random::new(longest as u64);
    for length in 0..=longest {
        for _ in 0..rounds {
            let bytes = random.bytes(length);
            try_one(&bytes);
            for start in starts {
                let mut started = bytes.clone();
                let kept = start.len().min(length);
                started[..kept].copy_from_slice(&start[..kept]);
                try_one(&started);
            }
        }
    }
}
