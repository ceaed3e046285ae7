//! The gateway as a whole: built from the configuration, run until a signal, taken down in order.
//!
//! Start: preflight → environment → pools → ports → host sides → streams → tap → workers warmed up → ports started → workers
//! poll → next hops resolved → ready.
//! Stop: workers drain → workers return → tap complete → metrics stop → queues and ports close → pools counted → report.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::{Config, Device, Leg, Protection, Session};
#[cfg(feature = "fault-injection")]
use super::fault_console::FaultConsole;
use super::host::{Host, HostLimits, Interface};
use super::placement::{PlacementError, PortFacts, Topology};
use super::plan;
use super::pools;
use super::preflight::{self, INDEX_DIRECTORY, InstanceLock, PreflightError};
use super::punt::HostSide;
use super::rekey::{LegName, RekeyError};
use super::reload::{self, ReloadReport};
use super::sessions::{
    Answer, GatewayHandle, Hosts, Inbox, Placed, Request, SessionError, Sessions, Start, requests,
};
use super::tap::{self, TapError};
use super::telemetry::{SharedPort, Sources, telemetry};
use crate::dpdk::frame_pool::Releasers;
use crate::dpdk::{
    self, Attach, AudioFramePool, Eal, EalOptions, FrameBucket, LcoreHandle, Memory, Mempool, Port,
    PortConfig, Rss, RxQueue, TxQueue, lockdown,
};
use crate::fastpath::warm_up::SuitePair;
use crate::fastpath::{
    Pipeline, PipelinePort, Transmitter, WarmUp, Worker, WorkerPort, WorkerShared, control_link, handover,
};
use crate::rate_limit::TokenBucket;
use crate::session::{
    EgressPort, EndReason, Journal, JournalError, Lookup, LookupError, NextHops, SessionId, StreamKeeper,
    Streams,
};
use crate::srtp::{Provider, SelfTestError};
use crate::steady_clock::SteadyClock;
use crate::tap::TapCounters;
use crate::telemetry::{Exporter, FinalReport, MetricsServer, QueueCounters, ServerError, Telemetry};
use crate::wire::MacAddress;

/// Bytes of data room in an RX buffer.
const DATA_ROOM: u16 = 2048;
/// Mbufs that each worker's cache of the buffer pool holds: eight bursts, DPDK's maximum.
const POOL_CACHE: u32 = 512;
/// The control thread has as many frames as so many workers: it answers for all ports and in bursts.
const HOST_FRAMES_FACTOR: u32 = 4;
/// Next hops beyond those of the configured remotes: learned remotes and resolved neighbours.
const SPARE_NEXT_HOPS: usize = 4096;
/// Local ports of a device port up to which flow rules are tried: what small NICs have room for.
const MAX_FLOW_RULES: usize = 128;
/// How often the pools are looked at.
const POOL_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the control thread sleeps when there is nothing to do and nobody wakes it.
const IDLE_WAIT: Duration = Duration::from_micros(500);
/// Requests for sessions that are answered before the host side gets its turn.
const REQUESTS_PER_ROUND: usize = 256;
/// How long draining workers may take before they are told to stop at once.
const DRAIN_LIMIT: Duration = Duration::from_millis(1000);
/// How long workers may take to warm up, a million streams included.
const WORKER_LIMIT: Duration = Duration::from_secs(30);
/// How long a start waits for next hops to answer.
const NEXT_HOP_LIMIT: Duration = Duration::from_secs(1);

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The machine does not offer what the configuration asks for.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// DPDK refused.
    #[error(transparent)]
    Dpdk(#[from] dpdk::Error),
    /// The ports cannot serve that many workers.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A port could not be set up.
    #[error("port {port:?}: {reason}")]
    Port {
        /// The port's name in the configuration.
        port: String,
        /// Why.
        reason: dpdk::Error,
    },
    /// `[worker] lockdown` with a port whose driver enters the kernel.
    #[error(
        "[worker] lockdown = true, but the driver {driver} of port {port:?} enters the kernel; \
         set lockdown = false, or use another device"
    )]
    NotKernelFree {
        /// The port's name in the configuration.
        port: String,
        /// Its driver.
        driver: String,
    },
    /// A worker does not start.
    #[error("worker {worker} did not start: {reason}")]
    Worker {
        /// Its number.
        worker: usize,
        /// What it said.
        reason: String,
    },
    /// A configured session cannot be served.
    #[error("session {session:?}: {reason}")]
    Session {
        /// Its id.
        session: String,
        /// Why.
        reason: SessionError,
    },
    /// The local addresses do not go together.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The index journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The metrics endpoint cannot be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The media tap cannot be had.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The crypto provider computes wrong results on this machine.
    #[error(transparent)]
    Crypto(#[from] SelfTestError),
}

