//! The gateway's HTTP pages: fetched with a bare HTTP/1.0 request, parsed into samples.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One page of `/metrics`.
#[derive(Clone)]
pub struct Scrape {
    /// As served.
    pub text: String,
    samples: Vec<Sample>,
}

/// One line of the page.
#[derive(Clone)]
pub struct Sample {
    /// Metric name.
    pub name: String,
    /// Labels and their values.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// Status and body of `path`; `None` if nobody answers.
pub fn get(server: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

impl Scrape {
    /// Parses a page.
    pub fn parse(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples =
            lines.map(|line| parse_line(line).unwrap_or_else(|| panic!("not a sample: {line:?}"))).collect();
        Scrape { text, samples }
    }

    /// All samples of `name` whose labels include all of `labels`.
    pub fn samples<'s>(
        &'s self,
        name: &'s str,
        labels: &'s [(&str, &str)],
    ) -> impl Iterator<Item = &'s Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        })
    }

    /// Their sum.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.samples(name, labels).map(|sample| sample.value).sum::<f64>() as u64
    }

    /// Whether the family is on the page at all: declared by a `# TYPE` line and with a sample.
    pub fn has_family(&self, name: &str) -> bool {
        let declared = format!("# TYPE {name} ");
        self.text.lines().any(|line| line.starts_with(&declared))
            && self.samples.iter().any(|sample| sample.name.starts_with(name))
    }

    /// Frames dropped on `port` by reason; only reasons that occurred.
    pub fn drops(&self, port: &str) -> BTreeMap<String, u64> {
        let mut drops = BTreeMap::new();
        for sample in self.samples("voxlane_dropped_packets_total", &[("port", port)]) {
            if sample.value > 0.0 {
                *drops.entry(sample.labels.get("reason").cloned().unwrap_or_default()).or_default() +=
                    sample.value as u64;
            }
        }
        drops
    }

    /// One per-queue counter, summed over the queues of `port`.
    pub fn port(&self, name: &str, port: &str) -> u64 {
        self.sum(name, &[("port", port)])
    }

    /// Frames received on `port` that have no fate on this page: 0 when the queue is quiet.
    pub fn unaccounted(&self, port: &str) -> i128 {
        let of = |name: &str| i128::from(self.port(name, port));
        let handed = |direction: &str| {
            i128::from(
                self.sum("voxlane_handed_over_packets_total", &[("port", port), ("direction", direction)]),
            )
        };
        of("voxlane_rx_packets_total") + handed("in")
            - of("voxlane_tx_packets_total")
            - of("voxlane_dropped_packets_total")
            - of("voxlane_punted_packets_total")
            - handed("out")
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some(Sample { name: series.to_owned(), labels: BTreeMap::new(), value });
    };
    let labels = labels.strip_suffix('}')?;
    // No label value of the gateway holds a quote or a comma followed by one.
    let pairs = labels.split("\",").map(|pair| {
        let (key, value) = pair.split_once("=\"")?;
        Some((key.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some(Sample { name: name.to_owned(), labels: pairs.collect::<Option<_>>()?, value })
}
