//! The way of a group coordinator's log into its memory: slices through the engine's own read path,
//! one in each turn, so that nobody else on the core has to wait for it.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use bytes::{Buf, Bytes};
use klamm_coord::{Coordinator, TopicReference};
use klamm_model::{Instant, IsolationLevel, Offset, ProducerId, TopicPartition};
use klamm_records::batch;
use klamm_records::compress::Scratch;

use crate::api::{Now, ReadCall, ReadError, ReadPartition};
use crate::engine::Engine;
use crate::groups::{Loaded, State};
use crate::groups_open::{OpenOffsets, Pending};
use crate::read::Asker;

/// Bytes of a log that are replayed in one turn, unless a batch is larger.
const SLICE_BYTES: usize = 256 << 10;

/// Logs that are read at once: what was read waits in memory.
const LOADS_MAX: usize = 4;

/// Bytes of one batch at most, once it is decompressed, unless the topic takes larger ones.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// A log that could not be read is tried again after this long, each time after twice as long, and
/// no later than that.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// How often a long load says how far it is.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// One coordinator that is loading.
#[derive(Debug)]
pub(crate) struct Load {
    coordinator: Coordinator,
    /// Where the next slice begins.
    next: Offset,
    /// Which of the loads of this core it is: what was read for another one is not its own.
    pub(crate) number: u64,
    /// A slice is being read.
    is_reading: bool,
    batch_bytes_max: usize,
    /// Topics that were deleted meanwhile.
    pub(crate) gone: Vec<TopicReference>,
    /// Records of transactions whose end was not read yet.
    open: OpenOffsets,
    /// Records that the coordinator could not read, and the first reason.
    unread: u64,
    why_unread: Option<String>,
}

/// A load that failed, and is tried again.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    /// How often it failed, one after another.
    times: u32,
    /// When the next try begins; `None` until that is settled.
    at: Option<Instant>,
    /// The next try is under way.
    is_trying: bool,
}

impl Failure {
    const fn note(&mut self) {
        self.times = self.times.saturating_add(1);
        self.at = None;
        self.is_trying = false;
    }

    /// True if it is to be tried now, which is said once.
    fn begins(&mut self, now: Instant) -> bool {
        let doubled = self.times.saturating_sub(1).min(16);
        let pause = RETRY_FIRST.saturating_mul(1 << doubled).min(RETRY_MAX);
        let at = *self.at.get_or_insert_with(|| now.plus(pause));
        let begins = !self.is_trying && at <= now;
        self.is_trying |= begins;
        begins
    }

    /// When somebody must look, if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.is_trying).then(|| self.at.unwrap_or(Instant(0)))
    }
}

/// The loads of one core.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// Partitions whose coordinators are loading.
    waiting: BTreeSet<TopicPartition>,
    /// Since when, and when it was last told.
    began: Option<(Instant, Instant)>,
    partitions: u64,
    records: u64,
    bytes: u64,
}

impl Load {
    pub(crate) fn new(number: u64, coordinator: Coordinator, batch_bytes_max: usize) -> Self {
        Self {
            coordinator,
            next: Offset::ZERO,
            number,
            is_reading: false,
            batch_bytes_max,
            gone: Vec::new(),
            open: OpenOffsets::default(),
            unread: 0,
            why_unread: None,
        }
    }

    /// A record that counts.
    fn replay(&mut self, offset: Offset, key: &Bytes, value: Option<&[u8]>) {
        self.open.supersede(key, offset);
        if let Err(error) = self.coordinator.replay(key, value) {
            self.unread += 1;
            self.why_unread.get_or_insert_with(|| error.to_string());
        }
    }

