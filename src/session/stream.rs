//! One direction through a session: opened with the sending leg's key, sealed with the receiving leg's.
//!
//! Owned and written by the one worker on which it is homed. Nothing in here changes because of a packet that
//! has not authenticated.

use super::{Egress, Endpoint, JournalSlot};
use crate::srtp::{
    MasterKey, OpenError, PacketIndex, PlainRtpInbound, Provider, ReplayWindowSize, RtcpInbound,
    RtcpOutbound, RtpInbound, RtpOutbound, SealError,
};

/// Position of a stream among those of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u32);

/// How a stream's RTP is received.
#[derive(Debug)]
pub enum RtpReceiver<P: Provider> {
    /// RTP without protection, by explicit policy.
    Plain(PlainRtpInbound),
    /// SRTP.
    Srtp(RtpInbound<P>),
}

/// How a stream's RTP is sent.
#[derive(Debug)]
pub enum RtpSender<P: Provider> {
    /// RTP without protection, by explicit policy.
    Plain,
    /// SRTP.
    Srtp(RtpOutbound<P>),
}

/// How a stream's RTCP is received.
#[derive(Debug)]
pub enum RtcpReceiver<P: Provider> {
    /// RTCP without protection, by explicit policy.
    Plain,
    /// SRTCP.
    Srtp(RtcpInbound<P>),
}

/// How a stream's RTCP is sent.
#[derive(Debug)]
pub enum RtcpSender<P: Provider> {
    /// RTCP without protection, by explicit policy.
    Plain,
    /// SRTCP.
    Srtp(RtcpOutbound<P>),
}

/// What the inspect stage holds a packet against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadRules {
    /// Bit `n` is set when RTP payload type `n` was negotiated.
    pub payload_types: u128,
    /// Whether a compound RTCP packet may start with another type than SR or RR (RFC 5506).
    pub reduced_size_rtcp: bool,
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

/// One direction through a session.
#[derive(Debug)]
pub struct Stream<P: Provider> {
    /// The sender's RTP address, once configured or learned.
    pub source: Option<Endpoint>,
    /// The sender's RTCP address: that of RTP where the leg is muxed.
    pub rtcp_source: Option<Endpoint>,
    /// Whether `source` is learned.
    pub learn: Learn,
    /// Rules of the inspect stage.
    pub rules: PayloadRules,
    /// Way out for RTP; `None` until the receiving leg's remote is known.
    pub rtp_egress: Option<Egress>,
    /// Way out for RTCP.
    pub rtcp_egress: Option<Egress>,
    rtp_in: RtpReceiver<P>,
    rtp_out: RtpSender<P>,
    rtcp_in: RtcpReceiver<P>,
    rtcp_out: RtcpSender<P>,
    rtp_journal: Option<JournalSlot>,
    rtcp_journal: Option<JournalSlot>,
}

/// An RTP packet that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedRtp {
    /// Length of header and plaintext payload in bytes.
    pub len: usize,
    /// The packet index, for sealing.
    pub index: PacketIndex,
    /// Whether no packet with a higher index was received before: only such a one may move the remote.
    pub newest: bool,
}

/// An RTCP packet that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedRtcp {
    /// Length of the compound packet in bytes.
    pub len: usize,
    /// The SRTCP index, for sealing; `None` when the sender's leg is plain.
    pub index: Option<u32>,
    /// As in [`OpenedRtp::newest`].
    pub newest: bool,
}

impl<P: Provider> Stream<P> {
    /// A stream that has received nothing yet.
    pub fn new(keys: StreamKeys<'_>, rules: PayloadRules, learn: Learn) -> Self {
        Stream {
            source: None,
            rtcp_source: None,
            learn,
            rules,
            rtp_egress: None,
            rtcp_egress: None,
            rtp_in: match keys.open {
                Some(key) => RtpReceiver::Srtp(RtpInbound::new(key, keys.replay_window)),
                None => RtpReceiver::Plain(PlainRtpInbound::new(keys.replay_window)),
            },
            rtp_out: keys.seal.map_or(RtpSender::Plain, |key| RtpSender::Srtp(RtpOutbound::new(key))),
            rtcp_in: match keys.open {
                Some(key) => RtcpReceiver::Srtp(RtcpInbound::new(key, keys.replay_window)),
                None => RtcpReceiver::Plain,
            },
            rtcp_out: keys.seal.map_or(RtcpSender::Plain, |key| RtcpSender::Srtp(RtcpOutbound::new(key))),
            rtp_journal: None,
            rtcp_journal: None,
        }
    }

    /// Records sealed SRTP indices in `slot` and goes on after `resumed`, what an earlier run may have sealed.
    pub fn journal_rtp(&mut self, slot: JournalSlot, resumed: Option<super::Resumed>) {
        if let (RtpSender::Srtp(outbound), Some(resumed)) = (&mut self.rtp_out, resumed) {
            let floor = PacketIndex::from_u64(resumed.floor).unwrap_or(PacketIndex::MAX);
            outbound.set_floor(floor);
            let last = resumed.floor.checked_sub(1).and_then(PacketIndex::from_u64);
            if let (RtpReceiver::Srtp(inbound), Some(last)) = (&mut self.rtp_in, last) {
                inbound.resume(resumed.ssrc, last);
            }
        }
        self.rtp_journal = Some(slot);
    }

