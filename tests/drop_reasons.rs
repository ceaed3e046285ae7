//! Every reason for which a peer can make the gateway drop a frame, provoked over a real port by one frame made
//! for it: exactly that counter moves, by exactly one.
//!
//! [`elsewhere`] accounts for the other reasons: the test that provokes each, or why no peer can.

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use harness::call::{PAYLOAD_TYPE, Sealer, rtcp_header};
use harness::raw_socket::RawSocket;
use harness::{ConfigText, Gateway, LegText, Machine, Namespace, PortText, SessionText, Veth, addr, frame};
use voxlane::fastpath::DropReason;

const LOCAL: &str = "10.78.1.1";
const LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 1, 0, 0, 0, 0, 0, 1);
const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 1, 0, 0, 0, 0, 0, 2);
const SSRC: u32 = 0x0051_c0de;
/// Index of the first good packet: high enough for one behind the replay window.
const FIRST: u64 = 5_000;

/// A reason, what is wrong with the frame, and the frame.
type Case = (DropReason, &'static str, Vec<u8>);

#[test]
fn each_reason_counts_the_frame_made_for_it_and_nothing_else() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    // The kernel inside has no address and stays silent: whatever arrives at the gateway comes from here.
    let [a, b, small] = std::array::from_fn(|_| Veth::new(&namespace, &[]));
    let pcap = machine.path("frames.pcap");
    write_pcap(&pcap, &[vec![0xff; 10], frame::ethernet(frame::BROADCAST, [2; 6], 0x0800, &[0; 5_000])]);

    let config = config(&a, &b, &small, &pcap);
    let socket = RawSocket::open(&namespace, &a);
    let gateway = Gateway::start(&machine, &config);

    let from_file = gateway.wait_for("the frames of the capture file", Duration::from_secs(10), |page| {
        Some(page.drops("file")).filter(|drops| drops.values().sum::<u64>() == 2)
    });
    let expected = [DropReason::EthernetMalformed, DropReason::FrameSegmented].map(|reason| (reason.label().into(), 1));
    assert_eq!(from_file, BTreeMap::from(expected));

    let cases: Vec<Case> = [
        below_ip(a.host_mac(), &config),
        ip_and_udp(a.host_mac()),
        stream_and_open(a.host_mac(), &config),
        inspect_and_after(a.host_mac(), &config),
    ]
    .concat();
    let mut before = all_drops(&gateway);
    for (reason, what, frame) in &cases {
        socket.send(frame);
        let after = gateway.wait_for(&format!("{reason} for {what}"), Duration::from_secs(5), |_| {
            Some(all_drops(&gateway)).filter(|drops| *drops != before)
        });
        let moved: Vec<_> = after
            .iter()
            .map(|(key, count)| (key.clone(), count - before.get(key).copied().unwrap_or(0)))
            .filter(|(_, by)| *by > 0)
            .collect();
        assert_eq!(moved, [(("a".to_owned(), reason.label().to_owned()), 1)], "{what}");
        before = after;
    }
    let stopped = gateway.stop();
    assert_eq!(stopped.port("a", "dropped"), cases.len() as u64);

    let mut provoked: Vec<DropReason> = cases.iter().map(|(reason, ..)| *reason).collect();
    provoked.extend([DropReason::EthernetMalformed, DropReason::FrameSegmented]);
    let unaccounted: Vec<_> =
        DropReason::ALL.iter().filter(|reason| !provoked.contains(reason) && elsewhere(**reason).is_none()).collect();
    assert!(unaccounted.is_empty(), "no test provokes {unaccounted:?}; add a case here or a row to elsewhere()");
    println!("{} frames, {} reasons, each counted once and alone", cases.len() + 2, DropReason::ALL.len());
}

