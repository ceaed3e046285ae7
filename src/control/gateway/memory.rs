//! Environment, pools and tables: how much of each, from the configuration and from where the workers' cores are.

use super::GatewayError;
use crate::control::config::{Config, Device};
use crate::control::placement::Topology;
use crate::control::{plan, pools};
use crate::dpdk::frame_pool::Releasers;
use crate::dpdk::{self, AudioFramePool, Eal, EalOptions, FrameBucket, Memory, Mempool, Rss};
use crate::session::{StreamKeeper, Streams};
use crate::srtp::Provider;

/// Bytes of data room in an RX buffer.
const DATA_ROOM: u16 = 2048;
/// Mbufs that each worker's cache of the buffer pool holds: eight bursts, DPDK's maximum.
const POOL_CACHE: u32 = 512;
/// The control thread has as many frames as so many workers: it answers for all ports and in bursts.
const HOST_FRAMES_FACTOR: u32 = 4;

pub(super) fn eal_options(config: &Config, verbose: bool) -> EalOptions {
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
pub(super) fn buffer_pools(
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
pub(super) fn host_frames(eal: &Eal, config: &Config) -> Result<AudioFramePool, dpdk::Error> {
    let buckets = config
        .memory
        .frame_buckets
        .map(|bucket| FrameBucket { frames: bucket.frames.saturating_mul(HOST_FRAMES_FACTOR), ..bucket });
    AudioFramePool::new(eal, "host_frames", &buckets, Releasers::Others, None)
}

/// By worker both halves of its streams' table.
pub(super) type StreamTables<P> = (Vec<Streams<P>>, Vec<StreamKeeper<P>>);

/// The tables of all workers' streams, in halves, and room in them for all sessions: those that are configured where
/// they are homed, and an equal share of the others on each.
pub(super) fn stream_tables<P: Provider>(
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

/// Frames that a hand-over ring holds. A worker that stands still must not collect so many in the rings to it that
/// the others run out of buffers to receive into: a quarter of them at most, as a power of two.
pub(super) fn handover_depth(buffers: u32, workers: usize) -> usize {
    let most = buffers as usize / 4 / workers.saturating_sub(1).max(1);
    (1 << most.max(1).ilog2()).clamp(256, 8192)
}
