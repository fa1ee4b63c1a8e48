//! What the connections of one core share: configuration, fetch sessions, producer ids in stock,
//! receive buffers, counters, and the clock by which connections grow old.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use klamm_model::{NodeId, ShardId};
use klamm_os::exec::{self, Notify};
use klamm_os::net::Listener;
use klamm_shard::Shards;
use klamm_shard::api::segment::DirectoryId;
use klamm_shard::data_folders::DataFolders;

use super::buffers::BufferPool;
use super::close::Close;
use super::conn::Connection;
use super::latency::{ApiTimesTaken, Latencies};
use super::pool::RequestPool;
use super::quiet::Quiet;
use super::table::ConnectionTable;
use crate::config::{Config, QuotaWindows};
use crate::fetch_sessions::{FetchSessions, SessionLimits};
use crate::handlers::{ProducerIds, h00_produce, h01_fetch, h03_metadata};
use crate::quotas::{AddressRates, CoreQuotas, QuotaTable, ThrottleMs, Windows};

/// How often the core looks at its connections' deadlines; the unit of the coarse clock.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// What boot gives to the front of one core.
#[derive(Clone, Debug)]
pub struct FrontSetup {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Id of the data folder with the metadata.
    pub directory: DirectoryId,
    /// The data folders.
    pub folders: DataFolders,
    /// The process's connections; one table for all cores.
    pub connections: Arc<ConnectionTable>,
    /// What the process's clients used of their quotas; one table for all cores.
    pub(crate) quotas: Arc<QuotaTable>,
    /// This core.
    pub shard: ShardId,
    /// Number of cores.
    pub shards: u16,
    /// Fresh randomness for session ids; another for each core.
    pub seed: u64,
}

/// Counters of the front of one core since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontCounters {
    /// Connections that began.
    pub connections_opened: u64,
    /// Connections that ended.
    pub connections_closed: u64,
    /// Connections that the broker ended against the peer's wish.
    pub connections_refused: u64,
    /// Requests that were begun.
    pub requests: u64,
    /// Produce requests that were answered, or not answered because of acks=0.
    pub produce_requests: u64,
    /// Those of them in which a partition failed.
    pub produce_requests_failed: u64,
    /// Fetch requests that were answered.
    pub fetch_requests: u64,
    /// Those of them in which a partition or the session failed.
    pub fetch_requests_failed: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes handed to the kernel.
    pub bytes_out: u64,
    /// Bytes of requests that were copied because their buffer had no room for the rest.
    pub bytes_moved: u64,
    /// Fetch sessions that exist.
    pub fetch_sessions: u64,
    /// Partitions that they remember.
    pub fetch_session_partitions: u64,
    /// Fetch sessions that had to make room for others.
    pub fetch_sessions_evicted: u64,
    /// Bytes of requests that are being read or answered.
    pub request_bytes: u64,
    /// Bytes of requests for which there is room.
    pub request_bytes_room: u64,
    /// Connections whose next request waits for room.
    pub requests_waiting: u64,
    /// Requests that are whole here and not answered.
    pub requests_open: u64,
    /// Those of them on which work has not begun.
    pub requests_queued: u64,
    /// Times that a client was told to wait because of a quota.
    pub throttles: u64,
    /// How long they were told to wait, together, in milliseconds.
    pub throttle_ms: u64,
}

/// An empty table of what clients used of their quotas.
pub(crate) fn quota_table(config: &Config) -> Arc<QuotaTable> {
    Arc::new(QuotaTable::new(
        windows_of(config.quota_windows),
        windows_of(config.controller_quota_windows),
    ))
}

fn windows_of(configured: QuotaWindows) -> Windows {
    Windows::new(configured.samples, configured.seconds)
}

