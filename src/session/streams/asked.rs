//! What the stages ask of a stream before they touch its keys: whose it is, where it goes, what it may carry.

use super::{Flags, Hot, Send, Streams};
use crate::session::profile::Profile;
use crate::session::stream::{Learn, StreamId};
use crate::session::{Egress, Endpoint};
use crate::srtp::{Provider, Suite};

/// How a stream's RTP packets are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Not at all, or by an AEAD: one packet at a time.
    Single,
    /// By AES-CM and HMAC-SHA1: in batches.
    Batched,
}

/// What the stages ask of a stream. `id` comes from the lookup, which was built together with the streams; a stream
/// that does not exist has no source, no rules and no way out.
impl<P: Provider> Streams<P> {
    /// Whether the stream accepts packets from `source`. One that learns its remote decides after the tag has
    /// verified.
    #[inline(always)]
    pub fn accepts_source(&self, id: StreamId, source: Endpoint, is_rtcp: bool) -> bool {
        let Some(hot) = self.rows.first(id.0) else { return false };
        hot.receive.learn == Learn::Authenticated || self.source(id, is_rtcp) == Some(source)
    }

    /// Whether an authenticated, newest packet from `source` says that the remote has moved.
    #[inline(always)]
    pub fn has_moved(&self, id: StreamId, source: Endpoint, is_rtcp: bool) -> bool {
        let Some(hot) = self.rows.first(id.0) else { return false };
        // Only a protected packet proves who sent it.
        hot.receive.learn == Learn::Authenticated
            && hot.receive.suite.is_some()
            && self.source(id, is_rtcp) != Some(source)
    }

    /// The sender's address, if it is known.
    #[inline(always)]
    pub fn source(&self, id: StreamId, is_rtcp: bool) -> Option<Endpoint> {
        if is_rtcp {
            return self.rows.third(id.0)?.source;
        }
        self.rows.first(id.0)?.receive.source
    }

    /// The way out.
    #[inline(always)]
    pub fn egress(&self, id: StreamId, is_rtcp: bool) -> Option<&Egress> {
        if is_rtcp {
            return self.rows.third(id.0)?.egress.as_ref();
        }
        self.rows.first(id.0)?.send.egress.as_ref()
    }

    /// What the sending leg negotiated.
    #[inline(always)]
    pub fn profile(&self, id: StreamId) -> Option<&Profile> {
        self.profiles.get(self.rows.first(id.0)?.receive.profile)
    }

    /// Whether the first packet of a stream, or of another source of it, has the SSRC of what the gateway sends to this
    /// leg: that comes back from it, or both ends chose the same (RFC 3550 §8.2). A later packet cannot: its own stream
    /// is pinned by then.
    #[inline(always)]
    pub fn collides(&self, id: StreamId, ssrc: u32) -> bool {
        let is_first = self.rows.first(id.0).is_some_and(|hot| hot.receive.state.ssrc().is_none());
        is_first && self.known_ssrc(StreamId(id.0 ^ 1)) == Some(ssrc)
    }

    /// Bytes that sealing appends to a packet.
    #[inline(always)]
    pub fn trailer(&self, id: StreamId, is_rtcp: bool) -> usize {
        let Some(Hot { send: Send { suite: Some(suite), mki_len, .. }, .. }) = self.rows.first(id.0) else {
            return 0;
        };
        let tag_len =
            if is_rtcp { suite.rtcp_tag_len() + crate::srtp::SRTCP_INDEX_LEN } else { suite.rtp_tag_len() };
        tag_len + usize::from(*mki_len)
    }

    /// How the stream's RTP packets are to be opened.
    #[inline(always)]
    pub fn open_protection(&self, id: StreamId) -> Protection {
        match self.rows.first(id.0) {
            Some(hot)
                if !hot.receive.flags.has(Flags::SEVERAL_OR_ALONE) && !hot.receive.state.is_replaced() =>
            {
                protection(hot.receive.suite)
            }
            _ => Protection::Single,
        }
    }

    /// How they are to be sealed.
    #[inline(always)]
    pub fn seal_protection(&self, id: StreamId) -> Protection {
        match self.rows.first(id.0) {
            Some(hot) if !hot.receive.flags.has(Flags::ALONE) => protection(hot.send.suite),
            _ => Protection::Single,
        }
    }
}

#[inline(always)]
fn protection(suite: Option<Suite>) -> Protection {
    match suite {
        Some(suite) if !suite.is_aead() => Protection::Batched,
        _ => Protection::Single,
    }
}
