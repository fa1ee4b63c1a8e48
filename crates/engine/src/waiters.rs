//! Parked calls (Kafka's purgatory): appends that wait for their offset to be committed, and
//! readers that wait for more. Readers are released at most once per turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use klamm_model::{Instant, Offset};

use crate::api::{AppendCall, Ticket, WatchCall, Watched};

/// A slot in one of the engine's tables.
pub(crate) type Slot = u32;

/// Appends of one core that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct ParkedAppends {
    calls: Vec<Option<ParkedAppend>>,
    free: Vec<Slot>,
}

#[derive(Debug)]
struct ParkedAppend {
    ticket: Ticket,
    call: AppendCall,
    remaining: u32,
}

impl ParkedAppends {
    /// Parks a call whose outcomes hold, provided that `remaining` of them get committed.
    pub(crate) fn park(&mut self, ticket: Ticket, call: AppendCall, remaining: u32) -> Slot {
        assert!(
            remaining > 0,
            "a call that waits for nothing is answered at once"
        );
        let parked = Some(ParkedAppend {
            ticket,
            call,
            remaining,
        });
        if let Some(slot) = self.free.pop() {
            self.calls[slot as usize] = parked;
            return slot;
        }
        self.calls.push(parked);
        (self.calls.len() - 1) as Slot
    }

    /// One of the call's batches is committed, or has failed with `failure`. Returns the call when
    /// it was the last.
    pub(crate) fn settle(
        &mut self,
        slot: Slot,
        place: u32,
        failure: Option<crate::api::AppendError>,
    ) -> Option<(Ticket, AppendCall)> {
        let entry = self.calls.get_mut(slot as usize)?;
        let parked = entry.as_mut()?;
        let outcome = parked.call.outcomes.get_mut(place as usize);
        if let (Some(error), Some(outcome)) = (failure, outcome) {
            *outcome = Err(error);
        }
        parked.remaining -= 1;
        if parked.remaining > 0 {
            return None;
        }
        let done = entry.take()?;
        self.free.push(slot);
        Some((done.ticket, done.call))
    }

    /// Calls that wait.
    pub(crate) fn len(&self) -> usize {
        self.calls.len() - self.free.len()
    }
}

/// An append that waits at an offset of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppendWaiter {
    /// Committed, and kept as the topic's class asks, when the leader's kept end reaches this.
    pub(crate) end_offset: Offset,
    /// The parked call.
    pub(crate) call: Slot,
    /// Which of its batches.
    pub(crate) place: u32,
}

/// The append waiters of one partition, by rising offset.
#[derive(Debug, Default)]
pub(crate) struct AppendWaiters(VecDeque<AppendWaiter>);

impl AppendWaiters {
    /// Adds a waiter. Almost always at the end; a duplicate of an earlier batch may wait for a
    /// smaller offset.
    pub(crate) fn push(&mut self, waiter: AppendWaiter) {
        let place = self
            .0
            .partition_point(|other| other.end_offset <= waiter.end_offset);
        self.0.insert(place, waiter);
    }

    /// The next waiter whose offset is committed.
    pub(crate) fn pop_committed(&mut self, kept_end: Offset) -> Option<AppendWaiter> {
        self.0
            .front()
            .filter(|waiter| waiter.end_offset <= kept_end)?;
        self.0.pop_front()
    }

    /// Every waiter, for a partition that goes away.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = AppendWaiter> {
        self.0.drain(..)
    }
}

/// Readers of one core that wait for more.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watches: BTreeMap<u64, Watch>,
    by_ticket: BTreeMap<Ticket, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Satisfied in this turn.
    due: BTreeSet<u64>,
    next: u64,
}

#[derive(Debug)]
struct Watch {
    ticket: Ticket,
    deadline: Instant,
    bytes_min: usize,
    /// Bytes that the reader would find now.
    available: usize,
    partitions: Vec<Slot>,
}

/// A reader that waits no longer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) id: u64,
    pub(crate) ticket: Ticket,
    pub(crate) slots: Vec<Slot>,
    pub(crate) watched: Watched,
}

impl Watches {
    /// Parks a reader that finds only `available` bytes in these partitions.
    pub(crate) fn park(
        &mut self,
        ticket: Ticket,
        call: &WatchCall,
        available: usize,
        partitions: Vec<Slot>,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        self.by_ticket.insert(ticket, id);
        self.deadlines.insert((call.deadline, id));
        self.watches.insert(
            id,
            Watch {
                ticket,
                deadline: call.deadline,
                bytes_min: call.bytes_min.max(1),
                available,
                partitions,
            },
        );
        id
    }

