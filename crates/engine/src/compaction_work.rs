//! What a host does for compaction, in small steps that it may pace, and between which anything else
//! may happen: look through the part of a log that is not clean yet, write one segment for a run of
//! segments, and put it in their place. Decides nothing; see `compaction.rs`.
//!
//! ```text
//! 0.log.cleaned -> flushed -> 0-300.swap -> flushed -> old files aside -> flushed -> 0.log
//!                             from here on a start finishes what is left to do
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use klamm_model::{BatchHeader, Offset, Timestamp, TopicName, TopicPartition};
use klamm_records::batch::{self, BatchError};
use klamm_records::compact::{Filter, FilterStats, HashKey, OffsetMap, Rules};
use klamm_records::segment::{
    self, CLEANED_SUFFIX, IndexBuilder, REMOVED_SUFFIX, SegmentFile, Succession, TimeEntry,
};

use crate::boot_partition::log_path;
use crate::storage::{BLOCK_BYTES, Storage, StorageError};

/// Bytes of a segment that are written before they are flushed.
const FLUSH_EVERY_BYTES: u64 = 64 << 20;

/// A step of compaction that a host carries out.
#[derive(Clone, Debug)]
pub struct CompactJob {
    /// Which pass it belongs to; handed back. One is under way at a time.
    pub pass: u64,
    /// Whose log.
    pub partition: TopicPartition,
    /// Name of the topic.
    pub topic: TopicName,
    /// Folder of the partition.
    pub folder: Arc<str>,
    /// What to do.
    pub step: CompactStep,
}

/// What a host is asked for.
#[derive(Clone, Debug)]
pub enum CompactStep {
    /// Find the last offset of each key in the part that is not clean yet. What is found is kept
    /// for the pass's next steps.
    Survey(Survey),
    /// Write one segment for a run of segments, beside them, durably.
    Clean(Clean),
    /// Put what was written in their place.
    Swap(Swap),
    /// The pass is over: let go of what it held, and if it came to its end, make durable up to
    /// where the log is clean.
    End {
        /// Everything before is clean.
        cleaned_to: Option<Offset>,
        /// It ends because there is no room on the disk for a segment.
        lacks_room: bool,
    },
}

/// A segment that is read. It is complete and durable, and nobody writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its base offset.
    pub base: Offset,
    /// Bytes of it.
    pub length: u64,
    /// Where the next one begins.
    pub next: Offset,
}

/// How a segment is read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes that are read in one step, unless a batch needs more.
    pub window_bytes: usize,
    /// Bytes that may be read and written in a second (`log.cleaner.io.max.bytes.per.second`).
    pub bytes_per_second: f64,
    /// Most bytes that the records of a batch may decompress to.
    pub decompressed_bytes_max: usize,
}

/// Looking through what is not clean yet.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The segments, in their order.
    pub sources: Vec<Source>,
    /// Everything before is clean.
    pub from: Offset,
    /// Memory for the keys (`log.cleaner.dedupe.buffer.size`).
    pub buffer_bytes: usize,
    /// How to read.
    pub pace: Pace,
}

/// Writing one segment for some.
#[derive(Clone, Debug)]
pub struct Clean {
    /// The segments, in their order; the new one is named as the first.
    pub sources: Vec<Source>,
    /// The pass's keys are known from here on.
    pub first_dirty: Offset,
    /// They are known up to here.
    pub mapped_end: Offset,
    /// The broker's clock.
    pub now: Timestamp,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Last offsets of the newest batches of all producers that are remembered.
    pub producers_last: BTreeSet<Offset>,
    /// `index.interval.bytes`.
    pub interval_bytes: usize,
    /// How to read.
    pub pace: Pace,
}

/// Putting a new segment in the place of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The segments that go; the new one is named as the first.
    pub bases: Vec<Offset>,
    /// Where the segment behind the last of them begins.
    pub end: Offset,
    /// How long their files stay under another name (`file.delete.delay.ms`).
    pub delay: Duration,
}

/// What a step came to.
#[derive(Clone, Debug)]
pub enum CompactDone {
    /// The keys are known up to here.
    Surveyed {
        /// Offset after the last record that the map knows.
        mapped_end: Offset,
        /// Keys.
        keys: u64,
        /// Bytes read.
        bytes_read: u64,
    },
    /// The segment is written beside the others, durably; or nothing was to be changed, and nothing
    /// is there.
    Cleaned(Box<Cleaned>),
    /// It is in their place.
    Swapped,
    /// The pass is over.
    Ended,
}

