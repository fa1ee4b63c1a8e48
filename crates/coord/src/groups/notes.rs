//! What an operator wants to read about groups: who came, who went and why, which rounds began.

use std::fmt;

use super::moves::Moves;
use super::names::{GenerationId, GroupId, MemberId};
use crate::limits::NOTES_MAX;

/// A client, as it was when it joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its own name.
    pub id: String,
    /// Where it calls from.
    pub host: String,
}

/// Something that happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The group.
    pub group: GroupId,
    /// What happened.
    pub what: Happened,
}

/// What happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A member joined that was none before.
    Joined {
        /// Who.
        member: MemberId,
        /// The client's own name, and where it calls from.
        client: Box<Client>,
        /// What the client said about it (KIP-800).
        reason: Option<String>,
    },
    /// A static member came back, and has a new id.
    Replaced {
        /// The id that is fenced.
        old: MemberId,
        /// The id in its place.
        new: MemberId,
    },
    /// A member left, or was made to.
    Left {
        /// Who.
        member: MemberId,
        /// What the client said about it (KIP-800).
        reason: Option<String>,
    },
    /// A member was not heard of for as long as its session lasts.
    Silent {
        /// Who.
        member: MemberId,
    },
    /// A member did not come again when a round began, or did not ask for its part in it.
    Late {
        /// Who.
        member: MemberId,
    },
    /// A member joined again although no round was under way, and thereby began one.
    Asked {
        /// Who.
        member: MemberId,
        /// What the client said about it (KIP-800).
        reason: Option<String>,
    },
    /// A round began: members have to join anew.
    RoundBegan {
        /// The round before.
        after: GenerationId,
    },
    /// The work of a group of the consumer protocol was divided anew.
    Divided {
        /// For which of the group's epochs.
        epoch: i32,
        /// How many partitions have another owner than before, or one for the first time.
        moved: usize,
    },
    /// A round is complete, and its assignments are kept.
    RoundKept {
        /// The round.
        generation: GenerationId,
        /// How many members it has.
        members: usize,
        /// Who divided the work, if a member did.
        leader: Option<MemberId>,
        /// Which partitions changed hands, as far as it can be read.
        moved: Option<Box<Moves>>,
    },
    /// Nobody is left.
    Emptied {
        /// The round in which that was so.
        generation: GenerationId,
    },
    /// The group was deleted, or nothing was left of it.
    Deleted,
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "group {}: ", self.group)?;
        let reason = |reason: &Option<String>| {
            let said = reason.as_ref();
            said.map_or_else(String::new, |said| format!(", saying {said:?}"))
        };
        match &self.what {
            Happened::Joined {
                member,
                reason: why,
                ..
            } => {
                write!(formatter, "member {member} joined{}", reason(why))
            }
            Happened::Replaced { old, new } => {
                write!(
                    formatter,
                    "static member came back, {new} in the place of {old}"
                )
            }
            Happened::Left {
                member,
                reason: why,
            } => {
                write!(formatter, "member {member} left{}", reason(why))
            }
            Happened::Silent { member } => {
                write!(
                    formatter,
                    "member {member} removed, silent for longer than its session"
                )
            }
            Happened::Late { member } => {
                write!(
                    formatter,
                    "member {member} removed, too late for the rebalance"
                )
            }
            Happened::Asked {
                member,
                reason: why,
            } => {
                write!(
                    formatter,
                    "member {member} asked for a rebalance{}",
                    reason(why)
                )
            }
            Happened::RoundBegan { after } => {
                write!(formatter, "rebalance began after generation {after}")
            }
            Happened::Divided { epoch, moved } => write!(
                formatter,
                "work divided anew for epoch {epoch}, partitions moved {moved}"
            ),
            Happened::RoundKept {
                generation,
                members,
                ..
            } => write!(
                formatter,
                "generation {generation} is stable, members {members}"
            ),
            Happened::Emptied { generation } => {
                write!(formatter, "generation {generation} is empty")
            }
            Happened::Deleted => formatter.write_str("deleted"),
        }
    }
}

/// Notes until the host takes them: the newest are dropped where there are too many.
#[derive(Clone, Debug)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn push(&mut self, group: &GroupId, what: Happened) {
        if self.0.len() < NOTES_MAX {
            let group = group.clone();
            self.0.push(Note { group, what });
        }
    }

    /// What a client said, no longer than Kafka's own clients say it.
    pub(super) fn said(reason: Option<&String>) -> Option<String> {
        reason.map(|reason| clipped(reason))
    }

    /// A client, its names no longer than what is remembered of what it says.
    pub(super) fn client(id: &str, host: &str) -> Box<Client> {
        let (id, host) = (clipped(id), clipped(host));
        Box::new(Client { id, host })
    }

    pub(super) fn take(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.0)
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(255).collect()
}
