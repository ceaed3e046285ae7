//! Ethernet, VLAN, IPv4, IPv6 and UDP: which frames hold media for whom, and how a datagram is framed. Written out
//! octet by octet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Port, Reason};

/// What a received frame is.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<'f> {
    /// A datagram whose first octet says RTP or RTCP.
    Media { source: SocketAddr, destination: SocketAddr, payload: &'f [u8] },
    /// STUN or DTLS: for the host if somebody uses the port.
    Signalling { destination: SocketAddr },
    /// ARP, ICMP, neighbour discovery.
    Host,
}

const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
/// Expedited forwarding (RFC 3246).
const TRAFFIC_CLASS: u8 = 46 << 2;
const HOP_LIMIT: u8 = 64;

/// Reads a frame that arrived on `port`.
pub fn read<'f>(frame: &'f [u8], port: &Port) -> Result<Seen<'f>, Reason> {
    let mut at = 14;
    if frame.len() < at {
        return Err("ethernet_malformed");
    }
    let group = frame[0] & 1 == 1;
    if !group && frame[..6] != port.mac {
        return Err("ethernet_not_ours");
    }
    let mut ethertype = word(frame, 12);
    match (port.vlan, ethertype == VLAN) {
        (None, false) => {}
        (Some(id), true) => {
            if frame.len() < 18 {
                return Err("ethernet_malformed");
            }
            ethertype = word(frame, 16);
            if word(frame, 14) & 0x0fff != id || ethertype == VLAN {
                return Err("vlan_unexpected");
            }
            at = 18;
        }
        _ => return Err("vlan_unexpected"),
    }
    match ethertype {
        ARP => Ok(Seen::Host),
        IPV4 => read_ipv4(&frame[at..], group, port),
        IPV6 => read_ipv6(&frame[at..], group, port),
        _ => Err("ethertype_unknown"),
    }
}

fn read_ipv4<'f>(packet: &'f [u8], group: bool, port: &Port) -> Result<Seen<'f>, Reason> {
    if packet.len() < 20 || packet[0] >> 4 != 4 {
        return Err("ipv4_malformed");
    }
    let (header, total) = (4 * usize::from(packet[0] & 0x0f), usize::from(word(packet, 2)));
    if header < 20 || total < header || packet.len() < total {
        return Err("ipv4_malformed");
    }
    if ones_sum(&packet[..header]) != 0xffff {
        return Err("ipv4_checksum");
    }
    if header > 20 {
        return Err("ipv4_options");
    }
    if word(packet, 6) & 0x3fff != 0 {
        return Err("ipv4_fragment");
    }
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let (source, destination) = (address(12), address(16));
    let first = source.octets()[0];
    if first == 127 || first & 0xf0 == 224 || source == Ipv4Addr::BROADCAST || source.is_unspecified() {
        return Err("ip_source_invalid");
    }
    if !port.addresses.contains(&IpAddr::V4(destination)) {
        return Err("ip_not_local");
    }
    if group {
        return Err("ethernet_not_ours");
    }
    match packet[9] {
        1 => Ok(Seen::Host),
        UDP => read_udp(&packet[header..total], source.into(), destination.into()),
        _ => Err("ip_protocol_unknown"),
    }
}

