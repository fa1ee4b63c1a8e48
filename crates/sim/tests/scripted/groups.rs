//! Coordinators of groups and their logs, step by step: what a load reads, what several batches keep
//! of one decision, and against what committed offsets are held after a start.

use std::ops::Range;

use klamm_engine::api::{Call, CoordinateError, Reply};
use klamm_engine::coord::{
    Command, CommitOffsets, CommitPartition, CommitTopic, DeleteOffsets, FetchOffsets, GroupId,
    Reply as GroupReply, TopicReference,
};
use klamm_engine::metadata::{Command as ControlCommand, TopicReference as DeletedTopic};
use klamm_model::{
    OFFSETS_TOPIC, Offset, PartitionIndex, TopicName, TopicPartition, partition_of_group,
};
use klamm_sim::world::disk::{NamesMode, SimDisk};
use klamm_sim::world::node::{Happening, LifeOptions};

use crate::world::{NOW, SHARDS, World, life};

const KIB: usize = 1024;

/// What the disk keeps for the broker itself.
const RESERVE: usize = 200 * KIB;

/// Into one of these a few dozen tombstones fit.
const SMALL_BATCHES: [(&str, &str); 1] = [("max.message.bytes", "6000")];

/// Offsets whose tombstones take several of those.
const MANY: i32 = 2_400;

/// A life with room for groups.
fn roomy(seed: u64) -> LifeOptions {
    life(seed, |life| {
        life.wal_file_bytes = 64 << 10;
        life.tail_bytes = 4 << 20;
        life.wal_bytes = 8 << 20;
        life.scale.chunk_bytes = 4096;
        life.scale.segment_overhead_bytes = 512;
        life.disk_reserve = RESERVE as u64;
    })
}

/// A node on a disk of this size, with a topic that groups read.
fn world(bytes: usize, configs: &[(&str, &str)]) -> World {
    let mut disk = SimDisk::new(NamesMode::Journal, 0);
    disk.resize(bytes);
    let (mut world, _) = World::start(roomy(1), disk);
    let own = [
        ("cleanup.policy", "compact"),
        ("klamm.durability", "flushed"),
    ];
    world.create(OFFSETS_TOPIC, &[&own[..], configs].concat());
    world.create("read", &[]);
    world
}

impl World {
    fn groups(&self) -> TopicPartition {
        self.partition(OFFSETS_TOPIC)
    }

    /// A group of the partition whose coordinator is looked at.
    fn group(&self) -> GroupId {
        let partition = self.groups();
        let mut names = (0..).map(|number| format!("group-{number}"));
        let name = names.find(|name| partition_of_group(name, 8) == Some(partition.index));
        GroupId::new(&name.expect("names never end"))
    }

    fn topic(&self, name: &str) -> TopicReference {
        let image = self.node.engine(0).image();
        TopicReference {
            name: TopicName::new(name).expect("legal"),
            id: image.topic(name).expect("created").id(),
        }
    }

    fn coordinate(&mut self, command: Command) -> Result<GroupReply, CoordinateError> {
        let partition = self.groups();
        let home = partition.home(SHARDS);
        self.call(home, Call::Coordinate(partition, command));
        let mut replies = self.settle(true);
        match (replies.pop(), replies.is_empty()) {
            (Some(Reply::Coordinate(outcome)), true) => outcome,
            other => panic!("one call was answered by {other:?}"),
        }
    }

    /// Commits the same offset for these partitions, with so many bytes beside each.
    fn commit(
        &mut self,
        topic: &str,
        partitions: Range<i32>,
        offset: i64,
        bytes: usize,
    ) -> Result<(), CoordinateError> {
        let partition = |index| CommitPartition {
            partition: PartitionIndex(index),
            offset: Offset(offset),
            leader_epoch: None,
            metadata: "x".repeat(bytes),
        };
        let command = Command::CommitOffsets(CommitOffsets {
            group: self.group(),
            member: None,
            instance: None,
            generation: None,
            understands_epochs: true,
            retention: None,
            topics: vec![CommitTopic {
                topic: self.topic(topic),
                partitions: partitions.map(partition).collect(),
            }],
        });
        match self.coordinate(command)? {
            GroupReply::CommitOffsets(Ok(_)) => Ok(()),
            other => panic!("a commit was answered by {other:?}"),
        }
    }

    /// Commits offsets of many partitions, a few in each request.
    fn commit_many(&mut self, offset: i64) -> Result<(), CoordinateError> {
        let mut firsts = (0..MANY).step_by(10);
        firsts.try_for_each(|first| self.commit("read", first..first + 10, offset, 0))
    }

    /// Deletes all of these in one decision: a tombstone each.
    fn delete_many(&mut self) -> Result<(), CoordinateError> {
        let command = Command::DeleteOffsets(DeleteOffsets {
            group: self.group(),
            topics: vec![(
                self.topic("read").name,
                (0..MANY).map(PartitionIndex).collect(),
            )],
        });
        match self.coordinate(command)? {
            GroupReply::DeleteOffsets(Ok(_)) => Ok(()),
            other => panic!("a deletion was answered by {other:?}"),
        }
    }

