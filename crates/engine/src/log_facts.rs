//! What a core says of its logs as seen from offsets, for whoever measures how far groups are behind:
//! ends, bytes, and the time of the first record. What is in memory costs two searches; what is not
//! is judged by its segment, or looked up on disk, as far as the call's budget goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use klamm_coord::lag::{LogFacts, Measured};
use klamm_model::{BatchHeader, Offset, Timestamp, TimestampType, TopicPartition};
use klamm_records::batch;
use klamm_records::compress::Scratch;

use crate::api::{LogFactsCall, Ticket};
use crate::effects::{ColdRead, ColdTarget};
use crate::engine::Engine;
use crate::partition::{PartitionLog, TailBatch};
use crate::read::{Asker, ColdAnswer, ColdKind, Wanted};
use crate::segments::Segment;

/// Most places on disk that are remembered; all are forgotten where there are more.
const PLACES_MAX: usize = 16_384;

/// Segments whose bytes are added up, for one offset.
const SEGMENTS_COUNTED_MAX: usize = 4_096;

/// Places of offsets on disk that were looked up, so that a group that does not move costs one read.
/// Only of batches that no compaction has been at.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<(TopicPartition, Offset), Place>);

/// Where the batch with an offset begins, and the time of its first record from the offset on.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: Offset,
    position: u64,
    oldest: Option<Measured<Timestamp>>,
}

impl Places {
    fn remember(&mut self, key: (TopicPartition, Offset), place: Place) {
        if self.0.len() >= PLACES_MAX {
            self.0.clear();
        }
        self.0.insert(key, place);
    }
}

impl Engine {
    /// Says what logs are as seen from offsets.
    pub(crate) fn log_facts(&mut self, ticket: Ticket, call: &LogFactsCall) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut unpacked = call.unpacked_bytes_max;
        let mut facts = Vec::with_capacity(call.questions.len());
        let mut wanted = Vec::new();
        for (place, question) in call.questions.iter().enumerate() {
            let slot = self.slot_of(question.partition);
            let log = slot.and_then(|slot| self.partition(slot));
            let (Some(slot), Some(log)) = (slot, log) else {
                facts.push(None);
                continue;
            };
            let mut budget = Budget {
                scratch: &mut scratch,
                unpacked: &mut unpacked,
            };
            let (found, read) = see(log, question.offset, &self.places, &mut budget);
            facts.push(Some(found));
            if let Some(read) = read
                && wanted.len() < call.reads_max
            {
                let kind = ColdKind::Facts;
                wanted.push(Wanted {
                    place,
                    slot,
                    kind,
                    read,
                });
            }
        }
        self.scratch = scratch;
        let answer = ColdAnswer::Facts(facts);
        self.answer_or_fetch(Asker::Call(ticket), answer, wanted);
    }

    /// The batch with an offset was read from disk: at this position of its segment, if the host
    /// says that.
    pub(crate) fn place_found(
        &mut self,
        partition: TopicPartition,
        segment: Offset,
        target: ColdTarget,
        position: Option<u64>,
        batches: &[Bytes],
        facts: &mut LogFacts,
    ) {
        let ColdTarget::Offset(offset) = target else {
            return;
        };
        let Some((bytes, header)) = batches
            .first()
            .and_then(|bytes| Some((bytes, batch::read(bytes).ok()?)))
        else {
            return;
        };
        let mut unpacked = FOUND_UNPACKED_BYTES_MAX;
        let mut budget = Budget {
            scratch: &mut self.scratch,
            unpacked: &mut unpacked,
        };
        let oldest = time_of(&header, bytes, offset, &mut budget);
        facts.oldest = oldest;
        let Some(position) = position else { return };
        let log = self.slots.get(&partition).copied();
        let log = log.and_then(|slot| self.partitions.get(slot as usize)?.as_ref());
        let Some(log) = log else { return };
        facts.bytes = bytes_from(log, segment, position);
        if log.cleaned_to <= offset {
            let place = Place {
                segment,
                position,
                oldest,
            };
            self.places.remember((partition, offset), place);
        }
    }
}

/// Bytes that a batch that was read from disk is unpacked to at most, for the time of one record.
const FOUND_UNPACKED_BYTES_MAX: usize = 4 << 20;

/// What may be unpacked to find the time of a record in the middle of a batch.
struct Budget<'a> {
    scratch: &'a mut Scratch,
    unpacked: &'a mut usize,
}

/// What a log is as seen from an offset, and the read that would tell exactly what is judged.
fn see(
    log: &PartitionLog,
    offset: Offset,
    places: &Places,
    budget: &mut Budget<'_>,
) -> (LogFacts, Option<ColdRead>) {
    let cursors = log.leader.cursors();
    let next = offset.max(cursors.log_start);
    let mut facts = LogFacts {
        log_start: cursors.log_start,
        high_watermark: cursors.high_watermark,
        last_stable: cursors.last_stable,
        bytes: Measured::exact(0),
        oldest: None,
    };
    if next >= cursors.high_watermark {
        return (facts, None);
    }
    let in_memory = log
        .tail
        .front()
        .is_some_and(|first| first.base_offset <= next);
    if in_memory {
        let place = log.tail.partition_point(|batch| batch.end_offset <= next);
        if let Some(batch) = log.tail.get(place) {
            facts.bytes = bytes_from(log, batch.segment, batch.position);
            facts.oldest = time_in(batch, next, budget);
        }
        return (facts, None);
    }
    let place = places.0.get(&(log.partition, next));
    if let Some(place) = place.filter(|_| log.cleaned_to <= next) {
        facts.bytes = bytes_from(log, place.segment, place.position);
        facts.oldest = place.oldest;
        return (facts, None);
    }
    let Some((segment, after)) = log.segments.holding(next) else {
        // What held it is lost: all that is left is behind it.
        let first = log.segments.iter().next();
        facts.bytes = first.map_or(Measured::judged(0), |first| {
            judged(bytes_from(log, first.base, 0))
        });
        return (facts, None);
    };
    let end = after.unwrap_or(log.spilled);
    let (bytes, oldest) = judge(log, segment, end, next);
    facts.bytes = bytes;
    facts.oldest = oldest;
    let read = ColdRead {
        id: 0,
        partition: log.partition,
        folder: Arc::clone(&log.folder),
        segment: segment.base,
        length: log.spilled_bytes(segment),
        target: ColdTarget::Offset(next),
        end_offset: end.min(log.spilled),
        bytes_max: 1,
    };
    let is_there = read.length > 0 && next < read.end_offset;
    (facts, is_there.then_some(read))
}

