//! What happened lately: collections of the last minute or so are kept, and the newest is seen
//! against an older one. Owned by the control thread.

use std::collections::VecDeque;
use std::time::Duration;

use super::metrics::{NodeMetrics, RequestTimes};

/// How far back the older collection lies at least, where there is one.
const WINDOW: Duration = Duration::from_secs(60);

/// Collections are kept at most this often.
const KEEP_EVERY: Duration = Duration::from_secs(15);

/// Two collections: what happened between them is what happened lately.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) now: NodeMetrics,
    /// Empty where the process is not older than that.
    pub(super) before: NodeMetrics,
    /// The time between them; never zero.
    pub(super) between: Duration,
}

impl Observed {
    /// Share of the time between both in which the shards had nothing to do.
    pub(super) fn idle_share(&self) -> f64 {
        let idle = |metrics: &NodeMetrics| metrics.shards.iter().map(|shard| shard.idle_us).sum();
        let (now, before): (u64, u64) = (idle(&self.now), idle(&self.before));
        let shards = self.now.shards.len().max(1) as f64;
        let share = now.saturating_sub(before) as f64 / 1e6 / self.between.as_secs_f64() / shards;
        share.clamp(0.0, 1.0)
    }

    /// Records appended to the metadata log between both, each second.
    pub(super) fn quorum_appends(&self) -> f64 {
        let end = |metrics: &NodeMetrics| {
            let mut quorums = metrics.shards.iter().filter_map(|shard| shard.quorum);
            quorums.find_map(|quorum| quorum.log_end)
        };
        match (end(&self.now), end(&self.before)) {
            (Some(now), Some(before)) => {
                now.saturating_sub(before).max(0) as f64 / self.between.as_secs_f64()
            }
            // What the log held at the start of the process is not known any more.
            _ => 0.0,
        }
    }

    /// Times of the requests of one API that came between both.
    pub(super) fn recent_requests(&self) -> Vec<RequestTimes> {
        let before = self.before.requests();
        let mut requests = self.now.requests();
        for times in &mut requests {
            if let Some(before) = before.iter().find(|before| before.api == times.api) {
                *times = times.since(before);
            }
        }
        requests
    }
}

/// The collections that are kept, the oldest first, with the time of the process at each.
#[derive(Debug, Default)]
pub(super) struct Past(VecDeque<(Duration, NodeMetrics)>);

impl Past {
    /// Sees a collection, made at this time of the process, against those before it.
    pub(super) fn observe(&mut self, at: Duration, now: NodeMetrics) -> Observed {
        let is_old = |then: Duration| at.saturating_sub(then) >= WINDOW;
        // Of those that are old enough the newest is needed, and no other.
        while self.0.get(1).is_some_and(|&(then, _)| is_old(then)) {
            self.0.pop_front();
        }
        let (then, before) = match self.0.front() {
            Some((then, before)) => (*then, before.clone()),
            None => (Duration::ZERO, NodeMetrics::default()),
        };
        let newest = self.0.back().map(|&(then, _)| then);
        if newest.is_none_or(|then| at.saturating_sub(then) >= KEEP_EVERY) {
            self.0.push_back((at, now.clone()));
        }
        Observed {
            now,
            before,
            between: at.saturating_sub(then).max(Duration::from_millis(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::ShardMetrics;
    use super::*;

    fn collection(turns: u64) -> NodeMetrics {
        NodeMetrics {
            shards: vec![ShardMetrics {
                turns,
                ..ShardMetrics::default()
            }],
            ..NodeMetrics::default()
        }
    }

    fn turns(metrics: &NodeMetrics) -> Option<u64> {
        metrics.shards.first().map(|shard| shard.turns)
    }

    #[test]
    fn the_first_collection_is_seen_against_the_start_of_the_process() {
        let observed = Past::default().observe(Duration::from_secs(7), collection(5));
        assert_eq!(turns(&observed.before), None);
        assert_eq!(observed.between, Duration::from_secs(7));
    }

    #[test]
    fn later_ones_are_seen_against_the_newest_that_is_a_minute_old_and_few_are_kept() {
        let mut past = Past::default();
        for second in 1..=300 {
            let observed = past.observe(Duration::from_secs(second), collection(second));
            if second > 80 {
                let then = turns(&observed.before).expect("kept");
                assert!((60..80).contains(&(second - then)), "{second}: {then}");
                assert_eq!(observed.between, Duration::from_secs(second - then));
            }
            assert!(past.0.len() <= 7, "{}", past.0.len());
        }
    }

    #[test]
    fn two_collections_at_once_have_time_between_them() {
        let mut past = Past::default();
        past.observe(Duration::from_secs(9), collection(1));
        let observed = past.observe(Duration::from_secs(9), collection(1));
        assert!(observed.between > Duration::ZERO);
    }
}
