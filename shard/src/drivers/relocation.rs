//! A partition's files on their way to another data folder: copied beside what lies there, a piece at a
//! time, then put in its place. Blocks; side threads do it. See `mover.rs` for who decides when.
//!
//! ```text
//! b/t-0.1f-future  copied, flushed -> b/t-0.1f-moved -> a/t-0 is a/t-0.1f-delete -> b/t-0
//!                                     from here on a start finishes what is left to do
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use klamm_engine::placement::FolderNumber;
use klamm_model::{Offset, TopicId};
use klamm_os::disk::{self, OnceFile};
use klamm_records::segment::{self, SegmentFile};

use super::files::{Folders, unless_gone};

/// Ends the name of a folder that is being copied to, as in Kafka.
pub(crate) const FUTURE_SUFFIX: &str = "-future";

/// Ends the name of a folder that is complete, and takes the place of the partition's.
pub(crate) const MOVED_SUFFIX: &str = "-moved";

/// Bytes that are copied in one piece: with the block in which they begin, a huge page.
const PIECE_BYTES: u64 = (2 << 20) - BLOCK_BYTES;

const BLOCK_BYTES: u64 = disk::BLOCK_BYTES as u64;

/// How much is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What does not change any more, while the segment with this base is written to, so many bytes
    /// of which stay as they are.
    Settled(Offset, u64),
    /// Everything: nobody touches the files.
    All,
}

/// What was copied of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copied {
    /// Another file may get the same name.
    inode: u64,
    bytes: u64,
}

/// A copy under way.
#[derive(Debug)]
pub(crate) struct Copying {
    source: PathBuf,
    target: PathBuf,
    copied: BTreeMap<String, Copied>,
    /// Files to look at before the folder is listed again.
    queue: Vec<String>,
    unflushed: BTreeSet<String>,
    /// Offset after what is copied of segments, as far as their names tell.
    end: Offset,
}

impl Copying {
    /// Makes an empty folder for a copy.
    pub(crate) fn begin(
        folders: &Folders,
        name: &str,
        to: FolderNumber,
        id: u128,
    ) -> io::Result<Self> {
        let data = folders.data();
        data.use_folder(to)?;
        let target = format!("{name}.{id:032x}{FUTURE_SUFFIX}");
        data.create_in(to, &target)?;
        Ok(Self {
            source: folders.path(name),
            target: data.root(to).join(target),
            copied: BTreeMap::new(),
            queue: Vec::new(),
            unflushed: BTreeSet::new(),
            end: Offset::ZERO,
        })
    }

