//! Writes the flights into a topic for as long as a scenario goes on, whether the broker is there or
//! not, and asks at times which offsets the group has committed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io};

use klamm_wire::offset_fetch;

use crate::harness::{Client, RawBatch, Record, Topic};

/// Rows of one batch.
const BATCH: usize = 10;
/// Between two batches: the flow is steady, and small enough for every client.
const PAUSE: Duration = Duration::from_millis(20);
/// Batches between two questions for offsets.
const BATCHES_AN_ANSWER: usize = 10;

/// Committed offsets by partition.
pub(crate) type Committed = BTreeMap<i32, i64>;

/// The thread that writes.
pub(crate) struct Feeder {
    is_over: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Committed>>,
}

impl Feeder {
    /// Begins with this many rows at once; the rest comes evenly, and from the start again when all
    /// were written.
    pub(crate) fn start(
        rows: &Path,
        broker: SocketAddr,
        topic: Topic,
        group: String,
        partitions: i32,
        at_once: usize,
    ) -> Self {
        let text = fs::read_to_string(rows).expect("the rows");
        let records = text.lines().map(|line| {
            let (key, value) = line.split_once('\t').expect("a key and a value");
            Record::new(key, value)
        });
        let records: Vec<Record> = records.collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicUsize::new(0));
        let (ends, counts) = (Arc::clone(&is_over), Arc::clone(&written));
        let thread = std::thread::spawn(move || {
            let mut connection = None;
            let mut seen = Vec::new();
            let rows: Vec<&[Record]> = records.chunks(BATCH).collect();
            for number in 0.. {
                let part = number % partitions as usize;
                let batch = RawBatch::of(rows[number % rows.len()]).encode();
                // An attempt of unknown outcome is repeated: it is one more record to be read.
                while !ends.load(Ordering::Relaxed) {
                    let done = connected(&mut connection, broker, |client| {
                        let answer = client.try_produce(&topic, part as i32, &batch)?;
                        if answer.error_code != 0 {
                            return Err(io::Error::other(format!("code {}", answer.error_code)));
                        }
                        if number % BATCHES_AN_ANSWER == 0 {
                            seen.extend(try_committed(client, &group, &topic)?);
                        }
                        Ok(())
                    });
                    if done {
                        counts.fetch_add(BATCH, Ordering::Relaxed);
                        break;
                    }
                    std::thread::park_timeout(PAUSE);
                }
                if ends.load(Ordering::Relaxed) {
                    return seen;
                }
                if number * BATCH >= at_once {
                    std::thread::park_timeout(PAUSE);
                }
            }
            seen
        });
        Self {
            is_over,
            written,
            thread,
        }
    }

    /// How many rows are written.
    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// Ends it; gives the offsets that it saw committed.
    pub(crate) fn stop(self) -> Vec<Committed> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("a thread that does not panic")
    }
}

/// Does something over a connection that is made where there is none; false where it failed.
fn connected(
    connection: &mut Option<Client>,
    broker: SocketAddr,
    ask: impl FnOnce(&mut Client) -> io::Result<()>,
) -> bool {
    if connection.is_none() {
        *connection = Client::try_connect(broker).ok();
    }
    let Some(client) = connection else {
        return false;
    };
    let is_done = ask(client).is_ok();
    if !is_done {
        *connection = None;
    }
    is_done
}

/// The offsets that a group has committed; `None` while its coordinator is not ready.
///
/// # Errors
/// The connection ended.
pub(crate) fn try_committed(
    client: &mut Client,
    group: &str,
    topic: &Topic,
) -> io::Result<Option<Committed>> {
    let request = offset_fetch::Request {
        group_id: group.to_owned().into(),
        topics: None,
        ..Default::default()
    };
    let reply = client.try_call(&request, 5)?;
    let view = reply.view();
    if view.error_code() != 0 {
        return Ok(None);
    }
    let topics = view.topics().iter();
    let parts = topics
        .filter(|found| found.name() == topic.name)
        .flat_map(|found| found.partitions());
    let offsets = parts.map(|part| (part.partition_index(), part.committed_offset()));
    Ok(Some(offsets.filter(|&(_, offset)| offset >= 0).collect()))
}
