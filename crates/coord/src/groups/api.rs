//! What may be asked of a group coordinator, and what it answers, in words of the domain. Versions
//! of the wire appear only as the small facts that they stand for; handlers map errors to codes.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use super::consumer::api::{
    ConsumerHeartbeat, ConsumerHeartbeatDone, ConsumerHeartbeatRefused, DescribeConsumersError,
    DescribedConsumerGroup, MemberEpoch,
};
use super::names::{GenerationId, GroupId, GroupInstanceId, MemberId};

/// What may be asked of a [`crate::Coordinator`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Become, or stay, a member of a group of the classic protocol. Answered when the round is
    /// complete.
    Join(Join),
    /// Bring the assignments of a round, or ask for one's own. Answered when they are kept.
    Sync(Sync),
    /// Say that a member lives.
    Heartbeat(Heartbeat),
    /// Leave, or make others leave.
    Leave(Leave),
    /// Keep offsets.
    CommitOffsets(CommitOffsets),
    /// Read kept offsets.
    FetchOffsets(FetchOffsets),
    /// Forget kept offsets.
    DeleteOffsets(DeleteOffsets),
    /// Name the groups.
    List(List),
    /// Describe groups of the classic protocol.
    Describe {
        /// Which ones.
        groups: Vec<GroupId>,
        /// Bytes that the description of each of them may take at most.
        bytes_max: usize,
    },
    /// A member of the consumer protocol joins, lives or leaves.
    ConsumerHeartbeat(ConsumerHeartbeat),
    /// Describe groups of the consumer protocol.
    DescribeConsumers {
        /// Which ones.
        groups: Vec<GroupId>,
    },
    /// Delete groups that are empty, with their offsets.
    Delete {
        /// Which ones.
        groups: Vec<GroupId>,
    },
}

/// The answer to a command, one variant for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `Join`.
    Join(Result<Joined, JoinRefused>),
    /// To `Sync`.
    Sync(Result<Synced, SyncError>),
    /// To `Heartbeat`.
    Heartbeat(Result<(), HeartbeatError>),
    /// To `Leave`: one answer for each member, in order.
    Leave(Result<Vec<Left>, LeaveError>),
    /// To `CommitOffsets`.
    CommitOffsets(Result<Vec<CommittedTopic>, CommitError>),
    /// To `FetchOffsets`.
    FetchOffsets(Result<FetchedOffsets, FetchOffsetsError>),
    /// To `DeleteOffsets`.
    DeleteOffsets(Result<Vec<DeletedTopic>, DeleteOffsetsError>),
    /// To `List`.
    List(ListedGroups),
    /// To `Describe`: one answer for each group, in order; `None` for one whose description would
    /// take more than it may.
    Describe(Vec<Option<DescribedGroup>>),
    /// To `ConsumerHeartbeat`.
    ConsumerHeartbeat(Result<ConsumerHeartbeatDone, ConsumerHeartbeatRefused>),
    /// To `DescribeConsumers`: one answer for each group, in order.
    DescribeConsumers(
        Vec<(
            GroupId,
            Result<DescribedConsumerGroup, DescribeConsumersError>,
        )>,
    ),
    /// To `Delete`: one answer for each *name*, in the order of first mention.
    Delete(Vec<(GroupId, Result<(), DeleteGroupError>)>),
}

/// One way of dividing the work that a member knows, with what it says to the one who divides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// What the member says; opaque here, but that of consumers is looked at for its topics.
    pub metadata: Bytes,
}

/// A member wants to take part in the next round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: GroupId,
    /// The id that the coordinator gave it; `None` for one that has none yet.
    pub member: Option<MemberId>,
    /// The name of a static member (KIP-345).
    pub instance: Option<GroupInstanceId>,
    /// The client's own name.
    pub client_id: String,
    /// Where it calls from, as Kafka shows it: `/127.0.0.1`.
    pub client_host: String,
    /// The kind of group, such as `consumer`.
    pub protocol_type: String,
    /// What it knows, the preferred first.
    pub protocols: Vec<Protocol>,
    /// For how long it may be silent.
    pub session_timeout: Duration,
    /// For how long others wait for it in a round.
    pub rebalance_timeout: Duration,
    /// One that is new must come again with the id that it is given (KIP-394).
    pub member_id_required: bool,
    /// The client knows that an assignment may be left as it is (KIP-814).
    pub may_skip_assignment: bool,
    /// Why it joins (KIP-800).
    pub reason: Option<String>,
}

