//! Compaction: of the logs whose topics say `compact`, the one with the largest part that is not
//! clean yet is brought to the latest record of each key, one at a time on a core. Decides what is
//! read, written and swapped; a host does it (`compaction_work.rs`), and reads go on meanwhile.
//!
//! ```text
//! log start        first dirty            first uncleanable          log end
//! |  clean          |  complete, durable   |  written to, or too young |
//!                   '---- the keys are taken from here
//! '---- segments are written anew, in runs up to segment.bytes ---'
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use klamm_model::{Instant, Offset, Timestamp, TopicPartition};
use klamm_records::batch::{DECOMPRESSED_BYTES_FLOOR, DECOMPRESSED_RATIO_MAX};

use crate::api::Now;
use crate::compaction_work::{
    Clean, Cleaned, CompactDone, CompactFault, CompactJob, CompactStep, Pace, Source, Survey, Swap,
};
use crate::effects::Effect;
use crate::engine::Engine;
use crate::partition::PartitionLog;
use crate::segments::Segment;
use crate::waiters::Slot;

/// Partitions that one turn looks at.
const PARTITIONS_PER_TURN: usize = 64;

/// A log of which something could not be read or written is looked at again after this.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Least memory for the keys of a pass, whatever is configured: Kafka's.
const BUFFER_BYTES_MIN: u64 = 1 << 20;

/// The cleaner as the broker's file configures it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionOptions {
    /// `log.cleaner.enable`.
    pub is_enabled: bool,
    /// `log.cleaner.dedupe.buffer.size`, of all cores together.
    pub buffer_bytes: u64,
    /// `log.cleaner.io.max.bytes.per.second`, of all cores together.
    pub bytes_per_second: f64,
    /// `log.cleaner.backoff.ms`.
    pub backoff: Duration,
}

impl Default for CompactionOptions {
    /// Kafka's.
    fn default() -> Self {
        Self {
            is_enabled: true,
            buffer_bytes: 128 << 20,
            bytes_per_second: f64::MAX,
            backoff: Duration::from_secs(15),
        }
    }
}

/// Compaction of one core.
#[derive(Debug)]
pub(crate) struct Compaction {
    file: CompactionOptions,
    /// When this core first looked at the clock.
    began: Option<Timestamp>,
    /// When partitions are looked at the next time; never as long as none is compacted.
    due: Option<Instant>,
    round: Round,
    pass: Option<Pass>,
    next_pass: u64,
    /// The largest part not clean yet that the last round found, in percent.
    pub(crate) dirty_percent_max: u64,
}

/// A look at all partitions, some in each turn.
#[derive(Debug, Default)]
struct Round {
    next: usize,
    any_compacted: bool,
    dirtiest: f64,
    best: Option<(f64, TopicPartition)>,
}

/// One log under way.
#[derive(Debug)]
struct Pass {
    id: u64,
    partition: TopicPartition,
    first_dirty: Offset,
    /// The keys are known up to here.
    mapped_end: Offset,
    /// Segments before are done.
    position: Offset,
    /// Segments that the host reads now, or that are being replaced; they stay.
    held: Vec<Offset>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The host has a step to do.
    Asked,
    /// It has done it.
    Reported(Result<CompactDone, CompactFault>),
    /// A segment is written; it takes the place of those held when nobody reads them any more.
    Waits(Box<Cleaned>),
    /// The host puts it in their place.
    Swapping(Box<Cleaned>),
    /// It is there.
    Swapped(Box<Cleaned>),
    /// The host ends the pass.
    Ending,
}

/// What is not clean of a log, as far as it can be cleaned.
#[derive(Debug, PartialEq)]
struct Dirty {
    from: Offset,
    sources: Vec<Source>,
    bytes: u64,
    ratio: f64,
    /// Some of it is older than `max.compaction.lag.ms`.
    is_overdue: bool,
}