/// Where a reason is provoked that is not provoked here, or why no peer can provoke it.
fn elsewhere(reason: DropReason) -> Option<&'static str> {
    Some(match reason {
        DropReason::RtpVersion => "RFC 7983 calls 128..=191 RTP, which is version 2; a unit test covers the check",
        DropReason::HandoverFull => "needs a worker that stands still; unit test of the ring",
        DropReason::RoomExhausted => "the largest MTU leaves room; unit test with a small buffer",
        DropReason::IndexReserved => "lifecycle.rs: packets of before a restart",
        DropReason::TxFull => "testpmd_flood.rs: a peer that stops reading",
        DropReason::PuntRateLimited => "host_on_network.rs: more ARP than the limit",
        DropReason::PuntFull => "needs a control thread that stands still; unit test of the ring",
        DropReason::WorkerPanic => "no input may cause it; unit test with an injected panic",
        _ => return None,
    })
}

fn config(a: &Veth, b: &Veth, small: &Veth, pcap: &Path) -> ConfigText {
    let leg = |host: &str, remote: &str, port: u16| {
        let mut leg = LegText::new(&format!("{host}:{port}"), &format!("{remote}:{}", port + 10_000));
        leg.payload_types = vec![PAYLOAD_TYPE];
        leg
    };
    let near = |port| leg(LOCAL, "10.78.1.2", port);
    let far = |port| leg("10.78.2.1", "10.78.2.2", port);
    let mut split = near(20_002);
    split.rtcp = Some("next");
    let mut learner = far(20_004);
    learner.remote = None;
    let mut file = PortText::new("file", format!("net_pcap0,rx_pcap={}", pcap.display()), &["10.78.4.1/24"]);
    file.descriptors = Some(64);
    let mut narrow = PortText::new("small", small.device("net_af_packet", 2), &["10.78.3.1/24"]);
    narrow.mtu = Some(576);
    ConfigText {
        ports: vec![
            PortText::new("a", a.device("net_af_packet", 0), &["10.78.1.1/24", "fd78:1::1/64"]),
            PortText::new("b", b.device("net_af_packet", 1), &["10.78.2.1/24"]),
            narrow,
            file,
        ],
        sessions: vec![
            SessionText::new("muxed", near(20_000), far(20_000)),
            SessionText::new("split", split, far(20_002)),
            SessionText::new("to-learner", near(20_004), learner),
            SessionText::new("to-small", near(20_006), leg("10.78.3.1", "10.78.3.2", 20_006)),
        ],
        ..ConfigText::default()
    }
}

/// A datagram to the gateway's port, from the remote that is pinned to it.
fn datagram(mac: [u8; 6], port: u16, payload: &[u8]) -> Vec<u8> {
    from_to(mac, port + 10_000, port, payload)
}

fn from_to(mac: [u8; 6], source_port: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (SocketAddr::new([10, 78, 1, 2].into(), source_port), addr(&format!("{LOCAL}:{port}")));
    frame::ethernet(mac, [2; 6], frame::ETHERTYPE_IPV4, &frame::udp(from, to, payload))
}

