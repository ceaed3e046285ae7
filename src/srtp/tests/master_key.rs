//! Master keys: the SDES text and what is refused in it, fingerprints, equality.

use super::{Random, Suite, hex, master};
use crate::srtp::{MasterKey, MasterKeyError, Mki, MkiError};

// Key 00 01 02 …, salt a0 a1 … ab, encoded by another implementation.
const TEXT_128: &str = "inline:AAECAwQFBgcICQoLDA0OD6ChoqOkpaanqKmqqw==";
const TEXT_256: &str = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+goaKjpKWmp6ipqqs=";

fn parts(suite: Suite) -> (Vec<u8>, Vec<u8>) {
    ((0..suite.key_len() as u8).collect(), (0xa0..).take(suite.salt_len()).collect())
}

fn known(suite: Suite) -> MasterKey {
    let (key, salt) = parts(suite);
    MasterKey::from_parts(suite, &key, &salt).expect("right lengths")
}

#[test]
fn sdes_text_with_and_without_padding() {
    for (suite, text) in [(Suite::AeadAes128Gcm, TEXT_128), (Suite::AeadAes256Gcm, TEXT_256)] {
        for text in [text, text.trim_end_matches('=')] {
            assert_eq!(MasterKey::from_sdes_inline(suite, text), Ok(known(suite)), "{text}");
        }
        assert_eq!(known(suite).to_sdes_inline().as_str(), text);
        let key = known(suite);
        assert_eq!((key.suite(), key.key().to_vec(), key.salt().to_vec()), {
            let (key, salt) = parts(suite);
            (suite, key, salt)
        });
    }
}

#[test]
fn sdes_text_round_trips() {
    for suite in Suite::ALL {
        for seed in 0..200 {
            let key = master(suite, seed);
            let text = key.to_sdes_inline();
            assert_eq!(MasterKey::from_sdes_inline(suite, &text), Ok(key.clone()));
            assert_eq!(text.capacity(), text.len(), "no reallocation left a copy behind");
        }
    }
}

#[test]
fn mki_and_lifetime() {
    for suite in Suite::ALL {
        let bare = known(suite).to_sdes_inline();
        let read = |fields: &str| {
            let text = format!("{}{fields}", *bare);
            let key = MasterKey::from_sdes_inline(suite, &text).unwrap_or_else(|e| panic!("{fields}: {e}"));
            assert_eq!(
                MasterKey::from_sdes_inline(suite, &key.to_sdes_inline()),
                Ok(key.clone()),
                "{fields}"
            );
            assert_eq!(key.fingerprint(), known(suite).fingerprint(), "{fields}");
            let mki = key.mki().map(Mki::to_string);
            (mki, key.rtp_index_bits(), key.rtcp_index_bits())
        };
        let mki = |text: &str| Some(text.to_owned());
        assert_eq!(read(""), (None, 48, 31));
        assert_eq!(read("|1:4"), (mki("1:4"), 48, 31));
        assert_eq!(read("|2^31|1:4"), (mki("1:4"), 31, 31));
        assert_eq!(read("|2^48|255:1"), (mki("255:1"), 48, 31));
        assert_eq!(read("|281474976710656"), (None, 48, 31));
        assert_eq!(read("|2^20"), (None, 20, 20));
        assert_eq!(read("|1048576|7:16"), (mki("7:16"), 20, 20));
        // Not a power of two: the one below, so that the key is never used for longer than agreed.
        assert_eq!(read("|2097151"), (None, 20, 20));
        assert_eq!(read("|1099511627776"), (None, 40, 31));
    }
}

/// Suites that differ in the tag alone make one key stream of one key, which two legs must not share.
#[test]
fn keys_of_one_key_stream_have_one_fingerprint() {
    let long = known(Suite::AesCm128HmacSha1_80);
    let short = known(Suite::AesCm128HmacSha1_32);
    assert_eq!(long.fingerprint(), short.fingerprint());
    assert_ne!(long, short);
}

