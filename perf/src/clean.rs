//! How much processor time it takes a broker to compact a log: the same keyed records go to klamm and
//! to Apache Kafka as a log that is only kept, then its topic is told to be compacted, and until the
//! broker says in `cleaner-offset-checkpoint` that all but the newest segment is clean, its threads'
//! time is counted.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    Problem,
    accounts::{Moment, ticks_per_second},
    arguments::Clean,
    brokers::{Broker, Kind},
    evidence::{Machine, shown},
    statistics::median,
    tuning::Choice,
};

/// Names of the threads that compact, as far as the kernel keeps them.
const KAFKA_THREAD: &str = "kafka-log-clean";
const KLAMM_THREADS: &str = "-flush";

/// Values of a record, as performance goal W13 has them.
const RECORD_BYTES: u64 = 200;
const KEY_BYTES: u64 = 16;

/// Kafka's default of `batch.size`.
const BATCH_BYTES: u64 = 16 << 10;

/// Different batches, which come again and again: of a log of two GiB about three quarters are
/// records whose keys come later again.
const VARIANTS: u64 = 28_000;

const SEGMENT_BYTES: u64 = 128 << 20;

/// A broker that takes less than this share of a second of processor time is done with what it was
/// given.
const QUIET_SHARE: f64 = 0.02;

/// Longest wait for a broker to become quiet, or to have compacted.
const WAIT: Duration = Duration::from_secs(300);

const LOOK_DISTANCE: Duration = Duration::from_millis(100);

/// One log that one broker compacted.
#[derive(Clone, Debug, Serialize)]
struct Cleaning {
    kind: Kind,
    /// Not counted: the Java machine compiles meanwhile.
    is_warm_up: bool,
    /// Of the segments that were to be compacted.
    bytes: u64,
    /// Of the log afterwards.
    bytes_left: u64,
    /// Of the threads that compact, in seconds.
    threads: f64,
    /// Of the whole process.
    process: f64,
    /// Of kernel threads in the meantime.
    kernel: f64,
    /// From the order to the end, waits included.
    elapsed: f64,
}

impl Cleaning {
    #[expect(clippy::cast_precision_loss, reason = "sizes of logs fit a double")]
    fn mib_per(&self, seconds: f64) -> f64 {
        self.bytes as f64 / f64::from(1 << 20) / seconds
    }
}

/// What is kept of a measurement.
#[derive(Debug, Serialize)]
struct Kept {
    command: Vec<String>,
    note: String,
    machine: Machine,
    cleanings: Vec<Cleaning>,
}

/// Measures and prints; keeps it where that is asked for.
///
/// # Errors
/// A broker does not start, does not compact in time, or something is missing.
pub fn run(clean: &Clean) -> Result<(), Problem> {
    let compare = clean.comparison()?;
    let choice = Choice::default_with(&compare.kafka_jvm);
    let kinds: &[Kind] = match clean.klamm_only {
        true => &[Kind::Klamm],
        false => &[Kind::Kafka, Kind::Klamm],
    };
    let machine = Machine::gather(&clean.machine);
    let started = kinds
        .iter()
        .map(|&kind| Broker::start(kind, &compare, &choice));
    let brokers: Vec<Broker> = started.collect::<Result<_, _>>()?;
    let mut cleanings = Vec::new();
    for round in 0..=clean.rounds {
        for broker in &brokers {
            let found = one(clean, broker, round)?;
            println!("{}", line(&found));
            cleanings.push(found);
        }
    }
    let kept = Kept {
        command: std::env::args().map(|word| shown(&word)).collect(),
        note: shown(&clean.note),
        machine,
        cleanings,
    };
    let table = table(&kept);
    println!("\n{table}");
    if let Some(folder) = &clean.evidence {
        fs::create_dir_all(folder).map_err(|error| Problem::at(folder.display(), error))?;
        let raw = serde_json::to_string(&kept).expect("plain data becomes JSON");
        for (name, text) in [("cleanings.json", raw), ("README.md", table)] {
            let path = folder.join(name);
            fs::write(&path, text + "\n").map_err(|error| Problem::at(path.display(), error))?;
        }
    }
    drop(brokers);
    // What the brokers wrote; the next start would remove it as well.
    let _ = fs::remove_dir_all(&compare.data);
    Ok(())
}

