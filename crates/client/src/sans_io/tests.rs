//! Whole machines against a small broker of bytes in memory, over connections that break.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_model::{ErrorCode, Offset, PartitionIndex, Random};
use klamm_records::batch::verify;
use klamm_wire::{
    ApiKey, FrameLimits, MessageView, RequestHeader, api_versions, encode_response, fetch,
    init_producer_id, list_offsets, produce,
};

use super::*;
use crate::fetcher::{Event, StartAt};
use crate::metadata::PartitionName;
use crate::producer::{ProducerOptions, ProducerRecord};
use crate::tests::{Dice, metadata_response};

/// A broker that leads partition 0 of topic `t`, and keeps Kafka's rules of sequences.
#[derive(Default)]
struct Broker {
    /// Batches with their first offsets.
    log: Vec<(i64, Bytes)>,
    end: i64,
    next_sequence: BTreeMap<(i64, i16), i32>,
    appended: BTreeMap<(i64, i16, i32), i64>,
    identities: i64,
    requests: BTreeMap<ApiKey, u64>,
}

impl Broker {
    /// The answer to a request, if it has one.
    fn serve(&mut self, frame: &[u8]) -> BytesMut {
        let (header, body) = RequestHeader::parse(frame).expect("a sound header");
        *self.requests.entry(header.key).or_default() += 1;
        let (version, id) = (header.version, header.correlation_id);
        let mut out = BytesMut::new();
        let mut answer = |message: &dyn Message| {
            encode_response(message, version, id, &mut out).expect("it has this version");
        };
        match header.key {
            ApiKey::ApiVersions => answer(&versions()),
            ApiKey::Metadata => answer(&metadata_response(1)),
            ApiKey::InitProducerId => {
                self.identities += 1;
                answer(&init_producer_id::Response {
                    producer_id: self.identities,
                    producer_epoch: 0,
                    ..Default::default()
                });
            }
            ApiKey::Produce => {
                let view = produce::RequestView::parse(body, version).expect("sound");
                answer(&self.produce(&view));
            }
            ApiKey::ListOffsets => answer(&self.list_offsets()),
            ApiKey::Fetch => {
                let view = fetch::RequestView::parse(body, version).expect("sound");
                answer(&self.fetch(&view));
            }
            other => panic!("nobody asks for {other}"),
        }
        out
    }

