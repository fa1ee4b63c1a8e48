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
    time::Duration,
};

use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use super::ring::Ring;

/// How many shards to run, and with what.
#[derive(Clone, Debug)]
pub struct ShardPlan {
    /// Number of shards, at least 1.
    pub shards: usize,
    /// Core of each shard, in order; empty means that [`choose_cores`] decides.
    pub cores: Vec<usize>,
    /// Entries of each submission queue.
    pub ring_depth: usize,
    /// Bytes of registered memory that the executor sets aside; our own I/O needs none.
    pub io_memory: usize,
    /// How long an idle shard looks for work before it sleeps. Zero unless cores are plentiful.
    pub spin: Duration,
    /// How long tasks may run before timers, wakes from other threads and the disk get a look.
    pub preempt: Duration,
}

impl ShardPlan {
    /// A plan with small defaults for `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self {
            shards,
            cores: Vec::new(),
            ring_depth: 128,
            io_memory: 64 << 10,
            spin: Duration::ZERO,
            preempt: Duration::from_millis(2),
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
    (allowed.len() >= shards).then(|| allowed.iter().take(shards).map(|core| core.id).collect())
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
            .spawn(move || {
                let executor =
                    LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
                        .ring_depth(plan.ring_depth.max(8))
                        .io_memory(plan.io_memory)
                        .spin_before_park(plan.spin)
                        .preempt_timer(plan.preempt)
                        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
                        .make()
                        .map_err(|error| format!("executor: {error}"));
                let ring_depth = u32::try_from(plan.ring_depth)
                    .unwrap_or(u32::MAX)
                    .clamp(8, 4096);
                let ring = Ring::new(ring_depth).map_err(|error| format!("private ring: {error}"));
                // The other end is gone only if another shard failed first.
                match (executor, ring) {
                    (Ok(executor), Ok(ring)) => {
                        drop(started.send((index, Ok(()))));
                        drop(started);
                        Some(executor.run(run_shard(context, ring, f)))
                    }
                    (Err(reason), _) | (_, Err(reason)) => {
                        drop(started.send((index, Err(reason))));
                        None
                    }
                }
            });
        let failed = |error: io::Error| ShardError::Start {
            shard: index,
            reason: error.to_string(),
        };
        threads.push(thread.map_err(failed)?);
    }
    drop(started);
    let mut running = 0;
    for (shard, start) in &starts {
        start.map_err(|reason| ShardError::Start { shard, reason })?;
        running += 1;
    }
    // A thread that ended without a word panicked.
    let silent = threads
        .iter()
        .position(JoinHandle::is_finished)
        .filter(|_| running < plan.shards);
    silent.map_or(Ok(Shards { threads }), |shard| {
        Err(ShardError::Panicked { shard })
    })
}

async fn run_shard<F, Fut, R>(context: ShardContext, ring: Ring, f: F) -> R
where
    F: Fn(ShardContext) -> Fut,
    Fut: Future<Output = R>,
{
    let ring = Rc::new(ring);
    RING.set(Some(ring.clone()));
    let submitter = spawn_local(ring.clone().run_submitter());
    let reaper = spawn_local(ring.clone().run_reaper());
    let result = f(context).await;
    ring.stop();
    submitter.await;
    reaper.await;
    RING.set(None);
    result
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
pub struct Task<T>(glommio::Task<T>);

impl<T: 'static> Task<T> {
    /// Lets the task run to its end without anybody waiting.
    pub fn detach(self) {
        drop(self.0.detach());
    }

    /// Stops the task at its current await and waits until it is gone; its result if it was
    /// done already.
    pub async fn cancel(self) -> Option<T> {
        self.0.cancel().await
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Starts a task on this shard.
pub fn spawn_local<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task(glommio::spawn_local(future))
}

/// Runs `work`, which may block, on the shard's side thread (one, in order of calls).
pub async fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    glommio::executor().spawn_blocking(work).await
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

/// `true` when timers or other kernel events wait for this task to give way. One comparison in
/// memory: cheap enough for inner loops.
pub fn need_yield() -> bool {
    glommio::executor().need_preempt()
}

/// [`yield_now`] when [`need_yield`].
pub async fn yield_if_needed() {
    if need_yield() {
        yield_now().await;
    }
}

/// Waits for `duration`; the wake may come late by [`ShardPlan::preempt`] on a busy shard.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
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
