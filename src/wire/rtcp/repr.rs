//! RTCP packets as values, to build them from: for the load generator and for tests.

use super::{
    COUNT_MASK, FLAGS, HEADER_LEN, LENGTH, PACKET_TYPE, Packet, PacketType, SENDER_SSRC, VERSION, field,
};
use crate::wire::rtp::{RtpTime, Ssrc};

/// Length of a report block in bytes.
pub const REPORT_BLOCK_LEN: usize = 24;

const NTP: usize = 8;
const RTP_TIME: usize = 16;
const PACKETS: usize = 20;
const OCTETS: usize = 24;
const SENDER_BLOCKS: usize = 28;
const RECEIVER_BLOCKS: usize = 8;
const ITEMS: usize = 8;
const ITEM_HEADER_LEN: usize = 2;
const CNAME: u8 = 1;
const MAX_REPORTS: usize = 31;
const MAX_TEXT: usize = 255;

/// Why a packet cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// A CNAME longer than its length field can state.
    #[error("a CNAME of {0} bytes is too long: use at most 255")]
    Cname(usize),
    /// More report blocks than the count can state.
    #[error("{0} report blocks are too many for one packet: use at most 31")]
    Reports(usize),
    /// The buffer is too short.
    #[error("a buffer of {actual} bytes is too short: give at least {needed}")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        actual: usize,
    },
}

/// The sender information of a sender report (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall-clock time as a 64-bit NTP timestamp: seconds since 1900 and their fraction.
    pub ntp: u64,
    /// The same instant on the RTP clock.
    pub rtp: RtpTime,
    /// RTP packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// A reception report block (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that the block is about.
    pub ssrc: Ssrc,
    /// Lost since the last report, as a fraction of 256.
    pub fraction_lost: u8,
    /// Lost in total, -2^23 to 2^23 - 1; duplicates can make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the count of wraps in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of the last sender report.
    pub last_sender_report: u32,
    /// Since then, in units of 1/65,536 s.
    pub delay: u32,
}

impl ReportBlock {
    /// Reads a block; every block is valid.
    pub fn from_bytes(bytes: &[u8; REPORT_BLOCK_LEN]) -> ReportBlock {
        let lost = field::u32_at(bytes, 4);
        ReportBlock {
            ssrc: Ssrc(field::u32_at(bytes, 0)),
            fraction_lost: (lost >> 24) as u8,
            // Shifting out the fraction and back extends the sign of the 24-bit count.
            cumulative_lost: ((lost << 8) as i32) >> 8,
            highest_sequence: field::u32_at(bytes, 8),
            jitter: field::u32_at(bytes, 12),
            last_sender_report: field::u32_at(bytes, 16),
            delay: field::u32_at(bytes, 20),
        }
    }

    /// The block as it is on the wire; a loss beyond 24 bits is clamped (RFC 3550 App. A.3).
    pub fn to_bytes(self) -> [u8; REPORT_BLOCK_LEN] {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0x00ff_ffff;
        let mut bytes = [0; REPORT_BLOCK_LEN];
        field::put(&mut bytes, 0, self.ssrc.0.to_be_bytes());
        field::put(&mut bytes, 4, (u32::from(self.fraction_lost) << 24 | lost).to_be_bytes());
        field::put(&mut bytes, 8, self.highest_sequence.to_be_bytes());
        field::put(&mut bytes, 12, self.jitter.to_be_bytes());
        field::put(&mut bytes, 16, self.last_sender_report.to_be_bytes());
        field::put(&mut bytes, 20, self.delay.to_be_bytes());
        bytes
    }
}

/// One RTCP packet, without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr<'a> {
    /// Sender report.
    SenderReport {
        /// The sender.
        ssrc: Ssrc,
        /// What it sent.
        info: SenderInfo,
        /// What it received: [`ReportBlock::to_bytes`], at most 31.
        reports: &'a [[u8; REPORT_BLOCK_LEN]],
    },
    /// Receiver report.
    ReceiverReport {
        /// The sender of the report.
        ssrc: Ssrc,
        /// What it received: [`ReportBlock::to_bytes`], at most 31.
        reports: &'a [[u8; REPORT_BLOCK_LEN]],
    },
    /// Source description of one source by its canonical name, which every compound packet must hold.
    SourceDescription {
        /// The source.
        ssrc: Ssrc,
        /// Its CNAME in UTF-8, at most 255 bytes.
        cname: &'a [u8],
    },
    /// Goodbye of one source.
    Bye {
        /// The source that leaves.
        ssrc: Ssrc,
    },
}

