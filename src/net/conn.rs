//! One connection: a loop that reads frames and begins their work in order, and a loop that sends
//! the answers in the same order. Owner of the queue between them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_os::clock;
use klamm_os::exec::{self, Notify};
use klamm_os::net::{Socket, Stream};
use klamm_shard::Shards;
use klamm_shard::api::metadata::ClientQuotas;
use klamm_wire::frame::SIZE_PREFIX;
use klamm_wire::{ApiKey, FrameLimits, Gather, RequestHeader};

use super::answers::Answer;
use super::buffers::{LARGE_BYTES, bytes_to_read};
use super::close::Close;
use super::front::{FrontContext, TICK, first_of};
use super::latency::Moments;
use super::meter::{self, Meter};
use super::pool::SMALL_BYTES;
use super::request::{Caller, Context};
use crate::dispatch::dispatch;

/// Requests of one connection that may be under way; no more are read beyond (A48).
const REQUESTS_MAX: usize = 64;

/// Bytes of requests of one connection that may be under way, unless it is a single one.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Answers are sent when they are this many bytes, even if more are ready.
const SEND_BYTES: usize = 1024 * 1024;

/// A peer that takes less than one piece of this many bytes in [`BLOCKED_TICKS_MAX`] is cut off.
const SLOW_PIECE_BYTES: usize = 1024 * 1024;

/// Answers are sent when collecting them has taken this long, and the others of the core come in
/// between.
const COLLECT_NS_MAX: u64 = 500_000;

/// How long the peer may take no answers (A48).
const BLOCKED_TICKS_MAX: u64 = 60;

/// How long what a peer sent before it left waits at most for its quota.
const LEFT_TICKS_MAX: u64 = 60;

/// How long a frame may take to arrive (A4), and how many bytes earn one tick more.
const FRAME_TICKS_MAX: u64 = 30;
const FRAME_BYTES_PER_TICK: usize = 16 * 1024;

/// The same while others wait for the memory that the frame may take.
const CONTENDED_BYTES_PER_TICK: usize = 1024 * 1024;
const CONTENDED_SILENCE_TICKS_MAX: u64 = 5;

/// One connection, shared by its two loops and by the clock.
pub(crate) struct Connection {
    stream: Stream,
    caller: Rc<Caller>,
    queue: RefCell<VecDeque<Queued>>,
    /// Requests under way and their bytes: those in the queue and the one being answered.
    requests: Cell<usize>,
    request_bytes: Cell<usize>,
    barriers: Cell<usize>,
    /// Requests that are whole here and whose work has not begun.
    queued: Cell<usize>,
    /// Rung for the writer: there is an answer, or reading is over, or a deadline passed.
    answers: Notify,
    /// Rung for the reader: there is room again.
    room: Notify,
    reading_over: Cell<bool>,
    closed: RefCell<Option<Close>>,
    /// When the last frame came, when the present one began and what of it is here, and since
    /// when the peer takes no answers; all by the coarse clock.
    frame_at: Cell<u64>,
    partial: Cell<Option<(u64, usize)>>,
    /// When bytes came last.
    read_at: Cell<u64>,
    /// Bytes of the present frame that count in the core's pool before they are here.
    claimed: Cell<usize>,
    /// The present frame waits for room in that pool.
    waits_for_pool: Cell<bool>,
    blocked_since: Cell<Option<u64>>,
    /// Since when a muted peer is known to send no more.
    left_since: Cell<Option<u64>>,
    answer_due_at: Cell<Option<u64>>,
    client_noted: Cell<bool>,
    client_id: RefCell<Option<Box<str>>>,
}

struct Queued {
    answer: Answer,
    moments: Moments,
    /// Work on it has begun.
    has_begun: bool,
    bytes: usize,
    /// Where what it costs counts.
    meter: Option<Meter>,
}

impl Queued {
    fn poll(
        &mut self,
        caller: &Caller,
        front: &FrontContext,
        task: &mut TaskContext<'_>,
        out: &mut Gather,
    ) -> Poll<Result<(), Close>> {
        match &mut self.meter {
            None => self.answer.poll(task, front.tick(), out),
            Some(meter) => meter.poll(&mut self.answer, front, caller, task, out),
        }
    }
}

