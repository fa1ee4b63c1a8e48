//! The async driver: producer and consumers over sockets of any runtime, through the traits of
//! `futures-io`. It spawns nothing and needs no executor of its own: a machine moves while one of
//! its calls is awaited, and every call may be dropped without loss (ADR 0033).
//!
//! A runtime is told to this driver by [`Runtime`]: how to connect, and how to sleep.
//! tests/conformance/client_async.rs has one of thirty lines for tokio.
//!
//! ```no_run
//! # use klamm_client::asynchronous::{AsyncProducer, Runtime, wall_time};
//! # use klamm_client::hub::HubOptions;
//! # use klamm_client::producer::{ProducerOptions, ProducerRecord};
//! # use klamm_model::TopicName;
//! # async fn example<R: Runtime>(runtime: R) -> Result<(), Box<dyn std::error::Error>> {
//! let options = ProducerOptions::default();
//! let mut producer =
//!     AsyncProducer::new(runtime, "127.0.0.1:9092", HubOptions::default(), options)?;
//! let record = ProducerRecord::new(TopicName::new("flights")?, wall_time()).value("LH 400");
//! producer.send(&record).await?;
//! producer.flush().await;
//! while let Some(delivery) = producer.next_delivery() {
//!     println!("{} {:?}", delivery.partition, delivery.outcome);
//! }
//! # Ok(())
//! # }
//! ```
//! A member of a group:
//! ```no_run
//! # use std::time::Duration;
//! # use klamm_client::asynchronous::{AsyncGroupConsumer, Runtime};
//! # use klamm_client::fetcher::Event;
//! # use klamm_client::group::{GroupEvent, GroupOptions};
//! # use klamm_client::hub::HubOptions;
//! # use klamm_model::TopicName;
//! # async fn example<R: Runtime>(runtime: R) -> Result<(), Box<dyn std::error::Error>> {
//! let (hub, options) = (HubOptions::default(), GroupOptions::new("boards"));
//! let topics = [TopicName::new("flights")?];
//! let mut consumer = AsyncGroupConsumer::new(runtime, "127.0.0.1:9092", hub, options, topics);
//! for _ in 0..1000 {
//!     match consumer.next_event().await {
//!         GroupEvent::Read(Event::Record(partition, record)) => println!("{partition} {record:?}"),
//!         GroupEvent::Ended(error) => return Err(error.into()),
//!         other => println!("{other:?}"),
//!     }
//! }
//! consumer.commit().await?;
//! consumer.close(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```

mod sockets;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use klamm_model::{Offset, TopicName};

/// The traits that a runtime's sockets implement, as this room names them.
pub use futures_io;
use futures_io::{AsyncRead, AsyncWrite};

pub use crate::blocking::wall_time;
use crate::error::BrokerError;
use crate::fetcher::{ConsumerOptions, Event, StartAt};
use crate::group::{CommitError, CommittedOffset, GroupEvent, GroupOptions};
use crate::hub::HubOptions;
use crate::metadata::{Cluster, PartitionName};
use crate::producer::{
    AppendError, Delivery, OptionsError, ProducerOptions, ProducerRecord, ProducerStats, Ticket,
};
use crate::sans_io::{SansIoConsumer, SansIoGroupConsumer, SansIoProducer, SendRefusal};

use sockets::Sockets;

/// Longest time between two looks at a machine that waits for nothing in particular.
const TURN_MAX: Duration = Duration::from_millis(500);

/// What this driver needs of an async runtime.
pub trait Runtime {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin;
    /// A connection to be; a boxed future will do.
    type Connecting: Future<Output = io::Result<Self::Stream>> + Unpin;
    /// A pause; a boxed future will do.
    type Sleep: Future<Output = ()> + Unpin;

    /// Connects to `host:port`, resolving the name.
    fn connect(&self, address: &str) -> Self::Connecting;

