//! What a test wants to say in one line: make a topic, append, read, ask for an offset.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use klamm_wire::{api_versions, create_topics, delete_topics, fetch, init_producer_id};
use klamm_wire::{list_offsets, metadata, produce};

use super::batch::{ReadRecord, records_of};
use super::{Client, wait_for};

/// Version of Produce that these calls speak: the highest that names topics.
pub(crate) const PRODUCE: i16 = 9;
/// Version of Fetch that these calls speak: the highest that names topics.
pub(crate) const FETCH: i16 = 12;

/// Kafka's code for a topic or partition that is not there.
pub(crate) const UNKNOWN_TOPIC: i16 = 3;

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: [u8; 16],
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Produced {
    pub(crate) error_code: i16,
    pub(crate) base_offset: i64,
    pub(crate) log_append_time: i64,
    pub(crate) log_start_offset: i64,
    pub(crate) message: Option<String>,
}

/// What a partition gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) error_code: i16,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
    pub(crate) records: Vec<u8>,
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    now.as_millis() as i64
}

/// A name that no other test has, also on a broker that many runs share.
pub(crate) fn unique(hint: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{hint}-{}-{:x}-{number}",
        std::process::id(),
        now.as_nanos()
    )
}

/// A request to create one topic.
pub(crate) fn creation(
    name: &str,
    partitions: i32,
    replication: i16,
    configs: &[(&str, &str)],
) -> create_topics::Request<'static> {
    let configs = configs
        .iter()
        .map(|(key, value)| create_topics::CreatableTopicConfig {
            name: key.to_string().into(),
            value: Some(value.to_string().into()),
        });
    let topic = create_topics::CreatableTopic {
        name: name.to_owned().into(),
        num_partitions: partitions,
        replication_factor: replication,
        configs: configs.collect(),
        ..Default::default()
    };
    create_topics::Request {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..Default::default()
    }
}

/// A request to delete one topic by its name, for versions below 6.
pub(crate) fn deletion(name: &str) -> delete_topics::Request<'static> {
    delete_topics::Request {
        topic_names: vec![name.to_owned().into()],
        timeout_ms: 30_000,
        ..Default::default()
    }
}

/// A ListOffsets for one partition: the offset of a time, or of one of the special ones below zero.
pub(crate) fn listing(topic: &Topic, partition: i32, time: i64) -> list_offsets::Request<'static> {
    let partition = list_offsets::ListOffsetsPartition {
        partition_index: partition,
        timestamp: time,
        ..Default::default()
    };
    let topic = list_offsets::ListOffsetsTopic {
        name: topic.name.clone().into(),
        partitions: vec![partition],
    };
    list_offsets::Request {
        replica_id: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// A Produce of batches to partitions of one topic, by its name and its id.
pub(crate) fn production(
    topic: &Topic,
    acks: i16,
    batches: &[(i32, &[u8])],
) -> produce::Request<'static> {
    let partition = |&(index, batch): &(i32, &[u8])| produce::PartitionProduceData {
        index,
        records: Some(Bytes::copy_from_slice(batch).into()),
    };
    let data = produce::TopicProduceData {
        name: topic.name.clone().into(),
        topic_id: topic.id,
        partition_data: batches.iter().map(partition).collect(),
    };
    produce::Request {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![data],
        ..Default::default()
    }
}

/// A Fetch of one partition without a session.
pub(crate) fn fetching(topic: &Topic, partition: i32, offset: i64) -> fetch::Request<'static> {
    let partition = fetch::FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = fetch::FetchTopic {
        topic: topic.name.clone().into(),
        topic_id: topic.id,
        partitions: vec![partition],
    };
    fetch::Request {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 8 << 20,
        topics: vec![topic],
        ..Default::default()
    }
}

/// The parts of a Produce's answer, in order.
pub(crate) fn produced(view: &produce::ResponseView<'_>) -> Vec<Produced> {
    let parts = view
        .responses()
        .iter()
        .flat_map(|topic| topic.partition_responses());
    let parts = parts.map(|part| Produced {
        error_code: part.error_code(),
        base_offset: part.base_offset(),
        log_append_time: part.log_append_time_ms(),
        log_start_offset: part.log_start_offset(),
        message: part.error_message().map(str::to_owned),
    });
    parts.collect()
}

/// The parts of a Fetch's answer, in order.
pub(crate) fn fetched(view: &fetch::ResponseView<'_>) -> Vec<Fetched> {
    let parts = view.responses().iter().flat_map(|topic| topic.partitions());
    let parts = parts.map(|part| Fetched {
        error_code: part.error_code(),
        high_watermark: part.high_watermark(),
        log_start_offset: part.log_start_offset(),
        records: part.records().unwrap_or(&[]).to_vec(),
    });
    parts.collect()
}

impl Client {
    /// Key numbers with the lowest and highest version that the broker names.
    pub(crate) fn api_versions(&mut self) -> BTreeMap<i16, (i16, i16)> {
        let reply = self.call(&api_versions::Request::default(), 0);
        let view = reply.view();
        assert_eq!(view.error_code(), 0);
        let keys = view.api_keys().iter();
        keys.map(|row| (row.api_key(), (row.min_version(), row.max_version())))
            .collect()
    }

