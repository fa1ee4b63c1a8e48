//! How far the groups of this core are behind: slices of kept offsets for a host that asks the cores
//! with their logs, the book of what was seen, and what is told of groups to operators.

use std::iter;
use std::ops::Bound;
use std::time::Duration;

use klamm_coord::lag::{AskedOffset, GroupLag, LagBook, LagRules, LogFacts, Look};
use klamm_coord::{GroupHead, GroupId, History, LookFrom, MembersRoom, SeenGroup, SeenMembers};
use klamm_model::{Instant, PartitionIndex, TopicName, TopicPartition};

use crate::api::{LogFactsQuestion, Now};
use crate::engine::Engine;
use crate::groups::State;

/// How lag is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagOptions {
    /// By what verdicts are given.
    pub rules: LagRules,
    /// How long all groups are left alone after a look at all of them.
    pub pause: Duration,
}

impl Default for LagOptions {
    fn default() -> Self {
        let rules = LagRules::default();
        Self {
            pause: rules.sample_every,
            rules,
        }
    }
}

/// Where a look goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LagFrom {
    /// At the coordinator on this partition, or the first behind it.
    partition: TopicPartition,
    within: Option<LookFrom>,
}

/// Kept offsets of which logs are to be asked.
#[derive(Debug)]
pub struct LagSlice {
    groups: Vec<SeenGroup>,
    /// One for each offset whose topic exists.
    questions: Vec<LogFactsQuestion>,
    /// For each offset of the groups, in their order: whether there is a question.
    asked: Vec<bool>,
    next: Option<LagFrom>,
}

impl LagSlice {
    /// What is to be asked, for [`Engine::take_lags`].
    #[must_use]
    pub fn take_questions(&mut self) -> Vec<LogFactsQuestion> {
        std::mem::take(&mut self.questions)
    }
}

/// What is told of one group.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// What it is now.
    pub head: GroupHead,
    /// Its members.
    pub members: SeenMembers,
    /// How far it was behind when it was seen last.
    pub lag: Option<GroupLag>,
}

impl Engine {
    /// The next offsets of which logs are to be asked: at most so many. `None`: all groups were
    /// looked at.
    #[must_use]
    pub fn lag_slice(&self, from: Option<&LagFrom>, offsets_max: usize) -> Option<LagSlice> {
        let begin = from.map_or(Bound::Unbounded, |from| Bound::Included(from.partition));
        for (&partition, host) in self.groups.hosts.range((begin, Bound::Unbounded)) {
            let State::Active(coordinator) = &host.state else {
                continue;
            };
            let within = from.filter(|from| from.partition == partition);
            let within = within.and_then(|from| from.within.as_ref());
            let (groups, next) = coordinator.look(within, offsets_max);
            let next = match next {
                Some(within) => Some(LagFrom {
                    partition,
                    within: Some(within),
                }),
                None => self.host_behind(partition),
            };
            if groups.is_empty() && next.is_some() {
                continue;
            }
            return Some(self.slice_of(groups, next));
        }
        None
    }

    /// The same of one group, behind a place in it. `None`: there is no such group here.
    #[must_use]
    pub fn lag_slice_of(
        &self,
        group: &str,
        after: Option<&(TopicName, PartitionIndex)>,
        offsets_max: usize,
    ) -> Option<(LagSlice, Option<(TopicName, PartitionIndex)>)> {
        let coordinator = self.groups.coordinator_of(group)?;
        let (seen, next) = coordinator.look_at_one(group, after, offsets_max)?;
        Some((self.slice_of(vec![seen], None), next))
    }

    fn host_behind(&self, partition: TopicPartition) -> Option<LagFrom> {
        let behind = (Bound::Excluded(partition), Bound::Unbounded);
        let (&partition, _) = self.groups.hosts.range(behind).next()?;
        Some(LagFrom {
            partition,
            within: None,
        })
    }

