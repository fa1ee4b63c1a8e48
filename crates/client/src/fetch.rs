//! Fetch on the wire: what to ask of one leader, what it answered partition by partition, and the
//! records inside. Record bytes stay slices of the response until they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{
    BatchHeader, IsolationLevel, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicId,
    TopicName,
};
use klamm_records::batch::{self, BatchError, Record, RecordsError};
use klamm_records::compress::Scratch;
use klamm_wire::fetch;
use klamm_wire::frame::shared_slice;

use crate::admin::milliseconds;
use crate::append::{LAST_VERSION_BY_NAME, Refused, Shaped, topic_name};
use crate::error::BrokerError;
use crate::limits::BATCH_DECOMPRESSED_MAX;
use crate::metadata::{Cluster, PartitionName};
use crate::offsets::isolation_number;

/// What a Fetch asks for, beside the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    /// The broker waits at most this long (`fetch.max.wait.ms`) ...
    pub wait_max: Duration,
    /// ... for at least this many bytes (`fetch.min.bytes`).
    pub bytes_min: i32,
    /// Bytes of one answer (`fetch.max.bytes`); one batch always comes, however large.
    pub bytes_max: i32,
    /// Bytes of one partition in an answer (`max.partition.fetch.bytes`).
    pub partition_bytes_max: i32,
    /// What may be seen.
    pub isolation: IsolationLevel,
}

impl Default for FetchOptions {
    /// The Java consumer's defaults.
    fn default() -> Self {
        Self {
            wait_max: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: 50 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            isolation: IsolationLevel::ReadUncommitted,
        }
    }
}

/// One partition that a Fetch names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRow {
    /// The partition.
    pub partition: PartitionName,
    /// Its topic's id; zero where it is not known.
    pub topic_id: TopicId,
    /// From where to fetch.
    pub position: Offset,
    /// The leader's reign as the reader knows it, so that a leader of another one refuses
    /// (KIP-320); -1 where it is not known.
    pub leader_epoch: LeaderEpoch,
}

impl FetchRow {
    /// A partition from a position on, with what the cluster tells of it.
    #[must_use]
    pub fn new(partition: PartitionName, position: Offset, cluster: &Cluster) -> Self {
        let topic_id = cluster
            .topic(&partition.topic)
            .map_or(TopicId::ZERO, |topic| topic.id);
        let known = cluster.partition(&partition);
        Self {
            topic_id,
            position,
            leader_epoch: known.map_or(LeaderEpoch(-1), |it| it.leader_epoch),
            partition,
        }
    }
}

/// A partition that leaves a fetch session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The partition.
    pub partition: PartitionName,
    /// Its topic's id when it was named.
    pub topic_id: TopicId,
}

/// What one Fetch says of partitions and of its session (KIP-227).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPlan {
    /// The session; zero for none.
    pub session_id: i32,
    /// Which request of the session it is: 0 begins one, -1 wants none.
    pub session_epoch: i32,
    /// Partitions that are new or changed; all of them where no session goes on.
    pub rows: Vec<FetchRow>,
    /// Partitions that shall no longer be read.
    pub forgotten: Vec<Forgotten>,
}

impl FetchPlan {
    /// A Fetch of these partitions alone, without a session.
    #[must_use]
    pub const fn alone(rows: Vec<FetchRow>) -> Self {
        Self {
            session_id: 0,
            session_epoch: -1,
            rows,
            forgotten: Vec::new(),
        }
    }
}

/// A Fetch request of a consumer. Topics go by id where every one has an id.
#[must_use]
pub fn request(plan: &FetchPlan, options: &FetchOptions) -> Shaped<fetch::Request<'static>> {
    type Key<'a> = (&'a TopicName, TopicId);
    let mut by_topic: BTreeMap<Key<'_>, Vec<fetch::FetchPartition>> = BTreeMap::new();
    for row in &plan.rows {
        let partition = fetch::FetchPartition {
            partition: row.partition.index.0,
            fetch_offset: row.position.0,
            current_leader_epoch: row.leader_epoch.0,
            partition_max_bytes: options.partition_bytes_max,
            ..Default::default()
        };
        let key = (&row.partition.topic, row.topic_id);
        by_topic.entry(key).or_default().push(partition);
    }
    let mut gone: BTreeMap<Key<'_>, Vec<i32>> = BTreeMap::new();
    for it in &plan.forgotten {
        let key = (&it.partition.topic, it.topic_id);
        gone.entry(key).or_default().push(it.partition.index.0);
    }
    let nameless = |(_, id): &Key<'_>| id.is_zero();
    let by_name = by_topic.keys().any(nameless) || gone.keys().any(nameless);
    let name = |name: &TopicName| name.as_str().to_owned().into();
    let topics = by_topic
        .into_iter()
        .map(|((topic, id), partitions)| fetch::FetchTopic {
            topic: name(topic),
            topic_id: id.0,
            partitions,
        });
    let forgotten = gone
        .into_iter()
        .map(|((topic, id), partitions)| fetch::ForgottenTopic {
            topic: name(topic),
            topic_id: id.0,
            partitions,
        });
    let request = fetch::Request {
        max_wait_ms: milliseconds(options.wait_max),
        min_bytes: options.bytes_min,
        max_bytes: options.bytes_max,
        isolation_level: isolation_number(options.isolation),
        session_id: plan.session_id,
        session_epoch: plan.session_epoch,
        topics: topics.collect(),
        forgotten_topics_data: forgotten.collect(),
        ..Default::default()
    };
    Shaped {
        request,
        version_max: if by_name {
            LAST_VERSION_BY_NAME
        } else {
            i16::MAX
        },
    }
}

