//! Stage 3: who sent it, and is it authentic? Replay window, tag, decryption in place.
//!
//! The stream changes only after the tag has verified. A stream that learns its remote reports the source of
//! an authenticated packet here; control answers with the way there.

use super::frame::{Authenticated, Matched, Opened};
use super::pipeline::{PipelinePort, Sink};
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::{Learn, Stream, StreamId};
use crate::srtp::Provider;

/// Runs the stage over a burst.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &mut [Stream<P>],
    burst: Burst<Frame<B, Matched>>,
    sink: &mut impl Sink<B>,
) -> Burst<Frame<B, Opened>> {
    let mut opened = Burst::new();
    for frame in burst {
        let id = frame.stream();
        // The lookup and the streams were built together, so the stream exists.
        let Some(stream) = streams.get_mut(id.0 as usize) else {
            port.counters.count_dropped(DropReason::PortUnknown, 1);
            continue;
        };
        if !frame.source_is_acceptable(stream) {
            port.counters.count_dropped(DropReason::SourceNotPinned, 1);
            continue;
        }
        match frame.open(stream) {
            Ok((frame, authenticated)) => {
                learn(stream, id, &authenticated, sink);
                opened.push(frame);
            }
            Err(reason) => port.counters.count_dropped(reason, 1),
        }
    }
    opened
}

/// Reports a source that the stream does not know yet. What control makes of it comes back as a command; until
/// then the stream keeps its old remote.
#[inline]
fn learn<B: Buffer, P: Provider>(
    stream: &Stream<P>,
    id: StreamId,
    authenticated: &Authenticated,
    sink: &mut impl Sink<B>,
) {
    if stream.learn == Learn::Never || !authenticated.newest || !stream.authenticates() {
        return;
    }
    let known = if authenticated.is_rtcp { stream.rtcp_source } else { stream.source };
    if known != Some(authenticated.source) {
        sink.learned(id, authenticated);
    }
}
