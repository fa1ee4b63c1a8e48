//! The admin face over HTTP: `/metrics`, `/metrics/partitions`, `/livez`, `/readyz`. Runs on a control thread of its own,
//! so that no request here can delay a shard; it only renders what boot's `ControlPlane` tells.

#[cfg(test)]
mod dashboard;
mod listener;
mod metrics;
mod metrics_kafka;
mod metrics_klamm;
mod metrics_partitions;
mod metrics_table;
mod reference;
mod render;
mod server;
mod times;
mod window;

pub(crate) use listener::CONNECTIONS_MAX as ADMIN_CONNECTIONS_MAX;
pub use metrics::{
    ControllerMetrics, FolderFacts, NodeFacts, NodeMetrics, PartitionMetrics, ProcessFacts,
    QuorumMetrics, ReplicationMetrics, RequestTimes, ShardMetrics,
};
pub use metrics_partitions::TopicPattern;
pub use reference::{metric_names, metrics_reference};
pub use server::{AdminServer, ControlPlane, PartitionReplies, Replies, ShardReplies};
pub use times::TimeHistogram;
