//! RTCP (RFC 3550 §6), in two layers because SRTCP encrypts everything after the first eight bytes.
//!
//! [`CleartextHeader`] is what can be read of an SRTCP packet as received. [`Compound`] checks a whole
//! decrypted (or plain) compound packet by the rules of RFC 3550 §6.1 and App. A.2 and hands out its
//! [`Packet`]s. [`Repr`] builds packets, for the load generator and for tests.

mod compound;
mod repr;

pub use compound::{Compound, Packets};
pub use repr::{EmitError, REPORT_BLOCK_LEN, ReportBlock, Repr, SenderInfo, emit_compound};

use super::field;
use super::rtp::Ssrc;

const FLAGS: usize = 0;
const PACKET_TYPE: usize = 1;
const LENGTH: usize = 2;
const SENDER_SSRC: usize = 4;

/// Length of the header that every packet has in bytes.
pub const HEADER_LEN: usize = 4;
/// Length of what SRTCP leaves in the clear in bytes: the header and the sender's SSRC (RFC 3711 §3.4).
pub const CLEARTEXT_LEN: usize = 8;

const VERSION: u8 = 2;
const PADDING: u8 = 0x20;
const COUNT_MASK: u8 = 0x1f;

/// An RTCP packet type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketType(pub u8);

impl PacketType {
    /// Sender report (RFC 3550 §6.4.1).
    pub const SENDER_REPORT: PacketType = PacketType(200);
    /// Receiver report (RFC 3550 §6.4.2).
    pub const RECEIVER_REPORT: PacketType = PacketType(201);
    /// Source description (RFC 3550 §6.5).
    pub const SOURCE_DESCRIPTION: PacketType = PacketType(202);
    /// Goodbye (RFC 3550 §6.6).
    pub const BYE: PacketType = PacketType(203);
    /// Application-defined (RFC 3550 §6.7).
    pub const APP: PacketType = PacketType(204);
    /// Transport-layer feedback (RFC 4585 §6.2).
    pub const TRANSPORT_FEEDBACK: PacketType = PacketType(205);
    /// Payload-specific feedback (RFC 4585 §6.3).
    pub const PAYLOAD_FEEDBACK: PacketType = PacketType(206);
    /// Extended report (RFC 3611).
    pub const EXTENDED_REPORT: PacketType = PacketType(207);

    /// Whether the number lies in 192 to 223, where RFC 5761 §4 has all RTCP packet types be.
    #[inline]
    pub const fn is_rtcp(self) -> bool {
        matches!(self.0, 192..=223)
    }
}

/// Why bytes are not an RTCP compound packet. Offsets count from the start of the compound packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A packet is too short for its type and count (RFC 3550 §6.4 to §6.7, RFC 4585 §6.1, RFC 3611 §2).
    #[error(
        "RTCP type {packet_type} at byte {offset} has {actual} bytes of {needed} needed: drop the packet"
    )]
    Body {
        /// Where the packet starts.
        offset: usize,
        /// Its type.
        packet_type: u8,
        /// Bytes that its type and count need after the header.
        needed: usize,
        /// Bytes after the header, without padding.
        actual: usize,
    },
    /// The first packet is no report, and reduced-size RTCP is not allowed (RFC 3550 §6.1, RFC 5506).
    #[error("RTCP type {actual} comes first where a report must: allow reduced-size RTCP or mend the sender")]
    FirstNotReport {
        /// The first packet's type.
        actual: u8,
    },
    /// A packet's length field overruns the compound packet.
    #[error(
        "the RTCP packet at byte {offset} states {stated} bytes where {available} are left: drop the packet"
    )]
    Length {
        /// Where the packet starts.
        offset: usize,
        /// Its length by its length field in bytes, header included.
        stated: usize,
        /// Bytes left from there.
        available: usize,
    },
    /// A packet type outside of 192 to 223.
    #[error("RTCP packet type {actual} is not one of 192 to 223: drop the packet")]
    PacketType {
        /// The type found.
        actual: u8,
    },
    /// The padding count is zero, no multiple of four, or more than the packet holds (RFC 3550 §6.4.1).
    #[error("RTCP padding of {stated} bytes in the packet at byte {offset} is impossible: drop the packet")]
    Padding {
        /// Where the packet starts.
        offset: usize,
        /// The padding count.
        stated: u8,
    },
    /// A packet other than the last has padding (RFC 3550 §6.4.1).
    #[error("the RTCP packet at byte {offset} has padding but is not the last: drop the packet")]
    PaddingNotLast {
        /// Where the packet starts.
        offset: usize,
    },
    /// A source description whose chunks or items overrun it or do not fill it (RFC 3550 §6.5).
    #[error(
        "the chunks of the RTCP source description at byte {offset} do not end where it does: drop the packet"
    )]
    SourceDescription {
        /// Where the packet starts.
        offset: usize,
    },
    /// Fewer bytes than a header has.
    #[error("{actual} bytes are too few for an RTCP header of {needed}: drop the packet")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        actual: usize,
    },
    /// The version is not 2.
    #[error("RTCP version {actual} where only 2 exists: drop the packet")]
    Version {
        /// The version found.
        actual: u8,
    },
}

