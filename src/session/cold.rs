//! What an RTP packet never reads of a stream: the state of its reports.
//!
//! SRTCP has its own replay window and its own session keys (RFC 3711 §3.2.1). They lie here unexpanded;
//! [`RtcpKeys`] expands them when a report comes.

use std::num::NonZeroU32;

use super::key_set::{KeySet, ReceiveKey, SealChange};
use super::replace::Source;
use super::rtcp_keys::{Direction, RtcpKeys};
use super::several_keys::{restore, untouched};
use super::stream::{OpenedRtcp, StreamId, StreamKeys};
use super::{Egress, Endpoint, JournalSlot, Resumed};
use crate::srtp::mki;
use crate::srtp::rtcp::MAX_SRTCP_INDEX;
use crate::srtp::{
    MasterKey, Mki, OpenError, Provider, RTCP_WORDS, ReplayWindowSize, Ring, RtcpClear, RtcpInboundState,
    SealError, SessionKeys, Ticket,
};

/// Packets that a report may be late: what the ring remembers.
const WINDOW: u32 = RTCP_WORDS as u32 * 64;

#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Cold {
    /// The sender's RTCP address.
    pub(super) source: Option<Endpoint>,
    /// Way out for RTCP.
    pub(super) egress: Option<Egress>,
    /// [`MasterKey::fingerprint`](crate::srtp::MasterKey::fingerprint) of the key that `open_keys` are of.
    pub(super) open_fingerprint: [u8; 16],
    /// The identifier in packets that the sender seals, RTP or RTCP.
    pub(super) open_mki: Option<Mki>,
    /// The identifier in packets that the gateway seals.
    pub(super) seal_mki: Option<Mki>,
    pub(super) state: RtcpInboundState,
    pub(super) ring: Ring<RTCP_WORDS>,
    /// `None` is a plain leg.
    open_keys: Option<SessionKeys>,
    seal_keys: Option<SessionKeys>,
    /// For which SSRC it was sealed, and the highest index plus one.
    pub(super) sealed: Option<(u32, NonZeroU32)>,
    pub(super) journal: Option<JournalSlot>,
    /// The first index beyond the lifetime of the sealing key.
    seal_end: u32,
    /// Of a stream whose source was replaced.
    pub(super) replaced: Option<Box<Source>>,
}

impl Cold {
    pub(super) fn new(
        keys: StreamKeys<'_>,
        source: Option<Endpoint>,
        egress: Option<Egress>,
        journal: Option<(JournalSlot, Option<Resumed>)>,
    ) -> Self {
        let window =
            ReplayWindowSize::new(keys.replay_window.packets().min(WINDOW)).unwrap_or(ReplayWindowSize::MIN);
        let mut cold = Cold {
            source,
            egress,
            open_fingerprint: keys.open.map_or([0; 16], MasterKey::fingerprint),
            open_mki: keys.open.and_then(|key| key.mki().copied()),
            seal_mki: keys.seal.and_then(|key| key.mki().copied()),
            state: RtcpInboundState::new(window, keys.open.map_or(31, |key| key.rtcp_index_bits())),
            ring: Ring::new(),
            open_keys: keys.open.map(SessionKeys::rtcp),
            seal_keys: keys.seal.map(SessionKeys::rtcp),
            sealed: None,
            journal: None,
            seal_end: keys.seal.map_or(1 << 31, |key| 1 << key.rtcp_index_bits()),
            replaced: None,
        };
        if let Some((slot, resumed)) = journal {
            let last = resumed.and_then(|resumed| {
                let floor = u32::try_from(resumed.floor).unwrap_or(MAX_SRTCP_INDEX + 1);
                Some((resumed.ssrc, floor.checked_sub(1)?))
            });
            if let (Some(_), Some((ssrc, last))) = (&cold.open_keys, last) {
                cold.state.resume(&mut cold.ring, ssrc, last);
            }
            cold.journal = Some(slot);
        }
        cold
    }

    /// See [`super::Streams::open_rtcp`].
    pub(super) fn open<P: Provider>(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        set: Option<(&KeySet, Option<u64>)>,
        keys: &mut RtcpKeys<P>,
        batch: &mut P::Batch,
    ) -> Result<OpenedRtcp, OpenError> {
        let Some(session_keys) = &self.open_keys else {
            let [_, _, _, _, a, b, c, d, ..] = *packet else { return Err(OpenError::Truncated) };
            let ssrc = u32::from_be_bytes([a, b, c, d]);
            return Ok(OpenedRtcp { len: packet.len(), ssrc, ticket: None, newest: true });
        };
        if let Some((set, highest)) = set {
            return self.open_of_several(id, packet, set, highest, keys, batch);
        }
        let key = keys.find(id, Direction::Open, session_keys);
        let mki_len = mki::octets(&self.open_mki).len();
        let clear = key.rtcp_clear(packet, mki_len).ok_or(OpenError::Truncated)?;
        let index = self.accept(clear)?;
        if !mki::is_in_rtcp(&self.open_mki, packet, key.suite()) {
            return Err(OpenError::UnknownMki);
        }
        let len = key.open_rtcp(batch, packet, mki_len, clear)?;
        let newest = self.state.highest_index().is_none_or(|highest| index > highest);
        let ticket = self.commit(clear.ssrc, index)?;
        Ok(OpenedRtcp { len, ssrc: clear.ssrc, ticket: Some(ticket), newest })
    }

