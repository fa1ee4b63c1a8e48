//! The side threads of a shard, for work that blocks and is rare: one for what is short, one for what
//! waits for the device; started on demand, jobs of each in order. State: the sending ends of their
//! queues, in a thread-local.

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

/// Which of the two threads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lane {
    /// Opens, renames, removals: some microseconds each.
    Short,
    /// Flushes: they may take seconds, and what is short must not wait for them.
    Flush,
}

thread_local! {
    static JOBS_OF_SHARD: RefCell<[Option<Sender<Job>>; 2]> = const { RefCell::new([None, None]) };
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
fn queue(lane: Lane) -> Sender<Job> {
    JOBS_OF_SHARD.with_borrow_mut(|[short, flush]| {
        let (queue, suffix) = match lane {
            Lane::Short => (short, "side"),
            Lane::Flush => (flush, "flush"),
        };
        let queue = queue.get_or_insert_with(|| {
            let (sender, jobs): (_, Receiver<Job>) = channel();
            let shard = thread::current().name().unwrap_or("shard").to_owned();
            thread::Builder::new()
                .name(format!("{shard}-{suffix}"))
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

/// Runs `work` on a side thread.
pub(crate) async fn run<R: Send + 'static>(
    lane: Lane,
    work: impl FnOnce() -> R + Send + 'static,
) -> R {
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
    let taken = queue(lane).send(job);
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