    /// `bytes` more can be read in a partition of this watch.
    pub(crate) fn advance(&mut self, id: u64, bytes: usize) {
        if let Some(watch) = self.watches.get_mut(&id) {
            watch.available = watch.available.saturating_add(bytes);
            if watch.available >= watch.bytes_min {
                self.due.insert(id);
            }
        }
    }

    /// A partition of this watch changed so that the reader must look again.
    pub(crate) fn wake(&mut self, id: u64) {
        self.due.insert(id);
    }

    /// The reader lost interest. Returns the watch and its partitions.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> Option<(u64, Vec<Slot>)> {
        let id = *self.by_ticket.get(&ticket)?;
        self.remove(id).map(|watch| (id, watch.partitions))
    }

    /// Takes every watch that is satisfied or whose deadline has come.
    pub(crate) fn release(&mut self, now: Instant) -> Vec<Released> {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            self.due.insert(id);
        }
        let due = std::mem::take(&mut self.due);
        due.into_iter()
            .filter_map(|id| {
                let watch = self.remove(id)?;
                let enough = watch.available >= watch.bytes_min;
                Some(Released {
                    id,
                    ticket: watch.ticket,
                    watched: if enough {
                        Watched::Enough(watch.available)
                    } else {
                        Watched::Over
                    },
                    slots: watch.partitions,
                })
            })
            .collect()
    }

    fn remove(&mut self, id: u64) -> Option<Watch> {
        let watch = self.watches.remove(&id)?;
        self.by_ticket.remove(&watch.ticket);
        self.deadlines.remove(&(watch.deadline, id));
        Some(watch)
    }

    /// When the next reader must be told in any case.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// True if a reader is satisfied and not yet told.
    pub(crate) fn any_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Readers that wait.
    pub(crate) fn len(&self) -> usize {
        self.watches.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_model::{IsolationLevel, ShardId};

    fn ticket(call: u64) -> Ticket {
        Ticket {
            shard: ShardId(0),
            call,
        }
    }

    #[test]
    fn a_call_is_answered_when_its_last_batch_is_settled() {
        let mut parked = ParkedAppends::default();
        let outcome = || Err(crate::api::AppendError::UnknownPartition);
        let mut call = AppendCall::new(klamm_model::Acks::All, Vec::new());
        call.outcomes = vec![outcome(), outcome()];
        let slot = parked.park(ticket(7), call, 2);
        assert_eq!(parked.settle(slot, 0, None), None);
        let (answered, call) = parked.settle(slot, 1, None).expect("the last batch");
        assert_eq!((answered, call.outcomes.len()), (ticket(7), 2));
        assert_eq!(parked.len(), 0);
    }

    #[test]
    fn waiters_leave_in_the_order_of_their_offsets() {
        let mut waiters = AppendWaiters::default();
        for (end, call) in [(5, 0), (9, 1), (5, 2)] {
            waiters.push(AppendWaiter {
                end_offset: Offset(end),
                call,
                place: 0,
            });
        }
        let mut order = Vec::new();
        while let Some(waiter) = waiters.pop_committed(Offset(8)) {
            order.push(waiter.call);
        }
        assert_eq!(order, [0, 2]);
    }

    #[test]
    fn a_reader_is_told_once_when_bytes_or_time_suffice() {
        let mut watches = Watches::default();
        let call = WatchCall {
            positions: Vec::new(),
            isolation: IsolationLevel::ReadUncommitted,
            bytes_min: 10,
            deadline: Instant(100),
        };
        let first = watches.park(ticket(1), &call, 0, vec![3]);
        let late = watches.park(ticket(2), &call, 3, vec![3]);
        watches.advance(first, 4);
        assert!(!watches.any_due());
        watches.advance(first, 6);
        watches.advance(first, 7);
        let released = |id, call, watched| Released {
            id,
            ticket: ticket(call),
            slots: vec![3],
            watched,
        };
        let enough = released(first, 1, Watched::Enough(17));
        assert_eq!(watches.release(Instant(1)), [enough]);
        assert_eq!(watches.release(Instant(99)), []);
        let over = released(late, 2, Watched::Over);
        assert_eq!(watches.release(Instant(100)), [over]);
        assert_eq!((watches.len(), watches.next_deadline()), (0, None));
    }
}
