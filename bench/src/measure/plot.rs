//! Results as pictures: small SVG files, written by hand because three charts need no library.
//!
//! Colours work on light and dark pages; every bar and point has its number, so no axis must be read off.

use std::fmt::Write;

use super::figures::Results;
use super::table::COUNTS;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 270.0;

/// Palette of Okabe and Ito (2008): told apart without colour vision, too.
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#888888"];

/// The plot `name`; `None` if the results lack what it shows.
pub fn svg(results: &Results, name: &str) -> Option<String> {
    match name {
        "over-limit" => over_limit(results),
        "latency" => latency(results),
        "stages" => stages(results),
        _ => None,
    }
}

/// Whether there is such a plot.
pub fn has_plot(results: &Results, name: &str) -> bool {
    svg(results, name).is_some()
}

/// Relay beside limit, for each session count.
fn over_limit(results: &Results) -> Option<String> {
    let groups: Vec<_> = COUNTS
        .into_iter()
        .filter_map(|key| {
            let value = |name: &str| results.value(&format!("{name}.{key}.ns_per_packet"));
            let over = results.value(&format!("relay.{key}.over_limit"))?;
            let mac_swap = results.value(&format!("limit.{key}.macswap_ns_per_packet"))?;
            Some((key, value("relay")?, value("limit")?, mac_swap, over))
        })
        .collect();
    let top = groups.iter().map(|group| group.1.max(group.2)).reduce(f64::max)?;
    let scale = (BOTTOM - TOP - 20.0) / top;
    let mut page =
        Page::new("ns per packet, by number of sessions: the relay, and what the limit is made of");
    page.legend(&["relay", "limit: macswap", "limit: two AEADs"]);
    let step = (WIDTH - LEFT) / groups.len() as f64;
    let width = (step / 3.0).min(70.0);
    for (at, (key, relay, limit, mac_swap, over)) in groups.into_iter().enumerate() {
        let x = LEFT + step * at as f64 + (step - 2.0 * width) / 2.0;
        page.bar(x, BOTTOM - relay * scale, width, relay * scale, COLOURS[0]);
        page.text(x + width / 2.0, BOTTOM - relay * scale - 5.0, "middle", &format!("{relay:.0}"));
        let crypto = limit - mac_swap;
        page.bar(x + width, BOTTOM - mac_swap * scale, width, mac_swap * scale, COLOURS[1]);
        page.bar(x + width, BOTTOM - limit * scale, width, crypto * scale, COLOURS[2]);
        page.text(x + 1.5 * width, BOTTOM - limit * scale - 5.0, "middle", &format!("{limit:.0}"));
        page.text(x + width, BOTTOM + 18.0, "middle", key);
        page.text(x + width, BOTTOM + 36.0, "middle", &format!("{over:.2} ×"));
    }
    Some(page.finish())
}

/// Percentiles at three loads, on a logarithmic scale.
fn latency(results: &Results) -> Option<String> {
    const NAMES: [&str; 4] = ["p50", "p99", "p999", "max"];
    let loads: Vec<(&str, Vec<f64>)> = ["10", "50", "90"]
        .into_iter()
        .filter_map(|percent| {
            let value = |name: &&str| results.value(&format!("latency.ndr{percent}.{name}_ns"));
            let values: Option<Vec<f64>> = NAMES.iter().map(value).collect();
            Some((percent, values?))
        })
        .collect();
    let all = || loads.iter().flat_map(|(_, values)| values.iter().copied());
    let low = all().reduce(f64::min)?.max(1.0).log10().floor();
    let high = all().reduce(f64::max)?.max(10.0).log10().ceil().max(low + 1.0);
    let y = |ns: f64| BOTTOM - (ns.max(1.0).log10() - low) / (high - low) * (BOTTOM - TOP - 20.0);
    let mut page = Page::new("latency end to end, by load in percent of the highest rate without loss");
    page.legend(&["p50", "p99", "p99.9", "longest"]);
    for decade in low as i32..=high as i32 {
        let at = y(10_f64.powi(decade));
        page.line(LEFT, at, WIDTH - 10.0, at);
        page.text(LEFT - 6.0, at + 4.0, "end", &time(10_f64.powi(decade)));
    }
    let step = (WIDTH - LEFT) / loads.len() as f64;
    for (at, (percent, values)) in loads.iter().enumerate() {
        let width = (step / 4.4).min(56.0);
        let x = LEFT + step * at as f64 + (step - 4.0 * width) / 2.0;
        for (number, (value, colour)) in values.iter().zip(COLOURS).enumerate() {
            let x = x + width * number as f64;
            page.bar(x, y(*value), width - 3.0, BOTTOM - y(*value), colour);
            page.text(x + width / 2.0, y(*value) - 5.0, "middle", &time(*value));
        }
        page.text(x + 2.0 * width, BOTTOM + 18.0, "middle", &format!("{percent} %"));
    }
    Some(page.finish())
}

