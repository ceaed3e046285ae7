//! A packet buffer seen as an audio frame, with how far it has come in its type.
//!
//! ```text
//! Received → Parsed → Matched → Opened → Checked → Encapsulated → Sealed
//! ```
//!
//! This module alone makes one state out of another, and each step does the work that the next state's name
//! promises: there is no way to an [`Opened`] frame but through the tag's verification (or a leg that is plain
//! by policy), none to a [`Checked`] one but through the rules, none to a [`Sealed`] one but through the other
//! leg's key. Transmission takes [`Sealed`] frames only. A step that fails consumes the frame: its buffer goes
//! back to the pool, and the reason is what remains.
//!
//! A received frame cannot be transmitted:
//!
//! ```compile_fail,E0308
//! use voxlane::fastpath::{Buffer, Frame, HeapBuffer, Sealed};
//!
//! fn transmit(_: Frame<HeapBuffer, Sealed>) {}
//! transmit(Frame::received(HeapBuffer::new(&[0; 60], 0), 0));
//! ```
//!
//! Nor can anybody else claim that a frame is sealed:
//!
//! ```compile_fail,E0451
//! use voxlane::fastpath::{Frame, HeapBuffer, Sealed};
//!
//! fn forge(buffer: HeapBuffer, state: Sealed) -> Frame<HeapBuffer, Sealed> {
//!     Frame { buffer, state }
//! }
//! ```

use super::{Buffer, DropReason};
use super::{classify, inspect};
use crate::session::{Endpoint, PayloadRules, Stream, StreamId};
use crate::srtp::{OpenError, PacketIndex, Provider, SealError};
use crate::wire::rtp;

/// A packet buffer in state `S`.
#[derive(Debug)]
pub struct Frame<B, S> {
    buffer: B,
    state: S,
}

/// As the port delivered it.
#[derive(Debug)]
pub struct Received {
    rx_cycles: u64,
}

/// Headers are checked; the buffer holds exactly the UDP payload.
#[derive(Debug)]
pub struct Parsed {
    rx_cycles: u64,
    datagram: Datagram,
}

/// Where a UDP datagram came from and went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Source address and port.
    pub source: Endpoint,
    /// Slot of the local address in the lookup.
    pub slot: u16,
    /// Destination port.
    pub port: u16,
    /// Whether the payload is RTCP (RFC 5761 §4).
    pub is_rtcp: bool,
}

/// The stream is found and the source is acceptable.
#[derive(Debug)]
pub struct Matched {
    rx_cycles: u64,
    source: Endpoint,
    stream: StreamId,
    is_rtcp: bool,
}

/// Authenticated and decrypted (or plain by policy); the buffer holds the RTP or RTCP packet.
#[derive(Debug)]
pub struct Opened {
    rx_cycles: u64,
    stream: StreamId,
    packet: Packet,
}

/// Held against the rules of its leg.
#[derive(Debug)]
pub struct Checked {
    rx_cycles: u64,
    stream: StreamId,
    packet: Packet,
}

/// Has room for the other leg's headers in front and for the tag behind.
#[derive(Debug)]
pub struct Encapsulated {
    rx_cycles: u64,
    stream: StreamId,
    packet: Packet,
    next_hop_mac: [u8; 6],
}

/// Sealed with the receiving leg's key, headers written: fit to leave.
#[derive(Debug)]
pub struct Sealed {
    rx_cycles: u64,
    port: u8,
}

/// What the later stages need to know of an opened packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packet {
    Rtp { header_len: u16, ssrc: u32, index: PacketIndex },
    Rtcp { ssrc: u32, index: Option<u32> },
}

/// What opening a frame says about the stream's remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated {
    /// Where the packet came from.
    pub source: Endpoint,
    /// Whether it was RTCP.
    pub is_rtcp: bool,
    /// Whether it is the newest packet of the stream: only such a one may move the remote.
    pub newest: bool,
}

/// What became of a received frame.
#[derive(Debug)]
pub enum Classified<B> {
    /// Media for one of the local addresses.
    Media(Frame<B, Parsed>),
    /// For the host: ARP, neighbour discovery, ICMP, STUN, DTLS. Still as the port delivered it.
    Punt(B),
    /// Refused.
    Drop(DropReason),
}

impl<B: Buffer> Frame<B, Received> {
    /// A frame as the port delivered it, at time stamp `rx_cycles`.
    #[inline(always)]
    pub fn received(buffer: B, rx_cycles: u64) -> Self {
        Frame { buffer, state: Received { rx_cycles } }
    }

