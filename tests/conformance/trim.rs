//! DeleteRecords: the start of a log moves, for everybody and for good.

use std::collections::BTreeSet;

use klamm_wire::delete_records;

use crate::harness::{Broker, Client, End, Options, RawBatch, Record, Topic, unique, wait_for};

/// Error and low watermark.
fn trim(client: &mut Client, topic: &str, partition: i32, offset: i64, version: i16) -> (i16, i64) {
    let request = delete_records::Request {
        topics: vec![delete_records::DeleteRecordsTopic {
            name: topic.to_owned().into(),
            partitions: vec![delete_records::DeleteRecordsPartition {
                partition_index: partition,
                offset,
            }],
        }],
        timeout_ms: 30_000,
    };
    let reply = client.call(&request, version);
    let view = reply.view();
    let found = view.topics().iter().next().expect("one topic");
    assert_eq!(found.name(), topic);
    let part = found.partitions().iter().next().expect("one partition");
    assert_eq!(part.partition_index(), partition);
    (part.error_code(), part.low_watermark())
}

fn append(client: &mut Client, topic: &Topic, values: std::ops::Range<i64>) {
    for value in values {
        let batch = RawBatch::one(&format!("{value}")).encode();
        assert_eq!(client.produce(topic, 0, &batch).error_code, 0);
    }
}

/// What everybody sees of a log that holds one record at each offset of this range.
fn check(client: &mut Client, topic: &Topic, offsets: std::ops::Range<i64>) {
    let (start, end) = (offsets.start, offsets.end);
    assert_eq!(client.list_offset(topic, 0, -2).offset, start);
    assert_eq!(client.list_offset(topic, 0, -1).offset, end);
    let first = client.list_offset(topic, 0, 0).offset;
    assert_eq!(first, if start < end { start } else { -1 });
    let mut next = start;
    while next < end {
        let found = client.fetch(topic, 0, next);
        assert_eq!((found.error_code, found.log_start_offset), (0, start));
        let records = crate::harness::records_of(&found.records);
        assert!(!records.is_empty(), "nothing at {next}");
        for record in records {
            assert_eq!(record.offset, next);
            let value = format!("{next}").into_bytes();
            assert_eq!(record.record.value, Some(value));
            next += 1;
        }
    }
    for below in [0, start - 1] {
        if (0..start).contains(&below) {
            let found = client.fetch(topic, 0, below);
            assert_eq!((found.error_code, found.log_start_offset), (1, -1));
            assert!(found.records.is_empty());
        }
    }
}

#[test]
fn records_below_the_new_start_are_gone_for_everybody() {
    let broker = Broker::start();
    let mut client = broker.client();
    for version in 0..=2 {
        let topic = client.create_topic("trimmed", 1);
        let to = |client: &mut Client, offset| trim(client, &topic.name, 0, offset, version);
        assert_eq!(to(&mut client, 0), (0, 0));
        assert_eq!(
            to(&mut client, -1),
            (0, 0),
            "the high watermark of an empty log"
        );
        append(&mut client, &topic, 0..10);
        assert_eq!(to(&mut client, 4), (0, 4), "version {version}");
        check(&mut client, &topic, 4..10);
        // It does not go back, and asking for that is no error.
        assert_eq!(to(&mut client, 2), (0, 4));
        assert_eq!(to(&mut client, 4), (0, 4));
        assert_eq!(to(&mut client, 11), (1, -1));
        assert_eq!(to(&mut client, -2), (1, -1));
        assert_eq!(to(&mut client, i64::MIN), (1, -1));
        check(&mut client, &topic, 4..10);
        assert_eq!(to(&mut client, -1), (0, 10));
        check(&mut client, &topic, 10..10);
        // Offsets go on.
        append(&mut client, &topic, 10..12);
        check(&mut client, &topic, 10..12);
        assert_eq!(trim(&mut client, &topic.name, 1, 0, version), (3, -1));
        assert_eq!(trim(&mut client, &unique("absent"), 0, 0, version), (3, -1));
    }
}

#[test]
fn a_start_inside_a_batch_hides_only_what_lies_before_it() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = client.create_topic("inside", 1);
    let record = |time| Record {
        timestamp: time,
        ..Record::new("k", "v")
    };
    // The latest record of the first batch is before the start.
    for times in [&[900, 100, 200][..], &[300, 400]] {
        let records: Vec<_> = times.iter().map(|&time| record(time)).collect();
        let batch = RawBatch::of(&records).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    assert_eq!(trim(&mut client, &topic.name, 0, 1, 2), (0, 1));
    for (time, offset) in [(0, 1), (100, 1), (150, 2), (201, 3), (350, 4), (401, -1)] {
        let found = client.list_offset(&topic, 0, time);
        assert_eq!((found.error_code, found.offset), (0, offset), "time {time}");
    }
    // Batches are served whole; consumers skip what they did not ask for.
    let found = client.fetch(&topic, 0, 1);
    assert_eq!(crate::harness::records_of(&found.records)[0].offset, 0);
    assert_eq!(client.fetch(&topic, 0, 0).error_code, 1);
}

