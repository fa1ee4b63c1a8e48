//! OffsetFetch: how far groups have read.

use std::borrow::Cow;
use std::mem;

use klamm_model::{ErrorCode, PartitionIndex, TopicId, TopicName};
use klamm_shard::api::coord::limits::ANSWER_OFFSETS_MAX;
use klamm_shard::api::coord::{
    Command, FetchOffsets, FetchOffsetsError, FetchTopic, FetchedOffsets, FetchedTopic, GroupId,
    KeptOffset, MemberEpoch, MemberId, Reply, TopicReference,
};
use klamm_shard::api::metadata::Image;
use klamm_wire::{Gather, offset_fetch};

use super::check_named;
use super::coordinators::{ASKED_TOGETHER, AnswerRoom, ask, begin};
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
    let mut room = AnswerRoom::default();
    if request.version >= FIRST_OF_SEVERAL {
        let groups = find_all(&context, &request, &image, &view, &mut room).await;
        return request.answer(&offset_fetch::Response {
            groups,
            ..Default::default()
        });
    }
    let topics = view.topics().map(|topics| {
        let topics = topics.iter().map(|topic| {
            let partitions = topic.partition_indexes().iter().map(PartitionIndex);
            AskedTopic::named(&image, topic.name(), partitions.collect())
        });
        topics.collect()
    });
    let asked = Asked::new(view.group_id(), topics, view.require_stable());
    let refused = asked.clone();
    let first = begin(&context, &asked.group, asked.first_part());
    let found = find(&context, asked, first, &mut room).await;
    let (code, topics) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(code) if request.version >= FIRST_WITH_GROUP_ERROR => (code, Vec::new()),
        Err(code) => (ErrorCode::None, refused.failed(code)),
    };
    request.answer(&offset_fetch::Response {
        topics: topics.into_iter().map(shown_topic).collect(),
        error_code: code.code(),
        ..Default::default()
    })
}

/// What is kept of several groups, each as often as it is named, as far as there is room.
async fn find_all(
    context: &Context,
    request: &Request,
    image: &Image,
    view: &offset_fetch::RequestView<'_>,
    room: &mut AnswerRoom,
) -> Vec<offset_fetch::OffsetFetchResponseGroup<'static>> {
    let version = request.version;
    let mut groups = view.groups().iter();
    let mut answers = Vec::new();
    while !room.is_full() {
        let some = groups.by_ref().take(ASKED_TOGETHER).map(|group| {
            let asked = asked_of_group(image, version, &group, view.require_stable());
            let first = begin(context, &asked.group, asked.first_part());
            (group.group_id(), asked, first)
        });
        let some: Vec<_> = some.collect();
        if some.is_empty() {
            break;
        }
        for (name, asked, first) in some {
            let found = match room.is_full() {
                true => Err(AnswerRoom::LATER),
                false => find(context, asked, first, room).await,
            };
            answers.push(shown_group(image, version, name, found));
        }
    }
    answers.extend(groups.map(|group| {
        let found = Err(AnswerRoom::LATER);
        shown_group(image, version, group.group_id(), found)
    }));
    answers
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

/// What is asked of one group, and how much of it was answered.
#[derive(Clone, Debug)]
struct Asked {
    group: String,
    /// What the coordinator can be asked for; `None` is all that is kept.
    known: Option<Vec<AskedTopic>>,
    /// What it cannot be asked for.
    unknown: Vec<AskedTopic>,
    /// Who asks, if the request says so.
    member: Option<(MemberId, MemberEpoch)>,
    require_stable: bool,
    /// Topics that are answered, and partitions of the one behind them.
    answered: (usize, usize),
}

impl Asked {
    fn new(group: &str, topics: Option<Vec<AskedTopic>>, require_stable: bool) -> Self {
        let is_all = topics.is_none();
        let topics = topics.into_iter().flatten();
        let (known, unknown) = topics.partition(|topic| topic.reference.is_some());
        Self {
            group: group.to_owned(),
            known: (!is_all).then_some(known),
            unknown,
            member: None,
            require_stable,
            answered: (0, 0),
        }
    }

    fn first_part(&self) -> Command {
        self.part_from(None)
    }

