//! SRTCP: opens and seals RTCP compound packets in place (RFC 3711 §3.4, RFC 7714 §9).
//!
//! An encrypted SRTCP packet is the first 8 octets of the compound packet, in the clear, the ciphertext of
//! the rest, 16 octets of tag, and a word with the E flag and a 31-bit index. The index is explicit, so
//! there is no roll-over to estimate; the replay window and the order of the checks are those of SRTP.

use std::fmt;

use super::kdf::SessionKeys;
use super::nonce::SessionSalt;
use super::replay::{Refused, ReplayWindow};
use super::{AeadKey, MasterKey, OpenError, Provider, ReplayWindowSize, SRTCP_INDEX_LEN, SealError, TAG_LEN};

/// The last SRTCP index that a key may be used with (RFC 3711 §9.2).
pub const MAX_SRTCP_INDEX: u32 = (1 << 31) - 1;

/// Set in the index word of a packet that is encrypted (RFC 3711 §3.4).
const E_FLAG: u32 = 1 << 31;

/// Octets that stay in the clear: the header word and the sender's SSRC.
const HEADER_LEN: usize = 8;

/// Receives the SRTCP packets of one stream.
///
/// In memory: SSRC 4, salt 12, window 144 (of which the counter is 8), then the provider's key.
#[repr(C, align(64))]
pub struct RtcpInbound<P: Provider> {
    /// Means something only once the window holds an index.
    ssrc: u32,
    salt: SessionSalt,
    window: ReplayWindow,
    key: P::Key,
}

/// An SRTCP packet that authenticated and was decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcpOpened {
    /// Where the RTCP compound packet ends, in octets. What follows is the spent tag and index.
    pub len: usize,
    /// The packet's index, 0 to 2^31 - 1.
    pub index: u32,
    /// The SSRC of the sender, from the first packet of the compound.
    pub ssrc: u32,
}

impl<P: Provider> RtcpInbound<P> {
    /// A stream that has received nothing yet.
    pub fn new(master: &MasterKey, window: ReplayWindowSize) -> Self {
        Self::from_session_keys(&SessionKeys::rtcp(master), window)
    }

    pub(super) fn from_session_keys(keys: &SessionKeys, window: ReplayWindowSize) -> Self {
        Self {
            ssrc: 0,
            salt: keys.salt.clone(),
            window: ReplayWindow::new(window),
            key: P::key(keys.suite, keys.key()),
        }
    }

    /// Verifies and decrypts a whole SRTCP packet in place.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. Nothing has changed in the context then, whatever the packet claimed, and the
    /// packet's contents must not be read.
    #[inline]
    pub fn open(&mut self, packet: &mut [u8]) -> Result<RtcpOpened, OpenError> {
        let Parts { header, ssrc, body, tag, trailer } = split(packet).ok_or(OpenError::Truncated)?;
        let word = u32::from_be_bytes(*trailer);
        if word & E_FLAG == 0 {
            return Err(OpenError::NotEncrypted);
        }
        let index = word & MAX_SRTCP_INDEX;
        if self.window.highest().is_some() && ssrc != self.ssrc {
            return Err(OpenError::SsrcChanged);
        }
        self.window.check(index.into()).map_err(|refused| match refused {
            // After the last index a sender that did not re-key starts over at 0 (RFC 3711 §9.2).
            Refused::TooOld if self.highest_index() == Some(MAX_SRTCP_INDEX) => OpenError::KeyExhausted,
            Refused::TooOld => OpenError::TooOld,
            Refused::Seen => OpenError::Replayed,
        })?;

        let nonce = self.salt.nonce(ssrc, index.into());
        let aad = associated_data(header, word);
        self.key.open_in_place(&nonce, &aad, body, tag).map_err(|_| OpenError::AuthFailed)?;

        // Only from here on may anything that the packet said change the state.
        self.ssrc = ssrc;
        self.window.commit(index.into());
        Ok(RtcpOpened { len: HEADER_LEN + body.len(), index, ssrc })
    }

    /// The highest index received, or `None` before the first packet. What a restart must keep.
    #[inline]
    pub const fn highest_index(&self) -> Option<u32> {
        match self.window.highest() {
            Some(index) => Some(index as u32),
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

    /// Goes on where an earlier run stopped: pins the SSRC and takes everything up to `highest` (at most
    /// [`MAX_SRTCP_INDEX`]) as received.
    pub fn resume(&mut self, ssrc: u32, highest: u32) {
        self.ssrc = ssrc;
        self.window.resume(highest.min(MAX_SRTCP_INDEX).into());
    }

    /// Everything that a packet may change, for tests that compare before and after.
    #[cfg(test)]
    pub(super) fn state(&self) -> (u32, ReplayWindow) {
        (self.ssrc, self.window.clone())
    }
}

/// Shows the SSRC and the highest index, nothing of the key.
impl<P: Provider> fmt::Debug for RtcpInbound<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcpInbound")
            .field("provider", &P::NAME)
            .field("ssrc", &self.ssrc())
            .field("highest_index", &self.highest_index())
            .field("key", &format_args!("[redacted]"))
            .finish()
    }
}

