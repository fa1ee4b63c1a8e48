//! Members of the classic protocol in a group of the consumer protocol: their joins are heartbeats
//! that say everything, their syncs ask for what they have, and their heartbeats are told to join
//! again when there is something to let go of or to take over. Nobody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{PartitionIndex, TopicId};

use super::super::api::{
    Heartbeat, HeartbeatError, Join, JoinError, JoinRefused, Joined, Leave, LeaveMemberError, Left,
    Reply, Sync, SyncError, Synced,
};
use super::super::loaded::millis;
use super::super::names::{GroupInstanceId, MemberId};
use super::super::notes::Notes;
use super::super::subscription::CONSUMER;
use super::super::turn::{TimerKey, random_uuid};
use super::super::{Coordinator, refused};
use super::Plan;
use super::api::{ConsumerHeartbeatError, ConsumerHeartbeatRefused, TopicPartitions};
use super::config::MigrationPolicy;
use super::draft::Draft;
use super::group::{Classic, ConsumerGroup, Life, Member, MemberState, Said};
use super::heartbeat::Asked;
use super::protocol::{Subscription, encode_assignment};
use super::view::TopicsView;
use crate::kit::{Decision, Moment, Ticket};
use crate::limits::{MEMBERS_GONE_MAX, SWEEP_PAUSE};
use crate::record::Partitions;

/// Why one is not the member that it says it is.
enum NotThis {
    Unknown,
    Fenced,
}

/// The member of this id and static name, if it speaks the classic protocol.
fn find<'g>(
    group: &'g ConsumerGroup,
    id: &str,
    instance: Option<&GroupInstanceId>,
) -> Result<(&'g MemberId, &'g Member, &'g Classic), NotThis> {
    if let Some(instance) = instance {
        let owner = group.statics.get(instance).ok_or(NotThis::Unknown)?;
        if owner.as_str() != id {
            return Err(NotThis::Fenced);
        }
    }
    let (id, member) = group.members.get_key_value(id).ok_or(NotThis::Unknown)?;
    let classic = member.said.classic.as_ref().ok_or(NotThis::Unknown)?;
    Ok((id, member, classic))
}

/// What a member of the classic protocol is given, in its own words.
pub(super) fn assignment_of(
    view: Option<&Arc<dyn TopicsView>>,
    classic: &Classic,
    partitions: &Partitions,
) -> Bytes {
    let first = classic.protocols.first();
    let said = first.and_then(|(_, data)| Subscription::decode(data).ok());
    let version = said.map_or(0, |said| said.version);
    let named = partitions.iter().filter_map(|(topic, of)| {
        let name = view?.by_id(*topic)?.name;
        Some((name, of.clone()))
    });
    let named: Vec<_> = named.collect();
    let named: Vec<(&str, Vec<i32>)> = named
        .iter()
        .map(|(name, of)| (name.as_str(), of.clone()))
        .collect();
    encode_assignment(version, &named)
}

