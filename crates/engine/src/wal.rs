//! The write-ahead log of one core as positions: which file takes the next entry, what is written,
//! what is flushed, and which files are no longer needed.
//!
//! ```text
//! checkpointed <= flushed <= written <= end        (WalPosition, all exclusive ends)
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use klamm_records::wal::{EntryStamp, FILE_HEAD_BYTES, FileHead, Incarnation, WalPosition};

use crate::effects::{Effect, WalBegin, WalPrepare};

/// What a core needs to know to begin its write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// Number that no earlier log of this folder had; entries of another one are void.
    pub incarnation: Incarnation,
    /// Where the log goes on: everything before lies in segments.
    pub start: WalPosition,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes beyond which segments are brought up to date so that files can be used again.
    pub bytes_max: u64,
    /// Files left from earlier lives that may be written over, by number. They have room for
    /// `file_bytes`.
    pub recyclable: Vec<u64>,
    /// Number of the next file; larger than that of any file before.
    pub next_file: u64,
}

#[derive(Clone, Copy, Debug)]
struct File {
    number: u64,
    start: WalPosition,
    length: u64,
}

impl File {
    const fn offset_of(&self, position: WalPosition) -> u64 {
        FILE_HEAD_BYTES as u64 + (position.0 - self.start.0)
    }
}

/// Positions of one core's write-ahead log.
#[derive(Debug)]
pub(crate) struct Wal {
    options: WalOptions,
    /// Files in use, oldest first; the last one takes entries.
    files: VecDeque<File>,
    /// Numbers of files that may be written over, the best last.
    spare: Vec<u64>,
    next_file: u64,
    /// The number that was the next when a file was last asked for ahead.
    prepared_for: Option<u64>,
    end: WalPosition,
    written: WalPosition,
    flushed: WalPosition,
    checkpointed: WalPosition,
}

impl Wal {
    pub(crate) fn new(options: WalOptions) -> Self {
        let start = options.start;
        Self {
            files: VecDeque::new(),
            spare: options.recyclable.clone(),
            next_file: options.next_file,
            prepared_for: None,
            end: start,
            written: start,
            flushed: start,
            checkpointed: start,
            options,
        }
    }

    /// What the head of the next entry must say.
    pub(crate) const fn stamp(&self, position: WalPosition) -> EntryStamp {
        EntryStamp {
            position,
            incarnation: self.options.incarnation,
            flushed: self.flushed,
        }
    }

    /// End of the last entry.
    pub(crate) const fn end(&self) -> WalPosition {
        self.end
    }

    /// End of what the kernel has.
    pub(crate) const fn written(&self) -> WalPosition {
        self.written
    }

    /// End of what is durable.
    pub(crate) const fn flushed(&self) -> WalPosition {
        self.flushed
    }

    /// True if some file is in use, or may be used again.
    pub(crate) fn has_files(&self) -> bool {
        !(self.files.is_empty() && self.spare.is_empty())
    }

    /// Closes the open file, which is not full but holds nothing that is still needed, so that it
    /// can be used again itself.
    ///
    /// # Panics
    /// If a restart would have to read something.
    pub(crate) fn close(&mut self) {
        assert_eq!(self.backlog(), 0, "only what is void is written over");
        while let Some(file) = self.files.pop_front() {
            if file.length != self.options.file_bytes {
                continue;
            }
            // The newest is taken last: its head says what was used, and stays if it can.
            let place = if self.files.is_empty() {
                0
            } else {
                self.spare.len()
            };
            self.spare.insert(place, file.number);
        }
    }

    /// Bytes that neither a flush nor a checkpoint has covered.
    pub(crate) fn not_durable(&self) -> u64 {
        self.end.0 - self.flushed.max(self.checkpointed).0
    }

    /// Bytes that a restart would read.
    pub(crate) const fn backlog(&self) -> u64 {
        self.end.0 - self.checkpointed.0
    }

    /// True if segments must be brought up to date.
    pub(crate) const fn wants_checkpoint(&self) -> bool {
        self.backlog() * 2 >= self.options.bytes_max
    }

    /// True if a restart would have to read more than it may.
    pub(crate) const fn is_full(&self) -> bool {
        self.backlog() > self.options.bytes_max
    }

    /// True if an entry of `length` bytes fits into the open file.
    pub(crate) fn has_room(&self, length: u64) -> bool {
        self.files
            .back()
            .is_some_and(|file| file.offset_of(self.end) + length <= file.length)
    }

