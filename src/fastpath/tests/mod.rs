//! The stages over heap buffers: every outcome, every length, and each invariant that can be seen without a port.

mod faults;
mod handover;
mod malformed;
mod refusals;
mod relay;
mod replaced;
mod residue;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::frame::{Authenticated, Matched, Sealed};
use super::*;
use crate::dpdk::{Checksum, Memory};
use crate::rate_limit::TokenBucket;
use crate::session::{
    Egress, EgressPort, Endpoint, KeyChange, KeySet, Learn, Lookup, LookupBuilder, Media, NextHop, NextHops,
    PayloadRules, SealChange, StreamId, StreamKeys, StreamSetup, Streams, Target,
};
use crate::srtp::{
    AesGcmProvider, IpsecMbProvider, MasterKey, PacketIndex, Provider, ReplayWindowSize, RtcpInbound,
    RtcpOutbound, RtpInbound, RtpOutbound, Suite,
};
use crate::telemetry::{Balance, QueueCounters};
use crate::wire::checksum::PseudoHeader;
use crate::wire::{MacAddress, Protocol, ethernet, ipv4, ipv6, udp};

/// A scene with the portable cryptography.
type Scene = SceneOf<AesGcmProvider>;

const GATEWAY_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const A_LOCAL: &str = "10.1.0.1:20000";
const A_REMOTE: &str = "10.1.0.2:30000";
const B_LOCAL: &str = "10.2.0.1:20002";
const B_REMOTE: &str = "10.2.0.2:30002";
const SSRC: u32 = 0x1234_5678;

/// What came out of the pipeline.
#[derive(Default)]
struct Out {
    sent: Vec<(u8, Vec<u8>)>,
    punted: Vec<Vec<u8>>,
    handed_over: Vec<(u16, Frame<HeapBuffer, Matched>)>,
    learned: Vec<Authenticated>,
    /// Rings that are full.
    full: bool,
}

impl Sink<HeapBuffer> for Out {
    fn punt(&mut self, _port: u8, buffer: HeapBuffer) -> bool {
        self.punted.push(buffer.data().to_vec());
        !self.full
    }

    fn hand_over(&mut self, worker: u16, _port: u8, frame: Frame<HeapBuffer, Matched>) -> bool {
        self.handed_over.push((worker, frame));
        !self.full
    }

    fn transmit(&mut self, frame: Frame<HeapBuffer, Sealed>) {
        let port = frame.port();
        self.sent.push((port, frame.into_wire().0.data().to_vec()));
    }

    fn learned(&mut self, sender: &Authenticated, _generation: u32) {
        self.learned.push(*sender);
    }
}

/// One session between two ports, with the other ends' crypto.
struct SceneOf<P: Provider> {
    pipeline: Pipeline<P>,
    ports: [PipelinePort; 2],
    a_seals: RtpOutbound<P>,
    b_opens: RtpInbound<P>,
    a_seals_rtcp: RtcpOutbound<P>,
    b_opens_rtcp: RtcpInbound<P>,
    out: Out,
}

/// How a scene differs from the usual one.
struct Setup {
    a_local: &'static str,
    a_remote: &'static str,
    b_local: &'static str,
    b_remote: &'static str,
    vlan: Option<u16>,
    learn: Learn,
    media: Media,
    mtu: u16,
    home: u16,
    resolved: bool,
    plain_a: bool,
    suite_a: Suite,
    suite_b: Suite,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            a_local: A_LOCAL,
            a_remote: A_REMOTE,
            b_local: B_LOCAL,
            b_remote: B_REMOTE,
            vlan: None,
            learn: Learn::Never,
            media: Media::Muxed,
            mtu: 1500,
            home: 0,
            resolved: true,
            plain_a: false,
            suite_a: Suite::AeadAes128Gcm,
            suite_b: Suite::AeadAes128Gcm,
        }
    }
}

