//! The files of the log: made before they are needed, removed when nothing needs them; and a
//! process without a descriptor for the next: it says so, and goes on.

use klamm_engine::api::{AppendError, Reply};
use klamm_model::Offset;
use klamm_records::wal::FileHead;
use klamm_sim::world::disk::{NamesMode, SimDisk};

use crate::world::{NOW, World, batch, life};

/// Two of these do not fit into one write-ahead file.
const LARGE: usize = 3000;

fn world() -> World {
    let special = |life: &mut klamm_sim::world::node::LifeOptions| {
        life.wal_file_bytes = 4096 + 4096;
        life.tail_bytes = 0;
        life.scale.chunk_bytes = 4096;
        life.scale.spill_backlog_bytes = 1 << 20;
        life.wal_bytes = 1 << 20;
        life.scale.segment_bytes_max = 1 << 20;
    };
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, special), disk);
    world.create("orders", &[]);
    world
}

#[test]
fn without_a_descriptor_for_the_log_a_batch_is_refused_and_can_be_sent_again() {
    let mut world = world();
    let orders = world.partition("orders");
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(0));
    world.node.run_out_of_files(true);
    let made_before = "there is a file that was made before";
    assert_eq!(
        world.appended(orders, &batch(LARGE)),
        Offset(1),
        "{made_before}"
    );
    world.append(orders, &batch(LARGE));
    let replies = world.settle(false);
    let [Reply::Append(call)] = &replies[..] else {
        panic!("answered at once: {replies:?}");
    };
    assert_eq!(call.outcomes[0], Err(AppendError::OutOfFiles));
    world.settle(true);
    assert!(world.read(orders, 0).is_ok(), "readers are served");

    world.node.run_out_of_files(false);
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(2), "no gap");
}

#[test]
fn without_a_descriptor_the_log_goes_on_in_files_that_can_be_used_again() {
    let mut world = world();
    let orders = world.partition("orders");
    for _ in 0..6 {
        world.appended(orders, &batch(LARGE));
    }
    world.node.run_out_of_files(true);
    let mut refused = 0;
    for _ in 0..20 {
        world.append(orders, &batch(LARGE));
        for reply in world.settle(true) {
            let Reply::Append(call) = reply else {
                panic!("an append was answered by {reply:?}");
            };
            refused += usize::from(call.outcomes[0].is_err());
        }
    }
    // Each refusal brings the segments up to date, which frees all files but the open one.
    assert!((1..10).contains(&refused), "{refused} were refused");
}

#[test]
fn without_a_descriptor_metadata_goes_on_in_the_file_that_it_has() {
    let mut world = world();
    let files = |world: &World| world.disk.list("klamm/wal-0").expect("a log").len();
    let before = files(&world);
    world.node.run_out_of_files(true);
    for number in 0..20 {
        world.create(&format!("later-{number}"), &[]);
    }
    world.node.housekeep(NOW, 0);
    world.settle(true);
    let image = world.node.engine(0).image();
    assert!((0..20).all(|number| image.topic(&format!("later-{number}")).is_some()));
    assert_eq!(files(&world), before);
}

/// The write-ahead files of the core that holds the partition: whether each was begun, and its
/// length.
fn wal_files(disk: &SimDisk, shard: u16) -> Vec<(bool, usize)> {
    let folder = format!("klamm/wal-{shard}");
    let names = disk.list(&folder).expect("a folder");
    let files = names.iter().map(|name| {
        let node = disk.file(&format!("{folder}/{name}")).expect("listed");
        let bytes = disk.bytes(node);
        (FileHead::decode(bytes).is_ok(), bytes.len())
    });
    files.collect()
}

#[test]
fn the_next_file_of_the_log_is_made_when_the_open_one_is_half_full() {
    let mut world = world();
    let orders = world.partition("orders");
    // A core with partitions has one before the first batch.
    assert_eq!(wal_files(&world.disk, 1), [(false, 8192)]);
    world.appended(orders, &batch(LARGE));
    assert_eq!(wal_files(&world.disk, 1), [(true, 8192), (false, 8192)]);
    // Without a descriptor for another, the log goes on in the one that was made.
    world.node.run_out_of_files(true);
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(1));
    assert_eq!(wal_files(&world.disk, 1), [(true, 8192), (true, 8192)]);
}

#[test]
fn files_that_were_made_and_never_begun_are_used_or_removed_by_the_next_life() {
    let special = |life: &mut klamm_sim::world::node::LifeOptions| {
        life.wal_file_bytes = 8192;
        life.tail_bytes = 0;
        life.scale.chunk_bytes = 4096;
    };
    let mut disk = world().kill();
    for life_number in 2..8 {
        // The power goes after the name, after the room, or before the file is begun.
        for (name, length) in [("unfinished", 0), ("shorter", 4096), ("whole", 8192)] {
            let path = format!("klamm/wal-1/{name}-{life_number}.wal");
            let node = disk.open(&path).expect("the folder is there");
            disk.extend(node, length);
        }
        let (mut world, started) = World::start(life(life_number, special), disk);
        assert!(started.findings.is_empty(), "{:?}", started.findings);
        let orders = world.partition("orders");
        for _ in 0..4 {
            world.appended(orders, &batch(LARGE));
        }
        let files = wal_files(&world.disk, 1);
        assert!(files.iter().all(|(_, length)| *length == 8192), "{files:?}");
        disk = world.kill();
        disk.cut_power(&mut klamm_sim::random::Random::new(life_number));
    }
    let (mut world, _) = World::start(life(9, special), disk);
    let orders = world.partition("orders");
    for offset in 0..24 {
        assert!(world.read(orders, offset).is_ok(), "{offset} was flushed");
    }
}

#[test]
fn a_file_that_was_made_for_one_large_batch_is_removed_once_a_checkpoint_covers_it() {
    let mut world = world();
    let orders = world.partition("orders");
    world.appended(orders, &batch(LARGE));
    assert_eq!(world.appended(orders, &batch(4 * LARGE)), Offset(1));
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(2));
    let is_larger = |&(_, length): &(bool, usize)| length > 8192;
    let larger = |world: &World| {
        wal_files(&world.disk, 1)
            .into_iter()
            .filter(is_larger)
            .count()
    };
    assert_eq!(
        larger(&world),
        1,
        "it is there until a checkpoint covers it"
    );
    while !world.node.settle() {
        world.settle(true);
    }
    assert_eq!(larger(&world), 0);
    for offset in 0..3 {
        assert!(world.read(orders, offset).is_ok(), "{offset}");
    }
    let mut disk = world.kill();
    disk.cut_power(&mut klamm_sim::random::Random::new(1));
    let special = |life: &mut klamm_sim::world::node::LifeOptions| life.wal_file_bytes = 8192;
    let (mut world, started) = World::start(life(2, special), disk);
    assert!(started.findings.is_empty(), "{:?}", started.findings);
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(3));
}
