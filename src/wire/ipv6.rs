//! IPv6 (RFC 8200), the fixed header.
//!
//! Extension headers are not walked: media carries none. The caller counts them by
//! [`Packet::has_extension_header`] and [`Packet::is_fragment`].

use std::net::Ipv6Addr;

use super::{Error, Protocol, field, require, require_length};

const VERSION_CLASS_FLOW: usize = 0;
const PAYLOAD_LENGTH: usize = 4;
const NEXT_HEADER: usize = 6;
const HOP_LIMIT: usize = 7;
const SOURCE: usize = 8;
const DESTINATION: usize = 24;

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 40;

/// ff02::1, every node on the link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The solicited-node multicast group of a unicast address (RFC 4291 §2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0x00ff), low)
}

/// A view of an IPv6 packet. The buffer may be longer than the packet: Ethernet pads short frames.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks that the version is 6 and that header and payload fit into the buffer (RFC 8200 §3).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        require(bytes, HEADER_LEN)?;
        let available = bytes.len() - HEADER_LEN;
        let packet = Packet { buffer };
        if packet.version() != 6 {
            return Err(Error::Version { expected: 6, actual: packet.version() });
        }
        require_length(packet.payload_len(), 0, available)?;
        Ok(packet)
    }

    /// Version: 6.
    #[inline]
    pub fn version(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), VERSION_CLASS_FLOW) >> 4
    }

    /// Traffic class: differentiated services code point and congestion notification (RFC 8200 §7).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (field::u16_at(self.buffer.as_ref(), VERSION_CLASS_FLOW) >> 4) as u8
    }

    /// Flow label (RFC 6437), 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        field::u32_at(self.buffer.as_ref(), VERSION_CLASS_FLOW) & 0x000f_ffff
    }

    /// Length of everything after the fixed header in bytes.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(field::u16_at(self.buffer.as_ref(), PAYLOAD_LENGTH))
    }

    /// Protocol of the payload, or the first extension header.
    #[inline]
    pub fn next_header(&self) -> Protocol {
        Protocol(field::u8_at(self.buffer.as_ref(), NEXT_HEADER))
    }

    /// Whether an extension header comes first, a fragment header included.
    #[inline]
    pub fn has_extension_header(&self) -> bool {
        self.next_header().is_ipv6_extension()
    }

    /// Whether a fragment header comes first (RFC 8200 §4.5).
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.next_header() == Protocol::IPV6_FRAGMENT
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), HOP_LIMIT)
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(field::array::<16>(self.buffer.as_ref(), SOURCE))
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(field::array::<16>(self.buffer.as_ref(), DESTINATION))
    }

    /// The payload, bounded by the payload length: Ethernet padding is not part of it.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        field::range(self.buffer.as_ref(), HEADER_LEN, HEADER_LEN + self.payload_len())
    }
}

impl<'a> Packet<&'a [u8]> {
    /// [`Packet::payload`] for as long as the buffer lives.
    #[inline]
    pub fn into_payload(self) -> &'a [u8] {
        field::range(self.buffer, HEADER_LEN, HEADER_LEN + self.payload_len())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the traffic class.
    #[inline]
    pub fn set_traffic_class(&mut self, value: u8) {
        let bytes = self.buffer.as_mut();
        field::put_bits(bytes, VERSION_CLASS_FLOW, 0x0f, value >> 4);
        field::put_bits(bytes, VERSION_CLASS_FLOW + 1, 0xf0, value << 4);
    }

    /// Sets the flow label; bits above the twentieth are cut off.
    #[inline]
    pub fn set_flow_label(&mut self, value: u32) {
        let [_, high, middle, low] = value.to_be_bytes();
        let bytes = self.buffer.as_mut();
        field::put_bits(bytes, VERSION_CLASS_FLOW + 1, 0x0f, high);
        field::put(bytes, VERSION_CLASS_FLOW + 2, [middle, low]);
    }

    /// Sets the length of the payload in bytes.
    #[inline]
    pub fn set_payload_len(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), PAYLOAD_LENGTH, value.to_be_bytes());
    }

    /// Sets the protocol of the payload.
    #[inline]
    pub fn set_next_header(&mut self, value: Protocol) {
        field::put(self.buffer.as_mut(), NEXT_HEADER, [value.0]);
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, value: u8) {
        field::put(self.buffer.as_mut(), HOP_LIMIT, [value]);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_source(&mut self, value: Ipv6Addr) {
        field::put(self.buffer.as_mut(), SOURCE, value.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_destination(&mut self, value: Ipv6Addr) {
        field::put(self.buffer.as_mut(), DESTINATION, value.octets());
    }

    /// The payload, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = HEADER_LEN + self.payload_len();
        field::range_mut(self.buffer.as_mut(), HEADER_LEN, end)
    }
}

/// An IPv6 header without extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Protocol of the payload.
    pub next_header: Protocol,
    /// Hop limit.
    pub hop_limit: u8,
    /// Differentiated services code point (upper six bits) and congestion notification.
    pub traffic_class: u8,
    /// Length of the payload in bytes, at most 65,535.
    pub payload_len: usize,
}

