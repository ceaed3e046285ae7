//! An expanded session key with its salt, and what it does to a packet: the transforms of RFC 3711 and RFC 7714.
//!
//! Knows where ciphertext, tag, index word and master key identifier (MKI) lie in a packet, and nothing of replay
//! windows or of who may seal which index: the contexts ([`super::RtpInbound`] and the others) and the gateway's
//! streams decide that.
//!
//! ```text
//!               SRTP                                    SRTCP
//! AEAD          header │ ciphertext │ tag │ MKI         header │ ciphertext │ tag │ E ‖ index │ MKI
//! AES-CM, HMAC  header │ ciphertext │ MKI │ tag         header │ ciphertext │ E ‖ index │ MKI │ tag
//! ```
//!
//! The HMAC of an SRTP packet covers a roll-over counter that does not travel (RFC 3711 §4.2). It is written where
//! the trailer begins, which is at least four octets long, so that what is authenticated is one slice.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::counter_hmac::CounterHmacKey;
use super::kdf::SessionKeys;
use super::provider::{Batch, CounterHmac, HMAC_LEN};
use super::{OpenError, PacketIndex, Provider, SRTCP_INDEX_LEN, SealError, Suite, TAG_LEN};

/// Octets of an RTCP packet that stay in the clear: the header word and the sender's SSRC.
pub(crate) const RTCP_HEADER_LEN: usize = 8;

/// Set in the index word of an SRTCP packet that is encrypted (RFC 3711 §3.4).
pub(crate) const E_FLAG: u32 = 1 << 31;

/// Octets of the roll-over counter.
const ROC_LEN: usize = 4;

/// A session key of either direction, for SRTP or SRTCP.
#[repr(C, align(64))]
pub struct SessionKey<P: Provider> {
    key: P::Key,
    /// Zero behind the first `suite.salt_len()` octets.
    salt: [u8; Suite::MAX_SALT_LEN],
    suite: Suite,
}

impl<P: Provider> Drop for SessionKey<P> {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

impl<P: Provider> ZeroizeOnDrop for SessionKey<P> where P::Key: ZeroizeOnDrop {}

/// An SRTCP packet's clear parts, as read before anything is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RtcpClear {
    /// The sender's SSRC.
    pub(crate) ssrc: u32,
    /// E flag and index.
    pub(crate) word: u32,
}

impl<P: Provider> SessionKey<P> {
    pub(crate) fn new(keys: &SessionKeys) -> Self {
        SessionKey { key: P::key(keys), salt: *keys.salt(), suite: keys.suite() }
    }

    /// The suite.
    #[inline(always)]
    pub(crate) const fn suite(&self) -> Suite {
        self.suite
    }

    /// Asks the cache for what a packet with `len` octets will read of the key in `slot`, where an
    /// `Option<SessionKey>` of `suite` lies, without looking at it.
    #[inline(always)]
    pub(crate) fn prefetch_slot(slot: *const u8, suite: Suite, len: usize) {
        // `None` is told by the last octet of the slot: the key stands at its start either way.
        P::prefetch(slot.cast(), suite, len);
    }

    /// The same into the second-level cache, long before.
    #[inline(always)]
    pub(crate) fn prefetch_slot_far(slot: *const u8, suite: Suite, len: usize) {
        P::lines(slot.cast(), suite, len, crate::dpdk::prefetch_line_far);
    }

    /// Whether a packet of `len` octets has room for all its parts: the first check of an SRTP packet.
    #[inline]
    pub(crate) fn rtp_fits(&self, len: usize, header_len: usize, mki_len: usize) -> bool {
        let trailer = self.suite.rtp_tag_len() + mki_len;
        header_len.checked_add(trailer).is_some_and(|least| least <= len)
    }

