//! Compaction: of each key the latest record stays, at its offset; what was deleted goes in time;
//! and readers, restarts and retries go on as if nothing had happened.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::harness::configs::Change;
use crate::harness::{
    Broker, Client, Codec, End, Options, RawBatch, ReadRecord, Record, Topic, records_of, wait_for,
};

/// Bytes of one segment; it holds some ten batches of these tests.
const SEGMENT: &str = "4096";

const RESOURCE_TOPIC: i8 = 2;

/// The first time that a record has; the others follow by the millisecond.
const FIRST_TIME: i64 = 1_700_000_000_000;

/// Compaction as users have it by default, looked after often.
fn options() -> Options {
    Options::new().set("log.cleaner.backoff.ms", 20)
}

/// What topics of these tests are created with, and what one of them has besides.
fn configs<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", SEGMENT),
        ("index.interval.bytes", "200"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("file.delete.delay.ms", "0"),
    ];
    usual.into_iter().chain(more.iter().copied()).collect()
}

/// Markers of the first records that delete a key for ever.
const ONCE: i64 = 29;

/// Record `number` of a test: every third key is one of many, and every seventh record deletes. Of
/// the first, these delete what came four before, whose key does not come back.
fn record(number: i64) -> Record {
    let is_first = number < 7 * ONCE;
    let key = match (number % 7, number % 3) {
        (0, _) if is_first => format!("once {number}"),
        (3, _) if is_first => format!("once {}", number + 4),
        (_, 0) => format!("rare {}", number % 40),
        _ => format!("key {}", number % 5),
    };
    let mut record = Record::new(key, format!("{number} {}", "v".repeat(60)));
    record.timestamp = FIRST_TIME + number;
    record.headers = vec![("number".to_owned(), Some(number.to_be_bytes().to_vec()))];
    if number % 7 == 0 {
        record.value = None;
    }
    record
}

/// Appends records `from..to` in batches of four.
fn append(client: &mut Client, topic: &Topic, codec: Codec, from: i64, to: i64) {
    let numbers: Vec<i64> = (from..to).collect();
    for batch in numbers.chunks(4) {
        let records: Vec<Record> = batch.iter().map(|&number| record(number)).collect();
        let batch = RawBatch::compressed(&records, codec).encode();
        assert_eq!(client.produce(topic, 0, &batch).error_code, 0);
    }
}

fn number_at(bytes: &[u8], at: usize, length: usize) -> i64 {
    let mut found = [0; 8];
    found[8 - length..].copy_from_slice(&bytes[at..at + length]);
    i64::from_be_bytes(found)
}

/// First and last offset of the batches in `bytes`.
fn spans(bytes: &[u8]) -> Vec<(i64, i64)> {
    let (mut spans, mut rest) = (Vec::new(), bytes);
    while rest.len() >= 61 {
        let length = 12 + number_at(rest, 8, 4) as usize;
        // Room that was made ahead is zeros.
        if rest.len() < length || length < 61 {
            break;
        }
        let base = number_at(rest, 0, 8);
        spans.push((base, base + number_at(rest, 23, 4)));
        rest = &rest[length..];
    }
    spans
}

/// Everything that a consumer is given from the log's start to `end`: it goes on behind the last
/// batch that it got, whether or not that has records.
fn read_all(client: &mut Client, topic: &Topic, end: i64) -> Vec<ReadRecord> {
    let mut next = client.list_offset(topic, 0, -2).offset;
    let mut records: Vec<ReadRecord> = Vec::new();
    while next < end {
        let found = client.fetch(topic, 0, next);
        assert_eq!(found.error_code, 0, "at {next}");
        let spans = spans(&found.records);
        let Some(&(first, _)) = spans.first() else {
            panic!("nothing is given at {next} of {end}");
        };
        assert!(first <= next, "offsets from {next} to {first} are missing");
        for pair in spans.windows(2) {
            assert_eq!(pair[0].1 + 1, pair[1].0, "a hole between batches");
        }
        let new = records_of(&found.records);
        records.extend(new.into_iter().filter(|record| record.offset >= next));
        next = spans.last().expect("some").1 + 1;
    }
    records
}

