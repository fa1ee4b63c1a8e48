//! Hosts of group coordinators: one on each partition of `__consumer_offsets` that is here. What a
//! coordinator decides is appended like any record, replayed at once, and answered when it is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;

use bytes::Bytes;
use klamm_coord::{
    Command, Coordinator, Counters, GroupConfig, Hold, Moment, Note, Record, Reply, Stats,
    TimerKey, TopicReference,
};
use klamm_metadata::Delta;
use klamm_model::{Compression, Instant, Offset, Random, Timestamp, TopicPartition};
use klamm_records::batch::{self, BatchBuilder, BatchOptions};
use klamm_replica::{Admission, AppendOrigin};

use crate::api::{self, AppendError, CoordinateError, CoordinateOutcome, Now, Ticket};
use crate::append::{Admitted, Writer};
use crate::effects::Effect;
use crate::engine::Engine;
use crate::groups_load::{Load, Loads};
use crate::memory::Wanting;
use crate::waiters::Slot;

/// What a decision may take of the disk, for the question whether there is room for any.
const DECISION_BYTES: usize = 16 << 10;

/// A timer for which there is no room on the disk is looked at again after this long.
const POSTPONED: std::time::Duration = std::time::Duration::from_secs(1);

/// Bytes of a batch that are not keys and values of its records, generously.
const BATCH_OVERHEAD_BYTES: usize = 4 << 10;

/// What coordinators are told, and how they write.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The bounds within which groups live.
    pub config: GroupConfig,
    /// Codec of the records (`offsets.topic.compression.codec`).
    pub codec: Compression,
    /// Fresh randomness; another for each core.
    pub seed: u64,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            config: GroupConfig::default(),
            codec: Compression::None,
            seed: 0,
        }
    }
}

/// Bytes of a record that are neither its key nor its value, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

type Decision = klamm_coord::Decision<Reply, TimerKey>;

/// When a timer fires, and whose it is.
type DueTimer = (Instant, TopicPartition, TimerKey);

/// The coordinators of one core.
#[derive(Debug)]
pub(crate) struct Groups {
    options: GroupOptions,
    random: Random,
    pub(crate) hosts: BTreeMap<TopicPartition, Host>,
    /// What callers are called towards the coordinators.
    next_caller: u64,
    timers: BTreeSet<DueTimer>,
    pub(crate) loads: Loads,
    /// What coordinators did that are not here any more.
    past: Counters,
    /// Topics that were deleted since the last turn.
    gone: Vec<TopicReference>,
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
    const fn new(slot: Slot) -> Self {
        Self {
            slot,
            state: State::Failed,
            callers: BTreeMap::new(),
            held: VecDeque::new(),
            timers: BTreeMap::new(),
        }
    }
}

impl Groups {
    pub(crate) fn new(options: GroupOptions) -> Self {
        Self {
            random: Random::new(options.seed),
            options,
            hosts: BTreeMap::new(),
            next_caller: 0,
            timers: BTreeSet::new(),
            loads: Loads::default(),
            past: Counters::default(),
            gone: Vec::new(),
        }
    }

