//! Consumers that are members of groups, of both protocols: they join, commit, say that they live,
//! leave, die without a word and come back.

use std::time::Duration;

use bytes::Bytes;
use klamm_engine::coord::{
    Command, CommitOffsets, CommitPartition, CommitTopic, ConsumerHeartbeat, ConsumerHeartbeatDone,
    ConsumerHeartbeatError, GenerationId, GroupId, Heartbeat, HeartbeatError, HeartbeatPatience,
    Join, JoinError, Leave, Leaving, MemberEpoch, MemberId, Protocol, Reply, Sync, SyncError,
    TopicReference,
};
use klamm_engine::metadata::Image;
use klamm_model::{Offset, PartitionIndex};

use super::{Named, TOPICS};
use crate::check::committed_offsets_stay::{CommittedOffsets, Place};
use crate::random::Random;

/// Names of the groups of a world.
pub const GROUPS: [&str; 3] = ["ground", "crew", "tower"];

/// For how long a member may be silent.
pub const SESSION: Duration = Duration::from_secs(6);

/// For how long others wait for it in a round.
const REBALANCE: Duration = Duration::from_secs(8);

/// Bytes by which consumers of the classic protocol say that they read all topics: version, count,
/// names, no data of theirs.
fn subscription() -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((TOPICS.len() as u32).to_be_bytes());
    for topic in TOPICS {
        bytes.extend((topic.len() as u16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff; 4]);
    bytes.into()
}

/// What they are given: nothing. Which partitions members read does not matter here.
const ASSIGNMENT: [u8; 10] = [0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

/// An offset that is being committed.
pub type Committing = (Place, i64);

/// One consumer.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its group.
    pub group: &'static str,
    /// It speaks the classic protocol.
    is_classic: bool,
    /// Its core in this life.
    pub shard: u16,
    /// How many processes there were.
    process: u32,
    id: Option<MemberId>,
    /// The generation or epoch that it was told.
    epoch: i32,
    is_member: bool,
    /// Members whom it has to give their parts, or only itself; while it has to ask for its part.
    to_sync: Option<Vec<MemberId>>,
    /// The call that it waits for.
    pub asked: Option<u64>,
}

impl Member {
    /// One that has not joined.
    #[must_use]
    pub const fn new(group: &'static str, is_classic: bool) -> Self {
        Self {
            group,
            is_classic,
            shard: 0,
            process: 0,
            id: None,
            epoch: 0,
            is_member: false,
            to_sync: None,
            asked: None,
        }
    }

    /// The node died: whoever waited waits no longer. It is still the member that it was.
    pub const fn on_crash(&mut self) {
        self.asked = None;
    }

    fn forget(&mut self) {
        self.epoch = 0;
        self.is_member = false;
        self.to_sync = None;
        if self.is_classic {
            self.id = None;
        }
    }

    /// What it asks next, with the offset that it commits, if that is it.
    pub fn wish(
        &mut self,
        random: &mut Random,
        name: usize,
        image: &Image,
        offsets: &mut CommittedOffsets,
    ) -> Option<(Command, Option<Committing>)> {
        if random.chance(2) {
            // Its process dies without a word.
            self.asked = None;
            self.id = None;
            self.forget();
            self.process += 1;
        }
        if self.asked.is_some() {
            return None;
        }
        let own = format!("{}-{name}-{}", self.group, self.process);
        if !self.is_classic {
            self.id.get_or_insert_with(|| MemberId::new(&own));
        }
        let command = match (self.is_member, self.to_sync.is_some()) {
            (false, true) => self.sync(),
            (false, false) => self.join(),
            (true, _) => match random.below(20) {
                0 => self.leave(),
                1..10 => {
                    let (place, command) = self.commit(random, image, offsets)?;
                    return Some((command, Some(place)));
                }
                _ => self.heartbeat(),
            },
        };
        Some((command, None))
    }

    fn id(&self) -> MemberId {
        self.id.clone().unwrap_or_else(|| MemberId::new(""))
    }

    fn join(&self) -> Command {
        if !self.is_classic {
            return self.consumer_heartbeat(MemberEpoch::JOIN);
        }
        Command::Join(Join {
            group: GroupId::new(self.group),
            member: self.id.clone(),
            instance: None,
            client_id: "sim".to_owned(),
            client_host: "/::1".to_owned(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol {
                name: "range".to_owned(),
                metadata: subscription(),
            }],
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            member_id_required: true,
            may_skip_assignment: false,
            reason: None,
        })
    }

    fn sync(&self) -> Command {
        let members = self.to_sync.iter().flatten();
        let parts = members.map(|member| (member.clone(), Bytes::from_static(&ASSIGNMENT)));
        Command::Sync(Sync {
            group: GroupId::new(self.group),
            member: self.id(),
            instance: None,
            generation: GenerationId(self.epoch),
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("range".to_owned()),
            assignments: parts.collect(),
        })
    }

