//! Spoofed, conflicting and random frames.

use super::*;
use crate::wire::testing::{Random, sweep};
use crate::wire::{Protocol, arp, icmpv6, ndp};

fn arp_reply(mac: MacAddress, address: &str) -> Vec<u8> {
    let request = arp::Repr {
        operation: arp::Operation::Request,
        sender_mac: MAC_A,
        sender_address: v4("10.0.0.1"),
        target_mac: MacAddress::UNSPECIFIED,
        target_address: v4(address),
    };
    station(mac).arp_reply(&request).unwrap().to_vec()
}

/// An advertisement to A with any field wrong that a test wants wrong.
fn advertisement(
    target: &str,
    mac: Option<MacAddress>,
    solicited: bool,
    overrides: bool,
    hop_limit: u8,
) -> Vec<u8> {
    let (source, destination) = (v6("fd00::2"), v6("fd00::1"));
    let message =
        ndp::Repr::Advertisement { router: false, solicited, overrides, target: v6(target), target_mac: mac };
    let payload_len = message.buffer_len();
    let header = ipv6::Repr {
        source,
        destination,
        next_header: Protocol::ICMPV6,
        hop_limit,
        traffic_class: 0,
        payload_len,
    };
    let mut packet = vec![0; header.buffer_len()];
    let mut view = header.emit(&mut packet).unwrap();
    message.emit(view.payload_mut(), icmpv6::pseudo_header(source, destination)).unwrap();
    [&MAC_A.0[..], &MAC_B.0, &[0x86, 0xdd], &packet].concat()
}

#[test]
fn nothing_is_learned_about_those_we_did_not_ask_for() {
    let mut a = host_a();
    let hops = ["10.0.0.2", "fd00::2"].map(|address| a.next_hop(ip(address)).unwrap());
    poll(&mut a, 0);
    for frame in [
        arp_reply(MAC_C, "10.0.0.3"),
        station(MAC_C).gratuitous_arp(v4("10.0.0.3")).unwrap().to_vec(),
        advertisement("fd00::3", Some(MAC_C), true, true, 255),
        station(MAC_C).unsolicited_advertisement(v6("fd00::3")).unwrap().to_vec(),
    ] {
        assert!(receive(&mut a, 0, &frame).is_empty());
    }
    assert_eq!(a.neighbours().count(), 2);
    assert_eq!(hops.map(|hop| a.mac(hop)), [None; 2]);
    assert_eq!(events(&mut a), []);
    let ignored = [FrameKind::Arp, FrameKind::Ndp].map(|kind| a.counters().received(kind, Outcome::Ignored));
    assert_eq!(ignored, [2, 2]);
}

#[test]
fn pings_and_other_traffic_teach_nothing() {
    let mut a = host_a();
    let hop = a.next_hop(ip("10.0.0.2")).unwrap();
    poll(&mut a, 0);
    let message = crate::wire::icmpv4::Repr::EchoRequest { identifier: 1, sequence_number: 1, data: &[] };
    let frame = station(MAC_B).icmpv4(MAC_A, v4("10.0.0.2"), v4("10.0.0.1"), message).unwrap().to_vec();
    assert_eq!(receive(&mut a, 0, &frame).len(), 1);
    assert_eq!(a.mac(hop), None);
}

#[test]
fn advertisements_that_break_the_rules_are_refused() {
    for (frame, outcome_expected) in [
        (advertisement("fd00::2", Some(MAC_B), true, true, 254), Outcome::Malformed),
        (advertisement("ff02::2", Some(MAC_B), true, true, 255), Outcome::Malformed),
        (advertisement("fd00::2", Some(MacAddress::BROADCAST), true, true, 255), Outcome::Ignored),
        (advertisement("fd00::2", Some(MAC_A), true, true, 255), Outcome::Ignored),
        (advertisement("fd00::2", None, true, true, 255), Outcome::Ignored),
        (advertisement("fd00::2", Some(MAC_B), true, true, 255), Outcome::Learned),
    ] {
        let mut a = host_a();
        let hop = a.next_hop(ip("fd00::2")).unwrap();
        poll(&mut a, 0);
        receive(&mut a, 0, &frame);
        assert_eq!(outcome(&a), (FrameKind::Ndp, outcome_expected));
        assert_eq!(a.mac(hop).is_some(), outcome_expected == Outcome::Learned);
    }
}

