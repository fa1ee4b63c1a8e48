//! The files of segments and the small files beside them: how they are written, flushed, put aside
//! and removed, a step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use klamm_engine::effects::Spill;
use klamm_model::{Offset, TopicPartition};
use klamm_records::segment::{self, OFFSET_ENTRY_BYTES, SegmentFile};

use super::disk::{FlushTicket, Node};
use super::work::Hands;
use crate::faults::Plant;

/// The files of one segment: `.log`, `.index`, `.timeindex`.
pub(super) type SegmentNodes = [Node; 3];

const SEGMENT_FILES: [SegmentFile; 3] = [
    SegmentFile::Log,
    SegmentFile::OffsetIndex,
    SegmentFile::TimeIndex,
];

/// A portion of at least this much makes the file longer ahead of itself; a real disk has larger
/// numbers here.
const AHEAD_FROM: usize = 1024;

/// Lengths ahead are multiples of this.
const BLOCK: usize = 4096;

/// Segments that a core has open for writing, each with the end of its batches: the file may be
/// longer.
pub(crate) type OpenSegments = BTreeMap<(TopicPartition, Offset), (SegmentNodes, usize)>;

/// Partitions whose small files no flush has covered since they were written.
#[derive(Debug, Default)]
pub(crate) struct SmallFiles {
    /// In a folder that was made.
    fresh: BTreeSet<TopicPartition>,
    /// Beside the file that they replace.
    beside: BTreeSet<TopicPartition>,
}

/// The small file that is replaced while its partition lives.
const REPLACED: &str = segment::LEADER_EPOCH_FILE;

/// Its name while its new content is being flushed.
const FLUSHING: &str = segment::LEADER_EPOCH_FLUSHING_FILE;

/// Segments on their way out: first put aside, file by file, then deleted.
#[derive(Debug)]
pub(crate) struct Removal {
    partition: TopicPartition,
    folder: Arc<str>,
    segments: Vec<Offset>,
    /// Files that were put aside and are still there.
    aside: Vec<String>,
    steps: usize,
}

impl Removal {
    /// Files that were put aside already.
    pub(crate) const fn of_files(
        partition: TopicPartition,
        folder: Arc<str>,
        aside: Vec<String>,
    ) -> Self {
        Self {
            partition,
            folder,
            segments: Vec::new(),
            aside,
            steps: 0,
        }
    }

    pub(crate) const fn of(
        partition: TopicPartition,
        folder: Arc<str>,
        segments: Vec<Offset>,
    ) -> Self {
        Self {
            partition,
            folder,
            segments,
            aside: Vec::new(),
            steps: 0,
        }
    }
}

