//! Control's half of a worker's streams: fills rows before the worker gets them, empties them after it has given them
//! back.
//!
//! Deriving and expanding keys takes microseconds and writes kilobytes, none of which costs the worker anything.

use super::JournalSlot;
use super::cold::Cold;
use super::lifecycle::Timers;
use super::profile::ProfileId;
use super::stream::StreamSetup;
use super::streams::{Hot, Keys, Margin, settle};
use crate::dpdk::slots::{Filled, Keeper, Retired, Row, Token, Vacant};
use crate::srtp::{MasterKey, Provider, SessionKey, SessionKeys};

/// Fills and empties the rows of one worker's streams.
pub struct StreamKeeper<P: Provider> {
    keeper: Keeper<Hot, Keys<P>, Cold, Margin>,
    /// Rows of the table as it was made, until they are taken, the first one last.
    vacant: Vec<Token<Vacant>>,
}

/// What is left of a stream.
pub struct Remains<P: Provider> {
    /// Its records in the journal, settled: SRTP, SRTCP.
    pub journal: [Option<JournalSlot>; 2],
    /// Its expanded SRTP keys: to open, with the fingerprint of its master key, and to seal.
    pub open: Option<([u8; 16], SessionKey<P>)>,
    /// See [`Remains::open`].
    pub seal: Option<SessionKey<P>>,
}

/// Expanded keys that stand ready, by the fingerprint of their master key.
pub trait KeySource<P: Provider> {
    /// The expanded SRTP key of `key`.
    fn session_key(&mut self, key: &MasterKey) -> SessionKey<P>;
}

/// Derives and expands each key anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct Derive;

impl<P: Provider> KeySource<P> for Derive {
    fn session_key(&mut self, key: &MasterKey) -> SessionKey<P> {
        SessionKey::new(&SessionKeys::rtp(key))
    }
}

impl<P: Provider> StreamKeeper<P> {
    pub(super) fn new(keeper: Keeper<Hot, Keys<P>, Cold, Margin>, mut vacant: Vec<Token<Vacant>>) -> Self {
        vacant.reverse();
        StreamKeeper { keeper, vacant }
    }

    /// The next row that was never taken.
    pub fn take_vacant(&mut self) -> Option<Token<Vacant>> {
        self.vacant.pop()
    }

    /// Fills a row with a new stream, whose rules are profile `profile` of its worker.
    ///
    /// # Errors
    /// Gives the token back when it is another worker's.
    pub fn fill(
        &mut self,
        token: Token<Vacant>,
        setup: StreamSetup<'_>,
        profile: ProfileId,
        timers: Timers,
    ) -> Result<Token<Filled>, Token<Vacant>> {
        self.fill_with(token, setup, profile, timers, &mut Derive)
    }

    /// The same with keys out of `keys`.
    ///
    /// # Errors
    /// As [`StreamKeeper::fill`].
    pub fn fill_with(
        &mut self,
        token: Token<Vacant>,
        mut setup: StreamSetup<'_>,
        profile: ProfileId,
        timers: Timers,
        keys: &mut impl KeySource<P>,
    ) -> Result<Token<Filled>, Token<Vacant>> {
        let hot = Hot::new(&mut setup, profile);
        let expanded = Keys {
            open: setup.keys.open.map(|key| keys.session_key(key)),
            seal: setup.keys.seal.map(|key| keys.session_key(key)),
        };
        let StreamSetup { keys, rtcp_source, rtcp_egress, rtcp_journal, key_set, tap, .. } = setup;
        let cold = Cold::new(keys, rtcp_source, rtcp_egress, rtcp_journal);
        let row = Row(hot, expanded, cold, Margin { timers, set: key_set, tap: tap.unwrap_or_default() });
        self.keeper.fill(token, row).map_err(|(token, _)| token)
    }

    /// Takes back a stream that its worker has retired: what is to be kept of it, and the row, which is overwritten.
    pub fn recycle(&mut self, mut token: Token<Retired>) -> Option<(Token<Vacant>, Remains<P>)> {
        let Row(hot, keys, cold, _) = self.keeper.row_mut(&mut token)?;
        settle(hot, cold);
        let remains = Remains {
            journal: [hot.send.journal.take(), cold.journal.take()],
            open: keys.open.take().map(|key| (cold.open_fingerprint, key)),
            seal: keys.seal.take(),
        };
        self.keeper.empty(token).ok().map(|token| (token, remains))
    }
}
