//! Raft for the metadata quorum, as a log machine on values: terms, votes, log positions,
//! membership and snapshots go in and come out as plain data. It has no thread, no clock, no file
//! and no socket, and it knows nothing of what the payloads mean.
//!
//! The machine follows Ongaro's dissertation: elections with a pre-vote, log replication with
//! pipelining, commit only through an entry of the own term, voters changed one at a time, a leader
//! that resigns when it loses contact with the majority, and leadership transfer.
//!
//! # The host's duties
//!
//! 1. **Recover first.** Read hard state, newest snapshot and the log after it, hand them to
//!    [`Raft::new`] as [`Recovered`]. Replay the snapshot into the state machine; replay no entry
//!    before the machine says that it is committed.
//! 2. **After every input call [`Raft::ready`]** until [`Ready::is_empty`], and carry out what it
//!    holds in the order of its fields:
//!    1. [`Ready::hard_state`]: write it atomically and durably, then call
//!       [`Raft::on_vote_flushed`] with the same value.
//!    2. [`Ready::snapshot`]: replace the whole log and the state machine by it; when it is
//!       durable, call [`Raft::on_snapshot_flushed`] with its index.
//!    3. [`Ready::truncate_after`]: cut every entry with a larger index.
//!    4. [`Ready::append`]: append the entries in order; when they *and everything before them*
//!       are durable, call [`Raft::on_flushed`] with the last index and the append's generation.
//!    5. [`Ready::messages`]: send them. Losing, repeating, delaying or reordering is allowed.
//!    6. [`Ready::committed`]: replay these entries (read them with [`Raft::entry`]) into the state
//!       machine, in order, once.
//!    7. [`Ready::role`]: take note. Decide and propose only as [`Role::Leader`].
//! 3. **Writes are not waited for.** The next `ready` may be taken before earlier writes are
//!    durable; completions come back as `on_*`. The machine itself holds back every message and
//!    every vote that a write must precede, so the host cannot send one too early.
//! 4. **Writes stay in order.** The log's file ends up as if the fields of successive `ready`s were
//!    carried out one after the other. A failed write is fatal to the node: stop it, start again
//!    from what is on disk. Never report a failed write as flushed.
//! 5. **Tick.** Call [`Raft::tick`] with monotonic time several times per heartbeat interval, and
//!    before stepping messages that waited for long.
//! 6. **Compact.** When the state machine has written a durable snapshot at an index it has
//!    replayed, call [`Raft::compact`] with it; the entries below are dropped, and slow followers
//!    are sent the snapshot.
//! 7. **Refusals are values.** [`ProposeError`] goes back to the caller; [`StepError`] means a peer
//!    sent nonsense: count it, drop the connection, change nothing.
//!
//! A quorum of one campaigns by itself inside [`Raft::new`]: it leads once its vote is durable, and
//! commits on its own flush.
//!
//! ```
//! use bytes::Bytes;
//! use klamm_raftlog::{Config, Instant, NodeId, Raft, Recovered, Role, VoterSet};
//!
//! let me = NodeId(1);
//! let recovered = Recovered::empty(VoterSet::new([me]));
//! let mut raft = Raft::new(Config::new(me, 7), recovered, Instant(0))?;
//!
//! let vote = raft.ready().hard_state.expect("a quorum of one campaigns at once");
//! raft.on_vote_flushed(vote);
//! let append = raft.ready().append.expect("the new leader marks its term");
//! raft.on_flushed(append.last(), append.generation);
//! assert_eq!(raft.ready().role.expect("changed").role, Role::Leader);
//!
//! let index = raft.propose(vec![Bytes::from_static(b"hello")])?.last;
//! let append = raft.ready().append.expect("the proposal");
//! assert!(raft.commit_index() < index, "nothing commits before it is flushed");
//! raft.on_flushed(append.last(), append.generation);
//! assert_eq!(raft.ready().committed.expect("now").last, index);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod codec;
mod config;
mod election;
mod errors;
mod log;
mod membership;
mod message;
mod progress;
mod raft;
mod ready;
mod replication;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod simulation;

pub use codec::DecodeError;
pub use config::{Config, HardState, Instant, Recovered, Role};
pub use errors::{ProposeError, RecoverError, StepError};
pub use log::{Entry, Index, LogPosition, Payload, Term};
pub use membership::{ChangeError, NodeId, VoterChange, VoterSet};
pub use message::{AppendOutcome, Message, MessageBody, Snapshot};
pub use raft::Raft;
pub use ready::{Append, Generation, IndexRange, Ready, RoleChange};
