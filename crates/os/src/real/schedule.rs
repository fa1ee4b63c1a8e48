//! The run queue of a shard: tasks, timers, wakes. Owned by the shard's thread, except for the
//! small [`Gate`] through which other threads wake its tasks.
//!
//! glommio 0.9.0 would run tasks itself, but it loses wakes: when an event arrives on its latency
//! ring between its poll and its first look at the run queue, it skips the queue and may go to
//! sleep with tasks runnable. So glommio only carries this one loop, and none of its timers,
//! foreign wakes or preemption, the sources of such events, are used.
//!
//! ```text
//!   wakes of this thread ----> ready ---(each task once a round)---> poll
//!   wakes of others ---> gate ---^                                    |
//!   timers, ring completions ----^------ (after each round) <---------'
//! ```

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    io,
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use super::sys;

/// Where other threads leave the tasks that they woke.
pub(crate) struct Gate {
    woken: Mutex<Vec<Arc<Handle>>>,
    /// Whether `woken` may hold something; spares the lock.
    filled: AtomicBool,
    /// Set by the shard before it sleeps, cleared by whoever wakes it, once.
    sleeping: AtomicBool,
    event: OwnedFd,
}

impl Gate {
    fn leave(&self, handle: Arc<Handle>) {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(handle);
        self.filled.store(true, Ordering::Release);
        // Pairs with the fence in `may_sleep`: the shard sees `filled`, or we see `sleeping`.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            sys::ring_event_counter(&self.event);
        }
    }

    /// The counter that wakes the shard.
    pub(crate) fn event(&self) -> &OwnedFd {
        &self.event
    }
}

/// Names a task to its wakers, on any thread.
struct Handle {
    gate: Arc<Gate>,
    index: usize,
    /// Distinguishes this task from earlier ones at the same index.
    serial: u64,
    scheduled: AtomicBool,
}

