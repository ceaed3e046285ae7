//! RFC 3711 appendices B.2 and B.3 and RFC 6188 §7: the key stream and the key derivation.

use aes::cipher::KeyInit;
use aes::{Aes128Enc, Aes256Enc};

use super::Suite;
use super::vectors::{Vector, sections};
use crate::srtp::MasterKey;
use crate::srtp::kdf::{AesBlock, SessionKeys, keystream, prf};

const FILE: &str = include_str!("../../../tests/vectors/rfc3711-kdf.txt");

pub(super) fn only(title: &str) -> Vector {
    let mut found = sections(FILE, &[title]);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn rfc_3711_b_2_key_stream() {
    let vector = only("B.2");
    check_key_stream(&vector, &Aes128Enc::new_from_slice(&vector.octets("session_key")).expect("16 octets"));
}

#[test]
fn rfc_6188_7_1_key_stream() {
    let vector = only("7.1");
    check_key_stream(&vector, &Aes256Enc::new_from_slice(&vector.octets("session_key")).expect("32 octets"));
}

fn check_key_stream(vector: &Vector, cipher: &impl AesBlock) {
    let counter = vector.octets("counter").try_into().expect("16 octets");
    let mut stream = vec![0; KEY_STREAM_LEN];
    keystream(cipher, counter, &mut stream);
    assert_eq!(blocks(vector, &stream), 6);
}

/// Octets of the key streams in both RFCs.
pub(super) const KEY_STREAM_LEN: usize = 1_044_512;

/// Checks every block of a vector, and answers how many there were.
pub(super) fn blocks(vector: &Vector, stream: &[u8]) -> usize {
    let numbers =
        vector.fields.iter().filter_map(|(name, _)| name.strip_prefix("block_").map(|n| (*name, n)));
    numbers
        .map(|(name, number)| {
            let at = usize::from_str_radix(number, 16).expect("a block number") * 16;
            assert_eq!(stream[at..at + 16].to_vec(), vector.octets(name), "{} {name}", vector.title);
        })
        .count()
}

#[test]
fn rfc_3711_b_3_key_derivation() {
    let vector = only("B.3");
    let cipher = Aes128Enc::new_from_slice(&vector.octets("master_key")).expect("16 octets");
    assert_eq!(derivations(&vector, |salt, label, out| prf(&cipher, salt, label, out)), 3);
}

#[test]
fn rfc_6188_7_2_key_derivation() {
    let vector = only("7.2");
    let cipher = Aes256Enc::new_from_slice(&vector.octets("master_key")).expect("32 octets");
    assert_eq!(derivations(&vector, |salt, label, out| prf(&cipher, salt, label, out)), 3);
}

/// The vectors give more of the authentication key than HMAC-SHA1 takes.
#[test]
fn session_keys_are_those_of_the_rfcs() {
    for (title, suite) in [
        ("B.3", Suite::AesCm128HmacSha1_80),
        ("B.3", Suite::AesCm128HmacSha1_32),
        ("7.2", Suite::AesCm256HmacSha1_80),
    ] {
        let vector = only(title);
        let (key, salt) = (vector.octets("master_key"), vector.octets("master_salt"));
        let keys = SessionKeys::rtp(&MasterKey::from_parts(suite, &key, &salt).expect("right lengths"));
        assert_eq!(keys.key().to_vec(), vector.octets("label_00"), "{title}");
        assert_eq!(keys.auth_key().to_vec(), vector.octets("label_01")[..20].to_vec(), "{title}");
        assert_eq!(keys.salt().to_vec(), vector.octets("label_02"), "{title}");
    }
}

/// Checks every label of a vector, and answers how many there were.
fn derivations(vector: &Vector, derive: impl Fn(&[u8], u8, &mut [u8])) -> usize {
    let salt = vector.octets("master_salt");
    let labels = vector.fields.iter().filter_map(|(name, _)| name.strip_prefix("label_").map(|l| (*name, l)));
    labels
        .map(|(name, label)| {
            let expected = vector.octets(name);
            let mut out = vec![0; expected.len()];
            derive(&salt, u8::from_str_radix(label, 16).expect("a label"), &mut out);
            assert_eq!(out, expected, "{} {name}", vector.title);
        })
        .count()
}
