//! Validation of one produced batch, as strict as Kafka 4.3's leader: every record is walked, a
//! compressed one over the decompressed stream. Third step of the produce walk; the bytes are not
//! changed here (see `stamp`).
//!
//! Where klamm is stricter than Kafka, on purpose: offset deltas must count up from 0 whether
//! compressed or not, compressed records must be well formed to the last field, no byte may follow
//! batch or compressed frame, and a producer id without an epoch, a transactional batch without a
//! producer, a delete horizon and timestamps below -1 are refused. A batch that ends early is
//! corrupt (retriable), where Kafka calls it an invalid record; a stream that does not decompress
//! is corrupt, where Kafka answers with an unknown error.

use std::fmt;

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{BatchHeader, Compression, OffsetDelta, Timestamp, TimestampType, WallTime};

use super::header::{self, BatchError};
use super::record::{
    Body, RecordFacts, RecordFault, SliceBody, Usual, WalkError, take_body, unsigned_u32, usual_at,
    walk,
};
use crate::compress::{Chunks, DecompressError, Scratch};
use crate::varint::signed_i32;

/// Least budget for the decompressed records of one batch, in bytes.
pub const DECOMPRESSED_BYTES_FLOOR: usize = 64 * 1024 * 1024;

/// The budget is at least this many times the largest legal batch.
pub const DECOMPRESSED_RATIO_MAX: usize = 100;

/// Records of one batch whose own errors are kept; the batch is refused whole in any case.
pub const RECORD_ERRORS_KEPT_MAX: usize = 100;

/// What the topic and the request allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidateOptions {
    /// `max.message.bytes`: largest batch in bytes, its head included.
    pub batch_bytes_max: usize,
    /// The topic is compacted, so every record needs a key.
    pub compacted: bool,
    /// The topic's `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// The broker's wall clock.
    pub now: WallTime,
    /// The request is of a version that knows zstd (Produce 7 and later, KIP-110).
    pub zstd_known: bool,
}

/// A batch that may be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validated {
    /// Its head as produced.
    pub header: BatchHeader,
    /// The largest timestamp that the records carry, which need not be what the head claims.
    pub max_timestamp: Timestamp,
    /// The first record with that timestamp; the last record if none carries one.
    pub max_timestamp_delta: OffsetDelta,
    /// Bytes of the records after decompression.
    pub records_bytes: usize,
}

/// Why a produced batch is refused. One variant for each of Kafka's error codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidBatch {
    /// Not the bytes that the client meant to send (`CORRUPT_MESSAGE`, retriable).
    Corrupt(InvalidReason),
    /// Too large, as sent or decompressed (`MESSAGE_TOO_LARGE`).
    TooLarge(InvalidReason),
    /// Against the rules for batches or records (`INVALID_RECORD`).
    Invalid(InvalidReason),
    /// A timestamp out of bounds (`INVALID_TIMESTAMP`).
    Timestamp(InvalidReason),
    /// An unknown codec, or one that the request's version does not know
    /// (`UNSUPPORTED_COMPRESSION_TYPE`).
    Compression(InvalidReason),
}

impl InvalidBatch {
    /// The rule that was broken.
    #[must_use]
    pub const fn reason(&self) -> &InvalidReason {
        match self {
            Self::Corrupt(reason)
            | Self::TooLarge(reason)
            | Self::Invalid(reason)
            | Self::Timestamp(reason)
            | Self::Compression(reason) => reason,
        }
    }

    /// The records at fault, for Produce 8 and later (KIP-467); empty if the batch as a whole is.
    #[must_use]
    pub fn record_errors(&self) -> &[RecordError] {
        match self.reason() {
            InvalidReason::Records { errors, .. } => errors,
            _ => &[],
        }
    }
}

impl fmt::Display for InvalidBatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(formatter)
    }
}

impl std::error::Error for InvalidBatch {}

