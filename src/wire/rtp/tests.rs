use super::*;
use crate::wire::testing::sweep;

/// Two contributing sources, a one-byte extension (id 1 of 1 byte, padding, id 3 of 2 bytes), payload of
/// three bytes, padding of two.
#[rustfmt::skip]
const PACKET: [u8; 37] = [
    0xb2, 0xe0, 0x12, 0x34, 0x00, 0x00, 0x03, 0xc0, 0xde, 0xad, 0xbe, 0xef,
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
    0xbe, 0xde, 0x00, 0x02, 0x10, 0xff, 0x00, 0x31, 0xaa, 0xbb, 0x00, 0x00,
    7, 8, 9, 0, 2,
];
const CSRCS: [[u8; 4]; 2] = [[0, 0, 0, 1], [0, 0, 0, 2]];
const EXTENSION_DATA: [u8; 8] = [0x10, 0xff, 0x00, 0x31, 0xaa, 0xbb, 0x00, 0x00];

fn repr() -> Repr<'static> {
    Repr {
        marker: true,
        payload_type: PayloadType(96),
        sequence_number: SequenceNumber(0x1234),
        timestamp: RtpTime(960),
        ssrc: Ssrc(0xdead_beef),
        csrcs: &CSRCS,
        extension: Some(Extension { profile: 0xbede, data: &EXTENSION_DATA }),
        payload: &[7, 8, 9],
        padding_len: 2,
    }
}

fn minimal() -> Repr<'static> {
    Repr { csrcs: &[], extension: None, padding_len: 0, payload: &[], ..repr() }
}

