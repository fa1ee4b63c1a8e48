//! The idempotence triple (KIP-98): producer id, epoch, sequence.

use std::fmt;

use crate::OffsetDelta;

/// Id that the controller gives to an idempotent producer. Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerId(pub i64);

impl fmt::Display for ProducerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Incarnation of a producer id; a newer one fences the older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ProducerEpoch(pub i16);

/// Number of a record among those of one producer and partition: 0 to 2^31 - 1, then 0 again.
/// Arithmetic goes only through these methods, because it wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Sequence(pub i32);

impl Sequence {
    /// The first sequence of a producer epoch.
    pub const FIRST: Self = Self(0);

    /// The sequence of the record `delta` further on.
    #[must_use]
    pub const fn plus(self, delta: OffsetDelta) -> Self {
        Self(((self.0 as i64 + delta.0 as i64) % (i32::MAX as i64 + 1)) as i32)
    }

    /// The sequence after this.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(OffsetDelta(1))
    }
}

/// Who wrote a batch, and where it stands in that producer's own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of the batch's first record.
    pub base_sequence: Sequence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(Sequence(i32::MAX).next(), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(OffsetDelta(3)), Sequence(1));
        assert_eq!(Sequence(4).plus(OffsetDelta(0)), Sequence(4));
    }
}
