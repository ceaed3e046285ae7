//! The flight recorder: the last events of one worker, for the moment after something went wrong.
//!
//! A worker cannot log. It notes instead what it does in a fixed ring of [`EVENTS`] slots, four words each
//! and two slots to a cache line. The control thread reads the ring after a panic or on request while the
//! worker goes on writing.
//!
//! One worker writes, any thread reads. The writer stamps the slot with the new event's number, then writes
//! the words, then publishes the number of events. A reader takes only published events, reads the words and
//! then the stamp: if that is still the event's own, no word can be of a later event. Otherwise the writer has
//! overtaken the reader and the event is left out. On x86-64 all of it is plain moves.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Events that the recorder keeps; 8 KiB.
pub const EVENTS: usize = 256;

macro_rules! event_kinds {
    ($( $variant:ident $label:literal ($a:literal, $b:literal) $doc:literal; )+) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum EventKind {
            $( #[doc = $doc] #[doc = concat!("\n\n`a`: ", $a, ". `b`: ", $b, ".")] $variant, )+
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [EventKind] = &[ $( EventKind::$variant, )+ ];

            /// The kind's name in a dump.
            pub const fn label(self) -> &'static str {
                match self { $( EventKind::$variant => $label, )+ }
            }

            /// What the two words of the event mean, for a dump.
            pub const fn words(self) -> (&'static str, &'static str) {
                match self { $( EventKind::$variant => ($a, $b), )+ }
            }
        }
    };
}

event_kinds! {
    WorkerStarted "worker_started" ("worker", "ports") "The worker entered its loop.";
    WorkerStopped "worker_stopped" ("worker", "loops") "The worker left its loop.";
    SnapshotTaken "snapshot_taken" ("generation", "streams") "The worker took over a newly published snapshot.";
    BurstReceived "burst_received" ("queue_index", "frames") "A poll returned frames.";
    BurstSent "burst_sent" ("frames", "not_taken") "A transmit call ended.";
    RemoteLearned "remote_learned" ("stream", "port") "A stream learned its remote from a packet that authenticated.";
    PanicCaught "panic_caught" ("lost", "stream") "The unwind boundary caught a panic, which cost so many frames; the stream is the largest number where there is none to blame.";
    StreamQuarantined "stream_quarantined" ("stream", "panics") "A stream was put out of service after a panic.";
}

/// One event as read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Position among all events of the worker, counted from 0; gaps mean events lost to the ring's size.
    pub sequence: u64,
    /// When it happened, in TSC cycles.
    pub tsc: u64,
    /// What happened.
    pub kind: EventKind,
    /// First word; its meaning is [`EventKind::words`].
    pub a: u64,
    /// Second word.
    pub b: u64,
}

/// The ring of one worker's last events. Written by that worker, read by the control thread.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct FlightRecorder {
    slots: [Slot; EVENTS],
    /// Events written so far. Written by the worker, read by the control thread.
    written: AtomicU64,
}

#[derive(Debug)]
#[repr(C, align(32))]
struct Slot {
    /// `(sequence + 1) << 8 | kind` of the event in the slot or being written to it; 0 while there is none.
    stamp: AtomicU64,
    tsc: AtomicU64,
    a: AtomicU64,
    b: AtomicU64,
}

impl FlightRecorder {
    /// An empty recorder; its 8 KiB are all the memory that it will ever use.
    pub const fn new() -> Self {
        Self { slots: [const { Slot::empty() }; EVENTS], written: AtomicU64::new(0) }
    }

    /// Notes an event at `tsc` (cycles), overwriting the oldest. Writer only.
    #[inline]
    pub fn record(&self, tsc: u64, kind: EventKind, a: u64, b: u64) {
        let sequence = self.written.load(Ordering::Relaxed);
        if let Some(slot) = self.slots.get(sequence as usize % EVENTS) {
            slot.stamp.store(stamp_of(sequence, kind), Ordering::Relaxed);
            // A reader that sees any of the words below also sees the stamp above.
            fence(Ordering::Release);
            slot.tsc.store(tsc, Ordering::Relaxed);
            slot.a.store(a, Ordering::Relaxed);
            slot.b.store(b, Ordering::Relaxed);
        }
        // Publishes the words: a reader that sees this number sees them.
        self.written.store(sequence.wrapping_add(1), Ordering::Release);
    }

    /// How many events were noted since the start, kept or not.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The kept events, oldest first, without heap (so that a panic handler may use it).
    ///
    /// Events that the worker overwrites while they are read are left out; those that it adds meanwhile are
    /// not shown.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let end = self.written();
        let start = end.saturating_sub(EVENTS as u64);
        (start..end).filter_map(|sequence| self.slots.get(sequence as usize % EVENTS)?.read(sequence))
    }

    /// The kept events as text, one a line, with times relative to the newest.
    ///
    /// `tsc_hz` is the TSC's frequency in cycles per second.
    pub fn dump(&self, tsc_hz: u64) -> FlightDump<'_> {
        FlightDump { recorder: self, tsc_hz }
    }
}

