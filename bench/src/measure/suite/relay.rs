//! What a relayed packet costs, by sessions, payload and suites, against the limit of the machine: the same ports without
//! a gateway, and the crypto alone. Cost by stage and memory by session come from the gateway's own metrics.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use voxlane::srtp::Suite;

use super::{Bench, USUAL_PAYLOAD, USUAL_SESSIONS, flood, options, waiting_share};
use crate::measure::error::BenchError;
use crate::measure::figures::{count_name, median};
use crate::measure::load::{Load, LoadOptions};
use crate::measure::machine::{free_hugepages_mib, meminfo_kib};
use crate::measure::metrics::{Page, memory_of};
use crate::measure::process::Process;
use crate::measure::raw::{HUGEPAGE_MALLOC, RawReport};
use crate::measure::scene::{Gateway, PROVIDERS, Provider, Scene, SceneOptions, gateway_mib};

const SESSIONS: [usize; 5] = [1, 1_000, 20_000, 100_000, 1_000_000];

const PAYLOADS: [usize; 5] = [20, 60, 160, 320, 960];

/// The session count whose cost by stage is shown, if it is measured.
const STAGES_AT: usize = 100_000;

/// Ethernet, IPv4, UDP, RTP and tag around a payload.
const OVERHEAD: usize = 14 + 20 + 8 + 12 + 16;

/// Memory of the generator and of each testpmd in hugepages, in MiB.
const OTHERS_MIB: u64 = 384 + 2 * 256 + 64;