#[test]
fn topics_that_are_only_compacted_keep_their_records() {
    let broker = Broker::start();
    let mut client = broker.client();
    let create = |client: &mut Client, policy: &str| {
        let configs = [("cleanup.policy", policy)];
        client.create_topic_with("policy", 1, &configs)
    };
    let compacted = create(&mut client, "compact");
    let keyed = RawBatch::of(&[Record::new("k", "v")]).encode();
    assert_eq!(client.produce(&compacted, 0, &keyed).error_code, 0);
    for offset in [0, 1, -1, 5] {
        assert_eq!(trim(&mut client, &compacted.name, 0, offset, 2), (44, -1));
    }
    let both = create(&mut client, "compact,delete");
    assert_eq!(client.produce(&both, 0, &keyed).error_code, 0);
    assert_eq!(trim(&mut client, &both.name, 0, -1, 2), (0, 1));
}

#[test]
fn the_start_is_where_it_was_moved_after_every_end_of_the_broker() {
    let test = "the_start_is_where_it_was_moved_after_every_end_of_the_broker";
    for class in ["flushed", "written"] {
        let options = Options::new().set("klamm.durability", class);
        let Some(mut broker) = Broker::own(test, options) else {
            return;
        };
        let mut client = broker.client();
        let topic = client.create_topic("moved", 1);
        let (mut start, mut end) = (0, 0);
        for (appended, to, how) in [
            (10, 3, End::Kill),
            (0, 5, End::Kill),
            (5, 5, End::Stop),
            (0, 9, End::Stop),
            (1, 16, End::Kill),
            (2, 17, End::Stop),
            (0, 17, End::Kill),
        ] {
            append(&mut client, &topic, end..end + appended);
            end += appended;
            assert_eq!(trim(&mut client, &topic.name, 0, to, 2), (0, to));
            assert!(to >= start);
            start = to;
            broker.end(how);
            broker.start_again();
            client = broker.client();
            check(&mut client, &topic, start..end);
        }
    }
}

#[test]
fn whole_segments_below_the_start_leave_the_disk() {
    let test = "whole_segments_below_the_start_leave_the_disk";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let mut client = broker.client();
    let configs = [
        ("internal.segment.bytes", "4096"),
        ("file.delete.delay.ms", "0"),
    ];
    let topic = client.create_topic_with("segments", 1, &configs);
    append(&mut client, &topic, 0..400);
    let folder = broker.folder().join(format!("{}-0", topic.name));
    let files = || -> Vec<String> {
        let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().into_string().expect("a name"));
        names.filter(|name| name.starts_with('0')).collect()
    };
    // The segment in which the start lies stays, and nothing of those before it.
    let is_tidy = |start: i64| {
        let files = files();
        let logs = files.iter().filter_map(|name| name.strip_suffix(".log"));
        let bases: BTreeSet<i64> = logs.filter_map(|base| base.parse().ok()).collect();
        let base_of = |name: &String| name.split('.').next()?.parse().ok();
        let is_known = |name: &String| base_of(name).is_some_and(|base| bases.contains(&base));
        let is_whole = files.iter().all(is_known) && files.len() <= 3 * bases.len();
        (is_whole && bases.range(..=start).count() == 1).then_some(bases.len())
    };
    assert_eq!(trim(&mut client, &topic.name, 0, 250, 2), (0, 250));
    wait_for("removal of segments", || {
        is_tidy(250).filter(|&left| left > 2)
    });
    check(&mut client, &topic, 250..400);
    for how in End::BOTH {
        broker.end(how);
        broker.start_again();
        check(&mut broker.client(), &topic, 250..400);
        assert!(is_tidy(250).is_some(), "{:?}", files());
    }
    // What is left takes no more than it did.
    let mut client = broker.client();
    assert_eq!(trim(&mut client, &topic.name, 0, -1, 2), (0, 400));
    wait_for("removal of segments", || {
        is_tidy(400).filter(|&left| left == 1)
    });
    append(&mut client, &topic, 400..420);
    check(&mut client, &topic, 400..420);
    broker.end(End::Kill);
    broker.start_again();
    check(&mut broker.client(), &topic, 400..420);
}
