//! A comparison: both brokers up, each scenario warmed up on both, then windows A B B A.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Problem,
    accounts::{Moment, ticks_per_second},
    arguments::Compare,
    brokers::{Broker, Kind, check_disk, check_maps},
    counts::count,
    evidence::{self, Evidence},
    load::{Line, Load, Steered, Totals},
    plan,
    quantiles::Quantiles,
    quantity::Quantity,
    row::{Row, Scenario, Window, Windows},
    tuning::{Choice, Trial, Tuning},
};

/// Runs of groups that nobody looks at: a Java machine compiles its code meanwhile.
pub(crate) const GROUPS_WARM_UP: usize = 3;

/// A warm-up is over when the cost changes by less than this from one span to the next.
const STABLE_WITHIN: f64 = 0.03;

/// Length of such a span.
const SPAN_NS: u64 = 5_000_000_000;

/// Warm-up that is enough for a broker without a Java machine, in seconds.
pub(crate) const NATIVE_WARM_UP: f64 = 8.0;

/// How long such a broker may take until its cost is stable, in seconds: what varies by then is the
/// disk, of which a few more spans see the end.
const NATIVE_WARM_UP_MAX: f64 = 60.0;

/// Runs the whole comparison.
///
/// # Errors
/// See [`Problem`]. What was measured before is kept, and so is why a row broke off.
pub fn run(compare: &Compare) -> Result<(), Problem> {
    let mut jobs = Vec::new();
    for name in &compare.scenarios {
        let file = scenario_file(name)?;
        let (scenario, workload) = read_scenario(&file)?;
        jobs.push((file, scenario, workload));
    }
    let planned = jobs.iter().map(|(file, scenario, workload)| {
        let name = stem(file);
        (name, plan::seconds(compare, scenario, workload))
    });
    eprint!("{}", plan::words(&planned.collect::<Vec<_>>()));
    if compare.plan {
        return Ok(());
    }
    let mut stand = Stand::new(compare);
    let mut evidence = Evidence::gather(compare)?;
    let mut broken = Vec::new();
    for (file, scenario, _) in jobs {
        let mut row = Row::new(stem(&file), scenario, compare.class);
        let outcome = stand.measure(compare, &file, &mut row);
        row.judge();
        if let Err(problem) = outcome {
            // The other rows are worth keeping.
            row.break_off(&evidence::shown(&problem.to_string()));
            broken.push(format!("{}: {problem}", row.file));
            stand.brokers.clear();
        }
        evidence.note_settings(&stand.brokers);
        eprintln!("{}", evidence::line(&row));
        evidence.rows.push(row);
        evidence.write()?;
    }
    drop(stand);
    // Left over data cost disk, not truth.
    let _ = fs::remove_dir_all(&compare.data);
    println!("{}", evidence.markdown());
    println!("evidence in {}", evidence.folder.display());
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Problem(broken.join("\n")))
    }
}

