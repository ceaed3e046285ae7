//! Why the gateway could not start.

use crate::control::placement::PlacementError;
use crate::control::preflight::PreflightError;
use crate::control::sessions::SessionError;
use crate::control::tap::TapError;
use crate::dpdk;
use crate::session::{JournalError, LookupError};
use crate::srtp::SelfTestError;
use crate::telemetry::ServerError;

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
