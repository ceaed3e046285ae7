//! Frames from pools that threads have for themselves, from one pool that they share under a lock, and from the heap.
//!
//! Sixteen lcores, however many cores there are for them, take frames of mixed sizes, write their first line, keep a few
//! and give them back: each from an [`AudioFramePool`] of its own with the lcore's cache, then all from one pool behind a
//! [`Mutex`], then from the heap. All three have the same room and do the same to a frame; they take turns in one
//! process, so that a machine that others share slows all of them. What is compared is how many frames all threads
//! together had.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use voxlane::dpdk::frame_pool::Releasers;
use voxlane::dpdk::{AudioFrame, AudioFramePool, Eal, EalOptions, FrameBucket, allowed_cores};

use super::args::FramePoolArgs;
use super::error::BenchError;
use crate::rng::Rng;

/// Frames that a thread holds at a time: a burst's worth of fan-out.
const HELD: usize = 16;

/// Frames between two looks at the clock.
const SECTION: usize = 256;

/// Lengths in bytes: G.711 and Opus frames, 20 ms of wideband and of full-band sound, and some that need B2.
const LENGTHS: [usize; 8] = [80, 160, 160, 320, 640, 960, 1_920, 3_840];

/// What is written into each frame.
const TOUCH: [u8; 64] = [0x5a; 64];

/// What one round found, in frames of all threads together per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FramePoolReport {
    /// A pool for each thread.
    pub own_per_second: f64,
    /// One pool for all of them, behind a lock.
    pub shared_per_second: f64,
    /// The heap.
    pub heap_per_second: f64,
}

/// `voxbench framepool`: sets up the pools, then answers each line of standard input, a number of seconds, with a
/// [`FramePoolReport`] as JSON.
///
/// # Errors
/// [`BenchError::Usage`] where the pools do not fit into memory or there is no thread.
pub fn measure(args: &FramePoolArgs) -> Result<(), BenchError> {
    let usage = |error: &dyn std::fmt::Display| BenchError::Usage(error.to_string());
    let cores = allowed_cores();
    let threads = usize::from(args.threads);
    if threads == 0 || cores.is_empty() {
        return Err(BenchError::Usage("--threads is at least 1".to_owned()));
    }
    let eal = Eal::init(&EalOptions {
        name: format!("voxbench-framepool-{}", std::process::id()),
        memory_mib: 64,
        no_huge: args.no_huge,
        main_cores: cores.clone(),
        worker_cores: cores.iter().copied().cycle().take(threads).collect(),
        pci_devices: Vec::new(),
        verbose: false,
    })
    .map_err(|error| usage(&error))?;
    let own = (0..threads).map(|thread| {
        let name = format!("thread{thread}");
        AudioFramePool::new(&eal, &name, &FrameBucket::DEFAULT, Releasers::OwnerAnd(0), None).map(Own)
    });
    let mut own: Vec<Own> = own.collect::<Result<_, _>>().map_err(|error| usage(&error))?;
    let shared = Arc::new(Mutex::new(SharedPool::new(threads)));
    let mut of_shared: Vec<Shared> = (0..threads).map(|_| Shared(Arc::clone(&shared))).collect();
    let mut heap: Vec<Heap> = (0..threads).map(|_| Heap).collect();

    let output = || BenchError::io("writing to standard output");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let seconds = line.trim().parse::<f64>().ok().filter(|seconds| (0.0..=3_600.0).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| BenchError::Usage(format!("{line:?} is no number of seconds")))?;
        let each = Duration::from_secs_f64(seconds / 3.0);
        let report = FramePoolReport {
            own_per_second: rate(&eal, &mut own, each)?,
            shared_per_second: rate(&eal, &mut of_shared, each)?,
            heap_per_second: rate(&eal, &mut heap, each)?,
        };
        let mut json = serde_json::to_vec(&report).map_err(|error| output()(error.into()))?;
        json.push(b'\n');
        std::io::stdout().lock().write_all(&json).map_err(output())?;
    }
    Ok(())
}

/// Where a thread has its frames from.
trait Source: Send + 'static {
    type Frame: Send;
    /// A frame with room for `len` bytes, its first line written. `None`: there is none, which must not happen.
    fn take(&mut self, len: usize) -> Option<Self::Frame>;
    fn give_back(&mut self, frame: Self::Frame);
}

