//! The lines that a process wrote, as they come. Owned by the process's `Process`; filled by a
//! thread for each of its two streams.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    readers: usize,
}

impl Log {
    /// Reads `stream` to its end on a thread of its own.
    pub(crate) fn follow(&self, stream: impl Read + Send + 'static) {
        self.lock().readers += 1;
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                log.lock()
                    .lines
                    .push(String::from_utf8_lossy(&line).into_owned());
                log.0.grown.notify_all();
            }
            log.lock().readers -= 1;
            log.0.grown.notify_all();
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no reader panics")
    }

    /// Number of lines so far: the place to search from later.
    pub(crate) fn len(&self) -> usize {
        self.lock().lines.len()
    }

    pub(crate) fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    /// The first line at or behind `from` that `wanted` gives something for; `None` when the
    /// streams end or the time is over.
    pub(crate) fn find<T>(
        &self,
        from: usize,
        limit: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut next = from;
        let mut state = self.lock();
        loop {
            while let Some(line) = state.lines.get(next) {
                if let Some(found) = wanted(line) {
                    return Some(found);
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.readers == 0 || left.is_zero() {
                return None;
            }
            let waited = self
                .0
                .grown
                .wait_timeout(state, left)
                .expect("no reader panics");
            state = waited.0;
        }
    }

    /// Waits until both streams ended.
    pub(crate) fn wait_for_end(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while state.readers > 0 && Instant::now() < deadline {
            let waited = self.0.grown.wait_timeout(state, Duration::from_millis(100));
            state = waited.expect("no reader panics").0;
        }
    }
}