impl Compaction {
    pub(crate) fn new(file: CompactionOptions) -> Self {
        Self {
            file,
            began: None,
            due: None,
            round: Round::default(),
            pass: None,
            next_pass: 1,
            dirty_percent_max: 0,
        }
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        match self.pass {
            Some(_) => None,
            None => self.due,
        }
    }

    /// There is a compacted log: looks at it in time.
    pub(crate) const fn wake(&mut self) {
        if self.file.is_enabled && self.due.is_none() {
            self.due = Some(Instant(0));
        }
    }

    /// True if a pass over this log is under way.
    pub(crate) fn works_on(&self, partition: TopicPartition) -> bool {
        let pass = self.pass.as_ref();
        pass.is_some_and(|pass| pass.partition == partition)
    }

    /// True if this segment is read for, or replaced by, compaction.
    pub(crate) fn holds(&self, partition: TopicPartition, base: Offset) -> bool {
        let pass = self.pass.as_ref();
        pass.is_some_and(|pass| pass.partition == partition && pass.held.contains(&base))
    }

    /// True if this segment is about to be replaced: nobody begins to read it.
    pub(crate) fn replaces(&self, partition: TopicPartition, base: Offset) -> bool {
        let is_replacing = |pass: &Pass| {
            // Until the list of segments says what the folder says.
            matches!(
                pass.stage,
                Stage::Waits(_) | Stage::Swapping(_) | Stage::Swapped(_)
            )
        };
        self.pass.as_ref().is_some_and(is_replacing) && self.holds(partition, base)
    }
}

impl Engine {
    /// Goes on with the log under way, or looks for the next one.
    pub(crate) fn look_after_compaction(&mut self, now: Now) {
        self.compaction.began.get_or_insert(Timestamp(now.wall.0));
        if self.compaction.pass.is_some() {
            self.drive_pass(now);
        } else if self.compaction.due.is_some_and(|due| now.instant >= due) {
            self.go_round(now);
        }
    }

    /// The host has done what it was asked for, or could not.
    pub fn on_compacted(&mut self, pass: u64, result: Result<CompactDone, CompactFault>) {
        let Some(current) = self.compaction.pass.as_mut().filter(|one| one.id == pass) else {
            return;
        };
        let stage = std::mem::replace(&mut current.stage, Stage::Asked);
        current.stage = match (stage, result) {
            (Stage::Swapping(cleaned), Ok(CompactDone::Swapped)) => Stage::Swapped(cleaned),
            (_, result) => Stage::Reported(result),
        };
    }

    /// Looks at the next partitions; at the end of the round the best of all is begun with.
    fn go_round(&mut self, now: Now) {
        let from = self.compaction.round.next.min(self.partitions.len());
        let to = self.partitions.len().min(from + PARTITIONS_PER_TURN);
        for slot in from..to {
            self.consider(slot as Slot, now);
        }
        self.compaction.round.next = to;
        if to < self.partitions.len() {
            self.compaction.due = Some(now.instant);
            return;
        }
        let round = std::mem::take(&mut self.compaction.round);
        self.compaction.dirty_percent_max = (round.dirtiest * 100.0) as u64;
        if let Some((_, partition)) = round.best {
            self.begin_pass(partition, now);
        }
        let next = self.after_backoff(now);
        self.compaction.due = round.any_compacted.then_some(next);
    }

    fn after_backoff(&self, now: Now) -> Instant {
        let set = self.broker_number("log.cleaner.backoff.ms");
        let backoff = set.map_or(self.compaction.file.backoff, |ms| {
            Duration::from_millis(ms as u64)
        });
        now.instant.plus(backoff.max(Duration::from_millis(1)))
    }

