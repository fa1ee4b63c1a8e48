//! Trimming: DeleteRecords moves the start of a log. The new start is an entry of the write-ahead
//! log, and holds once that is durable: nobody is told of a start that a power cut could take back.
//! Segments that lie before it go when a checkpoint no longer speaks of them.
//!
//! ```text
//! entry placed -> flushed: log start moves, reply -> checkpoint saved: whole segments are removed
//! ```

use std::collections::{BTreeMap, VecDeque};

use klamm_model::{Offset, TopicPartition};
use klamm_records::wal::{ENTRY_HEAD_BYTES, EntryHead, WalPosition, write_entry_head};

use crate::api::{Now, Reply, Ticket, TrimError, TrimOutcome, TrimPartition, TrimTo};
use crate::append::Writer;
use crate::effects::Effect;
use crate::engine::Engine;
use crate::partition::{PartitionLog, SavedPoint};
use crate::waiters::Slot;

/// Trims whose entries are not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Trims {
    /// In the order of their entries.
    waiting: VecDeque<WaitingTrim>,
    calls: BTreeMap<u64, TrimCall>,
    next_call: u64,
}

#[derive(Debug)]
struct WaitingTrim {
    wal_end: WalPosition,
    partition: TopicPartition,
    log_start: Offset,
    /// Who asked: a call, and which of its partitions. Nobody asks for retention.
    asked: Option<(u64, usize)>,
}

#[derive(Debug)]
struct TrimCall {
    ticket: Ticket,
    outcomes: Vec<TrimOutcome>,
    waiting: usize,
}