    fn slice_of(&self, groups: Vec<SeenGroup>, next: Option<LagFrom>) -> LagSlice {
        let mut questions = Vec::new();
        let mut asked = Vec::new();
        for offset in groups.iter().flat_map(|group| &group.offsets) {
            let topic = self.image.topic(offset.topic.as_str());
            // An offset that was committed to another topic of that name is not this one's.
            let topic = topic.map(|topic| topic.id());
            let topic = topic.filter(|id| offset.topic_id.is_zero() || *id == offset.topic_id);
            asked.push(topic.is_some());
            questions.extend(topic.map(|topic| LogFactsQuestion {
                partition: TopicPartition {
                    topic,
                    index: offset.partition,
                },
                offset: offset.offset,
            }));
        }
        LagSlice {
            groups,
            questions,
            asked,
            next,
        }
    }

    /// Takes what logs said of a slice, in the order of its questions. `look` is of the group that
    /// the slice before left unfinished, and then of the one that this does. Gives where to go on.
    pub fn take_lags(
        &mut self,
        now: Now,
        slice: LagSlice,
        facts: Vec<Option<LogFacts>>,
        look: &mut Option<(GroupId, Look)>,
    ) -> Option<LagFrom> {
        let mut facts = facts.into_iter();
        let mut asked = slice.asked.into_iter();
        for group in slice.groups {
            let begun = look.take().filter(|(id, _)| *id == group.group);
            let mut seen = begun.map_or_else(Look::default, |(_, look)| look);
            for offset in group.offsets {
                let facts = match asked.next() {
                    Some(true) => facts.next().flatten(),
                    Some(false) | None => None,
                };
                let asked = AskedOffset {
                    topic: offset.topic,
                    partition: offset.partition,
                    offset: offset.offset,
                    committed: offset.committed,
                };
                seen.take(asked, facts);
            }
            if group.is_whole {
                let book = &mut self.groups.lags;
                book.on_look(now.instant, now.wall, &group.group, group.head, seen);
            } else {
                *look = Some((group.group, seen));
            }
        }
        slice.next
    }

    /// A look at all groups has come to its end: those that it did not see are gone.
    pub fn end_look(&mut self, began: Instant) {
        self.groups.lags.forget_unseen(began);
    }

    /// What was seen of the groups of this core at the last look.
    #[must_use]
    pub const fn lags(&self) -> &LagBook {
        &self.groups.lags
    }

    /// How groups are looked at.
    #[must_use]
    pub const fn lag_options(&self) -> LagOptions {
        self.options.groups.lag
    }

    /// The groups of this core behind a name, in the order of names; with what was seen of each.
    pub fn groups_after<'e>(
        &'e self,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'e GroupId, GroupHead, Option<&'e GroupLag>)> + use<'e> {
        let hosts = self.groups.hosts.values();
        let active = hosts.filter_map(|host| match &host.state {
            State::Active(coordinator) => Some(&**coordinator),
            State::Loading(_) | State::Failed => None,
        });
        let named = active.map(|coordinator| (coordinator, coordinator.names(after).peekable()));
        let mut named: Vec<_> = named.collect();
        iter::from_fn(move || {
            let heads = named.iter_mut().filter_map(|(coordinator, names)| {
                let first: &'e GroupId = names.peek().copied()?;
                Some((first, coordinator, names))
            });
            let (id, coordinator, names) = heads.min_by_key(|(first, ..)| *first)?;
            names.next();
            Some((
                id,
                coordinator.head_of(id.as_str())?,
                self.groups.lags.of(id.as_str()),
            ))
        })
    }

    /// What is known of a group; `None` if it is not here.
    #[must_use]
    pub fn report_group(&self, group: &str, room: MembersRoom) -> Option<GroupReport> {
        let coordinator = self.groups.coordinator_of(group)?;
        Some(GroupReport {
            head: coordinator.head_of(group)?,
            members: coordinator.members_of(group, room)?,
            lag: self.groups.lags.of(group).cloned(),
        })
    }

    /// True if some coordinator of this core is still reading its log, so that nothing can be said of
    /// its groups.
    #[must_use]
    pub fn loads_groups(&self) -> bool {
        let mut hosts = self.groups.hosts.values();
        hosts.any(|host| matches!(host.state, State::Loading(_)))
    }

    /// What happened to a group lately, if anything is remembered.
    #[must_use]
    pub fn history_of(&self, group: &str) -> Option<&History> {
        self.groups.histories.of(group)
    }
}