    /// Replays whole batches. Gives how many records they had.
    fn take(&mut self, mut run: Bytes, scratch: &mut Scratch) -> Result<u64, String> {
        let mut count = 0;
        while !run.is_empty() {
            let header = batch::read(&run).map_err(|error| error.to_string())?;
            if header.size > run.len() {
                return Err("a batch is not whole".to_owned());
            }
            let whole = run.split_to(header.size);
            let attributes = header.attributes;
            let producer = header.producer.map(|producer| producer.id);
            let producer = producer.filter(|_| attributes.is_transactional());
            let records = batch::records(&whole, self.batch_bytes_max, scratch);
            for record in records.map_err(|error| error.to_string())? {
                let record = record.map_err(|error| error.to_string())?;
                count += 1;
                let Some(key) = record.key else { continue };
                if attributes.is_control() {
                    self.end_transaction(producer, key);
                    continue;
                }
                let offset = record.offset;
                match (producer, record.value) {
                    (Some(id), Some(value)) => self.open.keep(id, key, Pending { offset, value }),
                    (_, value) => self.replay(offset, &key, value.as_deref()),
                }
            }
            self.next = header.end_offset();
        }
        Ok(count)
    }

    /// A control record: what the producer wrote before it counts, or does not.
    fn end_transaction(&mut self, producer: Option<ProducerId>, mut key: Bytes) {
        const ABORT: i16 = 0;
        const COMMIT: i16 = 1;
        let Some(producer) = producer.filter(|_| key.len() >= 4) else {
            return;
        };
        key.advance(2);
        let end = key.get_i16();
        if ![ABORT, COMMIT].contains(&end) {
            return;
        }
        for (key, Pending { offset, value }) in self.open.end(producer) {
            if end == COMMIT {
                self.replay(offset, &key, Some(&value));
            }
        }
    }
}

impl Engine {
    /// Has the log of a coordinator read from its beginning.
    pub(crate) fn begin_load(&mut self, partition: TopicPartition) {
        let Some(host) = self.groups.hosts.get(&partition) else {
            return;
        };
        let log = self.partition(host.slot);
        let batch_bytes_max = log.map_or(0, |log| log.config.message_bytes_max as usize);
        let number = self.groups.next_load;
        self.groups.next_load += 1;
        let fresh = self.groups.fresh(batch_bytes_max);
        let load = Load::new(number, fresh, batch_bytes_max.max(BATCH_BYTES_MAX));
        if let Some(host) = self.groups.hosts.get_mut(&partition) {
            host.state = State::Loading(Box::new(load));
            self.groups.loads.waiting.insert(partition);
            self.groups.loads.partitions += 1;
        }
    }

    /// True if some load could go on at once.
    pub(crate) fn loads_can_go_on(&self) -> bool {
        let mut under_way = 0;
        for &partition in &self.groups.loads.waiting {
            match self.next_of_load(partition) {
                NextOfLoad::Wait => under_way += 1,
                NextOfLoad::Read(_) if under_way >= LOADS_MAX => {}
                NextOfLoad::Read(_) | NextOfLoad::Gone | NextOfLoad::End => return true,
            }
        }
        false
    }

    fn next_of_load(&self, partition: TopicPartition) -> NextOfLoad {
        let Some(host) = self.groups.hosts.get(&partition) else {
            return NextOfLoad::Gone;
        };
        let State::Loading(load) = &host.state else {
            return NextOfLoad::Gone;
        };
        let Some(log) = self.partition(host.slot) else {
            return NextOfLoad::Gone;
        };
        if load.is_reading {
            return NextOfLoad::Wait;
        }
        let cursors = log.leader.cursors();
        let next = load.next.max(cursors.log_start);
        if next >= cursors.log_end {
            NextOfLoad::End
        } else if next < log.leader.readable_end(IsolationLevel::ReadUncommitted) {
            NextOfLoad::Read(next)
        } else {
            // What was written and is not committed yet counts as well, once it is.
            NextOfLoad::Wait
        }
    }

