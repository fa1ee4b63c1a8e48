//! The leader's side of a partition whose in-sync set is this node alone: it places batches, and
//! moves the high watermark as the node's own bytes become safe. Owned by the engine's partition;
//! step 4 and 6 of the Produce walk, step 4 of the Fetch walk.

use std::fmt;

use klamm_model::{
    Acks, BatchHeader, Cursors, Durability, IsolationLevel, LeaderEpoch, Offset, Timestamp,
    WallTime,
};

use crate::epochs::{EpochEnd, LeaderEpochCache};
use crate::producers::{ProducerLimits, ProducerRefused, Producers, Standing, UnknownProducer};
use crate::recovered::{InconsistentLog, Recovered};

/// Number of one uninterrupted life of a log's bytes. Whenever a log is opened or cut, it gets a
/// larger one, so that a completion that was under way for other bytes at the same offsets is
/// told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LogGeneration(pub u64);

impl LogGeneration {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What the sender of a batch knows of transactions (KIP-890), by the version of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionVersion {
    /// Produce up to version 11: a producer keeps its epoch from one transaction to the next.
    One,
    /// Produce from version 12 on: every transaction has an epoch of its own.
    Two,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client's Produce request.
    Client(TransactionVersion),
    /// A coordinator hosted on this partition. Carries the reign in which it loaded its state, so
    /// that what it decided under another one is not written.
    Coordinator(LeaderEpoch),
}

/// A place in the log that now belongs to one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Offset of the first record, to be stamped into the batch.
    pub base_offset: Offset,
    /// Offset after the last record; what a waiter waits for.
    pub end: Offset,
    /// To be stamped into the batch.
    pub leader_epoch: LeaderEpoch,
    /// To be handed back with the completion.
    pub generation: LogGeneration,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is to be written here.
    Append(Placed),
    /// It is in the log already; the retry is answered with the first copy's place, once that is
    /// committed.
    Duplicate {
        /// Offset of the first record.
        base_offset: Offset,
        /// Offset of the last record.
        last_offset: Offset,
        /// The batch's largest timestamp as it lies in the log.
        timestamp: Timestamp,
    },
}

impl Admission {
    /// The offset up to which the log must be committed before the request is answered.
    #[must_use]
    pub const fn end(&self) -> Offset {
        match self {
            Self::Append(placed) => placed.end,
            Self::Duplicate { last_offset, .. } => last_offset.next(),
        }
    }
}

/// Why a batch is not appended. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendRefused {
    /// The batch contradicts the producer's order, or comes from an old incarnation of it.
    Producer(ProducerRefused),
    /// The header cannot be right whatever the state: negative numbers, a control batch from a
    /// client, an idempotent batch without sequence (`INVALID_RECORD`).
    Malformed,
    /// A transactional batch outside any transaction that this partition knows of
    /// (`INVALID_TXN_STATE`).
    NoTransaction,
    /// The coordinator decided this in another reign (`NOT_LEADER_OR_FOLLOWER`).
    LeaderEpoch(LeaderEpochRefused),
    /// A write failed; the partition takes nothing until it was opened anew
    /// (`KAFKA_STORAGE_ERROR`).
    LogFailed,
    /// The log has no offsets left (`KAFKA_STORAGE_ERROR`).
    OffsetsExhausted,
}

impl fmt::Display for AppendRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Producer(refused) => refused.fmt(formatter),
            Self::Malformed => formatter.write_str("batch header contradicts itself"),
            Self::NoTransaction => {
                formatter.write_str("transactional batch without an ongoing transaction")
            }
            Self::LeaderEpoch(refused) => refused.fmt(formatter),
            Self::LogFailed => formatter.write_str("a write to the log has failed"),
            Self::OffsetsExhausted => formatter.write_str("no offset is left in the log"),
        }
    }
}

impl std::error::Error for AppendRefused {}

impl From<ProducerRefused> for AppendRefused {
    fn from(refused: ProducerRefused) -> Self {
        Self::Producer(refused)
    }
}

