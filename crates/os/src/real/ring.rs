//! The private io_uring of a shard: what glommio does not expose. Owned by the shard's thread.
//! It watches sockets with one multishot poll each (an idle connection costs no buffer and no
//! resubmission) and carries disk operations, which own their memory until the kernel is done.
//!
//! ```text
//!   arm / submit --> queue --(pump: one enter per loop)--> kernel
//!                                                            | completion, and the event counter
//!   wakers  <--(pump: reap)<-- task of this shard <-- glommio read of the event counter
//! ```

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::stats;

/// Completions without an owner (of requests to cancel a poll) carry this.
const NOBODY: u64 = 0;

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;

const READ_EVENTS: u32 =
    (libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLPRI) as u32;
/// Events after which reads never block again: the peer sends no more.
const END_EVENTS: u32 = (libc::POLLRDHUP | libc::POLLHUP) as u32;
const WRITE_EVENTS: u32 = (libc::POLLOUT | libc::POLLHUP | libc::POLLERR) as u32;
const WATCHED_EVENTS: u32 = (libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP) as u32;

/// The ring and everything in flight in it.
///
/// Invariant: a slot is freed only by the last completion that carries its number, so a number is
/// never reused while the kernel may still answer to it.
pub(crate) struct Ring {
    uring: RefCell<IoUring>,
    /// Entries that found the submission queue full.
    overflow: RefCell<VecDeque<squeue::Entry>>,
    slots: RefCell<Slots>,
    reaped: RefCell<Vec<(u64, i32, u32)>>,
}

#[derive(Default)]
struct Slots {
    entries: Vec<Slot>,
    free: Vec<usize>,
    operations: usize,
}

enum Slot {
    Free,
    Watch(Rc<Readiness>),
    Operation(Rc<Operation>),
}

impl Slots {
    fn insert(&mut self, slot: Slot) -> u64 {
        if matches!(slot, Slot::Operation(_)) {
            self.operations += 1;
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index] = slot;
                index
            }
            None => {
                self.entries.push(slot);
                self.entries.len() - 1
            }
        };
        index as u64 + 1
    }

    fn remove(&mut self, number: u64) -> Slot {
        let index = number as usize - 1;
        let slot = std::mem::replace(&mut self.entries[index], Slot::Free);
        assert!(
            !matches!(slot, Slot::Free),
            "completion for a free slot {index}"
        );
        if matches!(slot, Slot::Operation(_)) {
            self.operations -= 1;
        }
        self.free.push(index);
        slot
    }
}

