//! `Shards`: everything that the front may ask of the cores. A call whose partitions live here
//! goes straight into the engine; for another core it becomes one letter.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klamm_engine::api::{
    ActiveProducer, AppendCall, Call, CoordinateOutcome, EpochOutcome, EpochQuestion, LogSize,
    MoveFiles, Now, OffsetOutcome, OffsetQuestion, OffsetsCall, QuorumFacts, ReadCall, Reply,
    SharedImage, TrimOutcome, TrimPartition,
};
use klamm_engine::coord;
use klamm_engine::effects::Effect;
use klamm_engine::engine::{Engine, EngineGauges, EngineStats};
use klamm_engine::metadata::{ClientQuotas, Command, Reply as ControlReply};
use klamm_engine::space::SpaceState;
use klamm_engine::{GroupGauges, PartitionGauges};
use klamm_model::{Acks, Instant, IsolationLevel, ShardId, TopicPartition, WallTime};
use klamm_os::mesh::Endpoint;
use klamm_os::net::Socket;
use klamm_os::{clock, exec};

use crate::calls::{Calls, PendingCall};
use crate::drivers::space::DiskWatch;
use crate::letters::Letter;
use crate::probe::Probe;
use crate::requests::{Append, Read, Returned, Waiting};

/// What runs on one core, shared by the tasks of that core.
pub(crate) struct Core {
    pub(crate) id: ShardId,
    pub(crate) shards: u16,
    pub(crate) engine: RefCell<Engine>,
    pub(crate) image: RefCell<SharedImage>,
    pub(crate) calls: Rc<Calls>,
    pub(crate) returned: Returned,
    pub(crate) endpoint: Endpoint<Letter>,
    /// Letters that did not fit into a full queue, oldest first.
    pub(crate) overflow: RefCell<VecDeque<(usize, Letter)>>,
    /// Rung when a turn has something to do.
    pub(crate) work: exec::Notify,
    pub(crate) probe: Probe,
    /// Connections handed to this core that the front has not taken yet.
    pub(crate) arrivals: RefCell<VecDeque<(Socket, usize)>>,
    pub(crate) arrived: exec::Notify,
    /// Connections that live on each core, as far as this one has handed them out.
    pub(crate) handed: RefCell<Vec<u64>>,
    /// Which cores have more in their write-ahead logs than a restart may have to read.
    pub(crate) pressed: Arc<[AtomicBool]>,
    /// This core's eye on the disk.
    pub(crate) disk: DiskWatch,
    /// The front of this core shall end.
    pub(crate) stop: Cell<bool>,
    pub(crate) stopped: exec::Notify,
}

impl Core {
    /// A core with its engine, before anything runs.
    pub(crate) fn new(
        id: ShardId,
        shards: u16,
        engine: Engine,
        endpoint: Endpoint<Letter>,
        pressed: Arc<[AtomicBool]>,
        disk: DiskWatch,
    ) -> Self {
        Self {
            id,
            shards,
            image: RefCell::new(engine.image().clone()),
            engine: RefCell::new(engine),
            calls: Rc::new(Calls::default()),
            returned: Returned::default(),
            endpoint,
            overflow: RefCell::new(VecDeque::new()),
            work: exec::Notify::new(),
            probe: Probe::default(),
            arrivals: RefCell::new(VecDeque::new()),
            arrived: exec::Notify::new(),
            pressed,
            disk,
            stop: Cell::new(false),
            stopped: exec::Notify::new(),
            handed: RefCell::new(vec![0; usize::from(shards)]),
        }
    }

    /// Ends the engine's turn and lets everything be carried out that it wants done by then.
    /// `carry_out` says whether it wrote to the write-ahead log; `effects` is empty before and after.
    pub(crate) fn settle(
        &self,
        effects: &mut Vec<Effect>,
        mut carry_out: impl FnMut(Effect) -> bool,
    ) {
        self.engine.borrow_mut().end_turn(Self::now());
        loop {
            self.engine.borrow_mut().swap_effects(effects);
            if effects.is_empty() {
                break;
            }
            let mut wrote = false;
            for effect in effects.drain(..) {
                wrote |= carry_out(effect);
            }
            if wrote {
                self.engine.borrow_mut().on_wal_written();
            }
        }
    }

