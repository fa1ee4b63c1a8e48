//! The admin face over HTTP: `/metrics`, `/metrics/partitions`, `/metrics/groups`, `/groups`, `/livez`,
//! `/readyz`. Runs on a control thread of its own, so that no request here can delay a shard; it only
//! renders what boot's `ControlPlane` tells.

#[cfg(test)]
mod dashboard;
mod groups;
mod groups_reference;
mod listener;
mod metrics;
mod metrics_groups;
mod metrics_kafka;
mod metrics_klamm;
mod metrics_partitions;
mod metrics_table;
mod reference;
mod render;
mod server;
mod times;
mod window;

pub use groups::{
    EventLine, Found, GroupLine, GroupPage, HistoryPage, LIST_NAME_BYTES_MAX, LagSums, ListPart,
    ListedAfter, MemberLine, MemberMovedLine, MovedLine, PARTITIONS_SHOWN_MAX, PartitionLine,
    Rates, RefusedLine, TopicLine, UncommittedLine,
};
pub use groups_reference::groups_reference;
pub(crate) use listener::CONNECTIONS_MAX as ADMIN_CONNECTIONS_MAX;
pub use metrics::{
    ControllerMetrics, FolderFacts, NodeFacts, NodeMetrics, PartitionMetrics, ProcessFacts,
    QuorumMetrics, ReplicationMetrics, RequestTimes, ShardMetrics,
};
pub use metrics_groups::{
    GROUP_NAME_BYTES_MAX, GROUP_PARTITIONS_MAX, GroupMetrics, GroupPattern, OneGroupMetrics,
    OnePartitionMetrics, name_bytes,
};
pub use metrics_partitions::TopicPattern;
pub use reference::{metric_names, metrics_reference};
pub use server::{AdminServer, ControlPlane, ListReplies, PartitionReplies, Replies, ShardReplies};
pub use times::TimeHistogram;
