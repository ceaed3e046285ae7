//! Steps of a flood: what the main thread orders from the engine, and what the engine says about each.
//!
//! Without `--step` a flood is one step. With it, each line on standard input orders one, such as `2` for two
//! seconds as fast as the gateway goes or `2 1500000` for two seconds at 1.5 million packets per second, and is
//! answered with one line of JSON. So a benchmark sets up two million streams once, and lets other programs
//! have the cores between two measurements.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use voxlane::telemetry::HistogramSnapshot;

use super::report::Latency;
use super::stats::Stats;

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Time with the clock running after which it ends, in nanoseconds.
    pub limit_ns: u64,
    /// Packets after which it ends; `u64::MAX` if only time ends it.
    pub packets: u64,
    /// Packets per second; `None` for as fast as the gateway goes.
    pub rate: Option<u64>,
}

/// What came of a step. Its JSON names are stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Valid packets sent, those that a port refused included.
    pub sent: u64,
    /// Valid packets that came.
    pub received: u64,
    /// Valid packets that did not come.
    pub lost: u64,
    /// Of those, packets that a port did not take when they were due.
    pub refused: u64,
    /// Time with the clock running, in seconds.
    pub seconds: f64,
    /// Time in which the generator could send no more before something came back, in seconds.
    pub waiting_seconds: f64,
    /// Time per packet received, in nanoseconds.
    pub ns_per_packet: f64,
    /// From handing to the port to reception.
    pub latency_ns: Option<Latency>,
}

/// Orders and answers, between the two threads. Neither is touched while the clock runs.
#[derive(Debug, Default)]
pub struct Steps(Mutex<Queues>);

#[derive(Debug, Default)]
struct Queues {
    ordered: VecDeque<Step>,
    done: VecDeque<StepReport>,
    is_closed: bool,
}

impl Steps {
    /// Orders a step.
    pub fn order(&self, step: Step) {
        self.lock().ordered.push_back(step);
    }

    /// No more steps come.
    pub fn close(&self) {
        self.lock().is_closed = true;
    }

    /// The next step; `None` in an `Ok` if none is ordered yet.
    ///
    /// # Errors
    /// [`Closed`] when none comes any more.
    pub fn next(&self) -> Result<Option<Step>, Closed> {
        let mut queues = self.lock();
        match queues.ordered.pop_front() {
            None if queues.is_closed => Err(Closed),
            step => Ok(step),
        }
    }

    /// Says what came of a step.
    pub fn answer(&self, report: StepReport) {
        self.lock().done.push_back(report);
    }

    /// The next answer that was not taken yet.
    pub fn take_answer(&self) -> Option<StepReport> {
        self.lock().done.pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No more steps come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl FromStr for Step {
    type Err = String;

    /// `SECONDS` or `SECONDS RATE`.
    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let seconds = words.next().and_then(|word| word.parse::<f64>().ok());
        let rate = words.next().map(str::parse::<u64>).transpose();
        match (seconds, rate, words.next()) {
            (Some(seconds), Ok(rate), None)
                if (0.001..=86_400.0).contains(&seconds) && rate.is_none_or(|rate| rate > 0) =>
            {
                let limit_ns = (seconds * 1e9) as u64;
                Ok(Step::lasting(limit_ns, rate))
            }
            _ => Err(format!(
                "{line:?} is no step; write SECONDS or SECONDS PACKETS_PER_SECOND, such as 2 1500000"
            )),
        }
    }
}

impl Step {
    /// A step of `limit_ns` on the clock.
    pub fn lasting(limit_ns: u64, rate: Option<u64>) -> Self {
        // At a rate, the number of packets ends it: what is late must still be sent.
        let packets = rate.map_or(u64::MAX, |rate| {
            (u128::from(limit_ns) * u128::from(rate) / 1_000_000_000).clamp(1, u128::from(u64::MAX)) as u64
        });
        Step { limit_ns: if rate.is_some() { u64::MAX } else { limit_ns }, packets, rate }
    }
}

/// The counts at the start of a step.
pub struct Before {
    sent: u64,
    received: u64,
    refused: u64,
    on_clock_ns: u64,
    waiting_ns: u64,
    latency: HistogramSnapshot,
}

impl Before {
    /// Takes note of what was counted so far.
    pub fn now(stats: &Stats) -> Self {
        Before {
            sent: stats.sent.value(),
            received: stats.received.value(),
            refused: stats.refused.value(),
            on_clock_ns: stats.on_clock_ns.value(),
            waiting_ns: stats.waiting_ns.value(),
            latency: stats.latency.snapshot(),
        }
    }

    /// What was counted since, as the report of step `number`.
    pub fn since(&self, stats: &Stats, number: u64) -> StepReport {
        let sent = stats.sent.value() - self.sent;
        let received = stats.received.value() - self.received;
        let on_clock_ns = stats.on_clock_ns.value() - self.on_clock_ns;
        StepReport {
            step: number,
            sent,
            received,
            lost: sent.saturating_sub(received),
            refused: stats.refused.value() - self.refused,
            seconds: on_clock_ns as f64 / 1e9,
            waiting_seconds: (stats.waiting_ns.value() - self.waiting_ns) as f64 / 1e9,
            ns_per_packet: if received == 0 { 0.0 } else { on_clock_ns as f64 / received as f64 },
            latency_ns: Latency::of(&stats.latency.snapshot().delta(&self.latency)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_time_and_perhaps_a_rate() {
        let free = Step { limit_ns: 1_500_000_000, packets: u64::MAX, rate: None };
        assert_eq!("1.5\n".parse(), Ok(free));
        let paced = Step { limit_ns: u64::MAX, packets: 3_000_000, rate: Some(2_000_000) };
        assert_eq!("1.5 2000000".parse(), Ok(paced));
        for bad in ["", "x", "0", "1 0", "1 x", "1 2 3", "-1", "NaN"] {
            assert!(bad.parse::<Step>().expect_err(bad).contains("SECONDS PACKETS_PER_SECOND"));
        }
    }

    #[test]
    fn orders_come_in_turn_and_end() {
        let steps = Steps::default();
        assert_eq!(steps.next(), Ok(None));
        let [one, two] = [1, 2].map(|seconds| Step::lasting(seconds, None));
        steps.order(one);
        steps.order(two);
        steps.close();
        assert_eq!([steps.next(), steps.next()], [Ok(Some(one)), Ok(Some(two))]);
        assert_eq!(steps.next(), Err(Closed));
    }
}
