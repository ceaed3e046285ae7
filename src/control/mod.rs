//! The control side: everything that is not the packet path.
//!
//! It reads the configuration ([`config`]), checks that the machine can carry it ([`preflight`]), builds ports,
//! pools, streams and workers ([`gateway`]), is the host that answers on the gateway's addresses ([`host`]) and
//! takes it all down again. It runs on the control cores and reaches the workers through bounded queues only.

#![forbid(unsafe_code)]

mod clock_watch;
pub mod config;
#[cfg(feature = "fault-injection")]
pub mod fault_console;
pub mod gateway;
pub mod host;
pub mod placement;
pub mod plan;
pub mod pools;
pub mod preflight;
mod profile;
mod punt;
pub mod rekey;
pub mod reload;
pub mod rss;
pub mod sessions;
pub mod tap;
mod telemetry;

pub use gateway::{End, Gateway, GatewayError};
pub use sessions::{Answer, GatewayHandle, HandleError, Request, SessionError};
