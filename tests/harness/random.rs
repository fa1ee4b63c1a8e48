//! Numbers from a seed, so that a failed run can be repeated.

#[derive(Clone, Debug)]
pub(crate) struct Random(klamm_model::Random);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(klamm_model::Random::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