    /// The same for SRTCP.
    pub fn journal_rtcp(&mut self, slot: JournalSlot, resumed: Option<super::Resumed>) {
        if let (RtcpSender::Srtp(outbound), Some(resumed)) = (&mut self.rtcp_out, resumed) {
            let floor = u32::try_from(resumed.floor).unwrap_or(u32::MAX);
            outbound.set_floor(floor);
            if let (RtcpReceiver::Srtp(inbound), Some(last)) = (&mut self.rtcp_in, floor.checked_sub(1)) {
                inbound.resume(resumed.ssrc, last);
            }
        }
        self.rtcp_journal = Some(slot);
    }

    /// Writes the exact state of a clean stop to the journal.
    pub fn settle_journal(&mut self) {
        if let (Some(slot), RtpSender::Srtp(outbound)) = (&mut self.rtp_journal, &self.rtp_out) {
            slot.settle(outbound.highest_index().map(PacketIndex::as_u64));
        }
        if let (Some(slot), RtcpSender::Srtp(outbound)) = (&mut self.rtcp_journal, &self.rtcp_out) {
            slot.settle(outbound.highest_index().map(u64::from));
        }
    }

    /// Whether the sending leg is protected: only then does a packet prove who sent it.
    #[inline]
    pub fn authenticates(&self) -> bool {
        matches!(self.rtp_in, RtpReceiver::Srtp(_))
    }

    /// Opens an RTP packet in place. See [`RtpInbound::open`].
    ///
    /// # Errors
    /// [`OpenError`]; the stream has not changed then.
    #[inline]
    pub fn open_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<OpenedRtp, OpenError> {
        match &mut self.rtp_in {
            RtpReceiver::Srtp(inbound) => {
                let before = inbound.highest_index();
                let opened = inbound.open(packet, header_len, ssrc, seq)?;
                let newest = before.is_none_or(|highest| opened.index > highest);
                Ok(OpenedRtp { len: opened.len, index: opened.index, newest })
            }
            RtpReceiver::Plain(inbound) => {
                let index = inbound.accept(ssrc, seq)?;
                Ok(OpenedRtp { len: packet.len(), index, newest: true })
            }
        }
    }

    /// Opens an RTCP packet in place. See [`RtcpInbound::open`].
    ///
    /// # Errors
    /// [`OpenError`]; the stream has not changed then.
    #[inline]
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<OpenedRtcp, OpenError> {
        match &mut self.rtcp_in {
            RtcpReceiver::Srtp(inbound) => {
                let before = inbound.highest_index();
                let opened = inbound.open(packet)?;
                let newest = before.is_none_or(|highest| opened.index > highest);
                Ok(OpenedRtcp { len: opened.len, index: Some(opened.index), newest })
            }
            RtcpReceiver::Plain => Ok(OpenedRtcp { len: packet.len(), index: None, newest: true }),
        }
    }

    /// Bytes that sealing appends to an RTP packet.
    #[inline]
    pub fn rtp_trailer(&self) -> usize {
        match self.rtp_out {
            RtpSender::Plain => 0,
            RtpSender::Srtp(_) => crate::srtp::TAG_LEN,
        }
    }

    /// Bytes that sealing appends to an RTCP packet.
    #[inline]
    pub fn rtcp_trailer(&self) -> usize {
        match self.rtcp_out {
            RtcpSender::Plain => 0,
            RtcpSender::Srtp(_) => crate::srtp::TAG_LEN + crate::srtp::SRTCP_INDEX_LEN,
        }
    }

    /// Seals an RTP packet in place; `packet` ends with [`Stream::rtp_trailer`] spare bytes.
    ///
    /// # Errors
    /// [`SealError`]; the packet must not be sent then.
    #[inline]
    pub fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<(), SealError> {
        let RtpSender::Srtp(outbound) = &mut self.rtp_out else { return Ok(()) };
        // The journal first: should the process die between the two, an index is lost, never used twice.
        if let Some(slot) = &mut self.rtp_journal {
            slot.cover(ssrc, index.as_u64());
        }
        outbound.seal(packet, header_len, ssrc, index)
    }

    /// Seals an RTCP packet in place; `packet` ends with [`Stream::rtcp_trailer`] spare bytes. `index` is the
    /// one that the packet was received with; a packet from a plain leg gets the next free one.
    ///
    /// # Errors
    /// [`SealError`]; the packet must not be sent then.
    #[inline]
    pub fn seal_rtcp(&mut self, packet: &mut [u8], ssrc: u32, index: Option<u32>) -> Result<(), SealError> {
        let RtcpSender::Srtp(outbound) = &mut self.rtcp_out else { return Ok(()) };
        // RFC 3711 §3.4: the index starts at one.
        let index = index.unwrap_or_else(|| outbound.next_index().max(1));
        if let Some(slot) = &mut self.rtcp_journal {
            slot.cover(ssrc, u64::from(index));
        }
        outbound.seal(packet, index)
    }

    /// Asks the cache for the lines that the next stages read first.
    #[inline]
    pub fn prefetch(&self) {
        crate::dpdk::prefetch_read(&self.source);
        crate::dpdk::prefetch_read(&self.rtp_in);
        crate::dpdk::prefetch_read(&self.rtp_egress);
        crate::dpdk::prefetch_read(&self.rtp_out);
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
