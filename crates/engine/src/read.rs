//! Reading: from the tail at once, from segments through cold reads, and the long poll's watches
//! (walk "Fetch", steps 4 to 6).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use klamm_coord::lag::LogFacts;
use klamm_model::{IsolationLevel, LeaderEpoch, Offset, Timestamp, TopicPartition};
use klamm_records::batch;
use klamm_records::compress::Scratch;
use klamm_replica::LeaderEpochRefused;

use crate::api::{
    EpochEnd, OffsetFound, OffsetOutcome, OffsetPosition, OffsetQuestion, OffsetsCall, ReadCall,
    ReadError, ReadOutcome, ReadPartition, Reply, Ticket, WatchCall, Watched,
};
use crate::effects::{ColdError, ColdRead, ColdTarget, Effect};
use crate::engine::Engine;
use crate::partition::{PartitionLog, ReadPlace};
use crate::waiters::Slot;

/// Calls that wait for bytes from segment files.
#[derive(Debug, Default)]
pub(crate) struct ColdReads {
    reads: BTreeMap<u64, ColdPart>,
    /// Not sent yet: their segments are about to be replaced.
    held: Vec<(ColdPart, ColdRead)>,
    calls: BTreeMap<u64, ColdCall>,
    next_read: u64,
    next_call: u64,
}

#[derive(Debug)]
struct ColdPart {
    call: u64,
    place: usize,
    slot: Slot,
    partition: TopicPartition,
    /// Base offset of the segment that is read.
    segment: Offset,
    kind: ColdKind,
    target: ColdTarget,
    /// Offset before which the read ends.
    read_end: Offset,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ColdKind {
    Records,
    Facts,
    Timestamp { at: Timestamp, end: Offset },
}

/// Who wants to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A call.
    Call(Ticket),
    /// The coordinator on this partition, which is loading, for the load of this number.
    Load(TopicPartition, u64),
}

#[derive(Debug)]
struct ColdCall {
    asker: Asker,
    waiting: usize,
    answer: ColdAnswer,
}

#[derive(Debug)]
pub(crate) enum ColdAnswer {
    Read(ReadCall),
    Offsets(Vec<OffsetOutcome>),
    /// What is judged so far; the reads make it exact.
    Facts(Vec<Option<LogFacts>>),
}

impl ColdAnswer {
    fn into_reply(self) -> Reply {
        match self {
            Self::Read(call) => Reply::Read(call),
            Self::Offsets(outcomes) => Reply::Offsets(outcomes),
            Self::Facts(facts) => Reply::LogFacts(facts),
        }
    }
}

impl ColdReads {
    /// True if a read of this segment is under way.
    pub(crate) fn reads_segment(&self, partition: TopicPartition, segment: Offset) -> bool {
        let mut reads = self.reads.values();
        reads.any(|read| read.partition == partition && read.segment == segment)
    }

    /// True if a read of any of its segments is under way.
    pub(crate) fn reads_partition(&self, partition: TopicPartition) -> bool {
        self.reads.values().any(|read| read.partition == partition)
    }

    /// Calls that wait.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }
}

/// What of a call must come from disk.
#[derive(Debug)]
#[must_use]
pub struct ColdWishes(Vec<Wanted>);

impl ColdWishes {
    /// True if everything is answered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A cold read that a call needs: its place in the call, the partition, and the read itself.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) place: usize,
    pub(crate) slot: Slot,
    pub(crate) kind: ColdKind,
    pub(crate) read: ColdRead,
}

impl Engine {
    /// Reads what is there now. Answered in this turn unless bytes must come from disk.
    pub fn read(&mut self, ticket: Ticket, call: ReadCall) {
        self.read_for(Asker::Call(ticket), call);
    }

    pub(crate) fn read_for(&mut self, asker: Asker, mut call: ReadCall) {
        let wishes = self.read_now(&mut call);
        self.answer_or_fetch(asker, ColdAnswer::Read(call), wishes.0);
    }

