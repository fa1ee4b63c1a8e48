//! The drivers: each carries one kind of effect out and brings its completion back. None decides.

pub(crate) mod files;
pub(crate) mod reader;
pub(crate) mod segments;
pub(crate) mod turnstile;
pub(crate) mod wal;

use std::future::Future;
use std::io;
use std::time::Duration;

use klamm_os::exec;

/// How long to wait before something is opened again, when no descriptor was left.
const RETRY_OPEN: Duration = Duration::from_millis(50);

/// Does something that opens files and may be repeated as a whole, and waits while the process or
/// the system has no descriptor left: that passes, and says nothing about the disk.
pub(crate) async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut told = false;
    loop {
        match attempt().await {
            Err(error) if is_out_of_files(&error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "cannot open a file of the log yet; raise the limit of open files");
                }
                exec::sleep(RETRY_OPEN).await;
            }
            done => return done,
        }
    }
}

/// EMFILE or ENFILE: too many open files, of the process or of the system.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}
