//! The stages in their order, without a port: a burst in, every frame out through a [`Sink`].
//!
//! The worker runs it over mbufs, tests run it over heap buffers.

use std::sync::Arc;

use super::faults::{self, Point};
use super::frame::{Authenticated, Matched, Received, Sealed};
use super::{Buffer, Burst, DropReason, Frame, LOOK_AHEAD};
use super::{classify, find_stream, inspect, open, reencapsulate, seal};
use crate::rate_limit::TokenBucket;
use crate::session::{Lookup, NextHops, Streams};
use crate::srtp::Provider;
use crate::tap::TapTag;
use crate::telemetry::{QueueCounters, Stage};
use crate::wire::MacAddress;

/// Where frames go that leave the stages. Every method is called on the packet path.
pub trait Sink<B> {
    /// A frame for the host side that arrived on `port`. `false`: no room, and the buffer is gone.
    fn punt(&mut self, port: u8, buffer: B) -> bool;
    /// A frame of a stream that `worker` owns, which arrived on `port`. `false`: no room, the buffer is gone.
    fn hand_over(&mut self, worker: u16, port: u8, frame: Frame<B, Matched>) -> bool;
    /// A frame that is fit to leave.
    fn transmit(&mut self, frame: Frame<B, Sealed>);
    /// An authenticated packet came from another source than the stream's remote. `generation` tells which of the
    /// sessions that had the stream's place it belongs to.
    fn learned(&mut self, sender: &Authenticated, generation: u32);
    /// An opened and checked packet of a stream that is tapped, which arrived at `rx_cycles`.
    #[inline(always)]
    fn tap(&mut self, tag: TapTag, is_rtcp: bool, rx_cycles: u64, packet: &[u8]) {
        let _ = (tag, is_rtcp, rx_cycles, packet);
    }
    /// The pipeline goes on to `stage` with `frames` frames. Once per burst and stage, for those who keep time.
    #[inline(always)]
    fn enter(&mut self, stage: Stage, frames: usize) {
        let _ = (stage, frames);
    }
}

/// What the stages need to know of a port that frames arrive on.
#[derive(Debug)]
pub struct PipelinePort {
    /// Index of the port.
    pub index: u8,
    /// Its MAC address.
    pub mac: MacAddress,
    /// Its VLAN, if it is tagged.
    pub vlan: Option<u16>,
    /// Counts of this worker's queue of the port.
    pub counters: Arc<QueueCounters>,
    /// Bounds what the host side gets, in cycles of the time-stamp counter.
    pub punt_limit: TokenBucket,
}

/// The stages over the streams that are homed on one worker.
#[derive(Debug)]
pub struct Pipeline<P: Provider> {
    /// Number of the worker.
    pub worker: u16,
    /// From local address and port to stream, for all workers.
    pub lookup: Arc<Lookup>,
    /// The worker's own streams.
    pub streams: Streams<P>,
    /// Next hops by device port.
    pub next_hops: Vec<Arc<NextHops>>,
}

impl<P: Provider> Pipeline<P> {
    /// Takes a burst that `port` delivered at `rx_cycles`, when `classify` began, through all stages. Every frame
    /// ends in exactly one of: `sink`, a drop counter of `port`.
    #[inline]
    pub fn process<B: Buffer>(
        &mut self,
        port: &mut PipelinePort,
        burst: &mut Burst<B>,
        rx_cycles: u64,
        sink: &mut impl Sink<B>,
    ) {
        // Each stage drains its input into its output: a burst is some kilobytes, and is never moved.
        let mut received: Burst<Frame<B, Received>> = Burst::new();
        self.streams.work_on_nothing();
        let mut bytes = 0;
        // In reverse, so that `classify` takes them from the end in the order of arrival and sees those to come.
        for buffer in burst.drain(..).rev() {
            let frame = Frame::received(buffer, rx_cycles);
            bytes += frame.len() as u64;
            received.push(frame);
        }
        port.counters.rx_packets.add(received.len() as u64);
        port.counters.rx_bytes.add(bytes);
        let mut parsed = Burst::new();
        classify::run(port, &self.lookup, &self.streams, &mut received, rx_cycles, &mut parsed, sink);
        sink.enter(Stage::FindStream, parsed.len());
        let mut matched = Burst::new();
        let (lookup, streams) = (&self.lookup, &mut self.streams);
        find_stream::run(port, lookup, streams, self.worker, &mut parsed, &mut matched, sink);
        self.process_matched(port, &mut matched, sink);
    }

    /// Frames that another worker received on `port` and handed over, because this one owns their streams. Who
    /// owns a stream is looked at once more: its state must never be touched by two workers.
    #[inline]
    pub fn process_handed_over<B: Buffer>(
        &mut self,
        port: &PipelinePort,
        handed: &mut Burst<Frame<B, Matched>>,
        sink: &mut impl Sink<B>,
    ) {
        port.counters.handed_over_in.add(handed.len() as u64);
        self.streams.work_on_nothing();
        let (taken, worker) = (handed.len(), self.worker);
        handed.retain(|frame| frame.home() == worker);
        if handed.len() != taken {
            port.counters.count_dropped(DropReason::HandoverMisrouted, (taken - handed.len()) as u64);
        }
        for frame in handed.iter() {
            self.streams.work_on(frame.stream());
            faults::at(Point::Handover);
            frame.prefetch();
            // The packet's own lines are not here yet, so the sequence number is not looked at: a wrong line of two.
            self.streams.prefetch_receive(frame.stream(), 0);
        }
        self.streams.work_on_nothing();
        for frame in handed.iter().take(LOOK_AHEAD) {
            self.streams.prefetch_open_key(frame.stream(), frame.payload_estimate());
        }
        self.process_matched(port, handed, sink);
    }

    /// The stages from `open` on.
    #[inline]
    pub fn process_matched<B: Buffer>(
        &mut self,
        port: &PipelinePort,
        matched: &mut Burst<Frame<B, Matched>>,
        sink: &mut impl Sink<B>,
    ) {
        sink.enter(Stage::Open, matched.len());
        let mut opened = Burst::new();
        open::run(port, &mut self.streams, matched, &mut opened, sink);
        sink.enter(Stage::Inspect, opened.len());
        let mut checked = Burst::new();
        inspect::run(port, &mut self.streams, &mut opened, &mut checked, sink);
        sink.enter(Stage::Reencapsulate, checked.len());
        let mut encapsulated = Burst::new();
        reencapsulate::run(port, &mut self.streams, &self.next_hops, &mut checked, &mut encapsulated);
        sink.enter(Stage::Seal, encapsulated.len());
        seal::run(port, &mut self.streams, &mut encapsulated, sink);
        self.streams.work_on_nothing();
    }
}
