//! The master key identifier (MKI) by which each packet can name the key that it was sealed with.
//!
//! Comes from the key's SDES text, goes to the contexts, which put it before the tag of each packet they seal
//! and find the key of a received packet by it (RFC 3711 §3.1). Not a secret: it is sent in the clear.

use std::fmt;
use std::num::NonZeroU8;

use thiserror::Error;

use super::Suite;

/// A master key identifier of 1 to 16 octets.
///
/// RFC 4568 §6.1 allows 128. Those in use have 1 to 4, and every octet more would be one to fetch with the
/// key for each packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mki {
    len: NonZeroU8,
    /// Zero behind the first `len` octets.
    octets: [u8; Self::MAX_LEN],
}

impl Mki {
    /// The longest MKI that is supported, in octets.
    pub const MAX_LEN: usize = 16;

    /// The octets of an MKI as packets carry them.
    ///
    /// # Errors
    ///
    /// [`MkiError::Length`] if there are none, or more than [`Mki::MAX_LEN`].
    pub fn from_octets(octets: &[u8]) -> Result<Self, MkiError> {
        match u8::try_from(octets.len()).ok().and_then(NonZeroU8::new) {
            Some(len) if octets.len() <= Self::MAX_LEN => {
                let mut new = Self { len, octets: [0; Self::MAX_LEN] };
                new.octets.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
                Ok(new)
            }
            _ => Err(MkiError::Length),
        }
    }

    /// Reads the third field of SDES `key-params`, `VALUE:LENGTH`, both decimal: the value is sent as a
    /// big-endian integer of so many octets (RFC 4568 §6.1).
    ///
    /// # Errors
    ///
    /// [`MkiError`], which repeats nothing of the text.
    pub fn from_sdes(text: &str) -> Result<Self, MkiError> {
        let (value, length) = text.split_once(':').ok_or(MkiError::Form)?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        if !is_number(value) || !is_number(length) {
            return Err(MkiError::Form);
        }
        let length = length.parse().ok().filter(|len| (1..=Self::MAX_LEN).contains(len));
        let length = length.ok_or(MkiError::Length)?;
        let value: u128 = value.parse().map_err(|_| MkiError::Value)?;
        let octets = value.to_be_bytes();
        match octets.split_at_checked(octets.len().saturating_sub(length)) {
            Some((zeros, octets)) if zeros.iter().all(|&octet| octet == 0) => Self::from_octets(octets),
            _ => Err(MkiError::Value),
        }
    }

    /// The octets as packets carry them, 1 to [`Mki::MAX_LEN`].
    #[inline]
    pub fn as_octets(&self) -> &[u8] {
        self.octets.get(..self.len()).unwrap_or(&self.octets)
    }

    /// How many octets the MKI adds to each packet.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub const fn len(&self) -> usize {
        self.len.get() as usize
    }
}

/// The octets that packets under a key with this MKI, or without one, carry.
#[inline]
pub(crate) fn octets(mki: &Option<Mki>) -> &[u8] {
    mki.as_ref().map_or(&[], Mki::as_octets)
}

/// Whether an SRTP packet of `suite` carries this MKI, or none is to be carried: last, but before the tag of a suite
/// that is no AEAD (RFC 3711 §3.1, RFC 7714 §8.2).
#[inline]
pub(crate) fn is_in_rtp(mki: &Option<Mki>, packet: &[u8], suite: Suite) -> bool {
    is_before(octets(mki), packet, if suite.is_aead() { 0 } else { suite.rtp_tag_len() })
}

/// The same of an SRTCP packet (RFC 3711 §3.4, RFC 7714 §9.2).
#[inline]
pub(crate) fn is_in_rtcp(mki: &Option<Mki>, packet: &[u8], suite: Suite) -> bool {
    is_before(octets(mki), packet, if suite.is_aead() { 0 } else { suite.rtcp_tag_len() })
}

#[inline]
fn is_before(octets: &[u8], packet: &[u8], behind: usize) -> bool {
    let end = packet.len().checked_sub(behind);
    end.and_then(|end| packet.get(..end)).is_some_and(|packet| packet.ends_with(octets))
}

/// `VALUE:LENGTH` as SDES writes it.
impl fmt::Display for Mki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.as_octets().iter().fold(0_u128, |value, &octet| value << 8 | u128::from(octet));
        write!(f, "{value}:{}", self.len)
    }
}

impl fmt::Debug for Mki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mki({self})")
    }
}

/// Why text or octets are not an MKI. Repeats nothing of them: key text may have got there.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MkiError {
    /// Not `VALUE:LENGTH`.
    #[error("the MKI is not VALUE:LENGTH: write both as decimal numbers, like 1:4")]
    Form,
    /// A length out of range.
    #[error("the MKI's length is not 1 to {} octets: use a shorter MKI at both ends", Mki::MAX_LEN)]
    Length,
    /// The value needs more octets than the length says.
    #[error("the MKI's value does not fit its length: give the length in octets that packets carry")]
    Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdes_text_round_trips() {
        let good: [(&str, &[u8]); 6] = [
            ("1:1", &[1]),
            ("1:4", &[0, 0, 0, 1]),
            ("0:2", &[0, 0]),
            ("65535:2", &[0xff, 0xff]),
            ("305419896:4", &[0x12, 0x34, 0x56, 0x78]),
            ("340282366920938463463374607431768211455:16", &[0xff; 16]),
        ];
        for (text, octets) in good {
            let mki = Mki::from_sdes(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((mki.as_octets(), mki.len()), (octets, octets.len()), "{text}");
            assert_eq!(Mki::from_octets(octets), Ok(mki));
            assert_eq!((mki.to_string(), format!("{mki:?}")), (text.to_owned(), format!("Mki({text})")));
        }
        assert_eq!(Mki::from_sdes("0001:04"), Mki::from_sdes("1:4"), "the grammar allows leading zeros");
        assert_ne!(Mki::from_sdes("1:1"), Mki::from_sdes("1:2"));
    }

    #[test]
    fn refused_texts() {
        let refused = [
            ("", MkiError::Form),
            ("1", MkiError::Form),
            ("1:", MkiError::Form),
            (":4", MkiError::Form),
            ("+1:4", MkiError::Form),
            ("1:+4", MkiError::Form),
            ("-1:4", MkiError::Form),
            ("0x1:4", MkiError::Form),
            ("1:4:4", MkiError::Form),
            (" 1:4", MkiError::Form),
            ("1:0", MkiError::Length),
            ("1:17", MkiError::Length),
            ("1:128", MkiError::Length),
            ("1:99999999999999999999999999", MkiError::Length),
            ("256:1", MkiError::Value),
            ("65536:2", MkiError::Value),
            ("340282366920938463463374607431768211456:16", MkiError::Value),
        ];
        for (text, error) in refused {
            assert_eq!(Mki::from_sdes(text), Err(error), "{text}");
        }
        assert_eq!(Mki::from_octets(&[]), Err(MkiError::Length));
        assert_eq!(Mki::from_octets(&[0; 17]), Err(MkiError::Length));
        assert_eq!(Mki::from_octets(&[0; 300]), Err(MkiError::Length));
    }
}