    /// The file that would be the next, with room for an entry of `length` bytes: in place of a
    /// spare one that is free, if there is any.
    pub(crate) fn next_file(&self, length: u64, mut is_free: impl FnMut(u64) -> bool) -> WalBegin {
        let needed = FILE_HEAD_BYTES as u64 + length;
        let length = needed.max(self.options.file_bytes);
        let recycle = if length == self.options.file_bytes {
            let spares = self.spare.iter().rev();
            spares
                .copied()
                .find(|&file| WalPrepare::is_prepared(file) || is_free(file))
        } else {
            None
        };
        let head = FileHead {
            incarnation: self.options.incarnation,
            number: self.next_file,
            start: self.end,
        };
        WalBegin {
            file: self.next_file,
            length,
            recycle,
            head: Bytes::copy_from_slice(head.encode().as_slice()),
        }
    }

    /// True if any file was begun.
    pub(crate) fn is_begun(&self) -> bool {
        !self.files.is_empty()
    }

    /// The file to make ahead, so that nobody waits while the next is begun: once in the time of
    /// an open file, when that is half full and no spare one is free.
    pub(crate) fn prepare(&mut self, mut is_free: impl FnMut(u64) -> bool) -> Option<WalPrepare> {
        let is_half_full = self.files.back().is_none_or(|open| {
            let used = open.offset_of(self.end);
            used.saturating_mul(2) >= open.length
        });
        if !is_half_full || self.prepared_for == Some(self.next_file) {
            return None;
        }
        let mut spares = self.spare.iter();
        if spares.any(|&file| WalPrepare::is_prepared(file) || is_free(file)) {
            return None;
        }
        self.prepared_for = Some(self.next_file);
        Some(WalPrepare::before(self.next_file, self.options.file_bytes))
    }

    /// A file that was made ahead lies there, durably.
    pub(crate) fn on_prepared(&mut self, file: u64) {
        assert!(WalPrepare::is_prepared(file), "asked for by prepare");
        // The pages of one that was used before are in memory perhaps.
        self.spare.insert(0, file);
    }

    /// The next file takes entries from here on.
    pub(crate) fn begin_file(&mut self, next: &WalBegin) {
        self.spare.retain(|&file| Some(file) != next.recycle);
        self.files.push_back(File {
            number: next.file,
            start: self.end,
            length: next.length,
        });
        self.next_file = next.file + 1;
    }

    /// The next `length` bytes belong to an entry.
    pub(crate) fn advance(&mut self, length: usize) {
        self.end = self.end.plus(length);
    }

    /// Number of the file that takes entries.
    ///
    /// # Panics
    /// If none was begun.
    pub(crate) fn open_file(&self) -> u64 {
        let open = self.files.back();
        open.expect("a file is begun before its first entry").number
    }

    /// Number of the open file, and where in it `position` lies.
    pub(crate) fn place_of(&self, position: WalPosition) -> (u64, u64) {
        let open = self.files.back();
        let file = open.expect("a file is begun before its first entry");
        assert!(
            position >= file.start,
            "entries are sealed before a file is begun"
        );
        (file.number, file.offset_of(position))
    }

    /// The write that brings `bytes`, which begin at `position`, into the open file.
    pub(crate) fn write(&self, position: WalPosition, bytes: Bytes) -> Effect {
        let (file, at) = self.place_of(position);
        assert!(
            self.files
                .back()
                .is_some_and(|open| at + bytes.len() as u64 <= open.length),
            "an entry stays inside its file"
        );
        Effect::WalWrite { file, at, bytes }
    }

    /// The kernel has everything before `position`.
    pub(crate) fn on_written(&mut self, position: WalPosition) {
        assert!(position <= self.end, "written entries exist");
        self.written = self.written.max(position);
    }

    /// Everything before `position` is durable.
    pub(crate) fn on_flushed(&mut self, position: WalPosition) {
        assert!(
            position <= self.written,
            "only what was written can be flushed"
        );
        self.flushed = self.flushed.max(position);
    }

    /// Segments and checkpoint hold everything before `position`: older files are free. Gives
    /// those that nobody can use again, for they were made for one large entry.
    pub(crate) fn on_checkpointed(&mut self, position: WalPosition) -> Vec<u64> {
        let mut surplus = Vec::new();
        assert!(position <= self.end, "checkpointed entries exist");
        self.checkpointed = self.checkpointed.max(position);
        while let Some(next) = self.files.get(1) {
            if next.start > self.checkpointed {
                break;
            }
            let Some(file) = self.files.pop_front() else {
                break;
            };
            if file.length == self.options.file_bytes {
                self.spare.push(file.number);
            } else {
                surplus.push(file.number);
            }
        }
        surplus
    }
}
