//! The gateway as a host on the network: it answers and announces itself, within limits, and keeps finding its
//! next hops, even one that comes back with another MAC address.

mod harness;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use harness::call::connect;
use harness::raw_socket::RawSocket;
use harness::testpmd::{Testpmd, memif_server};
use harness::{
    ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, Scrape, SessionText, Veth, frame,
    require,
};

const LIMIT: Duration = Duration::from_secs(30);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 84, 1, 1);
const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd84, 1, 0, 0, 0, 0, 0, 1);

fn config(veths: &[Veth; 2]) -> ConfigText {
    ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.84.1.1/24", "fd84:1::1/64"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.84.2.1/24", "fd84:2::1/64"]),
        ],
        sessions: vec![SessionText::new(
            "call",
            LegText::new("10.84.1.1:20000", "10.84.1.2:30000"),
            LegText::new("10.84.2.1:20000", "10.84.2.2:30000"),
        )],
        ..ConfigText::default()
    }
}

fn veths(namespace: &Namespace) -> [Veth; 2] {
    [&["10.84.1.2/24", "fd84:1::2/64"], &["10.84.2.2/24", "fd84:2::2/64"]]
        .map(|addresses| Veth::new(namespace, addresses))
}

#[test]
fn arping_ping_and_ndisc6_are_answered() {
    for (program, package) in [("arping", "iputils-arping"), ("ping", "iputils-ping"), ("ndisc6", "ndisc6")] {
        require(program, package);
    }
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = veths(&namespace);
    let gateway = Gateway::start(&machine, &config(&veths));
    let interface = &veths[0].peer;
    let mac = veths[0].host_mac().map(|byte| format!("{byte:02x}")).join(":");

    let arping = namespace.sh(&format!("arping -c 3 -w 5 -I {interface} {HOST}"));
    assert!(arping.to_lowercase().contains(&mac), "{arping}");
    let ndisc = namespace.sh(&format!("ndisc6 -1 -w 2000 {HOST_V6} {interface}"));
    assert!(ndisc.to_lowercase().contains(&mac), "{ndisc}");
    for target in [HOST.to_string(), HOST_V6.to_string()] {
        // The largest echo that the MTU carries, too.
        for size in [8, 56, 1_400] {
            let ping = namespace.sh(&format!("ping -c 3 -i 0.2 -W 2 -s {size} {target}"));
            assert!(ping.contains(" 0% packet loss"), "{ping}");
        }
    }
    // Not its address, not its business.
    let silent =
        namespace.command("arping").args(["-c", "1", "-w", "1", "-I", interface, "10.84.1.77"]).output();
    assert!(!silent.expect("arping runs").status.success(), "somebody answered for 10.84.1.77");

    let page = gateway.quiet_scrape();
    assert!(page.port("voxlane_punted_packets_total", "a") >= 3 + 1 + 18);
    assert!(page.port("voxlane_originated_packets_total", "a") >= 3 + 1 + 18);
    gateway.stop();
    println!("arping, ndisc6 and ping over IPv4 and IPv6 are answered");
}

#[test]
fn answers_are_limited_and_the_excess_is_counted() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = veths(&namespace);
    let mut config = config(&veths);
    config.host = vec![("arp_per_second", 10), ("icmp_per_second", 10), ("punt_per_second", 1_000)];
    let socket = RawSocket::open(&namespace, &veths[0]);
    let gateway = Gateway::start(&machine, &config);
    let limited = |kind: &'static str| {
        move |page: &harness::Scrape| {
            let sum = page.sum("voxlane_host_packets_total", &[("kind", kind), ("outcome", "limited")]);
            (sum > 0).then_some(sum)
        }
    };

    // Within the punt limit, beyond that of ARP.
    let ask = frame::arp_request(veths[0].peer_mac(), Ipv4Addr::new(10, 84, 1, 2), HOST);
    (0..200).for_each(|_| socket.send(&ask));
    let arp = gateway.wait_for("limited ARP", LIMIT, limited("arp"));
    let ping = namespace.command("ping").args(["-f", "-c", "200", "-w", "3", &HOST.to_string()]).output();
    let ping = String::from_utf8_lossy(&ping.expect("ping runs").stdout).into_owned();
    assert!(!ping.contains(" 0% packet loss"), "two hundred echoes at once, and none was limited: {ping}");
    let icmp = gateway.wait_for("limited ICMP", LIMIT, limited("icmp"));

    // Beyond the punt limit: the worker drops and counts, the control thread sees none of it.
    let before = gateway.quiet_scrape();
    let excess = |page: &Scrape| page.drops("a").get("punt_rate_limited").copied().unwrap_or(0);
    gateway.wait_for("punt_rate_limited", LIMIT, |page| {
        (0..500).for_each(|_| socket.send(&ask));
        (excess(page) > excess(&before)).then_some(())
    });
    let after = gateway.quiet_scrape();
    let gained = |name| after.port(name, "a") - before.port(name, "a");
    let punts = excess(&after) - excess(&before);
    // A burst may overrun the packet socket; of what the port delivered, each frame is one or the other.
    assert_eq!(gained("voxlane_rx_packets_total"), gained("voxlane_punted_packets_total") + punts);
    gateway.stop();
    println!("limited and counted: {arp} ARP, {icmp} ICMP, {punts} punts");
}

