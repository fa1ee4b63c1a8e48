//! What a decision makes of a group before the log has it: one member that changes, others that go,
//! and what follows for all. A draft changes nothing; its records do, when they are replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use klamm_model::{Instant, TopicId, WallTime};

use super::super::names::{GroupId, MemberId};
use super::api::TopicPartitions;
use super::assign::{self, Classes, Question, Share, Wants};
use super::config::{Assignor, ConsumerConfig};
use super::group::{ConsumerGroup, Has, Member, MemberState, Resolved, Said, bytes_of_target};
use super::reconcile::{Aim, MustJoinAnew};
use super::view::{SeenTopic, TopicsView, hash_of};
use crate::kit::Record;
use crate::record::{
    EpochValue, Part, Partitions, RegexValue, TargetEpochValue, encode_current, encode_target,
};

/// A group as a decision leaves it.
#[derive(Clone)]
pub(crate) struct Draft<'g> {
    id: &'g GroupId,
    group: &'g ConsumerGroup,
    view: Option<&'g Arc<dyn TopicsView>>,
    /// What is to be written. A new epoch comes first, and that of the targets after them: wherever
    /// the log is cut, the work is divided anew if anything of it was lost.
    pub(crate) records: Vec<Record>,
    /// The first record is that of the epoch.
    begins_epoch: bool,
    /// Members that are new or changed.
    changed: BTreeMap<MemberId, Member>,
    /// Members that are gone.
    gone: BTreeSet<MemberId>,
    /// Whose place a member takes.
    replaced: Option<(MemberId, MemberId)>,
    /// Targets that are new.
    targets: BTreeMap<MemberId, Partitions>,
    /// Regular expressions that were resolved anew.
    resolved: BTreeMap<Arc<str>, Resolved>,
    pub(crate) epoch: i32,
    metadata_hash: i64,
    pub(crate) target_epoch: i32,
    target_at: WallTime,
    /// Partitions that the last division gave to another member than before.
    pub(crate) moved: usize,
}

impl<'g> Draft<'g> {
    pub(crate) fn new(
        id: &'g GroupId,
        group: &'g ConsumerGroup,
        view: Option<&'g Arc<dyn TopicsView>>,
    ) -> Self {
        Self {
            id,
            group,
            view,
            records: Vec::new(),
            begins_epoch: false,
            changed: BTreeMap::new(),
            gone: BTreeSet::new(),
            replaced: None,
            targets: BTreeMap::new(),
            resolved: BTreeMap::new(),
            epoch: group.epoch(),
            metadata_hash: group.kept.map_or(0, |kept| kept.metadata_hash),
            target_epoch: group.target_epoch(),
            target_at: group.target.map_or(WallTime(0), |target| target.at),
            moved: 0,
        }
    }

    fn write(&mut self, part: Part<'_>, value: Option<Bytes>) {
        let key = part.key(self.id.as_str());
        self.records.push(Record { key, value });
    }

    pub(crate) fn member(&self, id: &str) -> Option<&Member> {
        if self.gone.contains(id) {
            return None;
        }
        let changed = self.changed.get(id);
        changed.or_else(|| self.group.members.get(id))
    }

