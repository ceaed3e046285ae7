//! A neighbour that floods one port with its own packets as fast as it can, while a call goes on over two
//! others: the flood is counted to the last frame under the reason that fits, and the call loses nothing.
//!
//! Gateway, generator and testpmd share two cores, which is what makes it hard.

mod harness;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use harness::call::connect;
use harness::testpmd::{Testpmd, memif_server};
use harness::voxload::Voxload;
use harness::{
    ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, Process, Scrape, SessionText, Veth,
    process, wait_until,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A way to flood: testpmd's forwarding mode, its arguments, and the reasons that its frames earn.
struct Flood {
    mode: &'static str,
    arguments: &'static [&'static str],
    reasons: &'static [&'static str],
}

/// `txonly` addresses its frames to 02:00:00:00:00:00 unless it is told a peer; with the port's own MAC address,
/// its IP addresses (198.18.0.0/15, the range for benchmarks) are what does not fit. `flowgen` knows but one.
const FLOODS: [Flood; 4] = [
    Flood { mode: "txonly", arguments: &[], reasons: &["ethernet_not_ours"] },
    Flood { mode: "txonly", arguments: &["--txonly-multi-flow", PEER], reasons: &["ip_not_local"] },
    Flood { mode: "flowgen", arguments: &["--flowgen-flows=64"], reasons: &["ip_not_local"] },
    // Three kilobytes in one frame do not fit a buffer: memif delivers them as a chain.
    Flood { mode: "txonly", arguments: &["--txpkts=1500,1500", PEER], reasons: &["frame_segmented"] },
];
/// The MAC address that the flooded port is given: the one that `flowgen` sends to.
const MAC: &str = ",mac=00:01:02:03:04:01";
const PEER: &str = "--eth-peer=0,00:01:02:03:04:01";

#[test]
fn a_flood_is_counted_to_the_last_frame_and_the_call_loses_nothing() {
    let machine = Machine::take();
    let sockets = ["a", "b", "c"].map(|port| machine.path(&format!("{port}.sock")));
    let gateway = Gateway::start(&machine, &config(&sockets));
    // The call outlasts all floods; it is told to stop when they are over.
    let ports = [("a", sockets[0].as_path()), ("b", sockets[1].as_path())];
    let call = Voxload::start(
        &machine,
        &gateway,
        &ports,
        &["--seconds", "600", "--rate", "2000", "--drain", "3000"],
    );
    gateway.wait_for("the call to go through", LIMIT, |page| {
        (page.port("voxlane_tx_packets_total", "a") > 100).then_some(())
    });

    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut sent_in_all = 0;
    for flood in &FLOODS {
        let forwarded_before = gateway.scrape().port("voxlane_tx_packets_total", "a");
        let before = gateway.scrape().drops("c");
        let mut testpmd = Testpmd::start(&sockets[2], flood.arguments);
        testpmd.flood(flood.mode);
        // Both must move on while the flood lasts.
        gateway.wait_for("the flood and the call side by side", LIMIT, |page| {
            let dropped: u64 = page.drops("c").values().sum();
            let forwarded = page.port("voxlane_tx_packets_total", "a");
            (dropped > before.values().sum::<u64>() + 200_000 && forwarded > forwarded_before + 1_000)
                .then_some(())
        });
        let sent = testpmd.stop();
        sent_in_all += sent;
        let page = gateway.wait_for("the last frame of the flood", LIMIT, |page| {
            (page.port("voxlane_rx_packets_total", "c") >= sent_in_all).then(|| page.clone())
        });
        testpmd.quit();

        let mut gained = page.drops("c");
        for (reason, count) in &before {
            *gained.get_mut(reason).expect("counters only grow") -= count;
        }
        gained.retain(|_, count| *count > 0);
        let reasons: Vec<_> = gained.keys().map(String::as_str).collect();
        assert_eq!(reasons, flood.reasons, "{} {:?}: {gained:?}", flood.mode, flood.arguments);
        assert_eq!(
            gained.values().sum::<u64>(),
            sent,
            "{} {:?}: frames sent by testpmd",
            flood.mode,
            flood.arguments
        );
        println!("{} {:?}: {sent} frames, all {reasons:?}", flood.mode, flood.arguments);
        for (reason, count) in gained {
            *expected.entry(reason).or_default() += count;
        }
    }

    let verdict = call.interrupt(LIMIT);
    verdict.assert_pass();
    let stopped = gateway.stop();
    assert_eq!(stopped.drops("c"), expected, "port c at the end");
    assert_eq!(stopped.port("c", "rx"), sent_in_all, "port c received");
    assert_eq!(stopped.port("c", "tx"), 0, "nothing of a flood is forwarded");
    assert_eq!(verdict.assert_accounted(&stopped, &["a", "b"]), BTreeMap::new(), "drops of the call");
    println!("{sent_in_all} flood frames; the call: {} packets, none lost", verdict.count("sent"));
}