/// A running gateway whose cryptography is `P`.
pub struct Gateway<P: Provider> {
    host: HostSide<P>,
    handle: GatewayHandle,
    inbox: Inbox,
    workers: Vec<LcoreHandle<Worker<P>>>,
    shared: Vec<Arc<WorkerShared>>,
    ports: Vec<SharedPort>,
    buffers: Vec<Mempool>,
    telemetry: Arc<Telemetry>,
    server: Option<MetricsServer>,
    ready: Arc<AtomicBool>,
    started: Instant,
    clock: SteadyClock,
    /// When the index journal is copied next, on the clock of [`Gateway::poll`].
    next_copy: Duration,
    #[cfg(feature = "fault-injection")]
    faults: FaultConsole,
    eal: Eal,
    _lock: InstanceLock,
}

/// Why [`Gateway::run`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Asked,
    /// A worker has caught so many panics that it gave up.
    Panics,
    /// A worker ended for another reason; the log has it.
    WorkerEnded,
}

/// One port while it is being set up.
struct Opened {
    port: Port,
    queues: Vec<(RxQueue, TxQueue)>,
    facts: EgressPort,
    started: bool,
}

impl Opened {
    /// Starts the port unless it runs already.
    fn start(&mut self, name: &str) -> Result<(), GatewayError> {
        if !self.started {
            self.port.start().map_err(|reason| GatewayError::Port { port: name.to_owned(), reason })?;
            self.started = true;
        }
        Ok(())
    }
}

