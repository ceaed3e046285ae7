//! What the tests of wire formats share: reproducible random bytes (SplitMix64).

/// A small reproducible generator; the seed is in the test, so a failure repeats.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next_u64() as u8;
        }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }
}

/// Calls `try_one` with every truncation of `valid`, with every single bit of it flipped, and with random
/// bytes under a valid start: the inputs after which an accessor must not panic.
pub(crate) fn sweep(valid: &[u8], mut try_one: impl FnMut(&[u8])) {
    for length in 0..=valid.len() {
        try_one(&valid[..length]);
    }
    let mut bytes = valid.to_vec();
    for bit in 0..valid.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        try_one(&bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    let mut random = Random::new(valid.len() as u64);
    for _ in 0..20_000 {
        let length = random.below(200);
        let mut bytes = random.bytes(length);
        let kept = random.below(valid.len() + 1).min(length);
        bytes[..kept].copy_from_slice(&valid[..kept]);
        try_one(&bytes);
    }
}
