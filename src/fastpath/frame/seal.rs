//! Encapsulated → Tagged → Sealed: the packet is encrypted with the other leg's key, and its headers are written one
//! packet later.

use super::{Encapsulated, Frame, Packet, Sealed, Tagged};
use crate::fastpath::faults::{self, Point};
use crate::fastpath::{Buffer, Burst, DropReason};
use crate::session::{StreamId, Streams};
use crate::srtp::{PacketIndex, Provider, SealError, TAG_LEN, Ticket};
use crate::wire::rtp;

impl<B: Buffer> Frame<B, Encapsulated> {
    /// The stream.
    #[inline(always)]
    pub(in crate::fastpath) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Whether the packet is RTCP.
    #[inline(always)]
    pub(in crate::fastpath) fn is_rtcp(&self) -> bool {
        matches!(self.state.packet, Packet::Rtcp { .. })
    }

    /// As that of a matched frame; headers of the usual length are in front by now.
    #[inline(always)]
    pub(in crate::fastpath) fn payload_estimate(&self) -> usize {
        const IPV4_HEADERS: usize = 42;
        self.buffer.data().len().saturating_sub(IPV4_HEADERS + rtp::HEADER_LEN + TAG_LEN)
    }

    /// Encrypts in place and appends the tag.
    #[inline(always)]
    pub(in crate::fastpath) fn seal<P: Provider>(
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
    pub(in crate::fastpath) fn seal_batch<P: Provider>(
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
    pub(in crate::fastpath) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Writes the other leg's headers in front. Best done when another packet has been sealed meanwhile: the UDP checksum
    /// reads what sealing wrote.
    #[inline(always)]
    pub(in crate::fastpath) fn write_headers<P: Provider>(
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

fn seal_reason(error: SealError) -> DropReason {
    match error {
        SealError::Truncated => DropReason::RoomExhausted,
        SealError::SsrcChanged => DropReason::SsrcChanged,
        SealError::IndexReserved => DropReason::IndexReserved,
        SealError::IndexReused => DropReason::SrtpReplayed,
        SealError::KeyExhausted => DropReason::KeyExhausted,
    }
}
