//! What a worker does before the first packet: relays frames of its own making, so that the first real one finds code,
//! page tables, branch predictors and the provider's tables warm.
//!
//! The frames go through the very stages, the very sink and the transmit functions of the worker ([`Worker::run`](super::Worker::run)), but
//! for streams of their own in a table that is thrown away: no counter, journal or replay window of a real stream sees
//! them, and the transmitters are [muted](super::Transmitter::mute), so that no port does. One stream for each pair of suites in use.

use std::net::SocketAddr;
use std::sync::Arc;

use super::pipeline::{Pipeline, PipelinePort};
use super::{BURST, Buffer, Burst};
use crate::dpdk::{self, Mbuf, Memory, Mempool};
use crate::rate_limit::TokenBucket;
use crate::session::{
    Egress, EgressPort, Endpoint, Learn, LookupBuilder, Media, NextHop, NextHops, PayloadRules, StreamKeys,
    StreamSetup, Streams, Target,
};
use crate::srtp::{MasterKey, PacketIndex, Provider, ReplayWindowSize, RtpOutbound, Suite};
use crate::telemetry::QueueCounters;
use crate::wire::MacAddress;

/// Bursts that are relayed: some milliseconds of work.
const BURSTS: usize = 128;
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
/// From the block for documentation (RFC 5737): they never leave the process.
const LOCAL: [u8; 4] = [192, 0, 2, 1];
const REMOTE: [u8; 4] = [192, 0, 2, 2];
const FIRST_PORT: u16 = 20_000;
const SSRC: u32 = 0x776f_726d;
const PAYLOAD: [u8; 160] = [0xff; 160];

/// Suites of the sending and the receiving leg; `None` is a plain one.
pub type SuitePair = (Option<Suite>, Option<Suite>);

/// Throw-away streams and the frames for them.
pub struct WarmUp<P: Provider> {
    pub(super) pipeline: Pipeline<P>,
    pub(super) port: PipelinePort,
    speakers: Vec<Speaker<P>>,
    pool: Mempool,
}

/// The other end of one stream.
struct Speaker<P: Provider> {
    rtp: Option<RtpOutbound<P>>,
    local: u16,
    next: u16,
}

impl<P: Provider> WarmUp<P> {
    /// A warm-up for streams of these suites with buffers of `pool`.
    ///
    /// # Errors
    /// [`dpdk::Error::Memory`].
    pub fn new(pairs: &[SuitePair], pool: Mempool) -> Result<Self, dpdk::Error> {
        let mut builder = LookupBuilder::default();
        builder.address(LOCAL.into(), 0);
        let mut streams = Streams::<P>::with_capacity(Memory::Heap, pairs.len())?;
        let mut speakers = Vec::new();
        for (&(open, seal), local) in pairs.iter().zip((FIRST_PORT..).step_by(2)) {
            let (open, seal) = (open.and_then(key), seal.and_then(key));
            let keys = StreamKeys {
                open: open.as_ref(),
                seal: seal.as_ref(),
                replay_window: ReplayWindowSize::default(),
            };
            let rules = PayloadRules { payload_types: 1 << 96, reduced_size_rtcp: true };
            let mut setup = StreamSetup::new(keys, rules, Learn::Never);
            setup.source = Some(Endpoint::v4(REMOTE.into(), local));
            setup.rtp_egress = Some(egress(local));
            let Some(stream) = streams.push(setup) else { break };
            let target = Target { worker: 0, stream, media: Media::Muxed };
            builder.bind(Endpoint::v4(LOCAL.into(), local), target);
            speakers.push(Speaker { rtp: open.as_ref().map(RtpOutbound::new), local, next: 0 });
        }
        let next_hops = NextHops::new(1);
        next_hops.resolve(NextHop(0), PEER_MAC.0);
        let lookup = builder.build().map_err(|_| dpdk::Error::Memory { what: "the warm-up", mib: 0 })?;
        let port = PipelinePort {
            index: 0,
            mac: MAC,
            vlan: None,
            counters: Arc::new(QueueCounters::new()),
            punt_limit: TokenBucket::new(1, 1),
        };
        let pipeline =
            Pipeline { worker: 0, lookup: Arc::new(lookup), streams, next_hops: vec![Arc::new(next_hops)] };
        Ok(WarmUp { pipeline, port, speakers, pool })
    }

    /// How many bursts are to be relayed.
    pub(super) fn bursts(&self) -> usize {
        if self.speakers.is_empty() { 0 } else { BURSTS }
    }

    /// The next packets of every speaker, in turn; fewer when there are no buffers.
    pub(super) fn burst(&mut self, len: usize) -> Burst<Mbuf> {
        let mut burst = Burst::new();
        while burst.len() < len.min(BURST) && !self.speakers.is_empty() {
            for speaker in &mut self.speakers {
                let Some(frame) = speaker.frame(&self.pool).filter(|_| !burst.is_full()) else {
                    return burst;
                };
                burst.push(frame);
            }
        }
        burst
    }
}

impl<P: Provider> Speaker<P> {
    fn frame(&mut self, pool: &Mempool) -> Option<Mbuf> {
        let seq = self.next;
        self.next = seq.checked_add(1)?;
        let mut packet = vec![0x80, 96];
        packet.extend(seq.to_be_bytes());
        packet.extend(u32::from(seq).to_be_bytes());
        // Streams in neighbouring rows are those of one session, whose ends have different ones.
        let ssrc = SSRC + u32::from(self.local);
        packet.extend(ssrc.to_be_bytes());
        let header = packet.len();
        packet.extend(PAYLOAD);
        if let Some(rtp) = &mut self.rtp {
            packet.resize(packet.len() + rtp.trailer(), 0);
            rtp.seal(&mut packet, header, ssrc, PacketIndex::new(0, seq)).ok()?;
        }
        let headers = towards_us(self.local);
        let mut frame = pool.alloc()?;
        if !Buffer::resize(&mut frame, headers.headers_len() + packet.len()) {
            return None;
        }
        frame.data_mut().get_mut(headers.headers_len()..)?.copy_from_slice(&packet);
        headers.write_headers(frame.data_mut(), MAC.0);
        Some(frame)
    }
}

/// A key that protects nothing.
fn key(suite: Suite) -> Option<MasterKey> {
    MasterKey::from_parts(suite, &vec![1; suite.key_len()], &vec![2; suite.salt_len()]).ok()
}

fn port(mac: MacAddress) -> EgressPort {
    EgressPort {
        index: 0,
        mac,
        vlan: None,
        mtu: 1500,
        udp_checksum: true,
        offload_ip: false,
        offload_udp: false,
    }
}

fn egress(local: u16) -> Egress {
    let (from, to) = (SocketAddr::from((LOCAL, local)), SocketAddr::from((REMOTE, local)));
    Egress::new(port(MAC), from, to, NextHop(0))
}

fn towards_us(local: u16) -> Egress {
    let (from, to) = (SocketAddr::from((REMOTE, local)), SocketAddr::from((LOCAL, local)));
    Egress::new(port(PEER_MAC), from, to, NextHop(0))
}
