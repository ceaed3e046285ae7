//! The stages over heap buffers: every outcome, every length, and each invariant that can be seen without a port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::frame::{Authenticated, Matched, Sealed};
use super::*;
use crate::dpdk::Checksum;
use crate::session::{
    Egress, EgressPort, Endpoint, Learn, Lookup, LookupBuilder, Media, NextHop, NextHops, PayloadRules, Stream,
    StreamId, StreamKeys, Target,
};
use crate::srtp::{
    AesGcmProvider, MasterKey, PacketIndex, ReplayWindowSize, RtcpInbound, RtcpOutbound, RtpInbound, RtpOutbound,
    Suite,
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
        DropReason::ALL.iter().copied().filter(|reason| after[reason.index()] > before[reason.index()]).collect()
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

#[test]
fn relays_rtp_to_the_other_leg_under_its_key() {
    let mut scene = Scene::new();
    for seq in 5..100 {
        let voice = vec![seq as u8; 20 + usize::from(seq)];
        let packet = scene.srtp(seq, &voice);
        assert_eq!(scene.receive(media(&packet)), []);
        let (port, sent) = scene.out.sent.pop().expect("forwarded");
        assert_eq!(port, 1);
        let mut packet = udp_payload(&sent);
        let opened = scene.b_opens.open(&mut packet, 12, SSRC, seq).expect("sealed with the other leg's key");
        assert_eq!(packet[..opened.len], rtp(seq, &voice)[..]);
    }
}

#[test]
fn relays_rtcp_to_the_other_leg_under_its_key() {
    let mut scene = Scene::new();
    let packet = scene.srtcp(7);
    assert_eq!(scene.receive(media(&packet)), []);
    let mut packet = udp_payload(&scene.out.sent[0].1);
    let opened = scene.b_opens_rtcp.open(&mut packet).expect("sealed with the other leg's key");
    assert_eq!(packet[..opened.len], receiver_report()[..]);
}

#[test]
fn crosses_from_ipv4_to_ipv6() {
    let setup = Setup { b_local: "[fd00:2::1]:20002", b_remote: "[fd00:2::2]:30002", ..Setup::default() };
    let mut scene = Scene::with(&setup);
    let packet = scene.srtp(1, &[7; 160]);
    assert_eq!(scene.receive(media(&packet)), []);
    let sent = &scene.out.sent[0].1;
    let ip = ipv6::Packet::new_checked(&sent[14..]).expect("an IPv6 packet");
    let pseudo = PseudoHeader::v6(ip.source(), ip.destination(), Protocol::UDP);
    let udp = udp::Packet::new_checked(ip.payload()).expect("a UDP datagram");
    assert_eq!(udp.verify_checksum(pseudo), udp::ChecksumState::Valid);
    assert_eq!(udp.payload().len(), packet.len());
}

#[test]
fn a_sent_frame_holds_nothing_of_an_earlier_packet() {
    // The same packet through buffers with different residue comes out the same.
    for length in [1, 20, 160, 700, 1400] {
        let mut frames = Vec::new();
        for residue in [0x00, 0xff, 0x5a] {
            let mut scene = Scene::with(&Setup { vlan: Some(7), ..Setup::default() });
            let packet = scene.srtp(1, &vec![1; length]);
            let buffer = HeapBuffer::new(&frame(A_REMOTE, A_LOCAL, Some(7), &packet), residue);
            assert_eq!(scene.receive(buffer), []);
            frames.push(scene.out.sent.pop().expect("forwarded").1);
        }
        assert_eq!(frames[0], frames[1], "{length}");
        assert_eq!(frames[0], frames[2], "{length}");
    }
}

/// Sends `frame` into a fresh scene and expects one reason.
#[track_caller]
fn refused(frame: &[u8], reason: DropReason) {
    let mut scene = Scene::new();
    assert_eq!(scene.receive(HeapBuffer::new(frame, 0)), [reason]);
    assert!(scene.out.sent.is_empty() && scene.out.punted.is_empty());
    assert!(scene.balance().is_exact());
}

/// A valid frame with bytes replaced; IPv4 header checksum mended if `mend`.
fn altered(mend: bool, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let packet = Scene::new().srtp(1, &[1; 60]);
    let mut bytes = frame(A_REMOTE, A_LOCAL, None, &packet);
    change(&mut bytes);
    if mend {
        let header = usize::from(bytes[14] & 0xf) * 4;
        bytes[24..26].fill(0);
        let sum = crate::wire::checksum::checksum(&bytes[14..14 + header]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

#[test]
fn classify_refuses_with_its_own_reason() {
    use DropReason as R;
    refused(&[1; 13], R::EthernetMalformed);
    refused(&altered(false, |f| f[5] ^= 1), R::EthernetNotOurs);
    refused(&altered(false, |f| f[12..14].copy_from_slice(&[0x88, 0xb5])), R::EthertypeUnknown);
    refused(&frame(A_REMOTE, A_LOCAL, Some(5), b"x"), R::VlanUnexpected);
    refused(&altered(false, |f| f[14] = 0x65), R::Ipv4Malformed);
    refused(&altered(false, |f| f[22] ^= 1), R::Ipv4Checksum);
    refused(
        &altered(true, |f| {
            f[14] = 0x46;
            f.splice(34..34, [1, 1, 1, 0]);
            f[17] += 4;
        }),
        R::Ipv4Options,
    );
    refused(&altered(true, |f| f[20] = 0x20), R::Ipv4Fragment);
    refused(&altered(true, |f| f[26] = 224), R::IpSourceInvalid);
    refused(&altered(true, |f| f[33] ^= 3), R::IpNotLocal);
    refused(&altered(true, |f| f[23] = 6), R::IpProtocolUnknown);
    refused(&altered(false, |f| f[39] ^= 1), R::UdpMalformed);
    refused(&altered(false, |f| f[60] ^= 1), R::UdpChecksum);
    refused(&altered(true, |f| f[0..6].fill(0xff)), R::EthernetNotOurs);
    refused(&frame(A_REMOTE, A_LOCAL, None, b""), R::PayloadEmpty);
    refused(&frame(A_REMOTE, A_LOCAL, None, &[100, 0]), R::DemuxUnknown);
    refused(&frame(A_REMOTE, "10.1.0.1:9", None, &rtp(1, b"x")), R::PortUnknown);
    refused(&frame(A_REMOTE, "10.1.0.1:9", None, &[0, 1, 2, 3]), R::PortUnknown);
    let v6 = frame("[fd00::2]:5", "[fd00::1]:6", None, b"x");
    refused(&v6, R::IpNotLocal);
    refused(&{ let mut f = v6.clone(); f[14] = 0x45; f }, R::Ipv6Malformed);
    refused(&{ let mut f = v6.clone(); f[20] = 44; f }, R::Ipv6Fragment);
    refused(&{ let mut f = v6; f[20] = 0; f }, R::Ipv6ExtensionHeader);
    let mut scene = Scene::new();
    assert_eq!(scene.receive(media(&rtp(1, b"x")).segmented()), [R::FrameSegmented]);
    let bad = media(&scene.srtp(1, b"x")).with_rx_checksums(Checksum::Bad);
    assert_eq!(scene.receive(bad), [R::Ipv4Checksum]);
}

#[test]
fn udp_checksum_may_be_absent_over_ipv4_and_not_over_ipv6() {
    let mut scene = Scene::new();
    let packet = scene.srtp(1, b"voice");
    let mut bytes = frame(A_REMOTE, A_LOCAL, None, &packet);
    bytes[40..42].fill(0);
    assert_eq!(scene.receive(HeapBuffer::new(&bytes, 0)), []);
    let setup = Setup { a_local: "[fd00:1::1]:20000", a_remote: "[fd00:1::2]:30000", ..Setup::default() };
    for found in [Checksum::Unknown, Checksum::Good] {
        let mut scene = Scene::with(&setup);
        let packet = scene.srtp(1, b"voice");
        let mut bytes = frame(setup.a_remote, setup.a_local, None, &packet);
        assert_eq!(scene.receive(HeapBuffer::new(&bytes, 0).with_rx_checksums(found)), []);
        bytes[60..62].fill(0);
        let absent = HeapBuffer::new(&bytes, 0).with_rx_checksums(found);
        assert_eq!(scene.receive(absent), [DropReason::UdpChecksum]);
    }
}

#[test]
fn punts_what_is_for_the_host_and_counts_what_does_not_fit() {
    let mut arp = vec![0xff; 6];
    arp.extend(PEER_MAC.0);
    arp.extend([0x08, 0x06]);
    arp.resize(60, 0);
    let icmp = altered(true, |f| f[23] = 1);
    let stun = frame(A_REMOTE, A_LOCAL, None, &[0, 1, 0, 0]);
    let dtls = frame(A_REMOTE, A_LOCAL, None, &[22, 254, 253]);
    for bytes in [&arp, &icmp, &stun, &dtls] {
        let mut scene = Scene::new();
        assert_eq!(scene.receive(HeapBuffer::new(bytes, 0)), []);
        assert_eq!(scene.out.punted, [bytes.clone()]);
        assert_eq!(scene.ports[0].counters.punted.value(), 1);
        assert!(scene.balance().is_exact());
        scene.out.full = true;
        assert_eq!(scene.receive(HeapBuffer::new(bytes, 0)), [DropReason::PuntFull]);
        scene.ports[0].punt_limit = TokenBucket::new(0, 1);
        assert_eq!(scene.receive(HeapBuffer::new(bytes, 0)), [DropReason::PuntRateLimited]);
        assert!(scene.balance().is_exact());
    }
}

#[test]
fn stages_behind_classify_refuse_with_their_own_reason() {
    use DropReason as R;
    let mut scene = Scene::new();
    let packet = scene.srtp(10, &[1; 60]);
    let elsewhere = HeapBuffer::new(&frame("10.1.0.2:30001", A_LOCAL, None, &packet), 0);
    assert_eq!(scene.receive(elsewhere), [R::SourceNotPinned]);
    assert_eq!(scene.receive(media(&packet[..27])), [R::SrtpTruncated]);
    assert_eq!(scene.receive(media(&[0x8f; 60])), [R::RtpMalformed]);
    assert_eq!(scene.receive(media(&[0x80, 200, 0, 0, 1])), [R::RtcpMalformed]);
    let mut damaged = packet.clone();
    damaged[30] ^= 1;
    assert_eq!(scene.receive(media(&damaged)), [R::SrtpAuthFailed]);
    assert_eq!(scene.receive(media(&packet)), []);
    assert_eq!(scene.receive(media(&packet)), [R::SrtpReplayed]);
    let mut other = packet.clone();
    other[8] ^= 1;
    assert_eq!(scene.receive(media(&other)), [R::SsrcChanged]);
    for seq in [2000, 4000] {
        let newer = scene.srtp(seq, b"voice");
        assert_eq!(scene.receive(media(&newer)), []);
    }
    let mut late = Scene::new().srtp(2900, b"voice");
    assert_eq!(scene.receive(media(&late)), [R::SrtpTooOld]);
    late.clear();

    let mut clear = receiver_report();
    clear.extend([0; 20]);
    assert_eq!(scene.receive(media(&clear)), [R::SrtcpNotEncrypted]);
    assert!(scene.balance().is_exact());
    assert_eq!(scene.balance().tx, 3);
}

#[test]
fn inspect_refuses_what_was_not_negotiated_or_is_malformed_inside() {
    use DropReason as R;
    let sealed = |header: &[u8], payload: &[u8]| {
        let mut packet = rtp(1, payload);
        packet[..header.len()].copy_from_slice(header);
        let header_len = if header[0] & 0x10 == 0 { 12 } else { 12 + 4 + usize::from(payload[3]) * 4 };
        packet.extend([0; 16]);
        let mut seal = RtpOutbound::<Crypto>::new(&key(1));
        seal.seal(&mut packet, header_len, SSRC, PacketIndex::new(0, 1)).expect("a fresh index");
        packet
    };
    for (header, payload, reason) in [
        (&[0x80, 97][..], &b"voice"[..], R::PayloadTypeNotNegotiated),
        (&[0x80, 96], b"", R::RtpPayloadEmpty),
        (&[0xa0, 96], &[1, 2, 3, 0], R::RtpPadding),
        (&[0xa0, 96], &[1, 2, 3, 9], R::RtpPadding),
        (&[0xa0, 96], &[1, 2, 3, 4], R::RtpPayloadEmpty),
        (&[0x90, 96], &[0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0, 1], R::HeaderExtensionMalformed),
    ] {
        let mut scene = Scene::new();
        assert_eq!(scene.receive(media(&sealed(header, payload))), [reason], "{header:?} {payload:?}");
    }
    let mut scene = Scene::new();
    let mut compound = vec![0x80, 203, 0, 1];
    compound.extend(SSRC.to_be_bytes());
    compound.extend([0; 20]);
    scene.a_seals_rtcp.seal(&mut compound, 1).expect("a fresh index");
    assert_eq!(scene.receive(media(&compound)), [R::RtcpCompound], "BYE first, without reduced size");
}

#[test]
fn the_way_out_refuses_with_its_own_reason() {
    use DropReason as R;
    let mut scene = Scene::with(&Setup { resolved: false, ..Setup::default() });
    let packet = scene.srtp(1, b"voice");
    assert_eq!(scene.receive(media(&packet)), [R::NextHopUnresolved]);

    let mut scene = Scene::new();
    scene.pipeline.streams[0].rtp_egress = None;
    let packet = scene.srtp(1, b"voice");
    assert_eq!(scene.receive(media(&packet)), [R::RemoteUnknown]);

    let mut scene = Scene::with(&Setup { mtu: 200, ..Setup::default() });
    let packet = scene.srtp(1, &[0; 145]);
    assert_eq!(scene.receive(media(&packet)), [R::MtuExceeded]);
    let packet = scene.srtp(2, &[0; 144]);
    assert_eq!(scene.receive(media(&packet)), [], "20 + 8 + 12 + 144 + 16 is 200");

    // A plain packet that fills its buffer grows by a tag.
    let mut scene = Scene::with(&Setup { mtu: 9000, plain_a: true, ..Setup::default() });
    let packet = rtp(1, &[7; HeapBuffer::DATA_ROOM - 42 - 12]);
    assert_eq!(scene.receive(media(&packet)), [R::RoomExhausted]);

    for (media_kind, payload, reason) in [
        (Media::Rtp, receiver_report(), R::RtcpUnexpected),
        (Media::Rtcp, rtp(1, b"x"), R::RtpUnexpected),
    ] {
        let mut scene = Scene::with(&Setup { media: media_kind, ..Setup::default() });
        assert_eq!(scene.receive(media(&payload)), [reason]);
    }
}

#[test]
fn a_stream_of_another_worker_is_handed_over_and_never_processed_here() {
    let mut scene = Scene::with(&Setup { home: 1, ..Setup::default() });
    let packet = scene.srtp(1, b"voice");
    assert_eq!(scene.receive(media(&packet)), []);
    assert!(scene.out.sent.is_empty());
    let counters = Arc::clone(&scene.ports[0].counters);
    assert_eq!(counters.handed_over_out.value(), 1);
    assert!(scene.balance().is_exact());
    let (worker, frame) = scene.out.handed_over.pop().expect("handed over");
    assert_eq!(worker, 1);

    // The owner goes on where the receiver stopped.
    counters.handed_over_in.add(1);
    let mut burst = Burst::new();
    burst.push(frame);
    scene.pipeline.process_matched(&scene.ports[0], burst, &mut scene.out);
    assert_eq!(scene.out.sent.len(), 1);
    assert!(scene.balance().is_exact());

    scene.out.full = true;
    let packet = scene.srtp(2, b"voice");
    assert_eq!(scene.receive(media(&packet)), [DropReason::HandoverFull]);
    assert!(scene.balance().is_exact());
}

#[test]
fn a_remote_is_learned_only_from_a_packet_that_authenticated() {
    let mut scene = Scene::with(&Setup { learn: Learn::Authenticated, ..Setup::default() });
    let from = |source: &str, packet: &[u8]| HeapBuffer::new(&frame(source, A_LOCAL, None, packet), 0);
    let mut forged = scene.srtp(1, b"voice");
    forged[20] ^= 1;
    assert_eq!(scene.receive(from("10.1.0.66:666", &forged)), [DropReason::SrtpAuthFailed]);
    assert!(scene.out.learned.is_empty(), "a forged packet teaches nothing");

    let packet = scene.srtp(2, b"voice");
    assert_eq!(scene.receive(from("10.1.0.2:4444", &packet)), []);
    let (stream, learned) = scene.out.learned.pop().expect("reported");
    assert_eq!((stream, learned.source.socket_addr()), (StreamId(0), address("10.1.0.2:4444")));
    scene.pipeline.streams[0].source = Some(learned.source);

    let packet = scene.srtp(3, b"voice");
    assert_eq!(scene.receive(from("10.1.0.2:4444", &packet)), []);
    assert!(scene.out.learned.is_empty(), "known by now");

    // NAT rebinding: authenticated and newest. An older packet, recorded and held back by an attacker, is
    // authentic as well, but moves nothing.
    let (held_back, newest) = (scene.srtp(4, b"voice"), scene.srtp(5, b"voice"));
    assert_eq!(scene.receive(from("10.1.0.2:5555", &newest)), []);
    assert_eq!(scene.out.learned.len(), 1);
    assert_eq!(scene.receive(from("10.1.0.66:666", &held_back)), []);
    assert_eq!(scene.out.learned.len(), 1);
}

/// What a bad packet could have changed.
fn state(scene: &Scene) -> String {
    format!("{:?}", scene.pipeline.streams)
}

#[test]
fn no_length_and_no_bit_makes_it_panic_and_each_has_exactly_one_outcome() {
    let mut scene = Scene::new();
    let long = scene.srtp(1, &[0x42; 1400]);
    let long = frame(A_REMOTE, A_LOCAL, None, &long);
    let mut entered = 0;
    let mut check = |scene: &mut Scene, bytes: &[u8], valid: bool| {
        let before = state(scene);
        let drops = scene.receive(HeapBuffer::new(bytes, 0xee));
        entered += 1;
        let balance = scene.balance();
        assert_eq!(balance.rx, entered);
        assert!(balance.is_exact(), "{} bytes: {balance:?}", bytes.len());
        assert!(drops.len() <= 1);
        if !valid {
            assert_eq!(state(scene), before, "a bad packet changed a stream");
        }
    };
    for length in 0..=2000 {
        let mut cut = long.clone();
        cut.resize(length, 0x55);
        // What stands behind the IP packet is Ethernet padding; the packet as a whole is authentic once.
        check(&mut scene, &cut, length == long.len());
        // With lengths that agree, so that the later stages see it as well.
        if let Some(payload) = length.checked_sub(42) {
            let mut agreeing = frame(A_REMOTE, A_LOCAL, None, &vec![0x80; payload]);
            let inside = payload.min(long.len() - 42);
            agreeing[42..42 + inside].copy_from_slice(&long[42..42 + inside]);
            agreeing[40..42].fill(0);
            check(&mut scene, &agreeing, false);
        }
    }
    let short = scene.srtp(2, &[0x42; 40]);
    let short = frame(A_REMOTE, A_LOCAL, None, &short);
    let report = scene.srtcp(1);
    let report = frame(A_REMOTE, A_LOCAL, None, &report);
    for original in [&short, &report] {
        for bit in 0..original.len() * 8 {
            let mut flipped = original.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Without its checksum every flip reaches the crypto; bits that no layer protects are the source
            // MAC, the traffic class and the checksum itself.
            flipped[40..42].fill(0);
            let before = scene.out.sent.len();
            check(&mut scene, &flipped, true);
            assert!(bit / 8 < 42 || scene.out.sent.len() == before, "bit {bit} was forwarded");
        }
    }
}

#[test]
fn garbage_has_exactly_one_outcome() {
    let mut scene = Scene::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let valid = frame(A_REMOTE, A_LOCAL, None, &rtp(1, &[1; 300]));
    for round in 1..=20_000_u64 {
        let mut bytes = valid.clone();
        bytes.truncate(random() as usize % 400);
        for _ in 0..random() % 8 {
            if let Some(at) = (random() as usize).checked_rem(bytes.len()) {
                bytes[at] = random() as u8;
            }
        }
        scene.receive(HeapBuffer::new(&bytes, random() as u8));
        assert!(scene.balance().is_exact());
        assert_eq!(scene.balance().rx, round);
    }
    assert!(scene.out.sent.is_empty(), "nothing of it was authentic");
}

#[test]
fn index_of_an_earlier_run_is_refused() {
    use crate::srtp::SealError;
    let mut seal = RtpOutbound::<Crypto>::new(&key(2));
    seal.set_floor(PacketIndex::new(0, 100));
    let mut packet = rtp(99, b"voice");
    packet.extend([0; 16]);
    assert_eq!(seal.seal(&mut packet, 12, SSRC, PacketIndex::new(0, 99)), Err(SealError::IndexReserved));
}

#[test]
fn v4_and_v6_addresses_of_the_same_octets_are_different_hosts() {
    let setup = Setup { a_local: "10.1.0.1:20000", ..Setup::default() };
    let scene = Scene::with(&setup);
    let v6: IpAddr = "::a01:1".parse().expect("a literal");
    let slot = scene.pipeline.lookup.slot(&Endpoint::from(SocketAddr::new(v6, 0)).octets(), 0);
    assert_eq!(slot, None);
}
