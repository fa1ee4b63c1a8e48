//! A log that has been replayed: what it keeps of groups comes to life again.

use std::time::Duration;

use bytes::Bytes;

use super::api::{GroupState, Protocol, Reply};
use super::group::Kept;
use super::names::{GroupInstanceId, MemberId};
use super::round::{Profile, Round};
use super::timers::arm;
use super::turn::TimerKey;
use super::{Coordinator, consumer};
use crate::kit::{Decision, Moment};

impl Coordinator {
    /// Everything in the log has been replayed: members have a session's time to be heard of, and
    /// commands may come.
    pub fn on_loaded(&mut self, moment: Moment) -> Decision<Reply, TimerKey> {
        self.believed = Some((moment.now, moment.wall));
        let mut bytes = self.bytes;
        let sessions = self.sessions();
        let (mut turn, groups) = self.turn(moment);
        for (id, group) in groups {
            if group.consumer.is_some() {
                let session = sessions(id);
                consumer::on_revived(&mut turn, id, group, session);
                continue;
            }
            let Some(kept) = group.kept.as_ref().filter(|kept| kept.len() > 0) else {
                continue;
            };
            let mut round = Box::new(revive(kept, moment));
            turn.on_revived(id, &mut round);
            arm(&mut turn, id, &mut round);
            bytes += round.bytes;
            group.round = Some(round);
        }
        turn.set_timer(TimerKey::Sweep, turn.config.offsets_check_interval);
        let mut decision = turn.finish();
        self.bytes = bytes;
        self.search_all(moment);
        self.arm_searches(moment, &mut decision);
        decision
    }
}

/// The round of a group as the log keeps it.
pub(super) fn revive(kept: &Kept, moment: Moment) -> Round {
    let mut round = Round::empty(kept.generation, kept.protocol_type.clone());
    let head = kept.head();
    round.state = GroupState::Stable;
    round.protocol = head.protocol.map(Into::into);
    for member in kept.members() {
        let session_timeout = millis(member.session_timeout_ms);
        let protocol = Protocol {
            name: head.protocol.unwrap_or("").to_owned(),
            metadata: Bytes::copy_from_slice(member.subscription),
        };
        let profile = Profile {
            instance: member.instance.map(GroupInstanceId::new),
            client_id: member.client_id.into(),
            client_host: member.client_host.into(),
            session_timeout,
            rebalance_timeout: millis(member.rebalance_timeout_ms),
            protocols: vec![protocol],
        };
        let deadline = moment.now.plus(session_timeout);
        round.add(MemberId::new(member.member), profile, None, deadline);
    }
    round.leader = head.leader.map(MemberId::new);
    round
}

pub(super) fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
