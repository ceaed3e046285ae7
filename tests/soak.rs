//! Everything at once, for minutes: calls that talk, sessions that come and go by the thousand, taps that begin and end,
//! bad packets, and faults. Nothing may grow, nothing may leak, and every frame has one fate.
//!
//! ```text
//! this process: voxload ◄─ memif ─► the gateway, in a copy of this process: churn thread ─► GatewayHandle
//!               faults ─ file ─►    its memory is watched each second (soak/watch.rs)
//! ```
//!
//! `make soak` runs it for 20 minutes, `scripts/test.sh soak` for 2; `VOXLANE_SOAK_MINUTES` says otherwise. On a machine
//! whose worker core belongs to the worker alone, `VOXLANE_SOAK_QUIET=1` makes a poll gap beyond the benchmark's a failure.
//!
//! Needs a gateway that can go wrong: `cargo test --release --features fault-injection --test soak`.

#[path = "soak/churn.rs"]
mod churn;
mod harness;
#[path = "soak/watch.rs"]
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use churn::{Churn, Counts, VISITOR};
use harness::config_text::LegKeys;
use harness::testpmd::memif_server;
use harness::voxload::{Verdict, Voxload};
use harness::{
    ConfigText, LegText, Machine, PortText, Process, Scrape, SessionText, Stopped, process, scrape,
    wait_until,
};
use voxlane::control::config::Config;
use voxlane::control::{End, Gateway};
use voxlane::fastpath::faults::Point;
use voxlane::srtp::{AesGcmProvider, IpsecMbProvider, Provider, Suite};
use watch::{Sample, Watch, worker_thread};

/// Counts what the worker takes from the heap; without it the counts would be zero whatever happens.
#[global_allocator]
static HEAP: voxlane::dpdk::CountingAllocator = voxlane::dpdk::CountingAllocator;

const LIMIT: Duration = Duration::from_secs(60);
/// Sessions that are there all the time.
const STAYING: u16 = 100;
/// Sessions that talk all the time, and go and come back.
const VISITORS: u16 = 20;
/// The sessions that are tapped all the time.
const TAPPED: [usize; 2] = [0, 1];
/// Places for sessions: more than there are at a time.
const CAPACITY: u32 = 16_384;
/// Of all packets: copies that are bad, beside the valid ones.
const IMPAIRMENTS: &str = "corrupt=1%,replay=1%,truncate=1%,badssrc=1%,badpt=1%,reorder=1%,drop=1%";
const COPIES: [&str; 5] = ["corrupt", "replay", "truncate", "badssrc", "badpt"];
/// From one fault to the next.
const FAULT_TURN: Duration = Duration::from_secs(4);
/// In turn. The first one fills the pool of buffers, so that its high-water mark says nothing new later.
const FAULTS: [&str; 6] =
    ["starve 150", "refuse 0 200", "tsc -3600", "clock 3600", "tsc 7200", "clock -7200"];
/// What names the part of the copy of this process.
const CONFIG: &str = "VOXLANE_SOAK_CONFIG";
const REPORT: &str = "VOXLANE_SOAK_REPORT";

