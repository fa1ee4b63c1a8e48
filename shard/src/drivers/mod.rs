//! The drivers: each carries one kind of effect out and brings its completion back. None decides.

pub(crate) mod files;
pub(crate) mod flushes;
pub(crate) mod reader;
pub(crate) mod segments;
pub(crate) mod turnstile;
pub(crate) mod wal;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::time::Duration;

use klamm_os::{clock, exec};

/// How long to wait before something is opened again, when no descriptor was left.
const RETRY_OPEN: Duration = Duration::from_millis(50);

/// How often the want of descriptors is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Waits of one core for descriptors, and what was said of them: thousands of segments may wait at
/// once, and one line a second says it.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    told_at: Cell<Option<Duration>>,
    /// Failed attempts since then.
    untold: Cell<u64>,
}

impl Patience {
    /// Does something that opens files and may be repeated as a whole, and waits while the process
    /// or the system has no descriptor left: that passes, and says nothing about the disk.
    pub(crate) async fn attempt<T, F>(&self, mut attempt: impl FnMut() -> F) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        loop {
            match attempt().await {
                Err(error) if is_out_of_files(&error) => {
                    if let Some(attempts) = self.note(clock::monotonic()) {
                        tracing::warn!(%error, attempts, "cannot open files of the log yet; raise the limit of open files");
                    }
                    exec::sleep(RETRY_OPEN).await;
                }
                done => return done,
            }
        }
    }

    /// Counts a failed attempt; how many there were, if that is to be told now.
    fn note(&self, now: Duration) -> Option<u64> {
        self.untold.set(self.untold.get() + 1);
        let told = self.told_at.get();
        if told.is_some_and(|told| now.saturating_sub(told) < TELL_EVERY) {
            return None;
        }
        self.told_at.set(Some(now));
        Some(self.untold.take())
    }
}

/// EMFILE or ENFILE: too many open files, of the process or of the system.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_wait_for_descriptors_one_line_a_second_says_how_many() {
        let patience = Patience::default();
        let at = |millis| patience.note(Duration::from_millis(millis));
        assert_eq!(at(5000), Some(1));
        for attempt in 0..999 {
            assert_eq!(at(5000 + attempt), None);
        }
        assert_eq!(at(6000), Some(1000));
        assert_eq!(at(6001), None);
    }
}
