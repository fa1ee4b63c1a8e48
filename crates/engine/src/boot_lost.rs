//! Boot without a disk that its owner gave up: which partitions lay there, and where their logs go on.
//! What is decided here is decided again by the start after one that was interrupted.

use klamm_model::Offset;
use klamm_records::batch;
use klamm_records::segment::{self, PartitionCheckpoint};

use crate::boot_partition::Work;
use crate::boot_wal::Logged;
use crate::storage::{Storage, StorageError};

impl<S: Storage> Work<'_, S> {
    /// True if nothing is there of what a partition held before its write-ahead log, as far as
    /// anything tells. What a start that gave it up and was interrupted has left in its folder lies
    /// behind all of that, and is still in the write-ahead log.
    pub(crate) fn is_lost(
        &mut self,
        folder: &str,
        checkpoint: Option<&PartitionCheckpoint>,
        logged: &Logged,
    ) -> Result<bool, StorageError> {
        let held = match checkpoint {
            // Nothing but a place for what comes next, which may be there.
            Some(known) if is_empty(known) => None,
            Some(known) => Some(known.flushed_end),
            // Made since the last checkpoint.
            None if !self.trust_files => return Ok(false),
            None => first_logged(logged),
        };
        let names = self.storage.list(folder)?;
        Ok(match held {
            Some(Offset::ZERO) => false,
            Some(end) => !names.iter().any(|name| segment::begins_before(name, end)),
            None => names.is_empty(),
        })
    }
}

fn is_empty(known: &PartitionCheckpoint) -> bool {
    let end = known.flushed_end;
    known.log_start == end && known.segment_base == end
}

/// The first offset of which the write-ahead logs have the record.
fn first_logged(logged: &Logged) -> Option<Offset> {
    let headers = logged.batches.iter().map(|found| batch::read(&found.bytes));
    headers.flatten().map(|header| header.base_offset).min()
}