    /// Gives every partition of a call its outcome, with what is in memory. The call is answered
    /// unless something of it must come from disk: that is for [`read_rest`](Self::read_rest).
    pub fn read_now(&mut self, call: &mut ReadCall) -> ColdWishes {
        let mut wanted = Vec::new();
        let mut budget = call.bytes_max;
        let mut whole_first = call.whole_first;
        for (place, part) in call.partitions.iter().enumerate() {
            let Some(slot) = self.slot_of(part.partition) else {
                call.outcomes
                    .push(ReadOutcome::failed(ReadError::UnknownPartition, None));
                continue;
            };
            let log = self.partitions[slot as usize]
                .as_ref()
                .expect("a mapped slot is taken");
            let mut outcome = check_position(log, part, call.isolation);
            if outcome.error.is_none() && outcome.diverging.is_none() {
                let limit = part.bytes_max.min(budget);
                let end = log.leader.readable_end(call.isolation);
                match log.place_of(part.offset, end) {
                    ReadPlace::Nothing => {}
                    ReadPlace::Lost => outcome.error = Some(ReadError::Storage),
                    ReadPlace::Tail => {
                        let first = call.records.len();
                        let got =
                            log.read_tail(part.offset, end, limit, whole_first, &mut call.records);
                        outcome.records = first..call.records.len();
                        self.count_read(slot, got);
                        budget = budget.saturating_sub(got);
                        whole_first &= got == 0;
                    }
                    ReadPlace::Segment { base, length, end } if whole_first || limit > 0 => {
                        wanted.push(Wanted {
                            place,
                            slot,
                            kind: ColdKind::Records,
                            read: ColdRead {
                                id: 0,
                                partition: part.partition,
                                folder: Arc::clone(&log.folder),
                                segment: base,
                                length,
                                target: ColdTarget::Offset(part.offset),
                                end_offset: end,
                                bytes_max: limit.max(1),
                            },
                        });
                        budget = budget.saturating_sub(limit);
                        whole_first = false;
                    }
                    ReadPlace::Segment { .. } => {}
                }
            }
            call.outcomes.push(outcome);
        }
        ColdWishes(wanted)
    }

    /// Has read from disk what a call lacks, and answers it then.
    pub fn read_rest(&mut self, ticket: Ticket, call: ReadCall, wishes: ColdWishes) {
        self.answer_or_fetch(Asker::Call(ticket), ColdAnswer::Read(call), wishes.0);
    }

    fn answer(&mut self, asker: Asker, answer: ColdAnswer) {
        match (asker, answer) {
            (Asker::Call(ticket), answer) => self.effects.push(Effect::Reply {
                ticket,
                reply: answer.into_reply(),
            }),
            (Asker::Load(partition, number), ColdAnswer::Read(call)) => {
                self.on_slice(partition, number, &call);
            }
            (Asker::Load(..), ColdAnswer::Offsets(_) | ColdAnswer::Facts(_)) => {
                unreachable!("a load reads records")
            }
        }
    }

    pub(crate) fn answer_or_fetch(
        &mut self,
        asker: Asker,
        answer: ColdAnswer,
        wanted: Vec<Wanted>,
    ) {
        if wanted.is_empty() {
            self.answer(asker, answer);
            return;
        }
        let call = self.cold.next_call;
        self.cold.next_call += 1;
        self.cold.calls.insert(
            call,
            ColdCall {
                asker,
                waiting: wanted.len(),
                answer,
            },
        );
        for Wanted {
            place,
            slot,
            kind,
            mut read,
        } in wanted
        {
            read.id = self.cold.next_read;
            self.cold.next_read += 1;
            let part = ColdPart {
                call,
                place,
                slot,
                partition: read.partition,
                segment: read.segment,
                kind,
                target: read.target,
                read_end: read.end_offset,
            };
            self.send_cold_read(part, read);
        }
    }

    /// Has a segment read, unless it is about to be replaced: then what replaces it is read.
    fn send_cold_read(&mut self, part: ColdPart, read: ColdRead) {
        if self.compaction.replaces(read.partition, read.segment)
            || self.holds_files(read.partition)
        {
            self.cold.held.push((part, read));
            return;
        }
        self.cold.reads.insert(read.id, part);
        self.stats.cold_reads += 1;
        self.effects.push(Effect::ColdRead(read));
    }

