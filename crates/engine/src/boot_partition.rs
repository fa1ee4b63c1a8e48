//! Brings one partition's segments up to date at boot: cut to what the checkpoint vouches for, then
//! the batches from the write-ahead log behind it, then flushed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use klamm_model::{
    BatchHeader, Offset, Timestamp, TopicConfig, TopicId, TopicName, TopicPartition,
};
use klamm_records::batch;
use klamm_records::segment::{
    self, IndexBuilder, OFFSET_ENTRY_BYTES, PartitionCheckpoint, SegmentEnd, SegmentFile,
    Succession, TIME_ENTRY_BYTES,
};
use klamm_replica::{LogGeneration, Producers, Recovered};

use crate::boot::{BootError, BootOptions, Finding, RecoveredPartition};
use crate::boot_index::{self, Closed, Doubt, Largest};
use crate::boot_wal::{Logged, LoggedBatch};
use crate::partition::{RecoveryPoint, epochs_file};
use crate::producers;
use crate::reindex::reindex;
use crate::segments::{IndexPending, Segment, Segments};
use crate::storage::{Storage, StorageError, Unflushed, Unwritten};

/// Where a batch's head holds its largest timestamp.
const MAX_TIMESTAMP_AT: u64 = 35;

const SEGMENT_FILES: [SegmentFile; 3] = [
    SegmentFile::Log,
    SegmentFile::OffsetIndex,
    SegmentFile::TimeIndex,
];

/// What boot brought over, for the start-up report.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
}

/// The means of recovering partitions, one after the other.
pub(crate) struct Work<'a, S> {
    pub(crate) storage: &'a mut S,
    pub(crate) options: &'a BootOptions,
    pub(crate) findings: &'a mut Vec<Finding>,
    pub(crate) replayed: &'a mut Replayed,
    /// What must be durable before the next checkpoint says that it is.
    pub(crate) unflushed: &'a mut Unflushed,
    /// A checkpoint could not be read: what no other speaks of may be durable all the same, and
    /// the write-ahead files that held it used again. Otherwise it is void: it stands in the
    /// write-ahead log.
    pub(crate) trust_files: bool,
}

/// A segment's `.log`, relative to the data folder.
pub(crate) fn log_path(folder: &str, base: Offset) -> String {
    format!("{folder}/{}", segment::segment_file(base, SegmentFile::Log))
}

pub(crate) fn index_path(folder: &str, base: Offset, file: SegmentFile) -> String {
    format!("{folder}/{}", segment::segment_file(base, file))
}

/// The topic that a partition's folder belongs to: perhaps an earlier one of the same name.
pub(crate) fn owner<S: Storage>(
    storage: &mut S,
    folder: &str,
) -> Result<Option<TopicId>, StorageError> {
    let path = format!("{folder}/{}", segment::PARTITION_METADATA_FILE);
    let text = storage.read(&path)?.unwrap_or_default();
    Ok(segment::parse_partition_metadata(&String::from_utf8_lossy(&text)).ok())
}

/// A partition while it is being recovered.
pub(crate) struct Recovering {
    pub(crate) folder: String,
    pub(crate) folder_made: bool,
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) log: Recovered,
    /// What waits to be written to each segment.
    pub(crate) unwritten: BTreeMap<Offset, Unwritten>,
    /// Segments that were closed by this boot.
    pub(crate) closed: Vec<Offset>,
    /// The folder's list of leader epochs as it was read, if a checkpoint vouches for it.
    pub(crate) epochs_found: Option<Vec<u8>>,
}

