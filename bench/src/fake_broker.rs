//! A broker in a thread, for tests: one in-memory log per partition of one topic behind the requests
//! that the generator sends. It checks what it is sent, as a broker does, and can be told to
//! misbehave.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use klamm_model::{LeaderEpoch, Offset};
use klamm_records::batch::{batches, stamp, verify};
use klamm_wire::{
    ApiKey, Message, MessageView, RequestHeader, api_versions, create_topics, delete_topics,
    encode_response, fetch, init_producer_id, list_offsets, metadata, produce,
};

const TOPIC_ID: [u8; 16] = [7; 16];

/// How a fake broker breaks its promises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sin {
    /// Not at all.
    None,
    /// Acknowledges every fifth batch without keeping it.
    LosesBatches,
    /// Keeps every fifth batch twice and forgets the one after it, so that counts agree.
    DoublesBatches,
    /// Returns the second and the third batch of each log in each other's place.
    ExchangesBatches,
    /// Does nothing for so long before it takes its hundredth batch.
    Stalls(Duration),
    /// Turns a bit of each batch that it returns.
    DamagesBatches,
    /// No sin: retention deletes what lies below this offset once somebody reads.
    Deletes(i64),
    /// Answers every Produce with this error.
    Refuses(i16),
}

#[derive(Default)]
struct Log {
    batches: Vec<Bytes>,
    end: i64,
    appends: u64,
}

#[derive(Default)]
struct Logs {
    by_partition: BTreeMap<i32, Log>,
    producers: i64,
    /// True once somebody has asked for what is deleted.
    deleted: Cell<bool>,
}

/// Logs and the bell that rings when they grow.
#[derive(Default)]
struct Shared {
    logs: Mutex<Logs>,
    grown: Condvar,
}

/// The broker's address; its threads end with the process.
pub(crate) fn start(sin: Sin) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let logs = Arc::new(Shared::default());
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let logs = Arc::clone(&logs);
            thread::spawn(move || serve(socket, &logs, sin));
        }
    });
    address
}

