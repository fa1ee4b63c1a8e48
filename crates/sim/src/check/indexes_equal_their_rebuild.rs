//! The index files of every segment are what its batches give when they are indexed anew (L4).

use klamm_model::{Offset, TopicPartition};
use klamm_records::segment::rebuild_indexes;

use super::dump::PartitionDump;
use super::{Violation, ensure};

const INVARIANT: &str = "indexes_equal_their_rebuild";

/// Judges the indexes of one partition whose files are all written; `interval` is its
/// `index.interval.bytes`.
///
/// # Errors
/// Which index differs.
pub fn check(
    partition: TopicPartition,
    dump: &PartitionDump,
    interval: usize,
) -> Result<(), Violation> {
    let last = dump.segments.last_key_value().map(|(&base, _)| base);
    for (&base, segment) in &dump.segments {
        let mut rebuilt = rebuild_indexes(&segment.log, Offset(base), interval);
        if Some(base) != last {
            rebuilt
                .time_index
                .extend(rebuilt.builder.close().into_iter().flatten());
        }
        for (name, found, expected) in [
            ("offset", &segment.offset_index, &rebuilt.offset_index),
            ("time", &segment.time_index, &rebuilt.time_index),
        ] {
            ensure!(
                INVARIANT,
                found == expected,
                "{partition}: {name} index of segment {base} (of {last:?}) is {found:?}, its batches give {expected:?}"
            );
        }
    }
    Ok(())
}
