//! What is kept of a comparison: perf/runs/DATE-MACHINE-COMMIT/ with the machine, the commit, the
//! command, the settings, every window as it was, and a table for people.

use std::{fmt::Write as _, fs, path::PathBuf, process::Command};

use serde::Serialize;

use crate::{
    Problem,
    arguments::Compare,
    brokers::{Broker, Kind},
    counts::Counted,
    row::{Row, Verdict, Window},
    statistics::Estimate,
};

/// Facts about the machine that a reader needs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    name: String,
    kernel: String,
    processor: String,
    processors: usize,
    memory_kib: String,
    hypervisor: bool,
    load_average: String,
}

/// A comparison as it is kept.
#[derive(Debug, Serialize)]
pub struct Evidence {
    /// Where it is kept.
    #[serde(skip)]
    pub folder: PathBuf,
    date: String,
    commit: String,
    /// Files that differ from the commit; measured code may not be the commit's.
    dirty: bool,
    command: Vec<String>,
    note: String,
    durability: String,
    machine: Machine,
    settings: Vec<(Kind, Vec<String>)>,
    /// The scenarios measured so far.
    pub rows: Vec<Row>,
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    text.unwrap_or_default().trim().to_owned()
}

/// The text with absolute paths cut to their last part: where things lie on one machine is nobody
/// else's business.
#[must_use]
pub fn shown(text: &str) -> String {
    let begins = |before: Option<char>| before.is_none_or(|c| " \t\n=[(\"',;".contains(c));
    let ends = |c: char| c.is_whitespace() || "])\"',;".contains(c);
    let mut found = String::new();
    let mut rest = text;
    let mut before = None;
    while let Some(first) = rest.chars().next() {
        let path = &rest[..rest.find(ends).unwrap_or(rest.len())];
        // A lone slash divides two figures.
        if first == '/' && begins(before) && path.len() > 1 {
            let last = path.trim_end_matches('/').rsplit('/').next();
            found.push('…');
            found.push('/');
            found.push_str(last.unwrap_or_default());
            before = path.chars().last();
            rest = &rest[path.len()..];
        } else {
            found.push(first);
            before = Some(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Machine {
    /// Looks around.
    #[must_use]
    pub fn gather(name: &str) -> Self {
        let facts = read("/proc/cpuinfo");
        let model = facts.lines().find(|line| line.starts_with("model name"));
        let value = |line: &str| {
            line.split_once(':')
                .map(|(_, value)| value.trim().to_owned())
        };
        let memory = read("/proc/meminfo").lines().next().and_then(value);
        Self {
            name: name.to_owned(),
            kernel: said("uname", &["-sr"]),
            processor: model.and_then(value).unwrap_or_default(),
            processors: facts
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            memory_kib: memory.unwrap_or_default(),
            hypervisor: facts.contains(" hypervisor"),
            load_average: read("/proc/loadavg").trim().to_owned(),
        }
    }
}

impl Machine {
    /// The machine in a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "Machine `{}`: {} x {}, {}, {}{}; load average at the start {}.",
            self.name,
            self.processors,
            self.processor,
            self.memory_kib,
            self.kernel,
            if self.hypervisor { ", virtual" } else { "" },
            self.load_average,
        )
    }
}

impl Evidence {
    /// Looks around, and makes the folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn gather(compare: &Compare) -> Result<Self, Problem> {
        let date = said("date", &["-u", "+%Y-%m-%d"]);
        let commit = said("git", &["rev-parse", "--short=10", "HEAD"]);
        let base = format!("{date}-{}-{commit}", compare.machine);
        let mut folder = compare.evidence.join(&base);
        let mut again = 1;
        while folder.exists() {
            again += 1;
            folder = compare.evidence.join(format!("{base}-{again}"));
        }
        fs::create_dir_all(&folder).map_err(|error| Problem::at(folder.display(), error))?;
        Ok(Self {
            folder,
            date,
            commit,
            dirty: !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty(),
            command: std::env::args().map(|word| shown(&word)).collect(),
            note: shown(&compare.note),
            durability: compare.class.words().to_owned(),
            machine: Machine::gather(&compare.machine),
            settings: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Keeps the settings of brokers, each once.
    pub fn note_settings(&mut self, brokers: &[Broker]) {
        for broker in brokers {
            let lines = broker.settings.iter().map(|line| shown(line)).collect();
            let settings = (broker.kind, lines);
            if !self.settings.contains(&settings) {
                self.settings.push(settings);
            }
        }
    }

    /// Writes raw data and table.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write(&self) -> Result<(), Problem> {
        let raw = serde_json::to_string(self).expect("plain data becomes JSON");
        for (name, text) in [("raw.json", raw), ("README.md", self.markdown())] {
            let path = self.folder.join(name);
            fs::write(&path, text + "\n").map_err(|error| Problem::at(path.display(), error))?;
        }
        Ok(())
    }

    /// The table for people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut say = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        let other = self.rows.first().map_or(Kind::Kafka, Row::other);
        let beside = match other {
            Kind::OneShard => "klamm with two shards beside klamm with one",
            Kind::Kafka | Kind::Klamm => "klamm beside Apache Kafka",
        };
        say(format!("# {beside}, {}\n", self.date));
        let dirty = if self.dirty {
            " with uncommitted changes"
        } else {
            ""
        };
        say(format!(
            "Commit {}{dirty}; class {}.\n",
            self.commit, self.durability
        ));
        say(format!("{}\n", self.machine.words()));
        if !self.note.is_empty() {
            say(format!("{}\n", self.note));
        }
        say("Figures in pairs are the other broker's / klamm's; medians of windows. Cost is that of the \
             broker and of kernel threads. Ratio: how much better klamm is, median of pairs, with \
             the 90 % bootstrap interval. *Kernel*: processor time of kernel threads in the window \
             over the broker's. *Strangers*: processor time of anything else over the broker's.\n"
            .to_owned());
        say("| Scenario | Quantity | Other | klamm | Ratio | Rate other | Rate klamm | Client/broker | \
             Kernel | Strangers | RSS MiB | Syscalls/request | Allocations/request |"
            .to_owned());
        say("|---|---|---|---|---|---|---|---|---|---|---|---|---|".to_owned());
        for row in &self.rows {
            say(line(row));
        }
        say(goals_words(&self.rows));
        for row in self.rows.iter().filter(|row| !row.latencies.is_empty()) {
            say(latency_words(row));
        }
        for tuning in self.rows.iter().filter_map(|row| row.tuning.as_ref()) {
            say(format!("\n{}", tuning.words()));
        }
        say(format!("\nCommand: `{}`", self.command.join(" ")));
        text
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a window fit a double"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / (whole.max(1) as f64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a window fit a double"
)]
fn rate(row: &Row, kind: Kind) -> String {
    let per_second =
        |window: &Window, count: u64| count as f64 / (window.totals.elapsed_ns.max(1) as f64 / 1e9);
    if row.scenario.mode != "produce" && row.scenario.mode != "fetch" {
        let rate = row.median_of(kind, |window| per_second(window, window.totals.requests));
        rate.map_or_else(String::new, |rate| format!("{rate:.0}/s"))
    } else {
        let rate = row.median_of(kind, |window| per_second(window, window.totals.bytes));
        rate.map_or_else(String::new, |rate| {
            format!("{:.0} MiB/s", rate / f64::from(1 << 20))
        })
    }
}

fn none() -> String {
    "-".to_owned()
}

/// Latencies of a row as a small table.
fn latency_words(row: &Row) -> String {
    let mut text = format!("\n{}, latencies in us:\n\n| |", row.file);
    let names = row
        .latencies
        .iter()
        .flat_map(|(_, at)| at)
        .map(|(name, _)| name);
    let count = row.latencies.first().map_or(0, |(_, at)| at.len());
    for name in names.take(count) {
        let _ = write!(text, " {name} |");
    }
    let _ = write!(text, "\n|---|{}", "---|".repeat(count));
    for (kind, at) in &row.latencies {
        let _ = write!(text, "\n| {kind:?} |");
        for (_, microseconds) in at {
            let _ = write!(text, " {microseconds:.0} |");
        }
    }
    text
}

/// What was wanted of each quantity and what came.
fn goals_words(rows: &[Row]) -> String {
    let mut text = "\n| Scenario | Quantity | Other | klamm | Ratio | Goal | Reached |\n\
                    |---|---|---|---|---|---|---|"
        .to_owned();
    for row in rows {
        for verdict in &row.verdicts {
            let figure = |kind| verdict.figure(kind).map_or_else(none, number);
            let reached = match verdict.is_reached() {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "-",
            };
            let _ = write!(
                text,
                "\n| {} | {} | {} | {} | {} | {} | {reached} |",
                row.file,
                verdict.goal.quantity.words(),
                figure(row.other()),
                figure(Kind::Klamm),
                ratio_words(verdict.ratio, verdict.refused.as_deref()),
                goal_words(verdict),
            );
        }
    }
    text
}

/// A figure with about three digits.
fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.3}"),
        ..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn goal_words(verdict: &Verdict) -> String {
    let goal = verdict.goal;
    let ratio = goal.ratio.map(|ratio| format!("at least {ratio} times"));
    let most = goal.most.map(|most| format!("klamm at most {most}"));
    let words: Vec<String> = ratio.into_iter().chain(most).collect();
    if words.is_empty() {
        none()
    } else {
        words.join(", ")
    }
}

fn ratio_words(ratio: Option<Estimate>, refused: Option<&str>) -> String {
    match (ratio, refused) {
        (_, Some(why)) => format!("refused: {}", shown(why).replace(['\n', '|'], " ")),
        (None, None) => none(),
        (Some(ratio), None) => {
            let (median, low, high) = (ratio.median, ratio.low, ratio.high);
            format!("**{median:.1}** ({low:.1} to {high:.1})")
        }
    }
}

/// A row of the table.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "memory sizes fit a double")]
pub fn line(row: &Row) -> String {
    let other = row.other();
    let both = |figure: &dyn Fn(&Window) -> f64, digits: usize| {
        let of = |kind| {
            row.median_of(kind, figure)
                .map_or_else(none, |value| format!("{value:.digits$}"))
        };
        format!("{} / {}", of(other), of(Kind::Klamm))
    };
    let cost = |kind| {
        row.median_of(kind, |window| window.cost)
            .filter(|cost| cost.is_finite())
            .map_or_else(none, number)
    };
    let ratio = ratio_words(row.ratio, row.refused.as_deref());
    let strangers = |window: &Window| share(window.strangers_ns(), window.broker_cpu_ns);
    let counts = |counted: Counted| {
        let of = |kind| {
            let mut found = row.counts.iter();
            found
                .find(|count| count.broker == kind && count.counted == counted)
                .map_or_else(none, |count| format!("{:.2}", count.per_request))
        };
        format!("{} / {}", of(other), of(Kind::Klamm))
    };
    format!(
        "| {} ({}) | {} | {} | {} | {ratio} | {} | {} | {} | {} | {} | {} | {} | {} |",
        row.file,
        row.scenario.name,
        row.unit.words(),
        cost(other),
        cost(Kind::Klamm),
        rate(row, other),
        rate(row, Kind::Klamm),
        both(
            &|window| share(window.totals.client_cpu_ns, window.broker_cpu_ns),
            2
        ),
        both(
            &|window| share(window.kernel_cpu_ns, window.broker_cpu_ns),
            2
        ),
        both(&strangers, 2),
        both(&|window| window.resident_kib.0 as f64 / 1024.0, 0),
        counts(Counted::Syscalls),
        counts(Counted::Allocations),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_cut_and_relative_ones_stay() {
        for (text, wanted) in [
            (
                "cannot open [/srv/a/b.log] today",
                "cannot open […/b.log] today",
            ),
            ("data in /srv/a, /srv/b/", "data in …/a, …/b"),
            ("PLAINTEXT://127.0.0.1:9092", "PLAINTEXT://127.0.0.1:9092"),
            ("Kafka / klamm and a/b", "Kafka / klamm and a/b"),
        ] {
            assert_eq!(shown(text), wanted);
        }
        assert_eq!(shown("/home/me/target/release/klamm"), "…/klamm");
        assert_eq!(shown("log.dirs=/tmp/data"), "log.dirs=…/data");
        assert_eq!(shown("bench/scenarios/w2.toml"), "bench/scenarios/w2.toml");
    }
}
