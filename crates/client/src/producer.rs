//! The producing machine: records in, batches out, deliveries back. Gathers per partition by size
//! and linger, keeps order and sequences over retries (KIP-98), and holds no more than its buffer.
//! The driver carries out its actions and tells it what came of them; time is an argument.

mod answers;
mod batch;
mod lane;
mod options;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use klamm_model::{
    ErrorCode, Instant, NodeId, PartitionIndex, ProducerEpoch, ProducerId, ProducerStamp, Random,
    Sequence, Timestamp, TopicName,
};
use klamm_records::batch::RecordHeader;

use crate::append::Appended;
use crate::error::BrokerError;
use crate::metadata::{Cluster, PartitionName, TopicInfo};
use crate::partitioner::Partitioner;

use batch::Stage;
use lane::Lane;

pub use options::{OptionsError, ProducerOptions};

/// A record to be produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition, if the caller chooses it.
    pub partition: Option<PartitionIndex>,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` deletes the key on a compacted topic.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<RecordHeader>,
}

impl ProducerRecord {
    /// A record of this topic and time, without key, value and headers.
    #[must_use]
    pub const fn new(topic: TopicName, timestamp: Timestamp) -> Self {
        Self {
            topic,
            partition: None,
            timestamp,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    /// The same in this partition, whatever its key.
    #[must_use]
    pub const fn partition(mut self, partition: PartitionIndex) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same with this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with this value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.headers.push(RecordHeader {
            key: key.into(),
            value: Some(value.into()),
        });
        self
    }

    /// Bytes that the record takes in a batch, at most.
    fn bytes_max(&self) -> usize {
        // Attributes, and varints of length, time, offset, key, value and header count.
        const FIXED: usize = 1 + 5 + 10 + 5 + 5 + 5 + 5;
        const EACH_HEADER: usize = 10;
        let optional = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter();
        let headers = headers.map(|it| EACH_HEADER + it.key.len() + optional(&it.value));
        FIXED + optional(&self.key) + optional(&self.value) + headers.sum::<usize>()
    }
}

/// Names a record until it is delivered; given out in the order of the appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names a Produce request between machine and driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A record was not taken; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The buffer is full until deliveries make room.
    Full,
    /// The record alone exceeds a request (`max.request.size`).
    TooLarge {
        /// Bytes that it takes.
        bytes: usize,
        /// Bytes of a request.
        limit: usize,
    },
    /// The topic has no such partition, or none at all.
    NoPartition {
        /// What was asked for.
        wanted: Option<PartitionIndex>,
        /// How many there are.
        count: usize,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => formatter.write_str("producer's buffer is full"),
            Self::TooLarge { bytes, limit } => write!(
                formatter,
                "expected a record of at most {limit} bytes, found {bytes}"
            ),
            Self::NoPartition { wanted, count } => match wanted {
                Some(index) => write!(
                    formatter,
                    "expected a partition from 0 to {}, found {index}",
                    count.saturating_sub(1)
                ),
                None => formatter.write_str("topic has no partitions"),
            },
        }
    }
}

impl std::error::Error for AppendError {}

/// Why records were given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryError {
    /// The leader refused the batch for good.
    Refused(BrokerError),
    /// `delivery.timeout.ms` passed. If the batch was ever sent, it may lie in the log.
    TimedOut {
        /// How often it was sent.
        attempts: u32,
    },
    /// As many attempts as allowed, the last one without answer: it may lie in the log.
    Lost {
        /// How often it was sent.
        attempts: u32,
    },
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(formatter),
            Self::TimedOut { attempts } => {
                write!(formatter, "not delivered in time, sent {attempts} times")
            }
            Self::Lost { attempts } => {
                write!(formatter, "no answer, sent {attempts} times")
            }
        }
    }
}

impl std::error::Error for DeliveryError {}

/// What became of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its partition.
    pub partition: PartitionName,
    /// Its records, in order; the first lies at the base offset.
    pub tickets: Vec<Ticket>,
    /// Where it lies, or why not.
    pub outcome: Result<Appended, DeliveryError>,
}

/// What the driver shall do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Ask any broker for a producer id (InitProducerId) and tell
    /// [`on_identity`](Producer::on_identity).
    Identify,
    /// Refresh the metadata of these topics, not more often than its backoff allows.
    Refresh(Vec<TopicName>),
    /// Send a Produce request to this node; then tell [`on_answer`](Producer::on_answer),
    /// [`on_lost`](Producer::on_lost), or with `acks=0` [`on_written`](Producer::on_written).
    Send {
        /// Names the request.
        request: RequestId,
        /// Leader of all its partitions.
        node: NodeId,
        /// The batches, one for each partition.
        batches: Vec<(PartitionName, Bytes)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Unknown,
    Asked,
    Known(ProducerId, ProducerEpoch),
}

#[derive(Debug)]
struct SentRequest {
    node: NodeId,
    partitions: Vec<PartitionName>,
}

/// What a producer did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerStats {
    /// Records appended.
    pub records: u64,
    /// Requests sent, repeated ones included.
    pub requests: u64,
    /// Batches sent, repeated ones included.
    pub batches: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Times that a gap in the sequences began a new epoch or identity.
    pub renewals: u64,
}

/// The machine.
#[derive(Debug)]
pub struct Producer {
    options: ProducerOptions,
    partitioner: Partitioner,
    lanes: BTreeMap<PartitionName, Lane>,
    identity: Identity,
    /// A sequence was given up: no new stamps until every stamped batch is resolved.
    stale: bool,
    sent: BTreeMap<RequestId, SentRequest>,
    deliveries: VecDeque<Delivery>,
    /// Topics whose leaders are in doubt.
    doubtful: BTreeSet<TopicName>,
    refresh_not_before: Instant,
    /// When leaders and partitions are asked for because of their age.
    refresh_due: Option<Instant>,
    random: Random,
    buffered: usize,
    next_ticket: u64,
    next_request: u64,
    flushing: bool,
    stats: ProducerStats,
}

impl Producer {
    /// A producer; `seed` spreads keyless records.
    ///
    /// # Errors
    /// Options that contradict each other.
    pub fn new(options: ProducerOptions, seed: u64) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            partitioner: Partitioner::new(options.partitioning, options.batch_bytes, seed),
            options,
            lanes: BTreeMap::new(),
            identity: Identity::Unknown,
            stale: false,
            sent: BTreeMap::new(),
            deliveries: VecDeque::new(),
            doubtful: BTreeSet::new(),
            refresh_not_before: Instant::default(),
            refresh_due: None,
            random: Random::new(seed.wrapping_add(1)),
            buffered: 0,
            next_ticket: 0,
            next_request: 0,
            flushing: false,
            stats: ProducerStats::default(),
        })
    }

    /// The options given at the start.
    #[must_use]
    pub const fn options(&self) -> &ProducerOptions {
        &self.options
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> ProducerStats {
        self.stats
    }

    /// True if no record waits for its delivery.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.values().all(Lane::is_empty)
    }

    /// Takes a record of `topic`, as the metadata has it. True if it closed a batch: then
    /// [`poll`](Self::poll) has something to do.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append(
        &mut self,
        now: Instant,
        record: &ProducerRecord,
        topic: &TopicInfo,
    ) -> Result<(Ticket, bool), AppendError> {
        assert_eq!(record.topic, topic.name, "metadata of the record's topic");
        let bytes = record.bytes_max();
        let limit = self.options.request_bytes_max;
        if bytes + klamm_model::limits::BATCH_HEADER_BYTES > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        // A record larger than the whole buffer goes alone.
        if self.buffered > 0 && self.buffered + bytes > self.options.buffer_bytes {
            return Err(AppendError::Full);
        }
        let missing = AppendError::NoPartition {
            wanted: record.partition,
            count: topic.partitions.len(),
        };
        let index = match record.partition {
            Some(index) => topic.partition(index).map(|partition| partition.index),
            None => self.partitioner.choose(topic, record.key.as_deref(), bytes),
        };
        let partition = PartitionName::new(topic.name.clone(), index.ok_or(missing)?);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.buffered += bytes;
        self.stats.records += 1;
        let shape = (self.options.compressor, self.options.batch_bytes);
        let lane = self.lanes.entry(partition).or_default();
        let closed = lane.append(now, record, (ticket, bytes), shape);
        Ok((ticket, closed))
    }

    /// From now on nothing lingers, until all that is buffered has been delivered.
    pub fn flush(&mut self) {
        self.flushing = true;
    }

    /// What became of batches since the last call, one by one.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// What to do now. Call until `None`; then again after the next append that closed a batch,
    /// after the driver's answers, and at [`next_deadline`](Self::next_deadline).
    pub fn poll(&mut self, now: Instant, cluster: &Cluster) -> Option<Action> {
        self.expire(now);
        self.close_due(now);
        if self.flushing && self.is_empty() {
            self.flushing = false;
        }
        if self.options.idempotent {
            match self.identity {
                Identity::Known(..) => self.renew_identity(),
                Identity::Asked => return self.next_refresh(now),
                Identity::Unknown => {}
            }
            if self.identity == Identity::Unknown {
                let wanted = self.lanes.values().any(|lane| !lane.closed.is_empty());
                if wanted {
                    self.identity = Identity::Asked;
                    return Some(Action::Identify);
                }
                return self.next_refresh(now);
            }
        }
        if let Some(action) = self.next_request(now, cluster) {
            return Some(action);
        }
        self.next_refresh(now)
    }

    fn next_refresh(&mut self, now: Instant) -> Option<Action> {
        let age_max = self.options.metadata_age_max;
        if *self.refresh_due.get_or_insert_with(|| now.plus(age_max)) <= now {
            // Topics to which nothing is sent can wait until something is.
            let lanes = self.lanes.iter().filter(|(_, lane)| !lane.is_empty());
            self.doubtful.extend(lanes.map(|(it, _)| it.topic.clone()));
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

    /// When [`poll`](Self::poll) will have something to do without further input.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let linger = self.options.linger;
        let lanes = self.lanes.values();
        let dues = lanes.flat_map(|lane| {
            let open = lane.open.as_ref().map(|open| open.created.plus(linger));
            let waiting = lane.closed.iter().filter_map(|batch| match batch.stage {
                Stage::Waiting(at) if at > now => Some(at),
                Stage::Waiting(_) => Some(batch.created.plus(self.options.delivery_timeout)),
                Stage::InFlight(_) => None,
            });
            open.into_iter().chain(waiting)
        });
        let refresh = (!self.doubtful.is_empty()).then_some(self.refresh_not_before);
        let aged = self.refresh_due.filter(|_| !self.is_empty());
        dues.chain(refresh).chain(aged).min()
    }

    /// Gives up what waited too long.
    fn expire(&mut self, now: Instant) {
        let timeout = self.options.delivery_timeout;
        let mut expired = Vec::new();
        for (partition, lane) in &mut self.lanes {
            while let Some(at) = lane
                .closed
                .iter()
                .position(|batch| !batch.is_in_flight() && now.since(batch.created) >= timeout)
            {
                if let Some(batch) = lane.closed.remove(at) {
                    expired.push((partition.clone(), batch));
                }
            }
        }
        for (partition, batch) in expired {
            let attempts = batch.attempts;
            self.deliver(partition, batch, Err(DeliveryError::TimedOut { attempts }));
        }
    }

    fn close_due(&mut self, now: Instant) {
        // A full buffer cannot wait for linger: the appends that would fill batches are refused.
        let pressed = self.buffered * 2 > self.options.buffer_bytes;
        let linger = self.options.linger;
        for lane in self.lanes.values_mut() {
            let due = lane
                .open
                .as_ref()
                .is_some_and(|open| now.since(open.created) >= linger);
            if due || self.flushing || pressed {
                lane.close(now);
            }
        }
    }

    /// After a gap in the sequences: once nothing carries an old stamp, the next epoch of the
    /// producer begins at sequence 0 (KIP-360). What of the old one is still on its way is fenced
    /// by it. After the last epoch another producer id is asked for.
    fn renew_identity(&mut self) {
        let Identity::Known(id, epoch) = self.identity else {
            return;
        };
        if !self.stale {
            return;
        }
        for lane in self.lanes.values_mut() {
            lane.unstamp_behind_gap();
        }
        let stamped = |lane: &Lane| lane.closed.iter().any(|batch| batch.stamp.is_some());
        if !self.lanes.values().any(stamped) {
            self.stale = false;
            self.identity = match epoch.0.checked_add(1) {
                Some(next) => Identity::Known(id, ProducerEpoch(next)),
                None => Identity::Unknown,
            };
            self.stats.renewals += 1;
            for lane in self.lanes.values_mut() {
                lane.next_sequence = Sequence::FIRST;
                lane.acknowledged = false;
            }
        }
    }

    /// The next Produce request: for the node whose batch waits longest, one batch of each of its
    /// partitions, as many as fit.
    fn next_request(&mut self, now: Instant, cluster: &Cluster) -> Option<Action> {
        let mut ready: Vec<(Instant, NodeId, PartitionName, usize)> = Vec::new();
        for (partition, lane) in &self.lanes {
            let Some((at, not_before)) = lane.next_to_send() else {
                continue;
            };
            if not_before > now || (self.stale && lane.closed[at].stamp.is_none()) {
                continue;
            }
            match cluster.leader(partition) {
                Some(node) if self.in_flight_at(node) < self.options.in_flight_max => {
                    ready.push((lane.closed[at].created, node, partition.clone(), at));
                }
                Some(_) => {}
                None => {
                    self.doubtful.insert(partition.topic.clone());
                }
            }
        }
        ready.sort();
        let node = ready.first()?.1;
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let mut batches: Vec<(PartitionName, Bytes)> = Vec::new();
        let mut total = 0;
        for (_, _, partition, at) in ready.into_iter().filter(|it| it.1 == node) {
            let lane = self
                .lanes
                .get_mut(&partition)
                .expect("a lane that was just seen");
            let size = lane.closed[at].bytes.len();
            if !batches.is_empty() && total + size > self.options.request_bytes_max {
                break;
            }
            total += size;
            let bytes = take_out(lane, at, request, self.identity, &mut self.stats);
            batches.push((partition, bytes));
        }
        let partitions = batches.iter().map(|(partition, _)| partition.clone());
        let sent = SentRequest {
            node,
            partitions: partitions.collect(),
        };
        self.sent.insert(request, sent);
        self.stats.requests += 1;
        Some(Action::Send {
            request,
            node,
            batches,
        })
    }

    fn in_flight_at(&self, node: NodeId) -> usize {
        self.sent.values().filter(|sent| sent.node == node).count()
    }
}

/// Marks a batch as sent, stamping it first where that is still to do.
fn take_out(
    lane: &mut Lane,
    at: usize,
    request: RequestId,
    identity: Identity,
    stats: &mut ProducerStats,
) -> Bytes {
    let base_sequence = lane.next_sequence;
    let batch = &mut lane.closed[at];
    if let Identity::Known(id, epoch) = identity
        && batch.stamp.is_none()
    {
        batch.stamp(ProducerStamp {
            id,
            epoch,
            base_sequence,
        });
        let records = i32::try_from(batch.tickets.len()).expect("a batch counts in 32 bits");
        lane.next_sequence = base_sequence.plus(klamm_model::OffsetDelta(records));
    }
    stats.batches += 1;
    stats.retries += u64::from(batch.attempts > 0);
    batch.attempts = batch.attempts.saturating_add(1);
    batch.stage = Stage::InFlight(request);
    batch.bytes.clone()
}

/// True for errors after which a leader may be another.
const fn doubts_leader(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::ReplicaNotAvailable
    )
}