/// The caller and this node do not speak of the same reign (KIP-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderEpochRefused {
    /// The caller's is older: it must refresh its metadata (`FENCED_LEADER_EPOCH`).
    Fenced {
        /// The caller's.
        found: LeaderEpoch,
        /// Ours.
        current: LeaderEpoch,
    },
    /// The caller's is newer: this node has not heard of it yet (`UNKNOWN_LEADER_EPOCH`).
    Unknown {
        /// The caller's.
        found: LeaderEpoch,
        /// Ours.
        current: LeaderEpoch,
    },
}

impl fmt::Display for LeaderEpochRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Fenced { found, current } | Self::Unknown { found, current }) = self;
        write!(formatter, "expected leader epoch {current}, found {found}")
    }
}

impl std::error::Error for LeaderEpochRefused {}

/// The new start lies where nothing may be deleted yet (`OFFSET_OUT_OF_RANGE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimRefused {
    /// The start asked for.
    pub found: Offset,
    /// The largest one possible.
    pub high_watermark: Offset,
}

impl fmt::Display for TrimRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "expected an offset from 0 up to the high watermark {}, found {}",
            self.high_watermark, self.found
        )
    }
}

impl std::error::Error for TrimRefused {}

/// The ends after at least one of them moved; waiters below them may be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// End of what this node holds under the topic's durability class (`acks=1`).
    pub safe_end: Offset,
    /// End for read-uncommitted consumers.
    pub high_watermark: Offset,
    /// End for read-committed consumers.
    pub last_stable: Offset,
}

/// What the leader did so far. Plain counters since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LeaderStats {
    /// Batches placed.
    pub appended: u64,
    /// Retries answered with the place of the first copy.
    pub duplicates: u64,
    /// Batches refused.
    pub refused: u64,
    /// Completions ignored because they belong to an older life of the log.
    pub stale_completions: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogState {
    Open,
    Failed,
}

/// One partition, led by this node.
///
/// ```text
/// log_start <= last_stable <= high_watermark <= log_end
///              high_watermark <= flushed  (class flushed, see below)
///              flushed <= written <= log_end
/// ```
///
/// **Invariant:** the high watermark never goes back, whatever the configuration does. Under class
/// `flushed` it stays at or below the flushed offset, but for what was already exposed while the
/// topic was of class `written`.
#[derive(Clone, Debug)]
pub struct Leader {
    generation: LogGeneration,
    leader_epoch: LeaderEpoch,
    durability: Durability,
    state: LogState,
    log_start: Offset,
    high_watermark: Offset,
    flushed: Offset,
    written: Offset,
    log_end: Offset,
    /// How far the high watermark got under class `written`.
    exposed_unflushed: Offset,
    epochs: LeaderEpochCache,
    producers: Producers,
    stats: LeaderStats,
}

impl Leader {
    /// Begins a reign over a recovered log. Everything in it counts as committed: the in-sync set
    /// is this node alone.
    ///
    /// # Errors
    /// The parts of what was recovered contradict each other or the metadata.
    pub fn new(mut recovered: Recovered) -> Result<Self, InconsistentLog> {
        recovered.check()?;
        let Recovered {
            generation,
            log_start,
            log_end,
            leader_epoch,
            mut epochs,
            producers,
            durability,
        } = recovered;
        epochs.truncate_from_start(log_start);
        let leader = Self {
            generation,
            leader_epoch,
            durability,
            state: LogState::Open,
            log_start,
            high_watermark: log_end,
            flushed: log_end,
            written: log_end,
            log_end,
            exposed_unflushed: log_end,
            epochs,
            producers,
            stats: LeaderStats::default(),
        };
        leader.assert_positions();
        Ok(leader)
    }

    /// Places a batch at the end of the log, or finds that it is there already. `batch` is as it
    /// will be stored, except for base offset and leader epoch, which are decided here; a topic
    /// with broker timestamps has stamped them before. Checks come first and state changes after,
    /// all of it: there is no half-done append.
    ///
    /// # Errors
    /// Why not. Nothing has changed then, except that expired producers may have been forgotten.
    pub fn append(
        &mut self,
        now: WallTime,
        batch: &BatchHeader,
        origin: AppendOrigin,
    ) -> Result<Admission, AppendRefused> {
        let admission = self.admit(now, batch, origin);
        match &admission {
            Ok(Admission::Append(_)) => self.stats.appended += 1,
            Ok(Admission::Duplicate { .. }) => self.stats.duplicates += 1,
            Err(_) => self.stats.refused += 1,
        }
        self.assert_positions();
        admission
    }

