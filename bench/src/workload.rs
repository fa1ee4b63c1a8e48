//! What to do to a broker: the checked form of arguments and scenario files, with defaults.

use clap::{Args, ValueEnum};
use klamm_model::Compression;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Which API carries the load.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Batches by Produce.
    Produce,
    /// Batches by Fetch.
    Fetch,
    /// One record per Produce request.
    Requests,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Whenever a connection has room: measures cost, never latency.
    Closed,
    /// At a constant distance.
    Fixed,
    /// At random distances with the mean of the rate.
    Poisson,
}

/// Options as they are written, in a scenario file or on the command line; both say the same words.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WrittenWorkload {
    /// Topic; created where it does not exist.
    #[arg(long)]
    pub topic: Option<String>,
    /// Partitions of a topic that is created.
    #[arg(long)]
    pub partitions: Option<i32>,
    /// Connections; in fetch mode each is one consumer of all partitions.
    #[arg(long)]
    pub connections: Option<usize>,
    /// Requests in flight per connection.
    #[arg(long)]
    pub depth: Option<usize>,
    /// Acks of Produce: 1 or -1.
    #[arg(long, allow_hyphen_values = true)]
    pub acks: Option<i16>,
    /// Bytes of a record's value.
    #[arg(long)]
    pub record_bytes: Option<usize>,
    /// Largest size of a batch before compression, in bytes.
    #[arg(long)]
    pub batch_bytes: Option<usize>,
    /// Partitions in a request: one batch each when producing; all of them unless said otherwise
    /// when fetching.
    #[arg(long)]
    pub partitions_per_request: Option<usize>,
    /// Codec of the batches: none, gzip, snappy, lz4, zstd.
    #[arg(long)]
    pub codec: Option<String>,
    /// Different requests kept ready for each group of partitions.
    #[arg(long)]
    pub variants: Option<usize>,
    /// Closed loop, or requests at fixed or random distances.
    #[arg(long)]
    pub arrivals: Option<Arrivals>,
    /// Requests per second over all connections, for open loops.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Largest size of a fetch response, in bytes.
    #[arg(long)]
    pub fetch_bytes: Option<i32>,
    /// Largest size of one partition in a fetch response, in bytes.
    #[arg(long)]
    pub partition_bytes: Option<i32>,
    /// Smallest size of a fetch response before the wait is over, in bytes.
    #[arg(long)]
    pub min_bytes: Option<i32>,
    /// How long a fetch may wait for that, in milliseconds.
    #[arg(long)]
    pub max_wait_ms: Option<i32>,
    /// Bytes to produce before fetching begins.
    #[arg(long)]
    pub fill_bytes: Option<u64>,
    /// Fetch what arrives at the end instead of re-reading from the start.
    #[arg(long)]
    pub follow: Option<bool>,
    /// Compute the checksum of every fetched batch.
    #[arg(long)]
    pub check_crc: Option<bool>,
    /// Seconds before the measurement.
    #[arg(long)]
    pub warm_up_seconds: Option<f64>,
    /// Seconds of the measurement.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// After producing, fetch everything and check checksums, order and count.
    #[arg(long)]
    pub read_back: Option<bool>,
    /// Delete the topic at the end: what is produced in minutes fills a disk.
    #[arg(long)]
    pub delete_topic: Option<bool>,
}

/// A scenario file: a mode, words for people, and the options.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// Row of the scorecard, such as W1.
    pub name: String,
    /// What it is like, in a sentence.
    pub about: String,
    /// Which API carries the load.
    pub mode: Mode,
    /// The options.
    pub workload: WrittenWorkload,
}

/// A workload that can run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are those of `WrittenWorkload`")]
pub struct Workload {
    pub mode: Mode,
    pub topic: String,
    pub partitions: i32,
    pub connections: usize,
    pub depth: usize,
    pub acks: i16,
    pub record_bytes: usize,
    pub batch_bytes: usize,
    pub partitions_per_request: usize,
    pub codec: String,
    pub variants: usize,
    pub arrivals: Arrivals,
    pub rate: f64,
    pub fetch_bytes: i32,
    pub partition_bytes: i32,
    pub min_bytes: i32,
    pub max_wait_ms: i32,
    pub fill_bytes: u64,
    pub follow: bool,
    pub check_crc: bool,
    pub warm_up_seconds: f64,
    pub seconds: f64,
    pub read_back: bool,
    pub delete_topic: bool,
}

macro_rules! over {
    ($upper:expr, $lower:expr; $($field:ident),*) => {
        WrittenWorkload { $($field: $upper.$field.or($lower.$field),)* }
    };
}

