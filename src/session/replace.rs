//! Another source for a stream: a call was transferred, or its endpoint started anew.
//!
//! Control sends a [`Replacement`] to the stream's worker, which applies it between two bursts
//! ([`Streams::replace_source`]). From then on the old source is refused, and the first authentic packet of the new one
//! decides how its numbers are moved, so that the receiving leg sees one source that goes on:
//!
//! | number | towards the receiver | in reports and feedback back to the source |
//! |---|---|---|
//! | SSRC | the one it knows | the source's own |
//! | packet index, and with it the sequence number | from the highest one handed out, plus one | moved back |
//! | timestamp | the last one plus the time that has passed, at least one packet | not in them |
//! | SRTCP index | from the highest one, plus one | none: the other direction has its own |
//!
//! Why no index is used twice is in `srtp::epoch`. A stream whose source was never replaced has nothing of this: one bit in a
//! line that is read anyway says so, and its packets are sealed as they were received.

use arrayvec::ArrayVec;

use super::cold::Cold;
use super::key_set::{KeyChange, KeySet, SealChange};
use super::lifecycle::TICKS_PER_SECOND;
use super::profile::Profile;
use super::stream::{OpenedRtp, StreamId};
use super::streams::{FirstRollOver, Flags, Hot, Keys, Receive, Streams};
use crate::dpdk::slots::Row;
use crate::reframe::rtcp::{Backward, Forward};
use crate::srtp::mki;
use crate::srtp::{Epochs, InboundState, OpenError, PacketIndex, Provider, RTP_WORDS, Ring, Ticket};

/// SSRCs of earlier sources under one key that are remembered, RTP and RTCP together.
const RETIRED: usize = 16;

/// Units of the arrival time that a stream keeps, in cycles of the time-stamp counter: about half a millisecond.
const ARRIVAL_SHIFT: u32 = 20;
/// Cycles after which it starts over: half a minute.
const ARRIVAL_WRAP: u64 = 1 << (16 + ARRIVAL_SHIFT);

/// How the timestamps of a stream run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceClock {
    /// Clock rate of its payload types in Hz.
    pub rate_hz: u32,
    /// How far the timestamp goes on from one packet to the next: packet time × rate.
    pub packet: u32,
    /// Frequency of the time-stamp counter in Hz.
    pub cycles_per_second: u64,
}

/// Another source for a stream.
#[derive(Debug)]
pub struct Replacement {
    /// The stream, whose sender is replaced.
    pub stream: StreamId,
    /// How its timestamps run.
    pub clock: SourceClock,
    /// What the new source may seal with. `None`: the keys stay. Comes back with what the stream had.
    pub open: Option<Box<KeySet>>,
    /// A fresh key for what the new source receives, which begins with roll-over counter 0. `None`: the key stays, and the
    /// new source must be told the counter, or be one that has it. Comes back with what is to be freed.
    pub seal: Option<SealChange>,
    /// What came of it, once the worker has applied it.
    pub outcome: Result<(), ReplaceError>,
    /// Memory for the stream, so that the worker takes none.
    state: [Option<Box<Source>>; 2],
}

/// Why a stream keeps its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// The worker has no such stream.
    #[error("stream {0} does not exist; it ended before its source could be replaced")]
    UnknownStream(u32),
    /// So many sources had the same key that not all of their SSRCs can be remembered, and an attacker could play packets of
    /// one of them again.
    #[error("too many sources of the stream had the same key; give the new source a key of its own")]
    KeyNeeded,
}

impl Replacement {
    /// Another source for `stream`.
    ///
    /// Without `open` the new source has the old one's keys, and must have another SSRC than all sources before it. With
    /// it, it may have any; keys that an earlier source of the stream had must not be among them, unless the present one
    /// has them.
    pub fn new(
        stream: StreamId,
        clock: SourceClock,
        open: Option<Box<KeySet>>,
        seal: Option<SealChange>,
    ) -> Self {
        let state = || Some(Box::new(Source::new(clock)));
        Replacement { stream, clock, open, outcome: Ok(()), state: [state(), state()], seal }
    }
}

