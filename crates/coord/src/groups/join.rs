//! JoinGroup: who becomes a member, and what that sets in motion.

use std::collections::BTreeMap;

use super::api::{GroupState, Join, JoinError, Joined, Reply, SyncError};
use super::config::GroupConfig;
use super::group::Kept;
use super::names::{GroupInstanceId, MemberId};
use super::notes::{Happened, Notes};
use super::rebalance::joined;
use super::round::{Profile, Round, bytes_of_pending};
use super::turn::Turn;
use crate::kit::{Record, Ticket};
use crate::limits::{NAME_BYTES_MAX, NEW_MEMBER_JOIN_TIMEOUT, PENDING_MEMBERS_MAX, PROTOCOLS_MAX};

/// Whether a member is who it says it is.
pub(super) enum Identity {
    Unknown,
    Fenced,
}

/// Proves that an id is a member's, and that a static name is the same member's.
pub(super) fn identify(
    round: &Round,
    member: &str,
    instance: Option<&GroupInstanceId>,
) -> Result<(), Identity> {
    if let Some(instance) = instance {
        let owner = round.statics.get(instance).ok_or(Identity::Unknown)?;
        if owner.as_str() != member {
            return Err(Identity::Fenced);
        }
    }
    if round.members.contains_key(member) {
        Ok(())
    } else {
        Err(Identity::Unknown)
    }
}

/// What can be said against a join without knowing the group.
pub(super) fn check(join: &Join, config: &GroupConfig) -> Result<(), JoinError> {
    let group = join.group.as_str();
    if group.is_empty() || group.len() > NAME_BYTES_MAX {
        return Err(JoinError::InvalidGroupId);
    }
    let bounds = config.session_timeout_min..=config.session_timeout_max;
    if !bounds.contains(&join.session_timeout) {
        return Err(JoinError::InvalidSessionTimeout);
    }
    let names = [&join.client_id, &join.client_host, &join.protocol_type];
    let names = names.into_iter().map(String::as_str);
    let protocols = join.protocols.iter().map(|protocol| protocol.name.as_str());
    let ids = join.instance.as_ref().map(GroupInstanceId::as_str);
    let mut names = names.chain(protocols).chain(ids);
    if names.any(|name| name.len() > NAME_BYTES_MAX) || join.protocols.len() > PROTOCOLS_MAX {
        return Err(JoinError::GroupFull);
    }
    Ok(())
}

