//! The Internet checksum (RFC 1071), its incremental update (RFC 1624) and pseudo-headers.
//!
//! [`partial`] is the fast one: 64-bit words in memory order added into two 128-bit sums, which is one addition and
//! one carry for eight octets, two chains of them side by side. That is sound because one's-complement addition is
//! associative, byte-order independent (RFC 1071 §2 (B)) and because 2^16 ≡ 1 modulo 2^16 − 1, so wider words fold to
//! the same sum. (Vectors of 32-bit lanes, without AVX2, take eight times as long at the length of a voice packet.) The
//! tests hold the obvious byte-pair version and compare the two.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Protocol;

/// One's-complement sum of `bytes` as 16-bit words, folded to 16 bits, not complemented.
///
/// A last odd byte counts as the high half of a word, so only the last part of a message may be odd.
/// Partial sums are added with `+`; up to 65,537 of them fit into a `u32` before [`finish`].
#[inline]
pub fn partial(bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let (mut even, mut odd) = (0_u128, 0_u128);
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        if let [a, b, c, d] = words {
            even += u128::from(u64::from_ne_bytes(*a));
            odd += u128::from(u64::from_ne_bytes(*b));
            even += u128::from(u64::from_ne_bytes(*c));
            odd += u128::from(u64::from_ne_bytes(*d));
        }
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        even += u128::from(u64::from_ne_bytes(*word));
    }
    // Not through a word on the stack: reading it back at once would wait for the octets to be written.
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        odd += u128::from(u32::from_ne_bytes(*word));
    }
    let (pairs, last) = rest.as_chunks::<2>();
    for pair in pairs {
        even += u128::from(u16::from_ne_bytes(*pair));
    }
    if let [byte] = last {
        odd += u128::from(u16::from_ne_bytes([*byte, 0]));
    }
    let sum = even + odd;
    // Below 2^128 / 2^60 words there is no carry out of the sums; each fold adds the upper half to the lower.
    let sum = (sum as u64 as u128) + (sum >> 64);
    let sum = (sum as u64).wrapping_add((sum >> 64) as u64);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    // The words were read in memory order, which is network order: one swap at the end puts that right.
    u32::from(u16::from_be(fold(sum as u32)))
}

/// Folds a sum of [`partial`] sums and complements it: the value of a checksum field.
#[inline]
pub const fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The checksum of one slice: `finish(partial(bytes))`.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    finish(partial(bytes))
}

/// Whether a sum that includes the checksum field itself verifies (RFC 1071 §1 (3): it is all ones).
#[inline]
pub const fn verifies(sum: u32) -> bool {
    fold(sum) == 0xffff
}

/// The checksum after one 16-bit word changed from `old` to `new` (RFC 1624 eqn. 3).
///
/// A UDP checksum of zero means "none" and must not be updated; a result of zero must be sent as 0xffff.
#[inline]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    finish(!checksum as u32 + !old as u32 + new as u32)
}

/// The checksum after `old` was replaced by `new` at an even offset of the message (RFC 1624 eqn. 3).
///
/// The slices may differ in length if every length field that the checksum covers is updated as well.
#[inline]
pub fn update_slice(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    finish(u32::from(!checksum) + u32::from(!fold(partial(old))) + partial(new))
}

/// The part of a UDP or ICMPv6 checksum that is the same for every packet of a stream: both addresses and
/// the protocol (RFC 768, RFC 8200 §8.1). A stream's template carries it; the length is added per packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PseudoHeader {
    /// Partial sum, at most 0xffff.
    sum: u32,
}

impl PseudoHeader {
    /// The IPv4 pseudo-header without its length (RFC 768).
    #[inline]
    pub fn v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol) -> PseudoHeader {
        Self::new(&source.octets(), &destination.octets(), protocol)
    }

    /// The IPv6 pseudo-header without its length (RFC 8200 §8.1).
    #[inline]
    pub fn v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: Protocol) -> PseudoHeader {
        Self::new(&source.octets(), &destination.octets(), protocol)
    }

    /// The sum without a length, at most 0xffff: what a template stores.
    #[inline]
    pub const fn sum(self) -> u32 {
        self.sum
    }

    /// The sum including an upper-layer length in bytes. This is also what goes, not complemented, into the
    /// checksum field of a packet whose checksum the port completes.
    #[inline]
    pub const fn with_length(self, length: usize) -> u32 {
        // IPv6 sums the length as 32 bits; its upper half is zero for every packet that fits a buffer.
        fold(self.sum + fold(length as u32) as u32) as u32
    }

    /// The checksum of `message`, the upper-layer header with its checksum field zero, and payload.
    #[inline]
    pub fn checksum(self, message: &[u8]) -> u16 {
        finish(self.with_length(message.len()) + partial(message))
    }

    /// Whether `message` with its checksum field as received verifies.
    #[inline]
    pub fn verifies(self, message: &[u8]) -> bool {
        verifies(self.with_length(message.len()) + partial(message))
    }

    fn new(source: &[u8], destination: &[u8], protocol: Protocol) -> PseudoHeader {
        let sum = partial(source) + partial(destination) + u32::from(protocol.0);
        PseudoHeader { sum: u32::from(fold(sum)) }
    }
}

