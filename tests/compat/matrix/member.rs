//! One member of a group as a process of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::events::{Event, held};
use super::judge::Said;

/// A process, and all that it has said so far.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) instance: Option<String>,
    process: Child,
    events: Arc<Mutex<Vec<Event>>>,
    reader: Option<JoinHandle<()>>,
    complaints: PathBuf,
}

impl Member {
    /// Starts it; what it complains of on its standard error goes to a file in `folder`.
    pub(crate) fn start(
        mut command: Command,
        name: &str,
        instance: Option<&str>,
        folder: &Path,
    ) -> Self {
        let complaints = folder.join(name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&complaints).expect("a file"));
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}: {command:?}"));
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let events = Arc::new(Mutex::new(Vec::new()));
        let (kept, who) = (Arc::clone(&events), name.to_owned());
        let reader = std::thread::spawn(move || {
            for line in lines {
                let Ok(line) = line else { return };
                let event = Event::parse(&line)
                    .unwrap_or_else(|reason| Event::Trouble(format!("{who}: {reason}")));
                lock(&kept).push(event);
            }
        });
        Self {
            name: name.to_owned(),
            instance: instance.map(str::to_owned),
            process,
            events,
            reader: Some(reader),
            complaints,
        }
    }

    /// The partitions that it holds, as it sees it.
    pub(crate) fn held(&self) -> BTreeSet<i32> {
        held(&lock(&self.events))
    }

    /// How many records it has processed.
    pub(crate) fn count_read(&self) -> i64 {
        let events = lock(&self.events);
        let counts = events.iter().map(|event| match event {
            Event::Read(span) => span.end - span.first,
            _ => 0,
        });
        counts.sum()
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        self.process.wait().expect("our own child");
    }

    /// Stops all its threads where they are, or lets them go on.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &id])
            .status();
        assert!(sent.expect("a shell").success(), "SIG{name} to {id}");
    }

    /// Asks it to leave.
    pub(crate) fn ask_to_leave(&mut self) {
        drop(self.process.stdin.take());
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("our own child")
    }

    /// All that it said, once it has ended.
    pub(crate) fn said(&mut self) -> Said {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a thread that does not panic");
        }
        let owner = self.instance.as_ref().unwrap_or(&self.name);
        Said {
            name: self.name.clone(),
            owner: owner.clone(),
            events: lock(&self.events).clone(),
        }
    }

    /// The last of what it said and complained of, for the report of a failure.
    pub(crate) fn report(&self) -> String {
        let events = lock(&self.events);
        let last = &events[events.len().saturating_sub(12)..];
        let complaints = fs::read_to_string(&self.complaints).unwrap_or_default();
        let complaints: Vec<&str> = complaints.lines().rev().take(12).collect();
        let mut text = format!("--- {} ---\n", self.name);
        for event in last {
            text.push_str(&format!("{event:?}\n"));
        }
        for line in complaints.iter().rev() {
            text.push_str(&format!("| {line}\n"));
        }
        text
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
        // A stopped process dies of it as well.
        self.kill();
    }
}

fn lock(events: &Mutex<Vec<Event>>) -> MutexGuard<'_, Vec<Event>> {
    events.lock().unwrap_or_else(PoisonError::into_inner)
}
