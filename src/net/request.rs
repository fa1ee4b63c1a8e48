//! One request as plain facts, and what a handler may use to answer it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::Instant;
use klamm_os::exec::Notify;
use klamm_shard::Shards;
use klamm_shard::api::metadata::Command;
use klamm_wire::{ApiKey, Gather, Message, MessageView, RequestHeader, gather_response};

use super::close::Close;
use super::front::FrontContext;
use super::meter::{self, Work};
use super::software::ClientSoftware;
use crate::quotas::{ClientLimits, ThrottleMs};

/// A request whose header was read and whose version is served.
#[derive(Clone, Debug)]
pub struct Request {
    frame: Bytes,
    body_at: usize,
    /// API asked for.
    pub key: ApiKey,
    /// Version asked for.
    pub version: i16,
    /// Chosen by the client, repeated in the answer.
    pub correlation_id: i32,
    /// What its client is held to.
    pub(crate) limits: Option<Rc<ClientLimits>>,
}

impl Request {
    /// Takes over a frame whose header was read.
    pub(crate) fn new(
        frame: &Bytes,
        header: &RequestHeader<'_>,
        body: &[u8],
        limits: Option<Rc<ClientLimits>>,
    ) -> Self {
        Self {
            frame: frame.clone(),
            body_at: frame.len() - body.len(),
            key: header.key,
            version: header.version,
            correlation_id: header.correlation_id,
            limits,
        }
    }

    /// The whole frame; views of the body borrow from it.
    #[must_use]
    pub const fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// Name that the client gives itself.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        RequestHeader::parse(&self.frame)
            .ok()
            .and_then(|(header, _)| header.client_id)
    }

    /// Reads the body. Bytes behind it are ignored, as Kafka does.
    ///
    /// # Errors
    /// The body breaks the encoding.
    pub fn body<'a, V: MessageView<'a>>(&'a self) -> Result<V, Close> {
        self.body_as(self.version)
    }

    /// Reads the body in another version than the header's.
    pub(crate) fn body_as<'a, V: MessageView<'a>>(&'a self, version: i16) -> Result<V, Close> {
        let body = &self.frame[self.body_at..];
        match V::parse_prefix(body, version) {
            Ok((view, _)) => Ok(view),
            Err(fault) => Err(Close::Body {
                key: self.key,
                version: self.version,
                fault,
            }),
        }
    }

    /// Writes the answer, record bytes by reference.
    ///
    /// # Errors
    /// The message cannot be expressed in the request's version.
    pub fn answer(&self, message: &dyn Message) -> Result<Gather, Close> {
        self.answer_as(message, self.version)
    }

    /// Writes the answer in another version than the request's.
    pub(crate) fn answer_as(&self, message: &dyn Message, version: i16) -> Result<Gather, Close> {
        let mut out = Gather::new();
        encode(message, self.key, version, self.correlation_id, &mut out)?;
        Ok(out)
    }

    /// A request that no client would send.
    pub(crate) fn refuse(&self, what: &'static str, found: impl Into<i64>) -> Close {
        Close::Value {
            key: self.key,
            what,
            found: found.into(),
        }
    }
}

/// Writes an answer behind what `out` holds, record bytes by reference.
fn encode(
    message: &dyn Message,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    out: &mut Gather,
) -> Result<(), Close> {
    gather_response(message, version, correlation_id, out).map_err(|fault| Close::Encode {
        key,
        version,
        fault,
    })
}

/// The other end of a connection, for handlers.
pub struct Caller {
    /// Its address.
    pub peer: SocketAddr,
    /// The listener that it came through, by its place in the configuration.
    pub listener: usize,
    /// What it speaks Kafka with, as it said last.
    software: Cell<ClientSoftware>,
    /// It sends no more, or the broker stops: answers that wait for something should not.
    leaving: Cell<bool>,
    /// Others wait for the memory of the request that is being answered.
    hurried: Cell<bool>,
    left: Notify,
    /// Until when no more of its requests begin (KIP-219), and until when those that wait behind
    /// another do not.
    muted_until: Cell<Instant>,
    held_until: Cell<Instant>,
    /// The limits that it used up.
    muted_by: RefCell<Option<Rc<ClientLimits>>>,
    /// Work on the answer that is due, where its cost counts.
    pub(super) work: Cell<Option<Work>>,
}

impl Caller {
    pub(crate) fn new(peer: SocketAddr, listener: usize) -> Self {
        Self {
            peer,
            listener,
            software: Cell::default(),
            leaving: Cell::new(false),
            hurried: Cell::new(false),
            left: Notify::new(),
            muted_until: Cell::new(Instant(0)),
            held_until: Cell::new(Instant(0)),
            muted_by: RefCell::default(),
            work: Cell::new(None),
        }
    }

    /// What it speaks Kafka with.
    #[must_use]
    pub const fn software(&self) -> ClientSoftware {
        self.software.get()
    }

    /// It says what it speaks Kafka with.
    pub(crate) fn introduce(&self, software: ClientSoftware) {
        self.software.set(software);
    }

    pub(crate) fn leave(&self) {
        self.leaving.set(true);
        self.left.notify();
    }

    /// The request that is being answered should not wait for more.
    pub(crate) fn hurry(&self) {
        self.hurried.set(true);
        self.left.notify();
    }