impl<P: Provider> Gateway<P> {
    /// Starts everything that `config` describes and returns once packets flow.
    ///
    /// # Errors
    /// [`GatewayError`]; whatever was started is taken down again.
    pub fn start(config: &Config, verbose: bool) -> Result<Self, GatewayError> {
        // Before the environment pins this thread to its own cores.
        let topology = Topology::read(&dpdk::allowed_cores());
        let lock = preflight::check(config)?;
        if config.worker.lockdown {
            lockdown::is_available()?;
        }
        let mut start = StartClock::new();
        P::self_test()?;
        start.step("cryptography tested");
        let eal = Eal::init(&eal_options(config, verbose))?;
        let (buffers, pool_of_worker) = buffer_pools(&eal, config, &topology)?;
        let frames = host_frames(&eal, config)?;
        let accounts = frames.accounts();
        let attached = attach_ports(&eal, config, &topology)?;
        start.step("environment and pools");
        let (mut opened, kept_by_drivers) = open_ports(config, attached, &buffers, &pool_of_worker)?;
        let facts: Vec<EgressPort> = opened.iter().map(|port| port.facts).collect();
        let next_hop_capacity = SPARE_NEXT_HOPS + 4 * config.limits.capacity as usize;
        let hosts: Vec<Host> = config
            .ports
            .iter()
            .zip(&facts)
            .map(|(port, facts)| host(config, port, facts, next_hop_capacity))
            .collect();
        let next_hops: Vec<_> = hosts.iter().map(|_| Arc::new(NextHops::new(next_hop_capacity))).collect();

        let journal = open_journal(config)?;
        tracing::info!(sessions = config.sessions.len(), "deriving session keys");
        let spreads = start_spreading(config, &mut opened)?;
        start.step("sessions planned");
        let tsc_hz = eal.tsc_hz();
        let worker_count = config.cores.workers.len();
        let shared: Vec<_> = (0..worker_count).map(|_| Arc::new(WorkerShared::new())).collect();
        let (links, worker_ends): (Vec<_>, Vec<_>) = (0..worker_count).map(|_| control_link()).unzip();
        let lookup = Arc::new(plan::lookup(config, &facts)?);
        let (mut streams, keepers) = stream_tables::<P>(&eal, config, &spreads)?;
        let mut hosts = Hosts { hosts, facts: facts.clone() };
        let started = config.tap.as_ref().map(|section| tap::start(&eal, config, section)).transpose()?;
        let (taps, tap_writers, tap_counters) = match started {
            Some(tap::Started { taps, writers, counters }) => (Some(taps), writers, counters),
            None => (None, Vec::new(), Arc::new(TapCounters::new(worker_count, 0))),
        };
        let mut tap_writers = tap_writers.into_iter();
        let mut sessions = Sessions::new(Start {
            config,
            lookup: Arc::clone(&lookup),
            keepers,
            spreads: spreads.clone(),
            journal,
            links,
            workers: shared.clone(),
            tsc_hz,
            taps,
        });
        let homes = serve_configured(config, &mut sessions, &mut hosts, &mut streams, &lookup)?;
        let session_memory = streams.iter().map(Streams::memory).sum::<usize>() as u64;
        let rules = flow_rules(config, &spreads, &homes);
        let mesh = handover::mesh(worker_count, handover_depth(config.memory.buffers, worker_count));
        let queue_counters: Vec<Vec<Arc<QueueCounters>>> =
            (0..worker_count).map(|_| facts.iter().map(|_| Arc::default()).collect()).collect();
        let host_side = HostSide::new(config, sessions, hosts, next_hops.clone(), shared.clone(), frames);

        let ready = Arc::new(AtomicBool::new(false));
        let ports: Vec<SharedPort> =
            opened.iter().map(|opened| Arc::new(Mutex::new(Some(opened.port.clone())))).collect();
        let telemetry = Arc::new(telemetry(Sources {
            config,
            crypto: P::NAME,
            session_memory,
            tsc_hz,
            queues: &queue_counters,
            workers: shared.iter().map(|shared| Arc::clone(&shared.counters)).collect(),
            buffers: buffers.iter().cloned().zip(kept_by_drivers).collect(),
            pool_of_worker: &pool_of_worker,
            frames: accounts.to_vec(),
            ports: ports.clone(),
            host: host_side.counts(),
            tap: tap_counters,
            sessions: host_side.sessions.counts(),
            ready: Arc::clone(&ready),
        }));
        let server = start_metrics(config, &telemetry)?;

        let touched: usize = buffers.iter().map(Mempool::touch).sum();
        let program = dpdk::populate_program();
        tracing::info!(buffers = touched, program_kib = program >> 10, "memory mapped");
        start.step("memory mapped");
        let suites = suite_pairs(config);
        let mut workers = Vec::new();
        // Declared after the workers, so that it lets them go before their handles wait for them.
        let mut stop_on_error = StopOnDrop(shared.clone());
        for (((number, streams), handover), link) in
            streams.into_iter().enumerate().zip(mesh).zip(worker_ends)
        {
            let pipeline = Pipeline {
                worker: number as u16,
                lookup: Arc::clone(&lookup),
                streams,
                next_hops: next_hops.clone(),
            };
            let mut worker_ports = Vec::new();
            let mut transmitters = Vec::new();
            for (opened, counters) in opened.iter_mut().zip(&queue_counters[number]) {
                let (rx, tx) = opened.queues.remove(0);
                transmitters.push(Transmitter::new(tx));
                let punts = config.host.punt_per_second / worker_count as u32;
                worker_ports.push(WorkerPort {
                    rx,
                    pipeline: PipelinePort {
                        index: opened.facts.index,
                        mac: opened.facts.mac,
                        vlan: opened.facts.vlan,
                        counters: Arc::clone(counters),
                        punt_limit: TokenBucket::new(punts.max(1), tsc_hz),
                    },
                });
            }
            let worker = Worker::<P>::new(
                pipeline,
                worker_ports,
                transmitters,
                Arc::clone(&shared[number]),
                handover,
                link,
                tsc_hz,
            )
            .with_lockdown(config.worker.lockdown)
            .with_warm_up(WarmUp::new(&suites, buffers[pool_of_worker[number]].clone())?)
            .with_tap(tap_writers.next());
            shared[number].wait();
            workers.push(eal.launch(number as u32 + 1, move || worker.run())?);
        }
        wait_for_workers(&workers, &shared, WorkerShared::is_warm)?;
        start.step("workers warmed up");
        log_warm_up(&shared);
        for ((port, opened), rules) in config.ports.iter().zip(&mut opened).zip(&rules) {
            opened.start(&port.name)?;
            steer(&port.name, &opened.port, rules);
        }
        start.step("ports started");
        shared.iter().for_each(|worker| worker.go());
        wait_for_workers(&workers, &shared, WorkerShared::is_ready)?;
        stop_on_error.0.clear();
        start.step("workers poll");
        let (handle, inbox) = requests();
        let mut gateway = Gateway {
            host: host_side,
            handle,
            inbox,
            workers,
            shared,
            ports,
            buffers,
            telemetry,
            server,
            ready,
            started: Instant::now(),
            clock: SteadyClock::new(Duration::ZERO),
            next_copy: Duration::ZERO,
            #[cfg(feature = "fault-injection")]
            faults: FaultConsole::new(tsc_hz),
            eal,
            _lock: lock,
        };
        gateway.resolve_next_hops();
        start.step("next hops resolved");
        gateway.ready.store(true, Ordering::Release);
        Ok(gateway)
    }