#[test]
fn refused_texts() {
    let suite = Suite::AeadAes128Gcm;
    let base64 = TEXT_128.strip_prefix("inline:").expect("the prefix");
    let digits = base64.trim_end_matches('=');
    let refused = [
        (String::new(), MasterKeyError::NoInlinePrefix),
        (base64.to_owned(), MasterKeyError::NoInlinePrefix),
        (format!("INLINE:{base64}"), MasterKeyError::NoInlinePrefix),
        (format!(" inline:{base64}"), MasterKeyError::NoInlinePrefix),
        (format!("inline:{base64};inline:{base64}"), MasterKeyError::SeveralKeys),
        (format!("inline:{base64}|1:4;inline:{base64}|2:4"), MasterKeyError::SeveralKeys),
        (format!("inline:{base64}|"), MasterKeyError::LifetimeForm),
        (format!("inline:{base64}|2^"), MasterKeyError::LifetimeForm),
        (format!("inline:{base64}|2^031"), MasterKeyError::LifetimeForm),
        (format!("inline:{base64}|01048576"), MasterKeyError::LifetimeForm),
        (format!("inline:{base64}|+1048576"), MasterKeyError::LifetimeForm),
        (format!("inline:{base64}|3^31"), MasterKeyError::LifetimeForm),
        (format!("inline:{base64}|0"), MasterKeyError::LifetimeForm),
        (format!("inline:{base64}|2^19"), MasterKeyError::LifetimeTooShort),
        (format!("inline:{base64}|1048575"), MasterKeyError::LifetimeTooShort),
        (format!("inline:{base64}|1"), MasterKeyError::LifetimeTooShort),
        (format!("inline:{base64}|2^49"), MasterKeyError::LifetimeTooLong),
        (format!("inline:{base64}|281474976710657"), MasterKeyError::LifetimeTooLong),
        (format!("inline:{base64}|{}", "9".repeat(40)), MasterKeyError::LifetimeTooLong),
        (format!("inline:{base64}|2^31|2^31"), MasterKeyError::Fields),
        (format!("inline:{base64}|1:4|2^31"), MasterKeyError::Fields),
        (format!("inline:{base64}|1:4|1:4"), MasterKeyError::Fields),
        (format!("inline:{base64}|2^31|1:4|1:4"), MasterKeyError::Fields),
        (format!("inline:{base64}|1:0"), MasterKeyError::Mki(MkiError::Length)),
        (format!("inline:{base64}|1:17"), MasterKeyError::Mki(MkiError::Length)),
        (format!("inline:{base64}|2^31|256:1"), MasterKeyError::Mki(MkiError::Value)),
        (format!("inline:{base64}|x:4"), MasterKeyError::Mki(MkiError::Form)),
        (format!("inline:{base64} "), MasterKeyError::NotBase64 { at: 40 }),
        (format!("inline: {base64}"), MasterKeyError::NotBase64 { at: 0 }),
        (format!("inline:{}!{}", &digits[..5], &digits[6..]), MasterKeyError::NotBase64 { at: 5 }),
        (format!("inline:{}_{}", &digits[..9], &digits[10..]), MasterKeyError::NotBase64 { at: 9 }),
        (format!("inline:{}\u{e9}", &digits[..8]), MasterKeyError::NotBase64 { at: 8 }),
        (format!("inline:{}", &digits[..37]), MasterKeyError::NotBase64 { at: 37 }),
        // The last character has bits that belong to no octet; they must be zero.
        (format!("inline:{}x", &digits[..37]), MasterKeyError::NotBase64 { at: 37 }),
        ("inline:".to_owned(), MasterKeyError::InlineLength { suite, actual: 0 }),
        (format!("inline:{}", &digits[..36]), MasterKeyError::InlineLength { suite, actual: 27 }),
        (format!("inline:{}AAAA", &digits[..36]), MasterKeyError::InlineLength { suite, actual: 30 }),
        (TEXT_256.to_owned(), MasterKeyError::InlineLength { suite, actual: 44 }),
    ];
    for (text, error) in refused {
        assert_eq!(MasterKey::from_sdes_inline(suite, &text), Err(error), "{text}");
    }
    let suite = Suite::AeadAes256Gcm;
    let error = MasterKey::from_sdes_inline(suite, TEXT_128).expect_err("too short");
    assert_eq!(error, MasterKeyError::InlineLength { suite, actual: 28 });
    assert_eq!(
        error.to_string(),
        "the key has 28 octets, AEAD_AES_256_GCM needs 44 (32 of key and 12 of salt): \
         give the base64 of exactly these"
    );
}

#[test]
fn refused_parts() {
    for suite in Suite::ALL {
        let (key, salt) = parts(suite);
        for actual in (0..64).filter(|&len| len != key.len()) {
            let error = MasterKey::from_parts(suite, &vec![7; actual], &salt).expect_err("wrong length");
            assert_eq!(error, MasterKeyError::KeyLength { suite, actual });
            assert!(error.to_string().contains(&format!("{actual} octets, {suite} needs {}", key.len())));
        }
        for actual in (0..64).filter(|&len| len != salt.len()) {
            let error = MasterKey::from_parts(suite, &key, &vec![7; actual]).expect_err("wrong length");
            assert_eq!(error, MasterKeyError::SaltLength { suite, actual });
        }
    }
}

#[test]
fn generated_keys_hold_what_the_generator_gave() {
    for suite in Suite::ALL {
        let mut given = Vec::new();
        let mut random = Random(5);
        let key = MasterKey::generate(suite, &mut |octets| {
            random.fill(octets);
            given.extend_from_slice(octets);
        });
        assert_eq!(given.len(), suite.key_len() + suite.salt_len());
        assert_eq!([key.key(), key.salt()].concat(), given);
    }
}

/// Equality and fingerprint see every bit of key and salt, and the suite.
#[test]
fn every_bit_makes_another_key() {
    for suite in Suite::ALL {
        let original = known(suite);
        assert_eq!(original, original.clone());
        let (key, salt) = parts(suite);
        let whole = [key, salt].concat();
        let mut fingerprints = std::collections::HashSet::from([original.fingerprint()]);
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (key, salt) = changed.split_at(suite.key_len());
            let changed = MasterKey::from_parts(suite, key, salt).expect("right lengths");
            assert_ne!(changed, original, "bit {bit}");
            assert!(fingerprints.insert(changed.fingerprint()), "bit {bit}");
        }
    }
    // The same octets under another cipher, as far as lengths allow.
    let zeros = |suite: Suite| MasterKey::generate(suite, &mut |octets| octets.fill(0));
    assert_ne!(zeros(Suite::AeadAes128Gcm), zeros(Suite::AeadAes256Gcm));
    assert_ne!(zeros(Suite::AeadAes128Gcm).fingerprint(), zeros(Suite::AeadAes256Gcm).fingerprint());
}

/// Fingerprints are kept across restarts and releases, so their value must not drift.
#[test]
fn fingerprint_is_stable() {
    assert_eq!(known(Suite::AeadAes128Gcm).fingerprint().to_vec(), hex("d5a9d7fabf51bf096fdc86e0a073451b"));
}
