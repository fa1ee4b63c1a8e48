//! What a core has asked of its disk and not been told of yet. Each piece of work goes on in small
//! steps, between which anything else may happen, the end of the world included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use klamm_engine::compaction_work::{CompactDone, CompactFault};
use klamm_engine::effects::{ColdError, ColdFault, ColdRead, ColdTarget, Repair, SmallFile, Spill};
use klamm_engine::repair::{self, Prepared};
use klamm_engine::space::DiskSpace;
use klamm_model::{BatchHeader, Offset, TopicPartition};
use klamm_records::batch;
use klamm_records::segment::{
    self, Landings, OFFSET_ENTRY_BYTES, OffsetEntry, PartitionOffsets, SegmentFile, Succession,
};
use klamm_records::wal::WalPosition;

use super::compacting::{Compacting, Keys};
use super::disk::{FlushTicket, Node, SimDisk};
use super::node::seen;
use super::storage::BootStorage;
use crate::faults::Plant;

/// The files of one segment: `.log`, `.index`, `.timeindex`.
type SegmentNodes = [Node; 3];

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

/// One piece of work.
#[derive(Debug)]
pub(crate) enum Work {
    Spill {
        spill: Spill,
        stage: usize,
        nodes: Option<SegmentNodes>,
        /// Flushes of a complete segment that have begun.
        flushes: Vec<FlushTicket>,
    },
    FlushSegments {
        partition: TopicPartition,
        folder: Arc<str>,
        segments: Vec<(Offset, u64)>,
        flushes: Option<Vec<FlushTicket>>,
        /// New content of a small file is being flushed with them.
        claims: bool,
        /// Steps done since all of them ended.
        steps: usize,
    },
    Save {
        file: SmallFile,
        path: Arc<str>,
        bytes: Bytes,
        stage: usize,
    },
    /// A write-ahead file is made ahead.
    PrepareWal {
        file: u64,
        folder: String,
        path: String,
        length: u64,
        stage: usize,
    },
    FlushWal {
        position: WalPosition,
        flushes: Vec<FlushTicket>,
    },
    ColdRead(ColdRead),
    Repair {
        repair: Repair,
        prepared: Option<Prepared>,
    },
    Compact(Compacting),
    RemoveSegments(Removal),
    DropFolder {
        partition: TopicPartition,
        folder: Arc<str>,
        aside: Option<String>,
        number: u64,
    },
    Look {
        owed_elsewhere: u64,
    },
}

/// What the engine is told.
#[derive(Debug)]
pub(crate) enum Done {
    Spilled(TopicPartition, Offset),
    SegmentsFlushed(TopicPartition),
    Saved(SmallFile),
    /// With the file, if it was made.
    WalPrepared(u64, Option<Node>),
    WalFlushed(WalPosition),
    ColdRead {
        read: ColdRead,
        result: Result<Vec<Bytes>, ColdError>,
        faults: Vec<ColdFault>,
    },
    Repaired,
    Compacted(u64, Result<CompactDone, CompactFault>),
    Looked(Option<DiskSpace>),
    Nothing,
}

/// What a step may touch.
pub(crate) struct Hands<'a> {
    pub(crate) disk: &'a mut SimDisk,
    pub(crate) open: &'a mut OpenSegments,
    pub(crate) small: &'a mut SmallFiles,
    pub(crate) is_out_of_files: bool,
    pub(crate) plant: Option<Plant>,
    pub(crate) keys: &'a mut Keys,
    pub(crate) cleaned: &'a mut PartitionOffsets,
}

impl Work {
    /// True if the planted fault lets this work be reported before it is done.
    pub(crate) fn is_reported_early(&self, plant: Option<Plant>) -> bool {
        matches!(
            (self, plant),
            (Self::Spill { .. }, Some(Plant::SpillReportedEarly))
                | (Self::FlushWal { .. }, Some(Plant::FlushReportedEarly))
                | (
                    Self::Save {
                        file: SmallFile::Checkpoint,
                        ..
                    },
                    Some(Plant::CheckpointReportedEarly)
                )
        )
    }

