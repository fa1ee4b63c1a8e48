//! The side thread of a shard, for work that blocks and is rare: one thread, started on demand,
//! jobs in order. State: the sending end of its queue, in a thread-local.

use std::{
    cell::RefCell,
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    task::{Poll, Waker},
    thread,
};

use super::sys;

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    static JOBS_OF_SHARD: RefCell<Option<Sender<Job>>> = const { RefCell::new(None) };
}

struct Answer<R> {
    result: Option<R>,
    waiter: Option<Waker>,
}

fn lock<R>(answer: &Mutex<Answer<R>>) -> std::sync::MutexGuard<'_, Answer<R>> {
    answer.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "each job belongs to a task that waits, and would hold it while it waited for room"
)]
fn queue() -> Sender<Job> {
    JOBS_OF_SHARD.with_borrow_mut(|queue| {
        let queue = queue.get_or_insert_with(|| {
            let (sender, jobs): (_, Receiver<Job>) = channel();
            let shard = thread::current().name().unwrap_or("shard").to_owned();
            thread::Builder::new()
                .name(format!("{shard}-side"))
                .spawn(move || {
                    // It inherited the one core of its shard, whose work it must not delay.
                    sys::leave_core();
                    jobs.iter().for_each(|job| job());
                })
                .expect("one more thread can be started");
            sender
        });
        queue.clone()
    })
}

/// Runs `work` on the side thread.
pub(crate) async fn run<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let answer = Arc::new(Mutex::new(Answer {
        result: None,
        waiter: None,
    }));
    let told = answer.clone();
    let job: Job = Box::new(move || {
        let result = work();
        let waiter = {
            let mut answer = lock(&told);
            answer.result = Some(result);
            answer.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    });
    let taken = queue().send(job);
    assert!(taken.is_ok(), "the side thread ended: a job panicked");
    poll_fn(|cx| {
        let mut answer = lock(&answer);
        match answer.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}
