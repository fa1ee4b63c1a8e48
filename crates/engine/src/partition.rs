//! One partition of this core: its leader machine, the batches that are still in memory, its
//! segments, and how far they are on disk.
//!
//! ```text
//!  log start          spilled            committed        log end
//!  |  segments only   |  segments + tail  |   tail only    |
//! ```

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use klamm_model::{
    Instant, IsolationLevel, LeaderEpoch, Offset, Timestamp, TopicConfig, TopicName, TopicPartition,
};
use klamm_records::segment;
use klamm_records::wal::WalPosition;
use klamm_replica::{EpochStart, Leader, ProducersSnapshot};

use crate::api::ReadPositions;
use crate::effects::Spill;
use crate::segments::{Segment, Segments};
use crate::traffic::Traffic;
use crate::waiters::AppendWaiters;

/// A batch that lies in the tail.
#[derive(Debug)]
pub(crate) struct TailBatch {
    pub(crate) base_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) max_timestamp: Timestamp,
    /// Number of the chunk that holds it.
    pub(crate) chunk: u64,
    /// Base offset of the segment it belongs to, and its byte position there.
    pub(crate) segment: Offset,
    pub(crate) position: u64,
    /// End of its entry in the write-ahead log.
    pub(crate) wal_end: WalPosition,
    pub(crate) bytes: Bytes,
}

/// How far a partition's segments are durable, with everything that a restart needs to go on from
/// there.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecoveryPoint {
    /// Base offset of the segment that is written to, if any.
    pub(crate) segment: Option<Offset>,
    /// Bytes of that segment.
    pub(crate) bytes: u64,
    /// Offset after the last durable batch.
    pub(crate) end_offset: Offset,
    pub(crate) log_start: Offset,
    pub(crate) producers: ProducersSnapshot,
}

/// What a checkpoint says of where a log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SavedPoint {
    /// Base offset of the segment with which a restart goes on: it needs that one, and those before
    /// it only for what they hold.
    pub(crate) segment: Option<Offset>,
    pub(crate) log_start: Offset,
}

impl RecoveryPoint {
    pub(crate) const fn saved(&self) -> SavedPoint {
        SavedPoint {
            segment: self.segment,
            log_start: self.log_start,
        }
    }
}

/// One partition led by this core.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    pub(crate) partition: TopicPartition,
    pub(crate) topic: TopicName,
    pub(crate) folder: Arc<str>,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) leader: Leader,
    pub(crate) tail: VecDeque<TailBatch>,
    pub(crate) segments: Segments,
    /// Offset after the last batch that was handed to a spill.
    pub(crate) spill_requested: Offset,
    /// Offset after the last batch that lies in a segment file.
    pub(crate) spilled: Offset,
    /// The segment that took the last portion, and its bytes since.
    pub(crate) spilled_in: (Offset, u64),
    /// The segment that took the last portion was completed with it.
    pub(crate) spilled_complete: bool,
    /// What `spilled_in` becomes with the portion under way, if one is.
    pub(crate) spilling: Option<(Offset, u64)>,
    /// Segments with bytes that no flush has covered.
    pub(crate) unflushed: Vec<Offset>,
    /// Durable state.
    pub(crate) recovery: RecoveryPoint,
    /// What the saved checkpoint says, and the one being saved.
    pub(crate) saved: SavedPoint,
    pub(crate) saving: SavedPoint,
    /// Everything before is compacted.
    pub(crate) cleaned_to: Offset,
    /// It is not compacted any more in this life: something was in the way that will not go.
    pub(crate) is_uncleanable: bool,
    /// It is not compacted before: something was in the way that may go.
    pub(crate) compacted_after: Instant,
    /// The furthest start of the log that an entry of the write-ahead log names, durable or not.
    pub(crate) trim_requested: Offset,
    /// What becomes durable with the checkpoint under way.
    pub(crate) recovery_next: Option<RecoveryPoint>,
    /// A flush of segments is under way: a second one's completion would be taken for that of a
    /// later checkpoint.
    pub(crate) flushing: bool,
    /// The folder holds the small files that Kafka's tools expect.
    pub(crate) folder_made: bool,
    /// The last reign that the folder's list of leader epochs knows, or will once what is under way
    /// is done. A restart takes the reigns before its checkpoint from there and nowhere else.
    pub(crate) epochs_saved: Option<LeaderEpoch>,
    pub(crate) append_waiters: AppendWaiters,
    /// A group coordinator lives on it.
    pub(crate) coordinates: bool,
    /// Ids of the watches on this partition.
    pub(crate) watches: Vec<u64>,
    pub(crate) traffic: Traffic,
    /// Bytes appended that were not handed to a spill.
    pub(crate) unspilled_bytes: usize,
    /// Bytes that its segments will take when all that was appended is in them.
    pub(crate) owed_bytes: u64,
    /// Listed among the engine's dirty partitions.
    pub(crate) is_listed: bool,
    /// The newest chunk in whose list of partitions this one stands.
    pub(crate) listed_chunk: Option<u64>,
}

