//! The reference gateway between two peers of libsrtp: datagrams from its sockets go through it as frames.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::harness::libsrtp::{Call, Counts};
use crate::reference::link::{self, Seen};
use crate::reference::srtp::{MasterKey, Suite};
use crate::reference::{Gateway, Leg, LegKeys, Outcome, Port, Reason, Session, World};
use crate::{Ends, LIMIT, OPTIONS};

const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Lets two peers talk through the reference, one call for each of `pairs`; with `mki` every remote has two keys.
/// Returns what the ends counted, and what the reference refused.
pub fn converse(
    ends: &Ends,
    pairs: &[[Suite; 2]],
    mki: bool,
    more: &[(&str, u64)],
) -> (BTreeMap<String, Counts>, BTreeMap<String, Counts>, BTreeMap<Reason, u64>) {
    // The kernel takes the whole network of an address on the loopback interface for its own.
    for side in 0..2 {
        ends.namespace.sh(&format!("ip address replace 10.79.{side}.1/24 dev lo"));
    }
    let world = world(pairs, mki);
    let sockets: Vec<[UdpSocket; 2]> =
        world.sessions.iter().map(|session| session.legs.each_ref().map(|leg| socket(ends, leg))).collect();
    let options = [&OPTIONS[..], more].concat();
    let mut peers = [0, 1].map(|side| {
        let calls: Vec<Call> = world.sessions.iter().enumerate().map(|at| call(at, side)).collect();
        ends.program.start(&ends.namespace, &options, &calls)
    });
    let (stop, refused) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let drops = relay(&world, &sockets, &stop);
            *refused.lock().expect("nobody panicked with it") = drops;
        });
        peers.iter_mut().for_each(|peer| peer.begin());
        peers.iter_mut().for_each(|peer| peer.wait_until_done(LIMIT));
        stop.store(true, Ordering::Relaxed);
    });
    let [a, b] = peers.map(|peer| peer.stop());
    (a, b, refused.into_inner().expect("nobody panicked with it"))
}

/// Relays until `stop` is set and the sockets are empty.
fn relay(world: &World, sockets: &[[UdpSocket; 2]], stop: &AtomicBool) -> BTreeMap<Reason, u64> {
    let mut gateway = Gateway::new(world.clone());
    let mut refused = BTreeMap::new();
    let mut buffer = [0; 2048];
    loop {
        let last_round = stop.load(Ordering::Relaxed);
        let mut busy = false;
        for (session, pair) in world.sessions.iter().zip(sockets) {
            for (side, leg) in session.legs.iter().enumerate() {
                while let Ok(len) = pair[side].recv(&mut buffer) {
                    busy = true;
                    match through(&mut gateway, world, leg, &buffer[..len]) {
                        Ok(payload) => {
                            pair[1 - side].send(&payload).expect("the peer's socket is there");
                        }
                        Err(reason) => *refused.entry(reason).or_default() += 1,
                    }
                }
            }
        }
        if last_round && !busy {
            return refused;
        }
        if !busy {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// One datagram from the remote of `leg` through the gateway; what the other leg's remote gets.
fn through(gateway: &mut Gateway, world: &World, leg: &Leg, payload: &[u8]) -> Result<Vec<u8>, Reason> {
    let port = &world.ports[leg.port];
    let outside = Port { mac: NEXT_HOP, ..port.clone() };
    let frame = link::write(&outside, port.mac, leg.remote, leg.local, payload);
    match gateway.receive(leg.port, &frame) {
        Outcome::Dropped(reason) => Err(reason),
        Outcome::Punted => Err("punted"),
        Outcome::Sent(port, frame) => {
            // As the next hop would read it.
            let network = world.ports[port].addresses[0];
            let reader =
                Port { mac: NEXT_HOP, addresses: vec![neighbour(network)], ..world.ports[port].clone() };
            match link::read(&frame, &reader) {
                Ok(Seen::Media { payload, .. }) => Ok(payload.to_vec()),
                other => panic!("the reference sent what nobody can read: {other:?}"),
            }
        }
    }
}

/// The remotes' address beside the gateway's.
fn neighbour(address: std::net::IpAddr) -> std::net::IpAddr {
    match address {
        std::net::IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            [a, b, c, 2].into()
        }
        std::net::IpAddr::V6(v6) => panic!("{v6} is not used here"),
    }
}

fn world(pairs: &[[Suite; 2]], mki: bool) -> World {
    let port = |side: u8| Port {
        mac: [2, 0, 0, 0, 0, side + 1],
        vlan: None,
        addresses: vec![[10, 79, side, 1].into()],
        mtu: 1500,
        udp_checksum: true,
    };
    let leg = |number: usize, side: u8, suite: Suite| {
        let key = |mki_value: u8| key(suite, if mki { vec![0, 0, 0, mki_value] } else { Vec::new() });
        let udp_port = 20_000 + number as u16;
        Leg {
            port: side.into(),
            local: ([10, 79, side, 1], udp_port).into(),
            remote: ([10, 79, side, 2], udp_port).into(),
            rtcp: None,
            keys: Some(LegKeys {
                remote: if mki { vec![key(1), key(2)] } else { vec![key(0)] },
                local: key(200),
            }),
            payload_types: u128::MAX,
            reduced_size_rtcp: false,
            next_hop: Some(NEXT_HOP),
        }
    };
    let sessions = pairs.iter().enumerate();
    let sessions = sessions.map(|(number, &[a, b])| Session { legs: [leg(number, 0, a), leg(number, 1, b)] });
    World { ports: vec![port(0), port(1)], sessions: sessions.collect(), window: 1024, rtcp_window: 1024 }
}

fn key(suite: Suite, mki: Vec<u8>) -> MasterKey {
    let random = |len| {
        let mut octets = vec![0; len];
        voxlane::control::config::system_random(&mut octets);
        octets
    };
    MasterKey { suite, key: random(suite.key_len), salt: random(suite.salt_len), mki }
}

fn socket(ends: &Ends, leg: &Leg) -> UdpSocket {
    let socket = ends.namespace.udp(leg.local);
    socket.connect(leg.remote).expect("an address of the loopback interface");
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    socket
}

/// The remote of a leg, as the peer is told of it.
fn call((number, session): (usize, &Session), side: usize) -> Call {
    let [leg, other] = [&session.legs[side], &session.legs[1 - side]];
    let keys = leg.keys.as_ref().expect("every leg is encrypted");
    let suite = keys.local.suite.name;
    let ssrc = |side: usize| (0xa + side as u32) << 28 | number as u32;
    let far = other.keys.as_ref().expect("every leg is encrypted").local.suite.name;
    Call {
        id: if side == 0 { format!("{suite}-{far}") } else { format!("{far}-{suite}") },
        suite,
        send: keys.remote.iter().map(sdes).collect::<Vec<_>>().join(";"),
        receive: sdes(&keys.local),
        local: leg.remote,
        remote: leg.local,
        ssrc: ssrc(side),
        heard_ssrc: ssrc(1 - side),
    }
}

/// As SDES text (RFC 4568 §6.1).
fn sdes(key: &MasterKey) -> String {
    let text = STANDARD.encode([&key.key[..], &key.salt].concat());
    match key.mki.last() {
        None => format!("inline:{text}"),
        Some(value) => format!("inline:{text}|{value}:{}", key.mki.len()),
    }
}
