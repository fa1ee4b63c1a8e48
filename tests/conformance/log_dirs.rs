//! Several data folders: where partitions go and are found again, and that no start comes up without
//! one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use klamm_wire::describe_log_dirs;
use serde_json::Value;

use crate::harness::configs::Change;
use crate::harness::{
    Broker, Client, DEADLINE, End, Options, Process, RawBatch, Record, Topic, wait_for,
};

const RESOURCE_TOPIC: i8 = 2;

/// Folders of one test, beside each other.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn named(root: &Path, names: &[&str]) -> Options {
    let paths: Vec<_> = names
        .iter()
        .map(|name| root.join(name).display().to_string())
        .collect();
    Options::new().set("log.dirs", paths.join(","))
}

/// A broker with these data folders, and where they lie.
fn broker(
    test: &str,
    names: &[&str],
    options: impl Fn(Options) -> Options,
) -> Option<(Broker, PathBuf)> {
    let folder = folder();
    let root = folder.path().to_owned();
    let options = options(named(&root, names));
    Some((Broker::own_on(test, folder, options)?, root))
}

/// Which data folder each partition lies in, by the last part of its path.
fn places(client: &mut Client, topic: &Topic) -> BTreeMap<i32, String> {
    let request = describe_log_dirs::Request { topics: None };
    let reply = client.call(&request, 4);
    let mut places = BTreeMap::new();
    for result in reply.view().results() {
        assert_eq!(result.error_code(), 0);
        let (total, usable) = (result.total_bytes(), result.usable_bytes());
        assert!(0 < usable && usable <= total, "{usable} of {total}");
        let path = Path::new(result.log_dir());
        assert!(path.is_absolute(), "{path:?}");
        let name = path.file_name().expect("a name").to_str().expect("text");
        let topics = result.topics().iter();
        for found in topics.filter(|found| found.name() == topic.name) {
            for part in found.partitions() {
                assert_eq!((part.offset_lag(), part.is_future_key()), (0, false));
                let before = places.insert(part.partition_index(), name.to_owned());
                assert_eq!(before, None, "it lies in one folder");
            }
        }
    }
    places
}

fn in_folder(places: &BTreeMap<i32, String>, folder: &str) -> Vec<i32> {
    let there = places.iter().filter(|(_, place)| *place == folder);
    there.map(|(&part, _)| part).collect()
}

fn append(client: &mut Client, topic: &Topic, part: i32, value: &str) -> i16 {
    let batch = RawBatch::of(&[Record::new("key", value)]).encode();
    client.produce(topic, part, &batch).error_code
}

fn fill(client: &mut Client, topic: &Topic, parts: i32) {
    for part in 0..parts {
        assert_eq!(append(client, topic, part, &format!("first of {part}")), 0);
    }
}

fn check(client: &mut Client, topic: &Topic, parts: i32, records: usize) {
    for part in 0..parts {
        let read = client.read_all(topic, part);
        assert_eq!(read.len(), records, "partition {part}");
        let first = format!("first of {part}");
        assert_eq!(read[0].record.value.as_deref(), Some(first.as_bytes()));
    }
}

/// Names of partitions' folders, put aside or not, that lie in a data folder.
fn partitions_in(data: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(data).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().into_string().expect("a name"));
    let is_ours = |name: &String| {
        name.contains('-') && !name.starts_with("__") && !name.contains("checkpoint")
    };
    names.filter(is_ours).collect()
}

