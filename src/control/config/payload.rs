//! What a leg negotiated of payloads: `payload_types` and `extensions`.
//!
//! A payload type is a bare number or a text in the form of SDP's rtpmap with what fmtp and ptime add:
//! `111 opus/48000/2`, `101 telephone-event/8000 0-15`, `0 PCMU/8000 ptime=20`. What comes out is held against packets by
//! the inspect stage.

use std::fmt;

use super::model::{MAX_PTIME, Negotiated, PayloadFormat, PayloadTypes, Ptime};
use super::node::Value;
use super::reader::{Given, Reader, closest};
use crate::codec::telephone_event::{DTMF, Events};
use crate::reframe::AacConfig;
use crate::session::{Codec, Profile};

/// Encoding names as SDP has them; "aac-adts" is ours, for what no RFC defines.
const ENCODINGS: [(&str, Codec); 9] = [
    ("opus", Codec::Opus),
    ("aac-adts", Codec::Adts),
    ("mpeg4-generic", Codec::Rfc3640),
    ("PCMU", Codec::Pcmu),
    ("PCMA", Codec::Pcma),
    ("G722", Codec::G722),
    ("L16", Codec::L16),
    ("telephone-event", Codec::TelephoneEvent),
    ("CN", Codec::ComfortNoise),
];

const FORM: &str =
    "write it like \"111 opus/48000/2\" or \"0 PCMU/8000 ptime=20\", or the bare number to take it unchecked";
const CLOCK_RATES: std::ops::RangeInclusive<u32> = 1_000..=192_000;
/// What mode AAC-hbr is, of which only `constantDuration` may differ.
const AAC_HBR: [(&str, &str); 5] = [
    ("streamtype", "5"),
    ("mode", "AAC-hbr"),
    ("sizeLength", "13"),
    ("indexLength", "3"),
    ("indexDeltaLength", "3"),
];
/// Parameters of RFC 3640 that change nothing about the payload's form.
const IGNORED: [&str; 2] = ["profile-level-id", "objectType"];
/// Identifiers that a one-byte header extension element can have (RFC 8285 §4.2).
const EXTENSION_IDS: std::ops::RangeInclusive<u8> = 1..=14;

/// Reads `payload_types` and `extensions` of a leg. `is_muxed` is whether RTCP comes on the RTP port.
pub(super) fn negotiated(reader: &Reader<'_, '_>, is_muxed: bool) -> (PayloadTypes, Option<Box<Negotiated>>) {
    let mut negotiated = Negotiated::default();
    let types = match reader.optional("payload_types") {
        Some(given) => payload_types(&given, is_muxed, &mut negotiated),
        None => PayloadTypes::ALL_BUT_RTCP,
    };
    (types, (negotiated != Negotiated::default()).then(|| Box::new(negotiated)))
}

/// Reads `extensions` of a leg into what [`negotiated`] found.
pub(super) fn extensions(reader: &Reader<'_, '_>, negotiated: &mut Option<Box<Negotiated>>) {
    if let Some(given) = reader.optional("extensions") {
        negotiated.get_or_insert_default().extensions = Some(extension_list(&given));
    }
}

fn payload_types(given: &Given<'_, '_>, is_muxed: bool, negotiated: &mut Negotiated) -> PayloadTypes {
    let before = given.scope.problems.count();
    let mut types = PayloadTypes::NONE;
    let mut events: Option<Events> = None;
    for item in given.items("integers and strings", "[96]") {
        let format = match &item.value {
            Value::String(text) => match format(text) {
                Ok((format, named)) => {
                    if let Some(named) = named
                        && events.replace(named).is_some_and(|events| events != named)
                    {
                        let what = "names other events than the telephone-event before it";
                        given.error_showing_at(
                            item.line,
                            text,
                            what,
                            "name the same events for each clock rate",
                        );
                    }
                    Some(format)
                }
                Err(error) => {
                    given.error_showing_at(item.line, text, error.what, error.remedy);
                    None
                }
            },
            _ => given
                .integer_of(item, 0..=127_u8)
                .map(|number| PayloadFormat::of_static(number).unwrap_or(PayloadFormat::unchecked(number))),
        };
        let Some(format) = format else { continue };
        let number = format.payload_type;
        let wrong = |what: &str, remedy: &str| {
            given.scope.error(item.line, format_args!("payload_types has {number} {what}"), remedy);
        };
        if is_muxed && PayloadTypes::conflicts_with_rtcp(number) {
            wrong(
                "in it, which is taken for RTCP on a muxed leg",
                "use 0 to 63 or 96 to 127, or a separate RTCP port",
            );
        } else if types.contains(number) {
            wrong("in it twice", "name each type once");
        }
        types = types.with(number);
        if format.codec != Codec::Any {
            negotiated.formats.push(format);
        }
    }
    if types == PayloadTypes::NONE && given.scope.problems.count() == before {
        given.error(
            "is empty, so the leg would take no voice",
            "name its types, or leave the key out to take all",
        );
    }
    if negotiated.formats.len() > Profile::MAX_RULES {
        let what = format_args!("has {} types with a codec", negotiated.formats.len());
        given.error(what, format!("give at most {}, and the rest as bare numbers", Profile::MAX_RULES));
    }
    negotiated.events = events.unwrap_or(DTMF);
    types
}

