//! A session comes: everything that it needs is claimed, its rows are filled in, and its worker is told. If anything is
//! missing, what was claimed is given back.

use std::net::SocketAddr;

use super::{Entry, Hop, Hosts, LEGS, Placed, Sessions, at, claim_slots, leg_of, letter, timers};
use crate::control::config::{Leg, Protection, RtcpPolicy, Session};
use crate::control::sessions::keys::{Fingerprint, KeyRefused};
use crate::control::sessions::line::Line;
use crate::control::sessions::ports::PortRefused;
use crate::control::sessions::{SessionCounts, SessionError};
use crate::control::tap;
use crate::control::{plan, profile};
use crate::fastpath::Command;
use crate::fastpath::control_link::Places;
use crate::session::TICKS_PER_SECOND;
use crate::session::{Egress, Endpoint, Media, Place, Profile, ProfileId, SessionId, Slot, StreamId, Target};
use crate::srtp::Provider;

/// Changes that wait for a worker before requests are refused.
const MAX_WAITING: usize = 65_536;

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

impl<P: Provider> Sessions<P> {
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
        let mut keys = 0;
        let mut fill = |row, [sender, receiver]: [&Leg; 2], to: usize, slots: Option<[Slot; 2]>, profile| {
            let mut setup = plan::setup(self.window, sender, receiver);
            // Leg b's stream has what leg a is sealed with.
            setup.tap = tap.map(|tap| tap::tag(tap, LEGS[1 - to]));
            [setup.rtp_egress, setup.rtcp_egress] = claim.egress[to].clone();
            if let Some([rtp, rtcp]) = slots {
                setup.rtp_journal = Some(rtp);
                setup.rtcp_journal = Some(rtcp);
            }
            keys += u64::from(setup.keys.open.is_some()) + u64::from(setup.keys.seal.is_some());
            let filled = keeper.fill(row, setup, profile, timers);
            filled.expect("the pool has the rights to this keeper's rows only")
        };
        // What leg b is sealed with belongs to the stream that a sends.
        let even = fill(even, [&session.a, &session.b], 1, slots_b, claim.profiles[0]);
        let odd = fill(odd, [&session.b, &session.a], 0, slots_a, claim.profiles[1]);
        self.codecs.acquire(keys, id.generation > 0);
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
