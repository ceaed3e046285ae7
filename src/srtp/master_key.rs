//! An SRTP master key and salt, as a session's signalling hands them over (SDES, RFC 4568).
//!
//! Comes from the session configuration as `inline:` text, goes to the key derivation when a context is
//! built. The octets are wiped when the value is dropped, are compared in constant time, and appear in no
//! error, log or debug print: [`MasterKey::fingerprint`] is what may be written down.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Suite;

/// Base64 that writes padding and reads it as optional: RFC 4568 examples have none, most senders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key method that SDES text starts with (RFC 4568 §6.1).
const INLINE: &str = "inline:";

/// What the fingerprint hash starts with, so that it can be mistaken for no other hash of the same key.
const FINGERPRINT_DOMAIN: &[u8] = b"voxlane SRTP master key fingerprint v1\0";

/// A master key, its salt and the suite they are for.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
    /// Key then salt, in the first `suite.key_len() + suite.salt_len()` octets; zero behind them.
    octets: [u8; Suite::MAX_KEY_LEN + Suite::MAX_SALT_LEN],
}

impl MasterKey {
    /// Reads the `key-params` of an SDES crypto attribute (RFC 4568 §6.1): `inline:` and the base64 of
    /// key ‖ salt, with or without padding.
    ///
    /// # Errors
    ///
    /// [`MasterKeyError`], which never repeats any of the text. A lifetime, an MKI or a second key is
    /// refused: ignoring one of them would change what was agreed.
    pub fn from_sdes_inline(suite: Suite, text: &str) -> Result<Self, MasterKeyError> {
        let params = text.strip_prefix(INLINE).ok_or(MasterKeyError::NoInlinePrefix)?;
        if params.contains(';') {
            return Err(MasterKeyError::SeveralKeys);
        }
        let mut parts = params.split('|');
        let key_and_salt = parts.next().unwrap_or_default();
        if let Some(extra) = parts.next() {
            // `|` lifetime, then `|` MKI ":" length; either may be missing.
            return Err(if extra.contains(':') { MasterKeyError::Mki } else { MasterKeyError::Lifetime });
        }

        let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(key_and_salt.len())]);
        let len = BASE64
            .decode_slice(key_and_salt, &mut octets)
            .map_err(|error| MasterKeyError::NotBase64 { at: base64_error_position(&error, key_and_salt) })?;
        match octets.get(..len).and_then(|octets| octets.split_at_checked(suite.key_len())) {
            Some((key, salt)) if salt.len() == suite.salt_len() => Self::from_parts(suite, key, salt),
            _ => Err(MasterKeyError::InlineLength { suite, actual: len }),
        }
    }

    /// A key of `suite.key_len()` octets and a salt of `suite.salt_len()` octets.
    ///
    /// # Errors
    ///
    /// [`MasterKeyError::KeyLength`] or [`MasterKeyError::SaltLength`].
    pub fn from_parts(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, MasterKeyError> {
        if key.len() != suite.key_len() {
            return Err(MasterKeyError::KeyLength { suite, actual: key.len() });
        }
        if salt.len() != suite.salt_len() {
            return Err(MasterKeyError::SaltLength { suite, actual: salt.len() });
        }
        let mut new = Self::zero(suite);
        for (to, from) in new.octets.iter_mut().zip(key.iter().chain(salt)) {
            *to = *from;
        }
        Ok(new)
    }

    /// A fresh key: `fill` must overwrite the slice it is given with octets of a cryptographic random
    /// number generator.
    pub fn generate(suite: Suite, fill: &mut impl FnMut(&mut [u8])) -> Self {
        let mut new = Self::zero(suite);
        let len = suite.key_len() + suite.salt_len();
        fill(&mut new.octets[..len]);
        new
    }

    /// The SDES text that [`from_sdes_inline`](Self::from_sdes_inline) reads, with padding. Secret.
    pub fn to_sdes_inline(&self) -> Zeroizing<String> {
        let octets = self.key_and_salt();
        // Sized beforehand and written in place: a buffer that grew would leave key text behind.
        let mut text = Zeroizing::new(vec![0; INLINE.len() + octets.len().div_ceil(3) * 4]);
        let (prefix, base64) = text.split_at_mut(INLINE.len());
        prefix.copy_from_slice(INLINE.as_bytes());
        BASE64.encode_slice(octets, base64).expect("four characters for each three octets begun");
        let text = String::from_utf8(std::mem::take(&mut *text)).expect("base64 is ASCII");
        Zeroizing::new(text)
    }

    /// Sixteen octets by which this suite, key and salt can be recognised later, and from which they
    /// cannot be found: the first half of a SHA-256 over a domain name, the suite, the key and the salt.
    pub fn fingerprint(&self) -> [u8; 16] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(FINGERPRINT_DOMAIN)
            .chain_update(self.suite.name())
            .chain_update([0])
            .chain_update(self.key_and_salt())
            .finalize()
            .into();
        std::array::from_fn(|i| hash[i])
    }

    /// The suite that the key is for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The key alone.
    pub(super) fn key(&self) -> &[u8] {
        &self.octets[..self.suite.key_len()]
    }

    /// The salt alone.
    pub(super) fn salt(&self) -> &[u8] {
        &self.key_and_salt()[self.suite.key_len()..]
    }

    fn key_and_salt(&self) -> &[u8] {
        &self.octets[..self.suite.key_len() + self.suite.salt_len()]
    }

    const fn zero(suite: Suite) -> Self {
        Self { suite, octets: [0; Suite::MAX_KEY_LEN + Suite::MAX_SALT_LEN] }
    }
}

