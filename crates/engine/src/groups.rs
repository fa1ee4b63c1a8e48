//! Hosts of group coordinators: one on each partition of `__consumer_offsets` that is here. What a
//! coordinator decides is appended like any record, replayed at once, and answered when it is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;

use klamm_coord::lag::LagBook;
use klamm_coord::limits::{COORDINATOR_BYTES_MAX, CORE_BYTES_MAX};
use klamm_coord::{
    Command, Coordinator, Counters, GroupConfig, Histories, Hold, Moment, Note, Record, Reply,
    Stats, TimerKey, TopicReference,
};
use klamm_model::{Compression, Instant, LeaderEpoch, Offset, Random, TopicPartition};

use crate::api::{self, CoordinateError, CoordinateOutcome, Now, Ticket};
use crate::effects::Effect;
use crate::engine::Engine;
use crate::groups_append::{BATCH_OVERHEAD_BYTES, may_write, wanted_by};
use crate::groups_lag::LagOptions;
use crate::groups_load::{Failure, Load, Loads};
use crate::groups_metadata::MetadataNews;
use crate::waiters::Slot;

/// A timer for which there is no room on the disk is looked at again after this long.
const POSTPONED: std::time::Duration = std::time::Duration::from_secs(1);

/// What coordinators are told, and how they write.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The bounds within which groups live.
    pub config: GroupConfig,
    /// Codec of the records (`offsets.topic.compression.codec`).
    pub codec: Compression,
    /// Fresh randomness; another for each core.
    pub seed: u64,
    /// How lag is looked at.
    pub lag: LagOptions,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            config: GroupConfig::default(),
            codec: Compression::None,
            seed: 0,
            lag: LagOptions::default(),
        }
    }
}

pub(crate) type Decision = klamm_coord::Decision<Reply, TimerKey>;

/// When a timer fires, and whose it is.
type DueTimer = (Instant, TopicPartition, TimerKey);

/// The coordinators of one core.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) options: GroupOptions,
    random: Random,
    pub(crate) hosts: BTreeMap<TopicPartition, Host>,
    /// What callers are called towards the coordinators.
    next_caller: u64,
    /// Loads are counted.
    pub(crate) next_load: u64,
    timers: BTreeSet<DueTimer>,
    pub(crate) loads: Loads,
    /// Logs that could not be read.
    pub(crate) failures: BTreeMap<TopicPartition, Failure>,
    /// What was loaded since the start.
    pub(crate) loaded: Loaded,
    /// Coordinators whose offsets have not been held against the metadata.
    pub(crate) unproved: BTreeSet<TopicPartition>,
    /// Bytes that the coordinators of this core hold together.
    bytes: usize,
    /// Members of groups of the consumer protocol that they have together.
    consumer_members: usize,
    /// That there is no more room for groups was told.
    is_full_told: bool,
    /// What coordinators did that are not here any more.
    past: Counters,
    /// What coordinators have not been told of the metadata.
    pub(crate) news: MetadataNews,
    /// Topics that were deleted since the last turn.
    pub(crate) gone: Vec<TopicReference>,
    /// How far groups were behind when they were looked at last.
    pub(crate) lags: LagBook,
    /// What happened to groups.
    pub(crate) histories: Histories,
}

/// One coordinator with those who wait for it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) slot: Slot,
    pub(crate) state: State,
    /// Callers that the coordinator has not answered.
    callers: BTreeMap<klamm_coord::Ticket, Ticket>,
    /// Answers that wait until the log is kept up to an offset, by rising offset.
    held: VecDeque<(Offset, Ticket, Reply)>,
    timers: BTreeMap<TimerKey, Instant>,
    /// The last reign of which the log said something when it was opened.
    pub(crate) last_reign: Option<LeaderEpoch>,
    /// Topics of offsets that the log had, until they are held against the metadata.
    pub(crate) topics_read: Vec<TopicReference>,
    /// What the coordinator holds.
    bytes: usize,
    /// Members of its groups of the consumer protocol.
    consumer_members: usize,
}

/// What was read of logs to make coordinators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Logs.
    pub partitions: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Milliseconds from the begin of loads to their end; those that go on together count once.
    pub ms: u64,
}

