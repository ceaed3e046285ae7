//! AAC between its two forms in RTP: ADTS frames, each with a header of its own, and RFC 3640 in mode AAC-hbr.
//!
//! ```text
//! ADTS      RTP header │ header 7 │ unit 1 │ header 7 │ unit 2 │ header 7 │ unit 3
//! RFC 3640              RTP header │ 2 + 2·3 │ unit 1 │ unit 2 │ unit 3
//! ```
//!
//! The last access unit stays where it lies; those before it close up by seven octets each, or make room, and the RTP
//! header moves by the rest. A packet of one access unit, which voice is, moves its header and nothing else. Where the
//! headroom does not suffice for the longer form, the units move into the tailroom instead.
//!
//! What an ADTS header says and an access unit does not, all packets share: it is negotiated ([`AacConfig`]). A CRC is left
//! out towards RFC 3640, which has no place for it.

use arrayvec::ArrayVec;

use super::{AacConfig, Error};
use crate::codec::{adts, rfc3640};
use crate::fastpath::Buffer;

/// Most access units in a packet: at 1,024 samples each, more than half a second of sound.
pub const MAX_UNITS: usize = 64;

const ADTS_HEADER_LEN: usize = adts::HEADER_LEN;
/// Longest frame that the 13 bits of an ADTS header can state.
const MAX_FRAME_LEN: usize = (1 << 13) - 1;
/// Bit position of AU-size in an AU-header of AAC-hbr.
const AU_SIZE_SHIFT: usize = 3;
/// RTP: octet with the marker bit.
const MARKER_OCTET: usize = 1;
const MARKER: u8 = 0x80;

/// Where access units lie, as offset from the start of the payload and length.
type Units = ArrayVec<(u16, u16), MAX_UNITS>;

/// Makes ADTS frames access units. `header_len` is that of the RTP header; the packet has no padding.
///
/// The marker bit is set: the packet holds whole access units (RFC 3640 §3.1).
///
/// # Errors
/// [`Error`]; the packet is as it was then.
pub fn adts_to_rfc3640(packet: &mut impl Buffer, header_len: usize, config: &AacConfig) -> Result<(), Error> {
    let payload = packet.data().get(header_len..).ok_or(Error::Malformed)?;
    let units = adts_units(payload, config)?;
    let end = payload.len();
    let bytes = packet.data_mut();
    // From the last one on, each to the end of what is free.
    let mut start = end;
    for &(at, len) in units.iter().rev() {
        let (at, len) = (usize::from(at), usize::from(len));
        start -= len;
        if start != at {
            bytes.copy_within(header_len + at..header_len + at + len, header_len + start);
        }
    }
    let headers = rfc3640::HEADERS_LENGTH_LEN + units.len() * rfc3640::AU_HEADER_LEN;
    // Never: an ADTS header is longer than an AU-header and AU-headers-length.
    let gone = start.checked_sub(headers).ok_or(Error::Malformed)?;
    bytes.copy_within(..header_len, gone);
    if !packet.move_start(gone as isize) {
        return Err(Error::NoRoom);
    }
    let bytes = packet.data_mut();
    set_marker(bytes, true);
    let mut fields = bytes.get_mut(header_len..).unwrap_or_default().as_chunks_mut::<2>().0.iter_mut();
    let bits = units.len() * rfc3640::AU_HEADER_LEN * 8;
    // AU-Index and AU-Index-delta are zero: no interleaving.
    let sizes = units.iter().map(|&(_, len)| usize::from(len) << AU_SIZE_SHIFT);
    for (value, field) in [bits].into_iter().chain(sizes).zip(&mut fields) {
        *field = (value as u16).to_be_bytes();
    }
    Ok(())
}

