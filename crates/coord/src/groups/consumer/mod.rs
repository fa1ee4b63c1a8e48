//! Groups of the consumer protocol (KIP-848): the coordinator divides the work, and brings members
//! one by one to what they shall have. Their state is hard throughout, but for signs of life.

pub(super) use offsets::{may_commit, may_fetch};
pub(super) use timers::on_revived;

pub(super) mod api;
mod assign;
mod classic;
#[cfg(test)]
mod classic_simulation;
pub(super) mod config;
mod describe;
mod draft;
#[cfg(test)]
mod exhaustive;
pub(super) mod group;
mod heartbeat;
#[cfg(test)]
mod hostile;
mod migrate;
mod offsets;
mod protocol;
mod reconcile;
pub(super) mod regexes;
#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(super) mod testing;
mod timers;

pub(super) mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use klamm_model::{TopicId, TopicName};

use self::api::{
    ConsumerHeartbeat, ConsumerHeartbeatDone, ConsumerHeartbeatError, ConsumerHeartbeatRefused,
    MemberEpoch,
};
use self::config::GroupSettings;
use self::draft::Draft;
use self::group::{ConsumerGroup, Life};
use self::heartbeat::{Asked, refusal};
use self::view::TopicsView;
use super::api::{GroupState, Join, JoinError, JoinRefused, Reply};
use super::names::{GroupId, MemberId};
use super::notes::{Client, Happened};
use super::timers::{arm_at, disarm};
use super::turn::{TimerKey, Turn, random_uuid};
use super::{Coordinator, refused};
use crate::kit::{Decision, Moment, Record, Ticket};
use crate::limits::{GROUPS_MAX, SWEEP_PAUSE};
use crate::record::group_key;

/// What the host has said of topics and of single groups.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    view: Option<Arc<dyn TopicsView>>,
    /// How often the topics have changed.
    version: u64,
    settings: BTreeMap<GroupId, GroupSettings>,
}

impl Surroundings {
    pub(super) const fn unknown() -> Self {
        Self {
            view: None,
            version: 0,
            settings: BTreeMap::new(),
        }
    }

    /// What a topic is called, if there is one with this id.
    pub(super) fn topic_name(&self, topic: TopicId) -> Option<String> {
        let seen = self.view.as_ref()?.by_id(topic)?;
        Some(seen.name.to_string())
    }
}

/// What a draft comes to: records, and what they do not say.
pub(super) struct Plan {
    records: Vec<Record>,
    lives: BTreeMap<MemberId, Life>,
    gone: Vec<MemberId>,
    joined: Option<(MemberId, Box<Client>)>,
    replaced: Option<(MemberId, MemberId)>,
    heartbeat: Option<ConsumerHeartbeatDone>,
    /// The metadata was looked at.
    checked: bool,
    /// Only members of the classic protocol are left.
    downgrades: bool,
    /// A regular expression whose topics are to be looked for.
    searches: Option<Arc<str>>,
    /// A member reads what matches a regular expression.
    expresses: bool,
    /// In how long the work may be divided anew that has to be.
    divide_in: Option<Duration>,
    /// The group's epoch, if another one began.
    bumped: Option<i32>,
    /// The epoch of a new division, and how many partitions it moves.
    divided: Option<(i32, usize)>,
}

impl Plan {
    fn of(draft: Draft<'_>, divide_in: Option<Duration>) -> Self {
        let [bumped, divided] = draft.changed_epochs();
        let moved = draft.moved;
        Self {
            records: draft.records,
            lives: BTreeMap::new(),
            gone: Vec::new(),
            joined: None,
            replaced: None,
            heartbeat: None,
            checked: false,
            downgrades: false,
            searches: None,
            expresses: false,
            divide_in,
            bumped,
            divided: divided.map(|epoch| (epoch, moved)),
        }
    }
}

impl Coordinator {
    /// Topics have changed: these are new, gone, or have another number of partitions. Groups that
    /// read them find out when their members come.
    pub fn on_topics_changed(
        &mut self,
        moment: Moment,
        view: Arc<dyn TopicsView>,
        changed: &[TopicName],
    ) -> Decision<Reply, TimerKey> {
        let first = self.surroundings.view.replace(view).is_none();
        if first || !changed.is_empty() {
            self.surroundings.version += 1;
        }
        if !changed.is_empty() {
            self.search_changed(changed);
        }
        let mut decision = Decision::nothing();
        self.arm_searches(moment, &mut decision);
        decision
    }

    /// What one group shall do otherwise than the others; `None` takes that back. It counts from
    /// the next sign of life of each member on.
    pub fn set_group_settings(&mut self, group: &GroupId, settings: Option<GroupSettings>) {
        let all = &mut self.surroundings.settings;
        match settings {
            Some(settings) => all.insert(group.clone(), settings),
            None => all.remove(group),
        };
    }

