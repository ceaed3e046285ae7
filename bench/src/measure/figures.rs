//! Figures: a name, a value with its unit, and the runs whose median it is.
//!
//! Filled by [`super::suite`], written as `bench/results/<date>-<machine>.json`, read again by
//! [`super::readme`]. The format and the names are stable; `bench/README.md` explains each.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::BenchError;
use super::machine::{Machine, Versions};

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The median of `runs`.
    pub value: f64,
    /// Such as `ns`.
    pub unit: String,
    /// Every repetition, in order.
    pub runs: Vec<f64>,
}

/// A results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Where it was measured.
    pub machine: Machine,
    /// With what.
    pub versions: Versions,
    /// When, as YYYY-MM-DD.
    pub date: String,
    /// How to measure it again.
    pub command: String,
    /// What was measured, by name.
    pub figures: BTreeMap<String, Figure>,
    /// What was not, by name, and why.
    pub skipped: BTreeMap<String, String>,
}

impl Figure {
    /// The figure that `runs` make.
    pub fn of(unit: &str, runs: Vec<f64>) -> Self {
        Figure { value: median(&runs), unit: unit.to_owned(), runs }
    }
}

/// The median; the mean of the middle two of an even number, 0 of none.
pub fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(*value, sorted[middle - 1]),
    }
}

impl Results {
    /// Reads a results file.
    ///
    /// # Errors
    /// [`BenchError::Results`].
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let failed = |problem: String| BenchError::Results { path: path.display().to_string(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }

    /// Writes `<date>-<machine>.json` and `latest.json`; returns the path of the former. Of a run that `is_partial`,
    /// the name says so, and the latest whole one stays.
    ///
    /// # Errors
    /// [`BenchError::Io`].
    pub fn write(&self, directory: &Path, is_partial: bool) -> Result<std::path::PathBuf, BenchError> {
        let failed = || BenchError::io(format!("writing results to {}", directory.display()));
        std::fs::create_dir_all(directory).map_err(failed())?;
        let mut text = serde_json::to_string_pretty(self).map_err(|error| failed()(error.into()))?;
        text.push('\n');
        let part = if is_partial { "-partial" } else { "" };
        let path = directory.join(format!("{}-{}{part}.json", self.date, self.machine.name));
        std::fs::write(&path, &text).map_err(failed())?;
        if !is_partial {
            std::fs::write(directory.join("latest.json"), &text).map_err(failed())?;
        }
        Ok(path)
    }

    /// The value of a figure.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.figures.get(name).map(|figure| figure.value)
    }
}

/// A session count as figure names have it: `20k`.
pub fn count_name(count: usize) -> String {
    match count {
        _ if count >= 1_000_000 && count.is_multiple_of(1_000_000) => format!("{}m", count / 1_000_000),
        _ if count >= 1_000 && count.is_multiple_of(1_000) => format!("{}k", count / 1_000),
        _ => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 5.0, 7.0]), 6.0);
    }

    #[test]
    fn counts_have_short_names() {
        let names: Vec<_> = [1, 1_000, 20_000, 100_000, 1_000_000, 1_500].map(count_name).into();
        assert_eq!(names, ["1", "1k", "20k", "100k", "1m", "1500"]);
    }
}
