//! Retention: what is too old, or too much, leaves a log by whole segments, and nothing else does.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::configs::Change;
use crate::harness::{Broker, Client, End, Options, RawBatch, Record, Topic, wait_for};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Bytes of one segment; a batch of these tests takes a tenth.
const SEGMENT: &str = "4096";

const RESOURCE_TOPIC: i8 = 2;

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("a time")
}

/// Retention as users have it by default, looked after often.
fn options() -> Options {
    Options::new()
        .unset("log.retention.ms")
        .set("log.retention.check.interval.ms", 50)
}

fn append(client: &mut Client, topic: &Topic, times: impl IntoIterator<Item = i64>) {
    for timestamp in times {
        let record = Record {
            timestamp,
            ..Record::new("key", "v".repeat(300))
        };
        let batch = RawBatch::of(&[record]).encode();
        assert_eq!(client.produce(topic, 0, &batch).error_code, 0);
    }
}

fn start_of(client: &mut Client, topic: &Topic) -> i64 {
    client.list_offset(topic, 0, -2).offset
}

fn end_of(client: &mut Client, topic: &Topic) -> i64 {
    client.list_offset(topic, 0, -1).offset
}

/// The log begins here and goes on to there, for everybody.
fn check(client: &mut Client, topic: &Topic, offsets: std::ops::Range<i64>) {
    assert_eq!(start_of(client, topic), offsets.start);
    assert_eq!(end_of(client, topic), offsets.end);
    let mut next = offsets.start;
    while next < offsets.end {
        let found = client.fetch(topic, 0, next);
        assert_eq!(found.error_code, 0, "at {next}");
        let records = crate::harness::records_of(&found.records);
        assert_eq!(records[0].offset, next);
        next = records.last().expect("some").offset + 1;
    }
    if offsets.start > 0 {
        assert_eq!(client.fetch(topic, 0, offsets.start - 1).error_code, 1);
    }
}

/// Names of a partition's segment files.
fn files(broker: &Broker, topic: &Topic) -> Vec<String> {
    let folder = broker.folder().join(format!("{}-0", topic.name));
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().into_string().expect("a name"));
    names.filter(|name| name.starts_with('0')).collect()
}

/// Base offsets of the segments that are there.
fn bases(broker: &Broker, topic: &Topic) -> BTreeSet<i64> {
    let files = files(broker, topic);
    files.iter().map(|name| base_of(name)).collect()
}

/// The base offset that a segment file's name begins with.
fn base_of(name: &str) -> i64 {
    let base = name.split('.').next().expect("a name");
    base.parse().expect("an offset")
}

#[test]
fn segments_older_than_retention_ms_leave_the_log_and_the_disk() {
    let test = "segments_older_than_retention_ms_leave_the_log_and_the_disk";
    for class in ["flushed", "written"] {
        let options = options().set("klamm.durability", class);
        let Some(mut broker) = Broker::own(test, options) else {
            return;
        };
        let mut client = broker.client();
        // A week is Kafka's default.
        let configs = [
            ("internal.segment.bytes", SEGMENT),
            ("file.delete.delay.ms", "0"),
        ];
        let topic = client.create_topic_with("aged", 1, &configs);
        let now = now_ms();
        append(&mut client, &topic, (0..25).map(|_| now - 8 * DAY_MS));
        append(&mut client, &topic, (0..25).map(|_| now - 6 * DAY_MS));
        let start = wait_for("segments that go", || {
            Some(start_of(&mut client, &topic)).filter(|&start| start > 10)
        });
        // The segment in which the first young record lies stays as a whole.
        assert!(start <= 25, "{start}");
        wait_for("files that go", || {
            (bases(&broker, &topic).first() == Some(&start)).then_some(())
        });
        check(&mut client, &topic, start..50);
        for end in End::BOTH {
            broker.end(end);
            broker.start_again();
            check(&mut broker.client(), &topic, start..50);
            assert_eq!(bases(&broker, &topic).first(), Some(&start));
        }
    }
}

