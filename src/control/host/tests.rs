//! Two hosts back to back, strangers in between, and a clock that the tests turn.

mod hostile;
mod link;
mod responses;

use std::net::IpAddr;

use super::*;

const MAC_A: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xa]);
const MAC_B: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xb]);
const MAC_C: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xc]);
const LIMITS: HostLimits = HostLimits { arp_per_second: 1000, icmp_per_second: 100, next_hops: 8 };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn interface(mac: MacAddress, addresses: &[&str]) -> Interface {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Interface { mac, vlan: None, addresses, gateways: vec![], mtu: 1500 }
}

fn host_a() -> Host {
    Host::new(interface(MAC_A, &["10.0.0.1/24", "fd00::1/64"]), LIMITS)
}

fn host_b() -> Host {
    Host::new(interface(MAC_B, &["10.0.0.2/24", "fd00::2/64"]), LIMITS)
}

/// Feeds one frame and returns the answers.
fn receive(host: &mut Host, now_ns: u64, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = vec![];
    host.receive(now_ns, frame, &mut |frame| answers.push(frame.to_vec()));
    answers
}

fn poll(host: &mut Host, now_ns: u64) -> Vec<Vec<u8>> {
    let mut frames = vec![];
    host.poll(now_ns, &mut |frame| frames.push(frame.to_vec()));
    frames
}

fn events(host: &mut Host) -> Vec<Event> {
    host.events().collect()
}

/// Writes frames as another station would.
fn station(mac: MacAddress) -> Composer {
    Composer::new(mac, None, 1500)
}

/// The one outcome that was counted, as all hosts of a test start with none.
fn outcome(host: &Host) -> (FrameKind, Outcome) {
    assert_eq!(host.counters().total(), 1);
    let all = FrameKind::ALL.into_iter().flat_map(|kind| Outcome::ALL.map(|outcome| (kind, outcome)));
    all.into_iter().find(|(kind, outcome)| host.counters().received(*kind, *outcome) == 1).unwrap()
}
