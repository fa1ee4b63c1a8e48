//! One request at a time over a blocking socket: versions, topics, offsets. Used before and after
//! the load, never during it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use klamm_wire::{
    ApiKey, FrameLimits, Message, MessageView, api_versions, create_topics, delete_topics,
    encode_request, list_offsets, metadata, parse_response_header,
};

use crate::problem::Problem;

/// Largest response that is accepted, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Name under which all connections introduce themselves.
pub const CLIENT_ID: &str = "klamm-bench";

/// Distance of questions that wait for a topic to be ready.
const POLL_DISTANCE: Duration = Duration::from_millis(20);

const TOPIC_ALREADY_EXISTS: i16 = 36;

/// Unknown topic or partition, leader not available, not leader or follower, unknown topic id.
const LEADER_PENDING: [i16; 4] = [3, 5, 6, 100];

/// A topic as the load needs it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: [u8; 16],
    /// Number of partitions.
    pub partitions: i32,
}

/// Which end of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogEnd {
    /// The first offset that is kept.
    Start,
    /// The offset after the last readable record.
    HighWatermark,
}

/// A connection for questions.
#[derive(Debug)]
pub struct Control {
    socket: TcpStream,
    versions: BTreeMap<i16, (i16, i16)>,
    correlation_id: i32,
    received: Vec<u8>,
}

/// The first address that `bootstrap` resolves to.
///
/// # Errors
/// The name does not resolve.
pub fn address_of(bootstrap: &str) -> Result<SocketAddr, Problem> {
    let found = bootstrap.to_socket_addrs()?.next();
    found.ok_or_else(|| Problem::Workload(format!("{bootstrap} resolves to no address")))
}

