//! The safe layer over real DPDK, without hugepages or devices: net_null, net_ring and net_pcap.
//!
//! The environment exists once per process, so the scenarios run one after the other in one test.

#[path = "harness/capture.rs"]
mod capture;
#[path = "dpdk_layer/frames.rs"]
mod frames;
mod one_stream;
#[path = "one_stream/one_worker.rs"]
mod one_worker;
#[path = "dpdk_layer/panics.rs"]
mod panics;
#[path = "dpdk_layer/ports.rs"]
mod ports;

use arrayvec::ArrayVec;
use one_worker::PORT;
use voxlane::dpdk::{Attach, Eal, EalOptions, Error, Mbuf, Mempool, MempoolUse, PortConfig, allowed_cores};

#[test]
fn the_layer_keeps_its_promises() {
    let last_core = allowed_cores().last().copied().expect("a machine has a core");
    let eal = Eal::init(&EalOptions::for_tests(vec![last_core])).expect("the test environment");
    assert!(matches!(Eal::init(&EalOptions::for_tests(vec![])), Err(Error::AlreadyInitialised)));
    mbufs_return_to_their_pool(&eal);
    mbuf_room_is_bounded(&eal);
    a_pool_outlives_its_mbufs(&eal);
    frames::frames_come_from_the_smallest_bucket_that_has_one(&eal);
    frames::a_frame_holds_what_was_written_and_nothing_else(&eal);
    frames::frames_behave_like_free_counts(&eal);
    frames::a_shared_frame_goes_back_once(&eal);
    frames::a_frame_sent_to_two_ports_arrives_at_both_and_goes_back_once(&eal);
    ports::null_port_gives_and_takes_frames(&eal);
    ports::what_a_port_does_not_take_stays_with_the_caller(&eal);
    ports::a_port_with_rss_says_how_it_spreads(&eal);
    refusals_name_the_value(&eal);
    lcore_reports_results_and_panics(&eal);
    panics::a_panic_costs_the_burst_and_nothing_more(&eal);
}

fn pool(eal: &Eal, name: &str, size: u32) -> Mempool {
    Mempool::new(eal, name, size, 0, 2048, None).expect("memory for a small pool")
}

fn in_use(pool: &Mempool) -> u32 {
    let MempoolUse { in_use, .. } = pool.usage();
    in_use
}

fn mbufs_return_to_their_pool(eal: &Eal) {
    let pool = pool(eal, "returns", 8);
    let mut held: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((held.len(), in_use(&pool)), (8, 8), "exhausted, and said so");
    held.truncate(3);
    assert_eq!(in_use(&pool), 3);
    let mut bulk: ArrayVec<Mbuf, 6> = ArrayVec::new();
    assert!(!pool.alloc_bulk(&mut bulk), "five are left: all or none");
    assert_eq!((bulk.len(), in_use(&pool)), (0, 3));
    held.clear();
    assert!(pool.alloc_bulk(&mut bulk));
    assert_eq!(in_use(&pool), 6);
    drop(bulk);
    assert_eq!(in_use(&pool), 0);
}

fn mbuf_room_is_bounded(eal: &Eal) {
    let pool = pool(eal, "room", 2);
    let mut mbuf = pool.alloc().expect("a full pool");
    assert_eq!((mbuf.headroom(), mbuf.len(), mbuf.tailroom()), (128, 0, 2048));
    assert!(!mbuf.resize(2049) && mbuf.resize(2048));
    mbuf.data_mut().fill(0xab);
    assert!(!mbuf.move_start(-129) && !mbuf.move_start(2049));
    assert_eq!(mbuf.len(), 2048, "a refusal changes nothing");
    assert!(mbuf.move_start(-128) && mbuf.move_start(148));
    assert_eq!((mbuf.headroom(), mbuf.len()), (148, 2028));
    assert!(mbuf.data().iter().all(|&byte| byte == 0xab));
    assert!(mbuf.is_contiguous());
}

fn a_pool_outlives_its_mbufs(eal: &Eal) {
    let pool = pool(eal, "outlived", 4);
    let mut survivor = pool.alloc().expect("a full pool");
    drop(pool);
    assert!(survivor.resize(2000));
    survivor.data_mut().fill(7);
    assert_eq!(survivor.data().iter().map(|&byte| u32::from(byte)).sum::<u32>(), 14_000);
}

fn refusals_name_the_value(eal: &Eal) {
    let missing = Attach::new(eal, "net_nonsense0").err().expect("no such driver").to_string();
    assert!(missing.contains("net_nonsense0"), "{missing}");
    let nul = Attach::new(eal, "net_null1\0").err().expect("a NUL byte").to_string();
    assert!(nul.contains("NUL"), "{nul}");
    let attach = Attach::new(eal, "net_null2").expect("the null driver");
    let pool = pool(eal, "refusals", 255);
    let config = PortConfig { queues: u16::MAX, ..PORT };
    let queues = attach.configure(&config, std::slice::from_ref(&pool)).err().expect("too many").to_string();
    assert!(queues.contains("65535") && queues.contains("fewer workers"), "{queues}");
    let memory = Mempool::new(eal, "huge", 10_000_000, 0, 2048, None).expect_err("too large").to_string();
    assert!(memory.contains("10000000") && memory.contains("hugepages"), "{memory}");
    assert!(matches!(eal.launch(9, || ()), Err(Error::UnknownLcore { lcore: 9 })));
}

fn lcore_reports_results_and_panics(eal: &Eal) {
    assert_eq!(eal.launch(1, || 6 * 7).expect("an idle lcore").join().expect("no panic"), 42);
    let panicked = eal.launch(1, || panic!("as planned")).expect("an idle lcore").join();
    assert!(panicked.is_err());
    assert_eq!(eal.launch(1, || "again").expect("an idle lcore").join().expect("no panic"), "again");
}
