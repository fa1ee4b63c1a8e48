//! A disk that fills up (L10): producers get an error that they retry, nobody else notices, and all
//! goes on when there is room again. On file systems in memory, each a disk of its own.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::groups;
use crate::harness::{Broker, Client, Options, Process, Random, skipped, wait_for};
use crate::machine::Kept;

/// Kafka's code for a disk that takes nothing now: clients try again.
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const KAFKA_STORAGE_ERROR: i16 = 56;

/// Size of the disks.
const MEGABYTES: u32 = 96;

/// Who is refused for so long finds the disk full: what was reserved for a moment is given back.
const REFUSED_FOR: Duration = Duration::from_millis(1500);

/// Bytes of a record.
const VALUE_BYTES: usize = 200_000;

const NEARLY_FULL: &str = "the disk is nearly full: producers are refused";
const ROOM_AGAIN: &str = "the disk has room again: producers are served";

/// A small file system of its own, in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={MEGABYTES}m"), "tmpfs"])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|mounted| mounted.status.success())
            .then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file of another program, of this many bytes or as many as there are.
    fn ballast(&self, bytes: usize) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).expect("a name");
        let piece = vec![1; 64 << 10];
        let mut left = bytes;
        while left > 0 && file.write_all(&piece[..left.min(piece.len())]).is_ok() {
            left = left.saturating_sub(piece.len());
        }
        path
    }

    fn options(&self, durability: &str) -> Options {
        Options::new()
            .set("log.dirs", self.path().join("data").display())
            .set("klamm.durability", durability)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the broker is dropped later if a test failed.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        drop(unmounted);
    }
}

/// Appends until the broker refuses, and goes on refusing who tries again; gives its answer.
fn fill(client: &mut Client, kept: &mut Kept, random: &mut Random) -> i16 {
    let before = kept.values.len();
    let mut refused_since: Option<Instant> = None;
    loop {
        let (code, _) = kept.append(client, random.bytes(VALUE_BYTES));
        if code == 0 {
            refused_since = None;
        } else if refused_since.get_or_insert_with(Instant::now).elapsed() > REFUSED_FOR {
            return code;
        }
        let appended = kept.values.len() - before;
        assert!(appended < 1000, "the disk is never full");
    }
}

/// Waits until a producer who tries again is served.
fn served_again(client: &mut Client, kept: &mut Kept) {
    wait_for("room", || {
        let (code, _) = kept.append(client, b"at last".to_vec());
        assert!([0, KAFKA_STORAGE_ERROR].contains(&code), "{code}");
        (code == 0).then_some(())
    });
}

fn said(broker: &Broker) -> String {
    broker.process().expect("our own").log.text()
}

/// Topics come and go, records are read, and groups say how far they are.
fn all_but_producers_are_served(client: &mut Client, kept: &Kept) {
    for number in 0..20 {
        let topic = client.create_topic(&format!("passing-{number}"), 3);
        assert_eq!(client.delete_topic(&topic), 0);
    }
    kept.check(client);
    client.init_producer_id();
    let group = groups::group(client, "reading");
    let mut kept_offset = -1;
    for offset in 0..50 {
        // Half of the reserve is not for groups: then they are told to come again.
        let code = groups::commit(client, &group, &kept.topic, offset, 9);
        assert!([0, COORDINATOR_NOT_AVAILABLE].contains(&code), "{code}");
        if code == 0 {
            kept_offset = offset;
        }
        assert_eq!(groups::fetch(client, &group, &kept.topic, 9).1, kept_offset);
    }
}

#[test]
fn full_disk_refuses_producers_and_nobody_else_until_there_is_room_again() {
    let test = "full_disk_refuses_producers_and_nobody_else_until_there_is_room_again";
    for durability in ["flushed", "written"] {
        let Some(disk) = SmallDisk::mount() else {
            return skipped(test, "this user may not mount a file system");
        };
        let ballast = disk.ballast(32 << 20);
        let Some(mut broker) = Broker::own(test, disk.options(durability)) else {
            return;
        };
        let mut client = broker.client();
        let mut random = Random::new(9);
        let mut large = Kept::new(client.create_topic("large", 1));
        for _ in 0..50 {
            assert_eq!(large.append(&mut client, random.bytes(VALUE_BYTES)).0, 0);
        }
        let mut kept = Kept::new(client.create_topic("filling", 1));
        assert_eq!(
            fill(&mut client, &mut kept, &mut random),
            KAFKA_STORAGE_ERROR
        );
        all_but_producers_are_served(&mut client, &kept);
        let (status, metrics) = broker.http("/metrics");
        assert_eq!(status, 200);
        let refusing = "klamm_shards_refusing_for_space 0";
        assert!(!metrics.contains(refusing), "{metrics}");
        assert!(said(&broker).contains(NEARLY_FULL));

        // Another program gives its room back.
        fs::remove_file(ballast).expect("it is there");
        served_again(&mut client, &mut kept);
        wait_for("word of it", || {
            said(&broker).contains(ROOM_AGAIN).then_some(())
        });
        assert_eq!(
            fill(&mut client, &mut kept, &mut random),
            KAFKA_STORAGE_ERROR
        );

        // It dies, and starts on the full disk.
        broker.kill();
        broker.start_again();
        let mut client = broker.client();
        kept.check(&mut client);
        assert_eq!(
            fill(&mut client, &mut kept, &mut random),
            KAFKA_STORAGE_ERROR
        );
        all_but_producers_are_served(&mut client, &kept);

        // What is deleted makes room.
        assert_eq!(client.delete_topic(&large.topic), 0);
        served_again(&mut client, &mut kept);
        fill(&mut client, &mut kept, &mut random);
        broker.stop();
        broker.start_again();
        kept.check(&mut broker.client());
        broker.stop();
    }
}

