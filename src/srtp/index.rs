//! The 48-bit SRTP packet index: roll-over counter and sequence number (RFC 3711 §3.3.1).
//!
//! Only the sequence number travels in the packet. The receiver estimates the rest from the highest index
//! that authenticated so far; the estimate goes to the replay window and into the nonce.

/// A packet's place in the life of its key: `roc << 16 | seq`, below 2^48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketIndex(u64);

impl PacketIndex {
    /// The last index that a key may be used with (RFC 3711 §9.2).
    pub const MAX: Self = Self((1 << 48) - 1);

    /// The index of sequence number `seq` after `roc` roll-overs.
    #[inline]
    pub const fn new(roc: u32, seq: u16) -> Self {
        Self(((roc as u64) << 16) | seq as u64)
    }

    /// The index with this number, or `None` from 2^48 on.
    #[inline]
    pub const fn from_u64(value: u64) -> Option<Self> {
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// The index as a number below 2^48.
    #[inline]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Roll-over counter: how often the sequence number wrapped.
    #[inline]
    pub const fn roc(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The RTP sequence number.
    #[inline]
    pub const fn seq(self) -> u16 {
        self.0 as u16
    }

    /// The index after this one, or `None` when the key has none left.
    #[inline]
    pub const fn next(self) -> Option<Self> {
        Self::from_u64(self.0 + 1)
    }

    /// The index that a packet with sequence number `seq` most likely has, when `highest` is the highest
    /// authenticated so far (RFC 3711 §3.3.1 and Appendix A); `None` when it would lie beyond
    /// [`MAX`](Self::MAX), where the key must not be used any more.
    ///
    /// The first packet has roll-over counter 0, as RFC 3711 §3.3.1 says for a session joined at its start.
    #[inline]
    pub const fn estimate(highest: Option<Self>, seq: u16) -> Option<Self> {
        let Some(highest) = highest else {
            return Some(Self::new(0, seq));
        };
        // The nearest index with these low bits lies at most 2^15 away. At exactly 2^15 the pseudo-code of
        // Appendix A keeps the roll-over counter.
        let step = seq.wrapping_sub(highest.seq()) as i16;
        if step == i16::MIN {
            return Some(Self::new(highest.roc(), seq));
        }
        match highest.0.checked_add_signed(step as i64) {
            Some(index) => Self::from_u64(index),
            // Appendix A would take the counter below 0 and modulo 2^32. No packet was ever sealed there;
            // what there may be is one far ahead in the first 2^16.
            None => Some(Self::new(0, seq)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(roc: u32, highest_seq: u16, seq: u16) -> Option<(u32, u16)> {
        PacketIndex::estimate(Some(PacketIndex::new(roc, highest_seq)), seq).map(|i| (i.roc(), i.seq()))
    }

    #[test]
    fn parts_and_bounds() {
        let index = PacketIndex::new(0xdead_beef, 0xcafe);
        assert_eq!((index.roc(), index.seq(), index.as_u64()), (0xdead_beef, 0xcafe, 0xdead_beef_cafe));
        assert_eq!(PacketIndex::MAX, PacketIndex::new(u32::MAX, u16::MAX));
        assert_eq!(PacketIndex::from_u64(1 << 48), None);
        assert_eq!(PacketIndex::MAX.next(), None);
        assert_eq!(PacketIndex::new(3, u16::MAX).next(), Some(PacketIndex::new(4, 0)));
    }

    #[test]
    fn first_packet_has_roll_over_counter_zero() {
        for seq in [0, 1, 0x7fff, 0x8000, 0xffff] {
            assert_eq!(PacketIndex::estimate(None, seq), Some(PacketIndex::new(0, seq)));
        }
    }

    #[test]
    fn rolls_over_forwards_and_back() {
        assert_eq!(estimate(5, 0xfffe, 0x0003), Some((6, 3)));
        assert_eq!(estimate(6, 0x0003, 0xfffe), Some((5, 0xfffe)));
        assert_eq!(estimate(6, 0x0003, 0x0002), Some((6, 2)));
        assert_eq!(estimate(6, 0x0003, 0x7000), Some((6, 0x7000)));
    }

    #[test]
    fn half_way_keeps_the_roll_over_counter() {
        assert_eq!(estimate(9, 0x1000, 0x9000), Some((9, 0x9000)));
        assert_eq!(estimate(9, 0x9000, 0x1000), Some((9, 0x1000)));
        assert_eq!(estimate(9, 0x1000, 0x9001), Some((8, 0x9001)));
        assert_eq!(estimate(9, 0x9000, 0x0fff), Some((10, 0x0fff)));
    }

    #[test]
    fn roll_over_counter_zero_does_not_underflow() {
        assert_eq!(estimate(0, 0x0003, 0xfffe), Some((0, 0xfffe)));
        assert_eq!(estimate(0, 0x0000, 0x8001), Some((0, 0x8001)));
    }

    #[test]
    fn the_last_index_is_the_end() {
        assert_eq!(estimate(u32::MAX, 0xfffe, 0xffff), Some((u32::MAX, 0xffff)));
        assert_eq!(estimate(u32::MAX, 0xffff, 0x0000), None);
        assert_eq!(estimate(u32::MAX, 0xffff, 0xfff0), Some((u32::MAX, 0xfff0)));
    }

    /// RFC 3711 Appendix A, as printed; `v` may come out below 0 or beyond 2^32 - 1.
    fn appendix_a(roc: i64, s_l: i64, seq: i64) -> i64 {
        if s_l < 32_768 {
            if seq - s_l > 32_768 { roc - 1 } else { roc }
        } else if s_l - 32_768 > seq {
            roc + 1
        } else {
            roc
        }
    }

    #[test]
    fn agrees_with_the_pseudo_code_of_appendix_a() {
        // Every sequence number against highest ones on both sides of every branch.
        let edges = [0, 1, 2, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0x8002, 0xfffd, 0xfffe, 0xffff];
        let spread = (0..64u16).map(|i| i.wrapping_mul(1021));
        for s_l in edges.into_iter().chain(spread) {
            for roc in [0, 1, 77, u32::MAX - 1, u32::MAX] {
                for seq in 0..=u16::MAX {
                    let expected = match appendix_a(roc.into(), s_l.into(), seq.into()) {
                        -1 => Some((0, seq)),
                        v => u32::try_from(v).ok().map(|v| (v, seq)),
                    };
                    assert_eq!(estimate(roc, s_l, seq), expected, "roc {roc} s_l {s_l} seq {seq}");
                }
            }
        }
    }
}
