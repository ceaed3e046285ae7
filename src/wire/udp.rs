//! UDP (RFC 768) over IPv4 and IPv6.

use super::checksum::{self, PseudoHeader};
use super::{Error, field, require, require_length};

const SOURCE_PORT: usize = 0;
const DESTINATION_PORT: usize = 2;
const LENGTH: usize = 4;
const CHECKSUM: usize = 6;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 8;

/// What the checksum field says about a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumState {
    /// The field is zero, so the sender computed none: legal over IPv4 (RFC 768), not over IPv6
    /// (RFC 8200 §8.1).
    Absent,
    /// The checksum does not verify.
    Invalid,
    /// The checksum verifies.
    Valid,
}

/// A view of a UDP datagram.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes exactly an IP payload. The length field must equal its length: a datagram shorter than the IP
    /// payload would hide bytes that no checksum covers and that another parser may take for payload.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        require(bytes, HEADER_LEN)?;
        let available = bytes.len();
        let packet = Packet { buffer };
        require_length(packet.len(), available, available)?;
        Ok(packet)
    }

    /// Source port; zero if the sender expects no answer.
    #[inline]
    pub fn source_port(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), SOURCE_PORT)
    }

    /// Destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), DESTINATION_PORT)
    }

    /// Length of header and payload in bytes, at least [`HEADER_LEN`].
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a datagram always holds its header")]
    pub fn len(&self) -> usize {
        usize::from(field::u16_at(self.buffer.as_ref(), LENGTH))
    }

    /// Checksum as received.
    #[inline]
    pub fn checksum(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), CHECKSUM)
    }

    /// The payload; may be empty.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        field::range(self.buffer.as_ref(), HEADER_LEN, self.len())
    }

    /// Verifies the checksum with the pseudo-header of the IP packet.
    #[inline]
    pub fn verify_checksum(&self, pseudo: PseudoHeader) -> ChecksumState {
        if self.checksum() == 0 {
            ChecksumState::Absent
        } else if pseudo.verifies(field::range(self.buffer.as_ref(), 0, self.len())) {
            ChecksumState::Valid
        } else {
            ChecksumState::Invalid
        }
    }
}

impl<'a> Packet<&'a [u8]> {
    /// [`Packet::payload`] for as long as the buffer lives.
    #[inline]
    pub fn into_payload(self) -> &'a [u8] {
        field::range(self.buffer, HEADER_LEN, self.len())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port.
    #[inline]
    pub fn set_source_port(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), SOURCE_PORT, value.to_be_bytes());
    }

    /// Sets the destination port.
    #[inline]
    pub fn set_destination_port(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), DESTINATION_PORT, value.to_be_bytes());
    }

    /// Sets the length of header and payload in bytes.
    #[inline]
    pub fn set_len(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), LENGTH, value.to_be_bytes());
    }

    /// Sets the checksum to a value computed elsewhere; zero for none (IPv4 only).
    #[inline]
    pub fn set_checksum(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), CHECKSUM, value.to_be_bytes());
    }

    /// Computes and sets the checksum. A computed zero is sent as all ones, its equal (RFC 768).
    #[inline]
    pub fn fill_checksum(&mut self, pseudo: PseudoHeader) {
        self.set_checksum(0);
        let end = self.len();
        let value = pseudo.checksum(field::range(self.buffer.as_ref(), 0, end));
        self.set_checksum(never_zero(value));
    }

    /// The payload, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = self.len();
        field::range_mut(self.buffer.as_mut(), HEADER_LEN, end)
    }
}

/// A computed checksum as it is sent: zero, which would mean "none", becomes all ones (RFC 768).
#[inline]
pub const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The checksum after `old` was replaced by `new` at an even offset of datagram or pseudo-header; a datagram
/// without checksum stays without. See [`checksum::update_slice`].
#[inline]
pub fn update_checksum(current: u16, old: &[u8], new: &[u8]) -> u16 {
    if current == 0 { 0 } else { never_zero(checksum::update_slice(current, old, new)) }
}

/// A UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Length of the payload in bytes, at most 65,527.
    pub payload_len: usize,
}

