//! RTP on a leg without protection, by explicit policy.
//!
//! Nothing authenticates such a packet, but if the other leg is protected its index becomes that packet's
//! nonce. So a plain stream, too, is pinned to one SSRC, has its index estimated and its duplicates refused.

use super::replay::{RTP_WORDS, Ring};
use super::rtp::InboundState;
use super::{OpenError, PacketIndex, ReplayWindowSize};

/// Receives the RTP packets of one stream without keys.
#[derive(Clone, Debug)]
pub struct PlainRtpInbound {
    state: InboundState,
    ring: Ring<RTP_WORDS>,
}

impl PlainRtpInbound {
    /// A stream that has received nothing yet.
    pub const fn new(window: ReplayWindowSize) -> Self {
        Self { state: InboundState::new(window, 48), ring: Ring::new() }
    }

    /// Takes a packet in and says with which index it goes on.
    ///
    /// # Errors
    /// [`OpenError::SsrcChanged`], [`OpenError::TooOld`], [`OpenError::Replayed`], [`OpenError::KeyExhausted`].
    /// Nothing has changed then.
    #[inline]
    pub fn accept(&mut self, ssrc: u32, seq: u16) -> Result<PacketIndex, OpenError> {
        let index = self.state.accept(&self.ring, ssrc, seq)?;
        self.state.commit(&mut self.ring, ssrc, index)?;
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_every_packet_one_index_and_refuses_the_rest() {
        let mut stream = PlainRtpInbound::new(ReplayWindowSize::default());
        assert_eq!(stream.accept(7, 65_534), Ok(PacketIndex::new(0, 65_534)));
        assert_eq!(stream.accept(7, 1), Ok(PacketIndex::new(1, 1)));
        assert_eq!(
            stream.accept(7, 65_535),
            Ok(PacketIndex::new(0, 65_535)),
            "late, from before the roll-over"
        );
        assert_eq!(stream.accept(7, 1), Err(OpenError::Replayed));
        assert_eq!(stream.accept(8, 2), Err(OpenError::SsrcChanged));
        assert_eq!(stream.accept(7, 60_000), Err(OpenError::TooOld));
        assert_eq!(stream.accept(7, 2), Ok(PacketIndex::new(1, 2)), "nothing refused has changed the stream");
    }
}