/// A start that ends by itself; what it said.
fn refused(root: &Path, options: &Options) -> String {
    let mut process = Process::start(root, options);
    let status = process.end(DEADLINE);
    let text = process.log.text();
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

#[test]
fn partitions_are_spread_over_the_folders_and_found_again_however_the_broker_ended() {
    let test = "partitions_are_spread_over_the_folders_and_found_again_however_the_broker_ended";
    for class in ["flushed", "written"] {
        let options = |options: Options| {
            options
                .set("klamm.durability", class)
                .set("klamm.shards", 2)
        };
        let Some((mut broker, root)) = broker(test, &["a", "b"], options) else {
            return;
        };
        let mut client = broker.client();
        let topic = client.create_topic("spread", 6);
        fill(&mut client, &topic, 6);
        let before = places(&mut client, &topic);
        assert_eq!(in_folder(&before, "a").len(), 3, "{before:?}");
        assert_eq!(in_folder(&before, "b").len(), 3, "{before:?}");
        for end in End::BOTH {
            broker.end(end);
            broker.start_again();
            let mut client = broker.client();
            check(&mut client, &topic, 6, 1);
            // All of it is in segments now, each where it was told to be.
            for (part, place) in places(&mut client, &topic) {
                let path = root.join(&place).join(format!("{}-{part}", topic.name));
                assert!(path.join("partition.metadata").exists(), "{path:?}");
            }
        }
        let settled = places(&mut broker.client(), &topic);
        assert_eq!(in_folder(&settled, "a").len(), 3, "{settled:?}");
        // What keeps the metadata is found wherever it stands, and a new folder gets what is new.
        broker.end(End::Stop);
        let again = options(named(&root, &["c", "b", "a"]));
        broker.start_again_with(again);
        let mut client = broker.client();
        assert_eq!(places(&mut client, &topic), settled);
        for part in 0..6 {
            assert_eq!(append(&mut client, &topic, part, "second"), 0);
        }
        check(&mut client, &topic, 6, 2);
        let newer = client.create_topic("newer", 3);
        fill(&mut client, &newer, 3);
        let found = places(&mut client, &newer);
        assert_eq!(in_folder(&found, "c"), [0, 1, 2], "{found:?}");
        broker.end(End::Kill);
        broker.start_again();
        let mut client = broker.client();
        check(&mut client, &topic, 6, 2);
        check(&mut client, &newer, 3, 1);
        for data in ["b", "c"] {
            let own = root.join(data);
            assert!(own.join("meta.properties").exists());
            assert!(!own.join("__cluster_metadata-0").exists());
        }
    }
}

#[test]
fn a_start_without_a_folder_in_which_partitions_lie_is_refused_and_changes_nothing() {
    let test = "a_start_without_a_folder_in_which_partitions_lie_is_refused_and_changes_nothing";
    let Some((mut broker, root)) = broker(test, &["a", "b"], |options| options) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("kept", 4);
    fill(&mut client, &topic, 4);
    let before = places(&mut client, &topic);
    broker.end(End::Stop);
    let in_b = partitions_in(&root.join("b"));
    assert_eq!(in_b.len(), 2, "{in_b:?}");

    let text = refused(&root, &named(&root, &["a"]));
    let b = root.join("b").display().to_string();
    for part in [&b[..], "come up empty", "log.dirs does not name it"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A disk that is not mounted leaves an empty folder, or none.
    fs::rename(root.join("b"), root.join("unmounted")).expect("moved");
    for is_there in [false, true] {
        if is_there {
            fs::create_dir(root.join("b")).expect("made");
        }
        let text = refused(&root, &named(&root, &["a", "b"]));
        assert!(text.contains("mount its disk there again"), "{text}");
        assert_eq!(fs::read_dir(root.join("b")).map_or(0, Iterator::count), 0);
    }
    // Nor one without the metadata, nor a copy.
    let text = refused(&root, &named(&root, &["unmounted"]));
    assert!(
        text.contains("their metadata is in the folder with"),
        "{text}"
    );
    let text = refused(&root, &named(&root, &["b", "unmounted"]));
    assert!(text.contains("not mounted"), "{text}");
    let copied = Command::new("cp")
        .arg("-r")
        .args([root.join("unmounted"), root.join("copy")])
        .status();
    assert!(copied.expect("cp").success());
    let text = refused(&root, &named(&root, &["a", "unmounted", "copy"]));
    assert!(text.contains("copy of the other"), "{text}");
    // It is known by its id, wherever it is mounted.
    broker.start_again_with(named(&root, &["a", "unmounted"]));
    let mut client = broker.client();
    check(&mut client, &topic, 4, 1);
    let after = places(&mut client, &topic);
    assert_eq!(in_folder(&after, "a"), in_folder(&before, "a"));
    assert_eq!(in_folder(&after, "unmounted"), in_folder(&before, "b"));
    broker.end(End::Stop);
    // A partition that lies in two.
    let name = in_b.first().expect("one");
    fs::create_dir(root.join("a").join(name)).expect("made");
    let text = refused(&root, &named(&root, &["a", "unmounted"]));
    assert!(text.contains(name) && text.contains("lies in"), "{text}");
}

#[test]
fn the_records_of_a_lost_disk_are_given_up_only_where_that_is_said() {
    let test = "the_records_of_a_lost_disk_are_given_up_only_where_that_is_said";
    let Some((mut broker, root)) = broker(test, &["a", "b"], |options| options) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("half", 2);
    fill(&mut client, &topic, 2);
    let found = places(&mut client, &topic);
    broker.end(End::Stop);
    fs::remove_dir_all(root.join("b")).expect("lost");
    let text = refused(&root, &named(&root, &["a", "b"]));
    let list = root.join("a/klamm/log-dirs");
    assert!(text.contains(&list.display().to_string()), "{text}");
    let lines = fs::read_to_string(&list).expect("the list");
    let said = lines.lines().map(|line| match line.starts_with('#') {
        true => line.to_owned(),
        false => format!("lost {line}"),
    });
    fs::write(&list, said.collect::<Vec<_>>().join("\n")).expect("written");
    let (lost, kept) = (in_folder(&found, "b")[0], in_folder(&found, "a")[0]);
    broker.start_again();
    // What is lost is told, and its offsets are not given to others.
    let name = format!("{}-{lost}", topic.name);
    broker.expect_log(0, &[&name, "given up as lost"]);
    for records in 1..=2 {
        let mut client = broker.client();
        assert_eq!(client.read_all(&topic, kept).len(), records);
        let bounds = [-2, -1].map(|time| client.list_offset(&topic, lost, time).offset);
        assert_eq!(bounds, [1, records as i64]);
        assert_eq!(append(&mut client, &topic, kept, "goes on"), 0);
        assert_eq!(append(&mut client, &topic, lost, "goes on"), 0);
        // Once is enough: the next start finds nothing that is lost.
        broker.end(End::BOTH[records - 1]);
        broker.start_again();
    }
    assert_eq!(broker.client().read_all(&topic, lost).len(), 2);
}

#[test]
fn what_is_deleted_or_expires_leaves_the_second_folder_and_then_it_may_be_left_out() {
    let test = "what_is_deleted_or_expires_leaves_the_second_folder_and_then_it_may_be_left_out";
    let options = |options: Options| {
        options
            .unset("log.retention.ms")
            .set("log.retention.check.interval.ms", 50)
    };
    let Some((mut broker, root)) = broker(test, &["a", "b"], options) else {
        return;
    };
    let mut client = broker.client();
    let configs = [
        ("internal.segment.bytes", "4096"),
        ("file.delete.delay.ms", "0"),
        ("retention.ms", "-1"),
    ];
    let topic = client.create_topic_with("passing", 2, &configs);
    for part in 0..2 {
        for _ in 0..25 {
            assert_eq!(append(&mut client, &topic, part, &"v".repeat(300)), 0);
        }
    }
    let found = places(&mut client, &topic);
    let part = in_folder(&found, "b")[0];
    let folder = root.join("b").join(format!("{}-{part}", topic.name));
    let first = folder.join("00000000000000000000.log");
    wait_for("segments", || first.exists().then_some(()));
    let change = [("retention.bytes", Change::Set("4096"))];
    assert_eq!(client.change(RESOURCE_TOPIC, &topic.name, &change).0, 0);
    wait_for("retention", || {
        (!first.exists() && client.list_offset(&topic, part, -2).offset > 0).then_some(())
    });
    assert_eq!(client.list_offset(&topic, part, -1).offset, 25);
    let start = client.list_offset(&topic, part, -2).offset;
    assert_eq!(client.read_all(&topic, part).len() as i64, 25 - start);
    // A topic of the same name lies where there is room, and nothing of the old one comes back.
    assert_eq!(client.delete_topic(&topic), 0);
    wait_for("deletion", || {
        let left = partitions_in(&root.join("b"));
        left.is_empty().then_some(())
    });
    broker.end(End::Kill);
    broker.start_again();
    assert_eq!(partitions_in(&root.join("a")), BTreeSet::new());
    broker.end(End::Stop);
    broker.start_again_with(options(named(&root, &["a"])));
    broker.is_healthy();
}

#[test]
fn damage_in_the_second_folder_is_named_kept_and_not_served() {
    let test = "damage_in_the_second_folder_is_named_kept_and_not_served";
    let Some((mut broker, root)) = broker(test, &["a", "b"], |options| options) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("damaged", 2);
    fill(&mut client, &topic, 2);
    let found = places(&mut client, &topic);
    let (whole, broken) = (in_folder(&found, "a")[0], in_folder(&found, "b")[0]);
    broker.end(End::Stop);
    let name = format!("{}-{broken}", topic.name);
    let path = root.join("b").join(&name).join("00000000000000000000.log");
    let mut bytes = fs::read(&path).expect("a segment");
    bytes[70] ^= 1;
    fs::write(&path, bytes).expect("written");
    let verify = |data: &str| {
        let command = Command::new(env!("CARGO_BIN_EXE_klamm"))
            .args(["log", "verify", "--quiet", "--format", "json"])
            .arg(root.join(data))
            .output();
        let output = command.expect("the binary under test starts");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), told.contains(&name))
    };
    assert_eq!(verify("a"), (Some(0), false));
    assert_eq!(verify("b"), (Some(1), true));

    broker.start_again();
    let mut client = broker.client();
    assert_eq!(client.read_all(&topic, whole).len(), 1);
    assert_eq!(client.fetch(&topic, broken, 0).error_code, 56);
    let kept = root.join("a/klamm/quarantine").join(&name);
    wait_for("a copy of the damage", || {
        let copies = fs::read_dir(&kept).into_iter().flatten().count();
        (copies > 0).then_some(())
    });
    assert_eq!(append(&mut client, &topic, broken, "goes on"), 0);
    assert_eq!(client.fetch(&topic, broken, 1).error_code, 0);
}

