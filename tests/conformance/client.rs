//! The client library against the real binary: what it promises to programs that use it.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_client::admin::{
    Apply, ConfigChange, ConfigResource, ConfigSource, MorePartitions, NewTopic, TrimTo,
};
use klamm_client::blocking::{
    BlockingConsumer, BlockingProducer, Client, ClientOptions, ProduceError,
};
use klamm_client::fetcher::{ConsumerOptions, Event, OffsetReset, StartAt};
use klamm_client::metadata::PartitionName;
use klamm_client::producer::{ProducerOptions, ProducerRecord};
use klamm_model::{Compression, ErrorCode, NodeId, Offset, PartitionIndex, Timestamp, TopicName};

use crate::harness::{Broker, unique};

const PATIENCE: Duration = Duration::from_secs(30);

fn connect(broker: &Broker) -> Client {
    let address = broker.address().to_string();
    Client::connect(&address, ClientOptions::default()).expect("the broker listens")
}

/// A topic of its own for a test.
fn topic(client: &mut Client, partitions: i32) -> TopicName {
    let name = TopicName::new(&unique("library")).expect("legal");
    let made = client.create_topic(NewTopic::new(name.clone()).partitions(partitions));
    made.expect("made");
    name
}

fn partition(topic: &TopicName, index: i32) -> PartitionName {
    PartitionName::new(topic.clone(), PartitionIndex(index))
}

fn record(topic: &TopicName, partition: i32, time: i64, value: &str) -> ProducerRecord {
    ProducerRecord {
        topic: topic.clone(),
        partition: Some(PartitionIndex(partition)),
        timestamp: Timestamp(time),
        key: None,
        value: Some(value.to_owned().into()),
        headers: Vec::new(),
    }
}

fn produce(
    broker: &Broker,
    options: ProducerOptions,
    records: &[ProducerRecord],
) -> BlockingProducer {
    let mut producer = BlockingProducer::new(connect(broker), options).expect("sound options");
    for record in records {
        producer.send(record).expect("room");
    }
    producer.flush().expect("a broker");
    let mut delivered = 0;
    while let Some(delivery) = producer.next_delivery() {
        delivery.outcome.expect("delivered");
        delivered += delivery.tickets.len();
    }
    assert_eq!(delivered, records.len());
    producer
}

/// The next record's value; panics at anything else but an end.
fn next_value(consumer: &mut BlockingConsumer) -> String {
    loop {
        match consumer.next_event(PATIENCE).expect("a broker") {
            Some(Event::Record(_, record)) => {
                let value = record.value.expect("a value");
                return String::from_utf8(value.to_vec()).expect("text");
            }
            Some(Event::End(..)) => {}
            other => panic!("expected a record, found {other:?}"),
        }
    }
}

