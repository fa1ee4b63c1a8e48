//! New batches: for the client, for klamm's internal logs, and for tests.

use std::fmt;

use bytes::Bytes;
use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{Attributes, Compression, LeaderEpoch, Offset, ProducerStamp, Timestamp};

use super::header::{self, BatchError};
use super::layout;
use crate::checksum::crc32c;
use crate::compress::{Compressor, DecompressError, Scratch, decompress};
use crate::fields::{put, put_bytes};
use crate::varint::{put_i32, put_i64};

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Its key, UTF-8 by convention.
    pub key: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
}

/// What kind of batch to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// How to compress the records.
    pub compressor: Compressor,
    /// The idempotence triple.
    pub producer: Option<ProducerStamp>,
    /// Part of a transaction.
    pub transactional: bool,
    /// A control batch.
    pub control: bool,
    /// Offset of the first record; 0 for what is produced to a broker.
    pub base_offset: Offset,
    /// Leader epoch; -1 for what is produced to a broker.
    pub leader_epoch: LeaderEpoch,
}

impl Default for BatchOptions {
    /// Uncompressed and unstamped, as a client without idempotence sends it.
    fn default() -> Self {
        Self {
            compressor: Compressor::default(),
            producer: None,
            transactional: false,
            control: false,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch(-1),
        }
    }
}

/// The batch cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// No record was appended.
    Empty,
    /// The batch, a record or a count outgrew the format's 32-bit fields.
    TooLarge,
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "a batch needs at least one record",
            Self::TooLarge => "batch outgrows the format's 32-bit fields",
        })
    }
}

impl std::error::Error for BuildError {}

/// Collects records and encodes them as one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    records: Vec<u8>,
    /// One record's body, kept to be reused.
    body: Vec<u8>,
    count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    too_large: bool,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub const fn new(options: BatchOptions) -> Self {
        Self {
            options,
            records: Vec::new(),
            body: Vec::new(),
            count: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            too_large: false,
        }
    }

    /// Appends a record. The first one's timestamp becomes the batch's base.
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let body = &mut self.body;
        body.clear();
        body.push(0);
        put_i64(body, timestamp.0.wrapping_sub(self.base_timestamp.0));
        put_i32(body, self.count);
        let mut fits = put_nullable(body, key);
        fits &= put_nullable(body, value);
        fits &= put_length(body, headers.len());
        for header in headers {
            fits &= put_nullable(body, Some(&header.key));
            fits &= put_nullable(body, header.value.as_deref());
        }
        fits &= put_length(&mut self.records, body.len());
        self.records.extend_from_slice(body);
        match self.count.checked_add(1) {
            Some(count) => self.count = count,
            None => fits = false,
        }
        self.too_large |= !fits;
    }

    /// Records appended so far.
    #[must_use]
    pub const fn record_count(&self) -> i32 {
        self.count
    }

    /// True before the first record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the batch in bytes if it were built uncompressed now.
    #[must_use]
    pub const fn size_uncompressed(&self) -> usize {
        BATCH_HEADER_BYTES + self.records.len()
    }

    /// Encodes the batch.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Vec<u8>, BuildError> {
        if self.count == 0 {
            return Err(BuildError::Empty);
        }
        if self.too_large {
            return Err(BuildError::TooLarge);
        }
        let options = &self.options;
        let mut batch = vec![0; BATCH_HEADER_BYTES];
        if options.compressor.codec == Compression::None {
            batch.extend_from_slice(&self.records);
        } else {
            batch.extend_from_slice(&options.compressor.compress(&self.records));
        }
        let attributes = options.compressor.codec.number()
            | if options.transactional { 0x10 } else { 0 }
            | if options.control { 0x20 } else { 0 };
        let (id, epoch, sequence) = options.producer.map_or((-1, -1, -1), |producer| {
            (producer.id.0, producer.epoch.0, producer.base_sequence.0)
        });
        let fields: [(usize, &[u8]); 11] = [
            (layout::BASE_OFFSET, &options.base_offset.0.to_be_bytes()),
            (layout::LEADER_EPOCH, &options.leader_epoch.0.to_be_bytes()),
            (layout::MAGIC, &layout::MAGIC_V2.to_be_bytes()),
            (layout::ATTRIBUTES, &attributes.to_be_bytes()),
            (layout::LAST_OFFSET_DELTA, &(self.count - 1).to_be_bytes()),
            (layout::BASE_TIMESTAMP, &self.base_timestamp.0.to_be_bytes()),
            (layout::MAX_TIMESTAMP, &self.max_timestamp.0.to_be_bytes()),
            (layout::PRODUCER_ID, &id.to_be_bytes()),
            (layout::PRODUCER_EPOCH, &epoch.to_be_bytes()),
            (layout::BASE_SEQUENCE, &sequence.to_be_bytes()),
            (layout::RECORD_COUNT, &self.count.to_be_bytes()),
        ];
        for (at, field) in fields {
            put_bytes(&mut batch, at, field);
        }
        seal(&mut batch)?;
        Ok(batch)
    }
}

