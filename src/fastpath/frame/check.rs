//! Opened → Checked → Encapsulated: the packet in the clear is held against the rules of its leg, brought into the form of
//! the other one and given room for that one's headers and tag.

use std::sync::Arc;

use super::{Checked, Encapsulated, Frame, Opened, Packet};
use crate::fastpath::{Buffer, Burst, DropReason, inspect, reencapsulate};
use crate::reframe;
use crate::session::{HEADERS_MAX, NextHops, StreamId, Streams};
use crate::srtp::Provider;

impl<B: Buffer> Frame<B, Opened> {
    /// The stream.
    #[inline(always)]
    pub(in crate::fastpath) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Holds the packet against the rules of its leg. `Some` is a reason for which the leg would refuse it, if it did
    /// more than count.
    #[inline(always)]
    pub(in crate::fastpath) fn check_into<P: Provider>(
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
    pub(in crate::fastpath) fn stream(&self) -> StreamId {
        self.state.stream
    }

    /// Whether the packet is RTCP.
    #[inline(always)]
    pub(in crate::fastpath) fn is_rtcp(&self) -> bool {
        matches!(self.state.packet, Packet::Rtcp { .. })
    }

    /// When it arrived, by the time-stamp counter.
    #[inline(always)]
    pub(in crate::fastpath) fn rx_cycles(&self) -> u64 {
        self.state.rx_cycles
    }

    /// The packet in the clear.
    #[inline(always)]
    pub(in crate::fastpath) fn packet(&self) -> &[u8] {
        self.buffer.data()
    }

    /// Gives the packet its form on the other leg and makes room for that leg's headers and tag.
    #[inline(always)]
    pub(in crate::fastpath) fn encapsulate_into<P: Provider>(
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

fn reframe_reason(error: reframe::Error) -> DropReason {
    match error {
        reframe::Error::NoRoom => DropReason::RoomExhausted,
        _ => DropReason::ReframeImpossible,
    }
}
