//! How rounds of the classic protocol begin and end.

use std::time::Duration;

use super::api::{GroupState, JoinError, Joined, JoinedMember, Reply, SyncError};
use super::names::{GroupId, MemberId};
use super::notes::Happened;
use super::round::{InitialWait, JoinUntil, Member, Round};
use super::turn::{Turn, text};
use crate::kit::Record;
use crate::record::{GroupValue, MemberValue, group_key};

impl Turn<'_> {
    /// Something has changed: begin a round, or end the one under way if it can be ended.
    pub(super) fn rebalance(&mut self, group: &GroupId, round: &mut Round) {
        match round.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                self.begin_round(group, round);
            }
            GroupState::PreparingRebalance
            | GroupState::Dead
            | GroupState::Assigning
            | GroupState::Reconciling => {
                self.end_joining_if_all_came(group, round);
            }
        }
    }

    /// Begins a round: members have to join anew.
    pub(super) fn begin_round(&mut self, group: &GroupId, round: &mut Round) {
        self.counters.rebalances_begun += 1;
        let after = round.generation;
        self.notes.push(group, Happened::RoundBegan { after });
        if round.state == GroupState::CompletingRebalance {
            self.fail_syncs(round, SyncError::RebalanceInProgress);
        }
        settle_syncs(round);
        round.sync_until = None;
        round.grew = false;
        let first = round.state == GroupState::Empty;
        round.state = GroupState::PreparingRebalance;
        if !first {
            self.end_joining_or_wait(group, round);
        } else if self.config.initial_rebalance_delay.is_zero() {
            self.end_joining(group, round);
        } else {
            // Where nobody was, more may be about to come.
            let delay = self.config.initial_rebalance_delay;
            let remaining = round.rebalance_timeout().saturating_sub(delay);
            self.wait_for_more(round, InitialWait { delay, remaining });
        }
    }

    fn wait_for_more(&self, round: &mut Round, wait: InitialWait) {
        let at = self.moment.now.plus(wait.delay);
        let initial = Some(wait);
        round.join_until = Some(JoinUntil { at, initial });
        round.want(at);
    }

    fn wait_for_joins(&self, round: &mut Round) {
        let at = self.moment.now.plus(round.rebalance_timeout());
        round.join_until = Some(JoinUntil { at, initial: None });
        round.want(at);
    }

    fn end_joining_or_wait(&mut self, group: &GroupId, round: &mut Round) {
        if round.all_joined() {
            self.end_joining(group, round);
        } else {
            self.wait_for_joins(round);
        }
    }

    /// Ends the joining if all have come; the first round of a group always takes its time.
    pub(super) fn end_joining_if_all_came(&mut self, group: &GroupId, round: &mut Round) {
        let first = round
            .join_until
            .is_some_and(|until| until.initial.is_some());
        if round.state == GroupState::PreparingRebalance && !first && round.all_joined() {
            self.end_joining(group, round);
        }
    }

    /// The time to join is over.
    pub(super) fn on_join_due(&mut self, group: &GroupId, round: &mut Round) {
        let initial = round.join_until.and_then(|until| until.initial);
        match initial {
            Some(wait) if round.grew && !wait.remaining.is_zero() => {
                round.grew = false;
                let delay = self.config.initial_rebalance_delay.min(wait.remaining);
                let remaining = wait.remaining.saturating_sub(wait.delay);
                self.wait_for_more(round, InitialWait { delay, remaining });
            }
            Some(_) | None => self.end_joining(group, round),
        }
    }

    /// Ends the joining: those that did not come are out, but for static members; all others are
    /// told of the round.
    fn end_joining(&mut self, group: &GroupId, round: &mut Round) {
        round.join_until = None;
        let absent: Vec<MemberId> = round
            .members
            .iter()
            .filter(|(_, member)| member.join.is_none() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &absent {
            round.remove(id.as_str());
            let member = id.clone();
            self.notes.push(group, Happened::Late { member });
        }
        if !round.members.is_empty() && !elect_leader(round) {
            // Only static members are left, and none of them has come: their sessions decide.
            self.wait_for_joins(round);
            return;
        }
        settle_syncs(round);
        round.generation = round.generation.max(round.kept_generation).next();
        round.kept_generation = round.generation;
        if round.members.is_empty() {
            round.state = GroupState::Empty;
            round.protocol = None;
            let generation = round.generation;
            self.notes.push(group, Happened::Emptied { generation });
            let record = self.record_of(group, round, |_| &[]);
            self.decision.records.push(record);
        } else {
            round.state = GroupState::CompletingRebalance;
            round.protocol = round.elect_protocol();
            assert!(
                round.protocol.is_some(),
                "members have a protocol in common"
            );
            self.tell_round(round);
        }
    }

    /// Tells every member of the round, and waits for the parts to be asked for.
    fn tell_round(&mut self, round: &mut Round) {
        let mut ids: Vec<MemberId> = round.members.keys().cloned().collect();
        // The leader first: it has the most to do.
        ids.sort_by_key(|id| round.leader.as_ref() != Some(id));
        for id in &ids {
            let joined = joined(round, id);
            let Some(member) = round.members.get_mut(id) else {
                continue;
            };
            if let Some(ticket) = member.join.take() {
                round.joining -= 1;
                self.answer(ticket, Reply::Join(Ok(joined)));
            }
            member.is_new = false;
            member.unsynced = true;
            round.unsynced += 1;
            round.heard(id.as_str(), self.moment.now);
        }
        let at = self.moment.now.plus(round.rebalance_timeout());
        round.sync_until = Some(at);
        round.want(at);
    }

    /// Members that were told of a round did not ask for their part: they are out, and a new round
    /// begins.
    pub(super) fn on_sync_due(&mut self, group: &GroupId, round: &mut Round) {
        round.sync_until = None;
        let late: Vec<MemberId> = round
            .members
            .iter()
            .filter(|(_, member)| member.unsynced)
            .map(|(id, _)| id.clone())
            .collect();
        if late.is_empty() {
            return;
        }
        for id in &late {
            self.drop_member(round, id);
            let member = id.clone();
            self.notes.push(group, Happened::Late { member });
        }
        self.begin_round(group, round);
    }

    /// Takes a member out and answers what is parked of it.
    pub(super) fn drop_member(&mut self, round: &mut Round, id: &MemberId) {
        let Some(member) = round.remove(id.as_str()) else {
            return;
        };
        if let Some(ticket) = member.join {
            self.refuse_join(ticket, None, JoinError::UnknownMember);
        }
        if let Some(ticket) = member.sync {
            self.refuse_sync(ticket, SyncError::UnknownMember);
        }
    }

    /// Answers all parked syncs with an error.
    pub(super) fn fail_syncs(&mut self, round: &mut Round, error: SyncError) {
        let ids: Vec<MemberId> = round.members.keys().cloned().collect();
        for id in ids {
            let parked = round
                .members
                .get_mut(&id)
                .and_then(|member| member.sync.take());
            if let Some(ticket) = parked {
                self.refuse_sync(ticket, error);
                round.heard(id.as_str(), self.moment.now);
            }
        }
    }

    /// The record that keeps the round, with what each member is given.
    pub(super) fn record_of<'r>(
        &self,
        group: &GroupId,
        round: &'r Round,
        assignment: impl Fn(&MemberId) -> &'r [u8],
    ) -> Record {
        let assignment = &assignment;
        let protocol = round.protocol.as_deref();
        let head = GroupValue {
            protocol_type: round.protocol_type.as_deref().unwrap_or(""),
            generation: round.generation.0,
            protocol,
            leader: round.leader.as_ref().map(MemberId::as_str),
            since: Some(self.moment.wall),
        };
        let members = round.members.iter().map(move |(id, member)| MemberValue {
            member: id.as_str(),
            instance: member.instance.as_ref().map(|instance| instance.as_str()),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout_ms: millis(member.rebalance_timeout),
            session_timeout_ms: millis(member.session_timeout),
            subscription: subscription(member, protocol),
            assignment: assignment(id),
        });
        Record {
            key: group_key(group.as_str()),
            value: Some(head.encode(members)),
        }
    }
}

