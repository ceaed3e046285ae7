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

use super::{Mki, MkiError, Suite};

/// Base64 that writes padding and reads it as optional: RFC 4568 examples have none, most senders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key method that SDES text starts with (RFC 4568 §6.1).
const INLINE: &str = "inline:";

/// What the fingerprint hash starts with, so that it can be mistaken for no other hash of the same key.
const FINGERPRINT_DOMAIN: &[u8] = b"voxlane SRTP master key fingerprint v1\0";

/// The bits of an SRTP packet index, and so the longest lifetime of a key: 2^48 packets (RFC 3711 §9.2).
const MAX_LIFETIME_BITS: u8 = 48;

/// The bits of the shortest lifetime that is accepted, 2^20 packets. An index may start anywhere below 2^16
/// (RFC 3711 §3.3.1) and is what the lifetime is measured by, so a much shorter one would be over too soon.
const MIN_LIFETIME_BITS: u8 = 20;

/// A master key, its salt and the suite they are for; perhaps an MKI and a lifetime.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
    /// Key then salt, in the first `suite.key_len() + suite.salt_len()` octets; zero behind them.
    octets: [u8; Suite::MAX_KEY_LEN + Suite::MAX_SALT_LEN],
    #[zeroize(skip)]
    mki: Option<Mki>,
    /// Packets with an index below 2 to this power may use the key.
    #[zeroize(skip)]
    lifetime_bits: u8,
    /// See [`MasterKey::fingerprint`]: asked for many times in the life of a session.
    #[zeroize(skip)]
    fingerprint: [u8; 16],
}

impl MasterKey {
    /// Reads one key of the `key-params` of an SDES crypto attribute (RFC 4568 §6.1):
    /// `inline:BASE64[|LIFETIME][|MKI:LENGTH]`, the base64 being that of key ‖ salt, with or without padding.
    ///
    /// The lifetime, `2^N` or decimal, is 2^20 to 2^48 packets and is rounded down to a power of two; the
    /// contexts stop at it.
    ///
    /// # Errors
    ///
    /// [`MasterKeyError`], which never repeats any of the text. A second key, behind a semicolon, is refused:
    /// [`MasterKeys`](super::MasterKeys) takes each by itself.
    pub fn from_sdes_inline(suite: Suite, text: &str) -> Result<Self, MasterKeyError> {
        let params = text.strip_prefix(INLINE).ok_or(MasterKeyError::NoInlinePrefix)?;
        if params.contains(';') {
            return Err(MasterKeyError::SeveralKeys);
        }
        let mut fields = params.split('|');
        let key_and_salt = fields.next().unwrap_or_default();
        // Only an MKI has a colon, and a lifetime stands before it.
        let (mut lifetime, mut mki) = (None, None);
        for field in fields {
            let is_mki = field.contains(':');
            if mki.is_some() || (lifetime.is_some() && !is_mki) {
                return Err(MasterKeyError::Fields);
            }
            *(if is_mki { &mut mki } else { &mut lifetime }) = Some(field);
        }
        let lifetime_bits = lifetime.map_or(Ok(MAX_LIFETIME_BITS), lifetime_bits)?;
        let mki = mki.map(Mki::from_sdes).transpose().map_err(MasterKeyError::Mki)?;

        let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(key_and_salt.len())]);
        let len = BASE64
            .decode_slice(key_and_salt, &mut octets)
            .map_err(|error| MasterKeyError::NotBase64 { at: base64_error_position(&error, key_and_salt) })?;
        match octets.get(..len).and_then(|octets| octets.split_at_checked(suite.key_len())) {
            Some((key, salt)) if salt.len() == suite.salt_len() => {
                let mut new = Self::from_parts(suite, key, salt)?;
                (new.mki, new.lifetime_bits) = (mki, lifetime_bits);
                Ok(new)
            }
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
        new.fingerprint = new.hash();
        Ok(new)
    }

    /// A fresh key: `fill` must overwrite the slice it is given with octets of a cryptographic random
    /// number generator.
    pub fn generate(suite: Suite, fill: &mut impl FnMut(&mut [u8])) -> Self {
        let mut new = Self::zero(suite);
        let len = suite.key_len() + suite.salt_len();
        fill(&mut new.octets[..len]);
        new.fingerprint = new.hash();
        new
    }

    /// The key with this MKI in place of the one it had.
    #[must_use]
    pub fn with_mki(mut self, mki: Option<Mki>) -> Self {
        self.mki = mki;
        self
    }

    /// The SDES text that [`from_sdes_inline`](Self::from_sdes_inline) reads, with padding. Secret.
    pub fn to_sdes_inline(&self) -> Zeroizing<String> {
        let octets = self.key_and_salt();
        let lifetime = if self.lifetime_bits < MAX_LIFETIME_BITS {
            format!("|2^{}", self.lifetime_bits)
        } else {
            String::new()
        };
        let suffix = self.mki.map_or(lifetime.clone(), |mki| format!("{lifetime}|{mki}"));
        // Sized beforehand and written in place: a buffer that grew would leave key text behind.
        let base64_len = octets.len().div_ceil(3) * 4;
        let mut text = Zeroizing::new(vec![0; INLINE.len() + base64_len + suffix.len()]);
        let (prefix, rest) = text.split_at_mut(INLINE.len());
        let (base64, end) = rest.split_at_mut(base64_len);
        prefix.copy_from_slice(INLINE.as_bytes());
        end.copy_from_slice(suffix.as_bytes());
        BASE64.encode_slice(octets, base64).expect("four characters for each three octets begun");
        let text = String::from_utf8(std::mem::take(&mut *text)).expect("all three parts are ASCII");
        Zeroizing::new(text)
    }

    /// Sixteen octets by which this cipher, key and salt can be recognised later, and from which they cannot
    /// be found: the first half of a SHA-256 over a domain name, the cipher, the key and the salt.
    ///
    /// Equal for suites that differ in the tag alone, because they would use the same key stream. MKI and
    /// lifetime have no part in it.
    pub const fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint
    }

    fn hash(&self) -> [u8; 16] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(FINGERPRINT_DOMAIN)
            .chain_update(self.cipher_name())
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

    /// What packets name the key by, if they do.
    pub const fn mki(&self) -> Option<&Mki> {
        self.mki.as_ref()
    }

    /// How many bits an SRTP index has that the key may be used with: 48, or fewer by a stated lifetime.
    pub const fn rtp_index_bits(&self) -> u8 {
        self.lifetime_bits
    }

    /// How many bits an SRTCP index has that the key may be used with: 31, or fewer by a stated lifetime.
    pub const fn rtcp_index_bits(&self) -> u8 {
        if self.lifetime_bits < 31 { self.lifetime_bits } else { 31 }
    }

    /// Whether suite, key and salt are the same, compared in constant time.
    pub(super) fn has_octets_of(&self, other: &Self) -> bool {
        self.suite == other.suite && self.octets.ct_eq(&other.octets).into()
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
        Self {
            suite,
            octets: [0; Suite::MAX_KEY_LEN + Suite::MAX_SALT_LEN],
            mki: None,
            lifetime_bits: MAX_LIFETIME_BITS,
            fingerprint: [0; 16],
        }
    }

    /// The suite's name for the fingerprint; for those whose packets have one key stream, that of the first.
    const fn cipher_name(&self) -> &'static str {
        match self.suite {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_80.name(),
            Suite::AesCm256HmacSha1_80 | Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => self.suite.name(),
        }
    }
}

