//! Start, stop, and start again: signals, refusals, a kill without notice, and a restart that goes on with the
//! same keys without ever sealing an index twice.

mod harness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::call::{PAYLOAD_TYPE, connect};
use harness::testpmd::{Testpmd, memif_server};
use harness::{ConfigText, Gateway, LegText, Machine, Namespace, Phone, PortText, SessionText, Veth, frame};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(30);
/// How far ahead of the last sealed index a crash may leave the reservation (one block of the index journal).
const RESERVED_AHEAD: u64 = 64;

/// Two veth pairs into one namespace and a call over them.
struct Site {
    machine: Machine,
    namespace: Namespace,
    _veths: [Veth; 2],
    config: ConfigText,
}

impl Site {
    fn new() -> Self {
        let machine = Machine::take();
        let namespace = Namespace::new();
        let veths = [&["10.83.1.2/24"], &["10.83.2.2/24"]].map(|addresses| Veth::new(&namespace, addresses));
        let config = ConfigText {
            ports: vec![
                PortText::new("a", veths[0].device("net_af_packet", 0), &["10.83.1.1/24"]),
                PortText::new("b", veths[1].device("net_af_packet", 1), &["10.83.2.1/24"]),
            ],
            sessions: vec![SessionText::new(
                "call",
                LegText::new("10.83.1.1:20000", "10.83.1.2:30000"),
                LegText::new("10.83.2.1:20000", "10.83.2.2:30000"),
            )],
            ..ConfigText::default()
        };
        Site { machine, namespace, _veths: veths, config }
    }

    fn phones(&self) -> (Phone, Phone) {
        let session = &self.config.sessions[0];
        (Phone::new(&self.namespace, &session.a, 1, 1), Phone::new(&self.namespace, &session.b, 2, 1))
    }
}

#[test]
fn sigterm_and_sigint_stop_within_two_seconds_in_mid_traffic() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let site = Site::new();
        let gateway = Gateway::start(&site.machine, &site.config);
        let (mut caller, mut callee) = site.phones();
        connect(&mut caller, &mut callee, LIMIT);
        let over = AtomicBool::new(false);
        let stopped = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    caller.talk();
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            // Read all the time, or the socket's buffer would lose what the gateway did not.
            scope.spawn(|| {
                while callee.receive(Duration::from_millis(200)).is_some() || !over.load(Ordering::Relaxed) {}
            });
            gateway.wait_for("traffic", LIMIT, |page| {
                (page.port("voxlane_tx_packets_total", "a") > 1_000).then_some(())
            });
            let stopped = gateway.stop_by(signal);
            over.store(true, Ordering::Relaxed);
            stopped
        });
        let drops = stopped.drops("a");
        let only_at_first = drops.keys().all(|reason| reason == "next_hop_unresolved");
        assert!(only_at_first, "{signal}: nothing was wrong with the call: {drops:?}");
        assert_eq!(
            callee.heard.len() as u64,
            stopped.port("a", "tx"),
            "{signal}: what was forwarded arrived"
        );
        println!("{signal}: stopped in {:?} after {} packets, balanced", stopped.took, stopped.total("tx"));
    }
}

#[test]
fn a_second_gateway_with_the_same_name_is_refused() {
    let site = Site::new();
    let gateway = Gateway::start(&site.machine, &site.config);
    let (mut caller, mut callee) = site.phones();
    let mut second = site.config.clone();
    second.workers = vec![0];
    second.allow_shared = true;
    let refusal = Gateway::refused(&site.machine, &second);
    assert_eq!(refusal.code, Some(1), "{}", refusal.text);
    let wanted = format!("is already running (pid {})", gateway.pid());
    assert!(refusal.text.contains(&wanted), "{:?} is not in:\n{}", wanted, refusal.text);

    let mut same_core = site.config.clone();
    same_core.name = harness::unique();
    let refusal = Gateway::refused(&site.machine, &same_core);
    assert_eq!(refusal.code, Some(1), "{}", refusal.text);
    let wanted = format!("core 1 is taken by the gateway with process id {}", gateway.pid());
    assert!(refusal.text.contains(&wanted), "{:?} is not in:\n{}", wanted, refusal.text);

    // The first one does not mind.
    connect(&mut caller, &mut callee, LIMIT);
    gateway.stop();
    println!("a second gateway with the name, and one with the core, were refused");
}

