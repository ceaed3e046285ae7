//! The safe layer over real DPDK, without hugepages or devices: net_null, net_ring and net_pcap.
//!
//! The environment exists once per process, so the scenarios run one after the other in one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrayvec::ArrayVec;
use one_stream::{pipeline, sealed_frame};
use voxlane::dpdk::frame_pool::{BUCKETS, Releasers};
use voxlane::dpdk::{
    Attach, AudioFrame, AudioFramePool, Eal, EalOptions, Error, FrameBucket, Mbuf, Mempool, MempoolUse,
    NoFrame, PortConfig, SharedFrame, allowed_cores,
};
use voxlane::fastpath::handover::mesh;
use voxlane::fastpath::{
    DropReason, PipelinePort, Transmitter, WarmUp, Worker, WorkerPort, WorkerShared, control_link,
};
use voxlane::rate_limit::TokenBucket;
use voxlane::srtp::{AesGcmProvider, AuthFailed, Batch, CounterHmac, Provider, SessionKeys, Suite, TAG_LEN};
use voxlane::telemetry::{Balance, EventKind, QueueCounters};
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
    frames_come_from_the_smallest_bucket_that_has_one(&eal);
    a_frame_holds_what_was_written_and_nothing_else(&eal);
    frames_behave_like_free_counts(&eal);
    a_shared_frame_goes_back_once(&eal);
    a_frame_sent_to_two_ports_arrives_at_both_and_goes_back_once(&eal);
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

fn frame_pool(eal: &Eal, name: &str, frames: [u32; BUCKETS]) -> AudioFramePool {
    let bucket = |(bytes, frames)| FrameBucket { bytes, frames };
    let [b0, b1, b2] = frames;
    let buckets = [(960, b0), (1920, b1), (3840, b2)].map(bucket);
    AudioFramePool::new(eal, name, &buckets, Releasers::Others, None).expect("memory for a few frames")
}

fn frames_in_use(pool: &AudioFramePool) -> [u64; BUCKETS] {
    pool.accounts().map(|account| account.read().in_use)
}

fn frames_come_from_the_smallest_bucket_that_has_one(eal: &Eal) {
    let mut pool = frame_pool(eal, "smallest", [2, 2, 1]);
    let capacities: Vec<_> = [0, 1, 960, 1, 1].map(|len| pool.acquire(len)).into_iter().collect();
    let held: Vec<_> = capacities.into_iter().map(|frame| frame.expect("five frames")).collect();
    assert!(held.iter().map(AudioFrame::capacity).eq([960, 960, 1920, 1920, 3840]), "{held:?}");
    assert_eq!(pool.acquire(1).err(), Some(NoFrame::Exhausted));
    assert_eq!(pool.acquire(3841).err(), Some(NoFrame::TooLong));
    let accounts = pool.accounts().map(|account| account.read());
    assert_eq!(accounts.map(|account| account.acquired), [2, 2, 1]);
    // Each empty bucket that was asked: three, one and one requests, and the last one all three.
    assert_eq!(accounts.map(|account| account.exhausted), [4, 2, 1]);
    assert_eq!(accounts.map(|account| account.high_water), [2, 2, 1]);
    drop(held);
    assert_eq!(frames_in_use(&pool), [0; BUCKETS]);
    for _ in 0..98 {
        drop(pool.acquire(100).expect("a full bucket"));
    }
    let account = pool.accounts()[0].read();
    assert_eq!((account.acquired, account.reused, account.high_water), (100, 98, 2), "two first uses");
    assert_eq!(account.reuse_rate(), Some(0.98));
}

fn a_frame_holds_what_was_written_and_nothing_else(eal: &Eal) {
    let mut pool = frame_pool(eal, "logical", [1, 1, 1]);
    let mut frame = pool.acquire_with(&[0xaa; 960]).expect("a full bucket");
    assert!(!frame.extend_from_slice(&[1]) && !frame.resize(961), "no room");
    assert_eq!((frame.len(), frame.capacity()), (960, 960), "a refusal changes nothing");
    assert!(frame.prepend(&[0xbb; 128]) && !frame.prepend(&[1]));
    drop(frame);
    // The same buffer again: what it held before is out of reach.
    let mut frame = pool.acquire(10).expect("given back");
    assert!(frame.is_empty());
    assert_eq!((frame.capacity(), frame.headroom()), (960, 128));
    assert!(frame.resize(960));
    assert!(frame.data().iter().all(|&byte| byte == 0), "grown by zeros");
    assert!(frame.resize(2) && frame.extend_from_slice(&[7, 8]));
    frame.data_mut()[0] = 9;
    assert_eq!(frame.data(), [9, 0, 7, 8]);
    assert!(frame.prepend(&[1, 2]));
    assert_eq!(frame.data(), [1, 2, 9, 0, 7, 8]);
    assert_eq!(frame.into_mbuf().data(), [1, 2, 9, 0, 7, 8]);
    assert_eq!(frames_in_use(&pool), [0; BUCKETS]);
}

