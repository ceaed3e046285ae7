//! Stage 4: the opened packet held against the rules of its leg.

use super::frame::{Checked, Opened};
use super::pipeline::PipelinePort;
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::{PayloadRules, Stream};
use crate::srtp::Provider;
use crate::wire::{rtcp as rtcp_wire, rtp as rtp_wire};

/// Runs the stage over a burst.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &[Stream<P>],
    burst: Burst<Frame<B, Opened>>,
) -> Burst<Frame<B, Checked>> {
    let mut checked = Burst::new();
    for frame in burst {
        let Some(stream) = streams.get(frame.stream().0 as usize) else {
            port.counters.count_dropped(DropReason::PortUnknown, 1);
            continue;
        };
        match frame.check(&stream.rules) {
            Ok(frame) => checked.push(frame),
            Err(reason) => port.counters.count_dropped(reason, 1),
        }
    }
    checked
}

/// An opened RTP packet: padding, payload, payload type, header extension.
///
/// # Errors
/// The reason for which the packet is refused.
#[inline]
pub fn rtp(packet: &[u8], rules: &PayloadRules) -> Result<(), DropReason> {
    let packet = rtp_wire::Packet::new_checked(packet).map_err(|_| DropReason::RtpMalformed)?;
    if rules.payload_types >> (packet.payload_type().0 & 0x7f) & 1 == 0 {
        return Err(DropReason::PayloadTypeNotNegotiated);
    }
    packet.check_extension_elements().map_err(|_| DropReason::HeaderExtensionMalformed)?;
    let padding = packet.padding_len().map_err(|_| DropReason::RtpPadding)?;
    if packet.payload().len() <= padding {
        return Err(DropReason::RtpPayloadEmpty);
    }
    Ok(())
}

/// An opened RTCP compound packet.
///
/// # Errors
/// The reason for which the packet is refused.
#[inline]
pub fn rtcp(packet: &[u8], rules: &PayloadRules) -> Result<(), DropReason> {
    rtcp_wire::Compound::new_checked(packet, rules.reduced_size_rtcp)
        .map(|_| ())
        .map_err(|_| DropReason::RtcpCompound)
}
