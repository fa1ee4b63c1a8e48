//! The consuming machine without a group: partitions assigned by the caller, one Fetch in flight
//! per leader, records in order per partition. Owns the positions, the fetch sessions and what was
//! fetched and not yet read, up to a ceiling; time is an argument.

mod find;
mod options;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use klamm_model::{ErrorCode, Instant, IsolationLevel, NodeId, Offset, Retriability, TopicName};
use klamm_records::batch::Record;
use klamm_records::compress::Scratch;

use crate::append::Refused;
use crate::error::BrokerError;
use crate::fetch::{FetchAnswer, FetchPlan, FetchRow, FetchedPartition, RecordFault, RecordReader};
use crate::metadata::{Cluster, PartitionName};
use crate::offsets::OffsetSpec;

pub use options::{ConsumerOptions, OffsetReset, StartAt};

use session::FetchSession;

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Refresh the metadata of these topics.
    Refresh(Vec<TopicName>),
    /// Ask this node for offsets (ListOffsets); then tell
    /// [`on_offsets`](Fetcher::on_offsets) or [`on_offsets_lost`](Fetcher::on_offsets_lost).
    FindOffsets {
        /// Leader of all the partitions.
        node: NodeId,
        /// What to find.
        wanted: Vec<(PartitionName, OffsetSpec)>,
    },
    /// Fetch from this node; then tell [`on_answer`](Fetcher::on_answer),
    /// [`on_refusal`](Fetcher::on_refusal) or [`on_lost`](Fetcher::on_lost).
    Fetch {
        /// Leader of all the partitions.
        node: NodeId,
        /// What to ask for.
        plan: FetchPlan,
    },
}

/// Why a partition cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The position lies outside the log; seek, then go on.
    OutOfRange {
        /// Where it was.
        position: Offset,
        /// First offset that can be read, where the version tells.
        log_start: Option<Offset>,
    },
    /// The leader refuses for good.
    Refused(BrokerError),
    /// What came is no record; seek beyond it, or give up.
    Corrupt(RecordFault),
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfRange {
                position,
                log_start,
            } => {
                write!(formatter, "offset {position} is out of range")?;
                match log_start {
                    Some(start) => write!(formatter, ", the log starts at {start}"),
                    None => Ok(()),
                }
            }
            Self::Refused(error) => error.fmt(formatter),
            Self::Corrupt(fault) => fault.fmt(formatter),
        }
    }
}

impl std::error::Error for FetchError {}

/// Something read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record.
    Record(PartitionName, Record),
    /// The partition was read to its end at this position; more may come later.
    End(PartitionName, Offset),
    /// The position lay outside the log; reading goes on where `auto.offset.reset` says. Records
    /// between may have gone unread.
    Reset {
        /// The partition.
        partition: PartitionName,
        /// Where it was.
        position: Offset,
        /// First offset that can be read, where the version tells.
        log_start: Option<Offset>,
        /// Where it goes on.
        to: StartAt,
    },
    /// The partition stands still until [`Fetcher::seek`].
    Failed(PartitionName, FetchError),
}

impl Event {
    /// The partition that it is about.
    #[must_use]
    pub const fn partition(&self) -> &PartitionName {
        match self {
            Self::Record(partition, _)
            | Self::End(partition, _)
            | Self::Failed(partition, _)
            | Self::Reset { partition, .. } => partition,
        }
    }
}

/// Where a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// From here on.
    At(Offset),
    /// Its leader has to be asked first.
    ToFind(OffsetSpec),
}

/// What stands in the way of a Fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing.
    Idle,
    /// Fetched and unread, or in flight, or its offset is being found.
    Busy,
    /// It failed for good.
    Failed,
}

#[derive(Debug)]
struct Assigned {
    position: Position,
    stage: Stage,
    paused: bool,
    not_before: Instant,
    /// Failures in a row.
    failures: u32,
    /// Counts seeks and pauses, so that an answer to an older position is dropped.
    generation: u64,
    /// The end that the leader told last, by the isolation asked for.
    end: Option<Offset>,
    /// The end that the reader was told last.
    end_told: Option<Offset>,
}

