//! Resolution, refresh, loss, announcements and routes.

use super::*;

/// Delivers everything that the two have to say to each other at `now_ns`.
fn exchange(a: &mut Host, b: &mut Host, now_ns: u64) {
    let (mut to_b, mut to_a) = (poll(a, now_ns), poll(b, now_ns));
    while !to_b.is_empty() || !to_a.is_empty() {
        let from_b = to_b.drain(..).flat_map(|frame| receive(b, now_ns, &frame)).collect();
        let from_a = to_a.drain(..).flat_map(|frame| receive(a, now_ns, &frame)).collect();
        (to_a, to_b) = (from_b, from_a);
    }
}

fn states(host: &Host) -> Vec<NeighbourState> {
    host.neighbours().map(|neighbour| neighbour.state).collect()
}

#[test]
fn two_hosts_resolve_each_other_over_both_families() {
    let (mut a, mut b) = (host_a(), host_b());
    let over_v4 = a.next_hop(ip("10.0.0.2")).unwrap();
    let over_v6 = a.next_hop(ip("fd00::2")).unwrap();
    let link_local = a.next_hop(MAC_B.link_local().into()).unwrap();
    let back = b.next_hop(ip("10.0.0.1")).unwrap();
    assert_eq!(
        (over_v4, over_v6, link_local, back),
        (NextHopId(0), NextHopId(1), NextHopId(2), NextHopId(0))
    );
    assert_eq!(a.mac(over_v4), None);
    exchange(&mut a, &mut b, 0);
    for next_hop in [over_v4, over_v6, link_local] {
        assert_eq!(a.mac(next_hop), Some(MAC_B));
    }
    let resolved = |next_hop, mac| Event::Resolved { next_hop, mac };
    let mut happened = events(&mut a);
    happened.sort_by_key(|event| match event {
        Event::Resolved { next_hop, .. } | Event::Lost { next_hop } => next_hop.0,
        Event::AddressConflict { .. } => u32::MAX,
    });
    assert_eq!(happened, [over_v4, over_v6, link_local].map(|id| resolved(id, MAC_B)));
    assert_eq!(events(&mut b), [resolved(back, MAC_A)]);
    assert_eq!(events(&mut a), []);
    assert_eq!(states(&a), [NeighbourState::Reachable; 3]);
    assert_eq!(a.counters().solicitations, 3);
    assert_eq!(b.counters().received(FrameKind::Arp, Outcome::Answered), 1);
    assert_eq!(b.counters().received(FrameKind::Ndp, Outcome::Answered), 2);
}

#[test]
fn a_vlan_tag_is_carried_and_required() {
    let tagged =
        |mac, addresses: &[&str], vlan| Host::new(Interface { vlan, ..interface(mac, addresses) }, LIMITS);
    for (vlan_b, reached) in [(Some(100), true), (Some(101), false), (None, false)] {
        let mut a = tagged(MAC_A, &["10.0.0.1/24", "fd00::1/64"], Some(100));
        let mut b = tagged(MAC_B, &["10.0.0.2/24", "fd00::2/64"], vlan_b);
        let hops = [a.next_hop(ip("10.0.0.2")).unwrap(), a.next_hop(ip("fd00::2")).unwrap()];
        exchange(&mut a, &mut b, 0);
        for hop in hops {
            assert_eq!(a.mac(hop).is_some(), reached, "{vlan_b:?}");
        }
        let mut c = tagged(MAC_C, &["10.0.0.3/24"], Some(100));
        c.next_hop(ip("10.0.0.1")).unwrap();
        for frame in poll(&mut c, 0) {
            assert_eq!(frame[12..18], [0x81, 0x00, 0, 100, 0x08, 0x06]);
        }
    }
}