/// The first eight bytes of an RTCP packet, which SRTCP authenticates but does not encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleartextHeader {
    /// Whether the first packet of the compound has padding.
    pub padding: bool,
    /// Its count or format field, 0 to 31.
    pub count: u8,
    /// Its type.
    pub packet_type: PacketType,
    /// Its length in bytes, header included.
    pub length: usize,
    /// SSRC of the packet's sender.
    pub sender_ssrc: Ssrc,
}

impl CleartextHeader {
    /// Reads the header: at least eight bytes, version 2, a type of 192 to 223. The length is not compared
    /// with the buffer, where SRTCP's trailer follows: [`Compound`] does that on the decrypted packet.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<CleartextHeader, Error> {
        if bytes.len() < CLEARTEXT_LEN {
            return Err(Error::Truncated { needed: CLEARTEXT_LEN, actual: bytes.len() });
        }
        let packet = Packet { buffer: bytes };
        packet.check_fixed()?;
        Ok(CleartextHeader {
            padding: packet.has_padding(),
            count: packet.count(),
            packet_type: packet.packet_type(),
            length: packet.len(),
            sender_ssrc: Ssrc(field::u32_at(bytes, SENDER_SSRC)),
        })
    }
}

/// A view of one RTCP packet of a compound packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks version, type and that the length stays within the buffer, which may be longer.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let available = buffer.as_ref().len();
        if available < HEADER_LEN {
            return Err(Error::Truncated { needed: HEADER_LEN, actual: available });
        }
        let packet = Packet { buffer };
        packet.check_fixed()?;
        if packet.len() > available {
            return Err(Error::Length { offset: 0, stated: packet.len(), available });
        }
        Ok(packet)
    }

    /// Version: 2.
    #[inline]
    pub fn version(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), FLAGS) >> 6
    }

    /// Whether the packet ends with padding.
    #[inline]
    pub fn has_padding(&self) -> bool {
        field::u8_at(self.buffer.as_ref(), FLAGS) & PADDING != 0
    }

    /// Reception report count, source count, subtype or feedback format, 0 to 31, as the type has it.
    #[inline]
    pub fn count(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), FLAGS) & COUNT_MASK
    }

    /// Packet type.
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        PacketType(field::u8_at(self.buffer.as_ref(), PACKET_TYPE))
    }

    /// Length in bytes, header and padding included; a multiple of four, at least four.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a packet always holds its header")]
    pub fn len(&self) -> usize {
        (usize::from(field::u16_at(self.buffer.as_ref(), LENGTH)) + 1) * 4
    }

    /// SSRC of the sender, or of the first source of a source description or goodbye; none in a goodbye or
    /// source description of no source.
    #[inline]
    pub fn sender_ssrc(&self) -> Option<Ssrc> {
        let bytes = field::range(self.buffer.as_ref(), HEADER_LEN, self.len());
        bytes.first_chunk().map(|word| Ssrc(u32::from_be_bytes(*word)))
    }

    /// Everything after the header, padding included.
    #[inline]
    pub fn body(&self) -> &[u8] {
        field::range(self.buffer.as_ref(), HEADER_LEN, self.len())
    }

    #[inline]
    fn check_fixed(&self) -> Result<(), Error> {
        if self.version() != VERSION {
            return Err(Error::Version { actual: self.version() });
        }
        if !self.packet_type().is_rtcp() {
            return Err(Error::PacketType { actual: self.packet_type().0 });
        }
        Ok(())
    }
}

impl<'a> Packet<&'a [u8]> {
    /// [`Packet::body`] for as long as the buffer lives.
    #[inline]
    pub fn into_body(self) -> &'a [u8] {
        field::range(self.buffer, HEADER_LEN, self.len())
    }
}

#[cfg(test)]
mod tests;
