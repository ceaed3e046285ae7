//! Which packets of a stream have come: first time, again, or out of order.
//!
//! A sliding bitmap over the payload's own sequence numbers, of constant size, so that a run of any length
//! needs no memory. It is independent of the SRTP replay window: it also finds a packet that was sealed
//! twice under two indices.

/// Sequence numbers below the highest one that are told apart; one further back counts as [`Arrival::TooOld`].
pub const WINDOW: u64 = 2_048;

const WORDS: usize = (WINDOW / 64) as usize;

/// What an arriving packet is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first copy, and higher than all before.
    New,
    /// The first copy, but a higher sequence number came before.
    Reordered,
    /// Not the first copy.
    Duplicate,
    /// So far back that nobody knows whether it is the first copy.
    TooOld,
}

/// The sequence numbers of one stream that have come. 264 bytes.
#[derive(Debug, Clone)]
pub struct Tracker {
    /// One more than the highest sequence number that came; 0 if none did.
    next: u64,
    /// Bit `s mod WINDOW` tells whether `s` came, for the `WINDOW` numbers below `next`.
    seen: [u64; WORDS],
}

impl Tracker {
    /// A stream of which nothing has come.
    pub const fn new() -> Self {
        Tracker { next: 0, seen: [0; WORDS] }
    }

    /// Takes note of `sequence`.
    #[inline]
    pub fn arrive(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.next {
            self.advance(sequence);
            self.mark(sequence);
            return Arrival::New;
        }
        if self.next - sequence > WINDOW {
            return Arrival::TooOld;
        }
        if self.mark(sequence) { Arrival::Duplicate } else { Arrival::Reordered }
    }

    /// Moves the window up so that `sequence` is its highest number; what enters it has not come.
    #[inline]
    fn advance(&mut self, sequence: u64) {
        if sequence - self.next >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for entering in self.next..=sequence {
                *self.word(entering) &= !bit(entering);
            }
        }
        self.next = sequence.saturating_add(1);
    }

    /// Sets the number's bit and says whether it was set already.
    #[inline]
    fn mark(&mut self, sequence: u64) -> bool {
        let word = self.word(sequence);
        let was = *word & bit(sequence) != 0;
        *word |= bit(sequence);
        was
    }

    #[inline]
    fn word(&mut self, sequence: u64) -> &mut u64 {
        &mut self.seen[(sequence % WINDOW / 64) as usize]
    }
}

#[inline]
const fn bit(sequence: u64) -> u64 {
    1 << (sequence % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rng::Rng;

    /// The slow, obvious version: remembers everything.
    #[derive(Default)]
    struct Reference(BTreeSet<u64>);

    impl Reference {
        fn arrive(&mut self, sequence: u64) -> Arrival {
            let highest = self.0.last().copied();
            match highest {
                Some(highest) if sequence + WINDOW <= highest => Arrival::TooOld,
                Some(_) if self.0.contains(&sequence) => Arrival::Duplicate,
                Some(highest) if sequence < highest => {
                    self.0.insert(sequence);
                    Arrival::Reordered
                }
                _ => {
                    self.0.insert(sequence);
                    Arrival::New
                }
            }
        }
    }

    #[test]
    fn agrees_with_a_set_that_remembers_everything() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (mut tracker, mut reference) = (Tracker::new(), Reference::default());
            let mut head = rng.below(3);
            for step in 0..20_000 {
                let sequence = match rng.below(100) {
                    0 => head + rng.below(3 * WINDOW),
                    1..10 => head.saturating_sub(rng.below(2 * WINDOW)),
                    10..40 => head.saturating_sub(rng.below(40)),
                    _ => head + rng.below(4),
                };
                head = head.max(sequence);
                let expected = reference.arrive(sequence);
                assert_eq!(
                    tracker.arrive(sequence),
                    expected,
                    "seed {seed}, step {step}, sequence {sequence}"
                );
            }
        }
    }

    #[test]
    fn a_gap_stays_open_until_it_is_filled() {
        let mut tracker = Tracker::new();
        assert_eq!(tracker.arrive(0), Arrival::New);
        assert_eq!(tracker.arrive(2), Arrival::New);
        assert_eq!(tracker.arrive(1), Arrival::Reordered);
        assert_eq!(tracker.arrive(1), Arrival::Duplicate);
        assert_eq!(tracker.arrive(2), Arrival::Duplicate);
        assert_eq!(tracker.arrive(2 + WINDOW), Arrival::New);
        assert_eq!(tracker.arrive(2), Arrival::TooOld);
        assert_eq!(tracker.arrive(3), Arrival::Reordered);
    }
}
