//! One request as plain facts, and what a handler may use to answer it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use klamm_os::exec::Notify;
use klamm_shard::Shards;
use klamm_wire::{ApiKey, Gather, Message, MessageView, RequestHeader, gather_response};

use super::close::Close;
use super::front::FrontContext;

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
}

impl Request {
    /// Takes over a frame whose header was read.
    pub(crate) fn new(frame: &Bytes, header: &RequestHeader<'_>, body: &[u8]) -> Self {
        Self {
            frame: frame.clone(),
            body_at: frame.len() - body.len(),
            key: header.key,
            version: header.version,
            correlation_id: header.correlation_id,
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
    /// It sends no more, or the broker stops: answers that wait for something should not.
    leaving: Cell<bool>,
    /// Others wait for the memory of the request that is being answered.
    hurried: Cell<bool>,
    left: Notify,
}

impl Caller {
    pub(crate) fn new(peer: SocketAddr, listener: usize) -> Self {
        Self {
            peer,
            listener,
            leaving: Cell::new(false),
            hurried: Cell::new(false),
            left: Notify::new(),
        }
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
