//! A disk with the manners of a real one: writes lie in a cache until they are flushed, and names
//! until their folder is; a power cut keeps any part of what was not, a kill of the process all.
//!
//! ```text
//! write -> cache -- flush --> device        create, rename, remove -> cache -- flush_folder --> device
//! ```

mod file;
mod names;
mod room;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use file::File;
pub use file::FlushTicket;
use names::{Folder, NameChange};
pub use room::Room;

use super::failing::{Failing, Failure};
use crate::random::Random;

/// Bytes that the device writes whole or not at all, unless it writes garbage.
pub const SECTOR_BYTES: usize = 512;

/// Number of a file or folder, whatever its name is now.
pub type Node = u64;

/// How changes of names survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesMode {
    /// In their order: a crash keeps some first part of them; flushing one folder keeps all before.
    Journal,
    /// Each on its own: a crash keeps any of them; flushing a folder keeps only that folder's.
    Weak,
}

/// What the disk went through, for the report of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Power cuts.
    pub power_cuts: u64,
    /// Sectors that a power cut took back.
    pub sectors_lost: u64,
    /// Sectors in which a power cut left garbage.
    pub sectors_garbled: u64,
    /// Changes of names that a power cut took back.
    pub names_lost: u64,
    /// Writes that failed, or were cut short.
    pub writes_failed: u64,
    /// Flushes that failed, of files and folders.
    pub flushes_failed: u64,
    /// Writes that found no room.
    pub writes_without_room: u64,
    /// Sectors that looked clean after a failed flush and were not on the device.
    pub sectors_forsaken: u64,
}

/// The disk of one node, below its data folder.
#[derive(Clone, Debug)]
pub struct SimDisk {
    files: BTreeMap<Node, File>,
    folders: BTreeMap<Node, Folder>,
    /// Not durable yet, in order: the folder and what changed in it.
    changes: Vec<(Node, NameChange)>,
    next_node: Node,
    flushes: u64,
    names: NamesMode,
    garbage_percent: u32,
    stats: DiskStats,
    /// What fails next, if anything.
    failing: Option<Failing>,
    /// What failed. The process ends at its first error: nothing of what it would still have done
    /// has an effect.
    failure: Option<Failure>,
    room: Rc<Room>,
    /// A write found no room since this was asked.
    is_refused: bool,
}

const ROOT: Node = 0;

impl SimDisk {
    /// An empty data folder.
    #[must_use]
    pub fn new(names: NamesMode, garbage_percent: u32) -> Self {
        Self {
            files: BTreeMap::new(),
            folders: BTreeMap::from([(ROOT, Folder::default())]),
            changes: Vec::new(),
            next_node: 1,
            flushes: 0,
            names,
            garbage_percent,
            stats: DiskStats::default(),
            failing: None,
            failure: None,
            room: Rc::default(),
            is_refused: false,
        }
    }

    /// The room of the file system, which others see and take, too.
    #[must_use]
    pub fn room(&self) -> Rc<Room> {
        Rc::clone(&self.room)
    }

    /// Gives the file system a size.
    pub fn resize(&mut self, bytes: usize) {
        self.room.size.set(Some(bytes));
        self.measure();
    }

    /// Other programs have this much from now on.
    pub fn take(&mut self, bytes: usize) {
        self.room.taken.set(bytes);
        self.measure();
    }

