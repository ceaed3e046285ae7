//! A session ends: its worker stops accepting its packets and gives its rows back, they rest, and then everything that it
//! had is released and overwritten.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{Hosts, Sessions, entry_mut};
use crate::control::sessions::{SessionCounts, SessionError};
use crate::dpdk::slots::{Retired, Token};
use crate::fastpath::{Command, Returned};
use crate::session::{EndReason, Ended, Journal, KeyChange, SessionId};
use crate::srtp::Provider;

impl<P: Provider> Sessions<P> {
    /// Ends a session.
    pub(in crate::control) fn remove(
        &mut self,
        session: &str,
        reason: EndReason,
    ) -> Result<(), SessionError> {
        let unknown = || SessionError::Unknown { session: session.to_owned() };
        let id = self.by_name.get(session).copied().ok_or_else(unknown)?;
        self.end(id, reason);
        self.publish();
        Ok(())
    }

    fn end(&mut self, id: SessionId, reason: EndReason) {
        let now = self.now();
        let Some(entry) = entry_mut(&mut self.entries, id) else { return };
        entry.ending = Some(reason);
        let (name, places) = (std::mem::take(&mut entry.session.id), entry.places.clone());
        self.by_name.remove(&name);
        self.history.add(name, reason);
        places.iter().for_each(|place| self.ports.release(*place, now));
        self.homed[usize::from(id.worker)] -= 1;
        SessionCounts::add(&self.counts.ended[reason.index()]);
        self.lines[usize::from(id.worker)].send(Command::Remove { session: id, places });
    }

    /// One round: what workers gave back, sessions whose time is over, rows that have rested, commands that wait.
    /// Returns whether there was something to do.
    pub(in crate::control) fn poll(&mut self, hosts: &mut Hosts) -> bool {
        let mut busy = false;
        for worker in 0..self.workers.len() {
            let shared = Arc::clone(&self.workers[worker]);
            while let Some(Ended { row, generation, reason }) = shared.ended.pop() {
                let id = SessionId { worker: worker as u16, place: row / 2, generation };
                if self.entry(id).is_some_and(|entry| entry.id == id && entry.ending.is_none()) {
                    self.end(id, reason);
                }
                busy = true;
            }
        }
        let mut rows = Vec::new();
        for line in &mut self.lines {
            busy |= line.flush();
            while let Some(returned) = line.receive() {
                busy = true;
                match returned {
                    Returned::Rows(id, tokens) => rows.push((id, tokens)),
                    Returned::Keys(mut change) => {
                        if let Some(journal) = &mut self.journal {
                            release_replaced(journal, &mut change);
                        }
                    }
                    Returned::Profile(_) => {}
                    Returned::Source(mut replacement) => {
                        if let Err(reason) = replacement.outcome {
                            tracing::error!(%reason, "a stream keeps its source");
                        }
                        if let (Some(journal), Some(seal)) = (&mut self.journal, &mut replacement.seal) {
                            seal.take_journal().iter().flatten().for_each(|slot| journal.release(slot));
                        }
                    }
                }
            }
        }
        self.resting.add(rows, &self.workers);
        while let Some(rows) = self.resting.take(&self.workers) {
            busy = true;
            for (id, tokens) in rows {
                self.recycle(id, tokens, hosts);
            }
        }
        let workers = &self.workers;
        self.left_hops.retain(|&(worker, round, hop)| {
            let is_left = workers.get(usize::from(worker)).is_none_or(|worker| worker.rounds() >= round);
            if is_left {
                hosts.release(hop);
            }
            !is_left
        });
        self.left_taps.retain(|&(worker, round, tap)| {
            let is_left = workers.get(usize::from(worker)).is_none_or(|worker| worker.rounds() >= round);
            if is_left && let Some(taps) = &self.taps {
                taps.end(tap);
            }
            !is_left
        });
        if busy {
            self.publish();
        }
        busy
    }

    /// Releases everything that a session had, and overwrites its rows.
    fn recycle(&mut self, id: SessionId, tokens: [Token<Retired>; 2], hosts: &mut Hosts) {
        let worker = usize::from(id.worker);
        let Some(entry) = self
            .entries
            .get_mut(worker)
            .and_then(|entries| entries.get_mut(id.place as usize))
            .and_then(Option::take)
        else {
            return;
        };
        if let (Some(taps), Some(tap)) = (&self.taps, entry.tap) {
            taps.end(tap);
        }
        entry.hops.into_iter().flatten().flatten().for_each(|hop| hosts.release(hop));
        entry.profiles.iter().for_each(|profile| self.profiles[worker].release(*profile));
        let keeper = &mut self.keepers[worker];
        let rows =
            [(tokens, entry.seal_keys)].into_iter().flat_map(|([even, odd], [a, b])| [(even, b), (odd, a)]);
        let mut vacant = ArrayVec::<_, 2>::new();
        for (token, sealed_with) in rows {
            let Some((token, remains)) = keeper.recycle(token) else { continue };
            vacant.push(token);
            self.codecs.release(remains.keys);
            if let Some(journal) = &mut self.journal {
                remains.journal.iter().flatten().for_each(|slot| journal.release(slot));
            }
            if let Some(fingerprint) = sealed_with {
                self.keys.leave(fingerprint);
            }
        }
        if let Ok(rows) = vacant.into_inner() {
            let released = self.pool.release(id, rows);
            debug_assert!(released.is_ok(), "the session had its place until now");
        }
    }

    /// The end, when no worker runs any more: all sessions end, and their keys are overwritten. `carry_out` has the workers
    /// do what they are told. Answers the journal, which is to be closed.
    pub(in crate::control) fn finish(
        &mut self,
        hosts: &mut Hosts,
        mut carry_out: impl FnMut(),
    ) -> Option<Journal> {
        for id in self.by_name.values().copied().collect::<Vec<_>>() {
            self.end(id, EndReason::Shutdown);
        }
        // A worker that was lost carries nothing out any more.
        let mut is_stuck = false;
        while !is_stuck {
            carry_out();
            let busy = self.poll(hosts);
            let rows = self.resting.take_all();
            is_stuck = !busy && rows.is_empty();
            for (id, tokens) in rows {
                self.recycle(id, tokens, hosts);
            }
        }
        self.publish();
        self.journal.take()
    }

    /// No worker runs any more: completes what the tap has written.
    pub(in crate::control) fn stop_taps(&mut self) {
        if let Some(taps) = self.taps.take() {
            taps.stop();
        }
    }
}

/// The records of a sealing key that a worker has left.
fn release_replaced(journal: &mut Journal, change: &mut KeyChange) {
    if let Some(seal) = &mut change.seal {
        seal.take_journal().iter().flatten().for_each(|slot| journal.release(slot));
    }
}
