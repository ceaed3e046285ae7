//! The seam between SRTP and the library that does the AES-GCM.
//!
//! A provider turns octets into an expanded key, and the key opens and seals in place. The contexts are
//! generic over it, so a call costs no indirection. Every provider runs the same known-answer test at
//! start-up ([`Provider::self_test`]) and the same vectors in the test suite.

use thiserror::Error;

use super::{Suite, TAG_LEN};

/// An AEAD implementation.
pub trait Provider: Send + Sync + 'static {
    /// An expanded key, stored by value in each context.
    type Key: AeadKey;

    /// The name for configuration, start-up report and metrics, such as `aes-gcm`.
    const NAME: &'static str;

    /// Expands a session key. Called at session set-up only.
    ///
    /// # Panics
    ///
    /// If `key` has not `suite.key_len()` octets, which no context ever asks for.
    fn key(suite: Suite, key: &[u8]) -> Self::Key;

    /// Checks the provider against known answers, so that a broken build or CPU feature is found before
    /// the first call and not by the peers. To be run once at start-up.
    ///
    /// # Errors
    ///
    /// [`SelfTestError`] with the suite and the step that failed.
    fn self_test() -> Result<(), SelfTestError>
    where
        Self: Sized,
    {
        known_answer_test::<Self>()
    }
}

/// An expanded AEAD key. Implementations wipe it when dropped.
pub trait AeadKey: Send + Sized {
    /// Verifies `tag` over `aad` and the ciphertext in `in_out`, then decrypts `in_out` in place.
    ///
    /// # Errors
    ///
    /// [`AuthFailed`] when the tag does not match. What `in_out` holds then must not be read.
    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed>;

    /// Encrypts `in_out` in place and returns the tag over `aad` and the ciphertext. The caller never
    /// seals twice with one nonce.
    fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN];
}

/// A tag that does not match. Says nothing else: the reason is not for the sender to learn.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the authentication tag does not match")]
pub struct AuthFailed;

/// A provider that does not compute AES-GCM.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the crypto provider {provider} failed its self-test ({suite}, {step}): do not use it on this machine"
)]
pub struct SelfTestError {
    /// [`Provider::NAME`].
    pub provider: &'static str,
    /// The suite under test.
    pub suite: Suite,
    /// What went wrong.
    pub step: &'static str,
}

/// Seals and opens the packet of RFC 7714 §16 and compares with the result printed there.
fn known_answer_test<P: Provider>() -> Result<(), SelfTestError> {
    for suite in Suite::ALL {
        let fail = |step| SelfTestError { provider: P::NAME, suite, step };
        let (ciphertext, tag) = match suite {
            Suite::AeadAes128Gcm => (&SEALED_128.0, &SEALED_128.1),
            Suite::AeadAes256Gcm => (&SEALED_256.0, &SEALED_256.1),
        };
        let key: [u8; Suite::MAX_KEY_LEN] = std::array::from_fn(|i| i as u8);
        let key = P::key(suite, &key[..suite.key_len()]);

        let mut in_out = *PLAINTEXT;
        if key.seal_in_place(NONCE, AAD, &mut in_out) != *tag {
            return Err(fail("the tag of a sealed packet is wrong"));
        }
        if in_out != *ciphertext {
            return Err(fail("the ciphertext of a sealed packet is wrong"));
        }
        if key.open_in_place(NONCE, AAD, &mut in_out, tag).is_err() {
            return Err(fail("an authentic packet is refused"));
        }
        if in_out != *PLAINTEXT {
            return Err(fail("the plaintext of an opened packet is wrong"));
        }
        for bit in 0..TAG_LEN * 8 {
            let mut forged = *tag;
            forged[bit / 8] ^= 1 << (bit % 8);
            in_out = *ciphertext;
            if key.open_in_place(NONCE, AAD, &mut in_out, &forged).is_ok() {
                return Err(fail("a forged tag is accepted"));
            }
        }
    }
    Ok(())
}

// RFC 7714 §16: the nonce, the RTP header, the payload, and its ciphertext and tag in §16.1.1 and §16.2.1
// under the keys 00 01 02 ….
const NONCE: &[u8; 12] = b"\x51\x75\x3c\x65\x80\xc2\x72\x6f\x20\x71\x84\x14";
const AAD: &[u8; 12] = b"\x80\x40\xf1\x7b\x80\x41\xf8\xd3\x55\x01\xa0\xb2";
const PLAINTEXT: &[u8; 38] = b"Gallia est omnis divisa in partes tres";
const SEALED_128: ([u8; 38], [u8; TAG_LEN]) = (
    *b"\xf2\x4d\xe3\xa3\xfb\x34\xde\x6c\xac\xba\x86\x1c\x9d\x7e\x4b\xca\xbe\x63\x3b\xd5\x0d\x29\x4e\x6f\
       \x42\xa5\xf4\x7a\x51\xc7\xd1\x9b\x36\xde\x3a\xdf\x88\x33",
    *b"\x89\x9d\x7f\x27\xbe\xb1\x6a\x91\x52\xcf\x76\x5e\xe4\x39\x0c\xce",
);
const SEALED_256: ([u8; 38], [u8; TAG_LEN]) = (
    *b"\x32\xb1\xde\x78\xa8\x22\xfe\x12\xef\x9f\x78\xfa\x33\x2e\x33\xaa\xb1\x80\x12\x38\x9a\x58\xe2\xf3\
       \xb5\x0b\x2a\x02\x76\xff\xae\x0f\x1b\xa6\x37\x99\xb8\x7b",
    *b"\x7a\xa3\xdb\x36\xdf\xff\xd6\xb0\xf9\xbb\x78\x78\xd7\xa7\x6c\x13",
);
