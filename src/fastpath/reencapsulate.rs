//! Stage 5: room for the other leg's headers and tag, and where the next hop is.

use super::frame::{Checked, Encapsulated};
use super::pipeline::PipelinePort;
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::{NextHops, Streams};
use crate::srtp::Provider;

/// Runs the stage over a burst. `next_hops` has one table per device port.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &Streams<P>,
    next_hops: &[std::sync::Arc<NextHops>],
    burst: &mut Burst<Frame<B, Checked>>,
    encapsulated: &mut Burst<Frame<B, Encapsulated>>,
) {
    for frame in burst.drain(..) {
        if let Err(reason) = one(streams, next_hops, frame, encapsulated) {
            port.counters.count_dropped(reason, 1);
        }
    }
}

#[inline(always)]
fn one<B: Buffer, P: Provider>(
    streams: &Streams<P>,
    next_hops: &[std::sync::Arc<NextHops>],
    frame: Frame<B, Checked>,
    encapsulated: &mut Burst<Frame<B, Encapsulated>>,
) -> Result<(), DropReason> {
    let (stream, is_rtcp) = (frame.stream(), frame.is_rtcp());
    let trailer = streams.trailer(stream, is_rtcp);
    let egress = streams.egress(stream, is_rtcp).ok_or(DropReason::RemoteUnknown)?;
    if !egress.fits(frame.len() + trailer) {
        return Err(DropReason::MtuExceeded);
    }
    let mac = next_hops
        .get(usize::from(egress.port()))
        .and_then(|table| table.mac(egress.next_hop()))
        .ok_or(DropReason::NextHopUnresolved)?;
    frame.encapsulate_into(egress.headers_len(), trailer, mac, encapsulated)
}
