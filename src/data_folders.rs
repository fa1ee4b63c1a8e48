//! Whose the data folders are: which of them keeps the metadata, whether they belong together and to
//! this node, and whether one is missing. Everything is judged before anything is written.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use klamm_model::{ClusterId, NodeId};
use klamm_os::disk::{self, FolderLock, LockError};
use klamm_os::random;
use klamm_shard::api::segment::{
    DirectoryId, META_PROPERTIES_FILE, MetaProperties, is_partition_folder,
};
use klamm_shard::api::{BASE_CHECKPOINT, TAKEOVER_MARK};
use klamm_shard::data_folders::{DataFolders, FOLDERS_IN_USE_FILE, folders_in_use};

use crate::startup_report::StartProblem;

/// What Apache Kafka writes into its data folders, beside the folders of partitions.
const KAFKAS_FILES: [&str; 5] = [
    ".kafka_cleanshutdown",
    "bootstrap.checkpoint",
    "log-start-offset-checkpoint",
    "recovery-point-offset-checkpoint",
    "replication-offset-checkpoint",
];

/// What was found in a data folder.
#[derive(Clone, Debug, Default)]
struct Found {
    path: PathBuf,
    /// Whose it says that it is, if it says anything.
    meta: Option<MetaProperties>,
    /// It has the checkpoint that every start leaves behind: the metadata lies here.
    has_base: bool,
    /// A takeover was begun here and not finished.
    is_underway: bool,
    has_kafkas_files: bool,
    /// Something lies in the folder of a partition.
    has_partitions: bool,
}

/// The data folders of a start, locked, the one with the metadata first.
pub(crate) struct GuardedFolders {
    node: NodeId,
    found: Vec<Found>,
    locks: BTreeMap<PathBuf, FolderLock>,
}

impl GuardedFolders {
    /// Locks the folders that were used before, and judges all. Writes nothing but locks: a folder
    /// that is new is made only where the ports are free, so that a start which cannot listen leaves
    /// nothing behind.
    pub(crate) fn look(folders: &[PathBuf], node: NodeId) -> Result<Self, StartProblem> {
        check_apart(folders)?;
        let mut locks = BTreeMap::new();
        for folder in folders {
            if folder.join(META_PROPERTIES_FILE).exists() {
                locks.insert(folder.clone(), lock(folder)?);
            }
        }
        let found = folders.iter().map(|folder| look_at(folder));
        let mut found: Vec<Found> = found.collect::<Result<_, _>>()?;
        let main = judge(&found, node)?;
        let main = found.remove(main);
        found.insert(0, main);
        check_none_is_missing(&found)?;
        Ok(Self { node, found, locks })
    }

    /// The paths, the one with the metadata first.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.found.iter().map(|one| one.path.clone()).collect()
    }

    /// Makes and locks those that are new, and makes them this node's. Gives whose the folder with
    /// the metadata is, and the locks, which last as long as they are held.
    pub(crate) fn take(
        mut self,
        seed: u128,
    ) -> Result<(MetaProperties, DataFolders, Vec<FolderLock>), StartProblem> {
        for one in self.found.iter().filter(|one| one.meta.is_none()) {
            disk::create_dir_all_durably(&one.path).map_err(unusable(&one.path))?;
        }
        check_apart(&self.paths())?;
        for one in &self.found {
            if !self.locks.contains_key(&one.path) {
                self.locks.insert(one.path.clone(), lock(&one.path)?);
            }
        }
        let mut directories = Vec::new();
        let mut main: Option<MetaProperties> = None;
        for one in &self.found {
            let meta = match (one.meta, main) {
                (Some(meta), _) => meta,
                (None, None) => {
                    let node_bits = u128::from(self.node.0.unsigned_abs());
                    let meta = MetaProperties {
                        cluster: ClusterId(uuid(seed)),
                        node: self.node,
                        directory: DirectoryId(uuid(seed.rotate_left(64) ^ node_bits)),
                        metadata: None,
                    };
                    write_meta(&one.path, &meta)?
                }
                (None, Some(main)) => {
                    let drawn = random::bits().map_err(|error| StartProblem::Other {
                        attempt: "draw randomness".to_owned(),
                        reason: error.to_string(),
                    })?;
                    let meta = MetaProperties {
                        directory: DirectoryId(uuid(drawn)),
                        metadata: Some(main.directory),
                        ..main
                    };
                    write_meta(&one.path, &meta)?
                }
            };
            main.get_or_insert(meta);
            directories.push((one.path.clone(), meta.directory));
        }
        let main = main.ok_or_else(|| StartProblem::Other {
            attempt: "open the data folders".to_owned(),
            reason: "none is named".to_owned(),
        })?;
        let folders = DataFolders::open(directories).map_err(|error| StartProblem::Other {
            attempt: "open the data folders".to_owned(),
            reason: error.to_string(),
        })?;
        Ok((main, folders, self.locks.into_values().collect()))
    }
}