/// Processor time at one moment, in seconds.
#[derive(Clone, Copy, Debug)]
struct Spent {
    threads: f64,
    process: f64,
    kernel: f64,
}

impl Spent {
    #[expect(clippy::cast_precision_loss, reason = "times of a life fit a double")]
    fn by(broker: &Broker) -> Result<Self, Problem> {
        Ok(Self {
            threads: thread_seconds(broker)?,
            process: broker.cpu_ns()? as f64 / 1e9,
            kernel: Moment::now()?.kernel as f64 / ticks_per_second() as f64,
        })
    }
}

/// Fills a topic and has it compacted.
fn one(clean: &Clean, broker: &Broker, round: usize) -> Result<Cleaning, Problem> {
    let topic = format!("clean-{round}");
    let is_warm_up = round == 0;
    fill(clean, broker, &topic)?;
    let folder = data_folder(clean, broker.kind).join(format!("{topic}-0"));
    await_quiet(broker)?;
    let mut all = segments(&folder)?;
    let (newest, _) = all
        .pop()
        .ok_or_else(|| Problem::at(folder.display(), "there is no segment"))?;
    let bytes = all.iter().map(|(_, bytes)| bytes).sum();
    let before = Spent::by(broker)?;
    let began = Instant::now();
    let words = ["config", "set", "--topic", &topic, "cleanup.policy=compact"];
    order(clean, &words, broker)?;
    await_clean(&data_folder(clean, broker.kind), &topic, newest, began)?;
    let elapsed = began.elapsed().as_secs_f64();
    let after = Spent::by(broker)?;
    let left = segments(&folder)?;
    let left = left.iter().filter(|(base, _)| *base < newest);
    let found = Cleaning {
        kind: broker.kind,
        is_warm_up,
        bytes,
        bytes_left: left.map(|(_, bytes)| bytes).sum(),
        threads: after.threads - before.threads,
        process: after.process - before.process,
        kernel: after.kernel - before.kernel,
        elapsed,
    };
    order(clean, &["topic", "delete", &topic], broker)?;
    Ok(found)
}

/// Produces the records into a topic that only keeps them.
fn fill(clean: &Clean, broker: &Broker, topic: &str) -> Result<(), Problem> {
    let requests = clean.mib.saturating_mul(1 << 20) / BATCH_BYTES;
    let status = Command::new("taskset")
        .args(["-c", &clean.client_core.to_string()])
        .arg(&clean.bench)
        .args(["produce", "--bootstrap", &broker.address.to_string()])
        .args(["--topic", topic, "--partitions", "1"])
        .args(["--topic-config", "cleanup.policy=delete"])
        .args(["--topic-config", "retention.ms=-1"])
        .args(["--topic-config", "retention.bytes=-1"])
        .args(["--topic-config", "min.cleanable.dirty.ratio=0.01"])
        .args(["--topic-config", &format!("segment.bytes={SEGMENT_BYTES}")])
        .args(["--connections", "1", "--depth", "4"])
        .args(["--record-bytes", &RECORD_BYTES.to_string()])
        .args(["--key-bytes", &KEY_BYTES.to_string()])
        .args(["--keys", &clean.keys.to_string()])
        .args(["--variants", &VARIANTS.to_string()])
        .args(["--batch-bytes", &BATCH_BYTES.to_string()])
        .args(["--codec", &clean.codec])
        .args(["--requests-max", &requests.to_string()])
        .args(["--warm-up-seconds", "0", "--seconds", "3600"])
        .args(["--proof-bytes", "1048576"])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| Problem::at("taskset", error))?;
    match status.success() {
        true => Ok(()),
        false => Err(Problem::at("klamm-bench", "it failed; its words are above")),
    }
}