impl Assigned {
    fn is_ready(&self, now: Instant) -> bool {
        self.stage == Stage::Idle && !self.paused && self.not_before <= now
    }
}

#[derive(Debug)]
struct Unread {
    partition: PartitionName,
    generation: u64,
    bytes: usize,
    reader: RecordReader,
}

/// The machine.
#[derive(Debug)]
pub struct Fetcher {
    options: ConsumerOptions,
    assigned: BTreeMap<PartitionName, Assigned>,
    in_flight: BTreeMap<NodeId, Vec<(PartitionName, u64)>>,
    finding: BTreeMap<NodeId, Vec<(PartitionName, u64)>>,
    sessions: BTreeMap<NodeId, FetchSession>,
    unread: VecDeque<Unread>,
    unread_bytes: usize,
    events: VecDeque<Event>,
    doubtful: BTreeSet<TopicName>,
    refresh_not_before: Instant,
    /// When all topics are asked for because of their age.
    refresh_due: Option<Instant>,
    next_generation: u64,
    scratch: Scratch,
}

impl Fetcher {
    /// A fetcher without partitions.
    #[must_use]
    pub fn new(options: ConsumerOptions) -> Self {
        Self {
            options,
            assigned: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            finding: BTreeMap::new(),
            sessions: BTreeMap::new(),
            unread: VecDeque::new(),
            unread_bytes: 0,
            events: VecDeque::new(),
            doubtful: BTreeSet::new(),
            refresh_not_before: Instant::default(),
            refresh_due: None,
            next_generation: 0,
            scratch: Scratch::new(),
        }
    }

    /// The options given at the start.
    #[must_use]
    pub const fn options(&self) -> &ConsumerOptions {
        &self.options
    }

    /// Reads a partition from here on, whether it was assigned before or not. What was fetched of
    /// it and not read is dropped; a pause stays.
    pub fn seek(&mut self, partition: PartitionName, start: impl Into<StartAt>) {
        let start = start.into();
        let position = match start {
            StartAt::Offset(offset) => Position::At(offset),
            StartAt::Earliest => Position::ToFind(OffsetSpec::Earliest),
            StartAt::Latest => Position::ToFind(OffsetSpec::Latest),
            StartAt::Time(time) => Position::ToFind(OffsetSpec::AtTime(time)),
        };
        let before = self.assigned.get(&partition);
        let paused = before.is_some_and(|it| it.paused);
        // A session's leader does not tell the end again while it stays.
        let end = before.and_then(|it| it.end);
        self.drop_unread(&partition);
        let generation = self.generation();
        self.assigned.insert(
            partition,
            Assigned {
                position,
                stage: Stage::Idle,
                paused,
                not_before: Instant::default(),
                failures: 0,
                generation,
                end,
                end_told: None,
            },
        );
    }

    fn generation(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation
    }

    /// Stops reading a partition.
    pub fn remove(&mut self, partition: &PartitionName) {
        self.drop_unread(partition);
        self.assigned.remove(partition);
    }

    /// The partitions assigned, in the order of their names.
    pub fn assignment(&self) -> impl Iterator<Item = &PartitionName> {
        self.assigned.keys()
    }

    /// Hands out nothing more of a partition until [`resume`](Self::resume), and fetches nothing
    /// of it. The position stays; what was fetched and not read is fetched again later. False if
    /// the partition is not assigned.
    pub fn pause(&mut self, partition: &PartitionName) -> bool {
        let position = self.position(partition);
        let generation = self.generation();
        let Some(assigned) = self.assigned.get_mut(partition) else {
            return false;
        };
        if assigned.paused {
            return true;
        }
        assigned.paused = true;
        assigned.generation = generation;
        if assigned.stage == Stage::Busy {
            assigned.stage = Stage::Idle;
        }
        if let Some(position) = position {
            assigned.position = Position::At(position);
        }
        self.drop_unread(partition);
        true
    }

