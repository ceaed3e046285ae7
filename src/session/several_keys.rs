//! What a worker does for a stream with several keys: opens a packet with the right one, and takes over new ones.
//!
//! Off the common path. Packets of such a stream are opened one at a time, with a key that is expanded when it is
//! first needed; once the first packet under a new key has authenticated, that key moves to the stream's own place,
//! and the stream costs what any other does.

use arrayvec::ArrayVec;

use super::cold::Cold;
use super::key_set::{KeyChange, KeySet, SealChange};
use super::replace::{self, timestamp_of};
use super::rtcp_keys::{Direction, RtcpKeys};
use super::stream::{OpenedRtp, StreamId};
use super::streams::{Flags, Hot, Keys, Margin, Streams, next_index};
use crate::dpdk::slots::Row;
use crate::srtp::{OpenError, PacketIndex, Provider, SessionKey};

/// Most octets of a packet that is tried with more than one key: what a receive buffer holds.
pub(super) const TRIAL_LEN: usize = 2048;

/// A packet as it came, for the next key. An AEAD may have decrypted it into garbage before it found the tag wrong.
pub(super) type Untouched = ArrayVec<u8, TRIAL_LEN>;

impl<P: Provider> Streams<P> {
    /// As [`Streams::open_rtp`], for a stream with a key set.
    #[cold]
    #[inline(never)]
    pub(super) fn open_rtp_of_several(
        &mut self,
        id: StreamId,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<OpenedRtp, OpenError> {
        let now = self.moment();
        let Streams { rows, rtcp_keys, batch, .. } = self;
        let Some(Row(hot, Keys { open: Some(open), .. }, cold, Margin { set: Some(set), .. })) =
            rows.row_mut(id.0)
        else {
            return Err(OpenError::AuthFailed);
        };
        let Hot { receive, ring, .. } = hot;
        let mki_len = usize::from(receive.mki_len);
        if !open.rtp_fits(packet.len(), header_len, mki_len) {
            return Err(OpenError::Truncated);
        }
        let index = receive.state.accept(ring, ssrc, seq)?;
        let highest = receive.state.highest_index().map(PacketIndex::as_u64);
        let candidates = set.of_rtp(packet, open.suite(), highest);
        let untouched = untouched(packet, candidates.len());
        let mut outcome = Err(OpenError::UnknownMki);
        for (attempt, &position) in candidates.iter().enumerate() {
            if attempt > 0 && !restore(packet, &untouched) {
                break;
            }
            let key = match set.key(position) {
                _ if position == set.active() => &*open,
                Some(other) => rtcp_keys.find(id, Direction::OtherRtp(position), &other.rtp),
                None => continue,
            };
            outcome =
                key.open_rtp(batch, packet, header_len, mki_len, ssrc, index).map(|len| (len, position));
            if outcome.is_ok() {
                break;
            }
        }
        let (len, position) = outcome?;
        let newest = highest.is_none_or(|highest| index.as_u64() > highest);
        let source = cold.replaced.as_deref_mut();
        let ticket = replace::commit(&mut receive.state, ring, source, ssrc, index)?;
        receive.note(now, newest, timestamp_of(packet));
        if newest && position != set.active() && set.may_become_active(position) {
            set.activate(position, index.as_u64());
            take_over(id, set, open, cold, rtcp_keys);
        }
        let highest = receive.state.highest_index().map(PacketIndex::as_u64);
        receive.flags.set(Flags::SEVERAL, set.is_needed(highest));
        Ok(OpenedRtp { len, ticket, newest })
    }

    /// Gives the streams of a leg new keys, between two bursts. What they replace is in `change` afterwards.
    pub fn change_keys(&mut self, change: &mut KeyChange) {
        let KeyChange { inbound, outbound, open, seal } = change;
        if open.is_some() {
            self.change_open_keys(*inbound, open);
            self.lift_quarantine(*inbound);
        }
        if let Some(seal) = seal {
            self.change_seal_key(*outbound, seal);
            self.lift_quarantine(*outbound);
        }
    }

    fn change_open_keys(&mut self, id: StreamId, change: &mut Option<Box<KeySet>>) {
        let Streams { rows, rtcp_keys, .. } = self;
        let Some(Row(hot, Keys { open: Some(open), .. }, cold, Margin { set: place, .. })) =
            rows.row_mut(id.0)
        else {
            return;
        };
        std::mem::swap(place, change);
        let Some(set) = place else { return };
        rtcp_keys.forget(id);
        let highest = hot.receive.state.highest_index().map(PacketIndex::as_u64);
        match set.position_of(&cold.open_fingerprint) {
            Some(position) => {
                set.activate(position, highest.unwrap_or(0));
                // The same key may go by another name.
                if set.key(position).is_some_and(|key| key.mki != cold.open_mki) {
                    take_over(id, set, open, cold, rtcp_keys);
                }
            }
            // The key in use is no longer wanted.
            None => {
                set.activate(0, 0);
                take_over(id, set, open, cold, rtcp_keys);
            }
        }
        // Lifetimes count from the first packet under a key, of which only the sender knows for sure which it was: it is
        // the sender that must not go on. What a receiver can tell is rounded up to a power of two.
        let end = highest.unwrap_or(0).saturating_add(1_u64 << set.index_bits()).next_power_of_two();
        hot.receive.state.limit_to(end.trailing_zeros().min(48) as u8);
        cold.limit_open_to(31);
        hot.receive.flags.set(Flags::SEVERAL, set.is_needed(highest));
    }

    pub(super) fn change_seal_key(&mut self, id: StreamId, change: &mut SealChange) {
        let Some(Row(hot, Keys { seal: Some(seal), .. }, cold, _)) = self.rows.row_mut(id.0) else { return };
        let next = next_index(hot, cold);
        let send = &mut hot.send;
        // The old key is not used again, so its record ends exactly here.
        if let Some(slot) = &mut send.journal {
            slot.settle(next.checked_sub(1));
        }
        std::mem::swap(&mut send.journal, &mut change.rtp_journal);
        *seal = SessionKey::new(&change.rtp);
        send.end = next.saturating_add(1 << change.rtp.index_bits()).min(1 << 48);
        cold.change_seal_key(change);
        self.rtcp_keys.forget(id);
    }
}

/// Puts the set's active key into the stream's own place.
fn take_over<P: Provider>(
    id: StreamId,
    set: &KeySet,
    open: &mut SessionKey<P>,
    cold: &mut Cold,
    rtcp_keys: &mut RtcpKeys<P>,
) {
    if let Some(key) = set.key(set.active()) {
        *open = SessionKey::new(&key.rtp);
        cold.change_open_key(key);
        rtcp_keys.forget(id);
    }
}

/// A copy of the packet, if it may be needed; empty if there is no room for it.
pub(super) fn untouched(packet: &[u8], candidates: usize) -> Untouched {
    let mut copy = Untouched::new();
    if candidates > 1 {
        let _ = copy.try_extend_from_slice(packet);
    }
    copy
}

/// Makes the packet again what it was; `false` when there is no copy.
pub(super) fn restore(packet: &mut [u8], untouched: &Untouched) -> bool {
    let is_whole = packet.len() == untouched.len();
    packet.iter_mut().zip(untouched).for_each(|(to, from)| *to = *from);
    is_whole
}

#[cfg(test)]
#[path = "several_keys_tests.rs"]
mod tests;
