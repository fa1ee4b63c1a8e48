//! Offsets: kept, read, forgotten, and let go when nobody uses them any longer.

use std::collections::BTreeSet;
use std::mem;
use std::ops::Bound;

use klamm_model::{Offset, PartitionIndex, TopicId, TopicName, WallTime};

use super::api::{
    CommitError, CommitOffsets, CommitPartition, CommitPartitionError, CommittedTopic,
    DeleteOffsetError, DeleteOffsets, DeleteOffsetsError, DeletedTopic, FetchOffsets, FetchTopic,
    FetchedOffsets, FetchedTopic, GroupState, KeptOffset, Reply, TopicReference,
};
use super::consumer;
use super::forget::Forgetting;
use super::group::{Committed, Group, bytes_of_topic};
use super::join::{Identity, identify};
use super::names::GroupId;
use super::subscription::{Topics, are_consumers, topics_of};
use super::turn::Turn;
use crate::kit::{Record, Ticket};
use crate::limits::{
    ANSWER_BYTES, ANSWER_OFFSETS_MAX, GROUP_OFFSETS_MAX, NAME_BYTES_MAX, OFFSET_BYTES,
};
use crate::record::{OffsetValue, offset_key};

/// How many more offsets the coordinator keeps in all.
pub(super) struct RoomForOffsets(pub(super) usize);