/// A round that is complete, as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its own id.
    pub member: MemberId,
    /// The round.
    pub generation: GenerationId,
    /// The kind of group.
    pub protocol_type: String,
    /// How the work is divided.
    pub protocol: String,
    /// Who divides it.
    pub leader: MemberId,
    /// All members, for the leader alone; empty for others.
    pub members: Vec<JoinedMember>,
    /// The leader shall not divide anew.
    pub skip_assignment: bool,
}

/// A member as the leader of a round is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member: MemberId,
    /// Its name, if it is a static one.
    pub instance: Option<GroupInstanceId>,
    /// What it says about the protocol that was chosen.
    pub metadata: Bytes,
}

/// A join that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// The id that the answer names: with [`JoinError::MemberIdRequired`] the new one.
    pub member: Option<MemberId>,
    /// Why.
    pub error: JoinError,
}

/// Why a join failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The name of the group is empty.
    InvalidGroupId,
    /// The session timeout is out of the broker's bounds.
    InvalidSessionTimeout,
    /// No protocol that all others know, another kind of group, or none at all.
    InconsistentProtocol,
    /// Forget the id and join anew.
    UnknownMember,
    /// Another member has this static name now: give up.
    FencedInstance,
    /// The group takes no more members, or no more bytes of them.
    GroupFull,
    /// Join again with the id in the answer.
    MemberIdRequired,
    /// The same member joined again before this call was answered: that call is the one that counts.
    Superseded,
}

/// A member brings the assignments of a round, or asks for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The group.
    pub group: GroupId,
    /// Who asks.
    pub member: MemberId,
    /// The name of a static member.
    pub instance: Option<GroupInstanceId>,
    /// The round.
    pub generation: GenerationId,
    /// The kind of group, if the client says it.
    pub protocol_type: Option<String>,
    /// How it believes that work is divided, if the client says it.
    pub protocol: Option<String>,
    /// From the leader: what each member gets, opaque.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// What a member was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The kind of group.
    pub protocol_type: String,
    /// How the work is divided.
    pub protocol: String,
    /// The member's part, opaque.
    pub assignment: Bytes,
}

/// Why a sync failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncError {
    /// The name of the group is empty.
    InvalidGroupId,
    /// Forget the id and join anew.
    UnknownMember,
    /// Another member has this static name now: give up.
    FencedInstance,
    /// The round is another: join anew.
    IllegalGeneration,
    /// The kind of group or the protocol is another.
    InconsistentProtocol,
    /// A new round has begun: join it.
    RebalanceInProgress,
    /// The assignments are larger than what the log takes.
    TooLarge,
    /// The same member asked again before this call was answered: that call is the one that counts.
    Superseded,
}

/// A member says that it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupId,
    /// Who.
    pub member: MemberId,
    /// The name of a static member.
    pub instance: Option<GroupInstanceId>,
    /// The round that it is in.
    pub generation: GenerationId,
}

/// Why a heartbeat failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatError {
    /// The name of the group is empty.
    InvalidGroupId,
    /// Forget the id and join anew.
    UnknownMember,
    /// Another member has this static name now: give up.
    FencedInstance,
    /// The round is another: join anew.
    IllegalGeneration,
    /// The member lives on, but a new round has begun: join it.
    RebalanceInProgress,
}

/// Members leave a group, or are made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The group.
    pub group: GroupId,
    /// Who.
    pub members: Vec<Leaving>,
}

/// One that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its id; `None` where an administrator names a static member alone.
    pub member: Option<MemberId>,
    /// The name of a static member.
    pub instance: Option<GroupInstanceId>,
    /// Why (KIP-800).
    pub reason: Option<String>,
}

/// What became of one that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its id, as it was asked.
    pub member: Option<MemberId>,
    /// Its static name, as it was asked.
    pub instance: Option<GroupInstanceId>,
    /// Whether it was a member.
    pub result: Result<(), LeaveMemberError>,
}

