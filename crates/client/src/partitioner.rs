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
    /// One partition for each batch, whatever the key (`partitioner.ignore.keys`).
    Sticky,
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
            Partitioning::KeyHash | Partitioning::Sticky => Some(self.random.next()),
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
mod tests;
