//! What happened to groups lately, from the notes of coordinators: bounded for each group and in
//! all, in memory alone. A restart forgets it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use klamm_model::{Instant, WallTime};

use super::api::CommitError;
use super::names::GroupId;
use super::notes::{Happened, Note};
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, HISTORY_GROUP_BYTES_MAX};

/// What a group takes in a history, besides its name and its events.
const GROUP_BYTES: usize = 300;

/// What an event takes, besides the texts in it.
const EVENT_BYTES: usize = 160;

/// The histories of groups.
#[derive(Debug)]
pub struct Histories {
    groups: BTreeMap<GroupId, History>,
    /// When something was last added to each: the oldest goes first.
    order: BTreeMap<u64, GroupId>,
    next: u64,
    bytes: usize,
    bytes_max: usize,
}

/// What happened to one group.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: VecDeque<Event>,
    /// How many earlier events are forgotten.
    forgotten: u64,
    refused: RefusedCommits,
    round_began: Option<Instant>,
    bytes: usize,
    touched: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: WallTime,
    /// What.
    pub what: Happened,
    /// How long the round took that ends with it.
    pub took: Option<Duration>,
}

/// Commits that were refused since the history of the group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedCommits {
    /// From members that the group does not know.
    pub unknown_member: u64,
    /// From static members that another one has replaced.
    pub fenced_instance: u64,
    /// Of another generation.
    pub illegal_generation: u64,
    /// While a rebalance was under way.
    pub rebalance_in_progress: u64,
    /// For any other reason.
    pub others: u64,
    /// When the last one came.
    pub last: Option<WallTime>,
}

impl RefusedCommits {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.unknown_member
            + self.fenced_instance
            + self.illegal_generation
            + self.rebalance_in_progress
            + self.others
    }
}

impl History {
    /// The events, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> + ExactSizeIterator {
        self.events.iter()
    }

    /// How many events came before the first of them and are forgotten.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The commits that were refused.
    #[must_use]
    pub const fn refused(&self) -> &RefusedCommits {
        &self.refused
    }

    fn add(&mut self, event: Event) {
        self.bytes += bytes_of(&event);
        self.events.push_back(event);
        while self.events.len() > HISTORY_EVENTS_MAX
            || self.bytes > HISTORY_GROUP_BYTES_MAX && self.events.len() > 1
        {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= bytes_of(&oldest);
                self.forgotten += 1;
            }
        }
    }

    /// How long the round took that ends with this.
    fn took(&mut self, now: Instant, what: &Happened) -> Option<Duration> {
        match what {
            Happened::RoundBegan { .. } => {
                // One that begins anew before it came to its end is the same wait for members.
                self.round_began.get_or_insert(now);
                None
            }
            Happened::RoundKept { .. } | Happened::Emptied { .. } => {
                self.round_began.take().map(|began| now.since(began))
            }
            _ => None,
        }
    }
}

impl Default for Histories {
    fn default() -> Self {
        Self::with_room(HISTORY_BYTES_MAX)
    }
}

