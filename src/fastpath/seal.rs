//! Stage 6: encrypted and tagged with the receiving leg's key, headers in front.

use super::faults::{self, Point};
use super::frame::{Encapsulated, Tagged};
use super::pipeline::{PipelinePort, Sink};
use super::{Buffer, Burst, Frame, LOOK_AHEAD};
use crate::session::{Protection, StreamId, Streams};
use crate::srtp::Provider;

/// Runs the stage over a burst; sealed frames leave through `sink`.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &mut Streams<P>,
    burst: &mut Burst<Frame<B, Encapsulated>>,
    sink: &mut impl Sink<B>,
) {
    let mut batch = Burst::new();
    let mut tagged: Option<Frame<B, Tagged>> = None;
    let ahead: Burst<(StreamId, u16)> =
        burst.iter().map(|frame| (frame.stream(), frame.payload_estimate() as u16)).collect();
    for (position, frame) in burst.drain(..).enumerate() {
        if let Some(&(id, len)) = ahead.get(position + LOOK_AHEAD) {
            streams.prefetch_seal_key(id, usize::from(len));
        }
        streams.work_on(frame.stream());
        faults::at(Point::Seal);
        if streams.seal_protection(frame.stream()) == Protection::Batched && !frame.is_rtcp() {
            batch.push(frame);
            continue;
        }
        // Headers are written one packet later than the tag: the UDP checksum reads what sealing has just written, and
        // would wait for it to leave the store buffer.
        let before = tagged.take();
        match frame.seal(streams) {
            Ok(frame) => tagged = Some(frame),
            Err(reason) => port.counters.count_dropped(reason, 1),
        }
        if let Some(frame) = before {
            streams.work_on(frame.stream());
            finish(port, streams, frame, sink);
        }
    }
    if let Some(frame) = tagged {
        streams.work_on(frame.stream());
        finish(port, streams, frame, sink);
    }
    if !batch.is_empty() {
        Frame::seal_batch(&mut batch, streams, |streams, outcome| match outcome {
            Ok(frame) => finish(port, streams, frame, sink),
            Err(reason) => port.counters.count_dropped(reason, 1),
        });
    }
}

#[inline(always)]
fn finish<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &Streams<P>,
    frame: Frame<B, Tagged>,
    sink: &mut impl Sink<B>,
) {
    faults::at(Point::Headers);
    match frame.write_headers(streams) {
        Ok(frame) => sink.transmit(frame),
        Err(reason) => port.counters.count_dropped(reason, 1),
    }
}
