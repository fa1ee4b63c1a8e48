//! What consumers of the classic protocol tell each other inside JoinGroup and SyncGroup, in the
//! encoding of Kafka's `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`. Written in
//! version 3 and 0; of later versions the fields known here are read.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use klamm_model::{PartitionIndex, TopicName};
use klamm_wire::{DecodeError, Element, Reader, Writer};

use crate::metadata::PartitionName;

/// The kind of group that consumers form, as JoinGroup names it.
pub const CONSUMER: &str = "consumer";

/// The version in which subscriptions are written.
const SUBSCRIPTION_VERSION: i16 = 3;

/// The version in which assignments are written; all versions up to 3 have the same fields.
const ASSIGNMENT_VERSION: i16 = 0;

/// What a member says to the one who divides the work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics that it wants to read.
    pub topics: Vec<TopicName>,
    /// What its way of dividing adds; opaque here.
    pub user_data: Option<Bytes>,
    /// What it reads now (from version 1 on).
    pub owned: Vec<PartitionName>,
    /// The round in which it was given that, where it says so (from version 2 on).
    pub generation: Option<i32>,
    /// Where it runs (from version 3 on).
    pub rack: Option<String>,
}

/// What a member was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// What it shall read.
    pub partitions: Vec<PartitionName>,
    /// What the way of dividing adds; opaque here.
    pub user_data: Option<Bytes>,
}

/// What others wrote is no `ConsumerProtocol` message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// It breaks the encoding.
    Decode(DecodeError),
    /// A version below zero.
    Version(i16),
    /// A name that no topic can have, or a partition below zero.
    Name,
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(formatter),
            Self::Version(version) => {
                write!(formatter, "expected a version from 0 on, found {version}")
            }
            Self::Name => formatter.write_str("expected names of topics and partitions from 0 on"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// Partitions of one topic on the wire.
struct TopicRow<'a> {
    topic: &'a str,
    partitions: klamm_wire::Array<'a, i32>,
}

impl<'a> Element<'a> for TopicRow<'a> {
    fn read(reader: &mut Reader<'a>) -> Self {
        Self {
            topic: reader.string(),
            partitions: reader.array(),
        }
    }
}

impl Subscription {
    /// The bytes for JoinGroup.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        written(SUBSCRIPTION_VERSION, |writer| {
            writer.array_len(self.topics.len());
            for topic in &self.topics {
                writer.string(topic.as_str());
            }
            writer.opt_bytes(self.user_data.as_deref());
            write_partitions(writer, &self.owned);
            writer.i32(self.generation.unwrap_or(-1));
            writer.opt_string(self.rack.as_deref());
        })
    }

    /// Reads what another member said.
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = opened(bytes)?;
        let version = reader.version();
        let topics = reader.array::<&str>();
        let user_data = reader.opt_bytes(true);
        let owned = (version >= 1).then(|| reader.array::<TopicRow<'_>>());
        let generation = if version >= 2 { reader.i32() } else { -1 };
        let rack = (version >= 3).then(|| reader.opt_string(true)).flatten();
        closed(&reader)?;
        let topics = topics.iter().map(TopicName::new);
        let topics: Result<Vec<_>, _> = topics.collect();
        Ok(Self {
            topics: topics.map_err(|_| ProtocolError::Name)?,
            user_data: user_data.map(Bytes::copy_from_slice),
            owned: match owned {
                Some(rows) => partitions_of(rows)?,
                None => Vec::new(),
            },
            generation: Some(generation).filter(|&generation| generation >= 0),
            rack: rack.map(str::to_owned),
        })
    }
}

impl Assignment {
    /// The bytes for SyncGroup.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        written(ASSIGNMENT_VERSION, |writer| {
            write_partitions(writer, &self.partitions);
            writer.opt_bytes(self.user_data.as_deref());
        })
    }

    /// Reads what the one who divides wrote. No bytes at all are no partitions, as Kafka's leader
    /// leaves members without work.
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = opened(bytes)?;
        let rows = reader.array::<TopicRow<'_>>();
        let user_data = reader.opt_bytes(true);
        closed(&reader)?;
        Ok(Self {
            partitions: partitions_of(rows)?,
            user_data: user_data.map(Bytes::copy_from_slice),
        })
    }
}

/// A reader behind the version, which all messages begin with.
fn opened(bytes: &[u8]) -> Result<Reader<'_>, ProtocolError> {
    let mut head = Reader::new(bytes, 0, false);
    let version = head.i16();
    closed(&head)?;
    if version < 0 {
        return Err(ProtocolError::Version(version));
    }
    Ok(Reader::new(head.rest(), version, false))
}

