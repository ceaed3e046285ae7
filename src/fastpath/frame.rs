//! A packet buffer seen as an audio frame, with how far it has come in its type.
//!
//! ```text
//! Received → Parsed → Matched → Opened → Checked → Encapsulated → Tagged → Sealed
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

use std::sync::Arc;

use super::faults::{self, Point};
use super::{Buffer, Burst, DropReason};
use super::{classify, inspect, reencapsulate};
use crate::reframe;
use crate::session::{Endpoint, HEADERS_MAX, NextHops, OpenedRtp, OpeningRtp, StreamId, Streams};
use crate::srtp::{OpenError, PacketIndex, Provider, SealError, TAG_LEN, Ticket};
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
    /// The worker that owns the stream.
    home: u16,
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

/// In the form of the other leg, with room for its headers in front and for the tag behind.
#[derive(Debug)]
pub struct Encapsulated {
    rx_cycles: u64,
    stream: StreamId,
    packet: Packet,
    next_hop_mac: [u8; 6],
}

/// Sealed with the receiving leg's key; the headers in front of it are still missing.
#[derive(Debug)]
pub struct Tagged {
    rx_cycles: u64,
    stream: StreamId,
    is_rtcp: bool,
    next_hop_mac: [u8; 6],
}

/// Sealed, headers written: fit to leave.
#[derive(Debug)]
pub struct Sealed {
    rx_cycles: u64,
    port: u8,
}

/// What the later stages need to know of an opened packet.
#[derive(Debug)]
enum Packet {
    Rtp { header_len: u16, ssrc: u32, ticket: Ticket<PacketIndex> },
    Rtcp { ssrc: u32, ticket: Option<Ticket<u32>> },
}

/// Who sent a packet, if it authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated {
    /// The stream.
    pub stream: StreamId,
    /// Where the packet came from.
    pub source: Endpoint,
    /// Whether it was RTCP.
    pub is_rtcp: bool,
}

/// What became of a received frame.
#[derive(Debug)]
pub enum Classified<B> {
    /// Media for one of the local addresses; the frame is with the others of its kind.
    Media(Datagram),
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

