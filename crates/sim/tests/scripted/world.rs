//! A node whose every step a test chooses, on a disk that the test may change between its lives.

use bytes::Bytes;
use klamm_engine::api::{
    AppendCall, AppendPartition, Call, Now, OffsetPosition, OffsetQuestion, OffsetsCall, ReadCall,
    ReadError, ReadPartition, Reply, Ticket,
};
use klamm_engine::batch::{BatchBuilder, BatchOptions};
use klamm_engine::metadata::{Command, NewTopic, Registration};
use klamm_engine::replica::TransactionVersion;
use klamm_model::{
    Acks, ClusterId, Instant, IsolationLevel, Offset, PartitionIndex, ShardId, Timestamp,
    TopicPartition, WallTime,
};
use klamm_sim::random::Random;
use klamm_sim::world::disk::SimDisk;
use klamm_sim::world::node::{Happening, LifeOptions, NODE, SimNode, StartFailed, Started};

pub(crate) const NOW: Now = Now {
    instant: Instant(1),
    wall: WallTime(1_700_000_000_000),
};

/// Steps after which a node must have come to rest.
const STEPS_MAX: usize = 100_000;

/// Cores of every node here.
pub(crate) const SHARDS: u16 = 2;

pub(crate) struct World {
    pub(crate) node: SimNode,
    pub(crate) disk: SimDisk,
    calls: u64,
}

/// A life on two cores; `change` says what is special about it.
pub(crate) fn life(seed: u64, change: impl FnOnce(&mut LifeOptions)) -> LifeOptions {
    let mut life = LifeOptions::draw(&mut Random::new(seed), None);
    life.shards = SHARDS;
    change(&mut life);
    life
}

impl World {
    /// Starts a node on this disk, and registers it.
    pub(crate) fn start(life: LifeOptions, disk: SimDisk) -> (Self, Started) {
        let seed = life.seed;
        let (mut world, started) = Self::start_unregistered(life, disk);
        world.register(seed);
        (world, started)
    }

    /// Starts a node on this disk, which does not know yet that it leads again.
    pub(crate) fn start_unregistered(life: LifeOptions, mut disk: SimDisk) -> (Self, Started) {
        let (node, started) = begin(life, &mut disk, None).expect("the power stays");
        let calls = 0;
        let mut world = Self { node, disk, calls };
        world.settle(true);
        (world, started)
    }

    /// Registers the node, as a life of its own.
    pub(crate) fn register(&mut self, seed: u128) {
        let mut registration = Registration::new(NODE, ClusterId([7; 16]));
        registration.incarnation = seed.to_be_bytes();
        self.call(ShardId(0), Call::Control(Command::Register(registration)));
        self.settle(true);
    }

    /// Creates a topic of eight partitions.
    pub(crate) fn create(&mut self, name: &str, configs: &[(&str, &str)]) {
        let configs = configs.iter();
        let topic = NewTopic {
            partitions: Some(8),
            replication_factor: Some(1),
            configs: configs
                .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
                .collect(),
            ..NewTopic::named(name)
        };
        let create = Command::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        self.call(ShardId(0), Call::Control(create));
        self.settle(true);
    }

    /// A partition of a topic that does not live on the core whose log also takes the metadata.
    pub(crate) fn partition(&self, name: &str) -> TopicPartition {
        let image = self.node.engine(0).image();
        let topic = image.topic(name).expect("created").id();
        let mut all = (0..8).map(|index| TopicPartition {
            topic,
            index: PartitionIndex(index),
        });
        all.find(|partition| partition.home(SHARDS) == ShardId(1))
            .expect("partitions are spread over cores")
    }

    pub(crate) fn call(&mut self, home: ShardId, call: Call) {
        self.calls += 1;
        let ticket = Ticket {
            shard: home,
            call: self.calls,
        };
        self.node.call(NOW, ticket, home, call);
    }

    /// Lets everything happen that can; without `disk`, only what needs no device.
    pub(crate) fn settle(&mut self, disk: bool) -> Vec<Reply> {
        self.settle_where(|what| disk || !matches!(what, Happening::Work(_)))
    }

