//! What a core has asked of its disk and not been told of yet. Each piece of work goes on in small
//! steps, between which anything else may happen, the end of the world included.

use std::sync::Arc;

use bytes::Bytes;
use klamm_engine::compaction_work::{CompactDone, CompactFault};
use klamm_engine::effects::{ColdError, ColdFault, ColdRead, Repair, SmallFile, Spill};
use klamm_engine::repair::{self, Prepared};
use klamm_engine::space::DiskSpace;
use klamm_model::{Offset, TopicPartition};
use klamm_records::segment::PartitionOffsets;
use klamm_records::wal::WalPosition;

use super::compacting::{Compacting, Keys};
use super::disk::{FlushTicket, Node, SimDisk};
use super::node::seen;
use super::segments::{OpenSegments, Removal, SegmentNodes, SmallFiles};
use super::storage::BootStorage;
use crate::faults::Plant;

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
    /// Nobody touches a partition's files for so many steps.
    Hold {
        partition: TopicPartition,
        steps: usize,
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
    Released(TopicPartition),
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

    /// What it is, in a word.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Spill { .. } => "spill",
            Self::FlushSegments { .. } => "flush of segments",
            Self::Save { .. } => "save",
            Self::PrepareWal { .. } => "preparation of a write-ahead file",
            Self::FlushWal { .. } => "flush of the write-ahead log",
            Self::ColdRead(_) => "cold read",
            Self::Repair { .. } => "repair",
            Self::Compact(_) => "compaction",
            Self::RemoveSegments(_) => "removal of segments",
            Self::DropFolder { .. } => "removal of a folder",
            Self::Look { .. } => "look at free space",
            Self::Hold { .. } => "hold",
        }
    }

    /// True if this work touches the files of a partition, and nobody may meanwhile who moves them.
    pub(crate) fn touches(&self, partition: TopicPartition) -> bool {
        match self {
            Self::Spill { spill, .. } => spill.partition == partition,
            Self::FlushSegments { partition: of, .. } => *of == partition,
            Self::ColdRead(read) => read.partition == partition,
            Self::Repair { repair, .. } => repair.partition == partition,
            Self::Compact(compacting) => compacting.partition() == partition,
            _ => false,
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
            | Self::Look { .. }
            | Self::Hold { .. } => Done::Nothing,
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
            Self::FlushWal { position, flushes } => {
                let is_done = hands.flush_wal(flushes);
                is_done.then_some(Done::WalFlushed(*position))
            }
            Self::Hold { partition, steps } => last_of(steps).then_some(Done::Released(*partition)),
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

/// One step fewer is left; true if that was the last.
const fn last_of(steps: &mut usize) -> bool {
    *steps = steps.saturating_sub(1);
    *steps == 0
}

impl Hands<'_> {
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

    pub(super) fn write_whole(&mut self, path: &str, bytes: &[u8]) {
        if let Some(node) = self.disk.open(path) {
            self.disk.truncate(node, 0);
            self.disk.write(node, 0, bytes);
        }
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
}

const REPLACE_STAGES: usize = 4;