#[test]
fn disk_that_others_fill_to_the_last_byte_ends_no_process_and_costs_nothing() {
    let test = "disk_that_others_fill_to_the_last_byte_ends_no_process_and_costs_nothing";
    let Some(disk) = SmallDisk::mount() else {
        return skipped(test, "this user may not mount a file system");
    };
    let options = disk.options("flushed");
    let Some(mut broker) = Broker::own(test, options.clone()) else {
        return;
    };
    let mut client = broker.client();
    let mut random = Random::new(9);
    let mut kept = Kept::new(client.create_topic("filling", 1));
    for _ in 0..50 {
        assert_eq!(kept.append(&mut client, random.bytes(VALUE_BYTES)).0, 0);
    }
    let ballast = disk.ballast(usize::MAX);
    assert_eq!(
        fill(&mut client, &mut kept, &mut random),
        KAFKA_STORAGE_ERROR
    );
    let words = ["the disk is full", "the disk has no room", NEARLY_FULL];
    wait_for("word of it", || {
        let said = said(&broker);
        words.iter().any(|word| said.contains(word)).then_some(())
    });
    assert_eq!(client.fetch(&kept.topic, 0, 0).error_code, 0);
    assert!(broker.process().is_some());

    fs::remove_file(&ballast).expect("it is there");
    served_again(&mut client, &mut kept);
    kept.check(&mut client);
    fill(&mut client, &mut kept, &mut random);

    // It dies, and there is no room for what a start must write.
    broker.kill();
    disk.ballast(usize::MAX);
    let mut process = Process::start(broker.folder(), &options);
    let status = process.end(crate::harness::DEADLINE);
    let text = process.log.text();
    assert_eq!(status.code(), Some(1), "{text}");
    for part in ["is full", "free bytes suffice", "nothing is lost"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    fs::remove_file(ballast).expect("it is there");
    broker.start_again();
    kept.check(&mut broker.client());
    broker.stop();
}

#[test]
fn full_second_disk_refuses_producers_until_it_has_room_and_ends_nothing() {
    let test = "full_second_disk_refuses_producers_until_it_has_room_and_ends_nothing";
    let Some(disk) = SmallDisk::mount() else {
        return skipped(test, "this user may not mount a file system");
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (first, second) = (folder.path().join("first"), disk.path().join("data"));
    let folders = format!("{},{}", first.display(), second.display());
    let options = Options::new()
        .set("log.dirs", folders)
        .set("klamm.shards", 1);
    let ballast = disk.ballast(48 << 20);
    let Some(mut broker) = Broker::own_on(test, folder, options) else {
        return;
    };
    let mut client = broker.client();
    let mut random = Random::new(9);
    let mut here = Kept::new(client.create_topic("here", 1));
    assert_eq!(here.append(&mut client, b"first".to_vec()).0, 0);
    let lies_in = |data: &Path, kept: &Kept| data.join(format!("{}-0", kept.topic.name)).is_dir();
    wait_for("a place", || lies_in(&first, &here).then_some(()));
    let mut there = Kept::new(client.create_topic("there", 1));
    assert_eq!(
        fill(&mut client, &mut there, &mut random),
        KAFKA_STORAGE_ERROR
    );
    wait_for("a place", || lies_in(&second, &there).then_some(()));
    // Who writes to the other disk waits as well: all go through one log.
    assert_eq!(
        here.append(&mut client, b"second".to_vec()).0,
        KAFKA_STORAGE_ERROR
    );
    all_but_producers_are_served(&mut client, &there);
    let named = format!("folder={}", second.display());
    broker.expect_log(0, &[NEARLY_FULL, &named]);

    // It dies, and starts on the full disk.
    broker.kill();
    broker.start_again();
    let mut client = broker.client();
    there.check(&mut client);
    assert_eq!(
        fill(&mut client, &mut there, &mut random),
        KAFKA_STORAGE_ERROR
    );
    fs::remove_file(ballast).expect("it is there");
    served_again(&mut client, &mut there);
    served_again(&mut client, &mut here);
    broker.stop();
    broker.start_again();
    there.check(&mut broker.client());
    here.check(&mut broker.client());
    broker.stop();
}
