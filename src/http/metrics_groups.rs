//! The page of groups: how far each is behind, under the names that exporters gave to it. It may be
//! long, so it is asked for by itself, and by the names of groups. Pure.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::metrics_partitions::TopicPattern;
use super::render::{encode_all, gauge};

/// Most partitions of groups on one page.
pub const GROUP_PARTITIONS_MAX: usize = 20_000;

/// Most bytes of names on one page, each counted as often as it is written.
pub const GROUP_NAME_BYTES_MAX: usize = 32 << 20;

/// Lines of one partition, and of one group, about.
const LINES: usize = 6;

/// Which groups are wanted.
pub type GroupPattern = TopicPattern;

/// What one core has for the page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupMetrics {
    /// The groups.
    pub groups: Vec<OneGroupMetrics>,
    /// There is more than a page takes.
    pub is_too_much: bool,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneGroupMetrics {
    /// Its name.
    pub group: String,
    /// How many members it has.
    pub members: u64,
    /// The verdict.
    pub verdict: &'static str,
    /// Age of the oldest of the first unread records.
    pub seconds: f64,
    /// Largest lag of a partition, as exporters count it.
    pub lag_max: u64,
    /// Its partitions, in the order of topics.
    pub partitions: Vec<OnePartitionMetrics>,
}

/// One partition of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OnePartitionMetrics {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub index: i32,
    /// The kept offset.
    pub committed: i64,
    /// From there to the high watermark.
    pub lag: u64,
    /// What of that was removed unread.
    pub missed: u64,
    /// Unread bytes.
    pub bytes: u64,
    /// Age of the first unread record, if it has a time.
    pub seconds: Option<f64>,
}

/// What a group takes of [`GROUP_NAME_BYTES_MAX`].
#[must_use]
pub const fn name_bytes(group: &str, partitions: usize) -> usize {
    // Escapes double a name at most.
    (2 * group.len() + 64) * (partitions + 1) * LINES
}

/// Where a number comes from, and with it its labels.
#[derive(Clone, Copy)]
enum Reading {
    /// Labels `consumergroup`, `topic`, `partition`, as kafka_exporter has them.
    Partition(fn(&OnePartitionMetrics) -> i64),
    /// The sum over the partitions of a topic, labels `consumergroup`, `topic`.
    Topic(fn(&OnePartitionMetrics) -> i64),
    /// Label `consumergroup`.
    Group(fn(&OneGroupMetrics) -> i64),
    /// 1 with the verdict as a label, beside `consumergroup`.
    Verdict,
    /// Labels `group`, `topic`, `partition`, as kafka-lag-exporter has them.
    LagPartition(fn(&OnePartitionMetrics) -> Option<f64>),
    /// Label `group`.
    LagGroup(fn(&OneGroupMetrics) -> f64),
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

const ROWS: &[Row] = &[
    row(
        "kafka_consumergroup_current_offset",
        Reading::Partition(|partition| partition.committed),
        "Kept offset of a group in a partition.",
    ),
    row(
        "kafka_consumergroup_current_offset_sum",
        Reading::Topic(|partition| partition.committed),
        "Sum of the kept offsets of a group in a topic.",
    ),
    row(
        "kafka_consumergroup_lag",
        Reading::Partition(|partition| gauge(partition.lag)),
        "Offsets from the kept one of a group to the high watermark of a partition, those that were removed unread included.",
    ),
    row(
        "kafka_consumergroup_lag_sum",
        Reading::Topic(|partition| gauge(partition.lag)),
        "Sum of the lag of a group over the partitions of a topic.",
    ),
    row(
        "kafka_consumergroup_members",
        Reading::Group(|group| gauge(group.members)),
        "Members of a group.",
    ),
    row(
        "kafka_consumergroup_group_lag_seconds",
        Reading::LagPartition(|partition| partition.seconds),
        "Age of the first record of a partition that a group has not read, by the record's own time; 0 if it has read all; absent if the record has no time.",
    ),
    row(
        "kafka_consumergroup_group_max_lag",
        Reading::LagGroup(|group| group.lag_max as f64),
        "Largest lag of a group in a partition, in offsets.",
    ),
    row(
        "kafka_consumergroup_group_max_lag_seconds",
        Reading::LagGroup(|group| group.seconds),
        "Largest age of a first unread record of a group.",
    ),
    row(
        "kafka_consumergroup_group_sum_lag",
        Reading::LagGroup(|group| {
            let lags = group.partitions.iter().map(|partition| partition.lag);
            lags.fold(0_u64, u64::saturating_add) as f64
        }),
        "Sum of the lag of a group over all its partitions, in offsets.",
    ),
    row(
        "klamm_consumergroup_lag_bytes",
        Reading::Partition(|partition| gauge(partition.bytes)),
        "Bytes of batches of a partition that a group has not read.",
    ),
    row(
        "klamm_consumergroup_missed",
        Reading::Partition(|partition| gauge(partition.missed)),
        "Offsets of a partition that were removed before a group had read them.",
    ),
    row(
        "klamm_consumergroup_verdict",
        Reading::Verdict,
        "1, with the verdict as a label: keeping-up, falling-behind, stuck, rebalancing or empty.",
    ),
];

/// The page of these groups.
///
/// # Errors
/// The encoder refused a value; it never does so for a `String`.
pub(super) fn render_groups(mut groups: Vec<OneGroupMetrics>) -> Result<String, fmt::Error> {
    groups.sort_by(|left, right| left.group.cmp(&right.group));
    for group in &mut groups {
        group.group = escaped(&group.group);
    }
    encode_all(Page(groups))
}

/// What a label's value may hold: the encoder writes it as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            plain => escaped.push(plain),
        }
    }
    escaped
}

