//! The stages in their order, without a port: a burst in, every frame out through a [`Sink`].
//!
//! The worker runs it over mbufs, tests run it over heap buffers.

use std::sync::Arc;

use super::frame::{Authenticated, Matched, Received, Sealed};
use super::{Buffer, Burst, Frame};
use super::{classify, find_stream, inspect, open, reencapsulate, seal};
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
    /// Bounds what the host side gets.
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

/// So many a second, with bursts of a tenth of a second's worth.
#[derive(Debug)]
pub struct TokenBucket {
    cycles_per_token: u64,
    burst_cycles: u64,
    /// Time at which the bucket is full, in cycles.
    full_at: u64,
}

impl TokenBucket {
    /// `per_second` tokens on a clock of `hz`; zero lets nothing pass.
    pub fn new(per_second: u32, hz: u64) -> Self {
        let cycles_per_token = hz.checked_div(u64::from(per_second)).unwrap_or(u64::MAX).max(1);
        TokenBucket { cycles_per_token, burst_cycles: (hz / 10).max(cycles_per_token), full_at: 0 }
    }

    /// Takes a token at time `now`; `false` when there is none.
    #[inline]
    pub fn take(&mut self, now: u64) -> bool {
        if self.cycles_per_token == u64::MAX {
            return false;
        }
        let next = self.full_at.max(now) + self.cycles_per_token;
        if next - now > self.burst_cycles {
            return false;
        }
        self.full_at = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::TokenBucket;

    #[test]
    fn bucket_lets_the_rate_pass_and_no_more() {
        let mut bucket = TokenBucket::new(100, 1_000_000);
        let passed = (0..10_000_000_u64).step_by(100).filter(|&now| bucket.take(now)).count();
        assert!((1000..=1010).contains(&passed), "ten seconds at 100 a second and one burst: {passed}");
        assert!(!TokenBucket::new(0, 1_000_000).take(5));
    }
}
