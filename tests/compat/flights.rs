//! The flights through every pair of clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::clients::{CLIENTS, Foreign};
use crate::harness::{Broker, Codec, RawBatch, skipped};
use crate::install::{self, Installed, run};
use crate::is_full;

const PARTITIONS: i32 = 12;

/// The rows as a file of lines `tail number TAB JSON`.
pub(crate) fn rows() -> Installed {
    static ROWS: OnceLock<Installed> = OnceLock::new();
    let make = || -> Installed {
        let limit = if is_full() { 0 } else { 5000 };
        let python = install::python()?;
        let mut command = Command::new(python);
        command
            .arg(install::sources().join("python/rows.py"))
            .arg(limit.to_string());
        let written = run(&mut command, None, Duration::from_secs(120))?;
        let path = install::cache().join(format!("flights-{limit}.tsv"));
        std::fs::write(&path, written.stdout).map_err(|error| error.to_string())?;
        Ok(path)
    };
    ROWS.get_or_init(make).clone()
}

fn limit() -> Duration {
    Duration::from_secs(if is_full() { 1200 } else { 120 })
}

/// Values of each key in their order. Rows without a key go anywhere, so theirs is not kept.
fn by_key(lines: &[u8]) -> BTreeMap<&[u8], Vec<&[u8]>> {
    let mut found: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for line in lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let tab = line
            .iter()
            .position(|&byte| byte == b'\t')
            .expect("a key and a value");
        found
            .entry(&line[..tab])
            .or_default()
            .push(&line[tab + 1..]);
    }
    if let Some(keyless) = found.get_mut(&b""[..]) {
        keyless.sort_unstable();
    }
    found
}

fn check_same(found: &[u8], expected: &[u8], what: &str) {
    let (found, expected) = (by_key(found), by_key(expected));
    let count = |rows: &BTreeMap<&[u8], Vec<&[u8]>>| rows.values().map(Vec::len).sum::<usize>();
    assert_eq!(count(&found), count(&expected), "rows of {what}");
    for (key, expected) in &expected {
        let shown = String::from_utf8_lossy(key);
        let found = found
            .get(key)
            .unwrap_or_else(|| panic!("{what}: no rows of {shown}"));
        assert!(
            found == expected,
            "{what}: rows of {shown} have changed or moved"
        );
    }
}

/// The rows written by a client in several codecs, each read by another client.
fn check(test: &str, name: &str) {
    let number = CLIENTS
        .iter()
        .position(|client| client.name == name)
        .expect("a client");
    let writer = &CLIENTS[number];
    let (installed, rows) = match ((writer.install)(), rows()) {
        (Ok(installed), Ok(rows)) => (installed, rows),
        (Err(missing), _) | (_, Err(missing)) => return skipped(test, &one_line(&missing)),
    };
    let readers = readers(number);
    if readers.is_empty() {
        return skipped(test, "no other client is here to read");
    }
    let broker = Broker::start();
    let address = broker.address().to_string();
    let codecs = writer.codecs.iter().cycle().skip(2 * number);
    let codecs = codecs.take(if is_full() { writer.codecs.len() } else { 2 });
    let expected = std::fs::read(&rows).expect("just written");
    for (codec, (reader, reads)) in codecs.zip(readers.iter().cycle()) {
        let topic = broker.client().create_topic("flights", PARTITIONS);
        let what = format!("{} in {codec}, read by {}", writer.name, reader.name);
        let begun = Instant::now();
        let mut write = writer.writer(&installed, &address, &topic.name, codec);
        run_or_panic(&mut write, Some(&rows), &what);
        let written = begun.elapsed();
        let mut read = reader.reader(reads, &address, &topic.name);
        let found = run_or_panic(&mut read, None, &what);
        let read = begun.elapsed() - written;
        check_same(&found, &expected, &what);
        let lines = expected.iter().filter(|&&byte| byte == b'\n').count();
        eprintln!("{what}: {lines} rows, written in {written:.1?}, read in {read:.1?}");
    }
}

/// The other clients that are here, from the next one on.
fn readers(number: usize) -> Vec<(&'static Foreign, PathBuf)> {
    let others = CLIENTS
        .iter()
        .cycle()
        .skip(number + 1)
        .take(CLIENTS.len() - 1);
    let others = others.filter(|client| client.reads);
    others
        .filter_map(|client| Some((client, (client.install)().ok()?)))
        .collect()
}

fn run_or_panic(command: &mut Command, input: Option<&Path>, what: &str) -> Vec<u8> {
    match run(command, input, limit()) {
        Ok(output) => output.stdout,
        Err(reason) => panic!("{what}: {reason}"),
    }
}