impl<S: Storage> Work<'_, S> {
    pub(crate) fn recover(
        &mut self,
        partition: TopicPartition,
        topic: &TopicName,
        config: &TopicConfig,
        checkpoint: Option<&PartitionCheckpoint>,
        logged: &Logged,
    ) -> Result<RecoveredPartition, BootError> {
        let folder = segment::partition_folder(topic, partition.index);
        let is_foreign = partition != TopicPartition::METADATA
            && owner(self.storage, &folder)? != Some(partition.topic);
        let is_void = checkpoint.is_none() && !self.trust_files;
        self.finish_swaps(partition, &folder, config, !(is_foreign || is_void))?;
        let mut bases = self.bases(&folder)?;
        if !bases.is_empty() && (is_foreign || is_void) {
            self.clear(partition, &folder, std::mem::take(&mut bases))?;
        }
        self.remove_unplaced(&folder)?;
        let mut state = Recovering {
            folder_made: !bases.is_empty(),
            folder,
            segments: VecDeque::new(),
            log: Recovered::empty(
                LogGeneration(0),
                klamm_model::LeaderEpoch(i32::MAX),
                config.durability,
                self.options.producers,
            ),
            unwritten: BTreeMap::new(),
            closed: Vec::new(),
            epochs_found: None,
        };
        self.find(partition, &mut state, config, checkpoint, &bases, logged)?;
        lose_until(&mut state, config, logged.given_up);
        for (end, finding) in &logged.damaged {
            // Without its checkpoint nobody knows whether a file was void, and being used again.
            let is_in_segments = self.trust_files && *end <= state.log.log_end;
            if !is_in_segments {
                self.findings.push(finding.clone());
            }
        }
        for logged in &logged.batches {
            self.replay(partition, &mut state, config, logged);
        }
        // The quorum's log has no holes: its offsets are Raft's indexes.
        if partition != TopicPartition::METADATA {
            // Who moved the start there knew of records up to it: they are not missed, and their
            // offsets are not given out again.
            lose_until(&mut state, config, logged.lost_end.max(logged.log_start));
            let unvouched = logged.log_start_unvouched.min(state.log.log_end);
            let moved = logged.log_start.max(unvouched);
            state.log.log_start = state.log.log_start.max(moved);
        }
        self.write(partition, &mut state)?;
        check_consistent(partition, &state.log)?;
        let active = state.segments.back();
        let recovery = RecoveryPoint {
            segment: active.map(|segment| segment.base),
            bytes: active.map_or(0, |segment| segment.bytes),
            end_offset: state.log.log_end,
            log_start: state.log.log_start,
            producers: state.log.producers.snapshot(),
        };
        Ok(RecoveredPartition {
            cleaned_to: Offset::ZERO,
            topic: topic.clone(),
            log: state.log,
            segments: Segments::new(state.segments),
            recovery,
            folder_made: state.folder_made,
        })
    }

    /// What the files hold, as far as a checkpoint says or the batches do.
    fn find(
        &mut self,
        partition: TopicPartition,
        state: &mut Recovering,
        config: &TopicConfig,
        checkpoint: Option<&PartitionCheckpoint>,
        bases: &[Offset],
        logged: &Logged,
    ) -> Result<(), BootError> {
        // Where a newer checkpoint was lost, an older one may speak of segments that were compacted
        // since, and are shorter now or part of others: only their batches tell what they hold.
        let is_outdated = self.trust_files && config.cleanup.compact;
        let before = checkpoint.filter(|_| is_outdated);
        let checkpoint = checkpoint.filter(|_| !is_outdated);
        if let Some(checkpoint) = checkpoint {
            self.restore(state, config, checkpoint, bases, logged)?;
        }
        if self.trust_files {
            self.adopt(partition, state, config, checkpoint, bases, logged)?;
        }
        if let Some(before) = before {
            lose_until(state, config, before.log_start);
            state.log.log_start = state.log.log_start.max(before.log_start);
        }
        Ok(())
    }

    /// Removes what lies in a partition's folder and is not its own, or void.
    fn clear(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        bases: Vec<Offset>,
    ) -> Result<(), BootError> {
        if partition != TopicPartition::METADATA {
            return Ok(self.storage.remove_folder(folder)?);
        }
        for base in bases {
            self.remove_segment(folder, base)?;
        }
        Ok(())
    }

    pub(crate) fn remove_segment(&mut self, folder: &str, base: Offset) -> Result<(), BootError> {
        for file in SEGMENT_FILES {
            self.storage.remove(&index_path(folder, base, file))?;
        }
        Ok(())
    }

    /// Base offsets of all segments of which any file is there: the others may have been lost.
    pub(crate) fn bases(&mut self, folder: &str) -> Result<Vec<Offset>, BootError> {
        let names = self.storage.list(folder)?;
        let files = names
            .iter()
            .filter_map(|name| segment::parse_segment_file(name));
        let mut bases: Vec<Offset> = files.map(|(base, _)| base).collect();
        bases.sort_unstable();
        bases.dedup();
        Ok(bases)
    }

    /// Removes a list of leader epochs that its life did not live to put in place. A power cut
    /// could bring it back otherwise when a later life puts its own in place by the same name.
    /// And what is left of segments that were put aside.
    fn remove_unplaced(&mut self, folder: &str) -> Result<(), BootError> {
        for name in self.storage.list(folder)? {
            if name.ends_with(segment::REMOVED_SUFFIX) {
                self.storage.remove(&format!("{folder}/{name}"))?;
            }
        }
        let path = format!("{folder}/{}", segment::LEADER_EPOCH_FLUSHING_FILE);
        if self.storage.length(&path)?.is_some() {
            self.storage.remove(&path)?;
            self.unflushed.folders.insert(folder.to_owned());
        }
        Ok(())
    }

    /// Starts from a checkpoint: what lies behind it in the files is void, unless files are trusted.
    fn restore(
        &mut self,
        state: &mut Recovering,
        config: &TopicConfig,
        checkpoint: &PartitionCheckpoint,
        bases: &[Offset],
        logged: &Logged,
    ) -> Result<(), BootError> {
        let end = checkpoint.flushed_end;
        state.log.log_start = checkpoint.log_start;
        state.log.log_end = end;
        let snapshot = producers::from_checkpoint(&checkpoint.producers, end);
        state.log.producers = Producers::restore(&snapshot, self.options.producers)
            .map_err(|error| partition_error(checkpoint.partition, &error))?;
        for (place, &base) in bases.iter().enumerate() {
            if base >= checkpoint.segment_base {
                break;
            }
            let next = bases.get(place + 1).copied();
            let next = next.map_or(checkpoint.segment_base, |next| {
                next.min(checkpoint.segment_base)
            });
            if next <= checkpoint.log_start {
                // Trimmed, and not removed in time.
                self.remove_segment(&state.folder, base)?;
                continue;
            }
            let range = base..next;
            let closed = self.closed_segment(checkpoint.partition, &state.folder, range, config)?;
            state.segments.push_back(closed);
        }
        let closed = state.segments.iter().map(|found| (found.base, found.bytes));
        let vouched = closed.chain([(checkpoint.segment_base, checkpoint.segment_bytes)]);
        let vouched: Vec<(Offset, u64)> = vouched.collect();
        let moved = logged.log_start.max(logged.log_start_unvouched);
        let log_start = checkpoint.log_start.max(moved);
        self.restore_epochs(state, checkpoint, &vouched, log_start)?;
        if self.trust_files {
            return Ok(());
        }
        for &base in bases.iter().filter(|&&base| base > checkpoint.segment_base) {
            self.remove_segment(&state.folder, base)?;
        }
        let active = self.open_active(
            checkpoint.partition,
            &state.folder,
            checkpoint.segment_base,
            checkpoint.segment_bytes,
            end,
            config,
        )?;
        state.segments.push_back(active);
        Ok(())
    }

    /// A segment that is no longer written to: its largest time comes from the last entry of its
    /// index, and both indexes are made anew if they cannot be what they were.
    fn closed_segment(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        range: Range<Offset>,
        config: &TopicConfig,
    ) -> Result<Segment, BootError> {
        let base = range.start;
        let mut found = Segment::begin(base, config);
        let path = log_path(folder, base);
        found.bytes = self.storage.length(&path)?.unwrap_or(0);
        if found.bytes == 0 {
            let fault = "it is missing or empty".to_owned();
            self.findings.push(Finding::SegmentDamage {
                partition,
                path,
                fault,
            });
            return Ok(found);
        }
        let closed = Closed {
            folder,
            base,
            next: range.end,
            length: found.bytes,
            interval: config.index_interval_bytes as usize,
        };
        let largest = match boot_index::largest_time(self.storage, &closed) {
            Ok(largest) => largest,
            Err(Doubt::Storage(error)) => return Err(error.into()),
            Err(Doubt::Index(fault)) => self.make_indexes(partition, &closed, fault)?,
        };
        let entry = largest.entry;
        found.max_timestamp = entry.map(|entry| (entry.timestamp, entry.offset));
        found.is_max_proven = largest.is_proven;
        if config.cleanup.compact {
            found.first_timestamp = self.first_timestamp(folder, base, found.bytes)?;
        }
        Ok(found)
    }

    /// Makes the indexes of a closed segment anew, and tells of those that were wrong.
    fn make_indexes(
        &mut self,
        partition: TopicPartition,
        closed: &Closed<'_>,
        fault: String,
    ) -> Result<Largest, BootError> {
        let (folder, base) = (closed.folder, closed.base);
        let made = reindex(self.storage, folder, base, closed.length, closed.interval)?;
        let path = log_path(folder, base);
        if let Some(fault) = made.damage {
            self.findings.push(Finding::SegmentDamage {
                partition,
                path: path.clone(),
                fault,
            });
        }
        for (path, bytes) in &made.replaces {
            self.storage.replace(path, bytes)?;
        }
        if !made.replaces.is_empty() {
            self.findings.push(Finding::IndexesMade {
                partition,
                path,
                fault,
            });
        }
        Ok(Largest {
            entry: made.largest,
            is_proven: true,
        })
    }

    /// The segment that is written to, cut to `durable` bytes, with indexes that fit.
    pub(crate) fn open_active(
        &mut self,
        partition: TopicPartition,
        folder: &str,
        base: Offset,
        durable: u64,
        end: Offset,
        config: &TopicConfig,
    ) -> Result<Segment, BootError> {
        let path = log_path(folder, base);
        let length = self.storage.length(&path)?.unwrap_or(0);
        if length < durable {
            let fault = format!("expected {durable} bytes, found {length}");
            return Err(BootError::Partition {
                partition,
                fault: format!("{path}: {fault}"),
            });
        }
        if length > durable {
            self.cut(&path, durable)?;
        }
        let (mut offsets, mut times) = self.usable_indexes(folder, base, durable, end)?;
        let written = Closed {
            folder,
            base,
            next: end,
            length: durable,
            interval: config.index_interval_bytes as usize,
        };
        let largest = boot_index::largest_indexed_time(self.storage, &written, &offsets, &times)?;
        if largest.is_none() {
            self.cut_indexes(folder, base)?;
            (offsets, times) = (Vec::new(), Vec::new());
        }
        let mut found = self.index_active(&path, base, durable, (&offsets, &times), config)?;
        if found.is_err() && !offsets.is_empty() {
            // The index may be what is wrong: it is made anew from the segment's first byte.
            self.cut_indexes(folder, base)?;
            found = self.index_active(&path, base, durable, (&[], &[]), config)?;
        }
        let mut found = match found {
            Ok(found) => found,
            Err((found, fault)) => {
                self.findings.push(Finding::SegmentDamage {
                    partition,
                    path,
                    fault,
                });
                *found
            }
        };
        found.is_max_proven = largest.is_none_or(|largest| largest.is_proven);
        found.first_timestamp = self.first_timestamp(folder, base, durable)?;
        found.bytes = durable;
        Ok(found)
    }

    fn cut_indexes(&mut self, folder: &str, base: Offset) -> Result<(), BootError> {
        for file in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            let path = index_path(folder, base, file);
            if self.storage.length(&path)?.is_some() {
                self.cut(&path, 0)?;
            }
        }
        Ok(())
    }

    /// Feeds the batches behind the last indexed one to the index. If some of them are damaged,
    /// they are passed over, and the first fault is told beside what was found.
    #[allow(clippy::type_complexity)]
    fn index_active(
        &mut self,
        path: &str,
        base: Offset,
        durable: u64,
        (offsets, times): (&[u8], &[u8]),
        config: &TopicConfig,
    ) -> Result<Result<Segment, (Box<Segment>, String)>, BootError> {
        let interval = config.index_interval_bytes as usize;
        let mut builder = IndexBuilder::resume(base, interval, offsets, times);
        let mut pending = IndexPending {
            offsets_done: offsets.len() as u64,
            times_done: times.len() as u64,
            ..IndexPending::default()
        };
        let mut found = Segment::begin(base, config);
        if builder.max_timestamp().timestamp != Timestamp::NONE {
            let max = builder.max_timestamp();
            found.max_timestamp = Some((max.timestamp, max.offset));
        }
        let mut from = u64::from(builder.position());
        let left = (durable - from) as usize;
        let bytes = self.storage.read_at(path, from, left)?;
        let (mut rest, durable) = (&bytes[..], durable as usize);
        let mut first_fault = None;
        let mut succession = match segment::last_offset_entry(offsets, base) {
            Some(entry) => Succession::from_entry(&entry),
            None => Succession::from_start(base),
        };
        loop {
            let start = from as usize;
            let take = |_, header: &BatchHeader| {
                take_into_index(&mut builder, &mut pending, &mut found, header);
            };
            let verdict = segment::recover(rest, start, base, &mut succession, durable, take);
            let SegmentEnd::Damage { to, fault, .. } = verdict else {
                break;
            };
            first_fault.get_or_insert_with(|| fault.to_string());
            builder.skip(to - builder.position() as usize);
            rest = rest.get(to - start..).unwrap_or_default();
            from = to as u64;
            if rest.is_empty() {
                break;
            }
        }
        found.index = builder;
        found.index_pending = pending;
        Ok(match first_fault {
            None => Ok(found),
            Some(fault) => Err((Box::new(found), fault)),
        })
    }

    fn first_timestamp(
        &mut self,
        folder: &str,
        base: Offset,
        durable: u64,
    ) -> Result<Option<Timestamp>, BootError> {
        if durable == 0 {
            return Ok(None);
        }
        let head = self
            .storage
            .read_at(&log_path(folder, base), MAX_TIMESTAMP_AT, 8)?;
        let time = <[u8; 8]>::try_from(head.as_slice()).map(i64::from_be_bytes);
        Ok(time
            .ok()
            .map(Timestamp)
            .filter(|&time| time != Timestamp::NONE))
    }

    /// Both index files as far as they are sound and speak of the durable part; the rest is cut.
    fn usable_indexes(
        &mut self,
        folder: &str,
        base: Offset,
        durable: u64,
        end: Offset,
    ) -> Result<(Vec<u8>, Vec<u8>), BootError> {
        let offsets_path = index_path(folder, base, SegmentFile::OffsetIndex);
        let times_path = index_path(folder, base, SegmentFile::TimeIndex);
        let mut offsets = self.storage.read(&offsets_path)?.unwrap_or_default();
        let mut times = self.storage.read(&times_path)?.unwrap_or_default();
        let kept = usable_offset_entries(&offsets, base, durable, end);
        offsets.truncate(kept);
        let kept = usable_time_entries(&times, base, &offsets);
        times.truncate(kept);
        for (path, kept) in [(offsets_path, offsets.len()), (times_path, times.len())] {
            if self
                .storage
                .length(&path)?
                .is_some_and(|length| length > kept as u64)
            {
                self.cut(&path, kept as u64)?;
            }
        }
        Ok((offsets, times))
    }

    /// Takes in one batch of the write-ahead log.
    fn replay(
        &mut self,
        partition: TopicPartition,
        state: &mut Recovering,
        config: &TopicConfig,
        LoggedBatch { bytes, is_vouched }: &LoggedBatch,
    ) {
        let Ok(header) = batch::read(bytes) else {
            return;
        };
        let end = state.log.log_end;
        if header.end_offset() <= end || !(*is_vouched || header.base_offset == end) {
            return;
        }
        if let Err(error) = state.log.replay(self.options.now.wall, &header) {
            self.findings.push(Finding::Refused {
                partition,
                fault: error.to_string(),
            });
            return;
        }
        let mut segments = Segments::new(std::mem::take(&mut state.segments));
        // Records are lost before this batch: inside a segment offsets have no holes.
        let is_behind_hole = header.base_offset > end;
        if is_behind_hole
            || segments.must_roll(
                config,
                header.size,
                header.max_timestamp,
                header.last_offset(),
            )
        {
            if let Some(closing) = segments.active_mut() {
                closing.close_index();
                state.closed.push(closing.base);
            }
            segments.roll(header.base_offset, config);
        }
        let active = segments.active_mut().expect("rolled if there was none");
        let unwritten = state
            .unwritten
            .entry(active.base)
            .or_insert_with(|| Unwritten {
                at: active.bytes,
                pieces: Vec::new(),
            });
        unwritten.pieces.push(bytes.clone());
        active.append(&header, header.last_offset());
        state.segments = segments.into_list();
        self.replayed.batches += 1;
        self.replayed.bytes += bytes.len() as u64;
    }

    /// Has everything written that was replayed; it is flushed with that of all other partitions.
    fn write(
        &mut self,
        partition: TopicPartition,
        state: &mut Recovering,
    ) -> Result<(), BootError> {
        let changed = !state.unwritten.is_empty();
        if changed && !state.folder_made {
            state.folder_made = true;
            self.storage.create_folder(&state.folder)?;
            let metadata = segment::format_partition_metadata(partition.topic);
            let path = format!("{}/{}", state.folder, segment::PARTITION_METADATA_FILE);
            self.unflushed.replaced.insert(path, metadata.into());
        }
        for (base, unwritten) in std::mem::take(&mut state.unwritten) {
            let path = log_path(&state.folder, base);
            self.unflushed.files.insert(path.clone());
            if partition == TopicPartition::METADATA {
                // It is read before all others can be settled: it names them.
                self.storage.write_pieces(&path, &unwritten)?;
            } else {
                self.unflushed.unwritten.insert(path, unwritten);
            }
        }
        for found in &mut state.segments {
            self.write_index(&state.folder, found)?;
        }
        // Also if nothing was written to them here: an earlier boot may have cut them and died
        // before the cut was durable.
        for &base in &state.closed {
            for file in SEGMENT_FILES {
                let path = index_path(&state.folder, base, file);
                if self.storage.length(&path)?.is_some() {
                    self.unflushed.files.insert(path);
                }
            }
        }
        let stale = state.folder_made && self.replace_epochs(state)?;
        if changed || stale {
            self.unflushed.folders.insert(state.folder.clone());
            self.unflushed.folders.insert(String::new());
        }
        Ok(())
    }

    /// Brings the list of leader epochs up to date; true if it was not. Also without new batches: a
    /// scan finds epochs that the file does not know, and the next boot takes them from the file.
    fn replace_epochs(&mut self, state: &mut Recovering) -> Result<bool, BootError> {
        let path = format!("{}/{}", state.folder, segment::LEADER_EPOCH_FILE);
        let epochs = epochs_file(state.log.epochs.entries());
        // Without a checkpoint nobody vouches for the file, even if it reads as it should: the life
        // that wrote it may have ended before it was flushed.
        let vouched = state.epochs_found.take();
        let stale = vouched.is_none_or(|found| found != epochs.as_bytes());
        if stale {
            self.unflushed.replaced.insert(path, epochs.into());
        }
        Ok(stale)
    }

    fn write_index(&mut self, folder: &str, found: &mut Segment) -> Result<(), BootError> {
        let ((offsets, offsets_at), (times, times_at)) = found.index_pending.take();
        for (file, bytes, at) in [
            (SegmentFile::OffsetIndex, offsets, offsets_at),
            (SegmentFile::TimeIndex, times, times_at),
        ] {
            if !bytes.is_empty() {
                let path = index_path(folder, found.base, file);
                self.storage.write_at(&path, at, &bytes)?;
                self.unflushed.files.insert(path);
            }
        }
        Ok(())
    }

    fn cut(&mut self, path: &str, length: u64) -> Result<(), BootError> {
        self.storage.cut(path, length)?;
        self.unflushed.files.insert(path.to_owned());
        Ok(())
    }
}

