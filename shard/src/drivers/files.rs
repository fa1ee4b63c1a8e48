//! The small files and folders: checkpoints, quorum state, dropped partitions. Rare, and never on
//! the shard's own thread.

use std::io;
use std::path::Path;

use bytes::Bytes;
use klamm_os::disk;
use klamm_os::exec;

/// Replaces a small file durably.
pub(crate) async fn save(root: &Path, path: &str, bytes: Bytes) -> io::Result<()> {
    disk::write_atomically_later(root.join(path), bytes.to_vec()).await
}

/// Moves a dropped partition's folder out of the way and deletes it.
pub(crate) async fn drop_folder(root: &Path, name: &str, number: u64) -> io::Result<()> {
    let from = root.join(name);
    let to = root.join(format!("{name}.{number:016x}-delete"));
    exec::spawn_blocking(move || {
        if !from.exists() {
            return Ok(());
        }
        disk::rename(&from, &to)?;
        disk::remove_dir_all(&to)
    })
    .await
}