/// The stages in the order of the packet path.
const PATH: [&str; 8] = ["rx", "classify", "find_stream", "open", "inspect", "reencapsulate", "seal", "tx"];

/// One bar, made of the stages.
fn stages(results: &Results) -> Option<String> {
    let mut stages: Vec<(&str, f64)> = results
        .figures
        .iter()
        .filter_map(|(name, figure)| {
            let stage = name.strip_prefix("stage.")?.strip_suffix(".ns_per_packet")?;
            (!stage.contains('.')).then_some((stage, figure.value))
        })
        .collect();
    stages.sort_by_key(|(stage, _)| PATH.iter().position(|known| known == stage).unwrap_or(PATH.len()));
    let sum: f64 = stages.iter().map(|(_, ns)| ns).sum();
    if sum <= 0.0 {
        return None;
    }
    let mut page = Page::new(&format!("where the {sum:.0} ns of a relayed packet go, by stage"));
    let (scale, row) = ((WIDTH - LEFT - 20.0) / sum, (BOTTOM - 110.0) / stages.len() as f64);
    let mut x = LEFT;
    for (at, (stage, ns)) in stages.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        page.bar(x, TOP, ns * scale, 40.0, colour);
        let y = 110.0 + row * at as f64;
        page.bar(LEFT, y, 12.0, 12.0, colour);
        let share = ns / sum * 100.0;
        page.text(LEFT + 20.0, y + 11.0, "start", &format!("{stage}: {ns:.0} ns, {share:.0} %"));
        x += ns * scale;
    }
    Some(page.finish())
}

/// A time with the unit that fits.
fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e4 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        ns if ns < 1e7 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.0} ms", ns / 1e6),
    }
}

/// An SVG file that is being written.
struct Page(String);

impl Page {
    fn new(title: &str) -> Self {
        let mut page = Page(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"#777\">\n"
        ));
        page.text(LEFT, 18.0, "start", title);
        page
    }

    fn legend(&mut self, names: &[&str]) {
        let mut x = LEFT;
        for (name, colour) in names.iter().zip(COLOURS) {
            self.bar(x, 26.0, 12.0, 12.0, colour);
            self.text(x + 18.0, 37.0, "start", name);
            x += 40.0 + 7.0 * name.len() as f64;
        }
    }

    fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            width.max(0.0),
            height.max(0.0)
        );
    }

    fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64) {
        let _ = writeln!(
            self.0,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#777\" \
             stroke-opacity=\"0.3\"/>"
        );
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(self.0, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    fn finish(self) -> String {
        self.0 + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::figures::Figure;
    use crate::measure::readme::tests::results;

    #[test]
    fn plots_show_what_there_is() {
        let mut results = results();
        let limit = svg(&results, "over-limit").expect("a session count is there");
        assert!(limit.contains(">600<") && limit.contains(">450<") && limit.contains(">1.33 ×<"), "{limit}");
        let latency = svg(&results, "latency").expect("a load is there");
        assert!(latency.contains(">5.0 µs<") && latency.contains(">900 µs<"), "{latency}");
        assert_eq!(svg(&results, "stages"), None);
        for (stage, ns) in [("open", 300.0), ("a<b", 100.0), ("1k.open", 5.0)] {
            let name = format!("stage.{stage}.ns_per_packet");
            results.figures.insert(name, Figure::of("ns", vec![ns]));
        }
        let stages = svg(&results, "stages").expect("stages are there");
        assert!(stages.contains("open: 300 ns, 75 %") && stages.contains("a&lt;b: 100 ns, 25 %"), "{stages}");
        assert!(!stages.contains("1k.open"), "{stages}");
    }

    #[test]
    fn the_relays_bar_is_as_long_as_its_number() {
        let page = svg(&results(), "over-limit").expect("a session count is there");
        let heights: Vec<f64> = page
            .lines()
            .filter(|line| line.starts_with("<rect") && !line.contains("width=\"12.0\""))
            .filter_map(|line| line.split_once("height=\"")?.1.split_once('"')?.0.parse().ok())
            .collect();
        let [relay, mac_swap, crypto] = heights[..] else { panic!("three bars in {page}") };
        assert!((relay / (mac_swap + crypto) - 600.0 / 450.0).abs() < 0.01, "{heights:?}");
    }
}
