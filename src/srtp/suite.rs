//! The SRTP protection suites that voxlane speaks, under the names by which SDES signals them.
//!
//! Names come from the session configuration; the lengths go to [`MasterKey`](super::MasterKey) and to
//! the key derivation. Another family of suites is one more variant and its row in each table.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// An SRTP crypto suite, named as in the IANA "SRTP Crypto Suite Registrations" (RFC 4568 §10.3.2.1,
/// RFC 7714 §14.1). Ordered as registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-128 in Galois/Counter Mode, 16-octet tag (RFC 7714 §13.1).
    AeadAes128Gcm,
    /// AES-256 in Galois/Counter Mode, 16-octet tag (RFC 7714 §13.1).
    AeadAes256Gcm,
}

impl Suite {
    /// Every suite, for configuration help and for tests that must cover each.
    pub const ALL: [Self; 2] = [Self::AeadAes128Gcm, Self::AeadAes256Gcm];

    /// The longest master or session key of any suite, in octets.
    pub(crate) const MAX_KEY_LEN: usize = 32;

    /// The longest master salt of any suite, in octets.
    pub(crate) const MAX_SALT_LEN: usize = 12;

    /// The SDES name, such as `AEAD_AES_128_GCM`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Octets of master key, and of session encryption key: 16 or 32.
    #[inline]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Octets of master salt, and of session salt: 12 (RFC 7714 §12).
    #[inline]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Octets of authentication tag on every packet: 16 (RFC 7714 §13.1).
    #[inline]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => super::TAG_LEN,
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
#[error("SRTP suite {name:?} is not supported: use AEAD_AES_128_GCM or AEAD_AES_256_GCM")]
pub struct UnknownSuite {
    /// The name as it was given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for suite in Suite::ALL {
            assert_eq!(suite.to_string().parse(), Ok(suite));
            assert!(suite.key_len() <= Suite::MAX_KEY_LEN);
            assert!(suite.salt_len() <= Suite::MAX_SALT_LEN);
        }
    }

    #[test]
    fn unknown_names_are_refused_with_every_known_one_listed() {
        for name in
            ["", "aead_aes_128_gcm", "AEAD_AES_128_GCM_8", "AES_CM_128_HMAC_SHA1_80", " AEAD_AES_128_GCM"]
        {
            let error = name.parse::<Suite>().expect_err("not a supported suite");
            assert_eq!(error.name, name);
            for suite in Suite::ALL {
                assert!(error.to_string().contains(suite.name()), "{error}");
            }
        }
    }

    #[test]
    fn lengths_are_those_of_rfc_7714() {
        let lengths = |s: Suite| (s.key_len(), s.salt_len(), s.tag_len());
        assert_eq!(lengths(Suite::AeadAes128Gcm), (16, 12, 16));
        assert_eq!(lengths(Suite::AeadAes256Gcm), (32, 12, 16));
    }
}
