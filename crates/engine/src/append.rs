//! The way of a produced batch into the log: validate, admit, place, park (walk "Produce", step 4).

use std::sync::Arc;

use klamm_model::{Acks, BatchHeader, Durability, Offset, Timestamp, TimestampType, TopicConfig};
use klamm_records::batch::{self, ValidateOptions, Validated};
use klamm_records::wal::{
    ENTRY_HEAD_BYTES, EntryHead, FILE_HEAD_BYTES, WalPosition, entry_bytes, write_entry_head,
};
use klamm_replica::{Admission, AppendOrigin, AppendRefused, Placed, ProducerRefused};

use crate::api::{AppendCall, AppendError, AppendPartition, Appended, Now, Reply, Ticket};
use crate::effects::{Effect, WalBegin};
use crate::engine::Engine;
use crate::memory::Wanting;
use crate::partition::{PartitionLog, TailBatch};
use crate::recompress::recompressed;
use crate::waiters::{AppendWaiter, Slot};

/// Devices take memory as it lies if it is aligned to this.
const SECTOR_BYTES: usize = 512;

/// Who wants to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A client: the reserve of the disk is not for him.
    Client,
    /// The broker itself.
    Broker,
}

/// A batch that was placed in the open chunk but not yet sealed.
#[derive(Debug)]
pub(crate) struct PendingBatch {
    pub(crate) slot: Slot,
    /// Where the batch lies, in bytes from the last seal.
    pub(crate) start: usize,
    pub(crate) length: usize,
    /// Everything but the bytes.
    pub(crate) batch: TailBatch,
}

/// A batch that has its place in the log and is about to be written there.
pub(crate) struct Admitted<'a> {
    pub(crate) slot: Slot,
    /// Its bytes as they came.
    pub(crate) records: &'a [u8],
    /// Its place.
    pub(crate) placed: Placed,
    /// Its head as it will be stored, offset and epoch apart.
    pub(crate) header: &'a BatchHeader,
    /// Offset of the record with the largest timestamp.
    pub(crate) max_at: Offset,
}

/// A batch of a call whose offset is not committed yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    slot: Slot,
    end: Offset,
    place: u32,
}

/// What one batch of a call came to.
enum Step {
    /// Answered when the log is committed up to this offset.
    Wait(Slot, Offset, Appended),
    /// Answered now.
    Refused(AppendError),
}

impl Engine {
    /// Appends one batch for each partition of the call, and answers when all are kept.
    pub fn append(&mut self, now: Now, ticket: Ticket, mut call: AppendCall) {
        let mut waits = std::mem::take(&mut self.append_waits);
        for (place, produced) in call.partitions.iter().enumerate() {
            match self.append_one(now, produced) {
                Step::Wait(slot, end, appended) => {
                    let place = place as u32;
                    waits.push(Wait { slot, end, place });
                    call.outcomes.push(Ok(appended));
                }
                Step::Refused(error) => {
                    self.stats.batches_refused += 1;
                    self.stats.bytes_refused += produced.records.len() as u64;
                    let is_full = error == AppendError::OutOfSpace;
                    self.stats.batches_refused_for_space += u64::from(is_full);
                    call.outcomes.push(Err(error));
                }
            }
        }
        // The batches lie in the tail: what they came in can be used again.
        call.partitions.clear();
        waits.retain(|wait| {
            self.partition(wait.slot)
                .is_some_and(|log| log.leader.kept_end() < wait.end)
        });
        if waits.is_empty() || call.acks == Acks::None {
            self.effects.push(Effect::Reply {
                ticket,
                reply: Reply::Append(call),
            });
        } else {
            let parked = self.parked.park(ticket, call, waits.len() as u32);
            for &Wait { slot, end, place } in &waits {
                if let Some(log) = self.partition_mut(slot) {
                    log.append_waiters.push(AppendWaiter {
                        end_offset: end,
                        call: parked,
                        place,
                    });
                }
            }
        }
        waits.clear();
        self.append_waits = waits;
    }

