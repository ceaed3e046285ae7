//! The table itself: claiming what a session needs, sending it to its worker, and giving everything back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::history::History;
use super::keys::{CodecCount, CodecPool, Fingerprint, KeyBook, KeyRefused};
use super::line::{Line, Resting};
use super::ports::{PortBook, PortRefused};
use super::profiles::ProfileBook;
use super::{SessionCounts, SessionError};
use crate::control::config::{Config, Leg, Protection, RtcpPolicy, Session, Timeouts};
use crate::control::host::{Host, NextHopId, RouteError};
use crate::control::rekey::{self, LegName, RekeyError};
use crate::control::tap::{self, Taps};
use crate::control::{plan, profile};
use crate::dpdk::Rss;
use crate::dpdk::slots::{Filled, Token, Vacant};
use crate::fastpath::control_link::Places;
use crate::fastpath::{Command, ControlEnd, LearnEvent, Returned, WorkerShared};
use crate::session::{
    Egress, EgressPort, EndReason, Ended, Endpoint, Journal, JournalKind, JournalSlot, KeyChange, KeySet,
    Lookup, Media, NextHop, Place, Profile, ProfileId, Replacement, SealChange, SessionId, SessionPool,
    StreamId, StreamKeeper, TICKS_PER_SECOND, Target, Timers,
};
use crate::srtp::{MasterKey, Provider, ReplayWindowSize};

/// Changes that wait for a worker before requests are refused.
const MAX_WAITING: usize = 65_536;
/// Ends of sessions that are remembered.
const HISTORY: usize = 65_536;
/// Expanded keys that stand ready for sessions that come back.
const CODEC_CONTEXTS: usize = 4_096;

/// The hosts of all ports, and what a template needs of each port.
pub struct Hosts {
    /// By port.
    pub hosts: Vec<Host>,
    /// By port.
    pub facts: Vec<EgressPort>,
}

impl Hosts {
    /// The way from `local` to `remote` out of the leg's port, and the next hop that it holds.
    pub(in crate::control) fn egress(
        &mut self,
        leg: &Leg,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<(Egress, Hop), RouteError> {
        let next_hop = self.hosts[leg.port].next_hop(remote.ip())?;
        let egress = Egress::new(self.facts[leg.port], local, remote, NextHop(next_hop.0));
        Ok((egress, Hop { port: leg.port, next_hop }))
    }

    fn release(&mut self, hop: Hop) {
        if let Some(host) = self.hosts.get_mut(hop.port) {
            host.release(hop.next_hop);
        }
    }
}

/// A next hop that is held.
#[derive(Debug, Clone, Copy)]
pub(in crate::control) struct Hop {
    port: usize,
    next_hop: NextHopId,
}

/// What the table is made of.
pub(in crate::control) struct Start<'a, P: Provider> {
    pub(in crate::control) config: &'a Config,
    pub(in crate::control) lookup: Arc<Lookup>,
    pub(in crate::control) keepers: Vec<StreamKeeper<P>>,
    pub(in crate::control) spreads: Vec<Option<Rss>>,
    pub(in crate::control) journal: Option<Journal>,
    pub(in crate::control) links: Vec<ControlEnd>,
    pub(in crate::control) workers: Vec<Arc<WorkerShared>>,
    /// Frequency of the time-stamp counter in Hz.
    pub(in crate::control) tsc_hz: u64,
    /// `None` without `[tap]`.
    pub(in crate::control) taps: Option<Taps>,
}

/// All sessions.
pub(in crate::control) struct Sessions<P: Provider> {
    window: ReplayWindowSize,
    lookup: Arc<Lookup>,
    keepers: Vec<StreamKeeper<P>>,
    pool: SessionPool<Token<Vacant>>,
    /// By worker and place.
    entries: Vec<Vec<Option<Box<Entry>>>>,
    by_name: HashMap<String, SessionId>,
    /// By worker.
    homed: Vec<usize>,
    spreads: Vec<Option<Rss>>,
    ports: PortBook,
    profiles: Vec<ProfileBook>,
    profiles_per_worker: usize,
    keys: KeyBook,
    codecs: CodecPool<P>,
    journal: Option<Journal>,
    lines: Vec<Line>,
    workers: Vec<Arc<WorkerShared>>,
    resting: Resting,
    /// Next hops that templates no longer use once their worker has carried out this many rounds.
    left_hops: Vec<(u16, u64, Hop)>,
    /// Taps whose streams no longer carry their tags once their worker has carried out this many rounds.
    left_taps: Vec<(u16, u64, u32)>,
    taps: Option<Taps>,
    history: History,
    counts: Arc<SessionCounts>,
    start: Instant,
    tsc_hz: u64,
}

