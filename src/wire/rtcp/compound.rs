//! Compound RTCP packets: the validity checks of RFC 3550 §6.1 and App. A.2, and the walk over the parts.

use super::{Error, HEADER_LEN, Packet, PacketType, REPORT_BLOCK_LEN, field};

/// Length of a sender report after its header without report blocks: SSRC and sender information.
const SENDER_REPORT_LEN: usize = 24;
/// Length of an SSRC.
const SSRC_LEN: usize = 4;
/// Length of an application-defined packet after its header: SSRC and name.
const APP_LEN: usize = 8;
/// Length of a feedback message after its header: the SSRCs of its sender and of the media source.
const FEEDBACK_LEN: usize = 8;
/// Length of an extended report block's header.
const XR_BLOCK_LEN: usize = 4;
/// The padding count is a multiple of this (RFC 3550 §6.4.1).
const PADDING_UNIT: u8 = 4;

/// A checked compound packet in the clear.
#[derive(Debug, Clone, Copy)]
pub struct Compound<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Compound<T> {
    /// Takes a whole compound packet, the UDP payload without SRTCP's trailer, and checks:
    ///
    /// - every packet has version 2, a type of 192 to 223, and the lengths add up exactly to the buffer's;
    /// - the first packet is a sender or receiver report, unless `reduced_size` allows any
    ///   (RFC 5506);
    /// - padding is in the last packet only, and its count is possible;
    /// - every packet is long enough for its type and count, report blocks, source description chunks and
    ///   extended report blocks stay within it.
    ///
    /// Types without rules of their own need a header only, as RFC 3550 §6.1 has unknown types be ignored.
    #[inline]
    pub fn new_checked(buffer: T, reduced_size: bool) -> Result<Self, Error> {
        check(buffer.as_ref(), reduced_size)?;
        Ok(Compound { buffer })
    }

    /// The packets in order; at least one.
    #[inline]
    pub fn packets(&self) -> Packets<'_> {
        Packets { rest: self.buffer.as_ref() }
    }
}

/// Iterator over the packets of a [`Compound`].
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // The compound was checked, so the only failure left is its end.
        let packet = Packet::new_checked(self.rest).ok()?;
        let (packet, rest) = self.rest.split_at_checked(packet.len())?;
        self.rest = rest;
        Some(Packet { buffer: packet })
    }
}

fn check(bytes: &[u8], reduced_size: bool) -> Result<(), Error> {
    let first = Packet::new_checked(bytes)?;
    let is_report = matches!(first.packet_type(), PacketType::SENDER_REPORT | PacketType::RECEIVER_REPORT);
    if !is_report && !reduced_size {
        return Err(Error::FirstNotReport { actual: first.packet_type().0 });
    }
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        let packet = Packet::new_checked(rest).map_err(|error| at(error, offset))?;
        let is_last = packet.len() == rest.len();
        let body = match (packet.has_padding(), is_last) {
            (false, _) => packet.body(),
            (true, true) => without_padding(packet.body(), offset)?,
            (true, false) => return Err(Error::PaddingNotLast { offset }),
        };
        check_body(packet.packet_type(), usize::from(packet.count()), body, offset)?;
        offset += packet.len();
    }
    Ok(())
}

fn at(error: Error, offset: usize) -> Error {
    match error {
        Error::Length { stated, available, .. } => Error::Length { offset, stated, available },
        other => other,
    }
}

fn without_padding(body: &[u8], offset: usize) -> Result<&[u8], Error> {
    let stated = body.last().copied().unwrap_or(0);
    if stated == 0 || stated % PADDING_UNIT != 0 {
        return Err(Error::Padding { offset, stated });
    }
    let length = body.len().checked_sub(usize::from(stated)).ok_or(Error::Padding { offset, stated })?;
    Ok(field::range(body, 0, length))
}

fn check_body(packet_type: PacketType, count: usize, body: &[u8], offset: usize) -> Result<(), Error> {
    let require = |needed: usize| {
        let actual = body.len();
        if actual < needed {
            Err(Error::Body { offset, packet_type: packet_type.0, needed, actual })
        } else {
            Ok(())
        }
    };
    match packet_type {
        // What follows the report blocks is a profile's own extension (RFC 3550 §6.4.3).
        PacketType::SENDER_REPORT => require(SENDER_REPORT_LEN + count * REPORT_BLOCK_LEN),
        PacketType::RECEIVER_REPORT => require(SSRC_LEN + count * REPORT_BLOCK_LEN),
        PacketType::SOURCE_DESCRIPTION => {
            check_chunks(body, count).ok_or(Error::SourceDescription { offset })
        }
        PacketType::BYE => {
            let sources = count * SSRC_LEN;
            require(sources)?;
            // An optional reason: one byte of length, then the text (RFC 3550 §6.6).
            match body.get(sources) {
                Some(&reason) => require(sources + 1 + usize::from(reason)),
                None => Ok(()),
            }
        }
        PacketType::APP => require(APP_LEN),
        PacketType::TRANSPORT_FEEDBACK | PacketType::PAYLOAD_FEEDBACK => require(FEEDBACK_LEN),
        PacketType::EXTENDED_REPORT => {
            require(SSRC_LEN)?;
            let mut at = SSRC_LEN;
            while at < body.len() {
                require(at + XR_BLOCK_LEN)?;
                // The block length counts 32-bit words after the block's header (RFC 3611 §3).
                at += XR_BLOCK_LEN + usize::from(field::u16_at(body, at + 2)) * 4;
                require(at)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Walks `count` chunks: an SSRC, items of type, length and text, then null bytes up to the next word. The
/// chunks must fill the packet, or bytes that nobody describes would be forwarded.
fn check_chunks(body: &[u8], count: usize) -> Option<()> {
    let mut at: usize = 0;
    for _ in 0..count {
        at += SSRC_LEN;
        loop {
            let item_type = *body.get(at)?;
            if item_type == 0 {
                at = (at + 1).next_multiple_of(4);
                break;
            }
            at += 2 + usize::from(*body.get(at + 1)?);
        }
    }
    (at == body.len()).then_some(())
}

const _: () = assert!(HEADER_LEN.is_multiple_of(4), "chunks are aligned to the packet and to its body alike");
