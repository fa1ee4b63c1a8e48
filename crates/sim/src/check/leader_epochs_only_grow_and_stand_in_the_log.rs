//! A partition's leader epoch never goes back and grows with every life that makes itself known;
//! what boot knows of earlier reigns is what the batches say (P4, P9).

use klamm_model::{LeaderEpoch, TopicPartition};

use super::ledger::{LogLedger, Stored};
use super::{Violation, ensure};

const INVARIANT: &str = "leader_epochs_only_grow_and_stand_in_the_log";

/// Judges the reign in which a partition is led now.
///
/// # Errors
/// It is older than one seen before.
pub fn check(
    log: &mut LogLedger,
    partition: TopicPartition,
    now: LeaderEpoch,
) -> Result<(), Violation> {
    let before = log.leader_epoch;
    ensure!(
        INVARIANT,
        before <= Some(now),
        "{partition}: led in epoch {now} after {before:?}"
    );
    log.leader_epoch = Some(now);
    Ok(())
}

/// Judges the reign that the metadata names once the node is registered in a new life.
///
/// # Errors
/// It is none of this life.
pub fn after_registration(
    log: &LogLedger,
    partition: TopicPartition,
    now: LeaderEpoch,
) -> Result<(), Violation> {
    let before = log.earlier_leader_epoch;
    ensure!(
        INVARIANT,
        before < Some(now),
        "{partition}: led in epoch {now}, as in an earlier life in {before:?}"
    );
    Ok(())
}

/// Judges what boot found against the batches of the log, and these against the metadata.
///
/// # Errors
/// They differ, or the log knows a reign that the metadata does not.
pub fn after_restart(
    partition: TopicPartition,
    stored: &[Stored<'_>],
    log_start: i64,
    found: &[(i32, i64)],
    registered: Option<LeaderEpoch>,
) -> Result<(), Violation> {
    let mut expected: Vec<(i32, i64)> = Vec::new();
    for batch in stored {
        let epoch = batch.leader_epoch();
        let latest = expected.last().map(|last| last.0);
        ensure!(
            INVARIANT,
            latest <= Some(epoch),
            "{partition}: the batch at {} is of epoch {epoch}, after {latest:?}",
            batch.base
        );
        if latest != Some(epoch) {
            expected.push((epoch, batch.base));
        }
    }
    // A reign that ended before the log's start may be known or not.
    let expected = from_start(&expected, log_start);
    let found = from_start(found, log_start);
    // Of a log that expired as a whole no batch says whose the last reign was: it begins where the
    // log does, if anything tells of it.
    let is_of_nothing =
        stored.is_empty() && matches!(found[..], [(_, start)] if start == log_start);
    ensure!(
        INVARIANT,
        expected == found || is_of_nothing,
        "{partition}: the batches are of epochs {expected:?}, boot found {found:?}"
    );
    let latest = expected.last().map(|last| LeaderEpoch(last.0));
    ensure!(
        INVARIANT,
        registered.is_none() || latest <= registered,
        "{partition}: the log knows epoch {latest:?}, the metadata only {registered:?}"
    );
    Ok(())
}

/// The reigns that have records at or behind the log's start, the first of them beginning there.
fn from_start(reigns: &[(i32, i64)], log_start: i64) -> Vec<(i32, i64)> {
    let first = reigns.iter().rposition(|&(_, start)| start <= log_start);
    let kept = reigns.get(first.unwrap_or(0)..).unwrap_or_default();
    let clipped = kept
        .iter()
        .map(|&(epoch, start)| (epoch, start.max(log_start)));
    clipped.collect()
}
