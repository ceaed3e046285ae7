//! The gateway as a whole: built from the configuration, run until a signal, taken down in order.
//!
//! Start: preflight → environment → pools → ports → host sides → streams → workers → ports started → ready.
//! Stop: workers drain → workers return → metrics stop → queues and ports close → pools counted → report.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::{Config, Device, Protection};
use super::host::{Host, HostLimits, Interface};
use super::placement::{PlacementError, PortFacts, Topology};
use super::plan::{Plan, PlanError};
use super::pools;
use super::preflight::{self, INDEX_DIRECTORY, InstanceLock, PreflightError};
use super::punt::HostSide;
use super::rekey::{LegName, RekeyError, RekeyReport};
use super::telemetry::{SharedPort, Sources, telemetry};
use crate::dpdk::{
    self, Attach, Eal, EalOptions, LcoreHandle, Memory, Mempool, Port, PortConfig, Rss, RxQueue, TxQueue,
    lockdown,
};
use crate::fastpath::{Pipeline, PipelinePort, Transmitter, Worker, WorkerPort, WorkerShared, handover};
use crate::rate_limit::TokenBucket;
use crate::session::{EgressPort, Journal, JournalError, NextHops, Streams};
use crate::srtp::{Provider, SelfTestError};
use crate::telemetry::{Exporter, FinalReport, MetricsServer, QueueCounters, ServerError, Telemetry};
use crate::wire::MacAddress;

/// Bytes of data room in an RX buffer.
const DATA_ROOM: u16 = 2048;
/// Mbufs that each worker's cache of the buffer pool holds: eight bursts, DPDK's maximum.
const POOL_CACHE: u32 = 512;
/// Mbufs for what the host side sends.
const HOST_BUFFERS: u32 = 1023;
/// Next hops beyond those of the configured remotes: learned remotes and resolved neighbours.
const SPARE_NEXT_HOPS: usize = 4096;
/// Local ports of a device port up to which flow rules are tried: what small NICs have room for.
const MAX_FLOW_RULES: usize = 128;
/// How long draining workers may take before they are told to stop at once.
const DRAIN_LIMIT: Duration = Duration::from_millis(1000);

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
    /// The sessions cannot be served.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The index journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The metrics endpoint cannot be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The crypto provider computes wrong results on this machine.
    #[error(transparent)]
    Crypto(#[from] SelfTestError),
}

/// A running gateway whose cryptography is `P`.
pub struct Gateway<P: Provider> {
    host: HostSide,
    workers: Vec<LcoreHandle<Worker<P>>>,
    shared: Vec<Arc<WorkerShared>>,
    ports: Vec<SharedPort>,
    pools: Vec<Mempool>,
    telemetry: Arc<Telemetry>,
    server: Option<MetricsServer>,
    ready: Arc<AtomicBool>,
    journal: Option<Journal>,
    eal: Eal,
    _lock: InstanceLock,
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
        P::self_test()?;
        let eal = Eal::init(&eal_options(config, verbose))?;
        let (buffers, pool_of_worker) = buffer_pools(&eal, config, &topology)?;
        let host_pool = Mempool::new(&eal, "host", HOST_BUFFERS, 0, DATA_ROOM, None)?;
        let attached = attach_ports(&eal, config, &topology)?;
        let (mut opened, kept_by_drivers) = open_ports(config, attached, &buffers, &pool_of_worker)?;
        let facts: Vec<EgressPort> = opened.iter().map(|port| port.facts).collect();
        let next_hop_capacity = SPARE_NEXT_HOPS + 4 * config.sessions.len();
        let mut hosts: Vec<Host> = config
            .ports
            .iter()
            .zip(&facts)
            .map(|(port, facts)| host(config, port, facts, next_hop_capacity))
            .collect();
        let next_hops: Vec<_> = hosts.iter().map(|_| Arc::new(NextHops::new(next_hop_capacity))).collect();