    /// Asks the cache for the frame's first line.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        self.buffer.prefetch_data();
    }

    /// Length as received, in bytes.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.buffer.data().len()
    }

    /// Checks the headers and strips them.
    #[inline(always)]
    pub(super) fn classify(mut self, local: &classify::Local<'_>) -> Classified<B> {
        match classify::classify(&self.buffer, local) {
            classify::Outcome::Datagram { datagram, start, len } => {
                if !self.buffer.move_start(start as isize) || !self.buffer.resize(len) {
                    return Classified::Drop(DropReason::FrameSegmented);
                }
                let state = Parsed { rx_cycles: self.state.rx_cycles, datagram };
                Classified::Media(Frame { buffer: self.buffer, state })
            }
            classify::Outcome::Punt => Classified::Punt(self.buffer),
            classify::Outcome::Drop(reason) => Classified::Drop(reason),
        }
    }
}

impl<B: Buffer> Frame<B, Parsed> {
    /// Where the datagram came from and went to.
    #[inline(always)]
    pub(super) fn datagram(&self) -> &Datagram {
        &self.state.datagram
    }

    /// Binds the frame to the stream that the lookup found.
    #[inline(always)]
    pub(super) fn matched(self, stream: StreamId) -> Frame<B, Matched> {
        let Parsed { rx_cycles, datagram } = self.state;
        let state = Matched { rx_cycles, source: datagram.source, stream, is_rtcp: datagram.is_rtcp };
        Frame { buffer: self.buffer, state }
    }
}

impl<B: Buffer> Frame<B, Matched> {
    /// The stream.
    #[inline(always)]
    pub(super) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Whether the stream accepts packets from where this one came. A stream that learns its remote decides
    /// after the tag has verified.
    #[inline(always)]
    pub(super) fn source_is_acceptable<P: Provider>(&self, stream: &Stream<P>) -> bool {
        let pinned = if self.state.is_rtcp { stream.rtcp_source } else { stream.source };
        stream.learn == crate::session::Learn::Authenticated || pinned == Some(self.state.source)
    }

    /// Verifies the tag and decrypts in place.
    #[inline(always)]
    pub(super) fn open<P: Provider>(
        mut self,
        stream: &mut Stream<P>,
    ) -> Result<(Frame<B, Opened>, Authenticated), DropReason> {
        let Matched { rx_cycles, source, stream: id, is_rtcp } = self.state;
        let (packet, len, newest) = if is_rtcp {
            let ssrc = rtcp_ssrc(self.buffer.data())?;
            let opened = stream.open_rtcp(self.buffer.data_mut()).map_err(open_reason)?;
            (Packet::Rtcp { ssrc, index: opened.index }, opened.len, opened.newest)
        } else {
            let header =
                rtp::Packet::new_checked(self.buffer.data()).map_err(|_| DropReason::RtpMalformed)?;
            let (header_len, ssrc, seq) = (header.header_len(), header.ssrc().0, header.sequence_number().0);
            let opened =
                stream.open_rtp(self.buffer.data_mut(), header_len, ssrc, seq).map_err(open_reason)?;
            (
                Packet::Rtp { header_len: header_len as u16, ssrc, index: opened.index },
                opened.len,
                opened.newest,
            )
        };
        if !self.buffer.resize(len) {
            return Err(DropReason::SrtpTruncated);
        }
        let frame = Frame { buffer: self.buffer, state: Opened { rx_cycles, stream: id, packet } };
        Ok((frame, Authenticated { source, is_rtcp, newest }))
    }
}

impl<B: Buffer> Frame<B, Opened> {
    /// The stream.
    #[inline(always)]
    pub(super) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Holds the packet against the rules of its leg.
    #[inline(always)]
    pub(super) fn check(self, rules: &PayloadRules) -> Result<Frame<B, Checked>, DropReason> {
        match self.state.packet {
            Packet::Rtp { .. } => inspect::rtp(self.buffer.data(), rules)?,
            Packet::Rtcp { .. } => inspect::rtcp(self.buffer.data(), rules)?,
        }
        let Opened { rx_cycles, stream, packet } = self.state;
        Ok(Frame { buffer: self.buffer, state: Checked { rx_cycles, stream, packet } })
    }
}

impl<B: Buffer> Frame<B, Checked> {
    /// The stream.
    #[inline(always)]
    pub(super) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Whether the packet is RTCP.
    #[inline(always)]
    pub(super) fn is_rtcp(&self) -> bool {
        matches!(self.state.packet, Packet::Rtcp { .. })
    }

