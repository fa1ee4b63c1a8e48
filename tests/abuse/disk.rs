//! Files of the data folder that were changed behind the broker's back, or that it cannot open.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Broker, Client, Options, RawBatch, Record, Topic, fetched, fetching, records_of, skipped,
    wait_for,
};
use klamm_wire::{ApiKey, fetch};

const BATCHES: i64 = 40;
const EPOCH: i64 = 1_700_000_000_000;
const KAFKA_STORAGE_ERROR: i16 = 56;

fn time_of(number: i64) -> i64 {
    EPOCH + number * 1000
}

/// A log of many small segments, and the folder that holds it.
fn filled(broker: &Broker) -> (Topic, PathBuf) {
    let mut client = broker.client();
    let configs = [
        ("internal.segment.bytes", "20000"),
        ("index.interval.bytes", "4096"),
    ];
    let topic = client.create_topic_with("rot", 1, &configs);
    for number in 0..BATCHES {
        let record = Record {
            timestamp: time_of(number),
            ..Record::new("key", "y".repeat(3000))
        };
        let batch = RawBatch::of(&[record]).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    let folder = broker.folder().join(format!("{}-0", topic.name));
    (topic, folder)
}

/// Files of the folder with this ending, in order.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the partition's folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    paths.sort();
    paths
}

/// Every record is read at its offset, and found by its time.
fn everything_is_found(client: &mut Client, topic: &Topic, case: &str) {
    for number in 0..BATCHES {
        let read = client.fetch(topic, 0, number);
        assert_eq!(read.error_code, 0, "{case}: read at {number}");
        let first = records_of(&read.records).first().map(|found| found.offset);
        assert_eq!(first, Some(number), "{case}: read at {number}");
        let listed = client.list_offset(topic, 0, time_of(number) - 500);
        assert_eq!(
            (listed.error_code, listed.offset, listed.timestamp),
            (0, number, time_of(number)),
            "{case}: time of {number}"
        );
    }
}

/// A harm by its name, and what it makes of a file: `None` removes it.
type Harm = (&'static str, fn(Vec<u8>) -> Option<Vec<u8>>);

const HARMS: [Harm; 6] = [
    ("removed", |_| None),
    ("emptied", |_| Some(Vec::new())),
    ("zeros", |_| Some(vec![0; 96])),
    ("noise", |_| Some(noise(96))),
    ("noise of no length", |_| Some(noise(101))),
    ("one bit", |mut bytes| {
        if let Some(byte) = bytes.get_mut(7) {
            *byte ^= 0x40;
        }
        Some(bytes)
    }),
];

fn noise(bytes: u32) -> Vec<u8> {
    let scatter = |at: u32| (at.wrapping_add(7).wrapping_mul(2_654_435_761) >> 13) as u8;
    (0..bytes).map(scatter).collect()
}

/// A59
#[test]
fn wrong_index_files_cost_no_answer() {
    let test = "wrong_index_files_cost_no_answer";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let (topic, folder) = filled(&broker);
    everything_is_found(&mut broker.client(), &topic, "as written");
    broker.stop();
    let right: Vec<(PathBuf, Vec<u8>)> = files(&folder, "index")
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("an index")))
        .collect();
    for (case, harm) in HARMS {
        for (path, bytes) in &right {
            match harm(bytes.clone()) {
                Some(bytes) => fs::write(path, bytes).expect("written"),
                None => fs::remove_file(path).expect("removed"),
            }
        }
        broker.start_again();
        everything_is_found(&mut broker.client(), &topic, case);
        if case != "one bit" {
            broker.expect_log(0, &["WARN", "indexes of segment", "were made anew"]);
        }
        let closed = &right[..right.len() - 2];
        wait_for("right indexes", || {
            // Nobody reads a time index but for its end, unless the other one is wrong, too.
            let is_right = |(path, bytes): &(PathBuf, Vec<u8>)| {
                let is_time = path.to_string_lossy().ends_with("timeindex");
                is_time || fs::read(path).unwrap_or_default() == *bytes
            };
            closed.iter().all(is_right).then_some(())
        });
        broker.stop();
    }
    broker.start_again();
    broker.is_healthy();
}

/// A60
#[test]
fn damage_that_a_read_finds_is_named_and_kept() {
    let test = "damage_that_a_read_finds_is_named_and_kept";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let (topic, folder) = filled(&broker);
    broker.stop();
    let segment = &files(&folder, ".log")[2];
    let first: i64 = segment
        .file_stem()
        .and_then(|name| name.to_str()?.parse().ok())
        .expect("a base offset");
    let mut bytes = fs::read(segment).expect("a segment");
    bytes[1000] ^= 1;
    fs::write(segment, &bytes).expect("written");
    broker.start_again();
    let mut client = broker.client();
    for _ in 0..3 {
        let read = client.fetch(&topic, 0, first);
        assert_eq!(
            (read.error_code, read.records.len()),
            (KAFKA_STORAGE_ERROR, 0)
        );
    }
    let quarantine = broker.folder().join("klamm/quarantine");
    let kept = quarantine.join(format!("{}-0", topic.name));
    let copies = wait_for("a copy", || {
        let found = kept.is_dir().then(|| files(&kept, ".damaged"));
        found.filter(|copies| !copies.is_empty())
    });
    broker.expect_log(0, &["damaged bytes", "are kept in klamm/quarantine"]);
    assert_eq!(copies.len(), 1, "one range, one copy: {copies:?}");
    let copy = fs::read(&copies[0]).expect("a copy");
    assert!(
        copy.len() > 3000 && bytes.starts_with(&copy),
        "the damaged batch"
    );
    assert_eq!(fs::read(segment).expect("there"), bytes, "left as it is");
    broker.is_healthy();
}

/// Sets how many files a process may have open from now on; false where that cannot be done.
fn limit_open_files(process: u32, limit: &str) -> bool {
    let limited = Command::new("prlimit")
        .args(["--pid", &process.to_string()])
        .arg(format!("--nofile={limit}:"))
        .status();
    limited.is_ok_and(|limited| limited.success())
}

#[test]
fn read_for_which_no_descriptor_is_left_waits_and_is_not_called_damage() {
    let test = "read_for_which_no_descriptor_is_left_waits_and_is_not_called_damage";
    let Some(mut broker) = Broker::own(test, Options::new()) else {
        return;
    };
    let (topic, _) = filled(&broker);
    // What was in memory is only in segments from here on.
    broker.stop();
    broker.start_again();
    let mut client = broker.client();
    let process = broker.process().expect("our own").id();
    if !limit_open_files(process, "3") {
        return skipped(test, "prlimit cannot set the limit of another process");
    }
    client.begin(&fetching(&topic, 0, 0), 12);
    broker.expect_log(0, &["WARN", "cannot open files of the log yet"]);
    assert!(limit_open_files(process, "4096"));
    let reply = client.finish::<fetch::Request<'_>>(ApiKey::Fetch, 12);
    assert_eq!(fetched(&reply.view())[0].error_code, 0);
    everything_is_found(&mut client, &topic, "afterwards");
    let said = broker.process().expect("our own").log.text();
    assert!(!said.contains("stored records cannot be served"), "{said}");
    broker.is_healthy();
}