#[test]
fn administrative_calls_do_what_they_say() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    let name = topic(&mut client, 1);
    let cluster = client.describe_cluster().expect("a cluster");
    let ids: Vec<NodeId> = cluster.brokers.iter().map(|it| it.broker.id).collect();
    assert!(
        cluster.controller.is_some_and(|it| ids.contains(&it)),
        "{cluster:?}"
    );

    let change = [ConfigChange::set("retention.ms", "1234567")];
    let set = |client: &mut Client, changes: &[ConfigChange], apply| {
        client.alter_configs(ConfigResource::Topic, name.as_str(), changes, apply)
    };
    let value = |client: &mut Client| {
        let rows = client.describe_configs(ConfigResource::Topic, name.as_str());
        let mut rows = rows.expect("described").into_iter();
        let row = rows.find(|row| row.name == "retention.ms").expect("known");
        (row.source, row.value, row.synonyms.len())
    };
    set(&mut client, &change, Apply::ValidateOnly).expect("legal");
    assert_ne!(value(&mut client).0, ConfigSource::Topic, "only checked");
    set(&mut client, &change, Apply::Really).expect("legal");
    let (source, found, layers) = value(&mut client);
    assert_eq!(
        (source, found.as_deref()),
        (ConfigSource::Topic, Some("1234567"))
    );
    assert!(layers >= 1, "the layer that gives it");
    set(
        &mut client,
        &[ConfigChange::delete("retention.ms")],
        Apply::Really,
    )
    .expect("legal");
    assert_ne!(value(&mut client).0, ConfigSource::Topic);
    let wrong = [ConfigChange::set("retention.mss", "1")];
    let refused = set(&mut client, &wrong, Apply::Really).expect_err("no such key");
    assert_eq!(refused.code(), Some(ErrorCode::InvalidConfig));

    let more = [MorePartitions::new(name.clone(), 3)];
    let made = client
        .create_partitions(&more, Apply::Really)
        .expect("an answer");
    assert_eq!(made, [Ok(name.to_string())]);
    let fewer = [MorePartitions::new(name.clone(), 2)];
    let refused = client
        .create_partitions(&fewer, Apply::Really)
        .expect("an answer");
    let codes: Vec<_> = refused
        .into_iter()
        .map(|it| it.map_err(|error| error.code))
        .collect();
    assert_eq!(codes, [Err(ErrorCode::InvalidPartitions)]);
    assert_eq!(
        client
            .describe_topic(&name)
            .expect("known")
            .partitions
            .len(),
        3
    );

    let values = ["a", "b", "c"].map(|value| record(&name, 2, 0, value));
    produce(&broker, ProducerOptions::default(), &values);
    let wanted = [
        (partition(&name, 2), TrimTo::Offset(Offset(2))),
        (partition(&name, 1), TrimTo::End),
    ];
    let trimmed = client.delete_records(&wanted).expect("an answer");
    let trimmed: BTreeMap<_, _> = trimmed.into_iter().collect();
    assert_eq!(trimmed[&partition(&name, 2)], Ok(Offset(2)));
    assert_eq!(trimmed[&partition(&name, 1)], Ok(Offset(0)));

    let all = [partition(&name, 2)];
    let folders = client
        .describe_log_dirs(ids[0], Some(&all))
        .expect("an answer");
    let replicas: Vec<_> = folders
        .into_iter()
        .flat_map(|folder| folder.expect("sound").replicas)
        .map(|it| it.partition)
        .collect();
    assert_eq!(replicas, all);
    let listed = client.list_config_resources(&[ConfigResource::Topic]);
    let row = (ConfigResource::Topic, name.to_string());
    assert!(listed.expect("an answer").contains(&row));
    client.delete_topic(&name).expect("gone");
}

#[test]
fn every_codec_is_read_back_from_every_beginning() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    let name = topic(&mut client, 1);
    let mut expected = Vec::new();
    for codec in Compression::ALL {
        let options = ProducerOptions {
            compressor: codec.into(),
            ..ProducerOptions::default()
        };
        let records: Vec<ProducerRecord> = (0..100)
            .map(|number| {
                let time = expected.len() as i64 + number;
                record(&name, 0, time, &format!("{} {number}", codec.word()))
            })
            .collect();
        let values = records.iter().filter_map(|it| it.value.clone());
        expected.extend(values.map(|it| String::from_utf8(it.to_vec()).expect("text")));
        produce(&broker, options, &records);
    }
    for (start, first) in [
        (StartAt::Earliest, 0),
        (StartAt::Offset(Offset(250)), 250),
        (StartAt::Time(Timestamp(333)), 333),
    ] {
        let mut consumer = BlockingConsumer::new(connect(&broker), ConsumerOptions::default());
        consumer.seek(partition(&name, 0), start);
        for value in &expected[first..] {
            assert_eq!(next_value(&mut consumer), *value, "{start:?}");
        }
        let end = Offset(expected.len() as i64);
        assert_eq!(consumer.position(&partition(&name, 0)), Some(end));
        assert_eq!(consumer.lag(&partition(&name, 0)), Some(0));
    }
}