/// An aborted transaction that touches the fetched range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortedTxn {
    /// Its first offset.
    pub first_offset: Offset,
    /// Its producer.
    pub producer: ProducerId,
}

/// What a leader answered for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// End of what is replicated.
    pub high_watermark: Offset,
    /// End of what a read-committed consumer may see, where the version tells.
    pub last_stable: Option<Offset>,
    /// First offset that can be read, where the version tells.
    pub log_start: Option<Offset>,
    /// Transactions whose records a read-committed consumer skips, by first offset.
    pub aborted: Vec<AbortedTxn>,
    /// Record batches, the last one perhaps cut short.
    pub records: Bytes,
}

/// A Fetch answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    /// The session in which it was answered; zero for none.
    pub session_id: i32,
    /// What it says, partition by partition; partitions of a session without news are left out.
    pub outcomes: Vec<(PartitionName, Result<FetchedPartition, Refused>)>,
}

/// Reads a Fetch answer. `body` is the response that `view` borrows from. Topics that come by an id
/// which `cluster` does not know are left out.
///
/// # Errors
/// An error that concerns the answer as a whole.
pub fn read(
    view: &fetch::ResponseView<'_>,
    body: &Bytes,
    cluster: &Cluster,
) -> Result<FetchAnswer, BrokerError> {
    BrokerError::check(view.error_code(), None, || "fetch".to_owned())?;
    let mut outcomes = Vec::new();
    for topic in view.responses() {
        let Some(name) = topic_name(topic.topic(), topic.topic_id(), cluster) else {
            continue;
        };
        for row in topic.partitions() {
            let partition = PartitionName::new(name.clone(), PartitionIndex(row.partition_index()));
            let outcome = read_partition(&row, &partition, body);
            outcomes.push((partition, outcome));
        }
    }
    Ok(FetchAnswer {
        session_id: view.session_id(),
        outcomes,
    })
}

fn read_partition(
    row: &fetch::PartitionDataView<'_>,
    partition: &PartitionName,
    body: &Bytes,
) -> Result<FetchedPartition, Refused> {
    let known = |offset: i64| Some(Offset(offset)).filter(|offset| offset.0 >= 0);
    let log_start = known(row.log_start_offset());
    let subject = || format!("partition {partition}");
    if let Err(error) = BrokerError::check(row.error_code(), None, subject) {
        let leader = row.current_leader();
        let leader = (leader.leader_id() >= 0).then(|| {
            let epoch = LeaderEpoch(leader.leader_epoch());
            (NodeId(leader.leader_id()), epoch)
        });
        return Err(Refused {
            error,
            log_start,
            leader,
        });
    }
    let mut aborted: Vec<AbortedTxn> = row
        .aborted_transactions()
        .into_iter()
        .flatten()
        .map(|txn| AbortedTxn {
            first_offset: Offset(txn.first_offset()),
            producer: ProducerId(txn.producer_id()),
        })
        .collect();
    aborted.sort_unstable();
    let records = row.records().and_then(|part| shared_slice(body, part));
    Ok(FetchedPartition {
        high_watermark: Offset(row.high_watermark()),
        last_stable: known(row.last_stable_offset()),
        log_start,
        aborted,
        records: records.unwrap_or_default(),
    })
}

/// The bytes that a leader sent as records are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// A batch's head, or a batch that does not lie behind the one before.
    Batch {
        /// Offset from which the reader went on.
        position: Offset,
        /// What is wrong; `None` where the batch ends at or before its own start.
        error: Option<BatchError>,
    },
    /// The records of a batch.
    Records {
        /// Offset from which the reader went on.
        position: Offset,
        /// What is wrong.
        error: RecordsError,
    },
}

impl fmt::Display for RecordFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch { position, error } => {
                write!(formatter, "corrupt batch at offset {position}: ")?;
                match error {
                    Some(error) => error.fmt(formatter),
                    None => formatter.write_str("expected its end behind its start"),
                }
            }
            Self::Records { position, error } => {
                write!(formatter, "corrupt records at offset {position}: {error}")
            }
        }
    }
}

