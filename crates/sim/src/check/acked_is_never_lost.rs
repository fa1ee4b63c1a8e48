//! What was acknowledged under class `flushed` survives a power cut, and whatever was acknowledged
//! or read survives the death of the process (P1, P2, K1, K2).

use klamm_model::TopicPartition;

use super::ledger::{LogLedger, Stored, Survives};
use super::{Violation, ensure};

const INVARIANT: &str = "acked_is_never_lost";

/// Judges a log after a restart; `stored` is all that it holds. Forgets what was lawfully lost, and
/// returns how many batches that were.
///
/// # Errors
/// Something is lost that had to survive.
pub fn after_restart(
    log: &mut LogLedger,
    partition: TopicPartition,
    stored: &[Stored<'_>],
    power_was_cut: bool,
) -> Result<usize, Violation> {
    let end = stored.last().map_or(0, |batch| batch.end);
    let had_to = if power_was_cut {
        Survives::PowerCut
    } else {
        Survives::Kill
    };
    let mut lost = Vec::new();
    for (&base, known) in &log.known {
        let here = stored
            .binary_search_by_key(&base, |batch| batch.base)
            .is_ok_and(|place| stored[place].number() == known.number);
        if here {
            continue;
        }
        ensure!(
            INVARIANT,
            known.survives < had_to,
            "{partition}: batch {} at {base} had to survive ({:?}), the log ends at {end}",
            known.number,
            known.survives
        );
        ensure!(
            INVARIANT,
            base >= end,
            "{partition}: batch {} at {base} is gone from the middle of a log that ends at {end}",
            known.number
        );
        lost.push(base);
    }
    for base in &lost {
        log.known.remove(base);
    }
    Ok(lost.len())
}
