//! The gateway as a process: started from a configuration, scraped, stopped, and held to its final report.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::scrape::{self, Scrape};
use super::{ConfigText, Machine, Process, process, wait_until};

/// Longest start: mapping hugepages and attaching ports.
const START: Duration = Duration::from_secs(30);
/// What SIGTERM and SIGINT promise.
pub const STOP: Duration = Duration::from_secs(2);

/// A gateway that said it is ready.
pub struct Gateway {
    /// Its configuration file.
    pub config: PathBuf,
    process: Process,
    metrics: SocketAddr,
    report: PathBuf,
    ports: Vec<&'static str>,
}

/// A gateway that ended by itself or by a signal.
pub struct Stopped {
    /// The final report.
    pub report: Value,
    /// From the signal to the end of the process.
    pub took: Duration,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub log: String,
}

/// A gateway that did not start.
pub struct Refusal {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub text: String,
}

/// Writes the configuration to a file of the test's directory.
pub fn write_config(machine: &Machine, config: &ConfigText) -> PathBuf {
    let path = machine.path(&format!("{}.toml", config.name));
    fs::write(&path, config.render()).expect("the test's directory is writable");
    path
}

impl Gateway {
    /// Starts the gateway and waits until it is ready.
    pub fn start(machine: &Machine, config: &ConfigText) -> Self {
        Self::start_with(machine, config, &[])
    }

    /// The same with environment variables of its own.
    pub fn start_with(machine: &Machine, config: &ConfigText, environment: &[(&str, &Path)]) -> Self {
        let path = write_config(machine, config);
        let report = machine.path(&format!("{}.report.json", config.name));
        let mut command = command(&path, &report);
        command.envs(environment.iter().copied());
        let mut process = Process::spawn("voxlane", command);
        let metrics = process.line("its metrics address", START, |line| {
            let (_, rest) = line.split_once("metrics at http://")?;
            rest.split('/').next()?.parse().ok()
        });
        wait_until("GET /ready to answer 200", START, || {
            assert!(process.is_running(), "the gateway ended:\n{}", process.text());
            scrape::get(metrics, "/ready").filter(|(status, _)| *status == 200)
        });
        let ports = config.ports.iter().map(|port| port.name).collect();
        Gateway { config: path, process, metrics, report, ports }
    }

    /// Starts a gateway that is expected to refuse, and returns how it did.
    pub fn refused(machine: &Machine, config: &ConfigText) -> Refusal {
        let path = write_config(machine, config);
        let mut process = Process::spawn("voxlane", command(&path, &machine.path("refused.json")));
        let status = process.wait(START);
        Refusal { code: status.code(), text: process.text() }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where the metrics are.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.process.text()
    }

    /// The metrics page now.
    pub fn scrape(&self) -> Scrape {
        let (status, body) = scrape::get(self.metrics, "/metrics")
            .unwrap_or_else(|| panic!("{} does not answer:\n{}", self.metrics, self.process.text()));
        assert_eq!(status, 200, "GET /metrics");
        Scrape::parse(body)
    }

    /// A page on which every received frame has its fate: scrapes until the queues are quiet.
    pub fn quiet_scrape(&self) -> Scrape {
        let mut before = u64::MAX;
        wait_until("all queues to be quiet and balanced", Duration::from_secs(10), || {
            let page = self.scrape();
            let rx = page.sum("voxlane_rx_packets_total", &[]);
            let quiet = rx == before && self.ports.iter().all(|port| page.unaccounted(port) == 0);
            before = rx;
            quiet.then_some(page)
        })
    }