impl Asked<'_> {
    /// What can be said against the join of one that speaks the classic protocol, and what it says.
    fn check_join<'j>(
        &self,
        group: &ConsumerGroup,
        join: &'j Join,
    ) -> Result<(&'j str, Subscription<'j>), JoinError> {
        if self.config.migration == MigrationPolicy::Disabled || join.protocol_type != CONSUMER {
            return Err(JoinError::InconsistentProtocol);
        }
        let first = join.protocols.first();
        let first = first.filter(|_| has_common_protocol(group, join));
        let first = first.ok_or(JoinError::InconsistentProtocol)?;
        let said = Subscription::decode(&first.metadata);
        let said = said.map_err(|_| JoinError::InconsistentProtocol)?;
        let known = join
            .member
            .as_ref()
            .is_some_and(|id| group.members.contains_key(id));
        let instance = join.instance.as_ref();
        let known = known || instance.is_some_and(|name| group.statics.contains_key(name));
        if !known && group.members.len() >= self.config.members_max {
            return Err(JoinError::GroupFull);
        }
        if join.member.is_none() && join.member_id_required && instance.is_none() {
            return Err(JoinError::MemberIdRequired);
        }
        Ok((&first.name, said))
    }

    /// Decides the join of one that speaks the classic protocol.
    fn join(
        &self,
        group: &ConsumerGroup,
        join: &Join,
        new_id: MemberId,
    ) -> Result<(Plan, Joined), JoinRefused> {
        let refuse = |error| JoinRefused {
            member: match error {
                JoinError::MemberIdRequired => Some(new_id.clone()),
                _ => join.member.clone(),
            },
            error,
        };
        let (protocol, subscription) = self.check_join(group, join).map_err(refuse)?;
        let mut draft = Draft::new(&join.group, group, self.view);
        let id = join.member.clone().unwrap_or_else(|| new_id.clone());
        let is_known = draft.member(id.as_str()).is_some();
        let instance = join.instance.as_ref();
        let owner = instance
            .and_then(|instance| group.statics.get(instance))
            .cloned();
        let replaced = owner.filter(|owner| *owner != id);
        if let Some(owner) = &replaced {
            if join.member.is_some() {
                return Err(refuse(JoinError::FencedInstance));
            }
            draft.replace(owner, &id);
        }
        let is_new = !is_known && replaced.is_none();
        let before = draft.member(id.as_str()).cloned();
        let said_before = before.as_ref().map(|member| member.said.clone());
        let said = said_of(join, &subscription, said_before.as_deref());
        let reads_anew = said_before
            .is_none_or(|before| before.topics != said.topics || before.regex != said.regex);
        draft.say(&id, Arc::new(said));
        let bump = is_new || reads_anew || draft.epoch == 0;
        self.begin_epoch(&mut draft, group, bump, reads_anew);
        let divide_in = self.divide_if_due(&mut draft);
        let owned = self.owned(&subscription);
        let fits = draft.reconcile(&id, Some(&owned), reads_anew).is_ok();
        let after = draft.member(id.as_str()).cloned();
        let after = after.filter(|_| fits && self.check_room(&draft).is_ok());
        let after = after.ok_or_else(|| refuse(JoinError::GroupFull))?;
        let life = group.lives.get(&id).copied();
        let mut life = self.life(&draft, life, before.as_ref(), &after);
        life.join_by = None;
        life.sync_by = Some(self.moment.now.plus(after.said.rebalance_timeout()));
        let joined = Joined {
            member: id.clone(),
            generation: super::super::GenerationId(after.has.epoch),
            protocol_type: CONSUMER.to_owned(),
            protocol: protocol.to_owned(),
            leader: MemberId::new(""),
            members: Vec::new(),
            skip_assignment: false,
        };
        let downgrades = self.may_downgrade(&draft);
        let mut plan = Plan::of(draft, divide_in);
        plan.downgrades = downgrades;
        plan.lives.insert(id.clone(), life);
        plan.checked = true;
        plan.joined = is_new.then(|| {
            let client = Notes::client(&after.said.client_id, &after.said.client_host);
            (id.clone(), client)
        });
        plan.replaced = replaced.map(|old| (old, id));
        Ok((plan, joined))
    }

    /// What a member says that it holds.
    fn owned(&self, said: &Subscription<'_>) -> Vec<TopicPartitions> {
        let owned = said.owned.iter().filter_map(|(name, partitions)| {
            let topic = self.view?.by_name(name)?.id;
            let partitions = partitions.iter().copied().map(PartitionIndex);
            Some(TopicPartitions {
                topic,
                partitions: partitions.collect(),
            })
        });
        owned.collect()
    }

    /// Whether only members of the classic protocol are left, and the group may become one of it.
    pub(super) fn may_downgrade(&self, draft: &Draft<'_>) -> bool {
        self.config.migration.may_downgrade()
            && draft.member_count() > 0
            && draft.member_count() <= self.classic_members_max
            && draft.member_count() == draft.classic_count()
    }

    /// Whether a member of the classic protocol must join again to let go of something, or to get
    /// something.
    fn must_join(group: &ConsumerGroup, id: &MemberId, member: &Member) -> bool {
        let has = &member.has;
        has.epoch < group.target_epoch()
            || has.state == MemberState::Unrevoked
            || has.state == MemberState::Unreleased && !waits_for_others(group, id, member)
    }
}

