//! Which partition a record goes to, held against what Java's own code computes.

use super::*;
use klamm_model::{LeaderEpoch, NodeId, TopicId};

use crate::metadata::PartitionInfo;

fn topic(leaders: &[Option<i32>]) -> TopicInfo {
    let partition = |(index, leader): (usize, &Option<i32>)| PartitionInfo {
        index: PartitionIndex(index as i32),
        error: None,
        leader: leader.map(NodeId),
        leader_epoch: LeaderEpoch(0),
        replicas: Vec::new(),
        isr: Vec::new(),
        offline: Vec::new(),
    };
    TopicInfo {
        name: TopicName::new("t").expect("legal"),
        id: TopicId([1; 16]),
        internal: false,
        error: None,
        partitions: leaders.iter().enumerate().map(partition).collect(),
    }
}

/// Computed with Kafka 4.3.1's own class, keys of `(37 i + 101 length) mod 256`.
#[test]
fn murmur2_gives_what_java_gives() {
    let by_length = [
        (0, 275_646_681, 9),
        (1, -967_466_694, 2),
        (2, 504_925_192, 4),
        (3, 1_804_870_463, 11),
        (4, 302_186_907, 3),
        (5, 1_045_021_036, 4),
        (7, -1_646_352_148, 4),
        (8, -1_114_574_340, 8),
        (9, 991_843_524, 0),
        (15, 798_406_683, 3),
        (16, 406_941_850, 10),
        (21, -394_761_849, 11),
        (31, 457_142_703, 3),
        (64, -250_553_343, 5),
        (255, 1_352_936_034, 6),
    ];
    for (length, hash, partition) in by_length {
        let key: Vec<u8> = (0..length).map(|i| (i * 37 + length * 101) as u8).collect();
        assert_eq!(murmur2(&key), hash, "{length} bytes");
        assert_eq!(partition_of_key(&key, 12), partition, "{length} bytes");
    }
    let texts = [
        ("kafka", -798_503_068, 4),
        ("flights", 1_725_552_234, 6),
        ("a-little-bit-long-string", -985_981_536, 8),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
            5,
        ),
    ];
    for (text, hash, partition) in texts {
        assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        assert_eq!(partition_of_key(text.as_bytes(), 12), partition, "{text}");
    }
}

#[test]
fn keyless_records_stay_until_a_batch_is_full() {
    let topic = topic(&[Some(1); 8]);
    let mut partitioner = Partitioner::new(Partitioning::KeyHash, 100, 7);
    let chosen: Vec<i32> = (0..400)
        .filter_map(|_| partitioner.choose(&topic, None, 10))
        .map(|index| index.0)
        .collect();
    assert!(
        chosen
            .chunks(10)
            .all(|run| run.iter().all(|it| *it == run[0]))
    );
    let used: std::collections::BTreeSet<i32> = chosen.into_iter().collect();
    assert!(
        used.len() >= 6,
        "40 batches spread over 8 partitions: {used:?}"
    );
}

#[test]
fn round_robin_takes_each_partition_in_turn() {
    let topic = topic(&[Some(1); 3]);
    let mut partitioner = Partitioner::new(Partitioning::RoundRobin, 100, 7);
    let chosen: Vec<i32> = (0..6)
        .filter_map(|_| partitioner.choose(&topic, Some(b"same"), 10))
        .map(|index| index.0)
        .collect();
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn keyless_records_avoid_partitions_without_a_leader() {
    let topic = topic(&[None, Some(1), None]);
    let mut partitioner = Partitioner::new(Partitioning::KeyHash, 1, 3);
    for _ in 0..20 {
        let chosen = partitioner.choose(&topic, None, 10);
        assert_eq!(chosen, Some(PartitionIndex(1)));
    }
}

#[test]
fn a_key_keeps_its_partition_when_a_leader_is_lost() {
    let mut partitioner = Partitioner::new(Partitioning::KeyHash, 1, 3);
    let before = partitioner.choose(&topic(&[Some(1); 4]), Some(b"key"), 10);
    let after = partitioner.choose(&topic(&[None; 4]), Some(b"key"), 10);
    assert_eq!(before, after);
}

/// Key number `number` of the vectors: so many bytes, each the top of the next state of a
/// generator that anyone can write again.
fn key(number: u64, length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(number + 1);
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}

/// Each line: length of the key, `Utils.murmur2` of it in Kafka 4.3.1, and the partition among 12
/// and among 7 that `toPositive` of it gives.
#[test]
fn four_thousand_keys_go_where_java_puts_them() {
    let vectors = include_str!("murmur2.txt");
    let mut count = 0;
    for (number, line) in vectors.lines().enumerate() {
        let numbers: Vec<i64> = line
            .split(' ')
            .map(|it| it.parse().expect("a number"))
            .collect();
        let [length, hash, of_12, of_7] = numbers[..] else {
            panic!("four numbers in {line}");
        };
        let key = key(number as u64, length as usize);
        assert_eq!(i64::from(murmur2(&key)), hash, "key {number}");
        assert_eq!(partition_of_key(&key, 12) as i64, of_12, "key {number}");
        assert_eq!(partition_of_key(&key, 7) as i64, of_7, "key {number}");
        count += 1;
    }
    assert_eq!(count, 4000);
}

#[test]
fn sticky_ignores_keys_and_stays_for_a_batch() {
    let topic = topic(&[Some(1); 8]);
    let mut partitioner = Partitioner::new(Partitioning::Sticky, 100, 7);
    let chosen: Vec<i32> = (0..40_u8)
        .filter_map(|key| partitioner.choose(&topic, Some(&[key]), 10))
        .map(|index| index.0)
        .collect();
    let mut runs = chosen.chunks(10);
    assert!(
        runs.all(|run| run.iter().all(|it| *it == run[0])),
        "{chosen:?}"
    );
}
