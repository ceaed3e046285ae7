//! `voxbench churn-gateway`: a gateway in this process whose sessions come and go at a rate, told by lines of standard
//! input. Used by [`super::churn`], which starts it as it starts every gateway ([`super::scene`]).
//!
//! A line `RATE SESSIONS` begins a window: so many sessions are added, and as many removed, each second (0 for none, `max`
//! for as many as the thread can), in turn out of the first SESSIONS that there are to choose from. A line `end` ends it
//! and is answered with its [`Window`]. All of it happens on the control thread, as in the gateway itself, in small steps
//! between which the thread sleeps, so that it meets the traffic evenly.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use voxlane::control::Gateway;
use voxlane::control::config::{Config, Session};
use voxlane::srtp::{AesGcmProvider, IpsecMbProvider, Provider};
use voxlane::telemetry::{HistogramSnapshot, Telemetry};

use super::args::ChurnArgs;
use super::error::BenchError;

/// Sessions that come, and as many that go, before the gateway gets its turn.
const STEP: u64 = 32;

/// How long the thread sleeps when nothing is due.
const NAP: Duration = Duration::from_micros(200);

/// Requests that are made before a window begins, so that copying them is not part of it.
const STOCK: usize = 131_072;

/// Sessions that have ended and whose places have not come back yet, at most: beyond that the worker is behind, and whoever
/// goes on would find keys and places in use.
const ON_THE_WAY: u64 = 256;

/// Priority (`nice`) of the control thread.
const BEFORE_OTHERS: i32 = -15;

/// The line that ends a window.
pub const END: &str = "end";

/// What happened in a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// How long it took.
    pub seconds: f64,
    /// Time that the control thread ran.
    pub busy_seconds: f64,
    /// Sessions that were added.
    pub added: u64,
    /// Sessions that were removed.
    pub removed: u64,
    /// Requests that were refused, and why the first one was.
    pub refused: u64,
    /// See [`Window::refused`].
    pub refusal: Option<String>,
    /// Nanoseconds of all additions.
    pub add_ns: u64,
    /// The same of all removals.
    pub remove_ns: u64,
    /// The same of the gateway's own rounds between them: rows that come back, the host side, the journal.
    pub poll_ns: u64,
    /// The longest of these rounds.
    pub longest_poll_ns: u64,
    /// 99 % of the packets forwarded in the window took no longer, from RX burst to TX burst.
    pub relay_p99_ns: Option<f64>,
    /// The longest gap between two polls of a queue.
    pub poll_gap_max_ns: Option<f64>,
    /// All but one in ten thousand gaps were no longer.
    pub poll_gap_p9999_ns: Option<f64>,
    /// Heap allocations on the workers.
    pub allocations: u64,
    /// By pool: what was taken out of it, and of that what had been used before.
    pub pools: BTreeMap<String, [u64; 2]>,
}

/// Starts the gateway and does what standard input says until SIGTERM.
///
/// # Errors
/// [`BenchError::Usage`] when it cannot be started.
pub fn serve(args: &ChurnArgs) -> Result<(), BenchError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    match args.crypto.as_str() {
        AesGcmProvider::NAME => run::<AesGcmProvider>(args),
        IpsecMbProvider::NAME => {
            IpsecMbProvider::is_available().map_err(|error| BenchError::Usage(error.to_string()))?;
            run::<IpsecMbProvider>(args)
        }
        other => Err(BenchError::Usage(format!("there is no provider {other:?}"))),
    }
}

