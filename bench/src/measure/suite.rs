//! The suite: what is measured, in which order, and what the figures are called.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use voxlane::srtp::Suite;

use super::args::{Part, RunArgs};
use super::churn::{self, Churn};
use super::error::BenchError;
use super::figures::{Figure, Results, count_name, median};
use super::framepool::FramePoolReport;
use super::load::{Latency, Load, LoadOptions, Step};
use super::machine::{Machine, Versions, free_hugepages_mib, meminfo_kib, today};
use super::metrics::{Page, memory_of};
use super::process::Process;
use super::raw::{HUGEPAGE_MALLOC, RawReport};
use super::scene::{Gateway, PROVIDERS, Provider, Scene, SceneOptions, gateway_mib};
use super::search::highest_rate;
use super::testpmd::{MacSwap, Sockets, Testpmd};

/// What the parts that vary something else use.
const USUAL_SESSIONS: usize = 1_000;
const USUAL_PAYLOAD: usize = 160;

const SESSIONS: [usize; 5] = [1, 1_000, 20_000, 100_000, 1_000_000];
const PAYLOADS: [usize; 5] = [20, 60, 160, 320, 960];
const WORKERS: [usize; 3] = [1, 2, 4];

/// The session count whose cost by stage is shown, if it is measured.
const STAGES_AT: usize = 100_000;

/// Ethernet, IPv4, UDP, RTP and tag around a payload.
const OVERHEAD: usize = 14 + 20 + 8 + 12 + 16;

/// From this many sessions on, the generator derives keys per packet and opens one packet in sixteen.
const MANY_SESSIONS: usize = 200_000;
const SAMPLE: u64 = 16;

/// Memory of the generator and of each testpmd in hugepages, in MiB.
const OTHERS_MIB: u64 = 384 + 2 * 256 + 64;

/// Packets sealed at a time for a search: a queue that fills must not fit into the rings.
const SEARCH_CHUNK: u32 = 1 << 20;

/// Packets per second that come one by one.
const STEADY_RATE: u64 = 20_000;

