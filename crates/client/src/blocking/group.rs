//! A member of a group on std: a thread keeps the membership, the connections and the fetches
//! going while the program works on what it was handed; the program's calls wait where they are.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use klamm_model::{Offset, TopicName};

use super::wall_time;
use crate::fetcher::StartAt;
use crate::group::{CommitError, CommitId, CommittedOffset, GroupEvent, GroupOptions};
use crate::hub::{Effect, HubOptions, LinkId};
use crate::metadata::PartitionName;
use crate::sans_io::{SansIo, SansIoGroupConsumer};

/// Arrivals that wait for the thread; above it the reading threads wait.
const ARRIVALS_MAX: usize = 64;

/// Bytes of one arrival.
const CHUNK_BYTES: usize = 256 * 1024;

/// Longest sleep of the thread.
const TURN_MAX: Duration = Duration::from_secs(1);

enum Arrival {
    Opened(LinkId, TcpStream),
    Bytes(LinkId, Vec<u8>),
    Closed(LinkId, String),
    /// The program did something: look again.
    Wake,
}

/// What the program and the thread share.
struct Shared {
    state: Mutex<State>,
    /// Something happened.
    moved: Condvar,
    started: Instant,
    sender: SyncSender<Arrival>,
    hub: HubOptions,
}

struct State {
    machine: SansIoGroupConsumer,
    sockets: BTreeMap<LinkId, TcpStream>,
    /// The program is gone.
    dropped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A state that a panic left behind is no worse than the panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time as the machine counts it.
    fn now(&self) -> klamm_model::Instant {
        klamm_model::Instant(0).plus(self.started.elapsed())
    }

    /// Carries out what the machine wants done with sockets; true if it wanted something.
    fn carry_out(&self, state: &mut State) -> bool {
        let mut moved = false;
        while let Some(effect) = state.machine.next_effect() {
            moved = true;
            match effect {
                Effect::Open { link, address } => self.open(link, address),
                Effect::Close(link) => close(state.sockets.remove(&link)),
                Effect::Write { link, bytes } => {
                    let Some(socket) = state.sockets.get_mut(&link) else {
                        continue;
                    };
                    if let Err(error) = socket.write_all(&bytes) {
                        close(state.sockets.remove(&link));
                        let reason = format!("cannot write: {error}");
                        state.machine.on_closed(self.now(), link, &reason);
                    }
                }
            }
        }
        moved
    }

    /// Connects and reads on a thread of its own.
    fn open(&self, link: LinkId, address: String) {
        let sender = self.sender.clone();
        let hub = self.hub.clone();
        let named = thread::Builder::new().name(format!("read {address}"));
        let spawned = named.spawn(move || read_until_closed(link, &address, &hub, &sender));
        if let Err(error) = spawned {
            let reason = format!("cannot start a thread: {error}");
            let _ = self.sender.try_send(Arrival::Closed(link, reason));
        }
    }

    fn take(&self, state: &mut State, arrival: Arrival) {
        let now = self.now();
        match arrival {
            Arrival::Opened(link, socket) => {
                state.sockets.insert(link, socket);
                state.machine.on_opened(now, link);
            }
            Arrival::Bytes(link, bytes) => state.machine.on_bytes(now, link, &bytes),
            Arrival::Closed(link, reason) => {
                close(state.sockets.remove(&link));
                state.machine.on_closed(now, link, &reason);
            }
            Arrival::Wake => {}
        }
    }
}