    /// The file that this work replaces, if any.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::Save { path, .. } => Some(path),
            Self::Compact(compacting) => compacting.path(),
            _ => None,
        }
    }

    /// The partition whose segments this work writes, if any.
    pub(crate) fn partition(&self) -> Option<TopicPartition> {
        match self {
            Self::Spill { spill, .. } => Some(spill.partition),
            Self::FlushSegments { partition, .. } => Some(*partition),
            _ => None,
        }
    }

    /// What the engine is told at the end of this work.
    pub(crate) fn report(&self) -> Done {
        match self {
            Self::Spill { spill, .. } => Done::Spilled(spill.partition, spill.end_offset),
            Self::FlushSegments { partition, .. } => Done::SegmentsFlushed(*partition),
            Self::Save { file, .. } => Done::Saved(*file),
            Self::PrepareWal { file, .. } => Done::WalPrepared(*file, None),
            Self::FlushWal { position, .. } => Done::WalFlushed(*position),
            Self::ColdRead(_)
            | Self::Repair { .. }
            | Self::Compact(_)
            | Self::RemoveSegments(_)
            | Self::DropFolder { .. }
            | Self::Look { .. } => Done::Nothing,
        }
    }

    /// What is to be removed now that this work is done.
    pub(crate) fn removal(&mut self) -> Option<Self> {
        let Self::Compact(compacting) = self else {
            return None;
        };
        Some(Self::RemoveSegments(compacting.removal()?))
    }

    /// One step. `Some` when it was the last. One for which there is no room is done again later.
    pub(crate) fn step(&mut self, hands: &mut Hands<'_>) -> Option<Done> {
        let done = self.go_on(hands);
        if !hands.disk.take_refused() || hands.plant == Some(Plant::WantOfRoomIgnored) {
            return done;
        }
        if let Self::Spill { stage, .. } | Self::Save { stage, .. } = self {
            *stage -= 1;
        }
        if let Self::Compact(compacting) = self {
            compacting.do_again();
        }
        hands.give_room_back();
        None
    }

    fn go_on(&mut self, hands: &mut Hands<'_>) -> Option<Done> {
        match self {
            Self::Spill {
                spill,
                stage,
                nodes,
                flushes,
            } => {
                *stage += 1;
                hands
                    .spill(spill, *stage, nodes, flushes)
                    .then(|| Done::Spilled(spill.partition, spill.end_offset))
            }
            Self::FlushSegments {
                partition,
                folder,
                segments,
                flushes,
                claims,
                steps,
            } => {
                let Some(flushes) = flushes else {
                    *claims = hands.claim_small_file(*partition, folder);
                    let mut begun = hands.begin_segment_flush(*partition, folder, segments);
                    begun.extend(hands.begin_small_file_flush(*partition, folder, *claims));
                    *flushes = Some(begun);
                    return None;
                };
                hands
                    .flush_segments(*partition, folder, flushes, *claims, steps)
                    .then_some(Done::SegmentsFlushed(*partition))
            }
            Self::Save {
                file,
                path,
                bytes,
                stage,
            } => {
                *stage += 1;
                hands
                    .replace(path, bytes, *stage)
                    .then_some(Done::Saved(*file))
            }
            Self::PrepareWal {
                file,
                folder,
                path,
                length,
                stage,
            } => {
                *stage += 1;
                let made = hands.prepare_wal(folder, path, *length as usize, *stage)?;
                Some(Done::WalPrepared(*file, made))
            }
            Self::FlushWal { position, flushes } => hands
                .flush_wal(flushes)
                .then_some(Done::WalFlushed(*position)),
            Self::ColdRead(read) => Some(hands.cold_read(read)),
            Self::Repair { repair, prepared } => hands.repair(repair, prepared),
            Self::Compact(compacting) => hands.compact(compacting),
            Self::RemoveSegments(removal) => {
                hands.remove_segments(removal).then_some(Done::Nothing)
            }
            Self::DropFolder {
                partition,
                folder,
                aside,
                number,
            } => hands
                .drop_folder(*partition, folder, aside, *number)
                .then_some(Done::Nothing),
            Self::Look { owed_elsewhere } => {
                let seen = hands.look(*owed_elsewhere);
                Some(Done::Looked(seen))
            }
        }
    }
}

