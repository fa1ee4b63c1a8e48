//! The rows of metrics with the names of Kafka's own, as the JMX exporter's usual rules make them and
//! dashboards query them. What is constant here is so for a reason that its row tells.

use super::metrics_table::{Metric, Reading, row};
use super::window::Observed;

/// In the order in which they are shown.
pub(super) const KAFKA_METRICS: &[Metric] = &[
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
        "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
        Reading::Controller(|controller| controller.preferred_replica_imbalance),
        "Partitions of the cluster that another than their preferred replica leads.",
    ),
    row(
        "kafka_controller_kafkacontroller_activebrokercount",
        Reading::Controller(|controller| controller.brokers),
        "Registered brokers.",
    ),
    row(
        "kafka_controller_kafkacontroller_fencedbrokercount",
        Reading::Always(0),
        "Brokers that are registered and may not serve. Always 0: the only broker is the controller.",
    ),
    row(
        "kafka_controller_controllerstats_uncleanleaderelections",
        Reading::AlwaysCounter(0),
        "Leaders chosen that were not in sync. Always 0: a single replica is always in sync.",
    ),
    row(
        "kafka_server_replicamanager_underreplicatedpartitions",
        Reading::Replication(|seen| seen.under_replicated),
        "Partitions led here with fewer replicas in sync than they have.",
    ),
    row(
        "kafka_server_replicamanager_underminisrpartitioncount",
        Reading::Replication(|seen| seen.under_min_isr),
        "Partitions led here with fewer replicas in sync than min.insync.replicas, or than they have if that is less.",
    ),
    row(
        "kafka_server_replicamanager_atminisrpartitioncount",
        Reading::Replication(|seen| seen.at_min_isr),
        "Partitions led here with exactly as many replicas in sync as min.insync.replicas, or as they have if that is less.",
    ),
    row(
        "kafka_server_replicamanager_offlinereplicacount",
        Reading::Always(0),
        "Replicas in folders that failed. Always 0: a failed folder ends the process.",
    ),
    row(
        "kafka_server_replicamanager_reassigningpartitions",
        Reading::Always(0),
        "Partitions on their way to other brokers. Always 0: there is no other.",
    ),
    row(
        "kafka_server_replicamanager_isrshrinks",
        Reading::AlwaysCounter(0),
        "Times that a replica fell out of sync. Always 0: every partition has one replica.",
    ),
    row(
        "kafka_server_replicamanager_isrexpands",
        Reading::AlwaysCounter(0),
        "Times that a replica came back in sync. Always 0: every partition has one replica.",
    ),
    row(
        "kafka_coordinator_group_groupmetadatamanager_numgroups",
        Reading::Gauge(|shard| {
            shard.groups_empty
                + shard.groups_preparing_rebalance
                + shard.groups_completing_rebalance
                + shard.groups_stable
        }),
        "Groups that this node coordinates.",
    ),
    row(
        "kafka_coordinator_group_groupmetadatamanager_numgroupsempty",
        Reading::Gauge(|shard| shard.groups_empty),
        "Groups without members.",
    ),
    row(
        "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
        Reading::Gauge(|shard| shard.groups_preparing_rebalance),
        "Groups whose round waits for members.",
    ),
    row(
        "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
        Reading::Gauge(|shard| shard.groups_completing_rebalance),
        "Groups whose round waits for assignments.",
    ),
    row(
        "kafka_coordinator_group_groupmetadatamanager_numgroupsstable",
        Reading::Gauge(|shard| shard.groups_stable),
        "Groups whose members have their assignments.",
    ),
    row(
        "kafka_coordinator_group_groupmetadatamanager_numoffsets",
        Reading::Gauge(|shard| shard.group_offsets),
        "Offsets that are kept for groups.",
    ),
    row(
        "kafka_coordinator_group_groupmetadatamanager_numgroupsdead",
        Reading::Always(0),
        "Groups that are being forgotten. Always 0: that takes no time.",
    ),
    row(
        "kafka_server_group_coordinator_metrics_offset_commit_count",
        Reading::Gauge(|shard| shard.group_offsets_committed),
        "Offsets that clients committed, since the start.",
    ),
    row(
        "kafka_server_group_coordinator_metrics_offset_expiration_count",
        Reading::Gauge(|shard| shard.group_offsets_expired),
        "Offsets that nobody used for too long, since the start.",
    ),
    row(
        "kafka_server_group_coordinator_metrics_offset_deletion_count",
        Reading::Gauge(|shard| shard.group_offsets_deleted),
        "Offsets that clients deleted, or that went with their topic or group, since the start.",
    ),
    row(
        "kafka_server_group_coordinator_metrics_group_completed_rebalance_count",
        Reading::Gauge(|shard| shard.group_rebalances_completed),
        "Rounds of groups whose assignments were kept, since the start.",
    ),
    row(
        "kafka_log_logcleanermanager_uncleanable_partitions_count",
        Reading::Gauge(|shard| shard.uncleanable_partitions),
        "Compacted partitions that are not compacted any more until the next start, because something was in the way; the log says what.",
    ),
    row(
        "kafka_log_logcleanermanager_uncleanable_bytes",
        Reading::Gauge(|shard| shard.uncleanable_bytes),
        "Bytes of such partitions that are not clean.",
    ),
    row(
        "kafka_log_logmanager_offlinelogdirectorycount",
        Reading::Always(0),
        "Folders of logs that failed. Always 0: a failed folder ends the process.",
    ),
    row(
        "kafka_log_logmanager_logdirectoryoffline",
        Reading::Folder(|_| 0),
        "Always 0: a data folder that fails ends the process.",
    ),
    row(
        "kafka_log_logmanager_remaininglogstorecover",
        Reading::Always(0),
        "Logs that the start has still to recover. Always 0: metrics are served once all are.",
    ),
    row(
        "kafka_log_logmanager_remainingsegmentstorecover",
        Reading::Always(0),
        "Segments that the start has still to recover. Always 0: metrics are served once all are.",
    ),
    row(
        "kafka_log_logflushstats_logflushrateandtimems",
        Reading::Quantiles(|shard| &shard.wal_flush_time),
        "How long flushes of the write-ahead logs took lately, in milliseconds.",
    ),
    row(
        "kafka_log_logflushstats_logflushrateandtimems_count",
        Reading::Count(|shard| &shard.wal_flush_time),
        "Flushes of the write-ahead logs since the start.",
    ),
    row(
        "kafka_server_kafkaserver_brokerstate",
        Reading::Node(|node| if node.node.ready { 3 } else { 1 }),
        "3 while clients are served, 1 before.",
    ),
    row(
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        Reading::Recent(Observed::idle_share),
        "Share of the time, from 0 to 1, in which the shards lately had nothing to do.",
    ),
    row(
        "kafka_network_socketserver_networkprocessoravgidle_percent",
        Reading::Recent(Observed::idle_share),
        "The same: a shard does the work of Kafka's request handlers and of its network threads.",
    ),
    row(
        "kafka_network_requestchannel_requestqueuesize",
        Reading::Gauge(|shard| shard.requests_queued),
        "Requests that are whole here and on which work has not begun.",
    ),
    row(
        "kafka_network_requestmetrics_requests",
        Reading::RequestCounter(|times| times.total.count()),
        "Requests that were answered.",
    ),
    row(
        "kafka_network_requestmetrics_totaltimems",
        Reading::RequestQuantiles(|times| &times.total),
        "How long requests took lately from the last byte read to the last byte of the answer sent, in milliseconds.",
    ),
    row(
        "kafka_network_requestmetrics_totaltimems_count",
        Reading::RequestCount(|times| &times.total),
        "Requests that were answered since the start.",
    ),
    row(
        "kafka_network_requestmetrics_requestqueuetimems",
        Reading::RequestQuantiles(|times| &times.queue),
        "Of that: until work on the request began.",
    ),
    row(
        "kafka_network_requestmetrics_localtimems",
        Reading::RequestQuantiles(|times| &times.log),
        "Of that: work that waits for nothing; a Produce has its place in the log then.",
    ),
    row(
        "kafka_network_requestmetrics_remotetimems",
        Reading::RequestQuantiles(|times| &times.wait),
        "Of that: waiting for what the answer depends on, such as a flush of the log, or records to come.",
    ),
    row(
        "kafka_network_requestmetrics_responsequeuetimems",
        Reading::RequestQuantiles(|times| &times.behind),
        "Of that: a complete answer waited to be sent with those before it.",
    ),
    row(
        "kafka_network_requestmetrics_responsesendtimems",
        Reading::RequestQuantiles(|times| &times.send),
        "Of that: until the kernel had taken all of the answer.",
    ),
    row(
        "kafka_server_raftmetrics_current_state",
        Reading::RaftState,
        "1, with this node's role in the metadata quorum as a label: leader or follower.",
    ),
    row(
        "kafka_server_raftmetrics_current_leader",
        Reading::Quorum(|quorum| quorum.leader.map_or(-1.0, f64::from)),
        "Node that leads the metadata quorum; -1 while none is known.",
    ),
    row(
        "kafka_server_raftmetrics_current_epoch",
        Reading::Quorum(|quorum| f64::from(quorum.epoch)),
        "Reign of that leader.",
    ),
    row(
        "kafka_server_raftmetrics_high_watermark",
        Reading::Quorum(|quorum| quorum.high_watermark as f64),
        "End of what is committed of the metadata log.",
    ),
    row(
        "kafka_server_raftmetrics_log_end_offset",
        Reading::Quorum(|quorum| quorum.log_end.unwrap_or(quorum.high_watermark) as f64),
        "End of the metadata log.",
    ),
    row(
        "kafka_server_raftmetrics_append_records_rate",
        Reading::Recent(Observed::quorum_appends),
        "Records appended to the metadata log lately, each second.",
    ),
];
