//! A group of the consumer protocol, as the log keeps it: what members said, what they shall have
//! and what they have. It changes in replay alone; only [`Life`] is soft.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{Instant, TopicId, WallTime};
use twox_hash::XxHash3_64;

use super::super::api::GroupState;
use super::super::names::{GroupInstanceId, MemberId};
use crate::limits::{
    CONSUMER_MEMBER_BYTES, PARTITION_HELD_BYTES, PARTITION_WANTED_BYTES, SUBSCRIBED_TOPIC_BYTES,
    TOPIC_HELD_BYTES,
};
use crate::record::{
    ClassicValue, CurrentValue, Dated, EpochValue, Part, Partitions, RecordError, RegexValue,
    SaidValue, TargetEpochValue, decode_target, encode_current, encode_target,
};

/// Of the second half of digests of names.
const DIGEST_SEED: u64 = 0x6b6c_616d_6d38_3438;

/// A group of the consumer protocol.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsumerGroup {
    /// The last record of its epoch; without it the group is not kept yet, or half of it is gone.
    pub(crate) kept: Option<EpochValue>,
    /// A record of Kafka 4.0 is there that later ones do not use.
    pub(crate) has_topics_record: bool,
    pub(crate) target: Option<TargetEpochValue>,
    pub(crate) members: BTreeMap<MemberId, Member>,
    /// What members have of whom nothing else was read yet: a cleaner leaves the last record of
    /// each key, and what a member said may come after what it has.
    pub(crate) unsaid: BTreeMap<MemberId, Has>,
    pub(crate) targets: BTreeMap<MemberId, Partitions>,
    pub(crate) regexes: BTreeMap<Arc<str>, Resolved>,
    /// Static members by name (G8). Follows from the members, as all below but what is soft.
    pub(crate) statics: BTreeMap<GroupInstanceId, MemberId>,
    /// Who holds each partition, or has not confirmed yet that it does not any longer.
    pub(crate) owners: BTreeMap<TopicId, BTreeMap<i32, MemberId>>,
    /// How many members speak the classic protocol.
    pub(crate) classics: usize,
    /// How many members named each topic.
    pub(crate) named: BTreeMap<Arc<str>, usize>,
    /// How many members gave each regular expression.
    pub(crate) expressed: BTreeMap<Arc<str>, usize>,
    /// What all of this takes.
    pub(crate) bytes: usize,
    /// Soft: signs of life.
    pub(crate) lives: BTreeMap<MemberId, Life>,
    /// Soft: of which topics the hash is known to be right.
    pub(crate) checked: Option<u64>,
    /// Soft: regular expressions that match more topics than a record takes.
    pub(crate) too_broad: BTreeSet<Arc<str>>,
    /// Soft: when the host's timer of this group fires.
    pub(crate) armed: Option<Instant>,
    /// Soft: the earliest that is wanted of it.
    pub(crate) wanted: Option<Instant>,
    /// Soft: when it may become a group of the classic protocol, as it has no other members.
    pub(crate) downgrade_at: Option<Instant>,
    /// Soft: when the work may be divided anew that has to be.
    pub(crate) divide_at: Option<Instant>,
}

/// What is known of a member's life. Soft: a start gives everyone a session's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// Until when it must be heard of.
    pub(crate) deadline: Instant,
    /// Until when it must have let go of partitions, and what it was told then.
    pub(crate) revoke_by: Option<(Instant, i32)>,
    /// Since when it has not had what it shall.
    pub(crate) unsettled: Option<Instant>,
    /// A member of the classic protocol was told that it must join again, until then.
    pub(crate) join_by: Option<Instant>,
    /// A member of the classic protocol has joined and must ask for its part, until then.
    pub(crate) sync_by: Option<Instant>,
}

impl Life {
    pub(crate) const fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            revoke_by: None,
            unsettled: None,
            join_by: None,
            sync_by: None,
        }
    }

    /// When something of it is due next.
    pub(crate) fn next_due(&self) -> Instant {
        let revoke = self.revoke_by.map(|(at, _)| at);
        let others = [revoke, self.join_by, self.sync_by];
        others
            .into_iter()
            .flatten()
            .fold(self.deadline, Instant::min)
    }
}

/// A member: what it said, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) said: Arc<Said>,
    pub(crate) has: Has,
}

