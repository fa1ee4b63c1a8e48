//! Times in buckets, on their way to the outside: added up over shards, taken apart by time, and
//! asked for quantiles. Pure.

/// Times of one kind of operation, in fine buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeHistogram {
    /// Sum of all times in microseconds.
    pub sum_us: u64,
    /// Pairs of a bucket's upper end (inclusive, in microseconds, ascending) and the number of
    /// times in that bucket alone.
    pub buckets: Vec<(u64, u64)>,
}

impl TimeHistogram {
    /// Number of all times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|&(_, count)| count).sum()
    }

    /// Adds the times of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        for &(end, count) in &other.buckets {
            match self.buckets.binary_search_by_key(&end, |&(end, _)| end) {
                Ok(place) => self.buckets[place].1 += count,
                Err(place) => self.buckets.insert(place, (end, count)),
            }
        }
    }

    /// The times that came since it was `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let counted = |end: u64| {
            let place = before.buckets.binary_search_by_key(&end, |&(end, _)| end);
            place.map_or(0, |place| before.buckets[place].1)
        };
        let buckets = self.buckets.iter();
        let buckets = buckets.map(|&(end, count)| (end, count.saturating_sub(counted(end))));
        Self {
            sum_us: self.sum_us.saturating_sub(before.sum_us),
            buckets: buckets.filter(|&(_, count)| count > 0).collect(),
        }
    }

    /// The time in microseconds that this share of all times, from 0 to 1, does not exceed: the end
    /// of a bucket. `None` without times.
    pub(super) fn quantile_us(&self, share: f64) -> Option<u64> {
        let rank = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets.iter().find_map(|&(end, count)| {
            seen += count;
            (seen >= rank).then_some(end)
        })
    }

    /// How many times lie in each bucket of a coarser scale, given by its upper ends, and how many
    /// beyond all of them.
    pub(super) fn on_scale(&self, ends_us: &[u64]) -> (Vec<(u64, u64)>, u64) {
        let mut scale: Vec<(u64, u64)> = ends_us.iter().map(|&end| (end, 0)).collect();
        let mut beyond = 0;
        for &(end, count) in &self.buckets {
            match ends_us.iter().position(|&upper| end <= upper) {
                Some(place) => scale[place].1 += count,
                None => beyond += count,
            }
        }
        (scale, beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(buckets: &[(u64, u64)]) -> TimeHistogram {
        TimeHistogram {
            sum_us: buckets.iter().map(|&(end, count)| end * count).sum(),
            buckets: buckets.to_vec(),
        }
    }

    #[test]
    fn times_of_two_shards_add_up_and_can_be_taken_apart_again() {
        let (mut sum, other) = (times(&[(10, 1), (30, 2)]), times(&[(20, 5), (30, 1)]));
        let first = sum.clone();
        sum.merge(&other);
        assert_eq!(sum, times(&[(10, 1), (20, 5), (30, 3)]));
        assert_eq!(sum.since(&first), other);
        assert_eq!(sum.count(), 9);
    }

    #[test]
    fn a_quantile_is_the_end_of_the_bucket_that_reaches_the_share() {
        let times = times(&[(10, 50), (20, 49), (500, 1)]);
        let quantile = |share| times.quantile_us(share);
        assert_eq!(quantile(0.5), Some(10));
        assert_eq!(quantile(0.51), Some(20));
        assert_eq!(quantile(0.99), Some(20));
        assert_eq!(quantile(0.999), Some(500));
        assert_eq!(quantile(0.0), Some(10));
        assert_eq!(TimeHistogram::default().quantile_us(0.5), None);
    }

    #[test]
    fn a_coarser_scale_loses_no_time() {
        let times = times(&[(10, 1), (11, 2), (100, 3), (101, 4)]);
        let (scale, beyond) = times.on_scale(&[10, 100]);
        assert_eq!((scale, beyond), (vec![(10, 1), (100, 5)], 4));
    }
}
