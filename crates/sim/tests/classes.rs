//! What a change of a topic's durability class means for batches that no flush has covered yet.

use bytes::Bytes;
use klamm_engine::api::{AppendCall, AppendPartition, Call, Now, Reply, Ticket};
use klamm_engine::batch::{BatchBuilder, BatchOptions};
use klamm_engine::metadata::{
    Command, ConfigChange, ConfigMode, ConfigOperation, ConfigResource, NewTopic,
};
use klamm_engine::replica::TransactionVersion;
use klamm_model::{
    Acks, Instant, PartitionIndex, ProducerEpoch, ProducerId, ProducerStamp, Sequence, ShardId,
    Timestamp, TopicName, TopicPartition, WallTime,
};
use klamm_sim::random::Random;
use klamm_sim::world::disk::{NamesMode, SimDisk};
use klamm_sim::world::node::{Happening, LifeOptions, SimNode};

const NOW: Now = Now {
    instant: Instant(1),
    wall: WallTime(1_700_000_000_000),
};

struct World {
    node: SimNode,
    disk: SimDisk,
    calls: u64,
}

impl World {
    fn call(&mut self, home: ShardId, call: Call) {
        self.calls += 1;
        let ticket = Ticket {
            shard: home,
            call: self.calls,
        };
        self.node.call(NOW, ticket, home, call);
    }

    /// Lets everything happen that can; without `disk`, only what needs no device.
    fn settle(&mut self, disk: bool) -> Vec<Reply> {
        let can = |what: &&Happening| disk || !matches!(what, Happening::Work(_));
        while let Some(&what) = self.node.happenings().iter().find(can) {
            self.node.happen(NOW, &mut self.disk, what);
        }
        let replies = self.node.take_replies();
        replies.into_iter().map(|(_, reply)| reply).collect()
    }

    fn append(&mut self, partition: TopicPartition, records: &Bytes) {
        let part = AppendPartition {
            partition,
            records: records.clone(),
            zstd_known: true,
            transactions: TransactionVersion::Two,
        };
        let call = AppendCall::new(Acks::All, vec![part]);
        self.call(partition.home(2), Call::Append(call));
    }
}

#[test]
fn a_retry_under_class_flushed_waits_for_the_flush_of_what_was_written_before() {
    let mut disk = SimDisk::new(NamesMode::Journal, 0);
    let mut life = LifeOptions::draw(&mut Random::new(1), None);
    life.shards = 2;
    let started = SimNode::start(life, NOW, &mut disk, None);
    let (node, _) = started.expect("an empty disk");
    let mut world = World {
        node,
        disk,
        calls: 0,
    };
    let name = TopicName::new("orders").expect("legal");
    let class = |word: &str| ("klamm.durability".to_owned(), Some(word.to_owned()));
    let topic = NewTopic {
        partitions: Some(8),
        replication_factor: Some(1),
        configs: vec![class("written")],
        ..NewTopic::named("orders")
    };
    world.settle(true);
    let create = Command::CreateTopics {
        topics: vec![topic],
        validate_only: false,
    };
    let mut registration = klamm_engine::metadata::Registration::new(
        klamm_sim::world::node::NODE,
        klamm_model::ClusterId([7; 16]),
    );
    registration.incarnation = [1; 16];
    world.call(ShardId(0), Call::Control(Command::Register(registration)));
    world.settle(true);
    world.call(ShardId(0), Call::Control(create));
    world.settle(true);
    let image = world.node.engine(0).image().clone();
    let topic = image.topic("orders").expect("created").id();
    // Not on the core whose log also takes the metadata.
    let partition = (0..8)
        .map(|index| TopicPartition {
            topic,
            index: PartitionIndex(index),
        })
        .find(|partition| partition.home(2) == ShardId(1))
        .expect("partitions are spread over cores");
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