/// A rate that the search holds for the highest, within this share.
const RESOLUTION: f64 = 0.01;

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

    /// The crypto alone, set up and waiting.
    fn raw(&self, provider: &str, sessions: usize, payload: usize) -> Result<Process, BenchError> {
        let this = std::env::current_exe().map_err(BenchError::io("finding the benchmark's own binary"))?;
        let mut command = Command::new(this);
        let (name, value) = HUGEPAGE_MALLOC;
        command.env(name, value).args(["crypto", "--provider", provider]);
        command.args(["--sessions", &sessions.to_string(), "--payload", &payload.to_string()]);
        command.args(["--core", &self.worker.to_string()]);
        Process::spawn("the crypto alone", command)
    }

    /// Relay and limit in turns; names end in `key`, such as `relay.{key}.ns_per_packet`.
    #[expect(clippy::too_many_arguments, reason = "called twice; a struct would only repeat the names")]
    fn compare(
        &mut self,
        provider: Provider,
        key: &str,
        payload: usize,
        gateway: &mut Gateway<'_>,
        load: &mut Load,
        sessions: usize,
        has_main_stages: bool,
    ) -> Result<(), BenchError> {
        let prefix = provider.prefix;
        let mut raw = self.raw(provider.name, sessions, payload)?;
        for _ in 0..self.effort.repetitions {
            gateway.resume();
            // The stage in which it was stopped is charged with that time, so look only while it runs.
            let before = gateway.page();
            let relay = flood(gateway, load, &format!("relay.{key}"), self.effort.seconds)?;
            let after = gateway.page();
            gateway.pause();
            self.stages(provider, has_main_stages, key, &before, &after);
            let mac_swap = self.mac_swap.measure(payload + OVERHEAD, self.effort.seconds / 2.0)?;
            let crypto = ask_raw(&mut raw, self.effort.seconds / 2.0)?;
            let limit = mac_swap + crypto.ns_per_packet;
            self.add(format!("{prefix}relay.{key}.ns_per_packet"), "ns", relay.ns_per_packet);
            self.add(format!("{prefix}relay.{key}.generator_waits"), "share", waiting_share(&relay));
            self.add(format!("{prefix}limit.{key}.ns_per_packet"), "ns", limit);
            self.add(format!("{prefix}limit.{key}.macswap_ns_per_packet"), "ns", mac_swap);
            self.add(format!("{prefix}limit.{key}.crypto_ns_per_packet"), "ns", crypto.ns_per_packet);
            self.add(format!("{prefix}limit.{key}.hugepage_share"), "share", crypto.hugepage_share);
            self.add(format!("{prefix}relay.{key}.over_limit"), "ratio", relay.ns_per_packet / limit);
        }
        gateway.resume();
        Ok(())
    }

    /// The latency of the very first packet of a gateway that has just started, on each port, against the steady p99 of
    /// the same run, both as the gateway itself measures them. Packets come one by one: bursts would hide the first.
    fn warm_up(&mut self) -> Result<(), BenchError> {
        let starts = if self.args.smoke { 1 } else { self.effort.repetitions.max(5) };
        for _ in 0..starts {
            let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
            let config = scene.config();
            let gateway = Gateway::start(&scene)?;
            // One packet, so that nothing is sent in a burst before the rate is kept.
            let mut load =
                Load::start(&LoadOptions { settle: 1, ..self.load(&scene, &config, USUAL_SESSIONS) })?;
            load.step(self.effort.trial_seconds, Some(STEADY_RATE))?;
            let page = gateway.page();
            let first = page.by_label("voxlane_first_packet_latency_seconds", "port");
            let percentile =
                |label| page.max_where("voxlane_latency_percentile_seconds", "percentile", label);
            let (steady, usual) = (percentile("99"), percentile("50"));
            load.finish("warmup", false)?;
            gateway.stop()?;
            let (Some(steady), false) = (steady.filter(|steady| *steady > 0.0), first.is_empty()) else {
                self.skip(
                    "warmup.first_packet_ratio",
                    "the gateway does not say how long its first packet took",
                );
                return Ok(());
            };
            let slowest = first.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
            self.add("warmup.first_packet_ns", "ns", slowest * 1e9);
            self.add("warmup.steady_p50_ns", "ns", usual.unwrap_or(0.0) * 1e9);
            self.add("warmup.steady_p99_ns", "ns", steady * 1e9);
            self.add("warmup.first_packet_ratio", "ratio", slowest / steady);
        }
        Ok(())
    }

    fn generator(&mut self) -> Result<(), BenchError> {
        let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
        // The mirror takes the gateway's place at its sockets: a0 and b0 are what the configuration calls a and b.
        let sockets = Sockets { directory: &scene.directory, prefix: "mirror", ring: self.args.ring };
        let _mirror = Testpmd::mirror(&sockets, self.worker, self.generator)?;
        let config = scene.config();
        let mut options = self.load(&scene, &config, USUAL_SESSIONS);
        options.is_mirrored = true;
        for (number, port) in options.ports.iter_mut().enumerate() {
            let (from, to) = (["/a.sock", "/b.sock"][number], format!("/mirror{number}.sock"));
            *port = port.replace(from, &to);
        }
        let mut load = Load::start(&options)?;
        for _ in 0..self.effort.repetitions {
            let step = load.flood("generator", self.effort.seconds)?;
            self.add("generator.ns_per_packet", "ns", step.ns_per_packet);
            self.add("generator.waits", "share", waiting_share(&step));
            self.add("generator.mpps", "Mpps", 1e3 / step.ns_per_packet);
        }
        load.finish("generator", true)?;
        Ok(())
    }

    fn relay(&mut self) -> Result<(), BenchError> {
        let smoke = [1, USUAL_SESSIONS];
        let sessions: Vec<usize> = match (self.args.sessions.is_empty(), self.args.smoke) {
            (false, _) => self.args.sessions.clone(),
            (true, true) => smoke.to_vec(),
            (true, false) => SESSIONS.to_vec(),
        };
        let stages_at =
            if sessions.contains(&STAGES_AT) { Some(STAGES_AT) } else { sessions.last().copied() };
        let mut base = None;
        for count in sessions {
            for &provider in PROVIDERS {
                let key = count_name(count);
                if let Some(why) = self.lacks_memory(count) {
                    self.skip(format!("{}relay.{key}", provider.prefix), why);
                    continue;
                }
                let scene = self.scene(count, provider)?;
                let config = scene.config();
                let mut gateway = Gateway::start(&scene)?;
                let mut load = Load::start(&self.load(&scene, &config, count))?;
                // The first step waits for the set-up and settles every stream.
                flood(&gateway, &mut load, &key, 0.01)?;
                let is_main = Some(count) == stages_at;
                self.compare(provider, &key, USUAL_PAYLOAD, &mut gateway, &mut load, count, is_main)?;
                let (heap, _) = memory_of(gateway.id());
                match base {
                    None => base = Some(heap),
                    // A small difference says nothing about one session.
                    Some(base) if count >= USUAL_SESSIONS => {
                        let name = format!("{}memory.{key}.bytes_per_session", provider.prefix);
                        let huge = gateway.page().sum("voxlane_session_memory_bytes").unwrap_or(0.0);
                        let bytes = (heap.saturating_sub(base) as f64 + huge) / count as f64;
                        self.add(name, "bytes", bytes);
                    }
                    Some(_) => {}
                }
                load.finish(&key, true)?;
                gateway.stop()?;
            }
        }
        let largest = ["1m", "100k", "20k", "1k"].into_iter().find_map(|key| {
            let (_, runs) = self.runs.get(&format!("memory.{key}.bytes_per_session"))?;
            Some(median(runs))
        });
        if let Some(bytes) = largest {
            self.add("memory.bytes_per_session", "bytes", bytes);
        }
        for ns in self.runs.get("relay.100k.ns_per_packet").map(|(_, runs)| runs.clone()).unwrap_or_default()
        {
            self.add("relay.100k.mpps_per_core", "Mpps", 1e3 / ns);
        }
        Ok(())
    }

    /// Cost by stage, from the gateway's own cycle counters.
    fn stages(&mut self, provider: Provider, is_main: bool, key: &str, before: &Page, after: &Page) {
        let family = "voxlane_stage_cycles_total";
        let packets = |page: &Page| page.sum("voxlane_tx_packets_total").unwrap_or(0.0);
        let (packets, mhz) = (packets(after) - packets(before), self.mac_swap.mhz.unwrap_or(0.0));
        let earlier: BTreeMap<_, _> = before.by_label(family, "stage").into_iter().collect();
        if packets <= 0.0 || mhz <= 0.0 || earlier.is_empty() {
            if is_main {
                self.skip("stage", format!("the gateway has no {family}"));
            }
            return;
        }
        // Idle is what passes while the generator seals.
        let stages = after.by_label(family, "stage").into_iter().filter(|(stage, _)| stage != "idle");
        for (stage, cycles) in stages {
            let gained = cycles - earlier.get(&stage).copied().unwrap_or(0.0);
            let ns = gained / mhz * 1e3 / packets;
            let prefix = provider.prefix;
            self.add(format!("{prefix}stage.{key}.{stage}.ns_per_packet"), "ns", ns);
            if is_main {
                self.add(format!("{prefix}stage.{stage}.ns_per_packet"), "ns", ns);
            }
        }
    }

    /// Why so many sessions do not fit, if they do not.
    fn lacks_memory(&self, sessions: usize) -> Option<String> {
        // Gateway, generator; and the keys of the crypto alone, of at most 1,008 bytes each.
        let huge = gateway_mib(sessions) + OTHERS_MIB + ((sessions * 4 * 1_008) >> 20) as u64;
        let free = free_hugepages_mib();
        if free < huge {
            return Some(format!("{huge} MiB of hugepages are needed and {free} MiB are free"));
        }
        let ordinary = 512 + ((sessions * 8_192) >> 20) as u64;
        let free = meminfo_kib("MemAvailable") >> 10;
        (free < ordinary).then(|| format!("{ordinary} MiB of memory are needed and {free} MiB are free"))
    }

    fn payloads(&mut self) -> Result<(), BenchError> {
        let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
        let config = scene.config();
        let payloads = if self.args.smoke { &PAYLOADS[..1] } else { &PAYLOADS[..] };
        for &payload in payloads {
            // A gateway each: it goes on where a stream was, and each generator has SSRCs of its own.
            let mut gateway = Gateway::start(&scene)?;
            let options = LoadOptions { payload, ..self.load(&scene, &config, USUAL_SESSIONS) };
            let mut load = Load::start(&options)?;
            flood(&gateway, &mut load, "payload", 0.01)?;
            let key = format!("payload.{payload}");
            self.compare(PROVIDERS[0], &key, payload, &mut gateway, &mut load, USUAL_SESSIONS, false)?;
            load.finish(&key, true)?;
            gateway.stop()?;
        }
        Ok(())
    }

    fn suites(&mut self) -> Result<(), BenchError> {
        let all: Vec<[Suite; 2]> =
            Suite::ALL.into_iter().flat_map(|a| Suite::ALL.into_iter().map(move |b| [a, b])).collect();
        let pairs = if self.args.smoke { &all[..1] } else { &all[..] };
        for &[a, b] in pairs {
            let options = options(self.args, self.worker, self.generator, USUAL_SESSIONS, PROVIDERS[0]);
            let scene = Scene::set(SceneOptions { suites: [a, b], ..options })?;
            let config = scene.config();
            let gateway = Gateway::start(&scene)?;
            let mut load = Load::start(&self.load(&scene, &config, USUAL_SESSIONS))?;
            let name = format!("suites.{a}.{b}.ns_per_packet");
            for _ in 0..self.effort.repetitions {
                let step = flood(&gateway, &mut load, &name, self.effort.seconds / 4.0)?;
                self.add(name.clone(), "ns", step.ns_per_packet);
            }
            load.finish(&name, true)?;
            gateway.stop()?;
        }
        Ok(())
    }

    /// For function: on two cores, more workers only get in each other's way.
    fn workers(&mut self) -> Result<(), BenchError> {
        let cores: BTreeSet<u16> = voxlane::dpdk::allowed_cores().into_iter().collect();
        for count in WORKERS {
            let mut workers = vec![self.worker];
            workers.extend(cores.iter().copied().filter(|core| *core != self.worker));
            if workers.len() < count {
                self.skip(
                    format!("workers.{count}.lost"),
                    format!("{count} workers need as many cores, and there are {}", workers.len()),
                );
                continue;
            }
            // A worker sends through the queue pair of its own, so the other end must have as many.
            if count > 1 && !Load::has_queues() {
                self.skip(format!("workers.{count}.lost"), "this voxload has no --queues");
                continue;
            }
            workers.truncate(count);
            let options = options(self.args, self.worker, self.generator, USUAL_SESSIONS, PROVIDERS[0]);
            let scene = Scene::set(SceneOptions { workers, ..options })?;
            let config = scene.config();
            let gateway = Gateway::start(&scene)?;
            let mut options = self.load(&scene, &config, USUAL_SESSIONS);
            // Only what is sent once both ends are up is counted, as in the other parts.
            options.queues = count;
            let mut load = Load::start(&options)?;
            let name = format!("workers.{count}.lost");
            let step = flood(&gateway, &mut load, &name, self.effort.seconds / 4.0)?;
            self.add(name.clone(), "packets", step.lost as f64);
            self.add(format!("workers.{count}.sent"), "packets", step.sent as f64);
            load.finish(&name, true)?;
            gateway.stop()?;
        }
        Ok(())
    }

    /// Sixteen threads on all cores that this process may use.
    fn framepool(&mut self) -> Result<(), BenchError> {
        const THREADS: &str = "16";
        let this = std::env::current_exe().map_err(BenchError::io("finding the benchmark's own binary"))?;
        let mut command = Command::new(this);
        command.args(["framepool", "--threads", THREADS]);
        let mut process = Process::spawn("the pools of frames", command)?;
        // The first round takes the pages and fills the caches.
        for round in 0..=self.effort.repetitions {
            process.tell(&(3.0 * self.effort.seconds).to_string())?;
            let report: FramePoolReport =
                process.ask("what it measured", Duration::from_secs(600), |line| {
                    serde_json::from_str(line).ok()
                })?;
            if round == 0 {
                continue;
            }
            let FramePoolReport { own_per_second, shared_per_second, heap_per_second } = report;
            let prefix = format!("framepool.{THREADS}_threads");
            self.add(format!("{prefix}.speedup"), "ratio", own_per_second / shared_per_second);
            self.add(format!("{prefix}.speedup_over_heap"), "ratio", own_per_second / heap_per_second);
            for (name, rate) in
                [("own", own_per_second), ("shared", shared_per_second), ("heap", heap_per_second)]
            {
                self.add(format!("{prefix}.{name}_per_second"), "frames/s", rate);
            }
        }
        Ok(())
    }

    fn ndr(&mut self) -> Result<(), BenchError> {
        let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
        let config = scene.config();
        let gateway = Gateway::start(&scene)?;
        let chunk = if self.args.smoke { self.args.chunk } else { SEARCH_CHUNK };
        let mut load = Load::start(&LoadOptions { chunk, ..self.load(&scene, &config, USUAL_SESSIONS) })?;
        let free = flood(&gateway, &mut load, "ndr", self.effort.seconds)?;
        // No rate above the closed loop's is without loss; a tenth more is room for a machine that is shared.
        let ceiling = (1.1e9 / free.ns_per_packet) as u64;
        let (trial_seconds, repetitions) = (self.effort.trial_seconds, self.effort.repetitions);
        let mut trial = |rate: u64, seconds: f64| load.step(seconds, Some(rate)).map(|step| step.lost == 0);
        let coarse = highest_rate(0, ceiling, 4.0 * RESOLUTION, |rate| trial(rate, trial_seconds))?;
        let mut found = Vec::new();
        for _ in 0..repetitions {
            let (low, high) = ((coarse as f64 * 0.9) as u64, (coarse as f64 * 1.1) as u64);
            // What passed once need not pass again: the search starts from a rate that just did.
            let low = if trial(low, trial_seconds / 2.0)? { low } else { 0 };
            found.push(highest_rate(low, high, RESOLUTION, |rate| trial(rate, trial_seconds / 2.0))?);
        }
        for rate in found {
            self.add("ndr.mpps", "Mpps", rate as f64 / 1e6);
        }
        let rate = self.median_of("ndr.mpps") * 1e6;
        for percent in [10_u8, 50, 90] {
            for _ in 0..repetitions {
                let rate = (rate * f64::from(percent) / 100.0) as u64;
                let step = load.step(trial_seconds / 2.0, Some(rate.max(1)))?;
                let key = format!("latency.ndr{percent}");
                self.add(format!("{key}.lost"), "packets", step.lost as f64);
                if let Some(Latency { p50, p99, p999, max }) = step.latency_ns {
                    for (name, ns) in [("p50", p50), ("p99", p99), ("p999", p999), ("max", max)] {
                        self.add(format!("{key}.{name}_ns"), "ns", ns as f64);
                    }
                }
            }
        }
        load.finish("ndr", false)?;
        gateway.stop()?;
        Ok(())
    }

    /// Sessions that come and go beside full traffic, and as many as can without any.
    fn churn(&mut self) -> Result<(), BenchError> {
        let options = options(self.args, self.worker, self.generator, USUAL_SESSIONS, PROVIDERS[0]);
        let scene = Scene::set(SceneOptions { coming: Some(churn::COMING), ..options })?;
        let config = scene.config();
        let mut gateway = Gateway::start(&scene)?;
        let mut load =
            Load::start(&LoadOptions { verify_every: SAMPLE, ..self.load(&scene, &config, USUAL_SESSIONS) })?;
        flood(&gateway, &mut load, "churn", 0.01)?;
        let seconds = self.effort.seconds;
        // Each place was used before, and every key that there is was seen: what follows is the steady state.
        churn::window(&mut gateway, None, Churn::Most, seconds)?;
        for _ in 0..self.effort.repetitions {
            let (still, step) = churn::window(&mut gateway, Some(&mut load), Churn::Still, seconds)?;
            let still_ns = step.map(|step| step.ns_per_packet);
            let (paced, step) = churn::window(&mut gateway, Some(&mut load), Churn::Paced, seconds)?;
            self.add("churn.sessions_per_s", "1/s", churn::per_second(&paced));
            let parts = [
                ("add", paced.add_ns, paced.added),
                ("remove", paced.remove_ns, paced.removed),
                ("poll", paced.poll_ns, paced.added),
            ];
            for (name, ns, of) in parts.into_iter().filter(|(_, _, of)| *of > 0) {
                self.add(format!("churn.{name}_ns"), "ns", ns as f64 / of as f64);
            }
            self.add("churn.control_busy", "share", paced.busy_seconds / paced.seconds);
            self.add("churn.longest_control_round_ns", "ns", paced.longest_poll_ns as f64);
            let compared = [
                ("relay_p99", still.relay_p99_ns, paced.relay_p99_ns),
                ("pollgap", still.poll_gap_max_ns, paced.poll_gap_max_ns),
                ("pollgap_p9999", still.poll_gap_p9999_ns, paced.poll_gap_p9999_ns),
                ("flood", still_ns, step.map(|step| step.ns_per_packet)),
            ];
            for (name, without, with) in compared {
                if let (Some(without), Some(with)) = (without, with) {
                    self.add(format!("churn.{name}_without_ns"), "ns", without);
                    self.add(format!("churn.{name}_ns"), "ns", with);
                    self.add(format!("churn.{name}_ratio"), "ratio", with / without);
                }
            }
            if let Some(share) = churn::reuse(paced.sessions) {
                self.add("pool.sessions.reuse_rate", "share", share);
            }
            // Once without looking: each of these sessions was there before.
            churn::window(&mut gateway, None, Churn::Returning, seconds.max(0.2))?;
            let (returning, _) = churn::window(&mut gateway, Some(&mut load), Churn::Returning, seconds)?;
            self.add("churn.returning.sessions_per_s", "1/s", churn::per_second(&returning));
            if let Some(share) = churn::reuse(returning.codecs) {
                self.add("pool.codecs.ready_rate", "share", share);
            }
            let (most, _) = churn::window(&mut gateway, Some(&mut load), Churn::Most, seconds)?;
            self.add("churn.most.sessions_per_s", "1/s", churn::per_second(&most));
            let (alone, _) = churn::window(&mut gateway, None, Churn::Most, seconds)?;
            self.add("churn.alone.sessions_per_s", "1/s", churn::per_second(&alone));
        }
        load.finish("churn", true)?;
        gateway.stop()?;
        Ok(())
    }

    fn soak(&mut self) -> Result<(), BenchError> {
        let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
        let config = scene.config();
        let gateway = Gateway::start(&scene)?;
        let mut load =
            Load::start(&LoadOptions { verify_every: SAMPLE, ..self.load(&scene, &config, USUAL_SESSIONS) })?;
        flood(&gateway, &mut load, "soak", 0.01)?;
        let is_locked = gateway.page().max("voxlane_worker_lockdown") == Some(1.0);
        let trace = if is_locked { None } else { Trace::attach(gateway.id(), &scene)? };
        let (mut sent, mut allocations) = (0, None);
        while sent < self.effort.soak_packets {
            sent += flood(&gateway, &mut load, "soak", self.effort.seconds.max(0.05))?.sent;
            allocations = gateway.page().sum("voxlane_worker_heap_allocations_total");
        }
        let page = gateway.page();
        self.add("soak.packets", "packets", sent as f64);
        match allocations {
            Some(count) => self.add("worker.allocations", "calls", count),
            None => {
                self.skip("worker.allocations", "the gateway has no voxlane_worker_heap_allocations_total")
            }
        }
        match (is_locked, trace) {
            // One system call would have ended the process.
            (true, _) => self.add("worker.syscalls", "calls", 0.0),
            (false, Some(trace)) => self.add("worker.syscalls", "calls", trace.finish()?),
            (false, None) => {
                self.skip("worker.syscalls", "strace is not installed, and the gateway has no lockdown")
            }
        }
        match page.max("voxlane_poll_gap_max_seconds") {
            Some(seconds) => self.add("pollgap.max_ns", "ns", seconds * 1e9),
            None => self.skip("pollgap.max_ns", "the gateway has no voxlane_poll_gap_max_seconds"),
        }
        load.finish("soak", true)?;
        gateway.stop()?;
        Ok(())
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

fn ask_raw(raw: &mut Process, seconds: f64) -> Result<RawReport, BenchError> {
    raw.tell(&seconds.to_string())?;
    raw.ask("what it measured", Duration::from_secs(600), |line| serde_json::from_str(line).ok())
}

/// strace on a gateway's workers, counting.
struct Trace {
    process: Process,
    output: std::path::PathBuf,
}

impl Trace {
    /// Attaches to every worker; `None` if there is no strace.
    fn attach(gateway: u32, scene: &Scene) -> Result<Option<Self>, BenchError> {
        let is_there = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
        let tasks = std::fs::read_dir(format!("/proc/{gateway}/task"));
        let tasks = tasks.map_err(BenchError::io("listing the gateway's threads"))?;
        let workers: Vec<String> = tasks
            .flatten()
            .filter(|task| {
                let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                name.starts_with("lcore-worker") || name.starts_with("rte-worker")
            })
            .map(|task| task.file_name().to_string_lossy().into_owned())
            .collect();
        if !is_there || workers.is_empty() {
            return Ok(None);
        }
        let output = scene.directory.join("strace.txt");
        let mut command = Command::new("strace");
        command.arg("-o").arg(&output).args(["-p", &workers.join(",")]);
        let mut process = Process::spawn("strace", command)?;
        process.ask("that it is attached", Duration::from_secs(10), |line| {
            line.contains("attached").then_some(())
        })?;
        Ok(Some(Trace { process, output }))
    }

    /// Detaches, and returns how many system calls the workers made.
    fn finish(mut self) -> Result<f64, BenchError> {
        self.process.terminate();
        self.process.wait(Duration::from_secs(10))?;
        let text =
            std::fs::read_to_string(&self.output).map_err(BenchError::io("reading what strace wrote"))?;
        // One line per call; strace's own words about the thread are none.
        let calls = text.lines().filter(|line| line.contains('(') && !line.contains("---"));
        Ok(calls.count() as f64)
    }
}