/// What the connections of one core share.
pub struct FrontContext {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Id of the data folder with the metadata.
    pub(crate) directory: DirectoryId,
    /// The data folders, in the order of [`Config::data_dirs`].
    pub(crate) folders: DataFolders,
    pub(crate) table: Arc<ConnectionTable>,
    pub(crate) sessions: RefCell<FetchSessions>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) quotas: CoreQuotas,
    /// Of the addresses that connect through this core's listeners.
    pub(crate) addresses: RefCell<AddressRates>,
    /// Connections that wait to be ended because their address begins too many.
    pub(super) refused_waiting: Cell<u32>,
    pub(crate) buffers: BufferPool,
    /// What the requests of this core may hold.
    pub(crate) requests: RequestPool,
    /// What answers are written into.
    pub(crate) answer_buffers: BufferPool,
    pub(crate) metadata: h03_metadata::WholeAnswers,
    pub(crate) produce: h00_produce::Spares,
    pub(crate) fetch: h01_fetch::Spares,
    pub(crate) latencies: Latencies,
    counters: RefCell<FrontCounters>,
    /// Which lines about ended connections are written.
    pub(crate) quiet: RefCell<Quiet>,
    listeners: RefCell<Vec<Rc<Listener>>>,
    connections: RefCell<BTreeMap<usize, Rc<Connection>>>,
    tick: Cell<u64>,
    /// When it was said last that large requests wait.
    waits_said_at: Cell<Option<u64>>,
    stopping: Cell<bool>,
    /// Rung when a first connection came.
    busy: Notify,
    /// Rung when the last connection went.
    empty: Notify,
}

impl FrontContext {
    /// The front of one core.
    #[must_use]
    pub fn new(setup: FrontSetup) -> Rc<Self> {
        let FrontSetup {
            config,
            directory,
            folders,
            connections,
            quotas,
            shard,
            shards,
            seed,
        } = setup;
        let slots = usize::try_from(config.fetch.session_slots).unwrap_or(usize::MAX);
        let limits = SessionLimits::of_core(slots, shard.0.into(), shards.into());
        let request_bytes = config.sockets.requests_in_flight_bytes_max;
        let request_bytes = usize::try_from(request_bytes).unwrap_or(usize::MAX);
        let address_windows = windows_of(config.quota_windows);
        Rc::new(Self {
            config,
            directory,
            folders,
            table: connections,
            sessions: RefCell::new(FetchSessions::new(limits, seed)),
            producer_ids: ProducerIds::default(),
            quotas: CoreQuotas::new(quotas),
            addresses: RefCell::new(AddressRates::new(address_windows)),
            refused_waiting: Cell::new(0),
            buffers: BufferPool::default(),
            requests: RequestPool::new(request_bytes / usize::from(shards.max(1))),
            answer_buffers: BufferPool::default(),
            metadata: h03_metadata::WholeAnswers::default(),
            produce: h00_produce::Spares::default(),
            fetch: h01_fetch::Spares::default(),
            latencies: Latencies::default(),
            counters: RefCell::default(),
            quiet: RefCell::default(),
            listeners: RefCell::default(),
            connections: RefCell::default(),
            tick: Cell::new(0),
            waits_said_at: Cell::new(None),
            stopping: Cell::new(false),
            busy: Notify::new(),
            empty: Notify::new(),
        })
    }

