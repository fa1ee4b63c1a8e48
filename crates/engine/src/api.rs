//! The plain commands and replies of a core: what the front may ask of any shard, and what comes
//! back. No wire version, no Kafka error code; the front translates.

use std::ops::Range;

use bytes::Bytes;
use klamm_metadata::Image;
use klamm_model::{
    Acks, Instant, IsolationLevel, LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId,
    Sequence, ShardId, Timestamp, TopicPartition, WallTime,
};

use crate::placement::FolderNumber;

/// The two clocks at the moment of an event. Always an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; deadlines are made of it.
    pub instant: Instant,
    /// Wall clock; only records and retention look at it.
    pub wall: WallTime,
}

/// Names one call that waits for its reply: the shard where the caller lives and the caller's slot
/// there. The engine only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Where the caller waits.
    pub shard: ShardId,
    /// Which call of that shard.
    pub call: u64,
}

/// Records for several partitions of one core. The call comes back as its own reply, so that its
/// memory can serve the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendCall {
    /// When to answer.
    pub acks: Acks,
    /// One batch for each partition; none any more in a reply.
    pub partitions: Vec<AppendPartition>,
    /// In a reply what became of each batch, in the order of the call.
    pub outcomes: Vec<AppendOutcome>,
}

impl Default for AppendCall {
    fn default() -> Self {
        Self::new(Acks::All, Vec::new())
    }
}

impl AppendCall {
    /// A call to be answered as `acks` asks.
    #[must_use]
    pub const fn new(acks: Acks, partitions: Vec<AppendPartition>) -> Self {
        Self {
            acks,
            partitions,
            outcomes: Vec::new(),
        }
    }
}

/// One produced batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendPartition {
    /// Where it goes.
    pub partition: TopicPartition,
    /// The bytes as the producer sent them.
    pub records: Bytes,
    /// The request is of a version that knows zstd (Produce 7 and later).
    pub zstd_known: bool,
    /// What the sender knows of transactions.
    pub transactions: klamm_replica::TransactionVersion,
}

/// What became of one batch.
pub type AppendOutcome = Result<Appended, AppendError>;

/// Where a batch stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// The broker's timestamp, if the topic's records carry that.
    pub log_append_time: Option<Timestamp>,
    /// First offset that can still be read.
    pub log_start: Offset,
}

/// Why a batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// This core holds no such partition: the caller's picture of the metadata is old.
    UnknownPartition,
    /// The batch breaks a rule of the format or of the topic.
    Invalid(klamm_records::batch::InvalidBatch),
    /// The batch is larger than a segment may be.
    LargerThanSegment,
    /// The batch contradicts its producer's order.
    Producer(klamm_replica::ProducerRefused),
    /// The head cannot be right whatever the state.
    Malformed,
    /// A transactional batch outside any transaction known here.
    NoTransaction,
    /// The log takes nothing more until it was opened anew.
    Storage,
    /// No descriptor is left for the next file of the log: nothing was appended, and the same may
    /// be sent again.
    OutOfFiles,
    /// The disk is full but for what is kept for the broker itself: nothing was appended, and the
    /// same may be sent again.
    OutOfSpace,
}

/// A request to read several partitions of one core. The call comes back as its own reply, so that
/// its memory can serve the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadCall {
    /// What the reader may see.
    pub isolation: IsolationLevel,
    /// Bytes that all partitions together may return; the first batch found is returned even if it
    /// alone is larger (KIP-74), unless `whole_first` is off.
    pub bytes_max: usize,
    /// Whether the first batch may exceed `bytes_max`.
    pub whole_first: bool,
    /// What to read, in the order in which bytes are handed out.
    pub partitions: Vec<ReadPartition>,
    /// In a reply what each partition had to give, in the order of the call.
    pub outcomes: Vec<ReadOutcome>,
    /// Whole batches, gathered, not copied; [`ReadOutcome::records`] says whose they are.
    pub records: Vec<Bytes>,
}

impl Default for ReadCall {
    fn default() -> Self {
        Self::new(IsolationLevel::ReadUncommitted, 0, Vec::new())
    }
}

impl ReadCall {
    /// A call for at most `bytes_max` bytes, or for one batch if that alone is larger.
    #[must_use]
    pub const fn new(
        isolation: IsolationLevel,
        bytes_max: usize,
        partitions: Vec<ReadPartition>,
    ) -> Self {
        Self {
            isolation,
            bytes_max,
            whole_first: true,
            partitions,
            outcomes: Vec::new(),
            records: Vec::new(),
        }
    }

    /// The batches of an outcome of this call, in order.
    #[must_use]
    pub fn records_of(&self, outcome: &ReadOutcome) -> &[Bytes] {
        self.records
            .get(outcome.records.clone())
            .unwrap_or_default()
    }

