//! Changes that the administrator makes while nodes run, and what is left of them after a crash.

use bytes::Bytes;
use klamm_engine::api::{Call, Reply};
use klamm_engine::batch;
use klamm_engine::metadata::{
    Command, ConfigChange, ConfigMode, ConfigOperation, ConfigResource, MorePartitions,
    Reply as ControlReply,
};
use klamm_model::{Compression, Offset, PartitionIndex, ShardId, TopicName, TopicPartition};
use klamm_sim::world::disk::{NamesMode, SimDisk};

use crate::world::{SHARDS, World, batch, life};

fn decided(world: &mut World, command: Command) {
    world.call(ShardId(0), Call::Control(command));
    let replies = world.settle(true);
    let done = match &replies[..] {
        [Reply::Control(ControlReply::SetConfigs(outcomes))] => outcomes.iter().all(Result::is_ok),
        [Reply::Control(ControlReply::CreatePartitions(outcomes))] => {
            outcomes.iter().all(|(_, outcome)| outcome.is_ok())
        }
        _ => false,
    };
    assert!(done, "{replies:?}");
}

fn set(resource: ConfigResource, key: &str, value: &str) -> Command {
    let operation = ConfigOperation::Set(Some(value.to_owned()));
    Command::SetConfigs {
        changes: vec![ConfigChange {
            resource,
            operations: vec![(key.to_owned(), operation)],
        }],
        mode: ConfigMode::Incremental,
        validate_only: false,
    }
}

#[test]
fn partitions_that_were_added_keep_their_records_over_a_crash() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, |_| ()), disk);
    world.create("orders", &[]);
    let topics = vec![MorePartitions {
        topic: "orders".to_owned(),
        count: 24,
        assignments: None,
    }];
    let grow = Command::CreatePartitions {
        topics,
        validate_only: false,
    };
    decided(&mut world, grow);
    let topic = world.partition("orders").topic;
    let added = |index: i32| TopicPartition {
        topic,
        index: PartitionIndex(index),
    };
    let homes: Vec<ShardId> = (8..24).map(|index| added(index).home(SHARDS)).collect();
    assert!(homes.contains(&ShardId(0)) && homes.contains(&ShardId(1)));
    for index in 8..24 {
        assert_eq!(world.appended(added(index), &batch(10)), Offset(0));
    }
    let (mut world, started) = World::start(life(2, |_| ()), world.kill());
    assert!(started.findings.is_empty(), "{:?}", started.findings);
    for index in 8..24 {
        assert!(!world.read(added(index), 0).expect("kept").is_empty());
        assert_eq!(world.appended(added(index), &batch(10)), Offset(1));
    }
}

#[test]
fn a_codec_for_all_brokers_holds_at_once_and_for_the_next_life() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(3, |_| ()), disk);
    world.create("orders", &[]);
    world.create("own", &[("compression.type", "producer")]);
    let (orders, own) = (world.partition("orders"), world.partition("own"));
    let codec_of = |bytes: &Bytes| {
        let header = batch::read(bytes).expect("a batch");
        header.attributes.compression()
    };
    let key = "compression.type";
    decided(&mut world, set(ConfigResource::BrokerDefault, key, "zstd"));
    let name = TopicName::new("own").expect("legal");
    decided(&mut world, set(ConfigResource::Topic(name), key, "lz4"));
    for (offset, seed) in [(0, 4), (1, 5)] {
        assert_eq!(world.appended(orders, &batch(2000)), Offset(offset));
        assert_eq!(world.appended(own, &batch(2000)), Offset(offset));
        let (mut next, started) = World::start(life(seed, |_| ()), world.kill());
        assert!(started.findings.is_empty(), "{:?}", started.findings);
        for (partition, codec) in [(orders, Compression::Zstd), (own, Compression::Lz4)] {
            let kept = next.read(partition, offset).expect("kept");
            assert_eq!(codec_of(&kept), Some(codec));
        }
        world = next;
    }
}