/// What a stream remembers whose source was replaced.
#[derive(Debug)]
pub(super) struct Source {
    rtp: Epochs<PacketIndex>,
    rtcp: Epochs<u32>,
    /// What the receiver knows the source as; `None` if nothing was ever sent to it.
    ssrc: Option<u32>,
    timestamps: Timestamps,
    clock: SourceClock,
    /// SSRCs of earlier sources under the present key.
    retired: ArrayVec<u32, RETIRED>,
}

/// How timestamps are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timestamps {
    /// The new source has sent nothing yet; the receiver knows this of the earlier ones.
    Waiting(Option<Newest>),
    /// This is added; the receiver knew that of the earlier ones.
    Moved(u32, Option<Newest>),
}

/// The newest packet of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Newest {
    timestamp: u32,
    came: Arrival,
}

/// When a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrival {
    /// On the clock of the session's timers.
    ticks: u32,
    /// The time-stamp counter in units of 2^`ARRIVAL_SHIFT` cycles, modulo 2^16.
    fine: u16,
}

/// What a stream keeps of the time-stamp counter.
#[inline(always)]
pub(super) const fn fine(cycles: u64) -> u16 {
    (cycles >> ARRIVAL_SHIFT) as u16
}

impl Arrival {
    /// Cycles from `earlier` until now: the fine clock, and the coarse one for how often that has started over.
    fn cycles_since(self, earlier: Arrival, cycles_per_second: u64) -> u64 {
        let ticks = u64::from(self.ticks.saturating_sub(earlier.ticks));
        let coarse =
            (u128::from(ticks) * u128::from(cycles_per_second) / u128::from(TICKS_PER_SECOND)) as u64;
        let fine = u64::from(self.fine.wrapping_sub(earlier.fine)) << ARRIVAL_SHIFT;
        let turns = (coarse + ARRIVAL_WRAP / 2).saturating_sub(fine) / ARRIVAL_WRAP;
        fine + turns * ARRIVAL_WRAP
    }
}

impl SourceClock {
    /// How far the timestamp goes on in so many cycles, at least one packet.
    fn advance(&self, cycles: u64) -> u32 {
        let hz = u128::from(self.cycles_per_second.max(1));
        // Modulo 2^32, as timestamps are.
        let units = (u128::from(cycles) * u128::from(self.rate_hz) + hz / 2) / hz;
        if units < u128::from(self.packet) { self.packet } else { units as u32 }
    }
}

impl Source {
    fn new(clock: SourceClock) -> Self {
        Source {
            rtp: Epochs::new(),
            rtcp: Epochs::new(),
            ssrc: None,
            timestamps: Timestamps::Waiting(None),
            clock,
            retired: ArrayVec::new(),
        }
    }

    /// The first SRTP index that is free.
    pub(super) const fn next_rtp(&self) -> u64 {
        self.rtp.next()
    }

    /// Whether an RTP packet may be one of the present source. Changes nothing.
    pub(super) fn check_rtp(&self, ssrc: u32, index: PacketIndex) -> Result<(), OpenError> {
        if self.rtp.offset().is_none() && self.retired.contains(&ssrc) {
            return Err(OpenError::SsrcChanged);
        }
        self.rtp.check(index)
    }

    /// The same for a report.
    pub(super) fn check_rtcp(&self, ssrc: u32, index: u32) -> Result<(), OpenError> {
        if self.rtcp.offset().is_none() && self.retired.contains(&ssrc) {
            return Err(OpenError::SsrcChanged);
        }
        self.rtcp.check(index)
    }

    pub(super) fn rtcp_epochs(&mut self, ssrc: u32) -> &mut Epochs<u32> {
        self.ssrc.get_or_insert(ssrc);
        &mut self.rtcp
    }

