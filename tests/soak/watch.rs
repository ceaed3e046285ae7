//! What a soak looks at each second, and what it must find: `tests/soak.rs`.
//!
//! A [`Sample`] comes from the metrics page and from `/proc/PID` at one moment. Memory is held to be flat from the end of
//! the first quarter on: by then everything that remembers the latest sessions has been full once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::Scrape;

/// By how much the process may grow after the first quarter: a page of the allocator here and there. A single byte for each
/// session that came and went would be more in a run of 20 minutes.
const RSS_GROWTH_KIB: u64 = 2_048;
/// The gateway remembers why the latest 65,536 sessions ended; once so many have, that memory grows no more.
const REMEMBERED: u64 = 70_000;
/// By how much a pool's high-water mark may grow after the first quarter, as a share of the pool: what has ended is out until
/// the worker has seen it, and a busy machine makes that longer.
const HIGH_WATER_GROWTH: f64 = 0.1;
/// By how much what is always in use may grow: sessions live longer on a busy machine. That none is left over is asserted exactly,
/// when no session comes any more.
const FLOOR_GROWTH: f64 = 0.1;
/// Heap allocations of one panic at most: the panic machinery boxes what was thrown. There are no others.
const ALLOCATIONS_OF_A_PANIC: u64 = 4;

/// What was seen at one moment.
pub struct Sample {
    /// Since the start of the run.
    pub at: Duration,
    /// Resident memory without hugepages, in KiB.
    pub rss_kib: u64,
    /// By name.
    pub pools: BTreeMap<String, Pool>,
    /// Sessions in service.
    pub sessions: u64,
    /// Sessions that have ended.
    pub ended: u64,
    /// Panics of the worker.
    pub panics: u64,
    /// Heap allocations of the worker, and blocks freed by it.
    pub heap: [u64; 2],
    /// Rounds of the worker.
    pub loops: u64,
    /// Poll gaps beyond the bound so far.
    pub long_gaps: u64,
    /// For how long the worker was ready to run and another thread had its core, so far.
    pub waited: Duration,
    /// For how long the hypervisor had the core, so far; in steps of 10 ms.
    pub stolen: Duration,
}

/// A pool at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    pub size: u64,
    pub in_use: u64,
    pub high_water: u64,
    pub acquired: u64,
    pub reused: u64,
    pub exhausted: u64,
}

/// Where the samples come from.
pub struct Watch {
    pub process: u32,
    /// The worker's thread and core.
    pub thread: u32,
    pub core: u16,
    /// What a poll gap should not exceed.
    pub gap_bound: Duration,
    pub start: Instant,
}

impl Watch {
    /// Takes one.
    pub fn sample(&self, page: &Scrape) -> Sample {
        let mut pools = BTreeMap::new();
        for sample in page.samples("voxlane_pool_objects", &[]) {
            let name = sample.labels["pool"].clone();
            let of = |family: &str| page.sum(&format!("voxlane_pool_{family}"), &[("pool", &name)]);
            let pool = Pool {
                size: sample.value as u64,
                in_use: of("in_use"),
                high_water: of("high_water"),
                acquired: of("acquired_total"),
                reused: of("reused_total"),
                exhausted: of("exhausted_total"),
            };
            pools.insert(name, pool);
        }
        let of = |name: &str| page.sum(name, &[]);
        Sample {
            at: self.start.elapsed(),
            rss_kib: self.rss_kib(),
            pools,
            sessions: of("voxlane_sessions"),
            ended: of("voxlane_sessions_ended_total"),
            panics: of("voxlane_worker_panics_total"),
            heap: [of("voxlane_worker_heap_allocations_total"), of("voxlane_worker_heap_frees_total")],
            loops: of("voxlane_worker_loops_total"),
            long_gaps: self.long_gaps(page),
            waited: self.waited(),
            stolen: stolen(self.core),
        }
    }

    fn rss_kib(&self) -> u64 {
        let text = read(&format!("/proc/{}/status", self.process));
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the process runs");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number of KiB")
    }

    /// The second figure is the time on the run queue, in nanoseconds (Documentation/scheduler/sched-stats.rst).
    fn waited(&self) -> Duration {
        let text = read(&format!("/proc/{}/task/{}/schedstat", self.process, self.thread));
        let ns = text.split_whitespace().nth(1).and_then(|ns| ns.parse().ok());
        Duration::from_nanos(ns.expect("three numbers"))
    }

    /// By the histogram's steps: those gaps beyond the first step that is not below the bound.
    fn long_gaps(&self, page: &Scrape) -> u64 {
        let bound = self.gap_bound.as_secs_f64();
        let mut steps: BTreeMap<u64, u64> = BTreeMap::new();
        for sample in page.samples("voxlane_poll_gap_seconds_bucket", &[]) {
            let step: f64 = sample.labels["le"].parse().expect("a number or +Inf");
            if step >= bound {
                *steps.entry(step.to_bits()).or_default() += sample.value as u64;
            }
        }
        let within = steps.first_key_value().map_or(0, |(_, count)| *count);
        page.sum("voxlane_poll_gap_seconds_count", &[]) - within
    }
}

/// The thread of a process's first worker, by the name that DPDK gives it.
pub fn worker_thread(process: u32) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the gateway runs");
    let mut workers = tasks.flatten().filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).unwrap_or_default().contains("worker-1")
    });
    let task = workers.next().expect("DPDK names its threads");
    task.file_name().to_string_lossy().parse().expect("a thread id")
}