    fn append_one(&mut self, now: Now, produced: &AppendPartition) -> Step {
        let Some(slot) = self.slot_of(produced.partition) else {
            return Step::Refused(AppendError::UnknownPartition);
        };
        let Some(log) = self.partitions.get(slot as usize).and_then(Option::as_ref) else {
            return Step::Refused(AppendError::UnknownPartition);
        };
        let config = Arc::clone(&log.config);
        let begins_segment = log.segments.active().is_none();
        let (validated, kept) = match self.check(now, &config, produced) {
            Ok(checked) => checked,
            Err(error) => return Step::Refused(error),
        };
        let records = kept.as_deref().unwrap_or(&produced.records);
        let mut header = validated.header;
        header.max_timestamp = validated.max_timestamp;
        let log_append_time = (config.timestamp_type == TimestampType::LogAppendTime)
            .then_some(Timestamp(now.wall.0));
        if let Some(time) = log_append_time {
            header.max_timestamp = time;
        }
        // Before the batch has a place: what is admitted must be written.
        if let Err(refused) = self.take_in(records.len(), begins_segment) {
            return Step::Refused(refused);
        }
        let origin = AppendOrigin::Client(produced.transactions);
        let admission = match self.admit(slot, now, &header, origin) {
            Ok(admission) => admission,
            Err(error) => return Step::Refused(error),
        };
        let log_start = self.log_start(slot);
        match admission {
            Admission::Append(placed) => {
                let max_at = placed.base_offset.plus(validated.max_timestamp_delta);
                let admitted = Admitted {
                    slot,
                    records,
                    placed,
                    header: &header,
                    max_at,
                };
                self.place(now, &admitted, |bytes| {
                    let mut validated = validated;
                    batch::stamp_validated(bytes, &mut validated, config.timestamp_type, now.wall);
                });
                let records = header.record_count.unsigned_abs();
                self.count_append(slot, records, produced.records.len());
                let appended = Appended {
                    base_offset: placed.base_offset,
                    log_append_time,
                    log_start,
                };
                Step::Wait(slot, placed.end, appended)
            }
            Admission::Duplicate {
                base_offset,
                last_offset,
                timestamp,
            } => {
                // The first copy was perhaps appended when nobody had to wait for its flush.
                self.commits.await_flush(slot, self.durability(slot));
                let log_append_time = log_append_time.map(|_| timestamp);
                let appended = Appended {
                    base_offset,
                    log_append_time,
                    log_start,
                };
                Step::Wait(slot, last_offset.next(), appended)
            }
        }
    }

    /// Checks a batch against its topic's rules; its bytes too, where the topic keeps it in another
    /// codec than it came in.
    fn check(
        &mut self,
        now: Now,
        config: &TopicConfig,
        produced: &AppendPartition,
    ) -> Result<(Validated, Option<Vec<u8>>), AppendError> {
        let options = rules_of(config, now, produced.zstd_known);
        let scratch = &mut self.scratch;
        let mut validated =
            batch::validate(&produced.records, &options, scratch).map_err(AppendError::Invalid)?;
        let kept = recompressed(config, &produced.records, &mut validated, scratch)?;
        if validated.header.size as u64 > u64::from(config.segment_bytes) {
            return Err(AppendError::LargerThanSegment);
        }
        Ok((validated, kept))
    }

    fn durability(&self, slot: Slot) -> Option<Durability> {
        self.partition(slot).map(|log| log.leader.durability())
    }

    fn log_start(&self, slot: Slot) -> Offset {
        self.partition(slot)
            .map_or(Offset::ZERO, |log| log.leader.cursors().log_start)
    }

    pub(crate) fn admit(
        &mut self,
        slot: Slot,
        now: Now,
        header: &BatchHeader,
        origin: AppendOrigin,
    ) -> Result<Admission, AppendError> {
        let log = self
            .partition_mut(slot)
            .ok_or(AppendError::UnknownPartition)?;
        log.leader
            .append(now.wall, header, origin)
            .map_err(AppendError::from)
    }

