//! What a start finds after damage and power cuts that chance brings about rarely.

use bytes::Bytes;
use klamm_engine::api::{Call, Reply, TrimPartition, TrimTo};
use klamm_engine::boot::Finding;
use klamm_model::{Offset, TopicPartition};
use klamm_records::wal::{FILE_HEAD_BYTES, FileHead, read_entry_head};
use klamm_sim::world::disk::{NamesMode, Node, SimDisk};
use klamm_sim::world::node::LifeOptions;

use crate::world::{SHARDS, World, batch, life};

/// Bytes of a write-ahead file that takes one batch of [`LARGE`].
pub(crate) const SMALL_FILE: u64 = 4096 + 1024;

/// Bytes of a value of which two do not fit into a small file.
pub(crate) const LARGE: usize = 600;

/// Nothing is brought into segments before somebody asks for it.
pub(crate) fn lazily(life: &mut LifeOptions) {
    life.tail_bytes = 1 << 20;
    life.wal_bytes = 1 << 20;
    life.scale.chunk_bytes = 1 << 16;
    life.scale.aligned_batch_bytes = 1 << 20;
    life.scale.spill_backlog_bytes = 1 << 20;
    life.scale.segment_bytes_max = 1 << 20;
}

/// The write-ahead files of a core that were begun, in their order.
pub(crate) fn wal_files(disk: &SimDisk, shard: u16) -> Vec<(FileHead, Node)> {
    let folder = format!("klamm/wal-{shard}");
    let names = disk.list(&folder).expect("a folder");
    let files = names.iter().filter_map(|name| {
        let node = disk.file(&format!("{folder}/{name}"))?;
        let head = FileHead::decode(disk.bytes(node)).ok()?;
        Some((head, node))
    });
    let mut files: Vec<_> = files.collect();
    files.sort_by_key(|(head, _)| head.number);
    files
}

pub(crate) fn erase(disk: &mut SimDisk, node: Node) {
    let zeros = vec![0; disk.bytes(node).len()];
    disk.write(node, 0, &zeros);
}

fn spoil(disk: &mut SimDisk, path: &str) {
    let node = disk.file(path).expect("the file");
    let middle = disk.bytes(node).len() / 2;
    disk.flip(node, middle, 0);
}

#[test]
fn without_a_checkpoint_a_batch_behind_a_lost_one_that_nobody_flushed_is_not_taken_for_the_next() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, lazily), disk);
    world.create("orders", &[("klamm.durability", "written")]);
    let orders = world.partition("orders");
    world.appended(orders, &batch(LARGE));
    let small = |life: &mut LifeOptions| {
        lazily(life);
        life.wal_file_bytes = SMALL_FILE;
    };
    let (mut world, _) = World::start(life(2, small), world.stop());
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(1));
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(2));
    let mut disk = world.kill();

    // The power takes the first of both files, and a bit of the checkpoint flips.
    let newest = wal_files(&disk, 1);
    let [.., (first, lost), (second, _)] = newest[..] else {
        panic!("each batch has a file of its own: {newest:?}");
    };
    assert_eq!(first.number + 1, second.number);
    erase(&mut disk, lost);
    spoil(&mut disk, "klamm/checkpoint-base");

    let (mut world, started) = World::start(life(3, lazily), disk);
    let told: Vec<_> = started.findings.iter().collect();
    assert!(
        matches!(told[..], [Finding::BadCheckpoint { .. }]),
        "{told:?}"
    );
    assert_eq!(started.log_ends[&orders], Offset(1));
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(1));
}

