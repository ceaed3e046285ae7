//! Master keys: the SDES text and what is refused in it, fingerprints, equality.

use super::{Random, Suite, hex, master};
use crate::srtp::{MasterKey, MasterKeyError};

// Key 00 01 02 …, salt a0 a1 … ab, encoded by another implementation.
const TEXT_128: &str = "inline:AAECAwQFBgcICQoLDA0OD6ChoqOkpaanqKmqqw==";
const TEXT_256: &str = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+goaKjpKWmp6ipqqs=";

fn parts(suite: Suite) -> (Vec<u8>, Vec<u8>) {
    ((0..suite.key_len() as u8).collect(), (0xa0..0xac).collect())
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
        (format!("inline:{base64}|2^20"), MasterKeyError::Lifetime),
        (format!("inline:{base64}|1048576"), MasterKeyError::Lifetime),
        (format!("inline:{base64}|2^20|1:4"), MasterKeyError::Lifetime),
        (format!("inline:{base64}|1:4"), MasterKeyError::Mki),
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
    // The same octets under another suite, as far as lengths allow.
    let zeros = |suite: Suite| MasterKey::generate(suite, &mut |octets| octets.fill(0));
    assert_ne!(zeros(Suite::AeadAes128Gcm), zeros(Suite::AeadAes256Gcm));
    assert_ne!(zeros(Suite::AeadAes128Gcm).fingerprint(), zeros(Suite::AeadAes256Gcm).fingerprint());
}

/// Fingerprints are kept across restarts and releases, so their value must not drift.
#[test]
fn fingerprint_is_stable() {
    assert_eq!(known(Suite::AeadAes128Gcm).fingerprint().to_vec(), hex("d5a9d7fabf51bf096fdc86e0a073451b"));
}
