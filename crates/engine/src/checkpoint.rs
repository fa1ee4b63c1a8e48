//! Bringing segments up to date so that write-ahead files can be used again, in portions between
//! turns: spill, flush, save.
//!
//! ```text
//! Idle -> Spilling{covers} -> Saving{covers} -> Idle
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use klamm_model::{Instant, Offset, TopicPartition};
use klamm_records::segment::{Checkpoint, PartitionCheckpoint, ShardCheckpoint};
use klamm_records::wal::WalPosition;

use crate::effects::{Effect, SmallFile};
use crate::engine::Engine;
use crate::partition::PartitionLog;
use crate::producers;
use crate::waiters::Slot;

/// A core without appends for this long is quiet.
const QUIET: Duration = Duration::from_secs(3);

/// Where the checkpoint under way stands.
#[derive(Debug, Default)]
pub(crate) struct Checkpointer {
    stage: Stage,
    /// Somebody asked for one: shutdown, or the housekeeping.
    wanted: bool,
    /// When the last append was that the one under way covers.
    covers_until: Instant,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// These partitions still have bytes before `covers` that are not durable in segments.
    Spilling {
        covers: WalPosition,
        waiting: BTreeSet<Slot>,
    },
    /// The checkpoint file is being replaced.
    Saving { covers: WalPosition },
}

impl Engine {
    /// Path of this core's checkpoint.
    fn checkpoint_path(&self) -> Arc<str> {
        format!("klamm/checkpoint-{}", self.options.shard).into()
    }

    /// Asks for a checkpoint that covers everything appended so far.
    pub fn request_checkpoint(&mut self) {
        self.checkpointer.wanted = true;
    }

