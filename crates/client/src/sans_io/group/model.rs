//! A broker of one topic with the coordinator of one classic group, as a model for tests: rounds,
//! sessions, fenced commits, and coordinators that are away for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_model::{ErrorCode, Instant};
use klamm_wire::{
    ApiKey, Message, MessageView, RequestHeader, api_versions, encode_response, fetch,
    find_coordinator, heartbeat, join_group, leave_group, list_offsets, offset_commit,
    offset_fetch, sync_group,
};

use crate::tests::{metadata_response, one_record_batch};

/// Partitions of the topic, which metadata names.
pub(super) const PARTITIONS: usize = 3;

/// Names a connection of a client.
pub(super) type Connection = (usize, u64);

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Parked {
    connection: Connection,
    correlation_id: i32,
    version: i16,
}

#[derive(Debug)]
struct Member {
    protocols: Vec<(String, Bytes)>,
    session: Duration,
    rebalance: Duration,
    expires: Instant,
    join: Option<Parked>,
    sync: Option<Parked>,
    assignment: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Preparing { until: Instant },
    Completing,
    Stable,
}

/// The broker.
pub(super) struct Model {
    pub(super) ends: [i64; PARTITIONS],
    pub(super) committed: [i64; PARTITIONS],
    members: BTreeMap<String, Member>,
    given: BTreeSet<String>,
    state: State,
    generation: i32,
    leader: String,
    protocol: String,
    next_id: u64,
    /// Until then the coordinator is elsewhere.
    away_until: Instant,
    answers: Vec<(Connection, BytesMut)>,
    pub(super) rounds: u64,
    pub(super) commits: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            ends: [0; PARTITIONS],
            committed: [-1; PARTITIONS],
            members: BTreeMap::new(),
            given: BTreeSet::new(),
            state: State::Empty,
            generation: 0,
            leader: String::new(),
            protocol: String::new(),
            next_id: 0,
            away_until: Instant(0),
            answers: Vec::new(),
            rounds: 0,
            commits: 0,
        }
    }

    /// Answers that are to be delivered.
    pub(super) fn take_answers(&mut self) -> Vec<(Connection, BytesMut)> {
        std::mem::take(&mut self.answers)
    }

    fn answer(&mut self, to: Parked, message: &dyn Message) {
        let mut bytes = BytesMut::new();
        encode_response(message, to.version, to.correlation_id, &mut bytes)
            .expect("it has this version");
        self.answers.push((to.connection, bytes));
    }

    /// The coordinator goes away; whoever waits is told.
    pub(super) fn go_away(&mut self, now: Instant, until: Instant) {
        self.away_until = until;
        for (to, key) in self.unpark() {
            self.refuse(to, key, ErrorCode::NotCoordinator);
        }
        // The one that comes counts sessions anew.
        for member in self.members.values_mut() {
            member.expires = until.plus(member.session);
        }
        if !self.members.is_empty() && self.state != State::Stable {
            self.state = State::Preparing {
                until: until.max(now).plus(Duration::from_secs(20)),
            };
        }
    }

    fn unpark(&mut self) -> Vec<(Parked, ApiKey)> {
        let mut parked = Vec::new();
        for member in self.members.values_mut() {
            parked.extend(member.join.take().map(|it| (it, ApiKey::JoinGroup)));
            parked.extend(member.sync.take().map(|it| (it, ApiKey::SyncGroup)));
        }
        parked
    }

    fn refuse(&mut self, to: Parked, key: ApiKey, code: ErrorCode) {
        let error_code = code.code();
        match key {
            ApiKey::JoinGroup => self.answer(
                to,
                &join_group::Response {
                    error_code,
                    protocol_name: Some("".into()),
                    ..Default::default()
                },
            ),
            ApiKey::SyncGroup => self.answer(
                to,
                &sync_group::Response {
                    error_code,
                    ..Default::default()
                },
            ),
            other => panic!("{other} does not wait"),
        }
    }

    /// Ends sessions, and rounds for which somebody waited long enough.
    pub(super) fn on_time(&mut self, now: Instant) {
        if now < self.away_until {
            return;
        }
        let dead = self
            .members
            .iter()
            .filter(|(_, it)| it.join.is_none() && it.sync.is_none() && it.expires < now);
        let dead: Vec<String> = dead.map(|(id, _)| id.clone()).collect();
        for id in dead {
            self.remove(now, &id);
        }
        if let State::Preparing { until } = self.state
            && until <= now
        {
            let late = self.members.iter().filter(|(_, it)| it.join.is_none());
            let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
            for id in late {
                self.members.remove(&id);
            }
            self.complete(now);
        }
    }

    fn remove(&mut self, now: Instant, id: &str) {
        self.members.remove(id);
        match self.state {
            State::Preparing { .. } => self.complete_if_all(now),
            _ => self.prepare(now),
        }
    }

    fn prepare(&mut self, now: Instant) {
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        let syncing: Vec<Parked> = self
            .members
            .values_mut()
            .filter_map(|it| it.sync.take())
            .collect();
        for to in syncing {
            self.refuse(to, ApiKey::SyncGroup, ErrorCode::RebalanceInProgress);
        }
        let longest = self.members.values().map(|it| it.rebalance).max();
        self.state = State::Preparing {
            until: now.plus(longest.unwrap_or_default()),
        };
    }

    fn complete_if_all(&mut self, now: Instant) {
        if self.members.values().all(|it| it.join.is_some()) {
            self.complete(now);
        }
    }

    fn complete(&mut self, now: Instant) {
        self.generation += 1;
        self.rounds += 1;
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        let common = |name: &String| {
            let mut members = self.members.values();
            members.all(|it| it.protocols.iter().any(|(other, _)| other == name))
        };
        let names = self.members[&self.leader]
            .protocols
            .iter()
            .map(|(name, _)| name);
        self.protocol = names
            .into_iter()
            .find(|name| common(name))
            .cloned()
            .expect("one in common");
        self.state = State::Completing;
        let all: Vec<_> = self
            .members
            .iter()
            .map(|(id, it)| {
                let said = it.protocols.iter().find(|(name, _)| *name == self.protocol);
                (id.clone(), said.expect("common").1.clone())
            })
            .collect();
        let (generation_id, leader) = (self.generation, self.leader.clone());
        let protocol = self.protocol.clone();
        let mut joined = Vec::new();
        for (id, member) in &mut self.members {
            member.expires = now.plus(member.session);
            joined.extend(member.join.take().map(|to| (id.clone(), to)));
        }
        for (id, to) in joined {
            let members = all.iter().filter(|_| id == leader);
            let members = members.map(|(id, said)| join_group::JoinGroupResponseMember {
                member_id: id.clone().into(),
                metadata: said.to_vec().into(),
                ..Default::default()
            });
            let response = join_group::Response {
                generation_id,
                protocol_type: Some("consumer".into()),
                protocol_name: Some(protocol.clone().into()),
                leader: leader.clone().into(),
                member_id: id.clone().into(),
                members: members.collect(),
                ..Default::default()
            };
            self.answer(to, &response);
        }
    }

    /// Serves one request; false if its answer comes later.
    pub(super) fn serve(&mut self, now: Instant, connection: Connection, frame: &[u8]) -> bool {
        let (header, body) = RequestHeader::parse(frame).expect("a sound header");
        let (version, correlation_id) = (header.version, header.correlation_id);
        let to = Parked {
            connection,
            correlation_id,
            version,
        };
        let away = now < self.away_until;
        let not_coordinator = ErrorCode::NotCoordinator.code();
        match header.key {
            ApiKey::ApiVersions => self.answer(to, &versions()),
            ApiKey::Metadata => self.answer(to, &metadata_response(1)),
            ApiKey::ListOffsets => {
                let response = self.list_offsets(body, version);
                self.answer(to, &response);
            }
            ApiKey::Fetch => {
                let response = self.fetch(body, version);
                self.answer(to, &response);
            }
            ApiKey::FindCoordinator => self.answer(
                to,
                &find_coordinator::Response {
                    error_code: if away {
                        ErrorCode::CoordinatorNotAvailable.code()
                    } else {
                        0
                    },
                    node_id: 1,
                    host: "localhost".into(),
                    port: 9093,
                    ..Default::default()
                },
            ),
            ApiKey::JoinGroup if away => self.refuse(to, header.key, ErrorCode::NotCoordinator),
            ApiKey::SyncGroup if away => self.refuse(to, header.key, ErrorCode::NotCoordinator),
            ApiKey::JoinGroup => return self.join(now, to, body),
            ApiKey::SyncGroup => return self.sync(now, to, body),
            ApiKey::Heartbeat => {
                let view = heartbeat::RequestView::parse(body, version).expect("sound");
                let code = match away {
                    true => not_coordinator,
                    false => self.beat(now, view.member_id(), view.generation_id()),
                };
                let response = heartbeat::Response {
                    error_code: code,
                    ..Default::default()
                };
                self.answer(to, &response);
            }
            ApiKey::LeaveGroup => {
                let view = leave_group::RequestView::parse(body, version).expect("sound");
                for member in view.members() {
                    if !away && self.members.contains_key(member.member_id()) {
                        self.remove(now, member.member_id());
                    }
                }
                self.answer(to, &leave_group::Response::default());
            }
            ApiKey::OffsetCommit => {
                let view = offset_commit::RequestView::parse(body, version).expect("sound");
                let code = if away {
                    not_coordinator
                } else {
                    self.may_commit(&view)
                };
                let response = self.commit(&view, code);
                self.answer(to, &response);
            }
            ApiKey::OffsetFetch => {
                let view = offset_fetch::RequestView::parse(body, version).expect("sound");
                let response = self.offsets(&view, if away { not_coordinator } else { 0 });
                self.answer(to, &response);
            }
            other => panic!("nobody asks for {other}"),
        }
        true
    }

    fn join(&mut self, now: Instant, to: Parked, body: &[u8]) -> bool {
        let view = join_group::RequestView::parse(body, to.version).expect("sound");
        let mut id = view.member_id().to_owned();
        let known = self.members.contains_key(&id);
        if id.is_empty() {
            self.next_id += 1;
            id = format!("m{}", self.next_id);
            self.given.insert(id.clone());
            let response = join_group::Response {
                error_code: ErrorCode::MemberIdRequired.code(),
                protocol_name: Some("".into()),
                member_id: id.into(),
                ..Default::default()
            };
            self.answer(to, &response);
            return true;
        }
        if !known && !self.given.remove(&id) {
            self.refuse(to, ApiKey::JoinGroup, ErrorCode::UnknownMemberId);
            return true;
        }
        let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let session = ms(view.session_timeout_ms());
        let protocols = view.protocols();
        let member = Member {
            protocols: protocols
                .iter()
                .map(|it| (it.name().to_owned(), Bytes::copy_from_slice(it.metadata())))
                .collect(),
            session,
            rebalance: ms(view.rebalance_timeout_ms()),
            expires: now.plus(session),
            join: Some(to),
            sync: None,
            assignment: Bytes::new(),
        };
        if let Some(before) = self.members.insert(id, member) {
            // One that asked before on a connection that is gone.
            for (to, key) in [
                (before.join, ApiKey::JoinGroup),
                (before.sync, ApiKey::SyncGroup),
            ] {
                if let Some(to) = to {
                    self.refuse(to, key, ErrorCode::RebalanceInProgress);
                }
            }
        }
        if !matches!(self.state, State::Preparing { .. }) {
            self.prepare(now);
        }
        self.complete_if_all(now);
        false
    }

    fn sync(&mut self, now: Instant, to: Parked, body: &[u8]) -> bool {
        let view = sync_group::RequestView::parse(body, to.version).expect("sound");
        let id = view.member_id().to_owned();
        let code = match self.state {
            _ if !self.members.contains_key(&id) => ErrorCode::UnknownMemberId,
            _ if view.generation_id() != self.generation => ErrorCode::IllegalGeneration,
            // As a broker does from version 5 on.
            _ if view.protocol_name() != Some(&self.protocol) => {
                ErrorCode::InconsistentGroupProtocol
            }
            State::Empty => ErrorCode::UnknownMemberId,
            State::Preparing { .. } => ErrorCode::RebalanceInProgress,
            State::Completing | State::Stable => ErrorCode::None,
        };
        if code != ErrorCode::None {
            self.refuse(to, ApiKey::SyncGroup, code);
            return true;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.sync = Some(to);
            member.expires = now.plus(member.session);
        }
        if self.state == State::Completing && id == self.leader {
            for row in view.assignments() {
                if let Some(member) = self.members.get_mut(row.member_id()) {
                    member.assignment = Bytes::copy_from_slice(row.assignment());
                }
            }
            self.state = State::Stable;
        }
        if self.state == State::Stable {
            let mut synced = Vec::new();
            for member in self.members.values_mut() {
                let assignment = member.assignment.clone();
                if let Some(to) = member.sync.take() {
                    member.expires = now.plus(member.session);
                    synced.push((to, assignment));
                }
            }
            for (to, assignment) in synced {
                let response = sync_group::Response {
                    assignment: assignment.to_vec().into(),
                    ..Default::default()
                };
                self.answer(to, &response);
            }
        }
        false
    }

    fn beat(&mut self, now: Instant, id: &str, generation: i32) -> i16 {
        let current = self.generation;
        let Some(member) = self.members.get_mut(id) else {
            return ErrorCode::UnknownMemberId.code();
        };
        if generation != current {
            return ErrorCode::IllegalGeneration.code();
        }
        member.expires = now.plus(member.session);
        match self.state {
            State::Preparing { .. } => ErrorCode::RebalanceInProgress.code(),
            _ => 0,
        }
    }

    fn may_commit(&self, view: &offset_commit::RequestView<'_>) -> i16 {
        let code = match self.state {
            _ if !self.members.contains_key(view.member_id()) => ErrorCode::UnknownMemberId,
            _ if view.generation_id_or_member_epoch() != self.generation => {
                ErrorCode::IllegalGeneration
            }
            State::Completing => ErrorCode::RebalanceInProgress,
            _ => ErrorCode::None,
        };
        code.code()
    }

    fn commit(
        &mut self,
        view: &offset_commit::RequestView<'_>,
        error_code: i16,
    ) -> offset_commit::Response<'static> {
        let mut topics = Vec::new();
        for topic in view.topics() {
            let mut partitions = Vec::new();
            for row in topic.partitions() {
                let kept = &mut self.committed[row.partition_index() as usize];
                if error_code == 0 {
                    assert!(
                        row.committed_offset() >= *kept,
                        "commits of {} went back from {kept} to {}",
                        row.partition_index(),
                        row.committed_offset()
                    );
                    *kept = row.committed_offset();
                    self.commits += 1;
                }
                partitions.push(offset_commit::OffsetCommitResponsePartition {
                    partition_index: row.partition_index(),
                    error_code,
                });
            }
            topics.push(offset_commit::OffsetCommitResponseTopic {
                name: topic.name().to_owned().into(),
                partitions,
                ..Default::default()
            });
        }
        offset_commit::Response {
            topics,
            ..Default::default()
        }
    }

    fn offsets(
        &self,
        view: &offset_fetch::RequestView<'_>,
        error_code: i16,
    ) -> offset_fetch::Response<'static> {
        let topics = view.topics().into_iter().flatten().map(|topic| {
            let rows = topic.partition_indexes();
            let rows =
                rows.iter().map(
                    |partition_index| offset_fetch::OffsetFetchResponsePartition {
                        partition_index,
                        committed_offset: self.committed[partition_index as usize],
                        committed_leader_epoch: -1,
                        metadata: Some("".into()),
                        error_code: 0,
                    },
                );
            offset_fetch::OffsetFetchResponseTopic {
                name: topic.name().to_owned().into(),
                partitions: rows.collect(),
            }
        });
        offset_fetch::Response {
            topics: topics.collect(),
            error_code,
            ..Default::default()
        }
    }

    fn list_offsets(&self, body: &[u8], version: i16) -> list_offsets::Response<'static> {
        let view = list_offsets::RequestView::parse(body, version).expect("sound");
        let topics = view.topics();
        let topics = topics.iter().map(|topic| {
            let rows = topic.partitions();
            let rows = rows.iter().map(|row| {
                let offset = match row.timestamp() {
                    -2 => 0,
                    _ => self.ends[row.partition_index() as usize],
                };
                list_offsets::ListOffsetsPartitionResponse {
                    partition_index: row.partition_index(),
                    offset,
                    ..Default::default()
                }
            });
            list_offsets::ListOffsetsTopicResponse {
                name: topic.name().to_owned().into(),
                partitions: rows.collect(),
            }
        });
        list_offsets::Response {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn fetch(&self, body: &[u8], version: i16) -> fetch::Response<'static> {
        let view = fetch::RequestView::parse(body, version).expect("sound");
        let topics = view.topics();
        let topics = topics.iter().map(|topic| {
            let rows = topic.partitions();
            let rows = rows.iter().map(|row| {
                let end = self.ends[row.partition() as usize];
                let offsets = row.fetch_offset()..end.min(row.fetch_offset() + 5);
                let records: Vec<u8> = offsets.flat_map(one_record_batch).collect();
                fetch::PartitionData {
                    partition_index: row.partition(),
                    high_watermark: end,
                    last_stable_offset: end,
                    records: Some(Bytes::from(records).into()),
                    ..Default::default()
                }
            });
            fetch::FetchableTopicResponse {
                topic: "t".into(),
                topic_id: [7; 16],
                partitions: rows.collect(),
            }
        });
        fetch::Response {
            responses: topics.collect(),
            ..Default::default()
        }
    }
}

fn versions() -> api_versions::Response<'static> {
    let rows = [
        (ApiKey::ApiVersions, 4),
        (ApiKey::Metadata, 12),
        (ApiKey::ListOffsets, 8),
        (ApiKey::Fetch, 17),
        (ApiKey::FindCoordinator, 6),
        (ApiKey::JoinGroup, 9),
        (ApiKey::SyncGroup, 5),
        (ApiKey::Heartbeat, 4),
        (ApiKey::LeaveGroup, 5),
        (ApiKey::OffsetCommit, 9),
        (ApiKey::OffsetFetch, 9),
    ];
    let row = |(key, max_version): (ApiKey, i16)| api_versions::ApiVersion {
        api_key: key.number(),
        min_version: 0,
        max_version,
    };
    api_versions::Response {
        api_keys: rows.map(row).to_vec(),
        ..Default::default()
    }
}
