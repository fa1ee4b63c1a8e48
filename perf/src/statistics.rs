//! Medians and their uncertainty. Pure; the resampling has a fixed seed, so that the same raw data
//! give the same words.

use serde::Serialize;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 10_000;

/// Share of resamples inside the interval.
const CONFIDENCE: f64 = 0.90;

/// Middle of the values; the mean of the two middle ones where their number is even.
///
/// # Panics
/// If there is no value.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "nothing has no median");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// A median and where it might as well lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Median of the values.
    pub median: f64,
    /// Lower end of the bootstrap interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// Percentile bootstrap of the median, over whole pairs.
    ///
    /// # Panics
    /// If there is no value.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks of some thousand resamples"
    )]
    pub fn of(values: &[f64]) -> Self {
        let mut state: u64 = 0x6b6c_616d_6d00_0001;
        let mut medians = Vec::with_capacity(RESAMPLES);
        let mut sample = vec![0.0; values.len()];
        for _ in 0..RESAMPLES {
            for drawn in &mut sample {
                // xorshift64: enough for drawing indices.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *drawn = values[(state % values.len() as u64) as usize];
            }
            medians.push(median(&sample));
        }
        medians.sort_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let rank = |share: f64| medians[((RESAMPLES - 1) as f64 * share).round() as usize];
        Self {
            median: median(values),
            low: rank(tail),
            high: rank(1.0 - tail),
        }
    }

    /// True where the interval lies on one side of one.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_takes_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
    }

    #[test]
    fn interval_holds_the_median_and_narrows_with_agreement() {
        let wide = Estimate::of(&[0.5, 1.0, 2.0, 4.0, 8.0]);
        assert!(wide.low <= wide.median && wide.median <= wide.high);
        let narrow = Estimate::of(&[2.0, 2.01, 1.99, 2.02, 1.98]);
        assert!(narrow.high - narrow.low < 0.05, "{narrow:?}");
        assert!(narrow.is_decided());
    }

    #[test]
    fn interval_across_one_decides_nothing() {
        assert!(!Estimate::of(&[0.8, 0.9, 1.1, 1.2, 1.0]).is_decided());
        assert!(Estimate::of(&[0.4, 0.5, 0.45]).is_decided());
    }

    #[test]
    fn same_values_give_the_same_interval() {
        let values = [1.5, 2.5, 1.9, 2.2];
        assert_eq!(Estimate::of(&values), Estimate::of(&values));
    }

    #[test]
    fn interval_covers_the_true_median_about_as_often_as_it_says() {
        let mut state: u64 = 42;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as f64 / f64::from(1_u32 << 31)
        };
        let mut covered = 0;
        for _ in 0..60 {
            let values: Vec<f64> = (0..11).map(|_| uniform()).collect();
            let estimate = Estimate::of(&values);
            covered += u32::from(estimate.low <= 0.5 && 0.5 <= estimate.high);
        }
        assert!((45..=60).contains(&covered), "{covered} of 60");
    }
}
