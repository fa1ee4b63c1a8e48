//! What recovery found in a partition's log: the state from which a [`crate::Leader`] starts.
//! Built from checkpoints, brought up to date by replaying the batches behind them.

use std::fmt;

use klamm_model::{BatchHeader, Durability, LeaderEpoch, Offset, WallTime};

use crate::epochs::{AssignRefused, LeaderEpochCache};
use crate::leader::LogGeneration;
use crate::producers::{ProducerLimits, Producers};

/// A log as it was found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Number of this opening of the log; larger than that of every earlier one.
    pub generation: LogGeneration,
    /// First offset that can be read.
    pub log_start: Offset,
    /// Offset that the next record gets; before the replay, the offset where the replay begins. A
    /// log all of whose batches were trimmed ends at `log_start`. Everything below is flushed.
    pub log_end: Offset,
    /// The reign in which this node leads, from the metadata.
    pub leader_epoch: LeaderEpoch,
    /// The reigns found in the log.
    pub epochs: LeaderEpochCache,
    /// The producers as of `log_end`.
    pub producers: Producers,
    /// `klamm.durability` of the topic.
    pub durability: Durability,
}

/// A batch that cannot follow those before it: the log is damaged, or the checkpoint is not of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayRefused {
    /// Its offsets run backwards, leave the range of offsets, or overlap what was replayed before.
    Overlap {
        /// Its first offset.
        base_offset: Offset,
        /// The end of what was replayed before.
        log_end: Offset,
    },
    /// Its leader epoch is older than one before it.
    LeaderEpoch(AssignRefused),
}

impl fmt::Display for ReplayRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap {
                base_offset,
                log_end,
            } => write!(
                formatter,
                "expected a batch at offset {log_end} or later, found one at {base_offset}"
            ),
            Self::LeaderEpoch(refused) => refused.fmt(formatter),
        }
    }
}

impl std::error::Error for ReplayRefused {}

/// Why no leader can start from what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InconsistentLog {
    /// The log's start is negative or lies behind its end.
    Bounds {
        /// Its start.
        log_start: Offset,
        /// Its end.
        log_end: Offset,
    },
    /// The log holds records of a reign that the metadata does not know yet: the metadata, or this
    /// directory, is an old copy.
    LeaderEpochAhead {
        /// The last reign in the log.
        found: LeaderEpoch,
        /// The reign in the metadata.
        current: LeaderEpoch,
    },
    /// The last reign begins behind the end of the log.
    EpochsBeyondEnd {
        /// Where it begins.
        start: Offset,
        /// The log's end.
        log_end: Offset,
    },
    /// Producer state covers another stretch of the log.
    ProducersElsewhere {
        /// End of what it covers.
        covered: Offset,
        /// The log's end.
        log_end: Offset,
    },
}

impl fmt::Display for InconsistentLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounds { log_start, log_end } => write!(
                formatter,
                "log starts at offset {log_start} and ends at offset {log_end}"
            ),
            Self::LeaderEpochAhead { found, current } => write!(
                formatter,
                "log holds leader epoch {found}, the metadata knows only {current}"
            ),
            Self::EpochsBeyondEnd { start, log_end } => write!(
                formatter,
                "last leader epoch starts at offset {start}, the log ends at offset {log_end}"
            ),
            Self::ProducersElsewhere { covered, log_end } => write!(
                formatter,
                "producer state ends at offset {covered}, the log ends at offset {log_end}"
            ),
        }
    }
}

impl std::error::Error for InconsistentLog {}

impl Recovered {
    /// A log without records.
    #[must_use]
    pub const fn empty(
        generation: LogGeneration,
        leader_epoch: LeaderEpoch,
        durability: Durability,
        limits: ProducerLimits,
    ) -> Self {
        Self {
            generation,
            log_start: Offset::ZERO,
            log_end: Offset::ZERO,
            leader_epoch,
            epochs: LeaderEpochCache::new(),
            producers: Producers::new(Offset::ZERO, limits),
            durability,
        }
    }

    /// Takes in the next batch of the log. `log_end` moves behind it; producers pass over what
    /// their snapshot covers. Cut `epochs` at the offset where the replay begins, before it
    /// begins: a checkpoint may be ahead of the bytes that survived.
    ///
    /// # Errors
    /// The batch cannot follow the ones before; nothing has changed.
    pub fn replay(&mut self, now: WallTime, batch: &BatchHeader) -> Result<(), ReplayRefused> {
        if batch.base_offset < self.log_end {
            return Err(ReplayRefused::Overlap {
                base_offset: batch.base_offset,
                log_end: self.log_end,
            });
        }
        self.producers.check_replay(batch)?;
        self.epochs
            .assign(batch.leader_epoch, batch.base_offset)
            .map_err(ReplayRefused::LeaderEpoch)?;
        self.producers.replay(now, batch)?;
        self.log_end = batch.end_offset();
        Ok(())
    }

    pub(crate) fn check(&mut self) -> Result<(), InconsistentLog> {
        let (log_start, log_end) = (self.log_start, self.log_end);
        if log_start.0 < 0 || log_start > log_end {
            return Err(InconsistentLog::Bounds { log_start, log_end });
        }
        if let Some(latest) = self.epochs.latest() {
            if latest.leader_epoch > self.leader_epoch {
                return Err(InconsistentLog::LeaderEpochAhead {
                    found: latest.leader_epoch,
                    current: self.leader_epoch,
                });
            }
            if latest.start > log_end {
                return Err(InconsistentLog::EpochsBeyondEnd {
                    start: latest.start,
                    log_end,
                });
            }
        }
        self.producers.skip_to(log_start);
        let covered = self.producers.end();
        if covered != log_end {
            return Err(InconsistentLog::ProducersElsewhere { covered, log_end });
        }
        Ok(())
    }
}
