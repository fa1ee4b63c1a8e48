//! The quota of metadata changes (KIP-599): tokens that flow in at the rate of the limit, one for
//! each partition that is created or deleted, in atomic numbers that all cores share.

use std::sync::atomic::{AtomicU64, Ordering};

use klamm_model::Instant;

use super::{ThrottleMs, Windows};

/// What flows in within less time is left for later: two cores that ask at once count it once.
const STEP_NS: u64 = 1_000_000;

/// Tokens, as Kafka keeps them: how many there were, owed ones below zero, and since when others
/// have flowed in. A debt is of tokens and not of time, so that a higher limit pays it sooner.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Bits of an `f64`.
    balance: AtomicU64,
    refilled_at_ns: AtomicU64,
    /// Bits of an `f64`: the limit when they were asked for last.
    per_second: AtomicU64,
    seconds: f64,
}

const RELAXED: Ordering = Ordering::Relaxed;

fn change(bits: &AtomicU64, step: impl Fn(f64) -> f64) -> f64 {
    let stepped = |held: u64| Some(step(f64::from_bits(held)).to_bits());
    match bits.fetch_update(RELAXED, RELAXED, stepped) {
        Ok(held) | Err(held) => step(f64::from_bits(held)),
    }
}

impl Tokens {
    /// As many as there can be.
    pub(crate) fn new(windows: Windows) -> Self {
        Self {
            balance: AtomicU64::new(f64::INFINITY.to_bits()),
            refilled_at_ns: AtomicU64::new(0),
            per_second: AtomicU64::new(0),
            seconds: windows.span_ns() as f64 / 1e9,
        }
    }

    /// Tokens that flowed in up to now, as many as gather over all windows at most.
    fn refilled(&self, now: Instant, per_second: f64) -> f64 {
        let most = self.seconds * per_second;
        self.per_second.store(per_second.to_bits(), RELAXED);
        let at_ns = self.refilled_at_ns.load(RELAXED);
        let passed_ns = now.0.saturating_sub(at_ns);
        // Whoever moves the time adds what belongs to it.
        let flows = passed_ns >= STEP_NS
            && self
                .refilled_at_ns
                .compare_exchange(at_ns, now.0, RELAXED, RELAXED)
                .is_ok();
        let flowed = if flows {
            passed_ns as f64 / 1e9 * per_second
        } else {
            0.0
        };
        change(&self.balance, |held| (held + flowed).min(most))
    }

    /// Whole tokens that are left; below zero if some are owed.
    pub(super) fn left(&self, now: Instant, per_second: f64) -> i64 {
        // A conversion stops at the largest number that there is.
        self.refilled(now, per_second).floor() as i64
    }

    /// Takes tokens, more than there are if need be; how long until none are owed, as in Kafka.
    pub(super) fn take(&self, now: Instant, tokens: u64, per_second: f64) -> ThrottleMs {
        self.refilled(now, per_second);
        let left = change(&self.balance, |held| held - tokens as f64);
        (-left / per_second * 1000.0).round().max(0.0) as ThrottleMs
    }

    /// True if there are as many as there can be.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        let per_second = f64::from_bits(self.per_second.load(RELAXED));
        let passed_ns = now.0.saturating_sub(self.refilled_at_ns.load(RELAXED));
        let flowed = passed_ns as f64 / 1e9 * per_second;
        f64::from_bits(self.balance.load(RELAXED)) + flowed >= self.seconds * per_second
    }
}
