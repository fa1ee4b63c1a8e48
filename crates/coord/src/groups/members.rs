//! Signs of life of members, their leaving, and what happens when they fall silent.

use klamm_model::Instant;

use super::api::{
    GroupState, Heartbeat, HeartbeatError, Leave, LeaveMemberError, Leaving, Left, Reply,
};
use super::join::{Identity, identify};
use super::names::{GroupId, MemberId};
use super::notes::{Happened, Notes};
use super::round::Round;
use super::turn::Turn;
use crate::kit::Ticket;

impl Turn<'_> {
    /// Decides a heartbeat.
    pub(super) fn heartbeat(&mut self, round: &mut Round, ticket: Ticket, heartbeat: &Heartbeat) {
        let result = self.hear(round, heartbeat);
        self.answer(ticket, Reply::Heartbeat(result));
    }

    fn hear(&self, round: &mut Round, heartbeat: &Heartbeat) -> Result<(), HeartbeatError> {
        let id = heartbeat.member.as_str();
        identify(round, id, heartbeat.instance.as_ref()).map_err(|identity| match identity {
            Identity::Unknown => HeartbeatError::UnknownMember,
            Identity::Fenced => HeartbeatError::FencedInstance,
        })?;
        if heartbeat.generation != round.generation {
            return Err(HeartbeatError::IllegalGeneration);
        }
        round.heard(id, self.moment.now);
        match round.state {
            GroupState::PreparingRebalance => Err(HeartbeatError::RebalanceInProgress),
            // Members may begin with heartbeats before they have asked for their part.
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::Empty
            | GroupState::Dead
            | GroupState::Assigning
            | GroupState::Reconciling => Err(HeartbeatError::UnknownMember),
        }
    }

    /// Decides who leaves.
    pub(super) fn leave(&mut self, round: &mut Round, ticket: Ticket, leave: Leave) {
        let mut gone = false;
        let mut all = Vec::with_capacity(leave.members.len());
        for leaving in leave.members {
            let result = self.leave_one(&leave.group, round, &leaving);
            gone |= result.is_ok();
            all.push(Left {
                member: leaving.member,
                instance: leaving.instance,
                result,
            });
        }
        self.answer(ticket, Reply::Leave(Ok(all)));
        if gone {
            self.go_on_without(&leave.group, round);
        }
    }

    fn leave_one(
        &mut self,
        group: &GroupId,
        round: &mut Round,
        leaving: &Leaving,
    ) -> Result<(), LeaveMemberError> {
        let instance = leaving.instance.as_ref();
        let id = match &leaving.member {
            None => {
                let owner = instance.and_then(|instance| round.statics.get(instance));
                owner.cloned().ok_or(LeaveMemberError::UnknownMember)?
            }
            Some(id) if round.take_back(id) => return Ok(()),
            Some(id) => {
                identify(round, id.as_str(), instance).map_err(|identity| match identity {
                    Identity::Unknown => LeaveMemberError::UnknownMember,
                    Identity::Fenced => LeaveMemberError::FencedInstance,
                })?;
                id.clone()
            }
        };
        self.drop_member(round, &id);
        let reason = Notes::said(leaving.reason.as_ref());
        self.notes
            .push(group, Happened::Left { member: id, reason });
        Ok(())
    }

    /// Someone is gone: whoever is left has to share the work anew.
    fn go_on_without(&mut self, group: &GroupId, round: &mut Round) {
        match round.state {
            GroupState::CompletingRebalance | GroupState::Stable => self.begin_round(group, round),
            GroupState::PreparingRebalance => self.end_joining_if_all_came(group, round),
            GroupState::Empty
            | GroupState::Dead
            | GroupState::Assigning
            | GroupState::Reconciling => {}
        }
    }

    /// The timer of the group has fired: whatever is due by now happens.
    pub(super) fn on_due(&mut self, group: &GroupId, round: &mut Round) {
        let now = self.moment.now;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let lapsed: Vec<MemberId> = round
            .pending
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in lapsed {
            round.take_back(&id);
            self.end_joining_if_all_came(group, round);
        }
        let mut silent: Vec<(Instant, MemberId)> = round
            .members
            .iter()
            .filter_map(|(id, member)| Some((member.expires()?, id.clone())))
            .filter(|(at, _)| *at <= now)
            .collect();
        silent.sort_unstable();
        for (_, id) in silent {
            // An earlier one may have set something in motion that changed this one.
            if is_due(round.members.get(&id).and_then(|member| member.expires())) {
                self.counters.members_expired += 1;
                self.drop_member(round, &id);
                self.notes.push(group, Happened::Silent { member: id });
                self.go_on_without(group, round);
            }
        }
        if is_due(round.join_until.map(|until| until.at)) {
            self.on_join_due(group, round);
        }
        if is_due(round.sync_until) {
            self.on_sync_due(group, round);
        }
    }

    /// A group that the log brought back: its members have a session's time to be heard of.
    pub(super) fn on_revived(&mut self, group: &GroupId, round: &mut Round) {
        if round.members.len() > self.config.members_max {
            // The ceiling was lowered; in a new round the group shrinks to it.
            self.begin_round(group, round);
        }
    }
}
