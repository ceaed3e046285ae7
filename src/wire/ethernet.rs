//! Ethernet II frames (IEEE 802.3 clause 3), without frame check sequence: the port strips it.

use super::{Error, MacAddress, field, require};

const DESTINATION: usize = 0;
const SOURCE: usize = 6;
const ETHERTYPE: usize = 12;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 14;

/// The protocol of an Ethernet payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP (RFC 826).
    pub const ARP: EtherType = EtherType(0x0806);
    /// A customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: EtherType = EtherType(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// A service VLAN tag (IEEE 802.1ad, "QinQ").
    pub const SERVICE_VLAN: EtherType = EtherType(0x88a8);
}

/// A view of an Ethernet frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Frame<T> {
    /// Takes a buffer of at least [`HEADER_LEN`] bytes.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        require(buffer.as_ref(), HEADER_LEN)?;
        Ok(Frame { buffer })
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> MacAddress {
        MacAddress(field::array(self.buffer.as_ref(), DESTINATION))
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> MacAddress {
        MacAddress(field::array(self.buffer.as_ref(), SOURCE))
    }

    /// Protocol of the payload; [`EtherType::VLAN`] if a tag comes first.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(field::u16_at(self.buffer.as_ref(), ETHERTYPE))
    }

    /// Everything after the header, including any padding up to the minimum frame size.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        field::range(bytes, HEADER_LEN, bytes.len())
    }
}

impl<'a> Frame<&'a [u8]> {
    /// [`Frame::payload`] for as long as the buffer lives.
    #[inline]
    pub fn into_payload(self) -> &'a [u8] {
        field::range(self.buffer, HEADER_LEN, self.buffer.len())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Frame<T> {
    /// Sets the destination address.
    #[inline]
    pub fn set_destination(&mut self, value: MacAddress) {
        field::put(self.buffer.as_mut(), DESTINATION, value.0);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_source(&mut self, value: MacAddress) {
        field::put(self.buffer.as_mut(), SOURCE, value.0);
    }

    /// Sets the protocol of the payload.
    #[inline]
    pub fn set_ethertype(&mut self, value: EtherType) {
        field::put(self.buffer.as_mut(), ETHERTYPE, value.0.to_be_bytes());
    }

    /// The payload, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let bytes = self.buffer.as_mut();
        let end = bytes.len();
        field::range_mut(bytes, HEADER_LEN, end)
    }
}

/// An Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Destination address.
    pub destination: MacAddress,
    /// Source address.
    pub source: MacAddress,
    /// Protocol of the payload.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads the header. Every header is valid.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(frame: &Frame<T>) -> Repr {
        Repr { destination: frame.destination(), source: frame.source(), ethertype: frame.ethertype() }
    }

    /// Bytes that [`Repr::emit`] writes.
    #[inline]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header to the start of `buffer`; the rest is the payload and stays as it is.
    #[inline]
    pub fn emit<'a>(&self, buffer: &'a mut [u8]) -> Result<Frame<&'a mut [u8]>, Error> {
        let mut frame = Frame::new_checked(buffer)?;
        frame.set_destination(self.destination);
        frame.set_source(self.source);
        frame.set_ethertype(self.ethertype);
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::sweep;

    const FRAME: [u8; 16] = [0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02, 0x08, 0x00, 0xaa, 0xbb];
    const REPR: Repr = Repr {
        destination: MacAddress([2, 0, 0, 0, 0, 1]),
        source: MacAddress([2, 0, 0, 0, 0, 2]),
        ethertype: EtherType::IPV4,
    };

    #[test]
    fn deconstruct() {
        let frame = Frame::new_checked(&FRAME[..]).unwrap();
        assert_eq!(Repr::parse(&frame), REPR);
        assert_eq!(frame.payload(), [0xaa, 0xbb]);
        assert_eq!(frame.into_payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn construct() {
        let mut bytes = vec![0xa5; FRAME.len()];
        let mut frame = REPR.emit(&mut bytes).unwrap();
        frame.payload_mut().copy_from_slice(&[0xaa, 0xbb]);
        assert_eq!(bytes, FRAME);
        assert_eq!(REPR.emit(&mut [0; 13]).unwrap_err(), Error::Truncated { needed: 14, actual: 13 });
    }

    #[test]
    fn every_input_is_refused_or_safe() {
        sweep(&FRAME, |bytes| match Frame::new_checked(bytes) {
            Ok(frame) => {
                let _ = Repr::parse(&frame);
                assert_eq!(frame.payload().len(), bytes.len() - HEADER_LEN);
            }
            Err(error) => assert_eq!(error, Error::Truncated { needed: HEADER_LEN, actual: bytes.len() }),
        });
    }
}
