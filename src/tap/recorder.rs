//! The recorder thread: takes records out of the workers' arenas and gives them to their sessions.
//!
//! Runs on the control cores at a lower priority than control. It looks at the arenas every few milliseconds, so it is
//! that far behind, and further only when its disk is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::counters::{Loss, TapCounters};
use super::directory::Directory;
use super::finisher::Finisher;
use super::output::Disk;
use super::record::{Head, Leg};
use super::session::{TapPlan, TapSession};
use crate::dpdk::{arena, cycles};

/// How long the thread sleeps when there was nothing to do.
const NAP: Duration = Duration::from_millis(5);
/// How often what was collected is written although it is little.
const TICK_NS: u64 = 1_000_000_000;
/// How long after the end of a tap the worker may still have been adding to it.
const GRACE_NS: u64 = 200_000_000;
/// Records of one arena before the others get their turn.
const RECORDS_PER_TURN: usize = 4_096;
/// Niceness of the thread: control and metrics come first.
const NICENESS: i32 = 10;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// All packets, as a capture.
    pub pcapng: bool,
    /// The audio of each direction, where its codec allows it.
    pub audio: bool,
}

/// What control wants of the recorder.
#[derive(Debug)]
pub enum Order {
    /// A session is to be tapped.
    Start(Box<TapPlan>),
    /// A leg has another remote.
    Remote {
        /// The tap.
        tap: u32,
        /// The leg.
        leg: Leg,
        /// Where its packets come from.
        remote: SocketAddr,
        /// Whether that holds for RTP.
        rtp: bool,
        /// Whether that holds for RTCP.
        rtcp: bool,
    },
    /// A tap ends; the workers know already, or will within 100 ms.
    Stop {
        /// The tap.
        tap: u32,
    },
}

/// The recorder without its thread.
pub struct Recorder {
    readers: Vec<arena::Reader>,
    orders: Receiver<Order>,
    directory: Directory,
    finisher: Finisher,
    formats: Formats,
    counters: Arc<TapCounters>,
    sessions: HashMap<u32, TapSession>,
    /// Taps that end, with the time from which nothing more can come.
    ending: Vec<(u32, u64)>,
    next_tick_ns: u64,
    body: Vec<u8>,
}