#[test]
fn a_batch_whose_base_offset_rotted_is_told_of_and_not_served_at_the_false_offset() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, lazily), disk);
    world.create("orders", &[]);
    let orders = world.partition("orders");
    let sent: Vec<Bytes> = (0..40).map(|number| batch(LARGE + number)).collect();
    for batch in &sent[..20] {
        world.appended(orders, batch);
    }
    let mut disk = world.stop();
    let path = |kind| format!("orders-{}/{:020}.{kind}", orders.index, 0);
    let index = disk.file(&path("index")).expect("the index");
    let last = disk.bytes(index).last_chunk::<8>().expect("entries");
    let number = |at| u32::from_be_bytes(std::array::from_fn(|place| last[at + place])) as usize;
    let (offset, at) = (number(0), number(4));
    // Some offsets up, to where another batch stands.
    let bit = (0..8).find(|bit| offset >> bit & 1 == 0).expect("small");
    assert!(offset + (1 << bit) < 20, "inside the log");
    let log = disk.file(&path("log")).expect("the segment");
    disk.flip(log, at + 7, bit);

    let (mut world, started) = World::start(life(2, lazily), disk);
    let told: Vec<_> = started.findings.iter().collect();
    assert!(
        matches!(told[..], [Finding::SegmentDamage { .. }]),
        "{told:?}"
    );
    assert_eq!(started.log_ends[&orders], Offset(20));
    for (wanted, sent) in sent[..20].iter().enumerate() {
        match world.read(orders, wanted as i64) {
            // Behind base offset and leader epoch.
            Ok(found) => assert!(found[16..] == sent[16..], "read at {wanted}"),
            Err(error) => assert!(wanted >= offset, "{error:?} at {wanted}"),
        }
    }
    for batch in &sent[20..] {
        world.appended(orders, batch);
    }
    for (wanted, sent) in sent.iter().enumerate().skip(20) {
        let found = world.read(orders, wanted as i64);
        let found = found.expect("appended just now");
        assert!(found[16..] == sent[16..], "read at {wanted}");
    }
}

#[test]
fn a_batch_that_was_cut_off_does_not_come_back_where_a_later_life_stood() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, lazily), disk);
    world.create("orders", &[("klamm.durability", "written")]);
    let orders = world.partition("orders");
    world.appended(orders, &batch(LARGE));
    let (mut world, _) = World::start(life(2, lazily), world.stop());
    world.appended(orders, &batch(LARGE));
    world.appended(orders, &batch(LARGE));
    let mut disk = world.kill();

    // The power takes the first of both batches, which no flush had covered: both are cut off.
    let newest = wal_files(&disk, 1);
    let &(head, node) = newest.last().expect("a file");
    let entry = read_entry_head(
        &disk.bytes(node)[FILE_HEAD_BYTES..],
        head.start,
        head.incarnation,
    );
    let first = entry.expect("the first batch").entry_bytes();
    disk.write(node, FILE_HEAD_BYTES, &vec![0; first]);
    let left = disk.bytes(node).to_vec();
    let (mut world, started) = World::start(life(3, lazily), disk);
    assert_eq!(started.log_ends[&orders], Offset(1));

    // Another batch is brought into its segment, with a checkpoint; of the write-ahead log, which
    // nobody flushed, the next power cut leaves what was there before.
    world.appended(orders, &batch(LARGE));
    let mut disk = world.stop();
    for (found, other) in wal_files(&disk, 1) {
        if other == node {
            disk.write(node, 0, &left);
        } else if found.number > head.number {
            erase(&mut disk, other);
        }
    }
    let (_, started) = World::start(life(4, lazily), disk);
    assert_eq!(started.log_ends[&orders], Offset(2));
}

#[test]
fn a_list_of_leader_epochs_that_is_lost_is_made_anew_from_the_batches() {
    let small = |life: &mut LifeOptions| {
        lazily(life);
        life.scale.segment_bytes_max = 4096;
    };
    let mut disk = SimDisk::new(NamesMode::Journal, 0);
    for number in 0..4 {
        let (mut world, _) = World::start(life(number, small), disk);
        if number == 0 {
            world.create("orders", &[]);
        }
        let orders = world.partition("orders");
        // Some segments in which no reign begins, some in whose middle one does.
        for _ in 0..10 * number {
            world.appended(orders, &batch(LARGE));
        }
        disk = world.stop();
    }
    let (world, started) = World::start(life(5, small), disk.clone());
    let orders = world.partition("orders");
    let known = started.leader_epochs[&orders].clone();
    assert_eq!(
        known.iter().map(|&(_, start)| start).collect::<Vec<_>>(),
        [0, 10, 30]
    );
    let path = format!("orders-{}/leader-epoch-checkpoint", orders.index);
    let node = disk.file(&path).expect("the list");
    let whole = disk.bytes(node).to_vec();
    for (case, left) in [
        ("gone", None),
        ("empty", Some(0)),
        ("cut", Some(whole.len() - 4)),
    ] {
        let mut disk = disk.clone();
        match left {
            None => assert!(disk.remove(&path)),
            Some(length) => disk.truncate(node, length),
        }
        let (world, started) = World::start(life(5, small), disk);
        let told: Vec<_> = started.findings.iter().collect();
        assert!(
            matches!(told[..], [Finding::EpochsMade { partition, .. }] if *partition == orders),
            "{case}: {told:?}"
        );
        assert_eq!(started.leader_epochs[&orders], known, "{case}");
        let (_, started) = World::start(life(6, small), world.stop());
        assert!(
            started.findings.is_empty(),
            "{case}: {:?}",
            started.findings
        );
        assert_eq!(started.leader_epochs[&orders], known, "{case}");
    }
}

