//! A session changes while it runs: keys, remotes, payload types, time-outs, its tap, its source.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Entry, Hop, Hosts, LEGS, Sessions, at, claim_slots, entry_mut, leg_of, letter, stream, timers};
use crate::control::config::{Leg, Protection, RtcpPolicy, Session};
use crate::control::host::RouteError;
use crate::control::rekey::{self, LegName, RekeyError};
use crate::control::sessions::line::Line;
use crate::control::sessions::{SessionCounts, SessionError};
use crate::control::tap;
use crate::control::{plan, profile};
use crate::fastpath::{Command, LearnEvent, WorkerShared};
use crate::session::{Endpoint, KeyChange, KeySet, Replacement, SealChange, SessionId};
use crate::srtp::{MasterKey, Provider};

/// Rounds within which a worker has surely carried out what was in its line: at least one command in each.
const LINE_DEPTH: u64 = crate::fastpath::control_link::DEPTH as u64;

impl<P: Provider> Sessions<P> {
    /// Makes a session `new`, as far as that can be done while it runs. All or nothing but for the keys of leg b, which
    /// may be refused after those of leg a were taken.
    pub(in crate::control) fn change(
        &mut self,
        new: Session,
        hosts: &mut Hosts,
    ) -> Result<SessionId, SessionError> {
        let outcome = self.try_change(new, hosts);
        let counter = if outcome.is_ok() { &self.counts.changed } else { &self.counts.refused };
        SessionCounts::add(counter);
        self.publish();
        outcome
    }

    /// Gives a leg new keys; `false` if it has them.
    pub(in crate::control) fn set_keys(
        &mut self,
        session: &str,
        leg: LegName,
        protection: &Protection,
    ) -> Result<bool, RekeyError> {
        let unknown = || RekeyError::UnknownSession { session: session.to_owned() };
        let id = self.by_name.get(session).copied().ok_or_else(unknown)?;
        let Some(entry) = entry_mut(&mut self.entries, id) else { return Err(unknown()) };
        let old = match leg {
            LegName::A => &entry.session.a.protection,
            LegName::B => &entry.session.b.protection,
        };
        let Some(planned) = rekey::plan(old, protection, &entry.earlier[at(leg)])? else { return Ok(false) };
        let seal = planned.seal.map(|key| self.claim_seal_key(id, leg, &key)).transpose()?;
        let Some(entry) = entry_mut(&mut self.entries, id) else { return Err(unknown()) };
        entry.earlier[at(leg)] = planned.earlier;
        match leg {
            LegName::A => entry.session.a.protection = protection.clone(),
            LegName::B => entry.session.b.protection = protection.clone(),
        }
        let change = match seal {
            None if planned.open.is_none() => return Ok(false),
            seal => {
                let inbound = stream(id, leg);
                KeyChange {
                    inbound,
                    outbound: plan::opposite(inbound),
                    open: planned.open.map(Box::new),
                    seal,
                }
            }
        };
        self.lines[usize::from(id.worker)].send(Command::SetKeys(Box::new(change)));
        Ok(true)
    }

    /// Another source for a leg, with the remote and the keys of `new`: towards the other leg, the stream goes on as if it
    /// were the same.
    pub(in crate::control) fn replace_source(
        &mut self,
        session: &str,
        name: LegName,
        new: &Leg,
        hosts: &mut Hosts,
    ) -> Result<SessionId, SessionError> {
        let unknown = || SessionError::Unknown { session: session.to_owned() };
        let id = self.by_name.get(session).copied().ok_or_else(unknown)?;
        let Some(entry) = entry_mut(&mut self.entries, id) else { return Err(unknown()) };
        let old = leg_of(&entry.session, name).clone();
        if let Some(what) = fixed_difference(&old, new) {
            return Err(SessionError::Fixed { leg: letter(name), what });
        }
        let refused = |reason| SessionError::Keys { leg: letter(name), reason };
        let planned = rekey::plan(&old.protection, &new.protection, &[]).map_err(refused)?;
        // What the one before had sealed with is not accepted any more: none of its keys goes along.
        let open = match (&planned, &new.protection) {
            (Some(planned), Protection::Srtp { remote_keys, .. }) if planned.open.is_some() => {
                Some(Box::new(KeySet::new(remote_keys.iter())))
            }
            _ => None,
        };
        let seal = planned.and_then(|planned| planned.seal);
        let seal = seal.map(|key| self.claim_seal_key(id, name, &key)).transpose().map_err(refused)?;
        let Some(entry) = entry_mut(&mut self.entries, id) else { return Err(unknown()) };
        let clock = profile::source_clock(new, self.tsc_hz);
        entry.earlier[at(name)].clear();
        entry.learned[at(name)] = [None; 2];
        let leg = match name {
            LegName::A => &mut entry.session.a,
            LegName::B => &mut entry.session.b,
        };
        leg.protection = new.protection.clone();
        let replacement = Replacement::new(stream(id, name), clock, open, seal);
        self.lines[usize::from(id.worker)].send(Command::ReplaceSource(Box::new(replacement)));
        self.change_remotes(id, name, &old, new, hosts)?;
        if let Some(entry) = entry_mut(&mut self.entries, id) {
            let leg = match name {
                LegName::A => &mut entry.session.a,
                LegName::B => &mut entry.session.b,
            };
            (leg.remote, leg.rtcp) = (new.remote, new.rtcp);
        }
        SessionCounts::add(&self.counts.changed);
        Ok(id)
    }

