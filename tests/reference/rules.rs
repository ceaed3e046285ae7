//! What a packet must look like inside: RTP (RFC 3550 §5, RFC 8285) and RTCP (RFC 3550 §6), as `docs/drop-reasons.md`
//! and `docs/architecture.md` promise it.

use super::Reason;

/// Octets of RTP header with CSRCs and extension (RFC 3550 §5.1, §5.3.1), if the packet holds them all.
pub fn rtp_header_len(packet: &[u8]) -> Result<usize, Reason> {
    if packet.len() < 12 || packet[0] >> 6 != 2 {
        return Err("rtp_malformed");
    }
    let mut len = 12 + 4 * usize::from(packet[0] & 0x0f);
    if len > packet.len() {
        return Err("rtp_csrc_count");
    }
    if packet[0] & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4).ok_or("rtp_extension_length")?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    if len > packet.len() { Err("rtp_extension_length") } else { Ok(len) }
}

/// Holds an RTP packet in the clear against the leg's payload types, then extension, padding and payload.
pub fn rtp(packet: &[u8], payload_types: u128) -> Result<(), Reason> {
    let header = rtp_header_len(packet)?;
    if payload_types & 1 << (packet[1] & 0x7f) == 0 {
        return Err("payload_type_not_negotiated");
    }
    if packet[0] & 0x10 != 0 {
        let start = 12 + 4 * usize::from(packet[0] & 0x0f);
        let profile = u16::from_be_bytes([packet[start], packet[start + 1]]);
        // The clear part of an RTCP packet, where the extension's header should be (RFC 3550 §6.4.1, RFC 5761 §4).
        if packet[start] >> 6 == 2 && (192..=223).contains(&packet[start + 1]) && profile != 0xbede {
            return Err("header_extension_rtcp");
        }
        check_extension(profile, &packet[start + 4..header])?;
    }
    let payload = &packet[header..];
    let padding = match (packet[0] & 0x20 != 0, payload.last()) {
        (false, _) => 0,
        // The last octet counts the padding and itself (RFC 3550 §5.1).
        (true, Some(&count)) if count > 0 && usize::from(count) <= payload.len() => usize::from(count),
        (true, _) => return Err("rtp_padding"),
    };
    if payload.len() == padding { Err("rtp_payload_empty") } else { Ok(()) }
}

/// No element of a header extension overruns it (RFC 8285 §4.2 and §4.3) or is an RTCP feedback message as a whole
/// (RFC 4585 §6.1). Other profiles have no elements.
fn check_extension(profile: u16, data: &[u8]) -> Result<(), Reason> {
    const MALFORMED: Reason = "header_extension_malformed";
    let one_byte = profile == 0xbede;
    if !one_byte && profile >> 4 != 0x100 {
        return Ok(());
    }
    let mut at = 0;
    while at < data.len() {
        let first = data[at];
        let (start, len) = if first == 0 {
            at += 1;
            continue;
        } else if one_byte {
            // Identifiers 15 and, with a length, 0 end the extension; nothing behind them is looked at.
            if first >> 4 == 15 || first >> 4 == 0 {
                return Ok(());
            }
            (at + 1, usize::from(first & 0x0f) + 1)
        } else {
            (at + 2, usize::from(*data.get(at + 1).ok_or(MALFORMED)?))
        };
        let element = data.get(start..start + len).ok_or(MALFORMED)?;
        if element.len() >= 12 && element[0] >> 6 == 2 && (element[1] == 205 || element[1] == 206) {
            let words = usize::from(u16::from_be_bytes([element[2], element[3]]));
            if 4 * words + 4 == element.len() {
                return Err("header_extension_rtcp");
            }
        }
        at = start + len;
    }
    Ok(())
}

/// Holds a compound packet in the clear against RFC 3550 §6.1 and App. A.2 and the formats of its parts.
pub fn rtcp(compound: &[u8], reduced_size: bool) -> Result<(), Reason> {
    if is_sound_compound(compound, reduced_size) { Ok(()) } else { Err("rtcp_compound") }
}

fn is_sound_compound(compound: &[u8], reduced_size: bool) -> bool {
    let mut rest = compound;
    let mut first = true;
    loop {
        let &[flags, packet_type, high, low, ..] = rest else { return false };
        let len = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        if flags >> 6 != 2 || !(192..=223).contains(&packet_type) || len > rest.len() {
            return false;
        }
        // RFC 3550 §6.1: a report comes first, unless the leg agreed on reduced size (RFC 5506).
        if first && !reduced_size && packet_type != 200 && packet_type != 201 {
            return false;
        }
        first = false;
        let is_last = len == rest.len();
        let mut body = &rest[4..len];
        if flags & 0x20 != 0 {
            // Padding is in the last packet alone, and a multiple of four (RFC 3550 §6.4.1).
            let count = usize::from(body.last().copied().unwrap_or(0));
            if !is_last || count == 0 || !count.is_multiple_of(4) || count > body.len() {
                return false;
            }
            body = &body[..body.len() - count];
        }
        if !is_sound_body(packet_type, usize::from(flags & 0x1f), body) {
            return false;
        }
        if is_last {
            return true;
        }
        rest = &rest[len..];
    }
}

fn is_sound_body(packet_type: u8, count: usize, body: &[u8]) -> bool {
    match packet_type {
        // Sender report: SSRC, 20 octets of sender information, blocks of 24 (RFC 3550 §6.4.1).
        200 => body.len() >= 24 + 24 * count,
        201 => body.len() >= 4 + 24 * count,
        202 => are_sound_chunks(body, count),
        203 => match body.get(4 * count) {
            Some(&reason) => body.len() > 4 * count + usize::from(reason),
            None => body.len() == 4 * count,
        },
        // Application-defined: SSRC and name. Feedback: two SSRCs (RFC 4585 §6.1).
        204..=206 => body.len() >= 8,
        207 => {
            let Some(mut blocks) = body.get(4..) else { return false };
            while !blocks.is_empty() {
                let &[_, _, high, low, ..] = blocks else { return false };
                let len = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
                let Some(rest) = blocks.get(len..) else { return false };
                blocks = rest;
            }
            true
        }
        _ => true,
    }
}

/// Chunks of SSRC, items and a null octet, each filled up to a word (RFC 3550 §6.5), that fill the packet exactly.
fn are_sound_chunks(body: &[u8], count: usize) -> bool {
    let mut at = 0;
    for _ in 0..count {
        at += 4;
        loop {
            match body.get(at) {
                None => return false,
                Some(0) => {
                    at += 4 - at % 4;
                    break;
                }
                Some(_) => match body.get(at + 1) {
                    Some(&len) => at += 2 + usize::from(len),
                    None => return false,
                },
            }
        }
    }
    at == body.len()
}
