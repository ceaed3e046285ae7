//! `voxload run` from the command line to the exit code.
//!
//! Configuration → plan → environment and ports → engine on its lcore, while this thread shows progress and
//! watches signals and links → join → ports close → report. The order of the end matters: a memif port that
//! vanishes under a polling peer takes the peer with it, so nothing is sent any more when ours closes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use voxlane::control::config::{Config, ConfigErrors};
use voxlane::dpdk::{Eal, EalOptions, LcoreHandle, allowed_cores, cycles};
use voxlane::wire::{ipv6, rtp, udp};

use super::cli::{Progress, RunArgs};
use super::clock::Clock;
use super::crypto::KeyUse;
use super::engine::{
    Control, Engine, EngineOptions, FloodOptions, Mode, PacedOptions, PrepareError, STALL_NS, paths,
};
use super::neighbours::Neighbours;
use super::pace::Pacer;
use super::payload;
use super::plan::Plan;
use super::port::{PortError, PortLine, Ports, Spread};
use super::progress::Ticker;
use super::report::{Report, Setup, Verdict};
use super::reports::Reports;
use super::rng::Rng;
use super::stats::Stats;
use super::step::Step;
use super::traffic::{Traffic, TrafficOptions};
use super::verify::{Verifier, VerifyOptions};

const DEFAULT_SECONDS: f64 = 10.0;
const DEFAULT_PTIME_MS: u64 = 20;

/// Packets on the way to each port in a flood: half of the smallest usual ring.
const DEFAULT_FLOOD_IN_FLIGHT: u64 = 512;

/// What a flood that measures takes for a stall.
const PATIENT_STALL_NS: u64 = 500 * NS_PER_MS;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_SECOND: f64 = 1e9;

/// From report to report of a stream (RFC 3550 §6.2), if the run is long enough for two.
const REPORT_INTERVAL_NS: u64 = 5_000 * NS_PER_MS;

/// How often signals, links and the engine are looked at.
const WATCH: Duration = Duration::from_millis(20);

