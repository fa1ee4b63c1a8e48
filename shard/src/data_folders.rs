//! The data folders of a node as one: a path that is relative to them is resolved here, by the name
//! of the partition's folder that it begins with, and nowhere else. What is no partition's lies in
//! the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_engine::boot::METADATA_FOLDER;
use klamm_engine::placement::{FolderNumber, Placement, Removal};
use klamm_engine::storage::StorageError;
use klamm_model::Offset;
use klamm_os::disk::{self, FileSystem, HeldFolder};
use klamm_records::segment::{
    self, DirectoryId, FolderInUse, FoldersInUse, parse_partition_folder,
};

use crate::drivers::relocation;
use crate::storage::failed;

/// Which folders beside the first hold partitions, in the first one: a start without one of them
/// would take its partitions for empty.
pub const FOLDERS_IN_USE_FILE: &str = "klamm/log-dirs";

/// Ends the name of a partition's folder that is about to be deleted, as in Kafka.
const REMOVED_SUFFIX: &str = "-delete";

/// The data folders of a node, shared by its cores.
#[derive(Clone, Debug)]
pub struct DataFolders {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    roots: Vec<PathBuf>,
    /// The same, as they were at the start; none of a folder that is taken alone.
    held: Vec<HeldFolder>,
    /// Whose ids these are, in the same order; none where there is one folder only.
    directories: Vec<DirectoryId>,
    /// Held for moments: never over anything that the disk does.
    placement: Mutex<Placement>,
    in_use: Mutex<FoldersInUse>,
    /// Held for moments, before `placement` where both are.
    moves: Mutex<BTreeMap<String, Moving>>,
}

/// A partition's files on their way to another data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Where they will lie.
    pub to: FolderNumber,
    /// Bytes that are there.
    pub bytes: u64,
    /// Offset before which everything is there.
    pub end: Offset,
}

impl Moving {
    const fn to(to: FolderNumber) -> Self {
        Self {
            to,
            bytes: 0,
            end: Offset::ZERO,
        }
    }
}

/// Why data folders cannot be opened together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataFoldersError {
    /// One cannot be read.
    Storage(StorageError),
    /// One partition's folder lies in two of them.
    Twice {
        /// Its name.
        name: String,
        /// The data folders.
        folders: [PathBuf; 2],
    },
    /// The list of folders in use cannot be understood.
    InUse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
}

