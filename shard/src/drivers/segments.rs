//! Writes batches behind the write-ahead log into the partitions' own files, in Kafka's layout:
//! `<topic>-<partition>/<base offset>.log`, `.index`, `.timeindex`. Files are opened on a side thread,
//! and a core's own thread waits for none of this.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use klamm_engine::effects::Spill;
use klamm_model::{Offset, TopicPartition};
use klamm_os::disk::{self, AppendFile, BlockFile, Caching, is_out_of_space};
use klamm_os::disk::{OpenedAppendFile, OpenedBlockFile};
use klamm_os::exec;
use klamm_records::segment::{self, SegmentFile};

use super::Patience;
use super::files::Folders;
use super::flushes::{self, Flushes, FolderFlush, SmallFiles};
use super::turnstile::Turnstile;
use crate::data_folders::FileSystems;
use crate::turn::must;

/// Segments with open descriptors; beyond that the one longest unused is closed.
const OPEN_SEGMENTS_MAX: usize = 256;

/// A portion of at most this much for a segment that is not open does not displace another one: it is
/// written through the page cache, and its files are closed again.
const PASSING_BYTES_MAX: usize = 64 << 10;

/// Portions that are written at a time. Each may have to be copied into aligned memory first, which
/// is used again and again only as long as it is little.
const PORTIONS_AT_ONCE: usize = 2;

/// Complete segments that are flushed at a time.
const COMPLETIONS_AT_ONCE: usize = 16;

/// A segment that was not written to during this many rounds of flushes is closed.
const IDLE_ROUNDS_MAX: u64 = 2;

type Key = (TopicPartition, Offset);

/// The segment files of one core that are written to.
pub(crate) struct SegmentFiles {
    folders: Folders,
    flushes: Flushes,
    patience: Rc<Patience>,
    open: RefCell<BTreeMap<Key, Rc<OpenSegment>>>,
    clock: Cell<u64>,
    /// Nothing is reserved ahead of appends.
    is_scarce: Cell<bool>,
    portions: Turnstile,
    completions: Turnstile,
    /// Operations under way for each partition, and whether it was dropped meanwhile.
    busy: RefCell<BTreeMap<TopicPartition, Busy>>,
    /// Small files that were written since the partition's last flush.
    small: RefCell<BTreeMap<TopicPartition, SmallFiles>>,
    /// Flushes that wait to be done together, one round after the other.
    waiting: RefCell<Vec<Rc<FlushRequest>>>,
    rounds: Turnstile,
    round: Cell<u64>,
}

#[derive(Default)]
struct Busy {
    operations: u32,
    dropped: bool,
}

struct OpenSegment {
    log: BlockFile,
    offset_index: AppendFile,
    time_index: AppendFile,
    /// The folder was flushed since this was opened: the names are durable.
    is_named: Cell<bool>,
    used: Cell<u64>,
    used_in_round: Cell<u64>,
    /// `used` when [`SegmentFiles::trim_quiet`] last looked.
    seen: Cell<u64>,
}

struct FlushRequest {
    partition: TopicPartition,
    folder: Arc<str>,
    segments: Vec<Offset>,
    is_done: Cell<bool>,
}

/// What a side thread does before a portion is written, and perhaps instead.
struct Preparation {
    spill: Spill,
    opening: Opening,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// The files are open: there are only small files to write.
    Open,
    /// Open the files.
    Wanted,
    /// Write the portion too, and leave no file open.
    Passing,
}

type Opened = (OpenedBlockFile, OpenedAppendFile, OpenedAppendFile);

impl SegmentFiles {
    pub(crate) fn new(folders: Folders, patience: Rc<Patience>, file_systems: FileSystems) -> Self {
        Self {
            flushes: Flushes::new(folders.clone(), file_systems),
            folders,
            patience,
            open: RefCell::default(),
            clock: Cell::new(0),
            is_scarce: Cell::new(false),
            portions: Turnstile::new(PORTIONS_AT_ONCE),
            completions: Turnstile::new(COMPLETIONS_AT_ONCE),
            busy: RefCell::default(),
            small: RefCell::default(),
            waiting: RefCell::default(),
            rounds: Turnstile::new(1),
            round: Cell::new(0),
        }
    }

    /// Whether room on the disk is so scarce that none is reserved ahead of appends.
    pub(crate) fn spare_room(&self, is_scarce: bool) {
        self.is_scarce.set(is_scarce);
    }

    /// Writes one portion. Nothing is written, and nothing fails, for a partition that was dropped
    /// meanwhile: its folder may belong to another topic of the same name by then.
    pub(crate) async fn spill(&self, spill: Spill) -> io::Result<()> {
        let partition = spill.partition;
        self.begin(partition);
        let result = self.write_portion(spill).await;
        self.end(partition, result)
    }