    /// The same for a stream with a key set, whose RTP has come to index `highest_rtp`.
    #[cold]
    fn open_of_several<P: Provider>(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        set: &KeySet,
        highest_rtp: Option<u64>,
        keys: &mut RtcpKeys<P>,
        batch: &mut P::Batch,
    ) -> Result<OpenedRtcp, OpenError> {
        let mki_len = mki::octets(&self.open_mki).len();
        let active = set.key(set.active()).ok_or(OpenError::AuthFailed)?;
        let key = keys.find(id, Direction::OtherRtcp(set.active()), &active.rtcp);
        let clear = key.rtcp_clear(packet, mki_len).ok_or(OpenError::Truncated)?;
        let index = self.accept(clear)?;
        let candidates = set.of_rtcp(packet, key.suite(), highest_rtp);
        let untouched = untouched(packet, candidates.len());
        let mut outcome = Err(OpenError::UnknownMki);
        for (attempt, &position) in candidates.iter().enumerate() {
            if attempt > 0 && !restore(packet, &untouched) {
                break;
            }
            let Some(other) = set.key(position) else { continue };
            let key = keys.find(id, Direction::OtherRtcp(position), &other.rtcp);
            outcome = key.open_rtcp(batch, packet, mki_len, clear);
            if outcome.is_ok() {
                break;
            }
        }
        let len = outcome?;
        let newest = self.state.highest_index().is_none_or(|highest| index > highest);
        let ticket = self.commit(clear.ssrc, index)?;
        Ok(OpenedRtcp { len, ssrc: clear.ssrc, ticket: Some(ticket), newest })
    }

    /// The index that a report has if it is authentic.
    fn accept(&self, clear: RtcpClear) -> Result<u32, OpenError> {
        let index = self.state.accept(&self.ring, clear)?;
        if let Some(source) = &self.replaced {
            source.check_rtcp(clear.ssrc, index)?;
        }
        Ok(index)
    }

    /// Takes an authentic report in.
    fn commit(&mut self, ssrc: u32, index: u32) -> Result<Ticket<u32>, OpenError> {
        let epochs = self.replaced.as_deref_mut().map(|source| source.rtcp_epochs(ssrc));
        self.state.commit(&mut self.ring, ssrc, index, epochs)
    }

    /// The lowest index above all that was sealed.
    pub(super) fn next_sealed(&self) -> u32 {
        self.sealed.map_or(0, |(_, next)| next.get())
    }

    /// Another key of the sender is the active one.
    pub(super) fn change_open_key(&mut self, key: &ReceiveKey) {
        self.open_mki = key.mki;
        self.open_fingerprint = key.fingerprint;
        self.open_keys = Some(key.rtcp.clone());
    }

    /// From now on indices of the sender's reports have at most `bits` bits.
    pub(super) fn limit_open_to(&mut self, bits: u8) {
        self.state.limit_to(bits);
    }

    /// Another key to seal with; the record of the old one ends here and is in `change` afterwards.
    pub(super) fn change_seal_key(&mut self, change: &mut SealChange) {
        self.settle_journal();
        std::mem::swap(&mut self.journal, &mut change.rtcp_journal);
        self.seal_mki = change.mki;
        self.seal_keys = Some(change.rtcp.clone());
        let next = self.next_sealed();
        self.seal_end = next.saturating_add(1 << change.rtcp.index_bits()).min(MAX_SRTCP_INDEX + 1);
    }

    /// See [`super::Streams::seal_rtcp`].
    pub(super) fn seal<P: Provider>(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        ssrc: u32,
        ticket: Option<Ticket<u32>>,
        keys: &mut RtcpKeys<P>,
        batch: &mut P::Batch,
    ) -> Result<(), SealError> {
        let Some(session_keys) = &self.seal_keys else { return Ok(()) };
        if self.sealed.is_some_and(|(pinned, _)| pinned != ssrc) {
            return Err(SealError::SsrcChanged);
        }
        let floor = self.journal.as_ref().map_or(0, JournalSlot::floor);
        let index = match ticket {
            Some(ticket) => ticket.spend(),
            // RFC 3711 §3.4: the index starts at one.
            None => self.next_sealed().max(1).max(u32::try_from(floor).unwrap_or(u32::MAX)),
        };
        if index >= self.seal_end {
            return Err(SealError::KeyExhausted);
        }
        if u64::from(index) < floor {
            return Err(SealError::IndexReserved);
        }
        // The journal first: should the process die between the two, an index is lost, never used twice.
        if let Some(slot) = &mut self.journal {
            slot.cover(ssrc, u64::from(index));
        }
        let next = self.next_sealed().max(index + 1);
        self.sealed = NonZeroU32::new(next).map(|next| (ssrc, next));
        let key = keys.find(id, Direction::Seal, session_keys);
        key.seal_rtcp(batch, packet, mki::octets(&self.seal_mki), ssrc, index)
    }

    /// Writes the exact state of a clean stop to the journal.
    pub(super) fn settle_journal(&mut self) {
        if let Some(slot) = &mut self.journal {
            slot.settle(self.sealed.map(|(_, next)| u64::from(next.get() - 1)));
        }
    }
}