/// Makes access units ADTS frames. `header_len` is that of the RTP header; the packet has no padding. At least
/// `headroom` octets in front of the packet stay free if they are now.
///
/// The marker bit is cleared: outside of RFC 3640 it would say that a talk spurt begins (RFC 3551 §4.1).
///
/// # Errors
/// [`Error`]; the packet is as it was then.
pub fn rfc3640_to_adts(
    packet: &mut impl Buffer,
    header_len: usize,
    config: &AacConfig,
    headroom: usize,
) -> Result<(), Error> {
    let payload = packet.data().get(header_len..).ok_or(Error::Malformed)?;
    let units = rfc3640_units(payload)?;
    let headers = rfc3640::HEADERS_LENGTH_LEN + units.len() * rfc3640::AU_HEADER_LEN;
    let grown = units.len() * ADTS_HEADER_LEN - headers;
    let len = packet.data().len();
    // Into the headroom the last unit need not move, and with one unit none does.
    let front = if packet.move_start(-((grown + headroom) as isize)) {
        if !packet.move_start(headroom as isize) {
            return Err(Error::NoRoom);
        }
        grown
    } else if packet.resize(len + grown) {
        0
    } else {
        return Err(Error::NoRoom);
    };
    let bytes = packet.data_mut();
    bytes.copy_within(front..front + header_len, 0);
    // Unit k lies at its old place plus `front` and goes to where k + 1 headers and the units before it end. The first ones
    // may have to go towards the front, the others towards the end, so none overwrites another that has yet to go.
    let place = |number: usize, at: usize| {
        (header_len + front + at, header_len + at - headers + (number + 1) * ADTS_HEADER_LEN)
    };
    for (number, &(at, len)) in units.iter().enumerate().rev() {
        let (from, to) = place(number, at.into());
        if to > from {
            bytes.copy_within(from..from + usize::from(len), to);
        }
    }
    for (number, &(at, len)) in units.iter().enumerate() {
        let (from, to) = place(number, at.into());
        if to < from {
            bytes.copy_within(from..from + usize::from(len), to);
        }
    }
    for (number, &(at, len)) in units.iter().enumerate() {
        let (_, to) = place(number, at.into());
        if let Some(room) = bytes.get_mut(to - ADTS_HEADER_LEN..to) {
            room.copy_from_slice(&adts_header(config, usize::from(len)));
        }
    }
    set_marker(bytes, false);
    Ok(())
}

/// The access units in ADTS frames that agree with what was negotiated.
fn adts_units(payload: &[u8], config: &AacConfig) -> Result<Units, Error> {
    let frames = adts::Payload::new_checked(payload).map_err(|_| Error::Malformed)?;
    let header = frames.header();
    let says = (header.profile(), header.sampling_frequency_index(), header.channel_configuration());
    if says != (config.profile(), config.sampling_frequency_index(), config.channel_configuration()) {
        return Err(Error::OtherConfig);
    }
    let mut units = Units::new();
    let mut push = |at: usize, end: usize| {
        let len = end.checked_sub(at).filter(|&len| len > 0).ok_or(Error::Malformed)?;
        units.try_push((at as u16, len as u16)).map_err(|_| Error::TooManyUnits)
    };
    for frame in frames.frames() {
        let (start, end) = (frame.raw_offset(), frame.raw_offset() + frame.raw_len());
        match (frame.header.blocks(), frame.header.is_protected()) {
            (1, _) => push(start, end)?,
            (_, false) => return Err(Error::BlocksUnmarked),
            // ISO/IEC 14496-3 §1.A.2.2: the header has the position of each block but the first, and a CRC follows each.
            (_, true) => {
                let positions = payload.get(frame.offset + ADTS_HEADER_LEN..start - adts::CRC_LEN);
                let (positions, _) = positions.unwrap_or_default().as_chunks::<2>();
                let mut at = start;
                for position in positions {
                    let next = start + usize::from(u16::from_be_bytes(*position));
                    push(at, next.saturating_sub(adts::CRC_LEN))?;
                    at = next;
                }
                push(at, end.saturating_sub(adts::CRC_LEN))?;
            }
        }
    }
    Ok(units)
}

/// The access units of an AAC-hbr payload, none of them a fragment.
fn rfc3640_units(payload: &[u8]) -> Result<Units, Error> {
    let checked = rfc3640::Payload::new_checked(payload).map_err(|_| Error::Malformed)?;
    // Whole access units alone can become frames.
    if checked.fragment_of().is_some() {
        return Err(Error::Malformed);
    }
    let mut units = Units::new();
    for unit in checked.units() {
        if unit.len + ADTS_HEADER_LEN > MAX_FRAME_LEN {
            return Err(Error::Malformed);
        }
        units.try_push((unit.offset as u16, unit.len as u16)).map_err(|_| Error::TooManyUnits)?;
    }
    Ok(units)
}

/// The header of a frame with one raw data block of `len` octets: MPEG-4, no CRC, variable rate.
fn adts_header(config: &AacConfig, len: usize) -> [u8; ADTS_HEADER_LEN] {
    let (profile, frequency, channels) =
        (config.profile(), config.sampling_frequency_index(), config.channel_configuration());
    let frame_len = len + ADTS_HEADER_LEN;
    [
        0xff,
        0xf1,
        profile << 6 | frequency << 2 | channels >> 2,
        channels << 6 | (frame_len >> 11) as u8,
        (frame_len >> 3) as u8,
        // adts_buffer_fullness 0x7FF: variable rate.
        (frame_len << 5) as u8 | 0x1f,
        0xfc,
    ]
}

fn set_marker(packet: &mut [u8], value: bool) {
    if let Some(octet) = packet.get_mut(MARKER_OCTET) {
        *octet = *octet & !MARKER | if value { MARKER } else { 0 };
    }
}

#[cfg(test)]
#[path = "aac_tests.rs"]
mod tests;
