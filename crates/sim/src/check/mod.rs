//! What must hold whatever happens: one file for each invariant, named by its sentence, and the
//! ledger against which they are judged. None of this code is shared with what it judges.

pub mod acked_is_never_lost;
pub mod committed_offsets_stay;
pub mod compacted;
pub mod dump;
pub mod groups_are_what_their_log_says;
pub mod high_watermark_never_goes_back;
pub mod indexes_equal_their_rebuild;
pub mod leader_epochs_only_grow_and_stand_in_the_log;
pub mod ledger;
pub mod log_start_never_goes_back;
pub mod metadata_replay_equals_state;
pub mod no_duplicate_with_idempotence;
pub mod offsets_are_never_reused;
pub mod reads_return_exactly_what_was_appended;
pub mod recovered_log_is_the_flushed_prefix_plus_a_valid_tail;
pub mod times_find_the_first_late_record;

use std::fmt;

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: &'static str,
    /// Where and how.
    pub what: String,
}

impl Violation {
    /// This invariant does not hold.
    #[must_use]
    pub const fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.invariant, self.what)
    }
}

impl std::error::Error for Violation {}

/// Fails with a violation of the invariant unless the condition holds.
macro_rules! ensure {
    ($invariant:expr, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::check::Violation::new($invariant, format!($($what)+)));
        }
    };
}
pub(crate) use ensure;
