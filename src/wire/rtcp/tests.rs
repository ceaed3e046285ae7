use super::*;
use crate::wire::rtp::RtpTime;
use crate::wire::testing::sweep;

const STRICT: bool = false;
const REDUCED: bool = true;

/// Sender report with one block, source description, goodbye.
#[rustfmt::skip]
const COMPOUND: [u8; 76] = [
    0x81, 200, 0, 12, 0xde, 0xad, 0xbe, 0xef,
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x00, 0x00, 0x03, 0xc0,
    0x00, 0x00, 0x00, 0x64, 0x00, 0x00, 0x3e, 0x80,
    0x11, 0x22, 0x33, 0x44, 0x40, 0xff, 0xff, 0xfe, 0x00, 0x01, 0x12, 0x34,
    0x00, 0x00, 0x00, 0x09, 0xaa, 0xbb, 0xcc, 0xdd, 0x00, 0x01, 0x00, 0x00,
    0x81, 202, 0, 3, 0xde, 0xad, 0xbe, 0xef, 1, 5, b'a', b'@', b'b', b'.', b'c', 0,
    0x81, 203, 0, 1, 0xde, 0xad, 0xbe, 0xef,
];
const BLOCK: ReportBlock = ReportBlock {
    ssrc: Ssrc(0x1122_3344),
    fraction_lost: 64,
    cumulative_lost: -2,
    highest_sequence: 0x0001_1234,
    jitter: 9,
    last_sender_report: 0xaabb_ccdd,
    delay: 65_536,
};
const INFO: SenderInfo =
    SenderInfo { ntp: 0x0102_0304_0506_0708, rtp: RtpTime(960), packets: 100, octets: 16_000 };
const SSRC: Ssrc = Ssrc(0xdead_beef);

fn compound_error(bytes: &[u8], reduced_size: bool) -> Error {
    Compound::new_checked(bytes, reduced_size).map(|_| ()).unwrap_err()
}

#[test]
fn deconstruct() {
    let compound = Compound::new_checked(&COMPOUND[..], STRICT).unwrap();
    let parts: Vec<_> = compound.packets().map(|packet| Repr::parse(&packet).unwrap()).collect();
    assert_eq!(
        parts,
        [
            Repr::SenderReport { ssrc: SSRC, info: INFO, reports: &[BLOCK.to_bytes()] },
            Repr::SourceDescription { ssrc: SSRC, cname: b"a@b.c" },
            Repr::Bye { ssrc: SSRC },
        ]
    );
    let Repr::SenderReport { reports, .. } = parts[0] else { panic!("a sender report comes first") };
    assert_eq!(ReportBlock::from_bytes(&reports[0]), BLOCK);
    let lengths: Vec<_> = compound.packets().map(|packet| (packet.len(), packet.body().len())).collect();
    assert_eq!(lengths, [(52, 48), (16, 12), (8, 4)]);
    assert_eq!(
        CleartextHeader::parse(&COMPOUND),
        Ok(CleartextHeader {
            padding: false,
            count: 1,
            packet_type: PacketType::SENDER_REPORT,
            length: 52,
            sender_ssrc: SSRC,
        })
    );
}

#[test]
fn construct() {
    let reports = [BLOCK.to_bytes()];
    let parts = [
        Repr::SenderReport { ssrc: SSRC, info: INFO, reports: &reports },
        Repr::SourceDescription { ssrc: SSRC, cname: b"a@b.c" },
        Repr::Bye { ssrc: SSRC },
    ];
    let mut bytes = [0xa5; 80];
    assert_eq!(emit_compound(&parts, &mut bytes), Ok(76));
    assert_eq!(bytes[..76], COMPOUND);
    for length in 0..76 {
        let error = emit_compound(&parts, &mut bytes[..length]).unwrap_err();
        assert_eq!(error, EmitError::Truncated { needed: 76, actual: length });
    }
    let mut large = [0; 2000];
    let repr = Repr::ReceiverReport { ssrc: SSRC, reports: &[[0; 24]; 32] };
    assert_eq!(repr.emit(&mut large), Err(EmitError::Reports(32)));
    let repr = Repr::SourceDescription { ssrc: SSRC, cname: &[b'x'; 256] };
    assert_eq!(repr.emit(&mut large), Err(EmitError::Cname(256)));
}

