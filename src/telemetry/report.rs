//! The final report: where every frame went, and whether all memory came back.
//!
//! Made once, after the workers have stopped and the ports' rings were emptied, from the same counters as the
//! metrics page. Printed as a table, written as JSON by `--report FILE`, and read by the demo and the tests,
//! which fail unless it [is clean](FinalReport::is_clean).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::counters::Balance;
use super::histogram::HistogramSnapshot;
use super::sources::{PoolEntry, QueueEntry, Telemetry, WorkerEntry};
use super::stage_clock::{PollGap, Stage};
use crate::dpdk::cycles_to_ns;
use crate::fastpath::DropReason;

/// The account of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FinalReport {
    /// The gateway's version.
    pub version: String,
    /// From the start of the process to the report, in seconds.
    pub duration_seconds: f64,
    /// Whether the run left no question: see [`FinalReport::is_clean`].
    pub clean: bool,
    /// Every queue.
    pub queues: Vec<QueueReport>,
    /// The sum over all queues.
    pub total: Balance,
    /// Frames dropped by reason over all queues; only reasons that occurred.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Frames that were forwarded although there was a reason not to, because their session counts only, by reason over all
    /// queues; only reasons that occurred. Part of the balance as what became of them otherwise.
    pub tolerated: BTreeMap<&'static str, u64>,
    /// Latency over all queues; absent if nothing was forwarded.
    pub latency: Option<LatencyReport>,
    /// Every pool.
    pub pools: Vec<PoolReport>,
    /// Panics that workers caught.
    pub worker_panics: u64,
    /// Every worker.
    pub workers: Vec<WorkerReport>,
}

/// The account of one queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueReport {
    /// The port's name.
    pub port: String,
    /// Queue number on the port.
    pub queue: u16,
    /// The worker that polled it.
    pub worker: u16,
    /// Where its frames went.
    #[serde(flatten)]
    pub balance: Balance,
    /// Whether every frame has exactly one fate.
    pub exact: bool,
    /// Frames of the host side that the queue sent.
    pub originated: u64,
    /// Frames dropped by reason; only reasons that occurred.
    pub dropped_by_reason: BTreeMap<&'static str, u64>,
    /// Frames tolerated by reason; only reasons that occurred.
    pub tolerated_by_reason: BTreeMap<&'static str, u64>,
    /// Absent if nothing was forwarded.
    pub latency: Option<LatencyReport>,
    /// Absent if the queue was not polled twice after the warm-up.
    pub poll_gap: Option<PollGapReport>,
}

/// Time between two polls of a queue in nanoseconds, the warm-up left out. Percentiles are at most 3.2 % too high,
/// the maximum is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it all: unit above")]
pub struct PollGapReport {
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p99_9_ns: u64,
    pub max_ns: u64,
    /// The stage that took the largest share of the longest gap.
    pub max_stage: Stage,
}

/// What one worker did besides packets, since its warm-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerReport {
    /// Worker number.
    pub worker: u16,
    /// Heap allocations on its thread.
    pub heap_allocations: u64,
    /// Blocks of heap memory freed on its thread.
    pub heap_frees: u64,
    /// Whether it was locked out of the kernel: it then made no system call.
    pub lockdown: bool,
}

/// RX-to-TX latency in nanoseconds. Percentiles are at most 3.2 % too high, the maximum is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it all: unit above")]
pub struct LatencyReport {
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p99_9_ns: u64,
    pub max_ns: u64,
}

/// The account of one pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolReport {
    /// The pool's name.
    pub name: String,
    /// Buffers that it holds in all.
    pub size: u64,
    /// Buffers that a closed port's driver keeps, as it did before the first packet.
    pub kept_by_driver: u64,
    /// Buffers beyond those that did not come back (or came back twice).
    pub in_use: u64,
    /// Objects taken out.
    pub acquired: u64,
    /// Of them, those that had been out before.
    pub reused: u64,
    /// Their share; absent if none was taken out.
    pub reuse_rate: Option<f64>,
    /// Most objects that were out at once.
    pub high_water: u64,
    /// Requests that found the pool empty.
    pub exhausted: u64,
}

/// The report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report to {}: {source}; give --report a file in a writable directory", path.display())]
pub struct ReportError {
    path: PathBuf,
    source: io::Error,
}

