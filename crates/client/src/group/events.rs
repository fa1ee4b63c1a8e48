//! What a member of a group tells its program, and why a membership ends.

use std::fmt;
use std::time::Duration;

use klamm_model::{ErrorCode, NodeId};
use klamm_wire::Message;

use crate::error::BrokerError;
use crate::fetcher::{Event, StartAt};
use crate::metadata::PartitionName;

/// What happens to a member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// Something was read.
    Read(Event),
    /// These are the member's from now on; the others stay.
    Assigned(Vec<PartitionName>),
    /// These are let go of: nothing more of them is handed out. Until the next event is asked for
    /// they are still the member's: what was worked on can be committed.
    Revoked(Vec<PartitionName>),
    /// These are others' already: what was worked on and not committed, somebody reads again.
    Lost {
        /// Which ones.
        partitions: Vec<PartitionName>,
        /// Why, in words.
        reason: String,
    },
    /// The group keeps no offset of this partition, and `auto.offset.reset` is `none`: it stands
    /// still until it is sought.
    NoOffset(PartitionName),
    /// The membership is over for good.
    Ended(GroupError),
}

/// Why a membership is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// The broker refuses.
    Refused(BrokerError),
    /// The broker does not serve what the options ask for.
    Unserved(String),
}

impl GroupError {
    /// The broker's error code, if it refused.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(error) => Some(error.code),
            Self::Unserved(_) => None,
        }
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unserved(reason) => formatter.write_str(reason),
            Self::Refused(error) => {
                error.fmt(formatter)?;
                match error.code {
                    ErrorCode::FencedInstanceId => formatter.write_str(
                        "; another member uses the same group.instance.id now",
                    ),
                    ErrorCode::InconsistentGroupProtocol => formatter.write_str(
                        "; its members divide the work in another way: offer one of their assignors",
                    ),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for GroupError {}

/// Names a commit that the program asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitId(pub u64);

/// Why offsets were not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// The broker refuses.
    Refused(BrokerError),
    /// Some of the partitions are not this member's any more; nothing of the commit was done.
    NotOwned(PartitionName),
    /// Not in time; whether it took effect is unknown.
    Timeout(Duration),
    /// The membership is over.
    Ended,
}

impl fmt::Display for CommitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(formatter),
            Self::NotOwned(partition) => {
                write!(formatter, "{partition} is not this member's any more")
            }
            Self::Timeout(waited) => {
                write!(formatter, "offsets were not committed within {waited:?}")
            }
            Self::Ended => formatter.write_str("the membership is over"),
        }
    }
}

impl std::error::Error for CommitError {}

/// What a request of a member is for, with the exchange that it belongs to: answers to exchanges
/// that are over are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// FindCoordinator.
    Find,
    /// JoinGroup.
    Join(u64),
    /// SyncGroup.
    Sync(u64),
    /// Heartbeat of either protocol.
    Beat(u64),
    /// LeaveGroup, or the last heartbeat.
    Leave,
    /// OffsetFetch.
    Offsets(u64),
    /// OffsetCommit.
    Commit(u64),
}

/// What the host of a member shall do.
pub(crate) enum Action {
    /// Send a request to the coordinator, or to anyone; then tell
    /// [`on_answer`](super::member::Member::on_answer) or [`on_lost`](super::member::Member::on_lost).
    Send {
        /// To this coordinator, on a connection of its own; `None` for any broker.
        node: Option<NodeId>,
        /// The request.
        request: Box<dyn Message + Send>,
        /// Highest version that can express it.
        version_max: i16,
        /// How much longer than usual its answer may take.
        patience: Duration,
        /// What it is for.
        purpose: Purpose,
    },
    /// Ask for the metadata of these topics.
    Refresh(Vec<klamm_model::TopicName>),
    /// Read a partition from here on.
    Start(PartitionName, StartAt),
    /// Stop reading a partition.
    Stop(PartitionName),
}
