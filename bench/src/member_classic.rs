//! A member of the classic protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup; the leader
//! divides. It joins again as soon as it hears of a round, as a Java client does that polls without
//! a pause.

use std::{collections::BTreeMap, time::Instant};

use klamm_client::{
    group::{
        assignor::Candidate,
        protocol::{Assignment, CONSUMER, Subscription},
    },
    metadata::PartitionName,
    model::{PartitionIndex, TopicName},
};
use klamm_wire::{ApiKey, MessageView, heartbeat, join_group, leave_group, sync_group};

use crate::{
    control::refused,
    member::{Member, Membership, Phase, REBALANCE_TIMEOUT_MS, Request},
    problem::Problem,
};

/// The coordinator gives an id, with which the member shall come back.
const MEMBER_ID_REQUIRED: i16 = 79;

/// A round has begun, or goes on.
const REBALANCE_IN_PROGRESS: i16 = 27;

/// Another generation than the group's.
const ILLEGAL_GENERATION: i16 = 22;

/// The member is none.
const UNKNOWN_MEMBER: i16 = 25;

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::Protocol(error.to_string())
}

impl Member {
    pub(crate) fn next_classic(&mut self, membership: &Membership) -> Result<Request, Problem> {
        let group_id: String = self.group.to_string();
        match &mut self.phase {
            Phase::Joining => {
                let subscription = self.subscription(membership)?;
                let protocol = join_group::JoinGroupRequestProtocol {
                    name: membership.assignor.name().into(),
                    metadata: subscription.encode().to_vec().into(),
                };
                membership.request(&join_group::Request {
                    group_id: group_id.into(),
                    session_timeout_ms: membership.session_timeout_ms,
                    rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
                    member_id: self.id.clone().into(),
                    protocol_type: CONSUMER.into(),
                    protocols: vec![protocol],
                    ..Default::default()
                })
            }
            Phase::Syncing(parts) => {
                let parts = std::mem::take(parts).into_iter();
                let assignments =
                    parts.map(
                        |(member_id, assignment)| sync_group::SyncGroupRequestAssignment {
                            member_id: member_id.into(),
                            assignment: assignment.into(),
                        },
                    );
                membership.request(&sync_group::Request {
                    group_id: group_id.into(),
                    generation_id: self.epoch,
                    member_id: self.id.clone().into(),
                    protocol_type: Some(CONSUMER.into()),
                    protocol_name: Some(membership.assignor.name().into()),
                    assignments: assignments.collect(),
                    ..Default::default()
                })
            }
            Phase::Leaving => {
                let member = leave_group::MemberIdentity {
                    member_id: self.id.clone().into(),
                    ..Default::default()
                };
                membership.request(&leave_group::Request {
                    group_id: group_id.into(),
                    members: vec![member],
                    ..Default::default()
                })
            }
            Phase::Stable | Phase::Gone => membership.request(&heartbeat::Request {
                group_id: group_id.into(),
                generation_id: self.epoch,
                member_id: self.id.clone().into(),
                ..Default::default()
            }),
        }
    }

    fn subscription(&self, membership: &Membership) -> Result<Subscription, Problem> {
        let topic = TopicName::new(&membership.topic).map_err(broken)?;
        let name = |&index: &i32| PartitionName::new(topic.clone(), PartitionIndex(index));
        Ok(Subscription {
            owned: self.owned.iter().map(name).collect(),
            topics: vec![topic.clone()],
            user_data: membership.assignor.user_data(self.epoch),
            generation: Some(self.epoch),
            rack: None,
        })
    }

    pub(crate) fn answered_classic(
        &mut self,
        membership: &Membership,
        (key, version): (ApiKey, i16),
        body: &[u8],
        now: Instant,
    ) -> Result<(), Problem> {
        match key {
            ApiKey::JoinGroup => self.joined(membership, version, body, now),
            ApiKey::SyncGroup => self.synced(membership, version, body, now),
            ApiKey::Heartbeat => {
                let view = heartbeat::ResponseView::parse_prefix(body, version)?.0;
                if self.goes_on("Heartbeat", view.error_code(), membership, now)? {
                    self.due = Some(now + membership.heartbeat_interval);
                }
                Ok(())
            }
            _ => {
                self.phase = Phase::Gone;
                let view = leave_group::ResponseView::parse_prefix(body, version)?.0;
                refused("LeaveGroup", view.error_code(), String::new)
            }
        }
    }

    /// What errors mean; true where there is none.
    fn goes_on(
        &mut self,
        request: &'static str,
        error_code: i16,
        membership: &Membership,
        now: Instant,
    ) -> Result<bool, Problem> {
        match error_code {
            0 => return Ok(true),
            MEMBER_ID_REQUIRED => {}
            REBALANCE_IN_PROGRESS => {
                if !membership.assignor.is_cooperative() {
                    // Whoever may get them gets them after the round only.
                    self.owned.clear();
                }
            }
            ILLEGAL_GENERATION => self.owned.clear(),
            UNKNOWN_MEMBER => {
                self.owned.clear();
                self.id.clear();
            }
            code if self.is_put_off(code, now) => return Ok(false),
            code => refused(request, code, String::new)?,
        }
        self.settled = false;
        self.join(now);
        Ok(false)
    }

    fn joined(
        &mut self,
        membership: &Membership,
        version: i16,
        body: &[u8],
        now: Instant,
    ) -> Result<(), Problem> {
        let view = join_group::ResponseView::parse_prefix(body, version)?.0;
        if view.error_code() == MEMBER_ID_REQUIRED {
            view.member_id().clone_into(&mut self.id);
        }
        if !self.goes_on("JoinGroup", view.error_code(), membership, now)? {
            return Ok(());
        }
        view.member_id().clone_into(&mut self.id);
        self.epoch = view.generation_id();
        let mut candidates = BTreeMap::new();
        for member in view.members() {
            let candidate = Candidate {
                instance: None,
                subscription: Subscription::decode(member.metadata()).map_err(broken)?,
            };
            candidates.insert(member.member_id().to_owned(), candidate);
        }
        let topic = TopicName::new(&membership.topic).map_err(broken)?;
        let topics = BTreeMap::from([(topic, membership.partitions)]);
        let division = membership.assignor.divide(&candidates, &topics).into_iter();
        let parts = division.map(|(member, partitions)| {
            let part = Assignment {
                partitions,
                user_data: None,
            };
            (member, part.encode().to_vec())
        });
        self.phase = Phase::Syncing(parts.collect());
        self.due = Some(now);
        Ok(())
    }

    fn synced(
        &mut self,
        membership: &Membership,
        version: i16,
        body: &[u8],
        now: Instant,
    ) -> Result<(), Problem> {
        let view = sync_group::ResponseView::parse_prefix(body, version)?.0;
        if !self.goes_on("SyncGroup", view.error_code(), membership, now)? {
            return Ok(());
        }
        let given = Assignment::decode(view.assignment()).map_err(broken)?;
        let mut given: Vec<i32> = given.partitions.iter().map(|name| name.index.0).collect();
        given.sort_unstable();
        let loses = |owned: &i32| given.binary_search(owned).is_err();
        let lets_go = self.owned.iter().any(loses);
        self.owned = given;
        if lets_go {
            // Cooperative: others get them in another round.
            self.settled = false;
            self.join(now);
        } else {
            self.phase = Phase::Stable;
            self.settled = true;
            self.due = Some(now + membership.heartbeat_interval);
        }
        Ok(())
    }
}
