//! One entry: a head of 80 bytes, perhaps a gap, the payload, and padding to a multiple of 8.
//!
//! ```text
//!  0 head checksum u32      16 position u64      40 topic id 16 B       64 base offset i64
//!  4 kind u8                24 incarnation u64   56 partition i32       72 end offset i64 (0: not told)
//!  5 version u8             32 flushed u64       60 leader epoch i32
//!  6 gap u16
//!  8 payload bytes u32
//! 12 payload checksum u32 (0 for a batch, which has its own)
//! ```
//! Numbers are big-endian. The head's checksum covers bytes 4 to 80. Version 1 knew no gap, and is
//! written where there is none.

use std::fmt;

use bytes::{BufMut, BytesMut};
use klamm_model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};

use super::{Incarnation, WalPosition};
use crate::batch::{self, BatchError};
use crate::checksum::crc32c;
use crate::fields::{bytes_at, i32_at, i64_at, put, u32_at, u64_at};

/// Bytes of an entry's head.
pub const ENTRY_HEAD_BYTES: usize = 80;

/// Entries begin at multiples of this.
pub const ENTRY_ALIGN_BYTES: usize = 8;

pub(super) const VERSION: u8 = 1;
pub(super) const VERSION_WITH_GAP: u8 = 2;

pub(super) const CHECKSUM: usize = 0;
pub(super) const KIND: usize = 4;
pub(super) const VERSION_AT: usize = 5;
pub(super) const PAYLOAD_BYTES: usize = 8;
pub(super) const PAYLOAD_CHECKSUM: usize = 12;
pub(super) const POSITION: usize = 16;
pub(super) const INCARNATION: usize = 24;
const FLUSHED: usize = 32;
const TOPIC: usize = 40;
const PARTITION: usize = 56;
pub(super) const LEADER_EPOCH: usize = 60;
pub(super) const BASE_OFFSET: usize = 64;
const END_OFFSET: usize = 72;
pub(super) const GAP: usize = 6;

const _: () = assert!(ENTRY_HEAD_BYTES.is_multiple_of(ENTRY_ALIGN_BYTES));

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// One record batch, as it stands in the partition.
    Batch,
    /// No payload: says how far the log was durable when the shard fell idle.
    FlushMark,
    /// No payload: the rest of this file is unused, the next entry opens the next file.
    Skip,
    /// No payload: the partition's log start moved to the head's base offset.
    LogStart,
    /// No payload: the partition's records from the head's base offset on were cut off.
    Truncate,
    /// Written by a later version of klamm.
    Unknown(u8),
}

impl EntryKind {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::FlushMark => 2,
            Self::Skip => 3,
            Self::LogStart => 4,
            Self::Truncate => 5,
            Self::Unknown(number) => number,
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Batch,
            2 => Self::FlushMark,
            3 => Self::Skip,
            4 => Self::LogStart,
            5 => Self::Truncate,
            other => Self::Unknown(other),
        }
    }
}

/// Where and when an entry is written; the same for every kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryStamp {
    /// Where the entry stands.
    pub position: WalPosition,
    /// The life of the log that writes it.
    pub incarnation: Incarnation,
    /// End of what is known to be durable now. Never beyond `position`.
    pub flushed: WalPosition,
}

/// An entry's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// What the entry is.
    pub kind: EntryKind,
    /// Where and when it was written.
    pub stamp: EntryStamp,
    /// Bytes of any content between head and payload: they let the payload lie in memory as it will
    /// lie in its segment.
    pub gap_bytes: u16,
    /// Bytes of the payload, padding not counted.
    pub payload_bytes: u32,
    /// CRC-32C of the payload; 0 for a batch, which carries its own.
    pub payload_checksum: u32,
    /// The partition it belongs to; the zero id for marks.
    pub partition: TopicPartition,
    /// The batch's leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// The batch's base offset, or the offset that the kind speaks of.
    pub base_offset: Offset,
    /// The offset after the batch's last record, so that it is known even if the batch is lost;
    /// zero if that was not told.
    pub end_offset: Offset,
}

impl EntryHead {
    /// The head of a batch that has been stamped with `base_offset` and `leader_epoch`.
    ///
    /// # Panics
    /// If the batch is larger than the format's 32-bit length.
    #[must_use]
    pub fn batch(
        stamp: EntryStamp,
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        base_offset: Offset,
        batch_bytes: usize,
    ) -> Self {
        Self {
            kind: EntryKind::Batch,
            stamp,
            gap_bytes: 0,
            payload_bytes: u32::try_from(batch_bytes).expect("a batch's length is an i32"),
            payload_checksum: 0,
            partition,
            leader_epoch,
            base_offset,
            end_offset: Offset::ZERO,
        }
    }

    /// The same head, which tells the offset after the batch's last record.
    #[must_use]
    pub const fn ending(mut self, end_offset: Offset) -> Self {
        self.end_offset = end_offset;
        self
    }

    /// The head of a flush mark.
    #[must_use]
    pub const fn flush_mark(stamp: EntryStamp) -> Self {
        Self::mark(EntryKind::FlushMark, stamp)
    }

