//! Forgetting very much, a slice at a time: the offsets in topics that are gone, and those of groups
//! that are deleted. Until its slice comes such an offset is kept, but nobody is told of it; and what
//! is committed in the meantime stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use klamm_model::{PartitionIndex, TopicId, TopicName};

use super::Coordinator;
use super::api::{DeleteGroupError, Reply, TopicReference};
use super::group::{Committed, Group};
use super::names::GroupId;
use super::offsets::same_topic;
use super::turn::{TimerKey, Turn};
use crate::kit::{Decision, Moment, Ticket};
use crate::limits::{SWEEP_LOOKS_MAX, SWEEP_PAUSE};

/// Topics that are gone, by name, each with the ids that it had.
type Gone = BTreeMap<TopicName, BTreeSet<TopicId>>;

/// What is still to be forgotten. All of it is soft: whoever asked waits, and asks again after a
/// restart.
#[derive(Clone, Debug)]
pub(super) struct Forgetting {
    deletions: VecDeque<Deletion>,
    /// Groups that are deleted, each with the number of deletions that wait for it.
    condemned: BTreeMap<GroupId, usize>,
    /// Topics that are looked for in one walk through all groups.
    gone: Gone,
    /// Where that walk goes on.
    reached: Option<GroupId>,
    /// Topics for the next walk.
    waiting: Gone,
    /// What was committed while it could be taken for something that is to be forgotten.
    fresh: BTreeSet<(GroupId, TopicName, PartitionIndex)>,
}

/// Answers for each group that a request names.
pub(super) type Deleted = Vec<(GroupId, Result<(), DeleteGroupError>)>;

/// A request whose groups are too large to be deleted at once.
#[derive(Clone, Debug)]
struct Deletion {
    ticket: Ticket,
    answer: Deleted,
    left: VecDeque<GroupId>,
}

impl Forgetting {
    /// Nothing is to be forgotten.
    pub(super) const fn none() -> Self {
        Self {
            deletions: VecDeque::new(),
            condemned: BTreeMap::new(),
            gone: BTreeMap::new(),
            reached: None,
            waiting: BTreeMap::new(),
            fresh: BTreeSet::new(),
        }
    }

    /// Nothing is to be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.deletions.is_empty() && self.gone.is_empty() && self.waiting.is_empty()
    }

    /// An offset that is kept is as good as forgotten.
    pub(super) fn hides(
        &self,
        group: &GroupId,
        topic: &TopicName,
        partition: PartitionIndex,
        committed: &Committed,
    ) -> bool {
        if self.is_idle() {
            return false;
        }
        let is_fresh = || {
            let key = (group.clone(), topic.clone(), partition);
            self.fresh.contains(&key)
        };
        if self.condemned.contains_key(group) && !is_fresh() {
            return true;
        }
        let mut ids = [&self.gone, &self.waiting]
            .into_iter()
            .filter_map(|gone| gone.get(topic))
            .flatten();
        ids.any(|id| {
            let sure = *id == committed.topic_id && !id.is_zero();
            sure || same_topic(committed.topic_id, *id) && !is_fresh()
        })
    }

    /// An offset is committed now: it is none of those that are to be forgotten.
    pub(super) fn note_commit(
        &mut self,
        group: &GroupId,
        topic: &TopicName,
        partition: PartitionIndex,
    ) {
        let mistakable = self.condemned.contains_key(group)
            || self.gone.contains_key(topic)
            || self.waiting.contains_key(topic);
        if mistakable {
            self.fresh.insert((group.clone(), topic.clone(), partition));
        }
    }

    /// A group without members is to be forgotten, with all that it has now.
    pub(super) fn condemn(&mut self, group: &GroupId) {
        *self.condemned.entry(group.clone()).or_default() += 1;
        self.fresh.retain(|(of, ..)| of != group);
    }

    /// This request waits until these groups are forgotten.
    pub(super) fn await_all(&mut self, ticket: Ticket, answer: Deleted, left: VecDeque<GroupId>) {
        let deletion = Deletion {
            ticket,
            answer,
            left,
        };
        self.deletions.push_back(deletion);
    }

    /// Topics are to be forgotten, with all offsets that are kept of them now.
    pub(super) fn add_topics(
        &mut self,
        groups: &BTreeMap<GroupId, Group>,
        topics: &[TopicReference],
    ) {
        let mut told = Gone::new();
        for topic in topics {
            told.entry(topic.name.clone()).or_default().insert(topic.id);
        }
        self.fresh.retain(|(group, topic, partition)| {
            let group = groups.get(group);
            let committed = group.and_then(|group| group.committed(topic.as_str(), *partition));
            let ids = told.get(topic);
            !committed.is_some_and(|committed| {
                let mut ids = ids.into_iter().flatten();
                ids.any(|id| same_topic(committed.topic_id, *id))
            })
        });
        for (topic, ids) in told {
            self.waiting.entry(topic).or_default().extend(ids);
        }
    }

    /// The first group of the first deletion is forgotten. Returns the deletion, if it is complete.
    fn settle_first(&mut self) -> Option<Deletion> {
        let group = self.deletions.front_mut()?.left.pop_front();
        if let Some(group) = group
            && let Some(waits) = self.condemned.get_mut(&group)
        {
            *waits -= 1;
            if *waits == 0 {
                self.condemned.remove(&group);
                // Fresh ones of topics that are gone are still to be told from those.
                let (gone, waiting) = (&self.gone, &self.waiting);
                self.fresh.retain(|(of, topic, _)| {
                    *of != group || gone.contains_key(topic) || waiting.contains_key(topic)
                });
            }
        }
        let complete = self.deletions.front()?.left.is_empty();
        if complete {
            self.deletions.pop_front()
        } else {
            None
        }
    }
}

