//! The one operation of a life that the disk refuses: a write that fails or is cut short, a flush
//! whose outcome nobody knows.

use crate::random::Random;

/// What will fail.
#[derive(Clone, Debug)]
pub struct Failing {
    operation: Operation,
    /// Operations of this kind that still succeed; `None` once one has failed.
    left: Option<u64>,
    random: Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// A write, or the reservation of space.
    Write,
    /// A flush of a file or folder.
    Flush,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A write: of its bytes some first part was taken (EIO, ENOSPC).
    Write,
    /// A flush (EIO).
    Flush {
        /// Bytes that reads saw before are the old ones again.
        reverted: bool,
    },
}

impl Failing {
    /// After `left` more writes one fails.
    #[must_use]
    pub const fn write(left: u64, random: Random) -> Self {
        Self {
            operation: Operation::Write,
            left: Some(left),
            random,
        }
    }

    /// After `left` more flushes one fails.
    #[must_use]
    pub const fn flush(left: u64, random: Random) -> Self {
        Self {
            operation: Operation::Flush,
            left: Some(left),
            random,
        }
    }

    /// Draws what fails in a life, early or late in it.
    #[must_use]
    pub fn draw(random: &mut Random) -> Self {
        let most = [10, 60, 300][random.below(3)];
        let left = random.below(most) as u64;
        let own = random.fork();
        if random.chance(60) {
            Self::flush(left, own)
        } else {
            Self::write(left, own)
        }
    }

    /// A write of `length` bytes is asked for: how many of them are taken, if it fails.
    pub(super) fn write_fails(&mut self, length: usize) -> Option<usize> {
        self.is_due(Operation::Write)
            .then(|| self.random.below(length.max(1)))
    }

    /// A flush is asked for: true if it fails.
    pub(super) fn flush_fails(&mut self) -> bool {
        self.is_due(Operation::Flush)
    }

    fn is_due(&mut self, operation: Operation) -> bool {
        if operation != self.operation {
            return false;
        }
        let left = self.left;
        self.left = left.and_then(|left| left.checked_sub(1));
        left == Some(0)
    }

    /// Chance for what a failed flush leaves.
    pub(super) const fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}
