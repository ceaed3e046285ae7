//! `voxlane demo`: a gateway and a generator as two processes over memif, with live figures.
//!
//! The demo owns a directory under `/run/voxlane` with a generated configuration and fresh keys, starts
//! `voxlane run` and `voxload run` in it, shows what both report each second, and ends with one verdict. It never
//! touches a packet itself.

mod children;
mod plan;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::{EXIT_CONFIG, EXIT_FAILED};
use children::{GatewayProcess, GeneratorEvent, GeneratorProcess};

/// How long the gateway may take to be ready: it derives keys for every session.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long the generator may take beyond its sending time: pre-sealing, resolution, stragglers.
const GENERATOR_SLACK: Duration = Duration::from_secs(60);

/// Options of `voxlane demo`.
#[derive(Args, Debug, Clone)]
pub struct DemoArgs {
    /// Seconds of voice
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Calls, each with voice in both directions
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    sessions: u32,
    /// Bytes of audio in a packet
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u16).range(32..=1200))]
    payload: u16,
    /// As fast as it goes instead of one packet each 20 ms per direction
    #[arg(long)]
    flood: bool,
    /// Core of the gateway's worker; the highest allowed one if not given
    #[arg(long, value_name = "CORE")]
    worker_core: Option<u16>,
    /// Core of the generator and of the gateway's control threads; the lowest allowed one if not given
    #[arg(long, value_name = "CORE")]
    generator_core: Option<u16>,
    /// Cryptographic library of the gateway
    #[arg(long, value_enum, default_value_t = crate::Crypto::Auto)]
    crypto: crate::Crypto,
    /// Write the summary as JSON to this file (- for standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The demo's summary: both processes' own reports and the verdict over them.
#[derive(Debug, Serialize)]
struct Summary {
    verdict: &'static str,
    seconds: u32,
    sessions: u32,
    /// `voxload`'s report.
    generator: serde_json::Value,
    /// The gateway's final report.
    gateway: serde_json::Value,
}

/// Runs the demo; the exit code is non-zero if one packet was lost, corrupted or unaccounted for.
pub fn run(args: &DemoArgs) -> ExitCode {
    let interrupted = Arc::new(AtomicBool::new(false));
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    // The terminal going away must not leave the gateway behind, to which SIGHUP says something else.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupted)) {
            eprintln!("voxlane demo: cannot handle signal {signal}: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    }
    match demo(args, &interrupted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(DemoError::Usage(message)) => {
            eprintln!("voxlane demo: {message}");
            ExitCode::from(EXIT_CONFIG)
        }
        Err(error) => {
            eprintln!("voxlane demo: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Why the demo could not be carried out.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{0}")]
    Usage(String),
    #[error("{what}: {reason}")]
    Io { what: String, reason: std::io::Error },
    #[error("the gateway did not start:\n{0}")]
    Gateway(String),
    #[error("the gateway {how} and left no report; its log:\n{log}")]
    GatewayEnded { how: String, log: String },
    #[error("the generator did not finish: {0}")]
    Generator(String),
}

fn demo(args: &DemoArgs, interrupted: &AtomicBool) -> Result<bool, DemoError> {
    // Said on standard error, so that `--json -` leaves standard output to the summary.
    let scene = plan::Scene::set(args)?;
    eprintln!(
        "voxlane demo: {} sessions, both directions, {} bytes of audio a packet, {}; gateway on core {}, generator on core {}",
        args.sessions,
        args.payload,
        if args.flood {
            "as fast as it goes".to_owned()
        } else {
            format!("{} packets/s", args.sessions * 2 * 50)
        },
        scene.worker_core,
        scene.generator_core,
    );
    let mut gateway = GatewayProcess::spawn(&scene, args)?;
    gateway.wait_until_ready(READY_LIMIT, interrupted)?;
    if let Some(address) = gateway.metrics_address() {
        eprintln!("gateway ready; metrics at http://{address}/metrics while the demo runs");
    }
    let mut generator = GeneratorProcess::spawn(&scene, args)?;
    let deadline = Instant::now() + Duration::from_secs(args.seconds.into()) + GENERATOR_SLACK;
    let mut table = table::Table::new();
    let mut asked_to_stop = false;
    let generator_report = loop {
        match generator.next_event(Duration::from_millis(200)) {
            Some(GeneratorEvent::Progress(progress)) => {
                let page = gateway.metrics_page();
                table.row(&progress, page.as_deref());
            }
            Some(GeneratorEvent::Ended(report)) => break report,
            None => {}
        }
        if interrupted.load(Ordering::Acquire) && !asked_to_stop {
            eprintln!("stopping: the generator stops sending and waits for what is under way");
            generator.terminate();
            asked_to_stop = true;
        }
        if Instant::now() > deadline {
            generator.terminate();
            return Err(DemoError::Generator(format!(
                "it still runs {} s after it should have ended; its log:\n{}",
                GENERATOR_SLACK.as_secs(),
                generator.log_tail()
            )));
        }
    };
    let generator_passed = generator.succeeded();
    // The generator has closed its ends; only now may the gateway go.
    let (gateway_passed, gateway_report) = gateway.stop()?;
    let generator_report = generator_report.ok_or_else(|| {
        DemoError::Generator(format!("it left no report; its log:\n{}", generator.log_tail()))
    })?;
    let passed = generator_passed && gateway_passed && left_the_heap_alone(&gateway_report);
    let summary = Summary {
        verdict: if passed { "pass" } else { "fail" },
        seconds: args.seconds,
        sessions: args.sessions,
        generator: generator_report,
        gateway: gateway_report,
    };
    eprint!("{}", table::summary(&summary));
    write_json(args, &summary)?;
    Ok(passed)
}

/// Whether no worker allocated or freed anything after its warm-up.
fn left_the_heap_alone(gateway: &serde_json::Value) -> bool {
    let workers = gateway["workers"].as_array().filter(|workers| !workers.is_empty());
    let is_zero = |worker: &serde_json::Value, key: &str| worker[key].as_u64() == Some(0);
    workers.is_some_and(|workers| {
        workers.iter().all(|worker| is_zero(worker, "heap_allocations") && is_zero(worker, "heap_frees"))
    })
}

fn write_json(args: &DemoArgs, summary: &Summary) -> Result<(), DemoError> {
    let Some(path) = &args.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(summary)
        .map_err(|error| DemoError::Generator(format!("its report cannot be written as JSON: {error}")))?;
    if path.as_os_str() == "-" {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(path, text + "\n")
        .map_err(|reason| DemoError::Io { what: format!("writing {}", path.display()), reason })
}
