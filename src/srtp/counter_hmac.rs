//! AES in counter mode and HMAC-SHA1, portable: what the suites of RFC 3711 and RFC 6188 are made of.
//!
//! Built from session keys when a context is, used for each packet by a provider, which knows where the
//! packet's parts lie and cuts the tag to the suite's length. This is also the reference for every faster
//! implementation of the same suites.
//!
//! What does not change from packet to packet is in the key: AES round keys (the encryption half only, counter
//! mode never decrypts a block), and the two SHA-1 states behind the padded HMAC key, which saves two of the
//! compressions of each tag. No heap.

use std::fmt;

use aes::cipher::consts::U8;
use aes::cipher::{Array, KeyInit};
use aes::{Aes128Enc, Aes256Enc, Block};
use sha1::block_api::compress;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Suite;
use super::kdf::{AUTH_KEY_LEN, AesBlock, SessionKeys};
use super::provider::HMAC_LEN;

/// Octets that SHA-1 compresses at a time, and to which HMAC pads its key (RFC 2104 §2).
const SHA1_BLOCK_LEN: usize = 64;

/// What SHA-1 starts from (FIPS 180-4 §5.3.1).
const SHA1_INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// Octets of an AES block.
const AES_BLOCK_LEN: usize = 16;

/// Blocks of key stream made at once: as many as AES-NI keeps under way.
const PARALLEL: usize = 8;

/// An AES-CM key and an HMAC-SHA1 key, both expanded. Wiped when dropped.
pub(super) struct CounterHmacKey {
    cipher: Cipher,
    /// SHA-1 after the block `key XOR ipad`.
    inner: [u32; 5],
    /// SHA-1 after the block `key XOR opad`.
    outer: [u32; 5],
}

#[allow(clippy::large_enum_variant, reason = "a box would be one more cache line to find for each packet")]
enum Cipher {
    Aes128(Aes128Enc),
    Aes256(Aes256Enc),
}

impl CounterHmacKey {
    /// Expands session keys; of an AEAD suite, the counter mode alone would be of use.
    pub(super) fn new(keys: &SessionKeys) -> Self {
        const RIGHT_LENGTH: &str = "SessionKeys hold exactly suite.key_len() octets of key";
        let cipher = if keys.suite().key_len() == 16 {
            Cipher::Aes128(Aes128Enc::new_from_slice(keys.key()).expect(RIGHT_LENGTH))
        } else {
            Cipher::Aes256(Aes256Enc::new_from_slice(keys.key()).expect(RIGHT_LENGTH))
        };
        Self {
            cipher,
            inner: padded_key_state(keys.auth_key(), 0x36),
            outer: padded_key_state(keys.auth_key(), 0x5c),
        }
    }

    /// The SHA-1 states behind the padded key: inner, outer.
    pub(super) fn hmac_states(keys: &SessionKeys) -> [[u32; 5]; 2] {
        [padded_key_state(keys.auth_key(), 0x36), padded_key_state(keys.auth_key(), 0x5c)]
    }

    /// The initial counter block of a packet (RFC 3711 §4.1.1):
    /// `(salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16)`.
    ///
    /// `index` is the 48-bit SRTP index or the 31-bit SRTCP index.
    #[inline]
    pub(super) fn iv(salt: &[u8; Suite::MAX_SALT_LEN], ssrc: u32, index: u64) -> [u8; 16] {
        let mut salted = [0; 16];
        for (octet, salt) in salted.iter_mut().zip(salt) {
            *octet = *salt;
        }
        (u128::from_be_bytes(salted) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16).to_be_bytes()
    }

    /// Encrypts or decrypts `in_out`: combines it with the key stream from counter block `iv` on.
    ///
    /// The counter has 16 bits of its own, so 2^20 octets is the most that one `iv` is good for (RFC 3711
    /// §4.1.1), sixteen times the longest UDP payload.
    #[inline]
    pub(super) fn apply_keystream(&self, iv: &[u8; 16], in_out: &mut [u8]) {
        match &self.cipher {
            Cipher::Aes128(cipher) => apply_keystream(cipher, iv, in_out),
            Cipher::Aes256(cipher) => apply_keystream(cipher, iv, in_out),
        }
    }

