//! The consuming machine without a group: partitions assigned by the caller, one Fetch in flight
//! per leader, records in order per partition. Owns the positions and what was fetched and not yet
//! read, up to a ceiling; time is an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use klamm_model::{ErrorCode, Instant, NodeId, Offset, Retriability, TopicName};
use klamm_records::batch::Record;
use klamm_records::compress::Scratch;

use crate::append::Refused;
use crate::error::BrokerError;
use crate::fetch::{FetchOptions, FetchedPartition, RecordFault, RecordReader};
use crate::limits::FETCHED_BYTES_MAX;
use crate::metadata::{Cluster, PartitionName};

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Refresh the metadata of these topics, not more often than its backoff allows.
    Refresh(Vec<TopicName>),
    /// Fetch from this node; then tell [`on_answer`](Fetcher::on_answer) or
    /// [`on_lost`](Fetcher::on_lost).
    Fetch {
        /// Leader of all the partitions.
        node: NodeId,
        /// From where to fetch.
        positions: Vec<(PartitionName, Offset)>,
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
    /// The partition stands still until [`Fetcher::seek`].
    Failed(PartitionName, FetchError),
}

#[derive(Debug)]
struct Assigned {
    /// From where to fetch next.
    position: Offset,
    not_before: Instant,
    /// Fetched and unread, or in flight: not asked for again.
    busy: bool,
    failed: bool,
    /// Counts seeks, so that an answer to an older position is dropped.
    generation: u64,
}

#[derive(Debug)]
struct Unread {
    partition: PartitionName,
    generation: u64,
    bytes: usize,
    /// The end that the leader told, by the isolation asked for.
    end: Offset,
    reader: RecordReader,
}

/// The machine.
#[derive(Debug)]
pub struct Fetcher {
    options: FetchOptions,
    retry_backoff: std::time::Duration,
    assigned: BTreeMap<PartitionName, Assigned>,
    in_flight: BTreeMap<NodeId, Vec<(PartitionName, u64)>>,
    unread: VecDeque<Unread>,
    unread_bytes: usize,
    events: VecDeque<Event>,
    doubtful: BTreeSet<TopicName>,
    refresh_not_before: Instant,
    scratch: Scratch,
}

impl Fetcher {
    /// A fetcher without partitions.
    #[must_use]
    pub fn new(options: FetchOptions, retry_backoff: std::time::Duration) -> Self {
        Self {
            options,
            retry_backoff,
            assigned: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            unread: VecDeque::new(),
            unread_bytes: 0,
            events: VecDeque::new(),
            doubtful: BTreeSet::new(),
            refresh_not_before: Instant::default(),
            scratch: Scratch::new(),
        }
    }

    /// What is asked for.
    #[must_use]
    pub const fn options(&self) -> &FetchOptions {
        &self.options
    }

    /// Reads a partition from this offset on, whether it was assigned before or not. What was
    /// fetched of it and not read is dropped.
    pub fn seek(&mut self, partition: PartitionName, position: Offset) {
        let generation = self
            .assigned
            .get(&partition)
            .map_or(0, |it| it.generation + 1);
        self.drop_unread(&partition);
        self.assigned.insert(
            partition,
            Assigned {
                position,
                not_before: Instant::default(),
                busy: false,
                failed: false,
                generation,
            },
        );
    }

    /// Stops reading a partition.
    pub fn remove(&mut self, partition: &PartitionName) {
        self.drop_unread(partition);
        self.assigned.remove(partition);
    }

    /// The offset of the next record to be handed out, as far as is known.
    #[must_use]
    pub fn position(&self, partition: &PartitionName) -> Option<Offset> {
        let unread = self.unread.iter().find(|it| it.partition == *partition);
        let ahead = unread.map(|it| it.reader.position());
        ahead.or_else(|| Some(self.assigned.get(partition)?.position))
    }

    fn drop_unread(&mut self, partition: &PartitionName) {
        let dropped = self.unread.iter().filter(|it| it.partition == *partition);
        self.unread_bytes -= dropped.map(|it| it.bytes).sum::<usize>();
        self.unread.retain(|it| it.partition != *partition);
        self.events.retain(|event| match event {
            Event::Record(of, _) | Event::End(of, _) | Event::Failed(of, _) => of != partition,
        });
    }

    /// What to do now. Call until `None`; then again after answers and reads.
    pub fn poll(&mut self, now: Instant, cluster: &Cluster) -> Option<Action> {
        if self.unread_bytes < FETCHED_BYTES_MAX
            && let Some(action) = self.next_fetch(now, cluster)
        {
            return Some(action);
        }
        if !self.doubtful.is_empty() && now >= self.refresh_not_before {
            self.refresh_not_before = now.plus(self.retry_backoff);
            let topics = std::mem::take(&mut self.doubtful);
            return Some(Action::Refresh(topics.into_iter().collect()));
        }
        None
    }

