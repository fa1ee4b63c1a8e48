//! Groups change their protocol while they have members: upwards when the first member of the
//! consumer protocol joins, downwards when the last one is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use klamm_model::WallTime;

use super::super::Coordinator;
use super::super::api::{JoinError, JoinRefused, Reply, SyncError};
use super::super::group::{Group, Kept};
use super::super::loaded::{millis, revive};
use super::super::names::{GenerationId, GroupId, MemberId};
use super::super::round::Round;
use super::super::subscription::CONSUMER;
use super::super::timers::{arm, disarm};
use super::super::turn::TimerKey;
use super::Plan;
use super::api::{ConsumerHeartbeat, ConsumerHeartbeatRefused};
use super::classic::{assignment_of, cannot_upgrade};
use super::draft::Draft;
use super::group::{ConsumerGroup, Life};
use super::heartbeat::Asked;
use super::protocol::{Assignment, Subscription};
use crate::kit::{Decision, Moment, Record};
use crate::record::{
    ClassicValue, Dated, EpochValue, GroupValue, MemberValue, Part, Partitions, SaidValue,
    TargetEpochValue, encode_current, encode_target, group_key,
};

/// A group of the classic protocol as one of the consumer protocol: the records that make it so.
struct Upgrade<'a> {
    id: &'a str,
    group: ConsumerGroup,
    records: Vec<Record>,
}

impl Upgrade<'_> {
    fn write(&mut self, part: Part<'_>, value: Bytes) {
        let key = part.key(self.id);
        let replayed = self.group.replay(part, Some(&value));
        assert!(replayed.is_ok(), "what was written can be read");
        let value = Some(value);
        self.records.push(Record { key, value });
    }
}

