//! The driver on std: sockets, threads and the clock around the machines of this room, for the
//! command line, tests and tools. One client belongs to one thread and waits where it is called.

mod admin;
mod consumer;
mod group;
mod groups;
mod lanes;
mod network;
mod producer;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use klamm_model::{
    Acks, ErrorCode, IsolationLevel, NodeId, Offset, Retriability, Timestamp, TopicName,
};
use klamm_records::batch::Record;
use klamm_records::compress::Scratch;
use klamm_wire::{
    ApiKey, DecodeError, Message, Request, VersionRange, fetch as fetch_wire, list_offsets, produce,
};

use crate::append::{self, Appended};
use crate::connection::{ConnectionOptions, Response, SendError, ServedVersions, sendable};
use crate::error::BrokerError;
use crate::fetch::{self, FetchOptions, FetchPlan, FetchRow, RecordFault, RecordReader};
use crate::metadata::{self, Broker, Cluster, PartitionName, TopicInfo};
use crate::offsets::{self, ListedOffset, OffsetSpec};

pub use consumer::BlockingConsumer;
pub use group::BlockingGroupConsumer;
pub use producer::{BlockingProducer, ProduceError};

use network::{Event, Network, SendFailure, SocketId};

/// How long an unknown topic may be one that is just being made.
const UNKNOWN_TOPIC_PATIENCE: Duration = Duration::from_secs(2);

/// How a client connects and how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// What each connection says and holds.
    pub connection: ConnectionOptions,
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// Limit for one answer (`request.timeout.ms`), and for the retries of one call together.
    pub request_timeout: Duration,
    /// Pause between attempts (`retry.backoff.ms`).
    pub retry_backoff: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            retry_backoff: Duration::from_millis(100),
        }
    }
}

/// Why a call failed.
#[derive(Debug)]
pub enum ClientError {
    /// No bootstrap address could be used.
    NoBroker {
        /// What was tried, with the reasons.
        tried: Vec<String>,
    },
    /// A connection could not be opened.
    Connect {
        /// Where to.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// A connection closed before the answer came; whether the request took effect is unknown.
    Closed {
        /// Where to.
        address: String,
        /// Why.
        reason: String,
    },
    /// No answer in time; whether the request took effect is unknown.
    Timeout {
        /// What was asked.
        key: ApiKey,
        /// Whom.
        address: String,
        /// How long.
        waited: Duration,
    },
    /// The request was not sent.
    Send(SendError),
    /// The answer breaks the encoding.
    Malformed {
        /// The API.
        key: ApiKey,
        /// How.
        error: DecodeError,
    },
    /// The answer lacks what was asked for.
    Missing {
        /// The API.
        key: ApiKey,
        /// What is missing.
        subject: String,
    },
    /// Fetched bytes are no records.
    Records {
        /// Where.
        partition: PartitionName,
        /// What is wrong.
        fault: RecordFault,
    },
    /// The cluster knows no broker with this id.
    UnknownNode(NodeId),
    /// A broker refused.
    Broker(BrokerError),
}

impl ClientError {
    /// True if the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_retriable(),
            Self::NoBroker { .. }
            | Self::Connect { .. }
            | Self::Closed { .. }
            | Self::Timeout { .. }
            | Self::UnknownNode(_) => true,
            Self::Send(_)
            | Self::Malformed { .. }
            | Self::Missing { .. }
            | Self::Records { .. } => false,
        }
    }

    /// The broker's error code, if a broker refused.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker(error) => Some(error.code),
            _ => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBroker { tried } if tried.is_empty() => {
                formatter.write_str("expected a bootstrap address, found none")
            }
            Self::NoBroker { tried } => {
                write!(
                    formatter,
                    "no broker could be reached: {}",
                    tried.join("; ")
                )
            }
            Self::Connect { address, error } => {
                write!(formatter, "cannot connect to {address}: {error}")
            }
            Self::Closed { address, reason } => {
                write!(formatter, "connection to {address} ended: {reason}")
            }
            Self::Timeout {
                key,
                address,
                waited,
            } => write!(
                formatter,
                "expected an answer to {key} from {address} within {waited:?}, found none"
            ),
            Self::Send(error) => error.fmt(formatter),
            Self::Malformed { key, error } => {
                write!(formatter, "malformed answer to {key}: {error}")
            }
            Self::Missing { key, subject } => {
                write!(formatter, "answer to {key} does not name {subject}")
            }
            Self::Records { partition, fault } => write!(formatter, "{partition}: {fault}"),
            Self::UnknownNode(node) => write!(formatter, "cluster has no broker {node}"),
            Self::Broker(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<BrokerError> for ClientError {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The broker with this id.
    Node(NodeId),
    /// The broker that takes administrative requests.
    Controller,
}

/// What one Fetch of one partition gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Records from the position on, as far as the answer went.
    pub records: Vec<Record>,
    /// From where to fetch next.
    pub next: Offset,
    /// End of what is replicated.
    pub high_watermark: Offset,
    /// End of what a read-committed consumer may see, where the version tells.
    pub last_stable: Option<Offset>,
    /// First offset that can be read, where the version tells.
    pub log_start: Option<Offset>,
}

