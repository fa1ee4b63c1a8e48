//! Which partition a record goes to, as the Java client chooses: hash of the key, else one
//! partition until a batch is full (KIP-480, KIP-794), or each in turn. Owns what it needs to
//! remember between records; randomness comes from a seed.
//!
//! librdkafka hashes keys with CRC-32 by default, so the two place the same key differently.

use std::collections::BTreeMap;

use klamm_model::{PartitionIndex, Random, TopicName};

use crate::metadata::TopicInfo;

/// How to choose for records that name no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Partitioning {
    /// By murmur2 of the key; without a key one partition for each batch.
    #[default]
    KeyHash,
    /// Each partition in turn, whatever the key.
    RoundRobin,
}

/// The 32-bit murmur2 hash with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const MIX: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;
    // Java's array lengths fit 31 bits; of a longer key only the low bits would enter the seed.
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let word = word
            .iter()
            .rev()
            .fold(0_u32, |word, &byte| word << 8 | u32::from(byte));
        let mut mixed = word.wrapping_mul(MIX);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MIX) ^ mixed.wrapping_mul(MIX);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        let rest = tail
            .iter()
            .rev()
            .fold(0_u32, |rest, &byte| rest << 8 | u32::from(byte));
        hash = (hash ^ rest).wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    (hash ^ hash >> 15).cast_signed()
}

/// The partition of a key among `count`: `toPositive(murmur2(key)) % count`.
///
/// # Panics
/// If `count` is zero.
#[must_use]
pub fn partition_of_key(key: &[u8], count: usize) -> usize {
    assert!(count > 0, "a topic has at least one partition");
    (murmur2(key) & i32::MAX).cast_unsigned() as usize % count
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Position in the list of partitions at hand.
    at: usize,
    /// Bytes put there so far.
    bytes: usize,
    begun: bool,
}

/// Chooses partitions for one producer.
#[derive(Clone, Debug)]
pub struct Partitioner {
    partitioning: Partitioning,
    /// Bytes after which a keyless record goes elsewhere.
    sticky_bytes: usize,
    random: Random,
    places: BTreeMap<TopicName, Place>,
}

impl Partitioner {
    /// A partitioner; the same seed chooses the same partitions.
    #[must_use]
    pub const fn new(partitioning: Partitioning, sticky_bytes: usize, seed: u64) -> Self {
        Self {
            partitioning,
            sticky_bytes,
            random: Random::new(seed),
            places: BTreeMap::new(),
        }
    }

    /// The partition for a record of about `bytes` bytes; `None` if the topic has none. Keyless
    /// records avoid partitions without a leader while others have one.
    pub fn choose(
        &mut self,
        topic: &TopicInfo,
        key: Option<&[u8]>,
        bytes: usize,
    ) -> Option<PartitionIndex> {
        let count = topic.partitions.len();
        if count == 0 {
            return None;
        }
        if let (Partitioning::KeyHash, Some(key)) = (self.partitioning, key) {
            let at = partition_of_key(key, count);
            return topic.partitions.get(at).map(|partition| partition.index);
        }
        let step = match self.partitioning {
            Partitioning::RoundRobin => None,
            Partitioning::KeyHash => Some(self.random.next()),
        };
        let led: usize = topic
            .partitions
            .iter()
            .filter(|it| it.leader.is_some())
            .count();
        let candidates = if led == 0 { count } else { led };
        let place = self.places.entry(topic.name.clone()).or_default();
        match step {
            None if place.begun => place.at += 1,
            Some(random) if !place.begun || place.bytes >= self.sticky_bytes => {
                place.at = (random % candidates as u64) as usize;
                place.bytes = 0;
            }
            _ => {}
        }
        place.begun = true;
        place.at %= candidates;
        place.bytes = place.bytes.saturating_add(bytes);
        topic
            .partitions
            .iter()
            .filter(|partition| led == 0 || partition.leader.is_some())
            .nth(place.at)
            .map(|partition| partition.index)
    }
}

#[cfg(test)]
mod tests {
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
}
