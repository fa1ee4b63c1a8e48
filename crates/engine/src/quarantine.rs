//! Copies of what is damaged, for whoever wants to look at it. Boot makes them durable, names
//! included, before it changes what they are copies of.

use klamm_model::Offset;

use crate::boot::QUARANTINE_FOLDER;
use crate::storage::{Storage, StorageError};

/// Where a damaged range of a segment is kept.
pub(crate) fn path_of_range(folder: &str, segment: Offset, at: u64) -> String {
    format!(
        "{QUARANTINE_FOLDER}/{folder}/{:020}-{at}.damaged",
        segment.0
    )
}

/// Keeps a copy under this path, in place of an earlier one.
///
/// # Errors
/// The storage's: there may be no copy.
pub(crate) fn keep<S: Storage>(
    storage: &mut S,
    path: &str,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let (folder, _) = path.rsplit_once('/').unwrap_or_default();
    storage.create_folder(folder)?;
    storage.replace(path, bytes)?;
    // The folders may be new.
    let mut inner = folder;
    while let Some((outer, _)) = inner.rsplit_once('/') {
        storage.flush_folder(outer)?;
        inner = outer;
    }
    storage.flush_folder("")
}
