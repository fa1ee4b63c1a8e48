//! CreatePartitions: more partitions for topics that exist. Order of checks and texts are Kafka's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use klamm_model::limits::{ADMIN_TOPICS_MAX, CREATE_PARTITIONS_MAX};
use klamm_model::{ErrorCode, LeaderEpoch, NodeId, OFFSETS_TOPIC, PartitionEpoch, PartitionIndex};

use super::placement::Ring;
use super::{
    Controller, CreateTopicError, Decision, FreshIds, Growth, Moment, Mutations, QUOTA_EXCEEDED,
    Reply,
};
use crate::image::Topic;
use crate::limits::CLUSTER_PARTITIONS_MAX;
use crate::record::{MetadataRecord, PartitionRecord};

/// How many partitions a topic is to have, as a client wants it, legal or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    /// The topic's name.
    pub topic: String,
    /// How many partitions it has afterwards.
    pub count: i32,
    /// The replicas of each new partition, the leader first; `None` to let the controller place
    /// them.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// Why a topic gets no more partitions. The texts are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreatePartitionsError {
    /// The request names the topic twice.
    Duplicate,
    /// The topic does not exist.
    UnknownTopic,
    /// It has that many already.
    Unchanged {
        /// Partitions that it has.
        existing: usize,
    },
    /// It has more already.
    Fewer {
        /// The topic.
        topic: String,
        /// Partitions that it has.
        existing: usize,
        /// Partitions that were asked for.
        wanted: i32,
    },
    /// There are not as many manual assignments as new partitions.
    AssignmentCount {
        /// New partitions.
        additional: usize,
        /// Assignments.
        given: usize,
    },
    /// The replicas cannot be placed, or not as the request says.
    Placement(CreateTopicError),
    /// More topics, partitions or records than one request may cause.
    TooLarge,
    /// The number of its partitions says where each group is kept: with another, no group would
    /// find its offsets.
    KeepsGroups,
    /// The client's quota of mutations is exhausted (KIP-599).
    QuotaExceeded,
}

impl CreatePartitionsError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Duplicate => ErrorCode::InvalidRequest,
            Self::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
            Self::Unchanged { .. } | Self::Fewer { .. } | Self::KeepsGroups => {
                ErrorCode::InvalidPartitions
            }
            Self::AssignmentCount { .. } => ErrorCode::InvalidReplicaAssignment,
            Self::Placement(error) => error.code(),
            Self::TooLarge => ErrorCode::PolicyViolation,
            Self::QuotaExceeded => ErrorCode::ThrottlingQuotaExceeded,
        }
    }
}

impl fmt::Display for CreatePartitionsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => formatter.write_str("Duplicate topic name."),
            Self::UnknownTopic => {
                formatter.write_str("This server does not host this topic-partition.")
            }
            Self::Unchanged { existing } => {
                write!(formatter, "Topic already has {existing} partition(s).")
            }
            Self::Fewer {
                topic,
                existing,
                wanted,
            } => write!(
                formatter,
                "The topic {topic} currently has {existing} partition(s); {wanted} would not be \
                 an increase."
            ),
            Self::AssignmentCount { additional, given } => write!(
                formatter,
                "Attempted to add {additional} additional partition(s), but only {given} \
                 assignment(s) were specified."
            ),
            Self::Placement(error) => error.fmt(formatter),
            Self::TooLarge => {
                formatter.write_str("Unable to perform excessively large batch operation.")
            }
            Self::KeepsGroups => write!(
                formatter,
                "The number of partitions of {OFFSETS_TOPIC} cannot be changed: it says where each \
                 group is kept, and committed offsets would not be found any more."
            ),
            Self::QuotaExceeded => formatter.write_str(QUOTA_EXCEEDED),
        }
    }
}

impl std::error::Error for CreatePartitionsError {}

