//! Partitions that go to another data folder (AlterReplicaLogDirs) while they are written and read:
//! nothing acknowledged is lost, wherever the broker dies, and nothing is left behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use klamm_wire::{alter_replica_log_dirs, describe_log_dirs};

use crate::harness::{Broker, Client, End, Options, RawBatch, Record, Topic, wait_for};

const FOLDERS: [&str; 2] = ["a", "b"];

/// A broker with two data folders, and where they lie.
fn broker(test: &str, class: &str) -> Option<(Broker, PathBuf)> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let root = folder.path().to_owned();
    let paths = FOLDERS.map(|name| root.join(name).display().to_string());
    let options = Options::new()
        .set("log.dirs", paths.join(","))
        .set("klamm.durability", class)
        .set("klamm.shards", 2);
    Some((Broker::own_on(test, folder, options)?, root))
}

/// Small segments: there are many of them, and the last one is never far from the end.
fn topic(client: &mut Client, name: &str) -> Topic {
    let configs = [
        ("internal.segment.bytes", "65536"),
        ("file.delete.delay.ms", "0"),
    ];
    client.create_topic_with(name, 1, &configs)
}

/// Asks for the partition to lie in a folder.
fn ask(client: &mut Client, root: &Path, topic: &Topic, to: &str) -> i16 {
    let asked = alter_replica_log_dirs::AlterReplicaLogDirTopic {
        name: topic.name.clone().into(),
        partitions: vec![0],
    };
    let request = alter_replica_log_dirs::Request {
        dirs: vec![alter_replica_log_dirs::AlterReplicaLogDir {
            path: root.join(to).display().to_string().into(),
            topics: vec![asked],
        }],
    };
    let reply = client.call(&request, 2);
    let view = reply.view();
    let found = view.results().iter().next().expect("one topic");
    let part = found.partitions().iter().next().expect("one partition");
    part.error_code()
}

/// Where the partition lies and where a copy of it grows: of each folder whether it is the copy, its
/// bytes, and how many records it lacks.
fn lies(client: &mut Client, topic: &Topic) -> BTreeMap<String, (bool, i64, i64)> {
    let request = describe_log_dirs::Request { topics: None };
    let reply = client.call(&request, 4);
    let mut found = BTreeMap::new();
    for result in reply.view().results() {
        let path = Path::new(result.log_dir());
        let name = path.file_name().expect("a name").to_str().expect("text");
        let topics = result.topics().iter();
        for one in topics.filter(|one| one.name() == topic.name) {
            for part in one.partitions() {
                let facts = (
                    part.is_future_key(),
                    part.partition_size(),
                    part.offset_lag(),
                );
                found.insert(name.to_owned(), facts);
            }
        }
    }
    found
}

fn wait_until_in(client: &mut Client, topic: &Topic, folder: &str) {
    wait_for(&format!("the partition in {folder}"), || {
        let found = lies(client, topic);
        let is_there = found.get(folder).is_some_and(|(is_copy, ..)| !is_copy);
        (is_there && found.len() == 1).then_some(())
    });
}

fn append(client: &mut Client, topic: &Topic, number: usize) -> i16 {
    let value = format!("{number} {}", "v".repeat(2_000));
    let batch = RawBatch::of(&[Record::new("key", &value)]).encode();
    client.produce(topic, 0, &batch).error_code
}

/// The numbers of all records, in their order.
fn numbers(client: &mut Client, topic: &Topic) -> Vec<usize> {
    let read = client.read_all(topic, 0).into_iter();
    let number = |value: Vec<u8>| {
        let text = String::from_utf8(value).expect("text");
        let (number, _) = text.split_once(' ').expect("a number");
        number.parse().expect("a number")
    };
    read.map(|one| number(one.record.value.expect("a value").to_vec()))
        .collect()
}

/// Folders of partitions in a data folder that are a copy, or put aside.
fn left_over(data: &Path) -> Vec<String> {
    let names = fs::read_dir(data).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().into_string().expect("a name"));
    let ends = ["-future", "-moved", "-delete"];
    names
        .filter(|name| ends.iter().any(|end| name.ends_with(end)))
        .collect()
}

fn wait_until_clean(root: &Path) {
    wait_for("nothing left behind", || {
        let mut left = FOLDERS.iter().flat_map(|name| left_over(&root.join(name)));
        left.next().is_none().then_some(())
    });
}