/// Serves the connections that are handed to this core, until the core ends.
pub async fn serve_connections(shards: Shards, front: Rc<FrontContext>) {
    exec::spawn_local(Rc::clone(&front).keep_time(shards.clone())).detach();
    loop {
        let (socket, number) = shards.next_connection().await;
        let Some(admitted) = front.table.get(number) else {
            continue;
        };
        if front.is_stopping() {
            front.table.release(number);
            shards.connection_over();
            continue;
        }
        let caller = Rc::new(Caller::new(admitted.peer, admitted.listener));
        let context = Context {
            shards: shards.clone(),
            front: Rc::clone(&front),
            caller,
        };
        exec::spawn_local(run(socket, number, context)).detach();
    }
}

async fn run(socket: Socket, number: usize, context: Context) {
    let front = Rc::clone(&context.front);
    let connection = Rc::new(Connection::new(socket, &context));
    front.enter(number, &connection);
    front.count(|counters| counters.connections_opened += 1);
    let writer = exec::spawn_local(write_loop(Rc::clone(&connection), Rc::clone(&front)));
    // What ends the reading is said after everything before it was answered.
    let read = read_loop(&connection, &context).await;
    connection.reading_over.set(true);
    context.caller.leave();
    connection.answers.notify();
    writer.await;
    connection.stream.close();
    if connection.claimed.get() > 0 {
        front.requests.release(connection.claimed.get());
    }
    for queued in connection.queue.borrow_mut().drain(..) {
        front.requests.release(queued.bytes);
    }
    front.leave(number);
    front.table.release(number);
    context.shards.connection_over();
    front.count(|counters| counters.connections_closed += 1);
    let closed = connection.closed.borrow_mut().take();
    if let Some(reason) = closed.or_else(|| read.err()) {
        connection.log_end(&front, &reason);
    }
}

impl Connection {
    fn new(socket: Socket, context: &Context) -> Self {
        Self {
            stream: Stream::from_socket(socket),
            caller: Rc::clone(&context.caller),
            queue: RefCell::default(),
            requests: Cell::new(0),
            request_bytes: Cell::new(0),
            barriers: Cell::new(0),
            queued: Cell::new(0),
            answers: Notify::new(),
            room: Notify::new(),
            reading_over: Cell::new(false),
            closed: RefCell::default(),
            frame_at: Cell::new(context.front.tick()),
            partial: Cell::new(None),
            read_at: Cell::new(context.front.tick()),
            claimed: Cell::new(0),
            waits_for_pool: Cell::new(false),
            blocked_since: Cell::new(None),
            left_since: Cell::new(None),
            answer_due_at: Cell::new(None),
            client_noted: Cell::new(false),
            client_id: RefCell::default(),
        }
    }

    /// Ends the connection at once; answers under way are dropped.
    pub(crate) fn close(&self, reason: Close) {
        self.closed.borrow_mut().get_or_insert(reason);
        self.stream.close();
        self.caller.leave();
        self.answers.notify();
        self.room.notify();
    }

    fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }

    /// Reads no more; what is under way is answered.
    pub(crate) fn end_reading(&self) {
        // Wakes a reader that waits for bytes; an error means that the peer is gone already.
        drop(self.stream.shutdown(Shutdown::Read));
        self.caller.leave();
        self.room.notify();
        // Nobody is held any longer.
        self.answers.notify();
    }

    /// Looks whether a peer that has to wait for its quota still has to, and is still there.
    pub(crate) fn check_mute(
        &self,
        tick: u64,
        front: &FrontContext,
        quotas: Option<&ClientQuotas>,
    ) {
        if self.caller.muted_for().is_none() {
            self.left_since.set(None);
            return;
        }
        let now = meter::now();
        let unmuted = self.caller.unmute_if(|by| {
            let limits = quotas.and_then(|quotas| front.quotas.limits(quotas, by.client(), now));
            !limits.is_some_and(|limits| limits.is_as_high_as(by))
        });
        if unmuted {
            self.room.notify();
            self.answers.notify();
        } else if self.reading_over.get() || self.stream.is_ended_by_peer() {
            let since = self.left_since.get().unwrap_or(tick);
            self.left_since.set(Some(since));
            let is_owed = self.open().0 > 0
                || self.blocked_since.get().is_some()
                || (!self.reading_over.get() && self.stream.has_unread());
            if !is_owed || tick >= since + LEFT_TICKS_MAX {
                self.close(Close::Left);
            }
        }
    }

    /// Looks at what may have taken too long.
    pub(crate) fn check_deadlines(&self, tick: u64, front: &FrontContext) {
        if self
            .blocked_since
            .get()
            .is_some_and(|since| tick > since + BLOCKED_TICKS_MAX)
        {
            return self.close(Close::OutputBlocked);
        }
        if let Some((_, arrived)) = self.partial.get()
            && (self.waits_for_pool.get()
                || !self.has_room(front)
                || self.caller.muted_for().is_some())
        {
            // It is this side that does not read.
            self.partial.set(Some((tick, arrived)));
            self.read_at.set(tick);
        }
        let contended = front.requests.is_contended();
        if contended && self.request_bytes.get() > SMALL_BYTES {
            self.caller.hurry();
        }
        if self.answer_due_at.get().is_some_and(|due| tick >= due) {
            self.answers.notify();
        }
        if let Some((since, arrived)) = self.partial.get() {
            // A slow peer is judged by what has arrived, so that must be looked at. An error is
            // for the next read to find.
            drop(self.stream.set_low_water(1));
            let contended = contended && self.claimed.get() > 0;
            let (per_tick, silence) = if contended {
                (CONTENDED_BYTES_PER_TICK, CONTENDED_SILENCE_TICKS_MAX)
            } else {
                (FRAME_BYTES_PER_TICK, FRAME_TICKS_MAX)
            };
            let earned = (arrived / per_tick) as u64;
            if tick > since + FRAME_TICKS_MAX + earned {
                self.close(Close::FrameDeadline { arrived });
            } else if tick > self.read_at.get() + silence {
                self.close(Close::FrameStalled { arrived, contended });
            }
            return;
        }
        if self.requests.get() > 0 {
            self.frame_at.set(tick);
        } else if let Some(idle_ms) = front.config.sockets.idle_ms_max {
            let ticks = idle_ms.div_ceil(TICK.as_millis() as u64);
            if tick > self.frame_at.get() + ticks {
                self.close(Close::Idle);
            }
        }
    }

    /// Waits for the rest of a large frame at once instead of for each of its pieces.
    fn expect_rest(&self, wanted: usize) -> Result<(), Close> {
        let mark = if wanted >= LARGE_BYTES { wanted } else { 1 };
        self.stream.set_low_water(mark).map_err(Close::Socket)
    }

    fn has_room(&self, front: &FrontContext) -> bool {
        self.requests.get() == 0
            || (self.requests.get() < REQUESTS_MAX
                && self.request_bytes.get() < REQUEST_BYTES_MAX
                && !front.requests.is_full())
    }

    async fn wait_for_room(&self, front: &FrontContext) {
        while !self.has_room(front) && !self.is_closed() {
            self.room.notified().await;
        }
    }

    /// Waits while the client has used up what it may use (KIP-219); true if it had to.
    async fn wait_while_muted(&self, front: &FrontContext) -> bool {
        let mut waited = false;
        while let Some(rest) = self.caller.muted_for()
            && !self.is_closed()
            && !front.is_stopping()
        {
            waited = true;
            first_of(self.room.notified(), exec::sleep(rest)).await;
        }
        waited
    }

    /// The same for what waits behind an answer.
    async fn wait_while_held(&self, front: &FrontContext) {
        while let Some(rest) = self.held_for(front)
            && !self.is_closed()
        {
            first_of(self.answers.notified(), exec::sleep(rest)).await;
        }
    }

    fn held_for(&self, front: &FrontContext) -> Option<Duration> {
        let rest = self.caller.held_for()?;
        let is_over = self.reading_over.get() && self.queue.borrow().is_empty();
        (!is_over && !front.is_stopping()).then_some(rest)
    }

    /// Rings the reader: there may be room.
    pub(crate) fn look_for_room(&self) {
        self.room.notify();
    }

    /// Waits until the core may hold all of a large frame of which the first bytes are here.
    async fn wait_for_pool(self: &Rc<Self>, front: &FrontContext, size: usize) {
        if size <= SMALL_BYTES || self.claimed.get() > 0 {
            return;
        }
        let mut admitted = front.requests.admit(self, size);
        if !admitted {
            front.say_that_requests_wait();
        }
        while !admitted {
            self.waits_for_pool.set(true);
            self.room.notified().await;
            if self.is_closed() || front.is_stopping() {
                front.requests.give_up(self);
                break;
            }
            admitted = front.requests.admit(self, size);
        }
        self.waits_for_pool.set(false);
        if admitted {
            self.claimed.set(size);
        }
    }

    /// Counts a whole frame, unless that was done when it began.
    fn count_frame(&self, front: &FrontContext, bytes: usize) {
        if self.claimed.replace(bytes) == 0 {
            front.requests.take(bytes);
        }
    }

    /// Requests that are whole here and not answered, and those of them on which no work has begun.
    pub(crate) fn open(&self) -> (usize, usize) {
        let queued = self.queued.get();
        (self.requests.get().max(queued), queued)
    }

    fn push(&self, answer: Answer, moments: Moments, meter: Option<Meter>, bytes: usize) {
        // From here on the queue's entry counts it.
        self.claimed.set(0);
        self.requests.set(self.requests.get() + 1);
        self.request_bytes.set(self.request_bytes.get() + bytes);
        if answer.is_barrier() {
            self.barriers.set(self.barriers.get() + 1);
        }
        let has_begun = !answer.begins_when_first();
        if has_begun {
            self.queued.set(self.queued.get() - 1);
        }
        self.queue.borrow_mut().push_back(Queued {
            answer,
            moments,
            meter,
            has_begun,
            bytes,
        });
        self.answers.notify();
    }

    /// Works on the first answer of the queue, and notes when. `now` is the time as far as it is
    /// known.
    fn poll_answer(
        &self,
        queued: &mut Queued,
        task: &mut TaskContext<'_>,
        front: &FrontContext,
        out: &mut Gather,
        now: &mut Option<u64>,
    ) -> Poll<Result<(), Close>> {
        if !queued.has_begun {
            queued.has_begun = true;
            self.queued.set(self.queued.get() - 1);
            queued
                .moments
                .begin(*now.get_or_insert_with(clock::monotonic_ns));
            let polled = queued.poll(&self.caller, front, task, out);
            let placed = clock::monotonic_ns();
            queued.moments.place(placed);
            queued.moments.complete(placed);
            *now = Some(placed);
            return polled;
        }
        let polled = queued.poll(&self.caller, front, task, out);
        if polled.is_ready() {
            queued
                .moments
                .complete(*now.get_or_insert_with(clock::monotonic_ns));
        }
        polled
    }

    fn answered(&self, front: &FrontContext, queued: &Queued) {
        front.requests.release(queued.bytes);
        self.caller.is_answered();
        self.answer_due_at.set(None);
        self.requests.set(self.requests.get() - 1);
        self.request_bytes
            .set(self.request_bytes.get() - queued.bytes);
        if queued.answer.is_barrier() {
            self.barriers.set(self.barriers.get() - 1);
        }
        self.room.notify();
    }

    /// One line for the end of a connection, with what helps to find the client. What many
    /// connections are ended for is said once a tick, by `front.rs`.
    fn log_end(&self, front: &FrontContext, reason: &Close) {
        let peer = self.caller.peer;
        let listener = front.listener_name(self.caller.listener);
        let client_id = self.client_id.borrow();
        let client_id = client_id.as_deref().unwrap_or("");
        if reason.is_usual() {
            tracing::debug!(%peer, listener, client_id, %reason, "connection ended");
        } else {
            front.count(|counters| counters.connections_refused += 1);
            if front.quiet.borrow_mut().admit(reason.kind()) {
                tracing::warn!(%peer, listener, client_id, %reason, "connection closed");
            } else {
                tracing::debug!(%peer, listener, client_id, %reason, "connection closed");
            }
        }
    }
}

