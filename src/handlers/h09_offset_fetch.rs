//! OffsetFetch: how far groups have read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use klamm_model::{ErrorCode, PartitionIndex, TopicId, TopicName};
use klamm_shard::api::coord::{
    Command, FetchOffsets, FetchTopic, FetchedTopic, GroupId, KeptOffset, Reply, TopicReference,
};
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, offset_fetch};

use super::check_named;
use super::coordinators::{AnswerRoom, begin};
use crate::net::{Close, Context, Request};

/// First version with an error for the whole group.
const FIRST_WITH_GROUP_ERROR: i16 = 2;
/// First version that asks for several groups (KIP-709).
const FIRST_OF_SEVERAL: i16 = 8;
/// First version that names topics by id (KIP-848).
const FIRST_BY_ID: i16 = 10;
/// "None" on the wire.
const NONE: i64 = -1;

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: offset_fetch::RequestView<'_> = request.body()?;
    check_named(&request, named(&view))?;
    let image = context.shards.image();
    if request.version >= FIRST_OF_SEVERAL {
        let groups = find_all(&context, &request, &image, &view).await;
        return request.answer(&offset_fetch::Response {
            groups,
            ..Default::default()
        });
    }
    let all = view.topics().is_none();
    let topics = view.topics().into_iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes().iter().map(PartitionIndex);
        AskedTopic::named(&image, topic.name(), partitions.collect())
    });
    let asked = Asked {
        topics: each_once(topics),
        all,
    };
    let refused: Vec<AskedTopic> = asked.topics.clone();
    let found = find(&context, view.group_id(), asked, view.require_stable()).await;
    let (code, topics) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(code) if request.version >= FIRST_WITH_GROUP_ERROR => (code, Vec::new()),
        Err(code) => {
            let failed = refused.into_iter().map(|topic| topic.failed(code));
            (ErrorCode::None, failed.collect())
        }
    };
    request.answer(&offset_fetch::Response {
        topics: topics.into_iter().map(shown_topic).collect(),
        error_code: code.code(),
        ..Default::default()
    })
}

/// What is kept of several groups, each once.
async fn find_all(
    context: &Context,
    request: &Request,
    image: &Image,
    view: &offset_fetch::RequestView<'_>,
) -> Vec<offset_fetch::OffsetFetchResponseGroup<'static>> {
    let version = request.version;
    let mut seen = BTreeSet::new();
    let groups = view.groups().iter();
    let mut groups = groups.filter(|group| seen.insert(group.group_id()));
    let mut room = AnswerRoom::default();
    let mut answers = Vec::new();
    loop {
        let asked = groups.by_ref().take(room.at_once()).map(|group| {
            let name = group.group_id();
            let asked = asked_of_group(image, version, &group);
            (name, find(context, name, asked, view.require_stable()))
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            break;
        }
        for (name, asked) in asked {
            let mut found = asked.await;
            if room.is_full() {
                found = Err(AnswerRoom::FULL);
            }
            let found_bytes = found.iter().flatten().map(FoundTopic::bytes);
            room.add(name.len() + found_bytes.sum::<usize>());
            answers.push(shown_group(image, version, name, found));
        }
    }
    let rest = groups.map(|group| {
        let found = Err(AnswerRoom::FULL);
        shown_group(image, version, group.group_id(), found)
    });
    answers.extend(rest);
    answers
}

/// Partitions, each where it is named first.
fn each_once(topics: impl Iterator<Item = AskedTopic>) -> Vec<AskedTopic> {
    let mut seen: BTreeMap<(String, TopicId), BTreeSet<PartitionIndex>> = BTreeMap::new();
    let topics = topics.filter_map(|mut topic| {
        let seen = seen.entry((topic.name.clone(), topic.id)).or_default();
        let is_empty = topic.partitions.is_empty();
        topic.partitions.retain(|&partition| seen.insert(partition));
        (is_empty || !topic.partitions.is_empty()).then_some(topic)
    });
    topics.collect()
}

/// How many partitions of each topic are named.
fn named<'v>(view: &offset_fetch::RequestView<'v>) -> impl Iterator<Item = usize> + use<'v> {
    let old = view.topics().into_iter().flatten();
    let old = old.map(|topic| topic.partition_indexes().len());
    let groups = view.groups().iter().flat_map(|group| {
        let topics = group.topics().into_iter().flatten();
        std::iter::once(1).chain(topics.map(|topic| topic.partition_indexes().len()))
    });
    old.chain(groups)
}