/// One session.
struct Entry {
    session: Session,
    id: SessionId,
    places: Places<Place>,
    /// Of the streams that a and b send.
    profiles: [ProfileId; 2],
    /// By leg: towards its RTP and its RTCP.
    hops: [[Option<Hop>; 2]; 2],
    /// What each leg is sealed with.
    seal_keys: [Option<Fingerprint>; 2],
    /// Remote keys without MKIs that each leg left, oldest first.
    earlier: [Vec<MasterKey>; 2],
    /// By leg: where its RTP and its RTCP were last learned to come from.
    learned: [[Option<Endpoint>; 2]; 2],
    timers: Timers,
    /// The number of its tap, if it is tapped.
    tap: Option<u32>,
    ending: Option<EndReason>,
}

/// What was claimed for a session that is not there yet: all of it is given back if something is missing.
#[derive(Default)]
struct Claim {
    places: Places<Place>,
    hops: [[Option<Hop>; 2]; 2],
    egress: [[Option<Egress>; 2]; 2],
    keys: [Option<Fingerprint>; 2],
    slots: [Option<[Slot; 2]>; 2],
    profiles: Vec<ProfileId>,
}

type Slot = (JournalSlot, Option<crate::session::Resumed>);

/// A session whose rows are filled in.
pub(in crate::control) struct Placed {
    pub(in crate::control) id: SessionId,
    pub(in crate::control) rows: [Token<Filled>; 2],
    pub(in crate::control) binds: Places<(Place, Target)>,
    /// Profiles that its worker does not know yet.
    pub(in crate::control) profiles: Vec<(ProfileId, Profile)>,
}

const LEGS: [LegName; 2] = [LegName::A, LegName::B];

fn letter(leg: LegName) -> char {
    match leg {
        LegName::A => 'a',
        LegName::B => 'b',
    }
}

fn at(leg: LegName) -> usize {
    leg as usize
}

impl<P: Provider> Sessions<P> {
    pub(in crate::control) fn new(start: Start<'_, P>) -> Self {
        let Start { config, lookup, mut keepers, spreads, journal, links, workers, tsc_hz, taps } = start;
        let profiles_per_worker = Profile::MOST;
        let rows: Vec<Vec<Token<Vacant>>> =
            keepers.iter_mut().map(|keeper| std::iter::from_fn(|| keeper.take_vacant()).collect()).collect();
        let pool = SessionPool::new(rows);
        let entries = (0..keepers.len()).map(|worker| (0..pool.free(worker as u16)).map(|_| None).collect());
        let capacity = pool.count().size as usize;
        Sessions {
            window: config.srtp.replay_window,
            ports: PortBook::new(lookup.places(), config.limits.port_rest_s.saturating_mul(TICKS_PER_SECOND)),
            lookup,
            entries: entries.collect(),
            by_name: HashMap::with_capacity(capacity),
            homed: vec![0; keepers.len()],
            profiles: keepers.iter().map(|_| ProfileBook::new(profiles_per_worker)).collect(),
            profiles_per_worker,
            keepers,
            pool,
            spreads,
            keys: KeyBook::new((8 * capacity).max(1024)),
            codecs: CodecPool::new(CODEC_CONTEXTS),
            journal,
            lines: links.into_iter().map(Line::new).collect(),
            workers,
            resting: Resting::default(),
            left_hops: Vec::new(),
            left_taps: Vec::new(),
            taps,
            history: History::new(HISTORY),
            counts: Arc::default(),
            start: Instant::now(),
            tsc_hz,
        }
    }

    pub(in crate::control) fn counts(&self) -> Arc<SessionCounts> {
        Arc::clone(&self.counts)
    }

    pub(in crate::control) fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    /// Adds a session whose worker runs.
    pub(in crate::control) fn add(
        &mut self,
        session: Session,
        hosts: &mut Hosts,
    ) -> Result<SessionId, SessionError> {
        let placed = self.place(session, hosts, true);
        let placed = placed.inspect_err(|_| SessionCounts::add(&self.counts.refused))?;
        let Placed { id, rows, binds, profiles } = placed;
        let line = &mut self.lines[usize::from(id.worker)];
        for (number, profile) in profiles {
            line.send(Command::SetProfile(number, Box::new(profile)));
        }
        line.send(Command::Add { rows, binds });
        self.publish();
        Ok(id)
    }