        let mut journal = open_journal(config)?;
        tracing::info!(sessions = config.sessions.len(), "deriving session keys");
        let spreads = start_spreading(config, &mut opened)?;
        let memory = Memory::Huge(&eal, None);
        let plan = Plan::<P>::new(config, &mut hosts, &facts, &spreads, journal.as_mut(), memory)?;
        let session_memory = plan.streams.iter().map(Streams::memory).sum::<usize>() as u64;
        let rules = flow_rules(config, &spreads, &plan);

        let tsc_hz = eal.tsc_hz();
        let worker_count = config.cores.workers.len();
        let shared: Vec<_> = (0..worker_count).map(|_| Arc::new(WorkerShared::new())).collect();
        let mesh = handover::mesh(worker_count, handover_depth(config.memory.buffers, worker_count));
        let queue_counters: Vec<Vec<Arc<QueueCounters>>> =
            (0..worker_count).map(|_| facts.iter().map(|_| Arc::default()).collect()).collect();
        let host_side = HostSide::new(
            config,
            hosts,
            facts.clone(),
            next_hops.clone(),
            shared.clone(),
            plan.homes,
            host_pool.clone(),
        );

        let ready = Arc::new(AtomicBool::new(false));
        let ports: Vec<SharedPort> =
            opened.iter().map(|opened| Arc::new(Mutex::new(Some(opened.port.clone())))).collect();
        let kept = kept_by_drivers.into_iter().chain([0]);
        let pools: Vec<Mempool> = buffers.into_iter().chain([host_pool]).collect();
        let telemetry = Arc::new(telemetry(Sources {
            config,
            crypto: P::NAME,
            session_memory,
            tsc_hz,
            queues: &queue_counters,
            workers: shared.iter().map(|shared| Arc::clone(&shared.counters)).collect(),
            pools: pools.iter().cloned().zip(kept).collect(),
            ports: ports.clone(),
            host: host_side.counts(),
            ready: Arc::clone(&ready),
        }));
        let server = start_metrics(config, &telemetry)?;

