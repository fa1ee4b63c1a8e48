//! A comparison: both brokers up, each scenario warmed up on both, then windows A B B A.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Problem,
    accounts::{Moment, ticks_per_second},
    arguments::Compare,
    brokers::{Broker, Kind, check_disk},
    counts::{Count, count},
    evidence::{self, Evidence},
    load::{Line, Load, Totals},
    statistics::{Estimate, median},
};

/// A warm-up is over when the cost changes by less than this from one span to the next.
const STABLE_WITHIN: f64 = 0.03;

/// Length of such a span.
const SPAN_NS: u64 = 5_000_000_000;

/// Warm-up that is enough for a broker without a Java machine, in seconds.
const NATIVE_WARM_UP: f64 = 8.0;

/// Pairs below which an interval means nothing.
const PAIRS_MIN: usize = 3;

/// Share of a window that the host may steal.
const STEAL_MAX: f64 = 0.02;

/// The part of a scenario file that the judge reads.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Scenario {
    /// Row of the scorecard.
    pub name: String,
    /// What it is like.
    pub about: String,
    /// Kind of load.
    pub mode: String,
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
}

impl Unit {
    /// The unit in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Gibibyte => "CPU-s/GiB",
            Self::Request => "CPU-us/request",
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a window fit a double"
    )]
    fn cost(self, cpu_ns: u64, totals: &Totals) -> f64 {
        let nanoseconds = cpu_ns as f64;
        match self {
            Self::Gibibyte => {
                nanoseconds / 1e9 / (totals.bytes.max(1) as f64 / (1_u64 << 30) as f64)
            }
            Self::Request => nanoseconds / 1e3 / (totals.requests.max(1) as f64),
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
    /// Cost in the scenario's unit.
    pub cost: f64,
    /// Memory of the broker afterwards, in KiB: now, and the most so far.
    pub resident_kib: (u64, u64),
    /// The generator's own result.
    pub result: serde_json::Value,
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
    /// System calls and allocations a request.
    pub counts: Vec<Count>,
    /// Why the ratio must not be quoted.
    pub refused: Option<String>,
}

impl Row {
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

    fn judge(&mut self) {
        let cost = |pair: usize, kind: Kind| {
            let mut found = self
                .windows
                .iter()
                .filter(|w| w.pair == pair && w.broker == kind);
            found.next().map(|window| window.cost)
        };
        let pairs = self
            .windows
            .iter()
            .map(|window| window.pair + 1)
            .max()
            .unwrap_or(0);
        self.ratios = (0..pairs)
            .filter_map(|pair| Some(cost(pair, Kind::Kafka)? / cost(pair, Kind::Klamm)?))
            .collect();
        if self.ratios.is_empty() {
            return;
        }
        let ratio = Estimate::of(&self.ratios);
        self.ratio = Some(ratio);
        let steal = self
            .windows
            .iter()
            .map(|window| window.steal)
            .fold(0.0, f64::max);
        if self.ratios.len() < PAIRS_MIN {
            self.refused = Some(format!("fewer than {PAIRS_MIN} pairs"));
        } else if let Some((kind, ..)) = self.warm_up.iter().find(|(_, _, stable)| !stable) {
            // A machine that still compiles its code looks dearer than it is.
            self.refused = Some(format!("{kind:?} was not warm"));
        } else if !ratio.is_decided() {
            self.refused = Some("the interval crosses one".to_owned());
        } else if steal > STEAL_MAX {
            self.refused = Some(format!("the host stole {:.1} % of a window", steal * 100.0));
        }
    }
}

/// Runs the whole comparison.
///
/// # Errors
/// See [`Problem`]. What was measured before is kept.
pub fn run(compare: &Compare) -> Result<(), Problem> {
    let mut brokers = vec![Broker::start(Kind::Klamm, compare)?];
    if !compare.klamm_only {
        brokers.push(Broker::start(Kind::Kafka, compare)?);
    }
    let mut evidence = Evidence::gather(compare, &brokers)?;
    let mut outcome = Ok(());
    for file in &compare.scenarios {
        match measure(compare, file, &brokers) {
            Ok(row) => {
                eprintln!("{}", evidence::line(&row));
                evidence.rows.push(row);
                evidence.write()?;
            }
            Err(problem) => {
                // The other rows are worth keeping.
                outcome = Err(Problem::at(file.display(), problem));
                break;
            }
        }
    }
    drop(brokers);
    // Left over data cost disk, not truth.
    let _ = fs::remove_dir_all(&compare.data);
    println!("{}", evidence.markdown());
    println!("evidence in {}", evidence.folder.display());
    outcome
}

fn measure(compare: &Compare, file: &Path, brokers: &[Broker]) -> Result<Row, Problem> {
    let text = fs::read_to_string(file).map_err(|error| Problem::at(file.display(), error))?;
    let scenario: Scenario =
        toml::from_str(&text).map_err(|error| Problem::at(file.display(), error))?;
    let unit = if scenario.mode == "requests" {
        Unit::Request
    } else {
        Unit::Gibibyte
    };
    let name = file.file_stem().map(PathBuf::from).unwrap_or_default();
    let mut row = Row {
        file: name.display().to_string(),
        scenario,
        workload: serde_json::Value::Null,
        unit,
        warm_up: Vec::new(),
        windows: Vec::new(),
        ratios: Vec::new(),
        ratio: None,
        counts: Vec::new(),
        refused: None,
    };
    for broker in brokers {
        let (seconds, stable) = warm_up(compare, file, broker, unit)?;
        eprintln!(
            "{}: {:?} warm after {seconds:.0} s, stable: {stable}",
            row.file, broker.kind
        );
        row.warm_up.push((broker.kind, seconds, stable));
    }
    for pair in 0..compare.pairs {
        let mut order: Vec<usize> = (0..brokers.len()).collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        for turn in order {
            let idle = brokers.iter().enumerate().find(|(index, _)| *index != turn);
            let idle = idle.map(|(_, broker)| broker);
            row.windows
                .push(window(compare, file, &brokers[turn], idle, unit, pair)?);
        }
    }
    row.judge();
    for broker in brokers.iter().filter(|_| compare.count_seconds > 0) {
        row.counts
            .extend(count(compare, file, broker, compare.count_seconds)?);
    }
    Ok(row)
}

/// Loads a broker until its cost is stable; gives the seconds and whether it became so.
#[expect(clippy::cast_precision_loss, reason = "seconds of a run fit a double")]
fn warm_up(
    compare: &Compare,
    file: &Path,
    broker: &Broker,
    unit: Unit,
) -> Result<(f64, bool), Problem> {
    check_disk(&compare.data)?;
    let (least, most) = match broker.kind {
        Kind::Kafka => (compare.warm_up_seconds_min, compare.warm_up_seconds_max),
        Kind::Klamm => (
            NATIVE_WARM_UP,
            compare.warm_up_seconds_max.min(2.0 * NATIVE_WARM_UP),
        ),
    };
    let mut load = Load::start(compare, file, broker)?;
    let mut span: Option<(Totals, u64)> = None;
    let mut last_cost: Option<f64> = None;
    loop {
        let Line::Interval(totals) = load.line()? else {
            continue;
        };
        let cpu_ns = broker.cpu_ns()?;
        let seconds = totals.elapsed_ns as f64 / 1e9;
        let Some((from, from_cpu_ns)) = span else {
            span = Some((totals, cpu_ns));
            continue;
        };
        if totals.elapsed_ns - from.elapsed_ns < SPAN_NS {
            continue;
        }
        let done = Totals {
            requests: totals.requests - from.requests,
            bytes: totals.bytes - from.bytes,
            ..totals
        };
        let cost = unit.cost(cpu_ns - from_cpu_ns, &done);
        let stable = last_cost.is_some_and(|last| (cost / last - 1.0).abs() < STABLE_WITHIN);
        let long_enough = seconds >= least;
        if (stable && long_enough) || seconds >= most {
            load.stop()?;
            load.result()?;
            return Ok((seconds, stable));
        }
        last_cost = Some(cost);
        span = Some((totals, cpu_ns));
    }
}

struct Snapshot {
    totals: Totals,
    broker_cpu_ns: u64,
    idle_cpu_ns: u64,
    moment: Moment,
}

impl Snapshot {
    fn take(totals: Totals, broker: &Broker, idle: Option<&Broker>) -> Result<Self, Problem> {
        Ok(Self {
            totals,
            broker_cpu_ns: broker.cpu_ns()?,
            idle_cpu_ns: idle.map_or(Ok(0), Broker::cpu_ns)?,
            moment: Moment::now()?,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a window fit a double"
)]
fn window(
    compare: &Compare,
    file: &Path,
    broker: &Broker,
    idle: Option<&Broker>,
    unit: Unit,
    pair: usize,
) -> Result<Window, Problem> {
    check_disk(&compare.data)?;
    let mut load = Load::start(compare, file, broker)?;
    let mut begun: Option<Snapshot> = None;
    let mut ordered = false;
    let (begun, ended) = loop {
        match (load.line()?, begun.take()) {
            (Line::Interval(totals), None) => {
                let settled = totals.elapsed_ns as f64 / 1e9 >= compare.settle_seconds;
                if settled && !ordered {
                    load.measure()?;
                    ordered = true;
                }
            }
            (Line::Interval(totals), Some(from)) => {
                let span_ns = totals.elapsed_ns - from.totals.elapsed_ns;
                if span_ns as f64 / 1e9 >= compare.seconds {
                    load.stop()?;
                }
                begun = Some(from);
            }
            (Line::Measure(totals), _) => begun = Some(Snapshot::take(totals, broker, idle)?),
            (Line::Measured(totals), Some(from)) => {
                break (from, Snapshot::take(totals, broker, idle)?);
            }
            (Line::Measured(_) | Line::Result(_), _) => {
                return Err(Problem::at("klamm-bench", "ended out of turn"));
            }
        }
    };
    let result = load.result()?;
    let (from, to) = (begun.totals, ended.totals);
    let totals = Totals {
        requests: to.requests - from.requests,
        batches: to.batches - from.batches,
        records: to.records - from.records,
        bytes: to.bytes - from.bytes,
        elapsed_ns: to.elapsed_ns - from.elapsed_ns,
        client_cpu_ns: to.client_cpu_ns - from.client_cpu_ns,
    };
    let tick_ns = 1_000_000_000 / ticks_per_second();
    let (before, after) = (begun.moment.machine, ended.moment.machine);
    let broker_cpu_ns = ended.broker_cpu_ns - begun.broker_cpu_ns;
    let stolen = (after.steal - before.steal) as f64;
    Ok(Window {
        broker: broker.kind,
        pair,
        totals,
        broker_cpu_ns,
        idle_broker_cpu_ns: ended.idle_cpu_ns - begun.idle_cpu_ns,
        // A kernel thread that ended in the window takes its ticks with it.
        kernel_cpu_ns: ended.moment.kernel.saturating_sub(begun.moment.kernel) * tick_ns,
        busy_cpu_ns: (after.busy - before.busy) * tick_ns,
        steal: stolen / ((after.total - before.total).max(1) as f64),
        cost: unit.cost(broker_cpu_ns, &totals),
        resident_kib: broker.resident_kib(),
        result,
    })
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
        };
        let mut row = Row {
            file: String::new(),
            scenario,
            workload: serde_json::Value::Null,
            unit: Unit::Gibibyte,
            warm_up: Vec::new(),
            windows: windows.collect(),
            ratios: Vec::new(),
            ratio: None,
            counts: Vec::new(),
            refused: None,
        };
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