impl Default for FlightRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    const fn empty() -> Self {
        Self { stamp: AtomicU64::new(0), tsc: AtomicU64::new(0), a: AtomicU64::new(0), b: AtomicU64::new(0) }
    }

    /// The published event with this `sequence`, unless a later one has begun to overwrite it.
    fn read(&self, sequence: u64) -> Option<Event> {
        let tsc = self.tsc.load(Ordering::Relaxed);
        let a = self.a.load(Ordering::Relaxed);
        let b = self.b.load(Ordering::Relaxed);
        // Pairs with the writer's fence: if any word above is of a later event, the next load sees its stamp.
        fence(Ordering::Acquire);
        let stamp = self.stamp.load(Ordering::Relaxed);
        let kind = *EventKind::ALL.get((stamp & 0xFF) as usize)?;
        (stamp == stamp_of(sequence, kind)).then_some(Event { sequence, tsc, kind, a, b })
    }
}

/// Never 0, because the sequence is counted from 1 here.
const fn stamp_of(sequence: u64, kind: EventKind) -> u64 {
    (sequence.wrapping_add(1) << 8) | kind as u64
}

/// A [`FlightRecorder`] ready to be printed; see [`FlightRecorder::dump`].
#[derive(Debug, Clone, Copy)]
pub struct FlightDump<'a> {
    recorder: &'a FlightRecorder,
    tsc_hz: u64,
}

impl fmt::Display for FlightDump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = self.recorder.events().last().map_or(0, |event| event.tsc);
        let cycles_per_us = self.tsc_hz.max(1) as f64 / 1e6;
        for event in self.recorder.events() {
            let before_us = newest.saturating_sub(event.tsc) as f64 / cycles_per_us;
            let (a, b) = event.kind.words();
            writeln!(
                f,
                "#{} -{before_us:.3} us {} {a}={} {b}={}",
                event.sequence,
                event.kind.label(),
                event.a,
                event.b
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn the_ring_keeps_the_last_events_in_order() {
        let recorder = FlightRecorder::new();
        assert_eq!(recorder.events().count(), 0);
        for n in 0..EVENTS as u64 + 10 {
            recorder.record(1000 + n, EventKind::BurstReceived, n, 2 * n);
        }
        assert_eq!(recorder.written(), EVENTS as u64 + 10);
        assert!(recorder.events().size_hint().1 <= Some(EVENTS), "a dump visits each slot once");
        let events: Vec<Event> = recorder.events().collect();
        assert_eq!(events.len(), EVENTS);
        for (event, n) in events.iter().zip(10..) {
            let expected =
                Event { sequence: n, tsc: 1000 + n, kind: EventKind::BurstReceived, a: n, b: 2 * n };
            assert_eq!(*event, expected);
        }
    }

    #[test]
    fn every_kind_comes_back_as_it_was_written() {
        let recorder = FlightRecorder::new();
        for &kind in EventKind::ALL {
            recorder.record(7, kind, u64::MAX, 0);
        }
        let kinds: Vec<EventKind> = recorder.events().map(|event| event.kind).collect();
        assert_eq!(kinds, EventKind::ALL);
    }

    #[test]
    fn an_event_that_is_being_overwritten_is_left_out() {
        let recorder = FlightRecorder::new();
        recorder.record(1, EventKind::WorkerStarted, 0, 0);
        recorder.record(2, EventKind::BurstSent, 3, 4);
        let next = stamp_of(EVENTS as u64, EventKind::BurstSent);
        recorder.slots[0].stamp.store(next, Ordering::Relaxed);
        assert_eq!(recorder.events().map(|event| event.sequence).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_dump_names_kinds_words_and_times() {
        let recorder = FlightRecorder::new();
        recorder.record(1_000, EventKind::BurstReceived, 2, 32);
        recorder.record(4_000, EventKind::PanicCaught, 2, 77);
        assert_eq!(
            recorder.dump(2_000_000_000).to_string(),
            "#0 -1.500 us burst_received queue_index=2 frames=32\n\
             #1 -0.000 us panic_caught lost=2 stream=77\n"
        );
    }

    #[test]
    fn a_reader_beside_the_writer_sees_only_whole_events() {
        const TURNS: u64 = 300_000;
        let (recorder, done) = (FlightRecorder::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..TURNS {
                    recorder.record(
                        n,
                        EventKind::ALL[n as usize % EventKind::ALL.len()],
                        !n,
                        n.rotate_left(7),
                    );
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let mut before = None;
                for event in recorder.events() {
                    let n = event.sequence;
                    assert_eq!((event.tsc, event.a, event.b), (n, !n, n.rotate_left(7)));
                    assert_eq!(event.kind, EventKind::ALL[n as usize % EventKind::ALL.len()]);
                    assert!(before < Some(n));
                    before = Some(n);
                }
            }
        });
        assert_eq!(recorder.events().count(), EVENTS);
    }
}