#[derive(Debug)]
struct Page(Vec<OneGroupMetrics>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        ROWS.iter()
            .try_for_each(|row| self.encode_row(&mut encoder, row))
    }
}

impl Page {
    fn encode_row(&self, encoder: &mut DescriptorEncoder<'_>, row: &Row) -> fmt::Result {
        let mut lines = encoder.encode_descriptor(row.name, row.help, None, MetricType::Gauge)?;
        for group in &self.0 {
            let name = group.group.as_str();
            match row.reading {
                Reading::Partition(read) => {
                    for one in &group.partitions {
                        let index = one.index.to_string();
                        let labels = [
                            ("consumergroup", name),
                            ("topic", &one.topic),
                            ("partition", &index),
                        ];
                        lines.encode_family(&labels)?.encode_gauge(&read(one))?;
                    }
                }
                Reading::Topic(read) => {
                    let mut topics: BTreeMap<&str, i64> = BTreeMap::new();
                    for one in &group.partitions {
                        let sum = topics.entry(&one.topic).or_default();
                        *sum = sum.saturating_add(read(one));
                    }
                    for (topic, sum) in topics {
                        let labels = [("consumergroup", name), ("topic", topic)];
                        lines.encode_family(&labels)?.encode_gauge(&sum)?;
                    }
                }
                Reading::Group(read) => {
                    let labels = [("consumergroup", name)];
                    lines.encode_family(&labels)?.encode_gauge(&read(group))?;
                }
                Reading::Verdict => {
                    let labels = [("consumergroup", name), ("verdict", group.verdict)];
                    lines.encode_family(&labels)?.encode_gauge(&1_i64)?;
                }
                Reading::LagPartition(read) => {
                    for one in &group.partitions {
                        let Some(number) = read(one) else { continue };
                        let index = one.index.to_string();
                        let labels = [
                            ("group", name),
                            ("topic", &one.topic),
                            ("partition", &index),
                        ];
                        lines.encode_family(&labels)?.encode_gauge(&number)?;
                    }
                }
                Reading::LagGroup(read) => {
                    let labels = [("group", name)];
                    lines.encode_family(&labels)?.encode_gauge(&read(group))?;
                }
            }
        }
        Ok(())
    }
}

/// Name, kind, labels and meaning of each row, as the reference shows them.
pub(super) fn shown_group_rows()
-> impl Iterator<Item = (String, &'static str, &'static str, &'static str)> {
    ROWS.iter().map(|row| {
        let labels = match row.reading {
            Reading::Partition(_) => "consumergroup, topic, partition",
            Reading::Topic(_) => "consumergroup, topic",
            Reading::Group(_) => "consumergroup",
            Reading::Verdict => "consumergroup, verdict",
            Reading::LagPartition(_) => "group, topic, partition",
            Reading::LagGroup(_) => "group",
        };
        (row.name.to_owned(), "gauge", labels, row.help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> OneGroupMetrics {
        let partition = |topic: &str, index, lag| OnePartitionMetrics {
            topic: topic.to_owned(),
            index,
            committed: 10,
            lag,
            bytes: lag * 100,
            seconds: (index != 2).then_some(1.5),
            ..OnePartitionMetrics::default()
        };
        OneGroupMetrics {
            group: name.to_owned(),
            members: 2,
            verdict: "stuck",
            seconds: 1.5,
            lag_max: 7,
            partitions: vec![
                partition("a", 0, 7),
                partition("a", 1, 5),
                partition("b", 2, 1),
            ],
        }
    }

    #[test]
    fn lines_have_the_names_and_labels_that_exporters_gave_them() {
        let text = render_groups(vec![group("g")]).expect("renders");
        let shows = |line: &str| assert!(text.lines().any(|one| one == line), "{line}: {text}");
        shows("kafka_consumergroup_lag{consumergroup=\"g\",topic=\"a\",partition=\"1\"} 5");
        shows("kafka_consumergroup_lag_sum{consumergroup=\"g\",topic=\"a\"} 12");
        shows("kafka_consumergroup_current_offset_sum{consumergroup=\"g\",topic=\"a\"} 20");
        shows("kafka_consumergroup_members{consumergroup=\"g\"} 2");
        shows("kafka_consumergroup_group_lag_seconds{group=\"g\",topic=\"a\",partition=\"0\"} 1.5");
        shows("kafka_consumergroup_group_max_lag{group=\"g\"} 7.0");
        shows("kafka_consumergroup_group_sum_lag{group=\"g\"} 13.0");
        shows("klamm_consumergroup_lag_bytes{consumergroup=\"g\",topic=\"b\",partition=\"2\"} 100");
        shows("klamm_consumergroup_verdict{consumergroup=\"g\",verdict=\"stuck\"} 1");
        let timeless = "kafka_consumergroup_group_lag_seconds{group=\"g\",topic=\"b\"";
        assert!(
            !text.contains(timeless),
            "a record without a time has no age: {text}"
        );
    }

    #[test]
    fn no_name_of_a_group_breaks_a_line() {
        let text = render_groups(vec![group("a\"} 1\nb\\")]).expect("renders");
        let line = "kafka_consumergroup_members{consumergroup=\"a\\\"} 1\\nb\\\\\"} 2";
        assert!(text.lines().any(|one| one == line), "{text}");
        assert!(
            text.lines()
                .all(|one| one.starts_with('#') || one.starts_with('k')),
            "{text}"
        );
    }
}
