//! The page: complete, correct and accepted by Prometheus' own checker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use super::super::pool_counters::PoolUse;
use super::super::test_sources::{TSC_HZ, fed};
use super::*;

fn page() -> String {
    Exporter::new(Arc::new(fed(&Arc::new(AtomicBool::new(true))))).render()
}

/// Every sample of the page: the text before the value, and the value.
fn samples(page: &str) -> BTreeMap<String, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
            (series.to_owned(), value.parse().expect("a sample's value is a number"))
        })
        .collect()
}

#[test]
fn promtool_accepts_the_page() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: apt-get install prometheus");
    let page = page();
    promtool.stdin.take().expect("piped").write_all(page.as_bytes()).expect("promtool reads the page");
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{page}", String::from_utf8_lossy(&said));
}

#[test]
fn every_declared_family_is_on_the_page_with_help_type_labels_and_a_value() {
    let page = page();
    let samples = samples(&page);
    for family in families::ALL {
        assert!(page.contains(&format!("# HELP {} {}\n", family.name, family.help)), "{}", family.name);
        assert!(
            page.contains(&format!("# TYPE {} {}\n", family.name, family.kind.label())),
            "{}",
            family.name
        );
        let name = match family.kind {
            FamilyKind::Histogram => format!("{}_count", family.name),
            _ => family.name.to_owned(),
        };
        let prefix =
            if family.labels.is_empty() { name.clone() } else { format!("{name}{{{}=\"", family.labels[0]) };
        let of_family: Vec<_> =
            samples.range(prefix.clone()..).take_while(|(series, _)| series.starts_with(&prefix)).collect();
        assert!(!of_family.is_empty(), "{name} has no sample");
        for (series, value) in of_family {
            assert!(*value > 0.0, "{series} was fed and shows {value}");
            for label in family.labels {
                assert!(series.contains(&format!("{label}=\"")), "{series} lacks {label}");
            }
        }
    }
}

#[test]
fn the_page_shows_no_family_that_is_not_declared() {
    let declared: BTreeSet<&str> = families::ALL.iter().map(|family| family.name).collect();
    let page = page();
    let shown: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(shown.len(), families::ALL.len(), "each once");
    assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), declared);
}