    /// Bytes copied so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.copied.values().map(|one| one.bytes).sum()
    }

    /// Everything before is copied, as far as the names of segments tell.
    pub(crate) const fn end(&self) -> Offset {
        self.end
    }

    /// Bytes that the partition's folder has now.
    pub(crate) fn source_bytes(&self) -> io::Result<u64> {
        let names = unless_gone(disk::list(&self.source))?.unwrap_or_default();
        let sizes = names
            .iter()
            .map(|name| disk::file_len(self.source.join(name)));
        sizes.map(|size| Ok(unless_gone(size)?.unwrap_or(0))).sum()
    }

    /// Copies a piece of a file that is not all there yet; how much that was. Nothing is left to copy
    /// where that is none.
    pub(crate) fn piece(&mut self, extent: Extent) -> io::Result<u64> {
        let mut is_listed = false;
        loop {
            let Some(name) = self.queue.pop() else {
                if std::mem::replace(&mut is_listed, true) {
                    return Ok(0);
                }
                self.queue = self.names()?;
                self.queue.reverse();
                continue;
            };
            let copied = self.piece_of(&name, extent)?;
            if copied > 0 {
                self.queue.push(name);
                return Ok(copied);
            }
            self.flush_file(&name)?;
        }
    }

    /// Files that go along, in their order.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = unless_gone(disk::list(&self.source))?.unwrap_or_default();
        names.retain(|name| {
            let is_left = [
                segment::REMOVED_SUFFIX,
                segment::CLEANED_SUFFIX,
                ".swap",
                ".tmp",
            ];
            !is_left.iter().any(|suffix| name.ends_with(suffix))
        });
        Ok(names)
    }

    fn piece_of(&mut self, name: &str, extent: Extent) -> io::Result<u64> {
        let Some((inode, length)) = unless_gone(disk::identity(self.source.join(name)))? else {
            return Ok(0);
        };
        let base = name
            .get(..20)
            .and_then(|base| base.parse().ok())
            .map(Offset);
        let is_log = base.is_some_and(|base| name == segment::segment_file(base, SegmentFile::Log));
        let limit = match (extent, base) {
            (Extent::All, _) => length,
            (Extent::Settled(newest, _), Some(base)) if base < newest => length,
            // Its last block is written again.
            (Extent::Settled(newest, bytes), Some(base)) if base == newest && is_log => {
                bytes.min(length) / BLOCK_BYTES * BLOCK_BYTES
            }
            _ => return Ok(0),
        };
        let known = self.copied.get(name).copied();
        let known = known.filter(|one| one.inode == inode && one.bytes <= length);
        let done = known.map_or(0, |one| one.bytes);
        if known.is_some() && done >= limit {
            if is_log && let Some(base) = base {
                self.end = self.end.max(base);
            }
            return Ok(0);
        }
        let at = done / BLOCK_BYTES * BLOCK_BYTES;
        let count = (limit - at).min(PIECE_BYTES);
        let bytes = disk::read_once(self.source.join(name), at, count as usize)?;
        if (bytes.len() as u64) < count {
            let reason = format!("{name} ends before byte {}", at + count);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        OnceFile::open(self.target.join(name))?.write_end(at, &bytes)?;
        self.unflushed.insert(name.to_owned());
        let bytes = at + count;
        self.copied.insert(name.to_owned(), Copied { inode, bytes });
        // A file without bytes is copied by being made.
        Ok(count.max(1))
    }

    fn flush_file(&mut self, name: &str) -> io::Result<()> {
        if self.unflushed.remove(name) {
            disk::sync_file(self.target.join(name))?;
        }
        Ok(())
    }

    /// Copies what is left, while nobody touches the files, and makes the copy durable.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.queue.clear();
        while self.piece(Extent::All)? > 0 {}
        let names: BTreeSet<String> = self.names()?.into_iter().collect();
        for name in disk::list(&self.target)? {
            if !names.contains(&name) {
                disk::remove_file(self.target.join(&name))?;
                self.copied.remove(&name);
            }
        }
        for name in &names {
            let found = disk::identity(self.source.join(name))?;
            let copied = self.copied.get(name).map(|one| (one.inode, one.bytes));
            let there = disk::file_len(self.target.join(name))?;
            if copied != Some(found) || there != found.1 {
                let reason = format!("{name} has {} bytes, its copy {there}", found.1);
                return Err(io::Error::other(reason));
            }
        }
        disk::sync_dir(&self.target)
    }

    /// Removes the copy.
    pub(crate) fn discard(&self) -> io::Result<()> {
        unless_gone(disk::remove_dir_all(&self.target)).map(drop)
    }

    /// Gives the complete copy the name by which a start knows it: from the flush that follows on,
    /// this is the partition. False, and nothing is changed, if the partition is gone.
    pub(crate) fn seal(
        &mut self,
        folders: &Folders,
        name: &str,
        topic: TopicId,
    ) -> io::Result<bool> {
        let sealed = with_suffix(&self.target, FUTURE_SUFFIX, MOVED_SUFFIX);
        let source = &self.source;
        let renamed = folders.enter(name, topic, |_| match source.is_dir() {
            true => disk::rename(&self.target, &sealed).map(Some),
            false => Ok(None),
        })?;
        let is_sealed = renamed.flatten().is_some();
        if is_sealed {
            self.target = sealed;
        }
        Ok(is_sealed)
    }

    /// Puts the sealed copy in the partition's place, durably; what is then to be deleted. Whatever
    /// ends the process in between, a start finishes it.
    pub(crate) fn replace(
        &self,
        folders: &Folders,
        name: &str,
        topic: TopicId,
        to: FolderNumber,
    ) -> io::Result<Vec<PathBuf>> {
        let data = folders.data();
        data.flush(to)?;
        let from = data.place(name);
        let aside = with_suffix(&self.source, "", &suffix_of(&self.target));
        let put_aside = folders.enter(name, topic, |_| {
            unless_gone(disk::rename(&self.source, &aside))
        })?;
        data.flush(from)?;
        let was_there = put_aside.flatten().is_some();
        if was_there && folders.settle_at(name, &self.target, to)? {
            data.flush(to)?;
            return Ok(vec![aside]);
        }
        // Dropped meanwhile.
        let sealed = with_suffix(&self.target, MOVED_SUFFIX, "-delete");
        disk::rename(&self.target, &sealed)?;
        data.flush(to)?;
        Ok(vec![aside, sealed])
    }
}

/// Finishes what an earlier life began: copies that were not complete are put aside to be deleted,
/// one that was takes the place of the partition's folder. May be cut short anywhere, and begun again.
///
/// # Errors
/// A folder cannot be read or changed.
pub(crate) fn finish_all(roots: &[PathBuf]) -> io::Result<()> {
    for root in roots {
        let mut is_changed = false;
        for copy in disk::list(root)? {
            let path = root.join(&copy);
            if copy.ends_with(FUTURE_SUFFIX) {
                disk::rename(&path, with_suffix(&path, FUTURE_SUFFIX, "-delete"))?;
                is_changed = true;
                continue;
            }
            let Some((name, _)) = copy
                .strip_suffix(MOVED_SUFFIX)
                .and_then(|rest| rest.rsplit_once('.'))
            else {
                continue;
            };
            for other in roots.iter().filter(|&other| other != root) {
                let old = other.join(name);
                if old.is_dir() {
                    disk::rename(&old, with_suffix(&old, "", &suffix_of(&path)))?;
                    disk::sync_dir(other)?;
                }
            }
            disk::rename(&path, root.join(name))?;
            is_changed = true;
        }
        if is_changed {
            disk::sync_dir(root)?;
        }
    }
    Ok(())
}