/// Reads frames and begins their work, until the peer leaves or does not keep to the protocol.
async fn read_loop(connection: &Rc<Connection>, context: &Context) -> Result<(), Close> {
    let front = &context.front;
    let limits = FrameLimits::of_requests(front.config.sockets.request_bytes_max as usize);
    let mut partial: Option<BytesMut> = None;
    loop {
        connection.wait_for_room(front).await;
        connection.wait_while_muted(front).await;
        connection.stream.readable().await;
        if front.is_stopping() || connection.is_closed() {
            return Ok(());
        }
        let mut buffer = partial.take().unwrap_or_else(|| front.buffers.take());
        let wanted = still_wanted(limits, &buffer)?;
        if wanted > 0 {
            let size = buffer.len() + wanted - SIZE_PREFIX;
            connection.wait_for_pool(front, size).await;
            if front.is_stopping() || connection.is_closed() {
                return Ok(());
            }
        }
        front.buffers.make_room(&mut buffer, wanted);
        let most = bytes_to_read(buffer.len(), wanted);
        match connection
            .stream
            .try_read_at_most(&mut buffer, most)
            .map_err(Close::Socket)?
        {
            None => {}
            Some(0) if buffer.is_empty() => {
                front.buffers.give(buffer);
                return Ok(());
            }
            Some(0) => {
                return Err(Close::Torn {
                    arrived: buffer.len(),
                });
            }
            Some(read) => {
                front.count(|counters| counters.bytes_in += read as u64);
                connection.read_at.set(front.tick());
                let arrived = clock::monotonic_ns();
                begin_frames(connection, context, limits, &mut buffer, arrived).await?;
            }
        }
        connection.expect_rest(still_wanted(limits, &buffer)?)?;
        if buffer.is_empty() {
            connection.partial.set(None);
            front.buffers.give(buffer);
        } else {
            let since = connection
                .partial
                .get()
                .map_or_else(|| front.tick(), |(since, _)| since);
            connection.partial.set(Some((since, buffer.len())));
            partial = Some(buffer);
        }
        exec::yield_if_needed().await;
    }
}

