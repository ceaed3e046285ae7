//! The stages over heap buffers: every outcome, every length, and each invariant that can be seen without a port.

mod malformed;
mod refusals;
mod relay;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::frame::{Authenticated, Matched, Sealed};
use super::*;
use crate::dpdk::Checksum;
use crate::rate_limit::TokenBucket;
use crate::session::{
    Egress, EgressPort, Endpoint, Learn, Lookup, LookupBuilder, Media, NextHop, NextHops, PayloadRules,
    Stream, StreamId, StreamKeys, Target,
};
use crate::srtp::{
    AesGcmProvider, MasterKey, PacketIndex, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound,
    RtpOutbound, Suite,
};
use crate::telemetry::{Balance, QueueCounters};
use crate::wire::checksum::PseudoHeader;
use crate::wire::{MacAddress, Protocol, ethernet, ipv4, ipv6, udp};

type Crypto = AesGcmProvider;

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
    learned: Vec<(StreamId, Authenticated)>,
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

    fn learned(&mut self, stream: StreamId, authenticated: &Authenticated) {
        self.learned.push((stream, *authenticated));
    }
}

/// One session between two ports, with the other ends' crypto.
struct Scene {
    pipeline: Pipeline<Crypto>,
    ports: [PipelinePort; 2],
    a_seals: RtpOutbound<Crypto>,
    b_opens: RtpInbound<Crypto>,
    a_seals_rtcp: RtcpOutbound<Crypto>,
    b_opens_rtcp: RtcpInbound<Crypto>,
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
        }
    }
}

fn key(fill: u8) -> MasterKey {
    MasterKey::from_parts(Suite::AeadAes128Gcm, &[fill; 16], &[fill ^ 0xff; 12]).expect("right lengths")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("a literal")
}

impl Scene {
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
        let (a_key, b_key) = (key(1), key(2));
        let stream = |open: &MasterKey, seal: &MasterKey, source: &str, egress: Egress, plain: bool| {
            let keys = StreamKeys { open: (!plain).then_some(open), seal: Some(seal), replay_window: window };
            let mut stream = Stream::<Crypto>::new(keys, rules, setup.learn);
            if setup.learn == Learn::Never {
                stream.source = Some(Endpoint::from(address(source)));
                stream.rtcp_source = stream.source;
            }
            stream.rtp_egress = Some(egress.clone());
            stream.rtcp_egress = Some(egress);
            stream
        };
        let to_b = Egress::new(egress_port(1), address(setup.b_local), address(setup.b_remote), NextHop(0));
        let to_a = Egress::new(egress_port(0), address(setup.a_local), address(setup.a_remote), NextHop(0));
        let streams = vec![
            stream(&a_key, &b_key, setup.a_remote, to_b, setup.plain_a),
            stream(&key(3), &key(4), setup.b_remote, to_a, false),
        ];
        let port = |index| PipelinePort {
            index,
            mac: GATEWAY_MAC,
            vlan: setup.vlan,
            counters: Arc::new(QueueCounters::new()),
            punt_limit: TokenBucket::new(1_000_000, 1_000_000_000),
        };
        Scene {
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
        self.pipeline.process(&mut self.ports[0], burst, 1_000_000_000, &mut self.out);
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
        packet.extend([0; 16]);
        self.a_seals.seal(&mut packet, 12, SSRC, PacketIndex::new(0, seq)).expect("a fresh index");
        packet
    }

    fn srtcp(&mut self, index: u32) -> Vec<u8> {
        let mut packet = receiver_report();
        packet.extend([0; 20]);
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
