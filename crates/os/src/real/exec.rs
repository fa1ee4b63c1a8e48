//! Executors: one pinned thread per shard, its tasks, its timers, its ring.
//! State: the ring of the calling shard, in a thread-local.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use super::{
    ring::Ring,
    schedule::{self, Schedule},
    side, stats, sys,
};

/// How many shards to run, and with what.
#[derive(Clone, Debug)]
pub struct ShardPlan {
    /// Number of shards, at least 1.
    pub shards: usize,
    /// Core of each shard, in order; empty means that [`choose_cores`] decides.
    pub cores: Vec<usize>,
    /// Entries of each submission queue.
    pub ring_depth: usize,
    /// How long an idle shard looks for work before it sleeps. Zero unless cores are plentiful.
    pub spin: Duration,
}

impl ShardPlan {
    /// A plan with small defaults for `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self {
            shards,
            cores: Vec::new(),
            ring_depth: 128,
            spin: Duration::ZERO,
        }
    }
}

/// What a shard is told at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardContext {
    /// Number of this shard, from 0.
    pub index: usize,
    /// Number of shards.
    pub shards: usize,
    /// Core that it is pinned to, if it is.
    pub core: Option<usize>,
}

/// Why a shard did not start or did not end well.
#[derive(Debug)]
pub enum ShardError {
    /// The plan asks for something that cannot be: the text says what.
    Plan(String),
    /// The executor or the ring could not be made; see [`super::probe`] for the usual causes.
    Start {
        /// Number of the shard.
        shard: usize,
        /// What the kernel or the executor said.
        reason: String,
    },
    /// A task of the shard panicked.
    Panicked {
        /// Number of the shard.
        shard: usize,
    },
}

impl std::fmt::Display for ShardError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plan(reason) => write!(f, "cannot run this plan of shards: {reason}"),
            Self::Start { shard, reason } => write!(f, "cannot start shard {shard}: {reason}"),
            Self::Panicked { shard } => write!(f, "shard {shard} panicked"),
        }
    }
}

impl std::error::Error for ShardError {}

/// Running shards.
#[must_use = "shards should be joined"]
pub struct Shards<R> {
    threads: Vec<JoinHandle<Option<R>>>,
}

impl<R> Shards<R> {
    /// Waits for the end of every shard; results in the order of shards.
    pub fn join(self) -> Vec<Result<R, ShardError>> {
        let ends = self.threads.into_iter().map(JoinHandle::join).enumerate();
        ends.map(|(shard, end)| match end {
            Ok(Some(result)) => Ok(result),
            // A shard without a result told its reason when it started, or it panicked.
            Ok(None) | Err(_) => Err(ShardError::Panicked { shard }),
        })
        .collect()
    }
}

/// The cores to pin `shards` shards to: the first ones that this process may use, or `None`
/// (do not pin) when there are fewer cores than shards.
pub fn choose_cores(shards: usize) -> Option<Vec<usize>> {
    let allowed = core_affinity::get_core_ids()?;
    let allowed: Vec<usize> = allowed.iter().map(|core| core.id).collect();
    choose_among(&allowed, shards).map(<[usize]>::to_vec)
}

/// What [`choose_cores`] chooses where a process may use `allowed`.
pub fn choose_among(allowed: &[usize], shards: usize) -> Option<&[usize]> {
    allowed.get(..shards)
}

fn checked_cores(plan: &ShardPlan) -> Result<Vec<Option<usize>>, ShardError> {
    if plan.shards == 0 {
        return Err(ShardError::Plan(
            "expected at least 1 shard, found 0".into(),
        ));
    }
    if plan.cores.is_empty() {
        return Ok(match choose_cores(plan.shards) {
            Some(cores) => cores.into_iter().map(Some).collect(),
            None => {
                tracing::warn!(shards = plan.shards, "fewer cores than shards: not pinned");
                vec![None; plan.shards]
            }
        });
    }
    if plan.cores.len() != plan.shards {
        let (cores, shards) = (plan.cores.len(), plan.shards);
        return Err(ShardError::Plan(format!(
            "expected {shards} cores, found {cores}"
        )));
    }
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    for core in &plan.cores {
        if !allowed.iter().any(|known| known.id == *core) {
            let allowed: Vec<usize> = allowed.iter().map(|known| known.id).collect();
            return Err(ShardError::Plan(format!(
                "core {core} is not among {allowed:?}"
            )));
        }
    }
    Ok(plan.cores.iter().copied().map(Some).collect())
}

