//! The page of partitions: their rows, and the numbers of topics that are sums over them. It may be
//! long, so it is asked for by itself, and by the names of topics. Pure.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::metrics::PartitionMetrics;
use super::render::{counter, encode_all, gauge};

/// Most partitions on one page, at some 2 KiB each.
pub(super) const PARTITIONS_MAX: usize = 20_000;

/// Which topics are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicPattern {
    name: String,
    /// All whose names begin with it.
    is_prefix: bool,
}

impl TopicPattern {
    /// Reads `NAME`, or `BEGINNING*`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let prefix = text.strip_suffix('*');
        Self {
            name: prefix.unwrap_or(text).to_owned(),
            is_prefix: prefix.is_some(),
        }
    }

    /// Every topic.
    #[must_use]
    pub fn all() -> Self {
        Self::new("*")
    }

    /// True if it names this topic.
    #[must_use]
    pub fn admits(&self, topic: &str) -> bool {
        match self.is_prefix {
            true => topic.starts_with(&self.name),
            false => topic == self.name,
        }
    }
}

/// Where a number of a partition comes from, and with it its kind and labels.
#[derive(Clone, Copy)]
enum Reading {
    /// Grows; the sum over the partitions of a topic, label `topic`.
    TopicCounter(fn(&PartitionMetrics) -> u64),
    /// Grows; labels `topic`, `partition`, `shard`.
    Counter(fn(&PartitionMetrics) -> u64),
    /// Of the moment; labels `topic`, `partition`.
    Gauge(fn(&PartitionMetrics) -> i64),
}

struct Row {
    name: &'static str,
    reading: Reading,
    help: &'static str,
}

const fn row(name: &'static str, reading: Reading, help: &'static str) -> Row {
    Row {
        name,
        reading,
        help,
    }
}

/// The number of replicas that must be in sync, as Kafka counts it.
fn min_in_sync(partition: &PartitionMetrics) -> u64 {
    partition.min_in_sync.min(partition.replicas)
}

const ROWS: &[Row] = &[
    row(
        "kafka_server_brokertopicmetrics_messagesin",
        Reading::TopicCounter(|partition| partition.messages_in),
        "Records appended by clients to a topic.",
    ),
    row(
        "kafka_server_brokertopicmetrics_bytesin",
        Reading::TopicCounter(|partition| partition.bytes_in),
        "Bytes of batches appended by clients to a topic.",
    ),
    row(
        "kafka_server_brokertopicmetrics_bytesout",
        Reading::TopicCounter(|partition| partition.bytes_out),
        "Bytes of batches of a topic handed to clients.",
    ),
    row(
        "kafka_log_log_size",
        Reading::Gauge(|partition| gauge(partition.log_bytes)),
        "Bytes of a partition's log.",
    ),
    row(
        "kafka_log_log_numlogsegments",
        Reading::Gauge(|partition| gauge(partition.segments)),
        "Segments of a partition's log.",
    ),
    row(
        "kafka_log_log_logstartoffset",
        Reading::Gauge(|partition| partition.log_start),
        "First offset of a partition that can be read.",
    ),
    row(
        "kafka_log_log_logendoffset",
        Reading::Gauge(|partition| partition.log_end),
        "Offset that the next record of a partition gets.",
    ),
    row(
        "kafka_cluster_partition_replicascount",
        Reading::Gauge(|partition| gauge(partition.replicas)),
        "Replicas of a partition.",
    ),
    row(
        "kafka_cluster_partition_insyncreplicascount",
        Reading::Gauge(|partition| gauge(partition.in_sync)),
        "Replicas of a partition in sync.",
    ),
    row(
        "kafka_cluster_partition_underreplicated",
        Reading::Gauge(|partition| i64::from(partition.in_sync < partition.replicas)),
        "1 if a partition has fewer replicas in sync than replicas.",
    ),
    row(
        "kafka_cluster_partition_underminisr",
        Reading::Gauge(|partition| i64::from(partition.in_sync < min_in_sync(partition))),
        "1 if a partition has fewer replicas in sync than min.insync.replicas, or than it has if that is less.",
    ),
    row(
        "kafka_cluster_partition_atminisr",
        Reading::Gauge(|partition| i64::from(partition.in_sync == min_in_sync(partition))),
        "1 if a partition has exactly as many replicas in sync as min.insync.replicas, or as it has if that is less.",
    ),
    row(
        "kafka_topic_partition_current_offset",
        Reading::Gauge(|partition| partition.high_watermark),
        "End of what consumers of a partition can read.",
    ),
    row(
        "kafka_topic_partition_oldest_offset",
        Reading::Gauge(|partition| partition.log_start),
        "First offset of a partition that can be read.",
    ),
    row(
        "kafka_topic_partition_leader",
        Reading::Gauge(|partition| i64::from(partition.leader)),
        "Node that leads a partition.",
    ),
    row(
        "kafka_topic_partition_leader_is_preferred",
        Reading::Gauge(|partition| i64::from(partition.leader_is_preferred)),
        "1 if its preferred replica leads a partition.",
    ),
    row(
        "kafka_topic_partition_replicas",
        Reading::Gauge(|partition| gauge(partition.replicas)),
        "Replicas of a partition.",
    ),
    row(
        "kafka_topic_partition_in_sync_replica",
        Reading::Gauge(|partition| gauge(partition.in_sync)),
        "Replicas of a partition in sync.",
    ),
    row(
        "kafka_topic_partition_under_replicated_partition",
        Reading::Gauge(|partition| i64::from(partition.in_sync < partition.replicas)),
        "1 if a partition has fewer replicas in sync than replicas.",
    ),
    row(
        "klamm_partition_messages_in",
        Reading::Counter(|partition| partition.messages_in),
        "Records appended by clients to a partition since it was opened.",
    ),
    row(
        "klamm_partition_bytes_in",
        Reading::Counter(|partition| partition.bytes_in),
        "Bytes of batches appended by clients to a partition since it was opened.",
    ),
    row(
        "klamm_partition_bytes_out",
        Reading::Counter(|partition| partition.bytes_out),
        "Bytes of batches of a partition handed to clients since it was opened.",
    ),
];

