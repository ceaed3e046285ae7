//! The inspect stage's rules, and what the packets that pass become on the other leg.

use voxlane::codec::telephone_event::DTMF;
use voxlane::codec::{adts, rfc3640};
use voxlane::fastpath::inspect;
use voxlane::fastpath::{Buffer, HeapBuffer};
use voxlane::reframe::rtcp::{Backward, Forward};
use voxlane::reframe::{self, AacConfig, Reframe};
use voxlane::session::{Codec, Profile, Rule, Strictness};
use voxlane::wire::{rtcp, rtp};

/// Payload types of the profile; those of ADTS and access units change their form where they are `REFRAMED`.
const OPUS: u8 = 111;
const PCMU: u8 = 0;
const PCMA: u8 = 8;
const G722: u8 = 9;
const L16: u8 = 11;
const EVENT: u8 = 101;
const NOISE: u8 = 13;
const ADTS: u8 = 97;
const AAC: u8 = 98;
const ADTS_REFRAMED: u8 = 99;
const AAC_REFRAMED: u8 = 100;
const UNCHECKED: u8 = 96;

/// The RTP header's octets that stay: time stamp and SSRC, sequence number.
const STAYS: std::ops::Range<usize> = 2..12;

fn profile(strictness: Strictness, extensions: bool) -> Profile {
    let mut profile = Profile::NOTHING;
    let aac = AacConfig::new(2, 3, 2).expect("LC, 48 kHz, stereo");
    let rule = |codec, clock_rate, channels, unit_ticks, min_ticks, max_ticks, outbound| Rule {
        codec,
        clock_rate,
        channels,
        unit_ticks,
        min_ticks,
        max_ticks,
        outbound,
        reframe: Reframe::None,
        aac: AacConfig::NONE,
    };
    profile.accept(UNCHECKED);
    for (payload_type, rule) in [
        (OPUS, rule(Codec::Opus, 48_000, 2, 0, 120, 5_760, 120)),
        (PCMU, rule(Codec::Pcmu, 8_000, 1, 0, 80, 480, PCMU)),
        (PCMA, rule(Codec::Pcma, 8_000, 1, 0, 80, 480, PCMA)),
        (G722, rule(Codec::G722, 8_000, 1, 0, 80, 480, G722)),
        (L16, rule(Codec::L16, 44_100, 2, 0, 1, 8_820, L16)),
        (EVENT, rule(Codec::TelephoneEvent, 8_000, 1, 0, 1, 1, 102)),
        (NOISE, rule(Codec::ComfortNoise, 8_000, 1, 0, 1, 1, NOISE)),
        (ADTS, rule(Codec::Adts, 48_000, 2, 1024, 1, 8_192, ADTS)),
        (AAC, rule(Codec::Rfc3640, 48_000, 2, 1024, 1024, 8_192, AAC)),
        (
            ADTS_REFRAMED,
            Rule {
                reframe: Reframe::AdtsToRfc3640,
                aac,
                ..rule(Codec::Adts, 48_000, 2, 1024, 1, 65_535, AAC)
            },
        ),
        (
            AAC_REFRAMED,
            Rule {
                reframe: Reframe::Rfc3640ToAdts,
                aac,
                ..rule(Codec::Rfc3640, 48_000, 2, 1024, 1, 65_535, ADTS)
            },
        ),
    ] {
        assert!(profile.set_rule(payload_type, rule));
    }
    if extensions {
        profile.set_extensions([(1, 1), (2, 7), (3, 14), (9, 2)]);
    }
    profile.set_events(DTMF);
    profile.set_strictness(strictness);
    profile
}

/// RTP or RTCP (RFC 5761 §4) against a leg that enforces and one that counts.
pub fn inspect(data: &[u8]) {
    if data.get(1).is_some_and(|packet_type| (192..=223).contains(packet_type)) {
        let strict = inspect::rtcp(data, false);
        assert!(strict.is_err() || inspect::rtcp(data, true).is_ok());
        assert_eq!(inspect::rtcp(data, true).is_ok(), rtcp::Compound::new_checked(data, true).is_ok());
        return;
    }
    let [enforces, counts] =
        [Strictness::Enforce, Strictness::Count].map(|strictness| profile(strictness, false));
    let enforced = inspect::rtp(data, &enforces);
    let counted = inspect::rtp(data, &counts);
    let packet = rtp::Packet::new_checked(data);
    match enforced {
        Ok(tolerated) => {
            assert_eq!((tolerated, counted), (None, Ok(None)));
            let packet = packet.expect("what passes is RTP");
            assert!(enforces.accepts(packet.payload_type().0));
            assert!(packet.extension().is_none_or(|extension| extension.check().is_ok()));
            assert!(packet.padding_len().is_ok_and(|padding| padding < packet.payload().len()));
        }
        Err(reason) if reason.is_tolerable() => {
            let payload_type = packet.expect("its header is right").payload_type().0;
            if [ADTS_REFRAMED, AAC_REFRAMED].contains(&payload_type) {
                assert_eq!(counted, Err(reason), "what changes its form must have it");
            } else {
                assert_eq!(counted, Ok(Some(reason)));
            }
        }
        Err(reason) => assert_eq!(counted, Err(reason), "only what concerns the payload is ever tolerated"),
    }
}

/// Access units of an RTP payload in either form; `None` of several raw data blocks in a frame.
fn units(payload: &[u8], is_adts: bool) -> Option<Vec<Vec<u8>>> {
    if is_adts {
        let frames = adts::Payload::new_checked(payload).expect("whole ADTS frames").frames();
        frames
            .map(|frame| {
                (frame.header.blocks() == 1)
                    .then(|| payload[frame.raw_offset()..frame.raw_offset() + frame.raw_len()].to_vec())
            })
            .collect()
    } else {
        let payload_of = rfc3640::Payload::new_checked(payload).expect("whole access units");
        Some(payload_of.units().map(|unit| payload[unit.offset..unit.offset + unit.len].to_vec()).collect())
    }
}

