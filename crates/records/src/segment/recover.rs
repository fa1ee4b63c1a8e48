//! Recovery of a segment's batches from its bytes, and rebuilding its indexes.

use std::fmt;

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{BatchHeader, LeaderEpoch, Offset};

use super::index::{IndexBuilder, relative_offset};
use super::succession::Succession;
use crate::batch::{self, BatchError, layout};
use crate::checksum::{crc32c, crc32c_extend};
use crate::fields::{i32_at, u32_at};

/// Bytes in which the end of a damaged batch is sought by its checksum; batches are far smaller.
const CHECKSUM_SEARCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is wrong at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentFault {
    /// Not a whole, right batch.
    Batch(BatchError),
    /// The batch's offsets do not follow on what stands before it, or lie beyond what a segment can
    /// index.
    Offset {
        /// The base offset expected here, or the least that may stand here.
        least: Offset,
        /// The base offset found.
        found: Offset,
    },
    /// The batch's leader epoch is older than the one before it.
    LeaderEpoch {
        /// Least epoch that may stand here.
        least: LeaderEpoch,
        /// The epoch found.
        found: LeaderEpoch,
    },
}

impl fmt::Display for SegmentFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => error.fmt(formatter),
            Self::Offset { least, found } => write!(
                formatter,
                "expected a batch at offset {least}, found {found}"
            ),
            Self::LeaderEpoch { least, found } => write!(
                formatter,
                "expected a batch of leader epoch {least} or later, found {found}"
            ),
        }
    }
}

/// How the recovery of a segment ended. Positions count from the segment's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentEnd {
    /// Every byte belongs to a valid batch.
    Whole {
        /// Bytes of the segment.
        bytes: usize,
    },
    /// The write here was never completed, and lies beyond what was durable: cut here.
    Torn {
        /// Position of the first bad byte.
        at: usize,
        /// What is wrong there.
        fault: SegmentFault,
    },
    /// Bytes that had been durable are bad: never cut, to be quarantined and repaired.
    Damage {
        /// Position of the first bad byte.
        from: usize,
        /// Position of the next valid batch, or the end of what was durable.
        to: usize,
        /// What is wrong at `from`.
        fault: SegmentFault,
    },
}

/// Verifies the batches of a segment, checksums included, from a position that is known to be
/// good. `bytes` begins at `from`; `succession` tells what must stand there, and then behind what
/// was read; `durable` is the position up to which the segment is known to have been durable. Calls
/// `visit` with position and head of each valid batch, in order. After [`SegmentEnd::Damage`] the
/// caller may go on at `to`.
pub fn recover(
    bytes: &[u8],
    from: usize,
    segment_base: Offset,
    succession: &mut Succession,
    durable: usize,
    mut visit: impl FnMut(usize, &BatchHeader),
) -> SegmentEnd {
    let mut at = 0;
    while at < bytes.len() {
        match read_at(&bytes[at..], segment_base, succession) {
            Ok(header) => {
                visit(from + at, &header);
                at += header.size;
            }
            Err(fault) => {
                let position = from + at;
                if durable <= position {
                    return SegmentEnd::Torn {
                        at: position,
                        fault,
                    };
                }
                let to = at + pass_over(&bytes[at..], segment_base, succession);
                let to = to.min((durable - from).max(at + 1));
                return SegmentEnd::Damage {
                    from: position,
                    to: from + to,
                    fault,
                };
            }
        }
    }
    let bytes = from + at;
    if bytes < durable {
        // The file itself was cut short.
        let fault = SegmentFault::Batch(BatchError::Incomplete {
            needed: durable - bytes,
            found: 0,
        });
        return SegmentEnd::Damage {
            from: bytes,
            to: durable,
            fault,
        };
    }
    SegmentEnd::Whole { bytes }
}

/// The batch at the start of the bytes, if it is whole and follows on what was read before.
fn read_at(
    bytes: &[u8],
    segment_base: Offset,
    succession: &mut Succession,
) -> Result<BatchHeader, SegmentFault> {
    let header = batch::verify(bytes).map_err(SegmentFault::Batch)?;
    let found = header.base_offset;
    // Checked before any arithmetic, because the offsets come from disk.
    let last = found.0.checked_add(header.last_offset_delta.0.into());
    let in_range = last
        .is_some_and(|last| last < i64::MAX && relative_offset(segment_base, Offset(last)).is_ok());
    if !in_range {
        let least = succession.least();
        return Err(SegmentFault::Offset { least, found });
    }
    succession.follow_offsets(&header)?;
    Ok(header)
}

