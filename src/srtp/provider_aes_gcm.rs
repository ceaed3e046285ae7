//! The portable provider: RustCrypto `aes-gcm`, always built, and the reference for every other one.
//!
//! It picks AES-NI and PCLMULQDQ at run time and falls back to constant-time software. Only the encryption
//! half of the key schedule is kept (GCM never decrypts a block), which is a third less memory to fetch
//! for each packet. Opening verifies the tag over the ciphertext first and decrypts only then.

use std::fmt;

use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::aes::{Aes128Enc, Aes256Enc};
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use zeroize::ZeroizeOnDrop;

use super::provider::{AeadKey, AuthFailed, Provider};
use super::{Suite, TAG_LEN};

/// The `aes-gcm` provider.
#[derive(Clone, Copy, Debug)]
pub struct AesGcmProvider;

impl Provider for AesGcmProvider {
    type Key = AesGcmKey;

    const NAME: &'static str = "aes-gcm";

    fn key(suite: Suite, key: &[u8]) -> AesGcmKey {
        const RIGHT_LENGTH: &str = "the caller gives suite.key_len() octets of key";
        AesGcmKey(match suite {
            Suite::AeadAes128Gcm => Variant::Aes128(AesGcm::new_from_slice(key).expect(RIGHT_LENGTH)),
            Suite::AeadAes256Gcm => Variant::Aes256(AesGcm::new_from_slice(key).expect(RIGHT_LENGTH)),
        })
    }
}

/// An expanded AES-GCM key: AES round keys and GHASH key. Wiped when dropped.
pub struct AesGcmKey(Variant);

enum Variant {
    Aes128(AesGcm<Aes128Enc, U12>),
    Aes256(AesGcm<Aes256Enc, U12>),
}

// Both variants wipe themselves; this fails to compile if a dependency's `zeroize` feature is lost.
impl ZeroizeOnDrop for AesGcmKey {}
const _: () = {
    const fn wiped_when_dropped<T: ZeroizeOnDrop>() {}
    wiped_when_dropped::<AesGcm<Aes128Enc, U12>>();
    wiped_when_dropped::<AesGcm<Aes256Enc, U12>>();
};

impl AeadKey for AesGcmKey {
    #[inline]
    fn open_in_place(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed> {
        match &self.0 {
            Variant::Aes128(key) => key.decrypt_inout_detached(nonce.into(), aad, in_out.into(), tag.into()),
            Variant::Aes256(key) => key.decrypt_inout_detached(nonce.into(), aad, in_out.into(), tag.into()),
        }
        .map_err(|_| AuthFailed)
    }

    #[inline]
    fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG_LEN] {
        match &self.0 {
            Variant::Aes128(key) => key.encrypt_inout_detached(nonce.into(), aad, in_out.into()),
            Variant::Aes256(key) => key.encrypt_inout_detached(nonce.into(), aad, in_out.into()),
        }
        .expect("a packet is shorter than the 64 GiB that GCM can seal")
        .into()
    }
}

/// Shows the suite, never an octet of the key.
impl fmt::Debug for AesGcmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.0 {
            Variant::Aes128(_) => 128,
            Variant::Aes256(_) => 256,
        };
        write!(f, "AesGcmKey({bits} bits, [redacted])")
    }
}
