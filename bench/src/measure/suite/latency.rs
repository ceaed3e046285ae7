//! How long packets are under way: the first one of a gateway that has just started, and those at shares of the highest
//! rate without loss, which is searched for.

use super::{Bench, USUAL_SESSIONS, flood};
use crate::measure::error::BenchError;
use crate::measure::load::{Latency, Load, LoadOptions};
use crate::measure::scene::{Gateway, PROVIDERS};
use crate::measure::search::highest_rate;

/// Packets per second that come one by one.
const STEADY_RATE: u64 = 20_000;

/// Packets sealed at a time for a search: a queue that fills must not fit into the rings.
const SEARCH_CHUNK: u32 = 1 << 20;

/// A rate that the search holds for the highest, within this share.
const RESOLUTION: f64 = 0.01;

impl Bench<'_> {
    /// The latency of the very first packet of a gateway that has just started, on each port, against the steady p99 of
    /// the same run, both as the gateway itself measures them. Packets come one by one: bursts would hide the first.
    pub(super) fn warm_up(&mut self) -> Result<(), BenchError> {
        let starts = if self.args.smoke { 1 } else { self.effort.repetitions.max(5) };
        for _ in 0..starts {
            let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
            let config = scene.config();
            let gateway = Gateway::start(&scene)?;
            // One packet, so that nothing is sent in a burst before the rate is kept.
            let mut load =
                Load::start(&LoadOptions { settle: 1, ..self.load(&scene, &config, USUAL_SESSIONS) })?;
            load.step(self.effort.trial_seconds, Some(STEADY_RATE))?;
            let page = gateway.page();
            let first = page.by_label("voxlane_first_packet_latency_seconds", "port");
            let percentile =
                |label| page.max_where("voxlane_latency_percentile_seconds", "percentile", label);
            let (steady, usual) = (percentile("99"), percentile("50"));
            load.finish("warmup", false)?;
            gateway.stop()?;
            let (Some(steady), false) = (steady.filter(|steady| *steady > 0.0), first.is_empty()) else {
                self.skip(
                    "warmup.first_packet_ratio",
                    "the gateway does not say how long its first packet took",
                );
                return Ok(());
            };
            let slowest = first.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
            self.add("warmup.first_packet_ns", "ns", slowest * 1e9);
            self.add("warmup.steady_p50_ns", "ns", usual.unwrap_or(0.0) * 1e9);
            self.add("warmup.steady_p99_ns", "ns", steady * 1e9);
            self.add("warmup.first_packet_ratio", "ratio", slowest / steady);
        }
        Ok(())
    }

    pub(super) fn ndr(&mut self) -> Result<(), BenchError> {
        let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
        let config = scene.config();
        let gateway = Gateway::start(&scene)?;
        let chunk = if self.args.smoke { self.args.chunk } else { SEARCH_CHUNK };
        let mut load = Load::start(&LoadOptions { chunk, ..self.load(&scene, &config, USUAL_SESSIONS) })?;
        let free = flood(&gateway, &mut load, "ndr", self.effort.seconds)?;
        // No rate above the closed loop's is without loss; a tenth more is room for a machine that is shared.
        let ceiling = (1.1e9 / free.ns_per_packet) as u64;
        let (trial_seconds, repetitions) = (self.effort.trial_seconds, self.effort.repetitions);
        let mut trial = |rate: u64, seconds: f64| load.step(seconds, Some(rate)).map(|step| step.lost == 0);
        let coarse = highest_rate(0, ceiling, 4.0 * RESOLUTION, |rate| trial(rate, trial_seconds))?;
        let mut found = Vec::new();
        for _ in 0..repetitions {
            let (low, high) = ((coarse as f64 * 0.9) as u64, (coarse as f64 * 1.1) as u64);
            // What passed once need not pass again: the search starts from a rate that just did.
            let low = if trial(low, trial_seconds / 2.0)? { low } else { 0 };
            found.push(highest_rate(low, high, RESOLUTION, |rate| trial(rate, trial_seconds / 2.0))?);
        }
        for rate in found {
            self.add("ndr.mpps", "Mpps", rate as f64 / 1e6);
        }
        let rate = self.median_of("ndr.mpps") * 1e6;
        for percent in [10_u8, 50, 90] {
            for _ in 0..repetitions {
                let rate = (rate * f64::from(percent) / 100.0) as u64;
                let step = load.step(trial_seconds / 2.0, Some(rate.max(1)))?;
                let key = format!("latency.ndr{percent}");
                self.add(format!("{key}.lost"), "packets", step.lost as f64);
                if let Some(Latency { p50, p99, p999, max }) = step.latency_ns {
                    for (name, ns) in [("p50", p50), ("p99", p99), ("p999", p999), ("max", max)] {
                        self.add(format!("{key}.{name}_ns"), "ns", ns as f64);
                    }
                }
            }
        }
        load.finish("ndr", false)?;
        gateway.stop()?;
        Ok(())
    }
}
