//! The producing machine in a world of virtual time: a leader that keeps Kafka's sequence rules, a
//! network that loses requests and answers, and refusals.

mod epochs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_model::{
    Acks, Compression, ErrorCode, Instant, NodeId, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence, Timestamp, TopicName,
};
use klamm_records::batch::{records, verify};
use klamm_records::compress::Scratch;
use klamm_wire::{Message, MessageView, metadata, produce};

use super::*;
use crate::append;

const LATENCY: Duration = Duration::from_millis(2);

/// What the leader remembers of one partition.
#[derive(Default)]
struct Log {
    values: Vec<Bytes>,
    producer: Option<Remembered>,
}

/// What the leader remembers of the producer of a partition.
struct Remembered {
    id: ProducerId,
    epoch: ProducerEpoch,
    next: Sequence,
    /// Sequences appended, with their base offsets.
    past: BTreeMap<i32, i64>,
}

/// What happens to a request.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Served,
    RequestLost,
    AnswerLost,
    Refused(ErrorCode),
}

/// What the world tells the machine, at its time.
enum News {
    Answer(
        RequestId,
        Vec<(PartitionName, Result<Appended, append::Refused>)>,
    ),
    Lost(RequestId),
}

struct World {
    now: Instant,
    cluster: Cluster,
    machine: Producer,
    logs: BTreeMap<PartitionName, Log>,
    news: BTreeMap<(Instant, u64), News>,
    order: u64,
    identities: i64,
    /// Epoch that InitProducerId gives.
    first_epoch: ProducerEpoch,
    /// Fates of the next requests; served when empty.
    fates: VecDeque<Fate>,
    batch_bytes_max: usize,
    delivered: BTreeMap<Ticket, Result<(), DeliveryError>>,
    in_flight_seen: usize,
}

