//! The result of a run: for people as a table, for programs as JSON, and as a verdict.

use std::fmt;

use serde::Serialize;
use voxlane::telemetry::HistogramSnapshot;

use super::impair::Kind;
use super::stats::Stats;

/// Percentiles of a latency, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of the packets took no longer.
    pub p50: u64,
    /// 90 % took no longer.
    pub p90: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// 99.9 % took no longer.
    pub p999: u64,
    /// The longest, exactly.
    pub max: u64,
}

/// Packets impaired on purpose, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Impaired {
    /// Extra packets of a payload type that was not negotiated.
    pub badpt: u64,
    /// Extra copies with another SSRC.
    pub badssrc: u64,
    /// Extra copies with flipped bits.
    pub corrupt: u64,
    /// Indices left out.
    pub drop: u64,
    /// Valid packets held back behind later ones.
    pub reorder: u64,
    /// Extra exact copies.
    pub replay: u64,
    /// Extra copies cut short.
    pub truncate: u64,
}

/// Whether everything went as it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that was sent came back exactly once and unharmed, and nothing else came.
    Pass,
    /// Something is wrong; the counts say what.
    Fail,
}

/// What was asked for, as far as the result needs it to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Sessions played.
    pub sessions: usize,
    /// Streams sent.
    pub streams: usize,
    /// Whether traffic was pre-sealed and sent as fast as possible.
    pub flood: bool,
    /// Plain payload in bytes.
    pub payload_bytes: usize,
    /// Seed of everything random.
    pub seed: u64,
}

/// The result. Its JSON names are stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Valid packets sent.
    pub sent: u64,
    /// Valid packets that came, each counted once.
    pub received: u64,
    /// Valid packets that did not come.
    pub lost: u64,
    /// Further copies of valid packets.
    pub duplicated: u64,
    /// Packets overtaken on the way, those that were held back on purpose not counted.
    pub reordered: u64,
    /// Packets whose tag did not verify.
    pub auth_failed: u64,
    /// Packets whose payload is not what was sent.
    pub corrupted: u64,
    /// Frames that belong to no stream.
    pub unexpected: u64,
    /// Packets sent before the clock counted; they are in no rate.
    pub settled: u64,
    /// Packets that a port did not take when they were due; they are among the lost.
    pub refused: u64,
    /// In a flood, the share of the time in which the generator could send no more before the gateway relayed
    /// something. Near 0, the generator is what is slow.
    pub waiting_share: Option<f64>,
    /// Time in which was sent, in seconds; in a flood, the time with the clock running.
    pub seconds: f64,
    /// Packets sent per second of that time.
    pub pps_sent: f64,
    /// Packets received per second of that time.
    pub pps_received: f64,
    /// From sealing (in a flood: from handing to the port) to reception; absent if nothing came.
    pub latency_ns: Option<Latency>,
    /// Streams sent: one per session and direction.
    pub streams: usize,
    /// Sessions played.
    pub sessions: usize,
    /// Packets impaired on purpose.
    pub impaired: Impaired,
    /// Whether everything went as it must.
    pub verdict: Verdict,
    /// `paced` or `flood`.
    pub mode: &'static str,
    /// Plain RTP payload in bytes.
    pub payload_bytes: usize,
    /// Packets that came after later ones because they were held back on purpose.
    pub reordered_on_purpose: u64,
    /// Packets that took longer than 200 ms.
    pub late: u64,
    /// Packets with a wrong IP or UDP checksum.
    pub bad_checksum: u64,
    /// Packets with a changed RTP header.
    pub header_changed: u64,
    /// Packets relayed that the gateway had to refuse.
    pub leaked: u64,
    /// Packets that could not be made: a fault of the generator.
    pub not_built: u64,
    /// Packets that the port never took; they are among the lost.
    pub not_taken: u64,
    /// Packets that were due in the time of the run, but not sent because the schedule could not be kept.
    pub unsent: u64,
    /// SRTCP packets sent.
    pub rtcp_sent: u64,
    /// SRTCP packets that came as they were sent.
    pub rtcp_received: u64,
    /// SRTCP packets that did not come.
    pub rtcp_lost: u64,
    /// Further copies of SRTCP packets.
    pub rtcp_duplicated: u64,
    /// SRTCP packets that did not authenticate or were changed.
    pub rtcp_failed: u64,
    /// Packets sent to open the paths, not part of the result.
    pub warm_up_sent: u64,
    /// The furthest that sending was behind its schedule, in nanoseconds.
    pub lag_max_ns: u64,
    /// Times that a flood stood still and gave up what was out.
    pub stalls: u64,
    /// Seed of everything random.
    pub seed: u64,
}

impl Latency {
    /// The percentiles of a histogram of nanoseconds; `None` if it is empty.
    pub fn of(histogram: &HistogramSnapshot) -> Option<Self> {
        Some(Latency {
            p50: histogram.percentile(50.0)?,
            p90: histogram.percentile(90.0)?,
            p99: histogram.percentile(99.0)?,
            p999: histogram.percentile(99.9)?,
            max: histogram.max(),
        })
    }
}

