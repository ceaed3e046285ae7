//! The table with its workers' ends in one thread: what a session claims, and that all of it comes back.

use std::path::Path;

use super::*;
use crate::control::config::{Protection, RtcpPolicy};
use crate::control::plan;
use crate::control::rekey::RekeyError;
use crate::control::reload::{self, ReloadReport};
use crate::control::sessions::SessionError;
use crate::dpdk::Memory;
use crate::fastpath::Command;
use crate::fastpath::Pipeline;
use crate::fastpath::control_link::{WorkerEnd, control_link};
use crate::session::{Ended, Streams, Target};
use crate::srtp::tests::master;
use crate::srtp::{AesGcmProvider, Suite};
use crate::wire::MacAddress;

const GCM: Suite = Suite::AeadAes128Gcm;

/// The control side and the workers' halves of what it works on.
pub(in crate::control) struct Scene {
    pub(in crate::control) sessions: Sessions<AesGcmProvider>,
    pub(in crate::control) hosts: Hosts,
    pipelines: Vec<Pipeline<AesGcmProvider>>,
    ends: Vec<WorkerEnd>,
    shared: Vec<Arc<WorkerShared>>,
    round: u64,
    _journal: Option<tempfile::TempDir>,
}

impl Scene {
    /// A table of `config`, whose sessions are in it.
    pub(in crate::control) fn new(config: &Config) -> Self {
        Self::with(config, false)
    }

    fn with(config: &Config, has_journal: bool) -> Self {
        let workers = config.cores.workers.len();
        let facts: Vec<_> = (0..config.ports.len() as u8)
            .map(|index| EgressPort {
                index,
                mac: MacAddress([2, 0, 0, 0, 0, index]),
                vlan: None,
                mtu: 1500,
                udp_checksum: true,
                offload_ip: false,
                offload_udp: false,
            })
            .collect();
        let hosts = config
            .ports
            .iter()
            .zip(&facts)
            .map(|(port, facts)| crate::control::gateway::host(config, port, facts, 64));
        let mut hosts = Hosts { hosts: hosts.collect(), facts: facts.clone() };
        let lookup = Arc::new(plan::lookup(config, &facts).expect("no duplicates"));
        let shared: Vec<_> = (0..workers).map(|_| Arc::new(WorkerShared::new())).collect();
        let (links, ends) = (0..workers).map(|_| control_link()).unzip();
        let per_worker = (config.limits.capacity as usize).div_ceil(workers);
        let (streams, keepers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| Streams::halves(Memory::Heap, 2 * per_worker).expect("a few lines")).unzip();
        let directory = has_journal.then(|| tempfile::tempdir_in("/dev/shm").expect("a memory file system"));
        let journal = directory.as_ref().map(|directory| {
            Journal::open(directory.path(), None, "table", 4096).expect("a fresh directory")
        });
        let mut sessions = Sessions::new(Start {
            config,
            lookup: Arc::clone(&lookup),
            keepers,
            spreads: Vec::new(),
            journal,
            links,
            workers: shared.clone(),
            tsc_hz: 1_000_000_000,
            taps: None,
        });
        for session in &config.sessions {
            sessions
                .add(session.clone(), &mut hosts)
                .unwrap_or_else(|error| panic!("{}: {error}", session.id));
        }
        let pipelines = streams.into_iter().zip(0..).map(|(streams, worker)| Pipeline {
            worker,
            lookup: Arc::clone(&lookup),
            streams,
            next_hops: Vec::new(),
        });
        let pipelines = pipelines.collect();
        let mut scene = Scene { sessions, hosts, pipelines, ends, shared, round: 0, _journal: directory };
        scene.work();
        scene
    }

    /// One round of every worker: how many commands each carried out.
    fn work(&mut self) -> Vec<usize> {
        self.work_for(1)
    }

    /// Rounds of every worker, as many as `rounds`, all commands in the first.
    fn work_for(&mut self, rounds: u64) -> Vec<usize> {
        self.round += rounds;
        let ends = self.ends.iter_mut().zip(&mut self.pipelines).zip(&self.shared);
        ends.map(|((end, pipeline), shared)| {
            shared.begin_round(self.round);
            end.apply(pipeline, usize::MAX)
        })
        .collect()
    }