/// What is asked of one group.
#[derive(Debug)]
struct Asked {
    topics: Vec<AskedTopic>,
    /// All that is kept.
    all: bool,
}

/// A topic as it is asked for.
#[derive(Clone, Debug)]
struct AskedTopic {
    name: String,
    id: TopicId,
    /// What the coordinator is asked for; nothing of a name that no topic can have.
    reference: Option<TopicReference>,
    partitions: Vec<PartitionIndex>,
    /// Why it is not asked.
    refused: ErrorCode,
}

impl AskedTopic {
    fn named(image: &Image, name: &str, partitions: Vec<PartitionIndex>) -> Self {
        let known = image.topic(name);
        let reference = match known {
            Some(topic) => Some(TopicReference {
                name: topic.name().clone(),
                id: topic.id(),
            }),
            None => TopicName::new(name).ok().map(|name| TopicReference {
                name,
                id: TopicId::ZERO,
            }),
        };
        Self {
            name: name.to_owned(),
            id: known.map_or(TopicId::ZERO, |topic| topic.id()),
            reference,
            partitions,
            refused: ErrorCode::None,
        }
    }

    fn with_id(image: &Image, id: TopicId, partitions: Vec<PartitionIndex>) -> Self {
        let known = image.topic_by_id(id);
        let reference = known.map(|topic| TopicReference {
            name: topic.name().clone(),
            id,
        });
        Self {
            name: String::new(),
            id,
            refused: match reference {
                Some(_) => ErrorCode::None,
                None => ErrorCode::UnknownTopicId,
            },
            reference,
            partitions,
        }
    }

    /// Every partition with this code and without an offset.
    fn failed(self, code: ErrorCode) -> FoundTopic {
        let partitions = self.partitions.iter();
        FoundTopic {
            partitions: partitions.map(|&index| (index, None, code)).collect(),
            name: self.name,
            id: self.id,
        }
    }
}

/// A topic as it is answered.
struct FoundTopic {
    name: String,
    id: TopicId,
    partitions: Vec<(PartitionIndex, Option<KeptOffset>, ErrorCode)>,
}

impl FoundTopic {
    /// What it takes of an answer, about.
    fn bytes(&self) -> usize {
        let kept = self
            .partitions
            .iter()
            .filter_map(|(_, kept, _)| kept.as_ref());
        let metadata = kept.map(|kept| kept.metadata.len());
        self.name.len() + size_of_val(self.partitions.as_slice()) + metadata.sum::<usize>()
    }

    fn of(topic: FetchedTopic) -> Self {
        let partitions = topic.partitions.into_iter();
        Self {
            name: topic.topic.name.as_str().to_owned(),
            id: topic.topic.id,
            partitions: partitions
                .map(|(index, kept)| (index, kept, ErrorCode::None))
                .collect(),
        }
    }
}

fn asked_of_group(
    image: &Image,
    version: i16,
    group: &offset_fetch::OffsetFetchRequestGroupView<'_>,
) -> Asked {
    let topics = group.topics().into_iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes().iter().map(PartitionIndex);
        let partitions = partitions.collect();
        match version {
            FIRST_BY_ID.. => AskedTopic::with_id(image, TopicId(topic.topic_id()), partitions),
            _ => AskedTopic::named(image, topic.name(), partitions),
        }
    });
    Asked {
        topics: each_once(topics),
        all: group.topics().is_none(),
    }
}

/// What is kept of a group: as it was asked for, what cannot be asked for last. The coordinator is
/// asked when this returns.
fn find(
    context: &Context,
    group: &str,
    asked: Asked,
    require_stable: bool,
) -> impl Future<Output = Result<Vec<FoundTopic>, ErrorCode>> + use<> {
    let (known, unknown): (Vec<_>, Vec<_>) = asked
        .topics
        .into_iter()
        .partition(|topic| topic.reference.is_some());
    let wanted = known.iter().filter_map(|topic| {
        Some(FetchTopic {
            topic: topic.reference.clone()?,
            partitions: topic.partitions.clone(),
        })
    });
    let command = Command::FetchOffsets(FetchOffsets {
        group: GroupId::new(group),
        topics: (!asked.all).then(|| wanted.collect()),
        require_stable,
    });
    let fetched = begin(context, group, command);
    async move {
        let fetched = match fetched.await? {
            Reply::FetchOffsets(fetched) => fetched.into_iter().map(FoundTopic::of),
            other => unreachable!("a fetch of offsets is answered by {other:?}"),
        };
        let refused = unknown.into_iter().map(|topic| {
            let code = topic.refused;
            topic.failed(code)
        });
        Ok(fetched.chain(refused).collect())
    }
}

