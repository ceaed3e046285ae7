use super::*;
use crate::codec::testing::random_payloads;
use crate::wire::testing::sweep;

/// A frame of MPEG-4 AAC LC, 48 kHz, stereo; `blocks` raw data blocks of `len` bytes in all, CRCs included.
fn frame(blocks: usize, protected: bool, raw: &[u8]) -> Vec<u8> {
    let header_len = if protected { HEADER_LEN + CRC_LEN * blocks } else { HEADER_LEN };
    let len = header_len + raw.len();
    let mut frame = vec![
        0xff,
        0xf0 | u8::from(!protected),
        1 << 6 | 3 << 2,
        2 << 6 | (len >> 11) as u8,
        (len >> 3) as u8,
        (len << 5) as u8 | 0x1f,
        0xfc | (blocks - 1) as u8,
    ];
    if protected {
        for block in 1..blocks {
            frame.extend((block as u16 * (raw.len() / blocks) as u16).to_be_bytes());
        }
        frame.extend(if blocks > 1 { crc16(&frame) } else { 0x1234 }.to_be_bytes());
    }
    frame.extend(raw);
    frame
}

fn parse(bytes: &[u8]) -> Result<(), Error> {
    Payload::new_checked(bytes).map(|_| ())
}

#[test]
fn reads_a_header() {
    let bytes = frame(1, false, &[7; 200]);
    let payload = Payload::new_checked(&bytes).expect("a whole frame");
    let header = payload.header();
    assert!(!header.is_mpeg2() && !header.is_protected());
    assert_eq!(
        (header.profile(), header.sampling_frequency(), header.channel_configuration()),
        (1, 48_000, 2)
    );
    assert_eq!((header.frame_len(), header.blocks(), header.len()), (207, 1, 7));
    assert_eq!(header.buffer_fullness(), 0x7ff);
    assert_eq!((payload.samples(), header.channels()), (1024, Some(2)));
}

#[test]
fn yields_each_frame_with_its_place() {
    let bytes = [frame(1, false, &[1; 100]), frame(1, false, &[2; 50]), frame(1, false, &[3])].concat();
    let payload = Payload::new_checked(&bytes).expect("three whole frames");
    let places: Vec<_> = payload.frames().map(|frame| (frame.raw_offset(), frame.raw_len())).collect();
    assert_eq!(places, [(7, 100), (114, 50), (171, 1)]);
    for ((offset, len), fill) in places.into_iter().zip([1, 2, 3]) {
        assert!(bytes[offset..offset + len].iter().all(|&byte| byte == fill));
    }
    assert_eq!((payload.blocks(), payload.samples()), (3, 3072));
    // Another fixed header inside of one payload; copyright bits and fullness may differ.
    let mut changed = bytes.clone();
    changed[107 + 3] ^= 0x0c;
    assert_eq!(parse(&changed), Ok(()));
    changed[107 + 2] ^= 0x04;
    assert_eq!(parse(&changed), Err(Error::HeaderChanged { offset: 107 }));
}

#[test]
fn refuses_what_the_header_must_not_say() {
    let good = frame(1, false, &[7; 20]);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        parse(&bytes)
    };
    assert_eq!(parse(&[]), Err(Error::Empty));
    assert_eq!(with(0, 0xfe), Err(Error::Sync { offset: 0 }));
    assert_eq!(with(1, 0xe1), Err(Error::Sync { offset: 0 }));
    for layer in 1..4 {
        assert_eq!(with(1, 0xf1 | layer << 1), Err(Error::Layer { offset: 0, actual: layer }));
    }
    for index in 0..16 {
        let expected =
            if index < 13 { Ok(()) } else { Err(Error::SamplingFrequency { offset: 0, actual: index }) };
        assert_eq!(with(2, 1 << 6 | index << 2), expected);
    }
    // Profile 3 is LTP in MPEG-4 and reserved in MPEG-2.
    assert_eq!(with(2, 3 << 6 | 3 << 2), Ok(()));
    let mut mpeg2 = good.clone();
    (mpeg2[1], mpeg2[2]) = (0xf9, 3 << 6 | 3 << 2);
    assert_eq!(parse(&mpeg2), Err(Error::Profile { offset: 0, actual: 3 }));
}