/// Adds the carries back in until 16 bits remain (RFC 1071 §2 (2)).
#[inline]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;

    /// The definition, byte pair by byte pair, carry by carry.
    fn slow(bytes: &[u8]) -> u32 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let high = u32::from(pair[0]) << 8;
            let low = if pair.len() == 2 { u32::from(pair[1]) } else { 0 };
            sum += high | low;
            if sum > 0xffff {
                sum = (sum & 0xffff) + 1;
            }
        }
        sum
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(partial(&bytes), 0xddf2);
        assert_eq!(slow(&bytes), 0xddf2);
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn fast_and_slow_agree_over_lengths_and_alignments() {
        let mut random = Random::new(1);
        let mut buffer = vec![0; 2100];
        for round in 0..4 {
            match round {
                0 => buffer.fill(0xff),
                1 => buffer.fill(0),
                _ => random.fill(&mut buffer),
            }
            for length in 0..2048 {
                let start = length % 17;
                let bytes = &buffer[start..start + length];
                assert_eq!(partial(bytes), slow(bytes), "round {round} length {length}");
            }
        }
    }

    #[test]
    fn a_large_buffer_of_ones_does_not_overflow() {
        let bytes = vec![0xff; 1 << 20];
        assert_eq!(partial(&bytes), slow(&bytes));
    }

    #[test]
    fn sums_of_even_parts_add_up() {
        let mut random = Random::new(2);
        for _ in 0..500 {
            let bytes = random.bytes(301);
            let cut = random.below(150) * 2;
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(finish(partial(head) + partial(tail)), checksum(&bytes));
        }
    }

    #[test]
    fn updates_equal_a_recomputation() {
        let mut random = Random::new(3);
        for _ in 0..5_000 {
            let mut bytes = random.bytes(64);
            let before = checksum(&bytes);
            let at = random.below(31) * 2;
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let new = if random.below(4) == 0 { !old } else { random.next_u64() as u16 };
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            assert_eq!(update_u16(before, old, new), checksum(&bytes));

            let before = checksum(&bytes);
            let length = random.below(64 - at) + 1;
            let old = bytes[at..at + length].to_vec();
            let new = random.bytes(length);
            bytes[at..at + length].copy_from_slice(&new);
            assert_eq!(update_slice(before, &old, &new), checksum(&bytes));
        }
    }

    #[test]
    fn the_corner_case_of_rfc_1624_section_4() {
        // HC = 0xDD2F, m = 0x5555, m' = 0x3285: RFC 1141's formula gives 0xFFFF, the right answer is 0x0000.
        assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn a_pseudo_header_equals_its_bytes() {
        let mut random = Random::new(4);
        for _ in 0..500 {
            let (length, v6) = (random.below(1500), random.bytes(32));
            let message = random.bytes(length);
            let (source, destination) = v6.split_at(16);
            let source: [u8; 16] = source.try_into().unwrap();
            let destination: [u8; 16] = destination.try_into().unwrap();
            let mut whole = v6.clone();
            whole.extend_from_slice(&(message.len() as u32).to_be_bytes());
            whole.extend_from_slice(&[0, 0, 0, 17]);
            whole.extend_from_slice(&message);
            let pseudo = PseudoHeader::v6(source.into(), destination.into(), Protocol::UDP);
            assert_eq!(pseudo.checksum(&message), finish(slow(&whole)));

            let (source, destination) = ([v6[0], v6[1], v6[2], v6[3]], [v6[4], v6[5], v6[6], v6[7]]);
            let mut whole = v6[..8].to_vec();
            whole.extend_from_slice(&[0, 17]);
            whole.extend_from_slice(&(message.len() as u16).to_be_bytes());
            whole.extend_from_slice(&message);
            let pseudo = PseudoHeader::v4(source.into(), destination.into(), Protocol::UDP);
            assert_eq!(pseudo.checksum(&message), finish(slow(&whole)));
            assert_eq!(
                pseudo.with_length(message.len()) + partial(&message),
                pseudo.with_length(message.len()) + slow(&message)
            );
        }
    }
}
