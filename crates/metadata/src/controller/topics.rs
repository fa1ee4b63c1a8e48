//! CreateTopics and the creation of topics by need. Order of checks and texts are Kafka's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use klamm_model::limits::{ADMIN_TOPICS_MAX, CREATE_PARTITIONS_MAX, TOPIC_NAME_BYTES_MAX};
use klamm_model::{
    ErrorCode, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId, TopicName,
    TopicNameError,
};

use super::configs::check_new_topic_configs;
use super::placement::Ring;
use super::{
    ConfigError, Controller, Decision, FreshIds, Growth, Moment, Mutations, QUOTA_EXCEEDED, Reply,
    flat_name,
};
use crate::image::{ConfigMap, Topic};
use crate::limits::{CLUSTER_PARTITIONS_MAX, REPLICAS_MAX};
use crate::record::{ConfigResource, MetadataRecord, PartitionRecord};

/// Kafka's metadata log, which no client may create.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The replicas of one partition as a client wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualAssignment {
    /// The partition, legal or not.
    pub index: i32,
    /// Its replicas, the leader first.
    pub replicas: Vec<NodeId>,
}

/// A topic as a client describes it, legal or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for the broker's default (-1 on the wire).
    pub partitions: Option<i32>,
    /// How many replicas; `None` for the broker's default (-1 on the wire).
    pub replication_factor: Option<i16>,
    /// Where the replicas go; empty to let the controller place them.
    pub assignments: Vec<ManualAssignment>,
    /// Its own configuration.
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with all defaults.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            partitions: None,
            replication_factor: None,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }
}

/// A topic that was created, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: i32,
    /// Replicas of its first partition.
    pub replication_factor: i16,
    /// Its own configuration.
    pub overrides: ConfigMap,
}

impl CreatedTopic {
    fn of(topic: &Topic) -> Self {
        Self {
            id: topic.id(),
            partitions: i32::try_from(topic.partition_count()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(topic.replication_factor()).unwrap_or(i16::MAX),
            overrides: topic.overrides().clone(),
        }
    }
}

/// Why a topic is not created. The texts are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateTopicError {
    /// The name is not legal.
    Name {
        /// The name.
        name: String,
        /// Its fault.
        error: TopicNameError,
    },
    /// The name gives the same metric name as another topic's.
    Collision {
        /// The name.
        name: String,
        /// The other topic.
        existing: TopicName,
    },
    /// The name is taken.
    Exists {
        /// The name.
        name: String,
    },
    /// The request names the topic twice.
    Duplicate,
    /// The metadata log cannot be created.
    MetadataTopic,
    /// The number of partitions is zero or negative.
    Partitions,
    /// The number of replicas is zero or negative.
    ReplicationFactor,
    /// There are too few brokers.
    Brokers {
        /// Replicas wanted.
        wanted: i16,
        /// Brokers there are.
        registered: usize,
    },
    /// A manual assignment together with a number of replicas.
    AssignmentAndReplicationFactor,
    /// A manual assignment together with a number of partitions.
    AssignmentAndPartitions,
    /// The manual assignment is wrong.
    Assignment(String),
    /// The configuration is wrong.
    Config(ConfigError),
    /// More partitions than one request may create.
    TooManyPartitions,
    /// More topics or records than one request may cause.
    TooLarge,
    /// The client's quota of mutations is exhausted (KIP-599).
    QuotaExceeded,
}

impl CreateTopicError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Name { .. } | Self::Collision { .. } => ErrorCode::InvalidTopicException,
            Self::Exists { .. } => ErrorCode::TopicAlreadyExists,
            Self::Duplicate
            | Self::MetadataTopic
            | Self::AssignmentAndReplicationFactor
            | Self::AssignmentAndPartitions => ErrorCode::InvalidRequest,
            Self::Partitions => ErrorCode::InvalidPartitions,
            Self::ReplicationFactor | Self::Brokers { .. } => ErrorCode::InvalidReplicationFactor,
            Self::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
            Self::Config(error) => error.code(),
            Self::TooManyPartitions | Self::TooLarge => ErrorCode::PolicyViolation,
            Self::QuotaExceeded => ErrorCode::ThrottlingQuotaExceeded,
        }
    }
}