#[test]
fn a_killed_gateway_starts_again_at_once_and_relays() {
    let site = Site::new();
    for round in 1..=3 {
        let gateway = Gateway::start(&site.machine, &site.config);
        // Fresh phones: without a state directory, nobody promises anything about a restart with the same keys.
        let (mut caller, mut callee) = site.phones();
        connect(&mut caller, &mut callee, LIMIT);
        if round < 3 {
            gateway.kill();
        } else {
            gateway.stop();
        }
    }
    println!("killed twice without notice, started again at once each time");
}

/// A memif server leaves its socket behind when it is killed.
#[test]
fn a_killed_gateway_with_a_memif_port_starts_again_at_once() {
    let machine = Machine::take();
    let socket = machine.path("a.sock");
    let config = ConfigText {
        ports: vec![PortText::new("a", memif_server(0, &socket), &["10.83.1.1/24"])],
        ..ConfigText::default()
    };
    for _ in 0..2 {
        Gateway::start(&machine, &config).kill();
        assert!(socket.exists(), "nothing to trip over");
    }
    let gateway = Gateway::start(&machine, &config);
    let testpmd = Testpmd::start(&socket, &[]);
    gateway.wait_for("the link", LIMIT, |page| {
        (page.sum("voxlane_link_up", &[("port", "a")]) == 1).then_some(())
    });
    testpmd.quit();
    gateway.stop();
    println!("killed twice, and the left-over socket was no obstacle");
}

#[test]
fn what_the_machine_does_not_offer_is_refused_in_one_sentence() {
    let site = Site::new();
    let mut too_few = site.config.clone();
    too_few.hugepages_mib = 1 << 17;
    let mut no_core = site.config.clone();
    no_core.workers = vec![1_000];
    let mut no_queues = site.config.clone();
    no_queues.workers = vec![0, 1];
    no_queues.allow_shared = true;
    no_queues.ports[0].device = "net_af_packet0,iface=lo".to_owned();
    let mut no_interface = site.config.clone();
    no_interface.ports[0].device = "net_af_packet0,iface=vxt-nobody".to_owned();
    let mut no_pci = site.config.clone();
    no_pci.ports[0].device = "0000:fe:1f.7".to_owned();
    let cases = [
        (too_few, "sysctl -w vm.nr_hugepages="),
        (no_core, "core 1000 in [cores] does not exist"),
        (
            no_queues,
            "(net_af_packet) has 1 queue pair for 2 workers; add qpairs=2 to its device, or at most 1 worker works",
        ),
        (no_interface, "vxt-nobody, which does not exist"),
        (no_pci, "0000:fe:1f.7, which does not exist"),
    ];
    for (config, wanted) in &cases {
        let refusal = Gateway::refused(&site.machine, config);
        assert_eq!(refusal.code, Some(1), "{}", refusal.text);
        assert!(refusal.text.contains(wanted), "{wanted:?} is not in:\n{}", refusal.text);
        let sentences = refusal.text.lines().filter(|line| line.contains("voxlane:")).count();
        assert_eq!(sentences, 1, "one sentence, not more:\n{}", refusal.text);
    }
    println!("{} refusals with exit code 1", cases.len());
}

/// The call goes on over a crash and over a clean stop; packets of before are refused, whoever replays them; and
/// no index is heard twice (the phones insist).
#[test]
fn a_restart_goes_on_with_the_call_and_seals_no_index_twice() {
    let mut site = Site::new();
    site.config.state_directory = Some(site.machine.path("state"));
    let gateway = Gateway::start(&site.machine, &site.config);
    let (mut caller, mut callee) = site.phones();
    connect(&mut caller, &mut callee, LIMIT);
    let mut recorded: Vec<Vec<u8>> = Vec::new();
    let mut talk = |caller: &mut Phone, callee: &mut Phone, packets: usize| {
        for _ in 0..packets {
            recorded.push(caller.talk());
            assert!(callee.receive(LIMIT).is_some(), "lost: {:?}", callee.refused);
        }
        recorded.clone()
    };
    let before = talk(&mut caller, &mut callee, 300);

    gateway.kill();
    let gateway = Gateway::start(&site.machine, &site.config);
    refuses_all(&gateway, &caller, &mut callee, &before);
    // A crash costs at most the block that was reserved.
    let first = caller.sealer().next_index();
    connect_fast(&mut caller, &mut callee);
    let lost = caller.sealer().next_index() - first - 1;
    assert!(lost <= RESERVED_AHEAD, "{lost} packets lost after a crash, more than one block");
    let before = talk(&mut caller, &mut callee, 100);

    gateway.stop();
    let gateway = Gateway::start(&site.machine, &site.config);
    refuses_all(&gateway, &caller, &mut callee, &before);
    let first = caller.sealer().next_index();
    connect_fast(&mut caller, &mut callee);
    assert_eq!(caller.sealer().next_index() - first, 1, "a clean stop costs nothing");
    gateway.stop();
    println!("a crash cost {lost} packets, a clean stop none; {} replays refused", 2 * before.len() - 100);
}