    /// Copies an admitted batch into the open chunk behind its entry head, and makes it known to
    /// segments and indexes. `finish` writes what the checksum covers.
    pub(crate) fn place(
        &mut self,
        now: Now,
        admitted: &Admitted<'_>,
        finish: impl FnOnce(&mut [u8]),
    ) {
        let &Admitted {
            slot,
            records,
            placed,
            header,
            max_at,
        } = admitted;
        let aligned = self.is_aligned(records.len());
        let has_room = self.make_room_for(records.len(), Writer::Broker);
        assert!(has_room.is_ok(), "room is made before a batch is admitted");
        let overhead_bytes = self.options.scale.segment_overhead_bytes;
        let log = self.partitions[slot as usize]
            .as_mut()
            .expect("an admitted batch has a log");
        let mut header = *header;
        header.base_offset = placed.base_offset;
        roll_if_due(log, &header, placed);
        let mut owed_bytes = records.len() as u64;
        if log.segments.active().is_none_or(|active| active.bytes == 0) {
            owed_bytes += overhead_bytes;
        }
        log.owed_bytes += owed_bytes;
        self.space.owe(owed_bytes);
        let begin = self.wal.end();
        let gap_bytes = match log.segments.active() {
            Some(segment) if aligned => gap_before(self.wal.place_of(begin).1, segment.bytes),
            _ => 0,
        };
        let (partition, epoch, base) = (log.partition, placed.leader_epoch, placed.base_offset);
        let head = EntryHead::batch(self.wal.stamp(begin), partition, epoch, base, records.len())
            .ending(placed.end)
            .with_gap(gap_bytes);
        self.wal.advance(head.entry_bytes());

        let (chunk, start, entry) = self.tail.place(head.entry_bytes());
        fill_entry(entry, &head, records, |batch_bytes| {
            finish(batch_bytes);
            batch::stamp(batch_bytes, base, epoch);
        });

        let segment = log.segments.active_mut().expect("rolled if there was none");
        let at = segment.bytes;
        segment.append(&header, max_at);
        segment.appended_at = Some(Timestamp(now.wall.0));
        self.last_append = now.instant;
        self.pending.push(PendingBatch {
            slot,
            start: start + head.payload_at(),
            length: records.len(),
            batch: TailBatch {
                base_offset: placed.base_offset,
                end_offset: placed.end,
                max_timestamp: header.max_timestamp,
                chunk,
                segment: segment.base,
                position: at,
                wal_end: head.end(),
                bytes: bytes::Bytes::new(),
            },
        });
        if !std::mem::replace(&mut log.is_listed, true) {
            self.dirty.insert(slot);
        }
        let due = self.options.scale.spill_backlog_bytes;
        let before = log.unspilled_bytes;
        log.unspilled_bytes += records.len();
        if before < due && log.unspilled_bytes >= due {
            self.spill_due.push(slot);
        }
    }

    /// Where placed bytes lie that no effect speaks of yet: file, position in it, bytes. Whatever
    /// ends the process finds them in the file.
    pub fn unsealed_entries(&mut self) -> Option<(u64, u64, &[u8])> {
        let length = self.tail.unsealed() as u64;
        let start = WalPosition(self.wal.end().0 - length);
        if length == 0 {
            return None;
        }
        let (file, at) = self.wal.place_of(start);
        Some((file, at, self.tail.unsealed_bytes()))
    }

    /// True if a batch of this size begins at the place of a sector that it will have in its
    /// segment.
    const fn is_aligned(&self, batch_bytes: usize) -> bool {
        batch_bytes >= self.options.scale.aligned_batch_bytes
    }

    /// Sees to it that there is room for a client's batch, on the disk and in the log.
    fn take_in(&mut self, batch_bytes: usize, begins_segment: bool) -> Result<(), AppendError> {
        let mut owed_bytes = batch_bytes as u64;
        if begins_segment {
            owed_bytes += self.options.scale.segment_overhead_bytes;
        }
        if !self.space.admits(owed_bytes) {
            return Err(AppendError::OutOfSpace);
        }
        self.make_room_for(batch_bytes, Writer::Client)
            .map_err(|wanting| match wanting {
                Wanting::Descriptor => AppendError::OutOfFiles,
                Wanting::Room => AppendError::OutOfSpace,
            })
    }

