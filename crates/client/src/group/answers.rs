//! What the coordinator answered a member, as far as both protocols share it.

use klamm_model::{ErrorCode, Instant, Offset, Timestamp};
use klamm_wire::{find_coordinator, offset_commit, offset_fetch};

use super::events::{Action, CommitError, GroupError, GroupEvent, Purpose};
use super::member::{Member, Phase, Place};
use super::offsets;
use super::options::{GroupReset, MembershipProtocol};
use crate::admin;
use crate::connection::Response;
use crate::fetcher::StartAt;
use crate::metadata::{Cluster, PartitionName};

impl Member {
    /// An answer came.
    pub(crate) fn on_answer(
        &mut self,
        now: Instant,
        purpose: Purpose,
        response: &Response,
        cluster: &Cluster,
    ) {
        let taken = match purpose {
            Purpose::Find => self.on_found(now, response, cluster),
            Purpose::Leave => {
                self.on_left();
                Some(())
            }
            purpose if !self.is_current(purpose) => Some(()),
            Purpose::Join(_) => self.on_join_answer(now, response),
            Purpose::Sync(_) => self.on_sync_answer(now, response),
            Purpose::Beat(_) => match self.options.protocol {
                MembershipProtocol::Classic => self.on_beat_answer(now, response),
                MembershipProtocol::Consumer => self.on_report_answer(now, response, cluster),
            },
            Purpose::Offsets(_) => self.on_offsets(now, response),
            Purpose::Commit(_) => self.on_committed(now, response),
        };
        if taken.is_none() {
            self.on_lost(now, purpose);
        }
    }