    /// The head of the entry that ends a file early.
    #[must_use]
    pub const fn skip(stamp: EntryStamp) -> Self {
        Self::mark(EntryKind::Skip, stamp)
    }

    /// The head of an entry that moves the log start of `partition` to `log_start`.
    #[must_use]
    pub const fn log_start(
        stamp: EntryStamp,
        partition: TopicPartition,
        log_start: Offset,
    ) -> Self {
        let mut head = Self::mark(EntryKind::LogStart, stamp);
        head.partition = partition;
        head.base_offset = log_start;
        head
    }

    /// The head of an entry that cuts off the records of `partition` from `log_end` on.
    #[must_use]
    pub const fn truncate(stamp: EntryStamp, partition: TopicPartition, log_end: Offset) -> Self {
        let mut head = Self::mark(EntryKind::Truncate, stamp);
        head.partition = partition;
        head.base_offset = log_end;
        head
    }

    const fn mark(kind: EntryKind, stamp: EntryStamp) -> Self {
        Self {
            kind,
            stamp,
            gap_bytes: 0,
            payload_bytes: 0,
            payload_checksum: 0,
            partition: TopicPartition {
                topic: TopicId::ZERO,
                index: PartitionIndex(0),
            },
            leader_epoch: LeaderEpoch(-1),
            base_offset: Offset(-1),
            end_offset: Offset::ZERO,
        }
    }

    /// The same with a gap before the payload.
    #[must_use]
    pub const fn with_gap(mut self, gap_bytes: u16) -> Self {
        self.gap_bytes = gap_bytes;
        self
    }

    /// Where the payload lies, from the entry's first byte.
    #[must_use]
    pub const fn payload_at(&self) -> usize {
        ENTRY_HEAD_BYTES + self.gap_bytes as usize
    }

    /// Bytes of the whole entry, gap and padding included.
    #[must_use]
    pub const fn entry_bytes(&self) -> usize {
        entry_bytes(self.gap_bytes as usize + self.payload_bytes as usize)
    }

    /// Where the next entry stands.
    #[must_use]
    pub const fn end(&self) -> WalPosition {
        self.stamp.position.plus(self.entry_bytes())
    }
}

/// Bytes of an entry with a gap and payload of this size together, padding included.
#[must_use]
pub const fn entry_bytes(payload_bytes: usize) -> usize {
    ENTRY_HEAD_BYTES + payload_bytes.next_multiple_of(ENTRY_ALIGN_BYTES)
}

/// Writes a head in place. The payload and zeros up to [`entry_bytes`] must follow it.
///
/// # Panics
/// If the position is not a multiple of 8, or `flushed` lies beyond it.
pub fn write_entry_head(out: &mut [u8; ENTRY_HEAD_BYTES], head: &EntryHead) {
    let stamp = &head.stamp;
    assert_eq!(
        stamp.position.0 % ENTRY_ALIGN_BYTES as u64,
        0,
        "entries are aligned"
    );
    assert!(
        stamp.flushed <= stamp.position,
        "an entry cannot be durable before it is written"
    );
    out.fill(0);
    out[KIND] = head.kind.number();
    out[VERSION_AT] = match head.gap_bytes {
        0 => VERSION,
        _ => VERSION_WITH_GAP,
    };
    put(out, PAYLOAD_BYTES, &head.payload_bytes.to_be_bytes());
    put(out, PAYLOAD_CHECKSUM, &head.payload_checksum.to_be_bytes());
    put(out, POSITION, &stamp.position.0.to_be_bytes());
    put(out, INCARNATION, &stamp.incarnation.0.to_be_bytes());
    put(out, FLUSHED, &stamp.flushed.0.to_be_bytes());
    put(out, TOPIC, &head.partition.topic.0);
    put(out, PARTITION, &head.partition.index.0.to_be_bytes());
    put(out, LEADER_EPOCH, &head.leader_epoch.0.to_be_bytes());
    put(out, BASE_OFFSET, &head.base_offset.0.to_be_bytes());
    put(out, END_OFFSET, &head.end_offset.0.to_be_bytes());
    put(out, GAP, &head.gap_bytes.to_be_bytes());
    let checksum = crc32c(&out[KIND..]);
    put(out, CHECKSUM, &checksum.to_be_bytes());
}

/// Appends a whole entry: head, payload, padding. The payload's size and, unless it is a batch,
/// its checksum are taken from `payload`, whatever `head` says.
///
/// # Panics
/// As [`write_entry_head`], or if the payload is larger than the format's 32-bit length.
pub fn encode_entry(out: &mut BytesMut, mut head: EntryHead, payload: &[u8]) {
    head.payload_bytes = u32::try_from(payload.len()).expect("a payload's length is a u32");
    head.payload_checksum = match head.kind {
        EntryKind::Batch => 0,
        _ => crc32c(payload),
    };
    let mut bytes = [0; ENTRY_HEAD_BYTES];
    write_entry_head(&mut bytes, &head);
    out.reserve(head.entry_bytes());
    out.put_slice(&bytes);
    out.put_bytes(0, head.gap_bytes.into());
    out.put_slice(payload);
    out.put_bytes(0, head.entry_bytes() - head.payload_at() - payload.len());
}

