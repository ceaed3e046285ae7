//! SRTP: opens and seals RTP packets in place (RFC 3711 §3.3, RFC 7714 §8).
//!
//! An [`RtpInbound`] stands for what one peer sends us under one key, an [`RtpOutbound`] for what we send
//! one peer. Each is pinned to the SSRC of its first good packet. Both are stored in the session's state
//! and used by the one worker that owns it; the packets come from the parse stage, which knows where the
//! RTP header ends, and go on to inspection or to transmit.
//!
//! Field order is fixed so that everything a packet needs besides the key and one word of the replay
//! window lies in the first cache line of 64 octets.

use std::fmt;

use super::kdf::SessionKeys;
use super::nonce::SessionSalt;
use super::replay::{Refused, ReplayWindow};
use super::{AeadKey, MasterKey, OpenError, PacketIndex, Provider, ReplayWindowSize, SealError, TAG_LEN};

/// Receives the SRTP packets of one stream.
///
/// In memory: SSRC 4, salt 12, window 144 (of which the counter is 8), then the provider's key.
#[repr(C, align(64))]
pub struct RtpInbound<P: Provider> {
    /// Means something only once the window holds an index.
    ssrc: u32,
    salt: SessionSalt,
    window: ReplayWindow,
    key: P::Key,
}

/// An SRTP packet that authenticated and was decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpOpened {
    /// Where the RTP packet ends: octets of header and plaintext. What follows is the spent tag.
    pub len: usize,
    /// The packet's index, with the roll-over counter that the tag confirmed.
    pub index: PacketIndex,
}

impl<P: Provider> RtpInbound<P> {
    /// A stream that has received nothing yet.
    pub fn new(master: &MasterKey, window: ReplayWindowSize) -> Self {
        Self::from_session_keys(&SessionKeys::rtp(master), window)
    }

    pub(super) fn from_session_keys(keys: &SessionKeys, window: ReplayWindowSize) -> Self {
        Self {
            ssrc: 0,
            salt: keys.salt.clone(),
            window: ReplayWindow::new(window),
            key: P::key(keys.suite, keys.key()),
        }
    }

    /// Verifies and decrypts a packet in place.
    ///
    /// `packet` is the whole SRTP packet: `header_len` octets of RTP header with CSRCs and extension (the
    /// associated data), ciphertext, and 16 octets of tag. `ssrc` and `seq` are those of that header.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. Nothing has changed in the context then, whatever the packet claimed, and the
    /// packet's payload must not be read.
    #[inline]
    pub fn open(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<RtpOpened, OpenError> {
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(OpenError::Truncated)?;
        let (payload, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError::Truncated)?;
        let highest = self.highest_index();
        if highest.is_some() && ssrc != self.ssrc {
            return Err(OpenError::SsrcChanged);
        }
        let index = PacketIndex::estimate(highest, seq).ok_or(OpenError::KeyExhausted)?;
        self.window.check(index.as_u64()).map_err(|refused| match refused {
            Refused::TooOld => OpenError::TooOld,
            Refused::Seen => OpenError::Replayed,
        })?;

        let nonce = self.salt.nonce(ssrc, index.as_u64());
        self.key.open_in_place(&nonce, header, payload, tag).map_err(|_| OpenError::AuthFailed)?;

        // Only from here on may anything that the packet said change the state (RFC 3711 §3.3 step 8).
        self.ssrc = ssrc;
        self.window.commit(index.as_u64());
        Ok(RtpOpened { len: header.len() + payload.len(), index })
    }

    /// The highest index received, or `None` before the first packet. What a restart must keep.
    #[inline]
    pub const fn highest_index(&self) -> Option<PacketIndex> {
        match self.window.highest() {
            Some(index) => PacketIndex::from_u64(index),
            None => None,
        }
    }

    /// The SSRC that the first packet pinned, or `None` before it.
    #[inline]
    pub const fn ssrc(&self) -> Option<u32> {
        match self.window.highest() {
            Some(_) => Some(self.ssrc),
            None => None,
        }
    }

    /// Goes on where an earlier run stopped: pins the SSRC and takes everything up to `highest` as
    /// received, so that nothing recorded before the restart can be replayed after it.
    pub const fn resume(&mut self, ssrc: u32, highest: PacketIndex) {
        self.ssrc = ssrc;
        self.window.resume(highest.as_u64());
    }

    /// Everything that a packet may change, for tests that compare before and after.
    #[cfg(test)]
    pub(super) fn state(&self) -> (u32, ReplayWindow) {
        (self.ssrc, self.window.clone())
    }
}

/// Shows the SSRC and the highest index, nothing of the key.
impl<P: Provider> fmt::Debug for RtpInbound<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtpInbound")
            .field("provider", &P::NAME)
            .field("ssrc", &self.ssrc())
            .field("highest_index", &self.highest_index())
            .field("key", &format_args!("[redacted]"))
            .finish()
    }
}

