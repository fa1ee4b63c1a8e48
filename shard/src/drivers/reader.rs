//! Cold reads: whole batches from segment files, through buffers of their own, each checked against
//! its checksum before it is served.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use klamm_engine::effects::{ColdFault, ColdRead, ColdTarget};
use klamm_model::{BatchHeader, Offset, TopicPartition};
use klamm_os::disk::ReadFile;
use klamm_os::exec;
use klamm_records::batch::{self, BatchError};
use klamm_records::segment::{self, Landings, OffsetEntry, SegmentFault, SegmentFile, Succession};

use super::{Patience, is_out_of_files};
use crate::data_folders::DataFolders;

/// Segments whose files and index are kept open for further reads.
const OPEN_SEGMENTS_MAX: usize = 64;

/// Bytes of an index that are kept; a larger one is read anew each time.
const INDEX_BYTES_KEPT_MAX: usize = 1 << 20;

/// Bytes that a read takes at least, so that a small request finds its batch in one go.
const READ_BYTES_MIN: usize = 64 << 10;

/// Bytes passed over before the wanted batch after which an index is looked at as a whole.
const FAR_BYTES: u64 = 1 << 20;

/// The segment files of one core that are read from.
pub(crate) struct Reader {
    folders: DataFolders,
    open: RefCell<BTreeMap<(TopicPartition, Offset), Open>>,
    clock: Cell<u64>,
}

#[derive(Clone)]
struct Open {
    log: ReadFile,
    /// The offset index and the segment's length when it was read.
    index: Option<(Bytes, u64)>,
    used: u64,
}

/// Why stored batches cannot be served.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    /// The device or the file system refused.
    Io(io::Error),
    /// The bytes at this position are not the batch that was written.
    Batch { position: u64, error: BatchError },
    /// The batch at this position does not say what its neighbours say of it.
    Misplaced { position: u64, fault: SegmentFault },
    /// Offsets are missing before the batch found: what held them was damaged.
    Hole { wanted: Offset, found: Offset },
}

impl fmt::Display for ReadFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::Batch { position, error } => write!(formatter, "at position {position}: {error}"),
            Self::Misplaced { position, fault } => {
                write!(formatter, "at position {position}: {fault}")
            }
            Self::Hole { wanted, found } => {
                write!(formatter, "offsets from {wanted} to {found} are lost")
            }
        }
    }
}