#[test]
fn a_resolved_next_hop_is_refreshed_before_it_expires() {
    let (mut a, mut b) = (host_a(), host_b());
    let hops = [a.next_hop(ip("10.0.0.2")).unwrap(), a.next_hop(ip("fd00::2")).unwrap()];
    exchange(&mut a, &mut b, 0);
    assert_eq!(events(&mut a).len(), 2);
    let mut now = 0;
    for _ in 0..10 {
        now = a.next_deadline_ns().unwrap();
        let probes = poll(&mut a, now);
        for probe in &probes {
            assert_eq!(probe[..6], MAC_B.0, "probes are unicast");
        }
        for probe in probes {
            for answer in receive(&mut b, now, &probe) {
                receive(&mut a, now, &answer);
            }
        }
        assert_eq!(states(&a), [NeighbourState::Reachable; 2]);
    }
    assert_eq!(now, 10 * 30 * SECOND_NS);
    assert_eq!(hops.map(|hop| a.mac(hop)), [Some(MAC_B); 2]);
    assert_eq!(events(&mut a), [], "nothing was lost and nothing is new");
}

#[test]
fn a_silent_next_hop_is_lost_and_found_again() {
    let (mut a, mut b) = (host_a(), host_b());
    let hop = a.next_hop(ip("10.0.0.2")).unwrap();
    exchange(&mut a, &mut b, 0);
    assert_eq!(events(&mut a), [Event::Resolved { next_hop: hop, mac: MAC_B }]);
    let mut probes = 0;
    while a.mac(hop).is_some() {
        let now = a.next_deadline_ns().unwrap();
        assert!(now <= 33 * SECOND_NS);
        probes += poll(&mut a, now).iter().filter(|frame| frame[..6] == MAC_B.0).count();
    }
    assert_eq!(probes, 3);
    assert_eq!(events(&mut a), [Event::Lost { next_hop: hop }]);
    // The other end comes back with another MAC address and announces itself.
    let mut returned = Host::new(interface(MAC_C, &["10.0.0.2/24"]), LIMITS);
    let mut frames = vec![];
    returned.announce(0, &mut |frame| frames.push(frame.to_vec()));
    let now = 100 * SECOND_NS;
    for frame in &frames {
        assert_eq!(receive(&mut a, now, frame), Vec::<Vec<u8>>::new());
    }
    assert_eq!(events(&mut a), [Event::Resolved { next_hop: hop, mac: MAC_C }]);
    assert_eq!(states(&a), [NeighbourState::Stale], "heard, not yet confirmed");
    exchange(&mut a, &mut returned, now + 5 * SECOND_NS);
    assert_eq!(states(&a), [NeighbourState::Reachable]);
}

#[test]
fn announcements_come_three_times_a_second_apart() {
    let mut a = host_a();
    assert_eq!(a.next_deadline_ns(), None);
    let mut frames = vec![];
    let start = 7 * SECOND_NS;
    a.announce(start, &mut |frame| frames.push(frame.to_vec()));
    assert_eq!(frames.len(), 3, "IPv4, IPv6 and link-local address");
    assert_eq!(a.next_deadline_ns(), Some(start + SECOND_NS));
    assert_eq!(poll(&mut a, start + SECOND_NS - 1), Vec::<Vec<u8>>::new());
    assert_eq!(poll(&mut a, start + SECOND_NS), frames);
    assert_eq!(poll(&mut a, start + 2 * SECOND_NS), frames);
    assert_eq!(a.next_deadline_ns(), None);
    assert_eq!(a.counters().announcements, 9);

    let (mut b, mut c) = (host_b(), host_b());
    let hops = ["10.0.0.1", "fd00::1"].map(|address| b.next_hop(ip(address)).unwrap());
    for frame in &frames {
        assert!(receive(&mut b, 0, frame).is_empty());
        assert!(receive(&mut c, 0, frame).is_empty());
    }
    assert_eq!(hops.map(|hop| b.mac(hop)), [Some(MAC_A); 2]);
    assert_eq!(c.neighbours().count(), 0, "nobody is added to the table by speaking up");
}