    fn admit(
        &mut self,
        now: WallTime,
        batch: &BatchHeader,
        origin: AppendOrigin,
    ) -> Result<Admission, AppendRefused> {
        if self.state == LogState::Failed {
            return Err(AppendRefused::LogFailed);
        }
        if let AppendOrigin::Coordinator(loaded_in) = origin {
            self.check_leader_epoch(Some(loaded_in))
                .map_err(AppendRefused::LeaderEpoch)?;
        }
        if !is_well_formed(batch, origin) {
            return Err(AppendRefused::Malformed);
        }
        match self.standing(batch, origin)? {
            Some(Standing::Duplicate(first)) => {
                return Ok(Admission::Duplicate {
                    base_offset: first.base_offset(),
                    last_offset: first.last_offset,
                    timestamp: first.timestamp,
                });
            }
            standing => {
                if batch.attributes.is_transactional() || batch.attributes.is_control() {
                    return Err(AppendRefused::NoTransaction);
                }
                let length = i64::from(batch.last_offset_delta.0) + 1;
                if self.log_end.0 > i64::MAX - length {
                    return Err(AppendRefused::OffsetsExhausted);
                }
                if standing == Some(Standing::New) {
                    self.producers.make_room(now)?;
                }
            }
        }
        Ok(Admission::Append(self.place(now, batch)))
    }

    fn standing(
        &self,
        batch: &BatchHeader,
        origin: AppendOrigin,
    ) -> Result<Option<Standing>, ProducerRefused> {
        let Some(stamp) = batch.producer else {
            return Ok(None);
        };
        let unknown = match origin {
            AppendOrigin::Coordinator(_) => {
                return self.producers.standing_without_sequence(stamp).map(Some);
            }
            // KIP-890 asks this of transactional producers only. Others may rightly continue
            // after their state expired, and some clients give up for good when refused.
            AppendOrigin::Client(TransactionVersion::Two)
                if batch.attributes.is_transactional() =>
            {
                UnknownProducer::FirstSequence
            }
            AppendOrigin::Client(_) => UnknownProducer::AnySequence,
        };
        self.producers
            .standing(stamp, batch.last_offset_delta, unknown)
            .map(Some)
    }

    /// The one place where the log grows. Cannot fail.
    fn place(&mut self, now: WallTime, batch: &BatchHeader) -> Placed {
        let stored = BatchHeader {
            base_offset: self.log_end,
            leader_epoch: self.leader_epoch,
            ..*batch
        };
        self.epochs
            .assign(self.leader_epoch, self.log_end)
            .expect("no reign in the cache is newer than this one, none begins behind the end");
        self.producers.apply(now, &stored);
        self.log_end = stored.end_offset();
        Placed {
            base_offset: stored.base_offset,
            end: stored.end_offset(),
            leader_epoch: self.leader_epoch,
            generation: self.generation,
        }
    }

    /// The kernel holds every byte below `end`. Returns the ends if one moved.
    pub fn on_written(&mut self, generation: LogGeneration, end: Offset) -> Option<Advance> {
        if !self.is_current(generation, end) {
            return None;
        }
        let safe_before = self.safe_end();
        self.written = self.written.max(end);
        self.advance(safe_before)
    }

    /// The device holds every byte below `end`. Returns the ends if one moved.
    pub fn on_flushed(&mut self, generation: LogGeneration, end: Offset) -> Option<Advance> {
        if !self.is_current(generation, end) {
            return None;
        }
        let safe_before = self.safe_end();
        self.written = self.written.max(end);
        self.flushed = self.flushed.max(end);
        self.advance(safe_before)
    }

