//! What is shown each second while a run goes on.

use serde::Serialize;
use voxlane::telemetry::HistogramSnapshot;

use super::cli::Progress;
use super::report::Latency;
use super::stats::Stats;

/// Rows after which the heading is shown again.
const ROWS_PER_HEADING: u64 = 20;

/// Remembers the last row, to show what changed since.
pub struct Ticker {
    style: Progress,
    seconds: u64,
    sent: u64,
    received: u64,
    latency: HistogramSnapshot,
}

/// One second of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    /// Seconds since the first row was due.
    second: u64,
    /// Valid packets sent so far.
    sent: u64,
    /// Valid packets that came so far.
    received: u64,
    /// Packets sent in this second.
    pps_sent: u64,
    /// Packets that came in this second.
    pps_received: u64,
    /// Packets that were sent a second ago or earlier and have not come.
    lost: u64,
    /// Packets that came damaged, doubled or unexpected so far.
    bad: u64,
    /// Latency of this second's packets.
    latency_ns: Option<Latency>,
}

impl Ticker {
    /// Nothing shown yet.
    pub fn new(style: Progress) -> Self {
        Ticker { style, seconds: 0, sent: 0, received: 0, latency: HistogramSnapshot::empty() }
    }

    /// The line for the second that just ended; `None` if none is wanted or nothing was sent yet.
    pub fn line(&mut self, stats: &Stats) -> Option<String> {
        if self.style == Progress::None || (self.seconds == 0 && stats.sent.value() == 0) {
            return None;
        }
        let row = self.advance(stats);
        match self.style {
            Progress::None => None,
            Progress::Json => serde_json::to_string(&row).ok(),
            Progress::Human => Some(table_row(&row)),
        }
    }

    fn advance(&mut self, stats: &Stats) -> Row {
        let latency = stats.latency.snapshot();
        let (sent, received) = (stats.sent.value(), stats.received.value());
        let bad = [
            &stats.duplicated,
            &stats.auth_failed,
            &stats.corrupted,
            &stats.unexpected,
            &stats.bad_checksum,
            &stats.header_changed,
            &stats.leaked,
        ];
        self.seconds += 1;
        let row = Row {
            second: self.seconds,
            sent,
            received,
            pps_sent: sent - self.sent,
            pps_received: received - self.received,
            lost: self.sent.saturating_sub(received),
            bad: bad.iter().map(|counter| counter.value()).sum(),
            latency_ns: Latency::of(&latency.delta(&self.latency)),
        };
        (self.sent, self.received, self.latency) = (sent, received, latency);
        row
    }
}

fn table_row(row: &Row) -> String {
    let micros = |pick: fn(&Latency) -> u64| match &row.latency_ns {
        Some(latency) => format!("{:.1}", pick(latency) as f64 / 1e3),
        None => "-".to_owned(),
    };
    let line = format!(
        "{:>4} {:>11} {:>11} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9}",
        row.second,
        row.pps_sent,
        row.pps_received,
        row.lost,
        row.bad,
        micros(|latency| latency.p50),
        micros(|latency| latency.p99),
        micros(|latency| latency.p999),
        micros(|latency| latency.max),
    );
    if row.second % ROWS_PER_HEADING != 1 {
        return line;
    }
    let heading = format!(
        "{:>4} {:>11} {:>11} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "s", "sent/s", "received/s", "lost", "bad", "p50 µs", "p99 µs", "p99.9 µs", "max µs"
    );
    format!("{heading}\n{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_on_the_way_are_not_lost_yet() {
        let stats = Stats::new();
        let mut ticker = Ticker::new(Progress::Json);
        assert_eq!(ticker.line(&stats), None);
        stats.sent.add(1_000);
        stats.received.add(990);
        let first = ticker.advance(&stats);
        assert_eq!((first.second, first.pps_sent, first.pps_received, first.lost), (1, 1_000, 990, 0));
        stats.sent.add(1_000);
        stats.received.add(5);
        stats.corrupted.add(2);
        let second = ticker.advance(&stats);
        assert_eq!((second.second, second.pps_sent, second.lost, second.bad), (2, 1_000, 5, 2));
    }

    #[test]
    fn latency_is_that_of_the_last_second() {
        let stats = Stats::new();
        let mut ticker = Ticker::new(Progress::Human);
        stats.sent.add(1);
        stats.latency.record(1_000_000);
        assert!(ticker.line(&stats).expect("a row").contains("1000.0"));
        stats.latency.record(50);
        let row = ticker.advance(&stats);
        assert_eq!(row.latency_ns.map(|latency| latency.p50), Some(50));
    }
}
