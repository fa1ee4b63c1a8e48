//! What is read: from where, how much, and when an answer comes.

use std::time::{Duration, Instant};

use klamm_wire::{ApiKey, fetch};

use crate::harness::{
    Broker, Client, Codec, FETCH, RawBatch, Record, Topic, fetched, fetching, is_release,
    production, records_of, wait_for,
};

fn batch_of(count: usize, codec: Codec) -> Vec<u8> {
    let records: Vec<_> = (0..count)
        .map(|number| Record::new("key", format!("value {number}")))
        .collect();
    RawBatch::compressed(&records, codec).encode()
}

/// A Fetch that waits for one byte.
fn waiting(topic: &Topic, offset: i64, wait_ms: i32) -> fetch::Request<'static> {
    let mut request = fetching(topic, 0, offset);
    (request.min_bytes, request.max_wait_ms) = (1, wait_ms);
    request
}

#[test]
fn read_from_within_a_batch_begins_with_that_batch() {
    let broker = Broker::start();
    let mut client = broker.client();
    for codec in Codec::ALL {
        let topic = client.create_topic("within", 1);
        for _ in 0..3 {
            assert_eq!(
                client.produce(&topic, 0, &batch_of(10, codec)).error_code,
                0
            );
        }
        for offset in 0..30 {
            let part = client.fetch(&topic, 0, offset);
            let read = records_of(&part.records);
            assert_eq!(read[0].offset, offset / 10 * 10, "from {offset}, {codec:?}");
            assert_eq!(read.last().expect("records").offset, 29);
            assert_eq!(part.high_watermark, 30);
        }
        let end = client.fetch(&topic, 0, 30);
        assert_eq!((end.error_code, end.records.len()), (0, 0));
    }
}

#[test]
fn answer_keeps_to_the_bytes_that_were_asked_for() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("bounded", 4);
    for part in 0..4 {
        for _ in 0..20 {
            client.produce(&topic, part, &RawBatch::one(&"x".repeat(10_000)).encode());
        }
    }
    let mut request = fetching(&topic, 0, 0);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..4)
        .map(|partition| fetch::FetchPartition {
            partition,
            ..one.clone()
        })
        .collect();
    for (max_bytes, partition_max) in [(50_000, 1 << 20), (1 << 20, 25_000), (60_000, 25_000)] {
        request.max_bytes = max_bytes;
        for part in &mut request.topics[0].partitions {
            part.partition_max_bytes = partition_max;
        }
        let reply = client.call(&request, FETCH);
        let parts = fetched(&reply.view());
        let total: usize = parts.iter().map(|part| part.records.len()).sum();
        assert!(
            total > 0 && total <= max_bytes as usize,
            "{total} bytes for {max_bytes}"
        );
        for part in parts {
            assert!(part.records.len() <= partition_max as usize);
        }
    }
}

#[test]
fn waiting_fetch_is_woken_by_an_append() {
    let broker = Broker::start();
    let mut writer = broker.client();
    let topic = writer.create_topic("woken", 1);
    let mut times = Vec::new();
    for number in 0..20 {
        let mut reader = broker.client();
        reader.begin(&waiting(&topic, number, 20_000), FETCH);
        // Another request on another connection, so that the Fetch has surely been parked.
        assert_eq!(writer.fetch(&topic, 0, number).records.len(), 0);
        let batch = RawBatch::one(&number.to_string()).encode();
        assert_eq!(writer.produce(&topic, 0, &batch).base_offset, number);
        let begun = Instant::now();
        let reply = reader.finish::<fetch::Request<'_>>(ApiKey::Fetch, FETCH);
        times.push(begun.elapsed());
        let read = records_of(&fetched(&reply.view())[0].records);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].offset, number);
    }
    times.sort_unstable();
    let limit = if is_release() { 5 } else { 100 };
    assert!(
        times[times.len() / 2] < Duration::from_millis(limit),
        "{times:?}"
    );
}

#[test]
fn waiting_fetch_ends_when_its_time_is_over() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("timed", 1);
    for wait in [0, 20, 500, 1500] {
        let begun = Instant::now();
        let reply = client.call(&waiting(&topic, 0, wait), FETCH);
        let took = begun.elapsed();
        assert_eq!(fetched(&reply.view())[0].records.len(), 0);
        let wait = Duration::from_millis(wait as u64);
        assert!(
            took + Duration::from_millis(5) >= wait,
            "{took:?} instead of {wait:?}"
        );
        assert!(
            took < wait + Duration::from_secs(2),
            "{took:?} instead of {wait:?}"
        );
    }
}

#[test]
fn fetch_waits_for_as_many_bytes_as_were_asked_for() {
    let broker = Broker::start();
    let (mut writer, mut reader) = (broker.client(), broker.client());
    let topic = writer.create_topic("enough", 1);
    let mut request = waiting(&topic, 0, 20_000);
    request.min_bytes = 5_000;
    reader.begin(&request, FETCH);
    for number in 0..10 {
        let batch = RawBatch::one(&"x".repeat(1_000)).encode();
        assert_eq!(writer.produce(&topic, 0, &batch).base_offset, number);
    }
    let reply = reader.finish::<fetch::Request<'_>>(ApiKey::Fetch, FETCH);
    assert!(fetched(&reply.view())[0].records.len() >= 5_000);
}

