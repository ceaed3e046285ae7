//! Runs in which the gateway misbehaves, each in one way.

use super::*;
use crate::report::Verdict;

/// Two sessions, so four streams, and one fault in each.
fn report_of(fault: Fault) -> Report {
    Run { fault, rtcp: true, ..Run::of(config(2, V4, V4, "")) }.report()
}

#[test]
fn each_fault_is_found_and_counted_under_its_own_name() {
    type Count = fn(&Report) -> u64;
    // What is wrong, how it is counted, and how many packets are missing because of it.
    let faults: [(Fault, Count, u64); 12] = [
        (Fault::Loses, |report| report.lost, 4),
        (Fault::Repeats, |report| report.duplicated, 0),
        (Fault::DamagesPlain, |report| report.corrupted, 4),
        (Fault::DamagesSealed, |report| report.auth_failed, 4),
        (Fault::DamagesChecksum, |report| report.bad_checksum, 4),
        (Fault::ChangesHeader, |report| report.header_changed, 4),
        (Fault::SealsTwice, |report| report.header_changed, 0),
        (Fault::SendsFromNowhere, |report| report.unexpected, 4),
        (Fault::Misdelivers, |report| report.unexpected, 4),
        (Fault::SendsToAnotherStation, |report| report.unexpected, 4),
        (Fault::LosesReports, |report| report.rtcp_lost, 0),
        (Fault::DamagesReports, |report| report.rtcp_failed, 0),
    ];
    for (fault, count, missing) in faults {
        let report = report_of(fault);
        assert_eq!(count(&report), 4, "{fault:?}: {report}");
        assert_eq!(report.lost, missing, "{fault:?}: {report}");
        assert_eq!(report.verdict, Verdict::Fail, "{fault:?}: {report}");
    }
}

#[test]
fn packets_overtaken_on_the_way_are_reordered_but_not_lost() {
    let report = report_of(Fault::Swaps);
    assert_eq!((report.reordered, report.reordered_on_purpose, report.lost), (4, 0, 0), "{report}");
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
}

#[test]
fn a_relayed_packet_that_had_to_be_refused_is_a_leak() {
    let run = Run { fault: Fault::RelaysForbidden, impair: "badpt=20%", ..Run::of(config(2, V4, V4, "")) };
    let report = run.report();
    assert!(report.impaired.badpt > 0);
    assert_eq!(report.leaked, report.impaired.badpt, "{report}");
    assert_eq!((report.lost, report.verdict), (0, Verdict::Fail), "{report}");
}

#[test]
fn a_flood_finds_loss_and_goes_on() {
    let flood = Some(flood(64, 2));
    let report = Run { flood, fault: Fault::Loses, packets: 60, ..Run::of(config(2, V4, V4, "")) }.report();
    assert_eq!((report.sent, report.lost), (240, 4), "{report}");
    assert!(report.stalls > 0, "a window that stays full is given up: {report}");
}

#[test]
fn a_limited_schedule_finds_loss_and_goes_on() {
    let run = Run { in_flight: 2, fault: Fault::Loses, packets: 60, ..Run::of(config(2, V4, V4, "")) };
    let report = run.report();
    assert_eq!((report.sent, report.lost, report.unsent), (240, 4, 0), "{report}");
}

#[test]
fn a_schedule_that_cannot_be_kept_ends_in_time_and_says_what_is_unsent() {
    // With nothing coming back, two packets go out each 20 ms instead of 200,000 a second.
    let run = Run {
        in_flight: 2,
        warm_up: false,
        limit_ns: 50_000_000,
        packets: 10_000,
        fault: Fault::RelaysNothing,
        ..Run::of(config(1, V4, V4, ""))
    };
    let report = run.report();
    assert!((1..100).contains(&report.sent), "{report}");
    // 50 ms at 200,000 a second, give or take one for the edge.
    assert!((10_000..=10_001).contains(&(report.sent + report.unsent)), "{report}");
    assert!(report.seconds < 1.0, "{report}");
}

#[test]
fn a_gateway_that_answers_nobody_is_named() {
    let run = Run { fault: Fault::Deaf, ..Run::of(config(1, V4, V6, "")) };
    let error = run.make().0.expect_err("no MAC address").to_string();
    assert!(error.starts_with("port \"a\": the gateway does not answer for 10.1.0.1 after"), "{error}");
}

#[test]
fn a_gateway_that_relays_nothing_is_named() {
    let run = Run { fault: Fault::RelaysNothing, ..Run::of(config(1, V4, V6, "")) };
    let error = run.make().0.expect_err("no warm-up packet").to_string();
    let expected =
        "no packet of session \"call-0\" from 10.1.0.2:30000 comes back to [fd00:2::2]:30000 after";
    assert!(error.starts_with(expected), "{error}");
    let cold = Run { warm_up: false, ..run }.report();
    assert_eq!((cold.received, cold.lost, cold.verdict), (0, 80, Verdict::Fail), "{cold}");
}

#[test]
fn what_is_not_opened_is_still_looked_at() {
    type Count = fn(&Report) -> u64;
    let faults: [(Fault, Count); 5] = [
        (Fault::Loses, |report| report.lost),
        (Fault::Repeats, |report| report.duplicated),
        (Fault::ChangesHeader, |report| report.header_changed),
        (Fault::DamagesChecksum, |report| report.bad_checksum),
        (Fault::SendsFromNowhere, |report| report.unexpected),
    ];
    for (fault, count) in faults {
        let run = Run {
            fault,
            flood: Some(flood(64, 16)),
            verify_every: u64::MAX,
            packets: 40,
            ..Run::of(config(2, V4, V4, ""))
        };
        let report = run.report();
        assert_eq!(count(&report), 4, "{fault:?}: one packet of each stream: {report}");
        assert_eq!(report.auth_failed + report.corrupted, 0, "{fault:?}: nothing is opened: {report}");
    }
}
