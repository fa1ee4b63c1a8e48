//! The sockets of one machine: carries out its effects and feeds it what comes of them, polled by
//! whoever awaits a call.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_io::{AsyncRead, AsyncWrite};

use super::Runtime;
use crate::hub::LinkId;
use crate::sans_io::{Effect, SansIo};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;

struct Socket<S> {
    stream: S,
    /// To be written, in order.
    outbox: VecDeque<Bytes>,
    /// Something was written that was not flushed.
    unflushed: bool,
}

/// All sockets of one machine.
pub(super) struct Sockets<R: Runtime> {
    runtime: R,
    started: Instant,
    connecting: BTreeMap<LinkId, R::Connecting>,
    open: BTreeMap<LinkId, Socket<R::Stream>>,
    chunk: Vec<u8>,
}

impl<R: Runtime> fmt::Debug for Sockets<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sockets")
            .field("connecting", &self.connecting.len())
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Sockets<R> {
    pub(super) fn new(runtime: R) -> Self {
        Self {
            runtime,
            started: Instant::now(),
            connecting: BTreeMap::new(),
            open: BTreeMap::new(),
            chunk: vec![0; CHUNK_BYTES],
        }
    }

    /// The time as the machine counts it.
    pub(super) fn now(&self) -> klamm_model::Instant {
        klamm_model::Instant(0).plus(self.started.elapsed())
    }

    /// Lets something happen: until a socket moves, the machine's next deadline, or `wait` is over.
    pub(super) async fn turn(&mut self, machine: &mut impl SansIo, wait: Duration) {
        let now = self.now();
        machine.on_time(now);
        let due = machine.next_deadline(now);
        let rest = due.map_or(wait, |due| due.since(now).min(wait));
        let mut sleep = self.runtime.sleep(rest);
        poll_fn(|context| {
            if self.poll(machine, context) {
                return Poll::Ready(());
            }
            Pin::new(&mut sleep).poll(context)
        })
        .await;
        machine.on_time(self.now());
    }

    /// Moves what can move now, without waiting.
    pub(super) async fn nudge(&mut self, machine: &mut impl SansIo) {
        let now = self.now();
        if machine.next_deadline(now).is_some_and(|due| due <= now) {
            machine.on_time(now);
        }
        poll_fn(|context| {
            self.poll(machine, context);
            Poll::Ready(())
        })
        .await;
    }

    /// One round over all sockets; true if something moved.
    fn poll(&mut self, machine: &mut impl SansIo, context: &mut Context<'_>) -> bool {
        let mut moved = self.carry_out(machine);
        moved |= self.poll_connecting(machine, context);
        let links: Vec<LinkId> = self.open.keys().copied().collect();
        for link in links {
            // What was read may have closed others, and made more to write.
            self.carry_out(machine);
            let ended = match self.open.get_mut(&link) {
                None => continue,
                Some(socket) => match socket.poll_write(context) {
                    Ok(wrote) => {
                        moved |= wrote;
                        None
                    }
                    Err(error) => Some(format!("cannot write: {error}")),
                },
            };
            let ended = ended.or_else(|| self.poll_read(machine, link, context, &mut moved));
            if let Some(reason) = ended {
                moved = true;
                self.open.remove(&link);
                machine.on_closed(self.now(), link, &reason);
            }
        }
        // What is to be written now was not polled yet: another round.
        moved | self.carry_out(machine)
    }

    fn carry_out(&mut self, machine: &mut impl SansIo) -> bool {
        let mut moved = false;
        while let Some(effect) = machine.next_effect() {
            moved = true;
            match effect {
                Effect::Open { link, address } => {
                    self.connecting.insert(link, self.runtime.connect(&address));
                }
                Effect::Write { link, bytes } => {
                    if let Some(socket) = self.open.get_mut(&link) {
                        socket.outbox.push_back(bytes);
                    }
                }
                Effect::Close(link) => {
                    self.connecting.remove(&link);
                    self.open.remove(&link);
                }
            }
        }
        moved
    }

    fn poll_connecting(&mut self, machine: &mut impl SansIo, context: &mut Context<'_>) -> bool {
        let mut done = Vec::new();
        for (&link, connecting) in &mut self.connecting {
            if let Poll::Ready(outcome) = Pin::new(connecting).poll(context) {
                done.push((link, outcome));
            }
        }
        let moved = !done.is_empty();
        for (link, outcome) in done {
            self.connecting.remove(&link);
            match outcome {
                Ok(stream) => {
                    let socket = Socket {
                        stream,
                        outbox: VecDeque::new(),
                        unflushed: false,
                    };
                    self.open.insert(link, socket);
                    machine.on_opened(self.now(), link);
                }
                Err(error) => {
                    let reason = format!("cannot connect: {error}");
                    machine.on_closed(self.now(), link, &reason);
                }
            }
        }
        moved
    }

    /// Reads once; why the socket has ended, if it has.
    fn poll_read(
        &mut self,
        machine: &mut impl SansIo,
        link: LinkId,
        context: &mut Context<'_>,
        moved: &mut bool,
    ) -> Option<String> {
        let now = self.now();
        let socket = self.open.get_mut(&link)?;
        match Pin::new(&mut socket.stream).poll_read(context, &mut self.chunk) {
            Poll::Pending => None,
            Poll::Ready(Ok(0)) => Some("closed by the broker".to_owned()),
            Poll::Ready(Ok(count)) => {
                *moved = true;
                machine.on_bytes(now, link, &self.chunk[..count]);
                None
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {
                *moved = true;
                None
            }
            Poll::Ready(Err(error)) => Some(error.to_string()),
        }
    }
}

impl<S: AsyncWrite + AsyncRead + Unpin> Socket<S> {
    /// Writes what the socket takes; true if it took something.
    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut wrote = false;
        while let Some(bytes) = self.outbox.front_mut() {
            match Pin::new(&mut self.stream).poll_write(context, bytes) {
                Poll::Pending => return Ok(wrote),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    wrote = true;
                    self.unflushed = true;
                    bytes.advance(count);
                    if bytes.is_empty() {
                        self.outbox.pop_front();
                    }
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(wrote)
    }
}
