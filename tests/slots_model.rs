//! Rows that two threads hand to each other, under loom: the very file of the gateway, compiled against loom's cells, so
//! that an access by a thread that has no right to a row at that moment is found, whatever the interleaving.
//!
//! What must hold: the worker sees a row as control filled it, control sees it as the worker left it, a row that is
//! filled again never shows anything of before, and every value is dropped once.

#![forbid(unsafe_op_in_unsafe_fn)]

#[path = "../src/dpdk/slots.rs"]
#[allow(dead_code, reason = "the gateway uses more of it than the model")]
mod slots;

#[path = "../src/dpdk/spsc.rs"]
#[allow(dead_code, reason = "the gateway uses more of it than the model")]
mod spsc;

/// loom's cells and atomics in place of `src/dpdk/spsc_sync.rs`.
mod spsc_sync {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicUsize, Ordering};
}

/// Memory on the heap in place of hugepages.
#[derive(Clone, Copy)]
pub enum Memory<'a> {
    /// The only kind.
    Heap,
    /// The gateway's other kind.
    #[allow(dead_code, reason = "there is no environment here")]
    Huge(&'a ()),
}

/// What cannot go wrong here.
#[derive(Debug)]
pub enum Error {}

/// A vector in such memory.
pub struct HugeVec<T>(Vec<T>);

impl<T> HugeVec<T> {
    fn with_capacity(_: Memory<'_>, capacity: usize, _: &'static str) -> Result<Self, Error> {
        Ok(HugeVec(Vec::with_capacity(capacity)))
    }

    fn push(&mut self, element: T) -> Result<(), T> {
        self.0.push(element);
        Ok(())
    }

    fn address(&self, index: usize) -> *const u8 {
        self.0.as_ptr().wrapping_add(index).cast()
    }
}

impl<T> std::ops::Deref for HugeVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slots::{Filled, Retired, Row, Token, table};
use spsc::ring;

/// A value that knows how many of its kind still exist.
struct Counted(u32, Arc<AtomicUsize>);

impl Counted {
    fn new(value: u32, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Counted(value, Arc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.1.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a value was dropped twice");
    }
}

fn explore(case: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(case);
}

/// One row, used for `times` sessions one after the other.
fn hand_over_and_back(times: u32) {
    explore(move || {
        let alive = Arc::new(AtomicUsize::new(0));
        let ((mut rows, mut keeper), mut vacant) = table(Memory::Heap, 1).expect("memory");
        let (mut to_worker, mut commands) = ring::<Token<Filled>>(1);
        let (mut to_control, mut returned) = ring::<Token<Retired>>(1);
        let worker = loom::thread::spawn(move || {
            for time in 0..times {
                assert!(rows.first(0).is_none() && rows.second(0).is_none(), "not ours yet");
                let token = loop {
                    match commands.pop() {
                        Some(token) => break token,
                        None => loom::thread::yield_now(),
                    }
                };
                commands.release();
                let row = rows.adopt(token).expect("its own table");
                assert_eq!(rows.first(row).map(|it: &Counted| it.0), Some(time));
                assert_eq!(rows.third(row), Some(&(10 + time)));
                if let Some(Row(_, second, _, fourth)) = rows.row_mut(row) {
                    *second += 100;
                    *fourth = 7;
                }
                let retired = rows.retire(row).expect("live");
                assert!(rows.row_mut(row).is_none(), "given up");
                assert!(to_control.push(retired).is_ok());
                to_control.publish();
            }
            rows
        });
        for time in 0..times {
            let token = vacant.pop().expect("the one row");
            let row = Row(Counted::new(time, &alive), time, 10 + time, 0_u64);
            let filled = keeper.fill(token, row).ok().expect("its own table");
            assert!(to_worker.push(filled).is_ok());
            to_worker.publish();
            let mut retired = loop {
                match returned.pop() {
                    Some(token) => break token,
                    None => loom::thread::yield_now(),
                }
            };
            returned.release();
            let Row(first, second, _, fourth) = keeper.row_mut(&mut retired).expect("its own table");
            assert_eq!((first.0, *second, *fourth), (time, time + 100, 7));
            vacant.push(keeper.empty(retired).expect("its own table"));
            assert_eq!(alive.load(Ordering::Relaxed), 0);
        }
        drop(worker.join().expect("no panic"));
    });
}

#[test]
fn a_row_goes_to_the_worker_and_back() {
    hand_over_and_back(1);
}

#[test]
fn a_row_is_filled_again() {
    hand_over_and_back(2);
}

/// Control fills one row while the worker works on the other: no access to one may touch the other.
#[test]
fn rows_do_not_disturb_each_other() {
    explore(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let ((mut rows, mut keeper), mut vacant) = table(Memory::Heap, 2).expect("memory");
        let fill = |keeper: &mut slots::Keeper<_, _, _, _>, token, value| {
            let row = Row(Counted::new(value, &alive), value, value, value);
            keeper.fill(token, row).ok().expect("its own table")
        };
        let first = fill(&mut keeper, vacant.remove(0), 1_u32);
        let row = rows.adopt(first).expect("its own table");
        let worker = loom::thread::spawn(move || {
            assert_eq!(rows.first(row).map(|it: &Counted| it.0), Some(1));
            assert!(rows.first(1).is_none(), "the other is not ours");
            let (mut hot, others) = rows.split();
            assert_eq!(others.second(0), Some(&1));
            hot.get_mut(0).expect("ours").0 = 3;
            rows
        });
        let second = fill(&mut keeper, vacant.remove(0), 2);
        let mut rows = worker.join().expect("no panic");
        assert!(rows.adopt(second).is_ok());
        drop((rows, keeper));
        assert_eq!(alive.load(Ordering::Relaxed), 0, "what is live goes with the table");
    });
}