    /// Waits.
    fn sleep(&self, duration: Duration) -> Self::Sleep;
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProduceError {
    /// The record itself.
    Record(AppendError),
    /// The cluster has no such topic, or does not tell.
    Topic(BrokerError),
    /// No room, or no word of the topic, for as long as `max.block.ms` allows.
    Blocked {
        /// How long that was.
        waited: Duration,
        /// Why the last connection ended, if one did.
        last_failure: Option<String>,
    },
}

impl fmt::Display for ProduceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(formatter),
            Self::Topic(error) => error.fmt(formatter),
            Self::Blocked {
                waited,
                last_failure,
            } => {
                write!(formatter, "record was not taken for {waited:?}")?;
                match last_failure {
                    Some(reason) => write!(formatter, "; the last connection ended: {reason}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for ProduceError {}

/// A producer in an async program.
#[derive(Debug)]
pub struct AsyncProducer<R: Runtime> {
    machine: SansIoProducer,
    sockets: Sockets<R>,
}

impl<R: Runtime> AsyncProducer<R> {
    /// A producer for the cluster at these addresses (`host:port`, several separated by commas).
    /// Connects when the first record is sent.
    ///
    /// # Errors
    /// Options that contradict each other.
    pub fn new(
        runtime: R,
        bootstrap: &str,
        hub: HubOptions,
        options: ProducerOptions,
    ) -> Result<Self, OptionsError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = since_epoch.map_or(0, |time| time.as_nanos() as u64);
        Ok(Self {
            machine: SansIoProducer::new(bootstrap, hub, options, seed)?,
            sockets: Sockets::new(runtime),
        })
    }

    /// Takes a record; waits while the buffer is full or the topic unknown, for as long as
    /// [`block_max`](ProducerOptions::block_max) allows. Its delivery comes by
    /// [`next_delivery`](Self::next_delivery). Dropped before it ends, nothing was taken.
    ///
    /// # Errors
    /// [`ProduceError`]; the record was not taken.
    pub async fn send(&mut self, record: &ProducerRecord) -> Result<Ticket, ProduceError> {
        let started = Instant::now();
        loop {
            let refusal = match self.machine.send(self.sockets.now(), record) {
                Ok(ticket) => {
                    self.sockets.nudge(&mut self.machine).await;
                    return Ok(ticket);
                }
                Err(refusal) => refusal,
            };
            match refusal {
                SendRefusal::Record(error) => return Err(ProduceError::Record(error)),
                SendRefusal::Topic(error) => return Err(ProduceError::Topic(error)),
                SendRefusal::Full | SendRefusal::TopicPending => {}
            }
            let waited = started.elapsed();
            let left = self.machine.options().block_max.saturating_sub(waited);
            if left.is_zero() {
                return Err(ProduceError::Blocked {
                    waited,
                    last_failure: self.machine.last_failure().map(str::to_owned),
                });
            }
            self.sockets
                .turn(&mut self.machine, left.min(TURN_MAX))
                .await;
        }
    }

    /// Lets requests and answers flow for so long. A batch that lingers leaves only while one of
    /// the calls is awaited: a program that pauses between records awaits this meanwhile.
    pub async fn pump(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.sockets.turn(&mut self.machine, left).await;
            if left.is_zero() {
                return;
            }
        }
    }

    /// Waits until every record has been delivered or given up.
    pub async fn flush(&mut self) {
        while !self.machine.is_empty() {
            self.machine.flush(self.sockets.now());
            self.sockets.turn(&mut self.machine, TURN_MAX).await;
        }
    }

    /// What became of batches so far, one by one; never waits.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.machine.next_delivery()
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> ProducerStats {
        self.machine.stats()
    }

    /// What is known of the cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        self.machine.cluster()
    }
}

/// A consumer in an async program, without a group.
#[derive(Debug)]
pub struct AsyncConsumer<R: Runtime> {
    machine: SansIoConsumer,
    sockets: Sockets<R>,
}

impl<R: Runtime> AsyncConsumer<R> {
    /// A consumer for the cluster at these addresses (`host:port`, several separated by commas);
    /// assign partitions with [`seek`](Self::seek). Connects when the first event is awaited.
    #[must_use]
    pub fn new(
        runtime: R,
        bootstrap: &str,
        hub: HubOptions,
        options: impl Into<ConsumerOptions>,
    ) -> Self {
        Self {
            machine: SansIoConsumer::new(bootstrap, hub, options),
            sockets: Sockets::new(runtime),
        }
    }

    /// Reads a partition from here on, whether it was assigned before or not.
    pub fn seek(&mut self, partition: PartitionName, start: impl Into<StartAt>) {
        let now = self.sockets.now();
        self.machine.seek(now, partition, start);
    }

    /// Stops reading a partition.
    pub fn remove(&mut self, partition: &PartitionName) {
        self.machine.remove(partition);
    }

    /// Hands out and fetches nothing of a partition until it is resumed. False if it is not
    /// assigned.
    pub fn pause(&mut self, partition: &PartitionName) -> bool {
        self.machine.pause(partition)
    }

    /// Goes on with a partition. False if it is not assigned.
    pub fn resume(&mut self, partition: &PartitionName) -> bool {
        let now = self.sockets.now();
        self.machine.resume(now, partition)
    }

    /// The offset of the next record of a partition; `None` while it has to be found.
    #[must_use]
    pub fn position(&self, partition: &PartitionName) -> Option<Offset> {
        self.machine.position(partition)
    }

    /// Records between the position and the end that the leader told last.
    #[must_use]
    pub fn lag(&self, partition: &PartitionName) -> Option<u64> {
        self.machine.lag(partition)
    }

    /// The next record or event. Waits without end: drop it, or race it against a timer, to stop.
    /// Dropped before it ends, nothing is lost.
    pub async fn next_event(&mut self) -> Event {
        loop {
            let now = self.sockets.now();
            if let Some(event) = self.machine.next_event(now) {
                return event;
            }
            self.sockets.turn(&mut self.machine, TURN_MAX).await;
        }
    }