#[test]
fn deconstruct() {
    let packet = Packet::new_checked(&PACKET[..]).unwrap();
    assert_eq!(Repr::parse(&packet), Ok(repr()));
    assert_eq!((packet.version(), packet.csrc_count(), packet.header_len()), (2, 2, 32));
    assert!(packet.has_padding() && packet.has_extension() && packet.marker());
    assert_eq!(packet.csrcs().collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
    assert_eq!((packet.csrc(0), packet.csrc(1), packet.csrc(2)), (Some(Ssrc(1)), Some(Ssrc(2)), None));
    assert_eq!(packet.payload(), [7, 8, 9, 0, 2]);
    assert_eq!(packet.into_payload(), [7, 8, 9, 0, 2]);
    assert_eq!(packet.padding_len(), Ok(2));
    assert_eq!(packet.check_extension_elements(), Ok(()));
}

#[test]
fn construct() {
    let mut bytes = vec![0xa5; PACKET.len()];
    repr().emit(&mut bytes).unwrap();
    assert_eq!(bytes, PACKET);
    assert_eq!(repr().emit(&mut [0; 36]).map(|_| ()), Err(EmitError::Truncated { needed: 37, actual: 36 }));
    let many = [[0; 4]; 16];
    let repr = Repr { csrcs: &many, ..repr() };
    assert_eq!(repr.emit(&mut [0; 200]).map(|_| ()), Err(EmitError::Csrcs(16)));
    let long = vec![0; 262_141];
    let repr = Repr { extension: Some(Extension { profile: 0, data: &long }), ..minimal() };
    assert_eq!(repr.emit(&mut vec![0; 300_000]).map(|_| ()), Err(EmitError::Extension(262_141)));
}

#[test]
fn extension_data_is_padded_to_words() {
    let repr = Repr { extension: Some(Extension { profile: 0xbede, data: &[0x10, 0xff] }), ..minimal() };
    let mut bytes = [0xa5; 20];
    let packet = repr.emit(&mut bytes).unwrap();
    assert_eq!(packet.header_len(), 20);
    assert_eq!(packet.extension().unwrap().data, [0x10, 0xff, 0, 0]);
    assert_eq!(packet.check_extension_elements(), Ok(()));
}

#[test]
fn each_overrun_has_its_error() {
    let error = |bytes: &[u8]| Packet::new_checked(bytes).map(|_| ()).unwrap_err();
    for length in 0..32 {
        let expected = match length {
            0..12 => Error::Truncated { actual: length },
            12..20 => Error::CsrcOverrun { count: 2, actual: length },
            20..24 => Error::ExtensionOverrun { needed: 24, actual: length },
            _ => Error::ExtensionOverrun { needed: 32, actual: length },
        };
        assert_eq!(error(&PACKET[..length]), expected);
    }
    assert!(Packet::new_checked(&PACKET[..32]).is_ok());
    for version in [0u8, 1, 3] {
        let mut bytes = PACKET;
        bytes[0] = version << 6;
        assert_eq!(error(&bytes), Error::Version { actual: version });
    }
}

#[test]
fn an_extension_of_length_zero_is_valid() {
    let bytes = [0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 0, 1];
    let packet = Packet::new_checked(&bytes[..]).unwrap();
    assert_eq!(packet.header_len(), 16);
    assert_eq!(packet.extension(), Some(Extension { profile: 0xbede, data: &[] }));
    assert_eq!(packet.check_extension_elements(), Ok(()));
    assert_eq!(packet.payload(), [1]);
}

#[test]
fn padding_counts_itself_and_stays_within_the_payload() {
    let padding = |payload: &[u8]| {
        let mut bytes = vec![0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(payload);
        Packet::new_checked(bytes).unwrap().padding_len()
    };
    assert_eq!(padding(&[9, 9, 1]), Ok(1));
    assert_eq!(padding(&[0, 0, 3]), Ok(3));
    assert_eq!(padding(&[0, 0, 4]), Err(PaddingError { stated: 4, payload: 3 }));
    assert_eq!(padding(&[9, 9, 0]), Err(PaddingError { stated: 0, payload: 3 }));
    assert_eq!(padding(&[]), Err(PaddingError { stated: 0, payload: 0 }));
    let clear = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff];
    assert_eq!(Packet::new_checked(clear).unwrap().padding_len(), Ok(0));
}

fn elements(profile: u16, data: &[u8]) -> Vec<Result<(u8, Vec<u8>), ExtensionError>> {
    Extension { profile, data }.elements().map(|e| e.map(|e| (e.id, e.data.to_vec()))).collect()
}

#[test]
fn one_byte_elements() {
    assert_eq!(elements(0xbede, &EXTENSION_DATA), [Ok((1, vec![0xff])), Ok((3, vec![0xaa, 0xbb]))]);
    let sixteen: Vec<u8> = std::iter::once(0xef).chain(0..16).collect();
    assert_eq!(elements(0xbede, &sixteen), [Ok((14, (0..16).collect()))]);
    let overrun = Err(ExtensionError { id: 14, offset: 0, length: 16 });
    assert_eq!(elements(0xbede, &sixteen[..16]), [overrun]);
    assert_eq!(
        elements(0xbede, &[0x10, 1, 0x11, 2]),
        [Ok((1, vec![1])), Err(ExtensionError { id: 1, offset: 2, length: 4 })]
    );
}

#[test]
fn identifier_15_and_padding_with_a_length_stop_the_one_byte_form() {
    for stop in [0xf0, 0xff, 0x01, 0x0f] {
        assert_eq!(elements(0xbede, &[0x10, 1, stop, 0xff]), [Ok((1, vec![1]))], "{stop:#x}");
    }
}

#[test]
fn two_byte_elements() {
    for profile in [0x1000, 0x100f] {
        let data = [0x01, 0x00, 0x00, 0xf0, 0x02, 0xaa, 0xbb, 0x00];
        assert_eq!(elements(profile, &data), [Ok((1, vec![])), Ok((0xf0, vec![0xaa, 0xbb]))]);
        let overrun = |id, offset| Err(ExtensionError { id, offset, length: 4 });
        assert_eq!(elements(profile, &[0x01, 0x03, 0x00, 0x00]), [overrun(1, 0)]);
        assert_eq!(elements(profile, &[0x00, 0x00, 0x00, 0x07]), [overrun(7, 3)]);
    }
}

#[test]
fn other_profiles_have_no_elements() {
    for profile in [0x0000, 0x1010, 0x2000, 0xbedd, 0xffff] {
        assert_eq!(elements(profile, &[0xff; 8]), []);
    }
}

#[test]
fn setters_write_their_field_only() {
    let mut packet = Packet::new_checked(PACKET).unwrap();
    packet.set_marker(false);
    packet.set_payload_type(PayloadType(255));
    assert!(!packet.marker(), "the eighth bit of a payload type is cut off");
    packet.set_sequence_number(SequenceNumber(0xffff));
    packet.set_timestamp(RtpTime(u32::MAX));
    packet.set_ssrc(Ssrc(5));
    packet.payload_mut()[0] = 70;
    let packet = Packet::new_checked(packet.buffer).unwrap();
    assert_eq!((packet.marker(), packet.payload_type().0), (false, 127));
    assert_eq!((packet.sequence_number(), packet.timestamp()), (SequenceNumber(0xffff), RtpTime(u32::MAX)));
    assert_eq!((packet.ssrc(), packet.csrc(0), packet.csrc_count()), (Ssrc(5), Some(Ssrc(1)), 2));
    assert_eq!(packet.payload(), [70, 8, 9, 0, 2]);
}

#[test]
fn every_input_is_refused_or_safe() {
    sweep(&PACKET, |bytes| {
        if let Ok(packet) = Packet::new_checked(bytes) {
            assert_eq!(packet.header_len() + packet.payload().len(), bytes.len());
            assert_eq!(packet.csrcs().len(), packet.csrc_count());
            assert!(packet.padding_len().is_ok_and(|n| n <= packet.payload().len()) || packet.has_padding());
            let _ =
                (packet.version(), packet.csrc(15), packet.extension(), packet.check_extension_elements());
            if let Some(extension) = packet.extension() {
                let within: usize = extension.elements().flatten().map(|e| e.data.len() + 1).sum();
                assert!(within <= extension.data.len());
            }
            if let Ok(repr) = Repr::parse(&packet) {
                let mut again = vec![0xa5; bytes.len()];
                let rebuilt = repr.emit(&mut again).unwrap();
                assert_eq!(rebuilt.header_len(), packet.header_len());
                assert_eq!(Repr::parse(&Packet::new_checked(&again[..]).unwrap()), Ok(repr));
            }
        }
    });
}
