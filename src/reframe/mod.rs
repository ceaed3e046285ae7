//! What differs between the two legs of a session in the RTP and RTCP packets themselves, changed in place.
//!
//! A packet comes from the inspect stage, checked against the rules of the leg that sent it; it goes on to be given the
//! other leg's headers and key. Between the two it may need other octets:
//!
//! | file | changes | because |
//! |---|---|---|
//! | [`header`] | payload type, header extension | each leg negotiated its own (RFC 3264, RFC 8285 §5) |
//! | [`aac`] | ADTS frames into access units and back | one leg carries AAC raw, the other by RFC 3640 |
//! | [`rtcp`] | SSRCs, sequence numbers, timestamps in reports and feedback | a source was replaced ([`session::Replacement`](crate::session::Replacement)) |
//!
//! Nothing is copied to another buffer: a header moves within the packet, towards what is left out or into the headroom,
//! and access units close up or make room by less than a header each. What a packet needs beyond its buffer, or what its
//! octets do not allow, is an [`Error`], and the packet is dropped. No state, no heap, no input that panics.

#![forbid(unsafe_code)]

pub mod aac;
mod aac_config;
pub mod header;
pub mod rtcp;

pub use aac_config::{AacConfig, AacConfigError};

use crate::fastpath::Buffer;
use crate::session::{ExtensionRule, Profile};

/// Gives an RTP packet, which passed the rules of `profile`, the form that the receiving leg negotiated. `header_len` is that of
/// its header; the answer is what it is now. At least `headroom` octets in front of the packet stay free if they are now.
///
/// # Errors
/// [`Error`]; the packet must not be forwarded then.
pub fn rtp(
    packet: &mut impl Buffer,
    header_len: usize,
    profile: &Profile,
    headroom: usize,
) -> Result<usize, Error> {
    let second = packet.data().get(1).copied().ok_or(Error::Malformed)?;
    let payload_type = second & 0x7f;
    let rule = profile.rule(payload_type).ok_or(Error::Malformed)?;
    let header_len = if profile.lists_extensions() {
        header::map_extension(packet, header_len, |id| match profile.extension(id) {
            ExtensionRule::Pass => id,
            ExtensionRule::Map(outbound) => outbound,
            ExtensionRule::Remove => 0,
        })?
    } else {
        header_len
    };
    match rule.reframe {
        Reframe::None => {}
        Reframe::AdtsToRfc3640 => {
            header::remove_padding(packet, header_len)?;
            aac::adts_to_rfc3640(packet, header_len, &rule.aac)?;
        }
        Reframe::Rfc3640ToAdts => {
            header::remove_padding(packet, header_len)?;
            aac::rfc3640_to_adts(packet, header_len, &rule.aac, headroom)?;
        }
    }
    header::set_payload_type(packet.data_mut(), profile.outbound(payload_type));
    Ok(header_len)
}

/// Why a packet cannot be put into the form of the other leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The payload is no sequence of whole access units, in the form that the sending leg negotiated.
    #[error("the payload is no sequence of whole AAC access units: drop the packet")]
    Malformed,
    /// More access units than [`aac::MAX_UNITS`].
    #[error("the payload has more than {max} access units: configure the sender for fewer", max = aac::MAX_UNITS)]
    TooManyUnits,
    /// An ADTS frame of several raw data blocks without their positions: only a decoder finds where each begins.
    #[error("an ADTS frame has several raw data blocks and no CRC: switch the sender to one for each frame")]
    BlocksUnmarked,
    /// ADTS headers that say otherwise than what was negotiated.
    #[error("the ADTS header is not that of the negotiated configuration: correct config in the leg's fmtp")]
    OtherConfig,
    /// The buffer has no room for what the other form needs.
    #[error(
        "the buffer has no room for the packet in its other form: send fewer access units in each packet"
    )]
    NoRoom,
}

/// How a payload changes its form between the legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Reframe {
    /// It does not.
    #[default]
    None,
    /// ADTS frames become access units in mode AAC-hbr (RFC 3640 §3.3.6).
    AdtsToRfc3640,
    /// The reverse.
    Rfc3640ToAdts,
}