    /// Goes on with a partition. False if it is not assigned.
    pub fn resume(&mut self, partition: &PartitionName) -> bool {
        let assigned = self.assigned.get_mut(partition);
        assigned.map(|it| it.paused = false).is_some()
    }

    /// True for a partition that is assigned and paused.
    #[must_use]
    pub fn is_paused(&self, partition: &PartitionName) -> bool {
        self.assigned.get(partition).is_some_and(|it| it.paused)
    }

    /// The offset of the next record to be handed out; `None` while it has to be found, and for
    /// partitions that are not assigned.
    #[must_use]
    pub fn position(&self, partition: &PartitionName) -> Option<Offset> {
        let assigned = self.assigned.get(partition)?;
        let mut unread = self.unread.iter().filter(|it| it.partition == *partition);
        match (unread.next(), assigned.position) {
            (Some(unread), _) => Some(unread.reader.position()),
            (None, Position::At(offset)) => Some(offset),
            (None, Position::ToFind(_)) => None,
        }
    }

    /// Records between the position and the end that the leader told last, by the isolation asked
    /// for.
    #[must_use]
    pub fn lag(&self, partition: &PartitionName) -> Option<u64> {
        let end = self.assigned.get(partition)?.end?;
        let behind = end.0.saturating_sub(self.position(partition)?.0);
        Some(u64::try_from(behind).unwrap_or(0))
    }

    fn drop_unread(&mut self, partition: &PartitionName) {
        let dropped = self.unread.iter().filter(|it| it.partition == *partition);
        self.unread_bytes -= dropped.map(|it| it.bytes).sum::<usize>();
        self.unread.retain(|it| it.partition != *partition);
        self.events.retain(|event| event.partition() != partition);
    }

    /// What to do now. Call until `None`; then again after answers and reads.
    pub fn poll(&mut self, now: Instant, cluster: &Cluster) -> Option<Action> {
        if let Some(action) = self.next_search(now, cluster) {
            return Some(action);
        }
        if self.unread_bytes < self.options.fetched_bytes_max
            && let Some(action) = self.next_fetch(now, cluster)
        {
            return Some(action);
        }
        self.next_refresh(now)
    }

    fn next_refresh(&mut self, now: Instant) -> Option<Action> {
        if self.assigned.is_empty() {
            return None;
        }
        let age_max = self.options.metadata_age_max;
        if *self.refresh_due.get_or_insert_with(|| now.plus(age_max)) <= now {
            let topics = self.assigned.keys().map(|it| it.topic.clone());
            self.doubtful.extend(topics);
            self.refresh_due = Some(now.plus(age_max));
        }
        if self.doubtful.is_empty() || now < self.refresh_not_before {
            return None;
        }
        self.refresh_not_before = now.plus(self.options.retry_backoff);
        self.refresh_due = Some(now.plus(age_max));
        let topics = std::mem::take(&mut self.doubtful);
        Some(Action::Refresh(topics.into_iter().collect()))
    }

    fn next_fetch(&mut self, now: Instant, cluster: &Cluster) -> Option<Action> {
        let mut by_node: BTreeMap<NodeId, Vec<FetchRow>> = BTreeMap::new();
        for (partition, assigned) in &self.assigned {
            let Position::At(position) = assigned.position else {
                continue;
            };
            if !assigned.is_ready(now) {
                continue;
            }
            match cluster.leader(partition) {
                Some(node) if self.in_flight.contains_key(&node) => {}
                Some(node) => {
                    let row = FetchRow::new(partition.clone(), position, cluster);
                    by_node.entry(node).or_default().push(row);
                }
                None => {
                    self.doubtful.insert(partition.topic.clone());
                }
            }
        }
        let (node, rows) = by_node.pop_first()?;
        let mut asked = Vec::new();
        for row in &rows {
            let assigned = self.assigned.get_mut(&row.partition).expect("just seen");
            assigned.stage = Stage::Busy;
            asked.push((row.partition.clone(), assigned.generation));
        }
        self.in_flight.insert(node, asked);
        let session = self.sessions.entry(node).or_default();
        let plan = session.plan(rows, self.options.sessions);
        Some(Action::Fetch { node, plan })
    }

