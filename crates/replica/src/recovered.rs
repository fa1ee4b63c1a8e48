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

    /// The records before `end` that were not replayed are lost for good: their offsets are given
    /// to no other.
    pub fn lose_until(&mut self, end: Offset) {
        self.log_end = self.log_end.max(end);
        self.producers.skip_to(self.log_end);
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

#[cfg(test)]
mod tests {
    use klamm_model::{
        Attributes, OffsetDelta, ProducerEpoch, ProducerId, ProducerStamp, Sequence, Timestamp,
    };

    use super::*;
    use crate::{
        Admission, AppendOrigin, Leader, ProducerSnapshot, ProducersSnapshot, RememberedBatch,
        SnapshotRefused, TransactionVersion,
    };

    const NOW: WallTime = WallTime(1000);

    fn empty() -> Recovered {
        Recovered::empty(
            LogGeneration(1),
            LeaderEpoch(3),
            Durability::Flushed,
            ProducerLimits::default(),
        )
    }

    fn batch(base_offset: i64, delta: i32, leader_epoch: i32) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(base_offset),
            size: 61,
            leader_epoch: LeaderEpoch(leader_epoch),
            checksum: 0,
            attributes: Attributes(0),
            last_offset_delta: OffsetDelta(delta),
            base_timestamp: Timestamp(0),
            max_timestamp: Timestamp(0),
            producer: None,
            record_count: delta + 1,
        }
    }

    fn by(id: i64, epoch: i16, sequence: i32, header: BatchHeader) -> BatchHeader {
        BatchHeader {
            producer: Some(ProducerStamp {
                id: ProducerId(id),
                epoch: ProducerEpoch(epoch),
                base_sequence: Sequence(sequence),
            }),
            ..header
        }
    }

    #[test]
    fn a_batch_that_cannot_follow_is_refused_and_changes_nothing() {
        let mut recovered = empty();
        recovered.replay(NOW, &batch(0, 4, 1)).expect("first");
        recovered
            .replay(NOW, &batch(9, 0, 2))
            .expect("a gap is lawful");
        for wrong in [
            batch(9, 0, 2),
            batch(5, 2, 2),
            batch(-1, 0, 2),
            batch(10, -1, 2),
            batch(i64::MAX, 0, 2),
            batch(i64::MAX - 3, 3, 2),
            batch(10, 0, 1),
        ] {
            let refused = recovered.replay(NOW, &wrong);
            assert!(refused.is_err(), "{wrong:?}");
            assert_eq!(recovered.log_end, Offset(10));
            assert_eq!(recovered.producers.end(), Offset(10));
            assert_eq!(recovered.epochs.entries().len(), 2);
        }
        recovered.replay(NOW, &batch(10, 0, 2)).expect("next");
        Leader::new(recovered).expect("consistent");
    }

    #[test]
    fn a_batch_across_the_end_of_a_snapshot_is_refused() {
        let snapshot = ProducersSnapshot {
            end: Offset(3),
            producers: Vec::new(),
        };
        let mut recovered = empty();
        recovered.producers =
            Producers::restore(&snapshot, ProducerLimits::default()).expect("sound");
        recovered.replay(NOW, &batch(0, 1, 0)).expect("covered");
        assert!(recovered.replay(NOW, &batch(2, 4, 0)).is_err());
        recovered.replay(NOW, &batch(2, 0, 0)).expect("covered");
        recovered.replay(NOW, &batch(3, 4, 0)).expect("behind it");
    }

    #[test]
    fn parts_that_contradict_each_other_make_no_leader() {
        let check = |change: &dyn Fn(&mut Recovered)| {
            let mut recovered = empty();
            recovered.replay(NOW, &batch(0, 4, 1)).expect("first");
            change(&mut recovered);
            Leader::new(recovered).map(|leader| leader.cursors())
        };
        assert!(check(&|_| {}).is_ok());
        assert_eq!(
            check(&|found| found.log_start = Offset(6)).unwrap_err(),
            InconsistentLog::Bounds {
                log_start: Offset(6),
                log_end: Offset(5)
            }
        );
        assert_eq!(
            check(&|found| found.log_end = Offset(9)).unwrap_err(),
            InconsistentLog::ProducersElsewhere {
                covered: Offset(5),
                log_end: Offset(9)
            }
        );
        assert_eq!(
            check(&|found| {
                found.producers = Producers::new(Offset(7), ProducerLimits::default());
            })
            .unwrap_err(),
            InconsistentLog::ProducersElsewhere {
                covered: Offset(7),
                log_end: Offset(5)
            }
        );
        assert!(matches!(
            check(&|found| found.leader_epoch = LeaderEpoch(0)).unwrap_err(),
            InconsistentLog::LeaderEpochAhead { .. }
        ));
        assert!(matches!(
            check(&|found| {
                found
                    .epochs
                    .assign(LeaderEpoch(2), Offset(6))
                    .expect("newer");
            })
            .unwrap_err(),
            InconsistentLog::EpochsBeyondEnd { .. }
        ));
    }

    #[test]
    fn producers_outlive_a_log_that_was_trimmed_behind_their_snapshot() {
        let mut recovered = empty();
        recovered
            .replay(NOW, &by(7, 0, 0, batch(0, 1, 0)))
            .expect("first");
        // Everything up to offset 20 was deleted since; no segment is left.
        recovered.log_start = Offset(20);
        recovered.log_end = Offset(20);
        let mut leader = Leader::new(recovered).expect("consistent");
        let origin = AppendOrigin::Client(TransactionVersion::Two);
        let retry = leader.append(NOW, &by(7, 0, 0, batch(0, 1, 0)), origin);
        assert!(matches!(retry, Ok(Admission::Duplicate { .. })));
        let next = leader.append(NOW, &by(7, 0, 2, batch(0, 0, 0)), origin);
        assert_eq!(next.map(|admission| admission.end()), Ok(Offset(21)));
    }

    #[test]
    fn a_marker_of_a_newer_epoch_lets_that_epoch_begin_at_the_first_sequence() {
        let mut recovered = empty();
        recovered
            .replay(NOW, &by(7, 0, 0, batch(0, 1, 0)))
            .expect("data");
        let marker = BatchHeader {
            attributes: Attributes(0x30),
            ..by(7, 1, -1, batch(2, 0, 0))
        };
        recovered.replay(NOW, &marker).expect("marker");
        let mut leader = Leader::new(recovered).expect("consistent");
        let origin = AppendOrigin::Client(TransactionVersion::Two);
        let old = leader.append(NOW, &by(7, 0, 2, batch(0, 0, 0)), origin);
        assert!(old.is_err(), "fenced by the marker");
        let gap = leader.append(NOW, &by(7, 1, 2, batch(0, 0, 0)), origin);
        assert!(gap.is_err(), "the old epoch's order does not go on");
        let first = leader.append(NOW, &by(7, 1, 0, batch(0, 0, 0)), origin);
        assert_eq!(first.map(|admission| admission.end()), Ok(Offset(4)));
    }

    #[test]
    fn a_log_without_offsets_left_refuses_appends() {
        let mut recovered = empty();
        recovered.log_start = Offset(i64::MAX - 2);
        recovered.log_end = recovered.log_start;
        let mut leader = Leader::new(recovered).expect("consistent");
        let origin = AppendOrigin::Client(TransactionVersion::Two);
        assert!(leader.append(NOW, &batch(0, 2, 0), origin).is_err());
        let last = leader.append(NOW, &batch(0, 1, 0), origin);
        assert_eq!(last.map(|admission| admission.end()), Ok(Offset(i64::MAX)));
        assert!(leader.append(NOW, &batch(0, 0, 0), origin).is_err());
    }

    #[test]
    fn a_snapshot_that_contradicts_itself_is_refused() {
        let remembered = |last_offset, last_sequence, delta| RememberedBatch {
            last_offset: Offset(last_offset),
            timestamp: Timestamp(0),
            last_sequence: Sequence(last_sequence),
            last_offset_delta: OffsetDelta(delta),
        };
        let producer = |id, epoch, batches: &[RememberedBatch]| ProducerSnapshot {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            last_used: WallTime(0),
            batches: batches.to_vec(),
        };
        let restore = |end, producers: &[ProducerSnapshot]| {
            let snapshot = ProducersSnapshot {
                end: Offset(end),
                producers: producers.to_vec(),
            };
            Producers::restore(&snapshot, ProducerLimits::default()).map(|found| found.snapshot())
        };
        let sound = [remembered(4, 1, 1), remembered(9, 4, 2)];
        let whole = producer(1, 0, &sound);
        let restored = restore(10, std::slice::from_ref(&whole)).expect("sound");
        assert_eq!(restored.producers, std::slice::from_ref(&whole));

        assert!(matches!(
            restore(10, &[whole.clone(), whole]),
            Err(SnapshotRefused::Repeated { .. })
        ));
        assert!(matches!(restore(-1, &[]), Err(SnapshotRefused::End { .. })));
        let batches: [&[RememberedBatch]; 8] = [
            &[remembered(-1, 0, 0)],
            &[remembered(i64::MIN, 0, i32::MAX)],
            &[remembered(3, -1, 0)],
            &[remembered(3, 0, -1)],
            &[remembered(3, 0, 4)],
            &[remembered(10, 0, 0)],
            &[remembered(4, 1, 1), remembered(9, 5, 2)],
            &[remembered(9, 1, 1), remembered(9, 4, 2)],
        ];
        for unsound in batches {
            let found = restore(10, &[producer(1, 0, unsound)]);
            assert!(
                matches!(found, Err(SnapshotRefused::Unsound { .. })),
                "{unsound:?}"
            );
        }
        for (id, epoch) in [(-1, 0), (1, -1)] {
            assert!(restore(10, &[producer(id, epoch, &sound)]).is_err());
        }
        let six: Vec<_> = (0..6)
            .map(|place| remembered(place, place as i32, 0))
            .collect();
        assert!(restore(10, &[producer(1, 0, &six)]).is_err());
    }
}
