//! OffsetDelete: forgets offsets of topics that a group does not read (KIP-496).

use std::borrow::Cow;
use std::collections::BTreeMap;

use klamm_model::{ErrorCode, PartitionIndex, TopicName};
use klamm_shard::api::coord::{
    Command, DeleteOffsetError, DeleteOffsets, DeleteOffsetsError, DeletedTopic, GroupId, Reply,
};
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, offset_delete};

use super::check_named;
use super::coordinators::ask;
use crate::net::{Close, Context, Request};

/// A topic with a code for each of its partitions.
type Refused = offset_delete::OffsetDeleteResponseTopic<'static>;

/// Answers the request when the offsets are gone for good.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: offset_delete::RequestView<'_> = request.body()?;
    let named = view.topics().iter().map(|topic| topic.partitions().len());
    check_named(&request, named)?;
    let (refused, wanted) = planned(&context.shards.image(), &view);
    let command = Command::DeleteOffsets(DeleteOffsets {
        group: GroupId::new(view.group_id()),
        topics: wanted,
    });
    let outcome = match ask(&context, view.group_id(), command).await {
        Ok(Reply::DeleteOffsets(outcome)) => outcome.map_err(code_of),
        Ok(other) => unreachable!("a deletion of offsets is answered by {other:?}"),
        Err(code) => Err(code),
    };
    request.answer(&match outcome {
        Ok(deleted) => offset_delete::Response {
            topics: joined(refused, deleted),
            ..Default::default()
        },
        Err(code) => offset_delete::Response {
            error_code: code.code(),
            ..Default::default()
        },
    })
}

/// Answers to what is not there, and what can be asked for.
fn planned(
    image: &Image,
    view: &offset_delete::RequestView<'_>,
) -> (Vec<Refused>, Vec<(TopicName, Vec<PartitionIndex>)>) {
    let (mut refused, mut wanted) = (Vec::new(), Vec::new());
    for topic in view.topics() {
        let found = image.topic(topic.name());
        let is_known = |index: i32| {
            found.is_some_and(|found| found.partition(PartitionIndex(index)).is_some())
        };
        let indexes = topic.partitions().iter();
        let indexes: Vec<i32> = indexes.map(|part| part.partition_index()).collect();
        let unknown = indexes.iter().copied().filter(|&index| !is_known(index));
        let unknown: Vec<_> = unknown
            .map(
                |partition_index| offset_delete::OffsetDeleteResponsePartition {
                    partition_index,
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                },
            )
            .collect();
        if !unknown.is_empty() {
            refused.push(Refused {
                name: Cow::Owned(topic.name().to_owned()),
                partitions: unknown,
            });
        }
        let known = indexes.into_iter().filter(|&index| is_known(index));
        let known: Vec<_> = known.map(PartitionIndex).collect();
        if let Some(found) = found
            && !known.is_empty()
        {
            wanted.push((found.name().clone(), known));
        }
    }
    (refused, wanted)
}

/// One answer for each topic, what is not there first.
fn joined(mut topics: Vec<Refused>, deleted: Vec<DeletedTopic>) -> Vec<Refused> {
    let names = topics.iter().map(|topic| topic.name.to_string());
    let mut places: BTreeMap<String, usize> = names.zip(0..).collect();
    for topic in deleted {
        let name = topic.topic.as_str().to_owned();
        let place = *places.entry(name.clone()).or_insert_with(|| {
            topics.push(Refused {
                name: Cow::Owned(name),
                ..Default::default()
            });
            topics.len() - 1
        });
        let partitions = topic.partitions.into_iter().map(|(index, result)| {
            let code = match result {
                Ok(()) => ErrorCode::None,
                Err(DeleteOffsetError::GroupSubscribedToTopic) => ErrorCode::GroupSubscribedToTopic,
            };
            offset_delete::OffsetDeleteResponsePartition {
                partition_index: index.0,
                error_code: code.code(),
            }
        });
        topics[place].partitions.extend(partitions);
    }
    topics
}

const fn code_of(error: DeleteOffsetsError) -> ErrorCode {
    match error {
        DeleteOffsetsError::InvalidGroupId => ErrorCode::InvalidGroupId,
        DeleteOffsetsError::GroupNotFound => ErrorCode::GroupIdNotFound,
        DeleteOffsetsError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
    }
}
