//! How many bytes of requests a core holds at once (`queued.max.request.bytes`). A count, no
//! memory: what a peer claims is counted before it is read, so that whatever was begun can end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::conn::Connection;

/// Requests of at most this many bytes are read whatever the others hold, one of a connection at a
/// time, so that a few large requests do not keep everybody waiting.
pub(crate) const SMALL_BYTES: usize = 32 * 1024;

/// The bytes of requests that are being read or answered by one core.
pub(crate) struct RequestPool {
    limit: usize,
    held: Cell<usize>,
    /// Requests above [`SMALL_BYTES`] among them.
    large: Cell<usize>,
    /// Connections whose next request is large and must wait, in their order.
    waiting: RefCell<VecDeque<Rc<Connection>>>,
}

impl RequestPool {
    /// An empty pool of so many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Cell::new(0),
            large: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Bytes of requests that are being read or answered.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    /// Bytes for which there is room.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.held.get())
    }

    /// Connections whose next request waits for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// True if somebody waits for others to end.
    pub(crate) fn is_contended(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// True if no more may be read than there is already.
    pub(crate) fn is_full(&self) -> bool {
        self.held.get() >= self.limit || self.is_contended()
    }

    /// Counts a request that is here already.
    pub(crate) fn take(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
        if bytes > SMALL_BYTES {
            self.large.set(self.large.get() + 1);
        }
    }

    /// Counts a request of which only a part is here, if there is room for all of it. One large
    /// request is always let in: the limit may be smaller than it.
    fn try_take(&self, bytes: usize) -> bool {
        let fits = self.held.get().saturating_add(bytes) <= self.limit;
        if fits || self.large.get() == 0 {
            self.take(bytes);
            return true;
        }
        false
    }

    /// As [`Self::take`], in the order of asking; `false` if the connection has to wait until it is
    /// rung and asks again, or says that it [gives up](Self::give_up).
    pub(crate) fn admit(&self, connection: &Rc<Connection>, bytes: usize) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|one| Rc::ptr_eq(one, connection));
        if place.unwrap_or(waiting.len()) == 0 && self.try_take(bytes) {
            waiting.pop_front();
            // There may be room for the next one, too.
            if let Some(next) = waiting.front() {
                next.look_for_room();
            }
            return true;
        }
        if place.is_none() {
            waiting.push_back(Rc::clone(connection));
        }
        false
    }

    /// The connection waits no longer.
    pub(crate) fn give_up(&self, connection: &Rc<Connection>) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|one| !Rc::ptr_eq(one, connection));
        if let Some(next) = waiting.front() {
            next.look_for_room();
        }
    }

    /// A request was answered, or will not be.
    pub(crate) fn release(&self, bytes: usize) {
        self.held.set(self.held.get() - bytes);
        if bytes > SMALL_BYTES {
            self.large.set(self.large.get() - 1);
        }
        if let Some(next) = self.waiting.borrow().front() {
            next.look_for_room();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_requests_are_counted_whole_and_one_is_always_let_in() {
        let pool = RequestPool::new(100_000);
        assert!(pool.try_take(500_000), "alone");
        assert!(!pool.try_take(40_000), "beyond the limit");
        pool.take(1_000);
        pool.release(500_000);
        assert!(pool.try_take(60_000) && !pool.try_take(40_000));
        assert!(!pool.is_full());
        pool.take(SMALL_BYTES);
        pool.take(SMALL_BYTES);
        assert!(pool.is_full());
        for bytes in [SMALL_BYTES, SMALL_BYTES, 60_000, 1_000] {
            pool.release(bytes);
        }
        assert_eq!((pool.held.get(), pool.large.get()), (0, 0));
    }
}
