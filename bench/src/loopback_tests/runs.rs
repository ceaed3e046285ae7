//! Runs in which the gateway does what it must.

use super::*;
use crate::report::Verdict;

/// Everything came back: `packets` of each of `streams` streams.
fn assert_clean(report: &Report, streams: u64, packets: u64) {
    assert_eq!(report.sent, streams * packets, "{report}");
    assert_eq!(report.received, streams * packets, "{report}");
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
    assert_eq!(report.reordered, 0, "{report}");
}

#[test]
fn every_kind_of_leg_comes_back_clean() {
    let next = LegKind { rtcp_next: true, ..V4 };
    let kinds = [
        ("v4 to v4", V4, V4, ""),
        ("v6 to v6", V6, V6, ""),
        ("v4 to v6", V4, V6, ""),
        ("tagged", V4, V6, "vlan = 100"),
        ("plain to sealed", PLAIN, V4, ""),
        ("plain to plain", PLAIN, PLAIN, ""),
        ("RTCP on its own port", next, V6, ""),
    ];
    for (name, a, b, extra) in kinds {
        let run = Run { rtcp: true, ..Run::of(config(5, a, b, extra)) };
        let report = run.report();
        assert_clean(&report, 10, 40);
        assert_eq!((report.rtcp_sent, report.rtcp_received), (30, 30), "{name}: {report}");
        assert!(report.latency_ns.is_some_and(|latency| latency.max > 0), "{name}");
    }
}

#[test]
fn every_pair_of_suites_comes_back_clean() {
    for a in Suite::ALL {
        for b in Suite::ALL {
            let kind = |suite| LegKind { suite: Some(suite), ..V4 };
            let run = Run { rtcp: true, ..Run::of(config(2, kind(a), kind(b), "")) };
            let report = run.report();
            assert_clean(&report, 4, 40);
            assert_eq!((report.rtcp_sent, report.rtcp_received), (12, 12), "{a} to {b}: {report}");
        }
    }
}

#[test]
fn one_direction_and_fewer_sessions_can_be_chosen() {
    for directions in [Directions::AToB, Directions::BToA] {
        let run = Run { directions, sessions: Some(3), ..Run::of(config(5, V4, V6, "")) };
        assert_clean(&run.report(), 3, 40);
    }
}

#[test]
fn payloads_of_every_size_come_back() {
    for payload_len in [crate::payload::SHORT_HEADER_LEN, 31, crate::payload::HEADER_LEN, 33, 100, 1_200] {
        assert_clean(&Run { payload_len, ..Run::of(config(1, V4, V4, "")) }.report(), 2, 40);
    }
}

#[test]
fn sequence_numbers_roll_over() {
    for start in [65_535, 65_530] {
        let run =
            Run { start_sequence: Some(start), impair: "reorder=20%", ..Run::of(config(2, V4, V4, "")) };
        let report = run.report();
        assert_clean(&report, 4, 40);
        assert!(report.impaired.reorder > 0, "{report}");
    }
}

#[test]
fn a_flood_comes_back_clean_and_has_latencies() {
    let flood = flood(64, 16);
    for in_flight in [16, u64::MAX] {
        let run = Run {
            flood: Some(FloodOptions { in_flight, ..flood }),
            packets: 500,
            ..Run::of(config(3, V4, V6, ""))
        };
        let report = run.report();
        assert_clean(&report, 6, 500);
        assert_eq!(report.stalls, 0);
        // Packets of one chunk out of 47 are on the way at a time.
        let latency = report.latency_ns.expect("packets came");
        assert!(latency.p50 > 0, "{report}");
        assert!((latency.p50 as f64) < report.seconds * 1e9 / 4.0, "{report}");
    }
}

#[test]
fn a_flood_at_a_rate_is_never_faster() {
    let step = Step { rate: Some(100_000), ..flood(0, 0).step };
    let options = FloodOptions { step, ..flood(512, u64::MAX) };
    let run = Run { flood: Some(options), packets: 500, ..Run::of(config(2, V4, V4, "")) };
    let report = run.report();
    assert_clean(&report, 4, 500);
    // A busy machine may be slower. As fast as it goes, this is several times the rate.
    assert!(report.pps_sent < 102_000.0, "{report}");
}