#[test]
fn nothing_grows_leaks_or_stalls_while_everything_happens_at_once() {
    let (length, gap_bound) = (length(), gap_bound());
    let machine = Machine::take();
    let sockets: [PathBuf; 2] = ["a", "b"].map(|port| machine.path(&format!("soak-{port}.sock")));
    let (config, text) = config(&machine, &sockets.each_ref().map(PathBuf::as_path), length);
    let path = machine.path(&format!("{}.toml", config.name));
    fs::write(&path, text).expect("the test's directory is writable");
    let mut gateway = Hosted::start(&machine, &path);
    let seconds = (length + 2 * LIMIT).as_secs().to_string();
    let arguments =
        ["--ptime", "20", "--seconds", &seconds, "--drain", "3000", "--impair", IMPAIRMENTS, "--rtcp"];
    let ports = [("a", sockets[0].as_path()), ("b", sockets[1].as_path())];
    let mut load = Voxload::start_for(&machine, &path, &ports, &arguments);
    wait_until("voxload to talk", LIMIT, || {
        (gateway.page().sum("voxlane_tx_packets_total", &[]) > 10_000).then_some(())
    });

    let samples = gateway.soak(length, gap_bound, &mut load);
    gateway.process.write_line("end");
    let churned = gateway.process.line("the churn's account", LIMIT, |line| {
        serde_json::from_str::<Counts>(line.strip_prefix("churned ")?).ok()
    });
    let page = wait_until("the places of all sessions that came to be free", LIMIT, || {
        let page = gateway.page();
        let in_use = page.sum("voxlane_pool_in_use", &[("pool", "sessions")]);
        (in_use == u64::from(STAYING)).then_some(page)
    });
    let verdict = load.interrupt(LIMIT);
    wait_until("all queues to be quiet", LIMIT, || {
        let page = gateway.page();
        ["a", "b"].iter().all(|port| page.unaccounted(port) == 0).then_some(())
    });
    let stopped = gateway.stop();

    // All of them, so that a run of 20 minutes tells everything that it found.
    let is_quiet = std::env::var_os("VOXLANE_SOAK_QUIET").is_some();
    let directory = machine.path("tap");
    let checks: [(&str, &dyn Fn()); 7] = [
        ("sessions", &|| sessions(&churned, &page)),
        ("taps", &|| taps(&churned, &page, &directory)),
        ("traffic", &|| traffic(&verdict, &stopped)),
        ("memory", &|| watch::memory(&samples)),
        ("pools", &|| watch::pools(&samples)),
        ("heap", &|| watch::heap(&samples)),
        ("stalls", &|| watch::stalls(&samples, gap_bound, is_quiet)),
    ];
    let failed = checks.iter().filter(|(_, check)| catch_unwind(AssertUnwindSafe(check)).is_err());
    let failed: Vec<&str> = failed.map(|(name, _)| *name).collect();
    let gap = &stopped.report["queues"][0]["poll_gap"];
    println!("longest poll gap: {} ns in {}", gap["max_ns"], gap["max_stage"]);
    println!("latency: {}", stopped.report["latency"]);
    if !failed.is_empty() {
        println!("{}", stopped.log);
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// Every session ended for the reason that it was to end for, and all places are free but for those of the sessions that stay.
fn sessions(churned: &Counts, page: &Scrape) {
    println!(
        "sessions: {} added ({} with keys of before), {} changed; ended {:?}; refused {:?}, {} times busy",
        churned.added, churned.visits, churned.changed, churned.ended, churned.refused, churned.busy
    );
    assert!(churned.surprises.is_empty(), "{:#?}", churned.surprises);
    assert!(churned.visits > u64::from(VISITORS), "nobody came back");
    let of = |name: &str| page.sum(name, &[]);
    let configured = u64::from(STAYING + VISITORS);
    assert_eq!(of("voxlane_sessions_added_total"), configured + churned.added);
    assert_eq!(of("voxlane_sessions_changed_total"), churned.changed);
    assert_eq!(of("voxlane_sessions_refused_total"), churned.refused.values().sum::<u64>());
    // Ports and keys that rest are no surprise; anything else is.
    let expected = ["PortResting", "PortInUse", "KeyInUse"];
    assert!(churned.refused.keys().all(|name| expected.contains(&name.as_str())), "{:?}", churned.refused);
    for reason in ["removed", "idle_timeout", "max_lifetime", "setup_timeout"] {
        let (told, counted) = (
            churned.ended.get(reason).copied().unwrap_or(0),
            page.sum("voxlane_sessions_ended_total", &[("reason", reason)]),
        );
        assert!(told > 0, "no session ended by {reason}");
        assert_eq!(told, counted, "sessions ended by {reason}");
    }
    assert_eq!(of("voxlane_sessions"), u64::from(STAYING), "sessions in service");
}

/// Taps began and ended all the time, limits were hit, and no file is left without its name.
fn taps(churned: &Counts, page: &Scrape, directory: &Path) {
    let lost = by(page, "voxlane_tap_lost_total", "reason");
    let files = by(page, "voxlane_tap_files_total", "outcome");
    println!(
        "taps: begun or ended {} times, {} records, {} bytes written; files {files:?}; lost {lost:?}",
        churned.taps,
        page.sum("voxlane_tap_records_total", &[]),
        page.sum("voxlane_tap_written_bytes_total", &[])
    );
    assert!(churned.taps > 2 && page.sum("voxlane_tap_written_bytes_total", &[]) > 0);
    assert!(lost.contains_key("file_count"), "the limit on files was not reached: {lost:?}");
    let names = fs::read_dir(directory).expect("the tap made it").flatten().map(|entry| entry.file_name());
    let partial: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".partial")).collect();
    assert!(partial.is_empty(), "{partial:?}");
}

