//! What was seen of groups at the last look, and as much of the looks before as verdicts need. How
//! many partitions it remembers has a ceiling.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use klamm_model::{Instant, PartitionIndex, TopicName, WallTime};

use super::verdict::{Evidence, SAMPLES_MAX, Sample, Verdict, judge, sample};
use super::{AskedOffset, LogFacts, PartitionLag};
use crate::limits::{LAG_GROUP_PARTITIONS_MAX, LAG_GROUPS_MAX, LAG_PARTITIONS_MAX};
use crate::{GroupHead, GroupId, GroupState};

/// By what verdicts are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagRules {
    /// A partition with something to read whose offset has not moved for so long is stuck.
    pub stuck_after: Duration,
    /// Of looks that come closer together the least unread counts, so that many looks are not many
    /// samples.
    pub sample_every: Duration,
}

impl Default for LagRules {
    fn default() -> Self {
        Self {
            stuck_after: Duration::from_secs(60),
            sample_every: Duration::from_secs(10),
        }
    }
}

/// Groups, as they were seen last.
#[derive(Debug)]
pub struct LagBook {
    rules: LagRules,
    groups: BTreeMap<GroupId, GroupLag>,
    /// Partitions of all groups.
    partitions: usize,
    partitions_max: usize,
}

/// A group, as it was seen last.
#[derive(Clone, Debug)]
pub struct GroupLag {
    /// What it was.
    pub head: GroupHead,
    /// The verdict, and since when it is that.
    pub verdict: Verdict,
    /// Since when it is that.
    pub since: Instant,
    /// When it was seen.
    pub looked: Instant,
    /// Its partitions, in the order of topics and numbers.
    pub partitions: Vec<LaggingPartition>,
    /// Kept offsets that are not among them: more than is remembered of one group or in all.
    pub left_out: u64,
    /// At the look before, its members could have read.
    could_read: bool,
    samples: VecDeque<Sample>,
    consumed: u64,
    produced: u64,
}

/// One partition of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaggingPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// How far it is behind.
    pub lag: PartitionLag,
    /// Since when its offset has been seen lying still with something to read, by members that could.
    pub moved: Instant,
}

/// Sums over the partitions of a group, and the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Partitions with an offset.
    pub partitions: u64,
    /// Partitions of them with something to read whose offset does not move.
    pub stuck: u64,
    /// Offsets that are unread.
    pub records: u64,
    /// Those of them that are stable.
    pub stable_records: u64,
    /// Offsets that were removed unread.
    pub missed: u64,
    /// Bytes that are unread.
    pub bytes: u64,
    /// All bytes were counted, none judged.
    pub bytes_are_exact: bool,
    /// The largest age of an unread record.
    pub age: Duration,
    /// No age was judged, and none is unknown.
    pub age_is_exact: bool,
    /// The largest distance of one partition.
    pub distance_max: u64,
}

/// One look at a group, while its offsets are being asked for.
#[derive(Clone, Debug, Default)]
pub struct Look {
    partitions: Vec<(AskedOffset, LogFacts)>,
    left_out: u64,
}

impl Look {
    /// Takes what the log says of an offset; `None` where there is no such partition (any more).
    pub fn take(&mut self, asked: AskedOffset, facts: Option<LogFacts>) {
        let Some(facts) = facts else {
            return;
        };
        if self.partitions.len() < LAG_GROUP_PARTITIONS_MAX {
            self.partitions.push((asked, facts));
        } else {
            self.left_out += 1;
        }
    }
}

impl LagBook {
    /// Nothing was seen yet.
    #[must_use]
    pub const fn new(rules: LagRules) -> Self {
        Self {
            rules,
            groups: BTreeMap::new(),
            partitions: 0,
            partitions_max: LAG_PARTITIONS_MAX,
        }
    }

    /// One that remembers so many partitions.
    #[cfg(test)]
    pub(super) const fn with_room(rules: LagRules, partitions_max: usize) -> Self {
        let mut book = Self::new(rules);
        book.partitions_max = partitions_max;
        book
    }

    /// The rules.
    #[must_use]
    pub const fn rules(&self) -> &LagRules {
        &self.rules
    }

    /// A group, as it was seen last.
    #[must_use]
    pub fn of(&self, group: &str) -> Option<&GroupLag> {
        self.groups.get(group)
    }

    /// All groups that were seen, in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupId, &GroupLag)> {
        self.groups.iter()
    }

    /// Partitions that are remembered.
    #[must_use]
    pub const fn partitions(&self) -> usize {
        self.partitions
    }

    /// Forgets a group.
    pub fn forget(&mut self, group: &str) {
        if let Some(gone) = self.groups.remove(group) {
            self.partitions -= gone.partitions.len();
        }
    }

    /// Forgets the groups that were not seen since a moment: they are not there any more.
    pub fn forget_unseen(&mut self, since: Instant) {
        let mut freed = 0;
        self.groups.retain(|_, group| {
            let stays = group.looked >= since;
            freed += if stays { 0 } else { group.partitions.len() };
            stays
        });
        self.partitions -= freed;
    }

    /// A group was looked at, with all its offsets. Groups beyond the ceiling are passed over.
    pub fn on_look(
        &mut self,
        now: Instant,
        wall: WallTime,
        id: &GroupId,
        head: GroupHead,
        look: Look,
    ) {
        let before = self.groups.remove(id);
        if before.is_none() && self.groups.len() >= LAG_GROUPS_MAX {
            return;
        }
        self.partitions -= before.as_ref().map_or(0, |group| group.partitions.len());
        let mut group = GroupLag::begin(before, now, head);
        let room = self.partitions_max.saturating_sub(self.partitions);
        group.left_out = look.left_out + look.partitions.len().saturating_sub(room) as u64;
        let mut earlier = std::mem::take(&mut group.partitions).into_iter().peekable();
        let seen = look.partitions.into_iter().take(room);
        for (asked, facts) in seen {
            let key = (&asked.topic, asked.partition);
            while earlier
                .next_if(|one| (&one.topic, one.partition) < key)
                .is_some()
            {}
            let before = earlier.next_if(|one| (&one.topic, one.partition) == key);
            let lag = PartitionLag::new(asked.offset, asked.committed, &facts, wall);
            group.add(now, asked, lag, before.as_ref());
        }
        group.partitions.shrink_to_fit();
        self.partitions += group.partitions.len();
        group.judge(now, &self.rules);
        self.groups.insert(id.clone(), group);
    }
}

