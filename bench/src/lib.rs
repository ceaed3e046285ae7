//! voxlane's benchmarks: `voxload`, which plays all remote endpoints of a gateway's sessions and verifies what
//! comes back, and `voxbench`, which measures the gateway against the limit of the machine.
//!
//! ```text
//! voxload:
//! cli ─ run ─ plan ─────────────────────────────── which streams, from the gateway's own configuration
//!        │     └ traffic ─ payload, impair, frame ─ what is sent, sealed with the remotes' keys
//!        │     └ verify ── track, reports ───────── what comes back, opened and checked bit by bit
//!        ├ port ─ line ──────────────────────────── DPDK ports
//!        ├ engine ─ neighbours, paced, flood ────── the loop on one pinned lcore
//!        │                └ order, chunk, step ──── which stream next, sealed frames, repetitions
//!        ├ stats ─ progress, report ─────────────── what was counted
//!        └ pcap ─────────────────────────────────── the same packets into a file, for other testers
//! voxbench:
//! measure ─ suite ─ scene, process, testpmd, raw ── one run: what is measured, against what
//!        └ figures ─ report ─ plot ──────────────── what came out, as JSON, table and pictures
//! ```
#![forbid(unsafe_code)]

mod chunk;
pub mod cli;
mod clock;
mod crypto;
mod engine;
mod flood;
mod frame;
mod impair;
mod line;
#[cfg(test)]
mod loopback_tests;
pub mod measure;
mod neighbours;
mod order;
mod pace;
mod paced;
mod payload;
pub mod pcap;
mod plan;
mod port;
mod progress;
pub mod report;
mod reports;
mod rng;
pub mod run;
pub mod sessions;
mod stats;
mod step;
mod track;
mod traffic;
mod verify;
