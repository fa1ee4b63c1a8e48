//! When requests are due. An open loop's plan is fixed before the run and does not wait for the
//! broker; latency counts from the planned time, so that a stall is charged to every request that
//! it delayed (the coordinated omission of closed loops). Pure: time is an argument.

use std::time::Duration;

use crate::workload::Arrivals;

/// Random numbers for gaps and payloads; one seed, one run.
#[derive(Clone, Debug)]
pub struct Random(klamm_model::Random);

impl Random {
    /// A generator whose sequence follows from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(klamm_model::Random::new(seed))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next()
    }

    /// A number in (0, 1].
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// Due times since the start of the run, in order, without end.
#[derive(Clone, Debug)]
pub struct Schedule {
    poisson: Option<Random>,
    gap_seconds: f64,
    due_seconds: f64,
}

impl Schedule {
    /// `None` for a closed loop. `rate` is in requests per second and above zero.
    #[must_use]
    pub fn of(arrivals: Arrivals, rate: f64, seed: u64) -> Option<Self> {
        let poisson = match arrivals {
            Arrivals::Closed => return None,
            Arrivals::Fixed => None,
            Arrivals::Poisson => Some(Random::new(seed)),
        };
        assert!(rate > 0.0, "a checked workload has a rate");
        Some(Self {
            poisson,
            gap_seconds: 1.0 / rate,
            due_seconds: 0.0,
        })
    }

    /// When the next request is due.
    #[must_use]
    pub fn next_due(&self) -> Duration {
        Duration::from_secs_f64(self.due_seconds)
    }

    /// Takes the next request's due time if it has come by `elapsed`.
    pub fn take_due(&mut self, elapsed: Duration) -> Option<Duration> {
        let due = self.next_due();
        if due > elapsed {
            return None;
        }
        // Inverse of the exponential distribution: gaps of a Poisson process.
        let stretch = self
            .poisson
            .as_mut()
            .map_or(1.0, |random| -random.unit().ln());
        self.due_seconds += self.gap_seconds * stretch;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_within(mut schedule: Schedule, seconds: u64) -> Vec<Duration> {
        std::iter::from_fn(|| schedule.take_due(Duration::from_secs(seconds))).collect()
    }

    #[test]
    fn closed_loop_has_no_schedule() {
        assert!(Schedule::of(Arrivals::Closed, 0.0, 1).is_none());
    }

    #[test]
    fn fixed_arrivals_keep_their_distance_however_late_they_are_asked_for() {
        let schedule = Schedule::of(Arrivals::Fixed, 1000.0, 1).expect("open");
        let due = due_within(schedule, 2);
        assert!((2000..=2001).contains(&due.len()), "{}", due.len());
        for pair in due.windows(2) {
            let gap = (pair[1] - pair[0]).as_secs_f64();
            assert!((gap - 0.001).abs() < 1e-6, "{gap}");
        }
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_an_exponential() {
        let schedule = Schedule::of(Arrivals::Poisson, 1000.0, 7).expect("open");
        let due = due_within(schedule, 20);
        let count = due.len() as f64;
        assert!((count - 20_000.0).abs() < 600.0, "{count}");
        let gaps: Vec<f64> = due
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let spread = variance.sqrt() / mean;
        assert!((spread - 1.0).abs() < 0.05, "{spread}");
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut schedule = Schedule::of(Arrivals::Fixed, 10.0, 1).expect("open");
        assert_eq!(schedule.take_due(Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(schedule.take_due(Duration::from_millis(99)), None);
        assert!(schedule.take_due(Duration::from_millis(101)).is_some());
    }
}
