//! Positions in a partition, and the line on which they stand:
//!
//! ```text
//! log_start <= last_stable <= high_watermark <= log_end
//!                             flushed        <= log_end
//! ```

use std::fmt;

/// Position of a record in a partition, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Offset(pub i64);

impl Offset {
    /// The first position of every log.
    pub const ZERO: Self = Self(0);

    /// The position right after a record at this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position `delta` further on.
    #[must_use]
    pub const fn plus(self, delta: OffsetDelta) -> Self {
        Self(self.0 + delta.0 as i64)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A record's distance from the base offset of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OffsetDelta(pub i32);

/// Position of a metadata record in the quorum log, as Kafka shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MetadataOffset(pub i64);

/// The five positions of one replica of a partition. All ends are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cursors {
    /// First offset that can still be read.
    pub log_start: Offset,
    /// End of what a read-committed consumer may see.
    pub last_stable: Offset,
    /// End of what is replicated to every in-sync replica under the topic's durability class.
    pub high_watermark: Offset,
    /// Offset that the next record gets.
    pub log_end: Offset,
    /// End of what is durable on this node.
    pub flushed: Offset,
}

impl Cursors {
    /// True if the positions stand in their order.
    #[must_use]
    pub fn in_order(&self) -> bool {
        self.log_start <= self.last_stable
            && self.last_stable <= self.high_watermark
            && self.high_watermark <= self.log_end
            && self.flushed <= self.log_end
    }
}