    pub(crate) fn now() -> Now {
        Now {
            instant: Instant(clock::monotonic_ns()),
            wall: WallTime(clock::wall_ms()),
        }
    }

    /// Sends a letter, or keeps it for the next turn if the peer's queue is full.
    pub(crate) fn post(&self, to: ShardId, letter: Letter) {
        let mut overflow = self.overflow.borrow_mut();
        let to = usize::from(to.0);
        if overflow.iter().any(|(other, _)| *other == to) {
            overflow.push_back((to, letter));
            return;
        }
        if let Err(letter) = self.endpoint.send(to, letter) {
            overflow.push_back((to, letter));
        }
        self.work.notify();
    }
}

/// A handle on the cores, for the tasks of one of them.
#[derive(Clone)]
pub struct Shards {
    pub(crate) core: Rc<Core>,
}

impl Shards {
    /// The core that this handle belongs to.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.core.id
    }

    /// Number of cores.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.core.shards
    }

    /// The metadata as this core sees it.
    #[must_use]
    pub fn image(&self) -> SharedImage {
        self.core.image.borrow().clone()
    }

    /// The same for a look that does not wait for anything.
    #[must_use]
    pub fn glance(&self) -> Ref<'_, SharedImage> {
        self.core.image.borrow()
    }

    /// What clients are held to, where anybody is held to anything.
    #[must_use]
    pub fn client_quotas(&self) -> Option<ClientQuotas> {
        let image = self.core.image.borrow();
        let quotas = image.client_quotas();
        (!quotas.is_empty()).then(|| quotas.clone())
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Core::now()
    }

    /// How this core stands with the disk.
    #[must_use]
    pub fn space(&self) -> SpaceState {
        self.core.engine.borrow().space()
    }

    /// Waits while some core's segments are too far behind its write-ahead log: producers are held
    /// back at the socket, everyone else goes on. True if there was a wait.
    pub async fn admit(&self) -> bool {
        /// How long a core is given to write segments before it is looked at again.
        const PAUSE: Duration = Duration::from_millis(1);
        let mut waited = false;
        while self
            .core
            .pressed
            .iter()
            .any(|core| core.load(Ordering::Relaxed))
        {
            waited = true;
            exec::sleep(PAUSE).await;
        }
        waited
    }

    /// An append without batches yet.
    #[must_use]
    pub fn append(&self, acks: Acks) -> Append {
        Append::new(self.clone(), acks)
    }

    /// A read without partitions yet; all of them together give at most `bytes_max` bytes, or one
    /// batch if that alone is larger.
    #[must_use]
    pub fn read(&self, isolation: IsolationLevel, bytes_max: usize) -> Read {
        Read::new(self.clone(), isolation, bytes_max)
    }

    /// The one core that all items belong to.
    pub(crate) fn home_of<T>(
        &self,
        items: &[T],
        partition: impl Fn(&T) -> TopicPartition,
    ) -> Option<ShardId> {
        let mut homes = items.iter().map(|item| partition(item).home(self.count()));
        let first = homes.next()?;
        homes.all(|home| home == first).then_some(first)
    }

    /// Begins an append of several cores; the batches have their places when this returns.
    pub(crate) fn append_to_several(
        &self,
        call: AppendCall,
    ) -> impl Future<Output = AppendCall> + use<> {
        let acks = call.acks;
        let plan = Plan::of(self.core.shards, &call.partitions, |part| part.partition);
        let calls = plan.split(call.partitions, |home, partitions| {
            self.begin(home, Call::Append(AppendCall::new(acks, partitions)))
        });
        async move {
            let outcomes = plan.join(calls, |reply| match reply {
                Reply::Append(call) => call.outcomes,
                _ => Vec::new(),
            });
            AppendCall {
                outcomes: outcomes.await,
                ..AppendCall::new(acks, Vec::new())
            }
        }
    }

    /// Reads from this core. What is in memory needs no turn.
    pub(crate) fn read_here(&self, mut call: ReadCall) -> Waiting<ReadCall> {
        let mut engine = self.core.engine.borrow_mut();
        let wishes = engine.read_now(&mut call);
        if wishes.is_empty() {
            return Waiting::Here(call);
        }
        let pending = self.core.calls.open(self.core.id);
        engine.read_rest(pending.ticket(), call, wishes);
        self.core.work.notify();
        Waiting::One(pending)
    }

    /// Reads from several cores, one after the other.
    pub(crate) fn read_from_several(
        &self,
        mut call: ReadCall,
    ) -> impl Future<Output = ReadCall> + use<> {
        let shards = self.clone();
        let plan = Plan::of(self.core.shards, &call.partitions, |part| part.partition);
        async move {
            let (mut budget, mut whole_first) = (call.bytes_max, call.whole_first);
            let mut parts = Vec::new();
            for (home, partitions) in plan.groups(call.partitions.clone()) {
                let mut part = ReadCall::new(call.isolation, budget, partitions);
                part.whole_first = whole_first;
                if let Reply::Read(mut part) = shards.begin(home, Call::Read(part)).await {
                    let got = part.bytes();
                    budget = budget.saturating_sub(got);
                    whole_first &= got == 0;
                    // The parts' batches come one after the other in the whole.
                    let before = call.records.len();
                    for outcome in &mut part.outcomes {
                        let Range { start, end } = outcome.records;
                        outcome.records = before + start..before + end;
                    }
                    call.records.append(&mut part.records);
                    parts.push(part.outcomes);
                }
            }
            call.outcomes = plan.reorder(parts);
            call
        }
    }

    /// Finds offsets, in the order of the questions.
    pub async fn offsets(
        &self,
        isolation: IsolationLevel,
        questions: Vec<OffsetQuestion>,
    ) -> Vec<OffsetOutcome> {
        let plan = Plan::of(self.core.shards, &questions, |question| question.partition);
        let calls = plan.split(questions, |home, partitions| {
            self.begin(
                home,
                Call::Offsets(OffsetsCall {
                    isolation,
                    partitions,
                }),
            )
        });
        plan.join(calls, |reply| match reply {
            Reply::Offsets(outcomes) => outcomes,
            _ => Vec::new(),
        })
        .await
    }

    /// Finds where reigns ended, in the order of the questions.
    pub async fn epoch_ends(&self, questions: Vec<EpochQuestion>) -> Vec<EpochOutcome> {
        let plan = Plan::of(self.core.shards, &questions, |question| question.partition);
        let calls = plan.split(questions, |home, part| {
            self.begin(home, Call::EpochEnds(part))
        });
        plan.join(calls, |reply| match reply {
            Reply::EpochEnds(outcomes) => outcomes,
            _ => Vec::new(),
        })
        .await
    }

    /// Has the files of partitions lie in other data folders, in the background; for each, in the
    /// order of the wishes, whether the partition is here.
    pub async fn move_files(&self, wishes: Vec<MoveFiles>) -> Vec<bool> {
        let plan = Plan::of(self.core.shards, &wishes, |wish| wish.partition);
        let calls = plan.split(wishes, |home, part| self.begin(home, Call::MoveFiles(part)));
        plan.join(calls, |reply| match reply {
            Reply::MoveFiles(found) => found,
            _ => Vec::new(),
        })
        .await
    }

    /// How much the logs of partitions are, in their order; `None` for those that are not here.
    pub async fn log_sizes(&self, partitions: Vec<TopicPartition>) -> Vec<Option<LogSize>> {
        let plan = Plan::of(self.core.shards, &partitions, |&partition| partition);
        let calls = plan.split(partitions, |home, part| {
            self.begin(home, Call::LogSizes(part))
        });
        plan.join(calls, |reply| match reply {
            Reply::LogSizes(sizes) => sizes,
            _ => Vec::new(),
        })
        .await
    }

    /// The producers that partitions remember, in the order of the partitions; `None` for those
    /// that are not here.
    pub async fn producers(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Vec<Option<Vec<ActiveProducer>>> {
        let plan = Plan::of(self.core.shards, &partitions, |&partition| partition);
        let calls = plan.split(partitions, |home, part| {
            self.begin(home, Call::Producers(part))
        });
        plan.join(calls, |reply| match reply {
            Reply::Producers(lists) => lists,
            _ => Vec::new(),
        })
        .await
    }

    /// Moves the starts of logs, in the order of the wishes; answered once that is durable.
    pub async fn trim(&self, wishes: Vec<TrimPartition>) -> Vec<TrimOutcome> {
        let plan = Plan::of(self.core.shards, &wishes, |wish| wish.partition);
        let calls = plan.split(wishes, |home, part| self.begin(home, Call::Trim(part)));
        plan.join(calls, |reply| match reply {
            Reply::Trim(outcomes) => outcomes,
            _ => Vec::new(),
        })
        .await
    }

    /// Lets the group coordinator on a partition decide something; it is asked when this returns.
    /// Dropping the future loses the answer and nothing else.
    pub fn coordinate(
        &self,
        partition: TopicPartition,
        command: coord::Command,
    ) -> impl Future<Output = CoordinateOutcome> + use<> {
        let home = partition.home(self.count());
        let call = self.begin(home, Call::Coordinate(partition, command));
        async move {
            match call.await {
                Reply::Coordinate(outcome) => outcome,
                other => unreachable!("a call about groups is answered by {other:?}"),
            }
        }
    }

    /// Where the metadata quorum stands.
    pub async fn quorum(&self) -> QuorumFacts {
        match self.begin(ShardId(0), Call::Quorum).await {
            Reply::Quorum(facts) => facts,
            other => unreachable!("a call about the quorum is answered by {other:?}"),
        }
    }

    /// Asks the controller to decide something; answered when the decision is durable.
    pub async fn control(&self, command: Command) -> ControlReply {
        match self.begin(ShardId(0), Call::Control(command)).await {
            Reply::Control(reply) => reply,
            other => unreachable!("a control call is answered by {other:?}"),
        }
    }

    /// Hands a new connection to the core with the fewest, this one included.
    pub fn hand_out(&self, socket: Socket, number: usize) {
        let to = {
            let mut handed = self.core.handed.borrow_mut();
            let least = handed.iter().enumerate().min_by_key(|(_, count)| **count);
            let to = least.map_or(0, |(place, _)| place);
            handed[to] += 1;
            to
        };
        if to == usize::from(self.core.id.0) {
            self.arrive(socket, number);
        } else {
            self.core
                .post(ShardId(to as u16), Letter::Connection { socket, number });
        }
    }

    /// A connection that this core was handed has ended. Core 0 hands out, so it counts.
    pub fn connection_over(&self) {
        let shard = self.core.id;
        if shard == ShardId(0) {
            self.uncount(shard);
        } else {
            self.core.post(ShardId(0), Letter::ConnectionOver { shard });
        }
    }

    pub(crate) fn uncount(&self, shard: ShardId) {
        if let Some(count) = self.core.handed.borrow_mut().get_mut(usize::from(shard.0)) {
            *count = count.saturating_sub(1);
        }
    }

    pub(crate) fn arrive(&self, socket: Socket, number: usize) {
        self.core.arrivals.borrow_mut().push_back((socket, number));
        self.core.arrived.notify();
    }

    /// The next connection that was handed to this core, with its number.
    pub async fn next_connection(&self) -> (Socket, usize) {
        loop {
            if let Some(arrival) = self.core.arrivals.borrow_mut().pop_front() {
                return arrival;
            }
            self.core.arrived.notified().await;
        }
    }

    /// Tells the front of this core to end.
    pub fn stop(&self) {
        self.core.stop.set(true);
        self.core.stopped.notify();
    }

    /// Waits until [`stop`](Self::stop) is called. One task of the core may wait.
    pub async fn stopped(&self) {
        while !self.core.stop.get() {
            self.core.stopped.notified().await;
        }
    }

    /// Counters of this core's engine.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.core.engine.borrow().stats()
    }

    /// Gauges of this core's engine.
    #[must_use]
    pub fn gauges(&self) -> EngineGauges {
        self.core.engine.borrow().gauges()
    }

    /// What the group coordinators of this core hold and did.
    #[must_use]
    pub fn group_gauges(&self) -> GroupGauges {
        self.core.engine.borrow().group_gauges()
    }

    /// Every partition of clients' topics on this core.
    #[must_use]
    pub fn partition_gauges(&self) -> Vec<PartitionGauges> {
        self.core.engine.borrow().partition_gauges()
    }

    /// Where the metadata quorum stands, from the one core that hosts this node's part of it.
    #[must_use]
    pub fn quorum_facts(&self) -> Option<QuorumFacts> {
        self.core.engine.borrow().quorum_facts()
    }

    /// Letters that wait because the queue of another core is full.
    #[must_use]
    pub fn letters_waiting(&self) -> usize {
        self.core.overflow.borrow().len()
    }

    /// Counters and histograms of this core.
    #[must_use]
    pub fn probe(&self) -> &Probe {
        &self.core.probe
    }

    /// Begins a call on the core `home`.
    pub(crate) fn begin(&self, home: ShardId, call: Call) -> PendingCall {
        let pending = self.core.calls.open(self.core.id);
        let ticket = pending.ticket();
        if home == self.core.id {
            self.core
                .engine
                .borrow_mut()
                .call(Core::now(), ticket, call);
            self.core.work.notify();
        } else {
            self.core.post(home, Letter::Call { ticket, call });
        }
        pending
    }
}