impl Report {
    /// The result that `stats` hold at the end of a run.
    pub fn new(stats: &Stats, setup: Setup) -> Self {
        let seconds = stats.on_clock_ns.value() as f64 / 1e9;
        let per_second = |count: u64| {
            if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
        };
        let (sent, received) = (stats.sent.value(), stats.received.value());
        let settled = stats.settled.value();
        let waiting = if seconds > 0.0 { stats.waiting_ns.value() as f64 / 1e9 / seconds } else { 0.0 };
        let impaired = |kind: Kind| stats.impaired[kind.index()].value();
        let mut report = Report {
            sent,
            received,
            lost: stats.outstanding(),
            duplicated: stats.duplicated.value(),
            reordered: stats.reordered.value(),
            auth_failed: stats.auth_failed.value(),
            corrupted: stats.corrupted.value(),
            unexpected: stats.unexpected.value(),
            settled,
            refused: stats.refused.value(),
            waiting_share: setup.flood.then_some(waiting),
            seconds,
            pps_sent: per_second(sent.saturating_sub(settled)),
            pps_received: per_second(received.saturating_sub(settled)),
            latency_ns: Latency::of(&stats.latency.snapshot()),
            streams: setup.streams,
            sessions: setup.sessions,
            impaired: Impaired {
                badpt: impaired(Kind::BadPayloadType),
                badssrc: impaired(Kind::BadSsrc),
                corrupt: impaired(Kind::Corrupt),
                drop: impaired(Kind::Drop),
                reorder: impaired(Kind::Reorder),
                replay: impaired(Kind::Replay),
                truncate: impaired(Kind::Truncate),
            },
            verdict: Verdict::Fail,
            mode: if setup.flood { "flood" } else { "paced" },
            payload_bytes: setup.payload_bytes,
            reordered_on_purpose: stats.reordered_on_purpose.value(),
            late: stats.late.value(),
            bad_checksum: stats.bad_checksum.value(),
            header_changed: stats.header_changed.value(),
            leaked: stats.leaked.value(),
            not_built: stats.not_built.value(),
            not_taken: stats.not_taken.value(),
            unsent: stats.unsent.value(),
            rtcp_sent: stats.rtcp_sent.value(),
            rtcp_received: stats.rtcp_received.value(),
            rtcp_lost: stats.rtcp_outstanding(),
            rtcp_duplicated: stats.rtcp_duplicated.value(),
            rtcp_failed: stats.rtcp_failed.value(),
            warm_up_sent: stats.warm_up_sent.value(),
            lag_max_ns: stats.lag_max_ns.value(),
            stalls: stats.stalls.value(),
            seed: setup.seed,
        };
        report.verdict = report.judge();
        report
    }

    /// Passes only if something was sent and every count of something wrong is zero.
    fn judge(&self) -> Verdict {
        let wrong = self.faults().iter().any(|(_, count)| *count > 0);
        // Each valid packet that came is one that was sent; more would mean that the counting is wrong.
        if self.sent == 0 || wrong || self.received != self.sent { Verdict::Fail } else { Verdict::Pass }
    }

    /// Everything that must be zero, with its name.
    fn faults(&self) -> [(&'static str, u64); 13] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("auth failed", self.auth_failed),
            ("corrupted", self.corrupted),
            ("unexpected", self.unexpected),
            ("bad checksum", self.bad_checksum),
            ("header changed", self.header_changed),
            ("leaked", self.leaked),
            ("not built", self.not_built),
            ("not taken", self.not_taken),
            ("RTCP lost", self.rtcp_lost),
            ("RTCP duplicated", self.rtcp_duplicated),
            ("RTCP failed", self.rtcp_failed),
        ]
    }
}

