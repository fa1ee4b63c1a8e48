//! Command line: what to compare, with which binaries, on which cores.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::Problem;

/// Compares klamm with Apache Kafka by the processor time that the same work takes.
#[derive(Debug, Parser)]
#[command(name = "klamm-perf", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The judge's tasks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios against both brokers by turns and keep the evidence.
    Compare(Box<Compare>),
    /// Draw all evidence as one HTML file.
    Report {
        /// Folder of the evidence.
        #[arg(long, default_value = "perf/runs")]
        runs: PathBuf,
        /// The file.
        #[arg(long, default_value = "perf/report.html")]
        into: PathBuf,
    },
    /// Do the same work on klamm by our load generator and by other clients, and compare what they
    /// and the broker say of it.
    Agree(Agree),
    /// Have both brokers compact the same logs, and compare the processor time that it takes.
    Clean(Clean),
    /// Let Maven copy Apache Kafka's jars, as perf/pom.xml names them, into a folder.
    FetchKafka {
        /// The folder.
        into: PathBuf,
    },
}

/// Options of a check of the load generator.
#[derive(Args, Clone, Debug)]
pub struct Agree {
    /// The klamm binary.
    #[arg(long, default_value = "target/release/klamm")]
    pub klamm: PathBuf,
    /// The load generator.
    #[arg(long, default_value = "target/release/klamm-bench")]
    pub bench: PathBuf,
    /// librdkafka's `rdkafka_performance`, built from its folder of examples.
    #[arg(long)]
    pub rdkafka: Option<PathBuf>,
    /// Folder of Apache Kafka's jars.
    #[arg(long)]
    pub kafka_libs: Option<PathBuf>,
    /// Pairs of runs for each work.
    #[arg(long, default_value_t = 5)]
    pub pairs: usize,
    /// Length of a paced run, in seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// GiB of a run that goes as fast as it can; some works take a share of it.
    #[arg(long, default_value_t = 1.0)]
    pub gib: f64,
    /// Core of the broker.
    #[arg(long, default_value_t = 0)]
    pub broker_core: usize,
    /// Core of the clients.
    #[arg(long, default_value_t = 1)]
    pub client_core: usize,
    /// Folder for the broker's data; removed at the end.
    #[arg(long, default_value = "target/perf-data")]
    pub data: PathBuf,
}

/// Options of a measurement of compaction.
#[derive(Args, Clone, Debug)]
pub struct Clean {
    /// The klamm binary, which also changes both brokers' topics.
    #[arg(long, default_value = "target/release/klamm")]
    pub klamm: PathBuf,
    /// The load generator.
    #[arg(long, default_value = "target/release/klamm-bench")]
    pub bench: PathBuf,
    /// Folder of Apache Kafka's jars; the `libs` of KAFKA_HOME if absent.
    #[arg(long)]
    pub kafka_libs: Option<PathBuf>,
    /// Measure klamm alone, without a ratio.
    #[arg(long)]
    pub klamm_only: bool,
    /// Logs that each broker compacts, behind one that is not counted.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Size of a log, in MiB.
    #[arg(long, default_value_t = 2048)]
    pub mib: u64,
    /// Different keys.
    #[arg(long, default_value_t = 2_000_000)]
    pub keys: u64,
    /// Codec of the batches.
    #[arg(long, default_value = "none")]
    pub codec: String,
    /// More settings of klamm.
    #[arg(long, value_name = "KEY=VALUE")]
    pub klamm_set: Vec<String>,
    /// Core of the brokers.
    #[arg(long, default_value_t = 0)]
    pub broker_core: usize,
    /// Core of the load generator.
    #[arg(long, default_value_t = 1)]
    pub client_core: usize,
    /// Folder for the brokers' data; removed at the end.
    #[arg(long, default_value = "target/perf-data")]
    pub data: PathBuf,
    /// Folder for the evidence; nothing is kept without it.
    #[arg(long)]
    pub evidence: Option<PathBuf>,
    /// Name of this machine in the evidence.
    #[arg(long, default_value = "unnamed")]
    pub machine: String,
    /// What a reader must know, such as what else ran on the machine.
    #[arg(long, default_value = "")]
    pub note: String,
}

impl Clean {
    /// How the brokers are started for it.
    ///
    /// # Errors
    /// [`Problem`]: what is wrong with the options.
    pub fn comparison(&self) -> Result<Compare, Problem> {
        let path = |path: &PathBuf| path.display().to_string();
        let mut line = vec![
            "klamm-perf".to_owned(),
            "compare".to_owned(),
            "clean".to_owned(),
        ];
        let mut option = |name: &str, value: String| line.extend([format!("--{name}"), value]);
        option("klamm", path(&self.klamm));
        option("data", path(&self.data));
        option("broker-core", self.broker_core.to_string());
        option("client-core", self.client_core.to_string());
        if let Some(libs) = &self.kafka_libs {
            option("kafka-libs", path(libs));
        }
        for setting in &self.klamm_set {
            option("klamm-set", setting.clone());
        }
        for side in ["klamm-set", "kafka-set"] {
            // Looked at often; nothing else is compacted.
            option(side, "log.cleaner.backoff.ms=500".to_owned());
        }
        Compare::of_line(line)
    }
}