impl FinalReport {
    /// Takes the account now. Exact only once the workers have stopped.
    pub fn collect(telemetry: &Telemetry) -> Self {
        let tsc_hz = telemetry.tsc_hz;
        let mut latency = HistogramSnapshot::empty();
        let queues: Vec<QueueReport> = telemetry
            .queues
            .iter()
            .map(|queue| {
                let of_queue = queue.counters.latency.snapshot();
                latency.merge(&of_queue);
                QueueReport::of(queue, &of_queue, tsc_hz)
            })
            .collect();
        let dropped = sum(queues.iter().map(|queue| &queue.dropped_by_reason));
        let tolerated = sum(queues.iter().map(|queue| &queue.tolerated_by_reason));
        let mut report = Self {
            version: telemetry.build.version.clone(),
            duration_seconds: telemetry.started_at.elapsed().as_secs_f64(),
            clean: false,
            total: queues.iter().map(|queue| queue.balance).sum(),
            queues,
            dropped,
            tolerated,
            latency: LatencyReport::of(&latency, tsc_hz),
            pools: telemetry.pools.iter().map(PoolReport::of).collect(),
            workers: telemetry.workers.iter().map(WorkerReport::of).collect(),
            worker_panics: telemetry.workers.iter().map(|worker| worker.counters.panics.value()).sum(),
        };
        report.clean = report.is_clean();
        report
    }

    /// Whether every queue's balance is exact, every frame that was handed over was taken over, every pool
    /// is full again and no worker panicked. Drops do not matter here: they are accounted for.
    pub fn is_clean(&self) -> bool {
        self.queues.iter().all(|queue| queue.exact)
            && self.total.handed_out == self.total.handed_in
            && self.pools.iter().all(PoolReport::is_full)
            && self.worker_panics == 0
    }

    /// The report as indented JSON with a line feed at the end.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self)
            .expect("every field is a number, a bool, a string or a map with string keys");
        json.push('\n');
        json
    }

    /// Writes [`FinalReport::to_json`] to `path`, replacing the file.
    ///
    /// # Errors
    ///
    /// [`ReportError`] names the file and what the kernel said.
    pub fn write_json(&self, path: &Path) -> Result<(), ReportError> {
        fs::write(path, self.to_json()).map_err(|source| ReportError { path: path.to_owned(), source })
    }
}

impl QueueReport {
    fn of(entry: &QueueEntry, latency: &HistogramSnapshot, tsc_hz: u64) -> Self {
        let balance = Balance::of(&entry.counters);
        Self {
            port: entry.port.clone(),
            queue: entry.queue,
            worker: entry.worker,
            balance,
            exact: balance.is_exact(),
            originated: entry.counters.originated_packets.value(),
            dropped_by_reason: by_reason(|reason| entry.counters.dropped_for(reason)),
            tolerated_by_reason: by_reason(|reason| entry.counters.tolerated_for(reason)),
            latency: LatencyReport::of(latency, tsc_hz),
            poll_gap: PollGapReport::of(&entry.counters.poll_gap, tsc_hz),
        }
    }
}

/// Counts by reason; only reasons that occurred.
fn by_reason(count: impl Fn(DropReason) -> u64) -> BTreeMap<&'static str, u64> {
    let counts = DropReason::ALL.iter().map(|&reason| (reason.label(), count(reason)));
    counts.filter(|&(_, frames)| frames > 0).collect()
}

/// The sum over all queues.
fn sum<'c>(queues: impl Iterator<Item = &'c BTreeMap<&'static str, u64>>) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::new();
    for (reason, frames) in queues.flatten() {
        *all.entry(*reason).or_insert(0) += frames;
    }
    all
}

impl LatencyReport {
    /// Percentiles of a histogram of TSC cycles, or `None` if it is empty. `tsc_hz` is cycles per second.
    pub fn of(latency: &HistogramSnapshot, tsc_hz: u64) -> Option<Self> {
        let ns = |cycles| cycles_to_ns(cycles, tsc_hz);
        Some(Self {
            p50_ns: ns(latency.percentile(50.0)?),
            p90_ns: ns(latency.percentile(90.0)?),
            p99_ns: ns(latency.percentile(99.0)?),
            p99_9_ns: ns(latency.percentile(99.9)?),
            max_ns: ns(latency.max()),
        })
    }
}

impl PollGapReport {
    /// Gaps of one queue, in TSC cycles, or `None` if there is none. `tsc_hz` is cycles per second.
    pub fn of(poll_gap: &PollGap, tsc_hz: u64) -> Option<Self> {
        let (gaps, longest) = (poll_gap.gaps.snapshot(), poll_gap.longest()?);
        let ns = |cycles| cycles_to_ns(cycles, tsc_hz);
        Some(Self {
            p50_ns: ns(gaps.percentile(50.0)?),
            p99_ns: ns(gaps.percentile(99.0)?),
            p99_9_ns: ns(gaps.percentile(99.9)?),
            max_ns: ns(longest.cycles),
            max_stage: longest.stage,
        })
    }
}

impl WorkerReport {
    fn of(entry: &WorkerEntry) -> Self {
        Self {
            worker: entry.worker,
            heap_allocations: entry.counters.heap.allocations(),
            heap_frees: entry.counters.heap.frees(),
            lockdown: entry.counters.lockdown.value() > 0,
        }
    }
}