#[test]
fn holds_every_frame_length_against_the_payload() {
    let good = frame(1, false, &[7; 20]);
    for stated in 0..(1 << 13) {
        let mut bytes = good.clone();
        bytes[3] = bytes[3] & 0xfc | (stated >> 11) as u8;
        bytes[4] = (stated >> 3) as u8;
        bytes[5] = bytes[5] & 0x1f | (stated << 5) as u8;
        assert_eq!(parse(&bytes).is_ok(), stated == good.len(), "{stated}");
    }
    for length in 1..good.len() {
        assert!(parse(&good[..length]).is_err(), "{length}");
    }
    // Bytes behind the last frame are no frame.
    assert_eq!(parse(&[&good[..], &[0]].concat()), Err(Error::Sync { offset: 27 }));
    // A header and no raw data block.
    let empty = frame(1, false, &[]);
    assert_eq!(parse(&empty), Err(Error::FrameLength { offset: 0, stated: 7, least: 8, available: 7 }));
    // A CRC that is announced and is not there.
    let short = frame(1, true, &[]);
    assert_eq!(parse(&short), Err(Error::FrameLength { offset: 0, stated: 9, least: 10, available: 9 }));
    assert_eq!(parse(&frame(1, true, &[0])), Ok(()));
}

#[test]
fn the_crc_is_that_of_iso_11172_3() {
    // The check value of the catalogue of CRCs for this polynomial, start and order of bits (CRC-16/CMS).
    assert_eq!(crc16(b"123456789"), 0xaee7);
}

#[test]
fn the_header_crc_of_several_blocks_is_checked_to_the_bit() {
    for blocks in 2..=4 {
        let good = frame(blocks, true, &[7; 40]);
        let payload = Payload::new_checked(&good).expect("a whole frame");
        assert_eq!((payload.blocks(), payload.samples()), (blocks, blocks as u32 * 1024));
        let header_len = HEADER_LEN + CRC_LEN * blocks;
        assert_eq!(payload.frames().next().map(|frame| frame.raw_offset()), Some(header_len));
        for bit in 0..header_len * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // But for the bits after which there is no such CRC: `protection_absent`, and a count of one block.
            if bit != 8 && bytes[6] & 3 != 0 {
                assert!(parse(&bytes).is_err(), "{blocks} {bit}");
            }
        }
        let crc_at = header_len - CRC_LEN;
        let mut bytes = good.clone();
        bytes[crc_at] ^= 1;
        assert!(matches!(parse(&bytes), Err(Error::Crc { offset: 0, .. })));
        // Of one block the CRC covers parts that only a decoder finds.
        let mut single = frame(1, true, &[7; 40]);
        single[HEADER_LEN] ^= 1;
        assert_eq!(parse(&single), Ok(()));
    }
}

#[test]
fn block_positions_lie_in_the_frame_and_in_order() {
    let with = |positions: [u16; 2]| {
        let mut bytes = frame(3, true, &[7; 30]);
        bytes[7..9].copy_from_slice(&positions[0].to_be_bytes());
        bytes[9..11].copy_from_slice(&positions[1].to_be_bytes());
        let crc = crc16(&bytes[..11]);
        bytes[11..13].copy_from_slice(&crc.to_be_bytes());
        parse(&bytes)
    };
    let refused = |block, position| Err(Error::BlockPosition { offset: 0, block, position });
    assert_eq!(with([3, 6]), Ok(()));
    assert_eq!(with([3, 27]), Ok(()));
    assert_eq!(with([2, 6]), refused(1, 2));
    assert_eq!(with([3, 5]), refused(2, 5));
    assert_eq!(with([3, 28]), refused(2, 28));
    assert_eq!(with([40, 50]), refused(1, 40));
    assert_eq!(with([20, 10]), refused(2, 10));
}

#[test]
fn no_bytes_make_it_panic_and_frames_fill_what_passes() {
    let mut passed = 0;
    let mut hold = |bytes: &[u8]| {
        if let Ok(payload) = Payload::new_checked(bytes) {
            let mut at = 0;
            for frame in payload.frames() {
                assert_eq!(frame.offset, at);
                assert!(frame.raw_len() > 0 && frame.raw_offset() + frame.raw_len() <= bytes.len());
                at = frame.raw_offset() + frame.raw_len();
            }
            assert_eq!(at, bytes.len());
            passed += 1;
        }
    };
    sweep(&[frame(1, false, &[1; 30]), frame(1, false, &[2; 9])].concat(), &mut hold);
    sweep(&frame(3, true, &[1; 30]), &mut hold);
    random_payloads(64, 200, &[&[0xff, 0xf1], &[0xff, 0xf0, 0x4c, 0x80]], &mut hold);
    assert!(passed > 100, "{passed}");
}