/// The first line of a reason, for the line that says why a test is skipped.
pub(crate) fn one_line(reason: &str) -> String {
    reason
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn rows_of_kcat_are_read_by_others() {
    check("rows_of_kcat_are_read_by_others", "kcat");
}

#[test]
fn rows_of_confluent_kafka_are_read_by_others() {
    check(
        "rows_of_confluent_kafka_are_read_by_others",
        "confluent-kafka",
    );
}

#[test]
fn rows_of_kafka_python_are_read_by_others() {
    check("rows_of_kafka_python_are_read_by_others", "kafka-python");
}

#[test]
fn rows_of_aiokafka_are_read_by_others() {
    check("rows_of_aiokafka_are_read_by_others", "aiokafka");
}

#[test]
fn rows_of_kafkajs_are_read_by_others() {
    check("rows_of_kafkajs_are_read_by_others", "KafkaJS");
}

#[test]
fn rows_of_rust_rdkafka_are_read_by_others() {
    check("rows_of_rust_rdkafka_are_read_by_others", "rust-rdkafka");
}

#[test]
fn rows_of_apache_kafka_s_client_are_read_by_others() {
    check(
        "rows_of_apache_kafka_s_client_are_read_by_others",
        "Apache Kafka's",
    );
}

#[test]
fn rows_of_franz_go_are_read_by_others() {
    check("rows_of_franz_go_are_read_by_others", "franz-go");
}

/// The comparison itself: a lost, changed or moved row is seen.
#[test]
fn rows_that_are_lost_changed_or_moved_are_seen() {
    let expected = b"a\t1\nb\t2\na\t3\n\tx\n\ty\n";
    check_same(
        b"\ty\nb\t2\na\t1\n\tx\na\t3\n",
        expected,
        "rows in another order of keys",
    );
    for bad in [
        &b"a\t1\nb\t2\n\tx\n\ty\n"[..],
        b"a\t1\nb\t2\na\t4\n\tx\n\ty\n",
        b"a\t3\nb\t2\na\t1\n\tx\n\ty\n",
        b"a\t1\nb\t2\na\t3\na\t3\n\tx\n\ty\n",
    ] {
        let seen = std::panic::catch_unwind(|| check_same(bad, expected, "bad rows"));
        assert!(seen.is_err(), "{}", String::from_utf8_lossy(bad));
    }
}

/// What foreign clients write is what our own decoder reads, in each codec.
#[test]
fn batches_of_foreign_compressors_are_sound() {
    let test = "batches_of_foreign_compressors_are_sound";
    let installed = match install::kcat() {
        Ok(installed) => installed,
        Err(missing) => return skipped(test, &one_line(&missing)),
    };
    let broker = Broker::start();
    let folder = tempfile::tempdir().expect("a folder");
    let lines: String = (0..500)
        .map(|n| format!("k{}\tvalue {n}\n", n % 7))
        .collect();
    let input = folder.path().join("lines");
    std::fs::write(&input, &lines).expect("writes");
    let kcat = CLIENTS
        .iter()
        .find(|client| client.name == "kcat")
        .expect("kcat");
    for codec in kcat.codecs {
        let mut client = broker.client();
        let topic = client.create_topic("sound", 1);
        let address = broker.address().to_string();
        let mut write = kcat.writer(&installed, &address, &topic.name, codec);
        run_or_panic(&mut write, Some(&input), codec);
        let values = client.read_all(&topic, 0).into_iter().map(|read| {
            let text =
                |bytes: Option<Vec<u8>>| String::from_utf8(bytes.expect("there")).expect("text");
            format!("{}\t{}\n", text(read.record.key), text(read.record.value))
        });
        assert_eq!(values.collect::<String>(), lines, "{codec}");
    }
    // And the other way round: kcat reads what the harness writes.
    for codec in Codec::ALL {
        let mut client = broker.client();
        let topic = client.create_topic("ours", 1);
        let records: Vec<_> = (0..100)
            .map(|n| crate::harness::Record::new(format!("k{n}"), format!("value {n}")))
            .collect();
        let batch = RawBatch::compressed(&records, codec).encode();
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
        let mut read = kcat.reader(&installed, &broker.address().to_string(), &topic.name);
        let found = run_or_panic(&mut read, None, "kcat");
        let expected: String = (0..100).map(|n| format!("k{n}\tvalue {n}\n")).collect();
        assert_eq!(String::from_utf8_lossy(&found), expected, "{codec:?}");
    }
}
