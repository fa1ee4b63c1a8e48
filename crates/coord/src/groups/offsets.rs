//! Offsets: kept, read, forgotten, and let go when nobody uses them any longer.

use std::collections::BTreeSet;

use klamm_model::{Offset, PartitionIndex, TopicId, TopicName, WallTime};

use super::api::{
    CommitError, CommitOffsets, CommitPartition, CommitPartitionError, CommittedTopic,
    DeleteOffsetError, DeleteOffsets, DeleteOffsetsError, DeletedTopic, FetchOffsets, FetchedTopic,
    GroupState, KeptOffset, Reply, TopicReference,
};
use super::forget::Forgetting;
use super::group::{Committed, Group, bytes_of_topic};
use super::join::{Identity, identify};
use super::names::GroupId;
use super::subscription::{Topics, are_consumers, topics_of};
use super::turn::Turn;
use crate::kit::{Record, Ticket};
use crate::limits::{GROUP_OFFSETS_MAX, NAME_BYTES_MAX, OFFSET_BYTES};
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
        let topics = match fetch.topics {
            None => group
                .map(|kept| all_offsets(&fetch.group, kept, self.forgetting))
                .unwrap_or_default(),
            Some(topics) => topics
                .into_iter()
                .map(|asked| FetchedTopic {
                    partitions: asked
                        .partitions
                        .iter()
                        .map(|partition| {
                            let found = lookup(group, &asked.topic, *partition);
                            let shown = found.filter(|kept| {
                                !self.forgetting.hides(
                                    &fetch.group,
                                    &asked.topic.name,
                                    *partition,
                                    kept,
                                )
                            });
                            (*partition, shown.map(seen))
                        })
                        .collect(),
                    topic: asked.topic,
                })
                .collect(),
        };
        self.decision.held();
        self.answer(ticket, Reply::FetchOffsets(topics));
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
        let read = match &group.round {
            Some(round) if round.state != GroupState::Empty => {
                if !are_consumers(group.protocol_type()) {
                    return Err(DeleteOffsetsError::NonEmptyGroup);
                }
                topics_of(round)
            }
            Some(_) | None => Topics::Known(Default::default()),
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
struct ExpiryRule {
    /// Offsets of these topics stay.
    read: Topics,
    /// Since when nobody is there; otherwise each offset counts from its own commit.
    since: Option<WallTime>,
}

impl ExpiryRule {
    /// None may while a round is under way, or while it is not known what members read (G7).
    fn of(group: &Group) -> Option<Self> {
        let nothing = || Topics::Known(Default::default());
        let kind = group.protocol_type();
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

fn all_offsets(id: &GroupId, group: &Group, forgetting: &Forgetting) -> Vec<FetchedTopic> {
    let topics = group.offsets.iter().map(|(name, partitions)| {
        let id_of = partitions.values().next().map(|first| first.topic_id);
        let shown = partitions
            .iter()
            .filter(|(partition, kept)| !forgetting.hides(id, name, **partition, kept));
        FetchedTopic {
            topic: TopicReference {
                name: name.clone(),
                id: id_of.unwrap_or(TopicId::ZERO),
            },
            partitions: shown
                .map(|(partition, kept)| (*partition, Some(seen(kept))))
                .collect(),
        }
    });
    topics
        .filter(|topic| !topic.partitions.is_empty())
        .collect()
}

fn seen(committed: &Committed) -> KeptOffset {
    KeptOffset {
        offset: Offset(committed.offset.0),
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.to_string(),
    }
}
