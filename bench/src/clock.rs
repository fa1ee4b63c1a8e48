//! Moments of one run as Unix time, so that records can carry them to whoever reads them.

use std::time::{Duration, Instant, SystemTime};

use klamm_model::Timestamp;

/// A moment known in both times; all others follow from it, so that time never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    unix: Duration,
}

impl Clock {
    /// Looks at both clocks.
    #[must_use]
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            instant: Instant::now(),
            unix: unix.unwrap_or_default(),
        }
    }

    /// Nanoseconds of Unix time at `instant`.
    #[must_use]
    pub fn unix_ns(&self, instant: Instant) -> u64 {
        let unix = match instant.checked_duration_since(self.instant) {
            Some(later) => self.unix + later,
            None => self.unix.saturating_sub(self.instant - instant),
        };
        u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment it was made, as records are stamped.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp(i64::try_from(self.unix.as_millis()).unwrap_or(i64::MAX))
    }
}
