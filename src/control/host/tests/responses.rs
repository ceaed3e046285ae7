//! What the host answers, byte by byte where another station reads it.

use super::*;
use crate::wire::{Protocol, arp, icmpv4, icmpv6, ipv4, ndp};

const DATA: [u8; 40] = [0x5a; 40];

fn echo_v4(destination: &str) -> Vec<u8> {
    let message = icmpv4::Repr::EchoRequest { identifier: 7, sequence_number: 9, data: &DATA };
    station(MAC_B).icmpv4(MAC_A, v4("10.0.0.2"), v4(destination), message).unwrap().to_vec()
}

fn echo_v6(destination: &str) -> Vec<u8> {
    let message = icmpv6::Repr::EchoRequest { identifier: 7, sequence_number: 9, data: &DATA };
    station(MAC_B).icmpv6(MAC_A, v6("fd00::2"), v6(destination), message).unwrap().to_vec()
}

#[test]
fn an_arp_request_for_our_address_is_answered() {
    let mut a = host_a();
    let request = station(MAC_B).arp_request(v4("10.0.0.2"), v4("10.0.0.1"), None).unwrap().to_vec();
    let answers = receive(&mut a, 0, &request);
    #[rustfmt::skip]
    let expected = [
        2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa, 0x08, 0x06,
        0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 0xa, 10, 0, 0, 1, 2, 0, 0, 0, 0, 0xb, 10, 0, 0, 2,
    ];
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..42], expected);
    assert_eq!(answers[0][42..], [0; 18], "padded to the shortest frame");
    assert_eq!(outcome(&a), (FrameKind::Arp, Outcome::Answered));
}

#[test]
fn an_arp_probe_is_answered() {
    let mut a = host_a();
    let probe = station(MAC_B).arp_request(Ipv4Addr::UNSPECIFIED, v4("10.0.0.1"), None).unwrap().to_vec();
    assert_eq!(receive(&mut a, 0, &probe).len(), 1);
    assert_eq!(events(&mut a), [], "the prober finds out and gives way");
}

#[test]
fn what_asks_for_others_is_ignored() {
    for frame in [
        station(MAC_B).arp_request(v4("10.0.0.2"), v4("10.0.0.3"), None).unwrap().to_vec(),
        station(MAC_B).arp_request(v4("224.0.0.1"), v4("10.0.0.1"), None).unwrap().to_vec(),
        station(MAC_B).arp_request(v4("10.0.0.255"), v4("10.0.0.1"), None).unwrap().to_vec(),
        station(MAC_B).neighbour_solicitation(v6("fd00::2"), v6("fd00::3"), None).unwrap().to_vec(),
        station(MAC_B).neighbour_solicitation(v6("ff02::5"), v6("fd00::1"), None).unwrap().to_vec(),
        // The same solicited-node group as ours, another address.
        station(MAC_B).neighbour_solicitation(v6("fd00::2"), v6("fd00:1::1"), None).unwrap().to_vec(),
        echo_v4("10.0.0.3"),
        echo_v4("10.0.0.255"),
        echo_v6("fd00::3"),
        echo_v6("ff02::1"),
    ] {
        let mut a = host_a();
        assert!(receive(&mut a, 0, &frame).is_empty());
        assert_eq!(outcome(&a).1, Outcome::Ignored);
    }
}

#[test]
fn frames_for_another_station_are_ignored() {
    for mut frame in [
        station(MAC_B).arp_request(v4("10.0.0.2"), v4("10.0.0.1"), None).unwrap().to_vec(),
        echo_v4("10.0.0.1"),
        echo_v6("fd00::1"),
    ] {
        frame[..6].copy_from_slice(&MAC_C.0);
        let mut a = host_a();
        assert!(receive(&mut a, 0, &frame).is_empty());
        assert_eq!(outcome(&a), (FrameKind::Other, Outcome::Ignored));
        frame[..6].copy_from_slice(&MAC_A.0);
        for sender in [MAC_A, MacAddress::BROADCAST, MacAddress::UNSPECIFIED] {
            frame[6..12].copy_from_slice(&sender.0);
            let mut a = host_a();
            assert!(receive(&mut a, 0, &frame).is_empty(), "from {sender}");
        }
    }
}

#[test]
fn a_solicitation_is_answered_to_whom_it_came_from() {
    for target in ["fd00::1", "fe80::ff:fe00:a"] {
        let mut a = host_a();
        let ask = station(MAC_B).neighbour_solicitation(v6("fd00::2"), v6(target), None).unwrap().to_vec();
        let answers = receive(&mut a, 0, &ask);
        let ip = crate::wire::ipv6::Packet::new_checked(&answers[0][14..]).unwrap();
        let message = icmpv6::Packet::new_checked(ip.payload()).unwrap();
        assert_eq!(answers[0][..6], MAC_B.0);
        assert_eq!((ip.source(), ip.destination(), ip.hop_limit()), (v6(target), v6("fd00::2"), 255));
        let expected = ndp::Repr::Advertisement {
            router: false,
            solicited: true,
            overrides: true,
            target: v6(target),
            target_mac: Some(MAC_A),
        };
        assert_eq!(ndp::parse(&message, ip.source(), ip.destination(), ip.hop_limit()), Ok(expected));
    }
}

