//! Random worlds, and random traffic for them: calls as they should be, calls over a bad network, and what attackers
//! and broken peers send. Everything is built by the reference's own code and follows from the seed.

use std::net::{IpAddr, SocketAddr};

use crate::random::Random;
use crate::reference::srtp::{MasterKey, SessionKeys, Suite};
use crate::reference::{Leg, LegKeys, Port, Session, World, link};

const PAYLOAD_TYPES: [u8; 3] = [96, 0, 111];
/// What stays of a stream for replays.
const HISTORY: usize = 400;

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

fn address(port: u8, ipv6: bool, host: u8) -> IpAddr {
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

/// All remotes of a world.
pub struct Traffic {
    world: World,
    senders: Vec<Sender>,
}

/// One remote: the sender of a stream.
struct Sender {
    session: usize,
    side: usize,
    /// None on a plain leg. A sender with several changes over in the middle of the stream.
    keys: Vec<SessionKeys>,
    in_use: usize,
    ssrc: u32,
    next: u64,
    next_rtcp: u32,
    /// UDP payloads that overtook each other, and those that went out.
    held: Vec<Datagram>,
    sent: Vec<Datagram>,
}

/// A UDP payload and whether it goes to the RTCP address.
#[derive(Clone)]
struct Datagram {
    payload: Vec<u8>,
    is_rtcp: bool,
}

impl Traffic {
    pub fn new(random: &mut Random, world: &World) -> Self {
        let mut senders = Vec::new();
        for (session, legs) in world.sessions.iter().enumerate() {
            for (side, leg) in legs.legs.iter().enumerate() {
                let first = match random.below(4) {
                    0 => random.between(0, 2),
                    1 => random.between(0, 65_535),
                    _ => random.between(65_440, 65_535),
                };
                // Some ends choose the SSRC of the other one.
                let other: Option<&Sender> = senders.last().filter(|_| side == 1 && random.chance(60));
                let ssrc = other.map_or(random.number() as u32, |other| other.ssrc);
                senders.push(Sender {
                    session,
                    side,
                    keys: leg.keys.iter().flat_map(|keys| keys.remote.iter().map(SessionKeys::new)).collect(),
                    in_use: 0,
                    ssrc,
                    next: first,
                    next_rtcp: 1,
                    held: Vec::new(),
                    sent: Vec::new(),
                });
            }
        }
        Traffic { world: world.clone(), senders }
    }

    /// A burst of 1 to 64 frames that arrive on one port, which is returned with them.
    pub fn burst(&mut self, random: &mut Random) -> (usize, Vec<Vec<u8>>) {
        let size = match random.below(3) {
            0 => 1,
            1 => random.between(2, 8),
            _ => random.between(9, 64),
        };
        let chosen = random.below(self.senders.len());
        let port = self.leg(chosen).port;
        let here: Vec<usize> = (0..self.senders.len()).filter(|&at| self.leg(at).port == port).collect();
        // Many bursts hold packets of one stream alone.
        let one_stream = random.chance(400);
        let frames = (0..size).map(|_| {
            let sender = if one_stream { chosen } else { *random.pick(&here) };
            self.frame(random, sender)
        });
        (port, frames.collect())
    }

    fn leg(&self, sender: usize) -> &Leg {
        let Sender { session, side, .. } = self.senders[sender];
        &self.world.sessions[session].legs[side]
    }

    fn frame(&mut self, random: &mut Random, at: usize) -> Vec<u8> {
        let leg = self.leg(at).clone();
        let port = self.world.ports[leg.port].clone();
        let wire = Wire { leg: &leg, port: &port, other_port: &self.world.ports[1 - leg.port] };
        let sender = &mut self.senders[at];
        match random.below(1000) {
            0..560 => {
                let datagram = sender.voice(random);
                let datagram = sender.goes_out(random, datagram);
                wire.frame(random, &datagram)
            }
            560..640 => {
                let datagram = sender.report(random);
                let datagram = sender.goes_out(random, datagram);
                wire.frame(random, &datagram)
            }
            // What was held back arrives late, in any order; what was sent arrives again.
            640..740 if !sender.held.is_empty() => {
                let late = sender.held.swap_remove(random.below(sender.held.len()));
                sender.remember(random, &late);
                wire.frame(random, &late)
            }
            740..790 if !sender.sent.is_empty() => {
                let again = random.pick(&sender.sent).clone();
                wire.frame(random, &again)
            }
            790..860 => {
                let damaged = sender.damaged(random);
                wire.frame(random, &damaged)
            }
            860..900 => {
                let datagram = sender.datagram(random);
                wire.misaddressed(random, &datagram)
            }
            900..950 => {
                let datagram = sender.datagram(random);
                wire.malformed(random, &datagram)
            }
            950..980 => wire.for_the_host(random),
            980..990 => {
                let count = random.between(0, 120) as usize;
                random.octets(count)
            }
            // Nobody remembers these, so nothing repeats them.
            _ => {
                let datagram = sender.voice(random);
                wire.frame(random, &datagram)
            }
        }
    }
}

impl Sender {
    /// The network holds a datagram back, and the next one goes out instead, or lets it through.
    fn goes_out(&mut self, random: &mut Random, datagram: Datagram) -> Datagram {
        if random.chance(120) && self.held.len() < 50 {
            self.held.push(datagram);
            let next = self.voice(random);
            self.remember(random, &next);
            return next;
        }
        self.remember(random, &datagram);
        datagram
    }

    fn remember(&mut self, random: &mut Random, datagram: &Datagram) {
        if self.sent.len() < HISTORY {
            self.sent.push(datagram.clone());
        } else {
            *random_slot(random, &mut self.sent) = datagram.clone();
        }
    }

    /// The next RTP packet; some before it may be lost.
    fn voice(&mut self, random: &mut Random) -> Datagram {
        self.next += match random.below(1000) {
            0..950 => 0,
            950..993 => random.between(1, 20),
            993..998 => random.between(21, 2_000),
            _ => random.between(2_000, 33_000),
        };
        let index = self.next;
        self.next += 1;
        let (packet, header) = rtp(random, self.ssrc, index as u16);
        Datagram { payload: self.seal_rtp(&packet, header, index), is_rtcp: false }
    }

    /// The next packet of either kind.
    fn datagram(&mut self, random: &mut Random) -> Datagram {
        if self.keys.len() > 1 && random.chance(100) {
            self.in_use = random.below(self.keys.len());
        }
        if random.chance(700) { self.voice(random) } else { self.report(random) }
    }

    fn report(&mut self, random: &mut Random) -> Datagram {
        self.next_rtcp += match random.below(1000) {
            0..900 => 0,
            900..990 => random.between(1, 30) as u32,
            _ => random.between(60, 1_200) as u32,
        };
        let index = self.next_rtcp;
        self.next_rtcp += 1;
        let compound = compound(random, self.ssrc);
        Datagram { payload: self.seal_rtcp(&compound, index, true), is_rtcp: true }
    }

    /// A packet that is wrong in itself, whatever frame it comes in.
    fn damaged(&mut self, random: &mut Random) -> Datagram {
        let next = self.next;
        let mut datagram = self.datagram(random);
        match random.below(10) {
            0..3 => {
                for _ in 0..random.between(1, 3) {
                    let bit = random.below(datagram.payload.len() * 8);
                    // The first two bits lead to other protocols, which have their own turn.
                    if bit > 1 {
                        datagram.payload[bit / 8] ^= 0x80 >> (bit % 8);
                    }
                }
            }
            3..5 => datagram.payload.truncate(random.below(datagram.payload.len() + 1)),
            5 => {
                let more = random.between(1, 40) as usize;
                datagram.payload.extend(random.octets(more));
            }
            6 => {
                // Another SSRC under the right key.
                let ssrc = self.ssrc ^ 1 << random.below(32);
                let (packet, header) = rtp(random, ssrc, next as u16);
                datagram = Datagram { payload: self.seal_rtp(&packet, header, next), is_rtcp: false };
            }
            7 => {
                // Another roll-over counter than the receiver's.
                let (packet, header) = rtp(random, self.ssrc, next as u16);
                datagram =
                    Datagram { payload: self.seal_rtp(&packet, header, next + 65_536), is_rtcp: false };
            }
            8 => {
                let (packet, _) = rtp(random, self.ssrc, next as u16);
                let compound = compound(random, self.ssrc);
                datagram = match random.chance(500) {
                    // Not sealed at all.
                    true => Datagram { payload: packet, is_rtcp: false },
                    false => Datagram { payload: compound, is_rtcp: true },
                };
            }
            _ => {
                let ssrc = if random.chance(300) { self.ssrc ^ 0x100 } else { self.ssrc };
                let compound = compound(random, ssrc);
                let (index, encrypted) = match random.below(100) {
                    0..30 => (self.next_rtcp, false),
                    30..90 => (self.next_rtcp.saturating_sub(random.between(0, 1_300) as u32), true),
                    // The end of the key, and what comes behind it.
                    90..93 => ((1 << 31) - 1, true),
                    _ => ((1 << 31) - 1 - random.between(1, 200) as u32, true),
                };
                datagram = Datagram { payload: self.seal_rtcp(&compound, index, encrypted), is_rtcp: true };
            }
        }
        datagram
    }

    fn seal_rtp(&self, packet: &[u8], header: usize, index: u64) -> Vec<u8> {
        let keys = self.keys.get(self.in_use);
        keys.map_or_else(|| packet.to_vec(), |keys| keys.seal_rtp(packet, header, index))
    }

    fn seal_rtcp(&self, compound: &[u8], index: u32, encrypt: bool) -> Vec<u8> {
        let keys = self.keys.get(self.in_use);
        keys.map_or_else(|| compound.to_vec(), |keys| keys.seal_rtcp(compound, index, encrypt))
    }
}

fn random_slot<'t, T>(random: &mut Random, slots: &'t mut [T]) -> &'t mut T {
    let at = random.below(slots.len());
    &mut slots[at]
}