impl GroupLag {
    fn begin(before: Option<Self>, now: Instant, head: GroupHead) -> Self {
        match before {
            Some(before) => Self {
                could_read: before.can_read(),
                head,
                looked: now,
                ..before
            },
            None => Self {
                head,
                verdict: Verdict::Empty,
                since: now,
                looked: now,
                partitions: Vec::new(),
                left_out: 0,
                could_read: false,
                samples: VecDeque::new(),
                consumed: 0,
                produced: 0,
            },
        }
    }

    fn add(
        &mut self,
        now: Instant,
        asked: AskedOffset,
        lag: PartitionLag,
        before: Option<&LaggingPartition>,
    ) {
        let forward = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        let mut moved = now;
        if let Some(before) = before {
            let was = &before.lag;
            let consumed = forward(was.committed.0, lag.committed.0);
            let produced = forward(was.high_watermark.0, lag.high_watermark.0);
            self.consumed = self.consumed.saturating_add(consumed);
            self.produced = self.produced.saturating_add(produced);
            let could_read = self.could_read && was.stable_records > 0;
            let can_read = self.can_read() && lag.stable_records > 0;
            if was.committed == lag.committed && could_read && can_read {
                moved = before.moved;
            }
        }
        self.partitions.push(LaggingPartition {
            topic: asked.topic,
            partition: asked.partition,
            lag,
            moved,
        });
    }

    /// Nobody can be blamed for not reading while there is nobody, or while the work is divided. In
    /// the consumer protocol members read on meanwhile what they keep.
    fn can_read(&self) -> bool {
        let reads = match self.head.state {
            GroupState::Stable | GroupState::Assigning | GroupState::Reconciling => true,
            GroupState::Empty
            | GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Dead => false,
        };
        reads && self.head.members > 0
    }

    fn judge(&mut self, now: Instant, rules: &LagRules) {
        let totals = self.totals(now, rules);
        if !self.can_read() {
            self.samples.clear();
        }
        let look = Sample {
            at: now,
            unread_min: totals.stable_records,
            consumed: self.consumed,
            produced: self.produced,
        };
        sample(&mut self.samples, rules, look);
        let before = self.verdict;
        self.verdict = judge(&Evidence {
            state: self.head.state,
            members: self.head.members,
            unread: totals.stable_records,
            is_stuck: totals.stuck > 0,
            samples: &self.samples,
            before: Some(before),
        });
        if self.verdict != before {
            self.since = now;
        }
    }

    /// Sums over its partitions.
    #[must_use]
    pub fn totals(&self, now: Instant, rules: &LagRules) -> Totals {
        let mut totals = Totals {
            bytes_are_exact: true,
            age_is_exact: true,
            ..Totals::default()
        };
        for one in &self.partitions {
            let lag = &one.lag;
            totals.partitions += 1;
            totals.stuck += u64::from(one.is_stuck(now, rules));
            totals.records = totals.records.saturating_add(lag.records);
            totals.stable_records = totals.stable_records.saturating_add(lag.stable_records);
            totals.missed = totals.missed.saturating_add(lag.missed);
            totals.bytes = totals.bytes.saturating_add(lag.bytes.value);
            totals.bytes_are_exact &= lag.bytes.is_exact;
            totals.age_is_exact &= lag.age.is_some_and(|age| age.is_exact);
            let age = lag.age.map_or(Duration::ZERO, |age| age.value);
            totals.age = totals.age.max(age);
            totals.distance_max = totals.distance_max.max(lag.distance());
        }
        totals
    }

    /// Offsets that the group went forward, and offsets that were written for it, each second, over
    /// the samples that are remembered. `None` before there are two of them.
    #[must_use]
    pub fn rates(&self) -> Option<(f64, f64)> {
        let first = self.samples.front()?;
        let passed = self.looked.since(first.at).as_secs_f64();
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed;
        (passed > 0.0).then(|| {
            let consumed = rate(self.consumed, first.consumed);
            (consumed, rate(self.produced, first.produced))
        })
    }

    /// Most looks that a verdict rests on.
    pub const SAMPLES_MAX: usize = SAMPLES_MAX;
}

impl LaggingPartition {
    /// There is something to read, and the offset does not move.
    #[must_use]
    pub fn is_stuck(&self, now: Instant, rules: &LagRules) -> bool {
        self.lag.stable_records > 0 && now.since(self.moved) >= rules.stuck_after
    }
}