    /// Sends the reads that waited for segments to be replaced, to wherever their records lie now.
    pub(crate) fn release_reads(&mut self) {
        for (mut part, mut read) in std::mem::take(&mut self.cold.held) {
            let log = self.partition(part.slot);
            let log = log.filter(|log| log.partition == part.partition);
            let found = log.and_then(|log| {
                let (segment, _) = log.segments.holding(read.segment)?;
                Some((segment.base, log.spilled_bytes(segment)))
            });
            let Some((base, length)) = found else {
                // Gone, or trimmed meanwhile: as if it had been read and not found.
                let id = read.id;
                self.cold.reads.insert(id, part);
                self.on_cold_read(id, Err(ColdError::Damaged));
                continue;
            };
            part.segment = base;
            (read.segment, read.length) = (base, length);
            self.send_cold_read(part, read);
        }
    }

    /// A cold read is done: whole batches, each checked against its checksum.
    pub fn on_cold_read(&mut self, id: u64, result: Result<Vec<Bytes>, ColdError>) {
        self.on_cold_read_at(id, result, None);
    }

    /// As [`on_cold_read`](Self::on_cold_read), by a host that says where in the segment the first
    /// batch lies.
    pub fn on_cold_read_at(
        &mut self,
        id: u64,
        result: Result<Vec<Bytes>, ColdError>,
        position: Option<u64>,
    ) {
        let Some(part) = self.cold.reads.remove(&id) else {
            return;
        };
        match part.kind {
            ColdKind::Facts => self.on_facts_read(&part, &result.unwrap_or_default(), position),
            ColdKind::Records | ColdKind::Timestamp { .. } => self.on_records_read(part, result),
        }
    }

    /// Batches were read for a reader, or for a search by time.
    fn on_records_read(&mut self, part: ColdPart, result: Result<Vec<Bytes>, ColdError>) {
        let log = self
            .partitions
            .get(part.slot as usize)
            .and_then(Option::as_ref)
            .filter(|log| log.partition == part.partition);
        let log_is_here = log.is_some();
        let mut bytes_read = 0;
        let Some(call) = self.cold.calls.get_mut(&part.call) else {
            return;
        };
        match (&mut call.answer, part.kind, result) {
            // Dropped meanwhile: its files may be another topic's by now.
            (ColdAnswer::Read(read), ..) if log.is_none() => {
                if let Some(outcome) = read.outcomes.get_mut(part.place) {
                    *outcome = ReadOutcome::failed(ReadError::UnknownPartition, None);
                }
            }
            (ColdAnswer::Offsets(outcomes), ..) if log.is_none() => {
                if let Some(outcome) = outcomes.get_mut(part.place) {
                    *outcome = Err(ReadError::UnknownPartition);
                }
            }
            (ColdAnswer::Read(read), _, Ok(batches)) if !batches.is_empty() => {
                if let Some(outcome) = read.outcomes.get_mut(part.place) {
                    let first = read.records.len();
                    bytes_read = batches.iter().map(Bytes::len).sum();
                    read.records.extend(batches);
                    outcome.records = first..read.records.len();
                }
            }
            // A read is only sent where the log has something: finding nothing is damage, too,
            // unless the start of the log has moved meanwhile.
            (ColdAnswer::Read(read), ..) => {
                if let Some(outcome) = read.outcomes.get_mut(part.place) {
                    outcome.error = Some(read_failure(&part, log));
                }
            }
            (ColdAnswer::Offsets(outcomes), ColdKind::Timestamp { at, end }, Ok(batches)) => {
                match find_behind(&part, log, &batches, at, end) {
                    Found::Now(found) => {
                        if let Some(outcome) = outcomes.get_mut(part.place) {
                            *outcome = found;
                        }
                    }
                    Found::InSegment { read, .. } => {
                        self.read_again(part, read);
                        return;
                    }
                }
            }
            (ColdAnswer::Offsets(outcomes), _, _) => {
                if let Some(outcome) = outcomes.get_mut(part.place) {
                    *outcome = Err(ReadError::Storage);
                }
            }
            (ColdAnswer::Facts(_), ..) => unreachable!("these reads are of another kind"),
        }
        call.waiting -= 1;
        if call.waiting == 0
            && let Some(call) = self.cold.calls.remove(&part.call)
        {
            self.answer(call.asker, call.answer);
        }
        if bytes_read > 0 {
            self.count_read(part.slot, bytes_read);
        }
        // It may have been what kept a trimmed segment.
        if log_is_here {
            self.remove_segments(part.slot);
        }
    }

