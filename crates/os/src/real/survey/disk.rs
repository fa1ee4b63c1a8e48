//! What lies under a folder: its file system, how that is mounted, and the disks below.

use std::{
    fs::OpenOptions,
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::tree::{Reading, Tree, Unread};
use crate::real::{
    disk::{Space, free_space},
    sys,
};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: String,
    /// Its device, as `major:minor`.
    pub device: String,
    /// Its type, for example `ext4`.
    pub kind: String,
    /// Options of the mount and of the file system.
    pub options: Vec<String>,
}

/// Whether a disk keeps written bytes in memory that loses them with its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCache {
    /// It does (`write back`): a flush has to reach it.
    Volatile,
    /// It does not (`write through`), or says so.
    Safe,
}

/// A disk below a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its name in /sys/block.
    pub name: String,
    /// The chosen scheduler.
    pub scheduler: Reading<String>,
    /// Its write cache.
    pub cache: Reading<WriteCache>,
}

/// Whether files of a folder can be written past the page cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectAccess {
    /// They can; memory and positions must be multiples of this many bytes, if the kernel says.
    Works(Option<usize>),
    /// The file system takes them through the page cache only.
    Refused,
    /// It could not be tried: this file system makes no files without a name.
    Untried(String),
    /// This user cannot write there.
    Unwritable(String),
    /// What is there is no folder.
    NoFolder,
}

/// A folder and what lies under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The folder, or the nearest one above it that exists.
    pub present: PathBuf,
    /// Whether it is the folder itself.
    pub is_there: bool,
    /// Its file system.
    pub mount: Reading<Mount>,
    /// The disks; empty where there is none, as in memory or over the network.
    pub disks: Vec<Disk>,
    /// Room.
    pub space: Reading<Space>,
    /// Whether its files can be written past the page cache.
    pub direct: DirectAccess,
}

impl Folder {
    pub(super) fn read(tree: &Tree, folder: &Path) -> Self {
        let present = nearest(folder);
        let mount = mount_of(tree, &present);
        let disks = mount
            .as_ref()
            .map(|mount| disks(tree, &mount.device))
            .unwrap_or_default();
        let space = free_space(&present)
            .map_err(|error| Unread::of(&present.display().to_string(), &error));
        Self {
            direct: direct_access(&present),
            is_there: folder.exists(),
            present,
            mount,
            disks,
            space,
        }
    }
}

/// The folder itself, resolved, or the nearest one above it that exists.
fn nearest(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let present = whole.ancestors().find_map(|path| path.canonicalize().ok());
    present.unwrap_or_else(|| PathBuf::from("/"))
}

/// The mount that a folder lies in: the longest one above it, the last one if several are mounted
/// over each other.
fn mount_of(tree: &Tree, folder: &Path) -> Reading<Mount> {
    const PLACE: &str = "/proc/self/mountinfo";
    let text = tree.text(PLACE)?;
    let above = |mount: &Mount| folder.starts_with(&mount.point);
    let mounts = text.lines().filter_map(parse_mount).filter(above);
    let found = mounts.max_by_key(|mount| mount.point.len());
    found.ok_or_else(|| Unread::Failed {
        place: PLACE.to_owned(),
        why: format!("it has no mount above {}", folder.display()),
    })
}

/// A line as proc(5) describes it: `27 1 254:0 / /data rw,noatime shared:1 - ext4 /dev/sda rw`.
fn parse_mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let front: Vec<&str> = front.split(' ').collect();
    let back: Vec<&str> = back.split(' ').collect();
    let both = [front.get(5)?, back.get(2)?];
    let options = both.iter().flat_map(|options| options.split(','));
    Some(Mount {
        point: unescape(front.get(4)?),
        device: (*front.get(2)?).to_owned(),
        kind: (*back.first()?).to_owned(),
        options: options.map(str::to_owned).collect(),
    })
}

/// Undoes the kernel's octal form of blanks and backslashes.
fn unescape(text: &str) -> String {
    let forms = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let replace = |text: String, (form, plain): (&str, &str)| text.replace(form, plain);
    forms.into_iter().fold(text.to_owned(), replace)
}

/// Most devices that are looked at below one file system.
const DISKS_MAX: usize = 64;

