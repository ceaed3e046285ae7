//! The metrics page while traffic runs: what promtool thinks of it, whether all of `docs/metrics.md` is on it, and
//! whether each family moves, here or in the test that the list below names.

mod harness;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::call::connect;
use harness::{
    ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, Scrape, SessionText, Veth, require,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Families that stay zero in a call without trouble, and where they move instead.
const MOVES_ELSEWHERE: [(&str, &str); 25] = [
    ("voxlane_tolerated_packets_total", "gate.rs: a leg that counts"),
    ("voxlane_sessions_changed_total", "sessions_come_and_go.rs"),
    ("voxlane_clock_jumps_total", "faults.rs"),
    ("voxlane_sessions_ended_total", "sessions_come_and_go.rs"),
    ("voxlane_sessions_refused_total", "unit tests of the table of sessions"),
    ("voxlane_handed_over_packets_total", "two workers, below"),
    ("voxlane_tx_retries_total", "testpmd_flood.rs: a peer that stops reading"),
    ("voxlane_originated_dropped_packets_total", "unit test of the transmitter: a port that takes nothing"),
    ("voxlane_pool_in_use", "real_audio.rs: AF_XDP keeps its rings filled"),
    ("voxlane_pool_exhausted_total", "dpdk_layer.rs: a pool of frames that runs empty"),
    ("voxlane_pool_reused_total", "unit test of the export: a pool must turn over once"),
    ("voxlane_pool_reuse_rate", "as voxlane_pool_reused_total"),
    ("voxlane_tap_records_total", "tap.rs: sessions that are tapped"),
    ("voxlane_tap_lost_total", "tap.rs: a full disk, a recorder that stands still"),
    ("voxlane_tap_written_bytes_total", "tap.rs"),
    ("voxlane_tap_files_total", "tap.rs"),
    ("voxlane_worker_panics_total", "faults.rs: an injected panic"),
    ("voxlane_quarantined_streams_total", "unit test of the worker: an injected panic"),
    ("voxlane_worker_heap_allocations_total", "nowhere: unit tests of dpdk::heap and of the export"),
    ("voxlane_worker_heap_frees_total", "nowhere: unit tests of dpdk::heap and of the export"),
    ("voxlane_worker_lockdown", "lockdown.rs: these ports need the kernel"),
    ("voxlane_port_missed_packets_total", "passed on from rte_eth_stats; unit test of the export"),
    ("voxlane_port_rx_errors_total", "passed on from rte_eth_stats; unit test of the export"),
    ("voxlane_port_tx_errors_total", "passed on from rte_eth_stats; unit test of the export"),
    ("voxlane_port_rx_no_buffer_total", "passed on from rte_eth_stats; unit test of the export"),
];

#[test]
fn the_live_page_is_whole_and_valid_and_moves() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let (config, _veths) = config(&namespace, "net_af_packet", "");
    let gateway = Gateway::start(&machine, &config);
    let session = &config.sessions[0];
    let (mut caller, mut callee) =
        (Phone::new(&namespace, &session.a, 1, 1), Phone::new(&namespace, &session.b, 2, 1));
    connect(&mut caller, &mut callee, LIMIT);
    connect(&mut callee, &mut caller, LIMIT);
    // One word for the drop counters.
    caller.send(&[0x80; 40]);
    let page = gateway.wait_for("a drop to be counted", LIMIT, |page| {
        caller.talk();
        (!page.drops("a").is_empty()).then(|| page.clone())
    });

    let complaints = promtool(&page.text);
    assert_eq!(complaints, "", "promtool check metrics");
    let documented = documented_families();
    assert!(documented.len() > 30, "docs/metrics.md lists {} families", documented.len());
    let missing: Vec<_> = documented.iter().filter(|family| !page.has_family(family)).collect();
    assert!(missing.is_empty(), "declared and not on the page: {missing:?}");
    let unmoved: Vec<_> = documented
        .iter()
        .filter(|family| !has_moved(&page, family))
        .filter(|family| MOVES_ELSEWHERE.iter().all(|(name, _)| name != family))
        .collect();
    assert!(unmoved.is_empty(), "no test moves {unmoved:?}");

    let (ready, _) = harness::scrape::get(gateway.metrics(), "/ready").expect("the server answers");
    let (unknown, _) = harness::scrape::get(gateway.metrics(), "/nothing-here").expect("the server answers");
    assert_eq!((ready, unknown), (200, 404));
    gateway.stop();
    println!("{} families live, promtool content", documented.len());
}

/// Two workers share two cores and two ports: a frame that the port's hash gives to one worker belongs to a
/// session of the other, and is handed over, counted on both sides, and arrives.
#[test]
fn frames_handed_over_between_workers_are_counted_and_arrive() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let (mut config, _veths) = config(&namespace, "net_af_packet", ",qpairs=2");
    config.workers = vec![0, 1];
    config.allow_shared = true;
    for number in 1..16 {
        config.sessions.push(session(number));
    }
    let gateway = Gateway::start(&machine, &config);
    let mut calls: Vec<_> = config
        .sessions
        .iter()
        .map(|session| (Phone::new(&namespace, &session.a, 1, 1), Phone::new(&namespace, &session.b, 2, 1)))
        .collect();
    for (caller, callee) in &mut calls {
        connect(caller, callee, LIMIT);
        for _ in 0..50 {
            caller.talk();
            assert!(
                callee.receive(Duration::from_secs(5)).is_some(),
                "a packet got lost: {:?}",
                callee.refused
            );
        }
    }
    let page = gateway.quiet_scrape();
    let handed = |direction| page.sum("voxlane_handed_over_packets_total", &[("direction", direction)]);
    assert!(handed("out") > 0, "sixteen flows over two queues, and none went to the other worker");
    assert_eq!(handed("out"), handed("in"));
    let stopped = gateway.stop();
    assert_eq!(stopped.total("handed_out"), stopped.total("handed_in"));
    println!("{} frames handed over between two workers", stopped.total("handed_out"));
}

fn config(namespace: &Namespace, driver: &str, arguments: &str) -> (ConfigText, [Veth; 2]) {
    let veths = [&["10.82.1.2/24"], &["10.82.2.2/24"]].map(|addresses| Veth::new(namespace, addresses));
    let device = |number: usize| format!("{}{arguments}", veths[number].device(driver, number));
    let config = ConfigText {
        ports: vec![
            PortText::new("a", device(0), &["10.82.1.1/24"]),
            PortText::new("b", device(1), &["10.82.2.1/24"]),
        ],
        sessions: vec![session(0)],
        ..ConfigText::default()
    };
    (config, veths)
}

fn session(number: u16) -> SessionText {
    let (local, remote) = (20_000 + 2 * number, 30_000 + 2 * number);
    let leg =
        |side: u8| LegText::new(&format!("10.82.{side}.1:{local}"), &format!("10.82.{side}.2:{remote}"));
    SessionText::new(&format!("call-{number}"), leg(1), leg(2))
}

fn has_moved(page: &Scrape, family: &str) -> bool {
    let names = [family.to_owned(), format!("{family}_count")];
    names.iter().any(|name| page.samples(name, &[]).any(|sample| sample.value > 0.0))
}

/// What `promtool check metrics` prints about the page: nothing, if it has nothing to say.
fn promtool(page: &str) -> String {
    require("promtool", "prometheus");
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("promtool reads its input");
    let output = child.wait_with_output().expect("promtool ends");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() { text } else { format!("{}: {text}", output.status) }
}

/// First column of the table in `docs/metrics.md`, which a unit test holds to the code.
fn documented_families() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    text.lines().filter_map(name).collect()
}
