//! Options as people write them: a scenario file and the command line say the same words, and the
//! command line wins.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    problem::Problem,
    workload::{Account, Arrivals, GroupEvent, GroupProtocol, Mode, Payload, Proof},
};

/// The words of a workload, none of them needed.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WrittenWorkload {
    /// Topic; created where it does not exist. Several get a number behind this.
    #[arg(long, help_heading = "Topics")]
    pub topic: Option<String>,
    /// Number of topics.
    #[arg(long, help_heading = "Topics")]
    pub topics: Option<usize>,
    /// Partitions of each topic that is created.
    #[arg(long, help_heading = "Topics")]
    pub partitions: Option<i32>,
    /// Settings of topics that are created, as key=value.
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Topics")]
    pub topic_config: Option<Vec<String>>,
    /// Delete the topics at the end: what is produced in minutes fills a disk.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Topics")]
    pub delete_topic: Option<bool>,

    /// Connections that carry the load; in fetch mode each is one consumer of all partitions.
    #[arg(long, help_heading = "Load")]
    pub connections: Option<usize>,
    /// Requests in flight on each connection.
    #[arg(long, help_heading = "Load")]
    pub depth: Option<usize>,
    /// More connections that are opened and do nothing.
    #[arg(long, help_heading = "Load")]
    pub idle_connections: Option<usize>,
    /// Closed loop, or open with requests at fixed or random distances.
    #[arg(long, help_heading = "Load")]
    pub arrivals: Option<Arrivals>,
    /// Requests per second over all connections; makes the loop open.
    #[arg(long, help_heading = "Load")]
    pub rate: Option<f64>,
    /// The same in records per second.
    #[arg(long, help_heading = "Load")]
    pub record_rate: Option<f64>,
    /// The same in bytes of batches per second.
    #[arg(long, help_heading = "Load")]
    pub byte_rate: Option<f64>,
    /// End after so many requests, whatever the clock says.
    #[arg(long, help_heading = "Load")]
    pub requests_max: Option<u64>,
    /// Seconds before the measurement.
    #[arg(long, help_heading = "Load")]
    pub warm_up_seconds: Option<f64>,
    /// Seconds of the measurement.
    #[arg(long, help_heading = "Load")]
    pub seconds: Option<f64>,

    /// Acks of Produce: 1 or -1.
    #[arg(long, allow_hyphen_values = true, help_heading = "Producers")]
    pub acks: Option<i16>,
    /// Send with a producer id and sequence numbers.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Producers")]
    pub idempotent: Option<bool>,
    /// Bytes of a record's value.
    #[arg(long, help_heading = "Producers")]
    pub record_bytes: Option<usize>,
    /// Bytes of a record's key; 0 for none.
    #[arg(long, help_heading = "Producers")]
    pub key_bytes: Option<usize>,
    /// Different keys.
    #[arg(long, help_heading = "Producers")]
    pub keys: Option<u64>,
    /// What values hold.
    #[arg(long, help_heading = "Producers")]
    pub payload: Option<Payload>,
    /// Largest size of a batch before compression, in bytes.
    #[arg(long, help_heading = "Producers")]
    pub batch_bytes: Option<usize>,
    /// Records in a batch, if fewer than fit.
    #[arg(long, help_heading = "Producers")]
    pub batch_records: Option<usize>,
    /// Partitions in a request: one batch each when producing; all of them unless said otherwise
    /// when fetching.
    #[arg(long, help_heading = "Producers")]
    pub partitions_per_request: Option<usize>,
    /// Codec of the batches: none, gzip, snappy, lz4, zstd.
    #[arg(long, help_heading = "Producers")]
    pub codec: Option<String>,
    /// How long a client would have collected the records of a batch; counts as latency.
    #[arg(long, help_heading = "Producers")]
    pub linger_ms: Option<f64>,
    /// Different requests kept ready for each group of partitions.
    #[arg(long, help_heading = "Producers")]
    pub variants: Option<usize>,

    /// Consumers beside the producers, each of all partitions; gives end-to-end latency.
    #[arg(long, help_heading = "Consumers")]
    pub consumers: Option<usize>,
    /// Connections of each, among which its partitions are divided.
    #[arg(long, help_heading = "Consumers")]
    pub consumer_connections: Option<usize>,
    /// Readers that begin at the first offset once the load runs, and end when they have caught up.
    #[arg(long, help_heading = "Consumers")]
    pub catch_up: Option<usize>,
    /// Largest size of a fetch response, in bytes.
    #[arg(long, help_heading = "Consumers")]
    pub fetch_bytes: Option<i32>,
    /// Largest size of one partition in a fetch response, in bytes.
    #[arg(long, help_heading = "Consumers")]
    pub partition_bytes: Option<i32>,
    /// Smallest size of a fetch response before the wait is over, in bytes.
    #[arg(long, help_heading = "Consumers")]
    pub min_bytes: Option<i32>,
    /// How long a fetch may wait for that, in milliseconds.
    #[arg(long, help_heading = "Consumers")]
    pub max_wait_ms: Option<i32>,
    /// Bytes to produce before the load begins, where the topics are empty.
    #[arg(long, help_heading = "Consumers")]
    pub fill_bytes: Option<u64>,
    /// Empty the page cache after that; needs root.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Consumers")]
    pub drop_caches: Option<bool>,
    /// Compute the checksum of every batch that is fetched during the load.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = "Consumers")]
    pub check_crc: Option<bool>,

    /// Topics in a request of the modes create-topics and metadata.
    #[arg(long, help_heading = "Administration")]
    pub topics_per_request: Option<usize>,

    /// Consumer groups; all read one topic, made for the run.
    #[arg(long, help_heading = "Groups")]
    pub groups: Option<usize>,
    /// Members of each group.
    #[arg(long, help_heading = "Groups")]
    pub members: Option<usize>,
    /// By which protocol they are members.
    #[arg(long, help_heading = "Groups")]
    pub group_protocol: Option<GroupProtocol>,
    /// How the work is divided: range (unless said otherwise), roundrobin or cooperative-sticky by
    /// members; uniform or range, or as it chooses, by the broker.
    #[arg(long, help_heading = "Groups")]
    pub assignor: Option<String>,
    /// What happens, in this order; each begins when all groups have been stable for
    /// warm-up-seconds, and may take `seconds`.
    #[arg(long, value_delimiter = ',', help_heading = "Groups")]
    pub group_events: Option<Vec<GroupEvent>>,
    /// How many partitions the event new-partitions adds.
    #[arg(long, help_heading = "Groups")]
    pub new_partitions: Option<i32>,
    /// For how long a member of the classic protocol may be silent.
    #[arg(long, help_heading = "Groups")]
    pub session_timeout_ms: Option<i32>,
    /// How often a member of the classic protocol says that it lives; those of the consumer
    /// protocol are told by the broker.
    #[arg(long, help_heading = "Groups")]
    pub heartbeat_interval_ms: Option<u64>,
    /// Process of the broker on this machine, whose processor time and memory are told, too.
    #[arg(long, value_name = "PID", help_heading = "Groups")]
    pub broker_process: Option<u32>,

    /// What is proved after the run: everything that the logs still hold, or only their counts.
    #[arg(long, help_heading = "Result")]
    pub proof: Option<Proof>,
    /// Read back at most so many bytes, the newest.
    #[arg(long, help_heading = "Result")]
    pub proof_bytes: Option<u64>,
    /// Which bytes the result is about where records are both produced and consumed.
    #[arg(long, help_heading = "Result")]
    pub account: Option<Account>,
}

