//! `voxload`: plays all remote endpoints of a voxlane gateway's sessions, and verifies what comes back.
//!
//! ```text
//! cli ─ run ─ plan ─────────────────────────────── which streams, from the gateway's own configuration
//!        │     └ traffic ─ payload, impair, frame ─ what is sent, sealed with the remotes' keys
//!        │     └ verify ── track, reports ───────── what comes back, opened and checked bit by bit
//!        ├ port ─ line ──────────────────────────── DPDK ports
//!        ├ engine ─ neighbours, paced, flood ────── the loop on one pinned lcore
//!        └ stats ─ progress, report ─────────────── what was counted
//! ```
#![forbid(unsafe_code)]

mod cli;
mod clock;
mod engine;
mod flood;
mod frame;
mod impair;
mod line;
#[cfg(test)]
mod loopback_tests;
mod neighbours;
mod pace;
mod paced;
mod payload;
mod plan;
mod port;
mod progress;
mod report;
mod reports;
mod rng;
mod run;
mod sessions;
mod stats;
mod track;
mod traffic;
mod verify;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let result = match &cli.command {
        cli::Command::Run(args) => run::run(args),
        cli::Command::Sessions(args) => sessions::write(args).map(|()| report::Verdict::Pass),
    };
    match result {
        Ok(report::Verdict::Pass) => ExitCode::SUCCESS,
        Ok(report::Verdict::Fail) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("voxload: {error}");
            error.exit_code()
        }
    }
}