/// The page of these partitions.
///
/// # Errors
/// The encoder refused a value; it never does so for a `String`.
pub(super) fn render_partitions(
    mut partitions: Vec<PartitionMetrics>,
) -> Result<String, fmt::Error> {
    partitions.sort_by(|left, right| (&left.topic, left.index).cmp(&(&right.topic, right.index)));
    encode_all(Page(partitions))
}

#[derive(Debug)]
struct Page(Vec<PartitionMetrics>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        ROWS.iter()
            .try_for_each(|row| self.encode_row(&mut encoder, row))
    }
}

impl Page {
    fn encode_row(&self, encoder: &mut DescriptorEncoder<'_>, row: &Row) -> fmt::Result {
        let kind = match row.reading {
            Reading::TopicCounter(_) | Reading::Counter(_) => MetricType::Counter,
            Reading::Gauge(_) => MetricType::Gauge,
        };
        let mut lines = encoder.encode_descriptor(row.name, row.help, None, kind)?;
        match row.reading {
            Reading::TopicCounter(read) => {
                let mut topics: BTreeMap<&str, u64> = BTreeMap::new();
                for partition in &self.0 {
                    *topics.entry(&partition.topic).or_default() += read(partition);
                }
                for (topic, number) in topics {
                    counter(&mut lines.encode_family(&[("topic", topic)])?, number)?;
                }
            }
            Reading::Counter(read) => {
                for partition in &self.0 {
                    let labels = [
                        ("topic", partition.topic.clone()),
                        ("partition", partition.index.to_string()),
                        ("shard", partition.shard.to_string()),
                    ];
                    counter(&mut lines.encode_family(&labels)?, read(partition))?;
                }
            }
            Reading::Gauge(read) => {
                for partition in &self.0 {
                    let labels = [
                        ("topic", partition.topic.clone()),
                        ("partition", partition.index.to_string()),
                    ];
                    lines
                        .encode_family(&labels)?
                        .encode_gauge(&read(partition))?;
                }
            }
        }
        Ok(())
    }
}

/// Name, kind, labels and meaning of each row, as the reference shows them.
pub(super) fn shown_rows()
-> impl Iterator<Item = (String, &'static str, &'static str, &'static str)> {
    ROWS.iter().map(|row| {
        let (name, kind, labels) = match row.reading {
            Reading::TopicCounter(_) => (format!("{}_total", row.name), "counter", "topic"),
            Reading::Counter(_) => {
                let labels = "topic, partition, shard";
                (format!("{}_total", row.name), "counter", labels)
            }
            Reading::Gauge(_) => (row.name.to_owned(), "gauge", "topic, partition"),
        };
        (name, kind, labels, row.help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, index: i32) -> PartitionMetrics {
        PartitionMetrics {
            topic: topic.to_owned(),
            index,
            shard: 3,
            bytes_in: 100 + index as u64,
            replicas: 1,
            in_sync: 1,
            min_in_sync: 2,
            ..PartitionMetrics::default()
        }
    }

    #[test]
    fn topics_are_the_sums_of_their_partitions() {
        let all = vec![partition("b", 0), partition("a", 1), partition("a", 0)];
        let text = render_partitions(all).expect("renders");
        let shows = |line: &str| assert!(text.lines().any(|one| one == line), "{line}: {text}");
        shows("kafka_server_brokertopicmetrics_bytesin_total{topic=\"a\"} 201");
        shows("kafka_server_brokertopicmetrics_bytesin_total{topic=\"b\"} 100");
        shows("klamm_partition_bytes_in_total{topic=\"a\",partition=\"1\",shard=\"3\"} 101");
        // One replica is all there can be.
        shows("kafka_cluster_partition_atminisr{topic=\"a\",partition=\"0\"} 1");
        shows("kafka_cluster_partition_underminisr{topic=\"a\",partition=\"0\"} 0");
    }

    #[test]
    fn a_pattern_names_one_topic_or_all_that_begin_alike() {
        let pattern = TopicPattern::new("orders");
        assert!(pattern.admits("orders") && !pattern.admits("orders-2"));
        let pattern = TopicPattern::new("orders*");
        assert!(pattern.admits("orders-2") && !pattern.admits("order"));
        assert!(TopicPattern::all().admits("anything"));
    }
}
