//! AlterPartitionReassignments (KIP-455). Replicas are not moved between brokers yet, so what can
//! be asked of an assignment is another order; nothing is ever under way that could be cancelled or
//! listed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use klamm_model::{ErrorCode, NodeId, PartitionIndex, TopicPartition};

use super::elections::changed;
use super::{Controller, Decision, Growth, Reply};
use crate::record::{MetadataRecord, PartitionRecord};

/// A partition and where it is to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// The nodes meant to hold it, the preferred leader first; `None` cancels what is under way.
    pub replicas: Option<Vec<i32>>,
}

/// Why a partition stays where it is. The texts are Kafka's, but for [`Self::Moves`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReassignmentError {
    /// No topic has the name.
    UnknownTopic(String),
    /// The topic has no such partition.
    UnknownPartition(String, i32),
    /// Nothing is under way that could be cancelled.
    NothingInProgress,
    /// No node is named.
    NoReplicas,
    /// A node is named that no broker is registered for.
    UnknownBroker(i32),
    /// A node is named twice.
    Repeated(i32),
    /// The request wants the number of replicas to stay, and names another.
    ReplicationFactor {
        /// How many there are.
        current: usize,
        /// How many are named.
        found: usize,
    },
    /// A replica would have to move to or from this broker.
    Moves(NodeId),
    /// One request would change more than the quorum takes at once.
    TooMany,
}

impl ReassignmentError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(_) | Self::UnknownPartition(..) => {
                ErrorCode::UnknownTopicOrPartition
            }
            Self::NothingInProgress => ErrorCode::NoReassignmentInProgress,
            Self::NoReplicas | Self::UnknownBroker(_) | Self::Repeated(_) | Self::Moves(_) => {
                ErrorCode::InvalidReplicaAssignment
            }
            Self::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            Self::TooMany => ErrorCode::PolicyViolation,
        }
    }
}

impl fmt::Display for ReassignmentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTopic(name) => {
                write!(formatter, "Unable to find a topic named {name}.")
            }
            Self::UnknownPartition(name, index) => {
                write!(formatter, "Unable to find partition {name}:{index}.")
            }
            Self::NothingInProgress => {
                formatter.write_str("No partition reassignment is in progress.")
            }
            Self::NoReplicas => formatter
                .write_str("The manual partition assignment includes an empty replica list."),
            Self::UnknownBroker(node) => write!(
                formatter,
                "The manual partition assignment includes broker {node}, but no such broker is registered."
            ),
            Self::Repeated(node) => write!(
                formatter,
                "The manual partition assignment includes the broker {node} more than once."
            ),
            Self::ReplicationFactor { current, found } => write!(
                formatter,
                "The replication factor is changed from {current} to {found}"
            ),
            Self::Moves(node) => write!(
                formatter,
                "A replica would move to or from broker {node}, and klamm does not copy replicas between brokers yet."
            ),
            Self::TooMany => {
                formatter.write_str("Unable to perform excessively large batch operation.")
            }
        }
    }
}

impl std::error::Error for ReassignmentError {}

impl Controller {
    pub(super) fn alter_reassignments(
        &self,
        reassignments: &[Reassignment],
        replication_factor_may_change: bool,
    ) -> Decision {
        let mut records = Vec::new();
        let mut growth = Growth::default();
        let answers = reassignments.iter().map(|reassignment| {
            let change = self.reassign(reassignment, replication_factor_may_change)?;
            if growth.add(change.as_slice()).is_err() {
                return Err(ReassignmentError::TooMany);
            }
            records.extend(change);
            Ok(())
        });
        let answers = answers.collect();
        Decision {
            records,
            reply: Reply::AlterReassignments(answers),
        }
    }

    fn reassign(
        &self,
        asked: &Reassignment,
        replication_factor_may_change: bool,
    ) -> Result<Option<MetadataRecord>, ReassignmentError> {
        let name = &asked.topic;
        let topic = self.image.topic(name);
        let topic = topic.ok_or_else(|| ReassignmentError::UnknownTopic(name.clone()))?;
        let index = PartitionIndex(asked.partition);
        let unknown = || ReassignmentError::UnknownPartition(name.clone(), asked.partition);
        let partition = topic.partition(index).ok_or_else(unknown)?;
        let Some(wanted) = &asked.replicas else {
            return Err(ReassignmentError::NothingInProgress);
        };
        let wanted = self.registered(wanted)?;
        let (current, found) = (partition.replicas.len(), wanted.len());
        if !replication_factor_may_change && found != current {
            return Err(ReassignmentError::ReplicationFactor { current, found });
        }
        let before: BTreeSet<NodeId> = partition.replicas.iter().copied().collect();
        let after: BTreeSet<NodeId> = wanted.iter().copied().collect();
        if let Some(&moving) = before.symmetric_difference(&after).next() {
            return Err(ReassignmentError::Moves(moving));
        }
        if *wanted == *partition.replicas {
            return Ok(None);
        }
        let id = TopicPartition {
            topic: topic.id(),
            index,
        };
        Ok(Some(MetadataRecord::PartitionChanged(PartitionRecord {
            replicas: wanted,
            ..changed(partition, id)
        })))
    }

    /// The nodes of an assignment, if each is a registered broker and named once.
    fn registered(&self, wanted: &[i32]) -> Result<Arc<[NodeId]>, ReassignmentError> {
        if wanted.is_empty() {
            return Err(ReassignmentError::NoReplicas);
        }
        // Kafka looks at them in the order of their numbers, and names the first that is wrong.
        let mut sorted = wanted.to_vec();
        sorted.sort_unstable();
        let mut before = None;
        for node in sorted {
            if !self.image.brokers().contains_key(&NodeId(node)) {
                return Err(ReassignmentError::UnknownBroker(node));
            }
            if before.replace(node) == Some(node) {
                return Err(ReassignmentError::Repeated(node));
            }
        }
        Ok(wanted.iter().map(|&node| NodeId(node)).collect())
    }
}