    async fn write_portion(&self, spill: Spill) -> io::Result<()> {
        // Whoever holds descriptors is inside: however many portions wait, few hold any.
        let inside = self.portions.enter().await;
        let key = (spill.partition, spill.segment);
        let known = self.known(key);
        let opening = match &known {
            Some(_) => Opening::Open,
            None if self.may_pass(&spill) => Opening::Passing,
            None => Opening::Wanted,
        };
        if opening == Opening::Wanted {
            self.close_idle(OPEN_SEGMENTS_MAX - 1).await?;
        }
        let preparation = Arc::new(Preparation { spill, opening });
        if opening != Opening::Open || !preparation.spill.small_files.is_empty() {
            let prepared = self.prepare(&preparation).await?;
            let Some(opened) = prepared.filter(|_| !self.is_dropped(key.0)) else {
                return Ok(());
            };
            self.note_small_files(&preparation.spill);
            if let Some(opened) = opened {
                self.keep(key, opened);
            }
        }
        let Some(files) = known.or_else(|| self.known(key)) else {
            return Ok(());
        };
        let spill = &preparation.spill;
        let attempt = || async {
            if self.is_dropped(key.0) {
                return Ok(());
            }
            files.log.reserve_ahead(!self.is_scarce.get());
            let written = write_to(&files, spill).await;
            if written.as_ref().is_err_and(is_out_of_space) {
                self.give_room_back(&files).await?;
            }
            written
        };
        self.patience.attempt(attempt).await?;
        if spill.complete {
            let closing = self.completions.enter().await;
            drop(inside);
            self.open.borrow_mut().remove(&key);
            let (trim, flush) = (files.log.trim(), begin_flush(&files));
            trim.await?;
            flush.await?;
            drop(closing);
        }
        Ok(())
    }

    /// True if the portion is better written in passing than by closing another segment for it.
    fn may_pass(&self, spill: &Spill) -> bool {
        let bytes: usize = spill.batches.iter().map(Bytes::len).sum();
        !spill.complete
            && bytes <= PASSING_BYTES_MAX
            && self.open.borrow().len() >= OPEN_SEGMENTS_MAX
    }

    /// `None` if the partition is gone; the opened files where they were wanted.
    async fn prepare(&self, preparation: &Arc<Preparation>) -> io::Result<Option<Option<Opened>>> {
        let partition = preparation.spill.partition;
        let attempt = || async {
            if self.is_dropped(partition) {
                return Ok(None);
            }
            let (folders, preparation) = (self.folders.clone(), Arc::clone(preparation));
            let prepared =
                exec::spawn_blocking(move || prepare_on_side(&folders, &preparation)).await;
            let is_short = |error| super::is_out_of_files(error) || is_out_of_space(error);
            if prepared.as_ref().is_err_and(is_short) {
                self.close_idle(0).await?;
            }
            prepared
        };
        self.patience.attempt(attempt).await
    }

    /// Takes back what was reserved ahead of appends: there is no room for this one.
    async fn give_room_back(&self, files: &OpenSegment) -> io::Result<()> {
        files.log.trim().await?;
        self.close_idle(0).await
    }

