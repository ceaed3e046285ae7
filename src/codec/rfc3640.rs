//! AAC as access units in an RTP payload: `mpeg4-generic`, mode AAC-hbr (RFC 3640 §3.3.6).
//!
//! ```text
//! AU-headers-length (16 bits) | AU-header (16 bits) ... | access unit ...
//! ```
//!
//! The mode has `sizeLength=13; indexLength=3; indexDeltaLength=3` and no other field in an AU-header, so each has
//! 16 bits, and no auxiliary section (§3.3.6).
//!
//! A payload holds whole access units or one fragment of one (§3.2.3). Interleaving (an AU-Index or AU-Index-delta other
//! than zero) is refused: it needs to be negotiated, and a gateway cannot take it apart packet by packet.

/// Length of the AU-headers-length field in bytes.
pub const HEADERS_LENGTH_LEN: usize = 2;
/// Length of an AU-header in bytes.
pub const AU_HEADER_LEN: usize = 2;
/// Length of an AU-header in bits: `sizeLength` + `indexLength` or `indexDeltaLength`.
const AU_HEADER_BITS: u16 = 16;
/// `indexLength` and `indexDeltaLength`.
const INDEX_BITS: u16 = 3;
/// The longest access unit that 13 bits can state, in bytes.
pub const MAX_AU_SIZE: usize = (1 << 13) - 1;

/// Why bytes are not an AAC-hbr payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too few bytes for AU-headers-length.
    #[error("{actual} bytes are too few for the two of AU-headers-length: drop the packet")]
    Truncated {
        /// Bytes there are.
        actual: usize,
    },
    /// AU-headers-length is zero or no multiple of 16 bits.
    #[error("AU-headers-length {bits} is not a number of 16-bit AU-headers: drop the packet")]
    HeadersLength {
        /// Its value in bits.
        bits: u16,
    },
    /// The AU-headers overrun the payload, or nothing follows them.
    #[error("AU-headers of {stated} bytes leave no data in a payload of {actual}: drop the packet")]
    HeadersOverrun {
        /// Length of AU-headers-length and AU-headers in bytes.
        stated: usize,
        /// Length of the payload in bytes.
        actual: usize,
    },
    /// AU-Index or AU-Index-delta is not zero.
    #[error(
        "access unit {number} has index {index}: interleaving is not supported, switch it off at the sender"
    )]
    Interleaved {
        /// The access unit, from 0.
        number: usize,
        /// AU-Index or AU-Index-delta.
        index: u8,
    },
    /// An AU-size of zero.
    #[error("access unit {number} has no byte: drop the packet")]
    EmptyUnit {
        /// The access unit, from 0.
        number: usize,
    },
    /// The AU-sizes do not add up to the data that follows.
    #[error(
        "{units} access units of {stated} bytes in all where {actual} follow the AU-headers: drop the packet"
    )]
    Size {
        /// AU-headers.
        units: usize,
        /// The sum of their AU-sizes in bytes.
        stated: usize,
        /// Length of the access unit data section in bytes.
        actual: usize,
    },
}

/// One access unit of a payload, or the part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessUnit {
    /// Where its data begins in the payload.
    pub offset: usize,
    /// Bytes of it in the payload.
    pub len: usize,
}

/// A checked payload.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    units: usize,
    /// AU-size of the unit that a fragment is of.
    fragment_of: Option<usize>,
}

impl<'a> Payload<'a> {
    /// Takes an RTP payload without padding.
    ///
    /// # Errors
    /// [`Error`].
    #[inline]
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Error> {
        let Some((length, rest)) = bytes.split_first_chunk::<HEADERS_LENGTH_LEN>() else {
            return Err(Error::Truncated { actual: bytes.len() });
        };
        // §3.2.1: in bits, without padding up to the next byte. Headers of 16 bits need none.
        let bits = u16::from_be_bytes(*length);
        if bits == 0 || !bits.is_multiple_of(AU_HEADER_BITS) {
            return Err(Error::HeadersLength { bits });
        }
        let units = usize::from(bits / AU_HEADER_BITS);
        let headers_len = units * AU_HEADER_LEN;
        let overrun = Error::HeadersOverrun { stated: HEADERS_LENGTH_LEN + headers_len, actual: bytes.len() };
        let (headers, data) = rest.split_at_checked(headers_len).ok_or(overrun)?;
        if data.is_empty() {
            return Err(overrun);
        }
        let mut stated: usize = 0;
        for (number, header) in headers.as_chunks::<AU_HEADER_LEN>().0.iter().enumerate() {
            let (size, index) = au_header(*header);
            // §3.2.1.1: both are zero where units follow each other in the order in which they are decoded.
            if index != 0 {
                return Err(Error::Interleaved { number, index });
            }
            if size == 0 {
                return Err(Error::EmptyUnit { number });
            }
            stated += size;
        }
        if stated == data.len() {
            return Ok(Payload { bytes, units, fragment_of: None });
        }
        // §3.2.1.1: "When the AU-size is associated with an AU fragment, the AU size indicates the size of the entire AU
        // and not the size of the fragment." A packet has one fragment at most (§3.2.3).
        if units == 1 && stated > data.len() {
            return Ok(Payload { bytes, units, fragment_of: Some(stated) });
        }
        Err(Error::Size { units, stated, actual: data.len() })
    }

    /// How many access units there are; 1 for a fragment.
    #[inline]
    pub fn len(&self) -> usize {
        self.units
    }

    /// Never: a payload has at least one access unit.
    #[inline]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Size in bytes of the whole access unit that the payload has a part of; `None` if its units are whole.
    #[inline]
    pub fn fragment_of(&self) -> Option<usize> {
        self.fragment_of
    }

    /// The access units in order, or the one fragment.
    #[inline]
    pub fn units(&self) -> AccessUnits<'a> {
        let data = HEADERS_LENGTH_LEN + self.units * AU_HEADER_LEN;
        let headers = self.bytes.get(HEADERS_LENGTH_LEN..data).unwrap_or_default();
        AccessUnits { headers, offset: data, end: self.bytes.len() }
    }
}

/// Iterator over the access units of a [`Payload`].
#[derive(Debug, Clone)]
pub struct AccessUnits<'a> {
    headers: &'a [u8],
    offset: usize,
    end: usize,
}

impl Iterator for AccessUnits<'_> {
    type Item = AccessUnit;

    #[inline]
    fn next(&mut self) -> Option<AccessUnit> {
        let (header, rest) = self.headers.split_first_chunk::<AU_HEADER_LEN>()?;
        let (size, _) = au_header(*header);
        let unit = AccessUnit { offset: self.offset, len: size.min(self.end - self.offset) };
        self.headers = rest;
        self.offset += unit.len;
        Some(unit)
    }
}

/// AU-size in bytes, and AU-Index or AU-Index-delta.
#[inline]
fn au_header(header: [u8; AU_HEADER_LEN]) -> (usize, u8) {
    let word = u16::from_be_bytes(header);
    (usize::from(word >> INDEX_BITS), (word & ((1 << INDEX_BITS) - 1)) as u8)
}

#[cfg(test)]
#[path = "rfc3640_tests.rs"]
mod tests;
