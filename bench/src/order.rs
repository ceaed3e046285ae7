//! In which order a flood visits the streams: each once per round, in an order that no prefetcher can guess.
//!
//! Streams one after another would let the hardware fetch the gateway's next stream before the packet that
//! needs it is there, which real traffic does not do. A round is a permutation of all streams, made by a
//! Feistel network over the next power of four with cycle walking (Black and Rogaway, 2002): it needs no
//! table, so two million streams cost nothing, and each round has another key.

use super::rng::Rng;

/// Rounds of the network. Four make a pseudo-random permutation of a pseudo-random function (Luby and Rackoff).
const ROUNDS: usize = 4;

/// Visits `0..count` round after round.
#[derive(Debug, Clone)]
pub struct Order {
    count: u64,
    /// Bits of each half of the network's block.
    half_bits: u32,
    keys: [u64; ROUNDS],
    /// Position in the round.
    next: u64,
    rng: Rng,
}

impl Order {
    /// An order over `count` streams (at least one) that follows from `seed`.
    pub fn new(count: u64, seed: u64) -> Self {
        let count = count.max(1);
        let bits = u64::BITS - (count - 1).leading_zeros();
        let mut order =
            Order { count, half_bits: bits.div_ceil(2), keys: [0; ROUNDS], next: 0, rng: Rng::new(seed) };
        order.start_round();
        order
    }

    /// The next stream.
    #[inline]
    pub fn next_stream(&mut self) -> u64 {
        if self.next == self.count {
            self.next = 0;
            self.start_round();
        }
        // The block is less than four times as large as `count`, so few steps lead back into it.
        let mut at = self.permute(self.next);
        while at >= self.count {
            at = self.permute(at);
        }
        self.next += 1;
        at
    }

    fn start_round(&mut self) {
        self.keys = std::array::from_fn(|_| self.rng.next_u64());
    }

    /// A permutation of `0..4^half_bits`.
    #[inline]
    fn permute(&self, at: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (at >> self.half_bits, at & mask);
        for key in self.keys {
            // The finalizer of SplitMix64 over half and key.
            let mut mixed = (right ^ key).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (left, right) = (right, (left ^ (mixed >> 40)) & mask);
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_visits_every_stream_once() {
        for count in [1, 2, 3, 4, 5, 16, 17, 1_000, 20_000, 65_537] {
            let mut order = Order::new(count, 1);
            let mut rounds: Vec<Vec<u64>> = Vec::new();
            for _ in 0..3 {
                let round: Vec<u64> = (0..count).map(|_| order.next_stream()).collect();
                let mut sorted = round.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..count), "{count}");
                rounds.push(round);
            }
            if count >= 1_000 {
                assert_ne!(rounds[0], rounds[1], "{count}");
            }
        }
    }

    #[test]
    fn neighbours_in_the_order_are_no_neighbours_in_memory() {
        let count = 100_000;
        let mut order = Order::new(count, 7);
        let all: Vec<u64> = (0..count).map(|_| order.next_stream()).collect();
        let near = all.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 8).count();
        // 16 of 100,000 are expected by chance for each pair.
        assert!(near < 60, "{near}");
        // And no stride that a prefetcher could follow: hardly two differences in a row are alike.
        let strides: Vec<i64> = all.windows(2).map(|pair| pair[1] as i64 - pair[0] as i64).collect();
        let repeated = strides.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(repeated < 20, "{repeated}");
    }
}