/// Reads the second field of `key-params`: `2^N` or a decimal number, without leading zeros (RFC 4568 §9.2).
fn lifetime_bits(text: &str) -> Result<u8, MasterKeyError> {
    let (is_power, digits) = text.strip_prefix("2^").map_or((false, text), |digits| (true, digits));
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(MasterKeyError::LifetimeForm);
    }
    // A number too long for its type is too long a lifetime, too.
    let number = digits.parse::<u64>().unwrap_or(u64::MAX);
    let most = if is_power { MAX_LIFETIME_BITS.into() } else { 1 << MAX_LIFETIME_BITS };
    if number > most {
        return Err(MasterKeyError::LifetimeTooLong);
    }
    let bits = if is_power { number } else { number.ilog2().into() };
    u8::try_from(bits).ok().filter(|bits| *bits >= MIN_LIFETIME_BITS).ok_or(MasterKeyError::LifetimeTooShort)
}

/// Shows the suite and the lengths, never an octet.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite, .. } = self;
        write!(
            f,
            "MasterKey({suite}, key [redacted] {} octets, salt [redacted] {} octets",
            suite.key_len(),
            suite.salt_len()
        )?;
        if let Some(mki) = self.mki {
            write!(f, ", MKI {mki}")?;
        }
        if self.lifetime_bits < MAX_LIFETIME_BITS {
            write!(f, ", lifetime 2^{}", self.lifetime_bits)?;
        }
        f.write_str(")")
    }
}

/// Equal suites, MKIs and lifetimes, and keys and salts compared in constant time.
impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.has_octets_of(other) && self.mki == other.mki && self.lifetime_bits == other.lifetime_bits
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
    #[error("there is more than one key in the text: give each an inline:BASE64|MKI:LENGTH of its own")]
    SeveralKeys,
    /// More fields than a lifetime and an MKI, or those in the wrong order.
    #[error("the text behind the key is not |LIFETIME|MKI:LENGTH: give each once, in this order, or neither")]
    Fields,
    /// A lifetime that is no number.
    #[error("the lifetime behind the key is not a number: write it like 2^31, or leave it out")]
    LifetimeForm,
    /// A lifetime of more than 2^48 packets.
    #[error("the key's lifetime is more than the 2^48 packets of its suite: leave it out, that means 2^48")]
    LifetimeTooLong,
    /// A lifetime of less than 2^20 packets.
    #[error("the key's lifetime is less than 2^20 packets, which is not supported: agree on a longer one")]
    LifetimeTooShort,
    /// A master key identifier that is not one.
    #[error(transparent)]
    Mki(MkiError),
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
