//! Properties of the controller, the image and the delta over random histories, and their price at
//! 100 000 partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use klamm_model::limits::{ADMIN_TOPICS_MAX, CREATE_PARTITIONS_MAX};
use klamm_model::{
    ClusterId, ErrorCode, Instant, NodeId, PartitionIndex, TopicPartition, WallTime,
};

use super::*;
use crate::delta::Delta;
use crate::record::{self, ConfigResource, PartitionRecord};

const SEEDS: u64 = 400;

fn moment(seed: u64) -> Moment {
    Moment {
        now: Instant(seed),
        wall: WallTime(1_700_000_000_000),
        seed: u128::from(seed) << 64 | u128::from(seed),
    }
}

/// Draws commands, legal ones and others.
struct Chance(Random);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    fn name(&mut self) -> String {
        let names = [
            "a",
            "b",
            "a.b",
            "a_b",
            "c.d_e",
            "c_d.e",
            "bad/name",
            "__consumer_offsets",
        ];
        let name = names[self.below(8) as usize];
        match self.below(3) {
            0 => format!("{name}{}", self.below(300)),
            _ => name.to_owned(),
        }
    }

    fn topic(&mut self) -> NewTopic {
        let mut topic = NewTopic::named(&self.name());
        if self.below(2) == 0 {
            topic.partitions = Some(self.below(200) as i32 - 1);
            topic.replication_factor = Some(self.below(4) as i16);
        }
        if self.below(3) == 0 {
            let keys = ["retention.ms", "cleanup.policy", "segment.bytes", "unknown"];
            let values = ["1", "compact", "2000000", "x"];
            let at = self.below(4) as usize;
            topic
                .configs
                .push((keys[at].to_owned(), Some(values[at].to_owned())));
        }
        topic
    }

    fn command(&mut self, controller: &Controller) -> Command {
        match self.below(12) {
            0 => Command::Register(Registration {
                incarnation: [self.below(3) as u8; 16],
                ..Registration::new(
                    NodeId(self.below(5) as i32),
                    ClusterId([1 + self.below(20) as u8 / 19; 16]),
                )
            }),
            1..=4 => Command::CreateTopics {
                topics: (0..1 + self.below(5)).map(|_| self.topic()).collect(),
                validate_only: self.below(8) == 0,
            },
            5 => Command::AutoCreateTopic { name: self.name() },
            6..=8 => {
                let by_id = controller.image().topics().next().map(|topic| topic.id());
                let mut topics: Vec<_> = (0..1 + self.below(4))
                    .map(|_| TopicReference::Name(self.name()))
                    .collect();
                topics.extend(by_id.filter(|_| self.below(3) == 0).map(TopicReference::Id));
                Command::DeleteTopics { topics }
            }
            9 | 10 => {
                let resource = match self.below(4) {
                    0 => ConfigResource::BrokerDefault,
                    3 => ConfigResource::Group(format!("g{}", self.below(3))),
                    1 => ConfigResource::Broker(NodeId(self.below(3) as i32)),
                    _ => ConfigResource::Topic(TopicName::new("a").expect("legal")),
                };
                let key = match resource {
                    ConfigResource::Group(_) => "consumer.assignment.interval.ms",
                    _ => "retention.ms",
                };
                let operation = match self.below(3) {
                    0 => ConfigOperation::Delete,
                    _ => ConfigOperation::Set(Some(self.below(9).to_string())),
                };
                Command::SetConfigs {
                    changes: vec![ConfigChange {
                        resource,
                        operations: vec![(key.to_owned(), operation)],
                    }],
                    mode: ConfigMode::Incremental,
                    validate_only: false,
                }
            }
            _ => Command::AllocateProducerIds {
                count: self.below(2000) as u32,
            },
        }
    }
}

fn apply_delta(topics: &mut BTreeMap<TopicName, Arc<crate::Topic>>, delta: &Delta) {
    for topic in &delta.topics_deleted {
        assert!(topics.remove(topic.name()).is_some());
    }
    for topic in &delta.topics_created {
        assert!(
            topics
                .insert(topic.name().clone(), Arc::clone(topic))
                .is_none()
        );
    }
    for change in &delta.topics_changed {
        let before = topics.insert(change.after.name().clone(), Arc::clone(&change.after));
        assert_eq!(before, Some(Arc::clone(&change.before)));
    }
}