/// An RTP packet and the length of its header; most are what a telephone sends.
fn rtp(random: &mut Random, ssrc: u32, seq: u16) -> (Vec<u8>, usize) {
    let mut flags = 0x80;
    let payload_type =
        if random.chance(20) { random.number() as u8 & 0x7f } else { *random.pick(&PAYLOAD_TYPES) };
    // Types 64 to 95 with the marker would be RTCP (RFC 5761 §4).
    let marker = if random.chance(50) && !(64..96).contains(&payload_type) { 0x80 } else { 0 };
    let mut packet = vec![0, marker | payload_type];
    packet.extend(seq.to_be_bytes());
    packet.extend(random.octets(4));
    packet.extend(ssrc.to_be_bytes());
    if random.chance(50) {
        let count = random.between(1, 15) as u8;
        flags |= count;
        packet.extend(random.octets(4 * usize::from(count)));
    }
    if random.chance(150) {
        flags |= 0x10;
        packet.extend(extension(random));
    }
    let header = packet.len();
    let len = match random.below(100) {
        0 => 0,
        1..15 => random.between(1, 20),
        15..85 => random.between(20, 200),
        85..99 => random.between(200, 1_300),
        _ => random.between(1_300, 1_500),
    };
    packet.extend(random.octets(len as usize));
    if random.chance(80) {
        flags |= 0x20;
        let padding = match random.below(10) {
            0 => 0,
            1 => 255,
            _ => random.between(1, 16) as u8,
        };
        packet.extend(random.octets(usize::from(padding.min(16)).saturating_sub(1)));
        packet.push(padding);
    }
    packet[0] = flags;
    (packet, header)
}

