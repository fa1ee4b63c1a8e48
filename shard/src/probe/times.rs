//! How long one kind of thing took, each time, in buckets. Owned by one core.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest time that is told apart from longer ones, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// Times of one kind since the start of the core. The memory for them is taken at once; adding one
/// takes none.
#[derive(Debug)]
pub struct Times {
    histogram: RefCell<Histogram<u64>>,
    sum_us: Cell<u64>,
}

/// Times in buckets, as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimesTaken {
    /// Sum of all times in microseconds.
    pub sum_us: u64,
    /// Pairs of a bucket's upper end (inclusive, in microseconds, ascending) and the number of times
    /// in that bucket alone. Empty buckets are left out.
    pub buckets: Vec<(u64, u64)>,
}

impl Times {
    /// Bounds within a hundredth of a time: 20 KiB.
    #[must_use]
    pub fn fine() -> Self {
        Self::new(2)
    }

    /// Bounds within a sixteenth of a time: 3 KiB.
    #[must_use]
    pub fn coarse() -> Self {
        Self::new(1)
    }

    fn new(digits: u8) -> Self {
        Self {
            histogram: RefCell::new(
                Histogram::new_with_bounds(1, LONGEST_US, digits)
                    .expect("constant bounds are legal"),
            ),
            sum_us: Cell::new(0),
        }
    }

    /// Adds one.
    pub fn add(&self, took: Duration) {
        self.add_ns(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds one of this many nanoseconds.
    pub fn add_ns(&self, took: u64) {
        let us = took / 1000;
        self.sum_us.set(self.sum_us.get().saturating_add(us));
        self.histogram.borrow_mut().saturating_record(us);
    }

    /// All so far.
    #[must_use]
    pub fn taken(&self) -> TimesTaken {
        let histogram = self.histogram.borrow();
        let buckets = histogram.iter_recorded();
        TimesTaken {
            sum_us: self.sum_us.get(),
            buckets: buckets
                .map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_that_ends_at_or_soon_after_it() {
        let times = Times::coarse();
        for us in [0, 7, 7, 1000, 59_000_000] {
            times.add(Duration::from_micros(us));
        }
        let taken = times.taken();
        assert_eq!(taken.sum_us, 59_001_014);
        let counts: Vec<u64> = taken.buckets.iter().map(|&(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 1, 1]);
        for (&(end, _), us) in taken.buckets.iter().zip([0, 7, 1000, 59_000_000_u64]) {
            assert!(us <= end && end <= us + us / 16, "{us} ends at {end}");
        }
    }

    #[test]
    fn what_takes_longer_than_all_bounds_is_kept_as_the_longest() {
        let times = Times::fine();
        times.add(Duration::from_secs(4000));
        let buckets = times.taken().buckets;
        assert_eq!(buckets.len(), 1);
        let (end, count) = buckets[0];
        assert!(end >= LONGEST_US && count == 1, "{buckets:?}");
    }
}
