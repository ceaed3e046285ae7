//! The load generator as a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Gateway, Machine, Process, Stopped, process, testpmd, unique};

/// A voxload that sends.
pub struct Voxload {
    process: Process,
    json: PathBuf,
}

/// What voxload found.
pub struct Verdict {
    /// Its JSON report.
    pub report: Value,
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub text: String,
}

impl Voxload {
    /// Plays the remotes of all sessions of `gateway` over memif: `ports` are gateway port names and sockets.
    pub fn start(machine: &Machine, gateway: &Gateway, ports: &[(&str, &Path)], arguments: &[&str]) -> Self {
        Self::start_for(machine, &gateway.config, ports, arguments)
    }

    /// The same for whatever runs with that configuration.
    pub fn start_for(machine: &Machine, config: &Path, ports: &[(&str, &Path)], arguments: &[&str]) -> Self {
        let binary = super::gateway::binary().with_file_name("voxload");
        assert!(
            binary.exists(),
            "{} is missing: build it with `cargo build --workspace` and the profile of the tests",
            binary.display()
        );
        let name = unique();
        let json = machine.path(&format!("{name}.voxload.json"));
        let mut command = process::command(binary.to_str().expect("a UTF-8 target directory"));
        command.arg("run").arg("--config").arg(config).args(["--file-prefix", &name, "--core", "0"]);
        for (number, (port, socket)) in ports.iter().enumerate() {
            command.arg("--port").arg(format!("{port}={}", testpmd::memif_client(number, socket)));
        }
        command.arg("--json").arg(&json).args(["--progress", "none", "--wait-link", "20"]).args(arguments);
        Voxload { process: Process::spawn("voxload", command), json }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Stops it before its time: it drains and gives its verdict.
    pub fn interrupt(self, limit: Duration) -> Verdict {
        self.process.signal(nix::sys::signal::Signal::SIGINT);
        self.finish(limit)
    }

    /// Waits for its verdict.
    pub fn finish(mut self, limit: Duration) -> Verdict {
        let code = self.process.wait(limit).code();
        let text = self.process.text();
        let json = std::fs::read_to_string(&self.json).unwrap_or_else(|error| {
            panic!("voxload ended with {code:?} and left no report: {error}\n{text}")
        });
        let report = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}:\n{json}"));
        Verdict { report, code, text }
    }
}

impl Verdict {
    /// A figure of the report.
    pub fn count(&self, key: &str) -> u64 {
        self.report[key].as_u64().unwrap_or_else(|| panic!("no figure {key:?} in {:#}", self.report))
    }

    /// How many packets were spoiled on purpose in the way `kind`.
    pub fn impaired(&self, kind: &str) -> u64 {
        self.report["impaired"][kind]
            .as_u64()
            .unwrap_or_else(|| panic!("no impairment {kind:?} in {:#}", self.report))
    }

    /// Every valid packet arrived once, intact and authentic, and nothing else did.
    pub fn assert_pass(&self) {
        let report = &self.report;
        for key in ["lost", "duplicated", "auth_failed", "corrupted", "unexpected"] {
            assert_eq!(self.count(key), 0, "{key}: {report:#}");
        }
        assert!(self.count("sent") > 0, "nothing was sent: {report:#}");
        assert_eq!(self.count("sent"), self.count("received"), "{report:#}");
        assert_eq!(report["verdict"], "pass", "{report:#}");
        assert_eq!(self.code, Some(0), "{}", self.text);
    }

    /// What the gateway forwarded and dropped on `ports` is what was sent, to the packet. Returns the drops by
    /// reason; packets that opened the paths before the clock ran may have found a next hop unresolved.
    pub fn assert_accounted(&self, stopped: &Stopped, ports: &[&str]) -> BTreeMap<String, u64> {
        let mut drops = BTreeMap::new();
        for (reason, count) in ports.iter().flat_map(|port| stopped.drops(port)) {
            *drops.entry(reason).or_default() += count;
        }
        let unresolved = drops.remove("next_hop_unresolved").unwrap_or(0);
        let warm_up = self.count("warm_up_sent");
        assert!(
            unresolved <= warm_up,
            "{unresolved} unresolved, {warm_up} before the clock ran: {:#}",
            stopped.report
        );
        let forwarded: u64 = ports.iter().map(|port| stopped.port(port, "tx")).sum();
        assert_eq!(
            forwarded + unresolved,
            self.count("sent") + warm_up,
            "{:#}\n{:#}",
            stopped.report,
            self.report
        );
        drops
    }
}
