use super::*;
use crate::codec::testing::random_payloads;
use crate::wire::testing::sweep;

/// A payload with AU-headers of `sizes` and `data` bytes of data.
fn payload(sizes: &[usize], data: usize) -> Vec<u8> {
    let mut bytes = (sizes.len() as u16 * 16).to_be_bytes().to_vec();
    for size in sizes {
        bytes.extend((*size as u16 * 8).to_be_bytes());
    }
    bytes.extend((0..data).map(|at| at as u8));
    bytes
}

fn parse(bytes: &[u8]) -> Result<(), Error> {
    Payload::new_checked(bytes).map(|_| ())
}

#[test]
fn yields_each_access_unit_with_its_place() {
    let bytes = payload(&[100, 7, 1], 108);
    let checked = Payload::new_checked(&bytes).expect("three whole units");
    assert_eq!((checked.len(), checked.fragment_of()), (3, None));
    let units: Vec<_> = checked.units().collect();
    let unit = |offset, len| AccessUnit { offset, len };
    assert_eq!(units, [unit(8, 100), unit(108, 7), unit(115, 1)]);
}

#[test]
fn a_fragment_is_one_unit_larger_than_the_data() {
    let bytes = payload(&[5_000], 1_000);
    let checked = Payload::new_checked(&bytes).expect("a fragment");
    assert_eq!((checked.len(), checked.fragment_of()), (1, Some(5_000)));
    assert_eq!(checked.units().collect::<Vec<_>>(), [AccessUnit { offset: 4, len: 1_000 }]);
    // Of two units neither may be a part.
    assert_eq!(parse(&payload(&[50, 60], 109)), Err(Error::Size { units: 2, stated: 110, actual: 109 }));
    assert_eq!(parse(&payload(&[MAX_AU_SIZE], 1)), Ok(()));
}

#[test]
fn sizes_add_up_to_the_data_or_are_refused() {
    for data in 1..=200 {
        let expected =
            if data == 100 { Ok(()) } else { Err(Error::Size { units: 2, stated: 100, actual: data }) };
        assert_eq!(parse(&payload(&[60, 40], data)), expected);
        // More data than the only unit has.
        assert_eq!(parse(&payload(&[100], data)).is_ok(), data <= 100, "{data}");
    }
    assert_eq!(parse(&payload(&[10, 0], 10)), Err(Error::EmptyUnit { number: 1 }));
    assert_eq!(parse(&payload(&[0], 10)), Err(Error::EmptyUnit { number: 0 }));
}

#[test]
fn au_headers_length_is_held_against_the_payload() {
    for bits in 0..=u16::MAX {
        let mut bytes = payload(&[2, 2, 2], 6);
        bytes[..2].copy_from_slice(&bits.to_be_bytes());
        let result = parse(&bytes);
        match bits {
            48 => assert_eq!(result, Ok(())),
            // Fewer units, and the other headers are data: one unit is smaller than what follows, and so are two.
            16 | 32 => assert!(matches!(result, Err(Error::Size { .. })), "{bits}"),
            _ if bits == 0 || bits % 16 != 0 => assert_eq!(result, Err(Error::HeadersLength { bits })),
            // Voice taken for a header: its index or size gives it away.
            64 | 80 => assert!(result.is_err()),
            _ => assert!(matches!(result, Err(Error::HeadersOverrun { actual: 14, .. })), "{bits}"),
        }
    }
    assert_eq!(parse(&[]), Err(Error::Truncated { actual: 0 }));
    assert_eq!(parse(&[0]), Err(Error::Truncated { actual: 1 }));
    assert_eq!(parse(&payload(&[4], 0)), Err(Error::HeadersOverrun { stated: 4, actual: 4 }));
}

#[test]
fn interleaving_is_refused() {
    for number in 0..2 {
        for index in 1..8 {
            let mut bytes = payload(&[5, 5], 10);
            bytes[3 + 2 * number] |= index;
            assert_eq!(parse(&bytes), Err(Error::Interleaved { number, index }));
        }
    }
}

#[test]
fn no_bytes_make_it_panic_and_units_fill_what_passes() {
    let mut passed = 0;
    let mut hold = |bytes: &[u8]| {
        if let Ok(checked) = Payload::new_checked(bytes) {
            let mut at = HEADERS_LENGTH_LEN + checked.len() * AU_HEADER_LEN;
            for unit in checked.units() {
                assert_eq!(unit.offset, at);
                assert!(unit.len > 0);
                at += unit.len;
            }
            assert_eq!((at, checked.units().count()), (bytes.len(), checked.len()));
            passed += 1;
        }
    };
    sweep(&payload(&[20, 9, 3], 32), &mut hold);
    sweep(&payload(&[300], 30), &mut hold);
    random_payloads(64, 200, &[&[0, 16], &[0, 32, 0, 8], &[0, 16, 0xff, 0xf8]], &mut hold);
    assert!(passed > 100, "{passed}");
}
