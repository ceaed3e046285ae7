//! Frames as they are on the wire: headers from a per-stream template, and received frames taken apart.
//!
//! Sending: [`Template`] holds every header byte of a stream that does not depend on the packet; the
//! payload is written behind the headers first, then [`Template::finish`] puts the headers before it.
//! Receiving: [`Datagram::parse`] checks lengths and checksums down to the UDP payload.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use voxlane::wire::checksum::{self, PseudoHeader};
use voxlane::wire::udp::{self, ChecksumState};
use voxlane::wire::{EtherType, MacAddress, Protocol, ethernet, ipv4, ipv6, vlan};

/// Ethernet, one VLAN tag, IPv6 and UDP: the longest headers.
pub const MAX_HEADERS: usize = ethernet::HEADER_LEN + vlan::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN;

const IPV4_TOTAL_LENGTH: usize = 2;
const IPV4_CHECKSUM: usize = 10;
const IPV6_PAYLOAD_LENGTH: usize = 4;
const UDP_LENGTH: usize = 4;
const UDP_CHECKSUM: usize = 6;

/// Hops that a packet may make.
const TTL: u8 = 64;

/// Expedited forwarding, which voice is marked with (RFC 3246, RFC 4594 §4.1).
const DSCP_VOICE: u8 = 46;

/// The headers of one stream's packets: Ethernet, VLAN if any, IP, UDP.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: [u8; MAX_HEADERS],
    /// Bytes of `bytes` in use.
    len: usize,
    /// Where the IP header starts.
    ip: usize,
    /// Where the UDP header starts.
    udp: usize,
    is_ipv6: bool,
    /// Sum over the IPv4 header with length and checksum zero.
    ip_sum: u32,
    pseudo: PseudoHeader,
}

impl Template {
    /// Headers from `source` to `destination`, which are of one address family; the destination's MAC
    /// address is not known yet.
    ///
    /// # Errors
    /// The addresses are of two families.
    pub fn new(
        source: SocketAddr,
        destination: SocketAddr,
        source_mac: MacAddress,
        vlan_id: Option<u16>,
    ) -> Result<Self, MixedFamilies> {
        let mixed = MixedFamilies { from: source, to: destination };
        let ip = ethernet::HEADER_LEN + vlan_id.map_or(0, |_| vlan::HEADER_LEN);
        let is_ipv6 = source.is_ipv6();
        let udp = ip + if is_ipv6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let mut bytes = [0; MAX_HEADERS];
        let ethertype = if is_ipv6 { EtherType::IPV6 } else { EtherType::IPV4 };
        let (link, network) = bytes.split_at_mut(ip);
        let (head, tag) = link.split_at_mut(ethernet::HEADER_LEN);
        let outer = if vlan_id.is_some() { EtherType::VLAN } else { ethertype };
        let ethernet =
            ethernet::Repr { destination: MacAddress::UNSPECIFIED, source: source_mac, ethertype: outer };
        ethernet.emit(head).map_err(|_| mixed.clone())?;
        if let Some(vlan_id) = vlan_id {
            vlan::Repr { priority: 0, drop_eligible: false, vlan_id, ethertype }
                .emit(tag)
                .map_err(|_| mixed.clone())?;
        }
        let pseudo = emit_network(source.ip(), destination.ip(), network).ok_or_else(|| mixed.clone())?;
        let (network, transport) = network.split_at_mut(udp - ip);
        udp::Repr { source_port: source.port(), destination_port: destination.port(), payload_len: 0 }
            .emit(transport)
            .map_err(|_| mixed)?;
        if !is_ipv6 {
            put(network, IPV4_TOTAL_LENGTH, 0);
            put(network, IPV4_CHECKSUM, 0);
        }
        let ip_sum = checksum::partial(network);
        Ok(Template { bytes, len: udp + udp::HEADER_LEN, ip, udp, is_ipv6, ip_sum, pseudo })
    }

    /// Sets where the frames go on the link.
    pub fn set_destination_mac(&mut self, mac: MacAddress) {
        if let Some(destination) = self.bytes.first_chunk_mut() {
            *destination = mac.0;
        }
    }