/// Every record that is there is the one that was sent there; gives what a consumer then knows.
fn state(records: &[ReadRecord]) -> BTreeMap<Vec<u8>, i64> {
    let mut state = BTreeMap::new();
    let mut before = -1;
    for found in records {
        assert!(found.offset > before, "{} after {before}", found.offset);
        before = found.offset;
        assert_eq!(found.record, record(found.offset), "at {}", found.offset);
        let key = found.record.key.clone().expect("all have keys");
        match found.record.value {
            Some(_) => state.insert(key, found.offset),
            None => state.remove(&key),
        };
    }
    state
}

/// What a consumer must know after `end` records.
fn expected(end: i64) -> BTreeMap<Vec<u8>, i64> {
    let all = (0..end).map(|number| ReadRecord {
        offset: number,
        record: record(number),
        producer_id: -1,
    });
    state(&all.collect::<Vec<_>>())
}

/// Waits until the files hold no more than `most` records, and finds the right ones. What is still in
/// memory is read as it was sent: whoever asks for it gets all of it.
fn wait_until_compacted(broker: &Broker, topic: &Topic, end: i64, most: usize) -> Vec<ReadRecord> {
    wait_for("a compacted log", || {
        let records = stored(broker, topic)?;
        // Behind them lies what no checkpoint has covered yet.
        (records.last()?.offset + 1 == end && records.len() <= most).then(|| {
            assert_eq!(state(&records), expected(end));
            records
        })
    })
}

/// The records in a partition's files; none while names change.
fn stored(broker: &Broker, topic: &Topic) -> Option<Vec<ReadRecord>> {
    let mut logs = files(broker, topic);
    logs.retain(|name| name.ends_with(".log"));
    logs.sort();
    let mut next = 0;
    let mut records = Vec::new();
    for name in logs {
        let bytes = std::fs::read(folder(broker, topic).join(name)).ok()?;
        let mut at = 0;
        for (first, last) in spans(&bytes) {
            if first != next {
                return None;
            }
            next = last + 1;
            at += 12 + number_at(&bytes, at + 8, 4) as usize;
        }
        records.extend(records_of(&bytes[..at]));
    }
    Some(records)
}

/// Where a partition lies: in the one data folder, or in one of two.
fn folder(broker: &Broker, topic: &Topic) -> PathBuf {
    let name = format!("{}-0", topic.name);
    let places = ["a", "b", ""].map(|data| broker.folder().join(data).join(&name));
    let found = places.iter().find(|path| path.exists());
    found.unwrap_or(&places[2]).clone()
}

/// Names of a partition's files.
fn files(broker: &Broker, topic: &Topic) -> Vec<String> {
    let names = std::fs::read_dir(folder(broker, topic));
    let names = names.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().into_string().expect("a name"));
    names.collect()
}

/// Bytes of a partition's batches on disk.
fn log_bytes(broker: &Broker, topic: &Topic) -> u64 {
    let logs = files(broker, topic).into_iter();
    let logs = logs.filter(|name| name.ends_with(".log"));
    let paths = logs.map(|name| folder(broker, topic).join(name));
    paths
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum()
}

#[test]
fn of_each_key_the_latest_record_stays_at_its_offset_whatever_ends_the_broker() {
    let test = "of_each_key_the_latest_record_stays_at_its_offset_whatever_ends_the_broker";
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    let data = broker.folder().to_owned();
    check_compaction(&mut broker, &data);
}

#[test]
fn logs_are_compacted_in_whichever_data_folder_they_lie() {
    let test = "logs_are_compacted_in_whichever_data_folder_they_lie";
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let [a, b] = ["a", "b"].map(|data| folder.path().join(data));
    let both = options().set("log.dirs", format!("{},{}", a.display(), b.display()));
    let Some(mut broker) = Broker::own_on(test, folder, both) else {
        return;
    };
    check_compaction(&mut broker, &a);
    let left = std::fs::read_dir(b).expect("a folder").flatten();
    let names = left.map(|entry| entry.file_name().into_string().expect("a name"));
    assert_eq!(names.filter(|name| name.ends_with("-0")).count(), 2);
}

