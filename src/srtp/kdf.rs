//! Session keys from a master key: the AES-CM PRF of RFC 3711 §4.3, with a 256-bit key as RFC 6188 §3
//! extends it.
//!
//! Runs once for each context, at session set-up. The key derivation rate is 0 (no re-derivation), the
//! only value SDES can signal by silence and the one every deployed endpoint uses.

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128Enc, Aes256Enc};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{MasterKey, Suite};

/// Octets of session authentication key: that of HMAC-SHA1 (RFC 3711 §5.2).
pub(super) const AUTH_KEY_LEN: usize = 20;

// The labels of RFC 3711 §4.3.2. An AEAD suite uses no authentication key.
const RTP_LABELS: Labels = Labels { encryption: 0x00, authentication: 0x01, salt: 0x02 };
const RTCP_LABELS: Labels = Labels { encryption: 0x03, authentication: 0x04, salt: 0x05 };

struct Labels {
    encryption: u8,
    authentication: u8,
    salt: u8,
}

/// The keys and the salt that packets are protected with. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    #[zeroize(skip)]
    suite: Suite,
    /// Packets with an index below 2 to this power may be protected with the keys: 48 for SRTP, 31 for SRTCP,
    /// or fewer by the master key's lifetime.
    #[zeroize(skip)]
    index_bits: u8,
    /// Zero behind the first `suite.key_len()` octets.
    key: [u8; Suite::MAX_KEY_LEN],
    /// Zero for AEAD.
    auth_key: [u8; AUTH_KEY_LEN],
    /// Zero behind the first `suite.salt_len()` octets.
    salt: [u8; Suite::MAX_SALT_LEN],
}

impl SessionKeys {
    /// The keys that SRTP packets of this master key are protected with.
    pub fn rtp(master: &MasterKey) -> Self {
        Self::derive(master, &RTP_LABELS, master.rtp_index_bits())
    }

    /// The keys that SRTCP packets of this master key are protected with.
    pub fn rtcp(master: &MasterKey) -> Self {
        Self::derive(master, &RTCP_LABELS, master.rtcp_index_bits())
    }

    /// Session keys as test vectors give them, with no derivation in front: `suite.key_len()`,
    /// `suite.auth_key_len()` and `suite.salt_len()` octets.
    pub(super) fn from_raw(suite: Suite, key: &[u8], auth_key: &[u8], salt: &[u8]) -> Self {
        let mut new = Self::zero(suite, 48);
        new.key[..suite.key_len()].copy_from_slice(&key[..suite.key_len()]);
        new.auth_key[..suite.auth_key_len()].copy_from_slice(&auth_key[..suite.auth_key_len()]);
        new.salt[..suite.salt_len()].copy_from_slice(&salt[..suite.salt_len()]);
        new
    }

    /// The suite that they are for.
    pub(crate) const fn suite(&self) -> Suite {
        self.suite
    }

    /// How many bits an index may have within the lifetime of the master key.
    pub(crate) const fn index_bits(&self) -> u8 {
        self.index_bits
    }

    /// The session encryption key, `suite.key_len()` octets.
    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.suite.key_len()]
    }

    /// The session authentication key; 20 zeros for AEAD.
    pub(super) fn auth_key(&self) -> &[u8; AUTH_KEY_LEN] {
        &self.auth_key
    }

    /// The session salt; of AEAD suites the first 12 octets, and zeros.
    pub(super) fn salt(&self) -> &[u8; Suite::MAX_SALT_LEN] {
        &self.salt
    }

    fn derive(master: &MasterKey, labels: &Labels, index_bits: u8) -> Self {
        const RIGHT_LENGTH: &str = "a MasterKey holds exactly suite.key_len() octets of key";
        if master.suite().key_len() == 16 {
            let cipher = Aes128Enc::new_from_slice(master.key()).expect(RIGHT_LENGTH);
            Self::expand(&cipher, master, labels, index_bits)
        } else {
            let cipher = Aes256Enc::new_from_slice(master.key()).expect(RIGHT_LENGTH);
            Self::expand(&cipher, master, labels, index_bits)
        }
    }

    fn expand(cipher: &impl AesBlock, master: &MasterKey, labels: &Labels, index_bits: u8) -> Self {
        let suite = master.suite();
        let mut new = Self::zero(suite, index_bits);
        prf(cipher, master.salt(), labels.encryption, &mut new.key[..suite.key_len()]);
        prf(cipher, master.salt(), labels.authentication, &mut new.auth_key[..suite.auth_key_len()]);
        prf(cipher, master.salt(), labels.salt, &mut new.salt[..suite.salt_len()]);
        new
    }

    const fn zero(suite: Suite, index_bits: u8) -> Self {
        Self {
            suite,
            index_bits,
            key: [0; Suite::MAX_KEY_LEN],
            auth_key: [0; AUTH_KEY_LEN],
            salt: [0; Suite::MAX_SALT_LEN],
        }
    }
}

/// Shows the suite, never an octet of a key.
impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKeys({}, [redacted])", self.suite)
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
