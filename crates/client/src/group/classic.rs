//! The classic protocol of a member: JoinGroup, SyncGroup, Heartbeat, and dividing the work where
//! this member leads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_model::{ErrorCode, Instant, TopicName};
use klamm_wire::{heartbeat, join_group, sync_group};

use super::assignor::{Assignor, Candidate, Division};
use super::events::{Action, Purpose};
use super::member::{Member, Phase, Place};
use super::protocol::{Assignment, CONSUMER, Subscription};
use crate::admin::milliseconds;
use crate::connection::Response;
use crate::error::check;
use crate::metadata::Cluster;

/// How much longer than a round its answers may be on their way.
const ROUND_SLACK: Duration = Duration::from_secs(5);

/// How often a leader asks for topics that do not exist yet.
const MISSING_INTERVAL: Duration = Duration::from_secs(1);

/// A round that this member leads.
#[derive(Clone, Debug)]
pub(super) struct Round {
    members: BTreeMap<String, Candidate>,
    assignor: Assignor,
    /// All topics that members want.
    topics: BTreeSet<TopicName>,
    /// Those of which nothing was heard since the round began.
    awaited: BTreeSet<TopicName>,
    /// When they are asked for; `None` while they are.
    ask_at: Option<Instant>,
    /// Partitions of each topic, by which the work was divided.
    counts: BTreeMap<TopicName, i32>,
}

impl Round {
    pub(super) const fn ask_at(&self) -> Option<Instant> {
        self.ask_at
    }

    fn count(&self, cluster: &Cluster) -> BTreeMap<TopicName, i32> {
        let counts = self.topics.iter().filter_map(|name| {
            let count = cluster.topic(name)?.partitions.len();
            Some((name.clone(), i32::try_from(count).ok()?))
        });
        counts.collect()
    }
}

impl Member {
    pub(super) fn poll_classic(&mut self, now: Instant, cluster: &Cluster) {
        let Place::At(_) = self.place else {
            return;
        };
        match &mut self.phase {
            Phase::Ready { not_before } if *not_before <= now => self.send_join(now),
            Phase::Dividing(round) => {
                if round.awaited.is_empty() {
                    let round = round.clone();
                    return self.divide(now, round, cluster);
                }
                if round.ask_at.is_some_and(|at| at <= now) {
                    round.ask_at = None;
                    let topics = round.awaited.iter().cloned().collect();
                    self.push(Action::Refresh(topics));
                }
            }
            Phase::Stable => self.watch(now, cluster),
            _ => {}
        }
        if self.beats() && self.beats.sent.is_none() && self.beats.next <= now {
            self.send_beat(now);
        }
    }

    fn send_join(&mut self, now: Instant) {
        let protocols = self.options.assignors.iter().map(|assignor| {
            let subscription = Subscription {
                topics: self.topics.clone(),
                user_data: assignor.user_data(self.generation),
                owned: self.owned.iter().cloned().collect(),
                generation: Some(self.generation),
                rack: None,
            };
            join_group::JoinGroupRequestProtocol {
                name: assignor.name().into(),
                metadata: subscription.encode().to_vec().into(),
            }
        });
        let request = join_group::Request {
            group_id: self.options.group.clone().into(),
            session_timeout_ms: milliseconds(self.options.session_timeout),
            rebalance_timeout_ms: milliseconds(self.options.max_poll_interval),
            member_id: self.id.clone().into(),
            group_instance_id: self.options.instance.clone().map(Into::into),
            protocol_type: CONSUMER.into(),
            protocols: protocols.collect(),
            ..Default::default()
        };
        self.phase = Phase::Joining;
        // Whether the coordinator hears of it is known by its answer: lost, it is no sign of life.
        self.beats.sent = Some(now);
        let patience = self.options.max_poll_interval + ROUND_SLACK;
        let purpose = Purpose::Join(self.exchange);
        self.send_patiently(purpose, request, i16::MAX, patience);
    }