/// Why a run ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line does not fit the configuration or itself.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong.
    #[error("{0}")]
    Config(ConfigErrors),
    /// DPDK refused.
    #[error("{0}")]
    Dpdk(#[from] voxlane::dpdk::Error),
    /// A port cannot be used.
    #[error("{0}")]
    Port(#[from] PortError),
    /// The gateway does not answer or does not relay.
    #[error("{0}")]
    Prepare(#[from] PrepareError),
    /// A link went down in mid-run.
    #[error("the link of port \"{0}\" went down during the run; look at why the gateway ended")]
    LinkDown(String),
    /// The generator's thread ended by a panic.
    #[error("the generator's own thread failed, which is a bug: {0}")]
    Panic(String),
    /// A signal handler cannot be installed.
    #[error("cannot handle signals: {0}; check the limits of this environment")]
    Signals(std::io::Error),
    /// A result cannot be written.
    #[error("cannot write to {name}: {error}; check the path and the disk")]
    Output {
        /// The file.
        name: String,
        /// The system's reason.
        error: std::io::Error,
    },
}

impl RunError {
    /// 2 for what the user wrote wrong, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            RunError::Usage(_) | RunError::Config(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Does the run that `args` ask for.
///
/// # Errors
/// [`RunError`] when there is no result.
pub fn run(args: &RunArgs) -> Result<Verdict, RunError> {
    let signalled = signals()?;
    let config = Config::load(&args.config).map_err(RunError::Config)?;
    let devices = devices(args)?;
    let plan = Plan::new(&config, &devices, args.sessions, args.direction);
    let plan = plan.map_err(|error| RunError::Usage(error.to_string()))?;
    check_payload(args.payload, &plan)?;
    let seed = args.seed.unwrap_or_else(Rng::fresh_seed);
    let stats = Arc::new(Stats::new());
    let control = Arc::new(Control::default());

    let eal = Eal::init(&eal_options(args, &devices)?)?;
    let clock = Clock::new(cycles(), eal.tsc_hz());
    let spread =
        Spread { queues: args.queues, memif_queues: config.cores.workers.len() as u16, hop: args.hop, seed };
    let (ports, lines) = Ports::open(&eal, &plan, clock, spread)?;
    let wait = Duration::from_secs(args.wait_link);
    let is_up = ports.start(wait, || signalled.load(Ordering::Relaxed))?;
    let mut outcome = Ok(());
    if is_up {
        let engine = engine(args, &plan, &ports, lines, clock, seed, &stats, &control)?;
        let handle = eal.launch(1, move || {
            let mut engine = engine;
            let result = engine.run();
            // The lines go back to this process's main thread, which closes the ports.
            (engine, result)
        })?;
        outcome = watch(args, &ports, &stats, &control, &signalled, &handle);
        let (engine, result) = handle.join().map_err(|panic| RunError::Panic(panic_text(&*panic)))?;
        drop(engine);
        // A link that went down explains whatever else went wrong, and there is a result to show.
        if outcome.is_ok() {
            result?;
        }
    }
    drop(ports);
    drop(eal);

    let setup = Setup {
        sessions: plan.sessions,
        streams: plan.streams.len(),
        flood: args.flood,
        payload_bytes: args.payload,
        seed,
    };
    let report = Report::new(&stats, setup);
    show(args, &report)?;
    outcome?;
    Ok(report.verdict)
}

/// A flag that SIGINT and SIGTERM set.
fn signals() -> Result<Arc<AtomicBool>, RunError> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(RunError::Signals)?;
    }
    Ok(flag)
}

fn devices(args: &RunArgs) -> Result<BTreeMap<String, String>, RunError> {
    let mut devices = BTreeMap::new();
    for (name, device) in &args.ports {
        if devices.insert(name.clone(), device.clone()).is_some() {
            let text = format!("--port {name} is given twice; give each port of the gateway one device");
            return Err(RunError::Usage(text));
        }
    }
    Ok(devices)
}

/// The payload must hold its header, and the packet must fit the smallest MTU.
pub(super) fn check_payload(len: usize, plan: &Plan<'_>) -> Result<(), RunError> {
    let trailers = plan.streams.iter().flat_map(|stream| [stream.sender, stream.receiver]);
    let trailer = trailers.map(|leg| leg.protection.rtp_trailer()).max().unwrap_or(0);
    let overhead = ipv6::HEADER_LEN + udp::HEADER_LEN + rtp::HEADER_LEN + trailer;
    let mtu = plan.ports.iter().map(|port| usize::from(port.gateway.mtu)).min().unwrap_or(usize::MAX);
    let most = mtu.saturating_sub(overhead);
    if (payload::SHORT_HEADER_LEN..=most).contains(&len) {
        return Ok(());
    }
    let least = payload::SHORT_HEADER_LEN;
    Err(RunError::Usage(format!("--payload {len} does not fit; use {least} to {most} bytes")))
}

fn eal_options(args: &RunArgs, devices: &BTreeMap<String, String>) -> Result<EalOptions, RunError> {
    let allowed = allowed_cores();
    let core = match args.core {
        None => allowed.first().copied().unwrap_or(0),
        Some(core) if allowed.contains(&core) => core,
        Some(core) => {
            let text =
                format!("--core {core} is not a core that this process may use; use one of {allowed:?}");
            return Err(RunError::Usage(text));
        }
    };
    Ok(EalOptions {
        name: args.file_prefix.clone(),
        memory_mib: args.memory_mib,
        no_huge: false,
        // Progress and signals cost next to nothing; another core may be the gateway's worker's.
        main_cores: vec![core],
        worker_cores: vec![core],
        pci_devices: devices.values().filter(|device| !device.starts_with("net_")).cloned().collect(),
        verbose: args.verbose,
    })
}

#[expect(clippy::too_many_arguments, reason = "called once; a struct would only repeat the names")]
fn engine(
    args: &RunArgs,
    plan: &Plan<'_>,
    ports: &Ports,
    lines: Vec<PortLine>,
    clock: Clock,
    seed: u64,
    stats: &Arc<Stats>,
    control: &Arc<Control>,
) -> Result<Engine<PortLine>, RunError> {
    let usage = |error: &dyn std::fmt::Display| RunError::Usage(error.to_string());
    let macs = ports.macs();
    let keys = if args.derive_keys { KeyUse::Derived } else { KeyUse::Kept };
    let options = TrafficOptions {
        payload_len: args.payload,
        start_sequence: args.start_seq,
        impair: args.impair,
        seed,
        keys,
    };
    let verify =
        VerifyOptions { payload_len: args.payload, with_reports: args.rtcp, keys, every: args.verify_every };
    let traffic = Traffic::new(plan, &macs, options, Arc::clone(stats)).map_err(|error| usage(&error))?;
    let reports = match args.rtcp {
        false => None,
        true => Some(Reports::new(plan, &macs, &traffic, Arc::clone(stats)).map_err(|error| usage(&error))?),
    };
    Ok(Engine {
        lines,
        verifier: Verifier::new(plan, &macs, &traffic, verify, Arc::clone(stats)),
        neighbours: Neighbours::new(plan, &macs).map_err(|error| usage(&error))?,
        paths: paths(plan),
        options: EngineOptions {
            mode: mode(args, traffic.streams() as u64)?,
            prepare_ns: args.wait_link.saturating_mul(1_000 * NS_PER_MS),
            warm_up: !args.no_warm_up,
            drain_ns: args.drain.saturating_mul(NS_PER_MS),
        },
        traffic,
        reports,
        clock,
        stats: Arc::clone(stats),
        control: Arc::clone(control),
    })
}

/// What `--seconds`, `--packets`, `--rate`, `--ptime`, `--flood` and `--rtcp` mean for that many streams.
fn mode(args: &RunArgs, streams: u64) -> Result<Mode, RunError> {
    let total = args.packets.map(|packets| packets.saturating_mul(streams));
    let limit_ns = (args.seconds.unwrap_or(DEFAULT_SECONDS) * NS_PER_SECOND) as u64;
    let in_flight = match args.in_flight {
        None if args.flood && args.rate.is_none() => DEFAULT_FLOOD_IN_FLIGHT,
        None | Some(0) => u64::MAX,
        Some(limit) => limit,
    };
    if args.flood {
        return Ok(Mode::Flood(FloodOptions {
            chunk: args.chunk as usize,
            in_flight,
            settle: args.settle,
            // A measurement would rather wait for a machine that others hold up than count a loss.
            stall_ns: if args.step || args.mirror { PATIENT_STALL_NS } else { STALL_NS },
            step: match total {
                Some(packets) => Step { limit_ns: u64::MAX, packets, rate: args.rate },
                None => Step::lasting(limit_ns, args.rate),
            },
            is_stepped: args.step,
            is_mirrored: args.mirror,
        }));
    }
    let usage = |error: super::pace::PaceError| RunError::Usage(error.to_string());
    let all = total.unwrap_or(u64::MAX);
    let media = match args.rate {
        Some(rate) => Pacer::per_second(rate, all),
        None => Pacer::per_period(streams, args.ptime.unwrap_or(DEFAULT_PTIME_MS) * NS_PER_MS, all),
    };
    let media = media.map_err(usage)?;
    let media = if total.is_some() { media } else { media.lasting(limit_ns) };
    let reports = match args.rtcp {
        false => None,
        true => {
            let lasts_ns = media.due_at(media.total()).max(2);
            let interval_ns = REPORT_INTERVAL_NS.min(lasts_ns / 2);
            Some(Pacer::per_period(streams, interval_ns, u64::MAX).map_err(usage)?.lasting(lasts_ns))
        }
    };
    let limit_ns = if total.is_some() { u64::MAX } else { limit_ns };
    Ok(Mode::Paced(PacedOptions { media, reports, limit_ns, in_flight }))
}

/// Shows progress until the engine has ended; ends it on a signal or when a link goes down.
fn watch<T: Send + 'static>(
    args: &RunArgs,
    ports: &Ports,
    stats: &Stats,
    control: &Arc<Control>,
    signalled: &AtomicBool,
    handle: &LcoreHandle<T>,
) -> Result<(), RunError> {
    let mut ticker = Ticker::new(if args.step { Progress::None } else { args.progress });
    if args.step {
        read_steps(Arc::clone(control));
    }
    let mut next = Instant::now() + Duration::from_secs(1);
    while !handle.is_finished() {
        std::thread::sleep(WATCH);
        if signalled.load(Ordering::Relaxed) {
            control.stop();
        }
        if let Some(port) = ports.link_down() {
            control.abort();
            return Err(RunError::LinkDown(port.to_owned()));
        }
        answer_steps(control);
        if Instant::now() >= next {
            next += Duration::from_secs(1);
            if let Some(line) = ticker.line(stats) {
                emit(line.as_bytes(), is_for_stdout(args));
            }
        }
    }
    answer_steps(control);
    Ok(())
}

