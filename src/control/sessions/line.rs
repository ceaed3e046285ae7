//! Control's lines to the workers: commands that wait for room, and knowing when a worker has let go of what it was told
//! to forget.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::dpdk::slots::{Retired, Token};
use crate::fastpath::{Command, ControlEnd, Returned, WorkerShared};
use crate::session::SessionId;

/// Rounds in which a worker has surely taken what was in its hand-over rings when it began the first: they hold 8,192
/// frames, of which it takes at least one burst in each round.
const ROUNDS_TO_TAKE_ALL: u64 = 8192 / crate::fastpath::BURST as u64 + 2;

/// One worker's line.
pub(super) struct Line {
    end: ControlEnd,
    waiting: VecDeque<Command>,
}

impl Line {
    pub(super) fn new(end: ControlEnd) -> Self {
        Line { end, waiting: VecDeque::new() }
    }

    /// Sends a command, or keeps it until there is room: none is lost, and their order stays.
    pub(super) fn send(&mut self, command: Command) {
        self.waiting.push_back(command);
        self.flush();
    }

    /// Sends what waits. Returns whether anything was sent.
    pub(super) fn flush(&mut self) -> bool {
        let mut sent = false;
        while let Some(command) = self.waiting.pop_front() {
            if let Err(command) = self.end.send(command) {
                self.waiting.push_front(*command);
                break;
            }
            sent = true;
        }
        sent
    }

    pub(super) fn receive(&mut self) -> Option<Returned> {
        self.end.receive()
    }

    /// Commands that found no room yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// Rows that came back.
type Rows = Vec<(SessionId, [Token<Retired>; 2])>;

/// Rows that no worker owns any more, but of which a frame may still be on its way from one worker to another. They may
/// be filled again once
///
/// 1. every worker has begun a round after the rows were given up: none looks a frame up as theirs any more;
/// 2. every worker has then taken what others had handed it: none has such a frame in a ring any more.
///
/// With one worker there is no such way.
#[derive(Default)]
pub(super) struct Resting {
    batches: VecDeque<Batch>,
}

struct Batch {
    rows: Rows,
    /// By worker: the round that it must have come to.
    until: Vec<u64>,
    is_second: bool,
}

impl Resting {
    /// Lays rows to rest.
    pub(super) fn add(&mut self, rows: Rows, workers: &[Arc<WorkerShared>]) {
        if !rows.is_empty() {
            let until = rounds_after(workers, 2);
            self.batches.push_back(Batch { rows, until, is_second: workers.len() < 2 });
        }
    }

    /// Rows that may be filled again.
    pub(super) fn take(&mut self, workers: &[Arc<WorkerShared>]) -> Option<Rows> {
        let one = workers.len() < 2;
        let batch = self.batches.front_mut()?;
        let is_through = || batch.until.iter().zip(workers).all(|(until, worker)| worker.rounds() >= *until);
        if !one && !is_through() {
            return None;
        }
        if batch.is_second {
            return self.batches.pop_front().map(|batch| batch.rows);
        }
        batch.until = rounds_after(workers, ROUNDS_TO_TAKE_ALL);
        batch.is_second = true;
        None
    }

    /// All rows, when no worker runs any more.
    pub(super) fn take_all(&mut self) -> Rows {
        self.batches.drain(..).flat_map(|batch| batch.rows).collect()
    }

    /// Sessions whose rows rest.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows.len()).sum()
    }
}

fn rounds_after(workers: &[Arc<WorkerShared>], rounds: u64) -> Vec<u64> {
    workers.iter().map(|worker| worker.rounds() + rounds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fastpath::control_link::{DEPTH, control_link};
    use crate::session::StreamId;

    #[test]
    fn what_finds_no_room_waits_and_keeps_its_order() {
        let (control, mut worker) = control_link();
        let mut line = Line::new(control);
        for number in 0..DEPTH as u32 + 3 {
            line.send(Command::SetTap(StreamId(number), None));
        }
        assert_eq!((line.waiting(), line.flush()), (3, false));
        let mut came = Vec::new();
        while let Some(Command::SetTap(stream, None)) = worker.take() {
            came.push(stream.0);
            line.flush();
        }
        assert_eq!((line.waiting(), came), (0, (0..DEPTH as u32 + 3).collect()));
    }
}
