//! What the metrics thread reads: handles on every counter block and functions for everything else.
//!
//! The wiring code fills a [`Telemetry`] once, when ports, pools and workers exist; nothing in it changes
//! afterwards but the values behind the handles. The functions are called on the metrics thread at each
//! scrape: they may take a control-rate lock or call a driver's statistics, never touch what a worker owns.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::counters::{Counter, QueueCounters, WorkerCounters};
use super::pool_counters::PoolUse;
use crate::session::EndReason;
use crate::tap::TapCounters;

/// A function that reads one value (or group of values) now.
pub type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Everything that the page and the final report show.
pub struct Telemetry {
    /// What was built; labels of `voxlane_build_info`.
    pub build: BuildInfo,
    /// When the process started, on the wall clock, which may jump.
    pub started: SystemTime,
    /// The same on a clock that does not.
    pub started_at: Instant,
    /// Frequency of the time-stamp counter in cycles per second; turns histograms into seconds.
    pub tsc_hz: u64,
    /// Every worker × queue, in the order in which the report lists them.
    pub queues: Vec<QueueEntry>,
    /// Every worker.
    pub workers: Vec<WorkerEntry>,
    /// Every pool.
    pub pools: Vec<PoolEntry>,
    /// Every port.
    pub ports: Vec<PortEntry>,
    /// What the host side did, by kind and outcome.
    pub host: Vec<HostEntry>,
    /// Sessions in service.
    pub sessions: Read<u64>,
    /// How sessions came, changed and went.
    pub session_changes: Read<SessionChanges>,
    /// Memory that the streams take, in bytes.
    pub session_memory: u64,
    /// What the media tap counts.
    pub tap: Arc<TapCounters>,
    /// Times that the time-stamp counter and the kernel's monotonic clock disagreed. Written by the control thread.
    pub clock_jumps: Arc<Counter>,
    /// Whether the gateway forwards traffic: false while it starts and once it drains.
    pub ready: Read<bool>,
}

/// Versions and choices that explain a measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInfo {
    /// The gateway's version.
    pub version: String,
    /// DPDK's version as the library reports it.
    pub dpdk: String,
    /// The crypto provider in use.
    pub crypto: String,
}

/// One queue of one port and the worker that polls it.
#[derive(Debug)]
pub struct QueueEntry {
    /// The port's name in the configuration.
    pub port: String,
    /// Queue number on the port.
    pub queue: u16,
    /// Worker number.
    pub worker: u16,
    /// Written by the worker.
    pub counters: Arc<QueueCounters>,
}

/// One worker.
#[derive(Debug)]
pub struct WorkerEntry {
    /// Worker number.
    pub worker: u16,
    /// Written by the worker.
    pub counters: Arc<WorkerCounters>,
}

/// One pool of buffers or objects.
pub struct PoolEntry {
    /// The pool's name.
    pub name: String,
    /// Buffers that a driver took when its port was set up and does not give back when the port closes.
    pub kept_by_driver: u64,
    /// Its account now.
    pub read: Read<PoolUse>,
}

/// One port.
pub struct PortEntry {
    /// The port's name in the configuration.
    pub name: String,
    /// Its driver's statistics now.
    pub read: Read<PortReading>,
}

/// What a port's driver counts (`rte_eth_stats`), in frames since the port was started, and its link.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PortReading {
    /// Frames received.
    pub ipackets: u64,
    /// Frames transmitted.
    pub opackets: u64,
    /// Frames dropped because the RX ring was full.
    pub imissed: u64,
    /// Frames received with an error.
    pub ierrors: u64,
    /// Frames that could not be transmitted.
    pub oerrors: u64,
    /// Receive attempts that found the pool empty.
    pub rx_nombuf: u64,
    /// Whether the link is up.
    pub link_up: bool,
}

/// How sessions came, changed and went, since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SessionChanges {
    /// Those that were added.
    pub added: u64,
    /// Changes that were made.
    pub changed: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Ends, by [`EndReason::index`].
    pub ended: [u64; EndReason::ALL.len()],
}

/// One count of the host side.
pub struct HostEntry {
    /// What came or went: `arp`, `nd`, `icmp`, …
    pub kind: &'static str,
    /// What became of it: `answered`, `limited`, …
    pub outcome: &'static str,
    /// The count now; must not go back.
    pub read: Read<u64>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("build", &self.build)
            .field("tsc_hz", &self.tsc_hz)
            .field("queues", &self.queues.len())
            .field("workers", &self.workers.len())
            .field("pools", &self.pools.iter().map(|pool| &pool.name).collect::<Vec<_>>())
            .field("ports", &self.ports.iter().map(|port| &port.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
