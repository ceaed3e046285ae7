//! The reference pages for operators, rendered from the code's own tables.
//!
//! `docs/metrics.md` and `docs/drop-reasons.md` are these functions' output, kept in the tree so that they
//! can be read without building; a test compares them.

use std::fmt::Write as _;

use super::families;
use crate::fastpath::DropReason;

/// `docs/metrics.md`: every metric family with type, labels and meaning, in Markdown.
pub fn metrics_markdown() -> String {
    let mut page = String::from(METRICS_HEAD);
    page.push_str("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for family in families::ALL {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            family.name,
            family.kind.label(),
            labels.join(", "),
            family.help
        );
    }
    page.push_str(METRICS_TAIL);
    page
}

/// `docs/drop-reasons.md`: every drop reason with its stage and meaning, in the packet path's order, in
/// Markdown.
pub fn drop_reasons_markdown() -> String {
    let mut page = String::from(DROP_REASONS_HEAD);
    let mut stage = "";
    for &reason in DropReason::ALL {
        if reason.stage() != stage {
            stage = reason.stage();
            let _ = writeln!(page, "\n## Stage `{stage}`\n\n| reason | meaning |\n|---|---|");
        }
        let _ = writeln!(page, "| `{}` | {} |", reason.label(), reason.meaning());
    }
    page
}

const METRICS_HEAD: &str = "# Metrics

The metrics thread serves these at `/metrics` in the Prometheus text format; `/ready` answers 200 while the
gateway forwards traffic and 503 otherwise, `/health` answers 200 while the process lives. This page is the
output of `voxlane docs metrics`.

Counters are written by one worker each, without a lock, and read at the scrape. While traffic runs, a scrape
may see a burst half counted; once a queue is quiet its balance is exact:

    rx + handed_over{direction=\"in\"} == tx + dropped (all reasons) + punted + handed_over{direction=\"out\"}

Frames that the gateway's own host side makes (ARP, ND and ICMP replies) are `originated` and no part of it.

";

const METRICS_TAIL: &str = "
## Questions that an operator asks

Latency of the last five minutes, 99.9th percentile, per port (the percentile gauges count from the start):

    histogram_quantile(0.999, sum by (port, le) (rate(voxlane_latency_seconds_bucket[5m])))

What is dropped, and why:

    topk(10, sum by (reason) (rate(voxlane_dropped_packets_total[5m])) > 0)

Does the gateway lose frames before it sees them (RX ring full, no buffer left)?

    rate(voxlane_port_missed_packets_total[5m]) > 0 or rate(voxlane_port_rx_no_buffer_total[5m]) > 0

How busy is a worker (a poll-mode core always shows 100 % to the kernel)?

    rate(voxlane_worker_busy_loops_total[1m]) / rate(voxlane_worker_loops_total[1m])

What does a packet cost in each stage, in TSC cycles?

    rate(voxlane_stage_cycles_total{stage!=\"idle\"}[1m]) / rate(voxlane_stage_packets_total[1m])

Did a worker ever stop polling (our stop-the-world), for how long, and in what?

    topk(5, voxlane_poll_gap_max_seconds)

A gap that the kernel or a hypervisor caused lands in whatever stage the worker was in, most often `idle`: look at
`isolcpus`, interrupts and steal time. Stages: `rx`, `classify`, `find_stream`, `open`, `inspect`, `reencapsulate`,
`seal`, `tx`, `handover` (taking frames over from other workers), `housekeeping` (commands and frames from the control
thread), `idle` (polls that found nothing, and the loop around them).

Does a worker use the heap? It must not:

    voxlane_worker_heap_allocations_total + voxlane_worker_heap_frees_total > 0

Does every pool reuse what it has (at least 99.9 % once warm), and was one ever empty?

    min by (pool) (rate(voxlane_pool_reused_total[5m]) / rate(voxlane_pool_acquired_total[5m])) < 0.999
    voxlane_pool_exhausted_total > 0

Bucket bounds of the histograms are fixed, five a decade up to 1 s: `voxlane_latency_seconds` from 1 µs,
`voxlane_poll_gap_seconds` from 100 ns. The real bound of a bucket lies at most 3.2 % below its label.
";

const DROP_REASONS_HEAD: &str = "# Drop reasons

A frame that is not forwarded has exactly one reason: the first check that refused it. Reasons are listed in the
order of the packet path. Each is the `reason` label, and its stage the `stage` label, of
`voxlane_dropped_packets_total`. This page is the output of `voxlane docs drop-reasons`.
";

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
    const DROP_REASONS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/drop-reasons.md"));

    #[test]
    fn docs_metrics_md_is_current() {
        assert!(METRICS == metrics_markdown(), "stale: run `voxlane docs metrics > docs/metrics.md`");
    }

    #[test]
    fn docs_drop_reasons_md_is_current() {
        assert!(
            DROP_REASONS == drop_reasons_markdown(),
            "stale: run `voxlane docs drop-reasons > docs/drop-reasons.md`"
        );
    }

    #[test]
    fn every_family_and_every_reason_has_a_row() {
        for family in families::ALL {
            assert!(METRICS.contains(&format!("| `{}` | {} |", family.name, family.kind.label())));
        }
        for &reason in DropReason::ALL {
            assert!(DROP_REASONS.contains(&format!("| `{}` | {} |", reason.label(), reason.meaning())));
        }
    }

    /// A stage that came twice would be two tables in the page and a reason out of order in the path.
    #[test]
    fn every_stage_is_one_table() {
        let mut stages: Vec<&str> = DROP_REASONS.lines().filter(|line| line.starts_with("## ")).collect();
        let tables = stages.len();
        stages.sort_unstable();
        stages.dedup();
        assert_eq!(stages.len(), tables);
    }
}