    /// Brings loads forward: a slice of each, of a few at a time.
    pub(crate) fn load_groups(&mut self, now: Now) {
        self.retry_loads(now.instant);
        if self.groups.loads.waiting.is_empty() {
            return;
        }
        self.groups.loads.tell(now.instant);
        let waiting = self.groups.loads.waiting.iter();
        let waiting: Vec<TopicPartition> = waiting.copied().collect();
        let mut under_way = 0;
        for partition in waiting {
            match self.next_of_load(partition) {
                NextOfLoad::Wait => under_way += 1,
                NextOfLoad::Gone => {
                    self.groups.loads.waiting.remove(&partition);
                }
                NextOfLoad::Read(offset) if under_way < LOADS_MAX => {
                    under_way += 1;
                    self.read_slice(partition, offset);
                }
                NextOfLoad::Read(_) => {}
                NextOfLoad::End => self.end_load(now, partition),
            }
        }
        if self.groups.loads.waiting.is_empty() {
            let loads = mem::take(&mut self.groups.loads);
            self.groups.loaded.add(&loads.end(now.instant));
        }
    }

    /// Logs that could not be read may be readable again: what was in the way may have gone.
    fn retry_loads(&mut self, now: Instant) {
        if self.groups.failures.is_empty() {
            return;
        }
        let failures = self.groups.failures.iter_mut();
        let due = failures.filter_map(|(&partition, failure)| {
            let begins = failure.begins(now);
            begins.then_some(partition)
        });
        let due: Vec<TopicPartition> = due.collect();
        for partition in due {
            self.begin_load(partition);
        }
    }

    fn read_slice(&mut self, partition: TopicPartition, offset: Offset) {
        let Some(host) = self.groups.hosts.get_mut(&partition) else {
            return;
        };
        let State::Loading(load) = &mut host.state else {
            return;
        };
        load.is_reading = true;
        let number = load.number;
        let part = ReadPartition {
            partition,
            offset,
            leader_epoch: None,
            last_epoch: None,
            bytes_max: SLICE_BYTES,
        };
        let call = ReadCall::new(IsolationLevel::ReadUncommitted, SLICE_BYTES, vec![part]);
        self.read_for(Asker::Load(partition, number), call);
    }

    /// A slice was read.
    pub(crate) fn on_slice(&mut self, partition: TopicPartition, number: u64, call: &ReadCall) {
        let Some(host) = self.groups.hosts.get_mut(&partition) else {
            return;
        };
        let Some(load) = host.load(number) else {
            return;
        };
        load.is_reading = false;
        let outcome = call.outcomes.first();
        let failure = match outcome.and_then(|outcome| outcome.error) {
            // The start of the log has moved: that is looked at anew.
            Some(ReadError::OutOfRange) => None,
            Some(error) => Some(format!("{error:?}")),
            None => {
                let before = load.next;
                let mut failure = None;
                for run in &call.records {
                    self.groups.loads.bytes += run.len() as u64;
                    match load.take(run.clone(), &mut self.scratch) {
                        Ok(records) => self.groups.loads.records += records,
                        Err(error) => failure = Some(error),
                    }
                }
                let is_stuck = load.next == before;
                failure.or_else(|| is_stuck.then(|| "nothing was found there".to_owned()))
            }
        };
        if let Some(failure) = failure {
            let offset = load.next;
            host.state = State::Failed;
            self.groups.loads.waiting.remove(&partition);
            let failed = self.groups.failures.entry(partition).or_default();
            failed.note();
            if failed.times > 1 {
                return;
            }
            tracing::error!(
                %partition, %offset, failure,
                "the log of a group coordinator cannot be read: its groups are not served, because offsets that were committed may be missing; it is tried again from time to time; if it is damaged, bring back this partition of __consumer_offsets from a copy and start again, or delete the topic and begin with new groups"
            );
        }
    }