impl Hands<'_> {
    fn cold_read(&self, read: &ColdRead) -> Done {
        let (mut result, faults) = cold_read(self.disk, read);
        if self.plant == Some(Plant::ColdReadSkipsBatch) {
            result = result.map(|run| skip_second_batch(&run));
        }
        Done::ColdRead {
            read: read.clone(),
            result,
            faults,
        }
    }

    /// The file after the last stage; none of it if there is no descriptor or room for it.
    #[allow(clippy::option_option)]
    fn prepare_wal(
        &mut self,
        folder: &str,
        path: &str,
        length: usize,
        stage: usize,
    ) -> Option<Option<Node>> {
        if stage == 1 && self.is_out_of_files {
            return Some(None);
        }
        let node = self.disk.open(path).expect("made at the start");
        match stage {
            1 => {}
            2 => {
                if !self.disk.extend(node, length) {
                    self.disk.remove(path);
                    return Some(None);
                }
            }
            _ => {
                self.disk.flush_folder(folder);
                return Some(Some(node));
            }
        }
        None
    }

    fn look(&self, owed_elsewhere: u64) -> Option<DiskSpace> {
        let mut seen = seen(&self.disk.room(), owed_elsewhere)?;
        if self.plant == Some(Plant::FreeSpaceOverstated) {
            seen.free = seen.total;
        }
        Some(seen)
    }

    /// Ends the flush of one more file of the write-ahead log. True after the last.
    fn flush_wal(&mut self, flushes: &mut Vec<FlushTicket>) -> bool {
        let ticket = flushes.pop();
        let real = self.plant != Some(Plant::FlushSkipped);
        if let Some(ticket) = ticket.filter(|_| real) {
            self.disk.end_flush(&ticket);
            if self.plant == Some(Plant::GoesOnAfterFailedFlush) && self.disk.has_failed() {
                // Once more, and this time it succeeds: nothing is dirty any more.
                self.disk.take_failure();
                self.disk.flush(ticket.node());
            }
        }
        flushes.is_empty()
    }

    /// Works a repair out, and writes it in a second step; nothing is written for a partition that
    /// is gone.
    fn repair(&mut self, repair: &Repair, prepared: &mut Option<Prepared>) -> Option<Done> {
        let is_metadata = repair.partition == TopicPartition::METADATA;
        if !is_metadata && self.owner(&repair.folder) != Some(repair.partition.topic) {
            return Some(Done::Repaired);
        }
        let mut storage = BootStorage {
            disk: self.disk,
            changes_left: None,
            plant: self.plant,
        };
        // A repair may fail; nothing that was promised depends on it.
        match prepared.take() {
            None => match repair::prepare(&mut storage, repair) {
                Ok(worked_out) => *prepared = Some(worked_out),
                Err(_) => return Some(Done::Repaired),
            },
            Some(prepared) => {
                let _ = prepared.finish(&mut storage);
                return Some(Done::Repaired);
            }
        }
        None
    }

    /// True after the last stage.
    fn spill(
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

    fn write_whole(&mut self, path: &str, bytes: &[u8]) {
        if let Some(node) = self.disk.open(path) {
            self.disk.truncate(node, 0);
            self.disk.write(node, 0, bytes);
        }
    }

    /// Takes the new content of the small file that is replaced out of the way of still newer
    /// content; false if there is none.
    fn claim_small_file(&mut self, partition: TopicPartition, folder: &str) -> bool {
        let path = format!("{folder}/{REPLACED}");
        self.small.beside.remove(&partition)
            && self.may_enter(partition, folder)
            && self
                .disk
                .rename(&format!("{path}.tmp"), &format!("{folder}/{FLUSHING}"))
    }

    /// Begins to flush the claimed content, and the small files of a folder that was made.
    fn begin_small_file_flush(
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
    fn give_room_back(&mut self) {
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
    fn owner(&self, folder: &str) -> Option<klamm_model::TopicId> {
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

    fn begin_segment_flush(
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
    fn flush_segments(
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

    /// Replaces a small file, step by step. True after the last.
    pub(crate) fn replace(&mut self, path: &str, bytes: &[u8], stage: usize) -> bool {
        let beside = format!("{path}.tmp");
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        match stage {
            1 => self.write_whole(&beside, bytes),
            2 => {
                if let Some(node) = self.disk.file(&beside) {
                    self.disk.flush(node);
                }
            }
            3 => {
                self.disk.rename(&beside, path);
            }
            _ => {
                self.disk.flush_folder(folder);
            }
        }
        stage >= REPLACE_STAGES
    }

    /// Puts a folder aside and then removes it. True when it is gone.
    /// One file after the other is put aside, then one after the other is gone.
    fn remove_segments(&mut self, removal: &mut Removal) -> bool {
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

    fn drop_folder(
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

const REPLACE_STAGES: usize = 4;

/// Reads whole batches from a segment file, each checked against its checksum; also what was wrong
/// beside them.
fn cold_read(disk: &SimDisk, read: &ColdRead) -> (Result<Vec<Bytes>, ColdError>, Vec<ColdFault>) {
    let file = |file| {
        let name = segment::segment_file(read.segment, file);
        let node = disk.file(&format!("{}/{name}", read.folder))?;
        Some(disk.bytes(node))
    };
    let Some(log) = file(SegmentFile::Log) else {
        return (Err(ColdError::Damaged), Vec::new());
    };
    let index = file(SegmentFile::OffsetIndex).unwrap_or_default();
    let mut landings = Landings::new(match read.target {
        ColdTarget::Offset(offset) => Some(offset),
        ColdTarget::Timestamp { .. } => None,
    });
    let mut missed = None;
    loop {
        let start = landings.next(index, read.segment).flatten();
        let walked = walk(log, read, start.as_ref());
        let at = start.as_ref().map_or(0, |entry| entry.position as usize);
        if start.is_some() && walked.as_ref().err() == Some(&Some(at)) {
            missed.get_or_insert(at);
            continue;
        }
        let damage = walked.as_ref().err().copied().flatten();
        let mut faults = Vec::new();
        if missed.is_some_and(|at| damage != Some(at)) {
            faults.push(ColdFault::Index);
        }
        faults.extend(damage.map(|at| ColdFault::Damage { at: at as u64 }));
        return (walked.map_err(|_| ColdError::Damaged), faults);
    }
}

/// Walks through a segment from one place on. An error is the position of the damage, if that is
/// what it is.
fn walk(
    log: &[u8],
    read: &ColdRead,
    start: Option<&OffsetEntry>,
) -> Result<Vec<Bytes>, Option<usize>> {
    let mut at = start.map_or(0, |entry| entry.position as usize);
    let mut succession = start.map_or_else(
        || Succession::from_start(read.segment),
        Succession::from_entry,
    );
    let length = read.length as usize;
    let mut run = BytesMut::new();
    let mut next = None;
    while at < length {
        let found = batch_at(&log[..log.len().min(length)], at);
        let sound = found.filter(|(_, header)| succession.follow(header).is_ok());
        let Some((size, header)) = sound else {
            // What was found before the damage is good.
            if run.is_empty() {
                return Err(Some(at));
            }
            break;
        };
        let bytes = &log[at..at + size];
        at += size;
        if header.base_offset >= read.end_offset {
            break;
        }
        let wanted = match read.target {
            ColdTarget::Offset(offset) => header.end_offset() > offset,
            ColdTarget::Timestamp { at, from } => {
                header.max_timestamp >= at && header.end_offset() > from
            }
        };
        if !wanted {
            continue;
        }
        let hole = matches!(read.target, ColdTarget::Offset(offset) if header.base_offset > offset);
        if hole && run.is_empty() {
            return Err(None);
        }
        let follows = next.is_none_or(|next| next == header.base_offset);
        next = Some(header.end_offset());
        let fits = run.is_empty() || run.len() + bytes.len() <= read.bytes_max;
        if !(follows && fits) {
            break;
        }
        run.extend_from_slice(bytes);
        if run.len() >= read.bytes_max {
            break;
        }
    }
    Ok(if run.is_empty() {
        Vec::new()
    } else {
        vec![run.freeze()]
    })
}

/// The batch at a place of a segment, if it is whole and right.
fn batch_at(log: &[u8], at: usize) -> Option<(usize, BatchHeader)> {
    let rest = log.get(at..)?;
    let size = batch::size_of(rest).ok()?;
    let header = batch::verify(rest.get(..size)?).ok()?;
    Some((size, header))
}

/// Plants a hole into what a cold read found.
fn skip_second_batch(run: &[Bytes]) -> Vec<Bytes> {
    let joined: Vec<u8> = run.concat();
    let mut out = Vec::new();
    let (mut at, mut place) = (0, 0);
    while at < joined.len() {
        let size = batch::size_of(&joined[at..]).unwrap_or(joined.len() - at);
        let end = (at + size).min(joined.len());
        if place != 1 {
            out.extend_from_slice(&joined[at..end]);
        }
        at = end;
        place += 1;
    }
    vec![out.into()]
}
