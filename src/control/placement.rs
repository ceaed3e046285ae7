//! Where workers run: which placements cannot work, which work badly, and which one would do.
//!
//! From `[cores]`, the machine's topology (sysfs) and what the attached ports offer; to a refusal or a warning that
//! ends in a line to copy into the configuration. Pure but for [`Topology::read`]. Called by the start-up checks
//! ([`preflight`](super::preflight)) before anything is taken and by the gateway once its ports are attached.

use std::fs;
use std::path::Path;

use super::config::{Cores, parse_cpu_list};

/// Where the kernel describes CPUs and nodes.
const SYSTEM: &str = "/sys/devices/system";

/// The machine's cores, as far as placement cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Online cores, ascending.
    cores: Vec<Core>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Core {
    id: u16,
    node: u32,
    /// Whether this process may run on it.
    allowed: bool,
    /// The lowest core of the same physical core.
    physical: u16,
}

/// What placement needs to know of an attached port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// Its name in the configuration.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Queue pairs that it offers.
    pub max_queues: u16,
    /// Its NUMA node, if it is bound to one.
    pub node: Option<u32>,
}

/// A placement that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The machine has no such core.
    #[error("core {core} in [cores] does not exist; this machine has {online}; {advice}")]
    NoSuchCore {
        /// The configured core.
        core: u16,
        /// The machine's cores, in the kernel's list format.
        online: String,
        /// What would work.
        advice: String,
    },
    /// The core is outside of the process's affinity mask.
    #[error(
        "core {core} in [cores] is not one of those that this process may use, {allowed}; {advice}, or allow it with: \
         taskset -pc {online} $$"
    )]
    NotAllowed {
        /// The configured core.
        core: u16,
        /// The cores of the process's affinity mask.
        allowed: String,
        /// The machine's cores.
        online: String,
        /// What would work.
        advice: String,
    },
    /// A port has fewer queue pairs than there are workers.
    #[error(
        "port {port:?} ({driver}) has {available} queue {} for {workers} workers; {remedy}at most {available} {}: {line}",
        if *available == 1 { "pair" } else { "pairs" },
        if *available == 1 { "worker works" } else { "workers work" }
    )]
    TooFewQueues {
        /// The port.
        port: String,
        /// Its driver.
        driver: String,
        /// Queue pairs that it offers.
        available: u16,
        /// Workers that `[cores]` names.
        workers: usize,
        /// How the device gets more, with ` or ` behind it; empty where it cannot.
        remedy: String,
        /// The line to copy.
        line: String,
    },
}

/// A placement that works, but not as well as it could.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementWarning {
    /// Workers poll a port of another NUMA node.
    #[error(
        "port {port:?} is on NUMA node {node}, but the workers on {cores} are not: their packets cross between the \
         nodes{better}"
    )]
    RemoteNode {
        /// The port.
        port: String,
        /// Its node.
        node: u32,
        /// The workers' cores.
        cores: String,
        /// `; better: ` and the line to copy; empty if there is none.
        better: String,
    },
    /// Two workers share a physical core.
    #[error(
        "the workers on cores {first} and {second} share one physical core: each gets about half of it{better}"
    )]
    Siblings {
        /// One core.
        first: u16,
        /// Its sibling.
        second: u16,
        /// As above.
        better: String,
    },
}

impl Topology {
    /// Reads the machine's topology; `allowed` are the cores that this process may use.
    pub fn read(allowed: &[u16]) -> Self {
        Self::from_sysfs(Path::new(SYSTEM), allowed)
    }

    /// What `system` says does not exist is taken for the simplest machine: one node, no siblings.
    fn from_sysfs(system: &Path, allowed: &[u16]) -> Self {
        let list = |path: &Path| parse_cpu_list(&fs::read_to_string(path).unwrap_or_default());
        let mut ids = list(&system.join("cpu/online"));
        if ids.is_empty() {
            ids = allowed.to_vec();
        }
        let nodes: Vec<(u32, Vec<u16>)> = list(&system.join("node/online"))
            .into_iter()
            .map(|node| (u32::from(node), list(&system.join(format!("node/node{node}/cpulist")))))
            .collect();
        let core = |id: u16| {
            let siblings = list(&system.join(format!("cpu/cpu{id}/topology/thread_siblings_list")));
            Core {
                id,
                node: nodes.iter().find(|(_, cores)| cores.contains(&id)).map_or(0, |(node, _)| *node),
                allowed: allowed.contains(&id),
                physical: siblings.into_iter().min().unwrap_or(id),
            }
        };
        Topology { cores: ids.into_iter().map(core).collect() }
    }

    /// The node of a core; 0 for one that does not exist.
    pub fn node(&self, core: u16) -> u32 {
        self.core(core).map_or(0, |core| core.node)
    }

    /// Whether the machine's cores are on more than one node.
    pub fn has_nodes(&self) -> bool {
        self.cores.iter().any(|core| core.node != self.cores[0].node)
    }

