//! New keys for legs of a running gateway.
//!
//! The keys come from the configuration, read again, or from whoever embeds the gateway. Here they are held against
//! what the leg has, the journal hands out a record for a new sealing key, and one command for each leg goes to the
//! worker that owns its streams, which applies it between two bursts. What it replaced comes back and is freed here.
//!
//! Only keys change this way. Suite and length of the MKI stay, for packets of both kinds are under way at once and
//! nothing in them tells which is which.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use super::config::{Config, Leg, Protection, Session};
use crate::session::{Journal, JournalError, JournalKind, KeyChange, KeySet, SealChange, StreamId};
use crate::srtp::{MasterKey, MasterKeys, Suite};

/// Remote keys without MKIs that are remembered for late packets, besides the one in use and the next.
const EARLIER_KEYS: usize = 2;

/// Why a leg keeps the keys that it has.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// No such session.
    #[error("session {session:?} does not exist; a new one needs a restart")]
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

/// What came of reading the configuration again.
#[derive(Debug, Default)]
pub struct RekeyReport {
    /// Legs with new keys, such as `call-1 leg a`.
    pub changed: Vec<String>,
    /// Legs that keep their keys, and why.
    pub refused: Vec<(String, RekeyError)>,
    /// What differs besides keys, none of which has an effect before a restart.
    pub needs_restart: Vec<String>,
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

/// A change for a worker.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) worker: usize,
    pub(super) change: Box<KeyChange>,
}

/// What control remembers of keys.
#[derive(Debug)]
pub(super) struct Rekeying {
    workers: usize,
    /// Position of each session.
    positions: HashMap<String, usize>,
    /// Remote keys without MKIs that were left, oldest first.
    earlier: HashMap<(usize, LegName), Vec<MasterKey>>,
    /// Fingerprints of all keys that were sealed with in this run.
    sealed_with: HashSet<[u8; 16]>,
    /// Changes that wait for room in their worker's queue.
    pub(super) waiting: VecDeque<Planned>,
}

impl Rekeying {
    pub(super) fn new(sessions: &[Session], workers: usize) -> Self {
        let legs = sessions.iter().flat_map(|session| [&session.a, &session.b]);
        let local = legs.filter_map(|leg| match &leg.protection {
            Protection::Plain => None,
            Protection::Srtp { local_keys, .. } => Some(local_keys.active().fingerprint()),
        });
        Rekeying {
            workers: workers.max(1),
            positions: sessions.iter().enumerate().map(|(at, session)| (session.id.clone(), at)).collect(),
            earlier: HashMap::new(),
            sealed_with: local.collect(),
            waiting: VecDeque::new(),
        }
    }

    /// Plans what `config` changes in the keys of `sessions`.
    pub(super) fn apply(
        &mut self,
        sessions: &mut [Session],
        config: &Config,
        mut journal: Option<&mut Journal>,
    ) -> RekeyReport {
        let mut report = RekeyReport::default();
        let mut seen = 0;
        for new in &config.sessions {
            let Some(&at) = self.positions.get(&new.id) else {
                report.needs_restart.push(format!("session {:?} is new", new.id));
                continue;
            };
            seen += 1;
            for name in [LegName::A, LegName::B] {
                let Some(old) = sessions.get(at) else { continue };
                let what = format!("{} leg {name}", new.id);
                if differs_besides_keys(leg(old, name), leg(new, name)) {
                    report.needs_restart.push(format!("{what} differs in more than its keys"));
                }
                match self.set_keys(sessions, at, name, &leg(new, name).protection, journal.as_deref_mut()) {
                    Ok(true) => report.changed.push(what),
                    Ok(false) => {}
                    Err(reason) => report.refused.push((what, reason)),
                }
            }
        }
        if seen < sessions.len() {
            report.needs_restart.push(format!("{} sessions are gone", sessions.len() - seen));
        }
        report
    }

    /// The position of a session.
    pub(super) fn position(&self, session: &str) -> Option<usize> {
        self.positions.get(session).copied()
    }

    /// Plans the change of one leg's keys. `false`: it has them already.
    pub(super) fn set_keys(
        &mut self,
        sessions: &mut [Session],
        at: usize,
        name: LegName,
        new: &Protection,
        journal: Option<&mut Journal>,
    ) -> Result<bool, RekeyError> {
        let Some(session) = sessions.get_mut(at) else { return Ok(false) };
        let old = match name {
            LegName::A => &mut session.a.protection,
            LegName::B => &mut session.b.protection,
        };
        let (old_remote, old_local, new_remote, new_local) = match (&*old, new) {
            (Protection::Plain, Protection::Plain) => return Ok(false),
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
        let seal = match old_local.active() == new_local.active() {
            true => None,
            false => Some(self.seal_change(new_local.active(), journal)?),
        };
        let open = (old_remote != new_remote).then(|| self.key_set(at, name, old_remote, new_remote));
        let is_changed = seal.is_some() || open.is_some();
        if is_changed {
            // Sessions go to the workers in turn, and both streams of one stand side by side (`plan`).
            let first = (at / self.workers * 2) as u32;
            let (inbound, outbound) = match name {
                LegName::A => (StreamId(first), StreamId(first + 1)),
                LegName::B => (StreamId(first + 1), StreamId(first)),
            };
            let change = Box::new(KeyChange { inbound, outbound, open: open.map(Box::new), seal });
            self.waiting.push_back(Planned { worker: at % self.workers, change });
        }
        *old = new.clone();
        Ok(is_changed)
    }

    fn seal_change(
        &mut self,
        key: &MasterKey,
        journal: Option<&mut Journal>,
    ) -> Result<SealChange, RekeyError> {
        let fingerprint = key.fingerprint();
        if self.sealed_with.contains(&fingerprint) {
            return Err(RekeyError::KeyLeft);
        }
        let (mut rtp, mut rtcp) = (None, None);
        if let Some(journal) = journal {
            rtp = Some(journal.slot(fingerprint, JournalKind::Srtp)?.0);
            rtcp = Some(journal.slot(fingerprint, JournalKind::Srtcp)?.0);
        }
        self.sealed_with.insert(fingerprint);
        Ok(SealChange::new(key, rtp, rtcp))
    }

    /// With MKIs, the new keys and no others. Without, there is one at a time, and packets under those before it may
    /// still be under way.
    fn key_set(&mut self, at: usize, name: LegName, old: &MasterKeys, new: &MasterKeys) -> KeySet {
        if new.mki_len() > 0 {
            return KeySet::new(new.iter());
        }
        let earlier = self.earlier.entry((at, name)).or_default();
        earlier.push(old.active().clone());
        earlier.retain(|key| key != new.active());
        let surplus = earlier.len().saturating_sub(1 + EARLIER_KEYS);
        earlier.drain(..surplus);
        KeySet::new(earlier.iter().chain([new.active()]))
    }
}

fn leg(session: &Session, name: LegName) -> &Leg {
    match name {
        LegName::A => &session.a,
        LegName::B => &session.b,
    }
}

fn differs_besides_keys(old: &Leg, new: &Leg) -> bool {
    Leg { protection: old.protection.clone(), ..new.clone() } != *old
}

#[cfg(test)]
#[path = "rekey_tests.rs"]
mod tests;
