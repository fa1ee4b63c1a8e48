//! A comparison: both brokers up, each scenario warmed up on both, then windows A B B A.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Problem,
    accounts::{Moment, ticks_per_second},
    arguments::Compare,
    brokers::{Broker, Kind, check_disk},
    counts::count,
    evidence::{self, Evidence},
    load::{Line, Load, Steered, Totals},
    quantiles::Quantiles,
    row::{Row, Scenario, Unit, Window, Windows},
};

/// A warm-up is over when the cost changes by less than this from one span to the next.
const STABLE_WITHIN: f64 = 0.03;

/// Length of such a span.
const SPAN_NS: u64 = 5_000_000_000;

/// Warm-up that is enough for a broker without a Java machine, in seconds.
const NATIVE_WARM_UP: f64 = 8.0;

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
    for name in &compare.scenarios {
        match scenario_file(name).and_then(|file| measure(compare, &file, &brokers)) {
            Ok(row) => {
                eprintln!("{}", evidence::line(&row));
                evidence.rows.push(row);
                evidence.write()?;
            }
            Err(problem) => {
                // The other rows are worth keeping.
                outcome = Err(Problem::at(name.display(), problem));
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

/// A file as it is named, or the scenario of this name beside the generator.
fn scenario_file(name: &Path) -> Result<PathBuf, Problem> {
    if name.is_file() {
        return Ok(name.to_owned());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/scenarios");
    let file = folder.join(format!("{}.toml", name.display()));
    let known = file.is_file();
    known.then_some(file).ok_or_else(|| {
        Problem::at(
            name.display(),
            "neither a file nor a name in bench/scenarios",
        )
    })
}

fn read_scenario(file: &Path) -> Result<(Scenario, bool), Problem> {
    let text = fs::read_to_string(file).map_err(|error| Problem::at(file.display(), error))?;
    let problem = |error: toml::de::Error| Problem::at(file.display(), error);
    let scenario: Scenario = toml::from_str(&text).map_err(problem)?;
    let table: toml::Table = toml::from_str(&text).map_err(problem)?;
    let workload = table.get("workload");
    let catches_up = workload.is_some_and(|workload| workload.get("catch-up").is_some());
    Ok((scenario, catches_up))
}

fn measure(compare: &Compare, file: &Path, brokers: &[Broker]) -> Result<Row, Problem> {
    let (scenario, catches_up) = read_scenario(file)?;
    let unit = Unit::of(&scenario, catches_up);
    let kind = scenario.judge.kind;
    let name = file.file_stem().map(PathBuf::from).unwrap_or_default();
    let mut row = Row::new(name.display().to_string(), scenario, unit);
    let at_first: Vec<u64> = brokers
        .iter()
        .map(|broker| broker.resident_kib().0)
        .collect();
    if matches!(kind, Windows::Load | Windows::Latency) {
        for broker in brokers {
            let (seconds, stable) = warm_up(compare, file, broker, unit)?;
            eprintln!(
                "{}: {:?} warm after {seconds:.0} s, stable: {stable}",
                row.file, broker.kind
            );
            row.warm_up.push((broker.kind, seconds, stable));
        }
    }
    for pair in 0..compare.pairs {
        let mut order: Vec<usize> = (0..brokers.len()).collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        for turn in order {
            let mut others = brokers.iter().enumerate();
            let idle = others
                .find(|(index, _)| *index != turn)
                .map(|(_, broker)| broker);
            let stage = Stage {
                compare,
                file,
                broker: &brokers[turn],
                idle,
                unit,
                pair,
                at_first_kib: at_first[turn],
            };
            row.windows.push(match kind {
                Windows::Once => stage.once()?,
                Windows::Load | Windows::Latency | Windows::Idle => stage.window()?,
            });
        }
    }
    if let Some(window) = row.windows.first() {
        row.workload = window.result.get("workload").cloned().unwrap_or_default();
    }
    row.judge();
    let counted = kind == Windows::Load && compare.count_seconds > 0;
    for broker in brokers.iter().filter(|_| counted) {
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
    let mut load = Load::start(compare, file, broker, Steered::Yes)?;
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

/// Where and for whom a window is made.
struct Stage<'c> {
    compare: &'c Compare,
    file: &'c Path,
    broker: &'c Broker,
    idle: Option<&'c Broker>,
    unit: Unit,
    pair: usize,
    /// The broker's memory before the row.
    at_first_kib: u64,
}

impl Stage<'_> {
    fn snapshot(&self, totals: Totals) -> Result<Snapshot, Problem> {
        Snapshot::take(totals, self.broker, self.idle)
    }

    /// A span of steady load.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a window fit a double"
    )]
    fn window(&self) -> Result<Window, Problem> {
        let compare = self.compare;
        check_disk(&compare.data)?;
        let mut load = Load::start(compare, self.file, self.broker, Steered::Yes)?;
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
                (Line::Measure(totals), _) => begun = Some(self.snapshot(totals)?),
                (Line::Measured(totals), Some(from)) => break (from, self.snapshot(totals)?),
                (Line::Measured(_) | Line::Result(_), _) => {
                    return Err(Problem::at("klamm-bench", "ended out of turn"));
                }
            }
        };
        let resident_kib = self.broker.resident_kib();
        let totals = ended.totals.since(&begun.totals);
        Ok(self.made(&begun, &ended, totals, resident_kib, load.result()?))
    }

    /// A whole run of the generator.
    fn once(&self) -> Result<Window, Problem> {
        check_disk(&self.compare.data)?;
        let begun = self.snapshot(Totals::default())?;
        let load = Load::start(self.compare, self.file, self.broker, Steered::No)?;
        let result = load.result()?;
        let ended = self.snapshot(Totals::default())?;
        let measured = result.get("measured").cloned().unwrap_or_default();
        let totals = serde_json::from_value(measured)
            .map_err(|error| Problem::at("result of klamm-bench", error))?;
        let resident_kib = self.broker.resident_kib();
        Ok(self.made(&begun, &ended, totals, resident_kib, result))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a window fit a double"
    )]
    fn made(
        &self,
        begun: &Snapshot,
        ended: &Snapshot,
        totals: Totals,
        resident_kib: (u64, u64),
        mut result: serde_json::Value,
    ) -> Window {
        let tick_ns = 1_000_000_000 / ticks_per_second();
        let (before, after) = (begun.moment.machine, ended.moment.machine);
        let broker_cpu_ns = ended.broker_cpu_ns - begun.broker_cpu_ns;
        // A kernel thread that ended in the window takes its ticks with it.
        let kernel_cpu_ns = ended.moment.kernel.saturating_sub(begun.moment.kernel) * tick_ns;
        let stolen = (after.steal - before.steal) as f64;
        let number = |path: &str| result.pointer(path).and_then(serde_json::Value::as_f64);
        let cost = match self.unit {
            // Writeback runs in kernel threads and belongs to the broker that caused it.
            Unit::Gibibyte | Unit::Request => {
                self.unit.cost(broker_cpu_ns + kernel_cpu_ns, &totals)
            }
            Unit::Connection => {
                let grown = resident_kib.0.saturating_sub(self.at_first_kib) as f64;
                grown / number("/workload/connections").unwrap_or(1.0)
            }
            Unit::Second => number("/catch_up/seconds").unwrap_or(f64::NAN),
        };
        let latencies = Quantiles::take_from(&mut result);
        Window {
            broker: self.broker.kind,
            pair: self.pair,
            totals,
            broker_cpu_ns,
            idle_broker_cpu_ns: ended.idle_cpu_ns - begun.idle_cpu_ns,
            kernel_cpu_ns,
            busy_cpu_ns: (after.busy - before.busy) * tick_ns,
            steal: stolen / ((after.total - before.total).max(1) as f64),
            cost,
            resident_kib,
            latencies,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_generator_can_be_judged() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/scenarios");
        for entry in fs::read_dir(folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            let (scenario, catches_up) = read_scenario(&path).expect("a scenario");
            let unit = Unit::of(&scenario, catches_up);
            let once = scenario.judge.kind == Windows::Once;
            assert!(unit != Unit::Second || once, "{}", path.display());
        }
    }

    #[test]
    fn scenarios_are_found_by_their_names() {
        assert!(scenario_file(Path::new("w1-small-batched")).is_ok());
        assert!(scenario_file(Path::new("w99")).is_err());
    }
}