#[test]
fn values_reach_the_series_that_they_belong_to() {
    let samples = samples(&page());
    let queue = "port=\"net0\",queue=\"1\",worker=\"1\"";
    for (series, value) in [
        (format!("voxlane_rx_bytes_total{{{queue}}}"), 11.0),
        (format!("voxlane_rx_bursts_total{{{queue}}}"), 12.0),
        (format!("voxlane_empty_polls_total{{{queue}}}"), 13.0),
        (format!("voxlane_tx_packets_total{{{queue}}}"), 1_000.0),
        (format!("voxlane_tx_bytes_total{{{queue}}}"), 14.0),
        (format!("voxlane_tx_bursts_total{{{queue}}}"), 15.0),
        (format!("voxlane_tx_retries_total{{{queue}}}"), 16.0),
        (format!("voxlane_originated_packets_total{{{queue}}}"), 17.0),
        (format!("voxlane_originated_dropped_packets_total{{{queue}}}"), 18.0),
        (format!("voxlane_punted_packets_total{{{queue}}}"), 19.0),
        (format!("voxlane_handed_over_packets_total{{{queue},direction=\"out\"}}"), 20.0),
        (format!("voxlane_latency_max_seconds{{{queue}}}"), 0.002345678),
        (format!("voxlane_first_packet_latency_seconds{{{queue}}}"), 0.000007654),
        ("voxlane_worker_loops_total{worker=\"1\"}".to_owned(), 31.0),
        ("voxlane_worker_busy_loops_total{worker=\"1\"}".to_owned(), 32.0),
        ("voxlane_worker_panics_total{worker=\"0\"}".to_owned(), 33.0),
        ("voxlane_quarantined_streams_total{worker=\"0\"}".to_owned(), 34.0),
        (format!("voxlane_poll_gap_seconds_count{{{queue}}}"), 3.0),
        (format!("voxlane_poll_gap_max_seconds{{{queue},stage=\"open\"}}"), 0.000003456),
        ("voxlane_worker_heap_allocations_total{worker=\"0\"}".to_owned(), 35.0),
        ("voxlane_worker_heap_frees_total{worker=\"0\"}".to_owned(), 36.0),
        ("voxlane_worker_lockdown{worker=\"0\"}".to_owned(), 1.0),
        ("voxlane_stage_cycles_total{worker=\"0\",stage=\"rx\"}".to_owned(), 3_000.0),
        ("voxlane_stage_packets_total{worker=\"0\",stage=\"rx\"}".to_owned(), 300.0),
        ("voxlane_stage_cycles_total{worker=\"1\",stage=\"idle\"}".to_owned(), 3_010.0),
        ("voxlane_port_rx_packets_total{port=\"net0\"}".to_owned(), 1001.0),
        ("voxlane_port_tx_packets_total{port=\"net0\"}".to_owned(), 1002.0),
        ("voxlane_port_missed_packets_total{port=\"net0\"}".to_owned(), 1003.0),
        ("voxlane_port_rx_errors_total{port=\"net0\"}".to_owned(), 1004.0),
        ("voxlane_port_tx_errors_total{port=\"net0\"}".to_owned(), 1005.0),
        ("voxlane_port_rx_no_buffer_total{port=\"net0\"}".to_owned(), 1006.0),
        ("voxlane_link_up{port=\"net0\"}".to_owned(), 1.0),
        ("voxlane_pool_objects{pool=\"rx\"}".to_owned(), 8192.0),
        ("voxlane_pool_in_use{pool=\"rx\"}".to_owned(), 513.0),
        ("voxlane_pool_high_water{pool=\"rx\"}".to_owned(), 514.0),
        ("voxlane_pool_acquired_total{pool=\"rx\"}".to_owned(), 3001.0),
        ("voxlane_pool_reused_total{pool=\"rx\"}".to_owned(), 3000.0),
        ("voxlane_pool_released_total{pool=\"rx\"}".to_owned(), 2488.0),
        ("voxlane_pool_exhausted_total{pool=\"rx\"}".to_owned(), 3.0),
        ("voxlane_pool_reuse_rate{pool=\"rx\"}".to_owned(), 3000.0 / 3001.0),
        ("voxlane_host_packets_total{kind=\"arp\",outcome=\"answered\"}".to_owned(), 2001.0),
        ("voxlane_host_packets_total{kind=\"icmp\",outcome=\"limited\"}".to_owned(), 2002.0),
        ("voxlane_sessions".to_owned(), 10_000.0),
        ("voxlane_sessions_added_total".to_owned(), 3001.0),
        ("voxlane_sessions_changed_total".to_owned(), 3002.0),
        ("voxlane_sessions_refused_total".to_owned(), 3003.0),
        ("voxlane_sessions_ended_total{reason=\"idle_timeout\"}".to_owned(), 3011.0),
        ("voxlane_ready".to_owned(), 1.0),
        ("process_start_time_seconds".to_owned(), 1_700_000_000.5),
        ("voxlane_build_info{version=\"1.2.3\",dpdk=\"DPDK 22.11.7\",crypto=\"aes-gcm\"}".to_owned(), 1.0),
    ] {
        assert_eq!(samples.get(&series), Some(&value), "{series}");
    }
}

