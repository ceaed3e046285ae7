//! All streams that are homed on one worker, laid out by how often they are read.
//!
//! At a hundred thousand sessions the cost of a packet is the memory that it touches, not what is computed. So a
//! stream is no object: its parts lie in four columns of hugepage memory, each at the stream's position, and the
//! stages ask for exactly the lines that the next stage will read ([`Streams::prefetch_receive`] and the others).
//!
//! | column | octets a stream | an RTP packet reads | a report reads |
//! |---|---|---|---|
//! | hot: [`Receive`], ring, [`Send`] | 64 + 128 + 128 | the first line, one of the ring's two, the last two | first |
//! | keys: to open, to seal | 2 × the provider's | round keys; as many powers of the hash key as it has blocks | |
//! | cold: [`Cold`] | 384 | | all |
//! | margin: [`Timers`], [`KeySet`] | 32 | nothing, unless there are several keys | the same |
//!
//! Rows are filled and emptied by control ([`StreamKeeper`], `dpdk::slots`) and belong to the one worker in between;
//! nothing in here changes because of a packet that has not authenticated. The keys of reports are not kept expanded: a
//! report comes every few seconds, and its session key is expanded then, or found among those of the latest reports.

use super::at_work::AtWork;
use super::cold::Cold;
use super::keeper::StreamKeeper;
use super::lifecycle::{self, Active, Activity, Ended, Timers};
use super::profile::{Profile, ProfileId, Profiles};
use super::replace::{self, Moment, timestamp_of};
use super::rtcp_keys::RtcpKeys;
use super::stream::{Learn, OpenedRtcp, OpenedRtp, StreamId, StreamSetup};
use super::{Egress, Endpoint, JournalSlot, KeySet};
use crate::dpdk::slots::{self, Filled, Retired, Row, Rows, Token};
use crate::dpdk::{self, CACHE_LINE, Memory};
use crate::srtp::mki;
use crate::srtp::provider::BATCH;
use crate::srtp::{
    Batch, CounterHmac, InboundState, MasterKey, OpenError, PacketIndex, Provider, RTP_WORDS, Ring,
    SealError, SessionKey, Suite, Ticket,
};
use crate::tap::TapTag;

/// The streams of one worker.
pub struct Streams<P: Provider> {
    pub(super) rows: StreamRows<P>,
    /// What their legs negotiated.
    pub(super) profiles: Profiles,
    pub(super) rtcp_keys: RtcpKeys<P>,
    pub(super) batch: P::Batch,
    /// The suites of the first stream.
    pub(super) usual_open: Option<Suite>,
    pub(super) usual_seal: Option<Suite>,
    /// What the clock of [`Timers`] says.
    pub(super) now: u32,
    /// When the present burst came ([`replace`]).
    arrived: u16,
    /// The next row that [`Streams::sweep`] looks at.
    pub(super) swept: u32,
    /// Whose packet is being worked on.
    pub(super) at_work: AtWork,
    /// Control's half, where there is no other thread.
    local: Option<StreamKeeper<P>>,
}

pub(super) type StreamRows<P> = Rows<Hot, Keys<P>, Cold, Margin>;

/// What RTP packets read of a stream, but for its keys. Behind the eight octets of the row's own word.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Hot {
    pub(super) receive: Receive,
    pub(super) ring: Ring<RTP_WORDS>,
    pub(super) send: Send,
}

/// One line, but for the row's own word: what is known of the sender.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Receive {
    /// Read and written for each packet.
    pub(super) state: InboundState,
    /// Read for each packet; written when a remote is learned.
    pub(super) source: Option<Endpoint>,
    /// Read for each packet: what the sender negotiated.
    pub(super) profile: ProfileId,
    /// `None` is a plain leg.
    pub(super) suite: Option<Suite>,
    /// Octets of master key identifier in each packet.
    pub(super) mki_len: u8,
    /// Written for each authentic packet: when it came, on the clock of [`Timers`]; 0 before the first.
    pub(super) last_seen: u32,
    /// The same for the newest packet, finer ([`replace`]).
    pub(super) arrived: u16,
    learn: Learn,
    /// What is not usual about the stream.
    pub(super) flags: Flags,
}