    fn heartbeat(&self) -> Command {
        if !self.is_classic {
            return self.consumer_heartbeat(MemberEpoch(self.epoch));
        }
        Command::Heartbeat(Heartbeat {
            group: GroupId::new(self.group),
            member: self.id(),
            instance: None,
            generation: GenerationId(self.epoch),
        })
    }

    fn leave(&mut self) -> Command {
        let (group, member) = (GroupId::new(self.group), self.id());
        let command = if self.is_classic {
            let leaving = Leaving {
                member: Some(member),
                instance: None,
                reason: None,
            };
            let members = vec![leaving];
            Command::Leave(Leave { group, members })
        } else {
            self.consumer_heartbeat(MemberEpoch::LEAVE)
        };
        self.forget();
        command
    }

    fn consumer_heartbeat(&self, epoch: MemberEpoch) -> Command {
        let joins = epoch == MemberEpoch::JOIN;
        let topics = TOPICS.iter().map(|topic| (*topic).to_owned());
        let timeout = i32::try_from(REBALANCE.as_millis()).unwrap_or(i32::MAX);
        Command::ConsumerHeartbeat(ConsumerHeartbeat {
            group: GroupId::new(self.group),
            member: self.id(),
            member_id_required: true,
            epoch,
            instance: None,
            rack: None,
            rebalance_timeout_ms: if joins { timeout } else { -1 },
            client_id: "sim".to_owned(),
            client_host: "/::1".to_owned(),
            topics: joins.then(|| topics.collect()),
            regex: None,
            assignor: None,
            owned: joins.then(Vec::new),
            patience: HeartbeatPatience::Apart,
        })
    }

    fn commit(
        &self,
        random: &mut Random,
        image: &Image,
        offsets: &mut CommittedOffsets,
    ) -> Option<(Committing, Command)> {
        let named = Named {
            topic: TOPICS[random.below(TOPICS.len())],
            index: random.below(3) as i32,
        };
        let found = named.resolve(image)?;
        let place = Place {
            group: self.group,
            topic: found.topic,
            index: named.index,
        };
        let offset = offsets.ask(&place)?;
        let name = image.topic(named.topic)?.name().clone();
        let command = Command::CommitOffsets(CommitOffsets {
            group: GroupId::new(self.group),
            member: Some(self.id()),
            instance: None,
            generation: Some(GenerationId(self.epoch)),
            understands_epochs: true,
            retention: None,
            topics: vec![CommitTopic {
                topic: TopicReference {
                    name,
                    id: found.topic,
                },
                partitions: vec![CommitPartition {
                    partition: PartitionIndex(named.index),
                    offset: Offset(offset),
                    leader_epoch: None,
                    metadata: String::new(),
                }],
            }],
        });
        Some(((place, offset), command))
    }

    /// The coordinator has answered.
    ///
    /// # Errors
    /// What cannot be explained.
    pub fn on_reply(&mut self, reply: Reply) -> Result<(), String> {
        match reply {
            Reply::Join(Ok(joined)) => {
                self.epoch = joined.generation.0;
                let members = joined.members.into_iter();
                self.to_sync = Some(members.map(|member| member.member).collect());
                self.id = Some(joined.member);
            }
            Reply::Join(Err(refused)) => match refused.error {
                JoinError::MemberIdRequired => self.id = refused.member,
                JoinError::UnknownMember => self.id = None,
                JoinError::Superseded | JoinError::InconsistentProtocol => {}
                other => return Err(format!("a join was answered by {other:?}")),
            },
            Reply::Sync(Ok(_)) => {
                self.to_sync = None;
                self.is_member = true;
            }
            Reply::Sync(Err(error)) => {
                self.to_sync = None;
                if error == SyncError::UnknownMember {
                    self.forget();
                }
            }
            Reply::Heartbeat(Err(error)) => {
                self.is_member = false;
                if error == HeartbeatError::UnknownMember {
                    self.forget();
                }
            }
            Reply::ConsumerHeartbeat(Ok(done)) => self.on_told(&done)?,
            Reply::ConsumerHeartbeat(Err(refused)) => match refused.error {
                ConsumerHeartbeatError::FencedMemberEpoch
                | ConsumerHeartbeatError::UnknownMember
                | ConsumerHeartbeatError::GroupNotFound => self.forget(),
                other => return Err(format!("a heartbeat was answered by {other:?}")),
            },
            Reply::Heartbeat(Ok(())) | Reply::Leave(_) | Reply::CommitOffsets(_) => {}
            other => return Err(format!("nobody asked for {other:?}")),
        }
        Ok(())
    }

    fn on_told(&mut self, done: &ConsumerHeartbeatDone) -> Result<(), String> {
        if done.epoch.0 < 0 {
            return Ok(());
        }
        if done.epoch.0 < self.epoch {
            let (epoch, told) = (self.epoch, done.epoch);
            return Err(format!("G3: it was in {epoch}, and is told {told}"));
        }
        self.epoch = done.epoch.0;
        self.is_member = true;
        Ok(())
    }
}
