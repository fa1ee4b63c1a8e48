//! The way of a group coordinator's log into its memory: slices through the engine's own read path,
//! one in each turn, so that nobody else on the core has to wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use bytes::{Buf, Bytes};
use klamm_coord::Coordinator;
use klamm_model::{Instant, IsolationLevel, Offset, ProducerId, TopicPartition};
use klamm_records::batch;
use klamm_records::compress::Scratch;

use crate::api::{Now, ReadCall, ReadError, ReadPartition};
use crate::engine::Engine;
use crate::groups::State;
use crate::read::Asker;

/// Bytes of a log that are replayed in one turn, unless a batch is larger.
const SLICE_BYTES: usize = 256 << 10;

/// Logs that are read at once: what was read waits in memory.
const LOADS_MAX: usize = 4;

/// Bytes of one batch at most, once it is decompressed.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// How often a long load says how far it is.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// One coordinator that is loading.
#[derive(Debug)]
pub(crate) struct Load {
    coordinator: Coordinator,
    /// Where the next slice begins.
    next: Offset,
    /// A slice is being read.
    is_reading: bool,
    /// Records of transactions whose end was not read yet (of a folder that was Kafka's).
    open: BTreeMap<ProducerId, Vec<Replayed>>,
    /// Records that the coordinator could not read, and the first reason.
    unread: u64,
    why_unread: Option<String>,
}

#[derive(Debug)]
struct Replayed {
    key: Bytes,
    value: Option<Bytes>,
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
    fn new(coordinator: Coordinator) -> Self {
        Self {
            coordinator,
            next: Offset::ZERO,
            is_reading: false,
            open: BTreeMap::new(),
            unread: 0,
            why_unread: None,
        }
    }

    fn replay(&mut self, record: &Replayed) {
        let Replayed { key, value } = record;
        if let Err(error) = self.coordinator.replay(key, value.as_deref()) {
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
            let records = batch::records(&whole, BATCH_BYTES_MAX, scratch);
            for record in records.map_err(|error| error.to_string())? {
                let record = record.map_err(|error| error.to_string())?;
                count += 1;
                let Some(key) = record.key else { continue };
                if attributes.is_control() {
                    self.end_transaction(producer, key);
                    continue;
                }
                let replayed = Replayed {
                    key,
                    value: record.value,
                };
                match producer {
                    Some(id) => self.open.entry(id).or_default().push(replayed),
                    None => self.replay(&replayed),
                }
            }
            self.next = header.end_offset();
        }
        Ok(count)
    }

    /// A control record: what the producer wrote before it counts, or does not.
    fn end_transaction(&mut self, producer: Option<ProducerId>, mut key: Bytes) {
        const COMMIT: i16 = 1;
        let records = producer.and_then(|id| self.open.remove(&id));
        if key.len() < 4 {
            return;
        }
        key.advance(2);
        if key.get_i16() == COMMIT {
            for record in records.unwrap_or_default() {
                self.replay(&record);
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
        let load = Load::new(self.groups.fresh(batch_bytes_max));
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
            mem::take(&mut self.groups.loads).tell_end(now.instant);
        }
    }

    fn read_slice(&mut self, partition: TopicPartition, offset: Offset) {
        if let Some(host) = self.groups.hosts.get_mut(&partition)
            && let State::Loading(load) = &mut host.state
        {
            load.is_reading = true;
        }
        let part = ReadPartition {
            partition,
            offset,
            leader_epoch: None,
            last_epoch: None,
            bytes_max: SLICE_BYTES,
        };
        let call = ReadCall::new(IsolationLevel::ReadUncommitted, SLICE_BYTES, vec![part]);
        self.read_for(Asker::Load(partition), call);
    }

    /// A slice was read.
    pub(crate) fn on_slice(&mut self, partition: TopicPartition, call: &ReadCall) {
        let Some(host) = self.groups.hosts.get_mut(&partition) else {
            return;
        };
        let State::Loading(load) = &mut host.state else {
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
            tracing::error!(
                %partition, %offset, failure,
                "the log of a group coordinator cannot be read: its groups are not served, because offsets that were committed may be missing"
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
        self.activate(now, partition, load.coordinator);
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

    fn tell_end(self, now: Instant) {
        let began = self.began.map_or(now, |(began, _)| began);
        if self.records > 0 {
            tracing::info!(
                partitions = self.partitions,
                records = self.records,
                bytes = self.bytes,
                ms = now.since(began).as_millis() as u64,
                "groups are loaded"
            );
        }
    }
}
