//! The accept loop of one listener: lets connections in under the limits and hands each to the
//! core with the fewest.

use std::rc::Rc;
use std::time::Duration;

use klamm_os::exec;
use klamm_os::net::{Listener, ListenerOptions, Socket, SocketOptions};
use klamm_shard::Shards;

use super::front::FrontContext;
use super::meter;
use crate::config::SocketLimits;
use crate::handlers::dynamic_of;
use crate::quotas::ThrottleMs;

/// How long to wait after the kernel refused to accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accept errors between two lines in the log.
const REFUSALS_PER_LINE: u64 = 1000;

/// How a listener is opened under these limits.
#[must_use]
pub fn listener_options(limits: &SocketLimits) -> ListenerOptions {
    ListenerOptions {
        backlog: limits.backlog.max(1),
        accepted: SocketOptions {
            send_buffer_bytes: limits.send_buffer_bytes,
            receive_buffer_bytes: limits.receive_buffer_bytes,
            ..SocketOptions::default()
        },
    }
}

/// Accepts connections of a listener, `number` being its place in the configuration, until
/// [`FrontContext::stop`].
pub async fn accept(listener: Listener, number: usize, shards: Shards, front: Rc<FrontContext>) {
    let listener = Rc::new(listener);
    front.listen(&listener);
    let mut refusals = 0_u64;
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) if front.is_stopping() => return,
            Err(error) => {
                if refusals.is_multiple_of(REFUSALS_PER_LINE) {
                    let listener = front.listener_name(number);
                    tracing::warn!(listener, %error, "cannot accept connections; trying again");
                }
                refusals += 1;
                exec::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Read for each: they may change while the broker runs.
        if let Some(quotas) = shards.client_quotas() {
            let now = meter::now();
            let throttle = front
                .addresses
                .borrow_mut()
                .connect(&quotas, peer.ip(), now);
            if throttle > 0 {
                front.throttled(throttle);
                close_later(&front, socket, throttle);
                continue;
            }
        }
        let image = shards.image();
        let limits = front
            .config
            .sockets
            .connections(dynamic_of(&image, front.node()));
        match front.table.admit(peer, number, &limits) {
            Ok(connection) => shards.hand_out(socket, connection),
            Err(refused) => {
                if refusals.is_multiple_of(REFUSALS_PER_LINE) {
                    let listener = front.listener_name(number);
                    tracing::warn!(listener, %peer, %refused, "connection refused");
                }
                refusals += 1;
                front.count(|counters| counters.connections_refused += 1);
            }
        }
    }
}

/// Ends a connection of an address that begins too many, but only when it may begin the next: a
/// client that is refused at once would try again at once (KIP-612). Beyond so many that wait it is
/// ended now.
fn close_later(front: &Rc<FrontContext>, socket: Socket, throttle: ThrottleMs) {
    const WAITING_MAX: u32 = 1_000;
    let waiting = front.refused_waiting.get();
    if waiting >= WAITING_MAX {
        return;
    }
    front.refused_waiting.set(waiting + 1);
    let front = Rc::clone(front);
    let wait = Duration::from_millis(throttle.unsigned_abs().into());
    let ending = async move {
        exec::sleep(wait).await;
        drop(socket);
        front.refused_waiting.set(front.refused_waiting.get() - 1);
    };
    exec::spawn_local(ending).detach();
}
