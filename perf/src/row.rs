//! A row of a comparison: its windows, what they say, and when they say nothing.

use serde::{Deserialize, Serialize};

use crate::{
    brokers::Kind,
    counts::Count,
    load::Totals,
    quantiles::{QUANTILES, Quantiles},
    statistics::{Estimate, median},
};

/// Pairs below which an interval means nothing.
const PAIRS_MIN: usize = 3;

/// Share of a window that the host may steal.
const STEAL_MAX: f64 = 0.02;

/// Cores that strangers may use.
const STRANGERS_MAX: f64 = 0.1;

/// The part of a scenario file that the judge reads.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Scenario {
    /// Row of the scorecard.
    pub name: String,
    /// What it is like.
    pub about: String,
    /// Kind of load.
    pub mode: String,
    /// How it is judged.
    #[serde(default)]
    pub judge: Judge,
}

/// The part of a scenario that only the judge reads.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// How windows are made.
    #[serde(default)]
    pub kind: Windows,
}

/// How windows are made.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Windows {
    /// A span of steady load.
    #[default]
    Load,
    /// The same, and latencies are compared too.
    Latency,
    /// Idle connections: memory is compared.
    Idle,
    /// A whole run of the generator, from its start to its result; no warm-up.
    Once,
}

/// What cost is counted by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum Unit {
    /// Processor seconds a GiB of batches.
    #[serde(rename = "cpu-s/GiB")]
    Gibibyte,
    /// Processor microseconds a request.
    #[serde(rename = "cpu-us/request")]
    Request,
    /// KiB of memory that a connection takes.
    #[serde(rename = "KiB/connection")]
    Connection,
    /// Seconds until readers have caught up.
    #[serde(rename = "s")]
    Second,
}

impl Unit {
    /// The unit in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Gibibyte => "CPU-s/GiB",
            Self::Request => "CPU-us/request",
            Self::Connection => "KiB/connection",
            Self::Second => "s to catch up",
        }
    }

    /// The unit that suits a scenario.
    #[must_use]
    pub fn of(scenario: &Scenario, catches_up: bool) -> Self {
        match (scenario.judge.kind, scenario.mode.as_str()) {
            (Windows::Idle, _) => Self::Connection,
            (Windows::Once, _) if catches_up => Self::Second,
            (_, "produce" | "fetch") => Self::Gibibyte,
            _ => Self::Request,
        }
    }

    /// Processor time for the work of `totals`; zero for units that count something else.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a window fit a double"
    )]
    pub fn cost(self, cpu_ns: u64, totals: &Totals) -> f64 {
        let nanoseconds = cpu_ns as f64;
        match self {
            Self::Gibibyte => {
                nanoseconds / 1e9 / (totals.bytes.max(1) as f64 / (1_u64 << 30) as f64)
            }
            Self::Request => nanoseconds / 1e3 / (totals.requests.max(1) as f64),
            Self::Connection | Self::Second => 0.0,
        }
    }
}

/// One measured window.
#[derive(Clone, Debug, Serialize)]
pub struct Window {
    /// Whose turn it was.
    pub broker: Kind,
    /// Which pair it belongs to.
    pub pair: usize,
    /// What the generator did in it.
    pub totals: Totals,
    /// Processor time of the broker, in nanoseconds.
    pub broker_cpu_ns: u64,
    /// Processor time of the other broker, which was idle.
    pub idle_broker_cpu_ns: u64,
    /// Processor time of kernel threads: writeback of whoever wrote.
    pub kernel_cpu_ns: u64,
    /// Processor time of everything: broker, generator, kernel threads and strangers.
    pub busy_cpu_ns: u64,
    /// Share of the machine that the host took.
    pub steal: f64,
    /// Cost in the scenario's unit: of the broker and of kernel threads together.
    pub cost: f64,
    /// Memory of the broker afterwards, in KiB: now, and the most so far.
    pub resident_kib: (u64, u64),
    /// Latencies as pairs of nanoseconds and counts: end to end where there are consumers.
    #[serde(skip)]
    pub latencies: Quantiles,
    /// The generator's own result, without its histograms.
    pub result: serde_json::Value,
}

impl Window {
    /// Processor time of whoever has nothing to do with the comparison, in nanoseconds.
    #[must_use]
    pub fn strangers_ns(&self) -> u64 {
        let known = self.broker_cpu_ns
            + self.idle_broker_cpu_ns
            + self.totals.client_cpu_ns
            + self.kernel_cpu_ns;
        self.busy_cpu_ns.saturating_sub(known)
    }
}