/// What is not usual about a stream, one bit each: a stream with none of them takes the common path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Flags(u8);

/// Two lines: what is known of the receiver.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Send {
    /// Headers of each packet; written when a remote is learned.
    egress: Option<Egress>,
    /// `None` is a plain leg.
    pub(super) suite: Option<Suite>,
    mki_len: u8,
    /// The first index beyond the lifetime of the key.
    pub(super) end: u64,
    /// Of which most packets read one word.
    pub(super) journal: Option<JournalSlot>,
}

/// Octets of a row's own word, before its first column.
const WORD: usize = 8;
const _: () = assert!(WORD + size_of::<Receive>() == CACHE_LINE);
const _: () = assert!(size_of::<Send>() == 2 * CACHE_LINE);
const _: () = assert!(WORD + size_of::<Hot>() == 5 * CACHE_LINE);
const _: () = assert!(size_of::<Margin>() == 32);

/// `None` is a plain leg.
pub(super) struct Keys<P: Provider> {
    pub(super) open: Option<SessionKey<P>>,
    pub(super) seal: Option<SessionKey<P>>,
}

/// What is read in order, row after row, and what few streams have.
#[derive(Debug)]
pub(super) struct Margin {
    pub(super) timers: Timers,
    /// Of a stream with several keys.
    pub(super) set: Option<Box<KeySet>>,
    /// Of a stream that is tapped.
    pub(super) tap: TapTag,
}

impl Flags {
    /// Packets may be sealed with a key of the stream's set that is not in its own place.
    pub(super) const SEVERAL: Flags = Flags(1);
    /// Opened packets are copied for the media tap.
    pub(super) const TAPPED: Flags = Flags(1 << 1);
    /// Packets are refused, because one of them made the worker panic.
    pub(super) const QUARANTINED: Flags = Flags(1 << 2);
    /// Control was told that the session's time is over.
    pub(super) const ENDING: Flags = Flags(1 << 4);
    /// Packets are opened and sealed one at a time: the worker panicked on a batch with one of them.
    pub(super) const ALONE: Flags = Flags(1 << 5);

    const SEVERAL_OR_ALONE: Flags = Flags(Self::SEVERAL.0 | Self::ALONE.0);

    pub(super) const fn none() -> Self {
        Flags(0)
    }

    #[inline(always)]
    pub(super) const fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) const fn set(&mut self, flag: Flags, on: bool) {
        self.0 = if on { self.0 | flag.0 } else { self.0 & !flag.0 };
    }
}

/// A packet of a suite that is opened in batches, once it has passed all checks that come before its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpeningRtp {
    /// The stream.
    pub stream: StreamId,
    /// Length of the RTP header in bytes.
    pub header_len: u16,
    /// The header's SSRC.
    pub ssrc: u32,
    /// The index that the packet has if it is authentic.
    pub index: PacketIndex,
    /// The header's timestamp.
    pub timestamp: u32,
}

/// How a stream's RTP packets are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Not at all, or by an AEAD: one packet at a time.
    Single,
    /// By AES-CM and HMAC-SHA1: in batches.
    Batched,
}

impl<P: Provider> Streams<P> {
    /// Room for `capacity` streams, with control's half and the rights to the vacant rows.
    ///
    /// # Errors
    /// [`dpdk::Error::Memory`].
    pub fn halves(memory: Memory<'_>, capacity: usize) -> Result<(Self, StreamKeeper<P>), dpdk::Error> {
        let ((rows, keeper), vacant) = slots::table(memory, capacity)?;
        let streams = Streams {
            rows,
            profiles: Profiles::new(),
            rtcp_keys: RtcpKeys::new(memory)?,
            batch: P::Batch::new(),
            usual_open: None,
            usual_seal: None,
            now: 0,
            arrived: 0,
            swept: 0,
            at_work: AtWork::default(),
            local: None,
        };
        Ok((streams, StreamKeeper::new(keeper, vacant)))
    }