/// Which core each item of a call belongs to.
pub(crate) struct Plan {
    homes: Vec<ShardId>,
    shards: u16,
}

impl Plan {
    pub(crate) fn of<T>(
        shards: u16,
        items: &[T],
        partition: impl Fn(&T) -> TopicPartition,
    ) -> Self {
        Self {
            homes: items
                .iter()
                .map(|item| partition(item).home(shards))
                .collect(),
            shards,
        }
    }

    /// The one core that all items belong to.
    fn single(&self) -> Option<ShardId> {
        let first = *self.homes.first()?;
        self.homes
            .iter()
            .all(|&home| home == first)
            .then_some(first)
    }

    /// The items of each core, cores in order.
    pub(crate) fn groups<T>(&self, items: Vec<T>) -> Vec<(ShardId, Vec<T>)> {
        if let Some(home) = self.single() {
            return vec![(home, items)];
        }
        let mut groups: Vec<(ShardId, Vec<T>)> = (0..self.shards)
            .map(|shard| (ShardId(shard), Vec::new()))
            .collect();
        for (item, home) in items.into_iter().zip(&self.homes) {
            groups[usize::from(home.0)].1.push(item);
        }
        groups.retain(|(_, items)| !items.is_empty());
        groups
    }

    pub(crate) fn split<T>(
        &self,
        items: Vec<T>,
        mut begin: impl FnMut(ShardId, Vec<T>) -> PendingCall,
    ) -> Vec<PendingCall> {
        self.groups(items)
            .into_iter()
            .map(|(home, items)| begin(home, items))
            .collect()
    }

