//! Ten thousand sessions in both directions over memif: first clean, then with one packet in a hundred corrupted,
//! replayed, truncated and re-ordered on purpose.
//!
//! Clean: nothing lost, nothing corrupted, nothing twice, every queue exact, every pool full. Impaired: the same
//! for the valid packets, and the gateway's drop counters agree to the packet with what voxload says it spoiled.

mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::voxload::{Verdict, Voxload};
use harness::{ConfigText, Gateway, Machine, MemifSite, Stopped};

const SESSIONS: usize = 10_000;
/// Packets per second over all 20,000 streams: what two shared cores carry with room to spare.
const RATE: &str = "100000";
const SECONDS: &str = "6";

#[test]
fn ten_thousand_sessions_lose_nothing() {
    let (verdict, stopped) = run(&[]);
    verdict.assert_pass();
    assert_eq!(verdict.count("sessions"), SESSIONS as u64);
    assert_eq!(verdict.count("streams"), 2 * SESSIONS as u64);
    assert!(verdict.count("sent") > 500_000, "{:#}", verdict.report);
    assert_eq!(verdict.assert_accounted(&stopped, &["a", "b"]), BTreeMap::new(), "drops");
    println!("{SESSIONS} sessions, {} packets in and out, none lost", verdict.count("sent"));
}

#[test]
fn ten_thousand_impaired_sessions_lose_no_valid_packet() {
    let (verdict, stopped) = run(&["--impair", "corrupt=1%,replay=1%,truncate=1%,reorder=1%"]);
    verdict.assert_pass();
    let [corrupt, replay, truncate, reorder] =
        ["corrupt", "replay", "truncate", "reorder"].map(|kind| verdict.impaired(kind));
    assert!([corrupt, replay, truncate, reorder].iter().all(|&sent| sent > 1_000), "{:#}", verdict.report);

    let mut drops = verdict.assert_accounted(&stopped, &["a", "b"]);
    let mut take = |reason: &str| drops.remove(reason).unwrap_or(0);
    assert_eq!(take("srtp_replayed"), replay, "replays");
    // A cut packet that still has room for a tag fails authentication, a shorter one is truncated.
    assert_eq!(take("srtp_auth_failed") + take("srtp_truncated"), corrupt + truncate, "spoiled packets");
    assert_eq!(drops, BTreeMap::new(), "no valid packet was dropped");
    println!(
        "{SESSIONS} sessions, {} valid packets in and out; {corrupt} corrupted, {replay} replayed, {truncate} \
         truncated, {reorder} re-ordered",
        verdict.count("sent")
    );
}

fn run(arguments: &[&str]) -> (Verdict, Stopped) {
    let machine = Machine::take();
    let site = MemifSite::new(&machine, 81);
    let config = ConfigText {
        hugepages_mib: 512,
        buffers: 65_536,
        ports: site.ports(),
        sessions_file: Some(site.sessions_file(&machine, SESSIONS)),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let arguments = [&["--rate", RATE, "--seconds", SECONDS, "--drain", "3000"], arguments].concat();
    let verdict =
        Voxload::start(&machine, &gateway, &site.clients(), &arguments).finish(Duration::from_secs(90));
    gateway.quiet_scrape();
    (verdict, gateway.stop())
}