    /// A batch was read to see where an offset lies. What could not be read stays judged.
    fn on_facts_read(&mut self, part: &ColdPart, batches: &[Bytes], position: Option<u64>) {
        let Some(mut call) = self.cold.calls.remove(&part.call) else {
            return;
        };
        if let ColdAnswer::Facts(all) = &mut call.answer
            && let Some(Some(facts)) = all.get_mut(part.place)
        {
            let (partition, segment) = (part.partition, part.segment);
            self.place_found(partition, segment, part.target, position, batches, facts);
        }
        call.waiting -= 1;
        if call.waiting == 0 {
            self.answer(call.asker, call.answer);
        } else {
            self.cold.calls.insert(part.call, call);
        }
        // It may have been what kept a trimmed segment.
        let log = self.partition(part.slot);
        if log.is_some_and(|log| log.partition == part.partition) {
            self.remove_segments(part.slot);
        }
    }

    /// Goes on with a part of a call whose first cold read did not reach far enough.
    fn read_again(&mut self, part: ColdPart, mut read: ColdRead) {
        read.id = self.cold.next_read;
        self.cold.next_read += 1;
        let again = ColdPart {
            segment: read.segment,
            target: read.target,
            read_end: read.end_offset,
            ..part
        };
        self.send_cold_read(again, read);
    }

    /// Parks a reader until the partitions hold enough, or its deadline comes. Answered at once if
    /// they do already, or if one of them is not here.
    pub fn watch(&mut self, ticket: Ticket, call: &WatchCall) {
        let mut slots = Vec::with_capacity(call.positions.len());
        let mut available = 0_usize;
        for &(partition, offset) in &call.positions {
            let Some(slot) = self.slot_of(partition) else {
                self.tell(ticket, Watched::Over);
                return;
            };
            let log = self.partitions[slot as usize]
                .as_ref()
                .expect("a mapped slot is taken");
            available = available.saturating_add(log.readable_bytes(offset, call.isolation));
            slots.push(slot);
        }
        if available >= call.bytes_min.max(1) {
            self.tell(ticket, Watched::Enough(available));
            return;
        }
        let id = self.watches.park(ticket, call, available, slots.clone());
        for slot in slots {
            if let Some(log) = self.partition_mut(slot) {
                log.watches.push(id);
            }
        }
    }

    /// The reader behind this ticket no longer waits. It is told all the same, once, so that its
    /// call ends.
    pub fn cancel_watch(&mut self, ticket: Ticket) {
        if let Some((id, slots)) = self.watches.cancel(ticket) {
            self.forget_watch(id, &slots);
            self.tell(ticket, Watched::Over);
        }
    }

    pub(crate) fn tell(&mut self, ticket: Ticket, watched: Watched) {
        let reply = Reply::Watch(watched);
        self.effects.push(Effect::Reply { ticket, reply });
    }

    pub(crate) fn forget_watch(&mut self, id: u64, slots: &[Slot]) {
        for &slot in slots {
            if let Some(log) = self.partition_mut(slot) {
                log.watches.retain(|&other| other != id);
            }
        }
    }

    /// Finds offsets by time or by name.
    pub fn offsets(&mut self, ticket: Ticket, call: &OffsetsCall) {
        let mut outcomes = Vec::with_capacity(call.partitions.len());
        let mut wanted = Vec::new();
        for (place, question) in call.partitions.iter().enumerate() {
            let Some(slot) = self.slot_of(question.partition) else {
                outcomes.push(Err(ReadError::UnknownPartition));
                continue;
            };
            let log = self.partitions[slot as usize]
                .as_ref()
                .expect("a mapped slot is taken");
            match find_offset(log, question, call.isolation) {
                Found::Now(outcome) => outcomes.push(outcome),
                Found::InSegment { read, at, end } => {
                    wanted.push(Wanted {
                        place,
                        slot,
                        kind: ColdKind::Timestamp { at, end },
                        read,
                    });
                    outcomes.push(Ok(None));
                }
            }
        }
        self.answer_or_fetch(Asker::Call(ticket), ColdAnswer::Offsets(outcomes), wanted);
    }
}

/// Why a cold read gave nothing: damage, unless the start of the log has moved meanwhile.
fn read_failure(part: &ColdPart, log: Option<&PartitionLog>) -> ReadError {
    let start = log.map(|log| log.leader.cursors().log_start);
    match part.target {
        ColdTarget::Offset(wanted) if start.is_some_and(|start| wanted < start) => {
            ReadError::OutOfRange
        }
        _ => ReadError::Storage,
    }
}

