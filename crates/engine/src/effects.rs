//! What an engine wants done. The shard carries effects out in their order and brings the
//! completions back as calls of [`Engine`](crate::Engine)'s `on_*` methods.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{Offset, Timestamp, TopicPartition};

use crate::api::{Reply, SharedImage, Ticket};
use crate::compaction_work::CompactJob;
use crate::placement::FolderNumber;

/// One thing to do. Paths are relative to the data folder, with forward slashes.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Give this to the caller.
    Reply {
        /// Which caller.
        ticket: Ticket,
        /// What it waits for.
        reply: Reply,
    },
    /// Begin a write-ahead file before anything else is written. Must be done before the next
    /// effect is begun; the file's length is guaranteed afterwards.
    WalBegin(WalBegin),
    /// Make a write-ahead file before it is needed; answered by `on_wal_prepared`. Nothing waits
    /// for it.
    WalPrepare(WalPrepare),
    /// Remove a write-ahead file that nothing needs any more, for a checkpoint covers it. Slices of
    /// its memory may still be held.
    WalRemove {
        /// Number of the file.
        file: u64,
    },
    /// These entries belong into a write-ahead file. Done in order; complete before the turn goes on.
    /// Nothing is left to do where they were placed in the file's own memory.
    WalWrite {
        /// Number of the file.
        file: u64,
        /// Byte position in it.
        at: u64,
        /// The entries.
        bytes: Bytes,
    },
    /// Write batches into a partition's segment; answered by `on_spilled`.
    Spill(Spill),
    /// Make a partition's segments durable; answered by `on_segments_flushed`.
    FlushSegments {
        /// Whose segments.
        partition: TopicPartition,
        /// Its folder.
        folder: Arc<str>,
        /// The segments with unflushed bytes: base offset, and bytes that were spilled to it.
        segments: Vec<(Offset, u64)>,
    },
    /// Replace a small file, whole and durable, then answer by `on_file_saved`.
    SaveFile {
        /// What it is.
        file: SmallFile,
        /// Where it lies.
        path: Arc<str>,
        /// Its whole content.
        bytes: Bytes,
    },
    /// Read batches that are no longer in memory; answered by `on_cold_read`.
    ColdRead(ColdRead),
    /// Put right, or keep, what a cold read found wrong; answered by `on_repaired`.
    Repair(Repair),
    /// Do a step of compaction, off the core's way; answered by `on_compacted`.
    Compact(CompactJob),
    /// Remove segments that nothing needs any more, in the background. They may also stay: a start
    /// removes what is left of them.
    RemoveSegments {
        /// Whose segments.
        partition: TopicPartition,
        /// Its folder.
        folder: Arc<str>,
        /// Their base offsets.
        segments: Vec<Offset>,
        /// How long the files stay under another name (`file.delete.delay.ms`).
        delay: Duration,
    },
    /// Have a partition's files lie in another data folder, in the background.
    MoveFiles {
        /// Whose.
        partition: TopicPartition,
        /// Its folder.
        folder: Arc<str>,
        /// The data folder.
        to: FolderNumber,
    },
    /// Nothing touches a partition's files until `release_files`, as was asked for; or the partition
    /// is not here any more, and nothing is held.
    FilesHeld {
        /// Whose.
        partition: TopicPartition,
        /// False if it is gone.
        is_here: bool,
    },
    /// Move a dropped partition's folder aside and delete it in the background.
    DropFolder {
        /// Whose folder.
        partition: TopicPartition,
        /// The folder.
        folder: Arc<str>,
    },
    /// See how much room the file system has; answered by `on_free_space`.
    LookAtSpace,
    /// The metadata has a new version: hand it to every core, this one included.
    Image(SharedImage),
}

/// A write-ahead file to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalBegin {
    /// Number of the new file.
    pub file: u64,
    /// Bytes that it must have room for, head included.
    pub length: u64,
    /// A file that is no longer needed and becomes the new one.
    pub recycle: Option<u64>,
    /// The first bytes of the file.
    pub head: Bytes,
}

/// A write-ahead file to be made ahead: of its length, holding nothing, durable with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPrepare {
    /// Its number until it is begun: one that no file of a log has.
    pub file: u64,
    /// Bytes that it must have room for, head included.
    pub length: u64,
}