    /// Room for `capacity` streams that are all [pushed](Streams::push) by the thread that uses them: for tests and
    /// tools.
    ///
    /// # Errors
    /// [`dpdk::Error::Memory`].
    pub fn with_capacity(memory: Memory<'_>, capacity: usize) -> Result<Self, dpdk::Error> {
        let (streams, keeper) = Self::halves(memory, capacity)?;
        Ok(Streams { local: Some(keeper), ..streams })
    }

    /// Bytes that each stream takes in the columns.
    pub const BYTES_PER_STREAM: usize =
        WORD + size_of::<Hot>() + size_of::<Keys<P>>() + size_of::<Cold>() + size_of::<Margin>();

    /// Memory that the columns take, in bytes.
    pub fn memory(&self) -> usize {
        self.rows.capacity() * Self::BYTES_PER_STREAM
    }

    /// Streams that there is room for.
    pub fn capacity(&self) -> usize {
        self.rows.capacity()
    }

    /// Streams there are.
    pub fn len(&self) -> usize {
        self.rows.live()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.live() == 0
    }

    /// Adds a stream; `None` when there is no room for it, or when another thread has control's half.
    pub fn push(&mut self, setup: StreamSetup<'_>) -> Option<StreamId> {
        let keeper = self.local.as_mut()?;
        let vacant = keeper.take_vacant()?;
        let profile = self.profiles.intern(&setup.rules)?;
        let filled = keeper.fill(vacant, setup, profile, Timers::never()).ok()?;
        self.adopt(filled)
    }

    /// Takes over a stream that control has filled in; `None` if it is not one of this worker's.
    pub fn adopt(&mut self, filled: Token<Filled>) -> Option<StreamId> {
        let row = self.rows.adopt(filled).ok()?;
        if self.usual_open.is_none()
            && self.usual_seal.is_none()
            && let Some(hot) = self.rows.first(row)
        {
            self.usual_open = hot.receive.suite;
            self.usual_seal = hot.send.suite;
        }
        Some(StreamId(row))
    }

    /// Gives a stream back to control. No packet of it is accepted from now on.
    pub fn retire(&mut self, id: StreamId) -> Option<Token<Retired>> {
        let token = self.rows.retire(id.0)?;
        self.rtcp_keys.forget(id);
        Some(token)
    }

    /// Puts what legs negotiated into the table; answers what stood there.
    pub fn set_profile(&mut self, id: ProfileId, profile: &mut Profile) {
        self.profiles.swap(id, profile);
    }

    /// What the clock of [`Timers`] says, from now on.
    pub fn set_now(&mut self, now: u32) {
        self.now = now;
    }

    /// When the packets came that are opened next, in cycles of the time-stamp counter.
    #[inline(always)]
    pub fn set_arrival(&mut self, cycles: u64) {
        self.arrived = replace::fine(cycles);
    }

    /// When the present burst came.
    #[inline(always)]
    pub(super) fn moment(&self) -> Moment {
        Moment { ticks: self.now, fine: self.arrived }
    }

    /// Looks at the next `sessions` sessions and hands those whose time is over to `emit`, which says whether it had
    /// room.
    pub fn sweep(&mut self, sessions: u32, emit: impl FnMut(Ended) -> bool) {
        lifecycle::sweep(&mut self.rows, &mut self.swept, sessions, self.now, emit);
    }

    /// When a session ends by itself, from now on. `id` is the session's even stream.
    pub fn set_timers(&mut self, id: StreamId, timers: Timers) {
        if let Some(Row(hot, _, _, margin)) = self.rows.row_mut(id.0) {
            margin.timers = timers;
            hot.receive.flags.set(Flags::ENDING, false);
        }
    }

    /// Which of the streams that had this place it is.
    pub fn generation(&self, id: StreamId) -> Option<u32> {
        self.rows.fourth(id.0 & !1).map(|margin| margin.timers.generation)
    }

    /// Whether there is such a stream.
    #[inline(always)]
    pub fn contains(&self, id: StreamId) -> bool {
        self.rows.is_live(id.0)
    }

    /// Has the opened packets of a stream copied for the media tap under a tag, or no more.
    pub fn set_tap(&mut self, id: StreamId, tag: Option<TapTag>) {
        if let Some(Row(hot, _, _, margin)) = self.rows.row_mut(id.0) {
            hot.receive.flags.set(Flags::TAPPED, tag.is_some());
            margin.tap = tag.unwrap_or_default();
        }
    }