/// The rule that a refused batch breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidReason {
    /// Not one whole batch of format 2.
    Batch(BatchError),
    /// No batch at all.
    Empty,
    /// Bytes after the batch: a request carries exactly one batch for each partition.
    BytesAfter {
        /// How many.
        count: usize,
    },
    /// Larger than `max.message.bytes`.
    BatchBytes {
        /// The batch's size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// A client's batch starts at offset 0; the leader gives the real one.
    BaseOffset {
        /// What it starts at.
        found: i64,
    },
    /// Codec bits without a codec.
    Codec {
        /// The three bits.
        bits: i16,
    },
    /// zstd in a request older than Produce 7.
    ZstdUnknown,
    /// A control batch.
    Control,
    /// The attributes claim a delete horizon, which only compaction sets.
    DeleteHorizon,
    /// Last offset delta and record count do not agree, or are not positive.
    Count {
        /// Record count.
        count: i32,
        /// Last offset delta.
        last_offset_delta: i32,
    },
    /// A producer id without an epoch or without a sequence.
    Producer {
        /// The producer id.
        id: i64,
        /// Its epoch.
        epoch: i16,
        /// The base sequence.
        base_sequence: i32,
    },
    /// Transactional, but without a producer id.
    TransactionWithoutProducer,
    /// A record's structure.
    Record {
        /// Its place in the batch, from 0.
        index: i32,
        /// What is wrong.
        fault: RecordFault,
    },
    /// Bytes after the last record.
    RecordsAfterLast,
    /// The compressed records.
    Decompress(DecompressError),
    /// Records that are well formed and not allowed.
    Records {
        /// The first [`RECORD_ERRORS_KEPT_MAX`] of them, in order.
        errors: Vec<RecordError>,
        /// How many there are.
        count: usize,
    },
}

impl fmt::Display for InvalidReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => error.fmt(formatter),
            Self::Empty => formatter.write_str("expected one record batch, found none"),
            Self::BytesAfter { count } => {
                write!(
                    formatter,
                    "expected exactly one record batch, found {count} bytes after it"
                )
            }
            Self::BatchBytes { size, max } => write!(
                formatter,
                "record batch has {size} bytes, more than the {max} of max.message.bytes"
            ),
            Self::BaseOffset { found } => {
                write!(
                    formatter,
                    "base offset of a produced batch must be 0, found {found}"
                )
            }
            Self::Codec { bits } => write!(formatter, "unknown compression type {bits}"),
            Self::ZstdUnknown => formatter.write_str("zstd needs Produce version 7 or later"),
            Self::Control => formatter.write_str("clients must not write control records"),
            Self::DeleteHorizon => formatter.write_str("clients must not set a delete horizon"),
            Self::Count {
                count,
                last_offset_delta,
            } => write!(
                formatter,
                "record count {count} does not fit last offset delta {last_offset_delta}"
            ),
            Self::Producer {
                id,
                epoch,
                base_sequence,
            } => write!(
                formatter,
                "producer id {id} needs an epoch and a base sequence, found {epoch} and {base_sequence}"
            ),
            Self::TransactionWithoutProducer => {
                formatter.write_str("transactional batch has no producer id")
            }
            Self::Record { index, fault } => write!(formatter, "record {index}: {fault}"),
            Self::RecordsAfterLast => formatter.write_str("bytes after the last record"),
            Self::Decompress(error) => error.fmt(formatter),
            Self::Records { errors, count } => {
                write!(formatter, "{count} records were refused")?;
                errors
                    .first()
                    .map_or(Ok(()), |first| write!(formatter, ", the first at {first}"))
            }
        }
    }
}

/// A record that is well formed and not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Its place in the batch, from 0.
    pub index: i32,
    /// Why.
    pub kind: RecordErrorKind,
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.index, self.kind)
    }
}

/// Why a record is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordErrorKind {
    /// No key, on a compacted topic.
    KeyMissing,
    /// Its offset delta is not its place in the batch.
    OffsetDelta {
        /// The delta found.
        found: i32,
    },
    /// Its timestamp lies outside of what the topic allows.
    TimestampOutOfRange {
        /// The timestamp found.
        found: i64,
        /// The earliest allowed.
        earliest: i64,
        /// The latest allowed.
        latest: i64,
    },
    /// The batch claims log-append time, which only the broker gives.
    LogAppendTimeClaimed,
}

impl RecordErrorKind {
    const fn is_timestamp(self) -> bool {
        matches!(
            self,
            Self::TimestampOutOfRange { .. } | Self::LogAppendTimeClaimed
        )
    }
}

impl fmt::Display for RecordErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMissing => {
                formatter.write_str("a compacted topic does not accept a record without a key")
            }
            Self::OffsetDelta { found } => {
                write!(formatter, "offset delta {found} is not the record's place")
            }
            Self::TimestampOutOfRange {
                found,
                earliest,
                latest,
            } => write!(
                formatter,
                "timestamp {found} is out of range, it should be within [{earliest}, {latest}]"
            ),
            Self::LogAppendTimeClaimed => {
                formatter.write_str("a producer must not set the timestamp type to log-append time")
            }
        }
    }
}