/// A scenario's windows and what they say.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The file's name without its ending.
    pub file: String,
    /// Its head.
    pub scenario: Scenario,
    /// The whole workload, as the generator understood it.
    pub workload: serde_json::Value,
    /// What cost is counted by.
    pub unit: Unit,
    /// Seconds of warm-up and whether the cost was stable at its end, by broker.
    pub warm_up: Vec<(Kind, f64, bool)>,
    /// All windows in order.
    pub windows: Vec<Window>,
    /// Kafka's cost over klamm's, by pair.
    pub ratios: Vec<f64>,
    /// Their median with its interval.
    pub ratio: Option<Estimate>,
    /// Latencies of all windows together, in microseconds, by broker and quantile.
    pub latencies: Vec<(Kind, Vec<(String, f64)>)>,
    /// The same as a curve: share that was at least as fast, and microseconds.
    pub curves: Vec<(Kind, Vec<(f64, f64)>)>,
    /// Kafka's quantile over klamm's, with its interval.
    pub latency_ratios: Vec<(String, Estimate)>,
    /// System calls and allocations a request.
    pub counts: Vec<Count>,
    /// Why the ratio must not be quoted.
    pub refused: Option<String>,
}

impl Row {
    /// A row without windows.
    #[must_use]
    pub fn new(file: String, scenario: Scenario, unit: Unit) -> Self {
        Self {
            file,
            scenario,
            workload: serde_json::Value::Null,
            unit,
            warm_up: Vec::new(),
            windows: Vec::new(),
            ratios: Vec::new(),
            ratio: None,
            latencies: Vec::new(),
            curves: Vec::new(),
            latency_ratios: Vec::new(),
            counts: Vec::new(),
            refused: None,
        }
    }

    /// Median of a figure over a broker's windows.
    #[must_use]
    pub fn median_of(&self, kind: Kind, figure: impl Fn(&Window) -> f64) -> Option<f64> {
        let values: Vec<f64> = self
            .windows
            .iter()
            .filter(|window| window.broker == kind)
            .map(figure)
            .collect();
        (!values.is_empty()).then(|| median(&values))
    }

    /// Draws the conclusions from the windows.
    pub fn judge(&mut self) {
        self.ratios = self.ratios_of(&|window| window.cost);
        self.latencies.clear();
        self.curves.clear();
        self.latency_ratios.clear();
        self.judge_latencies();
        if self.ratios.is_empty() {
            return;
        }
        let ratio = Estimate::of(&self.ratios);
        self.ratio = Some(ratio);
        self.refused = self.refusal(ratio);
    }

    fn refusal(&self, ratio: Estimate) -> Option<String> {
        let most =
            |figure: &dyn Fn(&Window) -> f64| self.windows.iter().map(figure).fold(0.0, f64::max);
        let steal = most(&|window| window.steal);
        let strangers = self.strangers();
        if self.ratios.len() < PAIRS_MIN {
            return Some(format!("fewer than {PAIRS_MIN} pairs"));
        }
        if let Some((kind, ..)) = self.warm_up.iter().find(|(_, _, stable)| !stable) {
            // A machine that still compiles its code looks dearer than it is.
            return Some(format!("{kind:?} was not warm"));
        }
        let dropped = |window: &Window| {
            window
                .result
                .get("dropped")
                .is_some_and(|why| !why.is_null())
        };
        if let Some(window) = self.windows.iter().find(|window| dropped(window)) {
            return Some(format!("{:?} missed the planned rate", window.broker));
        }
        if steal > STEAL_MAX {
            return Some(format!("the host stole {:.1} % of a window", steal * 100.0));
        }
        if strangers > STRANGERS_MAX {
            return Some(format!("strangers used {strangers:.2} cores"));
        }
        (!ratio.is_decided()).then(|| "the interval crosses one".to_owned())
    }

