//! Reports and feedback of a session in which a source was replaced: the numbers by which each side knows the streams.
//!
//! An RTCP packet speaks of two directions. What its sender says of its own stream is moved **forward**, to what the
//! receiver knows it as: SSRC of reports, descriptions, goodbyes and feedback, and the RTP timestamp of a sender report,
//! which must go with that of the RTP packets (RFC 3550 §6.4.1). What it says of the stream that it receives is moved
//! **backward**, to what the source of that stream calls it: SSRC and extended highest sequence number of report blocks,
//! media SSRC and sequence numbers of feedback.
//!
//! | packet | forward | backward |
//! |---|---|---|
//! | SR, RR (RFC 3550 §6.4) | sender, RTP timestamp | report blocks: SSRC, extended highest sequence number |
//! | SDES, BYE, APP (§6.5 to §6.7) | every SSRC | |
//! | RTPFB (RFC 4585 §6.2) | sender | media source; generic NACK: PID, to which BLP is relative |
//! | TMMBR, TMMBN (RFC 5104 §4.2) | sender | SSRC of each entry |
//! | congestion control feedback (RFC 8888) | sender | SSRC and begin_seq of each stream |
//! | PSFB (RFC 4585 §6.3) | sender | media source |
//! | FIR, TSTR, TSTN (RFC 5104 §4.3), REMB | sender | SSRC of each entry |
//! | XR (RFC 3611) | sender | SSRC of each block, begin_seq and end_seq; DLRR: SSRC of each sub-block |
//!
//! LSR, DLSR and NTP times are the clocks of the ends, and pass. Transport-wide sequence numbers are those of the header
//! extension, which passes too. Packet and octet counts of sender reports are those of the present source.
//!
//! Everything is written over what was there, so no length changes. The packet has passed `wire::rtcp::Compound`.

use crate::wire::rtcp::PacketType;

const HEADER: usize = 4;
const REPORT_BLOCK: usize = 24;
/// Feedback formats (RFC 4585 §6.2, RFC 5104 §4, RFC 8888 §3.1).
const NACK: u8 = 1;
const TMMBR: u8 = 3;
const TMMBN: u8 = 4;
const CCFB: u8 = 11;
const FIR: u8 = 4;
const TSTR: u8 = 5;
const TSTN: u8 = 6;
const APPLICATION: u8 = 15;
const REMB: &[u8] = b"REMB";
/// Length of an entry of TMMBR, TMMBN, FIR, TSTR and TSTN.
const ENTRY: usize = 8;
/// Extended report blocks (RFC 3611 §4).
const XR_LOSS_RLE: u8 = 1;
const XR_DUPLICATE_RLE: u8 = 2;
const XR_RECEIPT_TIMES: u8 = 3;
const XR_DLRR: u8 = 5;
const XR_STATISTICS: u8 = 6;
const XR_VOIP_METRICS: u8 = 7;
const DLRR_SUB_BLOCK: usize = 12;

/// How the sender's own stream is known to the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// SSRCs that the sender has: of this packet, of its RTP packets.
    pub from: [u32; 2],
    /// The SSRC that the receiver knows.
    pub to: u32,
    /// Added to its timestamps.
    pub timestamps: u32,
}

/// What the source of the stream that the sender receives calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backward {
    /// The SSRC that the sender of the packet knows.
    pub from: u32,
    /// The source's own.
    pub to: u32,
    /// What was added to the source's packet indices, modulo 2^32.
    pub offset: u32,
    /// The first index of the source as the sender of the packet knows it, modulo 2^32: lower ones were another's.
    pub start: u32,
}

/// The RTP timestamp of a compound packet that begins with a sender report.
pub fn sender_timestamp(packet: &[u8]) -> Option<u32> {
    match packet {
        [_, 200, rest @ ..] => word(rest, 14),
        _ => None,
    }
}