impl Loaded {
    pub(crate) const fn add(&mut self, more: &Self) {
        self.partitions += more.partitions;
        self.records += more.records;
        self.bytes += more.bytes;
        self.ms += more.ms;
    }
}

/// What the coordinators of one core hold now, and did since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupGauges {
    /// Coordinators that read their logs.
    pub loading: u64,
    /// Coordinators that decide.
    pub active: u64,
    /// Coordinators whose logs cannot be read.
    pub failed: u64,
    /// What was loaded since the start.
    pub loaded: Loaded,
    /// What is held, and what was done.
    pub stats: Stats,
}

/// How far a coordinator is.
#[derive(Debug)]
pub(crate) enum State {
    /// Its log is being read.
    Loading(Box<Load>),
    /// It decides.
    Active(Box<Coordinator>),
    /// Its log cannot be read: whatever it said would not be what was promised.
    Failed,
}

impl Host {
    /// One whose log is not read yet.
    const fn new(slot: Slot, last_reign: Option<LeaderEpoch>) -> Self {
        Self {
            slot,
            state: State::Failed,
            callers: BTreeMap::new(),
            held: VecDeque::new(),
            timers: BTreeMap::new(),
            last_reign,
            topics_read: Vec::new(),
            bytes: 0,
            consumer_members: 0,
        }
    }

    /// The load of this number, if it goes on: what was read for another one may be of a log that
    /// was cut since, or be there already.
    pub(crate) fn load(&mut self, number: u64) -> Option<&mut Load> {
        match &mut self.state {
            State::Loading(load) if load.number == number => Some(load),
            State::Loading(_) | State::Active(_) | State::Failed => None,
        }
    }

    /// The coordinator answers nobody any more: errors for those whom it would have answered now,
    /// and for all others.
    fn dismiss(
        &mut self,
        decided: &BTreeSet<klamm_coord::Ticket>,
        error: CoordinateError,
    ) -> Vec<Effect> {
        let callers = mem::take(&mut self.callers).into_iter();
        let errors = callers.map(|(caller, ticket)| {
            let error = match decided.contains(&caller) {
                true => error,
                false => CoordinateError::NotHere,
            };
            answer(ticket, Err(error))
        });
        errors.collect()
    }
}

impl Groups {
    pub(crate) fn new(options: GroupOptions) -> Self {
        Self {
            random: Random::new(options.seed),
            lags: LagBook::new(options.lag.rules),
            histories: Histories::default(),
            options,
            hosts: BTreeMap::new(),
            next_caller: 0,
            next_load: 0,
            timers: BTreeSet::new(),
            loads: Loads::default(),
            failures: BTreeMap::new(),
            loaded: Loaded::default(),
            unproved: BTreeSet::new(),
            bytes: 0,
            consumer_members: 0,
            is_full_told: false,
            past: Counters::default(),
            news: MetadataNews::default(),
            gone: Vec::new(),
        }
    }

    pub(crate) fn moment(&mut self, now: Now) -> Moment {
        let seed = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        Moment {
            now: now.instant,
            wall: now.wall,
            seed,
        }
    }

    /// A coordinator that knows nothing yet.
    pub(crate) fn fresh(&self, batch_bytes_max: usize) -> Coordinator {
        Coordinator::new(GroupConfig {
            batch_bytes_max: batch_bytes_max.saturating_sub(BATCH_OVERHEAD_BYTES),
            ..self.options.config.clone()
        })
    }

    /// The coordinator that knows a group.
    pub(crate) fn coordinator_of(&self, group: &str) -> Option<&Coordinator> {
        self.hosts.values().find_map(|host| match &host.state {
            State::Active(coordinator) if coordinator.has(group) => Some(&**coordinator),
            _ => None,
        })
    }