impl Recorder {
    /// A recorder of `readers`, by worker, with the queue for its orders.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn new(
        readers: Vec<arena::Reader>,
        directory: Directory,
        formats: Formats,
        counters: Arc<TapCounters>,
    ) -> std::io::Result<(Self, Sender<Order>)> {
        let (sender, orders) = channel();
        counters.files_recovered.raise_to(directory.recovered);
        let recorder = Recorder {
            readers,
            orders,
            directory,
            finisher: Finisher::start(Arc::clone(&counters))?,
            formats,
            counters,
            sessions: HashMap::new(),
            ending: Vec::new(),
            next_tick_ns: 0,
            body: Vec::new(),
        };
        Ok((recorder, sender))
    }

    /// One round at `now_ns`, which is any clock that goes on; `cycles` is the time-stamp counter. Returns whether there
    /// was something to do, or `None` once control is gone.
    pub fn round(&mut self, now_ns: u64, cycles: u64) -> Option<bool> {
        let mut busy = false;
        let (obeyed, is_control_gone) = self.obey_all(now_ns);
        busy |= obeyed;
        self.counters.blocks_high_water.raise_to(self.counters.blocks_in_use());
        let mut all_seen = true;
        for reader in 0..self.readers.len() {
            let taken = self.take(reader, now_ns);
            busy |= taken > 0;
            all_seen &= taken < RECORDS_PER_TURN;
        }
        self.counters.blocks_returned.raise_to(self.readers.iter().map(arena::Reader::returned).sum());
        let is_tick = now_ns >= self.next_tick_ns;
        let mut disk = Disk {
            directory: &mut self.directory,
            finisher: &self.finisher,
            counters: &self.counters,
            now_ns,
        };
        if is_tick {
            self.next_tick_ns = now_ns + TICK_NS;
            self.sessions.values_mut().for_each(|session| session.tick(cycles, &mut disk));
        }
        // Arenas that were read to their end hold nothing of a tap whose time is over.
        if all_seen {
            for (tap, _) in self.ending.extract_if(.., |(_, over_ns)| *over_ns <= now_ns) {
                if let Some(session) = self.sessions.remove(&tap) {
                    session.finish(&mut disk);
                }
            }
        }
        (!is_control_gone).then_some(busy)
    }

    /// The end, when no worker adds anything any more: reads what is left and completes all files.
    pub fn finish(mut self, now_ns: u64, cycles: u64) {
        while self.round(now_ns, cycles) == Some(true) {}
        for reader in 0..self.readers.len() {
            while self.take(reader, now_ns) > 0 {}
        }
        self.counters.blocks_returned.raise_to(self.readers.iter().map(arena::Reader::returned).sum());
        let Recorder { mut directory, finisher, counters, sessions, .. } = self;
        for session in sessions.into_values() {
            let mut disk =
                Disk { directory: &mut directory, finisher: &finisher, counters: &counters, now_ns };
            session.finish(&mut disk);
        }
        finisher.join();
    }

    /// All orders that wait. Whether there were any, and whether there will be no more.
    fn obey_all(&mut self, now_ns: u64) -> (bool, bool) {
        let mut obeyed = false;
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.obey(order, now_ns),
                Err(error) => return (obeyed, error == TryRecvError::Disconnected),
            }
            obeyed = true;
        }
    }

    fn obey(&mut self, order: Order, now_ns: u64) {
        match order {
            Order::Start(plan) => {
                self.sessions.insert(plan.tap, TapSession::new(*plan, self.formats));
            }
            Order::Remote { tap, leg, remote, rtp, rtcp } => {
                if let Some(session) = self.sessions.get_mut(&tap) {
                    session.set_remote(leg, remote, rtp, rtcp);
                }
            }
            Order::Stop { tap } => self.ending.push((tap, now_ns + GRACE_NS)),
        }
    }

    /// Some records of one arena; how many.
    fn take(&mut self, reader: usize, now_ns: u64) -> usize {
        for taken in 0..RECORDS_PER_TURN {
            let next = self.readers.get_mut(reader).and_then(|reader| reader.next(&mut self.body));
            let Some(words) = next else { return taken };
            let head = Head::from_words(words);
            // Control gives the order before the worker can have the tag.
            if !self.sessions.contains_key(&head.tag.tap()) {
                self.obey_all(now_ns);
            }
            let Some(session) = self.sessions.get_mut(&head.tag.tap()) else {
                self.counters.count_lost(Loss::NoSession, 1);
                continue;
            };
            let mut disk = Disk {
                directory: &mut self.directory,
                finisher: &self.finisher,
                counters: &self.counters,
                now_ns,
            };
            session.record(&head, &self.body, &mut disk);
        }
        RECORDS_PER_TURN
    }
}

/// The recorder on its thread.
#[derive(Debug)]
pub struct RecorderThread {
    thread: JoinHandle<()>,
    orders: Sender<Order>,
    stop: Arc<AtomicBool>,
}

impl RecorderThread {
    /// Starts the thread; `on_start` runs on it first.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(
        recorder: (Recorder, Sender<Order>),
        on_start: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (mut recorder, orders) = recorder;
        let stop = Arc::new(AtomicBool::new(false));
        let its_stop = Arc::clone(&stop);
        let run = move || {
            on_start();
            let start = Instant::now();
            let now_ns = || start.elapsed().as_nanos() as u64;
            while !its_stop.load(Ordering::Acquire) {
                match recorder.round(now_ns(), cycles()) {
                    Some(true) => {}
                    Some(false) => std::thread::sleep(NAP),
                    None => break,
                }
            }
            recorder.finish(now_ns(), cycles());
        };
        let thread = std::thread::Builder::new().name("tap".to_owned()).spawn(run)?;
        Ok(RecorderThread { thread, orders, stop })
    }

    /// Gives an order; it is lost if the thread has ended by a panic.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// The workers have ended: has the thread complete everything, and waits for it until `deadline`. `false`: it is not
    /// done; its files are completed at the next start.
    pub fn stop(self, deadline: Instant) -> bool {
        self.stop.store(true, Ordering::Release);
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.thread.join().is_ok()
    }
}

/// Puts the calling thread behind those of control, and lets it have as many files as it may.
pub(crate) fn prepare_thread() {
    use rustix::process::{Resource, getrlimit, setpriority_process, setrlimit};
    if let Err(error) = setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "the tap's thread runs at control's priority");
    }
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, files) {
        tracing::warn!(%error, "the tap may run out of file descriptors");
    }
}
