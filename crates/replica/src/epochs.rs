//! The leader epochs found in a log: where each reign began (KIP-101, KIP-279). Owned by
//! [`crate::Leader`]; consulted by OffsetForLeaderEpoch, ListOffsets and by followers that look
//! for the place where their log forks from the leader's.

use std::fmt;

use klamm_model::{LeaderEpoch, Offset};

/// A reign and the offset of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EpochStart {
    /// The reign.
    pub leader_epoch: LeaderEpoch,
    /// Offset of the first record written in it.
    pub start: Offset,
}

/// Where a reign ended: the answer of OffsetForLeaderEpoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EpochEnd {
    /// The largest known reign that is not above the one asked for; the one asked for, if the log
    /// begins after it.
    pub leader_epoch: LeaderEpoch,
    /// Offset after its last record.
    pub end: Offset,
}

/// A reign does not fit after those already known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssignRefused {
    /// What was offered.
    pub offered: EpochStart,
    /// The last one known.
    pub latest: EpochStart,
}

impl fmt::Display for AssignRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "leader epoch {} at offset {} does not follow leader epoch {} at offset {}",
            self.offered.leader_epoch,
            self.offered.start,
            self.latest.leader_epoch,
            self.latest.start
        )
    }
}

impl std::error::Error for AssignRefused {}

/// A list of reigns, from a checkpoint, that no log can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedEpochs {
    /// An epoch or an offset is negative.
    Negative {
        /// The entry.
        found: EpochStart,
    },
    /// Epochs or offsets do not strictly increase.
    OutOfOrder(AssignRefused),
}

impl fmt::Display for MalformedEpochs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative { found } => write!(
                formatter,
                "expected no negative number, found leader epoch {} at offset {}",
                found.leader_epoch, found.start
            ),
            Self::OutOfOrder(refused) => refused.fmt(formatter),
        }
    }
}

impl std::error::Error for MalformedEpochs {}

/// Every reign that has records in the log, oldest first.
///
/// **Invariant:** epochs and offsets both increase strictly, so a reign without records has no
/// entry and the list equals one rebuilt from the log.
///
/// ```text
/// offset   0 . . . . 40 . . . . 70 . . . . log_end
/// epoch    |--- 0 ---|--- 3 ----|--- 4 ----|
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LeaderEpochCache {
    entries: Vec<EpochStart>,
}

impl LeaderEpochCache {
    /// The cache of an empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Reads a checkpoint's list.
    ///
    /// # Errors
    /// The first entry that breaks the order.
    pub fn from_entries(
        entries: impl IntoIterator<Item = EpochStart>,
    ) -> Result<Self, MalformedEpochs> {
        let mut cache = Self::new();
        for entry in entries {
            if entry.leader_epoch.0 < 0 || entry.start.0 < 0 {
                return Err(MalformedEpochs::Negative { found: entry });
            }
            if let Some(latest) = cache.latest()
                && !(latest.leader_epoch < entry.leader_epoch && latest.start < entry.start)
            {
                return Err(MalformedEpochs::OutOfOrder(AssignRefused {
                    offered: entry,
                    latest,
                }));
            }
            cache.entries.push(entry);
        }
        Ok(cache)
    }

    /// The list, oldest first, as the checkpoint holds it.
    #[must_use]
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The last reign with records.
    #[must_use]
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// Notes that the record at `start` was written in `leader_epoch`. Returns whether the list
    /// changed. A last reign that begins at the same offset has no records (its log was cut there)
    /// and gives way.
    ///
    /// # Errors
    /// The epoch is older than the last one, or begins before it.
    pub fn assign(
        &mut self,
        leader_epoch: LeaderEpoch,
        start: Offset,
    ) -> Result<bool, AssignRefused> {
        let offered = EpochStart {
            leader_epoch,
            start,
        };
        if let Some(latest) = self.latest() {
            if leader_epoch < latest.leader_epoch || start < latest.start {
                return Err(AssignRefused { offered, latest });
            }
            if leader_epoch == latest.leader_epoch {
                return Ok(false);
            }
            if start == latest.start {
                self.entries.pop();
            }
        }
        self.entries.push(offered);
        self.assert_ordered_at_end();
        Ok(true)
    }

    /// Where `requested` ended in a log that ends at `log_end`; `None` if the reign is newer than
    /// every one known here.
    #[must_use]
    pub fn end_offset_for(&self, requested: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let after = self
            .entries
            .partition_point(|entry| entry.leader_epoch <= requested);
        let known = after.checked_sub(1).map(|place| self.entries[place]);
        match (known, self.entries.get(after)) {
            (known, Some(next)) => Some(EpochEnd {
                leader_epoch: known.map_or(requested, |entry| entry.leader_epoch),
                end: next.start,
            }),
            (Some(last), None) if last.leader_epoch == requested => Some(EpochEnd {
                leader_epoch: requested,
                end: log_end,
            }),
            (_, None) => None,
        }
    }

