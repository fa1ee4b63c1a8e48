//! What the machine wants done, drained by [`crate::Raft::ready`].

use crate::config::{HardState, Role};
use crate::log::{Entry, Index, Term};
use crate::membership::NodeId;
use crate::message::{Message, Snapshot};

/// Counts how often the end of the log was replaced. A flush reported with an older generation is
/// about bytes that have been cut since, so it is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// Entries to append to the durable log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// At least one entry, without a gap.
    pub entries: Vec<Entry>,
    /// To hand back in `on_flushed`.
    pub generation: Generation,
}

impl Append {
    /// Index of the last entry, to hand back in `on_flushed`.
    ///
    /// # Panics
    /// Never for an append that the machine made: it is not empty.
    #[must_use]
    pub fn last(&self) -> Index {
        self.entries.last().expect("never empty").index
    }
}

/// Indexes from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexRange {
    /// The first.
    pub first: Index,
    /// The last.
    pub last: Index,
}

impl IndexRange {
    /// Every index of the range.
    pub fn iter(self) -> impl Iterator<Item = Index> {
        (self.first.0..=self.last.0).map(Index)
    }
}

/// A new role, term or leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The term.
    pub term: Term,
    /// This node's role in it.
    pub role: Role,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
}

/// Work for the host, to be carried out in the order of the fields. See the crate's duties.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ready {
    /// Write durably, then `on_vote_flushed`.
    pub hard_state: Option<HardState>,
    /// Replace log and state machine, then `on_snapshot_flushed`.
    pub snapshot: Option<Snapshot>,
    /// Cut every entry after this index.
    pub truncate_after: Option<Index>,
    /// Append, then `on_flushed`.
    pub append: Option<Append>,
    /// Send.
    pub messages: Vec<Message>,
    /// Replay.
    pub committed: Option<IndexRange>,
    /// Take note.
    pub role: Option<RoleChange>,
}

impl Ready {
    /// Nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
