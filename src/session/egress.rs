//! What a leg's packets look like on the wire: the headers of the other leg, built once per stream.
//!
//! A template holds Ethernet, VLAN, IP and UDP headers with everything that does not change from packet to
//! packet; the packet path copies it in front of the sealed packet and fills in the next hop's MAC address,
//! the lengths and the checksums.

use std::net::{IpAddr, SocketAddr};

use super::NextHop;
use crate::wire::checksum::{self, PseudoHeader};
use crate::wire::{MacAddress, Protocol};

/// Longest headers: Ethernet 14, VLAN tag 4, IPv6 40, UDP 8 bytes.
pub const HEADERS_MAX: usize = 66;

const ETHERNET_LEN: usize = 14;
const VLAN_LEN: usize = 4;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Expedited forwarding (RFC 3246): what voice is marked with, in the upper six bits of the traffic class.
const DSCP_EF: u8 = 46 << 2;
const HOP_LIMIT: u8 = 64;
/// Don't Fragment: such a datagram is atomic and its identification may be zero (RFC 6864 §4.1).
const DONT_FRAGMENT: u16 = 0x4000;

/// What an egress template needs to know of the device port that it leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressPort {
    /// Index of the port.
    pub index: u8,
    /// The port's MAC address.
    pub mac: MacAddress,
    /// The port's VLAN, if it is tagged.
    pub vlan: Option<u16>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Whether UDP checksums are sent over IPv4, where they are optional.
    pub udp_checksum: bool,
    /// Whether the port fills in the IPv4 header checksum.
    pub offload_ip: bool,
    /// Whether the port fills in the UDP checksum.
    pub offload_udp: bool,
}

/// The way out for one stream's RTP or RTCP. 84 octets: one and a third cache lines, the template first.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Egress {
    headers: [u8; HEADERS_MAX],
    ip_offset: u8,
    udp_offset: u8,
    next_hop: NextHop,
    /// Sum over pseudo-header and UDP ports: what is the same in every packet's UDP checksum.
    udp_sum: u16,
    /// Sum over the IPv4 header without its total length.
    ip_sum: u16,
    mtu: u16,
    port: u8,
    ipv6: bool,
    udp_checksum: bool,
    offload_ip: bool,
    offload_udp: bool,
}

const _: () = assert!(size_of::<Egress>() == 84);