/// The round as one member sees it; the leader sees all members.
pub(super) fn joined(round: &Round, id: &MemberId) -> Joined {
    let leads = round.leader.as_ref() == Some(id);
    let mut members = Vec::new();
    if leads {
        members.extend(round.members.iter().map(|(id, member)| {
            JoinedMember {
                member: id.clone(),
                instance: member.instance.clone(),
                metadata: round
                    .protocol
                    .as_deref()
                    .and_then(|protocol| member.metadata(protocol))
                    .cloned()
                    .unwrap_or_default(),
            }
        }));
    }
    Joined {
        member: id.clone(),
        generation: round.generation,
        protocol_type: text(round.protocol_type.as_ref()),
        protocol: text(round.protocol.as_ref()),
        leader: round.leader.clone().unwrap_or_else(|| id.clone()),
        members,
        skip_assignment: false,
    }
}

/// Makes sure that the leader is one of those that have joined. `false`: none has.
fn elect_leader(round: &mut Round) -> bool {
    let joined = |id: &MemberId| {
        round
            .members
            .get(id)
            .is_some_and(|member| member.join.is_some())
    };
    if round.leader.as_ref().is_some_and(joined) {
        return true;
    }
    let Some(leader) = round.members.keys().find(|id| joined(id)) else {
        return false;
    };
    round.leader = Some(leader.clone());
    true
}

/// Nobody's sync is awaited any longer.
fn settle_syncs(round: &mut Round) {
    if round.unsynced > 0 {
        for member in round.members.values_mut() {
            member.unsynced = false;
        }
        round.unsynced = 0;
    }
}

fn subscription<'m>(member: &'m Member, protocol: Option<&str>) -> &'m [u8] {
    let metadata = protocol.and_then(|protocol| member.metadata(protocol));
    metadata.map_or(&[], |metadata| metadata)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
