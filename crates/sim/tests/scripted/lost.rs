//! Starts without a disk that its owner gave up.

use klamm_engine::boot::Finding;
use klamm_model::{Offset, TopicPartition};
use klamm_sim::random::Random;
use klamm_sim::world::disk::{NamesMode, SimDisk};
use klamm_sim::world::node::{LifeOptions, Started};

use crate::recovery::{LARGE, SMALL_FILE, erase, lazily, wal_files};
use crate::world::{World, batch, begin, life};

/// Records that segments held, and those behind them in the write-ahead log.
const FLUSHED: i64 = 12;
const LOGGED: i64 = 5;

fn given_up(life: &mut LifeOptions) {
    lazily(life);
    life.gives_up_lost = true;
}

/// A partition whose folder is gone, of which the write-ahead log has the last records. Another one
/// was never written to.
fn lost() -> (SimDisk, TopicPartition) {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, lazily), disk);
    world.create("orders", &[]);
    let orders = world.partition("orders");
    for _ in 0..FLUSHED {
        world.appended(orders, &batch(100));
    }
    let (mut world, _) = World::start(life(2, lazily), world.stop());
    for _ in 0..LOGGED {
        world.appended(orders, &batch(100));
    }
    let mut disk = world.kill();
    lose(&mut disk, orders);
    (disk, orders)
}

/// Takes away the folder of a partition of this name.
fn lose(disk: &mut SimDisk, orders: TopicPartition) {
    let folder = format!("orders-{}", orders.index);
    for name in disk.list(&folder).expect("a folder") {
        disk.remove(&format!("{folder}/{name}"));
    }
    disk.remove(&folder);
    disk.commit_names();
}

fn is_told(started: &Started, lost: TopicPartition) -> bool {
    started.findings.iter().any(|finding| {
        let is_it =
            matches!(finding, Finding::SegmentDamage { partition, .. } if *partition == lost);
        is_it && finding.to_string().contains("given up as lost")
    })
}

#[test]
fn a_start_that_gives_up_a_lost_disk_may_end_anywhere_and_the_next_one_does_the_same() {
    let (disk, orders) = lost();
    let mut random = Random::new(7);
    let mut again = 0;
    for changes in 0.. {
        for is_power_cut in [false, true] {
            let mut disk = disk.clone();
            let first = begin(life(3, given_up), &mut disk, Some(changes));
            if first.is_some() {
                assert!(again > 20, "the first start made only {changes} changes");
                return;
            }
            if is_power_cut {
                disk.cut_power(&mut random);
            }
            let (mut world, started) = World::start(life(4, given_up), disk);
            let case = format!("ended after {changes} changes, power cut: {is_power_cut}");
            assert_eq!(started.log_starts[&orders], Offset(FLUSHED), "{case}");
            assert_eq!(
                started.log_ends[&orders],
                Offset(FLUSHED + LOGGED),
                "{case}"
            );
            for offset in FLUSHED..FLUSHED + LOGGED {
                assert!(world.read(orders, offset).is_ok(), "{case}: {offset}");
            }
            // With its checkpoint the first start was done, and told it.
            let is_done = started.batches_replayed == 0;
            assert!(is_told(&started, orders) != is_done, "{case}");
            again += u64::from(!is_done);
            let (_, started) = World::start(life(5, given_up), world.stop());
            assert!(!is_told(&started, orders), "{case}: it is told once");
        }
    }
}

#[test]
fn what_nobody_flushed_of_a_lost_partition_follows_on_what_it_held() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, lazily), disk);
    let configs = [("klamm.durability", "written")];
    world.create("orders", &configs);
    world.create("others", &configs);
    let (orders, others) = (world.partition("orders"), world.partition("others"));
    world.appended(orders, &batch(LARGE));
    let small = |life: &mut LifeOptions| {
        lazily(life);
        life.wal_file_bytes = SMALL_FILE;
    };
    let (mut world, _) = World::start(life(2, small), world.stop());
    world.appended(others, &batch(LARGE));
    world.appended(orders, &batch(LARGE));
    let mut disk = world.kill();
    // The power took the file before it, and nobody knows what was durable.
    let newest = wal_files(&disk, 1);
    let [.., (_, before), _] = newest[..] else {
        panic!("each batch has a file of its own: {newest:?}");
    };
    erase(&mut disk, before);
    let newer = disk.open("klamm/checkpoint-1").expect("a checkpoint");
    disk.write(newer, 0, &[7; 64]);
    lose(&mut disk, orders);
    let (mut world, started) = World::start(life(3, given_up), disk);
    assert!(is_told(&started, orders));
    assert_eq!(started.log_ends[&orders], Offset(2));
    assert!(world.read(orders, 1).is_ok());
}

#[test]
fn where_no_checkpoint_tells_what_a_lost_disk_held_every_partition_that_is_not_there_is_named() {
    for logged in [true, false] {
        let (mut disk, orders) = lost();
        if !logged {
            // A life whose log is empty.
            let (world, _) = World::start(life(3, given_up), disk);
            disk = world.stop();
            lose(&mut disk, orders);
        }
        let names = disk.list("klamm").expect("a folder");
        for name in names.iter().filter(|name| name.starts_with("checkpoint-")) {
            let path = format!("klamm/{name}");
            let node = disk.file(&path).expect("a checkpoint");
            let middle = disk.bytes(node).len() / 2;
            disk.flip(node, middle, 0);
        }
        disk.commit_names();
        let (_, started) = World::start(life(4, given_up), disk);
        let told = started.findings.iter().find_map(|finding| match finding {
            Finding::GivenUpInDoubt { partitions } => Some(partitions),
            _ => None,
        });
        let told = told.expect("told");
        assert!(told.contains(&orders), "{told:?}");
        assert!(started.findings.iter().any(Finding::costs_records));
    }
}
