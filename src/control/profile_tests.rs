use super::*;
use crate::codec::telephone_event::{DTMF, Events};
use crate::control::config::{Negotiated, PayloadTypes, Protection, Ptime, RemotePolicy, RtcpPolicy};
use crate::session::ExtensionRule;

fn leg(formats: &[PayloadFormat]) -> Leg {
    let negotiated = Negotiated { formats: formats.to_vec(), ..Negotiated::default() };
    Leg {
        port: 0,
        local: "10.1.0.1:20000".parse().expect("a literal"),
        remote: None,
        remote_policy: RemotePolicy::Learn,
        rtcp: RtcpPolicy::Mux,
        protection: Protection::Plain,
        payload_types: formats.iter().map(|format| format.payload_type).chain([99]).collect(),
        negotiated: Some(Box::new(negotiated)),
        reduced_size_rtcp: true,
    }
}

fn format(payload_type: u8, codec: Codec, clock_rate: u32, ptime: Option<(u16, u16)>) -> PayloadFormat {
    let unit_ticks = if matches!(codec, Codec::Adts | Codec::Rfc3640) { 1024 } else { 0 };
    let ptime = ptime.map(|(min, max)| Ptime { min, max });
    PayloadFormat { payload_type, codec, clock_rate, channels: 1, ptime, unit_ticks, aac: AacConfig::NONE }
}

#[test]
fn ptime_becomes_ticks_of_the_clock() {
    for (format, expected) in [
        (format(0, Codec::Pcmu, 8_000, None), (1, 1_600)),
        (format(0, Codec::Pcmu, 8_000, Some((200, 200))), (160, 160)),
        (format(9, Codec::G722, 8_000, Some((100, 600))), (80, 480)),
        // 10 ms of 22.05 kHz are 220.5 samples: both sides of it are taken.
        (format(96, Codec::L16, 22_050, Some((100, 100))), (220, 221)),
        (format(96, Codec::L16, 192_000, Some((25, 2_400))), (480, 46_080)),
        (format(96, Codec::Opus, 48_000, None), (1, 5_760)),
        (format(96, Codec::Opus, 48_000, Some((25, 600))), (120, 2_880)),
        // Frames of 21.3 ms: 20 ms are one, 200 ms are ten.
        (format(96, Codec::Rfc3640, 48_000, Some((200, 200))), (960, 1_024)),
        (format(96, Codec::Adts, 48_000, None), (1, 10_240)),
        (format(96, Codec::Adts, 8_000, None), (1, 2_048)),
    ] {
        let profile = profile(&leg(&[format]), &leg(&[]), Strictness::Enforce);
        let rule = profile.rule(format.payload_type).expect("negotiated");
        assert_eq!((rule.min_ticks, rule.max_ticks), (expected.0, expected.1), "{format:?}");
        assert_eq!(profile.rule(99), Some(&Rule::UNCHECKED));
        assert!(!profile.accepts(100));
    }
}

#[test]
fn a_payload_type_leaves_under_the_other_legs_number_for_the_same_encoding() {
    let opus = |number| format(number, Codec::Opus, 48_000, None);
    let events = |number, clock| format(number, Codec::TelephoneEvent, clock, None);
    let a = leg(&[
        opus(111),
        opus(112),
        events(101, 8_000),
        events(102, 48_000),
        format(0, Codec::Pcmu, 8_000, None),
    ]);
    let b = leg(&[opus(96), opus(112), events(110, 48_000)]);
    let there = profile(&a, &b, Strictness::Enforce);
    let outbound = |number| there.outbound(number);
    assert_eq!([111, 112, 101, 102, 0, 99].map(outbound), [96, 112, 101, 110, 0, 99]);
    let back = profile(&b, &a, Strictness::Enforce);
    assert_eq!([96, 112, 110].map(|number| back.outbound(number)), [111, 112, 102]);
}

#[test]
fn aac_changes_its_form_where_the_legs_differ_in_it() {
    let adts = |number| format(number, Codec::Adts, 44_100, None);
    let rfc3640 = |number, aac| PayloadFormat { aac, ..format(number, Codec::Rfc3640, 44_100, None) };
    let rule = |from: PayloadFormat, to: &[PayloadFormat]| {
        let profile = profile(&leg(&[from]), &leg(to), Strictness::Enforce);
        let rule = *profile.rule(from.payload_type).expect("negotiated");
        assert_eq!(profile.rewrites(), rule.outbound != from.payload_type || rule.reframe != Reframe::None);
        (rule.outbound, rule.reframe, rule.aac)
    };
    let lc = AacConfig::new(2, 4, 1).expect("ADTS has it");
    let main = AacConfig::new(1, 4, 1).expect("ADTS has it");
    let unchanged = |number| (number, Reframe::None, AacConfig::NONE);
    assert_eq!(rule(adts(97), &[rfc3640(96, AacConfig::NONE)]), (96, Reframe::AdtsToRfc3640, lc));
    assert_eq!(rule(rfc3640(97, main), &[adts(97)]), (97, Reframe::Rfc3640ToAdts, main));
    assert_eq!(rule(adts(97), &[rfc3640(96, main)]), (96, Reframe::AdtsToRfc3640, main));
    assert_eq!(rule(adts(97), &[rfc3640(96, main), adts(100)]), unchanged(100), "the same form comes first");
    let said = PayloadFormat { aac: lc, ..adts(97) };
    assert_eq!(rule(said, &[rfc3640(96, main)]), unchanged(97), "another object type");
    let short = PayloadFormat { unit_ticks: 960, ..rfc3640(96, lc) };
    assert_eq!(rule(short, &[adts(97)]), unchanged(96), "frames that ADTS has not");
    assert_eq!(rule(adts(97), &[rfc3640(96, AacConfig::FOREIGN)]), unchanged(97), "AAC-LD, say");
    let other_clock = format(96, Codec::Rfc3640, 48_000, None);
    assert_eq!(rule(adts(97), &[other_clock]), unchanged(97));
}

#[test]
fn everything_else_of_the_leg_is_in_it() {
    let mut a = leg(&[format(101, Codec::TelephoneEvent, 8_000, None)]);
    a.reduced_size_rtcp = false;
    let negotiated = a.negotiated.as_mut().expect("the leg has one");
    negotiated.events = Events::NONE.with(66);
    negotiated.extensions = Some(vec![(1, 1), (5, 2)]);
    let rules = profile(&a, &leg(&[]), Strictness::Count);
    assert_eq!((rules.strictness(), rules.reduced_size_rtcp()), (Strictness::Count, false));
    assert!(rules.events().contains(66) && !rules.events().contains(1));
    let of = |id| rules.extension(id);
    assert_eq!([of(1), of(5), of(2)], [ExtensionRule::Pass, ExtensionRule::Map(2), ExtensionRule::Remove]);
    a.negotiated = None;
    a.payload_types = PayloadTypes::ALL_BUT_RTCP;
    let rules = profile(&a, &leg(&[]), Strictness::Enforce);
    assert!((0..128).all(|number| rules.accepts(number) != PayloadTypes::conflicts_with_rtcp(number)));
    assert!((0..128).all(|number| rules.rule(number).is_none_or(|rule| rule.codec == Codec::Any)));
    assert_eq!((*rules.events(), rules.lists_extensions()), (DTMF, false));
}
