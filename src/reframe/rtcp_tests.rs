//! RTCP written word by word: what is moved which way, and that nothing else is touched.

use super::*;
use crate::wire::rtcp::Compound;

/// The sender's own SSRC, as it has it and as the receiver knows it.
const OWN: u32 = 0x0a0a_0a0a;
const KNOWN: u32 = 0x0b0b_0b0b;
/// The other direction's, as the sender knows it and as its source has it.
const OTHER: u32 = 0x0c0c_0c0c;
const SOURCE: u32 = 0x0d0d_0d0d;
const STRANGER: u32 = 0x0e0e_0e0e;

const FORWARD: Forward = Forward { from: [OWN, OWN], to: KNOWN, timestamps: 1_000 };
/// The source began with 200, which the sender knows as 0x1_0064.
const BACKWARD: Backward = Backward { from: OTHER, to: SOURCE, offset: 0x1_0064 - 200, start: 0x1_0064 };

fn packet(count: u8, packet_type: u8, words: &[u32]) -> Vec<u8> {
    let mut octets = vec![0x80 | count, packet_type];
    octets.extend((words.len() as u16).to_be_bytes());
    octets.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    octets
}

/// Both packets are valid; the first becomes the second.
#[track_caller]
fn becomes(before: &[Vec<u8>], after: &[Vec<u8>]) {
    let (before, after) = (before.concat(), after.concat());
    for packet in [&before, &after] {
        Compound::new_checked(&packet[..], true).expect("a valid compound");
    }
    let mut packet = before.clone();
    renumber(&mut packet, Some(&FORWARD), Some(&BACKWARD));
    assert_eq!(packet, after);
    let mut packet = before.clone();
    renumber(&mut packet, None, None);
    assert_eq!(packet, before);
}

#[test]
fn a_sender_report_with_blocks_of_both_kinds() {
    let block = |ssrc, highest| [ssrc, 0x0100_0003, highest, 4, 0xaaaa_bbbb, 0x0001_0000];
    let report = |ssrc, timestamp, blocks: [[u32; 6]; 2]| {
        packet(2, 200, &[&[ssrc, 1, 2, timestamp, 50, 8_000][..], &blocks.concat()].concat())
    };
    assert_eq!(sender_timestamp(&report(OWN, 77, [block(1, 2); 2])), Some(77));
    becomes(
        &[report(OWN, u32::MAX, [block(OTHER, 0x1_0100), block(STRANGER, 9)])],
        &[report(KNOWN, 999, [block(SOURCE, 356), block(STRANGER, 9)])],
    );
    // What was received from an earlier source is one before the first of this one.
    becomes(
        &[report(OWN, 0, [block(OTHER, 0x1_0063), block(OTHER, 0x0_ffff)])],
        &[report(KNOWN, 1_000, [block(SOURCE, 199), block(SOURCE, 199)])],
    );
}

#[test]
fn a_compound_of_many() {
    let sdes = |ssrc: u32| {
        let mut octets = vec![0x82, 202, 0, 5];
        octets.extend(ssrc.to_be_bytes());
        octets.extend(b"\x01\x04call\x00\x00");
        octets.extend(ssrc.to_be_bytes());
        octets.extend(b"\x00\x00\x00\x00");
        octets
    };
    let all = |own, other: u32| {
        vec![
            packet(0, 201, &[own]),
            sdes(own),
            packet(2, 203, &[own, STRANGER]),
            packet(0, 204, &[own, u32::from_be_bytes(*b"NAME"), OWN]),
            packet(15, 205, &[own, other, OTHER]),
            packet(1, 206, &[own, other]),
        ]
    };
    becomes(&all(OWN, OTHER), &all(KNOWN, SOURCE));
    assert_eq!(sender_timestamp(&all(OWN, OTHER).concat()), None);
}

#[test]
fn negative_acknowledgements() {
    // 0x0064 is what the source sent as 200.
    becomes(
        &[packet(1, 205, &[OWN, OTHER, 0x0064_8001, 0x0063_0000])],
        &[packet(1, 205, &[KNOWN, SOURCE, 0x00c8_8001, 0x00c7_0000])],
    );
    becomes(
        &[packet(1, 205, &[OWN, STRANGER, 0x0064_8001])],
        &[packet(1, 205, &[KNOWN, STRANGER, 0x0064_8001])],
    );
}

#[test]
fn requests_that_name_ssrcs() {
    for (packet_type, format) in [(205, 3), (205, 4), (206, 4), (206, 5), (206, 6)] {
        becomes(
            &[packet(format, packet_type, &[OWN, 0, OTHER, OTHER, STRANGER, 2])],
            &[packet(format, packet_type, &[KNOWN, 0, SOURCE, OTHER, STRANGER, 2])],
        );
    }
    let remb =
        |own, other| packet(15, 206, &[own, 0, u32::from_be_bytes(*b"REMB"), 0x0203_1234, other, STRANGER]);
    becomes(&[remb(OWN, OTHER)], &[remb(KNOWN, SOURCE)]);
}

#[test]
fn congestion_control_feedback() {
    let feedback = |own, other, begin: u32| {
        // Three reports, padded to two words; a second stream with one; the timestamp.
        let streams = [other, begin << 16 | 3, 0x8001_8002, 0x8003_0000, STRANGER, 0x0064_0001, 0x8004_0000];
        packet(11, 205, &[&[own][..], &streams, &[OTHER]].concat())
    };
    becomes(&[feedback(OWN, OTHER, 0x64)], &[feedback(KNOWN, SOURCE, 200)]);
}

#[test]
fn extended_reports() {
    let report = |own, other, begin: u32, end: u32| {
        let rle = |kind: u32| [kind << 24 | 3, other, begin << 16 | end, 0x4005_0000];
        let statistics = [0x06e0_0009, other, begin << 16 | end, 1, 2, 3, 4, 5, 6, 7];
        let voip = [0x0700_0008, other, OTHER, 2, 3, 4, 5, 6, 7];
        let dlrr = [0x0500_0006, other, 8, 9, STRANGER, 8, OTHER];
        let reference = [0x0400_0002, OTHER, 2];
        let blocks = [&rle(1)[..], &rle(2), &rle(3), &statistics, &voip, &dlrr, &reference].concat();
        packet(0, 207, &[&[own][..], &blocks].concat())
    };
    becomes(&[report(OWN, OTHER, 0x64, 0x70)], &[report(KNOWN, SOURCE, 200, 212)]);
}

#[test]
fn no_input_panics() {
    let valid = [
        packet(1, 200, &[0; 12]),
        packet(15, 206, &[OWN, 0, u32::from_be_bytes(*b"REMB"), 0x0200_0000, 1, 2]),
    ];
    crate::wire::testing::sweep(&valid.concat(), |bytes| {
        let mut packet = bytes.to_vec();
        renumber(&mut packet, Some(&FORWARD), Some(&BACKWARD));
        let _ = sender_timestamp(bytes);
    });
    // Any type, any count, random words.
    let mut random = crate::wire::testing::Random::new(207);
    for packet_type in 192..224 {
        for _ in 0..2_000 {
            let words = random.below(12);
            let mut octets = vec![0x80 | random.below(32) as u8, packet_type, 0, words as u8];
            octets.extend(random.bytes(words * 4));
            renumber(&mut octets, Some(&FORWARD), Some(&BACKWARD));
        }
    }
}