/// Checks `bytes`, which must be exactly one batch from a client. Uncompressed records are walked
/// in place without allocation; compressed ones chunk by chunk through `scratch`, never more than
/// one chunk at a time, and never more than the larger of [`DECOMPRESSED_BYTES_FLOOR`] and
/// [`DECOMPRESSED_RATIO_MAX`] times the largest legal batch in all.
///
/// # Errors
/// The first rule broken by the batch as a whole or by a record's structure; otherwise all records
/// that are not allowed.
pub fn validate(
    bytes: &[u8],
    options: &ValidateOptions,
    scratch: &mut Scratch,
) -> Result<Validated, InvalidBatch> {
    let header = check_frame(bytes, options)?;
    let codec = check_head(&header, options)?;
    let mut tally = Tally::new(&header, options);
    let records = &bytes[BATCH_HEADER_BYTES..];
    let limit = options
        .batch_bytes_max
        .saturating_mul(DECOMPRESSED_RATIO_MAX)
        .max(DECOMPRESSED_BYTES_FLOOR);
    let records_bytes = match scratch.open(codec, records, limit) {
        None => walk_slice(records, &mut tally)?,
        Some(chunks) => walk_chunks(chunks, &mut tally)?,
    };
    tally.finish(header, records_bytes)
}

/// Everything about the bytes as a frame: one whole batch, its size, its checksum.
fn check_frame(bytes: &[u8], options: &ValidateOptions) -> Result<BatchHeader, InvalidBatch> {
    use InvalidBatch::{Corrupt, Invalid, TooLarge};
    if bytes.is_empty() {
        return Err(Invalid(InvalidReason::Empty));
    }
    let header = header::read(bytes).map_err(|error| {
        let reason = InvalidReason::Batch(error);
        match error {
            // Old formats are known and not allowed; other numbers are garbage.
            BatchError::Magic { found: 0 | 1 } => Invalid(reason),
            _ => Corrupt(reason),
        }
    })?;
    if header.size > options.batch_bytes_max {
        return Err(TooLarge(InvalidReason::BatchBytes {
            size: header.size,
            max: options.batch_bytes_max,
        }));
    }
    let count = bytes.len() - header.size;
    if count > 0 {
        return Err(Invalid(InvalidReason::BytesAfter { count }));
    }
    let computed = header::checksum_of(bytes);
    if computed != header.checksum {
        return Err(Corrupt(InvalidReason::Batch(BatchError::Checksum {
            stored: header.checksum,
            computed,
        })));
    }
    Ok(header)
}

/// Everything that the head says about the batch as a whole.
fn check_head(
    header: &BatchHeader,
    options: &ValidateOptions,
) -> Result<Compression, InvalidBatch> {
    use InvalidBatch::{Compression as Codec, Invalid};
    let attributes = header.attributes;
    let Some(codec) = attributes.compression() else {
        let bits = attributes.0 & 0x07;
        return Err(Codec(InvalidReason::Codec { bits }));
    };
    if codec == Compression::Zstd && !options.zstd_known {
        return Err(Codec(InvalidReason::ZstdUnknown));
    }
    if header.base_offset.0 != 0 {
        let found = header.base_offset.0;
        return Err(Invalid(InvalidReason::BaseOffset { found }));
    }
    let (count, last_offset_delta) = (header.record_count, header.last_offset_delta.0);
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(Invalid(InvalidReason::Count {
            count,
            last_offset_delta,
        }));
    }
    if attributes.is_control() {
        return Err(Invalid(InvalidReason::Control));
    }
    if attributes.has_delete_horizon() {
        return Err(Invalid(InvalidReason::DeleteHorizon));
    }
    match header.producer {
        Some(producer) if producer.epoch.0 < 0 || producer.base_sequence.0 < 0 => {
            Err(Invalid(InvalidReason::Producer {
                id: producer.id.0,
                epoch: producer.epoch.0,
                base_sequence: producer.base_sequence.0,
            }))
        }
        None if attributes.is_transactional() => {
            Err(Invalid(InvalidReason::TransactionWithoutProducer))
        }
        Some(_) | None => Ok(codec),
    }
}

/// What is known of the records walked so far.
struct Tally {
    count: i32,
    walked: i32,
    base_timestamp: i64,
    earliest: i64,
    latest: i64,
    log_append_time_claimed: bool,
    key_needed: bool,
    max_timestamp: i64,
    max_timestamp_index: i32,
    errors: Vec<RecordError>,
    errors_count: usize,
}