    /// Rounds of all until nothing more happens.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.work_for(10_000);
            self.sessions.poll(&mut self.hosts);
        }
    }

    pub(in crate::control) fn apply(&mut self, config: &Config) -> ReloadReport {
        reload::apply(&mut self.sessions, &mut self.hosts, config)
    }

    /// The next command to each worker, instead of its being carried out.
    pub(in crate::control) fn commands(&mut self) -> Vec<(usize, Command)> {
        let ends = self.ends.iter_mut().enumerate();
        ends.flat_map(|(worker, end)| {
            std::iter::from_fn(|| end.take()).map(move |it| (worker, it)).collect::<Vec<_>>()
        })
        .collect()
    }

    fn target(&self, leg: &Leg) -> Option<Target> {
        let lookup = &self.pipelines[0].lookup;
        lookup.target(lookup.slot(&Endpoint::from(leg.local), leg.port as u8)?, leg.local.port())
    }

    fn streams(&self) -> usize {
        self.pipelines.iter().map(|pipeline| pipeline.streams.len()).sum()
    }

    /// That nothing is held for any session.
    fn assert_empty(&self) {
        assert_eq!((self.streams(), self.sessions.pool.in_use(), self.sessions.resting.len()), (0, 0, 0));
        assert_eq!((self.sessions.ports.taken(), self.sessions.keys.in_use()), (0, 0));
        assert!(self.sessions.by_name.is_empty() && self.sessions.homed.iter().all(|homed| *homed == 0));
        assert!(self.hosts.hosts.iter().all(|host| host.neighbours().next().is_none()), "next hops");
        assert!(
            self.sessions.left_hops.is_empty() && self.sessions.profiles.iter().all(ProfileBook::is_empty)
        );
        assert!(self.sessions.entries.iter().flatten().all(Option::is_none));
    }
}

