//! IPv4 (RFC 791).
//!
//! A view checks version, header length and total length against the buffer. Options, fragments and the
//! header checksum are left to the caller, who counts them apart: [`Packet::has_options`],
//! [`Packet::is_fragment`], [`Packet::verify_checksum`].

use std::net::Ipv4Addr;

use super::{Error, Protocol, checksum, field, require, require_length};

const VERSION_IHL: usize = 0;
const DSCP_ECN: usize = 1;
const TOTAL_LENGTH: usize = 2;
const IDENTIFICATION: usize = 4;
const FLAGS_OFFSET: usize = 6;
const TTL: usize = 8;
const PROTOCOL: usize = 9;
const CHECKSUM: usize = 10;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;

/// Length of a header without options in bytes.
pub const HEADER_LEN: usize = 20;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A view of an IPv4 packet. The buffer may be longer than the packet: Ethernet pads short frames.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks that the version is 4 and that 20 <= header length <= total length <= buffer (RFC 791 §3.1).
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        require(bytes, HEADER_LEN)?;
        let available = bytes.len();
        let packet = Packet { buffer };
        if packet.version() != 4 {
            return Err(Error::Version { expected: 4, actual: packet.version() });
        }
        let (header, total) = (packet.header_len(), packet.total_len());
        require_length(header, HEADER_LEN, available)?;
        require_length(total, header, available)?;
        Ok(packet)
    }

    /// Version: 4.
    #[inline]
    pub fn version(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), VERSION_IHL) >> 4
    }

    /// Length of the header with its options in bytes, 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(field::u8_at(self.buffer.as_ref(), VERSION_IHL) & 0x0f) * 4
    }

    /// Differentiated services code point (RFC 2474), 0 to 63.
    #[inline]
    pub fn dscp(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), DSCP_ECN) >> 2
    }

    /// Explicit congestion notification (RFC 3168), 0 to 3.
    #[inline]
    pub fn ecn(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), DSCP_ECN) & 0x03
    }

    /// Length of header and payload in bytes.
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(field::u16_at(self.buffer.as_ref(), TOTAL_LENGTH))
    }

    /// Identification, for reassembly only (RFC 6864).
    #[inline]
    pub fn identification(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), IDENTIFICATION)
    }

    /// The don't-fragment flag.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        field::u16_at(self.buffer.as_ref(), FLAGS_OFFSET) & DONT_FRAGMENT != 0
    }

    /// The more-fragments flag.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        field::u16_at(self.buffer.as_ref(), FLAGS_OFFSET) & MORE_FRAGMENTS != 0
    }

    /// Offset of this fragment in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(field::u16_at(self.buffer.as_ref(), FLAGS_OFFSET) & OFFSET_MASK) * 8
    }

    /// Whether this is a fragment, the first one included: more fragments follow, or the offset is not zero.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        field::u16_at(self.buffer.as_ref(), FLAGS_OFFSET) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Time to live in hops.
    #[inline]
    pub fn ttl(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), TTL)
    }

    /// Protocol of the payload.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        Protocol(field::u8_at(self.buffer.as_ref(), PROTOCOL))
    }

    /// Header checksum as received.
    #[inline]
    pub fn checksum(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), CHECKSUM)
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(field::array::<4>(self.buffer.as_ref(), SOURCE))
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(field::array::<4>(self.buffer.as_ref(), DESTINATION))
    }

    /// Whether the header carries options.
    #[inline]
    pub fn has_options(&self) -> bool {
        self.header_len() > HEADER_LEN
    }

    /// The options, empty in nearly every packet.
    #[inline]
    pub fn options(&self) -> &[u8] {
        field::range(self.buffer.as_ref(), HEADER_LEN, self.header_len())
    }

    /// The payload, bounded by the total length: Ethernet padding is not part of it.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        field::range(self.buffer.as_ref(), self.header_len(), self.total_len())
    }

    /// Whether the header checksum verifies.
    #[inline]
    pub fn verify_checksum(&self) -> bool {
        checksum::verifies(checksum::partial(field::range(self.buffer.as_ref(), 0, self.header_len())))
    }
}