impl Turn<'_> {
    /// Decides a join. The group was made if the member has no id yet.
    pub(super) fn join(
        &mut self,
        round: &mut Round,
        kept: Option<&Kept>,
        ticket: Ticket,
        join: Join,
    ) {
        if !self.admits(round, join.member.as_ref()) {
            if let Some(member) = &join.member {
                self.drop_member(round, member);
                self.end_joining_if_all_came(&join.group, round);
            }
            self.refuse_join(ticket, None, JoinError::GroupFull);
            return;
        }
        if !round.accepts(&join.protocol_type, &join.protocols) {
            let error = JoinError::InconsistentProtocol;
            self.refuse_join(ticket, join.member.as_ref(), error);
            return;
        }
        match join.member.clone() {
            Some(member) => self.join_again(round, ticket, &member, join),
            None => self.join_new(round, kept, ticket, join),
        }
    }

    /// Whether the group takes one more, or has this one already.
    fn admits(&self, round: &Round, member: Option<&MemberId>) -> bool {
        let known = member.and_then(|member| round.members.get(member));
        match round.state {
            GroupState::Empty
            | GroupState::Dead
            | GroupState::Assigning
            | GroupState::Reconciling => true,
            // Those that wait are counted, not the members: so the last to come again are the ones
            // that go where the group has become too large.
            GroupState::PreparingRebalance => {
                known.is_some_and(|member| member.join.is_some())
                    || round.joining < self.config.members_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                known.is_some() || round.members.len() < self.config.members_max
            }
        }
    }

    fn join_new(&mut self, round: &mut Round, kept: Option<&Kept>, ticket: Ticket, join: Join) {
        if let Some(instance) = &join.instance {
            let id = self.member_id(instance.as_str());
            match round.statics.get(instance).cloned() {
                Some(earlier) => self.replace_static(round, kept, ticket, [earlier, id], join),
                None => self.add_member(round, ticket, id, join),
            }
            return;
        }
        let id = self.member_id(&join.client_id);
        if !join.member_id_required {
            self.add_member(round, ticket, id, join);
        } else if round.pending.len() >= PENDING_MEMBERS_MAX
            || !self.fits(round, bytes_of_pending(&id))
        {
            self.refuse_join(ticket, None, JoinError::GroupFull);
        } else {
            let until = self.moment.now.plus(join.session_timeout);
            round.give_out(id.clone(), until);
            self.refuse_join(ticket, Some(&id), JoinError::MemberIdRequired);
        }
    }

    fn join_again(&mut self, round: &mut Round, ticket: Ticket, id: &MemberId, join: Join) {
        if round.pending.contains_key(id) {
            if join.instance.is_some() {
                // Ids are given out in advance to members without a static name only.
                self.refuse_join(ticket, Some(id), JoinError::UnknownMember);
            } else {
                self.add_member(round, ticket, id.clone(), join);
            }
            return;
        }
        if let Err(identity) = identify(round, id.as_str(), join.instance.as_ref()) {
            let error = match identity {
                Identity::Unknown => JoinError::UnknownMember,
                Identity::Fenced => JoinError::FencedInstance,
            };
            self.refuse_join(ticket, Some(id), error);
            return;
        }
        let same = round
            .members
            .get(id)
            .is_some_and(|member| member.says(&join.protocols));
        let leads = round.leader.as_ref() == Some(id);
        match round.state {
            // It did not get the answer to its join, or missed nothing by coming again.
            GroupState::CompletingRebalance if same => {
                let joined = joined(round, id);
                self.answer(ticket, Reply::Join(Ok(joined)));
            }
            GroupState::Stable if same && !leads => {
                let joined = joined(round, id);
                self.decision.held();
                self.answer(ticket, Reply::Join(Ok(joined)));
            }
            // A leader that joins again wants the work divided anew.
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => {
                if self.update_member(round, ticket, id, &join) {
                    if round.state != GroupState::PreparingRebalance {
                        let member = id.clone();
                        let reason = Notes::said(join.reason.as_ref());
                        self.notes
                            .push(&join.group, Happened::Asked { member, reason });
                    }
                    self.rebalance(&join.group, round);
                }
            }
            GroupState::Empty
            | GroupState::Dead
            | GroupState::Assigning
            | GroupState::Reconciling => {
                self.refuse_join(ticket, Some(id), JoinError::UnknownMember);
            }
        }
    }

    /// Adds a member, whose join is parked until the round that it causes is complete.
    fn add_member(&mut self, round: &mut Round, ticket: Ticket, id: MemberId, join: Join) {
        let profile = Profile {
            instance: join.instance,
            client_id: join.client_id.into(),
            client_host: join.client_host.into(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
        };
        if !self.fits(round, profile.bytes(&id)) {
            self.refuse_join(ticket, None, JoinError::GroupFull);
            return;
        }
        if round.members.is_empty() {
            round.protocol_type = Some(join.protocol_type.into());
        }
        // Whoever comes while the first round waits makes it wait for more.
        round.grew |= round
            .join_until
            .is_some_and(|until| until.initial.is_some());
        let joined = Happened::Joined {
            member: id.clone(),
            client: Notes::client(&profile.client_id, &profile.client_host),
            reason: Notes::said(join.reason.as_ref()),
        };
        self.notes.push(&join.group, joined);
        let deadline = self.moment.now.plus(NEW_MEMBER_JOIN_TIMEOUT);
        round.add(id, profile, Some(ticket), deadline);
        self.rebalance(&join.group, round);
    }

    /// Takes over what a member says that joins again, and parks its join. `false`: it says more
    /// than the group can remember, and is told so.
    fn update_member(
        &mut self,
        round: &mut Round,
        ticket: Ticket,
        id: &MemberId,
        join: &Join,
    ) -> bool {
        if !self.fits(round, round.growth(id, &join.protocols)) {
            self.refuse_join(ticket, Some(id), JoinError::GroupFull);
            return false;
        }
        let timeouts = [join.session_timeout, join.rebalance_timeout];
        let superseded = round.update(id.as_str(), &join.protocols, timeouts, ticket);
        if let Some(superseded) = superseded {
            self.refuse_join(superseded, Some(id), JoinError::Superseded);
        }
        true
    }

    /// A static member has come back without its id: it gets a new one, and whoever used the old
    /// one is fenced (KIP-345).
    fn replace_static(
        &mut self,
        round: &mut Round,
        kept: Option<&Kept>,
        ticket: Ticket,
        [old, new]: [MemberId; 2],
        join: Join,
    ) {
        if !self.fits(round, round.growth(&old, &join.protocols)) {
            self.refuse_join(ticket, None, JoinError::GroupFull);
            return;
        }
        let leader_before = round.leader.clone();
        let parked = round.rename(&old, &new);
        let [was, is] = [old.clone(), new.clone()];
        self.notes
            .push(&join.group, Happened::Replaced { old: was, new: is });
        if let Some(ticket) = parked.join {
            self.refuse_join(ticket, Some(&old), JoinError::FencedInstance);
        }
        if let Some(ticket) = parked.sync {
            self.refuse_sync(ticket, SyncError::FencedInstance);
        }
        round.heard(new.as_str(), self.moment.now);
        if !self.update_member(round, ticket, &new, &join) {
            return;
        }
        match round.state {
            GroupState::Stable if round.elect_protocol() == round.protocol => {
                let record = self.record_of_replaced(round, kept, [&old, &new], &join);
                if self.is_too_large(&record, kept) {
                    self.rebalance(&join.group, round);
                    return;
                }
                self.decision.records.push(record);
                let leader = if join.may_skip_assignment {
                    None
                } else {
                    leader_before
                };
                self.tell_replaced(round, &new, leader);
            }
            GroupState::Stable => self.rebalance(&join.group, round),
            // The old id may have been sent to the leader already, which would divide for it.
            GroupState::CompletingRebalance => self.begin_round(&join.group, round),
            GroupState::PreparingRebalance
            | GroupState::Empty
            | GroupState::Dead
            | GroupState::Assigning
            | GroupState::Reconciling => {
                self.end_joining_if_all_came(&join.group, round);
            }
        }
    }

    /// Nothing changes but the id of a static member: it has what it had, without a round.
    fn record_of_replaced(
        &self,
        round: &Round,
        kept: Option<&Kept>,
        [old, new]: [&MemberId; 2],
        join: &Join,
    ) -> Record {
        let assignments: BTreeMap<&str, &[u8]> = kept
            .into_iter()
            .flat_map(Kept::members)
            .map(|member| (member.member, member.assignment))
            .collect();
        self.record_of(&join.group, round, |id| {
            let id = if id == new { old } else { id };
            assignments.get(id.as_str()).copied().unwrap_or(&[])
        })
    }

    /// Tells a static member that it goes on as what it was.
    ///
    /// A client that does not know KIP-814 is told the leader of before, so that one that led does
    /// not take itself for the leader and divide anew.
    fn tell_replaced(
        &mut self,
        round: &mut Round,
        new: &MemberId,
        leader_before: Option<MemberId>,
    ) {
        let leads = round.leader.as_ref() == Some(new);
        let seen = joined(round, new);
        let joined = match leader_before {
            None => Joined {
                skip_assignment: leads,
                ..seen
            },
            Some(leader) => Joined {
                leader,
                members: Vec::new(),
                ..seen
            },
        };
        let parked = round
            .members
            .get_mut(new)
            .and_then(|member| member.join.take());
        if let Some(ticket) = parked {
            round.joining -= 1;
            self.answer(ticket, Reply::Join(Ok(joined)));
        }
    }
}
