//! Streams that come, change and go: what control wants done with a worker's table, between two bursts.
//!
//! Control fills rows in and takes them back ([`StreamKeeper`]); commands bring the rights to them, and what has changed
//! about a stream that is live.

use super::{Cold, Flags, Hot, Keys, Margin, Streams, WORD, settle};
use crate::dpdk::slots::{self, Filled, Retired, Row, Token};
use crate::dpdk::{self, Memory};
use crate::session::at_work::AtWork;
use crate::session::keeper::StreamKeeper;
use crate::session::lifecycle::{self, Ended, Timers};
use crate::session::profile::{Profile, ProfileId, Profiles};
use crate::session::replace::{self, Moment};
use crate::session::rtcp_keys::RtcpKeys;
use crate::session::stream::{StreamId, StreamSetup};
use crate::session::{Egress, Endpoint};
use crate::srtp::{Batch, Provider};
use crate::tap::TapTag;

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
    pub(in crate::session) fn moment(&self) -> Moment {
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
