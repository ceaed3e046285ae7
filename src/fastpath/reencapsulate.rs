//! Stage 5: the packet in the form that the other leg negotiated (`reframe`), room for that leg's headers and tag, and where
//! its next hop is.

use std::sync::Arc;

use super::faults::{self, Point};
use super::frame::{Checked, Encapsulated};
use super::pipeline::PipelinePort;
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::{NextHops, StreamId, Streams};
use crate::srtp::Provider;

/// The way out of a packet.
pub(super) struct Route {
    /// Bytes of headers in front.
    pub(super) headers: usize,
    /// Bytes that sealing appends.
    pub(super) trailer: usize,
    pub(super) next_hop_mac: [u8; 6],
}

/// Runs the stage over a burst. `next_hops` has one table per device port.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &mut Streams<P>,
    next_hops: &[Arc<NextHops>],
    burst: &mut Burst<Frame<B, Checked>>,
    encapsulated: &mut Burst<Frame<B, Encapsulated>>,
) {
    for frame in burst.drain(..) {
        streams.work_on(frame.stream());
        faults::at(Point::Reencapsulate);
        if let Err(reason) = frame.encapsulate_into(streams, next_hops, encapsulated) {
            port.counters.count_dropped(reason, 1);
        }
    }
}

/// Where a packet of `len` bytes, as it will be sealed, leaves.
#[inline(always)]
pub(super) fn route<P: Provider>(
    streams: &Streams<P>,
    next_hops: &[Arc<NextHops>],
    stream: StreamId,
    is_rtcp: bool,
    len: usize,
) -> Result<Route, DropReason> {
    let trailer = streams.trailer(stream, is_rtcp);
    let egress = streams.egress(stream, is_rtcp).ok_or(DropReason::RemoteUnknown)?;
    if !egress.fits(len + trailer) {
        return Err(DropReason::MtuExceeded);
    }
    let next_hop_mac = next_hops
        .get(usize::from(egress.port()))
        .and_then(|table| table.mac(egress.next_hop()))
        .ok_or(DropReason::NextHopUnresolved)?;
    Ok(Route { headers: egress.headers_len(), trailer, next_hop_mac })
}
