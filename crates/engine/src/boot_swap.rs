//! What a life that compacted a log left behind: files that were not complete are removed, and a
//! segment that was complete takes the place of those that it was written for.

use klamm_model::{Offset, TopicConfig, TopicPartition};
use klamm_records::segment::{self, CLEANED_SUFFIX, SegmentFile};

use crate::boot::{BootError, Finding};
use crate::boot_partition::{Work, index_path, log_path};
use crate::reindex::reindex_file;
use crate::storage::Storage;

impl<S: Storage> Work<'_, S> {
    /// Finishes or discards what is there; a segment that nothing vouches for is discarded, too.
    pub(crate) fn finish_swaps(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        config: &TopicConfig,
        is_vouched: bool,
    ) -> Result<(), BootError> {
        for name in self.storage.list(folder)? {
            let path = format!("{folder}/{name}");
            if name.ends_with(CLEANED_SUFFIX) {
                self.storage.remove(&path)?;
            } else if let Some((base, end)) = segment::parse_swap_file(&name) {
                if is_vouched {
                    self.finish_swap(partition, folder, &path, (base, end), config)?;
                } else {
                    self.storage.remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// May be cut short anywhere and begun again: the file that says what is to be done has its last
    /// name only after everything else is durable.
    fn finish_swap(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        path: &str,
        (base, end): (Offset, Offset),
        config: &TopicConfig,
    ) -> Result<(), BootError> {
        for old in self.bases(folder)? {
            if base < old && old < end {
                self.remove_segment(folder, old)?;
            }
        }
        for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            self.storage.remove(&index_path(folder, base, file))?;
        }
        self.storage.flush_folder(folder)?;
        let length = self.storage.length(path)?.unwrap_or(0);
        let interval = config.index_interval_bytes as usize;
        let made = reindex_file(self.storage, path, folder, base, length, interval)?;
        if let Some(fault) = made.damage {
            self.findings.push(Finding::SegmentDamage {
                partition,
                path: log_path(folder, base),
                fault,
            });
        }
        for (path, bytes) in &made.replaces {
            self.storage.replace(path, bytes)?;
        }
        self.storage.rename(path, &log_path(folder, base))?;
        self.storage.flush_folder(folder)?;
        Ok(())
    }
}
