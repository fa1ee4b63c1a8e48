//! What makes many segments durable at once: either each file by its own flush, or the file system
//! that holds them all; then the names. New content of small files is put in place only when it is
//! durable.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use klamm_model::TopicPartition;
use klamm_os::disk;
use klamm_os::exec;

use super::Patience;
use super::files::{Folders, unless_gone};
use crate::data_folders::FileSystems;

/// More segments than this are not flushed one by one.
const SEGMENTS_MAX: usize = 64;

/// More flushes than this, one after the other on the side thread, take longer than one of all.
const SIDE_FLUSHES_MAX: usize = 16;

/// Small files that were written and are not durable.
#[derive(Default)]
pub(crate) struct SmallFiles {
    /// Written in place, in a folder that is new.
    pub(crate) new: Vec<&'static str>,
    /// Whose new content lies beside them.
    pub(crate) beside: Vec<&'static str>,
}

/// What is to be done in one partition's folder.
pub(crate) struct FolderFlush {
    pub(crate) partition: TopicPartition,
    pub(crate) folder: Arc<str>,
    pub(crate) small: SmallFiles,
    /// Names in the folder, or its own, may not be durable.
    pub(crate) is_unnamed: bool,
}

impl FolderFlush {
    const fn count(&self) -> usize {
        self.small.new.len() + self.small.beside.len() + 1
    }
}

/// Flushes folders, on the side thread for that.
pub(crate) struct Flushes {
    folders: Folders,
    /// This core's own handles: they are told every error of writing back since they were opened.
    file_systems: Arc<FileSystems>,
}

/// Folders on their way. Each stage may be repeated after an error: what was done is not done again.
#[derive(Default)]
struct Work {
    left: Vec<FolderFlush>,
    /// With the new content out of the way of still newer content.
    claimed: Vec<FolderFlush>,
    /// With the new content in place; the names are not durable yet.
    placed: Vec<FolderFlush>,
    gone: Vec<TopicPartition>,
}

type Stage = fn(&mut Work, &Folders) -> io::Result<()>;

impl Flushes {
    pub(crate) fn new(folders: Folders, file_systems: FileSystems) -> Self {
        Self {
            folders,
            file_systems: Arc::new(file_systems),
        }
    }

    /// Whether so many segments and folders are better flushed with the whole file system.
    pub(crate) fn are_many(segments: usize, folders: &[FolderFlush]) -> bool {
        let on_side: usize = folders.iter().map(FolderFlush::count).sum();
        segments > SEGMENTS_MAX || on_side > SIDE_FLUSHES_MAX
    }

    /// Makes everything written so far durable, puts small files in place, and makes that durable
    /// too. Gives the partitions whose folders are gone.
    pub(crate) async fn all(
        &self,
        patience: &Patience,
        mut folders: Vec<FolderFlush>,
    ) -> io::Result<Vec<TopicPartition>> {
        folders.retain(|folder| !folder.small.beside.is_empty());
        if folders.is_empty() {
            self.flush_file_system().await?;
            return Ok(Vec::new());
        }
        let work = self.run(patience, Work::of(folders), Work::claim).await?;
        self.flush_file_system().await?;
        let work = self.run(patience, work, Work::place).await?;
        self.flush_file_system().await?;
        Ok(work.gone)
    }

    /// Puts small files in place and flushes the folders, one by one. Gives the partitions whose
    /// folders are gone.
    pub(crate) async fn each(
        &self,
        patience: &Patience,
        folders: Vec<FolderFlush>,
    ) -> io::Result<Vec<TopicPartition>> {
        if folders.is_empty() {
            return Ok(Vec::new());
        }
        let mut work = Work::of(folders);
        for stage in [
            Work::claim as Stage,
            Work::flush_files,
            Work::place,
            Work::flush_folders,
        ] {
            work = self.run(patience, work, stage).await?;
        }
        Ok(work.gone)
    }

    async fn flush_file_system(&self) -> io::Result<()> {
        let file_systems = Arc::clone(&self.file_systems);
        exec::spawn_flush(move || file_systems.flush()).await
    }

    async fn run(&self, patience: &Patience, work: Work, stage: Stage) -> io::Result<Work> {
        let work = RefCell::new(work);
        let attempt = || async {
            let (folders, mut now) = (self.folders.clone(), work.take());
            let staged = exec::spawn_flush(move || {
                let result = stage(&mut now, &folders);
                (result, now)
            });
            let (result, now) = staged.await;
            work.replace(now);
            result
        };
        patience.attempt(attempt).await?;
        Ok(work.into_inner())
    }
}

impl Work {
    fn of(left: Vec<FolderFlush>) -> Self {
        Self {
            left,
            ..Self::default()
        }
    }

    /// Takes the new content out of the way of a portion that brings still newer content: a rename
    /// under the lock under which it was written.
    fn claim(&mut self, folders: &Folders) -> io::Result<()> {
        while let Some(folder) = self.left.last_mut() {
            let topic = folder.partition.topic;
            let claim = |path: &Path| {
                let mut found = Vec::new();
                for &name in &folder.small.beside {
                    let renamed = disk::rename(beside(path, name), claimed(path, name));
                    // Otherwise an earlier round took it together with its own.
                    found.extend(unless_gone(renamed)?.map(|()| name));
                }
                Ok(found)
            };
            let found = folders.enter(&folder.folder, topic, claim)?;
            folder.small.beside = found.unwrap_or_default();
            self.claimed.extend(self.left.pop());
        }
        Ok(())
    }

    fn flush_files(&mut self, folders: &Folders) -> io::Result<()> {
        for folder in &self.claimed {
            let path = folders.path(&folder.folder);
            for name in &folder.small.beside {
                unless_gone(disk::sync_file(claimed(&path, name)))?;
            }
            for name in &folder.small.new {
                unless_gone(disk::sync_file(path.join(name)))?;
            }
        }
        Ok(())
    }

    fn place(&mut self, folders: &Folders) -> io::Result<()> {
        while let Some(folder) = self.claimed.last_mut() {
            let topic = folder.partition.topic;
            while let Some(name) = folder.small.beside.last() {
                let entered = folders.enter(&folder.folder, topic, |path| {
                    unless_gone(disk::rename(claimed(path, name), path.join(name)))
                })?;
                if entered.flatten().is_none() {
                    self.gone.push(folder.partition);
                }
                folder.small.beside.pop();
            }
            self.placed.extend(self.claimed.pop());
        }
        Ok(())
    }

    fn flush_folders(&mut self, folders: &Folders) -> io::Result<()> {
        for folder in &self.placed {
            let path = folders.path(&folder.folder);
            if unless_gone(disk::sync_dir(path))?.is_none() {
                self.gone.push(folder.partition);
            }
        }
        let unnamed = self.placed.iter().filter(|folder| folder.is_unnamed);
        let names = unnamed.map(|folder| &*folder.folder);
        folders.data().flush_names(names)
    }
}

/// Where the new content of a small file is written.
pub(crate) fn beside(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.tmp"))
}

/// Where it lies while it is flushed: for a list of leader epochs
/// [`segment::LEADER_EPOCH_FLUSHING_FILE`], which a start removes.
///
/// [`segment::LEADER_EPOCH_FLUSHING_FILE`]: klamm_records::segment::LEADER_EPOCH_FLUSHING_FILE
fn claimed(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.flushing"))
}