/// A pool against a list of free counts, over a random walk of acquiring, sharing and giving back in any order.
fn frames_behave_like_free_counts(eal: &Eal) {
    const SIZES: [usize; BUCKETS] = [960, 1920, 3840];
    const FRAMES: [u32; BUCKETS] = [16, 8, 4];
    let mut pool = frame_pool(eal, "walk", FRAMES);
    let (mut free, mut acquired, mut empty) = (FRAMES.map(u64::from), [0; BUCKETS], [0; BUCKETS]);
    // Each with the bucket that the model took it from and what was written into it.
    let mut held: Vec<(SharedFrame, usize, u8)> = Vec::new();
    let mut references = Vec::<(usize, usize)>::new();
    let mut random = 0x9e37_79b9_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut serial = 0_usize;
    for step in 0..50_000 {
        match next(8) {
            0..4 => {
                let len = next(4200);
                let first = SIZES.iter().position(|&size| len <= size);
                let served = first.and_then(|first| {
                    (first..BUCKETS).find(|&bucket| {
                        empty[bucket] += u64::from(free[bucket] == 0);
                        free[bucket] > 0
                    })
                });
                match (pool.acquire(len), served) {
                    (Ok(mut frame), Some(bucket)) => {
                        assert_eq!(frame.capacity(), SIZES[bucket], "step {step}, {len} bytes");
                        assert!(frame.is_empty());
                        assert!(frame.extend_from_slice(&vec![step as u8; len]));
                        free[bucket] -= 1;
                        acquired[bucket] += 1;
                        held.push((frame.share(), bucket, step as u8));
                        references.push((serial, 1));
                        serial += 1;
                    }
                    (Err(NoFrame::TooLong), None) => assert!(first.is_none(), "step {step}, {len} bytes"),
                    (Err(NoFrame::Exhausted), None) => assert!(first.is_some(), "step {step}, {len} bytes"),
                    (outcome, model) => panic!("step {step}: {outcome:?}, but the model says {model:?}"),
                }
            }
            4 if !held.is_empty() => {
                let at = next(held.len());
                let (frame, bucket, fill) = &held[at];
                let twin = (frame.clone(), *bucket, *fill);
                let (serial, _) = references[at];
                held.push(twin);
                references.push((serial, 1));
            }
            _ if !held.is_empty() => {
                let at = next(held.len());
                let (frame, bucket, fill) = held.swap_remove(at);
                let (serial, _) = references.swap_remove(at);
                let others = references.iter().filter(|(of, _)| *of == serial).count();
                assert!(frame.data().iter().all(|&byte| byte == fill), "nobody wrote to it meanwhile");
                assert_eq!(usize::from(frame.references()), others + 1);
                match frame.try_unique() {
                    Ok(mut frame) => {
                        assert_eq!(others, 0, "step {step}");
                        frame.data_mut().fill(0);
                        free[bucket] += 1;
                    }
                    Err(_) => assert!(others > 0, "step {step}"),
                }
            }
            _ => {}
        }
        let in_use = frames_in_use(&pool);
        for bucket in 0..BUCKETS {
            assert_eq!(in_use[bucket], u64::from(FRAMES[bucket]) - free[bucket], "step {step}, B{bucket}");
        }
    }
    let accounts = pool.accounts().map(|account| account.read());
    assert_eq!(accounts.map(|account| account.acquired), acquired);
    assert_eq!(accounts.map(|account| account.exhausted), empty);
    assert!(empty.iter().all(|&times| times > 100), "the walk ran into empty buckets: {empty:?}");
    drop(held);
    assert_eq!(frames_in_use(&pool), [0; BUCKETS]);
}

fn a_shared_frame_goes_back_once(eal: &Eal) {
    let mut pool = frame_pool(eal, "shared", [4, 1, 1]);
    let frame = pool.acquire_with(b"voice").expect("a full bucket").share();
    let twin = frame.clone();
    assert_eq!((frame.data(), twin.data(), twin.references()), (&b"voice"[..], &b"voice"[..], 2));
    assert_eq!(frames_in_use(&pool), [1, 0, 0], "one frame, not two");
    let frame = frame.try_unique().expect_err("there is another");
    // The last reference may go on another thread than the first.
    std::thread::spawn(move || drop(twin)).join().expect("no panic");
    assert_eq!(frames_in_use(&pool), [1, 0, 0]);
    let mut frame = frame.try_unique().expect("the last one");
    frame.data_mut()[0] = b'V';
    drop(frame);
    assert_eq!(frames_in_use(&pool), [0; BUCKETS]);
    // It can be had again, for itself alone.
    let all: Vec<_> = (0..4).map(|_| pool.acquire(1).expect("a full bucket").share()).collect();
    assert!(all.iter().all(|frame| frame.references() == 1));
    assert_eq!(pool.acquire(1).expect("the next bucket").capacity(), 1920, "four, and no fifth");
}

