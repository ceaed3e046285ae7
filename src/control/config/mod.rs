//! Configuration: from the operator's files to validated, immutable types.
//!
//! [`Config::load`] reads one TOML file and the sessions file (JSON Lines) that it may name. Both become
//! one `node` tree whose values know their lines, and go through the same validators; what comes out is
//! the [`Config`] of `model.rs`, after which nothing is checked again. What is wrong is collected, not
//! thrown: the operator sees every error at once, each with file, line, value and remedy
//! ([`ConfigErrors`]). Key material is never part of an error or of a debug print.
//!
//! Only what a file can say is judged here. Whether a core exists or a hugepage is free is for the start-up
//! checks, which know the machine.
#![forbid(unsafe_code)]

mod cores;
mod error;
mod generate;
mod json;
mod leg;
mod load;
mod model;
mod node;
mod payload;
mod port;
mod reader;
mod registry;
mod sections;
mod session;
mod value;

pub(super) use cores::parse_cpu_list;
pub use error::{ConfigError, ConfigErrors, SHOWN_ERRORS};
pub use generate::{
    EVEN_PORTS_PER_ADDRESS, EndpointPlan, GenerateError, SessionPlan, generate_sessions, system_random,
    write_jsonl, write_sessions_file,
};
pub use model::{
    Config, Cores, Device, Gateway, HostLimits, Leg, MAX_PTIME, Memory, Metrics, Negotiated, PayloadFormat,
    PayloadTypes, Port, Protection, Ptime, RemotePolicy, RtcpPolicy, Session, Sessions, Srtp, Tap, Timeouts,
};
pub use sections::{BUFFER_BYTES, BUFFERS_PER_WORKER, DEFAULT_STATE_DIRECTORY};

#[cfg(test)]
mod sessions_tests;
#[cfg(test)]
mod tests;