impl Ring {
    /// Makes the ring of the calling thread with `depth` submission entries. Newer kernels give
    /// completions that wait until we reap them; older ones the plain kind.
    pub(crate) fn new(depth: u32) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_cqsize(depth * 16)
            .setup_clamp()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(depth)
            .or_else(|_| {
                IoUring::builder()
                    .setup_cqsize(depth * 16)
                    .setup_clamp()
                    .build(depth)
            })?;
        Ok(Self {
            uring: RefCell::new(uring),
            overflow: RefCell::default(),
            slots: RefCell::default(),
            reaped: RefCell::default(),
        })
    }

    fn queue(&self, entry: squeue::Entry) {
        stats::with(|s| s.ring_entries.add(1));
        let mut overflow = self.overflow.borrow_mut();
        let mut uring = self.uring.borrow_mut();
        let mut submission = uring.submission();
        // SAFETY: every entry names a descriptor and memory that its slot, or the watch, keeps
        // alive until the completion; see `operate` and `arm`.
        if !overflow.is_empty() || unsafe { submission.push(&entry) }.is_err() {
            overflow.push_back(entry);
        }
    }

    /// Submits what is queued and hands completions to their owners. Called between rounds: one
    /// kernel entry takes the entries of all tasks of a round.
    pub(crate) fn pump(&self) {
        self.submit();
        self.reap();
    }

    /// Whether completions wait to be reaped, or the kernel has some to deliver.
    pub(crate) fn has_events(&self) -> bool {
        let mut uring = self.uring.borrow_mut();
        uring.submission().taskrun() || !uring.completion().is_empty()
    }

    /// Whether everything queued is with the kernel and nothing waits to be reaped.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut uring = self.uring.borrow_mut();
        self.overflow.borrow().is_empty()
            && uring.submission().is_empty()
            && !uring.submission().taskrun()
            && uring.completion().is_empty()
    }

    /// Lets events of a counter end [`Self::wait`], until the returned watch is dropped. The poll
    /// reports every event, so nobody has to read the counter.
    pub(crate) fn watch_event(self: &Rc<Self>, event: &OwnedFd) -> Watch {
        let watch = Watch::new(self.clone(), event.as_raw_fd());
        watch.arm();
        watch
    }

    /// Arms a watch again whose poll the kernel ended.
    pub(crate) fn keep_armed(watch: &Watch) {
        watch.arm();
    }

    /// Sleeps in the kernel until a completion, an event of `watch_event`, or `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) {
        stats::with(|s| s.ring_enters.add(1));
        let uring = self.uring.borrow();
        let waited = match limit {
            None => uring.submit_and_wait(1),
            Some(limit) => {
                let limit = types::Timespec::from(limit);
                uring
                    .submitter()
                    .submit_with_args(1, &types::SubmitArgs::new().timespec(&limit))
            }
        };
        match waited {
            Ok(_) => stats::with(|s| s.ring_wakes.add(1)),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) => {}
            Err(error) => panic!("waiting for our own ring: {error}"),
        }
    }

    /// Enters the kernel if there is a reason; `true` while entries remain.
    fn submit(&self) -> bool {
        let mut overflow = self.overflow.borrow_mut();
        let mut uring = self.uring.borrow_mut();
        let mut submission = uring.submission();
        while let Some(entry) = overflow.front() {
            // SAFETY: as in `queue`.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            overflow.pop_front();
        }
        let needed = !submission.is_empty() || submission.taskrun() || submission.cq_overflow();
        drop(submission);
        if needed {
            stats::with(|s| s.ring_enters.add(1));
            match uring.submit() {
                Ok(_) => {}
                // Completions must be reaped first, or the call was interrupted: come again.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EBUSY | libc::EAGAIN | libc::EINTR)
                    ) => {}
                Err(error) => panic!("io_uring_enter on our own ring: {error}"),
            }
        }
        !overflow.is_empty() || !uring.submission().is_empty()
    }

    fn reap(&self) -> usize {
        let mut reaped = self.reaped.take();
        let mut uring = self.uring.borrow_mut();
        reaped.extend(
            uring
                .completion()
                .map(|c| (c.user_data(), c.result(), c.flags())),
        );
        drop(uring);
        let count = reaped.len();
        stats::with(|s| s.ring_completions.add(count as u64));
        for (number, result, flags) in reaped.drain(..) {
            if number != NOBODY {
                self.complete(number, result, cqueue::more(flags));
            }
        }
        // Keeps the memory for the next round.
        self.reaped.replace(reaped);
        count
    }

    fn complete(&self, number: u64, result: i32, more: bool) {
        if more {
            let watched = match &self.slots.borrow().entries[number as usize - 1] {
                Slot::Watch(readiness) => readiness.clone(),
                Slot::Free | Slot::Operation(_) => panic!("more to come for operation {number}"),
            };
            watched.deliver(result);
            return;
        }
        let slot = self.slots.borrow_mut().remove(number);
        match slot {
            Slot::Free => unreachable!("checked by remove"),
            Slot::Watch(readiness) => {
                readiness.slot.set(NOBODY);
                readiness.deliver(result);
            }
            Slot::Operation(operation) => {
                operation.result.set(Some(result));
                if let (true, Some(failed)) = (result < 0, &operation.failed) {
                    failed.set(true);
                }
                if let Some(waker) = operation.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    /// Hands an operation to the kernel now; it runs to its end even if the returned value is
    /// dropped. `kept` owns the descriptor and the memory that `entry` names.
    /// A failure sets `failed`, whether or not anybody waits.
    pub(crate) fn operate<K: Any>(
        self: &Rc<Self>,
        entry: squeue::Entry,
        kept: K,
        failed: Option<Rc<Cell<bool>>>,
    ) -> Pending<K> {
        let operation = Rc::new(Operation {
            failed,
            result: Cell::new(None),
            waker: Cell::new(None),
            kept: RefCell::new(Some(Box::new(kept))),
        });
        let number = self
            .slots
            .borrow_mut()
            .insert(Slot::Operation(operation.clone()));
        self.queue(entry.user_data(number));
        Pending {
            operation,
            kind: std::marker::PhantomData,
        }
    }

    /// Waits in the kernel until no operation holds memory any more. Polls hold none.
    pub(crate) fn settle(&self) {
        while self.slots.borrow().operations > 0 {
            self.submit();
            if self.reap() == 0 {
                let waited = self.uring.borrow().submit_and_wait(1);
                match waited {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => panic!("waiting for operations of our own ring: {error}"),
                }
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.settle();
    }
}

struct Operation {
    failed: Option<Rc<Cell<bool>>>,
    result: Cell<Option<i32>>,
    waker: Cell<Option<Waker>>,
    /// Freed with the slot, that is after the completion, or taken by the waiter.
    kept: RefCell<Option<Box<dyn Any>>>,
}

/// The result of an operation in flight, and what it kept. Dropping it cancels nothing.
#[must_use = "the operation's error would be lost"]
pub(crate) struct Pending<K> {
    operation: Rc<Operation>,
    kind: std::marker::PhantomData<K>,
}

impl<K: Any> Pending<K> {
    /// The kernel's result, and the memory lent to it.
    pub(crate) async fn finish(self) -> (io::Result<usize>, K) {
        let result = poll_fn(|cx| match self.operation.result.get() {
            Some(result) => Poll::Ready(result),
            None => {
                self.operation.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await;
        let kept = self
            .operation
            .kept
            .take()
            .expect("only this future takes it");
        let kept = kept.downcast::<K>().expect("the type was fixed by operate");
        (
            usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result)),
            *kept,
        )
    }
}

/// What is known of a descriptor: sticky flags, set by the kernel's events and cleared by the
/// caller whose attempt would have blocked.
pub(crate) struct Readiness {
    ready: Cell<u8>,
    /// An end event came. It may come together with the last bytes and never again, so a read
    /// that empties the socket does not make it unreadable then.
    ended: Cell<bool>,
    /// Number of the armed poll, or [`NOBODY`].
    slot: Cell<u64>,
    closed: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Readiness {
    fn deliver(&self, result: i32) {
        // An error of the poll itself is for the next attempt on the descriptor to find.
        let events = u32::try_from(result).unwrap_or(u32::MAX);
        let mut ready = self.ready.get();
        if events & READ_EVENTS != 0 {
            ready |= READABLE;
            wake(&self.reader);
        }
        if events & END_EVENTS != 0 {
            self.ended.set(true);
        }
        if events & WRITE_EVENTS != 0 {
            ready |= WRITABLE;
            wake(&self.writer);
        }
        self.ready.set(ready);
    }
}

fn wake(waiter: &RefCell<Option<Waker>>) {
    let waker = waiter.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A descriptor watched by the ring of this shard; one task may wait for each direction.
pub(crate) struct Watch {
    ring: Rc<Ring>,
    readiness: Rc<Readiness>,
    fd: RawFd,
}

impl Watch {
    /// Watches `fd`, which its owner keeps open as long as the watch lives. Nothing is asked of
    /// the kernel until somebody has to wait: both directions are taken to be ready.
    pub(crate) fn new(ring: Rc<Ring>, fd: RawFd) -> Self {
        let readiness = Rc::new(Readiness {
            ready: Cell::new(READABLE | WRITABLE),
            ended: Cell::new(false),
            slot: Cell::new(NOBODY),
            closed: Cell::new(false),
            reader: RefCell::default(),
            writer: RefCell::default(),
        });
        Self {
            ring,
            readiness,
            fd,
        }
    }

    fn arm(&self) {
        if self.readiness.slot.get() != NOBODY || self.readiness.closed.get() {
            return;
        }
        let number = self
            .ring
            .slots
            .borrow_mut()
            .insert(Slot::Watch(self.readiness.clone()));
        self.readiness.slot.set(number);
        let poll = opcode::PollAdd::new(types::Fd(self.fd), WATCHED_EVENTS)
            .multi(true)
            .build();
        self.ring.queue(poll.user_data(number));
    }

    fn poll_ready(
        &self,
        cx: &mut Context<'_>,
        direction: u8,
        waiter: &RefCell<Option<Waker>>,
    ) -> Poll<()> {
        if self.readiness.closed.get() || self.readiness.ready.get() & direction != 0 {
            return Poll::Ready(());
        }
        self.arm();
        let mut waiter = waiter.borrow_mut();
        if !waiter
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waiter = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until a read may succeed, or [`Watch::close`] was called.
    pub(crate) async fn readable(&self) {
        poll_fn(|cx| self.poll_ready(cx, READABLE, &self.readiness.reader)).await;
    }

    /// Waits until a write may succeed, or [`Watch::close`] was called.
    pub(crate) async fn writable(&self) {
        poll_fn(|cx| self.poll_ready(cx, WRITABLE, &self.readiness.writer)).await;
    }

    /// A read found nothing: the next wait is for a new event, unless there will be none.
    pub(crate) fn not_readable(&self) {
        if self.readiness.ended.get() {
            return;
        }
        self.readiness
            .ready
            .set(self.readiness.ready.get() & !READABLE);
    }

    /// Whether an end event came. Watches from now on if nobody had to wait before.
    pub(crate) fn is_ended(&self) -> bool {
        self.arm();
        self.readiness.ended.get()
    }

    /// Whether a write may succeed, as far as is known without asking.
    pub(crate) fn is_writable(&self) -> bool {
        self.readiness.ready.get() & WRITABLE != 0
    }

    /// A write found no room: the next wait is for a new event.
    pub(crate) fn not_writable(&self) {
        self.readiness
            .ready
            .set(self.readiness.ready.get() & !WRITABLE);
    }

    /// Ends all waits, now and later.
    pub(crate) fn close(&self) {
        if self.readiness.closed.replace(true) {
            return;
        }
        let number = self.readiness.slot.get();
        if number != NOBODY {
            // The poll holds the open file: without this the socket would outlive its descriptor.
            // Not `PollRemove`: it gives up (EALREADY) when an event of the poll is under way, and
            // the poll would stay for good.
            self.ring
                .queue(opcode::AsyncCancel::new(number).build().user_data(NOBODY));
        }
        wake(&self.readiness.reader);
        wake(&self.readiness.writer);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.readiness.closed.get()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