/// Partitions of a topic lie on the cores in turn, so these lie on all of them.
#[test]
fn bytes_of_partitions_on_several_cores_are_added_up() {
    let broker = Broker::start_with(crate::harness::Options::new().set("klamm.shards", 2));
    let (mut writer, mut reader) = (broker.client(), broker.client());
    let topic = writer.create_topic("summed", 3);
    let batch = RawBatch::one(&"x".repeat(1_000)).encode();
    for round in 0..10 {
        let mut request = waiting(&topic, round, 60_000);
        let one = request.topics[0].partitions[0].clone();
        let parts = (0..3).map(|partition| fetch::FetchPartition {
            partition,
            ..one.clone()
        });
        request.topics[0].partitions = parts.collect();
        request.min_bytes = 3 * batch.len() as i32;
        reader.begin(&request, FETCH);
        let begun = Instant::now();
        for partition in 0..3 {
            let produced = writer.produce(&topic, partition, &batch);
            assert_eq!(produced.base_offset, round);
        }
        let reply = reader.finish::<fetch::Request<'_>>(ApiKey::Fetch, FETCH);
        assert!(begun.elapsed() < Duration::from_secs(20), "round {round}");
        for part in fetched(&reply.view()) {
            assert_eq!(part.records.len(), batch.len(), "answered too early");
        }
    }
}

#[test]
fn waiting_fetch_of_one_connection_holds_up_no_other() {
    let broker = Broker::start();
    let mut reader = broker.client();
    let topic = reader.create_topic("held", 1);
    reader.begin(&waiting(&topic, 0, 20_000), FETCH);
    let begun = Instant::now();
    for _ in 0..20 {
        broker.client().api_versions();
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn error_of_one_partition_does_not_wait() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("error", 1);
    let mut request = waiting(&topic, 99, 20_000);
    let begun = Instant::now();
    let reply = client.call(&request, FETCH);
    assert_eq!(fetched(&reply.view())[0].error_code, 1);
    request.topics[0].partitions[0].partition = 7;
    let reply = client.call(&request, FETCH);
    assert_eq!(fetched(&reply.view())[0].error_code, 3);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn waiting_fetch_ends_when_its_topic_is_deleted() {
    let broker = Broker::start();
    let (mut admin, mut reader) = (broker.client(), broker.client());
    let topic = admin.create_topic("vanishing", 1);
    reader.begin(&waiting(&topic, 0, 60_000), FETCH);
    assert_eq!(admin.fetch(&topic, 0, 0).error_code, 0);
    assert_eq!(admin.delete_topic(&topic), 0);
    let begun = Instant::now();
    let reply = reader.finish::<fetch::Request<'_>>(ApiKey::Fetch, FETCH);
    let code = fetched(&reply.view())[0].error_code;
    // Which of the two depends on what is gone first: the topic or its leader.
    assert!([3, 6].contains(&code), "code {code}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// Every consumer has its own place, and reading takes nothing away.
#[test]
fn many_readers_read_the_same_records() {
    let broker = Broker::start();
    let mut writer = broker.client();
    let topic = writer.create_topic("shared", 1);
    for _ in 0..20 {
        writer.produce(&topic, 0, &batch_of(50, Codec::Lz4));
    }
    let expected = writer.read_all(&topic, 0);
    assert_eq!(expected.len(), 1000);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(broker.client().read_all(&topic, 0), expected));
        }
    });
}

#[test]
fn more_than_memory_holds_is_read_back_from_disk() {
    let options = crate::harness::Options::new().set("klamm.tail.bytes", 1 << 20);
    let broker = Broker::start_with(options);
    let mut client = broker.client();
    let topic = client.create_topic("cold", 2);
    let mut random = crate::harness::Random::new(3);
    let mut expected = [Vec::new(), Vec::new()];
    for number in 0..600 {
        let (part, noise) = (number % 2, random.bytes(40_000));
        let record = Record::new(number.to_string(), noise);
        let batch = RawBatch::of(std::slice::from_ref(&record)).encode();
        let reply = client.call(&production(&topic, -1, &[(part as i32, &batch)]), 9);
        assert_eq!(crate::harness::produced(&reply.view())[0].error_code, 0);
        expected[part].push(record);
    }
    for part in 0..2 {
        let read = read_while_it_grows(&mut client, &topic, part);
        let records = read.into_iter().map(|read| read.record);
        assert!(
            records.eq(expected[part as usize].iter().cloned()),
            "partition {part}"
        );
    }
}

fn read_while_it_grows(
    client: &mut Client,
    topic: &Topic,
    part: i32,
) -> Vec<crate::harness::ReadRecord> {
    wait_for("all records", || {
        let read = client.read_all(topic, part);
        (read.len() == 300).then_some(read)
    })
}