impl Asked<'_> {
    /// The first member of the consumer protocol joins a group of the classic one.
    pub(super) fn upgrade(
        &self,
        found: &Group,
        heartbeat: &ConsumerHeartbeat,
    ) -> Result<Plan, ConsumerHeartbeatRefused> {
        let id = heartbeat.group.as_str();
        if !self.config.migration.may_upgrade() {
            return Err(cannot_upgrade(id, "online upgrade is disabled"));
        }
        let round = found.round.as_deref();
        let round = round.filter(|_| found.protocol_type() == CONSUMER);
        let Some(round) = round else {
            let why = "the group does not use the consumer embedded protocol";
            return Err(cannot_upgrade(id, why));
        };
        if round.members.len() > self.config.members_max {
            let why = "the group size exceeds the consumer group maximum size";
            return Err(cannot_upgrade(id, why));
        }
        let mut upgrade = Upgrade {
            id,
            group: ConsumerGroup::default(),
            records: vec![Record {
                key: group_key(id),
                value: None,
            }],
        };
        self.convert(round, found.kept.as_ref(), &mut upgrade)?;
        let mut lives = BTreeMap::new();
        for (member, kept) in &upgrade.group.members {
            let session = kept.said.classic.as_ref();
            let session = session.map_or(0, |classic| classic.session_timeout_ms);
            let deadline = self.moment.now.plus(millis(session));
            lives.insert(member.clone(), Life::until(deadline));
        }
        let mut plan = self.heartbeat(&upgrade.group, heartbeat)?;
        upgrade.records.append(&mut plan.records);
        plan.records = upgrade.records;
        if bytes_of(&plan.records) > self.record_bytes_max {
            // Half of a group would be worse than none.
            let why = "its members and their assignments do not fit into one batch";
            return Err(cannot_upgrade(id, why));
        }
        lives.append(&mut plan.lives);
        if let Some((old, _)) = &plan.replaced {
            lives.remove(old);
        }
        plan.lives = lives;
        Ok(plan)
    }

    /// What a member was given, but for topics that are gone. What two were given, the first has.
    fn given(&self, part: Vec<(&str, Vec<i32>)>, generation: i32, held: &mut Dated) -> Partitions {
        let mut partitions = Partitions::new();
        for (name, of) in part {
            let Some(topic) = self.view.and_then(|view| view.by_name(name)) else {
                continue;
            };
            let taken = held.entry(topic.id).or_default();
            let new = |partition: &i32| taken.insert(*partition, generation).is_none();
            let own: Vec<i32> = of.into_iter().filter(new).collect();
            if !own.is_empty() {
                partitions.entry(topic.id).or_default().extend(own);
            }
        }
        partitions.values_mut().for_each(|of| of.sort_unstable());
        partitions
    }

    /// The members of a round, with what they were given last.
    fn convert(
        &self,
        round: &Round,
        kept: Option<&Kept>,
        upgrade: &mut Upgrade<'_>,
    ) -> Result<(), ConsumerHeartbeatRefused> {
        let id = upgrade.id;
        let malformed = || cannot_upgrade(id, "the embedded consumer protocol is malformed");
        let generation = round.generation.0;
        let mut given: BTreeMap<&MemberId, Partitions> = BTreeMap::new();
        let mut held: Dated = Dated::new();
        for (member, profile) in &round.members {
            let protocol = round.protocol.as_deref();
            let data = protocol.and_then(|protocol| profile.metadata(protocol));
            let data = data.or_else(|| profile.subscriptions().next());
            let data = data.ok_or_else(malformed)?;
            let said = Subscription::decode(data).map_err(|_| malformed())?;
            let part = kept.map_or(&[][..], |kept| kept.assignment(member.as_str()));
            let part = Assignment::decode(part).map_err(|_| malformed())?;
            if part.has_user_data {
                let why = "an unsupported custom assignor is in use. Please refer to the \
                           documentation or switch to a default assignor before re-attempting the \
                           upgrade";
                return Err(cannot_upgrade(id, why));
            }
            let partitions = self.given(part.topics, generation, &mut held);
            given.insert(member, partitions);
            let timeout = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
            let protocols = profile.protocols();
            let value = SaidValue {
                instance: profile.instance.as_ref().map(|name| name.as_str()),
                rack: said.rack,
                client_id: &profile.client_id,
                client_host: &profile.client_host,
                topics: said.topics,
                regex: None,
                rebalance_timeout_ms: timeout(profile.rebalance_timeout),
                assignor: None,
                classic: Some(ClassicValue {
                    session_timeout_ms: timeout(profile.session_timeout),
                    protocols: protocols.map(|(name, data)| (&**name, &data[..])).collect(),
                }),
            };
            upgrade.write(Part::Member(member.as_str()), value.encode());
        }
        let epoch = EpochValue {
            epoch: generation,
            // No topics have it: so the next epoch begins with the one who joins, in any case, also
            // where the last round was not complete.
            metadata_hash: 0,
        };
        upgrade.write(Part::Epoch, epoch.encode());
        for (member, partitions) in &given {
            upgrade.write(Part::Target(member.as_str()), encode_target(partitions));
        }
        let epoch = TargetEpochValue {
            epoch: generation,
            at: WallTime(0),
        };
        upgrade.write(Part::TargetEpoch, epoch.encode());
        for (member, partitions) in given {
            let dated = partitions.into_iter().map(|(topic, of)| {
                let of = of.into_iter().map(|partition| (partition, generation));
                (topic, of.collect())
            });
            let has = [&dated.collect(), &Dated::new()];
            let value = encode_current([generation, generation], 0, has);
            upgrade.write(Part::Current(member.as_str()), value);
        }
        Ok(())
    }
}

impl Coordinator {
    /// Calls that were parked in a round that is no more.
    pub(super) fn end_round(&self, round: &mut Round, decision: &mut Decision<Reply, TimerKey>) {
        for (id, member) in &mut round.members {
            if let Some(ticket) = member.join.take() {
                let refused = JoinRefused {
                    member: Some(id.clone()),
                    error: JoinError::Superseded,
                };
                decision.answer(ticket, Reply::Join(Err(refused)));
            }
            if let Some(ticket) = member.sync.take() {
                let error = SyncError::RebalanceInProgress;
                decision.answer(ticket, Reply::Sync(Err(error)));
            }
        }
    }

