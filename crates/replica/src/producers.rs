//! What a partition remembers of its idempotent producers (KIP-98, KIP-360, KIP-890): the epoch
//! and the last five batches of each, so that a retry is answered with the offsets of the first
//! copy and a gap is refused. Owned by [`crate::Leader`]; rebuilt from a snapshot and the log.

use std::collections::BTreeMap;
use std::fmt;

use klamm_model::limits::PRODUCER_BATCHES_REMEMBERED;
use klamm_model::{
    BatchHeader, Offset, OffsetDelta, ProducerEpoch, ProducerId, ProducerStamp, Sequence,
    Timestamp, WallTime,
};

use crate::recovered::ReplayRefused;

/// Bytes that one producer takes in the table, key included, before the map's own slack (a B-tree
/// filled in the order of its keys is a little over half full).
pub const PRODUCER_BYTES: usize = size_of::<ProducerId>() + size_of::<Producer>();

const _: () = assert!(PRODUCER_BYTES <= 144);

/// How many producers a partition remembers, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerLimits {
    /// `producer.id.expiration.ms`: a producer that wrote nothing for so long is forgotten.
    pub expiration_ms: i64,
    /// Producers beyond this are refused until one expires.
    pub producers_max: usize,
}

impl Default for ProducerLimits {
    /// Kafka's day, and some 16 MiB of table for one partition at most.
    fn default() -> Self {
        Self {
            expiration_ms: 86_400_000,
            producers_max: 65_536,
        }
    }
}

/// One batch that a retry would be recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedBatch {
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its largest timestamp, as it lies in the log.
    pub timestamp: Timestamp,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Distance of its last record from its first, in offsets and in sequences.
    pub last_offset_delta: OffsetDelta,
}

impl RememberedBatch {
    const NONE: Self = Self {
        last_offset: Offset(-1),
        timestamp: Timestamp::NONE,
        last_sequence: Sequence(-1),
        last_offset_delta: OffsetDelta(0),
    };

    /// Offset of its first record.
    #[must_use]
    pub const fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0 - self.last_offset_delta.0 as i64)
    }

    /// Sequence of its first record.
    #[must_use]
    pub const fn base_sequence(&self) -> Sequence {
        let back = self.last_sequence.0 as i64 - self.last_offset_delta.0 as i64;
        Sequence(back.rem_euclid(i32::MAX as i64 + 1) as i32)
    }

    const fn is_sound(&self) -> bool {
        self.last_sequence.0 >= 0
            && self.last_offset_delta.0 >= 0
            && self.last_offset.0 >= self.last_offset_delta.0 as i64
    }
}

/// The epoch of a producer and the tail of its batches, oldest first.
#[derive(Clone, Copy, Debug)]
struct Producer {
    batches: [RememberedBatch; PRODUCER_BATCHES_REMEMBERED],
    /// Soft: when it last wrote here. Not derivable from the log, so no decision but expiry
    /// reads it.
    last_used: WallTime,
    epoch: ProducerEpoch,
    count: u8,
}

impl Producer {
    const fn new(epoch: ProducerEpoch, last_used: WallTime) -> Self {
        Self {
            batches: [RememberedBatch::NONE; PRODUCER_BATCHES_REMEMBERED],
            last_used,
            epoch,
            count: 0,
        }
    }

    fn batches(&self) -> &[RememberedBatch] {
        &self.batches[..usize::from(self.count)]
    }

    fn last(&self) -> Option<RememberedBatch> {
        self.batches().last().copied()
    }

    /// The only sequence that the next batch of this epoch may begin with.
    fn expected(&self) -> Sequence {
        self.last()
            .map_or(Sequence::FIRST, |batch| batch.last_sequence.next())
    }

    fn push(&mut self, batch: RememberedBatch) {
        if self.last().is_some() && self.expected() != batch.base_sequence() {
            // The log shows a gap only where the producer had been forgotten in between, or where
            // compaction took batches: what lies before says nothing about what comes next.
            self.count = 0;
        }
        if usize::from(self.count) == PRODUCER_BATCHES_REMEMBERED {
            self.batches.rotate_left(1);
        } else {
            self.count += 1;
        }
        self.batches[usize::from(self.count) - 1] = batch;
    }

