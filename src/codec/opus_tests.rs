use super::*;
use crate::codec::testing::random_payloads;
use crate::wire::testing::{Random, sweep};

/// CELT, fullband, 20 ms, mono.
const CELT_20: u8 = 31 << 3;
/// SILK, narrowband, 60 ms.
const SILK_60: u8 = 3 << 3;
/// CELT, narrowband, 2.5 ms.
const CELT_2_5: u8 = 16 << 3;

fn parse(bytes: &[u8]) -> Result<(usize, u32), Error> {
    Packet::new_checked(bytes).map(|packet| (packet.frame_count(), packet.samples()))
}

fn with_body(head: &[u8], len: usize) -> Vec<u8> {
    [head, &vec![7; len]].concat()
}

fn lengths(bytes: &[u8]) -> Vec<usize> {
    Packet::new_checked(bytes).expect("a good packet").frames().map(|frame| frame.len).collect()
}

#[test]
fn r1_there_is_a_toc_byte() {
    assert_eq!(parse(&[]), Err(Error::Empty));
    // Discontinuous transmission: nothing but the TOC byte.
    assert_eq!(parse(&[CELT_20]), Ok((1, 960)));
    assert_eq!(parse(&[CELT_20 | 1]), Ok((2, 1920)));
}

#[test]
fn r2_no_frame_is_larger_than_1275_bytes() {
    let too_large = Err(Error::FrameSize { len: 1276 });
    assert_eq!(parse(&with_body(&[CELT_20], 1275)), Ok((1, 960)));
    assert_eq!(parse(&with_body(&[CELT_20], 1276)), too_large);
    assert_eq!(parse(&with_body(&[CELT_20 | 1], 2550)), Ok((2, 1920)));
    assert_eq!(parse(&with_body(&[CELT_20 | 1], 2552)), too_large);
    assert_eq!(parse(&with_body(&[CELT_20 | 2, 0], 1276)), too_large);
    assert_eq!(parse(&with_body(&[CELT_20 | 3, 2], 2552)), too_large);
    assert_eq!(parse(&with_body(&[CELT_20 | 3, 0x82, 0], 1276)), too_large);
    // The largest length that can be written out, of a first frame: 255 + 4 * 255.
    assert_eq!(parse(&with_body(&[CELT_20 | 2, 255, 255], 1275 + 1275)), Ok((2, 1920)));
}

#[test]
fn r3_code_1_has_an_odd_length() {
    for len in 0..100 {
        let expected =
            if len % 2 == 0 { Ok((2, 1920)) } else { Err(Error::Framing { code: 1, actual: len + 1 }) };
        assert_eq!(parse(&with_body(&[CELT_20 | 1], len)), expected);
    }
}

#[test]
fn r4_code_2_has_its_first_frame() {
    let framing = |actual| Err(Error::Framing { code: 2, actual });
    assert_eq!(parse(&[CELT_20 | 2]), framing(1));
    assert_eq!(parse(&[CELT_20 | 2, 252]), framing(2));
    assert_eq!(parse(&with_body(&[CELT_20 | 2, 10], 9)), framing(11));
    assert_eq!(lengths(&with_body(&[CELT_20 | 2, 10], 10)), [10, 0]);
    assert_eq!(lengths(&with_body(&[CELT_20 | 2, 252, 1], 300)), [256, 44]);
}

#[test]
fn r5_code_3_has_1_frame_to_120_ms() {
    assert_eq!(parse(&[CELT_20 | 3]), Err(Error::Framing { code: 3, actual: 1 }));
    for (toc, most, each) in [(CELT_20, 6, 960), (SILK_60, 2, 2880), (CELT_2_5, 48, 120)] {
        for count in 0..64_u8 {
            let expected = match u32::from(count) * each {
                0 => Err(Error::NoFrame),
                samples if count > most => Err(Error::Duration { samples }),
                samples => Ok((usize::from(count), samples)),
            };
            assert_eq!(
                parse(&with_body(&[toc | 3, count], usize::from(count) * 3)),
                expected,
                "{toc} {count}"
            );
        }
    }
}

#[test]
fn r6_constant_rate_divides_evenly_once_padding_is_off() {
    let framing = |actual| Err(Error::Framing { code: 3, actual });
    for len in 0..100 {
        let expected = if len % 3 == 0 { Ok((3, 2880)) } else { framing(len + 2) };
        assert_eq!(parse(&with_body(&[CELT_20 | 3, 3], len)), expected);
        // Five bytes of padding and the one that says so.
        let expected = if len >= 5 && (len - 5) % 3 == 0 { Ok((3, 2880)) } else { framing(len + 3) };
        assert_eq!(parse(&with_body(&[CELT_20 | 3, 0x43, 5], len)), expected, "{len}");
    }
    assert_eq!(lengths(&with_body(&[CELT_20 | 3, 0x43, 5], 35)), [10, 10, 10]);
    // A padding length that goes on: 254 + 2.
    assert_eq!(lengths(&with_body(&[CELT_20 | 3, 0x41, 255, 2], 256)), [0]);
    assert_eq!(parse(&with_body(&[CELT_20 | 3, 0x41, 255, 2], 255)), framing(259));
    assert_eq!(parse(&[CELT_20 | 3, 0x41]), framing(2));
    assert_eq!(parse(&[CELT_20 | 3, 0x41, 255, 255]), framing(4));
}