    pub(crate) async fn join<T>(
        &self,
        calls: Vec<PendingCall>,
        unpack: impl Fn(Reply) -> Vec<T>,
    ) -> Vec<T> {
        let mut parts = Vec::with_capacity(calls.len());
        for call in calls {
            parts.push(unpack(call.await));
        }
        self.reorder(parts)
    }

    /// Puts the results of the groups back into the order of the items.
    fn reorder<T>(&self, mut parts: Vec<Vec<T>>) -> Vec<T> {
        if parts.len() == 1 {
            return parts.pop().unwrap_or_default();
        }
        let mut present: Vec<ShardId> = self.homes.clone();
        present.sort_unstable();
        present.dedup();
        let mut queues: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        self.homes
            .iter()
            .filter_map(|home| {
                let place = present.binary_search(home).ok()?;
                queues.get_mut(place)?.next()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_cores_come_back_in_the_order_of_the_items() {
        let plan = Plan {
            homes: [2, 0, 2, 1].map(ShardId).to_vec(),
            shards: 3,
        };
        let groups = plan.groups(vec!["a", "b", "c", "d"]);
        assert_eq!(
            groups,
            [
                (ShardId(0), vec!["b"]),
                (ShardId(1), vec!["d"]),
                (ShardId(2), vec!["a", "c"])
            ]
        );
        let parts = groups.into_iter().map(|(_, items)| items).collect();
        assert_eq!(plan.reorder(parts), ["a", "b", "c", "d"]);
    }
}