/// What a member said.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Said {
    pub(crate) instance: Option<GroupInstanceId>,
    pub(crate) rack: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    /// In order, each once.
    pub(crate) topics: Box<[Arc<str>]>,
    /// Of the topics, so that those who read the same are found without comparing all names.
    pub(crate) digest: u128,
    /// Never the empty one.
    pub(crate) regex: Option<Arc<str>>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) assignor: Option<Arc<str>>,
    pub(crate) classic: Option<Classic>,
}

/// What a member of the classic protocol said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Classic {
    pub(crate) session_timeout_ms: i32,
    pub(crate) protocols: Box<[(Arc<str>, Bytes)]>,
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Has {
    pub(crate) epoch: i32,
    /// The one before, if the member may not have heard of this one.
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Dated,
    pub(crate) revoking: Dated,
}

impl Default for Has {
    /// One that is new.
    fn default() -> Self {
        Self {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Dated::new(),
            revoking: Dated::new(),
        }
    }
}

/// Where a member stands on its way to what it shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has it.
    Stable,
    /// It must let go of partitions first.
    Unrevoked,
    /// Others must let go of partitions first.
    Unreleased,
    /// Written by a newer program.
    Unknown,
}

impl MemberState {
    pub(crate) const fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
            Self::Unknown => 127,
        }
    }

    const fn of(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            2 => Self::Unreleased,
            _ => Self::Unknown,
        }
    }
}

/// Which topics match a regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// In order.
    pub(crate) topics: Arc<[Arc<str>]>,
    pub(crate) version: i64,
    pub(crate) at: WallTime,
}

impl Has {
    /// Whether it has what it shall have by this epoch.
    pub(crate) fn is_settled(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// All that it may still work on.
    pub(crate) fn held(&self) -> Partitions {
        let mut held = Partitions::new();
        for (topic, of) in self.assigned.iter().chain(&self.revoking) {
            held.entry(*topic).or_default().extend(of.keys().copied());
        }
        held.values_mut().for_each(|of| of.sort_unstable());
        held
    }

    pub(crate) fn bytes(&self) -> usize {
        let topics = self.assigned.values().chain(self.revoking.values());
        topics
            .map(|of| TOPIC_HELD_BYTES + PARTITION_HELD_BYTES * of.len())
            .sum()
    }
}

impl Said {
    /// What it takes of memory, with the member's id.
    pub(crate) fn bytes(&self, id: &str) -> usize {
        let instance = self.instance.as_ref().map_or(0, |name| name.as_str().len());
        let words = [&self.rack, &self.regex, &self.assignor];
        let words: usize = words.into_iter().flatten().map(|word| word.len()).sum();
        let topics = self.topics.iter();
        let topics: usize = topics.map(|name| SUBSCRIBED_TOPIC_BYTES + name.len()).sum();
        let classic = self.classic.as_ref().map_or(0, |classic| {
            let protocols = classic.protocols.iter();
            protocols
                .map(|(name, data)| 100 + name.len() + data.len())
                .sum()
        });
        let names = id.len() + instance + self.client_id.len() + self.client_host.len();
        CONSUMER_MEMBER_BYTES + names + words + topics + classic
    }

    fn of(value: &SaidValue<'_>) -> Self {
        let shared = |text: Option<&str>| text.map(Into::into);
        let fresh = Self {
            instance: value.instance.map(GroupInstanceId::new),
            rack: shared(value.rack),
            client_id: value.client_id.into(),
            client_host: value.client_host.into(),
            regex: shared(value.regex.filter(|regex| !regex.is_empty())),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            assignor: shared(value.assignor),
            classic: value.classic.as_ref().map(Classic::of),
            ..Self::default()
        };
        fresh.with_topics(value.topics.iter().map(|name| (*name).into()))
    }

    /// Two that read the same names have the same, and others another.
    pub(crate) const fn topics_digest(&self) -> u128 {
        self.digest
    }

    /// The same, with these topics: in any order.
    pub(crate) fn with_topics(mut self, topics: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut topics: Vec<Arc<str>> = topics.into_iter().collect();
        topics.sort_unstable();
        topics.dedup();
        let mut bytes = Vec::new();
        for topic in &topics {
            bytes.extend((topic.len() as u64).to_le_bytes());
            bytes.extend_from_slice(topic.as_bytes());
        }
        let low = XxHash3_64::oneshot(&bytes);
        let high = XxHash3_64::oneshot_with_seed(DIGEST_SEED, &bytes);
        self.digest = u128::from(high) << 64 | u128::from(low);
        self.topics = topics.into();
        self
    }