    /// Only members of the classic protocol are left: the group becomes one of it, and they are to
    /// divide the work themselves.
    pub(super) fn downgrade(
        &mut self,
        moment: Moment,
        id: &GroupId,
    ) -> Option<Decision<Reply, TimerKey>> {
        let asked = self.asked(moment, id);
        let group = self.groups.get(id)?.consumer.as_deref()?;
        let draft = Draft::new(id, group, asked.view);
        if !asked.may_downgrade(&draft) {
            return None;
        }
        let value = kept_of(group, asked.view, moment);
        let kept = Kept::decode(&value).ok()?;
        let key = group_key(id.as_str());
        let mut records = tombstones(id, group);
        records.push(Record {
            key,
            value: Some(value),
        });
        if bytes_of(&records) > self.config.batch_bytes_max {
            // Half of a group would be worse than none: it goes on as it is.
            return None;
        }
        let mut round = Box::new(revive(&kept, moment));
        // The leader of the round does not matter: a new one begins. Members are told to join it, and
        // may keep their offsets before they do, so it goes on from what they know.
        round.generation = last_told(group);
        let bytes = round.bytes;
        let (mut turn, groups) = self.turn(moment);
        turn.decision.records = records;
        if let Some(group) = groups.get_mut(id) {
            if let Some(consumer) = group.consumer.as_mut() {
                consumer.lives.clear();
                consumer.downgrade_at = None;
                consumer.wanted = None;
            }
            turn.begin_round(id, &mut round);
            disarm(&mut turn, id);
            arm(&mut turn, id, &mut round);
            group.round = Some(round);
        }
        let decision = turn.finish();
        self.bytes += bytes;
        Some(decision)
    }
}

/// What records take in a batch, at most.
fn bytes_of(records: &[Record]) -> usize {
    records
        .iter()
        .map(|record| 32 + record.key.len() + record.value.as_ref().map_or(0, Bytes::len))
        .sum()
}

/// The greatest epoch that members of the classic protocol were told.
fn last_told(group: &ConsumerGroup) -> GenerationId {
    let members = group.members.values();
    let classics = members.filter(|member| member.said.classic.is_some());
    GenerationId(classics.map(|member| member.has.epoch).fold(0, i32::max))
}

/// The last round of a group that becomes one of the classic protocol.
fn kept_of(
    group: &ConsumerGroup,
    view: Option<&std::sync::Arc<dyn super::view::TopicsView>>,
    moment: Moment,
) -> Bytes {
    let members = group.members.iter().filter_map(|(id, member)| {
        let classic = member.said.classic.as_ref()?;
        // What it has, not what it shall have: nobody has told it yet to let go of the difference,
        // and who may join by the other protocol meanwhile must not be given that.
        let held = member.has.held();
        Some((id, member, classic, assignment_of(view, classic, &held)))
    });
    let members: Vec<_> = members.collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, _, classic, _) in &members {
        for (name, _) in &classic.protocols {
            *counts.entry(name).or_default() += 1;
        }
    }
    let common = |name: &str| counts.get(name) == Some(&members.len());
    let first = members.first().map(|(_, _, classic, _)| classic);
    let protocol = first.and_then(|classic| {
        let mut names = classic.protocols.iter().map(|(name, _)| &**name);
        names.find(|name| common(name))
    });
    let leader = members.first().map(|(id, ..)| id.as_str());
    let head = GroupValue {
        protocol_type: CONSUMER,
        // Nobody was told this one. After a restart nothing is known of the round that began, and
        // who went on with what it has would never join it: what others had would not be read.
        generation: GenerationId(group.epoch()).next().0,
        protocol,
        leader,
        since: Some(moment.wall),
    };
    head.encode(members.iter().map(|(id, member, classic, assignment)| {
        let said = &member.said;
        let data = classic.protocols.iter();
        let data = data
            .clone()
            .find(|(name, _)| Some(&**name) == protocol)
            .or_else(|| data.clone().next());
        MemberValue {
            member: id.as_str(),
            instance: said.instance.as_ref().map(|name| name.as_str()),
            client_id: &said.client_id,
            client_host: &said.client_host,
            rebalance_timeout_ms: said.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            subscription: data.map_or(&[][..], |(_, data)| data),
            assignment,
        }
    }))
}

/// Takes back everything that the log keeps of a group, member by member: whatever is cut off, no
/// target stays of one that is gone.
fn tombstones(id: &GroupId, group: &ConsumerGroup) -> Vec<Record> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for member in group.members.keys() {
        parts.push(Part::Current(member.as_str()));
        parts.push(Part::Target(member.as_str()));
        parts.push(Part::Member(member.as_str()));
    }
    let others = group.parts().into_iter();
    parts.extend(others.filter(|part| match part {
        Part::Target(member) => !group.members.contains_key(*member),
        _ => true,
    }));
    parts
        .into_iter()
        .map(|part| Record {
            key: part.key(id.as_str()),
            value: None,
        })
        .collect()
}