    fn consider(&mut self, slot: Slot, now: Now) {
        let began = self.compaction.began.unwrap_or(Timestamp(now.wall.0));
        let Some(log) = self.partition(slot).filter(|log| log.is_compacted()) else {
            return;
        };
        let partition = log.partition;
        let dirty = log.dirty(Timestamp(now.wall.0), began);
        let ratio_min = log.config.dirty_ratio_min;
        let is_cleanable = !log.is_uncleanable
            && now.instant >= log.compacted_after
            && !self.holds.are_asked_for(partition);
        let round = &mut self.compaction.round;
        round.any_compacted = true;
        let Some(dirty) = dirty else { return };
        round.dirtiest = round.dirtiest.max(dirty.ratio);
        let is_due = dirty.is_overdue || dirty.ratio > ratio_min;
        let is_best = round.best.is_none_or(|(best, _)| dirty.ratio > best);
        if is_due && is_best && is_cleanable {
            round.best = Some((dirty.ratio, partition));
        }
    }

    fn begin_pass(&mut self, partition: TopicPartition, now: Now) {
        let began = self.compaction.began.unwrap_or(Timestamp(now.wall.0));
        if self.holds.are_asked_for(partition) {
            return;
        }
        let log = self
            .slot_of(partition)
            .and_then(|slot| self.partition(slot));
        let Some(dirty) = log.and_then(|log| log.dirty(Timestamp(now.wall.0), began)) else {
            return;
        };
        let id = self.compaction.next_pass;
        self.compaction.next_pass += 1;
        self.compaction.pass = Some(Pass {
            id,
            partition,
            first_dirty: dirty.from,
            mapped_end: dirty.from,
            position: Offset::ZERO,
            held: dirty.sources.iter().map(|source| source.base).collect(),
            stage: Stage::Asked,
        });
        let shards = u64::from(self.options.shards.max(1));
        let buffer = self.broker_number("log.cleaner.dedupe.buffer.size");
        let buffer = buffer.map_or(self.compaction.file.buffer_bytes, |bytes| bytes as u64);
        let buffer = (buffer / shards).max(BUFFER_BYTES_MIN.min(buffer));
        let survey = Survey {
            sources: dirty.sources,
            from: dirty.from,
            buffer_bytes: usize::try_from(buffer).unwrap_or(usize::MAX),
            pace: self.pace(partition),
        };
        self.ask(CompactStep::Survey(survey));
    }

    fn pace(&self, partition: TopicPartition) -> Pace {
        let rate = self.broker_number("log.cleaner.io.max.bytes.per.second");
        let rate = rate.unwrap_or(self.compaction.file.bytes_per_second);
        let log = self
            .slot_of(partition)
            .and_then(|slot| self.partition(slot));
        let batch_bytes = log.map_or(0, |log| log.config.message_bytes_max as usize);
        Pace {
            window_bytes: self.options.scale.compaction_window_bytes,
            bytes_per_second: rate / f64::from(self.options.shards.max(1)),
            decompressed_bytes_max: batch_bytes
                .saturating_mul(DECOMPRESSED_RATIO_MAX)
                .max(DECOMPRESSED_BYTES_FLOOR),
        }
    }

    /// A broker's key as it was set while brokers run, if it was.
    fn broker_number(&self, key: &str) -> Option<f64> {
        let own = self.image.broker_overrides(self.options.node);
        let own = own.and_then(|keys| keys.get(key));
        let set = own.or_else(|| self.image.broker_defaults().get(key))?;
        set.trim()
            .parse()
            .ok()
            .filter(|&number: &f64| number >= 0.0)
    }

    /// Gives the host a step of the pass under way.
    fn ask(&mut self, step: CompactStep) {
        let Some(pass) = &self.compaction.pass else {
            return;
        };
        let Some(log) = self
            .slot_of(pass.partition)
            .and_then(|slot| self.partition(slot))
        else {
            return;
        };
        let job = CompactJob {
            pass: pass.id,
            partition: pass.partition,
            topic: log.topic.clone(),
            folder: Arc::clone(&log.folder),
            step,
        };
        self.effects.push(Effect::Compact(job));
    }