/// Sends the SRTCP packets of one stream, and never uses a nonce twice.
///
/// In memory: floor 4, SSRC 4, salt 12 (and 4 of padding), window 144 (of which the counter is 8), then the
/// provider's key.
#[repr(C, align(64))]
pub struct RtcpOutbound<P: Provider> {
    /// Indices below this one belong to an earlier run.
    floor: u32,
    /// Means something only once the window holds an index.
    ssrc: u32,
    salt: SessionSalt,
    /// Indices sealed.
    window: ReplayWindow,
    key: P::Key,
}

impl<P: Provider> RtcpOutbound<P> {
    /// A stream that has sent nothing yet.
    pub fn new(master: &MasterKey) -> Self {
        Self::from_session_keys(&SessionKeys::rtcp(master))
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

    /// Encrypts a compound packet in place and writes its tag and index word.
    ///
    /// `packet` is the whole RTCP compound packet, of at least 8 octets, and 20 spare octets. `index` is 0
    /// to [`MAX_SRTCP_INDEX`]; RFC 3711 §3.4 has senders start at 1 and count up by 1.
    ///
    /// # Errors
    ///
    /// [`SealError`]. The packet and the context have not changed then; the packet is still plaintext and
    /// must not be sent.
    #[inline]
    pub fn seal(&mut self, packet: &mut [u8], index: u32) -> Result<(), SealError> {
        let Parts { header, ssrc, body, tag, trailer } = split(packet).ok_or(SealError::Truncated)?;
        let highest = self.highest_index();
        if highest.is_some() && ssrc != self.ssrc {
            return Err(SealError::SsrcChanged);
        }
        if index > MAX_SRTCP_INDEX || highest == Some(MAX_SRTCP_INDEX) {
            return Err(SealError::KeyExhausted);
        }
        if index < self.floor {
            return Err(SealError::IndexReserved);
        }
        self.window.check(index.into()).map_err(|_| SealError::IndexReused)?;

        self.ssrc = ssrc;
        self.window.commit(index.into());
        let word = E_FLAG | index;
        let nonce = self.salt.nonce(ssrc, index.into());
        *tag = self.key.seal_in_place(&nonce, &associated_data(header, word), body);
        *trailer = word.to_be_bytes();
        Ok(())
    }

    /// Refuses every index below `floor` from now on: after a restart, the first index that no earlier run
    /// can have used.
    pub const fn set_floor(&mut self, floor: u32) {
        self.floor = floor;
    }

    /// The lowest index that is above every index sealed and not below the floor.
    #[inline]
    pub const fn next_index(&self) -> u32 {
        match self.highest_index() {
            Some(highest) if highest >= self.floor => highest + 1,
            _ => self.floor,
        }
    }

    /// The highest index sealed, or `None` before the first packet.
    #[inline]
    pub const fn highest_index(&self) -> Option<u32> {
        match self.window.highest() {
            Some(index) => Some(index as u32),
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
impl<P: Provider> fmt::Debug for RtcpOutbound<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcpOutbound")
            .field("provider", &P::NAME)
            .field("ssrc", &self.ssrc())
            .field("highest_index", &self.highest_index())
            .field("floor", &self.floor)
            .field("key", &format_args!("[redacted]"))
            .finish()
    }
}

/// An SRTCP packet taken apart (RFC 7714 §9.2).
struct Parts<'a> {
    header: &'a [u8; HEADER_LEN],
    ssrc: u32,
    body: &'a mut [u8],
    tag: &'a mut [u8; TAG_LEN],
    trailer: &'a mut [u8; SRTCP_INDEX_LEN],
}

/// Takes a packet apart, or answers `None` when it is too short for all of it.
#[inline]
fn split(packet: &mut [u8]) -> Option<Parts<'_>> {
    let (header, rest) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
    let (rest, trailer) = rest.split_last_chunk_mut::<SRTCP_INDEX_LEN>()?;
    let (body, tag) = rest.split_last_chunk_mut::<TAG_LEN>()?;
    let [_, _, _, _, ssrc @ ..] = *header;
    Some(Parts { header, ssrc: u32::from_be_bytes(ssrc), body, tag, trailer })
}

/// What is authenticated but not encrypted: the header and the index word (RFC 7714 §9.2). They stand at
/// the two ends of the packet, so they are put together here.
#[inline]
fn associated_data(header: &[u8; HEADER_LEN], word: u32) -> [u8; HEADER_LEN + SRTCP_INDEX_LEN] {
    let [h0, h1, h2, h3, h4, h5, h6, h7] = *header;
    let [w0, w1, w2, w3] = word.to_be_bytes();
    [h0, h1, h2, h3, h4, h5, h6, h7, w0, w1, w2, w3]
}
