//! The small files and folders: checkpoints, quorum state, partitions' folders. Never on the shard's
//! own thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use klamm_engine::boot::QUORUM_STATE_FILE;
use klamm_engine::compaction_work::NameOperation;
use klamm_engine::effects::Repair;
use klamm_engine::placement::{FolderNumber, Removal};
use klamm_engine::repair::{self, Repaired};
use klamm_model::{Offset, TopicId};
use klamm_os::{clock, disk};
use klamm_records::segment::{self, SegmentFile};

use super::Patience;
use crate::data_folders::DataFolders;
use crate::storage::DataFolder;

/// Replaces a small file durably.
pub(crate) async fn save(
    patience: &Patience,
    root: &Path,
    path: &str,
    bytes: Bytes,
) -> io::Result<()> {
    let save = || disk::write_atomically_later(root.join(path), bytes.to_vec());
    patience.attempt(save).await
}

/// What [`Folders::drop`] left to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// What is to be deleted.
    pub(crate) aside: Option<PathBuf>,
    /// What is to be forgotten.
    pub(crate) removal: Option<Removal>,
}

/// The partitions' folders of a node. Two topics may have had the same name, and the cores that hold
/// their partitions do not hear of it at the same moment; a folder is therefore made, entered and
/// dropped under one lock, and only by the topic that it names. Only side threads take the lock, and
/// none waits for the device while it has it.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    data: DataFolders,
    /// Folders that were put aside; numbers their names.
    aside: Arc<Mutex<u64>>,
}

impl Folders {
    pub(crate) fn new(data: DataFolders) -> Self {
        Self {
            data,
            aside: Arc::default(),
        }
    }

    pub(crate) const fn data(&self) -> &DataFolders {
        &self.data
    }

