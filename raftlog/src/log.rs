//! The log in memory: the entries after the newest snapshot, and the positions on them.
//! Owned by [`crate::Raft`]; the host keeps the durable copy.
//!
//! ```text
//! base (snapshot) < first … exposed <= commit … last
//!                           exposed <= flushed <= last
//! ```

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use crate::membership::{NodeId, VoterSet};

/// Reign number of the quorum's leader. Fits the wire's int32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Term(pub u32);

impl Term {
    /// The largest term that fits Kafka's `LeaderEpoch` on the wire.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// The next term, or `None` at the end of the number line.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self < Self::MAX).then(|| Self(self.0 + 1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Position of an entry in the quorum log. The first entry has 1; 0 stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Index(pub u64);

impl Index {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);
    /// The largest index, which fits Kafka's int64 offsets.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The position after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this; zero stays zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An index and the term of the entry there: names one entry, and with it all before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct LogPosition {
    /// The index.
    pub index: Index,
    /// Term of the entry at `index`.
    pub term: Term,
}

impl LogPosition {
    /// Before the first entry of every log.
    pub const ZERO: Self = Self {
        index: Index::ZERO,
        term: Term(0),
    };

    /// Raft's order of logs: the later last term wins, then the longer log.
    #[must_use]
    pub fn is_at_least(self, other: Self) -> bool {
        (self.term, self.index) >= (other.term, other.index)
    }
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The first entry of every reign, so that the leader has an entry of its own term to commit.
    LeaderChange(NodeId),
    /// The host's bytes.
    Data(Bytes),
    /// From this entry on, these are the voters.
    Voters(VoterSet),
}

impl Payload {
    /// Bytes that this counts against the limits.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::LeaderChange(_) => 8,
            Self::Data(bytes) => bytes.len(),
            Self::Voters(voters) => 4 + 4 * voters.len(),
        }
    }
}

/// One entry of the quorum log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub index: Index,
    /// The term of the leader that wrote it.
    pub term: Term,
    /// What it holds.
    pub payload: Payload,
}

impl Entry {
    /// The entry's name.
    #[must_use]
    pub const fn position(&self) -> LogPosition {
        LogPosition {
            index: self.index,
            term: self.term,
        }
    }
}

/// The entries after `base`, without a gap.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base: LogPosition,
    entries: VecDeque<Entry>,
}

impl Log {
    pub(crate) const fn new(base: LogPosition) -> Self {
        Self {
            base,
            entries: VecDeque::new(),
        }
    }

    /// The snapshot's position: the entry before the first one held.
    pub(crate) const fn base(&self) -> LogPosition {
        self.base
    }

    pub(crate) fn last(&self) -> LogPosition {
        self.entries.back().map_or(self.base, Entry::position)
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        let place = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The term at `index`, if the log (or its base) still knows it.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    pub(crate) fn position_at(&self, index: Index) -> Option<LogPosition> {
        self.term_at(index).map(|term| LogPosition { index, term })
    }

    pub(crate) fn holds(&self, position: LogPosition) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "the log has no gaps");
        assert!(entry.term >= last.term, "terms never go back along the log");
        self.entries.push_back(entry);
    }

    /// Cuts every entry after `index`.
    pub(crate) fn truncate_after(&mut self, index: Index) {
        assert!(index >= self.base.index, "a snapshot is never cut");
        let kept = usize::try_from(index.0 - self.base.index.0).unwrap_or(usize::MAX);
        self.entries.truncate(kept);
    }

    /// Drops every entry up to and with `position`, which the log holds.
    pub(crate) fn trim_to(&mut self, position: LogPosition) {
        assert!(self.holds(position), "trimmed at an entry of this log");
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.index <= position.index)
        {
            self.entries.pop_front();
        }
        // A long log found at the start would otherwise leave its room behind for ever.
        self.entries.shrink_to(2 * self.entries.len());
        self.base = position;
    }

    /// Entries from `first` on: at most `count_max`, at most `bytes_max` but at least one.
    pub(crate) fn slice(&self, first: Index, count_max: usize, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let mut taken = Vec::new();
        let mut index = first;
        while let Some(entry) = self.entry(index) {
            bytes += entry.payload.weight();
            if taken.len() == count_max || (bytes > bytes_max && !taken.is_empty()) {
                break;
            }
            taken.push(entry.clone());
            index = index.next();
        }
        taken
    }

    /// For a follower that does not hold `wanted`: the last position that may still agree with
    /// the leader's log, skipping the whole conflicting term at once.
    pub(crate) fn hint_below(&self, wanted: LogPosition, floor: Index) -> Index {
        let last = self.last().index;
        if last < wanted.index {
            return last;
        }
        let conflicting = self.term_at(wanted.index);
        let mut index = wanted.index.previous();
        while index > floor && self.term_at(index) == conflicting {
            index = index.previous();
        }
        index.max(floor)
    }
}
