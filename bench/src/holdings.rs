//! Who reads each partition of a group's topic, for how long nobody did, and whether the group has
//! come to rest: everybody has what the broker, or the leader, last gave to it, nobody waits for
//! more, and the work is divided evenly.

use std::time::{Duration, Instant};

/// The partitions of one group.
#[derive(Debug)]
pub struct Holdings {
    partitions: Vec<Held>,
    /// How many partitions nobody reads.
    free: usize,
    /// How many more readers partitions have than one.
    shared: usize,
    /// Whether each member is one, has said that it took what it was given, and waits for nothing.
    settled: Vec<bool>,
    unsettled: usize,
    /// How many partitions each member reads.
    counts: Vec<usize>,
    /// Members that count: those who left or crashed do not.
    present: Vec<bool>,
    /// Partitions that had two readers at once since the event began.
    held_twice: u64,
}

/// One partition.
#[derive(Clone, Copy, Debug)]
struct Held {
    readers: u32,
    free_since: Instant,
    /// How long nobody read it since the event began.
    gap: Duration,
}

impl Held {
    const fn free(now: Instant) -> Self {
        Self {
            readers: 0,
            free_since: now,
            gap: Duration::ZERO,
        }
    }
}

impl Holdings {
    /// Partitions that nobody reads, of members that have not joined.
    #[must_use]
    pub fn new(partitions: usize, members: usize, now: Instant) -> Self {
        Self {
            partitions: vec![Held::free(now); partitions],
            free: partitions,
            shared: 0,
            settled: vec![false; members],
            unsettled: members,
            counts: vec![0; members],
            present: vec![true; members],
            held_twice: 0,
        }
    }

    /// Something happens: gaps count from now on.
    pub fn begin(&mut self, now: Instant) {
        self.held_twice = 0;
        for held in &mut self.partitions {
            held.gap = Duration::ZERO;
            held.free_since = now;
        }
    }

    /// There are more partitions than before; nobody reads them.
    pub fn grow(&mut self, partitions: usize, now: Instant) {
        let more = partitions.saturating_sub(self.partitions.len());
        self.partitions.extend(vec![Held::free(now); more]);
        self.free += more;
    }

    /// A member reads other partitions than before; both in order.
    pub fn change(&mut self, member: usize, before: &[i32], after: &[i32], now: Instant) {
        for partition in before {
            if after.binary_search(partition).is_err() {
                self.release(member, *partition, now);
            }
        }
        for partition in after {
            if before.binary_search(partition).is_err() {
                self.take(member, *partition, now);
            }
        }
    }

    fn held(&mut self, partition: i32) -> Option<&mut Held> {
        let at = usize::try_from(partition).ok()?;
        self.partitions.get_mut(at)
    }

    fn release(&mut self, member: usize, partition: i32, now: Instant) {
        let Some(held) = self.held(partition) else {
            return;
        };
        held.readers -= 1;
        if held.readers == 0 {
            held.free_since = now;
            self.free += 1;
        } else {
            self.shared -= 1;
        }
        self.counts[member] -= 1;
    }

    fn take(&mut self, member: usize, partition: i32, now: Instant) {
        let Some(held) = self.held(partition) else {
            return;
        };
        held.readers += 1;
        if held.readers == 1 {
            held.gap += now.saturating_duration_since(held.free_since);
            self.free -= 1;
        } else {
            self.shared += 1;
            self.held_twice += 1;
        }
        self.counts[member] += 1;
    }

    /// Whether a member waits for nothing.
    pub fn settle(&mut self, member: usize, settled: bool) {
        if self.present[member] && self.settled[member] != settled {
            self.settled[member] = settled;
            if settled {
                self.unsettled -= 1;
            } else {
                self.unsettled += 1;
            }
        }
    }

    /// A member is gone: what it had, nobody reads.
    pub fn remove(&mut self, member: usize, had: &[i32], now: Instant) {
        self.change(member, had, &[], now);
        self.settle(member, true);
        self.present[member] = false;
    }

