//! DeleteTopics, by name or by id (KIP-516).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use klamm_model::limits::ADMIN_TOPICS_MAX;
use klamm_model::{ErrorCode, TopicId, TopicName};

use super::{Controller, Decision, Mutations, QUOTA_EXCEEDED, Reply};
use crate::image::Topic;
use crate::record::MetadataRecord;

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicReference {
    /// By name, legal or not.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// The answer for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// How the request named it.
    pub reference: TopicReference,
    /// Its name and id, if it was deleted.
    pub outcome: Result<(TopicName, TopicId), DeleteTopicError>,
}

/// Why a topic is not deleted. The texts are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteTopicError {
    /// No topic has the name.
    UnknownName,
    /// No topic has the id.
    UnknownId,
    /// The request names it twice by name.
    DuplicateName,
    /// The request names it twice by id.
    DuplicateId,
    /// The request names it both by name and by id.
    NameOfNamedId,
    /// The request names too many topics.
    TooMany,
    /// The client's quota of mutations is exhausted (KIP-599).
    QuotaExceeded,
}

impl DeleteTopicError {
    /// Kafka's row for it.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::UnknownName => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownId => ErrorCode::UnknownTopicId,
            Self::DuplicateName | Self::DuplicateId | Self::NameOfNamedId => {
                ErrorCode::InvalidRequest
            }
            Self::TooMany => ErrorCode::PolicyViolation,
            Self::QuotaExceeded => ErrorCode::ThrottlingQuotaExceeded,
        }
    }
}

impl fmt::Display for DeleteTopicError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownName => "This server does not host this topic-partition.",
            Self::UnknownId => "This server does not host this topic ID.",
            Self::DuplicateName => "Duplicate topic name.",
            Self::DuplicateId => "Duplicate topic id.",
            Self::NameOfNamedId => {
                "The provided topic name maps to an ID that was already supplied."
            }
            Self::TooMany => "Unable to perform excessively large batch operation.",
            Self::QuotaExceeded => QUOTA_EXCEEDED,
        })
    }
}

impl std::error::Error for DeleteTopicError {}

impl Controller {
    pub(super) fn delete_topics(
        &self,
        references: Vec<TopicReference>,
        mut allowed: Mutations,
    ) -> Decision {
        let mut mentions: BTreeMap<&TopicReference, usize> = BTreeMap::new();
        for reference in &references {
            *mentions.entry(reference).or_default() += 1;
        }
        let mut records = Vec::new();
        let mut answers = Vec::new();
        let mut answered = BTreeSet::new();
        for reference in &references {
            // Kafka answers a topic that is named twice once, and deletes it in no case.
            if !answered.insert(reference) || self.is_named_by_name_too(reference, &mentions) {
                continue;
            }
            let outcome = if references.len() > ADMIN_TOPICS_MAX {
                Err(DeleteTopicError::TooMany)
            } else {
                let found = self.find_deletable(reference, &mentions);
                found.and_then(|topic| match allowed.take(topic.partition_count()) {
                    Ok(()) => Ok(topic),
                    Err(_) => Err(DeleteTopicError::QuotaExceeded),
                })
            };
            if let Ok(topic) = &outcome {
                records.push(MetadataRecord::TopicDeleted { id: topic.id() });
            }
            answers.push(DeletedTopic {
                reference: reference.clone(),
                outcome: outcome.map(|topic| (topic.name().clone(), topic.id())),
            });
        }
        Decision {
            records,
            reply: Reply::DeleteTopics(answers),
        }
    }

    fn is_named_by_name_too(
        &self,
        reference: &TopicReference,
        mentions: &BTreeMap<&TopicReference, usize>,
    ) -> bool {
        let TopicReference::Id(id) = reference else {
            return false;
        };
        self.image.topic_by_id(*id).is_some_and(|topic| {
            let name = TopicReference::Name(topic.name().to_string());
            mentions.get(&name) == Some(&1)
        })
    }

    fn find_deletable(
        &self,
        reference: &TopicReference,
        mentions: &BTreeMap<&TopicReference, usize>,
    ) -> Result<&Arc<Topic>, DeleteTopicError> {
        let repeated = mentions.get(reference).is_some_and(|&times| times > 1);
        match reference {
            TopicReference::Name(_) if repeated => Err(DeleteTopicError::DuplicateName),
            TopicReference::Id(_) if repeated => Err(DeleteTopicError::DuplicateId),
            TopicReference::Name(name) => {
                let topic = self
                    .image
                    .topic(name)
                    .ok_or(DeleteTopicError::UnknownName)?;
                if mentions.contains_key(&TopicReference::Id(topic.id())) {
                    return Err(DeleteTopicError::NameOfNamedId);
                }
                Ok(topic)
            }
            TopicReference::Id(id) => self
                .image
                .topic_by_id(*id)
                .ok_or(DeleteTopicError::UnknownId),
        }
    }
}