/// Renumbers a checked compound packet in place.
pub fn renumber(packet: &mut [u8], forward: Option<&Forward>, backward: Option<&Backward>) {
    let numbers = Numbers { forward, backward };
    let mut rest = packet;
    while let [flags, packet_type, high, low, ..] = *rest {
        let len = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let Some((one, others)) = rest.split_at_mut_checked(len) else { return };
        let body = one.get_mut(HEADER..).unwrap_or_default();
        numbers.one(PacketType(packet_type), flags & 0x1f, body);
        rest = others;
    }
}

struct Numbers<'a> {
    forward: Option<&'a Forward>,
    backward: Option<&'a Backward>,
}

impl Numbers<'_> {
    fn one(&self, packet_type: PacketType, count: u8, body: &mut [u8]) {
        let blocks = usize::from(count);
        match packet_type {
            PacketType::SENDER_REPORT => {
                if self.own(body, 0)
                    && let (Some(forward), Some(timestamp)) = (self.forward, word(body, 12))
                {
                    put(body, 12, timestamp.wrapping_add(forward.timestamps));
                }
                self.report_blocks(body.get_mut(24..), blocks);
            }
            PacketType::RECEIVER_REPORT => {
                self.own(body, 0);
                self.report_blocks(body.get_mut(4..), blocks);
            }
            PacketType::SOURCE_DESCRIPTION => self.chunks(body, blocks),
            PacketType::BYE => (0..blocks).for_each(|number| {
                self.own(body, number * 4);
            }),
            PacketType::APP => {
                self.own(body, 0);
            }
            PacketType::TRANSPORT_FEEDBACK => self.transport_feedback(body, count),
            PacketType::PAYLOAD_FEEDBACK => self.payload_feedback(body, count),
            PacketType::EXTENDED_REPORT => self.extended(body),
            _ => {}
        }
    }

    /// Moves the SSRC at `at` forward, if it is the sender's own. Says so.
    fn own(&self, body: &mut [u8], at: usize) -> bool {
        let is_own = match (self.forward, word(body, at)) {
            (Some(forward), Some(ssrc)) => forward.from.contains(&ssrc),
            _ => false,
        };
        if let Some(forward) = self.forward.filter(|_| is_own) {
            put(body, at, forward.to);
        }
        is_own
    }

    /// Moves the SSRC at `at` backward, if it is the other direction's. Answers how that is moved then.
    fn other(&self, body: &mut [u8], at: usize) -> Option<&Backward> {
        let backward = self.backward?;
        if word(body, at)? != backward.from {
            return None;
        }
        put(body, at, backward.to);
        Some(backward)
    }

    fn report_blocks(&self, blocks: Option<&mut [u8]>, count: usize) {
        for block in blocks.unwrap_or_default().chunks_exact_mut(REPORT_BLOCK).take(count) {
            if let Some(backward) = self.other(block, 0)
                && let Some(highest) = word(block, 8)
            {
                put(block, 8, backward.extended(highest));
            }
        }
    }

    /// RFC 3550 §6.5: SSRC, items of type, length and text, then null octets up to the next word.
    fn chunks(&self, body: &mut [u8], count: usize) {
        let mut at = 0;
        for _ in 0..count {
            self.own(body, at);
            at += 4;
            while let Some(&item) = body.get(at).filter(|item| **item != 0) {
                let _ = item;
                at += 2 + body.get(at + 1).copied().map_or(0, usize::from);
            }
            at = (at + 1).next_multiple_of(4);
        }
    }

    fn transport_feedback(&self, body: &mut [u8], format: u8) {
        self.own(body, 0);
        match format {
            CCFB => self.congestion_feedback(body),
            TMMBR | TMMBN => self.entries(body.get_mut(4..)),
            _ => {
                let Some(backward) = self.other(body, 4).filter(|_| format == NACK) else { return };
                for entry in body.get_mut(8..).unwrap_or_default().as_chunks_mut::<4>().0 {
                    let [high, low, _, _] = *entry;
                    let packet = u16::from_be_bytes([high, low]).wrapping_sub(backward.offset as u16);
                    entry[..2].copy_from_slice(&packet.to_be_bytes());
                }
            }
        }
    }

    fn payload_feedback(&self, body: &mut [u8], format: u8) {
        self.own(body, 0);
        match format {
            FIR | TSTR | TSTN => self.entries(body.get_mut(4..)),
            APPLICATION if body.get(8..12) == Some(REMB) => {
                let count = body.get(12).copied().map_or(0, usize::from);
                (0..count).for_each(|number| {
                    self.other(body, 16 + number * 4);
                });
            }
            _ => {
                self.other(body, 4);
            }
        }
    }

    /// The media source, and entries of eight octets that each begin with an SSRC.
    fn entries(&self, from_media_source: Option<&mut [u8]>) {
        let Some((media_source, entries)) = from_media_source.and_then(|body| body.split_at_mut_checked(4))
        else {
            return;
        };
        self.other(media_source, 0);
        entries.chunks_exact_mut(ENTRY).for_each(|entry| {
            self.other(entry, 0);
        });
    }

    /// RFC 8888 §3.1: SSRC, begin_seq, num_reports, so many times two octets up to the next word, and so on; at the end
    /// a timestamp.
    fn congestion_feedback(&self, body: &mut [u8]) {
        let end = body.len().saturating_sub(4);
        let mut rest = body.get_mut(4..end).unwrap_or_default();
        while rest.len() >= 8 {
            self.sequence_numbers(rest, 1);
            let count = usize::from(u16_at(rest, 6));
            let len = 8 + (count * 2).next_multiple_of(4);
            let Some((_, others)) = rest.split_at_mut_checked(len) else { return };
            rest = others;
        }
    }

    fn extended(&self, body: &mut [u8]) {
        self.own(body, 0);
        let mut rest = body.get_mut(4..).unwrap_or_default();
        while rest.len() >= 4 {
            let len = (usize::from(u16_at(rest, 2)) + 1) * 4;
            let Some((block, others)) = rest.split_at_mut_checked(len) else { return };
            let (kind, content) = (block.first().copied(), block.get_mut(4..).unwrap_or_default());
            match kind {
                Some(XR_LOSS_RLE | XR_DUPLICATE_RLE | XR_RECEIPT_TIMES | XR_STATISTICS) => {
                    self.sequence_numbers(content, 2);
                }
                Some(XR_VOIP_METRICS) => {
                    self.other(content, 0);
                }
                Some(XR_DLRR) => content.chunks_exact_mut(DLRR_SUB_BLOCK).for_each(|sub_block| {
                    self.other(sub_block, 0);
                }),
                _ => {}
            }
            rest = others;
        }
    }

    /// An SSRC, and `count` sequence numbers behind it.
    fn sequence_numbers(&self, content: &mut [u8], count: usize) {
        let Some(backward) = self.other(content, 0) else { return };
        for field in content.get_mut(4..).unwrap_or_default().as_chunks_mut::<2>().0.iter_mut().take(count) {
            *field = u16::from_be_bytes(*field).wrapping_sub(backward.offset as u16).to_be_bytes();
        }
    }
}

impl Backward {
    /// The source's own number for an extended sequence number (RFC 3550 §6.4.1: the low 16 bits and how often they
    /// started over). One of before its first packet was another source's, and becomes the one before its first.
    fn extended(&self, number: u32) -> u32 {
        let before_start = (number.wrapping_sub(self.start) as i32) < 0;
        let number = if before_start { self.start.wrapping_sub(1) } else { number };
        number.wrapping_sub(self.offset)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |octets| u16::from_be_bytes(*octets))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(octets) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *octets = value.to_be_bytes();
    }
}

#[cfg(test)]
#[path = "rtcp_tests.rs"]
mod tests;
