//! The coordinator of consumer groups, as a decider: commands go in, decisions come out, and what
//! must be kept is records of `__consumer_offsets` in Kafka's own formats.
//!
//! It knows no storage, no socket, no version of the wire and no clock. One [`Coordinator`] stands
//! for all groups of one partition of `__consumer_offsets`.
//!
//! # The host's duties
//!
//! 1. **Load.** [`Coordinator::replay`] every record of the partition, in order, but those of
//!    control batches; then [`Coordinator::on_loaded`]. Before that no command is decided.
//! 2. **Carry out every [`Decision`]**, whichever call it comes from: append its records as one
//!    batch, replay them in order, set its timers, then let its replies go as its [`Hold`] says.
//!    Only then comes the next input. Records that do not fit into one batch may be divided.
//! 3. **A failed append ends the machine.** Drop it, answer what waits as "not coordinator", and
//!    load again. There is no way back inside it.
//! 4. **Timers** fire once, at or after their moment, and call [`Coordinator::on_timer`].
//! 5. **Topics that are deleted** are told by [`Coordinator::on_topics_deleted`].
//!
//! Hard state, that the log can rebuild, changes in `replay` alone; [`Coordinator::hash`] is of it.
//! Rounds of the classic protocol, members' deadlines and parked calls are soft: they begin anew
//! from the last round that is kept.
//!
//! ```
//! use klamm_coord::{
//!     Command, CommitOffsets, CommitPartition, CommitTopic, Coordinator, GroupConfig, GroupId,
//!     Hold, Moment, Reply, Ticket, TopicReference,
//! };
//! use klamm_model::{Instant, Offset, PartitionIndex, TopicId, TopicName, WallTime};
//!
//! let mut coordinator = Coordinator::new(GroupConfig::default());
//! let moment = Moment { now: Instant(0), wall: WallTime(0), seed: 7 };
//! let mut loaded = coordinator.on_loaded(moment);
//! assert_eq!(loaded.timers.pop().map(|timer| timer.at.is_some()), Some(true));
//!
//! let topic = TopicReference { name: TopicName::new("flights")?, id: TopicId([1; 16]) };
//! let partition = CommitPartition {
//!     partition: PartitionIndex(0),
//!     offset: Offset(42),
//!     leader_epoch: None,
//!     metadata: String::new(),
//! };
//! let command = Command::CommitOffsets(CommitOffsets {
//!     group: GroupId::new("ground"),
//!     member: None,
//!     instance: None,
//!     generation: None,
//!     understands_epochs: true,
//!     retention: None,
//!     topics: vec![CommitTopic { topic, partitions: vec![partition] }],
//! });
//! let decision = coordinator.decide(moment, Ticket(1), command);
//! assert_eq!(decision.hold, Hold::UntilCommitted);
//! for record in &decision.records {
//!     coordinator.replay(&record.key, record.value.as_deref())?;
//! }
//! assert!(matches!(&decision.replies[..], [(Ticket(1), Reply::CommitOffsets(Ok(_)))]));
//! assert_eq!(coordinator.stats().offsets, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod groups;
mod kit;
pub mod lag;
pub mod limits;
mod record;

pub use groups::{
    Assignor, Client, Command, CommitError, CommitOffsets, CommitPartition, CommitPartitionError,
    CommitTopic, CommittedTopic, ConsumerConfig, ConsumerHeartbeat, ConsumerHeartbeatDone,
    ConsumerHeartbeatError, ConsumerHeartbeatRefused, Coordinator, Counters, DeleteGroupError,
    DeleteOffsetError, DeleteOffsets, DeleteOffsetsError, DeletedTopic, DescribeConsumersError,
    DescribedConsumer, DescribedConsumerGroup, DescribedGroup, DescribedMember, Event,
    FetchOffsets, FetchOffsetsError, FetchTopic, FetchedOffsets, FetchedTopic, GenerationId,
    GroupConfig, GroupHead, GroupId, GroupInstanceId, GroupSettings, GroupState, GroupType,
    Happened, Heartbeat, HeartbeatError, HeartbeatPatience, Histories, History, Join, JoinError,
    JoinRefused, Joined, JoinedMember, KeptOffset, Leave, LeaveError, LeaveMemberError, Leaving,
    Left, List, ListedGroup, ListedGroups, LookFrom, MemberEpoch, MemberId, MemberMoves,
    MembersRoom, MigrationPolicy, Moves, NamedPartitions, Note, Protocol, RefusedCommits,
    ReplayError, Reply, SeenGroup, SeenMember, SeenMembers, SeenOffset, SeenTopic, Stats, Sync,
    SyncError, Synced, TimerKey, TopicPartitions, TopicReference, TopicsView,
};
pub use kit::{Decision, Hold, Moment, Record, Ticket, Timer};
pub use record::RecordError;