/// Begins the work of every whole frame in the buffer, in order.
async fn begin_frames(
    connection: &Rc<Connection>,
    context: &Context,
    limits: FrameLimits,
    buffer: &mut BytesMut,
    arrived: u64,
) -> Result<(), Close> {
    let mut now = arrived;
    while let Some(frame) = limits.split(buffer).map_err(Close::Frame)? {
        connection.partial.set(None);
        connection.frame_at.set(context.front.tick());
        let bytes = frame.len();
        connection.count_frame(&context.front, bytes);
        connection.queued.set(connection.queued.get() + 1);
        let mut waited = false;
        if !connection.has_room(&context.front) {
            connection.wait_for_room(&context.front).await;
            waited = true;
        }
        waited |= connection.wait_while_muted(&context.front).await;
        if context.front.is_stopping() || connection.is_closed() {
            return Ok(());
        }
        if is_produce(&frame) {
            waited |= context.shards.admit().await;
        }
        if waited {
            now = clock::monotonic_ns();
        }
        context.front.count(|counters| counters.requests += 1);
        connection.note_client(&frame);
        let behind_barrier = connection.barriers.get() > 0;
        let meter = Meter::begin(context, &frame);
        let answer = dispatch(context, &frame, behind_barrier)?;
        let mut moments = Moments::arrived(key_of(&frame), arrived);
        moments.begin(now);
        now = clock::monotonic_ns();
        moments.place(now);
        connection.push(answer, moments, meter.map(Meter::pause), bytes);
    }
    Ok(())
}

/// A frame begins with the number of its API.
fn key_of(frame: &Bytes) -> i16 {
    frame
        .first_chunk()
        .map_or(-1, |key| i16::from_be_bytes(*key))
}

fn is_produce(frame: &Bytes) -> bool {
    key_of(frame) == ApiKey::Produce.number()
}

impl Connection {
    /// Keeps the name that the client gives itself, once, for the line at the connection's end.
    fn note_client(&self, frame: &Bytes) {
        if !self.client_noted.replace(true)
            && let Ok((header, _)) = RequestHeader::parse(frame)
        {
            *self.client_id.borrow_mut() = header.client_id.map(Box::from);
        }
    }
}

/// Bytes that the frame at the start of the buffer still lacks; 0 if that is not known yet.
fn still_wanted(limits: FrameLimits, buffer: &BytesMut) -> Result<usize, Close> {
    let Some(prefix) = buffer.first_chunk::<SIZE_PREFIX>() else {
        return Ok(0);
    };
    let size = limits.check(*prefix).map_err(Close::Frame)?;
    Ok((SIZE_PREFIX + size).saturating_sub(buffer.len()))
}

/// Sends answers in the order of requests, as many with one call as are ready.
async fn write_loop(connection: Rc<Connection>, front: Rc<FrontContext>) {
    let mut current = None;
    write_answers(&connection, &front, &mut current).await;
    if let Some(queued) = current {
        front.requests.release(queued.bytes);
    }
}

