//! The 12-octet GCM nonce of a packet (RFC 7714 §8.1 and §9.1), shared by the SRTP and SRTCP contexts.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets of a GCM nonce, and of the session salt that it is made with.
pub(crate) const NONCE_LEN: usize = 12;

/// A session salt. As secret as a key, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[repr(transparent)]
pub(crate) struct SessionSalt(pub(crate) [u8; NONCE_LEN]);

impl SessionSalt {
    /// `00 00 || SSRC || index`, exclusive-or the salt. An SRTP index fills its 48 bits with the roll-over
    /// counter and the sequence number (§8.1); an SRTCP index, of 31 bits, leaves 17 zero (§9.1). Equal
    /// nonces under one key therefore mean an equal SSRC and an equal index.
    #[inline]
    pub(crate) fn nonce(&self, ssrc: u32, index: u64) -> [u8; NONCE_LEN] {
        let [s0, s1, s2, s3] = ssrc.to_be_bytes();
        let [_, _, i0, i1, i2, i3, i4, i5] = index.to_be_bytes();
        let mut nonce = [0, 0, s0, s1, s2, s3, i0, i1, i2, i3, i4, i5];
        for (octet, salt) in nonce.iter_mut().zip(&self.0) {
            *octet ^= salt;
        }
        nonce
    }
}
