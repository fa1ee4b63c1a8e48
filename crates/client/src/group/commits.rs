//! What a member has worked on and what the group keeps of it: commits that are due, wanted, in
//! flight and done; one request at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use klamm_model::{Instant, LeaderEpoch, Offset};

use super::events::{CommitError, CommitId};
use super::offsets::CommittedOffset;
use crate::metadata::PartitionName;

/// Commits that wait for their turn at most; more are refused by waiting (the caller's `commit`
/// answers with the last one's id).
const WAITING_MAX: usize = 1024;

/// A commit that waits, or is in flight.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Who asked; `None` for those that happen by themselves.
    pub(super) id: Option<CommitId>,
    pub(super) offsets: BTreeMap<PartitionName, CommittedOffset>,
    /// Tried until then.
    pub(super) until: Instant,
    /// A partition that went while it was in flight: it is not tried again for that one.
    lost: Option<PartitionName>,
}

/// The state of commits.
#[derive(Debug)]
pub(super) struct Commits {
    interval: Option<Duration>,
    timeout: Duration,
    /// Behind the last record that was worked on.
    worked_on: BTreeMap<PartitionName, (Offset, Option<LeaderEpoch>)>,
    /// What the group keeps.
    kept: BTreeMap<PartitionName, Offset>,
    due: Option<Instant>,
    waiting: VecDeque<Wanted>,
    in_flight: Option<Wanted>,
    pub(super) not_before: Instant,
    done: VecDeque<(CommitId, Result<(), CommitError>)>,
    next_id: u64,
}

impl Commits {
    pub(super) fn new(interval: Option<Duration>, timeout: Duration) -> Self {
        Self {
            interval,
            timeout,
            worked_on: BTreeMap::new(),
            kept: BTreeMap::new(),
            due: None,
            waiting: VecDeque::new(),
            in_flight: None,
            not_before: Instant::default(),
            done: VecDeque::new(),
            next_id: 0,
        }
    }

    /// The program worked on everything before this offset.
    pub(super) fn work_done(&mut self, partition: PartitionName, next: Offset) {
        self.worked_on.insert(partition, (next, None));
    }

    /// A partition begins here, as the group keeps it or as the program sought it.
    pub(super) fn begin(&mut self, partition: &PartitionName, kept: Option<Offset>) {
        self.worked_on.remove(partition);
        match kept {
            Some(offset) => self.kept.insert(partition.clone(), offset),
            None => self.kept.remove(partition),
        };
    }

    /// A partition is not this member's any more. What was still to be kept of it ends: others may
    /// have gone further by the time it comes back.
    pub(super) fn forget(&mut self, partition: &PartitionName) {
        self.worked_on.remove(partition);
        self.kept.remove(partition);
        // The answer of one in flight still comes, before any other.
        if let Some(wanted) = &mut self.in_flight
            && wanted.offsets.remove(partition).is_some()
        {
            wanted.lost = Some(partition.clone());
        }
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let waiting = waiting.filter_map(|wanted| self.without(wanted, partition));
        self.waiting = waiting.collect();
    }

    /// What is left of a commit where a partition is not this member's any more.
    fn without(&mut self, mut wanted: Wanted, partition: &PartitionName) -> Option<Wanted> {
        let names_it = wanted.offsets.contains_key(partition);
        if names_it && wanted.id.is_some() {
            self.finish(wanted.id, Err(CommitError::NotOwned(partition.clone())));
            return None;
        }
        wanted.offsets.remove(partition);
        (!wanted.offsets.is_empty()).then_some(wanted)
    }

    /// What was worked on and is not kept.
    pub(super) fn open(&self) -> BTreeMap<PartitionName, CommittedOffset> {
        let rows = self.worked_on.iter();
        let rows = rows.filter(|(partition, (next, _))| self.kept.get(partition) != Some(next));
        rows.map(|(partition, (next, leader_epoch))| {
            let offset = CommittedOffset {
                leader_epoch: *leader_epoch,
                ..CommittedOffset::at(*next)
            };
            (partition.clone(), offset)
        })
        .collect()
    }

    /// True if nothing waits and nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// A commit that the program asked for.
    pub(super) fn want(
        &mut self,
        now: Instant,
        offsets: BTreeMap<PartitionName, CommittedOffset>,
    ) -> CommitId {
        let id = CommitId(self.next_id);
        self.next_id += 1;
        let until = now.plus(self.timeout);
        if offsets.is_empty() {
            self.done.push_back((id, Ok(())));
        } else if self.waiting.len() >= WAITING_MAX {
            let waited = Duration::ZERO;
            self.done.push_back((id, Err(CommitError::Timeout(waited))));
        } else {
            self.waiting.push_back(Wanted {
                id: Some(id),
                offsets,
                until,
                lost: None,
            });
        }
        id
    }

    /// Makes a commit of what was worked on, where that happens by itself.
    pub(super) fn want_all(&mut self, now: Instant) {
        let offsets = self.open();
        if self.interval.is_some() && !offsets.is_empty() {
            self.waiting.push_back(Wanted {
                id: None,
                offsets,
                until: now.plus(self.timeout),
                lost: None,
            });
        }
    }

    /// Makes the commit of the interval, if it is due.
    pub(super) fn on_time(&mut self, now: Instant) {
        let Some(interval) = self.interval else {
            return;
        };
        let due = *self.due.get_or_insert_with(|| now.plus(interval));
        if due <= now {
            self.due = Some(now.plus(interval));
            if self.is_idle() {
                self.want_all(now);
            }
        }
    }

    /// When the next that waits may be sent.
    pub(super) fn next_send(&self) -> Option<Instant> {
        let waits = !self.waiting.is_empty() && self.in_flight.is_none();
        waits.then_some(self.not_before)
    }