/// Bytes of an offset index up to the first entry that is out of order or speaks of what is not
/// durable.
fn usable_offset_entries(index: &[u8], base: Offset, durable: u64, end: Offset) -> usize {
    let mut kept = 0;
    let mut before: Option<(Offset, u32)> = None;
    while kept + OFFSET_ENTRY_BYTES <= index.len() {
        let next = kept + OFFSET_ENTRY_BYTES;
        let Some(entry) = segment::last_offset_entry(&index[..next], base) else {
            break;
        };
        let grows = before
            .is_none_or(|(offset, position)| entry.offset > offset && entry.position > position);
        // No entry points at the first batch: zeros there are a hole that a power cut left.
        let is_hole = entry.position == 0;
        if is_hole || !grows || u64::from(entry.position) >= durable || entry.offset >= end {
            break;
        }
        before = Some((entry.offset, entry.position));
        kept = next;
    }
    kept
}

/// Bytes of a time index up to the first entry that is out of order or lies behind the last kept
/// entry of the offset index.
fn usable_time_entries(index: &[u8], base: Offset, offsets: &[u8]) -> usize {
    let Some(last) = segment::last_offset_entry(offsets, base) else {
        return 0;
    };
    let mut kept = 0;
    let mut before: Option<(Timestamp, Offset)> = None;
    while kept + TIME_ENTRY_BYTES <= index.len() {
        let next = kept + TIME_ENTRY_BYTES;
        let Some(entry) = segment::last_time_entry(&index[..next], base) else {
            break;
        };
        let grows =
            before.is_none_or(|(time, offset)| entry.timestamp > time && entry.offset > offset);
        if !grows || entry.offset > last.offset {
            break;
        }
        before = Some((entry.timestamp, entry.offset));
        kept = next;
    }
    kept
}