    /// Bytes before the UDP payload.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Writes the headers before a UDP payload of `payload_len` bytes that lies at [`Template::len`] in
    /// `frame`, and returns the frame's length. 0 if the frame is too short, which the caller's room excludes.
    #[inline]
    pub fn finish(&self, frame: &mut [u8], payload_len: usize) -> usize {
        let total = self.len + payload_len;
        let Some(frame) = frame.get_mut(..total) else {
            return 0;
        };
        let (head, _) = frame.split_at_mut(self.len);
        head.copy_from_slice(&self.bytes[..self.len]);
        let udp_len = udp::HEADER_LEN + payload_len;
        if self.is_ipv6 {
            put(frame, self.ip + IPV6_PAYLOAD_LENGTH, udp_len as u16);
        } else {
            let total_length = (ipv4::HEADER_LEN + udp_len) as u16;
            put(frame, self.ip + IPV4_TOTAL_LENGTH, total_length);
            let sum = checksum::finish(self.ip_sum + u32::from(total_length));
            put(frame, self.ip + IPV4_CHECKSUM, sum);
        }
        put(frame, self.udp + UDP_LENGTH, udp_len as u16);
        let sum = frame.get(self.udp..).map_or(0, |datagram| self.pseudo.checksum(datagram));
        // A computed zero is sent as all ones: zero means "no checksum" (RFC 768).
        put(frame, self.udp + UDP_CHECKSUM, if sum == 0 { 0xffff } else { sum });
        total
    }
}

/// The two ends of a stream are of different address families.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{from} and {to} are not of one address family; use IPv4 or IPv6 for both")]
pub struct MixedFamilies {
    from: SocketAddr,
    to: SocketAddr,
}

/// A received UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Where its payload lies in the frame.
    pub payload: Range<usize>,
}

/// What a received frame is if it is no datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDatagram {
    /// For the host: ARP, ICMP, neighbour discovery, or none of our business.
    Host,
    /// An IP or UDP checksum that does not verify, or that is missing where it must not.
    Checksum,
    /// Lengths or versions that disagree, options, fragments, a wrong VLAN.
    Malformed,
}

impl Datagram {
    /// Takes a frame apart. `checksum_required`: whether UDP over IPv4 must carry a checksum.
    ///
    /// # Errors
    /// [`NotDatagram`].
    #[inline]
    pub fn parse(frame: &[u8], vlan_id: Option<u16>, checksum_required: bool) -> Result<Self, NotDatagram> {
        let ethernet = ethernet::Frame::new_checked(frame).map_err(|_| NotDatagram::Malformed)?;
        let (ethertype, packet) = match (ethernet.ethertype(), vlan_id) {
            (EtherType::VLAN, Some(expected)) => {
                let tag =
                    vlan::Tag::new_checked(ethernet.into_payload()).map_err(|_| NotDatagram::Malformed)?;
                if tag.vlan_id() != expected {
                    return Err(NotDatagram::Malformed);
                }
                (tag.ethertype(), tag.into_payload())
            }
            (EtherType::VLAN, None) | (_, Some(_)) => return Err(NotDatagram::Malformed),
            (ethertype, None) => (ethertype, ethernet.into_payload()),
        };
        let (source, destination, pseudo, segment) = match ethertype {
            EtherType::IPV4 => parse_ipv4(packet)?,
            EtherType::IPV6 => parse_ipv6(packet)?,
            _ => return Err(NotDatagram::Host),
        };
        let datagram = udp::Packet::new_checked(segment).map_err(|_| NotDatagram::Malformed)?;
        match datagram.verify_checksum(pseudo) {
            ChecksumState::Valid => {}
            ChecksumState::Absent if source.is_ipv4() && !checksum_required => {}
            ChecksumState::Absent | ChecksumState::Invalid => return Err(NotDatagram::Checksum),
        }
        let (source_port, destination_port) = (datagram.source_port(), datagram.destination_port());
        let payload = datagram.into_payload();
        // All slices lie in `frame`; Ethernet padding may follow the payload.
        let start = payload.as_ptr().addr().wrapping_sub(frame.as_ptr().addr());
        Ok(Datagram {
            source: SocketAddr::new(source, source_port),
            destination: SocketAddr::new(destination, destination_port),
            payload: start..start + payload.len(),
        })
    }
}

type Network<'f> = (IpAddr, IpAddr, PseudoHeader, &'f [u8]);

fn parse_ipv4(packet: &[u8]) -> Result<Network<'_>, NotDatagram> {
    let packet = ipv4::Packet::new_checked(packet).map_err(|_| NotDatagram::Malformed)?;
    if !packet.verify_checksum() {
        return Err(NotDatagram::Checksum);
    }
    if packet.protocol() != Protocol::UDP {
        return Err(NotDatagram::Host);
    }
    if packet.is_fragment() || packet.has_options() {
        return Err(NotDatagram::Malformed);
    }
    let (source, destination) = (packet.source(), packet.destination());
    let pseudo = PseudoHeader::v4(source, destination, Protocol::UDP);
    Ok((source.into(), destination.into(), pseudo, packet.into_payload()))
}