/// Every packet that voxload sent arrived and has one fate, what it got back was good and came once, and what was spoiled on
/// purpose was refused.
fn traffic(verdict: &Verdict, stopped: &Stopped) {
    stopped.assert_balanced();
    let bad: u64 = COPIES.iter().map(|kind| verdict.impaired(kind)).sum();
    let (sent, rtcp, warm_up) =
        (verdict.count("sent"), verdict.count("rtcp_sent"), verdict.count("warm_up_sent"));
    let (received, rtcp_received) = (verdict.count("received"), verdict.count("rtcp_received"));
    let drops = ["a", "b"].map(|port| stopped.drops(port)).into_iter().flatten().fold(
        BTreeMap::<String, u64>::new(),
        |mut all, (reason, count)| {
            *all.entry(reason).or_default() += count;
            all
        },
    );
    println!(
        "traffic: {sent} valid packets and {rtcp} reports sent, {received} and {rtcp_received} received; {bad} bad copies; \
         latency {}",
        verdict.report["latency_ns"]
    );
    println!("drops: {drops:?}");
    println!("balance: {}; panics {}", stopped.report["total"], stopped.report["worker_panics"]);
    for kind in COPIES {
        assert!(verdict.impaired(kind) > 100, "{kind}: {:#}", verdict.report);
    }
    for key in
        ["duplicated", "auth_failed", "corrupted", "unexpected", "leaked", "header_changed", "rtcp_failed"]
    {
        assert_eq!(verdict.count(key), 0, "{key}: {:#}", verdict.report);
    }
    let (rx, tx, punted) = (stopped.total("rx"), stopped.total("tx"), stopped.total("punted"));
    assert_eq!(rx - punted, sent + rtcp + bad + warm_up, "on the way to the gateway");
    let back = received + rtcp_received;
    assert!(
        (back..=back + warm_up).contains(&tx),
        "{tx} forwarded, {back} came back, {warm_up} before the clock ran"
    );
    let of = |reason: &str| drops.get(reason).copied().unwrap_or(0);
    assert!(of("srtp_auth_failed") > 0 && of("srtp_replayed") > 0 && of("port_unknown") > 0, "{drops:?}");
    assert!(of("worker_panic") > 0 && of("stream_quarantined") > 0 && of("tx_full") > 0, "{drops:?}");
    for worker in stopped.report["workers"].as_array().expect("the report lists workers") {
        assert_eq!(worker["lockdown"], true, "{worker}");
    }
}

/// By the value of a label; only what occurred.
fn by(page: &Scrape, family: &str, label: &str) -> BTreeMap<String, u64> {
    let samples = page.samples(family, &[]).filter(|sample| sample.value > 0.0);
    samples.map(|sample| (sample.labels[label].clone(), sample.value as u64)).collect()
}

/// How long everything goes on.
fn length() -> Duration {
    let minutes = std::env::var("VOXLANE_SOAK_MINUTES").unwrap_or_else(|_| "2".to_owned());
    let minutes: f64 = minutes.parse().expect("VOXLANE_SOAK_MINUTES is a number of minutes");
    assert!((0.5..=10_000.0).contains(&minutes), "VOXLANE_SOAK_MINUTES={minutes}: use 0.5 or more");
    Duration::from_secs_f64(60.0 * minutes)
}

/// The longest poll gap that the benchmark found.
fn gap_bound() -> Duration {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results/latest.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let results: serde_json::Value = serde_json::from_str(&text).expect("the benchmark's own");
    let ns = results["figures"]["pollgap.max_ns"]["value"].as_f64().expect("the benchmark measures it");
    Duration::from_nanos(ns as u64)
}

