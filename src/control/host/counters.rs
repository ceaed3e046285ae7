//! What became of every frame that the host received, and what it sent by itself.

/// What a received frame was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// ARP.
    Arp,
    /// ICMP.
    Icmp,
    /// ICMPv6 other than neighbour discovery.
    Icmpv6,
    /// Neighbour solicitation or advertisement.
    Ndp,
    /// Anything else.
    Other,
}

/// What the host did with a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered.
    Answered,
    /// Well formed, but not for us or of no use.
    Ignored,
    /// A next hop's entry was changed or confirmed, and no answer was due.
    Learned,
    /// Not answered because of the rate limit.
    Limited,
    /// Refused: a length, checksum or rule of the protocol is violated.
    Malformed,
}

/// Counts since the start. Every received frame is in exactly one [`Counters::received`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    received: [[u64; Outcome::ALL.len()]; FrameKind::ALL.len()],
    /// Announcements sent.
    pub announcements: u64,
    /// Frames that claimed one of our addresses for another station.
    pub conflicts: u64,
    /// Questions for next hops sent.
    pub solicitations: u64,
}

impl FrameKind {
    /// Every kind.
    pub const ALL: [FrameKind; 5] =
        [FrameKind::Arp, FrameKind::Icmp, FrameKind::Icmpv6, FrameKind::Ndp, FrameKind::Other];

    /// Metric label.
    pub const fn label(self) -> &'static str {
        match self {
            FrameKind::Arp => "arp",
            FrameKind::Icmp => "icmp",
            FrameKind::Icmpv6 => "icmpv6",
            FrameKind::Ndp => "ndp",
            FrameKind::Other => "other",
        }
    }
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 5] =
        [Outcome::Answered, Outcome::Ignored, Outcome::Learned, Outcome::Limited, Outcome::Malformed];

    /// Metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Ignored => "ignored",
            Outcome::Learned => "learned",
            Outcome::Limited => "limited",
            Outcome::Malformed => "malformed",
        }
    }
}

impl Counters {
    /// Frames of a kind that came to an outcome.
    pub fn received(&self, kind: FrameKind, outcome: Outcome) -> u64 {
        self.received[kind as usize][outcome as usize]
    }

    /// Every frame received.
    pub fn total(&self) -> u64 {
        self.received.iter().flatten().sum()
    }

    pub(super) fn count(&mut self, kind: FrameKind, outcome: Outcome) {
        self.received[kind as usize][outcome as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_outcome_has_a_place_of_its_own() {
        let mut counters = Counters::default();
        for (i, kind) in FrameKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i);
            for (j, outcome) in Outcome::ALL.into_iter().enumerate() {
                assert_eq!(outcome as usize, j);
                counters.count(kind, outcome);
                assert_eq!(counters.received(kind, outcome), 1, "{} {}", kind.label(), outcome.label());
            }
        }
        assert_eq!(counters.total(), 25);
    }
}