/// What classify refuses before it looks at addresses.
fn below_ip(mac: [u8; 6], config: &ConfigText) -> Vec<Case> {
    let mut sealer = Sealer::new(&config.sessions[1].a, SSRC, 1);
    let good = datagram(mac, 20_000, &sealer.rtp(b"voice"));
    let spoil = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        change(&mut frame);
        frame
    };
    let ipv4 = |change: &dyn Fn(&mut Vec<u8>)| {
        spoil(&|frame| {
            change(frame);
            frame::fill_ipv4_checksum(&mut frame[frame::IP..]);
        })
    };
    let v6 = |next_header, payload: &[u8]| {
        let packet = frame::ipv6(REMOTE_V6, LOCAL_V6, next_header, payload);
        frame::ethernet(mac, [2; 6], frame::ETHERTYPE_IPV6, &packet)
    };
    let mut v6_short = v6(frame::UDP, &[0; 40]);
    v6_short[frame::IP + 5] = 60;
    vec![
        (DropReason::EthernetNotOurs, "another unicast MAC", spoil(&|frame| frame[5] ^= 1)),
        (DropReason::VlanUnexpected, "a tag on an untagged port", spoil(&|frame| {
            frame.splice(12..12, [0x81, 0, 0, 100]);
        })),
        (DropReason::EthertypeUnknown, "an experimental EtherType", spoil(&|frame| {
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        })),
        (DropReason::Ipv4Malformed, "a total length behind the frame's end", ipv4(&|frame| frame[frame::IP + 2] = 4)),
        (DropReason::Ipv4Checksum, "a flipped checksum bit", spoil(&|frame| frame[frame::IP + 10] ^= 1)),
        (DropReason::Ipv4Options, "four NOP options", ipv4(&|frame| {
            frame.splice(frame::UDP_OF_V4..frame::UDP_OF_V4, [1; 4]);
            frame[frame::IP] = 0x46;
            frame[frame::IP + 3] += 4;
        })),
        (DropReason::Ipv4Fragment, "the More Fragments flag", ipv4(&|frame| frame[frame::IP + 6] = 0x20)),
        (DropReason::Ipv4Fragment, "a fragment offset", ipv4(&|frame| frame[frame::IP + 7] = 1)),
        (DropReason::Ipv6Malformed, "a payload length behind the frame's end", v6_short),
        (DropReason::Ipv6ExtensionHeader, "a hop-by-hop header", v6(0, &[17, 0, 1, 4, 0, 0, 0, 0, 0, 0])),
        (DropReason::Ipv6Fragment, "a fragment header", v6(44, &[17, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3])),
    ]
}

/// What classify refuses for its addresses, its protocol or its UDP header.
fn ip_and_udp(mac: [u8; 6]) -> Vec<Case> {
    let [from, to] = [[10, 78, 1, 2], [10, 78, 1, 1]].map(Ipv4Addr::from);
    let ip = |from: Ipv4Addr, to: Ipv4Addr, protocol, payload: &[u8]| {
        frame::ethernet(mac, [2; 6], frame::ETHERTYPE_IPV4, &frame::ipv4(from, to, protocol, payload))
    };
    let any = [0x80; 40];
    let udp = |payload: &[u8]| datagram(mac, 20_000, payload);
    let spoil = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = udp(&any);
        change(&mut frame);
        frame
    };
    let v6 = |change: &dyn Fn(&mut Vec<u8>)| {
        let [from, to] = [(REMOTE_V6, 30_000), (LOCAL_V6, 20_000)].map(|(ip, port)| SocketAddr::new(ip.into(), port));
        let mut frame = frame::ethernet(mac, [2; 6], frame::ETHERTYPE_IPV6, &frame::udp(from, to, &any));
        change(&mut frame);
        frame
    };
    let udp_length = frame::UDP_OF_V4 + 4..frame::UDP_OF_V4 + 6;
    let udp_checksum = frame::UDP_OF_V4 + 6;
    vec![
        (DropReason::IpSourceInvalid, "a multicast source", ip([224, 0, 0, 5].into(), to, frame::UDP, &any)),
        (DropReason::IpSourceInvalid, "a loopback source", ip(Ipv4Addr::LOCALHOST, to, frame::UDP, &any)),
        (DropReason::IpSourceInvalid, "no source", ip(Ipv4Addr::UNSPECIFIED, to, frame::UDP, &any)),
        (DropReason::IpNotLocal, "a neighbour's address", ip(from, [10, 78, 1, 9].into(), frame::UDP, &any)),
        (DropReason::IpNotLocal, "an address of another port", ip(from, [10, 78, 2, 1].into(), frame::UDP, &any)),
        (DropReason::IpProtocolUnknown, "TCP", ip(from, to, 6, &any)),
        (DropReason::UdpMalformed, "a length behind the packet's end", spoil(&|frame| {
            frame[udp_length.clone()].copy_from_slice(&[4, 0]);
        })),
        (DropReason::UdpMalformed, "a length below the header's own", spoil(&|frame| {
            frame[udp_length.clone()].copy_from_slice(&[0, 7]);
        })),
        (DropReason::UdpMalformed, "four bytes of header", ip(from, to, frame::UDP, &[0, 1, 0, 2])),
        (DropReason::UdpChecksum, "a flipped checksum bit", spoil(&|frame| frame[udp_checksum] ^= 1)),
        (DropReason::UdpChecksum, "no checksum over IPv6", v6(&|frame| {
            frame[frame::UDP_OF_V6 + 6..frame::UDP_OF_V6 + 8].fill(0);
        })),
        (DropReason::PayloadEmpty, "no payload", udp(&[])),
        (DropReason::DemuxUnknown, "a first byte of nobody", udp(&[200; 40])),
    ]
}

