//! klamm's checkpoint: from where each partition must be recovered. Written whole and renamed into
//! place; a damaged or missing one costs a longer recovery, never data.
//!
//! ```text
//! magic "klammCKP" | version u32 | checksum u32 of the body | body
//! body:  shard count u32, then for each: shard u16, flushed u64, partition count u32, then for each:
//!   topic id 16 B, partition i32, name length u16, name, segment base i64, segment bytes u64,
//!   flushed end i64, log start i64, covered u64, producer count u32, then for each:
//!     id i64, epoch i16, last timestamp i64, batch count u8, then for each:
//!       base sequence i32, last sequence i32, base offset i64, offset delta i32, timestamp i64
//! ```
//! Numbers are big-endian.

use std::fmt;

use klamm_model::limits::PRODUCER_BATCHES_REMEMBERED;
use klamm_model::{
    Offset, OffsetDelta, PartitionIndex, ProducerEpoch, ProducerId, Sequence, ShardId, Timestamp,
    TopicId, TopicName, TopicPartition,
};

use crate::checksum::crc32c;
use crate::fields::u32_at;
use crate::wal::WalPosition;

const MAGIC: &[u8; 8] = b"klammCKP";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;

/// Where the recovery of a node's logs begins.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// One for each shard's write-ahead log.
    pub shards: Vec<ShardCheckpoint>,
}

/// Where the recovery of one shard's write-ahead log and partitions begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardCheckpoint {
    /// The shard whose write-ahead log the positions count in.
    pub shard: ShardId,
    /// End of what is known to be durable in that log.
    pub flushed: WalPosition,
    /// Its partitions.
    pub partitions: Vec<PartitionCheckpoint>,
}

/// What is known to be durable in the segments of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCheckpoint {
    /// The partition.
    pub partition: TopicPartition,
    /// The topic's name, which with the partition's number names the folder.
    pub topic_name: TopicName,
    /// Base offset of the active segment.
    pub segment_base: Offset,
    /// Bytes of it that are durable and verified.
    pub segment_bytes: u64,
    /// The offset after the last record in those bytes.
    pub flushed_end: Offset,
    /// First offset that may be read.
    pub log_start: Offset,
    /// Entries of this partition before this position need not be replayed.
    pub covered: WalPosition,
    /// Idempotent producers, as of `flushed_end`.
    pub producers: Vec<ProducerCheckpoint>,
}

/// What a partition remembers of an idempotent producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerCheckpoint {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Timestamp of its last batch, by which it expires.
    pub last_timestamp: Timestamp,
    /// Its last batches, oldest first; at most [`PRODUCER_BATCHES_REMEMBERED`].
    pub batches: Vec<ProducerBatch>,
}

/// A batch that a partition remembers, so that a repeat is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence of its first record.
    pub base_sequence: Sequence,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Distance of its last record.
    pub offset_delta: OffsetDelta,
    /// Its largest timestamp.
    pub timestamp: Timestamp,
}

/// The bytes are not a checkpoint that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// Another file.
    NotACheckpoint,
    /// A version that this klamm does not know.
    Version(u32),
    /// The checksum differs: truncated or rotten.
    Checksum,
    /// The checksum is right and the fields are not: written by a broken program.
    Field(&'static str),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACheckpoint => formatter.write_str("not a klamm checkpoint"),
            Self::Version(version) => {
                write!(
                    formatter,
                    "checkpoint has version {version}, expected {VERSION}"
                )
            }
            Self::Checksum => formatter.write_str("checkpoint checksum differs"),
            Self::Field(field) => write!(formatter, "checkpoint field {field} is out of range"),
        }
    }
}

impl std::error::Error for CheckpointError {}