    /// A leg's packets authenticate from a new source: from now on its media goes there.
    pub(in crate::control) fn learn(&mut self, worker: u16, event: LearnEvent, hosts: &mut Hosts) {
        let id = SessionId { worker, place: event.stream.0 / 2, generation: event.generation };
        let Some(entry) = entry_mut(&mut self.entries, id).filter(|entry| entry.id == id) else { return };
        let name = if event.stream.0.is_multiple_of(2) { LegName::A } else { LegName::B };
        let known = &mut entry.learned[at(name)][usize::from(event.is_rtcp)];
        if entry.ending.is_some() || *known == Some(event.source) {
            return;
        }
        *known = Some(event.source);
        let leg = leg_of(&entry.session, name);
        let remote = event.source.socket_addr();
        let (rtp, rtcp) = match leg.rtcp {
            RtcpPolicy::Mux => (true, true),
            RtcpPolicy::Separate { .. } => (!event.is_rtcp, event.is_rtcp),
        };
        match send_remote(
            entry,
            name,
            remote,
            [rtp, rtcp],
            hosts,
            &mut self.lines,
            &mut self.left_hops,
            &self.workers,
        ) {
            Ok(()) => {
                if let (Some(taps), Some(tap)) = (&self.taps, entry.tap) {
                    taps.remote(tap, tap::leg_of(name), remote, [rtp, rtcp]);
                }
                tracing::info!(session = %entry.session.id, %remote, rtcp = event.is_rtcp, "remote learned")
            }
            Err(reason) => {
                tracing::warn!(session = %entry.session.id, %remote, %reason, "a learned remote cannot be reached");
            }
        }
    }

    /// A fresh key for a leg to be sealed with, and its records; the one before is left.
    fn claim_seal_key(
        &mut self,
        id: SessionId,
        name: LegName,
        key: &MasterKey,
    ) -> Result<SealChange, RekeyError> {
        let fingerprint = key.fingerprint();
        self.keys.take(fingerprint, false).map_err(|_| RekeyError::KeyLeft)?;
        let slots =
            claim_slots(&mut self.journal, fingerprint).inspect_err(|_| self.keys.put_back(&fingerprint))?;
        let [rtp, rtcp] = slots.map_or([None, None], |slots| slots.map(|(slot, _)| Some(slot)));
        let entry = entry_mut(&mut self.entries, id);
        if let Some(left) = entry.and_then(|entry| entry.seal_keys[at(name)].replace(fingerprint)) {
            self.keys.leave(left);
        }
        Ok(SealChange::new(key, rtp, rtcp))
    }

    fn try_change(&mut self, new: Session, hosts: &mut Hosts) -> Result<SessionId, SessionError> {
        let unknown = || SessionError::Unknown { session: new.id.clone() };
        let id = self.by_name.get(&new.id).copied().ok_or_else(unknown)?;
        let old = self.entry(id).map(|entry| entry.session.clone()).ok_or_else(unknown)?;
        if new.tap && self.taps.is_none() {
            return Err(SessionError::NoTap);
        }
        for name in LEGS {
            let (was, is) = (leg_of(&old, name), leg_of(&new, name));
            if let Some(what) = fixed_difference(was, is) {
                return Err(SessionError::Fixed { leg: letter(name), what });
            }
        }
        for name in LEGS {
            let protection = &leg_of(&new, name).protection;
            self.set_keys(&new.id, name, protection)
                .map_err(|reason| SessionError::Keys { leg: letter(name), reason })?;
        }
        for name in LEGS {
            let (was, is) = (leg_of(&old, name), leg_of(&new, name));
            self.change_profile(id, name, &old, &new)?;
            self.change_remotes(id, name, was, is, hosts)?;
        }
        let Some(entry) = entry_mut(&mut self.entries, id) else { return Err(unknown()) };
        let line = &mut self.lines[usize::from(id.worker)];
        if old.timeouts != new.timeouts {
            entry.timers = timers(&new.timeouts, entry.timers.born, id.generation);
            line.send(Command::SetTimers(stream(id, LegName::A), entry.timers));
        }
        if old.tap != new.tap {
            let begun = self.taps.as_mut().filter(|_| new.tap).map(|taps| taps.begin(&new));
            for leg in LEGS {
                line.send(Command::SetTap(stream(id, leg), begun.map(|tap| tap::tag(tap, leg))));
            }
            if let Some(left) = std::mem::replace(&mut entry.tap, begun) {
                let rounds = self.workers.get(usize::from(id.worker)).map_or(0, |worker| worker.rounds());
                let round = rounds + LINE_DEPTH + line.waiting() as u64 + 2;
                self.left_taps.push((id.worker, round, left));
            }
        }
        entry.session = new;
        Ok(id)
    }

