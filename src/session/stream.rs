//! What a stream is made of, before it has a place among a worker's [`Streams`](super::Streams).
//!
//! A stream is one direction through a session: opened with the sending leg's key, sealed with the receiving leg's.

use super::{Egress, Endpoint, JournalSlot, KeySet, Profile, Resumed};
use crate::srtp::{MasterKey, PacketIndex, ReplayWindowSize, Ticket};
use crate::tap::TapTag;

/// Position of a stream among those of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u32);

/// Payload types by their numbers alone: a [`Profile`] that looks into no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadRules {
    /// Bit `n` is set when RTP payload type `n` was negotiated.
    pub payload_types: u128,
    /// Whether a compound RTCP packet may start with another type than SR or RR (RFC 5506).
    pub reduced_size_rtcp: bool,
}

impl PayloadRules {
    /// Whether RTP payload type `payload_type` was negotiated.
    #[inline(always)]
    pub fn accepts(&self, payload_type: u8) -> bool {
        self.payload_types >> (payload_type & 127) & 1 == 1
    }
}

/// Whether the sender's address is learned from packets that authenticated, or fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learn {
    /// The configured remote alone is accepted.
    Never,
    /// The source of the newest authenticated packet becomes the remote.
    Authenticated,
}

/// Keys of a stream; `None` is a plain leg by policy.
#[derive(Debug, Clone, Copy)]
pub struct StreamKeys<'a> {
    /// What the sending leg's remote seals with.
    pub open: Option<&'a MasterKey>,
    /// What the gateway seals with towards the receiving leg.
    pub seal: Option<&'a MasterKey>,
    /// Size of the replay window.
    pub replay_window: ReplayWindowSize,
}

/// A stream to be.
#[derive(Debug)]
pub struct StreamSetup<'a> {
    /// Keys and replay window.
    pub keys: StreamKeys<'a>,
    /// All keys that the sender may seal with, if there are several.
    pub key_set: Option<Box<KeySet>>,
    /// Rules of the inspect stage.
    pub rules: Profile,
    /// Whether the source is learned.
    pub learn: Learn,
    /// Under what tag opened packets are copied for the media tap, if they are.
    pub tap: Option<TapTag>,
    /// The sender's RTP address, once configured.
    pub source: Option<Endpoint>,
    /// The sender's RTCP address: that of RTP where the leg is muxed.
    pub rtcp_source: Option<Endpoint>,
    /// Way out for RTP; `None` until the receiving leg's remote is known.
    pub rtp_egress: Option<Egress>,
    /// Way out for RTCP.
    pub rtcp_egress: Option<Egress>,
    /// Where sealed SRTP indices are recorded, and what an earlier run may have sealed.
    pub rtp_journal: Option<(JournalSlot, Option<Resumed>)>,
    /// The same for SRTCP.
    pub rtcp_journal: Option<(JournalSlot, Option<Resumed>)>,
}

impl<'a> StreamSetup<'a> {
    /// A stream without addresses and journal.
    pub fn new(keys: StreamKeys<'a>, rules: impl Into<Profile>, learn: Learn) -> Self {
        StreamSetup {
            keys,
            key_set: None,
            rules: rules.into(),
            learn,
            tap: None,
            source: None,
            rtcp_source: None,
            rtp_egress: None,
            rtcp_egress: None,
            rtp_journal: None,
            rtcp_journal: None,
        }
    }
}

/// An RTP packet that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenedRtp {
    /// Length of header and plaintext payload in bytes.
    pub len: usize,
    /// The permission to seal one packet with this packet's index.
    pub ticket: Ticket<PacketIndex>,
    /// Whether no packet with a higher index was received before: only such a one may move the remote.
    pub newest: bool,
}

/// An RTCP packet that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenedRtcp {
    /// Length of the compound packet in bytes.
    pub len: usize,
    /// The sender's SSRC.
    pub ssrc: u32,
    /// The permission to seal one packet with this packet's index; `None` when the sender's leg is plain.
    pub ticket: Option<Ticket<u32>>,
    /// As in [`OpenedRtp::newest`].
    pub newest: bool,
}