    /// Under what tag opened packets are copied for the media tap, if they are.
    #[inline(always)]
    pub fn tap(&self, id: StreamId) -> Option<TapTag> {
        let hot = self.rows.first(id.0)?;
        if !hot.receive.flags.has(Flags::TAPPED) {
            return None;
        }
        self.rows.fourth(id.0).map(|margin| margin.tap)
    }

    /// From now on packets are held against another profile.
    pub fn set_stream_profile(&mut self, id: StreamId, profile: ProfileId) {
        if let Some(hot) = self.rows.first_mut(id.0) {
            hot.receive.profile = profile;
        }
        self.lift_quarantine(id);
    }

    /// The remote of the sending leg is known.
    pub fn set_source(&mut self, id: StreamId, remote: Endpoint, rtp: bool, rtcp: bool) {
        let Some(Row(hot, _, cold, _)) = self.rows.row_mut(id.0) else { return };
        if rtp {
            hot.receive.source = Some(remote);
        }
        if rtcp {
            cold.source = Some(remote);
        }
    }

    /// The way to the receiving leg's remote is known, or known no more.
    pub fn set_egress(&mut self, id: StreamId, egress: Option<&Egress>, rtp: bool, rtcp: bool) {
        let Some(Row(hot, _, cold, _)) = self.rows.row_mut(id.0) else { return };
        if rtp {
            hot.send.egress = egress.cloned();
        }
        if rtcp {
            cold.egress = egress.cloned();
        }
    }

    /// Reads a line of every row, so that all pages are mapped and what fits into the caches is there.
    pub fn touch(&self) {
        for row in 0..self.rows.capacity() as u32 {
            std::hint::black_box(self.rows.is_live(row));
            self.prefetch_receive(StreamId(row), 0);
            self.prefetch_send(StreamId(row));
        }
    }

    /// Writes the exact state of a clean stop to the journal, for all streams.
    pub fn settle_journals(&mut self) {
        for row in 0..self.rows.capacity() as u32 {
            if let Some(Row(hot, _, cold, _)) = self.rows.row_mut(row) {
                settle(hot, cold);
            }
        }
    }
}

/// What the stages ask of a stream. `id` comes from the lookup, which was built together with the streams; a stream
/// that does not exist has no source, no rules and no way out.
impl<P: Provider> Streams<P> {
    /// Whether the stream accepts packets from `source`. One that learns its remote decides after the tag has
    /// verified.
    #[inline(always)]
    pub fn accepts_source(&self, id: StreamId, source: Endpoint, is_rtcp: bool) -> bool {
        let Some(hot) = self.rows.first(id.0) else { return false };
        hot.receive.learn == Learn::Authenticated || self.source(id, is_rtcp) == Some(source)
    }

    /// Whether an authenticated, newest packet from `source` says that the remote has moved.
    #[inline(always)]
    pub fn has_moved(&self, id: StreamId, source: Endpoint, is_rtcp: bool) -> bool {
        let Some(hot) = self.rows.first(id.0) else { return false };
        // Only a protected packet proves who sent it.
        hot.receive.learn == Learn::Authenticated
            && hot.receive.suite.is_some()
            && self.source(id, is_rtcp) != Some(source)
    }

    /// The sender's address, if it is known.
    #[inline(always)]
    pub fn source(&self, id: StreamId, is_rtcp: bool) -> Option<Endpoint> {
        if is_rtcp {
            return self.rows.third(id.0)?.source;
        }
        self.rows.first(id.0)?.receive.source
    }

    /// The way out.
    #[inline(always)]
    pub fn egress(&self, id: StreamId, is_rtcp: bool) -> Option<&Egress> {
        if is_rtcp {
            return self.rows.third(id.0)?.egress.as_ref();
        }
        self.rows.first(id.0)?.send.egress.as_ref()
    }

    /// What the sending leg negotiated.
    #[inline(always)]
    pub fn profile(&self, id: StreamId) -> Option<&Profile> {
        self.profiles.get(self.rows.first(id.0)?.receive.profile)
    }