#[test]
fn every_cname_length_is_terminated() {
    for length in 0..=255 {
        let cname = vec![b'x'; length];
        let parts = [
            Repr::ReceiverReport { ssrc: SSRC, reports: &[] },
            Repr::SourceDescription { ssrc: SSRC, cname: &cname },
        ];
        let mut bytes = [0xa5; 300];
        let end = emit_compound(&parts, &mut bytes).unwrap();
        let compound = Compound::new_checked(&bytes[..end], STRICT).unwrap();
        assert_eq!(Repr::parse(&compound.packets().nth(1).unwrap()), Some(parts[1]));
    }
}

#[test]
fn a_loss_beyond_24_bits_is_clamped() {
    for (given, expected) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1), (5, 5)] {
        let block = ReportBlock { cumulative_lost: given, ..BLOCK };
        let expected = ReportBlock { cumulative_lost: expected, ..BLOCK };
        assert_eq!(ReportBlock::from_bytes(&block.to_bytes()), expected);
    }
}

#[test]
fn the_cleartext_header_is_checked() {
    for length in 0..8 {
        let error = CleartextHeader::parse(&COMPOUND[..length]).unwrap_err();
        assert_eq!(error, Error::Truncated { needed: 8, actual: length });
    }
    assert_eq!(CleartextHeader::parse(&[0x41, 200, 0, 6, 0, 0, 0, 1]), Err(Error::Version { actual: 1 }));
    for packet_type in 0..=255u8 {
        let accepted = CleartextHeader::parse(&[0x80, packet_type, 0, 6, 0, 0, 0, 1]).is_ok();
        assert_eq!(accepted, (192..=223).contains(&packet_type), "{packet_type}");
    }
}

#[test]
fn lengths_must_add_up_exactly() {
    for length in 0..COMPOUND.len() {
        let whole_packets = matches!(length, 52 | 68);
        let accepted = Compound::new_checked(&COMPOUND[..length], STRICT).is_ok();
        assert_eq!(accepted, whole_packets, "{length}");
    }
    assert_eq!(
        compound_error(&COMPOUND[..60], STRICT),
        Error::Length { offset: 52, stated: 16, available: 8 }
    );
    let mut longer = COMPOUND.to_vec();
    longer.push(0);
    assert_eq!(compound_error(&longer, STRICT), Error::Truncated { needed: 4, actual: 1 });
    longer.extend_from_slice(&[0, 0, 0]);
    assert_eq!(compound_error(&longer, STRICT), Error::Version { actual: 0 });
}

#[test]
fn every_packet_has_version_two_and_an_rtcp_type() {
    for start in [0, 52, 68] {
        let mut bytes = COMPOUND;
        bytes[start] = bytes[start] & 0x3f | 0x40;
        assert_eq!(compound_error(&bytes, REDUCED), Error::Version { actual: 1 });
        let mut bytes = COMPOUND;
        bytes[start + 1] = 96;
        assert_eq!(compound_error(&bytes, REDUCED), Error::PacketType { actual: 96 });
    }
}

#[test]
fn a_report_comes_first_unless_reduced_size_is_allowed() {
    let rest = &COMPOUND[52..];
    assert_eq!(compound_error(rest, STRICT), Error::FirstNotReport { actual: 202 });
    assert!(Compound::new_checked(rest, REDUCED).is_ok());
    let feedback = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(compound_error(&feedback, STRICT), Error::FirstNotReport { actual: 206 });
    assert!(Compound::new_checked(feedback, REDUCED).is_ok());
}

#[test]
fn padding_is_in_the_last_packet_only_and_possible() {
    let padded = |packets: &[&[u8]]| Compound::new_checked(packets.concat(), STRICT).map(|_| ());
    let report: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let with = |count: u8| [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, count];
    assert_eq!(padded(&[&with(4)]), Ok(()));
    assert_eq!(padded(&[&report, &with(4)]), Ok(()));
    assert_eq!(padded(&[&with(4), &report]), Err(Error::PaddingNotLast { offset: 0 }));
    for count in [0, 1, 2, 3, 5, 6, 12, 255] {
        assert_eq!(
            padded(&[&report, &with(count)]),
            Err(Error::Padding { offset: 8, stated: count }),
            "{count}"
        );
    }
    let body = Error::Body { offset: 8, packet_type: 201, needed: 4, actual: 0 };
    assert_eq!(padded(&[&report, &with(8)]), Err(body), "padding must not eat the sender's SSRC");
    assert_eq!(padded(&[&report, &[0xa0, 192, 0, 0]]), Err(Error::Padding { offset: 8, stated: 0 }));
}

