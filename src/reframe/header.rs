//! The RTP header on its way to the other leg: payload type, header extension.
//!
//! Each leg numbers its payload types and its header extension elements by itself (RFC 3264 §5.1, RFC 8285 §5), so both are
//! mapped. What has no number on the other leg is left out there, for it was not negotiated. When nothing remains, the
//! extension goes and the X bit with it.
//!
//! The payload never moves: what is left out is closed up from the front, so at most a header is copied.

use super::Error;
use crate::fastpath::Buffer;
use crate::wire::rtp;

const FLAGS: usize = 0;
const TYPE_OCTET: usize = 1;
const TYPE_MASK: u8 = 0x7f;
const EXTENSION: u8 = 0x10;
const PADDING: u8 = 0x20;
const CSRC_MASK: u8 = 0x0f;

const ONE_BYTE_PROFILE: u16 = 0xbede;
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// The low four bits of the two-byte profile are for the application (RFC 8285 §4.3).
const TWO_BYTE_MASK: u16 = 0xfff0;
/// The highest identifier of the one-byte form: 15 is reserved (RFC 8285 §4.2).
const ONE_BYTE_IDS: u8 = 14;

/// Writes the payload type that the receiving leg negotiated; the marker stays.
#[inline]
pub fn set_payload_type(packet: &mut [u8], payload_type: u8) {
    if let Some(octet) = packet.get_mut(TYPE_OCTET) {
        *octet = *octet & !TYPE_MASK | payload_type & TYPE_MASK;
    }
}

/// Takes the padding off a packet whose padding was checked (RFC 3550 §5.1).
///
/// # Errors
/// [`Error::Malformed`] if the padding overruns the payload after all.
pub fn remove_padding(packet: &mut impl Buffer, header_len: usize) -> Result<(), Error> {
    let bytes = packet.data();
    if bytes.get(FLAGS).is_none_or(|flags| flags & PADDING == 0) {
        return Ok(());
    }
    let padding = bytes.last().copied().map_or(0, usize::from);
    let len = bytes.len().checked_sub(padding).filter(|&len| len >= header_len).ok_or(Error::Malformed)?;
    if let Some(flags) = packet.data_mut().get_mut(FLAGS) {
        *flags &= !PADDING;
    }
    if packet.resize(len) { Ok(()) } else { Err(Error::Malformed) }
}

/// Gives the elements of the header extension the identifiers that `ids` says; 0: the element goes. An extension that has no
/// elements, for it is not of the form of RFC 8285, goes. So does an element of the one-byte form with a new identifier above
/// 14, for which there is no room.
///
/// `header_len` is the length of the header up to the payload, as `wire::rtp` found it; the answer is what it is now.
///
/// # Errors
/// [`Error::Malformed`] if the packet has no such header.
pub fn map_extension(
    packet: &mut impl Buffer,
    header_len: usize,
    ids: impl Fn(u8) -> u8,
) -> Result<usize, Error> {
    let flags = packet.data().get(FLAGS).copied().ok_or(Error::Malformed)?;
    if flags & EXTENSION == 0 {
        return Ok(header_len);
    }
    let fixed = rtp::HEADER_LEN + usize::from(flags & CSRC_MASK) * 4;
    let header = packet.data_mut().get_mut(..header_len).ok_or(Error::Malformed)?;
    let (front, extension) = header.split_at_mut_checked(fixed).ok_or(Error::Malformed)?;
    let (head, data) = extension.split_first_chunk_mut::<4>().ok_or(Error::Malformed)?;
    let kept = map_elements(u16::from_be_bytes([head[0], head[1]]), data, ids).next_multiple_of(4);
    // The octets in front of what goes, moved over it from behind.
    let (moved, gone) = if kept == 0 {
        front.iter_mut().take(1).for_each(|flags| *flags &= !EXTENSION);
        (fixed, header_len - fixed)
    } else {
        let words = (kept / 4) as u16;
        head[2..4].copy_from_slice(&words.to_be_bytes());
        (fixed + 4 + kept, data.len() - kept)
    };
    if gone > 0 {
        header.copy_within(..moved, gone);
        if !packet.move_start(gone as isize) {
            return Err(Error::NoRoom);
        }
    }
    Ok(header_len - gone)
}

/// Closes up the elements that stay, under their new identifiers. The answer is their length, up to which and the next
/// multiple of four padding follows.
fn map_elements(profile: u16, data: &mut [u8], ids: impl Fn(u8) -> u8) -> usize {
    let one_byte = profile == ONE_BYTE_PROFILE;
    if !one_byte && profile & TWO_BYTE_MASK != TWO_BYTE_PROFILE {
        return 0;
    }
    let (mut at, mut kept) = (0, 0);
    while let Some(&first) = data.get(at) {
        if first == 0 {
            at += 1;
            continue;
        }
        let (id, len) = if one_byte {
            let id = first >> 4;
            // RFC 8285 §4.2: identifier 15, or 0 with a length, ends the processing of the whole extension.
            if id == 0 || id > ONE_BYTE_IDS {
                break;
            }
            (id, 2 + usize::from(first & 0x0f))
        } else {
            match data.get(at + 1) {
                Some(&len) => (first, 2 + usize::from(len)),
                None => break,
            }
        };
        if at + len > data.len() {
            break;
        }
        let to = ids(id);
        if to != 0 && (!one_byte || to <= ONE_BYTE_IDS) {
            data.copy_within(at..at + len, kept);
            if let Some(octet) = data.get_mut(kept) {
                *octet = if one_byte { to << 4 | first & 0x0f } else { to };
            }
            kept += len;
        }
        at += len;
    }
    let end = kept.next_multiple_of(4).min(data.len());
    data.get_mut(kept..end).unwrap_or_default().fill(0);
    kept
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
