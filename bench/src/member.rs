//! One member of a consumer group as a machine: what it says next and when, what answers mean, and
//! which partitions it reads. It speaks when a Java client would, and does nothing else: it reads
//! no records and commits no offsets, so that what is measured is membership.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use klamm_client::group::assignor::Assignor;
use klamm_wire::{ApiKey, Message, encode_request};

use crate::{
    control::{CLIENT_ID, Control},
    frame::Frame,
    problem::Problem,
    workload::{GroupProtocol, Workload},
};

/// How long a member waits before it asks again a coordinator that is not ready.
pub(crate) const RETRY_DISTANCE: Duration = Duration::from_millis(100);

/// How long members have to let go of partitions, and to join again: Java's default of
/// `max.poll.interval.ms`.
pub(crate) const REBALANCE_TIMEOUT_MS: i32 = 300_000;

/// Coordinator loading, not available, elsewhere.
const COORDINATOR_PENDING: [i16; 3] = [14, 15, 16];

/// What all members of a run share.
#[derive(Debug)]
pub struct Membership {
    /// By which protocol they are members.
    pub protocol: GroupProtocol,
    /// The topic that all read.
    pub topic: String,
    /// Its id.
    pub topic_id: [u8; 16],
    /// Its partitions.
    pub partitions: i32,
    /// How leaders of the classic protocol divide the work.
    pub assignor: Assignor,
    /// How the broker shall divide it.
    pub remote_assignor: Option<String>,
    /// `session.timeout.ms` of the classic protocol.
    pub session_timeout_ms: i32,
    /// `heartbeat.interval.ms` of the classic protocol.
    pub heartbeat_interval: Duration,
    versions: Vec<(ApiKey, i16)>,
}

impl Membership {
    /// What a workload says of members.
    ///
    /// # Errors
    /// The broker does not know what members ask for.
    pub fn new(
        workload: &Workload,
        control: &Control,
        topic: String,
        topic_id: [u8; 16],
    ) -> Result<Self, Problem> {
        let keys: &[ApiKey] = match workload.group_protocol {
            GroupProtocol::Consumer => &[ApiKey::ConsumerGroupHeartbeat],
            GroupProtocol::Classic => &[
                ApiKey::JoinGroup,
                ApiKey::SyncGroup,
                ApiKey::Heartbeat,
                ApiKey::LeaveGroup,
            ],
        };
        let versions = keys.iter().map(|&key| Ok((key, control.version(key)?)));
        let named = workload.assignor.as_deref();
        Ok(Self {
            protocol: workload.group_protocol,
            topic,
            topic_id,
            partitions: workload.partitions,
            assignor: named.and_then(Assignor::named).unwrap_or(Assignor::Range),
            remote_assignor: workload.assignor.clone(),
            session_timeout_ms: workload.session_timeout_ms,
            heartbeat_interval: Duration::from_millis(workload.heartbeat_interval_ms),
            versions: versions.collect::<Result<_, Problem>>()?,
        })
    }

    /// The version in which members speak.
    #[must_use]
    pub fn version(&self, key: ApiKey) -> i16 {
        let mut versions = self.versions.iter();
        let found = versions.find(|(of, _)| *of == key);
        found.map_or(0, |(_, version)| *version)
    }

    /// A request as it goes into a socket.
    pub(crate) fn request(&self, message: &dyn Message) -> Result<Request, Problem> {
        let key = message.schema().key;
        let version = self.version(key);
        let mut frame = BytesMut::new();
        encode_request(message, version, 0, Some(CLIENT_ID), &mut frame)?;
        Ok(Request {
            key,
            version,
            frame: Frame::whole(frame.to_vec()),
        })
    }
}

/// What a member sends.
#[derive(Debug)]
pub struct Request {
    /// What it asks for.
    pub key: ApiKey,
    /// In which version.
    pub version: i16,
    /// The bytes.
    pub frame: Frame,
}

