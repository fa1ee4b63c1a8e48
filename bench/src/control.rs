//! One request at a time over a blocking socket: versions, topics, offsets. Used before and after
//! the load, never during it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use klamm_wire::{
    ApiKey, FrameLimits, Message, MessageView, api_versions, create_partitions, create_topics,
    delete_topics, encode_request, find_coordinator, init_producer_id, list_offsets, metadata,
    parse_response_header,
};

use crate::{
    problem::Problem,
    topics::{Topic, Topics, by_topic},
    workload::Workload,
};

/// Largest response that is accepted, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Name under which all connections introduce themselves.
pub const CLIENT_ID: &str = "klamm-bench";

/// Distance of questions that wait for a topic to be ready.
const POLL_DISTANCE: Duration = Duration::from_millis(20);

const TOPIC_ALREADY_EXISTS: i16 = 36;

const COORDINATOR_LOADING: i16 = 14;

/// Coordinator loading, coordinator not available.
const COORDINATOR_PENDING: [i16; 2] = [COORDINATOR_LOADING, 15];

/// From this version on FindCoordinator asks for several groups at once.
const FIND_MANY_VERSION: i16 = 4;

/// Topics that are created, described and deleted at once.
const TOPICS_PER_REQUEST: usize = 100;

/// Partitions that are created at once: Apache Kafka's controller refuses requests that make more
/// than 10,000 records.
const PARTITIONS_PER_REQUEST: usize = 5000;

/// Unknown topic or partition, leader not available, not leader or follower, unknown topic id.
const LEADER_PENDING: [i16; 4] = [3, 5, 6, 100];

/// Which end of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogEnd {
    /// The first offset that is kept.
    Start,
    /// The offset after the last readable record.
    HighWatermark,
}

/// Version of ApiVersions that every broker since Kafka 2.4 answers.
pub const GREETING_VERSION: i16 = 3;