/// Why one member did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveMemberError {
    /// It is no member.
    UnknownMember,
    /// Another member has this static name now.
    FencedInstance,
}

/// Why nobody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveError {
    /// The name of the group is empty.
    InvalidGroupId,
    /// There is no such group.
    UnknownMember,
}

/// A topic, as the image of the asking broker knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicReference {
    /// Its name.
    pub name: TopicName,
    /// Its id; [`TopicId::ZERO`] where none is known. An offset kept under another id than this
    /// one, both known, is not the topic's.
    pub id: TopicId,
}

/// Offsets to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffsets {
    /// The group; may be empty.
    pub group: GroupId,
    /// Who commits; `None` for consumers without a membership, and administrators.
    pub member: Option<MemberId>,
    /// The name of a static member.
    pub instance: Option<GroupInstanceId>,
    /// The round, or the member's epoch in a group of the consumer protocol; `None` for those
    /// without a membership (-1 of the wire, and all below 0).
    pub generation: Option<GenerationId>,
    /// The client knows epochs of members (versions from 9 of the wire on).
    pub understands_epochs: bool,
    /// For how long the offsets are kept, where the request says so (as versions up to 4 can).
    pub retention: Option<Duration>,
    /// The offsets. The host has made sure that the topics exist.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTopic {
    /// The topic.
    pub topic: TopicReference,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// The offset of one partition to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    /// The partition.
    pub partition: PartitionIndex,
    /// The next record that is to be read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read, if it is known (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the client wants to remember with it.
    pub metadata: String,
}

/// What became of the offsets of one topic, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// The topic.
    pub topic: TopicReference,
    /// Its partitions.
    pub partitions: Vec<(PartitionIndex, Result<(), CommitPartitionError>)>,
}

/// Why one offset was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitPartitionError {
    /// Longer than `offset.metadata.max.bytes`.
    MetadataTooLarge,
}

/// Why no offset was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// There is no such group, but the request names a round. Answered as no group from version 9
    /// of the wire on, as an illegal generation before.
    GroupNotFound,
    /// Forget the id and join anew.
    UnknownMember,
    /// Another member has this static name now: give up.
    FencedInstance,
    /// The round is another: join anew.
    IllegalGeneration,
    /// The member's epoch is another: it must not commit for what it may not hold any longer.
    StaleMemberEpoch,
    /// Members of groups of the consumer protocol must say their epoch.
    UnsupportedVersion,
    /// A round is not complete: join it first.
    RebalanceInProgress,
    /// More than the log takes at once, or than is kept of one group.
    TooLarge,
}

/// Asks for kept offsets of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOffsets {
    /// The group; may be empty.
    pub group: GroupId,
    /// Which offsets; `None` is all that are kept.
    pub topics: Option<Vec<FetchTopic>>,
    /// Of all that are kept those from this one on, where an earlier answer ended before it; `None`
    /// is from the first.
    pub from: Option<(TopicName, PartitionIndex)>,
    /// Who asks, where it says so: it must be a member of a group of the consumer protocol.
    pub member: Option<(MemberId, MemberEpoch)>,
    /// Do not answer with an offset that an open transaction may still change.
    pub require_stable: bool,
}

/// Why no offset was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchOffsetsError {
    /// It is no member.
    UnknownMember,
    /// The member's epoch is another.
    StaleMemberEpoch,
    /// The same, of a member of the classic protocol.
    IllegalGeneration,
}

/// Kept offsets of one group, as many as one answer may have
/// ([`ANSWER_OFFSETS_MAX`](crate::limits::ANSWER_OFFSETS_MAX) and
/// [`ANSWER_BYTES`](crate::limits::ANSWER_BYTES)); the rest is asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FetchedOffsets {
    /// The offsets.
    pub topics: Vec<FetchedTopic>,
    /// The first one that is not in the answer, if there are more.
    pub next: Option<(TopicName, PartitionIndex)>,
}

/// Partitions of one topic that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// The topic.
    pub topic: TopicReference,
    /// Its partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// Kept offsets of one topic: as asked, or all in the order of names and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The topic. Where all were asked for, its id is the one that was committed with it, if any.
    pub topic: TopicReference,
    /// Its partitions; `None` where nothing is kept.
    pub partitions: Vec<(PartitionIndex, Option<KeptOffset>)>,
}

