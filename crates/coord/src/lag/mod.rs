//! How far groups are behind: of each partition in records, bytes and time, from what its core says
//! of the log; and of each group a verdict, from how both ends moved between looks.

mod book;
mod verdict;

#[cfg(test)]
mod tests;

use std::time::Duration;

use klamm_model::{Offset, PartitionIndex, Timestamp, TopicName, WallTime};

pub use book::{GroupLag, LagBook, LagRules, LaggingPartition, Look, Totals};
pub use verdict::Verdict;

/// What the core that has a partition says of its log, as seen from an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// First offset that can still be read.
    pub log_start: Offset,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// End of what a consumer may read that does not want records of open transactions.
    pub last_stable: Offset,
    /// Bytes from the batch with the offset up to the high watermark; the log's start counts where
    /// the offset lies before it.
    pub bytes: Measured<u64>,
    /// The time of the first record at or behind the offset. `None` where there is none, or where
    /// its batch has no time.
    pub oldest: Option<Measured<Timestamp>>,
}

/// A number, and whether it was counted or judged from the nearest that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured<T> {
    /// The number.
    pub value: T,
    /// It is the number itself.
    pub is_exact: bool,
}

impl<T> Measured<T> {
    /// A number that is known.
    pub const fn exact(value: T) -> Self {
        let is_exact = true;
        Self { value, is_exact }
    }

    /// A number that is judged.
    pub const fn judged(value: T) -> Self {
        let is_exact = false;
        Self { value, is_exact }
    }
}

/// How far one partition's kept offset is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The kept offset: the next record that is to be read.
    pub committed: Offset,
    /// When it was committed.
    pub committed_at: WallTime,
    /// First offset that can still be read.
    pub log_start: Offset,
    /// End of what is committed of the log.
    pub high_watermark: Offset,
    /// End of what is stable.
    pub last_stable: Offset,
    /// Offsets from the kept one, or from the log's start if that is behind it, to the high
    /// watermark. In a compacted log some of them have no record any more.
    pub records: u64,
    /// Those of them before the last stable offset: what a consumer can get that waits for the end
    /// of transactions.
    pub stable_records: u64,
    /// Offsets that were removed before they were read: from the kept one to the log's start.
    pub missed: u64,
    /// Offsets by which the kept one is beyond the high watermark: of another log, or of a mistake.
    pub ahead: u64,
    /// Bytes of batches from the one with the first of these records on.
    pub bytes: Measured<u64>,
    /// The age of the first of these records. Zero where there is none; `None` where it has no time.
    pub age: Option<Measured<Duration>>,
}

impl PartitionLag {
    /// Of an offset that was committed at a time, by what is known of the log at another.
    #[must_use]
    pub fn new(committed: Offset, committed_at: WallTime, facts: &LogFacts, now: WallTime) -> Self {
        let distance = |from: Offset, to: Offset| -> u64 {
            u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
        };
        let next = committed.max(facts.log_start);
        let records = distance(next, facts.high_watermark);
        let age = match facts.oldest {
            _ if records == 0 => Some(Measured::exact(Duration::ZERO)),
            Some(oldest) => {
                let passed = now.0.saturating_sub(oldest.value.0);
                Some(Measured {
                    // Producers' clocks may be ahead.
                    value: Duration::from_millis(u64::try_from(passed).unwrap_or(0)),
                    is_exact: oldest.is_exact,
                })
            }
            None => None,
        };
        Self {
            committed,
            committed_at,
            log_start: facts.log_start,
            high_watermark: facts.high_watermark,
            last_stable: facts.last_stable,
            records,
            stable_records: distance(next, facts.last_stable),
            missed: distance(committed, facts.log_start.min(facts.high_watermark)),
            ahead: distance(facts.high_watermark, committed),
            bytes: if records == 0 {
                Measured::exact(0)
            } else {
                facts.bytes
            },
            age,
        }
    }

    /// From the kept offset to the high watermark, as exporters count it: what was removed unread
    /// included.
    #[must_use]
    pub const fn distance(&self) -> u64 {
        self.records + self.missed
    }
}

/// A kept offset of which the log is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedOffset {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The kept offset.
    pub offset: Offset,
    /// When it was committed.
    pub committed: WallTime,
}