#[test]
fn a_partition_goes_to_another_folder_and_back_while_it_is_written_and_read() {
    let test = "a_partition_goes_to_another_folder_and_back_while_it_is_written_and_read";
    for class in ["flushed", "written"] {
        let Some((mut broker, root)) = broker(test, class) else {
            return;
        };
        let mut client = broker.client();
        let topic = topic(&mut client, "moving");
        for number in 0..300 {
            assert_eq!(append(&mut client, &topic, number), 0);
        }
        let is_done = AtomicBool::new(false);
        let written = thread::scope(|scope| {
            let (mut writer, mut reader) = (broker.client(), broker.client());
            let (topic, is_done) = (&topic, &is_done);
            // Whoever writes without end writes more than can be copied.
            let (portions, wanted) = mpsc::sync_channel(5);
            let writer = scope.spawn(move || {
                let mut next = 300;
                for portion in wanted {
                    for number in next..next + portion {
                        assert_eq!(append(&mut writer, topic, number), 0);
                    }
                    next += portion;
                }
                next
            });
            let reader = scope.spawn(move || {
                while !is_done.load(Ordering::Relaxed) {
                    let read = numbers(&mut reader, topic);
                    assert!(read.iter().copied().eq(0..read.len()), "in order, whole");
                }
            });
            let first = lies(&mut client, topic).into_keys().next();
            let first = first.expect("it lies somewhere");
            let other = if first == "a" { "b" } else { "a" };
            for to in [other, &first, other, &first, other] {
                portions.send(200).expect("a writer");
                assert_eq!(ask(&mut client, &root, topic, to), 0);
                wait_until_in(&mut client, topic, to);
            }
            // What is asked for again is so already.
            assert_eq!(ask(&mut client, &root, topic, other), 0);
            is_done.store(true, Ordering::Relaxed);
            drop(portions);
            reader.join().expect("reads");
            writer.join().expect("writes")
        });
        assert_eq!(written, 1_300);
        assert!(numbers(&mut client, &topic).into_iter().eq(0..written));
        wait_until_clean(&root);
        for end in End::BOTH {
            broker.end(end);
            broker.start_again();
            let mut client = broker.client();
            assert!(numbers(&mut client, &topic).into_iter().eq(0..written));
            assert_eq!(lies(&mut client, &topic).len(), 1);
        }
    }
}

#[test]
fn a_copy_is_told_apart_until_it_takes_the_place_and_another_wish_ends_it() {
    let test = "a_copy_is_told_apart_until_it_takes_the_place_and_another_wish_ends_it";
    let Some((broker, root)) = broker(test, "written") else {
        return;
    };
    let mut client = broker.client();
    let topic = client.create_topic("large", 1);
    let batch = RawBatch::of(&[Record::new("key", "v".repeat(900_000))]).encode();
    for _ in 0..150 {
        assert_eq!(client.produce(&topic, 0, &batch).error_code, 0);
    }
    let first = lies(&mut client, &topic).into_keys().next();
    let first = first.expect("it lies somewhere");
    let other = if first == "a" { "b" } else { "a" };
    assert_eq!(ask(&mut client, &root, &topic, other), 0);
    let copy = wait_for("a copy that grows", || {
        let found = lies(&mut client, &topic);
        let copy = found.get(other).copied();
        assert!(found.contains_key(&first) || copy.is_some_and(|(is_copy, ..)| !is_copy));
        copy
    });
    if let (true, bytes, lag) = copy {
        assert!(bytes < 150 * 900_000 && lag <= 150, "{copy:?}");
        // It is to stay after all.
        assert_eq!(ask(&mut client, &root, &topic, &first), 0);
        wait_until_in(&mut client, &topic, &first);
    }
    wait_until_clean(&root);
    assert_eq!(client.read_all(&topic, 0).len(), 150);
}

#[test]
fn a_broker_that_dies_while_a_partition_moves_has_it_whole_and_in_one_folder() {
    let test = "a_broker_that_dies_while_a_partition_moves_has_it_whole_and_in_one_folder";
    let Some((mut broker, root)) = broker(test, "written") else {
        return;
    };
    let mut client = broker.client();
    let topic = topic(&mut client, "dying");
    let mut written = 0;
    for round in 0..16 {
        let mut client = broker.client();
        for _ in 0..40 {
            assert_eq!(append(&mut client, &topic, written), 0);
            written += 1;
        }
        let here = lies(&mut client, &topic);
        assert_eq!(here.len(), 1, "{here:?}");
        let to = if here.contains_key("a") { "b" } else { "a" };
        assert_eq!(ask(&mut client, &root, &topic, to), 0);
        // It dies earlier or later in the move, or after it.
        for _ in 0..round * 2 {
            assert_eq!(append(&mut client, &topic, written), 0);
            written += 1;
        }
        broker.end(End::Kill);
        broker.start_again();
        let mut client = broker.client();
        assert!(numbers(&mut client, &topic).into_iter().eq(0..written));
        let name = format!("{}-0", topic.name);
        let roots = FOLDERS.map(|folder| root.join(folder).join(&name).exists());
        assert_eq!(roots.iter().filter(|there| **there).count(), 1, "{roots:?}");
    }
    wait_until_clean(&root);
}

#[test]
fn a_topic_that_is_deleted_while_it_moves_leaves_nothing_in_either_folder() {
    let test = "a_topic_that_is_deleted_while_it_moves_leaves_nothing_in_either_folder";
    let Some((mut broker, root)) = broker(test, "written") else {
        return;
    };
    for round in 0..8 {
        let mut client = broker.client();
        let topic = topic(&mut client, "deleted");
        for number in 0..100 {
            assert_eq!(append(&mut client, &topic, number), 0);
        }
        let here = lies(&mut client, &topic);
        let to = if here.contains_key("a") { "b" } else { "a" };
        assert_eq!(ask(&mut client, &root, &topic, to), 0);
        for number in 0..round {
            assert_eq!(append(&mut client, &topic, 100 + number), 0);
        }
        assert_eq!(client.delete_topic(&topic), 0);
        wait_for("both folders without it", || {
            let names = FOLDERS.iter().flat_map(|data| {
                let names = fs::read_dir(root.join(data)).expect("a folder").flatten();
                names.map(|entry| entry.file_name().into_string().expect("a name"))
            });
            let mut left = names.filter(|name| name.starts_with(&topic.name));
            left.next().is_none().then_some(())
        });
    }
    broker.end(End::Stop);
    broker.start_again();
    broker.is_healthy();
}
