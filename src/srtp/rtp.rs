//! SRTP: opens and seals RTP packets in place (RFC 3711 §3.3, RFC 7714 §8).
//!
//! An [`RtpInbound`] stands for what one peer sends us under one key, an [`RtpOutbound`] for what we send
//! one peer. Each is pinned to the SSRC of its first good packet. They are for endpoints: load generators, tests, the
//! other side of a call. The gateway's own streams keep the same state apart, by how hot it is
//! (`session::Streams`), and make the same steps: `InboundState::accept`, the key, `InboundState::commit`.

use std::fmt;

use super::epoch::Epochs;
use super::kdf::SessionKeys;
use super::mki::{self, Mki};
use super::provider::Batch;
use super::replay::{Head, RTP_WORDS, Refused, ReplayWindow, Ring};
use super::ticket::Ticket;
use super::{MasterKey, OpenError, PacketIndex, Provider, ReplayWindowSize, SealError, SessionKey};

/// What must be remembered of a stream's packets besides which of the latest came: 24 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct InboundState {
    head: Head,
    /// Means something only once the window holds an index.
    ssrc: u32,
    /// The same: of the newest packet.
    timestamp: u32,
}

impl InboundState {
    /// A stream that has received nothing yet, under a key whose indices have `index_bits` bits.
    pub(crate) const fn new(window: ReplayWindowSize, index_bits: u8) -> Self {
        InboundState { head: Head::new(window).limited_to(index_bits), ssrc: 0, timestamp: 0 }
    }

    /// From now on indices have at most `bits` bits.
    pub(crate) const fn limit_to(&mut self, bits: u8) {
        self.head.limit_to(bits);
    }

    /// The index that a packet with sequence number `seq` has if it is authentic. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError::SsrcChanged`], [`OpenError::KeyExhausted`], [`OpenError::TooOld`], [`OpenError::Replayed`].
    #[inline]
    pub(crate) fn accept(
        &self,
        ring: &Ring<RTP_WORDS>,
        ssrc: u32,
        seq: u16,
    ) -> Result<PacketIndex, OpenError> {
        let highest = self.highest_index();
        if highest.is_some() && ssrc != self.ssrc {
            return Err(OpenError::SsrcChanged);
        }
        let index = PacketIndex::estimate(highest, seq).ok_or(OpenError::KeyExhausted)?;
        if self.head.is_beyond_lifetime(index.as_u64()) {
            return Err(OpenError::KeyExhausted);
        }
        self.head.check(ring, index.as_u64()).map_err(refused)?;
        Ok(index)
    }

    /// Takes in an authentic packet: only here may anything that a packet said change the state (RFC 3711 §3.3
    /// step 8). The ticket is the permission to seal one packet with this index.
    ///
    /// # Errors
    /// As [`InboundState::accept`]: a packet with this index may have been taken in since, if several were opened
    /// together.
    #[inline]
    pub(crate) fn commit(
        &mut self,
        ring: &mut Ring<RTP_WORDS>,
        ssrc: u32,
        index: PacketIndex,
    ) -> Result<Ticket<PacketIndex>, OpenError> {
        if self.head.highest().is_some() && ssrc != self.ssrc {
            return Err(OpenError::SsrcChanged);
        }
        self.head.check(ring, index.as_u64()).map_err(refused)?;
        // Of a stream whose source was replaced: `commit_moved` is for it.
        if self.head.is_rebased() {
            return Err(OpenError::BeforeSource);
        }
        self.ssrc = ssrc;
        self.head.commit(ring, index.as_u64());
        Ok(Ticket::new(index))
    }

    /// As [`InboundState::commit`], of a stream whose source was replaced: the ticket is for an index of its epoch.
    ///
    /// # Errors
    /// As [`InboundState::commit`], and [`OpenError::BeforeSource`].
    pub(crate) fn commit_moved(
        &mut self,
        ring: &mut Ring<RTP_WORDS>,
        ssrc: u32,
        index: PacketIndex,
        epochs: &mut Epochs<PacketIndex>,
    ) -> Result<Ticket<PacketIndex>, OpenError> {
        if self.head.highest().is_some() && ssrc != self.ssrc {
            return Err(OpenError::SsrcChanged);
        }
        self.head.check(ring, index.as_u64()).map_err(refused)?;
        let ticket = epochs.ticket(index)?;
        self.ssrc = ssrc;
        self.head.commit(ring, index.as_u64());
        Ok(ticket)
    }