    /// When a coordinator must be told of the time.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, ..)| *at);
        let retries = self.failures.values().filter_map(Failure::deadline);
        timer.into_iter().chain(retries).min()
    }

    /// Tells a coordinator how much it may hold, as far as the others leave that, and how many
    /// members they serve together.
    fn bound(&mut self, partition: TopicPartition) {
        let (bytes, members) = (self.bytes, self.consumer_members);
        if let Some(host) = self.hosts.get_mut(&partition)
            && let State::Active(coordinator) = &mut host.state
        {
            let others = bytes - host.bytes;
            let room = CORE_BYTES_MAX.saturating_sub(others);
            coordinator.set_bytes_max(room.min(COORDINATOR_BYTES_MAX));
            coordinator.set_members_served(members);
        }
    }

    /// Takes account of what a coordinator holds now, and of its members.
    fn account(&mut self, partition: TopicPartition) {
        let Some(host) = self.hosts.get_mut(&partition) else {
            return;
        };
        let (held, members) = match &host.state {
            State::Active(coordinator) => {
                (coordinator.bytes_held(), coordinator.consumer_members())
            }
            State::Loading(_) | State::Failed => (0, 0),
        };
        let before = mem::replace(&mut host.bytes, held);
        self.bytes = self.bytes - before + held;
        let before = mem::replace(&mut host.consumer_members, members);
        self.consumer_members = self.consumer_members - before + members;
        self.tell_if_full();
    }

    fn tell_if_full(&mut self) {
        if self.bytes < CORE_BYTES_MAX {
            self.is_full_told &= self.bytes > CORE_BYTES_MAX / 8 * 7;
        } else if !mem::replace(&mut self.is_full_told, true) {
            tracing::warn!(
                bytes = self.bytes,
                "the groups of this core hold as much memory as they may: nobody new joins, and no new offset is kept, until there are fewer"
            );
        }
    }

    fn set_timer(&mut self, partition: TopicPartition, key: TimerKey, at: Option<Instant>) {
        let Some(host) = self.hosts.get_mut(&partition) else {
            return;
        };
        let before = match at {
            Some(at) => host.timers.insert(key.clone(), at),
            None => host.timers.remove(&key),
        };
        if let Some(before) = before {
            self.timers.remove(&(before, partition, key.clone()));
        }
        if let Some(at) = at {
            self.timers.insert((at, partition, key));
        }
    }

    /// The timers that are due now. One that is set for now by what another decides is not among
    /// them: it fires in the next turn, so that no decision can keep the core in this one.
    fn due(&self, now: Instant) -> Vec<DueTimer> {
        let due = self.timers.iter().take_while(|(at, ..)| *at <= now);
        due.cloned().collect()
    }

    /// Takes a timer that was due. False if it was set anew or taken back meanwhile.
    fn take_timer(&mut self, timer: &DueTimer) -> bool {
        let was_set = self.timers.remove(timer);
        let (_, partition, key) = timer;
        if was_set && let Some(host) = self.hosts.get_mut(partition) {
            host.timers.remove(key);
        }
        was_set
    }

    fn forget_timers(&mut self, partition: TopicPartition) {
        let Some(host) = self.hosts.get_mut(&partition) else {
            return;
        };
        for (key, at) in mem::take(&mut host.timers) {
            self.timers.remove(&(at, partition, key));
        }
    }

    /// What is held now, and was done since the start. Walks all coordinators.
    pub(crate) fn gauges(&self) -> GroupGauges {
        let mut gauges = GroupGauges {
            loaded: self.loaded,
            ..GroupGauges::default()
        };
        let sum = &mut gauges.stats;
        sum.counters = self.past;
        for host in self.hosts.values() {
            match &host.state {
                State::Loading(_) => gauges.loading += 1,
                State::Failed => gauges.failed += 1,
                State::Active(coordinator) => {
                    gauges.active += 1;
                    add(sum, &coordinator.stats());
                }
            }
        }
        gauges
    }

    /// What an active coordinator did is remembered when it goes.
    fn remember(&mut self, partition: TopicPartition) {
        if let Some(host) = self.hosts.get(&partition)
            && let State::Active(coordinator) = &host.state
        {
            count(&mut self.past, &coordinator.stats().counters);
        }
    }

    /// The log of a coordinator is kept up to this offset.
    pub(crate) fn release(
        &mut self,
        partition: TopicPartition,
        kept_end: Offset,
        effects: &mut Vec<Effect>,
    ) {
        let Some(host) = self.hosts.get_mut(&partition) else {
            return;
        };
        while let Some((_, ticket, reply)) = host.held.pop_front_if(|(end, ..)| *end <= kept_end) {
            effects.push(answer(ticket, Ok(reply)));
        }
    }
}

