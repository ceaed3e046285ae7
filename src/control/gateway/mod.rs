//! The gateway as a whole: built from the configuration, run until a signal, taken down in order.
//!
//! | file | |
//! |---|---|
//! | `start.rs` | the order of the start, from the configuration to a [`Gateway`] that forwards |
//! | `memory.rs` | environment, pools and tables, of the sizes that the configuration gives |
//! | `ports.rs` | ports: attached, configured, started; which queue gets which packets |
//! | `workers.rs` | workers: launched, waited for, and what they could not log themselves |
//! | `run.rs` | the control thread's loop while packets flow |
//! | `requests.rs` | sessions that are added, changed and removed meanwhile |
//! | `stop.rs` | the end, and the report of where every frame went |

mod error;
mod memory;
mod ports;
mod requests;
mod run;
mod start;
mod stop;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

pub use error::GatewayError;
pub(super) use ports::host;
pub use run::End;

use super::clock_watch::ClockWatch;
#[cfg(feature = "fault-injection")]
use super::fault_console::FaultConsole;
use super::preflight::InstanceLock;
use super::punt::HostSide;
use super::sessions::{GatewayHandle, Inbox};
use super::telemetry::SharedPort;
use crate::dpdk::{Eal, LcoreHandle, Mempool};
use crate::fastpath::{Worker, WorkerShared};
use crate::srtp::Provider;
use crate::steady_clock::SteadyClock;
use crate::telemetry::{MetricsServer, Telemetry};

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
    clocks: ClockWatch,
    /// When the index journal is copied next, on the clock of [`Gateway::poll`].
    next_copy: Duration,
    #[cfg(feature = "fault-injection")]
    faults: FaultConsole,
    eal: Eal,
    _lock: InstanceLock,
}

impl<P: Provider> Gateway<P> {
    /// Where the metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
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
}
