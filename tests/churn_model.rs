//! A simulated day of sessions coming and going: 12,000 a second, 60 s each, on a simulated clock.
//!
//! The very files of the gateway that decide who has which place, and when a session ends (`session::SessionPool`,
//! `dpdk::slots`, `session::sweep`), over rows without keys: a day is a billion sessions. What must hold: every id is
//! given out once, what a row holds is its session's from the first to the last moment, each session ends for the reason
//! and (but for one turn of the sweep) at the time that it should, and at the end nothing is in use.
//!
//! `VOXLANE_CHURN_HOURS` says how many hours; without it a few minutes, which is every phase of it.

use std::collections::VecDeque;
use std::time::Instant;

use voxlane::dpdk::Memory;
use voxlane::dpdk::slots::{Keeper, Retired, Row, Rows, Token, Vacant, table};
use voxlane::session::{
    Active, Activity, EndReason, Ended, SWEEP_TICKS, SessionId, SessionPool, TICKS_PER_SECOND, Timers, sweep,
};

/// Sessions that come in a second.
const RATE: u32 = 12_000;
/// For how long a session has packets, in seconds.
const TALK_S: u32 = 60;
/// Without packets it ends after so many ticks.
const IDLE: u32 = 5 * TICKS_PER_SECOND;
/// Ends are noticed within one turn of the sweep, and places rest for one tick.
const LATE: u32 = SWEEP_TICKS + 2;
/// Places: all that can be there at a time.
const PLACES: usize = (RATE * (TALK_S + IDLE / TICKS_PER_SECOND + LATE / TICKS_PER_SECOND + 1)) as usize;

/// One stream of a session: which, and when its latest packet came.
struct Stream {
    owner: SessionId,
    last_seen: u32,
    is_ending: bool,
}

struct Margin(Timers);

impl Active for Stream {
    fn activity(&self) -> Activity {
        Activity { last_seen: self.last_seen, has_source: true, is_ending: self.is_ending }
    }

    fn set_ending(&mut self) {
        self.is_ending = true;
    }
}

impl AsRef<Timers> for Margin {
    fn as_ref(&self) -> &Timers {
        &self.0
    }
}

/// How a session ends, by its number: most by hanging up, some by falling silent, some by being too long, some before
/// they begin.
fn end_of(number: u64) -> EndReason {
    match number % 100 {
        0..=89 => EndReason::Removed,
        90..=95 => EndReason::IdleTimeout,
        96..=97 => EndReason::MaxLifetime,
        _ => EndReason::SetupTimeout,
    }
}

/// When a session that came at `born` ends if it is noticed at once.
fn due(reason: EndReason, born: u32) -> u32 {
    let talk = TALK_S * TICKS_PER_SECOND;
    match reason {
        EndReason::IdleTimeout => born + talk - IDLE,
        EndReason::SetupTimeout => born + IDLE,
        _ => born + talk,
    }
}

struct Day {
    pool: SessionPool<Token<Vacant>>,
    rows: Rows<Stream, (), (), Margin>,
    keeper: Keeper<Stream, (), (), Margin>,
    cursor: u32,
    now: u32,
    /// The number of each place's session.
    numbers: Vec<u64>,
    /// Sessions that hang up: when, and which. They come in the order in which they go.
    hangs_up: VecDeque<(u32, SessionId)>,
    /// Rows that rest until the next tick.
    resting: Vec<(SessionId, [Token<Retired>; 2])>,
    came: u64,
    ended: [u64; EndReason::ALL.len()],
    latest: u32,
}

impl Day {
    fn new() -> Self {
        let ((rows, keeper), vacant) = table(Memory::Heap, 2 * PLACES).expect("room for small rows");
        Day {
            pool: SessionPool::new([vacant]),
            rows,
            keeper,
            cursor: 0,
            now: 1,
            numbers: vec![u64::MAX; PLACES],
            hangs_up: VecDeque::new(),
            resting: Vec::new(),
            came: 0,
            ended: [0; EndReason::ALL.len()],
            latest: 0,
        }
    }

