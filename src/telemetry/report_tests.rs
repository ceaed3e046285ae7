//! The final report: clean only when everything is accounted for.

use std::sync::Arc;

use super::super::counters::{QueueCounters, WorkerCounters};
use super::super::pool_counters::PoolUse;
use super::super::sources::{PoolEntry, Read};
use super::super::test_sources::fed;
use super::*;

/// A drained gateway after a good run: balances exact, pools full, no panic.
fn drained() -> Telemetry {
    let mut telemetry = fed(&Arc::default());
    telemetry.workers.iter_mut().for_each(|worker| worker.counters = Arc::new(WorkerCounters::new()));
    telemetry.pools = vec![PoolEntry { name: "rx".to_owned(), kept_by_driver: 0, read: pool(0) }];
    telemetry
}

fn pool(in_use: u64) -> Read<PoolUse> {
    Box::new(move || PoolUse { size: 8192, in_use, ..PoolUse::default() })
}

#[test]
fn a_drained_gateway_is_clean_and_says_so() {
    let report = FinalReport::collect(&drained());
    assert!(report.clean && report.is_clean());
    assert_eq!(report.total.tx, 3_000);
    assert_eq!(report.total.handed_in, 60);
    assert_eq!(report.dropped.len(), DropReason::COUNT);
    let auth_failed = DropReason::SrtpAuthFailed.index() as u64;
    assert_eq!(report.dropped["srtp_auth_failed"], 3 * (100 + auth_failed));
    // Forwarded all the same, so not in the balance.
    assert_eq!(report.tolerated.len(), DropReason::COUNT);
    assert_eq!(report.tolerated["srtp_auth_failed"], 3 * (200 + auth_failed));
    let text = report.to_string();
    assert!(text.contains("pool rx: full again, 8192 objects\n"), "{text}");
    assert!(text.contains(&format!("\ntolerated srtp_auth_failed: {}\n", 3 * (200 + auth_failed))), "{text}");
    assert_eq!(text.matches("  exact\n").count(), 4, "three queues and the sum: {text}");
    assert!(
        !text.chars().collect::<Vec<_>>().windows(4).any(|w| w.iter().all(char::is_ascii_uppercase)),
        "{text}"
    );
}

#[test]
fn what_was_never_tolerated_is_not_told() {
    let mut telemetry = drained();
    telemetry.queues.clear();
    let report = FinalReport::collect(&telemetry);
    assert!(report.tolerated.is_empty() && !report.to_string().contains("tolerated"), "{report}");
}

#[test]
fn each_thing_that_is_wrong_makes_the_report_unclean_and_is_named() {
    type Fault = fn(&mut Telemetry);
    let faults: [(Fault, &str); 5] = [
        (|t| t.queues[0].counters.rx_packets.add(7), "  7 UNACCOUNTED\n"),
        (|t| t.queues[0].counters.tx_packets.add(7), "  7 COUNTED TWICE\n"),
        (
            |t| {
                t.queues[0].counters.rx_packets.add(2);
                t.queues[0].counters.handed_over_out.add(2);
            },
            "handed over: 62 out, 60 in: frames LEFT IN A RING\n",
        ),
        (|t| t.pools[0].read = pool(3), "pool rx: 3 of 8192 objects MISSING\n"),
        (|t| t.workers[1].counters.panics.add(1), "workers PANICKED 1 times"),
    ];
    for (fault, named) in faults {
        let mut telemetry = drained();
        fault(&mut telemetry);
        let report = FinalReport::collect(&telemetry);
        assert!(!report.clean && !report.is_clean(), "{named}");
        assert!(report.to_string().contains(named), "{named}\n{report}");
    }
}

#[test]
fn errors_of_two_queues_that_cancel_in_the_sum_are_still_unclean() {
    let telemetry = drained();
    telemetry.queues[0].counters.rx_packets.add(1);
    telemetry.queues[1].counters.tx_packets.add(1);
    let report = FinalReport::collect(&telemetry);
    assert!(report.total.is_exact());
    assert!(!report.is_clean());
}