impl std::error::Error for RecordFault {}

/// The records of one partition's answer, from a position on. Checks every batch's checksum, skips
/// control batches, and for read-committed skips what was aborted.
#[derive(Debug)]
pub struct RecordReader {
    rest: Bytes,
    position: Offset,
    isolation: IsolationLevel,
    /// Aborted transactions that have not begun yet, the next one last.
    ahead: Vec<AbortedTxn>,
    /// Producers inside an aborted transaction at this place.
    aborting: BTreeSet<ProducerId>,
    batch: Option<(batch::Records, Offset)>,
}

impl RecordReader {
    /// Reads what was fetched at `position`.
    #[must_use]
    pub fn new(fetched: FetchedPartition, position: Offset, isolation: IsolationLevel) -> Self {
        let mut ahead = fetched.aborted;
        ahead.reverse();
        Self {
            rest: fetched.records,
            position,
            isolation,
            ahead,
            aborting: BTreeSet::new(),
            batch: None,
        }
    }

    /// The offset from which to fetch next, once all has been read.
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.position
    }

    /// The next record, or `None` at the end. After a fault there is nothing more.
    pub fn next_record(&mut self, scratch: &mut Scratch) -> Option<Result<Record, RecordFault>> {
        loop {
            if let Some((records, end)) = &mut self.batch {
                match records.next() {
                    Some(Ok(record)) if record.offset < self.position => {}
                    Some(Ok(record)) => {
                        self.position = Offset(record.offset.0.saturating_add(1));
                        return Some(Ok(record));
                    }
                    Some(Err(error)) => {
                        let position = self.position;
                        return Some(Err(self.fail(RecordFault::Records { position, error })));
                    }
                    None => {
                        self.position = self.position.max(*end);
                        self.batch = None;
                    }
                }
                continue;
            }
            match self.next_batch(scratch) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(fault) => return Some(Err(self.fail(fault))),
            }
        }
    }

    fn fail(&mut self, fault: RecordFault) -> RecordFault {
        self.rest = Bytes::new();
        self.batch = None;
        fault
    }

    /// Steps to the next batch; false where no whole one is left.
    fn next_batch(&mut self, scratch: &mut Scratch) -> Result<bool, RecordFault> {
        let position = self.position;
        let header = match batch::read(&self.rest) {
            Ok(header) => header,
            // A leader may cut the last batch short.
            Err(BatchError::Incomplete { .. }) => return Ok(false),
            Err(error) => {
                let error = Some(error);
                return Err(RecordFault::Batch { position, error });
            }
        };
        let bytes = self.rest.split_to(header.size);
        let end = end_of(&header).ok_or(RecordFault::Batch {
            position,
            error: None,
        })?;
        if end <= position {
            return Ok(true);
        }
        let mut open = || {
            batch::records(&bytes, BATCH_DECOMPRESSED_MAX, scratch)
                .map_err(|error| RecordFault::Records { position, error })
        };
        if header.attributes.is_control() {
            let marker = open()?.next();
            self.on_marker(&header, marker);
            self.position = end;
        } else if self.is_aborted(&header, end) {
            // Its checksum was never looked at: nothing of it is used.
            self.position = end;
        } else {
            self.batch = Some((open()?, end));
        }
        Ok(true)
    }

    fn is_aborted(&mut self, header: &BatchHeader, end: Offset) -> bool {
        if self.isolation == IsolationLevel::ReadUncommitted {
            return false;
        }
        while let Some(txn) = self.ahead.pop_if(|txn| txn.first_offset < end) {
            self.aborting.insert(txn.producer);
        }
        let producer = header.producer.map(|stamp| stamp.id);
        header.attributes.is_transactional()
            && producer.is_some_and(|id| self.aborting.contains(&id))
    }

    /// A marker ends its producer's transaction; only an abort ends an aborted one.
    fn on_marker(&mut self, header: &BatchHeader, marker: Option<Result<Record, RecordsError>>) {
        const ABORT: [u8; 2] = [0, 0];
        let Some(Ok(Record { key: Some(key), .. })) = marker else {
            return;
        };
        if key.get(2..4) == Some(&ABORT)
            && let Some(stamp) = header.producer
        {
            self.aborting.remove(&stamp.id);
        }
    }
}

/// The offset behind a batch; `None` where its fields contradict each other.
fn end_of(header: &BatchHeader) -> Option<Offset> {
    let delta = i64::from(header.last_offset_delta.0);
    if delta < 0 || header.base_offset.0 < 0 {
        return None;
    }
    header.base_offset.0.checked_add(delta + 1).map(Offset)
}
