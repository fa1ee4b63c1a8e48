//! The room that a start needs on the disk: what the write-ahead logs hold must fit into segments,
//! and the first file of a log must have a place.

use std::path::{Path, PathBuf};

use klamm_os::disk;
use klamm_shard::node::{BootError, Booted};

use crate::startup_report::StartProblem;

/// What checkpoints and other small files take.
const SMALL_FILES_BYTES: u64 = 1 << 20;

/// Bytes of write-ahead files that are in a data folder; none where there is no folder yet.
pub(crate) fn wal_bytes(data: &Path) -> u64 {
    let klamm = data.join("klamm");
    let names = |folder: &Path| disk::list(folder).unwrap_or_default();
    let folders = names(&klamm)
        .into_iter()
        .filter(|name| name.starts_with("wal-"));
    let files = folders.flat_map(|name| {
        let folder = klamm.join(name);
        names(&folder)
            .into_iter()
            .map(move |file| folder.join(file))
    });
    files.filter_map(|file| disk::file_len(file).ok()).sum()
}

/// Why recovery failed: for want of room, which is told with how much suffices, or otherwise.
pub(crate) fn recovery_failed(folders: &[PathBuf], error: &BootError) -> StartProblem {
    // What lies in the logs goes to any of the folders.
    let held: u64 = folders.iter().map(|folder| wal_bytes(folder)).sum();
    let shown: Vec<_> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    match error {
        BootError::Storage(failed) if failed.out_of_space => {
            let of = |folder: &&PathBuf| Path::new(&failed.path).starts_with(folder);
            let data = folders.iter().find(of).or_else(|| folders.first());
            let data = data.cloned().unwrap_or_default();
            full(&data, held + SMALL_FILES_BYTES, error)
        }
        _ => StartProblem::Other {
            attempt: format!("recover {}", shown.join(", ")),
            reason: error.to_string(),
        },
    }
}

/// The first shard keeps the metadata. Where it has no file of its log yet, it needs one to start.
pub(crate) fn check(data: &Path, booted: &Booted, wal_file_bytes: u64) -> Result<(), StartProblem> {
    let first = booted.shards.first();
    let Ok(space) = disk::free_space(data) else {
        return Ok(());
    };
    let wanted = wal_file_bytes + SMALL_FILES_BYTES;
    if first.is_none_or(|shard| !shard.wal_recyclable.is_empty()) || space.free >= wanted {
        return Ok(());
    }
    let why = "the first file of the log, of klamm.wal.file.bytes, has no place";
    Err(full(data, wanted, &why))
}

fn full(data: &Path, wanted: u64, reason: &dyn std::fmt::Display) -> StartProblem {
    StartProblem::DiskFull {
        path: data.to_owned(),
        free: disk::free_space(data).map_or(0, |space| space.free),
        wanted,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_ahead_files_that_are_there_already_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(wal_bytes(folder.path()), 0);
        for (name, bytes) in [("wal-0/1", 10), ("wal-1/7", 20), ("quarantine/9", 40)] {
            let path = folder.path().join("klamm").join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, vec![0; bytes]).expect("written");
        }
        assert_eq!(wal_bytes(folder.path()), 30);
    }
}
