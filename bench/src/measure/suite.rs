//! The suite: what is measured, in which order, and with what effort. Each part is in a file of its own and names its
//! figures there.

mod beside;
mod coming;
mod function;
mod latency;
mod relay;

use std::collections::BTreeMap;

use clap::ValueEnum;
use voxlane::srtp::Suite;

use super::args::{Part, RunArgs};
use super::error::BenchError;
use super::figures::{Figure, Results, median};
use super::load::{Load, LoadOptions, Step};
use super::machine::{Machine, Versions, today};
use super::scene::{Gateway, PROVIDERS, Provider, Scene, SceneOptions};
use super::testpmd::{MacSwap, Sockets};

/// What the parts that vary something else use.
const USUAL_SESSIONS: usize = 1_000;
const USUAL_PAYLOAD: usize = 160;

/// From this many sessions on, the generator derives keys per packet and opens one packet in sixteen.
const MANY_SESSIONS: usize = 200_000;
const SAMPLE: u64 = 16;

/// How long and how often is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    repetitions: u32,
    /// On the clock.
    seconds: f64,
    trial_seconds: f64,
    soak_packets: u64,
}

/// One run of the suite.
struct Bench<'a> {
    args: &'a RunArgs,
    effort: Effort,
    worker: u16,
    generator: u16,
    mac_swap: MacSwap,
    runs: BTreeMap<String, (&'static str, Vec<f64>)>,
    skipped: BTreeMap<String, String>,
}

/// Measures what `args` ask for and writes the results. Returns the path of the file.
///
/// # Errors
/// [`BenchError`]; what was measured before is lost, because a run is one.
pub fn run(args: &RunArgs) -> Result<std::path::PathBuf, BenchError> {
    let effort = Effort {
        repetitions: args.repetitions.unwrap_or(if args.smoke { 1 } else { 5 }),
        seconds: args.seconds.unwrap_or(if args.smoke { 0.05 } else { 0.6 }),
        trial_seconds: if args.smoke { 0.05 } else { 2.0 },
        soak_packets: args.soak_packets.unwrap_or(if args.smoke { 100_000 } else { 100_000_000 }),
    };
    let allowed = voxlane::dpdk::allowed_cores();
    let worker = args.worker_core.or(allowed.last().copied()).unwrap_or(0);
    let generator = args.generator_core.or(allowed.first().copied()).unwrap_or(0);
    if worker == generator || ![worker, generator].iter().all(|core| allowed.contains(core)) {
        return Err(BenchError::Usage(format!(
            "the worker's core {worker} and the generator's {generator} must be two of {allowed:?}; \
             give --worker-core and --generator-core"
        )));
    }
    let scene = Scene::set(options(args, worker, generator, 1, PROVIDERS[0]))?;
    let sockets = Sockets { directory: &scene.directory, prefix: "macswap", ring: args.ring };
    let mut bench = Bench {
        args,
        effort,
        worker,
        generator,
        mac_swap: MacSwap::start(&sockets, worker, generator)?,
        runs: BTreeMap::new(),
        skipped: BTreeMap::new(),
    };
    for part in Part::value_variants() {
        if args.only.is_empty() || args.only.contains(part) {
            let start = std::time::Instant::now();
            bench.measure(*part)?;
            eprintln!("voxbench: {part:?} took {:.0} s", start.elapsed().as_secs_f64());
        }
    }
    let Bench { runs, skipped, .. } = bench;
    let figures = runs.into_iter().map(|(name, (unit, runs))| (name, Figure::of(unit, runs)));
    let words: Vec<String> = std::env::args().skip(1).collect();
    let results = Results {
        machine: Machine::here(worker, generator),
        versions: Versions::here(),
        date: today(),
        command: format!("voxbench {}", words.join(" ")),
        figures: figures.collect(),
        skipped,
    };
    results.write(&args.output, !(args.only.is_empty() && args.sessions.is_empty()))
}

fn options(args: &RunArgs, worker: u16, control: u16, sessions: usize, provider: Provider) -> SceneOptions {
    let suites = [Suite::AeadAes128Gcm; 2];
    SceneOptions { sessions, suites, workers: vec![worker], control, ring: args.ring, provider, coming: None }
}

impl Bench<'_> {
    fn measure(&mut self, part: Part) -> Result<(), BenchError> {
        match part {
            Part::WarmUp => self.warm_up(),
            Part::Generator => self.generator(),
            Part::Relay => self.relay(),
            Part::Payload => self.payloads(),
            Part::Suites => self.suites(),
            Part::Workers => self.workers(),
            Part::Ndr => self.ndr(),
            Part::Framepool => self.framepool(),
            Part::Churn => self.churn(),
            Part::Soak => self.soak(),
        }
    }

    /// Adds a run to a figure.
    fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.runs.entry(name.into()).or_insert((unit, Vec::new())).1.push(value);
    }

    /// States that something is not measured.
    fn skip(&mut self, name: impl Into<String>, why: impl Into<String>) {
        let (name, why) = (name.into(), why.into());
        eprintln!("voxbench: {name} is not measured: {why}");
        self.skipped.insert(name, why);
    }

    fn median_of(&self, name: &str) -> f64 {
        self.runs.get(name).map_or(0.0, |(_, runs)| median(runs))
    }

    fn scene(&self, sessions: usize, provider: Provider) -> Result<Scene, BenchError> {
        Scene::set(options(self.args, self.worker, self.generator, sessions, provider))
    }

    /// The generator as it usually is, for `scene` with that many sessions.
    fn load<'s>(&self, scene: &'s Scene, config: &'s std::path::Path, sessions: usize) -> LoadOptions<'s> {
        let is_large = sessions >= MANY_SESSIONS;
        let streams = 2 * sessions as u64;
        LoadOptions {
            config,
            ports: scene.generator_ports(),
            core: self.generator,
            payload: USUAL_PAYLOAD,
            chunk: self.args.chunk,
            in_flight: self.args.in_flight,
            // Each stream once: its first packet pins an SSRC. And enough to warm what there is to warm.
            settle: if self.args.smoke { streams } else { streams.max(200_000) },
            verify_every: if is_large { SAMPLE } else { 1 },
            derive_keys: is_large,
            is_mirrored: false,
            queues: 1,
        }
    }
}

/// As fast as the gateway goes. If that is no measurement, the gateway's own drop reasons are part of the error.
fn flood(gateway: &Gateway<'_>, load: &mut Load, what: &str, seconds: f64) -> Result<Step, BenchError> {
    load.flood(what, seconds).map_err(|error| match error {
        BenchError::Invalid { what, problem } => {
            let drops = gateway.page().by_label("voxlane_dropped_packets_total", "reason");
            let drops = drops.into_iter().filter(|(_, count)| *count > 0.0);
            let drops: Vec<String> = drops.map(|(reason, count)| format!("{reason} {count:.0}")).collect();
            BenchError::invalid(what, format!("{problem}; the gateway's drops: [{}]", drops.join(", ")))
        }
        other => other,
    })
}

/// The share of its time in which the generator waited for the other end: near 0, it is the generator that is slow.
fn waiting_share(step: &Step) -> f64 {
    step.waiting_seconds / step.seconds
}