    fn end_load(&mut self, now: Now, partition: TopicPartition) {
        self.groups.loads.waiting.remove(&partition);
        let Some(host) = self.groups.hosts.get_mut(&partition) else {
            return;
        };
        let State::Loading(load) = mem::replace(&mut host.state, State::Failed) else {
            return;
        };
        if let Some(first) = &load.why_unread {
            tracing::warn!(
                %partition, records = load.unread, first,
                "records of groups that this version does not know were left out"
            );
        }
        if let Some(failure) = self.groups.failures.remove(&partition) {
            tracing::info!(
                %partition, failures = failure.times,
                "the log of a group coordinator can be read again: its groups are served"
            );
        }
        self.activate(now, partition, load.coordinator, &load.gone);
    }
}

/// What a load does next.
enum NextOfLoad {
    /// There is nothing to load any more.
    Gone,
    /// Something is awaited.
    Wait,
    /// The slice from this offset on is to be read.
    Read(Offset),
    /// All was read.
    End,
}

impl Loads {
    /// Says how far a long load is.
    fn tell(&mut self, now: Instant) {
        let (began, said) = self.began.get_or_insert((now, now));
        if now.since(*said) < SAID_EVERY {
            return;
        }
        *said = now;
        tracing::info!(
            partitions_left = self.waiting.len(),
            records = self.records,
            bytes = self.bytes,
            seconds = now.since(*began).as_secs(),
            "groups are being loaded"
        );
    }

    /// Says what was loaded, if that was anything.
    fn end(self, now: Instant) -> Loaded {
        let began = self.began.map_or(now, |(began, _)| began);
        let loaded = Loaded {
            partitions: self.partitions,
            records: self.records,
            bytes: self.bytes,
            ms: u64::try_from(now.since(began).as_millis()).unwrap_or(u64::MAX),
        };
        if self.records > 0 {
            let Loaded { partitions, ms, .. } = loaded;
            let (records, bytes) = (loaded.records, loaded.bytes);
            tracing::info!(partitions, records, bytes, ms, "groups are loaded");
        }
        loaded
    }
}

#[cfg(test)]
mod tests {
    use klamm_coord::{
        Command, CommitOffsets, CommitPartition, CommitTopic, Decision, FetchOffsets, GroupConfig,
        GroupId, Moment, Record, Reply, Ticket, TimerKey, TopicReference,
    };
    use klamm_model::{
        PartitionIndex, ProducerEpoch, ProducerStamp, Sequence, Timestamp, TopicId, TopicName,
        WallTime,
    };
    use klamm_records::batch::{BatchBuilder, BatchOptions};

    use super::*;

    const MOMENT: Moment = Moment {
        now: Instant(0),
        wall: WallTime(0),
        seed: 7,
    };

    fn topic() -> TopicReference {
        TopicReference {
            name: TopicName::new("read").expect("legal"),
            id: TopicId::ZERO,
        }
    }

    fn decided(coordinator: &mut Coordinator, command: Command) -> Decision<Reply, TimerKey> {
        coordinator.decide(MOMENT, Ticket(1), command)
    }

    /// The record of an offset that is kept.
    fn record(offset: i64) -> Record {
        let mut coordinator = Coordinator::new(GroupConfig::default());
        let commit = Command::CommitOffsets(CommitOffsets {
            group: GroupId::new("g"),
            member: None,
            instance: None,
            generation: None,
            understands_epochs: false,
            retention: None,
            topics: vec![CommitTopic {
                topic: topic(),
                partitions: vec![CommitPartition {
                    partition: PartitionIndex(0),
                    offset: Offset(offset),
                    leader_epoch: None,
                    metadata: String::new(),
                }],
            }],
        });
        decided(&mut coordinator, commit).records.remove(0)
    }

    /// A log as Kafka writes it, one record in each batch.
    struct Log {
        load: Load,
        next: i64,
    }

    impl Log {
        fn new() -> Self {
            let coordinator = Coordinator::new(GroupConfig::default());
            Self {
                load: Load::new(0, coordinator, BATCH_BYTES_MAX),
                next: 0,
            }
        }