impl Egress {
    /// Headers from `local` to `remote`, which are of one address family, out of `port` through `next_hop`.
    pub fn new(port: EgressPort, local: SocketAddr, remote: SocketAddr, next_hop: NextHop) -> Self {
        let mut headers = [0; HEADERS_MAX];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            headers[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
            at
        };
        put(&[0; 6]);
        put(&port.mac.0);
        if let Some(vlan) = port.vlan {
            put(&ETHERTYPE_VLAN.to_be_bytes());
            put(&vlan.to_be_bytes());
        }
        let (ip_offset, udp_offset, pseudo, ipv6) = match (local.ip(), remote.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ip_offset = put(&ETHERTYPE_IPV4.to_be_bytes());
                put(&[0x45, DSCP_EF, 0, 0, 0, 0]);
                put(&DONT_FRAGMENT.to_be_bytes());
                put(&[HOP_LIMIT, Protocol::UDP.0, 0, 0]);
                put(&source.octets());
                let udp_offset = put(&destination.octets());
                (ip_offset, udp_offset, PseudoHeader::v4(source, destination, Protocol::UDP), false)
            }
            (source, destination) => {
                let v6 = |address| match address {
                    IpAddr::V4(v4) => std::net::Ipv4Addr::to_ipv6_mapped(&v4),
                    IpAddr::V6(v6) => v6,
                };
                let (source, destination) = (v6(source), v6(destination));
                let ip_offset = put(&ETHERTYPE_IPV6.to_be_bytes());
                let traffic_class = u32::from(DSCP_EF) << 20;
                put(&(6 << 28 | traffic_class).to_be_bytes());
                put(&[0, 0, Protocol::UDP.0, HOP_LIMIT]);
                put(&source.octets());
                let udp_offset = put(&destination.octets());
                (ip_offset, udp_offset, PseudoHeader::v6(source, destination, Protocol::UDP), true)
            }
        };
        put(&local.port().to_be_bytes());
        put(&remote.port().to_be_bytes());
        let ip_header = headers.get(ip_offset..udp_offset).unwrap_or_default();
        let ip_sum = if ipv6 { 0 } else { checksum::partial(ip_header) as u16 };
        Egress {
            headers,
            ip_offset: ip_offset as u8,
            udp_offset: udp_offset as u8,
            next_hop,
            udp_sum: !checksum::finish(pseudo.sum() + u32::from(local.port()) + u32::from(remote.port())),
            ip_sum,
            mtu: port.mtu,
            port: port.index,
            ipv6,
            udp_checksum: ipv6 || port.udp_checksum,
            offload_ip: port.offload_ip,
            offload_udp: port.offload_udp,
        }
    }

    /// Index of the device port that the stream leaves by.
    #[inline]
    pub fn port(&self) -> u8 {
        self.port
    }

    /// The next hop on that port.
    #[inline]
    pub fn next_hop(&self) -> NextHop {
        self.next_hop
    }

    /// Length of all headers in bytes.
    #[inline]
    pub fn headers_len(&self) -> usize {
        usize::from(self.udp_offset) + UDP_LEN
    }

    /// Length of the Ethernet header with its tag, and of the IP header, in bytes.
    #[inline]
    pub fn layer_lengths(&self) -> (u8, u16) {
        (self.ip_offset, u16::from(self.udp_offset - self.ip_offset))
    }

    /// Whether the packets are IPv6.
    #[inline]
    pub fn is_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Whether a datagram with `payload_len` bytes of UDP payload fits the port's MTU.
    #[inline]
    pub fn fits(&self, payload_len: usize) -> bool {
        self.headers_len() - usize::from(self.ip_offset) + payload_len <= usize::from(self.mtu)
    }

    /// Writes all headers over the start of `frame`, whose UDP payload behind them is final. Checksums that
    /// the port computes get what it needs; the others are complete.
    ///
    /// `frame` is at least [`Egress::headers_len`] bytes long and [`Egress::fits`] said so; otherwise nothing
    /// is written.
    #[inline]
    pub fn write_headers(&self, frame: &mut [u8], next_hop: [u8; 6]) {
        let len = self.headers_len();
        let (ip_at, udp_at) = (usize::from(self.ip_offset), usize::from(self.udp_offset));
        let udp_len = frame.len().saturating_sub(udp_at);
        let Some((headers, payload)) = frame.split_at_mut_checked(len) else { return };
        copy_template(headers, &self.headers);
        headers[..6].copy_from_slice(&next_hop);
        let udp_len_octets = (udp_len as u16).to_be_bytes();
        headers[udp_at + 4..udp_at + 6].copy_from_slice(&udp_len_octets);
        // No checksum is computed over what was just written: reading it back would wait until it has left the store
        // buffer, which takes longer than all the rest. What does not change was summed up beforehand.
        if self.ipv6 {
            headers[ip_at + 4..ip_at + 6].copy_from_slice(&udp_len_octets);
        } else {
            let total = (IPV4_LEN + udp_len) as u16;
            headers[ip_at + 2..ip_at + 4].copy_from_slice(&total.to_be_bytes());
            if !self.offload_ip {
                let sum = checksum::finish(u32::from(self.ip_sum) + u32::from(total));
                headers[ip_at + 10..ip_at + 12].copy_from_slice(&sum.to_be_bytes());
            }
        }
        if !self.udp_checksum {
            return;
        }
        let field = if self.offload_udp {
            // The port adds the datagram to the pseudo-header's sum.
            let [source, destination] =
                [0, 2].map(|at| u16::from_be_bytes([headers[udp_at + at], headers[udp_at + at + 1]]));
            let ports = u32::from(!source) + u32::from(!destination);
            !checksum::finish(u32::from(self.udp_sum) + ports + udp_len as u32)
        } else {
            // The length stands in the pseudo-header and in the UDP header.
            let sum = u32::from(self.udp_sum) + 2 * udp_len as u32 + checksum::partial(payload);
            // Zero would say that there is no checksum (RFC 768).
            match checksum::finish(sum) {
                0 => 0xffff,
                sum => sum,
            }
        };
        headers[udp_at + 6..udp_at + 8].copy_from_slice(&field.to_be_bytes());
    }

    /// Whether the port has to fill in the IPv4 header checksum and the UDP checksum.
    #[inline]
    pub fn offloads(&self) -> (bool, bool) {
        (!self.ipv6 && self.offload_ip, self.udp_checksum && self.offload_udp)
    }
}

const _: () = assert!(ETHERNET_LEN + VLAN_LEN + IPV6_LEN + UDP_LEN == HEADERS_MAX);