/// Header extensions, payload types and AAC from the form of one leg into that of the other. The first byte chooses
/// whether extensions are listed, and how much room there is.
pub fn reframe(data: &[u8]) {
    let Some((&choice, packet)) = data.split_first() else { return };
    let profile = profile(Strictness::Enforce, choice & 1 != 0);
    if packet.len() > 2_000 || inspect::rtp(packet, &profile).is_err() {
        return;
    }
    let before = rtp::Packet::new_checked(packet).expect("what passes is RTP");
    let (header_len, payload_type) = (before.header_len(), before.payload_type().0);
    let rule = *profile.rule(payload_type).expect("what passes was negotiated");
    let mut buffer = HeapBuffer::new(packet, 0xa5);
    if choice & 2 != 0 {
        // No headroom, as behind a long header: into the tailroom instead.
        assert!(buffer.move_start(-128) && buffer.move_start(0));
        buffer.data_mut().copy_within(128.., 0);
        assert!(buffer.resize(packet.len()));
    }
    let Ok(new_len) = reframe::rtp(&mut buffer, header_len, &profile, 42) else { return };
    let sent = buffer.data().to_vec();
    let after = rtp::Packet::new_checked(&sent[..]).expect("still RTP");
    assert_eq!(after.header_len(), new_len);
    assert_eq!(sent[STAYS], packet[STAYS], "sequence number, time stamp and SSRC");
    let csrcs = 12..12 + 4 * usize::from(packet[0] & 15);
    assert_eq!(sent[csrcs.clone()], packet[csrcs]);
    assert_eq!(after.payload_type().0, profile.outbound(payload_type));
    let elements = |packet: &rtp::Packet<&[u8]>| -> Vec<(u8, Vec<u8>)> {
        let elements = packet.extension().map(|extension| {
            extension
                .elements()
                .map(|element| element.expect("checked"))
                .map(|e| (e.id, e.data.to_vec()))
                .collect()
        });
        elements.unwrap_or_default()
    };
    let is_one_byte = before.extension().is_some_and(|extension| extension.profile == 0xbede);
    if choice & 1 != 0 {
        let mapped = elements(&before).into_iter().filter_map(|(id, octets)| {
            let outbound = match id {
                1 => 1,
                2 => 7,
                3 => 14,
                9 => 2,
                _ => return None,
            };
            (!is_one_byte || outbound <= 14).then_some((outbound, octets))
        });
        assert_eq!(elements(&after), mapped.collect::<Vec<_>>());
    } else {
        assert_eq!(elements(&after), elements(&before));
    }
    let padding = before.padding_len().expect("checked");
    let payload = &before.payload()[..before.payload().len() - padding];
    let is_adts = match rule.reframe {
        Reframe::None => {
            assert_eq!(after.payload(), before.payload());
            return;
        }
        Reframe::AdtsToRfc3640 => true,
        Reframe::Rfc3640ToAdts => false,
    };
    let (was, is) = (units(payload, is_adts), units(after.payload(), !is_adts));
    if let Some(was) = was {
        assert_eq!(is, Some(was), "the same access units in the same order");
    }
    // And back.
    let mut back = HeapBuffer::new(&sent, 0x5a);
    let done = if is_adts {
        reframe::aac::rfc3640_to_adts(&mut back, new_len, &rule.aac, 0)
    } else {
        reframe::aac::adts_to_rfc3640(&mut back, new_len, &rule.aac)
    };
    if done.is_ok() {
        let again = units(&back.data()[new_len..], is_adts);
        assert_eq!(again, units(after.payload(), !is_adts));
    }
}

/// Reports and feedback under other names. The first bytes choose numbers near each other, so that they meet.
pub fn reframe_rtcp(data: &[u8]) {
    let Some((&[choice, from, to, offset], packet)) = data.split_first_chunk::<4>() else { return };
    let Ok(compound) = rtcp::Compound::new_checked(packet, true) else { return };
    let shape: Vec<_> =
        compound.packets().map(|packet| (packet.packet_type(), packet.count(), packet.len())).collect();
    let ssrc = |low: u8| 0x1234_5600 | u32::from(low);
    let forward =
        Forward { from: [ssrc(from), ssrc(from ^ 1)], to: ssrc(to), timestamps: u32::from(offset) << 24 };
    let backward = Backward { from: ssrc(to), to: ssrc(from), offset: offset.into(), start: choice.into() };
    let mut sent = packet.to_vec();
    reframe::rtcp::renumber(&mut sent, None, None);
    assert!(sent == packet, "nothing to change");
    reframe::rtcp::renumber(
        &mut sent,
        (choice & 1 != 0).then_some(&forward),
        (choice & 2 != 0).then_some(&backward),
    );
    let after = rtcp::Compound::new_checked(&sent[..], true).expect("still a compound packet");
    let now: Vec<_> =
        after.packets().map(|packet| (packet.packet_type(), packet.count(), packet.len())).collect();
    assert_eq!(now, shape);
    let _ = reframe::rtcp::sender_timestamp(packet);
}

/// AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).
pub fn aac_config(data: &[u8]) {
    let Ok(config) = AacConfig::from_audio_specific_config(data) else { return };
    let written = config.audio_specific_config().to_be_bytes();
    assert_eq!(AacConfig::from_audio_specific_config(&written), Ok(config));
}
