//! ConsumerGroupHeartbeat: joining, staying and leaving are one request. What a heartbeat changes is
//! drafted first, so that one that is refused changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_model::{Instant, PartitionIndex, WallTime};

use super::super::loaded::millis;
use super::super::names::{GroupId, MemberId};
use super::super::notes::Notes;
use super::Plan;
use super::api::{
    ConsumerHeartbeat, ConsumerHeartbeatDone, ConsumerHeartbeatError, ConsumerHeartbeatRefused,
    HeartbeatPatience, MemberEpoch, TopicPartitions,
};
use super::config::{ConsumerConfig, GroupSettings};
use super::draft::Draft;
use super::group::{ConsumerGroup, Has, Life, Member, MemberState, Said};
use super::regexes::{self, Searches};
use super::view::TopicsView;
use crate::kit::Moment;
use crate::limits::{
    GROUP_BYTES_MAX, GROUP_TOPICS_MAX, HEARTBEAT_INTERVAL_IMPATIENT, HEARTBEAT_INTERVAL_SETTLED,
    HEARTBEAT_INTERVAL_SHORT, HEARTBEATS_SETTLED_MAX, HEARTBEATS_UNSETTLED_MAX, NAME_BYTES_MAX,
    SUBSCRIBED_TOPICS_MAX, SWEEP_PAUSE,
};
use crate::record::Dated;

/// After a division that did not fit, the next one is not tried before this.
const DIVISION_PAUSE: Duration = Duration::from_secs(5);

type Refused = ConsumerHeartbeatRefused;

/// An error and its words.
pub(crate) fn refusal(error: ConsumerHeartbeatError, message: impl Into<String>) -> Refused {
    let message = message.into();
    Refused { error, message }
}

fn invalid(message: &str) -> Refused {
    refusal(ConsumerHeartbeatError::InvalidRequest, message)
}

/// What can be said against a heartbeat without knowing the group.
pub(crate) fn check(heartbeat: &ConsumerHeartbeat, config: &ConsumerConfig) -> Result<(), Refused> {
    let epoch = heartbeat.epoch;
    let must_have_id = heartbeat.member_id_required || epoch.0 > 0 || epoch == MemberEpoch::LEAVE;
    if must_have_id && heartbeat.member.as_str().is_empty() {
        return Err(invalid("MemberId can't be empty."));
    }
    if heartbeat.group.as_str().is_empty() {
        return Err(invalid("GroupId can't be empty."));
    }
    let instance = heartbeat.instance.as_ref().map(|name| name.as_str());
    if instance.is_some_and(str::is_empty) {
        return Err(invalid("InstanceId can't be empty."));
    }
    if heartbeat.rack.as_deref().is_some_and(str::is_empty) {
        return Err(invalid("RackId can't be empty."));
    }
    if epoch == MemberEpoch::JOIN {
        if heartbeat.rebalance_timeout_ms == -1 {
            return Err(invalid(
                "RebalanceTimeoutMs must be provided in first request.",
            ));
        }
        if heartbeat
            .owned
            .as_ref()
            .is_none_or(|owned| !owned.is_empty())
        {
            return Err(invalid("TopicPartitions must be empty when (re-)joining."));
        }
        if heartbeat.topics.is_none() && heartbeat.regex.is_none() {
            let both = "Either SubscribedTopicNames or SubscribedTopicRegex";
            return Err(invalid(&format!(
                "{both} must be non-null when (re-)joining."
            )));
        }
    } else if epoch == MemberEpoch::LEAVE_STATIC {
        if instance.is_none() {
            return Err(invalid("InstanceId can't be null."));
        }
    } else if epoch < MemberEpoch::LEAVE_STATIC {
        return Err(invalid("MemberEpoch is invalid."));
    }
    if let Some(name) = &heartbeat.assignor
        && config.assignor(name).is_none()
    {
        let all: Vec<&str> = config.assignors.iter().map(|all| all.as_str()).collect();
        let message = format!(
            "ServerAssignor {name} is not supported. Supported assignors: {}.",
            all.join(", ")
        );
        let error = ConsumerHeartbeatError::UnsupportedAssignor;
        return Err(refusal(error, message));
    }
    check_sizes(heartbeat)
}

