//! The groups of a partition of `__consumer_offsets`, replayed from its files by the simplest means,
//! are those that its coordinator holds: after a load what they were before, and at any time what a
//! load would give (G4).

use bytes::Bytes;
use klamm_engine::coord::{Coordinator, GroupConfig};
use klamm_model::TopicPartition;
use klamm_records::batch;
use klamm_records::compress::Scratch;

use super::dump::PartitionDump;
use super::ledger::Stored;
use super::{Violation, ensure};

const INVARIANT: &str = "groups_are_what_their_log_says";

/// Bytes of one batch once it is decompressed, at most.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// What a log says: where it ends, and the state that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Says {
    /// The end of the log.
    pub end: i64,
    /// [`Coordinator::hash`] of what was replayed.
    pub hash: u64,
}

/// Replays the files of a partition.
///
/// # Errors
/// They cannot be replayed.
pub fn replay(partition: TopicPartition, dump: &PartitionDump) -> Result<Says, Violation> {
    let broken = |what: String| Violation::new(INVARIANT, format!("{partition}: {what}"));
    let mut coordinator = Coordinator::new(GroupConfig::default());
    let mut scratch = Scratch::default();
    let bytes = dump.bytes();
    let batches = Stored::before_room(&bytes).map_err(|at| broken(format!("breaks at {at}")))?;
    let mut end = 0;
    for stored in batches {
        let bytes = Bytes::copy_from_slice(stored.bytes);
        let records = batch::records(&bytes, BATCH_BYTES_MAX, &mut scratch);
        for record in records.map_err(|error| broken(error.to_string()))? {
            let record = record.map_err(|error| broken(error.to_string()))?;
            if let Some(key) = &record.key {
                let replayed = coordinator.replay(key, record.value.as_deref());
                replayed.map_err(|error| broken(error.to_string()))?;
            }
        }
        end = stored.end;
    }
    let hash = coordinator.hash();
    Ok(Says { end, hash })
}

/// Judges what a coordinator holds whose log ends there.
///
/// # Errors
/// It is something else.
pub fn check(partition: TopicPartition, says: Says, held: u64) -> Result<(), Violation> {
    ensure!(
        INVARIANT,
        says.hash == held,
        "{partition}: its log up to {} makes {:016x}, {held:016x} is held",
        says.end,
        says.hash
    );
    Ok(())
}