    /// All members.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&MemberId, &Member)> {
        let kept = self.group.members.iter();
        let kept =
            kept.filter(|(id, _)| !self.gone.contains(*id) && !self.changed.contains_key(*id));
        kept.chain(self.changed.iter())
    }

    /// The group's epoch and that of its targets, where they are others now.
    pub(crate) fn changed_epochs(&self) -> [Option<i32>; 2] {
        let epoch = (self.epoch != self.group.epoch()).then_some(self.epoch);
        let target = (self.target_epoch != self.group.target_epoch()).then_some(self.target_epoch);
        [epoch, target]
    }

    pub(crate) const fn group_id(&self) -> &GroupId {
        self.id
    }

    /// Until when the work stays as it is: a division that did not fit is not tried at every call.
    pub(crate) fn undivided_until(&self) -> Option<Instant> {
        self.group.divide_at
    }

    /// When the work was divided last.
    pub(crate) const fn target_at(&self) -> WallTime {
        self.target_at
    }

    /// What the group holds before the draft.
    pub(crate) const fn held(&self) -> usize {
        self.group.bytes
    }

    /// How many members there are. It takes no longer where there are many.
    pub(crate) fn member_count(&self) -> usize {
        let kept = &self.group.members;
        let gone = self.gone.iter().filter(|id| kept.contains_key(*id));
        let new = self.changed.keys().filter(|id| !kept.contains_key(*id));
        kept.len() - gone.count() + new.count()
    }

    /// How many members of them speak the classic protocol.
    pub(crate) fn classic_count(&self) -> usize {
        let is_classic = |member: &Member| member.said.classic.is_some();
        let before = self.gone.iter().chain(self.changed.keys());
        let before = before.filter_map(|id| self.group.members.get(id));
        let before = before.filter(|member| is_classic(member)).count();
        let now = self.changed.values().filter(|member| is_classic(member));
        self.group.classics + now.count() - before
    }

    /// A member says something: writes it if it is new.
    pub(crate) fn say(&mut self, id: &MemberId, said: Arc<Said>) {
        let before = self.member(id.as_str());
        if before.is_some_and(|before| before.said == said) {
            return;
        }
        let has = before.map(|before| before.has.clone()).unwrap_or_default();
        let value = said.value().encode();
        self.write(Part::Member(id.as_str()), Some(value));
        self.changed.insert(id.clone(), Member { said, has });
    }

    /// A member has something else: writes it.
    pub(crate) fn set_has(&mut self, id: &MemberId, has: Has) {
        let Some(member) = self.member(id.as_str()) else {
            return;
        };
        let said = member.said.clone();
        let value = encode_current(
            [has.epoch, has.previous_epoch],
            has.state.number(),
            [&has.assigned, &has.revoking],
        );
        self.write(Part::Current(id.as_str()), Some(value));
        self.changed.insert(id.clone(), Member { said, has });
    }

    /// A member is gone.
    pub(crate) fn remove(&mut self, id: &MemberId) {
        self.write(Part::Current(id.as_str()), None);
        self.write(Part::Target(id.as_str()), None);
        self.write(Part::Member(id.as_str()), None);
        self.changed.remove(id);
        self.gone.insert(id.clone());
    }

    /// A member takes the place of another: it has what that one had, and shall have. It is there
    /// before the other one goes: wherever the log is cut, what they have is known to be somebody's,
    /// and a start sees that the other one was to go.
    pub(crate) fn replace(&mut self, old: &MemberId, new: &MemberId) {
        let Some(member) = self.member(old.as_str()).cloned() else {
            return;
        };
        let mut has = Has {
            epoch: 0,
            previous_epoch: 0,
            ..member.has
        };
        if has.revoking.is_empty() && has.state == MemberState::Unrevoked {
            // One that left for a while has nothing to let go of any longer.
            has.state = MemberState::Stable;
        }
        let value = member.said.value().encode();
        self.write(Part::Member(new.as_str()), Some(value));
        let target = self.group.targets.get(old).cloned().unwrap_or_default();
        self.write(Part::Target(new.as_str()), Some(encode_target(&target)));
        self.remove(old);
        self.targets.insert(new.clone(), target);
        self.changed.insert(
            new.clone(),
            Member {
                said: member.said,
                has: has.clone(),
            },
        );
        self.set_has(new, has);
        self.replaced = Some((old.clone(), new.clone()));
    }

    /// A regular expression was resolved.
    pub(crate) fn resolve(&mut self, regex: &Arc<str>, resolved: Resolved) {
        let value = RegexValue {
            topics: resolved.topics.iter().map(|name| &**name).collect(),
            version: resolved.version,
            at: resolved.at,
        };
        let value = value.encode();
        self.write(Part::Regex(regex), Some(value));
        self.resolved.insert(regex.clone(), resolved);
    }

    /// Regular expressions that nobody gives any longer are forgotten.
    pub(crate) fn drop_unused_regexes(&mut self) {
        let before = self.gone.iter().chain(self.changed.keys());
        let before = before.filter_map(|id| self.group.members.get(id));
        let mut given: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for regex in before.filter_map(|member| member.said.regex.clone()) {
            *given.entry(regex).or_default() += 1;
        }
        let now = |regex: &Arc<str>| {
            let changed = self.changed.values();
            changed
                .filter(|member| member.said.regex.as_ref() == Some(regex))
                .count()
        };
        let unused: Vec<Arc<str>> = given
            .into_iter()
            .filter(|(regex, gone)| {
                let all = self.group.expressed.get(regex).copied().unwrap_or(0);
                all == *gone && now(regex) == 0 && self.group.regexes.contains_key(regex)
            })
            .map(|(regex, _)| regex)
            .collect();
        for regex in unused {
            self.write(Part::Regex(&regex), None);
        }
    }

    pub(crate) fn resolution(&self, regex: &str) -> Option<&Resolved> {
        let resolved = self.resolved.get(regex);
        resolved.or_else(|| self.group.regexes.get(regex))
    }

    /// How often names and regular expressions are given more, or less, than before.
    fn changes(&self) -> [BTreeMap<&Arc<str>, isize>; 2] {
        let mut named: BTreeMap<&Arc<str>, isize> = BTreeMap::new();
        let mut expressed: BTreeMap<&Arc<str>, isize> = BTreeMap::new();
        let before = self.gone.iter().chain(self.changed.keys());
        let before = before.filter_map(|id| self.group.members.get(id));
        let before = before.map(|member| (member, -1));
        let after = self.changed.values().map(|member| (member, 1));
        for (member, by) in before.chain(after) {
            for topic in &member.said.topics {
                *named.entry(topic).or_default() += by;
            }
            if let Some(regex) = &member.said.regex {
                *expressed.entry(regex).or_default() += by;
            }
        }
        [named, expressed]
    }

    /// The topics that members read and that are there, by name; and whether all members read all
    /// of them.
    fn read(&self) -> (Vec<SeenTopic>, bool) {
        let [named, expressed] = self.changes();
        let count = self.member_count();
        let mut alike = true;
        let mut names = Vec::with_capacity(self.group.named.len());
        given(&self.group.named, &named, |name, by| {
            alike &= by == count;
            names.push(name);
        });
        given(&self.group.expressed, &expressed, |regex, by| {
            alike &= by == count;
            let resolved = self.resolution(regex).into_iter();
            names.extend(resolved.flat_map(|resolved| resolved.topics.iter()));
        });
        names.sort_unstable();
        names.dedup();
        let topics = names
            .into_iter()
            .filter_map(|name| self.view?.by_name(name));
        (topics.collect(), alike)
    }

    /// The hash of what members read by now.
    pub(crate) fn hash(&self) -> i64 {
        hash_of(&self.read().0)
    }

    /// The next epoch begins: the work is to be divided anew.
    pub(crate) fn bump(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.write_epoch(self.metadata_hash);
        if self.group.has_topics_record {
            self.write(Part::Topics, None);
        }
    }

    /// Other topics than before are there: the next epoch begins.
    pub(crate) fn bump_if_topics_changed(&mut self) {
        let metadata_hash = self.hash();
        if self.metadata_hash != metadata_hash {
            self.metadata_hash = metadata_hash;
            self.bump();
        }
    }

    fn write_epoch(&mut self, metadata_hash: i64) {
        self.metadata_hash = metadata_hash;
        let value = EpochValue {
            epoch: self.epoch,
            metadata_hash,
        };
        let record = Record {
            key: Part::Epoch.key(self.id.as_str()),
            value: Some(value.encode()),
        };
        if self.begins_epoch {
            self.records[0] = record;
        } else {
            self.records.insert(0, record);
            self.begins_epoch = true;
        }
    }

    /// How the work is divided: as most members want that want anything.
    pub(crate) fn assignor(&self, config: &ConsumerConfig) -> Assignor {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, member) in self.members() {
            if let Some(name) = member.said.assignor.as_deref() {
                *votes.entry(name).or_default() += 1;
            }
        }
        // Of several the first by name; a name that is not served any longer counts for nothing.
        let votes = votes.into_iter().rev();
        let votes = votes.filter_map(|(name, count)| Some((config.assignor(name)?, count)));
        let chosen = votes.max_by_key(|(_, count)| *count);
        chosen.map_or_else(|| config.default_assignor(), |(assignor, _)| assignor)
    }

    /// Divides the work anew, for the epoch that the group has by now.
    pub(crate) fn divide(&mut self, assignor: Assignor, at: WallTime) {
        let (mut topics, alike) = self.read();
        // The group's epoch may have begun without a look at all topics.
        let metadata_hash = hash_of(&topics);
        if self.metadata_hash != metadata_hash {
            self.write_epoch(metadata_hash);
        }
        topics.sort_by_key(|topic| topic.id);
        let mut members: Vec<(&MemberId, &Member)> = self.members().collect();
        members.sort_by_key(|(id, member)| {
            let instance = member.said.instance.as_ref();
            (instance.is_none(), instance, *id)
        });
        let wants = if alike {
            let members = members.len();
            Wants::All { members }
        } else {
            Wants::Each(self.classes(&members, &topics))
        };
        let before = (0..).zip(&members).map(|(at, (id, _))| {
            let share = self.target_of(id.as_str());
            share.map_or_else(Vec::new, |target| known(target, at, &wants, &topics))
        });
        let question = Question {
            topics: topics.iter().map(|topic| topic.partitions).collect(),
            before: before.collect(),
            wants,
        };
        let shares = assign::divide(assignor, &question);
        let ids: Vec<MemberId> = members.iter().map(|(id, _)| (*id).clone()).collect();
        self.write_targets(&ids, shares, &topics);
        self.target_epoch = self.epoch;
        self.target_at = at;
        let value = TargetEpochValue {
            epoch: self.epoch,
            at,
        };
        self.write(Part::TargetEpoch, Some(value.encode()));
    }

    /// The first division did not fit: members get an epoch, in which nobody has anything, and
    /// another begins.
    pub(crate) fn give_nothing(&mut self, at: WallTime) {
        self.target_epoch = self.epoch;
        self.target_at = at;
        let value = TargetEpochValue {
            epoch: self.epoch,
            at,
        };
        self.write(Part::TargetEpoch, Some(value.encode()));
        self.bump();
    }

    /// Members that say the same about what they read are looked at once.
    fn classes(&self, members: &[(&MemberId, &Member)], topics: &[SeenTopic]) -> Classes {
        let names: BTreeMap<&str, u32> = (0..)
            .zip(topics)
            .map(|(at, topic)| (topic.name.as_str(), at))
            .collect();
        let mut classes = Classes::default();
        let mut known: BTreeMap<(u128, Option<&Arc<str>>), u32> = BTreeMap::new();
        for (_, member) in members {
            let said = &member.said;
            let key = (said.topics_digest(), said.regex.as_ref());
            let next = classes.wants.len() as u32;
            let class = *known.entry(key).or_insert(next);
            if class == next {
                classes.wants.push(self.wanted(member, &names));
            }
            classes.of.push(class);
        }
        classes
    }

    fn write_targets(&mut self, ids: &[MemberId], shares: Vec<Share>, topics: &[SeenTopic]) {
        for (id, share) in std::iter::zip(ids, shares) {
            let target: Partitions = share
                .into_iter()
                .map(|(topic, partitions)| (topics[topic as usize].id, partitions))
                .collect();
            let before = self.target_of(id.as_str());
            if before == Some(&target) {
                continue;
            }
            self.moved += gained(before, &target);
            self.write(Part::Target(id.as_str()), Some(encode_target(&target)));
            self.targets.insert(id.clone(), target);
        }
    }

    /// Which of these topics a member reads.
    fn wanted(&self, member: &Member, topics: &BTreeMap<&str, u32>) -> Vec<u32> {
        let regex = member.said.regex.as_deref();
        let resolved = regex.and_then(|regex| self.resolution(regex));
        let more = resolved
            .into_iter()
            .flat_map(|resolved| resolved.topics.iter());
        let names = member.said.topics.iter().chain(more);
        let mut wanted: Vec<u32> = names
            .filter_map(|name| topics.get(&**name).copied())
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// What a member shall have by now.
    pub(crate) fn target_of(&self, id: &str) -> Option<&Partitions> {
        let new = self.targets.get(id);
        new.or_else(|| self.group.targets.get(id))
    }

    /// One step of a member towards what it shall have. Returns whether it has something else now.
    pub(crate) fn reconcile(
        &mut self,
        id: &MemberId,
        owned: Option<&[TopicPartitions]>,
        reads_anew: bool,
    ) -> Result<bool, MustJoinAnew> {
        let Some(member) = self.member(id.as_str()) else {
            return Ok(false);
        };
        if !reads_anew && member.has.is_settled(self.target_epoch) {
            return Ok(false);
        }
        let nothing = Partitions::new();
        let regex = member.said.regex.as_deref();
        let resolved = regex.and_then(|regex| self.resolution(regex));
        let reads = |topic: TopicId| {
            let topic = self.view.and_then(|view| view.by_id(topic));
            topic.is_some_and(|topic| {
                let name = topic.name.as_str();
                member.said.has_topic(name)
                    || resolved.is_some_and(|resolved| resolved.has_topic(name))
            })
        };
        let held_by_other = |topic: TopicId, partition: i32| {
            let owners = self.group.owners.get(&topic);
            let owner = owners.and_then(|owners| owners.get(&partition));
            owner.is_some_and(|owner| {
                let mine = owner == id;
                let was_mine = self.replaced.as_ref().is_some_and(|(old, _)| old == owner);
                !mine && !was_mine && !self.gone.contains(owner)
            })
        };
        let aim = Aim {
            epoch: self.target_epoch,
            target: self.target_of(id.as_str()).unwrap_or(&nothing),
            reads: &reads,
            held_by_other: &held_by_other,
            owned,
            reads_anew,
        };
        let has = aim.step(&member.has)?;
        let changes = has != member.has;
        if changes {
            self.set_has(id, has);
        }
        Ok(changes)
    }

    /// How many bytes more the group holds after the draft: in all, and of what members say.
    pub(crate) fn growth(&self) -> [isize; 2] {
        let signed = |bytes: usize| isize::try_from(bytes).unwrap_or(isize::MAX);
        let (mut said, mut given) = (0, 0);
        for id in self.gone.iter().chain(self.changed.keys()) {
            if let Some(before) = self.group.members.get(id) {
                said -= signed(before.said.bytes(id.as_str()));
                given -= signed(before.has.bytes());
            }
        }
        for (id, after) in &self.changed {
            said += signed(after.said.bytes(id.as_str()));
            given += signed(after.has.bytes());
        }
        for (regex, after) in &self.resolved {
            let before = self.group.regexes.get(regex);
            said += signed(after.bytes()) - signed(before.map_or(0, Resolved::bytes));
        }
        for id in self.gone.iter().chain(self.targets.keys()) {
            given -= signed(self.group.targets.get(id).map_or(0, bytes_of_target));
        }
        given += self
            .targets
            .values()
            .map(|target| signed(bytes_of_target(target)))
            .sum::<isize>();
        [said + given, said]
    }

    /// How many names of topics its regular expressions match, those that were resolved anew
    /// included.
    pub(crate) fn resolved_count(&self) -> usize {
        let kept = self.group.regexes.iter();
        let kept = kept.filter(|(regex, _)| !self.resolved.contains_key(*regex));
        let all = kept
            .map(|(_, resolved)| resolved)
            .chain(self.resolved.values());
        all.map(|resolved| resolved.topics.len()).sum()
    }

    /// How many names of topics members give, at most.
    pub(crate) fn named_count(&self) -> usize {
        let changed = self.changed.values();
        self.group.named.len()
            + changed
                .map(|member| member.said.topics.len())
                .sum::<usize>()
    }
}

