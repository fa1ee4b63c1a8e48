//! The two clocks: monotonic since process start, and the wall. Nobody above reads another one.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

static START: OnceLock<Instant> = OnceLock::new();

/// Time since the first use of this clock in the process; never goes back.
pub fn monotonic() -> Duration {
    START.get_or_init(Instant::now).elapsed()
}

/// [`monotonic`] in whole nanoseconds (enough for 584 years).
pub fn monotonic_ns() -> u64 {
    u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX)
}

/// Wall clock, milliseconds since 1970 UTC; may jump, negative before 1970.
pub fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clock_never_goes_back() {
        let mut last = monotonic_ns();
        for _ in 0..10_000 {
            let now = monotonic_ns();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn wall_clock_is_after_this_code_was_written() {
        assert!(wall_ms() > 1_700_000_000_000);
    }
}
