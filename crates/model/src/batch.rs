//! The head of a record batch of format 2 as plain data. The bytes themselves live in `records`.

use crate::{LeaderEpoch, Offset, OffsetDelta, ProducerStamp, Timestamp};

/// How the records of a batch are compressed: bits 0 to 2 of the attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Raw Snappy, or the framing of Java's `SnappyOutputStream`.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// All five, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in the attributes.
    #[must_use]
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// Kafka's word, for example in `compression.type`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.word() == word)
    }
}

/// What the timestamps of a batch mean: bit 3 of the attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// Set by the producer.
    #[default]
    CreateTime,
    /// Set by the broker at append; all records share the batch's largest timestamp.
    LogAppendTime,
}

/// The attribute bits of a batch.
///
/// ```text
/// bit  15 … 7   6               5        4              3               2 1 0
///      unused   delete horizon  control  transactional  timestamp type  compression
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    /// The codec, or `None` if the three bits name none.
    #[must_use]
    pub const fn compression(self) -> Option<Compression> {
        match self.0 & 0x07 {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// What the timestamps mean.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & 0x08 == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Part of a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// A control batch (transaction marker, leader change …), never written by clients.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// The base timestamp holds the compaction's delete horizon.
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// The same bits with another timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, kind: TimestampType) -> Self {
        match kind {
            TimestampType::CreateTime => Self(self.0 & !0x08),
            TimestampType::LogAppendTime => Self(self.0 | 0x08),
        }
    }
}

/// The head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record. Lies outside the checksum: the leader sets it.
    pub base_offset: Offset,
    /// Bytes of the whole batch, base offset and length field included.
    pub size: usize,
    /// Leader epoch at append. Lies outside the checksum: the leader sets it.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C over everything from the attributes to the end.
    pub checksum: u32,
    /// Attribute bits.
    pub attributes: Attributes,
    /// Distance of the last record from the base offset.
    pub last_offset_delta: OffsetDelta,
    /// Timestamp of the first record (or the delete horizon).
    pub base_timestamp: Timestamp,
    /// Largest timestamp of all records.
    pub max_timestamp: Timestamp,
    /// Who wrote it, if idempotent.
    pub producer: Option<ProducerStamp>,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Offset of the last record (inclusive, as on the wire).
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta)
    }

    /// The offset after the last record.
    #[must_use]
    pub const fn end_offset(&self) -> Offset {
        self.last_offset().next()
    }
}
