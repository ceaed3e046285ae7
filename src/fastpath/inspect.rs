//! Stage 4: the opened packet held against the rules of its leg.

use super::frame::{Checked, Opened};
use super::pipeline::PipelinePort;
use super::{Buffer, Burst, DropReason, Frame};
use crate::session::Streams;
use crate::srtp::Provider;
use crate::wire::{rtcp as rtcp_wire, rtp as rtp_wire};

/// Runs the stage over a burst.
#[inline]
pub(super) fn run<B: Buffer, P: Provider>(
    port: &PipelinePort,
    streams: &Streams<P>,
    burst: &mut Burst<Frame<B, Opened>>,
    checked: &mut Burst<Frame<B, Checked>>,
) {
    for frame in burst.drain(..) {
        if let Err(reason) = frame.check_into(streams, checked) {
            port.counters.count_dropped(reason, 1);
        }
    }
}

/// An opened RTP packet: padding, payload, payload type, header extension.
///
/// # Errors
/// The reason for which the packet is refused.
#[inline]
pub fn rtp(packet: &[u8], accepts: impl FnOnce(u8) -> bool) -> Result<(), DropReason> {
    let packet = rtp_wire::Packet::new_checked(packet).map_err(|_| DropReason::RtpMalformed)?;
    if !accepts(packet.payload_type().0) {
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
pub fn rtcp(packet: &[u8], reduced_size: bool) -> Result<(), DropReason> {
    rtcp_wire::Compound::new_checked(packet, reduced_size).map(|_| ()).map_err(|_| DropReason::RtcpCompound)
}