impl fmt::Display for CreateTopicError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, error } => {
                formatter.write_str("Topic name is invalid: ")?;
                match error {
                    TopicNameError::Empty => formatter.write_str("the empty string is not allowed"),
                    TopicNameError::Dots => write!(formatter, "'{name}' is not allowed"),
                    TopicNameError::TooLong { .. } => write!(
                        formatter,
                        "the length of '{name}' is longer than the max allowed length \
                         {TOPIC_NAME_BYTES_MAX}"
                    ),
                    TopicNameError::Character { .. } => write!(
                        formatter,
                        "'{name}' contains one or more characters other than ASCII \
                         alphanumerics, '.', '_' and '-'"
                    ),
                }
            }
            Self::Collision { name, existing } => write!(
                formatter,
                "Topic '{name}' collides with existing topic: {existing}"
            ),
            Self::Exists { name } => write!(formatter, "Topic '{name}' already exists."),
            Self::Duplicate => formatter.write_str("Duplicate topic name."),
            Self::MetadataTopic => write!(
                formatter,
                "Creation of internal topic {METADATA_TOPIC} is prohibited."
            ),
            Self::Partitions => formatter
                .write_str("Number of partitions was set to an invalid non-positive value."),
            Self::ReplicationFactor => formatter.write_str(
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ),
            Self::Brokers { wanted, registered } => write!(
                formatter,
                "Unable to replicate the partition {wanted} time(s): The target replication \
                 factor of {wanted} cannot be reached because only {registered} broker(s) are \
                 registered or some brokers have all their log directories cordoned."
            ),
            Self::AssignmentAndReplicationFactor => formatter.write_str(
                "A manual partition assignment was specified, but replication factor was not set \
                 to -1.",
            ),
            Self::AssignmentAndPartitions => formatter.write_str(
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            ),
            Self::Assignment(text) => formatter.write_str(text),
            Self::Config(error) => error.fmt(formatter),
            Self::TooManyPartitions => {
                formatter.write_str("Excessively large number of partitions per request.")
            }
            Self::TooLarge => {
                formatter.write_str("Unable to perform excessively large batch operation.")
            }
            Self::QuotaExceeded => formatter.write_str(QUOTA_EXCEEDED),
        }
    }
}

impl std::error::Error for CreateTopicError {}

type Outcome = Result<CreatedTopic, CreateTopicError>;

/// What the topics of one request have in common while they are decided one after the other.
struct Request {
    ids: FreshIds,
    growth: Growth,
    records: Vec<MetadataRecord>,
    /// Names that this request takes, by their flat form.
    flat_names: BTreeMap<String, TopicName>,
    allowed: Mutations,
}

impl Controller {
    pub(super) fn create_topics(
        &self,
        moment: Moment,
        topics: Vec<NewTopic>,
        validate_only: bool,
        allowed: Mutations,
    ) -> Decision {
        let mut mentions: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &topics {
            *mentions.entry(&topic.name).or_default() += 1;
        }
        if let Err(error) = self.check_request(&topics) {
            return refuse_all(&topics, &error);
        }
        let mut request = Request {
            ids: FreshIds::new(moment.seed),
            growth: Growth::default(),
            records: Vec::new(),
            flat_names: BTreeMap::new(),
            allowed,
        };
        let mut answers = Vec::new();
        let mut answered = BTreeSet::new();
        for topic in &topics {
            if !answered.insert(topic.name.as_str()) {
                continue;
            }
            let outcome = if mentions.get(topic.name.as_str()).is_some_and(|&n| n > 1) {
                Err(CreateTopicError::Duplicate)
            } else if topic.name == METADATA_TOPIC {
                Err(CreateTopicError::MetadataTopic)
            } else {
                self.create_topic(&mut request, topic)
            };
            if let Err(CreateTopicError::TooLarge) = outcome {
                return refuse_all(&topics, &CreateTopicError::TooLarge);
            }
            answers.push((topic.name.clone(), outcome));
        }
        if validate_only {
            request.records.clear();
        }
        Decision {
            records: request.records,
            reply: Reply::CreateTopics(answers),
        }
    }