    /// How often the work of groups is divided anew at most, where they have no setting of their own;
    /// what the configuration said no longer counts.
    pub const fn set_assignment_interval(&mut self, interval: Duration) {
        self.config.consumer.assignment_interval = interval;
    }

    fn settings_of(&self, group: &GroupId) -> GroupSettings {
        let own = self.surroundings.settings.get(group).copied();
        own.unwrap_or_default()
    }

    fn asked(&self, moment: Moment, group: &GroupId) -> Asked<'_> {
        Asked {
            moment,
            config: &self.config.consumer,
            settings: self.settings_of(group),
            members_served: self.members_served.max(self.consumer_members),
            view: self.surroundings.view.as_ref(),
            version: self.surroundings.version,
            searches: &self.searches,
            room: self.bytes_max.saturating_sub(self.bytes),
            room_to_go_on: (self.bytes_max + self.bytes_max / 4).saturating_sub(self.bytes),
            new_id: MemberId::new(&random_uuid(moment.seed)),
            classic_members_max: self.config.members_max,
            record_bytes_max: self.config.batch_bytes_max,
        }
    }

    /// Decides a heartbeat of the consumer protocol.
    pub(super) fn consumer_heartbeat(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        heartbeat: &ConsumerHeartbeat,
    ) -> Decision<Reply, TimerKey> {
        match self.plan_heartbeat(moment, heartbeat) {
            Ok((plan, converted)) => {
                self.carry(moment, &heartbeat.group, Some(ticket), plan, converted)
            }
            Err(error) => {
                let mut decision = refused(ticket, Reply::ConsumerHeartbeat(Err(error)));
                decision.held();
                decision
            }
        }
    }

    /// What becomes of a group, and whether it was one of the classic protocol.
    fn plan_heartbeat(
        &self,
        moment: Moment,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<(Plan, bool), ConsumerHeartbeatRefused> {
        heartbeat::check(heartbeat, &self.config.consumer)?;
        let id = &heartbeat.group;
        let asked = self.asked(moment, id);
        let found = self.groups.get(id);
        let joins = heartbeat.epoch == MemberEpoch::JOIN;
        if let Some(consumer) = found.and_then(|group| group.consumer.as_deref()) {
            let plan = if heartbeat.epoch < MemberEpoch::JOIN {
                asked.leave(consumer, heartbeat)?
            } else {
                asked.heartbeat(consumer, heartbeat)?
            };
            return Ok((plan, false));
        }
        let not_found = |message| refusal(ConsumerHeartbeatError::GroupNotFound, message);
        if !joins {
            return Err(not_found(match found {
                Some(_) => format!("Group {id} is not a consumer group."),
                None => format!("Consumer group {id} not found."),
            }));
        }
        if let Some(group) = found.filter(|group| group.state() != GroupState::Empty) {
            return Ok((asked.upgrade(group, heartbeat)?, true));
        }
        let full = self.bytes >= self.bytes_max || self.groups.len() >= GROUPS_MAX;
        if found.is_none() && full {
            let message = "The coordinator takes no more groups.";
            return Err(refusal(ConsumerHeartbeatError::GroupFull, message));
        }
        let fresh = ConsumerGroup::default();
        let mut plan = asked.heartbeat(&fresh, heartbeat)?;
        if found.is_some_and(|group| group.kept.is_some()) {
            // The group of the classic protocol is no more; its offsets stay.
            let key = group_key(id.as_str());
            plan.records.insert(0, Record { key, value: None });
        }
        Ok((plan, true))
    }

    /// Carries a plan out: signs of life at once, all else as records.
    pub(super) fn carry(
        &mut self,
        moment: Moment,
        id: &GroupId,
        ticket: Option<Ticket>,
        plan: Plan,
        converts: bool,
    ) -> Decision<Reply, TimerKey> {
        let group = self.group_or_new(id.as_str());
        let mut pending = converts.then(|| group.round.take()).flatten();
        let mut ended = Decision::nothing();
        if let Some(round) = &mut pending {
            self.end_round(round, &mut ended);
            self.bytes -= round.bytes;
        }
        if let Some(regex) = &plan.searches {
            self.search(id, regex);
        }
        if plan.expresses {
            let interval = self.config.consumer.regex_refresh_interval;
            self.searches.refresh_by(moment.now.plus(interval));
        }
        let version = self.surroundings.version;
        let (mut turn, groups) = self.turn(moment);
        if pending.is_some_and(|round| round.armed.is_some()) {
            disarm(&mut turn, id);
        }
        if let Some(group) = groups.get_mut(id) {
            let consumer = group.consumer.get_or_insert_default();
            turn.apply(id, consumer, plan, ticket, version);
            arm_consumer(&mut turn, id, consumer);
        }
        let mut decision = turn.finish();
        decision.replies.append(&mut ended.replies);
        self.arm_searches(moment, &mut decision);
        self.drop_if_void(id.as_str());
        decision
    }
}

