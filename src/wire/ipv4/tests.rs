use super::*;
use crate::wire::testing::sweep;

/// A header and six bytes of payload. Its checksum follows from the example below by RFC 1624: 0xb8 more in
/// the first word and 0x59 less in the length make 0xb861 into 0xb802.
const PACKET: [u8; 26] = [
    0x45, 0xb8, 0x00, 0x1a, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x02, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
    0xa8, 0x00, 0xc7, 1, 2, 3, 4, 5, 6,
];
const REPR: Repr = Repr {
    source: Ipv4Addr::new(192, 168, 0, 1),
    destination: Ipv4Addr::new(192, 168, 0, 199),
    protocol: Protocol::UDP,
    ttl: 64,
    dscp: 46,
    payload_len: 6,
};

fn view(bytes: &[u8]) -> Packet<&[u8]> {
    Packet::new_checked(bytes).unwrap()
}

#[test]
fn deconstruct() {
    let packet = view(&PACKET);
    assert_eq!(Repr::parse(&packet), Ok(REPR));
    assert_eq!((packet.version(), packet.header_len(), packet.total_len()), (4, 20, 26));
    assert!(packet.dont_fragment() && !packet.more_fragments() && !packet.is_fragment());
    assert!(!packet.has_options() && packet.options().is_empty());
    assert_eq!(packet.payload(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(packet.into_payload(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn construct() {
    let mut bytes = vec![0xa5; PACKET.len()];
    let mut packet = REPR.emit(&mut bytes).unwrap();
    packet.payload_mut().copy_from_slice(&[1, 2, 3, 4, 5, 6]);
    assert_eq!(bytes, PACKET);
    assert!(matches!(REPR.emit(&mut [0; 25]), Err(Error::Truncated { needed: 26, actual: 25 })));
}

#[test]
fn a_known_checksum() {
    let mut bytes = PACKET;
    bytes[..20].copy_from_slice(&[
        0x45, 0x00, 0x00, 0x14, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
        0x00, 0xc7,
    ]);
    bytes[2..4].copy_from_slice(&[0x00, 0x73]);
    // The well-known example header is of a 0x73-byte packet: only the header sum matters here.
    let mut long = bytes.to_vec();
    long.resize(0x73, 0);
    let mut packet = Packet::new_checked(&mut long[..]).unwrap();
    packet.fill_checksum();
    assert_eq!(packet.checksum(), 0xb861);
    assert!(packet.verify_checksum());
}

#[test]
fn every_header_bit_is_under_the_checksum() {
    for bit in 0..160 {
        let mut bytes = PACKET;
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(packet) = Packet::new_checked(&bytes[..]) {
            assert!(!packet.verify_checksum(), "bit {bit}");
            assert!(matches!(Repr::parse(&packet), Err(Error::Checksum { .. })));
        }
    }
}

#[test]
fn ethernet_padding_is_no_payload() {
    let mut bytes = PACKET.to_vec();
    bytes.extend_from_slice(&[0xee; 20]);
    assert_eq!(view(&bytes).payload(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn lengths_that_disagree_are_refused() {
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = PACKET;
        for (at, value) in changes {
            bytes[*at] = *value;
        }
        Packet::new_checked(bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(&[(0, 0x65)]), Error::Version { expected: 4, actual: 6 });
    assert_eq!(with(&[(0, 0x44)]), Error::LengthField { stated: 16, least: 20, most: 26 });
    assert_eq!(with(&[(0, 0x47)]), Error::LengthField { stated: 28, least: 20, most: 26 });
    assert_eq!(with(&[(3, 27)]), Error::LengthField { stated: 27, least: 20, most: 26 });
    assert_eq!(with(&[(3, 19)]), Error::LengthField { stated: 19, least: 20, most: 26 });
    assert_eq!(with(&[(0, 0x46), (3, 23)]), Error::LengthField { stated: 23, least: 24, most: 26 });
}

#[test]
fn options_are_seen() {
    let mut bytes = PACKET;
    bytes[0] = 0x46;
    let mut packet = Packet::new_checked(bytes).unwrap();
    assert!(packet.has_options());
    assert_eq!(packet.options(), [1, 2, 3, 4]);
    assert_eq!(packet.payload(), [5, 6]);
    packet.fill_checksum();
    assert!(packet.verify_checksum());
    assert_eq!(Repr::parse(&packet).unwrap().payload_len, 2);
}

#[test]
fn first_middle_and_last_fragment_are_seen() {
    for (flags, offset) in [([0x20, 0x00], 0), ([0x20, 0x01], 8), ([0x1f, 0xff], 65_528)] {
        let mut bytes = PACKET;
        bytes[6..8].copy_from_slice(&flags);
        let mut packet = Packet::new_checked(bytes).unwrap();
        packet.fill_checksum();
        assert!(packet.is_fragment());
        assert_eq!(Repr::parse(&packet), Err(Error::Fragment { offset }));
    }
}

#[test]
fn setters_write_their_field_only() {
    let mut packet = Packet::new_checked(PACKET).unwrap();
    packet.set_ecn(0xff);
    assert_eq!((packet.ecn(), packet.dscp()), (3, 46));
    packet.set_dscp(10);
    assert_eq!((packet.ecn(), packet.dscp()), (3, 10));
    packet.set_identification(0x1234);
    packet.set_ttl(7);
    packet.set_protocol(Protocol::ICMP);
    packet.set_source(Ipv4Addr::new(1, 2, 3, 4));
    packet.set_destination(Ipv4Addr::new(5, 6, 7, 8));
    packet.fill_checksum();
    assert!(packet.verify_checksum());
    assert_eq!((packet.identification(), packet.ttl(), packet.protocol()), (0x1234, 7, Protocol::ICMP));
    assert_eq!(
        (packet.source(), packet.destination()),
        (Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8))
    );
    assert_eq!(packet.payload(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_length_pushed_out_of_the_buffer_reads_as_nothing() {
    let mut packet = Packet::new_checked(PACKET).unwrap();
    packet.set_total_len(0xffff);
    assert!(packet.payload().is_empty() && packet.payload_mut().is_empty());
    packet.set_total_len(3);
    assert!(packet.payload().is_empty() && packet.payload_mut().is_empty());
}

#[test]
fn every_input_is_refused_or_safe() {
    sweep(&PACKET, |bytes| {
        if let Ok(packet) = Packet::new_checked(bytes) {
            assert!(packet.options().len() + packet.payload().len() + HEADER_LEN == packet.total_len());
            assert!(packet.total_len() <= bytes.len());
            let _ = (Repr::parse(&packet), packet.ecn(), packet.identification(), packet.fragment_offset());
            let mut own = bytes.to_vec();
            let mut packet = Packet::new_checked(&mut own[..]).unwrap();
            packet.fill_checksum();
            assert!(packet.verify_checksum());
        }
    });
    for length in 0..PACKET.len() {
        assert!(Packet::new_checked(&PACKET[..length]).is_err(), "{length}");
    }
}
