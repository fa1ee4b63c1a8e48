//! A reader that waits for more: one watch on each core that holds partitions of it, and the sum of
//! what they report.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use klamm_engine::api::{Call, Reply, WatchCall, Watched};
use klamm_model::{Instant, IsolationLevel, Offset, ShardId, TopicPartition};

use crate::calls::PendingCall;
use crate::shards::{Plan, Shards};

impl Shards {
    /// Waits until the partitions hold at least `bytes_min` bytes beyond these offsets, one of
    /// them changes, or the deadline comes.
    pub async fn watch(
        &self,
        isolation: IsolationLevel,
        bytes_min: usize,
        deadline: Instant,
        positions: Vec<(TopicPartition, Offset)>,
    ) {
        let plan = Plan::of(self.count(), &positions, |&(partition, _)| partition);
        let watch_of = |positions, bytes_min| WatchCall {
            positions,
            isolation,
            bytes_min,
            deadline,
        };
        let groups = plan.groups(positions);
        if groups.len() <= 1 {
            for (home, positions) in groups {
                let mut watches = Watches::new(self);
                watches.begin(home, watch_of(positions, bytes_min));
                watches.next().await;
            }
            return;
        }
        let mut sum = Sum::new(bytes_min, groups.len());
        while !sum.is_enough() {
            let mut watches = Watches::new(self);
            for (place, (home, positions)) in groups.iter().enumerate() {
                let call = watch_of(positions.clone(), sum.threshold(place));
                watches.begin(*home, call);
            }
            match watches.next().await {
                (place, Watched::Enough(bytes)) => sum.note(place, bytes),
                (_, Watched::Over) => return,
            }
        }
    }
}

/// Adds up what several cores hold without asking each of them at every append.
///
/// A core is told to report when it holds its share of what is still missing, beyond what it held
/// when it reported last. If all of it is there, then at least one core holds its share, so nothing
/// is missed; and each report shortens what is missing by a share of it, so reports are few: their
/// number grows with the logarithm of the bytes.
struct Sum {
    wanted: usize,
    /// As reported last by each core.
    held: Vec<usize>,
}

impl Sum {
    fn new(wanted: usize, cores: usize) -> Self {
        Self {
            wanted: wanted.max(1),
            held: vec![0; cores],
        }
    }

    fn missing(&self) -> usize {
        let held = self
            .held
            .iter()
            .fold(0_usize, |sum, &held| sum.saturating_add(held));
        self.wanted.saturating_sub(held)
    }

    fn is_enough(&self) -> bool {
        self.missing() == 0
    }

    /// The bytes at which a core reports.
    fn threshold(&self, place: usize) -> usize {
        let share = self.missing().div_ceil(self.held.len());
        self.held[place].saturating_add(share)
    }

    fn note(&mut self, place: usize, bytes: usize) {
        self.held[place] = bytes;
    }
}

/// A reader's watches on several cores. Those that were not told are cancelled when it leaves,
/// however it leaves.
struct Watches {
    shards: Shards,
    waits: Vec<(ShardId, PendingCall)>,
}

impl Watches {
    fn new(shards: &Shards) -> Self {
        Self {
            shards: shards.clone(),
            waits: Vec::new(),
        }
    }

    fn begin(&mut self, home: ShardId, call: WatchCall) {
        let wait = self.shards.begin(home, Call::Watch(call));
        self.waits.push((home, wait));
    }

    /// The first report, and whose it is.
    async fn next(&mut self) -> (usize, Watched) {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(usize, Watched)> {
        for (place, (_, wait)) in self.waits.iter_mut().enumerate() {
            if let Poll::Ready(reply) = Pin::new(wait).poll(context) {
                return Poll::Ready((
                    place,
                    match reply {
                        Reply::Watch(watched) => watched,
                        // A reply of another kind says nothing about bytes.
                        _ => Watched::Over,
                    },
                ));
            }
        }
        Poll::Pending
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        let core = &self.shards.core;
        for (home, wait) in &self.waits {
            if wait.is_done() {
                continue;
            }
            if *home == core.id {
                core.engine.borrow_mut().cancel_watch(wait.ticket());
                core.work.notify();
            } else {
                core.post(*home, crate::letters::Letter::CancelWatch(wait.ticket()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::Random;

    /// Appends of `append` bytes to random cores until the sum says that it is enough; how many
    /// appends and reports that took.
    fn fill(wanted: usize, append: usize, cores: usize, seed: u64) -> (usize, usize) {
        let mut random = Random::new(seed);
        let mut sum = Sum::new(wanted, cores);
        let mut held = vec![0; cores];
        let (mut appends, mut reports) = (0, 0);
        while !sum.is_enough() {
            let place = random.below(cores as u64) as usize;
            held[place] += append;
            appends += 1;
            // Each report changes the thresholds of all, as armed again.
            while let Some(place) = (0..cores).find(|&place| held[place] >= sum.threshold(place)) {
                sum.note(place, held[place]);
                reports += 1;
                if sum.is_enough() {
                    break;
                }
            }
        }
        (appends, reports)
    }

    #[test]
    fn what_several_cores_hold_is_enough_with_the_append_that_makes_it_so() {
        for seed in 0..200 {
            for cores in [2, 3, 16] {
                for (wanted, append) in [(1, 61), (200, 129), (5_000, 61), (1 << 20, 70)] {
                    let (appends, _) = fill(wanted, append, cores, seed);
                    let needed = wanted.div_ceil(append);
                    assert_eq!(appends, needed, "{wanted} of {append} on {cores}");
                }
            }
        }
    }

    #[test]
    fn reports_of_cores_are_few_however_small_the_appends_are() {
        for seed in 0..20 {
            for cores in [2, 3, 16] {
                let (appends, reports) = fill(1 << 20, 70, cores, seed);
                // Each leaves at most all but one share, and the last ones are an append each.
                let bound = cores * 20;
                assert!(reports <= bound, "{reports} for {appends} on {cores} cores");
            }
        }
    }
}