/// The disks below a device: of a partition its disk, of a device made of others those.
fn disks(tree: &Tree, device: &str) -> Vec<Disk> {
    let Ok(start) = tree
        .path(&format!("/sys/dev/block/{device}"))
        .canonicalize()
    else {
        return Vec::new();
    };
    let (mut waiting, mut found) = (vec![start], Vec::new());
    let mut seen = 0;
    while let Some(folder) = waiting.pop() {
        seen += 1;
        if seen > DISKS_MAX {
            break;
        }
        let below = folder.join("slaves").read_dir();
        let below = below.into_iter().flatten().flatten();
        let below: Vec<_> = below
            .filter_map(|entry| entry.path().canonicalize().ok())
            .collect();
        match folder.parent() {
            Some(whole) if folder.join("partition").exists() => waiting.push(whole.to_owned()),
            _ if below.is_empty() => found.extend(disk(&folder)),
            _ => waiting.extend(below),
        }
    }
    found.sort_by(|one: &Disk, other| one.name.cmp(&other.name));
    found.dedup();
    found
}

fn disk(folder: &Path) -> Option<Disk> {
    let name = folder.file_name()?.to_str()?.to_owned();
    // Errors name the place as an operator finds it.
    let queue = Tree::below(folder.join("queue"));
    let at = |unread: Unread, file: &str| {
        let place = format!("/sys/block/{name}/queue/{file}");
        match unread {
            Unread::Absent { .. } => Unread::Absent { place },
            Unread::Failed { why, .. } => Unread::Failed { place, why },
        }
    };
    let cache = queue.text("write_cache").and_then(|text| {
        let words = text.trim();
        match words {
            "write back" => Ok(WriteCache::Volatile),
            "write through" => Ok(WriteCache::Safe),
            _ => Err(Unread::unexpected("write_cache", words)),
        }
    });
    Some(Disk {
        scheduler: queue
            .choice("scheduler")
            .map_err(|unread| at(unread, "scheduler")),
        cache: cache.map_err(|unread| at(unread, "write_cache")),
        name,
    })
}

/// Tries it with a file that has no name and leaves nothing behind.
fn direct_access(folder: &Path) -> DirectAccess {
    let open = |flags: i32| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options.custom_flags(libc::O_TMPFILE | flags).open(folder)
    };
    let unwritable = [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ];
    match open(0) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return DirectAccess::NoFolder;
        }
        Err(error) if unwritable.contains(&error.kind()) => {
            return DirectAccess::Unwritable(error.to_string());
        }
        Err(error) => return DirectAccess::Untried(error.to_string()),
        Ok(_) => {}
    }
    match open(libc::O_DIRECT) {
        Ok(file) => DirectAccess::Works(sys::direct_memory_alignment(file.as_raw_fd())),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => DirectAccess::Refused,
        Err(error) => DirectAccess::Untried(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_the_options_of_both_sides() {
        let line = "27 1 254:0 / /my\\040data rw,noatime shared:1 - ext4 /dev/vda rw,data=journal";
        let mount = parse_mount(line).unwrap();
        assert_eq!(
            (
                mount.point.as_str(),
                mount.device.as_str(),
                mount.kind.as_str()
            ),
            ("/my data", "254:0", "ext4")
        );
        assert_eq!(mount.options, ["rw", "noatime", "rw", "data=journal"]);
        for line in [
            "",
            "27 1 254:0 / /x rw",
            "27 - ext4 a rw",
            "1 2 3 4 5 6 - ext4",
        ] {
            assert_eq!(parse_mount(line), None, "{line:?}");
        }
    }

    #[test]
    fn folder_that_is_not_there_yet_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let present = folder.path().canonicalize().unwrap();
        assert_eq!(nearest(&folder.path().join("a/b")), present);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let tree = Tree::default();
        for (path, is_there, direct) in [
            (file.join("below"), false, DirectAccess::NoFolder),
            (file, true, DirectAccess::NoFolder),
        ] {
            let found = Folder::read(&tree, &path);
            assert_eq!((found.is_there, found.direct), (is_there, direct));
        }
    }

    #[test]
    fn trying_direct_access_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let access = direct_access(folder.path());
        assert!(!matches!(access, DirectAccess::Unwritable(_)), "{access:?}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