/// What is wrong with a payload format.
struct FormatError {
    what: String,
    remedy: String,
}

fn wrong(what: impl Into<String>, remedy: impl Into<String>) -> FormatError {
    FormatError { what: what.into(), remedy: remedy.into() }
}

/// `PAYLOAD_TYPE NAME/CLOCK[/CHANNELS] [PARAMETER]...`, with the events if it is telephone-event.
fn format(text: &str) -> Result<(PayloadFormat, Option<Events>), FormatError> {
    let mut words = text.split([' ', '\t', ';']).filter(|word| !word.is_empty());
    let number = words.next().and_then(|word| word.parse::<u8>().ok()).filter(|&number| number < 128);
    let number = number.ok_or_else(|| wrong("does not begin with a payload type of 0 to 127", FORM))?;
    let encoding = words.next().ok_or_else(|| wrong("has no encoding", FORM))?;
    let mut parts = encoding.split('/');
    let name = parts.next().unwrap_or("");
    let known = ENCODINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let &(_, codec) = known.ok_or_else(|| {
        let names = ENCODINGS.map(|(known, _)| known);
        let remedy = match closest(name, &names) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("use {}, or the bare number to take it unchecked", names.join(", ")),
        };
        wrong("has an encoding that the gate does not know", remedy)
    })?;
    let clock_rate =
        parts.next().and_then(|part| part.parse::<u32>().ok()).filter(|rate| CLOCK_RATES.contains(rate));
    let clock_rate =
        clock_rate.ok_or_else(|| wrong("has no clock rate of 1000 to 192000 behind its encoding", FORM))?;
    let channels = match parts.next() {
        None => 1,
        Some(part) => part
            .parse::<u8>()
            .ok()
            .filter(|channels| (1..=8).contains(channels))
            .ok_or_else(|| wrong("has channels other than 1 to 8", FORM))?,
    };
    if parts.next().is_some() {
        return Err(wrong("has more than NAME/CLOCK/CHANNELS as its encoding", FORM));
    }
    let (ptime, unit_ticks, aac) = (None, 0, AacConfig::NONE);
    let mut format =
        PayloadFormat { payload_type: number, codec, clock_rate, channels, ptime, unit_ticks, aac };
    check_encoding(&format)?;
    let mut events = (codec == Codec::TelephoneEvent).then_some(DTMF);
    if let Codec::Adts | Codec::Rfc3640 = codec {
        format.unit_ticks = 1024;
    }
    for word in words {
        parameter(&mut format, &mut events, word)?;
    }
    Ok((format, events))
}

/// What the standards fix: static types (RFC 3551 §6), Opus (RFC 7587 §7), G.722 (RFC 3551 §4.5.2).
fn check_encoding(format: &PayloadFormat) -> Result<(), FormatError> {
    let PayloadFormat { payload_type, codec, clock_rate, channels, .. } = *format;
    if let Some(fixed) = PayloadFormat::of_static(payload_type)
        && (fixed.codec, fixed.clock_rate, fixed.channels) != (codec, clock_rate, channels)
    {
        let what = format!("gives payload type {payload_type} another meaning than RFC 3551");
        return Err(wrong(what, format!("write \"{fixed}\", or use a type of 96 to 127")));
    }
    match codec {
        Codec::Opus if (clock_rate, channels) != (48_000, 2) => Err(wrong(
            "is Opus of another clock or channels than RFC 7587 has",
            "write opus/48000/2, whatever is sent",
        )),
        Codec::G722 if (clock_rate, channels) != (8_000, 1) => {
            Err(wrong("is G.722 of another clock or channels than RFC 3551 has", "write G722/8000"))
        }
        Codec::TelephoneEvent | Codec::ComfortNoise if channels != 1 => {
            Err(wrong("has channels, which its encoding has not", "leave them out"))
        }
        _ => Ok(()),
    }
}