/// What the folder that a copy replaces is called before it is deleted, behind its name.
fn suffix_of(copy: &Path) -> String {
    let name = copy
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let number = name.rsplit_once('.').map_or("", |(_, rest)| rest);
    let number = number.split('-').next().unwrap_or_default();
    format!(".{number}-delete")
}

fn with_suffix(path: &Path, old: &str, new: &str) -> PathBuf {
    let text = path.to_str().unwrap_or_default();
    let text = text.strip_suffix(old).unwrap_or(text);
    PathBuf::from(format!("{text}{new}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data_folders::DataFolders;

    /// Two data folders with files at these places.
    fn two(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let root = tempfile::tempdir().expect("a folder");
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        let roots = ["a", "b"].map(|name| root.path().join(name));
        for root in &roots {
            fs::create_dir_all(root).expect("made");
        }
        (root, roots.into())
    }

    /// All files below a folder, with what is in them.
    fn all(root: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for data in ["a", "b"] {
            for folder in fs::read_dir(root.join(data)).expect("there").flatten() {
                for file in fs::read_dir(folder.path()).expect("there").flatten() {
                    let path = file.path();
                    let name = path.strip_prefix(root).expect("below").display();
                    let content = fs::read_to_string(&path).expect("text");
                    found.push((name.to_string(), content));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn wherever_a_move_was_cut_short_a_start_leaves_one_whole_partition() {
        const OLD: &str = "a/t-0/0.log";
        const ASIDE: &str = "a/t-0.1f-delete/0.log";
        const SEALED: &str = "b/t-0.1f-moved/0.log";
        const NEW: &str = "b/t-0/0.log";
        let cases: [(&[_], &[_]); 5] = [
            // The copy was not complete.
            (
                &[(OLD, "old"), ("b/t-0.1f-future/0.log", "ol")],
                &[(OLD, "old"), ("b/t-0.1f-delete/0.log", "ol")],
            ),
            (
                &[(OLD, "old"), (SEALED, "new")],
                &[(ASIDE, "old"), (NEW, "new")],
            ),
            (
                &[(ASIDE, "old"), (SEALED, "new")],
                &[(ASIDE, "old"), (NEW, "new")],
            ),
            (
                &[(ASIDE, "old"), (NEW, "new")],
                &[(ASIDE, "old"), (NEW, "new")],
            ),
            // Other partitions stay as they are.
            (&[("b/moved-0/0.log", "x")], &[("b/moved-0/0.log", "x")]),
        ];
        for (before, after) in cases {
            let (root, roots) = two(before);
            for _ in 0..2 {
                finish_all(&roots).expect("finished");
                let found = all(root.path());
                let found = found.iter().map(|(path, text)| (&path[..], &text[..]));
                assert!(
                    found.eq(after.iter().copied()),
                    "{before:?}: {:?}",
                    all(root.path())
                );
            }
        }
    }

    #[test]
    fn a_copy_follows_what_is_written_cut_and_made_anew_and_has_nothing_else() {
        let files = [
            ("a/t-0/00000000000000000000.log", "first"),
            ("a/t-0/00000000000000000000.index", "one"),
            ("a/t-0/00000000000000000007.log", "secondsecond"),
            ("a/t-0/00000000000000000003.log.deleted", "gone"),
            ("a/t-0/00000000000000000000.log.cleaned", "half"),
        ];
        let (root, roots) = two(&files);
        let opened = DataFolders::single(roots[0].clone());
        let folders = Folders::new(opened);
        let mut copying = Copying::begin(&folders, "t-0", FolderNumber::MAIN, 31).expect("begun");
        let settled = Extent::Settled(Offset(7), 6);
        while copying.piece(settled).expect("copied") > 0 {}
        assert_eq!(copying.bytes(), 8, "what is still written to waits");
        // Written on, replaced by a shorter one of the same name, and removed.
        let source = root.path().join("a/t-0");
        fs::write(source.join("new"), "1st").expect("written");
        fs::rename(source.join("new"), source.join("00000000000000000000.log")).expect("replaced");
        fs::remove_file(source.join("00000000000000000000.index")).expect("removed");
        fs::write(source.join("00000000000000000007.log"), "secondsecondthird").expect("written");
        copying.finish().expect("whole");
        let copy = all(root.path()).into_iter();
        let copy = copy.filter_map(|(path, text)| {
            let name = path.strip_prefix("a/t-0.0000000000000000000000000000001f-future/")?;
            Some((name.to_owned(), text))
        });
        let expected = [
            ("00000000000000000000.log", "1st"),
            ("00000000000000000007.log", "secondsecondthird"),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert!(copy.eq(expected));
        copying.discard().expect("removed");
        assert!(
            all(root.path())
                .iter()
                .all(|(path, _)| !path.contains("future"))
        );
    }
}