        for ((port, opened), rules) in config.ports.iter().zip(&mut opened).zip(&rules) {
            opened.start(&port.name)?;
            steer(&port.name, &opened.port, rules);
        }
        let lookup = Arc::new(plan.lookup);
        let mut workers = Vec::new();
        for ((number, streams), handover) in plan.streams.into_iter().enumerate().zip(mesh) {
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
            let worker =
                Worker::<P>::new(pipeline, worker_ports, transmitters, Arc::clone(&shared[number]), handover)
                    .with_lockdown(config.worker.lockdown);
            workers.push(eal.launch(number as u32 + 1, move || worker.run())?);
        }
        ready.store(true, Ordering::Release);
        Ok(Gateway {
            host: host_side,
            workers,
            shared,
            ports,
            pools,
            telemetry,
            server,
            ready,
            journal,
            eal,
            _lock: lock,
        })
    }

    /// Where the metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(MetricsServer::local_addr)
    }

    /// Gives legs of existing sessions the keys that `config` has for them, without losing a packet: those under the
    /// old keys that are still under way are accepted. Nothing else of `config` has an effect.
    pub fn rekey(&mut self, config: &Config) -> RekeyReport {
        self.host.rekey(config, self.journal.as_mut())
    }

    /// The same for one leg; `false` if it has these keys already. Takes effect while [`Gateway::run`] runs.
    ///
    /// # Errors
    /// [`RekeyError`]; the leg keeps its keys.
    pub fn set_keys(
        &mut self,
        session: &str,
        leg: LegName,
        protection: &Protection,
    ) -> Result<bool, RekeyError> {
        self.host.set_keys(session, leg, protection, self.journal.as_mut())
    }

    /// Runs the host side on the calling thread until `stop` is set, or a worker has ended by itself.
    pub fn run(&mut self, stop: &AtomicBool) {
        self.run_and_reload(stop, &AtomicBool::new(false), || None);
    }

    /// The same; whenever `reload` is set, `read` is asked for the configuration, whose keys are applied as by
    /// [`Gateway::rekey`].
    pub fn run_and_reload(
        &mut self,
        stop: &AtomicBool,
        reload: &AtomicBool,
        mut read: impl FnMut() -> Option<Config>,
    ) {
        let start = Instant::now();
        let mut next_second = Duration::ZERO;
        while !stop.load(Ordering::Acquire) {
            if reload.swap(false, Ordering::AcqRel)
                && let Some(config) = read()
            {
                log_rekey(&self.rekey(&config));
            }
            let now = start.elapsed();
            let busy = self.host.poll(now.as_nanos() as u64, &self.ports);
            if now >= next_second {
                next_second = now + Duration::from_secs(1);
                if let Some(Err(error)) = self.journal.as_mut().map(Journal::persist) {
                    tracing::warn!(%error, "the index journal was not copied to disk");
                }
                log_panics(&self.shared);
                if self.workers.iter().any(LcoreHandle::is_finished) {
                    tracing::error!(
                        "a worker has ended; stopping so that the supervisor starts voxlane again"
                    );
                    break;
                }
            }
            if !busy {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
    }

    /// Drains, stops and closes everything; the report says where every frame went and whether all buffers are
    /// back.
    pub fn stop(self) -> FinalReport {
        let Gateway {
            host,
            workers,
            shared,
            ports,
            pools,
            telemetry,
            server,
            ready,
            mut journal,
            eal,
            _lock,
        } = self;
        ready.store(false, Ordering::Release);
        shared.iter().for_each(|worker| worker.drain());
        let deadline = Instant::now() + DRAIN_LIMIT;
        while workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        shared.iter().for_each(|worker| worker.stop());
        log_panics(&shared);
        // Joined workers come back with their queues: nobody polls any more when the ports close.
        let mut returned: Vec<_> = workers.into_iter().map(LcoreHandle::join).collect();
        for outcome in &mut returned {
            match outcome {
                Ok(worker) => worker.finish(),
                Err(_) => tracing::error!("a worker ended by a panic outside of a burst"),
            }
        }
        if let Some(Err(error)) = journal.take().map(Journal::close) {
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
        drop(pools);
        drop(eal);
        report
    }
}

/// What workers could not log themselves.
fn log_panics(workers: &[Arc<WorkerShared>]) {
    for (worker, shared) in workers.iter().enumerate() {
        if let Some(message) = shared.panic_note.take() {
            tracing::error!(worker, "{message}");
        }
    }
}

/// Frames that a hand-over ring holds. A worker that stands still must not collect so many in the rings to it that
/// the others run out of buffers to receive into: a quarter of them at most, as a power of two.
fn handover_depth(buffers: u32, workers: usize) -> usize {
    let most = buffers as usize / 4 / workers.saturating_sub(1).max(1);
    (1 << most.max(1).ilog2()).clamp(256, 8192)
}

fn log_rekey(report: &RekeyReport) {
    for leg in &report.changed {
        tracing::info!(%leg, "new keys");
    }
    for (leg, reason) in &report.refused {
        tracing::error!(%leg, %reason, "the leg keeps its keys");
    }
    for what in &report.needs_restart {
        tracing::warn!("{what}: that needs a restart");
    }
    tracing::info!(legs = report.changed.len(), "keys read again");
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

/// By port the legs to deliver on their worker's queue by flow rules: those of ports that do not say how they spread,
/// where they are few. Elsewhere the homing of streams or the hand-over does it.
fn flow_rules<P: Provider>(
    config: &Config,
    spreads: &[Option<Rss>],
    plan: &Plan<P>,
) -> Vec<Vec<(SocketAddr, u16)>> {
    let rules_of = |(index, spread): (usize, &Option<Rss>)| {
        let wanted = config.cores.workers.len() > 1 && spread.is_none();
        let most = if wanted { MAX_FLOW_RULES + 1 } else { 0 };
        let rules: Vec<_> = plan.locals(config, index).take(most).collect();
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

fn host(config: &Config, port: &super::config::Port, facts: &EgressPort, next_hops: usize) -> Host {
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
    // SRTP and SRTCP of both streams of each session, and as much again for keys that are no longer configured.
    let capacity = (config.sessions.len() * 4 * 2).max(1024);
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
