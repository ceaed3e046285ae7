//! Several keys of one stream, and the change of keys under way.
//!
//! The control side makes a [`KeyChange`], sends it to the stream's worker in a command and gets back what it replaced,
//! so that the worker frees nothing. A stream with one key has no [`KeySet`] and never looks for one.
//!
//! How a receiver knows under which key a packet was sealed: by its MKI (RFC 3711 §3.1), or, without one, because it
//! authenticates under no other. Replay window, roll-over counter and highest index belong to the stream and go on
//! over a change (RFC 3711 §3.3.1, §3.4), so whatever key a packet is opened with, each index is taken in once, and
//! each is sealed once.

use arrayvec::ArrayVec;

use super::JournalSlot;
use super::stream::StreamId;
use crate::srtp::mki::{is_in_rtcp, is_in_rtp};
use crate::srtp::{MasterKey, MasterKeys, Mki, SessionKeys, Suite};

/// Without MKIs, packets under a key that was left are accepted until the stream has come so many indices further than
/// the first packet under the next key: 20 s of voice, the length of the longest replay window.
pub const LATE_PACKETS: u64 = 1 << 10;

/// Positions of keys in a [`KeySet`].
pub(super) type Candidates = ArrayVec<u8, { MasterKeys::MAX }>;

/// The keys that the sender of a stream may seal with. Not expanded.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<ReceiveKey>,
    /// Which of them is expanded in the stream's own place.
    active: u8,
    /// Without MKIs: up to and with this index, keys before the active one are tried.
    late_until: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct ReceiveKey {
    pub(super) rtp: SessionKeys,
    pub(super) rtcp: SessionKeys,
    pub(super) mki: Option<Mki>,
    /// [`MasterKey::fingerprint`].
    pub(super) fingerprint: [u8; 16],
}

impl KeySet {
    /// The keys of a set: each with an MKI, or none and in the order in which they come into use. At most
    /// [`MasterKeys::MAX`] count.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a MasterKey>) -> Self {
        let keys = keys.into_iter().take(MasterKeys::MAX).map(|key| ReceiveKey {
            rtp: SessionKeys::rtp(key),
            rtcp: SessionKeys::rtcp(key),
            mki: key.mki().copied(),
            fingerprint: key.fingerprint(),
        });
        KeySet { keys: keys.collect(), active: 0, late_until: 0 }
    }

    pub(super) fn key(&self, position: u8) -> Option<&ReceiveKey> {
        self.keys.get(usize::from(position))
    }

    pub(super) fn active(&self) -> u8 {
        self.active
    }

    pub(crate) fn position_of(&self, fingerprint: &[u8; 16]) -> Option<u8> {
        self.keys.iter().position(|key| key.fingerprint == *fingerprint).map(|position| position as u8)
    }

    /// Key `position` is the active one from the packet with `index` on.
    pub(super) fn activate(&mut self, position: u8, index: u64) {
        self.active = position;
        self.late_until = index.saturating_add(LATE_PACKETS);
    }

    /// Whether a stream that has come to index `highest` needs any key but the active one.
    pub(super) fn is_needed(&self, highest: Option<u64>) -> bool {
        let is_last = usize::from(self.active) + 1 >= self.keys.len();
        let (has_mki, alone) = (self.has_mki(), self.keys.len() < 2);
        !alone && (has_mki || !is_last || self.accepts_late(highest))
    }

    /// Whether `position` comes after the active key, or packets name their key.
    pub(super) fn may_become_active(&self, position: u8) -> bool {
        position > self.active || self.has_mki()
    }

    /// Most bits that an index has within the lifetime of any of the keys.
    pub(super) fn index_bits(&self) -> u8 {
        self.keys.iter().map(|key| key.rtp.index_bits()).max().unwrap_or(48)
    }

    /// The keys to try on an SRTP packet of `suite`, in order. None: it names a key that is not in the set.
    pub(super) fn of_rtp(&self, packet: &[u8], suite: Suite, highest: Option<u64>) -> Candidates {
        self.candidates(highest, |mki| is_in_rtp(mki, packet, suite))
    }

    /// The same for an SRTCP packet.
    pub(super) fn of_rtcp(&self, packet: &[u8], suite: Suite, highest: Option<u64>) -> Candidates {
        self.candidates(highest, |mki| is_in_rtcp(mki, packet, suite))
    }

    fn candidates(&self, highest: Option<u64>, names: impl Fn(&Option<Mki>) -> bool) -> Candidates {
        let positions = 0..self.keys.len().min(MasterKeys::MAX) as u8;
        if self.has_mki() {
            return positions.filter(|&at| self.key(at).is_some_and(|key| names(&key.mki))).take(1).collect();
        }
        let late = self.accepts_late(highest);
        let others = positions.filter(|&at| at > self.active || at < self.active && late);
        std::iter::once(self.active).chain(others).take(MasterKeys::MAX).collect()
    }

    fn has_mki(&self) -> bool {
        self.keys.first().is_some_and(|key| key.mki.is_some())
    }

    fn accepts_late(&self, highest: Option<u64>) -> bool {
        self.active > 0 && highest.is_none_or(|highest| highest <= self.late_until)
    }
}

/// New keys for the streams of one leg.
#[derive(Debug)]
pub struct KeyChange {
    /// The stream that the leg sends.
    pub inbound: StreamId,
    /// The stream that the leg receives.
    pub outbound: StreamId,
    /// What its remote may seal with from now on. Comes back with what the stream had.
    pub open: Option<Box<KeySet>>,
    /// What the gateway seals with from now on. Comes back with what is to be freed.
    pub seal: Option<SealChange>,
}

/// A new key to seal with.
#[derive(Debug)]
pub struct SealChange {
    pub(super) rtp: SessionKeys,
    pub(super) rtcp: SessionKeys,
    pub(super) mki: Option<Mki>,
    /// Where the key's SRTP indices are recorded.
    pub(super) rtp_journal: Option<JournalSlot>,
    /// The same for SRTCP.
    pub(super) rtcp_journal: Option<JournalSlot>,
}

impl SealChange {
    /// A change to `key`, whose indices go to these records.
    pub fn new(key: &MasterKey, rtp_journal: Option<JournalSlot>, rtcp_journal: Option<JournalSlot>) -> Self {
        SealChange {
            rtp: SessionKeys::rtp(key),
            rtcp: SessionKeys::rtcp(key),
            mki: key.mki().copied(),
            rtp_journal,
            rtcp_journal,
        }
    }

    /// The records of the key that is not sealed with any more: SRTP, SRTCP.
    pub fn take_journal(&mut self) -> [Option<JournalSlot>; 2] {
        [self.rtp_journal.take(), self.rtcp_journal.take()]
    }
}
