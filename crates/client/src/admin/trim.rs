//! DeleteRecords: moves the start of a partition's log, at its leader (KIP-107).

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_model::{Offset, PartitionIndex, TopicName};
use klamm_wire::delete_records;

use super::milliseconds;
use crate::error::BrokerError;
use crate::metadata::PartitionName;

/// Where a log shall start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// At this offset: what lies before it is gone.
    Offset(Offset),
    /// At the high watermark: all that consumers can see is gone.
    End,
}

/// A DeleteRecords request for partitions of one leader.
#[must_use]
pub fn delete_records(
    wanted: &[(PartitionName, TrimTo)],
    timeout: Duration,
) -> delete_records::Request<'static> {
    let mut by_topic: BTreeMap<&TopicName, Vec<delete_records::DeleteRecordsPartition>> =
        BTreeMap::new();
    for (partition, to) in wanted {
        let row = delete_records::DeleteRecordsPartition {
            partition_index: partition.index.0,
            offset: match to {
                TrimTo::Offset(offset) => offset.0,
                TrimTo::End => -1,
            },
        };
        by_topic.entry(&partition.topic).or_default().push(row);
    }
    let topics =
        by_topic
            .into_iter()
            .map(|(name, partitions)| delete_records::DeleteRecordsTopic {
                name: name.as_str().to_owned().into(),
                partitions,
            });
    delete_records::Request {
        topics: topics.collect(),
        timeout_ms: milliseconds(timeout),
    }
}

/// Reads a DeleteRecords answer: where each log starts now.
pub fn deleted_records(
    view: &delete_records::ResponseView<'_>,
) -> Vec<(PartitionName, Result<Offset, BrokerError>)> {
    let mut outcomes = Vec::new();
    for topic in view.topics() {
        let Ok(name) = TopicName::new(topic.name()) else {
            continue;
        };
        for row in topic.partitions() {
            let partition = PartitionName::new(name.clone(), PartitionIndex(row.partition_index()));
            let subject = || format!("partition {partition}");
            let outcome = BrokerError::check(row.error_code(), None, subject);
            let outcome = outcome.map(|()| Offset(row.low_watermark()));
            outcomes.push((partition, outcome));
        }
    }
    outcomes
}
