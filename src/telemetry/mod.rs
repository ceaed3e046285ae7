//! Everything that tells an operator what the gateway does.
//!
//! Workers write counters, histograms, stage clocks and flight recorders ([`counters`], [`pool_counters`],
//! [`histogram`], [`stage_clock`], [`flight`]): one writer each, no lock, no heap. The metrics thread reads them at each scrape through the handles in
//! [`sources`], feeds the `metrics` recorder ([`export`]) and serves the page ([`server`]); at the end of a
//! run the same counters become the final report ([`report`]). [`families`] is the one list of what the page
//! may show, from which help texts and reference pages ([`docs`]) come.

#![forbid(unsafe_code)]

pub mod counters;
pub mod docs;
pub mod export;
pub mod families;
pub mod flight;
pub mod histogram;
pub mod pool_counters;
pub mod report;
pub mod server;
pub mod sources;
pub mod stage_clock;

#[cfg(test)]
mod test_sources;

pub use counters::{Balance, Counter, QueueCounters, WorkerCounters};
pub use export::Exporter;
pub use flight::{EventKind, FlightRecorder};
pub use histogram::{Histogram, HistogramSnapshot};
pub use pool_counters::{PoolCounters, PoolUse};
pub use report::{FinalReport, LatencyReport, PollGapReport, WorkerReport};
pub use server::{MetricsServer, ServerError};
pub use sources::{
    BuildInfo, HostEntry, PoolEntry, PortEntry, PortReading, QueueEntry, Read, SessionChanges, Telemetry,
    WorkerEntry,
};
pub use stage_clock::{LongestGap, PollGap, Stage, StageClock};
