//! ICMPv6 (RFC 4443): the echo messages, and type, code and body of any other. Neighbour discovery is read
//! out of the same view by [`ndp`](super::ndp).

use std::net::Ipv6Addr;

use super::checksum::PseudoHeader;
use super::{Error, Protocol, field, require};

const TYPE: usize = 0;
const CODE: usize = 1;
const CHECKSUM: usize = 2;
const IDENTIFIER: usize = 4;
const SEQUENCE_NUMBER: usize = 6;

/// Length of the header that every message has in bytes.
pub const HEADER_LEN: usize = 4;
/// Length of an echo message without its data in bytes.
pub const ECHO_LEN: usize = 8;

const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// The pseudo-header of ICMPv6 between two addresses (RFC 4443 §2.3).
#[inline]
pub fn pseudo_header(source: Ipv6Addr, destination: Ipv6Addr) -> PseudoHeader {
    PseudoHeader::v6(source, destination, Protocol::ICMPV6)
}

/// A view of an ICMPv6 message: an IPv6 payload.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes an IPv6 payload of at least [`HEADER_LEN`] bytes.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        require(buffer.as_ref(), HEADER_LEN)?;
        Ok(Packet { buffer })
    }

    /// Message type.
    #[inline]
    pub fn message_type(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), TYPE)
    }

    /// Message code.
    #[inline]
    pub fn code(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), CODE)
    }

    /// Checksum as received.
    #[inline]
    pub fn checksum(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), CHECKSUM)
    }

    /// Everything after type, code and checksum.
    #[inline]
    pub fn body(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        field::range(bytes, HEADER_LEN, bytes.len())
    }

    /// Whether the checksum verifies. There is no ICMPv6 without one.
    #[inline]
    pub fn verify_checksum(&self, pseudo: PseudoHeader) -> bool {
        pseudo.verifies(self.buffer.as_ref())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets type and code.
    #[inline]
    pub fn set_type(&mut self, message_type: u8, code: u8) {
        field::put(self.buffer.as_mut(), TYPE, [message_type, code]);
    }

    /// Everything after type, code and checksum, to change in place.
    #[inline]
    pub fn body_mut(&mut self) -> &mut [u8] {
        let bytes = self.buffer.as_mut();
        let end = bytes.len();
        field::range_mut(bytes, HEADER_LEN, end)
    }

    /// Computes and sets the checksum over the whole buffer.
    #[inline]
    pub fn fill_checksum(&mut self, pseudo: PseudoHeader) {
        field::put(self.buffer.as_mut(), CHECKSUM, [0, 0]);
        let value = pseudo.checksum(self.buffer.as_ref());
        field::put(self.buffer.as_mut(), CHECKSUM, value.to_be_bytes());
    }
}

/// An echo message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr<'a> {
    /// "Answer me."
    EchoRequest {
        /// Chosen by the asker.
        identifier: u16,
        /// Chosen by the asker.
        sequence_number: u16,
        /// Comes back unchanged.
        data: &'a [u8],
    },
    /// The answer.
    EchoReply {
        /// As asked.
        identifier: u16,
        /// As asked.
        sequence_number: u16,
        /// As asked.
        data: &'a [u8],
    },
}

