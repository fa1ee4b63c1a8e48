//! ElectLeaders (KIP-183, KIP-460): gives partitions back to their preferred leaders, or to any
//! replica that lives where none in sync is left.

use std::fmt;

use klamm_model::{ErrorCode, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicPartition};

use super::{Controller, Decision, Growth, Reply};
use crate::image::{Partition, Topic};
use crate::record::{MetadataRecord, PartitionRecord};

/// Which replica is wanted as leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first of the assignment, if it is in sync.
    Preferred,
    /// Where nobody leads: anyone in sync, or else any replica that lives, though it may lack what
    /// was acknowledged.
    Unclean,
}

/// What became of one partition of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elected {
    /// Name of the topic, as asked.
    pub topic: String,
    /// Number of the partition, as asked.
    pub partition: i32,
    /// Whether it has a new leader.
    pub outcome: Result<(), ElectionError>,
}

/// Why no leader was elected. The texts are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionError {
    /// No topic has the name.
    UnknownTopic(String),
    /// The topic has no such partition.
    UnknownPartition(String, i32),
    /// The right one leads.
    NotNeeded,
    /// The preferred leader is not in sync, or not there.
    PreferredNotAvailable,
    /// No replica is there that could lead.
    NoneAvailable,
    /// One request would change more than the quorum takes at once; the rest may be asked again.
    TooMany,
}

impl ElectionError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(_) | Self::UnknownPartition(..) => {
                ErrorCode::UnknownTopicOrPartition
            }
            Self::NotNeeded => ErrorCode::ElectionNotNeeded,
            Self::PreferredNotAvailable => ErrorCode::PreferredLeaderNotAvailable,
            Self::NoneAvailable => ErrorCode::EligibleLeadersNotAvailable,
            Self::TooMany => ErrorCode::PolicyViolation,
        }
    }
}

impl fmt::Display for ElectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTopic(name) => write!(formatter, "No such topic as {name}"),
            Self::UnknownPartition(name, index) => {
                write!(formatter, "No such partition as {name}-{index}")
            }
            Self::NotNeeded => {
                formatter.write_str("Leader election not needed for topic partition.")
            }
            Self::PreferredNotAvailable => {
                formatter.write_str("The preferred leader was not available.")
            }
            Self::NoneAvailable => {
                formatter.write_str("Eligible topic partition leaders are not available.")
            }
            Self::TooMany => {
                formatter.write_str("Unable to perform excessively large batch operation.")
            }
        }
    }
}

impl std::error::Error for ElectionError {}

impl Controller {
    /// `partitions` of `None` are all; of those only the ones that the election concerns are
    /// answered, as Kafka does.
    pub(super) fn elect_leaders(
        &self,
        kind: ElectionKind,
        partitions: Option<Vec<(String, i32)>>,
    ) -> Decision {
        let mut records = Vec::new();
        let mut growth = Growth::default();
        let mut elect = |topic: &Topic, index: i32| {
            let record = self.elect(topic, index, kind)?;
            if growth.add(std::slice::from_ref(&record)).is_err() {
                return Err(ElectionError::TooMany);
            }
            records.push(record);
            Ok(())
        };
        let answers = match partitions {
            Some(named) => {
                let answer = |(topic, partition): (String, i32)| Elected {
                    outcome: match self.image.topic(&topic) {
                        Some(found) => elect(found, partition),
                        None => Err(ElectionError::UnknownTopic(topic.clone())),
                    },
                    topic,
                    partition,
                };
                named.into_iter().map(answer).collect()
            }
            None => {
                let mut answers = Vec::new();
                for topic in self.image.topics() {
                    for (index, _) in topic.partitions() {
                        let outcome = elect(topic, index.0);
                        if outcome != Err(ElectionError::NotNeeded) {
                            answers.push(Elected {
                                topic: topic.name().to_string(),
                                partition: index.0,
                                outcome,
                            });
                        }
                    }
                }
                answers
            }
        };
        Decision {
            records,
            reply: Reply::ElectLeaders(answers),
        }
    }

    fn elect(
        &self,
        topic: &Topic,
        index: i32,
        kind: ElectionKind,
    ) -> Result<MetadataRecord, ElectionError> {
        let unknown = || ElectionError::UnknownPartition(topic.name().to_string(), index);
        let partition = topic.partition(PartitionIndex(index)).ok_or_else(unknown)?;
        let lives = |node: &&klamm_model::NodeId| self.image.brokers().contains_key(node);
        let preferred = partition.replicas.first().filter(lives);
        let in_sync = partition.isr.iter().find(lives);
        let leader = match kind {
            ElectionKind::Preferred if partition.leader.as_ref() == partition.replicas.first() => {
                return Err(ElectionError::NotNeeded);
            }
            ElectionKind::Unclean if partition.leader.is_some() => {
                return Err(ElectionError::NotNeeded);
            }
            ElectionKind::Preferred => preferred
                .filter(|node| partition.isr.contains(node))
                .ok_or(ElectionError::PreferredNotAvailable)?,
            ElectionKind::Unclean => in_sync
                .or_else(|| partition.replicas.iter().find(lives))
                .ok_or(ElectionError::NoneAvailable)?,
        };
        let id = TopicPartition {
            topic: topic.id(),
            index: PartitionIndex(index),
        };
        // Who leads without having been in sync is the only one known to hold what it holds.
        let isr = match partition.isr.contains(leader) {
            true => std::sync::Arc::clone(&partition.isr),
            false => [*leader].into(),
        };
        Ok(MetadataRecord::PartitionChanged(PartitionRecord {
            leader: Some(*leader),
            isr,
            leader_epoch: LeaderEpoch(partition.leader_epoch.0.saturating_add(1)),
            ..changed(partition, id)
        }))
    }
}

/// The registration of a partition in its next version.
pub(super) fn changed(partition: &Partition, id: TopicPartition) -> PartitionRecord {
    PartitionRecord {
        partition_epoch: PartitionEpoch(partition.partition_epoch.0.saturating_add(1)),
        ..partition.to_record(id)
    }
}