/// A header extension with elements that fit, most of the time (RFC 8285 §4).
fn extension(random: &mut Random) -> Vec<u8> {
    let one_byte = random.chance(500);
    let mut data = Vec::new();
    // A picture loss indication, whole or nearly so (RFC 4585 §6.3.1).
    if random.chance(30) {
        data.extend(if one_byte { vec![0x1b] } else { vec![1, 12] });
        data.extend([0x81, 206, 0, 2 + u8::from(random.chance(300))]);
        data.extend(random.octets(8));
    }
    for _ in 0..random.below(4) {
        let len = random.below(17);
        if one_byte {
            let len = len.clamp(1, 16);
            data.push((random.between(1, 15) as u8) << 4 | (len - 1) as u8);
            data.extend(random.octets(len));
        } else {
            data.extend([random.between(1, 255) as u8, len as u8]);
            data.extend(random.octets(len));
        }
        data.extend(vec![0; random.below(3)]);
    }
    data.resize(data.len().next_multiple_of(4), 0);
    if random.chance(100) && !data.is_empty() {
        let at = random.below(data.len());
        data[at] = random.number() as u8;
    }
    let profile: u16 = match random.below(10) {
        0 if random.chance(500) => 0x80c0 | random.number() as u16,
        0 => random.number() as u16,
        _ if one_byte => 0xbede,
        _ => 0x1000 | random.below(16) as u16,
    };
    let mut words = (data.len() / 4) as u16;
    if random.chance(10) {
        words = words.wrapping_add(random.between(1, 400) as u16);
    }
    [&profile.to_be_bytes()[..], &words.to_be_bytes(), &data].concat()
}

