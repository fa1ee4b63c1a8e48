//! The fake disk as boot sees it. The power may go between any two operations of a boot.

use klamm_engine::storage::{Storage, StorageError};
use klamm_records::batch;
use klamm_records::segment;
use klamm_records::wal::{ENTRY_ALIGN_BYTES, FILE_HEAD_BYTES, FileHead};

use super::disk::{Node, SimDisk};
use crate::faults::Plant;

/// Why an operation fails once the power is gone.
pub const POWER_CUT: &str = "the power was cut";

/// Why an operation fails that the disk refused.
pub const DISK_FAILED: &str = "the disk failed";

/// Why an operation fails for which there is no room.
pub const DISK_FULL: &str = "the disk is full";

/// The fake disk behind boot's storage.
#[derive(Debug)]
pub struct BootStorage<'a> {
    /// The disk.
    pub disk: &'a mut SimDisk,
    /// Changes that still succeed; `None` if the power stays.
    pub changes_left: Option<u64>,
    /// The fault planted in this world.
    pub plant: Option<Plant>,
}

impl BootStorage<'_> {
    fn change(&mut self, operation: &'static str, path: &str) -> Result<(), StorageError> {
        match &mut self.changes_left {
            None => Ok(()),
            Some(0) => Err(failed(operation, path, POWER_CUT)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// The operation succeeded, unless the disk refused a part of it.
    fn done(&mut self, operation: &'static str, path: &str) -> Result<(), StorageError> {
        if self.disk.has_failed() {
            return Err(failed(operation, path, DISK_FAILED));
        }
        if self.disk.take_refused() {
            return Err(failed(operation, path, DISK_FULL));
        }
        Ok(())
    }

    fn need(&self, operation: &'static str, path: &str) -> Result<Node, StorageError> {
        let found = self.disk.file(path);
        found.ok_or_else(|| failed(operation, path, "no such file"))
    }

    fn open(&mut self, operation: &'static str, path: &str) -> Result<Node, StorageError> {
        let found = self.disk.open(path);
        found.ok_or_else(|| failed(operation, path, "no such folder"))
    }
}

fn failed(operation: &'static str, path: &str, reason: &str) -> StorageError {
    StorageError {
        operation,
        path: path.to_owned(),
        reason: reason.to_owned(),
        out_of_space: reason == DISK_FULL,
    }
}

impl Storage for BootStorage<'_> {
    fn list(&mut self, folder: &str) -> Result<Vec<String>, StorageError> {
        Ok(self.disk.list(folder).unwrap_or_default())
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self
            .disk
            .file(path)
            .map(|node| self.disk.bytes(node).to_vec()))
    }

    fn read_at(&mut self, path: &str, at: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        let node = self.open("read", path)?;
        let mut bytes = self.disk.bytes(node).to_vec();
        if self.plant == Some(Plant::TornTailAccepted) && path.contains("/wal-") {
            forgive_torn_batches(&mut bytes);
        }
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(length).min(bytes.len());
        Ok(bytes[start..end].to_vec())
    }

    fn length(&mut self, path: &str) -> Result<Option<u64>, StorageError> {
        let node = self.disk.file(path);
        Ok(node.map(|node| self.disk.bytes(node).len() as u64))
    }

    fn write_at(&mut self, path: &str, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.change("write", path)?;
        let node = self.open("write", path)?;
        self.disk.write(node, at as usize, bytes);
        self.done("write", path)
    }

    fn truncate(&mut self, path: &str, length: u64) -> Result<(), StorageError> {
        self.change("cut", path)?;
        let node = self.need("cut", path)?;
        self.disk.truncate(node, length as usize);
        self.change("cut", path)?;
        self.disk.flush(node);
        self.done("cut", path)
    }

    fn cut(&mut self, path: &str, length: u64) -> Result<(), StorageError> {
        self.change("cut", path)?;
        let node = self.need("cut", path)?;
        self.disk.truncate(node, length as usize);
        Ok(())
    }

    fn flush(&mut self, path: &str) -> Result<(), StorageError> {
        self.change("flush", path)?;
        let node = self.need("flush", path)?;
        let is_skipped = self.plant == Some(Plant::CompactedNotFlushed)
            && path.ends_with(segment::CLEANED_SUFFIX);
        if !is_skipped {
            self.disk.flush(node);
        }
        self.done("flush", path)
    }

    fn flush_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.change("flush", folder)?;
        if self.disk.flush_folder(folder) {
            self.done("flush", folder)
        } else {
            Err(failed("flush", folder, "no such folder"))
        }
    }

    fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let beside = format!("{path}.tmp");
        self.change("replace", path)?;
        let node = self.open("replace", &beside)?;
        self.disk.truncate(node, 0);
        self.disk.write(node, 0, bytes);
        self.done("replace", path)?;
        self.change("replace", path)?;
        self.disk.flush(node);
        self.done("replace", path)?;
        self.change("replace", path)?;
        self.disk.rename(&beside, path);
        self.change("replace", path)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.disk.flush_folder(folder);
        self.done("replace", path)
    }

    fn create_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        self.change("create", folder)?;
        self.disk.create_folder(folder);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        self.change("rename", from)?;
        match self.disk.rename(from, to) {
            true => Ok(()),
            false => Err(failed("rename", from, "no such file")),
        }
    }

    fn remove(&mut self, path: &str) -> Result<(), StorageError> {
        self.change("remove", path)?;
        self.disk.remove(path);
        Ok(())
    }

    fn remove_folder(&mut self, folder: &str) -> Result<(), StorageError> {
        for name in self.disk.list(folder).unwrap_or_default() {
            self.remove(&format!("{folder}/{name}"))?;
        }
        self.remove(folder)
    }
}

/// Plants the fault that a batch whose head arrived is taken for whole: its checksum is made to
/// fit.
fn forgive_torn_batches(file: &mut [u8]) {
    const CHECKSUM: usize = 17;
    let Ok(head) = FileHead::decode(file) else {
        return;
    };
    let area = &mut file[FILE_HEAD_BYTES..];
    for at in (0..area.len()).step_by(ENTRY_ALIGN_BYTES) {
        let place = head.start.plus(at);
        let found = klamm_records::wal::read_entry_head(&area[at..], place, head.incarnation);
        let Ok(entry) = found else { continue };
        let start = at + entry.payload_at();
        let end = start + entry.payload_bytes as usize;
        let batch = area.get_mut(start..end);
        if let Some(batch) = batch.filter(|batch| batch::read(batch).is_ok()) {
            let checksum = batch::checksum_of(batch);
            batch[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}
