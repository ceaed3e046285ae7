//! Stage 6: encrypted and tagged with the receiving leg's key, headers in front.

use super::frame::Encapsulated;
use super::pipeline::{PipelinePort, Sink};
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::Stream;
use crate::srtp::Provider;

/// Runs the stage over a burst; sealed frames leave through `sink`.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &mut [Stream<P>],
    burst: Burst<Frame<B, Encapsulated>>,
    sink: &mut impl Sink<B>,
) {
    for frame in burst {
        let Some(stream) = streams.get_mut(frame.stream().0 as usize) else {
            port.counters.count_dropped(DropReason::PortUnknown, 1);
            continue;
        };
        match frame.seal(stream) {
            Ok(frame) => sink.transmit(frame),
            Err(reason) => port.counters.count_dropped(reason, 1),
        }
    }
}
