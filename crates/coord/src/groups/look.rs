//! A walk over groups and the offsets that are kept of them, in slices, for whoever measures how far
//! they are behind. It changes nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use klamm_model::{Offset, PartitionIndex, TopicId, TopicName, WallTime};

use super::Coordinator;
use super::api::{GroupState, GroupType};
use super::consumer::group::ConsumerGroup;
use super::group::Group;
use super::moves::{NamedPartitions, partitions_in};
use super::names::{GenerationId, GroupId, GroupInstanceId, MemberId};
use super::subscription::are_consumers;
use super::turn::text;

/// Where a walk goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookFrom {
    /// In this group, or in the first one behind it if it is gone.
    pub group: GroupId,
    /// Behind this offset of it.
    pub after: Option<(TopicName, PartitionIndex)>,
}

/// What a walk saw of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenGroup {
    /// Its name.
    pub group: GroupId,
    /// What it is now.
    pub head: GroupHead,
    /// Offsets of it, in the order of topics and partitions: all, or those of a slice.
    pub offsets: Vec<SeenOffset>,
    /// They are its last ones.
    pub is_whole: bool,
}

/// What a group is, without its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupHead {
    /// By which protocol its members are coordinated.
    pub group_type: GroupType,
    /// Where it stands.
    pub state: GroupState,
    /// Its kind; empty where nobody ever joined.
    pub protocol_type: String,
    /// The round that it is in, or its epoch.
    pub generation: Option<GenerationId>,
    /// How many members it has.
    pub members: usize,
}

/// An offset that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenOffset {
    /// The topic's name.
    pub topic: TopicName,
    /// The topic's id when it was committed; [`TopicId::ZERO`] where none was known.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next record that is to be read.
    pub offset: Offset,
    /// When it was committed.
    pub committed: WallTime,
}

/// A member, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMember {
    /// Its id.
    pub member: MemberId,
    /// Its name, if it is a static one.
    pub instance: Option<GroupInstanceId>,
    /// The client's own name.
    pub client_id: String,
    /// Where it calls from.
    pub client_host: String,
    /// What it has to read, if that is known.
    pub assigned: Option<Vec<NamedPartitions>>,
    /// How many partitions that are, named or not.
    pub assigned_count: usize,
}

/// How much of the members of a group is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembersRoom {
    /// Members.
    pub members: usize,
    /// Bytes of their names.
    pub text_bytes: usize,
    /// Bytes of their assignments that are read.
    pub assignment_bytes: usize,
    /// Partitions that are named of what they have to read.
    pub partitions: usize,
}

/// The members of a group, as many as there was room for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SeenMembers {
    /// The first of them, by their ids.
    pub members: Vec<SeenMember>,
    /// Who divides the work.
    pub leader: Option<MemberId>,
    /// How the work is divided; empty while it is not.
    pub protocol: String,
}

impl Coordinator {
    /// Groups with their offsets, from a place on: at most so many offsets, where a group without
    /// any counts as one. Beside them, where the walk goes on, unless it is at its end.
    #[must_use]
    pub fn look(
        &self,
        from: Option<&LookFrom>,
        offsets_max: usize,
    ) -> (Vec<SeenGroup>, Option<LookFrom>) {
        let begin = from.map_or(Bound::Unbounded, |from| {
            Bound::Included(from.group.as_str())
        });
        let mut room = offsets_max.max(1);
        let mut seen = Vec::new();
        for (id, group) in self.groups.range::<str, _>((begin, Bound::Unbounded)) {
            let after = from
                .filter(|from| from.group == *id)
                .and_then(|from| from.after.as_ref());
            if room == 0 {
                let (group, after) = (id.clone(), None);
                return (seen, Some(LookFrom { group, after }));
            }
            let (found, next) = self.look_at(id, group, after, room);
            room = room.saturating_sub(found.offsets.len().max(1));
            seen.push(found);
            if let Some(after) = next {
                let (group, after) = (id.clone(), Some(after));
                return (seen, Some(LookFrom { group, after }));
            }
        }
        (seen, None)
    }

    /// One group with its offsets behind a place, and where it goes on, unless it is at its end.
    #[must_use]
    pub fn look_at_one(
        &self,
        group: &str,
        after: Option<&(TopicName, PartitionIndex)>,
        offsets_max: usize,
    ) -> Option<(SeenGroup, Option<(TopicName, PartitionIndex)>)> {
        let (id, group) = self.groups.get_key_value(group)?;
        Some(self.look_at(id, group, after, offsets_max.max(1)))
    }

