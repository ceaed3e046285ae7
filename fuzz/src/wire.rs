//! Headers on the wire: what parses can be written again, and reads the same.

use std::net::Ipv6Addr;

use voxlane::wire::checksum::PseudoHeader;
use voxlane::wire::{Protocol, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp, rtcp, rtp, udp, vlan};

/// Room for what any of the headers writes.
fn room(data: &[u8]) -> Vec<u8> {
    vec![0; data.len() + 256]
}

/// Ethernet II.
pub fn ethernet(data: &[u8]) {
    let Ok(frame) = ethernet::Frame::new_checked(data) else { return };
    assert_eq!(frame.payload().len() + 14, data.len());
    let repr = ethernet::Repr::parse(&frame);
    let mut buffer = room(data);
    repr.emit(&mut buffer).expect("room");
    assert_eq!(buffer[..14], data[..14]);
    // What the type says goes on.
    match frame.ethertype() {
        ethernet::EtherType::ARP => arp(frame.payload()),
        ethernet::EtherType::IPV4 => ipv4(frame.payload()),
        ethernet::EtherType::IPV6 => ipv6(frame.payload()),
        _ => {}
    }
}

/// A VLAN tag.
pub fn vlan(data: &[u8]) {
    let Ok(tag) = vlan::Tag::new_checked(data) else { return };
    assert!(tag.vlan_id() < 4096 && tag.priority() < 8);
    let repr = vlan::Repr::parse(&tag);
    let mut buffer = room(data);
    repr.emit(&mut buffer).expect("room");
    assert_eq!(buffer[..4], data[..4]);
}

/// ARP.
pub fn arp(data: &[u8]) {
    let Ok(packet) = arp::Packet::new_checked(data) else { return };
    let Ok(repr) = arp::Repr::parse(&packet) else { return };
    let mut buffer = room(data);
    repr.emit(&mut buffer).expect("room");
    let again = arp::Packet::new_checked(&buffer[..repr.buffer_len()]).expect("what was written");
    assert_eq!(arp::Repr::parse(&again), Ok(repr));
}

/// IPv4, also with its checksum made right, or little would come further.
pub fn ipv4(data: &[u8]) {
    let mut mended = data.to_vec();
    if let Ok(mut packet) = ipv4::Packet::new_checked(&mut mended[..]) {
        packet.fill_checksum();
        assert!(packet.verify_checksum());
    }
    for data in [data, &mended] {
        let Ok(packet) = ipv4::Packet::new_checked(data) else { continue };
        assert!(packet.total_len() <= data.len() && packet.header_len() <= packet.total_len());
        assert_eq!(packet.payload().len(), packet.total_len() - packet.header_len());
        assert_eq!(packet.options().len(), packet.header_len() - 20);
        let Ok(repr) = ipv4::Repr::parse(&packet) else { continue };
        assert!(!packet.is_fragment(), "a fragment is no packet");
        let mut buffer = room(data);
        repr.emit(&mut buffer).expect("room");
        let again = ipv4::Packet::new_checked(&buffer[..]).expect("what was written");
        assert!(again.verify_checksum());
        assert_eq!(ipv4::Repr::parse(&again), Ok(repr));
        if packet.protocol() == Protocol::UDP {
            datagram(
                packet.payload(),
                PseudoHeader::v4(packet.source(), packet.destination(), Protocol::UDP),
            );
        }
    }
}

/// IPv6.
pub fn ipv6(data: &[u8]) {
    let Ok(packet) = ipv6::Packet::new_checked(data) else { return };
    assert_eq!(packet.payload().len(), packet.payload_len());
    let Ok(repr) = ipv6::Repr::parse(&packet) else { return };
    let mut buffer = room(data);
    repr.emit(&mut buffer).expect("room");
    let again = ipv6::Packet::new_checked(&buffer[..]).expect("what was written");
    assert_eq!(ipv6::Repr::parse(&again), Ok(repr));
}

/// ICMP.
pub fn icmpv4(data: &[u8]) {
    let mut mended = data.to_vec();
    if let Ok(mut packet) = icmpv4::Packet::new_checked(&mut mended[..]) {
        packet.fill_checksum();
    }
    for data in [data, &mended] {
        let Ok(packet) = icmpv4::Packet::new_checked(data) else { continue };
        let Ok(repr) = icmpv4::Repr::parse(&packet) else { continue };
        assert!(packet.verify_checksum());
        let mut buffer = room(data);
        repr.emit(&mut buffer).expect("room");
        let again = icmpv4::Packet::new_checked(&buffer[..repr.buffer_len()]).expect("what was written");
        assert_eq!(icmpv4::Repr::parse(&again), Ok(repr));
    }
}

const HERE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const THERE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// ICMPv6, its checksum made right, too.
pub fn icmpv6(data: &[u8]) {
    let pseudo = icmpv6::pseudo_header(THERE, HERE);
    for data in [data, &icmpv6_mended(data, pseudo)] {
        let Ok(packet) = icmpv6::Packet::new_checked(data) else { continue };
        let Ok(repr) = icmpv6::Repr::parse(&packet, pseudo) else { continue };
        assert!(packet.verify_checksum(pseudo));
        let mut buffer = room(data);
        repr.emit(&mut buffer, pseudo).expect("room");
        let again = icmpv6::Packet::new_checked(&buffer[..repr.buffer_len()]).expect("what was written");
        assert_eq!(icmpv6::Repr::parse(&again, pseudo), Ok(repr));
    }
}