    /// Forgets the source: the next authentic packet is the first of another one. Nothing below `floor` is sealed with
    /// from now on.
    pub(crate) fn replace_source(
        &mut self,
        ring: &mut Ring<RTP_WORDS>,
        epochs: &mut Epochs<PacketIndex>,
        floor: u64,
    ) {
        epochs.replace_source(&mut self.head, ring, floor);
    }

    /// The stream's sealing key is a fresh one that someone joins with: as [`Epochs::restart`].
    pub(crate) fn restart(&mut self, epochs: &mut Epochs<PacketIndex>) {
        epochs.restart(&mut self.head);
    }

    /// Whether [`InboundState::replace_source`] or [`InboundState::restart`] was called: packets need [`InboundState::commit_moved`].
    #[inline(always)]
    pub(crate) const fn is_replaced(&self) -> bool {
        self.head.is_rebased()
    }

    /// The highest index received, or `None` before the first packet.
    #[inline]
    pub(crate) const fn highest_index(&self) -> Option<PacketIndex> {
        match self.head.highest() {
            Some(index) => PacketIndex::from_u64(index),
            None => None,
        }
    }

    /// The SSRC that the first packet pinned, or `None` before it.
    #[inline]
    pub(crate) const fn ssrc(&self) -> Option<u32> {
        match self.head.highest() {
            Some(_) => Some(self.ssrc),
            None => None,
        }
    }

    /// Notes the timestamp of the newest packet.
    #[inline(always)]
    pub(crate) const fn set_timestamp(&mut self, timestamp: u32) {
        self.timestamp = timestamp;
    }

    /// What was noted last, or `None` before the first packet.
    pub(crate) const fn timestamp(&self) -> Option<u32> {
        match self.head.highest() {
            Some(_) => Some(self.timestamp),
            None => None,
        }
    }

    /// Pins the SSRC and takes everything up to `highest` as received.
    pub(crate) const fn resume(&mut self, ring: &mut Ring<RTP_WORDS>, ssrc: u32, highest: PacketIndex) {
        self.ssrc = ssrc;
        self.head.resume(ring, highest.as_u64());
    }
}

