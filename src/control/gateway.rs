//! The gateway as a whole: built from the configuration, run until a signal, taken down in order.
//!
//! Start: preflight → environment → pools → ports → host sides → streams → workers → ports started → ready.
//! Stop: workers drain → workers return → metrics stop → queues and ports close → pools counted → report.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::{Config, Device};
use super::host::{Host, HostLimits, Interface};
use super::plan::{Plan, PlanError};
use super::preflight::{self, INDEX_DIRECTORY, InstanceLock, PreflightError};
use super::punt::HostSide;
use super::telemetry::{SharedPort, Sources, telemetry};
use crate::dpdk::{self, Attach, Eal, EalOptions, LcoreHandle, Mempool, Port, PortConfig, RxQueue, TxQueue};
use crate::fastpath::{Pipeline, PipelinePort, Transmitter, Worker, WorkerPort, WorkerShared};
use crate::rate_limit::TokenBucket;
use crate::session::{EgressPort, Journal, JournalError, NextHops};
use crate::srtp::{AesGcmProvider, Provider, SelfTestError};
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
/// How long draining workers may take before they are told to stop at once.
const DRAIN_LIMIT: Duration = Duration::from_millis(1000);

/// The crypto provider that is built in.
type Crypto = AesGcmProvider;

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The machine does not offer what the configuration asks for.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// DPDK refused.
    #[error(transparent)]
    Dpdk(#[from] dpdk::Error),
    /// A port could not be set up.
    #[error("port {port:?}: {reason}")]
    Port {
        /// The port's name in the configuration.
        port: String,
        /// Why.
        reason: dpdk::Error,
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

/// A running gateway.
pub struct Gateway {
    host: HostSide,
    workers: Vec<LcoreHandle<Worker<Crypto>>>,
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
}

impl Gateway {
    /// Starts everything that `config` describes and returns once packets flow.
    ///
    /// # Errors
    /// [`GatewayError`]; whatever was started is taken down again.
    pub fn start(config: &Config, verbose: bool) -> Result<Self, GatewayError> {
        let lock = preflight::check(config)?;
        Crypto::self_test()?;
        let eal = Eal::init(&eal_options(config, verbose))?;
        let buffers = Mempool::new(&eal, "buffers", config.memory.buffers, POOL_CACHE, DATA_ROOM, None)?;
        let host_pool = Mempool::new(&eal, "host", HOST_BUFFERS, 0, DATA_ROOM, None)?;
        let (mut opened, kept_by_drivers) = open_ports(&eal, config, &buffers)?;
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
        let plan = Plan::<Crypto>::new(config, &mut hosts, &facts, journal.as_mut())?;

        let tsc_hz = eal.tsc_hz();
        let worker_count = config.cores.workers.len();
        let handover = (config.memory.buffers as usize / 4).clamp(256, 8192);
        let shared: Vec<_> = (0..worker_count).map(|_| Arc::new(WorkerShared::new(handover))).collect();
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
        let pools = vec![buffers, host_pool];
        let telemetry = Arc::new(telemetry(Sources {
            config,
            crypto: Crypto::NAME,
            tsc_hz,
            queues: &queue_counters,
            workers: shared.iter().map(|shared| Arc::clone(&shared.counters)).collect(),
            pools: vec![(pools[0].clone(), kept_by_drivers), (pools[1].clone(), 0)],
            ports: ports.clone(),
            host: host_side.counts(),
            ready: Arc::clone(&ready),
        }));
        let server = start_metrics(config, &telemetry)?;

        for (name, opened) in config.ports.iter().map(|port| &port.name).zip(&opened) {
            opened.port.start().map_err(|reason| GatewayError::Port { port: name.clone(), reason })?;
        }
        let lookup = Arc::new(plan.lookup);
        let mut workers = Vec::new();
        for (number, streams) in plan.streams.into_iter().enumerate() {
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
            let worker = Worker::new(
                pipeline,
                worker_ports,
                transmitters,
                Arc::clone(&shared[number]),
                shared.clone(),
            );
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

    /// Runs the host side on the calling thread until `stop` is set, or a worker has ended by itself.
    pub fn run(&mut self, stop: &AtomicBool) {
        let start = Instant::now();
        let mut next_second = Duration::ZERO;
        while !stop.load(Ordering::Acquire) {
            let now = start.elapsed();
            let busy = self.host.poll(now.as_nanos() as u64, &self.ports);
            if now >= next_second {
                next_second = now + Duration::from_secs(1);
                if let Some(Err(error)) = self.journal.as_mut().map(Journal::persist) {
                    tracing::warn!(%error, "the index journal was not copied to disk");
                }
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

/// Opens all ports. The second value is the number of buffers that their drivers took and never give back.
fn open_ports(eal: &Eal, config: &Config, pool: &Mempool) -> Result<(Vec<Opened>, u32), GatewayError> {
    let mut opened = Vec::new();
    let mut kept_by_drivers = 0;
    for (index, port) in config.ports.iter().enumerate() {
        let failed = |reason| GatewayError::Port { port: port.name.clone(), reason };
        let attach = Attach::new(eal, port.device.devargs()).map_err(failed)?;
        let offloads = attach.info().offloads;
        let wanted = PortConfig {
            queues: config.cores.workers.len() as u16,
            mtu: port.mtu,
            rx_descriptors: port.rx_descriptors,
            tx_descriptors: port.tx_descriptors,
            mac: port.mac.map(|mac| mac.0),
            promiscuous: port.promiscuous,
        };
        let in_use_before = pool.usage().in_use;
        let (device, queues) = attach.configure(&wanted, std::slice::from_ref(pool)).map_err(failed)?;
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
            kept_by_drivers += pool.usage().in_use - in_use_before;
        }
        opened.push(Opened { port: device, queues, facts });
    }
    Ok((opened, kept_by_drivers))
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
