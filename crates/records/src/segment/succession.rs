//! Follows the batches of one segment: base offset and leader epoch lie outside of a batch's
//! checksum, so that only its neighbours tell whether they are right.

use klamm_model::{BatchHeader, LeaderEpoch, Offset};

use super::index::OffsetEntry;
use super::recover::SegmentFault;

/// What the next batch of a segment must say. Inside a segment offsets have no holes: a log that
/// lost records goes on in a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    next: Next,
    leader_epoch: Option<LeaderEpoch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Begins here.
    At(Offset),
    /// Ends with this record.
    EndsWith(Offset),
}

impl Succession {
    /// From the segment's first batch on.
    #[must_use]
    pub const fn from_start(segment_base: Offset) -> Self {
        Self {
            next: Next::At(segment_base),
            leader_epoch: None,
        }
    }

    /// From the batch on that an entry of the offset index points at.
    #[must_use]
    pub const fn from_entry(entry: &OffsetEntry) -> Self {
        Self {
            next: Next::EndsWith(entry.offset),
            leader_epoch: None,
        }
    }

    /// Takes in the next batch, whose checksum is right.
    ///
    /// # Errors
    /// [`SegmentFault::Offset`] or [`SegmentFault::LeaderEpoch`]: it does not stand where it says,
    /// or claims an older reign than the one before.
    pub fn follow(&mut self, header: &BatchHeader) -> Result<(), SegmentFault> {
        let found = header.base_offset;
        let delta = i64::from(header.last_offset_delta.0);
        let least = match self.next {
            Next::At(base) => base,
            Next::EndsWith(last) => Offset(last.0.saturating_sub(delta)),
        };
        if found != least || delta < 0 {
            return Err(SegmentFault::Offset { least, found });
        }
        if let Some(before) = self
            .leader_epoch
            .filter(|&before| header.leader_epoch < before)
        {
            return Err(SegmentFault::LeaderEpoch {
                least: before,
                found: header.leader_epoch,
            });
        }
        self.next = Next::At(header.end_offset());
        self.leader_epoch = Some(header.leader_epoch);
        Ok(())
    }
}