/// What find_stream and open refuse. The good packet in between fails only for its next hop, which nobody is.
fn stream_and_open(mac: [u8; 6], config: &ConfigText) -> Vec<Case> {
    let leg = &config.sessions[0].a;
    let mut sealer = Sealer::new(leg, SSRC, FIRST);
    let mut early = Sealer::new(leg, SSRC, FIRST - 1_200);
    let mut stranger = Sealer::new(leg, SSRC + 1, FIRST + 1);
    let to = |port, payload: &[u8]| datagram(mac, port, payload);
    let rtp = |first, rest: &[u8]| [frame::rtp_header(first, PAYLOAD_TYPE, 1, SSRC), rest.to_vec()].concat();
    let plain_rtcp = [rtcp_header(200, 6, SSRC), vec![0; 40]].concat();

    let mut forged = sealer.rtp(b"voice");
    let good = sealer.rtp(b"voice");
    forged[20] ^= 0x40;
    let mut clear = sealer.rtcp(200, 6, &[0; 20]);
    let e_bit = clear.len() - 4;
    clear[e_bit] &= 0x7f;
    let mut cut = sealer.rtp(b"voice");
    cut.pop();
    vec![
        (DropReason::PortUnknown, "a port without a leg", to(20_998, &good)),
        (DropReason::PortUnknown, "STUN for a port without a leg", to(20_998, &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42])),
        (DropReason::RtpUnexpected, "RTP on an RTCP port", from_to(mac, 30_003, 20_003, &good)),
        (DropReason::RtcpUnexpected, "RTCP on an RTP port", to(20_002, &plain_rtcp)),
        (DropReason::SourceNotPinned, "another source port", from_to(mac, 30_999, 20_000, &good)),
        (DropReason::RtpMalformed, "three bytes of RTP", to(20_000, &[0x80, 96, 0])),
        (DropReason::RtpMalformed, "fifteen CSRCs and no room for them", to(20_000, &rtp(0x8f, &[0; 30]))),
        (DropReason::RtpMalformed, "an extension longer than the packet", to(20_000, &rtp(0x90, &[0xbe, 0xde, 1, 0, 0]))),
        (DropReason::RtcpMalformed, "four bytes of RTCP", to(20_000, &plain_rtcp[..4])),
        (DropReason::SrtpTruncated, "an eight-byte tag", to(20_000, &rtp(0x80, &[7; 8]))),
        (DropReason::SrtpTruncated, "SRTCP without room for its trailer", to(20_000, &plain_rtcp[..20])),
        (DropReason::SrtpAuthFailed, "a flipped bit in the first packet", to(20_000, &forged)),
        (DropReason::SrtpAuthFailed, "plaintext on an encrypted leg", to(20_000, &rtp(0x80, &[9; 100]))),
        (DropReason::NextHopUnresolved, "a good packet to a remote that is not there", to(20_000, &good)),
        (DropReason::SrtpReplayed, "the same again", to(20_000, &good)),
        (DropReason::SrtpAuthFailed, "a tag that lost its last byte", to(20_000, &cut)),
        (DropReason::SsrcChanged, "another SSRC under the same key", to(20_000, &stranger.rtp(b"voice"))),
        (DropReason::SrtpTooOld, "an index behind the window", to(20_000, &early.rtp(b"voice"))),
        (DropReason::SrtcpNotEncrypted, "a clear E-bit", to(20_000, &clear)),
    ]
}