/// Bytes to pass over at a place where no right batch stands.
fn pass_over(bytes: &[u8], segment_base: Offset, succession: &mut Succession) -> usize {
    if let Ok(header) = batch::verify(bytes) {
        // Only its base offset is wrong, which no checksum covers.
        succession.pass(&header);
        return header.size;
    }
    succession.lose();
    next_batch(bytes, segment_base, *succession).unwrap_or(bytes.len())
}

/// Where the next valid batch stands behind a bad one, or the end of the bytes: where the bad one's
/// length says, or where its checksum says, and only if neither is right the first place at which a
/// whole batch verifies. For records may quote batches, which nothing tells from ours.
fn next_batch(bytes: &[u8], segment_base: Offset, succession: Succession) -> Option<usize> {
    let valid = |at: usize| {
        at == bytes.len()
            || bytes.get(at..).is_some_and(|rest| {
                let mut succession = succession;
                read_at(rest, segment_base, &mut succession).is_ok()
            })
    };
    if let Some(size) = bytes.get(..BATCH_HEADER_BYTES).and_then(|head| {
        size_by_length(head)
            .filter(|&size| valid(size))
            .or_else(|| size_by_checksum(bytes, valid))
    }) {
        return Some(size);
    }
    // A checksum over a false length costs its bytes, so false starts are paid for from a budget
    // that keeps the search linear in the segment's size.
    let mut budget = bytes.len().saturating_mul(4);
    for at in 1..bytes.len() {
        let rest = &bytes[at..];
        let Some(size) = batch::size_of(rest).ok().filter(|&size| size <= rest.len()) else {
            continue;
        };
        if valid(at) {
            return Some(at);
        }
        budget = budget.checked_sub(size)?;
    }
    None
}

/// What the length field says, whatever the magic is.
fn size_by_length(head: &[u8]) -> Option<usize> {
    usize::try_from(i32_at(head, layout::LENGTH))
        .ok()
        .map(|length| length + layout::LENGTH_COUNTS_FROM)
        .filter(|&size| size >= BATCH_HEADER_BYTES)
}

/// The size at which the checksum is right: it covers neither length nor magic, so it finds the end
/// of a batch that lost only these.
fn size_by_checksum(bytes: &[u8], valid: impl Fn(usize) -> bool) -> Option<usize> {
    let stored = u32_at(bytes, layout::CHECKSUM);
    let mut checksum = crc32c(&bytes[layout::CHECKSUM_COVERS_FROM..BATCH_HEADER_BYTES]);
    let last = bytes.len().min(CHECKSUM_SEARCH_BYTES_MAX);
    for size in BATCH_HEADER_BYTES..=last {
        if checksum == stored && valid(size) {
            return Some(size);
        }
        let next = bytes.get(size..=size).unwrap_or_default();
        checksum = crc32c_extend(checksum, next);
    }
    None
}

/// Both indexes of a segment, rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltIndexes {
    /// Bytes of the offset index.
    pub offset_index: Vec<u8>,
    /// Bytes of the time index, without the entry that closing adds.
    pub time_index: Vec<u8>,
    /// Ready for the next batch, or to be closed.
    pub builder: IndexBuilder,
    /// How the segment ended.
    pub end: SegmentEnd,
}

/// Rebuilds both indexes from a whole segment.
#[must_use]
pub fn rebuild_indexes(segment: &[u8], base: Offset, interval_bytes: usize) -> RebuiltIndexes {
    let mut builder = IndexBuilder::new(base, interval_bytes);
    let mut offset_index = Vec::new();
    let mut time_index = Vec::new();
    let mut succession = Succession::from_start(base);
    let end = recover(segment, 0, base, &mut succession, 0, |_, header| {
        let entries = builder
            .on_batch(header)
            .expect("recovery refuses offsets that a segment cannot index");
        offset_index.extend(entries.offset.into_iter().flatten());
        time_index.extend(entries.time.into_iter().flatten());
    });
    RebuiltIndexes {
        offset_index,
        time_index,
        builder,
        end,
    }
}
