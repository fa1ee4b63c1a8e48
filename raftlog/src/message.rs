//! What nodes of the quorum say to each other.

use bytes::Bytes;

use crate::log::{Entry, Index, LogPosition, Term};
use crate::membership::{NodeId, VoterSet};

/// The state machine at one position of the log, with the voters of that position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it covers.
    pub position: LogPosition,
    /// The voters after that entry.
    pub voters: VoterSet,
    /// The host's bytes.
    pub data: Bytes,
}

/// One message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sender.
    pub from: NodeId,
    /// Receiver.
    pub to: NodeId,
    /// The sender's term; in `PreVote` and a granted `PreVoteReply` the term asked for.
    pub term: Term,
    /// What is said.
    pub body: MessageBody,
}

/// The kinds of message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageBody {
    /// Would you vote for me in this term? Changes nothing at the receiver.
    PreVote {
        /// End of the asking node's log.
        last: LogPosition,
    },
    /// Answer to `PreVote`.
    PreVoteReply {
        /// Yes or no.
        granted: bool,
    },
    /// Vote for me in this term.
    Vote {
        /// End of the candidate's log.
        last: LogPosition,
        /// The leader itself asked for this election: do not protect it.
        transfer: bool,
    },
    /// Answer to `Vote`.
    VoteReply {
        /// Yes or no.
        granted: bool,
    },
    /// Entries of the leader's log, or none as a heartbeat.
    Append {
        /// The entry right before them.
        previous: LogPosition,
        /// The entries.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// Answer to `Append` and `Install`.
    AppendReply {
        /// How far the logs agree.
        outcome: AppendOutcome,
    },
    /// The log's beginning is gone: take the snapshot instead.
    Install {
        /// The snapshot.
        snapshot: Snapshot,
    },
    /// The leader wants you to lead: campaign at once.
    CampaignNow,
}

/// How a follower answers entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Up to `matched` the follower's *durable* log is the leader's.
    Accepted {
        /// Last agreeing durable index.
        matched: Index,
    },
    /// The follower does not hold the entry before the sent ones.
    Rejected {
        /// Index of that entry.
        previous: Index,
        /// Last index at which the logs may agree.
        hint: Index,
    },
}
