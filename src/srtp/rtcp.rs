//! SRTCP: opens and seals RTCP compound packets in place (RFC 3711 §3.4, RFC 7714 §9).
//!
//! An encrypted SRTCP packet is the first 8 octets of the compound packet, in the clear, the ciphertext of
//! the rest, 16 octets of tag, and a word with the E flag and a 31-bit index. The index is explicit, so
//! there is no roll-over to estimate; the replay window and the order of the checks are those of SRTP.

use std::fmt;

use super::epoch::Epochs;
use super::kdf::SessionKeys;
use super::mki::{self, Mki};
use super::provider::Batch;
use super::replay::{Head, RTP_WORDS, Refused, ReplayWindow, Ring};
use super::rtp::refused;
use super::session_key::{E_FLAG, RtcpClear};
use super::ticket::Ticket;
use super::{MasterKey, OpenError, Provider, ReplayWindowSize, SRTCP_INDEX_LEN, SealError, SessionKey};

/// The last SRTCP index that a key may be used with (RFC 3711 §9.2).
pub const MAX_SRTCP_INDEX: u32 = (1 << 31) - 1;

/// What must be remembered of a stream's reports besides which of the latest came: 24 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct RtcpInboundState {
    head: Head,
    /// Means something only once the window holds an index.
    ssrc: u32,
}

impl RtcpInboundState {
    /// A stream that has received nothing yet, under a key whose indices have `index_bits` bits.
    pub(crate) const fn new(window: ReplayWindowSize, index_bits: u8) -> Self {
        RtcpInboundState { head: Head::new(window).limited_to(index_bits), ssrc: 0 }
    }

    /// From now on indices have at most `bits` bits.
    pub(crate) const fn limit_to(&mut self, bits: u8) {
        self.head.limit_to(bits);
    }

    /// The index that a packet with these clear parts has if it is authentic. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError::NotEncrypted`], [`OpenError::SsrcChanged`], [`OpenError::KeyExhausted`], [`OpenError::TooOld`],
    /// [`OpenError::Replayed`].
    pub(crate) fn accept<const WORDS: usize>(
        &self,
        ring: &Ring<WORDS>,
        clear: RtcpClear,
    ) -> Result<u32, OpenError> {
        if clear.word & E_FLAG == 0 {
            return Err(OpenError::NotEncrypted);
        }
        let index = clear.word & MAX_SRTCP_INDEX;
        if self.head.highest().is_some() && clear.ssrc != self.ssrc {
            return Err(OpenError::SsrcChanged);
        }
        if self.head.is_beyond_lifetime(index.into()) {
            return Err(OpenError::KeyExhausted);
        }
        self.head.check(ring, index.into()).map_err(|reason| match reason {
            // After the last index a sender that did not re-key starts over at 0 (RFC 3711 §9.2).
            Refused::TooOld if self.highest_index() == Some(MAX_SRTCP_INDEX) => OpenError::KeyExhausted,
            reason => refused(reason),
        })?;
        Ok(index)
    }

    /// Takes in an authentic packet. The ticket is the permission to seal one packet with this index, or, of a stream whose
    /// source was replaced, with that of its epoch: `epochs` is needed then.
    ///
    /// # Errors
    /// [`OpenError::BeforeSource`], [`OpenError::KeyExhausted`].
    pub(crate) fn commit<const WORDS: usize>(
        &mut self,
        ring: &mut Ring<WORDS>,
        ssrc: u32,
        index: u32,
        epochs: Option<&mut Epochs<u32>>,
    ) -> Result<Ticket<u32>, OpenError> {
        let ticket = match (self.head.is_rebased(), epochs) {
            (false, _) => Ticket::new(index),
            (true, Some(epochs)) => epochs.ticket(index)?,
            (true, None) => return Err(OpenError::BeforeSource),
        };
        self.ssrc = ssrc;
        self.head.commit(ring, index.into());
        Ok(ticket)
    }

    /// As [`InboundState::replace_source`](super::rtp::InboundState::replace_source).
    pub(crate) fn replace_source<const WORDS: usize>(
        &mut self,
        ring: &mut Ring<WORDS>,
        epochs: &mut Epochs<u32>,
        floor: u64,
    ) {
        epochs.replace_source(&mut self.head, ring, floor);
    }

    /// The highest index received, or `None` before the first packet.
    pub(crate) const fn highest_index(&self) -> Option<u32> {
        match self.head.highest() {
            Some(index) => Some(index as u32),
            None => None,
        }
    }

    /// The SSRC that the first packet pinned, or `None` before it.
    pub(crate) const fn ssrc(&self) -> Option<u32> {
        match self.head.highest() {
            Some(_) => Some(self.ssrc),
            None => None,
        }
    }

    /// Pins the SSRC and takes everything up to `highest` (at most [`MAX_SRTCP_INDEX`]) as received.
    pub(crate) fn resume<const WORDS: usize>(&mut self, ring: &mut Ring<WORDS>, ssrc: u32, highest: u32) {
        self.ssrc = ssrc;
        self.head.resume(ring, highest.min(MAX_SRTCP_INDEX).into());
    }
}