fn key(suite: Suite, fill: u8) -> MasterKey {
    let (key, salt) = (vec![fill; suite.key_len()], vec![fill ^ 0xff; suite.salt_len()]);
    MasterKey::from_parts(suite, &key, &salt).expect("right lengths")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

impl<P: Provider> SceneOf<P> {
    fn new() -> Self {
        Self::with(&Setup::default())
    }

    fn with(setup: &Setup) -> Self {
        let mut builder = LookupBuilder::default();
        for (port, local) in [(0, setup.a_local), (1, setup.b_local)] {
            builder.address(address(local).ip(), port);
        }
        for (stream, local) in [(0, setup.a_local), (1, setup.b_local)] {
            let target = Target { worker: setup.home, stream: StreamId(stream), media: setup.media };
            builder.bind(Endpoint::from(address(local)), target);
        }
        let lookup: Arc<Lookup> = Arc::new(builder.build().expect("no duplicates"));
        let egress_port = |index| EgressPort {
            index,
            mac: GATEWAY_MAC,
            vlan: setup.vlan,
            mtu: setup.mtu,
            udp_checksum: true,
            offload_ip: false,
            offload_udp: false,
        };
        let rules = PayloadRules { payload_types: 1 << 96, reduced_size_rtcp: false };
        let next_hops: Vec<_> = (0..2).map(|_| Arc::new(NextHops::new(1))).collect();
        if setup.resolved {
            next_hops.iter().for_each(|table| table.resolve(NextHop(0), PEER_MAC.0));
        }
        let window = ReplayWindowSize::default();
        let (a_key, b_key) = (key(setup.suite_a, 1), key(setup.suite_b, 2));
        let mut streams = Streams::<P>::with_capacity(Memory::Heap, 2).expect("a few lines");
        let mut stream = |open: &MasterKey, seal: &MasterKey, source: &str, egress: Egress, plain: bool| {
            let keys = StreamKeys { open: (!plain).then_some(open), seal: Some(seal), replay_window: window };
            let mut stream = StreamSetup::new(keys, rules, setup.learn);
            if setup.learn == Learn::Never {
                stream.source = Some(Endpoint::from(address(source)));
                stream.rtcp_source = stream.source;
            }
            stream.rtp_egress = Some(egress.clone());
            stream.rtcp_egress = Some(egress);
            streams.push(stream).expect("room for two");
        };
        let to_b = Egress::new(egress_port(1), address(setup.b_local), address(setup.b_remote), NextHop(0));
        let to_a = Egress::new(egress_port(0), address(setup.a_local), address(setup.a_remote), NextHop(0));
        stream(&a_key, &b_key, setup.a_remote, to_b, setup.plain_a);
        stream(&key(setup.suite_b, 3), &key(setup.suite_a, 4), setup.b_remote, to_a, false);
        let port = |index| PipelinePort {
            index,
            mac: GATEWAY_MAC,
            vlan: setup.vlan,
            counters: Arc::new(QueueCounters::new()),
            punt_limit: TokenBucket::new(1_000_000, 1_000_000_000),
        };
        SceneOf {
            pipeline: Pipeline { worker: 0, lookup, streams, next_hops },
            ports: [port(0), port(1)],
            a_seals: RtpOutbound::new(&a_key),
            b_opens: RtpInbound::new(&b_key, window),
            a_seals_rtcp: RtcpOutbound::new(&a_key),
            b_opens_rtcp: RtcpInbound::new(&b_key, window),
            out: Out::default(),
        }
    }

    /// Puts one frame in at port `a` and returns the reasons that were counted.
    fn receive(&mut self, frame: HeapBuffer) -> Vec<DropReason> {
        let before: Vec<u64> = self.drops();
        let mut burst = Burst::new();
        burst.push(frame);
        self.pipeline.process(&mut self.ports[0], &mut burst, 1_000_000_000, &mut self.out);
        let after = self.drops();
        DropReason::ALL
            .iter()
            .copied()
            .filter(|reason| after[reason.index()] > before[reason.index()])
            .collect()
    }

    fn drops(&self) -> Vec<u64> {
        DropReason::ALL.iter().map(|&reason| self.ports[0].counters.dropped_for(reason)).collect()
    }

    /// The balance of port `a`, with the sink in the place of the transmitter.
    fn balance(&self) -> Balance {
        Balance { tx: self.out.sent.len() as u64, ..Balance::of(&self.ports[0].counters) }
    }

    fn srtp(&mut self, seq: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = rtp(seq, payload);
        packet.resize(packet.len() + self.a_seals.trailer(), 0);
        self.a_seals.seal(&mut packet, 12, SSRC, PacketIndex::new(0, seq)).expect("a fresh index");
        packet
    }

    fn srtcp(&mut self, index: u32) -> Vec<u8> {
        let mut packet = receiver_report();
        packet.resize(packet.len() + self.a_seals_rtcp.trailer(), 0);
        self.a_seals_rtcp.seal(&mut packet, index).expect("a fresh index");
        packet
    }
}

fn rtp(seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(seq.to_be_bytes());
    packet.extend(0x0102_0304_u32.to_be_bytes());
    packet.extend(SSRC.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An empty receiver report.
fn receiver_report() -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(SSRC.to_be_bytes());
    packet
}

/// A datagram in all its headers.
fn frame(source: &str, destination: &str, vlan: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let port = EgressPort {
        index: 0,
        mac: PEER_MAC,
        vlan,
        mtu: 9000,
        udp_checksum: true,
        offload_ip: false,
        offload_udp: false,
    };
    let egress = Egress::new(port, address(source), address(destination), NextHop(0));
    let mut frame = vec![0; egress.headers_len()];
    frame.extend(payload);
    egress.write_headers(&mut frame, GATEWAY_MAC.0);
    frame
}

fn media(payload: &[u8]) -> HeapBuffer {
    HeapBuffer::new(&frame(A_REMOTE, A_LOCAL, None, payload), 0xa5)
}

/// The UDP payload of a sent IPv4 frame, all headers and checksums verified.
fn udp_payload(sent: &[u8]) -> Vec<u8> {
    let ethernet = ethernet::Frame::new_checked(sent).expect("an Ethernet frame");
    assert_eq!(ethernet.destination(), PEER_MAC);
    assert_eq!(ethernet.source(), GATEWAY_MAC);
    let ip = ipv4::Packet::new_checked(ethernet.into_payload()).expect("an IPv4 packet");
    assert!(ip.verify_checksum());
    assert_eq!((ip.source(), ip.destination()), ([10, 2, 0, 1].into(), [10, 2, 0, 2].into()));
    let pseudo = PseudoHeader::v4(ip.source(), ip.destination(), Protocol::UDP);
    let udp = udp::Packet::new_checked(ip.into_payload()).expect("a UDP datagram");
    assert_eq!(udp.verify_checksum(pseudo), udp::ChecksumState::Valid);
    assert_eq!((udp.source_port(), udp.destination_port()), (20002, 30002));
    udp.payload().to_vec()
}
