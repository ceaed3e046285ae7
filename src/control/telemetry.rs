//! Wires what the gateway counts to the metrics page and the final report.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::config::Config;
use super::punt::HostCounts;
use crate::dpdk::{Eal, Mempool, Port};
use crate::telemetry::{
    BuildInfo, HostEntry, PoolEntry, PoolUse, PortEntry, PortReading, QueueCounters, QueueEntry, Telemetry,
    WorkerCounters, WorkerEntry,
};

/// A port that metrics may look at until control takes it to close it.
pub(super) type SharedPort = Arc<Mutex<Option<Port>>>;

/// Everything that is counted.
pub(super) struct Sources<'a> {
    pub(super) config: &'a Config,
    pub(super) crypto: &'static str,
    /// In bytes.
    pub(super) session_memory: u64,
    pub(super) tsc_hz: u64,
    /// By worker, then port.
    pub(super) queues: &'a [Vec<Arc<QueueCounters>>],
    pub(super) workers: Vec<Arc<WorkerCounters>>,
    /// Each with the number of buffers that drivers keep.
    pub(super) pools: Vec<(Mempool, u32)>,
    pub(super) ports: Vec<SharedPort>,
    pub(super) host: Vec<Arc<HostCounts>>,
    pub(super) ready: Arc<AtomicBool>,
}

pub(super) fn telemetry(sources: Sources<'_>) -> Telemetry {
    let Sources { config, crypto, session_memory, tsc_hz, queues, workers, pools, ports, host, ready } =
        sources;
    let queues = queues.iter().enumerate().flat_map(|(worker, queues)| {
        queues.iter().zip(&config.ports).map(move |(counters, port)| QueueEntry {
            port: port.name.clone(),
            queue: worker as u16,
            worker: worker as u16,
            counters: Arc::clone(counters),
        })
    });
    let sessions = config.sessions.len() as u64;
    Telemetry {
        build: BuildInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dpdk: Eal::version(),
            crypto: crypto.to_owned(),
        },
        started: SystemTime::now(),
        tsc_hz,
        queues: queues.collect(),
        workers: workers
            .into_iter()
            .enumerate()
            .map(|(worker, counters)| WorkerEntry { worker: worker as u16, counters })
            .collect(),
        pools: pools.into_iter().map(|(pool, kept)| pool_entry(pool, kept)).collect(),
        ports: config.ports.iter().zip(ports).map(|(port, shared)| port_entry(&port.name, shared)).collect(),
        host: host_entries(&host),
        sessions: Box::new(move || sessions),
        session_memory,
        ready: Box::new(move || ready.load(Ordering::Acquire)),
    }
}

fn pool_entry(pool: Mempool, kept_by_driver: u32) -> PoolEntry {
    let name = pool.name().to_owned();
    let read = Box::new(move || {
        let usage = pool.usage();
        PoolUse { size: u64::from(usage.size), in_use: u64::from(usage.in_use) }
    });
    PoolEntry { name, kept_by_driver: u64::from(kept_by_driver), read }
}

fn port_entry(name: &str, port: SharedPort) -> PortEntry {
    let read = Box::new(move || {
        let port = port.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(port) = port.as_ref() else { return PortReading::default() };
        let stats = port.stats();
        PortReading {
            ipackets: stats.rx_packets,
            opackets: stats.tx_packets,
            imissed: stats.rx_missed,
            ierrors: stats.rx_errors,
            oerrors: stats.tx_errors,
            rx_nombuf: stats.rx_no_buffer,
            link_up: port.link().up,
        }
    });
    PortEntry { name: name.to_owned(), read }
}

/// One entry per kind and outcome, summed over the ports.
fn host_entries(host: &[Arc<HostCounts>]) -> Vec<HostEntry> {
    HostCounts::LABELS
        .iter()
        .enumerate()
        .map(|(position, &(kind, outcome))| {
            let host = host.to_vec();
            let read = Box::new(move || host.iter().map(|counts| counts.value(position)).sum());
            HostEntry { kind, outcome, read }
        })
        .collect()
}