fn trim(world: &mut World, partition: TopicPartition, to: Offset) {
    let wish = TrimPartition {
        partition,
        to: TrimTo::Offset(to),
    };
    world.call(partition.home(SHARDS), Call::Trim(vec![wish]));
    let replies = world.settle(true);
    let [Reply::Trim(outcomes)] = &replies[..] else {
        panic!("one trim was answered by {replies:?}");
    };
    assert_eq!(outcomes[..], [Ok(to)]);
}

#[test]
fn a_log_that_was_trimmed_as_a_whole_lost_no_leader_epoch() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, lazily), disk);
    world.create("orders", &[]);
    let orders = world.partition("orders");
    world.appended(orders, &batch(LARGE));
    // The checkpoint of this stop knows one record, and a log that begins with it.
    let disk = world.stop();
    let trimmed = || {
        let (mut world, _) = World::start(life(2, lazily), disk.clone());
        trim(&mut world, orders, Offset(1));
        world.appended(orders, &batch(LARGE));
        world
    };
    // The list was written once more, with the first batch of another reign, and does not say any
    // longer where the one before began; the checkpoint stayed as it was.
    let path = format!("orders-{}/leader-epoch-checkpoint", orders.index);
    let written = trimmed().stop();
    let list = written.bytes(written.file(&path).expect("the list"));
    let mut disk = trimmed().kill();
    let node = disk.file(&path).expect("the list");
    disk.truncate(node, 0);
    disk.write(node, 0, list);
    let (world, started) = World::start(life(3, lazily), disk);
    assert!(started.findings.is_empty(), "{:?}", started.findings);
    assert_eq!(started.log_starts[&orders], Offset(1));
    let (_, started) = World::start(life(4, lazily), world.stop());
    assert!(started.findings.is_empty(), "{:?}", started.findings);
    assert_eq!(started.log_starts[&orders], Offset(1));
    assert_eq!(started.log_ends[&orders], Offset(2));
}

#[test]
fn without_a_checkpoint_a_trimmed_log_begins_with_the_segments_that_are_left() {
    let small = |life: &mut LifeOptions| {
        lazily(life);
        life.scale.segment_bytes_max = 4096;
    };
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, small), disk);
    world.create("orders", &[]);
    let orders = world.partition("orders");
    for _ in 0..30 {
        world.appended(orders, &batch(LARGE));
    }
    let (mut world, _) = World::start(life(2, small), world.stop());
    trim(&mut world, orders, Offset(20));
    let (world, started) = World::start(life(3, small), world.stop());
    assert_eq!(started.log_starts[&orders], Offset(20));
    let mut disk = world.stop();
    let files = disk.list(&format!("orders-{}", orders.index));
    let files = files.expect("the folder");
    let bases = files
        .iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse::<i64>().ok());
    let first = bases.min().expect("a segment");
    assert!((1..=20).contains(&first), "{first}");
    for name in disk.list("klamm").expect("the folder") {
        if name.starts_with("checkpoint-") {
            let node = disk.file(&format!("klamm/{name}")).expect("it is listed");
            disk.truncate(node, 4);
        }
    }
    let (mut world, started) = World::start(life(4, small), disk);
    let start = started.log_starts[&orders];
    assert!((Offset(first)..=Offset(20)).contains(&start), "{start}");
    assert_eq!(started.log_ends[&orders], Offset(30));
    for offset in start.0..30 {
        assert!(!world.read(orders, offset).expect("kept").is_empty());
    }
}

