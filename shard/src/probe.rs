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
    /// Write-ahead files that were made beside the core, before they were needed.
    pub wal_files_made_ahead: Cell<u64>,
    /// Write-ahead files that were made when they were needed, while everybody on the core waited.
    pub wal_files_made_waiting: Cell<u64>,
    /// Flushes of the write-ahead log.
    pub flushes: Cell<u64>,
    /// Time of each flush in microseconds.
    flush_us: RefCell<Histogram<u64>>,
    flush_us_sum: Cell<u64>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            turns: Cell::new(0),
            letters: Cell::new(0),
            wal_files_made_ahead: Cell::new(0),
            wal_files_made_waiting: Cell::new(0),
            flushes: Cell::new(0),
            flush_us_sum: Cell::new(0),
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
        Self::count(&self.flush_us_sum, us);
        self.flush_us.borrow_mut().saturating_record(us.max(1));
    }

    /// Time of all flushes in microseconds; for some bounds in microseconds, how many took no
    /// longer than it and longer than the one before; and how many took longer than all.
    #[must_use]
    pub fn flush_times(&self) -> (u64, Vec<(u64, u64)>, u64) {
        const BOUNDS_US: [u64; 8] = [100, 250, 500, 1_000, 2_500, 10_000, 100_000, 1_000_000];
        let times = self.flush_us.borrow();
        let mut below = 0;
        let buckets: Vec<(u64, u64)> = BOUNDS_US
            .iter()
            .map(|&bound| {
                let up_to = times.count_between(0, bound);
                let here = up_to - below;
                below = up_to;
                (bound, here)
            })
            .collect();
        (self.flush_us_sum.get(), buckets, times.len() - below)
    }
}