    fn is_expired(&self, now: WallTime, expiration_ms: i64) -> bool {
        now.0.saturating_sub(self.last_used.0) >= expiration_ms
    }
}

/// What a producer that has no state here may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownProducer {
    /// Any sequence: its state may have expired, and it cannot know (Kafka since 2.5, KIP-360).
    AnySequence,
    /// Only the first: a producer that can bump its epoch starts anew (KIP-890).
    FirstSequence,
}

/// Whether a batch continues its producer's order or repeats a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The next batch of a producer known here.
    Next,
    /// The first batch of a producer unknown here.
    New,
    /// A retry of this one.
    Duplicate(RememberedBatch),
}

/// Why a producer's batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerRefused {
    /// The batch leaves a gap, or repeats something no longer remembered
    /// (`OUT_OF_ORDER_SEQUENCE_NUMBER`).
    OutOfOrderSequence {
        /// The producer.
        id: ProducerId,
        /// First sequence of the batch.
        found: Sequence,
        /// The one that would have been right.
        expected: Sequence,
    },
    /// A newer incarnation of the producer has written here (`INVALID_PRODUCER_EPOCH`).
    StaleProducerEpoch {
        /// The producer.
        id: ProducerId,
        /// Epoch of the batch.
        found: ProducerEpoch,
        /// Epoch known here.
        current: ProducerEpoch,
    },
    /// The table is full of producers none of which has expired. Forgetting one would let its
    /// retries in twice, so the newcomer waits (retriable: `THROTTLING_QUOTA_EXCEEDED`).
    TableFull {
        /// Producers remembered.
        producers: usize,
    },
}

impl fmt::Display for ProducerRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrderSequence {
                id,
                found,
                expected,
            } => write!(
                formatter,
                "expected sequence {} of producer {id}, found {}",
                expected.0, found.0
            ),
            Self::StaleProducerEpoch { id, found, current } => write!(
                formatter,
                "expected epoch {} or newer of producer {id}, found {}",
                current.0, found.0
            ),
            Self::TableFull { producers } => write!(
                formatter,
                "no room for another producer beside {producers} that have not expired"
            ),
        }
    }
}

impl std::error::Error for ProducerRefused {}

/// The batches that the snapshot remembers reach beyond the log's end, and what they displaced is
/// not in it. Rebuild from an older snapshot, or from the start of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildNeeded {
    /// A producer whose earlier batches are unknown.
    pub id: ProducerId,
}

impl fmt::Display for RebuildNeeded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "earlier batches of producer {} are not in the snapshot",
            self.id
        )
    }
}

impl std::error::Error for RebuildNeeded {}

/// A snapshot that this code never wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotRefused {
    /// Its end is negative.
    End {
        /// The end.
        found: Offset,
    },
    /// A producer stands in it twice.
    Repeated {
        /// The producer.
        id: ProducerId,
    },
    /// A producer's epoch or batches contradict themselves, or lie beyond the snapshot's end.
    Unsound {
        /// The producer.
        id: ProducerId,
    },
}

impl fmt::Display for SnapshotRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End { found } => write!(formatter, "snapshot ends at offset {found}"),
            Self::Repeated { id } => write!(formatter, "producer {id} stands there twice"),
            Self::Unsound { id } => {
                write!(formatter, "state of producer {id} contradicts itself")
            }
        }
    }
}

impl std::error::Error for SnapshotRefused {}

/// One producer as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// The producer.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// When it last wrote here.
    pub last_used: WallTime,
    /// Its last batches, oldest first, at most five.
    pub batches: Vec<RememberedBatch>,
}

/// One producer as DescribeProducers shows it (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// The producer.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Its last batch, if any is remembered.
    pub last: Option<RememberedBatch>,
}