#[test]
fn every_drop_reason_is_a_series_from_the_start() {
    let samples = samples(&page());
    for (n, &reason) in DropReason::ALL.iter().enumerate() {
        let series = format!(
            "voxlane_dropped_packets_total{{port=\"net0\",queue=\"0\",worker=\"0\",reason=\"{}\",stage=\"{}\"}}",
            reason.label(),
            reason.stage()
        );
        assert_eq!(samples.get(&series), Some(&(100.0 + n as f64)), "{series}");
    }
    for (n, &reason) in DropReason::ALL.iter().enumerate() {
        let series = format!(
            "voxlane_tolerated_packets_total{{port=\"net0\",queue=\"0\",worker=\"0\",reason=\"{}\"}}",
            reason.label()
        );
        let expected = reason.is_tolerable().then_some(200.0 + n as f64);
        assert_eq!(samples.get(&series).copied(), expected, "{series}");
    }
    let mut telemetry = fed(&Arc::default());
    telemetry.queues.iter_mut().for_each(|queue| queue.counters = Arc::default());
    let page = Exporter::new(Arc::new(telemetry)).render();
    let dropped = page.lines().filter(|line| line.starts_with("voxlane_dropped_packets_total{"));
    assert_eq!(dropped.count(), 3 * DropReason::COUNT, "also at zero");
}

#[test]
fn a_latency_histogram_is_cumulative_and_its_count_is_the_last_bucket() {
    let page = page();
    let samples = samples(&page);
    let labels = "port=\"net0\",queue=\"0\",worker=\"0\"";
    let bucket = |le: &str| {
        samples
            .get(&format!("voxlane_latency_seconds_bucket{{{labels},le=\"{le}\"}}"))
            .copied()
            .unwrap_or_else(|| panic!("no bucket {le}"))
    };
    // 600 values of 1.5 us, 399 of 20 us, one of 2.345678 ms.
    for (le, count) in [
        ("0.000001", 0.0),
        ("0.0000016", 600.0),
        ("0.000016", 600.0),
        ("0.000025", 999.0),
        ("0.0016", 999.0),
        ("0.0025", 1000.0),
        ("1", 1000.0),
        ("+Inf", 1000.0),
    ] {
        assert_eq!(bucket(le), count, "le {le}");
    }
    assert_eq!(samples[&format!("voxlane_latency_seconds_count{{{labels}}}")], 1000.0);
    let sum = (600.0 * 1_500.0 + 399.0 * 20_000.0 + 2_345_678.0) / TSC_HZ as f64;
    assert!((samples[&format!("voxlane_latency_seconds_sum{{{labels}}}")] - sum).abs() < 1e-12);

    let counts: Vec<u64> = page
        .lines()
        .filter(|line| line.starts_with(&format!("voxlane_latency_seconds_bucket{{{labels}")))
        .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a count"))
        .collect();
    assert_eq!(counts.len(), LATENCY_BOUNDS_NS.len() + 1);
    assert!(counts.is_sorted(), "{counts:?}");
}

#[test]
fn percentiles_are_in_seconds_and_within_the_error() {
    let samples = samples(&page());
    for (percentile, truth) in [("50", 1.5e-6), ("90", 20e-6), ("99", 20e-6), ("99.9", 20e-6)] {
        let series = format!(
            "voxlane_latency_percentile_seconds{{port=\"net0\",queue=\"0\",worker=\"0\",percentile=\"{percentile}\"}}"
        );
        let found = samples[&series];
        assert!((truth..=truth * (1.0 + 1.0 / 32.0)).contains(&found), "{series} {found}");
    }
}

#[test]
fn a_queue_that_forwarded_nothing_shows_no_latency_and_counts_of_zero() {
    let mut telemetry = fed(&Arc::default());
    telemetry.queues.truncate(1);
    telemetry.queues.iter_mut().for_each(|queue| queue.counters = Arc::default());
    let page = Exporter::new(Arc::new(telemetry)).render();
    assert!(!page.contains("voxlane_latency_percentile_seconds{"));
    assert!(!page.contains("voxlane_latency_max_seconds{"));
    assert!(page.contains("voxlane_latency_seconds_count{port=\"net0\",queue=\"0\",worker=\"0\"} 0\n"));
    assert!(!page.contains("voxlane_poll_gap_max_seconds"));
    assert!(page.contains("voxlane_ready 0\n"));
}