#[test]
fn a_paused_partition_waits_and_an_end_follows_what_comes() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    let name = topic(&mut client, 2);
    let mut consumer = BlockingConsumer::new(client, ConsumerOptions::default());
    let (still, running) = (partition(&name, 0), partition(&name, 1));
    consumer.seek(still.clone(), StartAt::Earliest);
    consumer.seek(running.clone(), StartAt::Latest);
    // Both positions are known before anything is written.
    while consumer.position(&running).is_none() || consumer.position(&still).is_none() {
        consumer
            .next_event(Duration::from_millis(10))
            .expect("a broker");
    }
    assert!(consumer.pause(&still));
    let both = [record(&name, 0, 0, "still"), record(&name, 1, 0, "running")];
    produce(&broker, ProducerOptions::default(), &both);
    assert_eq!(next_value(&mut consumer), "running");
    // An end of the other one passes; nothing of the paused one.
    let rest = consumer
        .poll(Duration::from_millis(600), 10)
        .expect("a broker");
    assert!(
        rest.iter().all(|event| *event.partition() == running),
        "{rest:?}"
    );
    assert!(consumer.resume(&still));
    assert_eq!(next_value(&mut consumer), "still");
}

#[test]
fn a_reader_behind_the_start_of_the_log_goes_where_its_reset_says() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    let name = topic(&mut client, 1);
    let values = ["a", "b", "c"].map(|value| record(&name, 0, 0, value));
    produce(&broker, ProducerOptions::default(), &values);
    let trim = [(partition(&name, 0), TrimTo::Offset(Offset(2)))];
    client.delete_records(&trim).expect("trimmed");
    let options = ConsumerOptions {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerOptions::default()
    };
    let mut consumer = BlockingConsumer::new(client, options);
    consumer.seek(partition(&name, 0), Offset::ZERO);
    let event = consumer.next_event(PATIENCE).expect("a broker");
    let reset = Event::Reset {
        partition: partition(&name, 0),
        position: Offset::ZERO,
        log_start: None,
        to: StartAt::Earliest,
    };
    assert_eq!(event, Some(reset));
    assert_eq!(next_value(&mut consumer), "c");
}

#[test]
fn a_full_buffer_holds_senders_back_for_as_long_as_they_allow() {
    let test = "a_full_buffer_holds_senders_back_for_as_long_as_they_allow";
    let Some(mut broker) = Broker::own(test, crate::harness::Options::new()) else {
        return;
    };
    let mut client = connect(&broker);
    let name = topic(&mut client, 1);
    let options = ProducerOptions {
        buffer_bytes: 10_000,
        block_max: Duration::from_millis(300),
        linger: Duration::ZERO,
        ..ProducerOptions::default()
    };
    let mut producer = BlockingProducer::new(client, options).expect("sound options");
    let value = "x".repeat(1000);
    // While the broker answers, a small buffer holds nobody for long.
    for _ in 0..100 {
        producer.send(&record(&name, 0, 0, &value)).expect("room");
    }
    producer.flush().expect("a broker");
    broker.kill();
    let mut taken = 0;
    let refused = loop {
        match producer.send(&record(&name, 0, 0, &value)) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 20, "the buffer holds ten thousand bytes");
    };
    assert!(
        matches!(&refused, ProduceError::Blocked { waited } if waited.as_millis() >= 300),
        "{refused:?}"
    );
    assert!(taken >= 5, "{taken}");
}

/// What the machine counts in a pure world holds on the wire: the broker counts as many requests.
#[test]
fn linger_and_batch_size_save_requests_that_the_broker_counts() {
    let Some(broker) = Broker::own("linger_and_batch_size", crate::harness::Options::new()) else {
        return;
    };
    let mut client = connect(&broker);
    let name = topic(&mut client, 1);
    let requests = || broker.metric("kafka_server_brokertopicmetrics_totalproducerequests_total");
    let records: Vec<ProducerRecord> = (0..500).map(|_| record(&name, 0, 0, "x")).collect();
    let mut counts = Vec::new();
    for (linger_ms, batch_bytes) in [(0, 1), (1000, 1024), (1000, 1 << 20)] {
        let options = ProducerOptions {
            linger: Duration::from_millis(linger_ms),
            batch_bytes,
            ..ProducerOptions::default()
        };
        let before = requests();
        let producer = produce(&broker, options, &records);
        let counted = requests() - before;
        assert_eq!(
            counted,
            producer.stats().requests,
            "the broker counts as the client does"
        );
        counts.push(counted);
    }
    assert_eq!(
        counts[0], 500,
        "a record larger than the batch size goes alone"
    );
    assert!((5..50).contains(&counts[1]), "{counts:?}");
    assert_eq!(counts[2], 1, "what fits one batch goes with one request");
}