    /// Checks the headers and strips them; a frame with media goes into `out`.
    #[inline(always)]
    pub(super) fn classify_into(
        mut self,
        local: &classify::Local<'_>,
        out: &mut Burst<Frame<B, Parsed>>,
    ) -> Classified<B> {
        match classify::classify(&self.buffer, local) {
            classify::Outcome::Datagram { datagram, start, len } => {
                if !self.buffer.move_start(start as isize) || !self.buffer.resize(len) {
                    return Classified::Drop(DropReason::FrameSegmented);
                }
                let state = Parsed { rx_cycles: self.state.rx_cycles, datagram };
                out.push(Frame { buffer: self.buffer, state });
                Classified::Media(datagram)
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

    /// The sequence number that an RTP packet claims: for prefetching alone.
    #[inline(always)]
    pub(super) fn claimed_seq(&self) -> u16 {
        match self.buffer.data() {
            [_, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        }
    }

    /// As that of a matched frame.
    #[inline(always)]
    pub(super) fn payload_estimate(&self) -> usize {
        self.buffer.data().len().saturating_sub(rtp::HEADER_LEN + TAG_LEN)
    }

    /// Binds the frame to the stream that the lookup found, which is number `stream` of the worker `home`.
    #[inline(always)]
    pub(super) fn matched(self, home: u16, stream: StreamId) -> Frame<B, Matched> {
        let Parsed { rx_cycles, datagram } = self.state;
        let Datagram { source, is_rtcp, .. } = datagram;
        let state = Matched { rx_cycles, source, stream, home, is_rtcp };
        Frame { buffer: self.buffer, state }
    }
}

impl<B: Buffer> Frame<B, Matched> {
    /// The worker that owns the stream.
    #[inline(always)]
    pub(super) fn home(&self) -> u16 {
        self.state.home
    }

    /// Asks the cache for the packet's first line, which another core wrote last.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        self.buffer.prefetch_data();
    }

    /// The stream.
    #[inline(always)]
    pub(super) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// When it was received.
    #[inline(always)]
    pub(super) fn rx_cycles(&self) -> u64 {
        self.state.rx_cycles
    }

    /// The stream that it claims to belong to, and where it came from.
    #[inline(always)]
    pub(super) fn sender(&self) -> Authenticated {
        let Matched { stream, source, is_rtcp, .. } = self.state;
        Authenticated { stream, source, is_rtcp }
    }

    /// Length of the encrypted payload in bytes, if the packet has neither CSRCs nor extension and a tag of 16: which
    /// lines of a key are asked for depends on it.
    #[inline(always)]
    pub(super) fn payload_estimate(&self) -> usize {
        self.buffer.data().len().saturating_sub(rtp::HEADER_LEN + TAG_LEN)
    }

    /// Verifies the tag, decrypts in place and puts the opened frame into `out`. Says whether no newer packet of the
    /// stream was received before: only such a one may move the remote.
    ///
    /// This and the next steps write the new state where it will stay: returned by value it would be written to the
    /// stack and read back in wider pieces at once, which stalls.
    #[inline(always)]
    pub(super) fn open_into<P: Provider>(
        mut self,
        streams: &mut Streams<P>,
        out: &mut Burst<Frame<B, Opened>>,
    ) -> Result<bool, DropReason> {
        if self.state.is_rtcp {
            return self.open_rtcp_into(streams, out);
        }
        let (header_len, ssrc, seq) = self.rtp_header()?;
        let stream = self.state.stream;
        if streams.collides(stream, ssrc) {
            return Err(DropReason::SsrcCollision);
        }
        let opened =
            streams.open_rtp(stream, self.buffer.data_mut(), header_len, ssrc, seq).map_err(open_reason)?;
        self.opened_rtp_into(header_len as u16, ssrc, opened, out)
    }

    /// All checks of [`Frame::open`] that come before the tag, of an RTP packet that is then opened in a batch.
    #[inline]
    pub(super) fn begin<P: Provider>(&self, streams: &Streams<P>) -> Result<OpeningRtp, DropReason> {
        let (header_len, ssrc, seq) = self.rtp_header()?;
        if streams.collides(self.state.stream, ssrc) {
            return Err(DropReason::SsrcCollision);
        }
        streams.begin_rtp(self.state.stream, self.buffer.data(), header_len, ssrc, seq).map_err(open_reason)
    }

    /// Verifies and decrypts several packets together, as [`Frame::open_into`] does one.
    pub(super) fn open_batch_into<P: Provider>(
        batch: &mut Burst<(Self, OpeningRtp)>,
        streams: &mut Streams<P>,
        out: &mut Burst<Frame<B, Opened>>,
        mut each: impl FnMut(&Streams<P>, Authenticated, Result<bool, DropReason>),
    ) {
        let mut outcomes: Burst<Result<OpenedRtp, OpenError>> = Burst::new();
        let packets = batch.iter_mut().map(|(frame, opening)| (*opening, frame.buffer.data_mut()));
        streams.open_rtp_batch(packets, |outcome| {
            faults::at(Point::OpenBatch);
            outcomes.push(outcome);
        });
        for ((frame, opening), outcome) in batch.drain(..).zip(outcomes) {
            let sender = frame.sender();
            streams.work_on(sender.stream);
            let opened = outcome
                .map_err(open_reason)
                .and_then(|opened| frame.opened_rtp_into(opening.header_len, opening.ssrc, opened, out));
            each(streams, sender, opened);
        }
    }

    #[inline(always)]
    fn rtp_header(&self) -> Result<(usize, u32, u16), DropReason> {
        let header = rtp::Packet::new_checked(self.buffer.data()).map_err(inspect::header_reason)?;
        Ok((header.header_len(), header.ssrc().0, header.sequence_number().0))
    }

    /// Only an [`OpenedRtp`] makes an RTP frame an opened one, and only the stream's key makes that.
    #[inline(always)]
    fn opened_rtp_into(
        mut self,
        header_len: u16,
        ssrc: u32,
        opened: OpenedRtp,
        out: &mut Burst<Frame<B, Opened>>,
    ) -> Result<bool, DropReason> {
        let Matched { rx_cycles, stream, .. } = self.state;
        let OpenedRtp { len, ticket, newest } = opened;
        if !self.buffer.resize(len) {
            return Err(DropReason::SrtpTruncated);
        }
        let packet = Packet::Rtp { header_len, ssrc, ticket };
        out.push(Frame { buffer: self.buffer, state: Opened { rx_cycles, stream, packet } });
        Ok(newest)
    }

    fn open_rtcp_into<P: Provider>(
        mut self,
        streams: &mut Streams<P>,
        out: &mut Burst<Frame<B, Opened>>,
    ) -> Result<bool, DropReason> {
        let Matched { rx_cycles, stream, .. } = self.state;
        // Demultiplexing let version 2 alone come this far; the SSRC is in the clear part (RFC 3711 §3.4).
        if self.buffer.data().len() < 8 {
            return Err(DropReason::RtcpMalformed);
        }
        let opened = streams.open_rtcp(stream, self.buffer.data_mut()).map_err(open_reason)?;
        if !self.buffer.resize(opened.len) {
            return Err(DropReason::SrtpTruncated);
        }
        let packet = Packet::Rtcp { ssrc: opened.ssrc, ticket: opened.ticket };
        out.push(Frame { buffer: self.buffer, state: Opened { rx_cycles, stream, packet } });
        Ok(opened.newest)
    }
}

impl<B: Buffer> Frame<B, Opened> {
    /// The stream.
    #[inline(always)]
    pub(super) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Holds the packet against the rules of its leg. `Some` is a reason for which the leg would refuse it, if it did
    /// more than count.
    #[inline(always)]
    pub(super) fn check_into<P: Provider>(
        self,
        streams: &Streams<P>,
        out: &mut Burst<Frame<B, Checked>>,
    ) -> Result<Option<DropReason>, DropReason> {
        let profile = streams.profile(self.state.stream).ok_or(DropReason::PayloadTypeNotNegotiated)?;
        let tolerated = match self.state.packet {
            Packet::Rtp { .. } => inspect::rtp(self.buffer.data(), profile)?,
            Packet::Rtcp { .. } => {
                inspect::rtcp(self.buffer.data(), profile.reduced_size_rtcp())?;
                None
            }
        };
        let Opened { rx_cycles, stream, packet } = self.state;
        out.push(Frame { buffer: self.buffer, state: Checked { rx_cycles, stream, packet } });
        Ok(tolerated)
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

    /// When it arrived, by the time-stamp counter.
    #[inline(always)]
    pub(super) fn rx_cycles(&self) -> u64 {
        self.state.rx_cycles
    }

    /// The packet in the clear.
    #[inline(always)]
    pub(super) fn packet(&self) -> &[u8] {
        self.buffer.data()
    }

    /// Gives the packet its form on the other leg and makes room for that leg's headers and tag.
    #[inline(always)]
    pub(super) fn encapsulate_into<P: Provider>(
        mut self,
        streams: &mut Streams<P>,
        next_hops: &[Arc<NextHops>],
        out: &mut Burst<Frame<B, Encapsulated>>,
    ) -> Result<(), DropReason> {
        let (stream, is_rtcp) = (self.state.stream, matches!(self.state.packet, Packet::Rtcp { .. }));
        if is_rtcp || streams.is_rewritten(stream) {
            self.rewrite(streams)?;
        }
        let len = self.buffer.data().len();
        let route = reencapsulate::route(streams, next_hops, stream, is_rtcp, len)?;
        let reencapsulate::Route { headers, trailer, next_hop_mac } = route;
        if !self.buffer.resize(len + trailer) || !self.buffer.move_start(-(headers as isize)) {
            return Err(DropReason::RoomExhausted);
        }
        let Checked { rx_cycles, stream, packet } = self.state;
        out.push(Frame {
            buffer: self.buffer,
            state: Encapsulated { rx_cycles, stream, packet, next_hop_mac },
        });
        Ok(())
    }
}

impl<B: Buffer> Frame<B, Checked> {
    /// What the legs negotiated differently, and what another source than the receiver knows has to be called.
    #[cold]
    #[inline(never)]
    fn rewrite<P: Provider>(&mut self, streams: &mut Streams<P>) -> Result<(), DropReason> {
        let Checked { rx_cycles, stream, packet } = &mut self.state;
        match packet {
            Packet::Rtp { header_len, ssrc, ticket } => {
                if streams.is_replaced(*stream) {
                    let bytes = self.buffer.data_mut();
                    let known = streams.renumber_rtp(*stream, bytes, ticket.index(), *rx_cycles);
                    *ssrc = known.ok_or(DropReason::BeforeSource)?;
                }
                let profile = streams.profile(*stream).ok_or(DropReason::PayloadTypeNotNegotiated)?;
                if profile.rewrites() {
                    let len = usize::from(*header_len);
                    let len = reframe::rtp(&mut self.buffer, len, profile, HEADERS_MAX);
                    *header_len = len.map_err(reframe_reason)? as u16;
                }
            }
            Packet::Rtcp { ssrc, .. } => {
                *ssrc = streams.renumber_rtcp(*stream, self.buffer.data_mut(), *ssrc, *rx_cycles);
            }
        }
        Ok(())
    }
}

impl<B: Buffer> Frame<B, Encapsulated> {
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

    /// As that of a matched frame; headers of the usual length are in front by now.
    #[inline(always)]
    pub(super) fn payload_estimate(&self) -> usize {
        const IPV4_HEADERS: usize = 42;
        self.buffer.data().len().saturating_sub(IPV4_HEADERS + rtp::HEADER_LEN + TAG_LEN)
    }

    /// Encrypts in place and appends the tag.
    #[inline(always)]
    pub(super) fn seal<P: Provider>(
        mut self,
        streams: &mut Streams<P>,
    ) -> Result<Frame<B, Tagged>, DropReason> {
        let Encapsulated { rx_cycles, stream, packet, next_hop_mac } = self.state;
        let is_rtcp = matches!(packet, Packet::Rtcp { .. });
        let headers = streams.egress(stream, is_rtcp).ok_or(DropReason::RemoteUnknown)?.headers_len();
        let payload = self.buffer.data_mut().get_mut(headers..).ok_or(DropReason::RoomExhausted)?;
        match packet {
            Packet::Rtp { header_len, ssrc, ticket } => {
                streams
                    .seal_rtp(stream, payload, usize::from(header_len), ssrc, ticket)
                    .map_err(seal_reason)?;
            }
            Packet::Rtcp { ssrc, ticket } => {
                streams.seal_rtcp(stream, payload, ssrc, ticket).map_err(seal_reason)?;
            }
        }
        Ok(Frame { buffer: self.buffer, state: Tagged { rx_cycles, stream, is_rtcp, next_hop_mac } })
    }

    /// The same for several RTP packets together, of streams whose suite is sealed in batches.
    pub(super) fn seal_batch<P: Provider>(
        batch: &mut Burst<Self>,
        streams: &mut Streams<P>,
        mut each: impl FnMut(&Streams<P>, Result<Frame<B, Tagged>, DropReason>),
    ) {
        let mut frames: Burst<Frame<B, Tagged>> = Burst::new();
        let mut packets: Burst<(usize, usize, u32, Ticket<PacketIndex>)> = Burst::new();
        for frame in batch.drain(..) {
            let Encapsulated { rx_cycles, stream, packet, next_hop_mac } = frame.state;
            match (packet, streams.egress(stream, false)) {
                (Packet::Rtp { header_len, ssrc, ticket }, Some(egress)) => {
                    packets.push((egress.headers_len(), usize::from(header_len), ssrc, ticket));
                    let state = Tagged { rx_cycles, stream, is_rtcp: false, next_hop_mac };
                    frames.push(Frame { buffer: frame.buffer, state });
                }
                _ => each(streams, Err(DropReason::RemoteUnknown)),
            }
        }
        let mut outcomes: Burst<Result<(), SealError>> = Burst::new();
        let jobs = packets.into_iter().zip(frames.iter_mut());
        let jobs = jobs.map(|((headers, header_len, ssrc, ticket), frame)| {
            let payload = frame.buffer.data_mut().get_mut(headers..).unwrap_or_default();
            (frame.state.stream, payload, header_len, ssrc, ticket)
        });
        streams.seal_rtp_batch(jobs, |outcome| {
            faults::at(Point::SealBatch);
            outcomes.push(outcome);
        });
        // A frame whose packet was not sealed is dropped here: it never was more than in this function's hands.
        for (frame, outcome) in frames.into_iter().zip(outcomes) {
            streams.work_on(frame.state.stream);
            each(streams, outcome.map(|()| frame).map_err(seal_reason));
        }
    }
}

impl<B: Buffer> Frame<B, Tagged> {
    /// The stream.
    #[inline(always)]
    pub(super) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Writes the other leg's headers in front. Best done when another packet has been sealed meanwhile: the UDP checksum
    /// reads what sealing wrote.
    #[inline(always)]
    pub(super) fn write_headers<P: Provider>(
        mut self,
        streams: &Streams<P>,
    ) -> Result<Frame<B, Sealed>, DropReason> {
        let Tagged { rx_cycles, stream, is_rtcp, next_hop_mac } = self.state;
        let egress = streams.egress(stream, is_rtcp).ok_or(DropReason::RemoteUnknown)?;
        egress.write_headers(self.buffer.data_mut(), next_hop_mac);
        let (ip, udp) = egress.offloads();
        let (l2_len, l3_len) = egress.layer_lengths();
        self.buffer.set_tx_checksums(egress.is_ipv6(), ip, udp, l2_len, l3_len);
        Ok(Frame { buffer: self.buffer, state: Sealed { rx_cycles, port: egress.port() } })
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

fn open_reason(error: OpenError) -> DropReason {
    match error {
        OpenError::Truncated => DropReason::SrtpTruncated,
        OpenError::NotEncrypted => DropReason::SrtcpNotEncrypted,
        OpenError::SsrcChanged => DropReason::SsrcChanged,
        OpenError::BeforeSource => DropReason::BeforeSource,
        OpenError::TooOld => DropReason::SrtpTooOld,
        OpenError::Replayed => DropReason::SrtpReplayed,
        OpenError::UnknownMki => DropReason::SrtpMkiUnknown,
        OpenError::AuthFailed => DropReason::SrtpAuthFailed,
        OpenError::KeyExhausted => DropReason::KeyExhausted,
    }
}

fn reframe_reason(error: reframe::Error) -> DropReason {
    match error {
        reframe::Error::NoRoom => DropReason::RoomExhausted,
        _ => DropReason::ReframeImpossible,
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
