//! A row of a comparison: its windows, what they say, and when they say nothing.

use serde::{Deserialize, Serialize};

use crate::{
    arguments::Class,
    brokers::Kind,
    counts::Count,
    load::Totals,
    quantiles::{QUANTILES, Quantiles},
    quantity::{Goal, Quantity},
    statistics::{Estimate, median},
    tuning::Tuning,
};

/// Pairs below which an interval means nothing.
const PAIRS_MIN: usize = 3;

/// Share of a window that the host may steal.
const STEAL_MAX: f64 = 0.02;

/// Cores that strangers may use.
const STRANGERS_MAX: f64 = 0.1;

/// Cost on one shard over cost on two that klamm should reach at least.
const SHARD_EFFICIENCY: f64 = 0.92;

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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// How windows are made.
    #[serde(default)]
    pub kind: Windows,
    /// True where the brokers must begin with empty folders, and end with this row.
    #[serde(default)]
    pub fresh: bool,
    /// True where the row says nothing unless retention deletes meanwhile.
    #[serde(default)]
    pub deletes: bool,
    /// What it is judged by, the headline first.
    #[serde(default)]
    pub goals: Vec<Goal>,
}

impl Scenario {
    /// What the row is judged by in a class, the headline first.
    #[must_use]
    pub fn goals(&self, class: Class) -> Vec<Goal> {
        let of_class = |goal: &&Goal| goal.class.is_none_or(|only| only == class);
        let goals: Vec<Goal> = self.judge.goals.iter().filter(of_class).copied().collect();
        if goals.is_empty() {
            vec![Goal::none(Quantity::of_mode(&self.mode))]
        } else {
            goals
        }
    }
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
    /// Figure in the row's first quantity.
    pub cost: f64,
    /// Memory that the broker has gained since the row began, in KiB.
    pub gained_kib: u64,
    /// Memory of the broker afterwards, in KiB: now, and the most so far.
    pub resident_kib: (u64, u64),
    /// Latencies as pairs of nanoseconds and counts: end to end where there are consumers.
    #[serde(skip)]
    pub latencies: Quantiles,
    /// The generator's own result, without its histograms.
    pub result: serde_json::Value,
}

impl Window {
    /// A window in which nothing has happened.
    #[must_use]
    pub fn empty(broker: Kind, pair: usize) -> Self {
        Self {
            broker,
            pair,
            totals: Totals::default(),
            broker_cpu_ns: 0,
            idle_broker_cpu_ns: 0,
            kernel_cpu_ns: 0,
            busy_cpu_ns: 0,
            steal: 0.0,
            cost: f64::NAN,
            gained_kib: 0,
            resident_kib: (0, 0),
            latencies: Quantiles::default(),
            result: serde_json::Value::Null,
        }
    }

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

/// What the windows say about one quantity.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The quantity and its goal.
    pub goal: Goal,
    /// Medians of windows, by broker.
    pub figures: Vec<(Kind, f64)>,
    /// How much better klamm's figure is than the other's, by pair.
    pub ratios: Vec<f64>,
    /// Their median with its interval.
    pub ratio: Option<Estimate>,
    /// Why the ratio must not be quoted.
    pub refused: Option<String>,
}

impl Verdict {
    /// The median figure of a broker.
    #[must_use]
    pub fn figure(&self, kind: Kind) -> Option<f64> {
        let mut found = self.figures.iter().filter(|(of, _)| *of == kind);
        found.next().map(|(_, figure)| *figure)
    }