/// `data` is the folder with the metadata.
fn check_compaction(broker: &mut Broker, data: &Path) {
    let mut client = broker.client();
    let topics: Vec<(Codec, Topic)> = Codec::ALL
        .into_iter()
        .map(|codec| {
            let name = format!("{codec:?}").to_lowercase();
            (codec, client.create_topic_with(&name, 1, &configs(&[])))
        })
        .collect();
    let mut end = 0;
    for how in [End::Kill, End::Stop, End::Kill] {
        let from = end;
        end += 400;
        for (codec, topic) in &topics {
            append(&mut client, topic, *codec, from, end);
        }
        for (_, topic) in &topics {
            // The newest segments stay as they are.
            wait_until_compacted(broker, topic, end, 250);
            let records = read_all(&mut client, topic, end);
            assert_eq!(state(&records), expected(end), "{}", topic.name);
            assert_eq!(client.list_offset(topic, 0, -2).offset, 0);
            assert_eq!(client.list_offset(topic, 0, -1).offset, end);
        }
        broker.end(how);
        broker.start_again();
        client = broker.client();
        for (_, topic) in &topics {
            let records = read_all(&mut client, topic, end);
            assert_eq!(state(&records), expected(end), "{}", topic.name);
        }
    }
    // The file is Kafka's: version, count, then topic, partition and offset.
    let text = std::fs::read_to_string(data.join("cleaner-offset-checkpoint"));
    let text = text.expect("it is there");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..2], ["0", "5"], "{text}");
    for (_, topic) in &topics {
        let prefix = format!("{} 0 ", topic.name);
        let line = lines.iter().find_map(|line| line.strip_prefix(&prefix));
        let offset: i64 = line.expect("each topic").parse().expect("an offset");
        assert!((1..=end).contains(&offset), "{text}");
    }
}

#[test]
fn every_offset_can_be_asked_for_and_times_find_what_is_still_there() {
    let test = "every_offset_can_be_asked_for_and_times_find_what_is_still_there";
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic_with("asked", 1, &configs(&[]));
    append(&mut client, &topic, Codec::None, 0, 600);
    wait_until_compacted(&broker, &topic, 600, 150);
    // From now on it stays as it is.
    let changes = [("min.cleanable.dirty.ratio", Change::Set("1"))];
    assert_eq!(client.change(RESOURCE_TOPIC, &topic.name, &changes).0, 0);
    for end in End::BOTH {
        broker.end(end);
        broker.start_again();
        client = broker.client();
        // Nothing is in memory any more.
        let records = read_all(&mut client, &topic, 600);
        assert!(records.len() <= 150, "{}", records.len());
        assert_eq!(Some(&records), stored(&broker, &topic).as_ref());
        for offset in 0..600 {
            let found = client.fetch(&topic, 0, offset);
            let spans = spans(&found.records);
            let &(first, last) = spans.first().expect("something is given");
            assert!((first..=last).contains(&offset), "{offset}: {spans:?}");
        }
        for at in (0..600).step_by(7) {
            let late = |one: &&ReadRecord| one.record.timestamp >= FIRST_TIME + at;
            let expected = records.iter().find(late).map_or(-1, |one| one.offset);
            let found = client.list_offset(&topic, 0, FIRST_TIME + at).offset;
            assert_eq!(found, expected, "at {at}");
        }
        let latest = client.list_offset(&topic, 0, -3).offset;
        assert_eq!(latest, records.last().expect("some").offset);
    }
}