    /// A member is gone.
    #[must_use]
    pub fn is_gone(&self, member: usize) -> bool {
        !self.present[member]
    }

    /// Each partition has one reader, nobody waits, and no member has two partitions more than
    /// another. A division that is on its way to another does not look like that: who has just
    /// joined has nothing.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        if self.free + self.shared + self.unsettled > 0 {
            return false;
        }
        let counts = std::iter::zip(&self.counts, &self.present);
        let counts = counts.filter(|(_, present)| **present);
        let (mut least, mut most) = (usize::MAX, 0);
        for (count, _) in counts {
            (least, most) = (least.min(*count), most.max(*count));
        }
        most.saturating_sub(least) <= 1
    }

    /// How many partitions had two readers at once since the event began.
    #[must_use]
    pub const fn held_twice(&self) -> u64 {
        self.held_twice
    }

    /// How long nobody read each partition since the event began.
    pub fn gaps(&self, now: Instant) -> impl Iterator<Item = Duration> {
        self.partitions.iter().map(move |held| {
            let still = if held.readers == 0 {
                now.saturating_duration_since(held.free_since)
            } else {
                Duration::ZERO
            };
            held.gap + still
        })
    }

    /// What is missing to rest, for people.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "{} partitions without a reader, {} with two, {} members that wait",
            self.free, self.shared, self.unsettled
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn gaps_last_from_the_last_reader_to_the_next() {
        let began = Instant::now();
        let mut held = Holdings::new(3, 2, began);
        held.change(0, &[], &[0, 1, 2], began);
        held.begin(began + MS);
        held.change(0, &[0, 1, 2], &[0, 1], began + 5 * MS);
        held.change(1, &[], &[2], began + 12 * MS);
        let gaps: Vec<Duration> = held.gaps(began + 20 * MS).collect();
        assert_eq!(gaps, [Duration::ZERO, Duration::ZERO, 7 * MS]);
        held.remove(0, &[0, 1], began + 21 * MS);
        let gaps: Vec<Duration> = held.gaps(began + 24 * MS).collect();
        assert_eq!(gaps, [3 * MS, 3 * MS, 7 * MS]);
    }

    #[test]
    fn a_group_rests_when_all_is_read_once_evenly_and_nobody_waits() {
        let now = Instant::now();
        let mut held = Holdings::new(4, 2, now);
        held.settle(0, true);
        held.change(0, &[], &[0, 1, 2, 3], now);
        assert!(!held.is_at_rest(), "the other has not joined");
        held.settle(1, true);
        assert!(!held.is_at_rest(), "the other has nothing");
        held.change(1, &[], &[3], now);
        assert!(!held.is_at_rest(), "one is read twice");
        assert_eq!(held.held_twice(), 1);
        held.change(0, &[0, 1, 2, 3], &[0, 1], now);
        assert!(!held.is_at_rest(), "one is read by nobody");
        held.change(1, &[3], &[2, 3], now);
        assert!(held.is_at_rest());
        held.grow(5, now);
        assert!(!held.is_at_rest(), "the new one is read by nobody");
        held.change(1, &[2, 3], &[2, 3, 4], now);
        held.settle(0, false);
        assert!(!held.is_at_rest(), "one waits");
        held.settle(0, true);
        assert!(held.is_at_rest());
    }

    #[test]
    fn who_is_gone_need_not_be_even() {
        let now = Instant::now();
        let mut held = Holdings::new(2, 3, now);
        held.settle(0, true);
        held.settle(1, true);
        held.change(0, &[], &[0], now);
        held.change(1, &[], &[1], now);
        assert!(!held.is_at_rest(), "the third has not joined");
        held.remove(2, &[], now);
        held.remove(1, &[1], now);
        assert!(!held.is_at_rest());
        held.change(0, &[0], &[0, 1], now);
        assert!(held.is_at_rest());
    }
}