fn greeting() -> api_versions::Request<'static> {
    api_versions::Request {
        client_software_name: CLIENT_ID.into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
    }
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
        let body = control.exchange_in(&greeting(), GREETING_VERSION)?;
        let answer = api_versions::ResponseView::parse_prefix(&body, GREETING_VERSION)?.0;
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

    /// The frame that asks for versions and says who we are, as every client begins.
    ///
    /// # Errors
    /// Never, unless the tables are broken.
    pub fn greeting() -> Result<Vec<u8>, Problem> {
        let mut frame = BytesMut::new();
        let version = GREETING_VERSION;
        encode_request(&greeting(), version, 0, Some(CLIENT_ID), &mut frame)?;
        Ok(frame.to_vec())
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

    /// Creates the topics unless they exist, and waits until each partition has a leader.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn ensure_topics(&mut self, workload: &Workload) -> Result<Topics, Problem> {
        let names = workload.topic_names();
        let mut list = Vec::new();
        let partitions = usize::try_from(workload.partitions).expect("a checked workload");
        let at_once = (PARTITIONS_PER_REQUEST / partitions).clamp(1, TOPICS_PER_REQUEST);
        for names in names.chunks(at_once) {
            self.create_topics(names, workload)?;
        }
        for names in names.chunks(TOPICS_PER_REQUEST) {
            list.extend(self.await_topics(names, workload.partitions)?);
        }
        Ok(Topics::new(list, partitions))
    }

    fn create_topics(&mut self, names: &[String], workload: &Workload) -> Result<(), Problem> {
        let request = create_request(names, workload)?;
        let (body, version) = self.exchange(&request)?;
        let answer = create_topics::ResponseView::parse_prefix(&body, version)?.0;
        for topic in answer.topics() {
            if topic.error_code() != TOPIC_ALREADY_EXISTS {
                let words = || topic.error_message().unwrap_or("").to_owned();
                refused("CreateTopics", topic.error_code(), words)?;
            }
        }
        Ok(())
    }

    fn await_topics(&mut self, names: &[String], partitions: i32) -> Result<Vec<Topic>, Problem> {
        let deadline = Instant::now() + ANSWER_WAIT;
        loop {
            match self.describe(names, partitions)? {
                Some(topics) => return Ok(topics),
                None if Instant::now() > deadline => {
                    let text = format!("topics {}... have no leaders", names[0]);
                    return Err(Problem::Protocol(text));
                }
                None => std::thread::sleep(POLL_DISTANCE),
            }
        }
    }

    /// Deletes topics; the broker may take its time to free the disk.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn delete_topics(&mut self, names: &[String]) -> Result<(), Problem> {
        for names in names.chunks(TOPICS_PER_REQUEST) {
            let named = names.iter().map(|name| delete_topics::DeleteTopicState {
                name: Some(name.as_str().into()),
                ..Default::default()
            });
            let request = delete_topics::Request {
                topics: named.collect(),
                // Before version 6 the names stand alone.
                topic_names: names.iter().map(|name| name.as_str().into()).collect(),
                timeout_ms: 30_000,
            };
            let (body, version) = self.exchange(&request)?;
            let answer = delete_topics::ResponseView::parse_prefix(&body, version)?.0;
            for topic in answer.responses() {
                let name = || topic.name().unwrap_or("").to_owned();
                refused("DeleteTopics", topic.error_code(), name)?;
            }
        }
        Ok(())
    }

    /// The topics, once they are known and all their partitions have the same leader.
    fn describe(
        &mut self,
        names: &[String],
        partitions: i32,
    ) -> Result<Option<Vec<Topic>>, Problem> {
        let asked = names.iter().map(|name| metadata::MetadataRequestTopic {
            name: Some(name.as_str().into()),
            ..Default::default()
        });
        let request = metadata::Request {
            topics: Some(asked.collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let (body, version) = self.exchange(&request)?;
        let answer = metadata::ResponseView::parse_prefix(&body, version)?.0;
        let mut found = BTreeMap::new();
        let mut leaders = BTreeSet::new();
        for topic in answer.topics() {
            let all = topic.partitions();
            leaders.extend(all.iter().map(|partition| partition.leader_id()));
            let name = topic.name().unwrap_or("").to_owned();
            if topic.error_code() != 0 || all.is_empty() {
                return Ok(None);
            }
            if i32::try_from(all.len()) != Ok(partitions) {
                let text = format!(
                    "topic {name} has {} partitions, not {partitions}",
                    all.len()
                );
                return Err(Problem::Workload(text));
            }
            found.insert(name, topic.topic_id());
        }
        if leaders.contains(&-1) {
            return Ok(None);
        }
        if leaders.len() > 1 {
            let text = format!("partitions are led by several nodes: {leaders:?}; one is loaded");
            return Err(Problem::Workload(text));
        }
        let topic = |name: &String| {
            let id = *found.get(name)?;
            let name = name.clone();
            Some(Topic { name, id })
        };
        Ok(names.iter().map(topic).collect())
    }

    /// Waits until groups have coordinators; the first who asks lets the broker make the topic in
    /// which groups are kept.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn await_coordinators(&mut self, groups: &[String]) -> Result<(), Problem> {
        let version = self.version(ApiKey::FindCoordinator)?;
        if version < FIND_MANY_VERSION {
            let text = format!("FindCoordinator is needed in version {FIND_MANY_VERSION}");
            return Err(Problem::Protocol(text));
        }
        for groups in groups.chunks(TOPICS_PER_REQUEST) {
            let request = find_coordinator::Request {
                coordinator_keys: groups.iter().map(|group| group.as_str().into()).collect(),
                ..Default::default()
            };
            let deadline = Instant::now() + ANSWER_WAIT;
            loop {
                let body = self.exchange_in(&request, version)?;
                let answer = find_coordinator::ResponseView::parse_prefix(&body, version)?.0;
                let codes = answer.coordinators().iter().map(|found| found.error_code());
                match codes.into_iter().find(|&code| code != 0) {
                    None => break,
                    Some(code) if COORDINATOR_PENDING.contains(&code) => {
                        if Instant::now() > deadline {
                            refused("FindCoordinator", code, || groups[0].clone())?;
                        }
                        std::thread::sleep(POLL_DISTANCE);
                    }
                    Some(code) => refused("FindCoordinator", code, || groups[0].clone())?,
                }
            }
        }
        Ok(())
    }

    /// Gives a topic more partitions: `count` in all.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn create_partitions(&mut self, topic: &str, count: i32) -> Result<(), Problem> {
        let request = create_partitions::Request {
            topics: vec![create_partitions::CreatePartitionsTopic {
                name: topic.into(),
                count,
                assignments: None,
            }],
            timeout_ms: 60_000,
            ..Default::default()
        };
        let (body, version) = self.exchange(&request)?;
        let answer = create_partitions::ResponseView::parse_prefix(&body, version)?.0;
        for topic in answer.results() {
            let words = || topic.error_message().unwrap_or_default().to_owned();
            refused("CreatePartitions", topic.error_code(), words)?;
        }
        Ok(())
    }

    /// A producer id and its epoch.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn producer_id(&mut self) -> Result<(i64, i16), Problem> {
        let request = init_producer_id::Request {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..Default::default()
        };
        let deadline = Instant::now() + ANSWER_WAIT;
        loop {
            let (body, version) = self.exchange(&request)?;
            let answer = init_producer_id::ResponseView::parse_prefix(&body, version)?.0;
            if answer.error_code() == COORDINATOR_LOADING && Instant::now() < deadline {
                std::thread::sleep(POLL_DISTANCE);
                continue;
            }
            refused("InitProducerId", answer.error_code(), String::new)?;
            return Ok((answer.producer_id(), answer.producer_epoch()));
        }
    }

    /// An end of each partition's log, by place.
    ///
    /// # Errors
    /// See [`Problem`].
    pub fn offsets(&mut self, topics: &Topics, end: LogEnd) -> Result<Vec<i64>, Problem> {
        let deadline = Instant::now() + ANSWER_WAIT;
        loop {
            match self.offsets_now(topics, end) {
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

    fn offsets_now(&mut self, topics: &Topics, end: LogEnd) -> Result<Vec<i64>, Problem> {
        // The two special timestamps of ListOffsets.
        let timestamp = match end {
            LogEnd::Start => -2,
            LogEnd::HighWatermark => -1,
        };
        let places: Vec<usize> = (0..topics.places()).collect();
        let mut asked = Vec::new();
        for (topic, partitions) in by_topic(topics, &places) {
            let partitions = partitions.into_iter().map(|(_, partition_index)| {
                list_offsets::ListOffsetsPartition {
                    partition_index,
                    timestamp,
                    ..Default::default()
                }
            });
            asked.push(list_offsets::ListOffsetsTopic {
                name: topic.name.as_str().into(),
                partitions: partitions.collect(),
            });
        }
        let request = list_offsets::Request {
            replica_id: -1,
            topics: asked,
            timeout_ms: 30_000,
            ..Default::default()
        };
        let (body, version) = self.exchange(&request)?;
        let answer = list_offsets::ResponseView::parse_prefix(&body, version)?.0;
        let mut offsets = BTreeMap::new();
        for topic in answer.topics() {
            let name = topic.name();
            let index = topics.find([0; 16], name);
            for partition in topic.partitions() {
                let number = partition.partition_index();
                let words = || format!("{name}-{number}");
                refused("ListOffsets", partition.error_code(), words)?;
                let place = index.and_then(|index| topics.place(index, number));
                let place = place.ok_or_else(|| Problem::Protocol(words()))?;
                offsets.insert(place, partition.offset());
            }
        }
        if offsets.len() != topics.places() {
            let text = format!("ListOffsets answered for {} partitions", offsets.len());
            return Err(Problem::Protocol(text));
        }
        Ok(offsets.into_values().collect())
    }
}

/// The request that creates topics as the workload wants them.
///
/// # Errors
/// A setting without `=`.
pub fn create_request<'n>(
    names: &'n [String],
    workload: &'n Workload,
) -> Result<create_topics::Request<'n>, Problem> {
    let mut configs = Vec::new();
    for setting in &workload.topic_config {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| Problem::Workload(format!("{setting} is not key=value")))?;
        configs.push(create_topics::CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
        });
    }
    let topics = names.iter().map(|name| create_topics::CreatableTopic {
        name: name.as_str().into(),
        num_partitions: workload.partitions,
        replication_factor: 1,
        configs: configs.clone(),
        ..Default::default()
    });
    Ok(create_topics::Request {
        topics: topics.collect(),
        timeout_ms: 60_000,
        ..Default::default()
    })
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
