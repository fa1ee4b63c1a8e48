//! The records of a stored batch, for clients, tests and tools. Decompresses the whole batch under
//! a budget and hands out slices of it; the broker's hot path never comes here.

use std::fmt;

use bytes::{Buf, Bytes};
use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{BatchHeader, Compression, Offset, OffsetDelta, Timestamp, TimestampType};

use super::builder::RecordHeader;
use super::header::{self, BatchError};
use super::record::{Body, RecordFault, SliceBody, WalkError, take_body, unsigned_u32, walk};
use crate::compress::{DecompressError, Scratch, decompress};
use crate::varint::{signed_i32, signed_i64};

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the partition.
    pub offset: Offset,
    /// Its time; the batch's, if that has log-append time.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` deletes the key on a compacted topic.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<RecordHeader>,
}

/// The records of a batch cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordsError {
    /// The bytes are not a whole batch, or not the ones checksummed.
    Batch(BatchError),
    /// The codec bits name none.
    Codec,
    /// The compressed section.
    Decompress(DecompressError),
    /// A record's structure.
    Record {
        /// Its place in the batch, from 0.
        index: i32,
        /// What is wrong.
        fault: RecordFault,
    },
    /// Bytes after the last record.
    AfterLast,
}

impl fmt::Display for RecordsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => error.fmt(formatter),
            Self::Codec => formatter.write_str("unknown compression type"),
            Self::Decompress(error) => error.fmt(formatter),
            Self::Record { index, fault } => write!(formatter, "record {index}: {fault}"),
            Self::AfterLast => formatter.write_str("bytes after the last record"),
        }
    }
}

impl std::error::Error for RecordsError {}

/// Opens the batch at the start of `batch`: checks its checksum and decompresses it to at most
/// `limit` bytes.
///
/// # Errors
/// Any [`RecordsError`] about the batch as a whole.
pub fn records(
    batch: &Bytes,
    limit: usize,
    scratch: &mut Scratch,
) -> Result<Records, RecordsError> {
    let header = header::verify(batch).map_err(RecordsError::Batch)?;
    let codec = header.attributes.compression().ok_or(RecordsError::Codec)?;
    let section = batch.slice(BATCH_HEADER_BYTES..header.size);
    let section = if codec == Compression::None {
        section
    } else {
        decompress(codec, &section, limit, scratch)
            .map_err(RecordsError::Decompress)?
            .into()
    };
    Ok(Records {
        header,
        rest: section,
        index: 0,
    })
}

/// Iterator over the records of one batch. An error is its last item.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    rest: Bytes,
    index: i32,
}

impl Records {
    /// The batch's head.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes of the records that are still to come, unpacked.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        self.rest.len()
    }

    fn next_record(&mut self) -> Result<Record, WalkError> {
        let mut rest: &[u8] = &self.rest;
        let body = take_body(&mut rest)?;
        walk(&mut SliceBody(body))?;
        let end = self.rest.len() - rest.len();
        let body_at = end - body.len();
        let mut fields = Fields(self.rest.slice(body_at..end));
        self.rest.advance(end);

        fields.skip(1)?;
        let timestamp_delta = fields.long()?;
        let offset_delta = fields.int()?;
        let key = fields.nullable()?;
        let value = fields.nullable()?;
        let mut headers = Vec::new();
        for _ in 0..fields.int()? {
            let key = fields.nullable()?.ok_or(RecordFault::HeaderKey)?;
            let value = fields.nullable()?;
            headers.push(RecordHeader { key, value });
        }
        let header = &self.header;
        let timestamp = match header.attributes.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => {
                Timestamp(header.base_timestamp.0.wrapping_add(timestamp_delta))
            }
        };
        // A stored offset near the end of its type must not panic a tool.
        let offset = header
            .base_offset
            .0
            .wrapping_add(OffsetDelta(offset_delta).0.into());
        Ok(Record {
            offset: Offset(offset),
            timestamp,
            key,
            value,
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            let left = std::mem::take(&mut self.rest);
            return (!left.is_empty()).then_some(Err(RecordsError::AfterLast));
        }
        let index = self.index;
        self.index += 1;
        Some(self.next_record().map_err(|error| {
            self.index = i32::MAX;
            self.rest = Bytes::new();
            match error {
                WalkError::Record(fault) => RecordsError::Record { index, fault },
                WalkError::Stream(error) => RecordsError::Decompress(error),
            }
        }))
    }
}

/// Fields of a body that has been walked before.
struct Fields(Bytes);

impl Fields {
    fn int(&mut self) -> Result<i32, WalkError> {
        unsigned_u32(|| self.byte()).map(signed_i32)
    }

    fn long(&mut self) -> Result<i64, WalkError> {
        super::record::unsigned_u64(self).map(signed_i64)
    }

    fn nullable(&mut self) -> Result<Option<Bytes>, WalkError> {
        let Ok(count) = usize::try_from(self.int()?) else {
            return Ok(None);
        };
        if count > self.0.len() {
            return Err(RecordFault::Short.into());
        }
        Ok(Some(self.0.split_to(count)))
    }
}

impl Body for Fields {
    fn byte(&mut self) -> Result<u8, WalkError> {
        let first = *self.0.first().ok_or(RecordFault::Short)?;
        self.0.advance(1);
        Ok(first)
    }

    fn skip(&mut self, count: usize) -> Result<(), WalkError> {
        if count > self.0.len() {
            return Err(RecordFault::Short.into());
        }
        self.0.advance(count);
        Ok(())
    }

    fn left(&self) -> usize {
        self.0.len()
    }
}