    /// Moves the pass on as far as it goes without waiting.
    fn drive_pass(&mut self, now: Now) {
        let Some(pass) = &mut self.compaction.pass else {
            return;
        };
        let partition = pass.partition;
        let stage = std::mem::replace(&mut pass.stage, Stage::Asked);
        let Some(slot) = self.slot_of(partition) else {
            return self.leave_pass(stage);
        };
        match stage {
            Stage::Asked | Stage::Swapping(_) | Stage::Ending => self.set_stage(stage),
            Stage::Reported(Err(fault)) => self.on_fault(slot, &fault, now),
            Stage::Reported(Ok(done)) => self.on_done(slot, done, now),
            Stage::Waits(cleaned) => self.swap(slot, cleaned, now),
            Stage::Swapped(cleaned) => {
                self.take_over(slot, &cleaned);
                self.next_run(slot, now);
            }
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(pass) = &mut self.compaction.pass {
            pass.stage = stage;
        }
    }

    /// The partition is gone, or is led by somebody else: what the host still does for it comes to
    /// nothing.
    fn leave_pass(&mut self, stage: Stage) {
        if matches!(stage, Stage::Asked | Stage::Swapping(_) | Stage::Ending) {
            return self.set_stage(stage);
        }
        self.compaction.pass = None;
        self.release_reads();
    }

    fn on_fault(&mut self, slot: Slot, fault: &CompactFault, now: Now) {
        if let Some(log) = self.partition_mut(slot) {
            log.is_uncleanable |= fault.is_lasting();
            // Others come first meanwhile.
            log.compacted_after = now.instant.plus(RETRY_AFTER);
        }
        self.stats.compactions_failed += 1;
        self.end_pass(slot, None, Some(fault));
    }

    fn on_done(&mut self, slot: Slot, done: CompactDone, now: Now) {
        match done {
            CompactDone::Surveyed {
                mapped_end,
                bytes_read,
                ..
            } => {
                self.stats.compaction_bytes_read += bytes_read;
                if let Some(pass) = &mut self.compaction.pass {
                    pass.mapped_end = mapped_end;
                }
                self.next_run(slot, now);
            }
            CompactDone::Cleaned(cleaned) => {
                self.stats.compaction_bytes_read += cleaned.bytes_read;
                self.stats.records_compacted += cleaned.stats.records - cleaned.stats.records_kept;
                self.stats.records_without_key += cleaned.stats.records_without_key;
                if cleaned.is_changed {
                    self.stats.compaction_bytes_written += cleaned.bytes;
                    if let Some(pass) = &mut self.compaction.pass {
                        pass.held.truncate(cleaned.sources);
                    }
                    self.swap(slot, cleaned, now);
                } else {
                    self.pass_over(slot, cleaned.sources);
                    self.next_run(slot, now);
                }
            }
            CompactDone::Swapped => self.next_run(slot, now),
            CompactDone::Ended => {
                self.compaction.pass = None;
                // Perhaps another log waits.
                self.compaction.due = Some(now.instant);
            }
        }
    }

    /// These held segments are done.
    fn pass_over(&mut self, slot: Slot, count: usize) {
        let Some(pass) = &self.compaction.pass else {
            return;
        };
        let last = count.checked_sub(1).and_then(|last| pass.held.get(last));
        let position = last.map_or(pass.position, |last| last.next());
        if let Some(pass) = &mut self.compaction.pass {
            pass.position = position;
            pass.held.clear();
        }
        self.remove_segments(slot);
    }

    /// Asks for the next run of segments, or ends the pass.
    fn next_run(&mut self, slot: Slot, now: Now) {
        let Some(pass) = &self.compaction.pass else {
            return;
        };
        let (position, mapped_end, first_dirty) =
            (pass.position, pass.mapped_end, pass.first_dirty);
        let Some(log) = self.partition(slot) else {
            return;
        };
        if !log.is_compacted() {
            return self.end_pass(slot, None, None);
        }
        let sources = log.run_from(position, mapped_end);
        if sources.is_empty() {
            return self.end_pass(slot, Some(mapped_end), None);
        }
        let bytes: u64 = sources.iter().map(|source| source.length).sum();
        let clean = Clean {
            first_dirty,
            mapped_end,
            now: Timestamp(now.wall.0),
            delete_retention_ms: log.config.delete_retention_ms,
            producers_last: log.producers_last(),
            interval_bytes: log.config.index_interval_bytes as usize,
            pace: self.pace(log.partition),
            sources,
        };
        let wanted = bytes + self.options.scale.segment_overhead_bytes;
        if !self.space.affords(wanted) {
            self.on_fault(slot, &CompactFault::OutOfSpace, now);
            return;
        }
        self.space.charge(wanted);
        if let Some(pass) = &mut self.compaction.pass {
            pass.held = clean.sources.iter().map(|source| source.base).collect();
            pass.stage = Stage::Asked;
        }
        self.ask(CompactStep::Clean(clean));
    }

    /// Has a written segment put in the place of those held, once nobody reads them.
    fn swap(&mut self, slot: Slot, cleaned: Box<Cleaned>, now: Now) {
        let Some(pass) = &self.compaction.pass else {
            return;
        };
        let partition = pass.partition;
        let mut held = pass.held.iter();
        let is_read = held.any(|&base| {
            self.cold.reads_segment(partition, base) || self.repairs.concern(partition, base)
        });
        if is_read {
            return self.set_stage(Stage::Waits(cleaned));
        }
        let Some(log) = self.partition(slot) else {
            return;
        };
        let bases = pass.held.clone();
        let end = bases.last().and_then(|&last| log.segments.after(last));
        let Some(end) = end else {
            // The newest segment is never among them.
            return self.on_fault(slot, &CompactFault::Gone, now);
        };
        let delay = log.config.file_delete_delay;
        self.set_stage(Stage::Swapping(cleaned));
        self.ask(CompactStep::Swap(Swap { bases, end, delay }));
    }

    /// The new segment is in the place of those held.
    fn take_over(&mut self, slot: Slot, cleaned: &Cleaned) {
        let Some(pass) = &mut self.compaction.pass else {
            return;
        };
        let bases = std::mem::take(&mut pass.held);
        let partition = pass.partition;
        let (Some(&first), Some(&last)) = (bases.first(), bases.last()) else {
            return;
        };
        pass.position = last.next();
        self.repairs.forget(partition, &bases);
        let Some(log) = self.partition_mut(slot) else {
            return;
        };
        let of_old = log.segments.iter().filter(|old| bases.contains(&old.base));
        let appended_at = of_old.filter_map(|old| old.appended_at).max();
        let mut new = Segment::begin(first, &log.config);
        new.bytes = cleaned.bytes;
        new.max_timestamp = cleaned.largest.map(|entry| (entry.timestamp, entry.offset));
        new.first_timestamp = cleaned.first_timestamp;
        new.appended_at = appended_at;
        new.index = cleaned.index;
        log.segments.replace(&bases, new);
        self.stats.segments_compacted += bases.len() as u64;
        self.release_reads();
        self.remove_segments(slot);
    }

    /// Has the host let go of what the pass holds; `cleaned_to` if it came to its end.
    fn end_pass(&mut self, slot: Slot, cleaned_to: Option<Offset>, fault: Option<&CompactFault>) {
        if let Some(pass) = &mut self.compaction.pass {
            pass.held.clear();
            pass.stage = Stage::Ending;
        }
        if let (Some(end), Some(log)) = (cleaned_to, self.partition_mut(slot)) {
            log.cleaned_to = end;
            self.stats.compactions += 1;
        }
        self.release_reads();
        self.remove_segments(slot);
        let lacks_room = fault == Some(&CompactFault::OutOfSpace);
        self.ask(CompactStep::End {
            cleaned_to,
            lacks_room,
        });
    }

    /// Compacted partitions that are not compacted any more in this life, and bytes of them that
    /// are not clean.
    #[must_use]
    pub fn uncleanable(&self) -> (u64, u64) {
        let logs = self.partitions.iter().flatten();
        let uncleanable = logs.filter(|log| log.is_compacted() && log.is_uncleanable);
        uncleanable.fold((0, 0), |(count, bytes), log| {
            let dirty = log.segments.iter().rev();
            let dirty = dirty.take_while(|segment| segment.base >= log.cleaned_to);
            let dirty: u64 = dirty.map(|segment| segment.bytes).sum();
            (count + 1, bytes + dirty)
        })
    }
}

impl PartitionLog {
    /// True if its topic says so; the quorum's log is shortened by itself.
    pub(crate) fn is_compacted(&self) -> bool {
        self.config.cleanup.compact && self.partition != TopicPartition::METADATA
    }

