//! New keys for legs of a running gateway.
//!
//! The keys come from the configuration, read again, or from whoever embeds the gateway. Here they are held against
//! what the leg has; the [`sessions`](super::sessions) then claim a record of the journal for a new sealing key and send
//! one command for each leg to the worker that owns its streams, which applies it between two bursts.
//!
//! Only keys change this way. Suite and length of the MKI stay, for packets of both kinds are under way at once and
//! nothing in them tells which is which.

use std::fmt;

use super::config::Protection;
use crate::session::{JournalError, KeySet};
use crate::srtp::{MasterKey, MasterKeys, Suite};

/// Remote keys without MKIs that are remembered for late packets, besides the one in use and the next.
const EARLIER_KEYS: usize = 2;

/// Why a leg keeps the keys that it has.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// No such session.
    #[error("session {session:?} does not exist")]
    UnknownSession {
        /// The id asked for.
        session: String,
    },
    /// From plain to protected or the reverse.
    #[error("a leg cannot change between plain and protected while it runs; restart the gateway")]
    Plain,
    /// Another suite.
    #[error("the suite cannot change from {was} to {now} while the leg runs; restart the gateway")]
    Suite {
        /// The leg's suite.
        was: Suite,
        /// That of the new keys.
        now: Suite,
    },
    /// Another length of the MKI.
    #[error(
        "the length of the MKI cannot change from {was} to {now} while the leg runs; restart the gateway"
    )]
    MkiLength {
        /// Octets of the leg's MKIs, 0 without.
        was: usize,
        /// Of the new ones.
        now: usize,
    },
    /// A sealing key that this run has used.
    #[error(
        "the local key was used before in this run, and a key that was left is never sealed with again; generate a fresh one"
    )]
    KeyLeft,
    /// No record for a new sealing key.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// One leg of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegName {
    /// Leg a.
    A,
    /// Leg b.
    B,
}

impl fmt::Display for LegName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LegName::A => "a",
            LegName::B => "b",
        })
    }
}

/// What of a leg's keys changes.
#[derive(Debug)]
pub(super) struct Planned {
    /// What its remote may seal with from now on.
    pub(super) open: Option<KeySet>,
    /// What the gateway seals with from now on.
    pub(super) seal: Option<MasterKey>,
    /// Remote keys without MKIs that were left, oldest first.
    pub(super) earlier: Vec<MasterKey>,
}

/// What to do so that a leg with the keys of `old` has those of `new`; `None` if it has them. `earlier` are the remote
/// keys without MKIs that it left before, oldest first.
pub(super) fn plan(
    old: &Protection,
    new: &Protection,
    earlier: &[MasterKey],
) -> Result<Option<Planned>, RekeyError> {
    let (old_remote, old_local, new_remote, new_local) = match (old, new) {
        (Protection::Plain, Protection::Plain) => return Ok(None),
        (
            Protection::Srtp { remote_keys, local_keys },
            Protection::Srtp { remote_keys: new_remote, local_keys: new_local },
        ) => (remote_keys, local_keys, new_remote, new_local),
        _ => return Err(RekeyError::Plain),
    };
    for (old, new) in [(old_remote, new_remote), (old_local, new_local)] {
        let (was, now) = (old.suite(), new.suite());
        if was != now {
            return Err(RekeyError::Suite { was, now });
        }
        let (was, now) = (old.mki_len(), new.mki_len());
        if was != now {
            return Err(RekeyError::MkiLength { was, now });
        }
    }
    if old == new {
        return Ok(None);
    }
    let seal = (old_local.active() != new_local.active()).then(|| new_local.active().clone());
    let mut earlier = earlier.to_vec();
    let open = (old_remote != new_remote).then(|| key_set(&mut earlier, old_remote, new_remote));
    Ok(Some(Planned { open, seal, earlier }))
}

/// With MKIs, the new keys and no others. Without, there is one at a time, and packets under those before it may
/// still be under way.
fn key_set(earlier: &mut Vec<MasterKey>, old: &MasterKeys, new: &MasterKeys) -> KeySet {
    if new.mki_len() > 0 {
        return KeySet::new(new.iter());
    }
    earlier.push(old.active().clone());
    earlier.retain(|key| key != new.active());
    let surplus = earlier.len().saturating_sub(1 + EARLIER_KEYS);
    earlier.drain(..surplus);
    KeySet::new(earlier.iter().chain([new.active()]))
}

#[cfg(test)]
#[path = "rekey_tests.rs"]
mod tests;