fn read_ipv6<'f>(packet: &'f [u8], group: bool, port: &Port) -> Result<Seen<'f>, Reason> {
    if packet.len() < 40 || packet[0] >> 4 != 6 {
        return Err("ipv6_malformed");
    }
    let total = 40 + usize::from(word(packet, 4));
    if packet.len() < total {
        return Err("ipv6_malformed");
    }
    let next_header = packet[6];
    match next_header {
        44 => return Err("ipv6_fragment"),
        // The registry of extension headers (RFC 7045 §4).
        0 | 43 | 50 | 51 | 60 | 135 | 139 | 140 | 253 | 254 => return Err("ipv6_extension_header"),
        _ => {}
    }
    let address =
        |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen octets"));
    let (source, destination) = (address(8), address(24));
    if packet[8] == 0xff || source == Ipv6Addr::LOCALHOST {
        return Err("ip_source_invalid");
    }
    if packet[24] == 0xff && next_header == 58 {
        return Ok(Seen::Host);
    }
    if !port.addresses.contains(&IpAddr::V6(destination)) {
        return Err("ip_not_local");
    }
    if group {
        return Err("ethernet_not_ours");
    }
    match next_header {
        58 => Ok(Seen::Host),
        _ if source.is_unspecified() => Err("ip_source_invalid"),
        UDP => read_udp(&packet[40..total], source.into(), destination.into()),
        _ => Err("ip_protocol_unknown"),
    }
}

fn read_udp(datagram: &[u8], source: IpAddr, destination: IpAddr) -> Result<Seen<'_>, Reason> {
    if datagram.len() < 8 || usize::from(word(datagram, 4)) != datagram.len() {
        return Err("udp_malformed");
    }
    // A checksum of zero says "none" over IPv4 (RFC 768) and is forbidden over IPv6 (RFC 8200 §8.1).
    let absent = word(datagram, 6) == 0;
    let valid = if absent { source.is_ipv4() } else { udp_sum(datagram, source, destination) == 0xffff };
    if !valid {
        return Err("udp_checksum");
    }
    let source = SocketAddr::new(source, word(datagram, 0));
    let destination = SocketAddr::new(destination, word(datagram, 2));
    let payload = &datagram[8..];
    // RFC 7983 §7; of what it lists, ZRTP and TURN channels are nobody's here.
    match payload.first() {
        None => Err("payload_empty"),
        Some(128..=191) => Ok(Seen::Media { source, destination, payload }),
        Some(0..=3 | 20..=63) => Ok(Seen::Signalling { destination }),
        Some(_) => Err("demux_unknown"),
    }
}

/// The frame for `payload` from `source` out of `port` to `destination` behind `next_hop`.
pub fn write(
    port: &Port,
    next_hop: [u8; 6],
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(source.port().to_be_bytes());
    udp.extend(destination.port().to_be_bytes());
    udp.extend((8 + payload.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    if port.udp_checksum || source.is_ipv6() {
        let checksum = match !udp_sum(&udp, source.ip(), destination.ip()) {
            0 => 0xffff,
            other => other,
        };
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    }

    let mut frame = Vec::new();
    frame.extend(next_hop);
    frame.extend(port.mac);
    if let Some(id) = port.vlan {
        frame.extend(VLAN.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend(IPV4.to_be_bytes());
            let mut ip = vec![0x45, TRAFFIC_CLASS];
            ip.extend((20 + udp.len() as u16).to_be_bytes());
            // Identification 0 and Don't Fragment (RFC 6864 §4.1).
            ip.extend([0, 0, 0x40, 0, HOP_LIMIT, UDP, 0, 0]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            let checksum = !ones_sum(&ip);
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend(ip);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend(IPV6.to_be_bytes());
            frame.extend([0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4, 0, 0]);
            frame.extend((udp.len() as u16).to_be_bytes());
            frame.extend([UDP, HOP_LIMIT]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
    frame.extend(udp);
    frame
}

/// The sum of a datagram under its pseudo-header (RFC 768, RFC 8200 §8.1).
fn udp_sum(datagram: &[u8], source: IpAddr, destination: IpAddr) -> u16 {
    let mut message = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => message.extend(address.octets()),
            IpAddr::V6(address) => message.extend(address.octets()),
        }
    }
    message.extend((datagram.len() as u32).to_be_bytes());
    message.extend([0, 0, 0, UDP]);
    message.extend(datagram);
    ones_sum(&message)
}

/// The one's-complement sum of 16-bit words, the last one filled up with zero (RFC 1071 §1).
pub fn ones_sum(octets: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}
