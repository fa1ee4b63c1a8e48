//! The records of `__consumer_offsets`: Kafka's own keys and values, byte for byte. All versions
//! that Kafka ever wrote are read; what is written is what Kafka 4.3 writes.

mod consumer;
#[cfg(test)]
mod consumer_tests;
mod fields;
mod group;
mod offset;
#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use consumer::{
    ClassicValue, CurrentValue, Dated, EpochValue, Part, Partitions, RegexValue, SaidValue,
    TargetEpochValue, decode_target, encode_current, encode_target,
};
pub(crate) use fields::{Reader, Writer};
pub(crate) use group::{GroupValue, MemberValue, MembersOf, group_key};
pub(crate) use offset::{OffsetValue, offset_key};

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// It ends before its last field.
    TooShort,
    /// A length or a variable number is out of bounds.
    BadLength,
    /// A text is not UTF-8, or a name of a topic is none.
    BadText,
    /// A field that must be there is null.
    UnexpectedNull,
    /// A group has two members of one id, or of one static name.
    Repeated,
    /// A value of a version that is not known.
    UnknownVersion {
        /// The version.
        version: i16,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => formatter.write_str("record ends before its last field"),
            Self::BadLength => formatter.write_str("record has a length out of bounds"),
            Self::BadText => formatter.write_str("record has a text that is none"),
            Self::UnexpectedNull => formatter.write_str("record lacks a field that it must have"),
            Self::Repeated => formatter.write_str("record has a member twice"),
            Self::UnknownVersion { version } => {
                write!(
                    formatter,
                    "expected value of version 0 to 4, found {version}"
                )
            }
        }
    }
}

impl std::error::Error for RecordError {}

/// What the key of a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// Versions 0 and 1: the offset of a partition.
    Offset {
        group: &'a str,
        topic: &'a str,
        partition: i32,
    },
    /// Version 2: a group of the classic protocol.
    Group { group: &'a str },
    /// Versions 3 to 8 and 16: a part of a group of the consumer protocol (KIP-848).
    Consumer { group: &'a str, part: Part<'a> },
    /// Versions 9 to 15: share groups (KIP-932).
    Share,
    /// Versions 17 to 23: groups of streams (KIP-1071).
    Streams,
    /// Any other: of a Kafka that is newer than this.
    Unknown,
}

impl<'a> Key<'a> {
    pub(crate) fn decode(key: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(key);
        let kind = reader.int16()?;
        Ok(match kind {
            0 | 1 => Self::Offset {
                group: reader.text()?,
                topic: reader.text()?,
                partition: reader.int32()?,
            },
            2 => Self::Group {
                group: reader.text()?,
            },
            3..=8 | 16 => {
                let group = reader.text()?;
                match Part::decode(kind, &mut reader)? {
                    Some(part) => Self::Consumer { group, part },
                    None => Self::Unknown,
                }
            }
            9..=15 => Self::Share,
            17..=23 => Self::Streams,
            _ => Self::Unknown,
        })
    }
}
