//! The consumer protocol of a member (KIP-848): one heartbeat tells the coordinator what this
//! member wants and owns, and brings what it shall own. The coordinator divides the work, and gives
//! nothing that another still owns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_model::{ErrorCode, Instant, PartitionIndex, TopicId};
use klamm_wire::consumer_group_heartbeat as heartbeat;

use super::events::{Action, GroupError, Purpose};
use super::member::{Member, Phase, Place};
use crate::admin::milliseconds;
use crate::connection::Response;
use crate::error::{BrokerError, check};
use crate::metadata::{Cluster, PartitionName};

/// The epoch of one that joins.
const JOINING: i32 = 0;

/// The epoch of one that leaves.
const LEAVING: i32 = -1;

/// The epoch of a static member that leaves for a short time.
const LEAVING_FOR_NOW: i32 = -2;

/// What the coordinator was told, and what it told.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What it was told last that this member owns.
    pub(super) owned: Option<BTreeSet<PartitionName>>,
    /// An assignment that is not taken yet: topics are named by ids.
    pending: Option<BTreeMap<TopicId, Vec<i32>>>,
    /// When unknown ids are asked for again.
    ask_at: Instant,
}

impl Report {
    /// When something is due by time alone.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.pending.as_ref().map(|_| self.ask_at)
    }
}

impl Member {
    pub(super) fn poll_consumer(&mut self, now: Instant, cluster: &Cluster) {
        let Place::At(_) = self.place else {
            return;
        };
        if let Phase::Ready { not_before } = self.phase
            && not_before <= now
        {
            self.send_first_heartbeat(now);
        }
        if matches!(self.phase, Phase::Stable) {
            self.take_assignment(now, cluster);
        }
        if self.beats() && self.beats.sent.is_none() && self.beats.next <= now {
            self.send_heartbeat(now, cluster);
        }
    }

    fn send_first_heartbeat(&mut self, now: Instant) {
        if self.id.is_empty() {
            // The client chooses the id (KIP-1082).
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&self.random.next().to_be_bytes());
            bytes[8..].copy_from_slice(&self.random.next().to_be_bytes());
            self.id = TopicId(bytes).to_string();
        }
        let topics = self.topics.iter();
        let topics = topics.map(|topic| topic.as_str().to_owned().into());
        let request = heartbeat::Request {
            group_id: self.options.group.clone().into(),
            member_id: self.id.clone().into(),
            member_epoch: JOINING,
            instance_id: self.options.instance.clone().map(Into::into),
            rebalance_timeout_ms: milliseconds(self.options.max_poll_interval),
            subscribed_topic_names: Some(topics.collect()),
            server_assignor: self.options.remote_assignor.clone().map(Into::into),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        self.report = Report {
            owned: Some(BTreeSet::new()),
            ..Report::default()
        };
        self.phase = Phase::Joining;
        self.beats.sent = Some(now);
        self.send(Purpose::Beat(self.exchange), request, i16::MAX);
    }

    /// Says that the member lives, and what it owns where that changed.
    fn send_heartbeat(&mut self, now: Instant, cluster: &Cluster) {
        self.beats.sent = Some(now);
        self.beats.next = now.plus(self.beats.interval);
        let changed =
            matches!(self.phase, Phase::Stable) && self.report.owned.as_ref() != Some(&self.owned);
        let topic_partitions = changed.then(|| {
            let mut by_id: BTreeMap<[u8; 16], Vec<i32>> = BTreeMap::new();
            for partition in &self.owned {
                if let Some(topic) = cluster.topic(&partition.topic) {
                    let indexes = by_id.entry(topic.id.0).or_default();
                    indexes.push(partition.index.0);
                }
            }
            let rows = by_id.into_iter();
            rows.map(|(topic_id, partitions)| heartbeat::RequestTopicPartitions {
                topic_id,
                partitions,
            })
            .collect()
        });
        if changed {
            self.report.owned = Some(self.owned.clone());
        }
        let request = heartbeat::Request {
            group_id: self.options.group.clone().into(),
            member_id: self.id.clone().into(),
            member_epoch: self.generation,
            instance_id: self.options.instance.clone().map(Into::into),
            topic_partitions,
            ..Default::default()
        };
        self.send(Purpose::Beat(self.exchange), request, i16::MAX);
    }

