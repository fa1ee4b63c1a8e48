//! A member of the consumer protocol (KIP-848): it says what it reads when that has changed, at
//! once, and otherwise that it lives, when the last answer asked for it.

use std::time::{Duration, Instant};

use klamm_wire::{MessageView, consumer_group_heartbeat as heartbeat};

use crate::{
    control::refused,
    member::{Member, Membership, Phase, REBALANCE_TIMEOUT_MS, Request},
    problem::Problem,
};

/// The epoch of one that joins.
const JOINING: i32 = 0;

/// The epoch of one that leaves.
const LEAVING: i32 = -1;

/// Unknown member id, fenced member epoch: it has lost all, and joins anew.
const LOST: [i16; 2] = [25, 110];

impl Member {
    pub(crate) fn next_consumer(&mut self, membership: &Membership) -> Result<Request, Problem> {
        let mut request = heartbeat::Request {
            group_id: self.group.to_string().into(),
            member_id: self.id.clone().into(),
            member_epoch: self.epoch,
            ..Default::default()
        };
        match self.phase {
            Phase::Joining => {
                self.reported = Some(Vec::new());
                request.member_epoch = JOINING;
                request.rebalance_timeout_ms = REBALANCE_TIMEOUT_MS;
                request.subscribed_topic_names = Some(vec![membership.topic.clone().into()]);
                request.server_assignor = membership.remote_assignor.clone().map(Into::into);
                request.topic_partitions = Some(Vec::new());
            }
            Phase::Leaving => request.member_epoch = LEAVING,
            _ if self.reported.as_ref() != Some(&self.owned) => {
                self.reported = Some(self.owned.clone());
                let of_topic = heartbeat::RequestTopicPartitions {
                    topic_id: membership.topic_id,
                    partitions: self.owned.clone(),
                };
                let some = !self.owned.is_empty();
                request.topic_partitions = Some(some.then_some(of_topic).into_iter().collect());
            }
            _ => {}
        }
        membership.request(&request)
    }

    pub(crate) fn answered_consumer(
        &mut self,
        membership: &Membership,
        version: i16,
        body: &[u8],
        now: Instant,
    ) -> Result<(), Problem> {
        let view = heartbeat::ResponseView::parse_prefix(body, version)?.0;
        if self.is_put_off(view.error_code(), now) {
            return Ok(());
        }
        if self.phase == Phase::Leaving {
            self.phase = Phase::Gone;
            return Ok(());
        }
        if LOST.contains(&view.error_code()) {
            self.owned.clear();
            self.settled = false;
            self.join(now);
            return Ok(());
        }
        let words = || view.error_message().unwrap_or_default().to_owned();
        refused("ConsumerGroupHeartbeat", view.error_code(), words)?;
        self.phase = Phase::Stable;
        self.epoch = view.member_epoch();
        if let Some(assignment) = view.assignment() {
            let of_topic = assignment.topic_partitions();
            let of_topic = of_topic
                .iter()
                .filter(|of| of.topic_id() == membership.topic_id);
            let partitions = of_topic.flat_map(|of| of.partitions().iter());
            self.owned = partitions.collect();
            self.owned.sort_unstable();
        }
        self.settled = self.reported.as_ref() == Some(&self.owned);
        let interval = u64::try_from(view.heartbeat_interval_ms()).unwrap_or(0);
        let wait = if self.settled {
            Duration::from_millis(interval)
        } else {
            // Java tells what it took, or let go of, without waiting for the interval.
            Duration::ZERO
        };
        self.due = Some(now + wait);
        Ok(())
    }
}