/// A segment that was written.
#[derive(Clone, Debug)]
pub struct Cleaned {
    /// How many of the sources it takes the place of: a hole in the log ends it.
    pub sources: usize,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Bytes read for it.
    pub bytes_read: u64,
    /// Its largest time, and the last offset of the batch that has it.
    pub largest: Option<TimeEntry>,
    /// Time of its first batch with one.
    pub first_timestamp: Option<Timestamp>,
    /// Its indexes, closed.
    pub index: IndexBuilder,
    /// What was kept.
    pub stats: FilterStats,
    /// False if the only source is as it should be.
    pub is_changed: bool,
}

/// Why a pass goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompactFault {
    /// A segment cannot be read as it was written: without all of it, nothing says which record of a
    /// key is the latest. The log is not compacted until the next start.
    Damaged {
        /// The segment.
        path: String,
        /// What is wrong, and where.
        fault: String,
    },
    /// The keys of one batch alone need more memory than there is.
    OutOfMemory {
        /// What there is (`log.cleaner.dedupe.buffer.size`), of this core.
        buffer_bytes: usize,
    },
    /// No room on the disk: it is tried again.
    OutOfSpace,
    /// The partition is gone.
    Gone,
    /// The device or the file system refused to give something: it is tried again.
    Unreadable(StorageError),
}

impl CompactFault {
    /// True if the log is not compacted any more before the next start.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::OutOfMemory { .. })
    }
}

impl fmt::Display for CompactFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { path, fault } => write!(formatter, "{path} is damaged {fault}"),
            Self::OutOfMemory { buffer_bytes } => write!(
                formatter,
                "the keys of one batch do not fit into {buffer_bytes} bytes; log.cleaner.dedupe.buffer.size is too small"
            ),
            Self::OutOfSpace => formatter.write_str("there is no room on the disk"),
            Self::Gone => formatter.write_str("the partition is gone"),
            Self::Unreadable(error) => error.fmt(formatter),
        }
    }
}

/// Why a step did not succeed.
#[derive(Clone, Debug)]
pub enum StepFault {
    /// The pass ends.
    Fault(CompactFault),
    /// Something was not written or not flushed: a host that knows of no other reason than want of
    /// room treats it like any other failed write.
    Write(StorageError),
}

impl From<CompactFault> for StepFault {
    fn from(fault: CompactFault) -> Self {
        Self::Fault(fault)
    }
}

/// Goes through one segment, a window at a time.
#[derive(Debug)]
struct SegmentWalk {
    path: String,
    source: Source,
    at: u64,
    needed: usize,
    succession: Succession,
    /// Offset after the last batch.
    end: Offset,
}

impl SegmentWalk {
    fn new(folder: &str, source: Source) -> Self {
        Self {
            path: log_path(folder, source.base),
            source,
            at: 0,
            needed: 0,
            succession: Succession::from_start(source.base),
            end: source.base,
        }
    }

    const fn is_done(&self) -> bool {
        self.at >= self.source.length
    }

    fn damaged(&self, at: u64, fault: impl fmt::Display) -> CompactFault {
        CompactFault::Damaged {
            path: self.path.clone(),
            fault: format!("at byte {at}: {fault}"),
        }
    }

    /// Reads one window and shows the whole batches in it, until `visit` wants no more. Gives the
    /// bytes read.
    fn window<S: Storage>(
        &mut self,
        storage: &mut S,
        window_bytes: usize,
        mut visit: impl FnMut(&BatchHeader, &[u8]) -> Result<bool, String>,
    ) -> Result<u64, CompactFault> {
        let left = usize::try_from(self.source.length - self.at).unwrap_or(usize::MAX);
        let wanted = window_bytes.max(self.needed).min(left);
        // Sealed: nothing changes or shortens these bytes but a repair, which writes what they were.
        let bytes = storage
            .read_once(&self.path, self.at, wanted)
            .map_err(CompactFault::Unreadable)?;
        if bytes.len() < wanted {
            let found = self.at + bytes.len() as u64;
            return Err(self.damaged(found, "the file ends"));
        }
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let position = self.at + taken as u64;
            let size = match batch::size_of(rest) {
                Ok(size) => size,
                Err(BatchError::Incomplete { needed, .. }) => needed,
                Err(error) => return Err(self.damaged(position, error)),
            };
            let Some(one) = rest.get(..size) else {
                if size > left - taken {
                    return Err(self.damaged(position, "a batch goes beyond the end"));
                }
                self.needed = size;
                break;
            };
            let header = batch::verify(one).map_err(|error| self.damaged(position, error))?;
            self.follow(&header)
                .map_err(|fault| self.damaged(position, fault))?;
            let goes_on = visit(&header, one).map_err(|fault| self.damaged(position, fault))?;
            taken += size;
            self.end = header.end_offset();
            if !goes_on {
                break;
            }
        }
        self.at += taken as u64;
        Ok(taken as u64)
    }

    /// The batch follows on the one before, and can be indexed.
    fn follow(&mut self, header: &BatchHeader) -> Result<(), String> {
        // Checked before any arithmetic, because the offsets come from disk.
        let last = (header.base_offset.0).checked_add(header.last_offset_delta.0.into());
        let last = last.filter(|&last| last < self.source.next.0).map(Offset);
        let in_range =
            last.is_some_and(|last| segment::relative_offset(self.source.base, last).is_ok());
        if !in_range {
            return Err(format!("offset {} is out of range", header.base_offset));
        }
        self.succession
            .follow(header)
            .map_err(|fault| fault.to_string())
    }
}