impl Histories {
    /// Histories that take no more bytes than this.
    #[must_use]
    pub const fn with_room(bytes_max: usize) -> Self {
        Self {
            groups: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// The history of a group, if anything is known of it.
    #[must_use]
    pub fn of(&self, group: &str) -> Option<&History> {
        self.groups.get(group)
    }

    /// Bytes of all of them.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Something happened.
    pub fn add(&mut self, now: Instant, at: WallTime, note: Note) {
        let Note { group, what } = note;
        let known = self.groups.get_mut(&group);
        let (before, history) = match known {
            Some(history) => {
                self.order.remove(&history.touched);
                (history.bytes, history)
            }
            None => {
                self.bytes += bytes_of_group(&group);
                let history = self.groups.entry(group.clone()).or_default();
                (0, history)
            }
        };
        let took = history.took(now, &what);
        history.add(Event { at, what, took });
        history.touched = self.next;
        self.bytes = self.bytes - before + history.bytes;
        self.order.insert(self.next, group);
        self.next += 1;
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.drop_group(&oldest);
        }
    }

    /// A commit was refused. Of groups without a history nothing is remembered: a client may name
    /// any.
    pub fn refuse_commit(&mut self, at: WallTime, group: &str, why: CommitError) {
        let Some(history) = self.groups.get_mut(group) else {
            return;
        };
        let refused = &mut history.refused;
        refused.last = Some(at);
        *match why {
            CommitError::UnknownMember => &mut refused.unknown_member,
            CommitError::FencedInstance => &mut refused.fenced_instance,
            CommitError::IllegalGeneration => &mut refused.illegal_generation,
            CommitError::RebalanceInProgress => &mut refused.rebalance_in_progress,
            _ => &mut refused.others,
        } += 1;
    }

    fn drop_group(&mut self, group: &GroupId) {
        if let Some(history) = self.groups.remove(group) {
            self.bytes -= history.bytes + bytes_of_group(group);
        }
    }
}

/// What a group takes besides its events.
fn bytes_of_group(group: &GroupId) -> usize {
    GROUP_BYTES + group.as_str().len()
}

fn bytes_of(event: &Event) -> usize {
    let said = |reason: &Option<String>| reason.as_ref().map_or(0, String::len);
    EVENT_BYTES
        + match &event.what {
            Happened::Joined {
                member,
                client,
                reason,
            } => member.as_str().len() + client.id.len() + client.host.len() + 48 + said(reason),
            Happened::Replaced { old, new } => old.as_str().len() + new.as_str().len(),
            Happened::Left { member, reason } | Happened::Asked { member, reason } => {
                member.as_str().len() + said(reason)
            }
            Happened::Silent { member } | Happened::Late { member } => member.as_str().len(),
            Happened::RoundKept { leader, moved, .. } => {
                let leader = leader.as_ref().map_or(0, |leader| leader.as_str().len());
                leader + moved.as_ref().map_or(0, |moved| moved.bytes())
            }
            Happened::RoundBegan { .. }
            | Happened::Emptied { .. }
            | Happened::Divided { .. }
            | Happened::Deleted => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::super::names::{GenerationId, MemberId};
    use super::*;

    fn silent(group: &str, member: &str) -> Note {
        Note {
            group: GroupId::new(group),
            what: Happened::Silent {
                member: MemberId::new(member),
            },
        }
    }

    fn note(group: &str, what: Happened) -> Note {
        let group = GroupId::new(group);
        Note { group, what }
    }

    #[test]
    fn the_newest_events_are_kept_and_the_rest_is_counted() {
        let mut histories = Histories::default();
        for number in 0..HISTORY_EVENTS_MAX as i64 + 10 {
            histories.add(Instant(0), WallTime(number), silent("g", "m"));
        }
        let history = histories.of("g").expect("known");
        assert_eq!(history.events().len(), HISTORY_EVENTS_MAX);
        assert_eq!(history.forgotten(), 10);
        assert_eq!(
            history.events().next().map(|event| event.at),
            Some(WallTime(10))
        );
    }

    #[test]
    fn no_names_make_a_history_larger_than_its_room() {
        let mut histories = Histories::with_room(200_000);
        let member = "m".repeat(30_000);
        for number in 0..100 {
            histories.add(Instant(0), WallTime(0), silent("large", &member));
            histories.add(Instant(0), WallTime(0), silent(&format!("g{number}"), "m"));
            assert!(histories.bytes() <= 200_000, "{}", histories.bytes());
            let large = histories
                .of("large")
                .expect("it is touched again and again");
            assert!(large.bytes <= HISTORY_GROUP_BYTES_MAX, "{}", large.bytes);
        }
        for number in 0..10_000 {
            histories.add(Instant(0), WallTime(0), silent(&format!("h{number}"), "m"));
        }
        assert!(histories.of("large").is_none(), "the oldest goes first");
        assert!(histories.of("h9999").is_some());
        assert!(histories.bytes() <= 200_000);
        let held: usize = histories
            .groups
            .iter()
            .map(|(id, one)| bytes_of_group(id) + one.bytes)
            .sum();
        assert_eq!(histories.bytes(), held, "what is held is counted");
        assert_eq!(histories.order.len(), histories.groups.len());
    }

    #[test]
    fn a_round_is_as_long_as_from_its_first_beginning_to_its_end() {
        let mut histories = Histories::default();
        let second = 1_000_000_000;
        let began = Happened::RoundBegan {
            after: GenerationId(3),
        };
        histories.add(Instant(second), WallTime(0), note("g", began.clone()));
        histories.add(Instant(2 * second), WallTime(0), note("g", began));
        let generation = GenerationId(5);
        histories.add(
            Instant(4 * second),
            WallTime(0),
            note("g", Happened::Emptied { generation }),
        );
        histories.add(
            Instant(9 * second),
            WallTime(0),
            note("g", Happened::Emptied { generation }),
        );
        let took: Vec<_> = histories
            .of("g")
            .expect("known")
            .events()
            .map(|one| one.took)
            .collect();
        assert_eq!(took, [None, None, Some(Duration::from_secs(3)), None]);
    }

    #[test]
    fn refused_commits_are_counted_where_there_is_a_history_and_nowhere_else() {
        let mut histories = Histories::default();
        histories.refuse_commit(WallTime(1), "any", CommitError::UnknownMember);
        assert!(histories.of("any").is_none());
        histories.add(Instant(0), WallTime(0), silent("g", "m"));
        histories.refuse_commit(WallTime(1), "g", CommitError::UnknownMember);
        histories.refuse_commit(WallTime(2), "g", CommitError::IllegalGeneration);
        let refused = *histories.of("g").expect("known").refused();
        assert_eq!((refused.unknown_member, refused.illegal_generation), (1, 1));
        assert_eq!((refused.total(), refused.last), (2, Some(WallTime(2))));
    }
}