#[test]
fn every_image_is_the_replay_of_its_records_and_every_delta_leads_to_it() {
    for seed in 0..SEEDS {
        let mut random = Chance(Random::new(seed));
        let mut controller = Controller::resume(Image::default(), BrokerDefaults::default());
        let mut log = Vec::new();
        let mut topics = BTreeMap::new();
        let mut old: Option<(Image, u64)> = None;
        for position in 1..40 {
            let before = controller.image().clone();
            let command = random.command(&controller);
            let decision = controller.decide(moment(position ^ seed << 32), command);
            assert_eq!(&before, controller.image(), "decide changes nothing");
            let position = MetadataOffset(position as i64);
            controller
                .replay_all(position, &decision.records)
                .expect("own records fit");
            log.push((position, record::encode(&decision.records)));
            let delta = Delta::between(&before, controller.image());
            apply_delta(&mut topics, &delta);
            assert!(
                controller.image().topics().eq(topics.values()),
                "seed {seed}"
            );
            if random.below(10) == 0 {
                old = Some((controller.image().clone(), controller.hash()));
            }
        }
        let mut again = Controller::resume(Image::default(), BrokerDefaults::default());
        for (position, payload) in &log {
            let records = record::decode(payload).expect("own bytes");
            again.replay_all(*position, &records).expect("they fit");
        }
        assert_eq!(again.image(), controller.image(), "seed {seed}");
        assert_eq!(again.hash(), controller.hash(), "seed {seed}");
        assert_eq!(again.flat_names, controller.flat_names, "seed {seed}");
        let snapshot = controller.image().to_snapshot();
        let restored = Image::from_snapshot(&snapshot).expect("own bytes");
        assert_eq!(&restored, controller.image(), "seed {seed}");
        let resumed = Controller::resume(restored, BrokerDefaults::default());
        assert_eq!(resumed.flat_names, controller.flat_names, "seed {seed}");
        check_counts(controller.image());
        if let Some((image, hash)) = old {
            assert_eq!(image.hash(), hash, "an old image never changes");
        }
    }
}

fn check_counts(image: &Image) {
    let partitions: usize = image.topics().map(|topic| topic.partition_count()).sum();
    assert_eq!(image.partition_count(), partitions);
    assert_eq!(image.topics().count(), image.topic_count());
    for topic in image.topics() {
        assert_eq!(image.topic_by_id(topic.id()), Some(topic));
        assert_eq!(image.topic(topic.name().as_str()), Some(topic));
    }
}

#[test]
fn topic_ids_of_one_and_of_many_decisions_differ() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let mut ids = FreshIds::new(moment(seed).seed);
        for _ in 0..100 {
            let id = ids.next();
            assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2), "version 4 in form");
            assert!(seen.insert(id));
        }
    }
}

#[test]
fn a_record_that_does_not_fit_is_an_error() {
    let controller = running(1);
    let partition = PartitionRecord {
        topic: TopicId([5; 16]),
        index: PartitionIndex(0),
        replicas: [NodeId(1)].into(),
        isr: [NodeId(1)].into(),
        leader: None,
        leader_epoch: klamm_model::LeaderEpoch(0),
        partition_epoch: klamm_model::PartitionEpoch(0),
    };
    let misfits = [
        MetadataRecord::PartitionCreated(partition.clone()),
        MetadataRecord::PartitionChanged(partition),
        MetadataRecord::TopicDeleted {
            id: TopicId([5; 16]),
        },
        MetadataRecord::Cluster {
            id: ClusterId([99; 16]),
        },
    ];
    for record in misfits {
        let mut image = controller.image().clone();
        assert!(
            image.replay(MetadataOffset(9), &record).is_err(),
            "{record:?}"
        );
    }
}

fn running(brokers: i32) -> Controller {
    let mut controller = Controller::resume(Image::default(), BrokerDefaults::default());
    for node in 1..=brokers {
        let command = Command::Register(Registration::new(NodeId(node), ClusterId([1; 16])));
        let decision = controller.decide(moment(1), command);
        controller
            .replay_all(MetadataOffset(1), &decision.records)
            .expect("fits");
    }
    controller
}

