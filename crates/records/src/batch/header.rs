//! The head of a batch as a view over bytes: reading it, checking the checksum, and stepping
//! through several batches in one slice. Nothing here looks at records.

use std::fmt;

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{
    Attributes, BatchHeader, LeaderEpoch, Offset, OffsetDelta, ProducerEpoch, ProducerId,
    ProducerStamp, Sequence, Timestamp,
};

use super::layout;
use crate::checksum::crc32c;
use crate::fields::{i16_at, i32_at, i64_at, u32_at};

/// The bytes are not one whole batch of format 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The slice ends before the batch does: more bytes may make it whole.
    Incomplete {
        /// Bytes needed at least.
        needed: usize,
        /// Bytes there.
        found: usize,
    },
    /// The length field is negative or smaller than the head.
    Length {
        /// The field's value.
        claimed: i32,
    },
    /// Not format 2.
    Magic {
        /// The field's value.
        found: i8,
    },
    /// The bytes are not those that were checksummed.
    Checksum {
        /// The field's value.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { needed, found } => {
                write!(formatter, "batch needs {needed} bytes, found {found}")
            }
            Self::Length { claimed } => write!(
                formatter,
                "batch length must be at least {}, found {claimed}",
                BATCH_HEADER_BYTES - layout::LENGTH_COUNTS_FROM
            ),
            Self::Magic { found } => write!(formatter, "batch magic must be 2, found {found}"),
            Self::Checksum { stored, computed } => write!(
                formatter,
                "batch checksum is {computed:#010x}, its head says {stored:#010x}"
            ),
        }
    }
}

impl std::error::Error for BatchError {}

/// Size in bytes of the batch at the start of `bytes`, as its head claims it; the batch need not
/// be there whole.
///
/// # Errors
/// [`BatchError::Incomplete`] below 17 bytes, [`BatchError::Length`], [`BatchError::Magic`].
pub fn size_of(bytes: &[u8]) -> Result<usize, BatchError> {
    if bytes.len() <= layout::MAGIC {
        return Err(BatchError::Incomplete {
            needed: BATCH_HEADER_BYTES,
            found: bytes.len(),
        });
    }
    let magic = bytes[layout::MAGIC] as i8;
    if magic != layout::MAGIC_V2 {
        return Err(BatchError::Magic { found: magic });
    }
    let claimed = i32_at(bytes, layout::LENGTH);
    usize::try_from(claimed)
        .ok()
        .map(|length| length + layout::LENGTH_COUNTS_FROM)
        .filter(|&size| size >= BATCH_HEADER_BYTES)
        .ok_or(BatchError::Length { claimed })
}

/// Reads the head of the batch at the start of `bytes`, which must hold that batch whole; what
/// follows it is not looked at. The checksum is not computed: see [`verify`].
///
/// Fields are taken as they stand: a producer id of -1 or less gives no producer, but a batch with
/// an id and a negative epoch or sequence gives just that.
///
/// # Errors
/// Any [`BatchError`] but the checksum's.
pub fn read(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let size = size_of(bytes)?;
    need(bytes, size)?;
    read_head(bytes)
}

/// Reads a batch's head alone; the batch need not be there whole.
///
/// # Errors
/// Any [`BatchError`] but the checksum's.
pub fn read_head(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let size = size_of(bytes)?;
    need(bytes, BATCH_HEADER_BYTES)?;
    let producer_id = i64_at(bytes, layout::PRODUCER_ID);
    Ok(BatchHeader {
        base_offset: Offset(i64_at(bytes, layout::BASE_OFFSET)),
        size,
        leader_epoch: LeaderEpoch(i32_at(bytes, layout::LEADER_EPOCH)),
        checksum: u32_at(bytes, layout::CHECKSUM),
        attributes: Attributes(i16_at(bytes, layout::ATTRIBUTES)),
        last_offset_delta: OffsetDelta(i32_at(bytes, layout::LAST_OFFSET_DELTA)),
        base_timestamp: Timestamp(i64_at(bytes, layout::BASE_TIMESTAMP)),
        max_timestamp: Timestamp(i64_at(bytes, layout::MAX_TIMESTAMP)),
        producer: (producer_id >= 0).then(|| ProducerStamp {
            id: ProducerId(producer_id),
            epoch: ProducerEpoch(i16_at(bytes, layout::PRODUCER_EPOCH)),
            base_sequence: Sequence(i32_at(bytes, layout::BASE_SEQUENCE)),
        }),
        record_count: i32_at(bytes, layout::RECORD_COUNT),
    })
}

/// True if the head of the batch at the start of `bytes` says that it belongs to a transaction, if
/// there is one: a look at one field, for who has no other question.
#[must_use]
pub fn may_be_transactional(bytes: &[u8]) -> bool {
    bytes.len() >= BATCH_HEADER_BYTES
        && Attributes(i16_at(bytes, layout::ATTRIBUTES)).is_transactional()
}

fn need(bytes: &[u8], needed: usize) -> Result<(), BatchError> {
    let found = bytes.len();
    if found < needed {
        return Err(BatchError::Incomplete { needed, found });
    }
    Ok(())
}

/// The checksum that the head of this whole batch should hold.
///
/// # Panics
/// If `batch` is shorter than a batch's head.
#[must_use]
pub fn checksum_of(batch: &[u8]) -> u32 {
    assert!(batch.len() >= BATCH_HEADER_BYTES, "a batch has a head");
    crc32c(&batch[layout::CHECKSUM_COVERS_FROM..])
}

/// Reads the head of the batch at the start of `bytes` and checks the checksum over its bytes.
/// Base offset, length, leader epoch and magic lie outside the checksum.
///
/// # Errors
/// Any [`BatchError`].
pub fn verify(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = read(bytes)?;
    let computed = checksum_of(&bytes[..header.size]);
    if computed == header.checksum {
        Ok(header)
    } else {
        Err(BatchError::Checksum {
            stored: header.checksum,
            computed,
        })
    }
}

/// Steps through the batches that lie one after the other in `run`; see [`Batches`].
#[must_use]
pub const fn batches(run: &[u8]) -> Batches<'_> {
    Batches { rest: run }
}

/// Heads and bytes of the batches in a slice, checksums unchecked. An error is the last item; a
/// slice that ends inside a batch yields [`BatchError::Incomplete`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Bytes not yet stepped over.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match read(self.rest) {
            Ok(header) => {
                let (batch, rest) = self.rest.split_at(header.size);
                self.rest = rest;
                Some(Ok((header, batch)))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}