#[test]
fn a_deletion_marker_goes_after_delete_retention_ms_and_not_before() {
    let test = "a_deletion_marker_goes_after_delete_retention_ms_and_not_before";
    let Some(broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let kept = client.create_topic_with("kept", 1, &configs(&[]));
    let short = configs(&[("delete.retention.ms", "1")]);
    let short = client.create_topic_with("short", 1, &short);
    for topic in [&kept, &short] {
        append(&mut client, topic, Codec::Zstd, 0, 600);
    }
    let markers = |records: &[ReadRecord]| {
        let old = records.iter().filter(|one| one.offset < 7 * ONCE);
        old.filter(|one| one.record.value.is_none()).count()
    };
    for topic in [&kept, &short] {
        let records = wait_until_compacted(&broker, topic, 600, 250);
        assert_eq!(markers(&records), ONCE as usize);
    }
    // The next pass is later.
    for topic in [&kept, &short] {
        append(&mut client, topic, Codec::Zstd, 600, 1000);
    }
    wait_for("markers that go", || {
        let records = stored(&broker, &short)?;
        (markers(&records) == 0 && records.last()?.offset == 999).then_some(())
    });
    let records = wait_until_compacted(&broker, &short, 1000, 250);
    assert_eq!(markers(&records), 0);
    let records = wait_until_compacted(&broker, &kept, 1000, 300);
    assert_eq!(markers(&records), ONCE as usize);
}

#[test]
fn a_retry_is_known_although_its_records_are_gone() {
    let test = "a_retry_is_known_although_its_records_are_gone";
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic_with("retried", 1, &configs(&[]));
    let records = [record(0), record(1)];
    let batch = RawBatch::of(&records).of_producer(4711, 0, 0).encode();
    let first = client.produce(&topic, 0, &batch);
    assert_eq!((first.error_code, first.base_offset), (0, 0));
    append(&mut client, &topic, Codec::None, 2, 600);
    wait_until_compacted(&broker, &topic, 600, 150);
    for end in End::BOTH {
        let again = client.produce(&topic, 0, &batch);
        assert_eq!((again.error_code, again.base_offset), (0, 0), "{end:?}");
        assert_eq!(client.list_offset(&topic, 0, -1).offset, 600);
        broker.end(end);
        broker.start_again();
        client = broker.client();
    }
}

#[test]
fn compaction_gives_the_disk_its_room_back_and_what_is_too_young_stays() {
    let test = "compaction_gives_the_disk_its_room_back_and_what_is_too_young_stays";
    let Some(broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let young = configs(&[("min.compaction.lag.ms", "86400000")]);
    let young = client.create_topic_with("young", 1, &young);
    let topic = client.create_topic_with("old", 1, &configs(&[]));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_millis()).expect("a time");
    for number in 0..400_i64 {
        let young_record = Record {
            timestamp: now,
            ..Record::new(format!("{}", number % 3), "v".repeat(100))
        };
        let batch = RawBatch::of(&[young_record]).encode();
        assert_eq!(client.produce(&young, 0, &batch).error_code, 0);
    }
    append(&mut client, &topic, Codec::None, 0, 2000);
    wait_until_compacted(&broker, &topic, 2000, 150);
    wait_for("a smaller folder", || {
        (log_bytes(&broker, &topic) < 50_000).then_some(())
    });
    wait_for("old files that go", || {
        let names = files(&broker, &topic);
        (!names.iter().any(|name| name.ends_with(".deleted"))).then_some(())
    });
    wait_for("a pass that is counted", || {
        (broker.metric("klamm_compaction_passes_total") >= 1).then_some(())
    });
    assert!(broker.metric("klamm_compaction_records_removed_total") > 1500);
    let count = |records: Vec<ReadRecord>| records.len();
    assert_eq!(stored(&broker, &young).map(count), Some(400));
    // As soon as it is old enough, it goes.
    let changes = [("min.compaction.lag.ms", Change::Set("0"))];
    assert_eq!(client.change(RESOURCE_TOPIC, &young.name, &changes).0, 0);
    wait_for("a compacted log", || {
        stored(&broker, &young).filter(|records| records.len() < 60)
    });
}

#[test]
fn a_damaged_segment_ends_compaction_of_its_log_and_that_is_told() {
    let test = "a_damaged_segment_ends_compaction_of_its_log_and_that_is_told";
    let off = configs(&[("min.cleanable.dirty.ratio", "1")]);
    let Some(mut broker) = Broker::own(test, options()) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic_with("damaged", 1, &off);
    append(&mut client, &topic, Codec::None, 0, 600);
    broker.end(End::Stop);
    let path = folder(&broker, &topic).join(format!("{:020}.log", 0));
    let mut file = std::fs::File::options().write(true).open(&path);
    let file = file.as_mut().expect("the first segment");
    file.seek(SeekFrom::Start(1000)).expect("a place in it");
    file.write_all(&[0xaa; 8]).expect("written");
    broker.start_again();
    let from = broker.log_length();
    client = broker.client();
    let changes = [("min.cleanable.dirty.ratio", Change::Set("0"))];
    assert_eq!(client.change(RESOURCE_TOPIC, &topic.name, &changes).0, 0);
    broker.expect_log(
        from,
        &["ERROR", "is damaged at byte", "not compacted any more"],
    );
    wait_for("a metric that tells it", || {
        let name = "kafka_log_logcleanermanager_uncleanable_partitions_count";
        (broker.metric(name) == 1).then_some(())
    });
    // What can be read is served as before.
    let last = client.fetch(&topic, 0, 599);
    assert_eq!(last.error_code, 0);
    assert_eq!(
        records_of(&last.records).last().map(|one| one.offset),
        Some(599)
    );
}
