//! The clock of a worker's sessions, and how many of them are to be looked at in a round.
//!
//! Made from the time-stamp counter. It never goes back, and when the counter jumps (a virtual machine that was
//! stopped, or moved) it goes on by a second at most: no packet could come meanwhile, so no session is to end for it.

use crate::session::{SWEEP_TICKS, TICKS_PER_SECOND};

/// Sessions that are looked at in one round at most.
const SESSIONS_PER_ROUND: u32 = 16;

/// Ticks of 1/16 s.
#[derive(Debug)]
pub(super) struct TimerClock {
    cycles_per_tick: u64,
    /// What the counter said when the clock was last advanced.
    latest: Option<u64>,
    /// Cycles since the latest tick.
    rest: u64,
    now: u32,
    /// Ticks whose share of sessions is still to be looked at, and how many of the current one's were.
    owed: u32,
    looked_at: u32,
}

impl TimerClock {
    pub(super) fn new(tsc_hz: u64) -> Self {
        let cycles_per_tick = (tsc_hz / u64::from(TICKS_PER_SECOND)).max(1);
        // Zero stands for never.
        TimerClock { cycles_per_tick, latest: None, rest: 0, now: 1, owed: 0, looked_at: 0 }
    }

    /// The time when the counter says `cycles`.
    pub(super) fn advance(&mut self, cycles: u64) -> u32 {
        let latest = self.latest.replace(cycles).unwrap_or(cycles);
        let most = self.cycles_per_tick * u64::from(TICKS_PER_SECOND);
        self.rest += cycles.saturating_sub(latest).min(most);
        if self.rest >= self.cycles_per_tick {
            let ticks = (self.rest / self.cycles_per_tick) as u32;
            self.rest %= self.cycles_per_tick;
            // Four thousand days.
            self.now = self.now.saturating_add(ticks);
            self.owed = (self.owed + ticks).min(SWEEP_TICKS);
        }
        self.now
    }

    pub(super) fn now(&self) -> u32 {
        self.now
    }

    /// How many of `sessions` places are to be looked at now, so that all are within [`SWEEP_TICKS`], but for a worker
    /// that is too busy for it.
    #[inline]
    pub(super) fn due_sessions(&mut self, sessions: usize) -> u32 {
        if self.owed == 0 {
            return 0;
        }
        let share = (sessions as u32).div_ceil(SWEEP_TICKS);
        let due = (share - self.looked_at.min(share)).min(SESSIONS_PER_ROUND);
        self.looked_at += due;
        if self.looked_at >= share {
            self.looked_at = 0;
            self.owed -= 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 16_000;

    #[test]
    fn counts_sixteenths_of_a_second() {
        let mut clock = TimerClock::new(HZ);
        assert_eq!(clock.advance(77_000), 1, "time begins with the first look");
        assert_eq!([78_000, 78_999, 79_999, 80_000].map(|cycles| clock.advance(cycles)), [2, 2, 3, 4]);
    }

    #[test]
    fn a_jump_of_the_counter_is_a_second_at_most_and_never_back() {
        let mut clock = TimerClock::new(HZ);
        clock.advance(1_000_000);
        assert_eq!(clock.advance(u64::MAX / 2), 17, "hours forward");
        assert_eq!(clock.advance(5), 17, "back");
        assert_eq!(clock.advance(1_005), 18, "and on from there");
    }

    #[test]
    fn every_session_is_looked_at_once_in_a_turn() {
        for sessions in [1, 2, 31, 32, 33, 1_000, 1_000_000] {
            let mut clock = TimerClock::new(HZ);
            let mut looked_at = 0_u64;
            let mut longest = 0;
            for tick in 0..=u64::from(SWEEP_TICKS) {
                clock.advance(tick * 1_000);
                for _ in 0..10_000 {
                    let due = clock.due_sessions(sessions);
                    longest = longest.max(due);
                    looked_at += u64::from(due);
                }
            }
            let least = sessions as u64;
            assert!(longest <= SESSIONS_PER_ROUND);
            assert!((least..=2 * least + 32).contains(&looked_at), "{sessions}: {looked_at}");
        }
    }

    #[test]
    fn a_worker_without_time_owes_one_turn_at_most() {
        let mut clock = TimerClock::new(HZ);
        (0..100).for_each(|second| _ = clock.advance(second * HZ));
        let looked_at: u64 = (0..1_000_000).map(|_| u64::from(clock.due_sessions(3_200))).sum();
        assert_eq!(looked_at, 3_200);
    }
}
