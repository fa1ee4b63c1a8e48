//! Latencies as pictures: a few lines for a terminal, and a chart as one SVG file. Both have the
//! percentile as nines on the horizontal axis, as HdrHistogram's plots do, so that tails are seen.

use std::fmt::Write as _;

use crate::latency::Latencies;

/// Percentiles of the terminal's plot.
const STEPS: [(&str, f64); 9] = [
    ("50 %", 0.5),
    ("75 %", 0.75),
    ("90 %", 0.9),
    ("95 %", 0.95),
    ("99 %", 0.99),
    ("99.5 %", 0.995),
    ("99.9 %", 0.999),
    ("99.99 %", 0.9999),
    ("max", 1.0),
];

/// Width of the longest bar, in characters.
const BAR_WIDTH: usize = 48;

/// Nanoseconds as a person reads them.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of minutes fit a double"
)]
pub fn duration_words(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    let (scaled, unit) = match nanoseconds {
        0..1_000_000 => (value / 1e3, "us"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = match scaled {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{scaled:.digits$} {unit}")
}

/// Bars on a logarithmic scale.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bar is some characters long"
)]
pub fn bars(latencies: &Latencies) -> String {
    let mut text = String::new();
    if latencies.count() == 0 {
        return text;
    }
    let least = latencies.at(0.0).max(1) as f64 / 2.0;
    let span = (latencies.at(1.0) as f64 / least).ln();
    for (name, quantile) in STEPS {
        let value = latencies.at(quantile);
        let share = (value.max(1) as f64 / least).ln() / span;
        let width = ((share * BAR_WIDTH as f64).round() as usize).max(1);
        let bar = "█".repeat(width);
        let words = duration_words(value);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:>8} {words:>9} {bar}");
    }
    text
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;

/// Nines at the right edge: 99.999 %.
const NINES_MAX: f64 = 5.0;

const COLOURS: [&str; 4] = ["#2f6fde", "#d9822b", "#3a9b57", "#9a4fc0"];

/// A chart of several latencies, each with its name.
#[must_use]
pub fn chart(title: &str, series: &[(&str, &Latencies)]) -> String {
    let series: Vec<_> = series.iter().filter(|(_, l)| l.count() > 0).collect();
    let least = series.iter().map(|(_, l)| l.at(0.0)).min().unwrap_or(1);
    let most = series.iter().map(|(_, l)| l.at(1.0)).max().unwrap_or(10);
    let axis = Axis::new(least, most);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\" font-weight=\"600\">{}</text>\n",
        escaped(title)
    );
    axis.draw(&mut svg);
    for (index, (name, latencies)) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path = axis.path(latencies);
        let y = 24.0 + 16.0 * f64::from(u16::try_from(index).unwrap_or(0));
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{y}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
            WIDTH - RIGHT,
            escaped(name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where nines and nanoseconds lie.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of minutes fit a double"
    )]
    fn new(least: u64, most: u64) -> Self {
        let low = (least.max(1) as f64).log10().floor();
        let high = (most.max(2) as f64).log10().ceil();
        Self {
            low,
            high: high.max(low + 1.0),
        }
    }

    fn x(nines: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (nines / NINES_MAX).min(1.0)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of minutes fit a double"
    )]
    fn y(&self, nanoseconds: u64) -> f64 {
        let share = ((nanoseconds.max(1) as f64).log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }

    fn draw(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut decade = self.low;
        while decade <= self.high {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a power of ten of nanoseconds"
            )]
            let nanoseconds = 10_f64.powf(decade) as u64;
            let y = self.y(nanoseconds);
            let words = duration_words(nanoseconds);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" \
                 stroke=\"#e2e5ea\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" \
                 fill=\"#5b6470\">{words}</text>",
                LEFT - 8.0,
                y + 4.0
            );
            decade += 1.0;
        }
        let marks = [
            ("0 %", 0.0),
            ("90 %", 1.0),
            ("99 %", 2.0),
            ("99.9 %", 3.0),
            ("99.99 %", 4.0),
            ("99.999 %", 5.0),
        ];
        for (words, nines) in marks {
            let x = Self::x(nines);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" \
                 stroke=\"#eef0f3\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" \
                 fill=\"#5b6470\">{words}</text>",
                bottom + 20.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#5b6470\">share of requests or \
             records that were at least as fast</text>",
            f64::midpoint(LEFT, right),
            bottom + 42.0
        );
    }

    fn path(&self, latencies: &Latencies) -> String {
        let mut path = String::new();
        let mut nines = 0.0;
        while nines <= NINES_MAX {
            let quantile = 1.0 - 10_f64.powf(-nines);
            let verb = if path.is_empty() { 'M' } else { 'L' };
            let y = self.y(latencies.at(quantile));
            let _ = write!(path, "{verb}{:.1} {y:.1} ", Self::x(nines));
            nines += 0.05;
        }
        path
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn some() -> Latencies {
        let mut latencies = Latencies::default();
        for microseconds in 1..=10_000 {
            latencies.note(Duration::from_micros(microseconds), 1);
        }
        latencies
    }

    #[test]
    fn durations_read_in_their_unit() {
        let cases = [
            (1_234, "1.23 us"),
            (45_600, "45.6 us"),
            (7_890_000, "7.89 ms"),
            (123_000_000, "123 ms"),
            (2_000_000_000, "2.00 s"),
        ];
        for (nanoseconds, words) in cases {
            assert_eq!(duration_words(nanoseconds), words);
        }
    }

    #[test]
    fn bars_grow_with_the_percentile() {
        let text = bars(&some());
        let widths: Vec<usize> = text.lines().map(|line| line.matches('█').count()).collect();
        assert_eq!(widths.len(), STEPS.len());
        assert!(widths.is_sorted() && widths[8] == BAR_WIDTH, "{text}");
        assert_eq!(bars(&Latencies::default()), "");
    }

    #[test]
    fn chart_holds_a_line_for_each_series_and_refers_to_nothing_outside() {
        let (one, other) = (some(), some());
        let svg = chart("acks <&>", &[("send", &one), ("end to end", &other)]);
        assert_eq!(svg.matches("<path").count(), 2);
        assert!(svg.contains("acks &lt;&amp;&gt;") && svg.contains("end to end"));
        assert!(!svg.contains("href") && !svg.contains("url("));
        let empty = Latencies::default();
        assert_eq!(chart("none", &[("x", &empty)]).matches("<path").count(), 0);
    }
}
