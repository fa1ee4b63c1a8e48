//! A bounded lock-free queue between exactly two threads. Each end caches the other's position,
//! so that the shared cache lines move once per batch, not per item.

use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Keeps the two positions on cache lines of their own (pairs of lines are fetched together).
#[repr(align(128))]
struct Padded<T>(T);

struct Shared<T> {
    /// Next position to read; written by the consumer only. Positions count up without wrapping
    /// to the capacity; the slot is the position masked.
    head: Padded<AtomicUsize>,
    /// Next position to write; written by the producer only.
    tail: Padded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by the producer only while its position is in `head + capacity > p >=
// tail`, by the consumer only while `head <= p < tail`; the release stores and acquire loads of
// the positions order these accesses. Items move between threads, hence `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the queue owns its items.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn slot(&self, position: usize) -> *mut MaybeUninit<T> {
        self.slots[position & (self.slots.len() - 1)].get()
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = *self.tail.0.get_mut();
        let mut position = *self.head.0.get_mut();
        while position != tail {
            // SAFETY: both ends are gone; items from head to tail are initialised and ours.
            unsafe { (*self.slot(position)).assume_init_drop() };
            position = position.wrapping_add(1);
        }
    }
}

/// The writing end.
pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

/// The reading end.
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

/// A queue for at least `capacity` items (rounded up to a power of two).
pub(crate) fn queue<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(2).next_power_of_two();
    let slots = (0..capacity)
        .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
        .collect();
    let shared = Arc::new(Shared {
        head: Padded(AtomicUsize::new(0)),
        tail: Padded(AtomicUsize::new(0)),
        slots,
    });
    let producer = Producer {
        shared: shared.clone(),
        tail: 0,
        head_seen: 0,
    };
    (
        producer,
        Consumer {
            shared,
            head: 0,
            tail_seen: 0,
        },
    )
}

impl<T> Producer<T> {
    /// Adds an item, or gives it back when the queue is full.
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Err(item);
            }
        }
        // SAFETY: the position is free: the consumer has passed `tail - capacity`, and only this
        // end writes slots.
        unsafe { (*self.shared.slot(self.tail)).write(item) };
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }
}

impl<T> Consumer<T> {
    /// Whether an item waits.
    pub(crate) fn has_item(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.head != self.tail_seen
    }

    /// The oldest item.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if !self.has_item() {
            return None;
        }
        // SAFETY: `head < tail`: the producer initialised the slot and will not touch it before
        // it sees `head` pass; it is read once, for `head` moves on.
        let item = unsafe { (*self.shared.slot(self.head)).assume_init_read() };
        self.head = self.head.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_cross_two_threads_in_order_and_none_is_lost() {
        const ITEMS: usize = if cfg!(miri) { 300 } else { 1_000_000 };
        let (mut producer, mut consumer) = queue::<Box<usize>>(64);
        let writer = std::thread::spawn(move || {
            for n in 0..ITEMS {
                let mut item = Box::new(n);
                while let Err(back) = producer.push(item) {
                    item = back;
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < ITEMS {
            match consumer.pop() {
                Some(item) => {
                    assert_eq!(*item, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        writer.join().unwrap();
        assert!(consumer.pop().is_none());
    }

    #[test]
    fn full_queue_gives_the_item_back() {
        let (mut producer, mut consumer) = queue(4);
        for n in 0..4 {
            producer.push(n).unwrap();
        }
        assert_eq!(producer.push(4), Err(4));
        assert_eq!(consumer.pop(), Some(0));
        producer.push(4).unwrap();
        assert_eq!(
            (0..5).map_while(|_| consumer.pop()).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
    }

    #[test]
    fn queued_items_are_dropped_with_the_queue() {
        let item = Arc::new(());
        let (mut producer, consumer) = queue(4);
        producer.push(item.clone()).unwrap();
        producer.push(item.clone()).unwrap();
        drop((producer, consumer));
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