impl Turn<'_> {
    /// Decides a commit. `None`: there is no such group.
    pub(super) fn commit(
        &mut self,
        group: Option<&mut Group>,
        room: &RoomForOffsets,
        ticket: Ticket,
        commit: CommitOffsets,
    ) {
        let result = self.try_commit(group, room, commit);
        self.decision.held();
        self.answer(ticket, Reply::CommitOffsets(result));
    }

    fn try_commit(
        &mut self,
        group: Option<&mut Group>,
        room: &RoomForOffsets,
        commit: CommitOffsets,
    ) -> Result<Vec<CommittedTopic>, CommitError> {
        check(group.as_deref(), &commit)?;
        let name = commit.group.as_str();
        if name.len() > NAME_BYTES_MAX || !self.has_room(group.as_deref(), room, &commit) {
            return Err(CommitError::TooLarge);
        }
        self.hear_commit(group, &commit);
        let now = self.moment.wall;
        let retention = commit.retention.map(|retention| {
            let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            WallTime(now.0.saturating_add(millis))
        });
        let mut records = Vec::new();
        let mut size = 0;
        let mut topics = Vec::with_capacity(commit.topics.len());
        let forgetting = !self.forgetting.is_idle();
        let mut kept: Vec<(TopicName, PartitionIndex)> = Vec::new();
        for topic in commit.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let result = self.check_metadata(partition, retention);
                partitions.push((partition.partition, result));
                if result.is_ok() {
                    let record = record_of(name, &topic.topic, partition, now, retention);
                    size += record.key.len() + record.value.as_ref().map_or(0, |value| value.len());
                    if size > self.config.batch_bytes_max {
                        return Err(CommitError::TooLarge);
                    }
                    records.push(record);
                    if forgetting {
                        kept.push((topic.topic.name.clone(), partition.partition));
                    }
                }
            }
            topics.push(CommittedTopic {
                topic: topic.topic,
                partitions,
            });
        }
        for (topic, partition) in kept {
            self.forgetting
                .note_commit(&commit.group, &topic, partition);
        }
        self.counters.offsets_committed += records.len() as u64;
        self.decision.records.append(&mut records);
        Ok(topics)
    }

    /// Whether there is room for what a commit adds. An offset that only moves on adds nothing, and
    /// its metadata may change within what every offset is counted for.
    fn has_room(
        &self,
        group: Option<&Group>,
        room: &RoomForOffsets,
        commit: &CommitOffsets,
    ) -> bool {
        let mut added = 0;
        let mut bytes = group.map_or_else(|| Group::bytes(commit.group.as_str()), |_| 0);
        for topic in &commit.topics {
            let name = &topic.topic.name;
            let kept = group.and_then(|group| group.offsets.get(name));
            bytes += kept.map_or_else(|| bytes_of_topic(name), |_| 0);
            for partition in &topic.partitions {
                let metadata = partition.metadata.len();
                let kept = kept.and_then(|kept| kept.get(&partition.partition));
                if let Some(kept) = kept {
                    bytes += metadata.saturating_sub(kept.metadata.len().max(OFFSET_BYTES));
                } else {
                    added += 1;
                    bytes += OFFSET_BYTES + metadata;
                }
            }
        }
        let in_group = group.map_or(0, Group::offset_count) + added;
        (added == 0 || added <= room.0 && in_group <= GROUP_OFFSETS_MAX)
            && (bytes == 0 || bytes <= self.room)
    }

    /// A commit is a sign of life, but for that of a member whose round is not complete.
    fn hear_commit(&self, group: Option<&mut Group>, commit: &CommitOffsets) {
        if let Some(member) = &commit.member
            && let Some(round) = group.and_then(|group| group.round.as_mut())
        {
            round.heard(member.as_str(), self.moment.now);
        }
    }

    fn check_metadata(
        &self,
        partition: &CommitPartition,
        expires: Option<WallTime>,
    ) -> Result<(), CommitPartitionError> {
        let metadata = &partition.metadata;
        // Kafka counts in units of UTF-16, never more than there are bytes.
        let fits = metadata.len() <= self.config.offset_metadata_bytes_max
            || metadata.encode_utf16().count() <= self.config.offset_metadata_bytes_max;
        // The format that says how long an offset is kept has room for no more.
        if !fits || expires.is_some() && metadata.len() > i16::MAX as usize {
            return Err(CommitPartitionError::MetadataTooLarge);
        }
        Ok(())
    }

    /// Decides which offsets a client is told.
    pub(super) fn fetch(&mut self, group: Option<&Group>, ticket: Ticket, fetch: FetchOffsets) {
        if let Err(error) = consumer::may_fetch(group, &fetch) {
            self.decision.held();
            self.answer(ticket, Reply::FetchOffsets(Err(error)));
            return;
        }
        let fetched = match &fetch.topics {
            Some(topics) => self.asked_offsets(group, &fetch.group, topics),
            None => group.map_or_else(FetchedOffsets::default, |kept| {
                all_offsets(&fetch.group, kept, fetch.from.as_ref(), self.forgetting)
            }),
        };
        self.decision.held();
        self.answer(ticket, Reply::FetchOffsets(Ok(fetched)));
    }

    /// Offsets that are asked for, in that order.
    fn asked_offsets(
        &self,
        group: Option<&Group>,
        id: &GroupId,
        topics: &[FetchTopic],
    ) -> FetchedOffsets {
        let mut answer = Answer::default();
        for asked in topics {
            let name = &asked.topic.name;
            for &partition in &asked.partitions {
                if answer.is_full() {
                    answer.fetched.next = Some((name.clone(), partition));
                    return answer.fetched;
                }
                let found = lookup(group, &asked.topic, partition);
                let hides = |kept: &&Committed| self.forgetting.hides(id, name, partition, kept);
                let shown = found.filter(|kept| !hides(kept));
                answer.add(&asked.topic, partition, shown);
            }
            answer.end_topic(&asked.topic);
        }
        answer.fetched
    }

    /// Decides which offsets are forgotten on request.
    pub(super) fn delete_offsets(
        &mut self,
        group: Option<&Group>,
        ticket: Ticket,
        delete: DeleteOffsets,
    ) {
        let result = self.try_delete_offsets(group, delete);
        self.decision.held();
        self.answer(ticket, Reply::DeleteOffsets(result));
    }

    fn try_delete_offsets(
        &mut self,
        group: Option<&Group>,
        delete: DeleteOffsets,
    ) -> Result<Vec<DeletedTopic>, DeleteOffsetsError> {
        if delete.group.as_str().is_empty() {
            return Err(DeleteOffsetsError::InvalidGroupId);
        }
        let group = group.ok_or(DeleteOffsetsError::GroupNotFound)?;
        let consumer = group.consumer.as_ref();
        let read = match (consumer, &group.round) {
            (Some(consumer), _) => Topics::Of(consumer),
            (None, Some(round)) if round.state != GroupState::Empty => {
                if !are_consumers(group.protocol_type()) {
                    return Err(DeleteOffsetsError::NonEmptyGroup);
                }
                topics_of(round)
            }
            (None, Some(_) | None) => Topics::Known(Default::default()),
        };
        let mut answers = Vec::with_capacity(delete.topics.len());
        let mut buried = BTreeSet::new();
        for (topic, asked) in delete.topics {
            let subscribed = read.contains(topic.as_str());
            let mut partitions = Vec::with_capacity(asked.len());
            for partition in asked {
                if subscribed {
                    partitions.push((partition, Err(DeleteOffsetError::GroupSubscribedToTopic)));
                    continue;
                }
                if group.committed(topic.as_str(), partition).is_some()
                    && buried.insert((topic.clone(), partition))
                {
                    self.counters.offsets_deleted += 1;
                    self.bury(&delete.group, &topic, partition);
                }
                partitions.push((partition, Ok(())));
            }
            answers.push(DeletedTopic { topic, partitions });
        }
        Ok(answers)
    }

    /// All offsets of a group are forgotten.
    pub(super) fn forget_all(&mut self, id: &GroupId, group: &Group) {
        for (topic, partitions) in &group.offsets {
            for partition in partitions.keys() {
                self.counters.offsets_deleted += 1;
                self.bury(id, topic, *partition);
            }
        }
    }

    /// Lets go of offsets that nobody used for too long, up to a number of records. Returns whether
    /// none is left.
    pub(super) fn expire(&mut self, id: &GroupId, group: &Group, records_max: usize) -> bool {
        let Some(rule) = ExpiryRule::of(group) else {
            return group.offsets.is_empty();
        };
        let retention = self.config.offsets_retention.as_millis();
        let retention = i64::try_from(retention).unwrap_or(i64::MAX);
        let now = self.moment.wall;
        let mut all = true;
        for (topic, partitions) in &group.offsets {
            if rule.read.contains(topic.as_str()) {
                all = false;
                continue;
            }
            for (partition, committed) in partitions {
                let expired = match committed.expires {
                    Some(at) => now >= at,
                    None => {
                        let since = rule.since.unwrap_or(committed.committed);
                        now.0.saturating_sub(since.0) >= retention
                    }
                };
                if expired && self.decision.records.len() < records_max {
                    self.counters.offsets_expired += 1;
                    self.bury(id, topic, *partition);
                } else {
                    all = false;
                }
            }
        }
        all
    }

    pub(super) fn bury(&mut self, group: &GroupId, topic: &TopicName, partition: PartitionIndex) {
        self.decision.records.push(Record {
            key: offset_key(group.as_str(), topic.as_str(), partition.0),
            value: None,
        });
    }
}