#[test]
fn what_is_cut_off_a_segment_without_a_checkpoint_is_copied_first() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, lazily), disk);
    world.create("orders", &[]);
    let orders = world.partition("orders");
    for _ in 0..5 {
        world.appended(orders, &batch(LARGE));
    }
    let mut disk = world.stop();
    // The end of the segment rots, and nothing else says what stood there.
    let path = format!("orders-{}/{:020}.log", orders.index, 0);
    let log = disk.file(&path).expect("the segment");
    let length = disk.bytes(log).len();
    disk.flip(log, length - 10, 0);
    let at = length / 5 * 4;
    // Zeros at the end are like the room that is made ahead.
    let zeros = |bytes: &&u8| **bytes == 0;
    let rotten = &disk.bytes(log)[at..];
    let rotten = &rotten[..rotten.len() - rotten.iter().rev().take_while(zeros).count()];
    let rotten = rotten.to_vec();
    for (_, node) in wal_files(&disk, 1) {
        erase(&mut disk, node);
    }
    for name in disk.list("klamm").expect("a folder") {
        if name.starts_with("checkpoint-") {
            spoil(&mut disk, &format!("klamm/{name}"));
        }
    }
    let (world, started) = World::start(life(2, lazily), disk);
    assert_eq!(started.log_ends[&orders], Offset(4));
    let copy = format!(
        "klamm/quarantine/orders-{}/{:020}-{at}.damaged",
        orders.index, 0
    );
    let kept = world.disk.file(&copy).expect("a copy");
    assert!(world.disk.bytes(kept) == rotten, "the copy is what was cut");
    let told = started.findings.iter().map(ToString::to_string);
    let told: Vec<String> = told.filter(|line| line.contains(&copy)).collect();
    assert_eq!(told.len(), 1, "{:?}", started.findings);
    assert!(
        told[0].contains(&format!("cut at byte {at} of {}", at + rotten.len())),
        "{told:?}"
    );
}

#[test]
fn the_only_file_of_a_life_is_recognised_although_its_head_and_its_first_entry_are_damaged() {
    let lazily = |life: &mut LifeOptions| {
        lazily(life);
        life.wal_file_bytes = 16 << 10;
    };
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, lazily), disk);
    world.create("orders", &[]);
    let orders = world.partition("orders");
    world.appended(orders, &batch(LARGE));
    let (mut world, _) = World::start(life(2, lazily), world.stop());
    for offset in 1..5 {
        assert_eq!(world.appended(orders, &batch(LARGE)), Offset(offset));
    }
    let mut disk = world.kill();
    let &(head, newest) = wal_files(&disk, 1).last().expect("a file");
    let area = &disk.bytes(newest)[FILE_HEAD_BYTES..];
    let first = read_entry_head(area, head.start, head.incarnation).expect("an entry");
    let length = disk.bytes(newest).len();
    for (case, bytes) in [
        ("the head", FILE_HEAD_BYTES),
        ("the first entry too", FILE_HEAD_BYTES + first.entry_bytes()),
        ("all of it", length),
    ] {
        disk.write(newest, 0, &vec![0xa5; bytes]);
        let (mut world, started) = World::start(life(3, lazily), disk.clone());
        let told: Vec<_> = started.findings.iter().collect();
        let end = started.log_ends[&orders];
        match case {
            "the head" => {
                assert!(
                    matches!(told[..], [Finding::WalHeadDamage { .. }]),
                    "{told:?}"
                );
                assert_eq!(end, Offset(5), "{case}");
                assert!(world.read(orders, 1).is_ok(), "{case}");
            }
            "the first entry too" => {
                let told_of = |wanted: fn(&Finding) -> bool| told.iter().any(|one| wanted(one));
                assert!(
                    told_of(|one| matches!(one, Finding::WalHeadDamage { .. })),
                    "{told:?}"
                );
                assert!(
                    told_of(|one| matches!(one, Finding::WalDamage { .. })),
                    "{told:?}"
                );
                assert_eq!(end, Offset(5), "{case}");
                assert!(world.read(orders, 1).is_err(), "{case}");
                assert!(world.read(orders, 2).is_ok(), "{case}");
            }
            _ => {
                assert!(
                    matches!(told[..], [Finding::UnknownWalFile { .. }]),
                    "{told:?}"
                );
            }
        }
        let copies = world.disk.list("klamm/quarantine").expect("copies");
        assert!(!copies.is_empty(), "{case}");
        let (_, started) = World::start(life(4, lazily), world.stop());
        assert!(
            started.findings.is_empty(),
            "{case}: {:?}",
            started.findings
        );
    }
}
