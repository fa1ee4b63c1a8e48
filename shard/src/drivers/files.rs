//! The small files and folders: checkpoints, quorum state, dropped partitions. Rare, and never on
//! the shard's own thread.

use std::future::Future;
use std::io;
use std::path::Path;

use bytes::Bytes;
use klamm_os::disk;
use klamm_os::exec;

/// Replaces a small file durably.
pub(crate) async fn save(root: &Path, path: &str, bytes: Bytes) -> io::Result<()> {
    disk::write_atomically_later(root.join(path), bytes.to_vec()).await
}

/// Moves a dropped partition's folder out of the way, at once, so that a topic of the same name can
/// have it; the rest is deleted later.
pub(crate) fn drop_folder(
    root: &Path,
    name: &str,
    number: u64,
) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
    let from = root.join(name);
    let to = root.join(format!("{name}.{number:016x}-delete"));
    let moved = match disk::rename(&from, &to) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    Ok(async move {
        if moved {
            exec::spawn_blocking(move || disk::remove_dir_all(&to)).await?;
        }
        Ok(())
    })
}
