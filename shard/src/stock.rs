//! Things of one core that are used again and again: taken, filled, emptied, given back. What a
//! request needs for a moment costs no allocation once the core is warm.

use std::cell::RefCell;

/// Things kept; more are given back to the allocator.
const KEPT_MAX: usize = 256;

/// Largest memory of one thing kept: a huge request must not weigh on the core for ever.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// What a [`Stock`] can keep.
pub trait Reusable: Default {
    /// Empties it, memory apart. False if that is too much to keep.
    fn empty(&mut self) -> bool;
}

impl<T> Reusable for Vec<T> {
    fn empty(&mut self) -> bool {
        self.clear();
        self.capacity() * size_of::<T>() <= KEPT_BYTES_MAX
    }
}

/// Empty things of one kind. Belongs to one core.
#[derive(Debug)]
pub struct Stock<T>(RefCell<Vec<T>>);

impl<T> Default for Stock<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Reusable> Stock<T> {
    /// An empty thing, used before or new.
    #[must_use]
    pub fn take(&self) -> T {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a thing back, whatever it holds.
    pub fn give(&self, mut thing: T) {
        let keeps = thing.empty();
        let mut kept = self.0.borrow_mut();
        if keeps && kept.len() < KEPT_MAX {
            kept.push(thing);
        }
    }
}

impl<T> Stock<Vec<T>> {
    /// Takes back a vector of the same items under a shorter lifetime. The items go; that the
    /// memory stays is the standard library's collecting in place, held by the budgets.
    pub fn give_borrowing<U>(&self, items: Vec<U>) {
        self.give(items.into_iter().filter_map(|_| None).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_comes_again_empty_and_with_its_memory() {
        let stock = Stock::<Vec<u64>>::default();
        let mut first = stock.take();
        first.extend([1, 2, 3]);
        let memory = first.as_ptr();
        stock.give(first);
        let again = stock.take();
        assert_eq!((again.as_ptr(), again.len()), (memory, 0));
    }

    #[test]
    fn a_vector_that_borrowed_comes_again_with_its_memory() {
        let stock = Stock::<Vec<Option<&'static str>>>::default();
        let text = String::from("short");
        let mut borrowing: Vec<Option<&str>> = stock.take();
        borrowing.push(Some(&text));
        let memory = borrowing.as_ptr();
        stock.give_borrowing(borrowing);
        let again = stock.take();
        assert_eq!(again.as_ptr(), memory.cast());
    }

    #[test]
    fn what_grew_too_large_is_not_kept() {
        let stock = Stock::<Vec<u8>>::default();
        stock.give(Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert_eq!(stock.take().capacity(), 0);
    }
}