/// A peer that stays connected and stops reading: its ring fills, the rest is `tx_full`, and the call beside it
/// goes on.
#[test]
fn a_peer_that_stops_reading_costs_only_its_own_packets() {
    let machine = Machine::take();
    let namespace = Namespace::new();
    let veths = [&["10.79.1.2/24"], &["10.79.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
    let socket = machine.path("c.sock");
    let leg = |port: u8, number: u16| {
        let (local, remote) = (20_000 + number, 30_000 + number);
        LegText::new(&format!("10.79.{port}.1:{local}"), &format!("10.79.{port}.2:{remote}"))
    };
    let config = ConfigText {
        ports: vec![
            PortText::new("a", veths[0].device("net_af_packet", 0), &["10.79.1.1/24"]),
            PortText::new("b", veths[1].device("net_af_packet", 1), &["10.79.2.1/24"]),
            PortText::new("c", memif_server(2, &socket), &["10.79.3.1/24"]),
        ],
        sessions: vec![
            SessionText::new("stuck", leg(1, 0), leg(3, 0)),
            SessionText::new("call", leg(1, 2), leg(2, 2)),
        ],
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let mut testpmd = Testpmd::start(&socket, &[]);
    let [stuck, call] = &config.sessions[..] else { panic!("two sessions") };
    let mut talker = Phone::new(&namespace, &stuck.a, 1, 1);
    let (mut caller, mut callee) =
        (Phone::new(&namespace, &call.a, 2, 1), Phone::new(&namespace, &call.b, 3, 1));
    connect(&mut caller, &mut callee, LIMIT);

    // In this mode testpmd answers ARP; once it has, it stops and reads no more.
    testpmd.flood("icmpecho");
    let unresolved = || gateway.quiet_scrape().drops("a").get("next_hop_unresolved").copied();
    wait_until("the gateway to know testpmd's MAC address", LIMIT, || {
        let before = unresolved();
        talker.talk();
        gateway.wait_for("the packet to be received", LIMIT, |page| {
            let sent = talker.sealer().next_index() + caller.sealer().next_index() - 2;
            // ARP is punted, media is not.
            let of = |name| page.port(name, "a");
            (of("voxlane_tx_packets_total") + of("voxlane_dropped_packets_total") >= sent).then_some(())
        });
        (unresolved() == before).then_some(())
    });
    testpmd.stop();

    let mut heard = 0;
    gateway.wait_for("the ring of port c to be full", LIMIT, |page| {
        (0..500).for_each(|_| drop(talker.talk()));
        caller.talk();
        heard += u64::from(callee.receive(Duration::from_secs(1)).is_some());
        (page.drops("a").get("tx_full").copied().unwrap_or(0) > 1_000).then_some(())
    });
    assert!(gateway.scrape().port("voxlane_tx_retries_total", "a") > 0, "dropped without trying again");
    testpmd.quit();
    let stopped = gateway.stop();
    let mut drops = stopped.drops("a");
    let full = drops.remove("tx_full").expect("seen above");
    drops.remove("next_hop_unresolved");
    assert_eq!(drops, BTreeMap::new(), "nothing else is dropped");
    // What was said to connect, and each word since.
    assert_eq!(
        callee.heard.len() as u64,
        caller.sealer().next_index() - 1,
        "the call beside it lost packets"
    );
    println!("{full} frames refused by the full ring; the call beside it: {heard} of {heard} packets");
}

/// The driver unmaps its rings when the peer's control socket closes, whatever the worker is doing with them. To
/// catch it with its hands in a ring, the worker has to share its core here, and is interrupted all the time.
#[test]
#[ignore = "starves a core on purpose, so its time depends on the machine: cargo test --release --test testpmd_flood -- --ignored"]
fn a_peer_that_is_killed_in_mid_flood_takes_nobody_along() {
    const ROUNDS: usize = 5;
    let machine = Machine::take();
    let sockets = ["a", "b", "c"].map(|port| machine.path(&format!("{port}.sock")));
    let gateway = Gateway::start(&machine, &config(&sockets));
    let _rivals: [Process; 3] = std::array::from_fn(|_| {
        let mut command = process::command("taskset");
        command.args(["-c", "1", "sh", "-c", "while :; do :; done"]);
        Process::spawn("rival", command)
    });
    let link = |page: &Scrape| page.sum("voxlane_link_up", &[("port", "c")]);
    for round in 0..ROUNDS {
        let before = gateway.scrape().port("voxlane_rx_packets_total", "c");
        let mut testpmd = Testpmd::start(&sockets[2], &[]);
        testpmd.flood("txonly");
        gateway.wait_for("the flood", LIMIT, |page| {
            (page.port("voxlane_rx_packets_total", "c") > before + 10_000).then_some(())
        });
        testpmd.kill();
        gateway.wait_for(&format!("the link to be down after kill {round}"), LIMIT, |page| {
            (link(page) == 0).then_some(())
        });
    }
    let stopped = gateway.stop();
    println!("{ROUNDS} peers killed in mid-flood, {} frames, balanced", stopped.port("c", "rx"));
}

fn config(sockets: &[PathBuf; 3]) -> ConfigText {
    let port = |number: usize, name, address| {
        PortText::new(name, memif_server(number, &sockets[number]), &[address])
    };
    let mut flooded = port(2, "c", "10.79.3.1/24");
    flooded.device.push_str(MAC);
    ConfigText {
        buffers: 32_768,
        ports: vec![port(0, "a", "10.79.1.1/24"), port(1, "b", "10.79.2.1/24"), flooded],
        sessions: vec![SessionText::new(
            "call",
            LegText::new("10.79.1.1:20000", "10.79.1.2:30000"),
            LegText::new("10.79.2.1:20000", "10.79.2.2:30000"),
        )],
        ..ConfigText::default()
    }
}