    /// Bytes of all batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// One partition of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPartition {
    /// Which one.
    pub partition: TopicPartition,
    /// First offset wanted.
    pub offset: Offset,
    /// The leader epoch that the reader believes in (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// Leader epoch of the last record that the reader has (KIP-595), to find a diverged log.
    pub last_epoch: Option<LeaderEpoch>,
    /// Bytes wanted at most.
    pub bytes_max: usize,
}

/// What one partition had to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOutcome {
    /// Positions, if the partition is here.
    pub positions: Option<ReadPositions>,
    /// Its place in the reply's [`ReadCall::records`].
    pub records: Range<usize>,
    /// Set if the reader's log has records that this leader's does not have.
    pub diverging: Option<EpochEnd>,
    /// Why nothing was read.
    pub error: Option<ReadError>,
}

impl ReadOutcome {
    /// An outcome that only says why not.
    #[must_use]
    pub const fn failed(error: ReadError, positions: Option<ReadPositions>) -> Self {
        Self {
            positions,
            records: 0..0,
            diverging: None,
            error: Some(error),
        }
    }
}

/// Positions that travel with every read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPositions {
    /// End of what is committed.
    pub high_watermark: Offset,
    /// End of what read-committed may see.
    pub last_stable: Offset,
    /// First offset that can still be read.
    pub log_start: Offset,
}

/// A leader epoch and the offset after its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub leader_epoch: LeaderEpoch,
    /// The first offset of a later epoch, or the log's end.
    pub end_offset: Offset,
}

/// Why a partition could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// This core holds no such partition.
    UnknownPartition,
    /// The offset lies before the log's start or after its end.
    OutOfRange,
    /// The reader believes in an older leader epoch.
    FencedEpoch,
    /// The reader believes in a leader epoch that is not known here yet.
    UnknownEpoch,
    /// The stored bytes are damaged or cannot be read; they are never served.
    Storage,
}

/// Ask to be told once there is more to read.
#[derive(Clone, Debug)]
pub struct WatchCall {
    /// Where the reader stands in each partition.
    pub positions: Vec<(TopicPartition, Offset)>,
    /// What the reader may see.
    pub isolation: IsolationLevel,
    /// Bytes that must be there in all.
    pub bytes_min: usize,
    /// When to be told in any case.
    pub deadline: Instant,
}

/// What ended a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The partitions hold this many bytes beyond the reader's offsets, at least as many as were
    /// asked for.
    Enough(usize),
    /// Time is up, the reader left, or a partition is not here any more.
    Over,
}

/// Ask for an offset by time or by name.
#[derive(Clone, Debug)]
pub struct OffsetsCall {
    /// What the reader may see.
    pub isolation: IsolationLevel,
    /// The questions.
    pub partitions: Vec<OffsetQuestion>,
}

/// One question of an [`OffsetsCall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetQuestion {
    /// Which partition.
    pub partition: TopicPartition,
    /// The leader epoch that the reader believes in.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Which offset.
    pub position: OffsetPosition,
}

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetPosition {
    /// First that can be read.
    Earliest,
    /// End of what the isolation level may see.
    Latest,
    /// Of the record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// First that lies on this broker's own disk.
    EarliestLocal,
    /// Last that was tiered: none here.
    LatestTiered,
    /// First that waits to be tiered: none here.
    EarliestPendingUpload,
    /// Of the first record whose timestamp is at least this.
    At(Timestamp),
}

/// The answer to one [`OffsetQuestion`]; `Ok(None)` if there is no such record.
pub type OffsetOutcome = Result<Option<OffsetFound>, ReadError>;

/// An offset with what is known about its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFound {
    /// The offset.
    pub offset: Offset,
    /// Its record's timestamp, where a record was looked for.
    pub timestamp: Option<Timestamp>,
    /// Leader epoch at that offset.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Where a reign ended, as OffsetForLeaderEpoch asks (KIP-101, KIP-279).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochQuestion {
    /// Which partition.
    pub partition: TopicPartition,
    /// The leader epoch that the asker believes in (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// The reign asked about; `None` is one that does not exist, of which nothing is known.
    pub requested: Option<LeaderEpoch>,
}

/// The answer to one [`EpochQuestion`]: where the reign ended, or the largest one before it that
/// has records; `Ok(None)` if it is newer than all that this partition knows.
pub type EpochOutcome = Result<Option<EpochEnd>, ReadError>;

/// Ask for the start of a log to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimPartition {
    /// Which log.
    pub partition: TopicPartition,
    /// Where it is to begin.
    pub to: TrimTo,
}

/// Where a log is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// At the end of what is committed.
    HighWatermark,
    /// At this offset.
    Offset(Offset),
}

/// Where a log begins now, durably; or why it was left as it is.
pub type TrimOutcome = Result<Offset, TrimError>;

/// Ask for the files of a partition to lie in another data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveFiles {
    /// Whose.
    pub partition: TopicPartition,
    /// Where they are to lie; where they lie already, whatever is under way ends.
    pub to: FolderNumber,
}

