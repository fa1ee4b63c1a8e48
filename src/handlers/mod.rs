//! One handler for each API key: the only translators between the wire and the domain. What
//! several of them need to say about topics, leaders and endpoints is here.

mod config_changes;
pub(crate) mod coordinators;
pub mod h00_produce;
pub mod h01_fetch;
pub mod h02_list_offsets;
pub mod h03_metadata;
pub mod h08_offset_commit;
pub mod h09_offset_fetch;
pub mod h10_find_coordinator;
pub mod h11_join_group;
pub mod h12_heartbeat;
pub mod h13_leave_group;
pub mod h14_sync_group;
pub mod h15_describe_groups;
pub mod h16_list_groups;
pub mod h18_api_versions;
pub mod h19_create_topics;
pub mod h20_delete_topics;
pub mod h21_delete_records;
pub mod h22_init_producer_id;
pub mod h23_offset_for_leader_epoch;
pub mod h32_describe_configs;
pub mod h33_alter_configs;
pub mod h34_alter_replica_log_dirs;
pub mod h35_describe_log_dirs;
pub mod h37_create_partitions;
pub mod h42_delete_groups;
pub mod h43_elect_leaders;
pub mod h44_incremental_alter_configs;
pub mod h45_alter_partition_reassignments;
pub mod h46_list_partition_reassignments;
pub mod h47_offset_delete;
pub mod h48_describe_client_quotas;
pub mod h49_alter_client_quotas;
pub mod h55_describe_quorum;
pub mod h57_update_features;
pub mod h60_describe_cluster;
pub mod h61_describe_producers;
pub mod h68_consumer_group_heartbeat;
pub mod h69_consumer_group_describe;
pub mod h74_list_config_resources;
pub mod h75_describe_topic_partitions;
#[cfg(test)]
mod tests;

pub(crate) use h22_init_producer_id::ProducerIds;

use std::borrow::Cow;
use std::sync::Arc;

use klamm_model::limits::{FETCH_PARTITIONS_MAX as NAMED_MAX, TOPIC_NAME_BYTES_MAX};
use klamm_model::{
    ErrorCode, IsolationLevel, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName,
    TopicPartition,
};
use klamm_shard::api::ReadError;
use klamm_shard::api::metadata::{Image, Partition, Topic};

use crate::config::Dynamic;
use crate::net::{Close, Request};

/// A topic as a request names it: by name, or by id in the versions of KIP-516.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicKey {
    /// By a name that is legal or at least known; sharing it costs no memory.
    Name(TopicName),
    /// By a name that cannot be one; shared by all partitions that a request names of it.
    Illegal(Arc<str>),
    /// By id.
    Id(TopicId),
}

impl TopicKey {
    /// The name on the wire; empty where the topic is named by id.
    pub(crate) fn wire_name(&self) -> &str {
        match self {
            Self::Name(name) => name.as_str(),
            Self::Illegal(name) => name,
            Self::Id(_) => "",
        }
    }

    /// The id on the wire; zero where the topic is named by name.
    pub(crate) const fn wire_id(&self) -> [u8; 16] {
        match self {
            Self::Name(_) | Self::Illegal(_) => TopicId::ZERO.0,
            Self::Id(id) => id.0,
        }
    }

    fn of_name(image: &Image, name: &str) -> Self {
        match image.topic(name) {
            Some(topic) => Self::Name(topic.name().clone()),
            None => TopicName::new(name).map_or_else(|_| Self::Illegal(name.into()), Self::Name),
        }
    }

    /// The key in a request that names topics by id from some version on.
    pub(crate) fn of(image: &Image, by_id: bool, name: &str, id: [u8; 16]) -> Self {
        if by_id {
            Self::Id(TopicId(id))
        } else {
            Self::of_name(image, name)
        }
    }

    /// The topic, if the image has it.
    pub(crate) fn find<'i>(&self, image: &'i Image) -> Option<&'i Arc<Topic>> {
        match self {
            Self::Name(name) => image.topic(name.as_str()),
            Self::Illegal(_) => None,
            Self::Id(id) => image.topic_by_id(*id),
        }
    }

    /// What to answer where the image has no such topic.
    pub(crate) const fn unknown(&self) -> ErrorCode {
        match self {
            Self::Name(_) | Self::Illegal(_) => ErrorCode::UnknownTopicOrPartition,
            Self::Id(_) => ErrorCode::UnknownTopicId,
        }
    }
}

/// What is set on this broker while it runs.
pub(crate) fn dynamic_of(image: &Image, node: NodeId) -> Dynamic<'_> {
    Dynamic::new(image.broker_overrides(node), image.broker_defaults())
}