impl PoolReport {
    fn of(entry: &PoolEntry) -> Self {
        let reading = (entry.read)();
        let kept_by_driver = entry.kept_by_driver;
        let in_use = reading.in_use.abs_diff(kept_by_driver);
        Self {
            name: entry.name.clone(),
            size: reading.size,
            kept_by_driver,
            in_use,
            acquired: reading.acquired,
            reused: reading.reused,
            reuse_rate: reading.reuse_rate(),
            high_water: reading.high_water,
            exhausted: reading.exhausted,
        }
    }

    /// Whether every buffer is back.
    pub fn is_full(&self) -> bool {
        self.in_use == 0
    }
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| ns as f64 / 1e3;
        write!(
            f,
            "p50 {:.1} us, p90 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us",
            us(self.p50_ns),
            us(self.p90_ns),
            us(self.p99_ns),
            us(self.p99_9_ns),
            us(self.max_ns)
        )
    }
}

impl fmt::Display for WorkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, heap_allocations, heap_frees, lockdown } = self;
        write!(f, "worker {worker}: {heap_allocations} heap allocations, {heap_frees} frees")?;
        f.write_str(if *lockdown { ", locked out of the kernel" } else { "" })
    }
}

impl fmt::Display for PoolReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolReport { name, size, kept_by_driver, in_use, acquired, high_water, exhausted, .. } = self;
        match (in_use, kept_by_driver) {
            (0, 0) => write!(f, "pool {name}: full again, {size} objects")?,
            (0, kept) => {
                write!(f, "pool {name}: full again but for {kept} of {size} objects that a driver keeps")?;
            }
            (lost, _) => write!(f, "pool {name}: {lost} of {size} objects MISSING")?,
        }
        if let Some(rate) = self.reuse_rate {
            // Rounded down: 99.9 % is a bound.
            let percent = (rate * 1e5).floor() / 1e3;
            write!(f, "; {acquired} acquired, {percent:.3} % reused, at most {high_water} at once")?;
        }
        if *exhausted > 0 {
            write!(f, "; EXHAUSTED {exhausted} times")?;
        }
        Ok(())
    }
}

impl fmt::Display for FinalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "voxlane {}: {:.1} s", self.version, self.duration_seconds)?;
        let name_width = self.queues.iter().map(|queue| queue.port.len()).max().unwrap_or(0).max(4);
        writeln!(
            f,
            "{:name_width$} {:>5} {:>6} {:>14} {:>14} {:>12} {:>10} {:>12} {:>12}  balance",
            "port", "queue", "worker", "rx", "tx", "dropped", "punted", "handed out", "handed in"
        )?;
        let mut row = |port: &str, queue: &str, worker: &str, balance: &Balance| {
            let verdict = match balance.unaccounted() {
                0 => "exact".to_owned(),
                frames if frames > 0 => format!("{frames} UNACCOUNTED"),
                frames => format!("{} COUNTED TWICE", frames.unsigned_abs()),
            };
            writeln!(
                f,
                "{port:name_width$} {queue:>5} {worker:>6} {:>14} {:>14} {:>12} {:>10} {:>12} {:>12}  {verdict}",
                balance.rx,
                balance.tx,
                balance.dropped,
                balance.punted,
                balance.handed_out,
                balance.handed_in
            )
        };
        for queue in &self.queues {
            row(&queue.port, &queue.queue.to_string(), &queue.worker.to_string(), &queue.balance)?;
        }
        row("all", "", "", &self.total)?;
        for (reason, frames) in &self.dropped {
            writeln!(f, "dropped {reason}: {frames}")?;
        }
        for (reason, frames) in &self.tolerated {
            writeln!(f, "tolerated {reason}: {frames}")?;
        }
        if let Some(latency) = &self.latency {
            writeln!(f, "latency RX to TX: {latency}")?;
        }
        // Of all queues the one that waited longest.
        let gaps = self.queues.iter().filter_map(|queue| Some((queue, queue.poll_gap?)));
        if let Some((queue, gap)) = gaps.max_by_key(|(_, gap)| gap.max_ns) {
            let (us, stage) = (gap.max_ns as f64 / 1e3, gap.max_stage.label());
            writeln!(
                f,
                "longest poll gap: {us:.1} us on port {} queue {}, in {stage}",
                queue.port, queue.queue
            )?;
        }
        for worker in &self.workers {
            writeln!(f, "{worker}")?;
        }
        for pool in &self.pools {
            writeln!(f, "{pool}")?;
        }
        if self.total.handed_out != self.total.handed_in {
            writeln!(
                f,
                "handed over: {} out, {} in: frames LEFT IN A RING",
                self.total.handed_out, self.total.handed_in
            )?;
        }
        if self.worker_panics > 0 {
            writeln!(f, "workers PANICKED {} times: a bug, please report it", self.worker_panics)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