    /// Claims everything for a session and fills its rows in. Without `is_live` there are no workers yet, and all that is
    /// configured is served: neither ports at rest nor commands that wait are in the way.
    pub(in crate::control) fn place(
        &mut self,
        session: Session,
        hosts: &mut Hosts,
        is_live: bool,
    ) -> Result<Placed, SessionError> {
        if self.by_name.contains_key(&session.id) {
            return Err(SessionError::Exists { session: session.id });
        }
        if session.tap && self.taps.is_none() {
            return Err(SessionError::NoTap);
        }
        let worker = self.home(&session)?;
        let line = self.lines.get(usize::from(worker)).map_or(0, Line::waiting);
        if is_live && line >= MAX_WAITING {
            return Err(SessionError::Busy { worker, waiting: line });
        }
        let mut claim = Claim::default();
        let mut profiles = Vec::new();
        if let Err(error) = self.claim(&session, worker, hosts, &mut claim, &mut profiles) {
            self.give_back(claim, worker, hosts);
            return Err(error);
        }
        let Some((id, [even, odd])) = self.pool.acquire(worker) else {
            self.give_back(claim, worker, hosts);
            return Err(SessionError::Full { capacity: self.pool.count().size });
        };
        let now = self.workers.get(usize::from(worker)).map_or(1, |worker| worker.now());
        let timers = timers(&session.timeouts, now, id.generation);
        let first = 2 * id.place;
        let mut binds = Places::new();
        for (leg, stream) in [(&session.a, first), (&session.b, first + 1)] {
            binds_of(leg, worker, StreamId(stream), &claim.places, &mut binds);
        }
        let tap = self.taps.as_mut().filter(|_| session.tap).map(|taps| taps.begin(&session));
        let [slots_a, slots_b] = claim.slots;
        let keeper = &mut self.keepers[usize::from(worker)];
        let mut fill = |row, [sender, receiver]: [&Leg; 2], to: usize, slots: Option<[Slot; 2]>, profile| {
            let mut setup = plan::setup(self.window, sender, receiver);
            // Leg b's stream has what leg a is sealed with.
            setup.tap = tap.map(|tap| tap::tag(tap, LEGS[1 - to]));
            [setup.rtp_egress, setup.rtcp_egress] = claim.egress[to].clone();
            if let Some([rtp, rtcp]) = slots {
                setup.rtp_journal = Some(rtp);
                setup.rtcp_journal = Some(rtcp);
            }
            keeper
                .fill_with(row, setup, profile, timers, &mut self.codecs)
                .expect("the pool has the rights to this keeper's rows only")
        };
        // What leg b is sealed with belongs to the stream that a sends.
        let even = fill(even, [&session.a, &session.b], 1, slots_b, claim.profiles[0]);
        let odd = fill(odd, [&session.b, &session.a], 0, slots_a, claim.profiles[1]);
        self.codecs.note_filled(id.generation > 0);
        self.by_name.insert(session.id.clone(), id);
        self.homed[usize::from(worker)] += 1;
        let entry = Entry {
            session,
            id,
            places: claim.places,
            profiles: [claim.profiles[0], claim.profiles[1]],
            hops: claim.hops,
            seal_keys: claim.keys,
            earlier: Default::default(),
            learned: Default::default(),
            timers,
            tap,
            ending: None,
        };
        self.entries[usize::from(worker)][id.place as usize] = Some(Box::new(entry));
        SessionCounts::add(&self.counts.added);
        Ok(Placed { id, rows: [even, odd], binds, profiles })
    }

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

    /// Why a session that is gone ended, if that is still known.
    pub(in crate::control) fn ended(&self, session: &str) -> Option<EndReason> {
        if self.by_name.contains_key(session) {
            return None;
        }
        self.history.get(session)
    }

    /// Ids of all sessions.
    pub(in crate::control) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The id of the session whose stream is at this place now.
    pub(in crate::control) fn name_at(&self, worker: u16, stream: StreamId) -> Option<&str> {
        let id = SessionId { worker, place: stream.0 / 2, generation: 0 };
        self.entry(id).map(|entry| entry.session.id.as_str()).filter(|name| !name.is_empty())
    }

    /// A session as it was asked for, with the keys that it has now.
    pub(in crate::control) fn get(&self, session: &str) -> Option<&Session> {
        self.entry(*self.by_name.get(session)?).map(|entry| &entry.session)
    }

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
        self.codecs.expire(self.now());
        if busy {
            self.publish();
        }
        busy
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

