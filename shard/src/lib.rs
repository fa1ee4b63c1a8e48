//! One running core: the turn, its drivers, its mesh endpoint, its probes. It carries out what the
//! engine decides and decides nothing itself: no offset arithmetic, no Kafka error code.
//!
//! The front starts a node with [`node::recover`] and [`node::start`], and speaks to it through
//! [`Shards`] in the words of [`api`].
#![forbid(unsafe_code)]

pub mod api;
mod calls;
pub mod data_folders;
mod drivers;
mod lag;
mod letters;
pub mod node;
mod probe;
mod rehearsal;
mod requests;
mod shards;
mod stock;
mod storage;
pub mod takeover;
mod turn;
mod watch;

pub use probe::{Probe, Times, TimesTaken};
pub use rehearsal::Rehearsal;
pub use requests::{Answered, Append, Pending, Read, Returning};
pub use shards::Shards;
pub use stock::{Reusable, Stock};