    /// Segments that are complete and durable, as the saved checkpoint knows, and not before the
    /// start of the log; each with the next one's base.
    fn complete(&self) -> impl Iterator<Item = (&Segment, Offset)> {
        let cursors = self.leader.cursors();
        let committed = cursors.last_stable.min(cursors.high_watermark);
        let gone = self.segments.before(cursors.log_start);
        let kept = || self.segments.iter().skip(gone);
        let ends = kept().skip(1).map(|segment| segment.base);
        let is_complete = move |&(segment, end): &(&Segment, Offset)| {
            Some(segment.base) < self.saved.segment && end <= committed
        };
        kept().zip(ends).take_while(is_complete)
    }

    /// What can be cleaned and is not clean yet, if anything.
    fn dirty(&self, now: Timestamp, began: Timestamp) -> Option<Dirty> {
        let log_start = self.leader.cursors().log_start;
        let from = self.cleaned_to.max(log_start);
        let young = now.0.saturating_sub(self.config.compaction_lag_ms_min);
        let overdue = now.0.saturating_sub(self.config.compaction_lag_ms_max);
        let mut dirty = Dirty {
            from,
            sources: Vec::new(),
            bytes: 0,
            ratio: 0.0,
            is_overdue: false,
        };
        let mut clean_bytes = 0;
        for (segment, next) in self.complete() {
            if next <= from {
                clean_bytes += segment.bytes;
                continue;
            }
            let lags = self.config.compaction_lag_ms_min > 0;
            if lags && segment.last_time(began).0 > young {
                break;
            }
            let first = segment.first_timestamp.map_or(0, |time| time.0);
            dirty.is_overdue |= first > 0 && first < overdue;
            dirty.bytes += segment.bytes;
            dirty.sources.push(Source {
                base: segment.base,
                length: segment.bytes,
                next,
            });
        }
        dirty.ratio = dirty.bytes as f64 / (dirty.bytes + clean_bytes).max(1) as f64;
        (dirty.bytes > 0).then_some(dirty)
    }

    /// The next segments that become one: from `position` on, of those that begin before
    /// `mapped_end`, as many as fit.
    fn run_from(&self, position: Offset, mapped_end: Offset) -> Vec<Source> {
        let mut run: Vec<Source> = Vec::new();
        let mut bytes = 0;
        let rest = self.complete().filter(|(one, _)| one.base >= position);
        for (segment, next) in rest.take_while(|(one, _)| one.base < mapped_end) {
            let first = run.first().map_or(segment.base, |first| first.base);
            let fits = bytes + segment.bytes <= u64::from(self.config.segment_bytes)
                && next.0 - first.0 <= i64::from(i32::MAX);
            if !run.is_empty() && !fits {
                break;
            }
            bytes += segment.bytes;
            run.push(Source {
                base: segment.base,
                length: segment.bytes,
                next,
            });
        }
        run
    }

    /// Last offsets of the newest batches of all producers that are remembered.
    fn producers_last(&self) -> BTreeSet<Offset> {
        let producers = self.leader.producers().snapshot().producers;
        let last = producers.iter().filter_map(|one| one.batches.last());
        last.map(|batch| batch.last_offset).collect()
    }
}
