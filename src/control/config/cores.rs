//! `[cores]`: which CPU does what.
//!
//! Only the rules of placement are checked here. Whether a core exists, is isolated or is taken by another
//! gateway is for the start-up checks.

use std::collections::BTreeSet;
use std::fs;

use super::model::Cores;
use super::reader::Reader;

/// The highest CPU number a configuration may name.
const MAX_CORE: u16 = 1023;

/// What an operator copies.
const EXAMPLE: &str = "add workers = [1] under [cores], one core per worker";

/// Reads `[cores]` for a machine on which this process may use the cores `allowed` (ascending).
pub(super) fn cores(root: &Reader<'_, '_>, allowed: &[u16]) -> Cores {
    let Some(section) = root.section("cores") else {
        return Cores { control: Vec::new(), workers: Vec::new(), allow_shared: false };
    };
    let allow_shared = section.boolean("allow_shared", false);
    let workers = section.required("workers", EXAMPLE).map(|given| {
        let before = given.scope.problems.count();
        let cores = given.integers(0..=MAX_CORE);
        // In a test more workers than cores are of use; in service they would only wait for each other.
        let workers = if allow_shared {
            cores.into_iter().map(|(core, _)| core).collect()
        } else {
            distinct(cores, |core, line| {
                given.scope.error(
                    line,
                    format_args!("workers names core {core} twice"),
                    "give each worker its own core",
                );
            })
        };
        if workers.is_empty() && given.scope.problems.count() == before {
            given.error("is empty", EXAMPLE);
        }
        workers
    });
    let workers = workers.unwrap_or_default();

    let control = section.optional("control").map(|given| {
        let before = given.scope.problems.count();
        let control = distinct(given.integers(0..=MAX_CORE), |core, line| {
            given.scope.error(line, format_args!("control names core {core} twice"), "name it once");
        });
        if control.is_empty() && given.scope.problems.count() == before {
            given.error("is empty", "name at least one core, or leave control out");
        }
        control
    });
    // The first core that no worker has; on a machine without one, the first: sharing is then judged below.
    let free = || allowed.iter().find(|core| !workers.contains(core)).or(allowed.first());
    let control = control.unwrap_or_else(|| vec![free().copied().unwrap_or(0)]);

    // On one core everything shares it, whatever the file says.
    if !allow_shared && allowed.len() > 1 {
        let remedy = match apart(&workers, &control, allowed).as_slice() {
            [] => "give the worker a core of its own, or set allow_shared = true for a test".to_owned(),
            apart => format!("use workers = {apart:?}, or set allow_shared = true for a test"),
        };
        for core in workers.iter().filter(|core| control.contains(core)) {
            section.error(format_args!("core {core} is both a worker's and a control core"), &*remedy);
        }
    }
    section.finish();
    Cores { control, workers, allow_shared }
}

/// As many workers as there are, or as fit, on cores of their own: those that have one keep it.
fn apart(workers: &[u16], control: &[u16], allowed: &[u16]) -> Vec<u16> {
    let kept = workers.iter().filter(|core| !control.contains(core));
    let free = allowed.iter().filter(|core| !control.contains(core) && !workers.contains(core));
    let mut apart: Vec<u16> = kept.chain(free).take(workers.len()).copied().collect();
    apart.sort_unstable();
    apart
}

/// The cores without repetitions, in the order given; each repetition is handed to `twice`.
fn distinct(cores: Vec<(u16, u32)>, twice: impl Fn(u16, u32)) -> Vec<u16> {
    let mut seen = BTreeSet::new();
    let mut keep = |(core, line): (u16, u32)| {
        let is_new = seen.insert(core);
        if !is_new {
            twice(core, line);
        }
        is_new.then_some(core)
    };
    cores.into_iter().filter_map(&mut keep).collect()
}

/// The cores this process may run on, ascending; core 0 alone where the kernel does not say.
pub(super) fn allowed() -> Vec<u16> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cores = list.map(parse_cpu_list).unwrap_or_default();
    if cores.is_empty() { vec![0] } else { cores }
}

/// The kernel's list format: `0-3,8`.
pub(in crate::control) fn parse_cpu_list(list: &str) -> Vec<u16> {
    list.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::error::Problems;
    use super::super::node::{Node, Value};
    use super::super::reader::{Scope, Subject};
    use super::*;

    fn read(text: &str, allowed: &[u16]) -> Result<Cores, String> {
        let problems = Problems::default();
        let file = problems.add_file("t");
        let root = Node::from_toml(text, file, &problems).expect("the text is valid TOML");
        let Value::Table(table) = &root.value else { panic!("a document is a table") };
        let scope = Scope { problems: &problems, file, subject: Subject::default() };
        let cores = cores(&Reader::new(scope, table, None), allowed);
        problems.into_errors().map_or(Ok(cores), |errors| Err(errors.to_string()))
    }

    #[test]
    fn control_defaults_to_the_first_core_without_a_worker() {
        let cores = read("[cores]\nworkers = [0, 2]", &[0, 1, 2, 3]).expect("a good section");
        assert_eq!((cores.control, cores.workers), (vec![1], vec![0, 2]));
    }

    #[test]
    fn sharing_needs_leave_unless_there_is_one_core() {
        let text = "[cores]\ncontrol = [1]\nworkers = [1]";
        let error = read(text, &[0, 1]).expect_err("core 1 is shared");
        let expected = "t:1: cores: core 1 is both a worker's and a control core; use workers = [0], or set \
                        allow_shared = true for a test";
        assert!(error.contains(expected), "{error}");
        let two =
            read("[cores]\ncontrol = [0]\nworkers = [0, 1, 2]", &[0, 1, 2]).expect_err("core 0 is shared");
        assert!(two.contains("; use workers = [1, 2], or set"), "as many as fit: {two}");
        assert!(read(text, &[1]).is_ok());
        assert!(read(&format!("{text}\nallow_shared = true"), &[0, 1]).is_ok());
    }

    #[test]
    fn workers_share_a_core_only_where_sharing_is_allowed() {
        let text = "[cores]\nworkers = [0, 1, 0, 1]";
        let error = read(text, &[0, 1]).expect_err("two workers on core 0");
        assert!(error.contains("workers names core 0 twice; give each worker its own core"), "{error}");
        let cores = read(&format!("{text}\nallow_shared = true"), &[0, 1]).expect("allowed");
        assert_eq!(cores.workers, [0, 1, 0, 1]);
    }

    #[test]
    fn the_kernels_list_is_understood() {
        assert_eq!(parse_cpu_list("\t0-2,5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        assert!(parse_cpu_list("").is_empty());
        assert!(!allowed().is_empty());
    }
}
