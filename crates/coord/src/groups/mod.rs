//! The coordinator of consumer groups: the decider of one partition of `__consumer_offsets`. Each
//! file beside this one decides one subject.

mod admin;
#[cfg(test)]
mod answers;
mod api;
mod config;
mod consumer;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod exhaustive;
mod forget;
mod group;
mod history;
#[cfg(test)]
mod hostile;
mod join;
mod loaded;
mod look;
mod members;
mod moves;
mod names;
mod notes;
mod offsets;
mod rebalance;
mod replay;
mod round;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod simulation;
mod stats;
mod subscription;
mod sweep;
mod sync;
#[cfg(test)]
mod testing;
mod timers;
mod turn;

use std::collections::{BTreeMap, BTreeSet};

use klamm_model::{Instant, TopicId, TopicName, WallTime};

pub use api::{
    Command, CommitError, CommitOffsets, CommitPartition, CommitPartitionError, CommitTopic,
    CommittedTopic, DeleteGroupError, DeleteOffsetError, DeleteOffsets, DeleteOffsetsError,
    DeletedTopic, DescribedGroup, DescribedMember, FetchOffsets, FetchOffsetsError, FetchTopic,
    FetchedOffsets, FetchedTopic, GroupState, GroupType, Heartbeat, HeartbeatError, Join,
    JoinError, JoinRefused, Joined, JoinedMember, KeptOffset, Leave, LeaveError, LeaveMemberError,
    Leaving, Left, List, ListedGroup, ListedGroups, Protocol, Reply, Sync, SyncError, Synced,
    TopicReference,
};
pub use config::GroupConfig;
pub use consumer::api::{
    ConsumerHeartbeat, ConsumerHeartbeatDone, ConsumerHeartbeatError, ConsumerHeartbeatRefused,
    DescribeConsumersError, DescribedConsumer, DescribedConsumerGroup, HeartbeatPatience,
    MemberEpoch, TopicPartitions,
};
pub use consumer::config::{Assignor, ConsumerConfig, GroupSettings, MigrationPolicy};
pub use consumer::view::{SeenTopic, TopicsView};
pub use history::{Event, Histories, History, RefusedCommits};
pub use look::{GroupHead, LookFrom, MembersRoom, SeenGroup, SeenMember, SeenMembers, SeenOffset};
pub use moves::{MemberMoves, Moves, NamedPartitions};
pub use names::{GenerationId, GroupId, GroupInstanceId, MemberId};
pub use notes::{Client, Happened, Note};
pub use replay::ReplayError;
pub use stats::{Counters, Stats};
pub use turn::TimerKey;

use crate::kit::{Decision, Moment, Ticket};
use crate::limits::{COORDINATOR_BYTES_MAX, GROUPS_MAX, OFFSETS_MAX, SWEEP_RECORDS_MAX};
use forget::Forgetting;
use group::{Group, Kept};
use notes::Notes;
use offsets::RoomForOffsets;
use round::Round;
use timers::{arm, put_back};
use turn::Turn;

/// The coordinator of all groups of one partition of `__consumer_offsets`.
#[derive(Clone, Debug)]
pub struct Coordinator {
    config: GroupConfig,
    groups: BTreeMap<GroupId, Group>,
    /// Offsets of all groups.
    offsets: usize,
    /// What they take, what is kept of groups, and what members said.
    bytes: usize,
    /// Most of these; [`COORDINATOR_BYTES_MAX`] unless the host says less.
    bytes_max: usize,
    /// Most of the offsets; [`OFFSETS_MAX`] but in tests.
    offsets_max: usize,
    /// Members of groups of the consumer protocol.
    consumer_members: usize,
    /// The same of all coordinators that share this one's core, as the host told last.
    members_served: usize,
    counters: Counters,
    notes: Notes,
    /// Where a sweep goes on that has not come to its end.
    swept: Option<GroupId>,
    /// When there was a sweep, or the start, and what time it was by the wall then.
    believed: Option<(Instant, WallTime)>,
    /// Since when the wall clock is ahead of what is believed.
    doubted: Option<Instant>,
    forgetting: Forgetting,
    surroundings: consumer::Surroundings,
    searches: consumer::regexes::Searches,
    /// Most tombstones of one decision; [`SWEEP_RECORDS_MAX`] but in tests.
    tombstones_max: usize,
    /// Topics of offsets that were replayed, with their ids, until the host has taken them.
    topics_read: Option<BTreeMap<TopicName, BTreeSet<TopicId>>>,
}