/// A compound RTCP packet: a report, and up to three other packets; one in eight is damaged before it is sealed.
fn compound(random: &mut Random, ssrc: u32) -> Vec<u8> {
    let mut compound = Vec::new();
    let first = if random.chance(850) {
        *random.pick(&[200, 201])
    } else {
        *random.pick(&[202, 203, 204, 205, 206, 207])
    };
    let count = random.below(4);
    for number in 0..=count {
        let packet_type = if number == 0 { first } else { random.between(200, 208) as u8 };
        let is_last = number == count;
        compound.extend(rtcp(random, packet_type, ssrc, is_last));
    }
    if random.chance(125) {
        let at = match random.chance(700) {
            // Where flags, counts, types and lengths are; but not what SRTCP leaves in the clear.
            true => {
                compound.len() - 4 * random.between(1, (compound.len() / 4) as u64) as usize + random.below(4)
            }
            false => random.below(compound.len()),
        };
        if at > 1 {
            compound[at] = random.number() as u8;
        }
    }
    compound
}

fn rtcp(random: &mut Random, packet_type: u8, ssrc: u32, is_last: bool) -> Vec<u8> {
    let mut count = random.below(4);
    let mut body = ssrc.to_be_bytes().to_vec();
    match packet_type {
        200 => body.extend(random.octets(20 + 24 * count)),
        201 => body.extend(random.octets(24 * count)),
        202 => {
            count = count.max(1);
            for chunk in 0..count {
                if chunk > 0 {
                    body.extend(random.octets(4));
                }
                for _ in 0..random.below(3) {
                    let len = random.below(12);
                    body.extend([random.between(1, 8) as u8, len as u8]);
                    body.extend(random.octets(len));
                }
                body.push(0);
                body.resize(body.len().next_multiple_of(4), 0);
            }
        }
        203 => {
            count = count.max(1);
            body.extend(random.octets(4 * (count - 1)));
            if random.chance(500) {
                let len = random.below(20);
                body.push(len as u8);
                body.extend(random.octets(len));
                body.resize(body.len().next_multiple_of(4), 0);
            }
        }
        204..=206 => {
            let words = random.between(1, 5) as usize;
            body.extend(random.octets(4 * words));
        }
        207 => {
            for _ in 0..random.below(3) {
                let words = random.below(5);
                body.extend([random.number() as u8, 0, 0, words as u8]);
                body.extend(random.octets(4 * words));
            }
        }
        _ => {}
    }
    let mut flags = 0x80 | count as u8;
    if random.chance(if is_last { 100 } else { 10 }) {
        flags |= 0x20;
        let len = if random.chance(900) { 4 * random.between(1, 4) as usize } else { random.below(9) };
        body.extend(vec![0; len.next_multiple_of(4)]);
        if let Some(last) = body.last_mut() {
            *last = len as u8;
        }
    }
    let words = (body.len() / 4) as u16;
    [&[flags, packet_type][..], &words.to_be_bytes(), &body].concat()
}

