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
mod look;
mod members;
mod moves;
mod names;
mod notes;
mod offsets;
mod rebalance;
mod round;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod simulation;
mod stats;
mod subscription;
mod sync;
#[cfg(test)]
mod testing;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{Instant, PartitionIndex, TopicId, TopicName, WallTime};

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
    DescribeConsumersError, DescribedConsumer, DescribedConsumerGroup, MemberEpoch,
    TopicPartitions,
};
pub use consumer::config::{Assignor, ConsumerConfig, GroupSettings, MigrationPolicy};
pub use consumer::view::{SeenTopic, TopicsView};
pub use history::{Event, Histories, History, RefusedCommits};
pub use look::{GroupHead, LookFrom, MembersRoom, SeenGroup, SeenMember, SeenMembers, SeenOffset};
pub use moves::{MemberMoves, Moves, NamedPartitions};
pub use names::{GenerationId, GroupId, GroupInstanceId, MemberId};
pub use notes::{Client, Happened, Note};
pub use stats::{Counters, Stats};
pub use turn::TimerKey;

use crate::kit::{Decision, Moment, Ticket, Timer};
use crate::limits::{
    COORDINATOR_BYTES_MAX, GROUPS_MAX, OFFSETS_MAX, SWEEP_LOOKS_MAX, SWEEP_PAUSE,
    SWEEP_RECORDS_MAX, WALL_CLOCK_DOUBT,
};
use crate::record::{Key, OffsetValue, Part, RecordError};
use consumer::group::ConsumerGroup;
use forget::Forgetting;
use group::{Committed, Group, Kept, bytes_of_topic};
use notes::Notes;
use offsets::RoomForOffsets;
use round::{Profile, Round};
use turn::Turn;

/// Why a record cannot be replayed. Kinds of records that are not served are no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// The key cannot be read.
    Key(RecordError),
    /// The value cannot be read.
    Value(RecordError),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(formatter, "key of a {error}"),
            Self::Value(error) => write!(formatter, "value of a {error}"),
        }
    }
}