    fn produce(&mut self, view: &produce::RequestView<'_>) -> produce::Response<'static> {
        let topic = view.topic_data().iter().next();
        let row = topic.and_then(|topic| topic.partition_data().iter().next());
        let row = row.expect("a request names a partition");
        let mut batch = BytesMut::from(row.records().expect("a batch"));
        let header = verify(&batch).expect("a whole batch");
        let stamp = header.producer.expect("idempotent");
        let producer = (stamp.id.0, stamp.epoch.0);
        let sequence = stamp.base_sequence.0;
        let known = self.appended.get(&(producer.0, producer.1, sequence));
        let next = self.next_sequence.get(&producer).copied().unwrap_or(0);
        let (base_offset, code) = match known {
            Some(&offset) => (offset, ErrorCode::None),
            None if next != sequence => (-1, ErrorCode::OutOfOrderSequenceNumber),
            None => {
                let base = self.end;
                self.end += i64::from(header.record_count);
                batch[..8].copy_from_slice(&base.to_be_bytes());
                self.log.push((base, batch.freeze()));
                let after = sequence + header.record_count;
                self.next_sequence.insert(producer, after);
                let key = (producer.0, producer.1, sequence);
                self.appended.insert(key, base);
                (base, ErrorCode::None)
            }
        };
        produce::Response {
            responses: vec![produce::TopicProduceResponse {
                name: "t".into(),
                topic_id: [7; 16],
                partition_responses: vec![produce::PartitionProduceResponse {
                    index: 0,
                    error_code: code.code(),
                    base_offset,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        }
    }

    fn list_offsets(&self) -> list_offsets::Response<'static> {
        list_offsets::Response {
            topics: vec![list_offsets::ListOffsetsTopicResponse {
                name: "t".into(),
                partitions: vec![list_offsets::ListOffsetsPartitionResponse {
                    partition_index: 0,
                    offset: self.end,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        }
    }

    fn fetch(&self, view: &fetch::RequestView<'_>) -> fetch::Response<'static> {
        let topic = view.topics().iter().next();
        let row = topic.and_then(|topic| topic.partitions().iter().next());
        let Some(row) = row else {
            // A session that this broker never gave, or a topic with another id.
            return fetch::Response::default();
        };
        let position = row.fetch_offset();
        let first = self.log.partition_point(|(base, _)| *base <= position);
        let batches = self.log[first.saturating_sub(1)..].iter().take(2);
        let records: Vec<u8> = batches.flat_map(|(_, batch)| batch.to_vec()).collect();
        fetch::Response {
            responses: vec![fetch::FetchableTopicResponse {
                topic: "t".into(),
                topic_id: [7; 16],
                partitions: vec![fetch::PartitionData {
                    partition_index: 0,
                    high_watermark: self.end,
                    last_stable_offset: self.end,
                    records: Some(Bytes::from(records).into()),
                    ..Default::default()
                }],
            }],
            ..Default::default()
        }
    }
}

fn versions() -> api_versions::Response<'static> {
    let rows = [
        (ApiKey::ApiVersions, 4),
        (ApiKey::Metadata, 12),
        (ApiKey::InitProducerId, 5),
        (ApiKey::Produce, 13),
        (ApiKey::ListOffsets, 8),
        (ApiKey::Fetch, 17),
    ];
    let row = |(key, max_version): (ApiKey, i16)| api_versions::ApiVersion {
        api_key: key.number(),
        min_version: 0,
        max_version,
    };
    api_versions::Response {
        api_keys: rows.map(row).to_vec(),
        ..Default::default()
    }
}

/// Connections between one machine and the broker; one in `breaks` requests ends its connection,
/// before or after it was served. Zero breaks none.
struct Wire {
    now: Instant,
    random: Random,
    breaks: u64,
    /// One in so many answers is spoilt; zero for none.
    spoils: u64,
    inboxes: BTreeMap<LinkId, BytesMut>,
}

impl Wire {
    fn new(seed: u64, breaks: u64) -> Self {
        Self {
            now: Instant(1),
            random: Random::new(seed),
            breaks,
            spoils: 0,
            inboxes: BTreeMap::new(),
        }
    }

    fn unlucky(&mut self) -> bool {
        self.breaks > 0 && self.random.below(self.breaks) == 0
    }

    /// Carries out what the machine wants now, or lets time pass to its next deadline.
    fn step(&mut self, machine: &mut impl SansIo, broker: &mut Broker) {
        let Some(effect) = machine.next_effect() else {
            let due = machine.next_deadline(self.now);
            let later = self.now.plus(Duration::from_millis(100));
            self.now = due.map_or(later, |due| {
                due.max(self.now.plus(Duration::from_millis(1)))
            });
            machine.on_time(self.now);
            return;
        };
        match effect {
            Effect::Open { link, .. } if self.unlucky() => {
                machine.on_closed(self.now, link, "refused");
            }
            Effect::Open { link, .. } => {
                self.inboxes.insert(link, BytesMut::new());
                machine.on_opened(self.now, link);
            }
            Effect::Close(link) => {
                self.inboxes.remove(&link);
            }
            Effect::Write { link, bytes } => self.write(machine, broker, link, &bytes),
        }
    }

    fn write(
        &mut self,
        machine: &mut impl SansIo,
        broker: &mut Broker,
        link: LinkId,
        bytes: &[u8],
    ) {
        let Some(mut inbox) = self.inboxes.remove(&link) else {
            return;
        };
        inbox.extend_from_slice(bytes);
        let limits = FrameLimits::of_requests(1 << 20);
        while let Some(frame) = limits.split(&mut inbox).expect("sound frames") {
            if self.unlucky() {
                return machine.on_closed(self.now, link, "before it was served");
            }
            let mut answer = broker.serve(&frame);
            if self.spoils > 0 && self.random.below(self.spoils) == 0 {
                answer = spoilt(&answer, self.random.next());
            }
            if self.unlucky() {
                return machine.on_closed(self.now, link, "after it was served");
            }
            for piece in answer.chunks(1 + self.random.below(64) as usize) {
                machine.on_bytes(self.now, link, piece);
            }
        }
        self.inboxes.insert(link, inbox);
    }
}

/// The same answer with some bytes of its body changed; size and correlation id stay sound.
fn spoilt(answer: &[u8], seed: u64) -> BytesMut {
    let (head, body) = answer.split_at(8);
    let mut body = body.to_vec();
    Dice(Random::new(seed)).spoil(&mut body);
    let size = u32::try_from(body.len() + 4).expect("small");
    let mut spoilt = BytesMut::from(&size.to_be_bytes()[..]);
    spoilt.extend_from_slice(&head[4..]);
    spoilt.extend_from_slice(&body);
    spoilt
}

fn producer(linger_ms: u64) -> SansIoProducer {
    let options = ProducerOptions {
        linger: Duration::from_millis(linger_ms),
        batch_bytes: 200,
        ..ProducerOptions::default()
    };
    SansIoProducer::new("b:9092", HubOptions::default(), options, 1).expect("sound options")
}

fn record(number: usize) -> ProducerRecord {
    ProducerRecord::new(
        TopicName::new("t").expect("legal"),
        klamm_model::Timestamp(0),
    )
    .partition(PartitionIndex(0))
    .value(number.to_string())
}

fn partition() -> PartitionName {
    PartitionName::new(TopicName::new("t").expect("legal"), PartitionIndex(0))
}

/// Sends so many records and waits for their deliveries; how many there were.
fn produce_all(
    machine: &mut SansIoProducer,
    wire: &mut Wire,
    broker: &mut Broker,
    count: usize,
) -> usize {
    let mut sent = 0;
    let mut steps = 0;
    while sent < count || !machine.is_empty() {
        if sent == count {
            machine.flush(wire.now);
        } else {
            match machine.send(wire.now, &record(sent)) {
                Ok(_) => sent += 1,
                Err(SendRefusal::Full | SendRefusal::TopicPending) => {}
                Err(other) => panic!("{other}"),
            }
        }
        wire.step(machine, broker);
        steps += 1;
        assert!(steps < 100_000, "it comes to an end");
    }
    let mut delivered = 0;
    while let Some(delivery) = machine.next_delivery() {
        delivery.outcome.expect("delivered");
        delivered += delivery.tickets.len();
    }
    delivered
}

/// Values from the start to the end of the log.
fn consume_all(wire: &mut Wire, broker: &mut Broker) -> Vec<String> {
    let mut machine = SansIoConsumer::new(
        "b:9092",
        HubOptions::default(),
        crate::fetcher::ConsumerOptions {
            sessions: false,
            ..Default::default()
        },
    );
    machine.seek(wire.now, partition(), Offset::ZERO);
    let mut values = Vec::new();
    for _ in 0..100_000 {
        match machine.next_event(wire.now) {
            Some(Event::Record(_, record)) => {
                let value = record.value.expect("a value");
                values.push(String::from_utf8_lossy(&value).into_owned());
            }
            Some(Event::End(_, position)) if position.0 == broker.end => return values,
            Some(Event::End(..)) => {}
            Some(other) => panic!("{other:?}"),
            None => wire.step(&mut machine, broker),
        }
    }
    panic!("it comes to an end: {}", values.len());
}

#[test]
fn every_record_is_kept_once_and_in_order_over_connections_that_break() {
    for seed in 0..60 {
        let (mut broker, mut wire) = (Broker::default(), Wire::new(seed, 6));
        let count = 100;
        let delivered = produce_all(&mut producer(1), &mut wire, &mut broker, count);
        assert_eq!(delivered, count, "seed {seed}");
        let values = consume_all(&mut wire, &mut broker);
        let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        assert_eq!(values, expected, "seed {seed}");
    }
}

#[test]
fn a_machine_asks_for_nothing_twice_where_nothing_breaks() {
    let (mut broker, mut wire) = (Broker::default(), Wire::new(1, 0));
    let mut machine = producer(1000);
    assert_eq!(produce_all(&mut machine, &mut wire, &mut broker, 50), 50);
    let asked = |key| broker.requests.get(&key).copied().unwrap_or(0);
    assert_eq!(asked(ApiKey::Metadata), 1);
    assert_eq!(asked(ApiKey::InitProducerId), 1);
    // One to find the cluster, one to its leader.
    assert_eq!(asked(ApiKey::ApiVersions), 2);
    assert_eq!(asked(ApiKey::Produce), machine.stats().requests);
}

#[test]
fn a_consumer_begins_at_the_end_that_the_leader_tells() {
    let (mut broker, mut wire) = (Broker::default(), Wire::new(1, 0));
    produce_all(&mut producer(0), &mut wire, &mut broker, 20);
    let mut machine = SansIoConsumer::new(
        "b:9092",
        HubOptions::default(),
        crate::fetcher::ConsumerOptions::default(),
    );
    machine.seek(wire.now, partition(), StartAt::Latest);
    for _ in 0..100 {
        if machine.position(&partition()).is_some() {
            break;
        }
        wire.step(&mut machine, &mut broker);
    }
    assert_eq!(machine.position(&partition()), Some(Offset(broker.end)));
}

#[test]
fn a_topic_of_which_nothing_is_said_is_asked_for_again_and_not_in_a_flood() {
    let (mut broker, mut wire) = (Broker::default(), Wire::new(1, 0));
    let mut machine = producer(0);
    let name = TopicName::new("missing").expect("legal");
    let record = ProducerRecord::new(name, klamm_model::Timestamp(0)).value("x");
    // The small broker names another topic only: nothing is known of this one.
    for _ in 0..50 {
        let refusal = machine.send(wire.now, &record).expect_err("unknown");
        assert_eq!(refusal, SendRefusal::TopicPending);
        wire.step(&mut machine, &mut broker);
    }
    let asked = broker.requests[&ApiKey::Metadata];
    assert!((2..40).contains(&asked), "{asked}");
}

#[test]
fn whatever_a_broker_answers_machines_go_on_and_no_record_is_without_a_fate() {
    for seed in 0..150 {
        let (mut broker, mut wire) = (Broker::default(), Wire::new(seed, 40));
        produce_all(&mut producer(0), &mut Wire::new(seed, 0), &mut broker, 30);
        wire.spoils = 3;
        let mut machine = producer(1);
        let mut taken = 0;
        for number in 0..300 {
            if machine.send(wire.now, &record(number)).is_ok() {
                taken += 1;
            }
            wire.step(&mut machine, &mut broker);
        }
        let mut consumer = SansIoConsumer::new(
            "b:9092",
            HubOptions::default(),
            crate::fetcher::ConsumerOptions::default(),
        );
        consumer.seek(wire.now, partition(), StartAt::Offset(Offset(0)));
        for _ in 0..300 {
            while let Some(event) = consumer.next_event(wire.now) {
                if let Event::Failed(partition, _) = event {
                    consumer.seek(wire.now, partition, StartAt::Latest);
                }
            }
            wire.step(&mut consumer, &mut broker);
        }
        // Once answers are sound again, every record that was taken comes to its end.
        (wire.spoils, wire.breaks) = (0, 0);
        let mut steps = 0;
        while !machine.is_empty() {
            machine.flush(wire.now);
            wire.step(&mut machine, &mut broker);
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: it comes to an end");
        }
        let mut ended = 0;
        while let Some(delivery) = machine.next_delivery() {
            ended += delivery.tickets.len();
        }
        assert_eq!(ended, taken, "seed {seed}");
    }
}
