//! Administrative requests as plain values: what to ask, and what was answered, topic by topic.
//! Nothing here keeps state; the driver sends and waits.

mod cluster;
mod configs;
mod groups;
mod quotas;
#[cfg(test)]
mod tests;
mod trim;

use std::time::Duration;

use klamm_model::{NodeId, TopicId, TopicName};
use klamm_wire::{create_partitions, create_topics, delete_topics};

use crate::error::BrokerError;

pub use cluster::{
    ClusterDescription, DescribedBroker, LogDir, StoredReplica, describe_cluster,
    describe_log_dirs, described_cluster, described_log_dirs,
};
pub use configs::{
    ConfigChange, ConfigEntry, ConfigOperation, ConfigResource, ConfigSource, ConfigSynonym,
    ConfigType, alter_configs, altered_configs, describe_configs, described_configs,
    list_config_resources, listed_config_resources,
};
pub use groups::{
    DescribedGroup, GroupMember, GroupOutcomes, GroupProtocol, LeavingMember, ListedGroup,
    delete_groups, deleted_groups, describe_consumer_groups, describe_groups,
    described_consumer_groups, described_groups, find_coordinators, found_coordinators,
    list_groups, listed_groups, remove_members, removed_members,
};
pub use quotas::{
    ClientQuota, QuotaEntity, QuotaKind, QuotaMatch, alter_client_quotas, altered_client_quotas,
    describe_client_quotas, described_client_quotas,
};
pub use trim::{TrimTo, delete_records, deleted_records};

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Number of partitions; `None` for the broker's default (KIP-464).
    pub partitions: Option<i32>,
    /// Number of replicas; `None` for the broker's default.
    pub replication_factor: Option<i16>,
    /// Configuration that differs from the defaults.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    #[must_use]
    pub const fn new(name: TopicName) -> Self {
        Self {
            name,
            partitions: None,
            replication_factor: None,
            configs: Vec::new(),
        }
    }

    /// The same with this number of partitions.
    #[must_use]
    pub const fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// The same with this number of replicas.
    #[must_use]
    pub const fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = Some(replicas);
        self
    }

    /// The same with one more config.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((key.into(), value.into()));
        self
    }
}

/// Whether an administrative request does what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Apply {
    /// It does.
    #[default]
    Really,
    /// It is only checked.
    ValidateOnly,
}

/// A topic that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id; zero where the version does not tell (before 7).
    pub id: TopicId,
    /// Number of partitions, where the version tells (from 5 on).
    pub partitions: Option<i32>,
    /// Number of replicas, where the version tells.
    pub replication_factor: Option<i16>,
}

/// A CreateTopics request.
#[must_use]
pub fn create_topics(
    topics: &[NewTopic],
    timeout: Duration,
    apply: Apply,
) -> create_topics::Request<'static> {
    let topic = |topic: &NewTopic| create_topics::CreatableTopic {
        name: topic.name.as_str().to_owned().into(),
        num_partitions: topic.partitions.unwrap_or(-1),
        replication_factor: topic.replication_factor.unwrap_or(-1),
        assignments: Vec::new(),
        configs: topic
            .configs
            .iter()
            .map(|(name, value)| create_topics::CreatableTopicConfig {
                name: name.clone().into(),
                value: Some(value.clone().into()),
            })
            .collect(),
    };
    create_topics::Request {
        topics: topics.iter().map(topic).collect(),
        timeout_ms: milliseconds(timeout),
        validate_only: apply == Apply::ValidateOnly,
    }
}

/// Reads a CreateTopics answer.
pub fn created_topics(
    view: &create_topics::ResponseView<'_>,
) -> Vec<Result<CreatedTopic, BrokerError>> {
    let topic = |row: create_topics::CreatableTopicResultView<'_>| {
        BrokerError::check(row.error_code(), row.error_message(), || {
            format!("topic {}", row.name())
        })?;
        Ok(CreatedTopic {
            name: row.name().to_owned(),
            id: TopicId(row.topic_id()),
            partitions: Some(row.num_partitions()).filter(|&count| count > 0),
            replication_factor: Some(row.replication_factor()).filter(|&count| count > 0),
        })
    };
    view.topics().iter().map(topic).collect()
}

/// A DeleteTopics request in the shape of `version`: names moved to another field with 6.
#[must_use]
pub fn delete_topics(
    names: &[TopicName],
    timeout: Duration,
    version: i16,
) -> delete_topics::Request<'static> {
    let mut request = delete_topics::Request {
        timeout_ms: milliseconds(timeout),
        ..Default::default()
    };
    let names = names.iter().map(|name| name.as_str().to_owned().into());
    if version < 6 {
        request.topic_names = names.collect();
    } else {
        let state = |name| delete_topics::DeleteTopicState {
            name: Some(name),
            ..Default::default()
        };
        request.topics = names.map(state).collect();
    }
    request
}

/// Reads a DeleteTopics answer: the names that are gone.
pub fn deleted_topics(view: &delete_topics::ResponseView<'_>) -> Vec<Result<String, BrokerError>> {
    let topic = |row: delete_topics::DeletableTopicResultView<'_>| {
        let name = || {
            let id = || TopicId(row.topic_id()).to_string();
            row.name().map_or_else(id, str::to_owned)
        };
        BrokerError::check(row.error_code(), row.error_message(), || {
            format!("topic {}", name())
        })
        .map(|()| name())
    };
    view.responses().iter().map(topic).collect()
}

/// More partitions for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    /// The topic.
    pub topic: TopicName,
    /// How many partitions it shall have in all.
    pub count: i32,
    /// Where the replicas of each new partition go; empty to let the broker choose.
    pub assignments: Vec<Vec<NodeId>>,
}

impl MorePartitions {
    /// So many partitions in all, placed by the broker.
    #[must_use]
    pub const fn new(topic: TopicName, count: i32) -> Self {
        Self {
            topic,
            count,
            assignments: Vec::new(),
        }
    }
}

/// A CreatePartitions request.
#[must_use]
pub fn create_partitions(
    topics: &[MorePartitions],
    timeout: Duration,
    apply: Apply,
) -> create_partitions::Request<'static> {
    let assignment = |nodes: &Vec<NodeId>| create_partitions::CreatePartitionsAssignment {
        broker_ids: nodes.iter().map(|node| node.0).collect(),
    };
    let topic = |topic: &MorePartitions| create_partitions::CreatePartitionsTopic {
        name: topic.topic.as_str().to_owned().into(),
        count: topic.count,
        assignments: (!topic.assignments.is_empty())
            .then(|| topic.assignments.iter().map(assignment).collect()),
    };
    create_partitions::Request {
        topics: topics.iter().map(topic).collect(),
        timeout_ms: milliseconds(timeout),
        validate_only: apply == Apply::ValidateOnly,
    }
}

/// Reads a CreatePartitions answer: the topics that have what was asked for.
pub fn created_partitions(
    view: &create_partitions::ResponseView<'_>,
) -> Vec<Result<String, BrokerError>> {
    let topic = |row: create_partitions::CreatePartitionsTopicResultView<'_>| {
        BrokerError::check(row.error_code(), row.error_message(), || {
            format!("topic {}", row.name())
        })
        .map(|()| row.name().to_owned())
    };
    view.results().iter().map(topic).collect()
}

/// A duration as Kafka's 32-bit milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