async fn write_answers(
    connection: &Connection,
    front: &FrontContext,
    current: &mut Option<Queued>,
) {
    let mut out = Gather::new();
    loop {
        connection.wait_while_held(front).await;
        let mut answered = Vec::new();
        let more = next_answers(connection, front, current, &mut out, &mut answered).await;
        let sent = send(connection, front, out.pieces()).await;
        front.latencies.sent(answered, sent.is_ok());
        // A connection that waits holds no memory.
        out.let_go();
        if out.room() > 0 {
            front.answer_buffers.give(out.take_buffer());
        }
        match (more, sent) {
            (Ok(Collected::All), Ok(())) => {}
            (Ok(Collected::Enough), Ok(())) => exec::yield_now().await,
            (Ok(Collected::Last), Ok(())) => return,
            (more, sent) => {
                // The reader must not wait for room that nobody will make.
                let reason = sent
                    .err()
                    .or_else(|| more.err())
                    .expect("one of both failed");
                return connection.close(reason);
            }
        }
    }
}

/// What there is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collected {
    /// All that is ready now, or as much as is sent at once.
    All,
    /// More may be ready; others are to come first.
    Enough,
    /// There will be no more.
    Last,
}

/// Collects what is ready, and waits while that is nothing.
async fn next_answers(
    connection: &Connection,
    front: &FrontContext,
    current: &mut Option<Queued>,
    out: &mut Gather,
    answered: &mut Vec<Moments>,
) -> Result<Collected, Close> {
    let mut bell = pin!(connection.answers.notified());
    poll_fn(|task| {
        // Read again only after work that may have taken long.
        let mut now = None;
        let mut first_at = None;
        loop {
            if connection.is_closed() {
                out.pieces().clear();
                return Poll::Ready(Ok(Collected::Last));
            }
            if current.is_none() {
                if connection.held_for(front).is_some() {
                    return Poll::Ready(Ok(Collected::All));
                }
                *current = connection.queue.borrow_mut().pop_front();
            }
            let Some(queued) = current else {
                if connection.reading_over.get() {
                    return Poll::Ready(Ok(Collected::Last));
                }
                if !out.is_empty() {
                    return Poll::Ready(Ok(Collected::All));
                }
                match bell.as_mut().poll(task) {
                    Poll::Ready(()) => bell.set(connection.answers.notified()),
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            };
            match connection.poll_answer(queued, task, front, out, &mut now) {
                Poll::Ready(Ok(())) => {
                    connection.answered(front, queued);
                    if answered.capacity() == 0 {
                        // Not before: a connection that waits holds no memory.
                        *answered = front.latencies.take();
                    }
                    answered.push(queued.moments);
                    *current = None;
                    if out.len() >= SEND_BYTES {
                        return Poll::Ready(Ok(Collected::All));
                    }
                    // Answers of nearly no bytes may have cost much: large sessions without news.
                    let at = *now.get_or_insert_with(clock::monotonic_ns);
                    if at - *first_at.get_or_insert(at) >= COLLECT_NS_MAX {
                        return Poll::Ready(Ok(Collected::Enough));
                    }
                }
                Poll::Ready(Err(reason)) => return Poll::Ready(Err(reason)),
                Poll::Pending if !out.is_empty() => return Poll::Ready(Ok(Collected::All)),
                Poll::Pending => {
                    connection.answer_due_at.set(queued.answer.due_at());
                    match bell.as_mut().poll(task) {
                        Poll::Ready(()) => bell.set(connection.answers.notified()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    })
    .await
}

/// Sends everything; a peer that takes nothing for long is cut off by the clock.
async fn send(
    connection: &Connection,
    front: &FrontContext,
    out: &mut VecDeque<Bytes>,
) -> Result<(), Close> {
    let (mut bytes, mut piece) = (0, 0);
    while !out.is_empty() {
        match connection.stream.try_write_gathered(out).map_err(gone)? {
            Some(sent) => {
                bytes += sent;
                piece += sent;
            }
            None => {
                // Each piece has its own time.
                if connection.blocked_since.get().is_none() || piece >= SLOW_PIECE_BYTES {
                    connection.blocked_since.set(Some(front.tick()));
                    piece = 0;
                }
                connection.stream.writable().await;
            }
        }
    }
    connection.blocked_since.set(None);
    front.count(|counters| counters.bytes_out += bytes as u64);
    Ok(())
}

fn gone(error: io::Error) -> Close {
    Close::Socket(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_frame_is_known_once_its_size_is() {
        let limits = FrameLimits::of_requests(100);
        let wanted = |bytes: &[u8]| still_wanted(limits, &BytesMut::from(bytes));
        assert!(matches!(wanted(&[0, 0]), Ok(0)));
        assert!(matches!(wanted(&[0, 0, 0, 20, 1]), Ok(19)));
        assert!(matches!(wanted(b"GET / HTTP/1.1"), Err(Close::Frame(_))));
    }
}
