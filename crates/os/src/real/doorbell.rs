//! Waking a shard from another thread. A running shard costs the caller a fence and a load; only
//! one whose task waits is woken, and only one that sleeps costs a system call.
//!
//! ```text
//!   sender: publish; fence; read parked     receiver: set parked; fence; look once more
//! ```
//! Either the sender sees `parked`, or the receiver sees what was published.

use std::{
    future::poll_fn,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Poll, Waker},
};

use super::stats;

/// The bell of one receiving task.
#[derive(Default)]
pub(crate) struct Doorbell {
    parked: AtomicBool,
    /// Touched when the waiting task changes and when it is woken: never on the running path.
    waiter: Mutex<Option<Waker>>,
}

impl Doorbell {
    /// Wakes the receiver if it waits. Call after publishing.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            stats::with(|s| s.peer_wakes.add(1));
            let waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waker) = waiter.as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    /// Waits until `has_work`, which is asked again after the bell was set.
    pub(crate) async fn wait(&self, mut has_work: impl FnMut() -> bool) {
        poll_fn(|cx| {
            if has_work() {
                self.parked.store(false, Ordering::Relaxed);
                return Poll::Ready(());
            }
            {
                let mut waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
                if !waiter
                    .as_ref()
                    .is_some_and(|waker| waker.will_wake(cx.waker()))
                {
                    *waiter = Some(cx.waker().clone());
                }
            }
            self.parked.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if has_work() {
                self.parked.store(false, Ordering::Relaxed);
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// Forgets the waiting task; the receiver is gone.
    pub(crate) fn silence(&self) {
        self.parked.store(false, Ordering::SeqCst);
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