/// All producers of a partition as plain data, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ProducersSnapshot {
    /// End of the log that the snapshot covers. A snapshot is of use only once the log is flushed
    /// up to here.
    pub end: Offset,
    /// The producers.
    pub producers: Vec<ProducerSnapshot>,
}

/// What the table did so far. Plain counters since the partition was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ProducerStats {
    /// Producers forgotten because they wrote nothing for `producer.id.expiration.ms`.
    pub expired: u64,
    /// Newcomers refused because the table was full.
    pub refused_full: u64,
}

/// What a replayed batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayedProducer {
    /// The state covers it now.
    Applied,
    /// The state covered it already.
    Known,
}

/// The producers of one partition.
#[derive(Clone, Debug)]
pub struct Producers {
    entries: BTreeMap<ProducerId, Producer>,
    /// End of the log that the entries cover.
    end: Offset,
    limits: ProducerLimits,
    /// No entry expires before this, so a full table need not be searched again.
    none_expires_before: WallTime,
    stats: ProducerStats,
}

impl Producers {
    /// The table of a log of which nothing before `end` needs remembering.
    #[must_use]
    pub const fn new(end: Offset, limits: ProducerLimits) -> Self {
        Self {
            entries: BTreeMap::new(),
            end,
            limits,
            none_expires_before: WallTime(i64::MIN),
            stats: ProducerStats {
                expired: 0,
                refused_full: 0,
            },
        }
    }

    /// End of the log that the table covers.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// Producers remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the entries, without the map's slack.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.entries.len() * PRODUCER_BYTES
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> ProducerStats {
        self.stats
    }

    /// Changes the limits at run time. A lower ceiling forgets no one; it only admits no one new.
    pub const fn set_limits(&mut self, limits: ProducerLimits) {
        self.limits = limits;
        self.none_expires_before = WallTime(i64::MIN);
    }

