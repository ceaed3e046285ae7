//! Flows that hop between four queues at random, packet by packet: the worst that RSS, NAT rebinding or a load
//! balancer can do to the homing of streams. Nothing is lost, nothing comes twice, every queue balances to the packet,
//! and each worker forwards exactly the packets of the streams that are homed on it.
//!
//! Two million packets; `VOXLANE_HOPPING_PACKETS=10000000` sends ten. Four workers and the generator share two cores,
//! so the packets on the way are bounded and the rings deep: a worker that is off its core for a while must cost time
//! and nothing else.

mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::voxload::Voxload;
use harness::{ConfigText, Gateway, Machine, MemifSite};

const WORKERS: usize = 4;
/// A multiple of the workers, so that each has as many streams as the others.
const SESSIONS: usize = 100;
const DEFAULT_PACKETS: u64 = 2_000_000;
/// Far below every ring (8192) and the replay window of a stream (1024).
const IN_FLIGHT: &str = "1000";

#[test]
fn flows_that_hop_between_four_queues_lose_and_double_nothing() {
    let wanted = std::env::var("VOXLANE_HOPPING_PACKETS").ok();
    let wanted = wanted.map_or(DEFAULT_PACKETS, |text| text.parse().expect("a number of packets"));
    let per_stream = wanted.div_ceil(2 * SESSIONS as u64);

    let machine = Machine::take();
    let site = MemifSite::new(&machine, 86);
    let cores = voxlane::dpdk::allowed_cores();
    let config = ConfigText {
        hugepages_mib: 512,
        buffers: 65_536,
        ports: site.ports(),
        sessions_file: Some(site.sessions_file(&machine, SESSIONS)),
        workers: cores.iter().copied().cycle().take(WORKERS).collect(),
        allow_shared: true,
        ..ConfigText::default()
    };
    let gateway = Gateway::start(&machine, &config);
    let per_stream_text = per_stream.to_string();
    let arguments = [
        &["--queues", "4", "--hop", "random", "--packets", &per_stream_text, "--rate", "2000000"][..],
        &["--in-flight", IN_FLIGHT, "--drain", "5000"],
    ]
    .concat();
    let limit = Duration::from_secs(60 + wanted / 10_000);
    let start = std::time::Instant::now();
    let verdict = Voxload::start(&machine, &gateway, &site.clients(), &arguments).finish(limit);
    let took = start.elapsed();
    gateway.quiet_scrape();
    // `stop` requires the balance of every single queue and full pools.
    let stopped = gateway.stop();

    verdict.assert_pass();
    let sent = verdict.count("sent");
    assert_eq!(sent, per_stream * 2 * SESSIONS as u64, "{:#}", verdict.report);
    assert_eq!(verdict.assert_accounted(&stopped, &["a", "b"]), BTreeMap::new(), "drops");

    // Three packets in four arrive on a queue that is not their stream's worker's; what is given is taken.
    let (out, taken) = (stopped.total("handed_out"), stopped.total("handed_in"));
    assert_eq!(out, taken, "what one worker gives another takes");
    let share = out as f64 / stopped.total("rx") as f64;
    assert!((0.74..0.76).contains(&share), "{out} of {} handed over", stopped.total("rx"));

    // A worker forwards what is homed on it and not one packet more: sessions are homed in turn, so each has a
    // quarter of the streams. Warm-up packets and ARP come on top, and are few.
    let queues = stopped.report["queues"].as_array().expect("the report lists queues");
    let mut forwarded = [0_u64; WORKERS];
    for queue in queues {
        let figure = |key: &str| queue[key].as_u64().unwrap_or_else(|| panic!("no {key} in {queue:#}"));
        let worker = usize::try_from(figure("worker")).expect("a small number");
        assert!(figure("rx") > sent / 16, "every queue of every port is used: {queue:#}");
        forwarded[worker] += figure("tx");
    }
    for (worker, &count) in forwarded.iter().enumerate() {
        let over =
            count.checked_sub(sent / WORKERS as u64).unwrap_or_else(|| panic!("{worker}: {forwarded:?}"));
        assert!(over <= verdict.count("warm_up_sent"), "worker {worker} of {forwarded:?} of {sent}");
    }
    println!(
        "{sent} packets in {:.1} s over {WORKERS} queues, {out} handed over, none lost, none twice; by worker: \
         {forwarded:?}",
        took.as_secs_f64()
    );
}
