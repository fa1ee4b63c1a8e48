//! Latencies of several windows together, from the pairs of nanoseconds and counts that the
//! generator prints.

use std::collections::BTreeMap;

/// The quantiles that are compared.
pub const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// Points of a curve for each nine.
const POINTS_PER_NINE: u32 = 8;

/// Nines that a curve shows.
const NINES: u32 = 5;

/// How often each latency was seen.
#[derive(Clone, Debug, Default)]
pub struct Quantiles {
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Quantiles {
    /// What pairs of nanoseconds and counts say.
    #[must_use]
    pub fn of(pairs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut quantiles = Self::default();
        for (nanoseconds, count) in pairs {
            quantiles.add(nanoseconds, count);
        }
        quantiles
    }

    /// Takes the pairs out of a generator's result: those end to end if there are any.
    #[must_use]
    pub fn take_from(result: &mut serde_json::Value) -> Self {
        let mut take = |field: &str| {
            let found = result
                .as_object_mut()
                .and_then(|object| object.remove(field));
            let pairs: Option<Vec<(u64, u64)>> =
                found.and_then(|pairs| serde_json::from_value(pairs).ok());
            Self::of(pairs.unwrap_or_default())
        };
        let (requests, end_to_end) = (take("latency_ns"), take("end_to_end_ns"));
        if end_to_end.is_empty() {
            requests
        } else {
            end_to_end
        }
    }

    fn add(&mut self, nanoseconds: u64, count: u64) {
        *self.counts.entry(nanoseconds).or_insert(0) += count;
        self.total += count;
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (&nanoseconds, &count) in &other.counts {
            self.add(nanoseconds, count);
        }
    }

    /// True where nothing was counted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The latency at a quantile; not a number where nothing was counted.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a run fit a double"
    )]
    pub fn microseconds(&self, quantile: f64) -> f64 {
        let rank = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (&nanoseconds, &count) in &self.counts {
            seen += count;
            if seen >= rank {
                return nanoseconds as f64 / 1000.0;
            }
        }
        f64::NAN
    }

    /// Points up to as many nines as there are answers for: share at least as fast, microseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a run fit a double")]
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let points = (0..=NINES * POINTS_PER_NINE).map(|step| {
            let nines = f64::from(step) / f64::from(POINTS_PER_NINE);
            1.0 - 10_f64.powf(-nines)
        });
        let told = points.filter(|share| (1.0 - share) * self.total as f64 >= 1.0);
        told.map(|share| (share, self.microseconds(share)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_merged_windows_are_those_of_all_answers() {
        let mut all = Quantiles::of((1..=500).map(|us| (us * 1000, 1)));
        all.merge(&Quantiles::of((501..=1000).map(|us| (us * 1000, 1))));
        assert_eq!(all.microseconds(0.5), 500.0);
        assert_eq!(all.microseconds(0.999), 999.0);
        assert_eq!(all.microseconds(1.0), 1000.0);
        assert!(
            all.curve().last().expect("points").0 < 0.9991,
            "three nines at most"
        );
        assert!(Quantiles::default().microseconds(0.5).is_nan());
    }

    #[test]
    fn ages_of_records_come_before_latencies_of_requests() {
        let mut result = serde_json::json!({
            "latency_ns": [[1000, 5]], "end_to_end_ns": [[2000, 7]], "other": 1,
        });
        let found = Quantiles::take_from(&mut result);
        assert_eq!(found.microseconds(0.5), 2.0);
        assert_eq!(result, serde_json::json!({"other": 1}));
        let mut result = serde_json::json!({"latency_ns": [[1000, 5]], "end_to_end_ns": []});
        assert_eq!(Quantiles::take_from(&mut result).microseconds(0.5), 1.0);
    }
}