/// Receives the SRTCP packets of one stream.
pub struct RtcpInbound<P: Provider> {
    state: RtcpInboundState,
    ring: Ring<RTP_WORDS>,
    key: SessionKey<P>,
    mki: Option<Mki>,
    batch: Box<P::Batch>,
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
        Self::from_session_keys(&SessionKeys::rtcp(master), master.mki().copied(), window)
    }

    pub(super) fn from_session_keys(keys: &SessionKeys, mki: Option<Mki>, window: ReplayWindowSize) -> Self {
        Self {
            state: RtcpInboundState::new(window, keys.index_bits()),
            ring: Ring::new(),
            key: SessionKey::new(keys),
            mki,
            batch: Box::new(Batch::new()),
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
        let mki_len = mki::octets(&self.mki).len();
        let clear = self.key.rtcp_clear(packet, mki_len).ok_or(OpenError::Truncated)?;
        let index = self.state.accept(&self.ring, clear)?;
        if !mki::is_in_rtcp(&self.mki, packet, self.key.suite()) {
            return Err(OpenError::UnknownMki);
        }
        let len = self.key.open_rtcp(&mut self.batch, packet, mki_len, clear)?;
        // Only from here on may anything that the packet said change the state.
        self.state.commit(&mut self.ring, clear.ssrc, index, None)?;
        Ok(RtcpOpened { len, index, ssrc: clear.ssrc })
    }

    /// The highest index received, or `None` before the first packet. What a restart must keep.
    #[inline]
    pub const fn highest_index(&self) -> Option<u32> {
        self.state.highest_index()
    }

    /// The SSRC that the first packet pinned, or `None` before it.
    #[inline]
    pub const fn ssrc(&self) -> Option<u32> {
        self.state.ssrc()
    }

    /// Goes on where an earlier run stopped: pins the SSRC and takes everything up to `highest` (at most
    /// [`MAX_SRTCP_INDEX`]) as received.
    pub fn resume(&mut self, ssrc: u32, highest: u32) {
        self.state.resume(&mut self.ring, ssrc, highest);
    }

    /// Everything that a packet may change, for tests that compare before and after.
    #[cfg(test)]
    pub(super) fn state(&self) -> (RtcpInboundState, Ring<RTP_WORDS>) {
        (self.state.clone(), self.ring.clone())
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
pub struct RtcpOutbound<P: Provider> {
    /// Indices below this one belong to an earlier run.
    floor: u32,
    /// Means something only once the window holds an index.
    ssrc: u32,
    /// Indices sealed.
    window: ReplayWindow,
    key: SessionKey<P>,
    mki: Option<Mki>,
    batch: Box<P::Batch>,
}

impl<P: Provider> RtcpOutbound<P> {
    /// A stream that has sent nothing yet.
    pub fn new(master: &MasterKey) -> Self {
        Self::from_session_keys(&SessionKeys::rtcp(master), master.mki().copied())
    }

    pub(super) fn from_session_keys(keys: &SessionKeys, mki: Option<Mki>) -> Self {
        Self {
            floor: 0,
            ssrc: 0,
            window: ReplayWindow::new(ReplayWindowSize::MAX).limited_to(keys.index_bits()),
            key: SessionKey::new(keys),
            mki,
            batch: Box::new(Batch::new()),
        }
    }

    /// Octets that sealing appends to a packet: tag, index word and MKI.
    #[inline]
    pub fn trailer(&self) -> usize {
        self.key.suite().rtcp_tag_len() + SRTCP_INDEX_LEN + mki::octets(&self.mki).len()
    }

    /// Encrypts a compound packet in place and writes its trailer.
    ///
    /// `packet` is the whole RTCP compound packet, of at least 8 octets, and [`trailer`](Self::trailer) spare
    /// octets. `index` is 0 to [`MAX_SRTCP_INDEX`]; RFC 3711 §3.4 has senders start at 1 and count up by 1.
    ///
    /// # Errors
    ///
    /// [`SealError`]. The packet and the context have not changed then; the packet is still plaintext and
    /// must not be sent.
    #[inline]
    pub fn seal(&mut self, packet: &mut [u8], index: u32) -> Result<(), SealError> {
        let clear = self.key.rtcp_clear(packet, mki::octets(&self.mki).len()).ok_or(SealError::Truncated)?;
        let highest = self.highest_index();
        if highest.is_some() && clear.ssrc != self.ssrc {
            return Err(SealError::SsrcChanged);
        }
        if self.window.is_beyond_lifetime(index.into())
            || index > MAX_SRTCP_INDEX
            || highest == Some(MAX_SRTCP_INDEX)
        {
            return Err(SealError::KeyExhausted);
        }
        if index < self.floor {
            return Err(SealError::IndexReserved);
        }
        self.window.check(index.into()).map_err(|_| SealError::IndexReused)?;

        self.ssrc = clear.ssrc;
        self.window.commit(index.into());
        self.key.seal_rtcp(&mut self.batch, packet, mki::octets(&self.mki), clear.ssrc, index)
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