    /// The producers as plain data, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = ProducerSnapshot> + '_ {
        self.entries.iter().map(|(&id, producer)| ProducerSnapshot {
            id,
            epoch: producer.epoch,
            last_used: producer.last_used,
            batches: producer.batches().to_vec(),
        })
    }

    /// The producers that have not expired at `now`, in the order of their ids.
    pub fn active(&self, now: WallTime) -> impl Iterator<Item = ActiveProducer> + '_ {
        let expiration_ms = self.limits.expiration_ms;
        let entries = self.entries.iter();
        entries
            .filter(move |(_, producer)| !producer.is_expired(now, expiration_ms))
            .map(|(&id, producer)| ActiveProducer {
                id,
                epoch: producer.epoch,
                last: producer.last(),
            })
    }

    /// The table as plain data, all five batches of each producer included, so that a restart
    /// narrows nobody's window.
    #[must_use]
    pub fn snapshot(&self) -> ProducersSnapshot {
        ProducersSnapshot {
            end: self.end,
            producers: self.iter().collect(),
        }
    }

    /// The table that a snapshot describes. It may hold more than `limits` allow: nobody is
    /// forgotten for that.
    ///
    /// # Errors
    /// The snapshot contradicts itself; the host falls back to an older one.
    pub fn restore(
        snapshot: &ProducersSnapshot,
        limits: ProducerLimits,
    ) -> Result<Self, SnapshotRefused> {
        if snapshot.end.0 < 0 {
            return Err(SnapshotRefused::End {
                found: snapshot.end,
            });
        }
        let mut restored = Self::new(snapshot.end, limits);
        for found in &snapshot.producers {
            let unsound = SnapshotRefused::Unsound { id: found.id };
            if found.id.0 < 0
                || found.epoch.0 < 0
                || found.batches.len() > PRODUCER_BATCHES_REMEMBERED
            {
                return Err(unsound);
            }
            let mut producer = Producer::new(found.epoch, found.last_used);
            for &batch in &found.batches {
                if !batch.is_sound() || batch.last_offset >= snapshot.end {
                    return Err(unsound);
                }
                let follows = producer.last().is_none_or(|last| {
                    last.last_offset < batch.base_offset()
                        && last.last_sequence.next() == batch.base_sequence()
                });
                if !follows {
                    return Err(unsound);
                }
                producer.push(batch);
            }
            if restored.entries.insert(found.id, producer).is_some() {
                return Err(SnapshotRefused::Repeated { id: found.id });
            }
        }
        Ok(restored)
    }

    /// Takes in a batch of the log, in the log's order. Batches that the table covers already are
    /// passed over, so a snapshot and an overlapping stretch of log give the right state. `now` is
    /// the time of the replay: when the batch was appended is not in the log, and a producer kept
    /// too long does no harm. The ceiling does not count here: nobody is forgotten for a restart.
    ///
    /// # Errors
    /// The batch's offsets cannot be right; nothing has changed.
    pub fn replay(
        &mut self,
        now: WallTime,
        batch: &BatchHeader,
    ) -> Result<ReplayedProducer, ReplayRefused> {
        self.check_replay(batch)?;
        if batch.end_offset() <= self.end {
            return Ok(ReplayedProducer::Known);
        }
        self.apply(now, batch);
        Ok(ReplayedProducer::Applied)
    }

    pub(crate) const fn check_replay(&self, batch: &BatchHeader) -> Result<(), ReplayRefused> {
        let delta = batch.last_offset_delta.0 as i64;
        let in_range =
            batch.base_offset.0 >= 0 && delta >= 0 && batch.base_offset.0 < i64::MAX - delta;
        if in_range && (batch.base_offset.0 >= self.end.0 || batch.end_offset().0 <= self.end.0) {
            return Ok(());
        }
        Err(ReplayRefused::Overlap {
            base_offset: batch.base_offset,
            log_end: self.end,
        })
    }

    /// The log now starts at `log_start`: nothing before can be replayed any more. Producers whose
    /// batches are gone stay, since their retries may still come.
    pub(crate) fn skip_to(&mut self, log_start: Offset) {
        self.end = self.end.max(log_start);
    }

    /// The table as of `log_end`, if that can be known: the batches beyond it never were.
    ///
    /// # Errors
    /// A producer's batches beyond the end displaced earlier ones, which the table no longer has.
    pub fn truncate_to(mut self, log_end: Offset) -> Result<Self, RebuildNeeded> {
        if self.end <= log_end {
            return Ok(self);
        }
        for (&id, producer) in &mut self.entries {
            let kept = producer
                .batches()
                .partition_point(|batch| batch.last_offset < log_end);
            if kept == producer.batches().len() {
                continue;
            }
            // Only a table that saw the producer's very first batch, and has dropped none since,
            // knows what lies before the ones that go.
            let is_whole = producer.epoch.0 == 0
                && producer.batches().len() < PRODUCER_BATCHES_REMEMBERED
                && producer.batches()[0].base_sequence() == Sequence::FIRST;
            if !is_whole {
                return Err(RebuildNeeded { id });
            }
            producer.count = kept as u8;
        }
        self.entries
            .retain(|_, producer| producer.count > 0 || producer.epoch.0 > 0);
        self.end = log_end;
        Ok(self)
    }

    /// Forgets producers that wrote nothing for `producer.id.expiration.ms`; returns how many.
    pub fn expire(&mut self, now: WallTime) -> usize {
        let expiration_ms = self.limits.expiration_ms;
        let before = self.entries.len();
        let mut oldest = now;
        self.entries.retain(|_, producer| {
            if producer.is_expired(now, expiration_ms) {
                return false;
            }
            // A clock that had been ahead must not keep anyone for longer than the limit.
            producer.last_used = producer.last_used.min(now);
            oldest = oldest.min(producer.last_used);
            true
        });
        let expired = before - self.entries.len();
        self.stats.expired += expired as u64;
        self.none_expires_before = WallTime(oldest.0.saturating_add(expiration_ms));
        expired
    }

    /// Where a client's batch stands in its producer's order.
    pub(crate) fn standing(
        &self,
        stamp: ProducerStamp,
        last_offset_delta: OffsetDelta,
        unknown: UnknownProducer,
    ) -> Result<Standing, ProducerRefused> {
        let ProducerStamp {
            id,
            epoch,
            base_sequence,
        } = stamp;
        let out_of_order = |expected| ProducerRefused::OutOfOrderSequence {
            id,
            found: base_sequence,
            expected,
        };
        let Some(known) = self.entries.get(&id) else {
            return match unknown {
                UnknownProducer::FirstSequence if base_sequence != Sequence::FIRST => {
                    Err(out_of_order(Sequence::FIRST))
                }
                UnknownProducer::FirstSequence | UnknownProducer::AnySequence => Ok(Standing::New),
            };
        };
        self.check_epoch_of(id, epoch)?;
        if epoch > known.epoch {
            return if base_sequence == Sequence::FIRST {
                Ok(Standing::Next)
            } else {
                Err(out_of_order(Sequence::FIRST))
            };
        }
        let duplicate = known.batches().iter().find(|batch| {
            batch.base_sequence() == base_sequence && batch.last_offset_delta == last_offset_delta
        });
        match duplicate {
            Some(&batch) => Ok(Standing::Duplicate(batch)),
            None if base_sequence == known.expected() => Ok(Standing::Next),
            None => Err(out_of_order(known.expected())),
        }
    }

    /// Where a coordinator's batch stands: those carry an epoch but no sequence.
    pub(crate) fn standing_without_sequence(
        &self,
        stamp: ProducerStamp,
    ) -> Result<Standing, ProducerRefused> {
        self.check_epoch_of(stamp.id, stamp.epoch)?;
        Ok(if self.entries.contains_key(&stamp.id) {
            Standing::Next
        } else {
            Standing::New
        })
    }

    fn check_epoch_of(&self, id: ProducerId, found: ProducerEpoch) -> Result<(), ProducerRefused> {
        match self.entries.get(&id) {
            Some(known) if found < known.epoch => Err(ProducerRefused::StaleProducerEpoch {
                id,
                found,
                current: known.epoch,
            }),
            _ => Ok(()),
        }
    }

    /// Makes sure that one more producer fits, at the expense of expired ones only.
    pub(crate) fn make_room(&mut self, now: WallTime) -> Result<(), ProducerRefused> {
        if self.entries.len() >= self.limits.producers_max && now >= self.none_expires_before {
            self.expire(now);
        }
        if self.entries.len() >= self.limits.producers_max {
            self.stats.refused_full += 1;
            return Err(ProducerRefused::TableFull {
                producers: self.entries.len(),
            });
        }
        Ok(())
    }

    /// Takes in a batch at its place in the log. Appends and replays both end here: state is the
    /// same whichever way it came about.
    pub(crate) fn apply(&mut self, now: WallTime, batch: &BatchHeader) {
        assert!(
            batch.base_offset >= self.end && batch.end_offset() > self.end,
            "batch at {} follows the end {} of what is known",
            batch.base_offset,
            self.end
        );
        self.end = batch.end_offset();
        let Some(stamp) = batch
            .producer
            .filter(|stamp| stamp.id.0 >= 0 && stamp.epoch.0 >= 0)
        else {
            return;
        };
        let producer = self
            .entries
            .entry(stamp.id)
            .or_insert_with(|| Producer::new(stamp.epoch, now));
        if stamp.epoch < producer.epoch {
            // Never appended by this code: a newer epoch fences for good.
            return;
        }
        producer.last_used = producer.last_used.max(now);
        if stamp.epoch > producer.epoch {
            producer.epoch = stamp.epoch;
            producer.count = 0;
        }
        if stamp.base_sequence.0 >= 0 && !batch.attributes.is_control() {
            producer.push(RememberedBatch {
                last_offset: batch.last_offset(),
                timestamp: batch.max_timestamp,
                last_sequence: stamp.base_sequence.plus(batch.last_offset_delta),
                last_offset_delta: batch.last_offset_delta,
            });
        }
    }
}
