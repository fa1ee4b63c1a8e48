//! `klamm log`: what it says of the files of a broker that was stopped, whole and damaged.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{Broker, Options, RawBatch, Record, Topic};

fn log(arguments: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_klamm"))
        .arg("log")
        .args(arguments)
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("the binary under test starts")
}

/// The exit code and the document of a verification.
fn verified(path: &Path) -> (Option<i32>, Value) {
    let output = log(&["verify", "--quiet", "--format", "json"], path);
    let err = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{error}: {err}"));
    (output.status.code(), document)
}

/// A stopped broker with a topic of 200 batches of 10 records, in one partition.
fn stopped(test: &str) -> Option<(Broker, Topic)> {
    let mut broker = Broker::own(test, Options::new())?;
    let mut client = broker.client();
    let topic = client.create_topic("kept", 1);
    for number in 0..200 {
        let value = format!("{number:0200}");
        let records: Vec<Record> = (0..10).map(|_| Record::new("key", &value)).collect();
        let batch = RawBatch::of(&records).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    drop(client);
    broker.stop();
    Some((broker, topic))
}

fn segment(broker: &Broker, topic: &Topic, suffix: &str) -> PathBuf {
    let folder = broker.folder().join(format!("{}-0", topic.name));
    folder.join(format!("{:020}.{suffix}", 0))
}

/// The places of damage that a verification names: file and byte.
fn places(document: &Value) -> Vec<(String, u64)> {
    let damage = document["damage"].as_array().expect("a list");
    let place = |row: &Value| {
        let file = row["file"].as_str().expect("a path");
        let name = Path::new(file).file_name().expect("a name");
        let position = row["position"].as_u64().expect("a byte");
        (name.to_string_lossy().into_owned(), position)
    };
    damage.iter().map(place).collect()
}

#[test]
fn a_folder_that_a_broker_left_is_whole() {
    let Some((broker, topic)) = stopped("a_folder_that_a_broker_left_is_whole") else {
        return;
    };
    let (code, document) = verified(broker.folder());
    assert_eq!((code, places(&document)), (Some(0), vec![]), "{document:#}");
    // The topic's partition and that of the metadata; the batches lie in the write-ahead log, too.
    assert_eq!(document["partitions"], 2);
    assert!(document["batches"].as_u64() >= Some(200), "{document:#}");
    assert!(
        document["write_ahead_files"].as_u64() >= Some(1),
        "{document:#}"
    );
    let text = log(&["verify", "--quiet"], broker.folder());
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.ends_with(": no damage\n"), "{text}");

    let dump = log(
        &["dump", "--format", "json"],
        &segment(&broker, &topic, "log"),
    );
    let lines: Vec<Value> = String::from_utf8(dump.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a document"))
        .collect();
    assert_eq!(lines.len(), 200);
    assert_eq!(
        (&lines[3]["base_offset"], &lines[3]["last_offset"]),
        (&30.into(), &39.into())
    );
    assert_eq!(
        (&lines[3]["records"], &lines[3]["checksum_ok"]),
        (&10.into(), &true.into())
    );
    let records = log(
        &["dump", "--records", "--format", "json"],
        &segment(&broker, &topic, "log"),
    );
    let records = String::from_utf8(records.stdout).expect("text");
    assert_eq!(records.lines().count(), 200 + 2000);
    assert!(records.contains("\"key\":\"key\""));
    let index = log(&["dump"], &segment(&broker, &topic, "index"));
    assert_eq!(index.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&index.stdout).contains("of the log"));
}

#[test]
fn a_turned_bit_in_a_segment_is_named_by_file_and_byte() {
    let Some((broker, topic)) = stopped("a_turned_bit_in_a_segment_is_named_by_file_and_byte")
    else {
        return;
    };
    let path = segment(&broker, &topic, "log");
    let mut bytes = std::fs::read(&path).expect("readable");
    let size = bytes.len() / 200;
    bytes[size * 7 + 100] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");
    let (code, document) = verified(broker.folder());
    let name = path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let at = (name.clone(), size as u64 * 7);
    assert_eq!(
        (code, places(&document)),
        (Some(1), vec![at]),
        "{document:#}"
    );
    let dump = log(&["dump"], &path);
    assert_eq!(dump.status.code(), Some(1));
    let text = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(
        text.contains("WRONG CHECKSUM") && text.contains("DAMAGED"),
        "{text}"
    );
    // Cut within a batch: what is there of it is named as well.
    bytes.truncate(size * 9 + 10);
    std::fs::write(&path, &bytes).expect("writable");
    let (code, document) = verified(&path);
    assert_eq!(code, Some(1));
    assert_eq!(
        places(&document)[1],
        (name, size as u64 * 9),
        "{document:#}"
    );
}

#[test]
fn an_index_that_leads_astray_and_a_damaged_write_ahead_file_are_named() {
    let test = "an_index_that_leads_astray_and_a_damaged_write_ahead_file_are_named";
    let Some((broker, topic)) = stopped(test) else {
        return;
    };
    let path = segment(&broker, &topic, "index");
    let mut bytes = std::fs::read(&path).expect("readable");
    assert!(bytes.len() >= 16, "{} bytes", bytes.len());
    // The position of the second entry.
    bytes[15] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");
    let (code, document) = verified(broker.folder());
    let name = path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert_eq!(
        (code, places(&document)),
        (Some(1), vec![(name, 8)]),
        "{document:#}"
    );
    bytes[15] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");

    let mut found = Vec::new();
    for shard in 0..64 {
        let folder = broker.folder().join(format!("klamm/wal-{shard}"));
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        found.extend(entries.map(|entry| entry.expect("readable").path()));
    }
    let holds = |bytes: &[u8]| bytes.windows(200).position(|part| part == [b'0'; 200]);
    let wal = found.into_iter().find_map(|path| {
        let bytes = std::fs::read(&path).expect("readable");
        Some((holds(&bytes)?, path, bytes))
    });
    let (at, path, mut bytes) = wal.expect("the first batch lies in a write-ahead file");
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).expect("writable");
    let (code, document) = verified(broker.folder());
    assert_eq!(code, Some(1), "{document:#}");
    let [(name, position)] = &places(&document)[..] else {
        panic!("{document:#}");
    };
    assert!(
        name.ends_with(".wal") && *position < at as u64,
        "{name} {position}"
    );
}

#[test]
fn what_holds_no_log_is_refused_with_what_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = log(&["verify"], folder.path());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("log.dirs"), "{text}");
}
