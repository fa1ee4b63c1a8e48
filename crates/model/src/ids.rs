//! Names of things: topics, partitions, nodes, shards, the cluster.

use std::fmt;
use std::str::FromStr;

/// A topic's stable 16-byte id (KIP-516). Shown as Kafka shows it: URL-safe base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The all-zero id, which Kafka reserves for "no id given".
    pub const ZERO: Self = Self([0; 16]);
    /// The id that Kafka reserves for the metadata log (`Uuid.METADATA_TOPIC_ID`): 0…01.
    pub const METADATA: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// True for the all-zero id.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base64(&self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TopicId({self})")
    }
}

/// The text is not an id of the expected form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseIdError {
    found: String,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected 22 characters of URL-safe base64, found {:?}",
            self.found
        )
    }
}

impl std::error::Error for ParseIdError {}

impl FromStr for TopicId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_base64(text).map(Self).ok_or_else(|| ParseIdError {
            found: text.to_owned(),
        })
    }
}

/// The cluster's id: 16 bytes, shown like a [`TopicId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base64(&self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClusterId({self})")
    }
}

impl FromStr for ClusterId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_base64(text).map(Self).ok_or_else(|| ParseIdError {
            found: text.to_owned(),
        })
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64(bytes: &[u8; 16]) -> String {
    let value = u128::from_be_bytes(*bytes);
    (0..22)
        .map(|place: u32| {
            // 21 groups of six bits, and a last one of two bits that is padded on the right.
            let six_bits = if place < 21 {
                value >> (122 - 6 * place)
            } else {
                value << 4
            } & 0x3f;
            char::from(ALPHABET[six_bits as usize])
        })
        .collect()
}

fn parse_base64(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut value: u128 = 0;
    for (place, byte) in text.bytes().enumerate() {
        let six_bits = ALPHABET.iter().position(|&letter| letter == byte)? as u128;
        if place < 21 {
            value |= six_bits << (122 - 6 * place);
        } else if six_bits & 0x0f == 0 {
            value |= six_bits >> 4;
        } else {
            return None;
        }
    }
    Some(value.to_be_bytes())
}

/// Number of a partition inside its topic, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PartitionIndex(pub i32);

impl fmt::Display for PartitionIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One partition of one topic, by the topic's stable id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number inside it.
    pub index: PartitionIndex,
}

impl TopicPartition {
    /// The metadata quorum's own log, `__cluster_metadata-0`.
    pub const METADATA: Self = Self {
        topic: TopicId::METADATA,
        index: PartitionIndex(0),
    };

    /// The shard that owns this partition among `shards`: a pure function of id and number, so it
    /// is the same on every start, and neighbouring partitions of a topic land on different shards.
    ///
    /// # Panics
    /// If `shards` is zero.
    #[must_use]
    pub fn home(self, shards: u16) -> ShardId {
        assert!(shards > 0, "a node has at least one shard");
        if shards == 1 || self == Self::METADATA {
            return ShardId(0);
        }
        let folded = self
            .topic
            .0
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let spread = (folded >> 32).wrapping_add(self.index.0.unsigned_abs().into());
        ShardId((spread % u64::from(shards)) as u16)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.index)
    }
}

/// A process of the cluster (`node.id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub i32);

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One pinned thread of this process and the engine that it runs, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_as_kafka_shows_them() {
        assert_eq!(TopicId::METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId([0xff; 16]).to_string(), "_____________________w");
        let id: TopicId = "vPeOCWypqUOSepEvx0cbog".parse().expect("22 characters");
        assert_eq!(id.to_string(), "vPeOCWypqUOSepEvx0cbog");
    }

    #[test]
    fn a_text_that_is_no_id_is_refused() {
        for text in [
            "",
            "short",
            "AAAAAAAAAAAAAAAAAAAAA!",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "=".repeat(22).as_str(),
        ] {
            assert!(text.parse::<TopicId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn partitions_of_one_topic_spread_evenly_over_shards() {
        let mut homes = [0; 4];
        for index in 0..400 {
            let partition = TopicPartition {
                topic: TopicId([7; 16]),
                index: PartitionIndex(index),
            };
            homes[usize::from(partition.home(4).0)] += 1;
        }
        assert_eq!(homes, [100; 4]);
    }
}
