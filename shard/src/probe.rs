//! Counters and histograms of one core, read by the control thread through errands.

mod times;

use std::cell::Cell;
use std::time::Duration;

pub use times::{Times, TimesTaken};

/// What happened on this core since its start.
#[derive(Debug)]
pub struct Probe {
    /// Turns taken.
    pub turns: Cell<u64>,
    /// How long each of them took.
    pub turn_times: Times,
    /// Letters received from other cores.
    pub letters: Cell<u64>,
    /// Write-ahead files that were made beside the core, before they were needed.
    pub wal_files_made_ahead: Cell<u64>,
    /// Write-ahead files that were made when they were needed, while everybody on the core waited.
    pub wal_files_made_waiting: Cell<u64>,
    /// Flushes of the write-ahead log.
    pub flushes: Cell<u64>,
    /// How long each of them took.
    pub flush_times: Times,
    /// Looks at all groups.
    pub lag_looks: Cell<u64>,
    /// Kept offsets of which logs were asked in them.
    pub lag_offsets: Cell<u64>,
    /// Nanoseconds that they worked on this core, without what other cores did for them.
    pub lag_ns: Cell<u64>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            turns: Cell::new(0),
            turn_times: Times::fine(),
            letters: Cell::new(0),
            wal_files_made_ahead: Cell::new(0),
            wal_files_made_waiting: Cell::new(0),
            flushes: Cell::new(0),
            flush_times: Times::fine(),
            lag_looks: Cell::new(0),
            lag_offsets: Cell::new(0),
            lag_ns: Cell::new(0),
        }
    }
}

impl Probe {
    pub(crate) fn count(counter: &Cell<u64>, more: u64) {
        counter.set(counter.get() + more);
    }

    pub(crate) fn flushed(&self, took: Duration) {
        Self::count(&self.flushes, 1);
        self.flush_times.add(took);
    }
}
