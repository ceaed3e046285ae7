//! The Prometheus page, made at each scrape.
//!
//! [`Exporter::render`] reads every source once, sets the counters and gauges of the `metrics` recorder and
//! lets `metrics-exporter-prometheus` write them. Three things are done here because that exporter cannot:
//! histograms (it wants every raw sample pushed; ours are counted by the workers, so their buckets are
//! written directly), a gauge one of whose labels changes (it never forgets a series) and a stable order of
//! families and lines.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use metrics::{Label, counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::families::{self, Family, FamilyKind};
use super::histogram::HistogramSnapshot;
use super::sources::{PoolEntry, PortEntry, QueueEntry, Telemetry, WorkerEntry};
use super::stage_clock::Stage;
use crate::fastpath::DropReason;
use crate::session::EndReason;
use crate::tap::{Loss, TapCounters};

/// Upper bounds of the exported latency buckets, in nanoseconds: five a decade from 1 µs to 1 s (the
/// preferred numbers R5), so that 150 µs and 150 ms are told apart equally well.
pub const LATENCY_BOUNDS_NS: [u64; 31] = [
    1_000,
    1_600,
    2_500,
    4_000,
    6_300,
    10_000,
    16_000,
    25_000,
    40_000,
    63_000,
    100_000,
    160_000,
    250_000,
    400_000,
    630_000,
    1_000_000,
    1_600_000,
    2_500_000,
    4_000_000,
    6_300_000,
    10_000_000,
    16_000_000,
    25_000_000,
    40_000_000,
    63_000_000,
    100_000_000,
    160_000_000,
    250_000_000,
    400_000_000,
    630_000_000,
    1_000_000_000,
];

/// Upper bounds of the exported poll-gap buckets, in nanoseconds: those of latency, and a decade below, because an
/// empty poll takes some tens of nanoseconds.
pub const POLL_GAP_BOUNDS_NS: [u64; LATENCY_BOUNDS_NS.len() + BELOW_1_US_NS.len()] = {
    let mut bounds = [0; LATENCY_BOUNDS_NS.len() + BELOW_1_US_NS.len()];
    let (below, above) = bounds.split_at_mut(BELOW_1_US_NS.len());
    below.copy_from_slice(&BELOW_1_US_NS);
    above.copy_from_slice(&LATENCY_BOUNDS_NS);
    bounds
};
const BELOW_1_US_NS: [u64; 5] = [100, 160, 250, 400, 630];