    fn next_fetch(&mut self, now: Instant, cluster: &Cluster) -> Option<Action> {
        let mut by_node: BTreeMap<NodeId, Vec<(PartitionName, u64)>> = BTreeMap::new();
        for (partition, assigned) in &self.assigned {
            if assigned.busy || assigned.failed || assigned.not_before > now {
                continue;
            }
            match cluster.leader(partition) {
                Some(node) if self.in_flight.contains_key(&node) => {}
                Some(node) => {
                    let row = (partition.clone(), assigned.generation);
                    by_node.entry(node).or_default().push(row);
                }
                None => {
                    self.doubtful.insert(partition.topic.clone());
                }
            }
        }
        let (node, asked) = by_node.pop_first()?;
        let mut positions = Vec::new();
        for (partition, _) in &asked {
            let assigned = self.assigned.get_mut(partition).expect("just seen");
            assigned.busy = true;
            positions.push((partition.clone(), assigned.position));
        }
        self.in_flight.insert(node, asked);
        Some(Action::Fetch { node, positions })
    }

    /// When [`poll`](Self::poll) will have something to do without further input.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let waiting = self.assigned.values().map(|it| it.not_before);
        let refresh = (!self.doubtful.is_empty()).then_some(self.refresh_not_before);
        waiting.filter(|at| *at > now).chain(refresh).min()
    }

    /// A leader's answer, partition by partition.
    pub fn on_answer(
        &mut self,
        now: Instant,
        node: NodeId,
        outcomes: Vec<(PartitionName, Result<FetchedPartition, Refused>)>,
        cluster: &mut Cluster,
    ) {
        let mut asked: BTreeMap<PartitionName, u64> = self
            .in_flight
            .remove(&node)
            .unwrap_or_default()
            .into_iter()
            .collect();
        for (partition, outcome) in outcomes {
            let Some(generation) = asked.remove(&partition) else {
                continue;
            };
            let current = self.assigned.get_mut(&partition);
            let Some(assigned) = current.filter(|it| it.generation == generation) else {
                continue;
            };
            match outcome {
                Ok(fetched) => {
                    let end = match (self.options.isolation, fetched.last_stable) {
                        (klamm_model::IsolationLevel::ReadCommitted, Some(end)) => end,
                        _ => fetched.high_watermark,
                    };
                    let (position, isolation) = (assigned.position, self.options.isolation);
                    let bytes = fetched.records.len();
                    self.unread_bytes += bytes;
                    self.unread.push_back(Unread {
                        partition,
                        generation,
                        bytes,
                        end,
                        reader: RecordReader::new(fetched, position, isolation),
                    });
                }
                Err(refused) => self.on_refused(now, partition, refused, cluster),
            }
        }
        for (partition, _) in asked {
            self.pause(now, &partition);
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
        let position = self.assigned[&partition].position;
        if code.retriability() == Retriability::Retriable || code == ErrorCode::FencedLeaderEpoch {
            cluster.forget_leader(&partition);
            match refused.leader {
                Some((leader, epoch)) => cluster.hint_leader(&partition, leader, epoch),
                None => {
                    self.doubtful.insert(partition.topic.clone());
                }
            }
            self.pause(now, &partition);
            return;
        }
        let error = if code == ErrorCode::OffsetOutOfRange {
            let log_start = refused.log_start;
            FetchError::OutOfRange {
                position,
                log_start,
            }
        } else {
            FetchError::Refused(refused.error)
        };
        self.fail(partition, error);
    }

    fn fail(&mut self, partition: PartitionName, error: FetchError) {
        if let Some(assigned) = self.assigned.get_mut(&partition) {
            assigned.failed = true;
        }
        self.events.push_back(Event::Failed(partition, error));
    }

    /// The Fetch to this node will not be answered.
    pub fn on_lost(&mut self, now: Instant, node: NodeId) {
        for (partition, generation) in self.in_flight.remove(&node).unwrap_or_default() {
            let current = self.assigned.get(&partition);
            if current.is_some_and(|it| it.generation == generation) {
                self.doubtful.insert(partition.topic.clone());
                self.pause(now, &partition);
            }
        }
    }

    fn pause(&mut self, now: Instant, partition: &PartitionName) {
        if let Some(assigned) = self.assigned.get_mut(partition) {
            assigned.busy = false;
            assigned.not_before = now.plus(self.retry_backoff);
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
            assigned.position = unread.reader.position();
            assigned.busy = false;
            if assigned.position >= unread.end {
                let end = Event::End(unread.partition, assigned.position);
                self.events.push_back(end);
            }
        }
    }
}