fn parameter(format: &mut PayloadFormat, events: &mut Option<Events>, word: &str) -> Result<(), FormatError> {
    let unknown = || wrong(format!("has the parameter {word:?}, which its encoding has not"), "leave it out");
    let Some((key, value)) = word.split_once('=') else {
        let events = events.as_mut().ok_or_else(unknown)?;
        *events = event_list(word)
            .ok_or_else(|| wrong("has a list of events that is none", "write it like 0-15 or 0-11,66,70"))?;
        return Ok(());
    };
    if key == "ptime" {
        if matches!(format.codec, Codec::TelephoneEvent | Codec::ComfortNoise) {
            return Err(wrong("has a ptime, but its packets play no fixed time", "leave it out"));
        }
        let ptime = Ptime::parse(value).ok_or_else(|| {
            let most = MAX_PTIME / 10;
            wrong(
                "has a ptime that is no time or range",
                format!("write ptime=20 or ptime=10..60, in ms, at most {most}"),
            )
        })?;
        format.ptime = Some(ptime);
        return Ok(());
    }
    if matches!(format.codec, Codec::Rfc3640 | Codec::Adts) && key.eq_ignore_ascii_case("config") {
        let octets = octets(value).ok_or_else(|| {
            wrong("has a config that is no AudioSpecificConfig", "copy it from the SDP: config=1190")
        })?;
        // What ADTS cannot say is no error: both legs may have the form of RFC 3640.
        format.aac = AacConfig::from_audio_specific_config(&octets).unwrap_or(AacConfig::FOREIGN);
        return Ok(());
    }
    if format.codec != Codec::Rfc3640 {
        return Err(unknown());
    }
    if key.eq_ignore_ascii_case("constantDuration") {
        let duration =
            value.parse::<u16>().ok().filter(|duration| matches!(duration, 960 | 1024 | 1920 | 2048));
        format.unit_ticks = duration.ok_or_else(|| {
            wrong("has a constantDuration that AAC has not", "use 1024 or 960, or with SBR 2048 or 1920")
        })?;
        return Ok(());
    }
    match AAC_HBR.iter().find(|(fixed, _)| fixed.eq_ignore_ascii_case(key)) {
        Some((_, only)) if only.eq_ignore_ascii_case(value) => Ok(()),
        Some((fixed, only)) => Err(wrong(
            format!("has another {fixed} than mode AAC-hbr"),
            format!("use {fixed}={only}, the only mode there is"),
        )),
        None if IGNORED.iter().any(|ignored| ignored.eq_ignore_ascii_case(key)) => Ok(()),
        None => Err(unknown()),
    }
}

/// Octets in hexadecimal; at least two of them, as an AudioSpecificConfig has.
fn octets(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() >= 4 && digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | *digit as u8)).collect())
}

/// `0-15,66`: numbers and ranges (RFC 4733 §2.4.1).
fn event_list(text: &str) -> Option<Events> {
    text.split(',').try_fold(Events::NONE, |events, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u8>().ok()?, last.parse::<u8>().ok()?);
        (first <= last).then(|| (first..=last).fold(events, Events::with))
    })
}

/// `[1, 3, "5=2"]`: identifiers, each with what it becomes on the other leg.
fn extension_list(given: &Given<'_, '_>) -> Vec<(u8, u8)> {
    let mut list: Vec<(u8, u8)> = Vec::new();
    for item in given.items("integers and strings", "[1, \"5=2\"]") {
        let pair = match &item.value {
            Value::String(text) => {
                let pair = text.split_once('=').and_then(|(id, outbound)| {
                    let [id, outbound] = [id, outbound]
                        .map(|part| part.trim().parse::<u8>().ok().filter(|id| EXTENSION_IDS.contains(id)));
                    Some((id?, outbound?))
                });
                if pair.is_none() {
                    let remedy = "write it like \"5=2\", both of 1 to 14";
                    given.error_showing_at(item.line, text, "is no mapping of identifiers", remedy);
                }
                pair
            }
            _ => given.integer_of(item, EXTENSION_IDS).map(|id| (id, id)),
        };
        let Some((id, outbound)) = pair else { continue };
        if list.iter().any(|(known, _)| *known == id) {
            let what = format_args!("{} has identifier {id} twice", given.key);
            given.scope.error(item.line, what, "name each once");
        } else if let Some((other, _)) = list.iter().find(|(_, known)| *known == outbound) {
            let what = format_args!("{} has {other} and {id} both become {outbound}", given.key);
            given.scope.error(item.line, what, "give each an identifier of its own");
        } else {
            list.push((id, outbound));
        }
    }
    list.sort_unstable();
    list
}

/// As the configuration takes it.
impl fmt::Display for PayloadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, _)) = ENCODINGS.iter().find(|(_, codec)| *codec == self.codec) else {
            return self.payload_type.fmt(f);
        };
        write!(f, "{} {name}/{}", self.payload_type, self.clock_rate)?;
        if self.channels != 1 {
            write!(f, "/{}", self.channels)?;
        }
        if ![AacConfig::NONE, AacConfig::FOREIGN].contains(&self.aac) {
            write!(f, " config={:04x}", self.aac.audio_specific_config())?;
        }
        if self.codec == Codec::Rfc3640 && self.unit_ticks != 1024 {
            write!(f, " constantDuration={}", self.unit_ticks)?;
        }
        match self.ptime {
            Some(ptime) => write!(f, " ptime={ptime}"),
            None => Ok(()),
        }
    }
}

/// The list of events behind telephone-event.
pub(super) fn event_text(events: &Events) -> String {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for code in (0..=255).filter(|&code| events.contains(code)) {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(code) => *last = code,
            _ => ranges.push((code, code)),
        }
    }
    let text = |(first, last): &(u8, u8)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