    /// When the commit of the interval is due.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next to be sent now; it counts as in flight. Those that name partitions of others end.
    pub(super) fn next(
        &mut self,
        now: Instant,
        owned: &BTreeSet<PartitionName>,
    ) -> Option<BTreeMap<PartitionName, CommittedOffset>> {
        if self.in_flight.is_some() || now < self.not_before {
            return None;
        }
        while let Some(mut wanted) = self.waiting.pop_front() {
            let foreign = wanted.offsets.keys().find(|it| !owned.contains(it));
            if let Some(partition) = foreign.cloned() {
                if wanted.id.is_some() {
                    self.finish(wanted.id, Err(CommitError::NotOwned(partition)));
                    continue;
                }
                wanted.offsets.retain(|it, _| owned.contains(it));
                if wanted.offsets.is_empty() {
                    continue;
                }
            }
            if wanted.until < now {
                self.finish(wanted.id, Err(CommitError::Timeout(self.timeout)));
                continue;
            }
            let offsets = wanted.offsets.clone();
            self.in_flight = Some(wanted);
            return Some(offsets);
        }
        None
    }

    /// Commits that wait for too long end.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(wanted) = self.waiting.front()
            && wanted.until < now
        {
            let id = wanted.id;
            self.waiting.pop_front();
            self.finish(id, Err(CommitError::Timeout(self.timeout)));
        }
    }

    /// When the next that waits ends.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        let first = self.waiting.front();
        first.map(|wanted| wanted.until.plus(Duration::from_millis(1)))
    }

    /// The one in flight took effect.
    pub(super) fn on_kept(&mut self) {
        if let Some(wanted) = self.in_flight.take() {
            for (partition, offset) in wanted.offsets {
                self.kept.insert(partition, offset.offset);
            }
            self.finish(wanted.id, Ok(()));
        }
    }

    /// The one in flight is tried again later.
    pub(super) fn again_at(&mut self, not_before: Instant) {
        self.not_before = not_before;
        self.again();
    }

    /// The one in flight is tried again when it can be.
    pub(super) fn again(&mut self) {
        let Some(mut wanted) = self.in_flight.take() else {
            return;
        };
        match wanted.lost.take() {
            Some(partition) if wanted.id.is_some() => {
                self.finish(wanted.id, Err(CommitError::NotOwned(partition)));
            }
            _ if wanted.offsets.is_empty() => {}
            _ => self.waiting.push_front(wanted),
        }
    }

    /// The one in flight is refused.
    pub(super) fn on_refused(&mut self, error: CommitError) {
        if let Some(wanted) = self.in_flight.take() {
            self.finish(wanted.id, Err(error));
        }
    }

    /// All that waits and is in flight ends so.
    pub(super) fn end_all(&mut self, error: &CommitError) {
        let in_flight = self.in_flight.take();
        let all: Vec<_> = in_flight
            .into_iter()
            .chain(self.waiting.drain(..))
            .collect();
        for wanted in all {
            self.finish(wanted.id, Err(error.clone()));
        }
    }

    fn finish(&mut self, id: Option<CommitId>, outcome: Result<(), CommitError>) {
        if let Some(id) = id {
            self.done.push_back((id, outcome));
        }
    }

    /// What became of commits that the program asked for.
    pub(super) fn next_done(&mut self) -> Option<(CommitId, Result<(), CommitError>)> {
        self.done.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use klamm_model::PartitionIndex;

    use super::*;

    fn partition(index: i32) -> PartitionName {
        PartitionName {
            topic: klamm_model::TopicName::new("t").expect("legal"),
            index: PartitionIndex(index),
        }
    }

    #[test]
    fn what_was_to_be_kept_of_a_partition_that_went_is_not_committed_when_it_is_back() {
        let second = Duration::from_secs(1);
        let now = Instant(1);
        for is_sent in [false, true] {
            let mut commits = Commits::new(Some(second), 60 * second);
            let owned = BTreeSet::from([partition(0), partition(1)]);
            for one in &owned {
                commits.begin(one, None);
                commits.work_done(one.clone(), Offset(100));
            }
            commits.want_all(now);
            let asked = commits.want(now, commits.open());
            if is_sent {
                assert!(commits.next(now, &owned).is_some());
            }
            commits.forget(&partition(0));
            // The connection is gone, and the partition comes back.
            commits.again();
            let next = commits.next(now, &owned).expect("the other one's");
            assert_eq!(next.into_keys().collect::<Vec<_>>(), [partition(1)]);
            commits.on_kept();
            assert_eq!(commits.next(now, &owned), None);
            let done = commits.next_done();
            let refused = Err(CommitError::NotOwned(partition(0)));
            assert_eq!(done, Some((asked, refused)), "who asked is told");
        }
    }

    #[test]
    fn a_commit_in_flight_is_answered_before_another_whatever_went_meanwhile() {
        let now = Instant(1);
        let owned = BTreeSet::from([partition(0)]);
        for is_kept in [false, true] {
            let mut commits = Commits::new(None, Duration::from_secs(60));
            let offsets = BTreeMap::from([(partition(0), CommittedOffset::at(Offset(7)))]);
            let first = commits.want(now, offsets.clone());
            assert!(commits.next(now, &owned).is_some());
            commits.forget(&partition(0));
            let second = commits.want(now, offsets);
            assert_eq!(commits.next(now, &owned), None, "one at a time");
            let expected = if is_kept {
                commits.on_kept();
                Ok(())
            } else {
                commits.again();
                Err(CommitError::NotOwned(partition(0)))
            };
            assert_eq!(commits.next_done(), Some((first, expected)));
            assert!(commits.next(now, &owned).is_some());
            commits.on_kept();
            assert_eq!(commits.next_done(), Some((second, Ok(()))));
        }
    }
}
