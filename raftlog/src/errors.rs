//! Refusals: one enum for each operation. They carry no state; nothing changed when one is given.

use std::fmt;

use crate::log::{Index, Term};
use crate::membership::{NodeId, VOTERS_MAX};

/// What was found on disk is no log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoverError {
    /// An index is missing or repeated.
    Gap {
        /// The index that should follow.
        expected: Index,
        /// The index found.
        found: Index,
    },
    /// A term is lower than the one before it, or beyond the number line.
    Term {
        /// Where.
        index: Index,
        /// The term found.
        found: Term,
    },
    /// More voters than a quorum may have.
    Voters {
        /// How many.
        found: usize,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { expected, found } => {
                write!(formatter, "expected entry {expected}, found {found}")
            }
            Self::Term { index, found } => {
                write!(formatter, "entry {index} has the impossible term {found}")
            }
            Self::Voters { found } => {
                write!(
                    formatter,
                    "found {found} voters, at most {VOTERS_MAX} are allowed"
                )
            }
        }
    }
}

impl std::error::Error for RecoverError {}

/// Why a proposal was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// This node does not lead.
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Too much is uncommitted already; try again later.
    Busy,
    /// No payloads, or more bytes than may ever be uncommitted.
    Size,
}

impl fmt::Display for ProposeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(node) } => {
                write!(
                    formatter,
                    "this node does not lead the quorum, node {node} does"
                )
            }
            Self::NotLeader { leader: None } => {
                formatter.write_str("this node does not lead the quorum")
            }
            Self::Busy => formatter.write_str("too many entries wait to be committed"),
            Self::Size => {
                formatter.write_str("a proposal must have entries and fit the uncommitted bytes")
            }
        }
    }
}

impl std::error::Error for ProposeError {}

/// A peer's message makes no sense. The log was not changed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepError {
    /// Addressed to another node, or sent by this one.
    Misdirected,
    /// Its term is beyond the number line.
    Term,
    /// Its entries have gaps or terms that go back.
    Malformed,
    /// Somebody else claims to lead a term whose leader is known.
    SecondLeader {
        /// The term.
        term: Term,
    },
    /// It would replace a committed entry (R7).
    ConflictsWithCommitted {
        /// The entry.
        index: Index,
    },
}

impl fmt::Display for StepError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misdirected => formatter.write_str("the message is not for this node"),
            Self::Term => formatter.write_str("the message's term is beyond the number line"),
            Self::Malformed => formatter.write_str("the message's entries are no piece of a log"),
            Self::SecondLeader { term } => {
                write!(formatter, "a second leader claims term {term}")
            }
            Self::ConflictsWithCommitted { index } => {
                write!(
                    formatter,
                    "the message would replace the committed entry {index}"
                )
            }
        }
    }
}

impl std::error::Error for StepError {}