/// A connection to a cluster.
pub struct Client {
    options: ClientOptions,
    bootstrap: Vec<String>,
    network: Network,
    cluster: Cluster,
    /// Connection to a bootstrap address, whoever answers there.
    entry: Option<SocketId>,
    /// Connections for calls; each carries one request at a time.
    by_node: BTreeMap<NodeId, SocketId>,
    scratch: Scratch,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("bootstrap", &self.bootstrap)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the first of the addresses (`host:port`, several separated by commas) that
    /// answers, and learns the brokers of the cluster.
    ///
    /// # Errors
    /// [`ClientError::NoBroker`], or what the first Metadata answer brings.
    pub fn connect(bootstrap: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let addresses = bootstrap.split(',').map(str::trim);
        let bootstrap = addresses
            .filter(|address| !address.is_empty())
            .map(str::to_owned)
            .collect();
        let mut client = Self {
            network: Network::new(&options),
            options,
            bootstrap,
            cluster: Cluster::default(),
            entry: None,
            by_node: BTreeMap::new(),
            scratch: Scratch::new(),
        };
        client.refresh(Some(&[]))?;
        Ok(client)
    }

    /// What is known of the cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The options given at the start.
    #[must_use]
    pub const fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Versions that a broker serves.
    ///
    /// # Errors
    /// No connection.
    pub fn served(&mut self, target: Target) -> Result<ServedVersions, ClientError> {
        let socket = self.socket_for(target)?;
        let served = self.network.machine(socket).and_then(|it| it.served());
        // A socket that was just found is ready.
        Ok(served.cloned().unwrap_or_default())
    }

    /// Sends a request in the highest version in common and waits for the answer. Not repeated on
    /// failure.
    ///
    /// # Errors
    /// Any [`ClientError`] but `Broker`: error codes inside the answer are the caller's.
    pub fn call(&mut self, target: Target, request: &dyn Message) -> Result<Response, ClientError> {
        self.call_up_to(target, request, i16::MAX)
    }