/// A cluster of one broker that leads all partitions, made of a Metadata answer as on the wire.
fn cluster(partitions: i32) -> Cluster {
    let partition = |index| metadata::MetadataResponsePartition {
        partition_index: index,
        leader_id: 1,
        ..Default::default()
    };
    let response = metadata::Response {
        brokers: vec![metadata::MetadataResponseBroker {
            node_id: 1,
            host: "localhost".into(),
            port: 9092,
            rack: None,
        }],
        topics: vec![metadata::MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: [7; 16],
            partitions: (0..partitions).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut body = BytesMut::new();
    response.encode(12, &mut body).expect("version 12");
    let view = metadata::ResponseView::parse(&body, 12).expect("what was encoded");
    let mut cluster = Cluster::default();
    assert_eq!(cluster.apply(&view).len(), 1);
    cluster
}

fn options() -> ProducerOptions {
    ProducerOptions {
        retry_backoff: Duration::from_millis(10),
        ..ProducerOptions::default()
    }
}

fn record(value: &str, partition: Option<i32>) -> ProducerRecord {
    ProducerRecord {
        topic: TopicName::new("t").expect("legal"),
        partition: partition.map(PartitionIndex),
        timestamp: Timestamp(0),
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    }
}

impl World {
    fn new(partitions: i32, options: ProducerOptions) -> Self {
        Self {
            now: Instant(1),
            cluster: cluster(partitions),
            machine: Producer::new(options, 1).expect("sound options"),
            logs: BTreeMap::new(),
            news: BTreeMap::new(),
            order: 0,
            identities: 0,
            first_epoch: ProducerEpoch(0),
            fates: VecDeque::new(),
            batch_bytes_max: usize::MAX,
            delivered: BTreeMap::new(),
            in_flight_seen: 0,
        }
    }

    fn append(&mut self, record: &ProducerRecord) -> Ticket {
        let topic = self.cluster.topic(&record.topic).expect("the only topic");
        let appended = self.machine.append(self.now, record, topic);
        let (ticket, _) = appended.expect("room for a record");
        self.act();
        ticket
    }

    /// Carries out what the machine wants now.
    fn act(&mut self) {
        while let Some(action) = self.machine.poll(self.now, &self.cluster) {
            match action {
                Action::Identify => {
                    self.identities += 1;
                    let id = ProducerId(self.identities);
                    self.machine.on_identity(Some((id, self.first_epoch)));
                }
                Action::Refresh(topics) => {
                    assert!(!topics.is_empty());
                    let count = self
                        .cluster
                        .topics()
                        .map(|topic| topic.partitions.len())
                        .sum();
                    let count: usize = count;
                    self.cluster = cluster(i32::try_from(count).expect("few"));
                }
                Action::Send {
                    request,
                    node,
                    batches,
                } => self.serve(request, node, batches),
            }
        }
        while let Some(delivery) = self.machine.next_delivery() {
            for ticket in delivery.tickets {
                let outcome = delivery.outcome.clone().map(|_| ());
                let before = self.delivered.insert(ticket, outcome);
                assert!(before.is_none(), "one delivery for each record");
            }
        }
    }

    fn serve(&mut self, request: RequestId, node: NodeId, batches: Vec<(PartitionName, Bytes)>) {
        assert_eq!(node, NodeId(1));
        self.in_flight_seen = self.in_flight_seen.max(self.machine.sent.len());
        assert!(self.machine.sent.len() <= self.machine.options.in_flight_max);
        let acks = self.machine.options.acks;
        let fate = self.fates.pop_front().unwrap_or(Fate::Served);
        let mut outcomes = Vec::new();
        for (partition, batch) in batches {
            let code = match fate {
                Fate::RequestLost => continue,
                Fate::Refused(code) => Err(code),
                Fate::Served | Fate::AnswerLost => self.keep(&partition, batch),
            };
            let outcome = code.map(|base| Appended {
                base_offset: Some(Offset(base)),
                log_append_time: None,
                log_start: None,
            });
            let outcome = outcome.map_err(|code| append::Refused {
                error: BrokerError::new(code, "partition"),
                log_start: None,
                leader: None,
            });
            outcomes.push((partition, outcome));
        }
        if acks == Acks::None {
            self.machine.on_written(request);
            return;
        }
        let lost = matches!(fate, Fate::RequestLost | Fate::AnswerLost);
        let news = if lost {
            News::Lost(request)
        } else {
            News::Answer(request, outcomes)
        };
        self.order += 1;
        self.news.insert((self.now.plus(LATENCY), self.order), news);
    }

    /// The leader's rules: duplicates are known, gaps are refused, and a producer without memory
    /// may begin anywhere.
    fn keep(&mut self, partition: &PartitionName, batch: Bytes) -> Result<i64, ErrorCode> {
        let header = verify(&batch).expect("a whole batch");
        let all = records(&batch, usize::MAX, &mut Scratch::new()).expect("a batch");
        let values: Vec<Bytes> = all
            .map(|record| record.expect("a record").value.expect("a value"))
            .collect();
        if batch.len() > self.batch_bytes_max {
            return Err(ErrorCode::MessageTooLarge);
        }
        let log = self.logs.entry(partition.clone()).or_default();
        let base = log.values.len() as i64;
        if let Some(stamp) = header.producer {
            let known = log.producer.take().filter(|it| it.id == stamp.id);
            let fresh = |next| Remembered {
                id: stamp.id,
                epoch: stamp.epoch,
                next,
                past: BTreeMap::new(),
            };
            let (mut known, fenced) = match known {
                None => (fresh(stamp.base_sequence), false),
                Some(known) if known.epoch < stamp.epoch => (fresh(Sequence::FIRST), false),
                Some(known) => {
                    let fenced = known.epoch > stamp.epoch;
                    (known, fenced)
                }
            };
            let duplicate = known.past.get(&stamp.base_sequence.0).copied();
            let gap = stamp.base_sequence != known.next;
            if !fenced && !gap {
                known.past.insert(stamp.base_sequence.0, base);
                let records = klamm_model::OffsetDelta(header.record_count);
                known.next = known.next.plus(records);
            }
            log.producer = Some(known);
            match duplicate {
                _ if fenced => return Err(ErrorCode::InvalidProducerEpoch),
                Some(offset) => return Ok(offset),
                None if gap => return Err(ErrorCode::OutOfOrderSequenceNumber),
                None => {}
            }
        }
        log.values.extend(values);
        Ok(base)
    }

    /// Lets time pass to the next thing that happens; false if nothing will.
    fn step(&mut self) -> bool {
        let arrival = self.news.first_key_value().map(|((at, _), _)| *at);
        let due = self.machine.next_deadline(self.now);
        let Some(next) = arrival.into_iter().chain(due).min() else {
            return false;
        };
        self.now = self.now.max(next);
        if arrival.is_some_and(|at| at <= self.now)
            && let Some((_, news)) = self.news.pop_first()
        {
            match news {
                News::Answer(request, outcomes) => {
                    self.machine
                        .on_answer(self.now, request, outcomes, &mut self.cluster);
                }
                News::Lost(request) => self.machine.on_lost(self.now, request),
            }
        }
        self.act();
        true
    }

    fn flush(&mut self) {
        self.machine.flush();
        self.act();
        let mut steps = 0;
        while !self.machine.is_empty() {
            assert!(self.step(), "what is buffered is due some time");
            steps += 1;
            assert!(steps < 1_000_000, "the machine comes to an end");
        }
        assert_eq!(self.machine.buffered, 0, "an empty machine holds nothing");
    }

    fn log(&self, partition: i32) -> Vec<String> {
        let name = PartitionName::new(
            TopicName::new("t").expect("legal"),
            PartitionIndex(partition),
        );
        let values = self.logs.get(&name).map_or(&[][..], |log| &log.values);
        values
            .iter()
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect()
    }
}

/// Appends `count` records to one partition, `gap` apart, under these fates, and returns the world
/// after the flush.
fn run(count: usize, gap: Duration, fates: &[Fate], options: ProducerOptions) -> World {
    let mut world = World::new(1, options);
    world.fates.extend(fates.iter().copied());
    for number in 0..count {
        world.append(&record(&number.to_string(), Some(0)));
        let until = world.now.plus(gap);
        while world
            .news
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= until)
            || world
                .machine
                .next_deadline(world.now)
                .is_some_and(|at| at <= until)
        {
            world.step();
        }
        world.now = until;
    }
    world.flush();
    world
}

fn in_order(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[test]
fn linger_gathers_records_into_fewer_requests() {
    let mut requests = Vec::new();
    for linger in [0, 1, 10, 100] {
        let options = ProducerOptions {
            linger: Duration::from_millis(linger),
            ..options()
        };
        let world = run(1000, Duration::from_micros(500), &[], options);
        assert_eq!(world.log(0), in_order(1000));
        requests.push(world.machine.stats().requests);
    }
    // A record each half millisecond, for half a second: without linger one request for each,
    // until five are in flight; with 10 ms some 20 records in each.
    assert!(requests[0] > 500, "{requests:?}");
    assert!(requests[1] < requests[0], "{requests:?}");
    assert!((45..=60).contains(&requests[2]), "{requests:?}");
    assert!((5..=10).contains(&requests[3]), "{requests:?}");
}

#[test]
fn a_full_batch_does_not_wait_for_linger() {
    let mut batches = Vec::new();
    for batch_bytes in [1, 1024, 16_384, 1 << 20] {
        let options = ProducerOptions {
            batch_bytes,
            linger: Duration::from_secs(10),
            request_bytes_max: 2 << 20,
            ..options()
        };
        let world = run(2000, Duration::ZERO, &[], options);
        assert_eq!(world.log(0), in_order(2000));
        batches.push(world.machine.stats().batches);
    }
    assert_eq!(batches[0], 2000, "a record larger than a batch goes alone");
    assert!(
        batches[1] > batches[2] && batches[2] > batches[3],
        "{batches:?}"
    );
    assert_eq!(batches[3], 1, "what fits one batch is one batch");
}

#[test]
fn at_most_five_requests_are_in_flight() {
    let options = ProducerOptions {
        batch_bytes: 1,
        ..options()
    };
    let world = run(100, Duration::ZERO, &[], options);
    assert_eq!(world.in_flight_seen, 5);
    assert_eq!(world.log(0), in_order(100));
}

#[test]
fn idempotence_keeps_order_and_appends_once_whatever_is_lost() {
    use Fate::{AnswerLost, Refused, RequestLost, Served};
    let options = || ProducerOptions {
        batch_bytes: 1,
        ..options()
    };
    let fates = [
        Served,
        RequestLost,
        AnswerLost,
        Refused(ErrorCode::NotLeaderOrFollower),
        Refused(ErrorCode::NotEnoughReplicas),
    ];
    // Every sequence of six fates.
    for number in 0..5_usize.pow(6) {
        let script: Vec<Fate> = (0..6)
            .map(|place| fates[number / 5_usize.pow(place) % 5])
            .collect();
        let world = run(12, Duration::from_micros(100), &script, options());
        assert_eq!(world.log(0), in_order(12), "script {number}");
        assert!(
            world.delivered.values().all(Result::is_ok),
            "script {number}"
        );
        assert_eq!(world.identities, 1, "script {number}");
    }
}

#[test]
fn what_is_refused_for_good_leaves_the_rest_in_order_and_once() {
    use Fate::{AnswerLost, Refused, RequestLost, Served};
    let fates = [
        Served,
        RequestLost,
        AnswerLost,
        Refused(ErrorCode::InvalidRecord),
        Refused(ErrorCode::NotLeaderOrFollower),
    ];
    for number in 0..5_usize.pow(6) {
        let script: Vec<Fate> = (0..6)
            .map(|place| fates[number / 5_usize.pow(place) % 5])
            .collect();
        let options = ProducerOptions {
            batch_bytes: 1,
            ..options()
        };
        let world = run(9, Duration::from_micros(100), &script, options);
        let timed_out = |outcome: &Result<(), DeliveryError>| {
            matches!(outcome, Err(DeliveryError::TimedOut { .. }))
        };
        assert!(!world.delivered.values().any(timed_out), "script {number}");
        let kept: Vec<String> = world
            .delivered
            .iter()
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(ticket, _)| ticket.0.to_string())
            .collect();
        assert!(kept.len() >= 3, "script {number}");
        // A batch whose answer was lost and whose repetition was refused lies in the log as well.
        let mut log = world.log(0);
        log.retain(|value| kept.contains(value) || !script.contains(&AnswerLost));
        assert_eq!(log, kept, "script {number}");
    }
}

#[test]
fn a_second_batch_never_reaches_a_new_leader_before_the_first() {
    let options = ProducerOptions {
        batch_bytes: 1,
        ..options()
    };
    let fates = [Fate::Refused(ErrorCode::NotLeaderOrFollower)];
    let world = run(3, Duration::ZERO, &fates, options);
    assert_eq!(world.log(0), in_order(3));
    assert_eq!(world.identities, 1);
}

#[test]
fn without_idempotence_a_lost_answer_appends_twice() {
    let options = ProducerOptions {
        idempotent: false,
        ..options()
    };
    let world = run(1, Duration::ZERO, &[Fate::AnswerLost], options);
    assert_eq!(world.log(0), ["0", "0"]);
}

#[test]
fn a_batch_refused_for_good_does_not_stop_those_after_it() {
    let options = ProducerOptions {
        batch_bytes: 1,
        ..options()
    };
    let fates = [Fate::Served, Fate::Refused(ErrorCode::InvalidRecord)];
    let world = run(8, Duration::ZERO, &fates, options);
    let mut expected = in_order(8);
    expected.remove(1);
    assert_eq!(world.log(0), expected);
    let failed: Vec<&Ticket> = world
        .delivered
        .iter()
        .filter_map(|(ticket, outcome)| outcome.is_err().then_some(ticket))
        .collect();
    assert_eq!(failed, [&Ticket(1)]);
    let stats = world.machine.stats();
    assert_eq!(
        (world.identities, stats.renewals),
        (1, 1),
        "the gap in the sequences begins another epoch of the same producer"
    );
    let epoch = ProducerEpoch(1);
    assert_eq!(
        world.machine.identity,
        Identity::Known(ProducerId(1), epoch)
    );
}

#[test]
fn a_batch_that_is_too_large_is_sent_in_parts() {
    let mut world = World::new(1, options());
    world.batch_bytes_max = 200;
    for number in 0..100 {
        world.append(&record(&number.to_string(), Some(0)));
    }
    world.flush();
    assert_eq!(world.log(0), in_order(100));
    assert!(world.delivered.values().all(Result::is_ok));
}

#[test]
fn a_record_is_given_up_at_its_delivery_timeout() {
    let options = ProducerOptions {
        delivery_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_millis(500),
        ..options()
    };
    let fates = [Fate::Refused(ErrorCode::NotEnoughReplicas); 1000];
    let world = run(1, Duration::ZERO, &fates, options);
    assert!(world.now.since(Instant(1)) < Duration::from_millis(2100));
    let outcome = &world.delivered[&Ticket(0)];
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(world.machine.stats().requests < 20, "retries back off");
}

#[test]
fn nothing_is_acknowledged_with_acks_0() {
    let options = ProducerOptions {
        acks: Acks::None,
        idempotent: false,
        ..options()
    };
    let world = run(10, Duration::ZERO, &[], options);
    assert_eq!(world.log(0), in_order(10));
    assert!(world.news.is_empty());
    assert_eq!(world.delivered.len(), 10);
}

#[test]
fn a_full_buffer_refuses_records_until_some_are_delivered() {
    let options = ProducerOptions {
        buffer_bytes: 500,
        linger: Duration::from_secs(10),
        ..options()
    };
    let mut world = World::new(1, options);
    let topic = world.cluster.topics().next().expect("one").clone();
    let mut taken = 0;
    while world
        .machine
        .append(world.now, &record("x", Some(0)), &topic)
        .is_ok()
    {
        taken += 1;
    }
    assert!((5..20).contains(&taken), "{taken}");
    world.act();
    while world.step() {}
    let again = world
        .machine
        .append(world.now, &record("x", Some(0)), &topic);
    assert!(again.is_ok(), "{again:?}");
}

#[test]
fn batches_of_many_partitions_share_requests() {
    let mut world = World::new(50, options());
    for number in 0..500 {
        world.append(&record(&number.to_string(), Some(number % 50)));
    }
    world.flush();
    let kept: BTreeSet<String> = (0..50).flat_map(|index| world.log(index)).collect();
    assert_eq!(kept.len(), 500);
    assert_eq!(world.machine.stats().batches, 50);
    assert_eq!(world.machine.stats().requests, 1);
}

#[test]
fn records_that_cannot_go_anywhere_are_refused() {
    let mut world = World::new(2, options());
    let topic = world.cluster.topics().next().expect("one").clone();
    let mut append = |record: &ProducerRecord| world.machine.append(Instant(1), record, &topic);
    let missing = append(&record("x", Some(2)));
    assert!(
        matches!(missing, Err(AppendError::NoPartition { count: 2, .. })),
        "{missing:?}"
    );
    let large = append(&record(&"x".repeat(2 << 20), None));
    assert!(
        matches!(large, Err(AppendError::TooLarge { .. })),
        "{large:?}"
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let check = |options: ProducerOptions| Producer::new(options, 0).map(|_| ());
    let leader = ProducerOptions {
        acks: Acks::Leader,
        ..options()
    };
    assert_eq!(check(leader), Err(OptionsError::IdempotenceNeedsAcksAll));
    let many = ProducerOptions {
        in_flight_max: 6,
        ..options()
    };
    assert_eq!(
        check(many),
        Err(OptionsError::IdempotenceInFlight { found: 6 })
    );
}

#[test]
fn every_codec_is_read_back() {
    for codec in Compression::ALL {
        let options = ProducerOptions {
            compressor: codec.into(),
            ..options()
        };
        let world = run(300, Duration::ZERO, &[], options);
        assert_eq!(world.log(0), in_order(300), "{codec:?}");
    }
}

#[test]
fn an_answer_that_names_nothing_is_a_lost_one() {
    let body = produce::Response::default();
    let mut bytes = BytesMut::new();
    body.encode(9, &mut bytes).expect("version 9");
    let view = produce::ResponseView::parse(&bytes, 9).expect("what was encoded");
    let mut world = World::new(1, options());
    world.append(&record("x", Some(0)));
    world.machine.flush();
    let mut requests = Vec::new();
    while let Some(action) = world.machine.poll(world.now, &world.cluster) {
        match action {
            Action::Identify => world
                .machine
                .on_identity(Some((ProducerId(1), ProducerEpoch(0)))),
            Action::Send { request, .. } => requests.push(request),
            Action::Refresh(_) => {}
        }
    }
    let outcomes = append::read(&view, &world.cluster);
    let (now, cluster) = (world.now, &mut world.cluster);
    world.machine.on_answer(now, requests[0], outcomes, cluster);
    world.flush();
    assert_eq!(world.log(0), ["x"]);
}

#[test]
fn leaders_are_asked_for_anew_when_what_is_known_is_old() {
    let options = ProducerOptions {
        metadata_age_max: Duration::from_secs(1),
        linger: Duration::from_secs(60),
        delivery_timeout: Duration::from_secs(120),
        ..options()
    };
    let mut world = World::new(1, options);
    world.append(&record("x", Some(0)));
    let mut refreshes = 0;
    for second in 1..=10 {
        world.now = Instant(1).plus(Duration::from_secs(second));
        while let Some(action) = world.machine.poll(world.now, &world.cluster) {
            assert!(matches!(action, Action::Refresh(_)), "{action:?}");
            refreshes += 1;
        }
        let next = world.machine.next_deadline(world.now).expect("an age ends");
        assert!(next > world.now);
    }
    assert_eq!(refreshes, 10);
}

/// Requests and batches for a thousand records of 100 bytes, one each millisecond, to one
/// partition.
fn counted(linger_ms: u64, batch_bytes: usize) -> (u64, u64) {
    let options = ProducerOptions {
        linger: Duration::from_millis(linger_ms),
        batch_bytes,
        ..options()
    };
    let mut world = World::new(1, options);
    let value = "x".repeat(100);
    for _ in 0..1000 {
        world.append(&record(&value, Some(0)));
        let until = world.now.plus(Duration::from_millis(1));
        let arrival = |world: &World| world.news.first_key_value().map(|((at, _), _)| *at);
        let due = |world: &World| world.machine.next_deadline(world.now);
        while arrival(&world).is_some_and(|at| at <= until)
            || due(&world).is_some_and(|at| at <= until)
        {
            world.step();
        }
        world.now = until;
    }
    world.flush();
    assert_eq!(world.log(0).len(), 1000);
    let stats = world.machine.stats();
    (stats.requests, stats.batches)
}

#[test]
fn requests_fall_with_linger_until_the_batch_size_bounds_them() {
    // One broker, one partition: as many batches as requests.
    let table = [0, 5, 100, 1000].map(|linger| {
        [1, 1024, 16_384, 131_072].map(|size| {
            let (requests, batches) = counted(linger, size);
            assert_eq!(requests, batches, "linger {linger}, size {size}");
            requests
        })
    });
    assert_eq!(
        table,
        [
            // Without linger each record goes alone, whatever the size.
            [1000, 1000, 1000, 1000],
            // What comes within the linger of the first record goes with it ...
            [1000, 200, 200, 200],
            // ... until a batch of 1 KiB is full before the linger ends ...
            [1000, 125, 10, 10],
            // ... and one of 16 KiB.
            [1000, 125, 7, 1],
        ]
    );
}