/// A plain leg proves nothing about its packets, so after a restart it is the sealing side that refuses them.
#[test]
fn a_plain_leg_cannot_make_a_restarted_gateway_reuse_an_index() {
    let mut site = Site::new();
    site.config.state_directory = Some(site.machine.path("state"));
    let session = &mut site.config.sessions[0];
    session.a.keys = None;
    let (plain, sealed) = (session.a.clone(), session.b.clone());
    let gateway = Gateway::start(&site.machine, &site.config);
    let mut callee = Phone::new(&site.namespace, &sealed, 2, 1);
    let socket = site.namespace.udp(plain.remote.expect("configured"));
    let say = |seq: u16| {
        let payload = u64::from(seq).to_be_bytes().repeat(20);
        let packet = [frame::rtp_header(0x80, PAYLOAD_TYPE, seq, 1), payload].concat();
        socket.send_to(&packet, plain.local).expect("the veth pair is up");
    };
    // The first ones may find a next hop unresolved.
    let mut seq = 0;
    let mut until_heard = |what: &str, callee: &mut Phone| {
        harness::wait_until(what, LIMIT, || {
            seq += 1;
            say(seq);
            callee.receive(Duration::from_millis(200))
        });
        seq
    };
    let last = until_heard("the first plain packet to come through sealed", &mut callee);
    gateway.kill();

    let gateway = Gateway::start(&site.machine, &site.config);
    // What follows a crash by less than one block is refused as well; a packet beyond it comes through.
    let newer = until_heard("a newer plain packet to come through", &mut callee);
    assert!(u64::from(newer) > u64::from(last) + 1);
    let before = gateway.quiet_scrape().drops("a").get("index_reserved").copied().unwrap_or(0);
    for old in 1..=last {
        say(old);
    }
    let wanted = before + u64::from(last);
    gateway.wait_for("the old packets to be refused", LIMIT, |page| {
        (page.drops("a").get("index_reserved") == Some(&wanted)).then_some(())
    });
    assert_eq!(callee.receive(Duration::from_millis(200)), None, "an old index was sealed again");
    let stopped = gateway.stop();
    assert_eq!(stopped.drops("a").get("index_reserved"), Some(&wanted));
    println!("{last} plain packets of before the restart and {before} of the reserved block refused");
}

/// Everything in `packets` is dropped as old or replayed, and the other phone hears none of it.
fn refuses_all(gateway: &Gateway, caller: &Phone, callee: &mut Phone, packets: &[Vec<u8>]) {
    packets.iter().for_each(|packet| caller.send(packet));
    let drops = gateway.wait_for("the replays to be refused", LIMIT, |page| {
        let drops = page.drops("a");
        (drops.values().sum::<u64>() >= packets.len() as u64).then_some(drops)
    });
    let old = ["srtp_replayed", "srtp_too_old"].map(|reason| drops.get(reason).copied().unwrap_or(0));
    assert_eq!(old.iter().sum::<u64>(), packets.len() as u64, "{drops:?}");
    assert_eq!(callee.receive(Duration::from_millis(100)), None, "a replay came through");
}

/// As [`connect`], with little patience for each packet: the gateway's neighbours are resolved.
fn connect_fast(caller: &mut Phone, callee: &mut Phone) {
    harness::wait_until("the call to go on", LIMIT, || {
        caller.talk();
        callee.receive(Duration::from_millis(50))
    });
}