    /// The node that this process is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.config.node_id
    }

    /// Name of a listener by its place in the configuration.
    #[must_use]
    pub fn listener_name(&self, listener: usize) -> &str {
        self.config
            .listeners
            .get(listener)
            .map_or("", |listener| listener.name.as_str())
    }

    /// Counters now.
    #[must_use]
    pub fn counters(&self) -> FrontCounters {
        let sessions = self.sessions.borrow();
        let connections = self.connections.borrow();
        let open = connections.values().map(|connection| connection.open());
        let (requests_open, requests_queued) = open.fold((0, 0), |(open, queued), one| {
            (open + one.0 as u64, queued + one.1 as u64)
        });
        FrontCounters {
            bytes_moved: self.buffers.moved_bytes(),
            fetch_sessions: sessions.len() as u64,
            fetch_session_partitions: sessions.partitions() as u64,
            fetch_sessions_evicted: sessions.evicted(),
            request_bytes: self.requests.held() as u64,
            request_bytes_room: self.requests.room() as u64,
            requests_waiting: self.requests.waiting() as u64,
            requests_open,
            requests_queued,
            ..*self.counters.borrow()
        }
    }

    /// Where the time of requests went, by API.
    pub(crate) fn latencies(&self) -> Vec<ApiTimesTaken> {
        self.latencies.taken()
    }

    /// Connections of this core now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.connections.borrow().len()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut FrontCounters)) {
        change(&mut self.counters.borrow_mut());
    }

    /// Counts that a client was told to wait.
    pub(crate) fn throttled(&self, throttle: ThrottleMs) {
        self.count(|counters| {
            counters.throttles += 1;
            counters.throttle_ms += u64::from(throttle.unsigned_abs());
        });
    }

    /// The coarse clock, in [`TICK`]s; stands still while there is no connection.
    pub(crate) fn tick(&self) -> u64 {
        self.tick.get()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    pub(crate) fn listen(&self, listener: &Rc<Listener>) {
        self.listeners.borrow_mut().push(Rc::clone(listener));
    }

    pub(crate) fn enter(&self, number: usize, connection: &Rc<Connection>) {
        let mut connections = self.connections.borrow_mut();
        connections.insert(number, Rc::clone(connection));
        self.busy.notify();
    }

    pub(crate) fn leave(&self, number: usize) {
        let mut connections = self.connections.borrow_mut();
        connections.remove(&number);
        if connections.is_empty() {
            self.empty.notify();
        }
    }

    /// Looks at deadlines for ever, while there are connections.
    pub(crate) async fn keep_time(self: Rc<Self>, shards: Shards) {
        loop {
            if self.connections.borrow().is_empty() {
                self.busy.notified().await;
                continue;
            }
            exec::sleep(TICK).await;
            let tick = self.tick.get() + 1;
            self.tick.set(tick);
            self.say_what_was_suppressed();
            let quotas = shards.client_quotas();
            if quotas.is_none() {
                self.quotas.forget();
            }
            for connection in self.connections.borrow().values() {
                connection.check_mute(tick, &self, quotas.as_ref());
                connection.check_deadlines(tick, &self);
            }
        }
    }

    /// One line now and then while large requests wait for each other.
    pub(crate) fn say_that_requests_wait(&self) {
        const TICKS_PER_LINE: u64 = 60;
        let tick = self.tick();
        let said_at = self.waits_said_at.get();
        if said_at.is_none_or(|at| tick >= at + TICKS_PER_LINE) {
            self.waits_said_at.set(Some(tick));
            let bytes = self.config.sockets.requests_in_flight_bytes_max;
            tracing::warn!(
                bytes,
                "large requests wait for others to end: a core's share of queued.max.request.bytes is reached"
            );
        }
    }

    fn say_what_was_suppressed(&self) {
        for (kind, times) in self.quiet.borrow_mut().tick() {
            tracing::warn!(kind, times, "more lines of this kind were left out");
        }
    }

    /// Takes no more connections and requests, answers what is under way, and closes; what is not
    /// answered within `grace` is dropped.
    pub async fn stop(&self, grace: Duration) {
        self.stopping.set(true);
        for listener in self.listeners.borrow_mut().drain(..) {
            listener.close();
        }
        for connection in self.connections.borrow().values() {
            connection.end_reading();
        }
        let deadline = exec::spawn_local(exec::sleep(grace));
        let mut deadline = std::pin::pin!(deadline);
        while !self.connections.borrow().is_empty() {
            let gone = self.empty.notified();
            if !first_of(gone, deadline.as_mut()).await {
                break;
            }
        }
        for connection in self.connections.borrow().values() {
            connection.close(Close::Stopping);
        }
        self.say_what_was_suppressed();
    }
}

/// Waits for either; true if it was the first. When both are done, the first wins.
pub(crate) async fn first_of(
    first: impl Future<Output = ()>,
    second: impl Future<Output = ()>,
) -> bool {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if first.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        second.as_mut().poll(context).map(|()| false)
    })
    .await
}
