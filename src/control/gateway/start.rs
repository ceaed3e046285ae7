//! The start, from the configuration to a gateway that forwards.
//!
//! Preflight → environment → pools → ports → host sides → streams → tap → workers warmed up → ports started → workers
//! poll → next hops resolved → ready. Each step takes what those before it have made; when one fails, what there is is
//! taken down in the opposite order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::memory::{buffer_pools, eal_options, handover_depth, host_frames, stream_tables};
use super::ports::{attach_ports, flow_rules, open_ports, start_spreading, steer};
use super::workers::Crew;
use super::{Gateway, GatewayError, host};
use crate::control::clock_watch::ClockWatch;
use crate::control::config::Config;
#[cfg(feature = "fault-injection")]
use crate::control::fault_console::FaultConsole;
use crate::control::host::Host;
use crate::control::placement::Topology;
use crate::control::preflight::{self, INDEX_DIRECTORY};
use crate::control::punt::HostSide;
use crate::control::sessions::{Hosts, Placed, Sessions, Start, requests};
use crate::control::telemetry::{SharedPort, Sources, telemetry};
use crate::control::{plan, tap};
use crate::dpdk::{self, Eal, Mempool, lockdown};
use crate::fastpath::{WorkerShared, control_link, handover};
use crate::session::{EgressPort, Journal, JournalError, Lookup, NextHops, Streams};
use crate::srtp::Provider;
use crate::steady_clock::SteadyClock;
use crate::tap::TapCounters;
use crate::telemetry::{Counter, Exporter, MetricsServer, QueueCounters, Telemetry};

/// Next hops beyond those of the configured remotes: learned remotes and resolved neighbours.
const SPARE_NEXT_HOPS: usize = 4096;
/// How long a start waits for next hops to answer.
const NEXT_HOP_LIMIT: Duration = Duration::from_secs(1);

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
        let queue_counters: Vec<Vec<Arc<QueueCounters>>> =
            (0..worker_count).map(|_| facts.iter().map(|_| Arc::default()).collect()).collect();
        let host_side = HostSide::new(config, sessions, hosts, next_hops.clone(), shared.clone(), frames);

        let ready = Arc::new(AtomicBool::new(false));
        let ports: Vec<SharedPort> =
            opened.iter().map(|opened| Arc::new(Mutex::new(Some(opened.port.clone())))).collect();
        let clock_jumps = Arc::new(Counter::new());
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
            clock_jumps: Arc::clone(&clock_jumps),
            ready: Arc::clone(&ready),
        }));
        let server = start_metrics(config, &telemetry)?;

        let touched: usize = buffers.iter().map(Mempool::touch).sum();
        let program = dpdk::populate_program();
        tracing::info!(buffers = touched, program_kib = program >> 10, "memory mapped");
        start.step("memory mapped");
        let crew = Crew {
            config,
            shared: &shared,
            lookup,
            next_hops,
            counters: &queue_counters,
            streams,
            links: worker_ends,
            mesh: handover::mesh(worker_count, handover_depth(config.memory.buffers, worker_count)),
            tap_writers,
            pools: pool_of_worker.iter().map(|&pool| buffers[pool].clone()).collect(),
        };
        let launched = crew.launch(&eal, &mut opened)?;
        launched.wait(WorkerShared::is_warm)?;
        start.step("workers warmed up");
        launched.log_warm_up();
        for ((port, opened), rules) in config.ports.iter().zip(&mut opened).zip(&rules) {
            opened.start(&port.name)?;
            steer(&port.name, &opened.port, rules);
        }
        start.step("ports started");
        shared.iter().for_each(|worker| worker.go());
        launched.wait(WorkerShared::is_ready)?;
        let workers = launched.into_handles();
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
            clocks: ClockWatch::new(tsc_hz, clock_jumps),
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

fn open_journal(config: &Config) -> Result<Option<Journal>, JournalError> {
    let Some(directory) = &config.gateway.state_directory else { return Ok(None) };
    // Both streams of each session, and as many again for keys that are no longer in use.
    let capacity = (config.limits.capacity as usize * 2 * 2).max(512);
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