    /// Length of the RTP or RTCP packet in bytes.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.buffer.data().len()
    }

    /// Makes room: `headers` bytes in front and `trailer` bytes behind.
    #[inline(always)]
    pub(super) fn encapsulate(
        mut self,
        headers: usize,
        trailer: usize,
        next_hop_mac: [u8; 6],
    ) -> Result<Frame<B, Encapsulated>, DropReason> {
        let len = self.buffer.data().len();
        if !self.buffer.resize(len + trailer) || !self.buffer.move_start(-(headers as isize)) {
            return Err(DropReason::RoomExhausted);
        }
        let Checked { rx_cycles, stream, packet } = self.state;
        Ok(Frame { buffer: self.buffer, state: Encapsulated { rx_cycles, stream, packet, next_hop_mac } })
    }
}

impl<B: Buffer> Frame<B, Encapsulated> {
    /// The stream.
    #[inline(always)]
    pub(super) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Encrypts in place, appends the tag and writes the other leg's headers.
    #[inline(always)]
    pub(super) fn seal<P: Provider>(
        mut self,
        stream: &mut Stream<P>,
    ) -> Result<Frame<B, Sealed>, DropReason> {
        let Encapsulated { rx_cycles, packet, next_hop_mac, .. } = self.state;
        let is_rtcp = matches!(packet, Packet::Rtcp { .. });
        let egress = if is_rtcp { &stream.rtcp_egress } else { &stream.rtp_egress };
        let headers = egress.as_ref().ok_or(DropReason::RemoteUnknown)?.headers_len();
        let payload = self.buffer.data_mut().get_mut(headers..).ok_or(DropReason::RoomExhausted)?;
        match packet {
            Packet::Rtp { header_len, ssrc, index } => {
                stream.seal_rtp(payload, usize::from(header_len), ssrc, index).map_err(seal_reason)?;
            }
            Packet::Rtcp { ssrc, index } => stream.seal_rtcp(payload, ssrc, index).map_err(seal_reason)?,
        }
        let egress = if is_rtcp { &stream.rtcp_egress } else { &stream.rtp_egress };
        let egress = egress.as_ref().ok_or(DropReason::RemoteUnknown)?;
        egress.write_headers(self.buffer.data_mut(), next_hop_mac);
        let (ip, udp) = egress.offloads();
        let (l2_len, l3_len) = egress.layer_lengths();
        self.buffer.set_tx_checksums(egress.is_ipv6(), ip, udp, l2_len, l3_len);
        Ok(Frame { buffer: self.buffer, state: Sealed { rx_cycles, port: egress.port().index } })
    }
}

impl<B: Buffer> Frame<B, Sealed> {
    /// Index of the device port that the frame leaves by.
    #[inline(always)]
    pub fn port(&self) -> u8 {
        self.state.port
    }

    /// The buffer, for transmission, and when the packet that became it was received.
    #[inline(always)]
    pub fn into_wire(self) -> (B, u64) {
        (self.buffer, self.state.rx_cycles)
    }
}

/// The sender's SSRC in the clear part of an SRTCP packet (RFC 3711 §3.4). Demultiplexing let version 2 alone
/// come this far.
#[inline]
fn rtcp_ssrc(packet: &[u8]) -> Result<u32, DropReason> {
    let [_, _, _, _, a, b, c, d, ..] = *packet else { return Err(DropReason::RtcpMalformed) };
    Ok(u32::from_be_bytes([a, b, c, d]))
}

fn open_reason(error: OpenError) -> DropReason {
    match error {
        OpenError::Truncated => DropReason::SrtpTruncated,
        OpenError::NotEncrypted => DropReason::SrtcpNotEncrypted,
        OpenError::SsrcChanged => DropReason::SsrcChanged,
        OpenError::TooOld => DropReason::SrtpTooOld,
        OpenError::Replayed => DropReason::SrtpReplayed,
        OpenError::AuthFailed => DropReason::SrtpAuthFailed,
        OpenError::KeyExhausted => DropReason::KeyExhausted,
    }
}

fn seal_reason(error: SealError) -> DropReason {
    match error {
        SealError::Truncated => DropReason::RoomExhausted,
        SealError::SsrcChanged => DropReason::SsrcChanged,
        SealError::IndexReserved => DropReason::IndexReserved,
        SealError::IndexReused => DropReason::SrtpReplayed,
        SealError::KeyExhausted => DropReason::KeyExhausted,
    }
}
