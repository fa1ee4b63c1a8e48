//! Offsets of groups of the consumer protocol: who may keep and read them, and what goes with a
//! group that is deleted.

use super::super::api::{CommitError, CommitOffsets, FetchOffsets, FetchOffsetsError};
use super::super::group::Group;
use super::super::names::GroupId;
use super::super::notes::Happened;
use super::super::timers::disarm;
use super::super::turn::Turn;
use super::group::{ConsumerGroup, Member};
use crate::kit::Record;

/// Whether offsets may be kept. A member whose epoch has moved on may still commit for partitions
/// that it has had all the time (KIP-1251).
pub(in crate::groups) fn may_commit(
    group: &ConsumerGroup,
    commit: &CommitOffsets,
) -> Result<(), CommitError> {
    let epoch = commit.generation.map_or(-1, |generation| generation.0);
    if epoch < 0 && group.is_empty() {
        return Ok(());
    }
    let id = commit.member.as_ref().map_or("", |member| member.as_str());
    let member = group.members.get(id).ok_or(CommitError::UnknownMember)?;
    let is_classic = member.said.classic.is_some();
    if !is_classic && !commit.understands_epochs {
        return Err(CommitError::UnsupportedVersion);
    }
    if epoch == member.has.epoch {
        return Ok(());
    }
    let stale = if is_classic {
        CommitError::IllegalGeneration
    } else {
        CommitError::StaleMemberEpoch
    };
    if epoch > member.has.epoch || !has_had_all(member, commit, epoch) {
        return Err(stale);
    }
    Ok(())
}

/// Whether the member has had all these partitions since this epoch, or before.
fn has_had_all(member: &Member, commit: &CommitOffsets, epoch: i32) -> bool {
    let has = &member.has;
    commit.topics.iter().all(|topic| {
        let id = topic.topic.id;
        let held = [has.assigned.get(&id), has.revoking.get(&id)];
        topic.partitions.iter().all(|partition| {
            let mut held = held.iter().copied().flatten();
            let since = held.find_map(|of| of.get(&partition.partition.0));
            since.is_some_and(|since| epoch >= *since)
        })
    })
}

/// Whether offsets may be read. Who does not say who it is may read all.
pub(in crate::groups) fn may_fetch(
    group: Option<&Group>,
    fetch: &FetchOffsets,
) -> Result<(), FetchOffsetsError> {
    let consumer = group.and_then(|group| group.consumer.as_deref());
    let (Some((id, epoch)), Some(consumer)) = (&fetch.member, consumer) else {
        return Ok(());
    };
    let member = consumer.members.get(id);
    let member = member.ok_or(FetchOffsetsError::UnknownMember)?;
    if member.has.epoch != epoch.0 {
        return Err(match member.said.classic {
            Some(_) => FetchOffsetsError::IllegalGeneration,
            None => FetchOffsetsError::StaleMemberEpoch,
        });
    }
    Ok(())
}

impl Turn<'_> {
    /// The log shall keep nothing of an empty group but its offsets.
    pub(in crate::groups) fn bury_consumer_group(&mut self, id: &GroupId, group: &ConsumerGroup) {
        self.notes.push(id, Happened::Deleted);
        self.tombstones_of(id, group);
    }

    /// Takes back all that the log keeps of an empty group.
    fn tombstones_of(&mut self, id: &GroupId, group: &ConsumerGroup) {
        if group.armed.is_some() {
            disarm(self, id);
        }
        for part in group.parts() {
            let key = part.key(id.as_str());
            self.decision.records.push(Record { key, value: None });
        }
    }
}