impl WalPrepare {
    /// Numbers from here on are those of files that were made ahead.
    const FIRST: u64 = 1 << 63;

    /// A file that is made while `next` is the number of the next to be begun.
    pub(crate) const fn before(next: u64, length: u64) -> Self {
        Self {
            file: Self::FIRST | next,
            length,
        }
    }

    /// True if this is the number of a file that was made ahead, and not begun yet.
    #[must_use]
    pub const fn is_prepared(file: u64) -> bool {
        file >= Self::FIRST
    }

    /// A name that no other file has: numbers are larger than those in the names that a start finds,
    /// and one file is made ahead of each.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:020}-ahead.wal", self.file - Self::FIRST)
    }

    /// The number in the name of a write-ahead file, whatever number the file has now.
    pub(crate) fn number_in(name: &str) -> Option<u64> {
        let number = name.get(..20)?.parse().ok();
        number.filter(|&number| number < Self::FIRST)
    }
}

/// Small files that are replaced as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmallFile {
    /// What the segments hold, so that older write-ahead files are not needed.
    Checkpoint,
    /// Term and vote of the metadata quorum.
    QuorumState,
}

/// Batches for one segment, in order.
#[derive(Clone, Debug)]
pub struct Spill {
    /// Whose segment.
    pub partition: TopicPartition,
    /// Folder of the partition.
    pub folder: Arc<str>,
    /// Base offset of the segment.
    pub segment: Offset,
    /// Byte position where the batches go. What lies behind it is from before a crash, and void.
    pub at: u64,
    /// The batches.
    pub batches: Vec<Bytes>,
    /// New entries of the offset index.
    pub offset_index: Bytes,
    /// Where they go in the index file.
    pub offset_index_at: u64,
    /// New entries of the time index.
    pub time_index: Bytes,
    /// Where they go in the index file.
    pub time_index_at: u64,
    /// The folder is to be made first; one of an earlier topic of that name is put aside. Without
    /// it, nothing at all is written to a folder that belongs to another topic.
    pub makes_folder: bool,
    /// Small files to replace before the batches are written: name and content.
    pub small_files: Vec<(&'static str, Bytes)>,
    /// The segment is complete: its files are flushed and closed.
    pub complete: bool,
    /// Offset after the last batch.
    pub end_offset: Offset,
}

/// A read of batches from a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdRead {
    /// Which read; handed back.
    pub id: u64,
    /// Whose segment.
    pub partition: TopicPartition,
    /// Folder of the partition.
    pub folder: Arc<str>,
    /// Base offset of the segment.
    pub segment: Offset,
    /// Bytes of the segment that are there.
    pub length: u64,
    /// What to look for.
    pub target: ColdTarget,
    /// Offset before which the batches must begin.
    pub end_offset: Offset,
    /// Bytes wanted; the first batch is read whole in any case.
    pub bytes_max: usize,
}

/// What a cold read begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdTarget {
    /// The batch that holds this offset, or the first after it.
    Offset(Offset),
    /// The first batch with a timestamp of at least this that does not end before an offset.
    Timestamp {
        /// The time.
        at: Timestamp,
        /// The offset: the log's start, or where the search goes on.
        from: Offset,
    },
}

/// Why a cold read gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdError {
    /// The bytes do not match their checksum, or the device could not read them. The shard has
    /// logged where.
    Damaged,
}

/// What a cold read found wrong, beside what it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColdFault {
    /// The offset index leads elsewhere than to the batches.
    Index,
    /// The bytes here are not the batch that was written.
    Damage {
        /// Position in the segment.
        at: u64,
    },
}

/// Something to be done about a segment; [`prepare`](crate::repair::prepare) works it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Whose segment.
    pub partition: TopicPartition,
    /// Folder of the partition.
    pub folder: Arc<str>,
    /// Base offset of the segment.
    pub segment: Offset,
    /// Bytes of its batches that lie in the file.
    pub length: u64,
    /// `index.interval.bytes`.
    pub interval_bytes: usize,
    /// What was found.
    pub fault: ColdFault,
}
