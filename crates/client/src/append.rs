//! Produce on the wire: batches of several partitions of one leader in one request, and what the
//! leader said about each.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{
    Acks, LeaderEpoch, NodeId, Offset, PartitionIndex, Timestamp, TopicId, TopicName,
};
use klamm_wire::produce;

use crate::admin::milliseconds;
use crate::error::BrokerError;
use crate::metadata::{Cluster, PartitionName};

/// Last version that names topics by their name; later ones need ids.
pub const LAST_VERSION_BY_NAME: i16 = 12;

/// The wire's number of an acknowledgement.
#[must_use]
pub const fn acks_number(acks: Acks) -> i16 {
    match acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    }
}

/// A request, and the highest version in which it can be sent.
#[derive(Clone, Debug)]
pub struct Shaped<M> {
    /// The request.
    pub request: M,
    /// Highest version that can express it.
    pub version_max: i16,
}

/// A Produce request. Carries topic names and ids; without an id of every topic it cannot go out
/// in a version that wants them.
#[must_use]
pub fn request(
    batches: &[(PartitionName, Bytes)],
    acks: Acks,
    timeout: Duration,
    cluster: &Cluster,
) -> Shaped<produce::Request<'static>> {
    let mut by_topic: BTreeMap<&TopicName, Vec<produce::PartitionProduceData>> = BTreeMap::new();
    for (partition, batch) in batches {
        let row = produce::PartitionProduceData {
            index: partition.index.0,
            records: Some(batch.clone().into()),
        };
        by_topic.entry(&partition.topic).or_default().push(row);
    }
    let mut version_max = i16::MAX;
    let topic_data = by_topic
        .into_iter()
        .map(|(name, partition_data)| {
            let id = cluster.topic(name).map_or(TopicId::ZERO, |topic| topic.id);
            if id.is_zero() {
                version_max = LAST_VERSION_BY_NAME;
            }
            produce::TopicProduceData {
                name: name.as_str().to_owned().into(),
                topic_id: id.0,
                partition_data,
            }
        })
        .collect();
    let request = produce::Request {
        transactional_id: None,
        acks: acks_number(acks),
        timeout_ms: milliseconds(timeout),
        topic_data,
    };
    Shaped {
        request,
        version_max,
    }
}

/// Where a batch came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record; `None` where the leader did not say (`acks=0`, or a duplicate
    /// that the leader no longer remembers).
    pub base_offset: Option<Offset>,
    /// The time that the broker stamped, if the topic has log-append time.
    pub log_append_time: Option<Timestamp>,
    /// First offset of the partition that can be read, where the version tells.
    pub log_start: Option<Offset>,
}

/// What a leader says of a partition that it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub error: BrokerError,
    /// First offset of the partition that can be read, where the version tells.
    pub log_start: Option<Offset>,
    /// The leader to go to instead (KIP-951).
    pub leader: Option<(NodeId, LeaderEpoch)>,
}

/// Reads a Produce answer, partition by partition. Topics that come by an id which `cluster` does
/// not know are left out.
pub fn read(
    view: &produce::ResponseView<'_>,
    cluster: &Cluster,
) -> Vec<(PartitionName, Result<Appended, Refused>)> {
    let mut outcomes = Vec::new();
    for topic in view.responses() {
        let Some(name) = topic_name(topic.name(), topic.topic_id(), cluster) else {
            continue;
        };
        for row in topic.partition_responses() {
            let partition = PartitionName::new(name.clone(), PartitionIndex(row.index()));
            let outcome = read_partition(&row, &partition);
            outcomes.push((partition, outcome));
        }
    }
    outcomes
}

fn read_partition(
    row: &produce::PartitionProduceResponseView<'_>,
    partition: &PartitionName,
) -> Result<Appended, Refused> {
    let log_start = Some(Offset(row.log_start_offset())).filter(|offset| offset.0 >= 0);
    let first_fault = || {
        let fault = row.record_errors().iter().next()?;
        let index = fault.batch_index();
        let text = fault.batch_index_error_message().unwrap_or("refused");
        Some(format!("record {index}: {text}"))
    };
    let subject = || format!("partition {partition}");
    match BrokerError::check(row.error_code(), row.error_message(), subject) {
        Ok(()) => Ok(Appended {
            base_offset: Some(Offset(row.base_offset())).filter(|offset| offset.0 >= 0),
            log_append_time: Some(Timestamp(row.log_append_time_ms())).filter(|time| time.0 >= 0),
            log_start,
        }),
        Err(mut error) => {
            if let Some(fault) = first_fault() {
                error.message = Some(match error.message.take() {
                    Some(message) => format!("{message} ({fault})"),
                    None => fault,
                });
            }
            let leader = row.current_leader();
            let leader = (leader.leader_id() >= 0).then(|| {
                let epoch = LeaderEpoch(leader.leader_epoch());
                (NodeId(leader.leader_id()), epoch)
            });
            Err(Refused {
                error,
                log_start,
                leader,
            })
        }
    }
}

/// A topic that a message names by name up to some version and by id after it.
pub(crate) fn topic_name(name: &str, id: [u8; 16], cluster: &Cluster) -> Option<TopicName> {
    if name.is_empty() {
        Some(cluster.topic_by_id(TopicId(id))?.name.clone())
    } else {
        TopicName::new(name).ok()
    }
}
