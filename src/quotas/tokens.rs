//! The quota of metadata changes (KIP-599): tokens that flow in at the rate of the limit, one for
//! each partition that is created or deleted, as one atomic number that all cores share.

use std::sync::atomic::{AtomicI64, Ordering};

use klamm_model::Instant;

use super::{ThrottleMs, Windows};

/// Tokens, as the time at which there are none: before now there are as many as have flowed in
/// since then, up to what flows in over all windows; after now that many are owed.
#[derive(Debug)]
pub(crate) struct Tokens {
    empty_at_ns: AtomicI64,
    burst_ns: i64,
}

fn ns(now: Instant) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX)
}

impl Tokens {
    /// As many as there can be.
    pub(crate) fn new(windows: Windows) -> Self {
        Self {
            empty_at_ns: AtomicI64::new(i64::MIN),
            burst_ns: i64::try_from(windows.span_ns()).unwrap_or(i64::MAX),
        }
    }

    /// When they were, or will be, used up; never longer ago than they gather.
    fn empty_at(&self, held: i64, now: Instant) -> i64 {
        held.max(ns(now).saturating_sub(self.burst_ns))
    }

    /// Whole tokens that are left; below zero if some are owed.
    pub(super) fn left(&self, now: Instant, per_second: f64) -> i64 {
        let empty_at = self.empty_at(self.empty_at_ns.load(Ordering::Relaxed), now);
        let flowed_ns = ns(now).saturating_sub(empty_at) as f64;
        (flowed_ns / 1e9 * per_second).floor() as i64
    }

    /// Takes tokens, more than there are if need be; how long until none are owed, as in Kafka.
    pub(super) fn take(&self, now: Instant, tokens: u64, per_second: f64) -> ThrottleMs {
        let cost_ns = (tokens as f64 / per_second * 1e9) as i64;
        let taken = |held: i64| Some(self.empty_at(held, now).saturating_add(cost_ns));
        let relaxed = Ordering::Relaxed;
        let before = match self.empty_at_ns.fetch_update(relaxed, relaxed, taken) {
            Ok(held) | Err(held) => held,
        };
        let empty_at = self.empty_at(before, now).saturating_add(cost_ns);
        let owed_ns = empty_at.saturating_sub(ns(now)).max(0);
        (owed_ns as f64 / 1e6).round() as ThrottleMs
    }

    /// True if there are as many as there can be.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        let held = self.empty_at_ns.load(Ordering::Relaxed);
        held <= ns(now).saturating_sub(self.burst_ns)
    }
}