/// A partition of a topic that the image has, and that this node leads.
///
/// # Errors
/// `UNKNOWN_TOPIC_OR_PARTITION`, or `NOT_LEADER_OR_FOLLOWER`.
pub(crate) fn led_partition(
    topic: &Topic,
    index: i32,
    node: NodeId,
) -> Result<TopicPartition, ErrorCode> {
    let index = PartitionIndex(index);
    let partition = topic
        .partition(index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if partition.leader != Some(node) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok(TopicPartition {
        topic: topic.id(),
        index,
    })
}

/// What a client is told of a read that failed.
pub(crate) const fn read_error_code(error: ReadError) -> ErrorCode {
    match error {
        // The image had it a moment ago: the client should look again.
        ReadError::UnknownPartition => ErrorCode::NotLeaderOrFollower,
        ReadError::OutOfRange => ErrorCode::OffsetOutOfRange,
        ReadError::FencedEpoch => ErrorCode::FencedLeaderEpoch,
        ReadError::UnknownEpoch => ErrorCode::UnknownLeaderEpoch,
        ReadError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// Who leads a partition now, for answers that send the client elsewhere (KIP-951). Nobody known
/// is -1 and -1.
pub(crate) fn leader_hint(image: &Image, key: &TopicKey, index: i32) -> (i32, i32) {
    let partition = key
        .find(image)
        .and_then(|topic| topic.partition(PartitionIndex(index)));
    match partition {
        Some(Partition {
            leader: Some(leader),
            leader_epoch,
            ..
        }) => (leader.0, leader_epoch.0),
        _ => (-1, -1),
    }
}

/// Where a listener of a broker is reached.
pub(crate) struct BrokerEndpoint<'i> {
    pub(crate) node: NodeId,
    pub(crate) host: &'i str,
    pub(crate) port: u16,
    pub(crate) rack: Option<&'i str>,
}

/// Where the brokers are reached through the listener of this name; brokers without it are left
/// out, as Kafka does.
pub(crate) fn endpoints<'i>(
    image: &'i Image,
    listener: &'i str,
) -> impl Iterator<Item = BrokerEndpoint<'i>> {
    image.brokers().values().filter_map(move |broker| {
        let found = broker
            .listeners
            .iter()
            .find(|other| other.name == listener)?;
        Some(BrokerEndpoint {
            node: broker.node,
            host: &found.host,
            port: found.port,
            rack: broker.rack.as_deref(),
        })
    })
}

/// Where one broker is reached.
pub(crate) fn endpoint_of<'i>(
    image: &'i Image,
    listener: &'i str,
    node: NodeId,
) -> Option<BrokerEndpoint<'i>> {
    let broker = image.brokers().get(&node)?;
    let found = broker
        .listeners
        .iter()
        .find(|other| other.name == listener)?;
    Some(BrokerEndpoint {
        node,
        host: &found.host,
        port: found.port,
        rack: broker.rack.as_deref(),
    })
}

/// The leader epoch that a client believes in; -1 is none.
pub(crate) fn believed_epoch(number: i32) -> Option<LeaderEpoch> {
    (number >= 0).then_some(LeaderEpoch(number))
}

/// The isolation level of a number on the wire.
pub(crate) const fn isolation_of(number: i8) -> Option<IsolationLevel> {
    match number {
        0 => Some(IsolationLevel::ReadUncommitted),
        1 => Some(IsolationLevel::ReadCommitted),
        _ => None,
    }
}

/// A text that the answer borrows.
pub(crate) const fn borrowed(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// "Not asked for", in fields of authorised operations.
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// What may be done to a topic where nobody is kept from anything: a bit for each of Kafka's
/// operations that topics know (read, write, create, delete, alter, describe, and both of configs).
pub(crate) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// The same of the cluster (create, alter, describe, cluster action, both of configs, and
/// idempotent write).
pub(crate) const CLUSTER_OPERATIONS: i32 =
    1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// The same of a group (read, delete, describe, and both of configs).
pub(crate) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Text that Kafka gives with `UNKNOWN_TOPIC_OR_PARTITION` where it has no other.
pub(crate) const NOT_HOSTED: &str = "This server does not host this topic-partition.";

/// Checks how much a request names, given how many partitions or keys of each topic or resource;
/// one of which it names none counts as well. Each costs more memory in the answer than in the
/// request, and no error code says so.
///
/// # Errors
/// The connection must end.
pub(crate) fn check_named(
    request: &Request,
    named: impl Iterator<Item = usize>,
) -> Result<(), Close> {
    let named: usize = named.map(|of_one| of_one.max(1)).sum();
    if named <= NAMED_MAX {
        return Ok(());
    }
    let found = i64::try_from(named).unwrap_or(i64::MAX);
    Err(request.refuse("expected at most 200000 names", found))
}

/// As much of a topic's name as is kept for each of the partitions that are named of it: all of a
/// name that a topic can have, and of others enough to be none.
pub(crate) fn kept_name(name: &str) -> &str {
    let end = name.ceil_char_boundary(TOPIC_NAME_BYTES_MAX + 1);
    &name[..end]
}