    /// A write or a flush failed: what the log holds behind the flushed offset is no longer known.
    /// Nothing is appended and nothing more is committed until the log was recovered.
    pub fn on_write_failed(&mut self, generation: LogGeneration) {
        if generation == self.generation {
            self.state = LogState::Failed;
        } else {
            self.stats.stale_completions += 1;
        }
        self.assert_positions();
    }

    /// The topic's durability class changed. The high watermark stays where it is, or advances;
    /// requests that wait are answered under the new class.
    pub fn set_durability(&mut self, durability: Durability) -> Option<Advance> {
        let safe_before = self.safe_end();
        self.durability = durability;
        self.advance(safe_before)
    }

    /// The controller confirmed this node as leader in a newer reign; the log goes on as it is.
    /// Returns false, and does nothing, unless the reign is newer.
    pub fn begin_reign(&mut self, leader_epoch: LeaderEpoch) -> bool {
        let is_newer = leader_epoch > self.leader_epoch;
        if is_newer {
            self.leader_epoch = leader_epoch;
        }
        self.assert_positions();
        is_newer
    }

    /// Moves the start of the log (DeleteRecords, retention). Returns whether it moved; a start
    /// that lies behind already is no error. Producers stay known.
    ///
    /// # Errors
    /// The new start lies beyond the high watermark.
    pub fn trim(&mut self, log_start: Offset) -> Result<bool, TrimRefused> {
        if log_start.0 < 0 || log_start > self.high_watermark {
            return Err(TrimRefused {
                found: log_start,
                high_watermark: self.high_watermark,
            });
        }
        let moved = log_start > self.log_start;
        if moved {
            self.log_start = log_start;
            self.epochs.truncate_from_start(log_start);
        }
        self.assert_positions();
        Ok(moved)
    }

    /// Forgets producers that wrote nothing for `producer.id.expiration.ms`; returns how many.
    pub fn expire_producers(&mut self, now: WallTime) -> usize {
        self.producers.expire(now)
    }

    /// Changes the limits of the producer table.
    pub const fn set_producer_limits(&mut self, limits: ProducerLimits) {
        self.producers.set_limits(limits);
    }

    /// The five positions.
    #[must_use]
    pub const fn cursors(&self) -> Cursors {
        Cursors {
            log_start: self.log_start,
            last_stable: self.last_stable(),
            high_watermark: self.high_watermark,
            log_end: self.log_end,
            flushed: self.flushed,
        }
    }

    /// End of what such a consumer may see.
    #[must_use]
    pub const fn readable_end(&self, isolation: IsolationLevel) -> Offset {
        match isolation {
            IsolationLevel::ReadUncommitted => self.high_watermark,
            IsolationLevel::ReadCommitted => self.last_stable(),
        }
    }

    /// True if a request that appended up to `end` may be answered. Every acknowledgement, that of
    /// the leader alone included, means the topic's durability class.
    #[must_use]
    pub fn is_committed(&self, end: Offset, acks: Acks) -> bool {
        match acks {
            Acks::None => true,
            Acks::Leader => self.safe_end() >= end,
            Acks::All => self.safe_end() >= end && self.high_watermark >= end,
        }
    }

    /// Compares the reign that a caller believes in with this one (KIP-320). Callers that name
    /// none are not checked.
    ///
    /// # Errors
    /// Which of the two is behind.
    pub fn check_leader_epoch(&self, found: Option<LeaderEpoch>) -> Result<(), LeaderEpochRefused> {
        let current = self.leader_epoch;
        match found {
            Some(found) if found < current => Err(LeaderEpochRefused::Fenced { found, current }),
            Some(found) if found > current => Err(LeaderEpochRefused::Unknown { found, current }),
            _ => Ok(()),
        }
    }

    /// Where a reign ended, for OffsetForLeaderEpoch; `None` if it is newer than this one.
    #[must_use]
    pub fn end_offset_for(&self, requested: LeaderEpoch) -> Option<EpochEnd> {
        if requested == self.leader_epoch {
            // This reign may have no records, and so no entry, yet.
            return Some(EpochEnd {
                leader_epoch: requested,
                end: self.log_end,
            });
        }
        if requested > self.leader_epoch {
            return None;
        }
        self.epochs
            .end_offset_for(requested, self.log_end)
            .or_else(|| {
                // Newer than every record, older than this reign: ended where this one began.
                Some(EpochEnd {
                    leader_epoch: self
                        .epochs
                        .latest()
                        .map_or(requested, |latest| latest.leader_epoch),
                    end: self.log_end,
                })
            })
    }