    pub(super) fn auto_create_topic(&self, moment: Moment, name: String) -> Decision {
        if let Some(topic) = self.image.topic(&name) {
            return Decision {
                records: Vec::new(),
                reply: Reply::AutoCreateTopic(Ok(CreatedTopic::of(topic))),
            };
        }
        let internal = self.defaults.internal_topics.iter();
        let topic = internal
            .clone()
            .find(|topic| topic.name == name)
            .cloned()
            .unwrap_or_else(|| NewTopic::named(&name));
        let decision = self.create_topics(moment, vec![topic], false, Mutations(None));
        let outcome = match decision.reply {
            Reply::CreateTopics(mut answers) => answers.pop().map(|(_, outcome)| outcome),
            _ => None,
        };
        Decision {
            records: decision.records,
            reply: Reply::AutoCreateTopic(outcome.expect("one answer for one topic")),
        }
    }

    /// Ceilings of the whole request (A36): checked before any work is done for a topic.
    fn check_request(&self, topics: &[NewTopic]) -> Result<(), CreateTopicError> {
        if topics.len() > ADMIN_TOPICS_MAX {
            return Err(CreateTopicError::TooLarge);
        }
        let mut partitions = 0_usize;
        for topic in topics {
            let wanted = match topic.assignments.len() {
                0 => topic.partitions.unwrap_or(self.defaults.partitions),
                manual => i32::try_from(manual).unwrap_or(i32::MAX),
            };
            partitions = partitions.saturating_add(usize::try_from(wanted).unwrap_or(0));
        }
        if partitions > CREATE_PARTITIONS_MAX
            || partitions + self.image.partition_count() > CLUSTER_PARTITIONS_MAX
        {
            return Err(CreateTopicError::TooManyPartitions);
        }
        Ok(())
    }

    fn create_topic(&self, request: &mut Request, topic: &NewTopic) -> Outcome {
        let name = self.check_name(request, topic)?;
        let overrides = check_new_topic_configs(&topic.configs, self.image.broker_defaults())
            .map_err(CreateTopicError::Config)?;
        let placed = if topic.assignments.is_empty() {
            self.place(topic, request.ids.some_broker())?
        } else {
            self.check_assignments(topic)?
        };
        request
            .allowed
            .take(placed.len())
            .map_err(|_| CreateTopicError::QuotaExceeded)?;
        let mut id = request.ids.next();
        while self.image.topic_by_id(id).is_some() {
            id = request.ids.next();
        }
        let created = CreatedTopic {
            id,
            partitions: i32::try_from(placed.len()).unwrap_or(i32::MAX),
            replication_factor: placed
                .first()
                .map_or(0, |first| i16::try_from(first.len()).unwrap_or(i16::MAX)),
            overrides,
        };
        let records = topic_records(&name, &created, placed);
        if request.growth.add(&records).is_err() {
            return Err(CreateTopicError::TooLarge);
        }
        request.records.extend(records);
        Ok(created)
    }

    fn check_name(
        &self,
        request: &mut Request,
        topic: &NewTopic,
    ) -> Result<TopicName, CreateTopicError> {
        let text = &topic.name;
        let name = TopicName::new(text).map_err(|error| CreateTopicError::Name {
            name: text.clone(),
            error,
        })?;
        if self.image.topic(text).is_some() {
            return Err(CreateTopicError::Exists { name: text.clone() });
        }
        let Some(flat) = flat_name(text) else {
            return Ok(name);
        };
        let taken = self.colliding_topic(text);
        if let Some(existing) = taken.or_else(|| request.flat_names.get(&flat)) {
            return Err(CreateTopicError::Collision {
                name: text.clone(),
                existing: existing.clone(),
            });
        }
        request.flat_names.insert(flat, name.clone());
        Ok(name)
    }