/// Shows the suite and the lengths, never an octet.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, .. } = self;
        write!(
            f,
            "MasterKey({suite}, key [redacted] {} octets, salt [redacted] {} octets)",
            suite.key_len(),
            suite.salt_len()
        )
    }
}

/// Equal suites, and keys and salts compared in constant time.
impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.suite == other.suite && bool::from(self.octets.ct_eq(&other.octets))
    }
}

impl Eq for MasterKey {}

/// Why text or octets are not a master key. Holds lengths and positions, never a part of the key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MasterKeyError {
    /// The text does not start with `inline:`.
    #[error("the key does not start with \"inline:\": write inline:BASE64, the form of RFC 4568")]
    NoInlinePrefix,
    /// Several keys, separated by semicolons.
    #[error("there is more than one key in the text, which is not supported: give exactly one inline:BASE64")]
    SeveralKeys,
    /// A lifetime such as `|2^20`.
    #[error("the key has a lifetime (\"|\" after the base64), which is not supported: leave it out")]
    Lifetime,
    /// A master key identifier such as `|1:4`.
    #[error("the key has an MKI (\"|value:length\"), which is not supported: leave it out at both ends")]
    Mki,
    /// Not base64.
    #[error(
        "the key is not base64 (character {at} after \"inline:\"): \
         use A-Z a-z 0-9 + / and nothing else, \"=\" only at the end"
    )]
    NotBase64 {
        /// Characters after `inline:` and before the first that does not fit.
        at: usize,
    },
    /// The base64 decodes to the wrong number of octets.
    #[error(
        "the key has {actual} octets, {suite} needs {expected} ({} of key and {} of salt): \
         give the base64 of exactly these",
        .suite.key_len(), .suite.salt_len(), expected = .suite.key_len() + .suite.salt_len()
    )]
    InlineLength {
        /// The suite that the key was meant for.
        suite: Suite,
        /// Octets that the base64 decodes to.
        actual: usize,
    },
    /// A key of the wrong length.
    #[error("the master key has {actual} octets, {suite} needs {}", .suite.key_len())]
    KeyLength {
        /// The suite that the key was meant for.
        suite: Suite,
        /// Octets given.
        actual: usize,
    },
    /// A salt of the wrong length.
    #[error("the master salt has {actual} octets, {suite} needs {}", .suite.salt_len())]
    SaltLength {
        /// The suite that the salt was meant for.
        suite: Suite,
        /// Octets given.
        actual: usize,
    },
}

/// Where in the text the decoder stopped. Its own error would print the character.
fn base64_error_position(error: &base64::DecodeSliceError, text: &str) -> usize {
    use base64::{DecodeError, DecodeSliceError};
    match error {
        DecodeSliceError::DecodeError(
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _),
        ) => *at,
        DecodeSliceError::DecodeError(DecodeError::InvalidLength(_) | DecodeError::InvalidPadding)
        | DecodeSliceError::OutputSliceTooSmall => text.len(),
    }
}