    /// Lets everything happen that may.
    pub(crate) fn settle_where(&mut self, may: impl Fn(&Happening) -> bool) -> Vec<Reply> {
        let can = |what: &&Happening| may(what);
        let mut left = STEPS_MAX;
        while let Some(&what) = self.node.happenings().iter().find(can) {
            self.node.happen(NOW, &mut self.disk, what);
            left -= 1;
            assert!(left > 0, "{what:?} happens without end");
        }
        let replies = self.node.take_replies();
        replies.into_iter().map(|(_, reply)| reply).collect()
    }

    pub(crate) fn append(&mut self, partition: TopicPartition, records: &Bytes) {
        let part = AppendPartition {
            partition,
            records: records.clone(),
            zstd_known: true,
            transactions: TransactionVersion::Two,
        };
        let call = AppendCall::new(Acks::All, vec![part]);
        self.call(partition.home(SHARDS), Call::Append(call));
    }

    /// Appends one batch, and waits for its acknowledgement.
    pub(crate) fn appended(&mut self, partition: TopicPartition, records: &Bytes) -> Offset {
        self.append(partition, records);
        let replies = self.settle(true);
        let [Reply::Append(call)] = &replies[..] else {
            panic!("one append was answered by {replies:?}");
        };
        let appended = call.outcomes[0].as_ref().expect("appended");
        appended.base_offset
    }

    /// The bytes that a reader gets from `offset` on.
    pub(crate) fn read(
        &mut self,
        partition: TopicPartition,
        offset: i64,
    ) -> Result<Bytes, ReadError> {
        let part = ReadPartition {
            partition,
            offset: Offset(offset),
            leader_epoch: None,
            last_epoch: None,
            bytes_max: 1,
        };
        let isolation = IsolationLevel::ReadUncommitted;
        let read = Call::Read(ReadCall::new(isolation, 1, vec![part]));
        self.call(partition.home(SHARDS), read);
        let replies = self.settle(true);
        let [Reply::Read(read)] = &replies[..] else {
            panic!("one read was answered by {replies:?}");
        };
        match read.outcomes[0].error {
            Some(error) => Err(error),
            None => Ok(read.records_of(&read.outcomes[0]).concat().into()),
        }
    }

    /// The first offset at or after a time, and that record's time.
    pub(crate) fn offset_at(
        &mut self,
        partition: TopicPartition,
        time: i64,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        self.offset_of(partition, OffsetPosition::At(Timestamp(time)))
    }

    /// An offset that is found by a time, and that record's time.
    pub(crate) fn offset_of(
        &mut self,
        partition: TopicPartition,
        position: OffsetPosition,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        let question = OffsetQuestion {
            partition,
            leader_epoch: None,
            position,
        };
        let call = OffsetsCall {
            isolation: IsolationLevel::ReadUncommitted,
            partitions: vec![question],
        };
        self.call(partition.home(SHARDS), Call::Offsets(call));
        let replies = self.settle(true);
        let [Reply::Offsets(outcomes)] = &replies[..] else {
            panic!("one question was answered by {replies:?}");
        };
        let found = outcomes[0]?;
        Ok(found.map(|found| (found.offset.0, found.timestamp.expect("found by time").0)))
    }

    /// Ends the life cleanly: segments and checkpoints hold everything.
    pub(crate) fn stop(mut self) -> SimDisk {
        while !self.node.settle() {
            self.settle(true);
        }
        self.disk
    }

    /// Ends the life at once; what was written is in the files.
    pub(crate) fn kill(self) -> SimDisk {
        self.disk
    }
}

/// Starts a node, unless the power goes after so many changes of the disk.
pub(crate) fn begin(
    life: LifeOptions,
    disk: &mut SimDisk,
    changes: Option<u64>,
) -> Option<(SimNode, Started)> {
    match SimNode::start(life, NOW, disk, changes) {
        Err(StartFailed::PowerCut) if changes.is_some() => None,
        started => Some(started.expect("a disk to start on")),
    }
}

/// A batch of one record with a value of this size.
pub(crate) fn batch(value_bytes: usize) -> Bytes {
    batch_at(NOW.wall.0, value_bytes)
}

/// The same with a record of this time.
pub(crate) fn batch_at(time: i64, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Timestamp(time), None, Some(&vec![7; value_bytes]), &[]);
    Bytes::from(builder.build().expect("small"))
}