    fn offset_of_timestamps(&mut self, timestamp: u32, came: Arrival) -> u32 {
        if let Timestamps::Waiting(last) = self.timestamps {
            let offset = last.map_or(0, |last| {
                let cycles = came.cycles_since(last.came, self.clock.cycles_per_second);
                last.timestamp.wrapping_add(self.clock.advance(cycles)).wrapping_sub(timestamp)
            });
            self.timestamps = Timestamps::Moved(offset, last);
        }
        match self.timestamps {
            Timestamps::Moved(offset, _) => offset,
            Timestamps::Waiting(_) => 0,
        }
    }

    /// Another source begins. `newest` is what came last from the one before.
    fn begin(&mut self, newest: Option<Newest>, clock: SourceClock) {
        self.timestamps = match self.timestamps {
            Timestamps::Waiting(None) => Timestamps::Waiting(newest),
            // It sent nothing, and what its predecessor sent still holds.
            Timestamps::Waiting(last) => Timestamps::Waiting(last),
            Timestamps::Moved(offset, last) => {
                let newest = newest.map(|Newest { timestamp, came }| Newest {
                    timestamp: timestamp.wrapping_add(offset),
                    came,
                });
                Timestamps::Waiting(newest.or(last))
            }
        };
        self.clock = clock;
    }

    /// Remembers SSRCs of the source that goes; `false` if there is no room.
    fn retire(&mut self, ssrcs: [Option<u32>; 2]) -> bool {
        ssrcs
            .into_iter()
            .flatten()
            .all(|ssrc| self.retired.contains(&ssrc) || self.retired.try_push(ssrc).is_ok())
    }
}

/// Takes in an authentic RTP packet, of a stream with whatever history.
pub(super) fn commit(
    state: &mut InboundState,
    ring: &mut Ring<RTP_WORDS>,
    source: Option<&mut Source>,
    ssrc: u32,
    index: PacketIndex,
) -> Result<Ticket<PacketIndex>, OpenError> {
    match source {
        Some(source) if state.is_replaced() => {
            let ticket = state.commit_moved(ring, ssrc, index, &mut source.rtp)?;
            source.ssrc.get_or_insert(ssrc);
            Ok(ticket)
        }
        _ => state.commit(ring, ssrc, index),
    }
}

impl<P: Provider> Streams<P> {
    /// Gives a stream another source, between two bursts; `replacement` says afterwards what came of it, and holds what is
    /// to be freed.
    pub fn replace_source(&mut self, replacement: &mut Replacement) {
        replacement.outcome = self.try_replace_source(replacement);
    }

    fn try_replace_source(&mut self, replacement: &mut Replacement) -> Result<(), ReplaceError> {
        let Replacement { stream: id, clock, open, seal, state: [spare, spare_of_other], .. } = replacement;
        let id = *id;
        let unknown = ReplaceError::UnknownStream(id.0);
        let Some(Row(hot, _, cold, _)) = self.rows.row_mut(id.0) else { return Err(unknown) };
        // Under a key that no earlier source had, no packet of these authenticates.
        let is_new_key = open.as_ref().is_some_and(|set| set.position_of(&cold.open_fingerprint).is_none());
        if cold.replaced.is_none() {
            cold.replaced = spare.take();
        }
        let Hot { receive, ring, send } = hot;
        let next_report = cold.next_sealed();
        let Cold { state: reports, ring: reports_ring, sealed, replaced: Some(source), .. } = cold else {
            return Err(unknown);
        };
        if is_new_key {
            source.retired.clear();
        } else if receive.suite.is_some() && !source.retire([receive.state.ssrc(), reports.ssrc()]) {
            return Err(ReplaceError::KeyNeeded);
        }
        source.ssrc = source.ssrc.or(receive.state.ssrc()).or(sealed.map(|(ssrc, _)| ssrc));
        let newest = receive.state.timestamp().map(|timestamp| Newest {
            timestamp,
            came: Arrival { ticks: receive.last_seen, fine: receive.arrived },
        });
        source.begin(newest, *clock);
        let floor = send.journal.as_ref().map_or(0, |slot| slot.floor());
        receive.state.replace_source(ring, &mut source.rtp, floor);
        reports.replace_source(reports_ring, &mut source.rtcp, next_report.into());
        if open.is_some() {
            let mut change = KeyChange { inbound: id, outbound: id, open: open.take(), seal: None };
            self.change_keys(&mut change);
            *open = change.open;
        }
        if let Some(seal) = seal {
            self.restart_under(StreamId(id.0 ^ 1), seal, spare_of_other);
        }
        Ok(())
    }