/// The eighth figure of a core, in hundredths of a second (proc(5)).
fn stolen(core: u16) -> Duration {
    let text = read("/proc/stat");
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).expect("the core exists");
    let ticks = line.split_whitespace().nth(7).and_then(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.expect("a number"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first sample after the first quarter.
fn first_quarter(samples: &[Sample]) -> usize {
    let whole = samples.last().map_or(Duration::ZERO, |last| last.at);
    samples.partition_point(|sample| sample.at < whole / 4)
}

/// The process does not grow.
pub fn memory(samples: &[Sample]) {
    // From here on memory is flat.
    let settled = first_quarter(samples).max(samples.partition_point(|sample| sample.ended < REMEMBERED));
    println!("memory: KiB resident over the run: {}", curve(samples, |sample| sample.rss_kib));
    println!("sessions in service over the run: {}", curve(samples, |sample| sample.sessions));
    let settled = samples.get(settled..).unwrap_or_default();
    // Two minutes are enough where sessions come as fast as they are to.
    assert!(
        settled.len() * 2 >= samples.len(),
        "too few sessions came in the first half: {} samples are left",
        settled.len()
    );
    let (early, late) = settled.split_at(settled.len() / 2);
    let most = |samples: &[Sample]| samples.iter().map(|sample| sample.rss_kib).max().unwrap_or(0);
    let (early, late) = (most(early), most(late));
    let sessions = settled.last().map_or(0, |last| last.ended - settled[0].ended);
    println!(
        "memory: at most {early} KiB in the first half after that, {late} KiB in the second: {:+} KiB, while {sessions} \
         sessions came and went",
        late as i64 - early as i64
    );
    assert!(late <= early + RSS_GROWTH_KIB, "the process grew from {early} to {late} KiB");
}

/// Two dozen values.
fn curve(samples: &[Sample], value: impl Fn(&Sample) -> u64) -> String {
    let step = samples.len().div_ceil(24).max(1);
    let values: Vec<String> = samples.iter().step_by(step).map(|sample| value(sample).to_string()).collect();
    values.join(" ")
}

/// No pool is used more and more.
pub fn pools(samples: &[Sample]) {
    let (first, rest) = samples.split_at(first_quarter(samples));
    let (early, late) = (&rest[..rest.len() / 3], &rest[rest.len() * 2 / 3..]);
    let (quarter, last) = (
        first.last().expect("the first sample is taken at once"),
        late.last().expect("runs are not that short"),
    );
    let least = |samples: &[Sample], name: &str| {
        samples.iter().map(|sample| sample.pools[name].in_use).min().unwrap_or(0)
    };
    for (name, pool) in &last.pools {
        let share = |share: f64| (pool.size as f64 * share).ceil() as u64;
        let then = quarter.pools[name].high_water;
        let floors = [least(early, name), least(late, name)];
        let rate = match pool.acquired {
            0 => "not used".to_owned(),
            acquired => format!("{:.4} % reused", 100.0 * pool.reused as f64 / acquired as f64),
        };
        println!(
            "pool {name}: {} objects, {} acquired, {rate}; at most {} at once ({then} in the first quarter), at least \
             {} in use in the second quarter and {} in the last, exhausted {} times",
            pool.size, pool.acquired, pool.high_water, floors[0], floors[1], pool.exhausted
        );
        assert!(
            pool.high_water <= then + share(HIGH_WATER_GROWTH),
            "pool {name}: high-water mark {then}, then {pool:?}"
        );
        // A leak raises the floor, whatever the peaks are.
        assert!(floors[1] <= floors[0] + share(FLOOR_GROWTH), "pool {name}: at least {floors:?} in use");
    }
}

/// The worker allocates nothing but by a panic.
pub fn heap(samples: &[Sample]) {
    let last = samples.last().expect("counted by the caller");
    println!(
        "heap: {} allocations and {} frees on the worker, {} panics",
        last.heap[0], last.heap[1], last.panics
    );
    // A page may show the panic a moment before or after what it allocated.
    for around in samples.windows(4) {
        if around[0].panics == around[3].panics {
            assert_eq!(around[1].heap, around[2].heap, "without a panic, at {:?}", around[2].at);
        }
    }
    for (what, count) in ["allocations", "frees"].iter().zip(last.heap) {
        assert!(count <= ALLOCATIONS_OF_A_PANIC * last.panics, "{count} {what}, {} panics", last.panics);
    }
    assert!(last.panics == 0 || last.heap[0] > 0, "a panic allocates: the count is not wired");
}

/// The bound is the benchmark's on this kind of machine. Whoever else has the core can make a gap longer, and the kernel says
/// in which seconds somebody did; a hypervisor may not say. So this is told, and asserted only where the core is the worker's.
pub fn stalls(samples: &[Sample], bound: Duration, is_quiet_machine: bool) {
    let (mut taken, mut unexplained) = (0, 0);
    for pair in samples.windows(2) {
        let [before, after] = pair else { continue };
        let gaps = after.long_gaps - before.long_gaps;
        let lost = (after.waited - before.waited) + (after.stolen - before.stolen);
        // With the core to itself for half of the time, it goes on.
        let stood = after.loops == before.loops && lost * 2 < after.at - before.at;
        assert!(!stood, "the worker stood still from {:?} to {:?}", before.at, after.at);
        *(if lost * 2 > bound { &mut taken } else { &mut unexplained }) += gaps;
    }
    let (first, last) = (&samples[0], samples.last().expect("counted by the caller"));
    println!(
        "stalls: {} poll gaps beyond {bound:?}: {taken} in seconds in which the core was taken from the worker, {unexplained} \
         in others; it waited {:.1} s for its core, the hypervisor had it for {:.1} s",
        taken + unexplained,
        (last.waited - first.waited).as_secs_f64(),
        (last.stolen - first.stolen).as_secs_f64()
    );
    assert!(!is_quiet_machine || unexplained == 0, "{unexplained} poll gaps beyond {bound:?}");
}
