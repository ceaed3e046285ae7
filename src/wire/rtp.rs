//! RTP (RFC 3550 §5), in two layers because SRTP encrypts the payload and leaves the header in the clear.
//!
//! [`Packet::new_checked`] looks at the cleartext only (version, CSRC list, length of the header extension),
//! so it works on a packet as received. What lies under the encryption, or is authenticated together with
//! it, is checked on the decrypted packet by [`Packet::padding_len`] and
//! [`Packet::check_extension_elements`].

mod extension;
mod numbers;
mod repr;

pub use extension::{Element, Elements, Extension, ExtensionError};
pub use numbers::{PayloadType, RtpTime, SequenceNumber, Ssrc};
pub use repr::{EmitError, Repr};

use super::field;

const FLAGS: usize = 0;
const MARKER_TYPE: usize = 1;
const SEQUENCE_NUMBER: usize = 2;
const TIMESTAMP: usize = 4;
const SSRC: usize = 8;

/// Length of the header without CSRC list and extension in bytes.
pub const HEADER_LEN: usize = 12;
/// The most contributing sources that the four-bit count can state.
pub const MAX_CSRCS: usize = 15;
/// Length of an extension's own header: profile and length.
pub const EXTENSION_HEADER_LEN: usize = 4;

const VERSION: u8 = 2;
const PADDING: u8 = 0x20;
const EXTENSION: u8 = 0x10;
const COUNT_MASK: u8 = 0x0f;
const MARKER: u8 = 0x80;
const TYPE_MASK: u8 = 0x7f;

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the fixed header has.
    #[error("{actual} bytes are too few for an RTP header of 12: drop the packet")]
    Truncated {
        /// Bytes there are.
        actual: usize,
    },
    /// The version is not 2.
    #[error("RTP version {actual} where only 2 exists: drop the packet")]
    Version {
        /// The version found.
        actual: u8,
    },
    /// The CSRC list overruns the packet.
    #[error("{count} contributing sources overrun a packet of {actual} bytes: drop the packet")]
    CsrcOverrun {
        /// The CSRC count.
        count: usize,
        /// Bytes there are.
        actual: usize,
    },
    /// The header extension overruns the packet.
    #[error("a header extension up to byte {needed} overruns a packet of {actual} bytes: drop the packet")]
    ExtensionOverrun {
        /// Length of the header up to the end of the extension, as far as it is known.
        needed: usize,
        /// Bytes there are.
        actual: usize,
    },
}

/// Why the padding of a decrypted packet is wrong (RFC 3550 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("RTP padding of {stated} bytes in a payload of {payload} bytes: drop the packet")]
pub struct PaddingError {
    /// The last byte of the packet, or zero if there is no payload to hold it.
    pub stated: u8,
    /// Length of the payload with its padding in bytes.
    pub payload: usize,
}