    /// Opens an SRTP packet in place and answers the length of header and plaintext.
    ///
    /// # Errors
    /// [`OpenError::Truncated`], [`OpenError::AuthFailed`]; the packet must not be read then.
    #[inline]
    pub(crate) fn open_rtp(
        &self,
        batch: &mut P::Batch,
        packet: &mut [u8],
        header_len: usize,
        mki_len: usize,
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<usize, OpenError> {
        if self.suite.is_aead() {
            return self.open_rtp_aead(packet, header_len, mki_len, ssrc, index);
        }
        let mut job = self.open_rtp_job(packet, header_len, mki_len, ssrc, index)?;
        batch.open(std::slice::from_mut(&mut job));
        if job.verified { Ok(job.cipher_start + job.cipher_len) } else { Err(OpenError::AuthFailed) }
    }

    /// The same for an AEAD suite.
    ///
    /// # Errors
    /// As [`SessionKey::open_rtp`].
    #[inline(always)]
    pub(crate) fn open_rtp_aead(
        &self,
        packet: &mut [u8],
        header_len: usize,
        mki_len: usize,
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<usize, OpenError> {
        let end = packet.len().checked_sub(mki_len).ok_or(OpenError::Truncated)?;
        let packet = packet.get_mut(..end).ok_or(OpenError::Truncated)?;
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(OpenError::Truncated)?;
        let (payload, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError::Truncated)?;
        let nonce = self.nonce(ssrc, index.as_u64());
        P::aead_open(&self.key, self.suite, &nonce, header, payload, tag)
            .map_err(|_| OpenError::AuthFailed)?;
        Ok(header.len() + payload.len())
    }

    /// An SRTP packet of the other family, ready to be opened in a batch. When it verified, header and plaintext
    /// are the first `cipher_start + cipher_len` octets.
    ///
    /// # Errors
    /// [`OpenError::Truncated`]; nothing has changed then.
    #[inline]
    pub(crate) fn open_rtp_job<'a>(
        &'a self,
        packet: &'a mut [u8],
        header_len: usize,
        mki_len: usize,
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<CounterHmac<'a, P::Key>, OpenError> {
        let tag_len = self.suite.rtp_tag_len();
        let end = packet.len().checked_sub(tag_len + mki_len).ok_or(OpenError::Truncated)?;
        let cipher_len = end.checked_sub(header_len).ok_or(OpenError::Truncated)?;
        let tag = leading(&packet[packet.len() - tag_len..]);
        packet[end..end + ROC_LEN].copy_from_slice(&index.roc().to_be_bytes());
        Ok(CounterHmac {
            key: &self.key,
            suite: self.suite,
            counter: self.counter(ssrc, index.as_u64()),
            packet: &mut packet[..end + ROC_LEN],
            cipher_start: header_len,
            cipher_len,
            tag,
            tag_len,
            verified: false,
        })
    }

    /// Seals an SRTP packet in place; it ends with as many spare octets as MKI and tag have.
    ///
    /// # Errors
    /// [`SealError::Truncated`]; the packet has not changed then.
    #[inline]
    pub(crate) fn seal_rtp(
        &self,
        batch: &mut P::Batch,
        packet: &mut [u8],
        header_len: usize,
        mki: &[u8],
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<(), SealError> {
        if self.suite.is_aead() {
            return self.seal_rtp_aead(packet, header_len, mki, ssrc, index);
        }
        let (mut job, trailer) = self.seal_rtp_job(packet, header_len, mki.len(), ssrc, index)?;
        batch.seal(std::slice::from_mut(&mut job));
        Self::finish_rtp(job, trailer, mki);
        Ok(())
    }

    /// The same for an AEAD suite.
    ///
    /// # Errors
    /// As [`SessionKey::seal_rtp`].
    #[inline(always)]
    pub(crate) fn seal_rtp_aead(
        &self,
        packet: &mut [u8],
        header_len: usize,
        mki: &[u8],
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<(), SealError> {
        let end = packet.len().checked_sub(mki.len()).ok_or(SealError::Truncated)?;
        let (packet, trailer) = packet.split_at_mut_checked(end).ok_or(SealError::Truncated)?;
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(SealError::Truncated)?;
        let (payload, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(SealError::Truncated)?;
        let nonce = self.nonce(ssrc, index.as_u64());
        *tag = P::aead_seal(&self.key, self.suite, &nonce, header, payload);
        trailer.copy_from_slice(mki);
        Ok(())
    }

    /// An SRTP packet of the other family, ready to be sealed in a batch, and the rest of its trailer, both of which
    /// [`SessionKey::finish_rtp`] takes afterwards.
    ///
    /// # Errors
    /// [`SealError::Truncated`]; nothing has changed then.
    #[inline]
    pub(crate) fn seal_rtp_job<'a>(
        &'a self,
        packet: &'a mut [u8],
        header_len: usize,
        mki_len: usize,
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<(CounterHmac<'a, P::Key>, &'a mut [u8]), SealError> {
        let trailer = self.suite.rtp_tag_len() + mki_len;
        let end = packet.len().checked_sub(trailer).ok_or(SealError::Truncated)?;
        let cipher_len = end.checked_sub(header_len).ok_or(SealError::Truncated)?;
        let (packet, trailer) = packet.split_at_mut_checked(end + ROC_LEN).ok_or(SealError::Truncated)?;
        packet[end..].copy_from_slice(&index.roc().to_be_bytes());
        let job = CounterHmac {
            key: &self.key,
            suite: self.suite,
            counter: self.counter(ssrc, index.as_u64()),
            packet,
            cipher_start: header_len,
            cipher_len,
            tag: [0; HMAC_LEN],
            tag_len: self.suite.rtp_tag_len(),
            verified: false,
        };
        Ok((job, trailer))
    }

    /// Writes MKI and tag of a packet that was sealed in a batch: over the roll-over counter and the rest of the
    /// trailer.
    #[inline]
    pub(crate) fn finish_rtp(job: CounterHmac<'_, P::Key>, trailer: &mut [u8], mki: &[u8]) {
        let first = job.packet.split_last_chunk_mut::<ROC_LEN>().map_or(&mut [][..], |(_, roc)| roc);
        let to = first.iter_mut().chain(trailer);
        for (to, from) in to.zip(mki.iter().chain(&job.tag)) {
            *to = *from;
        }
    }

    /// Whether an SRTCP packet is long enough, and what stands in the clear in it.
    #[inline]
    pub(crate) fn rtcp_clear(&self, packet: &[u8], mki_len: usize) -> Option<RtcpClear> {
        let tag_len = self.suite.rtcp_tag_len();
        let least = RTCP_HEADER_LEN + tag_len + SRTCP_INDEX_LEN + mki_len;
        let [_, _, _, _, s0, s1, s2, s3, ..] = *packet else { return None };
        if packet.len() < least {
            return None;
        }
        let behind = if self.suite.is_aead() { mki_len } else { mki_len + tag_len };
        let word = packet[..packet.len() - behind].last_chunk::<SRTCP_INDEX_LEN>()?;
        Some(RtcpClear { ssrc: u32::from_be_bytes([s0, s1, s2, s3]), word: u32::from_be_bytes(*word) })
    }

    /// Opens an SRTCP packet in place, of which [`SessionKey::rtcp_clear`] read `clear`. Answers the length of the
    /// compound packet.
    ///
    /// # Errors
    /// [`OpenError::Truncated`], [`OpenError::AuthFailed`]; the packet must not be read then.
    pub(crate) fn open_rtcp(
        &self,
        batch: &mut P::Batch,
        packet: &mut [u8],
        mki_len: usize,
        clear: RtcpClear,
    ) -> Result<usize, OpenError> {
        let index = clear.word & !E_FLAG;
        let tag_len = self.suite.rtcp_tag_len();
        let trailer = tag_len + SRTCP_INDEX_LEN + mki_len;
        let end = packet.len().checked_sub(trailer).ok_or(OpenError::Truncated)?;
        let cipher_len = end.checked_sub(RTCP_HEADER_LEN).ok_or(OpenError::Truncated)?;
        if self.suite.is_aead() {
            let (clear_part, rest) =
                packet.split_first_chunk_mut::<RTCP_HEADER_LEN>().ok_or(OpenError::Truncated)?;
            let (body, rest) = rest.split_at_mut_checked(cipher_len).ok_or(OpenError::Truncated)?;
            let tag = rest.first_chunk::<TAG_LEN>().ok_or(OpenError::Truncated)?;
            let nonce = self.nonce(clear.ssrc, index.into());
            let aad = associated_data(clear_part, clear.word);
            P::aead_open(&self.key, self.suite, &nonce, &aad, body, tag)
                .map_err(|_| OpenError::AuthFailed)?;
            return Ok(end);
        }
        let tag = leading(&packet[packet.len() - tag_len..]);
        let mut job = CounterHmac {
            key: &self.key,
            suite: self.suite,
            counter: self.counter(clear.ssrc, index.into()),
            packet: &mut packet[..end + SRTCP_INDEX_LEN],
            cipher_start: RTCP_HEADER_LEN,
            cipher_len,
            tag,
            tag_len,
            verified: false,
        };
        batch.open(std::slice::from_mut(&mut job));
        if job.verified { Ok(end) } else { Err(OpenError::AuthFailed) }
    }

    /// Seals an RTCP compound packet in place; it ends with as many spare octets as tag, index word and MKI have.
    ///
    /// # Errors
    /// [`SealError::Truncated`]; the packet has not changed then.
    pub(crate) fn seal_rtcp(
        &self,
        batch: &mut P::Batch,
        packet: &mut [u8],
        mki: &[u8],
        ssrc: u32,
        index: u32,
    ) -> Result<(), SealError> {
        let tag_len = self.suite.rtcp_tag_len();
        let trailer = tag_len + SRTCP_INDEX_LEN + mki.len();
        let end = packet.len().checked_sub(trailer).ok_or(SealError::Truncated)?;
        let cipher_len = end.checked_sub(RTCP_HEADER_LEN).ok_or(SealError::Truncated)?;
        let word = E_FLAG | index;
        if self.suite.is_aead() {
            let (clear_part, rest) =
                packet.split_first_chunk_mut::<RTCP_HEADER_LEN>().ok_or(SealError::Truncated)?;
            let (body, trailer) = rest.split_at_mut_checked(cipher_len).ok_or(SealError::Truncated)?;
            let nonce = self.nonce(ssrc, index.into());
            let aad = associated_data(clear_part, word);
            let tag = P::aead_seal(&self.key, self.suite, &nonce, &aad, body);
            put(trailer, [&tag[..], &word.to_be_bytes(), mki]);
            return Ok(());
        }
        packet[end..end + SRTCP_INDEX_LEN].copy_from_slice(&word.to_be_bytes());
        let mut job = CounterHmac {
            key: &self.key,
            suite: self.suite,
            counter: self.counter(ssrc, index.into()),
            packet: &mut packet[..end + SRTCP_INDEX_LEN],
            cipher_start: RTCP_HEADER_LEN,
            cipher_len,
            tag: [0; HMAC_LEN],
            tag_len,
            verified: false,
        };
        batch.seal(std::slice::from_mut(&mut job));
        let tag = job.tag;
        put(&mut packet[end + SRTCP_INDEX_LEN..], [mki, &tag[..]]);
        Ok(())
    }

    /// The GCM nonce: `00 00 ‖ SSRC ‖ index`, exclusive-or the salt. An SRTP index fills its 48 bits with the
    /// roll-over counter and the sequence number (RFC 7714 §8.1); an SRTCP index, of 31 bits, leaves 17 zero (§9.1).
    /// Equal nonces under one key therefore mean an equal SSRC and an equal index.
    #[inline(always)]
    pub(super) fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let plain = u128::from(ssrc) << 48 | u128::from(index);
        let [nonce @ .., _, _] = self.salt;
        let [_, _, _, _, plain @ ..] = plain.to_be_bytes();
        std::array::from_fn(|i| plain[i] ^ nonce[i])
    }

    #[inline(always)]
    fn counter(&self, ssrc: u32, index: u64) -> [u8; 16] {
        CounterHmacKey::iv(&self.salt, ssrc, index)
    }
}

/// Shows the suite, never an octet of the key.
impl<P: Provider> std::fmt::Debug for SessionKey<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKey({}, {}, [redacted])", P::NAME, self.suite)
    }
}

/// What is authenticated but not encrypted of an AEAD SRTCP packet: the header and the index word (RFC 7714 §9.2).
/// They stand at the two ends of the packet, so they are put together here.
#[inline]
fn associated_data(header: &[u8; RTCP_HEADER_LEN], word: u32) -> [u8; RTCP_HEADER_LEN + SRTCP_INDEX_LEN] {
    let [h0, h1, h2, h3, h4, h5, h6, h7] = *header;
    let [w0, w1, w2, w3] = word.to_be_bytes();
    [h0, h1, h2, h3, h4, h5, h6, h7, w0, w1, w2, w3]
}

/// A tag of up to 20 octets, zeros behind it.
#[inline]
fn leading(tag: &[u8]) -> [u8; HMAC_LEN] {
    let mut whole = [0; HMAC_LEN];
    for (to, from) in whole.iter_mut().zip(tag) {
        *to = *from;
    }
    whole
}

/// Fills `to` with `parts` one after the other, as far as it is long.
#[inline]
fn put<const N: usize>(to: &mut [u8], parts: [&[u8]; N]) {
    for (to, from) in to.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
}
