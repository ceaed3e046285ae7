//! How datagrams reach the gateway: in good headers, in bad ones, from and to the wrong hosts; and frames that are for the
//! host and not for a stream.

use std::net::{IpAddr, SocketAddr};

use crate::random::Random;
use crate::reference::{Leg, Port, link};
use crate::sender::Datagram;
use crate::world::address;

/// The way from one leg's remote to the gateway.
pub struct Wire<'w> {
    pub leg: &'w Leg,
    pub port: &'w Port,
    pub other_port: &'w Port,
}

impl Wire<'_> {
    /// From the right source to the right destination.
    pub fn frame(&self, random: &mut Random, datagram: &Datagram) -> Vec<u8> {
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
    pub fn misaddressed(&self, random: &mut Random, datagram: &Datagram) -> Vec<u8> {
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
    pub fn malformed(&self, random: &mut Random, datagram: &Datagram) -> Vec<u8> {
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
    pub fn for_the_host(&self, random: &mut Random) -> Vec<u8> {
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