    fn come(&mut self) {
        let number = self.came;
        let (id, rows) = self.pool.acquire(0).expect("there is a place for every session that can be there");
        let reason = end_of(number);
        let born = self.now;
        let timers = Timers {
            generation: id.generation,
            born,
            idle: IDLE,
            ends_at: if reason == EndReason::MaxLifetime { due(reason, born) } else { Timers::NEVER },
            set_up_by: born + IDLE,
        };
        // A session that falls silent had its last packet `IDLE` before it ends; others talk to their end.
        let last_seen = match reason {
            EndReason::SetupTimeout => 0,
            EndReason::IdleTimeout => due(reason, born) - IDLE,
            _ => Timers::NEVER - 1,
        };
        for token in rows {
            let stream = Stream { owner: id, last_seen, is_ending: false };
            let filled = self.keeper.fill(token, Row(stream, (), (), Margin(timers)));
            self.rows.adopt(filled.ok().expect("its own table")).expect("its own table");
        }
        assert_eq!(self.numbers[id.place as usize], u64::MAX, "{id} has a place that is not free");
        self.numbers[id.place as usize] = number;
        if reason == EndReason::Removed {
            self.hangs_up.push_back((due(reason, born), id));
        }
        self.came += 1;
    }

    fn end(&mut self, id: SessionId, reason: EndReason) {
        let number = std::mem::replace(&mut self.numbers[id.place as usize], u64::MAX);
        assert_eq!(reason, end_of(number), "session {number} ({id})");
        let [even, odd] = [2 * id.place, 2 * id.place + 1];
        for row in [even, odd] {
            assert_eq!(self.rows.first(row).map(|stream| stream.owner), Some(id), "session {number}");
        }
        let timers = &self.rows.fourth(even).expect("live").0;
        let late = self.now - due(reason, timers.born);
        assert!(late <= LATE, "session {number} ended {late} ticks late");
        self.latest = self.latest.max(late);
        let rows = [even, odd].map(|row| self.rows.retire(row).expect("live"));
        self.resting.push((id, rows));
        self.ended[reason.index()] += 1;
    }

    /// One tick: what rested is free, sessions come and hang up, a share of the others is looked at.
    fn tick(&mut self, coming: u32) {
        self.now += 1;
        for (id, rows) in std::mem::take(&mut self.resting) {
            let rows = rows.map(|token| self.keeper.empty(token).expect("its own table"));
            assert!(self.pool.release(id, rows).is_ok(), "{id} had its place");
            assert!(!self.pool.is_taken(id));
        }
        (0..coming).for_each(|_| self.come());
        while let Some(&(when, id)) = self.hangs_up.front().filter(|(when, _)| *when <= self.now) {
            assert_eq!(when, self.now);
            self.hangs_up.pop_front();
            self.end(id, EndReason::Removed);
        }
        let mut over = Vec::new();
        let share = (PLACES as u32).div_ceil(SWEEP_TICKS);
        sweep(&mut self.rows, &mut self.cursor, share, self.now, |ended| {
            over.push(ended);
            true
        });
        for Ended { row, generation, reason } in over {
            self.end(SessionId { worker: 0, place: row / 2, generation }, reason);
        }
    }
}

#[test]
fn a_day_of_churn_leaves_nothing_behind() {
    let hours: f64 = std::env::var("VOXLANE_CHURN_HOURS").ok().map_or(0.1, |hours| {
        hours.parse().unwrap_or_else(|_| panic!("VOXLANE_CHURN_HOURS = {hours:?} is no number of hours"))
    });
    let started = Instant::now();
    let mut day = Day::new();
    let ticks = (hours * 3600.0) as u32 * TICKS_PER_SECOND;
    let per_tick = RATE / TICKS_PER_SECOND;
    for _ in 0..ticks {
        day.tick(per_tick);
    }
    let at_a_time = day.pool.in_use();
    // Nobody comes any more: the last ones go.
    for _ in 0..(TALK_S + 1) * TICKS_PER_SECOND + IDLE + LATE {
        day.tick(0);
    }
    let count = day.pool.count();
    assert_eq!((day.pool.in_use(), day.rows.live(), day.hangs_up.len()), (0, 0, 0));
    assert_eq!(count.acquired, u64::from(per_tick) * u64::from(ticks));
    assert_eq!((count.released, count.exhausted, day.ended.iter().sum::<u64>()), (day.came, 0, day.came));
    for reason in [EndReason::IdleTimeout, EndReason::MaxLifetime, EndReason::SetupTimeout] {
        assert!(day.ended[reason.index()] > day.came / 100, "{reason:?}: {}", day.ended[reason.index()]);
    }
    // Every place was used for the first time once; all the other times it had been used before.
    assert_eq!(count.acquired - count.reused, count.high_water);
    let reuse = 100.0 * count.reused as f64 / count.acquired as f64;
    println!(
        "{hours} h simulated in {:.0} s: {} sessions, {at_a_time} at a time, {reuse:.3} % of places reused, \
         ends at most {:.1} s late",
        started.elapsed().as_secs_f64(),
        day.came,
        f64::from(day.latest) / f64::from(TICKS_PER_SECOND),
    );
}
