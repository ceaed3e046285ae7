use super::*;

fn parse(text: &str) -> Result<(PayloadFormat, Option<Events>), String> {
    format(text).map_err(|error| format!("{}; {}", error.what, error.remedy))
}

#[test]
fn reads_what_sdp_writes() {
    let formats = [
        ("111 opus/48000/2", Codec::Opus, 48_000, 2),
        ("111 OPUS/48000/2", Codec::Opus, 48_000, 2),
        ("97 aac-adts/44100/2", Codec::Adts, 44_100, 2),
        ("0 PCMU/8000", Codec::Pcmu, 8_000, 1),
        ("8 PCMA/8000/1", Codec::Pcma, 8_000, 1),
        ("9 G722/8000", Codec::G722, 8_000, 1),
        ("10 L16/44100/2", Codec::L16, 44_100, 2),
        ("11 L16/44100/1", Codec::L16, 44_100, 1),
        ("13 CN/8000", Codec::ComfortNoise, 8_000, 1),
        ("118 CN/16000", Codec::ComfortNoise, 16_000, 1),
        ("96 mpeg4-generic/48000/2", Codec::Rfc3640, 48_000, 2),
        (
            "96 mpeg4-generic/48000/2 streamtype=5; profile-level-id=15; mode=AAC-hbr; config=1190; sizeLength=13; \
             indexLength=3; indexDeltaLength=3",
            Codec::Rfc3640,
            48_000,
            2,
        ),
    ];
    for (text, codec, clock_rate, channels) in formats {
        let (format, events) = parse(text).expect(text);
        assert_eq!(
            (format.codec, format.clock_rate, format.channels),
            (codec, clock_rate, channels),
            "{text}"
        );
        let is_aac = matches!(codec, Codec::Adts | Codec::Rfc3640);
        assert_eq!((format.ptime, format.unit_ticks, events), (None, if is_aac { 1024 } else { 0 }, None));
        assert_eq!(parse(&format.to_string()), Ok((format, events)), "{format}");
    }
    let (format, _) = parse("96 mpeg4-generic/48000 constantDuration=2048 ptime=40..120").expect("SBR");
    assert_eq!((format.unit_ticks, format.ptime), (2048, Some(Ptime { min: 400, max: 1_200 })));
}

#[test]
fn config_says_what_adts_headers_will() {
    let aac = |text: &str| parse(text).map(|(format, _)| format.aac);
    let lc = AacConfig::new(2, 4, 2).expect("ADTS has it");
    assert_eq!(aac("96 mpeg4-generic/44100/2 config=1210"), Ok(lc));
    assert_eq!(aac("97 aac-adts/44100/2 config=1210"), Ok(lc));
    assert_eq!(aac("96 mpeg4-generic/44100/2"), Ok(AacConfig::NONE));
    assert_eq!(aac("96 mpeg4-generic/44100/2 config=B990"), Ok(AacConfig::FOREIGN), "AAC-LD");
    for wrong in ["12", "121", "12x0", "", "0x1210"] {
        let refused = aac(&format!("96 mpeg4-generic/44100/2 config={wrong}"));
        assert!(refused.is_err_and(|text| text.contains("AudioSpecificConfig")), "{wrong:?}");
    }
    let refused = aac("111 opus/48000/2 config=1210");
    assert!(refused.is_err_and(|text| text.contains("has the parameter")));
}

#[test]
fn events_are_numbers_and_ranges() {
    let events = |text: &str| parse(text).expect(text).1.expect("events");
    assert_eq!(events("101 telephone-event/8000"), DTMF);
    assert_eq!(events("101 telephone-event/8000 0-15"), DTMF);
    let some = events("101 telephone-event/48000 0-2,9,66,254-255");
    let codes: Vec<u8> = (0..=255).filter(|&code| some.contains(code)).collect();
    assert_eq!(codes, [0, 1, 2, 9, 66, 254, 255]);
    assert_eq!(event_text(&some), "0-2,9,66,254-255");
    assert_eq!(event_list(&event_text(&some)), Some(some));
}

#[test]
fn ptime_is_a_time_or_a_range_in_milliseconds() {
    for (text, min, max) in [("20", 200, 200), ("2.5", 25, 25), ("10..60", 100, 600), ("2.5..240", 25, 2_400)]
    {
        let ptime = Ptime { min, max };
        assert_eq!(Ptime::parse(text), Some(ptime));
        assert_eq!(ptime.to_string(), text);
    }
    for text in ["", "0", "-1", "x", "60..10", "10..", "..60", "241", "2.55", "2.", "10..60..90", "70000"] {
        assert_eq!(Ptime::parse(text), None, "{text}");
    }
}

#[test]
fn says_what_is_wrong_and_how_to_mend_it() {
    for (text, what) in [
        ("", "does not begin with a payload type"),
        ("opus/48000/2", "does not begin with a payload type"),
        ("128 opus/48000/2", "does not begin with a payload type"),
        ("111", "has no encoding"),
        ("111 opos/48000/2", "did you mean \"opus\"?"),
        ("111 G729/8000", "has an encoding that the gate does not know; use opus, aac-adts"),
        ("111 opus", "has no clock rate"),
        ("111 opus/999/2", "has no clock rate"),
        ("111 opus/x", "has no clock rate"),
        ("111 L16/48000/0", "has channels other than 1 to 8"),
        ("111 L16/48000/9", "has channels other than 1 to 8"),
        ("111 L16/48000/2/3", "has more than NAME/CLOCK/CHANNELS"),
        ("111 opus/48000", "write opus/48000/2"),
        ("111 opus/16000/1", "write opus/48000/2"),
        ("111 G722/16000", "write G722/8000"),
        ("0 PCMA/8000", "write \"0 PCMU/8000\""),
        ("11 L16/48000", "write \"11 L16/44100\""),
        ("13 CN/16000", "write \"13 CN/8000\""),
        ("101 telephone-event/8000/2", "has channels"),
        ("101 telephone-event/8000 15-0", "has a list of events that is none"),
        ("101 telephone-event/8000 0-256", "has a list of events that is none"),
        ("101 telephone-event/8000 0-15 ptime=20", "has a ptime"),
        ("111 opus/48000/2 0-15", "has the parameter \"0-15\""),
        ("111 opus/48000/2 stereo=1", "has the parameter \"stereo=1\""),
        ("111 opus/48000/2 ptime=300", "at most 240"),
        ("96 mpeg4-generic/48000 mode=AAC-lbr", "use mode=AAC-hbr"),
        ("96 mpeg4-generic/48000 sizeLength=6", "use sizeLength=13"),
        ("96 mpeg4-generic/48000 constantDuration=512", "has a constantDuration"),
        ("96 mpeg4-generic/48000 maxDisplacement=3", "has the parameter"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(what), "{text:?}: {error}");
    }
}
