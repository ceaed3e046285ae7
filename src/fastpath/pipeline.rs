//! The stages in their order, without a port: a burst in, every frame out through a [`Sink`].
//!
//! The worker runs it over mbufs, tests run it over heap buffers.

use std::sync::Arc;

use super::frame::{Authenticated, Matched, Received, Sealed};
use super::{Buffer, Burst, Frame};
use super::{classify, find_stream, inspect, open, reencapsulate, seal};
use crate::rate_limit::TokenBucket;
use crate::session::{Lookup, NextHops, Stream, StreamId};
use crate::srtp::Provider;
use crate::telemetry::QueueCounters;
use crate::wire::MacAddress;

/// Where frames go that leave the stages. Every method is called on the packet path.
pub trait Sink<B> {
    /// A frame for the host side that arrived on `port`. `false`: no room, and the buffer is gone.
    fn punt(&mut self, port: u8, buffer: B) -> bool;
    /// A frame of a stream that `worker` owns, which arrived on `port`. `false`: no room, the buffer is gone.
    fn hand_over(&mut self, worker: u16, port: u8, frame: Frame<B, Matched>) -> bool;
    /// A frame that is fit to leave.
    fn transmit(&mut self, frame: Frame<B, Sealed>);
    /// An authenticated packet came from another source than the stream's remote.
    fn learned(&mut self, stream: StreamId, authenticated: &Authenticated);
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
    pub streams: Vec<Stream<P>>,
    /// Next hops by device port.
    pub next_hops: Vec<Arc<NextHops>>,
}

impl<P: Provider> Pipeline<P> {
    /// Takes a burst that `port` delivered at `rx_cycles` through all stages. Every frame ends in exactly one
    /// of: `sink`, a drop counter of `port`.
    #[inline]
    pub fn process<B: Buffer>(
        &mut self,
        port: &mut PipelinePort,
        burst: Burst<B>,
        rx_cycles: u64,
        sink: &mut impl Sink<B>,
    ) {
        let mut received: Burst<Frame<B, Received>> = Burst::new();
        let mut bytes = 0;
        for buffer in burst {
            let frame = Frame::received(buffer, rx_cycles);
            frame.prefetch();
            received.push(frame);
        }
        for frame in &received {
            bytes += frame.len() as u64;
        }
        port.counters.rx_packets.add(received.len() as u64);
        port.counters.rx_bytes.add(bytes);
        let parsed = classify::run(port, &self.lookup, received, rx_cycles, sink);
        let matched = find_stream::run(port, &self.lookup, &self.streams, self.worker, parsed, sink);
        self.process_matched(port, matched, sink);
    }

    /// The stages from `open` on: for frames that another worker received and handed over.
    #[inline]
    pub fn process_matched<B: Buffer>(
        &mut self,
        port: &PipelinePort,
        matched: Burst<Frame<B, Matched>>,
        sink: &mut impl Sink<B>,
    ) {
        let opened = open::run(port, &mut self.streams, matched, sink);
        let checked = inspect::run(port, &self.streams, opened);
        let encapsulated = reencapsulate::run(port, &self.streams, &self.next_hops, checked);
        seal::run(port, &mut self.streams, encapsulated, sink);
    }
}