/// The percentiles of `voxlane_latency_percentile_seconds` and their label values.
const PERCENTILES: [(f64, &str); 4] = [(50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9")];

/// Turns a [`Telemetry`] into a page in the Prometheus text format.
pub struct Exporter {
    telemetry: Arc<Telemetry>,
    recorder: Arc<PrometheusRecorder>,
    page: PrometheusHandle,
}

/// Another recorder is installed in this process already.
#[derive(Debug, thiserror::Error)]
#[error("a metrics recorder is installed already; install the exporter once, before any other recorder")]
pub struct RecorderInstalled;

impl Exporter {
    /// An exporter with a recorder of its own, which knows the help text of every family.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, describe_families);
        let page = recorder.handle();
        Self { telemetry, recorder: Arc::new(recorder), page }
    }

    /// Makes this exporter's recorder the process's, so that what libraries count through the `metrics`
    /// crate is on the page, too.
    ///
    /// # Errors
    ///
    /// [`RecorderInstalled`] if the process has one; this exporter works on without.
    pub fn install(&self) -> Result<(), RecorderInstalled> {
        metrics::set_global_recorder(Arc::clone(&self.recorder)).map_err(|_| RecorderInstalled)
    }

    /// What the exporter reads.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The page now. Takes a fraction of a millisecond per queue and heap: not for a worker.
    pub fn render(&self) -> String {
        let telemetry = &*self.telemetry;
        // One snapshot per queue, so that its histogram, percentiles and maximum belong together.
        let latencies: Vec<HistogramSnapshot> =
            telemetry.queues.iter().map(|queue| queue.counters.latency.snapshot()).collect();
        let poll_gaps: Vec<HistogramSnapshot> =
            telemetry.queues.iter().map(|queue| queue.counters.poll_gap.gaps.snapshot()).collect();
        metrics::with_local_recorder(&*self.recorder, || {
            telemetry.queues.iter().for_each(feed_queue);
            for (queue, latency) in telemetry.queues.iter().zip(&latencies) {
                feed_percentiles(queue, latency, telemetry.tsc_hz);
            }
            telemetry.workers.iter().for_each(feed_worker);
            telemetry.ports.iter().for_each(feed_port);
            telemetry.pools.iter().for_each(feed_pool);
            feed_process(telemetry);
        });
        let mut page = in_stable_order(&self.page.render());
        write_histogram(&mut page, telemetry, &families::LATENCY, &LATENCY_BOUNDS_NS, &latencies);
        write_histogram(&mut page, telemetry, &families::POLL_GAP, &POLL_GAP_BOUNDS_NS, &poll_gaps);
        write_longest_poll_gaps(&mut page, telemetry);
        page
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("telemetry", &self.telemetry).finish_non_exhaustive()
    }
}

fn describe_families() {
    for family in families::ALL {
        match family.kind {
            FamilyKind::Counter => metrics::describe_counter!(family.name, family.help),
            FamilyKind::Gauge => metrics::describe_gauge!(family.name, family.help),
            // Written by `write_histogram` with its own help line.
            FamilyKind::Histogram => {}
        }
    }
}

fn feed_queue(entry: &QueueEntry) {
    let (queue, worker) = (entry.queue.to_string(), entry.worker.to_string());
    let labels = [entry.port.as_str(), &queue, &worker];
    let counters = &*entry.counters;
    for (family, value) in [
        (families::RX_PACKETS, &counters.rx_packets),
        (families::RX_BYTES, &counters.rx_bytes),
        (families::RX_BURSTS, &counters.rx_bursts),
        (families::EMPTY_POLLS, &counters.empty_polls),
        (families::TX_PACKETS, &counters.tx_packets),
        (families::TX_BYTES, &counters.tx_bytes),
        (families::TX_BURSTS, &counters.tx_bursts),
        (families::TX_RETRIES, &counters.tx_retries),
        (families::PUNTED_PACKETS, &counters.punted),
        (families::ORIGINATED_PACKETS, &counters.originated_packets),
        (families::ORIGINATED_DROPPED, &counters.originated_dropped),
    ] {
        set_counter(&family, &labels, value.value());
    }
    let [port, queue, worker] = labels;
    let handed_over = families::HANDED_OVER_PACKETS;
    set_counter(&handed_over, &[port, queue, worker, "out"], counters.handed_over_out.value());
    set_counter(&handed_over, &[port, queue, worker, "in"], counters.handed_over_in.value());
    // Every reason from the start, also those at 0: a rate over a series that appears with its first
    // drop would miss that drop.
    for &reason in DropReason::ALL {
        let labels = [port, queue, worker, reason.label(), reason.stage()];
        set_counter(&families::DROPPED_PACKETS, &labels, counters.dropped_for(reason));
        if reason.is_tolerable() {
            let labels = [port, queue, worker, reason.label()];
            set_counter(&families::TOLERATED_PACKETS, &labels, counters.tolerated_for(reason));
        }
    }
}

/// Nothing is set before the first forwarded frame: a latency of 0 would be a lie.
fn feed_percentiles(entry: &QueueEntry, latency: &HistogramSnapshot, tsc_hz: u64) {
    let (queue, worker) = (entry.queue.to_string(), entry.worker.to_string());
    for (percent, label) in PERCENTILES {
        if let Some(cycles) = latency.percentile(percent) {
            let labels = [entry.port.as_str(), &queue, &worker, label];
            set_gauge(&families::LATENCY_PERCENTILE, &labels, seconds(cycles, tsc_hz));
        }
    }
    if latency.count() > 0 {
        let labels = [entry.port.as_str(), &queue, &worker];
        set_gauge(&families::LATENCY_MAX, &labels, seconds(latency.max(), tsc_hz));
        let first = entry.counters.first_latency.value();
        set_gauge(&families::FIRST_PACKET_LATENCY, &labels, seconds(first, tsc_hz));
    }
}

fn feed_worker(entry: &WorkerEntry) {
    let worker = entry.worker.to_string();
    for (family, value) in [
        (families::WORKER_LOOPS, &entry.counters.loops),
        (families::WORKER_BUSY_LOOPS, &entry.counters.busy_loops),
        (families::WORKER_PANICS, &entry.counters.panics),
        (families::QUARANTINED_STREAMS, &entry.counters.quarantined_streams),
    ] {
        set_counter(&family, &[&worker], value.value());
    }
    let counters = &*entry.counters;
    set_counter(&families::WORKER_HEAP_ALLOCATIONS, &[&worker], counters.heap.allocations());
    set_counter(&families::WORKER_HEAP_FREES, &[&worker], counters.heap.frees());
    set_gauge(&families::WORKER_LOCKDOWN, &[&worker], counters.lockdown.value() as f64);
    let stages = Stage::ALL.iter().zip(counters.stage_cycles.iter().zip(&counters.stage_frames));
    for (stage, (cycles, frames)) in stages {
        set_counter(&families::STAGE_CYCLES, &[&worker, stage.label()], cycles.value());
        set_counter(&families::STAGE_PACKETS, &[&worker, stage.label()], frames.value());
    }
}

fn feed_port(entry: &PortEntry) {
    let reading = (entry.read)();
    for (family, value) in [
        (families::PORT_RX_PACKETS, reading.ipackets),
        (families::PORT_TX_PACKETS, reading.opackets),
        (families::PORT_MISSED_PACKETS, reading.imissed),
        (families::PORT_RX_ERRORS, reading.ierrors),
        (families::PORT_TX_ERRORS, reading.oerrors),
        (families::PORT_RX_NO_BUFFER, reading.rx_nombuf),
    ] {
        set_counter(&family, &[&entry.name], value);
    }
    set_gauge(&families::LINK_UP, &[&entry.name], f64::from(u8::from(reading.link_up)));
}

fn feed_pool(entry: &PoolEntry) {
    let reading = (entry.read)();
    let pool = [entry.name.as_str()];
    for (family, value) in [
        (families::POOL_OBJECTS, reading.size),
        (families::POOL_IN_USE, reading.in_use),
        (families::POOL_HIGH_WATER, reading.high_water),
    ] {
        set_gauge(&family, &pool, value as f64);
    }
    for (family, value) in [
        (families::POOL_ACQUIRED, reading.acquired),
        (families::POOL_REUSED, reading.reused),
        (families::POOL_RELEASED, reading.released),
        (families::POOL_EXHAUSTED, reading.exhausted),
    ] {
        set_counter(&family, &pool, value);
    }
    // A pool that nobody asked has no rate, and 0 would be an alarm.
    if let Some(rate) = reading.reuse_rate() {
        set_gauge(&families::POOL_REUSE_RATE, &pool, rate);
    }
}

fn feed_process(telemetry: &Telemetry) {
    for entry in &telemetry.host {
        set_counter(&families::HOST_PACKETS, &[entry.kind, entry.outcome], (entry.read)());
    }
    feed_tap(&telemetry.tap);
    let build = &telemetry.build;
    set_gauge(&families::BUILD_INFO, &[&build.version, &build.dpdk, &build.crypto], 1.0);
    set_gauge(&families::SESSIONS, &[], (telemetry.sessions)() as f64);
    let changes = (telemetry.session_changes)();
    set_counter(&families::SESSIONS_ADDED, &[], changes.added);
    set_counter(&families::SESSIONS_CHANGED, &[], changes.changed);
    set_counter(&families::SESSIONS_REFUSED, &[], changes.refused);
    for (reason, count) in EndReason::ALL.iter().zip(changes.ended) {
        set_counter(&families::SESSIONS_ENDED, &[reason.label()], count);
    }
    set_gauge(&families::SESSION_MEMORY, &[], telemetry.session_memory as f64);
    set_counter(&families::CLOCK_JUMPS, &[], telemetry.clock_jumps.value());
    set_gauge(&families::READY, &[], f64::from(u8::from((telemetry.ready)())));
    let started = telemetry.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    set_gauge(&families::START_TIME, &[], started.as_secs_f64());
}

fn feed_tap(tap: &TapCounters) {
    for (worker, counters) in tap.workers.iter().enumerate() {
        set_counter(&families::TAP_RECORDS, &[&worker.to_string()], counters.records.value());
    }
    for loss in Loss::ALL {
        set_counter(&families::TAP_LOST, &[loss.label()], tap.lost(loss));
    }
    set_counter(&families::TAP_WRITTEN_BYTES, &[], tap.bytes.value());
    for (outcome, files) in [
        ("begun", &tap.files_begun),
        ("completed", &tap.files_completed),
        ("failed", &tap.files_failed),
        ("recovered", &tap.files_recovered),
    ] {
        set_counter(&families::TAP_FILES, &[outcome], files.value());
    }
}

fn set_counter(family: &Family, values: &[&str], value: u64) {
    counter!(family.name, labels(family, values)).absolute(value);
}

fn set_gauge(family: &Family, values: &[&str], value: f64) {
    gauge!(family.name, labels(family, values)).set(value);
}

fn labels(family: &Family, values: &[&str]) -> Vec<Label> {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    family.labels.iter().zip(values).map(|(&name, value)| Label::new(name, (*value).to_owned())).collect()
}

fn seconds(cycles: u64, tsc_hz: u64) -> f64 {
    cycles as f64 / tsc_hz.max(1) as f64
}

/// Sorts families by name and the lines of each family: the exporter keeps both in hash maps, and a page
/// that changes its order at each scrape cannot be read or compared.
fn in_stable_order(page: &str) -> String {
    let mut families: Vec<Vec<&str>> = page
        .split("\n\n")
        .filter(|family| !family.trim().is_empty())
        .map(|family| {
            let (head, mut lines): (Vec<&str>, Vec<&str>) =
                family.lines().partition(|line| line.starts_with('#'));
            lines.sort_unstable();
            [head, lines].concat()
        })
        .collect();
    families.sort_unstable();
    let mut sorted = String::with_capacity(page.len());
    for family in families {
        for line in family {
            sorted.push_str(line);
            sorted.push('\n');
        }
        sorted.push('\n');
    }
    sorted
}

/// Writes a histogram per queue; `snapshots` are in the order of the queues, in TSC cycles.
fn write_histogram(
    page: &mut String,
    telemetry: &Telemetry,
    family: &Family,
    bounds_ns: &[u64],
    snapshots: &[HistogramSnapshot],
) {
    if telemetry.queues.is_empty() {
        return;
    }
    let Family { name, kind, help, .. } = family;
    // Writing into a String cannot fail.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {}", kind.label());
    for (entry, snapshot) in telemetry.queues.iter().zip(snapshots) {
        let labels = written_labels(family, &queue_labels(entry).each_ref().map(String::as_str));
        for &bound_ns in bounds_ns {
            let bound_cycles = u128::from(bound_ns) * u128::from(telemetry.tsc_hz) / 1_000_000_000;
            let count = snapshot.count_at_most(u64::try_from(bound_cycles).unwrap_or(u64::MAX));
            let le = bound_ns as f64 / 1e9;
            let _ = writeln!(page, "{name}_bucket{{{labels},le=\"{le}\"}} {count}");
        }
        let (count, sum) = (snapshot.count(), seconds(snapshot.sum(), telemetry.tsc_hz));
        let _ = writeln!(page, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(page, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

/// One line per queue that was polled twice.
fn write_longest_poll_gaps(page: &mut String, telemetry: &Telemetry) {
    let Family { name, kind, help, .. } = families::POLL_GAP_MAX;
    let mut lines = String::new();
    for entry in &telemetry.queues {
        if let Some(longest) = entry.counters.poll_gap.longest() {
            let [port, queue, worker] = queue_labels(entry);
            let values = [&*port, &*queue, &*worker, longest.stage.label()];
            let labels = written_labels(&families::POLL_GAP_MAX, &values);
            let _ = writeln!(lines, "{name}{{{labels}}} {}", seconds(longest.cycles, telemetry.tsc_hz));
        }
    }
    if !lines.is_empty() {
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {}\n{lines}", kind.label());
    }
}

/// Values of the labels `port`, `queue` and `worker`.
fn queue_labels(entry: &QueueEntry) -> [String; 3] {
    [entry.port.clone(), entry.queue.to_string(), entry.worker.to_string()]
}

fn written_labels(family: &Family, values: &[&str]) -> String {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let labels = family.labels.iter().zip(values);
    labels.map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect::<Vec<_>>().join(",")
}

/// A label value as the text format wants it: backslash, quote and line feed escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