/// What several coordinators hold.
fn add(sum: &mut Stats, one: &Stats) {
    sum.empty += one.empty;
    sum.preparing_rebalance += one.preparing_rebalance;
    sum.completing_rebalance += one.completing_rebalance;
    sum.assigning += one.assigning;
    sum.reconciling += one.reconciling;
    sum.stable += one.stable;
    sum.consumer_groups += one.consumer_groups;
    sum.members += one.members;
    sum.offsets += one.offsets;
    sum.bytes += one.bytes;
    count(&mut sum.counters, &one.counters);
}

/// What several coordinators did.
const fn count(sum: &mut Counters, one: &Counters) {
    sum.rebalances_begun += one.rebalances_begun;
    sum.rebalances_completed += one.rebalances_completed;
    sum.members_expired += one.members_expired;
    sum.offsets_committed += one.offsets_committed;
    sum.offsets_deleted += one.offsets_deleted;
    sum.offsets_expired += one.offsets_expired;
    sum.records_skipped += one.records_skipped;
}

/// One line, whatever clients call themselves.
fn line_of(note: &Note) -> String {
    let text = note.to_string();
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(plain).collect()
}

fn answer(ticket: Ticket, outcome: CoordinateOutcome) -> Effect {
    let reply = api::Reply::Coordinate(outcome);
    Effect::Reply { ticket, reply }
}

impl Engine {
    /// What the coordinators of this core hold and did. Walks all of them.
    #[must_use]
    pub fn group_gauges(&self) -> GroupGauges {
        self.groups.gauges()
    }

    /// The hard state of each coordinator of this core that decides, as one number, which follows
    /// from its log alone. Walks everything: for checks.
    pub fn group_hashes(&self) -> impl Iterator<Item = (TopicPartition, u64)> {
        let hosts = self.groups.hosts.iter();
        hosts.filter_map(|(partition, host)| match &host.state {
            State::Active(coordinator) => Some((*partition, coordinator.hash())),
            State::Loading(_) | State::Failed => None,
        })
    }

    /// Lets the coordinator on a partition decide something.
    pub fn coordinate(
        &mut self,
        now: Now,
        ticket: Ticket,
        partition: TopicPartition,
        command: Command,
    ) {
        let host = self.groups.hosts.get(&partition);
        let refused = match host.map(|host| (&host.state, host.slot)) {
            None => Some(CoordinateError::NotHere),
            Some((State::Failed, _)) => Some(CoordinateError::Failed),
            Some((State::Loading(_), _)) => Some(CoordinateError::Loading),
            Some((State::Active(_), slot)) if may_write(&command) => {
                let room = self.check_room(slot, wanted_by(&command));
                room.err().map(CoordinateError::from)
            }
            Some((State::Active(_), _)) => None,
        };
        if let Some(error) = refused {
            self.effects.push(answer(ticket, Err(error)));
            return;
        }
        let commits_to = match &command {
            Command::CommitOffsets(commit) => Some(commit.group.clone()),
            _ => None,
        };
        let moment = self.groups.moment(now);
        let caller = klamm_coord::Ticket(self.groups.next_caller);
        self.groups.next_caller += 1;
        self.groups.bound(partition);
        if let Some(host) = self.groups.hosts.get_mut(&partition)
            && let State::Active(coordinator) = &mut host.state
        {
            host.callers.insert(caller, ticket);
            let decision = coordinator.decide(moment, caller, command);
            if let Some(group) = commits_to
                && let [(_, Reply::CommitOffsets(Err(why)))] = &decision.replies[..]
            {
                let histories = &mut self.groups.histories;
                histories.refuse_commit(now.wall, group.as_str(), *why);
            }
            self.carry_out(now, partition, decision);
        }
    }

    /// Tells coordinators of the time, and of what was read for those that are loading.
    pub(crate) fn look_after_groups(&mut self, now: Now) {
        self.load_groups(now);
        self.tell_groups_of_metadata(now);
        self.prove_offsets(now);
        self.forget_offsets(now);
        for timer in self.groups.due(now.instant) {
            if !self.groups.take_timer(&timer) {
                continue;
            }
            let (_, partition, key) = timer;
            let Some(host) = self.groups.hosts.get(&partition) else {
                continue;
            };
            if self.check_room(host.slot, None).is_err() {
                let later = now.instant.plus(POSTPONED);
                if let Some(host) = self.groups.hosts.get_mut(&partition)
                    && let State::Active(coordinator) = &mut host.state
                {
                    coordinator.put_off(now.instant, &key);
                }
                self.groups.set_timer(partition, key, Some(later));
                continue;
            }
            let moment = self.groups.moment(now);
            self.groups.bound(partition);
            if let Some(host) = self.groups.hosts.get_mut(&partition)
                && let State::Active(coordinator) = &mut host.state
            {
                let decision = coordinator.on_timer(moment, key);
                self.carry_out(now, partition, decision);
            }
        }
    }

