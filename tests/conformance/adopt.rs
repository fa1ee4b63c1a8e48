//! Folders that Apache Kafka 4.3.1 wrote: never touched by a start, taken over by `klamm adopt`.
//! `kafka-folder` holds one: records deleted in front, one segment a record, every codec, a topic
//! that was compacted and one that was deleted, configurations, stopped well.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Broker, DEADLINE, Options, Process};

const KLAMM: &str = env!("CARGO_BIN_EXE_klamm");

fn empty_folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// Kafka's folder, to be changed at will.
fn kafka_folder() -> tempfile::TempDir {
    let folder = empty_folder();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/kafka-folder");
    copy(&source, folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("a copy")),
        }
    }
}

/// Every file with its bytes, but for the lock.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else if !path.ends_with(".lock") {
                all.insert(path.clone(), fs::read(path).expect("a file"));
            }
        }
    }
    all
}

fn adopt(arguments: &[&Path]) -> Output {
    let mut command = Command::new(KLAMM);
    command.arg("adopt").args(arguments);
    command.output().expect("the binary under test starts")
}

fn words(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(both).expect("text")
}

/// What a consumer is given of one topic.
fn consumed(broker: &Broker, topic: &str, records: usize) -> Vec<String> {
    let output = Command::new(KLAMM)
        .args(["consume", topic, "--from", "beginning", "-q", "-n"])
        .arg(records.to_string())
        .env("KLAMM_BOOTSTRAP", broker.address().to_string())
        .output()
        .expect("the binary under test starts");
    assert!(output.status.success(), "{}", words(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn check_served(test: &str, folder: tempfile::TempDir) {
    let Some(broker) = Broker::own_on(test, folder, Options::new()) else {
        return;
    };
    let mut plain = consumed(&broker, "plain", 193);
    plain.sort_by_key(|line| {
        line.strip_prefix("value ")
            .and_then(|n| n.parse::<u32>().ok())
    });
    assert_eq!(plain.len(), 193);
    assert_eq!(plain.last().map(String::as_str), Some("value 200"));
    let lines: Vec<_> = (1..=6).map(|n| format!("line {n}")).collect();
    assert_eq!(consumed(&broker, "segments", 6), lines);
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let found = consumed(&broker, &format!("codec-{codec}"), 50);
        let expected: Vec<_> = (1..=50)
            .map(|n| {
                format!("codec {codec} line {n} of fifty, which compresses well well well well")
            })
            .collect();
        assert_eq!(found, expected);
    }
    // Kafka's cleaner left the latest record of each key, and holes.
    let mut latest = consumed(&broker, "compacted", 13);
    latest.sort();
    let mut expected: Vec<_> = (1..=5).map(|key| format!("value 8 of {key}")).collect();
    expected.splice(0..0, std::iter::repeat_n("only".to_owned(), 8));
    assert_eq!(latest, expected);
    let described = Command::new(KLAMM)
        .args(["topic", "describe", "plain"])
        .env("KLAMM_BOOTSTRAP", broker.address().to_string())
        .output()
        .expect("the binary under test starts");
    let described = words(&described);
    // The id that Kafka gave, its configuration, and the start that DeleteRecords moved.
    for part in ["gVc8HOWbS0O10bZgWktwfw", "retention.ms = -1"] {
        assert!(
            described.contains(part),
            "{part} is missing in:\n{described}"
        );
    }
    let row = described
        .lines()
        .find(|line| line.trim_start().starts_with("0 "));
    let cells: Vec<_> = row.expect("partition 0").split_whitespace().collect();
    assert_eq!(cells[5..7], ["7", "101"], "{described}");
}

/// A start refuses the folder, and changes nothing of it.
fn check_not_touched(folder: &Path) {
    let before = content(folder);
    let mut process = Process::start(folder, &Options::new());
    let status = process.end(DEADLINE);
    let text = process.log.text();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("is Apache Kafka's"), "{text}");
    assert!(text.contains("klamm adopt"), "{text}");
    assert_eq!(content(folder), before);
}

#[test]
fn no_folder_of_kafka_is_touched_by_a_start_whatever_is_missing_in_it() {
    check_not_touched(kafka_folder().path());
    // A further disk, or one whose metadata lies elsewhere.
    let further = kafka_folder();
    fs::remove_dir_all(further.path().join("__cluster_metadata-0")).expect("removed");
    check_not_touched(further.path());
    let nameless = kafka_folder();
    fs::remove_file(nameless.path().join("meta.properties")).expect("removed");
    check_not_touched(nameless.path());
    // A takeover that died before it left its mark.
    let begun = kafka_folder();
    fs::create_dir(begun.path().join("klamm")).expect("a folder");
    check_not_touched(begun.path());
    let output = adopt(&[begun.path(), Path::new("--in-place")]);
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn records_that_are_missing_end_a_takeover_before_anything_is_changed() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 5] = [
        (
            |folder| fs::remove_dir_all(folder.join("plain-1")).expect("removed"),
            "--allow-missing",
        ),
        (
            |folder| {
                let last = folder.join("segments-0/00000000000000000005.log");
                fs::remove_file(last).expect("removed");
            },
            "records are missing",
        ),
        (
            |folder| {
                let starts = folder.join("log-start-offset-checkpoint");
                fs::write(starts, "0\n1\nplain 0 500\n").expect("written");
            },
            "records are missing",
        ),
        (
            |folder| {
                let snapshot = "__cluster_metadata-0/00000000000000000099-0000000001.checkpoint";
                fs::write(folder.join(snapshot), "").expect("written");
            },
            "footer",
        ),
        (
            |folder| {
                let path = folder.join("codec-gzip-0/00000000000000000000.log");
                let mut bytes = fs::read(&path).expect("a segment");
                bytes[200] ^= 1;
                fs::write(path, bytes).expect("written");
            },
            "damaged at byte 0",
        ),
    ];
    for (harm, part) in harms {
        let folder = kafka_folder();
        harm(folder.path());
        let before = content(folder.path());
        let into = empty_folder();
        for target in [
            &[Path::new("--in-place")][..],
            &[Path::new("--into"), into.path()],
        ] {
            let arguments = [&[folder.path()], target].concat();
            let output = adopt(&arguments);
            assert_eq!(output.status.code(), Some(1));
            assert!(words(&output).contains(part), "{}", words(&output));
            assert_eq!(content(folder.path()), before, "{part}");
        }
    }
}