impl Tally {
    fn new(header: &BatchHeader, options: &ValidateOptions) -> Self {
        let now = options.now.0;
        let checked = options.timestamp_type == TimestampType::CreateTime;
        let (earliest, latest) = if checked {
            (
                now.saturating_sub(options.timestamp_before_ms_max).max(0),
                now.saturating_add(options.timestamp_after_ms_max),
            )
        } else {
            (i64::MIN, i64::MAX)
        };
        Self {
            count: header.record_count,
            walked: 0,
            base_timestamp: header.base_timestamp.0,
            earliest,
            latest,
            log_append_time_claimed: header.attributes.timestamp_type()
                == TimestampType::LogAppendTime,
            key_needed: options.compacted,
            max_timestamp: Timestamp::NONE.0,
            max_timestamp_index: header.last_offset_delta.0,
            errors: Vec::new(),
            errors_count: 0,
        }
    }

    /// Walks records of the usual shape at the front of `records`, as long as nothing about them
    /// needs a second look: what [`add`](Self::add) asks of a record is asked here of deltas, in
    /// registers. How many bytes they take.
    #[inline(always)]
    fn walk_usual(&mut self, records: &[u8]) -> usize {
        let base = self.base_timestamp;
        // So that no sum with a short delta overflows.
        if self.log_append_time_claimed || !(0..=i64::MAX / 2).contains(&base) {
            return 0;
        }
        let earliest = self.earliest.saturating_sub(base);
        let latest = self.latest.saturating_sub(base);
        let mut max_delta = self.max_timestamp - base;
        let mut max_index = self.max_timestamp_index;
        let (mut walked, mut at) = (self.walked, 0);
        while walked < self.count {
            let Some(Usual { facts, end, .. }) = usual_at(records, at) else {
                break;
            };
            let delta = facts.timestamp_delta;
            let in_range = earliest <= delta && delta <= latest;
            let keyed = facts.has_key || !self.key_needed;
            if !(in_range && keyed && facts.offset_delta == walked) {
                break;
            }
            if delta > max_delta {
                (max_delta, max_index) = (delta, walked);
            }
            walked += 1;
            at = end;
        }
        self.walked = walked;
        self.max_timestamp = base + max_delta;
        self.max_timestamp_index = max_index;
        at
    }

    /// Takes the next record into account.
    #[inline(always)]
    fn add(&mut self, facts: RecordFacts) {
        let timestamp = self.base_timestamp.wrapping_add(facts.timestamp_delta);
        if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.max_timestamp_index = self.walked;
        }
        let in_range = self.earliest <= timestamp && timestamp <= self.latest
            || timestamp == Timestamp::NONE.0;
        let keyed = facts.has_key || !self.key_needed;
        let in_place = facts.offset_delta == self.walked;
        if !(in_range && keyed && in_place) || self.log_append_time_claimed {
            self.refuse(facts, timestamp, in_range);
        }
        self.walked += 1;
    }

    #[cold]
    fn refuse(&mut self, facts: RecordFacts, timestamp: i64, in_range: bool) {
        self.errors_count += 1;
        if self.errors.len() == RECORD_ERRORS_KEPT_MAX {
            return;
        }
        let kind = if facts.offset_delta != self.walked {
            RecordErrorKind::OffsetDelta {
                found: facts.offset_delta,
            }
        } else if self.key_needed && !facts.has_key {
            RecordErrorKind::KeyMissing
        } else if in_range {
            RecordErrorKind::LogAppendTimeClaimed
        } else {
            RecordErrorKind::TimestampOutOfRange {
                found: timestamp,
                earliest: self.earliest,
                latest: self.latest,
            }
        };
        self.errors.push(RecordError {
            index: self.walked,
            kind,
        });
    }

    /// The walk's error with the record at which it happened.
    fn fault(&self, error: WalkError) -> InvalidBatch {
        match error {
            WalkError::Record(fault) => InvalidBatch::Invalid(InvalidReason::Record {
                index: self.walked,
                fault,
            }),
            WalkError::Stream(error) => refused_stream(error),
        }
    }

    fn finish(self, header: BatchHeader, records_bytes: usize) -> Result<Validated, InvalidBatch> {
        assert_eq!(self.walked, self.count, "the walk covers every record");
        if self.errors_count > 0 {
            // As Kafka has it: one bad timestamp decides the code of the whole batch.
            let timestamp = self.errors.iter().any(|error| error.kind.is_timestamp());
            let reason = InvalidReason::Records {
                errors: self.errors,
                count: self.errors_count,
            };
            return Err(if timestamp {
                InvalidBatch::Timestamp(reason)
            } else {
                InvalidBatch::Invalid(reason)
            });
        }
        Ok(Validated {
            header,
            max_timestamp: Timestamp(self.max_timestamp),
            max_timestamp_delta: OffsetDelta(self.max_timestamp_index),
            records_bytes,
        })
    }
}