    /// As a record has it.
    pub(crate) fn value(&self) -> SaidValue<'_> {
        SaidValue {
            instance: self.instance.as_ref().map(GroupInstanceId::as_str),
            rack: self.rack.as_deref(),
            client_id: &self.client_id,
            client_host: &self.client_host,
            topics: self.topics.iter().map(|name| &**name).collect(),
            regex: self.regex.as_deref(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            assignor: self.assignor.as_deref(),
            classic: self.classic.as_ref().map(|classic| ClassicValue {
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic
                    .protocols
                    .iter()
                    .map(|(name, data)| (&**name, &data[..]))
                    .collect(),
            }),
        }
    }

    /// For how long it may take to let go of partitions.
    pub(crate) fn rebalance_timeout(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.rebalance_timeout_ms).unwrap_or(0))
    }

    pub(crate) fn has_topic(&self, name: &str) -> bool {
        let found = self.topics.binary_search_by(|topic| (**topic).cmp(name));
        found.is_ok()
    }
}

impl Classic {
    fn of(value: &ClassicValue<'_>) -> Self {
        let protocols = value.protocols.iter();
        Self {
            session_timeout_ms: value.session_timeout_ms,
            protocols: protocols
                .map(|(name, data)| ((*name).into(), Bytes::copy_from_slice(data)))
                .collect(),
        }
    }
}

impl Resolved {
    pub(crate) fn bytes(&self) -> usize {
        let topics = self.topics.iter();
        topics
            .map(|name| SUBSCRIBED_TOPIC_BYTES + name.len())
            .sum::<usize>()
            + CONSUMER_MEMBER_BYTES
    }

    pub(crate) fn has_topic(&self, name: &str) -> bool {
        let found = self.topics.binary_search_by(|topic| (**topic).cmp(name));
        found.is_ok()
    }
}

/// What a target takes.
pub(crate) fn bytes_of_target(target: &Partitions) -> usize {
    target
        .values()
        .map(|of| TOPIC_HELD_BYTES + PARTITION_WANTED_BYTES * of.len())
        .sum()
}

impl ConsumerGroup {
    /// Nothing of it is left.
    pub(crate) fn is_void(&self) -> bool {
        self.is_unkept() && self.lives.is_empty()
    }

    /// The log keeps nothing of it.
    pub(crate) fn is_unkept(&self) -> bool {
        self.kept.is_none()
            && self.target.is_none()
            && self.members.is_empty()
            && self.unsaid.is_empty()
            && self.targets.is_empty()
            && self.regexes.is_empty()
            && !self.has_topics_record
    }

    /// Hands over all that is hard, in order, to be hashed.
    pub(crate) fn hash(&self, mut part: impl FnMut(&[u8])) {
        let epochs = [self.kept, self.target.map(same_shape)];
        for value in epochs.into_iter().flatten() {
            part(&value.encode());
        }
        part(&[u8::from(self.has_topics_record)]);
        for (id, member) in &self.members {
            part(id.as_str().as_bytes());
            part(&member.said.value().encode());
            let has = &member.has;
            part(&encode_current(
                [has.epoch, has.previous_epoch],
                has.state.number(),
                [&has.assigned, &has.revoking],
            ));
        }
        for (id, has) in &self.unsaid {
            part(id.as_str().as_bytes());
            part(&encode_current(
                [has.epoch, has.previous_epoch],
                has.state.number(),
                [&has.assigned, &has.revoking],
            ));
        }
        for (id, target) in &self.targets {
            part(id.as_str().as_bytes());
            part(&encode_target(target));
        }
        for (regex, resolved) in &self.regexes {
            part(regex.as_bytes());
            for name in resolved.topics.iter() {
                part(name.as_bytes());
            }
            part(&resolved.version.to_be_bytes());
            part(&resolved.at.0.to_be_bytes());
        }
    }

    pub(crate) fn epoch(&self) -> i32 {
        self.kept.map_or(0, |kept| kept.epoch)
    }