/// Two memif ports and sessions over them, a locked worker, and a tap whose limits are reached in the last quarter.
fn config(machine: &Machine, sockets: &[&Path; 2], length: Duration) -> (ConfigText, String) {
    let leg = |side: u8, number: u16| {
        let (local, remote) = (10_000 + 2 * number, 30_000 + 2 * number);
        let mut leg = LegText::new(&format!("10.88.{side}.1:{local}"), &format!("10.88.{side}.2:{remote}"));
        // One type, so that others are bad.
        leg.payload_types = vec![96];
        if number % 2 == 1 {
            leg.keys = Some(LegKeys::generate_for(Suite::AesCm128HmacSha1_80));
        }
        leg
    };
    let session = |number: u16| {
        let id = match number.checked_sub(STAYING) {
            None => format!("call-{number}"),
            Some(visitor) => format!("{VISITOR}{visitor}"),
        };
        SessionText::new(&id, leg(1, number), leg(2, number))
    };
    // A tap that begins every other turn makes a file.
    let files = 3 * length.as_secs() / (8 * churn::TAP_TURN.as_secs()) + TAPPED.len() as u64;
    let tap = format!(
        "directory = \"{}\"\nformats = [\"pcapng\"]\nmax_file_mib = 1\nmax_files = {files}\nmin_free_mib = 0",
        machine.path("tap").display()
    );
    let config = ConfigText {
        hugepages_mib: 512,
        lockdown: true,
        // Sessions that come and go use keys of before, which an index journal allows.
        state_directory: Some(machine.path("state")),
        ports: vec![
            PortText::new("a", memif_server(0, sockets[0]), &["10.88.1.1/24"]),
            PortText::new("b", memif_server(1, sockets[1]), &["10.88.2.1/24"]),
        ],
        sessions: (0..STAYING + VISITORS).map(session).collect(),
        tap: Some((tap, TAPPED.to_vec())),
        ..ConfigText::default()
    };
    let text = format!(
        "{}\n[sessions]\ncapacity = {CAPACITY}\nport_rest = {}\n",
        config.render(),
        churn::PORT_REST_S
    );
    (config, text)
}

/// A gateway in a copy of this process.
struct Hosted {
    process: Process,
    metrics: std::net::SocketAddr,
    faults: PathBuf,
    report: PathBuf,
}

impl Hosted {
    fn start(machine: &Machine, config: &Path) -> Self {
        let (faults, report) = (machine.path("soak.faults"), machine.path("soak.report.json"));
        let binary = std::env::current_exe().expect("this test runs");
        let mut command = process::command(binary.to_str().expect("a UTF-8 target directory"));
        command
            .args(["--exact", "hosts_a_gateway", "--ignored", "--nocapture"])
            .env(CONFIG, config)
            .env(REPORT, &report)
            .env(voxlane::control::fault_console::VARIABLE, &faults)
            .stdin(Stdio::piped());
        let mut process = Process::spawn("soak", command);
        let metrics =
            process.line("its metrics address", LIMIT, |line| line.strip_prefix("metrics ")?.parse().ok());
        wait_until("GET /ready to answer 200", LIMIT, || {
            scrape::get(metrics, "/ready").filter(|(status, _)| *status == 200)
        });
        Hosted { process, metrics, faults, report }
    }

    fn page(&self) -> Scrape {
        let (status, body) = scrape::get(self.metrics, "/metrics")
            .unwrap_or_else(|| panic!("{} does not answer:\n{}", self.metrics, self.process.text()));
        assert_eq!(status, 200, "GET /metrics");
        Scrape::parse(body)
    }

    fn inject(&self, line: &str) {
        let whole = self.faults.with_extension("tmp");
        fs::write(&whole, line).expect("the test's directory is writable");
        fs::rename(&whole, &self.faults).expect("the same directory");
        wait_until("the fault to be armed", LIMIT, || (!self.faults.exists()).then_some(()));
    }

