//! What a decider and its host pass to each other: tickets, moments, records, timers, decisions.

use bytes::Bytes;
use klamm_model::{Instant, WallTime};

/// The host's name of a caller that waits. Each ticket is answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the pure machine cannot know by itself, for one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time, for deadlines.
    pub now: Instant,
    /// Wall-clock time, for what is kept over restarts.
    pub wall: WallTime,
    /// Fresh randomness, 128 bits for every input: ids of members are drawn from it.
    pub seed: u128,
}

/// One record of the partition, in Kafka's own format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key; never absent.
    pub key: Bytes,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// When the replies of a decision may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// At once: they rest on nothing that the log must keep.
    Now,
    /// When everything is committed that the machine has replayed, the records of this decision
    /// included. Also decisions without records are held so: they may rest on earlier ones.
    UntilCommitted,
}

/// A timer to be set, in the place of an earlier one of the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer<K> {
    /// Which one.
    pub key: K,
    /// When it fires, once; `None` disarms it. The machine bears one that fires late, or although
    /// it was disarmed, or twice.
    pub at: Option<Instant>,
}

/// What a machine decided. Every answer leaves through one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision<R, K> {
    /// To be appended in order, and then replayed, before the next input: as one batch, kept all or
    /// none; as several where that would be too large. Of those a crash may leave the first ones:
    /// what follows a load makes that good.
    pub records: Vec<Record>,
    /// The answers, each to a caller that waited.
    pub replies: Vec<(Ticket, R)>,
    /// When the replies may leave: all of them.
    pub hold: Hold,
    /// Timers to be set.
    pub timers: Vec<Timer<K>>,
}

impl<R, K> Decision<R, K> {
    /// Nothing to append, to answer or to set.
    pub(crate) const fn nothing() -> Self {
        Self {
            records: Vec::new(),
            replies: Vec::new(),
            hold: Hold::Now,
            timers: Vec::new(),
        }
    }

    /// Holds the replies until what has been replayed is committed.
    pub(crate) const fn held(&mut self) {
        self.hold = Hold::UntilCommitted;
    }

    /// Answers a caller.
    pub(crate) fn answer(&mut self, ticket: Ticket, reply: R) {
        self.replies.push((ticket, reply));
    }
}