/// Whether something that a member shall have is still held by another.
fn waits_for_others(group: &ConsumerGroup, id: &MemberId, member: &Member) -> bool {
    let target = group.targets.get(id).into_iter().flatten();
    let held = |topic: &TopicId, partition: &i32| {
        let owners = group.owners.get(topic);
        let owner = owners.and_then(|owners| owners.get(partition));
        owner.is_some_and(|owner| owner != id)
    };
    let has = &member.has.assigned;
    target.into_iter().any(|(topic, partitions)| {
        let mut missing = partitions.iter().filter(|partition| {
            !has.get(topic)
                .is_some_and(|has| has.contains_key(partition))
        });
        missing.any(|partition| held(topic, partition))
    })
}

/// Whether a joining member knows a way of dividing that all others of the classic protocol know.
fn has_common_protocol(group: &ConsumerGroup, join: &Join) -> bool {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut members = 0;
    for (id, member) in &group.members {
        let Some(classic) = &member.said.classic else {
            continue;
        };
        if Some(id) == join.member.as_ref() {
            continue;
        }
        members += 1;
        for (name, _) in &classic.protocols {
            *counts.entry(name).or_default() += 1;
        }
    }
    let mut protocols = join.protocols.iter();
    protocols.any(|protocol| {
        members == 0
            || counts
                .get(protocol.name.as_str())
                .is_some_and(|all| *all == members)
    })
}

/// What a joining member says.
fn said_of(join: &Join, subscription: &Subscription<'_>, before: Option<&Said>) -> Said {
    let timeout = |timeout: Duration| i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let protocols = join.protocols.iter();
    let said = Said {
        instance: join
            .instance
            .clone()
            .or_else(|| before.and_then(|before| before.instance.clone())),
        rack: subscription.rack.map(Into::into),
        client_id: join.client_id.as_str().into(),
        client_host: join.client_host.as_str().into(),
        regex: None,
        rebalance_timeout_ms: timeout(join.rebalance_timeout),
        assignor: before.and_then(|before| before.assignor.clone()),
        classic: Some(Classic {
            session_timeout_ms: timeout(join.session_timeout),
            protocols: protocols
                .map(|protocol| {
                    let data = Bytes::copy_from_slice(&protocol.metadata);
                    (protocol.name.as_str().into(), data)
                })
                .collect(),
        }),
        ..Said::default()
    };
    said.with_topics(subscription.topics.iter().map(|name| (*name).into()))
}

impl Coordinator {
    /// A member of the classic protocol joins a group of the consumer protocol that has members.
    pub(in crate::groups) fn join_consumers(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        join: &Join,
    ) -> Decision<Reply, TimerKey> {
        let id = &join.group;
        let asked = self.asked(moment, id);
        let group = self
            .groups
            .get(id)
            .and_then(|group| group.consumer.as_deref());
        let name = join
            .instance
            .as_ref()
            .map_or(join.client_id.as_str(), |name| name.as_str());
        let new_id = MemberId::new(&format!("{name}-{}", random_uuid(moment.seed)));
        let result = group.map_or_else(
            || Err(unknown_join(join)),
            |group| asked.join(group, join, new_id),
        );
        match result {
            Err(refusal) => {
                let mut decision = refused(ticket, Reply::Join(Err(refusal)));
                decision.held();
                decision
            }
            Ok((plan, joined)) => {
                let mut decision = self.carry(moment, id, None, plan, false);
                decision.answer(ticket, Reply::Join(Ok(joined)));
                decision
            }
        }
    }

    /// A member of the classic protocol asks for its part.
    pub(in crate::groups) fn sync_consumers(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        sync: &Sync,
    ) -> Decision<Reply, TimerKey> {
        let mut joins = false;
        let result = self.try_sync(sync, &mut joins);
        if result.is_ok() {
            let now = moment.now;
            self.live_on(moment, &sync.group, &sync.member, |life, classic| {
                life.sync_by = None;
                // It is a sign of life: the member goes on from here, and may have joined long ago.
                life.deadline = now.plus(millis(classic.session_timeout_ms));
            });
        }
        if joins {
            self.must_come_again(moment, &sync.group, &sync.member);
        }
        self.answer_classic(moment, ticket, &sync.group, Reply::Sync(result))
    }

