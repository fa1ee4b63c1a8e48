//! SyncGroup: the leader brings what each member gets; all are told once the log keeps it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::api::{GroupState, Reply, Sync, SyncError, Synced};
use super::group::Kept;
use super::join::{Identity, identify};
use super::moves::Moves;
use super::names::MemberId;
use super::notes::Happened;
use super::round::Round;
use super::subscription::are_consumers;
use super::turn::{Turn, text};
use crate::kit::Ticket;

impl Turn<'_> {
    /// Decides a sync.
    pub(super) fn sync(
        &mut self,
        round: &mut Round,
        kept: Option<&Kept>,
        ticket: Ticket,
        sync: &Sync,
    ) {
        if let Err(error) = check(round, sync) {
            self.refuse_sync(ticket, error);
            return;
        }
        match round.state {
            GroupState::PreparingRebalance => {
                self.refuse_sync(ticket, SyncError::RebalanceInProgress);
            }
            GroupState::CompletingRebalance => {
                let member = round.members.get_mut(&sync.member);
                let superseded = member.and_then(|member| member.sync.replace(ticket));
                if let Some(superseded) = superseded {
                    self.refuse_sync(superseded, SyncError::Superseded);
                }
                settle_one(round, &sync.member);
                if round.leader.as_ref() == Some(&sync.member) {
                    self.keep_assignments(round, kept, sync);
                }
            }
            GroupState::Stable => {
                settle_one(round, &sync.member);
                let assignment = kept.map_or(&[][..], |kept| kept.assignment(sync.member.as_str()));
                let synced = synced(round, Bytes::copy_from_slice(assignment));
                self.decision.held();
                self.answer(ticket, Reply::Sync(Ok(synced)));
            }
            GroupState::Empty
            | GroupState::Dead
            | GroupState::Assigning
            | GroupState::Reconciling => {
                self.refuse_sync(ticket, SyncError::UnknownMember);
            }
        }
    }

    /// The leader's assignments have come: they are kept, and all that wait are told. Assignments
    /// for strangers are passed over; a member without one gets an empty one.
    fn keep_assignments(&mut self, round: &mut Round, kept: Option<&Kept>, sync: &Sync) {
        let assignments: BTreeMap<&str, &Bytes> = sync
            .assignments
            .iter()
            .map(|(member, assignment)| (member.as_str(), assignment))
            .collect();
        let record = self.record_of(&sync.group, round, |id| {
            assignments.get(id.as_str()).map_or(&[], |bytes| bytes)
        });
        if self.is_too_large(&record, kept) {
            self.fail_syncs(round, SyncError::TooLarge);
            self.begin_round(&sync.group, round);
            return;
        }
        self.decision.records.push(record);
        self.counters.rebalances_completed += 1;
        let now = round.members.keys().map(|id| {
            let assignment = assignments.get(id.as_str());
            (id.as_str(), assignment.map_or(&[][..], |bytes| bytes))
        });
        let moved = are_consumers(round.protocol_type.as_deref().unwrap_or(""))
            .then(|| Moves::between(assigned(kept), now.collect()));
        let kept = Happened::RoundKept {
            generation: round.generation,
            members: round.members.len(),
            leader: round.leader.clone(),
            moved: moved.flatten().map(Box::new),
        };
        self.notes.push(&sync.group, kept);
        round.state = GroupState::Stable;
        let waiting: Vec<(MemberId, Ticket)> = round
            .members
            .iter_mut()
            .filter_map(|(id, member)| Some((id.clone(), member.sync.take()?)))
            .collect();
        for (id, ticket) in waiting {
            let assignment = assignments.get(id.as_str());
            let assignment = assignment.map_or_else(Bytes::new, |bytes| Bytes::clone(bytes));
            self.answer(ticket, Reply::Sync(Ok(synced(round, assignment))));
            round.heard(id.as_str(), self.moment.now);
        }
    }
}

/// What members had by the round that is kept.
fn assigned(kept: Option<&Kept>) -> Vec<(&str, &[u8])> {
    let members = kept.into_iter().flat_map(Kept::members);
    members
        .map(|member| (member.member, member.assignment))
        .collect()
}

/// A member has asked for its part.
fn settle_one(round: &mut Round, id: &MemberId) {
    if let Some(member) = round.members.get_mut(id)
        && member.unsynced
    {
        member.unsynced = false;
        round.unsynced -= 1;
    }
    if round.unsynced == 0 {
        round.sync_until = None;
    }
}

fn synced(round: &Round, assignment: Bytes) -> Synced {
    Synced {
        protocol_type: text(round.protocol_type.as_ref()),
        protocol: text(round.protocol.as_ref()),
        assignment,
    }
}

fn check(round: &Round, sync: &Sync) -> Result<(), SyncError> {
    identify(round, sync.member.as_str(), sync.instance.as_ref()).map_err(
        |identity| match identity {
            Identity::Unknown => SyncError::UnknownMember,
            Identity::Fenced => SyncError::FencedInstance,
        },
    )?;
    if sync.generation != round.generation {
        return Err(SyncError::IllegalGeneration);
    }
    let differs = |said: Option<&String>, is: Option<&str>| matches!((said, is), (Some(said), Some(is)) if said != is);
    if differs(sync.protocol_type.as_ref(), round.protocol_type.as_deref())
        || differs(sync.protocol.as_ref(), round.protocol.as_deref())
    {
        return Err(SyncError::InconsistentProtocol);
    }
    Ok(())
}
