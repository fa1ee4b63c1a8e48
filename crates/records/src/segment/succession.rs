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
    /// Begins here or later: what stood before it could not be read.
    AtLeast(Offset),
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

    /// From some batch on that begins at this offset or later.
    #[must_use]
    pub const fn from_least(least: Offset) -> Self {
        Self {
            next: Next::AtLeast(least),
            leader_epoch: None,
        }
    }

    /// Takes in the next batch, whose checksum is right.
    ///
    /// # Errors
    /// [`SegmentFault::Offset`] or [`SegmentFault::LeaderEpoch`]: it does not stand where it says,
    /// or claims an older reign than the one before.
    pub fn follow(&mut self, header: &BatchHeader) -> Result<(), SegmentFault> {
        self.check_offsets(header)?;
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

    /// The same for offsets alone.
    pub(super) fn follow_offsets(&mut self, header: &BatchHeader) -> Result<(), SegmentFault> {
        self.check_offsets(header)?;
        self.next = Next::At(header.end_offset());
        Ok(())
    }

    /// Passes over a batch whose checksum is right and which does not say where it stands. The
    /// checksum covers how many offsets it takes.
    pub(super) fn pass(&mut self, header: &BatchHeader) {
        let taken = i64::from(header.last_offset_delta.0)
            .max(0)
            .saturating_add(1);
        self.next = match self.next {
            Next::At(base) => Next::At(Offset(base.0.saturating_add(taken))),
            Next::EndsWith(last) => Next::At(Offset(last.0.saturating_add(1))),
            Next::AtLeast(least) => Next::AtLeast(least),
        };
    }

    /// Passes over bytes that are no batch.
    pub(super) fn lose(&mut self) {
        self.next = Next::AtLeast(match self.next {
            Next::At(base) | Next::AtLeast(base) => base,
            Next::EndsWith(last) => Offset(last.0.saturating_add(1)),
        });
    }

    /// The least offset at which the next batch may begin, as far as that is known before it is
    /// read.
    pub(super) const fn least(&self) -> Offset {
        match self.next {
            Next::At(base) | Next::AtLeast(base) => base,
            // How many offsets it takes is not known.
            Next::EndsWith(_) => Offset::ZERO,
        }
    }

    fn check_offsets(&self, header: &BatchHeader) -> Result<(), SegmentFault> {
        let found = header.base_offset;
        let delta = i64::from(header.last_offset_delta.0);
        let (least, follows) = match self.next {
            Next::At(base) => (base, found == base),
            Next::AtLeast(least) => (least, found >= least),
            Next::EndsWith(last) => {
                let base = Offset(last.0.saturating_sub(delta));
                (base, found == base)
            }
        };
        if follows && delta >= 0 {
            Ok(())
        } else {
            Err(SegmentFault::Offset { least, found })
        }
    }
}