    /// Why the last connection ended, in words.
    #[must_use]
    pub fn last_failure(&self) -> Option<&str> {
        self.machine.last_failure()
    }
}

/// A consumer in an async program that is a member of a group.
///
/// It has no task of its own: the membership is kept while one of its calls is awaited, or its
/// [`pump`](Self::pump). A program that works for long on what it was handed awaits `pump` beside
/// it, or it is taken for dead after `session.timeout.ms`.
#[derive(Debug)]
pub struct AsyncGroupConsumer<R: Runtime> {
    machine: SansIoGroupConsumer,
    sockets: Sockets<R>,
    /// When sockets were looked at last.
    looked: Instant,
}

/// How long records are handed out of what is there before sockets are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

impl<R: Runtime> AsyncGroupConsumer<R> {
    /// A member for the cluster at these addresses (`host:port`, several separated by commas) that
    /// reads these topics. It joins when the first event is awaited.
    pub fn new(
        runtime: R,
        bootstrap: &str,
        hub: HubOptions,
        options: GroupOptions,
        topics: impl IntoIterator<Item = TopicName>,
    ) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = since_epoch.map_or(0, |time| time.as_nanos() as u64);
        let beginning = (wall_time(), seed);
        Self {
            machine: SansIoGroupConsumer::new(bootstrap, hub, options, topics, beginning),
            sockets: Sockets::new(runtime),
            looked: Instant::now(),
        }
    }

    /// What comes next; everything that was handed out before counts as worked on. Waits without
    /// end, but for [`GroupEvent::Ended`], behind which nothing comes: drop it, or race it against
    /// a timer, to stop. Dropped before it ends, nothing is lost.
    pub async fn next_event(&mut self) -> GroupEvent {
        loop {
            if self.looked.elapsed() >= LOOK_INTERVAL {
                self.looked = Instant::now();
                self.sockets.nudge(&mut self.machine).await;
            }
            let now = self.sockets.now();
            if let Some(event) = self.machine.next_event(now) {
                return event;
            }
            self.sockets.turn(&mut self.machine, TURN_MAX).await;
        }
    }

    /// Lets requests and answers flow for so long, while the program does something else.
    pub async fn pump(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.sockets.turn(&mut self.machine, left).await;
            if left.is_zero() {
                return;
            }
        }
    }

    /// Commits everything that was handed out, and waits until it is kept. Dropped before it ends,
    /// the commit goes on.
    ///
    /// # Errors
    /// [`CommitError`]; nothing was committed, or that is unknown.
    pub async fn commit(&mut self) -> Result<(), CommitError> {
        let id = self.machine.commit(self.sockets.now());
        self.finish_commit(id).await
    }

    /// Commits these offsets, and waits until they are kept.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_offsets(
        &mut self,
        offsets: BTreeMap<PartitionName, CommittedOffset>,
    ) -> Result<(), CommitError> {
        let id = self.machine.commit_offsets(self.sockets.now(), offsets);
        self.finish_commit(id).await
    }

    async fn finish_commit(&mut self, wanted: crate::group::CommitId) -> Result<(), CommitError> {
        let limit = self.machine.options().commit_timeout;
        let started = Instant::now();
        loop {
            // Those of calls that were dropped are nobody's.
            while let Some((id, outcome)) = self.machine.next_commit() {
                if id == wanted {
                    return outcome;
                }
            }
            if started.elapsed() >= limit {
                return Err(CommitError::Timeout(limit));
            }
            self.sockets.turn(&mut self.machine, TURN_MAX).await;
        }
    }

    /// The partitions that are this member's, in the order of their names.
    pub fn assignment(&self) -> impl Iterator<Item = &PartitionName> {
        self.machine.assignment()
    }

    /// Reads a partition that is this member's from here on. False if it is not.
    pub fn seek(&mut self, partition: &PartitionName, start: impl Into<StartAt>) -> bool {
        let now = self.sockets.now();
        self.machine.seek(now, partition, start)
    }

    /// Hands out nothing of a partition until it is resumed. False if it is not read.
    pub fn pause(&mut self, partition: &PartitionName) -> bool {
        self.machine.pause(partition)
    }

    /// Goes on with a partition. False if it is not read.
    pub fn resume(&mut self, partition: &PartitionName) -> bool {
        let now = self.sockets.now();
        self.machine.resume(now, partition)
    }

    /// Why the last connection ended, in words.
    #[must_use]
    pub fn last_failure(&self) -> Option<&str> {
        self.machine.last_failure()
    }

    /// Commits what was handed out, if that happens by itself, and leaves the group; waits at most
    /// so long. True if that was done.
    pub async fn close(mut self, wait: Duration) -> bool {
        self.machine.close(self.sockets.now());
        let until = Instant::now() + wait;
        while !self.machine.is_closed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.sockets
                .turn(&mut self.machine, left.min(TURN_MAX))
                .await;
        }
        true
    }
}