impl<'a> Repr<'a> {
    /// Reads a packet of a [checked compound](super::Compound). None if it is of another kind, or holds
    /// something that this value cannot describe (several sources, items other than CNAME first).
    pub fn parse(packet: &Packet<&'a [u8]>) -> Option<Repr<'a>> {
        let bytes = packet.buffer;
        let ssrc = packet.sender_ssrc()?;
        let blocks = |start| {
            let end = start + usize::from(packet.count()) * REPORT_BLOCK_LEN;
            field::range(bytes, start, end.min(packet.len())).as_chunks().0
        };
        match packet.packet_type() {
            PacketType::SENDER_REPORT => Some(Repr::SenderReport {
                ssrc,
                info: SenderInfo {
                    ntp: u64::from_be_bytes(field::array(bytes, NTP)),
                    rtp: RtpTime(field::u32_at(bytes, RTP_TIME)),
                    packets: field::u32_at(bytes, PACKETS),
                    octets: field::u32_at(bytes, OCTETS),
                },
                reports: blocks(SENDER_BLOCKS),
            }),
            PacketType::RECEIVER_REPORT => {
                Some(Repr::ReceiverReport { ssrc, reports: blocks(RECEIVER_BLOCKS) })
            }
            PacketType::SOURCE_DESCRIPTION if packet.count() == 1 && field::u8_at(bytes, ITEMS) == CNAME => {
                let start = ITEMS + ITEM_HEADER_LEN;
                let length = usize::from(field::u8_at(bytes, ITEMS + 1));
                Some(Repr::SourceDescription { ssrc, cname: field::range(bytes, start, start + length) })
            }
            PacketType::BYE if packet.count() == 1 => Some(Repr::Bye { ssrc }),
            _ => None,
        }
    }

    /// Bytes that [`Repr::emit`] writes, a multiple of four.
    pub fn buffer_len(&self) -> usize {
        match self {
            Repr::SenderReport { reports, .. } => SENDER_BLOCKS + reports.len() * REPORT_BLOCK_LEN,
            Repr::ReceiverReport { reports, .. } => RECEIVER_BLOCKS + reports.len() * REPORT_BLOCK_LEN,
            // At least one null byte ends the items (RFC 3550 §6.5).
            Repr::SourceDescription { cname, .. } => {
                (ITEMS + ITEM_HEADER_LEN + cname.len() + 1).next_multiple_of(4)
            }
            Repr::Bye { .. } => HEADER_LEN + 4,
        }
    }

    /// Writes the packet to the start of `buffer` and returns its length in bytes.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, EmitError> {
        let (needed, actual) = (self.buffer_len(), buffer.len());
        let Some(bytes) = buffer.get_mut(..needed) else {
            return Err(EmitError::Truncated { needed, actual });
        };
        bytes.fill(0);
        let (packet_type, count, ssrc) = match *self {
            Repr::SenderReport { ssrc, info, reports } => {
                field::put(bytes, NTP, info.ntp.to_be_bytes());
                field::put(bytes, RTP_TIME, info.rtp.0.to_be_bytes());
                field::put(bytes, PACKETS, info.packets.to_be_bytes());
                field::put(bytes, OCTETS, info.octets.to_be_bytes());
                field::put_slice(bytes, SENDER_BLOCKS, reports.as_flattened());
                (PacketType::SENDER_REPORT, report_count(reports)?, ssrc)
            }
            Repr::ReceiverReport { ssrc, reports } => {
                field::put_slice(bytes, RECEIVER_BLOCKS, reports.as_flattened());
                (PacketType::RECEIVER_REPORT, report_count(reports)?, ssrc)
            }
            Repr::SourceDescription { ssrc, cname } => {
                let length = u8::try_from(cname.len()).map_err(|_| EmitError::Cname(cname.len()))?;
                field::put(bytes, ITEMS, [CNAME, length]);
                field::put_slice(bytes, ITEMS + ITEM_HEADER_LEN, cname);
                (PacketType::SOURCE_DESCRIPTION, 1, ssrc)
            }
            Repr::Bye { ssrc } => (PacketType::BYE, 1, ssrc),
        };
        field::put(bytes, FLAGS, [VERSION << 6 | (count & COUNT_MASK)]);
        field::put(bytes, PACKET_TYPE, [packet_type.0]);
        // At most 31 blocks or 255 bytes of text: the length in words fits 16 bits.
        field::put(bytes, LENGTH, ((needed / 4 - 1) as u16).to_be_bytes());
        field::put(bytes, SENDER_SSRC, ssrc.0.to_be_bytes());
        Ok(needed)
    }
}

/// Writes `packets` one after the other to the start of `buffer` and returns their length in bytes.
pub fn emit_compound(packets: &[Repr<'_>], buffer: &mut [u8]) -> Result<usize, EmitError> {
    let (needed, actual) = (packets.iter().map(Repr::buffer_len).sum(), buffer.len());
    let mut at = 0;
    for packet in packets {
        let rest = buffer.get_mut(at..).ok_or(EmitError::Truncated { needed, actual })?;
        at += packet.emit(rest).map_err(|error| match error {
            EmitError::Truncated { .. } => EmitError::Truncated { needed, actual },
            other => other,
        })?;
    }
    Ok(at)
}

fn report_count(reports: &[[u8; REPORT_BLOCK_LEN]]) -> Result<u8, EmitError> {
    if reports.len() > MAX_REPORTS { Err(EmitError::Reports(reports.len())) } else { Ok(reports.len() as u8) }
}

const _: () = assert!(
    SENDER_BLOCKS + MAX_REPORTS * REPORT_BLOCK_LEN < u16::MAX as usize && MAX_TEXT == u8::MAX as usize
);
