//! A thousand partitions with a record each: what that costs at a stop, after a death, and everyone
//! else while segments are brought up to date. The limits leave room for a slow and busy disk; a
//! flush for each file of each partition exceeds them all the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Broker, Client, Options, RawBatch, Record, Topic, produced, production};

const PARTITIONS: i32 = 1000;
const PRODUCE: i16 = 9;

/// A log of this much is soon full enough that segments must follow it.
const WAL_BYTES: u64 = 64 << 20;

fn options() -> Options {
    Options::new()
        .set("klamm.shards", 2)
        .set("klamm.wal.bytes", WAL_BYTES)
        .set("klamm.wal.file.bytes", 16 << 20)
}

/// Appends a record to every partition.
fn append_everywhere(client: &mut Client, topic: &Topic) {
    let batch = RawBatch::of(&[Record::new("key", b"value")]).encode();
    let parts: Vec<_> = (0..PARTITIONS).map(|part| (part, &batch[..])).collect();
    let reply = client.call(&production(topic, -1, &parts), PRODUCE);
    let answers = produced(&reply.view());
    assert_eq!(answers.len(), parts.len());
    assert!(answers.iter().all(|answer| answer.error_code == 0));
}

#[test]
fn thousand_partitions_are_stopped_and_recovered_in_seconds_and_lose_nothing() {
    let test = "thousand_partitions_are_stopped_and_recovered_in_seconds_and_lose_nothing";
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    let topic = broker.client().create_topic("many", PARTITIONS);
    append_everywhere(&mut broker.client(), &topic);
    broker.kill();
    broker.start_again();
    let recovered = broker.started_in;
    append_everywhere(&mut broker.client(), &topic);
    let stopped = broker.stop();
    broker.start_again();
    eprintln!("{test}: recovered in {recovered:?}, stopped in {stopped:?}");
    let log = broker.process().expect("our own").log.text();
    assert!(!log.contains("segments are not up to date"), "{log}");
    let mut client = broker.client();
    for part in 0..PARTITIONS {
        let end = client.list_offset(&topic, part, -1);
        assert_eq!((end.error_code, end.offset), (0, 2), "end of {part}");
    }
    for part in [0, PARTITIONS / 2, PARTITIONS - 1] {
        let records = client.read_all(&topic, part);
        assert_eq!(records.len(), 2, "records of {part}");
    }
    assert!(recovered < Duration::from_secs(10), "{recovered:?}");
    assert!(stopped < Duration::from_secs(6), "{stopped:?}");
}

#[test]
fn nobody_waits_while_thousand_segments_are_brought_up_to_date() {
    let test = "nobody_waits_while_thousand_segments_are_brought_up_to_date";
    let Some(broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("many", PARTITIONS);
    let filled = client.create_topic("filled", 2);
    append_everywhere(&mut client, &topic);
    let value = vec![7; 900_000];
    let batch = RawBatch::of(&[Record::new("key", &value)]).encode();
    let is_over = AtomicBool::new(false);
    let worst = std::thread::scope(|scope| {
        let probe = scope.spawn(|| {
            let mut clients = [broker.client(), broker.client()];
            let mut worst = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                for client in &mut clients {
                    let asked = Instant::now();
                    client.api_versions();
                    worst = worst.max(asked.elapsed());
                }
            }
            worst
        });
        for number in 0..2 * WAL_BYTES / value.len() as u64 {
            let answer = client.produce(&filled, (number % 2) as i32, &batch);
            assert_eq!(answer.error_code, 0);
        }
        is_over.store(true, Ordering::Relaxed);
        probe.join().expect("the probe is answered")
    });
    eprintln!("{test}: nobody waited longer than {worst:?}");
    assert!(worst < Duration::from_secs(1), "{worst:?}");
}