    /// Whether the first packet of a stream has the SSRC that the session's other stream is pinned to: what the gateway
    /// sends to this leg comes back from it, or both ends chose the same (RFC 3550 §8.2). A later packet cannot: its own
    /// stream is pinned by then.
    #[inline(always)]
    pub fn collides(&self, id: StreamId, ssrc: u32) -> bool {
        let is_first = self.rows.first(id.0).is_some_and(|hot| hot.receive.state.ssrc().is_none());
        is_first && self.rows.first(id.0 ^ 1).is_some_and(|other| other.receive.state.ssrc() == Some(ssrc))
    }

    /// Bytes that sealing appends to a packet.
    #[inline(always)]
    pub fn trailer(&self, id: StreamId, is_rtcp: bool) -> usize {
        let Some(Hot { send: Send { suite: Some(suite), mki_len, .. }, .. }) = self.rows.first(id.0) else {
            return 0;
        };
        let tag_len =
            if is_rtcp { suite.rtcp_tag_len() + crate::srtp::SRTCP_INDEX_LEN } else { suite.rtp_tag_len() };
        tag_len + usize::from(*mki_len)
    }

    /// How the stream's RTP packets are to be opened.
    #[inline(always)]
    pub fn open_protection(&self, id: StreamId) -> Protection {
        match self.rows.first(id.0) {
            Some(hot)
                if !hot.receive.flags.has(Flags::SEVERAL_OR_ALONE) && !hot.receive.state.is_replaced() =>
            {
                protection(hot.receive.suite)
            }
            _ => Protection::Single,
        }
    }

    /// How they are to be sealed.
    #[inline(always)]
    pub fn seal_protection(&self, id: StreamId) -> Protection {
        match self.rows.first(id.0) {
            Some(hot) if !hot.receive.flags.has(Flags::ALONE) => protection(hot.send.suite),
            _ => Protection::Single,
        }
    }
}

#[inline(always)]
fn protection(suite: Option<Suite>) -> Protection {
    match suite {
        Some(suite) if !suite.is_aead() => Protection::Batched,
        _ => Protection::Single,
    }
}