#[test]
fn an_answer_confirms_only_while_we_ask() {
    let mut a = host_a();
    let hops = ["10.0.0.2", "fd00::2"].map(|address| a.next_hop(ip(address)).unwrap());
    let states = |a: &Host| a.neighbours().map(|neighbour| neighbour.state).collect::<Vec<_>>();
    // Before the first question an "answer" is a claim like any other.
    receive(&mut a, 0, &arp_reply(MAC_B, "10.0.0.2"));
    receive(&mut a, 0, &advertisement("fd00::2", Some(MAC_B), true, true, 255));
    assert_eq!(states(&a), [NeighbourState::Stale; 2]);
    // The first probe comes after five seconds, whatever keeps claiming the same.
    for now in (0..5).map(|second| second * SECOND_NS) {
        receive(&mut a, now, &arp_reply(MAC_B, "10.0.0.2"));
        receive(&mut a, now, &advertisement("fd00::2", Some(MAC_B), true, true, 255));
    }
    let now = 5 * SECOND_NS;
    assert_eq!(poll(&mut a, now).len(), 2);
    receive(&mut a, now, &arp_reply(MAC_B, "10.0.0.2"));
    receive(&mut a, now, &advertisement("fd00::2", Some(MAC_B), true, true, 255));
    assert_eq!(states(&a), [NeighbourState::Reachable; 2]);
    assert_eq!(hops.map(|hop| a.mac(hop)), [Some(MAC_B); 2]);
}

#[test]
fn an_address_conflict_is_counted_and_reported_once_in_ten_seconds() {
    let mut a = host_a();
    let claims = [
        (ip("10.0.0.1"), station(MAC_C).gratuitous_arp(v4("10.0.0.1")).unwrap().to_vec()),
        (ip("10.0.0.1"), station(MAC_C).arp_request(v4("10.0.0.1"), v4("10.0.0.2"), None).unwrap().to_vec()),
        (ip("fd00::1"), station(MAC_C).unsolicited_advertisement(v6("fd00::1")).unwrap().to_vec()),
        (ip("fd00::1"), advertisement("fd00::1", Some(MAC_C), false, true, 255)),
    ];
    let conflict = |address| Event::AddressConflict { address, mac: MAC_C };
    for (now, reported) in [(0, true), (SECOND_NS, false), (10 * SECOND_NS - 1, false)] {
        for (address, claim) in &claims {
            assert!(receive(&mut a, now, claim).is_empty());
            let first_of_address = claims.iter().find(|(other, _)| other == address).map(|(_, first)| first);
            let expected = (reported && first_of_address == Some(claim)).then(|| conflict(*address));
            assert_eq!(events(&mut a), Vec::from_iter(expected), "{address} at {now}");
        }
    }
    assert_eq!(a.counters().conflicts, 12);
    receive(&mut a, 10 * SECOND_NS, &claims[0].1);
    assert_eq!(events(&mut a), [conflict(ip("10.0.0.1"))]);
    let mirrored = station(MAC_A).gratuitous_arp(v4("10.0.0.1")).unwrap().to_vec();
    receive(&mut a, 30 * SECOND_NS, &mirrored);
    assert_eq!(events(&mut a), [], "our own frame, come back, is no conflict");
}

#[test]
fn random_and_damaged_frames_change_nothing_and_never_panic() {
    let mut a = host_a();
    a.next_hop(ip("10.0.0.2")).unwrap();
    let mut valid = vec![
        arp_reply(MAC_B, "10.0.0.3"),
        station(MAC_B).arp_request(v4("10.0.0.3"), v4("10.0.0.1"), None).unwrap().to_vec(),
        advertisement("fd00::3", Some(MAC_B), true, true, 255),
        station(MAC_B).neighbour_solicitation(v6("fd00::3"), v6("fd00::1"), None).unwrap().to_vec(),
    ];
    valid.extend(poll(&mut host_b(), 0));
    let (mut fed, mut answered) = (0, 0);
    for frame in &valid {
        sweep(frame, |bytes| {
            fed += 1;
            answered += receive(&mut a, fed * 1_000_000, bytes).len() as u64;
        });
    }
    let mut random = Random::new(11);
    for _ in 0..100_000 {
        let length = random.below(120);
        fed += 1;
        answered += receive(&mut a, fed * 1_000_000, &random.bytes(length)).len() as u64;
    }
    assert_eq!(a.counters().total(), fed, "each frame has exactly one outcome");
    let counted: u64 =
        FrameKind::ALL.iter().map(|kind| a.counters().received(*kind, Outcome::Answered)).sum();
    assert_eq!(answered, counted);
    assert_eq!(a.neighbours().count(), 1);
}