    /// HMAC-SHA1 of `authenticated` and then `roc_or_empty`, in full; a suite sends the first octets of it.
    ///
    /// For SRTP the second part is the roll-over counter, which is authenticated but not sent (RFC 3711
    /// §4.2); for SRTCP there is none.
    #[inline]
    pub(super) fn tag(&self, authenticated: &[u8], roc_or_empty: &[u8]) -> [u8; HMAC_LEN] {
        let mut state = self.inner;
        let (blocks, rest) = authenticated.as_chunks::<SHA1_BLOCK_LEN>();
        compress(&mut state, blocks);
        // The last octets, the `1` bit, zeros, and the length in bits (FIPS 180-4 §5.1.1).
        let mut block = [0; SHA1_BLOCK_LEN];
        let mut used = 0;
        for octet in rest.iter().chain(roc_or_empty).chain(&[0x80]) {
            if used == SHA1_BLOCK_LEN {
                compress(&mut state, &[block]);
                block = [0; SHA1_BLOCK_LEN];
                used = 0;
            }
            block[used % SHA1_BLOCK_LEN] = *octet;
            used += 1;
        }
        if used > SHA1_BLOCK_LEN - 8 {
            compress(&mut state, &[block]);
            block = [0; SHA1_BLOCK_LEN];
        }
        let octets = SHA1_BLOCK_LEN + authenticated.len() + roc_or_empty.len();
        put_length(&mut block, octets);
        compress(&mut state, &[block]);

        let mut block = [0; SHA1_BLOCK_LEN];
        let (digest, rest) = block.split_at_mut(HMAC_LEN);
        digest.copy_from_slice(&octets_of(&state));
        rest[0] = 0x80;
        put_length(&mut block, SHA1_BLOCK_LEN + HMAC_LEN);
        let mut state = self.outer;
        compress(&mut state, &[block]);
        octets_of(&state)
    }
}

fn apply_keystream(cipher: &impl AesBlock, iv: &[u8; 16], in_out: &mut [u8]) {
    let mut counter = u128::from_be_bytes(*iv);
    for chunk in in_out.chunks_mut(PARALLEL * AES_BLOCK_LEN) {
        let mut blocks: Array<Block, U8> =
            Array::from_fn(|i| counter.wrapping_add(i as u128).to_be_bytes().into());
        counter = counter.wrapping_add(PARALLEL as u128);
        if chunk.len() <= AES_BLOCK_LEN {
            cipher.encrypt_block(&mut blocks[0]);
        } else {
            // Eight at once cost hardly more than two in turn, so a rest is not worth counting.
            cipher.encrypt_blocks(&mut blocks);
        }
        let (whole, rest) = chunk.as_chunks_mut::<AES_BLOCK_LEN>();
        for (octets, stream) in whole.iter_mut().zip(&blocks) {
            *octets = (u128::from_ne_bytes(*octets) ^ u128::from_ne_bytes(stream.0)).to_ne_bytes();
        }
        if let Some(stream) = blocks.get(whole.len()) {
            rest.iter_mut().zip(stream).for_each(|(octet, stream)| *octet ^= stream);
        }
    }
}

/// SHA-1 after one block: the key, padded with zeros, exclusive-or `pad` (RFC 2104 §2).
fn padded_key_state(key: &[u8; AUTH_KEY_LEN], pad: u8) -> [u32; 5] {
    let mut block = [pad; SHA1_BLOCK_LEN];
    block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
    let mut state = SHA1_INITIAL;
    compress(&mut state, &[block]);
    block.zeroize();
    state
}

#[inline]
fn put_length(block: &mut [u8; SHA1_BLOCK_LEN], octets: usize) {
    let bits = octets as u64 * 8;
    block[SHA1_BLOCK_LEN - 8..].copy_from_slice(&bits.to_be_bytes());
}

#[inline]
fn octets_of(state: &[u32; 5]) -> [u8; HMAC_LEN] {
    let mut octets = [0; HMAC_LEN];
    for (to, word) in octets.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    octets
}

impl Drop for CounterHmacKey {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

// The ciphers wipe themselves; this fails to compile if a dependency's `zeroize` feature is lost.
impl ZeroizeOnDrop for CounterHmacKey {}
const _: () = {
    const fn wiped_when_dropped<T: ZeroizeOnDrop>() {}
    wiped_when_dropped::<Aes128Enc>();
    wiped_when_dropped::<Aes256Enc>();
};

/// Shows the size, never an octet of the key.
impl fmt::Debug for CounterHmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.cipher {
            Cipher::Aes128(_) => 128,
            Cipher::Aes256(_) => 256,
        };
        write!(f, "CounterHmacKey({bits} bits, [redacted])")
    }
}