fn refused_stream(error: DecompressError) -> InvalidBatch {
    match error {
        DecompressError::Corrupt(_) => InvalidBatch::Corrupt(InvalidReason::Decompress(error)),
        DecompressError::TooLarge { .. } => {
            InvalidBatch::TooLarge(InvalidReason::Decompress(error))
        }
    }
}

/// Walks records that lie in the batch itself; returns their bytes.
fn walk_slice(mut records: &[u8], tally: &mut Tally) -> Result<usize, InvalidBatch> {
    let bytes = records.len();
    loop {
        records = &records[tally.walk_usual(records)..];
        if tally.walked == tally.count {
            break;
        }
        let facts = take_body(&mut records)
            .and_then(|body| walk(&mut SliceBody(body)))
            .map_err(|error| tally.fault(error))?;
        tally.add(facts);
    }
    if records.is_empty() {
        Ok(bytes)
    } else {
        Err(InvalidBatch::Invalid(InvalidReason::RecordsAfterLast))
    }
}

/// Walks records as they are decompressed; returns their bytes.
fn walk_chunks(chunks: Chunks<'_, '_>, tally: &mut Tally) -> Result<usize, InvalidBatch> {
    let mut stream = ChunkCursor { chunks, at: 0 };
    loop {
        // Nearly every record lies whole in the chunk at hand.
        stream.at += tally.walk_usual(&stream.chunks.chunk()[stream.at..]);
        if tally.walked == tally.count {
            break;
        }
        let facts = stream.next_record().map_err(|error| tally.fault(error))?;
        tally.add(facts);
    }
    // The rest is read too: it must be empty, and the codec's own trailer must be right.
    loop {
        if stream.at < stream.chunks.chunk().len() {
            return Err(InvalidBatch::Invalid(InvalidReason::RecordsAfterLast));
        }
        stream.at = 0;
        if !stream.chunks.advance().map_err(refused_stream)? {
            return Ok(stream.chunks.produced());
        }
    }
}

/// A place in the decompressed stream.
struct ChunkCursor<'s, 'i> {
    chunks: Chunks<'s, 'i>,
    at: usize,
}

impl ChunkCursor<'_, '_> {
    #[inline(always)]
    fn next_record(&mut self) -> Result<RecordFacts, WalkError> {
        let chunk = &self.chunks.chunk()[self.at..];
        let mut rest = chunk;
        match take_body(&mut rest) {
            Ok(body) => {
                let facts = walk(&mut SliceBody(body))?;
                self.at += chunk.len() - rest.len();
                Ok(facts)
            }
            Err(WalkError::Record(RecordFault::Short)) => self.record_over_chunks(),
            Err(error) => Err(error),
        }
    }

    /// Walks a record that goes on in the next chunk.
    #[cold]
    fn record_over_chunks(&mut self) -> Result<RecordFacts, WalkError> {
        let size = signed_i32(unsigned_u32(|| self.byte())?);
        let left = usize::try_from(size).map_err(|_| RecordFault::Length)?;
        let mut body = StreamBody { cursor: self, left };
        let facts = walk(&mut body);
        if facts == Err(RecordFault::Leftover.into()) {
            // As in a slice: a record of which bytes are missing is short before anything else.
            body.skip(body.left)?;
        }
        facts
    }

    /// Makes sure that a byte is at hand.
    fn refill(&mut self) -> Result<(), WalkError> {
        while self.at == self.chunks.chunk().len() {
            self.at = 0;
            if !self.chunks.advance().map_err(WalkError::Stream)? {
                return Err(RecordFault::Short.into());
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, WalkError> {
        self.refill()?;
        let byte = self.chunks.chunk()[self.at];
        self.at += 1;
        Ok(byte)
    }
}

/// A record's body that runs over the end of a chunk.
struct StreamBody<'c, 's, 'i> {
    cursor: &'c mut ChunkCursor<'s, 'i>,
    left: usize,
}

impl Body for StreamBody<'_, '_, '_> {
    fn byte(&mut self) -> Result<u8, WalkError> {
        self.left = self.left.checked_sub(1).ok_or(RecordFault::Short)?;
        self.cursor.byte()
    }

    fn skip(&mut self, mut count: usize) -> Result<(), WalkError> {
        self.left = self.left.checked_sub(count).ok_or(RecordFault::Short)?;
        while count > 0 {
            self.cursor.refill()?;
            let step = count.min(self.cursor.chunks.chunk().len() - self.cursor.at);
            self.cursor.at += step;
            count -= step;
        }
        Ok(())
    }

    fn left(&self) -> usize {
        self.left
    }
}