/// Where a read must go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadPlace {
    /// Nothing to read yet.
    Nothing,
    /// The records are lost.
    Lost,
    /// The batches are in memory.
    Tail,
    /// The batches are in the segment with this base offset; they end at the second.
    Segment {
        base: Offset,
        length: u64,
        end: Offset,
    },
}

impl PartitionLog {
    pub(crate) fn positions(&self) -> ReadPositions {
        let cursors = self.leader.cursors();
        ReadPositions {
            high_watermark: cursors.high_watermark,
            last_stable: cursors.last_stable,
            log_start: cursors.log_start,
        }
    }

    /// True if some batch is not yet durable in a segment file.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.recovery.end_offset < self.leader.cursors().log_end
    }

    /// Where the batch at `offset` lies.
    pub(crate) fn place_of(&self, offset: Offset, end: Offset) -> ReadPlace {
        if offset >= end {
            return ReadPlace::Nothing;
        }
        if self
            .tail
            .front()
            .is_some_and(|first| first.base_offset <= offset)
        {
            return ReadPlace::Tail;
        }
        let Some((segment, next)) = self.segments.holding(offset) else {
            return self.oldest_from(end);
        };
        let spilled = next.unwrap_or(self.spilled).min(self.spilled);
        ReadPlace::Segment {
            base: segment.base,
            length: self.spilled_bytes(segment),
            end: spilled.min(end),
        }
    }

    /// Bytes of a segment that lie in its file.
    pub(crate) fn spilled_bytes(&self, segment: &Segment) -> u64 {
        let (last, bytes) = self.spilled_in;
        match segment.base.cmp(&last) {
            Ordering::Less => segment.bytes,
            Ordering::Equal => bytes,
            Ordering::Greater => 0,
        }
    }

    fn oldest_from(&self, end: Offset) -> ReadPlace {
        match self.segments.iter().next() {
            Some(segment) if segment.base < end => ReadPlace::Segment {
                base: segment.base,
                length: self.spilled_bytes(segment),
                end: end.min(self.spilled),
            },
            _ => ReadPlace::Lost,
        }
    }

    /// Gathers whole batches from the tail, from the one that holds `offset` up to `end`.
    pub(crate) fn read_tail(
        &self,
        offset: Offset,
        end: Offset,
        bytes_max: usize,
        whole_first: bool,
        out: &mut Vec<Bytes>,
    ) -> usize {
        let first = self
            .tail
            .partition_point(|batch| batch.end_offset <= offset);
        let mut total = 0;
        for batch in self.tail.range(first..) {
            let fits = total + batch.bytes.len() <= bytes_max;
            if batch.end_offset > end || !(fits || (whole_first && total == 0)) {
                break;
            }
            total += batch.bytes.len();
            out.push(batch.bytes.clone());
        }
        total
    }

    /// Bytes that a reader at `offset` could get; counts only what is in memory, and treats
    /// anything older as plenty.
    pub(crate) fn readable_bytes(&self, offset: Offset, isolation: IsolationLevel) -> usize {
        let end = self.leader.readable_end(isolation);
        match self.place_of(offset, end) {
            ReadPlace::Nothing => 0,
            ReadPlace::Segment { .. } | ReadPlace::Lost => usize::MAX / 4,
            ReadPlace::Tail => {
                let first = self
                    .tail
                    .partition_point(|batch| batch.end_offset <= offset);
                self.tail
                    .range(first..)
                    .take_while(|batch| batch.end_offset <= end)
                    .map(|batch| batch.bytes.len())
                    .sum()
            }
        }
    }

    /// The next portion of about `portion_bytes` for the segment files, if something waits and no
    /// portion is under way.
    pub(crate) fn next_spill(&mut self, portion_bytes: usize) -> Option<Spill> {
        if self.spilling.is_some() {
            return None;
        }
        let first = self
            .tail
            .partition_point(|batch| batch.end_offset <= self.spilled);
        let head = self.tail.get(first)?;
        let (segment_base, at) = (head.segment, head.position);
        if let Some(closing) = self.closing_spill(segment_base) {
            return Some(closing);
        }
        let mut batches = Vec::new();
        let mut bytes = 0;
        let mut end_offset = self.spilled;
        for batch in self.tail.range(first..) {
            if batch.segment != segment_base || bytes >= portion_bytes {
                break;
            }
            bytes += batch.bytes.len();
            end_offset = batch.end_offset;
            batches.push(batch.bytes.clone());
        }
        self.spill_requested = end_offset;
        self.spilling = Some((segment_base, at + bytes as u64));
        self.unspilled_bytes -= bytes;
        let active = self.segments.active().map(|segment| segment.base);
        let rolled = active != Some(segment_base);
        let makes_folder = !std::mem::replace(&mut self.folder_made, true);
        let small_files = self.take_small_files(makes_folder);
        let segment = self
            .segments
            .get_mut(segment_base)
            .expect("a batch lies in a known segment");
        // A portion of a closed segment completes it when it reaches the segment's last byte.
        let complete = rolled && at + bytes as u64 == segment.bytes;
        let ((offset_index, offset_index_at), (time_index, time_index_at)) =
            segment.index_pending.take();
        self.spilled_complete = complete;
        if complete {
            self.unflushed.retain(|&base| base != segment_base);
        } else if !self.unflushed.contains(&segment_base) {
            self.unflushed.push(segment_base);
        }
        Some(Spill {
            partition: self.partition,
            folder: Arc::clone(&self.folder),
            segment: segment_base,
            at,
            batches,
            offset_index,
            offset_index_at,
            time_index,
            time_index_at,
            makes_folder,
            small_files,
            complete,
            end_offset,
        })
    }

    /// Completes a segment that was rolled when all its batches were in its file: with its last
    /// index entries, if there are any, and a flush.
    fn closing_spill(&mut self, next: Offset) -> Option<Spill> {
        let (base, bytes) = self.spilled_in;
        if base >= next || std::mem::replace(&mut self.spilled_complete, true) {
            return None;
        }
        let closing = self.segments.get_mut(base)?;
        let ((offset_index, offset_index_at), (time_index, time_index_at)) =
            closing.index_pending.take();
        self.unflushed.retain(|&other| other != base);
        self.spilling = Some(self.spilled_in);
        Some(Spill {
            partition: self.partition,
            folder: Arc::clone(&self.folder),
            segment: base,
            at: bytes,
            batches: Vec::new(),
            offset_index,
            offset_index_at,
            time_index,
            time_index_at,
            makes_folder: false,
            small_files: Vec::new(),
            complete: true,
            end_offset: self.spilled,
        })
    }

    /// The small files that the folder lacks. The list of epochs goes out before the batches of a
    /// new epoch do, so no checkpoint can vouch for batches whose epoch is not in the list; where
    /// it is ahead of the batches that survive a crash, a restart cuts it.
    fn take_small_files(&mut self, makes_folder: bool) -> Vec<(&'static str, Bytes)> {
        let mut files = Vec::new();
        if makes_folder {
            let metadata = segment::format_partition_metadata(self.partition.topic);
            files.push((segment::PARTITION_METADATA_FILE, metadata.into()));
        }
        let epochs = self.leader.epochs();
        let latest = epochs.latest().map(|entry| entry.leader_epoch);
        if makes_folder || latest != self.epochs_saved {
            self.epochs_saved = latest;
            let text = epochs_file(epochs.entries());
            files.push((segment::LEADER_EPOCH_FILE, text.into()));
        }
        files
    }

    /// What will be durable once everything up to the log's end is spilled and flushed.
    pub(crate) fn recovery_point(&self) -> RecoveryPoint {
        let cursors = self.leader.cursors();
        let active = self.segments.active();
        RecoveryPoint {
            segment: active.map(|segment| segment.base),
            bytes: active.map_or(0, |segment| segment.bytes),
            end_offset: cursors.log_end,
            log_start: cursors.log_start.max(self.trim_requested),
            producers: self.leader.producers().snapshot(),
        }
    }

    /// Drops the batches of a chunk that leaves the memory. False if one of them is not yet in a
    /// segment file, so that the chunk must stay.
    pub(crate) fn evict(&mut self, chunk: u64) -> bool {
        while let Some(first) = self.tail.front() {
            if first.chunk > chunk {
                return true;
            }
            if first.end_offset > self.spilled {
                return false;
            }
            self.tail.pop_front();
        }
        true
    }

    /// Leader epoch of the record at `offset`.
    pub(crate) fn leader_epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.leader.epochs().leader_epoch_at(offset)
    }
}

/// The text of `leader-epoch-checkpoint`.
pub(crate) fn epochs_file(entries: &[EpochStart]) -> String {
    let entries = entries.iter().map(|entry| segment::EpochStart {
        epoch: entry.leader_epoch,
        start: entry.start,
    });
    segment::format_leader_epochs(&entries.collect::<Vec<_>>())
}
