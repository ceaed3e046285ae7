//! The seam between SRTP and the library that does the cryptography.
//!
//! A provider turns session keys into an expanded key, and the expanded key opens and seals in place. Nothing is
//! called through a pointer: whoever uses a provider is generic over it. Every provider runs the same known-answer
//! test at start-up ([`Provider::self_test`]), the same vectors in the test suite, and against every other one on
//! random packets.
//!
//! The two families of suites need different work. An AEAD ([`Provider::aead_open`], [`Provider::aead_seal`]) is
//! fastest one packet at a time. AES-CM with HMAC-SHA1 ([`CounterHmac`]) has a chain of dependent steps in each
//! packet, so libraries work on packets of several sessions at once: that is a [`Batch`].

use thiserror::Error;

use super::kdf::SessionKeys;
use super::self_test::known_answer_test;
use super::{Suite, TAG_LEN};

/// Octets of an untruncated HMAC-SHA1 (RFC 3711 §4.2.1).
pub const HMAC_LEN: usize = 20;

/// Most packets that a [`Batch`] takes at a time.
pub const BATCH: usize = 64;

/// A cryptographic implementation of all suites.
pub trait Provider: Send + Sync + Sized + 'static {
    /// An expanded key of any suite, stored by value in each context. Wiped when dropped.
    type Key: Send + Sync;

    /// What works on several packets at once; one for each worker.
    type Batch: Batch<Self>;

    /// The name for configuration, start-up report and metrics, such as `aes-gcm`.
    const NAME: &'static str;

    /// Expands session keys. Called at session set-up, and for the rare SRTCP packet.
    fn key(keys: &SessionKeys) -> Self::Key;

    /// Asks the cache for the lines of the key at this address that a packet with `len` octets of payload will read.
    #[inline(always)]
    fn prefetch(key: *const Self::Key, suite: Suite, len: usize) {
        Self::lines(key, suite, len, crate::dpdk::prefetch_line);
    }

    /// Hands `each` the address of every line that a packet with `len` octets of payload will read of the key at this
    /// address.
    fn lines(key: *const Self::Key, suite: Suite, len: usize, each: impl Fn(*const u8));

    /// Verifies `tag` over `aad` and the ciphertext in `in_out`, and decrypts `in_out` in place.
    ///
    /// # Errors
    ///
    /// [`AuthFailed`] when the tag does not match. What `in_out` holds then must not be read.
    fn aead_open(
        key: &Self::Key,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed>;

    /// Encrypts `in_out` in place and returns the tag over `aad` and the ciphertext. The caller never
    /// seals twice with one nonce.
    fn aead_seal(
        key: &Self::Key,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> [u8; TAG_LEN];

    /// Checks the provider against known answers, so that a broken build or CPU feature is found before
    /// the first call and not by the peers. To be run once at start-up.
    ///
    /// # Errors
    ///
    /// [`SelfTestError`] with the suite and the step that failed.
    fn self_test() -> Result<(), SelfTestError> {
        known_answer_test::<Self>()
    }
}

/// One packet for AES in counter mode and HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1).
#[derive(Debug)]
pub struct CounterHmac<'a, K> {
    /// The expanded key.
    pub key: &'a K,
    /// Its suite: one that is not an AEAD.
    pub suite: Suite,
    /// The initial counter block.
    pub counter: [u8; 16],
    /// All that is authenticated: header, payload, and what the suite puts behind it.
    pub packet: &'a mut [u8],
    /// Where the encrypted part starts in `packet`.
    pub cipher_start: usize,
    /// Its length in octets.
    pub cipher_len: usize,
    /// Opening: the tag of the packet, its first octets; sealing: receives at least the first 12 octets of the tag.
    pub tag: [u8; HMAC_LEN],
    /// How many octets of `tag` count when opening.
    pub tag_len: usize,
    /// Opening: whether the tag matched. What `packet` holds if not must not be read.
    pub verified: bool,
}

/// What opens and seals several packets of any keys at once.
pub trait Batch<P: Provider>: Send {
    /// Takes the memory that batches need, once.
    fn new() -> Self;

    /// Authenticates, then decrypts, each packet; [`CounterHmac::verified`] says which were authentic.
    fn open(&mut self, packets: &mut [CounterHmac<'_, P::Key>]);

    /// Encrypts each packet, then computes its [`CounterHmac::tag`].
    fn seal(&mut self, packets: &mut [CounterHmac<'_, P::Key>]);
}

/// A tag that does not match. Says nothing else: the reason is not for the sender to learn.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the authentication tag does not match")]
pub struct AuthFailed;

/// A provider that does not compute what it should.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the crypto provider {provider} failed its self-test ({suite}, {step}): do not use it on this machine; \
     choose another one with --crypto"
)]
pub struct SelfTestError {
    /// [`Provider::NAME`].
    pub provider: &'static str,
    /// The suite under test.
    pub suite: Suite,
    /// What went wrong.
    pub step: &'static str,
}
