//! Each way to break the rules of a leg, and that nothing else does.

use super::*;
use crate::codec::telephone_event::DTMF;
use crate::fastpath::DropReason as R;
use crate::reframe::AacConfig;
use crate::session::{Codec, Rule};
use crate::wire::testing::{Random, sweep};

const OPUS: u8 = 111;
const PCMU: u8 = 0;
const L16: u8 = 11;
const EVENT: u8 = 101;
const NOISE: u8 = 13;
const ADTS: u8 = 97;
const AAC: u8 = 98;
const UNCHECKED: u8 = 96;

fn profile(strictness: Strictness) -> Profile {
    let mut profile = Profile::NOTHING;
    let rule = |codec, clock_rate, channels, unit_ticks, min_ticks, max_ticks| Rule {
        codec,
        clock_rate,
        channels,
        unit_ticks,
        min_ticks,
        max_ticks,
        outbound: 0,
        reframe: Reframe::None,
        aac: AacConfig::NONE,
    };
    profile.accept(UNCHECKED);
    for (payload_type, rule) in [
        (OPUS, rule(Codec::Opus, 48_000, 2, 0, 480, 2_880)),
        (PCMU, rule(Codec::Pcmu, 8_000, 1, 0, 160, 160)),
        (L16, rule(Codec::L16, 44_100, 2, 0, 1, 8_820)),
        (EVENT, rule(Codec::TelephoneEvent, 8_000, 1, 0, 1, 1)),
        (NOISE, rule(Codec::ComfortNoise, 8_000, 1, 0, 1, 1)),
        (ADTS, rule(Codec::Adts, 48_000, 2, 1024, 1, 3_072)),
        (AAC, rule(Codec::Rfc3640, 48_000, 2, 1024, 1024, 3_072)),
    ] {
        assert!(profile.set_rule(payload_type, rule));
    }
    profile.set_events(DTMF);
    profile.set_strictness(strictness);
    profile
}

fn packet(first: u8, payload_type: u8, rest: &[&[u8]]) -> Vec<u8> {
    [&[first, payload_type, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4][..], &rest.concat()].concat()
}

fn check(payload_type: u8, payload: &[u8]) -> Result<Option<R>, R> {
    rtp(&packet(0x80, payload_type, &[payload]), &profile(Strictness::Enforce))
}

