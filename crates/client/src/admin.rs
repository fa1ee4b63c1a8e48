//! Administrative requests as plain values: what to ask, and what was answered, topic by topic.
//! Nothing here keeps state; the driver sends and waits.

use std::time::Duration;

use klamm_model::{TopicId, TopicName};
use klamm_wire::{create_topics, delete_topics, describe_configs};

use crate::error::BrokerError;

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

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic,
    /// A broker, by id; an empty name stands for the default of all.
    Broker,
}

impl ConfigResource {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
        }
    }
}

/// One configuration key as a broker described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// Its value; `None` for a sensitive one.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// It cannot be changed while the broker runs.
    pub read_only: bool,
    /// Its value is a secret.
    pub sensitive: bool,
    /// What the broker says that the key does; older brokers say nothing.
    pub documentation: Option<String>,
}

/// Where a configuration value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on this topic.
    Topic,
    /// Set on this broker while it ran.
    DynamicBroker,
    /// Set for all brokers while they ran.
    DynamicDefault,
    /// The broker's file.
    StaticBroker,
    /// Built in.
    Default,
    /// A number that this client does not know.
    Other(i8),
}

impl ConfigSource {
    const fn from_number(number: i8) -> Self {
        match number {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefault,
            4 => Self::StaticBroker,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// A DescribeConfigs request for one resource in the shape of `version`: documentation can be asked
/// for from 3 on.
#[must_use]
pub fn describe_configs(
    resource: ConfigResource,
    name: &str,
    version: i16,
) -> describe_configs::Request<'static> {
    let row = describe_configs::DescribeConfigsResource {
        resource_type: resource.number(),
        resource_name: name.to_owned().into(),
        configuration_keys: None,
    };
    describe_configs::Request {
        resources: vec![row],
        include_synonyms: false,
        include_documentation: version >= 3,
    }
}

/// Reads a DescribeConfigs answer about one resource.
///
/// # Errors
/// What the broker said about the resource.
pub fn described_configs(
    view: &describe_configs::ResponseView<'_>,
) -> Result<Vec<ConfigEntry>, BrokerError> {
    let mut entries = Vec::new();
    for row in view.results() {
        BrokerError::check(row.error_code(), row.error_message(), || {
            format!("configuration of {}", row.resource_name())
        })?;
        entries.extend(row.configs().iter().map(|config| ConfigEntry {
            name: config.name().to_owned(),
            value: config.value().map(str::to_owned),
            source: ConfigSource::from_number(config.config_source()),
            read_only: config.read_only(),
            sensitive: config.is_sensitive(),
            documentation: config.documentation().map(str::to_owned),
        }));
    }
    Ok(entries)
}

/// A duration as Kafka's 32-bit milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