impl Repr {
    /// Reads the header. A checksum, if there is one, must verify; whether it may be absent depends on the IP
    /// version and is the caller's to know ([`Packet::verify_checksum`]).
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>, pseudo: PseudoHeader) -> Result<Repr, Error> {
        if packet.verify_checksum(pseudo) == ChecksumState::Invalid {
            return Err(Error::Checksum { found: packet.checksum() });
        }
        Ok(Repr {
            source_port: packet.source_port(),
            destination_port: packet.destination_port(),
            payload_len: packet.payload().len(),
        })
    }

    /// Bytes of header and payload.
    #[inline]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }

    /// Writes the header without checksum to the start of `buffer`, which must hold the payload, too; the
    /// payload stays as it is. Then write the payload and call [`Packet::fill_checksum`].
    #[inline]
    pub fn emit<'a>(&self, buffer: &'a mut [u8]) -> Result<Packet<&'a mut [u8]>, Error> {
        require(buffer, self.buffer_len())?;
        let most = usize::from(u16::MAX);
        let length = u16::try_from(self.buffer_len()).map_err(|_| Error::LengthField {
            stated: self.buffer_len(),
            least: HEADER_LEN,
            most,
        })?;
        let mut packet = Packet { buffer };
        packet.set_source_port(self.source_port);
        packet.set_destination_port(self.destination_port);
        packet.set_len(length);
        packet.set_checksum(0);
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::wire::Protocol;
    use crate::wire::testing::{Random, sweep};

    const PACKET: [u8; 12] = [0xbf, 0x00, 0x00, 0x35, 0x00, 0x0c, 0x12, 0x4d, 0xaa, 0x00, 0x00, 0xff];
    const REPR: Repr = Repr { source_port: 48_896, destination_port: 53, payload_len: 4 };

    fn pseudo() -> PseudoHeader {
        PseudoHeader::v4(Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(192, 168, 1, 2), Protocol::UDP)
    }

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(packet.checksum(), 0x124d);
        assert_eq!(packet.verify_checksum(pseudo()), ChecksumState::Valid);
        assert_eq!(Repr::parse(&packet, pseudo()), Ok(REPR));
        assert_eq!(packet.payload(), [0xaa, 0x00, 0x00, 0xff]);
        assert_eq!(packet.into_payload(), [0xaa, 0x00, 0x00, 0xff]);
    }

    #[test]
    fn construct() {
        let mut bytes = vec![0xa5; PACKET.len()];
        let mut packet = REPR.emit(&mut bytes).unwrap();
        packet.payload_mut().copy_from_slice(&[0xaa, 0x00, 0x00, 0xff]);
        packet.fill_checksum(pseudo());
        assert_eq!(bytes, PACKET);
        assert!(REPR.emit(&mut [0; 11]).is_err());
    }

    #[test]
    fn the_length_field_must_equal_the_ip_payload() {
        for (stated, accepted) in [(0u8, false), (7, false), (8, false), (11, false), (12, true), (13, false)]
        {
            let mut bytes = PACKET;
            bytes[5] = stated;
            assert_eq!(Packet::new_checked(bytes).is_ok(), accepted, "{stated}");
        }
        let error = Packet::new_checked(&PACKET[..11]).map(|_| ()).unwrap_err();
        assert_eq!(error, Error::LengthField { stated: 12, least: 11, most: 11 });
        for length in 0..PACKET.len() {
            assert!(Packet::new_checked(&PACKET[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn every_bit_is_under_the_checksum() {
        for bit in (0..PACKET.len() * 8).filter(|bit| bit / 16 != 2) {
            let mut bytes = PACKET;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let packet = Packet::new_checked(bytes).unwrap();
            assert_eq!(packet.verify_checksum(pseudo()), ChecksumState::Invalid, "bit {bit}");
            assert_eq!(Repr::parse(&packet, pseudo()), Err(Error::Checksum { found: packet.checksum() }));
        }
    }

    #[test]
    fn a_checksum_of_zero_is_absent_and_a_computed_zero_is_sent_as_ones() {
        let mut packet = Packet::new_checked(PACKET).unwrap();
        packet.set_checksum(0);
        assert_eq!(packet.verify_checksum(pseudo()), ChecksumState::Absent);
        assert_eq!(Repr::parse(&packet, pseudo()), Ok(REPR));

        // Adding the checksum itself to the payload makes the sum all ones, and its complement zero.
        packet.payload_mut()[1..3].copy_from_slice(&[0, 0]);
        packet.payload_mut()[2..4].copy_from_slice(&[0, 0]);
        packet.fill_checksum(pseudo());
        let rest = packet.checksum().to_be_bytes();
        packet.payload_mut()[2..4].copy_from_slice(&rest);
        packet.fill_checksum(pseudo());
        assert_eq!(packet.checksum(), 0xffff);
        assert_eq!(packet.verify_checksum(pseudo()), ChecksumState::Valid);
    }

    #[test]
    fn an_updated_checksum_verifies() {
        let mut random = Random::new(5);
        for _ in 0..2_000 {
            let mut packet = Packet::new_checked(PACKET).unwrap();
            let (old, new) = (packet.payload().to_vec(), random.bytes(4));
            packet.payload_mut().copy_from_slice(&new);
            packet.set_checksum(update_checksum(packet.checksum(), &old, &new));
            assert_eq!(packet.verify_checksum(pseudo()), ChecksumState::Valid);
        }
        assert_eq!(update_checksum(0, &[1, 2], &[3, 4]), 0);
    }

    #[test]
    fn every_input_is_refused_or_safe() {
        sweep(&PACKET, |bytes| {
            if let Ok(packet) = Packet::new_checked(bytes) {
                assert_eq!(packet.payload().len() + HEADER_LEN, bytes.len());
                let _ = Repr::parse(&packet, pseudo());
                let mut own = bytes.to_vec();
                let mut packet = Packet::new_checked(&mut own[..]).unwrap();
                packet.fill_checksum(pseudo());
                assert_eq!(packet.verify_checksum(pseudo()), ChecksumState::Valid);
                packet.set_len(0xffff);
                assert!(packet.payload().is_empty() && packet.payload_mut().is_empty());
            }
        });
    }
}