/// Starts the shards and returns when all of them run: thread `shard-<n>` runs `f(context)` to
/// its end. If one cannot start, the error is returned at once; the process should end then.
pub fn run_shards<F, Fut, R>(plan: ShardPlan, f: F) -> Result<Shards<R>, ShardError>
where
    F: Fn(ShardContext) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    let cores = checked_cores(&plan)?;
    sys::remember_cores();
    let (started, starts) = mpsc::sync_channel(plan.shards);
    let mut threads = Vec::with_capacity(plan.shards);
    for (index, core) in cores.into_iter().enumerate() {
        let context = ShardContext {
            index,
            shards: plan.shards,
            core,
        };
        let (plan, f, started) = (plan.clone(), f.clone(), started.clone());
        let thread = thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || start_shard(&plan, context, f, started));
        let failed = |error: io::Error| ShardError::Start {
            shard: index,
            reason: error.to_string(),
        };
        threads.push(thread.map_err(failed)?);
    }
    drop(started);
    let mut running = vec![false; plan.shards];
    for (shard, start) in &starts {
        start.map_err(|reason| ShardError::Start { shard, reason })?;
        running[shard] = true;
    }
    // A thread that ended without a word panicked.
    match running.iter().position(|runs| !runs) {
        None => Ok(Shards { threads }),
        Some(shard) => Err(ShardError::Panicked { shard }),
    }
}

/// The life of a shard's thread. `None` if it could not start, which it told to `started`.
fn start_shard<F, Fut, R>(
    plan: &ShardPlan,
    context: ShardContext,
    f: F,
    started: mpsc::SyncSender<(usize, Result<(), String>)>,
) -> Option<R>
where
    F: Fn(ShardContext) -> Fut,
    Fut: Future<Output = R> + 'static,
    R: 'static,
{
    let ring_depth = u32::try_from(plan.ring_depth)
        .unwrap_or(u32::MAX)
        .clamp(8, 4096);
    let made = LocalExecutorBuilder::new(context.core.map_or(Placement::Unbound, Placement::Fixed))
        .ring_depth(8)
        .io_memory(0)
        .preempt_timer(NEVER)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(|error| format!("executor: {error}"))
        .and_then(|executor| {
            let ring = Ring::new(ring_depth).map_err(|error| format!("private ring: {error}"))?;
            let schedule = Schedule::enter().map_err(|error| format!("event counter: {error}"))?;
            Ok((executor, Rc::new(ring), schedule))
        });
    // The other end is gone only if another shard failed first.
    let (executor, ring, schedule) = match made {
        Ok(made) => {
            drop(started.send((context.index, Ok(()))));
            // The caller waits until every shard has let go of this.
            drop(started);
            made
        }
        Err(reason) => {
            drop(started.send((context.index, Err(reason))));
            return None;
        }
    };
    RING.set(Some(ring.clone()));
    let main = spawn_local(f(context));
    let result = executor.run(run_shard(plan.spin, ring.clone(), schedule.clone(), main));
    schedule.leave();
    ring.settle();
    RING.set(None);
    Some(result)
}

/// Longer than any process lives, but no overflow when added to now.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// The loop: a round of tasks, then the ring, and sleep when there is nothing to do.
async fn run_shard<R: 'static>(
    spin: Duration,
    ring: Rc<Ring>,
    schedule: Rc<Schedule>,
    mut main: Task<R>,
) -> R {
    let gate = ring.watch_event(schedule.gate().event());
    loop {
        schedule.run_round();
        ring.pump();
        if let Some(result) = main.take_result() {
            drop(gate);
            return result;
        }
        if schedule.has_work() || !ring.is_quiet() {
            continue;
        }
        let limit = schedule.next_timer();
        if limit == Some(Duration::ZERO) {
            continue;
        }
        let idle_from = Instant::now();
        if !look_for_work(spin, idle_from, &ring, &schedule) && schedule.may_sleep() {
            // No system call as long as the kernel keeps the multishot poll.
            Ring::keep_armed(&gate);
            ring.wait(limit);
            schedule.awake();
        }
        let idle_ns = u64::try_from(idle_from.elapsed().as_nanos()).unwrap_or(u64::MAX);
        stats::with(|stats| stats.idle_ns.add(idle_ns));
    }
}