    /// Waits until the page satisfies `condition`.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Scrape) -> Option<T>,
    ) -> T {
        wait_until(what, limit, || condition(&self.scrape()))
    }

    /// Writes its configuration anew and has it read the keys again.
    pub fn reload(&self, machine: &Machine, config: &ConfigText) {
        assert_eq!(write_config(machine, config), self.config, "the same gateway");
        self.process.signal(Signal::SIGHUP);
    }

    /// Sends SIGTERM, waits, and requires what every clean stop owes: in time, exit code 0, a clean report.
    pub fn stop(self) -> Stopped {
        self.stop_by(Signal::SIGTERM)
    }

    /// The same with another signal.
    pub fn stop_by(mut self, signal: Signal) -> Stopped {
        let start = Instant::now();
        self.process.signal(signal);
        let status = self.process.wait(Duration::from_secs(20));
        let took = start.elapsed();
        let log = self.process.text();
        assert!(took <= STOP, "{signal} took {took:?}, more than {STOP:?}:\n{log}");
        assert_eq!(status.code(), Some(0), "{signal} ended it with {status}:\n{log}");
        let text = fs::read_to_string(&self.report)
            .unwrap_or_else(|error| panic!("no report at {}: {error}\n{log}", self.report.display()));
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let stopped = Stopped { report, took, status, log };
        stopped.assert_clean();
        stopped
    }

    /// Has something go wrong in a gateway that was built with the feature `fault-injection`; returns once it is armed.
    /// The lines are those of `voxlane::control::fault_console`.
    pub fn inject(&self, machine: &Machine, lines: &str) {
        let (file, whole) = (faults_file(&self.report), machine.path("faults.tmp"));
        fs::write(&whole, lines).expect("the test's directory is writable");
        fs::rename(&whole, &file).expect("the same directory");
        wait_until("the fault to be armed", Duration::from_secs(5), || (!file.exists()).then_some(()));
        let log = self.process.text();
        assert!(!log.contains("no such fault"), "{lines}: {log}");
    }

    /// Waits for it to end (after SIGTERM, if it is to be told) with `code`, and requires what it owes even then: a
    /// report in which every frame and buffer is accounted for.
    pub fn end(mut self, is_told: bool, code: i32) -> Stopped {
        let start = Instant::now();
        if is_told {
            self.process.signal(Signal::SIGTERM);
        }
        let status = self.process.wait(Duration::from_secs(20));
        let (took, log) = (start.elapsed(), self.process.text());
        assert_eq!(status.code(), Some(code), "ended with {status}:\n{log}");
        let text =
            fs::read_to_string(&self.report).unwrap_or_else(|error| panic!("no report: {error}\n{log}"));
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let stopped = Stopped { report, took, status, log };
        stopped.assert_balanced();
        stopped
    }

    /// Kills it without notice.
    pub fn kill(mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait(Duration::from_secs(5));
    }
}

impl Stopped {
    /// Every frame has one fate, on every queue and in sum, and every pool is full again. Works the balance out
    /// anew from the single figures instead of trusting the report's own verdict, then asks for that, too.
    pub fn assert_clean(&self) {
        self.assert_balanced();
        assert_eq!(self.report["clean"], true, "{:#}", self.report);
    }

    /// The same of a run that has something else to complain about.
    pub fn assert_balanced(&self) {
        let report = &self.report;
        let queues = report["queues"].as_array().expect("the report lists queues");
        assert!(!queues.is_empty(), "no queue in {report:#}");
        for queue in queues {
            let of = |key: &str| count(queue, key);
            let (into, out) =
                (of("rx") + of("handed_in"), of("tx") + of("dropped") + of("punted") + of("handed_out"));
            assert_eq!(into, out, "queue out of balance: {queue:#}");
            let reasons: u64 = drops_of(queue).values().sum();
            assert_eq!(reasons, of("dropped"), "drop reasons do not add up: {queue:#}");
        }
        let pools = report["pools"].as_array().expect("the report lists pools");
        assert!(!pools.is_empty(), "no pool in {report:#}");
        for pool in pools {
            assert!(count(pool, "size") > 0, "an empty pool: {pool:#}");
            assert_eq!(count(pool, "in_use"), 0, "buffers did not come back: {pool:#}");
        }
    }

    /// A figure of the balance over all queues.
    pub fn total(&self, key: &str) -> u64 {
        count(&self.report["total"], key)
    }

    /// A figure of a port, summed over its queues.
    pub fn port(&self, port: &str, key: &str) -> u64 {
        self.queues_of(port).map(|queue| count(queue, key)).sum()
    }

    /// Drops of a port by reason.
    pub fn drops(&self, port: &str) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (reason, frames) in self.queues_of(port).flat_map(drops_of) {
            *all.entry(reason).or_default() += frames;
        }
        all
    }

    fn queues_of<'s>(&'s self, port: &'s str) -> impl Iterator<Item = &'s Value> {
        self.report["queues"].as_array().into_iter().flatten().filter(move |queue| queue["port"] == port)
    }
}

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_voxlane"))
}

/// Where the gateway with that report looks for faults.
fn faults_file(report: &Path) -> PathBuf {
    report.with_extension("faults")
}

fn command(config: &Path, report: &Path) -> std::process::Command {
    let mut command = process::command(binary().to_str().expect("a UTF-8 target directory"));
    command.arg("run").arg("--config").arg(config).arg("--report").arg(report).stdin(Stdio::null());
    // Looked at by test builds with the feature alone.
    command.env("VOXLANE_FAULTS", faults_file(report));
    command
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no figure {key:?} in {value:#}"))
}

fn drops_of(queue: &Value) -> BTreeMap<String, u64> {
    let reasons = queue["dropped_by_reason"].as_object().expect("a queue has its drops by reason");
    reasons.iter().map(|(reason, frames)| (reason.clone(), frames.as_u64().expect("a count"))).collect()
}
