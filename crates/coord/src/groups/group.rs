//! One group: what the log keeps of it, and the round that lives beside that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use klamm_model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, WallTime};

use super::api::GroupState;
use super::consumer::group::ConsumerGroup;
use super::names::GenerationId;
use super::round::Round;
use super::subscription::CONSUMER;
use crate::limits::{GROUP_ITSELF_BYTES, OFFSET_BYTES, TOPIC_BYTES};
use crate::record::{GroupValue, MemberValue, MembersOf, RecordError};

/// One group. It is there as long as any of the three parts is.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Hard: the last round that the log keeps.
    pub(super) kept: Option<Kept>,
    /// Hard: the offsets that the log keeps.
    pub(super) offsets: BTreeMap<TopicName, BTreeMap<PartitionIndex, Committed>>,
    /// The group, if it is one of the consumer protocol. Then there is neither of the others.
    pub(super) consumer: Option<Box<ConsumerGroup>>,
    /// Soft: the group while it has members. Without it, it is empty.
    pub(super) round: Option<Box<Round>>,
}

/// A round as the log keeps it: the value of its record, proved once.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) generation: GenerationId,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) since: Option<WallTime>,
    value: Box<[u8]>,
    /// Where in the value each member stands, in the order of their ids.
    places: Box<[u32]>,
}

/// The offset of one partition, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: Offset,
    pub(super) leader_epoch: Option<LeaderEpoch>,
    pub(super) metadata: Box<str>,
    pub(super) committed: WallTime,
    pub(super) expires: Option<WallTime>,
    pub(super) topic_id: TopicId,
}

impl Committed {
    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        OFFSET_BYTES + self.metadata.len()
    }
}

/// What the offsets of a topic take in a group, besides each of them.
pub(super) fn bytes_of_topic(topic: &TopicName) -> usize {
    TOPIC_BYTES + topic.as_str().len()
}

impl Kept {
    /// Proves a value, and copies it.
    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let (head, mut members) = GroupValue::decode(value)?;
        let mut places = Vec::new();
        let mut instances = BTreeSet::new();
        loop {
            let place = u32::try_from(members.left()).map_err(|_| RecordError::BadLength)?;
            let Some(member) = members.next()? else {
                break;
            };
            places.push((member.member, place));
            if member.instance.is_some_and(|name| !instances.insert(name)) {
                return Err(RecordError::Repeated);
            }
        }
        places.sort_unstable();
        if places.windows(2).any(|two| two[0].0 == two[1].0) {
            return Err(RecordError::Repeated);
        }
        Ok(Self {
            generation: GenerationId(head.generation),
            protocol_type: (!head.protocol_type.is_empty()).then(|| head.protocol_type.into()),
            since: head.since,
            value: value.into(),
            places: places.into_iter().map(|(_, place)| place).collect(),
        })
    }

    /// How many members it has.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The bytes of the value.
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// The value, but for its members.
    pub(super) fn head(&self) -> GroupValue<'_> {
        let (head, _) = GroupValue::decode(&self.value).expect("the value was proved");
        head
    }

    /// The members.
    pub(super) fn members(&self) -> impl Iterator<Item = MemberValue<'_>> {
        let (_, mut members) = GroupValue::decode(&self.value).expect("the value was proved");
        std::iter::from_fn(move || members.next().expect("the value was proved"))
    }

    /// What a member was given.
    pub(super) fn assignment(&self, member: &str) -> &[u8] {
        let found = self
            .places
            .binary_search_by(|place| self.member_at(*place).member.cmp(member));
        found.map_or(&[], |found| self.member_at(self.places[found]).assignment)
    }

    fn member_at(&self, place: u32) -> MemberValue<'_> {
        let members = MembersOf::at(&self.value, place as usize);
        let member = members.and_then(|mut members| members.next());
        member
            .expect("the value was proved")
            .expect("a member stands there")
    }
}

impl Group {
    pub(super) fn state(&self) -> GroupState {
        if let Some(consumer) = &self.consumer {
            return consumer.state();
        }
        self.round
            .as_ref()
            .map_or(GroupState::Empty, |round| round.state)
    }

    /// The kind of group; empty where nobody ever joined.
    pub(super) fn protocol_type(&self) -> &str {
        if self.consumer.is_some() {
            return CONSUMER;
        }
        let live = self.round.as_ref().map(|round| &round.protocol_type);
        let kept = self.kept.as_ref().map(|kept| &kept.protocol_type);
        live.or(kept).and_then(|kind| kind.as_deref()).unwrap_or("")
    }

    /// Takes the round out, or begins one where the log left off.
    pub(super) fn take_round(&mut self) -> Box<Round> {
        self.round.take().unwrap_or_else(|| {
            let (generation, kind) = self.kept.as_ref().map_or_else(
                || (GenerationId::default(), None),
                |kept| (kept.generation, kept.protocol_type.clone()),
            );
            Box::new(Round::empty(generation, kind))
        })
    }

    /// What a group takes by itself.
    pub(super) const fn bytes(id: &str) -> usize {
        GROUP_ITSELF_BYTES + id.len()
    }

    /// Nothing of it is left.
    pub(super) fn is_void(&self) -> bool {
        self.kept.is_none()
            && self.offsets.is_empty()
            && self.round.is_none()
            && self.consumer.is_none()
    }

    /// The number of offsets.
    pub(super) fn offset_count(&self) -> usize {
        self.offsets.values().map(BTreeMap::len).sum()
    }

    pub(super) fn committed(&self, topic: &str, partition: PartitionIndex) -> Option<&Committed> {
        self.offsets.get(topic)?.get(&partition)
    }
}