    /// True if segments and checkpoint hold everything: what a clean shutdown waits for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.wal.backlog() == 0
            && matches!(self.checkpointer.stage, Stage::Idle)
            && !self.checkpointer.wanted
    }

    /// Asks for a flush of everything written so far, whether or not somebody waits for it.
    pub fn request_flush(&mut self) {
        self.flush_due = true;
    }

    /// True if the write-ahead log is durable to its end.
    #[must_use]
    pub const fn is_flushed(&self) -> bool {
        self.wal.flushed().0 == self.wal.end().0
    }

    /// Bytes of the write-ahead log that a start would read now.
    #[must_use]
    pub const fn replay_bytes(&self) -> u64 {
        self.wal.backlog()
    }

    /// Moves the checkpoint on as far as it goes without waiting.
    pub(crate) fn drive_checkpoint(&mut self) {
        if matches!(self.checkpointer.stage, Stage::Idle) {
            let wanted = std::mem::take(&mut self.checkpointer.wanted);
            if self.wal.backlog() == 0 || !(wanted || self.wal.wants_checkpoint()) {
                return;
            }
            self.begin_checkpoint();
        }
        let Stage::Spilling { covers, waiting } = &self.checkpointer.stage else {
            return;
        };
        if waiting.is_empty() {
            let covers = *covers;
            self.save_checkpoint(covers);
        }
    }

    fn begin_checkpoint(&mut self) {
        self.seal();
        let covers = self.wal.end();
        self.checkpointer.covers_until = self.last_append;
        let waiting = self.dirty.clone();
        for &slot in &waiting {
            if let Some(log) = self.partition_mut(slot) {
                log.recovery_next = Some(log.recovery_point());
            }
        }
        self.checkpointer.stage = Stage::Spilling {
            covers,
            waiting: waiting.clone(),
        };
        for slot in waiting {
            self.drive_spill(slot);
        }
    }

    /// Hands out the partition's next portion, or its flush once the portions are written.
    pub(crate) fn drive_spill(&mut self, slot: Slot) {
        let Some(log) = self
            .partitions
            .get_mut(slot as usize)
            .and_then(Option::as_mut)
        else {
            self.partition_settled(slot);
            return;
        };
        let Some(target) = log.recovery_next.as_ref().map(|point| point.end_offset) else {
            if log.unspilled_bytes >= self.options.scale.spill_backlog_bytes {
                self.spill(slot);
            }
            return;
        };
        let partition = log.partition;
        if log.spilling.is_some() || log.flushing || self.holds_files(partition) {
            return;
        }
        let log = self.partitions.get_mut(slot as usize);
        let Some(log) = log.and_then(Option::as_mut) else {
            return;
        };
        if log.spilled < target {
            self.spill(slot);
            return;
        }
        log.flushing = true;
        let bases = std::mem::take(&mut log.unflushed);
        let segments = bases
            .into_iter()
            .map(|base| {
                (
                    base,
                    log.segments
                        .get(base)
                        .map_or(0, |found| log.spilled_bytes(found)),
                )
            })
            .collect();
        self.effects.push(Effect::FlushSegments {
            partition: log.partition,
            folder: Arc::clone(&log.folder),
            segments,
        });
    }

    /// Hands out a portion of this partition, if one waits and none is under way.
    pub(crate) fn spill(&mut self, slot: Slot) {
        let portion = self.options.scale.spill_bytes;
        let is_held = |log: &PartitionLog| self.holds_files(log.partition);
        if self.partition(slot).is_some_and(is_held) {
            return;
        }
        let log = self.partition_mut(slot);
        let Some(spill) = log.and_then(|log| log.next_spill(portion)) else {
            return;
        };
        self.stats.spills += 1;
        self.effects.push(Effect::Spill(spill));
    }

    /// A portion is in its segment file.
    pub fn on_spilled(&mut self, partition: TopicPartition, end_offset: Offset) {
        let Some(slot) = self.slot_of(partition) else {
            return;
        };
        let overhead_bytes = self.options.scale.segment_overhead_bytes;
        if let Some(log) = self
            .partitions
            .get_mut(slot as usize)
            .and_then(Option::as_mut)
        {
            assert_eq!(
                log.spill_requested, end_offset,
                "one portion is under way at a time"
            );
            log.spilled = end_offset;
            let before = log.spilled_in;
            log.spilled_in = log.spilling.take().expect("the portion was handed out");
            let settled = if log.spilled == log.leader.cursors().log_end {
                log.owed_bytes
            } else {
                taken_between(before, log.spilled_in, overhead_bytes).min(log.owed_bytes)
            };
            log.owed_bytes -= settled;
            self.space.settle(settled);
        }
        self.drive_spill(slot);
    }

    /// Everything spilled before the flush was asked for is durable.
    pub fn on_segments_flushed(&mut self, partition: TopicPartition) {
        let Some(slot) = self.slot_of(partition) else {
            return;
        };
        if let Some(log) = self.partition_mut(slot) {
            log.flushing = false;
            if let Some(point) = log.recovery_next.take() {
                log.recovery = point;
                log.settle_log_start();
            }
            if !log.is_unsynced() {
                log.is_listed = false;
                self.dirty.remove(&slot);
            }
        }
        self.partition_settled(slot);
        self.drive_checkpoint();
    }

    /// The partition holds up no checkpoint any more.
    pub(crate) fn partition_settled(&mut self, slot: Slot) {
        if let Stage::Spilling { waiting, .. } = &mut self.checkpointer.stage {
            waiting.remove(&slot);
        }
    }

    fn save_checkpoint(&mut self, covers: WalPosition) {
        for log in self.partitions.iter_mut().flatten() {
            log.saving = log.recovery.saved();
        }
        let logs = self.partitions.iter().flatten();
        let partitions = logs.filter_map(|log| checkpoint_of(log, covers)).collect();
        let shard = self.options.shard;
        let checkpoint = Checkpoint {
            shards: vec![ShardCheckpoint {
                shard,
                flushed: covers,
                partitions,
            }],
        };
        self.checkpointer.stage = Stage::Saving { covers };
        self.effects.push(Effect::SaveFile {
            file: SmallFile::Checkpoint,
            path: self.checkpoint_path(),
            bytes: checkpoint.encode().into(),
        });
    }

    pub(crate) fn on_checkpoint_saved(&mut self) {
        if let Stage::Saving { covers } = self.checkpointer.stage {
            self.on_covered(covers, self.checkpointer.covers_until);
            self.checkpointer.stage = Stage::Idle;
            self.remove_trimmed();
            self.stats.checkpoints += 1;
            self.drive_checkpoint();
            if self.quorum_waits_for_room() {
                self.drive_quorum();
            }
        }
    }

    /// Once a second or so: bytes that nobody waits for are flushed in time, and a core that went
    /// quiet brings its segments up to date, so that its files are whole and a restart has nothing to
    /// replay.
    pub fn housekeep(&mut self, now: Instant) {
        self.look_after_flushes(now);
        self.space.knock();
        if self.quorum_waits_for_room() {
            self.drive_quorum();
        }
        if self.wal.backlog() > 0 && now.since(self.last_append) >= QUIET {
            self.request_checkpoint();
        }
    }

    /// Lets chunks go that are beyond the tail's ceiling, and spills partitions with much in
    /// memory.
    pub(crate) fn make_way(&mut self) {
        while let Some(chunk) = self.tail.surplus() {
            let Some(slots) = self.chunk_slots.front() else {
                return;
            };
            let mut held_by = Vec::new();
            for &slot in slots {
                if let Some(log) = self
                    .partitions
                    .get_mut(slot as usize)
                    .and_then(Option::as_mut)
                    && !log.evict(chunk)
                {
                    held_by.push(slot);
                }
            }
            if !held_by.is_empty() {
                for slot in held_by {
                    self.spill(slot);
                }
                return;
            }
            self.chunk_slots.pop_front();
            self.tail.retire_oldest();
        }
    }
}

/// What the disk gave for a portion, by the segments and their bytes before and after it.
fn taken_between(before: (Offset, u64), after: (Offset, u64), overhead_bytes: u64) -> u64 {
    let ((base, bytes), (new_base, new_bytes)) = (before, after);
    if base == new_base && bytes > 0 {
        new_bytes - bytes
    } else {
        new_bytes + overhead_bytes
    }
}

fn checkpoint_of(log: &PartitionLog, covers: WalPosition) -> Option<PartitionCheckpoint> {
    let point = &log.recovery;
    Some(PartitionCheckpoint {
        partition: log.partition,
        topic_name: log.topic.clone(),
        segment_base: point.segment?,
        segment_bytes: point.bytes,
        flushed_end: point.end_offset,
        log_start: point.log_start,
        covered: covers,
        producers: producers::to_checkpoint(&point.producers),
    })
}
