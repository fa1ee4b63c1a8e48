//! The verdict on a group: where its members stand, and whether its offsets keep up with what is
//! written. Once given it is taken back only by more than what gave it.

use std::collections::VecDeque;

use klamm_model::Instant;

use super::book::LagRules;
use crate::GroupState;

/// How a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing is unread, or what is does not grow.
    KeepingUp,
    /// What is unread grows: more is written than is read.
    FallingBehind,
    /// It has members, there is something to read in a partition, and the offset of that one has not
    /// moved for as long as the rules say.
    Stuck,
    /// Members are dividing the work.
    Rebalancing,
    /// It has no members.
    Empty,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::KeepingUp,
        Self::FallingBehind,
        Self::Stuck,
        Self::Rebalancing,
        Self::Empty,
    ];

    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeepingUp => "keeping-up",
            Self::FallingBehind => "falling-behind",
            Self::Stuck => "stuck",
            Self::Rebalancing => "rebalancing",
            Self::Empty => "empty",
        }
    }
}

/// Samples that a verdict looks at: the older half is compared with the newer one.
pub(super) const SAMPLES_MAX: usize = 8;

/// Samples before a group can be said to fall behind.
const SAMPLES_MIN: usize = 4;

/// What is unread has grown if it has by more than this part of it.
const GROWTH_DIVISOR: u64 = 20;

/// What was seen of a group for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// When the sample began.
    pub(super) at: Instant,
    /// The least that was unread in it.
    pub(super) unread_min: u64,
    /// Offsets that the group has gone forward in all, when the sample began.
    pub(super) consumed: u64,
    /// Offsets by which the ends of its partitions have, when the sample began.
    pub(super) produced: u64,
}

/// What a verdict is given by.
pub(super) struct Evidence<'a> {
    pub(super) state: GroupState,
    pub(super) members: usize,
    /// What is unread now.
    pub(super) unread: u64,
    /// Some partition has not moved for as long as the rules say.
    pub(super) is_stuck: bool,
    pub(super) samples: &'a VecDeque<Sample>,
    pub(super) before: Option<Verdict>,
}

/// Gives the verdict.
pub(super) fn judge(evidence: &Evidence<'_>) -> Verdict {
    match evidence.state {
        _ if evidence.members == 0 => return Verdict::Empty,
        GroupState::PreparingRebalance
        | GroupState::CompletingRebalance
        | GroupState::Assigning
        | GroupState::Reconciling => return Verdict::Rebalancing,
        GroupState::Empty | GroupState::Stable | GroupState::Dead => {}
    }
    if evidence.is_stuck {
        return Verdict::Stuck;
    }
    // Commits come in steps: what is unread goes up and down with them. The least of several looks
    // does not.
    let middle = evidence.samples.len() / 2;
    let least = |samples: &mut dyn Iterator<Item = &Sample>| {
        samples.map(|sample| sample.unread_min).min().unwrap_or(0)
    };
    let older = least(&mut evidence.samples.iter().take(middle));
    let newer = least(&mut evidence.samples.iter().skip(middle));
    let is_known = evidence.samples.len() >= SAMPLES_MIN;
    let fell_before = evidence.before == Some(Verdict::FallingBehind);
    // What came at once and is left lying does not grow.
    let lately = evidence.samples.get(middle);
    let still = lately.is_some_and(|sample| evidence.unread > sample.unread_min);
    let grows = still && newer > older + older / GROWTH_DIVISOR;
    let shrinks = evidence.unread == 0 || is_known && newer <= older;
    if is_known && grows || fell_before && !shrinks {
        return Verdict::FallingBehind;
    }
    Verdict::KeepingUp
}

/// Takes a look into the samples: as a new one if the last has lasted long enough.
pub(super) fn sample(samples: &mut VecDeque<Sample>, rules: &LagRules, look: Sample) {
    match samples.back_mut() {
        Some(last) if look.at.since(last.at) < rules.sample_every => {
            last.unread_min = last.unread_min.min(look.unread_min);
        }
        _ => {
            if samples.len() >= SAMPLES_MAX {
                samples.pop_front();
            }
            samples.push_back(look);
        }
    }
}