/// Runs a command of klamm, which speaks to both brokers.
fn order(clean: &Clean, words: &[&str], broker: &Broker) -> Result<(), Problem> {
    let output = Command::new(&clean.klamm)
        .args(words)
        .args(["--bootstrap", &broker.address.to_string()])
        .output()
        .map_err(|error| Problem::at(clean.klamm.display(), error))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Problem::at(words.join(" "), said))
        }
    }
}

/// Where a broker has its data; see [`Broker::start`].
fn data_folder(clean: &Clean, kind: Kind) -> PathBuf {
    let name = match kind {
        Kind::Kafka => "kafka",
        Kind::Klamm | Kind::OneShard => "klamm",
    };
    clean.data.join(name).join("data")
}

/// Base offsets and lengths of the segments in a partition's folder, in their order.
fn segments(folder: &Path) -> Result<Vec<(i64, u64)>, Problem> {
    let entries = fs::read_dir(folder).map_err(|error| Problem::at(folder.display(), error))?;
    let mut all = Vec::new();
    for entry in entries.map_while(Result::ok) {
        let name = entry.file_name();
        let base = name.to_str().and_then(|name| name.strip_suffix(".log"));
        let base = base.and_then(|base| base.parse().ok());
        if let (Some(base), Ok(facts)) = (base, entry.metadata()) {
            all.push((base, facts.len()));
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// The offset that `cleaner-offset-checkpoint` gives for partition 0 of a topic.
fn cleaned_to(text: &str, topic: &str) -> Option<i64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(topic)?.strip_prefix(" 0 ")?;
        rest.trim().parse().ok()
    })
}

/// Waits until the broker says that everything before `end` is clean.
fn await_clean(data: &Path, topic: &str, end: i64, began: Instant) -> Result<(), Problem> {
    let path = data.join("cleaner-offset-checkpoint");
    loop {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if cleaned_to(&text, topic).is_some_and(|offset| offset >= end) {
            return Ok(());
        }
        if began.elapsed() > WAIT {
            let why = format!("{topic} is not clean up to {end} after {WAIT:?}");
            return Err(Problem::at(path.display(), why));
        }
        std::thread::sleep(LOOK_DISTANCE);
    }
}

/// Waits until the broker is done with what it was given.
fn await_quiet(broker: &Broker) -> Result<(), Problem> {
    let deadline = Instant::now() + WAIT;
    loop {
        let before = broker.cpu_ns()?;
        std::thread::sleep(Duration::from_secs(1));
        let share = (broker.cpu_ns()? - before) as f64 / 1e9;
        if share < QUIET_SHARE {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Problem::at(
                broker.address,
                "the broker does not come to rest",
            ));
        }
    }
}

/// Processor time of the threads of a broker that compact.
fn thread_seconds(broker: &Broker) -> Result<f64, Problem> {
    let tasks = PathBuf::from(format!("/proc/{}/task", broker.process()));
    let entries = fs::read_dir(&tasks).map_err(|error| Problem::at(tasks.display(), error))?;
    let mut nanos = 0;
    for entry in entries.map_while(Result::ok) {
        let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let name = read("comm");
        let name = name.trim();
        let compacts = match broker.kind {
            Kind::Kafka => name == KAFKA_THREAD,
            Kind::Klamm | Kind::OneShard => name.ends_with(KLAMM_THREADS),
        };
        if compacts {
            let spent = read("schedstat");
            let spent = spent
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            nanos += spent.unwrap_or(0);
        }
    }
    Ok(nanos as f64 / 1e9)
}

fn line(one: &Cleaning) -> String {
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "{:?}{}: {} MiB to {} MiB; MiB a second of its threads {:.0}, of the process {:.0}, with \
         kernel threads {:.0}; {:.1} s",
        one.kind,
        if one.is_warm_up { " (warm-up)" } else { "" },
        mib(one.bytes),
        mib(one.bytes_left),
        one.mib_per(one.threads),
        one.mib_per(one.process),
        one.mib_per(one.process + one.kernel),
        one.elapsed,
    )
}