/// What a client may say has an end.
fn check_sizes(heartbeat: &ConsumerHeartbeat) -> Result<(), Refused> {
    let names = [
        Some(heartbeat.group.as_str()),
        Some(heartbeat.member.as_str()),
        heartbeat.instance.as_ref().map(|name| name.as_str()),
        heartbeat.rack.as_deref(),
        Some(&heartbeat.client_id),
        Some(&heartbeat.client_host),
    ];
    if names
        .into_iter()
        .flatten()
        .any(|name| name.len() > NAME_BYTES_MAX)
    {
        return Err(invalid("A name is too long."));
    }
    let topics = heartbeat.topics.as_deref().unwrap_or_default();
    if topics.len() > SUBSCRIBED_TOPICS_MAX || topics.iter().any(|name| name.len() > 1_000) {
        return Err(invalid("SubscribedTopicNames is too large."));
    }
    Ok(())
}

/// What a heartbeat is decided from.
pub(crate) struct Asked<'a> {
    pub(crate) moment: Moment,
    pub(crate) config: &'a ConsumerConfig,
    pub(crate) settings: GroupSettings,
    /// Members of groups of the consumer protocol that this core has.
    pub(crate) members_served: usize,
    pub(crate) view: Option<&'a Arc<dyn TopicsView>>,
    /// Of the metadata.
    pub(crate) version: u64,
    /// Expressions whose topics are being looked for.
    pub(crate) searches: &'a Searches,
    /// How many bytes more the coordinator may hold.
    pub(crate) room: usize,
    /// The same for groups that only go on with what they have.
    pub(crate) room_to_go_on: usize,
    /// An id for a member that did not make one.
    pub(crate) new_id: MemberId,
    /// Most members of a group of the classic protocol.
    pub(crate) classic_members_max: usize,
    /// Most bytes of one record.
    pub(crate) record_bytes_max: usize,
}

/// Who a heartbeat comes from.
enum Comer {
    /// One that is a member already.
    Member(MemberId),
    /// One that is none yet.
    New(MemberId),
    /// A static member that takes the place of its earlier self.
    Instead { old: MemberId, new: MemberId },
}

