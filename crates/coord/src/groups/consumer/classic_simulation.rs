//! Modelled consumers of the classic protocol among those of the new one: they let go of everything,
//! join, are given a part, and say that they live. Where they are among themselves, one of them
//! divides the work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use klamm_model::{Instant, TopicId};

use super::super::Ticket;
use super::super::api::{
    Command, Heartbeat, HeartbeatError, Join, JoinError, JoinRefused, Joined, Protocol, Reply,
    Sync, SyncError,
};
use super::super::names::{GenerationId, GroupId, MemberId};
use super::super::scripts::subscription;
use super::protocol::{Assignment, encode_assignment};
use super::testing::TestTopics;

/// For how long it works without an answer: less than its session lasts.
const PATIENCE: Duration = Duration::from_secs(25);

/// What a modelled consumer believes.
#[derive(Clone, Debug)]
pub(super) struct ClassicClient {
    pub(super) group: GroupId,
    pub(super) alive: bool,
    id: Option<MemberId>,
    generation: GenerationId,
    /// What it works on.
    pub(super) owned: BTreeSet<(TopicId, i32)>,
    /// It is a member, and has been given its part.
    pub(super) joined: bool,
    waiting: Option<Ticket>,
    due: Instant,
    heard: Instant,
    /// It leads and has divided the work, or has to ask for its own part.
    to_sync: Option<Vec<(MemberId, Bytes)>>,
}

impl ClassicClient {
    pub(super) fn new(group: &str) -> Self {
        Self {
            group: GroupId::new(group),
            alive: false,
            id: None,
            generation: GenerationId(0),
            owned: BTreeSet::new(),
            joined: false,
            waiting: None,
            due: Instant(0),
            heard: Instant(0),
            to_sync: None,
        }
    }

    pub(super) fn start(&mut self, now: Instant) {
        *self = Self {
            alive: true,
            due: now,
            heard: now,
            ..Self::new(self.group.as_str())
        };
    }

    pub(super) fn kill(&mut self) {
        *self = Self::new(self.group.as_str());
    }

    /// The coordinator is another one: calls are lost.
    pub(super) fn on_crash(&mut self, now: Instant) {
        if self.waiting.take().is_some() {
            self.due = now;
        }
    }

    pub(super) fn next_event(&self) -> Instant {
        let patience = self.heard.plus(PATIENCE);
        match self.waiting {
            Some(_) => patience,
            None => self.due.min(patience),
        }
    }

    /// What it calls next, due or not.
    pub(super) fn act_now(&mut self, now: Instant) -> Option<Command> {
        self.due = now;
        self.act(now)
    }

    /// Who has heard nothing for too long by then stops working, and begins anew.
    pub(super) fn lapse(&mut self, until: Instant) {
        if self.heard.plus(PATIENCE) <= until {
            self.owned.clear();
            self.joined = false;
            self.to_sync = None;
            self.waiting = None;
            self.heard = until;
            self.due = until;
        }
    }

    /// What it calls next, if anything is due.
    pub(super) fn act(&mut self, now: Instant) -> Option<Command> {
        self.lapse(now);
        if self.waiting.is_some() || self.due > now {
            return None;
        }
        self.due = now.plus(Duration::from_secs(3));
        let group = self.group.clone();
        if let (Some(assignments), Some(member)) = (self.to_sync.clone(), self.id.clone()) {
            return Some(Command::Sync(Sync {
                group,
                member,
                instance: None,
                generation: self.generation,
                protocol_type: Some("consumer".to_owned()),
                protocol: Some("range".to_owned()),
                assignments,
            }));
        }
        if let (true, Some(member)) = (self.joined, self.id.clone()) {
            return Some(Command::Heartbeat(Heartbeat {
                group,
                member,
                instance: None,
                generation: self.generation,
            }));
        }
        self.owned.clear();
        Some(Command::Join(Join {
            group,
            member: self.id.clone(),
            instance: None,
            client_id: "classic".to_owned(),
            client_host: "/::1".to_owned(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol {
                name: "range".to_owned(),
                metadata: subscription("ta+tb+tc+u"),
            }],
            session_timeout: Duration::from_secs(30),
            rebalance_timeout: Duration::from_secs(60),
            member_id_required: false,
            may_skip_assignment: false,
            reason: None,
        }))
    }

    pub(super) fn wait(&mut self, ticket: Ticket) {
        self.waiting = Some(ticket);
    }

    /// Takes an answer, if it is one to this client's call.
    pub(super) fn take(
        &mut self,
        ticket: Ticket,
        reply: &Reply,
        now: Instant,
        topics: &TestTopics,
    ) -> bool {
        if self.waiting != Some(ticket) {
            return false;
        }
        self.waiting = None;
        self.heard = now;
        self.due = now;
        match reply {
            Reply::Join(Ok(joined)) => self.on_joined(joined, topics),
            Reply::Join(Err(refused)) => self.on_refused(refused, now),
            Reply::Sync(Ok(synced)) => {
                let given = Assignment::decode(&synced.assignment).expect("of this program");
                let given = given.topics.into_iter().filter_map(|(name, of)| {
                    let (id, _) = *topics.0.get(name)?;
                    Some(of.into_iter().map(move |partition| (id, partition)))
                });
                self.owned = given.flatten().collect();
                self.to_sync = None;
                self.joined = true;
                self.due = now.plus(Duration::from_secs(3));
            }
            Reply::Sync(Err(error)) => {
                self.to_sync = None;
                self.joined = false;
                if *error == SyncError::UnknownMember {
                    self.id = None;
                }
            }
            Reply::Heartbeat(Ok(())) => self.due = now.plus(Duration::from_secs(3)),
            Reply::Heartbeat(Err(error)) => {
                self.joined = false;
                if *error == HeartbeatError::UnknownMember {
                    self.id = None;
                    self.owned.clear();
                }
            }
            other => panic!("it did not ask for {other:?}"),
        }
        true
    }

    fn on_joined(&mut self, joined: &Joined, topics: &TestTopics) {
        self.id = Some(joined.member.clone());
        self.generation = joined.generation;
        let members = &joined.members;
        let mut parts: BTreeMap<MemberId, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
        let mut next = 0;
        for (name, (_, partitions)) in &topics.0 {
            for partition in (0..).take(*partitions as usize) {
                if let Some(member) = members.get(next % members.len().max(1)) {
                    let part = parts.entry(member.member.clone()).or_default();
                    part.entry(name).or_default().push(partition);
                }
                next += 1;
            }
        }
        let parts = parts.into_iter().map(|(member, part)| {
            let part: Vec<(&str, Vec<i32>)> = part.into_iter().collect();
            (member, encode_assignment(0, &part))
        });
        self.to_sync = Some(parts.collect());
    }

    fn on_refused(&mut self, refused: &JoinRefused, now: Instant) {
        self.due = now.plus(Duration::from_secs(1));
        match refused.error {
            JoinError::UnknownMember | JoinError::GroupFull => self.id = None,
            JoinError::Superseded | JoinError::InconsistentProtocol => {}
            other => panic!("the call was sound: {other:?}"),
        }
    }
}
