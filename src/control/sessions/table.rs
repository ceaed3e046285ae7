//! The table itself: what is known of each session, and of everything that sessions hold.
//!
//! | file | what happens there |
//! |---|---|
//! | `table/add.rs` | a session comes: claims, and rows that are filled in |
//! | `table/change.rs` | a session changes while it runs |
//! | `table/end.rs` | a session ends: rows that rest, and everything that is released |

mod add;
mod change;
mod end;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use foldhash::fast::RandomState;

use super::SessionCounts;
use super::history::History;
use super::keys::{CodecPool, Fingerprint, KeyBook};
use super::line::{Line, Resting};
use super::ports::PortBook;
use super::profiles::ProfileBook;
use crate::control::config::{Config, Leg, Session, Timeouts};
use crate::control::host::{Host, NextHopId, RouteError};
use crate::control::rekey::LegName;
use crate::control::tap::Taps;
use crate::dpdk::Rss;
use crate::dpdk::slots::{Filled, Token, Vacant};
use crate::fastpath::control_link::Places;
use crate::fastpath::{ControlEnd, WorkerShared};
use crate::session::{
    Egress, EgressPort, EndReason, Endpoint, Journal, JournalError, Lookup, NextHop, Place, Profile,
    ProfileId, SessionId, SessionPool, Slot, StreamId, StreamKeeper, TICKS_PER_SECOND, Target, Timers,
};
use crate::srtp::{MasterKey, Provider, ReplayWindowSize};

/// Ends of sessions that are remembered.
const HISTORY: usize = 65_536;

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
    by_name: HashMap<String, SessionId, RandomState>,
    /// By worker.
    homed: Vec<usize>,
    spreads: Vec<Option<Rss>>,
    ports: PortBook,
    profiles: Vec<ProfileBook>,
    profiles_per_worker: usize,
    keys: KeyBook,
    codecs: CodecPool,
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
            by_name: HashMap::with_capacity_and_hasher(capacity, RandomState::default()),
            homed: vec![0; keepers.len()],
            profiles: keepers.iter().map(|_| ProfileBook::new(profiles_per_worker)).collect(),
            profiles_per_worker,
            keepers,
            pool,
            spreads,
            keys: KeyBook::new((8 * capacity).max(1024)),
            codecs: CodecPool::default(),
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

    /// Ticks since the table was made, from 1 on.
    fn now(&self) -> u32 {
        1 + (self.start.elapsed().as_millis() as u64 * u64::from(TICKS_PER_SECOND) / 1000) as u32
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
        let CodecPool { acquired, reused, released, high_water } = self.codecs;
        let codecs = [4 * count.size, acquired, reused, released, high_water, 0];
        self.counts.codecs.iter().zip(codecs).for_each(|(counter, value)| set(counter, value));
    }
}

fn claim_slots(
    journal: &mut Option<Journal>,
    fingerprint: Fingerprint,
) -> Result<Option<[Slot; 2]>, JournalError> {
    journal.as_mut().map(|journal| journal.slots(fingerprint)).transpose()
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

#[cfg(test)]
#[path = "table_tests.rs"]
pub(in crate::control) mod tests;