/// Orders the steps that standard input says, until it ends. The thread ends with the process.
fn read_steps(control: Arc<Control>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match line.parse() {
                Ok(step) => control.steps.order(step),
                Err(error) => emit(format!("voxload: {error}").as_bytes(), false),
            }
        }
        control.steps.close();
    });
}

/// Says what came of steps.
fn answer_steps(control: &Control) {
    while let Some(answer) = control.steps.take_answer() {
        if let Ok(line) = serde_json::to_vec(&answer) {
            emit(&line, true);
        }
    }
}

/// Writes the result to where it is wanted.
fn show(args: &RunArgs, report: &Report) -> Result<(), RunError> {
    let is_json_on_stdout = args.json.as_deref() == Some(Path::new("-"));
    let wants_stdout = !is_json_on_stdout && args.progress != Progress::Json && !args.step;
    emit(report.to_string().as_bytes(), wants_stdout);
    let Some(path) = &args.json else { return Ok(()) };
    let failed = |error| RunError::Output { name: path.display().to_string(), error };
    let mut json = serde_json::to_vec(report).map_err(|error| failed(error.into()))?;
    json.push(b'\n');
    if is_json_on_stdout {
        std::io::stdout().lock().write_all(&json).map_err(failed)
    } else {
        std::fs::write(path, json).map_err(failed)
    }
}

/// Whether progress goes to standard output: rows for people give way to a JSON result there.
fn is_for_stdout(args: &RunArgs) -> bool {
    args.progress == Progress::Json || args.json.as_deref() != Some(Path::new("-"))
}

/// Writes a line for people. That nobody reads it any more is no reason to end a run.
fn emit(line: &[u8], to_stdout: bool) {
    let line = [line, b"\n"].concat();
    let _ = if to_stdout {
        std::io::stdout().lock().write_all(&line)
    } else {
        std::io::stderr().lock().write_all(&line)
    };
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