impl Asked<'_> {
    /// Decides the heartbeat of one that stays, or joins.
    pub(crate) fn heartbeat(
        &self,
        group: &ConsumerGroup,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<Plan, Refused> {
        let draft = Draft::new(&heartbeat.group, group, self.view);
        self.continue_from(draft, group, heartbeat)
    }

    /// Decides it from a draft that something was changed in already.
    pub(crate) fn continue_from(
        &self,
        mut draft: Draft<'_>,
        group: &ConsumerGroup,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<Plan, Refused> {
        self.check_full(&draft, heartbeat)?;
        let comer = self.comer(&draft, group, heartbeat)?;
        let is_new = matches!(comer, Comer::New(_));
        let (id, replaced) = match comer {
            Comer::Member(id) | Comer::New(id) => (id, None),
            Comer::Instead { old, new } => {
                draft.replace(&old, &new);
                (new, Some(old))
            }
        };
        let before = draft.member(id.as_str()).cloned();
        let said_before = before.as_ref().map(|member| member.said.clone());
        let said = self.said(heartbeat, said_before.as_deref());
        let others = |said: &Said| (said.topics.clone(), said.regex.clone());
        let reads_anew = said_before.as_deref().map(others) != Some(others(&said));
        let compiled = regexes::check_new(group, said.regex.as_ref())?;
        draft.say(&id, Arc::new(said));
        let [resolved_now, searches] = self.resolve(&mut draft, group, &id, compiled)?;
        let bump = is_new || reads_anew || resolved_now || draft.epoch == 0;
        self.begin_epoch(&mut draft, group, bump, reads_anew);
        let divide_in = self.divide_if_due(&mut draft);
        let owned = heartbeat.owned.as_deref();
        if draft
            .reconcile(&id, owned, reads_anew || resolved_now)
            .is_err()
        {
            let message = "The consumer group member is in a unknown state. The member must \
                           abandon all its partitions and rejoin.";
            let error = ConsumerHeartbeatError::FencedMemberEpoch;
            return Err(refusal(error, message));
        }
        self.check_room(&draft)?;
        let Some(after) = draft.member(id.as_str()).cloned() else {
            return Err(invalid("MemberId is invalid."));
        };
        let life_before = group.lives.get(&id).copied();
        let mut life = self.life(&draft, life_before, before.as_ref(), &after);
        if searches {
            life.unsettled.get_or_insert(self.moment.now);
        }
        let interval = self.interval(&life, draft.member_count(), heartbeat.patience);
        let reply = answer(heartbeat, &id, before.as_ref(), &after, interval);
        let mut plan = Plan::of(draft, divide_in);
        plan.lives.insert(id.clone(), life);
        plan.checked = true;
        plan.searches = after.said.regex.clone().filter(|_| searches);
        plan.expresses = after.said.regex.is_some();
        plan.joined = is_new.then(|| {
            let client = Notes::client(&after.said.client_id, &after.said.client_host);
            (id.clone(), client)
        });
        plan.replaced = replaced.map(|old| (old, id));
        plan.heartbeat = Some(reply);
        Ok(plan)
    }

    /// The next epoch begins where members read other topics than before, or topics are others.
    pub(crate) fn begin_epoch(
        &self,
        draft: &mut Draft<'_>,
        group: &ConsumerGroup,
        bump: bool,
        reads_anew: bool,
    ) {
        if bump {
            if reads_anew {
                draft.drop_unused_regexes();
            }
            draft.bump();
        } else if group.checked != Some(self.version) {
            draft.bump_if_topics_changed();
        }
    }

    fn check_full(&self, draft: &Draft<'_>, heartbeat: &ConsumerHeartbeat) -> Result<(), Refused> {
        let known = draft.member(heartbeat.member.as_str()).is_some();
        if !known && draft.member_count() >= self.config.members_max {
            let message = format!(
                "The consumer group has reached its maximum capacity of {} members.",
                self.config.members_max
            );
            return Err(refusal(ConsumerHeartbeatError::GroupFull, message));
        }
        Ok(())
    }

    /// Who comes, and whether it may.
    fn comer(
        &self,
        draft: &Draft<'_>,
        group: &ConsumerGroup,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<Comer, Refused> {
        let given = &heartbeat.member;
        let joins = heartbeat.epoch == MemberEpoch::JOIN;
        let id = if given.as_str().is_empty() {
            self.new_id.clone()
        } else {
            given.clone()
        };
        let Some(instance) = &heartbeat.instance else {
            let Some(member) = draft.member(id.as_str()) else {
                if joins {
                    return Ok(Comer::New(id));
                }
                return Err(unknown(&heartbeat.group, &id));
            };
            check_epoch(member, heartbeat)?;
            return Ok(Comer::Member(id));
        };
        let owner = group.statics.get(instance);
        let owner = owner.filter(|owner| draft.member(owner.as_str()).is_some());
        let Some(owner) = owner else {
            if !joins {
                let message = format!("Instance id {instance} is unknown.");
                return Err(refusal(ConsumerHeartbeatError::UnknownMember, message));
            }
            // A member that gives itself a static name now stays the member that it is.
            let known = draft.member(id.as_str()).is_some();
            return Ok(if known {
                Comer::Member(id)
            } else {
                Comer::New(id)
            });
        };
        let Some(member) = draft.member(owner.as_str()) else {
            return Err(unknown(&heartbeat.group, owner));
        };
        if *owner == id {
            check_epoch(member, heartbeat)?;
            return Ok(Comer::Member(id));
        }
        if !joins {
            let message = format!(
                "Static member {id} with instance id {instance} was fenced by member {owner}."
            );
            return Err(refusal(ConsumerHeartbeatError::FencedInstance, message));
        }
        let left = member.has.epoch == MemberEpoch::LEAVE_STATIC.0;
        if !left && member.said.classic.is_none() {
            let message = format!(
                "Static member {id} with instance id {instance} cannot join the group because the \
                 instance id is owned by member {owner}."
            );
            return Err(refusal(ConsumerHeartbeatError::UnreleasedInstance, message));
        }
        Ok(Comer::Instead {
            old: owner.clone(),
            new: id,
        })
    }

    /// What a member says by now: what it does not say again stays.
    fn said(&self, heartbeat: &ConsumerHeartbeat, before: Option<&Said>) -> Said {
        let fresh = Said::default();
        let before = before.unwrap_or(&fresh);
        let regex = match heartbeat.regex.as_deref() {
            None => before.regex.clone(),
            Some("") => None,
            Some(regex) => Some(regex.into()),
        };
        let kept = |new: Option<&String>, old: &Option<Arc<str>>| {
            new.map_or_else(|| old.clone(), |new| Some(new.as_str().into()))
        };
        let timeout = heartbeat.rebalance_timeout_ms;
        let said = Said {
            instance: heartbeat
                .instance
                .clone()
                .or_else(|| before.instance.clone()),
            rack: kept(heartbeat.rack.as_ref(), &before.rack),
            client_id: heartbeat.client_id.as_str().into(),
            client_host: heartbeat.client_host.as_str().into(),
            regex,
            rebalance_timeout_ms: if timeout == -1 {
                before.rebalance_timeout_ms
            } else {
                timeout
            },
            assignor: kept(heartbeat.assignor.as_ref(), &before.assignor),
            classic: None,
            ..before.clone()
        };
        match &heartbeat.topics {
            None => said,
            Some(topics) => said.with_topics(topics.iter().map(|name| name.as_str().into())),
        }
    }

    /// Divides the work anew if it has to be and may be by now. Otherwise: in how long it may.
    pub(crate) fn divide_if_due(&self, draft: &mut Draft<'_>) -> Option<Duration> {
        if draft.target_epoch >= draft.epoch {
            return None;
        }
        let mut wait = self.wait_to_divide(draft.target_at());
        if let Some(at) = draft.undivided_until().filter(|at| *at > self.moment.now) {
            wait = wait.max(at.since(self.moment.now));
        }
        if !wait.is_zero() {
            return Some(wait);
        }
        let undivided = draft.clone();
        let assignor = draft.assignor(self.config);
        draft.divide(assignor, self.moment.wall);
        if self.check_division(draft) {
            return None;
        }
        // Nobody is refused for it: all go on with what they have, and it is tried again later.
        *draft = undivided;
        if draft.target_epoch == 0 {
            draft.give_nothing(self.moment.wall);
        }
        let interval = self.config.assignment(&self.settings);
        Some(interval.max(DIVISION_PAUSE))
    }

    /// Whether there is room for a division, and the log takes it. What a member has takes up to
    /// three times as much as what it shall have.
    fn check_division(&self, draft: &Draft<'_>) -> bool {
        let mut values = draft
            .records
            .iter()
            .filter_map(|record| record.value.as_ref());
        let large = values.any(|value| value.len() > self.record_bytes_max / 3);
        let [growth, _] = draft.growth();
        let growth = usize::try_from(growth).unwrap_or(0);
        let full = growth > 0
            && (2 * growth > self.room_to_go_on || draft.held() + 2 * growth > GROUP_BYTES_MAX);
        !large && !full
    }

    /// For how long the last division stands at least.
    pub(crate) fn wait_to_divide(&self, last: WallTime) -> Duration {
        let passed = self.moment.wall.0.saturating_sub(last.0);
        // A clock that was set back would make members wait.
        if last.0 == 0 || passed < 0 {
            return Duration::ZERO;
        }
        let passed = Duration::from_millis(passed.unsigned_abs());
        self.config
            .assignment(&self.settings)
            .saturating_sub(passed)
    }

    /// What a group may remember has an end, and so has what the log takes.
    pub(crate) fn check_room(&self, draft: &Draft<'_>) -> Result<(), Refused> {
        let [growth, said] = draft.growth();
        let growth = usize::try_from(growth).unwrap_or(0);
        // Who says more than before needs room; others may have a quarter more, to go on.
        let room = if said > 0 {
            self.room
        } else {
            self.room_to_go_on
        };
        let large = draft.records.iter().any(|record| {
            let value = record.value.as_ref().map_or(0, |value| value.len());
            record.key.len() + value > self.record_bytes_max
        });
        let many = said > 0 && draft.named_count() + draft.resolved_count() > GROUP_TOPICS_MAX;
        let full = growth > 0 && (growth > room || draft.held() + growth > GROUP_BYTES_MAX);
        if large || many || full {
            let message = "The group takes no more bytes.";
            return Err(refusal(ConsumerHeartbeatError::GroupFull, message));
        }
        Ok(())
    }

    /// The member's life after a sign of it.
    pub(crate) fn life(
        &self,
        draft: &Draft<'_>,
        life: Option<Life>,
        before: Option<&Member>,
        after: &Member,
    ) -> Life {
        let now = self.moment.now;
        let mut life = life.unwrap_or_else(|| Life::until(now));
        let classic = after.said.classic.as_ref();
        life.deadline = now.plus(match classic {
            Some(classic) => millis(classic.session_timeout_ms),
            None => self.config.session(&self.settings),
        });
        // One of the classic protocol is told to join again, and must do that in time.
        if classic.is_none() {
            life.join_by = None;
            life.sync_by = None;
        }
        if classic.is_some() || after.has.state != MemberState::Unrevoked {
            life.revoke_by = None;
        } else if life.revoke_by.is_none() || before.is_none_or(|before| before.has != after.has) {
            let at = now.plus(after.said.rebalance_timeout());
            life.revoke_by = Some((at, after.has.epoch));
        }
        if draft.epoch == draft.target_epoch && after.has.is_settled(draft.target_epoch) {
            life.unsettled = None;
        } else {
            life.unsettled.get_or_insert(now);
        }
        life
    }

    /// When the member shall come again: as soon as [`Self::pace`] says, but where its client gives
    /// the connection up when an answer takes longer than that, not so soon that it does. Never
    /// later than the configuration says.
    pub(crate) fn interval(
        &self,
        life: &Life,
        members: usize,
        patience: HeartbeatPatience,
    ) -> Duration {
        let configured = self.config.heartbeat(&self.settings);
        let pace = self.pace(life, members, configured);
        match patience {
            HeartbeatPatience::Apart => pace,
            HeartbeatPatience::UntilNext => pace.max(HEARTBEAT_INTERVAL_IMPATIENT).min(configured),
        }
    }

    /// How soon a member's next heartbeat is of use. One that has what it shall: soon enough to
    /// hear of changes at once, but not so soon that all members of this core together take more of
    /// it than a little ([`HEARTBEATS_SETTLED_MAX`]). What is set of the group alone counts as it
    /// is.
    ///
    /// One that has not comes sooner, and less often the longer it waits: after an eighth of the
    /// time that it has waited, and never more often than a thousand members a second of its group,
    /// or [`HEARTBEATS_UNSETTLED_MAX`] of its core, would.
    fn pace(&self, life: &Life, members: usize, configured: Duration) -> Duration {
        let settled = if self.settings.heartbeat_interval.is_some() {
            configured
        } else {
            let fair = spread(self.members_served, HEARTBEATS_SETTLED_MAX);
            configured.min(fair.max(HEARTBEAT_INTERVAL_SETTLED))
        };
        let Some(since) = life.unsettled else {
            return settled;
        };
        let waited = self.moment.now.since(since) / 8;
        let crowd = HEARTBEAT_INTERVAL_SHORT * u32::try_from(1 + members / 100).unwrap_or(u32::MAX);
        let fair = spread(self.members_served, HEARTBEATS_UNSETTLED_MAX);
        waited.max(crowd).max(fair).min(settled)
    }
}

/// How often each of so many members comes where all come so often in a second, to the millisecond.
fn spread(members: usize, a_second: u32) -> Duration {
    let micros = members as u64 * 1_000_000 / u64::from(a_second);
    Duration::from_millis(micros / 1_000)
}

/// A member's epoch must be its last, or the one before where it may not have heard of the last.
fn check_epoch(member: &Member, heartbeat: &ConsumerHeartbeat) -> Result<(), Refused> {
    let (said, has) = (heartbeat.epoch.0, &member.has);
    if said == 0 || said == has.epoch {
        return Ok(());
    }
    let side = if said > has.epoch {
        "greater"
    } else if said == has.previous_epoch && is_subset(heartbeat.owned.as_deref(), &has.assigned) {
        return Ok(());
    } else {
        "smaller"
    };
    let message = format!(
        "The consumer group member has a {side} member epoch ({said}) than the one known by the \
         group coordinator ({}). The member must abandon all its partitions and rejoin.",
        has.epoch
    );
    Err(refusal(ConsumerHeartbeatError::FencedMemberEpoch, message))
}

/// Whether all that a member says it holds was given to it.
fn is_subset(owned: Option<&[TopicPartitions]>, assigned: &Dated) -> bool {
    owned.is_some_and(|owned| {
        owned.iter().all(|owned| {
            let assigned = assigned.get(&owned.topic);
            let mut partitions = owned.partitions.iter();
            assigned.is_some_and(|of| partitions.all(|partition| of.contains_key(&partition.0)))
        })
    })
}

fn unknown(group: &GroupId, id: &MemberId) -> Refused {
    let message = format!("Member {id} is not a member of group {group}.");
    refusal(ConsumerHeartbeatError::UnknownMember, message)
}

/// What the member is told: what it has, if that is news, or if it asked in full.
fn answer(
    heartbeat: &ConsumerHeartbeat,
    id: &MemberId,
    before: Option<&Member>,
    after: &Member,
    heartbeat_interval: Duration,
) -> ConsumerHeartbeatDone {
    let reads = heartbeat.topics.is_some() || heartbeat.regex.is_some();
    let full = heartbeat.rebalance_timeout_ms != -1 && reads && heartbeat.owned.is_some();
    let held = |has: &Has| -> BTreeMap<_, Vec<i32>> {
        let topics = has.assigned.iter();
        topics
            .map(|(topic, of)| (*topic, of.keys().copied().collect()))
            .collect()
    };
    let same = before.is_some_and(|before| {
        before.has.assigned == after.has.assigned || held(&before.has) == held(&after.has)
    });
    let news = heartbeat.epoch == MemberEpoch::JOIN || full || !same;
    ConsumerHeartbeatDone {
        member: id.clone(),
        epoch: MemberEpoch(after.has.epoch),
        heartbeat_interval,
        assignment: news.then(|| partitions_of(&after.has.assigned)),
    }
}

/// Partitions as they are told.
pub(crate) fn partitions_of(dated: &Dated) -> Vec<TopicPartitions> {
    let topics = dated.iter();
    topics
        .map(|(topic, of)| TopicPartitions {
            topic: *topic,
            partitions: of.keys().copied().map(PartitionIndex).collect(),
        })
        .collect()
}

/// Whether a moment has come.
pub(crate) fn is_due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

impl Asked<'_> {
    /// A member leaves: for good, or a static one for a while.
    pub(crate) fn leave(
        &self,
        group: &ConsumerGroup,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<Plan, Refused> {
        let mut draft = Draft::new(&heartbeat.group, group, self.view);
        let id = &heartbeat.member;
        let epoch = heartbeat.epoch;
        if let Some(instance) = &heartbeat.instance {
            let Some(owner) = group.statics.get(instance) else {
                let message = format!("Instance id {instance} is unknown.");
                return Err(refusal(ConsumerHeartbeatError::UnknownMember, message));
            };
            if owner != id {
                let message = format!(
                    "Static member {id} with instance id {instance} was fenced by member {owner}."
                );
                return Err(refusal(ConsumerHeartbeatError::FencedInstance, message));
            }
        }
        let Some(member) = draft.member(id.as_str()).cloned() else {
            return Err(unknown(&heartbeat.group, id));
        };
        let reply = ConsumerHeartbeatDone {
            member: id.clone(),
            epoch,
            heartbeat_interval: Duration::ZERO,
            assignment: None,
        };
        if epoch == MemberEpoch::LEAVE_STATIC {
            let mut has = Has {
                epoch: epoch.0,
                revoking: Dated::new(),
                ..member.has
            };
            for since in has.assigned.values_mut().flat_map(BTreeMap::values_mut) {
                *since = 0;
            }
            draft.set_has(id, has);
            let mut plan = Plan::of(draft, None);
            // It has nothing left to let go of; its session goes on until it is back.
            if let Some(life) = group.lives.get(id) {
                let life = Life::until(life.deadline);
                plan.lives.insert(id.clone(), life);
            }
            plan.heartbeat = Some(reply);
            return Ok(plan);
        }
        let mut plan = self.without(draft, std::slice::from_ref(id));
        plan.heartbeat = Some(reply);
        Ok(plan)
    }

    /// Members are gone: the work is to be divided anew when somebody comes.
    pub(crate) fn without(&self, mut draft: Draft<'_>, ids: &[MemberId]) -> Plan {
        for id in ids {
            draft.remove(id);
        }
        draft.drop_unused_regexes();
        draft.bump();
        let downgrades = self.may_downgrade(&draft);
        // Members of the classic protocol are not told before the work is divided.
        let has_classic = draft.classic_count() > 0;
        let soon = self.wait_to_divide(draft.target_at()).max(SWEEP_PAUSE);
        let mut plan = Plan::of(draft, has_classic.then_some(soon));
        plan.downgrades = downgrades;
        plan.gone = ids.to_vec();
        plan
    }
}
