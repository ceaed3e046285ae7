//! Stage 4: the opened packet held against what its leg negotiated.
//!
//! The last part of the three-stage gate (`docs/gate.md`): framing was checked by `classify`, cryptography by `open`;
//! here come the RTP and RTCP rules of the protocol, then `payload` by codec. A leg that counts only
//! ([`Strictness::Count`]) lets what `payload` refuses pass, and nothing else.

mod payload;

use super::faults::{self, Point};
use super::frame::{Checked, Opened};
use super::pipeline::{PipelinePort, Sink};
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::{Profile, Reframe, Streams, Strictness};
use crate::srtp::Provider;
use crate::wire::rtp::Extension;
use crate::wire::{rtcp as rtcp_wire, rtp as rtp_wire};

/// Runs the stage over a burst.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &mut Streams<P>,
    burst: &mut Burst<Frame<B, Opened>>,
    checked: &mut Burst<Frame<B, Checked>>,
    sink: &mut impl Sink<B>,
) {
    for frame in burst.drain(..) {
        streams.work_on(frame.stream());
        faults::at(Point::Inspect);
        match frame.check_into(streams, checked) {
            Ok(None) => {}
            Ok(Some(reason)) => port.counters.count_tolerated(reason, 1),
            Err(reason) => {
                port.counters.count_dropped(reason, 1);
                continue;
            }
        }
        if let Some(frame) = checked.last()
            && let Some(tag) = streams.tap(frame.stream())
        {
            sink.tap(tag, frame.is_rtcp(), frame.rx_cycles(), frame.packet());
        }
    }
}

/// An opened RTP packet: payload type, header extension, padding, payload. `Some` is a reason that the leg tolerates.
///
/// # Errors
/// The reason for which the packet is refused.
#[inline]
pub fn rtp(packet: &[u8], profile: &Profile) -> Result<Option<DropReason>, DropReason> {
    let packet = rtp_wire::Packet::new_checked(packet).map_err(header_reason)?;
    let rule = profile.rule(packet.payload_type().0).ok_or(DropReason::PayloadTypeNotNegotiated)?;
    if let Some(extension) = packet.extension() {
        check_extension(&extension)?;
    }
    let padding = packet.padding_len().map_err(|_| DropReason::RtpPadding)?;
    let payload = packet.into_payload();
    let payload = payload.get(..payload.len() - padding).filter(|payload| !payload.is_empty());
    let payload = payload.ok_or(DropReason::RtpPayloadEmpty)?;
    match payload::check(payload, rule, profile.events()) {
        Ok(()) => Ok(None),
        // What changes its form on the way must have the form that it changes from.
        Err(reason) if profile.strictness() == Strictness::Count && rule.reframe == Reframe::None => {
            Ok(Some(reason))
        }
        Err(reason) => Err(reason),
    }
}

/// An opened RTCP compound packet.
///
/// # Errors
/// The reason for which the packet is refused.
#[inline]
pub fn rtcp(packet: &[u8], reduced_size: bool) -> Result<(), DropReason> {
    rtcp_wire::Compound::new_checked(packet, reduced_size).map(|_| ()).map_err(|_| DropReason::RtcpCompound)
}

/// What is wrong with the clear part of an RTP packet.
#[cold]
pub(super) fn header_reason(error: rtp_wire::Error) -> DropReason {
    match error {
        rtp_wire::Error::Truncated { .. } | rtp_wire::Error::Version { .. } => DropReason::RtpMalformed,
        rtp_wire::Error::CsrcOverrun { .. } => DropReason::RtpCsrcCount,
        rtp_wire::Error::ExtensionOverrun { .. } => DropReason::RtpExtensionLength,
    }
}

/// The profile of one-byte elements, 0xBEDE, would be RTCP type 222, which is not assigned.
const ONE_BYTE_PROFILE: u16 = 0xbede;
/// Transport-layer and payload-specific feedback (RFC 4585 §6.1), which have 12 bytes at least.
const FEEDBACK_TYPES: [u8; 2] = [205, 206];
const MIN_FEEDBACK_LEN: usize = 12;

/// No element overruns the extension, and neither it nor an element is an RTCP packet: a receiver that looks for one at
/// the wrong offset would act on feedback that no RTCP check has seen.
fn check_extension(extension: &Extension<'_>) -> Result<(), DropReason> {
    let [first, packet_type] = extension.profile.to_be_bytes();
    // RFC 3550 §6.4.1 and RFC 5761 §4: version 2, a type of 192 to 223.
    if first >> 6 == 2 && matches!(packet_type, 192..=223) && extension.profile != ONE_BYTE_PROFILE {
        return Err(DropReason::HeaderExtensionRtcp);
    }
    for element in extension.elements() {
        let element = element.map_err(|_| DropReason::HeaderExtensionMalformed)?;
        if is_feedback(element.data) {
            return Err(DropReason::HeaderExtensionRtcp);
        }
    }
    Ok(())
}

/// Whether the bytes are exactly one feedback message: version, type and length fit. No extension in use is like that.
fn is_feedback(data: &[u8]) -> bool {
    match *data {
        [first, packet_type, high, low, ..] if data.len() >= MIN_FEEDBACK_LEN => {
            let len = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
            first >> 6 == 2 && FEEDBACK_TYPES.contains(&packet_type) && len == data.len()
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "inspect/tests.rs"]
mod tests;