/// Frames per second of one thread for each of `sources`, which come back as they were.
fn rate<S: Source>(eal: &Eal, sources: &mut Vec<S>, wanted: Duration) -> Result<f64, BenchError> {
    let (stop, start) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(sources.len() + 1)));
    let dpdk = |error| BenchError::Usage(format!("{error}"));
    let mut handles = Vec::new();
    for (number, mut source) in sources.drain(..).enumerate() {
        let (stop, start) = (Arc::clone(&stop), Arc::clone(&start));
        let work = move || {
            start.wait();
            let frames = run(&mut source, &stop, number as u64);
            (source, frames)
        };
        handles.push(eal.launch(number as u32 + 1, work).map_err(dpdk)?);
    }
    start.wait();
    let began = Instant::now();
    std::thread::sleep(wanted);
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for handle in handles {
        let (source, frames) =
            handle.join().map_err(|_| BenchError::invalid("framepool", "a thread panicked".to_owned()))?;
        sources.push(source);
        total += frames.ok_or_else(|| {
            BenchError::invalid("framepool", "a pool that must suffice ran empty".to_owned())
        })?;
    }
    Ok(total as f64 / began.elapsed().as_secs_f64())
}

/// Takes and gives back until `stop`; returns how many, or `None` if there was no frame once.
fn run<S: Source>(source: &mut S, stop: &AtomicBool, seed: u64) -> Option<u64> {
    let mut rng = Rng::new(seed);
    // The same mix for all, drawn beforehand.
    let lengths: Vec<usize> =
        (0..SECTION).map(|_| LENGTHS[rng.next_u64() as usize % LENGTHS.len()]).collect();
    let mut held = VecDeque::with_capacity(HELD + 1);
    let mut frames = 0;
    loop {
        for &len in &lengths {
            held.push_back(source.take(len)?);
            if held.len() > HELD
                && let Some(oldest) = held.pop_front()
            {
                source.give_back(oldest);
            }
        }
        frames += SECTION as u64;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    held.drain(..).for_each(|frame| source.give_back(frame));
    Some(frames)
}

struct Own(AudioFramePool);

impl Source for Own {
    type Frame = AudioFrame;

    fn take(&mut self, len: usize) -> Option<AudioFrame> {
        let mut frame = self.0.acquire(len).ok()?;
        frame.extend_from_slice(&TOUCH).then_some(frame)
    }

    fn give_back(&mut self, frame: AudioFrame) {
        drop(frame);
    }
}

/// As many frames of each size as all the threads' own pools have together, each written to once.
struct SharedPool(Vec<(usize, Vec<Vec<u8>>)>);

impl SharedPool {
    fn new(threads: usize) -> Self {
        let bucket = |bucket: &FrameBucket| {
            let frame = || {
                let mut frame = vec![1; usize::from(bucket.bytes)];
                frame.clear();
                frame
            };
            let frames = std::iter::repeat_with(frame).take(threads * bucket.frames as usize);
            (usize::from(bucket.bytes), frames.collect())
        };
        SharedPool(FrameBucket::DEFAULT.iter().map(bucket).collect())
    }
}

struct Shared(Arc<Mutex<SharedPool>>);

impl Source for Shared {
    type Frame = Vec<u8>;

    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut frame = {
            let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            pool.0.iter_mut().filter(|(bytes, _)| len <= *bytes).find_map(|(_, frames)| frames.pop())?
        };
        frame.clear();
        frame.extend_from_slice(&TOUCH);
        Some(frame)
    }

    fn give_back(&mut self, frame: Vec<u8>) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The capacity tells the bucket, as the mempool does for the others.
        if let Some((_, frames)) = pool.0.iter_mut().find(|(bytes, _)| *bytes == frame.capacity()) {
            frames.push(frame);
        }
    }
}

struct Heap;

impl Source for Heap {
    type Frame = Vec<u8>;

    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut frame = Vec::with_capacity(len);
        frame.extend_from_slice(&TOUCH);
        // What nobody looks at need not be allocated.
        Some(std::hint::black_box(frame))
    }

    fn give_back(&mut self, frame: Vec<u8>) {
        drop(std::hint::black_box(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is given back is what was taken: the pool holds as much afterwards, in the same buckets.
    #[test]
    fn the_shared_pool_is_whole_again() {
        let pool = Arc::new(Mutex::new(SharedPool::new(1)));
        let mut source = Shared(Arc::clone(&pool));
        let stop = AtomicBool::new(true);
        assert_eq!(run(&mut source, &stop, 7), Some(SECTION as u64));
        let sizes: Vec<usize> =
            pool.lock().expect("no panic").0.iter().map(|(_, frames)| frames.len()).collect();
        assert_eq!(sizes, FrameBucket::DEFAULT.map(|bucket| bucket.frames as usize));
        assert_eq!(run(&mut Heap, &stop, 7), Some(SECTION as u64));
    }

    #[test]
    fn a_pool_that_runs_empty_is_no_measurement() {
        let pool = Arc::new(Mutex::new(SharedPool(vec![(
            3_840,
            (0..3).map(|_| Vec::with_capacity(3_840)).collect(),
        )])));
        assert_eq!(run(&mut Shared(pool), &AtomicBool::new(true), 7), None);
    }
}
