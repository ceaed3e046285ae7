//! The machine that is measured on: what it is, how much memory it has, which versions run.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Short, for file names.
    pub name: String,
    /// Model of its processor.
    pub cpu: String,
    /// How many cores the benchmark may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether it is a virtual machine.
    pub is_virtual: bool,
    /// Core of the gateway's worker.
    pub worker_core: u16,
    /// Core of the generator and of the gateway's control threads.
    pub generator_core: u16,
}

/// Versions of what runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    /// voxlane's commit, with `+` if files differ from it.
    pub voxlane: String,
    /// DPDK.
    pub dpdk: String,
    /// The kernel.
    pub linux: String,
    /// The compiler.
    pub rust: String,
    /// The library that `intel-ipsec-mb` is, if installed.
    pub ipsec_mb: Option<String>,
}

impl Machine {
    /// This machine.
    pub fn here(worker_core: u16, generator_core: u16) -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = field(&info, "model name").unwrap_or("unknown processor").to_owned();
        let is_virtual = field(&info, "flags").is_some_and(|flags| flags.contains("hypervisor"));
        let cores = voxlane::dpdk::allowed_cores().len();
        let name = slug(&format!("{cpu} {cores} cores"));
        let memory_mib = meminfo_kib("MemTotal") / 1_024;
        Machine { name, cpu, cores, memory_mib, is_virtual, worker_core, generator_core }
    }
}

impl Versions {
    /// What is installed here.
    pub fn here() -> Self {
        let commit = output("git", &["rev-parse", "--short", "HEAD"]);
        let is_changed = !output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let ipsec_mb = output("dpkg-query", &["-W", "-f=${Version}", "libipsec-mb1"]);
        Versions {
            voxlane: format!("{commit}{}", if is_changed { "+" } else { "" }),
            dpdk: voxlane::dpdk::Eal::version(),
            linux: output("uname", &["-r"]),
            rust: output("rustc", &["--version"]),
            ipsec_mb: (!ipsec_mb.is_empty()).then_some(ipsec_mb),
        }
    }
}

/// Today, as YYYY-MM-DD.
pub fn today() -> String {
    output("date", &["-u", "+%F"])
}

/// A line of `/proc/meminfo`, in KiB; 0 if there is none.
pub fn meminfo_kib(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = field(&text, name).and_then(|value| value.split_whitespace().next()?.parse().ok());
    value.unwrap_or(0)
}

/// Free hugepages of 2 MiB, in MiB.
pub fn free_hugepages_mib() -> u64 {
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0) * 2
}

/// The value of a line `name : value`, or `name: value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let pair = |line: &'t str| line.split_once(':');
    text.lines().filter_map(pair).find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// Lower case, words joined by hyphens.
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// The first line that a program prints, or nothing.
fn output(program: &str, arguments: &[&str]) -> String {
    let printed = Command::new(program).args(arguments).output().ok();
    let text = printed.filter(|out| out.status.success()).map(|out| out.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_files() {
        assert_eq!(slug("AMD EPYC (Genoa)  2 cores"), "amd-epyc-genoa-2-cores");
    }

    #[test]
    fn fields_are_found() {
        assert_eq!(field("a : 1\nb:\t2 kB\n", "b"), Some("2 kB"));
        assert_eq!(field("a : 1\n", "c"), None);
        assert!(meminfo_kib("MemTotal") > 1_000);
    }
}
