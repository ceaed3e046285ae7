//! Stage 3: who sent it, and is it authentic? Replay window, tag, decryption in place.
//!
//! The stream changes only after the tag has verified. A stream that learns its remote reports the source of
//! an authenticated packet here; control answers with the way there.

use super::faults::{self, Point};
use super::frame::{Authenticated, Matched, Opened};
use super::pipeline::{PipelinePort, Sink};
use super::{Buffer, Burst, DropReason, Frame, LOOK_AHEAD};
use crate::session::{OpeningRtp, Protection, StreamId, Streams};
use crate::srtp::Provider;

/// Runs the stage over a burst.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &mut Streams<P>,
    burst: &mut Burst<Frame<B, Matched>>,
    opened: &mut Burst<Frame<B, Opened>>,
    sink: &mut impl Sink<B>,
) {
    let mut batch = Batch { frames: Burst::new() };
    if let Some(frame) = burst.first() {
        streams.set_arrival(frame.rx_cycles());
    }
    let ahead: Burst<(StreamId, u16)> =
        burst.iter().map(|frame| (frame.stream(), frame.payload_estimate() as u16)).collect();
    for (position, frame) in burst.drain(..).enumerate() {
        // The first few keys were asked for when their streams were found, those of the next stage are asked for while
        // the last few packets are opened: lines that are asked for all at once are not all fetched.
        if let Some(&(id, len)) = ahead.get(position + LOOK_AHEAD) {
            streams.prefetch_open_key(id, usize::from(len));
        } else if let Some(&(id, len)) = ahead.get(position + LOOK_AHEAD - ahead.len().max(LOOK_AHEAD)) {
            streams.prefetch_seal_key(id, usize::from(len));
        }
        let sender = frame.sender();
        let id = sender.stream;
        streams.work_on(id);
        faults::at(Point::Open);
        if !streams.accepts_source(id, sender.source, sender.is_rtcp) {
            port.counters.count_dropped(DropReason::SourceNotPinned, 1);
            continue;
        }
        if streams.is_quarantined(id) {
            port.counters.count_dropped(DropReason::StreamQuarantined, 1);
            continue;
        }
        streams.prefetch_send(id);
        if streams.open_protection(id) == Protection::Single || sender.is_rtcp {
            let outcome = frame.open_into(streams, opened);
            note(port, streams, &sender, outcome, sink);
            continue;
        }
        batch.add(port, streams, frame, opened, sink);
    }
    batch.flush(port, streams, opened, sink);
}

/// Packets that wait to be opened together.
struct Batch<B> {
    frames: Burst<(Frame<B, Matched>, OpeningRtp)>,
}

impl<B: Buffer> Batch<B> {
    /// Takes in a packet that passes the checks before its tag. If what these checks say depends on whether a packet
    /// of the same stream that still waits is authentic, that one is opened first.
    #[inline]
    fn add<P: Provider>(
        &mut self,
        port: &PipelinePort,
        streams: &mut Streams<P>,
        frame: Frame<B, Matched>,
        opened: &mut Burst<Frame<B, Opened>>,
        sink: &mut impl Sink<B>,
    ) {
        let id = frame.stream();
        let latest =
            self.frames.iter().filter(|(_, waiting)| waiting.stream == id).map(|(_, waiting)| waiting.index);
        let latest = latest.max();
        let mut opening = frame.begin(streams);
        if let Some(latest) = latest
            && !opening.is_ok_and(|opening| streams.is_independent(&opening, latest))
        {
            self.flush(port, streams, opened, sink);
            streams.work_on(id);
            opening = frame.begin(streams);
        }
        match opening {
            Ok(opening) => self.frames.push((frame, opening)),
            Err(reason) => port.counters.count_dropped(reason, 1),
        }
    }

    #[inline]
    fn flush<P: Provider>(
        &mut self,
        port: &PipelinePort,
        streams: &mut Streams<P>,
        opened: &mut Burst<Frame<B, Opened>>,
        sink: &mut impl Sink<B>,
    ) {
        if self.frames.is_empty() {
            return;
        }
        Frame::open_batch_into(&mut self.frames, streams, opened, |streams, sender, outcome| {
            note(port, streams, &sender, outcome, sink);
        });
    }
}

/// What opening a packet said: counts a refused one, and reports the source of the newest authentic one if the stream does
/// not know it. What control makes of that comes back as a command; until then the stream keeps its old remote.
#[inline(always)]
fn note<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &Streams<P>,
    sender: &Authenticated,
    outcome: Result<bool, DropReason>,
    sink: &mut impl Sink<B>,
) {
    match outcome {
        Ok(newest) => {
            if newest && streams.has_moved(sender.stream, sender.source, sender.is_rtcp) {
                sink.learned(sender, streams.generation(sender.stream).unwrap_or(0));
            }
        }
        Err(reason) => port.counters.count_dropped(reason, 1),
    }
}