    pub(super) fn on_join_answer(&mut self, now: Instant, response: &Response) -> Option<()> {
        let view = response.view::<join_group::ResponseView<'_>>().ok()?;
        if !matches!(self.phase, Phase::Joining) {
            return Some(());
        }
        if let Err(code) = check(view.error_code()) {
            if code == ErrorCode::MemberIdRequired {
                self.id = view.member_id().to_owned();
                self.phase = Phase::Ready { not_before: now };
                return Some(());
            }
            self.on_round_refused(now, code);
            return Some(());
        }
        self.id = view.member_id().to_owned();
        self.generation = view.generation_id();
        self.beats.heard = now;
        self.round = None;
        self.divided_by = view.protocol_name().unwrap_or_default().to_owned();
        if view.leader() != self.id {
            self.send_sync(now, &Division::new());
            return Some(());
        }
        let Some(assignor) = Assignor::named(&self.divided_by) else {
            let name = self.divided_by.clone();
            self.refuse(ErrorCode::InconsistentGroupProtocol, Some(&name));
            return Some(());
        };
        let members = view.members();
        let members: BTreeMap<String, Candidate> = members
            .iter()
            .map(|member| {
                // Who cannot be understood wants nothing, as far as can be told.
                let subscription = Subscription::decode(member.metadata()).unwrap_or_default();
                let instance = member.group_instance_id().map(str::to_owned);
                let candidate = Candidate {
                    instance,
                    subscription,
                };
                (member.member_id().to_owned(), candidate)
            })
            .collect();
        let topics: BTreeSet<TopicName> = members
            .values()
            .flat_map(|it| it.subscription.topics.iter().cloned())
            .collect();
        let round = Round {
            members,
            assignor,
            awaited: topics.clone(),
            topics,
            ask_at: Some(now),
            counts: BTreeMap::new(),
        };
        if view.skip_assignment() {
            // A static leader that came back: the work stays divided as it is.
            self.round = Some(round);
            self.send_sync(now, &Division::new());
        } else {
            self.phase = Phase::Dividing(round);
        }
        Some(())
    }

    /// Metadata of these topics was answered.
    pub(crate) fn on_metadata(&mut self, topics: &[TopicName]) {
        if let Phase::Dividing(round) = &mut self.phase {
            for name in topics {
                round.awaited.remove(name);
            }
        }
    }

    /// Metadata of these topics was not answered.
    pub(crate) fn on_metadata_lost(&mut self, now: Instant) {
        let pause = self.options.fetch.retry_backoff;
        if let Phase::Dividing(round) = &mut self.phase {
            round.ask_at = Some(now.plus(pause));
        }
    }

    fn divide(&mut self, now: Instant, mut round: Round, cluster: &Cluster) {
        round.counts = round.count(cluster);
        let division = round.assignor.divide(&round.members, &round.counts);
        self.watch_later(now, &round);
        self.round = Some(round);
        self.send_sync(now, &division);
    }

    fn watch_later(&mut self, now: Instant, round: &Round) {
        let missing = round.counts.len() < round.topics.len();
        let age_max = self.options.fetch.metadata_age_max;
        let interval = if missing {
            MISSING_INTERVAL.min(age_max)
        } else {
            age_max
        };
        self.watch_at = Some(now.plus(interval));
    }

    /// A leader looks whether topics came, went or grew, and calls for a round.
    fn watch(&mut self, now: Instant, cluster: &Cluster) {
        let Some(mut round) = self.round.take() else {
            self.watch_at = None;
            return;
        };
        let counts = round.count(cluster);
        if round.counts.is_empty() {
            // A leader that came back counts for the first time.
            round.counts = counts;
        } else if counts != round.counts {
            return self.rejoin(now);
        }
        if self.watch_at.is_none_or(|at| at <= now) {
            self.push(Action::Refresh(round.topics.iter().cloned().collect()));
            self.watch_later(now, &round);
        }
        self.round = Some(round);
    }