    /// End of what may be acknowledged: committed, and kept as the class of now asks. Behind the
    /// high watermark only where that was reached under a weaker class.
    #[must_use]
    pub fn kept_end(&self) -> Offset {
        self.high_watermark.min(self.safe_end())
    }

    /// This reign.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// This life of the log's bytes.
    #[must_use]
    pub const fn generation(&self) -> LogGeneration {
        self.generation
    }

    /// The topic's durability class.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// True if a write failed and the log must be recovered.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state == LogState::Failed
    }

    /// End of what the kernel holds.
    #[must_use]
    pub const fn written(&self) -> Offset {
        self.written
    }

    /// The reigns in the log, for the checkpoint and for offset lookups.
    #[must_use]
    pub const fn epochs(&self) -> &LeaderEpochCache {
        &self.epochs
    }

    /// The producers, for snapshots and DescribeProducers.
    #[must_use]
    pub const fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> LeaderStats {
        self.stats
    }

    /// End of what this node holds safely, in the sense of the topic's durability class.
    const fn safe_end(&self) -> Offset {
        match self.durability {
            Durability::Flushed => self.flushed,
            Durability::Written => self.written,
        }
    }

    /// No transaction is open on a partition that admits none.
    const fn last_stable(&self) -> Offset {
        self.high_watermark
    }

    fn is_current(&mut self, generation: LogGeneration, end: Offset) -> bool {
        if generation != self.generation {
            assert!(
                generation < self.generation,
                "completion of {generation:?} while the log is in {:?}",
                self.generation
            );
            self.stats.stale_completions += 1;
            return false;
        }
        assert!(
            end <= self.log_end,
            "completion up to {end}, the log ends at {}",
            self.log_end
        );
        self.state == LogState::Open
    }

    /// Draws the conclusions from a completion. Reports a move of the safe end even where the high
    /// watermark stands still (after the class was raised), for someone may wait for just that.
    fn advance(&mut self, safe_before: Offset) -> Option<Advance> {
        let safe_end = self.safe_end();
        if safe_end > self.high_watermark && self.state == LogState::Open {
            self.high_watermark = safe_end;
            if self.durability == Durability::Written {
                self.exposed_unflushed = self.high_watermark;
            }
        }
        self.assert_positions();
        (safe_end > safe_before).then(|| Advance {
            safe_end,
            high_watermark: self.high_watermark,
            last_stable: self.last_stable(),
        })
    }

    fn assert_positions(&self) {
        let cursors = self.cursors();
        assert!(cursors.in_order(), "positions out of order: {cursors:?}");
        assert!(
            self.flushed <= self.written && self.written <= self.log_end,
            "flushed {} <= written {} <= log end {}",
            self.flushed,
            self.written,
            self.log_end
        );
        assert!(
            self.high_watermark <= self.flushed.max(self.exposed_unflushed)
                && self.high_watermark <= self.written,
            "high watermark {} beyond what is safe: {cursors:?}",
            self.high_watermark
        );
        assert!(
            self.producers.end() == self.log_end,
            "producer state ends at {}, the log at {}",
            self.producers.end(),
            self.log_end
        );
    }
}

fn is_well_formed(batch: &BatchHeader, origin: AppendOrigin) -> bool {
    let by_client = matches!(origin, AppendOrigin::Client(_));
    let stamp_is_sound = batch.producer.is_none_or(|stamp| {
        stamp.id.0 >= 0 && stamp.epoch.0 >= 0 && (stamp.base_sequence.0 >= 0 || !by_client)
    });
    batch.last_offset_delta.0 >= 0
        && stamp_is_sound
        && !(by_client && batch.attributes.is_control())
        && !(batch.attributes.is_transactional() && batch.producer.is_none())
}
