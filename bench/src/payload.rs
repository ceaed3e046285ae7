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
//! A payload that is shorter than that has the short form of twenty bytes, for what an Opus frame of silence or
//! two milliseconds of G.711 take, and then the pattern, too:
//!
//! ```text
//!  0        4          8                13      14      16      20
//!  | stream | sequence | sent (40 bits) | flags | index | check | pattern …
//! ```
//!
//! All fields are big-endian.

use super::rng::Rng;

/// Bytes of the header.
pub const HEADER_LEN: usize = 32;

/// Bytes of the short form's header: the least that a payload can have.
pub const SHORT_HEADER_LEN: usize = 20;

/// Set in [`Payload::sent`] if that is the number of a pre-sealed packet and not a time.
pub const NUMBERED: u64 = 1 << 63;

/// The same in the 40 bits of the short form.
const SHORT_NUMBERED: u64 = 1 << 39;

/// Nanoseconds, as a power of two, of the short form's time stamps.
const SHORT_SENT_SHIFT: u32 = 7;

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
    /// Fills all of `buffer`, which holds at least [`SHORT_HEADER_LEN`] bytes (checked when the run is set up);
    /// a shorter one is left as it is, which the receiver then reports.
    #[inline]
    pub fn write(&self, buffer: &mut [u8]) {
        if let Some((header, pattern)) = buffer.split_first_chunk_mut::<HEADER_LEN>() {
            *header = self.header();
            fill(pattern, self.pattern());
        } else if let Some((header, pattern)) = buffer.split_first_chunk_mut::<SHORT_HEADER_LEN>() {
            let short = self.shortened();
            *header = short.short_header();
            fill(pattern, short.pattern());
        }
    }
    /// Reads a payload and checks every byte of it.
    ///
    /// # Errors
    /// [`Damage`].
    #[inline]
    pub fn read(buffer: &[u8]) -> Result<Self, Damage> {
        let Some((header, pattern)) = buffer.split_first_chunk::<HEADER_LEN>() else {
            return Self::read_short(buffer);
        };
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

    fn read_short(buffer: &[u8]) -> Result<Self, Damage> {
        let (header, pattern) = buffer.split_first_chunk::<SHORT_HEADER_LEN>().ok_or(Damage::Short)?;
        let number = |range: std::ops::Range<usize>| {
            header[range].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let sent = number(8..13);
        let payload = Payload {
            stream: number(0..4) as u32,
            sequence: number(4..8),
            sent: match sent & SHORT_NUMBERED {
                0 => sent << SHORT_SENT_SHIFT,
                _ => NUMBERED | (sent & !SHORT_NUMBERED),
            },
            index: number(14..16),
            flags: Flags(header[13]),
        };
        let is_intact = payload.short_header() == *header && payload.pattern_matches(pattern);
        if is_intact { Ok(payload) } else { Err(Damage::Pattern) }
    }

    /// What of it the short form can say.
    fn shortened(&self) -> Self {
        let sent = match self.sent & NUMBERED {
            0 => (self.sent >> SHORT_SENT_SHIFT & (SHORT_NUMBERED - 1)) << SHORT_SENT_SHIFT,
            _ => NUMBERED | (self.sent & (SHORT_NUMBERED - 1)),
        };
        let (sequence, index) = (u64::from(self.sequence as u32), u64::from(self.index as u16));
        Payload { sequence, sent, index, ..*self }
    }

    /// The short form's header of a payload that [`Payload::shortened`] made.
    fn short_header(&self) -> [u8; SHORT_HEADER_LEN] {
        let sent = match self.sent & NUMBERED {
            0 => self.sent >> SHORT_SENT_SHIFT,
            _ => SHORT_NUMBERED | (self.sent & (SHORT_NUMBERED - 1)),
        };
        let mut header = [0; SHORT_HEADER_LEN];
        header[0..4].copy_from_slice(&self.stream.to_be_bytes());
        header[4..8].copy_from_slice(&(self.sequence as u32).to_be_bytes());
        header[8..13].copy_from_slice(&sent.to_be_bytes()[3..]);
        header[13] = self.flags.0;
        header[14..16].copy_from_slice(&(self.index as u16).to_be_bytes());
        // Of another draw than the pattern behind it, so that the two are not the same bytes.
        let check = self.pattern().next_u64().rotate_left(17) as u32;
        header[16..20].copy_from_slice(&check.to_be_bytes());
        header
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

/// Fills `bytes` from `source`.
fn fill(bytes: &mut [u8], mut source: Rng) {
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = source.next_u64().to_be_bytes();
    }
    for (byte, value) in rest.iter_mut().zip(source.next_u64().to_be_bytes()) {
        *byte = value;
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
    fn the_short_form_keeps_what_a_receiver_compares() {
        for len in SHORT_HEADER_LEN..HEADER_LEN {
            for sent in [NUMBERED | 0x12_3456_7890, 99_999_999_999] {
                let payload = Payload { sent, ..PAYLOAD };
                let mut buffer = vec![0xee; len];
                payload.write(&mut buffer);
                let read = Payload::read(&buffer).expect("undamaged");
                assert_eq!((read.stream, read.sequence, read.flags), (20_001, 77, Flags::HELD_BACK));
                assert_eq!(read.index, PAYLOAD.index & 0xffff);
                assert!(sent.abs_diff(read.sent) < 1 << SHORT_SENT_SHIFT, "{sent} {}", read.sent);
                if sent & NUMBERED != 0 {
                    assert_eq!(read.sent, sent, "a number is exact");
                }
                for bit in 0..len * 8 {
                    let mut damaged = buffer.clone();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(Payload::read(&damaged), Err(Damage::Pattern), "bit {bit} of {len} bytes");
                }
            }
        }
    }

    #[test]
    fn every_length_is_safe_and_short_ones_are_refused() {
        let mut buffer = [0; 200];
        PAYLOAD.write(&mut buffer);
        for len in 0..SHORT_HEADER_LEN {
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
