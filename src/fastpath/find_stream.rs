//! Stage 2: from the local address and port to the stream, and whether the source may speak on it.
//!
//! A frame of a stream that another worker owns is handed over to that worker, never processed here.

use super::faults::{self, Point};
use super::frame::{Matched, Parsed};
use super::pipeline::{PipelinePort, Sink};
use super::{Buffer, Burst, DropReason, Frame, LOOK_AHEAD};
use crate::session::{Lookup, Media, Streams};
use crate::srtp::Provider;

/// Asks the cache for what the stages from here on read first of a frame's stream. The lookup's word should be there.
#[inline(always)]
pub(super) fn prefetch<B: Buffer, P: Provider>(
    lookup: &Lookup,
    streams: &Streams<P>,
    frame: &Frame<B, Parsed>,
) {
    let datagram = frame.datagram();
    if let Some(target) = lookup.target(datagram.slot, datagram.port) {
        streams.prefetch_receive(target.stream, frame.claimed_seq());
        streams.prefetch_keys_far(target.stream, frame.payload_estimate());
    }
}

/// Runs the stage over a burst. Frames of other workers leave through `sink`.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    lookup: &Lookup,
    streams: &mut Streams<P>,
    worker: u16,
    burst: &mut Burst<Frame<B, Parsed>>,
    matched: &mut Burst<Frame<B, Matched>>,
    sink: &mut impl Sink<B>,
) {
    for frame in burst.drain(..) {
        streams.work_on_nothing();
        faults::at(Point::FindStream);
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
        let frame = frame.matched(target.worker, target.stream);
        // The number of another worker's stream means nothing here.
        if target.worker != worker {
            if sink.hand_over(target.worker, port.index, frame) {
                port.counters.handed_over_out.add(1);
            } else {
                port.counters.count_dropped(DropReason::HandoverFull, 1);
            }
            continue;
        }
        streams.work_on(target.stream);
        if matched.len() < LOOK_AHEAD {
            streams.prefetch_open_key(target.stream, frame.payload_estimate());
        }
        matched.push(frame);
    }
}
