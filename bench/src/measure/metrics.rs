//! The gateway's metrics page, and what the kernel says about its memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Page(Vec<Series>);

#[derive(Debug, Clone)]
struct Series {
    name: String,
    labels: String,
    value: f64,
}

impl Page {
    /// The page that the gateway at `address` serves now; an empty one if it cannot be had.
    pub fn fetch(address: SocketAddr) -> Self {
        let fetch = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            Ok(page)
        };
        fetch().map(|text| Page::parse(&text)).unwrap_or_default()
    }

    /// Reads the text format.
    pub fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            Some(Series { name: name.to_owned(), labels: labels.to_owned(), value: value.parse().ok()? })
        });
        Page(series.collect())
    }

    /// The sum over all series of a family; `None` if there is none.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.values(name).reduce(|sum, value| sum + value)
    }

    /// The largest over all series of a family; `None` if there is none.
    pub fn max(&self, name: &str) -> Option<f64> {
        self.values(name).reduce(f64::max)
    }

    /// The largest over the series of a family whose label has this value.
    pub fn max_where(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        let series = self.0.iter().filter(|series| series.name == name && series.label(label) == Some(value));
        series.map(|series| series.value).reduce(f64::max)
    }

    /// The sums of a family by one of its labels, in the order of the page.
    pub fn by_label(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut sums: Vec<(String, f64)> = Vec::new();
        for series in self.0.iter().filter(|series| series.name == name) {
            let Some(value) = series.label(label) else { continue };
            match sums.iter_mut().find(|(key, _)| key == value) {
                Some((_, sum)) => *sum += series.value,
                None => sums.push((value.to_owned(), series.value)),
            }
        }
        sums
    }

    fn values(&self, name: &str) -> impl Iterator<Item = f64> {
        self.0.iter().filter(move |series| series.name == name).map(|series| series.value)
    }
}

impl Series {
    fn label(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.labels.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    }
}

/// Memory of a process that it does not share, in bytes: ordinary and in hugepages.
pub fn memory_of(process: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    let kib = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    (
        (kib("Private_Dirty") + kib("Private_Clean")) << 10,
        (kib("Private_Hugetlb") + kib("Shared_Hugetlb")) << 10,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP x y\n\
        voxlane_stage_cycles_total{worker=\"0\",stage=\"open\"} 10\n\
        voxlane_stage_cycles_total{worker=\"1\",stage=\"open\"} 5\n\
        voxlane_stage_cycles_total{worker=\"0\",stage=\"seal\"} 7\n\
        voxlane_ready 1\n";

    #[test]
    fn a_page_is_summed() {
        let page = Page::parse(PAGE);
        assert_eq!(page.sum("voxlane_stage_cycles_total"), Some(22.0));
        assert_eq!(page.max("voxlane_stage_cycles_total"), Some(10.0));
        assert_eq!(page.sum("voxlane_ready"), Some(1.0));
        assert_eq!(page.sum("voxlane_nothing"), None);
        let stages = page.by_label("voxlane_stage_cycles_total", "stage");
        assert_eq!(stages, [("open".to_owned(), 15.0), ("seal".to_owned(), 7.0)]);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(memory_of(std::process::id()).0 > 100_000);
    }
}