impl ReadFailure {
    /// Where the damaged bytes are, if there are any.
    fn position(&self) -> Option<u64> {
        match self {
            Self::Batch { position, .. } | Self::Misplaced { position, .. } => Some(*position),
            Self::Io(_) | Self::Hole { .. } => None,
        }
    }
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Reader {
    pub(crate) fn new(folders: DataFolders) -> Self {
        Self {
            folders,
            open: RefCell::default(),
            clock: Cell::new(0),
        }
    }

    /// Forgets the files of a partition that goes away.
    pub(crate) fn close(&self, partition: TopicPartition) {
        self.open
            .borrow_mut()
            .retain(|(other, _), _| *other != partition);
    }

    /// Reads whole batches. Empty if the segment has none from the target on. Beside them, where the
    /// first of them lies, and what was found wrong, if anything.
    pub(crate) async fn read(
        &self,
        patience: &Patience,
        read: &ColdRead,
    ) -> (Result<Vec<Bytes>, ReadFailure>, Option<u64>, Vec<ColdFault>) {
        let open = match self.opened(patience, read).await {
            Ok(open) => open,
            Err(failure) => return (Err(failure), None, Vec::new()),
        };
        let index = open.index.as_ref().map_or(&[][..], |(index, _)| index);
        let mut landings = Landings::new(match read.target {
            ColdTarget::Offset(offset) => Some(offset),
            // The first late batch may be anywhere: its own maximum decides, not the index.
            ColdTarget::Timestamp { .. } => None,
        });
        let mut missed = None;
        loop {
            let start = landings.next(index, read.segment).flatten();
            let mut walk = Walk::new(open.log.clone(), read, start.as_ref());
            let found = walk.gather(read).await;
            let landed = start.is_none() || walk.has_landed();
            if !landed && !matches!(found, Err(ReadFailure::Io(_))) {
                missed.get_or_insert(walk.start);
                continue;
            }
            let mut faults = Vec::new();
            let damage = found.as_ref().err().and_then(ReadFailure::position);
            // The index is right where the batch that it names is what is damaged.
            let is_wrong = missed.is_some_and(|at| damage != Some(at));
            let is_slow = found.is_ok() && walk.skipped > FAR_BYTES && !is_sound(index, read);
            if is_wrong || is_slow {
                faults.push(ColdFault::Index);
            }
            faults.extend(damage.map(|at| ColdFault::Damage { at }));
            return (found, walk.found_at, faults);
        }
    }

    /// Reads a segment's index anew the next time.
    pub(crate) fn forget(&self, partition: TopicPartition, segment: Offset) {
        self.open.borrow_mut().remove(&(partition, segment));
    }

    /// The segment's files. Waits for a descriptor where none is left: that says nothing of what is
    /// stored.
    async fn opened(&self, patience: &Patience, read: &ColdRead) -> Result<Open, ReadFailure> {
        let key = (read.partition, read.segment);
        self.clock.set(self.clock.get() + 1);
        let known = self.open.borrow_mut().get_mut(&key).map(|open| {
            open.used = self.clock.get();
            open.clone()
        });
        if let Some(open) = known {
            let fresh = open
                .index
                .as_ref()
                .is_some_and(|(_, length)| *length == read.length);
            if fresh {
                return Ok(open);
            }
        }
        let attempt = || async {
            let (folders, folder) = (self.folders.clone(), Arc::clone(&read.folder));
            let base = read.segment;
            let opened = exec::spawn_blocking(move || -> io::Result<_> {
                let folder = folders.path(&folder);
                let at = |file| folder.join(segment::segment_file(base, file));
                let log = ReadFile::open(at(SegmentFile::Log))?;
                let index = match ReadFile::open(at(SegmentFile::OffsetIndex)) {
                    Ok(file) => Some((file.size()? as usize, file)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
                Ok((log, index))
            });
            let opened = opened.await;
            if opened.as_ref().err().is_some_and(is_out_of_files) {
                // Our own may be what is wanting; who reads from them keeps them until the end.
                self.open.borrow_mut().clear();
            }
            opened
        };
        let (log, index) = patience.attempt(attempt).await?;
        let index = match index {
            Some((size, file)) => Some((file.read_at(0, size).await?, read.length)),
            None => None,
        };
        let open = Open {
            log,
            index,
            used: self.clock.get(),
        };
        let small = open
            .index
            .as_ref()
            .is_none_or(|(index, _)| index.len() <= INDEX_BYTES_KEPT_MAX);
        if small {
            self.keep(key, open.clone());
        }
        Ok(open)
    }

    fn keep(&self, key: (TopicPartition, Offset), open: Open) {
        let mut all = self.open.borrow_mut();
        if all.len() >= OPEN_SEGMENTS_MAX && !all.contains_key(&key) {
            let oldest = all
                .iter()
                .min_by_key(|(_, open)| open.used)
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                all.remove(&oldest);
            }
        }
        all.insert(key, open);
    }
}

/// False if an index that is there, or should be, cannot be what was written.
fn is_sound(index: &[u8], read: &ColdRead) -> bool {
    let length = usize::try_from(read.length).unwrap_or(usize::MAX);
    !index.is_empty() && segment::check_offset_index(index, read.segment, length).is_ok()
}

/// Goes through a segment batch by batch, reading ahead.
struct Walk {
    log: ReadFile,
    length: u64,
    start: u64,
    position: u64,
    /// Batches that were right.
    passed: u64,
    /// Bytes before the first batch that was wanted.
    skipped: u64,
    /// Where that one lies.
    found_at: Option<u64>,
    succession: Succession,
    buffer: Bytes,
    buffer_at: u64,
}

impl Walk {
    fn new(log: ReadFile, read: &ColdRead, start: Option<&OffsetEntry>) -> Self {
        let position = start.map_or(0, |entry| u64::from(entry.position));
        Self {
            log,
            length: read.length,
            start: position,
            position,
            passed: 0,
            skipped: 0,
            found_at: None,
            succession: start.map_or_else(
                || Succession::from_start(read.segment),
                Succession::from_entry,
            ),
            buffer: Bytes::new(),
            buffer_at: 0,
        }
    }

    /// True if the batch stood where the walk began.
    fn has_landed(&self) -> bool {
        self.passed > 0
    }

    /// Whole batches from the target on.
    async fn gather(&mut self, read: &ColdRead) -> Result<Vec<Bytes>, ReadFailure> {
        let mut run = BytesMut::new();
        let mut next = None;
        loop {
            // What was found before damage is served; the damage waits for the next read.
            let found = match self.next_verified(read.bytes_max).await {
                Ok(found) => found,
                Err(_) if !run.is_empty() => break,
                Err(failure) => return Err(failure),
            };
            let Some((bytes, header)) = found else { break };
            if header.base_offset >= read.end_offset {
                break;
            }
            let wanted = match read.target {
                ColdTarget::Offset(offset) => header.end_offset() > offset,
                ColdTarget::Timestamp { at, from } => {
                    header.max_timestamp >= at && header.end_offset() > from
                }
            };
            if !wanted {
                self.skipped += bytes.len() as u64;
                continue;
            }
            match (next, read.target) {
                (Some(next), _) if header.base_offset > next => break,
                (None, ColdTarget::Offset(offset)) if header.base_offset > offset => {
                    return Err(ReadFailure::Hole {
                        wanted: offset,
                        found: header.base_offset,
                    });
                }
                _ => {}
            }
            if !run.is_empty() && run.len() + bytes.len() > read.bytes_max {
                break;
            }
            next = Some(header.end_offset());
            let at = self.position - bytes.len() as u64;
            self.found_at.get_or_insert(at);
            run.extend_from_slice(&bytes);
            if run.len() >= read.bytes_max {
                break;
            }
        }
        Ok(if run.is_empty() {
            Vec::new()
        } else {
            vec![run.freeze()]
        })
    }

    /// The next whole batch with its head, checked against its checksum; `None` at the end.
    async fn next_verified(
        &mut self,
        ahead: usize,
    ) -> Result<Option<(Bytes, BatchHeader)>, ReadFailure> {
        let Some(bytes) = self.next(ahead).await? else {
            return Ok(None);
        };
        let position = self.position - bytes.len() as u64;
        let header =
            batch::verify(&bytes).map_err(|error| ReadFailure::Batch { position, error })?;
        let followed = self.succession.follow(&header);
        followed.map_err(|fault| ReadFailure::Misplaced { position, fault })?;
        self.passed += 1;
        Ok(Some((bytes, header)))
    }

    /// The next whole batch; `None` at the segment's end.
    async fn next(&mut self, ahead: usize) -> Result<Option<Bytes>, ReadFailure> {
        if self.position >= self.length {
            return Ok(None);
        }
        let head = klamm_model::limits::BATCH_HEADER_BYTES;
        if self.buffered() < head {
            self.fill(ahead.max(READ_BYTES_MIN)).await?;
        }
        let position = self.position;
        let failure = |error| ReadFailure::Batch { position, error };
        let size = batch::size_of(self.rest()).map_err(failure)?;
        if self.buffered() < size {
            if position + size as u64 > self.length {
                return Err(failure(BatchError::Incomplete {
                    needed: size,
                    found: usize::try_from(self.length - position).unwrap_or(usize::MAX),
                }));
            }
            self.fill(size).await?;
        }
        let start = (self.position - self.buffer_at) as usize;
        let end = (start + size).min(self.buffer.len());
        let bytes = self.buffer.slice(start..end);
        self.position += size as u64;
        Ok(Some(bytes))
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[(self.position - self.buffer_at) as usize..]
    }

    fn buffered(&self) -> usize {
        let start = self
            .position
            .checked_sub(self.buffer_at)
            .map_or(usize::MAX, |at| at as usize);
        self.buffer.len().saturating_sub(start)
    }

    async fn fill(&mut self, wanted: usize) -> Result<(), ReadFailure> {
        let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
        self.buffer = self.log.read_at(self.position, wanted.min(left)).await?;
        self.buffer_at = self.position;
        Ok(())
    }
}
