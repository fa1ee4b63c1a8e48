//! How much room a file system has, and who has it.

use std::cell::Cell;

/// The size of a file system, and who has what of it.
#[derive(Debug, Default)]
pub struct Room {
    /// Nothing: there is always room.
    pub(super) size: Cell<Option<usize>>,
    /// What the files of the data folder have.
    pub(super) used: Cell<usize>,
    /// What other programs have.
    pub(super) taken: Cell<usize>,
    /// What was given to files that are not begun yet.
    pub(super) promised: Cell<usize>,
}

impl Room {
    /// Bytes that nobody has; `None` if there is no end of them.
    #[must_use]
    pub fn free(&self) -> Option<usize> {
        let had = self.used.get() + self.taken.get() + self.promised.get();
        Some(self.size.get()?.saturating_sub(had))
    }

    /// Size of the file system, if it has one.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        self.size.get()
    }

    /// Gives room to a file that is not begun yet. False if there is none.
    pub(crate) fn promise(&self, bytes: usize) -> bool {
        let has_room = self.free().is_none_or(|free| free >= bytes);
        if has_room {
            self.promised.set(self.promised.get() + bytes);
        }
        has_room
    }

    /// The file is begun, or never will be.
    pub(crate) fn redeem(&self, bytes: usize) {
        self.promised.set(self.promised.get().saturating_sub(bytes));
    }
}
