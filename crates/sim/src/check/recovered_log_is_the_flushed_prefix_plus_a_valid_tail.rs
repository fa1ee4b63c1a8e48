//! After a restart a log holds, from its start and without a hole, what it held before, as far as
//! that was durable, and behind it only whole batches that were sent to it (L2). It starts with
//! the segment in which its first offset lies, or with one before.

use klamm_model::TopicPartition;

use super::dump::PartitionDump;
use super::ledger::{Ledger, Stored};
use super::{Violation, ensure, reads_return_exactly_what_was_appended};

const INVARIANT: &str = "recovered_log_is_the_flushed_prefix_plus_a_valid_tail";

/// Judges the files of one partition; `end` and `start` are where the node says that its log ends
/// and begins. The batches are in `bytes`.
///
/// # Errors
/// What is wrong with them.
pub fn check<'a>(
    ledger: &Ledger,
    partition: TopicPartition,
    dump: &PartitionDump,
    bytes: &'a [u8],
    (start, end): (i64, i64),
) -> Result<Vec<Stored<'a>>, Violation> {
    // Segments before the start may be gone.
    let first = dump.segments.keys().next().copied();
    let mut next = first.filter(|&base| base <= start).unwrap_or(0);
    for (&base, segment) in &dump.segments {
        ensure!(
            INVARIANT,
            base == next,
            "{partition}: a segment begins at {base}, expected {next}"
        );
        let broken = |at| {
            Violation::new(
                INVARIANT,
                format!("{partition}: segment {base} breaks at {at}"),
            )
        };
        for batch in Stored::all(&segment.log).map_err(broken)? {
            ensure!(
                INVARIANT,
                batch.base == next,
                "{partition}: found offset {} in segment {base}, expected {next}",
                batch.base
            );
            if partition != TopicPartition::METADATA {
                reads_return_exactly_what_was_appended::is_as_sent(ledger, partition, &batch)?;
            }
            next = batch.end;
        }
    }
    ensure!(
        INVARIANT,
        next == end,
        "{partition}: the files end at {next}, the node says {end}"
    );
    let broken = |at| Violation::new(INVARIANT, format!("{partition}: breaks at {at}"));
    Stored::all(bytes).map_err(broken)
}