    /// Asks for what is not answered yet, as much as one answer may have; of all that is kept, from
    /// an offset on.
    fn part_from(&self, from: Option<(TopicName, PartitionIndex)>) -> Command {
        let (topics, mut skipped) = self.answered;
        let mut room = ANSWER_OFFSETS_MAX;
        let wanted = self.known.as_ref().map(|known| {
            let rest = known[topics..].iter().map_while(|topic| {
                let partitions = &topic.partitions[mem::take(&mut skipped)..];
                let partitions = &partitions[..partitions.len().min(room)];
                let is_full = room == 0;
                room = room.saturating_sub(partitions.len().max(1));
                let wanted = FetchTopic {
                    topic: topic.reference.clone()?,
                    partitions: partitions.to_vec(),
                };
                (!is_full).then_some(wanted)
            });
            rest.collect()
        });
        Command::FetchOffsets(FetchOffsets {
            group: GroupId::new(&self.group),
            topics: wanted,
            from,
            member: self.member.clone(),
            require_stable: self.require_stable,
        })
    }

    /// Adds a part to what was found. Gives the command for the next one.
    fn add(&mut self, part: FetchedOffsets, found: &mut Vec<FoundTopic>) -> Option<Command> {
        for topic in part.topics {
            let topic = FoundTopic::of(topic);
            let goes_on = match &self.known {
                Some(_) => self.answered.1 > 0,
                None => found.last().is_some_and(|last| last.name == topic.name),
            };
            if let Some(known) = &self.known {
                let (topics, partitions) = &mut self.answered;
                *partitions += topic.partitions.len();
                if *partitions >= known[*topics].partitions.len() {
                    self.answered = (*topics + 1, 0);
                }
            }
            match found.last_mut().filter(|_| goes_on) {
                Some(last) => last.partitions.extend(topic.partitions),
                None => found.push(topic),
            }
        }
        let is_complete = match &self.known {
            Some(known) => self.answered.0 >= known.len(),
            None => part.next.is_none(),
        };
        (!is_complete).then(|| self.part_from(part.next))
    }

    /// Every partition with this code and without an offset.
    fn failed(self, code: ErrorCode) -> Vec<FoundTopic> {
        let topics = self.known.into_iter().flatten().chain(self.unknown);
        topics.map(|topic| topic.failed(code)).collect()
    }
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