fn icmpv6_mended(data: &[u8], pseudo: PseudoHeader) -> Vec<u8> {
    let mut mended = data.to_vec();
    if let Ok(mut packet) = icmpv6::Packet::new_checked(&mut mended[..]) {
        packet.fill_checksum(pseudo);
    }
    mended
}

/// Neighbour discovery between two addresses and from an unspecified one to a group. The first byte is the hop limit:
/// nothing from beyond the link may be believed.
pub fn ndp(data: &[u8]) {
    let Some((&hop_limit, data)) = data.split_first() else { return };
    for (source, destination) in [
        (THERE, HERE),
        (Ipv6Addr::UNSPECIFIED, ipv6::solicited_node(HERE)),
        (THERE, ipv6::solicited_node(HERE)),
    ] {
        let pseudo = icmpv6::pseudo_header(source, destination);
        let mended = icmpv6_mended(data, pseudo);
        let Ok(packet) = icmpv6::Packet::new_checked(&mended[..]) else { return };
        let Ok(repr) = ndp::parse(&packet, source, destination, hop_limit) else { continue };
        assert_eq!(hop_limit, 255);
        let mut buffer = room(data);
        repr.emit(&mut buffer, pseudo).expect("room");
        let again = icmpv6::Packet::new_checked(&buffer[..repr.buffer_len()]).expect("what was written");
        assert_eq!(ndp::parse(&again, source, destination, hop_limit), Ok(repr));
    }
}

/// UDP under IPv4 and IPv6 headers.
pub fn udp(data: &[u8]) {
    datagram(data, PseudoHeader::v4([10, 1, 0, 2].into(), [10, 1, 0, 1].into(), Protocol::UDP));
    datagram(data, PseudoHeader::v6(THERE, HERE, Protocol::UDP));
}

fn datagram(data: &[u8], pseudo: PseudoHeader) {
    let mut mended = data.to_vec();
    if let Ok(mut packet) = udp::Packet::new_checked(&mut mended[..]) {
        packet.fill_checksum(pseudo);
    }
    for data in [data, &mended] {
        let Ok(packet) = udp::Packet::new_checked(data) else { continue };
        assert_eq!(packet.payload().len() + 8, packet.len());
        assert!(packet.len() <= data.len());
        let Ok(repr) = udp::Repr::parse(&packet, pseudo) else { continue };
        let mut buffer = vec![0; repr.buffer_len().max(packet.len())];
        repr.emit(&mut buffer).expect("room");
        let written = udp::Packet::new_checked(&buffer[..]).expect("what was written");
        assert_eq!(
            (written.source_port(), written.destination_port(), written.len()),
            (packet.source_port(), packet.destination_port(), packet.len())
        );
    }
}

/// RTP: what is read and written again is the same octet for octet, but for padding that was not zero.
pub fn rtp(data: &[u8]) {
    let Ok(packet) = rtp::Packet::new_checked(data) else { return };
    assert_eq!(packet.header_len() + packet.payload().len(), data.len());
    if let Some(extension) = packet.extension() {
        let (mut elements, mut octets) = (0, 0);
        for element in extension.elements().map_while(Result::ok) {
            elements += 1;
            octets += element.data.len();
        }
        assert!(elements + octets <= extension.data.len());
        assert_eq!(extension.elements().all(|element| element.is_ok()), extension.check().is_ok());
    }
    let Ok(repr) = rtp::Repr::parse(&packet) else { return };
    assert_eq!(repr.buffer_len(), data.len());
    let mut buffer = vec![0xa5; data.len()];
    repr.emit(&mut buffer).expect("room");
    let end = data.len() - usize::from(repr.padding_len);
    assert!(buffer[..end] == data[..end]);
    let again = rtp::Packet::new_checked(&buffer[..]).expect("what was written");
    assert_eq!(rtp::Repr::parse(&again), Ok(repr));
}

/// RTCP compound packets.
pub fn rtcp(data: &[u8]) {
    let strict = rtcp::Compound::new_checked(data, false).is_ok();
    let Ok(compound) = rtcp::Compound::new_checked(data, true) else {
        assert!(!strict, "what is a compound packet is one of reduced size, too");
        return;
    };
    let mut len = 0;
    for packet in compound.packets() {
        let start = len;
        len += packet.len();
        let packet = rtcp::Packet::new_checked(&data[start..len]).expect("one of the packets");
        assert!(packet.packet_type().is_rtcp());
        let Some(repr) = rtcp::Repr::parse(&packet) else { continue };
        let mut buffer = room(data);
        buffer.resize(repr.buffer_len() + 4, 0);
        let written = repr.emit(&mut buffer).expect("room");
        assert_eq!(written, repr.buffer_len());
        rtcp::Compound::new_checked(&buffer[..written], true).expect("what was written");
        let again = rtcp::Packet::new_checked(&buffer[..written]).expect("what was written");
        assert_eq!(rtcp::Repr::parse(&again), Some(repr));
    }
    assert_eq!(len, data.len(), "no octet that is in no packet");
}
