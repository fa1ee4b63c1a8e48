//! The two clocks: monotonic since process start, and the wall. Nobody above reads another one.

use std::{sync::OnceLock, time::Duration};

use super::sys;

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: i64 = 1_000_000;
const MS_PER_S: i64 = 1000;

/// When this clock was first used, by the system's.
static START: OnceLock<u64> = OnceLock::new();

/// Time since the first use of this clock in the process; never goes back.
pub fn monotonic() -> Duration {
    Duration::from_nanos(monotonic_ns())
}

/// [`monotonic`] in whole nanoseconds (enough for 584 years).
pub fn monotonic_ns() -> u64 {
    let (seconds, nanoseconds) = sys::clock(libc::CLOCK_MONOTONIC);
    let now = seconds.unsigned_abs() * NS_PER_S + nanoseconds.unsigned_abs();
    // Another thread may have read the clock later and been the first all the same.
    now.saturating_sub(*START.get_or_init(|| now))
}

/// Wall clock, milliseconds since 1970 UTC; may jump, negative before 1970.
pub fn wall_ms() -> i64 {
    let (seconds, nanoseconds) = sys::clock(libc::CLOCK_REALTIME);
    seconds * MS_PER_S + nanoseconds / NS_PER_MS
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
