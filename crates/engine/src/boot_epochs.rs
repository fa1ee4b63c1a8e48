//! A partition's list of leader epochs that is lost: made anew from the heads of its batches, which
//! say the same (P9).

use klamm_model::limits::BATCH_HEADER_BYTES;
use klamm_model::{LeaderEpoch, Offset};
use klamm_records::batch;
use klamm_records::segment::{self, PartitionCheckpoint};
use klamm_replica::{EpochStart, LeaderEpochCache};

use crate::boot::{BootError, Finding};
use crate::boot_partition::{Recovering, Work, log_path};
use crate::partition::epochs_file;
use crate::reindex::{Walked, walk};
use crate::storage::{Storage, StorageError};

impl<S: Storage> Work<'_, S> {
    /// Takes the leader epochs of what a checkpoint vouches for from the folder's list, or from the
    /// batches in these segments, each with its length, where the list is gone. The log begins at
    /// `log_start`, as the write-ahead log knows it too.
    pub(crate) fn restore_epochs(
        &mut self,
        state: &mut Recovering,
        checkpoint: &PartitionCheckpoint,
        segments: &[(Offset, u64)],
        log_start: Offset,
    ) -> Result<(), BootError> {
        let end = checkpoint.flushed_end;
        let path = format!("{}/{}", state.folder, segment::LEADER_EPOCH_FILE);
        let text = self.storage.read(&path)?;
        let fault = match epochs_before(end, text.as_deref()) {
            Ok(epochs) if !epochs.entries().is_empty() => {
                state.log.epochs = epochs;
                // A list that says more was written after the checkpoint, by a life that may have
                // ended before it was flushed.
                let vouched = epochs_file(state.log.epochs.entries());
                state.epochs_found = text.filter(|text| text == vouched.as_bytes());
                return Ok(());
            }
            // The last reign of a log that was trimmed as a whole begins where the log does.
            Ok(_) if log_start >= end => None,
            Ok(_) => Some(format!("it names no leader epoch before offset {end}")),
            Err(fault) => Some(fault),
        };
        state.log.epochs = epochs_of_batches(self.storage, &state.folder, segments, end)?;
        // A log without a batch knows no reign.
        if let Some(fault) = fault
            && !state.log.epochs.entries().is_empty()
        {
            self.findings.push(Finding::EpochsMade {
                partition: checkpoint.partition,
                path,
                fault,
            });
        }
        Ok(())
    }
}

/// The leader epochs that begin before `end`, from a folder's list; or what is wrong with that.
fn epochs_before(end: Offset, text: Option<&[u8]>) -> Result<LeaderEpochCache, String> {
    let text = text.ok_or("it is missing")?;
    let found = segment::parse_leader_epochs(&String::from_utf8_lossy(text))
        .map_err(|error| error.to_string())?;
    let entries = found.iter().map(|entry| EpochStart {
        leader_epoch: entry.epoch,
        start: entry.start,
    });
    let mut epochs = LeaderEpochCache::from_entries(entries)
        .map_err(|_| "its entries are out of order".to_owned())?;
    epochs.truncate_from_end(end);
    Ok(epochs)
}

/// The leader epochs that the batches before `end` say. Segments in which no reign begins are not
/// read but for their first batch.
fn epochs_of_batches<S: Storage>(
    storage: &mut S,
    folder: &str,
    segments: &[(Offset, u64)],
    end: Offset,
) -> Result<LeaderEpochCache, StorageError> {
    let mut epochs = LeaderEpochCache::new();
    let mut firsts = Vec::new();
    for &(base, length) in segments {
        firsts.push(first_epoch(storage, folder, base, length)?);
    }
    for (place, &(base, length)) in segments.iter().enumerate() {
        let first = firsts[place];
        // An older reign than the one before is damage, and passed over like it.
        if first.is_some() && first == firsts.get(place + 1).copied().flatten() {
            let _ = first.map(|epoch| epochs.assign(epoch, base));
            continue;
        }
        walk(storage, folder, base, length, |found| {
            if let Walked::Batch(header) = found
                && header.base_offset < end
            {
                let _ = epochs.assign(header.leader_epoch, header.base_offset);
            }
        })?;
    }
    Ok(epochs)
}

/// The leader epoch of a segment's first batch, if its head can be read.
fn first_epoch<S: Storage>(
    storage: &mut S,
    folder: &str,
    base: Offset,
    length: u64,
) -> Result<Option<LeaderEpoch>, StorageError> {
    if length == 0 {
        return Ok(None);
    }
    let head = storage.read_at(&log_path(folder, base), 0, BATCH_HEADER_BYTES)?;
    let header = batch::read_head(&head).ok();
    let header = header.filter(|header| header.base_offset == base);
    Ok(header.map(|header| header.leader_epoch))
}
