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
#[derive(Debug)]
pub struct Remains {
    /// Its records in the journal, settled: SRTP, SRTCP.
    pub journal: [Option<JournalSlot>; 2],
    /// Expanded SRTP keys that were overwritten.
    pub keys: u64,
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
        mut setup: StreamSetup<'_>,
        profile: ProfileId,
        timers: Timers,
    ) -> Result<Token<Filled>, Token<Vacant>> {
        let hot = Hot::new(&mut setup, profile);
        let expand = |key: Option<&MasterKey>| key.map(|key| SessionKey::new(&SessionKeys::rtp(key)));
        let expanded = Keys { open: expand(setup.keys.open), seal: expand(setup.keys.seal) };
        let StreamSetup { keys, rtcp_source, rtcp_egress, rtcp_journal, key_set, tap, .. } = setup;
        let cold = Cold::new(keys, rtcp_source, rtcp_egress, rtcp_journal);
        let row = Row(hot, expanded, cold, Margin { timers, set: key_set, tap: tap.unwrap_or_default() });
        self.keeper.fill(token, row).map_err(|(token, _)| token)
    }

    /// Takes back a stream that its worker has retired: what is to be kept of it, and the row, which is overwritten.
    pub fn recycle(&mut self, mut token: Token<Retired>) -> Option<(Token<Vacant>, Remains)> {
        let Row(hot, keys, cold, _) = self.keeper.row_mut(&mut token)?;
        settle(hot, cold);
        let remains = Remains {
            journal: [hot.send.journal.take(), cold.journal.take()],
            keys: u64::from(keys.open.is_some()) + u64::from(keys.seal.is_some()),
        };
        self.keeper.empty(token).ok().map(|token| (token, remains))
    }
}