/// Bytes behind what is known belong to later versions.
fn closed(reader: &Reader<'_>) -> Result<(), ProtocolError> {
    reader
        .failure()
        .map_or(Ok(()), |error| Err(ProtocolError::Decode(error)))
}

fn partitions_of(
    rows: klamm_wire::Array<'_, TopicRow<'_>>,
) -> Result<Vec<PartitionName>, ProtocolError> {
    let mut partitions = Vec::new();
    for row in rows.iter() {
        let topic = TopicName::new(row.topic).map_err(|_| ProtocolError::Name)?;
        for index in row.partitions.iter() {
            if index < 0 {
                return Err(ProtocolError::Name);
            }
            partitions.push(PartitionName::new(topic.clone(), PartitionIndex(index)));
        }
    }
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions)
}

fn written(version: i16, write: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut out = BytesMut::new();
    let mut writer = Writer::to_buffer(&mut out, version, false);
    writer.i16(version);
    write(&mut writer);
    writer
        .finish()
        .expect("names of topics and racks fit into their fields");
    out.freeze()
}

fn write_partitions(writer: &mut Writer<'_>, partitions: &[PartitionName]) {
    let mut by_topic: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let rows = by_topic.entry(&partition.topic).or_default();
        rows.push(partition.index.0);
    }
    writer.array_len(by_topic.len());
    for (topic, indexes) in by_topic {
        writer.string(topic.as_str());
        writer.array_len(indexes.len());
        for index in indexes {
            writer.i32(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).expect("legal")
    }

    fn partition(topic: &str, index: i32) -> PartitionName {
        PartitionName::new(name(topic), PartitionIndex(index))
    }

    #[test]
    fn a_subscription_has_kafkas_bytes() {
        let subscription = Subscription {
            topics: vec![name("b"), name("a")],
            user_data: Some(Bytes::from_static(&[0, 0, 0, 7])),
            owned: vec![partition("a", 1), partition("a", 0)],
            generation: Some(7),
            rack: None,
        };
        let expected = [
            &[0, 3, 0, 0, 0, 2, 0, 1, b'b', 0, 1, b'a'][..],
            &[0, 0, 0, 4, 0, 0, 0, 7],
            &[0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0],
            &[0, 0, 0, 7, 0xff, 0xff],
        ];
        assert_eq!(subscription.encode(), expected.concat());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let subscription = Subscription {
            topics: vec![name("t")],
            user_data: None,
            owned: vec![partition("t", 0), partition("t", 5), partition("u", 2)],
            generation: None,
            rack: Some("r1".to_owned()),
        };
        assert_eq!(
            Subscription::decode(&subscription.encode()),
            Ok(subscription)
        );
        let assignment = Assignment {
            partitions: vec![partition("t", 0), partition("u", 2)],
            user_data: Some(Bytes::from_static(b"x")),
        };
        assert_eq!(Assignment::decode(&assignment.encode()), Ok(assignment));
    }

    #[test]
    fn earlier_versions_lack_fields_and_later_ones_have_more() {
        let oldest = [0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
        let read = Subscription::decode(&oldest).expect("version 0");
        assert_eq!((read.topics, read.generation), (vec![name("t")], None));
        let mut later = Subscription::default().encode().to_vec();
        later[1] = 9;
        later.extend([1, 2, 3]);
        assert_eq!(Subscription::decode(&later), Ok(Subscription::default()));
    }

    #[test]
    fn an_empty_assignment_is_no_partitions() {
        assert_eq!(Assignment::decode(&[]), Ok(Assignment::default()));
    }

    #[test]
    fn no_bytes_of_others_panic_or_are_taken_for_more_than_they_are() {
        let sound = Subscription {
            topics: vec![name("t")],
            owned: vec![partition("t", 0)],
            ..Subscription::default()
        };
        let sound = sound.encode();
        for length in 0..sound.len() {
            assert!(Subscription::decode(&sound[..length]).is_err(), "{length}");
        }
        assert!(Assignment::decode(&[0]).is_err());
        assert_eq!(
            Assignment::decode(&[0xff, 0xff]),
            Err(ProtocolError::Version(-1))
        );
        let many = [0, 0, 0x7f, 0xff, 0xff, 0xff];
        assert!(Assignment::decode(&many).is_err());
        let below = [
            0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff,
        ];
        let below = [&below[..], &[0xff; 4]].concat();
        assert_eq!(Assignment::decode(&below), Err(ProtocolError::Name));
    }
}
