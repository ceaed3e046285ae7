//! What is measured without a gateway: how fast the generator is, so that one sees it is not the limit, and the pools of
//! frames against a pool with a lock and the heap.

use std::process::Command;
use std::time::Duration;

use super::{Bench, USUAL_SESSIONS, waiting_share};
use crate::measure::error::BenchError;
use crate::measure::framepool::FramePoolReport;
use crate::measure::load::Load;
use crate::measure::process::Process;
use crate::measure::scene::PROVIDERS;
use crate::measure::testpmd::{Sockets, Testpmd};

impl Bench<'_> {
    pub(super) fn generator(&mut self) -> Result<(), BenchError> {
        let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
        // The mirror takes the gateway's place at its sockets: a0 and b0 are what the configuration calls a and b.
        let sockets = Sockets { directory: &scene.directory, prefix: "mirror", ring: self.args.ring };
        let _mirror = Testpmd::mirror(&sockets, self.worker, self.generator)?;
        let config = scene.config();
        let mut options = self.load(&scene, &config, USUAL_SESSIONS);
        options.is_mirrored = true;
        for (number, port) in options.ports.iter_mut().enumerate() {
            let (from, to) = (["/a.sock", "/b.sock"][number], format!("/mirror{number}.sock"));
            *port = port.replace(from, &to);
        }
        let mut load = Load::start(&options)?;
        for _ in 0..self.effort.repetitions {
            let step = load.flood("generator", self.effort.seconds)?;
            self.add("generator.ns_per_packet", "ns", step.ns_per_packet);
            self.add("generator.waits", "share", waiting_share(&step));
            self.add("generator.mpps", "Mpps", 1e3 / step.ns_per_packet);
        }
        load.finish("generator", true)?;
        Ok(())
    }

    /// Sixteen threads on all cores that this process may use.
    pub(super) fn framepool(&mut self) -> Result<(), BenchError> {
        const THREADS: &str = "16";
        let this = std::env::current_exe().map_err(BenchError::io("finding the benchmark's own binary"))?;
        let mut command = Command::new(this);
        command.args(["framepool", "--threads", THREADS]);
        let mut process = Process::spawn("the pools of frames", command)?;
        // The first round takes the pages and fills the caches.
        for round in 0..=self.effort.repetitions {
            process.tell(&(3.0 * self.effort.seconds).to_string())?;
            let report: FramePoolReport =
                process.ask("what it measured", Duration::from_secs(600), |line| {
                    serde_json::from_str(line).ok()
                })?;
            if round == 0 {
                continue;
            }
            let FramePoolReport { own_per_second, shared_per_second, heap_per_second } = report;
            let prefix = format!("framepool.{THREADS}_threads");
            self.add(format!("{prefix}.speedup"), "ratio", own_per_second / shared_per_second);
            self.add(format!("{prefix}.speedup_over_heap"), "ratio", own_per_second / heap_per_second);
            for (name, rate) in
                [("own", own_per_second), ("shared", shared_per_second), ("heap", heap_per_second)]
            {
                self.add(format!("{prefix}.{name}_per_second"), "frames/s", rate);
            }
        }
        Ok(())
    }
}
