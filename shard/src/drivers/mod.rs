//! The drivers: each carries one kind of effect out and brings its completion back. None decides.

pub(crate) mod compactor;
pub(crate) mod files;
pub(crate) mod flushes;
pub(crate) mod mover;
pub(crate) mod reader;
pub(crate) mod relocation;
pub(crate) mod segments;
pub(crate) mod space;
pub(crate) mod turnstile;
pub(crate) mod wal;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use klamm_os::disk::{free_space, is_out_of_space};
use klamm_os::{clock, exec};

use crate::data_folders::DataFolders;

/// How long to wait before something is opened again, when no descriptor was left.
const RETRY_OPEN: Duration = Duration::from_millis(50);

/// How often the want of descriptors is told.
const TELL_FILES_EVERY: Duration = Duration::from_secs(1);

/// How long to wait before something is written again that found no room.
const RETRY_WRITE: Duration = Duration::from_millis(100);

/// How often the want of room is told.
const TELL_SPACE_EVERY: Duration = Duration::from_secs(10);

/// Waits of one core for descriptors and for room on the disk, and what was said of them: thousands
/// of segments may wait at once, and one line now and then says it.
#[derive(Debug)]
pub(crate) struct Patience {
    folders: DataFolders,
    files: Told,
    space: Told,
    /// What waits for room now.
    without_room: Cell<u64>,
}

/// Failed attempts of one kind, and when they were told.
#[derive(Debug, Default)]
struct Told {
    told_at: Cell<Option<Duration>>,
    /// Failed attempts since then.
    untold: Cell<u64>,
}

impl Patience {
    pub(crate) fn new(folders: DataFolders) -> Self {
        Self {
            folders,
            files: Told::default(),
            space: Told::default(),
            without_room: Cell::new(0),
        }
    }

    /// Does something that may be repeated as a whole, and waits while the process or the system
    /// has no descriptor left, or the file system no room: that passes, and nothing that was
    /// promised rests on what is not done yet.
    pub(crate) async fn attempt<T, F>(&self, mut attempt: impl FnMut() -> F) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut waits = false;
        loop {
            let done = match attempt().await {
                Err(error) if is_out_of_files(&error) => {
                    let attempts = self.files.note(clock::monotonic(), TELL_FILES_EVERY);
                    if let Some(attempts) = attempts {
                        tracing::warn!(%error, attempts, "cannot open files of the log yet; raise the limit of open files");
                    }
                    exec::sleep(RETRY_OPEN).await;
                    continue;
                }
                Err(error) if is_out_of_space(&error) => {
                    if !std::mem::replace(&mut waits, true) {
                        self.without_room.set(self.without_room.get() + 1);
                    }
                    self.tell_full(&error);
                    exec::sleep(RETRY_WRITE).await;
                    continue;
                }
                done => done,
            };
            if waits {
                self.has_room(done.is_ok());
            }
            return done;
        }
    }

    /// The data folder with the least room, which is most likely the one that has none.
    fn fullest(&self) -> (&Path, u64) {
        let roots = self.folders.roots().iter();
        let free = roots.map(|root| {
            let free = free_space(root).map_or(0, |space| space.free);
            (root.as_path(), free)
        });
        let least = free.min_by_key(|&(_, free)| free);
        least.unwrap_or_else(|| (self.folders.main(), 0))
    }

    fn tell_full(&self, error: &io::Error) {
        let Some(attempts) = self.space.note(clock::monotonic(), TELL_SPACE_EVERY) else {
            return;
        };
        let (folder, free) = self.fullest();
        tracing::warn!(
            folder = %folder.display(), free, attempts, %error,
            "the disk is full: what waits for segments and checkpoints stays in the write-ahead log, and nothing is lost. Delete topics or other files, or make the file system larger"
        );
    }

    /// Something that waited for room waits no more.
    fn has_room(&self, found: bool) {
        let left = self.without_room.get().saturating_sub(1);
        self.without_room.set(left);
        if left == 0 && found && self.space.forget() {
            tracing::info!("the disk has room again: segments and checkpoints are written");
        }
    }
}

impl Told {
    /// Counts a failed attempt; how many there were, if that is to be told now.
    fn note(&self, now: Duration, every: Duration) -> Option<u64> {
        self.untold.set(self.untold.get() + 1);
        let told = self.told_at.get();
        if told.is_some_and(|told| now.saturating_sub(told) < every) {
            return None;
        }
        self.told_at.set(Some(now));
        Some(self.untold.take())
    }

    /// It is over; true if it was told.
    fn forget(&self) -> bool {
        self.untold.take();
        self.told_at.take().is_some()
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
        let told = Told::default();
        let at = |millis| told.note(Duration::from_millis(millis), TELL_FILES_EVERY);
        assert_eq!(at(5000), Some(1));
        for attempt in 0..999 {
            assert_eq!(at(5000 + attempt), None);
        }
        assert_eq!(at(6000), Some(1000));
        assert_eq!(at(6001), None);
    }
}
