//! Every metric: name, kind, meaning, labels, and the number that it shows. The endpoint and the
//! reference documentation read these rows. Names of Kafka's own metrics are those that existing
//! dashboards use (the JMX exporter's usual rules).

use super::metrics::{ControllerMetrics, NodeMetrics, ShardMetrics, TimeHistogram};

/// Where a metric's number comes from, and with it its kind and labels.
#[derive(Clone, Copy)]
pub(super) enum Reading {
    /// Grows; the sum over the shards, no label. Shown with `_total` behind its name.
    Counter(fn(&ShardMetrics) -> u64),
    /// Of the moment; the sum over the shards, no label.
    Gauge(fn(&ShardMetrics) -> u64),
    /// Grows; one line per shard, label `shard`. Shown with `_total` behind its name.
    ShardCounter(fn(&ShardMetrics) -> u64),
    /// Of the moment; one line per shard, label `shard`.
    ShardGauge(fn(&ShardMetrics) -> u64),
    /// Times in seconds; one set of lines per shard, label `shard`.
    ShardTimes(fn(&ShardMetrics) -> &TimeHistogram),
    /// Of the moment; absent unless this node hosts the controller.
    Controller(fn(&ControllerMetrics) -> u64),
    /// Of the moment; of the node.
    Node(fn(&NodeMetrics) -> u64),
}

/// One metric.
pub(super) struct Metric {
    /// Name without a counter's `_total`.
    pub(super) name: &'static str,
    /// What it tells, in one sentence.
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
            Reading::Counter(_) => (counter(), "counter", ""),
            Reading::ShardCounter(_) => (counter(), "counter", "shard"),
            Reading::Gauge(_) | Reading::Controller(_) | Reading::Node(_) => (plain(), "gauge", ""),
            Reading::ShardGauge(_) => (plain(), "gauge", "shard"),
            Reading::ShardTimes(_) => (plain(), "histogram", "shard"),
        }
    }
}

const fn row(name: &'static str, reading: Reading, help: &'static str) -> Metric {
    Metric {
        name,
        help,
        reading,
    }
}