    /// Waits for the next hops of ports that are up to answer, for a bounded time: what is sent to the others is dropped
    /// until they do.
    fn resolve_next_hops(&mut self) {
        let deadline = Instant::now() + NEXT_HOP_LIMIT;
        loop {
            let now = self.now();
            self.host.poll(now.as_nanos() as u64, &self.ports);
            let unresolved = self.host.unresolved();
            if unresolved == 0 {
                return;
            }
            if Instant::now() >= deadline {
                tracing::warn!(unresolved, "ready, though some next hops have not answered yet");
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Where the metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(MetricsServer::local_addr)
    }

    /// What the gateway counts: the source of its metrics.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// For asking the gateway to add, change and remove sessions from other threads while [`Gateway::run`] runs.
    pub fn handle(&self) -> GatewayHandle {
        self.handle.clone()
    }

    /// Adds a session. Its packets are accepted as soon as its worker has come to the end of a burst.
    ///
    /// # Errors
    /// [`SessionError`]; nothing has changed then.
    pub fn add_session(&mut self, session: Session) -> Result<SessionId, SessionError> {
        self.host.sessions.add(session, &mut self.host.hosts)
    }

    /// Makes the session with the id of `session` that one, as far as that can be done while it runs: remotes, keys,
    /// payload types, time-outs, tap. Packets under way are not lost.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn change_session(&mut self, session: Session) -> Result<SessionId, SessionError> {
        self.host.sessions.change(session, &mut self.host.hosts)
    }

    /// Another source for a leg, such as after the transfer of a call: its remote and its keys are those of `new`, and its
    /// SSRC, sequence numbers and timestamps are its own. Towards the other leg the stream goes on as if it were the same
    /// source. What the one before sends is refused.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn replace_source(
        &mut self,
        session: &str,
        leg: LegName,
        new: &Leg,
    ) -> Result<SessionId, SessionError> {
        self.host.sessions.replace_source(session, leg, new, &mut self.host.hosts)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub fn remove_session(&mut self, session: &str) -> Result<(), SessionError> {
        self.host.sessions.remove(session, EndReason::Removed)
    }

    /// Why a session ended; `None` if it runs, or if nothing is known of it (any more: the latest 65,536 ends are).
    pub fn session_end(&self, session: &str) -> Option<EndReason> {
        self.host.sessions.ended(session)
    }

    /// Adds, changes and removes sessions so that there are those of `config`. Nothing else of it has an effect.
    pub fn reload(&mut self, config: &Config) -> ReloadReport {
        reload::apply(&mut self.host.sessions, &mut self.host.hosts, config)
    }

    /// Gives one leg new keys; `false` if it has these keys already. Packets under the old keys that are still under way
    /// are accepted. Takes effect while [`Gateway::run`] runs.
    ///
    /// # Errors
    /// [`RekeyError`]; the leg keeps its keys.
    pub fn set_keys(
        &mut self,
        session: &str,
        leg: LegName,
        protection: &Protection,
    ) -> Result<bool, RekeyError> {
        self.host.sessions.set_keys(session, leg, protection)
    }

    /// Begins or ends the tap of a session, whose opened media is then written to the `[tap] directory`; `false` if that
    /// is so already. Takes effect while [`Gateway::run`] runs.
    ///
    /// # Errors
    /// [`SessionError::NoTap`], [`SessionError::Unknown`].
    pub fn set_tap(&mut self, session: &str, on: bool) -> Result<bool, SessionError> {
        let unknown = || SessionError::Unknown { session: session.to_owned() };
        let known = self.host.sessions.get(session).ok_or_else(unknown)?;
        if known.tap == on {
            return Ok(false);
        }
        let changed = Session { tap: on, ..known.clone() };
        self.change_session(changed).map(|_| true)
    }

    /// Runs the host side on the calling thread until `stop` is set, or a worker has ended by itself.
    pub fn run(&mut self, stop: &AtomicBool) -> End {
        self.run_and_reload(stop, &AtomicBool::new(false), || None)
    }

    /// The same; whenever `reload` is set, `read` is asked for the configuration, whose sessions are applied as by
    /// [`Gateway::reload`].
    pub fn run_and_reload(
        &mut self,
        stop: &AtomicBool,
        reload: &AtomicBool,
        mut read: impl FnMut() -> Option<Config>,
    ) -> End {
        self.inbox.attend();
        let mut next_look = Duration::ZERO;
        while !stop.load(Ordering::Acquire) {
            if reload.swap(false, Ordering::AcqRel)
                && let Some(config) = read()
            {
                reload::log(&self.reload(&config));
            }
            let now = self.now();
            let busy = self.poll(now);
            if now >= next_look {
                next_look = now + POOL_LOOK_INTERVAL;
                // For the high-water marks.
                for pool in &self.telemetry.pools {
                    let _ = (pool.read)();
                }
            }
            #[cfg(feature = "fault-injection")]
            self.faults.poll(&self.shared, &self.buffers);
            // At once, or what the worker did before would be overwritten by what it did since.
            log_panics(&self.shared, self.eal.tsc_hz());
            if self.workers.iter().any(LcoreHandle::is_finished) {
                let end = if self.shared.iter().any(|worker| worker.has_given_up()) {
                    End::Panics
                } else {
                    End::WorkerEnded
                };
                tracing::error!(
                    ?end,
                    "a worker has ended; stopping so that the supervisor starts voxlane again"
                );
                return end;
            }
            if !busy {
                std::thread::park_timeout(IDLE_WAIT);
            }
        }
        End::Asked
    }

    /// What the timers of the host side run on.
    fn now(&mut self) -> Duration {
        let reading = self.started.elapsed();
        #[cfg(feature = "fault-injection")]
        let reading = self.faults.shifted(reading);
        self.clock.advance(reading)
    }

    /// One round of the host side and of requests, `now` after the start, and once a second the copy of the index journal:
    /// for those who run no [`Gateway::run`]. Returns whether there was something to do.
    pub fn poll(&mut self, now: Duration) -> bool {
        let mut busy = self.host.poll(now.as_nanos() as u64, &self.ports);
        if now >= self.next_copy {
            self.next_copy = now + Duration::from_secs(1);
            busy = true;
            if let Some(Err(error)) = self.host.sessions.journal().map(Journal::persist) {
                tracing::warn!(%error, "the index journal was not copied to disk");
            }
        }
        for _ in 0..REQUESTS_PER_ROUND {
            let Some((request, answers)) = self.inbox.next() else { break };
            busy = true;
            let answer = match request {
                Request::Add(session) => self.add_session(*session).map(Answer::Done),
                Request::Change(session) => self.change_session(*session).map(Answer::Done),
                Request::ReplaceSource { session, leg, new } => {
                    self.replace_source(&session, leg, &new).map(Answer::Done)
                }
                Request::Remove(session) => self.remove_session(&session).map(|()| Answer::Removed),
                Request::Ended(session) => Ok(Answer::Ended(self.session_end(&session))),
            };
            // Whoever asked may have gone.
            let _ = answers.send(answer.unwrap_or_else(Answer::Refused));
        }
        busy
    }

    /// Drains, stops and closes everything; the report says where every frame went and whether all buffers are
    /// back.
    pub fn stop(self) -> FinalReport {
        let Gateway {
            mut host,
            handle,
            inbox,
            workers,
            shared,
            ports,
            buffers,
            telemetry,
            server,
            ready,
            eal,
            _lock,
            ..
        } = self;
        drop((handle, inbox));
        ready.store(false, Ordering::Release);
        shared.iter().for_each(|worker| worker.drain());
        let deadline = Instant::now() + DRAIN_LIMIT;
        while workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        shared.iter().for_each(|worker| worker.stop());
        log_panics(&shared, eal.tsc_hz());
        // Joined workers come back with their queues: nobody polls any more when the ports close.
        let mut returned: Vec<_> = workers.into_iter().map(LcoreHandle::join).collect();
        for outcome in &mut returned {
            match outcome {
                Ok(worker) => worker.finish(),
                Err(_) => tracing::error!("a worker ended by a panic outside of a burst"),
            }
        }
        host.sessions.stop_taps();
        let carry_out = || returned.iter_mut().flatten().for_each(Worker::carry_out);
        if let Some(Err(error)) = host.sessions.finish(&mut host.hosts, carry_out).map(Journal::close) {
            tracing::warn!(%error, "the index journal was not closed");
        }
        if let Some(server) = server {
            server.stop();
        }
        drop(host);
        for port in &ports {
            if let Some(port) = port.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                port.stop();
            }
        }
        drop(returned);
        drop(shared);
        for port in &ports {
            drop(port.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        let report = FinalReport::collect(&telemetry);
        drop(telemetry);
        drop(buffers);
        drop(eal);
        report
    }
}

/// Lets workers go that a start which failed leaves behind: whoever drops their handles waits for them.
struct StopOnDrop(Vec<Arc<WorkerShared>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(|worker| worker.stop());
    }
}

/// Says how long each step of the start took.
struct StartClock(Instant);

impl StartClock {
    fn new() -> Self {
        StartClock(Instant::now())
    }