/// A survey under way.
#[derive(Debug)]
pub struct SurveyWork {
    folder: Arc<str>,
    survey: Survey,
    place: usize,
    walk: Option<SegmentWalk>,
    map: OffsetMap,
    filter: Filter,
    mapped_end: Offset,
    is_full: bool,
    bytes_read: u64,
}

impl SurveyWork {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(folder: Arc<str>, survey: Survey, key: HashKey) -> Self {
        Self {
            folder,
            map: OffsetMap::new(key, survey.buffer_bytes),
            mapped_end: survey.from,
            survey,
            place: 0,
            walk: None,
            filter: Filter::default(),
            is_full: false,
            bytes_read: 0,
        }
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes_read
    }

    /// Reads one window. What is found, after the last.
    ///
    /// # Errors
    /// The pass ends.
    pub fn step<S: Storage>(
        &mut self,
        storage: &mut S,
    ) -> Result<Option<CompactDone>, CompactFault> {
        let Some(walk) = &mut self.walk else {
            let next = self.survey.sources.get(self.place);
            let Some(&source) = next.filter(|_| !self.is_full) else {
                return self.done().map(Some);
            };
            self.place += 1;
            self.walk = Some(SegmentWalk::new(&self.folder, source));
            return Ok(None);
        };
        let (map, filter) = (&mut self.map, &mut self.filter);
        let (mapped_end, is_full) = (&mut self.mapped_end, &mut self.is_full);
        let (from, pace) = (self.survey.from, self.survey.pace);
        let limit = pace.decompressed_bytes_max;
        self.bytes_read += walk.window(storage, pace.window_bytes, |header, bytes| {
            if header.end_offset() <= from {
                return Ok(true);
            }
            let fits = filter
                .map(map, from, limit, header, bytes)
                .map_err(|error| error.to_string())?;
            if fits {
                *mapped_end = header.end_offset();
            } else {
                *is_full = true;
            }
            Ok(fits)
        })?;
        if self.is_full || walk.is_done() {
            if !self.is_full {
                // Offsets behind the last batch were lost, or never given out.
                self.mapped_end = self.mapped_end.max(walk.source.next);
            }
            self.walk = None;
        }
        Ok(None)
    }

    fn done(&self) -> Result<CompactDone, CompactFault> {
        if self.mapped_end <= self.survey.from {
            let buffer_bytes = self.survey.buffer_bytes;
            return Err(CompactFault::OutOfMemory { buffer_bytes });
        }
        Ok(CompactDone::Surveyed {
            mapped_end: self.mapped_end,
            keys: self.map.len() as u64,
            bytes_read: self.bytes_read,
        })
    }

    /// What was found.
    #[must_use]
    pub fn into_map(self) -> OffsetMap {
        self.map
    }
}

/// Stages of a segment that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What an earlier attempt left is removed.
    Begin,
    Copy,
    Indexes,
    /// This file is flushed next; after the last the folder.
    Flush(usize),
}

/// A segment that is being written.
#[derive(Debug)]
pub struct CleanWork {
    folder: Arc<str>,
    clean: Clean,
    stage: Stage,
    place: usize,
    walk: Option<SegmentWalk>,
    filter: Filter,
    /// What is to be written next.
    out: Vec<u8>,
    /// Of that, what the indexes know.
    indexed: usize,
    written: u64,
    flushed: u64,
    bytes_read: u64,
    index: IndexBuilder,
    offsets: Vec<u8>,
    times: Vec<u8>,
    first_timestamp: Option<Timestamp>,
}