    fn change_remotes(
        &mut self,
        id: SessionId,
        name: LegName,
        was: &Leg,
        is: &Leg,
        hosts: &mut Hosts,
    ) -> Result<(), SessionError> {
        let rtcp = [was, is].map(plan::rtcp_remote);
        for (which, was, is) in [([true, false], was.remote, is.remote), ([false, true], rtcp[0], rtcp[1])] {
            let (Some(remote), true) = (is, was != is) else { continue };
            let Some(entry) = entry_mut(&mut self.entries, id) else { continue };
            let (lines, hops, workers) = (&mut self.lines, &mut self.left_hops, &self.workers);
            send_remote(entry, name, remote, which, hosts, lines, hops, workers)
                .map_err(|reason| SessionError::Route { leg: letter(name), reason })?;
            if let (Some(taps), Some(tap)) = (&self.taps, entry.tap) {
                taps.remote(tap, tap::leg_of(name), remote, which);
            }
        }
        Ok(())
    }

    fn change_profile(
        &mut self,
        id: SessionId,
        name: LegName,
        was: &Session,
        is: &Session,
    ) -> Result<(), SessionError> {
        let (was, is) = (profile::of(was, name), profile::of(is, name));
        if was == is {
            return Ok(());
        }
        let book = &mut self.profiles[usize::from(id.worker)];
        let acquired = book.acquire(&is);
        let (number, is_new) =
            acquired.ok_or(SessionError::ProfilesFull { capacity: self.profiles_per_worker })?;
        let line = &mut self.lines[usize::from(id.worker)];
        if is_new {
            line.send(Command::SetProfile(number, Box::new(is)));
        }
        line.send(Command::UseProfile(stream(id, name), number));
        if let Some(entry) = entry_mut(&mut self.entries, id) {
            let left = std::mem::replace(&mut entry.profiles[at(name)], number);
            self.profiles[usize::from(id.worker)].release(left);
        }
        Ok(())
    }
}

/// Tells the worker where a leg's remote is, and holds the next hops there in place of those before.
#[allow(clippy::too_many_arguments, reason = "parts of the table, borrowed apart")]
fn send_remote(
    entry: &mut Entry,
    name: LegName,
    remote: SocketAddr,
    [rtp, rtcp]: [bool; 2],
    hosts: &mut Hosts,
    lines: &mut [Line],
    left_hops: &mut Vec<(u16, u64, Hop)>,
    workers: &[Arc<WorkerShared>],
) -> Result<(), RouteError> {
    let leg = leg_of(&entry.session, name);
    let local = if rtp { leg.local } else { plan::rtcp_local(leg) };
    let (egress, hop) = hosts.egress(leg, local, remote)?;
    // Each template holds its next hop by itself.
    let second = (rtp && rtcp).then(|| hosts.egress(leg, local, remote)).transpose()?.map(|(_, hop)| hop);
    let id = entry.id;
    let mut held = [Some(hop), second].into_iter().flatten();
    for (which, is_meant) in [rtp, rtcp].into_iter().enumerate() {
        if is_meant && let Some(left) = std::mem::replace(&mut entry.hops[at(name)][which], held.next()) {
            // The worker takes a few commands in each round, so the old template is gone by then.
            let waiting = lines[usize::from(id.worker)].waiting() as u64;
            let rounds = workers.get(usize::from(id.worker)).map_or(0, |worker| worker.rounds());
            left_hops.push((id.worker, rounds + LINE_DEPTH + waiting + 2, left));
        }
    }
    let inbound = stream(id, name);
    lines[usize::from(id.worker)].send(Command::SetRemote {
        inbound,
        outbound: plan::opposite(inbound),
        remote: Endpoint::from(remote),
        egress,
        rtp,
        rtcp,
    });
    Ok(())
}

/// What of a leg differs and must stay.
fn fixed_difference(was: &Leg, is: &Leg) -> Option<&'static str> {
    let rtcp_local = |leg: &Leg| plan::rtcp_local(leg);
    if was.local != is.local || was.port != is.port {
        return Some("the local address");
    }
    if rtcp_local(was) != rtcp_local(is) {
        return Some("where RTCP is received");
    }
    if was.remote_policy != is.remote_policy {
        return Some("remote_policy");
    }
    let (was, is) = (was.remote.map(|remote| remote.is_ipv4()), is.remote.map(|remote| remote.is_ipv4()));
    (was.is_some() && is.is_none()).then_some("a remote that is known")
}