impl std::error::Error for ReplayError {}

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

    /// The topics of offsets in the log that was replayed, each with every id that was kept with
    /// it: once, when all is loaded. Those that are gone are to be told to
    /// [`on_topics_deleted`](Self::on_topics_deleted).
    #[must_use]
    pub fn take_topics_read(&mut self) -> Vec<TopicReference> {
        let read = self.topics_read.take().unwrap_or_default().into_iter();
        let named = read.flat_map(|(name, ids)| {
            let name = move |id| TopicReference {
                name: name.clone(),
                id,
            };
            ids.into_iter().map(name)
        });
        named.collect()
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

    /// What the configuration says from now on. Waits that have begun end as they were begun.
    pub fn set_config(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// Replays one record: of the log that is read at the start, or of a decision that was appended.
    /// Hard state changes here and nowhere else.
    ///
    /// # Errors
    /// If the record cannot be read, which no decision of this program causes. Nothing has changed
    /// then.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        match Key::decode(key).map_err(ReplayError::Key)? {
            Key::Offset {
                group,
                topic,
                partition,
            } => {
                let topic =
                    TopicName::new(topic).map_err(|_| ReplayError::Key(RecordError::BadText))?;
                self.replay_offset(group, &topic, PartitionIndex(partition), value)
            }
            Key::Group { group } => self.replay_group(group, value),
            Key::Consumer { group, part } => self.replay_consumer(group, part, value),
            Key::Share | Key::Streams | Key::Unknown => {
                self.counters.records_skipped += 1;
                Ok(())
            }
        }
    }

    fn replay_offset(
        &mut self,
        id: &str,
        topic: &TopicName,
        partition: PartitionIndex,
        value: Option<&[u8]>,
    ) -> Result<(), ReplayError> {
        if let Some(value) = value {
            let value = OffsetValue::decode(value).map_err(ReplayError::Value)?;
            self.note_read(topic, value.topic_id);
            let committed = Committed {
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: value.metadata.into(),
                committed: value.committed,
                expires: value.expires,
                topic_id: value.topic_id,
            };
            let mut held = committed.bytes();
            let group = self.group_or_new(id);
            let partitions = match group.offsets.get_mut(topic) {
                Some(partitions) => partitions,
                None => {
                    held += bytes_of_topic(topic);
                    group.offsets.entry(topic.clone()).or_default()
                }
            };
            let earlier = partitions.insert(partition, committed);
            self.offsets += usize::from(earlier.is_none());
            self.bytes += held;
            self.bytes -= earlier.as_ref().map_or(0, Committed::bytes);
            return Ok(());
        }
        let Some(group) = self.groups.get_mut(id) else {
            return Ok(());
        };
        if let Some(partitions) = group.offsets.get_mut(topic) {
            if let Some(gone) = partitions.remove(&partition) {
                self.offsets -= 1;
                self.bytes -= gone.bytes();
            }
            if partitions.is_empty() {
                group.offsets.remove(topic);
                self.bytes -= bytes_of_topic(topic);
            }
        }
        self.drop_if_void(id);
        Ok(())
    }

    fn note_read(&mut self, topic: &TopicName, id: TopicId) {
        if let Some(read) = &mut self.topics_read {
            match read.get_mut(topic) {
                Some(ids) => {
                    ids.insert(id);
                }
                None => {
                    read.insert(topic.clone(), BTreeSet::from([id]));
                }
            }
        }
    }

    fn replay_group(&mut self, id: &str, value: Option<&[u8]>) -> Result<(), ReplayError> {
        if let Some(value) = value {
            let kept = Kept::decode(value).map_err(ReplayError::Value)?;
            self.bytes += kept.value().len();
            let earlier = self.group_or_new(id).kept.replace(kept);
            self.bytes -= earlier.map_or(0, |kept| kept.value().len());
        } else if let Some(group) = self.groups.get_mut(id) {
            let gone = group.kept.take();
            self.bytes -= gone.map_or(0, |kept| kept.value().len());
            self.drop_if_void(id);
        }
        Ok(())
    }

    fn replay_consumer(
        &mut self,
        id: &str,
        part: Part<'_>,
        value: Option<&[u8]>,
    ) -> Result<(), ReplayError> {
        let there = self
            .groups
            .get(id)
            .is_some_and(|group| group.consumer.is_some());
        if value.is_none() && !there {
            return Ok(());
        }
        // Read before anything is made for it.
        let mut fresh = Box::<ConsumerGroup>::default();
        let group = self.groups.get_mut(id);
        let consumer = group.and_then(|group| group.consumer.as_mut());
        let is_new = consumer.is_none();
        let consumer = consumer.unwrap_or(&mut fresh);
        let before = consumer.bytes;
        consumer.replay(part, value).map_err(ReplayError::Value)?;
        let after = consumer.bytes;
        let is_void = consumer.is_void();
        self.bytes = self.bytes + after - before;
        if is_new && !is_void {
            self.group_or_new(id).consumer = Some(fresh);
        } else if is_void {
            if let Some(group) = self.groups.get_mut(id) {
                group.consumer = None;
            }
            self.drop_if_void(id);
        }
        Ok(())
    }

    fn group_or_new(&mut self, id: &str) -> &mut Group {
        if !self.groups.contains_key(id) {
            self.bytes += Group::bytes(id);
            self.groups.insert(GroupId::new(id), Group::default());
        }
        self.groups.get_mut(id).expect("it is there or was made")
    }

    fn drop_if_void(&mut self, id: &str) {
        if self.groups.get(id).is_some_and(Group::is_void) {
            self.groups.remove(id);
            self.bytes -= Group::bytes(id);
        }
    }

    /// Everything in the log has been replayed: members have a session's time to be heard of, and
    /// commands may come.
    pub fn on_loaded(&mut self, moment: Moment) -> Decision<Reply, TimerKey> {
        self.believed = Some((moment.now, moment.wall));
        let mut bytes = self.bytes;
        let sessions = self.sessions();
        let (mut turn, groups) = self.turn(moment);
        for (id, group) in groups {
            if group.consumer.is_some() {
                let session = sessions(id);
                consumer::on_revived(&mut turn, id, group, session);
                continue;
            }
            let Some(kept) = group.kept.as_ref().filter(|kept| kept.len() > 0) else {
                continue;
            };
            let mut round = Box::new(revive(kept, moment));
            turn.on_revived(id, &mut round);
            arm(&mut turn, id, &mut round);
            bytes += round.bytes;
            group.round = Some(round);
        }
        turn.set_timer(TimerKey::Sweep, turn.config.offsets_check_interval);
        let mut decision = turn.finish();
        self.bytes = bytes;
        self.search_all();
        self.arm_searches(moment, &mut decision);
        decision
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

    fn forget(&mut self, moment: Moment) -> Decision<Reply, TimerKey> {
        let records_max = self.tombstones_max;
        self.alone(moment, |turn, groups| turn.forget(groups, records_max))
    }

    /// A hash of the hard state: two coordinators that replayed the same records agree in it,
    /// however those were compacted.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        for (id, group) in &self.groups {
            let consumer = group.consumer.as_ref();
            let consumer = consumer.filter(|consumer| !consumer.is_unkept());
            if group.kept.is_none() && group.offsets.is_empty() && consumer.is_none() {
                continue;
            }
            if let Some(consumer) = consumer {
                consumer.hash(|part| hash.part(part));
            }
            hash.part(id.as_str().as_bytes());
            hash.part(group.kept.as_ref().map_or(&[], Kept::value));
            for (topic, partitions) in &group.offsets {
                hash.part(topic.as_str().as_bytes());
                for (partition, committed) in partitions {
                    hash.part(&partition.0.to_be_bytes());
                    hash.part(&committed.offset.0.to_be_bytes());
                    let epoch = committed.leader_epoch.map_or(-1, |epoch| epoch.0);
                    hash.part(&epoch.to_be_bytes());
                    hash.part(committed.metadata.as_bytes());
                    hash.part(&committed.committed.0.to_be_bytes());
                    let expires = committed.expires.map_or(-1, |at| at.0);
                    hash.part(&expires.to_be_bytes());
                    hash.part(&committed.topic_id.0);
                }
            }
        }
        hash.0
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
        if join.member.is_none() {
            let new = !self.groups.contains_key(&group);
            let full = self.bytes >= self.bytes_max || self.groups.len() >= GROUPS_MAX;
            if new && full {
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
            turn.join(round, kept, ticket, join);
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

    fn delete(
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

    /// Lets go of offsets that nobody used for too long, and of groups that have nothing left: as
    /// much as one decision may, and the rest soon after it.
    fn sweep(&mut self, moment: Moment) -> Decision<Reply, TimerKey> {
        let interval = self.config.offsets_check_interval;
        let wall = self.believe(moment);
        let moment = Moment { wall, ..moment };
        let from = self.swept.take();
        let records_max = self.tombstones_max;
        let mut reached = None;
        let decision = self.alone(moment, |turn, groups| {
            let begin = from.map_or(Bound::Unbounded, Bound::Included);
            let mut looks = 0;
            for (id, group) in groups.range((begin, Bound::Unbounded)) {
                if looks >= SWEEP_LOOKS_MAX {
                    reached = Some(id.clone());
                    break;
                }
                looks += 1 + group.offset_count();
                let none_left = turn.expire(id, group, records_max);
                if turn.decision.records.len() >= records_max {
                    // Perhaps in the middle of this one.
                    reached = Some(id.clone());
                    break;
                }
                // A round is there as long as ids are given out, too.
                if none_left && group.kept.is_some() && group.round.is_none() {
                    turn.bury_group(id);
                }
                if let Some(consumer) = &group.consumer
                    && none_left
                    && consumer.is_empty()
                {
                    turn.bury_consumer_group(id, consumer);
                }
            }
            let wait = if reached.is_some() {
                SWEEP_PAUSE
            } else {
                interval
            };
            turn.set_timer(TimerKey::Sweep, wait);
        });
        self.swept = reached;
        decision
    }

    /// The time by the wall, but for a clock that jumps ahead: since the last sweep no more is
    /// believed to have passed than twice what has, until the clock has said the same for a day. So
    /// a wrong one can be set right before everything has expired.
    fn believe(&mut self, moment: Moment) -> WallTime {
        let likely = self.believed.map_or(moment.wall, |(at, wall)| {
            let passed = moment.now.since(at).as_millis().saturating_mul(2);
            let passed = i64::try_from(passed).unwrap_or(i64::MAX);
            WallTime(wall.0.saturating_add(passed))
        });
        let since = *self.doubted.get_or_insert(moment.now);
        let mut wall = moment.wall;
        if wall <= likely || moment.now.since(since) >= WALL_CLOCK_DOUBT {
            self.doubted = None;
        } else {
            wall = likely;
        }
        self.believed = Some((moment.now, wall));
        wall
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

/// What the round of a group holds.
fn round_bytes(group: &Group) -> usize {
    group.round.as_ref().map_or(0, |round| round.bytes)
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

/// Leaves the round with its group, unless nothing is left of it, and sets its timer.
fn put_back(turn: &mut Turn<'_>, id: &GroupId, group: &mut Group, mut round: Box<Round>) {
    if !round.is_void() {
        arm(turn, id, &mut round);
        group.round = Some(round);
    } else if round.armed.is_some() {
        disarm(turn, id);
    }
}

/// Takes back the timer of a group that has no round any longer.
fn disarm(turn: &mut Turn<'_>, id: &GroupId) {
    let key = TimerKey::Group(id.clone());
    turn.decision.timers.push(Timer { key, at: None });
}

/// Sets the timer of a group, if something is due before it fires. One that would fire too early is
/// left as it is: a sign of life costs no timer.
fn arm(turn: &mut Turn<'_>, id: &GroupId, round: &mut Round) {
    arm_at(turn, id, &mut round.wanted, &mut round.armed);
}

fn arm_at(
    turn: &mut Turn<'_>,
    id: &GroupId,
    wanted: &mut Option<Instant>,
    armed: &mut Option<Instant>,
) {
    let Some(wanted) = wanted.take() else {
        return;
    };
    if armed.is_none_or(|armed| wanted < armed) {
        *armed = Some(wanted);
        let key = TimerKey::Group(id.clone());
        let at = Some(wanted);
        turn.decision.timers.push(Timer { key, at });
    }
}

/// The round of a group as the log keeps it.
fn revive(kept: &Kept, moment: Moment) -> Round {
    let mut round = Round::empty(kept.generation, kept.protocol_type.clone());
    let head = kept.head();
    round.state = GroupState::Stable;
    round.protocol = head.protocol.map(Into::into);
    for member in kept.members() {
        let session_timeout = millis(member.session_timeout_ms);
        let protocol = Protocol {
            name: head.protocol.unwrap_or("").to_owned(),
            metadata: Bytes::copy_from_slice(member.subscription),
        };
        let profile = Profile {
            instance: member.instance.map(GroupInstanceId::new),
            client_id: member.client_id.into(),
            client_host: member.client_host.into(),
            session_timeout,
            rebalance_timeout: millis(member.rebalance_timeout_ms),
            protocols: vec![protocol],
        };
        let deadline = moment.now.plus(session_timeout);
        round.add(MemberId::new(member.member), profile, None, deadline);
    }
    round.leader = head.leader.map(MemberId::new);
    round
}

fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Fowler, Noll and Vo's hash, 1a; parts do not run into each other.
struct Fnv(u64);

impl Fnv {
    fn part(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_be_bytes();
        for byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