fn close(socket: Option<TcpStream>) {
    if let Some(socket) = socket {
        // The peer may have closed already; the reading thread ends in either case.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

fn connect(address: &str, hub: &HubOptions) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, hub.connect_timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(hub.request_timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_until_closed(link: LinkId, address: &str, hub: &HubOptions, sender: &SyncSender<Arrival>) {
    let opened = connect(address, hub).and_then(|stream| Ok((stream.try_clone()?, stream)));
    let (writing, mut reading) = match opened {
        Ok(both) => both,
        Err(error) => {
            let reason = format!("cannot connect to {address}: {error}");
            // The consumer may be gone; then nobody wants to know.
            let _ = sender.send(Arrival::Closed(link, reason));
            return;
        }
    };
    if sender.send(Arrival::Opened(link, writing)).is_err() {
        return;
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let arrival = match reading.read(&mut chunk) {
            Ok(0) => Arrival::Closed(link, "closed by the broker".to_owned()),
            Ok(count) => Arrival::Bytes(link, chunk[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Arrival::Closed(link, error.to_string()),
        };
        let last = matches!(arrival, Arrival::Closed(..));
        if sender.send(arrival).is_err() || last {
            return;
        }
    }
}

/// Keeps the machine going until the program is gone.
fn run(shared: &Shared, arrivals: &Receiver<Arrival>) {
    loop {
        let wait = {
            let mut state = shared.lock();
            let now = shared.now();
            state.machine.on_time(now);
            shared.carry_out(&mut state);
            shared.moved.notify_all();
            if state.dropped {
                let sockets = std::mem::take(&mut state.sockets);
                sockets.into_values().for_each(|socket| close(Some(socket)));
                return;
            }
            let due = state.machine.next_deadline(now);
            due.map_or(TURN_MAX, |due| due.since(now).min(TURN_MAX))
        };
        match arrivals.recv_timeout(wait) {
            Ok(arrival) => {
                let mut state = shared.lock();
                shared.take(&mut state, arrival);
                for arrival in arrivals.try_iter().take(ARRIVALS_MAX) {
                    shared.take(&mut state, arrival);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// A consumer that is a member of a group. It has a thread, so that the membership is kept while
/// the program works on what it was handed, for up to `max.poll.interval.ms`.
///
/// [`close`](Self::close) it to commit and to leave; one that is dropped leaves nothing behind but
/// a membership that ends with `session.timeout.ms`.
pub struct BlockingGroupConsumer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// What became of commits, until somebody asks.
    done: VecDeque<(CommitId, Result<(), CommitError>)>,
}

impl std::fmt::Debug for BlockingGroupConsumer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.lock();
        state.machine.fmt(formatter)
    }
}

impl BlockingGroupConsumer {
    /// A member for the cluster at these addresses (`host:port`, several separated by commas) that
    /// reads these topics. It joins when the first event is asked for.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn new(
        bootstrap: &str,
        hub: HubOptions,
        options: GroupOptions,
        topics: impl IntoIterator<Item = TopicName>,
    ) -> io::Result<Self> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = since_epoch.map_or(0, |time| time.as_nanos() as u64);
        let seed = seed ^ u64::from(std::process::id()).rotate_left(32);
        let (sender, arrivals) = sync_channel(ARRIVALS_MAX);
        let beginning = (wall_time(), seed);
        let machine = SansIoGroupConsumer::new(bootstrap, hub.clone(), options, topics, beginning);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                machine,
                sockets: BTreeMap::new(),
                dropped: false,
            }),
            moved: Condvar::new(),
            started: Instant::now(),
            sender,
            hub,
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("group member".to_owned())
            .spawn(move || run(&of_thread, &arrivals))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            done: VecDeque::new(),
        })
    }

    /// Lets the machine do something, and carries out what comes of it.
    fn with<T>(&self, act: impl FnOnce(&mut SansIoGroupConsumer, klamm_model::Instant) -> T) -> T {
        let mut state = self.shared.lock();
        let now = self.shared.now();
        let result = act(&mut state.machine, now);
        self.flush(&mut state);
        result
    }

    fn flush(&self, state: &mut State) {
        if self.shared.carry_out(state) {
            // Deadlines may be others now. A thread that has much to do looks by itself.
            let _ = self.shared.sender.try_send(Arrival::Wake);
        }
    }

    /// Waits until `ask` has an answer, at most so long.
    fn wait_for<T>(
        &self,
        wait: Duration,
        mut ask: impl FnMut(&mut SansIoGroupConsumer, klamm_model::Instant) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + wait;
        let mut state = self.shared.lock();
        loop {
            let now = self.shared.now();
            let answer = ask(&mut state.machine, now);
            self.flush(&mut state);
            let left = until.saturating_duration_since(Instant::now());
            if answer.is_some() || left.is_zero() {
                return answer;
            }
            let waited = self.shared.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What comes next, waiting at most so long: everything that was handed out before counts as
    /// worked on. `None` at once where the membership is over.
    pub fn next_event(&mut self, wait: Duration) -> Option<GroupEvent> {
        self.wait_for(wait, |machine, now| match machine.next_event(now) {
            None if machine.is_closed() => Some(None),
            None => None,
            event => Some(event),
        })
        .flatten()
    }

    /// Events that are there, at most so many; waits at most so long for the first. All of them
    /// count as worked on when the next are asked for.
    pub fn poll(&mut self, wait: Duration, events_max: usize) -> Vec<GroupEvent> {
        let mut events: Vec<GroupEvent> = self.next_event(wait).into_iter().collect();
        while !events.is_empty() && events.len() < events_max {
            match self.with(SansIoGroupConsumer::next_of_turn) {
                Some(event) => events.push(event),
                None => break,
            }
        }
        events
    }

    /// Commits everything that was handed out, and waits until it is kept.
    ///
    /// # Errors
    /// [`CommitError`]; nothing was committed, or that is unknown.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        let id = self.begin_commit();
        self.finish_commit(id)
    }

    /// Commits these offsets, and waits until they are kept.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_offsets(
        &mut self,
        offsets: BTreeMap<PartitionName, CommittedOffset>,
    ) -> Result<(), CommitError> {
        let id = self.begin_commit_offsets(offsets);
        self.finish_commit(id)
    }

    /// Commits everything that was handed out, without waiting; what became of it comes by
    /// [`next_commit`](Self::next_commit).
    pub fn begin_commit(&mut self) -> CommitId {
        self.with(SansIoGroupConsumer::commit)
    }

    /// Commits these offsets, without waiting.
    pub fn begin_commit_offsets(
        &mut self,
        offsets: BTreeMap<PartitionName, CommittedOffset>,
    ) -> CommitId {
        self.with(|machine, now| machine.commit_offsets(now, offsets))
    }

    /// What became of commits that were begun, in order; never waits.
    pub fn next_commit(&mut self) -> Option<(CommitId, Result<(), CommitError>)> {
        while let Some(done) = self.with(|machine, _| machine.next_commit()) {
            self.done.push_back(done);
        }
        self.done.pop_front()
    }

    fn finish_commit(&mut self, wanted: CommitId) -> Result<(), CommitError> {
        let limit = self.with(|machine, _| machine.options().commit_timeout);
        let mut others = Vec::new();
        let found = self.wait_for(limit, |machine, _| {
            while let Some((id, outcome)) = machine.next_commit() {
                if id == wanted {
                    return Some(outcome);
                }
                others.push((id, outcome));
            }
            None
        });
        self.done.extend(others);
        found.unwrap_or(Err(CommitError::Timeout(limit)))
    }

    /// The partitions that are this member's, in the order of their names.
    pub fn assignment(&self) -> Vec<PartitionName> {
        self.with(|machine, _| machine.assignment().cloned().collect())
    }

    /// True if this member has its assignment and no round goes on.
    pub fn is_stable(&self) -> bool {
        self.with(|machine, _| machine.is_stable())
    }

    /// This member's id; empty until the coordinator has given one.
    pub fn member_id(&self) -> String {
        self.with(|machine, _| machine.member_id().to_owned())
    }

    /// The offset of the next record of a partition; `None` while it has to be found.
    pub fn position(&self, partition: &PartitionName) -> Option<Offset> {
        self.with(|machine, _| machine.position(partition))
    }

    /// Records between the position and the end that the leader told last.
    pub fn lag(&self, partition: &PartitionName) -> Option<u64> {
        self.with(|machine, _| machine.lag(partition))
    }

    /// Reads a partition that is this member's from here on. False if it is not.
    pub fn seek(&mut self, partition: &PartitionName, start: impl Into<StartAt>) -> bool {
        self.with(|machine, now| machine.seek(now, partition, start))
    }

    /// Hands out nothing of a partition until it is resumed; it stays this member's. False if it
    /// is not read.
    pub fn pause(&mut self, partition: &PartitionName) -> bool {
        self.with(|machine, _| machine.pause(partition))
    }

    /// Goes on with a partition. False if it is not read.
    pub fn resume(&mut self, partition: &PartitionName) -> bool {
        self.with(|machine, now| machine.resume(now, partition))
    }

    /// Why the last connection ended, in words.
    pub fn last_failure(&self) -> Option<String> {
        self.with(|machine, _| machine.last_failure().map(str::to_owned))
    }

    /// Commits what was handed out, if that happens by itself, and leaves the group; waits at most
    /// so long. True if that was done.
    pub fn close(self, wait: Duration) -> bool {
        self.with(SansIoGroupConsumer::close);
        self.wait_for_end(wait)
    }

    /// The same for a program that gives up: what was handed out last is not committed.
    pub fn leave(self, wait: Duration) -> bool {
        self.with(SansIoGroupConsumer::leave);
        self.wait_for_end(wait)
    }

    fn wait_for_end(&self, wait: Duration) -> bool {
        let closed = self.wait_for(wait, |machine, _| machine.is_closed().then_some(()));
        closed.is_some()
    }
}

impl Drop for BlockingGroupConsumer {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        let _ = self.shared.sender.try_send(Arrival::Wake);
        if let Some(thread) = self.thread.take() {
            // One that panicked has told so.
            let _ = thread.join();
        }
    }
}