impl fmt::Display for Report {
    /// The table at the end of a run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { sessions, streams, payload_bytes, mode, seed, .. } = self;
        writeln!(
            f,
            "{mode}: {sessions} sessions, {streams} streams, {payload_bytes} bytes of payload, seed {seed}"
        )?;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<16}{value:>16}");
        row("sent", self.sent.to_string())?;
        row("received", self.received.to_string())?;
        for (name, count) in self.faults() {
            let is_media = self.rtcp_sent > 0 || !name.starts_with("RTCP");
            if count > 0
                || (is_media
                    && matches!(name, "lost" | "duplicated" | "auth failed" | "corrupted" | "unexpected"))
            {
                row(name, count.to_string())?;
            }
        }
        row("reordered", self.reordered.to_string())?;
        row("late > 200 ms", self.late.to_string())?;
        if self.rtcp_sent > 0 {
            row("RTCP sent", self.rtcp_sent.to_string())?;
            row("RTCP received", self.rtcp_received.to_string())?;
        }
        for (name, count) in self.impaired.named() {
            if count > 0 {
                row(&format!("sent {name}"), count.to_string())?;
            }
        }
        if self.unsent > 0 {
            row("due, not sent", self.unsent.to_string())?;
        }
        row("seconds", format!("{:.3}", self.seconds))?;
        row("sent/s", format!("{:.0}", self.pps_sent))?;
        row("received/s", format!("{:.0}", self.pps_received))?;
        match self.latency_ns {
            None => row("latency", "nothing came".to_owned())?,
            Some(latency) => {
                let all = [
                    ("p50", latency.p50),
                    ("p90", latency.p90),
                    ("p99", latency.p99),
                    ("p99.9", latency.p999),
                    ("max", latency.max),
                ];
                for (name, ns) in all {
                    row(&format!("latency {name}"), format!("{:.1} µs", ns as f64 / 1e3))?;
                }
            }
        }
        if self.mode == "flood" {
            if let Some(share) = self.waiting_share {
                writeln!(f, "  The generator waited for the gateway in {:.0} % of the time.", share * 100.0)?;
            }
            writeln!(
                f,
                "  Packets were sealed before and checked after the clock ran; latency is from a side table of send times."
            )?;
        } else {
            writeln!(f, "  Sending was at most {:.1} µs behind its schedule.", self.lag_max_ns as f64 / 1e3)?;
        }
        let faults: Vec<_> = self
            .faults()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        match self.verdict {
            Verdict::Pass => write!(f, "PASS: everything that was sent came back once and unharmed"),
            Verdict::Fail if self.sent == 0 => write!(f, "FAIL: nothing was sent"),
            Verdict::Fail => write!(f, "FAIL: {}", faults.join(", ")),
        }
    }
}

impl Impaired {
    fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("badpt", self.badpt),
            ("badssrc", self.badssrc),
            ("corrupt", self.corrupt),
            ("dropped", self.drop),
            ("reordered", self.reorder),
            ("replayed", self.replay),
            ("truncated", self.truncate),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: Setup = Setup { sessions: 1, streams: 2, flood: false, payload_bytes: 160, seed: 1 };

    fn clean() -> Stats {
        let stats = Stats::new();
        stats.sent.add(100);
        stats.received.add(100);
        stats.on_clock_ns.add(2_000_000_000);
        stats.latency.record_n(5_000, 100);
        stats
    }

    #[test]
    fn a_clean_run_passes() {
        let report = Report::new(&clean(), SETUP);
        assert_eq!((report.verdict, report.lost), (Verdict::Pass, 0));
        assert!((report.pps_sent - 50.0).abs() < 1e-9);
        assert!(report.to_string().ends_with("unharmed"));
    }

    #[test]
    fn each_fault_by_itself_fails_and_is_named() {
        type Damage = fn(&Stats);
        let faults: [(&str, Damage); 12] = [
            ("1 lost", |stats| stats.sent.add(1)),
            ("1 duplicated", |stats| stats.duplicated.add(1)),
            ("1 auth failed", |stats| stats.auth_failed.add(1)),
            ("1 corrupted", |stats| stats.corrupted.add(1)),
            ("1 unexpected", |stats| stats.unexpected.add(1)),
            ("1 bad checksum", |stats| stats.bad_checksum.add(1)),
            ("1 header changed", |stats| stats.header_changed.add(1)),
            ("1 leaked", |stats| stats.leaked.add(1)),
            ("1 not built", |stats| stats.not_built.add(1)),
            ("1 RTCP lost", |stats| stats.rtcp_sent.add(1)),
            ("1 RTCP duplicated", |stats| stats.rtcp_duplicated.add(1)),
            ("1 RTCP failed", |stats| stats.rtcp_failed.add(1)),
        ];
        for (name, damage) in faults {
            let stats = clean();
            damage(&stats);
            let report = Report::new(&stats, SETUP);
            assert_eq!(report.verdict, Verdict::Fail, "{name}");
            assert!(report.to_string().ends_with(&format!("FAIL: {name}")), "{report}");
        }
    }

    #[test]
    fn nothing_sent_is_no_pass() {
        assert_eq!(Report::new(&Stats::new(), SETUP).verdict, Verdict::Fail);
    }

    #[test]
    fn json_has_the_stable_names() {
        let json = serde_json::to_value(Report::new(&clean(), SETUP)).expect("plain data");
        for name in [
            "sent",
            "received",
            "lost",
            "duplicated",
            "reordered",
            "auth_failed",
            "corrupted",
            "unexpected",
            "seconds",
            "pps_sent",
            "pps_received",
            "latency_ns",
            "streams",
            "sessions",
            "impaired",
            "verdict",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
        assert_eq!(json["verdict"], "pass");
        for name in ["p50", "p90", "p99", "p999", "max"] {
            assert_eq!(json["latency_ns"][name], 5_000, "{name}");
        }
        assert_eq!(json["impaired"]["corrupt"], 0);
    }
}
