//! Counters of one shard: system calls that we issue ourselves, and wakes. Owned by the shard's
//! thread; read them on that thread.

use std::cell::Cell;

/// A plain counter of one thread.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    /// How often it happened since the thread began.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// What this shard asked of the kernel, without what the executor itself does.
#[derive(Debug, Default)]
pub struct Stats {
    /// `recv` calls.
    pub receives: Counter,
    /// Bytes that `recv` returned.
    pub received_bytes: Counter,
    /// `sendmsg` calls.
    pub sends: Counter,
    /// Bytes that `sendmsg` took.
    pub sent_bytes: Counter,
    /// `sendmsg` or `recv` calls that found the socket not ready, or too full for all they had.
    pub not_ready: Counter,
    /// Connections accepted.
    pub accepts: Counter,
    /// Changes of a socket's low-water mark.
    pub low_waters: Counter,
    /// `pwritev` calls.
    pub gathered_writes: Counter,
    /// Bytes that `pwritev` took.
    pub gathered_write_bytes: Counter,
    /// Bytes of block files that had to be copied before they could be written.
    pub block_bytes_copied: Counter,
    /// Operations handed to the private ring: flushes, direct reads and writes, polls.
    pub ring_entries: Counter,
    /// `io_uring_enter` calls on the private ring.
    pub ring_enters: Counter,
    /// Completions reaped from the private ring.
    pub ring_completions: Counter,
    /// Times that the private ring had to wake this shard.
    pub ring_wakes: Counter,
    /// Times that this shard found another one (or a mailbox owner) parked, and woke it.
    pub peer_wakes: Counter,
    /// Nanoseconds without anything to do: asleep, or looking for work before that.
    pub idle_ns: Counter,
    /// Calls of the allocator, where [`super::alloc::Counting`] is the program's.
    pub allocations: Counter,
}

impl Stats {
    /// System calls that a request can cost: sockets, the write-ahead log, the ring, wakes of
    /// other shards. Files that are opened, listed or removed are not counted.
    pub fn system_calls(&self) -> u64 {
        [
            &self.receives,
            &self.sends,
            &self.accepts,
            &self.low_waters,
            &self.gathered_writes,
            &self.ring_enters,
            &self.peer_wakes,
        ]
        .iter()
        .map(|counter| counter.get())
        .sum()
    }
}

thread_local! {
    static STATS: Stats = const { Stats {
        receives: Counter(Cell::new(0)),
        received_bytes: Counter(Cell::new(0)),
        sends: Counter(Cell::new(0)),
        sent_bytes: Counter(Cell::new(0)),
        not_ready: Counter(Cell::new(0)),
        accepts: Counter(Cell::new(0)),
        low_waters: Counter(Cell::new(0)),
        gathered_writes: Counter(Cell::new(0)),
        gathered_write_bytes: Counter(Cell::new(0)),
        block_bytes_copied: Counter(Cell::new(0)),
        ring_entries: Counter(Cell::new(0)),
        ring_enters: Counter(Cell::new(0)),
        ring_completions: Counter(Cell::new(0)),
        ring_wakes: Counter(Cell::new(0)),
        peer_wakes: Counter(Cell::new(0)),
        idle_ns: Counter(Cell::new(0)),
        allocations: Counter(Cell::new(0)),
    } };
}

/// Counts one call of the allocator, also while the thread begins or ends.
pub(crate) fn count_allocation() {
    // A thread that has no counters any more is no shard.
    let _ = STATS.try_with(|stats| stats.allocations.add(1));
}

/// Looks at the counters of the calling thread.
pub fn with<R>(look: impl FnOnce(&Stats) -> R) -> R {
    STATS.with(look)
}
