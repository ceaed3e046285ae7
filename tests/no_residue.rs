//! No residue, over real mbufs and a real port: what leaves stems from the packet that arrived in the buffer, not from
//! one before it. Built with `--features fault-injection`, which has every buffer poisoned around the packet that a port
//! delivers in it.
//!
//! One capture of random packets goes through a worker twice, each time with another poison, through so few buffers that
//! each of them is used a hundred times. Both times the same octets must leave; and a frame with one octet of poison in
//! it differs.

use std::path::Path;

use one_stream::{pipeline, sealed_frame_with};
use one_worker::{OneWorker, PORT, pcap_mac};
use voxlane::dpdk::{Attach, Eal, EalOptions, Mbuf, Mempool, allowed_cores, poison};
use voxlane::srtp::AesGcmProvider;
use voxlane::telemetry::Balance;
use voxlane::wire::MacAddress;

#[path = "harness/capture.rs"]
mod capture;
mod one_stream;
#[path = "one_stream/one_worker.rs"]
mod one_worker;

const PACKETS: u16 = 10_000;
/// A burst in, a burst out, and what a driver holds.
const BUFFERS: u32 = 191;

#[test]
fn what_leaves_a_port_is_no_octet_of_an_earlier_packet() {
    let last_core = allowed_cores().last().copied().expect("a machine has a core");
    let eal = Eal::init(&EalOptions::for_tests(vec![last_core])).expect("the test environment");
    the_room_around_a_packet_is_poisoned(&eal);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let runs = [(0_u8, 0x00_u8), (1, 0xff)].map(|(number, octet)| {
        poison::set_pattern(octet);
        let (input, output) =
            (folder.path().join(format!("in{number}.pcap")), folder.path().join(format!("out{number}.pcap")));
        relay(&eal, number, &input, &output);
        capture::read(&output)
    });
    assert_eq!(runs[0].len(), usize::from(PACKETS), "all relayed");
    let differs = runs[0].iter().zip(&runs[1]).position(|(one, other)| one != other);
    assert_eq!(differs, None, "a frame that depends on what lay in its buffer");
    assert_eq!(runs[0].len(), runs[1].len());
    println!("{PACKETS} packets through {BUFFERS} buffers, twice, and the same octets both times");
}

/// That the test can see anything: what a port delivers lies amid poison.
fn the_room_around_a_packet_is_poisoned(eal: &Eal) {
    poison::set_pattern(0x66);
    let pool = Mempool::new(eal, "poisoned", 63, 0, 2048, None).expect("a small pool");
    let attach = Attach::new(eal, "net_null_poison,size=100").expect("the null driver");
    let (port, mut queues) = attach.configure(&PORT, std::slice::from_ref(&pool)).expect("one queue pair");
    port.start().expect("nothing can refuse");
    let (mut rx, _tx) = queues.remove(0);
    let mut burst = arrayvec::ArrayVec::<Mbuf, 8>::new();
    assert_eq!(rx.rx_burst(&mut burst), 8);
    for mut frame in burst {
        let len = frame.len();
        assert!(frame.move_start(-128) && frame.resize(128 + 2048));
        assert!(frame.data()[..128].iter().chain(&frame.data()[128 + len..]).all(|&octet| octet == 0x66));
    }
    let mut fresh = pool.alloc().expect("a full pool");
    assert!(fresh.resize(2048) && fresh.data().iter().all(|&octet| octet == 0x66));
}

/// One run of a worker over a capture.
fn relay(eal: &Eal, number: u8, input: &Path, output: &Path) {
    let mut random = 0x1234_5678_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let frames = (0..PACKETS).map(|seq| {
        // Mostly voice, sometimes as long as a packet gets, so that a short one follows a long one in its buffer.
        let len = if next(4) == 0 { 1 + next(1400) } else { 1 + next(200) };
        let payload: Vec<u8> = (0..len).map(|_| next(256) as u8).collect();
        // Addresses of the two runs differ in the MAC address alone; it is not in what is sent to the next hop.
        sealed_frame_with(seq, &payload, pcap_mac(number))
    });
    capture::write(input, frames);

    let pool = Mempool::new(eal, &format!("residue{number}"), BUFFERS, 0, 2048, None).expect("a small pool");
    // The same source address in what leaves, whichever port it is.
    let pipeline = pipeline::<AesGcmProvider>(MacAddress([2, 0, 0, 0, 0, 1]));
    let worker = OneWorker::over_capture(eal, number, input, output, &pool, pipeline);
    let counters = worker.counters();
    worker.run_to_the_end(eal);
    let balance = Balance::of(&counters);
    assert!(balance.is_exact(), "{balance:?}");
    assert_eq!((balance.rx, balance.tx), (PACKETS.into(), PACKETS.into()), "{balance:?}");
    assert_eq!(pool.usage().in_use, 0);
}
