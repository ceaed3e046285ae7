//! Frames of the gateway's own making: from which bucket they come, who may write to them, when they go back.

use arrayvec::ArrayVec;
use voxlane::dpdk::frame_pool::{BUCKETS, Releasers};
use voxlane::dpdk::{Attach, AudioFrame, AudioFramePool, Eal, FrameBucket, Mbuf, NoFrame, SharedFrame};

use crate::one_worker::PORT;
use crate::pool;

fn frame_pool(eal: &Eal, name: &str, frames: [u32; BUCKETS]) -> AudioFramePool {
    let bucket = |(bytes, frames)| FrameBucket { bytes, frames };
    let [b0, b1, b2] = frames;
    let buckets = [(960, b0), (1920, b1), (3840, b2)].map(bucket);
    AudioFramePool::new(eal, name, &buckets, Releasers::Others, None).expect("memory for a few frames")
}

fn frames_in_use(pool: &AudioFramePool) -> [u64; BUCKETS] {
    pool.accounts().map(|account| account.read().in_use)
}

pub fn frames_come_from_the_smallest_bucket_that_has_one(eal: &Eal) {
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

pub fn a_frame_holds_what_was_written_and_nothing_else(eal: &Eal) {
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
pub fn frames_behave_like_free_counts(eal: &Eal) {
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

pub fn a_shared_frame_goes_back_once(eal: &Eal) {
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
pub fn a_frame_sent_to_two_ports_arrives_at_both_and_goes_back_once(eal: &Eal) {
    let buffers = pool(eal, "two_ports", 255);
    let mut frames = frame_pool(eal, "fan_out", [8, 4, 2]);
    let open = |device: &str| {
        let attach = Attach::new(eal, device).expect("a driver");
        let (port, mut queues) =
            attach.configure(&PORT, std::slice::from_ref(&buffers)).expect("one queue pair");
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