/// What is given by anyone, after changes to how often it was.
fn given<'a>(
    before: &'a BTreeMap<Arc<str>, usize>,
    changes: &BTreeMap<&'a Arc<str>, isize>,
    mut each: impl FnMut(&'a Arc<str>, usize),
) {
    for (name, count) in before {
        let by = changes.get(name).copied().unwrap_or(0);
        let count = count.saturating_add_signed(by);
        if count > 0 {
            each(name, count);
        }
    }
    for (name, by) in changes {
        if *by > 0 && !before.contains_key(*name) {
            each(name, by.unsigned_abs());
        }
    }
}

/// What is left of a target where topics, partitions or what a member reads are not the same any
/// longer.
fn known(target: &Partitions, member: usize, wants: &Wants, topics: &[SeenTopic]) -> Share {
    let mut share = Share::new();
    for (id, partitions) in target {
        let Ok(at) = topics.binary_search_by_key(id, |topic| topic.id) else {
            continue;
        };
        let reads = match wants {
            Wants::All { .. } => true,
            Wants::Each(classes) => classes
                .of_member(member)
                .binary_search(&(at as u32))
                .is_ok(),
        };
        let count = i32::try_from(topics[at].partitions).unwrap_or(i32::MAX);
        let there = |partition: &i32| (0..count).contains(partition);
        let partitions: Vec<i32> = partitions.iter().copied().filter(there).collect();
        if reads && !partitions.is_empty() {
            share.push((at as u32, partitions));
        }
    }
    share
}

/// How many partitions a member shall have that it was not to have before.
fn gained(before: Option<&Partitions>, after: &Partitions) -> usize {
    let mut gained = 0;
    for (topic, partitions) in after {
        let before = before.and_then(|before| before.get(topic));
        gained += before.map_or(partitions.len(), |before| {
            let new = partitions.iter();
            new.filter(|at| before.binary_search(at).is_err()).count()
        });
    }
    gained
}