/// Payloads with what is wrong with them; `None` is nothing.
fn payloads() -> Vec<(u8, Vec<u8>, Option<R>)> {
    let celt_20 = 31 << 3;
    let body = |head: &[u8], len: usize| [head, &vec![7; len]].concat();
    let adts = |second: u8, third: u8, len: usize| {
        let (high, low) = ((len >> 3) as u8, (len << 5) as u8 | 0x1f);
        let mut frame = body(&[0xff, second, third, 2 << 6, high, low, 0xfc], len - 7);
        frame[3] |= (len >> 11) as u8;
        frame
    };
    let lc_48 = 1 << 6 | 3 << 2;
    let mut protected = adts(0xf0, lc_48, 60);
    protected[6] |= 1;
    vec![
        (UNCHECKED, vec![0], None),
        (OPUS, body(&[celt_20], 80), None),
        (OPUS, vec![celt_20], None),
        (OPUS, body(&[celt_20], 1276), Some(R::OpusFrameSize)),
        (OPUS, body(&[celt_20 | 1], 81), Some(R::OpusFraming)),
        (OPUS, body(&[celt_20 | 3, 0], 81), Some(R::OpusFrameCount)),
        (OPUS, body(&[celt_20 | 3, 7], 70), Some(R::OpusDuration)),
        (OPUS, body(&[celt_20 | 3, 4], 80), Some(R::PtimeOutOfRange)),
        (OPUS, body(&[30 << 3], 80), None),
        (OPUS, body(&[29 << 3], 80), Some(R::PtimeOutOfRange)),
        (PCMU, vec![0xff; 160], None),
        (PCMU, vec![0xff; 159], Some(R::PtimeOutOfRange)),
        (PCMU, vec![0xff; 161], Some(R::PtimeOutOfRange)),
        (L16, vec![0; 400], None),
        (L16, vec![0; 402], Some(R::PcmSampleFrame)),
        (EVENT, vec![15, 0x0a, 0, 160], None),
        (EVENT, vec![15, 0x4a, 0, 160], Some(R::TelephoneEventMalformed)),
        (EVENT, vec![15, 0x0a, 0], Some(R::TelephoneEventMalformed)),
        (EVENT, vec![16, 0x0a, 0, 160], Some(R::TelephoneEventNotNegotiated)),
        (NOISE, vec![127, 3, 4], None),
        (NOISE, vec![128, 3, 4], Some(R::ComfortNoiseMalformed)),
        (ADTS, adts(0xf1, lc_48, 300), None),
        (ADTS, [adts(0xf1, lc_48, 300), adts(0xf1, lc_48, 8)].concat(), None),
        // Spectral band replication: a core of 24 kHz, and half a core of 12 kHz is none.
        (ADTS, adts(0xf1, 1 << 6 | 6 << 2, 300), None),
        (ADTS, adts(0xf1, 1 << 6 | 9 << 2, 300), Some(R::AdtsHeader)),
        (ADTS, adts(0xf1, 1 << 6 | 4 << 2, 300), Some(R::AdtsHeader)),
        // Four channels where two were negotiated.
        (ADTS, adts(0xf1, lc_48 | 1, 300), Some(R::AdtsHeader)),
        (ADTS, adts(0xe1, lc_48, 300), Some(R::AdtsSync)),
        (ADTS, adts(0xf3, lc_48, 300), Some(R::AdtsHeader)),
        (ADTS, adts(0xf1, lc_48, 300)[..299].to_vec(), Some(R::AdtsFrameLength)),
        (ADTS, protected, Some(R::AdtsCrc)),
        (ADTS, adts(0xf1, lc_48, 9).repeat(4), Some(R::PtimeOutOfRange)),
        (AAC, body(&[0, 16, 0, 80], 10), None),
        // A part of an access unit of 100 bytes.
        (AAC, body(&[0, 16, 3, 32], 10), None),
        (AAC, body(&[0, 17, 0, 80], 10), Some(R::AacAuHeader)),
        (AAC, body(&[0, 16, 0, 81], 10), Some(R::AacInterleaved)),
        (AAC, body(&[0, 16, 0, 80], 11), Some(R::AacAuSize)),
        (AAC, body(&[0, 64, 0, 8, 0, 8, 0, 8, 0, 8], 4), Some(R::PtimeOutOfRange)),
    ]
}

#[test]
fn each_payload_has_its_own_reason() {
    for (payload_type, payload, wrong) in payloads() {
        let expected = wrong.map_or(Ok(None), Err);
        assert_eq!(check(payload_type, &payload), expected, "{payload_type} {payload:?}");
    }
}

#[test]
fn every_tolerable_reason_is_provoked_and_tolerated_where_it_only_counts() {
    let counts = profile(Strictness::Count);
    let mut seen = Vec::new();
    for (payload_type, payload, wrong) in payloads() {
        assert_eq!(rtp(&packet(0x80, payload_type, &[&payload]), &counts), Ok(wrong), "{payload:?}");
        seen.extend(wrong);
    }
    for reason in R::ALL.iter().filter(|reason| reason.is_tolerable()) {
        assert!(seen.contains(reason), "nothing provokes {reason}");
    }
    assert!(seen.iter().all(|reason| reason.is_tolerable()));
}

#[test]
fn what_is_no_matter_of_the_payload_is_never_tolerated() {
    let overrun = [0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0];
    let disguised = [0x81, 205, 0, 1, 0, 0, 0, 0];
    for profile in [profile(Strictness::Enforce), profile(Strictness::Count)] {
        let check = |bytes: &[u8]| rtp(bytes, &profile);
        assert_eq!(check(&packet(0x80, 33, &[&[0; 20]])), Err(R::PayloadTypeNotNegotiated));
        assert_eq!(check(&packet(0x90, UNCHECKED, &[&overrun, &[1]])), Err(R::HeaderExtensionMalformed));
        assert_eq!(check(&packet(0x90, UNCHECKED, &[&disguised, &[1]])), Err(R::HeaderExtensionRtcp));
        assert_eq!(check(&packet(0xa0, UNCHECKED, &[&[1, 2, 3, 5]])), Err(R::RtpPadding));
        assert_eq!(check(&packet(0xa0, UNCHECKED, &[&[1, 2, 3, 4]])), Err(R::RtpPayloadEmpty));
        assert_eq!(check(&packet(0x80, OPUS, &[])), Err(R::RtpPayloadEmpty));
        assert_eq!(check(&packet(0x8f, UNCHECKED, &[&[0; 59]])), Err(R::RtpCsrcCount));
        assert_eq!(check(&packet(0x90, UNCHECKED, &[&[0xbe, 0xde, 0, 1, 0]])), Err(R::RtpExtensionLength));
        assert_eq!(check(&packet(0x90, UNCHECKED, &[&[0xbe, 0xde, 0]])), Err(R::RtpExtensionLength));
        assert_eq!(check(&[0x80; 11]), Err(R::RtpMalformed));
    }
}

