//! The frames of `drop_reasons.rs`, in the order of the packet path: each spoiled in one way only, so that no other
//! check can be the one that refuses it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use voxlane::fastpath::DropReason;

use super::harness::call::{PAYLOAD_TYPE, Sealer, rtcp_header};
use super::harness::{ConfigText, addr, frame};

/// The gateway's address on port `a`.
pub const LOCAL: &str = "10.78.1.1";
const LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 1, 0, 0, 0, 0, 0, 1);
const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0xfd78, 1, 0, 0, 0, 0, 0, 2);
const SSRC: u32 = 0x0051_c0de;
/// Index of the first good packet: high enough for one behind the replay window.
const FIRST: u64 = 5_000;

/// A reason, what is wrong with the frame, and the frame.
pub type Case = (DropReason, &'static str, Vec<u8>);

/// All frames, to be sent in this order, for the sessions of `config` and a port with the address `mac`.
pub fn all(mac: [u8; 6], config: &ConfigText) -> Vec<Case> {
    [below_ip(mac, config), ip_and_udp(mac), stream_and_open(mac, config), inspect_and_after(mac, config)]
        .concat()
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
        (
            DropReason::VlanUnexpected,
            "a tag on an untagged port",
            spoil(&|frame| {
                frame.splice(12..12, [0x81, 0, 0, 100]);
            }),
        ),
        (
            DropReason::EthertypeUnknown,
            "an experimental EtherType",
            spoil(&|frame| {
                frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            }),
        ),
        (
            DropReason::Ipv4Malformed,
            "a total length behind the frame's end",
            ipv4(&|frame| frame[frame::IP + 2] = 4),
        ),
        (DropReason::Ipv4Checksum, "a flipped checksum bit", spoil(&|frame| frame[frame::IP + 10] ^= 1)),
        (
            DropReason::Ipv4Options,
            "four NOP options",
            ipv4(&|frame| {
                frame.splice(frame::UDP_OF_V4..frame::UDP_OF_V4, [1; 4]);
                frame[frame::IP] = 0x46;
                frame[frame::IP + 3] += 4;
            }),
        ),
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
        let [from, to] =
            [(REMOTE_V6, 30_000), (LOCAL_V6, 20_000)].map(|(ip, port)| SocketAddr::new(ip.into(), port));
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
        (
            DropReason::IpNotLocal,
            "an address of another port",
            ip(from, [10, 78, 2, 1].into(), frame::UDP, &any),
        ),
        (DropReason::IpProtocolUnknown, "TCP", ip(from, to, 6, &any)),
        (
            DropReason::UdpMalformed,
            "a length behind the packet's end",
            spoil(&|frame| {
                frame[udp_length.clone()].copy_from_slice(&[4, 0]);
            }),
        ),
        (
            DropReason::UdpMalformed,
            "a length below the header's own",
            spoil(&|frame| {
                frame[udp_length.clone()].copy_from_slice(&[0, 7]);
            }),
        ),
        (DropReason::UdpMalformed, "four bytes of header", ip(from, to, frame::UDP, &[0, 1, 0, 2])),
        (DropReason::UdpChecksum, "a flipped checksum bit", spoil(&|frame| frame[udp_checksum] ^= 1)),
        (
            DropReason::UdpChecksum,
            "no checksum over IPv6",
            v6(&|frame| {
                frame[frame::UDP_OF_V6 + 6..frame::UDP_OF_V6 + 8].fill(0);
            }),
        ),
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
    // Behind the tag of an AEAD.
    let mut named = Sealer::new(&config.sessions[4].a, SSRC, FIRST);
    let mut unknown_mki = named.rtp(b"voice");
    *unknown_mki.last_mut().expect("an MKI") ^= 1;
    let mut unknown_rtcp_mki = named.rtcp(200, 6, &[0; 20]);
    *unknown_rtcp_mki.last_mut().expect("an MKI") ^= 1;
    vec![
        (DropReason::PortUnknown, "a port without a leg", to(20_998, &good)),
        (
            DropReason::PortUnknown,
            "STUN for a port without a leg",
            to(20_998, &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]),
        ),
        (DropReason::RtpUnexpected, "RTP on an RTCP port", from_to(mac, 30_003, 20_003, &good)),
        (DropReason::RtcpUnexpected, "RTCP on an RTP port", to(20_002, &plain_rtcp)),
        (DropReason::SourceNotPinned, "another source port", from_to(mac, 30_999, 20_000, &good)),
        (DropReason::RtpMalformed, "three bytes of RTP", to(20_000, &[0x80, 96, 0])),
        (DropReason::RtpCsrcCount, "fifteen CSRCs and no room for them", to(20_000, &rtp(0x8f, &[0; 30]))),
        (
            DropReason::RtpExtensionLength,
            "an extension longer than the packet",
            to(20_000, &rtp(0x90, &[0xbe, 0xde, 1, 0, 0])),
        ),
        (DropReason::RtcpMalformed, "four bytes of RTCP", to(20_000, &plain_rtcp[..4])),
        (DropReason::SrtpTruncated, "an eight-byte tag", to(20_000, &rtp(0x80, &[7; 8]))),
        (DropReason::SrtpTruncated, "SRTCP without room for its trailer", to(20_000, &plain_rtcp[..20])),
        (DropReason::SrtpMkiUnknown, "an MKI that was not agreed", to(20_008, &unknown_mki)),
        (DropReason::SrtpMkiUnknown, "the same of a report", to(20_008, &unknown_rtcp_mki)),
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
        (
            DropReason::PayloadTypeNotNegotiated,
            "payload type 97",
            to(20_000, &sealer.rtp_with(0x80, 97, &[], b"v")),
        ),
        (
            DropReason::HeaderExtensionMalformed,
            "a one-byte element that overruns",
            to(20_000, &sealer.rtp_with(0x90, PAYLOAD_TYPE, &overrun, b"v")),
        ),
        (
            DropReason::HeaderExtensionMalformed,
            "a two-byte element that overruns",
            to(20_000, &sealer.rtp_with(0x90, PAYLOAD_TYPE, &overrun_two, b"v")),
        ),
        (
            DropReason::HeaderExtensionRtcp,
            "feedback in place of an extension",
            to(20_000, &sealer.rtp_with(0x90, PAYLOAD_TYPE, &[0x81, 205, 0, 1, 0, 0, 0, 0], b"v")),
        ),
        (
            DropReason::RtpPadding,
            "a padding count of zero",
            to(20_000, &sealer.rtp_with(0xa0, PAYLOAD_TYPE, &[], &[1, 2, 3, 0])),
        ),
        (
            DropReason::RtpPadding,
            "more padding than payload",
            to(20_000, &sealer.rtp_with(0xa0, PAYLOAD_TYPE, &[], &[1, 2, 3, 5])),
        ),
        (DropReason::RtpPayloadEmpty, "no payload", to(20_000, &sealer.rtp(&[]))),
        (
            DropReason::RtpPayloadEmpty,
            "nothing but padding",
            to(20_000, &sealer.rtp_with(0xa0, PAYLOAD_TYPE, &[], &[0, 0, 3])),
        ),
        (
            DropReason::RtcpCompound,
            "a sender report without its report",
            to(20_000, &sealer.rtcp(200, 1, &[])),
        ),
        (
            DropReason::RtcpCompound,
            "a length behind the packet's end",
            to(20_000, &sealer.rtcp(200, 9, &[0; 20])),
        ),
        (DropReason::NextHopUnresolved, "a good RTCP packet", to(20_000, &sealer.rtcp(200, 6, &[0; 20]))),
        (DropReason::RemoteUnknown, "a leg whose remote nobody knows", to(20_004, &to_learner.rtp(b"voice"))),
        (
            DropReason::RemoteUnknown,
            "the last SRTCP index there is",
            to(20_004, &spent.rtcp(200, 6, &[0; 20])),
        ),
        (
            DropReason::KeyExhausted,
            "an SRTCP index from the beginning again",
            to(20_004, &to_learner.rtcp(200, 6, &[0; 20])),
        ),
        (DropReason::MtuExceeded, "600 bytes for an MTU of 576", to(20_006, &to_small.rtp(&[7; 600]))),
    ]
}