fn parse_ipv6(packet: &[u8]) -> Result<Network<'_>, NotDatagram> {
    let packet = ipv6::Packet::new_checked(packet).map_err(|_| NotDatagram::Malformed)?;
    if packet.next_header() != Protocol::UDP {
        return Err(NotDatagram::Host);
    }
    let (source, destination) = (packet.source(), packet.destination());
    let pseudo = PseudoHeader::v6(source, destination, Protocol::UDP);
    Ok((source.into(), destination.into(), pseudo, packet.into_payload()))
}

/// Writes an IP header without payload; `None` if the families differ.
fn emit_network(source: IpAddr, destination: IpAddr, buffer: &mut [u8]) -> Option<PseudoHeader> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let protocol = Protocol::UDP;
            let repr =
                ipv4::Repr { source, destination, protocol, ttl: TTL, dscp: DSCP_VOICE, payload_len: 0 };
            repr.emit(buffer).ok()?;
            Some(PseudoHeader::v4(source, destination, Protocol::UDP))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let repr = ipv6::Repr {
                source,
                destination,
                next_header: Protocol::UDP,
                hop_limit: TTL,
                traffic_class: DSCP_VOICE << 2,
                payload_len: 0,
            };
            repr.emit(buffer).ok()?;
            Some(PseudoHeader::v6(source, destination, Protocol::UDP))
        }
        _ => None,
    }
}

#[inline]
fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn ends(family: u8) -> (SocketAddr, SocketAddr) {
        let text = if family == 4 {
            ("10.1.0.2:30000", "10.1.0.1:20000")
        } else {
            ("[fd00::2]:30000", "[fd00::1]:20000")
        };
        (text.0.parse().expect("an address"), text.1.parse().expect("an address"))
    }

    fn frame(family: u8, vlan_id: Option<u16>, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = ends(family);
        let template = Template::new(source, destination, MAC, vlan_id).expect("one family");
        let mut frame = vec![0xaa; template.len() + payload.len()];
        frame[template.len()..].copy_from_slice(payload);
        assert_eq!(template.finish(&mut frame, payload.len()), frame.len());
        frame
    }

    #[test]
    fn what_is_sent_can_be_received() {
        for family in [4, 6] {
            for vlan_id in [None, Some(100)] {
                for len in [0, 1, 2, 31, 188, 1_200] {
                    let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
                    let mut frame = frame(family, vlan_id, &payload);
                    frame.extend_from_slice(&[0; 3]);
                    let datagram = Datagram::parse(&frame, vlan_id, true).expect("well formed");
                    assert_eq!((datagram.source, datagram.destination), ends(family));
                    assert_eq!(&frame[datagram.payload], payload);
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_behind_the_link_header_is_noticed() {
        // Of an IPv6 header, no checksum covers version to flow label and hop limit.
        for (family, unchecked) in [(4, [0..0, 0..0]), (6, [14..18, 21..22])] {
            let good = frame(family, None, &[7; 40]);
            let parsed = Datagram::parse(&good, None, true).expect("well formed");
            for at in 14..good.len() {
                if unchecked.iter().any(|range| range.contains(&at)) {
                    continue;
                }
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    assert_ne!(Datagram::parse(&bad, None, true), Ok(parsed.clone()), "byte {at} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn every_truncation_is_refused_or_for_the_host() {
        for family in [4, 6] {
            let good = frame(family, Some(5), &[7; 40]);
            for len in 0..good.len() {
                assert!(Datagram::parse(&good[..len], Some(5), true).is_err(), "length {len}");
            }
        }
    }

    #[test]
    fn a_missing_checksum_is_refused_where_it_is_required() {
        for family in [4, 6] {
            let mut bare = frame(family, None, &[7; 40]);
            let udp = bare.len() - 48;
            bare[udp + UDP_CHECKSUM..udp + UDP_CHECKSUM + 2].fill(0);
            assert_eq!(Datagram::parse(&bare, None, true), Err(NotDatagram::Checksum));
            assert_eq!(Datagram::parse(&bare, None, false).is_ok(), family == 4);
        }
    }

    #[test]
    fn frames_of_another_vlan_are_refused() {
        let tagged = frame(4, Some(100), &[1; 20]);
        assert_eq!(Datagram::parse(&tagged, Some(101), true), Err(NotDatagram::Malformed));
        assert_eq!(Datagram::parse(&tagged, None, true), Err(NotDatagram::Malformed));
        assert_eq!(Datagram::parse(&frame(4, None, &[1; 20]), Some(100), true), Err(NotDatagram::Malformed));
    }

    #[test]
    fn ends_of_two_families_are_refused() {
        assert!(Template::new(ends(4).0, ends(6).1, MAC, None).is_err());
    }
}