    /// Ticks since the table was made, from 1 on.
    fn now(&self) -> u32 {
        1 + (self.start.elapsed().as_millis() as u64 * u64::from(TICKS_PER_SECOND) / 1000) as u32
    }

    /// The worker on which a session is homed: where its packets arrive, or the one with the fewest sessions.
    fn home(&self, session: &Session) -> Result<u16, SessionError> {
        let has_room = |&worker: &usize| self.pool.free(worker as u16) > 0;
        let fewest = || (0..self.homed.len()).filter(has_room).min_by_key(|&worker| self.homed[worker]);
        let chosen = plan::home(session, &self.spreads, &self.homed).filter(has_room).or_else(fewest);
        // Without room the pool counts what it had to refuse.
        Ok(chosen.unwrap_or(0) as u16)
    }

    fn claim(
        &mut self,
        session: &Session,
        worker: u16,
        hosts: &mut Hosts,
        claim: &mut Claim,
        profiles: &mut Vec<(ProfileId, Profile)>,
    ) -> Result<(), SessionError> {
        let now = self.now();
        for name in LEGS {
            let leg = leg_of(session, name);
            for local in locals(leg) {
                let place =
                    self.lookup.place(&Endpoint::from(local)).ok_or(SessionError::NotLocal { local })?;
                self.ports.take(place, now).map_err(|refused| match refused {
                    PortRefused::Taken => SessionError::PortInUse { local },
                    PortRefused::Resting(ticks) => SessionError::PortResting {
                        local,
                        rest_ms: u64::from(ticks) * 1000 / u64::from(TICKS_PER_SECOND),
                    },
                })?;
                claim.places.push(place);
            }
            if let Protection::Srtp { local_keys, .. } = &leg.protection {
                let fingerprint = local_keys.active().fingerprint();
                self.keys.take(fingerprint, self.journal.is_some()).map_err(|refused| match refused {
                    KeyRefused::InUse => SessionError::KeyInUse { leg: letter(name) },
                    KeyRefused::Left => SessionError::KeyLeft { leg: letter(name) },
                })?;
                claim.keys[at(name)] = Some(fingerprint);
                claim.slots[at(name)] = claim_slots(&mut self.journal, fingerprint)?;
            }
            let route = |reason| SessionError::Route { leg: letter(name), reason };
            for (which, local, remote) in
                [(0, leg.local, leg.remote), (1, plan::rtcp_local(leg), plan::rtcp_remote(leg))]
            {
                let Some(remote) = remote else { continue };
                let (egress, hop) = hosts.egress(leg, local, remote).map_err(route)?;
                claim.hops[at(name)][which] = Some(hop);
                claim.egress[at(name)][which] = Some(egress);
            }
        }
        for sender in LEGS {
            let profile = profile::of(session, sender);
            let acquired = self.profiles[usize::from(worker)].acquire(&profile);
            let (number, is_new) =
                acquired.ok_or(SessionError::ProfilesFull { capacity: self.profiles_per_worker })?;
            claim.profiles.push(number);
            if is_new {
                profiles.push((number, profile));
            }
        }
        Ok(())
    }

