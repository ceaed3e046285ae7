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

pub mod asked;
pub mod protect;
mod table;

use super::at_work::AtWork;
use super::cold::Cold;
use super::keeper::StreamKeeper;
use super::lifecycle::{Active, Activity, Timers};
use super::profile::{ProfileId, Profiles};
use super::rtcp_keys::RtcpKeys;
use super::stream::{Learn, StreamSetup};
use super::{Egress, Endpoint, JournalSlot, KeySet};
use crate::dpdk::CACHE_LINE;
use crate::dpdk::slots::Rows;
use crate::srtp::{InboundState, MasterKey, PacketIndex, Provider, RTP_WORDS, Ring, SessionKey, Suite};
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
    /// When the present burst came ([`replace`](super::replace)).
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
    /// The same for the newest packet, finer ([`replace`](super::replace)).
    pub(super) arrived: u16,
    learn: Learn,
    /// What is not usual about the stream.
    pub(super) flags: Flags,
}

/// By how many roll-overs the index that a packet is sealed with lies behind the one that it was received with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct FirstRollOver(u16);

impl FirstRollOver {
    /// As received.
    pub(super) const NONE: Self = FirstRollOver(0);
    /// The first packet that is sealed decides.
    pub(super) const UNSEALED: Self = FirstRollOver(u16::MAX);

    /// What an index that was received is to the receiver; `None` if it was handed out before the receiver's first.
    #[inline(always)]
    pub(super) fn sealed(self, received: u64) -> Option<u64> {
        match self {
            Self::NONE => Some(received),
            Self::UNSEALED => None,
            Self(roll_overs) => received.checked_sub(u64::from(roll_overs) << 16),
        }
    }

    /// The same for the packet that is being sealed, which may be the first.
    #[cold]
    #[inline(never)]
    fn seal(&mut self, received: PacketIndex) -> Option<PacketIndex> {
        if *self == Self::UNSEALED {
            *self = FirstRollOver(u16::try_from(received.roc()).unwrap_or(u16::MAX).min(u16::MAX - 1));
        }
        self.sealed(received.as_u64()).and_then(PacketIndex::from_u64)
    }
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
    /// Of a sender whose indices nobody but the gateway counts: its roll-over counter when the first packet was sealed.
    /// To the receiver, who can have heard nothing before, that is roll-over counter 0.
    pub(super) first: FirstRollOver,
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

/// The lowest SRTP index that is above all that packets of the stream may have been sealed with.
pub(super) fn next_index(hot: &Hot, cold: &Cold) -> u64 {
    let next = match &cold.replaced {
        Some(source) => source.next_rtp(),
        None => hot.receive.state.highest_index().map_or(0, |highest| highest.as_u64() + 1),
    };
    hot.send.first.sealed(next).unwrap_or(0)
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
        let is_counted_by_sender = keys.open.is_some() || resumed.is_some();
        let first = if is_counted_by_sender { FirstRollOver::NONE } else { FirstRollOver::UNSEALED };
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
                first,
                end: 1 << keys.seal.map_or(48, |key| key.rtp_index_bits()),
                journal: setup.rtp_journal.take().map(|(slot, _)| slot),
            },
        }
    }
}

fn mki_len(key: Option<&MasterKey>) -> u8 {
    key.and_then(MasterKey::mki).map_or(0, |mki| mki.len() as u8)
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