#[test]
fn requests_beyond_the_ceilings_are_refused_whole_and_cheaply() {
    let controller = running(1);
    let create = |topics| {
        let decision = controller.decide(
            moment(2),
            Command::CreateTopics {
                topics,
                validate_only: false,
            },
        );
        assert!(decision.records.is_empty());
        let Reply::CreateTopics(answers) = decision.reply else {
            panic!("an answer of another command");
        };
        for (_, outcome) in answers {
            assert_eq!(
                outcome.expect_err("refused").code(),
                ErrorCode::PolicyViolation
            );
        }
    };
    create(
        (0..=ADMIN_TOPICS_MAX)
            .map(|n| NewTopic::named(&n.to_string()))
            .collect(),
    );
    let wide = |name: &str| NewTopic {
        partitions: Some(i32::MAX),
        ..NewTopic::named(name)
    };
    create(vec![wide("a"), wide("b"), wide("c")]);
    // Legal topics whose configuration is too much for one payload.
    let heavy = |n: usize| NewTopic {
        configs: vec![(
            "leader.replication.throttled.replicas".to_owned(),
            Some("x".repeat(30_000)),
        )],
        ..NewTopic::named(&n.to_string())
    };
    create((0..2000).map(heavy).collect());
    let all = controller.decide(
        moment(3),
        Command::DeleteTopics {
            topics: (0..=ADMIN_TOPICS_MAX)
                .map(|n| TopicReference::Name(n.to_string()))
                .collect(),
        },
    );
    let Reply::DeleteTopics(answers) = all.reply else {
        panic!("an answer of another command");
    };
    assert!(
        answers
            .iter()
            .all(|topic| topic.outcome == Err(DeleteTopicError::TooMany))
    );
}

#[test]
fn replicas_are_spread_evenly_and_over_racks() {
    let mut controller = Controller::resume(Image::default(), BrokerDefaults::default());
    for node in 1..=6 {
        let mut registration = Registration::new(NodeId(node), ClusterId([1; 16]));
        registration.rack = Some(format!("rack {}", (node - 1) / 2));
        let decision = controller.decide(moment(1), Command::Register(registration));
        controller
            .replay_all(MetadataOffset(1), &decision.records)
            .expect("fits");
    }
    let topic = NewTopic {
        partitions: Some(60),
        replication_factor: Some(3),
        ..NewTopic::named("spread")
    };
    let command = Command::CreateTopics {
        topics: vec![topic],
        validate_only: false,
    };
    let decision = controller.decide(moment(2), command);
    controller
        .replay_all(MetadataOffset(2), &decision.records)
        .expect("fits");
    let topic = controller.image().topic("spread").expect("created");
    let mut leaders = BTreeMap::new();
    for (_, partition) in topic.partitions() {
        *leaders.entry(partition.leader).or_insert(0) += 1;
        let distinct: BTreeSet<_> = partition.replicas.iter().collect();
        assert_eq!(distinct.len(), 3);
        if partition
            .replicas
            .windows(2)
            .all(|pair| pair[0].0 % 6 + 1 == pair[1].0)
        {
            continue;
        }
        let racks: BTreeSet<_> = partition
            .replicas
            .iter()
            .map(|node| (node.0 - 1) / 2)
            .collect();
        assert!(racks.len() >= 2, "{:?}", partition.replicas);
    }
    assert_eq!(leaders.into_values().collect::<Vec<_>>(), [10; 6]);
}

/// The claim is about work, not about a clock: one change to a shared image of 100 000 partitions
/// leaves all but the touched chunks shared, so that finding the difference is cheap as well.
#[test]
fn one_more_topic_beside_100_000_partitions_copies_little() {
    let mut controller = running(1);
    let topics = |prefix: &str, count: usize, partitions: usize| -> Command {
        Command::CreateTopics {
            topics: (0..count)
                .map(|n| NewTopic {
                    partitions: Some(partitions as i32),
                    ..NewTopic::named(&format!("{prefix}{n:06}"))
                })
                .collect(),
            validate_only: false,
        }
    };
    let started = std::time::Instant::now();
    let decision = controller.decide(moment(2), topics("t", CREATE_PARTITIONS_MAX / 10, 10));
    let decided = started.elapsed();
    let payload = record::encode(&decision.records);
    let records = record::decode(&payload).expect("own bytes");
    let started = std::time::Instant::now();
    controller
        .replay_all(MetadataOffset(2), &records)
        .expect("fits");
    let replayed = started.elapsed();
    assert_eq!(controller.image().partition_count(), CREATE_PARTITIONS_MAX);

    let before = controller.image().clone();
    let decision = controller.decide(moment(3), topics("one-more", 1, 10));
    let started = std::time::Instant::now();
    controller
        .replay_all(MetadataOffset(3), &decision.records)
        .expect("fits");
    let one_more = started.elapsed();
    let started = std::time::Instant::now();
    let delta = Delta::between(&before, controller.image());
    let compared = started.elapsed();
    assert_eq!(delta.topics_created.len(), 1);
    assert!(delta.topics_changed.is_empty() && delta.topics_deleted.is_empty());
    let (old, new) = before.topic_map().unshared(controller.image().topic_map());
    assert!(
        old.len() <= 128 && new.len() <= 256,
        "{} and {}",
        old.len(),
        new.len()
    );
    eprintln!(
        "100 000 partitions in 10 000 topics: {} bytes, decided in {decided:?}, replayed in \
         {replayed:?}; one more topic of 10 partitions {one_more:?}, its delta {compared:?}",
        payload.len()
    );
}