    fn give_back(&mut self, claim: Claim, worker: u16, hosts: &mut Hosts) {
        claim.places.iter().for_each(|place| self.ports.put_back(*place));
        claim.hops.into_iter().flatten().flatten().for_each(|hop| hosts.release(hop));
        claim.keys.iter().flatten().for_each(|key| self.keys.put_back(key));
        if let Some(journal) = &mut self.journal {
            for (slot, _) in claim.slots.iter().flatten().flatten() {
                journal.release(slot);
            }
        }
        claim.profiles.iter().for_each(|profile| self.profiles[usize::from(worker)].release(*profile));
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

    /// Releases everything that a session had, and overwrites its rows.
    fn recycle(&mut self, id: SessionId, tokens: [Token<crate::dpdk::slots::Retired>; 2], hosts: &mut Hosts) {
        let now = self.now();
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
        let mut vacant = Vec::with_capacity(2);
        for (token, sealed_with) in rows {
            let Some((token, remains)) = keeper.recycle(token) else { continue };
            vacant.push(token);
            self.codecs.note_released(remains.open.is_some(), remains.seal.is_some());
            if let Some(journal) = &mut self.journal {
                remains.journal.iter().flatten().for_each(|slot| journal.release(slot));
            }
            if let Some((fingerprint, context)) = remains.open {
                self.codecs.park(fingerprint, context, now);
            }
            if let (Some(fingerprint), Some(context)) = (sealed_with, remains.seal) {
                self.codecs.park(fingerprint, context, now);
                self.keys.leave(fingerprint);
            }
        }
        if let Ok(rows) = <[Token<Vacant>; 2]>::try_from(vacant) {
            let released = self.pool.release(id, rows);
            debug_assert!(released.is_ok(), "the session had its place until now");
        }
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

    fn entry(&self, id: SessionId) -> Option<&Entry> {
        self.entries.get(usize::from(id.worker))?.get(id.place as usize)?.as_deref()
    }

    pub(in crate::control) fn publish(&self) {
        let set =
            |counter: &std::sync::atomic::AtomicU64, value: u64| counter.store(value, Ordering::Relaxed);
        set(&self.counts.active, self.by_name.len() as u64);
        let count = self.pool.count();
        let pool =
            [count.size, count.acquired, count.reused, count.released, count.high_water, count.exhausted];
        self.counts.pool.iter().zip(pool).for_each(|(counter, value)| set(counter, value));
        let CodecCount { acquired, reused, released, high_water, ready } = self.codecs.count();
        let codecs = [4 * count.size, acquired, reused, released, high_water, 0];
        self.counts.codecs.iter().zip(codecs).for_each(|(counter, value)| set(counter, value));
        set(&self.counts.keys_ready, ready);
    }
}

fn entry_mut(entries: &mut [Vec<Option<Box<Entry>>>], id: SessionId) -> Option<&mut Entry> {
    entries.get_mut(usize::from(id.worker))?.get_mut(id.place as usize)?.as_deref_mut()
}

/// The stream that a leg sends.
fn stream(id: SessionId, leg: LegName) -> StreamId {
    StreamId(2 * id.place + at(leg) as u32)
}

fn leg_of(session: &Session, leg: LegName) -> &Leg {
    match leg {
        LegName::A => &session.a,
        LegName::B => &session.b,
    }
}

/// Where a leg receives.
fn locals(leg: &Leg) -> impl Iterator<Item = SocketAddr> {
    let rtcp = Some(plan::rtcp_local(leg)).filter(|rtcp| *rtcp != leg.local);
    std::iter::once(leg.local).chain(rtcp)
}

/// Where packets of a leg arrive. `places` are those of its session, leg a's first, in the order of [`locals`]; the
/// binds of the legs before it are in `binds`.
fn binds_of(
    leg: &Leg,
    worker: u16,
    stream: StreamId,
    places: &Places<Place>,
    binds: &mut Places<(Place, Target)>,
) {
    let media = match leg.rtcp {
        RtcpPolicy::Mux => &[Media::Muxed][..],
        RtcpPolicy::Separate { .. } => &[Media::Rtp, Media::Rtcp],
    };
    for (&media, &place) in media.iter().zip(places.iter().skip(binds.len())) {
        binds.push((place, Target { worker, stream, media }));
    }
}

fn claim_slots(
    journal: &mut Option<Journal>,
    fingerprint: Fingerprint,
) -> Result<Option<[Slot; 2]>, crate::session::JournalError> {
    let Some(journal) = journal else { return Ok(None) };
    let rtp = journal.slot(fingerprint, JournalKind::Srtp)?;
    match journal.slot(fingerprint, JournalKind::Srtcp) {
        Ok(rtcp) => Ok(Some([rtp, rtcp])),
        Err(error) => {
            journal.release(&rtp.0);
            Err(error)
        }
    }
}

/// The records of a sealing key that a worker has left.
fn release_replaced(journal: &mut Journal, change: &mut KeyChange) {
    if let Some(seal) = &mut change.seal {
        seal.take_journal().iter().flatten().for_each(|slot| journal.release(slot));
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

/// Rounds within which a worker has surely carried out what was in its line: at least one command in each.
const LINE_DEPTH: u64 = crate::fastpath::control_link::DEPTH as u64;

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

fn timers(timeouts: &Timeouts, born: u32, generation: u32) -> Timers {
    let ticks = |seconds: Option<u32>| seconds.map(|seconds| seconds.saturating_mul(TICKS_PER_SECOND));
    let at = |seconds| ticks(seconds).map_or(Timers::NEVER, |ticks| born.saturating_add(ticks));
    Timers {
        generation,
        born,
        idle: ticks(timeouts.idle_s).unwrap_or(Timers::NEVER),
        ends_at: at(timeouts.max_lifetime_s),
        set_up_by: at(timeouts.setup_s),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
pub(in crate::control) mod tests;