/// What inspect and re-encapsulate refuse: all of it authentic.
fn inspect_and_after(mac: [u8; 6], config: &ConfigText) -> Vec<Case> {
    let mut sealer = Sealer::new(&config.sessions[0].a, SSRC, FIRST + 10);
    let mut to_learner = Sealer::new(&config.sessions[2].a, SSRC, FIRST);
    let mut to_small = Sealer::new(&config.sessions[3].a, SSRC, FIRST);
    let mut spent = Sealer::new(&config.sessions[2].a, SSRC, FIRST);
    spent.set_rtcp_index((1 << 31) - 1);
    let to = |port, payload: &[u8]| datagram(mac, port, payload);
    // One-byte header form, element 1 says sixteen octets and three follow (RFC 8285 §4.2).
    let overrun = [0xbe, 0xde, 0, 1, 0x1f, 1, 2, 3];
    // Two-byte form, element 1 says 200 octets and two follow (RFC 8285 §4.3).
    let overrun_two = [0x10, 0, 0, 1, 1, 200, 1, 2];
    vec![
        (DropReason::PayloadTypeNotNegotiated, "payload type 97", to(20_000, &sealer.rtp_with(0x80, 97, &[], b"v"))),
        (DropReason::HeaderExtensionMalformed, "a one-byte element that overruns",
            to(20_000, &sealer.rtp_with(0x90, PAYLOAD_TYPE, &overrun, b"v"))),
        (DropReason::HeaderExtensionMalformed, "a two-byte element that overruns",
            to(20_000, &sealer.rtp_with(0x90, PAYLOAD_TYPE, &overrun_two, b"v"))),
        (DropReason::RtpPadding, "a padding count of zero",
            to(20_000, &sealer.rtp_with(0xa0, PAYLOAD_TYPE, &[], &[1, 2, 3, 0]))),
        (DropReason::RtpPadding, "more padding than payload",
            to(20_000, &sealer.rtp_with(0xa0, PAYLOAD_TYPE, &[], &[1, 2, 3, 5]))),
        (DropReason::RtpPayloadEmpty, "no payload", to(20_000, &sealer.rtp(&[]))),
        (DropReason::RtpPayloadEmpty, "nothing but padding",
            to(20_000, &sealer.rtp_with(0xa0, PAYLOAD_TYPE, &[], &[0, 0, 3]))),
        (DropReason::RtcpCompound, "a sender report without its report", to(20_000, &sealer.rtcp(200, 1, &[]))),
        (DropReason::RtcpCompound, "a length behind the packet's end", to(20_000, &sealer.rtcp(200, 9, &[0; 20]))),
        (DropReason::NextHopUnresolved, "a good RTCP packet", to(20_000, &sealer.rtcp(200, 6, &[0; 20]))),
        (DropReason::RemoteUnknown, "a leg whose remote nobody knows", to(20_004, &to_learner.rtp(b"voice"))),
        (DropReason::RemoteUnknown, "the last SRTCP index there is", to(20_004, &spent.rtcp(200, 6, &[0; 20]))),
        (DropReason::KeyExhausted, "an SRTCP index from the beginning again",
            to(20_004, &to_learner.rtcp(200, 6, &[0; 20]))),
        (DropReason::MtuExceeded, "600 bytes for an MTU of 576", to(20_006, &to_small.rtp(&[7; 600]))),
    ]
}

fn all_drops(gateway: &Gateway) -> BTreeMap<(String, String), u64> {
    let page = gateway.scrape();
    let ports = ["a", "b", "small", "file"];
    let of = |port: &'static str| page.drops(port).into_iter().map(move |(reason, n)| ((port.to_owned(), reason), n));
    ports.into_iter().flat_map(of).collect()
}

/// A capture file in the classic format, Ethernet.
fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut file: Vec<u8> = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].iter().flat_map(|w| w.to_le_bytes()).collect();
    for frame in frames {
        let len = frame.len() as u32;
        file.extend([0, 0, len, len].iter().flat_map(|word: &u32| word.to_le_bytes()));
        file.extend(frame);
    }
    fs::write(path, file).expect("the test's directory is writable");
}