#[test]
fn padding_is_no_part_of_the_payload() {
    let check = |payload: &[u8]| rtp(&packet(0xa0, PCMU, &[payload]), &profile(Strictness::Enforce));
    let mut padded = vec![0xff; 164];
    padded[163] = 4;
    assert_eq!(check(&padded), Ok(None));
    padded[163] = 5;
    assert_eq!(check(&padded), Err(R::PtimeOutOfRange));
}

#[test]
fn a_payload_that_is_reframed_must_have_its_form() {
    let mut profile = profile(Strictness::Count);
    let rule = *profile.rule(ADTS).expect("negotiated");
    assert_eq!(rtp(&packet(0x80, ADTS, &[&[1, 2]]), &profile), Ok(Some(R::AdtsSync)));
    assert!(profile.set_rule(ADTS, Rule { reframe: Reframe::AdtsToRfc3640, ..rule }));
    assert_eq!(rtp(&packet(0x80, ADTS, &[&[1, 2]]), &profile), Err(R::AdtsSync));
}

#[test]
fn rtcp_in_a_header_extension_is_told_from_what_looks_alike() {
    let check = |extension: &[u8]| {
        let bytes = packet(0x90, UNCHECKED, &[extension, &[1]]);
        rtp(&bytes, &profile(Strictness::Enforce)).err()
    };
    // Every profile that is the start of an RTCP packet, but for that of one-byte elements.
    for extension in 0..=u16::MAX {
        let [first, packet_type] = extension.to_be_bytes();
        let is_rtcp = first >> 6 == 2 && (192..=223).contains(&packet_type) && extension != 0xbede;
        let expected = is_rtcp.then_some(R::HeaderExtensionRtcp);
        assert_eq!(check(&[first, packet_type, 0, 0]), expected, "{extension:#06x}");
    }
    // Generic negative acknowledgement and picture loss indication as one-byte and two-byte elements.
    let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 7, 0, 0];
    let loss = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    let one_byte = |data: &[u8]| {
        let mut extension = vec![0xbe, 0xde, 0, 0, 0x10 | (data.len() - 1) as u8];
        extension.extend(data);
        extension.resize(extension.len().next_multiple_of(4), 0);
        extension[3] = (extension.len() / 4 - 1) as u8;
        extension
    };
    let two_byte = |data: &[u8]| {
        let mut extension = vec![0x10, 0, 0, 0, 1, data.len() as u8];
        extension.extend(data);
        extension.resize(extension.len().next_multiple_of(4), 0);
        extension[3] = (extension.len() / 4 - 1) as u8;
        extension
    };
    for data in [&nack[..], &loss] {
        assert_eq!(check(&one_byte(data)), Some(R::HeaderExtensionRtcp));
        assert_eq!(check(&two_byte(data)), Some(R::HeaderExtensionRtcp));
        // Another version, another type, another length: an element like any other.
        for (at, value) in [(0, 0x41), (1, 200), (3, 9), (3, 1)] {
            let mut other = data.to_vec();
            other[at] = value;
            assert_eq!((check(&one_byte(&other)), check(&two_byte(&other))), (None, None));
        }
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let profiles = [profile(Strictness::Enforce), profile(Strictness::Count)];
    let mut random = Random::new(1);
    for (payload_type, payload, _) in payloads().into_iter().filter(|(_, payload, _)| payload.len() < 100) {
        sweep(&packet(0x80, payload_type, &[&payload]), |bytes| {
            let [enforced, counted] = profiles.each_ref().map(|profile| rtp(bytes, profile));
            match enforced {
                Err(reason) if reason.is_tolerable() => assert_eq!(counted, Ok(Some(reason))),
                other => assert_eq!(counted, other),
            }
            let _ = rtcp(bytes, random.below(2) == 0);
        });
    }
}
