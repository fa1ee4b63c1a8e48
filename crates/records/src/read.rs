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
        if !(fits || first && bounds.first_batch == FirstBatch::Whole) {
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

#[cfg(test)]
mod tests {
    use klamm_model::LeaderEpoch;

    use super::*;
    use crate::batch::BatchOptions;
    use crate::testdata::batch_of;

    /// Ten batches of ten records from offset 100 on, all of one size.
    fn run() -> (Vec<u8>, usize) {
        let mut run = Vec::new();
        for number in 0..10 {
            let options = BatchOptions {
                base_offset: Offset(100 + number * 10),
                leader_epoch: LeaderEpoch(0),
                ..BatchOptions::default()
            };
            run.extend_from_slice(&batch_of(options, 10, 10));
        }
        let size = run.len() / 10;
        (run, size)
    }

    fn check(
        start: i64,
        end: i64,
        bytes_max: usize,
        first_batch: FirstBatch,
    ) -> (usize, usize, i64) {
        let (run, size) = run();
        let bounds = ReadBounds {
            start: Offset(start),
            end: Offset(end),
            bytes_max,
            first_batch,
        };
        let cut = cut(&run, &bounds).expect("whole batches");
        (cut.range.start / size, cut.range.len() / size, cut.next.0)
    }

    const ALL: usize = usize::MAX;

    #[test]
    fn a_read_begins_with_the_batch_that_holds_its_start() {
        for (start, first) in [(0, 0), (100, 0), (109, 0), (110, 1), (155, 5), (199, 9)] {
            let (found, count, next) = check(start, i64::MAX, ALL, FirstBatch::Limited);
            assert_eq!((found, count, next), (first, 10 - first, 200), "{start}");
        }
        assert_eq!(check(200, i64::MAX, ALL, FirstBatch::Whole), (0, 0, 200));
    }

    #[test]
    fn a_read_ends_before_the_batch_that_reaches_beyond_its_end() {
        for (end, count) in [
            (0, 0),
            (100, 0),
            (109, 0),
            (110, 1),
            (119, 1),
            (150, 5),
            (200, 10),
        ] {
            let (_, found, next) = check(100, end, ALL, FirstBatch::Whole);
            assert_eq!((found, next), (count, 100 + count as i64 * 10), "{end}");
        }
    }

    #[test]
    fn the_byte_limit_keeps_batches_whole() {
        let (_, size) = run();
        let limited = |bytes_max| check(120, 200, bytes_max, FirstBatch::Limited).1;
        assert_eq!(limited(0), 0);
        assert_eq!(limited(size - 1), 0);
        assert_eq!(limited(size), 1);
        assert_eq!(limited(3 * size - 1), 2);
        assert_eq!(limited(100 * size), 8);
    }

    #[test]
    fn the_first_batch_is_given_whole_where_asked_for() {
        let (_, size) = run();
        assert_eq!(check(120, 200, 0, FirstBatch::Whole), (2, 1, 130));
        assert_eq!(check(120, 200, size - 1, FirstBatch::Whole), (2, 1, 130));
        assert_eq!(check(120, 200, 2 * size, FirstBatch::Whole), (2, 2, 140));
    }

    #[test]
    fn a_torn_last_batch_is_left_out_and_garbage_is_an_error() {
        let (run, size) = run();
        let bounds = ReadBounds {
            start: Offset(100),
            end: Offset(200),
            bytes_max: ALL,
            first_batch: FirstBatch::Whole,
        };
        let torn = cut(&run[..size * 2 + 30], &bounds).expect("two whole batches");
        assert_eq!((torn.range, torn.next), (0..size * 2, Offset(120)));
        let mut garbage = run;
        garbage[size + 16] = 9;
        assert_eq!(cut(&garbage, &bounds), Err(BatchError::Magic { found: 9 }));
    }
}
