//! Who says when a run is warm, when it is measured and when it ends.

use std::{
    io::{self, BufRead},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crate::progress::Totals;

/// Where a run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Not counted yet.
    WarmUp,
    /// Counted.
    Measure,
    /// No more requests; the answers under way are waited for.
    Stop,
}

/// Who says when a phase ends.
#[derive(Clone, Debug)]
pub enum Steering {
    /// The clock.
    Clock {
        /// Length of the warm-up.
        warm_up: Duration,
        /// Length of the measured part.
        measure: Duration,
    },
    /// Lines on standard input.
    Lines(Arc<AtomicU8>),
    /// The end comes when so many bytes are through; all of it counts.
    Bytes(u64),
}

impl Steering {
    /// Listens to standard input: `measure`, `stop`, or its end.
    #[must_use]
    pub fn by_lines() -> Self {
        let said = Arc::new(AtomicU8::new(0));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                match line.trim() {
                    "measure" => heard.store(1, Ordering::Relaxed),
                    "stop" => break,
                    _ => {}
                }
            }
            heard.store(2, Ordering::Relaxed);
        });
        Self::Lines(said)
    }

    /// The phase after `elapsed` and so many bytes.
    #[must_use]
    pub fn phase(&self, elapsed: Duration, bytes: u64) -> Phase {
        match self {
            Self::Clock { warm_up, .. } if elapsed < *warm_up => Phase::WarmUp,
            Self::Clock { warm_up, measure } if elapsed < *warm_up + *measure => Phase::Measure,
            Self::Clock { .. } => Phase::Stop,
            Self::Lines(said) => match said.load(Ordering::Relaxed) {
                0 => Phase::WarmUp,
                1 => Phase::Measure,
                _ => Phase::Stop,
            },
            Self::Bytes(limit) if bytes < *limit => Phase::Measure,
            Self::Bytes(_) => Phase::Stop,
        }
    }
}

/// What is told while a run goes on.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// Some time has passed.
    Interval(Totals),
    /// The measured part begins.
    Measure(Totals),
    /// The measured part is over.
    Measured(Totals),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_and_bytes_end_their_phases() {
        let second = Duration::from_secs(1);
        let clock = Steering::Clock {
            warm_up: second,
            measure: second * 2,
        };
        assert_eq!(clock.phase(Duration::ZERO, 0), Phase::WarmUp);
        assert_eq!(clock.phase(second, 0), Phase::Measure);
        assert_eq!(clock.phase(second * 3, 0), Phase::Stop);
        let bytes = Steering::Bytes(10);
        assert_eq!(bytes.phase(second, 9), Phase::Measure);
        assert_eq!(bytes.phase(second, 10), Phase::Stop);
    }
}
