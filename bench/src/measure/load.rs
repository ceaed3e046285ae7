//! The generator as a process that is told step by step what to send.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::error::BenchError;
use super::process::Process;
use super::scene::beside;

/// How long a step may take beyond a hundred times its time on the clock: set-up comes before the first.
const SLACK: Duration = Duration::from_secs(600);

/// What a step found, as `voxload` says it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Step {
    /// Valid packets that were sent.
    pub sent: u64,
    /// Valid packets that did not come back.
    pub lost: u64,
    /// Time on the clock.
    pub seconds: f64,
    /// Time in which the generator could send no more before something came back.
    pub waiting_seconds: f64,
    /// Time per packet.
    pub ns_per_packet: f64,
    /// Latencies, if anything came.
    pub latency_ns: Option<Latency>,
}

/// Percentiles, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Latency {
    /// Half took no longer.
    pub p50: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// 99.9 % took no longer.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct LoadOptions<'o> {
    /// The gateway's configuration.
    pub config: &'o std::path::Path,
    /// The generator's ports.
    pub ports: [String; 2],
    /// Its core.
    pub core: u16,
    /// Bytes of payload.
    pub payload: usize,
    /// Packets sealed beforehand at a time.
    pub chunk: u32,
    /// Most packets on the way to each port, 0 for no limit.
    pub in_flight: u64,
    /// Packets that are sent before anything is measured.
    pub settle: u64,
    /// Each so many packets one is opened and compared.
    pub verify_every: u64,
    /// Whether keys are derived per packet, to save memory.
    pub derive_keys: bool,
    /// Whether the other end is a mirror and no gateway.
    pub is_mirrored: bool,
    /// Queue pairs of each port; one for each of the gateway's workers.
    pub queues: usize,
}

/// The generator.
pub struct Load(Process);

impl Load {
    /// Starts it. It is set up when its first step is answered.
    ///
    /// # Errors
    /// [`BenchError`] when it cannot be started.
    pub fn start(options: &LoadOptions<'_>) -> Result<Self, BenchError> {
        let mut command = Command::new(beside("voxload")?);
        // Large blocks from transparent hugepages: the chunks, and the streams of a million sessions.
        command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
        command.arg("run").arg("--config").arg(options.config);
        for port in &options.ports {
            command.arg("--port").arg(port);
        }
        command
            .args(["--flood", "--step", "--progress", "none", "--json", "-", "--memory-mib", "384"])
            .args(["--core", &options.core.to_string()])
            .args(["--file-prefix", &format!("voxbench-{}", std::process::id())])
            .args(["--payload", &options.payload.to_string()])
            .args(["--chunk", &options.chunk.to_string()])
            .args(["--in-flight", &options.in_flight.to_string()])
            .args(["--settle", &options.settle.to_string()])
            .args(["--verify-every", &options.verify_every.to_string()]);
        if options.derive_keys {
            command.arg("--derive-keys");
        }
        if options.is_mirrored {
            command.arg("--mirror");
        }
        if options.queues > 1 {
            command.args(["--queues", &options.queues.to_string()]);
        }
        Ok(Load(Process::spawn("voxload", command)?))
    }

    /// Whether this generator can use more than one queue pair of a port.
    pub fn has_queues() -> bool {
        let help = beside("voxload").and_then(|path| {
            Command::new(path).args(["run", "--help"]).output().map_err(BenchError::io("starting voxload"))
        });
        help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--queues"))
    }

    /// Sends for `seconds`, as fast as the gateway goes or at `rate` packets per second.
    ///
    /// # Errors
    /// [`BenchError`] when it fails.
    pub fn step(&mut self, seconds: f64, rate: Option<u64>) -> Result<Step, BenchError> {
        self.0.tell(&match rate {
            Some(rate) => format!("{seconds} {rate}"),
            None => seconds.to_string(),
        })?;
        let limit = SLACK + Duration::from_secs_f64(seconds * 100.0);
        self.0.ask("what the step found", limit, |line| {
            serde_json::from_str(line).ok().filter(|step: &Step| step.seconds > 0.0)
        })
    }

    /// The same as fast as the gateway goes; a packet that is lost makes it an error.
    ///
    /// # Errors
    /// [`BenchError`] when it fails or loses a packet.
    pub fn flood(&mut self, what: &str, seconds: f64) -> Result<Step, BenchError> {
        let step = self.step(seconds, None)?;
        match step.lost {
            0 => Ok(step),
            lost => Err(BenchError::invalid(what, format!("{lost} of {} packets were lost", step.sent))),
        }
    }

    /// Ends it. What came must have been right; whether all must have come is `is_lossless`.
    ///
    /// # Errors
    /// [`BenchError::Invalid`] when a packet was harmed, doubled, or lost where none may be.
    pub fn finish(mut self, what: &str, is_lossless: bool) -> Result<Value, BenchError> {
        self.0.close_input();
        let report = self.0.ask("its report", SLACK, |line| {
            serde_json::from_str::<Value>(line).ok().filter(|report| report.get("verdict").is_some())
        })?;
        self.0.wait(Duration::from_secs(20))?;
        let faults = [
            "duplicated",
            "auth_failed",
            "corrupted",
            "unexpected",
            "bad_checksum",
            "header_changed",
            "leaked",
            "not_built",
        ];
        let found: Vec<String> = faults
            .into_iter()
            .chain(is_lossless.then_some("lost"))
            .filter(|fault| report[fault] != 0)
            .map(|fault| format!("{} {fault}", report[fault]))
            .collect();
        if found.is_empty() { Ok(report) } else { Err(BenchError::invalid(what, found.join(", "))) }
    }
}