/// How datagrams reach the gateway from one leg's remote.
struct Wire<'w> {
    leg: &'w Leg,
    port: &'w Port,
    other_port: &'w Port,
}

impl Wire<'_> {
    /// From the right source to the right destination.
    fn frame(&self, random: &mut Random, datagram: &Datagram) -> Vec<u8> {
        let (source, destination) = self.path(datagram);
        let mut frame = self.write(random, source, destination, &datagram.payload);
        // Ethernet fills short frames up, and nothing says with what.
        if random.chance(100) {
            let more = random.between(1, 30) as usize;
            frame.extend(random.octets(more));
        }
        frame
    }

    fn path(&self, datagram: &Datagram) -> (SocketAddr, SocketAddr) {
        match self.leg.rtcp {
            Some([local, remote]) if datagram.is_rtcp => (remote, local),
            _ => (self.leg.remote, self.leg.local),
        }
    }

    fn write(
        &self,
        random: &mut Random,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) -> Vec<u8> {
        let mac = [2, 0, 0, 2, 0, 9];
        let from = Port { mac, udp_checksum: random.chance(900), ..self.port.clone() };
        link::write(&from, self.port.mac, source, destination, payload)
    }

    /// A good packet from somebody else, or to somebody else.
    fn misaddressed(&self, random: &mut Random, datagram: &Datagram) -> Vec<u8> {
        let (mut source, mut destination) = self.path(datagram);
        let near = |random: &mut Random, port: u16| port.wrapping_add(random.between(1, 12) as u16).max(1);
        match random.below(8) {
            0 => source.set_port(near(random, source.port())),
            1 => source.set_ip(address(7, source.is_ipv6(), 7)),
            2 => destination.set_port(near(random, destination.port())),
            3 => destination.set_ip(address(random.below(3) as u8, destination.is_ipv6(), 1)),
            // RTP where RTCP belongs, and the reverse.
            4 => {
                let swapped = Datagram { is_rtcp: !datagram.is_rtcp, ..datagram.clone() };
                (source, destination) = self.path(&swapped);
            }
            5 => source.set_ip(match source.is_ipv6() {
                false => IpAddr::from(*random.pick(&[
                    [224, 0, 0, 1],
                    [255; 4],
                    [127, 0, 0, 1],
                    [0; 4],
                    [239, 1, 1, 1],
                ])),
                true => IpAddr::from(*random.pick(&[
                    [0xff02, 0, 0, 0, 0, 0, 0, 1],
                    [0, 0, 0, 0, 0, 0, 0, 1],
                    [0; 8],
                ])),
            }),
            _ => {
                let mut frame = self.write(random, source, destination, &datagram.payload);
                match random.below(4) {
                    0 => frame[..6].copy_from_slice(&[0xff; 6]),
                    1 => frame[0] |= 1,
                    2 => frame[..6].copy_from_slice(&self.other_port.mac),
                    _ => frame[5] ^= 1 << random.below(8),
                }
                return frame;
            }
        }
        self.write(random, source, destination, &datagram.payload)
    }

    /// A good packet in headers that are not.
    fn malformed(&self, random: &mut Random, datagram: &Datagram) -> Vec<u8> {
        let (source, destination) = self.path(datagram);
        let mut frame = self.write(random, source, destination, &datagram.payload);
        let ip = if self.port.vlan.is_some() { 18 } else { 14 };
        let ipv6 = source.is_ipv6();
        let udp = ip + if ipv6 { 40 } else { 20 };
        match random.below(12) {
            0 => frame.truncate(random.below(frame.len())),
            1 => {
                let bit = random.below(frame.len() * 8);
                frame[bit / 8] ^= 0x80 >> (bit % 8);
            }
            // The same in the headers, where most is.
            2..4 => {
                let bit = random.below((udp + 8) * 8);
                frame[bit / 8] ^= 0x80 >> (bit % 8);
                mend_ipv4(&mut frame, ip, ipv6);
            }
            4 => {
                frame[udp + 6..udp + 8].fill(0);
            }
            5 => frame[udp + 4..udp + 6].copy_from_slice(&(random.number() as u16 & 0x07ff).to_be_bytes()),
            6 => {
                let at = if ipv6 { ip + 4 } else { ip + 2 };
                frame[at..at + 2].copy_from_slice(&(random.number() as u16 & 0x07ff).to_be_bytes());
                mend_ipv4(&mut frame, ip, ipv6);
            }
            7 => {
                // Fragments; extension headers.
                match ipv6 {
                    true => {
                        frame[ip + 6] =
                            *random.pick(&[0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254, 6, 132])
                    }
                    false => frame[ip + 6] = *random.pick(&[0x20, 0x60, 0x1f, 0x80, 0x00]),
                }
                mend_ipv4(&mut frame, ip, ipv6);
            }
            8 if !ipv6 => {
                // Options that do nothing (RFC 791 §3.1).
                let words = random.between(1, 10) as usize;
                frame.splice(udp..udp, vec![1; 4 * words]);
                frame[ip] += words as u8;
                let total = u16::from_be_bytes([frame[ip + 2], frame[ip + 3]]) + 4 * words as u16;
                frame[ip + 2..ip + 4].copy_from_slice(&total.to_be_bytes());
                mend_ipv4(&mut frame, ip, ipv6);
            }
            9 => {
                let protocol = if ipv6 { ip + 6 } else { ip + 9 };
                frame[protocol] = *random.pick(&[6, 132, 1, 58, 17, 136]);
                mend_ipv4(&mut frame, ip, ipv6);
            }
            10 => {
                // VLAN tags: another, one too many, none.
                match (self.port.vlan, random.below(3)) {
                    (Some(_), 0) => drop(frame.drain(12..16)),
                    (Some(_), 1) => frame[15] ^= 1,
                    _ => drop(frame.splice(12..12, [0x81, 0, 0, 5])),
                }
            }
            _ => frame[ip - 2..ip].copy_from_slice(&(random.number() as u16).to_be_bytes()),
        }
        frame
    }

    /// ARP, ICMP, neighbour discovery, STUN, DTLS and what RFC 7983 lists beside them.
    fn for_the_host(&self, random: &mut Random) -> Vec<u8> {
        let (source, mut destination) = (self.leg.remote, self.leg.local);
        let kind = random.below(6);
        if kind < 3 {
            let len = random.between(1, 80) as usize;
            let mut payload = random.octets(len);
            payload[0] = if random.chance(600) {
                *random.pick(&[0, 1, 3, 20, 22, 63])
            } else {
                random.number() as u8 & 0x7f
            };
            if random.chance(300) {
                destination.set_port(random.number() as u16);
            }
            return self.write(random, source, destination, &payload);
        }
        let mut frame = self.write(random, source, destination, &[0; 40]);
        let ip = if self.port.vlan.is_some() { 18 } else { 14 };
        let ipv6 = source.is_ipv6();
        match kind {
            3 => {
                frame[..6].fill(0xff);
                frame[ip - 2..ip].copy_from_slice(&[0x08, 0x06]);
            }
            4 => {
                frame[if ipv6 { ip + 6 } else { ip + 9 }] = if ipv6 { 58 } else { 1 };
                mend_ipv4(&mut frame, ip, ipv6);
            }
            _ => {
                // To a group (RFC 4861 §4).
                frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, 0, 0, 1]);
                if ipv6 {
                    frame[ip + 6] = *random.pick(&[58, 17]);
                    frame[ip + 24] = 0xff;
                }
            }
        }
        frame
    }
}

/// Sets the header checksum of an IPv4 packet of 5 to 15 words so that the change behind it is seen by later checks.
fn mend_ipv4(frame: &mut [u8], ip: usize, ipv6: bool) {
    let len = 4 * usize::from(frame[ip] & 0x0f);
    if ipv6 || len < 20 || frame.len() < ip + len {
        return;
    }
    frame[ip + 10..ip + 12].fill(0);
    let sum = !link::ones_sum(&frame[ip..ip + len]);
    frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
}