impl Coordinator {
    /// One that knows no group yet: the log is to be replayed first.
    #[must_use]
    pub const fn new(config: GroupConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            offsets: 0,
            bytes: 0,
            bytes_max: COORDINATOR_BYTES_MAX,
            offsets_max: OFFSETS_MAX,
            consumer_members: 0,
            members_served: 0,
            counters: Counters {
                rebalances_begun: 0,
                rebalances_completed: 0,
                members_expired: 0,
                offsets_committed: 0,
                offsets_deleted: 0,
                offsets_expired: 0,
                records_skipped: 0,
            },
            notes: Notes::none(),
            swept: None,
            believed: None,
            doubted: None,
            forgetting: Forgetting::none(),
            surroundings: consumer::Surroundings::unknown(),
            searches: consumer::regexes::Searches::none(),
            tombstones_max: SWEEP_RECORDS_MAX,
            topics_read: Some(BTreeMap::new()),
        }
    }

    /// Bytes that are held, as [`Stats::bytes`] counts them; no walk.
    #[must_use]
    pub const fn bytes_held(&self) -> usize {
        self.bytes
    }

    /// How many bytes it may hold from now on, [`COORDINATOR_BYTES_MAX`] unless it is told. Where it
    /// holds more already, nothing is let go, but nothing is added.
    pub const fn set_bytes_max(&mut self, bytes: usize) {
        self.bytes_max = bytes;
    }

    /// How many members groups of the consumer protocol have; no walk.
    #[must_use]
    pub const fn consumer_members(&self) -> usize {
        self.consumer_members
    }

    /// How many members of groups of the consumer protocol its core serves, its own included: the
    /// more there are, the less often each is asked to come ([`HEARTBEATS_SETTLED_MAX`](crate::limits::HEARTBEATS_SETTLED_MAX)).
    pub const fn set_members_served(&mut self, members: usize) {
        self.members_served = members;
    }

    /// What the configuration says from now on. Waits that have begun end as they were begun.
    pub fn set_config(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// Decides a command. The ticket is answered now or by a later decision, once.
    pub fn decide(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        command: Command,
    ) -> Decision<Reply, TimerKey> {
        match command {
            Command::Join(join) => self.join(moment, ticket, join),
            Command::Sync(sync) => {
                if sync.group.as_str().is_empty() {
                    return refused(ticket, Reply::Sync(Err(SyncError::InvalidGroupId)));
                }
                if self.is_consumer(&sync.group) {
                    return self.sync_consumers(moment, ticket, &sync);
                }
                let unknown = Reply::Sync(Err(SyncError::UnknownMember));
                let group = sync.group.clone();
                self.in_round(moment, &group, ticket, unknown, |turn, round, kept| {
                    turn.sync(round, kept, ticket, &sync);
                })
            }
            Command::Heartbeat(heartbeat) => {
                if heartbeat.group.as_str().is_empty() {
                    return refused(
                        ticket,
                        Reply::Heartbeat(Err(HeartbeatError::InvalidGroupId)),
                    );
                }
                if self.is_consumer(&heartbeat.group) {
                    return self.heartbeat_consumers(moment, ticket, &heartbeat);
                }
                let unknown = Reply::Heartbeat(Err(HeartbeatError::UnknownMember));
                let group = heartbeat.group.clone();
                self.in_round(moment, &group, ticket, unknown, |turn, round, _| {
                    turn.heartbeat(round, ticket, &heartbeat);
                })
            }
            Command::Leave(leave) => self.leave(moment, ticket, leave),
            Command::CommitOffsets(commit) => self.commit(moment, ticket, commit),
            Command::FetchOffsets(fetch) => self.alone(moment, |turn, groups| {
                turn.fetch(groups.get(&fetch.group), ticket, fetch);
            }),
            Command::DeleteOffsets(delete) => self.alone(moment, |turn, groups| {
                turn.delete_offsets(groups.get(&delete.group), ticket, delete);
            }),
            Command::List(list) => self.alone(moment, |turn, groups| {
                let reply = Reply::List(admin::list(groups, &list));
                turn.decision.held();
                turn.answer(ticket, reply);
            }),
            Command::Describe {
                groups: asked,
                bytes_max,
            } => self.alone(moment, |turn, groups| {
                let described = asked.iter().map(|id| {
                    let group = groups.get(id);
                    let fits = group.is_none_or(|group| admin::bytes_of(group) <= bytes_max);
                    fits.then(|| admin::described(id, group))
                });
                let reply = Reply::Describe(described.collect());
                turn.decision.held();
                turn.answer(ticket, reply);
            }),
            Command::ConsumerHeartbeat(heartbeat) => {
                self.consumer_heartbeat(moment, ticket, &heartbeat)
            }
            Command::DescribeConsumers { groups: asked } => {
                self.describe_consumers(moment, ticket, asked)
            }
            Command::Delete { groups } => self.delete(moment, ticket, groups),
        }
    }

    /// A timer has fired.
    pub fn on_timer(&mut self, moment: Moment, key: TimerKey) -> Decision<Reply, TimerKey> {
        let group = match key {
            TimerKey::Group(group) if self.is_consumer(&group) => {
                return self.on_consumer_due(moment, &group);
            }
            TimerKey::Group(group) => group,
            TimerKey::Sweep => return self.sweep(moment),
            TimerKey::Forget => return self.forget(moment),
            TimerKey::Regexes => return self.on_searches_due(moment),
        };
        let (mut turn, groups) = self.turn(moment);
        let mut change = Change::default();
        if let Some(found) = groups.get_mut(&group)
            && let Some(mut round) = found.round.take()
        {
            change.before = round.bytes;
            round.armed = None;
            turn.on_due(&group, &mut round);
            round.wanted = round.next_due();
            change.after = round.bytes;
            put_back(&mut turn, &group, found, round);
        }
        let decision = turn.finish();
        self.settle(change, group.as_str());
        decision
    }

    /// What it holds and did.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            offsets: self.offsets,
            bytes: self.bytes,
            counters: self.counters,
            ..Stats::default()
        };
        for group in self.groups.values() {
            match group.state() {
                GroupState::Empty | GroupState::Dead => stats.empty += 1,
                GroupState::PreparingRebalance => stats.preparing_rebalance += 1,
                GroupState::CompletingRebalance => stats.completing_rebalance += 1,
                GroupState::Assigning => stats.assigning += 1,
                GroupState::Reconciling => stats.reconciling += 1,
                GroupState::Stable => stats.stable += 1,
            }
            stats.consumer_groups += usize::from(group.consumer.is_some());
            let consumers = group.consumer.as_ref();
            stats.members += consumers.map_or(0, |consumer| consumer.members.len());
            stats.members += group.round.as_ref().map_or(0, |round| round.members.len());
        }
        stats
    }

    /// What has happened to groups since this was last asked, for the operator's log.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    fn join(&mut self, moment: Moment, ticket: Ticket, join: Join) -> Decision<Reply, TimerKey> {
        if let Err(error) = join::check(&join, &self.config) {
            let member = join.member;
            return refused(ticket, Reply::Join(Err(JoinRefused { member, error })));
        }
        let group = join.group.clone();
        let consumer = self
            .groups
            .get(&group)
            .and_then(|group| group.consumer.as_deref());
        if let Some(consumer) = consumer {
            if !consumer.is_empty() {
                return self.join_consumers(moment, ticket, &join);
            }
            if join.member.is_none() {
                return self.join_instead(moment, ticket, join);
            }
        }
        let is_new = join.member.is_none() && !self.groups.contains_key(&group);
        if join.member.is_none() {
            let full = self.bytes >= self.bytes_max || self.groups.len() >= GROUPS_MAX;
            if is_new && full {
                let error = JoinError::GroupFull;
                let member = None;
                return refused(ticket, Reply::Join(Err(JoinRefused { member, error })));
            }
            self.group_or_new(group.as_str());
        }
        let unknown = Reply::Join(Err(JoinRefused {
            member: join.member.clone(),
            error: JoinError::UnknownMember,
        }));
        self.in_round(moment, &group, ticket, unknown, |turn, round, kept| {
            // The log knows a group from its first join on, as Kafka's does.
            let beginning = is_new.then(|| turn.record_of(&join.group, round, |_| &[]));
            turn.join(round, kept, ticket, join);
            if !round.is_void() {
                turn.decision.records.extend(beginning);
            }
        })
    }

    fn leave(&mut self, moment: Moment, ticket: Ticket, leave: Leave) -> Decision<Reply, TimerKey> {
        let error = match leave.group.as_str() {
            "" => LeaveError::InvalidGroupId,
            _ => LeaveError::UnknownMember,
        };
        let refusal = Reply::Leave(Err(error));
        if error == LeaveError::InvalidGroupId {
            return refused(ticket, refusal);
        }
        if self.is_consumer(&leave.group) {
            return self.leave_consumers(moment, ticket, leave);
        }
        let group = leave.group.clone();
        self.in_round(moment, &group, ticket, refusal, |turn, round, _| {
            turn.leave(round, ticket, leave);
        })
    }

    fn commit(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        commit: CommitOffsets,
    ) -> Decision<Reply, TimerKey> {
        let room = RoomForOffsets(self.offsets_max.saturating_sub(self.offsets));
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&commit.group) {
            return refused(ticket, Reply::CommitOffsets(Err(CommitError::TooLarge)));
        }
        let id = commit.group.clone();
        self.alone(moment, |turn, groups| {
            turn.commit(groups.get_mut(&id), &room, ticket, commit);
            if let Some(round) = groups.get_mut(&id).and_then(|group| group.round.as_mut()) {
                arm(turn, &id, round);
            }
        })
    }

    /// One input, and the groups that it may concern.
    const fn turn(&mut self, moment: Moment) -> (Turn<'_>, &mut BTreeMap<GroupId, Group>) {
        let turn = Turn {
            moment,
            config: &self.config,
            counters: &mut self.counters,
            notes: &mut self.notes,
            forgetting: &mut self.forgetting,
            room: self.bytes_max.saturating_sub(self.bytes),
            room_for_kept: (self.bytes_max + self.bytes_max / 4).saturating_sub(self.bytes),
            decision: Decision::nothing(),
        };
        (turn, &mut self.groups)
    }

    /// Decides something that concerns no round.
    fn alone(
        &mut self,
        moment: Moment,
        decide: impl FnOnce(&mut Turn<'_>, &mut BTreeMap<GroupId, Group>),
    ) -> Decision<Reply, TimerKey> {
        let (mut turn, groups) = self.turn(moment);
        decide(&mut turn, groups);
        turn.finish()
    }

    /// Decides something in the round of a group; `unknown` answers where there is no such group.
    fn in_round(
        &mut self,
        moment: Moment,
        id: &GroupId,
        ticket: Ticket,
        unknown: Reply,
        decide: impl FnOnce(&mut Turn<'_>, &mut Round, Option<&Kept>),
    ) -> Decision<Reply, TimerKey> {
        if self.is_consumer(id) {
            return refused(ticket, unknown);
        }
        self.in_any_round(moment, id, ticket, unknown, decide)
    }

    /// The same, also where the group was one of the consumer protocol so far.
    fn in_any_round(
        &mut self,
        moment: Moment,
        id: &GroupId,
        ticket: Ticket,
        unknown: Reply,
        decide: impl FnOnce(&mut Turn<'_>, &mut Round, Option<&Kept>),
    ) -> Decision<Reply, TimerKey> {
        let (mut turn, groups) = self.turn(moment);
        let Some(group) = groups.get_mut(id) else {
            turn.answer(ticket, unknown);
            return turn.finish();
        };
        let mut round = group.take_round();
        let before = round.bytes;
        decide(&mut turn, &mut round, group.kept.as_ref());
        let after = round.bytes;
        put_back(&mut turn, id, group, round);
        let decision = turn.finish();
        self.settle(Change { before, after }, id.as_str());
        decision
    }

    /// Takes account of what a round holds now, and forgets a group of which nothing is left.
    fn settle(&mut self, change: Change, id: &str) {
        self.bytes = self.bytes - change.before + change.after;
        self.drop_if_void(id);
    }
}

/// Bytes of one round, before and after an input.
#[derive(Clone, Copy, Default)]
struct Change {
    before: usize,
    after: usize,
}

/// An answer that needs no group.
fn refused(ticket: Ticket, reply: Reply) -> Decision<Reply, TimerKey> {
    let mut decision = Decision::nothing();
    decision.answer(ticket, reply);
    decision
}
