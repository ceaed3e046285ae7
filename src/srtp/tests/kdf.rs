//! RFC 3711 appendices B.2 and B.3 and RFC 6188 §7.2: the key stream and the key derivation.

use aes::cipher::KeyInit;
use aes::{Aes128Enc, Aes256Enc};

use super::vectors::{Vector, sections};
use crate::srtp::kdf::{keystream, prf};

const FILE: &str = include_str!("../../../tests/vectors/rfc3711-kdf.txt");

fn only(title: &str) -> Vector {
    let mut found = sections(FILE, &[title]);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn rfc_3711_b_2_key_stream() {
    let vector = only("B.2");
    let cipher = Aes128Enc::new_from_slice(&vector.octets("session_key")).expect("16 octets");
    let counter = vector.octets("counter").try_into().expect("16 octets");
    // As many blocks as the RFC's segment has: 1,044,512 octets.
    let mut stream = vec![0; 1_044_512];
    keystream(&cipher, counter, &mut stream);
    let mut ran = 0;
    for (name, _) in &vector.fields {
        let Some(number) = name.strip_prefix("block_") else {
            continue;
        };
        let at = usize::from_str_radix(number, 16).expect("a block number") * 16;
        assert_eq!(stream[at..at + 16].to_vec(), vector.octets(name), "{name}");
        ran += 1;
    }
    assert_eq!(ran, 6);
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
