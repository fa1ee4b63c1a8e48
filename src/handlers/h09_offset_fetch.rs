//! OffsetFetch: how far groups have read.

use std::borrow::Cow;

use klamm_model::{ErrorCode, PartitionIndex, TopicId, TopicName};
use klamm_shard::api::coord::{
    Command, FetchOffsets, FetchTopic, FetchedTopic, GroupId, KeptOffset, Reply, TopicReference,
};
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, offset_fetch};

use super::check_named;
use super::coordinators::ask;
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
        let mut groups = Vec::new();
        for group in view.groups() {
            let asked = asked_of_group(&image, request.version, &group);
            let found = find(&context, group.group_id(), asked, view.require_stable()).await;
            groups.push(shown_group(
                &image,
                request.version,
                group.group_id(),
                found,
            ));
        }
        return request.answer(&offset_fetch::Response {
            groups,
            ..Default::default()
        });
    }
    let all = view.topics().is_none();
    let asked = Asked {
        topics: view
            .topics()
            .into_iter()
            .flatten()
            .map(|topic| {
                let partitions = topic.partition_indexes().iter().map(PartitionIndex);
                AskedTopic::named(&image, topic.name(), partitions.collect())
            })
            .collect(),
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
        topics: topics.collect(),
        all: group.topics().is_none(),
    }
}

/// What is kept of a group: as it was asked for, what cannot be asked for last.
async fn find(
    context: &Context,
    group: &str,
    asked: Asked,
    require_stable: bool,
) -> Result<Vec<FoundTopic>, ErrorCode> {
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
    let fetched = match ask(context, group, command).await? {
        Reply::FetchOffsets(fetched) => fetched.into_iter().map(FoundTopic::of),
        other => unreachable!("a fetch of offsets is answered by {other:?}"),
    };
    let refused = unknown.into_iter().map(|topic| {
        let code = topic.refused;
        topic.failed(code)
    });
    Ok(fetched.chain(refused).collect())
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