/// The first late record among what a cold read gave, or behind that: the segment's may be among
/// those that were still in memory, the batch's may lie before the start of the log.
fn find_behind(
    part: &ColdPart,
    log: Option<&PartitionLog>,
    batches: &[Bytes],
    at: Timestamp,
    end: Offset,
) -> Found {
    let from = match part.target {
        ColdTarget::Timestamp { from, .. } => from,
        ColdTarget::Offset(_) => Offset::ZERO,
    };
    let epoch_at = |offset| log.and_then(|log| log.leader_epoch_at(offset));
    match (find_timestamp(batches, at, from, end, epoch_at), log) {
        (Ok(None), Some(log)) => {
            let covered = end_of(batches).unwrap_or(part.read_end);
            find_after(log, at, end, covered)
        }
        (found, _) => Found::Now(found),
    }
}

/// Checks epoch and range before anything is read (KIP-320, KIP-595).
fn check_position(
    log: &PartitionLog,
    part: &ReadPartition,
    isolation: IsolationLevel,
) -> ReadOutcome {
    let positions = log.positions();
    let mut outcome = ReadOutcome {
        positions: Some(positions),
        records: 0..0,
        diverging: None,
        error: None,
    };
    if let Err(refused) = log.leader.check_leader_epoch(part.leader_epoch) {
        return ReadOutcome::failed(ReadError::from(refused), Some(positions));
    }
    if let Some(last_epoch) = part.last_epoch {
        match log.leader.end_offset_for(last_epoch) {
            Some(end) if end.leader_epoch < last_epoch || end.end < part.offset => {
                outcome.diverging = Some(EpochEnd {
                    leader_epoch: end.leader_epoch,
                    end_offset: end.end,
                });
                return outcome;
            }
            Some(_) => {}
            None => return ReadOutcome::failed(ReadError::OutOfRange, Some(positions)),
        }
    }
    // A consumer may stand anywhere between the start and the log's end; what lies above its
    // isolation level's end it simply does not get yet.
    let _ = isolation;
    let log_end = log.leader.cursors().log_end;
    if part.offset < positions.log_start || part.offset > log_end {
        return ReadOutcome::failed(ReadError::OutOfRange, Some(positions));
    }
    outcome
}

impl From<LeaderEpochRefused> for ReadError {
    fn from(refused: LeaderEpochRefused) -> Self {
        match refused {
            LeaderEpochRefused::Fenced { .. } => Self::FencedEpoch,
            LeaderEpochRefused::Unknown { .. } => Self::UnknownEpoch,
        }
    }
}

enum Found {
    Now(OffsetOutcome),
    InSegment {
        read: ColdRead,
        at: Timestamp,
        end: Offset,
    },
}

fn find_offset(log: &PartitionLog, question: &OffsetQuestion, isolation: IsolationLevel) -> Found {
    if let Err(refused) = log.leader.check_leader_epoch(question.leader_epoch) {
        return Found::Now(Err(ReadError::from(refused)));
    }
    let positions = log.positions();
    let plain = |offset: Offset, leader_epoch| {
        Found::Now(Ok(Some(OffsetFound {
            offset,
            timestamp: None,
            leader_epoch,
        })))
    };
    match question.position {
        OffsetPosition::Earliest | OffsetPosition::EarliestLocal => plain(
            positions.log_start,
            // An empty log begins, as Kafka has it, in the reign that writes its next record.
            if positions.log_start == log.leader.cursors().log_end {
                Some(log.leader.leader_epoch())
            } else {
                log.leader_epoch_at(positions.log_start)
            },
        ),
        OffsetPosition::Latest => plain(
            log.leader.readable_end(isolation),
            Some(log.leader.leader_epoch()),
        ),
        OffsetPosition::LatestTiered | OffsetPosition::EarliestPendingUpload => {
            Found::Now(Ok(None))
        }
        OffsetPosition::MaxTimestamp => {
            // Segments before the start may still be there.
            let gone = log.segments.before(positions.log_start);
            let kept = log.segments.iter().skip(gone);
            let times = kept.filter_map(|segment| segment.max_timestamp);
            match times.map(|(time, _)| time).max() {
                Some(latest) => {
                    let end = log.leader.readable_end(isolation);
                    find_time(log, latest, end, positions.log_start)
                }
                None => Found::Now(Ok(None)),
            }
        }
        OffsetPosition::At(at) => {
            let end = log.leader.readable_end(isolation);
            find_time(log, at, end, positions.log_start)
        }
    }
}