impl Turn<'_> {
    /// What a plan says besides its records.
    fn apply(
        &mut self,
        id: &GroupId,
        group: &mut ConsumerGroup,
        plan: Plan,
        ticket: Option<Ticket>,
        version: u64,
    ) {
        let now = self.moment.now;
        if let Some((member, client)) = plan.joined {
            let joined = Happened::Joined {
                member,
                client,
                reason: None,
            };
            self.notes.push(id, joined);
        }
        if let Some((old, new)) = plan.replaced {
            group.lives.remove(&old);
            self.notes.push(id, Happened::Replaced { old, new });
        }
        for (member, life) in plan.lives {
            group.want(life.next_due());
            group.lives.insert(member, life);
        }
        for member in &plan.gone {
            group.lives.remove(member);
        }
        if plan.checked {
            group.checked = Some(version);
        }
        if plan.bumped.is_some() {
            self.counters.rebalances_begun += 1;
        }
        if let Some((epoch, moved)) = plan.divided {
            self.counters.rebalances_completed += 1;
            group.divide_at = None;
            self.notes.push(id, Happened::Divided { epoch, moved });
        }
        if plan.downgrades {
            let at = now.plus(SWEEP_PAUSE);
            group.downgrade_at = Some(at);
            group.want(at);
        }
        if let Some(wait) = plan.divide_in {
            let at = now.plus(wait);
            group.divide_at = Some(at);
            group.want(at);
        }
        self.decision.records.extend(plan.records);
        self.decision.held();
        if let (Some(ticket), Some(done)) = (ticket, plan.heartbeat) {
            if done.epoch.0 < 0 {
                let (member, reason) = (done.member.clone(), None);
                self.notes.push(id, Happened::Left { member, reason });
            }
            self.answer(ticket, Reply::ConsumerHeartbeat(Ok(done)));
        }
    }
}

/// Sets the timer of a group, if something is due before it fires.
fn arm_consumer(turn: &mut Turn<'_>, id: &GroupId, group: &mut ConsumerGroup) {
    arm_at(turn, id, &mut group.wanted, &mut group.armed);
}

impl Coordinator {
    /// A group of the consumer protocol without members becomes one of the classic protocol.
    pub(super) fn join_instead(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        join: Join,
    ) -> Decision<Reply, TimerKey> {
        let id = join.group.clone();
        let unknown = Reply::Join(Err(JoinRefused {
            member: None,
            error: JoinError::UnknownMember,
        }));
        let before = self.groups.get(&id);
        let before = before.and_then(|group| group.consumer.as_deref());
        let armed = before.is_some_and(|before| before.armed.is_some());
        let parts = before.map(ConsumerGroup::parts).unwrap_or_default();
        let tombstones: Vec<Record> = parts
            .into_iter()
            .map(|part| Record {
                key: part.key(id.as_str()),
                value: None,
            })
            .collect();
        let group = id.clone();
        self.in_any_round(moment, &group, ticket, unknown, |turn, round, kept| {
            turn.join(round, kept, ticket, join);
            if !round.is_void() {
                turn.decision.records.extend(tombstones);
                if armed {
                    disarm(turn, &id);
                }
            }
        })
    }

    /// Whether a group is one of the consumer protocol.
    pub(super) fn is_consumer(&self, id: &GroupId) -> bool {
        let group = self.groups.get(id);
        group.is_some_and(|group| group.consumer.is_some())
    }

    /// For how long members of each group may be silent.
    pub(super) fn sessions(&self) -> impl Fn(&GroupId) -> Duration + use<> {
        let config = self.config.consumer.clone();
        let settings = self.surroundings.settings.clone();
        move |id| config.session(&settings.get(id).copied().unwrap_or_default())
    }

    /// Describes groups of the consumer protocol.
    pub(super) fn describe_consumers(
        &mut self,
        moment: Moment,
        ticket: Ticket,
        asked: Vec<GroupId>,
    ) -> Decision<Reply, TimerKey> {
        let described = asked.into_iter().map(|id| {
            let group = self.groups.get(&id);
            let view = self.surroundings.view.as_ref();
            let described = describe::described(&id, group, &self.config.consumer, view);
            (id, described)
        });
        let reply = Reply::DescribeConsumers(described.collect());
        self.alone(moment, |turn, _| {
            turn.decision.held();
            turn.answer(ticket, reply);
        })
    }
}