fn write_meta(folder: &Path, meta: &MetaProperties) -> Result<MetaProperties, StartProblem> {
    let path = folder.join(META_PROPERTIES_FILE);
    disk::write_atomically(path, meta.format().as_bytes()).map_err(unusable(folder))?;
    Ok(*meta)
}

fn unusable(folder: &Path) -> impl Fn(io::Error) -> StartProblem {
    let path = folder.to_owned();
    move |error| StartProblem::DataDir {
        path: path.clone(),
        error,
    }
}

fn lock(folder: &Path) -> Result<FolderLock, StartProblem> {
    disk::lock_folder(folder).map_err(|error| match error {
        LockError::Held { .. } => StartProblem::DataDirInUse {
            path: folder.to_owned(),
        },
        LockError::Failed { error, .. } => unusable(folder)(error),
    })
}

/// Refuses folders that are the same or lie in each other, by whatever names: their partitions would
/// be found twice. What is not there yet is passed over.
fn check_apart(folders: &[PathBuf]) -> Result<(), StartProblem> {
    let real = folders.iter().map(|folder| folder.canonicalize().ok());
    let real: Vec<_> = folders.iter().zip(real).collect();
    for (number, (inner, inside)) in real.iter().enumerate() {
        for (other, (outer, outside)) in real.iter().enumerate() {
            let (Some(inside), Some(outside)) = (inside, outside) else {
                continue;
            };
            if number != other && inside.starts_with(outside) {
                return Err(StartProblem::DataDirsOverlap {
                    inner: (*inner).clone(),
                    outer: (*outer).clone(),
                });
            }
        }
    }
    Ok(())
}

fn look_at(folder: &Path) -> Result<Found, StartProblem> {
    let mut found = Found {
        path: folder.to_owned(),
        ..Found::default()
    };
    let names = match disk::list(folder) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(unusable(folder)(error)),
    };
    let is_there = |name: &str| match disk::file_len(folder.join(name)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unusable(folder)(error)),
    };
    found.is_underway = is_there(TAKEOVER_MARK)?;
    found.has_base = is_there(BASE_CHECKPOINT)?;
    for name in &names {
        found.has_kafkas_files |= KAFKAS_FILES.contains(&name.as_str());
        // Ours is empty until the first checkpoint is written.
        found.has_partitions |= is_partition_folder(name)
            && disk::list(folder.join(name)).is_ok_and(|files| !files.is_empty());
    }
    found.meta = read_meta(folder)?;
    Ok(found)
}

