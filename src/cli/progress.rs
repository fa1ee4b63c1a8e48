//! Progress of long work on standard error: a line now and then, none for short work.

use std::time::{Duration, Instant};

/// How often a line is written.
const INTERVAL: Duration = Duration::from_secs(5);

/// Records between two looks at the clock.
const RECORDS_BETWEEN: u64 = 1024;

/// Counts records and bytes.
#[derive(Debug)]
pub(super) struct Progress {
    word: &'static str,
    quiet: bool,
    started: Instant,
    next: Instant,
    records: u64,
    bytes: u64,
}

impl Progress {
    pub(super) fn new(word: &'static str, quiet: bool) -> Self {
        let started = Instant::now();
        Self {
            word,
            quiet,
            started,
            next: started + INTERVAL,
            records: 0,
            bytes: 0,
        }
    }

    /// Counts, and writes a line where one is due.
    pub(super) fn count(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        if self.quiet || !self.records.is_multiple_of(RECORDS_BETWEEN) {
            return;
        }
        let now = Instant::now();
        if now >= self.next {
            self.next = now + INTERVAL;
            let rate = self.bytes as f64 / 1e6 / (now - self.started).as_secs_f64();
            eprintln!("{} {} records, {rate:.1} MB/s", self.word, self.records);
        }
    }
}
