//! The command line of `voxbench`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures a voxlane gateway against the limit of the machine.
#[derive(Debug, Parser)]
#[command(name = "voxbench", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What voxbench can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure everything and write the results.
    Run(Box<RunArgs>),
    /// Make plots and the README's table from results.
    Report(ReportArgs),
    /// Measure a crypto provider alone: seconds per line of standard input, JSON back. Used by `run`.
    #[command(hide = true)]
    Crypto(CryptoArgs),
    /// Measure pools of frames alone: seconds per line of standard input, JSON back. Used by `run`.
    #[command(hide = true)]
    Framepool(FramePoolArgs),
    /// Run a gateway to which standard input says at what rate its sessions come and go. Used by `run`.
    #[command(hide = true)]
    ChurnGateway(ChurnArgs),
}

/// `voxbench run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Everything once over in seconds, to see that it works. The figures mean nothing.
    #[arg(long)]
    pub smoke: bool,

    /// Only these parts.
    #[arg(long, value_name = "PART,…", value_delimiter = ',', value_enum)]
    pub only: Vec<Part>,

    /// Session counts of the relay part.
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    pub sessions: Vec<usize>,

    /// Repetitions of which the median is taken.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub repetitions: Option<u32>,

    /// Seconds on the clock of each measurement.
    #[arg(long, value_name = "S")]
    pub seconds: Option<f64>,

    /// Packets of the soak.
    #[arg(long, value_name = "N")]
    pub soak_packets: Option<u64>,

    /// Packets on the way to each port as fast as the gateway goes.
    #[arg(long, value_name = "N", default_value_t = 1_024)]
    pub in_flight: u64,

    /// Ring size as a power of two, of the gateway's ports and of testpmd's.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u8).range(8..=14))]
    pub ring: u8,

    /// Packets that the generator seals beforehand at a time.
    #[arg(long, value_name = "N", default_value_t = 32_768)]
    pub chunk: u32,

    /// Core of the gateway's worker; the highest allowed one by default.
    #[arg(long, value_name = "N")]
    pub worker_core: Option<u16>,

    /// Core of the generator; the lowest allowed one by default.
    #[arg(long, value_name = "N")]
    pub generator_core: Option<u16>,

    /// Directory of the results.
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub output: PathBuf,
}

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The very first packet after a start.
    WarmUp,
    /// What the generator itself can do.
    Generator,
    /// The relay and its limit at each session count, and cost by stage.
    Relay,
    /// Payload sizes.
    Payload,
    /// Pairs of suites.
    Suites,
    /// One, two and four workers, for function.
    Workers,
    /// The highest rate without loss, and latencies below it.
    Ndr,
    /// Pools of frames for each thread, against one for all with a lock and against the heap.
    Framepool,
    /// Sessions that come and go beside full traffic.
    Churn,
    /// Many packets, counting allocations and system calls.
    Soak,
}

/// `voxbench report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The results.
    #[arg(long, value_name = "FILE", default_value = "bench/results/latest.json")]
    pub results: PathBuf,

    /// Directory of the plots.
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub plots: PathBuf,

    /// The file that gets the table, between its markers.
    #[arg(long, value_name = "FILE", default_value = "README.md")]
    pub readme: PathBuf,

    /// Change nothing; fail if the file is not what the results make it.
    #[arg(long)]
    pub check: bool,
}

/// `voxbench crypto`.
#[derive(Debug, Args)]
pub struct CryptoArgs {
    /// The provider.
    #[arg(long)]
    pub provider: String,
    /// How many sessions: each has two streams, each stream a key to open with and one to seal with.
    #[arg(long)]
    pub sessions: usize,
    /// Bytes of payload.
    #[arg(long)]
    pub payload: usize,
    /// The core to run on.
    #[arg(long)]
    pub core: u16,
}

/// `voxbench framepool`.
#[derive(Debug, Args)]
pub struct FramePoolArgs {
    /// Threads that take frames, in turns on all allowed cores.
    #[arg(long, default_value_t = 16)]
    pub threads: u16,
    /// Ordinary pages instead of hugepages.
    #[arg(long)]
    pub no_huge: bool,
}

/// `voxbench churn-gateway`.
#[derive(Debug, Args)]
pub struct ChurnArgs {
    /// The gateway's configuration.
    #[arg(long)]
    pub config: PathBuf,
    /// Another one with the same ports, whose sessions come and go.
    #[arg(long)]
    pub coming: PathBuf,
    /// Sessions that are there at a time, of those that come and go.
    #[arg(long)]
    pub live: usize,
    /// Where the final report goes.
    #[arg(long)]
    pub report: PathBuf,
    /// The crypto provider.
    #[arg(long)]
    pub crypto: String,
}
