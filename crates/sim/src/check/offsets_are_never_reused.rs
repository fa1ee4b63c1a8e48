//! An offset that was acknowledged or read belongs to one batch for ever (P7, K3), as long as the
//! log that holds it was not lost with the power.

use klamm_model::TopicPartition;

use super::ledger::{Known, Ledger, Survives};
use super::{Violation, ensure};

const INVARIANT: &str = "offsets_are_never_reused";

/// Takes in that batch `number` lies at `base`.
///
/// # Errors
/// Another batch is known to lie there.
pub fn learn(
    ledger: &mut Ledger,
    partition: TopicPartition,
    number: u64,
    base: i64,
    end: i64,
    survives: Survives,
) -> Result<(), Violation> {
    let log = ledger.log(partition);
    let before = log.known.range(..base).next_back();
    ensure!(
        INVARIANT,
        before.is_none_or(|(_, known)| known.end <= base),
        "{partition}: batch {number} at {base} overlaps {before:?}"
    );
    let after = log.known.range(base + 1..).next();
    ensure!(
        INVARIANT,
        after.is_none_or(|(&next, _)| next >= end),
        "{partition}: batch {number} at {base} to {end} overlaps {after:?}"
    );
    let known = log.known.entry(base).or_insert(Known {
        number,
        end,
        survives,
    });
    ensure!(
        INVARIANT,
        known.number == number && known.end == end,
        "{partition}: offset {base} was batch {}, now it is batch {number}",
        known.number
    );
    known.survives = known.survives.max(survives);
    if survives == Survives::PowerCut {
        log.is_durable_before(end);
    }
    Ok(())
}