/// Looks for `spin` from `start` before sleeping; `true` when work turned up.
fn look_for_work(spin: Duration, start: Instant, ring: &Ring, schedule: &Schedule) -> bool {
    if spin.is_zero() {
        return false;
    }
    while start.elapsed() < spin {
        if schedule.has_work() || ring.has_events() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

thread_local! {
    static RING: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// The ring of the calling shard.
///
/// # Panics
/// Outside a shard: sockets and files belong to one.
pub(crate) fn ring() -> Rc<Ring> {
    RING.with_borrow(Option::clone)
        .expect("sockets and files are used inside a shard only")
}

/// A task of this shard; a future of its result. Dropping it cancels the task.
#[must_use = "a dropped task is cancelled: await or detach it"]
pub struct Task<T> {
    outcome: Rc<Outcome<T>>,
    index: usize,
    serial: u64,
    detached: bool,
}

struct Outcome<T> {
    result: RefCell<Option<T>>,
    waiter: Cell<Option<Waker>>,
}

impl<T> Task<T> {
    /// Lets the task run to its end without anybody waiting.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// Stops the task at its current await; its result if it was done already.
    pub fn cancel(self) -> Option<T> {
        self.outcome.result.take()
    }

    fn take_result(&mut self) -> Option<T> {
        self.outcome.result.take()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.outcome.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                self.outcome.waiter.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.detached {
            schedule::cancel(self.index, self.serial);
        }
    }
}

/// Starts a task on this shard.
pub fn spawn_local<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let outcome = Rc::new(Outcome {
        result: RefCell::new(None),
        waiter: Cell::new(None),
    });
    let told = outcome.clone();
    let (index, serial) = schedule::current().spawn(Box::pin(async move {
        let result = future.await;
        told.result.replace(Some(result));
        if let Some(waiter) = told.waiter.take() {
            waiter.wake();
        }
    }));
    Task {
        outcome,
        index,
        serial,
        detached: false,
    }
}

/// Runs `work`, which may block, on the shard's side thread (one, in order of calls), which is
/// started at the first call. It runs even if the future is dropped after its first poll.
pub async fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    side::run(side::Lane::Short, work).await
}

/// [`spawn_blocking`] on a thread of its own, for work that waits for the device: what is short does
/// not wait behind it.
pub async fn spawn_flush<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    side::run(side::Lane::Flush, work).await
}

/// Lets every other ready task run once before this one goes on.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// `true` when kernel events or wakes from other threads wait for this task to give way. A few
/// loads from memory: cheap enough for inner loops.
pub fn need_yield() -> bool {
    schedule::current().woken_from_outside() || ring().has_events()
}

/// [`yield_now`] when [`need_yield`].
pub async fn yield_if_needed() {
    if need_yield() {
        yield_now().await;
    }
}

/// Waits for `duration`, or longer when the shard is busy.
pub async fn sleep(duration: Duration) {
    let now = Instant::now();
    let deadline = now.checked_add(duration).unwrap_or(now + NEVER);
    schedule::current().sleep_until(deadline).await;
}

/// Submits queued socket and disk work and collects its completions now, rather than when this
/// task gives way.
pub fn pump() {
    ring().pump();
}

/// A bell within one shard: many may ring it, one task waits. Rings before the wait are
/// remembered, as one. Costs no allocation and no system call.
#[derive(Default)]
pub struct Notify {
    rung: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Notify {
    /// A bell that has not rung.
    pub const fn new() -> Self {
        Self {
            rung: Cell::new(false),
            waiter: RefCell::new(None),
        }
    }

    /// Rings: the waiting task runs soon, or the next wait returns at once.
    pub fn notify(&self) {
        if self.rung.replace(true) {
            return;
        }
        if let Some(waker) = self.waiter.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whether it rang since the last wait; forgets it.
    pub fn take(&self) -> bool {
        self.rung.replace(false)
    }

    /// Waits for a ring. Only one task may wait at a time.
    pub async fn notified(&self) {
        poll_fn(|cx| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            let mut waiter = self.waiter.borrow_mut();
            if !waiter
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                *waiter = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
