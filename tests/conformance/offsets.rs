//! ListOffsets: the ends of a log, and the offset of a time.

use crate::harness::{Broker, Codec, End, Options, RawBatch, Record, Topic, listing};

const EPOCH: i64 = 1_700_000_000_000;

fn batch(times: &[i64], codec: Codec) -> Vec<u8> {
    let records: Vec<_> = times
        .iter()
        .map(|time| Record {
            timestamp: EPOCH + time,
            ..Record::new("key", "value")
        })
        .collect();
    RawBatch::compressed(&records, codec).encode()
}

#[test]
fn ends_of_an_empty_log_are_zero() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("empty", 1);
    for special in [-1, -2] {
        let listed = client.list_offset(&topic, 0, special);
        assert_eq!((listed.error_code, listed.offset), (0, 0));
        assert_eq!(listed.leader_epoch, 0, "of a topic that was never led anew");
    }
    let listed = client.list_offset(&topic, 0, EPOCH);
    assert_eq!(
        (listed.error_code, listed.offset, listed.timestamp),
        (0, -1, -1)
    );
}

#[test]
fn first_record_at_or_after_a_time_is_found() {
    let broker = Broker::start();
    let mut client = broker.client();
    for codec in Codec::ALL {
        let topic = client.create_topic("times", 1);
        for times in [&[0, 10, 20][..], &[30, 25, 40], &[40, 50]] {
            assert_eq!(
                client.produce(&topic, 0, &batch(times, codec)).error_code,
                0
            );
        }
        for (time, offset, found) in [
            (-100, 0, 0),
            (0, 0, 0),
            (1, 1, 10),
            (10, 1, 10),
            (11, 2, 20),
            (21, 3, 30),
            (30, 3, 30),
            (31, 5, 40),
            (41, 7, 50),
        ] {
            let listed = client.list_offset(&topic, 0, EPOCH + time);
            assert_eq!(
                (listed.error_code, listed.offset, listed.timestamp),
                (0, offset, EPOCH + found),
                "time {time}, {codec:?}"
            );
        }
        assert_eq!(client.list_offset(&topic, 0, EPOCH + 51).offset, -1);
        assert_eq!(client.list_offset(&topic, 0, -1).offset, 8);
        assert_eq!(client.list_offset(&topic, 0, -2).offset, 0);
        // -3: the largest time, and the first record that has it.
        let newest = client.list_offset(&topic, 0, -3);
        assert_eq!(
            (newest.offset, newest.timestamp),
            (7, EPOCH + 50),
            "{codec:?}"
        );
    }
}

#[test]
fn times_are_found_after_a_restart_too() {
    let test = "times_are_found_after_a_restart_too";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("kept-times", 1);
    for number in 0..50 {
        let times = [number * 100, number * 100 + 50];
        client.produce(&topic, 0, &batch(&times, Codec::None));
    }
    for end in End::BOTH {
        broker.end(end);
        broker.start_again();
        let mut client = broker.client();
        for number in 0..50 {
            let listed = client.list_offset(&topic, 0, EPOCH + number * 100 + 1);
            assert_eq!(listed.offset, number * 2 + 1);
            assert_eq!(listed.timestamp, EPOCH + number * 100 + 50);
        }
        assert_eq!(client.list_offset(&topic, 0, -1).offset, 100);
    }
}

#[test]
fn every_version_answers_the_end() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("versions", 1);
    client.produce(&topic, 0, &batch(&[0, 1, 2], Codec::None));
    for version in 1..=11 {
        for (special, expected) in [(-1, 3), (-2, 0)] {
            let mut request = listing(&topic, 0, special);
            request.timeout_ms = 1000;
            let reply = client.call(&request, version);
            let view = reply.view();
            let topic = view.topics().iter().next().expect("one topic");
            let part = topic.partitions().iter().next().expect("one partition");
            assert_eq!(
                (part.error_code(), part.offset()),
                (0, expected),
                "version {version}"
            );
        }
    }
}

#[test]
fn unknown_partitions_are_told_so() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("known", 1);
    assert_eq!(client.list_offset(&topic, 5, -1).error_code, 3);
    let absent = Topic {
        name: crate::harness::unique("absent"),
        id: [0; 16],
    };
    assert_eq!(client.list_offset(&absent, 0, -1).error_code, 3);
}