#[test]
fn r7_variable_rate_holds_all_lengths_and_frames() {
    let framing = |actual| Err(Error::Framing { code: 3, actual });
    let head = [CELT_20 | 3, 0x83, 4, 6];
    for len in 0..30 {
        let expected = if len >= 10 { Ok((3, 2880)) } else { framing(len + 4) };
        assert_eq!(parse(&with_body(&head, len)), expected);
    }
    assert_eq!(lengths(&with_body(&head, 15)), [4, 6, 5]);
    assert_eq!(parse(&[CELT_20 | 3, 0x83]), framing(2));
    assert_eq!(parse(&[CELT_20 | 3, 0x83, 0]), framing(3));
    assert_eq!(parse(&[CELT_20 | 3, 0x82, 252]), framing(3));
    // With padding: lengths stand behind its length.
    let padded = with_body(&[CELT_20 | 3, 0xc2, 3, 4], 4 + 8 + 3);
    assert_eq!(lengths(&padded), [4, 8]);
    assert_eq!(parse(&with_body(&[CELT_20 | 3, 0xc2, 3, 4], 6)), framing(10));
}

#[test]
fn every_configuration_has_its_frame_size() {
    // RFC 6716 table 2 in tenths of a millisecond.
    let silk = [100, 200, 400, 600];
    let expected = [&silk[..], &silk, &silk, &[100, 200], &[100, 200]].concat();
    let celt = [25, 50, 100, 200].repeat(4);
    for (config, tenths) in expected.into_iter().chain(celt).enumerate() {
        let packet = [(config as u8) << 3];
        let packet = Packet::new_checked(&packet).expect("a TOC byte");
        assert_eq!((packet.config(), packet.samples()), (config as u8, tenths * 48 / 10));
    }
}

/// The requirements once more, as slowly and plainly as RFC 6716 §3.2 describes the packets: the length of each frame.
fn reference(bytes: &[u8]) -> Option<Vec<usize>> {
    let toc = *bytes.first()?;
    let mut rest = bytes[1..].to_vec();
    let take_length = |rest: &mut Vec<u8>| {
        let first = usize::from(*rest.first()?);
        rest.remove(0);
        if first < 252 {
            return Some(first);
        }
        let second = usize::from(*rest.first()?);
        rest.remove(0);
        Some(first + 4 * second)
    };
    let lengths = match toc & 3 {
        0 => vec![rest.len()],
        1 if rest.len().is_multiple_of(2) => vec![rest.len() / 2; 2],
        1 => return None,
        2 => {
            let first = take_length(&mut rest)?;
            vec![first, rest.len().checked_sub(first)?]
        }
        _ => {
            let count = *rest.first()?;
            rest.remove(0);
            let frames = usize::from(count & 63);
            if count & 64 != 0 {
                let mut padding = 0;
                loop {
                    let byte = *rest.first()?;
                    rest.remove(0);
                    padding += if byte == 255 { 254 } else { usize::from(byte) };
                    if byte != 255 {
                        break;
                    }
                }
                rest.truncate(rest.len().checked_sub(padding)?);
            }
            let milliseconds = f64::from(FRAME_SAMPLES[usize::from(toc >> 3)]) / 48.0 * frames as f64;
            if frames == 0 || milliseconds > 120.0 {
                return None;
            }
            if count & 128 == 0 {
                rest.len().is_multiple_of(frames).then(|| vec![rest.len() / frames; frames])?
            } else {
                let mut lengths = (1..frames).map(|_| take_length(&mut rest)).collect::<Option<Vec<_>>>()?;
                lengths.push(rest.len().checked_sub(lengths.iter().sum())?);
                lengths
            }
        }
    };
    lengths.iter().all(|&len| len <= 1275).then_some(lengths)
}

#[test]
fn agrees_with_the_plain_reading_and_never_panics() {
    let (mut good, mut bad) = (0, 0);
    let mut hold = |bytes: &[u8]| {
        let packet = Packet::new_checked(bytes);
        let found = packet.as_ref().ok().map(|packet| {
            let frames: Vec<_> = packet.frames().collect();
            assert_eq!(frames.len(), packet.frame_count());
            assert!(frames.iter().all(|frame| frame.offset + frame.len <= bytes.len()));
            assert!(frames.windows(2).all(|pair| pair[0].offset + pair[0].len == pair[1].offset));
            frames.iter().map(|frame| frame.len).collect::<Vec<_>>()
        });
        assert_eq!(found, reference(bytes), "{bytes:?}");
        *(if found.is_some() { &mut good } else { &mut bad }) += 1;
    };
    sweep(&with_body(&[CELT_20 | 3, 0xc3, 3, 4, 5], 40), &mut hold);
    let starts: [&[u8]; 4] =
        [&[CELT_20 | 2], &[CELT_20 | 3, 0x03], &[CELT_2_5 | 3, 0x8a], &[CELT_20 | 3, 0xc2, 3]];
    random_payloads(120, 100, &starts, &mut hold);
    let mut random = Random::new(7);
    for _ in 0..20_000 {
        let len = random.below(3_000);
        hold(&random.bytes(len));
    }
    assert!(good > 10_000 && bad > 10_000, "{good} {bad}");
}
