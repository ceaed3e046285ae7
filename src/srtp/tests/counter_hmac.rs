//! AES-CM and HMAC-SHA1: the vectors of their RFCs, whole packets, and slower implementations beside them.

use aes::cipher::KeyInit;
use aes::{Aes128Enc, Aes256Enc};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::kdf::{KEY_STREAM_LEN, blocks, only};
use super::vectors::{Vector, sections};
use super::{Random, Suite};
use crate::srtp::counter_hmac::CounterHmacKey;
use crate::srtp::kdf::{SessionKeys, keystream};

const RFC_2202: &str = include_str!("../../../tests/vectors/rfc2202-hmac-sha1.txt");
const DERIVED: &str = include_str!("../../../tests/vectors/srtp-cm-derived.txt");

const SUITES: [Suite; 3] =
    [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32, Suite::AesCm256HmacSha1_80];

#[test]
fn key_streams_of_rfc_3711_and_rfc_6188() {
    for (title, suite) in [("B.2", Suite::AesCm128HmacSha1_80), ("7.1", Suite::AesCm256HmacSha1_80)] {
        let vector = only(title);
        let keys = SessionKeys::from_raw(suite, &vector.octets("session_key"), &[0; 20], &[0; 14]);
        let mut stream = vec![0; KEY_STREAM_LEN];
        let counter = vector.octets("counter").try_into().expect("16 octets");
        CounterHmacKey::new(&keys).apply_keystream(&counter, &mut stream);
        assert_eq!(blocks(&vector, &stream), 6);
    }
}

#[test]
fn hmac_sha1_of_rfc_2202() {
    let vectors = sections(RFC_2202, &["HMAC-SHA1"]);
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let keys = SessionKeys::from_raw(SUITES[0], &[0; 16], &vector.octets("key"), &[0; 14]);
        let (key, data) = (CounterHmacKey::new(&keys), vector.octets("data"));
        assert_eq!(key.tag(&data, &[]).to_vec(), vector.octets("digest"), "{}", vector.title);
    }
}

/// Every length up to three SHA-1 blocks, so that the padding falls everywhere, with and without a second part.
#[test]
fn tags_are_those_of_another_hmac() {
    let mut random = Random(11);
    let auth_key = random.octets(20);
    let key = CounterHmacKey::new(&SessionKeys::from_raw(SUITES[0], &[0; 16], &auth_key, &[0; 14]));
    for len in (0..200).chain([1480, 65_507]) {
        let data = random.octets(len);
        for roc in [&[][..], &[0, 0, 0, 0], &random.octets(4), &random.octets(130)] {
            let mut other = Hmac::<Sha1>::new_from_slice(&auth_key).expect("HMAC takes keys of any length");
            other.update(&data);
            other.update(roc);
            assert_eq!(key.tag(&data, roc), other.finalize().into_bytes().0, "{len} octets");
        }
    }
}

/// Every length up to three parallel runs, against one block after the other; and twice is not at all.
#[test]
fn key_streams_are_those_of_single_blocks() {
    let mut random = Random(12);
    for suite in SUITES {
        let session_key = random.octets(suite.key_len());
        let key = CounterHmacKey::new(&SessionKeys::from_raw(suite, &session_key, &[0; 20], &[0; 14]));
        for len in (0..400).chain([1480, 65_507]) {
            let mut iv: [u8; 16] = random.octets(16).try_into().expect("16 octets");
            iv[14..].fill(0);
            let mut slow = vec![0; len];
            match session_key.len() {
                16 => keystream(&Aes128Enc::new_from_slice(&session_key).expect("16 octets"), iv, &mut slow),
                _ => keystream(&Aes256Enc::new_from_slice(&session_key).expect("32 octets"), iv, &mut slow),
            }
            let text = random.octets(len);
            slow.iter_mut().zip(&text).for_each(|(octet, text)| *octet ^= text);
            let mut fast = text.clone();
            key.apply_keystream(&iv, &mut fast);
            assert!(fast == slow, "{suite}, {len} octets");
            key.apply_keystream(&iv, &mut fast);
            assert!(fast == text, "{suite}, {len} octets");
        }
    }
}