/// Opening and sealing RTP.
impl<P: Provider> Streams<P> {
    /// Opens an RTP packet in place. `header_len`, `ssrc` and `seq` are those of its header.
    ///
    /// # Errors
    /// [`OpenError`]; the stream has not changed then, and the payload must not be read.
    #[inline]
    pub fn open_rtp(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<OpenedRtp, OpenError> {
        let now = self.moment();
        let Some(Row(Hot { receive, ring, .. }, keys, cold, _)) = self.rows.row_mut(id.0) else {
            return Err(OpenError::AuthFailed);
        };
        if receive.state.is_replaced() {
            return self.open_rtp_of_replaced(id, packet, header_len, ssrc, seq);
        }
        let Some(key) = &keys.open else {
            let index = receive.state.accept(ring, ssrc, seq)?;
            let newest = receive.state.highest_index().is_none_or(|highest| index > highest);
            let ticket = receive.state.commit(ring, ssrc, index)?;
            receive.note(now, newest, timestamp_of(packet));
            return Ok(OpenedRtp { len: packet.len(), ticket, newest });
        };
        if receive.flags.has(Flags::SEVERAL) {
            return self.open_rtp_of_several(id, packet, header_len, ssrc, seq);
        }
        let mki_len = usize::from(receive.mki_len);
        if !key.rtp_fits(packet.len(), header_len, mki_len) {
            return Err(OpenError::Truncated);
        }
        let index = receive.state.accept(ring, ssrc, seq)?;
        if mki_len > 0 && !mki::is_in_rtp(&cold.open_mki, packet, key.suite()) {
            return Err(OpenError::UnknownMki);
        }
        let len = key.open_rtp(&mut self.batch, packet, header_len, mki_len, ssrc, index)?;
        let newest = receive.state.highest_index().is_none_or(|highest| index > highest);
        let ticket = receive.state.commit(ring, ssrc, index)?;
        receive.note(now, newest, timestamp_of(packet));
        Ok(OpenedRtp { len, ticket, newest })
    }

    /// All checks of [`Streams::open_rtp`] that come before the tag, for a packet that is then opened together with
    /// others. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn begin_rtp(
        &self,
        id: StreamId,
        packet: &[u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<OpeningRtp, OpenError> {
        let (Some(hot), Some(Keys { open: Some(key), .. })) = (self.rows.first(id.0), self.rows.second(id.0))
        else {
            return Err(OpenError::AuthFailed);
        };
        let mki_len = usize::from(hot.receive.mki_len);
        if !key.rtp_fits(packet.len(), header_len, mki_len) {
            return Err(OpenError::Truncated);
        }
        let index = hot.receive.state.accept(&hot.ring, ssrc, seq)?;
        if mki_len > 0
            && !self.rows.third(id.0).is_some_and(|cold| mki::is_in_rtp(&cold.open_mki, packet, key.suite()))
        {
            return Err(OpenError::UnknownMki);
        }
        let timestamp = timestamp_of(packet);
        Ok(OpeningRtp { stream: id, header_len: header_len as u16, ssrc, index, timestamp })
    }

    /// Whether `opening` would come out the same whichever of the packets before it in the batch, up to `latest` of the
    /// same stream, turn out to be authentic. A packet that goes on in order does: it is ahead of all of them, and by
    /// less than half of the sequence numbers.
    #[inline]
    pub fn is_independent(&self, opening: &OpeningRtp, latest: PacketIndex) -> bool {
        const FAR: u64 = 1 << 14;
        self.rows.first(opening.stream.0).and_then(|hot| hot.receive.state.highest_index()).is_some_and(
            |highest| {
                let ahead = opening.index.as_u64().checked_sub(highest.as_u64());
                opening.index > latest && ahead.is_some_and(|ahead| ahead < FAR)
            },
        )
    }

    /// Opens packets that [`Streams::begin_rtp`] let pass, as many as [`BATCH`], and hands each
    /// outcome to `each` in order.
    pub fn open_rtp_batch<'p>(
        &mut self,
        packets: impl Iterator<Item = (OpeningRtp, &'p mut [u8])>,
        mut each: impl FnMut(Result<OpenedRtp, OpenError>),
    ) {
        let mut jobs = Jobs::<P>::new();
        let mut openings = arrayvec::ArrayVec::<Result<OpeningRtp, OpenError>, BATCH>::new();
        self.at_work.begin_batch();
        let (mut hots, others) = self.rows.split();
        for (opening, packet) in packets.take(BATCH) {
            let row = opening.stream.0;
            self.at_work.on_next_of_batch(opening.stream);
            let (Some(hot), Some(Keys { open: Some(key), .. })) = (hots.get_mut(row), others.second(row))
            else {
                openings.push(Err(OpenError::AuthFailed));
                continue;
            };
            let (header_len, mki_len) = (opening.header_len.into(), hot.receive.mki_len.into());
            let job = key.open_rtp_job(packet, header_len, mki_len, opening.ssrc, opening.index);
            openings.push(job.map(|job| {
                jobs.push(job);
                opening
            }));
        }
        let now = Moment { ticks: self.now, fine: self.arrived };
        self.at_work.on_batch();
        self.batch.open(&mut jobs);
        let mut opened = jobs.iter();
        for opening in openings {
            each(opening.and_then(|opening| {
                let (job, hot) = (opened.next(), hots.get_mut(opening.stream.0));
                let (Some(job), Some(Hot { receive, ring, .. })) = (job, hot) else {
                    return Err(OpenError::AuthFailed);
                };
                if !job.verified {
                    return Err(OpenError::AuthFailed);
                }
                let newest = receive.state.highest_index().is_none_or(|highest| opening.index > highest);
                let ticket = receive.state.commit(ring, opening.ssrc, opening.index)?;
                receive.note(now, newest, opening.timestamp);
                Ok(OpenedRtp { len: job.cipher_start + job.cipher_len, ticket, newest })
            }));
        }
    }

    /// Seals an RTP packet in place; `packet` ends with [`Streams::trailer`] spare bytes.
    ///
    /// # Errors
    /// [`SealError`]; the packet must not be sent then.
    #[inline]
    pub fn seal_rtp(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        ticket: Ticket<PacketIndex>,
    ) -> Result<(), SealError> {
        let Some(Row(hot, keys, cold, _)) = self.rows.row_mut(id.0) else { return Err(SealError::Truncated) };
        let Some(key) = &keys.seal else { return Ok(()) };
        let index = cover(&mut hot.send, ssrc, ticket)?;
        let mki = match hot.send.mki_len {
            0 => &[][..],
            _ => mki::octets(&cold.seal_mki),
        };
        key.seal_rtp(&mut self.batch, packet, header_len, mki, ssrc, index)
    }

    /// Seals packets of suites that are sealed in batches, as many as [`BATCH`], and hands each
    /// outcome to `each` in order. As [`Streams::seal_rtp`] otherwise.
    pub fn seal_rtp_batch<'p>(
        &mut self,
        packets: impl Iterator<Item = (StreamId, &'p mut [u8], usize, u32, Ticket<PacketIndex>)>,
        mut each: impl FnMut(Result<(), SealError>),
    ) {
        let mut jobs = Jobs::<P>::new();
        let mut outcomes = arrayvec::ArrayVec::<Result<StreamId, SealError>, BATCH>::new();
        let mut trailers = arrayvec::ArrayVec::<&mut [u8], BATCH>::new();
        self.at_work.begin_batch();
        let (mut hots, others) = self.rows.split();
        for (id, packet, header_len, ssrc, ticket) in packets.take(BATCH) {
            self.at_work.on_next_of_batch(id);
            let (Some(hot), Some(Keys { seal: Some(key), .. })) = (hots.get_mut(id.0), others.second(id.0))
            else {
                outcomes.push(Err(SealError::Truncated));
                continue;
            };
            let sealed = cover(&mut hot.send, ssrc, ticket).and_then(|index| {
                let mki_len = usize::from(hot.send.mki_len);
                key.seal_rtp_job(packet, header_len, mki_len, ssrc, index)
            });
            match sealed {
                Ok((job, trailer)) => {
                    jobs.push(job);
                    trailers.push(trailer);
                    outcomes.push(Ok(id));
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        self.at_work.on_batch();
        self.batch.seal(&mut jobs);
        let mut sealed = jobs.into_iter().zip(trailers);
        for outcome in outcomes {
            each(outcome.map(|id| {
                if let Some((job, trailer)) = sealed.next() {
                    let mki = others.third(id.0).map_or(&[][..], |cold| mki::octets(&cold.seal_mki));
                    SessionKey::<P>::finish_rtp(job, trailer, mki);
                }
            }));
        }
    }
}

/// The lowest SRTP index that is above all that packets of the stream may have been sealed with.
pub(super) fn next_index(hot: &Hot, cold: &Cold) -> u64 {
    match &cold.replaced {
        Some(source) => source.next_rtp(),
        None => hot.receive.state.highest_index().map_or(0, |highest| highest.as_u64() + 1),
    }
}

/// Writes the exact state of a stream's end to the journal.
pub(super) fn settle(hot: &mut Hot, cold: &mut Cold) {
    let next = next_index(hot, cold);
    if let Some(slot) = &mut hot.send.journal {
        slot.settle(next.checked_sub(1));
    }
    cold.settle_journal();
}

impl Active for Hot {
    #[inline(always)]
    fn activity(&self) -> Activity {
        Activity {
            last_seen: self.receive.last_seen,
            has_source: self.receive.source.is_some(),
            is_ending: self.receive.flags.has(Flags::ENDING),
        }
    }

    fn set_ending(&mut self) {
        self.receive.flags.set(Flags::ENDING, true);
    }
}

impl AsRef<Timers> for Margin {
    #[inline(always)]
    fn as_ref(&self) -> &Timers {
        &self.timers
    }
}

impl Hot {
    pub(super) fn new(setup: &mut StreamSetup<'_>, profile: ProfileId) -> Self {
        let keys = setup.keys;
        let mut ring = Ring::new();
        let mut state =
            InboundState::new(keys.replay_window, keys.open.map_or(48, |key| key.rtp_index_bits()));
        let resumed = setup.rtp_journal.as_ref().and_then(|(_, resumed)| *resumed);
        // What was relayed before a restart must not be relayed after it.
        if let (Some(_), Some(resumed)) = (keys.open, resumed)
            && let Some(last) = resumed.floor.checked_sub(1).and_then(PacketIndex::from_u64)
        {
            state.resume(&mut ring, resumed.ssrc, last);
        }
        let mut flags = Flags::none();
        if let Some(set) = &setup.key_set {
            state.limit_to(set.index_bits());
            flags.set(Flags::SEVERAL, set.is_needed(None));
        }
        flags.set(Flags::TAPPED, setup.tap.is_some());
        Hot {
            receive: Receive {
                state,
                source: setup.source,
                profile,
                suite: keys.open.map(|key| key.suite()),
                mki_len: mki_len(keys.open),
                last_seen: 0,
                arrived: 0,
                learn: setup.learn,
                flags,
            },
            ring,
            send: Send {
                egress: setup.rtp_egress.take(),
                suite: keys.seal.map(|key| key.suite()),
                mki_len: mki_len(keys.seal),
                end: 1 << keys.seal.map_or(48, |key| key.rtp_index_bits()),
                journal: setup.rtp_journal.take().map(|(slot, _)| slot),
            },
        }
    }
}

fn mki_len(key: Option<&MasterKey>) -> u8 {
    key.and_then(MasterKey::mki).map_or(0, |mki| mki.len() as u8)
}

type Jobs<'a, P> = arrayvec::ArrayVec<CounterHmac<'a, <P as Provider>::Key>, BATCH>;

/// The index that a ticket stands for, once it is recorded that it is used.
#[inline(always)]
fn cover(send: &mut Send, ssrc: u32, ticket: Ticket<PacketIndex>) -> Result<PacketIndex, SealError> {
    let index = ticket.spend();
    if index.as_u64() >= send.end {
        return Err(SealError::KeyExhausted);
    }
    // The journal first: should the process die between the two, an index is lost, never used twice.
    if let Some(slot) = &mut send.journal {
        if index.as_u64() < slot.floor() {
            return Err(SealError::IndexReserved);
        }
        slot.cover(ssrc, index.as_u64());
    }
    Ok(index)
}

/// Opening and sealing RTCP.
impl<P: Provider> Streams<P> {
    /// Opens an RTCP packet in place.
    ///
    /// # Errors
    /// [`OpenError`]; the stream has not changed then, and the packet must not be read.
    pub fn open_rtcp(&mut self, id: StreamId, packet: &mut [u8]) -> Result<OpenedRtcp, OpenError> {
        let now = self.now;
        let Some(Row(Hot { receive, .. }, _, cold, margin)) = self.rows.row_mut(id.0) else {
            return Err(OpenError::AuthFailed);
        };
        let highest = receive.state.highest_index().map(PacketIndex::as_u64);
        let set = margin.set.as_deref().filter(|_| receive.flags.has(Flags::SEVERAL));
        let opened =
            cold.open(id, packet, set.map(|set| (set, highest)), &mut self.rtcp_keys, &mut self.batch)?;
        receive.last_seen = now;
        Ok(opened)
    }

    /// Seals an RTCP packet in place; `packet` ends with [`Streams::trailer`] spare bytes. Without a ticket (the
    /// sender's leg is plain) the packet gets the next free index.
    ///
    /// # Errors
    /// [`SealError`]; the packet must not be sent then.
    pub fn seal_rtcp(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        ssrc: u32,
        ticket: Option<Ticket<u32>>,
    ) -> Result<(), SealError> {
        let Some(Row(_, _, cold, _)) = self.rows.row_mut(id.0) else { return Err(SealError::Truncated) };
        cold.seal(id, packet, ssrc, ticket, &mut self.rtcp_keys, &mut self.batch)
    }
}

/// Shows all that packets may change, nothing of a key.
impl<P: Provider> std::fmt::Debug for Streams<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = 0..self.rows.capacity() as u32;
        f.debug_list()
            .entries(rows.filter_map(|row| Some((self.rows.first(row)?, self.rows.third(row)?))))
            .finish()
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