impl fmt::Display for DataFoldersError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(formatter),
            Self::Twice { name, folders } => write!(
                formatter,
                "partition folder {name} lies in {} and in {}; move the one that is not wanted out of \
                 its data folder (the newer copy is most likely the one that was written to last)",
                folders[0].display(),
                folders[1].display()
            ),
            Self::InUse { path, fault } => write!(
                formatter,
                "{} is damaged: {fault}; each line that does not begin with # has a directory.id, as \
                 in the folder's meta.properties, and a path",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DataFoldersError {}

impl From<StorageError> for DataFoldersError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Reads which folders beside this one hold partitions.
///
/// # Errors
/// The list cannot be read or understood.
pub fn folders_in_use(main: &Path) -> Result<FoldersInUse, DataFoldersError> {
    let path = main.join(FOLDERS_IN_USE_FILE);
    match disk::read_to_string(&path, 16 << 20) {
        Ok(text) => segment::parse_folders_in_use(&text).map_err(|error| DataFoldersError::InUse {
            fault: error.to_string(),
            path,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FoldersInUse::new()),
        Err(error) => Err(failed("read", &path, &error).into()),
    }
}

impl DataFolders {
    /// One folder alone, whatever lies in it.
    #[must_use]
    pub fn single(root: PathBuf) -> Self {
        Self {
            shared: Arc::new(Shared {
                placement: Mutex::new(Placement::new(1)),
                roots: vec![root],
                held: Vec::new(),
                directories: Vec::new(),
                in_use: Mutex::default(),
                moves: Mutex::default(),
            }),
        }
    }

    /// These folders, the one with the metadata first, which exist and are locked.
    ///
    /// # Errors
    /// A folder cannot be read, or one partition lies in two.
    pub fn open(folders: Vec<(PathBuf, DirectoryId)>) -> Result<Self, DataFoldersError> {
        let (roots, directories): (Vec<PathBuf>, Vec<_>) = folders.into_iter().unzip();
        let main = roots
            .first()
            .map_or_else(|| Path::new(""), PathBuf::as_path);
        relocation::finish_all(&roots).map_err(|error| failed("finish moves in", main, &error))?;
        let mut placement = Placement::new(roots.len());
        for (number, root) in roots.iter().enumerate() {
            let names = disk::list(root).map_err(|error| failed("list", root, &error))?;
            for name in names {
                let is_removed = name.ends_with(REMOVED_SUFFIX);
                if !is_removed && !is_placed(&name) {
                    continue;
                }
                match placement.found(&name, FolderNumber(number)) {
                    Ok(()) => {}
                    // The next start finds and removes the other one.
                    Err(_) if is_removed => {}
                    Err(other) => {
                        let folders = [other.0, number].map(|folder| roots[folder].clone());
                        return Err(DataFoldersError::Twice { name, folders });
                    }
                }
            }
        }
        let held = roots.iter().map(|root| {
            let held = HeldFolder::open(root);
            held.map_err(|error| failed("open", root, &error))
        });
        let held = held.collect::<Result<_, _>>()?;
        let in_use = match roots.first() {
            Some(main) => folders_in_use(main)?,
            None => FoldersInUse::new(),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                roots,
                held,
                directories,
                placement: Mutex::new(placement),
                in_use: Mutex::new(in_use),
                moves: Mutex::default(),
            }),
        })
    }

    /// All of them, the one with the metadata first.
    #[must_use]
    pub fn roots(&self) -> &[PathBuf] {
        &self.shared.roots
    }

    /// The folder with the metadata and the write-ahead logs.
    pub(crate) fn main(&self) -> &Path {
        self.root(FolderNumber::MAIN)
    }

    pub(crate) fn root(&self, folder: FolderNumber) -> &Path {
        &self.shared.roots[folder.0]
    }

    /// Which data folder a partition's folder lies in. One of which nothing was written yet but the
    /// log lies nowhere, and gets its place by this: what is told of it stays true.
    #[must_use]
    pub fn place(&self, name: &str) -> FolderNumber {
        self.placement().place(name)
    }

    /// Where a relative path leads.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        if relative.is_empty() {
            return self.main().to_owned();
        }
        self.root_of(relative).join(relative)
    }

    /// The data folder in which a relative path lies.
    fn root_of(&self, relative: &str) -> &Path {
        if self.roots().len() == 1 {
            return self.main();
        }
        let folder = self.placement().of(first(relative));
        self.root(folder.unwrap_or(FolderNumber::MAIN))
    }

    /// Makes a folder: a partition's where it belongs, whose data folder is noted as in use. Blocks:
    /// for the first partition in a data folder the device is waited for.
    ///
    /// # Errors
    /// It was not made; also where the data folder is not the one any more that it was at the start.
    pub(crate) fn create(&self, relative: &str) -> io::Result<()> {
        if !is_placed(relative) {
            return disk::create_dir_all(self.path(relative));
        }
        let folder = self.placement().place(relative);
        self.use_folder(folder)?;
        self.create_in(folder, relative)
    }

    /// Makes a folder in a data folder, which must be the one that it was at the start.
    pub(crate) fn create_in(&self, folder: FolderNumber, name: &str) -> io::Result<()> {
        match self.shared.held.get(folder.0) {
            Some(held) => held.create_dir(name),
            None => disk::create_dir_all(self.root(folder).join(name)),
        }
    }

    /// A partition's folder lies elsewhere from now on; false if it was removed meanwhile.
    pub(crate) fn moved(&self, name: &str, to: FolderNumber) -> bool {
        self.placement().moved(name, to)
    }

    /// Has a partition's files lie in another data folder. True if a move of them is to be begun:
    /// one that is under way learns of it.
    pub(crate) fn wish(&self, name: &str, to: FolderNumber) -> bool {
        let mut moves = self.moves();
        match moves.get_mut(name) {
            Some(moving) => {
                moving.to = to;
                false
            }
            None if self.placement().place(name) == to => false,
            None => {
                moves.insert(name.to_owned(), Moving::to(to));
                true
            }
        }
    }

    /// Where the files are to go, if they do not lie there; else nothing is under way any more.
    pub(crate) fn wished(&self, name: &str) -> Option<FolderNumber> {
        let mut moves = self.moves();
        let to = moves.get(name)?.to;
        if self.placement().place(name) != to {
            return Some(to);
        }
        moves.remove(name);
        None
    }

    /// A move has come so far.
    pub(crate) fn note_move(&self, name: &str, bytes: u64, end: Offset) {
        if let Some(moving) = self.moves().get_mut(name) {
            (moving.bytes, moving.end) = (bytes, end);
        }
    }

    /// A move is over, unless another one is wished for by now; true if it is.
    pub(crate) fn end_move(&self, name: &str, to: FolderNumber) -> bool {
        let mut moves = self.moves();
        let is_over = moves.get(name).is_none_or(|moving| moving.to == to);
        if is_over {
            moves.remove(name);
        }
        is_over
    }

    /// The partitions' folders that are on their way to other data folders.
    #[must_use]
    pub fn moving(&self) -> BTreeMap<String, Moving> {
        self.moves().clone()
    }

    fn moves(&self) -> MutexGuard<'_, BTreeMap<String, Moving>> {
        let moves = self.shared.moves.lock();
        moves.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn use_folder(&self, folder: FolderNumber) -> io::Result<()> {
        let Some(&directory) = self.shared.directories.get(folder.0) else {
            return Ok(());
        };
        let mut in_use = self.in_use();
        if folder == FolderNumber::MAIN || in_use.contains_key(&directory) {
            return Ok(());
        }
        let mut grown = in_use.clone();
        grown.insert(directory, self.in_use_at(folder));
        self.save_in_use(&grown)?;
        *in_use = grown;
        Ok(())
    }

    fn in_use_at(&self, folder: FolderNumber) -> FolderInUse {
        FolderInUse {
            path: self.root(folder).display().to_string(),
            is_lost: false,
        }
    }

    /// True if somebody said that a folder in which partitions lay is lost for ever.
    pub(crate) fn is_any_lost(&self) -> bool {
        self.in_use().values().any(|folder| folder.is_lost)
    }

    fn save_in_use(&self, in_use: &FoldersInUse) -> io::Result<()> {
        let text = segment::format_folders_in_use(in_use);
        disk::write_atomically(self.main().join(FOLDERS_IN_USE_FILE), text.as_bytes())
    }

    /// A partition's folder is gone, or has another name; it may be back after a power cut.
    /// None if it lay nowhere.
    pub(crate) fn leave(&self, name: &str) -> Option<Removal> {
        self.placement().leave(name)
    }

    /// Waits until a partition's folder that is gone stays so, and lets its name go elsewhere.
    pub(crate) fn forget(&self, name: &str, removal: Removal) -> io::Result<()> {
        if self.roots().len() > 1 {
            self.flush_names([name].into_iter())?;
        }
        self.placement().forget(name, removal);
        Ok(())
    }

    /// Makes the names of partitions' folders durable, or that they are gone. Blocks.
    pub(crate) fn flush_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let placement = self.placement();
        let folders = names.map(|name| placement.of(name).unwrap_or(FolderNumber::MAIN));
        let folders: BTreeSet<FolderNumber> = folders.collect();
        drop(placement);
        folders
            .into_iter()
            .try_for_each(|folder| self.flush(folder))
    }

    pub(crate) fn flush(&self, folder: FolderNumber) -> io::Result<()> {
        match self.shared.held.get(folder.0) {
            Some(held) => held.flush(),
            None => disk::sync_dir(self.root(folder)),
        }
    }

    /// Lets go of the names that are gone, once that is durable, and says which folders are in use:
    /// the end of a start's recovery.
    pub(crate) fn settle(&self) -> Result<(), StorageError> {
        if self.roots().len() > 1 {
            for (folder, root) in self.roots().iter().enumerate() {
                let flushed = self.flush(FolderNumber(folder));
                flushed.map_err(|error| failed("flush", root, &error))?;
            }
        }
        let mut placement = self.placement();
        placement.forget_all();
        let folders = self.shared.directories.iter().enumerate().skip(1);
        let used = folders.filter(|&(folder, _)| placement.count(FolderNumber(folder)) > 0);
        let used: FoldersInUse = used
            .map(|(folder, &directory)| (directory, self.in_use_at(FolderNumber(folder))))
            .collect();
        drop(placement);
        let mut in_use = self.in_use();
        if *in_use != used {
            let path = self.main().join(FOLDERS_IN_USE_FILE);
            self.save_in_use(&used)
                .map_err(|error| failed("replace", &path, &error))?;
            *in_use = used;
        }
        Ok(())
    }

    /// Names of partitions' folders that do not lie in the first.
    pub(crate) fn elsewhere(&self) -> Vec<String> {
        let placement = self.placement();
        placement.elsewhere().map(str::to_owned).collect()
    }

    fn placement(&self) -> MutexGuard<'_, Placement> {
        let placement = self.shared.placement.lock();
        placement.unwrap_or_else(PoisonError::into_inner)
    }

    fn in_use(&self) -> MutexGuard<'_, FoldersInUse> {
        let in_use = self.shared.in_use.lock();
        in_use.unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if something of this name, beside the metadata's log, may lie in any data folder.
