//! What a coordinator must know of topics: a snapshot that the host gives it, and a hash of what
//! members read.

use std::fmt;

use klamm_model::{TopicId, TopicName};
use twox_hash::XxHash3_64;

/// A snapshot of the cluster's topics. It never changes: the host gives another one.
pub trait TopicsView: fmt::Debug + Send + Sync {
    /// The topic of a name.
    fn by_name(&self, name: &str) -> Option<SeenTopic>;

    /// The topic of an id.
    fn by_id(&self, id: TopicId) -> Option<SeenTopic>;

    /// Names in their order, from the first that comes after this one, as many as are wanted.
    fn names_after(&self, after: Option<&str>, most: usize, each: &mut dyn FnMut(&TopicName));
}

/// A topic, as far as groups need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTopic {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: u32,
}

/// How Kafka's hashes of topics begin.
const MAGIC: u8 = 0;

/// The hash of topics that members read, by the rules of Kafka (KIP-1101): of each topic in the
/// order of names its own hash, over its id, name and partitions. Zero where there are none. Racks
/// of replicas are not hashed, as if the brokers had none.
pub(crate) fn hash_of(topics: &[SeenTopic]) -> i64 {
    if topics.is_empty() {
        return 0;
    }
    let mut all = Vec::with_capacity(8 * topics.len());
    let mut bytes = Vec::new();
    for topic in topics {
        bytes.clear();
        bytes.push(MAGIC);
        // The two halves of an id are numbers, and numbers are hashed from their least byte on.
        for half in topic.id.0.chunks(8) {
            bytes.extend(half.iter().rev());
        }
        put_text(&mut bytes, topic.name.as_str());
        bytes.extend(topic.partitions.to_le_bytes());
        for partition in 0..topic.partitions {
            bytes.extend(partition.to_le_bytes());
        }
        all.extend(XxHash3_64::oneshot(&bytes).to_le_bytes());
    }
    XxHash3_64::oneshot(&all).cast_signed()
}

/// Text is hashed as its UTF-16 units and their number.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let mut length = 0_u32;
    for unit in text.encode_utf16() {
        bytes.extend(unit.to_le_bytes());
        length += 1;
    }
    bytes.extend(length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafka() {
        let topic = |name: &str, partitions: u32| {
            let mut id: [u8; 16] = std::array::from_fn(|at| at as u8 + 1);
            let low = u64::from_be_bytes([1, 2, 3, 4, 5, 6, 7, 8]) + u64::from(partitions);
            id[..8].copy_from_slice(&low.to_be_bytes());
            SeenTopic {
                name: TopicName::new(name).expect("a name"),
                id: TopicId(id),
                partitions,
            }
        };
        let (flights, trains) = (topic("flights", 3), topic("trains", 200));
        // Found by `Utils.computeGroupHash` of Kafka 4.3.1.
        assert_eq!(hash_of(&[]), 0);
        assert_eq!(
            hash_of(std::slice::from_ref(&flights)),
            4_628_429_645_887_859_343
        );
        assert_eq!(hash_of(&[flights, trains]), 3_751_093_514_202_415_590);
    }
}
