//! The known-answer test that every provider passes before it may touch a call.
//!
//! The AEAD suites seal and open the packet of RFC 7714 §16 under the keys printed there. The AES-CM suites protect
//! a packet of the same plaintext with keys 00 01 02 …; its ciphertext and tag were computed with OpenSSL.

use super::kdf::SessionKeys;
use super::provider::{Batch, CounterHmac, HMAC_LEN, Provider, SelfTestError};
use super::{Suite, TAG_LEN};

/// Seals and opens a known packet of each suite.
///
/// # Errors
/// [`SelfTestError`] with the suite and the first step that failed.
pub(super) fn known_answer_test<P: Provider>() -> Result<(), SelfTestError> {
    for suite in Suite::ALL {
        let tested = if suite.is_aead() { aead::<P>(suite) } else { counter_hmac::<P>(suite) };
        tested.map_err(|step| SelfTestError { provider: P::NAME, suite, step })?;
    }
    Ok(())
}

fn aead<P: Provider>(suite: Suite) -> Result<(), &'static str> {
    let (ciphertext, tag) = if suite == Suite::AeadAes128Gcm { &SEALED_128 } else { &SEALED_256 };
    let key = P::key(&keys(suite));
    let mut in_out = *PLAINTEXT;
    if P::aead_seal(&key, suite, NONCE, AAD, &mut in_out) != *tag {
        return Err("the tag of a sealed packet is wrong");
    }
    if in_out != *ciphertext {
        return Err("the ciphertext of a sealed packet is wrong");
    }
    if P::aead_open(&key, suite, NONCE, AAD, &mut in_out, tag).is_err() {
        return Err("an authentic packet is refused");
    }
    if in_out != *PLAINTEXT {
        return Err("the plaintext of an opened packet is wrong");
    }
    for bit in 0..TAG_LEN * 8 {
        let mut forged = *tag;
        forged[bit / 8] ^= 1 << (bit % 8);
        in_out = *ciphertext;
        if P::aead_open(&key, suite, NONCE, AAD, &mut in_out, &forged).is_ok() {
            return Err("a forged tag is accepted");
        }
    }
    Ok(())
}

fn counter_hmac<P: Provider>(suite: Suite) -> Result<(), &'static str> {
    let (ciphertext, tag) = if suite.key_len() == 16 { &COUNTER_128 } else { &COUNTER_256 };
    let key = P::key(&keys(suite));
    let mut batch = P::Batch::new();
    let plain = [&AAD[..], PLAINTEXT].concat();
    let sealed = [&AAD[..], ciphertext].concat();
    let mut run = |packet: &mut [u8], tag: [u8; HMAC_LEN], open: bool| {
        let mut job = CounterHmac {
            key: &key,
            suite,
            counter: *COUNTER,
            cipher_start: AAD.len(),
            cipher_len: PLAINTEXT.len(),
            packet,
            tag,
            tag_len: suite.rtp_tag_len(),
            verified: false,
        };
        let jobs = std::slice::from_mut(&mut job);
        if open {
            batch.open(jobs)
        } else {
            batch.seal(jobs)
        }
        (job.tag, job.verified)
    };
    let mut packet = plain.clone();
    // No suite sends more than ten octets, and a provider need not compute more than twelve.
    if run(&mut packet, [0; HMAC_LEN], false).0[..12] != tag[..12] {
        return Err("the tag of a sealed packet is wrong");
    }
    if packet != sealed {
        return Err("the ciphertext of a sealed packet is wrong");
    }
    if !run(&mut packet, *tag, true).1 {
        return Err("an authentic packet is refused");
    }
    if packet != plain {
        return Err("the plaintext of an opened packet is wrong");
    }
    for bit in 0..suite.rtp_tag_len() * 8 {
        let mut forged = *tag;
        forged[bit / 8] ^= 1 << (bit % 8);
        if run(&mut sealed.clone(), forged, true).1 {
            return Err("a forged tag is accepted");
        }
    }
    Ok(())
}

/// Keys 00 01 02 …, authentication key a0 a1 a2 …, no salt.
fn keys(suite: Suite) -> SessionKeys {
    let key: [u8; Suite::MAX_KEY_LEN] = std::array::from_fn(|i| i as u8);
    let auth_key: [u8; HMAC_LEN] = std::array::from_fn(|i| 0xa0 + i as u8);
    SessionKeys::from_raw(suite, &key, &auth_key, &[0; Suite::MAX_SALT_LEN])
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

// The same plaintext behind the same header; computed with OpenSSL's AES-CTR and Python's hmac.
const COUNTER: &[u8; 16] = b"\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\x00\x00";
const COUNTER_128: ([u8; 38], [u8; HMAC_LEN]) = (
    *b"\x35\xd7\x1c\x71\x29\xf7\x7e\x5c\x4f\x00\xee\xaa\x27\x61\x87\xb3\x8a\xf0\x48\xb0\x0d\xad\xc6\x70\
       \x0e\x6d\x7e\x03\x33\xb1\xcd\x76\x3a\x63\xf5\x2a\x7e\x74",
    *b"\xb5\x7c\xf1\x74\x64\x56\x38\x9f\xdc\x54\xca\x15\x41\x01\x6e\x7b\x8f\x53\xbb\x00",
);
const COUNTER_256: ([u8; 38], [u8; HMAC_LEN]) = (
    *b"\x3f\x94\x02\x3d\xc0\xe3\x39\x61\x2f\xbe\x37\x7e\x52\x89\x2c\xaa\x53\x02\x44\xc6\x14\xcc\xd2\x8c\
       \x38\x3b\x09\xc4\x21\x1e\xc8\x2f\x7f\x09\x9c\x52\x40\x0c",
    *b"\x7d\xda\x75\xb3\x5e\xc4\xbb\xc4\x23\x9e\x94\xe3\xf3\x19\xdc\xec\xec\x6e\x31\x7e",
);