/// Why the start of a log does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimError {
    /// This core holds no such partition.
    UnknownPartition,
    /// The offset is negative, or lies beyond what is committed.
    OutOfRange,
    /// The topic's `cleanup.policy` deletes nothing.
    Policy,
    /// Neither a descriptor nor space is left for the next file of the log: nothing has changed, and
    /// the same may be asked again.
    OutOfRoom,
}

/// What a partition knows of one idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// The producer.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record; none if its batches are not remembered.
    pub last_sequence: Option<Sequence>,
    /// Largest timestamp of its last batch.
    pub last_timestamp: Option<Timestamp>,
}

/// Where the quorum of the metadata stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumFacts {
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The reign of the quorum's leader; Kafka's leader epoch of `__cluster_metadata-0`.
    pub leader_epoch: LeaderEpoch,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// The voters, and how far each is known to hold the log. Empty unless this node leads.
    pub voters: Vec<(NodeId, Offset)>,
}

/// Ask what logs are as seen from offsets.
#[derive(Clone, Debug, Default)]
pub struct LogFactsCall {
    /// The offsets.
    pub questions: Vec<LogFactsQuestion>,
    /// How many batches may be read from disk for it; the rest is judged.
    pub reads_max: usize,
    /// How many bytes of batches may be unpacked at once, for the times of records in them.
    pub unpacked_bytes_max: usize,
}

/// One offset of a [`LogFactsCall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFactsQuestion {
    /// Which log.
    pub partition: TopicPartition,
    /// The offset.
    pub offset: Offset,
}

/// The answer of a group coordinator, or why it gives none.
pub type CoordinateOutcome = Result<klamm_coord::Reply, CoordinateError>;

/// Why a coordinator decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinateError {
    /// This core has no coordinator there: the caller should look again for where it is.
    NotHere,
    /// It is still reading its log.
    Loading,
    /// Its log cannot be read: it will not decide anything until that has changed.
    Failed,
    /// There is neither room on the disk nor a descriptor for the next file of the log now: the same
    /// may be asked again.
    NoRoom,
    /// What it decided is larger than its log takes.
    TooLarge,
}

/// How much a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSize {
    /// Bytes of all its segments.
    pub bytes: u64,
    /// Offset after its last record.
    pub end: Offset,
}

/// Everything that a core can be asked.
#[derive(Clone, Debug)]
pub enum Call {
    /// Append records.
    Append(AppendCall),
    /// Read records.
    Read(ReadCall),
    /// Be told about more records.
    Watch(WatchCall),
    /// Find offsets.
    Offsets(OffsetsCall),
    /// Find where reigns ended.
    EpochEnds(Vec<EpochQuestion>),
    /// Measure the logs of partitions.
    LogSizes(Vec<TopicPartition>),
    /// List the producers that partitions remember.
    Producers(Vec<TopicPartition>),
    /// Say what logs are as seen from offsets.
    LogFacts(LogFactsCall),
    /// Move the starts of logs.
    Trim(Vec<TrimPartition>),
    /// Have the files of partitions lie elsewhere.
    MoveFiles(Vec<MoveFiles>),
    /// Say where the metadata quorum stands; only shard 0 answers it.
    Quorum,
    /// Decide something about the metadata; only shard 0 answers it.
    Control(klamm_metadata::Command),
    /// Decide something about groups, by the coordinator on this partition.
    Coordinate(TopicPartition, klamm_coord::Command),
}

/// Everything that a core can answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To [`Call::Append`]: the call, with outcomes.
    Append(AppendCall),
    /// To [`Call::Read`]: the call, with outcomes.
    Read(ReadCall),
    /// To [`Call::Watch`]: there is enough, or no reason to wait.
    Watch(Watched),
    /// To [`Call::Offsets`], in the order of the call.
    Offsets(Vec<OffsetOutcome>),
    /// To [`Call::EpochEnds`], in the order of the call.
    EpochEnds(Vec<EpochOutcome>),
    /// To [`Call::LogSizes`], in the order of the call; `None` where this core holds no such
    /// partition.
    LogSizes(Vec<Option<LogSize>>),
    /// To [`Call::Producers`], in the order of the call; each in the order of the producers' ids,
    /// `None` where this core holds no such partition.
    Producers(Vec<Option<Vec<ActiveProducer>>>),
    /// To [`Call::LogFacts`], in the order of the call; `None` where this core holds no such
    /// partition.
    LogFacts(Vec<Option<klamm_coord::lag::LogFacts>>),
    /// To [`Call::Trim`], in the order of the call, once it is durable.
    Trim(Vec<TrimOutcome>),
    /// To [`Call::MoveFiles`], in the order of the call, at once: whether the partition is here.
    MoveFiles(Vec<bool>),
    /// To [`Call::Quorum`].
    Quorum(QuorumFacts),
    /// To [`Call::Control`].
    Control(klamm_metadata::Reply),
    /// To [`Call::Coordinate`].
    Coordinate(CoordinateOutcome),
}

/// The metadata as all cores see it, swapped between turns. A copy costs one reference count.
pub type SharedImage = Image;
