//! Sessions that come and go, beside full traffic and without any: rates, pools, and what they cost the packets.

use super::{Bench, SAMPLE, USUAL_SESSIONS, flood, options};
use crate::measure::churn::{self, Churn};
use crate::measure::error::BenchError;
use crate::measure::load::{Load, LoadOptions};
use crate::measure::scene::{Gateway, PROVIDERS, Scene, SceneOptions};

impl Bench<'_> {
    /// Sessions that come and go beside full traffic, and as many as can without any.
    pub(super) fn churn(&mut self) -> Result<(), BenchError> {
        let options = options(self.args, self.worker, self.generator, USUAL_SESSIONS, PROVIDERS[0]);
        let scene = Scene::set(SceneOptions { coming: Some(churn::COMING), ..options })?;
        let config = scene.config();
        let mut gateway = Gateway::start(&scene)?;
        let mut load =
            Load::start(&LoadOptions { verify_every: SAMPLE, ..self.load(&scene, &config, USUAL_SESSIONS) })?;
        flood(&gateway, &mut load, "churn", 0.01)?;
        let seconds = self.effort.seconds;
        // Each place was used before, and every key that there is was seen: what follows is the steady state.
        churn::window(&mut gateway, None, Churn::Most, seconds)?;
        for _ in 0..self.effort.repetitions {
            let (still, step) = churn::window(&mut gateway, Some(&mut load), Churn::Still, seconds)?;
            let still_ns = step.map(|step| step.ns_per_packet);
            let (paced, step) = churn::window(&mut gateway, Some(&mut load), Churn::Paced, seconds)?;
            self.add("churn.sessions_per_s", "1/s", churn::per_second(&paced));
            let parts = [
                ("add", paced.add_ns, paced.added),
                ("remove", paced.remove_ns, paced.removed),
                ("poll", paced.poll_ns, paced.added),
            ];
            for (name, ns, of) in parts.into_iter().filter(|(_, _, of)| *of > 0) {
                self.add(format!("churn.{name}_ns"), "ns", ns as f64 / of as f64);
            }
            self.add("churn.control_busy", "share", paced.busy_seconds / paced.seconds);
            self.add("churn.longest_control_round_ns", "ns", paced.longest_poll_ns as f64);
            let compared = [
                ("relay_p99", still.relay_p99_ns, paced.relay_p99_ns),
                ("pollgap", still.poll_gap_max_ns, paced.poll_gap_max_ns),
                ("pollgap_p9999", still.poll_gap_p9999_ns, paced.poll_gap_p9999_ns),
                ("flood", still_ns, step.map(|step| step.ns_per_packet)),
            ];
            for (name, without, with) in compared {
                if let (Some(without), Some(with)) = (without, with) {
                    self.add(format!("churn.{name}_without_ns"), "ns", without);
                    self.add(format!("churn.{name}_ns"), "ns", with);
                    self.add(format!("churn.{name}_ratio"), "ratio", with / without);
                }
            }
            for (pool, &count) in &paced.pools {
                if let Some(share) = churn::reuse(count) {
                    self.add(format!("pool.{pool}.reuse_rate"), "share", share);
                }
            }
            let (most, _) = churn::window(&mut gateway, Some(&mut load), Churn::Most, seconds)?;
            self.add("churn.most.sessions_per_s", "1/s", churn::per_second(&most));
            let (alone, _) = churn::window(&mut gateway, None, Churn::Most, seconds)?;
            self.add("churn.alone.sessions_per_s", "1/s", churn::per_second(&alone));
        }
        load.finish("churn", true)?;
        gateway.stop()?;
        Ok(())
    }
}