    /// Has sessions come and go and faults happen for `length`, and looks each second.
    fn soak(&mut self, length: Duration, gap_bound: Duration, load: &mut Voxload) -> Vec<Sample> {
        let process = self.process.pid();
        let watch =
            Watch { process, thread: worker_thread(process), core: 1, gap_bound, start: Instant::now() };
        // One worker hands nothing over. All the others stay below the limit at which a worker gives up.
        let points: Vec<_> = Point::ALL.iter().filter(|&&point| point != Point::Handover).collect();
        let panic_turn = length.div_f64(points.len() as f64 + 1.0);
        let (mut next_fault, mut next_panic) = (Duration::ZERO, panic_turn / 2);
        let (mut faults, mut panics) = (FAULTS.iter().cycle(), points.iter());
        let (mut samples, mut armed, mut is_fast) = (Vec::new(), 0, true);
        self.process.write_line("fast");
        loop {
            let sample = watch.sample(&self.page());
            let (now, panicked) = (sample.at, sample.panics);
            samples.push(sample);
            if now >= length {
                assert_eq!(panicked, armed, "panics that were armed, and those that happened");
                return samples;
            }
            assert!(load.is_running(), "voxload has ended");
            if is_fast && now >= length / 4 - Duration::from_secs(2) {
                is_fast = false;
                self.process.write_line("steady");
            }
            if now >= next_fault {
                next_fault = now + FAULT_TURN;
                self.inject(faults.next().expect("endless"));
            }
            if now >= next_panic
                && panicked == armed
                && let Some(point) = panics.next()
            {
                next_panic += panic_turn;
                armed += 1;
                self.inject(&format!("panic 0 {} 7 1", point.label()));
            }
            let next = Duration::from_secs(now.as_secs() + 1);
            std::thread::sleep(next.saturating_sub(watch.start.elapsed()));
        }
    }

    fn stop(mut self) -> Stopped {
        let start = Instant::now();
        self.process.write_line("stop");
        let status = self.process.wait(LIMIT);
        let (took, log) = (start.elapsed(), self.process.text());
        assert!(status.success(), "ended with {status}:\n{log}");
        let text =
            fs::read_to_string(&self.report).unwrap_or_else(|error| panic!("no report: {error}\n{log}"));
        let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        Stopped { report, took, status, log }
    }
}

/// Not a test of its own: what the copy of this process does.
#[test]
#[ignore = "started by the test above in a process of its own"]
fn hosts_a_gateway() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let path = PathBuf::from(std::env::var_os(CONFIG).expect("set by the parent"));
    let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    match IpsecMbProvider::is_available() {
        Ok(()) => host::<IpsecMbProvider>(&config),
        Err(_) => host::<AesGcmProvider>(&config),
    }
}

fn host<P: Provider>(config: &Config) {
    let mut gateway = Gateway::<P>::start(config, false).unwrap_or_else(|error| panic!("{error}"));
    println!("\nmetrics {}", gateway.metrics_address().expect("configured"));
    let (stop, mode) = (AtomicBool::new(false), Arc::new(AtomicU8::new(churn::WAIT)));
    let (handle, its_mode) = (gateway.handle(), Arc::clone(&mode));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let counts = Churn::new(handle, config).run(&its_mode);
            println!("\nchurned {}", serde_json::to_string(&counts).expect("plain data"));
        });
        let stop = &stop;
        scope.spawn(move || {
            for line in std::io::stdin().lines() {
                match line.as_deref() {
                    Ok("fast") => mode.store(churn::FAST, Ordering::Release),
                    Ok("steady") => mode.store(churn::STEADY, Ordering::Release),
                    Ok("end") => mode.store(churn::END, Ordering::Release),
                    // Or the parent is gone.
                    _ => break,
                }
            }
            mode.store(churn::END, Ordering::Release);
            stop.store(true, Ordering::Release);
        });
        assert_eq!(gateway.run(stop), End::Asked);
    });
    let report = gateway.stop();
    eprintln!("{report}");
    let path = PathBuf::from(std::env::var_os(REPORT).expect("set by the parent"));
    report.write_json(&path).unwrap_or_else(|error| panic!("{error}"));
}
