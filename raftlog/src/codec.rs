//! Bytes of entries, hard state, snapshots and messages: what hosts write to disk and to peers.
//! Big-endian, lengths before contents. Decoding trusts nothing: no length reserves memory before
//! its bytes are there, and whatever does not parse is a [`DecodeError`].

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::config::HardState;
use crate::log::{Entry, Index, LogPosition, Payload, Term};
use crate::membership::{NodeId, VOTERS_MAX, VoterSet};
use crate::message::{AppendOutcome, Message, MessageBody, Snapshot};

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They end too early.
    Short,
    /// They go on after the end.
    Trailing {
        /// How many bytes too many.
        bytes: usize,
    },
    /// A kind that this version does not know.
    Kind {
        /// The number found.
        found: u8,
    },
    /// A number outside its range.
    Range,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => formatter.write_str("the bytes end too early"),
            Self::Trailing { bytes } => write!(formatter, "{bytes} bytes after the end"),
            Self::Kind { found } => write!(formatter, "unknown kind {found}"),
            Self::Range => formatter.write_str("a number is outside its range"),
        }
    }
}

impl std::error::Error for DecodeError {}

type Decoded<T> = Result<T, DecodeError>;

fn whole<T>(mut bytes: Bytes, read: impl FnOnce(&mut Bytes) -> Decoded<T>) -> Decoded<T> {
    let value = read(&mut bytes)?;
    match bytes.len() {
        0 => Ok(value),
        left => Err(DecodeError::Trailing { bytes: left }),
    }
}

fn short<T>(_: T) -> DecodeError {
    DecodeError::Short
}

fn read_index(bytes: &mut Bytes) -> Decoded<Index> {
    let index = Index(bytes.try_get_u64().map_err(short)?);
    if index > Index::MAX {
        return Err(DecodeError::Range);
    }
    Ok(index)
}

fn read_term(bytes: &mut Bytes) -> Decoded<Term> {
    let term = Term(bytes.try_get_u32().map_err(short)?);
    if term > Term::MAX {
        return Err(DecodeError::Range);
    }
    Ok(term)
}

fn read_node(bytes: &mut Bytes) -> Decoded<NodeId> {
    bytes.try_get_i32().map(NodeId).map_err(short)
}

fn read_bool(bytes: &mut Bytes) -> Decoded<bool> {
    match bytes.try_get_u8().map_err(short)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Range),
    }
}

fn read_position(bytes: &mut Bytes) -> Decoded<LogPosition> {
    Ok(LogPosition {
        index: read_index(bytes)?,
        term: read_term(bytes)?,
    })
}

fn put_position(out: &mut BytesMut, position: LogPosition) {
    out.put_u64(position.index.0);
    out.put_u32(position.term.0);
}

fn read_sized(bytes: &mut Bytes) -> Decoded<Bytes> {
    let length = bytes.try_get_u32().map_err(short)? as usize;
    if length > bytes.len() {
        return Err(DecodeError::Short);
    }
    Ok(bytes.split_to(length))
}

fn put_sized(out: &mut BytesMut, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("limits keep values far below 4 GiB");
    out.put_u32(length);
    out.put_slice(bytes);
}

fn read_voters(bytes: &mut Bytes) -> Decoded<VoterSet> {
    let count = usize::from(bytes.try_get_u16().map_err(short)?);
    if count > VOTERS_MAX {
        return Err(DecodeError::Range);
    }
    let mut voters = Vec::new();
    for _ in 0..count {
        let voter = read_node(bytes)?;
        if voters.last().is_some_and(|&before| before >= voter) {
            return Err(DecodeError::Range);
        }
        voters.push(voter);
    }
    Ok(VoterSet::new(voters))
}

fn put_voters(out: &mut BytesMut, voters: &VoterSet) {
    out.put_u16(u16::try_from(voters.len()).expect("at most VOTERS_MAX"));
    for voter in voters.iter() {
        out.put_i32(voter.0);
    }
}

