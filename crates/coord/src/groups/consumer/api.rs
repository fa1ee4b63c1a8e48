//! What may be asked of groups of the consumer protocol (KIP-848), and what is answered.

use std::fmt;
use std::time::Duration;

use klamm_model::{PartitionIndex, TopicId, TopicName};

use super::super::api::GroupState;
use super::super::names::{GroupId, GroupInstanceId, MemberId};

/// Number of what a member has been given. It only grows; below 1 it is a word of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MemberEpoch(pub i32);

impl MemberEpoch {
    /// A member joins, or joins again.
    pub const JOIN: Self = Self(0);
    /// A member leaves.
    pub const LEAVE: Self = Self(-1);
    /// A static member leaves for a while.
    pub const LEAVE_STATIC: Self = Self(-2);
}

impl fmt::Display for MemberEpoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic: TopicId,
    /// Its partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// How long a client waits for the answer to a heartbeat before it gives its connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatPatience {
    /// As long as for the answer to any request, however soon the next heartbeat is due.
    Apart,
    /// No longer than until the next heartbeat is due, as librdkafka; or nobody knows how long.
    UntilNext,
}

/// A member joins, says that it lives and what it holds, or leaves: all of it is one request. What
/// it says once need not be said again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: GroupId,
    /// Its id, that it made itself; empty where it shall be made here (version 0 of the wire).
    pub member: MemberId,
    /// It must have made its id itself (KIP-1082; versions from 1 of the wire on).
    pub member_id_required: bool,
    /// What it was told last, or what it wants.
    pub epoch: MemberEpoch,
    /// The name of a static member.
    pub instance: Option<GroupInstanceId>,
    /// Where it is.
    pub rack: Option<String>,
    /// For how long it may take to let go of partitions, in milliseconds; -1 is not said.
    pub rebalance_timeout_ms: i32,
    /// The client's own name.
    pub client_id: String,
    /// Where it calls from, as Kafka shows it: `/127.0.0.1`.
    pub client_host: String,
    /// Names of the topics that it reads.
    pub topics: Option<Vec<String>>,
    /// A regular expression of the names of topics that it reads; the empty one is none.
    pub regex: Option<String>,
    /// How it wants the work divided.
    pub assignor: Option<String>,
    /// What it holds.
    pub owned: Option<Vec<TopicPartitions>>,
    /// How long its client waits for the answer. It shapes the answer alone: no record says it.
    pub patience: HeartbeatPatience,
}

/// A heartbeat was good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatDone {
    /// The member's id.
    pub member: MemberId,
    /// Its epoch from now on.
    pub epoch: MemberEpoch,
    /// When it shall come again; zero for one that left.
    pub heartbeat_interval: Duration,
    /// What it may hold, if that is news to it.
    pub assignment: Option<Vec<TopicPartitions>>,
}

/// A heartbeat was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatRefused {
    /// Why.
    pub error: ConsumerHeartbeatError,
    /// Why, in words.
    pub message: String,
}

/// Why a heartbeat was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerHeartbeatError {
    /// The request does not make sense.
    InvalidRequest,
    /// There is no such group, or not of this protocol.
    GroupNotFound,
    /// It is no member.
    UnknownMember,
    /// The epoch is not the member's: let go of everything and join anew.
    FencedMemberEpoch,
    /// Another member has this static name now: give up.
    FencedInstance,
    /// The member that has this static name did not leave.
    UnreleasedInstance,
    /// No such way of dividing work.
    UnsupportedAssignor,
    /// The group takes no more members, or no more bytes of them.
    GroupFull,
    /// The regular expression cannot be read, or is too large.
    InvalidRegularExpression,
}

/// A group, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    /// Where it stands.
    pub state: GroupState,
    /// The epoch of what its members want.
    pub epoch: i32,
    /// The epoch of what they shall have.
    pub assignment_epoch: i32,
    /// How the work is divided.
    pub assignor: String,
    /// Its members.
    pub members: Vec<DescribedConsumer>,
}

/// A member, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    /// Its id.
    pub member: MemberId,
    /// Its name, if it is a static one.
    pub instance: Option<GroupInstanceId>,
    /// Where it is.
    pub rack: Option<String>,
    /// Its epoch.
    pub epoch: MemberEpoch,
    /// The client's own name.
    pub client_id: String,
    /// Where it calls from.
    pub client_host: String,
    /// Names of the topics that it reads.
    pub topics: Vec<String>,
    /// A regular expression of the topics that it reads.
    pub regex: Option<String>,
    /// What it has. Topics that are gone are left out.
    pub assignment: Vec<(TopicName, TopicPartitions)>,
    /// What it shall have. Topics that are gone are left out.
    pub target: Vec<(TopicName, TopicPartitions)>,
    /// It speaks the classic protocol.
    pub is_classic: bool,
}

/// Why a group was not described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescribeConsumersError {
    /// The name of the group is empty.
    InvalidGroupId,
    /// There is no such group.
    GroupNotFound,
    /// It is one of another protocol.
    NotAConsumerGroup,
}