impl WrittenWorkload {
    /// These options where they are written, those of `below` elsewhere.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        let written = |options: &Self| {
            let value = serde_json::to_value(options).expect("options are plain data");
            let serde_json::Value::Object(mut fields) = value else {
                unreachable!("a struct becomes an object")
            };
            fields.retain(|_, value| !value.is_null());
            fields
        };
        let mut both = written(below);
        both.extend(written(&self));
        let both = serde_json::Value::Object(both);
        serde_json::from_value(both).expect("each option has kept its type")
    }
}

/// A scenario: a mode, words for people, and the options.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// Row of the scorecard, such as W1.
    pub name: String,
    /// What it is like, in a sentence.
    pub about: String,
    /// Which API carries the load.
    pub mode: Mode,
    /// What the judge does with it; nothing to the generator.
    #[serde(default)]
    pub judge: toml::Table,
    /// The options.
    pub workload: WrittenWorkload,
}

impl Scenario {
    /// Parses a scenario file's text.
    ///
    /// # Errors
    /// [`Problem::Workload`] with `name` and the place.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|error| Problem::Workload(format!("{name}: {error}")))
    }

    /// The scenario of a file, or else the one that comes with the program under this name.
    ///
    /// # Errors
    /// The file cannot be read, or nothing is called so.
    pub fn find(name: &std::path::Path) -> Result<Self, Problem> {
        let word = name.display().to_string();
        if let Some(text) = crate::catalog::text_of(&word) {
            return Self::parse(&word, text);
        }
        let text = std::fs::read_to_string(name).map_err(|error| {
            let cure = "`scenarios` lists the names that need no file";
            Problem::Workload(format!("{word}: {error}; {cure}"))
        })?;
        Self::parse(&word, &text)
    }
}

/// Where the result goes besides the terminal.
#[derive(Args, Clone, Debug, Default)]
pub struct Outputs {
    /// Write the latency percentiles for HdrHistogram's plotters to this file (.hgrm).
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub histogram: Option<PathBuf>,
    /// Write the result to this file as JSON, histograms included.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub result: Option<PathBuf>,
    /// Draw the latencies into this file (.svg).
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub chart: Option<PathBuf>,
}