/// Receives the SRTP packets of one stream.
pub struct RtpInbound<P: Provider> {
    state: InboundState,
    ring: Ring<RTP_WORDS>,
    key: SessionKey<P>,
    mki: Option<Mki>,
    /// What AES-CM needs; an AEAD does without.
    batch: Option<Box<P::Batch>>,
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
        Self::from_session_keys(&SessionKeys::rtp(master), master.mki().copied(), window)
    }

    pub(super) fn from_session_keys(keys: &SessionKeys, mki: Option<Mki>, window: ReplayWindowSize) -> Self {
        Self {
            state: InboundState::new(window, keys.index_bits()),
            ring: Ring::new(),
            key: SessionKey::new(keys),
            mki,
            batch: batch_for(keys),
        }
    }

    /// Octets that a packet has behind its payload: tag and MKI.
    #[inline]
    pub fn trailer(&self) -> usize {
        self.key.suite().rtp_tag_len() + mki::octets(&self.mki).len()
    }

    /// Verifies and decrypts a packet in place.
    ///
    /// `packet` is the whole SRTP packet: `header_len` octets of RTP header with CSRCs and extension, ciphertext, and
    /// the trailer of the suite with the key's MKI. `ssrc` and `seq` are those of that header.
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
        let mki_len = mki::octets(&self.mki).len();
        if !self.key.rtp_fits(packet.len(), header_len, mki_len) {
            return Err(OpenError::Truncated);
        }
        let index = self.state.accept(&self.ring, ssrc, seq)?;
        if !mki::is_in_rtp(&self.mki, packet, self.key.suite()) {
            return Err(OpenError::UnknownMki);
        }
        let len = match &mut self.batch {
            Some(batch) => self.key.open_rtp(batch, packet, header_len, mki_len, ssrc, index),
            None => self.key.open_rtp_aead(packet, header_len, mki_len, ssrc, index),
        }?;
        self.state.commit(&mut self.ring, ssrc, index)?;
        Ok(RtpOpened { len, index })
    }

    /// The highest index received, or `None` before the first packet. What a restart must keep.
    #[inline]
    pub const fn highest_index(&self) -> Option<PacketIndex> {
        self.state.highest_index()
    }

    /// The SSRC that the first packet pinned, or `None` before it.
    #[inline]
    pub const fn ssrc(&self) -> Option<u32> {
        self.state.ssrc()
    }

    /// Goes on where an earlier run stopped: pins the SSRC and takes everything up to `highest` as
    /// received, so that nothing recorded before the restart can be replayed after it.
    pub const fn resume(&mut self, ssrc: u32, highest: PacketIndex) {
        self.state.resume(&mut self.ring, ssrc, highest);
    }

    /// Everything that a packet may change, for tests that compare before and after.
    #[cfg(test)]
    pub(super) fn state(&self) -> (InboundState, Ring<RTP_WORDS>) {
        (self.state.clone(), self.ring.clone())
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
pub struct RtpOutbound<P: Provider> {
    /// Indices below this one belong to an earlier run.
    floor: u64,
    /// Means something only once the window holds an index.
    ssrc: u32,
    /// Indices sealed.
    window: ReplayWindow,
    key: SessionKey<P>,
    mki: Option<Mki>,
    /// What AES-CM needs; an AEAD does without.
    batch: Option<Box<P::Batch>>,
}

impl<P: Provider> RtpOutbound<P> {
    /// A stream that has sent nothing yet.
    pub fn new(master: &MasterKey) -> Self {
        Self::from_session_keys(&SessionKeys::rtp(master), master.mki().copied())
    }

    pub(super) fn from_session_keys(keys: &SessionKeys, mki: Option<Mki>) -> Self {
        Self {
            floor: 0,
            ssrc: 0,
            window: ReplayWindow::new(ReplayWindowSize::MAX).limited_to(keys.index_bits()),
            key: SessionKey::new(keys),
            mki,
            batch: batch_for(keys),
        }
    }

    /// Octets that sealing appends to a packet: tag and MKI.
    #[inline]
    pub fn trailer(&self) -> usize {
        self.key.suite().rtp_tag_len() + mki::octets(&self.mki).len()
    }

    /// Encrypts a packet in place and writes its trailer.
    ///
    /// `packet` is the whole RTP packet, `header_len` octets of header and then the payload, and
    /// [`trailer`](Self::trailer) spare octets. `ssrc` and the sequence number of `index` must be those of that
    /// header, or the receiver will refuse the packet. Indices may come out of order, as far back as 1023 behind the
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
        if !self.key.rtp_fits(packet.len(), header_len, mki::octets(&self.mki).len()) {
            return Err(SealError::Truncated);
        }
        if let Some(highest) = self.highest_index() {
            if ssrc != self.ssrc {
                return Err(SealError::SsrcChanged);
            }
            if highest == PacketIndex::MAX {
                return Err(SealError::KeyExhausted);
            }
        }
        if self.window.is_beyond_lifetime(index.as_u64()) {
            return Err(SealError::KeyExhausted);
        }
        if index.as_u64() < self.floor {
            return Err(SealError::IndexReserved);
        }
        self.window.check(index.as_u64()).map_err(|_| SealError::IndexReused)?;

        self.ssrc = ssrc;
        self.window.commit(index.as_u64());
        match &mut self.batch {
            Some(batch) => self.key.seal_rtp(batch, packet, header_len, mki::octets(&self.mki), ssrc, index),
            None => self.key.seal_rtp_aead(packet, header_len, mki::octets(&self.mki), ssrc, index),
        }
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

/// What a context that stands alone needs for the suites that are not AEADs.
pub(super) fn batch_for<B: Batch<P>, P: Provider<Batch = B>>(keys: &SessionKeys) -> Option<Box<B>> {
    (!keys.suite().is_aead()).then(|| Box::new(B::new()))
}

/// Why a window refuses an index, as the contexts say it.
#[inline]
pub(super) fn refused(refused: Refused) -> OpenError {
    match refused {
        Refused::TooOld => OpenError::TooOld,
        Refused::Seen => OpenError::Replayed,
    }
}