fn take_into_index(
    builder: &mut IndexBuilder,
    pending: &mut IndexPending,
    found: &mut Segment,
    header: &BatchHeader,
) {
    let Ok(entries) = builder.on_batch(header) else {
        return;
    };
    pending.offsets.extend(entries.offset.into_iter().flatten());
    pending.times.extend(entries.time.into_iter().flatten());
    let time = header.max_timestamp;
    if time != Timestamp::NONE && found.max_timestamp.is_none_or(|(max, _)| time > max) {
        found.max_timestamp = Some((time, header.last_offset()));
    }
}

/// Records up to `end` are known to be lost: the log goes on behind them, in a segment of its own,
/// whose name keeps their offsets from being given out again.
fn lose_until(state: &mut Recovering, config: &TopicConfig, end: Offset) {
    if end <= state.log.log_end {
        return;
    }
    state.log.lose_until(end);
    let mut segments = Segments::new(std::mem::take(&mut state.segments));
    if let Some(closing) = segments.active_mut() {
        closing.close_index();
        state.closed.push(closing.base);
    }
    segments.roll(end, config);
    state.unwritten.insert(end, Unwritten::default());
    state.segments = segments.into_list();
}

fn check_consistent(partition: TopicPartition, log: &Recovered) -> Result<(), BootError> {
    let ahead = log
        .epochs
        .latest()
        .map_or(klamm_model::LeaderEpoch(0), |entry| entry.leader_epoch);
    let probe = Recovered {
        leader_epoch: ahead,
        ..log.clone()
    };
    match klamm_replica::Leader::new(probe) {
        Ok(_) => Ok(()),
        Err(error) => Err(partition_error(partition, &error)),
    }
}

pub(crate) fn partition_error(
    partition: TopicPartition,
    fault: &dyn std::fmt::Display,
) -> BootError {
    BootError::Partition {
        partition,
        fault: fault.to_string(),
    }
}