#[test]
fn commands_tell_of_every_data_folder() {
    let test = "commands_tell_of_every_data_folder";
    let Some((broker, root)) = broker(test, &["a", "b"], |options| options) else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("told", 2);
    fill(&mut client, &topic, 2);
    let klamm = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_klamm"))
            .args(arguments)
            .output();
        let output = output.expect("the binary under test starts");
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        told
    };
    let paths = ["a", "b"].map(|data| root.join(data).display().to_string());
    let address = broker.address().to_string();
    let told = klamm(&["cluster", "--bootstrap", &address, "--format", "json"]);
    let folders = told["log_folders"].as_array().expect("a list");
    for path in &paths {
        assert!(
            folders.iter().any(|row| row["path"] == path.as_str()),
            "{told:#}"
        );
        let line = format!("kafka_log_logmanager_logdirectoryoffline{{logdirectory=\"{path}\"}} 0");
        assert!(broker.http("/metrics").1.contains(&line), "{line}");
    }
    let set = format!("log.dirs={}", paths.join(","));
    let told = klamm(&["doctor", "--set", &set, "--format", "json"]);
    let checks = told["checks"].as_array().expect("a list");
    for path in &paths {
        let of = |check: &&Value| {
            let found = check["found"].as_str().expect("text");
            check["knob"] == "free space" && found.starts_with(path)
        };
        assert_eq!(checks.iter().filter(of).count(), 1, "{path}");
    }
}