/// Sends the SRTP packets of one stream, and never uses a nonce twice.
///
/// In memory: floor 8, SSRC 4, salt 12, window 144 (of which the counter is 8), then the provider's key.
#[repr(C, align(64))]
pub struct RtpOutbound<P: Provider> {
    /// Indices below this one belong to an earlier run.
    floor: u64,
    /// Means something only once the window holds an index.
    ssrc: u32,
    salt: SessionSalt,
    /// Indices sealed.
    window: ReplayWindow,
    key: P::Key,
}

impl<P: Provider> RtpOutbound<P> {
    /// A stream that has sent nothing yet.
    pub fn new(master: &MasterKey) -> Self {
        Self::from_session_keys(&SessionKeys::rtp(master))
    }

    pub(super) fn from_session_keys(keys: &SessionKeys) -> Self {
        Self {
            floor: 0,
            ssrc: 0,
            salt: keys.salt.clone(),
            window: ReplayWindow::new(ReplayWindowSize::MAX),
            key: P::key(keys.suite, keys.key()),
        }
    }

    /// Encrypts a packet in place and writes its tag.
    ///
    /// `packet` is the whole RTP packet, `header_len` octets of header and then the payload, and 16 spare
    /// octets for the tag. `ssrc` and the sequence number of `index` must be those of that header, or the
    /// receiver will refuse the packet. Indices may come out of order, as far back as 1023 behind the
    /// highest.
    ///
    /// # Errors
    ///
    /// [`SealError`]. The packet and the context have not changed then; the packet is still plaintext and
    /// must not be sent.
    #[inline]
    pub fn seal(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<(), SealError> {
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(SealError::Truncated)?;
        let (payload, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(SealError::Truncated)?;
        if let Some(highest) = self.highest_index() {
            if ssrc != self.ssrc {
                return Err(SealError::SsrcChanged);
            }
            if highest == PacketIndex::MAX {
                return Err(SealError::KeyExhausted);
            }
        }
        if index.as_u64() < self.floor {
            return Err(SealError::IndexReserved);
        }
        self.window.check(index.as_u64()).map_err(|_| SealError::IndexReused)?;

        self.ssrc = ssrc;
        self.window.commit(index.as_u64());
        let nonce = self.salt.nonce(ssrc, index.as_u64());
        *tag = self.key.seal_in_place(&nonce, header, payload);
        Ok(())
    }

    /// Refuses every index below `floor` from now on: after a restart, the first index that no earlier run
    /// can have used.
    pub const fn set_floor(&mut self, floor: PacketIndex) {
        self.floor = floor.as_u64();
    }

    /// The highest index sealed, or `None` before the first packet.
    #[inline]
    pub const fn highest_index(&self) -> Option<PacketIndex> {
        match self.window.highest() {
            Some(index) => PacketIndex::from_u64(index),
            None => None,
        }
    }

    /// The SSRC that the first packet pinned, or `None` before it.
    #[inline]
    pub const fn ssrc(&self) -> Option<u32> {
        match self.window.highest() {
            Some(_) => Some(self.ssrc),
            None => None,
        }
    }

    /// Everything that a packet may change, for tests that compare before and after.
    #[cfg(test)]
    pub(super) fn state(&self) -> (u32, ReplayWindow) {
        (self.ssrc, self.window.clone())
    }
}

/// Shows the SSRC and the highest index, nothing of the key.
impl<P: Provider> fmt::Debug for RtpOutbound<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtpOutbound")
            .field("provider", &P::NAME)
            .field("ssrc", &self.ssrc())
            .field("highest_index", &self.highest_index())
            .field("floor", &self.floor)
            .field("key", &format_args!("[redacted]"))
            .finish()
    }
}
