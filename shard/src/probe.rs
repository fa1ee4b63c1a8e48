//! Counters and histograms of one core, read by the control thread through errands.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hdrhistogram::Histogram;

/// What happened on this core since its start.
#[derive(Debug)]
pub struct Probe {
    /// Turns taken.
    pub turns: Cell<u64>,
    /// Letters received from other cores.
    pub letters: Cell<u64>,
    /// Flushes of the write-ahead log.
    pub flushes: Cell<u64>,
    /// Time of each flush in microseconds.
    flush_us: RefCell<Histogram<u64>>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            turns: Cell::new(0),
            letters: Cell::new(0),
            flushes: Cell::new(0),
            flush_us: RefCell::new(
                Histogram::new_with_bounds(1, 60_000_000, 2).expect("constant bounds are legal"),
            ),
        }
    }
}

impl Probe {
    pub(crate) fn count(counter: &Cell<u64>, more: u64) {
        counter.set(counter.get() + more);
    }

    pub(crate) fn flushed(&self, took: Duration) {
        Self::count(&self.flushes, 1);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.flush_us.borrow_mut().saturating_record(us.max(1));
    }

    /// Time within which this share of the flushes was done.
    #[must_use]
    pub fn flush_quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.flush_us.borrow().value_at_quantile(quantile))
    }
}