    /// Where a path that begins with a partition's folder leads.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.data.path(relative)
    }

    /// Makes a partition's folder; one that is not this topic's, or does not say whose it is, is put
    /// aside with whatever a power cut left in it. The vote of this node stays: it is kept before
    /// anything of the metadata's log is. Blocks.
    ///
    /// Its small files may be written in place: nothing vouches for the folder before a flush covers
    /// them too, and a restart clears a folder for which nothing vouches.
    pub(crate) fn make<T>(
        &self,
        name: &str,
        topic: TopicId,
        files: &[(&'static str, Bytes)],
        enter: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut aside = self.lock();
        let path = self.path(name);
        match owner(&path)? {
            Some(found) if found == topic => {}
            None if path.join(QUORUM_STATE_FILE).exists() => put_rest_aside(&path, &mut aside)?,
            _ => drop(unless_gone(put_aside(&path, &mut aside))?),
        }
        self.data.create(name)?;
        let path = self.path(name);
        for (file, content) in files {
            disk::write_new(path.join(file), content)?;
        }
        enter(&path)
    }

    /// Runs `enter`, unless the folder belongs to a later topic: then this one is gone. Blocks.
    pub(crate) fn enter<T>(
        &self,
        name: &str,
        topic: TopicId,
        enter: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let _aside = self.lock();
        let path = self.path(name);
        if owner(&path)?.is_some_and(|found| found != topic) {
            return Ok(None);
        }
        enter(&path).map(Some)
    }

    /// Puts right, or keeps, what a read found wrong, unless the folder belongs to a later topic by
    /// the time that something is to be written. Blocks; the others do not wait for the device.
    pub(crate) fn repair(&self, repair: &Repair) -> io::Result<Option<Repaired>> {
        let mut storage = DataFolder::of(self.data.clone()).map_err(io::Error::other)?;
        let prepared = repair::prepare(&mut storage, repair).map_err(io::Error::other)?;
        let (folder, topic) = (&*repair.folder, repair.partition.topic);
        if !prepared.replaces().is_empty() {
            let flush = |path: &Path| match path.is_dir() {
                true => disk::sync_dir(path),
                false => disk::sync_file(path),
            };
            let replaced = self.replace(folder, topic, prepared.replaces(), flush)?;
            return Ok(replaced.map(|()| prepared.done()));
        }
        // If the folder is this topic's now, it was when it was read.
        if self.enter(folder, topic, |_| Ok(()))?.is_none() {
            return Ok(None);
        }
        let done = prepared.finish(&mut storage).map_err(io::Error::other)?;
        Ok(Some(done))
    }

    /// Replaces files of a partition, durably, as long as the folder is this topic's; `flush` waits
    /// for the device, and the others do not.
    fn replace(
        &self,
        folder: &str,
        topic: TopicId,
        files: &[(String, Vec<u8>)],
        flush: impl Fn(&Path) -> io::Result<()>,
    ) -> io::Result<Option<()>> {
        let beside = |path: &str| self.path(path).with_added_extension("tmp");
        let written = self.enter(folder, topic, |_| {
            let mut files = files.iter();
            files.try_for_each(|(path, bytes)| disk::write_new(beside(path), bytes))
        })?;
        if written.is_none() {
            return Ok(None);
        }
        for (path, _) in files {
            // Gone if the folder was put aside meanwhile.
            if unless_gone(flush(&beside(path)))?.is_none() {
                return Ok(None);
            }
        }
        let placed = self.enter(folder, topic, |_| {
            let mut files = files.iter();
            files.try_for_each(|(path, _)| disk::rename(beside(path), self.path(path)))
        })?;
        if placed.is_none() {
            return Ok(None);
        }
        unless_gone(flush(&self.path(folder)))
    }

    /// Moves a dropped partition's folder out of the way, if it is still this topic's. Gives what
    /// is then to be done, or none where it is another's by now. Blocks.
    pub(crate) fn drop(&self, name: &str, topic: TopicId) -> io::Result<Option<Dropped>> {
        let mut aside = self.lock();
        let path = self.path(name);
        match owner(&path)? {
            Some(found) if found == topic => {
                let put = put_aside(&path, &mut aside)?;
                Ok(Some(Dropped {
                    aside: Some(put),
                    removal: self.data.leave(name),
                }))
            }
            // Where it was not made, a later one of its name may lie elsewhere.
            None if !path.exists() => Ok(Some(Dropped {
                aside: None,
                removal: self.data.leave(name),
            })),
            _ => Ok(None),
        }
    }

    /// Waits until a partition's folder that was put aside cannot come back. Blocks.
    pub(crate) fn forget(&self, name: &str, removal: Removal) -> io::Result<()> {
        self.data.forget(name, removal)
    }

    /// Gives the files of segments names that nobody looks for, if the folder is still this
    /// topic's. Gives what is then to be deleted. Blocks.
    pub(crate) fn remove(
        &self,
        name: &str,
        topic: TopicId,
        segments: &[Offset],
    ) -> io::Result<Vec<PathBuf>> {
        let removed = self.enter(name, topic, |folder| {
            let mut aside = Vec::new();
            for &base in segments {
                for file in SegmentFile::ALL {
                    let path = folder.join(segment::segment_file(base, file));
                    let mut to = path.clone().into_os_string();
                    to.push(segment::REMOVED_SUFFIX);
                    match disk::rename(&path, &to) {
                        Ok(()) => aside.push(PathBuf::from(to)),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(aside)
        });
        Ok(removed?.unwrap_or_default())
    }

    /// Changes names in a partition's folder, as long as it is this topic's, and makes them durable
    /// where that is said. None if it is not. Blocks; the others do not wait for the device.
    pub(crate) fn rename(
        &self,
        name: &str,
        topic: TopicId,
        operations: &[NameOperation],
    ) -> io::Result<Option<()>> {
        let to_flush = |one: &NameOperation| matches!(one, NameOperation::FlushFolder);
        for group in operations.split_inclusive(to_flush) {
            let renamed = self.enter(name, topic, |_| {
                group.iter().try_for_each(|operation| match operation {
                    NameOperation::Rename { from, to } => {
                        disk::rename(self.path(from), self.path(to))
                    }
                    NameOperation::PutAside { from, to } => {
                        let renamed = disk::rename(self.path(from), self.path(to));
                        unless_gone(renamed).map(drop)
                    }
                    NameOperation::FlushFolder => Ok(()),
                })
            })?;
            if renamed.is_none() {
                return Ok(None);
            }
            let is_flushed = group.last().is_some_and(to_flush);
            if is_flushed && unless_gone(disk::sync_dir(self.path(name)))?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// Gives a folder that takes a partition's place its name. False, and nothing is changed, where
    /// the partition was dropped meanwhile, or another one has the name. Blocks.
    pub(crate) fn settle_at(
        &self,
        name: &str,
        folder: &Path,
        to: FolderNumber,
    ) -> io::Result<bool> {
        let _aside = self.lock();
        if self.path(name).exists() || !self.data.moved(name, to) {
            return Ok(false);
        }
        disk::rename(folder, self.path(name))?;
        Ok(true)
    }

    /// Lets a partition of which nothing lies on a disk yet have its place elsewhere. False if
    /// something does. Blocks.
    pub(crate) fn settle_nothing_at(&self, name: &str, to: FolderNumber) -> bool {
        let _aside = self.lock();
        let from = self.data.place(name);
        !self.path(name).exists() && (from == to || self.data.moved(name, to))
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put_aside(path: &Path, aside: &mut u64) -> io::Result<PathBuf> {
    let to = name_aside(path, aside);
    disk::rename(path, &to)?;
    Ok(to)
}

/// Puts everything in a folder aside but this node's vote.
fn put_rest_aside(path: &Path, aside: &mut u64) -> io::Result<()> {
    let mut rest = disk::list(path)?;
    rest.retain(|name| !name.starts_with(QUORUM_STATE_FILE));
    if rest.is_empty() {
        return Ok(());
    }
    let to = name_aside(path, aside);
    disk::create_dir_all(&to)?;
    let mut rest = rest.iter();
    rest.try_for_each(|name| disk::rename(path.join(name), to.join(name)))
}

/// What a folder is called that is to be deleted.
fn name_aside(path: &Path, aside: &mut u64) -> PathBuf {
    *aside += 1;
    let stamp = clock::wall_ms().unsigned_abs();
    let mut to = path.as_os_str().to_owned();
    to.push(format!(".{stamp:x}-{aside}-delete"));
    to.into()
}

/// None where the file or folder is not there any more.
pub(crate) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The topic that a folder says it belongs to.
fn owner(path: &Path) -> io::Result<Option<TopicId>> {
    match disk::read_to_string(path.join(segment::PARTITION_METADATA_FILE), 4096) {
        Ok(text) => Ok(segment::parse_partition_metadata(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(topic: TopicId) -> Vec<(&'static str, Bytes)> {
        let metadata = segment::format_partition_metadata(topic);
        vec![(segment::PARTITION_METADATA_FILE, metadata.into())]
    }

    #[test]
    fn a_later_topic_of_the_same_name_keeps_its_folder_when_the_earlier_one_is_dropped() {
        let root = tempfile::tempdir().expect("a folder");
        let folders = Folders::new(DataFolders::single(root.path().to_owned()));
        let (earlier, later) = (TopicId([1; 16]), TopicId([2; 16]));
        let make = |topic| folders.make("a-0", topic, &files(topic), |_| Ok(()));
        make(earlier).expect("made");
        std::fs::write(root.path().join("a-0/old"), b"old").expect("written");

        make(later).expect("made anew");
        assert!(!root.path().join("a-0/old").exists(), "put aside");
        assert_eq!(folders.drop("a-0", earlier).expect("no error"), None);
        let enter = |topic| folders.enter("a-0", topic, |_| Ok(())).expect("no error");
        assert_eq!((enter(earlier), enter(later)), (None, Some(())));
        let gone = folders
            .drop("a-0", later)
            .expect("no error")
            .and_then(|dropped| dropped.aside)
            .expect("its own");
        assert!(gone.exists() && !root.path().join("a-0").exists());
    }

    #[test]
    fn a_folder_that_does_not_say_whose_it_is_is_put_aside_with_all_it_holds() {
        let root = tempfile::tempdir().expect("a folder");
        let folders = Folders::new(DataFolders::single(root.path().to_owned()));
        let left = root.path().join("a-0");
        std::fs::create_dir(&left).expect("made");
        let metadata = left.join(segment::PARTITION_METADATA_FILE);
        std::fs::write(metadata, b"").expect("its content was lost");
        std::fs::write(left.join("0.timeindex"), [0; 24]).expect("written");
        let topic = TopicId([1; 16]);
        let made = folders.make("a-0", topic, &files(topic), |path| disk::list(path));
        let names = made.expect("made");
        assert_eq!(names, [segment::PARTITION_METADATA_FILE]);
        let again = folders.make("a-0", topic, &[], |path| disk::list(path));
        assert_eq!(again.expect("its own"), names);
    }

    #[test]
    fn a_vote_that_was_kept_before_the_log_it_is_about_stays() {
        let root = tempfile::tempdir().expect("a folder");
        let folders = Folders::new(DataFolders::single(root.path().to_owned()));
        let voted = root.path().join("m-0");
        std::fs::create_dir(&voted).expect("made");
        std::fs::write(voted.join(QUORUM_STATE_FILE), b"vote").expect("written");
        std::fs::write(voted.join("0.log"), b"left").expect("written");
        let topic = TopicId([1; 16]);
        let made = folders.make("m-0", topic, &files(topic), |path| disk::list(path));
        let mut names = made.expect("made");
        names.sort();
        assert_eq!(names, [segment::PARTITION_METADATA_FILE, QUORUM_STATE_FILE]);
        let vote = std::fs::read(voted.join(QUORUM_STATE_FILE));
        assert_eq!(vote.expect("there"), b"vote");
    }

    #[test]
    fn nobody_waits_while_files_that_were_made_anew_are_flushed() {
        let root = tempfile::tempdir().expect("a folder");
        let folders = Folders::new(DataFolders::single(root.path().to_owned()));
        let (earlier, later) = (TopicId([1; 16]), TopicId([2; 16]));
        let make = |topic| folders.make("a-0", topic, &files(topic), |_| Ok(()));
        make(earlier).expect("made");
        let index = root.path().join("a-0/0.index");
        std::fs::write(&index, b"wrong").expect("written");
        let new = [("a-0/0.index".to_owned(), b"right".to_vec())];
        let flushed = std::cell::Cell::new(0);
        let flush = |_: &Path| {
            assert!(folders.aside.try_lock().is_ok(), "somebody would wait");
            flushed.set(flushed.get() + 1);
            Ok(())
        };
        let replaced = folders.replace("a-0", earlier, &new, flush);
        assert_eq!((replaced.expect("no error"), flushed.get()), (Some(()), 2));
        assert_eq!(std::fs::read(&index).expect("there"), b"right");

        // The folder becomes another topic's while the new content is flushed.
        let flush = |path: &Path| {
            make(later).expect("made anew");
            disk::sync_file(path)
        };
        let replaced = folders.replace("a-0", earlier, &new, flush);
        assert_eq!(replaced.expect("no error"), None);
        assert!(!index.exists(), "nothing was written for the later topic");
        let replaced = folders.replace("a-0", earlier, &new, |_| Ok(()));
        assert_eq!(replaced.expect("no error"), None);
        assert_eq!(
            std::fs::read_dir(root.path().join("a-0"))
                .expect("a folder")
                .count(),
            1
        );
    }
}
