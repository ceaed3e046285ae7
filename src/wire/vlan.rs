//! IEEE 802.1Q tags: the four bytes after an Ethernet header whose EtherType is 0x8100.

use super::{Error, EtherType, field, require};

const TCI: usize = 0;
const ETHERTYPE: usize = 2;

/// Length of a tag in bytes, after the Ethernet header.
pub const HEADER_LEN: usize = 4;

const VID_MASK: u16 = 0x0fff;
const DEI: u16 = 0x1000;
const PCP_SHIFT: u32 = 13;

/// A view of a VLAN tag and what follows it: the payload of an Ethernet frame.
#[derive(Debug, Clone, Copy)]
pub struct Tag<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Tag<T> {
    /// Takes an Ethernet payload of at least [`HEADER_LEN`] bytes.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        require(buffer.as_ref(), HEADER_LEN)?;
        Ok(Tag { buffer })
    }

    /// VLAN identifier, 0 to 4095. Zero is a priority tag: the frame belongs to no VLAN.
    #[inline]
    pub fn vlan_id(&self) -> u16 {
        self.tci() & VID_MASK
    }

    /// Priority code point, 0 to 7.
    #[inline]
    pub fn priority(&self) -> u8 {
        (self.tci() >> PCP_SHIFT) as u8
    }

    /// Drop eligible indicator.
    #[inline]
    pub fn drop_eligible(&self) -> bool {
        self.tci() & DEI != 0
    }

    /// Protocol of the payload; [`EtherType::VLAN`] again if the frame is tagged twice.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(field::u16_at(self.buffer.as_ref(), ETHERTYPE))
    }

    /// Everything after the tag.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        field::range(bytes, HEADER_LEN, bytes.len())
    }

    #[inline]
    fn tci(&self) -> u16 {
        field::u16_at(self.buffer.as_ref(), TCI)
    }
}

impl<'a> Tag<&'a [u8]> {
    /// [`Tag::payload`] for as long as the buffer lives.
    #[inline]
    pub fn into_payload(self) -> &'a [u8] {
        field::range(self.buffer, HEADER_LEN, self.buffer.len())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Tag<T> {
    /// Sets priority (0 to 7), drop eligibility and VLAN identifier (0 to 4095); higher bits are cut off.
    #[inline]
    pub fn set_tag(&mut self, priority: u8, drop_eligible: bool, vlan_id: u16) {
        let dei = if drop_eligible { DEI } else { 0 };
        let tci = (u16::from(priority) << PCP_SHIFT) | dei | (vlan_id & VID_MASK);
        field::put(self.buffer.as_mut(), TCI, tci.to_be_bytes());
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

/// A VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Priority code point, 0 to 7.
    pub priority: u8,
    /// Drop eligible indicator.
    pub drop_eligible: bool,
    /// VLAN identifier, 0 to 4095.
    pub vlan_id: u16,
    /// Protocol of the payload.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads the tag. Every tag is valid; the caller decides which VLAN is its own.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(tag: &Tag<T>) -> Repr {
        Repr {
            priority: tag.priority(),
            drop_eligible: tag.drop_eligible(),
            vlan_id: tag.vlan_id(),
            ethertype: tag.ethertype(),
        }
    }

    /// Bytes that [`Repr::emit`] writes.
    #[inline]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the tag to the start of `buffer`; the rest is the payload and stays as it is.
    #[inline]
    pub fn emit<'a>(&self, buffer: &'a mut [u8]) -> Result<Tag<&'a mut [u8]>, Error> {
        let mut tag = Tag::new_checked(buffer)?;
        tag.set_tag(self.priority, self.drop_eligible, self.vlan_id);
        tag.set_ethertype(self.ethertype);
        Ok(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::sweep;

    const TAG: [u8; 6] = [0xb0, 0x64, 0x86, 0xdd, 0x60, 0x01];
    const REPR: Repr = Repr { priority: 5, drop_eligible: true, vlan_id: 100, ethertype: EtherType::IPV6 };

    #[test]
    fn deconstruct() {
        let tag = Tag::new_checked(&TAG[..]).unwrap();
        assert_eq!(Repr::parse(&tag), REPR);
        assert_eq!(tag.payload(), [0x60, 0x01]);
        assert_eq!(tag.into_payload(), [0x60, 0x01]);
    }

    #[test]
    fn construct() {
        let mut bytes = vec![0xa5; TAG.len()];
        let mut tag = REPR.emit(&mut bytes).unwrap();
        tag.payload_mut().copy_from_slice(&[0x60, 0x01]);
        assert_eq!(bytes, TAG);
        assert!(REPR.emit(&mut [0; 3]).is_err());
    }

    #[test]
    fn values_too_large_touch_no_neighbouring_bits() {
        let mut tag = Tag::new_checked([0; 4]).unwrap();
        tag.set_tag(0, false, 0xffff);
        assert_eq!((tag.priority(), tag.drop_eligible(), tag.vlan_id()), (0, false, 0x0fff));
        tag.set_tag(0xff, false, 0);
        assert_eq!((tag.priority(), tag.drop_eligible(), tag.vlan_id()), (7, false, 0));
    }

    #[test]
    fn every_input_is_refused_or_safe() {
        sweep(&TAG, |bytes| match Tag::new_checked(bytes) {
            Ok(tag) => {
                let _ = Repr::parse(&tag);
                assert_eq!(tag.payload().len(), bytes.len() - HEADER_LEN);
            }
            Err(error) => assert_eq!(error, Error::Truncated { needed: HEADER_LEN, actual: bytes.len() }),
        });
    }
}