    /// When [`poll`](Self::poll) will have something to do without further input.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let waiting = self.assigned.values().filter(|it| it.stage == Stage::Idle);
        let waiting = waiting.map(|it| it.not_before).filter(|at| *at > now);
        let refresh = (!self.doubtful.is_empty()).then_some(self.refresh_not_before);
        let aged = self.refresh_due.filter(|_| !self.assigned.is_empty());
        waiting.chain(refresh).chain(aged).min()
    }

    /// A leader's answer.
    pub fn on_answer(
        &mut self,
        now: Instant,
        node: NodeId,
        answer: FetchAnswer,
        cluster: &mut Cluster,
    ) {
        let mut asked: BTreeMap<PartitionName, u64> = self
            .in_flight
            .remove(&node)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let session = self.sessions.entry(node).or_default();
        let incremental = session.is_incremental();
        session.on_answer(answer.session_id);
        for (partition, outcome) in answer.outcomes {
            let Some(generation) = asked.remove(&partition) else {
                continue;
            };
            if !self.is_current(&partition, generation) {
                continue;
            }
            match outcome {
                Ok(fetched) => self.on_fetched(partition, fetched),
                Err(refused) => self.on_refused(now, partition, refused, cluster),
            }
        }
        for (partition, generation) in asked {
            if !self.is_current(&partition, generation) {
                continue;
            }
            if incremental {
                self.on_no_news(partition);
            } else {
                self.wait(now, &partition);
            }
        }
    }

    fn is_current(&self, partition: &PartitionName, generation: u64) -> bool {
        let assigned = self.assigned.get(partition);
        assigned.is_some_and(|it| it.generation == generation)
    }

    fn on_fetched(&mut self, partition: PartitionName, fetched: FetchedPartition) {
        let assigned = self.assigned.get_mut(&partition).expect("just seen");
        let isolation = self.options.fetch.isolation;
        assigned.end = Some(match (isolation, fetched.last_stable) {
            (IsolationLevel::ReadCommitted, Some(end)) => end,
            _ => fetched.high_watermark,
        });
        assigned.failures = 0;
        let Position::At(position) = assigned.position else {
            unreachable!("what is fetched has an offset");
        };
        let generation = assigned.generation;
        let bytes = fetched.records.len();
        if bytes == 0 {
            assigned.stage = Stage::Idle;
            return self.tell_end(partition);
        }
        self.unread_bytes += bytes;
        self.unread.push_back(Unread {
            partition,
            generation,
            bytes,
            reader: RecordReader::new(fetched, position, isolation),
        });
    }

    /// A session's answer leaves out partitions of which there is nothing new.
    fn on_no_news(&mut self, partition: PartitionName) {
        let assigned = self.assigned.get_mut(&partition).expect("just seen");
        assigned.stage = Stage::Idle;
        self.tell_end(partition);
    }

    /// Tells the reader once that it stands at the end.
    fn tell_end(&mut self, partition: PartitionName) {
        let Some(assigned) = self.assigned.get_mut(&partition) else {
            return;
        };
        if let Position::At(position) = assigned.position
            && assigned.end.is_some_and(|end| position >= end)
            && assigned.end_told != Some(position)
        {
            assigned.end_told = Some(position);
            self.events.push_back(Event::End(partition, position));
        }
    }

    fn on_refused(
        &mut self,
        now: Instant,
        partition: PartitionName,
        refused: Refused,
        cluster: &mut Cluster,
    ) {
        let code = refused.error.code;
        if code.retriability() == Retriability::Retriable && code != ErrorCode::OffsetOutOfRange {
            self.doubt(now, &partition, refused, cluster);
            return;
        }
        if code != ErrorCode::OffsetOutOfRange {
            self.fail(partition, FetchError::Refused(refused.error));
            return;
        }
        let Position::At(position) = self.assigned[&partition].position else {
            unreachable!("what is fetched has an offset");
        };
        let log_start = refused.log_start;
        let Some(to) = self.options.offset_reset.start() else {
            let error = FetchError::OutOfRange {
                position,
                log_start,
            };
            return self.fail(partition, error);
        };
        self.seek(partition.clone(), to);
        self.events.push_back(Event::Reset {
            partition,
            position,
            log_start,
            to,
        });
    }

    /// Takes note of who does not lead, and waits.
    fn doubt(
        &mut self,
        now: Instant,
        partition: &PartitionName,
        refused: Refused,
        cluster: &mut Cluster,
    ) {
        cluster.forget_leader(partition);
        match refused.leader {
            Some((leader, epoch)) => cluster.hint_leader(partition, leader, epoch),
            None => {
                self.doubtful.insert(partition.topic.clone());
            }
        }
        self.wait(now, partition);
    }

    fn wait(&mut self, now: Instant, partition: &PartitionName) {
        if let Some(assigned) = self.assigned.get_mut(partition) {
            let first = self.options.retry_backoff;
            let pause = first.saturating_mul(1 << assigned.failures.min(16));
            assigned.failures = assigned.failures.saturating_add(1);
            assigned.stage = Stage::Idle;
            assigned.not_before = now.plus(pause.min(self.options.retry_backoff_max.max(first)));
        }
    }

    fn fail(&mut self, partition: PartitionName, error: FetchError) {
        if let Some(assigned) = self.assigned.get_mut(&partition) {
            assigned.stage = Stage::Failed;
        }
        self.events.push_back(Event::Failed(partition, error));
    }

    /// The leader refused the Fetch as a whole, in a way that may pass.
    pub fn on_refusal(&mut self, now: Instant, node: NodeId, error: &BrokerError) {
        let unknown = error.code == ErrorCode::FetchSessionIdNotFound;
        self.give_back(now, node);
        let session = self.sessions.entry(node).or_default();
        if unknown {
            session.forget();
        } else {
            session.begin_anew();
        }
    }

    /// The Fetch to this node will not be answered.
    pub fn on_lost(&mut self, now: Instant, node: NodeId) {
        let lost = self.in_flight.get(&node).into_iter().flatten();
        let topics: Vec<TopicName> = lost.map(|(it, _)| it.topic.clone()).collect();
        self.doubtful.extend(topics);
        self.give_back(now, node);
        self.sessions.entry(node).or_default().begin_anew();
    }

    fn give_back(&mut self, now: Instant, node: NodeId) {
        for (partition, generation) in self.in_flight.remove(&node).unwrap_or_default() {
            if self.is_current(&partition, generation) {
                self.wait(now, &partition);
            }
        }
    }

    /// The next record or event of what was fetched; `None` when all has been read.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let unread = self.unread.front_mut()?;
            match unread.reader.next_record(&mut self.scratch) {
                Some(Ok(record)) => {
                    return Some(Event::Record(unread.partition.clone(), record));
                }
                Some(Err(fault)) => {
                    let partition = unread.partition.clone();
                    self.done_reading();
                    self.fail(partition, FetchError::Corrupt(fault));
                }
                None => self.done_reading(),
            }
        }
    }

    /// The first of the unread is read: its partition may be fetched again.
    fn done_reading(&mut self) {
        let Some(unread) = self.unread.pop_front() else {
            return;
        };
        self.unread_bytes -= unread.bytes;
        let current = self.assigned.get_mut(&unread.partition);
        if let Some(assigned) = current.filter(|it| it.generation == unread.generation) {
            assigned.position = Position::At(unread.reader.position());
            assigned.stage = Stage::Idle;
            self.tell_end(unread.partition);
        }
    }
}