/// A view of an RTP or SRTP packet. Its header's length is kept beside the buffer; no setter changes it.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
    header_len: usize,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks the cleartext header: version 2, CSRC list and extension within the buffer (RFC 3550 §5.1,
    /// §5.3.1). For SRTP the buffer includes the authentication tag, which [`Packet::payload`] then includes.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let header_len = checked_header_len(buffer.as_ref())?;
        Ok(Packet { buffer, header_len })
    }

    /// Version: 2.
    #[inline]
    pub fn version(&self) -> u8 {
        self.flags() >> 6
    }

    /// Whether the payload ends with padding. Not to be trusted before the packet authenticated.
    #[inline]
    pub fn has_padding(&self) -> bool {
        self.flags() & PADDING != 0
    }

    /// Whether there is a header extension.
    #[inline]
    pub fn has_extension(&self) -> bool {
        self.flags() & EXTENSION != 0
    }

    /// How many contributing sources the header lists, 0 to 15.
    #[inline]
    pub fn csrc_count(&self) -> usize {
        usize::from(self.flags() & COUNT_MASK)
    }

    /// The marker bit: in audio profiles the first packet of a talk spurt (RFC 3551 §4.1).
    #[inline]
    pub fn marker(&self) -> bool {
        field::u8_at(self.buffer.as_ref(), MARKER_TYPE) & MARKER != 0
    }

    /// Payload type.
    #[inline]
    pub fn payload_type(&self) -> PayloadType {
        PayloadType(field::u8_at(self.buffer.as_ref(), MARKER_TYPE) & TYPE_MASK)
    }

    /// Sequence number.
    #[inline]
    pub fn sequence_number(&self) -> SequenceNumber {
        SequenceNumber(field::u16_at(self.buffer.as_ref(), SEQUENCE_NUMBER))
    }

    /// Timestamp in units of the payload's clock.
    #[inline]
    pub fn timestamp(&self) -> RtpTime {
        RtpTime(field::u32_at(self.buffer.as_ref(), TIMESTAMP))
    }

    /// Synchronization source.
    #[inline]
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(field::u32_at(self.buffer.as_ref(), SSRC))
    }

    /// The contributing source at `index`, if the header lists that many.
    #[inline]
    pub fn csrc(&self, index: usize) -> Option<Ssrc> {
        let (words, _) = self.csrc_bytes().as_chunks::<4>();
        words.get(index).map(|word| Ssrc(u32::from_be_bytes(*word)))
    }

    /// The contributing sources, in order.
    #[inline]
    pub fn csrcs(&self) -> impl ExactSizeIterator<Item = Ssrc> + '_ {
        let (words, _) = self.csrc_bytes().as_chunks::<4>();
        words.iter().map(|word| Ssrc(u32::from_be_bytes(*word)))
    }

    /// The header extension, if there is one.
    #[inline]
    pub fn extension(&self) -> Option<Extension<'_>> {
        if !self.has_extension() {
            return None;
        }
        let bytes = self.buffer.as_ref();
        let start = HEADER_LEN + self.csrc_count() * 4;
        Some(Extension {
            profile: field::u16_at(bytes, start),
            data: field::range(bytes, start + EXTENSION_HEADER_LEN, self.header_len),
        })
    }

    /// Length of the header in bytes, CSRC list and extension included: what SRTP authenticates but does not
    /// encrypt.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Everything after the header: payload, padding and, in SRTP, the authentication tag. May be empty.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        field::range(bytes, self.header_len, bytes.len())
    }

    /// How many bytes at the end of a *decrypted* packet are padding; zero without the padding bit.
    ///
    /// The last byte counts the padding and itself, so zero and more than the payload are errors
    /// (RFC 3550 §5.1). A payload that is nothing but padding is no error here.
    #[inline]
    pub fn padding_len(&self) -> Result<usize, PaddingError> {
        if !self.has_padding() {
            return Ok(0);
        }
        let payload = self.payload();
        let stated = payload.last().copied().unwrap_or(0);
        if stated == 0 || usize::from(stated) > payload.len() {
            return Err(PaddingError { stated, payload: payload.len() });
        }
        Ok(usize::from(stated))
    }

    /// Checks that no element of a one-byte or two-byte header extension overruns it (RFC 8285 §4.2, §4.3).
    /// An extension of another profile has no elements and passes.
    #[inline]
    pub fn check_extension_elements(&self) -> Result<(), ExtensionError> {
        match self.extension() {
            Some(extension) => extension.check(),
            None => Ok(()),
        }
    }

    #[inline]
    fn flags(&self) -> u8 {
        field::u8_at(self.buffer.as_ref(), FLAGS)
    }

    #[inline]
    fn csrc_bytes(&self) -> &[u8] {
        field::range(self.buffer.as_ref(), HEADER_LEN, HEADER_LEN + self.csrc_count() * 4)
    }
}

impl<'a> Packet<&'a [u8]> {
    /// [`Packet::payload`] for as long as the buffer lives.
    #[inline]
    pub fn into_payload(self) -> &'a [u8] {
        field::range(self.buffer, self.header_len, self.buffer.len())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the payload type; the marker stays.
    #[inline]
    pub fn set_payload_type(&mut self, value: PayloadType) {
        field::put_bits(self.buffer.as_mut(), MARKER_TYPE, TYPE_MASK, value.0);
    }

    /// Sets the marker bit; the payload type stays.
    #[inline]
    pub fn set_marker(&mut self, value: bool) {
        field::put_bits(self.buffer.as_mut(), MARKER_TYPE, MARKER, if value { MARKER } else { 0 });
    }

    /// Sets the sequence number.
    #[inline]
    pub fn set_sequence_number(&mut self, value: SequenceNumber) {
        field::put(self.buffer.as_mut(), SEQUENCE_NUMBER, value.0.to_be_bytes());
    }

    /// Sets the timestamp.
    #[inline]
    pub fn set_timestamp(&mut self, value: RtpTime) {
        field::put(self.buffer.as_mut(), TIMESTAMP, value.0.to_be_bytes());
    }

    /// Sets the synchronization source.
    #[inline]
    pub fn set_ssrc(&mut self, value: Ssrc) {
        field::put(self.buffer.as_mut(), SSRC, value.0.to_be_bytes());
    }

    /// Everything after the header, to change in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = self.header_len;
        let bytes = self.buffer.as_mut();
        let end = bytes.len();
        field::range_mut(bytes, start, end)
    }
}

#[inline]
fn checked_header_len(bytes: &[u8]) -> Result<usize, Error> {
    let actual = bytes.len();
    if actual < HEADER_LEN {
        return Err(Error::Truncated { actual });
    }
    let flags = field::u8_at(bytes, FLAGS);
    if flags >> 6 != VERSION {
        return Err(Error::Version { actual: flags >> 6 });
    }
    let count = usize::from(flags & COUNT_MASK);
    let fixed = HEADER_LEN + count * 4;
    if actual < fixed {
        return Err(Error::CsrcOverrun { count, actual });
    }
    if flags & EXTENSION == 0 {
        return Ok(fixed);
    }
    let needed = fixed + EXTENSION_HEADER_LEN;
    if actual < needed {
        return Err(Error::ExtensionOverrun { needed, actual });
    }
    // The length counts 32-bit words after the extension's own header; zero is valid (RFC 3550 §5.3.1).
    let needed = needed + usize::from(field::u16_at(bytes, fixed + 2)) * 4;
    if actual < needed {
        return Err(Error::ExtensionOverrun { needed, actual });
    }
    Ok(needed)
}

#[cfg(test)]
mod tests;