    fn is_current(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Find | Purpose::Leave => true,
            Purpose::Join(exchange)
            | Purpose::Sync(exchange)
            | Purpose::Beat(exchange)
            | Purpose::Offsets(exchange)
            | Purpose::Commit(exchange) => exchange == self.exchange,
        }
    }

    /// An answer will never come, or could not be read.
    pub(crate) fn on_lost(&mut self, now: Instant, purpose: Purpose) {
        if purpose == Purpose::Leave {
            return self.on_left();
        }
        if !self.is_current(purpose) {
            return;
        }
        let in_round = matches!(self.phase, Phase::Joining | Phase::Syncing);
        if in_round
            && matches!(
                purpose,
                Purpose::Join(_) | Purpose::Sync(_) | Purpose::Beat(_)
            )
        {
            let not_before = now.plus(self.pause());
            self.phase = Phase::Ready { not_before };
        }
        self.lose_coordinator(now);
    }

    /// The request cannot be expressed in any version that the broker serves.
    pub(crate) fn on_unserved(&mut self, purpose: Purpose, reason: &str) {
        if purpose == Purpose::Leave {
            return self.on_left();
        }
        let hint = match self.options.protocol {
            MembershipProtocol::Classic => "",
            MembershipProtocol::Consumer => "; group.protocol=classic works with every broker",
        };
        self.end(GroupError::Unserved(format!("{reason}{hint}")));
    }

    fn on_left(&mut self) {
        if self.is_over() {
            self.lose("the consumer is closed");
            self.phase = Phase::Closed;
        }
    }

    fn on_found(&mut self, now: Instant, response: &Response, cluster: &Cluster) -> Option<()> {
        let view = response.view::<find_coordinator::ResponseView<'_>>().ok()?;
        let group = [self.options.group.as_str()];
        let found = admin::found_coordinators(&view, &group, response.version);
        match found.into_iter().next()? {
            Ok((_, node)) => {
                self.place = Place::At(node);
                if cluster.broker(node).is_none() {
                    // Its address comes with any metadata.
                    self.push(Action::Refresh(self.topics.clone()));
                }
            }
            Err(error) if error.is_retriable() => self.lose_coordinator(now),
            Err(error) => self.end(GroupError::Refused(error)),
        }
        Some(())
    }

    fn on_offsets(&mut self, now: Instant, response: &Response) -> Option<()> {
        let view = response.view::<offset_fetch::ResponseView<'_>>().ok()?;
        let mut asked = self.search.asked.take()?;
        let found = match offsets::fetched(&view, &self.options.group) {
            Ok(found) => found,
            Err(error) if offsets::is_of_coordinator(error.code) => {
                self.lose_coordinator(now);
                return Some(());
            }
            Err(error) if error.is_retriable() => {
                self.search.not_before = now.plus(self.pause());
                return Some(());
            }
            Err(error) => {
                self.end(GroupError::Refused(error));
                return Some(());
            }
        };
        for (partition, outcome) in found {
            if !asked.remove(&partition) || !self.search.wanted.contains(&partition) {
                continue;
            }
            match outcome {
                Ok(kept) => self.start(now, &partition, kept.map(|kept| kept.offset)),
                Err(error) if offsets::is_of_coordinator(error.code) => {
                    self.lose_coordinator(now);
                    return Some(());
                }
                Err(_) => self.search.not_before = now.plus(self.options.fetch.retry_backoff),
            }
        }
        if !asked.is_empty() {
            self.search.not_before = now.plus(self.options.fetch.retry_backoff);
        }
        Some(())
    }

    fn start(&mut self, now: Instant, partition: &PartitionName, kept: Option<Offset>) {
        self.search.wanted.remove(partition);
        self.commits.begin(partition, kept);
        let start = kept.map(StartAt::Offset).or_else(|| self.reset(now));
        match start {
            Some(start) => self.push(Action::Start(partition.clone(), start)),
            None => self.tell(GroupEvent::NoOffset(partition.clone())),
        }
    }

    /// Where a partition begins of which nothing is kept.
    pub(crate) fn reset(&self, now: Instant) -> Option<StartAt> {
        match self.options.offset_reset {
            GroupReset::Earliest => Some(StartAt::Earliest),
            GroupReset::Latest => Some(StartAt::Latest),
            GroupReset::Fail => None,
            GroupReset::ByDuration(ago) => {
                let running = i64::try_from(now.since(Instant(0)).as_millis());
                let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                let wall = self.started.0.saturating_add(running.unwrap_or(i64::MAX));
                Some(StartAt::Time(Timestamp(wall.saturating_sub(ago).max(0))))
            }
        }
    }

    fn on_committed(&mut self, now: Instant, response: &Response) -> Option<()> {
        let view = response.view::<offset_commit::ResponseView<'_>>().ok()?;
        let outcomes = offsets::committed(&view);
        let refused = outcomes.into_iter().find_map(|(_, outcome)| outcome.err());
        let Some(error) = refused else {
            self.commits.on_kept();
            return Some(());
        };
        match error.code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                self.lose_coordinator(now);
            }
            ErrorCode::RebalanceInProgress | ErrorCode::StaleMemberEpoch => {
                self.commits
                    .again_at(now.plus(self.options.fetch.retry_backoff));
                self.rejoin(now);
            }
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedMemberEpoch => {
                self.commits.on_refused(CommitError::Refused(error.clone()));
                self.fence(now, error.code);
            }
            ErrorCode::FencedInstanceId => {
                self.commits.on_refused(CommitError::Refused(error.clone()));
                self.end(GroupError::Refused(error));
            }
            _ if error.is_retriable() && error.code != ErrorCode::UnknownTopicOrPartition => {
                let not_before = now.plus(self.pause());
                self.commits.again_at(not_before);
            }
            _ => self.commits.on_refused(CommitError::Refused(error)),
        }
        Some(())
    }

    /// A new round has begun: take part in it.
    pub(super) fn rejoin(&mut self, now: Instant) {
        if !self.is_stable() || self.options.protocol != MembershipProtocol::Classic {
            return;
        }
        if !self.options.is_cooperative() && !self.owned.is_empty() {
            return self.let_go(self.owned.clone());
        }
        self.begin_exchange();
        self.phase = Phase::Ready { not_before: now };
    }

    /// The coordinator does not know the member, or not in this round.
    pub(super) fn fence(&mut self, now: Instant, code: ErrorCode) {
        if self.is_over() {
            return self.on_left();
        }
        self.lose(&format!("the coordinator answered {code}"));
        let id = std::mem::take(&mut self.id);
        self.forget_membership();
        let keeps = code != ErrorCode::UnknownMemberId
            || self.options.protocol == MembershipProtocol::Consumer;
        if keeps {
            self.id = id;
        }
        self.phase = Phase::Ready { not_before: now };
    }
}