#[test]
fn a_probe_for_duplicate_addresses_is_answered_to_everybody() {
    let mut a = host_a();
    let target = v6("fd00::1");
    let mut packet = vec![0; 64];
    let group = ipv6::solicited_node(target);
    let header = ipv6::Repr {
        source: Ipv6Addr::UNSPECIFIED,
        destination: group,
        next_header: Protocol::ICMPV6,
        hop_limit: 255,
        traffic_class: 0,
        payload_len: 24,
    };
    let probe = ndp::Repr::Solicitation { target, source_mac: None };
    let mut view = header.emit(&mut packet).unwrap();
    probe.emit(view.payload_mut(), icmpv6::pseudo_header(Ipv6Addr::UNSPECIFIED, group)).unwrap();
    let frame = [&MacAddress::of_ipv6_group(group).0[..], &MAC_B.0, &[0x86, 0xdd], &packet].concat();
    let answers = receive(&mut a, 0, &frame);
    assert_eq!(answers, [station(MAC_A).unsolicited_advertisement(target).unwrap()]);
}

#[test]
fn pings_are_answered_with_their_data() {
    let mut a = host_a();
    let answers = receive(&mut a, 0, &echo_v4("10.0.0.1"));
    let reply = icmpv4::Repr::EchoReply { identifier: 7, sequence_number: 9, data: &DATA };
    let expected = station(MAC_A).icmpv4(MAC_B, v4("10.0.0.1"), v4("10.0.0.2"), reply).unwrap().to_vec();
    assert_eq!(answers, [expected]);

    for own in ["fd00::1", "fe80::ff:fe00:a"] {
        let answers = receive(&mut a, 0, &echo_v6(own));
        let reply = icmpv6::Repr::EchoReply { identifier: 7, sequence_number: 9, data: &DATA };
        let expected = station(MAC_A).icmpv6(MAC_B, v6(own), v6("fd00::2"), reply).unwrap().to_vec();
        assert_eq!(answers, [expected]);
    }
    assert_eq!(a.counters().received(FrameKind::Icmp, Outcome::Answered), 1);
    assert_eq!(a.counters().received(FrameKind::Icmpv6, Outcome::Answered), 2);
}

#[test]
fn damaged_and_fragmented_pings_are_not_answered() {
    let mut damaged = echo_v4("10.0.0.1");
    damaged[50] ^= 1;
    let mut header = echo_v4("10.0.0.1");
    header[22] ^= 1;
    let mut damaged_v6 = echo_v6("fd00::1");
    damaged_v6[70] ^= 1;
    let mut fragment = echo_v4("10.0.0.1");
    fragment[20] = 0x20;
    ipv4::Packet::new_checked(&mut fragment[14..]).unwrap().fill_checksum();
    for frame in [damaged, header, damaged_v6, fragment] {
        let mut a = host_a();
        assert!(receive(&mut a, 0, &frame).is_empty());
        assert_eq!(outcome(&a).1, Outcome::Malformed);
    }
}

#[test]
fn a_ping_longer_than_the_mtu_is_not_answered() {
    let ping = |length: usize| {
        let data = vec![1; length];
        let message = icmpv4::Repr::EchoRequest { identifier: 1, sequence_number: 1, data: &data };
        let mut sender = Composer::new(MAC_B, None, 9000);
        let frame = sender.icmpv4(MAC_A, v4("10.0.0.2"), v4("10.0.0.1"), message).unwrap().to_vec();
        receive(&mut host_a(), 0, &frame).len()
    };
    assert_eq!((ping(1472), ping(1473)), (1, 0));
}

#[test]
fn each_kind_of_answer_has_its_own_limit() {
    let limits = HostLimits { arp_per_second: 5, icmp_per_second: 3, next_hops: 8 };
    let mut a = Host::new(interface(MAC_A, &["10.0.0.1/24", "fd00::1/64"]), limits);
    let arp = station(MAC_B).arp_request(v4("10.0.0.2"), v4("10.0.0.1"), None).unwrap().to_vec();
    let ndp = station(MAC_B).neighbour_solicitation(v6("fd00::2"), v6("fd00::1"), None).unwrap().to_vec();
    let frames = [
        (arp, FrameKind::Arp, 5),
        (ndp, FrameKind::Ndp, 5),
        (echo_v4("10.0.0.1"), FrameKind::Icmp, 3),
        (echo_v6("fd00::1"), FrameKind::Icmpv6, 3),
    ];
    for (frame, kind, limit) in &frames {
        let answers: usize = (0..20).map(|_| receive(&mut a, 0, frame).len()).sum();
        assert_eq!(answers, *limit, "{}", kind.label());
        assert_eq!(a.counters().received(*kind, Outcome::Answered), *limit as u64);
        assert_eq!(a.counters().received(*kind, Outcome::Limited), 20 - *limit as u64);
    }
    for (frame, _, limit) in &frames {
        let answers: usize = (0..20).map(|_| receive(&mut a, SECOND_NS, frame).len()).sum();
        assert_eq!(answers, *limit, "a second later");
    }
}

#[test]
fn a_flood_of_questions_does_not_keep_us_from_learning() {
    let limits = HostLimits { arp_per_second: 1, icmp_per_second: 1, next_hops: 8 };
    let mut a = Host::new(interface(MAC_A, &["10.0.0.1/24"]), limits);
    let hop = a.next_hop(ip("10.0.0.2")).unwrap();
    poll(&mut a, 0);
    let flood = station(MAC_C).arp_request(v4("10.0.0.3"), v4("10.0.0.1"), None).unwrap().to_vec();
    for _ in 0..100 {
        receive(&mut a, 0, &flood);
    }
    let request = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: MAC_A,
        sender_address: v4("10.0.0.1"),
        target_mac: MacAddress::UNSPECIFIED,
        target_address: v4("10.0.0.2"),
    };
    let reply = station(MAC_B).arp_reply(&request).unwrap().to_vec();
    receive(&mut a, 0, &reply);
    assert_eq!(a.mac(hop), Some(MAC_B));
}