    fn step(&mut self, done: &str) {
        let ms = self.0.elapsed().as_secs_f64() * 1e3;
        tracing::info!(ms = format!("{ms:.1}"), "start: {done}");
        self.0 = Instant::now();
    }
}

/// Waits until all workers are as far as `is_there` says.
fn wait_for_workers<T: Send + 'static>(
    workers: &[LcoreHandle<T>],
    shared: &[Arc<WorkerShared>],
    is_there: impl Fn(&WorkerShared) -> bool,
) -> Result<(), GatewayError> {
    let deadline = Instant::now() + WORKER_LIMIT;
    while let Some(worker) = shared.iter().position(|worker| !is_there(worker)) {
        let has_ended = workers.get(worker).is_none_or(LcoreHandle::is_finished);
        if has_ended || Instant::now() >= deadline {
            let said = shared[worker].panic_note.take();
            let reason = said.unwrap_or_else(|| "it does not get on".to_owned());
            return Err(GatewayError::Worker { worker, reason });
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn log_warm_up(workers: &[Arc<WorkerShared>]) {
    for (worker, shared) in workers.iter().enumerate() {
        let (frames, forwarded) =
            (shared.counters.warm_up_frames.value(), shared.counters.warm_up_forwarded.value());
        if frames == forwarded {
            tracing::info!(worker, frames, "worker warm");
        } else {
            tracing::error!(worker, frames, forwarded, "a warm-up lost frames of its own: a bug to report");
        }
    }
}

/// Each pair of suites that some session has, once for each direction.
fn suite_pairs(config: &Config) -> Vec<SuitePair> {
    let suite = |protection: &Protection, is_remote: bool| match protection {
        Protection::Plain => None,
        Protection::Srtp { remote_keys, .. } if is_remote => Some(remote_keys.active().suite()),
        Protection::Srtp { local_keys, .. } => Some(local_keys.active().suite()),
    };
    let mut pairs = Vec::new();
    for session in &config.sessions {
        for (sender, receiver) in [(&session.a, &session.b), (&session.b, &session.a)] {
            let pair = (suite(&sender.protection, true), suite(&receiver.protection, false));
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    pairs
}

/// What workers could not log themselves.
fn log_panics(workers: &[Arc<WorkerShared>], tsc_hz: u64) {
    for (worker, shared) in workers.iter().enumerate() {
        if let Some(message) = shared.panic_note.take() {
            let panics = shared.counters.panics.value();
            tracing::error!(worker, panics, "{message}; what it did last:\n{}", shared.flight.dump(tsc_hz));
        }
    }
}

/// Frames that a hand-over ring holds. A worker that stands still must not collect so many in the rings to it that
/// the others run out of buffers to receive into: a quarter of them at most, as a power of two.
fn handover_depth(buffers: u32, workers: usize) -> usize {
    let most = buffers as usize / 4 / workers.saturating_sub(1).max(1);
    (1 << most.max(1).ilog2()).clamp(256, 8192)
}

fn eal_options(config: &Config, verbose: bool) -> EalOptions {
    let pci = config.ports.iter().filter_map(|port| match &port.device {
        Device::Pci(address) => Some(address.clone()),
        Device::Virtual(_) => None,
    });
    EalOptions {
        name: config.gateway.name.clone(),
        memory_mib: config.memory.hugepages_mib,
        no_huge: false,
        main_cores: config.cores.control.clone(),
        worker_cores: config.cores.workers.clone(),
        pci_devices: pci.collect(),
        verbose,
    }
}

/// The pools of packet buffers, and by worker the one that its queues receive into.
fn buffer_pools(
    eal: &Eal,
    config: &Config,
    topology: &Topology,
) -> Result<(Vec<Mempool>, Vec<usize>), GatewayError> {
    let nodes: Vec<u32> = config.cores.workers.iter().map(|&core| topology.node(core)).collect();
    let (plans, of_worker) = pools::plan(config.memory.buffers, &nodes, topology.has_nodes());
    let make = |plan: &pools::PoolPlan| {
        Mempool::new(eal, &plan.name, plan.buffers, POOL_CACHE, DATA_ROOM, plan.node)
    };
    Ok((plans.iter().map(make).collect::<Result<_, _>>()?, of_worker))
}

/// Frames for what the host side sends, which the control thread makes and workers give back.
fn host_frames(eal: &Eal, config: &Config) -> Result<AudioFramePool, dpdk::Error> {
    let buckets = config
        .memory
        .frame_buckets
        .map(|bucket| FrameBucket { frames: bucket.frames.saturating_mul(HOST_FRAMES_FACTOR), ..bucket });
    AudioFramePool::new(eal, "host_frames", &buckets, Releasers::Others, None)
}

/// Attaches all ports and holds the placement of the workers against what they offer.
fn attach_ports(eal: &Eal, config: &Config, topology: &Topology) -> Result<Vec<Attach>, GatewayError> {
    let mut attached = Vec::new();
    for port in &config.ports {
        let failed = |reason| GatewayError::Port { port: port.name.clone(), reason };
        attached.push(Attach::new(eal, port.device.devargs()).map_err(failed)?);
    }
    let facts = config.ports.iter().zip(&attached).map(|(port, attach)| PortFacts {
        name: port.name.clone(),
        driver: attach.info().driver.clone(),
        max_queues: attach.info().max_queues,
        node: attach.info().socket,
    });
    for warning in topology.check_ports(&config.cores, &facts.collect::<Vec<_>>())? {
        tracing::warn!("{warning}");
    }
    Ok(attached)
}

/// Configures all ports. The second value is by pool the number of buffers that drivers took and never give back.
fn open_ports(
    config: &Config,
    attached: Vec<Attach>,
    pools: &[Mempool],
    pool_of_worker: &[usize],
) -> Result<(Vec<Opened>, Vec<u32>), GatewayError> {
    let mut opened = Vec::new();
    let mut kept_by_drivers = vec![0; pools.len()];
    // Worker `i` polls queue `i` of every port.
    let of_queue: Vec<Mempool> = pool_of_worker.iter().map(|&pool| pools[pool].clone()).collect();
    for (index, (port, attach)) in config.ports.iter().zip(attached).enumerate() {
        let failed = |reason| GatewayError::Port { port: port.name.clone(), reason };
        let offloads = attach.info().offloads;
        // PCI drivers are not listed one by one.
        let is_virtual = matches!(port.device, Device::Virtual(_));
        if config.worker.lockdown && is_virtual && !lockdown::is_kernel_free(&attach.info().driver) {
            let driver = attach.info().driver.clone();
            return Err(GatewayError::NotKernelFree { port: port.name.clone(), driver });
        }
        let wanted = PortConfig {
            queues: config.cores.workers.len() as u16,
            mtu: port.mtu,
            rx_descriptors: port.rx_descriptors,
            tx_descriptors: port.tx_descriptors,
            mac: port.mac.map(|mac| mac.0),
            promiscuous: port.promiscuous,
        };
        let in_use_before: Vec<u32> = pools.iter().map(|pool| pool.usage().in_use).collect();
        let (device, queues) = attach.configure(&wanted, &of_queue).map_err(failed)?;
        let facts = EgressPort {
            index: index as u8,
            mac: MacAddress(device.info().mac),
            vlan: port.vlan,
            mtu: port.mtu,
            udp_checksum: port.udp_checksum,
            offload_ip: offloads.tx_ipv4,
            offload_udp: offloads.tx_udp,
        };
        tracing::info!(
            port = %port.name,
            driver = %device.info().driver,
            mac = %facts.mac,
            queues = wanted.queues,
            ?offloads,
            "port configured"
        );
        if device.info().keeps_buffers() {
            for ((kept, pool), before) in kept_by_drivers.iter_mut().zip(pools).zip(in_use_before) {
                *kept += pool.usage().in_use - before;
            }
        }
        opened.push(Opened { port: device, queues, facts, started: false });
    }
    Ok((opened, kept_by_drivers))
}

/// How each port spreads packets over its queues, where it says. Drivers fill their redirection table in when the port
/// starts, so those with RSS start here, before streams are homed by it; what arrives until the workers poll stays in
/// the rings.
fn start_spreading(config: &Config, opened: &mut [Opened]) -> Result<Vec<Option<Rss>>, GatewayError> {
    let workers = config.cores.workers.len() as u16;
    let mut spreads = Vec::new();
    for (port, opened) in config.ports.iter().zip(opened) {
        let mut spread = None;
        if workers > 1 && opened.port.info().has_rss {
            opened.start(&port.name)?;
            spread = opened.port.spread(workers);
            let by = match &spread {
                None => "a hash that the driver does not tell",
                Some(Rss { destination_port_only: true, .. }) => "destination port",
                Some(_) => "addresses and ports",
            };
            tracing::info!(port = %port.name, by, "received packets are spread over the queues");
        }
        spreads.push(spread);
    }
    Ok(spreads)
}

/// By worker both halves of its streams' table.
type StreamTables<P> = (Vec<Streams<P>>, Vec<StreamKeeper<P>>);

/// The tables of all workers' streams, in halves, and room in them for all sessions: those that are configured where
/// they are homed, and an equal share of the others on each.
fn stream_tables<P: Provider>(
    eal: &Eal,
    config: &Config,
    spreads: &[Option<Rss>],
) -> Result<StreamTables<P>, GatewayError> {
    let configured = plan::sessions_of(config, spreads);
    let others = (config.limits.capacity as usize).saturating_sub(config.sessions.len());
    let share = others.div_ceil(configured.len());
    let halves = configured.iter().map(|sessions| {
        let rows = 2 * (sessions + share);
        Streams::halves(Memory::Huge(eal, None), rows)
    });
    Ok(halves.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
}

/// Puts the configured sessions into the tables, whose workers do not run yet. Answers by session where it is homed.
fn serve_configured<P: Provider>(
    config: &Config,
    sessions: &mut Sessions<P>,
    hosts: &mut Hosts,
    streams: &mut [Streams<P>],
    lookup: &Lookup,
) -> Result<Vec<u16>, GatewayError> {
    let mut homes = Vec::new();
    for session in &config.sessions {
        let failed = |reason| GatewayError::Session { session: session.id.clone(), reason };
        let placed = sessions.place(session.clone(), hosts, false).map_err(failed)?;
        let Placed { id, rows, binds, profiles } = placed;
        homes.push(id.worker);
        let streams = &mut streams[usize::from(id.worker)];
        for (number, mut profile) in profiles {
            streams.set_profile(number, &mut profile);
        }
        for row in rows {
            streams.adopt(row);
        }
        for (place, target) in binds {
            lookup.bind(place, target)?;
        }
    }
    sessions.publish();
    Ok(homes)
}

/// By port the legs to deliver on their worker's queue by flow rules: those of ports that do not say how they spread,
/// where they are few. Elsewhere the homing of streams or the hand-over does it.
fn flow_rules(config: &Config, spreads: &[Option<Rss>], homes: &[u16]) -> Vec<Vec<(SocketAddr, u16)>> {
    let rules_of = |(index, spread): (usize, &Option<Rss>)| {
        let wanted = config.cores.workers.len() > 1 && spread.is_none();
        let most = if wanted { MAX_FLOW_RULES + 1 } else { 0 };
        let rules: Vec<_> =
            plan::locals(config.sessions.iter().zip(homes.iter().copied()), index).take(most).collect();
        if rules.len() > MAX_FLOW_RULES { Vec::new() } else { rules }
    };
    spreads.iter().enumerate().map(rules_of).collect()
}

/// Makes the rules of one port, all or none.
fn steer(name: &str, port: &Port, rules: &[(SocketAddr, u16)]) {
    if rules.is_empty() {
        return;
    }
    match rules.iter().try_for_each(|&(local, worker)| port.steer(local, worker)) {
        Ok(()) => {
            tracing::info!(port = %name, rules = rules.len(), "flow rules deliver each leg to its worker")
        }
        Err(reason) => {
            port.steer_nothing();
            tracing::info!(port = %name, %reason, "no flow rules; packets are handed over between workers");
        }
    }
}

pub(super) fn host(
    config: &Config,
    port: &super::config::Port,
    facts: &EgressPort,
    next_hops: usize,
) -> Host {
    let interface = Interface {
        mac: facts.mac,
        vlan: facts.vlan,
        addresses: port.addresses.clone(),
        gateways: port.gateways.clone(),
        mtu: port.mtu,
    };
    let limits = HostLimits {
        arp_per_second: config.host.arp_per_second,
        icmp_per_second: config.host.icmp_per_second,
        next_hops,
    };
    Host::new(interface, limits)
}

fn open_journal(config: &Config) -> Result<Option<Journal>, JournalError> {
    let Some(directory) = &config.gateway.state_directory else { return Ok(None) };
    // SRTP and SRTCP of both streams of each session, and as much again for keys that are no longer in use.
    let capacity = (config.limits.capacity as usize * 4 * 2).max(1024);
    Journal::open(Path::new(INDEX_DIRECTORY), Some(directory), &config.gateway.name, capacity).map(Some)
}

fn start_metrics(config: &Config, telemetry: &Arc<Telemetry>) -> Result<Option<MetricsServer>, GatewayError> {
    let Some(listen) = config.metrics.listen else { return Ok(None) };
    let exporter = Arc::new(Exporter::new(Arc::clone(telemetry)));
    if let Err(error) = exporter.install() {
        tracing::warn!(%error, "what libraries count is not on the metrics page");
    }
    let cores = config.cores.control.clone();
    let on_start = move || {
        if let Err(error) = dpdk::pin_current_thread(&cores) {
            tracing::warn!(%error, "the metrics thread is not pinned");
        }
    };
    Ok(Some(MetricsServer::start(listen, exporter, on_start)?))
}