    /// The offsets that are kept, by topic and partition.
    fn offsets(&mut self) -> Vec<(String, i32, i64)> {
        let command = Command::FetchOffsets(FetchOffsets {
            group: self.group(),
            topics: None,
            from: None,
            member: None,
            require_stable: true,
        });
        let reply = self.coordinate(command).expect("it is served");
        let GroupReply::FetchOffsets(Ok(found)) = reply else {
            panic!("a fetch was answered by {reply:?}");
        };
        let topics = found.topics.iter().flat_map(|found| {
            let parts = found.partitions.iter();
            parts.filter_map(|(partition, kept)| {
                let kept = kept.as_ref()?;
                Some((found.topic.name.to_string(), partition.0, kept.offset.0))
            })
        });
        topics.collect()
    }

    /// The state of the coordinator, as one number.
    fn held(&self) -> Option<u64> {
        let partition = self.groups();
        let mut all = self.node.engine(1).group_hashes();
        all.find(|(other, _)| *other == partition)
            .map(|(_, hash)| hash)
    }

    fn log_end(&self) -> i64 {
        let cursors = self.node.engine(1).cursors(self.groups());
        cursors.expect("it is here").log_end.0
    }
}

#[test]
fn a_coordinator_decides_once_it_has_read_the_last_slice_of_its_log() {
    let mut world = world(64 << 20, &[]);
    for index in 0..250 {
        let kept = world.commit("read", index..index + 1, 7, 4_000);
        kept.expect("there is room");
    }
    let (held, offsets) = (world.held(), world.offsets());
    assert!(held.is_some() && offsets.len() > 50);
    for seed in 2..5 {
        let (again, _) = World::start(roomy(seed), world.kill());
        world = again;
        assert_eq!(world.held(), held, "all of it was read");
        assert_eq!(world.offsets(), offsets);
        let loaded = world.node.engine(1).group_gauges().loaded;
        assert!(loaded.bytes > 3 * (256 << 10), "several slices: {loaded:?}");
    }
}

#[test]
fn a_decision_of_several_batches_is_kept_with_all_of_them() {
    let mut world = world(64 << 20, &SMALL_BATCHES);
    world.commit_many(7).expect("there is room");
    world
        .commit("read", MANY..MANY + 1, 7, 0)
        .expect("there is room");
    let before = world.log_end();
    world.delete_many().expect("there is room");
    assert_eq!(
        world.log_end() - before,
        i64::from(MANY),
        "a tombstone each"
    );
    let held = world.held();
    let left = [("read".to_owned(), MANY, 7)];
    assert_eq!(world.offsets(), left);
    let (mut again, _) = World::start(roomy(2), world.kill());
    assert_eq!(again.held(), held);
    assert_eq!(again.offsets(), left);
}

#[test]
fn offsets_are_held_against_the_metadata_once_the_node_leads_again() {
    let mut world = world(64 << 20, &[]);
    world.create("gone", &[]);
    world.commit("read", 0..1, 1, 0).expect("there is room");
    world.commit("gone", 0..1, 2, 0).expect("there is room");
    // The topic goes, and the node dies before the core of the coordinator hears of it.
    let gone = DeletedTopic::Id(world.topic("gone").id);
    let delete = ControlCommand::DeleteTopics { topics: vec![gone] };
    world.call(klamm_model::ShardId(0), Call::Control(delete));
    world.settle_where(|what| !matches!(what, Happening::Turn(1) | Happening::Letter(_, 1)));
    let (mut world, _) = World::start_unregistered(roomy(2), world.kill());
    assert!(world.node.engine(0).image().topic("gone").is_none());
    let both = [("gone".to_owned(), 0, 2), ("read".to_owned(), 0, 1)];
    assert_eq!(
        world.offsets(),
        both,
        "its metadata may be older than its log"
    );
    world.register(2);
    assert_eq!(world.offsets(), both[1..], "now it is not");
}

#[test]
fn a_decision_that_finds_room_for_its_first_batches_alone_is_refused_and_made_good() {
    let mut world = world(64 << 20, &SMALL_BATCHES);
    let (mut midway, mut refused, mut kept) = (0, 0, 0);
    for round in 0..8_usize {
        world.leave(1 << 20);
        world.commit_many(7).expect("there is room");
        // Room for about one more file of the log, or for none.
        world.leave(RESERVE / 2 + (16 + round * 16) * KIB);
        let before = world.log_end();
        match world.delete_many() {
            Ok(()) => kept += 1,
            Err(CoordinateError::NoRoom) => {
                refused += 1;
                let written = world.log_end() - before;
                assert!(written < i64::from(MANY), "not all of it");
                midway += usize::from(written > 0);
            }
            Err(other) => panic!("refused: {other:?}"),
        }
        // It begins anew from its log, which is due at once.
        world.node.wake(NOW);
        world.settle(true);
        let (held, offsets) = (world.held(), world.offsets());
        assert!(held.is_some(), "it begins anew from its log, and serves");
        let (again, _) = World::start(roomy(2 + round as u64), world.kill());
        world = again;
        assert_eq!(world.held(), held, "what it held is what its log says");
        assert_eq!(world.offsets(), offsets);
    }
    assert!(
        midway > 0,
        "{midway} midway, {refused} refused, {kept} kept"
    );
    world.leave(1 << 20);
    world.delete_many().expect("there is room");
    assert_eq!(world.offsets(), []);
}
