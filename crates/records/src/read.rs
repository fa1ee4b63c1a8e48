//! Cutting a run of batches to what a Fetch may carry. Batches are never split: a consumer skips
//! the records before its offset itself, as Kafka's do.

use std::ops::Range;

use klamm_model::Offset;

use crate::batch::{BatchError, batches};

/// What part of a run of batches is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBounds {
    /// First offset wanted; the batch that holds it is the first given.
    pub start: Offset,
    /// First offset not to be given: a batch that reaches it or goes beyond is left out.
    pub end: Offset,
    /// Bytes wanted at most.
    pub bytes_max: usize,
    /// Whether the first batch is given even if it alone is larger than `bytes_max`.
    pub first_batch: FirstBatch,
}

/// What happens to a first batch that is larger than the limit (KIP-74).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBatch {
    /// It is given whole, so that a consumer always gets on.
    Whole,
    /// It is left out like any other: an earlier partition of the response had something.
    Limited,
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where in the run the wanted batches lie; empty if there are none.
    pub range: Range<usize>,
    /// The offset after the last batch given; `start` if there are none.
    pub next: Offset,
}

/// Finds the whole batches of `run` that `bounds` asks for. A batch at the run's end that is not
/// there whole is left out.
///
/// # Errors
/// A [`BatchError`] other than the incomplete last batch: the run is not what was appended.
pub fn cut(run: &[u8], bounds: &ReadBounds) -> Result<Cut, BatchError> {
    let mut cut = Cut {
        range: 0..0,
        next: bounds.start,
    };
    let mut at = 0;
    for item in batches(run) {
        let (header, batch) = match item {
            Ok(found) => found,
            Err(BatchError::Incomplete { .. }) => break,
            Err(error) => return Err(error),
        };
        let from = at;
        at += batch.len();
        // Offsets come from bytes: no arithmetic that could overflow.
        let last = header
            .base_offset
            .0
            .saturating_add(header.last_offset_delta.0.into());
        if last < bounds.start.0 {
            continue;
        }
        if last >= bounds.end.0 {
            break;
        }
        let first = cut.range.is_empty();
        let start = if first { from } else { cut.range.start };
        let fits = at - start <= bounds.bytes_max;
        if !fits && !(first && bounds.first_batch == FirstBatch::Whole) {
            break;
        }
        cut.range = start..at;
        cut.next = Offset(last.saturating_add(1));
        if !fits {
            break;
        }
    }
    Ok(cut)
}
