//! Calls of this core that wait for their reply, in slots that are used again.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use klamm_engine::api::{Reply, Ticket};
use klamm_model::ShardId;

/// The table of waiting calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    slots: RefCell<Table>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Tells a late reply to a former call from one to the present call.
    generation: u32,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    Waiting(Option<Waker>),
    Done(Reply),
    /// The caller went away; the slot is free once the reply has come.
    Abandoned,
}

impl Calls {
    /// Opens a call.
    pub(crate) fn open(self: &Rc<Self>, shard: ShardId) -> PendingCall {
        let mut table = self.slots.borrow_mut();
        let slot = table.free.pop().unwrap_or_else(|| {
            table.slots.push(Slot::default());
            (table.slots.len() - 1) as u32
        });
        let entry = &mut table.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.state = State::Waiting(None);
        let call = u64::from(entry.generation) << 32 | u64::from(slot);
        PendingCall {
            calls: Rc::clone(self),
            ticket: Ticket { shard, call },
            slot,
            done: false,
        }
    }

    /// Gives a reply to its caller. A reply nobody waits for any more is dropped.
    pub(crate) fn complete(&self, ticket: Ticket, reply: Reply) {
        let slot = ticket.call as u32;
        let generation = (ticket.call >> 32) as u32;
        let mut table = self.slots.borrow_mut();
        let Some(entry) = table.slots.get_mut(slot as usize) else {
            return;
        };
        if entry.generation != generation {
            return;
        }
        match std::mem::take(&mut entry.state) {
            State::Waiting(waker) => {
                entry.state = State::Done(reply);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Abandoned => table.free.push(slot),
            other => entry.state = other,
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        let table = self.slots.borrow();
        table.slots.len() - table.free.len()
    }
}

/// A call that waits for its reply.
#[derive(Debug)]
pub(crate) struct PendingCall {
    calls: Rc<Calls>,
    ticket: Ticket,
    slot: u32,
    done: bool,
}

impl PendingCall {
    pub(crate) const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// True once the reply has been taken.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }
}

impl Future for PendingCall {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let slot = self.slot;
        let calls = Rc::clone(&self.calls);
        let mut table = calls.slots.borrow_mut();
        let entry = &mut table.slots[slot as usize];
        match std::mem::take(&mut entry.state) {
            State::Done(reply) => {
                table.free.push(slot);
                self.done = true;
                Poll::Ready(reply)
            }
            _ => {
                entry.state = State::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut table = self.calls.slots.borrow_mut();
        let entry = &mut table.slots[self.slot as usize];
        match entry.state {
            State::Done(_) => {
                entry.state = State::Free;
                table.free.push(self.slot);
            }
            _ => entry.state = State::Abandoned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_engine::api::Watched;

    #[test]
    fn a_reply_to_an_abandoned_call_frees_its_slot() {
        let calls = Rc::new(Calls::default());
        let call = calls.open(ShardId(0));
        let ticket = call.ticket();
        drop(call);
        assert_eq!(calls.waiting(), 1);
        calls.complete(ticket, Reply::Watch(Watched::Over));
        assert_eq!(calls.waiting(), 0);
    }

    #[test]
    fn a_late_reply_never_reaches_the_slots_next_call() {
        let calls = Rc::new(Calls::default());
        let first = calls.open(ShardId(0));
        let old = first.ticket();
        calls.complete(old, Reply::Watch(Watched::Over));
        drop(first);
        let second = calls.open(ShardId(0));
        assert_eq!(second.slot, 0);
        calls.complete(old, Reply::Watch(Watched::Over));
        assert!(matches!(
            calls.slots.borrow().slots[0].state,
            State::Waiting(_)
        ));
    }
}