/// The medians for people.
fn table(kept: &Kept) -> String {
    let counted = |kind: Kind| {
        let all = kept.cleanings.iter();
        all.filter(move |one| one.kind == kind && !one.is_warm_up)
    };
    let mut text = String::from("# Compaction beside Apache Kafka's\n\n");
    let machine = &kept.machine;
    let _ = writeln!(text, "{}\n", machine.words());
    if !kept.note.is_empty() {
        let _ = writeln!(text, "{}\n", kept.note);
    }
    text.push_str(
        "MiB of complete segments brought to the latest record of each key, for a second of \
         processor time; medians. *Threads*: those that compact. *Process*: all of the broker \
         meanwhile. *With kernel*: kernel threads, too, which write back what was left to them.\n\n\
         | | Threads | Process | With kernel |\n|---|---|---|---|\n",
    );
    let costs: [fn(&Cleaning) -> f64; 3] = [
        |one| one.threads,
        |one| one.process,
        |one| one.process + one.kernel,
    ];
    let rates = |kind: Kind| {
        costs.map(|cost| {
            let all: Vec<f64> = counted(kind).map(|one| one.mib_per(cost(one))).collect();
            (!all.is_empty()).then(|| median(&all))
        })
    };
    let (kafka, klamm) = (rates(Kind::Kafka), rates(Kind::Klamm));
    for (name, rates) in [("Kafka", kafka), ("klamm", klamm)] {
        let cells =
            rates.map(|rate| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}")));
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    let ratios: Vec<String> = std::iter::zip(kafka, klamm)
        .map(|(kafka, klamm)| match (kafka, klamm) {
            (Some(kafka), Some(klamm)) => format!("{:.1} times", klamm / kafka),
            _ => "-".to_owned(),
        })
        .collect();
    let _ = writeln!(text, "| Ratio | {} |\n", ratios.join(" | "));
    for one in &kept.cleanings {
        let _ = writeln!(text, "- {}", line(one));
    }
    let _ = write!(text, "\nCommand: `{}`", kept.command.join(" "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_says_of_its_clean_logs_is_understood() {
        let text = "0\n3\nclean-10 0 7\nclean-1 1 9\nclean-1 0 42\n";
        assert_eq!(cleaned_to(text, "clean-1"), Some(42));
        assert_eq!(cleaned_to(text, "clean-10"), Some(7));
        assert_eq!(cleaned_to(text, "clean-2"), None);
    }

    #[test]
    fn segments_are_those_with_a_number() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in [
            ("00000000000000000100.log", 5),
            ("00000000000000000000.log", 7),
            ("00000000000000000000.log.cleaned", 9),
            ("00000000000000000000.index", 11),
        ] {
            fs::write(folder.path().join(name), vec![0; bytes]).expect("written");
        }
        let found = segments(folder.path()).expect("a folder");
        assert_eq!(found, [(0, 7), (100, 5)]);
    }

    #[test]
    fn ratio_is_of_medians_without_the_warm_up() {
        let one = |kind, is_warm_up, threads| Cleaning {
            kind,
            is_warm_up,
            bytes: 1200 << 20,
            bytes_left: 600 << 20,
            threads,
            process: threads,
            kernel: 0.0,
            elapsed: threads,
        };
        let kept = Kept {
            command: Vec::new(),
            note: String::new(),
            machine: Machine::gather("here"),
            cleanings: vec![
                one(Kind::Kafka, true, 100.0),
                one(Kind::Klamm, true, 100.0),
                one(Kind::Kafka, false, 12.0),
                one(Kind::Klamm, false, 2.0),
            ],
        };
        let text = table(&kept);
        assert!(text.contains("| klamm | 600 | 600 | 600 |"), "{text}");
        assert!(text.contains("| Ratio | 6.0 times |"), "{text}");
    }
}