impl HardState {
    /// Writes term and vote in one piece.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        let mut out = BytesMut::with_capacity(9);
        out.put_u32(self.term.0);
        out.put_u8(u8::from(self.vote.is_some()));
        if let Some(vote) = self.vote {
            out.put_i32(vote.0);
        }
        out.freeze()
    }

    /// Reads what [`HardState::to_bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        whole(bytes, |bytes| {
            let term = read_term(bytes)?;
            let vote = match read_bool(bytes)? {
                true => Some(read_node(bytes)?),
                false => None,
            };
            Ok(Self { term, vote })
        })
    }
}

impl Payload {
    /// Writes kind and contents; index and term are kept by whatever surrounds it.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + self.weight());
        match self {
            Self::LeaderChange(node) => {
                out.put_u8(0);
                out.put_i32(node.0);
            }
            Self::Data(bytes) => {
                out.put_u8(1);
                out.put_slice(bytes);
            }
            Self::Voters(voters) => {
                out.put_u8(2);
                put_voters(&mut out, voters);
            }
        }
        out.freeze()
    }

    /// Reads what [`Payload::to_bytes`] wrote; data is a slice of `bytes`, not a copy.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        whole(bytes, |bytes| {
            Ok(match bytes.try_get_u8().map_err(short)? {
                0 => Self::LeaderChange(read_node(bytes)?),
                1 => Self::Data(bytes.split_to(bytes.len())),
                2 => Self::Voters(read_voters(bytes)?),
                found => return Err(DecodeError::Kind { found }),
            })
        })
    }
}

impl Snapshot {
    /// Writes position, voters and data.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.put(&mut out);
        out.freeze()
    }

    /// Reads what [`Snapshot::to_bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        whole(bytes, Self::read)
    }

    fn put(&self, out: &mut BytesMut) {
        put_position(out, self.position);
        put_voters(out, &self.voters);
        put_sized(out, &self.data);
    }

    fn read(bytes: &mut Bytes) -> Decoded<Self> {
        Ok(Self {
            position: read_position(bytes)?,
            voters: read_voters(bytes)?,
            data: read_sized(bytes)?,
        })
    }
}

impl Message {
    /// Writes the message for a peer.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i32(self.from.0);
        out.put_i32(self.to.0);
        out.put_u32(self.term.0);
        match &self.body {
            MessageBody::PreVote { last } => {
                out.put_u8(0);
                put_position(&mut out, *last);
            }
            MessageBody::PreVoteReply { granted } => {
                out.put_u8(1);
                out.put_u8(u8::from(*granted));
            }
            MessageBody::Vote { last, transfer } => {
                out.put_u8(2);
                put_position(&mut out, *last);
                out.put_u8(u8::from(*transfer));
            }
            MessageBody::VoteReply { granted } => {
                out.put_u8(3);
                out.put_u8(u8::from(*granted));
            }
            MessageBody::Append {
                previous,
                entries,
                commit,
            } => {
                out.put_u8(4);
                put_position(&mut out, *previous);
                out.put_u64(commit.0);
                for entry in entries {
                    put_position(&mut out, entry.position());
                    put_sized(&mut out, &entry.payload.to_bytes());
                }
            }
            MessageBody::AppendReply { outcome } => match outcome {
                AppendOutcome::Accepted { matched } => {
                    out.put_u8(5);
                    out.put_u64(matched.0);
                }
                AppendOutcome::Rejected { previous, hint } => {
                    out.put_u8(6);
                    out.put_u64(previous.0);
                    out.put_u64(hint.0);
                }
            },
            MessageBody::Install { snapshot } => {
                out.put_u8(7);
                snapshot.put(&mut out);
            }
            MessageBody::CampaignNow => out.put_u8(8),
        }
        out.freeze()
    }

    /// Reads what [`Message::to_bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        whole(bytes, |bytes| {
            Ok(Self {
                from: read_node(bytes)?,
                to: read_node(bytes)?,
                term: read_term(bytes)?,
                body: read_body(bytes)?,
            })
        })
    }
}