/// Where a file of a compacted segment lies before it is complete.
fn cleaned_path(folder: &str, base: Offset, file: SegmentFile) -> String {
    format!(
        "{folder}/{}{CLEANED_SUFFIX}",
        segment::segment_file(base, file)
    )
}

impl CleanWork {
    /// Nothing is read yet.
    ///
    /// # Panics
    /// If there is no source.
    #[must_use]
    pub fn new(folder: Arc<str>, clean: Clean) -> Self {
        let first = clean
            .sources
            .first()
            .expect("some segment is to be cleaned");
        Self {
            folder,
            index: IndexBuilder::new(first.base, clean.interval_bytes),
            clean,
            stage: Stage::Begin,
            place: 0,
            walk: None,
            filter: Filter::default(),
            out: Vec::new(),
            indexed: 0,
            written: 0,
            flushed: 0,
            bytes_read: 0,
            offsets: Vec::new(),
            times: Vec::new(),
            first_timestamp: None,
        }
    }

    /// Bytes read and written so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes_read + self.written
    }

    fn base(&self) -> Offset {
        self.clean.sources[0].base
    }

    /// Does some more. What was written, after the last step.
    ///
    /// # Errors
    /// [`StepFault`]; what was written is to be discarded.
    pub fn step<S: Storage>(
        &mut self,
        storage: &mut S,
        map: &OffsetMap,
    ) -> Result<Option<CompactDone>, StepFault> {
        match self.stage {
            Stage::Begin => {
                self.discard(storage).map_err(StepFault::Write)?;
                self.stage = Stage::Copy;
            }
            Stage::Copy => self.copy(storage, map)?,
            Stage::Indexes => {
                if !self.is_changed() {
                    self.discard(storage).map_err(StepFault::Write)?;
                    return Ok(Some(self.done()));
                }
                self.write_indexes(storage).map_err(StepFault::Write)?;
                self.stage = Stage::Flush(0);
            }
            Stage::Flush(file) => {
                let flushed = match SegmentFile::ALL.get(file) {
                    Some(&file) => storage.flush(&cleaned_path(&self.folder, self.base(), file)),
                    None => storage.flush_folder(&self.folder),
                };
                flushed.map_err(StepFault::Write)?;
                if file == SegmentFile::ALL.len() {
                    return Ok(Some(self.done()));
                }
                self.stage = Stage::Flush(file + 1);
            }
        }
        Ok(None)
    }

    /// Removes what was written.
    ///
    /// # Errors
    /// The storage's; a start removes it as well.
    pub fn discard<S: Storage>(&self, storage: &mut S) -> Result<(), StorageError> {
        for file in SegmentFile::ALL {
            storage.remove(&cleaned_path(&self.folder, self.base(), file))?;
        }
        Ok(())
    }

    fn is_changed(&self) -> bool {
        self.place > 1 || self.filter.stats().is_changed
    }

    fn copy<S: Storage>(&mut self, storage: &mut S, map: &OffsetMap) -> Result<(), StepFault> {
        let Some(walk) = &mut self.walk else {
            let source = self.clean.sources[self.place];
            self.place += 1;
            self.walk = Some(SegmentWalk::new(&self.folder, source));
            return Ok(());
        };
        let rules = Rules {
            map,
            mapped_end: self.clean.mapped_end,
            first_dirty: self.clean.first_dirty,
            now: self.clean.now,
            delete_retention_ms: self.clean.delete_retention_ms,
            producers_last: &self.clean.producers_last,
            decompressed_bytes_max: self.clean.pace.decompressed_bytes_max,
        };
        let (filter, out) = (&mut self.filter, &mut self.out);
        self.bytes_read +=
            walk.window(storage, self.clean.pace.window_bytes, |header, bytes| {
                let filtered = filter.batch(&rules, header, bytes, out);
                filtered.map(|()| true).map_err(|error| error.to_string())
            })?;
        let (is_done, end, source) = (walk.is_done(), walk.end, walk.source);
        if is_done {
            self.walk = None;
            // Behind a hole a segment of its own begins.
            let has_next = self.place < self.clean.sources.len() && end == source.next;
            if !has_next {
                self.filter.finish(&mut self.out);
                self.stage = Stage::Indexes;
            }
        }
        self.index_out(&source)?;
        let is_last = self.stage == Stage::Indexes;
        if is_last || self.out.len() >= self.clean.pace.window_bytes.max(BLOCK_BYTES) {
            let path = cleaned_path(&self.folder, self.base(), SegmentFile::Log);
            // What does not fill a block waits for what follows.
            let whole = match is_last {
                true => self.out.len(),
                false => self.out.len() / BLOCK_BYTES * BLOCK_BYTES,
            };
            storage
                .write_once(&path, self.written, &self.out[..whole])
                .map_err(StepFault::Write)?;
            self.written += whole as u64;
            self.out.drain(..whole);
            self.indexed = self.out.len();
            // Little by little: others flush, too, and must not wait for a whole segment.
            if self.written - self.flushed >= FLUSH_EVERY_BYTES {
                storage.flush(&path).map_err(StepFault::Write)?;
                self.flushed = self.written;
            }
        }
        Ok(())
    }

    /// Takes what was added to `out` into the indexes.
    fn index_out(&mut self, source: &Source) -> Result<(), CompactFault> {
        let fault = |fault: String| CompactFault::Damaged {
            path: log_path(&self.folder, source.base),
            fault,
        };
        let bytes = self.written + self.out.len() as u64;
        if bytes > u64::from(i32::MAX.unsigned_abs()) {
            return Err(fault(format!(
                "in that it would become larger than a segment may be ({bytes} bytes)"
            )));
        }
        for item in batch::batches(&self.out[self.indexed..]) {
            let (header, _) = item.map_err(|error| fault(error.to_string()))?;
            let entries = self.index.on_batch(&header);
            let entries = entries.map_err(|error| fault(error.to_string()))?;
            self.offsets.extend(entries.offset.into_iter().flatten());
            self.times.extend(entries.time.into_iter().flatten());
            let time = header.max_timestamp;
            if self.first_timestamp.is_none() && time != Timestamp::NONE {
                self.first_timestamp = Some(time);
            }
        }
        self.indexed = self.out.len();
        Ok(())
    }

    fn write_indexes<S: Storage>(&mut self, storage: &mut S) -> Result<(), StorageError> {
        self.times.extend(self.index.close().into_iter().flatten());
        for (file, bytes) in [
            (SegmentFile::OffsetIndex, &self.offsets),
            (SegmentFile::TimeIndex, &self.times),
        ] {
            storage.write_at(&cleaned_path(&self.folder, self.base(), file), 0, bytes)?;
        }
        Ok(())
    }

    fn done(&self) -> CompactDone {
        let largest = self.index.max_timestamp();
        CompactDone::Cleaned(Box::new(Cleaned {
            sources: self.place,
            bytes: self.written,
            bytes_read: self.bytes_read,
            largest: (largest.timestamp != Timestamp::NONE).then_some(largest),
            first_timestamp: self.first_timestamp,
            index: self.index,
            stats: self.filter.stats(),
            is_changed: self.is_changed(),
        }))
    }
}