/// A batch that has offsets, and no records: it stands for records that compaction removed, of one
/// leader epoch. It tells no time. `last` is at most 2^31 - 1 behind `base`.
#[must_use]
pub fn without_records(
    base: Offset,
    last: Offset,
    leader_epoch: LeaderEpoch,
) -> [u8; BATCH_HEADER_BYTES] {
    let delta = i32::try_from(last.0 - base.0).expect("a batch names offsets by 32-bit deltas");
    let mut head = [0; BATCH_HEADER_BYTES];
    let fields: [(usize, &[u8]); 9] = [
        (layout::BASE_OFFSET, &base.0.to_be_bytes()),
        (layout::LEADER_EPOCH, &leader_epoch.0.to_be_bytes()),
        (layout::MAGIC, &layout::MAGIC_V2.to_be_bytes()),
        (layout::LAST_OFFSET_DELTA, &delta.to_be_bytes()),
        (layout::BASE_TIMESTAMP, &Timestamp::NONE.0.to_be_bytes()),
        (layout::MAX_TIMESTAMP, &Timestamp::NONE.0.to_be_bytes()),
        (layout::PRODUCER_ID, &(-1_i64).to_be_bytes()),
        (layout::PRODUCER_EPOCH, &(-1_i16).to_be_bytes()),
        (layout::BASE_SEQUENCE, &(-1_i32).to_be_bytes()),
    ];
    for (at, field) in fields {
        put_bytes(&mut head, at, field);
    }
    seal(&mut head).expect("a head is small");
    head
}

/// Writes the length and the checksum of a batch whose other fields stand.
fn seal(batch: &mut [u8]) -> Result<(), BuildError> {
    let length = i32::try_from(batch.len() - layout::LENGTH_COUNTS_FROM)
        .map_err(|_| BuildError::TooLarge)?;
    put(batch, layout::LENGTH, &length.to_be_bytes());
    let checksum = crc32c(&batch[layout::CHECKSUM_COVERS_FROM..]);
    put(batch, layout::CHECKSUM, &checksum.to_be_bytes());
    Ok(())
}

fn put_length(out: &mut Vec<u8>, length: usize) -> bool {
    let fits = i32::try_from(length);
    put_i32(out, fits.unwrap_or(0));
    fits.is_ok()
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) -> bool {
    let Some(field) = field else {
        put_i32(out, -1);
        return true;
    };
    let fits = put_length(out, field.len());
    out.extend_from_slice(field);
    fits
}

/// A batch cannot be compressed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecompressError {
    /// The bytes are not a whole batch, or not the ones checksummed.
    Batch(BatchError),
    /// The codec bits name none.
    Codec,
    /// The compressed section, or more than the limit.
    Decompress(DecompressError),
    /// The result outgrows the format.
    Build(BuildError),
}

/// The same batch with its records compressed by `compressor`: what a leader does when the topic's
/// `compression.type` is not `producer` and not the producer's codec. Everything but codec bits,
/// length and checksum stays.
///
/// # Errors
/// [`RecompressError`].
pub fn recompress(
    batch: &[u8],
    compressor: Compressor,
    limit: usize,
    scratch: &mut Scratch,
) -> Result<Vec<u8>, RecompressError> {
    let header = header::verify(batch).map_err(RecompressError::Batch)?;
    let codec = header
        .attributes
        .compression()
        .ok_or(RecompressError::Codec)?;
    let section = &batch[BATCH_HEADER_BYTES..header.size];
    let records =
        decompress(codec, section, limit, scratch).map_err(RecompressError::Decompress)?;
    let mut output = batch[..BATCH_HEADER_BYTES].to_vec();
    let attributes = Attributes(header.attributes.0 & !0x07 | compressor.codec.number());
    put(&mut output, layout::ATTRIBUTES, &attributes.0.to_be_bytes());
    output.extend_from_slice(&compressor.compress(&records));
    seal(&mut output).map_err(RecompressError::Build)?;
    Ok(output)
}
