//! A process without a descriptor for the next file of its log: it says so, and goes on.

use klamm_engine::api::{AppendError, Reply};
use klamm_model::Offset;
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
    world.append(orders, &batch(LARGE));
    let replies = world.settle(false);
    let [Reply::Append(call)] = &replies[..] else {
        panic!("answered at once: {replies:?}");
    };
    assert_eq!(call.outcomes[0], Err(AppendError::OutOfFiles));
    world.settle(true);
    assert!(world.read(orders, 0).is_ok(), "readers are served");

    world.node.run_out_of_files(false);
    assert_eq!(world.appended(orders, &batch(LARGE)), Offset(1), "no gap");
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