    /// It is used up what its client may use: nothing more is read from it for a while.
    pub(crate) fn mute(&self, now: Instant, throttle: ThrottleMs, by: &Rc<ClientLimits>) {
        if throttle == 0 {
            return;
        }
        *self.muted_by.borrow_mut() = Some(Rc::clone(by));
        let rest = Duration::from_millis(throttle.unsigned_abs().into());
        let until = now.plus(rest).max(self.muted_until.get());
        self.muted_until.set(until);
    }

    /// As [`mute`](Self::mute), and what waits behind the answer that is due does not begin either.
    pub(crate) fn hold(&self, now: Instant, throttle: ThrottleMs, by: &Rc<ClientLimits>) {
        self.mute(now, throttle, by);
        self.held_until.set(self.muted_until.get());
    }

    /// Ends a mute whose limits are not those of its client any more; true if it did. What the
    /// client has used, its next request tells.
    pub(super) fn unmute_if(&self, changed: impl FnOnce(&ClientLimits) -> bool) -> bool {
        let mut by = self.muted_by.borrow_mut();
        if !by.as_deref().is_some_and(changed) {
            return false;
        }
        *by = None;
        self.muted_until.set(Instant(0));
        self.held_until.set(Instant(0));
        true
    }

    /// How long nothing is read from it yet.
    pub(super) fn muted_for(&self) -> Option<Duration> {
        rest_of(&self.muted_until)
    }

    /// How long no request that waits behind another begins yet.
    pub(super) fn held_for(&self) -> Option<Duration> {
        rest_of(&self.held_until)
    }

    /// The next request may wait again.
    pub(crate) fn is_answered(&self) {
        self.hurried.set(false);
    }

    /// True if an answer should not wait: nobody will ask more on this connection, or others wait
    /// for what the request holds.
    pub(crate) fn is_pressed(&self) -> bool {
        self.leaving.get() || self.hurried.get()
    }

    /// Waits until [`Self::is_pressed`]. Only the answer that is due may wait for this.
    pub(crate) async fn pressed(&self) {
        while !self.is_pressed() {
            self.left.notified().await;
        }
    }
}

/// The time until then, if that is not over. Looks at the clock only where there is a time.
fn rest_of(until: &Cell<Instant>) -> Option<Duration> {
    if until.get() == Instant(0) {
        return None;
    }
    let now = meter::now();
    if now < until.get() {
        return Some(until.get().since(now));
    }
    until.set(Instant(0));
    None
}

/// What a client may still change of the metadata (KIP-599).
#[derive(Clone, Debug)]
pub(crate) struct Mutations {
    limits: Option<Rc<ClientLimits>>,
    /// New versions are refused what is too much; old ones wait.
    strict: bool,
}

impl Mutations {
    /// Of the client of a request, whose versions from this one on can be refused.
    pub(crate) fn of(request: &Request, first_strict: i16) -> Self {
        Self {
            limits: request.limits.clone(),
            strict: request.version >= first_strict,
        }
    }

    /// The command as far as it is allowed.
    pub(crate) fn within(&self, command: Command) -> Command {
        let limits = self.limits.as_ref().filter(|_| self.strict);
        match limits.and_then(|limits| limits.mutations_left(meter::now())) {
            None => command,
            Some(mutations) => Command::Within {
                mutations,
                command: Box::new(command),
            },
        }
    }

    /// Counts the partitions that were changed. How long the client has to wait: new versions only
    /// if something was `refused`.
    pub(crate) fn charge(&self, context: &Context, partitions: usize, refused: bool) -> ThrottleMs {
        let Some(limits) = &self.limits else {
            return 0;
        };
        let now = meter::now();
        let throttle = limits.mutate(now, partitions as u64);
        if throttle == 0 || (self.strict && !refused) {
            return 0;
        }
        context.front.throttled(throttle);
        context.caller.hold(now, throttle, limits);
        throttle
    }
}

/// What a handler may use.
#[derive(Clone)]
pub struct Context {
    /// The cores.
    pub shards: Shards,
    /// The front of this core.
    pub front: Rc<FrontContext>,
    /// Who asks.
    pub caller: Rc<Caller>,
}

impl Context {
    /// Writes an answer into a buffer of this core, record bytes by reference.
    ///
    /// # Errors
    /// The message cannot be expressed in this version.
    pub(crate) fn encode(
        &self,
        message: &dyn Message,
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        out: &mut Gather,
    ) -> Result<(), Close> {
        if out.room() == 0 {
            out.lend(self.front.answer_buffers.take());
        }
        encode(message, key, version, correlation_id, out)
    }

    /// What the client of this name is held to.
    pub(crate) fn limits(&self, client_id: Option<&str>) -> Option<Rc<ClientLimits>> {
        let quotas = self.shards.client_quotas()?;
        let client = client_id.unwrap_or_default();
        self.front.quotas.limits(&quotas, client, meter::now())
    }

    /// How long the client has to wait for what the answer that is due has cost, if that counts.
    /// Asked once, by who tells the client.
    pub(crate) fn charge_work(&self, limits: Option<&Rc<ClientLimits>>) -> ThrottleMs {
        let (Some(work), Some(limits)) = (self.caller.work.take(), limits) else {
            return 0;
        };
        let now = meter::now();
        limits.work(now, work.cost_ns(now))
    }

    /// The listener that the request came through, by its place in the configuration.
    pub(crate) fn listener(&self) -> usize {
        self.caller.listener
    }

    /// Name of the listener that the request came through.
    #[must_use]
    pub fn listener_name(&self) -> &str {
        self.front.listener_name(self.caller.listener)
    }
}