    pub(super) fn send_last_heartbeat(&mut self) {
        let member_epoch = match self.options.instance {
            Some(_) => LEAVING_FOR_NOW,
            None => LEAVING,
        };
        let request = heartbeat::Request {
            group_id: self.options.group.clone().into(),
            member_id: self.id.clone().into(),
            member_epoch,
            instance_id: self.options.instance.clone().map(Into::into),
            ..Default::default()
        };
        self.send(Purpose::Leave, request, i16::MAX);
    }

    pub(super) fn on_report_answer(
        &mut self,
        now: Instant,
        response: &Response,
        cluster: &Cluster,
    ) -> Option<()> {
        let view = response.view::<heartbeat::ResponseView<'_>>().ok()?;
        let sent = self.beats.sent.take();
        if let Err(code) = check(view.error_code()) {
            self.on_report_refused(now, code, view.error_message());
            return Some(());
        }
        self.failures = 0;
        if !matches!(self.phase, Phase::LettingGo(_)) {
            self.beats.calm = sent.unwrap_or(self.beats.calm);
        }
        self.generation = view.member_epoch();
        if let Some(id) = view.member_id() {
            self.id = id.to_owned();
        }
        let interval = u64::try_from(view.heartbeat_interval_ms()).unwrap_or(0);
        // A broker that tells none, or all too short a one, does not make this member a flood.
        self.beats.interval = Duration::from_millis(interval.max(10));
        self.beats.next = now.plus(self.beats.interval);
        if matches!(self.phase, Phase::Joining) {
            self.phase = Phase::Stable;
        }
        if let Some(assignment) = view.assignment() {
            let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
            for row in assignment.topic_partitions() {
                let indexes = topics.entry(TopicId(row.topic_id())).or_default();
                indexes.extend(row.partitions().iter());
            }
            self.report.pending = Some(topics);
            self.report.ask_at = now;
        }
        if matches!(self.phase, Phase::Stable) {
            self.take_assignment(now, cluster);
        }
        Some(())
    }

    fn on_report_refused(&mut self, now: Instant, code: ErrorCode, message: Option<&str>) {
        let joining = matches!(self.phase, Phase::Joining);
        let not_before = now.plus(self.pause());
        match code {
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                self.fence(now, code);
                if !self.is_over() {
                    self.phase = Phase::Ready { not_before };
                }
            }
            ErrorCode::UnsupportedVersion => {
                let error = BrokerError {
                    code,
                    subject: format!("group {}", self.options.group),
                    message: message.map(str::to_owned),
                };
                self.end(GroupError::Unserved(format!(
                    "{error}; group.protocol=classic works with every broker"
                )));
            }
            code if BrokerError::new(code, "group").is_retriable() => {
                if joining {
                    self.phase = Phase::Ready { not_before };
                }
                self.beats.next = not_before;
                if code != ErrorCode::CoordinatorLoadInProgress {
                    self.lose_coordinator(now);
                }
            }
            code => self.refuse(code, message),
        }
    }

    /// Takes what the coordinator assigned, once all its topics are known.
    fn take_assignment(&mut self, now: Instant, cluster: &Cluster) {
        let Some(pending) = &self.report.pending else {
            return;
        };
        let mut partitions = BTreeSet::new();
        for (id, indexes) in pending {
            let Some(topic) = cluster.topic_by_id(*id) else {
                if self.report.ask_at <= now {
                    self.report.ask_at = now.plus(self.options.fetch.retry_backoff_max);
                    self.push(Action::Refresh(self.topics.clone()));
                }
                return;
            };
            let named = indexes.iter().filter(|&&index| index >= 0);
            let named =
                named.map(|&index| PartitionName::new(topic.name.clone(), PartitionIndex(index)));
            partitions.extend(named);
        }
        self.report.pending = None;
        let before = self.owned.clone();
        self.on_assignment(now, partitions);
        if matches!(self.phase, Phase::Stable) && self.owned != before {
            // The coordinator hears at once that it was taken.
            self.beats.next = now;
        }
    }
}