#[test]
fn master_key_to_srtp_packet() {
    let vectors = sections(DERIVED, &[" SRTP "]);
    assert_eq!(vectors.len(), 12);
    for vector in vectors {
        let keys = SessionKeys::rtp(&vector.master_key());
        check_session_keys(&vector, &keys);
        let plain = vector.octets("plain");
        let seq = u16::from_be_bytes([plain[2], plain[3]]);
        let roc = vector.number("roc");
        let iv = CounterHmacKey::iv(keys.salt(), 0xcafe_babe, u64::from(roc) << 16 | u64::from(seq));
        let key = CounterHmacKey::new(&keys);
        let mut packet = plain;
        key.apply_keystream(&iv, &mut packet[12..]);
        let tag = key.tag(&packet, &roc.to_be_bytes());
        check_packet(&vector, packet, &tag[..keys.suite().rtp_tag_len()]);
    }
}

#[test]
fn master_key_to_srtcp_packet() {
    let vectors = sections(DERIVED, &[" SRTCP "]);
    assert_eq!(vectors.len(), 9);
    for vector in vectors {
        let keys = SessionKeys::rtcp(&vector.master_key());
        check_session_keys(&vector, &keys);
        let index = vector.number("index");
        let iv = CounterHmacKey::iv(keys.salt(), 0xcafe_babe, index.into());
        let key = CounterHmacKey::new(&keys);
        let mut packet = vector.octets("plain");
        key.apply_keystream(&iv, &mut packet[8..]);
        packet.extend((1 << 31 | index).to_be_bytes());
        let tag = key.tag(&packet, &[]);
        check_packet(&vector, packet, &tag[..keys.suite().rtcp_tag_len()]);
    }
}

fn check_session_keys(vector: &Vector, keys: &SessionKeys) {
    let expected = ["session_key", "session_auth_key", "session_salt"].map(|name| vector.octets(name));
    assert_eq!([keys.key(), keys.auth_key(), keys.salt()].map(<[u8]>::to_vec), expected, "{}", vector.title);
}

/// The MKI stands between what is authenticated and the tag (RFC 3711 §3.1).
fn check_packet(vector: &Vector, sent: Vec<u8>, tag: &[u8]) {
    assert_eq!([&sent, tag].concat(), vector.octets("sealed"), "{}", vector.title);
    let with_mki = [&*sent, &vector.octets("mki"), tag].concat();
    assert_eq!(with_mki, vector.octets("sealed_with_mki"), "{}", vector.title);
}

/// Equal counter blocks would be equal key streams, so the index must not reach into the block counter or the
/// SSRC.
#[test]
fn an_iv_has_ssrc_and_index_in_places_of_their_own() {
    assert_eq!(
        CounterHmacKey::iv(&[0; 14], 0xa0a1_a2a3, 0xb0b1_b2b3_b4b5),
        *b"\0\0\0\0\xa0\xa1\xa2\xa3\xb0\xb1\xb2\xb3\xb4\xb5\0\0"
    );
    let salt = std::array::from_fn(|i| i as u8 + 1);
    assert_eq!(CounterHmacKey::iv(&salt, 0, 0), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 0]);
}

/// It is fetched from memory for every packet, so its growth must be somebody's decision.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_key_fits_five_cache_lines() {
    println!("CounterHmacKey: {} octets", size_of::<CounterHmacKey>());
    assert_eq!(size_of::<CounterHmacKey>(), 304);
}

#[test]
fn a_key_prints_its_size_only() {
    for suite in SUITES {
        let keys = SessionKeys::from_raw(suite, &vec![0xb9; suite.key_len()], &[0xb9; 20], &[0xb9; 14]);
        let print = format!("{:?}", CounterHmacKey::new(&keys));
        assert_eq!(print, format!("CounterHmacKey({} bits, [redacted])", suite.key_len() * 8));
    }
}
