//! What is kept of a comparison: perf/runs/DATE-MACHINE-COMMIT/ with the machine, the commit, the
//! command, the settings, every window as it was, and a table for people.

use std::{fmt::Write as _, fs, path::PathBuf, process::Command};

use serde::Serialize;

use crate::{
    Problem,
    arguments::Compare,
    brokers::{Broker, Kind},
    counts::Counted,
    row::{Row, Window},
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

/// The word with absolute paths cut to their last part: where things lie on one machine is nobody
/// else's business.
fn shown(word: &str) -> String {
    let cut = |part: &str| match part
        .strip_prefix('/')
        .and_then(|path| path.rsplit('/').next())
    {
        Some(last) => format!("…/{last}"),
        None => part.to_owned(),
    };
    word.split('=').map(cut).collect::<Vec<_>>().join("=")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Machine {
    fn gather(name: &str) -> Self {
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

impl Evidence {
    /// Looks around, and makes the folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn gather(compare: &Compare, brokers: &[Broker]) -> Result<Self, Problem> {
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
            note: compare.note.clone(),
            durability: compare.class.words().to_owned(),
            machine: Machine::gather(&compare.machine),
            settings: brokers
                .iter()
                .map(|b| (b.kind, b.settings.clone()))
                .collect(),
            rows: Vec::new(),
        })
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
        say(format!("# klamm beside Apache Kafka, {}\n", self.date));
        let dirty = if self.dirty {
            " with uncommitted changes"
        } else {
            ""
        };
        say(format!(
            "Commit {}{dirty}; class {}.\n",
            self.commit, self.durability
        ));
        let machine = &self.machine;
        say(format!(
            "Machine `{}`: {} x {}, {}, {}{}; load average at the start {}.\n",
            machine.name,
            machine.processors,
            machine.processor,
            machine.memory_kib,
            machine.kernel,
            if machine.hypervisor { ", virtual" } else { "" },
            machine.load_average,
        ));
        if !self.note.is_empty() {
            say(format!("{}\n", self.note));
        }
        say("Figures in pairs are Kafka / klamm. Cost is that of the broker and of kernel threads; medians of windows. Ratio: Kafka's cost over klamm's, median of \
             pairs, with the 90 % bootstrap interval. *Kernel*: processor time of kernel threads \
             in the window over the broker's. *Strangers*: processor time of anything else over \
             the broker's.\n"
            .to_owned());
        say("| Scenario | Unit | Kafka | klamm | Ratio | Rate Kafka | Rate klamm | Client/broker | \
             Kernel | Strangers | RSS MiB | Syscalls/request | Allocations/request |"
            .to_owned());
        say("|---|---|---|---|---|---|---|---|---|---|---|---|---|".to_owned());
        for row in &self.rows {
            say(line(row));
        }
        for row in self.rows.iter().filter(|row| !row.latencies.is_empty()) {
            say(latency_words(row));
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
    if row.scenario.mode == "requests" {
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
    if !row.latency_ratios.is_empty() {
        let _ = write!(text, "\n| Ratio |");
        for (_, ratio) in &row.latency_ratios {
            let (median, low, high) = (ratio.median, ratio.low, ratio.high);
            let words = if ratio.is_decided() && row.refused.is_none() {
                format!("**{median:.1}** ({low:.1} to {high:.1})")
            } else {
                "refused".to_owned()
            };
            let _ = write!(text, " {words} |");
        }
    }
    text
}

/// A row of the table.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "memory sizes fit a double")]
pub fn line(row: &Row) -> String {
    let both = |figure: &dyn Fn(&Window) -> f64, digits: usize| {
        let of = |kind| {
            row.median_of(kind, figure)
                .map_or_else(none, |value| format!("{value:.digits$}"))
        };
        format!("{} / {}", of(Kind::Kafka), of(Kind::Klamm))
    };
    let cost = |kind| {
        row.median_of(kind, |window| window.cost)
            .map_or_else(none, |cost| format!("{cost:.3}"))
    };
    let ratio = match (&row.ratio, &row.refused) {
        (None, _) => "-".to_owned(),
        (Some(_), Some(why)) => format!("refused: {why}"),
        (Some(ratio), None) => {
            format!(
                "**{:.1}** ({:.1} to {:.1})",
                ratio.median, ratio.low, ratio.high
            )
        }
    };
    let strangers = |window: &Window| share(window.strangers_ns(), window.broker_cpu_ns);
    let counts = |counted: Counted| {
        let of = |kind| {
            let mut found = row.counts.iter();
            found
                .find(|count| count.broker == kind && count.counted == counted)
                .map_or_else(none, |count| format!("{:.2}", count.per_request))
        };
        format!("{} / {}", of(Kind::Kafka), of(Kind::Klamm))
    };
    format!(
        "| {} ({}) | {} | {} | {} | {ratio} | {} | {} | {} | {} | {} | {} | {} | {} |",
        row.file,
        row.scenario.name,
        row.unit.words(),
        cost(Kind::Kafka),
        cost(Kind::Klamm),
        rate(row, Kind::Kafka),
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
        assert_eq!(shown("/home/me/target/release/klamm"), "…/klamm");
        assert_eq!(shown("log.dirs=/tmp/data"), "log.dirs=…/data");
        assert_eq!(shown("bench/scenarios/w2.toml"), "bench/scenarios/w2.toml");
    }
}