impl Control {
    /// Connects and asks which versions the broker serves.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn connect(address: SocketAddr) -> Result<Self, Problem> {
        let socket = TcpStream::connect_timeout(&address, ANSWER_WAIT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_WAIT))?;
        let mut control = Self {
            socket,
            versions: BTreeMap::new(),
            correlation_id: 0,
            received: Vec::new(),
        };
        let request = api_versions::Request {
            client_software_name: CLIENT_ID.into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let body = control.exchange_in(&request, 3)?;
        let answer = api_versions::ResponseView::parse_prefix(&body, 3)?.0;
        refused("ApiVersions", answer.error_code(), String::new)?;
        for row in answer.api_keys() {
            control
                .versions
                .insert(row.api_key(), (row.min_version(), row.max_version()));
        }
        Ok(control)
    }

    /// The highest version of `key` that the broker and our tables know.
    ///
    /// # Errors
    /// [`Problem::Protocol`] where there is none.
    pub fn version(&self, key: ApiKey) -> Result<i16, Problem> {
        let ours = key.versions().map(|range| (range.first, range.last));
        let theirs = self.versions.get(&key.number());
        let common = ours
            .zip(theirs.copied())
            .and_then(|((first, last), (min, max))| {
                let version = last.min(max);
                (version >= first.max(min)).then_some(version)
            });
        common.ok_or_else(|| Problem::Protocol(format!("no common version of {key:?}")))
    }

    fn exchange(&mut self, request: &dyn Message) -> Result<(Vec<u8>, i16), Problem> {
        let version = self.version(request.schema().key)?;
        Ok((self.exchange_in(request, version)?, version))
    }

    fn exchange_in(&mut self, request: &dyn Message, version: i16) -> Result<Vec<u8>, Problem> {
        let mut frame = BytesMut::new();
        encode_request(request, version, 0, Some(CLIENT_ID), &mut frame)?;
        self.exchange_frame(&frame, request.schema().key, version)
    }

    /// Sends a whole frame, under the next correlation id, and returns the body of its answer.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn exchange_frame(
        &mut self,
        frame: &[u8],
        key: ApiKey,
        version: i16,
    ) -> Result<Vec<u8>, Problem> {
        self.correlation_id += 1;
        self.socket.write_all(&frame[..8])?;
        self.socket.write_all(&self.correlation_id.to_be_bytes())?;
        self.socket.write_all(&frame[12..])?;
        let mut prefix = [0; 4];
        self.socket.read_exact(&mut prefix)?;
        let size = FrameLimits::of_responses(RESPONSE_BYTES_MAX)
            .check(prefix)
            .map_err(|error| Problem::Protocol(error.to_string()))?;
        self.received.clear();
        let wanted = u64::try_from(size).expect("a frame's size fits 64 bits");
        let got = (&mut self.socket)
            .take(wanted)
            .read_to_end(&mut self.received)?;
        if got < size {
            return Err(Problem::Protocol(
                "the broker closed inside a response".to_owned(),
            ));
        }
        let (found, body) = parse_response_header(&self.received, key, version)?;
        if found != self.correlation_id {
            let text = format!("expected answer {}, found {found}", self.correlation_id);
            return Err(Problem::Protocol(text));
        }
        Ok(body.to_vec())
    }

    /// Creates the topic unless it exists, and waits until each partition has a leader.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn ensure_topic(&mut self, name: &str, partitions: i32) -> Result<Topic, Problem> {
        let topic = create_topics::CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = create_topics::Request {
            topics: vec![topic],
            ..Default::default()
        };
        let (body, version) = self.exchange(&request)?;
        let answer = create_topics::ResponseView::parse_prefix(&body, version)?.0;
        for topic in answer.topics() {
            if topic.error_code() != TOPIC_ALREADY_EXISTS {
                let words = || topic.error_message().unwrap_or("").to_owned();
                refused("CreateTopics", topic.error_code(), words)?;
            }
        }
        let deadline = Instant::now() + ANSWER_WAIT;
        loop {
            match self.describe(name)? {
                Some(topic) if topic.partitions == partitions => return Ok(topic),
                Some(topic) if topic.partitions > 0 => {
                    let found = topic.partitions;
                    let text = format!("topic {name} has {found} partitions, not {partitions}");
                    return Err(Problem::Workload(text));
                }
                _ if Instant::now() > deadline => {
                    return Err(Problem::Protocol(format!("topic {name} has no leaders")));
                }
                _ => std::thread::sleep(POLL_DISTANCE),
            }
        }
    }

    /// Deletes the topic; the broker may take its time to free the disk.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn delete_topic(&mut self, topic: &Topic) -> Result<(), Problem> {
        let named = delete_topics::DeleteTopicState {
            name: Some(topic.name.as_str().into()),
            ..Default::default()
        };
        let request = delete_topics::Request {
            topics: vec![named],
            topic_names: vec![],
            timeout_ms: 30_000,
        };
        let (body, version) = self.exchange(&request)?;
        let answer = delete_topics::ResponseView::parse_prefix(&body, version)?.0;
        for topic in answer.responses() {
            refused("DeleteTopics", topic.error_code(), || {
                String::from("the topic")
            })?;
        }
        Ok(())
    }

    /// The topic, once it is known and all its partitions have leaders.
    fn describe(&mut self, name: &str) -> Result<Option<Topic>, Problem> {
        let topic = metadata::MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        };
        let request = metadata::Request {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let (body, version) = self.exchange(&request)?;
        let answer = metadata::ResponseView::parse_prefix(&body, version)?.0;
        let Some(topic) = answer
            .topics()
            .iter()
            .find(|topic| topic.name() == Some(name))
        else {
            return Ok(None);
        };
        let led = topic
            .partitions()
            .iter()
            .all(|partition| partition.leader_id() >= 0);
        let known = topic.error_code() == 0 && led;
        Ok(known.then(|| Topic {
            name: name.to_owned(),
            id: topic.topic_id(),
            partitions: i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX),
        }))
    }

    /// An end of each partition's log, by partition.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn offsets(&mut self, topic: &Topic, end: LogEnd) -> Result<Vec<i64>, Problem> {
        let deadline = Instant::now() + ANSWER_WAIT;
        loop {
            match self.offsets_now(topic, end) {
                // Metadata may name a leader before that one has heard of its office.
                Err(Problem::Refused { error_code, .. })
                    if LEADER_PENDING.contains(&error_code) && Instant::now() < deadline =>
                {
                    std::thread::sleep(POLL_DISTANCE);
                }
                other => return other,
            }
        }
    }

    fn offsets_now(&mut self, topic: &Topic, end: LogEnd) -> Result<Vec<i64>, Problem> {
        // The two special timestamps of ListOffsets.
        let timestamp = match end {
            LogEnd::Start => -2,
            LogEnd::HighWatermark => -1,
        };
        let partitions = (0..topic.partitions)
            .map(|partition_index| list_offsets::ListOffsetsPartition {
                partition_index,
                timestamp,
                ..Default::default()
            })
            .collect();
        let asked = list_offsets::ListOffsetsTopic {
            name: topic.name.as_str().into(),
            partitions,
        };
        let request = list_offsets::Request {
            replica_id: -1,
            topics: vec![asked],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let (body, version) = self.exchange(&request)?;
        let answer = list_offsets::ResponseView::parse_prefix(&body, version)?.0;
        let mut offsets = BTreeMap::new();
        for partition in answer.topics().iter().flat_map(|topic| topic.partitions()) {
            let index = partition.partition_index();
            refused("ListOffsets", partition.error_code(), || {
                format!("partition {index}")
            })?;
            offsets.insert(index, partition.offset());
        }
        if offsets.keys().copied().ne(0..topic.partitions) {
            let text = format!("ListOffsets answered for {} partitions", offsets.len());
            return Err(Problem::Protocol(text));
        }
        Ok(offsets.into_values().collect())
    }
}

/// An error where `error_code` is one.
///
/// # Errors
/// [`Problem::Refused`].
pub fn refused(
    request: &'static str,
    error_code: i16,
    detail: impl FnOnce() -> String,
) -> Result<(), Problem> {
    if error_code == 0 {
        return Ok(());
    }
    Err(Problem::Refused {
        request,
        error_code,
        detail: detail(),
    })
}
