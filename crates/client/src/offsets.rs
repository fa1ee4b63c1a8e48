//! ListOffsets: which offset stands for the start, the end, or a time.

use std::collections::BTreeMap;

use klamm_model::{IsolationLevel, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicName};
use klamm_wire::list_offsets;

use crate::error::BrokerError;
use crate::metadata::PartitionName;

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// First offset that can be read.
    Earliest,
    /// End: high watermark, or last stable offset for read-committed.
    Latest,
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// First record at or after this time.
    AtTime(Timestamp),
}

impl OffsetSpec {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::AtTime(time) => time.0,
        }
    }
}

/// An offset found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` where no record is as late as the time asked for.
    pub offset: Option<Offset>,
    /// The record's time, where one was found by time.
    pub timestamp: Option<Timestamp>,
    /// Leader epoch of the record, where the broker tells.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// The wire's number of an isolation level.
#[must_use]
pub const fn isolation_number(isolation: IsolationLevel) -> i8 {
    match isolation {
        IsolationLevel::ReadUncommitted => 0,
        IsolationLevel::ReadCommitted => 1,
    }
}

/// A ListOffsets request for partitions of one leader.
#[must_use]
pub fn request(
    wanted: &[(PartitionName, OffsetSpec)],
    isolation: IsolationLevel,
    timeout_ms: i32,
) -> list_offsets::Request<'static> {
    let mut by_topic: BTreeMap<&TopicName, Vec<list_offsets::ListOffsetsPartition>> =
        BTreeMap::new();
    for (partition, spec) in wanted {
        let row = list_offsets::ListOffsetsPartition {
            partition_index: partition.index.0,
            timestamp: spec.number(),
            ..Default::default()
        };
        by_topic.entry(&partition.topic).or_default().push(row);
    }
    let topics = by_topic
        .into_iter()
        .map(|(name, partitions)| list_offsets::ListOffsetsTopic {
            name: name.as_str().to_owned().into(),
            partitions,
        });
    list_offsets::Request {
        replica_id: -1,
        isolation_level: isolation_number(isolation),
        topics: topics.collect(),
        timeout_ms,
    }
}

/// Reads an answer, partition by partition.
pub fn read(
    view: &list_offsets::ResponseView<'_>,
) -> Vec<(PartitionName, Result<ListedOffset, BrokerError>)> {
    let mut found = Vec::new();
    for topic in view.topics() {
        let Ok(name) = TopicName::new(topic.name()) else {
            continue;
        };
        for row in topic.partitions() {
            let partition = PartitionName::new(name.clone(), PartitionIndex(row.partition_index()));
            let outcome =
                BrokerError::check(row.error_code(), None, || format!("partition {partition}"));
            let listed = ListedOffset {
                offset: Some(Offset(row.offset())).filter(|offset| offset.0 >= 0),
                timestamp: Some(Timestamp(row.timestamp())).filter(|time| time.0 >= 0),
                leader_epoch: Some(LeaderEpoch(row.leader_epoch())).filter(|epoch| epoch.0 >= 0),
            };
            found.push((partition, outcome.map(|()| listed)));
        }
    }
    found
}
