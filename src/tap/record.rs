//! What a record says besides the packet: whose it is, which leg sent it, RTP or RTCP, and when it arrived.

/// One side of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leg {
    /// Leg a.
    A,
    /// Leg b.
    B,
}

impl Leg {
    /// 0 or 1.
    pub const fn index(self) -> usize {
        match self {
            Leg::A => 0,
            Leg::B => 1,
        }
    }

    /// As file names and the configuration write it.
    pub const fn label(self) -> &'static str {
        match self {
            Leg::A => "a",
            Leg::B => "b",
        }
    }
}

/// What a tapped stream carries: the number of its tap, which is never used twice in a run, and the leg that sends it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TapTag(u32);

impl TapTag {
    /// Tap numbers are below this.
    pub const TAPS: u32 = 1 << 31;

    /// The tag of tap number `tap` (its 31 low bits) for packets that `leg` sent.
    pub const fn new(tap: u32, leg: Leg) -> Self {
        TapTag(tap << 1 | leg.index() as u32)
    }

    /// The tap's number.
    pub const fn tap(self) -> u32 {
        self.0 >> 1
    }

    /// The leg that sent the packet.
    pub const fn leg(self) -> Leg {
        if self.0 & 1 == 0 { Leg::A } else { Leg::B }
    }
}

/// A record's head. Its body is the opened packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Tap and leg.
    pub tag: TapTag,
    /// Whether the packet is RTCP.
    pub is_rtcp: bool,
    /// When it arrived, in cycles of the time-stamp counter.
    pub rx_cycles: u64,
}

impl Head {
    /// As the arena carries it.
    #[inline(always)]
    pub const fn to_words(self) -> [u64; 2] {
        [self.tag.0 as u64 | (self.is_rtcp as u64) << 32, self.rx_cycles]
    }

    /// From the arena.
    pub const fn from_words([tag, rx_cycles]: [u64; 2]) -> Self {
        Head { tag: TapTag(tag as u32), is_rtcp: tag >> 32 & 1 == 1, rx_cycles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_the_arena() {
        for (tap, leg, is_rtcp) in [(0, Leg::A, false), (7, Leg::B, true), (TapTag::TAPS - 1, Leg::B, false)]
        {
            let tag = TapTag::new(tap, leg);
            let head = Head { tag, is_rtcp, rx_cycles: u64::MAX - 3 };
            assert_eq!(Head::from_words(head.to_words()), head);
            assert_eq!((tag.tap(), tag.leg()), (tap, leg));
        }
    }
}
