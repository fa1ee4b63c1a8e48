//! What was used in the windows of the last while, in atomic numbers that all cores share, and
//! Kafka's formula for how long a client has to wait.

use std::sync::atomic::{AtomicU64, Ordering};

use klamm_model::Instant;

use super::ThrottleMs;

/// How a rate is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// How many windows, the present one included; at least one.
    pub(crate) count: u32,
    /// How long each is, in milliseconds; at least one.
    pub(crate) size_ms: u64,
}

/// Most windows that are kept, whatever the configuration says: each client holds so many numbers.
const WINDOWS_MAX: u32 = 1_000;

impl Windows {
    /// So many windows of so many seconds.
    pub(crate) fn new(count: u32, seconds: u32) -> Self {
        Self {
            count: count.clamp(1, WINDOWS_MAX),
            size_ms: u64::from(seconds.max(1)) * 1000,
        }
    }

    /// Seconds of all windows but the present one.
    pub(crate) fn full_seconds(self) -> f64 {
        (u64::from(self.count - 1) * self.size_ms) as f64 / 1000.0
    }

    /// Nanoseconds of all windows.
    pub(crate) const fn span_ns(self) -> u64 {
        (self.count as u64)
            .saturating_mul(self.size_ms)
            .saturating_mul(1_000_000)
    }
}

/// Milliseconds of the monotonic clock.
pub(super) const fn ms(now: Instant) -> u64 {
    now.0 / 1_000_000
}

/// Bits of a slot that hold the amount: a terabyte, or a quarter of an hour of work, in one window.
const AMOUNT_BITS: u32 = 40;
const AMOUNT_MAX: u64 = (1 << AMOUNT_BITS) - 1;

/// What was used in the last windows.
///
/// ```text
/// slot   window:24  amount:40       window = time / size, of which the low bits suffice
/// ```
///
/// Window `n` has its place in slot `n % count`. Number and amount are one word, so that a core
/// that finds an older window there begins the new one in the same step in which it counts.
#[derive(Debug)]
pub(crate) struct Rate {
    windows: Windows,
    slots: Box<[AtomicU64]>,
}

const fn slot(window: u64, amount: u64) -> u64 {
    (window << AMOUNT_BITS) | amount
}

impl Rate {
    pub(crate) fn new(windows: Windows) -> Self {
        let slots = (0..windows.count).map(|_| AtomicU64::new(0));
        Self {
            windows,
            slots: slots.collect(),
        }
    }

    pub(super) const fn windows(&self) -> Windows {
        self.windows
    }

    /// The number of a window, as far as a slot holds it. Zero is never one: that is an empty slot.
    const fn label(window: u64) -> u64 {
        window % ((1 << (64 - AMOUNT_BITS)) - 1) + 1
    }

    fn slot_of(&self, window: u64) -> &AtomicU64 {
        let place = window % u64::from(self.windows.count);
        &self.slots[place as usize]
    }

    /// Counts an amount; how long its client has to wait if it may use so much a second.
    pub(super) fn charge(&self, now_ms: u64, amount: u64, per_second: f64) -> ThrottleMs {
        let window = now_ms / self.windows.size_ms;
        let label = Self::label(window);
        let counted = |held: u64| {
            let before = if held >> AMOUNT_BITS == label {
                held & AMOUNT_MAX
            } else {
                0
            };
            Some(slot(label, before.saturating_add(amount).min(AMOUNT_MAX)))
        };
        // The number alone is what matters, and it is changed in one step.
        let relaxed = Ordering::Relaxed;
        let _ = self.slot_of(window).fetch_update(relaxed, relaxed, counted);
        self.throttle(now_ms, per_second)
    }

    /// Takes back what was counted in this window.
    pub(super) fn give_back(&self, now_ms: u64, amount: u64) {
        let window = now_ms / self.windows.size_ms;
        let label = Self::label(window);
        let taken = |held: u64| {
            let same = held >> AMOUNT_BITS == label;
            same.then(|| slot(label, (held & AMOUNT_MAX).saturating_sub(amount)))
        };
        let relaxed = Ordering::Relaxed;
        let _ = self.slot_of(window).fetch_update(relaxed, relaxed, taken);
    }

    /// What was used in the windows up to now.
    pub(super) fn used(&self, now_ms: u64) -> u64 {
        let window = now_ms / self.windows.size_ms;
        let first = window.saturating_sub(u64::from(self.windows.count) - 1);
        let amounts = (first..=window).map(|window| {
            let held = self.slot_of(window).load(Ordering::Relaxed);
            if held >> AMOUNT_BITS == Self::label(window) {
                held & AMOUNT_MAX
            } else {
                0
            }
        });
        amounts.sum()
    }

    /// Kafka's formula: with O used a second over a time of W, where only T is allowed, the use is
    /// back at T after another (O - T) / T * W. W is every window but the present one, and what of
    /// that has passed.
    fn throttle(&self, now_ms: u64, per_second: f64) -> ThrottleMs {
        let Windows { count, size_ms } = self.windows;
        let time_ms = u64::from(count - 1) * size_ms + now_ms % size_ms;
        let needed_ms = self.used(now_ms) as f64 / per_second * 1000.0;
        // A conversion stops at the largest number that there is.
        (needed_ms - time_ms.max(1) as f64).round().max(0.0) as ThrottleMs
    }
}