fn run<P: Provider>(args: &ChurnArgs) -> Result<(), BenchError> {
    let usage = |error: &dyn std::fmt::Display| BenchError::Usage(error.to_string());
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .map_err(BenchError::io("handling SIGTERM"))?;
    let config = Config::load(&args.config).map_err(|errors| usage(&errors))?;
    let coming = Config::load(&args.coming).map_err(|errors| usage(&errors))?.sessions;
    let gateway = Gateway::<P>::start(&config, false).map_err(|error| usage(&error))?;
    if let Some(address) = gateway.metrics_address() {
        eprintln!("metrics at http://{address}/metrics");
    }
    let lines = lines_of_input();
    // In service control does not share its core with all the telephones there are. They have what it leaves of it.
    setpriority_process(None, BEFORE_OTHERS)
        .map_err(|error| BenchError::io("setting the priority")(error.into()))?;
    let pools = &gateway.telemetry().pools;
    let places = pools.iter().position(|pool| pool.name == "sessions").unwrap_or(pools.len());
    let mut churn = Churn {
        places,
        gateway,
        start: Instant::now(),
        coming,
        live_at_most: args.live,
        live: VecDeque::new(),
        next: 0,
        stock: VecDeque::new(),
        running: None,
    };
    while !stop.load(Ordering::Acquire) {
        match lines.try_recv() {
            Ok(line) => churn.told(&line)?,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        churn.turn();
    }
    while !churn.live.is_empty() {
        churn.remove(None);
    }
    let report = churn.gateway.stop();
    report.write_json(&args.report).map_err(|error| usage(&error))?;
    if report.is_clean() { Ok(()) } else { Err(BenchError::Usage(format!("not clean:\n{report}"))) }
}

fn lines_of_input() -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

struct Churn<P: Provider> {
    gateway: Gateway<P>,
    start: Instant,
    /// All that there are to choose from.
    coming: Vec<Session>,
    live_at_most: usize,
    /// Positions of those that are there, the oldest first.
    live: VecDeque<usize>,
    /// The position that comes next.
    next: usize,
    /// Requests that are made already, from the position `next` on.
    stock: VecDeque<Session>,
    running: Option<Running>,
    /// Which of the gateway's pools is that of the sessions' places.
    places: usize,
}

/// A window that is not over.
struct Running {
    began: Instant,
    busy_before: f64,
    counts_before: Counts,
    /// Each second; `None` for as many as there can be.
    rate: Option<f64>,
    sessions: usize,
    window: Window,
}

impl<P: Provider> Churn<P> {
    fn told(&mut self, line: &str) -> Result<(), BenchError> {
        if line == END {
            let Some(running) = self.running.take() else { return Ok(()) };
            let window = running.end(&self.gateway);
            let failed = || BenchError::io("writing to standard output");
            let mut json = serde_json::to_vec(&window).map_err(|error| failed()(error.into()))?;
            json.push(b'\n');
            return std::io::stdout().lock().write_all(&json).map_err(failed());
        }
        let usage = || BenchError::Usage(format!("{line:?} is neither \"RATE SESSIONS\" nor {END:?}"));
        let (rate, sessions) = line.split_once(' ').ok_or_else(usage)?;
        let rate = match rate {
            "max" => None,
            rate => Some(rate.parse::<f64>().map_err(|_| usage())?),
        };
        let sessions: usize = sessions.parse().map_err(|_| usage())?;
        let sessions = sessions.clamp(1, self.coming.len().max(1));
        // Those of the window before leave first: it may have chosen from others.
        while !self.live.is_empty() {
            self.remove(None);
        }
        while self.on_the_way() > 0 {
            self.turn();
        }
        self.next = 0;
        self.stock.clear();
        if rate != Some(0.0) {
            self.stock.extend(self.coming.iter().take(sessions).cycle().take(STOCK).cloned());
        }
        self.running = Some(Running {
            began: Instant::now(),
            busy_before: thread_seconds(),
            counts_before: Counts::of(self.gateway.telemetry()),
            rate,
            sessions,
            window: Window::default(),
        });
        println!("begun");
        Ok(())
    }

    /// One step of the window, if there is one, and the gateway's own round. Returns whether there was something to do.
    fn turn(&mut self) -> bool {
        let mut due = 0;
        if let Some(running) = &self.running
            && self.on_the_way() < ON_THE_WAY
        {
            due = match running.rate {
                Some(rate) => {
                    let wanted = (running.began.elapsed().as_secs_f64() * rate) as u64;
                    wanted.saturating_sub(running.window.added + running.window.refused).min(STEP)
                }
                None => STEP,
            };
        }
        if due > 0
            && let Some(mut running) = self.running.take()
        {
            for _ in 0..due {
                self.add(&mut running);
                if self.live.len() > self.live_at_most {
                    self.remove(Some(&mut running.window));
                }
            }
            self.running = Some(running);
        }
        let began = Instant::now();
        let busy = self.gateway.poll(self.start.elapsed());
        let took = began.elapsed().as_nanos() as u64;
        if let Some(Running { window, .. }) = &mut self.running {
            window.poll_ns += took;
            window.longest_poll_ns = window.longest_poll_ns.max(took);
        }
        if due < STEP {
            std::thread::sleep(NAP);
        }
        busy || due > 0
    }

    /// Sessions that have ended and hold their places until their worker has let go of them.
    fn on_the_way(&self) -> u64 {
        let telemetry = self.gateway.telemetry();
        let in_use = telemetry.pools.get(self.places).map_or(0, |pool| (pool.read)().in_use);
        in_use.saturating_sub((telemetry.sessions)())
    }

    fn add(&mut self, running: &mut Running) {
        let session = self.stock.pop_front().or_else(|| self.coming.get(self.next).cloned());
        let Some(session) = session else { return };
        let began = Instant::now();
        let outcome = self.gateway.add_session(session);
        running.window.add_ns += began.elapsed().as_nanos() as u64;
        match outcome {
            Ok(_) => {
                running.window.added += 1;
                self.live.push_back(self.next);
            }
            Err(error) => {
                running.window.refused += 1;
                running.window.refusal.get_or_insert(error.to_string());
            }
        }
        self.next = (self.next + 1) % running.sessions;
    }

    fn remove(&mut self, window: Option<&mut Window>) {
        let Some(session) = self.live.pop_front().and_then(|position| self.coming.get(position)) else {
            return;
        };
        let began = Instant::now();
        let outcome = self.gateway.remove_session(&session.id);
        if let Some(window) = window {
            window.remove_ns += began.elapsed().as_nanos() as u64;
            match outcome {
                Ok(()) => window.removed += 1,
                Err(error) => {
                    window.refused += 1;
                    window.refusal.get_or_insert(error.to_string());
                }
            }
        }
    }
}

impl Running {
    fn end<P: Provider>(self, gateway: &Gateway<P>) -> Window {
        let seconds = self.began.elapsed().as_secs_f64();
        let telemetry = gateway.telemetry();
        let (before, now) = (self.counts_before, Counts::of(telemetry));
        let ns = |cycles: u64| cycles as f64 / telemetry.tsc_hz as f64 * 1e9;
        let (latency, gaps) = (now.latency.delta(&before.latency), now.gaps.delta(&before.gaps));
        let gained = |name: String, [taken, reused]: [u64; 2]| {
            let [taken_before, reused_before] = before.pools.get(&name).copied().unwrap_or_default();
            (name, [taken - taken_before, reused - reused_before])
        };
        Window {
            seconds,
            busy_seconds: thread_seconds() - self.busy_before,
            relay_p99_ns: latency.percentile(99.0).map(ns),
            poll_gap_max_ns: gaps.percentile(100.0).map(ns),
            poll_gap_p9999_ns: gaps.percentile(99.99).map(ns),
            allocations: now.allocations - before.allocations,
            pools: now.pools.into_iter().map(|(name, now)| gained(name, now)).collect(),
            ..self.window
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Window {
            seconds: 0.0,
            busy_seconds: 0.0,
            added: 0,
            removed: 0,
            refused: 0,
            refusal: None,
            add_ns: 0,
            remove_ns: 0,
            poll_ns: 0,
            longest_poll_ns: 0,
            relay_p99_ns: None,
            poll_gap_max_ns: None,
            poll_gap_p9999_ns: None,
            allocations: 0,
            pools: BTreeMap::new(),
        }
    }
}

/// What the gateway has counted since its start.
struct Counts {
    latency: HistogramSnapshot,
    gaps: HistogramSnapshot,
    allocations: u64,
    pools: BTreeMap<String, [u64; 2]>,
}

impl Counts {
    fn of(telemetry: &Telemetry) -> Self {
        let (mut latency, mut gaps) = (HistogramSnapshot::empty(), HistogramSnapshot::empty());
        for queue in &telemetry.queues {
            latency.merge(&queue.counters.latency.snapshot());
            gaps.merge(&queue.counters.poll_gap.gaps.snapshot());
        }
        let pools = telemetry.pools.iter().map(|pool| {
            let count = (pool.read)();
            (pool.name.clone(), [count.acquired, count.reused])
        });
        let allocations = telemetry.workers.iter().map(|worker| worker.counters.heap.allocations()).sum();
        Counts { latency, gaps, allocations, pools: pools.collect() }
    }
}

/// Time that this thread has run, in seconds.
fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
