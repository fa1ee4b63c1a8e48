//! The positions of a log stand in their order, and the high watermark only grows (P5, P13).

use klamm_model::{Cursors, TopicPartition};

use super::ledger::Ledger;
use super::{Violation, ensure};

const INVARIANT: &str = "high_watermark_never_goes_back";

/// Judges where a partition stands now.
///
/// # Errors
/// A position is out of order or went back.
pub fn check(
    ledger: &mut Ledger,
    partition: TopicPartition,
    cursors: Cursors,
) -> Result<(), Violation> {
    ensure!(
        INVARIANT,
        cursors.log_start <= cursors.last_stable
            && cursors.last_stable <= cursors.high_watermark
            && cursors.high_watermark <= cursors.log_end
            && cursors.flushed <= cursors.log_end,
        "{partition}: positions are out of order: {cursors:?}"
    );
    let log = ledger.log(partition);
    let now = cursors.high_watermark.0;
    ensure!(
        INVARIANT,
        log.high_watermark <= now,
        "{partition}: went from {} to {now}",
        log.high_watermark
    );
    log.high_watermark = now;
    Ok(())
}