impl Controller {
    pub(super) fn create_partitions(
        &self,
        moment: Moment,
        topics: &[MorePartitions],
        validate_only: bool,
        mut allowed: Mutations,
    ) -> Decision {
        let mut mentions: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in topics {
            *mentions.entry(&topic.topic).or_default() += 1;
        }
        let start = FreshIds::new(moment.seed).some_broker();
        let mut growth = Growth::default();
        let mut records = Vec::new();
        let mut answers = Vec::new();
        let mut answered = BTreeSet::new();
        for topic in topics {
            if !answered.insert(topic.topic.as_str()) {
                continue;
            }
            let outcome = if mentions.get(topic.topic.as_str()).is_some_and(|&n| n > 1) {
                Err(CreatePartitionsError::Duplicate)
            } else if mentions.len() > ADMIN_TOPICS_MAX {
                Err(CreatePartitionsError::TooLarge)
            } else {
                let more = self.grow_topic(topic, start, records.len(), &mut allowed);
                more.and_then(|more| {
                    let grown = growth.add(&more);
                    grown.map_err(|_| CreatePartitionsError::TooLarge)?;
                    records.extend(more);
                    Ok(())
                })
            };
            answers.push((topic.topic.clone(), outcome));
        }
        if validate_only {
            records.clear();
        }
        Decision {
            records,
            reply: Reply::CreatePartitions(answers),
        }
    }

    /// The records of one topic's new partitions; `others` are those of topics before it.
    fn grow_topic(
        &self,
        wanted: &MorePartitions,
        start: u64,
        others: usize,
        allowed: &mut Mutations,
    ) -> Result<Vec<MetadataRecord>, CreatePartitionsError> {
        let topic = self
            .image
            .topic(&wanted.topic)
            .ok_or(CreatePartitionsError::UnknownTopic)?;
        let existing = topic.partition_count();
        let count = match usize::try_from(wanted.count) {
            Ok(count) if count == existing => {
                return Err(CreatePartitionsError::Unchanged { existing });
            }
            Ok(count) if count > existing => count,
            _ => {
                return Err(CreatePartitionsError::Fewer {
                    topic: wanted.topic.clone(),
                    existing,
                    wanted: wanted.count,
                });
            }
        };
        if wanted.topic == OFFSETS_TOPIC {
            return Err(CreatePartitionsError::KeepsGroups);
        }
        let additional = count - existing;
        allowed
            .take(additional)
            .map_err(|_| CreatePartitionsError::QuotaExceeded)?;
        if let Some(assignments) = &wanted.assignments
            && assignments.len() != additional
        {
            return Err(CreatePartitionsError::AssignmentCount {
                additional,
                given: assignments.len(),
            });
        }
        if others + additional > CREATE_PARTITIONS_MAX
            || others + additional + self.image.partition_count() > CLUSTER_PARTITIONS_MAX
        {
            let error = CreateTopicError::TooManyPartitions;
            return Err(CreatePartitionsError::Placement(error));
        }
        let placed = match &wanted.assignments {
            Some(assignments) => self.check_new_replicas(topic, assignments),
            None => self.place_more(topic, start, existing..count),
        };
        let placed = placed.map_err(CreatePartitionsError::Placement)?;
        let records = (existing..).zip(placed).map(|(index, replicas)| {
            MetadataRecord::PartitionCreated(PartitionRecord {
                topic: topic.id(),
                // Counts on the wire are 32-bit numbers, and this is below one.
                index: PartitionIndex(index as i32),
                isr: Arc::clone(&replicas),
                leader: replicas.first().copied(),
                replicas,
                leader_epoch: LeaderEpoch(0),
                partition_epoch: PartitionEpoch(0),
            })
        });
        Ok(records.collect())
    }

    /// Places as many replicas of each as the topic's first partition has.
    fn place_more(
        &self,
        topic: &Topic,
        start: u64,
        indexes: std::ops::Range<usize>,
    ) -> Result<Vec<Arc<[NodeId]>>, CreateTopicError> {
        let factor = topic.replication_factor();
        let ring = Ring::new(&self.image, start);
        if factor == 0 || factor > ring.len() {
            return Err(CreateTopicError::Brokers {
                wanted: i16::try_from(factor).unwrap_or(i16::MAX),
                registered: ring.len(),
            });
        }
        Ok(indexes.map(|index| ring.replicas(index, factor)).collect())
    }

    fn check_new_replicas(
        &self,
        topic: &Topic,
        assignments: &[Vec<NodeId>],
    ) -> Result<Vec<Arc<[NodeId]>>, CreateTopicError> {
        let factor = Some(topic.replication_factor());
        let checked = assignments.iter().map(|replicas| {
            self.check_assignment(replicas, factor)?;
            Ok(replicas.as_slice().into())
        });
        checked.collect()
    }
}