/// Which offsets of a group may expire, and since when they are counted as unused.
struct ExpiryRule<'g> {
    /// Offsets of these topics stay.
    read: Topics<'g>,
    /// Since when nobody is there; otherwise each offset counts from its own commit.
    since: Option<WallTime>,
}

impl<'g> ExpiryRule<'g> {
    /// None may while a round is under way, or while it is not known what members read (G7).
    fn of(group: &'g Group) -> Option<Self> {
        let nothing = || Topics::Known(Default::default());
        let kind = group.protocol_type();
        if let Some(consumer) = &group.consumer {
            return Some(Self {
                read: Topics::Of(consumer),
                since: None,
            });
        }
        match (group.state(), &group.round) {
            // Consumers that use no membership.
            (GroupState::Empty, _) if kind.is_empty() => Some(Self {
                read: nothing(),
                since: None,
            }),
            (GroupState::Empty, _) => Some(Self {
                read: nothing(),
                since: group.kept.as_ref().and_then(|kept| kept.since),
            }),
            (GroupState::Stable, Some(round)) if are_consumers(kind) => Some(Self {
                read: topics_of(round),
                since: None,
            }),
            _ => None,
        }
    }
}

fn check(group: Option<&Group>, commit: &CommitOffsets) -> Result<(), CommitError> {
    let Some(group) = group else {
        // Whoever names no round may commit under any name.
        return match commit.generation {
            None => Ok(()),
            Some(_) => Err(CommitError::GroupNotFound),
        };
    };
    if let Some(consumer) = &group.consumer {
        return consumer::may_commit(consumer, commit);
    }
    let state = group.state();
    if commit.generation.is_none() && state == GroupState::Empty {
        return Ok(());
    }
    let Some(round) = &group.round else {
        return Err(CommitError::UnknownMember);
    };
    let anonymous = commit.member.is_none() && commit.instance.is_none();
    if commit.generation.is_none() && anonymous {
        // Members would not know what became of their offsets.
        return Err(CommitError::UnknownMember);
    }
    let member = commit.member.as_ref().map_or("", |member| member.as_str());
    identify(round, member, commit.instance.as_ref()).map_err(|identity| match identity {
        Identity::Unknown => CommitError::UnknownMember,
        Identity::Fenced => CommitError::FencedInstance,
    })?;
    if commit.generation != Some(round.generation) {
        return Err(CommitError::IllegalGeneration);
    }
    if state == GroupState::CompletingRebalance {
        return Err(CommitError::RebalanceInProgress);
    }
    Ok(())
}

