//! Frames made by hand, independently of the gateway's own wire formats: plain byte pushing with an obvious
//! checksum, so that a mistake in `src/wire` cannot hide behind the same mistake here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_VLAN: u16 = 0x8100;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
pub const UDP: u8 = 17;
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// Where the headers behind a 14-byte Ethernet header start and what they are called, for spoiling them.
pub const IP: usize = 14;
/// UDP behind IPv4.
pub const UDP_OF_V4: usize = IP + 20;
/// UDP behind IPv6.
pub const UDP_OF_V6: usize = IP + 40;

/// An Ethernet frame without FCS or padding.
pub fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 packet without options.
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    fill_ipv4_checksum(&mut packet);
    packet
}

/// Computes the header checksum again, over as many bytes as the header length field says.
pub fn fill_ipv4_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let header = usize::from(packet[0] & 15) * 4;
    let sum = !sum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// An IPv6 packet.
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram in an IP packet of the addresses' family, with checksums.
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let mut datagram =
        [from.port().to_be_bytes(), to.port().to_be_bytes(), len.to_be_bytes(), [0, 0]].concat();
    datagram.extend(payload);
    let mut pseudo = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => panic!("{from} and {to} are of different families"),
    };
    pseudo.extend(u32::from(len).to_be_bytes());
    pseudo.extend([0, 0, 0, UDP]);
    let checksum = match !sum(&[&pseudo[..], &datagram].concat()) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, UDP, &datagram),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to, UDP, &datagram),
        _ => unreachable!("refused above"),
    }
}

/// An ARP request of `sender` for `target` (RFC 826).
pub fn arp_request(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(mac);
    packet.extend(sender.octets());
    packet.extend([0; 6]);
    packet.extend(target.octets());
    ethernet(BROADCAST, mac, ETHERTYPE_ARP, &packet)
}

/// An RTP header without CSRCs; extension and padding by `first`, which starts as `0x80`.
pub fn rtp_header(first: u8, payload_type: u8, seq: u16, ssrc: u32) -> Vec<u8> {
    let mut header = vec![first, payload_type];
    header.extend(seq.to_be_bytes());
    header.extend((u32::from(seq) * 960).to_be_bytes());
    header.extend(ssrc.to_be_bytes());
    header
}

/// One's-complement sum of big-endian words (RFC 1071), an odd last byte padded with zero.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the literature knows: an IPv4 header whose checksum is 0xb861.
    #[test]
    fn the_checksum_is_the_known_one() {
        let mut header = vec![
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xff, 0xff, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        fill_ipv4_checksum(&mut header);
        assert_eq!(header[10..12], [0xb8, 0x61]);
    }
}
