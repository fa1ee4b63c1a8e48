//! Latencies with three digits, from a microsecond's parts to two minutes, as they are counted,
//! merged and written.

use std::{fmt::Write as _, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// The quantiles that are printed.
pub const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];

/// How often each latency was seen.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        Self(histogram.expect("the bounds and three digits are legal"))
    }
}

impl Latencies {
    /// Counts `count` times `latency`.
    pub fn note(&mut self, latency: Duration, count: u64) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record_n(nanoseconds, count);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency at a quantile, in nanoseconds.
    #[must_use]
    pub fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The whole as pairs of nanoseconds and counts: loses nothing, and can be merged.
    #[must_use]
    pub fn pairs(&self) -> Vec<(u64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect()
    }

    /// The latencies of such pairs.
    #[must_use]
    pub fn of_pairs(pairs: &[(u64, u64)]) -> Self {
        let mut latencies = Self::default();
        for &(nanoseconds, count) in pairs {
            latencies.0.saturating_record_n(nanoseconds, count);
        }
        latencies
    }

    /// The percentile table of HdrHistogram's plotters, in microseconds.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of minutes fit a double"
    )]
    pub fn percentile_table(&self) -> String {
        let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        let mut total = 0;
        for step in self.0.iter_quantiles(5) {
            total += step.count_since_last_iteration();
            let value = step.value_iterated_to() as f64 / 1000.0;
            let quantile = step.quantile_iterated_to();
            // Writing to a String cannot fail.
            let _ = write!(text, "{value:12.3} {quantile:14.12} {total:10}");
            if quantile < 1.0 {
                let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
            }
            text.push('\n');
        }
        let mean = self.0.mean() / 1000.0;
        let deviation = self.0.stdev() / 1000.0;
        let max = self.0.max() as f64 / 1000.0;
        let _ = writeln!(
            text,
            "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]"
        );
        let _ = writeln!(
            text,
            "#[Max     = {max:12.3}, Total count    = {:12}]",
            self.count()
        );
        text
    }

    /// The summary.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of minutes fit a double"
    )]
    pub fn summary(&self) -> Summary {
        let at = |quantile| self.at(quantile) as f64 / 1000.0;
        Summary {
            count: self.count(),
            mean: self.0.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: self.0.max() as f64 / 1000.0,
        }
    }
}

/// Latencies in microseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Summary {
    /// How many were counted.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(microseconds: impl Iterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        for value in microseconds {
            latencies.note(Duration::from_micros(value), 1);
        }
        latencies
    }

    #[test]
    fn percentile_table_reaches_the_maximum_and_counts_everything() {
        let latencies = of(1..=1000);
        let text = latencies.percentile_table();
        let last = text.lines().rfind(|line| !line.starts_with('#'));
        let last = last.expect("a row");
        let fields: Vec<&str> = last.split_whitespace().collect();
        let value: f64 = fields[0].parse().expect("a number");
        assert!((value - 1000.0).abs() < 1.0, "{last}");
        assert_eq!(fields[1..], ["1.000000000000", "1000"]);
        let summary = latencies.summary();
        assert!((summary.p50 - 500.0).abs() < 1.0, "{}", summary.p50);
    }

    #[test]
    fn merged_latencies_are_those_of_both() {
        let mut merged = of(1..=500);
        merged.merge(&of(501..=1000));
        assert_eq!(merged.pairs(), of(1..=1000).pairs());
        assert_eq!(merged.count(), 1000);
    }

    #[test]
    fn pairs_keep_everything() {
        let mut latencies = of((1..=1000).map(|value| value * value));
        latencies.note(Duration::from_secs(300), 5);
        let again = Latencies::of_pairs(&latencies.pairs());
        assert_eq!(again.pairs(), latencies.pairs());
        assert_eq!(again.at(0.99), latencies.at(0.99));
        assert_eq!(again.count(), 1005);
    }
}
