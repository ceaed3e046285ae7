//! What a generated RTP payload says, and whether it still says it after the gateway.
//!
//! Written by the sender just before sealing, read by the verifier just after opening. Thirty-two bytes of
//! header, then a pattern that follows from every header field, so that one changed bit anywhere is found:
//!
//! ```text
//!  0        4        8                16               24                    32
//!  | magic  | stream | sequence       | sent           | index << 8 | flags  | pattern …
//! ```
//!
//! All fields are big-endian.

use super::rng::Rng;

/// Bytes of the header: the least that a payload can have.
pub const HEADER_LEN: usize = 32;

/// "VOXL".
const MAGIC: u32 = 0x564f_584c;

/// What is special about a packet; the lowest byte of the last header word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// An ordinary packet.
    pub const NONE: Self = Flags(0);
    /// The sender held the packet back on purpose, so it arrives after later ones.
    pub const HELD_BACK: Self = Flags(1);
    /// The gateway must not relay the packet: its payload type was not negotiated.
    pub const FORBIDDEN: Self = Flags(2);
    /// Sent before the clock started, to see that the path is open; not part of the result.
    pub const WARM_UP: Self = Flags(4);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The header of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Which stream of the run: `2 × session + direction`.
    pub stream: u32,
    /// Number of the packet in its stream, from 0, without a gap.
    pub sequence: u64,
    /// When it was sealed, in nanoseconds since the run started; its transmit ordinal in pre-sealed traffic.
    pub sent: u64,
    /// The SRTP packet index (48 bits) that it was sealed with.
    pub index: u64,
    /// What is special about it.
    pub flags: Flags,
}

/// Why bytes are not a payload of ours, unharmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Fewer bytes than the header has.
    Short,
    /// Another magic number.
    Magic,
    /// The pattern does not follow from the header.
    Pattern,
}

impl Payload {
    /// Fills all of `buffer`, which holds at least [`HEADER_LEN`] bytes (checked when the run is set up);
    /// a shorter one is left as it is, which the receiver then reports.
    #[inline]
    pub fn write(&self, buffer: &mut [u8]) {
        let Some((header, pattern)) = buffer.split_first_chunk_mut::<HEADER_LEN>() else {
            return;
        };
        *header = self.header();
        let mut source = self.pattern();
        let (words, rest) = pattern.as_chunks_mut::<8>();
        for word in words {
            *word = source.next_u64().to_be_bytes();
        }
        for (byte, value) in rest.iter_mut().zip(source.next_u64().to_be_bytes()) {
            *byte = value;
        }
    }

    /// Reads a payload and checks every byte of it.
    ///
    /// # Errors
    /// [`Damage`].
    #[inline]
    pub fn read(buffer: &[u8]) -> Result<Self, Damage> {
        let (header, pattern) = buffer.split_first_chunk::<HEADER_LEN>().ok_or(Damage::Short)?;
        let (words, _) = header.as_chunks::<8>();
        let [first, sequence, sent, last] = words else {
            return Err(Damage::Short);
        };
        let (first, last) = (u64::from_be_bytes(*first), u64::from_be_bytes(*last));
        if (first >> 32) as u32 != MAGIC {
            return Err(Damage::Magic);
        }
        let payload = Payload {
            stream: first as u32,
            sequence: u64::from_be_bytes(*sequence),
            sent: u64::from_be_bytes(*sent),
            index: last >> 8,
            flags: Flags(last as u8),
        };
        if payload.pattern_matches(pattern) { Ok(payload) } else { Err(Damage::Pattern) }
    }

    fn pattern_matches(&self, pattern: &[u8]) -> bool {
        let mut source = self.pattern();
        let (words, rest) = pattern.as_chunks::<8>();
        let mut differences = 0;
        for word in words {
            differences |= u64::from_be_bytes(*word) ^ source.next_u64();
        }
        differences == 0
            && rest.iter().zip(source.next_u64().to_be_bytes()).all(|(byte, value)| *byte == value)
    }

    fn header(&self) -> [u8; HEADER_LEN] {
        let words =
            [u64::from(MAGIC) << 32 | u64::from(self.stream), self.sequence, self.sent, self.last_word()];
        let mut header = [0; HEADER_LEN];
        for (chunk, word) in header.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *chunk = word.to_be_bytes();
        }
        header
    }

    fn last_word(&self) -> u64 {
        self.index << 8 | u64::from(self.flags.0)
    }

    fn pattern(&self) -> Rng {
        let mut mixed = Rng::new(u64::from(self.stream)).next_u64();
        for word in [self.sequence, self.sent, self.last_word()] {
            mixed = Rng::new(mixed ^ word).next_u64();
        }
        Rng::new(mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: Payload = Payload {
        stream: 20_001,
        sequence: 77,
        sent: 123_456_789_012,
        index: 0xffff_1234_5678,
        flags: Flags::HELD_BACK,
    };

    #[test]
    fn what_was_written_is_read() {
        for len in [HEADER_LEN, 33, 39, 40, 41, 160, 1_200] {
            let mut buffer = vec![0xee; len];
            PAYLOAD.write(&mut buffer);
            assert_eq!(Payload::read(&buffer), Ok(PAYLOAD), "length {len}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut buffer = [0; 163];
        PAYLOAD.write(&mut buffer);
        for bit in 0..buffer.len() * 8 {
            let mut damaged = buffer;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = Payload::read(&damaged).expect_err("one bit differs");
            assert_eq!(found == Damage::Magic, bit < 32, "bit {bit}");
        }
    }

    #[test]
    fn every_length_is_safe_and_short_ones_are_refused() {
        let mut buffer = [0; 200];
        PAYLOAD.write(&mut buffer);
        for len in 0..HEADER_LEN {
            assert_eq!(Payload::read(&buffer[..len]), Err(Damage::Short));
            let mut short = vec![9; len];
            PAYLOAD.write(&mut short);
            assert_eq!(short, vec![9; len]);
        }
    }

    #[test]
    fn neighbouring_packets_have_different_patterns() {
        let mut one = [0; 64];
        let mut next = [0; 64];
        PAYLOAD.write(&mut one);
        Payload { sequence: PAYLOAD.sequence + 1, ..PAYLOAD }.write(&mut next);
        let equal = one[HEADER_LEN..].iter().zip(&next[HEADER_LEN..]).filter(|(a, b)| a == b).count();
        assert!(equal < 4, "{equal} of 32 bytes are the same");
    }
}
