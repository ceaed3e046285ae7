//! ICMP for IPv4 (RFC 792): the echo messages, and type and code of any other.

use super::{Error, checksum, field, require};

const TYPE: usize = 0;
const CODE: usize = 1;
const CHECKSUM: usize = 2;
const IDENTIFIER: usize = 4;
const SEQUENCE_NUMBER: usize = 6;

/// Length of the header in bytes, the four bytes whose meaning the type decides included.
pub const HEADER_LEN: usize = 8;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// A view of an ICMP message: an IPv4 payload.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Takes an IPv4 payload of at least [`HEADER_LEN`] bytes.
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

    /// Identifier of an echo message.
    #[inline]
    pub fn identifier(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), IDENTIFIER)
    }

    /// Sequence number of an echo message.
    #[inline]
    pub fn sequence_number(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), SEQUENCE_NUMBER)
    }

    /// Everything after the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        field::range(bytes, HEADER_LEN, bytes.len())
    }

    /// Whether the checksum verifies.
    #[inline]
    pub fn verify_checksum(&self) -> bool {
        checksum::verifies(checksum::partial(self.buffer.as_ref()))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets type and code.
    #[inline]
    pub fn set_type(&mut self, message_type: u8, code: u8) {
        field::put(self.buffer.as_mut(), TYPE, [message_type, code]);
    }

    /// Sets the identifier of an echo message.
    #[inline]
    pub fn set_identifier(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), IDENTIFIER, value.to_be_bytes());
    }

    /// Sets the sequence number of an echo message.
    #[inline]
    pub fn set_sequence_number(&mut self, value: u16) {
        field::put(self.buffer.as_mut(), SEQUENCE_NUMBER, value.to_be_bytes());
    }

    /// Computes and sets the checksum over the whole buffer.
    #[inline]
    pub fn fill_checksum(&mut self) {
        field::put(self.buffer.as_mut(), CHECKSUM, [0, 0]);
        let value = checksum::checksum(self.buffer.as_ref());
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
    pub fn parse(packet: &Packet<&'a [u8]>) -> Result<Repr<'a>, Error> {
        if !packet.verify_checksum() {
            return Err(Error::Checksum { found: packet.checksum() });
        }
        let (identifier, sequence_number) = (packet.identifier(), packet.sequence_number());
        let data = field::range(packet.buffer, HEADER_LEN, packet.buffer.len());
        match (packet.message_type(), packet.code()) {
            (ECHO_REQUEST, 0) => Ok(Repr::EchoRequest { identifier, sequence_number, data }),
            (ECHO_REPLY, 0) => Ok(Repr::EchoReply { identifier, sequence_number, data }),
            (message_type, code) => Err(Error::Unsupported {
                field: "ICMP type and code",
                value: u16::from_be_bytes([message_type, code]).into(),
            }),
        }
    }

    /// Bytes that [`Repr::emit`] writes.
    pub const fn buffer_len(&self) -> usize {
        let (Repr::EchoRequest { data, .. } | Repr::EchoReply { data, .. }) = self;
        HEADER_LEN + data.len()
    }

    /// Writes the message with its checksum to the start of `buffer`.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<Packet<&'b mut [u8]>, Error> {
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
        packet.set_identifier(identifier);
        packet.set_sequence_number(sequence_number);
        field::put_slice(packet.buffer, HEADER_LEN, data);
        packet.fill_checksum();
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::sweep;

    const PACKET: [u8; 12] = [0x08, 0x00, 0x8e, 0xfe, 0x12, 0x34, 0xab, 0xcd, 0xaa, 0x00, 0x00, 0xff];
    const REPR: Repr =
        Repr::EchoRequest { identifier: 0x1234, sequence_number: 0xabcd, data: &[0xaa, 0x00, 0x00, 0xff] };

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!(Repr::parse(&packet), Ok(REPR));
        assert_eq!(packet.payload(), [0xaa, 0x00, 0x00, 0xff]);
    }

    #[test]
    fn construct() {
        let mut bytes = vec![0xa5; PACKET.len()];
        REPR.emit(&mut bytes).unwrap();
        assert_eq!(bytes, PACKET);
        assert!(REPR.emit(&mut [0; 11]).is_err());
        let reply = Repr::EchoReply { identifier: 1, sequence_number: 2, data: &[3] };
        let mut bytes = vec![0xa5; reply.buffer_len()];
        reply.emit(&mut bytes).unwrap();
        assert_eq!(Repr::parse(&Packet::new_checked(&bytes[..]).unwrap()), Ok(reply));
    }

    #[test]
    fn every_bit_is_under_the_checksum() {
        for bit in 0..PACKET.len() * 8 {
            let mut bytes = PACKET;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let packet = Packet::new_checked(&bytes[..]).unwrap();
            assert_eq!(Repr::parse(&packet), Err(Error::Checksum { found: packet.checksum() }), "bit {bit}");
        }
    }

    #[test]
    fn other_messages_show_type_and_code_only() {
        let mut bytes = PACKET;
        let mut packet = Packet::new_checked(&mut bytes[..]).unwrap();
        packet.set_type(3, 4);
        packet.fill_checksum();
        let packet = Packet::new_checked(&bytes[..]).unwrap();
        assert_eq!((packet.message_type(), packet.code()), (3, 4));
        let error = Error::Unsupported { field: "ICMP type and code", value: 0x0304 };
        assert_eq!(Repr::parse(&packet), Err(error));
    }

    #[test]
    fn every_input_is_refused_or_safe() {
        sweep(&PACKET, |bytes| {
            if let Ok(packet) = Packet::new_checked(bytes) {
                assert_eq!(packet.payload().len() + HEADER_LEN, bytes.len());
                let _ = Repr::parse(&packet);
            }
        });
    }
}
