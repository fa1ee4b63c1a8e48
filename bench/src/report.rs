//! What people and machines read: JSON lines while running, a result at the end, `.hgrm` files.

use std::{fmt::Write as _, io, path::Path};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    drive::{Driven, Told},
    progress::Totals,
    verify::Verified,
    workload::{Arrivals, Workload},
};

/// Share of the planned rate below which an open loop's latencies do not count.
const ACHIEVED_MIN: f64 = 0.99;

/// One line while running.
#[derive(Serialize)]
struct Line {
    event: &'static str,
    totals: Totals,
}

/// Prints `told` as a JSON line; a broken pipe ends the process of whoever reads, not us.
pub fn tell_as_json(told: Told) {
    let (event, totals) = match told {
        Told::Interval(totals) => ("interval", totals),
        Told::Measure(totals) => ("measure", totals),
        Told::Measured(totals) => ("measured", totals),
    };
    print_json(&Line { event, totals });
}

/// Prints a value as one JSON line at once.
pub fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string(value).expect("plain data becomes JSON");
    // Whoever stopped reading has stopped caring.
    let _ = io::Write::write_all(&mut io::stdout().lock(), format!("{text}\n").as_bytes());
}

/// Latencies in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latencies {
    /// Answers counted.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// 99.99 %.
    pub p9999: f64,
    /// The longest.
    pub max: f64,
}

impl Latencies {
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of minutes fit a double"
    )]
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always `result`.
    pub event: &'static str,
    /// What was done.
    pub workload: Workload,
    /// Kafka version of the requests.
    pub api_version: i16,
    /// The measured part.
    pub measured: Totals,
    /// Latencies of the measured part, in microseconds, from the intended send time.
    pub latency_us: Latencies,
    /// What the latencies mean.
    pub latency_means: &'static str,
    /// Answered requests as a share of those planned; open loops only.
    pub achieved: Option<f64>,
    /// Proof, where something was produced.
    pub verified: Option<Verified>,
}

impl Report {
    /// Gathers the result.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
    pub fn new(
        workload: &Workload,
        api_version: i16,
        driven: &Driven,
        verified: Option<Verified>,
    ) -> Self {
        let seconds = driven.measured.elapsed_ns as f64 / 1e9;
        let open = workload.arrivals != Arrivals::Closed;
        let achieved =
            open.then(|| driven.measured.requests as f64 / (workload.rate * seconds).max(1.0));
        let latency_means = match achieved {
            None => "closed loop: service time under load, not latency",
            Some(achieved) if achieved < ACHIEVED_MIN => "void: the planned rate was not achieved",
            Some(_) => "open loop, from the intended send time; the client spins",
        };
        Self {
            event: "result",
            workload: workload.clone(),
            api_version,
            measured: driven.measured,
            latency_us: Latencies::of(driven.progress.latencies()),
            latency_means,
            achieved,
            verified,
        }
    }

    /// The result as a table for people.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
    pub fn table(&self) -> String {
        let seconds = (self.measured.elapsed_ns as f64 / 1e9).max(1e-9);
        let rate = |count: u64| count as f64 / seconds;
        let client = self.measured.client_cpu_ns as f64;
        let per_request = client / 1000.0 / (self.measured.requests.max(1) as f64);
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<22} {value}");
        };
        row("measured", format!("{seconds:.2} s"));
        row(
            "requests",
            format!(
                "{} ({:.0}/s)",
                self.measured.requests,
                rate(self.measured.requests)
            ),
        );
        row(
            "records",
            format!(
                "{} ({:.0}/s)",
                self.measured.records,
                rate(self.measured.records)
            ),
        );
        let mib = rate(self.measured.bytes) / f64::from(1 << 20);
        row("bytes", format!("{} ({mib:.1} MiB/s)", self.measured.bytes));
        row(
            "client CPU",
            format!("{:.2} s, {per_request:.2} us a request", client / 1e9),
        );
        let l = &self.latency_us;
        row("latency", self.latency_means.to_owned());
        row(
            "  p50 p90 p99 [us]",
            format!("{:.0} {:.0} {:.0}", l.p50, l.p90, l.p99),
        );
        row(
            "  p99.9 p99.99 max",
            format!("{:.0} {:.0} {:.0}", l.p999, l.p9999, l.max),
        );
        if let Some(achieved) = self.achieved {
            row("achieved", format!("{:.1} % of the rate", achieved * 100.0));
        }
        if let Some(verified) = self.verified {
            let text = format!(
                "{} records, {} read back",
                verified.records, verified.read_back
            );
            row("verified", text);
        }
        text
    }
}

/// The percentile table of HdrHistogram's plotters, in microseconds.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of minutes fit a double"
)]
pub fn percentiles(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in histogram.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / 1000.0;
        let quantile = step.quantile_iterated_to();
        let _ = write!(text, "{value:12.3} {quantile:14.12} {total:10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let mean = histogram.mean() / 1000.0;
    let deviation = histogram.stdev() / 1000.0;
    let max = histogram.max() as f64 / 1000.0;
    let _ = writeln!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]"
    );
    let _ = writeln!(
        text,
        "#[Max     = {max:12.3}, Total count    = {:12}]",
        histogram.len()
    );
    text
}

/// Writes the percentile table to a file.
///
/// # Errors
/// The file cannot be written.
pub fn write_percentiles(histogram: &Histogram<u64>, path: &Path) -> io::Result<()> {
    std::fs::write(path, percentiles(histogram))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_table_reaches_the_maximum_and_counts_everything() {
        let mut histogram = Histogram::new_with_bounds(1, 10_000_000, 3).expect("legal");
        for microseconds in 1..=1000_u64 {
            histogram.record(microseconds * 1000).expect("in range");
        }
        let text = percentiles(&histogram);
        let last = text
            .lines()
            .rfind(|line| !line.starts_with('#'))
            .expect("a row");
        let fields: Vec<&str> = last.split_whitespace().collect();
        let value: f64 = fields[0].parse().expect("a number");
        assert!((value - 1000.0).abs() < 1.0, "{last}");
        assert_eq!(fields[1..], ["1.000000000000", "1000"]);
        let summary = Latencies::of(&histogram);
        assert!((summary.p50 - 500.0).abs() < 1.0, "{}", summary.p50);
    }
}
