//! OffsetCommit: keeps how far a group has read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use klamm_model::{ErrorCode, Offset, PartitionIndex, TopicId};
use klamm_shard::api::coord::{
    Command, CommitError, CommitOffsets, CommitPartition, CommitPartitionError, CommitTopic,
    CommittedTopic, GenerationId, GroupId, Reply, TopicReference,
};
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, offset_commit};

use super::coordinators::{ask, instance_of, member_of};
use super::{believed_epoch, check_named};
use crate::net::{Close, Context, Request};

/// First version that can be told that there is no such group.
const FIRST_WITH_GROUP_NOT_FOUND: i16 = 9;
/// First version that names topics by id (KIP-848).
const FIRST_BY_ID: i16 = 10;

/// Answers the request when the offsets are kept.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: offset_commit::RequestView<'_> = request.body()?;
    let named = view.topics().iter().map(|topic| topic.partitions().len());
    check_named(&request, named)?;
    let (mut answer, topics) = planned(&context.shards.image(), &view, request.version);
    if topics.is_empty() {
        // As in Kafka, nobody is asked where nothing is to be kept.
        return request.answer(&answer.response());
    }
    let asked: Vec<(TopicReference, Vec<PartitionIndex>)> = topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|part| part.partition);
            (topic.topic.clone(), partitions.collect())
        })
        .collect();
    let retention_ms = u64::try_from(view.retention_time_ms()).ok();
    let generation = view.generation_id_or_member_epoch();
    let command = Command::CommitOffsets(CommitOffsets {
        group: GroupId::new(view.group_id()),
        member: member_of(view.member_id()),
        instance: instance_of(view.group_instance_id()),
        generation: (generation >= 0).then_some(GenerationId(generation)),
        understands_epochs: request.version >= FIRST_WITH_GROUP_NOT_FOUND,
        retention: retention_ms.map(Duration::from_millis),
        topics,
    });
    let outcome = match ask(&context, view.group_id(), command).await {
        Ok(Reply::CommitOffsets(outcome)) => {
            outcome.map_err(|error| code_of(error, request.version))
        }
        Ok(other) => unreachable!("a commit is answered by {other:?}"),
        Err(ErrorCode::UnknownServerError) => Err(ErrorCode::InvalidCommitOffsetSize),
        Err(code) => Err(code),
    };
    match outcome {
        Ok(committed) => committed
            .iter()
            .for_each(|topic| answer.add_committed(topic)),
        Err(code) => {
            for (topic, partitions) in &asked {
                for partition in partitions {
                    answer.add(topic.name.as_str(), topic.id, partition.0, code);
                }
            }
        }
    }
    request.answer(&answer.response())
}

/// The answer as it grows: topics in the order in which something is first said of them.
#[derive(Default)]
struct Answer {
    topics: Vec<offset_commit::OffsetCommitResponseTopic<'static>>,
    places: BTreeMap<(String, TopicId), usize>,
}

impl Answer {
    /// A topic, of which something may be said later.
    fn topic(
        &mut self,
        name: &str,
        id: TopicId,
    ) -> &mut offset_commit::OffsetCommitResponseTopic<'static> {
        let topics = &mut self.topics;
        let place = *self.places.entry((name.to_owned(), id)).or_insert_with(|| {
            topics.push(offset_commit::OffsetCommitResponseTopic {
                name: Cow::Owned(name.to_owned()),
                topic_id: id.0,
                ..Default::default()
            });
            topics.len() - 1
        });
        &mut self.topics[place]
    }

    fn add(&mut self, name: &str, id: TopicId, partition_index: i32, code: ErrorCode) {
        let partition = offset_commit::OffsetCommitResponsePartition {
            partition_index,
            error_code: code.code(),
        };
        self.topic(name, id).partitions.push(partition);
    }

    fn add_committed(&mut self, committed: &CommittedTopic) {
        for (partition, result) in &committed.partitions {
            let code = match result {
                Ok(()) => ErrorCode::None,
                Err(CommitPartitionError::MetadataTooLarge) => ErrorCode::OffsetMetadataTooLarge,
            };
            let topic = &committed.topic;
            self.add(topic.name.as_str(), topic.id, partition.0, code);
        }
    }

    fn response(self) -> offset_commit::Response<'static> {
        offset_commit::Response {
            topics: self.topics,
            ..Default::default()
        }
    }
}

/// What can be kept, and answers to what cannot.
fn planned(
    image: &Image,
    view: &offset_commit::RequestView<'_>,
    version: i16,
) -> (Answer, Vec<CommitTopic>) {
    let mut answer = Answer::default();
    let mut topics = Vec::new();
    for topic in view.topics() {
        let id = TopicId(topic.topic_id());
        let found = match version {
            FIRST_BY_ID.. => image.topic_by_id(id),
            _ => image.topic(topic.name()),
        };
        let Some(found) = found else {
            let code = match version {
                FIRST_BY_ID.. => ErrorCode::UnknownTopicId,
                _ => ErrorCode::UnknownTopicOrPartition,
            };
            // Kafka names it even where nothing is asked of it.
            answer.topic(topic.name(), id);
            for part in topic.partitions() {
                answer.add(topic.name(), id, part.partition_index(), code);
            }
            continue;
        };
        let mut partitions = Vec::new();
        for part in topic.partitions() {
            let index = PartitionIndex(part.partition_index());
            if found.partition(index).is_none() {
                let code = ErrorCode::UnknownTopicOrPartition;
                answer.add(found.name().as_str(), found.id(), index.0, code);
                continue;
            }
            partitions.push(CommitPartition {
                partition: index,
                offset: Offset(part.committed_offset()),
                leader_epoch: believed_epoch(part.committed_leader_epoch()),
                metadata: part.committed_metadata().unwrap_or_default().to_owned(),
            });
        }
        if !partitions.is_empty() {
            let topic = TopicReference {
                name: found.name().clone(),
                id: found.id(),
            };
            topics.push(CommitTopic { topic, partitions });
        }
    }
    (answer, topics)
}

const fn code_of(error: CommitError, version: i16) -> ErrorCode {
    match error {
        CommitError::GroupNotFound if version >= FIRST_WITH_GROUP_NOT_FOUND => {
            ErrorCode::GroupIdNotFound
        }
        CommitError::GroupNotFound | CommitError::IllegalGeneration => ErrorCode::IllegalGeneration,
        CommitError::UnknownMember => ErrorCode::UnknownMemberId,
        CommitError::FencedInstance => ErrorCode::FencedInstanceId,
        CommitError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        CommitError::UnsupportedVersion => ErrorCode::UnsupportedVersion,
        CommitError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        CommitError::TooLarge => ErrorCode::InvalidCommitOffsetSize,
    }
}