    fn try_sync(&self, sync: &Sync, joins: &mut bool) -> Result<Synced, SyncError> {
        let group = self.groups.get(&sync.group);
        let group = group.and_then(|group| group.consumer.as_deref());
        let group = group.ok_or(SyncError::UnknownMember)?;
        let found = find(group, sync.member.as_str(), sync.instance.as_ref());
        let (_, member, classic) = found.map_err(|not| match not {
            NotThis::Unknown => SyncError::UnknownMember,
            NotThis::Fenced => SyncError::FencedInstance,
        })?;
        if sync.generation.0 != member.has.epoch {
            return Err(SyncError::IllegalGeneration);
        }
        let protocol = classic.protocols.first().map_or("", |(name, _)| name);
        let differs =
            |said: &Option<String>, is: &str| said.as_deref().is_some_and(|said| said != is);
        if differs(&sync.protocol_type, CONSUMER) || differs(&sync.protocol, protocol) {
            return Err(SyncError::InconsistentProtocol);
        }
        if group.target_epoch() > member.has.epoch && member.has.state != MemberState::Unrevoked {
            *joins = true;
            return Err(SyncError::RebalanceInProgress);
        }
        let assigned = member.has.assigned.iter();
        let assigned = assigned.map(|(topic, of)| (*topic, of.keys().copied().collect()));
        let view = self.surroundings.view.as_ref();
        Ok(Synced {
            protocol_type: CONSUMER.to_owned(),
            protocol: protocol.to_owned(),
            assignment: assignment_of(view, classic, &assigned.collect()),
        })
    }

    /// A member of the classic protocol says that it lives.
    pub(in crate::groups) fn heartbeat_consumers(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        heartbeat: &Heartbeat,
    ) -> Decision<Reply, TimerKey> {
        let result = self.try_heartbeat(heartbeat);
        if matches!(result, Ok(()) | Err(HeartbeatError::RebalanceInProgress)) {
            let now = moment.now;
            self.live_on(
                moment,
                &heartbeat.group,
                &heartbeat.member,
                |life, classic| {
                    life.deadline = now.plus(millis(classic.session_timeout_ms));
                },
            );
        }
        if result == Err(HeartbeatError::RebalanceInProgress) {
            self.must_come_again(moment, &heartbeat.group, &heartbeat.member);
        }
        self.answer_classic(moment, ticket, &heartbeat.group, Reply::Heartbeat(result))
    }

