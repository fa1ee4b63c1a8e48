//! The cluster as a whole: its brokers (KIP-700), and what their log folders hold (KIP-113).

use std::collections::BTreeMap;

use klamm_model::{NodeId, PartitionIndex, TopicName};
use klamm_wire::{describe_cluster, describe_log_dirs};

use crate::error::BrokerError;
use crate::metadata::{Broker, PartitionName};

/// A cluster as one of its brokers described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub id: String,
    /// The broker that takes administrative requests, if there is one.
    pub controller: Option<NodeId>,
    /// Its brokers in the order of their ids.
    pub brokers: Vec<DescribedBroker>,
}

/// A broker, and whether it may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedBroker {
    /// Where it listens.
    pub broker: Broker,
    /// It is registered and takes no part; where the version tells (from 2 on).
    pub fenced: bool,
}

/// A DescribeCluster request in the shape of `version`: fenced brokers can be asked for from 2 on.
#[must_use]
pub fn describe_cluster(version: i16) -> describe_cluster::Request {
    describe_cluster::Request {
        include_fenced_brokers: version >= 2,
        ..Default::default()
    }
}

/// Reads a DescribeCluster answer.
///
/// # Errors
/// What the broker said.
pub fn described_cluster(
    view: &describe_cluster::ResponseView<'_>,
) -> Result<ClusterDescription, BrokerError> {
    BrokerError::check(view.error_code(), view.error_message(), || {
        "cluster".to_owned()
    })?;
    let rows = view.brokers().iter().filter_map(|row| {
        Some(DescribedBroker {
            broker: Broker {
                id: NodeId(row.broker_id()),
                host: row.host().to_owned(),
                port: u16::try_from(row.port()).ok()?,
                rack: row.rack().map(str::to_owned),
            },
            fenced: row.is_fenced(),
        })
    });
    let mut brokers: Vec<DescribedBroker> = rows.collect();
    brokers.sort_by_key(|it| it.broker.id);
    Ok(ClusterDescription {
        id: view.cluster_id().to_owned(),
        controller: Some(view.controller_id()).filter(|&id| id >= 0).map(NodeId),
        brokers,
    })
}

/// A folder of a broker in which logs lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Its path on the broker.
    pub path: String,
    /// Bytes of the file system below it, where the version tells (from 4 on).
    pub bytes_total: Option<u64>,
    /// Bytes of it that are free, where the version tells.
    pub bytes_usable: Option<u64>,
    /// What it holds.
    pub replicas: Vec<StoredReplica>,
}

/// One replica in a log folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReplica {
    /// Of which partition.
    pub partition: PartitionName,
    /// Bytes of its segments.
    pub bytes: u64,
    /// How far it is behind the high watermark, in records; less than nothing for one that is ahead.
    pub offset_lag: i64,
    /// It is on its way into this folder and will replace the one in another.
    pub is_future: bool,
}

/// A DescribeLogDirs request for these partitions, or for all.
#[must_use]
pub fn describe_log_dirs(
    partitions: Option<&[PartitionName]>,
) -> describe_log_dirs::Request<'static> {
    let topics = partitions.map(|partitions| {
        let mut by_topic: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let rows = by_topic.entry(&partition.topic).or_default();
            rows.push(partition.index.0);
        }
        let topics = by_topic.into_iter();
        topics
            .map(
                |(name, partitions)| describe_log_dirs::DescribableLogDirTopic {
                    topic: name.as_str().to_owned().into(),
                    partitions,
                },
            )
            .collect()
    });
    describe_log_dirs::Request { topics }
}

/// Reads a DescribeLogDirs answer, folder by folder.
///
/// # Errors
/// What the broker said of all folders together.
pub fn described_log_dirs(
    view: &describe_log_dirs::ResponseView<'_>,
) -> Result<Vec<Result<LogDir, BrokerError>>, BrokerError> {
    BrokerError::check(view.error_code(), None, || "log folders".to_owned())?;
    Ok(view.results().iter().map(|row| log_dir(&row)).collect())
}

fn log_dir(row: &describe_log_dirs::DescribeLogDirsResultView<'_>) -> Result<LogDir, BrokerError> {
    BrokerError::check(row.error_code(), None, || {
        format!("log folder {}", row.log_dir())
    })?;
    let mut replicas = Vec::new();
    for topic in row.topics() {
        let Ok(name) = TopicName::new(topic.name()) else {
            continue;
        };
        replicas.extend(topic.partitions().iter().map(|partition| StoredReplica {
            partition: PartitionName::new(
                name.clone(),
                PartitionIndex(partition.partition_index()),
            ),
            bytes: u64::try_from(partition.partition_size()).unwrap_or(0),
            offset_lag: partition.offset_lag(),
            is_future: partition.is_future_key(),
        }));
    }
    replicas.sort_by(|left, right| left.partition.cmp(&right.partition));
    Ok(LogDir {
        path: row.log_dir().to_owned(),
        // -1 where the broker does not tell.
        bytes_total: u64::try_from(row.total_bytes()).ok(),
        bytes_usable: u64::try_from(row.usable_bytes()).ok(),
        replicas,
    })
}
