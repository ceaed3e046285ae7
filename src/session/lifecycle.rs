//! When a session ends by itself: no packet for too long, too old, or never set up.
//!
//! Both streams of a session lie in neighbouring rows, an even one and the next. A worker looks at a few sessions in
//! each of its rounds ([`sweep`]) and tells control which ones are over; control ends them as it ends any other. So a
//! million sessions are looked at without a pause, and a time-out is late by at most one turn through the table.
//!
//! The clock counts [`TICKS_PER_SECOND`] and never goes back: the worker makes it from the time-stamp counter.

use crate::dpdk::slots::{Row, Rows};

/// How fine the clock of [`Timers`] is.
pub const TICKS_PER_SECOND: u32 = 16;

/// Within how many ticks a worker looks at each of its sessions once, if it has enough rounds: two seconds.
pub const SWEEP_TICKS: u32 = 2 * TICKS_PER_SECOND;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// It was removed by whoever added it, or is no longer in the configuration.
    Removed,
    /// No authentic packet came on either leg for as long as the session's idle time-out.
    IdleTimeout,
    /// It has reached its maximum lifetime.
    MaxLifetime,
    /// No packet authenticated, or a remote that is to be learned was not, before the set-up time-out.
    SetupTimeout,
    /// The gateway stopped.
    Shutdown,
}

impl EndReason {
    /// All of them, in the order of [`EndReason::index`].
    pub const ALL: [EndReason; 5] = [
        EndReason::Removed,
        EndReason::IdleTimeout,
        EndReason::MaxLifetime,
        EndReason::SetupTimeout,
        EndReason::Shutdown,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            EndReason::Removed => "removed",
            EndReason::IdleTimeout => "idle_timeout",
            EndReason::MaxLifetime => "max_lifetime",
            EndReason::SetupTimeout => "setup_timeout",
            EndReason::Shutdown => "shutdown",
        }
    }

    /// Position in [`EndReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// When a session ends by itself, in ticks; of its two rows the even one's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Which of the sessions that had this place it is.
    pub generation: u32,
    /// When it was added.
    pub born: u32,
    /// Without a packet for so long it ends; `NEVER` for none.
    pub idle: u32,
    /// At this time it ends; `NEVER` for none.
    pub ends_at: u32,
    /// If it is not set up by this time it ends; `NEVER` for none.
    pub set_up_by: u32,
}

impl Timers {
    /// A time that does not come.
    pub const NEVER: u32 = u32::MAX;

    /// A session that does not end by itself.
    pub const fn never() -> Self {
        let never = Self::NEVER;
        Timers { generation: 0, born: 0, idle: never, ends_at: never, set_up_by: never }
    }

    /// Whether a session ends at time `now`, of whose streams this is known.
    #[inline]
    pub fn check(&self, now: u32, streams: [Activity; 2]) -> Option<EndReason> {
        let [a, b] = streams;
        let latest = a.last_seen.max(b.last_seen);
        if now >= self.ends_at {
            return Some(EndReason::MaxLifetime);
        }
        if now >= self.set_up_by && !(latest > 0 && a.has_source && b.has_source) {
            return Some(EndReason::SetupTimeout);
        }
        let quiet_for = now.saturating_sub(latest.max(self.born));
        (self.idle != Self::NEVER && quiet_for >= self.idle).then_some(EndReason::IdleTimeout)
    }
}

/// What a stream's end depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// When the latest authentic packet came; 0 before the first.
    pub last_seen: u32,
    /// Whether it is known where packets come from.
    pub has_source: bool,
    /// Whether control was told already that the session is over.
    pub is_ending: bool,
}

/// The first column of a table whose sessions end by themselves.
pub trait Active {
    /// What is known now.
    fn activity(&self) -> Activity;
    /// Control is told that the session is over.
    fn set_ending(&mut self);
}

/// A session that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The session's even row.
    pub row: u32,
    /// Which of the sessions that had this place it was.
    pub generation: u32,
    /// Why.
    pub reason: EndReason,
}

/// Looks at `sessions` sessions from row `cursor` on, which is where the next sweep goes on. `emit` hands on what is
/// over; when it answers `false`, for want of room, the session comes up again in the next turn.
pub fn sweep<A: Active, B, C, D: AsRef<Timers>>(
    rows: &mut Rows<A, B, C, D>,
    cursor: &mut u32,
    sessions: u32,
    now: u32,
    mut emit: impl FnMut(Ended) -> bool,
) {
    let capacity = rows.capacity() as u32 & !1;
    if capacity == 0 {
        return;
    }
    for _ in 0..sessions.min(capacity / 2) {
        if *cursor >= capacity {
            *cursor = 0;
        }
        let row = *cursor;
        *cursor += 2;
        let (Some(a), Some(b), Some(timers)) =
            (rows.first(row), rows.first(row + 1), rows.fourth(row).map(AsRef::as_ref))
        else {
            continue;
        };
        let (a, b, generation) = (a.activity(), b.activity(), timers.generation);
        if a.is_ending {
            continue;
        }
        if let Some(reason) = timers.check(now, [a, b])
            && emit(Ended { row, generation, reason })
            && let Some(Row(first, ..)) = rows.row_mut(row)
        {
            first.set_ending();
        }
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
