//! Appends and reads under way: collected, begun, answered. A call travels to its core and comes
//! back as its own reply, and its memory serves the next request of this core.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use klamm_engine::api::{AppendCall, AppendPartition, Call, ReadCall, ReadPartition, Reply};
use klamm_model::{Acks, IsolationLevel};

use crate::calls::PendingCall;
use crate::shards::Shards;
use crate::stock::{Reusable, Stock};

/// A kind of call that is its own reply.
pub trait Returning: Reusable {
    /// The call, if the reply is of its kind.
    fn returned(reply: Reply) -> Option<Self>;
}

impl Returning for AppendCall {
    fn returned(reply: Reply) -> Option<Self> {
        match reply {
            Reply::Append(call) => Some(call),
            _ => None,
        }
    }
}

impl Returning for ReadCall {
    fn returned(reply: Reply) -> Option<Self> {
        match reply {
            Reply::Read(call) => Some(call),
            _ => None,
        }
    }
}

impl Reusable for AppendCall {
    fn empty(&mut self) -> bool {
        self.partitions.empty() & self.outcomes.empty()
    }
}

impl Reusable for ReadCall {
    fn empty(&mut self) -> bool {
        self.partitions.empty() & self.outcomes.empty() & self.records.empty()
    }
}

/// Calls that were answered, for the next ones.
#[derive(Debug, Default)]
pub(crate) struct Returned {
    appends: Rc<Stock<AppendCall>>,
    reads: Rc<Stock<ReadCall>>,
}

/// Batches that are to be appended, one to each partition.
pub struct Append {
    shards: Shards,
    call: AppendCall,
}

impl Append {
    pub(crate) fn new(shards: Shards, acks: Acks) -> Self {
        let mut call = shards.core.returned.appends.take();
        call.acks = acks;
        Self { shards, call }
    }

    /// Adds a batch.
    pub fn push(&mut self, batch: AppendPartition) {
        self.call.partitions.push(batch);
    }

    /// The batches so far.
    #[must_use]
    pub fn partitions(&self) -> &[AppendPartition] {
        &self.call.partitions
    }

    /// Takes batches away again.
    pub fn retain(&mut self, keep: impl FnMut(&AppendPartition) -> bool) {
        self.call.partitions.retain(keep);
    }

    /// The batches have their place in the logs, in the order of calls on this core, when this
    /// returns; the future gives the outcomes, in the order of the batches, once they are kept.
    #[must_use]
    pub fn begin(self) -> Pending<AppendCall> {
        let Self { shards, call } = self;
        let stock = Rc::clone(&shards.core.returned.appends);
        let waiting = match shards.home_of(&call.partitions, |batch| batch.partition) {
            Some(home) => Waiting::One(shards.begin(home, Call::Append(call))),
            None => Waiting::Several(Box::pin(shards.append_to_several(call))),
        };
        Pending { stock, waiting }
    }
}

/// Partitions that are to be read.
pub struct Read {
    shards: Shards,
    call: ReadCall,
}

impl Read {
    pub(crate) fn new(shards: Shards, isolation: IsolationLevel, bytes_max: usize) -> Self {
        let mut call = shards.core.returned.reads.take();
        call.isolation = isolation;
        call.bytes_max = bytes_max;
        call.whole_first = true;
        Self { shards, call }
    }

    /// Adds a partition.
    pub fn push(&mut self, partition: ReadPartition) {
        self.call.partitions.push(partition);
    }

    /// Reads what is there now, in the order of the partitions. Partitions of one core share
    /// `bytes_max`; so that the whole stays below it, cores are asked one after the other until
    /// the budget is used up.
    #[must_use]
    pub fn begin(self) -> Pending<ReadCall> {
        let Self { shards, call } = self;
        let stock = Rc::clone(&shards.core.returned.reads);
        let waiting = match shards.home_of(&call.partitions, |part| part.partition) {
            Some(home) if home == shards.id() => shards.read_here(call),
            Some(home) => Waiting::One(shards.begin(home, Call::Read(call))),
            None => Waiting::Several(Box::pin(shards.read_from_several(call))),
        };
        Pending { stock, waiting }
    }
}

/// A call under way. Dropping it loses nothing but the answer.
pub struct Pending<C> {
    stock: Rc<Stock<C>>,
    waiting: Waiting<C>,
}

pub(crate) enum Waiting<C> {
    /// Answered already.
    Here(C),
    /// The usual case: every partition lives on one core.
    One(PendingCall),
    Several(Pin<Box<dyn Future<Output = C>>>),
}

impl<C: Returning + Unpin> Future for Pending<C> {
    type Output = Answered<C>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered<C>> {
        let call = match &mut self.waiting {
            Waiting::Here(call) => Poll::Ready(std::mem::take(call)),
            Waiting::One(call) => Pin::new(call)
                .poll(context)
                // A reply of another kind has no outcomes, which nobody takes for success.
                .map(|reply| C::returned(reply).unwrap_or_default()),
            Waiting::Several(calls) => calls.as_mut().poll(context),
        };
        call.map(|call| Answered {
            call,
            stock: Rc::clone(&self.stock),
        })
    }
}

/// A call with its outcomes. Once dropped, its memory serves the next call.
pub struct Answered<C: Returning> {
    call: C,
    stock: Rc<Stock<C>>,
}

impl<C: Returning> Deref for Answered<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.call
    }
}

impl<C: Returning> Drop for Answered<C> {
    fn drop(&mut self) {
        self.stock.give(std::mem::take(&mut self.call));
    }
}