    /// Like [`call`](Self::call), in no version above `version_max`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_up_to(
        &mut self,
        target: Target,
        request: &dyn Message,
        version_max: i16,
    ) -> Result<Response, ClientError> {
        let socket = self.socket_for(target)?;
        let sent = self
            .network
            .send(socket, |machine| machine.send_up_to(request, version_max));
        self.answer(socket, request, sent)
    }

    /// Sends a request in the highest version in common and reads the answer by its own view: any
    /// API of the tables in [`klamm_wire`], for what has no call of its own here.
    ///
    /// # Errors
    /// Any [`ClientError`] but `Broker`: error codes inside the answer are the caller's.
    pub fn request<Q: Request, T>(
        &mut self,
        target: Target,
        request: &Q,
        read: impl FnOnce(Q::ResponseView<'_>) -> T,
    ) -> Result<T, ClientError> {
        self.request_up_to(target, request, i16::MAX, read)
    }

    /// Like [`request`](Self::request), in no version above `version_max`.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn request_up_to<Q: Request, T>(
        &mut self,
        target: Target,
        request: &Q,
        version_max: i16,
        read_view: impl FnOnce(Q::ResponseView<'_>) -> T,
    ) -> Result<T, ClientError> {
        let response = self.call_up_to(target, request, version_max)?;
        Ok(read_view(read::<Q::ResponseView<'_>>(&response)?))
    }

    /// The version in which a request of this API would go to `target`, for requests whose shape
    /// depends on it.
    ///
    /// # Errors
    /// No connection, or no version in common.
    pub fn version(&mut self, target: Target, key: ApiKey) -> Result<i16, ClientError> {
        let wanted = sendable(key).unwrap_or(VersionRange { first: 0, last: 0 });
        let picked = self.served(target)?.pick(key, wanted);
        picked.map_err(|missing| ClientError::Send(SendError::NoVersion(missing)))
    }

    fn answer(
        &mut self,
        socket: SocketId,
        request: &dyn Message,
        sent: Result<crate::connection::CorrelationId, SendFailure>,
    ) -> Result<Response, ClientError> {
        match sent {
            Ok(_) => {}
            Err(SendFailure::Closed) => return Err(self.network.why_closed(socket)),
            Err(SendFailure::Refused(error)) => return Err(ClientError::Send(error)),
        }
        let waited = self.options.request_timeout;
        let event = self.network.wait_for(waited, |event| match event {
            Event::Response(from, _) | Event::Closed { socket: from, .. } => *from == socket,
        });
        match event {
            Some(Event::Response(_, response)) => Ok(response),
            Some(Event::Closed {
                address, reason, ..
            }) => Err(ClientError::Closed { address, reason }),
            None => {
                let address = self.network.address(socket).to_owned();
                // The answer may still come; a new connection cannot mistake it for another.
                self.network.close(socket, "no answer in time");
                let _ = self.network.why_closed(socket);
                Err(ClientError::Timeout {
                    key: request.schema().key,
                    address,
                    waited,
                })
            }
        }
    }

    fn socket_for(&mut self, target: Target) -> Result<SocketId, ClientError> {
        let node = match target {
            Target::Any => None,
            Target::Node(node) => Some(node),
            Target::Controller => self.cluster.controller,
        };
        match node {
            None => self.entry_socket(),
            Some(node) => self.node_socket(node),
        }
    }

    fn still_open(&mut self, socket: SocketId) -> bool {
        let open = self.network.is_open(socket);
        if !open {
            // It was idle: nobody waits for the reason.
            let _ = self.network.why_closed(socket);
        }
        open
    }

    fn node_socket(&mut self, node: NodeId) -> Result<SocketId, ClientError> {
        if let Some(&socket) = self.by_node.get(&node) {
            if self.still_open(socket) {
                return Ok(socket);
            }
            self.by_node.remove(&node);
        }
        let address = self.address_of(node)?;
        let socket = self.network.dial(&address)?;
        self.by_node.insert(node, socket);
        Ok(socket)
    }

    fn address_of(&self, node: NodeId) -> Result<String, ClientError> {
        let broker = self.cluster.broker(node);
        broker
            .map(ToString::to_string)
            .ok_or(ClientError::UnknownNode(node))
    }

    /// A connection to anyone: the one that is open, else a bootstrap address, else a broker that
    /// was known before.
    fn entry_socket(&mut self) -> Result<SocketId, ClientError> {
        if let Some(socket) = self.entry.take()
            && self.still_open(socket)
        {
            self.entry = Some(socket);
            return Ok(socket);
        }
        let known = self.cluster.brokers().map(Broker::to_string);
        let addresses: Vec<String> = self.bootstrap.iter().cloned().chain(known).collect();
        let mut tried: Vec<String> = Vec::new();
        for address in addresses {
            match self.network.dial(&address) {
                Ok(socket) => {
                    self.entry = Some(socket);
                    return Ok(socket);
                }
                Err(error) => tried.push(error.to_string()),
            }
        }
        Err(ClientError::NoBroker { tried })
    }

    /// Repeats `attempt` while its error may pass, with pauses, until the request timeout. A topic
    /// that is unknown may be so new that not every broker has heard of it: it gets
    /// [`UNKNOWN_TOPIC_PATIENCE`].
    fn retrying<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        loop {
            let error = match attempt(self) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let patience = match error.code() {
                Some(ErrorCode::UnknownTopicOrPartition) => {
                    UNKNOWN_TOPIC_PATIENCE.min(self.options.request_timeout)
                }
                _ => self.options.request_timeout,
            };
            let pause = self.options.retry_backoff;
            if !error.is_retriable() || started.elapsed() + pause >= patience {
                return Err(error);
            }
            std::thread::sleep(pause);
        }
    }

    /// Asks for brokers and for `topics` (`None` for all of them), and keeps the answer. Topics
    /// with an error are in the result and not in the cache.
    ///
    /// # Errors
    /// No broker, or no usable answer.
    pub fn refresh(&mut self, topics: Option<&[TopicName]>) -> Result<Vec<TopicInfo>, ClientError> {
        let request = metadata::request(topics);
        let response = self.call(Target::Any, &request)?;
        let view = read::<klamm_wire::metadata::ResponseView<'_>>(&response)?;
        BrokerError::check(view.error_code(), None, || "metadata".to_owned())?;
        Ok(self.cluster.apply(&view))
    }

    /// A topic, from the cache or from the cluster; waits while its leaders are being elected.
    ///
    /// # Errors
    /// The topic does not exist, or no answer.
    pub fn topic(&mut self, name: &TopicName) -> Result<TopicInfo, ClientError> {
        if let Some(topic) = self.cluster.topic(name)
            && topic.partitions.iter().all(|it| it.leader.is_some())
        {
            return Ok(topic.clone());
        }
        self.describe_topic(name)
    }

    /// A topic as the cluster knows it now. Waits a little while the topic is being made.
    ///
    /// # Errors
    /// The topic does not exist, or no answer.
    pub fn describe_topic(&mut self, name: &TopicName) -> Result<TopicInfo, ClientError> {
        self.retrying(|client| client.describe_topic_once(name))
    }

    fn describe_topic_once(&mut self, name: &TopicName) -> Result<TopicInfo, ClientError> {
        let named = self.refresh(Some(std::slice::from_ref(name)))?;
        let topic = named.into_iter().find(|topic| topic.name == *name);
        let topic = topic.ok_or_else(|| ClientError::Missing {
            key: ApiKey::Metadata,
            subject: format!("topic {name}"),
        })?;
        match topic.error {
            None => Ok(topic),
            Some(code) => Err(BrokerError::new(code, format!("topic {name}")).into()),
        }
    }

    /// Leader of a partition, asking the cluster where it is not known.
    fn leader_of(&mut self, partition: &PartitionName) -> Result<NodeId, ClientError> {
        if let Some(leader) = self.cluster.leader(partition) {
            return Ok(leader);
        }
        self.describe_topic_once(&partition.topic)?;
        let subject = || format!("partition {partition}");
        let known = self.cluster.partition(partition);
        let code = match known {
            None => ErrorCode::UnknownTopicOrPartition,
            Some(_) => ErrorCode::LeaderNotAvailable,
        };
        let leader = self.cluster.leader(partition);
        leader.ok_or_else(|| BrokerError::new(code, subject()).into())
    }

    /// Takes note of an error that says who does not lead.
    fn on_refusal(&mut self, partition: &PartitionName, refused: append::Refused) -> ClientError {
        if refused.error.code.retriability() == Retriability::Retriable {
            self.cluster.forget_leader(partition);
        }
        if let Some((leader, epoch)) = refused.leader {
            self.cluster.hint_leader(partition, leader, epoch);
        }
        refused.error.into()
    }

    /// Produces one batch; again while a leader refuses it in a way that may pass and that
    /// appended nothing. `acks` must not be [`Acks::None`]: nothing would be answered.
    ///
    /// # Errors
    /// Any [`ClientError`]; `Closed` and `Timeout` leave open whether the batch was appended.
    pub fn produce(
        &mut self,
        partition: &PartitionName,
        batch: Bytes,
        acks: Acks,
    ) -> Result<Appended, ClientError> {
        let outcome = self.retrying(|client| {
            let outcome = client.produce_once(partition, batch.clone(), acks);
            match &outcome {
                Err(ClientError::Broker(error)) if !may_have_appended(error.code) => {
                    outcome.map(Ok)
                }
                _ => Ok(outcome),
            }
        });
        outcome?
    }

    /// Produces one batch with one request. `acks` must not be [`Acks::None`].
    ///
    /// # Errors
    /// As [`produce`](Self::produce).
    pub fn produce_once(
        &mut self,
        partition: &PartitionName,
        batch: Bytes,
        acks: Acks,
    ) -> Result<Appended, ClientError> {
        assert_ne!(acks, Acks::None, "a call waits for an answer");
        let leader = self.leader_of(partition)?;
        let batches = [(partition.clone(), batch)];
        let timeout = self.options.request_timeout;
        let shaped = append::request(&batches, acks, timeout, &self.cluster);
        let response =
            self.call_up_to(Target::Node(leader), &shaped.request, shaped.version_max)?;
        let view = read::<produce::ResponseView<'_>>(&response)?;
        let outcome = append::read(&view, &self.cluster)
            .into_iter()
            .find(|(found, _)| found == partition);
        match outcome {
            Some((_, Ok(appended))) => Ok(appended),
            Some((_, Err(refused))) => Err(self.on_refusal(partition, refused)),
            None => Err(ClientError::Missing {
                key: ApiKey::Produce,
                subject: format!("partition {partition}"),
            }),
        }
    }

    /// Fetches from one partition and reads the records; again while an error may pass.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn fetch(
        &mut self,
        partition: &PartitionName,
        position: Offset,
        options: &FetchOptions,
    ) -> Result<Fetched, ClientError> {
        self.retrying(|client| client.fetch_once(partition, position, options))
    }

    /// Fetches from one partition with one request and reads the records.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn fetch_once(
        &mut self,
        partition: &PartitionName,
        position: Offset,
        options: &FetchOptions,
    ) -> Result<Fetched, ClientError> {
        let leader = self.leader_of(partition)?;
        let row = FetchRow::new(partition.clone(), position, &self.cluster);
        let shaped = fetch::request(&FetchPlan::alone(vec![row]), options);
        let response =
            self.call_up_to(Target::Node(leader), &shaped.request, shaped.version_max)?;
        let view = read::<fetch_wire::ResponseView<'_>>(&response)?;
        let outcome = fetch::read(&view, &response.body, &self.cluster)?
            .outcomes
            .into_iter()
            .find(|(found, _)| found == partition);
        let fetched = match outcome {
            Some((_, Ok(fetched))) => fetched,
            Some((_, Err(refused))) => return Err(self.on_refusal(partition, refused)),
            None => {
                return Err(ClientError::Missing {
                    key: ApiKey::Fetch,
                    subject: format!("partition {partition}"),
                });
            }
        };
        let (high_watermark, last_stable) = (fetched.high_watermark, fetched.last_stable);
        let log_start = fetched.log_start;
        let mut reader = RecordReader::new(fetched, position, options.isolation);
        let mut records = Vec::new();
        while let Some(record) = reader.next_record(&mut self.scratch) {
            records.push(record.map_err(|fault| ClientError::Records {
                partition: partition.clone(),
                fault,
            })?);
        }
        Ok(Fetched {
            records,
            next: reader.position(),
            high_watermark,
            last_stable,
            log_start,
        })
    }

    /// Finds offsets; each partition is asked at its leader, again while its error may pass.
    ///
    /// # Errors
    /// No leader or no answer for some partition, within the request timeout.
    pub fn list_offsets(
        &mut self,
        wanted: &[(PartitionName, OffsetSpec)],
        isolation: IsolationLevel,
    ) -> Result<BTreeMap<PartitionName, ListedOffset>, ClientError> {
        let mut found = BTreeMap::new();
        self.retrying(|client| {
            let mut by_leader: BTreeMap<NodeId, Vec<(PartitionName, OffsetSpec)>> = BTreeMap::new();
            for (partition, spec) in wanted {
                if !found.contains_key(partition) {
                    let leader = client.leader_of(partition)?;
                    let row = (partition.clone(), *spec);
                    by_leader.entry(leader).or_default().push(row);
                }
            }
            for (leader, part) in by_leader {
                client.list_offsets_of(leader, &part, isolation, &mut found)?;
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn list_offsets_of(
        &mut self,
        leader: NodeId,
        wanted: &[(PartitionName, OffsetSpec)],
        isolation: IsolationLevel,
        found: &mut BTreeMap<PartitionName, ListedOffset>,
    ) -> Result<(), ClientError> {
        let timeout = crate::admin::milliseconds(self.options.request_timeout);
        let request = offsets::request(wanted, isolation, timeout);
        let response = self.call(Target::Node(leader), &request)?;
        let view = read::<list_offsets::ResponseView<'_>>(&response)?;
        let mut refused = None;
        for (partition, outcome) in offsets::read(&view) {
            match outcome {
                Ok(listed) => {
                    found.insert(partition, listed);
                }
                Err(error) => {
                    if error.is_retriable() {
                        self.cluster.forget_leader(&partition);
                    }
                    refused = Some(error);
                }
            }
        }
        if let Some(error) = refused {
            return Err(error.into());
        }
        match wanted.iter().find(|(it, _)| !found.contains_key(it)) {
            None => Ok(()),
            Some((partition, _)) => Err(ClientError::Missing {
                key: ApiKey::ListOffsets,
                subject: format!("partition {partition}"),
            }),
        }
    }
}

/// The time of the wall clock, for records.
#[must_use]
pub fn wall_time() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let since_epoch = since_epoch.map_or(0, |time| time.as_millis());
    Timestamp(i64::try_from(since_epoch).unwrap_or(i64::MAX))
}

/// True for refusals after which the batch may lie in the log all the same.
const fn may_have_appended(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::RequestTimedOut
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::NetworkException
    )
}

/// Reads the body of an answer.
fn read<'r, V: klamm_wire::MessageView<'r>>(response: &'r Response) -> Result<V, ClientError> {
    response.view().map_err(|error| ClientError::Malformed {
        key: response.key,
        error,
    })
}
