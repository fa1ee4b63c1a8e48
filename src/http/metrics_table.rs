//! What a metric is: name, kind, meaning, labels, and the number that it shows. The endpoint and the
//! reference documentation read the rows of `metrics_kafka.rs` and `metrics_klamm.rs`.

use super::metrics::{
    ControllerMetrics, FolderFacts, NodeMetrics, ProcessFacts, QuorumMetrics, ReplicationMetrics,
    RequestTimes, ShardMetrics,
};
use super::metrics_kafka::KAFKA_METRICS;
use super::metrics_klamm::KLAMM_METRICS;
use super::times::TimeHistogram;
use super::window::Observed;

/// One kind of times of a request.
pub(super) type RequestPart = fn(&RequestTimes) -> &TimeHistogram;

/// Where a metric's number comes from, and with it its kind and labels.
#[derive(Clone, Copy)]
pub(super) enum Reading {
    /// Grows; the sum over the shards, no label. Shown with `_total` behind its name.
    Counter(fn(&ShardMetrics) -> u64),
    /// Of the moment; the sum over the shards, no label.
    Gauge(fn(&ShardMetrics) -> u64),
    /// Grows; one line per shard, label `shard`. Shown with `_total` behind its name.
    ShardCounter(fn(&ShardMetrics) -> u64),
    /// As `ShardCounter`, of microseconds, shown in seconds.
    ShardSeconds(fn(&ShardMetrics) -> u64),
    /// Of the moment; one line per shard, label `shard`.
    ShardGauge(fn(&ShardMetrics) -> u64),
    /// Times in seconds; one set of lines per shard, label `shard`; in buckets with these upper ends
    /// in microseconds.
    ShardTimes(fn(&ShardMetrics) -> &TimeHistogram, &'static [u64]),
    /// Times of all shards lately, in milliseconds; one line per label `quantile`.
    Quantiles(fn(&ShardMetrics) -> &TimeHistogram),
    /// How many times there were since the start; the name ends in `_count` as Kafka's does.
    Count(fn(&ShardMetrics) -> &TimeHistogram),
    /// Grows; one line per API that was asked for, label `request`.
    RequestCounter(fn(&RequestTimes) -> u64),
    /// Times of requests lately, in milliseconds; labels `request` and `quantile`.
    RequestQuantiles(RequestPart),
    /// How many times there were since the start, label `request`; the name ends in `_count`.
    RequestCount(RequestPart),
    /// Times of requests and of their parts in seconds; labels `request` and `part`.
    RequestSeconds,
    /// Of the moment; absent unless this node hosts the controller.
    Controller(fn(&ControllerMetrics) -> u64),
    /// Of the moment; absent unless the shard answered that knows.
    Replication(fn(&ReplicationMetrics) -> u64),
    /// Of the moment; absent unless this node has a part of the metadata quorum.
    Quorum(fn(&QuorumMetrics) -> f64),
    /// 1 with the role as a label; absent as `Quorum`.
    RaftState,
    /// Of the moment; of the node.
    Node(fn(&NodeMetrics) -> u64),
    /// Of the moment; one line per data folder, label `logdirectory`.
    Folder(fn(&FolderFacts) -> u64),
    /// Grows; of the process, of hundredths of a second, shown in seconds.
    ProcessSeconds(fn(&ProcessFacts) -> u64),
    /// Of the last minute or so.
    Recent(fn(&Observed) -> f64),
    /// The same on every node of one broker; the row says why.
    Always(u64),
    /// As `Always`, of a number that would grow elsewhere.
    AlwaysCounter(u64),
}

/// One metric.
pub(super) struct Metric {
    /// Name without a counter's `_total`.
    pub(super) name: &'static str,
    /// What it tells.
    pub(super) help: &'static str,
    /// The number.
    pub(super) reading: Reading,
}

impl Metric {
    /// Name, kind and labels, as the reference shows them.
    pub(super) fn shown(&self) -> (String, &'static str, &'static str) {
        let counter = || format!("{}_total", self.name);
        let plain = || self.name.to_owned();
        match self.reading {
            Reading::Counter(_) | Reading::ProcessSeconds(_) | Reading::AlwaysCounter(_) => {
                (counter(), "counter", "")
            }
            Reading::ShardCounter(_) | Reading::ShardSeconds(_) => (counter(), "counter", "shard"),
            Reading::RequestCounter(_) => (counter(), "counter", "request"),
            Reading::Gauge(_)
            | Reading::Controller(_)
            | Reading::Replication(_)
            | Reading::Quorum(_)
            | Reading::Node(_)
            | Reading::Recent(_)
            | Reading::Always(_) => (plain(), "gauge", ""),
            Reading::ShardGauge(_) => (plain(), "gauge", "shard"),
            Reading::Folder(_) => (plain(), "gauge", "logdirectory"),
            Reading::Quantiles(_) => (plain(), "gauge", "quantile"),
            Reading::RequestQuantiles(_) => (plain(), "gauge", "request, quantile"),
            Reading::RaftState => (plain(), "gauge", "current_state"),
            Reading::Count(_) => (plain(), "unknown", ""),
            Reading::RequestCount(_) => (plain(), "unknown", "request"),
            Reading::ShardTimes(..) => (plain(), "histogram", "shard"),
            Reading::RequestSeconds => (plain(), "histogram", "request, part"),
        }
    }
}

pub(super) const fn row(name: &'static str, reading: Reading, help: &'static str) -> Metric {
    Metric {
        name,
        help,
        reading,
    }
}

/// All metrics, in the order in which they are shown.
pub(super) fn metrics() -> impl Iterator<Item = &'static Metric> {
    KAFKA_METRICS.iter().chain(KLAMM_METRICS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_legal_for_prometheus() {
        let mut seen = BTreeSet::new();
        for metric in metrics() {
            assert!(seen.insert(metric.name), "{} occurs twice", metric.name);
            assert!(
                metric
                    .name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{}",
                metric.name
            );
            assert!(
                !metric.name.ends_with("_total"),
                "{}: the encoder adds it",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