impl Trims {
    /// True if somebody waits for a flush.
    pub(crate) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Engine {
    /// Moves the starts of logs; answered once all that moved are durable.
    pub(crate) fn trim(&mut self, now: Now, ticket: Ticket, partitions: &[TrimPartition]) {
        let call = self.trims.next_call;
        self.trims.next_call += 1;
        let mut outcomes = Vec::with_capacity(partitions.len());
        let mut waiting = 0;
        for (place, wish) in partitions.iter().enumerate() {
            let begun = self.begin_trim(now, wish, Some((call, place)));
            waiting += usize::from(matches!(begun, Ok((_, true))));
            // What holds once the entry is durable.
            outcomes.push(begun.map(|(log_start, _)| log_start));
        }
        if waiting == 0 {
            let reply = Reply::Trim(outcomes);
            self.effects.push(Effect::Reply { ticket, reply });
            return;
        }
        let parked = TrimCall {
            ticket,
            outcomes,
            waiting,
        };
        self.trims.calls.insert(call, parked);
    }

    /// Begins one trim. Gives where the log will start, and whether that waits for a flush.
    pub(crate) fn begin_trim(
        &mut self,
        now: Now,
        wish: &TrimPartition,
        asked: Option<(u64, usize)>,
    ) -> Result<(Offset, bool), TrimError> {
        let (wal_end, log_start) = match self.place_trim(now, wish)? {
            Placed::Entry(wal_end, log_start) => (wal_end, log_start),
            Placed::Nothing(log_start) => return Ok((log_start, false)),
        };
        self.trims.waiting.push_back(WaitingTrim {
            wal_end,
            partition: wish.partition,
            log_start,
            asked,
        });
        Ok((log_start, true))
    }

    /// Puts the entry of one trim into the write-ahead log.
    fn place_trim(&mut self, now: Now, wish: &TrimPartition) -> Result<Placed, TrimError> {
        let slot = self.slot_of(wish.partition);
        let slot = slot.ok_or(TrimError::UnknownPartition)?;
        let log = self.partition(slot).ok_or(TrimError::UnknownPartition)?;
        if !log.config.cleanup.delete {
            return Err(TrimError::Policy);
        }
        let cursors = log.leader.cursors();
        let log_start = match wish.to {
            TrimTo::HighWatermark => cursors.high_watermark,
            TrimTo::Offset(offset) => offset,
        };
        if log_start < Offset::ZERO || log_start > cursors.high_watermark {
            return Err(TrimError::OutOfRange);
        }
        if log_start <= cursors.log_start {
            return Ok(Placed::Nothing(cursors.log_start));
        }
        // What gives room back must not be refused for want of room.
        if self.make_room_for(0, Writer::Broker).is_err() {
            return Err(TrimError::OutOfRoom);
        }
        let stamp = self.wal.stamp(self.wal.end());
        let head = EntryHead::log_start(stamp, wish.partition, log_start);
        self.wal.advance(head.entry_bytes());
        let (_, _, entry) = self.tail.place(head.entry_bytes());
        let bytes = entry.first_chunk_mut::<ENTRY_HEAD_BYTES>();
        write_entry_head(bytes.expect("room was just made"), &head);
        self.last_append = now.instant;
        if let Some(log) = self.partition_mut(slot) {
            log.trim_requested = log.trim_requested.max(log_start);
            log.settle_log_start();
        }
        Ok(Placed::Entry(head.end(), log_start))
    }

    /// Everything before `position` is durable: the starts that stand there hold.
    pub(crate) fn settle_trims(&mut self, position: WalPosition) {
        while let Some(trim) = self
            .trims
            .waiting
            .pop_front_if(|trim| trim.wal_end <= position)
        {
            let slot = self.slot_of(trim.partition);
            let outcome = match slot.and_then(|slot| self.partition_mut(slot)) {
                None => Err(TrimError::UnknownPartition),
                Some(log) => match log.leader.trim(trim.log_start) {
                    Ok(_) => Ok(log.leader.cursors().log_start),
                    Err(_) => Err(TrimError::OutOfRange),
                },
            };
            if slot.is_some_and(|slot| self.has_removable(slot)) {
                self.request_checkpoint();
            }
            let Some((call, place)) = trim.asked else {
                continue;
            };
            let Some(parked) = self.trims.calls.get_mut(&call) else {
                continue;
            };
            if let Some(place) = parked.outcomes.get_mut(place) {
                *place = outcome;
            }
            parked.waiting -= 1;
            if parked.waiting == 0
                && let Some(done) = self.trims.calls.remove(&call)
            {
                self.effects.push(Effect::Reply {
                    ticket: done.ticket,
                    reply: Reply::Trim(done.outcomes),
                });
            }
        }
    }

    fn has_removable(&self, slot: Slot) -> bool {
        let log = self.partition(slot);
        log.is_some_and(|log| log.segments.before(log.leader.cursors().log_start) > 0)
    }

    /// A checkpoint is saved: segments that lie before the start of their log, and that it does not
    /// speak of, are not needed for anything.
    pub(crate) fn remove_trimmed(&mut self) {
        for slot in 0..self.partitions.len() as Slot {
            if let Some(log) = self.partition_mut(slot) {
                log.saved = log.saving;
            }
            self.remove_segments(slot);
        }
    }

    /// Removes the segments of one partition that nothing needs, unless they are being read.
    pub(crate) fn remove_segments(&mut self, slot: Slot) {
        let is_held = |log: &PartitionLog| self.holds_files(log.partition);
        if self.partition(slot).is_some_and(is_held) {
            return;
        }
        let Some(log) = self
            .partitions
            .get_mut(slot as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let mut removed = Vec::new();
        while log.first_is_removable()
            && let Some(base) = log.segments.first_base()
            && log.spilling.is_none_or(|(under_way, _)| under_way != base)
            && !self.cold.reads_segment(log.partition, base)
            && !self.repairs.concern(log.partition, base)
            && !self.compaction.holds(log.partition, base)
        {
            log.segments.remove_first();
            removed.push(base);
        }
        if removed.is_empty() {
            return;
        }
        self.stats.segments_removed += removed.len() as u64;
        self.effects.push(Effect::RemoveSegments {
            partition: log.partition,
            folder: log.folder.clone(),
            segments: removed,
            delay: log.config.file_delete_delay,
        });
    }
}

impl PartitionLog {
    /// The first segment lies before the log's start, as the saved checkpoint knows it too, and
    /// before the one with which a restart goes on: nobody misses its files.
    fn first_is_removable(&self) -> bool {
        let SavedPoint { segment, log_start } = self.saved;
        let log_start = log_start.min(self.leader.cursors().log_start);
        self.segments.before(log_start) > 0 && self.segments.first_base() < segment
    }

    /// Where nothing is on its way to the segments, the next checkpoint takes the start as it will
    /// be; otherwise the one that covers what is on its way does.
    pub(crate) fn settle_log_start(&mut self) {
        if !self.is_unsynced() {
            self.recovery.log_start = self.recovery.log_start.max(self.trim_requested);
        }
    }
}

/// What a trim came to.
enum Placed {
    /// Its entry ends here, and moves the start here.
    Entry(WalPosition, Offset),
    /// The log starts there or later already.
    Nothing(Offset),
}