/// net_null frees what it sends; net_ring gives the very mbuf to its receiver, who must get one of its own.
fn a_frame_sent_to_two_ports_arrives_at_both_and_goes_back_once(eal: &Eal) {
    let buffers = pool(eal, "two_ports", 255);
    let mut frames = frame_pool(eal, "fan_out", [8, 4, 2]);
    let open = |device: &str| {
        let attach = Attach::new(eal, device).expect("a driver");
        let (port, mut queues) =
            attach.configure(&CONFIG, std::slice::from_ref(&buffers)).expect("one queue pair");
        port.start().expect("nothing can refuse");
        (port, queues.remove(0))
    };
    let (_null0, (_, mut null0)) = open("net_null_fan0");
    let (_null1, (_, mut null1)) = open("net_null_fan1");
    let (_ring0, (mut rx0, mut ring0)) = open("net_ring_fan0");
    let (_ring1, (mut rx1, mut ring1)) = open("net_ring_fan1");

    let frame = frames.acquire_with(&[0x5a; 100]).expect("a full bucket").share();
    let mut first: ArrayVec<SharedFrame, 4> = [frame.clone()].into_iter().collect();
    let mut second: ArrayVec<SharedFrame, 4> = [frame].into_iter().collect();
    assert_eq!(
        (null0.tx_burst_shared(&mut first), frames_in_use(&frames)),
        (1, [1, 0, 0]),
        "still one to send"
    );
    assert_eq!((null1.tx_burst_shared(&mut second), frames_in_use(&frames)), (1, [0; BUCKETS]));
    assert!(first.is_empty() && second.is_empty());

    let frame = frames.acquire_with(&[0x5a; 100]).expect("a full bucket").share();
    first.push(frame.clone());
    second.push(frame);
    assert_eq!((ring0.tx_burst_shared(&mut first), ring1.tx_burst_shared(&mut second)), (1, 1));
    let (mut at0, mut at1): (ArrayVec<Mbuf, 4>, ArrayVec<Mbuf, 4>) = (ArrayVec::new(), ArrayVec::new());
    assert_eq!((rx0.rx_burst(&mut at0), rx1.rx_burst(&mut at1)), (1, 1));
    assert_eq!((at0[0].data(), at1[0].data()), (&[0x5a; 100][..], &[0x5a; 100][..]));
    at0[0].data_mut().fill(1);
    assert!(
        at1[0].data().iter().all(|&byte| byte == 0x5a),
        "what one receiver writes, the other does not see"
    );
    drop((at0, at1));
    assert_eq!(frames_in_use(&frames), [0; BUCKETS]);
    let capacities: Vec<_> = (0..14).map(|_| frames.acquire(1).expect("each once").capacity()).collect();
    assert_eq!(capacities.len(), 14);
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
        control_link().1,
        eal.tsc_hz(),
    )
    .with_warm_up(
        WarmUp::new(
            &[
                (Some(Suite::AeadAes128Gcm), Some(Suite::AesCm128HmacSha1_80)),
                (Some(Suite::AesCm128HmacSha1_32), Some(Suite::AeadAes256Gcm)),
                (None, Some(Suite::AeadAes128Gcm)),
            ],
            pool.clone(),
        )
        .expect("a few lines"),
    );
    assert!(!shared.is_warm());
    port.start().expect("nothing can refuse");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    // Told to drain before it starts, it ends when the file has been read for a while.
    shared.drain();
    let worker =
        eal.launch(1, move || worker.run()).expect("an idle lcore").join().expect("the worker survives");
    std::panic::set_hook(hook);

    // Everything that the worker relayed to itself came out, and none of it is counted or left the pool.
    let warmed = shared.counters.warm_up_frames.value();
    assert!(shared.is_warm() && warmed > 3_000, "{warmed}");
    assert_eq!(shared.counters.warm_up_forwarded.value(), warmed);
    let balance = Balance::of(&counters);
    let lost = counters.dropped_for(DropReason::WorkerPanic);
    assert_eq!(balance.rx, u64::from(PACKETS));
    assert!(balance.is_exact(), "{balance:?}");
    assert_eq!(shared.counters.panics.value(), 1, "the second poison finds its stream out of service");
    assert_eq!(shared.counters.quarantined_streams.value(), 1);
    assert!((1..=64).contains(&lost), "the burst with the poison, and no other: {lost}");
    let refused = counters.dropped_for(DropReason::StreamQuarantined);
    assert!(refused > 0, "the stream is out of service");
    assert_eq!(balance.tx + lost + refused, balance.rx);
    let events: Vec<EventKind> = shared.flight.events().map(|event| event.kind).collect();
    assert!(events.contains(&EventKind::PanicCaught) && events.contains(&EventKind::StreamQuarantined));
    assert_eq!(events.last(), Some(&EventKind::WorkerStopped));
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
