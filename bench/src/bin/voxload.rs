//! `voxload`: see [`voxlane_bench`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use voxlane_bench::{cli, pcap, report, run, sessions};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let result = match &cli.command {
        cli::Command::Run(args) => run::run(args),
        cli::Command::Sessions(args) => sessions::write(args).map(|()| report::Verdict::Pass),
        cli::Command::Pcap(args) => pcap::write(args).map(|()| report::Verdict::Pass),
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