    pub(crate) fn target_epoch(&self) -> i32 {
        self.target.map_or(0, |target| target.epoch)
    }

    pub(crate) fn state(&self) -> GroupState {
        let target = self.target_epoch();
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch() > target {
            GroupState::Assigning
        } else if self.members.values().all(|m| m.has.is_settled(target)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// What it holds, counted anew.
    #[cfg(test)]
    pub(crate) fn bytes_held(&self) -> usize {
        let members = self.members.iter();
        let members =
            members.map(|(id, member)| member.said.bytes(id.as_str()) + member.has.bytes());
        let targets = self.targets.values().map(bytes_of_target);
        let regexes = self.regexes.values().map(Resolved::bytes);
        let unsaid = self.unsaid.values().map(Has::bytes);
        members.chain(targets).chain(regexes).chain(unsaid).sum()
    }

    /// Another one has the static name of a member: it took its place, and the log was cut before
    /// this one was gone.
    pub(crate) fn is_replaced(&self, id: &MemberId, member: &Member) -> bool {
        let instance = member.said.instance.as_ref();
        let owner = instance.and_then(|instance| self.statics.get(instance));
        owner.is_some_and(|owner| owner != id)
    }

    /// It has no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many records the log keeps of it.
    pub(crate) fn record_count(&self) -> usize {
        3 + 2 * self.members.len() + self.unsaid.len() + self.targets.len() + self.regexes.len()
    }

    /// The parts of an empty group that the log keeps, in the order in which they go.
    pub(crate) fn parts(&self) -> Vec<Part<'_>> {
        let mut parts: Vec<Part<'_>> = Vec::new();
        parts.extend(self.unsaid.keys().map(|id| Part::Current(id.as_str())));
        parts.extend(self.targets.keys().map(|id| Part::Target(id.as_str())));
        parts.extend(self.target.map(|_| Part::TargetEpoch));
        parts.extend(self.regexes.keys().map(|regex| Part::Regex(regex)));
        parts.extend(self.has_topics_record.then_some(Part::Topics));
        parts.extend(self.kept.map(|_| Part::Epoch));
        parts
    }

    /// Whether members read a topic. While an expression is not resolved, nobody can tell: then all
    /// are taken for read.
    pub(crate) fn reads(&self, topic: &str) -> bool {
        self.named.contains_key(topic)
            || self.expressed.keys().any(|regex| {
                let resolved = self.regexes.get(regex);
                resolved.is_none_or(|resolved| resolved.has_topic(topic))
            })
    }

    /// Asks for the timer of the group to fire by then.
    pub(crate) fn want(&mut self, at: Instant) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    /// The next moment at which something is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let lives = self.lives.values().map(Life::next_due);
        lives.chain(self.divide_at).chain(self.downgrade_at).min()
    }

    /// Replays one record.
    pub(crate) fn replay(
        &mut self,
        part: Part<'_>,
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        match part {
            Part::Epoch => self.kept = value.map(EpochValue::decode).transpose()?,
            // What Kafka 4.0 kept there, nobody needs: it is looked up anew.
            Part::Topics => self.has_topics_record = value.is_some(),
            Part::TargetEpoch => self.target = value.map(TargetEpochValue::decode).transpose()?,
            Part::Member(id) => self.replay_said(id, value)?,
            Part::Current(id) => self.replay_has(id, value)?,
            Part::Target(id) => {
                let target = value.map(decode_target).transpose()?;
                let before = match target {
                    Some(target) => {
                        self.bytes += bytes_of_target(&target);
                        self.targets.insert(MemberId::new(id), target)
                    }
                    None => self.targets.remove(id),
                };
                self.bytes -= before.as_ref().map_or(0, bytes_of_target);
            }
            Part::Regex(regex) => {
                let before = match value.map(RegexValue::decode).transpose()? {
                    Some(value) => {
                        let mut topics: Vec<Arc<str>> =
                            value.topics.iter().map(|name| (*name).into()).collect();
                        topics.sort_unstable();
                        topics.dedup();
                        let resolved = Resolved {
                            topics: topics.into(),
                            version: value.version,
                            at: value.at,
                        };
                        self.bytes += resolved.bytes();
                        self.regexes.insert(regex.into(), resolved)
                    }
                    None => self.regexes.remove(regex),
                };
                self.bytes -= before.as_ref().map_or(0, Resolved::bytes);
            }
        }
        Ok(())
    }

