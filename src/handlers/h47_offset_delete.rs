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

/// Partitions of a topic whose offsets are to be forgotten.
type Wanted = (TopicName, Vec<PartitionIndex>);

/// Answers the request when the offsets are gone for good.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: offset_delete::RequestView<'_> = request.body()?;
    let named = view.topics().iter().map(|topic| topic.partitions().len());
    check_named(&request, named)?;
    let (refused, wanted) = planned(&context.shards.image(), &view);
    let outcome = delete(&context, view.group_id(), wanted).await;
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

/// Offsets that one decision forgets at most, so that others are served meanwhile.
const PART_MAX: usize = 5_000;

/// Forgets offsets, a part of them at a time.
async fn delete(
    context: &Context,
    group: &str,
    wanted: Vec<Wanted>,
) -> Result<Vec<DeletedTopic>, ErrorCode> {
    let mut deleted = Vec::new();
    for (number, topics) in parts(wanted).into_iter().enumerate() {
        let command = Command::DeleteOffsets(DeleteOffsets {
            group: GroupId::new(group),
            topics: topics.clone(),
        });
        match ask(context, group, command).await? {
            Reply::DeleteOffsets(Ok(part)) => deleted.extend(part),
            // It went with the last offset of an earlier part.
            Reply::DeleteOffsets(Err(DeleteOffsetsError::GroupNotFound)) if number > 0 => {
                deleted.extend(topics.into_iter().map(|(topic, partitions)| {
                    DeletedTopic {
                        topic,
                        partitions: partitions
                            .into_iter()
                            .map(|index| (index, Ok(())))
                            .collect(),
                    }
                }));
            }
            Reply::DeleteOffsets(Err(error)) => return Err(code_of(error)),
            other => unreachable!("a deletion of offsets is answered by {other:?}"),
        }
    }
    Ok(deleted)
}

/// The same in parts; one without anything if nothing is wanted, since something may have to be said
/// of the group.
fn parts(wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    let mut parts = vec![Vec::new()];
    let mut room = PART_MAX;
    for (topic, partitions) in wanted {
        let mut rest = partitions.as_slice();
        while !rest.is_empty() {
            if room == 0 {
                parts.push(Vec::new());
                room = PART_MAX;
            }
            let (now, later) = rest.split_at(rest.len().min(room));
            room -= now.len();
            rest = later;
            if let Some(part) = parts.last_mut() {
                part.push((topic.clone(), now.to_vec()));
            }
        }
    }
    parts
}

/// Answers to what is not there, and what can be asked for.
fn planned(image: &Image, view: &offset_delete::RequestView<'_>) -> (Vec<Refused>, Vec<Wanted>) {
    let (mut refused, mut wanted) = (Vec::<Refused>::new(), Vec::new());
    let mut places = BTreeMap::new();
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
        // Kafka names a topic that is not there even where nothing is asked of it.
        if found.is_none() || !unknown.is_empty() {
            let place = *places.entry(topic.name()).or_insert_with(|| {
                refused.push(Refused {
                    name: Cow::Owned(topic.name().to_owned()),
                    ..Default::default()
                });
                refused.len() - 1
            });
            refused[place].partitions.extend(unknown);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_offsets_are_forgotten_a_part_at_a_time() {
        let topic = |name: &str, count: i32| {
            let name = TopicName::new(name).expect("legal");
            (name, (0..count).map(PartitionIndex).collect::<Vec<_>>())
        };
        let sizes = |wanted: Vec<Wanted>| -> Vec<Vec<(String, usize)>> {
            let parts = parts(wanted).into_iter();
            let shown = |(topic, partitions): Wanted| (topic.to_string(), partitions.len());
            parts
                .map(|part| part.into_iter().map(shown).collect())
                .collect()
        };
        let one = |name: &str, count| (name.to_owned(), count);
        assert_eq!(sizes(Vec::new()), [Vec::new()], "the group is asked for");
        assert_eq!(sizes(vec![topic("a", 5_000)]), [vec![one("a", 5_000)]]);
        assert_eq!(
            sizes(vec![topic("a", 4_000), topic("b", 6_500)]),
            [
                vec![one("a", 4_000), one("b", 1_000)],
                vec![one("b", 5_000)],
                vec![one("b", 500)]
            ]
        );
    }
}