#[test]
fn json_holds_what_the_table_holds() {
    let report = FinalReport::collect(&drained());
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("valid JSON");
    assert_eq!(json["clean"], true);
    assert_eq!(json["version"], "1.2.3");
    assert_eq!(json["queues"][1]["port"], "net0");
    assert_eq!(json["queues"][1]["queue"], 1);
    assert_eq!(json["queues"][1]["tx"], 1_000);
    assert_eq!(json["queues"][1]["exact"], true);
    assert_eq!(json["queues"][1]["originated"], 17);
    assert_eq!(json["queues"][1]["dropped_by_reason"]["frame_segmented"], 100);
    assert_eq!(json["queues"][1]["tolerated_by_reason"]["frame_segmented"], 200);
    assert_eq!(json["tolerated"]["frame_segmented"], 600);
    assert_eq!(json["total"]["rx"], report.total.rx);
    assert_eq!(json["dropped"]["frame_segmented"], 300);
    assert_eq!(json["latency"]["max_ns"], 2_345_678);
    assert_eq!(json["pools"][0]["in_use"], 0);
    assert_eq!(json["queues"][1]["poll_gap"]["max_ns"], 3_456);
    assert_eq!(json["queues"][1]["poll_gap"]["max_stage"], "open");
    assert_eq!(json["queues"][1]["poll_gap"]["p50_ns"], 703);
    assert_eq!(json["workers"][1]["worker"], 1);
    assert_eq!(json["workers"][1]["heap_allocations"], 0);
    assert_eq!(json["workers"][1]["lockdown"], false);
    assert!(json["duration_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
}

#[test]
fn the_longest_poll_gap_of_all_queues_and_each_worker_are_told() {
    let telemetry = fed(&Arc::default());
    telemetry.queues[1].counters.poll_gap.record(9_900, || Stage::Tx);
    let text = FinalReport::collect(&telemetry).to_string();
    assert!(text.contains("longest poll gap: 9.9 us on port net0 queue 1, in tx\n"), "{text}");
    let worker = "worker 0: 35 heap allocations, 36 frees, locked out of the kernel\n";
    assert!(text.contains(worker), "{text}");
    let text = FinalReport::collect(&drained()).to_string();
    assert!(text.contains("worker 1: 0 heap allocations, 0 frees\n"), "{text}");
}

#[test]
fn latency_is_in_nanoseconds_and_absent_when_nothing_was_forwarded() {
    let counters = QueueCounters::new();
    assert_eq!(LatencyReport::of(&counters.latency.snapshot(), 2_000_000_000), None);
    counters.latency.record_n(60, 99);
    counters.latency.record(4_000);
    let latency = LatencyReport::of(&counters.latency.snapshot(), 2_000_000_000).expect("not empty");
    let expected = LatencyReport { p50_ns: 30, p90_ns: 30, p99_ns: 30, p99_9_ns: 2_000, max_ns: 2_000 };
    assert_eq!(latency, expected);
    let text = latency.to_string();
    assert_eq!(text, "p50 0.0 us, p90 0.0 us, p99 0.0 us, p99.9 2.0 us, max 2.0 us");
    let mut telemetry = drained();
    telemetry.queues.clear();
    let report = FinalReport::collect(&telemetry);
    assert_eq!(report.latency, None);
    assert!(!report.to_string().contains("latency"));
}

#[test]
fn a_pool_tells_how_it_was_used_and_rounds_its_reuse_rate_down() {
    let mut telemetry = drained();
    let used = PoolUse {
        size: 100,
        in_use: 0,
        acquired: 100_000,
        reused: 99_999,
        released: 100_000,
        high_water: 64,
        exhausted: 2,
    };
    telemetry.pools[0].read = Box::new(move || used);
    let report = FinalReport::collect(&telemetry);
    assert!(report.is_clean(), "exhaustion is a counted drop elsewhere, and no leak");
    let line = "pool rx: full again, 100 objects; 100000 acquired, 99.999 % reused, at most 64 at once; \
                EXHAUSTED 2 times\n";
    assert!(report.to_string().contains(line), "{report}");
    telemetry.pools[0].read = Box::new(move || PoolUse { acquired: 1_000_000, reused: 999_999, ..used });
    let report = FinalReport::collect(&telemetry);
    assert!(report.to_string().contains("99.999 % reused"), "not 100 %: {report}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("valid JSON");
    assert_eq!(json["pools"][0]["reuse_rate"], 0.999_999);
    assert_eq!(json["pools"][0]["exhausted"], 2);
}

#[test]
fn a_file_is_written_and_an_unwritable_one_is_named() {
    let report = FinalReport::collect(&drained());
    let file = std::env::temp_dir().join(format!("voxlane-report-{}.json", std::process::id()));
    report.write_json(&file).expect("the temporary directory is writable");
    let written = std::fs::read_to_string(&file).expect("just written");
    std::fs::remove_file(&file).expect("just written");
    assert_eq!(written, report.to_json());
    let error = report.write_json(Path::new("/nonexistent/report.json")).expect_err("no such directory");
    assert!(error.to_string().contains("/nonexistent/report.json"), "{error}");
}
