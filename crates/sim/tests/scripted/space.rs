//! A disk with little room, step by step: who is refused, who is not, and what is used again.

use klamm_engine::api::{AppendError, Reply};
use klamm_model::{Offset, TopicPartition};
use klamm_sim::world::disk::{NamesMode, SimDisk};

use crate::world::{NOW, SHARDS, World, batch, life};

const KIB: usize = 1024;

/// Two of these do not fit into one write-ahead file.
const LARGE: usize = 3000;

const RESERVE: usize = 40 * KIB;

fn world() -> World {
    let special = |life: &mut klamm_sim::world::node::LifeOptions| {
        life.wal_file_bytes = 4096 + 4096;
        life.tail_bytes = 1 << 20;
        life.scale.chunk_bytes = 4096;
        life.scale.spill_backlog_bytes = 1 << 20;
        life.scale.segment_overhead_bytes = 512;
        life.wal_bytes = 1 << 20;
        life.disk_reserve = RESERVE as u64;
    };
    let mut disk = SimDisk::new(NamesMode::Journal, 0);
    disk.resize(400 * KIB);
    let (mut world, _) = World::start(life(1, special), disk);
    world.create("orders", &[]);
    world
}

impl World {
    /// Other programs leave this much, and the node knows.
    pub(crate) fn leave(&mut self, bytes: usize) {
        self.disk.take(0);
        let free = self.disk.room().free().expect("a size");
        self.disk.take(free - bytes);
        self.node.look(&self.disk);
    }

    /// Appends one batch; tells whether it was refused for want of room.
    fn is_refused(&mut self, partition: TopicPartition, records: &bytes::Bytes) -> bool {
        self.append(partition, records);
        let replies = self.settle(true);
        let [Reply::Append(call)] = &replies[..] else {
            panic!("one append was answered by {replies:?}");
        };
        match &call.outcomes[0] {
            Ok(_) => false,
            Err(AppendError::OutOfSpace) => true,
            Err(other) => panic!("refused: {other:?}"),
        }
    }
}

#[test]
fn who_is_refused_takes_no_offset_and_no_sequence_and_nothing_of_the_reserve() {
    let mut world = world();
    let orders = world.partition("orders");
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(0));
    world.leave(RESERVE + 2 * KIB);
    assert!(world.is_refused(orders, &batch(LARGE)));
    assert!(world.is_refused(orders, &batch(1)), "all are refused now");
    assert!(world.read(orders, 0).is_ok(), "readers are served");
    assert!(world.disk.room().free().expect("a size") >= RESERVE);
    world.leave(RESERVE + 100 * KIB);
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(1), "no gap");
}

#[test]
fn what_the_log_owes_to_segments_is_kept_free() {
    let mut world = world();
    let orders = world.partition("orders");
    world.leave(RESERVE + SHARDS as usize * 60 * KIB);
    // No work of the disk is done: nothing reaches a segment.
    let mut taken = 0;
    loop {
        world.append(orders, &batch(100));
        let quick = world.settle(false);
        let is_refused = quick.iter().any(|reply| match reply {
            Reply::Append(call) => call.outcomes[0].is_err(),
            _ => false,
        });
        if is_refused {
            break;
        }
        taken += 1;
        assert!(taken < 10_000, "it is never full");
    }
    let free = world.disk.room().free().expect("a size") as u64;
    let owed = world.node.owed_bytes();
    assert!(owed > 0, "something waits for segments");
    assert!(free >= RESERVE as u64 + owed, "{free} free, {owed} owed");
    world.settle(true);
    let free = world.stop().room().free();
    assert!(free.is_some_and(|free| free >= RESERVE), "{free:?} free");
}

#[test]
fn without_room_for_another_file_the_log_goes_on_in_the_one_it_has() {
    let mut world = world();
    let orders = world.partition("orders");
    world.appended(orders, &batch(LARGE));
    let wal = "klamm/wal-1";
    let files = world.disk.list(wal).expect("a log").len();
    // Room for batches, and from now on for no other file of the log.
    world.leave(RESERVE + 2 * (4096 + 3900));
    let (mut appended, mut refused) = (0, 0);
    while appended < 2 {
        if world.is_refused(orders, &batch(LARGE)) {
            refused += 1;
            world.leave(RESERVE + 2 * (4096 + 3900));
        } else {
            appended += 1;
        }
        assert!(refused < 10, "the same file is never used again");
    }
    assert!(refused > 0, "a batch waits until the file is free");
    assert_eq!(world.disk.list(wal).expect("a log").len(), files);
    assert!(world.read(orders, 1).is_ok() && world.read(orders, 2).is_ok());
}

#[test]
fn topics_come_and_go_while_producers_are_refused() {
    let mut world = world();
    let orders = world.partition("orders");
    world.appended(orders, &batch(LARGE));
    world.leave(RESERVE);
    assert!(world.is_refused(orders, &batch(1)));
    let before = world.disk.list("klamm/wal-0").expect("a log").len();
    for number in 0..60 {
        world.create(&format!("later-{number}"), &[]);
        world.node.housekeep(NOW, 0);
        world.settle(true);
    }
    let image = world.node.engine(0).image().clone();
    assert!((0..60).all(|number| image.topic(&format!("later-{number}")).is_some()));
    let after = world.disk.list("klamm/wal-0").expect("a log").len();
    assert_eq!(after, before, "its files are used again");
    assert!(world.is_refused(orders, &batch(1)));
}

#[test]
fn segment_without_room_waits_and_everything_is_there_when_there_is_some() {
    let mut world = world();
    let orders = world.partition("orders");
    for _ in 0..5 {
        world.append(orders, &batch(LARGE));
        world.settle(false);
    }
    world.disk.take(400 * KIB);
    assert!(!world.node.settle());
    // The portion is tried again and again.
    for _ in 0..2_000 {
        let Some(&next) = world.node.happenings().first() else {
            break;
        };
        world.node.happen(NOW, &mut world.disk, next);
    }
    assert!(!world.node.is_settled());
    assert!(world.disk.stats().writes_without_room > 10);
    assert!(world.read_while_full(orders));
    world.disk.take(0);
    let disk = world.stop();
    assert!(disk.stats().writes_without_room > 10);
}

impl World {
    /// Reads from memory, without waiting for the disk.
    fn read_while_full(&mut self, partition: TopicPartition) -> bool {
        let cursors = self.node.engine(1).cursors(partition);
        cursors.is_some_and(|cursors| cursors.log_end == Offset(5))
    }
}