        fn write(&mut self, producer: Option<i64>, control: bool, record: &Record) {
            let options = BatchOptions {
                producer: producer.map(|id| ProducerStamp {
                    id: ProducerId(id),
                    epoch: ProducerEpoch(0),
                    base_sequence: Sequence(0),
                }),
                transactional: producer.is_some(),
                control,
                base_offset: Offset(self.next),
                ..BatchOptions::default()
            };
            let mut batch = BatchBuilder::new(options);
            batch.append(
                Timestamp(0),
                Some(&record.key),
                record.value.as_deref(),
                &[],
            );
            self.next += 1;
            let batch = batch.build().expect("small");
            let taken = self.load.take(batch.into(), &mut Scratch::default());
            assert_eq!(taken, Ok(1));
        }

        fn commit(&mut self, producer: Option<i64>, offset: i64) {
            self.write(producer, false, &record(offset));
        }

        fn forget(&mut self) {
            let key = record(0).key;
            self.write(None, false, &Record { key, value: None });
        }

        fn end(&mut self, producer: i64, is_commit: bool) {
            let key = vec![0, 0, 0, u8::from(is_commit)].into();
            let value = Some(Bytes::from_static(&[0; 6]));
            self.write(Some(producer), true, &Record { key, value });
        }

        /// The offset that is kept.
        fn kept(&mut self) -> Option<i64> {
            let fetch = Command::FetchOffsets(FetchOffsets {
                group: GroupId::new("g"),
                topics: None,
                from: None,
                member: None,
                require_stable: false,
            });
            let mut decision = decided(&mut self.load.coordinator, fetch);
            let Some((_, Reply::FetchOffsets(Ok(fetched)))) = decision.replies.pop() else {
                panic!("a fetch is answered");
            };
            let kept = fetched.topics.first()?.partitions[0].1.as_ref();
            kept.map(|kept| kept.offset.0)
        }
    }

    #[test]
    fn offsets_of_a_transaction_count_from_its_commit_and_never_after_its_abort() {
        let mut log = Log::new();
        log.commit(None, 1);
        log.commit(Some(7), 2);
        assert_eq!(log.kept(), Some(1), "it is open");
        log.end(7, true);
        assert_eq!(log.kept(), Some(2));
        log.commit(Some(7), 3);
        log.end(7, false);
        assert_eq!(log.kept(), Some(2));
        log.commit(Some(7), 4);
        assert_eq!(log.kept(), Some(2), "one that never ends does not count");
    }

    #[test]
    fn a_marker_does_not_bring_back_what_is_older_than_a_plain_commit_or_a_deletion() {
        let mut log = Log::new();
        log.commit(Some(7), 1);
        log.commit(None, 2);
        log.end(7, true);
        assert_eq!(log.kept(), Some(2));
        log.commit(Some(7), 3);
        log.forget();
        log.end(7, true);
        assert_eq!(log.kept(), None);
    }

    #[test]
    fn of_two_transactions_the_one_counts_that_wrote_last_whichever_ends_last() {
        let mut log = Log::new();
        log.commit(Some(7), 1);
        log.commit(Some(8), 2);
        log.end(8, true);
        log.end(7, true);
        assert_eq!(log.kept(), Some(2));
        log.commit(Some(7), 3);
        log.commit(Some(8), 4);
        log.end(7, true);
        assert_eq!(log.kept(), Some(3));
        log.end(8, false);
        assert_eq!(log.kept(), Some(3));
    }

    #[test]
    fn a_log_that_cannot_be_read_is_tried_again_ever_less_often() {
        let mut failure = Failure::default();
        let mut now = Instant(1);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            failure.note();
            assert!(!failure.begins(now), "not at once");
            let at = failure.deadline().expect("a time is set");
            pauses.push(at.since(now).as_secs());
            now = at;
            assert!(failure.begins(now));
            assert!(!failure.begins(now.plus(RETRY_MAX)), "one at a time");
            assert_eq!(failure.deadline(), None, "the read itself is awaited");
        }
        assert_eq!(pauses[..4], [1, 2, 4, 8]);
        assert_eq!(pauses[10..], [300, 300]);
    }
}