fn shown_group(
    image: &Image,
    version: i16,
    group: &str,
    found: Result<Vec<FoundTopic>, ErrorCode>,
) -> offset_fetch::OffsetFetchResponseGroup<'static> {
    let group_id = Cow::Owned(group.to_owned());
    let found = match found {
        Ok(found) => found,
        Err(code) => {
            return offset_fetch::OffsetFetchResponseGroup {
                group_id,
                error_code: code.code(),
                ..Default::default()
            };
        }
    };
    let topics = found.into_iter().filter_map(|mut topic| {
        if version >= FIRST_BY_ID && topic.id.is_zero() {
            // Kept without an id: it is that of the topic of this name, if there is one.
            topic.id = image.topic(&topic.name)?.id();
        }
        Some(shown_topic_of_group(topic))
    });
    offset_fetch::OffsetFetchResponseGroup {
        group_id,
        topics: topics.collect(),
        ..Default::default()
    }
}

fn shown_topic(topic: FoundTopic) -> offset_fetch::OffsetFetchResponseTopic<'static> {
    let partitions = topic.partitions.into_iter();
    offset_fetch::OffsetFetchResponseTopic {
        name: Cow::Owned(topic.name),
        partitions: partitions
            .map(|(index, kept, code)| {
                let (committed_offset, committed_leader_epoch, metadata) = shown(kept);
                offset_fetch::OffsetFetchResponsePartition {
                    partition_index: index.0,
                    committed_offset,
                    committed_leader_epoch,
                    metadata: Some(metadata),
                    error_code: code.code(),
                }
            })
            .collect(),
    }
}

fn shown_topic_of_group(topic: FoundTopic) -> offset_fetch::OffsetFetchResponseTopics<'static> {
    let partitions = topic.partitions.into_iter();
    offset_fetch::OffsetFetchResponseTopics {
        name: Cow::Owned(topic.name),
        topic_id: topic.id.0,
        partitions: partitions
            .map(|(index, kept, code)| {
                let (committed_offset, committed_leader_epoch, metadata) = shown(kept);
                offset_fetch::OffsetFetchResponsePartitions {
                    partition_index: index.0,
                    committed_offset,
                    committed_leader_epoch,
                    metadata: Some(metadata),
                    error_code: code.code(),
                }
            })
            .collect(),
    }
}

/// Offset, leader epoch and text on the wire.
fn shown(kept: Option<KeptOffset>) -> (i64, i32, Cow<'static, str>) {
    kept.map_or((NONE, -1, Cow::Borrowed("")), |kept| {
        let epoch = kept.leader_epoch.map_or(-1, |epoch| epoch.0);
        (kept.offset.0, epoch, Cow::Owned(kept.metadata))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_named_again_is_asked_for_once() {
        let topic = |name: &str, partitions: &[i32]| AskedTopic {
            name: name.to_owned(),
            id: TopicId::ZERO,
            reference: None,
            partitions: partitions.iter().copied().map(PartitionIndex).collect(),
            refused: ErrorCode::None,
        };
        let asked = [
            topic("a", &[2, 0, 2]),
            topic("b", &[2]),
            topic("a", &[1, 0]),
            topic("a", &[0, 1]),
            topic("c", &[]),
        ];
        let asked = each_once(asked.into_iter());
        let asked: Vec<(&str, Vec<i32>)> = asked
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|index| index.0);
                (topic.name.as_str(), partitions.collect())
            })
            .collect();
        let expected: [(&str, Vec<i32>); 4] = [
            ("a", vec![2, 0]),
            ("b", vec![2]),
            ("a", vec![1]),
            ("c", vec![]),
        ];
        assert_eq!(asked, expected);
    }
}
