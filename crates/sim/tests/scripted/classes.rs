//! What a change of a topic's durability class means for batches that no flush has covered yet.

use bytes::Bytes;
use klamm_engine::api::{Call, Reply};
use klamm_engine::batch::{BatchBuilder, BatchOptions};
use klamm_engine::metadata::{Command, ConfigChange, ConfigMode, ConfigOperation, ConfigResource};
use klamm_model::{
    ProducerEpoch, ProducerId, ProducerStamp, Sequence, ShardId, Timestamp, TopicName,
};
use klamm_sim::world::disk::{NamesMode, SimDisk};

use crate::world::{NOW, World, life};

#[test]
fn a_retry_under_class_flushed_waits_for_the_flush_of_what_was_written_before() {
    let disk = SimDisk::new(NamesMode::Journal, 0);
    let (mut world, _) = World::start(life(1, |_| ()), disk);
    world.create("orders", &[("klamm.durability", "written")]);
    let name = TopicName::new("orders").expect("legal");
    let partition = world.partition("orders");
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: Some(ProducerStamp {
            id: ProducerId(9),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence::FIRST,
        }),
        ..BatchOptions::default()
    });
    builder.append(Timestamp(NOW.wall.0), None, Some(b"value"), &[]);
    let records = Bytes::from(builder.build().expect("small"));

    world.append(partition, &records);
    assert_eq!(
        world.settle(true).len(),
        1,
        "class written waits for no flush"
    );
    let flush = Command::SetConfigs {
        changes: vec![ConfigChange {
            resource: ConfigResource::Topic(name),
            operations: vec![(
                "klamm.durability".to_owned(),
                ConfigOperation::Set(Some("flushed".to_owned())),
            )],
        }],
        mode: ConfigMode::Incremental,
        validate_only: false,
    };
    world.call(ShardId(0), Call::Control(flush));
    world.settle(true);

    world.append(partition, &records);
    let early = world.settle(false);
    assert!(early.is_empty(), "answered before its flush: {early:?}");
    let answered = world.settle(true);
    assert!(
        matches!(&answered[..], [Reply::Append(call)] if call.outcomes[0].is_ok()),
        "{answered:?}"
    );
}
