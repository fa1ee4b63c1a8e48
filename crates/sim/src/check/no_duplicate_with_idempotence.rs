//! A batch that an idempotent producer sent again lies in the log once, and the producer's
//! sequences stand in their order (S1, S2, K4). Batches sent once lie there at most once anyway.

use std::collections::{BTreeMap, BTreeSet};

use klamm_model::TopicPartition;

use super::ledger::Stored;
use super::{Violation, ensure};

const INVARIANT: &str = "no_duplicate_with_idempotence";

/// Judges a whole log.
///
/// # Errors
/// A batch lies there twice, or out of order.
pub fn check(partition: TopicPartition, stored: &[Stored<'_>]) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    let mut sequences: BTreeMap<(i64, i16), i64> = BTreeMap::new();
    for batch in stored {
        let number = batch.number();
        ensure!(
            INVARIANT,
            seen.insert(number),
            "{partition}: batch {number} lies at {} for the second time",
            batch.base
        );
        let (id, epoch, sequence) = batch.producer();
        if id < 0 {
            continue;
        }
        let next = sequences
            .entry((id, epoch))
            .or_insert_with(|| sequence.into());
        ensure!(
            INVARIANT,
            *next <= i64::from(sequence),
            "{partition}: producer {id} has sequence {sequence} at {}, {next} or more was due",
            batch.base
        );
        *next = i64::from(sequence) + batch.end - batch.base;
    }
    Ok(())
}
