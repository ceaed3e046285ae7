//! Results as Markdown, for the README.

use std::fmt::Write;

use super::figures::Results;

/// Session counts in the order of the table, as figure names have them.
pub const COUNTS: [&str; 5] = ["1", "1k", "20k", "100k", "1m"];

/// Payload sizes, likewise.
const PAYLOADS: [&str; 5] = ["20", "60", "160", "320", "960"];

/// The part of the README that follows from `results`; plots are beside them, at `plots` as seen from there.
pub fn markdown(results: &Results, plots: &str) -> String {
    let mut text = String::new();
    let machine = &results.machine;
    let kind = if machine.is_virtual { "a virtual machine with" } else { "" };
    let versions = &results.versions;
    let _ = writeln!(
        text,
        "Measured on {}, {kind} {} cores, by `{}` at {} with DPDK {}; each figure is the median of its runs.\n",
        machine.cpu,
        machine.cores,
        results.command,
        versions.voxlane,
        versions.dpdk.trim_start_matches("DPDK ")
    );
    relay(&mut text, results, "", "sessions", &COUNTS, "");
    // A second provider's figures, if there are any.
    if results.figures.keys().any(|name| name.starts_with("aes-gcm.relay.")) {
        text.push_str("\nThe same with `--crypto aes-gcm`:\n\n");
        relay(&mut text, results, "aes-gcm.", "sessions", &COUNTS, "");
    }
    if results.value("relay.payload.160.ns_per_packet").is_some() {
        text.push('\n');
        relay(&mut text, results, "", "payload, bytes", &PAYLOADS, "payload.");
    }
    text.push('\n');
    for (name, label) in PLOTS {
        if super::plot::has_plot(results, name) {
            let _ = writeln!(text, "![{label}]({plots}/{name}.svg)");
        }
    }
    text.push('\n');
    list(&mut text, results);
    for (name, why) in &results.skipped {
        let _ = writeln!(text, "- Not measured: `{name}`: {why}.");
    }
    text
}

/// Plots by file name, with what they show.
pub const PLOTS: [(&str, &str); 3] = [
    ("over-limit", "Cost of a relayed packet and of the limit, by number of sessions"),
    ("latency", "Latency at 10, 50 and 90 % of the highest rate without loss"),
    ("stages", "Cost of a relayed packet by stage"),
];

fn relay(text: &mut String, results: &Results, prefix: &str, title: &str, keys: &[&str], infix: &str) {
    let _ = writeln!(
        text,
        "| {title} | relay, ns/packet | limit: macswap + two AEADs, ns | over the limit | Mpps per core |\n\
         |---:|---:|---:|---:|---:|"
    );
    for key in keys {
        let value = |kind: &str, name: &str| results.value(&format!("{prefix}{kind}.{infix}{key}.{name}"));
        let (Some(relay), Some(limit), Some(over)) =
            (value("relay", "ns_per_packet"), value("limit", "ns_per_packet"), value("relay", "over_limit"))
        else {
            continue;
        };
        let parts = match (value("limit", "macswap_ns_per_packet"), value("limit", "crypto_ns_per_packet")) {
            (Some(mac_swap), Some(crypto)) => format!("{mac_swap:.0} + {crypto:.0} = {limit:.0}"),
            _ => format!("{limit:.0}"),
        };
        let _ = writeln!(text, "| {key} | {relay:.0} | {parts} | {over:.2} | {:.2} |", 1e3 / relay);
    }
}

fn list(text: &mut String, results: &Results) {
    let value = |name: &str| results.value(name);
    let mut line = |line: Option<String>| {
        if let Some(line) = line {
            let _ = writeln!(text, "- {line}");
        }
    };
    line(value("ndr.mpps").map(|mpps| {
        format!("Highest rate without loss, 1,000 sessions, one worker: {mpps:.2} million packets/s.")
    }));
    for percent in ["10", "50", "90"] {
        let us = |name: &str| value(&format!("latency.ndr{percent}.{name}_ns")).map(|ns| ns / 1e3);
        line(match (us("p50"), us("p99"), us("p999"), us("max")) {
            (Some(p50), Some(p99), Some(p999), Some(max)) => Some(format!(
                "Latency at {percent} % of it, end to end: p50 {p50:.1} µs, p99 {p99:.1} µs, p99.9 {p999:.1} µs, \
                 longest {max:.0} µs."
            )),
            _ => None,
        });
    }
    line(value("generator.ns_per_packet").zip(value("generator.mpps")).map(|(ns, mpps)| {
        format!(
            "The generator's ceiling, against testpmd as a mirror: {ns:.0} ns per packet, {mpps:.1} Mpps."
        )
    }));
    line(value("framepool.16_threads.speedup").zip(value("framepool.16_threads.speedup_over_heap")).map(
        |(shared, heap)| {
            format!(
                "Frames of mixed sizes, 16 threads: from pools of their own {shared:.1} times as many as from one pool \
                 with a lock, {heap:.1} times as many as from the heap."
            )
        },
    ));
    line(value("memory.bytes_per_session").map(|bytes| format!("Memory per session: {bytes:.0} bytes.")));
    line(value("soak.packets").map(|packets| {
        let count = |name: &str| value(name).map_or("not counted".to_owned(), |count| format!("{count:.0}"));
        format!(
            "In one run of {:.1} million packets: heap allocations on the worker: {}; system calls: {}.",
            packets / 1e6,
            count("worker.allocations"),
            count("worker.syscalls")
        )
    }));
    line(
        value("pollgap.max_ns")
            .map(|ns| format!("Longest time between two polls of a queue in that run: {:.1} µs.", ns / 1e3)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::readme::tests::results;

    #[test]
    fn every_row_has_its_figures_and_nothing_is_made_up() {
        let text = markdown(&results(), "plots");
        assert!(text.contains("| 1k | 600 | 90 + 360 = 450 | 1.33 | 1.67 |"), "{text}");
        assert!(!text.contains("| 100k |"), "{text}");
        assert!(text.contains("1.50 million packets/s"), "{text}");
        assert!(text.contains("`pollgap.max_ns`: no such family."), "{text}");
        assert!(text.contains("plots/over-limit.svg") && !text.contains("stages.svg"), "{text}");
    }
}
