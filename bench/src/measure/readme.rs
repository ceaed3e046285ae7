//! `voxbench report`: plots, and the README's table between its markers, made from a results file.

use std::path::Path;

use super::args::ReportArgs;
use super::error::BenchError;
use super::figures::Results;
use super::{plot, table};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Does what `args` say.
///
/// # Errors
/// [`BenchError::Results`] when there are none, [`BenchError::Usage`] for a file without markers and, with
/// `--check`, for one that is not what the results make it.
pub fn report(args: &ReportArgs) -> Result<(), BenchError> {
    let results = Results::read(&args.results)?;
    let mut outputs = Vec::new();
    for (name, _) in table::PLOTS {
        if let Some(svg) = plot::svg(&results, name) {
            outputs.push((args.plots.join(format!("{name}.svg")), svg));
        }
    }
    let old = std::fs::read_to_string(&args.readme)
        .map_err(BenchError::io(format!("reading {}", args.readme.display())))?;
    let Some(new) = replace(&old, &table::markdown(&results, &args.plots.display().to_string())) else {
        let path = args.readme.display();
        return Err(BenchError::Usage(format!("{path} has no lines {BEGIN} and {END}; add them")));
    };
    outputs.push((args.readme.clone(), new));
    for (path, text) in outputs {
        write(&path, &text, args.check)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, is_check: bool) -> Result<(), BenchError> {
    let is_same = std::fs::read_to_string(path).is_ok_and(|old| old == text);
    let path_text = path.display();
    match (is_same, is_check) {
        (true, _) => Ok(()),
        (false, true) => Err(BenchError::Usage(format!(
            "{path_text} is not what the results make it; run: voxbench report"
        ))),
        (false, false) => std::fs::write(path, text).map_err(BenchError::io(format!("writing {path_text}"))),
    }
}

/// `text` with `part` between the markers.
fn replace(text: &str, part: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{part}{END}{after}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::measure::figures::Figure;
    use crate::measure::machine::{Machine, Versions};

    /// Results with a relay at one session count, a rate and latencies.
    pub fn results() -> Results {
        let figures = [
            ("relay.1k.ns_per_packet", 600.0),
            ("relay.1k.over_limit", 1.33),
            ("limit.1k.ns_per_packet", 450.0),
            ("limit.1k.macswap_ns_per_packet", 90.0),
            ("limit.1k.crypto_ns_per_packet", 360.0),
            ("ndr.mpps", 1.5),
            ("latency.ndr50.p50_ns", 5_000.0),
            ("latency.ndr50.p99_ns", 9_000.0),
            ("latency.ndr50.p999_ns", 20_000.0),
            ("latency.ndr50.max_ns", 900_000.0),
        ];
        let figure = |value| Figure::of("x", vec![value]);
        Results {
            machine: Machine {
                name: "test".to_owned(),
                cpu: "Test <&> CPU".to_owned(),
                cores: 2,
                memory_mib: 1,
                is_virtual: true,
                worker_core: 1,
                generator_core: 0,
            },
            versions: Versions {
                voxlane: "abc".to_owned(),
                dpdk: "DPDK 22.11".to_owned(),
                linux: String::new(),
                rust: String::new(),
                ipsec_mb: None,
            },
            date: "2026-01-01".to_owned(),
            command: "voxbench run".to_owned(),
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), figure(value))).collect(),
            skipped: [("pollgap.max_ns".to_owned(), "no such family".to_owned())].into(),
        }
    }

    #[test]
    fn what_is_between_the_markers_is_replaced_and_nothing_else() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replace(&text, "new\n").expect("both markers");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace(&new, "new\n"), Some(new.clone()));
        assert_eq!(replace("a b", "new"), None);
        assert_eq!(replace(&format!("{END} {BEGIN}"), "new"), None);
    }

    #[test]
    fn results_survive_the_file() {
        let directory = std::env::temp_dir().join(format!("voxbench-test-{}", std::process::id()));
        let partial = results().write(&directory, true).expect("a writable directory");
        assert!(!directory.join("latest.json").exists(), "a part is not the latest");
        let path = results().write(&directory, false).expect("a writable directory");
        assert_ne!(path, partial);
        assert_eq!(Results::read(&path).expect("just written"), results());
        assert_eq!(Results::read(&directory.join("latest.json")).expect("just written"), results());
        std::fs::remove_dir_all(&directory).expect("ours");
    }
}