impl Hands<'_> {
    /// True after the last stage.
    pub(super) fn spill(
        &mut self,
        spill: &Spill,
        stage: usize,
        nodes: &mut Option<SegmentNodes>,
        flushes: &mut Vec<FlushTicket>,
    ) -> bool {
        let forgets_epochs =
            self.plant == Some(Plant::LeaderEpochsForgotten) && !spill.makes_folder;
        let folder_stages = if spill.small_files.is_empty() || forgets_epochs {
            0
        } else {
            1 + spill.small_files.len()
        };
        if stage <= folder_stages {
            return self.spill_small_files(spill, stage);
        }
        let stage = stage - folder_stages;
        let Some(files) = *nodes else {
            let found = self.open_segment(spill.partition, &spill.folder, spill.segment);
            *nodes = found;
            // The folder belongs to a later topic of that name: this partition is gone.
            return found.is_none();
        };
        match stage {
            2 => {
                let mut offsets = spill.offset_index.to_vec();
                if self.plant == Some(Plant::IndexOffByOne) {
                    // A start looks at the last entry.
                    let wrong = (offsets.len() / OFFSET_ENTRY_BYTES).saturating_sub(1);
                    for entry in offsets.chunks_exact_mut(OFFSET_ENTRY_BYTES).take(wrong) {
                        entry[7] = entry[7].wrapping_add(1);
                    }
                }
                let at = spill.offset_index_at as usize;
                self.write_if_any(files[1], at, &offsets);
                false
            }
            3 => {
                let at = spill.time_index_at as usize;
                self.write_if_any(files[2], at, &spill.time_index);
                false
            }
            4 => {
                let mut batches = &spill.batches[..];
                if self.plant == Some(Plant::SegmentBoundaryMoved) && spill.complete {
                    batches = &batches[..batches.len().saturating_sub(1)];
                }
                let mut at = spill.at as usize;
                let bytes: usize = spill.batches.iter().map(Bytes::len).sum();
                self.make_room(files[0], at, bytes);
                for batch in batches {
                    self.disk.write(files[0], at, batch);
                    at += batch.len();
                }
                if self.disk.is_refused() && self.plant != Some(Plant::WantOfRoomIgnored) {
                    return false;
                }
                let key = (spill.partition, spill.segment);
                if let Some((_, end)) = self.open.get_mut(&key) {
                    *end = at;
                }
                if spill.complete {
                    self.open.remove(&key);
                    self.cut(files[0], at);
                    flushes.extend(files.map(|node| self.disk.begin_flush(node)));
                }
                !spill.complete
            }
            _ => {
                if let Some(ticket) = flushes.pop() {
                    self.disk.end_flush(&ticket);
                }
                flushes.is_empty()
            }
        }
    }

    /// True if the partition is gone.
    fn spill_small_files(&mut self, spill: &Spill, stage: usize) -> bool {
        if stage == 1 && spill.makes_folder {
            self.claim_folder(spill);
            return false;
        }
        if !spill.makes_folder && !self.may_enter(spill.partition, &spill.folder) {
            // The folder belongs to a later topic of that name.
            return true;
        }
        if let Some(file) = stage.checked_sub(2) {
            let (name, content) = &spill.small_files[file];
            let path = format!("{}/{name}", spill.folder);
            if spill.makes_folder {
                self.small.fresh.insert(spill.partition);
                self.write_whole(&path, content);
            } else {
                self.small.beside.insert(spill.partition);
                self.write_whole(&format!("{path}.tmp"), content);
            }
        }
        false
    }

    /// Takes the new content of the small file that is replaced out of the way of still newer
    /// content; false if there is none.
    pub(super) fn claim_small_file(&mut self, partition: TopicPartition, folder: &str) -> bool {
        let path = format!("{folder}/{REPLACED}");
        self.small.beside.remove(&partition)
            && self.may_enter(partition, folder)
            && self
                .disk
                .rename(&format!("{path}.tmp"), &format!("{folder}/{FLUSHING}"))
    }

    /// Begins to flush the claimed content, and the small files of a folder that was made.
    pub(super) fn begin_small_file_flush(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        claims: bool,
    ) -> Vec<FlushTicket> {
        let mut names = Vec::new();
        if self.small.fresh.remove(&partition) {
            names.extend([segment::PARTITION_METADATA_FILE, REPLACED].map(str::to_owned));
        }
        if claims {
            names.push(FLUSHING.to_owned());
        }
        if self.plant == Some(Plant::SmallFileFlushSkipped) {
            names.clear();
        }
        let mut flushes = Vec::new();
        for name in names {
            if let Some(node) = self.disk.file(&format!("{folder}/{name}")) {
                flushes.push(self.disk.begin_flush(node));
            }
        }
        flushes
    }

    fn place_small_file(&mut self, partition: TopicPartition, folder: &str) {
        if self.may_enter(partition, folder) {
            let path = format!("{folder}/{REPLACED}");
            self.disk.rename(&format!("{folder}/{FLUSHING}"), &path);
        }
    }

    /// False if the folder belongs to a later topic of that name.
    pub(crate) fn may_enter(&self, partition: TopicPartition, folder: &str) -> bool {
        partition == TopicPartition::METADATA || self.owner(folder) == Some(partition.topic)
    }

    fn write_if_any(&mut self, node: Node, at: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.disk.write(node, at, bytes);
        }
    }

    /// Takes back the room that was made ahead of batches in all segments, for others need it.
    pub(super) fn give_room_back(&mut self) {
        for (nodes, end) in self.open.clone().into_values() {
            self.cut(nodes[0], end);
        }
    }

    /// Makes a file longer ahead of a large portion. Who writes little was quiet for a while, and
    /// what was made before is taken back.
    fn make_room(&mut self, node: Node, at: usize, bytes: usize) {
        if bytes >= AHEAD_FROM {
            self.disk
                .extend(node, (at + 2 * bytes).next_multiple_of(BLOCK));
        } else {
            self.cut(node, at);
        }
    }

    /// Takes back the room that was made ahead of the batches.
    fn cut(&mut self, node: Node, length: usize) {
        if self.disk.bytes(node).len() > length {
            self.disk.truncate(node, length);
        }
    }

    /// The topic that a folder belongs to, by the small file in it.
    pub(super) fn owner(&self, folder: &str) -> Option<klamm_model::TopicId> {
        let path = format!("{folder}/{}", segment::PARTITION_METADATA_FILE);
        let node = self.disk.file(&path)?;
        let text = String::from_utf8_lossy(self.disk.bytes(node)).into_owned();
        segment::parse_partition_metadata(&text).ok()
    }

    /// Makes a partition's folder, and puts away the one of an earlier topic of that name.
    fn claim_folder(&mut self, spill: &Spill) {
        if self.owner(&spill.folder) != Some(spill.partition.topic) {
            let aside = format!("{}.{:x}-delete", spill.folder, spill.segment.0);
            self.disk.rename(&spill.folder, &aside);
        }
        self.disk.create_folder(&spill.folder);
    }

    /// The files of a segment, made if need be; `None` if its folder is another topic's.
    fn open_segment(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        base: Offset,
    ) -> Option<SegmentNodes> {
        if let Some((nodes, _)) = self.open.get(&(partition, base)) {
            return Some(*nodes);
        }
        if !self.may_enter(partition, folder) {
            return None;
        }
        let open = |file| {
            let path = format!("{folder}/{}", segment::segment_file(base, file));
            self.disk.open(&path).expect("the folder was made before")
        };
        let nodes = SEGMENT_FILES.map(open);
        let end = self.disk.bytes(nodes[0]).len();
        self.open.insert((partition, base), (nodes, end));
        Some(nodes)
    }

    pub(super) fn begin_segment_flush(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        segments: &[(Offset, u64)],
    ) -> Vec<FlushTicket> {
        let mut flushes = Vec::new();
        for &(base, _) in segments {
            let nodes = self.open_segment(partition, folder, base);
            for node in nodes.into_iter().flatten() {
                flushes.push(self.disk.begin_flush(node));
            }
        }
        flushes
    }

    /// True after the last step: all files are flushed, what was claimed is put in place, then its
    /// folder and the data folder are flushed.
    pub(super) fn flush_segments(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        flushes: &mut Vec<FlushTicket>,
        claims: bool,
        steps: &mut usize,
    ) -> bool {
        if let Some(ticket) = flushes.pop() {
            self.disk.end_flush(&ticket);
            return false;
        }
        *steps += 1;
        if *steps == 1 {
            if claims {
                self.place_small_file(partition, folder);
            }
            return false;
        }
        if self.plant != Some(Plant::FolderFlushSkipped) {
            let folder = if *steps == 2 { folder } else { "" };
            self.disk.flush_folder(folder);
        }
        *steps == 3
    }

    /// One file after the other is put aside, then one after the other is gone. True when all are.
    pub(super) fn remove_segments(&mut self, removal: &mut Removal) -> bool {
        let step = removal.steps;
        removal.steps += 1;
        let base = removal.segments.get(step / SEGMENT_FILES.len());
        let Some(&base) = base else {
            let Some(path) = removal.aside.pop() else {
                return true;
            };
            self.disk.remove(&path);
            return false;
        };
        let folder = &*removal.folder;
        if self.owner(folder) == Some(removal.partition.topic) {
            let file = SEGMENT_FILES[step % SEGMENT_FILES.len()];
            let from = format!("{folder}/{}", segment::segment_file(base, file));
            let to = format!("{from}{}", segment::REMOVED_SUFFIX);
            if self.disk.rename(&from, &to) {
                removal.aside.push(to);
            }
        }
        false
    }

    /// Puts a folder aside and then removes it. True when it is gone.
    pub(super) fn drop_folder(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        aside: &mut Option<String>,
        number: u64,
    ) -> bool {
        if let Some(aside) = aside {
            self.disk.remove(aside);
            return true;
        }
        self.open.retain(|(other, _), _| *other != partition);
        if self.owner(folder) != Some(partition.topic) {
            return true;
        }
        let name = format!("{folder}.{number:016x}-delete");
        self.disk.rename(folder, &name);
        *aside = Some(name);
        false
    }
}
