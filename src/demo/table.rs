//! What the demo shows: a row each second and the summary.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::Summary;

/// Rows between two headings.
const HEADING_EVERY: u64 = 20;

/// The live table. One row a second.
pub(super) struct Table {
    rows: u64,
}

impl Table {
    pub(super) fn new() -> Self {
        Table { rows: 0 }
    }

    /// `progress` is the generator's line, `page` the gateway's metrics page.
    pub(super) fn row(&mut self, progress: &Value, page: Option<&str>) {
        if self.rows.is_multiple_of(HEADING_EVERY) {
            eprintln!(
                "{:>6} {:>11} {:>11} {:>8} | {:>9} {:>9} {:>9} | {:>9} {:>9} {:>8}",
                "second",
                "packets/s",
                "received",
                "missing",
                "p50 µs",
                "p99 µs",
                "max µs",
                "gw p50",
                "gw p99",
                "drops"
            );
        }
        self.rows += 1;
        let gateway = page.map(Gateway::read).unwrap_or_default();
        eprintln!(
            "{:>6} {:>11} {:>11} {:>8} | {:>9} {:>9} {:>9} | {:>9} {:>9} {:>8}",
            self.rows,
            count(progress, &["pps_received"]),
            count(progress, &["received"]),
            count(progress, &["lost"]),
            micros(&progress["latency_ns"]["p50"]),
            micros(&progress["latency_ns"]["p99"]),
            micros(&progress["latency_ns"]["max"]),
            gateway.percentile("50"),
            gateway.percentile("99"),
            gateway.dropped.map_or("-".to_owned(), |dropped| dropped.to_string()),
        );
    }
}

/// What a row shows of the gateway's metrics page.
#[derive(Default)]
struct Gateway {
    dropped: Option<u64>,
    /// Largest value over all queues by percentile, in seconds.
    percentiles: BTreeMap<String, f64>,
}

impl Gateway {
    fn read(page: &str) -> Self {
        let mut gateway = Gateway { dropped: Some(0), percentiles: BTreeMap::new() };
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            if series.starts_with("voxlane_dropped_packets_total{") {
                gateway.dropped = gateway.dropped.map(|sum| sum + value as u64);
            } else if series.starts_with("voxlane_latency_percentile_seconds{")
                && let Some((_, rest)) = series.split_once("percentile=\"")
                && let Some((percentile, _)) = rest.split_once('"')
            {
                let largest = gateway.percentiles.entry(percentile.to_owned()).or_default();
                *largest = largest.max(value);
            }
        }
        gateway
    }

    fn percentile(&self, percentile: &str) -> String {
        self.percentiles.get(percentile).map_or("-".to_owned(), |seconds| format!("{:.1}", seconds * 1e6))
    }
}

/// The summary for people.
pub(super) fn summary(summary: &Summary) -> String {
    let (generator, gateway) = (&summary.generator, &summary.gateway);
    let mut text = String::from("\n");
    let of = |key: &str| count(generator, &[key]);
    let _ = writeln!(
        text,
        "voice     sent {}, received {}, lost {}, duplicated {}, reordered {}",
        of("sent"),
        of("received"),
        of("lost"),
        of("duplicated"),
        of("reordered")
    );
    let _ = writeln!(
        text,
        "content   authentication failed {}, corrupted {}, unexpected {}",
        of("auth_failed"),
        of("corrupted"),
        of("unexpected")
    );
    let latency = &generator["latency_ns"];
    let _ = writeln!(
        text,
        "latency   end to end: p50 {} µs, p90 {} µs, p99 {} µs, p99.9 {} µs, max {} µs",
        micros(&latency["p50"]),
        micros(&latency["p90"]),
        micros(&latency["p99"]),
        micros(&latency["p999"]),
        micros(&latency["max"])
    );
    let inside = &gateway["latency"];
    let _ = writeln!(
        text,
        "          inside the gateway: p50 {} µs, p90 {} µs, p99 {} µs, p99.9 {} µs, max {} µs",
        micros(&inside["p50_ns"]),
        micros(&inside["p90_ns"]),
        micros(&inside["p99_ns"]),
        micros(&inside["p99_9_ns"]),
        micros(&inside["max_ns"])
    );
    let total = &gateway["total"];
    let _ = writeln!(
        text,
        "balance   rx {} = tx {} + dropped {} + punted {}",
        count(total, &["rx"]),
        count(total, &["tx"]),
        count(total, &["dropped"]),
        count(total, &["punted"])
    );
    if let Some(drops) = gateway["dropped"].as_object().filter(|drops| !drops.is_empty()) {
        let list: Vec<String> = drops.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        let _ = writeln!(text, "drops     {}", list.join(", "));
    }
    for worker in gateway["workers"].as_array().into_iter().flatten() {
        let kernel = match worker["lockdown"].as_bool() {
            Some(true) => "no system call (one would have ended it)",
            _ => "system calls not ruled out",
        };
        let _ = writeln!(
            text,
            "worker    {}: {} heap allocations, {} frees, {kernel}",
            count(worker, &["worker"]),
            count(worker, &["heap_allocations"]),
            count(worker, &["heap_frees"])
        );
    }
    let gaps = gateway["queues"].as_array().into_iter().flatten().map(|queue| &queue["poll_gap"]);
    if let Some(gap) = gaps.max_by_key(|gap| gap["max_ns"].as_u64()) {
        let stage = gap["max_stage"].as_str().unwrap_or("-");
        let _ = writeln!(text, "poll gap  at most {} µs, in {stage}", micros(&gap["max_ns"]));
    }
    for pool in gateway["pools"].as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "pool      {}: {} of {} buffers back",
            pool["name"].as_str().unwrap_or("?"),
            pool["size"].as_u64().unwrap_or(0).saturating_sub(pool["in_use"].as_u64().unwrap_or(0)),
            count(pool, &["size"])
        );
    }
    let verdict = if summary.verdict == "pass" {
        "pass: nothing lost, corrupted, duplicated or unaccounted for"
    } else {
        "FAIL: see the figures above"
    };
    let _ = writeln!(text, "verdict   {verdict}");
    text
}

fn count(value: &Value, path: &[&str]) -> String {
    let value = path.iter().fold(value, |value, key| &value[*key]);
    value.as_f64().map_or("-".to_owned(), |number| format!("{number:.0}"))
}

fn micros(ns: &Value) -> String {
    ns.as_f64().map_or("-".to_owned(), |ns| format!("{:.1}", ns / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_drops_and_percentiles_from_a_page() {
        let page = "# HELP voxlane_dropped_packets_total x\n\
            voxlane_dropped_packets_total{port=\"a\",reason=\"srtp_replayed\"} 3\n\
            voxlane_dropped_packets_total{port=\"b\",reason=\"tx_full\"} 4\n\
            voxlane_latency_percentile_seconds{port=\"a\",percentile=\"50\"} 0.000002\n\
            voxlane_latency_percentile_seconds{port=\"b\",percentile=\"50\"} 0.000003\n";
        let gateway = Gateway::read(page);
        assert_eq!(gateway.dropped, Some(7));
        assert_eq!(gateway.percentile("50"), "3.0");
        assert_eq!(gateway.percentile("99"), "-");
    }
}