#[test]
fn a_pool_that_nobody_asked_shows_no_reuse_rate() {
    let mut telemetry = fed(&Arc::default());
    telemetry.pools[0].read = Box::new(|| PoolUse { size: 8, ..PoolUse::default() });
    let page = Exporter::new(Arc::new(telemetry)).render();
    assert!(!page.contains("voxlane_pool_reuse_rate{"), "{page}");
    assert!(page.contains("voxlane_pool_acquired_total{pool=\"rx\"} 0\n"));
}

#[test]
fn a_second_scrape_shows_what_changed_in_the_same_order() {
    let telemetry = Arc::new(fed(&Arc::new(AtomicBool::new(true))));
    let exporter = Exporter::new(Arc::clone(&telemetry));
    let first = exporter.render();
    assert_eq!(exporter.render(), first, "nothing changed, so nothing differs");
    telemetry.queues[0].counters.tx_packets.add(5);
    let changed: Vec<String> = exporter
        .render()
        .lines()
        .zip(first.lines())
        .filter(|(now, before)| now != before)
        .map(|(now, _)| now.to_owned())
        .collect();
    assert_eq!(changed, ["voxlane_tx_packets_total{port=\"net0\",queue=\"0\",worker=\"0\"} 1005"]);
}

#[test]
fn a_name_with_quotes_and_backslashes_is_escaped_everywhere() {
    let page = page();
    assert!(page.contains("voxlane_rx_packets_total{port=\"a\\\"b\\\\c\",queue=\"0\",worker=\"1\"}"));
    assert!(page.contains("voxlane_latency_seconds_sum{port=\"a\\\"b\\\\c\",queue=\"0\",worker=\"1\"}"));
    assert_eq!(escaped("a\nb"), "a\\nb");
}

#[test]
fn bounds_rise_from_one_microsecond_to_one_second() {
    assert!(LATENCY_BOUNDS_NS.is_sorted_by(|a, b| a < b));
    assert_eq!((LATENCY_BOUNDS_NS.first(), LATENCY_BOUNDS_NS.last()), (Some(&1_000), Some(&1_000_000_000)));
    assert!(POLL_GAP_BOUNDS_NS.is_sorted_by(|a, b| a < b));
    assert_eq!(POLL_GAP_BOUNDS_NS.first(), Some(&100));
}

#[test]
fn a_new_longest_poll_gap_takes_the_place_of_the_old_one_with_its_stage() {
    let telemetry = Arc::new(fed(&Arc::default()));
    let exporter = Exporter::new(Arc::clone(&telemetry));
    let shown = || -> Vec<String> {
        let page = exporter.render();
        let of_queue = "voxlane_poll_gap_max_seconds{port=\"net0\",queue=\"0\"";
        page.lines().filter(|line| line.starts_with(of_queue)).map(str::to_owned).collect()
    };
    let line = |stage: &str, value: &str| {
        let labels = format!("port=\"net0\",queue=\"0\",worker=\"0\",stage=\"{stage}\"");
        vec![format!("voxlane_poll_gap_max_seconds{{{labels}}} {value}")]
    };
    assert_eq!(shown(), line("open", "0.000003456"));
    telemetry.queues[0].counters.poll_gap.record(5_000, || Stage::Housekeeping);
    assert_eq!(shown(), line("housekeeping", "0.000005"), "one line, not one per stage");
}

/// The only test that installs a recorder for the process; the second must be refused, whichever of the
/// crate's tests came first.
#[test]
fn what_libraries_count_is_on_the_page_once_installed() {
    let exporter = Exporter::new(Arc::new(fed(&Arc::default())));
    exporter.install().expect("no other recorder in this process");
    counter!("another_library_total").increment(3);
    assert!(exporter.render().contains("another_library_total 3\n"));
    let refused = Exporter::new(Arc::new(fed(&Arc::default()))).install();
    assert!(refused.expect_err("one is installed").to_string().contains("installed already"));
}
