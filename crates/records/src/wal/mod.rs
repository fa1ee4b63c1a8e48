//! The write-ahead log of a shard as bytes: files, entries, and the scan that recovers them.
//!
//! ```text
//! file N    | head 4096 | entry | entry | … | skip |      file N+1 | head 4096 | entry | …
//! position              S                          E                          E
//! ```
//! A [`WalPosition`] counts the bytes of the entries of all files in order, heads of files not
//! counted: the first entry of file N+1 stands right after the last byte used in file N. Files are
//! preallocated and recycled, so old bytes lie behind the written end; an entry counts only if its
//! head holds the file's [`Incarnation`] and the very position at which it stands.
//!
//! **Recovery.** Read the heads of all files, order them by number, and scan each from its start,
//! with the next file's start as its end and the checkpoint's flushed position as the floor. If a
//! file that is not the last ends [`ScanEnd::Torn`], ask every later file for [`flushed_claim`] and
//! scan again with the largest as the floor: what then comes out as [`Damage`] had been durable and
//! must be reported, never cut; if it is still torn there, the log ends there, and later files hold
//! nothing that was ever acknowledged. Before new entries claim more than was recovered, the files
//! recovered from must be flushed: after a mere process death they may live in the page cache only.
//! A file whose head is damaged is recognised by its entries, each of which says where it stands
//! and which life wrote it ([`recognise`]).
//! New entries go into a new file with a new incarnation, starting behind the recovered end and
//! behind every position that the files found may hold: what was cut off stands there still.

mod entry;
mod file;
mod fuzz;
mod scan;

pub use entry::{
    ENTRY_ALIGN_BYTES, ENTRY_HEAD_BYTES, Entry, EntryFault, EntryHead, EntryKind, EntryStamp,
    encode_entry, entry_bytes, read_entry_head, write_entry_head,
};
pub use file::{FILE_HEAD_BYTES, FileHead, FileHeadError};
pub use fuzz::fuzz_scan;
pub use scan::{Damage, Scan, ScanBounds, ScanEnd, ScanItem, flushed_claim, recognise};

use std::fmt;

/// A place in a shard's write-ahead log, in bytes from its beginning. Always a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct WalPosition(pub u64);

impl WalPosition {
    /// The beginning.
    pub const ZERO: Self = Self(0);

    /// The place `bytes` further on.
    ///
    /// # Panics
    /// If no such place can be named.
    #[must_use]
    pub const fn plus(self, bytes: usize) -> Self {
        Self(
            self.0
                .checked_add(bytes as u64)
                .expect("2^64 bytes are never written"),
        )
    }

    /// Bytes from `earlier` to here; 0 if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for WalPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A number drawn anew whenever a shard opens its log for writing, so that bytes of an earlier
/// life never look like entries of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

#[cfg(test)]
mod tests;