/// An offset as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptOffset {
    /// The next record that is to be read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read, if it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the client wanted to remember with it.
    pub metadata: String,
}

/// Offsets to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOffsets {
    /// The group.
    pub group: GroupId,
    /// Which ones.
    pub topics: Vec<(TopicName, Vec<PartitionIndex>)>,
}

/// What became of offsets of one topic, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// The topic.
    pub topic: TopicName,
    /// Its partitions; also one that had no offset counts as done.
    pub partitions: Vec<(PartitionIndex, Result<(), DeleteOffsetError>)>,
}

/// Why an offset was not forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOffsetError {
    /// Members of the group read the topic.
    GroupSubscribedToTopic,
}

/// Why no offset was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOffsetsError {
    /// The name of the group is empty.
    InvalidGroupId,
    /// There is no such group.
    GroupNotFound,
    /// It has members whose topics cannot be known.
    NonEmptyGroup,
}

/// Asks for the names of groups.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct List {
    /// Only groups in one of these states; `None` is all.
    pub states: Option<BTreeSet<GroupState>>,
    /// Only groups of one of these types; `None` is all.
    pub types: Option<BTreeSet<GroupType>>,
    /// Only groups from this one on, where an earlier answer ended before it.
    pub from: Option<GroupId>,
}

/// Groups in the order of names, as many as one answer may have
/// ([`ANSWER_GROUPS_MAX`](crate::limits::ANSWER_GROUPS_MAX) and
/// [`ANSWER_BYTES`](crate::limits::ANSWER_BYTES)); the rest is asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ListedGroups {
    /// The groups.
    pub groups: Vec<ListedGroup>,
    /// The first one that was not looked at, if there are more.
    pub next: Option<GroupId>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub group: GroupId,
    /// Its kind, such as `consumer`; empty where nobody ever joined.
    pub protocol_type: String,
    /// Where it stands.
    pub state: GroupState,
    /// By which protocol its members are coordinated.
    pub group_type: GroupType,
}

/// By which protocol the members of a group are coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupType {
    /// JoinGroup, SyncGroup and Heartbeat.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

impl GroupType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Classic, Self::Consumer];

    /// The type of this name, in letters of any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|group_type| group_type.as_str().eq_ignore_ascii_case(name))
    }

    /// As Kafka writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum GroupState {
    /// Without members; perhaps with offsets.
    #[default]
    Empty,
    /// A round waits for members to join.
    PreparingRebalance,
    /// The round is complete; the leader's assignments are awaited.
    CompletingRebalance,
    /// Of the consumer protocol: the work has to be divided anew.
    Assigning,
    /// Of the consumer protocol: the work is divided, but not all members have what they shall.
    Reconciling,
    /// Members have their assignments.
    Stable,
    /// There is no such group.
    Dead,
}

impl GroupState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::PreparingRebalance,
        Self::CompletingRebalance,
        Self::Assigning,
        Self::Reconciling,
        Self::Stable,
        Self::Dead,
    ];

    /// The state of this name, in letters of any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.as_str().eq_ignore_ascii_case(name))
    }

    /// As Kafka writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A group, described. One that does not exist is [`GroupState::Dead`] (and from version 6 of the
/// wire on an error).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its name.
    pub group: GroupId,
    /// Where it stands.
    pub state: GroupState,
    /// Its kind; empty where nobody ever joined.
    pub protocol_type: String,
    /// How its work is divided, while it is stable; empty otherwise.
    pub protocol: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
    /// It is there, but of another protocol: dead to those who ask for a classic one.
    pub is_consumer: bool,
}

/// A member, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member: MemberId,
    /// Its name, if it is a static one.
    pub instance: Option<GroupInstanceId>,
    /// The client's own name.
    pub client_id: String,
    /// Where it calls from.
    pub client_host: String,
    /// What it said about the protocol, while the group is stable; empty otherwise.
    pub metadata: Bytes,
    /// What it was given, while the group is stable; empty otherwise.
    pub assignment: Bytes,
}

/// Why a group was not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteGroupError {
    /// There is no such group.
    GroupNotFound,
    /// It has members.
    NonEmptyGroup,
}
