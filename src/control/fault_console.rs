//! Makes things go wrong on request, in test builds alone (feature `fault-injection`).
//!
//! The environment variable [`VARIABLE`] names a file. Whenever it is there the control thread carries out its lines and
//! removes it, which tells whoever wrote it that they are armed:
//!
//! | line | fault |
//! |---|---|
//! | `panic WORKER POINT SKIP TIMES` | the worker panics when it passes the [`Point`] after it has passed it SKIP times, TIMES times |
//! | `refuse WORKER CALLS` | so many calls of the ports' transmit function take nothing |
//! | `starve MS` | every buffer that is left in the pools is held back for so long |
//! | `tsc SECONDS` | the time-stamp counter jumps by so much, or back |
//! | `clock SECONDS` | so does the clock of the control thread |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dpdk::{self, Mbuf, Mempool};
use crate::fastpath::WorkerShared;
use crate::fastpath::faults::Point;

/// Names the file.
pub const VARIABLE: &str = "VOXLANE_FAULTS";
/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(5);

/// The control thread's part.
pub(super) struct FaultConsole {
    file: Option<PathBuf>,
    looked: Instant,
    held: Vec<Mbuf>,
    held_until: Option<Instant>,
    /// What the clock jumped by, in seconds.
    clock_shift: i64,
    tsc_hz: u64,
}

impl FaultConsole {
    pub(super) fn new(tsc_hz: u64) -> Self {
        let file = std::env::var_os(VARIABLE).map(PathBuf::from);
        let looked = Instant::now();
        FaultConsole { file, looked, held: Vec::new(), held_until: None, clock_shift: 0, tsc_hz }
    }

    /// A reading of the control thread's clock with the jumps in it.
    pub(super) fn shifted(&self, reading: Duration) -> Duration {
        let shift = Duration::from_secs(self.clock_shift.unsigned_abs());
        if self.clock_shift < 0 { reading.saturating_sub(shift) } else { reading.saturating_add(shift) }
    }

    /// Looks for commands.
    pub(super) fn poll(&mut self, workers: &[Arc<WorkerShared>], pools: &[Mempool]) {
        if self.held_until.is_some_and(|until| Instant::now() >= until) {
            self.held_until = None;
            self.held.clear();
        }
        let Some(file) = self.file.clone().filter(|_| self.looked.elapsed() >= INTERVAL) else { return };
        self.looked = Instant::now();
        // Written under another name and renamed, so it is whole.
        let Ok(text) = std::fs::read_to_string(&file) else { return };
        for line in text.lines() {
            match self.carry_out(line, workers, pools) {
                Some(()) => tracing::warn!(line, "fault armed"),
                None => tracing::error!(line, "no such fault"),
            }
        }
        let _ = std::fs::remove_file(file);
    }

    fn carry_out(&mut self, line: &str, workers: &[Arc<WorkerShared>], pools: &[Mempool]) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["panic", worker, point, skip, times] => {
                let point = Point::ALL.iter().find(|known| known.label() == point)?;
                let worker = workers.get(worker.parse::<usize>().ok()?)?;
                worker.faults.panic_at(*point, skip.parse().ok()?, times.parse().ok()?);
            }
            ["refuse", worker, calls] => {
                workers.get(worker.parse::<usize>().ok()?)?.faults.refuse_to_send(calls.parse().ok()?);
            }
            ["starve", ms] => {
                for pool in pools {
                    self.held.extend(std::iter::from_fn(|| pool.alloc()));
                }
                self.held_until = Some(Instant::now() + Duration::from_millis(ms.parse().ok()?));
            }
            ["tsc", seconds] => {
                let cycles = i128::from(seconds.parse::<i64>().ok()?) * i128::from(self.tsc_hz);
                dpdk::shift_cycles(i64::try_from(cycles).ok()?);
            }
            ["clock", seconds] => self.clock_shift += seconds.parse::<i64>().ok()?,
            _ => return None,
        }
        Some(())
    }
}
