//! Retention: what is older than `retention.ms`, or beyond `retention.bytes`, leaves its log by whole
//! segments, the oldest first; the segment that is written to stays. The start of the log moves as DeleteRecords moves it: an entry of
//! the write-ahead log that holds once it is durable. A core looks at all its partitions every so
//! often, at some of them in each turn, so that nobody waits for a round.

use std::time::Duration;

use klamm_model::{Instant, Offset, Timestamp, TopicPartition};

use crate::api::{Now, TrimPartition, TrimTo};
use crate::engine::Engine;
use crate::partition::PartitionLog;
use crate::waiters::Slot;

/// Partitions that one turn looks at.
const PARTITIONS_PER_TURN: usize = 64;

/// The first round begins no later than this after the start, as Kafka's.
const FIRST_ROUND: Duration = Duration::from_secs(30);

/// When a core looks for what has expired.
#[derive(Debug)]
pub(crate) struct Retention {
    /// From one round to the next (`log.retention.check.interval.ms`).
    interval: Duration,
    /// When this core first looked at the clock; unknown before its first turn.
    began: Option<Timestamp>,
    /// When a partition is looked at the next time.
    due: Option<Instant>,
    /// Where the round goes on.
    next: usize,
}

impl Retention {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            began: None,
            due: None,
            next: 0,
        }
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The partitions to look at now, of so many, and since when the core looks at all.
    fn take(&mut self, now: Now, count: usize) -> Option<(std::ops::Range<usize>, Timestamp)> {
        let began = *self.began.get_or_insert(Timestamp(now.wall.0));
        let first_round = now.instant.plus(self.interval.min(FIRST_ROUND));
        if now.instant < *self.due.get_or_insert(first_round) {
            return None;
        }
        let from = self.next.min(count);
        let to = count.min(from + PARTITIONS_PER_TURN);
        let is_last = to == count;
        self.next = if is_last { 0 } else { to };
        self.due = Some(match is_last {
            true => now.instant.plus(self.interval),
            false => now.instant,
        });
        Some((from..to, began))
    }
}

impl Engine {
    /// Looks at the next partitions, if a round is due or under way.
    pub(crate) fn look_after_retention(&mut self, now: Now) {
        let count = self.partitions.len();
        let Some((slots, began)) = self.retention.take(now, count) else {
            return;
        };
        for slot in slots {
            self.expire(slot as Slot, now, began);
        }
    }

    fn expire(&mut self, slot: Slot, now: Now, began: Timestamp) {
        let Some(log) = self.partition_mut(slot) else {
            return;
        };
        // The quorum shortens its log by itself.
        if log.partition == TopicPartition::METADATA {
            return;
        }
        let Some(to) = log.expired_before(Timestamp(now.wall.0), began) else {
            return;
        };
        let wish = TrimPartition {
            partition: log.partition,
            to: TrimTo::Offset(to),
        };
        // Without room for the entry the next round tries again.
        let _tried_again = self.begin_trim(now, &wish, None);
    }
}

impl PartitionLog {
    /// The offset after the last segment that is to go, if any is: of those that nobody writes to and
    /// that are committed as a whole, the oldest ones that are too old, or without which the log is
    /// still large enough.
    fn expired_before(&self, now: Timestamp, began: Timestamp) -> Option<Offset> {
        if !self.config.cleanup.delete {
            return None;
        }
        let cursors = self.leader.cursors();
        let start = cursors.log_start.max(self.trim_requested);
        // What lies before the start is gone already.
        let kept = || self.segments.iter().skip(self.segments.before(start));
        let mut bytes: u64 = kept().map(|segment| segment.bytes).sum();
        let ends = kept().skip(1).map(|segment| segment.base);
        let mut expired = None;
        for (segment, end) in kept().zip(ends) {
            let is_old = (self.config.retention_ms)
                .is_some_and(|ms| now.0.saturating_sub(segment.last_time(began).0) > ms);
            bytes -= segment.bytes;
            let is_surplus = (self.config.retention_bytes).is_some_and(|least| bytes >= least);
            if end > cursors.high_watermark || !(is_old || is_surplus) {
                break;
            }
            expired = Some(end);
        }
        expired
    }
}
