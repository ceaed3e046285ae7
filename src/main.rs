//! The `voxlane` command: arguments, wiring, signals.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand};
use voxlane::control::config::Config;
use voxlane::control::{End, Gateway};
use voxlane::srtp::{AesGcmProvider, IpsecMbProvider, Provider};

mod demo;

/// Counts what workers take from the heap: nothing, or the metrics and the final report say so.
#[global_allocator]
static HEAP: voxlane::dpdk::CountingAllocator = voxlane::dpdk::CountingAllocator;

/// Exit code of a run that lost, corrupted or mislaid a packet, or could not start.
const EXIT_FAILED: u8 = 1;
/// Exit code of a configuration or usage error.
const EXIT_CONFIG: u8 = 2;
/// Exit code of a gateway that ended by itself, because a worker panicked again and again: to be started anew.
const EXIT_PANICS: u8 = 3;

const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("VOXLANE_COMMIT"),
    ", built against DPDK ",
    env!("VOXLANE_DPDK_VERSION"),
    ")"
);

/// What `voxlane run` ends with; `docs/operations.md` says what to do then.
const EXIT_CODES: &str = "Exit codes:\n  \
    0  stopped by a signal; every frame and buffer is accounted for\n  \
    1  could not start, or the final report is not clean\n  \
    2  the configuration or the command line is wrong\n  \
    3  a worker gave up after repeated panics: start it again, and report the bug";

/// A DPDK kernel-bypass voice media gateway: SRTP in, checked, SRTP out.
#[derive(Parser)]
#[command(version, long_version = LONG_VERSION, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT; SIGHUP reads the sessions' keys again
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Check a configuration file and report every error in it
    Check(CheckArgs),
    /// Run a gateway and a load generator against each other over shared memory and show the figures
    Demo(demo::DemoArgs),
    /// Print reference documentation that is generated from the code
    Docs {
        /// Which page
        #[arg(value_enum)]
        page: Page,
    },
}

#[derive(Args)]
struct RunArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write the final report as JSON to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Cryptographic library
    #[arg(long, value_enum, default_value_t = Crypto::Auto)]
    crypto: Crypto,
    /// Show debug messages and DPDK's own
    #[arg(short, long)]
    verbose: bool,
}

/// The library that opens and seals packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Crypto {
    /// intel-ipsec-mb where it is installed, else aes-gcm
    Auto,
    /// intel-ipsec-mb, the fastest
    IpsecMb,
    /// RustCrypto's, portable
    AesGcm,
}

#[derive(Args)]
struct CheckArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Report errors as a JSON array of {file, line, message, remedy}
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Page {
    /// Every reason for which a frame is dropped
    DropReasons,
    /// Every metric
    Metrics,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Docs { page } => {
            let text = match page {
                Page::DropReasons => voxlane::telemetry::docs::drop_reasons_markdown(),
                Page::Metrics => voxlane::telemetry::docs::metrics_markdown(),
            };
            print!("{text}");
            ExitCode::SUCCESS
        }
    }
}

fn run(args: &RunArgs) -> ExitCode {
    init_log(args.verbose);
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("voxlane: cannot handle signal {signal}: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    }
    let reload = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&reload)) {
        eprintln!("voxlane: cannot handle SIGHUP: {error}");
        return ExitCode::from(EXIT_FAILED);
    }
    match choose_crypto(args.crypto) {
        Ok(Crypto::AesGcm) => serve::<AesGcmProvider>(args, &config, &stop, &reload),
        Ok(_) => serve::<IpsecMbProvider>(args, &config, &stop, &reload),
        Err(error) => {
            eprintln!("voxlane: --crypto ipsec-mb: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// The provider to use: [`Crypto::IpsecMb`] or [`Crypto::AesGcm`].
fn choose_crypto(wanted: Crypto) -> Result<Crypto, voxlane::srtp::provider_ipsec_mb::IpsecMbError> {
    if wanted == Crypto::AesGcm {
        return Ok(Crypto::AesGcm);
    }
    match IpsecMbProvider::is_available() {
        Ok(()) => {
            let library = IpsecMbProvider::description().unwrap_or_default();
            tracing::info!("crypto: intel-ipsec-mb {library}");
            Ok(Crypto::IpsecMb)
        }
        Err(reason) if wanted == Crypto::Auto => {
            tracing::warn!(%reason, "crypto: aes-gcm, which is slower, because intel-ipsec-mb cannot be used");
            Ok(Crypto::AesGcm)
        }
        Err(reason) => Err(reason),
    }
}

/// Runs the gateway until `stop` is set; reads the keys again whenever `reload` is.
fn serve<P: Provider>(args: &RunArgs, config: &Config, stop: &AtomicBool, reload: &AtomicBool) -> ExitCode {
    let mut gateway = match Gateway::<P>::start(config, args.verbose) {
        Ok(gateway) => gateway,
        Err(error) => {
            eprintln!("voxlane: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    if let Some(address) = gateway.metrics_address() {
        tracing::info!("metrics at http://{address}/metrics");
    }
    tracing::info!(sessions = config.sessions.len(), workers = config.cores.workers.len(), "ready");
    let end = gateway.run_and_reload(stop, reload, || match Config::load(&args.config) {
        Ok(config) => Some(config),
        Err(errors) => {
            tracing::error!("the configuration is not valid any more; all keys stay:\n{errors}");
            None
        }
    });
    tracing::info!("draining");
    let report = gateway.stop();
    eprintln!("{report}");
    if let Some(path) = &args.report
        && let Err(error) = report.write_json(path)
    {
        eprintln!("voxlane: {error}");
        return ExitCode::from(EXIT_FAILED);
    }
    match end {
        End::Panics => ExitCode::from(EXIT_PANICS),
        End::Asked if report.is_clean() => ExitCode::SUCCESS,
        End::Asked | End::WorkerEnded => ExitCode::from(EXIT_FAILED),
    }
}

fn check(args: &CheckArgs) -> ExitCode {
    let errors = match Config::load(&args.config) {
        Ok(config) => {
            if args.json {
                println!("[]");
            } else {
                println!(
                    "{}: valid: {} ports, {} workers, {} sessions",
                    args.config.display(),
                    config.ports.len(),
                    config.cores.workers.len(),
                    config.sessions.len()
                );
            }
            return ExitCode::SUCCESS;
        }
        Err(errors) => errors,
    };
    if args.json {
        match serde_json::to_string_pretty(&errors) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("voxlane: {error}"),
        }
    } else {
        eprintln!("{errors}");
    }
    ExitCode::from(EXIT_CONFIG)
}

fn load(path: &Path) -> Result<Config, ExitCode> {
    Config::load(path).map_err(|errors| {
        eprintln!("{errors}");
        ExitCode::from(EXIT_CONFIG)
    })
}

fn init_log(verbose: bool) {
    use std::io::IsTerminal;
    let default = if verbose { "debug" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("VOXLANE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