    /// What it takes of the memory of an answer.
    fn bytes(&self) -> usize {
        bytes_of_shown(self.name.len(), self.partitions.len())
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
    require_stable: bool,
) -> Asked {
    let topics = group.topics().map(|topics| {
        let topics = topics.iter().map(|topic| {
            let partitions = topic.partition_indexes().iter().map(PartitionIndex);
            let partitions = partitions.collect();
            match version {
                FIRST_BY_ID.. => AskedTopic::with_id(image, TopicId(topic.topic_id()), partitions),
                _ => AskedTopic::named(image, topic.name(), partitions),
            }
        });
        topics.collect()
    });
    Asked {
        member: member_of(group),
        ..Asked::new(group.group_id(), topics, require_stable)
    }
}

/// Who asks. Administrators, and consumers of the classic protocol, say neither id nor epoch.
fn member_of(
    group: &offset_fetch::OffsetFetchRequestGroupView<'_>,
) -> Option<(MemberId, MemberEpoch)> {
    let (id, epoch) = (group.member_id(), group.member_epoch());
    let is_said = id.is_some() || epoch >= 0;
    is_said.then(|| (MemberId::new(id.unwrap_or_default()), MemberEpoch(epoch)))
}

/// What is kept of a group whose first part was asked for: as it was asked for, what cannot be asked
/// for last.
async fn find(
    context: &Context,
    mut asked: Asked,
    first: impl Future<Output = Result<Reply, ErrorCode>>,
    room: &mut AnswerRoom,
) -> Result<Vec<FoundTopic>, ErrorCode> {
    let mut found = Vec::new();
    let mut bytes = asked.unknown.iter().map(AskedTopic::bytes).sum::<usize>();
    let mut reply = first.await?;
    loop {
        let part = match reply {
            Reply::FetchOffsets(part) => part.map_err(|error| match error {
                FetchOffsetsError::UnknownMember => ErrorCode::UnknownMemberId,
                FetchOffsetsError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
                FetchOffsetsError::IllegalGeneration => ErrorCode::IllegalGeneration,
            })?,
            other => unreachable!("a fetch of offsets is answered by {other:?}"),
        };
        bytes += part.topics.iter().map(bytes_of).sum::<usize>();
        if bytes > room.left() {
            return Err(room.refuse());
        }
        let Some(next) = asked.add(part, &mut found) else {
            break;
        };
        reply = ask(context, &asked.group, next).await?;
    }
    room.take(bytes)?;
    found.extend(asked.unknown.into_iter().map(|topic| {
        let code = topic.refused;
        topic.failed(code)
    }));
    Ok(found)
}

/// What a topic takes of the memory of an answer.
fn bytes_of(topic: &FetchedTopic) -> usize {
    let kept = topic
        .partitions
        .iter()
        .filter_map(|(_, kept)| kept.as_ref());
    let metadata = kept.map(|kept| kept.metadata.len());
    let name = topic.topic.name.as_str().len();
    bytes_of_shown(name, topic.partitions.len()) + metadata.sum::<usize>()
}

/// What a topic takes but for its metadata.
const fn bytes_of_shown(name: usize, partitions: usize) -> usize {
    let each = size_of::<offset_fetch::OffsetFetchResponsePartitions<'_>>();
    size_of::<offset_fetch::OffsetFetchResponseTopics<'_>>() + name + partitions * each
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
        if version >= FIRST_BY_ID && topic.id.is_zero() && !topic.name.is_empty() {
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

/// Partitions as the wire has them: versions for one group and for several have a kind each, with
/// the same fields.
macro_rules! shown_partitions {
    ($partitions:expr, $kind:ident) => {
        $partitions
            .into_iter()
            .map(|(index, kept, code)| {
                let (committed_offset, committed_leader_epoch, metadata) = shown(kept);
                offset_fetch::$kind {
                    partition_index: index.0,
                    committed_offset,
                    committed_leader_epoch,
                    metadata: Some(metadata),
                    error_code: code.code(),
                }
            })
            .collect()
    };
}

fn shown_topic(topic: FoundTopic) -> offset_fetch::OffsetFetchResponseTopic<'static> {
    offset_fetch::OffsetFetchResponseTopic {
        name: Cow::Owned(topic.name),
        partitions: shown_partitions!(topic.partitions, OffsetFetchResponsePartition),
    }
}

fn shown_topic_of_group(topic: FoundTopic) -> offset_fetch::OffsetFetchResponseTopics<'static> {
    offset_fetch::OffsetFetchResponseTopics {
        name: Cow::Owned(topic.name),
        topic_id: topic.id.0,
        partitions: shown_partitions!(topic.partitions, OffsetFetchResponsePartitions),
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

    fn asked(topics: &[(&str, i32)]) -> Asked {
        let topics = topics.iter().map(|&(name, count)| {
            let reference = TopicReference {
                name: TopicName::new(name).expect("legal"),
                id: TopicId::ZERO,
            };
            AskedTopic {
                name: name.to_owned(),
                id: TopicId::ZERO,
                reference: Some(reference),
                partitions: (0..count).map(PartitionIndex).collect(),
                refused: ErrorCode::None,
            }
        });
        Asked::new("g", Some(topics.collect()), false)
    }

    /// The coordinator's answer to a command: no more than so many offsets, and what is behind them.
    fn answer(command: Command, offsets: usize) -> FetchedOffsets {
        let Command::FetchOffsets(fetch) = command else {
            panic!("{command:?}");
        };
        let mut fetched = FetchedOffsets::default();
        let mut room = offsets;
        for topic in fetch.topics.expect("topics are asked for") {
            let count = topic.partitions.len().min(room);
            room -= count;
            if count > 0 || topic.partitions.is_empty() {
                let told = topic.partitions[..count].iter();
                fetched.topics.push(FetchedTopic {
                    topic: topic.topic.clone(),
                    partitions: told.map(|&partition| (partition, None)).collect(),
                });
            }
            if let Some(&next) = topic.partitions.get(count) {
                fetched.next = Some((topic.topic.name, next));
                break;
            }
        }
        fetched
    }

    #[test]
    fn what_is_asked_for_is_answered_in_parts_and_shown_as_it_was_asked_for() {
        // A topic that is named again is another one in the answer.
        let topics = [
            ("a", 7),
            ("a", 7),
            ("b", 0),
            ("c", 12_000),
            ("d", 1),
            ("e", 0),
        ];
        for at_once in [1, 3, 7, 14, 5_000] {
            let mut asked = asked(&topics);
            let mut found = Vec::new();
            let mut command = Some(asked.first_part());
            while let Some(next) = command {
                command = asked.add(answer(next, at_once), &mut found);
            }
            let shown = found.iter().map(|topic| {
                let indexes = topic.partitions.iter().zip(0..);
                assert!(indexes.into_iter().all(|((index, ..), at)| index.0 == at));
                (topic.name.as_str(), topic.partitions.len() as i32)
            });
            assert_eq!(shown.collect::<Vec<_>>(), topics, "{at_once} at once");
        }
    }
}
