//! The safe layer over real DPDK, without hugepages or devices: net_null, net_ring and net_pcap.
//!
//! The environment exists once per process, so the scenarios run one after the other in one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrayvec::ArrayVec;
use one_stream::{pipeline, sealed_frame};
use voxlane::dpdk::{Attach, Eal, EalOptions, Error, Mbuf, Mempool, MempoolUse, PortConfig, allowed_cores};
use voxlane::fastpath::handover::mesh;
use voxlane::fastpath::{DropReason, PipelinePort, Transmitter, Worker, WorkerPort, WorkerShared};
use voxlane::rate_limit::TokenBucket;
use voxlane::srtp::{AesGcmProvider, AuthFailed, Batch, CounterHmac, Provider, SessionKeys, Suite, TAG_LEN};
use voxlane::telemetry::{Balance, QueueCounters};
use voxlane::wire::MacAddress;

mod one_stream;

const CONFIG: PortConfig = PortConfig {
    queues: 1,
    mtu: 1500,
    rx_descriptors: 64,
    tx_descriptors: 64,
    mac: None,
    promiscuous: false,
};

#[test]
fn the_layer_keeps_its_promises() {
    let last_core = allowed_cores().last().copied().expect("a machine has a core");
    let eal = Eal::init(&EalOptions::for_tests(vec![last_core])).expect("the test environment");
    assert!(matches!(Eal::init(&EalOptions::for_tests(vec![])), Err(Error::AlreadyInitialised)));
    mbufs_return_to_their_pool(&eal);
    mbuf_room_is_bounded(&eal);
    a_pool_outlives_its_mbufs(&eal);
    null_port_gives_and_takes_frames(&eal);
    what_a_port_does_not_take_stays_with_the_caller(&eal);
    a_port_with_rss_says_how_it_spreads(&eal);
    refusals_name_the_value(&eal);
    lcore_reports_results_and_panics(&eal);
    a_panic_costs_the_burst_and_nothing_more(&eal);
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

fn null_port_gives_and_takes_frames(eal: &Eal) {
    let pool = pool(eal, "null", 255);
    let attach = Attach::new(eal, "net_null0,size=100").expect("the null driver");
    let (port, mut queues) = attach.configure(&CONFIG, std::slice::from_ref(&pool)).expect("one queue pair");
    port.start().expect("nothing can refuse");
    let (mut rx, mut tx) = queues.remove(0);
    let mut burst: ArrayVec<Mbuf, 64> = ArrayVec::new();
    assert_eq!(rx.rx_burst(&mut burst), 64);
    assert!(burst.iter().all(|frame| frame.len() == 100));
    assert_eq!(in_use(&pool), 64);
    assert_eq!(rx.rx_burst(&mut burst), 0, "no room, no frames");
    assert_eq!(tx.tx_burst(&mut burst), 64);
    assert!(burst.is_empty());
    assert_eq!(in_use(&pool), 0);
    port.stop();
    assert_eq!(rx.rx_burst(&mut burst), 0, "a stopped port can be polled");
}

fn what_a_port_does_not_take_stays_with_the_caller(eal: &Eal) {
    let pool = pool(eal, "ring", 4095);
    let attach = Attach::new(eal, "net_ring0").expect("the ring driver");
    let (port, mut queues) = attach.configure(&CONFIG, std::slice::from_ref(&pool)).expect("one queue pair");
    port.start().expect("nothing can refuse");
    let (mut rx, mut tx) = queues.remove(0);
    let mut sent: u32 = 0;
    let rest = loop {
        let mut burst: ArrayVec<Mbuf, 64> = ArrayVec::new();
        assert!(pool.alloc_bulk(&mut burst));
        for frame in &mut burst {
            assert!(frame.resize(4));
            frame.data_mut().copy_from_slice(&sent.to_be_bytes());
            sent += 1;
        }
        tx.tx_burst(&mut burst);
        if !burst.is_empty() {
            break burst;
        }
        assert!(sent < 4000, "the ring must fill up");
    };
    let number = |frame: &Mbuf| u32::from_be_bytes(frame.data().try_into().expect("four bytes"));
    let taken = sent - rest.len() as u32;
    assert!(rest.iter().map(number).eq(taken..sent), "the rest is the end, in order");
    drop(rest);
    assert_eq!(in_use(&pool), taken);
    let mut expected = 0;
    loop {
        let mut burst: ArrayVec<Mbuf, 64> = ArrayVec::new();
        if rx.rx_burst(&mut burst) == 0 {
            break;
        }
        for frame in &burst {
            assert_eq!(number(frame), expected);
            expected += 1;
        }
    }
    assert_eq!(expected, taken, "each exactly once");
    assert_eq!(in_use(&pool), 0);
}

/// net_null spreads nothing, but it keeps the key and the table of a port that does.
fn a_port_with_rss_says_how_it_spreads(eal: &Eal) {
    let pool = pool(eal, "spread", 1023);
    let attach = Attach::new(eal, "net_null_spread").expect("the null driver");
    assert!(attach.info().has_rss && attach.info().max_queues >= 3, "{:?}", attach.info());
    let config = PortConfig { queues: 3, ..CONFIG };
    let (port, queues) = attach.configure(&config, std::slice::from_ref(&pool)).expect("three queue pairs");
    port.start().expect("nothing can refuse");
    let rss = port.spread(3).expect("the driver tells key and table");
    assert!(rss.udp_ipv4 && rss.udp_ipv6, "{rss:?}");
    assert!(!rss.destination_port_only, "net_null does not know it: {rss:?}");
    assert_eq!(rss.key.len(), 40);
    let expected: Vec<u16> = (0..rss.table.len()).map(|entry| entry as u16 % 3).collect();
    assert_eq!(rss.table, expected, "the queues in turn");
    let address = |text: &str| -> std::net::SocketAddr { text.parse().expect("a literal") };
    let (remote, local) = (address("10.1.0.2:30000"), address("10.1.0.1:20000"));
    let hash = voxlane::control::rss::toeplitz(&rss.key, &[10, 1, 0, 2, 10, 1, 0, 1, 0x75, 0x30, 0x4e, 0x20]);
    let expected = rss.table[hash as usize % rss.table.len()];
    assert_eq!(voxlane::control::rss::queue(&rss, Some(remote), local), Some(expected));
    let refusal = port.steer(local, 1).expect_err("net_null has no flow rules").to_string();
    assert!(refusal.contains("steering 10.1.0.1:20000 to queue 1 of net_null_spread"), "{refusal}");
    drop(queues);
    drop(port);

    let attach = Attach::new(eal, "net_ring_spread").expect("the ring driver");
    assert!(!attach.info().has_rss);
    let (port, _queues) = attach.configure(&CONFIG, std::slice::from_ref(&pool)).expect("one queue pair");
    port.start().expect("nothing can refuse");
    assert_eq!(port.spread(1), None, "a port that does not spread says nothing");
}

fn refusals_name_the_value(eal: &Eal) {
    let missing = Attach::new(eal, "net_nonsense0").err().expect("no such driver").to_string();
    assert!(missing.contains("net_nonsense0"), "{missing}");
    let nul = Attach::new(eal, "net_null1\0").err().expect("a NUL byte").to_string();
    assert!(nul.contains("NUL"), "{nul}");
    let attach = Attach::new(eal, "net_null2").expect("the null driver");
    let pool = pool(eal, "refusals", 255);
    let config = PortConfig { queues: u16::MAX, ..CONFIG };
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

/// RustCrypto's provider, but a payload that starts with [`POISON`] panics after it was opened.
struct Explosive;
struct ExplosiveBatch(<AesGcmProvider as Provider>::Batch);
const POISON: u8 = 0x66;

impl Provider for Explosive {
    type Key = <AesGcmProvider as Provider>::Key;
    type Batch = ExplosiveBatch;
    const NAME: &'static str = "explosive";

    fn key(keys: &SessionKeys) -> Self::Key {
        AesGcmProvider::key(keys)
    }

    fn lines(_: *const Self::Key, _: Suite, _: usize, _: impl Fn(*const u8)) {}

    fn aead_open(
        key: &Self::Key,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed> {
        AesGcmProvider::aead_open(key, suite, nonce, aad, in_out, tag)?;
        assert_ne!(in_out.first(), Some(&POISON), "poison");
        Ok(())
    }

    fn aead_seal(
        key: &Self::Key,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> [u8; TAG_LEN] {
        AesGcmProvider::aead_seal(key, suite, nonce, aad, in_out)
    }
}

impl Batch<Explosive> for ExplosiveBatch {
    fn new() -> Self {
        ExplosiveBatch(Batch::new())
    }

    fn open(&mut self, packets: &mut [CounterHmac<'_, <Explosive as Provider>::Key>]) {
        self.0.open(packets);
    }

    fn seal(&mut self, packets: &mut [CounterHmac<'_, <Explosive as Provider>::Key>]) {
        self.0.seal(packets);
    }
}

fn a_panic_costs_the_burst_and_nothing_more(eal: &Eal) {
    const PACKETS: u16 = 640;
    let folder = std::env::temp_dir().join(format!("voxlane-dpdk-layer-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let (input, output) = (folder.join("in.pcap"), folder.join("out.pcap"));
    let poisoned = [100, 300, 301];
    write_pcap(
        &input,
        (0..PACKETS).map(|seq| {
            let fill = if poisoned.contains(&seq) { POISON } else { 0x42 };
            sealed_frame(seq, fill, PCAP_MAC)
        }),
    );

    let pool = pool(eal, "panic", 1023);
    let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let attach = Attach::new(eal, &device).expect("the pcap driver");
    let (port, mut queues) = attach.configure(&CONFIG, std::slice::from_ref(&pool)).expect("one queue pair");
    let mac = MacAddress(port.info().mac);
    let (rx, tx) = queues.remove(0);
    let counters = Arc::new(QueueCounters::new());
    let shared = Arc::new(WorkerShared::new());
    let worker_port = WorkerPort {
        rx,
        pipeline: PipelinePort {
            index: 0,
            mac,
            vlan: None,
            counters: Arc::clone(&counters),
            punt_limit: TokenBucket::new(1000, eal.tsc_hz()),
        },
    };
    let (pipeline, transmitters) = (pipeline::<Explosive>(mac), vec![Transmitter::new(tx)]);
    let worker = Worker::new(
        pipeline,
        vec![worker_port],
        transmitters,
        Arc::clone(&shared),
        mesh(1, 16).pop().expect("one worker"),
    );
    port.start().expect("nothing can refuse");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    // Told to drain before it starts, it ends when the file has been read for a while.
    shared.drain();
    let worker =
        eal.launch(1, move || worker.run()).expect("an idle lcore").join().expect("the worker survives");
    std::panic::set_hook(hook);

    let balance = Balance::of(&counters);
    let lost = counters.dropped_for(DropReason::WorkerPanic);
    assert_eq!(balance.rx, u64::from(PACKETS));
    assert!(balance.is_exact(), "{balance:?}");
    assert!((2..=3).contains(&shared.counters.panics.value()), "301 may share a burst with 300");
    assert!((3..=192).contains(&lost), "bursts with poison, and no other: {lost}");
    assert_eq!(balance.tx + lost, balance.rx);
    drop(worker);
    drop(port);
    assert_eq!(in_use(&pool), 0, "the unwinding gave every buffer back");
    std::fs::remove_dir_all(&folder).expect("our own folder");
}

/// What net_pcap gives its first port: 02:70:63:61:70:00 ("pcap").
const PCAP_MAC: MacAddress = MacAddress([0x02, 0x70, 0x63, 0x61, 0x70, 0x00]);

fn write_pcap(path: &PathBuf, frames: impl Iterator<Item = Vec<u8>>) {
    // Little-endian, microseconds, link type Ethernet.
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(65_535_u32.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for frame in frames {
        file.extend([0; 8]);
        let len = (frame.len() as u32).to_le_bytes();
        file.extend(len);
        file.extend(len);
        file.extend(frame);
    }
    std::fs::write(Path::new(path), file).expect("a temporary file");
}