    /// Cores that strangers used, as the median of windows.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of a window fit a double"
    )]
    pub fn strangers(&self) -> f64 {
        let cores = |w: &Window| w.strangers_ns() as f64 / w.totals.elapsed_ns.max(1) as f64;
        let cores: Vec<f64> = self.windows.iter().map(cores).collect();
        if cores.is_empty() {
            0.0
        } else {
            median(&cores)
        }
    }

    /// Merges the windows' latencies and compares them by pairs.
    fn judge_latencies(&mut self) {
        for kind in [Kind::Kafka, Kind::Klamm] {
            let mut all = Quantiles::default();
            for window in self.windows.iter().filter(|window| window.broker == kind) {
                all.merge(&window.latencies);
            }
            if !all.is_empty() {
                let at = QUANTILES
                    .iter()
                    .map(|(name, q)| ((*name).to_owned(), all.microseconds(*q)));
                self.latencies.push((kind, at.collect()));
                self.curves.push((kind, all.curve()));
            }
        }
        if self.scenario.judge.kind != Windows::Latency {
            return;
        }
        for (name, quantile) in QUANTILES {
            let ratios = self.ratios_of(&|window| window.latencies.microseconds(quantile));
            if !ratios.is_empty() {
                self.latency_ratios
                    .push((name.to_owned(), Estimate::of(&ratios)));
            }
        }
    }

    /// Kafka's figure over klamm's, by pair.
    fn ratios_of(&self, figure: &dyn Fn(&Window) -> f64) -> Vec<f64> {
        let of = |pair: usize, kind: Kind| {
            let mut found = self.windows.iter();
            found
                .find(|window| window.pair == pair && window.broker == kind)
                .map(figure)
        };
        let pairs = self
            .windows
            .iter()
            .map(|window| window.pair + 1)
            .max()
            .unwrap_or(0);
        let ratios =
            (0..pairs).filter_map(|pair| Some(of(pair, Kind::Kafka)? / of(pair, Kind::Klamm)?));
        ratios
            .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(broker: Kind, pair: usize, cost: f64, steal: f64) -> Window {
        Window {
            broker,
            pair,
            totals: Totals::default(),
            broker_cpu_ns: 0,
            idle_broker_cpu_ns: 0,
            kernel_cpu_ns: 0,
            busy_cpu_ns: 0,
            steal,
            cost,
            resident_kib: (0, 0),
            latencies: Quantiles::default(),
            result: serde_json::Value::Null,
        }
    }

    fn judged(costs: &[(f64, f64)], steal: f64) -> Row {
        let windows = costs.iter().enumerate().flat_map(|(pair, (kafka, klamm))| {
            [
                window(Kind::Kafka, pair, *kafka, steal),
                window(Kind::Klamm, pair, *klamm, steal),
            ]
        });
        let scenario = Scenario {
            name: "W1".into(),
            about: String::new(),
            mode: "produce".into(),
            judge: Judge::default(),
        };
        let mut row = Row::new(String::new(), scenario, Unit::Gibibyte);
        row.windows = windows.collect();
        row.judge();
        row
    }

    #[test]
    fn ratio_is_taken_within_pairs() {
        let row = judged(&[(8.0, 2.0), (80.0, 20.0), (4.0, 1.0)], 0.0);
        assert_eq!(row.ratios, [4.0, 4.0, 4.0]);
        assert_eq!(row.refused, None);
        assert_eq!(row.median_of(Kind::Klamm, |window| window.cost), Some(2.0));
    }

    #[test]
    fn undecided_and_stolen_ratios_are_refused() {
        let row = judged(&[(1.0, 1.1), (1.1, 1.0), (1.0, 0.9)], 0.0);
        assert!(row.refused.expect("undecided").contains("crosses one"));
        let row = judged(&[(4.0, 1.0), (4.1, 1.0), (4.0, 1.0)], 0.05);
        assert!(row.refused.expect("stolen").contains("stole"));
        let row = judged(&[(4.0, 1.0), (4.1, 1.0)], 0.0);
        assert!(row.refused.expect("few").contains("pairs"));
    }

    #[test]
    fn ratio_against_a_cold_broker_is_refused() {
        let mut row = judged(&[(4.0, 1.0), (4.1, 1.0), (4.0, 1.0)], 0.0);
        assert_eq!(row.refused, None);
        row.warm_up = vec![(Kind::Klamm, 10.0, true), (Kind::Kafka, 36.0, false)];
        row.judge();
        assert_eq!(row.refused.as_deref(), Some("Kafka was not warm"));
    }

    #[test]
    fn strangers_and_missed_rates_refuse_a_ratio() {
        let costs = [(4.0, 1.0), (4.1, 1.0), (4.0, 1.0)];
        let mut row = judged(&costs, 0.0);
        for window in &mut row.windows {
            window.totals.elapsed_ns = 1_000_000_000;
            window.broker_cpu_ns = 500_000_000;
            window.busy_cpu_ns = 900_000_000;
        }
        row.judge();
        assert_eq!(row.refused.as_deref(), Some("strangers used 0.40 cores"));
        let mut row = judged(&costs, 0.0);
        row.windows[1].result = serde_json::json!({"dropped": "98 %"});
        row.judge();
        assert_eq!(
            row.refused.as_deref(),
            Some("Klamm missed the planned rate")
        );
    }

    #[test]
    fn latencies_are_merged_and_compared_by_pairs() {
        let mut row = judged(&[(4.0, 1.0), (4.1, 1.0), (4.0, 1.0)], 0.0);
        row.scenario.judge.kind = Windows::Latency;
        for window in &mut row.windows {
            let scale = if window.broker == Kind::Kafka { 3 } else { 1 };
            window.latencies = Quantiles::of((1..=100).map(|us| (us * 1000 * scale, 1)));
        }
        row.judge();
        let (_, klamm) = &row.latencies[1];
        assert_eq!(klamm[0], ("p50".to_owned(), 50.0));
        let (name, ratio) = &row.latency_ratios[0];
        assert_eq!((name.as_str(), ratio.median), ("p50", 3.0));
    }

    #[test]
    fn costs_have_their_units() {
        let totals = Totals {
            requests: 1000,
            bytes: 2 << 30,
            ..Totals::default()
        };
        assert!((Unit::Gibibyte.cost(3_000_000_000, &totals) - 1.5).abs() < 1e-9);
        assert!((Unit::Request.cost(5_000_000, &totals) - 5.0).abs() < 1e-9);
    }
}
