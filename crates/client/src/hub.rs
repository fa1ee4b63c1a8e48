//! All connections of one client as one machine: requests go in by node, connections to open and
//! bytes to write come out, bytes that arrived go in, answers come out. Owns the deadlines of
//! connections and requests; the driver owns the sockets and the clock.
//!
//! ```text
//! send() ~> next_effect() ~~> sockets ~~> on_opened(), on_bytes(), on_closed() ~> next_outcome()
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{Instant, NodeId};
use klamm_wire::Message;

use crate::connection::{Connection, ConnectionOptions, CorrelationId, Response, SendError};
use crate::metadata::{Broker, Cluster};

#[cfg(test)]
mod tests;

/// Names a connection; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What the driver shall do with sockets, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect to `host:port`; then tell [`Hub::on_opened`] or [`Hub::on_closed`].
    Open {
        /// Names the connection from now on.
        link: LinkId,
        /// Where to.
        address: String,
    },
    /// Write all of these bytes.
    Write {
        /// To this connection.
        link: LinkId,
        /// In this order.
        bytes: Bytes,
    },
    /// Close, or stop connecting; nothing needs to be told.
    Close(LinkId),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was answered.
    Answered(T, Response),
    /// It was handed to the driver, and will never be answered: Produce with `acks=0`.
    Written(T),
    /// It may or may not have been served.
    Lost(T),
    /// It never can be sent to this broker.
    Refused(T, SendError),
}

/// How long to wait, and what each connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubOptions {
    /// What each connection says and holds.
    pub connection: ConnectionOptions,
    /// Until a connection is open and its versions are known (`socket.connection.setup.timeout.ms`).
    pub connect_timeout: Duration,
    /// Until an answer (`request.timeout.ms`).
    pub request_timeout: Duration,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Which of several connections to one node a request takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// The usual one.
    #[default]
    Data,
    /// One of its own for a group's coordinator: an answer that takes a whole round to come holds
    /// up no records.
    Group,
}

/// A request on its way to the hub.
pub struct Outgoing<T> {
    /// What to remember of it.
    pub note: T,
    /// The request.
    pub request: Box<dyn Message + Send>,
    /// Highest version that can express it.
    pub version_max: i16,
    /// It will be answered.
    pub answered: bool,
    /// On which connection.
    pub lane: Lane,
    /// How much longer than [`HubOptions::request_timeout`] its answer may take.
    pub patience: Duration,
}

struct InFlight<T> {
    correlation_id: CorrelationId,
    note: T,
    deadline: Instant,
}

struct Link<T> {
    node: Option<NodeId>,
    lane: Lane,
    machine: Connection,
    opened: bool,
    /// Until when versions must be known.
    ready_by: Instant,
    queue: VecDeque<(Outgoing<T>, Instant)>,
    in_flight: VecDeque<InFlight<T>>,
}

/// The machine.
pub struct Hub<T> {
    options: HubOptions,
    bootstrap: Vec<String>,
    /// Which bootstrap address, or which broker known before, comes next.
    next_entry: usize,
    next_link: u64,
    links: BTreeMap<LinkId, Link<T>>,
    effects: VecDeque<Effect>,
    outcomes: VecDeque<Outcome<T>>,
    /// Why the last connection ended, for whoever asks why nothing works.
    last_failure: Option<String>,
}

impl<T> std::fmt::Debug for Hub<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("bootstrap", &self.bootstrap)
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

impl<T> Hub<T> {
    /// A hub that finds its cluster at these addresses (`host:port`, several separated by commas).
    #[must_use]
    pub fn new(bootstrap: &str, options: HubOptions) -> Self {
        let addresses = bootstrap.split(',').map(str::trim);
        let addresses = addresses.filter(|it| !it.is_empty()).map(str::to_owned);
        Self {
            options,
            bootstrap: addresses.collect(),
            next_entry: 0,
            next_link: 0,
            links: BTreeMap::new(),
            effects: VecDeque::new(),
            outcomes: VecDeque::new(),
            last_failure: None,
        }
    }

    /// The options given at the start.
    #[must_use]
    pub const fn options(&self) -> &HubOptions {
        &self.options
    }

    /// Why the last connection ended, in words.
    #[must_use]
    pub fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Sends a request to a node, or to any broker; a connection is opened where there is none.
    pub fn send(
        &mut self,
        now: Instant,
        node: Option<NodeId>,
        cluster: &Cluster,
        out: Outgoing<T>,
    ) {
        let same = |it: &Link<T>| it.node == node && it.lane == out.lane;
        let found = self.links.iter().find(|(_, it)| same(it));
        let link = match found {
            Some((&link, _)) => link,
            None => {
                let Some(address) = self.address(node, cluster) else {
                    self.outcomes.push_back(Outcome::Lost(out.note));
                    return;
                };
                self.open(now, (node, out.lane), address)
            }
        };
        let deadline = now.plus(self.options.request_timeout + out.patience);
        let it = self.links.get_mut(&link).expect("just found or opened");
        it.queue.push_back((out, deadline));
        self.write(link);
    }