    /// True if there is such a group.
    #[must_use]
    pub fn has(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// Names of groups behind one, in their order.
    pub fn names<'c>(&'c self, after: Option<&str>) -> impl Iterator<Item = &'c GroupId> + use<'c> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let groups = self.groups.range::<str, _>((begin, Bound::Unbounded));
        groups.map(|(id, _)| id)
    }

    /// What a group is now; `None`: there is no such group.
    #[must_use]
    pub fn head_of(&self, group: &str) -> Option<GroupHead> {
        self.groups.get(group).map(head)
    }

    /// The members of a group, as many as there is room for. `None`: there is no such group.
    #[must_use]
    pub fn members_of(&self, group: &str, mut room: MembersRoom) -> Option<SeenMembers> {
        let group = self.groups.get(group)?;
        if let Some(consumer) = &group.consumer {
            return Some(self.consumers_of(consumer, room));
        }
        let Some(round) = &group.round else {
            return Some(SeenMembers::default());
        };
        let is_stable = round.state == GroupState::Stable;
        let is_read = is_stable && are_consumers(group.protocol_type());
        let mut members = Vec::new();
        for (id, member) in &round.members {
            let instance = member
                .instance
                .as_ref()
                .map_or(0, |name| name.as_str().len());
            let names = id.as_str().len() + instance;
            let bytes = names + member.client_id.len() + member.client_host.len();
            if members.len() >= room.members || bytes > room.text_bytes {
                break;
            }
            room.text_bytes -= bytes;
            let assignment = group.kept.as_ref().filter(|_| is_read);
            let assignment = assignment.map(|kept| kept.assignment(id.as_str()));
            let assignment = assignment.filter(|bytes| bytes.len() <= room.assignment_bytes);
            room.assignment_bytes -= assignment.map_or(0, <[u8]>::len);
            let assigned = assignment.and_then(|bytes| partitions_in(bytes, room.partitions));
            let count = assigned.as_ref().map_or(0, |(_, count)| *count);
            room.partitions = room.partitions.saturating_sub(count);
            members.push(SeenMember {
                member: id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.to_string(),
                client_host: member.client_host.to_string(),
                assigned: assigned.map(|(topics, _)| topics),
                assigned_count: count,
            });
        }
        Some(SeenMembers {
            members,
            leader: round.leader.clone(),
            protocol: text(round.protocol.as_ref().filter(|_| is_stable)),
        })
    }

    fn consumers_of(&self, group: &ConsumerGroup, mut room: MembersRoom) -> SeenMembers {
        let mut members = Vec::new();
        for (id, member) in &group.members {
            let said = &member.said;
            let client = [&said.client_id, &said.client_host];
            if !room.takes(members.len(), id, said.instance.as_ref(), client) {
                break;
            }
            let has = &member.has.assigned;
            let count = has.values().map(BTreeMap::len).sum();
            let mut assigned = None;
            if count <= room.partitions {
                room.partitions -= count;
                let topics = has.iter().map(|(topic, partitions)| NamedPartitions {
                    // One that is gone has no name any more.
                    topic: self.surroundings.topic_name(*topic).unwrap_or_default(),
                    partitions: partitions.keys().copied().map(PartitionIndex).collect(),
                });
                assigned = Some(topics.collect());
            }
            members.push(SeenMember {
                member: id.clone(),
                instance: said.instance.clone(),
                client_id: said.client_id.to_string(),
                client_host: said.client_host.to_string(),
                assigned,
                assigned_count: count,
            });
        }
        SeenMembers {
            members,
            leader: None,
            protocol: String::new(),
        }
    }

    fn look_at(
        &self,
        id: &GroupId,
        group: &Group,
        after: Option<&(TopicName, PartitionIndex)>,
        offsets_max: usize,
    ) -> (SeenGroup, Option<(TopicName, PartitionIndex)>) {
        // Offsets that nobody is told of any more cost a look, too.
        let looks_max = offsets_max.saturating_mul(4);
        let (mut looks, mut last) = (0, None);
        let mut offsets = Vec::new();
        let mut next = None;
        let topics_from = after.map_or(Bound::Unbounded, |(topic, _)| Bound::Included(topic));
        let topics = group
            .offsets
            .range::<TopicName, _>((topics_from, Bound::Unbounded));
        'all: for (topic, partitions) in topics {
            let from = after
                .filter(|(name, _)| name == topic)
                .map_or(Bound::Unbounded, |(_, index)| Bound::Excluded(*index));
            for (&partition, kept) in partitions.range((from, Bound::Unbounded)) {
                if offsets.len() >= offsets_max || looks >= looks_max {
                    next = last;
                    break 'all;
                }
                looks += 1;
                last = Some((topic.clone(), partition));
                if self.forgetting.hides(id, topic, partition, kept) {
                    continue;
                }
                offsets.push(SeenOffset {
                    topic: topic.clone(),
                    topic_id: kept.topic_id,
                    partition,
                    offset: kept.offset,
                    committed: kept.committed,
                });
            }
        }
        let seen = SeenGroup {
            group: id.clone(),
            head: head(group),
            offsets,
            is_whole: next.is_none(),
        };
        (seen, next)
    }
}

