//! Who votes. Changed one voter at a time through the log; the newest set in the log rules from
//! the moment it is appended, committed or not (R9: old and new majorities intersect).

use std::collections::BTreeSet;
use std::fmt;

use crate::log::Index;

/// A node of the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub i32);

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The voters of the quorum.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VoterSet(BTreeSet<NodeId>);

impl VoterSet {
    /// A set of these.
    pub fn new(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self(voters.into_iter().collect())
    }

    /// Whether `node` votes.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.contains(&node)
    }

    /// How many vote.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if nobody votes: a node that waits to be added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// The voters by number.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().copied()
    }

    /// True if `node` is the only voter.
    #[must_use]
    pub fn is_only(&self, node: NodeId) -> bool {
        self.0.len() == 1 && self.contains(node)
    }

    /// Whether those for which `holds` is true are a majority.
    pub(crate) fn agrees(&self, mut holds: impl FnMut(NodeId) -> bool) -> bool {
        !self.is_empty() && self.iter().filter(|&node| holds(node)).count() >= self.majority()
    }

    /// The largest index that a majority has reached.
    pub(crate) fn agreed_index(&self, reached: impl FnMut(NodeId) -> Index) -> Index {
        if self.is_empty() {
            return Index::ZERO;
        }
        let mut indexes: Vec<_> = self.iter().map(reached).collect();
        indexes.sort_unstable_by(|left, right| right.cmp(left));
        indexes[self.majority() - 1]
    }

    pub(crate) fn with(&self, change: VoterChange) -> Result<Self, ChangeError> {
        let mut changed = self.0.clone();
        match change {
            VoterChange::Add(node) if !changed.insert(node) => return Err(ChangeError::Present),
            VoterChange::Remove(node) if !changed.remove(&node) => return Err(ChangeError::Absent),
            VoterChange::Add(_) | VoterChange::Remove(_) => {}
        }
        if changed.is_empty() {
            return Err(ChangeError::LastVoter);
        }
        if changed.len() > VOTERS_MAX {
            return Err(ChangeError::TooMany);
        }
        Ok(Self(changed))
    }
}

/// Most voters that a quorum may have.
pub(crate) const VOTERS_MAX: usize = 31;

/// One step of a change of the voter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoterChange {
    /// One more voter.
    Add(NodeId),
    /// One voter less.
    Remove(NodeId),
}

/// Why the voter set cannot be changed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// This node does not lead, or has not yet committed an entry of its term.
    NotLeader,
    /// An earlier change is not yet committed (R9).
    ChangeUnderWay,
    /// The node votes already.
    Present,
    /// The node does not vote.
    Absent,
    /// The last voter cannot leave.
    LastVoter,
    /// The quorum has all the voters it may have.
    TooMany,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotLeader => "this node does not lead the quorum",
            Self::ChangeUnderWay => "an earlier change of voters is not yet committed",
            Self::Present => "the node is a voter already",
            Self::Absent => "the node is no voter",
            Self::LastVoter => "the last voter cannot be removed",
            Self::TooMany => "the quorum has as many voters as it may have",
        })
    }
}

impl std::error::Error for ChangeError {}
