//! What a member owns, and how it comes and goes: assigned, let go of, lost, left behind.

use std::collections::BTreeSet;

use klamm_model::{ErrorCode, Instant};

use super::consumer::Report;
use super::events::{Action, CommitError, GroupError, GroupEvent, Purpose};
use super::member::{LettingGo, Member, Phase, Place, Search};
use super::options::MembershipProtocol;
use crate::admin;
use crate::error::BrokerError;
use crate::metadata::PartitionName;

impl Member {
    /// The assignment is this now. What is lost is let go of first: the program is told, what it
    /// worked on is committed, and then comes a round or a report.
    pub(super) fn on_assignment(&mut self, now: Instant, assignment: BTreeSet<PartitionName>) {
        let revoked: BTreeSet<_> = self.owned.difference(&assignment).cloned().collect();
        let added: BTreeSet<_> = assignment.difference(&self.owned).cloned().collect();
        self.failures = 0;
        self.phase = Phase::Stable;
        if !revoked.is_empty() {
            self.let_go(revoked);
        }
        if !added.is_empty() {
            self.search.not_before = now;
            self.search.wanted.extend(added.iter().cloned());
            self.owned.extend(added.iter().cloned());
            self.tell(GroupEvent::Assigned(added.into_iter().collect()));
        }
    }

    /// Nothing more of these partitions is handed out.
    pub(super) fn let_go(&mut self, partitions: BTreeSet<PartitionName>) {
        for partition in &partitions {
            self.stop(partition);
        }
        let told = partitions.iter().cloned().collect();
        self.tell(GroupEvent::Revoked(told));
        self.phase = Phase::LettingGo(LettingGo {
            partitions,
            told: false,
            until: None,
        });
    }

    fn stop(&mut self, partition: &PartitionName) {
        self.owned.remove(partition);
        self.search.wanted.remove(partition);
        self.push(Action::Stop(partition.clone()));
    }

    pub(super) fn end_letting_go(&mut self, now: Instant) {
        let Phase::LettingGo(it) = &self.phase else {
            return;
        };
        let Some(until) = it.until else {
            return;
        };
        if !self.commits.is_idle() && now < until {
            return;
        }
        for partition in it.partitions.clone() {
            self.commits.forget(&partition);
            self.handed.retain(|(other, _)| *other != partition);
        }
        match self.options.protocol {
            MembershipProtocol::Classic => {
                self.begin_exchange();
                self.phase = Phase::Ready { not_before: now };
            }
            MembershipProtocol::Consumer => {
                self.phase = Phase::Stable;
                self.report.owned = None;
                self.beats.next = now;
            }
        }
    }

    /// What is owned is others' already.
    pub(super) fn lose(&mut self, reason: &str) {
        let mut lost = std::mem::take(&mut self.owned);
        if let Phase::LettingGo(it) = &self.phase {
            lost.extend(it.partitions.iter().cloned());
        }
        for partition in &lost {
            self.stop(partition);
            self.commits.forget(partition);
        }
        self.handed.clear();
        self.search = Search::default();
        // Who was not told yet of what it lets go of is told that it is lost.
        self.events
            .retain(|event| !matches!(event, GroupEvent::Revoked(_) | GroupEvent::Assigned(_)));
        if !lost.is_empty() {
            self.tell(GroupEvent::Lost {
                partitions: lost.into_iter().collect(),
                reason: reason.to_owned(),
            });
        }
    }

    /// The id and the round are the coordinator's past.
    pub(super) fn forget_membership(&mut self) {
        self.begin_exchange();
        self.generation = -1;
        if self.options.protocol == MembershipProtocol::Classic {
            self.id.clear();
        }
        self.round = None;
        self.beats.sent = None;
        self.report = Report::default();
        self.refuse_commits();
    }

    pub(super) fn refuse_commits(&mut self) {
        let subject = format!("group {}", self.options.group);
        let error = BrokerError::new(ErrorCode::UnknownMemberId, subject);
        self.commits.end_all(&CommitError::Refused(error));
    }

    /// The membership is over for good.
    pub(super) fn end(&mut self, error: GroupError) {
        self.lose("the membership is over");
        self.begin_exchange();
        self.commits.end_all(&CommitError::Ended);
        self.phase = Phase::Closed;
        self.tell(GroupEvent::Ended(error));
    }

    pub(super) fn refuse(&mut self, code: ErrorCode, message: Option<&str>) {
        let error = BrokerError {
            code,
            subject: format!("group {}", self.options.group),
            message: message.map(str::to_owned),
        };
        self.end(GroupError::Refused(error));
    }

    pub(super) fn leave_at_last(&mut self, now: Instant) {
        let Phase::Closing { until, left } = self.phase else {
            return;
        };
        if left || (!self.commits.is_idle() && now < until) {
            return;
        }
        self.commits.end_all(&CommitError::Ended);
        let may_leave = self.may_leave();
        self.phase = Phase::Closing { until, left: true };
        if may_leave {
            self.send_leave("the consumer is closed");
        } else {
            self.phase = Phase::Closed;
        }
    }

    /// A static member of a classic group comes back instead.
    fn may_leave(&self) -> bool {
        let classic = self.options.protocol == MembershipProtocol::Classic;
        let stays = classic && self.options.instance.is_some();
        let known = match classic {
            true => !self.id.is_empty(),
            false => self.generation > 0,
        };
        matches!(self.place, Place::At(_)) && known && !stays
    }

    pub(super) fn send_leave(&mut self, reason: &str) {
        if !self.may_leave() {
            return;
        }
        match self.options.protocol {
            MembershipProtocol::Classic => {
                let members = [admin::LeavingMember::Member(self.id.clone())];
                let request = admin::remove_members(&self.options.group, &members, reason);
                self.send(Purpose::Leave, request, i16::MAX);
            }
            MembershipProtocol::Consumer => self.send_last_heartbeat(),
        }
    }
}