    /// A coordinator whose log is read begins to decide.
    pub(crate) fn activate(
        &mut self,
        now: Now,
        partition: TopicPartition,
        mut coordinator: Coordinator,
        gone: &[TopicReference],
    ) {
        let introduced = self.introduce_metadata(now, partition, &mut coordinator);
        let moment = self.groups.moment(now);
        let decision = coordinator.on_loaded(moment);
        if let Some(host) = self.groups.hosts.get_mut(&partition) {
            host.topics_read = coordinator.take_topics_read();
            self.groups.unproved.insert(partition);
            host.state = State::Active(Box::new(coordinator));
            self.carry_out(now, partition, introduced);
            self.carry_out(now, partition, decision);
        }
        self.forget_offsets_of(now, partition, gone);
    }

    /// Appends what was decided, replays it, and sees to timers and answers.
    pub(crate) fn carry_out(&mut self, now: Now, partition: TopicPartition, decision: Decision) {
        let Some(slot) = self.groups.hosts.get(&partition).map(|host| host.slot) else {
            return;
        };
        if let Err(error) = self.append_decided(now, slot, &decision.records) {
            tracing::warn!(
                %partition, ?error, records = decision.records.len(),
                "what a group coordinator decided could not be kept: it begins anew from its log"
            );
            let asked = decision.replies.into_iter().map(|(caller, _)| caller);
            self.unload(partition, &asked.collect(), CoordinateError::from(error));
            return;
        }
        for timer in decision.timers {
            self.groups.set_timer(partition, timer.key, timer.at);
        }
        let Some(log) = self.partitions.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let (end, kept_end) = (log.leader.cursors().log_end, log.leader.kept_end());
        let Some(host) = self.groups.hosts.get_mut(&partition) else {
            return;
        };
        if let State::Active(coordinator) = &mut host.state {
            for Record { key, value } in &decision.records {
                if let Err(error) = coordinator.replay(key, value.as_deref()) {
                    panic!("a coordinator cannot replay its own record: {error}");
                }
            }
            for note in coordinator.take_notes() {
                tracing::info!("{}", line_of(&note));
                self.groups.histories.add(now.instant, now.wall, note);
            }
        }
        for (caller, reply) in decision.replies {
            let Some(ticket) = host.callers.remove(&caller) else {
                continue;
            };
            if decision.hold == Hold::Now || end <= kept_end {
                self.effects.push(answer(ticket, Ok(reply)));
            } else {
                host.held.push_back((end, ticket, reply));
            }
        }
        self.groups.account(partition);
    }

    /// Lets go of what a coordinator knows, and loads it anew. Those whom the decision would have
    /// answered are told why; all others who wait are told to look again for who coordinates them.
    /// What is decided and written already is answered when it is kept.
    fn unload(
        &mut self,
        partition: TopicPartition,
        decided: &BTreeSet<klamm_coord::Ticket>,
        error: CoordinateError,
    ) {
        self.groups.remember(partition);
        self.groups.forget_timers(partition);
        let Some(host) = self.groups.hosts.get_mut(&partition) else {
            return;
        };
        let errors = host.dismiss(decided, error);
        self.effects.extend(errors);
        self.begin_load(partition);
        self.groups.account(partition);
    }

    /// A partition of groups is opened, whose log says of reigns up to this one: it gets a
    /// coordinator.
    pub(crate) fn host_groups(
        &mut self,
        partition: TopicPartition,
        slot: Slot,
        last_reign: Option<LeaderEpoch>,
    ) {
        let host = Host::new(slot, last_reign);
        self.groups.hosts.insert(partition, host);
        self.begin_load(partition);
    }