impl Repr {
    /// Reads the header; an extension header is refused, as this value cannot describe it.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr, Error> {
        if packet.has_extension_header() {
            let value = u32::from(packet.next_header().0);
            return Err(Error::Unsupported { field: "IPv6 next header", value });
        }
        Ok(Repr {
            source: packet.source(),
            destination: packet.destination(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
            payload_len: packet.payload_len(),
        })
    }

    /// Bytes of header and payload.
    #[inline]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }

    /// Writes the header to the start of `buffer`, which must hold the payload, too; the payload stays as it
    /// is. The flow label is zero.
    #[inline]
    pub fn emit<'a>(&self, buffer: &'a mut [u8]) -> Result<Packet<&'a mut [u8]>, Error> {
        require(buffer, self.buffer_len())?;
        let most = usize::from(u16::MAX);
        let length = u16::try_from(self.payload_len).map_err(|_| Error::LengthField {
            stated: self.payload_len,
            least: 0,
            most,
        })?;
        let mut packet = Packet { buffer };
        field::put(packet.buffer, VERSION_CLASS_FLOW, [0x60, 0, 0, 0]);
        packet.set_traffic_class(self.traffic_class);
        packet.set_payload_len(length);
        packet.set_next_header(self.next_header);
        packet.set_hop_limit(self.hop_limit);
        packet.set_source(self.source);
        packet.set_destination(self.destination);
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::sweep;

    #[rustfmt::skip]
    const PACKET: [u8; 44] = [
        0x6b, 0x81, 0x23, 0x45, 0x00, 0x04, 0x11, 0x40,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01,
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56,
        1, 2, 3, 4,
    ];

    fn repr() -> Repr {
        Repr {
            source: "2001:db8::1".parse().unwrap(),
            destination: "fd00::12:3456".parse().unwrap(),
            next_header: Protocol::UDP,
            hop_limit: 64,
            traffic_class: 0xb8,
            payload_len: 4,
        }
    }

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(repr()));
        assert_eq!((packet.version(), packet.flow_label()), (6, 0x12345));
        assert_eq!(packet.payload(), [1, 2, 3, 4]);
        assert_eq!(packet.into_payload(), [1, 2, 3, 4]);
    }

    #[test]
    fn construct() {
        let mut bytes = vec![0xa5; PACKET.len()];
        let mut packet = repr().emit(&mut bytes).unwrap();
        packet.set_flow_label(0xfff1_2345);
        packet.payload_mut().copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(bytes, PACKET);
        assert!(matches!(repr().emit(&mut [0; 43]), Err(Error::Truncated { needed: 44, actual: 43 })));
    }

    #[test]
    fn lengths_and_version_that_disagree_are_refused() {
        let mut bytes = PACKET;
        bytes[5] = 5;
        let error = Packet::new_checked(bytes).map(|_| ()).unwrap_err();
        assert_eq!(error, Error::LengthField { stated: 5, least: 0, most: 4 });
        bytes[0] = 0x45;
        let error = Packet::new_checked(bytes).map(|_| ()).unwrap_err();
        assert_eq!(error, Error::Version { expected: 6, actual: 4 });
        for length in 0..PACKET.len() {
            assert!(Packet::new_checked(&PACKET[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn ethernet_padding_is_no_payload() {
        let mut bytes = PACKET.to_vec();
        bytes.extend_from_slice(&[0xee; 20]);
        assert_eq!(Packet::new_checked(&bytes[..]).unwrap().payload(), [1, 2, 3, 4]);
    }

    #[test]
    fn extension_headers_and_fragments_are_seen() {
        for (number, extension, fragment) in [
            (0, true, false),
            (17, false, false),
            (43, true, false),
            (44, true, true),
            (50, true, false),
            (58, false, false),
            (59, false, false),
            (60, true, false),
        ] {
            let mut packet = Packet::new_checked(PACKET).unwrap();
            packet.set_next_header(Protocol(number));
            assert_eq!(
                (packet.has_extension_header(), packet.is_fragment()),
                (extension, fragment),
                "{number}"
            );
            assert_eq!(Repr::parse(&packet).is_err(), extension, "{number}");
        }
    }

    #[test]
    fn solicited_node_groups() {
        let address = "4037::01:800:200e:8c6c".parse().unwrap();
        assert_eq!(solicited_node(address), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn every_input_is_refused_or_safe() {
        sweep(&PACKET, |bytes| {
            if let Ok(packet) = Packet::new_checked(bytes) {
                assert_eq!(packet.payload().len(), packet.payload_len());
                assert!(packet.payload_len() + HEADER_LEN <= bytes.len());
                let _ = (Repr::parse(&packet), packet.flow_label());
            }
        });
    }
}