fn serve(mut socket: TcpStream, shared: &Shared, sin: Sin) {
    loop {
        let mut prefix = [0; 4];
        if socket.read_exact(&mut prefix).is_err() {
            return;
        }
        let size = usize::try_from(i32::from_be_bytes(prefix)).expect("a size");
        let mut frame = vec![0; size];
        socket.read_exact(&mut frame).expect("a whole frame");
        let (header, body) = RequestHeader::parse(&frame).expect("a header");
        let mut logs = shared.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if header.key == ApiKey::Fetch && logs.has_nothing_for(body, header.version) {
            let waited = shared.grown.wait_timeout(logs, Duration::from_millis(5));
            logs = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let answer = logs.answer(header.key, header.version, body, sin);
        drop(logs);
        shared.grown.notify_all();
        let mut out = BytesMut::new();
        encode_response(&*answer, header.version, header.correlation_id, &mut out)
            .expect("an answer");
        if socket.write_all(&out).is_err() {
            return;
        }
    }
}

impl Logs {
    fn answer(&mut self, key: ApiKey, version: i16, body: &[u8], sin: Sin) -> Box<dyn Message> {
        match key {
            ApiKey::ApiVersions => Box::new(versions()),
            ApiKey::CreateTopics => {
                let request = create_topics::RequestView::parse(body, version).expect("legal");
                let topic = request.topics().iter().next().expect("a topic");
                for partition in 0..topic.num_partitions() {
                    self.by_partition.entry(partition).or_default();
                }
                Box::new(create_topics::Response::default())
            }
            ApiKey::DeleteTopics => {
                let request = delete_topics::RequestView::parse(body, version).expect("legal");
                assert_eq!(request.topics().len(), 1);
                self.by_partition.clear();
                Box::new(delete_topics::Response::default())
            }
            ApiKey::InitProducerId => {
                self.producers += 1;
                Box::new(init_producer_id::Response {
                    producer_id: self.producers,
                    ..Default::default()
                })
            }
            ApiKey::Metadata => Box::new(self.metadata(body, version)),
            ApiKey::ListOffsets => Box::new(self.list_offsets(body, version, sin)),
            ApiKey::Produce => Box::new(self.produce(body, version, sin)),
            ApiKey::Fetch => Box::new(self.fetch(body, version, sin)),
            other => panic!("{other:?} is not for load"),
        }
    }

    fn has_nothing_for(&self, body: &[u8], version: i16) -> bool {
        let request = fetch::RequestView::parse(body, version).expect("legal");
        let asked = request.topics().iter().next().expect("a topic");
        let mut partitions = asked.partitions().iter();
        partitions.all(|p| self.by_partition[&p.partition()].end <= p.fetch_offset())
    }

    fn metadata(&self, body: &[u8], version: i16) -> metadata::Response<'static> {
        let request = metadata::RequestView::parse(body, version).expect("legal");
        let asked = request.topics().expect("named").iter().next().expect("one");
        let partitions =
            self.by_partition
                .keys()
                .map(|&partition_index| metadata::MetadataResponsePartition {
                    partition_index,
                    leader_id: 1,
                    ..Default::default()
                });
        let topic = metadata::MetadataResponseTopic {
            name: asked.name().map(|name| name.to_owned().into()),
            topic_id: TOPIC_ID,
            partitions: partitions.collect(),
            ..Default::default()
        };
        metadata::Response {
            topics: vec![topic],
            ..Default::default()
        }
    }

    fn list_offsets(&self, body: &[u8], version: i16, sin: Sin) -> list_offsets::Response<'static> {
        let request = list_offsets::RequestView::parse(body, version).expect("legal");
        let asked = request.topics().iter().next().expect("a topic");
        let partitions = asked.partitions().iter().map(|partition| {
            let log = &self.by_partition[&partition.partition_index()];
            list_offsets::ListOffsetsPartitionResponse {
                partition_index: partition.partition_index(),
                offset: match (partition.timestamp(), sin) {
                    (-2, Sin::Deletes(below)) if self.deleted.get() => below,
                    (-2, _) => 0,
                    _ => log.end,
                },
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        let topic = list_offsets::ListOffsetsTopicResponse {
            name: asked.name().to_owned().into(),
            partitions,
        };
        list_offsets::Response {
            topics: vec![topic],
            ..Default::default()
        }
    }

    fn produce(&mut self, body: &[u8], version: i16, sin: Sin) -> produce::Response<'static> {
        let request = produce::RequestView::parse(body, version).expect("legal");
        let asked = request.topic_data().iter().next().expect("a topic");
        assert_eq!(asked.topic_id(), TOPIC_ID);
        let mut answers = Vec::new();
        for partition in asked.partition_data() {
            let run = partition.records().expect("records");
            let header = verify(run).expect("a valid batch");
            assert_eq!(header.size, run.len(), "one batch a partition");
            let log = self
                .by_partition
                .get_mut(&partition.index())
                .expect("created");
            let base_offset = log.end;
            log.appends += 1;
            if let Sin::Stalls(duration) = sin
                && log.appends == 100
            {
                // All connections wait for the logs meanwhile.
                thread::sleep(duration);
            }
            let fate = match (sin, log.appends % 5) {
                (Sin::LosesBatches, 3) | (Sin::DoublesBatches, 1) if log.appends > 1 => 0,
                (Sin::DoublesBatches, 0) => 2,
                _ => 1,
            };
            for _ in 0..fate {
                let mut batch = run.to_vec();
                stamp(&mut batch, Offset(log.end), LeaderEpoch(0));
                log.batches.push(batch.into());
                log.end += i64::from(header.record_count);
            }
            let error_code = if let Sin::Refuses(code) = sin {
                code
            } else {
                0
            };
            answers.push(produce::PartitionProduceResponse {
                index: partition.index(),
                error_code,
                base_offset,
                ..Default::default()
            });
        }
        let topic = produce::TopicProduceResponse {
            topic_id: TOPIC_ID,
            partition_responses: answers,
            ..Default::default()
        };
        produce::Response {
            responses: vec![topic],
            ..Default::default()
        }
    }

    fn fetch(&self, body: &[u8], version: i16, sin: Sin) -> fetch::Response<'static> {
        let request = fetch::RequestView::parse(body, version).expect("legal");
        let asked = request.topics().iter().next().expect("a topic");
        let partitions = asked.partitions().iter().map(|partition| {
            let log = &self.by_partition[&partition.partition()];
            if matches!(sin, Sin::Deletes(below) if partition.fetch_offset() < below) {
                self.deleted.set(true);
                return fetch::PartitionData {
                    partition_index: partition.partition(),
                    error_code: 1,
                    high_watermark: -1,
                    ..Default::default()
                };
            }
            let mut run = Vec::new();
            let mut batches_kept = log.batches.clone();
            if sin == Sin::ExchangesBatches && batches_kept.len() > 2 {
                exchange(&mut batches_kept, 1, 2);
            }
            for batch in &batches_kept {
                let header = batches(batch).next().expect("a batch").expect("valid").0;
                if header.end_offset().0 > partition.fetch_offset() && run.len() < 100_000 {
                    run.extend_from_slice(batch);
                }
            }
            if let (Sin::DamagesBatches, Some(byte)) = (sin, run.get_mut(100)) {
                *byte ^= 1;
            }
            fetch::PartitionData {
                partition_index: partition.partition(),
                high_watermark: log.end,
                records: Some(Bytes::from(run).into()),
                ..Default::default()
            }
        });
        let topic = fetch::FetchableTopicResponse {
            topic_id: TOPIC_ID,
            partitions: partitions.collect(),
            ..Default::default()
        };
        fetch::Response {
            responses: vec![topic],
            ..Default::default()
        }
    }
}

/// Exchanges two batches of one size; offsets stay where they are.
fn exchange(kept: &mut [Bytes], one: usize, other: usize) {
    let offset_of = |batch: &Bytes| {
        batches(batch)
            .next()
            .expect("one")
            .expect("valid")
            .0
            .base_offset
    };
    let offsets = (offset_of(&kept[one]), offset_of(&kept[other]));
    kept.swap(one, other);
    for (index, offset) in [(one, offsets.0), (other, offsets.1)] {
        let mut batch = kept[index].to_vec();
        stamp(&mut batch, offset, LeaderEpoch(0));
        kept[index] = batch.into();
    }
}

fn versions() -> api_versions::Response<'static> {
    let rows = [
        (ApiKey::Produce, 13),
        (ApiKey::Fetch, 18),
        (ApiKey::ListOffsets, 10),
        (ApiKey::Metadata, 13),
        (ApiKey::CreateTopics, 7),
        (ApiKey::DeleteTopics, 6),
        (ApiKey::InitProducerId, 4),
    ];
    let api_keys = rows
        .into_iter()
        .map(|(key, max_version)| api_versions::ApiVersion {
            api_key: key.number(),
            min_version: 0,
            max_version,
        });
    api_versions::Response {
        api_keys: api_keys.collect(),
        ..Default::default()
    }
}