    fn send_sync(&mut self, now: Instant, division: &Division) {
        let assignments = division.iter().map(|(id, partitions)| {
            let assignment = Assignment {
                partitions: partitions.clone(),
                user_data: None,
            };
            sync_group::SyncGroupRequestAssignment {
                member_id: id.clone().into(),
                assignment: assignment.encode().to_vec().into(),
            }
        });
        let request = sync_group::Request {
            group_id: self.options.group.clone().into(),
            generation_id: self.generation,
            member_id: self.id.clone().into(),
            group_instance_id: self.options.instance.clone().map(Into::into),
            protocol_type: Some(CONSUMER.into()),
            protocol_name: Some(self.divided_by.clone().into()),
            assignments: assignments.collect(),
        };
        self.phase = Phase::Syncing;
        self.beats.sent = Some(now);
        // The next round begins after this one.
        self.beats.calm = now;
        let patience = self.options.max_poll_interval + ROUND_SLACK;
        let purpose = Purpose::Sync(self.exchange);
        self.send_patiently(purpose, request, i16::MAX, patience);
    }

    pub(super) fn on_sync_answer(&mut self, now: Instant, response: &Response) -> Option<()> {
        let view = response.view::<sync_group::ResponseView<'_>>().ok()?;
        if !matches!(self.phase, Phase::Syncing) {
            return Some(());
        }
        if let Err(code) = check(view.error_code()) {
            self.on_round_refused(now, code);
            return Some(());
        }
        let Ok(assignment) = Assignment::decode(view.assignment()) else {
            self.refuse(
                ErrorCode::InconsistentGroupProtocol,
                Some("the leader's assignment cannot be read"),
            );
            return Some(());
        };
        // The coordinator counts from when it answered, which was not before it was asked.
        let sent = self.beats.sent.take().unwrap_or(now);
        self.beats.heard = sent;
        self.beats.next = sent.plus(self.beats.interval);
        self.on_assignment(now, assignment.partitions.into_iter().collect());
        Some(())
    }

    /// A join or a sync was refused.
    fn on_round_refused(&mut self, now: Instant, code: ErrorCode) {
        let not_before = now.plus(self.pause());
        match code {
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.fence(now, code);
                self.phase = Phase::Ready { not_before };
            }
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.phase = Phase::Ready { not_before };
                self.lose_coordinator(now);
            }
            ErrorCode::RebalanceInProgress | ErrorCode::CoordinatorLoadInProgress => {
                if code == ErrorCode::RebalanceInProgress {
                    self.beats.heard = self.beats.sent.unwrap_or(self.beats.heard);
                }
                self.begin_exchange();
                self.phase = Phase::Ready { not_before };
            }
            code => self.refuse(code, None),
        }
    }

    fn send_beat(&mut self, now: Instant) {
        self.beats.sent = Some(now);
        self.beats.next = now.plus(self.beats.interval);
        let request = heartbeat::Request {
            group_id: self.options.group.clone().into(),
            generation_id: self.generation,
            member_id: self.id.clone().into(),
            group_instance_id: self.options.instance.clone().map(Into::into),
        };
        self.send(Purpose::Beat(self.exchange), request, i16::MAX);
    }

    pub(super) fn on_beat_answer(&mut self, now: Instant, response: &Response) -> Option<()> {
        let view = response.view::<heartbeat::ResponseView>().ok()?;
        let sent = self.beats.sent.take();
        match check(view.error_code()) {
            Ok(()) => {
                self.failures = 0;
                self.beats.heard = sent.unwrap_or(self.beats.heard);
                self.beats.calm = self.beats.heard;
            }
            Err(ErrorCode::RebalanceInProgress) => {
                self.beats.heard = sent.unwrap_or(self.beats.heard);
                self.rejoin(now);
            }
            Err(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) => {
                self.lose_coordinator(now);
            }
            Err(ErrorCode::CoordinatorLoadInProgress) => {}
            Err(code @ (ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration)) => {
                self.fence(now, code);
            }
            Err(code) => self.refuse(code, None),
        }
        Some(())
    }
}
