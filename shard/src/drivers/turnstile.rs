//! Lets a few tasks of this core through at a time, the others in the order in which they came:
//! what is copied or held while a write is under way stays bounded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The gate.
pub(crate) struct Turnstile {
    free: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Visitor>>>,
}

#[derive(Default)]
struct Visitor {
    is_let_in: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// A place inside; whoever waits longest gets it when this is dropped.
pub(crate) struct Inside<'a>(&'a Turnstile);

impl Turnstile {
    /// Room for `places` tasks.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            free: Cell::new(places),
            waiting: RefCell::default(),
        }
    }

    /// Waits for a place. The future must be polled to its end.
    pub(crate) async fn enter(&self) -> Inside<'_> {
        if let Some(free) = self.free.get().checked_sub(1) {
            self.free.set(free);
            return Inside(self);
        }
        let visitor = Rc::<Visitor>::default();
        self.waiting.borrow_mut().push_back(Rc::clone(&visitor));
        poll_fn(|context| {
            if visitor.is_let_in.get() {
                return Poll::Ready(());
            }
            visitor.waker.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        Inside(self)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let next = self.0.waiting.borrow_mut().pop_front();
        let Some(next) = next else {
            self.0.free.set(self.0.free.get() + 1);
            return;
        };
        next.is_let_in.set(true);
        if let Some(waker) = next.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    #[test]
    fn those_who_wait_come_in_by_order_and_never_too_many() {
        let gate = Turnstile::new(1);
        let mut context = Context::from_waker(Waker::noop());
        let (mut first, mut second, mut third) =
            (pin!(gate.enter()), pin!(gate.enter()), pin!(gate.enter()));
        let Poll::Ready(inside) = first.as_mut().poll(&mut context) else {
            panic!("there is room for one")
        };
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(inside);
        assert!(third.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(inside) = second.as_mut().poll(&mut context) else {
            panic!("the place was passed on")
        };
        drop(inside);
        assert!(third.as_mut().poll(&mut context).is_ready());
        assert_eq!(gate.free.get(), 1, "the last place was given back");
    }
}
