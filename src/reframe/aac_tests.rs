//! Vectors written by hand, and the conversions against ones that build a new packet.

use super::*;
use crate::fastpath::HeapBuffer;
use crate::wire::testing::Random;

const HEADER: [u8; 12] = [0x80, 96, 0x12, 0x34, 0, 0, 0, 1, 0xca, 0xfe, 0xba, 0xbe];

/// LC, 44.1 kHz, stereo.
fn config() -> AacConfig {
    AacConfig::new(2, 4, 2).expect("ADTS has it")
}

/// A packet with so many octets of headroom.
fn buffer(packet: &[u8], headroom: usize) -> HeapBuffer {
    let mut buffer = HeapBuffer::new(&[], 0xee);
    assert!(buffer.move_start(headroom as isize - HeapBuffer::HEADROOM as isize));
    assert!(buffer.resize(packet.len()));
    buffer.data_mut().copy_from_slice(packet);
    buffer
}

/// What an ADTS frame of one raw data block is, said field by field.
fn frame(config: &AacConfig, unit: &[u8]) -> Vec<u8> {
    let fields = [
        (0xfff, 12),
        (0, 1),
        (0, 2),
        (1, 1),
        (config.profile().into(), 2),
        (config.sampling_frequency_index().into(), 4),
        (0, 1),
        (config.channel_configuration().into(), 3),
        (0, 4),
        (unit.len() as u64 + 7, 13),
        (0x7ff, 11),
        (0, 2),
    ];
    let bits = fields.iter().fold(0_u64, |bits, (value, width)| bits << width | value);
    [&bits.to_be_bytes()[1..], unit].concat()
}

fn adts_packet(header: &[u8], units: &[Vec<u8>]) -> Vec<u8> {
    let frames = units.iter().flat_map(|unit| frame(&config(), unit));
    header.iter().copied().chain(frames).collect()
}

fn rfc3640_packet(header: &[u8], units: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = header.to_vec();
    packet[1] |= 0x80;
    packet.extend((units.len() as u16 * 16).to_be_bytes());
    packet.extend(units.iter().flat_map(|unit| (unit.len() as u16 * 8).to_be_bytes()));
    packet.extend(units.iter().flatten());
    packet
}

#[test]
fn one_access_unit_by_hand() {
    let adts = [&HEADER[..], &[0xff, 0xf1, 0x50, 0x80, 0x01, 0x9f, 0xfc], b"voice"].concat();
    let mut packet = buffer(&adts, 0);
    adts_to_rfc3640(&mut packet, 12, &config()).expect("valid");
    // RFC 3640 §3.3.6: 16 bits of AU-headers; AU-size 5, AU-Index 0.
    let mut expected = [&HEADER[..], &[0x00, 0x10, 0x00, 0x28], b"voice"].concat();
    expected[1] |= 0x80;
    assert_eq!(packet.data(), expected);
    rfc3640_to_adts(&mut packet, 12, &config(), 0).expect("valid");
    assert_eq!(packet.data(), adts);
}

#[test]
fn three_access_units_by_hand() {
    let adts = [
        &HEADER[..],
        &[0xff, 0xf1, 0x50, 0x80, 0x01, 0x3f, 0xfc, 0xaa, 0xab],
        &[0xff, 0xf1, 0x50, 0x80, 0x01, 0x1f, 0xfc, 0xba],
        &[0xff, 0xf1, 0x50, 0x80, 0x01, 0x5f, 0xfc, 0xca, 0xcb, 0xcc],
    ]
    .concat();
    let mut packet = buffer(&adts, 3);
    adts_to_rfc3640(&mut packet, 12, &config()).expect("valid");
    assert_eq!(
        packet.data()[12..],
        [0x00, 0x30, 0x00, 0x10, 0x00, 0x08, 0x00, 0x18, 0xaa, 0xab, 0xba, 0xca, 0xcb, 0xcc]
    );
    rfc3640_to_adts(&mut packet, 12, &config(), 3).expect("the room that the other form took");
    assert_eq!(packet.data(), adts);
}

/// Random access units, header lengths, head- and tailroom: each way as the packet built anew, there and back the same.
#[test]
fn conversions_are_the_inverse_of_one_another_and_as_built_anew() {
    let mut random = Random::new(3640);
    let (mut by_front, mut by_end) = (0, 0);
    for _ in 0..20_000 {
        let csrcs = random.below(4);
        let mut header = HEADER.to_vec();
        header[0] |= csrcs as u8;
        header.extend(random.bytes(csrcs * 4));
        let units: Vec<Vec<u8>> = (0..1 + random.below(12))
            .map(|_| {
                let most = if random.below(4) == 0 { 120 } else { 20 };
                let len = 1 + random.below(most);
                random.bytes(len)
            })
            .collect();
        let (adts, rfc3640) = (adts_packet(&header, &units), rfc3640_packet(&header, &units));
        let headroom = random.below(129);

        let mut packet = buffer(&adts, headroom);
        adts_to_rfc3640(&mut packet, header.len(), &config()).expect("valid");
        assert_eq!(packet.data(), rfc3640);
        let (mut back, wanted) = (packet, random.below(129));
        rfc3640_to_adts(&mut back, header.len(), &config(), wanted).expect("the data room is larger");
        assert_eq!(back.data(), adts);

        let mut packet = buffer(&rfc3640, headroom);
        rfc3640_to_adts(&mut packet, header.len(), &config(), wanted).expect("the data room is larger");
        assert_eq!(packet.data(), adts);
        let grown = adts.len() - rfc3640.len();
        let kept = packet.move_start(-(headroom as isize));
        if kept {
            by_end += 1;
        } else {
            by_front += 1;
            assert!(headroom >= grown + wanted, "{wanted} octets of headroom were to be kept");
        }
    }
    assert!(by_front > 1_000 && by_end > 1_000, "{by_front} into the headroom, {by_end} into the tailroom");
}