    /// Seals, rolls the file and opens a chunk as far as a batch of this size needs it.
    ///
    /// # Errors
    /// What is wanting for a new file: that passes. Brought up to date, the segments let older files
    /// be used again meanwhile.
    pub(crate) fn make_room_for(
        &mut self,
        batch_bytes: usize,
        writer: Writer,
    ) -> Result<(), Wanting> {
        let gap_bytes_max = match self.is_aligned(batch_bytes) {
            true => SECTOR_BYTES - 1,
            false => 0,
        };
        let length = entry_bytes(gap_bytes_max + batch_bytes);
        if !self.wal.has_room(length as u64) {
            self.seal();
            return self.begin_file(length as u64, writer);
        }
        if !self.tail.has_room(length) {
            self.seal();
            self.tail.open_chunk(self.wal.open_file());
            self.chunk_slots.push_back(Default::default());
        }
        Ok(())
    }

    /// Sees to it that batches of this size altogether find a file, without taking memory for them.
    ///
    /// # Errors
    /// As [`make_room_for`](Self::make_room_for).
    pub(crate) fn make_file_for(&mut self, bytes: usize, writer: Writer) -> Result<(), Wanting> {
        let length = entry_bytes(SECTOR_BYTES - 1 + bytes) as u64;
        if self.wal.has_room(length) {
            return Ok(());
        }
        self.seal();
        self.begin_file(length, writer)
    }

    /// Goes on in the next write-ahead file, which has room for an entry of `length` bytes. No new
    /// one is made of the disk's reserve as long as there are others that can be used again: the
    /// reserve is for what the broker writes besides.
    fn begin_file(&mut self, length: u64, writer: Writer) -> Result<(), Wanting> {
        let mut begin = self.next_file(length);
        if begin.recycle.is_none() && !self.space.affords(begin.length) {
            let has_files = self.wal.has_files();
            if has_files {
                self.squeeze();
                begin = self.next_file(length);
            }
            let is_permitted = writer == Writer::Broker && !has_files;
            if begin.recycle.is_none() && !is_permitted {
                if !has_files {
                    self.space.refuse(begin.length);
                }
                return Err(Wanting::Room);
            }
        }
        let at = FILE_HEAD_BYTES as u64;
        let opened = self
            .tail
            .open_file(begin.file, begin.recycle, at, begin.length);
        if let Err(wanting) = opened {
            self.squeeze();
            return Err(wanting);
        }
        self.tail.squeeze(false);
        if begin.recycle.is_none() {
            self.space.charge(begin.length);
        }
        self.wal.begin_file(&begin);
        self.chunk_slots.push_back(Default::default());
        self.effects.push(Effect::WalBegin(begin));
        Ok(())
    }

    fn next_file(&mut self, length: u64) -> WalBegin {
        let tail = &mut self.tail;
        self.wal.next_file(length, |file| tail.is_free(file))
    }

    /// Sees to it that files can be used again: what is in segments leaves the memory, the rest is
    /// brought there, and when nothing is left the open file itself is closed.
    fn squeeze(&mut self) {
        self.tail.squeeze(true);
        self.make_way();
        if self.wal.backlog() > 0 {
            self.request_checkpoint();
        } else if self.leave_memory() {
            self.wal.close();
            self.tail.close();
        }
    }

    /// Lets all chunks go. False if a partition has something in one that is in no segment.
    fn leave_memory(&mut self) -> bool {
        while let Some(chunk) = self.tail.oldest() {
            for &slot in self.chunk_slots.front().into_iter().flatten() {
                let log = self.partitions.get_mut(slot as usize);
                if log
                    .and_then(Option::as_mut)
                    .is_some_and(|log| !log.evict(chunk))
                {
                    return false;
                }
            }
            self.chunk_slots.pop_front();
            self.tail.retire_oldest();
        }
        true
    }