fn read_meta(folder: &Path) -> Result<Option<MetaProperties>, StartProblem> {
    let path = folder.join(META_PROPERTIES_FILE);
    let damaged = |found| StartProblem::MetaProperties {
        path: path.clone(),
        found,
    };
    match disk::read_to_string(&path, 64 << 10) {
        Ok(text) => {
            let meta = MetaProperties::parse(&text);
            meta.map(Some).map_err(|error| damaged(error.to_string()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(damaged(error.to_string())),
        Err(error) => Err(unusable(folder)(error)),
    }
}

/// Which of the folders keeps the metadata, if they are this node's and belong together.
///
/// A folder that Apache Kafka wrote, all of it or one of several, is refused: a start would take its
/// metadata for the void rest of ours, and every partition for one of a topic that is no more. Our
/// own has a checkpoint before anything is served from it.
fn judge(found: &[Found], node: NodeId) -> Result<usize, StartProblem> {
    for one in found {
        let is_kafkas = one.has_kafkas_files && !one.has_base;
        if one.is_underway || is_kafkas {
            return Err(of_kafka(one));
        }
    }
    let main = main_of(found)?;
    let others = || found.iter().enumerate().filter(|&(place, _)| place != main);
    let keeper = &found[main];
    let foreign = |one: &Found, found: String| {
        Err(StartProblem::DataDirForeign {
            path: one.path.clone(),
            found,
        })
    };
    for one in found {
        if let Some(meta) = one.meta
            && meta.node != node
        {
            let found = format!(
                "it belongs to node.id={}, this node has node.id={node}",
                meta.node
            );
            return foreign(one, found);
        }
    }
    if !keeper.has_base
        && let Some(one) = found.iter().find(|one| one.has_partitions)
    {
        return Err(of_kafka(one));
    }
    for (place, one) in others() {
        let Some(meta) = one.meta else {
            if one.has_partitions {
                let found = "partitions lie in it, and no meta.properties says whose they are";
                return foreign(one, found.to_owned());
            }
            continue;
        };
        let Some(main) = keeper.meta else {
            let found = format!(
                "it belongs to cluster {}, and the folder that keeps the metadata is new",
                meta.cluster
            );
            return foreign(one, found);
        };
        if meta.cluster != main.cluster {
            let found = format!(
                "it belongs to cluster {}, the metadata in {} to cluster {}",
                meta.cluster,
                keeper.path.display(),
                main.cluster
            );
            return foreign(one, found);
        }
        if let Some(metadata) = meta.metadata.filter(|&id| id != main.directory) {
            let found = format!(
                "its metadata is in the folder with directory.id={metadata}, and {} has \
                 directory.id={}",
                keeper.path.display(),
                main.directory
            );
            return foreign(one, found);
        }
        let same = |&(_, other): &(usize, &Found)| {
            let id = other.meta.map(|other| other.directory);
            id == Some(meta.directory)
        };
        let before = found.iter().enumerate().take(place);
        if let Some((_, other)) = before.into_iter().find(same) {
            let found = format!(
                "it has the directory.id of {}: one is a copy of the other",
                other.path.display()
            );
            return foreign(one, found);
        }
    }
    Ok(main)
}

/// The folder with the metadata, wherever it stands in the list; of folders that were never served
/// the one that a start began with, or the first.
fn main_of(found: &[Found]) -> Result<usize, StartProblem> {
    let mut served = (0..found.len()).filter(|&place| found[place].has_base);
    if let Some(main) = served.next() {
        return match served.next() {
            None => Ok(main),
            Some(other) => Err(StartProblem::DataDirForeign {
                path: found[other].path.clone(),
                found: format!(
                    "it keeps metadata of its own, as {} does: they were served apart",
                    found[main].path.display()
                ),
            }),
        };
    }
    let metas = || found.iter().filter_map(|one| Some((one, one.meta?)));
    if let Some((one, metadata)) = metas().find_map(|(one, meta)| Some((one, meta.metadata?))) {
        let is_named = |other: &Found| other.meta.is_some_and(|meta| meta.directory == metadata);
        return found.iter().position(is_named).ok_or_else(|| {
            let path = one.path.clone();
            let found = format!(
                "it keeps partitions only; their metadata is in the folder with \
                 directory.id={metadata}, which log.dirs does not name, or which is not mounted"
            );
            StartProblem::DataDirForeign { path, found }
        });
    }
    let begun = found.iter().position(|one| one.meta.is_some());
    Ok(begun.unwrap_or(0))
}

fn of_kafka(one: &Found) -> StartProblem {
    StartProblem::DataDirOfKafka {
        path: one.path.clone(),
        is_underway: one.is_underway,
    }
}

/// Refuses a start without a folder in which partitions lie: they would come up empty.
fn check_none_is_missing(found: &[Found]) -> Result<(), StartProblem> {
    let Some(main) = found.first() else {
        return Ok(());
    };
    let in_use = folders_in_use(&main.path).map_err(|error| StartProblem::Other {
        attempt: "read which data folders are in use".to_owned(),
        reason: error.to_string(),
    })?;
    for (directory, folder) in in_use.into_iter().filter(|(_, folder)| !folder.is_lost) {
        let is_here = |one: &Found| one.meta.is_some_and(|meta| meta.directory == directory);
        if found.iter().any(is_here) {
            continue;
        }
        let path = PathBuf::from(folder.path);
        let is_named = found.iter().any(|one| shown(&one.path) == shown(&path));
        return Err(StartProblem::DataDirMissing {
            path,
            directory: directory.to_string(),
            is_named,
            list: main.path.join(FOLDERS_IN_USE_FILE),
        });
    }
    Ok(())
}

/// A path as it is compared with one in the list of folders in use.
fn shown(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// These folders in the order of a start: first the one with the metadata, where there is one.
pub(crate) fn main_first(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_main = |folder: &PathBuf| folder.join(BASE_CHECKPOINT).exists();
    if let Some(main) = folders.iter().position(is_main) {
        folders[..=main].rotate_right(1);
    }
    folders
}

/// Random bits in the form of an id (RFC 9562, version 4).
fn uuid(bits: u128) -> [u8; 16] {
    let version = bits & !(0xf << 76) | 0x4 << 76;
    (version & !(0x3 << 62) | 0x2 << 62).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn meta(cluster: u8, directory: u8, metadata: Option<u8>) -> Option<MetaProperties> {
        Some(MetaProperties {
            cluster: ClusterId([cluster; 16]),
            node: NODE,
            directory: DirectoryId([directory; 16]),
            metadata: metadata.map(|id| DirectoryId([id; 16])),
        })
    }

    fn empty(path: &str) -> Found {
        Found {
            path: path.into(),
            ..Found::default()
        }
    }

    fn main(path: &str) -> Found {
        Found {
            meta: meta(1, 1, None),
            has_base: true,
            has_partitions: true,
            ..empty(path)
        }
    }

    fn beside(path: &str, directory: u8) -> Found {
        Found {
            meta: meta(1, directory, Some(1)),
            has_partitions: true,
            ..empty(path)
        }
    }

    #[track_caller]
    fn refused(found: &[Found], words: &[&str]) {
        let text = judge(found, NODE).expect_err("refused").to_string();
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn the_metadata_is_found_wherever_its_folder_stands_in_the_list() {
        assert_eq!(judge(&[empty("/a"), empty("/b")], NODE).ok(), Some(0));
        let folders = [beside("/b", 2), empty("/c"), main("/a")];
        assert_eq!(judge(&folders, NODE).ok(), Some(2));
        let begun = Found {
            meta: meta(1, 1, None),
            ..empty("/a")
        };
        assert_eq!(judge(&[empty("/b"), begun.clone()], NODE).ok(), Some(1));
        let beside_begun = Found {
            has_partitions: false,
            ..beside("/b", 2)
        };
        assert_eq!(judge(&[beside_begun, begun], NODE).ok(), Some(1));
    }

    #[test]
    fn folders_that_do_not_belong_together_are_refused() {
        refused(
            &[beside("/b", 2), empty("/a")],
            &["/b", "AQEBAQEBAQEBAQEBAQEBAQ", "not mounted"],
        );
        refused(&[main("/a"), main("/b")], &["/b", "served apart"]);
        refused(
            &[main("/a"), beside("/b", 2), beside("/c", 2)],
            &["/c", "/b", "copy"],
        );
        let other_cluster = Found {
            meta: meta(3, 4, None),
            ..empty("/b")
        };
        refused(&[main("/a"), other_cluster], &["/b", "cluster"]);
        let of_another = Found {
            meta: meta(1, 2, Some(9)),
            ..empty("/b")
        };
        refused(
            &[main("/a"), of_another],
            &["/b", "CQkJCQkJCQkJCQkJCQkJCQ", "/a has"],
        );
        let unknown = Found {
            has_partitions: true,
            ..empty("/b")
        };
        refused(&[main("/a"), unknown.clone()], &["/b", "meta.properties"]);
        refused(&[unknown], &["Apache Kafka's"]);
        let kafkas = Found {
            has_kafkas_files: true,
            ..empty("/k")
        };
        refused(&[main("/a"), kafkas], &["/k", "Apache Kafka's"]);
        let text = judge(&[main("/a")], NodeId(2)).expect_err("another's");
        assert!(text.to_string().contains("node.id=1"));
    }

    #[test]
    fn the_folder_with_the_metadata_comes_first_wherever_it_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let named = ["c", "b", "a"].map(|name| root.path().join(name));
        assert_eq!(main_first(named.to_vec()), named, "none was served");
        std::fs::create_dir_all(named[2].join("klamm")).expect("made");
        std::fs::write(named[2].join(BASE_CHECKPOINT), b"").expect("written");
        let [c, b, a] = named.clone();
        assert_eq!(main_first(named.to_vec()), [a, c, b]);
    }

    #[test]
    fn folders_that_lie_in_each_other_are_refused_by_whatever_name() {
        let root = tempfile::tempdir().expect("a folder");
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        std::fs::create_dir_all(a.join("inner")).expect("made");
        std::os::unix::fs::symlink(&a, &b).expect("made");
        let check = |folders: &[&PathBuf]| {
            let folders: Vec<_> = folders.iter().map(|&path| path.clone()).collect();
            check_apart(&folders)
        };
        assert!(check(&[&a, &root.path().join("absent")]).is_ok());
        for other in [b.clone(), a.join("inner"), b.join("inner")] {
            let text = check(&[&a, &other]).expect_err("refused").to_string();
            assert!(text.contains(&other.display().to_string()), "{text}");
        }
    }
}
