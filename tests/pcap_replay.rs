//! A file that `voxload pcap` wrote, replayed by testpmd: what operators do with their own testers.
//!
//! testpmd reads the file through `net_pcap` and sends it into the gateway's port. Its count and the gateway's agree
//! to the packet, the second testpmd at the other port gets all of them, and a file that is replayed again is
//! refused to the last packet, as replays.

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::testpmd::{Testpmd, memif_server};
use harness::{ConfigText, Gateway, LegText, Machine, PortText, SessionText};

const LIMIT: Duration = Duration::from_secs(60);
const CALLS: u16 = 20;
/// More than a ring holds, and 250 of each call.
const PACKETS: u64 = 5_000;
const MAC: &str = "02:00:00:00:00:0a";

#[test]
fn testpmds_counts_of_a_replayed_file_are_the_gateways() {
    let machine = Machine::take();
    let sockets = ["a", "b"].map(|port| machine.path(&format!("{port}.sock")));
    let session = |call: u16| {
        let leg = |net: u16| {
            LegText::new(
                &format!("10.86.{net}.1:{}", 20_000 + 2 * call),
                &format!("10.86.{net}.2:{}", 30_000 + 2 * call),
            )
        };
        SessionText::new(&format!("call-{call}"), leg(1), leg(2))
    };
    let config = ConfigText {
        ports: vec![
            PortText::new("a", format!("{},mac={MAC}", memif_server(0, &sockets[0])), &["10.86.1.1/24"]),
            PortText::new("b", memif_server(1, &sockets[1]), &["10.86.2.1/24"]),
        ],
        sessions: (0..CALLS).map(session).collect(),
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let [first, all] = ["first.pcap", "all.pcap"].map(|name| machine.path(name));
    // The same seed gives the same SSRCs; the second file goes on where the first one ends.
    write(&gateway, &first, &["--count", &CALLS.to_string(), "--start-seq", "100", "--seed", "7"]);
    write(&gateway, &all, &["--count", &PACKETS.to_string(), "--start-seq", "101", "--seed", "7"]);
    check_by_tcpdump(&all);

    // In this mode testpmd answers ARP, and frees what else comes.
    let mut sink = Testpmd::start(&sockets[1], &[]);
    sink.flood("icmpecho");
    let received = |port| gateway.scrape().port("voxlane_rx_packets_total", port);

    // The first packets have the gateway ask for the next hop's MAC address; then it knows.
    assert_eq!(replay(&sockets[0], &first, &gateway), u64::from(CALLS));
    gateway.wait_for("the next hop's answer to be taken in", LIMIT, |page| {
        (page.port("voxlane_punted_packets_total", "b") > 0).then_some(())
    });
    let opened = gateway.quiet_scrape();
    let unresolved = opened.drops("a").get("next_hop_unresolved").copied().unwrap_or(0);
    let relayed = opened.port("voxlane_tx_packets_total", "a");
    assert_eq!(unresolved + relayed, u64::from(CALLS), "{:?}", opened.drops("a"));

    let before = received("a");
    assert_eq!(replay(&sockets[0], &all, &gateway), PACKETS);
    let page = gateway.quiet_scrape();
    assert_eq!(page.port("voxlane_rx_packets_total", "a"), before + PACKETS, "as many as testpmd sent");
    assert_eq!(page.port("voxlane_tx_packets_total", "a"), relayed + PACKETS, "all of them were relayed");

    // Again: authentic, and every one a replay.
    assert_eq!(replay(&sockets[0], &all, &gateway), PACKETS);
    gateway.quiet_scrape();
    let answers = received("b");
    let (got, _) = sink.stop_port(0);
    sink.quit();
    let stopped = gateway.stop();
    let mut drops = stopped.drops("a");
    assert_eq!(drops.remove("srtp_replayed"), Some(PACKETS), "{drops:?}");
    drops.remove("next_hop_unresolved");
    assert_eq!(drops, BTreeMap::new(), "nothing else is dropped");
    assert_eq!(stopped.port("a", "tx"), relayed + PACKETS);
    // The sink got the media, and the request that it answered.
    assert!(
        (relayed + PACKETS..=relayed + PACKETS + 2 * answers).contains(&got),
        "{got} of {}",
        relayed + PACKETS
    );
    println!("{PACKETS} packets of a file relayed, the same {PACKETS} refused as replays");
}

/// Has `voxload pcap` write a file for port a.
fn write(gateway: &Gateway, file: &Path, arguments: &[&str]) {
    let voxload = harness::gateway::binary().with_file_name("voxload");
    let mut command = Command::new(voxload);
    command.args(["pcap", "--port", "a", "--config"]).arg(&gateway.config).arg("--output").arg(file);
    harness::run(command.args(arguments));
}

/// Another reader of the format sees UDP between the legs' addresses, with checksums that are right.
fn check_by_tcpdump(file: &Path) {
    harness::require("tcpdump", "tcpdump");
    let text = harness::run(Command::new("tcpdump").args(["-nn", "-vvv", "-e", "-r"]).arg(file));
    let datagrams = text.matches("udp sum ok").count() as u64;
    assert_eq!(datagrams, PACKETS, "checksums that tcpdump finds right");
    assert!(text.contains("10.86.1.2.30000 > 10.86.1.1.20000") && text.contains(&format!("> {MAC}")));
}

/// Replays a file into the gateway's port a, and returns how many packets testpmd sent.
fn replay(socket: &Path, file: &Path, gateway: &Gateway) -> u64 {
    let before = gateway.scrape().port("voxlane_rx_packets_total", "a");
    let mut testpmd = Testpmd::replay(socket, file);
    let wanted = Command::new("tcpdump").args(["-nn", "-r"]).arg(file).output().expect("tcpdump runs");
    let wanted = String::from_utf8_lossy(&wanted.stdout).lines().count() as u64;
    gateway.wait_for("the file's last packet", LIMIT, |page| {
        (page.port("voxlane_rx_packets_total", "a") >= before + wanted).then_some(())
    });
    let (_, sent) = testpmd.stop_port(1);
    testpmd.quit();
    sent
}