impl<'a> Repr<'a> {
    /// Reads an echo message: the checksum must verify, and the code be zero.
    pub fn parse(packet: &Packet<&'a [u8]>, pseudo: PseudoHeader) -> Result<Repr<'a>, Error> {
        if !packet.verify_checksum(pseudo) {
            return Err(Error::Checksum { found: packet.checksum() });
        }
        let (message_type, code) = (packet.message_type(), packet.code());
        if !matches!((message_type, code), (ECHO_REQUEST | ECHO_REPLY, 0)) {
            return Err(Error::Unsupported {
                field: "ICMPv6 type and code",
                value: u16::from_be_bytes([message_type, code]).into(),
            });
        }
        let bytes = packet.buffer;
        require(bytes, ECHO_LEN)?;
        let identifier = field::u16_at(bytes, IDENTIFIER);
        let sequence_number = field::u16_at(bytes, SEQUENCE_NUMBER);
        let data = field::range(bytes, ECHO_LEN, bytes.len());
        Ok(if message_type == ECHO_REQUEST {
            Repr::EchoRequest { identifier, sequence_number, data }
        } else {
            Repr::EchoReply { identifier, sequence_number, data }
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        let (Repr::EchoRequest { data, .. } | Repr::EchoReply { data, .. }) = self;
        ECHO_LEN + data.len()
    }

    /// Writes the message with its checksum to the start of `buffer`.
    pub fn emit<'b>(
        &self,
        buffer: &'b mut [u8],
        pseudo: PseudoHeader,
    ) -> Result<Packet<&'b mut [u8]>, Error> {
        let (needed, actual) = (self.buffer_len(), buffer.len());
        let buffer = buffer.get_mut(..needed).ok_or(Error::Truncated { needed, actual })?;
        let (message_type, identifier, sequence_number, data) = match *self {
            Repr::EchoRequest { identifier, sequence_number, data } => {
                (ECHO_REQUEST, identifier, sequence_number, data)
            }
            Repr::EchoReply { identifier, sequence_number, data } => {
                (ECHO_REPLY, identifier, sequence_number, data)
            }
        };
        let mut packet = Packet { buffer };
        packet.set_type(message_type, 0);
        field::put(packet.buffer, IDENTIFIER, identifier.to_be_bytes());
        field::put(packet.buffer, SEQUENCE_NUMBER, sequence_number.to_be_bytes());
        field::put_slice(packet.buffer, ECHO_LEN, data);
        packet.fill_checksum(pseudo);
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::sweep;

    const PACKET: [u8; 12] = [0x80, 0x00, 0x19, 0xb3, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff];
    const REPR: Repr =
        Repr::EchoRequest { identifier: 0x1234, sequence_number: 0xabcd, data: &[0xaa, 0x00, 0x00, 0xff] };

    fn pseudo() -> PseudoHeader {
        pseudo_header("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap())
    }

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(Repr::parse(&packet, pseudo()), Ok(REPR));
        assert_eq!(packet.body(), &PACKET[4..]);
    }

    #[test]
    fn construct() {
        let mut bytes = vec![0xa5; PACKET.len()];
        REPR.emit(&mut bytes, pseudo()).unwrap();
        assert_eq!(bytes, PACKET);
        assert!(REPR.emit(&mut [0; 11], pseudo()).is_err());
        let reply = Repr::EchoReply { identifier: 1, sequence_number: 2, data: &[3] };
        let mut bytes = vec![0xa5; reply.buffer_len()];
        reply.emit(&mut bytes, pseudo()).unwrap();
        assert_eq!(Repr::parse(&Packet::new_checked(&bytes[..]).unwrap(), pseudo()), Ok(reply));
    }

    #[test]
    fn every_bit_and_the_addresses_are_under_the_checksum() {
        for bit in 0..PACKET.len() * 8 {
            let mut bytes = PACKET;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let packet = Packet::new_checked(&bytes[..]).unwrap();
            let error = Error::Checksum { found: packet.checksum() };
            assert_eq!(Repr::parse(&packet, pseudo()), Err(error), "bit {bit}");
        }
        let other = pseudo_header("fe80::1".parse().unwrap(), "fe80::3".parse().unwrap());
        assert!(!Packet::new_checked(PACKET).unwrap().verify_checksum(other));
    }

    #[test]
    fn an_echo_without_its_eight_bytes_is_refused() {
        let mut bytes = [128, 0, 0, 0, 0, 0];
        Packet::new_checked(&mut bytes[..]).unwrap().fill_checksum(pseudo());
        let error = Repr::parse(&Packet::new_checked(&bytes[..]).unwrap(), pseudo()).unwrap_err();
        assert_eq!(error, Error::Truncated { needed: 8, actual: 6 });
    }

    #[test]
    fn other_messages_show_type_and_code_only() {
        let mut bytes = PACKET;
        let mut packet = Packet::new_checked(&mut bytes[..]).unwrap();
        packet.set_type(1, 4);
        packet.body_mut().fill(0);
        packet.fill_checksum(pseudo());
        let packet = Packet::new_checked(&bytes[..]).unwrap();
        let error = Error::Unsupported { field: "ICMPv6 type and code", value: 0x0104 };
        assert_eq!(Repr::parse(&packet, pseudo()), Err(error));
    }

    #[test]
    fn every_input_is_refused_or_safe() {
        sweep(&PACKET, |bytes| {
            if let Ok(packet) = Packet::new_checked(bytes) {
                assert_eq!(packet.body().len() + HEADER_LEN, bytes.len());
                let _ = Repr::parse(&packet, pseudo());
            }
        });
    }
}
