//! The portable provider: RustCrypto, always built, and the reference for every other one.
//!
//! It picks AES-NI and PCLMULQDQ at run time and falls back to constant-time software. Only the encryption
//! half of the AES key schedule is kept (neither GCM nor counter mode ever decrypts a block), which is a third less
//! memory to fetch for each packet. Opening verifies the tag first and decrypts only then.

use std::fmt;

use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::aes::{Aes128Enc, Aes256Enc};
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use super::counter_hmac::CounterHmacKey;
use super::kdf::SessionKeys;
use super::provider::{AuthFailed, Batch, CounterHmac, Provider};
use super::{Suite, TAG_LEN};

/// The `aes-gcm` provider.
#[derive(Clone, Copy, Debug)]
pub struct AesGcmProvider;

impl Provider for AesGcmProvider {
    type Key = AesGcmKey;
    type Batch = OneByOne;

    const NAME: &'static str = "aes-gcm";

    fn key(keys: &SessionKeys) -> AesGcmKey {
        const RIGHT_LENGTH: &str = "SessionKeys hold exactly suite.key_len() octets of key";
        AesGcmKey(match keys.suite() {
            Suite::AeadAes128Gcm => Variant::Aes128(AesGcm::new_from_slice(keys.key()).expect(RIGHT_LENGTH)),
            Suite::AeadAes256Gcm => Variant::Aes256(AesGcm::new_from_slice(keys.key()).expect(RIGHT_LENGTH)),
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 | Suite::AesCm256HmacSha1_80 => {
                Variant::CounterHmac(CounterHmacKey::new(keys))
            }
        })
    }

    #[inline(always)]
    fn lines(key: *const AesGcmKey, _suite: Suite, _len: usize, each: impl Fn(*const u8)) {
        for offset in (0..size_of::<AesGcmKey>()).step_by(crate::dpdk::CACHE_LINE) {
            each(key.cast::<u8>().wrapping_add(offset));
        }
    }

    #[inline]
    fn aead_open(
        key: &AesGcmKey,
        _suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed> {
        match &key.0 {
            Variant::Aes128(key) => key.decrypt_inout_detached(nonce.into(), aad, in_out.into(), tag.into()),
            Variant::Aes256(key) => key.decrypt_inout_detached(nonce.into(), aad, in_out.into(), tag.into()),
            // No context asks an AES-CM key for an AEAD; nothing would be authentic under it.
            Variant::CounterHmac(_) => return Err(AuthFailed),
        }
        .map_err(|_| AuthFailed)
    }

    #[inline]
    fn aead_seal(
        key: &AesGcmKey,
        _suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> [u8; TAG_LEN] {
        match &key.0 {
            Variant::Aes128(key) => key.encrypt_inout_detached(nonce.into(), aad, in_out.into()),
            Variant::Aes256(key) => key.encrypt_inout_detached(nonce.into(), aad, in_out.into()),
            Variant::CounterHmac(_) => {
                unreachable!("the context looks at the suite that the key was made for")
            }
        }
        .expect("a packet is shorter than the 64 GiB that GCM can seal")
        .into()
    }
}

/// An expanded key of any suite. Wiped when dropped.
pub struct AesGcmKey(Variant);

#[allow(clippy::large_enum_variant, reason = "a box would be one more cache line to find for each packet")]
enum Variant {
    Aes128(AesGcm<Aes128Enc, U12>),
    Aes256(AesGcm<Aes256Enc, U12>),
    CounterHmac(CounterHmacKey),
}

// All variants wipe themselves; this fails to compile if a dependency's `zeroize` feature is lost.
impl ZeroizeOnDrop for AesGcmKey {}
const _: () = {
    const fn wiped_when_dropped<T: ZeroizeOnDrop>() {}
    wiped_when_dropped::<AesGcm<Aes128Enc, U12>>();
    wiped_when_dropped::<AesGcm<Aes256Enc, U12>>();
    wiped_when_dropped::<CounterHmacKey>();
};

/// Shows the suite, never an octet of the key.
impl fmt::Debug for AesGcmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            Variant::Aes128(_) => "AES-128-GCM",
            Variant::Aes256(_) => "AES-256-GCM",
            Variant::CounterHmac(_) => "AES-CM, HMAC-SHA1",
        };
        write!(f, "AesGcmKey({name}, [redacted])")
    }
}

/// A batch is no faster than its packets one after the other here.
#[derive(Clone, Copy, Debug)]
pub struct OneByOne;

impl Batch<AesGcmProvider> for OneByOne {
    fn new() -> Self {
        OneByOne
    }

    fn open(&mut self, packets: &mut [CounterHmac<'_, AesGcmKey>]) {
        for job in packets {
            let Variant::CounterHmac(key) = &job.key.0 else { continue };
            let tag = key.tag(job.packet, &[]);
            let wanted = job.tag.get(..job.tag_len).unwrap_or(&job.tag);
            job.verified = tag.get(..job.tag_len).unwrap_or(&tag).ct_eq(wanted).into();
            if job.verified {
                key.apply_keystream(&job.counter, encrypted(job.packet, job.cipher_start, job.cipher_len));
            }
        }
    }

    fn seal(&mut self, packets: &mut [CounterHmac<'_, AesGcmKey>]) {
        for job in packets {
            let Variant::CounterHmac(key) = &job.key.0 else { continue };
            key.apply_keystream(&job.counter, encrypted(job.packet, job.cipher_start, job.cipher_len));
            job.tag = key.tag(job.packet, &[]);
        }
    }
}

/// The encrypted part of a packet.
#[inline]
fn encrypted(packet: &mut [u8], start: usize, len: usize) -> &mut [u8] {
    packet.get_mut(start..start + len).unwrap_or_default()
}
