//! Random worlds: ports, sessions and keys, all of which follow from the seed.

use std::net::{IpAddr, SocketAddr};

use crate::random::Random;
use crate::reference::srtp::{MasterKey, Suite};
use crate::reference::{Leg, LegKeys, Port, Session, World};

/// What legs name, if they name payload types at all.
pub const PAYLOAD_TYPES: [u8; 3] = [96, 0, 111];

/// A world of 1 to 6 sessions whose legs take the pairs of suites in turn, from number `first` on; `None` among
/// `suites` is a plain leg. Most encrypted legs have up to `mki_keys` keys with MKIs, or one without if that is 0.
pub fn world(random: &mut Random, suites: &[Option<Suite>], first: usize, mki_keys: u8) -> World {
    let ports = (0..2).map(|number| port(random, number)).collect();
    let sessions = (0..random.between(1, 6) as usize).map(|number| {
        let pair = (first + number) % (suites.len() * suites.len());
        let suites = [suites[pair / suites.len()], suites[pair % suites.len()]];
        Session { legs: [0, 1].map(|side| leg(random, number, side, suites[side], mki_keys)) }
    });
    let sessions = sessions.collect();
    let window = 64 * random.between(1, 16) as u32;
    World { ports, sessions, window, rtcp_window: window }
}

fn port(random: &mut Random, number: u8) -> Port {
    Port {
        mac: [2, 0, 0, 0, 0, number + 1],
        vlan: random.chance(300).then(|| random.between(1, 4094) as u16),
        addresses: vec![address(number, false, 1), address(number, true, 1)],
        mtu: *random.pick(&[576, 1280, 1500, 1500, 1500, 9000]),
        udp_checksum: random.chance(800),
    }
}

/// A host in the networks of a port.
pub fn address(port: u8, ipv6: bool, host: u8) -> IpAddr {
    match ipv6 {
        false => IpAddr::from([10, 1, port, host]),
        true => IpAddr::from([0xfd00, 1, port.into(), 0, 0, 0, 0, host.into()]),
    }
}

fn leg(random: &mut Random, session: usize, side: usize, suite: Option<Suite>, mki_keys: u8) -> Leg {
    let port = random.below(2) as u8;
    let ipv6 = random.chance(400);
    let host = random.between(2, 250) as u8;
    let number = (20_000 + 100 * session + 10 * side) as u16;
    let local = SocketAddr::new(address(port, ipv6, 1), number);
    let remote = SocketAddr::new(address(port, ipv6, host), random.between(1024, 65_534) as u16);
    let beside = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
    Leg {
        port: port.into(),
        local,
        remote,
        rtcp: random.chance(400).then(|| [beside(local), beside(remote)]),
        keys: suite.map(|suite| leg_keys(random, suite, mki_keys)),
        payload_types: match random.chance(200) {
            true => u128::MAX,
            false => PAYLOAD_TYPES.iter().fold(0, |types, &number| types | 1 << number),
        },
        reduced_size_rtcp: random.chance(500),
        next_hop: (!random.chance(30)).then_some([2, 0, 0, 1, port, host]),
    }
}

fn leg_keys(random: &mut Random, suite: Suite, mki_keys: u8) -> LegKeys {
    let mki_len = if mki_keys > 0 { *random.pick(&[0, 1, 4, 4, 16]) } else { 0 };
    let keys = if mki_len > 0 { random.between(1, mki_keys.into()) as u8 } else { 1 };
    let remote = (1..=keys).map(|number| key(random, suite, mki_of(number, mki_len))).collect();
    let local = random.number() as u8;
    LegKeys { remote, local: key(random, suite, mki_of(local, mki_len)) }
}

fn mki_of(number: u8, len: usize) -> Vec<u8> {
    let mut mki = vec![0; len];
    if let Some(last) = mki.last_mut() {
        *last = number;
    }
    mki
}

fn key(random: &mut Random, suite: Suite, mki: Vec<u8>) -> MasterKey {
    let (key, salt) = (random.octets(suite.key_len), random.octets(suite.salt_len));
    MasterKey { suite, key, salt, mki }
}
