//! A log that Apache Kafka wrote, examined before it is taken over, without changing anything: every
//! checksum, the order of offsets, holes, and transactions that would be shown as what they are not.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use klamm_model::{BatchHeader, LeaderEpoch, Offset, ProducerId};
use klamm_records::batch;
use klamm_records::compress::Scratch;
use klamm_records::segment::SegmentFault;

/// Types of control records, in the second field of their keys (KIP-98, KIP-630).
const ABORT: i16 = 0;
const COMMIT: i16 = 1;
pub(crate) const SNAPSHOT_FOOTER: i16 = 4;

/// Why a log is not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFault {
    /// Its bytes are no batches in order.
    Damage {
        /// Where, from the segment's first byte.
        at: usize,
        /// What is wrong.
        fault: SegmentFault,
    },
    /// Records of a transaction that was aborted, or has not ended: as long as transactions are not
    /// served they would be shown as committed.
    Transaction {
        /// Whose it is.
        producer: ProducerId,
        /// The first of its records.
        first: Offset,
        /// Where it was aborted; absent, it has not ended.
        aborted: Option<Offset>,
    },
}

impl fmt::Display for LogFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage { at, fault } => write!(formatter, "damaged at byte {at}: {fault}"),
            Self::Transaction {
                producer,
                first,
                aborted: Some(aborted),
            } => write!(
                formatter,
                "the transaction of producer {producer} that begins at offset {first} was aborted \
                 at {aborted}; klamm does not serve transactions yet, and would show its records \
                 as committed"
            ),
            Self::Transaction {
                producer,
                first,
                aborted: None,
            } => write!(
                formatter,
                "the transaction of producer {producer} that begins at offset {first} has not \
                 ended; klamm does not serve transactions yet, and would show its records as \
                 committed"
            ),
        }
    }
}

impl std::error::Error for LogFault {}

/// What is known of a log, segment after segment.
#[derive(Debug)]
pub struct LogExam {
    scratch: Scratch,
    log_start: Offset,
    end: Option<Offset>,
    leader_epoch: LeaderEpoch,
    /// First offsets of transactions that have not ended, those before the start left out.
    open: BTreeMap<ProducerId, Offset>,
}

impl LogExam {
    /// Nothing yet of a log that is read from `log_start` on.
    #[must_use]
    pub fn new(log_start: Offset) -> Self {
        Self {
            scratch: Scratch::default(),
            log_start,
            end: None,
            leader_epoch: LeaderEpoch(0),
            open: BTreeMap::new(),
        }
    }

    /// The offset after the last record; `None` before the first segment.
    #[must_use]
    pub const fn end(&self) -> Option<Offset> {
        self.end
    }

    /// Leader epoch of the last batch.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Takes in the next segment, which begins with `base`. Gives how many offsets are in the holes
    /// before it and in it.
    ///
    /// # Errors
    /// [`LogFault`].
    pub fn segment(&mut self, base: Offset, bytes: &Bytes) -> Result<u64, LogFault> {
        let mut next = base.max(self.end.unwrap_or(base));
        let mut in_holes = offsets_between(self.end.unwrap_or(next), next);
        let mut at = 0;
        while at < bytes.len() {
            let damage = |fault| LogFault::Damage { at, fault };
            let header = batch::verify(&bytes[at..]);
            let header = header.map_err(|error| damage(SegmentFault::Batch(error)))?;
            if header.base_offset < next {
                return Err(damage(SegmentFault::Offset {
                    least: next,
                    found: header.base_offset,
                }));
            }
            if header.leader_epoch < self.leader_epoch {
                return Err(damage(SegmentFault::LeaderEpoch {
                    least: self.leader_epoch,
                    found: header.leader_epoch,
                }));
            }
            in_holes += offsets_between(next, header.base_offset);
            if header.attributes.is_transactional() {
                self.follow(&header, &bytes.slice(at..at + header.size))?;
            }
            self.leader_epoch = header.leader_epoch;
            next = header.end_offset();
            at += header.size;
        }
        self.end = Some(next);
        Ok(in_holes)
    }

