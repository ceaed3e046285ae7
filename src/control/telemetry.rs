//! Wires what the gateway counts to the metrics page and the final report.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::config::Config;
use super::punt::HostCounts;
use super::sessions::SessionCounts;
use crate::dpdk::frame_pool::BucketAccount;
use crate::dpdk::{Eal, Mempool, Port};
use crate::tap::TapCounters;
use crate::telemetry::{
    Balance, BuildInfo, Counter, HostEntry, PoolEntry, PoolUse, PortEntry, PortReading, QueueCounters,
    QueueEntry, SessionChanges, Telemetry, WorkerCounters, WorkerEntry,
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
    /// Pools of packet buffers, each with the number of buffers that drivers keep.
    pub(super) buffers: Vec<(Mempool, u32)>,
    /// By worker, which of them its queues receive into.
    pub(super) pool_of_worker: &'a [usize],
    /// Buckets of frames that the gateway makes.
    pub(super) frames: Vec<BucketAccount>,
    pub(super) ports: Vec<SharedPort>,
    pub(super) host: Vec<Arc<HostCounts>>,
    pub(super) sessions: Arc<SessionCounts>,
    pub(super) tap: Arc<TapCounters>,
    pub(super) clock_jumps: Arc<Counter>,
    pub(super) ready: Arc<AtomicBool>,
}

pub(super) fn telemetry(sources: Sources<'_>) -> Telemetry {
    let Sources {
        config,
        crypto,
        session_memory,
        tsc_hz,
        queues,
        workers,
        buffers,
        pool_of_worker,
        frames,
        ports,
        host,
        sessions,
        tap,
        clock_jumps,
        ready,
    } = sources;
    let buffer_pools = buffers.into_iter().enumerate().map(|(number, (pool, kept))| {
        let of_pool = queues.iter().zip(pool_of_worker).filter(|(_, pool)| **pool == number);
        let queues = of_pool.flat_map(|(queues, _)| queues.iter().cloned()).collect();
        buffer_pool_entry(pool, kept, queues, ports.clone())
    });
    let pools = buffer_pools
        .chain(frames.into_iter().map(frame_bucket_entry))
        .chain(session_pools(&sessions))
        .chain(tap_pool(&tap))
        .collect();
    let queues = queues.iter().enumerate().flat_map(|(worker, queues)| {
        queues.iter().zip(&config.ports).map(move |(counters, port)| QueueEntry {
            port: port.name.clone(),
            queue: worker as u16,
            worker: worker as u16,
            counters: Arc::clone(counters),
        })
    });
    Telemetry {
        build: BuildInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dpdk: Eal::version(),
            crypto: crypto.to_owned(),
        },
        started: SystemTime::now(),
        started_at: Instant::now(),
        tsc_hz,
        queues: queues.collect(),
        workers: workers
            .into_iter()
            .enumerate()
            .map(|(worker, counters)| WorkerEntry { worker: worker as u16, counters })
            .collect(),
        pools,
        ports: config.ports.iter().zip(ports).map(|(port, shared)| port_entry(&port.name, shared)).collect(),
        host: host_entries(&host),
        session_changes: {
            let counts = Arc::clone(&sessions);
            Box::new(move || SessionChanges {
                added: SessionCounts::value(&counts.added),
                changed: SessionCounts::value(&counts.changed),
                refused: SessionCounts::value(&counts.refused),
                ended: counts.ended.each_ref().map(SessionCounts::value),
            })
        },
        sessions: Box::new(move || SessionCounts::value(&sessions.active)),
        session_memory,
        tap,
        clock_jumps,
        ready: Box::new(move || ready.load(Ordering::Acquire)),
    }
}

/// A pool that ports receive into. What was taken out and given back is what `queues` have counted already: nothing is
/// counted twice on the packet path. Ports do not say for which queue they found no buffer, so where there are several
/// pools each shows the ports' sum.
fn buffer_pool_entry(
    pool: Mempool,
    kept_by_driver: u32,
    queues: Vec<Arc<QueueCounters>>,
    ports: Vec<SharedPort>,
) -> PoolEntry {
    let name = pool.name().to_owned();
    let read = Box::new(move || {
        let usage = pool.usage();
        let balances = queues.iter().map(|queue| Balance::of(queue));
        let (mut acquired, mut under_way) = (0, 0);
        for balance in balances {
            acquired += balance.rx;
            under_way += balance.unaccounted();
        }
        let account =
            PoolUse::of_mempool(usage.size.into(), usage.in_use.into(), usage.high_water.into(), acquired);
        let released = acquired.saturating_sub(under_way.max(0) as u64);
        PoolUse { released, exhausted: ports.iter().map(no_buffer).sum(), ..account }
    });
    PoolEntry { name, kept_by_driver: u64::from(kept_by_driver), read }
}

fn frame_bucket_entry(bucket: BucketAccount) -> PoolEntry {
    PoolEntry { name: bucket.name().to_owned(), kept_by_driver: 0, read: Box::new(move || bucket.read()) }
}

fn no_buffer(port: &SharedPort) -> u64 {
    let port = port.lock().unwrap_or_else(PoisonError::into_inner);
    port.as_ref().map_or(0, |port| port.stats().rx_no_buffer)
}

/// Places for sessions, and for the expanded keys of their streams.
fn session_pools(sessions: &Arc<SessionCounts>) -> [PoolEntry; 2] {
    let entry = |name: &str, pick: fn(&SessionCounts) -> &[AtomicU64; 6]| {
        let counts = Arc::clone(sessions);
        let read = Box::new(move || {
            let [size, acquired, reused, released, high_water, exhausted] =
                pick(&counts).each_ref().map(SessionCounts::value);
            let in_use = acquired.saturating_sub(released);
            PoolUse { size, in_use, acquired, reused, released, high_water, exhausted }
        });
        PoolEntry { name: name.to_owned(), kept_by_driver: 0, read }
    };
    [entry("sessions", |counts| &counts.pool), entry("codec_contexts", |counts| &counts.codecs)]
}

/// The tap's blocks, if there are any.
fn tap_pool(tap: &Arc<TapCounters>) -> Option<PoolEntry> {
    let counters = Arc::clone(tap);
    let read = Box::new(move || counters.account());
    (tap.blocks > 0).then(|| PoolEntry { name: "tap_blocks".to_owned(), kept_by_driver: 0, read })
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