/// `calls` calls over `workers` workers; ports rest for `rest` seconds. The keys are numbered from `key` on.
fn config(calls: u64, workers: usize, rest: u32, key: u64) -> Config {
    let workers: Vec<_> = (1..=workers).collect();
    let mut text = format!(
        "[gateway]\nname = \"test\"\n[cores]\ncontrol = [0]\nworkers = {workers:?}\nallow_shared = true\n\
         [sessions]\ncapacity = 8\nport_rest = {rest}\n"
    );
    for (number, name) in ["a", "b"].into_iter().enumerate() {
        text += &format!(
            "[[port]]\nname = \"{name}\"\ndevice = \"net_memif{number},role=server,id={number}\"\n\
             addresses = [\"10.{number}.0.1/24\"]\n"
        );
    }
    for call in 0..calls {
        text += &format!("[[session]]\nid = \"call-{call}\"\n");
        for (number, name) in ["a", "b"].into_iter().enumerate() {
            let port = 20_000 + 2 * call;
            let key = |which| master(GCM, key + 10 * call + 2 * number as u64 + which).to_sdes_inline();
            let (remote, local) = (key(0), key(1));
            let rtcp = if number == 0 { "mux" } else { "next" };
            text += &format!(
                "{name} = {{ local = \"10.{number}.0.1:{port}\", remote = \"10.{number}.0.2:{port}\", \
                 rtcp = \"{rtcp}\", suite = \"{GCM}\", remote_key = \"{}\", local_key = \"{}\" }}\n",
                &*remote, &*local
            );
        }
    }
    Config::parse("test.toml", &text, Path::new("/base")).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_session_comes_and_goes_and_everything_it_had_is_given_back() {
    for workers in [1, 2] {
        for has_journal in [false, true] {
            let config = config(3, workers, 0, 100);
            let mut scene = Scene::with(&config, has_journal);
            assert_eq!(scene.streams(), 6);
            let [first, .., last] = &config.sessions[..] else { panic!("three") };
            assert!(scene.target(&first.a).is_some() && scene.target(&last.b).is_some());
            for session in &config.sessions {
                scene.sessions.remove(&session.id, EndReason::Removed).expect("it exists");
                assert_eq!(scene.sessions.ended(&session.id), Some(EndReason::Removed));
            }
            assert!(scene.target(&first.a).is_some(), "until its worker hears of it");
            scene.work();
            assert!(scene.target(&first.a).is_none() && scene.streams() == 0);
            assert_eq!(scene.sessions.pool.in_use(), 3, "rows rest");
            scene.settle();
            scene.assert_empty();
            let counts = scene.sessions.counts();
            assert_eq!(SessionCounts::value(&counts.ended[EndReason::Removed.index()]), 3);
            // The same sessions once more: their places, ports and keys, which the journal must know for that.
            let again = scene.sessions.add(first.clone(), &mut scene.hosts);
            match has_journal {
                true => {
                    let id = again.expect("the journal knows where to go on");
                    assert_eq!(id.generation, 1);
                    let codecs = scene.sessions.codecs;
                    assert_eq!((codecs.acquired, codecs.reused, codecs.released), (16, 4, 12));
                }
                false => {
                    let error = again.expect_err("the keys were left");
                    assert!(matches!(error, SessionError::KeyLeft { leg: 'a' }), "{error}");
                    scene.assert_empty();
                }
            }
        }
    }
}

#[test]
fn rows_are_filled_again_only_when_no_worker_can_have_a_frame_of_theirs() {
    let config = config(1, 2, 0, 100);
    let mut scene = Scene::new(&config);
    scene.sessions.remove("call-0", EndReason::Removed).expect("it exists");
    scene.work();
    let mut rounds = 0;
    while scene.sessions.pool.in_use() > 0 {
        scene.sessions.poll(&mut scene.hosts);
        // Only one of the two workers goes on: nothing may happen.
        for _ in 0..1000 {
            scene.shared[0].begin_round(10_000);
            scene.sessions.poll(&mut scene.hosts);
        }
        if rounds == 0 {
            assert_eq!(scene.sessions.pool.in_use(), 1, "the other worker may still have a frame");
        }
        scene.work();
        rounds += 1;
    }
    assert!(rounds > 8192 / crate::fastpath::BURST as u64, "{rounds}: what a ring holds must be taken first");
}

#[test]
fn what_is_missing_is_said_and_nothing_is_kept() {
    let all = config(3, 1, 1000, 100);
    let mut scene = Scene::with(&Config { sessions: all.sessions[..1].to_vec(), ..all.clone() }, true);
    let state = |scene: &Scene| {
        let sessions = &scene.sessions;
        let hops: usize = scene.hosts.hosts.iter().map(|host| host.neighbours().count()).sum();
        (sessions.ports.taken(), sessions.keys.in_use(), sessions.pool.in_use(), hops, sessions.by_name.len())
    };
    let before = state(&scene);
    let [known, other, third] = &all.sessions[..] else { panic!("three") };
    let mut refused = |change: &dyn Fn(&mut Session)| {
        let mut session = other.clone();
        change(&mut session);
        let error = scene.sessions.add(session, &mut scene.hosts).expect_err("refused");
        assert_eq!(state(&scene), before, "{error}");
        error
    };
    let error = refused(&|session| session.id = known.id.clone());
    assert!(matches!(error, SessionError::Exists { .. }), "{error}");
    let error = refused(&|session| session.b.local = known.b.local);
    assert!(matches!(error, SessionError::PortInUse { .. }), "{error}");
    let error = refused(&|session| session.b.local.set_ip([10, 9, 0, 1].into()));
    assert!(matches!(error, SessionError::NotLocal { .. }), "{error}");
    let error = refused(&|session| session.b.remote = "192.0.2.1:5004".parse().ok());
    assert!(matches!(error, SessionError::Route { leg: 'b', .. }), "{error}");
    let error = refused(&|session| session.b.protection = known.a.protection.clone());
    assert!(matches!(error, SessionError::KeyInUse { leg: 'b' }), "{error}");

    scene.sessions.remove(&known.id, EndReason::Removed).expect("it exists");
    scene.settle();
    let error = scene.sessions.add(known.clone(), &mut scene.hosts).expect_err("its ports rest");
    assert!(matches!(error, SessionError::PortResting { rest_ms: 900_000.., .. }), "{error}");
    scene.assert_empty();
    scene.sessions.add(third.clone(), &mut scene.hosts).expect("the others' are free");
}

#[test]
fn a_full_table_refuses_and_has_room_again() {
    let mut scene = Scene::new(&config(8, 2, 0, 100));
    let more = config(8, 1, 0, 5000);
    let mut ninth = more.sessions[0].clone();
    (ninth.id, ninth.a.local, ninth.b.local) =
        ("ninth".into(), at_port(&ninth.a, 30_000), at_port(&ninth.b, 30_000));
    ninth.b.rtcp = RtcpPolicy::Mux;
    let error = scene.sessions.add(ninth.clone(), &mut scene.hosts).expect_err("full");
    assert!(matches!(error, SessionError::Full { capacity: 8 }), "{error}");
    assert_eq!(scene.sessions.pool.count().exhausted, 1);
    scene.sessions.remove("call-5", EndReason::Removed).expect("it exists");
    scene.settle();
    let id = scene.sessions.add(ninth, &mut scene.hosts).expect("room again");
    assert_eq!(id.generation, 1);
}

fn at_port(leg: &Leg, port: u16) -> SocketAddr {
    SocketAddr::new(leg.local.ip(), port)
}

#[test]
fn a_worker_says_which_sessions_are_over() {
    let mut config = config(3, 1, 0, 100);
    config.sessions[1].timeouts.max_lifetime_s = Some(2);
    let mut scene = Scene::new(&config);
    for now in [1, 10, 1 + 2 * TICKS_PER_SECOND] {
        let streams = &mut scene.pipelines[0].streams;
        streams.set_now(now);
        streams.sweep(100, |ended| scene.shared[0].ended.push(ended).is_ok());
    }
    scene.settle();
    assert_eq!(scene.sessions.ended("call-1"), Some(EndReason::MaxLifetime));
    assert_eq!(scene.sessions.by_name.len(), 2);
    // Word of one that came after it in its place must not end it.
    let gone = Ended { row: 2, generation: 0, reason: EndReason::IdleTimeout };
    let mut next = config.sessions[1].clone();
    next.id = "next".into();
    for protection in [&mut next.a.protection, &mut next.b.protection] {
        *protection = Protection::Srtp { remote_keys: master(GCM, 1).into(), local_keys: fresh_key() };
    }
    let id = scene.sessions.add(next, &mut scene.hosts).expect("its place is free");
    assert_eq!((id.place, id.generation), (1, 1));
    scene.shared[0].ended.push(gone).expect("room");
    scene.settle();
    assert_eq!(scene.sessions.by_name.len(), 3);
}

fn fresh_key() -> crate::srtp::MasterKeys {
    MasterKey::generate(GCM, &mut crate::control::config::system_random).into()
}

#[test]
fn a_change_keeps_the_session_and_releases_what_it_replaces() {
    let config = config(2, 2, 0, 100);
    let mut scene = Scene::with(&config, true);
    let mut new = config.sessions[0].clone();
    new.a.remote = "10.0.0.77:4000".parse().ok();
    new.a.payload_types = crate::control::config::PayloadTypes::NONE.with(96);
    new.timeouts.idle_s = Some(9);
    let Protection::Srtp { remote_keys, .. } = new.b.protection.clone() else { panic!("protected") };
    new.b.protection = Protection::Srtp { remote_keys, local_keys: fresh_key() };
    scene.sessions.change(new.clone(), &mut scene.hosts).expect("all of it can change");
    assert_eq!(scene.sessions.get("call-0"), Some(&new));
    scene.settle();
    let hops: Vec<_> = scene.hosts.hosts[0].neighbours().map(|hop| hop.address.to_string()).collect();
    assert_eq!(hops, ["10.0.0.2", "10.0.0.77"], "call-1 still needs the first");
    let id = scene.sessions.by_name["call-0"];
    let streams = &scene.pipelines[usize::from(id.worker)].streams;
    let a = StreamId(2 * id.place);
    assert_eq!(streams.source(a, false), Some(Endpoint::from(new.a.remote.expect("known"))));
    let accepts = |number| streams.profile(a).is_some_and(|profile| profile.accepts(number));
    assert!(accepts(96) && !accepts(0));

    // It was sealed with from index 0 on.
    let back = Session {
        b: Leg { protection: config.sessions[0].b.protection.clone(), ..new.b.clone() },
        ..new.clone()
    };
    let error = scene.sessions.change(back, &mut scene.hosts).expect_err("its key was left");
    assert!(matches!(error, SessionError::Keys { leg: 'b', reason: RekeyError::KeyLeft }), "{error}");

    new.a.local.set_port(40_000);
    let error = scene.sessions.change(new, &mut scene.hosts).expect_err("a port stays");
    assert!(matches!(error, SessionError::Fixed { leg: 'a', .. }), "{error}");
    for session in &config.sessions {
        scene.sessions.remove(&session.id, EndReason::Removed).expect("it exists");
    }
    scene.settle();
    scene.assert_empty();
}

#[test]
fn another_source_has_its_own_keys_and_remote_and_nothing_of_the_one_before_is_held() {
    let config = config(1, 1, 0, 100);
    let mut scene = Scene::with(&config, true);
    let mut new = config.sessions[0].a.clone();
    new.remote = "10.0.0.77:4000".parse().ok();
    new.protection = Protection::Srtp { remote_keys: fresh_key(), local_keys: fresh_key() };
    scene
        .sessions
        .replace_source("call-0", LegName::A, &new, &mut scene.hosts)
        .expect("all of it can change");
    scene.settle();
    assert_eq!(scene.sessions.get("call-0").map(|session| &session.a), Some(&new));
    let hops: Vec<_> = scene.hosts.hosts[0].neighbours().map(|hop| hop.address.to_string()).collect();
    assert_eq!(hops, ["10.0.0.77"]);
    let source = scene.pipelines[0].streams.source(StreamId(0), false);
    assert_eq!(source, new.remote.map(Endpoint::from));
    let Protection::Srtp { local_keys, .. } = &config.sessions[0].a.protection else { panic!("protected") };
    let left = local_keys.active().fingerprint();
    let journal = scene.sessions.journal.as_mut().expect("a journal");
    assert!(journal.slots(left).is_ok(), "the record of the key before is free");

    new.local.set_port(40_000);
    let fixed = scene.sessions.replace_source("call-0", LegName::A, &new, &mut scene.hosts);
    assert!(matches!(fixed, Err(SessionError::Fixed { leg: 'a', .. })));
    let unknown = scene.sessions.replace_source("call-1", LegName::A, &new, &mut scene.hosts);
    assert!(matches!(unknown, Err(SessionError::Unknown { .. })));
    scene.sessions.remove("call-0", EndReason::Removed).expect("it exists");
    scene.settle();
    scene.assert_empty();
}

#[test]
fn reading_the_configuration_again_adds_changes_and_removes() {
    let old = config(3, 2, 0, 100);
    let mut scene = Scene::new(&old);
    assert_eq!(format!("{:?}", scene.apply(&old)), format!("{:?}", ReloadReport::default()));
    let mut new = old.clone();
    new.sessions[0].id = "call-9".to_owned();
    new.sessions[1].timeouts.idle_s = Some(5);
    new.sessions[2].a.local.set_port(30_000);
    let report = scene.apply(&new);
    assert_eq!(report.removed, ["call-0"]);
    assert_eq!(report.changed, ["call-1"]);
    let refused: Vec<_> = report.refused.iter().map(|(session, _)| session.as_str()).collect();
    assert_eq!(refused, ["call-9", "call-2"], "the keys of the one were left, the ports of the other stay");
}

#[test]
fn at_the_end_every_session_ends_and_nothing_is_held() {
    for workers in [1, 2] {
        let mut scene = Scene::with(&config(8, workers, 0, 100), true);
        let Scene { sessions, hosts, ends, pipelines, .. } = &mut scene;
        let journal = sessions.finish(hosts, || {
            ends.iter_mut()
                .zip(&mut *pipelines)
                .for_each(|(end, pipeline)| _ = end.apply(pipeline, usize::MAX));
        });
        assert!(journal.is_some());
        scene.assert_empty();
        let ended = SessionCounts::value(&scene.sessions.counts.ended[EndReason::Shutdown.index()]);
        assert_eq!(ended, 8);
    }
}

/// A thousand random requests, and at the end nothing is held.
#[test]
fn nothing_is_lost_over_random_requests() {
    let mut scene = Scene::with(&config(0, 2, 0, 0), true);
    let mut random = 1_u64;
    let mut running = Vec::new();
    let template = config(8, 2, 0, 100).sessions;
    for number in 0..3000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut session = template[(random >> 40) as usize % 8].clone();
        session.a.protection = Protection::Srtp {
            remote_keys: master(GCM, 7).into(),
            local_keys: master(GCM, 1000 + number).into(),
        };
        session.b.protection = Protection::Plain;
        match (random >> 61, scene.sessions.get(&session.id).is_some()) {
            (0..=4, false) => match scene.sessions.add(session.clone(), &mut scene.hosts) {
                Ok(_) => running.push(session.id),
                Err(error) => assert!(matches!(error, SessionError::Full { .. }), "{error}"),
            },
            (0..=4, true) => {
                session.a.remote = format!("10.0.0.{}:9000", 2 + number % 40).parse().ok();
                let outcome = scene.sessions.change(session, &mut scene.hosts);
                assert!(matches!(outcome, Ok(_) | Err(SessionError::Keys { .. })), "{outcome:?}");
            }
            (_, true) => {
                scene.sessions.remove(&session.id, EndReason::Removed).expect("it exists");
                running.retain(|name| *name != session.id);
            }
            _ => {}
        }
        if random >> 30 & 1 == 0 {
            scene.work_for(50);
            scene.sessions.poll(&mut scene.hosts);
        }
        assert_eq!(scene.sessions.by_name.len(), running.len());
    }
    running.iter().for_each(|name| scene.sessions.remove(name, EndReason::Removed).expect("it exists"));
    scene.settle();
    scene.assert_empty();
    assert!(scene.sessions.pool.count().reused > 100);
}
