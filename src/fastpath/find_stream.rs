//! Stage 2: from the local address and port to the stream, and whether the source may speak on it.
//!
//! A frame of a stream that another worker owns is handed over to that worker, never processed here.

use super::frame::{Matched, Parsed};
use super::pipeline::{PipelinePort, Sink};
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::{Lookup, Media, Stream};
use crate::srtp::Provider;

/// Runs the stage over a burst. Frames of other workers leave through `sink`.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    lookup: &Lookup,
    streams: &[Stream<P>],
    worker: u16,
    burst: Burst<Frame<B, Parsed>>,
    sink: &mut impl Sink<B>,
) -> Burst<Frame<B, Matched>> {
    let mut matched = Burst::new();
    for frame in burst {
        let datagram = frame.datagram();
        let Some(target) = lookup.target(datagram.slot, datagram.port) else {
            port.counters.count_dropped(DropReason::PortUnknown, 1);
            continue;
        };
        let refused = match (target.media, datagram.is_rtcp) {
            (Media::Rtp, true) => Some(DropReason::RtcpUnexpected),
            (Media::Rtcp, false) => Some(DropReason::RtpUnexpected),
            _ => None,
        };
        if let Some(reason) = refused {
            port.counters.count_dropped(reason, 1);
            continue;
        }
        let frame = frame.matched(target.stream);
        if target.worker != worker {
            if sink.hand_over(target.worker, port.index, frame) {
                port.counters.handed_over_out.add(1);
            } else {
                port.counters.count_dropped(DropReason::HandoverFull, 1);
            }
            continue;
        }
        if let Some(stream) = streams.get(target.stream.0 as usize) {
            stream.prefetch();
        }
        matched.push(frame);
    }
    matched
}
