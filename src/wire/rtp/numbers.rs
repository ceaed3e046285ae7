//! The numbers in an RTP header, each a type of its own.

use std::fmt;

/// Synchronization source identifier (RFC 3550 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

/// A 16-bit sequence number that wraps. It has no total order, hence no `Ord`: see
/// [`SequenceNumber::is_newer_than`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceNumber(pub u16);

/// A timestamp in units of the payload's clock, which wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RtpTime(pub u32);

/// A payload type, 0 to 127. A view never yields more, and a setter writes the low seven bits only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayloadType(pub u8);

impl SequenceNumber {
    /// The number `count` packets later.
    #[inline]
    pub const fn wrapping_add(self, count: u16) -> SequenceNumber {
        SequenceNumber(self.0.wrapping_add(count))
    }

    /// The next number.
    #[inline]
    pub const fn next(self) -> SequenceNumber {
        self.wrapping_add(1)
    }

    /// How far this number lies after `earlier`, negative if it lies before it; in -32,768 to 32,767
    /// (RFC 1982 §3.2, RFC 3550 App. A.1).
    #[inline]
    pub const fn distance_from(self, earlier: SequenceNumber) -> i16 {
        self.0.wrapping_sub(earlier.0) as i16
    }

    /// Whether this number comes after `other` modulo 2^16. Numbers exactly 2^15 apart have no order
    /// (RFC 1982 §3.2): neither is newer.
    #[inline]
    pub const fn is_newer_than(self, other: SequenceNumber) -> bool {
        self.distance_from(other) > 0
    }
}

impl RtpTime {
    /// The timestamp `ticks` of the payload's clock later.
    #[inline]
    pub const fn wrapping_add(self, ticks: u32) -> RtpTime {
        RtpTime(self.0.wrapping_add(ticks))
    }

    /// Ticks since `earlier`, negative if this is before it.
    #[inline]
    pub const fn distance_from(self, earlier: RtpTime) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }
}

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RtpTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PayloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_compare_over_the_wrap() {
        let newer = |a, b| SequenceNumber(a).is_newer_than(SequenceNumber(b));
        for (a, b) in [(1, 0), (0, 0xffff), (0x7fff, 0), (5, 0xfff0), (0x8000, 1)] {
            assert!(newer(a, b) && !newer(b, a), "{a} {b}");
        }
        assert!(!newer(7, 7));
        assert!(!newer(0x8000, 0) && !newer(0, 0x8000), "half the range apart has no order");
        assert_eq!(SequenceNumber(2).distance_from(SequenceNumber(0xffff)), 3);
        assert_eq!(SequenceNumber(0xffff).distance_from(SequenceNumber(2)), -3);
        assert_eq!(SequenceNumber(0xffff).next(), SequenceNumber(0));
        assert_eq!(SequenceNumber(0xfffe).wrapping_add(4), SequenceNumber(2));
    }

    #[test]
    fn timestamps_wrap() {
        assert_eq!(RtpTime(u32::MAX).wrapping_add(161), RtpTime(160));
        assert_eq!(RtpTime(160).distance_from(RtpTime(u32::MAX)), 161);
        assert_eq!(RtpTime(u32::MAX).distance_from(RtpTime(160)), -161);
    }
}
