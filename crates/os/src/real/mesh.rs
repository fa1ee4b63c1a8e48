//! Letters between shards: one lock-free queue for each ordered pair, one bell for each shard.
//! Sending publishes at once; waking is batched, once per peer and [`Endpoint::flush`].

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    doorbell::Doorbell,
    spsc::{Consumer, Producer, queue},
};

/// All queues between `shards` shards; may be shared by threads. Each shard takes its endpoint.
pub struct Mesh<T> {
    endpoints: Arc<Mutex<Vec<Option<Endpoint<T>>>>>,
}

impl<T> Clone for Mesh<T> {
    fn clone(&self) -> Self {
        Self {
            endpoints: self.endpoints.clone(),
        }
    }
}

impl<T: Send + 'static> Mesh<T> {
    /// A mesh of `shards` shards with room for `capacity` letters from each to each, itself too.
    pub fn new(shards: usize, capacity: usize) -> Self {
        let bells: Vec<Arc<Doorbell>> = (0..shards).map(|_| Arc::default()).collect();
        let mut receivers: Vec<Vec<Consumer<T>>> = (0..shards).map(|_| Vec::new()).collect();
        let mut senders = Vec::with_capacity(shards);
        for _ in 0..shards {
            let mut row = Vec::with_capacity(shards);
            for (to, bell) in bells.iter().enumerate() {
                let (producer, consumer) = queue(capacity);
                receivers[to].push(consumer);
                let peer = Peer {
                    queue: producer,
                    bell: bell.clone(),
                    written: false,
                };
                row.push(peer);
            }
            senders.push(row);
        }
        let endpoints =
            senders
                .into_iter()
                .zip(receivers)
                .zip(bells)
                .map(|((row, inbox), bell)| {
                    Some(Endpoint {
                        peers: RefCell::new(row),
                        inbox: RefCell::new(inbox),
                        next: Cell::new(0),
                        bell,
                    })
                });
        Self {
            endpoints: Arc::new(Mutex::new(endpoints.collect())),
        }
    }

    /// The endpoint of `shard`, the first time that it is asked for.
    pub fn endpoint(&self, shard: usize) -> Option<Endpoint<T>> {
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        endpoints.get_mut(shard)?.take()
    }
}

struct Peer<T> {
    queue: Producer<T>,
    bell: Arc<Doorbell>,
    written: bool,
}

/// One shard's end of the mesh.
pub struct Endpoint<T> {
    peers: RefCell<Vec<Peer<T>>>,
    inbox: RefCell<Vec<Consumer<T>>>,
    /// Where the next [`Self::drain`] begins, for fairness under its limit.
    next: Cell<usize>,
    bell: Arc<Doorbell>,
}

impl<T: Send + 'static> Endpoint<T> {
    /// Queues a letter for shard `to`; gives it back when that queue is full. A peer that runs
    /// may read it at once; one that sleeps is woken by [`Self::flush`].
    pub fn send(&self, to: usize, letter: T) -> Result<(), T> {
        let mut peers = self.peers.borrow_mut();
        let peer = &mut peers[to];
        // Even if it is full: the peer must come and make room.
        peer.written = true;
        peer.queue.push(letter)
    }

    /// Wakes the peers that were written to since the last flush, each at most once, and only
    /// those whose receiving task waits. Call once per turn.
    pub fn flush(&self) {
        for peer in self.peers.borrow_mut().iter_mut() {
            if std::mem::take(&mut peer.written) {
                peer.bell.ring();
            }
        }
    }

    /// Hands over up to `limit` letters: in order from each peer, peers in turn. Returns how many.
    pub fn drain(&self, limit: usize, mut receive: impl FnMut(usize, T)) -> usize {
        let shards = self.inbox.borrow().len();
        let start = self.next.get();
        let mut taken = 0;
        for step in 0..shards {
            let from = (start + step) % shards;
            // The borrow ends before `receive`, which may send and even drain.
            while taken < limit {
                let letter = self.inbox.borrow_mut()[from].pop();
                match letter {
                    Some(letter) => receive(from, letter),
                    None => break,
                }
                taken += 1;
            }
            if taken == limit {
                self.next.set(from);
                return taken;
            }
        }
        self.next.set((start + 1) % shards.max(1));
        taken
    }

    /// Whether a letter waits.
    pub fn has_letter(&self) -> bool {
        self.inbox.borrow_mut().iter_mut().any(Consumer::has_item)
    }

    /// Waits until a letter is there. One task of the shard may wait.
    pub async fn wait(&self) {
        self.bell.wait(|| self.has_letter()).await;
    }
}

impl<T> Drop for Endpoint<T> {
    fn drop(&mut self) {
        self.bell.silence();
    }
}