impl Bench<'_> {
    pub(super) fn relay(&mut self) -> Result<(), BenchError> {
        let smoke = [1, USUAL_SESSIONS];
        let sessions: Vec<usize> = match (self.args.sessions.is_empty(), self.args.smoke) {
            (false, _) => self.args.sessions.clone(),
            (true, true) => smoke.to_vec(),
            (true, false) => SESSIONS.to_vec(),
        };
        let stages_at =
            if sessions.contains(&STAGES_AT) { Some(STAGES_AT) } else { sessions.last().copied() };
        let mut base = None;
        for count in sessions {
            for &provider in PROVIDERS {
                let key = count_name(count);
                if let Some(why) = self.lacks_memory(count) {
                    self.skip(format!("{}relay.{key}", provider.prefix), why);
                    continue;
                }
                let scene = self.scene(count, provider)?;
                let config = scene.config();
                let mut gateway = Gateway::start(&scene)?;
                let mut load = Load::start(&self.load(&scene, &config, count))?;
                // The first step waits for the set-up and settles every stream.
                flood(&gateway, &mut load, &key, 0.01)?;
                let is_main = Some(count) == stages_at;
                self.compare(provider, &key, USUAL_PAYLOAD, &mut gateway, &mut load, count, is_main)?;
                let (heap, _) = memory_of(gateway.id());
                match base {
                    None => base = Some(heap),
                    // A small difference says nothing about one session.
                    Some(base) if count >= USUAL_SESSIONS => {
                        let name = format!("{}memory.{key}.bytes_per_session", provider.prefix);
                        let huge = gateway.page().sum("voxlane_session_memory_bytes").unwrap_or(0.0);
                        let bytes = (heap.saturating_sub(base) as f64 + huge) / count as f64;
                        self.add(name, "bytes", bytes);
                    }
                    Some(_) => {}
                }
                load.finish(&key, true)?;
                gateway.stop()?;
            }
        }
        let largest = ["1m", "100k", "20k", "1k"].into_iter().find_map(|key| {
            let (_, runs) = self.runs.get(&format!("memory.{key}.bytes_per_session"))?;
            Some(median(runs))
        });
        if let Some(bytes) = largest {
            self.add("memory.bytes_per_session", "bytes", bytes);
        }
        for ns in self.runs.get("relay.100k.ns_per_packet").map(|(_, runs)| runs.clone()).unwrap_or_default()
        {
            self.add("relay.100k.mpps_per_core", "Mpps", 1e3 / ns);
        }
        Ok(())
    }

    pub(super) fn payloads(&mut self) -> Result<(), BenchError> {
        let scene = self.scene(USUAL_SESSIONS, PROVIDERS[0])?;
        let config = scene.config();
        let payloads = if self.args.smoke { &PAYLOADS[..1] } else { &PAYLOADS[..] };
        for &payload in payloads {
            // A gateway each: it goes on where a stream was, and each generator has SSRCs of its own.
            let mut gateway = Gateway::start(&scene)?;
            let options = LoadOptions { payload, ..self.load(&scene, &config, USUAL_SESSIONS) };
            let mut load = Load::start(&options)?;
            flood(&gateway, &mut load, "payload", 0.01)?;
            let key = format!("payload.{payload}");
            self.compare(PROVIDERS[0], &key, payload, &mut gateway, &mut load, USUAL_SESSIONS, false)?;
            load.finish(&key, true)?;
            gateway.stop()?;
        }
        Ok(())
    }

    pub(super) fn suites(&mut self) -> Result<(), BenchError> {
        let all: Vec<[Suite; 2]> =
            Suite::ALL.into_iter().flat_map(|a| Suite::ALL.into_iter().map(move |b| [a, b])).collect();
        let pairs = if self.args.smoke { &all[..1] } else { &all[..] };
        for &[a, b] in pairs {
            let options = options(self.args, self.worker, self.generator, USUAL_SESSIONS, PROVIDERS[0]);
            let scene = Scene::set(SceneOptions { suites: [a, b], ..options })?;
            let config = scene.config();
            let gateway = Gateway::start(&scene)?;
            let mut load = Load::start(&self.load(&scene, &config, USUAL_SESSIONS))?;
            let name = format!("suites.{a}.{b}.ns_per_packet");
            for _ in 0..self.effort.repetitions {
                let step = flood(&gateway, &mut load, &name, self.effort.seconds / 4.0)?;
                self.add(name.clone(), "ns", step.ns_per_packet);
            }
            load.finish(&name, true)?;
            gateway.stop()?;
        }
        Ok(())
    }

    /// Relay and limit in turns; names end in `key`, such as `relay.{key}.ns_per_packet`.
    #[expect(clippy::too_many_arguments, reason = "called twice; a struct would only repeat the names")]
    fn compare(
        &mut self,
        provider: Provider,
        key: &str,
        payload: usize,
        gateway: &mut Gateway<'_>,
        load: &mut Load,
        sessions: usize,
        has_main_stages: bool,
    ) -> Result<(), BenchError> {
        let prefix = provider.prefix;
        let mut raw = self.raw(provider.name, sessions, payload)?;
        for _ in 0..self.effort.repetitions {
            gateway.resume();
            // The stage in which it was stopped is charged with that time, so look only while it runs.
            let before = gateway.page();
            let relay = flood(gateway, load, &format!("relay.{key}"), self.effort.seconds)?;
            let after = gateway.page();
            gateway.pause();
            self.stages(provider, has_main_stages, key, &before, &after);
            let mac_swap = self.mac_swap.measure(payload + OVERHEAD, self.effort.seconds / 2.0)?;
            let crypto = ask_raw(&mut raw, self.effort.seconds / 2.0)?;
            let limit = mac_swap + crypto.ns_per_packet;
            self.add(format!("{prefix}relay.{key}.ns_per_packet"), "ns", relay.ns_per_packet);
            self.add(format!("{prefix}relay.{key}.generator_waits"), "share", waiting_share(&relay));
            self.add(format!("{prefix}limit.{key}.ns_per_packet"), "ns", limit);
            self.add(format!("{prefix}limit.{key}.macswap_ns_per_packet"), "ns", mac_swap);
            self.add(format!("{prefix}limit.{key}.crypto_ns_per_packet"), "ns", crypto.ns_per_packet);
            self.add(format!("{prefix}limit.{key}.hugepage_share"), "share", crypto.hugepage_share);
            self.add(format!("{prefix}relay.{key}.over_limit"), "ratio", relay.ns_per_packet / limit);
        }
        gateway.resume();
        Ok(())
    }

    /// The crypto alone, set up and waiting.
    fn raw(&self, provider: &str, sessions: usize, payload: usize) -> Result<Process, BenchError> {
        let this = std::env::current_exe().map_err(BenchError::io("finding the benchmark's own binary"))?;
        let mut command = Command::new(this);
        let (name, value) = HUGEPAGE_MALLOC;
        command.env(name, value).args(["crypto", "--provider", provider]);
        command.args(["--sessions", &sessions.to_string(), "--payload", &payload.to_string()]);
        command.args(["--core", &self.worker.to_string()]);
        Process::spawn("the crypto alone", command)
    }

    /// Cost by stage, from the gateway's own cycle counters.
    fn stages(&mut self, provider: Provider, is_main: bool, key: &str, before: &Page, after: &Page) {
        let family = "voxlane_stage_cycles_total";
        let packets = |page: &Page| page.sum("voxlane_tx_packets_total").unwrap_or(0.0);
        let (packets, mhz) = (packets(after) - packets(before), self.mac_swap.mhz.unwrap_or(0.0));
        let earlier: BTreeMap<_, _> = before.by_label(family, "stage").into_iter().collect();
        if packets <= 0.0 || mhz <= 0.0 || earlier.is_empty() {
            if is_main {
                self.skip("stage", format!("the gateway has no {family}"));
            }
            return;
        }
        // Idle is what passes while the generator seals.
        let stages = after.by_label(family, "stage").into_iter().filter(|(stage, _)| stage != "idle");
        for (stage, cycles) in stages {
            let gained = cycles - earlier.get(&stage).copied().unwrap_or(0.0);
            let ns = gained / mhz * 1e3 / packets;
            let prefix = provider.prefix;
            self.add(format!("{prefix}stage.{key}.{stage}.ns_per_packet"), "ns", ns);
            if is_main {
                self.add(format!("{prefix}stage.{stage}.ns_per_packet"), "ns", ns);
            }
        }
    }

    /// Why so many sessions do not fit, if they do not.
    fn lacks_memory(&self, sessions: usize) -> Option<String> {
        // Gateway, generator; and the keys of the crypto alone, of at most 1,008 bytes each.
        let huge = gateway_mib(sessions) + OTHERS_MIB + ((sessions * 4 * 1_008) >> 20) as u64;
        let free = free_hugepages_mib();
        if free < huge {
            return Some(format!("{huge} MiB of hugepages are needed and {free} MiB are free"));
        }
        let ordinary = 512 + ((sessions * 8_192) >> 20) as u64;
        let free = meminfo_kib("MemAvailable") >> 10;
        (free < ordinary).then(|| format!("{ordinary} MiB of memory are needed and {free} MiB are free"))
    }
}

fn ask_raw(raw: &mut Process, seconds: f64) -> Result<RawReport, BenchError> {
    raw.tell(&seconds.to_string())?;
    raw.ask("what it measured", Duration::from_secs(600), |line| serde_json::from_str(line).ok())
}