    /// Where to connect to; for any broker each known address in its turn.
    fn address(&mut self, node: Option<NodeId>, cluster: &Cluster) -> Option<String> {
        if let Some(node) = node {
            return cluster.broker(node).map(ToString::to_string);
        }
        let known = cluster.brokers().map(Broker::to_string);
        let all: Vec<String> = self.bootstrap.iter().cloned().chain(known).collect();
        let at = self.next_entry.checked_rem(all.len())?;
        self.next_entry = at + 1;
        all.get(at).cloned()
    }

    fn open(
        &mut self,
        now: Instant,
        (node, lane): (Option<NodeId>, Lane),
        address: String,
    ) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(
            link,
            Link {
                node,
                lane,
                machine: Connection::new(&self.options.connection),
                opened: false,
                ready_by: now.plus(self.options.connect_timeout),
                queue: VecDeque::new(),
                in_flight: VecDeque::new(),
            },
        );
        self.effects.push_back(Effect::Open { link, address });
        link
    }

    /// Puts what waits into the connection's machine, and its bytes into the effects.
    fn write(&mut self, link: LinkId) {
        let Some(it) = self.links.get_mut(&link) else {
            return;
        };
        while it.machine.is_ready()
            && let Some((out, deadline)) = it.queue.pop_front()
        {
            let sent = if out.answered {
                it.machine.send_up_to(&*out.request, out.version_max)
            } else {
                it.machine.send_unanswered(&*out.request, out.version_max)
            };
            match sent {
                Ok(correlation_id) if out.answered => it.in_flight.push_back(InFlight {
                    correlation_id,
                    note: out.note,
                    deadline,
                }),
                Ok(_) => self.outcomes.push_back(Outcome::Written(out.note)),
                Err(SendError::Busy) => {
                    it.queue.push_front((out, deadline));
                    break;
                }
                Err(error) => self.outcomes.push_back(Outcome::Refused(out.note, error)),
            }
        }
        if it.opened
            && let Some(bytes) = it.machine.take_output()
        {
            self.effects.push_back(Effect::Write { link, bytes });
        }
    }

    /// A connection is open.
    pub fn on_opened(&mut self, link: LinkId) {
        if let Some(it) = self.links.get_mut(&link) {
            it.opened = true;
            self.write(link);
        }
    }

    /// Bytes arrived, in pieces of any size.
    pub fn on_bytes(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(it) = self.links.get_mut(&link) else {
            return;
        };
        let taken = it.machine.on_input(bytes);
        while let Some(response) = it.machine.next_response() {
            // The machine lets nothing pass but the oldest request's answer.
            if let Some(sent) = it.in_flight.pop_front() {
                assert_eq!(sent.correlation_id, response.correlation_id, "in order");
                let answered = Outcome::Answered(sent.note, response);
                self.outcomes.push_back(answered);
            }
        }
        match taken {
            Ok(()) => self.write(link),
            Err(error) => self.drop_link(link, &error.to_string()),
        }
    }

    /// A connection could not be opened, or ended.
    pub fn on_closed(&mut self, link: LinkId, reason: &str) {
        if let Some(it) = self.links.remove(&link) {
            self.lose(it, reason);
        }
    }

    fn drop_link(&mut self, link: LinkId, reason: &str) {
        if let Some(it) = self.links.remove(&link) {
            self.effects.push_back(Effect::Close(link));
            self.lose(it, reason);
        }
    }

    fn lose(&mut self, link: Link<T>, reason: &str) {
        self.last_failure = Some(reason.to_owned());
        let sent = link.in_flight.into_iter().map(|it| it.note);
        let queued = link.queue.into_iter().map(|(out, _)| out.note);
        let lost = sent.chain(queued).map(Outcome::Lost);
        self.outcomes.extend(lost);
    }

    /// Ends connections that did not open, and those that owe an answer, in time.
    pub fn on_time(&mut self, now: Instant) {
        let late = |it: &Link<T>| due(it) <= Some(now) && due(it).is_some();
        let late = self.links.iter().filter(|(_, it)| late(it));
        let late: Vec<LinkId> = late.map(|(&link, _)| link).collect();
        for link in late {
            self.drop_link(link, "no answer in time");
        }
    }

    /// When [`on_time`](Self::on_time) will have something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(due).min()
    }

    /// What the driver shall do next.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What came of a request.
    pub fn next_outcome(&mut self) -> Option<Outcome<T>> {
        self.outcomes.pop_front()
    }
}

/// When a connection has failed.
fn due<T>(link: &Link<T>) -> Option<Instant> {
    let opening = (!link.machine.is_ready()).then_some(link.ready_by);
    let answer = link.in_flight.front().map(|it| it.deadline);
    let queued = link.queue.front().map(|(_, deadline)| *deadline);
    [opening, answer, queued].into_iter().flatten().min()
}