#[test]
fn a_flood_that_settles_first_leaves_that_out_of_its_rate() {
    let options = FloodOptions { settle: 300, ..flood(64, 16) };
    let run = Run { flood: Some(options), packets: 100, ..Run::of(config(2, V4, V4, "")) };
    let report = run.report();
    assert_eq!((report.sent, report.received, report.settled), (700, 700, 300), "{report}");
    assert!((report.pps_sent * report.seconds - 400.0).abs() < 0.5, "{report}");
}

#[test]
fn derived_keys_and_samples_come_back_clean() {
    for (keys, verify_every) in [(KeyUse::Derived, 1), (KeyUse::Derived, 16), (KeyUse::Kept, 16)] {
        let run = Run {
            flood: Some(flood(64, 16)),
            keys,
            verify_every,
            packets: 100,
            ..Run::of(config(3, V4, PLAIN, ""))
        };
        assert_clean(&run.report(), 6, 100);
    }
}

/// Impairs everything and compares what the gateway refused with what the generator says it did.
fn assert_impaired_exactly(run: &Run) {
    let (report, gateway) = run.make();
    let report = report.expect("the run is made");
    let refused = gateway.borrow().refused.clone();
    let refused = |reason: &str| refused.get(reason).copied().unwrap_or(0);
    let impaired = report.impaired;
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
    assert_eq!(report.sent + impaired.drop, 400 * report.streams as u64, "{report}");
    assert_eq!(refused("srtp_replayed"), impaired.replay);
    assert_eq!(refused("ssrc_changed"), impaired.badssrc);
    assert_eq!(refused("payload_type_not_negotiated"), impaired.badpt);
    assert_eq!(refused("srtp_auth_failed") + refused("srtp_truncated"), impaired.corrupt + impaired.truncate);
    assert!(refused("srtp_truncated") > 0, "some copies are cut into the tag's minimum");
    assert_eq!(gateway.borrow().refused.len(), 5, "nothing is refused for another reason");
    assert_eq!(report.reordered, 0, "{report}");
    assert!(report.reordered_on_purpose > 0 && report.reordered_on_purpose <= impaired.reorder, "{report}");
    for count in [
        impaired.replay,
        impaired.badssrc,
        impaired.badpt,
        impaired.corrupt,
        impaired.truncate,
        impaired.drop,
    ] {
        // 5 % of 400 packets of each of four streams: 80, give or take.
        assert!((40..140).contains(&count), "{report}");
    }
}

const ALL: &str = "corrupt=5%,replay=5%,truncate=5%,reorder=5%,drop=5%,badssrc=5%,badpt=5%";

#[test]
fn impaired_traffic_loses_nothing_and_is_refused_exactly() {
    assert_impaired_exactly(&Run { impair: ALL, packets: 400, ..Run::of(config(2, V4, V6, "")) });
}

#[test]
fn an_impaired_flood_loses_nothing_and_is_refused_exactly() {
    let flood = Some(flood(100, 32));
    assert_impaired_exactly(&Run { flood, impair: ALL, packets: 400, ..Run::of(config(2, V4, V6, "")) });
}

#[test]
fn the_first_packet_of_a_stream_goes_alone() {
    // Overtaken over the roll-over, it could not be authenticated; a wrong SSRC before it would look right.
    let run = Run {
        impair: "reorder=100%,badssrc=100%",
        start_sequence: Some(65_535),
        warm_up: false,
        ..Run::of(config(4, V4, V4, ""))
    };
    let (report, gateway) = run.make();
    let report = report.expect("the run is made");
    assert_clean(&report, 8, 40);
    let refused = gateway.borrow().refused.clone();
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), [("ssrc_changed", report.impaired.badssrc)]);
}

#[test]
fn a_plain_leg_is_not_sent_what_it_cannot_tell_from_valid_packets() {
    let run =
        Run { impair: ALL, packets: 200, directions: Directions::AToB, ..Run::of(config(2, PLAIN, V4, "")) };
    let report = run.report();
    let impaired = report.impaired;
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
    assert_eq!([impaired.corrupt, impaired.replay, impaired.truncate, impaired.badssrc], [0; 4]);
    assert!(impaired.drop > 0 && impaired.badpt > 0 && impaired.reorder > 0, "{report}");
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let run = Run { impair: ALL, packets: 100, ..Run::of(config(2, V4, V4, "")) };
    assert_eq!(run.report().impaired, run.report().impaired);
}