    /// The reign in which the record at `offset` was written; `None` before the first entry.
    #[must_use]
    pub fn leader_epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        after
            .checked_sub(1)
            .map(|place| self.entries[place].leader_epoch)
    }

    /// The log now ends at `log_end`: forgets reigns that began there or later. Returns whether
    /// the list changed.
    pub fn truncate_from_end(&mut self, log_end: Offset) -> bool {
        let kept = self.entries.partition_point(|entry| entry.start < log_end);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// The log now begins at `log_start`: forgets reigns that ended there or earlier; the reign to
    /// which the first offset belongs begins there. Returns whether the list changed.
    pub fn truncate_from_start(&mut self, log_start: Offset) -> bool {
        let after = self
            .entries
            .partition_point(|entry| entry.start <= log_start);
        let Some(first) = after.checked_sub(1) else {
            return false;
        };
        let changed = first > 0 || self.entries[first].start < log_start;
        self.entries.drain(..first);
        self.entries[0].start = log_start;
        changed
    }

    fn assert_ordered_at_end(&self) {
        if let [.., before, last] = self.entries.as_slice() {
            assert!(
                before.leader_epoch < last.leader_epoch && before.start < last.start,
                "leader epochs increase strictly: {before:?} then {last:?}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(list: &[(i32, i64)]) -> LeaderEpochCache {
        LeaderEpochCache::from_entries(list.iter().map(|&(epoch, start)| EpochStart {
            leader_epoch: LeaderEpoch(epoch),
            start: Offset(start),
        }))
        .expect("in order")
    }

    fn end_for(cache: &LeaderEpochCache, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        cache
            .end_offset_for(LeaderEpoch(epoch), Offset(log_end))
            .map(|found| (found.leader_epoch.0, found.end.0))
    }

    #[test]
    fn epoch_zero_at_offset_zero_is_known_and_is_cut_away_at_zero() {
        let mut zero = LeaderEpochCache::new();
        assert_eq!(zero.assign(LeaderEpoch(0), Offset(0)), Ok(true));
        assert_eq!(zero.assign(LeaderEpoch(0), Offset(7)), Ok(false));
        assert_eq!(end_for(&zero, 0, 9), Some((0, 9)));
        assert_eq!(zero.leader_epoch_at(Offset(0)), Some(LeaderEpoch(0)));
        assert!(!zero.truncate_from_start(Offset(0)));
        assert_eq!(zero, cache(&[(0, 0)]));
        assert!(!zero.truncate_from_end(Offset(1)));
        assert!(zero.truncate_from_end(Offset(0)));
        assert_eq!(zero, LeaderEpochCache::new());
        assert!(!zero.truncate_from_end(Offset(0)));
        assert!(!zero.truncate_from_start(Offset(0)));
        assert_eq!(zero.assign(LeaderEpoch(0), Offset(0)), Ok(true));
    }

    #[test]
    fn the_end_of_a_reign_is_the_start_of_the_next() {
        let list = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(end_for(&list, 0, 40), Some((0, 10)), "before every entry");
        assert_eq!(end_for(&list, 2, 40), Some((2, 20)));
        assert_eq!(
            end_for(&list, 3, 40),
            Some((2, 20)),
            "a reign without records"
        );
        assert_eq!(end_for(&list, 6, 40), Some((4, 30)));
        assert_eq!(end_for(&list, 7, 40), Some((7, 40)));
        assert_eq!(end_for(&list, 8, 40), None, "newer than the log");
        assert_eq!(end_for(&LeaderEpochCache::new(), 0, 0), None);
        assert_eq!(list.leader_epoch_at(Offset(9)), None);
        assert_eq!(list.leader_epoch_at(Offset(29)), Some(LeaderEpoch(4)));
        assert_eq!(list.leader_epoch_at(Offset(30)), Some(LeaderEpoch(7)));
    }

    #[test]
    fn a_reign_that_goes_back_is_refused_and_changes_nothing() {
        let mut list = cache(&[(2, 10), (4, 20)]);
        for (epoch, start) in [(3, 30), (5, 19), (4, 19), (0, 0)] {
            assert!(list.assign(LeaderEpoch(epoch), Offset(start)).is_err());
        }
        assert_eq!(list, cache(&[(2, 10), (4, 20)]));
    }

    #[test]
    fn a_reign_without_records_gives_way_to_the_next_at_its_offset() {
        let mut list = cache(&[(2, 10), (4, 20)]);
        assert_eq!(list.assign(LeaderEpoch(5), Offset(20)), Ok(true));
        assert_eq!(list, cache(&[(2, 10), (5, 20)]));
    }

    #[test]
    fn trimming_moves_the_first_reign_and_cutting_drops_the_last_ones() {
        let mut list = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert!(list.truncate_from_start(Offset(25)));
        assert_eq!(list, cache(&[(4, 25), (7, 30)]));
        assert!(list.truncate_from_start(Offset(30)));
        assert_eq!(list, cache(&[(7, 30)]));
        assert!(list.truncate_from_start(Offset(99)));
        assert_eq!(
            list,
            cache(&[(7, 99)]),
            "an emptied log keeps its last reign"
        );

        let mut list = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert!(!list.truncate_from_start(Offset(5)));
        assert!(!list.truncate_from_end(Offset(31)));
        assert!(list.truncate_from_end(Offset(20)));
        assert_eq!(list, cache(&[(2, 10)]));
    }

    #[test]
    fn a_checkpoint_that_is_out_of_order_is_refused() {
        for list in [
            &[(2, 10), (2, 20)][..],
            &[(2, 10), (3, 10)],
            &[(3, 10), (2, 20)],
            &[(-1, 0)],
            &[(0, -1)],
        ] {
            let entries = list.iter().map(|&(epoch, start)| EpochStart {
                leader_epoch: LeaderEpoch(epoch),
                start: Offset(start),
            });
            assert!(LeaderEpochCache::from_entries(entries).is_err(), "{list:?}");
        }
    }
}