    /// Whether the goals are reached; `None` where there is none, or where nothing may be quoted.
    #[must_use]
    pub fn is_reached(&self) -> Option<bool> {
        if self.refused.is_some() {
            return None;
        }
        let ratio = self
            .goal
            .ratio
            .map(|least| Some(self.ratio?.median >= least));
        let most = self
            .goal
            .most
            .map(|most| Some(self.figure(Kind::Klamm)? <= most));
        let goals = [ratio, most].into_iter().flatten();
        goals.reduce(|one, other| Some(one? && other?)).flatten()
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
    /// The first quantity that it is judged by, which is the unit of the windows' costs.
    pub unit: Quantity,
    /// The class in which it was measured.
    pub class: Class,
    /// How Kafka's settings were chosen.
    pub tuning: Option<Tuning>,
    /// Seconds of warm-up and whether the cost was stable at its end, by broker.
    pub warm_up: Vec<(Kind, f64, bool)>,
    /// All windows in order.
    pub windows: Vec<Window>,
    /// What is said about each quantity, the headline first.
    pub verdicts: Vec<Verdict>,
    /// The headline's ratios, by pair.
    pub ratios: Vec<f64>,
    /// Their median with its interval.
    pub ratio: Option<Estimate>,
    /// Latencies of all windows together, in microseconds, by broker and quantile.
    pub latencies: Vec<(Kind, Vec<(String, f64)>)>,
    /// The same as a curve: share that was at least as fast, and microseconds.
    pub curves: Vec<(Kind, Vec<(f64, f64)>)>,
    /// System calls and allocations a request.
    pub counts: Vec<Count>,
    /// Why the headline's ratio must not be quoted, or why there is none.
    pub refused: Option<String>,
}

impl Row {
    /// A row without windows.
    #[must_use]
    pub fn new(file: String, scenario: Scenario, class: Class) -> Self {
        Self {
            file,
            unit: scenario.goals(class)[0].quantity,
            scenario,
            workload: serde_json::Value::Null,
            class,
            tuning: None,
            verdicts: Vec::new(),
            warm_up: Vec::new(),
            windows: Vec::new(),
            ratios: Vec::new(),
            ratio: None,
            latencies: Vec::new(),
            curves: Vec::new(),
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

    /// The broker that klamm is compared with.
    #[must_use]
    pub fn other(&self) -> Kind {
        let mut others = self.windows.iter().map(|window| window.broker);
        let found = others.find(|&kind| kind != Kind::Klamm);
        found.unwrap_or(Kind::Kafka)
    }

    /// Draws the conclusions from the windows.
    pub fn judge(&mut self) {
        for window in &mut self.windows {
            window.cost = self.unit.of(window);
        }
        self.latencies.clear();
        self.curves.clear();
        self.judge_latencies();
        let mut goals = self.scenario.goals(self.class);
        if self.other() == Kind::OneShard {
            // The other goals are about another broker.
            let ratio = Some(SHARD_EFFICIENCY);
            goals = vec![Goal {
                ratio,
                ..Goal::none(self.unit)
            }];
        }
        self.verdicts = goals.into_iter().map(|goal| self.verdict(goal)).collect();
        let headline = &self.verdicts[0];
        (self.ratios, self.ratio) = (headline.ratios.clone(), headline.ratio);
        self.refused.clone_from(&headline.refused);
    }

    fn verdict(&self, goal: Goal) -> Verdict {
        let quantity = goal.quantity;
        let kinds = [self.other(), Kind::Klamm];
        let figures = kinds.iter().filter_map(|&kind| {
            let figure = self.median_of(kind, |window| quantity.of(window))?;
            figure.is_finite().then_some((kind, figure))
        });
        let ratios = self.ratios_of(quantity);
        let ratio = (!ratios.is_empty()).then(|| Estimate::of(&ratios));
        Verdict {
            goal,
            figures: figures.collect(),
            refused: self.refusal(quantity, ratio, ratios.len()),
            ratios,
            ratio,
        }
    }

    fn refusal(&self, quantity: Quantity, ratio: Option<Estimate>, pairs: usize) -> Option<String> {
        if self.windows.is_empty() {
            return None;
        }
        let most =
            |figure: &dyn Fn(&Window) -> f64| self.windows.iter().map(figure).fold(0.0, f64::max);
        let steal = most(&|window| window.steal);
        let strangers = self.strangers();
        if let Some(text) = self.void() {
            return Some(text);
        }
        if ratio.is_some() && pairs < PAIRS_MIN {
            return Some(format!("fewer than {PAIRS_MIN} pairs"));
        }
        if let Some((kind, ..)) = self.warm_up.iter().find(|(_, _, stable)| !stable) {
            // A machine that still compiles its code looks dearer than it is.
            return Some(format!("{kind:?} was not warm"));
        }
        let is_memory = quantity.is_memory();
        if steal > STEAL_MAX && !is_memory {
            return Some(format!("the host stole {:.1} % of a window", steal * 100.0));
        }
        if strangers > STRANGERS_MAX && !is_memory {
            return Some(format!("strangers used {strangers:.2} cores"));
        }
        // An efficiency of one is a result.
        let of_shards = self.other() == Kind::OneShard;
        let undecided = !of_shards && ratio.is_some_and(|ratio| !ratio.is_decided());
        undecided.then(|| "the interval crosses one".to_owned())
    }

    /// Why the windows are no measurement of what the scenario is about.
    fn void(&self) -> Option<String> {
        let says = |window: &Window, path: &str| window.result.pointer(path).cloned();
        let find = |wrong: &dyn Fn(&Window) -> bool| {
            let found = self.windows.iter().find(|window| wrong(window));
            found.map(|window| format!("{:?}", window.broker))
        };
        let dropped = |window: &Window| says(window, "/dropped").is_some_and(|why| !why.is_null());
        if let Some(who) = find(&dropped) {
            return Some(format!("{who} missed the planned rate"));
        }
        let behind = |window: &Window| says(window, "/catch_up/caught_up") == Some(false.into());
        if let Some(who) = find(&behind) {
            return Some(format!("readers of {who} did not catch up"));
        }
        let kept = |window: &Window| says(window, "/catch_up/deleted_records") == Some(0.into());
        if let Some(who) = find(&kept).filter(|_| self.scenario.judge.deletes) {
            return Some(format!("{who} deleted nothing meanwhile"));
        }
        None
    }

    /// Notes that the row did not run to its end.
    pub fn break_off(&mut self, why: &str) {
        let why = format!("broke off: {why}");
        for verdict in &mut self.verdicts {
            verdict.refused = Some(why.clone());
        }
        self.refused = Some(why);
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

    /// Merges the windows' latencies.
    fn judge_latencies(&mut self) {
        for kind in [self.other(), Kind::Klamm] {
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
    }

    /// How much better klamm's figure is than the other broker's, by pair.
    fn ratios_of(&self, quantity: Quantity) -> Vec<f64> {
        let other = self.other();
        let of = |pair: usize, kind: Kind| {
            let mut found = self.windows.iter();
            found
                .find(|window| window.pair == pair && window.broker == kind)
                .map(|window| quantity.of(window))
        };
        let pairs = self.windows.iter().map(|window| window.pair + 1).max();
        let ratios = (0..pairs.unwrap_or(0)).filter_map(|pair| {
            let (other, klamm) = (of(pair, other)?, of(pair, Kind::Klamm)?);
            Some(quantity.ratio(other, klamm))
        });
        ratios
            .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window whose cost per GiB is `cost`.
    fn window(broker: Kind, pair: usize, cost: u64, steal: f64) -> Window {
        Window {
            totals: Totals {
                bytes: 1 << 30,
                ..Totals::default()
            },
            broker_cpu_ns: cost * 100_000_000,
            busy_cpu_ns: cost * 100_000_000,
            steal,
            ..Window::empty(broker, pair)
        }
    }

    fn scenario(goals: &str) -> Scenario {
        let text = format!("name = 'W1'\nabout = 'x'\nmode = 'produce'\n{goals}");
        toml::from_str(&text).expect("a scenario")
    }

    fn judged_by(goals: &str, costs: &[(u64, u64)], steal: f64) -> Row {
        let windows = costs.iter().enumerate().flat_map(|(pair, (kafka, klamm))| {
            [
                window(Kind::Kafka, pair, *kafka, steal),
                window(Kind::Klamm, pair, *klamm, steal),
            ]
        });
        let mut row = Row::new(String::new(), scenario(goals), Class::Written);
        row.windows = windows.collect();
        row.judge();
        row
    }

    fn judged(costs: &[(u64, u64)], steal: f64) -> Row {
        judged_by("", costs, steal)
    }

    #[test]
    fn ratio_is_taken_within_pairs() {
        let row = judged(&[(80, 20), (800, 200), (40, 10)], 0.0);
        assert_eq!(row.ratios, [4.0, 4.0, 4.0]);
        assert_eq!(row.refused, None);
        assert_eq!(row.median_of(Kind::Klamm, |window| window.cost), Some(2.0));
    }

    #[test]
    fn undecided_and_stolen_ratios_are_refused() {
        let row = judged(&[(10, 11), (11, 10), (10, 9)], 0.0);
        assert!(row.refused.expect("undecided").contains("crosses one"));
        let row = judged(&[(40, 10), (41, 10), (40, 10)], 0.05);
        assert!(row.refused.expect("stolen").contains("stole"));
        let row = judged(&[(40, 10), (41, 10)], 0.0);
        assert!(row.refused.expect("few").contains("pairs"));
    }

    #[test]
    fn ratio_against_a_cold_broker_is_refused() {
        let mut row = judged(&[(40, 10), (41, 10), (40, 10)], 0.0);
        assert_eq!(row.refused, None);
        row.warm_up = vec![(Kind::Klamm, 10.0, true), (Kind::Kafka, 36.0, false)];
        row.judge();
        assert_eq!(row.refused.as_deref(), Some("Kafka was not warm"));
    }

    #[test]
    fn strangers_and_missed_rates_refuse_a_ratio() {
        let costs = [(40, 10), (41, 10), (40, 10)];
        let mut row = judged(&costs, 0.0);
        for window in &mut row.windows {
            window.totals.elapsed_ns = 1_000_000_000;
            window.busy_cpu_ns = window.broker_cpu_ns + 400_000_000;
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
    fn readers_that_lag_and_logs_that_are_kept_refuse_a_ratio() {
        let costs = [(40, 10), (41, 10), (40, 10)];
        let mut row = judged_by("[judge]\ndeletes = true\n", &costs, 0.0);
        let mut with = |result: serde_json::Value| {
            row.windows[2].result = serde_json::json!({"catch_up": result});
            row.judge();
            row.refused.clone()
        };
        let lag = with(serde_json::json!({"caught_up": false, "deleted_records": 5}));
        assert_eq!(lag.as_deref(), Some("readers of Kafka did not catch up"));
        let kept = with(serde_json::json!({"caught_up": true, "deleted_records": 0}));
        assert_eq!(kept.as_deref(), Some("Kafka deleted nothing meanwhile"));
        assert_eq!(
            with(serde_json::json!({"caught_up": true, "deleted_records": 5})),
            None
        );
    }

    #[test]
    fn latencies_are_merged_and_judged_by_pairs() {
        let goals = "[[judge.goals]]\nquantity = 'p50 us'\nratio = 5\n\
                     [[judge.goals]]\nquantity = 'p99 us'\nratio = 2\nmost = 99\n";
        let mut row = judged_by(goals, &[(40, 10), (41, 10), (40, 10)], 0.0);
        for window in &mut row.windows {
            let scale = if window.broker == Kind::Kafka { 3 } else { 1 };
            window.latencies = Quantiles::of((1..=100).map(|us| (us * 1000 * scale, 1)));
        }
        row.judge();
        let (_, klamm) = &row.latencies[1];
        assert_eq!(klamm[0], ("p50".to_owned(), 50.0));
        let [median, hundredth] = &row.verdicts[..] else {
            panic!("two goals");
        };
        assert_eq!(median.ratio.expect("pairs").median, 3.0);
        assert_eq!(median.is_reached(), Some(false), "five was wanted");
        assert_eq!(hundredth.figure(Kind::Klamm), Some(99.0));
        assert_eq!(hundredth.is_reached(), Some(true));
        assert_eq!(row.ratio.expect("the headline").median, 3.0);
    }

    #[test]
    fn a_second_shard_is_held_against_its_efficiency() {
        let goals = "[[judge.goals]]\nquantity = 'cpu-s/GiB'\nratio = 6\n";
        let mut row = judged_by(goals, &[(10, 10), (19, 20), (11, 10)], 0.0);
        for window in &mut row.windows {
            if window.broker == Kind::Kafka {
                window.broker = Kind::OneShard;
            }
        }
        row.judge();
        assert_eq!(row.refused, None, "one is a result here");
        assert_eq!(row.verdicts[0].goal.ratio, Some(SHARD_EFFICIENCY));
        assert_eq!(row.verdicts[0].is_reached(), Some(true));
    }

    #[test]
    fn figures_of_a_busy_machine_reach_no_goal() {
        let goals = "[[judge.goals]]\nquantity = 'cpu-s/GiB'\nmost = 2.0\n";
        let mut row = judged_by(goals, &[(40, 10)], 0.0);
        row.windows.retain(|window| window.broker == Kind::Klamm);
        row.judge();
        assert_eq!(
            row.verdicts[0].is_reached(),
            Some(true),
            "klamm alone has a figure"
        );
        row.windows[0].steal = 0.5;
        row.judge();
        assert_eq!(row.verdicts[0].is_reached(), None);
    }

    #[test]
    fn a_class_has_its_own_goals() {
        let goals = "[[judge.goals]]\nquantity = 'cpu-us/request'\nclass = 'written'\n\
                     [[judge.goals]]\nquantity = 'requests/s'\nclass = 'flushed'\nratio = 20\n";
        let scenario = scenario(goals);
        let of = |class| -> Vec<Quantity> {
            let goals = scenario.goals(class);
            goals.iter().map(|goal| goal.quantity).collect()
        };
        assert_eq!(of(Class::Written), [Quantity::CpuPerRequest]);
        assert_eq!(of(Class::Flushed), [Quantity::RequestRate]);
        assert_eq!(
            self::scenario("").goals(Class::Written)[0].quantity,
            Quantity::CpuPerGibibyte
        );
    }
}
