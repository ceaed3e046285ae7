//! `voxbench`: see [`voxlane_bench::measure`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use voxlane_bench::measure::args::{Cli, Command};
use voxlane_bench::measure::{churn_gateway, framepool, raw, readme, suite};

/// Counts what the worker of `churn-gateway` takes from the heap.
#[global_allocator]
static HEAP: voxlane::dpdk::CountingAllocator = voxlane::dpdk::CountingAllocator;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Run(args) => suite::run(args).map(|path| println!("{}", path.display())),
        Command::Report(args) => readme::report(args),
        Command::Crypto(args) => raw::measure(args),
        Command::ChurnGateway(args) => churn_gateway::serve(args),
        Command::Framepool(args) => framepool::measure(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("voxbench: {error}");
            error.exit_code()
        }
    }
}