impl MembersRoom {
    /// Whether there is room for one more member with these names; then it is taken.
    fn takes(
        &mut self,
        members: usize,
        id: &MemberId,
        instance: Option<&GroupInstanceId>,
        client: [&Arc<str>; 2],
    ) -> bool {
        let instance = instance.map_or(0, |name| name.as_str().len());
        let names = id.as_str().len() + instance;
        let bytes = names + client.iter().map(|name| name.len()).sum::<usize>();
        if members >= self.members || bytes > self.text_bytes {
            return false;
        }
        self.text_bytes -= bytes;
        true
    }
}

fn head(group: &Group) -> GroupHead {
    let round = group.round.as_ref();
    let kept = || group.kept.as_ref().map(|kept| kept.generation);
    let (group_type, generation, members) = match &group.consumer {
        Some(consumer) => {
            let epoch = GenerationId(consumer.epoch());
            (GroupType::Consumer, Some(epoch), consumer.members.len())
        }
        None => (
            GroupType::Classic,
            round.map(|round| round.generation).or_else(kept),
            round.map_or(0, |round| round.members.len()),
        ),
    };
    GroupHead {
        group_type,
        state: group.state(),
        protocol_type: group.protocol_type().to_owned(),
        generation,
        members,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Host;
    use super::*;
    use crate::{
        Command, CommitOffsets, CommitPartition, CommitTopic, GroupConfig, TopicReference,
    };

    fn commit(host: &mut Host, group: &str, topic: &str, partitions: std::ops::Range<i32>) {
        let partitions = partitions.map(|index| CommitPartition {
            partition: PartitionIndex(index),
            offset: Offset(i64::from(index) + 100),
            leader_epoch: None,
            metadata: String::new(),
        });
        let topic = TopicReference {
            name: TopicName::new(topic).expect("legal"),
            id: TopicId([3; 16]),
        };
        let _ = host.decide(Command::CommitOffsets(CommitOffsets {
            group: GroupId::new(group),
            member: None,
            instance: None,
            generation: None,
            retention: None,
            understands_epochs: true,
            topics: vec![CommitTopic {
                topic,
                partitions: partitions.collect(),
            }],
        }));
    }

    fn filled() -> Host {
        let mut host = Host::new(GroupConfig::default());
        commit(&mut host, "a", "one", 0..5);
        commit(&mut host, "a", "two", 0..4);
        commit(&mut host, "b", "one", 0..1);
        commit(&mut host, "c", "two", 2..9);
        host
    }

    #[test]
    fn a_walk_in_slices_of_any_size_sees_every_offset_once_and_in_order() {
        let host = filled();
        let (whole, end) = host.coordinator.look(None, usize::MAX);
        assert_eq!((whole.len(), end), (3, None));
        let all: Vec<SeenOffset> = whole.into_iter().flat_map(|one| one.offsets).collect();
        assert_eq!(all.len(), 17);
        for slice in 1..=18 {
            let (mut seen, mut from, mut whole) = (Vec::new(), None, Vec::new());
            loop {
                let (groups, next) = host.coordinator.look(from.as_ref(), slice);
                let offsets = groups.iter().map(|one| one.offsets.len()).sum::<usize>();
                assert!(offsets <= slice, "{offsets} of {slice}");
                for group in groups {
                    whole.extend(group.is_whole.then_some(group.group));
                    seen.extend(group.offsets);
                }
                match next {
                    Some(next) => from = Some(next),
                    None => break,
                }
            }
            assert_eq!(seen, all, "{slice}");
            let names: Vec<&str> = whole.iter().map(GroupId::as_str).collect();
            assert_eq!(names, ["a", "b", "c"], "{slice}");
        }
    }

    #[test]
    fn a_walk_goes_on_where_its_group_is_gone() {
        let host = filled();
        let from = LookFrom {
            group: GroupId::new("aa"),
            after: Some((TopicName::new("one").expect("legal"), PartitionIndex(2))),
        };
        let (groups, _) = host.coordinator.look(Some(&from), 100);
        let names: Vec<&str> = groups.iter().map(|one| one.group.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(groups[0].offsets.len(), 1, "all of it");
    }

    #[test]
    fn names_go_on_behind_a_name() {
        let host = filled();
        let names = |after, max| -> Vec<String> {
            let named = host.coordinator.names(after).take(max);
            named.map(|id| id.as_str().to_owned()).collect()
        };
        assert_eq!(names(None, 2), ["a", "b"]);
        assert_eq!(names(Some("b"), 2), ["c"]);
        assert_eq!(names(Some("c"), 2), [""; 0]);
    }
}
