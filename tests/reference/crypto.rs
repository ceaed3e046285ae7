//! The ciphers of SRTP from their definitions: AES on one block is the only thing that is not written out here,
//! beside HMAC-SHA1. Slow on purpose.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;

pub type Block = [u8; 16];

/// AES on single blocks.
#[derive(Clone)]
pub enum Aes {
    Key128(Box<aes::Aes128>),
    Key256(Box<aes::Aes256>),
}

impl Aes {
    /// From 16 or 32 octets of key.
    pub fn new(key: &[u8]) -> Self {
        match key.len() {
            16 => Aes::Key128(Box::new(aes::Aes128::new_from_slice(key).expect("16 octets"))),
            32 => Aes::Key256(Box::new(aes::Aes256::new_from_slice(key).expect("32 octets"))),
            other => panic!("no suite has a key of {other} octets"),
        }
    }

    pub fn block(&self, input: Block) -> Block {
        let mut block = Array::from(input);
        match self {
            Aes::Key128(aes) => aes.encrypt_block(&mut block),
            Aes::Key256(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }
}

/// AES-CM (RFC 3711 §4.1.1): the key stream E(iv), E(iv + 1), ... added to `data`.
pub fn counter_mode(aes: &Aes, iv: Block, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, chunk) in data.chunks(16).enumerate() {
        let counter = u128::from_be_bytes(iv).wrapping_add(number as u128);
        let stream = aes.block(counter.to_be_bytes());
        out.extend(chunk.iter().zip(stream).map(|(octet, key)| octet ^ key));
    }
    out
}

/// HMAC-SHA1 (RFC 2104) of the concatenation of `parts`.
pub fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut mac = <Hmac<Sha1> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// GCM (NIST SP 800-38D §7) with a 96-bit nonce. Encrypts or decrypts `data`, as both are the same.
pub fn gcm_crypt(aes: &Aes, nonce: &[u8; 12], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, chunk) in (2_u32..).zip(data.chunks(16)) {
        let stream = aes.block(gcm_counter(nonce, number));
        out.extend(chunk.iter().zip(stream).map(|(octet, key)| octet ^ key));
    }
    out
}

/// The tag of GCM over associated data and ciphertext: GHASH (§6.4) under E(0), added to E(J0).
pub fn gcm_tag(aes: &Aes, nonce: &[u8; 12], aad: &[u8], ciphertext: &[u8]) -> Block {
    let h = u128::from_be_bytes(aes.block([0; 16]));
    let mut y = 0_u128;
    for part in [aad, ciphertext] {
        for chunk in part.chunks(16) {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            y = multiply(y ^ u128::from_be_bytes(block), h);
        }
    }
    let lengths = (aad.len() as u128 * 8) << 64 | (ciphertext.len() as u128 * 8);
    y = multiply(y ^ lengths, h);
    (y ^ u128::from_be_bytes(aes.block(gcm_counter(nonce, 1)))).to_be_bytes()
}

fn gcm_counter(nonce: &[u8; 12], number: u32) -> Block {
    let mut block = [0; 16];
    block[..12].copy_from_slice(nonce);
    block[12..].copy_from_slice(&number.to_be_bytes());
    block
}

/// Multiplication in GF(2^128), bit by bit (SP 800-38D §6.3, algorithm 1).
fn multiply(x: u128, y: u128) -> u128 {
    const R: u128 = 0xe1 << 120;
    let (mut z, mut v) = (0, y);
    for bit in 0..128 {
        if x >> (127 - bit) & 1 == 1 {
            z ^= v;
        }
        v = if v & 1 == 1 { v >> 1 ^ R } else { v >> 1 };
    }
    z
}
