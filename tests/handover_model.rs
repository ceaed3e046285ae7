//! The hand-over between workers under loom: the very files of the gateway, compiled against loom's atomics and
//! cells, through the interleavings of small cases and the reorderings that the memory model allows.
//!
//! What must hold in each of them: a frame is taken exactly once, by the worker it was given to; frames of one ring
//! come in their order; a full ring refuses and loses nothing; and what is still in a ring when its reader has
//! stopped looking is found by the last look, after both have stopped, or dropped with the ring, once.

#![forbid(unsafe_op_in_unsafe_fn)]

#[path = "../src/dpdk/spsc.rs"]
#[allow(dead_code, reason = "the gateway uses more of it than the model")]
mod spsc;

/// loom's cells and atomics in place of `src/dpdk/spsc_sync.rs`.
mod spsc_sync {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicUsize, Ordering};
}

/// The ring under the name by which the hand-over knows it.
mod dpdk {
    pub(crate) use super::spsc;
}

#[path = "../src/fastpath/handover.rs"]
#[allow(dead_code, reason = "the gateway uses more of it than the model")]
mod handover;

use arrayvec::ArrayVec;
// The model's own bookkeeping is no part of what is explored.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use handover::{Inbox, Outbox, mesh};

/// A frame that knows how many of its kind still exist.
struct Frame {
    stream: u8,
    sequence: u8,
    alive: Arc<AtomicUsize>,
}

impl Frame {
    fn new(stream: u8, sequence: u8, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Frame { stream, sequence, alive: Arc::clone(alive) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let before = self.alive.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a frame was dropped twice");
    }
}

/// Every interleaving with up to three preemptions: more find nothing new in code of this shape (Burckhardt et al.,
/// ASPLOS 2010, on how few a bug needs), and would take minutes.
fn explore(case: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(case);
}

/// One look of a worker at all its rings, as `Worker::take_handovers` does it.
fn look(inbox: &mut Inbox<Frame>, seen: &mut Vec<(u8, u8)>) {
    for ring in 0..inbox.rings() {
        loop {
            let mut burst: ArrayVec<Frame, 2> = ArrayVec::new();
            if inbox.take(ring, &mut burst).is_none() {
                break;
            }
            seen.extend(burst.iter().map(|frame| (frame.stream, frame.sequence)));
        }
    }
}

/// Gives frames away in bursts of one, as a full-speed worker would; returns those that the ring refused.
fn give(
    outbox: &mut Outbox<Frame>,
    to: u16,
    stream: u8,
    count: u8,
    alive: &Arc<AtomicUsize>,
) -> Vec<(u8, u8)> {
    let mut refused = Vec::new();
    for sequence in 0..count {
        if !outbox.push(to, stream, Frame::new(stream, sequence, alive)) {
            refused.push((stream, sequence));
        }
        outbox.publish();
    }
    refused
}

/// One worker gives three frames to another through a ring of two, which looks twice while it does and once when both
/// have stopped.
#[test]
fn a_frame_is_taken_once_in_order_or_refused_and_the_last_look_finds_the_rest() {
    explore(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let mut workers = mesh::<Frame>(2, 2);
        let mut inbox = workers.pop().expect("two workers").1;
        let mut outbox = workers.pop().expect("two workers").0;
        let giver = {
            let alive = Arc::clone(&alive);
            loom::thread::spawn(move || (give(&mut outbox, 1, 7, 3, &alive), outbox))
        };
        let mut seen = Vec::new();
        look(&mut inbox, &mut seen);
        look(&mut inbox, &mut seen);
        let (refused, outbox) = giver.join().expect("the giver ends");
        look(&mut inbox, &mut seen);
        assert!(seen.is_sorted(), "one ring keeps the order: {seen:?}");
        let mut all = [seen, refused].concat();
        all.sort_unstable();
        assert_eq!(all, [(7, 0), (7, 1), (7, 2)], "each once");
        drop((inbox, outbox, workers));
        assert_eq!(alive.load(Ordering::Relaxed), 0, "every frame is gone");
    });
}

/// Two workers give to a third at the same time: both rings are its own, and it takes from both.
#[test]
fn two_workers_give_to_a_third() {
    explore(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let mut workers = mesh::<Frame>(3, 2);
        let mut inbox = workers.pop().expect("three workers").1;
        let givers: Vec<_> = workers
            .drain(..)
            .enumerate()
            .map(|(stream, (mut outbox, idle))| {
                let alive = Arc::clone(&alive);
                loom::thread::spawn(move || {
                    assert!(give(&mut outbox, 2, stream as u8, 2, &alive).is_empty(), "there is room");
                    drop(idle);
                })
            })
            .collect();
        let mut seen = Vec::new();
        look(&mut inbox, &mut seen);
        givers.into_iter().for_each(|giver| giver.join().expect("the giver ends"));
        look(&mut inbox, &mut seen);
        for stream in 0..2 {
            let of: Vec<_> =
                seen.iter().filter(|(of, _)| *of == stream).map(|(_, sequence)| *sequence).collect();
            assert_eq!(of, [0, 1], "stream {stream}");
        }
        assert_eq!(seen.len(), 4);
        drop(inbox);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "every frame is gone");
    });
}

/// Both directions at once, and one of the two ends for good (as by a panic) with frames still in its ring: they are
/// dropped once, and what it gave is still found.
#[test]
fn a_worker_that_vanishes_takes_only_what_is_in_its_own_rings() {
    explore(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let mut workers = mesh::<Frame>(2, 2);
        let (mut outbox, mut inbox) = workers.pop().expect("two workers");
        let (mut vanishing, idle) = workers.pop().expect("two workers");
        let other = {
            let alive = Arc::clone(&alive);
            loom::thread::spawn(move || {
                assert!(vanishing.push(1, 0, Frame::new(1, 0, &alive)), "there is room");
                // Not published: leaving does it.
                drop((vanishing, idle));
            })
        };
        let refused = give(&mut outbox, 0, 2, 2, &alive);
        assert!(refused.is_empty(), "there is room");
        let mut seen = Vec::new();
        look(&mut inbox, &mut seen);
        other.join().expect("the other ends");
        look(&mut inbox, &mut seen);
        assert_eq!(seen, [(1, 0)]);
        drop((inbox, outbox));
        assert_eq!(alive.load(Ordering::Relaxed), 0, "every frame is gone");
    });
}
