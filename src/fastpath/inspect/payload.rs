//! The payload of an RTP packet by its codec: which reason each way to break a format has.
//!
//! The formats themselves are in [`codec`](crate::codec); here they are held against what the leg negotiated: clock
//! rate, channels, events, and how long a packet plays.

use crate::codec::{adts, comfort_noise, opus, pcm, rfc3640, telephone_event};
use crate::fastpath::DropReason;
use crate::session::{Codec, Rule};

/// Holds `payload`, which is not empty, against `rule`.
///
/// # Errors
/// The reason for which the packet is refused.
#[inline(always)]
pub(super) fn check(payload: &[u8], rule: &Rule, events: &telephone_event::Events) -> Result<(), DropReason> {
    match rule.codec {
        Codec::Any => Ok(()),
        Codec::Opus => {
            let packet = opus::Packet::new_checked(payload).map_err(opus_reason)?;
            ptime(packet.samples(), rule)
        }
        Codec::Pcmu | Codec::Pcma | Codec::G722 | Codec::L16 => {
            let octets = if rule.codec == Codec::L16 { 2 } else { 1 };
            let frame = rule.channels.saturating_mul(octets);
            ptime(pcm::ticks(payload.len(), frame).map_err(|_| DropReason::PcmSampleFrame)?, rule)
        }
        _ => uncommon(payload, rule, events),
    }
}

/// What is longer to check, or rarer.
fn uncommon(payload: &[u8], rule: &Rule, events: &telephone_event::Events) -> Result<(), DropReason> {
    match rule.codec {
        Codec::Adts => {
            let frames = adts::Payload::new_checked(payload).map_err(adts_reason)?;
            let header = frames.header();
            // With spectral band replication the core runs at half of the rate that was negotiated.
            let replicates = match rule.clock_rate.checked_div(header.sampling_frequency()) {
                Some(factor @ 1..=2) if header.sampling_frequency() * factor == rule.clock_rate => factor,
                _ => return Err(DropReason::AdtsHeader),
            };
            if header.channels().is_some_and(|channels| channels > rule.channels) {
                return Err(DropReason::AdtsHeader);
            }
            ptime(frames.samples().saturating_mul(replicates), rule)
        }
        Codec::Rfc3640 => {
            let units = rfc3640::Payload::new_checked(payload).map_err(rfc3640_reason)?;
            // A part of an access unit plays no time of its own.
            if units.fragment_of().is_some() {
                return Ok(());
            }
            ptime((units.len() as u32).saturating_mul(rule.unit_ticks.into()), rule)
        }
        Codec::TelephoneEvent => {
            telephone_event::Payload::new_checked(payload, events).map_err(event_reason).map(|_| ())
        }
        Codec::ComfortNoise => comfort_noise::Payload::new_checked(payload)
            .map_err(|_| DropReason::ComfortNoiseMalformed)
            .map(|_| ()),
        Codec::Any | Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::G722 | Codec::L16 => Ok(()),
    }
}

/// RFC 8866 §6.4: what was negotiated as ptime.
#[inline(always)]
fn ptime(ticks: u32, rule: &Rule) -> Result<(), DropReason> {
    if ticks < rule.min_ticks.into() || ticks > rule.max_ticks.into() {
        return Err(DropReason::PtimeOutOfRange);
    }
    Ok(())
}

#[cold]
fn opus_reason(error: opus::Error) -> DropReason {
    match error {
        opus::Error::Empty => DropReason::RtpPayloadEmpty,
        opus::Error::FrameSize { .. } => DropReason::OpusFrameSize,
        opus::Error::Framing { .. } => DropReason::OpusFraming,
        opus::Error::NoFrame => DropReason::OpusFrameCount,
        opus::Error::Duration { .. } => DropReason::OpusDuration,
    }
}

#[cold]
fn adts_reason(error: adts::Error) -> DropReason {
    match error {
        adts::Error::Empty => DropReason::RtpPayloadEmpty,
        adts::Error::Sync { .. } => DropReason::AdtsSync,
        adts::Error::Layer { .. }
        | adts::Error::Profile { .. }
        | adts::Error::SamplingFrequency { .. }
        | adts::Error::HeaderChanged { .. } => DropReason::AdtsHeader,
        adts::Error::FrameLength { .. } | adts::Error::BlockPosition { .. } => DropReason::AdtsFrameLength,
        adts::Error::Crc { .. } => DropReason::AdtsCrc,
    }
}

#[cold]
fn rfc3640_reason(error: rfc3640::Error) -> DropReason {
    match error {
        rfc3640::Error::Truncated { .. }
        | rfc3640::Error::HeadersLength { .. }
        | rfc3640::Error::HeadersOverrun { .. } => DropReason::AacAuHeader,
        rfc3640::Error::Interleaved { .. } => DropReason::AacInterleaved,
        rfc3640::Error::EmptyUnit { .. } | rfc3640::Error::Size { .. } => DropReason::AacAuSize,
    }
}

#[cold]
fn event_reason(error: telephone_event::Error) -> DropReason {
    match error {
        telephone_event::Error::Length { .. } | telephone_event::Error::Reserved { .. } => {
            DropReason::TelephoneEventMalformed
        }
        telephone_event::Error::NotNegotiated { .. } => DropReason::TelephoneEventNotNegotiated,
    }
}