    fn moment(&mut self, now: Now) -> Moment {
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

    /// When a coordinator must be told of the time.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, ..)| *at)
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
        let mut gauges = GroupGauges::default();
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
    sum.stable += one.stable;
    sum.members += one.members;
    sum.offsets += one.offsets;
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

/// True of commands whose decision may have to be kept.
const fn may_write(command: &Command) -> bool {
    match command {
        Command::Heartbeat(_)
        | Command::FetchOffsets(_)
        | Command::List(_)
        | Command::Describe { .. } => false,
        Command::Join(_)
        | Command::Sync(_)
        | Command::Leave(_)
        | Command::CommitOffsets(_)
        | Command::DeleteOffsets(_)
        | Command::Delete { .. } => true,
    }
}

impl Engine {
    /// What the coordinators of this core hold and did. Walks all of them.
    #[must_use]
    pub fn group_gauges(&self) -> GroupGauges {
        self.groups.gauges()
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
            None | Some((State::Failed, _)) => Some(CoordinateError::NotHere),
            Some((State::Loading(_), _)) => Some(CoordinateError::Loading),
            Some((State::Active(_), slot)) if may_write(&command) => {
                self.check_room(slot).err().map(CoordinateError::from)
            }
            Some((State::Active(_), _)) => None,
        };
        if let Some(error) = refused {
            self.effects.push(answer(ticket, Err(error)));
            return;
        }
        let moment = self.groups.moment(now);
        let caller = klamm_coord::Ticket(self.groups.next_caller);
        self.groups.next_caller += 1;
        if let Some(host) = self.groups.hosts.get_mut(&partition)
            && let State::Active(coordinator) = &mut host.state
        {
            host.callers.insert(caller, ticket);
            let decision = coordinator.decide(moment, caller, command);
            self.carry_out(now, partition, decision);
        }
    }

    /// Tells coordinators of the time, and of what was read for those that are loading.
    pub(crate) fn look_after_groups(&mut self, now: Now) {
        self.load_groups(now);
        self.forget_offsets(now);
        for timer in self.groups.due(now.instant) {
            if !self.groups.take_timer(&timer) {
                continue;
            }
            let (_, partition, key) = timer;
            let Some(host) = self.groups.hosts.get(&partition) else {
                continue;
            };
            if self.check_room(host.slot).is_err() {
                let later = now.instant.plus(POSTPONED);
                self.groups.set_timer(partition, key, Some(later));
                continue;
            }
            let moment = self.groups.moment(now);
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
    ) {
        let moment = self.groups.moment(now);
        let decision = coordinator.on_loaded(moment);
        if let Some(host) = self.groups.hosts.get_mut(&partition) {
            host.state = State::Active(Box::new(coordinator));
            self.carry_out(now, partition, decision);
        }
    }

    /// Offsets of topics that are gone are forgotten at the end of the turn.
    pub(crate) fn note_deleted(&mut self, delta: &Delta) {
        let topics = delta.topics_deleted.iter();
        let gone = topics.map(|topic| TopicReference {
            name: topic.name().clone(),
            id: topic.id(),
        });
        self.groups.gone.extend(gone);
    }

    fn forget_offsets(&mut self, now: Now) {
        let topics = mem::take(&mut self.groups.gone);
        if topics.is_empty() {
            return;
        }
        let hosts: Vec<TopicPartition> = self.groups.hosts.keys().copied().collect();
        for partition in hosts {
            let moment = self.groups.moment(now);
            if let Some(host) = self.groups.hosts.get_mut(&partition)
                && let State::Active(coordinator) = &mut host.state
            {
                let decision = coordinator.on_topics_deleted(moment, &topics);
                self.carry_out(now, partition, decision);
            }
        }
    }

    /// Sees to it that there is room for a decision. As the metadata, groups may have what the disk
    /// keeps for the broker itself: consumers go on where producers are refused.
    fn check_room(&mut self, slot: Slot) -> Result<(), AppendError> {
        let log = self.partition(slot).ok_or(AppendError::UnknownPartition)?;
        if log.leader.has_failed() {
            return Err(AppendError::Storage);
        }
        self.make_room_for_groups(DECISION_BYTES)
    }

    fn make_room_for_groups(&mut self, batch_bytes: usize) -> Result<(), AppendError> {
        let room = self.make_room_for(batch_bytes, Writer::Broker);
        room.map_err(|wanting| match wanting {
            Wanting::Descriptor => AppendError::OutOfFiles,
            Wanting::Room => AppendError::OutOfSpace,
        })
    }

    /// Appends what was decided, replays it, and sees to timers and answers.
    fn carry_out(&mut self, now: Now, partition: TopicPartition, decision: Decision) {
        let Some(slot) = self.groups.hosts.get(&partition).map(|host| host.slot) else {
            return;
        };
        if let Err(error) = self.append_decided(now, slot, &decision.records) {
            tracing::warn!(
                %partition, ?error, records = decision.records.len(),
                "what a group coordinator decided could not be kept: it begins anew from its log"
            );
            self.unload(partition, CoordinateError::from(error));
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
    }

    /// What a coordinator decided, as one batch; as several where that would be larger than the
    /// topic's batches are.
    fn append_decided(
        &mut self,
        now: Now,
        slot: Slot,
        records: &[Record],
    ) -> Result<(), AppendError> {
        let log = self.partition(slot).ok_or(AppendError::UnknownPartition)?;
        let epoch = log.leader.leader_epoch();
        let config = &log.config;
        let batch_bytes_max = config.message_bytes_max.min(config.segment_bytes) as usize;
        let stamp = Timestamp(now.wall.0);
        let options = BatchOptions {
            compressor: self.groups.options.codec.into(),
            leader_epoch: epoch,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for Record { key, value } in records {
            let bytes = RECORD_OVERHEAD_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
            let is_full = builder.size_uncompressed() + bytes > batch_bytes_max;
            if is_full && !builder.is_empty() {
                let full = mem::replace(&mut builder, BatchBuilder::new(options));
                self.append_batch(now, slot, full)?;
            }
            builder.append(stamp, Some(key), value.as_deref(), &[]);
        }
        if builder.is_empty() {
            return Ok(());
        }
        self.append_batch(now, slot, builder)
    }

    fn append_batch(
        &mut self,
        now: Now,
        slot: Slot,
        builder: BatchBuilder,
    ) -> Result<(), AppendError> {
        let log = self.partition(slot).ok_or(AppendError::UnknownPartition)?;
        let epoch = log.leader.leader_epoch();
        let segment_bytes = log.config.segment_bytes as usize;
        let bytes = builder
            .build()
            .map_err(|_| AppendError::LargerThanSegment)?;
        if bytes.len() > segment_bytes {
            return Err(AppendError::LargerThanSegment);
        }
        self.make_room_for_groups(bytes.len())?;
        let header = batch::read(&bytes).expect("a built batch is a batch");
        let origin = AppendOrigin::Coordinator(epoch);
        let Admission::Append(placed) = self.admit(slot, now, &header, origin)? else {
            unreachable!("only producers send a batch twice");
        };
        let admitted = Admitted {
            slot,
            records: &bytes,
            placed,
            header: &header,
            max_at: placed.base_offset,
        };
        self.place(now, &admitted, |_| {});
        Ok(())
    }

    /// Lets go of what a coordinator knows, and loads it anew. Whoever waits is told to come again;
    /// what is decided and written already is answered when it is kept.
    fn unload(&mut self, partition: TopicPartition, error: CoordinateError) {
        self.groups.remember(partition);
        self.groups.forget_timers(partition);
        let Some(host) = self.groups.hosts.get_mut(&partition) else {
            return;
        };
        for (_, ticket) in mem::take(&mut host.callers) {
            self.effects.push(answer(ticket, Err(error)));
        }
        self.begin_load(partition);
    }

    /// A partition of groups is opened: it gets a coordinator.
    pub(crate) fn host_groups(&mut self, partition: TopicPartition, slot: Slot) {
        self.groups.hosts.insert(partition, Host::new(slot));
        self.begin_load(partition);
    }

    /// A partition goes away, and its coordinator with it.
    pub(crate) fn drop_groups(&mut self, partition: TopicPartition) {
        self.groups.remember(partition);
        self.groups.forget_timers(partition);
        let Some(host) = self.groups.hosts.remove(&partition) else {
            return;
        };
        let held = host.held.into_iter().map(|(_, ticket, _)| ticket);
        for ticket in host.callers.into_values().chain(held) {
            let outcome = Err(CoordinateError::NotHere);
            self.effects.push(answer(ticket, outcome));
        }
    }
}

impl From<AppendError> for CoordinateError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::OutOfSpace | AppendError::OutOfFiles => Self::NoRoom,
            AppendError::LargerThanSegment | AppendError::Invalid(_) => Self::TooLarge,
            AppendError::UnknownPartition
            | AppendError::Producer(_)
            | AppendError::Malformed
            | AppendError::NoTransaction
            | AppendError::Storage => Self::NotHere,
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
        groups.hosts.insert(PARTITION, Host::new(0));
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
