//! Groups: a consumer's membership as a machine ([`GroupOptions`], [`GroupEvent`]; the whole
//! consumer is [`SansIoGroupConsumer`](crate::sans_io::SansIoGroupConsumer) and what drives it),
//! what members of the classic protocol tell each other, and the offsets that groups keep.

mod answers;
pub mod assignor;
mod classic;
mod commits;
mod consumer;
mod events;
pub(crate) mod member;
pub mod offsets;
mod options;
mod owned;
pub mod protocol;

pub(crate) use events::{Action, Purpose};
pub use events::{CommitError, CommitId, GroupError, GroupEvent};
pub use offsets::CommittedOffset;
pub use options::{GroupOptions, GroupReset, MembershipProtocol};