fn record_of(
    group: &str,
    topic: &TopicReference,
    partition: &CommitPartition,
    committed: WallTime,
    expires: Option<WallTime>,
) -> Record {
    let value = OffsetValue {
        offset: partition.offset,
        leader_epoch: partition.leader_epoch,
        metadata: &partition.metadata,
        committed,
        expires,
        topic_id: topic.id,
    };
    Record {
        key: offset_key(group, topic.name.as_str(), partition.partition.0),
        value: Some(value.encode()),
    }
}

/// An offset that was committed to another topic of the same name is not this one's.
pub(super) fn same_topic(committed: TopicId, asked: TopicId) -> bool {
    committed.is_zero() || asked.is_zero() || committed == asked
}

fn lookup<'g>(
    group: Option<&'g Group>,
    topic: &TopicReference,
    partition: PartitionIndex,
) -> Option<&'g Committed> {
    let committed = group?.committed(topic.name.as_str(), partition)?;
    same_topic(committed.topic_id, topic.id).then_some(committed)
}

/// What is kept of a group from an offset on.
fn all_offsets(
    id: &GroupId,
    group: &Group,
    from: Option<&(TopicName, PartitionIndex)>,
    forgetting: &Forgetting,
) -> FetchedOffsets {
    let mut answer = Answer::default();
    let begin = from.map_or(Bound::Unbounded, |(topic, _)| Bound::Included(topic));
    let topics = group
        .offsets
        .range::<TopicName, _>((begin, Bound::Unbounded));
    for (name, partitions) in topics {
        let mut ids = partitions.values().map(|kept| kept.topic_id);
        let mut topic = TopicReference {
            name: name.clone(),
            id: ids.find(|id| !id.is_zero()).unwrap_or(TopicId::ZERO),
        };
        let begin = from.filter(|(topic, _)| topic == name);
        let begin = begin.map_or(Bound::Unbounded, |(_, index)| Bound::Included(*index));
        for (&partition, kept) in partitions.range((begin, Bound::Unbounded)) {
            if answer.is_full() {
                answer.fetched.next = Some((name.clone(), partition));
                return answer.fetched;
            }
            if forgetting.hides(id, name, partition, kept) {
                answer.looks += 1;
            } else {
                if !kept.topic_id.is_zero() && kept.topic_id != topic.id {
                    // Of an earlier or a later topic of this name: it is told as what it is.
                    topic.id = kept.topic_id;
                    answer.is_open = false;
                }
                answer.add(&topic, partition, Some(kept));
            }
        }
        answer.is_open = false;
    }
    answer.fetched
}

/// Offsets that are told, as they become more.
#[derive(Default)]
struct Answer {
    fetched: FetchedOffsets,
    /// The last topic may get more partitions.
    is_open: bool,
    looks: usize,
    bytes: usize,
}

impl Answer {
    /// The rest is to be asked for again.
    const fn is_full(&self) -> bool {
        self.looks >= ANSWER_OFFSETS_MAX || self.bytes >= ANSWER_BYTES
    }

    fn add(&mut self, topic: &TopicReference, partition: PartitionIndex, kept: Option<&Committed>) {
        self.looks += 1;
        self.bytes += size_of::<KeptOffset>() + kept.map_or(0, |kept| kept.metadata.len());
        self.begin(topic);
        if let Some(topic) = self.fetched.topics.last_mut() {
            topic.partitions.push((partition, kept.map(seen)));
        }
    }

    /// A topic is complete: also one of which nothing was asked is named.
    fn end_topic(&mut self, topic: &TopicReference) {
        self.begin(topic);
        self.is_open = false;
    }

    fn begin(&mut self, topic: &TopicReference) {
        if !mem::replace(&mut self.is_open, true) {
            self.looks += 1;
            self.bytes += size_of::<FetchedTopic>() + topic.name.as_str().len();
            self.fetched.topics.push(FetchedTopic {
                topic: topic.clone(),
                partitions: Vec::new(),
            });
        }
    }
}

fn seen(committed: &Committed) -> KeptOffset {
    KeptOffset {
        offset: Offset(committed.offset.0),
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.to_string(),
    }
}
