//! A host for tests: a log in memory that is committed and cut off as the test says, timers,
//! replies that are held, and what must be true after every input.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{Instant, WallTime};

use super::consumer::testing::TestTopics;
use super::group::{Committed, bytes_of_topic};
use super::*;
use crate::kit::{Hold, Record};
use crate::limits::SWEEP_PAUSE;
use crate::record::{EpochValue, GroupValue, Key, Part};

/// The wall clock when a test begins, in milliseconds.
const WALL: i64 = 1_000_000;

/// What a record takes in a batch, at most.
fn size_of(record: &Record) -> usize {
    32 + record.key.len() + record.value.as_ref().map_or(0, Bytes::len)
}

/// A commit by somebody who is no member.
pub(super) fn committing(
    group: &str,
    topic: TopicReference,
    partitions: Vec<CommitPartition>,
) -> Command {
    Command::CommitOffsets(CommitOffsets {
        group: GroupId::new(group),
        member: None,
        instance: None,
        generation: None,
        understands_epochs: true,
        retention: None,
        topics: vec![CommitTopic { topic, partitions }],
    })
}

#[derive(Clone)]
pub(super) struct Host {
    pub(super) coordinator: Coordinator,
    /// Replays what was appended, and does nothing else (G4).
    shadow: Coordinator,
    pub(super) log: Vec<Record>,
    /// Where a crash may cut the log: a decision may be several batches, of which only the first
    /// ones are kept. One by which members change their protocol is one batch.
    pub(super) cuts: BTreeSet<usize>,
    /// Records that no crash can take back.
    pub(super) committed: usize,
    held: VecDeque<(usize, Ticket, Reply)>,
    timers: BTreeMap<TimerKey, Instant>,
    pub(super) now: Instant,
    inputs: u128,
    /// How much more the wall clock says than has passed, in milliseconds.
    pub(super) wall_ahead: i64,
    /// Calls that were not answered yet.
    pub(super) waiting: BTreeSet<Ticket>,
    next_ticket: u64,
    /// Everything is committed at once.
    pub(super) commits_at_once: bool,
    /// What the coordinator knows of topics.
    pub(super) topics: TestTopics,
    /// How long joining may take (G5).
    pub(super) longest_round: Duration,
}

impl Host {
    pub(super) fn new(config: GroupConfig) -> Self {
        let mut host = Self {
            coordinator: Coordinator::new(config.clone()),
            shadow: Coordinator::new(config),
            log: Vec::new(),
            cuts: BTreeSet::from([0]),
            committed: 0,
            held: VecDeque::new(),
            timers: BTreeMap::new(),
            now: Instant(0),
            inputs: 0,
            wall_ahead: 0,
            waiting: BTreeSet::new(),
            next_ticket: 1,
            commits_at_once: true,
            topics: TestTopics::default(),
            longest_round: Duration::from_secs(1_800),
        };
        let replies = host.input(|coordinator, moment| coordinator.on_loaded(moment));
        assert!(replies.is_empty(), "nobody waits yet");
        host
    }