impl Turn<'_> {
    /// Forgets as much as one decision may, and the rest soon after it.
    pub(super) fn forget(&mut self, groups: &BTreeMap<GroupId, Group>, records_max: usize) {
        self.forget_groups(groups, records_max);
        // What is buried by now must not be buried twice.
        if self.decision.records.is_empty() {
            self.forget_topics(groups, records_max);
        }
        if self.forgetting.is_idle() {
            self.forgetting.fresh.clear();
        } else {
            self.set_timer(TimerKey::Forget, SWEEP_PAUSE);
        }
    }

    fn forget_groups(&mut self, groups: &BTreeMap<GroupId, Group>, records_max: usize) {
        let mut done = BTreeSet::new();
        while let Some(deletion) = self.forgetting.deletions.front() {
            let id = deletion.left.front().cloned();
            if id.as_ref().is_some_and(|id| !done.insert(id.clone())) {
                return;
            }
            let group = id.as_ref().and_then(|id| Some((id, groups.get(id)?)));
            if let Some((id, group)) = group
                && !self.forget_some(id, group.offsets.iter(), records_max)
            {
                return;
            }
            if let Some(deletion) = self.forgetting.settle_first() {
                self.decision.held();
                self.answer(deletion.ticket, Reply::Delete(deletion.answer));
            }
        }
    }

    fn forget_topics(&mut self, groups: &BTreeMap<GroupId, Group>, records_max: usize) {
        if self.forgetting.gone.is_empty() {
            self.forgetting.gone = std::mem::take(&mut self.forgetting.waiting);
        }
        if self.forgetting.gone.is_empty() {
            return;
        }
        let from = self.forgetting.reached.take();
        let begin = from.map_or(Bound::Unbounded, Bound::Included);
        let mut looks = 0;
        for (id, group) in groups.range((begin, Bound::Unbounded)) {
            if looks >= SWEEP_LOOKS_MAX {
                self.forgetting.reached = Some(id.clone());
                return;
            }
            // Whichever are fewer are looked for among the others.
            let gone = &self.forgetting.gone;
            let found: Vec<_> = if group.offsets.len() < gone.len() {
                let topics = group.offsets.iter();
                topics
                    .filter(|(name, _)| gone.contains_key(*name))
                    .collect()
            } else {
                let names = gone.keys();
                names
                    .filter_map(|name| group.offsets.get_key_value(name))
                    .collect()
            };
            looks += 1 + group.offsets.len().min(gone.len());
            looks += found.iter().map(|(_, kept)| kept.len()).sum::<usize>();
            if !self.forget_some(id, found.into_iter(), records_max) {
                self.forgetting.reached = Some(id.clone());
                return;
            }
        }
        self.forgetting.gone.clear();
    }

    /// Buries offsets that are as good as forgotten. `false`: not all of them, there are too many.
    fn forget_some<'g>(
        &mut self,
        id: &GroupId,
        topics: impl Iterator<Item = (&'g TopicName, &'g BTreeMap<PartitionIndex, Committed>)>,
        records_max: usize,
    ) -> bool {
        for (topic, partitions) in topics {
            for (partition, committed) in partitions {
                if self.forgetting.hides(id, topic, *partition, committed) {
                    if self.decision.records.len() >= records_max {
                        return false;
                    }
                    self.counters.offsets_deleted += 1;
                    self.bury(id, topic, *partition);
                }
            }
        }
        true
    }
}

impl Coordinator {
    /// These topics are no more: neither are the offsets in them. Nobody is told of them from now
    /// on; they are forgotten now as far as one decision goes, and the rest soon after it.
    pub fn on_topics_deleted(
        &mut self,
        moment: Moment,
        topics: &[TopicReference],
    ) -> Decision<Reply, TimerKey> {
        self.forgetting.add_topics(&self.groups, topics);
        self.forget(moment)
    }

    pub(super) fn forget(&mut self, moment: Moment) -> Decision<Reply, TimerKey> {
        let records_max = self.tombstones_max;
        self.alone(moment, |turn, groups| turn.forget(groups, records_max))
    }

    pub(super) fn delete(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        asked: Vec<GroupId>,
    ) -> Decision<Reply, TimerKey> {
        let mut answered: BTreeSet<GroupId> = BTreeSet::new();
        let mut freed = 0;
        let records_max = self.tombstones_max;
        let decision = self.alone(moment, |turn, groups| {
            let mut deleted = Vec::new();
            let mut condemned = VecDeque::new();
            for id in asked {
                if !answered.insert(id.clone()) {
                    continue;
                }
                if let Some(group) = groups.get(&id) {
                    freed += round_bytes(group);
                }
                let group = groups.get_mut(&id);
                let result = turn.delete_group(&id, group, records_max, &mut condemned);
                if let Some(group) = groups.get_mut(&id) {
                    freed -= round_bytes(group);
                    if group.is_void() {
                        freed += Group::bytes(id.as_str());
                        groups.remove(&id);
                    }
                }
                deleted.push((id, result));
            }
            if condemned.is_empty() {
                turn.decision.held();
                turn.answer(ticket, Reply::Delete(deleted));
            } else {
                turn.forgetting.await_all(ticket, deleted, condemned);
                turn.set_timer(TimerKey::Forget, SWEEP_PAUSE);
            }
        });
        self.bytes -= freed;
        decision
    }
}

/// What the round of a group holds.
fn round_bytes(group: &Group) -> usize {
    group.round.as_ref().map_or(0, |round| round.bytes)
}
