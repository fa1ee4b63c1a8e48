//! The start of a log only grows, never beyond what somebody asked for or retention takes, and
//! whoever was told of a start finds it again after a power cut (DeleteRecords).

use klamm_model::{Offset, TopicPartition};

use super::ledger::LogLedger;
use super::{Violation, ensure};

const INVARIANT: &str = "log_start_never_goes_back";

/// Judges where a log begins now: while the node runs, or as boot found it.
///
/// # Errors
/// It went back, or further than anybody asked.
pub fn check(
    log: &mut LogLedger,
    partition: TopicPartition,
    now: Offset,
    may_expire: bool,
) -> Result<(), Violation> {
    ensure!(
        INVARIANT,
        log.log_start <= now.0,
        "{partition}: begins at {now}, it began at {} before",
        log.log_start
    );
    ensure!(
        INVARIANT,
        may_expire || now.0 == 0 || now.0 <= log.trim_asked,
        "{partition}: begins at {now}, nobody asked for more than {}",
        log.trim_asked
    );
    if log.log_start < now.0 {
        log.log_start = now.0;
        // What lies before it may be there or not.
        log.known.retain(|_, known| known.end > now.0);
    }
    Ok(())
}