    fn note_small_files(&self, spill: &Spill) {
        if spill.small_files.is_empty() {
            return;
        }
        let mut small = self.small.borrow_mut();
        let small = small.entry(spill.partition).or_default();
        let names = if spill.makes_folder {
            &mut small.new
        } else {
            &mut small.beside
        };
        for &(name, _) in &spill.small_files {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }

    /// Makes segments of one partition durable, and their names, together with all that wait for the
    /// same: thousands of small flushes become one large one. A disk that fails ends the process.
    pub(crate) async fn flush(
        &self,
        partition: TopicPartition,
        folder: Arc<str>,
        segments: &[(Offset, u64)],
    ) {
        self.begin(partition);
        let request = Rc::new(FlushRequest {
            partition,
            folder,
            segments: segments.iter().map(|&(base, _)| base).collect(),
            is_done: Cell::new(false),
        });
        self.waiting.borrow_mut().push(Rc::clone(&request));
        let round = self.rounds.enter().await;
        if !request.is_done.get() {
            // Portions that were asked for before come first, so that their flushes join this round.
            drop(self.portions.enter().await);
            let group = self.waiting.take();
            must("flush segments", self.flush_group(&group).await);
            for request in group {
                request.is_done.set(true);
            }
        }
        drop(round);
        let ended = self.end(partition, Ok(()));
        debug_assert!(ended.is_ok(), "nothing failed");
    }

    async fn flush_group(&self, group: &[Rc<FlushRequest>]) -> io::Result<()> {
        let (mut files, mut folders, mut is_any_closed) = (Vec::new(), Vec::new(), false);
        for request in group.iter().filter(|one| !self.is_dropped(one.partition)) {
            let small = self.small.borrow_mut().remove(&request.partition);
            let mut is_unnamed = request.segments.is_empty();
            for &base in &request.segments {
                match self.open.borrow().get(&(request.partition, base)) {
                    Some(found) => {
                        is_unnamed |= !found.is_named.get();
                        files.push(Rc::clone(found));
                    }
                    None => is_any_closed = true,
                }
            }
            if small.is_some() || is_unnamed {
                folders.push(FolderFlush {
                    partition: request.partition,
                    folder: Arc::clone(&request.folder),
                    small: small.unwrap_or_default(),
                    is_unnamed,
                });
            }
        }
        let gone = if is_any_closed || Flushes::are_many(files.len(), &folders) {
            self.flushes.all(&self.patience, folders).await?
        } else {
            let flushes: Vec<_> = files.iter().map(|files| begin_flush(files)).collect();
            for flush in flushes {
                flush.await?;
            }
            self.flushes.each(&self.patience, folders).await?
        };
        if let Some(gone) = gone.iter().find(|&&gone| !self.is_dropped(gone)) {
            let reason = format!("the folder of partition {gone} is gone");
            return Err(io::Error::new(io::ErrorKind::NotFound, reason));
        }
        for files in files {
            files.is_named.set(true);
        }
        self.close_forgotten();
        Ok(())
    }

    /// Gives segments their own lengths that nobody wrote to since this was last called: as long as
    /// one is written to, it keeps the room ahead of its end. True if all have them now.
    pub(crate) async fn trim_quiet(&self) -> io::Result<bool> {
        let is_quiet =
            |files: &&Rc<OpenSegment>| files.seen.replace(files.used.get()) == files.used.get();
        let quiet: Vec<_> = {
            let open = self.open.borrow();
            let longer = open.values().filter(|files| !files.log.is_trim());
            longer.filter(is_quiet).cloned().collect()
        };
        // Begun together, so that they do not wait for each other.
        let trims: Vec<_> = quiet.iter().map(|files| files.log.trim()).collect();
        for trim in trims {
            trim.await?;
        }
        Ok(self.open.borrow().values().all(|files| files.log.is_trim()))
    }

    /// Closes the files of a partition, with their own lengths: nobody writes to them now.
    pub(crate) async fn let_go(&self, partition: TopicPartition) -> io::Result<()> {
        for files in self.files_of(partition) {
            files.log.trim().await?;
        }
        self.open
            .borrow_mut()
            .retain(|(other, _), _| *other != partition);
        Ok(())
    }

    fn files_of(&self, partition: TopicPartition) -> Vec<Rc<OpenSegment>> {
        let open = self.open.borrow();
        let of = open.iter().filter(|((other, _), _)| *other == partition);
        of.map(|(_, files)| Rc::clone(files)).collect()
    }

    /// Lets go of a segment that is to be removed: nobody writes to it any more.
    pub(crate) fn forget(&self, partition: TopicPartition, segment: Offset) {
        self.open.borrow_mut().remove(&(partition, segment));
    }

    /// Closes what nobody wrote to for some rounds: it is durable, and its place is wanted.
    fn close_forgotten(&self) {
        let round = self.round.get() + 1;
        self.round.set(round);
        self.open.borrow_mut().retain(|_, files| {
            Rc::strong_count(files) > 1
                || !files.log.is_trim()
                || files.used_in_round.get() + IDLE_ROUNDS_MAX >= round
        });
    }

    /// Forgets a partition that goes away. What is under way for it comes to nothing.
    pub(crate) fn close(&self, partition: TopicPartition) {
        if let Some(busy) = self.busy.borrow_mut().get_mut(&partition) {
            busy.dropped = true;
        }
        self.small.borrow_mut().remove(&partition);
        self.open
            .borrow_mut()
            .retain(|(other, _), _| *other != partition);
    }

    fn begin(&self, partition: TopicPartition) {
        self.busy
            .borrow_mut()
            .entry(partition)
            .or_default()
            .operations += 1;
    }

    fn is_dropped(&self, partition: TopicPartition) -> bool {
        self.busy
            .borrow()
            .get(&partition)
            .is_some_and(|busy| busy.dropped)
    }

    fn end(&self, partition: TopicPartition, result: io::Result<()>) -> io::Result<()> {
        let dropped = self.is_dropped(partition);
        let mut all = self.busy.borrow_mut();
        if let Some(busy) = all.get_mut(&partition) {
            busy.operations -= 1;
            if busy.operations == 0 {
                all.remove(&partition);
            }
        }
        if dropped { Ok(()) } else { result }
    }

    /// The segment if it is open.
    fn known(&self, key: Key) -> Option<Rc<OpenSegment>> {
        let open = self.open.borrow();
        let files = open.get(&key)?;
        self.clock.set(self.clock.get() + 1);
        files.used.set(self.clock.get());
        files.used_in_round.set(self.round.get());
        Some(Rc::clone(files))
    }

    fn keep(&self, key: Key, (log, offset_index, time_index): Opened) {
        let files = OpenSegment {
            log: log.into(),
            offset_index: offset_index.into(),
            time_index: time_index.into(),
            is_named: Cell::new(false),
            used: Cell::new(0),
            used_in_round: Cell::new(0),
            seen: Cell::new(0),
        };
        self.open.borrow_mut().insert(key, Rc::new(files));
    }

    /// Closes segments that nobody uses now, those first that were not used for longest, until no
    /// more than `left` are open. Their files get their own lengths before.
    async fn close_idle(&self, left: usize) -> io::Result<()> {
        while self.open.borrow().len() > left {
            let idle = self
                .open
                .borrow()
                .iter()
                .filter(|(_, files)| Rc::strong_count(files) == 1)
                .min_by_key(|(_, files)| files.used.get())
                .map(|(&key, files)| (key, Rc::clone(files)));
            let Some((key, files)) = idle else { break };
            files.log.trim().await?;
            // Somebody may have begun to use it meanwhile.
            if Rc::strong_count(&files) == 2 && files.log.is_trim() {
                self.open.borrow_mut().remove(&key);
            }
        }
        Ok(())
    }
}

/// Writes a portion, or what is missing of it.
async fn write_to(files: &OpenSegment, spill: &Spill) -> io::Result<()> {
    let log = (files.log.length() == spill.at)
        .then(|| files.log.write_at(spill.at, spill.batches.clone()));
    let (offsets, times) = (
        files
            .offset_index
            .write_later(spill.offset_index_at, spill.offset_index.clone()),
        files
            .time_index
            .write_later(spill.time_index_at, spill.time_index.clone()),
    );
    // All of them end before one may be repeated.
    let (offsets, times) = (offsets.await, times.await);
    if let Some(log) = log {
        log.await?;
    }
    offsets?;
    times
}

/// Begins to flush a segment's files.
fn begin_flush(files: &OpenSegment) -> impl Future<Output = io::Result<()>> + use<> {
    let (log, offsets, times) = (
        files.log.flush(),
        files.offset_index.flush(),
        files.time_index.flush(),
    );
    async move {
        log.await?;
        offsets.await?;
        times.await
    }
}

/// Makes or enters the folder, writes its small files, and opens the segment or writes the portion.
/// `None` if the folder is another topic's. May be repeated as a whole. Blocks.
fn prepare_on_side(
    folders: &Folders,
    preparation: &Preparation,
) -> io::Result<Option<Option<Opened>>> {
    let Preparation { spill, opening } = preparation;
    let topic = spill.partition.topic;
    if spill.makes_folder {
        let enter = |path: &Path| open_or_write(path, spill, *opening);
        let made = folders.make(&spill.folder, topic, &spill.small_files, enter);
        return made.map(Some);
    }
    folders.enter(&spill.folder, topic, |path| {
        for (name, content) in &spill.small_files {
            disk::write_new(flushes::beside(path, name), content)?;
        }
        open_or_write(path, spill, *opening)
    })
}

fn open_or_write(path: &Path, spill: &Spill, opening: Opening) -> io::Result<Option<Opened>> {
    let at = |file| path.join(segment::segment_file(spill.segment, file));
    match opening {
        Opening::Open => Ok(None),
        Opening::Wanted => Ok(Some((
            BlockFile::open_elsewhere(at(SegmentFile::Log), spill.at, 0, Caching::Direct)?,
            AppendFile::open_elsewhere(at(SegmentFile::OffsetIndex), 0)?,
            AppendFile::open_elsewhere(at(SegmentFile::TimeIndex), 0)?,
        ))),
        Opening::Passing => {
            let batches: Vec<&[u8]> = spill.batches.iter().map(|batch| &batch[..]).collect();
            disk::write_end(at(SegmentFile::Log), spill.at, &batches)?;
            let (offsets, times) = (&spill.offset_index, &spill.time_index);
            disk::write_end(
                at(SegmentFile::OffsetIndex),
                spill.offset_index_at,
                &[offsets],
            )?;
            disk::write_end(at(SegmentFile::TimeIndex), spill.time_index_at, &[times])?;
            Ok(None)
        }
    }
}