    /// Makes a topic of a new name and waits until its partitions are led.
    pub(crate) fn create_topic(&mut self, hint: &str, partitions: i32) -> Topic {
        self.create_topic_with(hint, partitions, &[])
    }

    pub(crate) fn create_topic_with(
        &mut self,
        hint: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Topic {
        let name = unique(hint);
        let reply = self.call(&creation(&name, partitions, 1, configs), 7);
        let view = reply.view();
        let result = view.topics().iter().next().expect("one topic");
        assert_eq!(
            result.error_code(),
            0,
            "{name}: {:?}",
            result.error_message()
        );
        let id = result.topic_id();
        wait_for("led partition", || {
            self.leaders(&name)
                .is_some_and(|count| count == partitions as usize)
                .then_some(())
        });
        Topic { name, id }
    }

    /// Deletes a topic; gives the code that it was answered with.
    pub(crate) fn delete_topic(&mut self, topic: &Topic) -> i16 {
        let reply = self.call(&deletion(&topic.name), 4);
        let view = reply.view();
        let row = view.responses().iter().next();
        row.expect("one topic").error_code()
    }

    /// How many partitions of the topic have a leader; `None` where it is not known.
    fn leaders(&mut self, name: &str) -> Option<usize> {
        let topic = metadata::MetadataRequestTopic {
            name: Some(name.to_owned().into()),
            ..Default::default()
        };
        let request = metadata::Request {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let reply = self.call(&request, 9);
        let view = reply.view();
        let topic = view.topics().iter().next()?;
        let led = topic
            .partitions()
            .iter()
            .filter(|part| part.error_code() == 0);
        (topic.error_code() == 0).then(|| led.count())
    }

    /// Appends batches to a partition and gives what became of them.
    pub(crate) fn produce(&mut self, topic: &Topic, partition: i32, batch: &[u8]) -> Produced {
        self.try_produce(topic, partition, batch)
            .expect("an answer")
    }

    pub(crate) fn try_produce(
        &mut self,
        topic: &Topic,
        partition: i32,
        batch: &[u8],
    ) -> io::Result<Produced> {
        let reply = self.try_call(&production(topic, -1, &[(partition, batch)]), PRODUCE)?;
        let parts = produced(&reply.view());
        let [part] = parts.try_into().expect("one partition was asked");
        Ok(part)
    }

    /// Reads a partition once, without waiting.
    pub(crate) fn fetch(&mut self, topic: &Topic, partition: i32, offset: i64) -> Fetched {
        let reply = self.call(&fetching(topic, partition, offset), FETCH);
        let view = reply.view();
        assert_eq!(view.error_code(), 0);
        let [part] = fetched(&view).try_into().expect("one partition was asked");
        part
    }

    /// All records of a partition, from its first to its high watermark.
    pub(crate) fn read_all(&mut self, topic: &Topic, partition: i32) -> Vec<ReadRecord> {
        let mut next = self.list_offset(topic, partition, -2).offset;
        let mut records: Vec<ReadRecord> = Vec::new();
        loop {
            let part = self.fetch(topic, partition, next);
            assert_eq!(part.error_code, 0, "{}-{partition} from {next}", topic.name);
            let read = records_of(&part.records);
            let new = read.into_iter().filter(|record| record.offset >= next);
            records.extend(new);
            let reached = records.last().map_or(next, |record| record.offset + 1);
            assert!(
                reached > next || reached >= part.high_watermark,
                "{}-{partition} gives nothing from {next}, but ends at {}",
                topic.name,
                part.high_watermark
            );
            next = reached;
            if next >= part.high_watermark {
                return records;
            }
        }
    }

    /// Asks for the offset of a time, or of one of the special ones below zero.
    pub(crate) fn list_offset(&mut self, topic: &Topic, partition: i32, time: i64) -> Listed {
        let reply = self.call(&listing(topic, partition, time), 7);
        let view = reply.view();
        let topic = view.topics().iter().next().expect("one topic");
        let part = topic.partitions().iter().next().expect("one partition");
        Listed {
            error_code: part.error_code(),
            timestamp: part.timestamp(),
            offset: part.offset(),
            leader_epoch: part.leader_epoch(),
        }
    }

    /// A new producer id and its epoch.
    pub(crate) fn init_producer_id(&mut self) -> (i64, i16) {
        let request = init_producer_id::Request {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        // Kafka answers 14 or 15 until it has loaded its own state.
        wait_for("producer id", || {
            let reply = self.call(&request, 4);
            let view = reply.view();
            match view.error_code() {
                0 => Some((view.producer_id(), view.producer_epoch())),
                14 | 15 => None,
                code => panic!("code {code}"),
            }
        })
    }
}

/// What ListOffsets said of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) error_code: i16,
    pub(crate) timestamp: i64,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
}