/// One change of names, or a flush of them. Paths are relative to the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameOperation {
    /// Give a file another name, in place of what has it.
    Rename {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// Put a file aside that is deleted later; it may be missing.
    PutAside {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// Make the names in the folder durable.
    FlushFolder,
}

/// Puts a compacted segment in the place of others: these operations, one after the other. Whatever
/// ends the process between them, a start finds either all of the old segments or finishes the swap.
#[must_use]
pub fn name_operations(folder: &str, swap: &Swap) -> Vec<NameOperation> {
    let base = swap.bases.first().copied().unwrap_or(Offset::ZERO);
    let at = |base, file| format!("{folder}/{}", segment::segment_file(base, file));
    let complete = format!("{folder}/{}", segment::swap_file(base, swap.end));
    let mut all = vec![
        // The indexes are durable beside it, and can be made anew from it.
        NameOperation::Rename {
            from: cleaned_path(folder, base, SegmentFile::Log),
            to: complete.clone(),
        },
        NameOperation::FlushFolder,
    ];
    for &old in &swap.bases {
        all.extend(SegmentFile::ALL.map(|file| NameOperation::PutAside {
            from: at(old, file),
            to: format!("{}{REMOVED_SUFFIX}", at(old, file)),
        }));
    }
    all.push(NameOperation::FlushFolder);
    for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        all.push(NameOperation::Rename {
            from: cleaned_path(folder, base, file),
            to: at(base, file),
        });
    }
    all.extend([
        NameOperation::FlushFolder,
        NameOperation::Rename {
            from: complete,
            to: at(base, SegmentFile::Log),
        },
        NameOperation::FlushFolder,
    ]);
    all
}