/// Where a member stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// It joins, or joins again.
    Joining,
    /// It asks for its part; a leader brings all parts.
    Syncing(Vec<(String, Vec<u8>)>),
    /// It says that it lives, and what it took.
    Stable,
    /// It says that it leaves.
    Leaving,
    /// It says nothing any more.
    Gone,
}

/// One member.
#[derive(Debug)]
pub struct Member {
    pub(crate) group: Rc<str>,
    pub(crate) id: String,
    /// Its epoch, or its generation.
    pub(crate) epoch: i32,
    pub(crate) phase: Phase,
    /// When it speaks next; none while an answer is awaited.
    pub(crate) due: Option<Instant>,
    /// What it reads, in order.
    pub(crate) owned: Vec<i32>,
    /// What it last said that it reads.
    pub(crate) reported: Option<Vec<i32>>,
    /// It has what it was given, and the coordinator has heard so.
    pub(crate) settled: bool,
    /// It leaves once the answer is there that it awaits.
    leaves_next: bool,
}

impl Member {
    /// One that has not joined. Members of the consumer protocol make their ids themselves
    /// (KIP-1082): `bits` are its.
    #[must_use]
    pub fn new(group: &Rc<str>, protocol: GroupProtocol, bits: [u64; 2]) -> Self {
        let id = match protocol {
            GroupProtocol::Classic => String::new(),
            GroupProtocol::Consumer => format!("{:016x}{:016x}", bits[0], bits[1]),
        };
        Self {
            group: Rc::clone(group),
            id,
            epoch: 0,
            phase: Phase::Joining,
            due: None,
            owned: Vec::new(),
            reported: None,
            settled: false,
            leaves_next: false,
        }
    }

    /// When it speaks next.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What it reads, in order.
    #[must_use]
    pub fn owned(&self) -> &[i32] {
        &self.owned
    }

    /// Whether it waits for nothing.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    /// True once it says nothing any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// It joins now.
    pub fn join(&mut self, now: Instant) {
        self.phase = Phase::Joining;
        self.due = Some(now);
    }

    /// It leaves at the next opportunity, which is now unless an answer is under way. What it read,
    /// it reads no longer.
    pub fn leave(&mut self, now: Instant) -> Vec<i32> {
        if self.due.is_none() {
            self.leaves_next = true;
        } else {
            self.phase = Phase::Leaving;
            self.due = Some(now);
        }
        std::mem::take(&mut self.owned)
    }

    /// It says nothing any more.
    pub fn fall_silent(&mut self) -> Vec<i32> {
        self.phase = Phase::Gone;
        self.due = None;
        std::mem::take(&mut self.owned)
    }

    /// What it says now.
    ///
    /// # Errors
    /// Never, unless a name does not fit the protocol.
    pub fn next(&mut self, membership: &Membership) -> Result<Request, Problem> {
        self.due = None;
        match membership.protocol {
            GroupProtocol::Classic => self.next_classic(membership),
            GroupProtocol::Consumer => self.next_consumer(membership),
        }
    }

    /// Takes the answer to what it said last.
    ///
    /// # Errors
    /// The broker refused what it does not refuse to members, or broke the protocol.
    pub fn answered(
        &mut self,
        membership: &Membership,
        request: (ApiKey, i16),
        body: &[u8],
        now: Instant,
    ) -> Result<(), Problem> {
        if self.phase == Phase::Gone {
            return Ok(());
        }
        if std::mem::take(&mut self.leaves_next) {
            self.phase = Phase::Leaving;
            self.due = Some(now);
            return Ok(());
        }
        match membership.protocol {
            GroupProtocol::Classic => self.answered_classic(membership, request, body, now),
            GroupProtocol::Consumer => self.answered_consumer(membership, request.1, body, now),
        }
    }

    /// What an error code means to any member: true where it asks again soon.
    pub(crate) fn is_put_off(&mut self, error_code: i16, now: Instant) -> bool {
        let pending = COORDINATOR_PENDING.contains(&error_code);
        if pending {
            self.due = Some(now + RETRY_DISTANCE);
        }
        pending
    }
}
