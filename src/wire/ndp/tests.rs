use super::*;
use crate::wire::testing::{Random, sweep};

#[rustfmt::skip]
const SOLICIT: [u8; 32] = [
    0x87, 0x00, 0x13, 0xff, 0x00, 0x00, 0x00, 0x00,
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02,
    0x01, 0x01, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55,
];
#[rustfmt::skip]
const ADVERTISE: [u8; 32] = [
    0x88, 0x00, 0xb1, 0x82, 0x60, 0x00, 0x00, 0x00,
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02,
    0x02, 0x01, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55,
];
const MAC: MacAddress = MacAddress([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const SOLICITATION_REPR: Repr = Repr::Solicitation { target: B, source_mac: Some(MAC) };
const ADVERTISEMENT_REPR: Repr =
    Repr::Advertisement { router: false, solicited: true, overrides: true, target: B, target_mac: Some(MAC) };

/// Parses `bytes` between A and B after mending their checksum.
fn parse_mended(bytes: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<Repr, Error> {
    let mut packet = icmpv6::Packet::new_checked(bytes.to_vec())?;
    packet.fill_checksum(icmpv6::pseudo_header(source, destination));
    parse(&packet, source, destination, HOP_LIMIT)
}

/// The checksum worked out byte by byte, so that the two constants above are not our own code's word.
fn checksum_of(bytes: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> u16 {
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, 0, 0, bytes.len() as u8, 0, 0, 0, 58]];
    let whole = [pseudo.concat(), bytes.to_vec()].concat();
    let sum: u64 = whole.chunks(2).map(|pair| u64::from(pair[0]) * 256 + u64::from(pair[1])).sum();
    !(match sum % 0xffff {
        0 => 0xffff,
        rest => rest,
    }) as u16
}

#[test]
fn the_constants_are_right() {
    for (bytes, source, destination) in [(SOLICIT, A, solicited_node(B)), (ADVERTISE, B, A)] {
        let mut zeroed = bytes;
        zeroed[2..4].fill(0);
        assert_eq!(bytes[2..4], checksum_of(&zeroed, source, destination).to_be_bytes());
    }
}

#[test]
fn deconstruct() {
    let packet = icmpv6::Packet::new_checked(&SOLICIT[..]).unwrap();
    assert_eq!(parse(&packet, A, solicited_node(B), HOP_LIMIT), Ok(SOLICITATION_REPR));
    let packet = icmpv6::Packet::new_checked(&ADVERTISE[..]).unwrap();
    assert_eq!(parse(&packet, B, A, HOP_LIMIT), Ok(ADVERTISEMENT_REPR));
}

#[test]
fn construct() {
    let mut bytes = vec![0xa5; 32];
    SOLICITATION_REPR.emit(&mut bytes, icmpv6::pseudo_header(A, solicited_node(B))).unwrap();
    assert_eq!(bytes, SOLICIT);
    ADVERTISEMENT_REPR.emit(&mut bytes, icmpv6::pseudo_header(B, A)).unwrap();
    assert_eq!(bytes, ADVERTISE);
    assert!(ADVERTISEMENT_REPR.emit(&mut [0; 31], icmpv6::pseudo_header(B, A)).is_err());
    let probe = Repr::Solicitation { target: B, source_mac: None };
    assert_eq!(probe.buffer_len(), 24);
}

#[test]
fn only_hop_limit_255_is_from_this_link() {
    let packet = icmpv6::Packet::new_checked(&ADVERTISE[..]).unwrap();
    for hop_limit in 0..255 {
        assert_eq!(parse(&packet, B, A, hop_limit), Err(Error::HopLimit(hop_limit)));
    }
}

#[test]
fn checksum_type_and_code_are_checked() {
    let packet = icmpv6::Packet::new_checked(&ADVERTISE[..]).unwrap();
    let error = WireError::Checksum { found: packet.checksum() };
    assert_eq!(parse(&packet, A, A, HOP_LIMIT), Err(error.into()));
    for (at, value) in [(0, 134), (1, 1)] {
        let mut bytes = ADVERTISE;
        bytes[at] = value;
        let error = parse_mended(&bytes, B, A).unwrap_err();
        assert!(matches!(error, Error::Wire(WireError::Unsupported { .. })), "{error}");
    }
}

#[test]
fn a_multicast_target_is_refused() {
    for bytes in [SOLICIT, ADVERTISE] {
        let mut bytes = bytes;
        bytes[8..10].copy_from_slice(&[0xff, 0x02]);
        assert!(matches!(parse_mended(&bytes, B, A), Err(Error::TargetMulticast(_))));
    }
}

#[test]
fn a_solicited_advertisement_to_a_group_is_refused() {
    let group = "ff02::1".parse().unwrap();
    assert_eq!(parse_mended(&ADVERTISE, B, group), Err(Error::SolicitedMulticast(group)));
    let mut unsolicited = ADVERTISE;
    unsolicited[4] = 0x20;
    assert!(parse_mended(&unsolicited, B, group).is_ok());
}

#[test]
fn a_probe_goes_to_the_solicited_node_group_and_names_no_source() {
    let probe = &SOLICIT[..24];
    let nobody = Ipv6Addr::UNSPECIFIED;
    let expected = Ok(Repr::Solicitation { target: B, source_mac: None });
    assert_eq!(parse_mended(probe, nobody, solicited_node(B)), expected);
    assert_eq!(parse_mended(probe, nobody, B), Err(Error::Probe(B)));
    assert_eq!(parse_mended(&SOLICIT, nobody, solicited_node(B)), Err(Error::Probe(solicited_node(B))));
}

#[test]
fn option_lengths_are_checked() {
    let with = |options: &[u8]| parse_mended(&[&ADVERTISE[..24], options].concat(), B, A);
    for options in [&[2, 0, 0, 0, 0, 0, 0, 0][..], &[2, 2, 0, 0, 0, 0, 0, 0], &[2], &[14, 1, 0]] {
        let error = with(options).unwrap_err();
        assert!(matches!(error, Error::Wire(WireError::LengthField { .. })), "{options:?}: {error}");
    }
    let skipped = [[14, 1, 1, 2, 3, 4, 5, 6], [2, 1, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55]].concat();
    assert_eq!(with(&skipped), Ok(ADVERTISEMENT_REPR));
    let longer = [2, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
    assert!(matches!(with(&longer), Ok(Repr::Advertisement { target_mac: None, .. })));
}

#[test]
fn every_truncation_is_refused() {
    for length in 0..32 {
        let accepted = parse_mended(&ADVERTISE[..length], B, A).is_ok();
        assert_eq!(accepted, length == 24, "{length}: whole only without its option");
    }
}

#[test]
fn every_input_is_refused_or_safe() {
    for valid in [SOLICIT, ADVERTISE] {
        sweep(&valid, |bytes| {
            let _ = parse_mended(bytes, A, B);
            if let Ok(packet) = icmpv6::Packet::new_checked(bytes) {
                let _ = parse(&packet, A, B, HOP_LIMIT);
            }
        });
    }
    let mut random = Random::new(9);
    for _ in 0..50_000 {
        let options = random.below(64);
        let bytes = [&ADVERTISE[..24], &random.bytes(options)[..]].concat();
        let _ = parse_mended(&bytes, B, A);
    }
}