    /// Refuses cores that do not exist or are outside of the affinity mask.
    ///
    /// # Errors
    /// [`PlacementError::NoSuchCore`], [`PlacementError::NotAllowed`], the first that applies.
    pub fn check_cores(&self, cores: &Cores) -> Result<(), PlacementError> {
        for &core in cores.workers.iter().chain(&cores.control) {
            let advice = || match self.suggest(cores, cores.workers.len(), None) {
                Some(line) => format!("use: {line}"),
                None => "a worker needs a core beside the control core, or allow_shared = true for a test"
                    .to_owned(),
            };
            let online = self.list(|_| true);
            match self.core(core) {
                None => return Err(PlacementError::NoSuchCore { core, online, advice: advice() }),
                Some(Core { allowed: false, .. }) => {
                    let allowed = self.list(|core| core.allowed);
                    return Err(PlacementError::NotAllowed { core, allowed, online, advice: advice() });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Holds the placement against what the ports offer; returns what could be better.
    ///
    /// # Errors
    /// [`PlacementError::TooFewQueues`] for the port with the fewest queue pairs.
    pub fn check_ports(
        &self,
        cores: &Cores,
        ports: &[PortFacts],
    ) -> Result<Vec<PlacementWarning>, PlacementError> {
        let workers = cores.workers.len();
        let scarcest = ports.iter().min_by_key(|port| port.max_queues);
        if let Some(port) = scarcest.filter(|port| usize::from(port.max_queues) < workers) {
            let most = usize::from(port.max_queues);
            let line =
                self.suggest(cores, most, port.node).unwrap_or_else(|| line(&cores.workers[..most], None));
            return Err(PlacementError::TooFewQueues {
                port: port.name.clone(),
                driver: port.driver.clone(),
                available: port.max_queues,
                workers,
                remedy: more_queues(&port.driver, workers),
                line,
            });
        }
        let mut warnings = Vec::new();
        let better = |node: Option<u32>| {
            let line = self.suggest(cores, workers, node);
            let current = line_of(cores);
            line.filter(|line| *line != current).map_or_else(String::new, |line| format!("; better: {line}"))
        };
        for port in ports {
            let Some(node) = port.node else { continue };
            let remote: Vec<u16> =
                cores.workers.iter().copied().filter(|&core| self.node(core) != node).collect();
            if !remote.is_empty() {
                // A line that leaves a worker on the wrong node is no better one.
                let room =
                    self.cores.iter().filter(|core| core.node == node && self.is_free(core, cores)).count();
                let better = if room >= workers { better(Some(node)) } else { String::new() };
                let cores = join(&remote);
                warnings.push(PlacementWarning::RemoteNode { port: port.name.clone(), node, cores, better });
            }
        }
        let node = ports.iter().find_map(|port| port.node);
        for (position, &second) in cores.workers.iter().enumerate() {
            let physical = |core: u16| self.core(core).map(|core| core.physical);
            let sibling = cores.workers[..position]
                .iter()
                .find(|&&first| first != second && physical(first) == physical(second));
            if let Some(&first) = sibling {
                warnings.push(PlacementWarning::Siblings { first, second, better: better(node) });
            }
        }
        Ok(warnings)
    }

    /// The line for up to `count` workers that work: on `node` first, no two on a physical core while another is
    /// free, those that are configured before others. `None` when not even one has a core.
    fn suggest(&self, cores: &Cores, count: usize, node: Option<u32>) -> Option<String> {
        let mut chosen: Vec<&Core> = Vec::new();
        let control = self.control(cores);
        let physical_control =
            |physical: u16| control.iter().any(|&id| self.core(id).is_some_and(|c| c.physical == physical));
        while chosen.len() < count {
            let taken = |core: &Core| chosen.iter().any(|other| other.id == core.id);
            let next = self.cores.iter().filter(|core| self.is_free(core, cores) && !taken(core)).min_by_key(
                |core| {
                    let crowded = chosen.iter().filter(|other| other.physical == core.physical).count();
                    (
                        node.is_some_and(|node| core.node != node),
                        crowded + usize::from(physical_control(core.physical)),
                        !cores.workers.contains(&core.id),
                        core.id,
                    )
                },
            );
            match next {
                Some(core) => chosen.push(core),
                None => break,
            }
        }
        if chosen.is_empty() {
            return None;
        }
        let mut workers: Vec<u16> = chosen.iter().map(|core| core.id).collect();
        workers.sort_unstable();
        Some(line(&workers, (control != cores.control).then_some(&control)))
    }

    /// Whether a worker may have the core.
    fn is_free(&self, core: &Core, cores: &Cores) -> bool {
        core.allowed && (cores.allow_shared || !self.control(cores).contains(&core.id))
    }

    /// The control cores that exist and are allowed; without one, the first core that may be used.
    fn control(&self, cores: &Cores) -> Vec<u16> {
        let usable = |id: &u16| self.core(*id).is_some_and(|core| core.allowed);
        let mut control: Vec<u16> = cores.control.iter().copied().filter(usable).collect();
        if control.is_empty() {
            control.extend(self.cores.iter().find(|core| core.allowed).map(|core| core.id));
        }
        control
    }

    fn core(&self, id: u16) -> Option<&Core> {
        self.cores.iter().find(|core| core.id == id)
    }

    /// Cores in the kernel's list format.
    fn list(&self, which: impl Fn(&Core) -> bool) -> String {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for core in self.cores.iter().filter(|core| which(core)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == core.id => *last = core.id,
                _ => ranges.push((core.id, core.id)),
            }
        }
        let text = |(first, last): (u16, u16)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
    }
}

/// How a virtual device gets a queue pair for each worker.
fn more_queues(driver: &str, workers: usize) -> String {
    match driver {
        "net_af_packet" => format!("add qpairs={workers} to its device, or "),
        "net_af_xdp" => format!("add queue_count={workers} to its device, or "),
        _ => String::new(),
    }
}

/// What an operator copies into the configuration.
fn line(workers: &[u16], control: Option<&Vec<u16>>) -> String {
    let control = control.map_or_else(String::new, |control| format!(", control = {control:?}"));
    format!("[cores] workers = {workers:?}{control}")
}

fn line_of(cores: &Cores) -> String {
    let mut workers = cores.workers.clone();
    workers.sort_unstable();
    line(&workers, None)
}

fn join(cores: &[u16]) -> String {
    let text = cores.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    if cores.len() == 1 { format!("core {text}") } else { format!("cores {text}") }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
