//! Writes batches behind the write-ahead log into the partitions' own files, in Kafka's layout:
//! `<topic>-<partition>/<base offset>.log`, `.index`, `.timeindex`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use klamm_engine::effects::Spill;
use klamm_model::{Offset, TopicPartition};
use klamm_os::disk::{self, AppendFile, BlockFile, Caching};
use klamm_os::exec;
use klamm_records::segment::{self, SegmentFile};

use super::files::{Folders, write_files};
use super::patiently;
use super::turnstile::Turnstile;

/// Segments with open descriptors; beyond that the one longest unused is closed.
const OPEN_SEGMENTS_MAX: usize = 256;

/// Portions that are written at a time. Each may have to be copied into aligned memory first, which
/// is used again and again only as long as it is little.
const PORTIONS_AT_ONCE: usize = 2;

/// The segment files of one core that are written to.
pub(crate) struct SegmentFiles {
    folders: Folders,
    open: RefCell<BTreeMap<(TopicPartition, Offset), Rc<OpenSegment>>>,
    clock: Cell<u64>,
    portions: Turnstile,
    /// Operations under way for each partition, and whether it was dropped meanwhile.
    busy: RefCell<BTreeMap<TopicPartition, Busy>>,
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
}

impl SegmentFiles {
    pub(crate) fn new(folders: Folders) -> Self {
        Self {
            folders,
            open: RefCell::default(),
            clock: Cell::new(0),
            portions: Turnstile::new(PORTIONS_AT_ONCE),
            busy: RefCell::default(),
        }
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
        let topic = spill.partition.topic;
        if !spill.small_files.is_empty() {
            let makes_folder = spill.makes_folder;
            let written = patiently(|| {
                let folders = self.folders.clone();
                let (name, files) = (Arc::clone(&spill.folder), spill.small_files.clone());
                exec::spawn_blocking(move || {
                    if makes_folder {
                        folders.make(&name, topic, &files).map(Some)
                    } else {
                        folders.enter(&name, topic, |path| write_files(path, &files))
                    }
                })
            })
            .await?;
            if written.is_none() || self.is_dropped(spill.partition) {
                return Ok(());
            }
        }
        let key = (spill.partition, spill.segment);
        let Some(files) = self.open_patiently(key, &spill.folder, spill.at).await? else {
            return Ok(());
        };
        if !spill.offset_index.is_empty() {
            files
                .offset_index
                .write_at(spill.offset_index_at, &[&spill.offset_index])?;
        }
        if !spill.time_index.is_empty() {
            files
                .time_index
                .write_at(spill.time_index_at, &[&spill.time_index])?;
        }
        let inside = self.portions.enter().await;
        files.log.write_at(spill.at, spill.batches).await?;
        drop(inside);
        if spill.complete {
            self.open.borrow_mut().remove(&key);
            flush_all(&files).await?;
        }
        Ok(())
    }

    /// Makes segments of one partition durable, and their names; each is given with the bytes that
    /// were spilled to it.
    pub(crate) async fn flush(
        &self,
        partition: TopicPartition,
        folder: &str,
        segments: &[(Offset, u64)],
    ) -> io::Result<()> {
        self.begin(partition);
        let result = self.flush_segments(partition, folder, segments).await;
        self.end(partition, result)
    }

    async fn flush_segments(
        &self,
        partition: TopicPartition,
        folder: &str,
        segments: &[(Offset, u64)],
    ) -> io::Result<()> {
        let mut unnamed = Vec::new();
        for &(base, length) in segments {
            if self.is_dropped(partition) {
                return Ok(());
            }
            let Some(files) = self
                .open_patiently((partition, base), folder, length)
                .await?
            else {
                return Ok(());
            };
            flush_all(&files).await?;
            if !files.is_named.get() {
                unnamed.push(files);
            }
        }
        // Segments that were completed meanwhile are older than the one that took their place.
        if unnamed.is_empty() && !segments.is_empty() {
            return Ok(());
        }
        let root = self.folders.root().to_owned();
        let path = root.join(folder);
        patiently(|| {
            let (path, root) = (path.clone(), root.clone());
            exec::spawn_blocking(move || {
                disk::sync_dir(&path)?;
                disk::sync_dir(&root)
            })
        })
        .await?;
        for files in unnamed {
            files.is_named.set(true);
        }
        Ok(())
    }

    /// Forgets a partition that goes away. What is under way for it comes to nothing.
    pub(crate) fn close(&self, partition: TopicPartition) {
        if let Some(busy) = self.busy.borrow_mut().get_mut(&partition) {
            busy.dropped = true;
        }
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

    /// Opens a segment, waiting for descriptors if need be; those of idle segments are given up.
    async fn open_patiently(
        &self,
        key: (TopicPartition, Offset),
        folder: &str,
        length: u64,
    ) -> io::Result<Option<Rc<OpenSegment>>> {
        patiently(|| {
            let opened = self.opened(key, folder, length);
            if opened.is_err() {
                self.open
                    .borrow_mut()
                    .retain(|_, files| Rc::strong_count(files) > 1);
            }
            std::future::ready(opened)
        })
        .await
    }

    fn opened(
        &self,
        key: (TopicPartition, Offset),
        folder: &str,
        length: u64,
    ) -> io::Result<Option<Rc<OpenSegment>>> {
        self.clock.set(self.clock.get() + 1);
        let mut open = self.open.borrow_mut();
        if let Some(files) = open.get(&key) {
            files.used.set(self.clock.get());
            return Ok(Some(Rc::clone(files)));
        }
        if open.len() >= OPEN_SEGMENTS_MAX {
            let idle = open
                .iter()
                .filter(|(_, files)| Rc::strong_count(files) == 1)
                .min_by_key(|(_, files)| files.used.get())
                .map(|(key, _)| *key);
            if let Some(key) = idle {
                open.remove(&key);
            }
        }
        let (partition, base) = key;
        let files = self.folders.enter(folder, partition.topic, |path| {
            let at = |file| path.join(segment::segment_file(base, file));
            Ok(OpenSegment {
                log: BlockFile::open(at(SegmentFile::Log), length, 0, Caching::Direct)?,
                offset_index: AppendFile::open(at(SegmentFile::OffsetIndex), 0)?,
                time_index: AppendFile::open(at(SegmentFile::TimeIndex), 0)?,
                is_named: Cell::new(false),
                used: Cell::new(self.clock.get()),
            })
        })?;
        let Some(files) = files.map(Rc::new) else {
            return Ok(None);
        };
        open.insert(key, Rc::clone(&files));
        Ok(Some(files))
    }
}

async fn flush_all(files: &OpenSegment) -> io::Result<()> {
    let (log, offsets, times) = (
        files.log.flush(),
        files.offset_index.flush(),
        files.time_index.flush(),
    );
    log.await?;
    offsets.await?;
    times.await
}