    /// Turns everything placed since the last seal into shared bytes: one piece of the
    /// write-ahead file, and a slice of it for each partition's tail.
    pub(crate) fn seal(&mut self) {
        if self.tail.unsealed() == 0 {
            return;
        }
        let region = self.tail.seal();
        let start = WalPosition(self.wal.end().0 - region.len() as u64);
        for pending in self.pending.drain(..) {
            let Some(log) = self
                .partitions
                .get_mut(pending.slot as usize)
                .and_then(Option::as_mut)
            else {
                continue;
            };
            let mut batch = pending.batch;
            batch.bytes = region.slice(pending.start..pending.start + pending.length);
            let durability = log.leader.durability();
            self.commits
                .push(batch.wal_end, pending.slot, batch.end_offset, durability);
            if log.listed_chunk != Some(batch.chunk) {
                log.listed_chunk = Some(batch.chunk);
                if let Some(slots) = self.chunk_slots.back_mut() {
                    slots.insert(pending.slot);
                }
            }
            log.tail.push_back(batch);
        }
        let effect = self.wal.write(start, region);
        self.effects.push(effect);
    }
}

/// What a batch of this topic must keep to.
fn rules_of(config: &TopicConfig, now: Now, zstd_known: bool) -> ValidateOptions {
    ValidateOptions {
        batch_bytes_max: config.message_bytes_max as usize,
        compacted: config.cleanup.compact,
        timestamp_type: config.timestamp_type,
        timestamp_before_ms_max: config.timestamp_before_ms_max,
        timestamp_after_ms_max: config.timestamp_after_ms_max,
        now: now.wall,
        zstd_known,
    }
}

/// Writes a whole entry into memory of its size.
fn fill_entry(entry: &mut [u8], head: &EntryHead, records: &[u8], finish: impl FnOnce(&mut [u8])) {
    let (entry_head, rest) = entry
        .split_first_chunk_mut::<ENTRY_HEAD_BYTES>()
        .expect("room for the head was just made");
    let (gap, rest) = rest.split_at_mut(head.gap_bytes.into());
    let (batch_bytes, padding) = rest.split_at_mut(records.len());
    gap.fill(0);
    batch_bytes.copy_from_slice(records);
    padding.fill(0);
    finish(batch_bytes);
    write_entry_head(entry_head, head);
}

/// Begins a new segment where the next batch asks for one.
fn roll_if_due(log: &mut PartitionLog, header: &BatchHeader, placed: Placed) {
    let config = Arc::clone(&log.config);
    let last_offset = Offset(placed.end.0 - 1);
    let due = log
        .segments
        .must_roll(&config, header.size, header.max_timestamp, last_offset);
    if !due {
        return;
    }
    if let Some(closing) = log.segments.active_mut() {
        closing.close_index();
    }
    log.segments.roll(placed.base_offset, &config);
}

/// Bytes between an entry's head and its payload, so that the payload lies in the write-ahead file,
/// and so in memory, at the same place of a sector as at `segment_at` in its segment.
const fn gap_before(entry_at: u64, segment_at: u64) -> u16 {
    let payload_at = entry_at + ENTRY_HEAD_BYTES as u64;
    (segment_at.wrapping_sub(payload_at) % SECTOR_BYTES as u64) as u16
}

impl From<AppendRefused> for AppendError {
    fn from(refused: AppendRefused) -> Self {
        match refused {
            AppendRefused::Producer(refused) => Self::Producer(refused),
            AppendRefused::Malformed => Self::Malformed,
            AppendRefused::NoTransaction => Self::NoTransaction,
            AppendRefused::LeaderEpoch(_) => Self::UnknownPartition,
            AppendRefused::LogFailed | AppendRefused::OffsetsExhausted => Self::Storage,
        }
    }
}

impl From<ProducerRefused> for AppendError {
    fn from(refused: ProducerRefused) -> Self {
        Self::Producer(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_brings_the_payload_to_the_place_of_a_sector_that_it_has_in_its_segment() {
        for entry_at in (4096..6000).step_by(8) {
            for segment_at in [0, 1, 431, 432, 511, 512, 16_301, (1 << 31) - 1] {
                let gap = u64::from(gap_before(entry_at, segment_at));
                assert!(gap < 512);
                let payload_at = entry_at + ENTRY_HEAD_BYTES as u64 + gap;
                assert_eq!(
                    payload_at % 512,
                    segment_at % 512,
                    "{entry_at} {segment_at}"
                );
            }
        }
    }
}