    pub(super) fn decide(&mut self, command: Command) -> (Ticket, Vec<(Ticket, Reply)>) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket);
        let replies = self.input(|coordinator, moment| coordinator.decide(moment, ticket, command));
        (ticket, replies)
    }

    /// Gives the machine one input, carries its decision out, and returns what callers see of it.
    pub(super) fn input(
        &mut self,
        input: impl FnOnce(&mut Coordinator, Moment) -> Decision<Reply, TimerKey>,
    ) -> Vec<(Ticket, Reply)> {
        self.inputs += 1;
        let wall = WALL + i64::try_from(self.now.0 / 1_000_000).expect("a test is short");
        let moment = Moment {
            now: self.now,
            wall: WallTime(wall + self.wall_ahead),
            seed: self.inputs,
        };
        let expired_before = self.coordinator.counters.offsets_expired;
        let decision = input(&mut self.coordinator, moment);
        assert!(
            decision.hold == Hold::UntilCommitted || decision.records.is_empty(),
            "replies wait for the records of their decision"
        );
        let first = self.log.len();
        if self.changes_protocol(&decision.records) {
            let bytes = decision.records.iter().map(size_of).sum::<usize>();
            let most = self.coordinator.config.batch_bytes_max;
            assert!(bytes <= most, "a group changes its protocol in one batch");
        } else {
            let inside = first..first + decision.records.len();
            self.cuts.extend(inside);
        }
        self.cuts.insert(first + decision.records.len());
        for record in &decision.records {
            assert!(
                size_of(record) <= self.coordinator.config.batch_bytes_max,
                "the log takes every record"
            );
            self.check_generation(record);
            self.check_epoch(record);
            self.check_expiry(record, expired_before);
            let value = record.value.as_deref();
            for machine in [&mut self.coordinator, &mut self.shadow] {
                machine.replay(&record.key, value).expect("of this program");
            }
        }
        self.log.extend(decision.records);
        for timer in decision.timers {
            assert!(
                timer.at.is_none_or(|at| at > self.now),
                "{timer:?} would fire in the turn that sets it, perhaps for ever"
            );
            match timer.at {
                Some(at) => self.timers.insert(timer.key, at),
                None => self.timers.remove(&timer.key),
            };
        }
        assert_eq!(
            self.coordinator.hash(),
            self.shadow.hash(),
            "G4: state is what the log says"
        );
        for (key, at) in &self.timers {
            if let TimerKey::Group(id) = key {
                let group = self.coordinator.groups.get(id);
                let round = group.and_then(|group| group.round.as_ref());
                let consumer = group.and_then(|group| group.consumer.as_ref());
                let armed = consumer.and_then(|consumer| consumer.armed);
                let armed = armed.or_else(|| round.and_then(|round| round.armed));
                assert_eq!(armed, Some(*at), "{id}: a timer is there for a round");
            }
        }
        assert!(
            self.coordinator.forgetting.is_idle() || self.timers.contains_key(&TimerKey::Forget),
            "what is to be forgotten is not forgotten"
        );
        let mut bytes = 0;
        for (id, group) in &self.coordinator.groups {
            self.check(id, group);
            bytes += group.round.as_ref().map_or(0, |round| round.bytes);
            bytes += Group::bytes(id.as_str());
            bytes += group.consumer.as_ref().map_or(0, |group| group.bytes);
            bytes += group.kept.as_ref().map_or(0, |kept| kept.value().len());
            bytes += group.offsets.keys().map(bytes_of_topic).sum::<usize>();
            let offsets = group.offsets.values().flat_map(BTreeMap::values);
            bytes += offsets.map(Committed::bytes).sum::<usize>();
        }
        assert_eq!(
            self.coordinator.stats().bytes,
            bytes,
            "what is held is counted"
        );
        let mut seen = Vec::new();
        for (ticket, reply) in decision.replies {
            assert!(
                self.waiting.contains(&ticket),
                "{ticket:?} is answered once"
            );
            if decision.hold == Hold::Now {
                self.waiting.remove(&ticket);
                seen.push((ticket, reply));
            } else {
                self.held.push_back((self.log.len(), ticket, reply));
            }
        }
        if self.commits_at_once {
            seen.extend(self.commit(self.log.len()));
        } else {
            seen.extend(self.commit(self.committed));
        }
        seen
    }

    /// Whether a group with members becomes one of the other protocol.
    fn changes_protocol(&self, records: &[Record]) -> bool {
        let mut classic = false;
        let mut consumer = false;
        for record in records {
            match Key::decode(&record.key) {
                Ok(Key::Group { group }) => {
                    let kept = self.coordinator.groups.get(group);
                    let kept = kept.and_then(|group| group.kept.as_ref());
                    classic |= record.value.is_some() || kept.is_some_and(|kept| kept.len() > 0);
                }
                Ok(Key::Consumer { .. }) => consumer = true,
                _ => {}
            }
        }
        classic && consumer
    }

    /// Epochs of groups only grow, unless all of the group is gone (G3).
    fn check_epoch(&self, record: &Record) {
        let Ok(Key::Consumer { group, part }) = Key::decode(&record.key) else {
            return;
        };
        let group = self.coordinator.groups.get(group);
        let group = group.and_then(|group| group.consumer.as_ref());
        let kept = group.and_then(|group| group.kept);
        if let (Part::Epoch, Some(kept), Some(value)) = (part, kept, &record.value) {
            let value = EpochValue::decode(value).expect("of this program");
            // The same one is written again with the hash of its topics when the work is divided.
            let again = value.epoch == kept.epoch && value.metadata_hash != kept.metadata_hash;
            assert!(
                value.epoch > kept.epoch || again,
                "G3: {value:?} after {kept:?}"
            );
        }
    }

    /// Kept generations only grow (G3); a static member's new id is kept in the same one.
    fn check_generation(&self, record: &Record) {
        let Ok(Key::Group { group }) = Key::decode(&record.key) else {
            return;
        };
        let kept = self
            .coordinator
            .groups
            .get(group)
            .and_then(|group| group.kept.as_ref());
        if let (Some(kept), Some(value)) = (kept, &record.value) {
            let (head, _) = GroupValue::decode(value).expect("of this program");
            let replaced = head.generation == kept.generation.0;
            let grows = head.generation > kept.generation.0;
            assert!(
                grows || replaced && kept.len() > 0,
                "G3: {head:?} after {kept:?}"
            );
        }
    }

    /// No offset expires while members, or a round, may need it (G7).
    fn check_expiry(&self, record: &Record, expired_before: u64) {
        let Ok(Key::Offset { group, topic, .. }) = Key::decode(&record.key) else {
            return;
        };
        let expired = self.coordinator.counters.offsets_expired > expired_before;
        let round = self
            .coordinator
            .groups
            .get(group)
            .and_then(|group| group.round.as_ref());
        if let (true, None, Some(round)) = (expired, &record.value, round) {
            let settled = matches!(round.state, GroupState::Stable | GroupState::Empty);
            assert!(settled, "G7: {group} loses {topic} in {:?}", round.state);
            let read = subscription::topics_of(round).contains(topic);
            assert!(!read, "G7: {group} loses {topic}, which is read");
        }
    }

    /// Topics are others now.
    pub(super) fn see_topics(&mut self, topics: TestTopics) -> Vec<(Ticket, Reply)> {
        let changed = topics.changes(&self.topics);
        self.topics = topics.clone();
        self.input(|coordinator, moment| {
            coordinator.on_topics_changed(moment, Arc::new(topics), &changed)
        })
    }

    /// The log is safe up to here.
    pub(super) fn commit(&mut self, end: usize) -> Vec<(Ticket, Reply)> {
        self.committed = self.committed.max(end);
        let mut seen = Vec::new();
        while let Some((end, _, _)) = self.held.front()
            && *end <= self.committed
        {
            let (_, ticket, reply) = self.held.pop_front().expect("there is one");
            self.waiting.remove(&ticket);
            seen.push((ticket, reply));
        }
        seen
    }

    /// The next timer within a time fires, or the time passes. `None`: it has passed.
    pub(super) fn step_to(&mut self, end: Instant) -> Option<Vec<(Ticket, Reply)>> {
        let next = self.timers.iter().map(|(key, at)| (*at, key.clone())).min();
        if let Some((at, key)) = next
            && at <= end
        {
            self.now = self.now.max(at);
            self.timers.remove(&key);
            return Some(self.input(|coordinator, moment| coordinator.on_timer(moment, key)));
        }
        self.now = self.now.max(end);
        None
    }

    /// How many timers of groups are set.
    pub(super) fn group_timers(&self) -> usize {
        let keys = self.timers.keys();
        keys.filter(|key| matches!(key, TimerKey::Group(_))).count()
    }

    /// Time passes; whatever is due happens.
    pub(super) fn advance(&mut self, by: Duration) -> Vec<(Ticket, Reply)> {
        let end = self.now.plus(by);
        let mut seen = Vec::new();
        while let Some(replies) = self.step_to(end) {
            seen.extend(replies);
        }
        seen
    }

    /// The log as a cleaner would leave it: the last record of each key, tombstones gone.
    pub(super) fn compacted(&self) -> Vec<Record> {
        let last: BTreeMap<_, _> = self
            .log
            .iter()
            .enumerate()
            .map(|(at, r)| (&r.key, at))
            .collect();
        let records = self.log.iter().enumerate();
        records
            .filter(|(at, record)| last[&record.key] == *at && record.value.is_some())
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// A machine that knows of the log alone.
    pub(super) fn rebuilt(&self, log: &[Record]) -> Coordinator {
        let mut rebuilt = Coordinator::new(self.coordinator.config.clone());
        rebuilt.tombstones_max = self.coordinator.tombstones_max;
        for record in log {
            rebuilt
                .replay(&record.key, record.value.as_deref())
                .expect("of this program");
        }
        rebuilt
    }

    /// The process dies, and all that is left is the log up to `end`, or what a cleaner leaves of
    /// it. Calls that waited are never answered.
    pub(super) fn crash(&mut self, end: usize, compact: bool) {
        assert!(end >= self.committed, "what is committed survives");
        self.log.truncate(end);
        self.committed = end;
        let plain = self.rebuilt(&self.log);
        if compact {
            self.log = self.compacted();
            self.committed = self.log.len();
        }
        self.cuts = BTreeSet::from([self.committed]);
        self.coordinator = self.rebuilt(&self.log);
        assert_eq!(
            self.coordinator.hash(),
            plain.hash(),
            "G4: compaction changes nothing"
        );
        self.shadow = self.coordinator.clone();
        self.held.clear();
        self.waiting.clear();
        self.timers.clear();
        let topics = Arc::new(self.topics.clone());
        let moment = Moment {
            now: self.now,
            wall: WallTime(WALL),
            seed: 0,
        };
        let decision = self.coordinator.on_topics_changed(moment, topics, &[]);
        assert_eq!(
            decision,
            Decision::nothing(),
            "nothing follows before the start"
        );
        let replies = self.input(|coordinator, moment| coordinator.on_loaded(moment));
        assert!(replies.is_empty(), "nobody waits after a start");
    }

    /// What must be true of a group after every input.
    fn check(&self, id: &GroupId, group: &Group) {
        assert!(
            !group.is_void(),
            "{id}: a group without anything is forgotten"
        );
        if let Some(consumer) = &group.consumer {
            consumer::testing::check(id.as_str(), consumer, self.now);
            assert!(
                group.kept.is_none() && group.round.is_none(),
                "{id}: one protocol"
            );
            if let Some(due) = consumer.next_due() {
                let timer = self.timers.get(&TimerKey::Group(id.clone()));
                let in_time = timer.is_some_and(|at| *at <= due.max(self.now).plus(SWEEP_PAUSE));
                assert!(in_time, "{id}: a timer fires in time");
            }
        }
        let Some(round) = &group.round else {
            return;
        };
        assert!(!round.is_void(), "{id}: so is a round");
        let count =
            |of: fn(&round::Member) -> bool| round.members.values().filter(|m| of(m)).count();
        assert_eq!(
            round.joining,
            count(|member| member.join.is_some()),
            "{id}: joins are counted"
        );
        assert_eq!(
            round.unsynced,
            count(|member| member.unsynced),
            "{id}: syncs are counted"
        );
        assert_eq!(round.bytes, round.bytes_held(), "{id}: bytes are counted");
        assert_eq!(
            round.statics.len(),
            count(|member| member.instance.is_some()),
            "{id}: G8"
        );
        for (instance, member) in &round.statics {
            assert_eq!(
                round.members[member].instance.as_ref(),
                Some(instance),
                "{id}: G8"
            );
        }
        let leads = round
            .leader
            .as_ref()
            .is_some_and(|leader| round.members.contains_key(leader));
        assert_eq!(leads, !round.members.is_empty(), "{id}: a member leads");
        let fits = round.state == GroupState::PreparingRebalance
            || round.members.len() <= self.coordinator.config.members_max
            || round.joining == 0;
        assert!(fits, "{id}: no more members than there may be");
        match round.state {
            GroupState::PreparingRebalance => {
                let until = round.join_until.expect("G5: joining has an end").at;
                let latest = self.now.plus(self.longest_round);
                assert!(until <= latest, "{id}: G5: it ends in time");
                assert_eq!(
                    count(|member| member.sync.is_some()),
                    0,
                    "{id}: nobody syncs"
                );
            }
            GroupState::CompletingRebalance => {
                assert!(
                    round.sync_until.is_some(),
                    "{id}: G5, M66: awaiting assignments has an end"
                );
                assert!(
                    round.unsynced > 0 && round.joining == 0,
                    "{id}: someone is awaited"
                );
            }
            GroupState::Stable => {
                let kept = group.kept.as_ref().expect("a stable group is kept");
                assert_eq!(
                    kept.generation, round.generation,
                    "{id}: it is the round that is kept"
                );
                let members = kept.members().map(|member| MemberId::new(member.member));
                assert!(
                    members.eq(round.members.keys().cloned()),
                    "{id}: with its members"
                );
                assert_eq!(
                    count(|member| member.sync.is_some()),
                    0,
                    "{id}: nobody waits"
                );
            }
            GroupState::Empty => assert!(round.members.is_empty(), "{id}: an empty group is empty"),
            GroupState::Dead | GroupState::Assigning | GroupState::Reconciling => {
                panic!("{id}: no round is {:?}", round.state)
            }
        }
        if let Some(due) = round.next_due() {
            let timer = self.timers.get(&TimerKey::Group(id.clone()));
            assert!(
                timer.is_some_and(|at| *at <= due.max(self.now)),
                "{id}: a timer fires in time"
            );
        }
    }
}
