//! What happens to groups of the consumer protocol as time passes: silent members go, and so do
//! those that let go of nothing; work is divided that had to wait.

use klamm_model::Instant;

use super::super::api::Reply;
use super::super::loaded::millis;
use super::super::names::{GroupId, MemberId};
use super::super::notes::Happened;
use super::super::turn::TimerKey;
use super::super::{Coordinator, Group};
use super::draft::Draft;
use super::group::{Life, MemberState};
use super::heartbeat::is_due;
use super::{Plan, arm_consumer};
use crate::kit::{Decision, Moment};
use crate::limits::{MEMBERS_GONE_MAX, SWEEP_PAUSE};

impl Coordinator {
    /// A timer has fired, but nothing can be decided by now, as the log takes nothing: members could
    /// not be heard either, so none of a group of the consumer protocol is given up for that. The
    /// host lets the timer fire again.
    pub fn put_off(&mut self, now: Instant, key: &TimerKey) {
        let TimerKey::Group(id) = key else {
            return;
        };
        let group = self.groups.get_mut(id.as_str());
        let Some(group) = group.and_then(|group| group.consumer.as_mut()) else {
            return;
        };
        // By then every member has come that is there.
        let at_least = now.plus(self.config.consumer.heartbeat_interval_max);
        for life in group.lives.values_mut() {
            life.deadline = life.deadline.max(at_least);
            life.revoke_by = life.revoke_by.map(|(at, epoch)| (at.max(at_least), epoch));
            life.join_by = life.join_by.map(|at| at.max(at_least));
            life.sync_by = life.sync_by.map(|at| at.max(at_least));
        }
    }

    /// The timer of a group has fired: whatever is due by now happens.
    pub(in crate::groups) fn on_consumer_due(
        &mut self,
        moment: Moment,
        id: &GroupId,
    ) -> Decision<Reply, TimerKey> {
        let now = moment.now;
        let found = self.groups.get(id);
        let downgrades = found
            .and_then(|group| group.consumer.as_deref())
            .is_some_and(|group| is_due(group.downgrade_at, now));
        if downgrades && let Some(decision) = self.downgrade(moment, id) {
            return decision;
        }
        let found = self.groups.get(id);
        let Some(group) = found.and_then(|group| group.consumer.as_deref()) else {
            return Decision::nothing();
        };
        let mut silent = Vec::new();
        let mut late = Vec::new();
        for (member, life) in &group.lives {
            if silent.len() + late.len() >= MEMBERS_GONE_MAX {
                break;
            }
            if life.deadline <= now {
                silent.push(member.clone());
            } else if is_due(life.join_by, now)
                || is_due(life.sync_by, now)
                || revokes_too_long(group.members.get(member), life, now)
            {
                late.push(member.clone());
            }
        }
        let gone: Vec<MemberId> = silent.iter().chain(&late).cloned().collect();
        let asked = self.asked(moment, id);
        let mut plan = None;
        let kept: Vec<MemberId> = gone
            .iter()
            .filter(|member| group.members.contains_key(*member))
            .cloned()
            .collect();
        let draft = Draft::new(id, group, asked.view);
        if !kept.is_empty() {
            let mut without = asked.without(draft, &kept);
            without.gone = gone;
            plan = Some(without);
        } else if is_due(group.divide_at, now) {
            let mut draft = draft;
            let wait = asked.divide_if_due(&mut draft);
            if asked.check_room(&draft).is_ok() {
                plan = Some(Plan::of(draft, wait));
            }
        }
        self.expire_members(moment, id, plan, [silent, late])
    }

    fn expire_members(
        &mut self,
        moment: Moment,
        id: &GroupId,
        plan: Option<Plan>,
        [silent, late]: [Vec<MemberId>; 2],
    ) -> Decision<Reply, TimerKey> {
        let version = self.surroundings.version;
        let (mut turn, groups) = self.turn(moment);
        let consumer = groups.get_mut(id).and_then(|group| group.consumer.as_mut());
        if let Some(group) = consumer {
            group.armed = None;
            if is_due(group.downgrade_at, moment.now) {
                group.downgrade_at = None;
            }
            if is_due(group.divide_at, moment.now) {
                group.divide_at = None;
            }
            turn.counters.members_expired += silent.len() as u64;
            for member in silent {
                group.lives.remove(&member);
                turn.notes.push(id, Happened::Silent { member });
            }
            for member in late {
                group.lives.remove(&member);
                turn.notes.push(id, Happened::Late { member });
            }
            if let Some(plan) = plan {
                turn.apply(id, group, plan, None, version);
            }
            // Those that are due as well, but too many for one decision, go after a pause.
            let now = moment.now;
            let later = |due| {
                if due > now {
                    due
                } else {
                    now.plus(SWEEP_PAUSE)
                }
            };
            group.wanted = group.next_due().map(later);
            arm_consumer(&mut turn, id, group);
        }
        let decision = turn.finish();
        self.drop_if_void(id.as_str());
        decision
    }
}

/// A group that the log brought back: its members have a session's time to be heard of, and a
/// rebalance's time to let go of what they must. What the log was cut in is carried on with: the work
/// is divided where an epoch began without that, and who was to go at once goes.
pub(in crate::groups) fn on_revived(
    turn: &mut super::Turn<'_>,
    id: &GroupId,
    group: &mut Group,
    session: std::time::Duration,
) {
    let now = turn.moment.now;
    let Some(consumer) = group.consumer.as_mut() else {
        return;
    };
    let mut lives = std::collections::BTreeMap::new();
    let mut has_replaced = false;
    for (id, member) in &consumer.members {
        let classic = member.said.classic.as_ref();
        let session = classic.map_or(session, |classic| millis(classic.session_timeout_ms));
        let is_replaced = consumer.is_replaced(id, member);
        has_replaced |= is_replaced;
        let mut life = Life::until(now.plus(if is_replaced { SWEEP_PAUSE } else { session }));
        if classic.is_none() && member.has.state == MemberState::Unrevoked && member.has.epoch >= 0
        {
            let at = now.plus(member.said.rebalance_timeout());
            life.revoke_by = Some((at, member.has.epoch));
        }
        lives.insert(id.clone(), life);
    }
    consumer.lives = lives;
    let members = &consumer.members;
    let all_classic = members.values().all(|member| member.said.classic.is_some());
    if !members.is_empty() && all_classic && !has_replaced {
        consumer.downgrade_at = Some(now.plus(SWEEP_PAUSE));
    }
    if consumer.epoch() > consumer.target_epoch() && !consumer.members.is_empty() {
        consumer.divide_at = Some(now.plus(SWEEP_PAUSE));
    }
    consumer.wanted = consumer.next_due();
    arm_consumer(turn, id, consumer);
}

fn revokes_too_long(member: Option<&super::group::Member>, life: &Life, now: Instant) -> bool {
    let Some((at, epoch)) = life.revoke_by else {
        return false;
    };
    let still = member.is_some_and(|member| {
        member.has.state == MemberState::Unrevoked && member.has.epoch == epoch
    });
    at <= now && still
}