    /// What a member said; without that it is none.
    fn replay_said(&mut self, id: &str, value: Option<&[u8]>) -> Result<(), RecordError> {
        let said = value.map(SaidValue::decode).transpose()?;
        let said = said.as_ref().map(Said::of);
        let before = self.members.remove(id);
        if let Some(before) = &before {
            self.bytes -= before.said.bytes(id);
            self.unlearn(id, &before.said);
        }
        let Some(said) = said else {
            if let Some(before) = before {
                self.release(id, &before.has);
                self.bytes -= before.has.bytes();
            }
            return Ok(());
        };
        let id = MemberId::new(id);
        self.bytes += said.bytes(id.as_str());
        self.learn(&id, &said);
        let has = match before {
            Some(before) => before.has,
            None => {
                let has = self.unsaid.remove(&id).unwrap_or_default();
                self.hold(&id, &has);
                has
            }
        };
        let said = Arc::new(said);
        self.members.insert(id, Member { said, has });
        Ok(())
    }

    /// What a member has.
    fn replay_has(&mut self, id: &str, value: Option<&[u8]>) -> Result<(), RecordError> {
        let value = value.map(CurrentValue::decode).transpose()?;
        let has = value.map(|value| Has {
            epoch: value.epoch,
            previous_epoch: value.previous_epoch,
            state: MemberState::of(value.state),
            assigned: value.assigned,
            revoking: value.revoking,
        });
        let Some((id, member)) = self.members.get_key_value(id) else {
            let before = match has {
                Some(has) => {
                    self.bytes += has.bytes();
                    self.unsaid.insert(MemberId::new(id), has)
                }
                None => self.unsaid.remove(id),
            };
            self.bytes -= before.as_ref().map_or(0, Has::bytes);
            return Ok(());
        };
        let (id, before) = (id.clone(), member.has.clone());
        let has = has.unwrap_or_default();
        self.release(id.as_str(), &before);
        self.bytes -= before.bytes();
        self.bytes += has.bytes();
        self.hold(&id, &has);
        if let Some(member) = self.members.get_mut(&id) {
            member.has = has;
        }
        Ok(())
    }

    fn hold(&mut self, id: &MemberId, has: &Has) {
        for (topic, partitions) in has.assigned.iter().chain(&has.revoking) {
            let owners = self.owners.entry(*topic).or_default();
            for partition in partitions.keys() {
                owners.insert(*partition, id.clone());
            }
        }
    }

    fn release(&mut self, id: &str, has: &Has) {
        for (topic, partitions) in has.assigned.iter().chain(&has.revoking) {
            let Some(owners) = self.owners.get_mut(topic) else {
                continue;
            };
            for partition in partitions.keys() {
                if owners.get(partition).is_some_and(|own| own.as_str() == id) {
                    owners.remove(partition);
                }
            }
            if owners.is_empty() {
                self.owners.remove(topic);
            }
        }
    }

    fn learn(&mut self, id: &MemberId, said: &Said) {
        self.classics += usize::from(said.classic.is_some());
        for topic in &said.topics {
            *self.named.entry(topic.clone()).or_default() += 1;
        }
        if let Some(regex) = &said.regex {
            *self.expressed.entry(regex.clone()).or_default() += 1;
        }
        if let Some(instance) = &said.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
    }

    fn unlearn(&mut self, id: &str, said: &Said) {
        self.classics -= usize::from(said.classic.is_some());
        for topic in &said.topics {
            forget_one(&mut self.named, topic);
        }
        if let Some(regex) = &said.regex {
            forget_one(&mut self.expressed, regex);
        }
        if let Some(instance) = &said.instance
            && self
                .statics
                .get(instance)
                .is_some_and(|own| own.as_str() == id)
        {
            self.statics.remove(instance);
        }
    }
}

/// Both are an epoch and a number.
fn same_shape(target: TargetEpochValue) -> EpochValue {
    EpochValue {
        epoch: target.epoch,
        metadata_hash: target.at.0,
    }
}

/// One mention less.
fn forget_one(mentions: &mut BTreeMap<Arc<str>, usize>, name: &Arc<str>) {
    if let Some(count) = mentions.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            mentions.remove(name);
        }
    }
}