    fn place(&self, topic: &NewTopic, start: u64) -> Result<Vec<Arc<[NodeId]>>, CreateTopicError> {
        if topic.replication_factor.is_some_and(|factor| factor <= 0) {
            return Err(CreateTopicError::ReplicationFactor);
        }
        if topic.partitions.is_some_and(|count| count <= 0) {
            return Err(CreateTopicError::Partitions);
        }
        let partitions = topic.partitions.unwrap_or(self.defaults.partitions);
        let factor = topic
            .replication_factor
            .unwrap_or(self.defaults.replication_factor);
        let ring = Ring::new(&self.image, start);
        let replicas = usize::try_from(factor).unwrap_or(0);
        if replicas == 0 || replicas > ring.len().min(REPLICAS_MAX) {
            return Err(CreateTopicError::Brokers {
                wanted: factor,
                registered: ring.len(),
            });
        }
        let partitions = usize::try_from(partitions).map_err(|_| CreateTopicError::Partitions)?;
        Ok((0..partitions)
            .map(|index| ring.replicas(index, replicas))
            .collect())
    }

    fn check_assignments(&self, topic: &NewTopic) -> Result<Vec<Arc<[NodeId]>>, CreateTopicError> {
        if topic.replication_factor.is_some() {
            return Err(CreateTopicError::AssignmentAndReplicationFactor);
        }
        if topic.partitions.is_some() {
            return Err(CreateTopicError::AssignmentAndPartitions);
        }
        let wrong = |text: String| Err(CreateTopicError::Assignment(text));
        let mut placed: BTreeMap<i32, Arc<[NodeId]>> = BTreeMap::new();
        let mut factor = None;
        for assignment in &topic.assignments {
            if placed.contains_key(&assignment.index) {
                return wrong(format!(
                    "Found multiple manual partition assignments for partition {}",
                    assignment.index
                ));
            }
            self.check_assignment(&assignment.replicas, factor)?;
            factor = Some(assignment.replicas.len());
            placed.insert(assignment.index, assignment.replicas.as_slice().into());
        }
        if !placed.keys().copied().eq(0..placed.len() as i32) {
            return wrong("partitions should be a consecutive 0-based integer sequence".to_owned());
        }
        Ok(placed.into_values().collect())
    }

    pub(super) fn check_assignment(
        &self,
        replicas: &[NodeId],
        factor: Option<usize>,
    ) -> Result<(), CreateTopicError> {
        let wrong = |text: String| Err(CreateTopicError::Assignment(text));
        if replicas.is_empty() {
            return wrong(
                "The manual partition assignment includes an empty replica list.".to_owned(),
            );
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        for (place, node) in sorted.iter().enumerate() {
            if !self.image.brokers().contains_key(node) {
                return wrong(format!(
                    "The manual partition assignment includes broker {node}, but no such broker \
                     is registered."
                ));
            }
            if place > 0 && sorted[place - 1] == *node {
                return wrong(format!(
                    "The manual partition assignment includes the broker {node} more than once."
                ));
            }
        }
        match factor {
            Some(expected) if expected != replicas.len() => wrong(format!(
                "The manual partition assignment includes a partition with {} replica(s), but \
                 this is not consistent with previous partitions, which have {expected} \
                 replica(s).",
                replicas.len()
            )),
            _ => Ok(()),
        }
    }
}

fn refuse_all(topics: &[NewTopic], error: &CreateTopicError) -> Decision {
    let mut answered = BTreeSet::new();
    let answers = topics
        .iter()
        .filter(|topic| answered.insert(topic.name.as_str()))
        .map(|topic| (topic.name.clone(), Err(error.clone())))
        .collect();
    Decision {
        records: Vec::new(),
        reply: Reply::CreateTopics(answers),
    }
}

fn topic_records(
    name: &TopicName,
    created: &CreatedTopic,
    placed: Vec<Arc<[NodeId]>>,
) -> Vec<MetadataRecord> {
    let mut records = vec![MetadataRecord::TopicCreated {
        id: created.id,
        name: name.clone(),
    }];
    for (key, value) in &created.overrides {
        records.push(MetadataRecord::ConfigSet {
            resource: ConfigResource::Topic(name.clone()),
            key: key.clone(),
            value: Some(value.clone()),
        });
    }
    for (index, replicas) in (0..).map(PartitionIndex).zip(placed) {
        records.push(MetadataRecord::PartitionCreated(PartitionRecord {
            topic: created.id,
            index,
            isr: Arc::clone(&replicas),
            leader: replicas.first().copied(),
            replicas,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
        }));
    }
    records
}