impl<'a> Packet<&'a [u8]> {
    /// [`Packet::payload`] for as long as the buffer lives.
    #[inline]
    pub fn into_payload(self) -> &'a [u8] {
        field::range(self.buffer, self.header_len(), self.total_len())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the differentiated services code point, 0 to 63.
    #[inline]
    pub fn set_dscp(&mut self, value: u8) {
        field::put_bits(self.buffer.as_mut(), DSCP_ECN, 0xfc, value << 2);
    }

    /// Sets the congestion notification bits, 0 to 3.
    #[inline]
    pub fn set_ecn(&mut self, value: u8) {
        field::put_bits(self.buffer.as_mut(), DSCP_ECN, 0x03, value);
    }

    /// Sets the length of header and payload in bytes.
    #[inline]
    pub fn set_total_len(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), TOTAL_LENGTH, value.to_be_bytes());
    }

    /// Sets the identification.
    #[inline]
    pub fn set_identification(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), IDENTIFICATION, value.to_be_bytes());
    }

    /// Sets the time to live in hops.
    #[inline]
    pub fn set_ttl(&mut self, value: u8) {
        field::put(self.buffer.as_mut(), TTL, [value]);
    }

    /// Sets the protocol of the payload.
    #[inline]
    pub fn set_protocol(&mut self, value: Protocol) {
        field::put(self.buffer.as_mut(), PROTOCOL, [value.0]);
    }

    /// Sets the header checksum to a value computed elsewhere, or to zero for a port that computes it.
    #[inline]
    pub fn set_checksum(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), CHECKSUM, value.to_be_bytes());
    }

    /// Sets the source address.
    #[inline]
    pub fn set_source(&mut self, value: Ipv4Addr) {
        field::put(self.buffer.as_mut(), SOURCE, value.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_destination(&mut self, value: Ipv4Addr) {
        field::put(self.buffer.as_mut(), DESTINATION, value.octets());
    }

    /// Computes and sets the header checksum.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let end = self.header_len();
        let value = checksum::checksum(field::range(self.buffer.as_ref(), 0, end));
        self.set_checksum(value);
    }

    /// The payload, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.header_len(), self.total_len());
        field::range_mut(self.buffer.as_mut(), start, end)
    }
}

/// A whole IPv4 packet's header, without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: Protocol,
    /// Time to live in hops.
    pub ttl: u8,
    /// Differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// Length of the payload in bytes, at most 65,515.
    pub payload_len: usize,
}

impl Repr {
    /// Reads the header: the checksum must verify and the packet be no fragment. Options are not kept, as a
    /// host that knows none of them must ignore them (RFC 1122 §3.2.1.8).
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr, Error> {
        if !packet.verify_checksum() {
            return Err(Error::Checksum { found: packet.checksum() });
        }
        if packet.is_fragment() {
            return Err(Error::Fragment { offset: packet.fragment_offset() });
        }
        Ok(Repr {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
            ttl: packet.ttl(),
            dscp: packet.dscp(),
            payload_len: packet.payload().len(),
        })
    }

    /// Bytes of header and payload.
    #[inline]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }

    /// Writes the header with its checksum to the start of `buffer`, which must hold the payload, too; the
    /// payload stays as it is. The packet is marked "don't fragment" and so needs no identification
    /// (RFC 6864 §4.1).
    #[inline]
    pub fn emit<'a>(&self, buffer: &'a mut [u8]) -> Result<Packet<&'a mut [u8]>, Error> {
        require(buffer, self.buffer_len())?;
        let most = usize::from(u16::MAX);
        let total = u16::try_from(self.buffer_len()).map_err(|_| Error::LengthField {
            stated: self.buffer_len(),
            least: HEADER_LEN,
            most,
        })?;
        let mut packet = Packet { buffer };
        field::put(packet.buffer, VERSION_IHL, [0x45, self.dscp << 2]);
        packet.set_total_len(total);
        packet.set_identification(0);
        field::put(packet.buffer, FLAGS_OFFSET, DONT_FRAGMENT.to_be_bytes());
        packet.set_ttl(self.ttl);
        packet.set_protocol(self.protocol);
        packet.set_source(self.source);
        packet.set_destination(self.destination);
        packet.fill_checksum();
        Ok(packet)
    }
}

#[cfg(test)]
mod tests;