#[test]
fn an_interrupted_takeover_is_gone_on_with_by_its_own_command_only() {
    let (first, second, into) = (kafka_folder(), kafka_folder(), empty_folder());
    fs::create_dir_all(into.path().join("klamm")).expect("a folder");
    let mark = format!(
        "taken over from Apache Kafka\nas a copy\nof {}\n",
        first.path().display()
    );
    fs::write(into.path().join("klamm/takeover"), mark).expect("a mark");
    // What it had copied already may be of another time.
    copy(&first.path().join("plain-0"), &into.path().join("plain-0"));
    fs::write(into.path().join("plain-0/00000000000000000101.log"), "").expect("a segment");
    let other = adopt(&[second.path(), Path::new("--into"), into.path()]);
    assert_eq!(other.status.code(), Some(1));
    assert!(
        words(&other).contains("run that command again"),
        "{}",
        words(&other)
    );
    let own = adopt(&[first.path(), Path::new("--into"), into.path()]);
    assert!(own.status.success(), "{}", words(&own));
    check_served(
        "an_interrupted_takeover_is_gone_on_with_by_its_own_command_only",
        into,
    );
}

#[test]
fn a_copy_serves_what_kafka_had_and_leaves_kafkas_folder_as_it_was() {
    let folder = kafka_folder();
    let before = content(folder.path());
    let into = empty_folder();
    let output = adopt(&[folder.path(), Path::new("--into"), into.path()]);
    let text = words(&output);
    assert!(output.status.success(), "{text}");
    for part in [
        "7 topics, 8 partitions, 448 offsets",
        "left behind: folder doomed-0.",
        "have no records: Kafka's compaction removed them",
        "node.id=1",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert_eq!(content(folder.path()), before);
    // A second takeover would write over what was appended since.
    let again = adopt(&[folder.path(), Path::new("--into"), into.path()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(words(&again).contains("expected a new or empty folder"));
    check_served(
        "a_copy_serves_what_kafka_had_and_leaves_kafkas_folder_as_it_was",
        into,
    );
}

#[test]
fn a_takeover_in_place_that_was_interrupted_is_refused_by_a_start_and_done_by_the_next() {
    let folder = kafka_folder();
    // As it stands when the process died behind the move of Kafka's metadata.
    let kept = folder.path().join("klamm/kafka");
    fs::create_dir_all(&kept).expect("a folder");
    let mark = "taken over from Apache Kafka\nin place\n";
    fs::write(folder.path().join("klamm/takeover"), mark).expect("a file");
    let metadata = folder.path().join("__cluster_metadata-0");
    fs::rename(&metadata, kept.join("__cluster_metadata-0")).expect("moved");
    fs::create_dir(&metadata).expect("a folder");
    fs::write(metadata.join("00000000000000000000.log"), "half").expect("a file");
    let mut process = Process::start(folder.path(), &Options::new());
    assert_eq!(process.end(DEADLINE).code(), Some(1));
    let text = process.log.text();
    assert!(text.contains("run the same klamm adopt again"), "{text}");

    let output = adopt(&[folder.path(), Path::new("--in-place")]);
    assert!(output.status.success(), "{}", words(&output));
    let again = adopt(&[folder.path(), Path::new("--in-place")]);
    assert!(
        words(&again).contains("klamm's already"),
        "{}",
        words(&again)
    );
    check_served(
        "a_takeover_in_place_that_was_interrupted_is_refused_by_a_start_and_done_by_the_next",
        folder,
    );
}

#[test]
fn damage_and_a_kafka_that_did_not_stop_well_are_named_and_not_taken_over() {
    let into = empty_folder();
    let running = kafka_folder();
    fs::remove_file(running.path().join(".kafka_cleanshutdown")).expect("removed");
    let output = adopt(&[running.path(), Path::new("--into"), into.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words(&output).contains("kafka-server-stop.sh"),
        "{}",
        words(&output)
    );

    let damaged = kafka_folder();
    let path = damaged.path().join("segments-0/00000000000000000002.log");
    let mut bytes = fs::read(&path).expect("a segment");
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let output = adopt(&[damaged.path(), Path::new("--into"), into.path()]);
    assert_eq!(output.status.code(), Some(1));
    let text = words(&output);
    assert!(
        text.contains("segments-0/00000000000000000002.log"),
        "{text}"
    );
    // Found before anything was copied.
    assert!(content(into.path()).is_empty());
}