/// Partitions of a scenario that are there at once.
#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of a scenario fit a double"
)]
fn partitions(file: &Path) -> Result<f64, Problem> {
    let (_, workload) = read_scenario(file)?;
    let number = |name: &str| {
        let value = workload.get(name).and_then(toml::Value::as_integer);
        value.unwrap_or(1) as f64
    };
    // Those that are created are deleted again after each run.
    let created = number("requests-max") * number("topics-per-request");
    Ok(number("partitions") * number("topics").max(created))
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The brokers that are up.
struct Stand {
    brokers: Vec<Broker>,
    choice: Choice,
}

impl Stand {
    fn new(compare: &Compare) -> Self {
        Self {
            brokers: Vec::new(),
            choice: Choice::default_with(&compare.kafka_jvm),
        }
    }

    /// Has all brokers up with Kafka's settings of `choice`; with empty folders where `fresh`.
    fn prepare(&mut self, compare: &Compare, choice: Choice, fresh: bool) -> Result<(), Problem> {
        if !self.brokers.is_empty() && !fresh && choice == self.choice {
            return Ok(());
        }
        // One after the other: the old must be gone before the new takes its address.
        self.brokers.clear();
        self.choice = choice;
        let others = match (compare.klamm_only, compare.shards) {
            (true, _) => None,
            (false, true) => Some(Kind::OneShard),
            (false, false) => Some(Kind::Kafka),
        };
        for kind in [Some(Kind::Klamm), others].into_iter().flatten() {
            self.brokers
                .push(Broker::start(kind, compare, &self.choice)?);
        }
        Ok(())
    }

    fn measure(&mut self, compare: &Compare, file: &Path, row: &mut Row) -> Result<(), Problem> {
        let fresh = row.scenario.judge.fresh;
        if !compare.klamm_only && !compare.shards {
            check_maps(partitions(file)?)?;
        }
        let mut choice = Choice::default_with(&compare.kafka_jvm);
        if compare.tune_kafka && !compare.klamm_only {
            self.brokers.clear();
            let tuning = tune(compare, file, row)?;
            eprintln!("{}: {}", row.file, tuning.words());
            choice = tuning.best.clone();
            row.tuning = Some(tuning);
        }
        self.prepare(compare, choice, fresh)?;
        measure(compare, file, &self.brokers, row)?;
        if fresh {
            self.brokers.clear();
        }
        Ok(())
    }
}

/// Tries Kafka's thread counts, then its collectors, under the scenario's load.
fn tune(compare: &Compare, file: &Path, row: &Row) -> Result<Tuning, Problem> {
    let quantity = row.unit;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let first = Choice::default_with(&compare.kafka_jvm);
    let mut trials: Vec<Trial> = Vec::new();
    let mut attempt = |choices: Vec<Choice>| {
        for choice in choices {
            let figure = trial(compare, file, row, &choice);
            if let Err(problem) = &figure {
                eprintln!("{}: {}: {problem}", row.file, choice.words());
            }
            let figure = figure.ok().filter(|figure| figure.is_finite());
            trials.push(Trial { choice, figure });
        }
        Tuning::of(quantity, trials.clone(), &first)
    };
    let threads = attempt(first.thread_counts(cores));
    Ok(attempt(threads.best.other_collectors()))
}

/// Kafka's figure with the settings of `choice`, after a short warm-up.
fn trial(compare: &Compare, file: &Path, row: &Row, choice: &Choice) -> Result<f64, Problem> {
    let broker = Broker::start(Kind::Kafka, compare, choice)?;
    let stage = Stage {
        settle_seconds: compare.tune_seconds,
        ..Stage::of(compare, file, row, &broker)?
    };
    let window = match row.scenario.judge.kind {
        Windows::Once => stage.once()?,
        Windows::Load | Windows::Latency | Windows::Idle => stage.window()?,
    };
    Ok(row.unit.of(&window))
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

/// The judge's part of a scenario and the generator's.
pub(crate) fn read_scenario(file: &Path) -> Result<(Scenario, toml::Table), Problem> {
    let text = fs::read_to_string(file).map_err(|error| Problem::at(file.display(), error))?;
    let problem = |error: toml::de::Error| Problem::at(file.display(), error);
    let scenario: Scenario = toml::from_str(&text).map_err(problem)?;
    let table: toml::Table = toml::from_str(&text).map_err(problem)?;
    let workload = table.get("workload").and_then(toml::Value::as_table);
    Ok((scenario, workload.cloned().unwrap_or_default()))
}

fn measure(
    compare: &Compare,
    file: &Path,
    brokers: &[Broker],
    row: &mut Row,
) -> Result<(), Problem> {
    let kind = row.scenario.judge.kind;
    let mut stages = Vec::new();
    for (index, broker) in brokers.iter().enumerate() {
        let mut others = brokers.iter().enumerate();
        let idle = others.find(|(other, _)| *other != index);
        stages.push(Stage {
            idle: idle.map(|(_, broker)| broker),
            ..Stage::of(compare, file, row, broker)?
        });
    }
    for stage in &stages {
        let broker = stage.broker;
        match kind {
            Windows::Load | Windows::Latency => {
                let cost = Quantity::of_mode(&row.scenario.mode);
                let (seconds, stable) = warm_up(compare, file, broker, cost)?;
                eprintln!(
                    "{}: {:?} warm after {seconds:.0} s, stable: {stable}",
                    row.file, broker.kind
                );
                row.warm_up.push((broker.kind, seconds, stable));
            }
            // Filling a log warms a broker up; topics and groups do so only by being made.
            Windows::Once if row.scenario.mode == "create-topics" => drop(stage.once()?),
            Windows::Once if row.scenario.mode == "groups" => {
                for _ in 0..GROUPS_WARM_UP {
                    stage.once()?;
                }
            }
            Windows::Once | Windows::Idle => {}
        }
    }
    for pair in 0..compare.pairs {
        let mut order: Vec<&Stage<'_>> = stages.iter().collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        for stage in order {
            let window = match kind {
                Windows::Once => stage.once()?,
                Windows::Load | Windows::Latency | Windows::Idle => stage.window()?,
            };
            row.windows.push(Window { pair, ..window });
        }
    }
    if let Some(window) = row.windows.first() {
        row.workload = window.result.get("workload").cloned().unwrap_or_default();
    }
    let counted = kind == Windows::Load && compare.count_seconds > 0;
    for broker in brokers.iter().filter(|_| counted) {
        row.counts
            .extend(count(compare, file, broker, compare.count_seconds)?);
    }
    Ok(())
}

/// Loads a broker until its cost is stable; gives the seconds and whether it became so.
#[expect(clippy::cast_precision_loss, reason = "seconds of a run fit a double")]
fn warm_up(
    compare: &Compare,
    file: &Path,
    broker: &Broker,
    cost: Quantity,
) -> Result<(f64, bool), Problem> {
    check_disk(&compare.data)?;
    let (least, most) = match broker.kind {
        Kind::Kafka => (compare.warm_up_seconds_min, compare.warm_up_seconds_max),
        Kind::Klamm | Kind::OneShard => (
            NATIVE_WARM_UP,
            compare.warm_up_seconds_max.min(NATIVE_WARM_UP_MAX),
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
        let cost = cost.cost(cpu_ns - from_cpu_ns, &done);
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
    settle_seconds: f64,
    kind: Windows,
    /// The broker's memory before the row, in KiB; `None` where nobody asks.
    at_first_kib: Option<u64>,
}

impl<'c> Stage<'c> {
    fn of(
        compare: &'c Compare,
        file: &'c Path,
        row: &Row,
        broker: &'c Broker,
    ) -> Result<Self, Problem> {
        let goals = row.scenario.goals(compare.class);
        let asked = goals.iter().any(|goal| goal.quantity.is_memory());
        Ok(Self {
            compare,
            file,
            broker,
            idle: None,
            settle_seconds: compare.settle_seconds,
            kind: row.scenario.judge.kind,
            at_first_kib: asked.then(|| broker.own_kib()).transpose()?,
        })
    }

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
        let mut memory = (0, (0, 0));
        let (begun, ended) = loop {
            match (load.line()?, begun.take()) {
                (Line::Interval(totals), None) => {
                    let settled = totals.elapsed_ns as f64 / 1e9 >= self.settle_seconds;
                    if settled && !ordered {
                        load.measure()?;
                        ordered = true;
                    }
                }
                (Line::Interval(totals), Some(from)) => {
                    let span_ns = totals.elapsed_ns - from.totals.elapsed_ns;
                    let over = span_ns as f64 / 1e9 >= compare.seconds;
                    if over && self.kind == Windows::Idle {
                        // Before the connections end, and apart from the processor time.
                        let ended = self.snapshot(totals)?;
                        memory = self.memory()?;
                        load.stop()?;
                        break (from, ended);
                    }
                    if over {
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
        if self.kind != Windows::Idle {
            memory = self.memory()?;
        }
        let (gained_kib, resident_kib) = memory;
        let window = self.made(&begun, &ended, load.result()?);
        Ok(Window {
            gained_kib,
            resident_kib,
            ..window
        })
    }

    /// A whole run of the generator; the window is its measured part.
    fn once(&self) -> Result<Window, Problem> {
        check_disk(&self.compare.data)?;
        let mut load = Load::start(self.compare, self.file, self.broker, Steered::No)?;
        let (mut begun, mut ended) = (None, None);
        let result = loop {
            match load.line()? {
                Line::Interval(_) => {}
                Line::Measure(totals) => begun = Some(self.snapshot(totals)?),
                Line::Measured(totals) => ended = Some(self.snapshot(totals)?),
                Line::Result(value) => break value,
            }
        };
        let (Some(begun), Some(ended)) = (begun, ended) else {
            return Err(Problem::at("klamm-bench", "measured nothing"));
        };
        Ok(self.made(&begun, &ended, result))
    }

    /// What the broker has gained since the row began, in KiB, and what it has, now and at most.
    fn memory(&self) -> Result<(u64, (u64, u64)), Problem> {
        let resident_kib = self.broker.resident_kib();
        let Some(at_first) = self.at_first_kib else {
            return Ok((0, resident_kib));
        };
        Ok((
            self.broker.own_kib()?.saturating_sub(at_first),
            resident_kib,
        ))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a window fit a double"
    )]
    fn made(&self, begun: &Snapshot, ended: &Snapshot, mut result: serde_json::Value) -> Window {
        let tick_ns = 1_000_000_000 / ticks_per_second();
        let (before, after) = (begun.moment.machine, ended.moment.machine);
        let stolen = (after.steal - before.steal) as f64;
        let latencies = Quantiles::take_from(&mut result);
        Window {
            totals: ended.totals.since(&begun.totals),
            broker_cpu_ns: ended.broker_cpu_ns - begun.broker_cpu_ns,
            idle_broker_cpu_ns: ended.idle_cpu_ns - begun.idle_cpu_ns,
            // A kernel thread that ended in the window takes its ticks with it.
            kernel_cpu_ns: ended.moment.kernel.saturating_sub(begun.moment.kernel) * tick_ns,
            busy_cpu_ns: (after.busy - before.busy) * tick_ns,
            steal: stolen / ((after.total - before.total).max(1) as f64),
            resident_kib: self.broker.resident_kib(),
            latencies,
            result,
            ..Window::empty(self.broker.kind, 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Class;

    #[test]
    fn every_scenario_of_the_generator_can_be_judged() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/scenarios");
        for entry in fs::read_dir(folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            let (scenario, workload) = read_scenario(&path).expect("a scenario");
            let name = path.display();
            let catches_up = workload.contains_key("catch-up");
            for class in [Class::Written, Class::Flushed] {
                for goal in scenario.goals(class) {
                    let fits = catches_up || !goal.quantity.needs_catch_up();
                    assert!(fits, "{name}: {:?}", goal.quantity);
                }
            }
            let whole = scenario.judge.kind == Windows::Once;
            assert_eq!(
                catches_up || matches!(&*scenario.mode, "create-topics" | "groups"),
                whole,
                "{name}"
            );
            assert!(!scenario.judge.deletes || catches_up, "{name}");
        }
    }

    #[test]
    fn scorecard_rows_have_goals() {
        let mut goals = 0;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/scenarios");
        for entry in fs::read_dir(folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            let (scenario, _) = read_scenario(&path).expect("a scenario");
            let of_row = scenario.judge.goals.iter();
            goals += of_row.filter(|goal| goal.ratio.is_some()).count();
        }
        assert!(goals > 40, "{goals}");
    }

    #[test]
    fn partitions_of_topics_and_of_creations_are_counted() {
        let of = |name: &str| {
            let file = scenario_file(Path::new(name)).expect("a scenario");
            partitions(&file).expect("numbers")
        };
        assert_eq!(of("w7-partitions-10k"), 10_000.0);
        assert_eq!(of("w14-create-many"), 10_000.0);
        assert_eq!(of("w14-metadata-one"), 100_000.0);
    }

    #[test]
    fn scenarios_are_found_by_their_names() {
        assert!(scenario_file(Path::new("w1-small-batched")).is_ok());
        assert!(scenario_file(Path::new("w99")).is_err());
    }
}