/// Options of a comparison.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// Scenarios by name, such as w1-small-batched, or files.
    #[arg(required = true)]
    pub scenarios: Vec<PathBuf>,
    /// When records are acknowledged, on both brokers.
    #[arg(long, value_enum, default_value = "written")]
    pub class: Class,
    /// A first look: three pairs of five seconds after a short warm-up. A Java machine is seldom
    /// warm then, and the row says so.
    #[arg(long)]
    pub quick: bool,
    /// The klamm binary.
    #[arg(long, default_value = "target/release/klamm")]
    pub klamm: PathBuf,
    /// The load generator.
    #[arg(long, default_value = "target/release/klamm-bench")]
    pub bench: PathBuf,
    /// Folder of Apache Kafka's jars; the `libs` of KAFKA_HOME if absent.
    #[arg(long)]
    pub kafka_libs: Option<PathBuf>,
    /// Measure klamm alone, without a ratio.
    #[arg(long, conflicts_with = "shards")]
    pub klamm_only: bool,
    /// Compare klamm on two cores with klamm on one instead of with Kafka: the ratio is the
    /// efficiency of the second shard. Its core is the client's, whose work is not charged to it.
    #[arg(long, conflicts_with = "tune_kafka")]
    pub shards: bool,
    /// Say what would be done and how long it takes about, and do nothing.
    #[arg(long)]
    pub plan: bool,
    /// Before each scenario, try thread counts, then garbage collectors, of Kafka alone, and keep
    /// what was best by the scenario's first quantity.
    #[arg(long)]
    pub tune_kafka: bool,
    /// Load before a trial of --tune-kafka is read, in seconds.
    #[arg(long, default_value_t = 30.0)]
    pub tune_seconds: f64,
    /// More settings of klamm.
    #[arg(long, value_name = "KEY=VALUE")]
    pub klamm_set: Vec<String>,
    /// More settings of Kafka.
    #[arg(long, value_name = "KEY=VALUE")]
    pub kafka_set: Vec<String>,
    /// Kafka's heap, in MiB; smallest and largest.
    #[arg(long, default_value_t = 1024)]
    pub kafka_heap_mib: u64,
    /// More options of Kafka's Java machine.
    #[arg(long, default_value = "-XX:+UseG1GC")]
    pub kafka_jvm: String,
    /// Page cache of each broker, in MiB: its group may use this beside its own memory.
    #[arg(long, default_value_t = 2560)]
    pub cache_mib: u64,
    /// Pairs of windows a scenario.
    #[arg(long, default_value_t = 7)]
    pub pairs: usize,
    /// Length of a measured window, in seconds.
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,
    /// Load before each measured window, in seconds.
    #[arg(long, default_value_t = 2.0)]
    pub settle_seconds: f64,
    /// Longest warm-up of a broker for a scenario, in seconds.
    #[arg(long, default_value_t = 120.0)]
    pub warm_up_seconds_max: f64,
    /// Least warm-up of a broker for a scenario, in seconds.
    #[arg(long, default_value_t = 60.0)]
    pub warm_up_seconds_min: f64,
    /// Count system calls and allocations for so many seconds after the windows; 0 leaves it out.
    #[arg(long, default_value_t = 3)]
    pub count_seconds: u64,
    /// Core of the brokers.
    #[arg(long, default_value_t = 0)]
    pub broker_core: usize,
    /// Core of the load generator.
    #[arg(long, default_value_t = 1)]
    pub client_core: usize,
    /// Folder for the brokers' data; removed at the end.
    #[arg(long, default_value = "target/perf-data")]
    pub data: PathBuf,
    /// Folder for evidence; each comparison makes a folder of its own in it.
    #[arg(long, default_value = "perf/runs")]
    pub evidence: PathBuf,
    /// Name of this machine in the evidence.
    #[arg(long, default_value = "unnamed")]
    pub machine: String,
    /// What a reader must know, such as what else ran on the machine.
    #[arg(long, default_value = "")]
    pub note: String,
}

/// When records are acknowledged.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// When the kernel has them: they survive the process.
    Written,
    /// When the device has flushed them: they survive power loss.
    Flushed,
}

impl Class {
    /// What it means, for the evidence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Written => "written: acknowledged from the page cache, on both",
            Self::Flushed => "flushed: acknowledged after a flush to the device, on both",
        }
    }
}

impl Compare {
    /// The options of a command line, checked.
    ///
    /// # Errors
    /// [`Problem`]: what is wrong with them.
    pub fn of_line(line: impl IntoIterator<Item = String>) -> Result<Self, Problem> {
        let arguments = Arguments::try_parse_from(line);
        let arguments = arguments.map_err(|error| Problem(error.to_string()))?;
        let Command::Compare(compare) = arguments.command else {
            return Err(Problem("not a comparison".to_owned()));
        };
        match compare.contradiction() {
            Some(text) => Err(Problem(text.to_owned())),
            None => Ok(*compare),
        }
    }

    /// The same with everything that `--quick` shortens.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        if self.quick {
            self.pairs = self.pairs.min(3);
            self.seconds = self.seconds.min(5.0);
            self.settle_seconds = self.settle_seconds.min(1.0);
            self.warm_up_seconds_min = self.warm_up_seconds_min.min(10.0);
            self.warm_up_seconds_max = self.warm_up_seconds_max.min(20.0);
            self.count_seconds = self.count_seconds.min(1);
            self.tune_seconds = self.tune_seconds.min(10.0);
            self.note = format!("Quick look: short windows, short warm-up. {}", self.note);
        }
        self
    }

    /// What cannot be measured so.
    #[must_use]
    pub fn contradiction(&self) -> Option<&'static str> {
        (self.broker_core == self.client_core)
            .then_some("the brokers' core and the client's must differ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn comparison_needs_a_scenario() {
        assert!(Arguments::try_parse_from(["klamm-perf", "compare"]).is_err());
        let line = ["klamm-perf", "compare", "a.toml", "--pairs", "3"];
        let Command::Compare(compare) = Arguments::try_parse_from(line).expect("valid").command
        else {
            panic!("a comparison");
        };
        assert_eq!((compare.pairs, compare.client_core), (3, 1));
    }
}