    fn try_heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), HeartbeatError> {
        let group = self.groups.get(&heartbeat.group);
        let group = group.and_then(|group| group.consumer.as_deref());
        let group = group.ok_or(HeartbeatError::UnknownMember)?;
        let found = find(
            group,
            heartbeat.member.as_str(),
            heartbeat.instance.as_ref(),
        );
        let (id, member, _) = found.map_err(|not| match not {
            NotThis::Unknown => HeartbeatError::UnknownMember,
            NotThis::Fenced => HeartbeatError::FencedInstance,
        })?;
        if heartbeat.generation.0 != member.has.epoch {
            return Err(HeartbeatError::IllegalGeneration);
        }
        if Asked::must_join(group, id, member) {
            return Err(HeartbeatError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Members leave by the classic protocol, or are made to.
    pub(in crate::groups) fn leave_consumers(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        leave: Leave,
    ) -> Decision<Reply, TimerKey> {
        let id = leave.group.clone();
        let group = self
            .groups
            .get(&id)
            .and_then(|group| group.consumer.as_deref());
        let mut gone: BTreeSet<MemberId> = BTreeSet::new();
        let mut all = Vec::with_capacity(leave.members.len());
        for leaving in leave.members {
            let found = group.map_or(Err(LeaveMemberError::UnknownMember), |group| {
                leaver(group, leaving.member.as_ref(), leaving.instance.as_ref())
            });
            let result = found.map(|member| {
                // Named twice, it leaves once.
                gone.insert(member);
            });
            all.push(Left {
                member: leaving.member,
                instance: leaving.instance,
                result,
            });
        }
        let reply = Reply::Leave(Ok(all));
        let Some(group) = group.filter(|_| !gone.is_empty()) else {
            return self.answer_classic(moment, ticket, &id, reply);
        };
        let asked = self.asked(moment, &id);
        let draft = Draft::new(&id, group, asked.view);
        // Where very many leave at once, the others go with the timer, as those that are silent.
        let mut later: Vec<MemberId> = gone.into_iter().collect();
        let first = later.len().min(MEMBERS_GONE_MAX);
        let later_ones = later.split_off(first);
        let plan = asked.without(draft, &later);
        let now = moment.now;
        if let Some(group) = self
            .groups
            .get_mut(&id)
            .and_then(|group| group.consumer.as_mut())
        {
            for member in &later_ones {
                if let Some(life) = group.lives.get_mut(member) {
                    life.deadline = now;
                }
            }
            if !later_ones.is_empty() {
                group.want(now.plus(SWEEP_PAUSE));
            }
        }
        let mut decision = self.carry(moment, &id, None, plan, false);
        decision.answer(ticket, reply);
        decision
    }

    /// Something of a member's life changes.
    fn live_on(
        &mut self,
        moment: Moment,
        group: &super::GroupId,
        member: &MemberId,
        change: impl FnOnce(&mut Life, &Classic),
    ) {
        let group = self.groups.get_mut(group);
        let Some(group) = group.and_then(|group| group.consumer.as_mut()) else {
            return;
        };
        let said = group.members.get(member).map(|member| member.said.clone());
        let classic = said.as_ref().and_then(|said| said.classic.as_ref());
        let (Some(life), Some(classic)) = (group.lives.get_mut(member), classic) else {
            return;
        };
        change(life, classic);
        // One that is overdue has a timer already.
        let due = life
            .next_due()
            .max(moment.now.plus(Duration::from_millis(1)));
        group.want(due);
    }

    /// A member is told to join again, and has the time for it that it asked for.
    fn must_come_again(&mut self, moment: Moment, group: &super::GroupId, member: &MemberId) {
        let found = self.groups.get(group);
        let found = found.and_then(|group| group.consumer.as_deref());
        let found = found.and_then(|group| group.members.get(member));
        let time = found.map(|member| member.said.rebalance_timeout());
        let at = moment
            .now
            .plus(time.unwrap_or_default().max(Duration::from_secs(1)));
        self.live_on(moment, group, member, |life, _| {
            life.join_by.get_or_insert(at);
        });
    }

    /// Answers, and sees to the timer of the group.
    fn answer_classic(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        id: &super::GroupId,
        reply: Reply,
    ) -> Decision<Reply, TimerKey> {
        self.alone(moment, |turn, groups| {
            turn.decision.held();
            turn.answer(ticket, reply);
            let group = groups.get_mut(id).and_then(|group| group.consumer.as_mut());
            if let Some(group) = group {
                super::arm_consumer(turn, id, group);
            }
        })
    }
}

/// Who leaves. An administrator may name a static member by its name alone.
fn leaver(
    group: &ConsumerGroup,
    id: Option<&MemberId>,
    instance: Option<&GroupInstanceId>,
) -> Result<MemberId, LeaveMemberError> {
    let Some(instance) = instance else {
        let id = id.filter(|id| group.members.contains_key(*id));
        return id.cloned().ok_or(LeaveMemberError::UnknownMember);
    };
    let owner = group.statics.get(instance);
    let owner = owner.ok_or(LeaveMemberError::UnknownMember)?;
    if id.is_some_and(|id| id != owner) {
        return Err(LeaveMemberError::FencedInstance);
    }
    Ok(owner.clone())
}

fn unknown_join(join: &Join) -> JoinRefused {
    JoinRefused {
        member: join.member.clone(),
        error: JoinError::UnknownMember,
    }
}

/// A heartbeat refused since its group is one of the classic protocol.
pub(super) fn cannot_upgrade(group: &str, why: &str) -> ConsumerHeartbeatRefused {
    super::heartbeat::refusal(
        ConsumerHeartbeatError::GroupNotFound,
        format!("Cannot upgrade classic group {group} to consumer group because {why}."),
    )
}
