//! A read gives whole batches, from the one asked for on, without a hole, byte for byte as they
//! were sent to this very partition (P6, P7, P12).

use klamm_model::TopicPartition;

use super::ledger::{Ledger, Stored, Survives};
use super::{Violation, ensure, offsets_are_never_reused};

const INVARIANT: &str = "reads_return_exactly_what_was_appended";

/// Judges the bytes of one answer; returns where the reader stands then.
///
/// # Errors
/// What is wrong with them.
pub fn check(
    ledger: &mut Ledger,
    partition: TopicPartition,
    wanted: i64,
    high_watermark: i64,
    bytes: &[u8],
) -> Result<i64, Violation> {
    let stored = Stored::all(bytes);
    let broken = |at| Violation::new(INVARIANT, format!("{partition}: no batch at byte {at}"));
    let mut next = None;
    for batch in stored.map_err(broken)? {
        let right = match next {
            None => batch.base <= wanted && wanted < batch.end,
            Some(next) => batch.base == next,
        };
        ensure!(
            INVARIANT,
            right,
            "{partition}: read from {wanted}, expected {next:?}, found {} to {}",
            batch.base,
            batch.end
        );
        ensure!(
            INVARIANT,
            batch.end <= high_watermark,
            "{partition}: {} lies above the high watermark {high_watermark}",
            batch.end
        );
        is_as_sent(ledger, partition, &batch)?;
        let number = batch.number();
        offsets_are_never_reused::learn(
            ledger,
            partition,
            number,
            batch.base,
            batch.end,
            Survives::Kill,
        )?;
        next = Some(batch.end);
    }
    Ok(next.unwrap_or(wanted))
}

/// The batch is one that was sent to this partition.
///
/// # Errors
/// It is not.
pub fn is_as_sent(
    ledger: &Ledger,
    partition: TopicPartition,
    batch: &Stored<'_>,
) -> Result<(), Violation> {
    let number = batch.number();
    let Some(sent) = ledger.sent.get(&number) else {
        let what = format!("{partition}: nobody sent what lies at {}", batch.base);
        return Err(Violation::new(INVARIANT, what));
    };
    ensure!(
        INVARIANT,
        sent.partition == partition,
        "batch {number} was sent to {}, found in {partition} at {}",
        sent.partition,
        batch.base
    );
    ensure!(
        INVARIANT,
        batch.is(sent),
        "{partition}: batch {number} at {} has other bytes than were sent",
        batch.base
    );
    Ok(())
}
