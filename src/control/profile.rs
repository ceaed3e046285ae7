//! From what two legs negotiated to what the packet path holds packets of the one against.

use super::config::{Leg, PayloadFormat, Session};
use super::rekey::LegName;
use crate::codec::opus;
use crate::reframe::{AacConfig, Reframe};
use crate::session::{Codec, Profile, Rule, SourceClock, Strictness};

/// RFC 3551 §4.2: without another agreement "a receiver SHOULD accept packets representing between 0 and 200 ms of audio
/// data"; in tenths of a millisecond.
const DEFAULT_MAX: u32 = 2_000;
const TENTHS_PER_SECOND: u32 = 10_000;

/// The profile of packets that leg `sender` of `session` sends.
pub fn of(session: &Session, sender: LegName) -> Profile {
    let (sender, receiver) = match sender {
        LegName::A => (&session.a, &session.b),
        LegName::B => (&session.b, &session.a),
    };
    profile(sender, receiver, session.strictness)
}

/// The profile of packets that `sender` sends and `receiver` gets.
fn profile(sender: &Leg, receiver: &Leg, strictness: Strictness) -> Profile {
    let mut profile = Profile::NOTHING;
    profile.set_strictness(strictness);
    profile.set_reduced_size_rtcp(sender.reduced_size_rtcp);
    sender.payload_types.iter().for_each(|payload_type| profile.accept(payload_type));
    let Some(negotiated) = &sender.negotiated else { return profile };
    for format in &negotiated.formats {
        let fits = profile.set_rule(format.payload_type, rule(format, receiver));
        debug_assert!(fits, "the configuration bounds the number of formats");
    }
    profile.set_events(negotiated.events);
    if let Some(extensions) = &negotiated.extensions {
        profile.set_extensions(extensions.iter().copied());
    }
    profile
}

fn rule(format: &PayloadFormat, receiver: &Leg) -> Rule {
    let PayloadFormat { payload_type, codec, clock_rate, channels, ptime, unit_ticks, .. } = *format;
    let ticks = |tenths: u32| clock_rate * tenths;
    let min = ptime.map_or(1, |ptime| ticks(ptime.min.into()) / TENTHS_PER_SECOND);
    let max = match ptime {
        None if codec == Codec::Opus => opus::MAX_SAMPLES,
        None => ticks(DEFAULT_MAX).div_ceil(TENTHS_PER_SECOND),
        Some(ptime) => ticks(ptime.max.into()).div_ceil(TENTHS_PER_SECOND),
    };
    // RFC 3551 §4.2, of framed encodings: the frames of that time, rounded up.
    let max = if unit_ticks > 0 { max.next_multiple_of(unit_ticks.into()) } else { max };
    let (outbound, reframe, aac) = match outbound(format, receiver) {
        Some(outbound) => (outbound, Reframe::None, AacConfig::NONE),
        None => reframed(format, receiver).unwrap_or((payload_type, Reframe::None, AacConfig::NONE)),
    };
    Rule {
        codec,
        channels,
        outbound,
        reframe,
        aac,
        unit_ticks,
        min_ticks: u16::try_from(min).unwrap_or(u16::MAX),
        max_ticks: u16::try_from(max).unwrap_or(u16::MAX),
        clock_rate,
    }
}

/// How the timestamps of what a leg sends run: those of its first format of audio, at its shortest packet time; 20 ms at
/// 8 kHz where nothing is known.
pub fn source_clock(sender: &Leg, cycles_per_second: u64) -> SourceClock {
    /// In tenths of a millisecond, as all packet times.
    const PTIME: u32 = 200;
    let formats = sender.negotiated.as_ref().map_or(&[][..], |negotiated| &negotiated.formats);
    let is_audio =
        |format: &&PayloadFormat| !matches!(format.codec, Codec::TelephoneEvent | Codec::ComfortNoise);
    let (rate_hz, unit, ptime) = formats.iter().find(is_audio).map_or((8_000, 0, PTIME), |format| {
        (
            format.clock_rate,
            u32::from(format.unit_ticks),
            format.ptime.map_or(PTIME, |ptime| ptime.min.into()),
        )
    });
    let packet = if unit > 0 { unit } else { rate_hz * ptime / TENTHS_PER_SECOND };
    SourceClock { rate_hz, packet, cycles_per_second }
}

/// The payload type under which the receiving leg negotiated the same encoding: the sender's own if it is among them.
fn outbound(format: &PayloadFormat, receiver: &Leg) -> Option<u8> {
    let formats = receiver.negotiated.as_ref().map_or(&[][..], |negotiated| &negotiated.formats);
    let is_same = |other: &&PayloadFormat| {
        (other.codec, other.clock_rate, other.channels) == (format.codec, format.clock_rate, format.channels)
    };
    let mut same = formats.iter().filter(is_same).map(|other| other.payload_type);
    let first = same.clone().next()?;
    Some(same.find(|&payload_type| payload_type == format.payload_type).unwrap_or(first))
}

/// The payload type under which the receiving leg negotiated the other form of the same AAC, and what ADTS headers say of it.
fn reframed(format: &PayloadFormat, receiver: &Leg) -> Option<(u8, Reframe, AacConfig)> {
    let (other_form, reframe) = match format.codec {
        Codec::Adts => (Codec::Rfc3640, Reframe::AdtsToRfc3640),
        Codec::Rfc3640 => (Codec::Adts, Reframe::Rfc3640ToAdts),
        _ => return None,
    };
    let formats = receiver.negotiated.as_ref().map_or(&[][..], |negotiated| &negotiated.formats);
    formats.iter().find_map(|other| {
        let is_same = (other.codec, other.clock_rate, other.channels)
            == (other_form, format.clock_rate, format.channels);
        let config = aac_config(format, other).filter(|_| is_same)?;
        Some((other.payload_type, reframe, config))
    })
}

/// What both legs say of their AAC, if it is the same and ADTS can say it. LC where neither has a `config`.
fn aac_config(one: &PayloadFormat, other: &PayloadFormat) -> Option<AacConfig> {
    // ADTS frames have 1,024 samples (ISO/IEC 14496-3 §1.A.2.2.1), or twice that at the clock with SBR.
    if ![one, other].iter().all(|format| format.unit_ticks.is_multiple_of(1024)) {
        return None;
    }
    match [one.aac, other.aac] {
        [AacConfig::FOREIGN, _] | [_, AacConfig::FOREIGN] => None,
        [AacConfig::NONE, AacConfig::NONE] => AacConfig::low_complexity(one.clock_rate, one.channels),
        [config, AacConfig::NONE] | [AacConfig::NONE, config] => Some(config),
        [one, other] => (one == other).then_some(one),
    }
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