/// All metrics, in the order in which they are shown.
pub(super) const METRICS: &[Metric] = &[
    row(
        "kafka_server_brokertopicmetrics_messagesin",
        Reading::Counter(|shard| shard.messages_in),
        "Records appended by clients.",
    ),
    row(
        "kafka_server_brokertopicmetrics_bytesin",
        Reading::Counter(|shard| shard.bytes_in),
        "Bytes of batches appended by clients.",
    ),
    row(
        "kafka_server_brokertopicmetrics_bytesout",
        Reading::Counter(|shard| shard.bytes_out),
        "Bytes of batches sent to clients.",
    ),
    row(
        "kafka_server_brokertopicmetrics_bytesrejected",
        Reading::Counter(|shard| shard.bytes_rejected),
        "Bytes of batches that were refused.",
    ),
    row(
        "kafka_server_brokertopicmetrics_totalproducerequests",
        Reading::Counter(|shard| shard.produce_requests),
        "Produce requests.",
    ),
    row(
        "kafka_server_brokertopicmetrics_failedproducerequests",
        Reading::Counter(|shard| shard.produce_requests_failed),
        "Produce requests of which at least one partition failed.",
    ),
    row(
        "kafka_server_brokertopicmetrics_totalfetchrequests",
        Reading::Counter(|shard| shard.fetch_requests),
        "Fetch requests.",
    ),
    row(
        "kafka_server_brokertopicmetrics_failedfetchrequests",
        Reading::Counter(|shard| shard.fetch_requests_failed),
        "Fetch requests of which at least one partition failed.",
    ),
    row(
        "kafka_server_socket_server_metrics_connection_count",
        Reading::Gauge(|shard| shard.connections),
        "Open client connections.",
    ),
    row(
        "kafka_server_fetchsessioncache_numincrementalfetchsessions",
        Reading::Gauge(|shard| shard.fetch_sessions),
        "Fetch sessions.",
    ),
    row(
        "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
        Reading::Gauge(|shard| shard.fetch_session_partitions),
        "Partitions that all fetch sessions remember together.",
    ),
    row(
        "kafka_server_fetchsessioncache_incrementalfetchsessionevictions",
        Reading::Counter(|shard| shard.fetch_sessions_evicted),
        "Fetch sessions that had to make room for others.",
    ),
    row(
        "kafka_network_socketserver_memorypoolused",
        Reading::Gauge(|shard| shard.request_bytes),
        "Bytes of requests that are being read or answered; what queued.max.request.bytes bounds.",
    ),
    row(
        "kafka_network_socketserver_memorypoolavailable",
        Reading::Gauge(|shard| shard.request_bytes_room),
        "Bytes of requests for which there is room before requests above 32 KiB wait.",
    ),
    row(
        "kafka_server_replicamanager_partitioncount",
        Reading::Gauge(|shard| shard.partitions),
        "Partitions with a replica on this node.",
    ),
    row(
        "kafka_server_replicamanager_leadercount",
        Reading::Gauge(|shard| shard.leaders),
        "Partitions that this node leads.",
    ),
    row(
        "kafka_log_log_size",
        Reading::Gauge(|shard| shard.log_bytes),
        "Bytes of all partitions' logs on disk.",
    ),
    row(
        "kafka_controller_kafkacontroller_activecontrollercount",
        Reading::Controller(|controller| u64::from(controller.active)),
        "1 if this node is the active controller, else 0.",
    ),
    row(
        "kafka_controller_kafkacontroller_globaltopiccount",
        Reading::Controller(|controller| controller.topics),
        "Topics of the cluster.",
    ),
    row(
        "kafka_controller_kafkacontroller_globalpartitioncount",
        Reading::Controller(|controller| controller.partitions),
        "Partitions of the cluster.",
    ),
    row(
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        Reading::Controller(|controller| controller.partitions_offline),
        "Partitions of the cluster without a leader.",
    ),
    row(
        "klamm_shards",
        Reading::Node(|node| node.node.shards as u64),
        "Shards that run.",
    ),
    row(
        "klamm_shards_answering",
        Reading::Node(|node| node.shards.len() as u64),
        "Shards that answered this collection in time; fewer than klamm_shards means that one is stuck.",
    ),
    row(
        "klamm_start_time_seconds",
        Reading::Node(|node| u64::try_from(node.node.started_ms / 1000).unwrap_or(0)),
        "Wall-clock time of the start, in seconds since 1970.",
    ),
    row(
        "klamm_disk_free_bytes",
        Reading::Node(|node| node.node.disk_free_bytes),
        "Bytes that the broker may still write to the file system of its data folder, klamm.disk.reserve.bytes included.",
    ),
    row(
        "klamm_disk_bytes",
        Reading::Node(|node| node.node.disk_bytes),
        "Size of the file system of the data folder.",
    ),
    row(
        "klamm_produce_refused_for_space",
        Reading::Counter(|shard| shard.refused_for_space),
        "Batches of producers refused because the disk is full but for what klamm.disk.reserve.bytes keeps.",
    ),
    row(
        "klamm_shards_refusing_for_space",
        Reading::Gauge(|shard| shard.refuses_for_space),
        "Shards that refuse producers now because the disk is full.",
    ),
    row(
        "klamm_shard_connections",
        Reading::ShardGauge(|shard| shard.connections),
        "Open client connections of a shard.",
    ),
    row(
        "klamm_shard_request_bytes",
        Reading::ShardGauge(|shard| shard.request_bytes),
        "Bytes of requests that a shard is reading or answering.",
    ),
    row(
        "klamm_shard_requests_waiting_for_room",
        Reading::ShardGauge(|shard| shard.requests_waiting),
        "Connections of a shard whose next request waits until others are answered.",
    ),
    row(
        "klamm_shard_fetch_sessions",
        Reading::ShardGauge(|shard| shard.fetch_sessions),
        "Fetch sessions of a shard.",
    ),
    row(
        "klamm_shard_fetch_session_partitions",
        Reading::ShardGauge(|shard| shard.fetch_session_partitions),
        "Partitions that the fetch sessions of a shard remember.",
    ),
    row(
        "klamm_shard_partitions",
        Reading::ShardGauge(|shard| shard.partitions),
        "Partitions with a replica on a shard.",
    ),
    row(
        "klamm_shard_turns",
        Reading::ShardCounter(|shard| shard.turns),
        "Turns of a shard's loop.",
    ),
    row(
        "klamm_shard_letters",
        Reading::ShardCounter(|shard| shard.letters),
        "Letters that a shard sent to others.",
    ),
    row(
        "klamm_shard_wakes",
        Reading::ShardCounter(|shard| shard.wakes),
        "Times that a shard woke from sleep.",
    ),
    row(
        "klamm_shard_system_calls",
        Reading::ShardCounter(|shard| shard.system_calls),
        "System calls of a shard for sockets, write-ahead log, its ring and wakes of others.",
    ),
    row(
        "klamm_shard_ring_entries",
        Reading::ShardCounter(|shard| shard.ring_entries),
        "Operations that a shard handed to its io_uring: polls, flushes, direct reads and writes.",
    ),
    row(
        "klamm_shard_allocations",
        Reading::ShardCounter(|shard| shard.allocations),
        "Calls of the memory allocator by a shard.",
    ),
    row(
        "klamm_shard_copied_bytes",
        Reading::ShardCounter(|shard| shard.copied_bytes),
        "Bytes that a shard copied in memory: into the log, to make room for a request, and to align a segment's.",
    ),
    row(
        "klamm_shard_requests_parked",
        Reading::ShardGauge(|shard| shard.requests_parked),
        "Requests parked until data, replicas or time allow an answer.",
    ),
    row(
        "klamm_shard_tail_bytes",
        Reading::ShardGauge(|shard| shard.tail_bytes),
        "Bytes of recent records that a shard holds in memory.",
    ),
    row(
        "klamm_wal_written_bytes",
        Reading::ShardCounter(|shard| shard.wal_written_bytes),
        "Bytes written to a shard's write-ahead log.",
    ),
    row(
        "klamm_wal_live_bytes",
        Reading::ShardGauge(|shard| shard.wal_live_bytes),
        "Bytes of a shard's write-ahead log that no checkpoint covers yet.",
    ),
    row(
        "klamm_wal_files_made_ahead",
        Reading::ShardCounter(|shard| shard.wal_files_made_ahead),
        "Write-ahead files of a shard that were made before they were needed.",
    ),
    row(
        "klamm_wal_files_made_waiting",
        Reading::ShardCounter(|shard| shard.wal_files_made_waiting),
        "Write-ahead files of a shard that were made when they were needed, while all of its requests waited.",
    ),
    row(
        "klamm_wal_flushes",
        Reading::ShardCounter(|shard| shard.wal_flushes),
        "Flushes of a shard's write-ahead log.",
    ),
    row(
        "klamm_wal_flush_seconds",
        Reading::ShardTimes(|shard| &shard.wal_flush_time),
        "How long flushes of a shard's write-ahead log took.",
    ),
    row(
        "klamm_acked_not_durable_bytes",
        Reading::ShardGauge(|shard| shard.acked_not_durable_bytes),
        "Bytes acknowledged to clients that a power loss would take.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_legal_for_prometheus() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
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