    /// The receiver of a stream is another one, with a fresh key and no idea of roll-overs.
    fn restart_under(&mut self, id: StreamId, seal: &mut SealChange, spare: &mut Option<Box<Source>>) {
        self.change_seal_key(id, seal);
        let Some(Row(hot, _, cold, _)) = self.rows.row_mut(id.0) else { return };
        if cold.replaced.is_none() {
            cold.replaced = spare.take();
        }
        let Some(source) = cold.replaced.as_deref_mut() else { return };
        source.ssrc = source.ssrc.or(hot.receive.state.ssrc()).or(cold.sealed.map(|(ssrc, _)| ssrc));
        hot.receive.state.restart(&mut source.rtp);
        hot.send.first = FirstRollOver::NONE;
        // Reports go on with the indices that they have: these are in each packet.
        hot.send.end = source.rtp.next().saturating_add(1 << seal.rtp.index_bits()).min(1 << 48);
    }

    /// As [`Streams::open_rtp`], of a stream whose source was replaced.
    #[cold]
    #[inline(never)]
    pub(super) fn open_rtp_of_replaced(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<OpenedRtp, OpenError> {
        let now = self.moment();
        let Some(Row(Hot { receive, ring, .. }, Keys { open, .. }, cold, _)) = self.rows.row_mut(id.0) else {
            return Err(OpenError::AuthFailed);
        };
        let Some(source) = cold.replaced.as_deref_mut() else { return Err(OpenError::BeforeSource) };
        let index = receive.state.accept(ring, ssrc, seq)?;
        source.check_rtp(ssrc, index)?;
        let len = match open {
            None => packet.len(),
            Some(_) if receive.flags.has(Flags::SEVERAL) => {
                return self.open_rtp_of_several(id, packet, header_len, ssrc, seq);
            }
            Some(key) => {
                let mki_len = usize::from(receive.mki_len);
                if !key.rtp_fits(packet.len(), header_len, mki_len) {
                    return Err(OpenError::Truncated);
                }
                if mki_len > 0 && !mki::is_in_rtp(&cold.open_mki, packet, key.suite()) {
                    return Err(OpenError::UnknownMki);
                }
                key.open_rtp(&mut self.batch, packet, header_len, mki_len, ssrc, index)?
            }
        };
        let newest = receive.state.highest_index().is_none_or(|highest| index > highest);
        let ticket = commit(&mut receive.state, ring, Some(source), ssrc, index)?;
        receive.note(now, newest, timestamp_of(packet));
        Ok(OpenedRtp { len, ticket, newest })
    }

    /// What the receiver of a stream knows its source as: the SSRC that it came with, or that of a source before it.
    #[cold]
    pub(super) fn known_ssrc(&self, id: StreamId) -> Option<u32> {
        match self.is_replaced(id) {
            true => self.rows.third(id.0)?.replaced.as_deref()?.ssrc,
            false => self.rows.first(id.0)?.receive.state.ssrc(),
        }
    }

    /// Whether packets of the stream are sealed with other numbers than they were received with.
    #[inline(always)]
    pub fn is_replaced(&self, id: StreamId) -> bool {
        self.rows.first(id.0).is_some_and(|hot| hot.receive.state.is_replaced())
    }

    /// Whether RTP packets leave otherwise than they came: with other numbers, or in the form of another leg.
    #[inline(always)]
    pub fn is_rewritten(&self, id: StreamId) -> bool {
        self.is_replaced(id) || self.profile(id).is_some_and(Profile::rewrites)
    }

    /// Writes the numbers into an RTP packet by which the receiver knows its source; `index` is what it will be sealed
    /// with. Answers the SSRC. `cycles` is when the packet came.
    #[cold]
    #[inline(never)]
    pub fn renumber_rtp(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        index: PacketIndex,
        cycles: u64,
    ) -> Option<u32> {
        let came = Arrival { ticks: self.now, fine: fine(cycles) };
        let Row(_, _, cold, _) = self.rows.row_mut(id.0)?;
        let source = cold.replaced.as_deref_mut()?;
        let ssrc = source.ssrc?;
        let timestamp = timestamp_of(packet);
        let offset = source.offset_of_timestamps(timestamp, came);
        let header = packet.first_chunk_mut::<12>()?;
        header[2..4].copy_from_slice(&index.seq().to_be_bytes());
        header[4..8].copy_from_slice(&timestamp.wrapping_add(offset).to_be_bytes());
        header[8..12].copy_from_slice(&ssrc.to_be_bytes());
        Some(ssrc)
    }

    /// The same for an RTCP packet that the sender `ssrc` put together: what it says of its own stream is moved forward,
    /// what it says of the other direction's is moved back. Answers the SSRC to seal with.
    pub fn renumber_rtcp(&mut self, id: StreamId, packet: &mut [u8], ssrc: u32, cycles: u64) -> u32 {
        let came = Arrival { ticks: self.now, fine: fine(cycles) };
        // Both streams of a session lie side by side.
        let other = self.rows.third(id.0 ^ 1).and_then(|cold| cold.replaced.as_deref());
        let other_ssrc = self.rows.first(id.0 ^ 1).and_then(|hot| hot.receive.state.ssrc());
        let backward = other.and_then(|source| {
            let (to, offset) = (other_ssrc?, source.rtp.offset()?);
            Some(Backward { from: source.ssrc?, to, offset: offset as u32, start: source.rtp.start() as u32 })
        });
        let forward = match self.rows.row_mut(id.0) {
            Some(Row(hot, _, cold, _)) => cold.replaced.as_deref_mut().and_then(|source| {
                let to = source.ssrc?;
                // A report may come before the first packet. What that will say is at most a packet earlier.
                let timestamps = crate::reframe::rtcp::sender_timestamp(packet).map_or(0, |timestamp| {
                    source.offset_of_timestamps(timestamp.wrapping_sub(source.clock.packet), came)
                });
                let from = [ssrc, hot.receive.state.ssrc().unwrap_or(ssrc)];
                Some(Forward { from, to, timestamps })
            }),
            None => None,
        };
        if forward.is_none() && backward.is_none() {
            return ssrc;
        }
        crate::reframe::rtcp::renumber(packet, forward.as_ref(), backward.as_ref());
        forward.map_or(ssrc, |forward| forward.to)
    }
}

impl Receive {
    /// An authentic packet came.
    #[inline(always)]
    pub(super) fn note(&mut self, now: Moment, newest: bool, timestamp: u32) {
        self.last_seen = now.ticks;
        if newest {
            self.arrived = now.fine;
            self.state.set_timestamp(timestamp);
        }
    }
}

/// When the present burst came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) ticks: u32,
    pub(super) fine: u16,
}

/// The timestamp of an RTP packet.
#[inline(always)]
pub(super) fn timestamp_of(packet: &[u8]) -> u32 {
    match packet {
        [_, _, _, _, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "replace_tests.rs"]
mod tests;