/// Bytes from a position of a segment up to the high watermark.
fn bytes_from(log: &PartitionLog, segment: Offset, position: u64) -> Measured<u64> {
    let to_end = bytes_since(log, segment);
    let end = log.leader.cursors().high_watermark;
    let first_behind = log.tail.partition_point(|batch| batch.base_offset < end);
    let not_committed = match log.tail.get(first_behind) {
        Some(batch) => bytes_since(log, batch.segment)
            .value
            .saturating_sub(batch.position),
        None => 0,
    };
    // After a start some of that may be in segments alone.
    let is_exact = first_behind > 0 || end == log.leader.cursors().log_end;
    let behind = position.saturating_add(not_committed);
    Measured {
        value: to_end.value.saturating_sub(behind),
        is_exact: is_exact && to_end.is_exact,
    }
}

/// Bytes of a segment and of all behind it. Where these are very many, the rest is judged by them.
fn bytes_since(log: &PartitionLog, segment: Offset) -> Measured<u64> {
    let (mut bytes, mut count) = (0_u64, 0_usize);
    for one in log.segments.iter().rev() {
        if one.base < segment {
            break;
        }
        if count == SEGMENTS_COUNTED_MAX {
            let all = log.segments.len() - log.segments.before(segment);
            return Measured::judged(bytes / count as u64 * all as u64);
        }
        bytes += one.bytes;
        count += 1;
    }
    Measured::exact(bytes)
}

const fn judged<T: Copy>(measured: Measured<T>) -> Measured<T> {
    Measured::judged(measured.value)
}

/// Bytes and time by where the offset stands between the ends of its segment.
fn judge(
    log: &PartitionLog,
    segment: &Segment,
    end: Offset,
    next: Offset,
) -> (Measured<u64>, Option<Measured<Timestamp>>) {
    if next == segment.base {
        let first = segment
            .first_timestamp
            .or_else(|| segment.max_timestamp.map(|(max, _)| max));
        return (
            bytes_from(log, segment.base, 0),
            first.map(Measured::judged),
        );
    }
    let length = end.0.saturating_sub(segment.base.0).max(1);
    let passed = next.0.saturating_sub(segment.base.0).clamp(0, length);
    let part = passed as f64 / length as f64;
    let position = (segment.bytes as f64 * part) as u64;
    let bytes = judged(bytes_from(log, segment.base, position));
    let oldest = segment.max_timestamp.map(|(max, _)| {
        let first = segment.first_timestamp.unwrap_or(max).min(max);
        let ahead = (max.0.saturating_sub(first.0) as f64 * part) as i64;
        Measured::judged(Timestamp(first.0.saturating_add(ahead)))
    });
    (bytes, oldest)
}

fn time_in(
    batch: &TailBatch,
    next: Offset,
    budget: &mut Budget<'_>,
) -> Option<Measured<Timestamp>> {
    let header = batch::read(&batch.bytes).ok()?;
    time_of(&header, &batch.bytes, next, budget)
}

/// The time of the first record of a batch at or behind an offset.
fn time_of(
    header: &BatchHeader,
    bytes: &Bytes,
    next: Offset,
    budget: &mut Budget<'_>,
) -> Option<Measured<Timestamp>> {
    if header.max_timestamp == Timestamp::NONE {
        return None;
    }
    let attributes = header.attributes;
    let is_whole = i64::from(header.record_count) == i64::from(header.last_offset_delta.0) + 1;
    let has_first = is_whole && !attributes.has_delete_horizon();
    let is_one_time = attributes.timestamp_type() == TimestampType::LogAppendTime
        || has_first && header.base_timestamp == header.max_timestamp;
    if is_one_time {
        return Some(Measured::exact(header.max_timestamp));
    }
    if has_first && next <= header.base_offset {
        return Some(Measured::exact(header.base_timestamp));
    }
    let first = if attributes.has_delete_horizon() {
        header.max_timestamp
    } else {
        header.base_timestamp
    };
    if *budget.unpacked < header.size {
        return Some(Measured::judged(first));
    }
    let Ok(records) = batch::records(bytes, *budget.unpacked, budget.scratch) else {
        // More than may be unpacked: the attempt counts as all of it.
        *budget.unpacked = 0;
        return Some(Measured::judged(first));
    };
    let unpacked = records.bytes_left().max(header.size);
    *budget.unpacked = budget.unpacked.saturating_sub(unpacked);
    let mut records = records.filter_map(Result::ok);
    let time = records.find(|record| record.offset >= next);
    let time = time.map(|record| record.timestamp);
    let behind = || Measured::judged(header.max_timestamp);
    Some(time.map_or_else(behind, Measured::exact))
}
