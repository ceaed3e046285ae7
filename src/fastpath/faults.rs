//! Faults on purpose, for test builds: the feature `fault-injection`, and the unit tests.
//!
//! A test arms the `Plan` of a worker (one word each, shared between the test or the control thread and the worker);
//! the stages pass a [`Point`] before each frame they work on, and the worker does what the plan says there. Over real
//! ports the control thread arms it from a file (`control::fault_console`).
//!
//! Without the feature [`at`] and [`refuses_to_send`] are empty and nothing of this is in the binary, which
//! `scripts/test.sh build` checks by looking for the message of an injected panic.

macro_rules! points {
    ($( $variant:ident $label:literal $doc:literal; )+) => {
        /// A place that a worker passes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Point {
            $( #[doc = $doc] $variant, )+
        }

        #[cfg(any(test, feature = "fault-injection"))]
        impl Point {
            /// Every point.
            pub const ALL: &'static [Point] = &[ $( Point::$variant, )+ ];

            /// Its name in a command.
            pub const fn label(self) -> &'static str {
                match self { $( Point::$variant => $label, )+ }
            }
        }
    };
}

points! {
    Poll "poll" "A round begins: outside of every burst.";
    Classify "classify" "Before a frame is classified.";
    FindStream "find_stream" "Before a frame's stream is looked up.";
    Handover "handover" "Before a handed-over frame is looked at.";
    Open "open" "Before a packet is opened.";
    OpenBatch "open_batch" "While a batch is opened: once for each of its packets.";
    Inspect "inspect" "Before a packet is inspected.";
    Reencapsulate "reencapsulate" "Before a packet is re-encapsulated.";
    Seal "seal" "Before a packet is sealed.";
    SealBatch "seal_batch" "While a batch is sealed: once for each of its packets.";
    Headers "headers" "Before a sealed packet gets its headers.";
    Transmit "transmit" "Before a frame is queued for transmission.";
    Flush "flush" "Before a burst is given to the port.";
    Housekeeping "housekeeping" "Before a worker looks at what control wants.";
}

/// Passes `point`: what the plan of this worker says happens here.
#[cfg(not(any(test, feature = "fault-injection")))]
#[inline(always)]
pub fn at(_point: Point) {}

/// Whether the port takes nothing this time.
#[cfg(not(any(test, feature = "fault-injection")))]
#[inline(always)]
pub fn refuses_to_send() -> bool {
    false
}

#[cfg(any(test, feature = "fault-injection"))]
pub use injected::{MESSAGE, Plan, at, refuses_to_send};

#[cfg(any(test, feature = "fault-injection"))]
mod injected {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;

    /// What an injected panic says.
    pub const MESSAGE: &str = "voxlane injected this panic";

    /// What is to go wrong on one worker. Armed by a test or the control thread, worked off by the worker.
    #[derive(Debug, Default)]
    pub struct Plan {
        /// One more than the number of the point, 0 for none.
        point: AtomicU64,
        /// Passes of the point before the first panic.
        skip: AtomicU64,
        /// Panics, one at each pass after that.
        times: AtomicU64,
        /// Calls of a port's transmit function that take nothing.
        refusals: AtomicU64,
    }

    thread_local! {
        static PLAN: RefCell<Option<Arc<Plan>>> = const { RefCell::new(None) };
    }

    impl Plan {
        /// Makes this the calling thread's plan.
        pub fn adopt(self: &Arc<Self>) {
            PLAN.with(|plan| *plan.borrow_mut() = Some(Arc::clone(self)));
        }

        /// Panics at `point` after it was passed `skip` times, and again at the next passes: `times` in all.
        pub fn panic_at(&self, point: Point, skip: u64, times: u64) {
            self.point.store(0, Ordering::Release);
            self.skip.store(skip, Ordering::Relaxed);
            self.times.store(times, Ordering::Relaxed);
            self.point.store(point as u64 + 1, Ordering::Release);
        }

        /// From now on `calls` calls of a transmit function take nothing.
        pub fn refuse_to_send(&self, calls: u64) {
            self.refusals.store(calls, Ordering::Release);
        }

        /// Whether a panic is still to come.
        pub fn is_armed(&self) -> bool {
            self.point.load(Ordering::Acquire) != 0
        }

        fn pass(&self, point: Point) -> bool {
            if self.point.load(Ordering::Acquire) != point as u64 + 1 {
                return false;
            }
            let skip = self.skip.load(Ordering::Relaxed);
            if skip > 0 {
                self.skip.store(skip - 1, Ordering::Relaxed);
                return false;
            }
            let left = self.times.load(Ordering::Relaxed).saturating_sub(1);
            self.times.store(left, Ordering::Relaxed);
            if left == 0 {
                self.point.store(0, Ordering::Release);
            }
            true
        }
    }

    /// Passes `point`: panics if the plan of this thread says so.
    #[inline]
    pub fn at(point: Point) {
        let is_due = PLAN.with(|plan| plan.borrow().as_ref().is_some_and(|plan| plan.pass(point)));
        if is_due {
            // A literal: its payload is no string on the heap.
            std::panic::panic_any(MESSAGE);
        }
    }

    /// Whether the port takes nothing this time.
    #[inline]
    pub fn refuses_to_send() -> bool {
        PLAN.with(|plan| {
            plan.borrow().as_ref().is_some_and(|plan| {
                let left = plan.refusals.load(Ordering::Acquire);
                plan.refusals.store(left.saturating_sub(1), Ordering::Release);
                left > 0
            })
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_plan_is_worked_off_once() {
            let plan = Arc::new(Plan::default());
            plan.panic_at(Point::Seal, 2, 2);
            let passes: Vec<bool> = (0..6).map(|_| plan.pass(Point::Seal)).collect();
            assert_eq!(passes, [false, false, true, true, false, false]);
            assert!(!plan.is_armed());
            plan.panic_at(Point::Open, 0, 1);
            assert!(!plan.pass(Point::Seal) && plan.is_armed());
            assert!(plan.pass(Point::Open) && !plan.pass(Point::Open));
        }

        #[test]
        fn only_the_thread_that_adopted_the_plan_is_meant() {
            let plan = Arc::new(Plan::default());
            plan.refuse_to_send(2);
            assert!(!refuses_to_send());
            plan.adopt();
            assert_eq!([refuses_to_send(), refuses_to_send(), refuses_to_send()], [true, true, false]);
            plan.panic_at(Point::Poll, 0, 1);
            std::thread::spawn(|| at(Point::Poll)).join().expect("another thread's plan");
            let caught = std::panic::catch_unwind(|| at(Point::Poll)).expect_err("armed");
            assert_eq!(caught.downcast_ref::<&str>().copied(), Some(MESSAGE));
        }
    }
}
