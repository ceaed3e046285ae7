//! Stage 5: room for the other leg's headers and tag, and where the next hop is.

use super::frame::{Checked, Encapsulated};
use super::pipeline::PipelinePort;
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::{NextHops, Stream};
use crate::srtp::Provider;

/// Runs the stage over a burst. `next_hops` has one table per device port.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &[Stream<P>],
    next_hops: &[std::sync::Arc<NextHops>],
    burst: Burst<Frame<B, Checked>>,
) -> Burst<Frame<B, Encapsulated>> {
    let mut encapsulated = Burst::new();
    for frame in burst {
        match one(streams, next_hops, frame) {
            Ok(frame) => encapsulated.push(frame),
            Err(reason) => port.counters.count_dropped(reason, 1),
        }
    }
    encapsulated
}

#[inline(always)]
fn one<B: Buffer, P: Provider>(
    streams: &[Stream<P>],
    next_hops: &[std::sync::Arc<NextHops>],
    frame: Frame<B, Checked>,
) -> Result<Frame<B, Encapsulated>, DropReason> {
    let stream = streams.get(frame.stream().0 as usize).ok_or(DropReason::PortUnknown)?;
    let (egress, trailer) = if frame.is_rtcp() {
        (&stream.rtcp_egress, stream.rtcp_trailer())
    } else {
        (&stream.rtp_egress, stream.rtp_trailer())
    };
    let egress = egress.as_ref().ok_or(DropReason::RemoteUnknown)?;
    if !egress.fits(frame.len() + trailer) {
        return Err(DropReason::MtuExceeded);
    }
    let mac = next_hops
        .get(usize::from(egress.port().index))
        .and_then(|table| table.mac(egress.next_hop()))
        .ok_or(DropReason::NextHopUnresolved)?;
    frame.encapsulate(egress.headers_len(), trailer, mac)
}
