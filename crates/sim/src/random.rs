//! The one source of chance in a simulated world: everything that happens follows from its seed.

/// Seeded chance, with the questions that a simulation asks of it.
#[derive(Clone, Debug)]
pub struct Random {
    numbers: klamm_model::Random,
}

impl Random {
    /// A generator whose numbers follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            numbers: klamm_model::Random::new(seed),
        }
    }

    /// A generator that goes its own way from here.
    pub const fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.numbers.next()
    }

    /// A number below `end`; 0 if `end` is 0.
    pub const fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            return 0;
        }
        (self.next() % end as u64) as usize
    }

    /// A number from `first` to `last`, both included.
    pub const fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// True in `percent` of all cases.
    pub const fn chance(&mut self, percent: u32) -> bool {
        self.next() % 100 < percent as u64
    }

    /// One of the items; `None` if there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}