impl Checkpoint {
    /// The file's bytes.
    ///
    /// # Panics
    /// If a list is longer than its count can say; producers remember at most
    /// [`PRODUCER_BATCHES_REMEMBERED`] batches.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        put_count(&mut out, self.shards.len());
        for shard in &self.shards {
            out.extend_from_slice(&shard.shard.0.to_be_bytes());
            out.extend_from_slice(&shard.flushed.0.to_be_bytes());
            put_count(&mut out, shard.partitions.len());
            for partition in &shard.partitions {
                put_partition(&mut out, partition);
            }
        }
        let checksum = crc32c(&out[HEAD_BYTES..]);
        out[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&checksum.to_be_bytes());
        out
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        if bytes.len() < HEAD_BYTES || !bytes.starts_with(MAGIC) {
            return Err(CheckpointError::NotACheckpoint);
        }
        let version = u32_at(bytes, MAGIC.len());
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        let body = &bytes[HEAD_BYTES..];
        if crc32c(body) != u32_at(bytes, HEAD_BYTES - 4) {
            return Err(CheckpointError::Checksum);
        }
        let mut cursor = Cursor(body);
        let shards = cursor.list(|cursor| {
            Ok(ShardCheckpoint {
                shard: ShardId(u16::from_be_bytes(cursor.take()?)),
                flushed: WalPosition(u64::from_be_bytes(cursor.take()?)),
                partitions: cursor.list(take_partition)?,
            })
        })?;
        if cursor.0.is_empty() {
            Ok(Self { shards })
        } else {
            Err(CheckpointError::Field("end"))
        }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a list has fewer than 2^32 items");
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_partition(out: &mut Vec<u8>, partition: &PartitionCheckpoint) {
    let name = partition.topic_name.as_str().as_bytes();
    let name_bytes = u16::try_from(name.len()).expect("a topic name has at most 249 bytes");
    out.extend_from_slice(&partition.partition.topic.0);
    out.extend_from_slice(&partition.partition.index.0.to_be_bytes());
    out.extend_from_slice(&name_bytes.to_be_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(&partition.segment_base.0.to_be_bytes());
    out.extend_from_slice(&partition.segment_bytes.to_be_bytes());
    out.extend_from_slice(&partition.flushed_end.0.to_be_bytes());
    out.extend_from_slice(&partition.log_start.0.to_be_bytes());
    out.extend_from_slice(&partition.covered.0.to_be_bytes());
    put_count(out, partition.producers.len());
    for producer in &partition.producers {
        assert!(
            producer.batches.len() <= PRODUCER_BATCHES_REMEMBERED,
            "a producer's remembered batches are bounded"
        );
        out.extend_from_slice(&producer.id.0.to_be_bytes());
        out.extend_from_slice(&producer.epoch.0.to_be_bytes());
        out.extend_from_slice(&producer.last_timestamp.0.to_be_bytes());
        out.push(producer.batches.len() as u8);
        for batch in &producer.batches {
            out.extend_from_slice(&batch.base_sequence.0.to_be_bytes());
            out.extend_from_slice(&batch.last_sequence.0.to_be_bytes());
            out.extend_from_slice(&batch.base_offset.0.to_be_bytes());
            out.extend_from_slice(&batch.offset_delta.0.to_be_bytes());
            out.extend_from_slice(&batch.timestamp.0.to_be_bytes());
        }
    }
}

fn take_partition(cursor: &mut Cursor<'_>) -> Result<PartitionCheckpoint, CheckpointError> {
    let partition = TopicPartition {
        topic: TopicId(cursor.take()?),
        index: PartitionIndex(i32::from_be_bytes(cursor.take()?)),
    };
    let name_bytes = u16::from_be_bytes(cursor.take()?);
    let topic_name = std::str::from_utf8(cursor.slice(name_bytes.into())?)
        .ok()
        .and_then(|name| TopicName::new(name).ok())
        .ok_or(CheckpointError::Field("topic name"))?;
    let checkpoint = PartitionCheckpoint {
        partition,
        topic_name,
        segment_base: Offset(i64::from_be_bytes(cursor.take()?)),
        segment_bytes: u64::from_be_bytes(cursor.take()?),
        flushed_end: Offset(i64::from_be_bytes(cursor.take()?)),
        log_start: Offset(i64::from_be_bytes(cursor.take()?)),
        covered: WalPosition(u64::from_be_bytes(cursor.take()?)),
        producers: cursor.list(take_producer)?,
    };
    let in_order = checkpoint.partition.index.0 >= 0
        && checkpoint.segment_base.0 >= 0
        && checkpoint.log_start.0 >= 0
        && checkpoint.segment_base <= checkpoint.flushed_end
        && checkpoint.segment_bytes <= u64::from(u32::MAX);
    if in_order {
        Ok(checkpoint)
    } else {
        Err(CheckpointError::Field("partition"))
    }
}

fn take_producer(cursor: &mut Cursor<'_>) -> Result<ProducerCheckpoint, CheckpointError> {
    let id = ProducerId(i64::from_be_bytes(cursor.take()?));
    let epoch = ProducerEpoch(i16::from_be_bytes(cursor.take()?));
    let last_timestamp = Timestamp(i64::from_be_bytes(cursor.take()?));
    let [count] = cursor.take()?;
    if id.0 < 0 || usize::from(count) > PRODUCER_BATCHES_REMEMBERED {
        return Err(CheckpointError::Field("producer"));
    }
    let mut batches = Vec::new();
    for _ in 0..count {
        let batch = ProducerBatch {
            base_sequence: Sequence(i32::from_be_bytes(cursor.take()?)),
            last_sequence: Sequence(i32::from_be_bytes(cursor.take()?)),
            base_offset: Offset(i64::from_be_bytes(cursor.take()?)),
            offset_delta: OffsetDelta(i32::from_be_bytes(cursor.take()?)),
            timestamp: Timestamp(i64::from_be_bytes(cursor.take()?)),
        };
        batches.push(batch);
    }
    Ok(ProducerCheckpoint {
        id,
        epoch,
        last_timestamp,
        batches,
    })
}

/// The part of the body not yet read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    const SHORT: CheckpointError = CheckpointError::Field("count");

    fn take<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Self::SHORT)?;
        self.0 = rest;
        Ok(*field)
    }

    fn slice(&mut self, bytes: usize) -> Result<&'a [u8], CheckpointError> {
        let (field, rest) = self.0.split_at_checked(bytes).ok_or(Self::SHORT)?;
        self.0 = rest;
        Ok(field)
    }

    /// A count and so many items. Every item takes bytes, so a false count ends at the first
    /// missing byte; nothing is reserved by it.
    fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, CheckpointError>,
    ) -> Result<Vec<T>, CheckpointError> {
        let count = u32::from_be_bytes(self.take()?);
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}