impl Wake for Handle {
    fn wake(self: Arc<Self>) {
        // AcqRel: what the waker wrote before is seen by the poll that clears the flag.
        if self.scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        let queued = SCHEDULE.try_with(|schedule| match &*schedule.borrow() {
            Some(schedule) if Arc::ptr_eq(&schedule.gate, &self.gate) => {
                schedule.ready.borrow_mut().push_back(self.clone());
                true
            }
            _ => false,
        });
        if queued != Ok(true) {
            let gate = self.gate.clone();
            gate.leave(self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // No shortcut for a task already queued: only the exchange orders our writes before its
        // next poll.
        self.clone().wake();
    }
}

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Entry {
    serial: u64,
    /// `None` while it is polled.
    future: Option<TaskFuture>,
}

/// The tasks and timers of one shard.
pub(crate) struct Schedule {
    gate: Arc<Gate>,
    ready: RefCell<VecDeque<Arc<Handle>>>,
    tasks: RefCell<Vec<Option<Entry>>>,
    free: RefCell<Vec<usize>>,
    serial: Cell<u64>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
}

thread_local! {
    static SCHEDULE: RefCell<Option<Rc<Schedule>>> = const { RefCell::new(None) };
}

/// The schedule of the calling shard.
///
/// # Panics
/// Outside a shard.
pub(crate) fn current() -> Rc<Schedule> {
    SCHEDULE
        .with_borrow(Option::clone)
        .expect("tasks and timers are used inside a shard only")
}

/// Forgets a task of the calling shard; nothing to do once the shard has ended.
pub(crate) fn cancel(index: usize, serial: u64) {
    let schedule = SCHEDULE.try_with(|schedule| schedule.borrow().clone());
    if let Ok(Some(schedule)) = schedule {
        schedule.cancel(index, serial);
    }
}

impl Schedule {
    /// Makes the schedule of the calling thread.
    pub(crate) fn enter() -> io::Result<Rc<Self>> {
        let gate = Arc::new(Gate {
            woken: Mutex::default(),
            filled: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            event: sys::event_counter()?,
        });
        let schedule = Rc::new(Self {
            gate,
            ready: RefCell::default(),
            tasks: RefCell::default(),
            free: RefCell::default(),
            serial: Cell::new(0),
            timers: RefCell::default(),
        });
        SCHEDULE.set(Some(schedule.clone()));
        Ok(schedule)
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    fn next_serial(&self) -> u64 {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        serial
    }

    /// Adds a task and schedules it; returns its index and serial number.
    pub(crate) fn spawn(&self, future: TaskFuture) -> (usize, u64) {
        let serial = self.next_serial();
        let entry = Some(Entry {
            serial,
            future: Some(future),
        });
        let mut tasks = self.tasks.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => {
                tasks[index] = entry;
                index
            }
            None => {
                tasks.push(entry);
                tasks.len() - 1
            }
        };
        let scheduled = AtomicBool::new(true);
        let handle = Handle {
            gate: self.gate.clone(),
            index,
            serial,
            scheduled,
        };
        self.ready.borrow_mut().push_back(Arc::new(handle));
        (index, serial)
    }

    /// Forgets a task; drops its future now, or after its current poll.
    pub(crate) fn cancel(&self, index: usize, serial: u64) {
        let mut tasks = self.tasks.borrow_mut();
        let entry = match &tasks[index] {
            Some(entry) if entry.serial == serial => tasks[index].take(),
            _ => return,
        };
        self.free.borrow_mut().push(index);
        drop(tasks);
        // Last: the future's own destructors may spawn and cancel.
        drop(entry);
    }

    /// Runs once each task that is ready now, not those that become ready meanwhile.
    pub(crate) fn run_round(&self) {
        self.take_woken();
        let round = self.ready.borrow().len();
        for _ in 0..round {
            let next = self.ready.borrow_mut().pop_front();
            let Some(handle) = next else { break };
            self.run(handle);
        }
        self.fire_timers();
    }

    fn run(&self, handle: Arc<Handle>) {
        let (index, serial) = (handle.index, handle.serial);
        // Acquires what the waker wrote; a wake from here on schedules again.
        handle.scheduled.swap(false, Ordering::AcqRel);
        let future = match &mut self.tasks.borrow_mut()[index] {
            Some(entry) if entry.serial == serial => entry.future.take(),
            _ => None,
        };
        let Some(mut future) = future else { return };
        let waker = Waker::from(handle);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let finished = match polled {
            Poll::Ready(()) => Some(future),
            Poll::Pending => match &mut self.tasks.borrow_mut()[index] {
                Some(entry) if entry.serial == serial => {
                    entry.future = Some(future);
                    None
                }
                // Cancelled by itself while it ran.
                _ => Some(future),
            },
        };
        if let Some(future) = finished {
            drop(future);
            self.cancel(index, serial);
        }
    }

    fn take_woken(&self) {
        if self.gate.filled.load(Ordering::Acquire)
            && self.gate.filled.swap(false, Ordering::AcqRel)
        {
            let mut woken = self
                .gate
                .woken
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.ready.borrow_mut().extend(woken.drain(..));
        }
    }

    fn fire_timers(&self) {
        if self.timers.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let due = {
                let mut timers = self.timers.borrow_mut();
                match timers.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }

    /// Whether a task is ready, or another thread woke one.
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.borrow().is_empty() || self.gate.filled.load(Ordering::Acquire)
    }

    /// Whether another thread woke a task since the last round.
    pub(crate) fn woken_from_outside(&self) -> bool {
        self.gate.filled.load(Ordering::Relaxed)
    }

    /// Announces that the shard will sleep; `false` if it must not. After `true` the caller
    /// sleeps until the gate's event (or something else), and then calls [`Self::awake`].
    pub(crate) fn may_sleep(&self) -> bool {
        self.gate.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.has_work() {
            self.awake();
            return false;
        }
        true
    }

    /// The shard runs again.
    pub(crate) fn awake(&self) {
        self.gate.sleeping.store(false, Ordering::Relaxed);
    }

    /// How long the next timer leaves; `None` without timers.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        let timers = self.timers.borrow();
        timers
            .first_key_value()
            .map(|(key, _)| key.0.saturating_duration_since(Instant::now()))
    }

    /// Waits until `deadline`.
    pub(crate) async fn sleep_until(self: Rc<Self>, deadline: Instant) {
        struct Timer {
            schedule: Rc<Schedule>,
            key: (Instant, u64),
        }
        impl Drop for Timer {
            fn drop(&mut self) {
                self.schedule.timers.borrow_mut().remove(&self.key);
            }
        }
        let key = (deadline, self.next_serial());
        let timer = Timer {
            schedule: self,
            key,
        };
        poll_fn(|cx| {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer
                .schedule
                .timers
                .borrow_mut()
                .insert(timer.key, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Drops all tasks and leaves the thread without a schedule.
    pub(crate) fn leave(&self) {
        loop {
            // One at a time: destructors may spawn and cancel.
            let entry = {
                let mut tasks = self.tasks.borrow_mut();
                match tasks.iter_mut().find(|slot| slot.is_some()) {
                    Some(slot) => slot.take(),
                    None => break,
                }
            };
            drop(entry);
        }
        self.ready.borrow_mut().clear();
        SCHEDULE.set(None);
    }
}