/// An entry that was read back and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its head.
    pub head: EntryHead,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Why the bytes at a place are not the entry that should stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFault {
    /// Too few bytes left for a head.
    Short,
    /// The head's position or incarnation is another: nothing was written here in this life.
    Foreign,
    /// The head's checksum differs.
    HeadChecksum,
    /// The head is whole, of a format version or with a claim that this version does not know.
    HeadVersion,
    /// The entry runs beyond the file's end.
    Overrun,
    /// Written by a later version of klamm.
    UnknownKind(u8),
    /// The payload is not the batch that the head speaks of.
    Batch(BatchError),
    /// The batch is whole, but its size, base offset or leader epoch is not the head's.
    BatchMismatch,
    /// The payload's checksum differs.
    PayloadChecksum,
}

impl fmt::Display for EntryFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => formatter.write_str("too few bytes for an entry's head"),
            Self::Foreign => formatter.write_str("no entry of this life of the log"),
            Self::HeadChecksum => formatter.write_str("head checksum differs"),
            Self::HeadVersion => formatter.write_str("head of an unknown version"),
            Self::Overrun => formatter.write_str("entry runs beyond its file"),
            Self::UnknownKind(kind) => write!(formatter, "unknown entry kind {kind}"),
            Self::Batch(error) => error.fmt(formatter),
            Self::BatchMismatch => formatter.write_str("batch and entry head disagree"),
            Self::PayloadChecksum => formatter.write_str("payload checksum differs"),
        }
    }
}

/// Reads the head at the start of `bytes`, which must stand at `position` in the life
/// `incarnation` of the log. The payload is not looked at.
///
/// # Errors
/// [`EntryFault::Short`], [`EntryFault::Foreign`], [`EntryFault::HeadChecksum`] or
/// [`EntryFault::HeadVersion`].
pub fn read_entry_head(
    bytes: &[u8],
    position: WalPosition,
    incarnation: Incarnation,
) -> Result<EntryHead, EntryFault> {
    let head = bytes
        .first_chunk::<ENTRY_HEAD_BYTES>()
        .ok_or(EntryFault::Short)?;
    if u64_at(head, POSITION) != position.0 || u64_at(head, INCARNATION) != incarnation.0 {
        return Err(EntryFault::Foreign);
    }
    if crc32c(&head[KIND..]) != u32_at(head, CHECKSUM) {
        return Err(EntryFault::HeadChecksum);
    }
    let flushed = WalPosition(u64_at(head, FLUSHED));
    let gap_bytes = match head[VERSION_AT] {
        VERSION => 0,
        VERSION_WITH_GAP => u16::from_be_bytes(bytes_at(head, GAP)),
        _ => return Err(EntryFault::HeadVersion),
    };
    if flushed > position {
        return Err(EntryFault::HeadVersion);
    }
    Ok(EntryHead {
        kind: EntryKind::from_number(head[KIND]),
        stamp: EntryStamp {
            position,
            incarnation,
            flushed,
        },
        gap_bytes,
        payload_bytes: u32_at(head, PAYLOAD_BYTES),
        payload_checksum: u32_at(head, PAYLOAD_CHECKSUM),
        partition: TopicPartition {
            topic: TopicId(bytes_at(head, TOPIC)),
            index: PartitionIndex(i32_at(head, PARTITION)),
        },
        leader_epoch: LeaderEpoch(i32_at(head, LEADER_EPOCH)),
        base_offset: Offset(i64_at(head, BASE_OFFSET)),
        end_offset: Offset(i64_at(head, END_OFFSET)),
    })
}

/// Checks the payload behind a head that was read from the start of `bytes`.
pub(super) fn read_payload<'a>(bytes: &'a [u8], head: &EntryHead) -> Result<&'a [u8], EntryFault> {
    let end = head
        .payload_at()
        .checked_add(head.payload_bytes as usize)
        .ok_or(EntryFault::Overrun)?;
    // The padding must lie inside the file as well: the next entry stands behind it.
    if bytes.len() < head.entry_bytes() {
        return Err(EntryFault::Overrun);
    }
    let payload = &bytes[head.payload_at()..end];
    match head.kind {
        EntryKind::Unknown(kind) => return Err(EntryFault::UnknownKind(kind)),
        EntryKind::Batch => {
            let header = batch::verify(payload).map_err(EntryFault::Batch)?;
            let agree = header.size == payload.len()
                && header.base_offset == head.base_offset
                && header.leader_epoch == head.leader_epoch;
            if !agree {
                return Err(EntryFault::BatchMismatch);
            }
        }
        EntryKind::FlushMark | EntryKind::Skip | EntryKind::LogStart | EntryKind::Truncate => {
            if crc32c(payload) != head.payload_checksum {
                return Err(EntryFault::PayloadChecksum);
            }
        }
    }
    Ok(payload)
}