#[test]
fn a_log_larger_than_retention_bytes_keeps_as_many_and_no_segment_more() {
    let test = "a_log_larger_than_retention_bytes_keeps_as_many_and_no_segment_more";
    let Some(broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let configs = [
        ("internal.segment.bytes", SEGMENT),
        ("retention.bytes", "10000"),
        ("retention.ms", "-1"),
    ];
    let topic = client.create_topic_with("large", 1, &configs);
    // What goes first is the latest by its time.
    append(&mut client, &topic, (0..100).map(|at| 2_000 - at));
    let size = RawBatch::of(&[Record {
        timestamp: 1_000,
        ..Record::new("key", "v".repeat(300))
    }])
    .encode()
    .len() as i64;
    let kept = |start: i64| (100 - start) * size;
    let start = wait_for("a smaller log", || {
        let start = start_of(&mut client, &topic);
        (kept(start) < 10_000 + 4096).then_some(start)
    });
    assert!(kept(start) >= 10_000, "{} bytes are left", kept(start));
    let latest = client.list_offset(&topic, 0, -3).offset;
    assert!(latest >= start, "{latest} is before {start}");
    check(&mut client, &topic, start..100);
    // What is younger goes on.
    append(&mut client, &topic, [2_000]);
    check(
        &mut client,
        &topic,
        start_of(&mut broker.client(), &topic)..101,
    );
}

#[test]
fn the_segment_that_is_written_to_stays_however_old_its_records_are() {
    let test = "the_segment_that_is_written_to_stays_however_old_its_records_are";
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let configs = [
        ("internal.segment.bytes", SEGMENT),
        ("file.delete.delay.ms", "0"),
    ];
    let topic = client.create_topic_with("expired", 1, &configs);
    let mut next = 0;
    for end in [End::Kill, End::Stop, End::Kill] {
        append(&mut client, &topic, (0..35).map(|_| 1_000));
        next += 35;
        let start = wait_for("a log of one segment", || {
            let bases = bases(&broker, &topic);
            let start = start_of(&mut client, &topic);
            // The files of the newest one may not be there yet: it has ten batches at most.
            let is_last = next - start <= 10;
            (is_last && bases == BTreeSet::from([start])).then_some(start)
        });
        check(&mut client, &topic, start..next);
        broker.end(end);
        broker.start_again();
        client = broker.client();
        check(&mut client, &topic, start..next);
    }
}

#[test]
fn a_change_of_retention_holds_at_once_and_policies_without_delete_keep_all() {
    let test = "a_change_of_retention_holds_at_once_and_policies_without_delete_keep_all";
    let Some(broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let compacted = [
        ("internal.segment.bytes", SEGMENT),
        ("cleanup.policy", "compact"),
        // Nothing is compacted either.
        ("min.cleanable.dirty.ratio", "1"),
        ("retention.ms", "1"),
        ("retention.bytes", "1"),
    ];
    let compacted = client.create_topic_with("compacted", 1, &compacted);
    let kept = [("internal.segment.bytes", SEGMENT), ("retention.ms", "-1")];
    let kept = client.create_topic_with("kept", 1, &kept);
    for topic in [&compacted, &kept] {
        append(&mut client, topic, (0..30).map(|_| 1_000));
    }
    let other = [("internal.segment.bytes", SEGMENT), ("retention.ms", "1")];
    let other = client.create_topic_with("other", 1, &other);
    append(&mut client, &other, (0..30).map(|_| 1_000));
    // A round looks at all of them: when the third is shorter, the others were spared.
    wait_for("a shorter log", || {
        (start_of(&mut client, &other) > 10).then_some(())
    });
    for topic in [&compacted, &kept] {
        check(&mut client, topic, 0..30);
    }
    let changes = [("retention.ms", Change::Set("1000"))];
    let changed = client.change(RESOURCE_TOPIC, &kept.name, &changes);
    assert_eq!(changed.0, 0, "{changed:?}");
    wait_for("a shorter log", || {
        (start_of(&mut client, &kept) > 10).then_some(())
    });
    check(&mut client, &compacted, 0..30);
}

#[test]
fn files_of_deleted_segments_stay_for_file_delete_delay_ms() {
    let test = "files_of_deleted_segments_stay_for_file_delete_delay_ms";
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    // A minute is Kafka's default.
    let configs = [("internal.segment.bytes", SEGMENT)];
    let topic = client.create_topic_with("delayed", 1, &configs);
    append(&mut client, &topic, (0..25).map(|_| 1_000));
    append(&mut client, &topic, (0..5).map(|_| now_ms()));
    let is_deleted = |name: &String| name.ends_with(".deleted");
    // The first young record begins a segment of its own, because it is more than segment.ms later:
    // several rounds may do it, and the last of them leaves nothing below it.
    let start = 25;
    let deleted = wait_for("the last old segment to go", || {
        let (deleted, kept): (Vec<_>, Vec<_>) =
            files(&broker, &topic).into_iter().partition(is_deleted);
        let first = kept.iter().map(|name| base_of(name)).min();
        let is_last = start_of(&mut client, &topic) == start && first == Some(start);
        is_last.then_some(deleted)
    });
    // They have another name and are still there, the very first among them.
    let deleted: BTreeSet<_> = deleted.iter().map(|name| base_of(name)).collect();
    assert!(deleted.contains(&0), "{deleted:?}");
    assert!(deleted.iter().all(|base| *base < start), "{deleted:?}");
    check(&mut client, &topic, start..30);
    // A start does not wait for it: nobody reads them any more.
    broker.end(End::Kill);
    broker.start_again();
    assert!(!files(&broker, &topic).iter().any(is_deleted));
    check(&mut broker.client(), &topic, start..30);
}