impl WrittenWorkload {
    /// These options where they are written, those of `below` elsewhere.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        over!(self, below; topic, partitions, connections, depth, acks, record_bytes, batch_bytes,
            partitions_per_request, codec, variants, arrivals, rate, fetch_bytes, partition_bytes,
            min_bytes, max_wait_ms, fill_bytes, follow, check_crc, warm_up_seconds, seconds,
            read_back, delete_topic)
    }

    /// Fills in defaults and checks the whole.
    ///
    /// # Errors
    /// [`Problem::Workload`]: what contradicts what.
    pub fn check(self, mode: Mode) -> Result<Workload, Problem> {
        let rate = self.rate;
        let default_arrivals = rate.map_or(Arrivals::Closed, |_| Arrivals::Fixed);
        let fetch_bytes = self.fetch_bytes.unwrap_or(50 << 20);
        let partitions = self.partitions.unwrap_or(1);
        let all = usize::try_from(partitions).unwrap_or(0);
        let workload = Workload {
            mode,
            topic: self.topic.unwrap_or_else(|| "bench".to_owned()),
            partitions,
            connections: self.connections.unwrap_or(1),
            depth: self
                .depth
                .unwrap_or(if mode == Mode::Fetch { 1 } else { 5 }),
            acks: self.acks.unwrap_or(1),
            record_bytes: self.record_bytes.unwrap_or(100),
            batch_bytes: self.batch_bytes.unwrap_or(16 << 10),
            partitions_per_request: self
                .partitions_per_request
                .unwrap_or(if mode == Mode::Fetch { all } else { 1 }),
            codec: self.codec.unwrap_or_else(|| "none".to_owned()),
            variants: self.variants.unwrap_or(2),
            arrivals: self.arrivals.unwrap_or(default_arrivals),
            rate: rate.unwrap_or(0.0),
            fetch_bytes,
            partition_bytes: self
                .partition_bytes
                .unwrap_or_else(|| fetch_bytes.min(1 << 20)),
            min_bytes: self.min_bytes.unwrap_or(1),
            max_wait_ms: self.max_wait_ms.unwrap_or(500),
            fill_bytes: self.fill_bytes.unwrap_or(0),
            follow: self.follow.unwrap_or(false),
            check_crc: self.check_crc.unwrap_or(false),
            warm_up_seconds: self.warm_up_seconds.unwrap_or(5.0),
            seconds: self.seconds.unwrap_or(10.0),
            read_back: self.read_back.unwrap_or(false),
            delete_topic: self.delete_topic.unwrap_or(false),
        };
        workload
            .contradiction()
            .map_or(Ok(workload), |text| Err(Problem::Workload(text)))
    }
}

impl Workload {
    /// The codec by its type.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_word(&self.codec)
    }

    /// True where each batch holds one record.
    #[must_use]
    pub fn is_unbatched(&self) -> bool {
        self.mode == Mode::Requests
    }

    fn contradiction(&self) -> Option<String> {
        let partitions = usize::try_from(self.partitions).unwrap_or(0);
        let says = |wrong: bool, text: String| wrong.then_some(text);
        says(
            partitions == 0,
            "at least one partition is needed".to_owned(),
        )
        .or_else(|| {
            let wrong = self.connections == 0 || self.depth == 0 || self.variants == 0;
            says(
                wrong,
                "connections, depth and variants start at one".to_owned(),
            )
        })
        .or_else(|| {
            let text = "acks must be 1 or -1: without answers nothing can be verified";
            says(!matches!(self.acks, 1 | -1), text.to_owned())
        })
        .or_else(|| {
            let count = self.partitions_per_request;
            let text = format!("{count} partitions a request, of {partitions}");
            says(count == 0 || count > partitions, text)
        })
        .or_else(|| {
            let text = format!("no codec is called {}", self.codec);
            says(self.compression().is_none(), text)
        })
        .or_else(|| {
            let open = self.arrivals != Arrivals::Closed;
            let text = "open arrivals need a rate above zero, a closed loop has none";
            says(open != (self.rate > 0.0), text.to_owned())
        })
        .or_else(|| {
            let wrong = self.mode == Mode::Fetch && (self.depth != 1 || self.rate > 0.0);
            let text = "a consumer has one fetch in flight and no rate";
            says(wrong, text.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(written: WrittenWorkload) -> String {
        match written.check(Mode::Produce) {
            Ok(_) => String::new(),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn command_line_beats_the_scenario_and_both_beat_defaults() {
        let scenario: Scenario = toml::from_str(
            "name = 'W9'\nabout = 'x'\nmode = 'produce'\n[workload]\nconnections = 4\ndepth = 7\n",
        )
        .expect("a scenario");
        let line = WrittenWorkload {
            depth: Some(3),
            ..WrittenWorkload::default()
        };
        let workload = line
            .over(scenario.workload)
            .check(scenario.mode)
            .expect("a workload");
        assert_eq!(
            (workload.connections, workload.depth, workload.acks),
            (4, 3, 1)
        );
    }

    #[test]
    fn unknown_words_in_a_scenario_are_refused() {
        let text = "name = 'W9'\nabout = 'x'\nmode = 'produce'\n[workload]\nconections = 4\n";
        let error = toml::from_str::<Scenario>(text).expect_err("a typing error");
        assert!(error.to_string().contains("conections"), "{error}");
    }

    #[test]
    fn every_scenario_in_the_folder_makes_a_workload() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            let scenario: Scenario = toml::from_str(&text).unwrap_or_else(|error| {
                panic!("{}: {error}", path.display());
            });
            scenario.workload.check(scenario.mode).expect("a workload");
            seen += 1;
        }
        assert!(seen >= 4, "the rows of the first reading");
    }

    #[test]
    fn contradictions_are_named() {
        let none = WrittenWorkload::default;
        assert_eq!(problem(none()), "");
        assert!(
            problem(WrittenWorkload {
                acks: Some(0),
                ..none()
            })
            .contains("acks")
        );
        assert!(
            problem(WrittenWorkload {
                codec: Some("lzma".into()),
                ..none()
            })
            .contains("lzma")
        );
        let many = WrittenWorkload {
            partitions_per_request: Some(2),
            ..none()
        };
        assert!(problem(many).contains("partitions"));
        let open = WrittenWorkload {
            arrivals: Some(Arrivals::Poisson),
            ..none()
        };
        assert!(problem(open).contains("rate"));
    }
}