#[test]
fn a_link_that_comes_up_ends_the_back_off() {
    let mut a = host_a();
    a.next_hop(ip("10.0.0.2")).unwrap();
    let mut now = 0;
    for _ in 0..8 {
        now = a.next_deadline_ns().unwrap();
        assert_eq!(poll(&mut a, now).len(), 1);
    }
    assert_eq!(a.next_deadline_ns(), Some(now + 60 * SECOND_NS));
    a.announce(now + 1, &mut |_| ());
    assert_eq!(poll(&mut a, now + 1).len(), 1, "asked at once");
}

#[test]
fn a_poll_sends_a_bounded_number_of_questions() {
    let limits = HostLimits { next_hops: 200, ..LIMITS };
    let mut a = Host::new(interface(MAC_A, &["10.0.0.1/24"]), limits);
    for n in 2..202u8 {
        a.next_hop(IpAddr::from([10, 0, 0, n])).unwrap();
    }
    let sent: Vec<_> = (0..5).map(|_| poll(&mut a, 0).len()).collect();
    assert_eq!(sent, [64, 64, 64, 8, 0]);
    assert_eq!(a.next_deadline_ns(), Some(SECOND_NS));
}

#[test]
fn routes() {
    let mut interface = interface(MAC_A, &["10.0.0.1/24", "192.0.2.9/31", "fd00::1/64"]);
    interface.gateways = vec![ip("10.0.0.254"), ip("fe80::fe")];
    let mut host = Host::new(interface, LIMITS);
    let mut target = |text| {
        let id = host.next_hop(ip(text))?;
        Ok(host.neighbours().nth(id.0 as usize).unwrap().address.to_string())
    };
    for (remote, expected) in [
        ("10.0.0.2", "10.0.0.2"),
        ("192.0.2.8", "192.0.2.8"),
        ("10.0.1.2", "10.0.0.254"),
        ("8.8.8.8", "10.0.0.254"),
        ("fd00::2", "fd00::2"),
        ("fe80::2", "fe80::2"),
        ("2001:db8::1", "fe80::fe"),
    ] {
        assert_eq!(target(remote).as_deref(), Ok(expected), "{remote}");
    }
    for remote in [
        "10.0.0.255",
        "10.0.0.0",
        "224.0.0.1",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "ff02::1",
        "::1",
        "::",
    ] {
        assert_eq!(target(remote), Err(RouteError::NotUnicast { remote: ip(remote) }), "{remote}");
    }
    for remote in ["10.0.0.1", "192.0.2.9", "fd00::1", &MAC_A.link_local().to_string()] {
        assert_eq!(target(remote), Err(RouteError::OwnAddress { remote: ip(remote) }));
    }
}

#[test]
fn no_route_and_a_full_table_are_refused_with_a_remedy() {
    let mut a = host_a();
    let refused = |a: &mut Host, remote| a.next_hop(ip(remote)).unwrap_err().to_string();
    assert_eq!(
        refused(&mut a, "8.8.8.8"),
        "8.8.8.8 is in no prefix of the port and has no gateway: configure a gateway on the port"
    );
    assert_eq!(
        refused(&mut a, "2001:db8::1"),
        "2001:db8::1 is in no prefix of the port and has no gateway: configure a gateway on the port"
    );
    for n in 10..18 {
        a.next_hop(IpAddr::from([10, 0, 0, n])).unwrap();
    }
    assert_eq!(
        refused(&mut a, "10.0.0.99"),
        "no room for 10.0.0.99 among 8 next hops: use a gateway, or raise the capacity"
    );
    assert_eq!(a.next_hop(ip("10.0.0.11")), Ok(NextHopId(1)), "known ones are still found");

    let mut only_v4 = Host::new(interface(MAC_A, &["10.0.0.1/24"]), LIMITS);
    assert!(matches!(only_v4.next_hop(ip("fe80::2")), Err(RouteError::NoRoute { .. })));
    assert_eq!(only_v4.addresses().count(), 1, "no IPv6 address, no link-local address");
}