/// The first record at or after a time: the first segment whose largest timestamp is late enough,
/// then its first such batch, then that batch's first such record. Segments that end at `from` or
/// before have been searched: a largest time that is no record's must not bring the search back.
fn find_time(log: &PartitionLog, at: Timestamp, end: Offset, from: Offset) -> Found {
    if from >= end {
        return Found::Now(Ok(None));
    }
    let first = log.segments.holding(from);
    let first = first.map_or(Offset::ZERO, |(segment, _)| segment.base);
    let late = |segment: &&crate::segments::Segment| {
        let is_late = segment.max_timestamp.is_some_and(|(time, _)| time >= at);
        segment.base >= first && (is_late || !segment.is_max_proven)
    };
    let Some(segment) = log.segments.iter().find(late) else {
        return Found::Now(Ok(None));
    };
    let tail_start = log
        .tail
        .front()
        .map_or_else(|| log.leader.cursors().log_end, |batch| batch.base_offset);
    let length = log.spilled_bytes(segment);
    if tail_start <= segment.base || length == 0 {
        return Found::Now(find_in_tail(log, segment.base.max(from), at, end));
    }
    let next = log
        .segments
        .iter()
        .find(|other| other.base > segment.base)
        .map(|other| other.base);
    let end_offset = next.unwrap_or(log.spilled).min(log.spilled);
    if end_offset <= from {
        return Found::Now(find_in_tail(log, from, at, end));
    }
    Found::InSegment {
        read: ColdRead {
            id: 0,
            partition: log.partition,
            folder: Arc::clone(&log.folder),
            segment: segment.base,
            length,
            target: ColdTarget::Timestamp { at, from },
            end_offset,
            bytes_max: 1,
        },
        at,
        end,
    }
}

/// The search goes on behind what a cold read has covered: in memory, or in the segments again if
/// what was in memory then has left it since. Each further read ends behind `covered`, and none
/// begins at `end` or behind it, so the search ends whatever the files hold.
fn find_after(log: &PartitionLog, at: Timestamp, end: Offset, covered: Offset) -> Found {
    let in_memory = log.tail.front().map(|first| first.base_offset);
    if in_memory.is_some_and(|first| first <= covered) || log.spilled <= covered {
        return Found::Now(find_in_tail(log, covered, at, end));
    }
    find_time(log, at, end, covered)
}

fn find_in_tail(log: &PartitionLog, from: Offset, at: Timestamp, end: Offset) -> OffsetOutcome {
    let first = log.tail.partition_point(|batch| batch.end_offset <= from);
    let late = log.tail.range(first..);
    for batch in late.filter(|batch| batch.max_timestamp >= at) {
        let bytes = std::slice::from_ref(&batch.bytes);
        let epoch_at = |offset| log.leader_epoch_at(offset);
        let found = find_timestamp(bytes, at, from, end, epoch_at)?;
        if found.is_some() || batch.end_offset >= end {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Offset after the last of these batches.
fn end_of(batches: &[Bytes]) -> Option<Offset> {
    let mut end = None;
    for run in batches {
        let mut rest = &run[..];
        while let Ok(header) = batch::read(rest) {
            end = Some(header.end_offset());
            rest = rest.get(header.size..).unwrap_or_default();
        }
    }
    end
}

fn find_timestamp(
    batches: &[Bytes],
    at: Timestamp,
    from: Offset,
    end: Offset,
    epoch_at: impl Fn(Offset) -> Option<LeaderEpoch>,
) -> OffsetOutcome {
    let mut scratch = Scratch::default();
    for bytes in batches {
        let records =
            batch::records(bytes, usize::MAX, &mut scratch).map_err(|_| ReadError::Storage)?;
        for record in records {
            let record = record.map_err(|_| ReadError::Storage)?;
            if record.timestamp >= at && record.offset >= from {
                let offset = record.offset;
                return Ok((offset < end).then(|| OffsetFound {
                    offset,
                    timestamp: Some(record.timestamp),
                    leader_epoch: epoch_at(offset),
                }));
            }
        }
    }
    Ok(None)
}