    fn follow(&mut self, header: &BatchHeader, batch: &Bytes) -> Result<(), LogFault> {
        let Some(producer) = header.producer else {
            return Ok(());
        };
        if !header.attributes.is_control() {
            if header.record_count > 0 && header.last_offset() >= self.log_start {
                self.open.entry(producer.id).or_insert(header.base_offset);
            }
            return Ok(());
        }
        match control_type(batch, &mut self.scratch) {
            Some(COMMIT) => {
                self.open.remove(&producer.id);
                Ok(())
            }
            Some(ABORT) => match self.open.remove(&producer.id) {
                Some(first) => Err(LogFault::Transaction {
                    producer: producer.id,
                    first,
                    aborted: Some(header.base_offset),
                }),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// There is no more of it.
    ///
    /// # Errors
    /// [`LogFault::Transaction`].
    pub fn finish(&self) -> Result<(), LogFault> {
        let first = self.open.iter().next();
        first.map_or(Ok(()), |(&producer, &first)| {
            Err(LogFault::Transaction {
                producer,
                first,
                aborted: None,
            })
        })
    }
}

/// How many offsets lie from `first` on before `end`.
fn offsets_between(first: Offset, end: Offset) -> u64 {
    (end.0 - first.0).max(0).unsigned_abs()
}

/// What the first record of a control batch is.
pub(crate) fn control_type(batch: &Bytes, scratch: &mut Scratch) -> Option<i16> {
    let mut records = batch::records(batch, usize::MAX, scratch).ok()?;
    let key = records.next()?.ok()?.key?;
    let (_, kind) = key.split_first_chunk::<2>()?;
    Some(i16::from_be_bytes(*kind.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::{ProducerEpoch, ProducerStamp, Sequence, Timestamp};
    use klamm_records::batch::{BatchBuilder, BatchOptions};

    fn batch_of(base: i64, control: Option<i16>, transactional: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: Offset(base),
            leader_epoch: LeaderEpoch(1),
            transactional,
            control: control.is_some(),
            producer: transactional.then_some(ProducerStamp {
                id: ProducerId(7),
                epoch: ProducerEpoch(0),
                base_sequence: Sequence(0),
            }),
            ..BatchOptions::default()
        });
        let key = control.map(|kind| [&[0, 0], kind.to_be_bytes().as_slice()].concat());
        builder.append(Timestamp(1), key.as_deref(), Some(b"value"), &[]);
        builder.build().expect("small")
    }

    fn exam(log_start: i64, batches: &[Vec<u8>]) -> Result<LogExam, LogFault> {
        let mut exam = LogExam::new(Offset(log_start));
        exam.segment(Offset(0), &Bytes::from(batches.concat()))?;
        exam.finish()?;
        Ok(exam)
    }

    #[test]
    fn committed_transactions_pass_and_aborted_or_open_ones_do_not() {
        let (data, plain) = (batch_of(0, None, true), batch_of(1, None, false));
        let committed = [data.clone(), plain.clone(), batch_of(2, Some(COMMIT), true)];
        assert_eq!(exam(0, &committed).expect("sound").end(), Some(Offset(3)));
        let aborted = [data.clone(), plain.clone(), batch_of(2, Some(ABORT), true)];
        let error = exam(0, &aborted).expect_err("aborted");
        assert!(error.to_string().contains("was aborted at 2"), "{error}");
        let open = [data, plain];
        let error = exam(0, &open).expect_err("open");
        assert!(error.to_string().contains("has not ended"), "{error}");
        // Nobody reads what lies before the start.
        assert!(exam(1, &aborted).is_ok() && exam(1, &open).is_ok());
    }

    #[test]
    fn holes_are_told_and_falling_offsets_are_damage() {
        let mut exam = LogExam::new(Offset(0));
        let first = Bytes::from(batch_of(0, None, false));
        assert_eq!(exam.segment(Offset(0), &first), Ok(0));
        let second = [batch_of(5, None, false), batch_of(8, None, false)].concat();
        let second = Bytes::from(second);
        assert_eq!(exam.segment(Offset(4), &second), Ok(3 + 1 + 2));
        assert!(exam.segment(Offset(5), &second).is_err());
    }
}