fn is_placed(name: &str) -> bool {
    name != METADATA_FOLDER && parse_partition_folder(name).is_some()
}

/// The name that a relative path begins with.
fn first(relative: &str) -> &str {
    relative.split_once('/').map_or(relative, |(name, _)| name)
}

/// The file systems of the data folders, for flushes of everything.
#[derive(Debug)]
pub(crate) struct FileSystems(Vec<FileSystem>);

impl FileSystems {
    /// Opened before anything is written, they are told every error of writing back.
    pub(crate) fn of(folders: &DataFolders) -> Result<Self, StorageError> {
        let opened = folders.roots().iter().map(|root| {
            let opened = FileSystem::of(root);
            opened.map_err(|error| failed("open", root, &error))
        });
        opened.collect::<Result<_, _>>().map(Self)
    }

    /// Makes everything written so far durable. Blocks.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match &self.0[..] {
            [one] => one.flush(),
            all => disk::together(all, FileSystem::flush).map_err(|(_, error)| error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (tempfile::TempDir, Vec<(PathBuf, DirectoryId)>) {
        let root = tempfile::tempdir().expect("a folder");
        let folders = [("a", 1), ("b", 2)].map(|(name, id)| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.join("klamm")).expect("made");
            (path, DirectoryId([id; 16]))
        });
        (root, folders.into())
    }

    fn make(folders: &DataFolders, name: &str) -> PathBuf {
        folders.create(name).expect("made");
        folders.path(name)
    }

    #[test]
    fn partitions_are_spread_and_found_again_and_all_else_stays_in_the_first_folder() {
        let (_root, paths) = two();
        let folders = DataFolders::open(paths.clone()).expect("open");
        let (a, b) = (&paths[0].0, &paths[1].0);
        let made = ["t-0", "t-1", "t-2", METADATA_FOLDER].map(|name| make(&folders, name));
        let there = [
            a.join("t-0"),
            b.join("t-1"),
            a.join("t-2"),
            a.join(METADATA_FOLDER),
        ];
        assert_eq!(made, there);
        assert_eq!(folders.path("klamm/wal-0/7"), a.join("klamm/wal-0/7"));
        let again = DataFolders::open(paths.clone()).expect("open");
        assert_eq!(again.path("t-1/0.log"), b.join("t-1/0.log"));
        assert_eq!(again.elsewhere(), ["t-1"]);
        let in_use = folders_in_use(a).expect("written");
        assert_eq!(in_use.keys().collect::<Vec<_>>(), [&paths[1].1]);
    }

    #[test]
    fn nothing_is_made_where_a_data_folder_is_not_the_one_any_more_that_it_was() {
        let (root, paths) = two();
        let folders = DataFolders::open(paths.clone()).expect("open");
        make(&folders, "t-0");
        let b = &paths[1].0;
        // As when a disk is unmounted while it is served from.
        std::fs::rename(b, root.path().join("away")).expect("moved");
        for is_there in [false, true] {
            if is_there {
                std::fs::create_dir(b).expect("made");
            }
            let error = folders.create("t-1").expect_err("not the same");
            assert_ne!(error.kind(), io::ErrorKind::NotFound, "that passes");
            assert!(
                error.to_string().contains("is its disk mounted?"),
                "{error}"
            );
            let found = std::fs::read_dir(b).map_or(0, Iterator::count);
            assert_eq!(found, 0, "nothing is made in its place");
        }
        std::fs::remove_dir(b).expect("removed");
        std::fs::rename(root.path().join("away"), b).expect("moved");
        make(&folders, "t-1");
    }

    #[test]
    fn a_folder_is_in_use_as_long_as_partitions_lie_in_it() {
        let (_root, paths) = two();
        let folders = DataFolders::open(paths.clone()).expect("open");
        make(&folders, "t-0");
        let gone = make(&folders, "t-1");
        std::fs::remove_dir(gone).expect("removed");
        let removal = folders.leave("t-1").expect("it lay there");
        assert_eq!(folders.place("t-1"), FolderNumber(1), "not durable yet");
        folders.forget("t-1", removal).expect("no error");
        let removal = folders.leave("t-1").expect("it was placed again");
        folders.forget("t-1", removal).expect("no error");
        assert_eq!(folders.leave("t-1"), None, "it lies nowhere");
        let again = DataFolders::open(paths.clone()).expect("open");
        again.settle().expect("no error");
        let in_use = folders_in_use(&paths[0].0).expect("written");
        assert_eq!(in_use, FoldersInUse::new());
    }

    #[test]
    fn a_partition_that_lies_in_two_folders_is_told_and_one_that_is_deleted_is_not() {
        let (_root, paths) = two();
        for (path, _) in &paths {
            std::fs::create_dir(path.join("t-0.18c-1-delete")).expect("made");
        }
        DataFolders::open(paths.clone()).expect("open");
        for (path, _) in &paths {
            std::fs::create_dir(path.join("t-0")).expect("made");
        }
        let error = DataFolders::open(paths.clone()).expect_err("twice");
        let text = error.to_string();
        for (path, _) in &paths {
            assert!(text.contains(&path.display().to_string()), "{text}");
        }
    }
}
