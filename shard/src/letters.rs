//! What cores say to each other: a closed set, owned, batched once per turn.

use klamm_engine::api::{Call, Reply, SharedImage, Ticket};
use klamm_model::ShardId;
use klamm_os::net::Socket;

/// One message from a core to another.
#[derive(Debug)]
pub(crate) enum Letter {
    /// Do this and answer to the ticket.
    Call {
        /// Who waits.
        ticket: Ticket,
        /// For what.
        call: Call,
    },
    /// The answer to a call of the receiving core.
    Reply {
        /// Which call.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
    /// The reader behind this ticket no longer waits.
    CancelWatch(Ticket),
    /// The metadata has a new version.
    Image(SharedImage),
    /// A connection that this core shall serve.
    Connection {
        /// The connection.
        socket: Socket,
        /// Its number, as the front counts them.
        number: usize,
    },
    /// A connection that the receiving core handed out has ended.
    ConnectionOver {
        /// On which core.
        shard: ShardId,
    },
}