/// Every start of the node writes this, so it must not grow with what the node leads; and what
/// the node does not lead must stay shared.
#[test]
fn a_new_life_of_the_leader_of_100_000_partitions_is_one_small_payload() {
    let mut controller = running(1);
    let topics = (0..CREATE_PARTITIONS_MAX / 10).map(|n| NewTopic {
        partitions: Some(10),
        ..NewTopic::named(&format!("t{n:06}"))
    });
    let command = Command::CreateTopics {
        topics: topics.collect(),
        validate_only: false,
    };
    let decision = controller.decide(moment(2), command);
    controller
        .replay_all(MetadataOffset(2), &decision.records)
        .expect("fits");
    let before = controller.image().clone();
    let mut registration = Registration::new(NodeId(1), ClusterId([1; 16]));
    registration.incarnation = [9; 16];
    let decision = controller.decide(moment(3), Command::Register(registration));
    let payload = record::encode(&decision.records);
    assert!(payload.len() < 100, "{} bytes", payload.len());
    let started = std::time::Instant::now();
    controller
        .replay_all(MetadataOffset(3), &decision.records)
        .expect("fits");
    let replayed = started.elapsed();
    let image = controller.image().clone();
    let mut partitions = image.topics().flat_map(|topic| topic.partitions());
    assert!(partitions.all(|(_, partition)| partition.leader_epoch.0 == 1));
    let started = std::time::Instant::now();
    let delta = Delta::between(&before, &image);
    let compared = started.elapsed();
    assert_eq!(delta.topics_changed.len(), CREATE_PARTITIONS_MAX / 10);

    // The life of a node that leads none of them touches none of them.
    for (position, incarnation) in [(4, 7), (5, 8)] {
        let mut registration = Registration::new(NodeId(2), ClusterId([1; 16]));
        registration.incarnation = [incarnation; 16];
        let decision = controller.decide(moment(position), Command::Register(registration));
        controller
            .replay_all(MetadataOffset(position as i64), &decision.records)
            .expect("fits");
    }
    let (old, new) = image.topic_map().unshared(controller.image().topic_map());
    assert!(old.is_empty() && new.is_empty(), "all is shared");
    eprintln!(
        "a new life of the leader of 100 000 partitions: {} bytes, replayed in {replayed:?}, \
         compared in {compared:?}",
        payload.len()
    );
}

#[test]
fn one_changed_partition_of_100_000_in_one_topic_is_found() {
    let mut controller = running(1);
    let topic = NewTopic {
        partitions: Some(CREATE_PARTITIONS_MAX as i32),
        ..NewTopic::named("wide")
    };
    let command = Command::CreateTopics {
        topics: vec![topic],
        validate_only: false,
    };
    let decision = controller.decide(moment(2), command);
    controller
        .replay_all(MetadataOffset(2), &decision.records)
        .expect("fits");
    let before = controller.image().clone();
    let topic = before.topic("wide").expect("created").id();
    let index = PartitionIndex(77_777);
    let partition = before
        .partition(TopicPartition { topic, index })
        .expect("created");
    let changed = PartitionRecord {
        leader: None,
        ..partition.to_record(TopicPartition { topic, index })
    };
    controller
        .replay(
            MetadataOffset(3),
            &MetadataRecord::PartitionChanged(changed),
        )
        .expect("fits");
    let delta = Delta::between(&before, controller.image());
    assert_eq!(delta.topics_changed.len(), 1);
    assert_eq!(delta.topics_changed[0].partitions_changed, [index]);
    assert!(delta.topics_changed[0].partitions_created.is_empty());
    assert!(!delta.topics_changed[0].config_changed);
}
