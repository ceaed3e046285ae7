//! The SRTP protection suites that voxlane speaks, under the names by which SDES signals them.
//!
//! Names come from the session configuration; the lengths go to [`MasterKey`](super::MasterKey) and to
//! the key derivation, and to the contexts, which find a packet's tag with them. Another suite is one more
//! variant and its row in each table.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// An SRTP crypto suite, named and ordered as in the IANA "SRTP Crypto Suite Registrations" (RFC 4568
/// §10.3.2.1, RFC 6188 §6, RFC 7714 §14.1).
///
/// A byte in memory, so that it fits beside a key; [`Suite::from_u8`] reads it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// AES-128 in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 4568 §6.2.1).
    AesCm128HmacSha1_80 = 0,
    /// The same with a 32-bit tag on SRTP; SRTCP keeps 80 bits (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32 = 1,
    /// AES-256 in counter mode, HMAC-SHA1 with an 80-bit tag (RFC 6188 §4).
    AesCm256HmacSha1_80 = 2,
    /// AES-128 in Galois/Counter Mode, 16-octet tag (RFC 7714 §13.1).
    AeadAes128Gcm = 3,
    /// AES-256 in Galois/Counter Mode, 16-octet tag (RFC 7714 §13.1).
    AeadAes256Gcm = 4,
}

impl Suite {
    /// Every suite, for configuration help and for tests that must cover each. In the order of
    /// [`Suite::from_u8`].
    pub const ALL: [Self; 5] = [
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::AesCm256HmacSha1_80,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// The longest master or session key of any suite, in octets.
    pub(crate) const MAX_KEY_LEN: usize = 32;

    /// The longest master or session salt of any suite, in octets.
    pub(crate) const MAX_SALT_LEN: usize = 14;

    /// The most octets that any suite adds to an SRTP packet: its tag and the longest MKI.
    pub const MAX_RTP_TRAILER: usize = 16 + super::Mki::MAX_LEN;

    /// The suite of this discriminant, `suite as u8`; `None` for a number that is no suite's.
    #[inline]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AesCm128HmacSha1_80),
            1 => Some(Self::AesCm128HmacSha1_32),
            2 => Some(Self::AesCm256HmacSha1_80),
            3 => Some(Self::AeadAes128Gcm),
            4 => Some(Self::AeadAes256Gcm),
            _ => None,
        }
    }

    /// The registered SDES name, such as `AES_CM_128_HMAC_SHA1_80`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            // The order of the words differs from those above: so it was registered (RFC 6188 §6.1).
            Self::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Whether one algorithm encrypts and authenticates (RFC 7714), so that there is no authentication key.
    #[inline]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }

    /// Octets of master key, and of session encryption key: 16 or 32.
    #[inline]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256HmacSha1_80 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Octets of master salt, and of session salt: 14 (RFC 3711 §8.2) or, for AEAD, 12 (RFC 7714 §12).
    #[inline]
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Octets of session authentication key: 20 for HMAC-SHA1 (RFC 3711 §5.2), none for AEAD.
    #[inline]
    pub const fn auth_key_len(self) -> usize {
        if self.is_aead() { 0 } else { 20 }
    }

    /// Octets of authentication tag on an SRTP packet: 10, 4 or 16.
    #[inline]
    pub const fn rtp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm256HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Octets of authentication tag on an SRTCP packet: 10 or 16. Never 4: a forged report can end a call, so
    /// RFC 3711 §5.2 wants 80 bits, and RFC 4568 §6.2.2 says so for the suite with the short SRTP tag.
    #[inline]
    pub const fn rtcp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AesCm256HmacSha1_80 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    /// Reads an SDES suite name. RFC 4568 §6.1 leaves no room for another case, so none is accepted.
    fn from_str(name: &str) -> Result<Self, UnknownSuite> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name() == name)
            .ok_or_else(|| UnknownSuite { name: name.to_owned() })
    }
}

/// A suite name that voxlane does not know.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "SRTP suite {name:?} is not supported: use {}",
    Suite::ALL.map(Suite::name).join(" or ")
)]
pub struct UnknownSuite {
    /// The name as it was given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip() {
        for (number, suite) in (0..).zip(Suite::ALL) {
            assert_eq!(suite.to_string().parse(), Ok(suite));
            assert_eq!((suite as u8, Suite::from_u8(number)), (number, Some(suite)));
            assert!(suite.key_len() <= Suite::MAX_KEY_LEN);
            assert!(suite.salt_len() <= Suite::MAX_SALT_LEN);
            assert!(suite.rtp_tag_len() + super::super::Mki::MAX_LEN <= Suite::MAX_RTP_TRAILER);
        }
        assert!((5..=255).all(|number| Suite::from_u8(number).is_none()));
    }

    /// Only the registered spellings: `AES_CM_256_…` is what one expects, and is not registered.
    #[test]
    fn unknown_names_are_refused_with_every_known_one_listed() {
        for name in [
            "",
            "aead_aes_128_gcm",
            "AEAD_AES_128_GCM_8",
            "AES_CM_256_HMAC_SHA1_80",
            "AES_256_CM_HMAC_SHA1_32",
            "AES_CM_128_HMAC_SHA1_80 ",
            "F8_128_HMAC_SHA1_80",
        ] {
            let error = name.parse::<Suite>().expect_err("not a supported suite");
            assert_eq!(error.name, name);
            for suite in Suite::ALL {
                assert!(error.to_string().contains(suite.name()), "{error}");
            }
        }
    }

    #[test]
    fn lengths_are_those_of_the_rfcs() {
        let lengths =
            |s: Suite| [s.key_len(), s.salt_len(), s.auth_key_len(), s.rtp_tag_len(), s.rtcp_tag_len()];
        assert_eq!(
            Suite::ALL.map(lengths),
            [
                [16, 14, 20, 10, 10],
                [16, 14, 20, 4, 10],
                [32, 14, 20, 10, 10],
                [16, 12, 0, 16, 16],
                [32, 12, 0, 16, 16],
            ]
        );
        assert_eq!(Suite::ALL.map(Suite::is_aead), [false, false, false, true, true]);
    }
}