/// Fills `headers`, 42 to 66 octets, from the template: in blocks of 16, the last of which overlaps the one before it. A
/// call of memcpy for each packet costs more.
#[inline(always)]
fn copy_template(headers: &mut [u8], template: &[u8; HEADERS_MAX]) {
    const BLOCK: usize = 16;
    let len = headers.len().min(HEADERS_MAX);
    let mut at = 0;
    while at + BLOCK < len {
        copy_block::<BLOCK>(headers, template, at);
        at += BLOCK;
    }
    copy_block::<BLOCK>(headers, template, len.saturating_sub(BLOCK));
}

#[inline(always)]
fn copy_block<const N: usize>(to: &mut [u8], from: &[u8], at: usize) {
    if let (Some(to), Some(from)) = (to.get_mut(at..at + N), from.get(at..at + N)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        let port = EgressPort {
            index: 0,
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            vlan: None,
            mtu: 1500,
            udp_checksum: true,
            offload_ip: false,
            offload_udp: false,
        };
        let address = |text: &str| text.parse().expect("a literal");
        let egress = Egress::new(port, address("10.0.0.1:5004"), address("10.0.0.2:5006"), NextHop(0));
        let mut all_ones = 0;
        // Over all values of one word the checksum takes all values, zero among them.
        for word in 0..=u16::MAX {
            let mut frame = [0; 44];
            frame[42..].copy_from_slice(&word.to_be_bytes());
            egress.write_headers(&mut frame, [2, 0, 0, 0, 0, 9]);
            assert_ne!(frame[40..42], [0, 0], "zero says that there is no checksum (RFC 768)");
            all_ones += u32::from(frame[40..42] == [0xff, 0xff]);
        }
        assert!(all_ones >= 1);
    }

    /// What a NIC that completes checksums is given, and what software writes, against sums over the finished headers. No
    /// port of the end-to-end tests offloads, so this is what holds that path.
    #[test]
    fn every_checksum_is_that_of_the_headers_with_offload_and_without() {
        let ends = [
            ("10.0.0.1:5004", "10.0.0.2:5006"),
            ("255.255.255.254:65535", "255.255.255.253:65535"),
            ("[fd00::1]:1024", "[fdff:ffff::ffff]:65534"),
        ];
        for (local, remote) in ends {
            let [local, remote]: [SocketAddr; 2] =
                [local, remote].map(|text| text.parse().expect("a literal"));
            for (vlan, offload) in [(None, false), (None, true), (Some(7), false), (Some(7), true)] {
                let port = EgressPort {
                    index: 0,
                    mac: MacAddress([2, 0, 0, 0, 0, 1]),
                    vlan,
                    mtu: 1500,
                    udp_checksum: true,
                    offload_ip: offload,
                    offload_udp: offload,
                };
                let egress = Egress::new(port, local, remote, NextHop(0));
                let udp_at = egress.headers_len() - UDP_LEN;
                for len in [1, 2, 3, 31, 32, 33, 172, 188, 1200] {
                    let mut frame = vec![0x5a; egress.headers_len() + len];
                    egress.write_headers(&mut frame, [2, 0, 0, 0, 0, 9]);
                    let what = format!("{local} {remote} {vlan:?} offload {offload} {len}");
                    let pseudo = match (local.ip(), remote.ip()) {
                        (IpAddr::V4(from), IpAddr::V4(to)) => {
                            let ip = &frame[udp_at - IPV4_LEN..udp_at];
                            if offload {
                                assert_eq!(ip[10..12], [0, 0], "the port fills it in: {what}");
                            } else {
                                assert!(checksum::verifies(checksum::partial(ip)), "{what}");
                            }
                            PseudoHeader::v4(from, to, Protocol::UDP)
                        }
                        (IpAddr::V6(from), IpAddr::V6(to)) => PseudoHeader::v6(from, to, Protocol::UDP),
                        _ => unreachable!("the ends are of one family"),
                    };
                    let datagram = &frame[udp_at..];
                    if offload {
                        // The port adds header and payload to this and complements the sum.
                        let field = u32::from(u16::from_be_bytes([datagram[6], datagram[7]]));
                        let folded = |sum| !checksum::finish(sum) % 0xffff;
                        assert_eq!(folded(field), folded(pseudo.with_length(datagram.len())), "{what}");
                    } else {
                        assert!(pseudo.verifies(datagram), "{what}");
                    }
                }
            }
        }
    }
}