fn read_body(bytes: &mut Bytes) -> Decoded<MessageBody> {
    Ok(match bytes.try_get_u8().map_err(short)? {
        0 => MessageBody::PreVote {
            last: read_position(bytes)?,
        },
        1 => MessageBody::PreVoteReply {
            granted: read_bool(bytes)?,
        },
        2 => MessageBody::Vote {
            last: read_position(bytes)?,
            transfer: read_bool(bytes)?,
        },
        3 => MessageBody::VoteReply {
            granted: read_bool(bytes)?,
        },
        4 => {
            let previous = read_position(bytes)?;
            let commit = read_index(bytes)?;
            let mut entries = Vec::new();
            while bytes.has_remaining() {
                let position = read_position(bytes)?;
                entries.push(Entry {
                    index: position.index,
                    term: position.term,
                    payload: Payload::from_bytes(read_sized(bytes)?)?,
                });
            }
            MessageBody::Append {
                previous,
                entries,
                commit,
            }
        }
        5 => MessageBody::AppendReply {
            outcome: AppendOutcome::Accepted {
                matched: read_index(bytes)?,
            },
        },
        6 => MessageBody::AppendReply {
            outcome: AppendOutcome::Rejected {
                previous: read_index(bytes)?,
                hint: read_index(bytes)?,
            },
        },
        7 => MessageBody::Install {
            snapshot: Snapshot::read(bytes)?,
        },
        8 => MessageBody::CampaignNow,
        found => return Err(DecodeError::Kind { found }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind_of_message() -> Vec<Message> {
        let last = LogPosition {
            index: Index(9),
            term: Term(3),
        };
        let entry = |index, payload| Entry {
            index: Index(index),
            term: Term(3),
            payload,
        };
        let bodies = vec![
            MessageBody::PreVote { last },
            MessageBody::PreVoteReply { granted: true },
            MessageBody::Vote {
                last,
                transfer: true,
            },
            MessageBody::VoteReply { granted: false },
            MessageBody::Append {
                previous: last,
                entries: vec![
                    entry(10, Payload::LeaderChange(NodeId(1))),
                    entry(11, Payload::Data(Bytes::from_static(b"data"))),
                    entry(12, Payload::Voters(VoterSet::new([NodeId(1), NodeId(2)]))),
                ],
                commit: Index(8),
            },
            MessageBody::AppendReply {
                outcome: AppendOutcome::Accepted { matched: Index(9) },
            },
            MessageBody::AppendReply {
                outcome: AppendOutcome::Rejected {
                    previous: Index(9),
                    hint: Index(4),
                },
            },
            MessageBody::Install {
                snapshot: Snapshot {
                    position: last,
                    voters: VoterSet::new([NodeId(7)]),
                    data: Bytes::from_static(b"image"),
                },
            },
            MessageBody::CampaignNow,
        ];
        let message = |body| Message {
            from: NodeId(1),
            to: NodeId(2),
            term: Term(3),
            body,
        };
        bodies.into_iter().map(message).collect()
    }

    #[test]
    fn every_message_survives_its_bytes() {
        for message in every_kind_of_message() {
            assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message));
        }
        for vote in [None, Some(NodeId(4))] {
            let hard = HardState {
                term: Term(7),
                vote,
            };
            assert_eq!(HardState::from_bytes(hard.to_bytes()), Ok(hard));
        }
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_panic() {
        for message in every_kind_of_message() {
            let bytes = message.to_bytes();
            for length in 0..bytes.len() {
                // A cut append may lose whole entries and still parse; nothing else may.
                if let Ok(parsed) = Message::from_bytes(bytes.slice(..length)) {
                    assert!(matches!(parsed.body, MessageBody::Append { .. }));
                }
            }
            for place in 0..bytes.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut damaged = bytes.to_vec();
                    damaged[place] = value;
                    if let Ok(parsed) = Message::from_bytes(damaged.clone().into()) {
                        assert_eq!(parsed.to_bytes(), damaged);
                    }
                }
            }
        }
    }

    #[test]
    fn a_claimed_length_beyond_the_bytes_is_refused() {
        let mut bytes = every_kind_of_message()[7].to_bytes().to_vec();
        let place = bytes.len() - 5 - 4;
        bytes[place..place + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(Message::from_bytes(bytes.into()), Err(DecodeError::Short));
    }
}