#[test]
fn without_room_nothing_changes() {
    let unit = vec![7; 1000];
    let packet = rfc3640_packet(&HEADER, &[unit.clone(), unit]);
    let mut full = buffer(&packet, 0);
    let room = HeapBuffer::HEADROOM + HeapBuffer::DATA_ROOM;
    // Its data room in use up to the last octets.
    let filler = vec![9; room - packet.len() - 4];
    let mut at_end = buffer(&[&filler[..], &packet].concat(), 0);
    assert!(at_end.move_start(filler.len() as isize));
    assert_eq!(rfc3640_to_adts(&mut at_end, 12, &config(), filler.len()), Err(Error::NoRoom));
    assert_eq!(at_end.data(), packet);
    assert_eq!(rfc3640_to_adts(&mut full, 12, &config(), 60), Ok(()), "the tailroom is enough");
}

#[test]
fn a_crc_is_left_out() {
    let with_crc = [&HEADER[..], &[0xff, 0xf0, 0x50, 0x80, 0x01, 0xdf, 0xfc, 0x12, 0x34], b"voice"].concat();
    let mut packet = buffer(&with_crc, 10);
    adts_to_rfc3640(&mut packet, 12, &config()).expect("valid");
    assert_eq!(packet.data(), rfc3640_packet(&HEADER, &[b"voice".to_vec()]));
}

/// Two raw data blocks of 3 and 2 octets: header, one position, CRC, each block with a CRC of its own.
#[test]
fn marked_raw_data_blocks_become_access_units() {
    let mut frame = vec![0xff, 0xf0, 0x50, 0x80, 0, 0x1f, 0xfd, 0, 5, 0, 0];
    let crc = frame[..9].to_vec();
    frame.extend([1, 2, 3, 0xc1, 0xc1, 4, 5, 0xc2, 0xc2]);
    let len = frame.len();
    frame[4] = (len >> 3) as u8;
    frame[5] |= (len << 5) as u8;
    let covered = [&crc[..4], &frame[4..9]].concat();
    let crc = covered.iter().fold(0xffff_u16, |crc, octet| {
        (0..8).fold(crc ^ u16::from(*octet) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 }
        })
    });
    frame[9..11].copy_from_slice(&crc.to_be_bytes());
    let mut packet = buffer(&[&HEADER[..], &frame].concat(), 0);
    adts_to_rfc3640(&mut packet, 12, &config()).expect("valid");
    assert_eq!(packet.data(), rfc3640_packet(&HEADER, &[vec![1, 2, 3], vec![4, 5]]));
}

#[test]
fn what_has_no_other_form_is_refused_and_unchanged() {
    let unit = b"voice".to_vec();
    let good = adts_packet(&HEADER, std::slice::from_ref(&unit));
    let other = AacConfig::new(2, 3, 2).expect("ADTS has it");
    let mut blocks = good.clone();
    blocks[18] |= 1;
    let many = adts_packet(&HEADER, &vec![vec![1]; MAX_UNITS + 1]);
    let cases: [(&[u8], AacConfig, Error); 5] = [
        (&good, other, Error::OtherConfig),
        (&good, AacConfig::NONE, Error::OtherConfig),
        (&blocks, config(), Error::BlocksUnmarked),
        (&many, config(), Error::TooManyUnits),
        (&good[..good.len() - 1], config(), Error::Malformed),
    ];
    for (packet, config, error) in cases {
        let mut buffer = buffer(packet, 50);
        assert_eq!(adts_to_rfc3640(&mut buffer, 12, &config), Err(error));
        assert_eq!(buffer.data(), packet);
    }

    let good = rfc3640_packet(&HEADER, &[unit]);
    let many = rfc3640_packet(&HEADER, &vec![vec![1]; MAX_UNITS + 1]);
    let (fragment, mut interleaved) = (&good[..good.len() - 1], good.clone());
    interleaved[15] |= 1;
    for (packet, error) in [
        (fragment, Error::Malformed),
        (&interleaved, Error::Malformed),
        (&many, Error::TooManyUnits),
        (&HEADER, Error::Malformed),
    ] {
        let mut buffer = buffer(packet, 50);
        assert_eq!(rfc3640_to_adts(&mut buffer, 12, &config(), 0), Err(error));
        assert_eq!(buffer.data(), packet);
    }
}

#[test]
fn no_input_panics() {
    let units = [vec![1; 9], vec![2; 30]];
    for valid in [adts_packet(&HEADER, &units), rfc3640_packet(&HEADER, &units)] {
        crate::wire::testing::sweep(&valid, |bytes| {
            for header_len in [0, 12, bytes.len(), bytes.len() + 1] {
                let _ = adts_to_rfc3640(&mut buffer(bytes, 100), header_len, &config());
                let _ = rfc3640_to_adts(&mut buffer(bytes, 100), header_len, &config(), 60);
            }
        });
    }
}
