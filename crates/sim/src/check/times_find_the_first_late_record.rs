//! The first offset at or after a time is that of the first such record.

use klamm_model::TopicPartition;

use super::ledger::Ledger;
use super::{Violation, ensure};

const INVARIANT: &str = "times_find_the_first_late_record";

/// Judges an answer. `known_end` was committed when the question was asked.
///
/// # Errors
/// An earlier record is known, or the one found is none.
pub fn check(
    ledger: &Ledger,
    partition: TopicPartition,
    at: i64,
    known_end: i64,
    found: Option<(i64, Option<i64>)>,
) -> Result<(), Violation> {
    let Some(log) = ledger.logs.get(&partition) else {
        return Ok(());
    };
    let records = log.known.iter().flat_map(|(&base, known)| {
        let sent = ledger.sent.get(&known.number);
        let times = sent.into_iter().flat_map(|sent| &sent.timestamps);
        (base..).zip(times.copied())
    });
    let first = records
        .filter(|&(offset, time)| log.log_start <= offset && offset < known_end && time >= at)
        .map(|(offset, _)| offset)
        .next();
    match (first, found) {
        (Some(first), None) => {
            ensure!(
                INVARIANT,
                false,
                "{partition}: time {at} is at {first}, found nothing"
            );
        }
        (first, Some((offset, time))) => {
            ensure!(
                INVARIANT,
                first.is_none_or(|first| offset <= first),
                "{partition}: time {at} is at {first:?}, found {offset}"
            );
            ensure!(
                INVARIANT,
                time.is_some_and(|time| time >= at),
                "{partition}: found time {time:?} for {at}"
            );
        }
        (None, None) => {}
    }
    Ok(())
}
