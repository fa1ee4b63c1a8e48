//! How one member gets from what it has to what it shall have: first it lets go of what is not its
//! own any longer, and says so; then it gets what nobody holds.

use std::collections::BTreeMap;

use klamm_model::TopicId;

use super::api::TopicPartitions;
use super::group::{Has, MemberState};
use crate::record::{Dated, Partitions};

/// What a member is to be brought to, and by what.
pub(crate) struct Aim<'a> {
    /// The epoch of the target.
    pub(crate) epoch: i32,
    /// What the member shall have.
    pub(crate) target: &'a Partitions,
    /// Topics that it reads by now.
    pub(crate) reads: &'a dyn Fn(TopicId) -> bool,
    /// Whether another member holds a partition, or has not confirmed that it does not any longer.
    pub(crate) held_by_other: &'a dyn Fn(TopicId, i32) -> bool,
    /// What the member says that it holds; `None` where it does not say.
    pub(crate) owned: Option<&'a [TopicPartitions]>,
    /// It reads other topics than before.
    pub(crate) reads_anew: bool,
}

/// The member is in a state that this program does not know: it must join anew.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MustJoinAnew;

impl Aim<'_> {
    /// What the member has after this step.
    pub(crate) fn step(&self, has: &Has) -> Result<Has, MustJoinAnew> {
        match has.state {
            MemberState::Stable if has.epoch != self.epoch => Ok(self.next(has, has.epoch)),
            MemberState::Unrevoked if !self.holds(&has.revoking) => Ok(self.next(has, has.epoch)),
            MemberState::Stable | MemberState::Unrevoked if self.reads_anew => {
                Ok(self.let_go_unread(has))
            }
            MemberState::Stable | MemberState::Unrevoked => Ok(has.clone()),
            MemberState::Unreleased => Ok(self.next(has, has.epoch)),
            MemberState::Unknown => {
                if self.owned.is_none_or(|owned| !owned.is_empty()) {
                    return Err(MustJoinAnew);
                }
                Ok(self.next(has, self.epoch))
            }
        }
    }

    /// Whether the member may still hold one of these: it says so, or says nothing.
    fn holds(&self, partitions: &Dated) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        owned.iter().any(|owned| {
            partitions.get(&owned.topic).is_some_and(|of| {
                let mut owned = owned.partitions.iter();
                owned.any(|partition| of.contains_key(&partition.0))
            })
        })
    }

    /// The next step towards the target; `epoch` is kept while something must be let go of.
    fn next(&self, has: &Has, epoch: i32) -> Has {
        let mut assigned = Dated::new();
        let mut revoking = Dated::new();
        let mut unreleased = false;
        let nothing = Vec::new();
        for (topic, held) in &has.assigned {
            let target = self.target.get(topic).filter(|_| (self.reads)(*topic));
            let target = target.unwrap_or(&nothing);
            for (partition, since) in held {
                let stays = target.binary_search(partition).is_ok();
                let side = if stays { &mut assigned } else { &mut revoking };
                side.entry(*topic).or_default().insert(*partition, *since);
            }
        }
        if !revoking.is_empty() && self.holds(&revoking) {
            return Has {
                epoch,
                previous_epoch: has.epoch,
                state: MemberState::Unrevoked,
                assigned,
                revoking,
            };
        }
        for (topic, target) in self.target {
            if !(self.reads)(*topic) {
                continue;
            }
            let held = has.assigned.get(topic);
            let own = has.revoking.get(topic);
            let mut more = BTreeMap::new();
            for partition in target {
                if held.is_some_and(|held| held.contains_key(partition)) {
                    continue;
                }
                let was_own = own.is_some_and(|own| own.contains_key(partition));
                if !was_own && (self.held_by_other)(*topic, *partition) {
                    unreleased = true;
                } else {
                    more.insert(*partition, self.epoch);
                }
            }
            if !more.is_empty() {
                assigned.entry(*topic).or_default().append(&mut more);
            }
        }
        Has {
            epoch: self.epoch,
            previous_epoch: has.epoch,
            state: if unreleased {
                MemberState::Unreleased
            } else {
                MemberState::Stable
            },
            assigned,
            revoking: Dated::new(),
        }
    }

    /// The member does not read some topics any longer: it may let go of them without waiting for
    /// the work to be divided anew.
    fn let_go_unread(&self, has: &Has) -> Has {
        let mut assigned = has.assigned.clone();
        let mut revoking = has.revoking.clone();
        for (topic, partitions) in &has.assigned {
            if !(self.reads)(*topic) {
                assigned.remove(topic);
                let more = partitions.iter().map(|(at, since)| (*at, *since));
                revoking.entry(*topic).or_default().extend(more);
            }
        }
        if revoking.is_empty() || assigned.len() == has.assigned.len() {
            return has.clone();
        }
        let holds = self.holds(&revoking);
        Has {
            epoch: has.epoch,
            previous_epoch: has.epoch,
            state: if holds {
                MemberState::Unrevoked
            } else {
                has.state
            },
            assigned,
            revoking: if holds { revoking } else { Dated::new() },
        }
    }
}