    /// A partition goes away, and its coordinator with it.
    pub(crate) fn drop_groups(&mut self, partition: TopicPartition) {
        self.groups.remember(partition);
        self.groups.forget_timers(partition);
        self.groups.failures.remove(&partition);
        self.groups.unproved.remove(&partition);
        let Some(host) = self.groups.hosts.remove(&partition) else {
            return;
        };
        self.groups.bytes -= host.bytes;
        self.groups.consumer_members -= host.consumer_members;
        let held = host.held.into_iter().map(|(_, ticket, _)| ticket);
        for ticket in host.callers.into_values().chain(held) {
            let outcome = Err(CoordinateError::NotHere);
            self.effects.push(answer(ticket, outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use klamm_coord::GroupId;
    use klamm_model::{PartitionIndex, TopicId};

    use super::*;

    const PARTITION: TopicPartition = TopicPartition {
        topic: TopicId([7; 16]),
        index: PartitionIndex(3),
    };

    fn key(group: &str) -> TimerKey {
        TimerKey::Group(GroupId::new(group))
    }

    fn groups() -> Groups {
        let mut groups = Groups::new(GroupOptions::default());
        groups.hosts.insert(PARTITION, Host::new(0, None));
        groups
    }

    #[test]
    fn a_timer_that_is_set_for_now_while_others_fire_waits_for_the_next_turn() {
        let mut groups = groups();
        let now = Instant(10);
        groups.set_timer(PARTITION, key("a"), Some(Instant(9)));
        groups.set_timer(PARTITION, key("b"), Some(now));
        groups.set_timer(PARTITION, key("c"), Some(Instant(11)));
        let mut fired = 0;
        for timer in groups.due(now) {
            assert!(groups.take_timer(&timer));
            groups.set_timer(PARTITION, timer.2, Some(now));
            fired += 1;
        }
        assert_eq!(fired, 2);
        assert_eq!(
            groups.next_deadline(),
            Some(now),
            "the next turn comes at once"
        );
        assert_eq!(groups.due(now).len(), 2);
    }

    #[test]
    fn a_slice_that_was_read_for_another_load_is_not_taken() {
        let groups = groups();
        let mut host = Host::new(0, None);
        assert!(host.load(1).is_none(), "nothing is loaded");
        let mut begin = |number| {
            let load = Load::new(number, groups.fresh(1 << 20), 1 << 20);
            host.state = State::Loading(Box::new(load));
            (0..4).filter(|of| host.load(*of).is_some()).collect()
        };
        let [first, again]: [Vec<u64>; 2] = [begin(1), begin(2)];
        assert_eq!([first, again], [[1], [2]], "its own alone");
    }

    #[test]
    fn an_error_of_one_decision_is_told_to_those_alone_whom_it_would_have_answered() {
        let mut host = Host::new(0, None);
        let caller = klamm_coord::Ticket;
        let ticket = |call| Ticket {
            shard: klamm_model::ShardId(0),
            call,
        };
        for number in 1..=3 {
            host.callers.insert(caller(number), ticket(number * 10));
        }
        let decided = BTreeSet::from([caller(2)]);
        let told = host.dismiss(&decided, CoordinateError::TooLarge);
        let told = told.into_iter().map(|effect| match effect {
            Effect::Reply { ticket, reply } => (ticket, reply),
            other => panic!("{other:?}"),
        });
        let told: Vec<_> = told.collect();
        let error = |call, error| (ticket(call), api::Reply::Coordinate(Err(error)));
        assert_eq!(told.len(), 3);
        for (told, expected) in told.iter().zip([
            error(10, CoordinateError::NotHere),
            error(20, CoordinateError::TooLarge),
            error(30, CoordinateError::NotHere),
        ]) {
            assert_eq!(format!("{told:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn a_timer_that_is_taken_back_or_put_off_while_others_fire_does_not_fire() {
        let mut groups = groups();
        let now = Instant(10);
        groups.set_timer(PARTITION, key("a"), Some(now));
        groups.set_timer(PARTITION, key("b"), Some(now));
        let due = groups.due(now);
        groups.set_timer(PARTITION, key("a"), None);
        groups.set_timer(PARTITION, key("b"), Some(Instant(20)));
        assert!(due.iter().all(|timer| !groups.take_timer(timer)));
        assert_eq!(groups.next_deadline(), Some(Instant(20)));
    }
}
