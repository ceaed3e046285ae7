//! What has to hold rather than to be fast: nothing is lost with several workers, and over many packets a worker neither
//! allocates nor enters the kernel.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use super::{Bench, SAMPLE, USUAL_SESSIONS, flood, options};
use crate::measure::error::BenchError;
use crate::measure::load::{Load, LoadOptions};
use crate::measure::process::Process;
use crate::measure::scene::{Gateway, PROVIDERS, Scene, SceneOptions};

const WORKERS: [usize; 3] = [1, 2, 4];

impl Bench<'_> {
    /// For function: on two cores, more workers only get in each other's way.
    pub(super) fn workers(&mut self) -> Result<(), BenchError> {
        let cores: BTreeSet<u16> = voxlane::dpdk::allowed_cores().into_iter().collect();
        for count in WORKERS {
            let mut workers = vec![self.worker];
            workers.extend(cores.iter().copied().filter(|core| *core != self.worker));
            if workers.len() < count {
                self.skip(
                    format!("workers.{count}.lost"),
                    format!("{count} workers need as many cores, and there are {}", workers.len()),
                );
                continue;
            }
            // A worker sends through the queue pair of its own, so the other end must have as many.
            if count > 1 && !Load::has_queues() {
                self.skip(format!("workers.{count}.lost"), "this voxload has no --queues");
                continue;
            }
            workers.truncate(count);
            let options = options(self.args, self.worker, self.generator, USUAL_SESSIONS, PROVIDERS[0]);
            let scene = Scene::set(SceneOptions { workers, ..options })?;
            let config = scene.config();
            let gateway = Gateway::start(&scene)?;
            let mut options = self.load(&scene, &config, USUAL_SESSIONS);
            // Only what is sent once both ends are up is counted, as in the other parts.
            options.queues = count;
            let mut load = Load::start(&options)?;
            let name = format!("workers.{count}.lost");
            let step = flood(&gateway, &mut load, &name, self.effort.seconds / 4.0)?;
            self.add(name.clone(), "packets", step.lost as f64);
            self.add(format!("workers.{count}.sent"), "packets", step.sent as f64);
            load.finish(&name, true)?;
            gateway.stop()?;
        }
        Ok(())
    }

    pub(super) fn soak(&mut self) -> Result<(), BenchError> {
        let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
        let config = scene.config();
        let gateway = Gateway::start(&scene)?;
        let mut load =
            Load::start(&LoadOptions { verify_every: SAMPLE, ..self.load(&scene, &config, USUAL_SESSIONS) })?;
        flood(&gateway, &mut load, "soak", 0.01)?;
        let is_locked = gateway.page().max("voxlane_worker_lockdown") == Some(1.0);
        let trace = if is_locked { None } else { Trace::attach(gateway.id(), &scene)? };
        let (mut sent, mut allocations) = (0, None);
        while sent < self.effort.soak_packets {
            sent += flood(&gateway, &mut load, "soak", self.effort.seconds.max(0.05))?.sent;
            allocations = gateway.page().sum("voxlane_worker_heap_allocations_total");
        }
        let page = gateway.page();
        self.add("soak.packets", "packets", sent as f64);
        match allocations {
            Some(count) => self.add("worker.allocations", "calls", count),
            None => {
                self.skip("worker.allocations", "the gateway has no voxlane_worker_heap_allocations_total")
            }
        }
        match (is_locked, trace) {
            // One system call would have ended the process.
            (true, _) => self.add("worker.syscalls", "calls", 0.0),
            (false, Some(trace)) => self.add("worker.syscalls", "calls", trace.finish()?),
            (false, None) => {
                self.skip("worker.syscalls", "strace is not installed, and the gateway has no lockdown")
            }
        }
        match page.max("voxlane_poll_gap_max_seconds") {
            Some(seconds) => self.add("pollgap.max_ns", "ns", seconds * 1e9),
            None => self.skip("pollgap.max_ns", "the gateway has no voxlane_poll_gap_max_seconds"),
        }
        load.finish("soak", true)?;
        gateway.stop()?;
        Ok(())
    }
}

/// strace on a gateway's workers, counting.
struct Trace {
    process: Process,
    output: std::path::PathBuf,
}

impl Trace {
    /// Attaches to every worker; `None` if there is no strace.
    fn attach(gateway: u32, scene: &Scene) -> Result<Option<Self>, BenchError> {
        let is_there = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
        let tasks = std::fs::read_dir(format!("/proc/{gateway}/task"));
        let tasks = tasks.map_err(BenchError::io("listing the gateway's threads"))?;
        let workers: Vec<String> = tasks
            .flatten()
            .filter(|task| {
                let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                name.starts_with("lcore-worker") || name.starts_with("rte-worker")
            })
            .map(|task| task.file_name().to_string_lossy().into_owned())
            .collect();
        if !is_there || workers.is_empty() {
            return Ok(None);
        }
        let output = scene.directory.join("strace.txt");
        let mut command = Command::new("strace");
        command.arg("-o").arg(&output).args(["-p", &workers.join(",")]);
        let mut process = Process::spawn("strace", command)?;
        process.ask("that it is attached", Duration::from_secs(10), |line| {
            line.contains("attached").then_some(())
        })?;
        Ok(Some(Trace { process, output }))
    }

    /// Detaches, and returns how many system calls the workers made.
    fn finish(mut self) -> Result<f64, BenchError> {
        self.process.terminate();
        self.process.wait(Duration::from_secs(10))?;
        let text =
            std::fs::read_to_string(&self.output).map_err(BenchError::io("reading what strace wrote"))?;
        // One line per call; strace's own words about the thread are none.
        let calls = text.lines().filter(|line| line.contains('(') && !line.contains("---"));
        Ok(calls.count() as f64)
    }
}