#[test]
fn every_type_has_its_least_length() {
    let with = |flags: u8, packet_type: u8, body: &[u8]| {
        let words = (body.len() / 4) as u8;
        let bytes = [&[0x80 | flags, packet_type, 0, words], body].concat();
        Compound::new_checked(bytes, REDUCED).map(|_| ())
    };
    for (packet_type, count, least) in [
        (200, 0, 24),
        (200, 1, 48),
        (200, 31, 768),
        (201, 0, 4),
        (201, 2, 52),
        (202, 0, 0),
        (203, 0, 0),
        (203, 3, 12),
        (204, 7, 8),
        (205, 1, 8),
        (206, 15, 8),
        (207, 0, 4),
        (192, 0, 0),
        (209, 5, 0),
    ] {
        assert_eq!(with(count, packet_type, &vec![0; least]), Ok(()), "{packet_type} {count}");
        if least > 0 {
            let error = Error::Body { offset: 0, packet_type, needed: least, actual: least - 4 };
            assert_eq!(with(count, packet_type, &vec![0; least - 4]), Err(error), "{packet_type} {count}");
        }
    }
}

#[test]
fn source_description_chunks_fill_the_packet() {
    let with = |count: u8, body: &[u8]| {
        let words = (body.len() / 4) as u8;
        let bytes = [&[0x80 | count, 202, 0, words], body].concat();
        Compound::new_checked(bytes, REDUCED).map(|_| ())
    };
    let bad = Err(Error::SourceDescription { offset: 0 });
    assert_eq!(with(1, &[0, 0, 0, 1, 0, 0, 0, 0]), Ok(()), "a chunk of no items");
    assert_eq!(with(1, &[0, 0, 0, 1, 1, 2, b'a', b'b']), bad, "not terminated");
    assert_eq!(with(1, &[0, 0, 0, 1, 1, 1, b'a', 0]), Ok(()));
    assert_eq!(with(2, &[0, 0, 0, 1, 1, 1, b'a', 0]), bad, "one chunk missing");
    assert_eq!(with(1, &[0, 0, 0, 1]), bad, "no items at all");
    assert_eq!(with(1, &[0, 0, 0, 1, 1, 200, b'a', 0]), bad, "an item overruns");
    assert_eq!(with(1, &[0, 0, 0, 1, 1, 1, b'a', 1]), bad, "an item's type is the last byte");
    assert_eq!(with(1, &[0, 0, 0, 1, 1, 1, b'a', 0, 0, 0, 0, 2]), bad, "bytes after the last chunk");
    assert_eq!(with(0, &[0, 0, 0, 1]), bad, "bytes after no chunk");
    assert_eq!(with(2, &[0, 0, 0, 1, 1, 1, b'a', 0, 0, 0, 0, 2, 2, 0, 0, 0]), Ok(()));
}

#[test]
fn goodbye_reasons_and_extended_report_blocks_stay_within() {
    let with = |flags: u8, packet_type: u8, body: &[u8]| {
        let words = (body.len() / 4) as u8;
        let bytes = [&[0x80 | flags, packet_type, 0, words], body].concat();
        Compound::new_checked(bytes, REDUCED).is_ok()
    };
    assert!(with(1, 203, &[0, 0, 0, 1, 3, b'b', b'y', b'e']));
    assert!(!with(1, 203, &[0, 0, 0, 1, 4, b'b', b'y', b'e']));
    assert!(with(0, 207, &[0, 0, 0, 1, 4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]));
    assert!(with(0, 207, &[0, 0, 0, 1, 4, 0, 0, 0, 5, 0, 0, 1, 5, 6, 7, 8]));
    assert!(!with(0, 207, &[0, 0, 0, 1, 4, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8]));
    assert!(!with(0, 207, &[0, 0, 0, 1, 4, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]));
}

#[test]
fn every_input_is_refused_or_safe() {
    sweep(&COMPOUND, |bytes| {
        let _ = CleartextHeader::parse(bytes);
        if let Ok(packet) = Packet::new_checked(bytes) {
            let _ = (packet.sender_ssrc(), packet.body(), packet.into_body(), Repr::parse(&packet));
        }
        if let Ok(compound) = Compound::new_checked(bytes, REDUCED) {
            let total: usize = compound.packets().map(|packet| packet.len()).sum();
            assert_eq!(total, bytes.len());
            for packet in compound.packets() {
                let _ = (packet.version(), packet.has_padding(), Repr::parse(&packet));
            }
            let first = compound.packets().next().unwrap();
            assert!(first.len() < CLEARTEXT_LEN || CleartextHeader::parse(bytes).is_ok());
        }
    });
}