    /// What other programs have.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.room.taken.get()
    }

    /// The process is gone, and files that it did not begin with it.
    pub fn forget_promises(&mut self) {
        self.room.promised.set(0);
    }

    /// True if a write found no room since the last time this was asked.
    pub const fn take_refused(&mut self) -> bool {
        std::mem::replace(&mut self.is_refused, false)
    }

    /// True if [`Self::take_refused`] would be.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Counts what the files have. What was removed is there as long as a power cut can bring it back.
    fn measure(&self) {
        if self.room.size.get().is_none() {
            return;
        }
        let mut reached = BTreeSet::from([ROOT]);
        let mut ahead = vec![ROOT];
        let mut used = 0;
        while let Some(node) = ahead.pop() {
            if let Some(folder) = self.folders.get(&node) {
                let names = folder.cached.values().chain(folder.device.values());
                ahead.extend(names.copied().filter(|&node| reached.insert(node)));
            }
            if let Some(file) = self.files.get(&node) {
                used += file.cached.len().next_multiple_of(SECTOR_BYTES);
            }
        }
        self.room.used.set(used);
    }

    /// Free bytes. Before a file system says that there are too few, it makes removals durable, so
    /// that their room can be used again.
    fn free_for(&mut self, wanted: usize) -> Option<usize> {
        if self.room.free()? < wanted {
            self.commit_names();
        }
        self.room.free()
    }

    /// How much longer than `present` a file may become, up to `wanted`; notes it if that is less.
    fn room_for(&mut self, present: usize, wanted: usize) -> usize {
        let had = present.next_multiple_of(SECTOR_BYTES);
        let Some(free) = self.free_for(wanted.saturating_sub(had)) else {
            return wanted;
        };
        let most = had + free / SECTOR_BYTES * SECTOR_BYTES;
        if wanted > most {
            self.stats.writes_without_room += 1;
            self.is_refused = true;
        }
        wanted.min(most)
    }

    /// Names become durable by themselves after a while.
    pub fn commit_names(&mut self) {
        for (changed, change) in std::mem::take(&mut self.changes) {
            if let Some(found) = self.folders.get_mut(&changed) {
                change.apply(&mut found.device);
            }
        }
        self.measure();
    }

    /// Arms or disarms the next failure.
    pub fn arm(&mut self, failing: Option<Failing>) {
        self.failing = failing;
    }

    /// True once an operation failed: the process that asked for it is over.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Takes what failed, so that the disk works again.
    pub const fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// What the disk went through.
    #[must_use]
    pub const fn stats(&self) -> DiskStats {
        self.stats
    }

    fn folder_at(&self, path: &str) -> Option<Node> {
        let mut node = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            node = *self.folders.get(&node)?.cached.get(name)?;
        }
        self.folders.contains_key(&node).then_some(node)
    }

    fn split(path: &str) -> (&str, &str) {
        path.rsplit_once('/').unwrap_or(("", path))
    }

    /// The file with this path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<Node> {
        let (folder, name) = Self::split(path);
        let folder = self.folder_at(folder)?;
        let node = *self.folders[&folder].cached.get(name)?;
        self.files.contains_key(&node).then_some(node)
    }

    fn change(&mut self, folder: Node, change: NameChange) {
        if self.has_failed() {
            return;
        }
        if let Some(found) = self.folders.get_mut(&folder) {
            change.apply(&mut found.cached);
            self.changes.push((folder, change));
        }
        self.measure();
    }

    /// Opens a file, and creates it if it is not there. `None` if its folder is not.
    pub fn open(&mut self, path: &str) -> Option<Node> {
        if let Some(node) = self.file(path) {
            return Some(node);
        }
        let (folder, name) = Self::split(path);
        let folder = self.folder_at(folder)?;
        let node = self.next_node;
        self.next_node += 1;
        self.files.insert(node, File::default());
        let name = name.to_owned();
        self.change(folder, NameChange::Link { name, node });
        Some(node)
    }

    /// Creates a folder and those above it.
    pub fn create_folder(&mut self, path: &str) {
        let mut parent = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self.folders[&parent].cached.get(name).copied();
            parent = found.unwrap_or_else(|| {
                let node = self.next_node;
                self.next_node += 1;
                self.folders.insert(node, Folder::default());
                let name = name.to_owned();
                self.change(parent, NameChange::Link { name, node });
                node
            });
        }
    }

    /// Names in a folder, sorted; `None` if there is none.
    #[must_use]
    pub fn list(&self, path: &str) -> Option<Vec<String>> {
        let node = self.folder_at(path)?;
        Some(self.folders[&node].cached.keys().cloned().collect())
    }

    /// Removes a file or a folder with all that it holds. False if it is not there.
    pub fn remove(&mut self, path: &str) -> bool {
        let (folder, name) = Self::split(path);
        let Some(folder) = self.folder_at(folder) else {
            return false;
        };
        if !self.folders[&folder].cached.contains_key(name) {
            return false;
        }
        let name = name.to_owned();
        self.change(folder, NameChange::Unlink { name });
        true
    }

    /// Gives a file or folder another name in the same folder, in place of what has it.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let ((folder, from), (target, to)) = (Self::split(from), Self::split(to));
        assert_eq!(folder, target, "files are renamed inside their folder only");
        let Some(folder) = self.folder_at(folder) else {
            return false;
        };
        if !self.folders[&folder].cached.contains_key(from) {
            return false;
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(folder, NameChange::Rename { from, to });
        true
    }

    /// Makes the names in a folder durable. False if there is none.
    pub fn flush_folder(&mut self, path: &str) -> bool {
        let Some(folder) = self.folder_at(path) else {
            return false;
        };
        if self.has_failed() {
            return true;
        }
        if self.failing.as_mut().is_some_and(Failing::flush_fails) {
            self.stats.flushes_failed += 1;
            self.failure = Some(Failure::Flush { reverted: false });
            return true;
        }
        let all = self.names == NamesMode::Journal;
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|(changed, _)| all || *changed == folder);
        self.changes = later;
        for (changed, change) in now {
            if let Some(found) = self.folders.get_mut(&changed) {
                change.apply(&mut found.device);
            }
        }
        self.measure();
        true
    }

    /// Bytes of a file as reads see it.
    #[must_use]
    pub fn bytes(&self, node: Node) -> &[u8] {
        self.files.get(&node).map_or(&[], |file| &file.cached)
    }

    /// Writes at a position; a gap before it reads as zeros.
    pub fn write(&mut self, node: Node, at: usize, bytes: &[u8]) {
        if self.has_failed() {
            return;
        }
        let mut bytes = bytes;
        if let Some(taken) = self.cut_short(bytes.len()) {
            bytes = &bytes[..taken];
        }
        let present = self.bytes(node).len();
        if at + bytes.len() > present {
            let end = self.room_for(present, at + bytes.len());
            bytes = &bytes[..end.saturating_sub(at).min(bytes.len())];
            if bytes.is_empty() {
                return;
            }
        }
        self.store(node, at, bytes);
    }

    /// Stores into a file's memory, which does not fail, and lies in the file even if the process
    /// ends before it asks for anything else.
    pub fn store(&mut self, node: Node, at: usize, bytes: &[u8]) {
        let before = self.flushes + 1;
        let Some(file) = self.files.get_mut(&node) else {
            return;
        };
        let from = at.min(file.cached.len());
        let end = at + bytes.len();
        if file.cached.len() < end {
            file.cached.resize(end, 0);
        }
        file.cached[at..end].copy_from_slice(bytes);
        file.touch(from, end, before);
        self.measure();
    }

    /// How much of a write is taken, if it fails.
    fn cut_short(&mut self, length: usize) -> Option<usize> {
        let taken = self.failing.as_mut()?.write_fails(length)?;
        self.stats.writes_failed += 1;
        self.failure = Some(Failure::Write);
        Some(taken)
    }

    /// Reserves space: the file gets at least this length, filled with zeros. False if there is no
    /// room for that, and then it stays as it is.
    pub fn extend(&mut self, node: Node, length: usize) -> bool {
        if self.has_failed() || self.cut_short(length).is_some() {
            return true;
        }
        let before = self.flushes + 1;
        let from = self.bytes(node).len();
        let wanted = length.saturating_sub(from).next_multiple_of(SECTOR_BYTES);
        let room = self.free_for(wanted);
        let Some(file) = self.files.get_mut(&node) else {
            return true;
        };
        if room.is_some_and(|room| room < wanted) {
            return false;
        }
        if from < length {
            file.cached.resize(length, 0);
            file.touch(from, length, before);
        }
        self.measure();
        true
    }

    /// Cuts a file.
    pub fn truncate(&mut self, node: Node, length: usize) {
        if self.has_failed() {
            return;
        }
        let next = self.flushes + 1;
        let Some(file) = self.files.get_mut(&node) else {
            return;
        };
        let before = file.cached.len();
        if length < before {
            file.cached.truncate(length);
            file.dirty
                .retain(|&sector, _| sector * SECTOR_BYTES < length);
        } else {
            file.cached.resize(length, 0);
            file.touch(before, length, next);
        }
        self.measure();
    }

    /// Begins a flush: it will cover what is written now.
    #[must_use]
    pub fn begin_flush(&mut self, node: Node) -> FlushTicket {
        self.flushes += 1;
        let file = self.files.get(&node);
        let sectors = file.into_iter().flat_map(|file| {
            file.dirty
                .keys()
                .map(|&sector| (sector, file.sector(sector).to_vec()))
        });
        FlushTicket {
            node,
            number: self.flushes,
            sectors: sectors.collect(),
            length: file.map_or(0, |file| file.cached.len()),
        }
    }

    /// Ends a flush: what it covers is durable, unless the flush fails.
    pub fn end_flush(&mut self, ticket: &FlushTicket) {
        if self.has_failed() {
            return;
        }
        if let Some(failing) = &mut self.failing
            && failing.flush_fails()
        {
            self.stats.flushes_failed += 1;
            let reverted = self
                .files
                .get_mut(&ticket.node)
                .is_some_and(|file| file.fail_flush(ticket, failing.random(), &mut self.stats));
            self.failure = Some(Failure::Flush { reverted });
            return;
        }
        let Some(file) = self.files.get_mut(&ticket.node) else {
            return;
        };
        if file.length_by < ticket.number {
            file.length_by = ticket.number;
            file.device.resize(ticket.length, 0);
        }
        for (&sector, content) in &ticket.sectors {
            let last = file.flushed_by.entry(sector).or_default();
            if *last > ticket.number {
                continue;
            }
            *last = ticket.number;
            file.write_back(sector, content);
            file.clean(sector, ticket.number);
        }
    }

    /// Makes a file's bytes and length durable at once.
    pub fn flush(&mut self, node: Node) {
        let ticket = self.begin_flush(node);
        self.end_flush(&ticket);
    }

    /// Flips one bit of a file, in the cache and on the device.
    pub fn flip(&mut self, node: Node, at: usize, bit: u8) {
        if let Some(file) = self.files.get_mut(&node) {
            for bytes in [&mut file.cached, &mut file.device] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// Cuts the power: of what was not flushed, any part is kept.
    pub fn cut_power(&mut self, random: &mut Random) {
        self.stats.power_cuts += 1;
        let changes = std::mem::take(&mut self.changes);
        let kept = random.between(0, changes.len());
        for (place, (folder, change)) in changes.into_iter().enumerate() {
            let survives = match self.names {
                NamesMode::Journal => place < kept,
                NamesMode::Weak => random.chance(50),
            };
            if !survives {
                self.stats.names_lost += 1;
            } else if let Some(found) = self.folders.get_mut(&folder) {
                change.apply(&mut found.device);
            }
        }
        for folder in self.folders.values_mut() {
            folder.cached = folder.device.clone();
        }
        // Some disks write back nearly nothing, some nearly everything.
        let written_back = [5, 50, 95][random.below(3)];
        for file in self.files.values_mut() {
            file.cut_power(random, written_back, self.garbage_percent, &mut self.stats);
        }
        self.forget_unnamed();
    }

    fn forget_unnamed(&mut self) {
        let mut reached = vec![ROOT];
        let mut place = 0;
        while let Some(&node) = reached.get(place) {
            if let Some(folder) = self.folders.get(&node) {
                reached.extend(folder.cached.values());
            }
            place += 1;
        }
        self.files.retain(|node, _| reached.contains(node));
        self.folders.retain(|node, _| reached.contains(node));
        self.measure();
    }

    /// Every file with its length, cached and on the device.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.describe_folder(ROOT, "", &mut lines);
        lines
    }

    fn describe_folder(&self, node: Node, path: &str, lines: &mut Vec<String>) {
        let Some(folder) = self.folders.get(&node) else {
            return;
        };
        for (name, node) in &folder.cached {
            let path = format!("{path}/{name}");
            if let Some(file) = self.files.get(node) {
                let (cached, device) = (file.cached.len(), file.device.len());
                lines.push(format!(
                    "{path} #{node}: {cached} bytes, {device} on the device"
                ));
            }
            self.describe_folder(*node, &path, lines);
        }
    }

    /// A number that follows from everything that is on the disk.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = crate::trace::Hash::default();
        self.hash_folder(ROOT, &mut hash);
        hash.value()
    }

    fn hash_folder(&self, node: Node, hash: &mut crate::trace::Hash) {
        let Some(folder) = self.folders.get(&node) else {
            return;
        };
        for (name, node) in &folder.cached {
            hash.add(name.as_bytes());
            hash.add(self.bytes(*node));
            self.hash_folder(*node, hash);
        }
    }
}
