//! Session keys from a master key: the AES-CM PRF of RFC 3711 §4.3, with a 256-bit key as RFC 6188 §3
//! extends it.
//!
//! Runs once for each context, at session set-up. The key derivation rate is 0 (no re-derivation), the
//! only value SDES can signal by silence and the one every deployed endpoint uses.

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128Enc, Aes256Enc};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::nonce::{NONCE_LEN, SessionSalt};
use super::{MasterKey, Suite};

// The labels of RFC 3711 §4.3.2. 0x01 and 0x04 are the authentication keys, which an AEAD suite has not.
const LABEL_RTP_ENCRYPTION: u8 = 0x00;
const LABEL_RTP_SALT: u8 = 0x02;
const LABEL_RTCP_ENCRYPTION: u8 = 0x03;
const LABEL_RTCP_SALT: u8 = 0x05;

/// The key and salt that packets are protected with. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct SessionKeys {
    #[zeroize(skip)]
    pub(super) suite: Suite,
    key: [u8; Suite::MAX_KEY_LEN],
    pub(super) salt: SessionSalt,
}

impl SessionKeys {
    /// The keys that SRTP packets of this master key are protected with.
    pub(super) fn rtp(master: &MasterKey) -> Self {
        Self::derive(master, LABEL_RTP_ENCRYPTION, LABEL_RTP_SALT)
    }

    /// The keys that SRTCP packets of this master key are protected with.
    pub(super) fn rtcp(master: &MasterKey) -> Self {
        Self::derive(master, LABEL_RTCP_ENCRYPTION, LABEL_RTCP_SALT)
    }

    /// Session keys as test vectors give them, with no derivation in front.
    #[cfg(test)]
    pub(super) fn from_raw(suite: Suite, key: &[u8], salt: [u8; NONCE_LEN]) -> Self {
        let mut new = Self { suite, key: [0; Suite::MAX_KEY_LEN], salt: SessionSalt(salt) };
        new.key[..suite.key_len()].copy_from_slice(key);
        new
    }

    /// The session encryption key, `suite.key_len()` octets.
    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.suite.key_len()]
    }

    fn derive(master: &MasterKey, key_label: u8, salt_label: u8) -> Self {
        const RIGHT_LENGTH: &str = "a MasterKey holds exactly suite.key_len() octets of key";
        match master.suite() {
            Suite::AeadAes128Gcm => {
                let cipher = Aes128Enc::new_from_slice(master.key()).expect(RIGHT_LENGTH);
                Self::expand(&cipher, master, key_label, salt_label)
            }
            Suite::AeadAes256Gcm => {
                let cipher = Aes256Enc::new_from_slice(master.key()).expect(RIGHT_LENGTH);
                Self::expand(&cipher, master, key_label, salt_label)
            }
        }
    }

    fn expand(cipher: &impl AesBlock, master: &MasterKey, key_label: u8, salt_label: u8) -> Self {
        let suite = master.suite();
        let mut new = Self { suite, key: [0; Suite::MAX_KEY_LEN], salt: SessionSalt([0; NONCE_LEN]) };
        prf(cipher, master.salt(), key_label, &mut new.key[..suite.key_len()]);
        prf(cipher, master.salt(), salt_label, &mut new.salt.0);
        new
    }
}

/// AES under any key length.
pub(super) trait AesBlock: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> {}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> AesBlock for C {}

/// Fills `out` with the key material named by `label` (RFC 3711 §4.3.1 and §4.3.3).
///
/// `master_salt` has 14 octets or, for AEAD suites, 12, which count as the first of 14 with zeros behind
/// (RFC 7714 §11: "multiplied by 2^16").
pub(super) fn prf(cipher: &impl AesBlock, master_salt: &[u8], label: u8, out: &mut [u8]) {
    // x = (label || r) XOR master_salt, both 112 bits and flush right, where r, of 48 bits, is 0 because the
    // derivation rate is. The initial counter is x * 2^16.
    let mut counter = [0; 16];
    for (octet, salt) in counter.iter_mut().take(14).zip(master_salt) {
        *octet = *salt;
    }
    counter[7] ^= label;
    keystream(cipher, counter, out);
    counter.zeroize();
}

/// The AES-CM key stream from this counter block on (RFC 3711 §4.1.1).
pub(super) fn keystream(cipher: &impl AesBlock, counter: [u8; 16], out: &mut [u8]) {
    let mut counter = u128::from_be_bytes(counter);
    for chunk in out.chunks_mut(16) {
        let mut block = counter.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        for (to, from) in chunk.iter_mut().zip(&block) {
            *to = *from;
        }
        block.zeroize();
        counter = counter.wrapping_add(1);
    }
    counter.zeroize();
}