#[test]
fn it_announces_its_addresses_over_arp_and_nd() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = veths(&namespace);
    let socket = RawSocket::open(&namespace, &veths[0]);
    let gateway = Gateway::start(&machine, &config(&veths));
    let mac = veths[0].host_mac();
    let mut seen = BTreeMap::new();
    let all = socket.receive(LIMIT, |frame| {
        *seen.entry(announcement(frame, mac)?).or_insert(0) += 1;
        // Three of each, a second apart.
        (seen.len() == 2 && seen.values().all(|&count| count >= 3)).then_some(())
    });
    assert!(all.is_some(), "announced: {seen:?}");
    gateway.stop();
    println!("announced: {seen:?}");
}

/// With memif, whose driver sees its peer come and go: the packet socket's always reports the link as up.
#[test]
fn it_announces_itself_again_each_time_the_link_comes_up() {
    let machine = Machine::take();
    let socket = machine.path("a.sock");
    let config = ConfigText {
        ports: vec![PortText::new("a", memif_server(0, &socket), &["10.84.1.1/24", "fd84:1::1/64"])],
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let announced = |page: &Scrape| {
        page.sum("voxlane_host_packets_total", &[("kind", "announcement"), ("outcome", "sent")])
    };
    let link = |page: &Scrape| page.sum("voxlane_link_up", &[("port", "a")]);
    assert_eq!(link(&gateway.scrape()), 0, "nobody has connected yet");
    for round in 1..=3 {
        let before = announced(&gateway.scrape());
        let mut testpmd = Testpmd::start(&socket, &[]);
        testpmd.flood("rxonly");
        gateway.wait_for("the link to be up and the addresses announced", LIMIT, |page| {
            // Two addresses and the link-local one, three times each.
            (link(page) == 1 && announced(page) >= before + 6).then_some(())
        });
        testpmd.quit();
        gateway.wait_for("the link to be down", LIMIT, |page| (link(page) == 0).then_some(()));
        println!("round {round}: announced {} in all", announced(&gateway.scrape()));
    }
    gateway.stop();
}

#[test]
fn a_next_hop_that_comes_back_with_another_mac_is_found_again() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    // Sides of their own, so that nothing but the gateway leads from one to the other.
    let other = Namespace::new();
    let veths = [Veth::new(&namespace, &["10.84.1.2/24"]), Veth::new(&other, &["10.84.2.2/24"])];
    let config = config(&veths);
    let gateway = Gateway::start(&machine, &config);
    let session = &config.sessions[0];
    let (mut caller, mut callee) =
        (Phone::new(&namespace, &session.a, 1, 1), Phone::new(&other, &session.b, 2, 1));
    connect(&mut caller, &mut callee, LIMIT);

    let interface = &veths[1].peer;
    other.sh(&format!("ip address flush dev {interface}"));
    other.sh(&format!("ip link set {interface} address 02:76:78:77:77:77"));
    let patience = Duration::from_secs(90);
    gateway.wait_for("the lost next hop to be given up", patience, |page| {
        caller.talk();
        (page.drops("a").contains_key("next_hop_unresolved")).then_some(())
    });
    // From here to the return, every packet must die at once.
    let gone = caller.sealer().next_index();
    (0..100).for_each(|_| drop(caller.talk()));
    gateway.wait_for("a hundred packets for nobody", LIMIT, |page| {
        (page.drops("a").get("next_hop_unresolved") >= Some(&100)).then_some(())
    });
    let back = caller.sealer().next_index();
    other.sh(&format!("ip address add 10.84.2.2/24 dev {interface}"));
    connect(&mut caller, &mut callee, patience);
    let returned: Vec<_> = callee.heard.range(gone..back).collect();
    assert!(returned.is_empty(), "packets for an unresolved next hop were kept: {returned:?}");

    let stopped = gateway.stop();
    let unresolved = stopped.drops("a")["next_hop_unresolved"];
    let sent = caller.sealer().next_index() - 1;
    assert_eq!(stopped.port("a", "tx") + unresolved, sent, "every packet was sent on or counted");
    println!(
        "{sent} packets: {unresolved} for an unresolved next hop, the rest sent on; found again after a new MAC"
    );
}

/// What `frame` announces, if it is an announcement of the gateway.
fn announcement(frame: &[u8], mac: [u8; 6]) -> Option<&'static str> {
    let (ethernet, packet) = frame.split_at_checked(14)?;
    if ethernet[6..12] != mac {
        return None;
    }
    match u16::from_be_bytes([ethernet[12], ethernet[13]]) {
        // RFC 5227 §3: sender and target are the address itself.
        frame::ETHERTYPE_ARP
            if packet.get(14..18)? == HOST.octets() && packet.get(24..28)? == HOST.octets() =>
        {
            Some("gratuitous ARP")
        }
        // RFC 4861 §7.2.6: to all nodes, not solicited, target our address.
        frame::ETHERTYPE_IPV6 if packet.get(6) == Some(&58) && packet.get(40) == Some(&136) => {
            let solicited = packet.get(44)? & 0x40 != 0;
            (!solicited && packet.get(48..64)? == HOST_V6.octets()).then_some("unsolicited NA")
        }
        _ => None,
    }
}
