//! FindCoordinator: which node coordinates a group. The first question makes `__consumer_offsets`.

use std::borrow::Cow;

use klamm_model::{ErrorCode, OFFSETS_TOPIC};
use klamm_os::exec;
use klamm_shard::api::metadata::{Command, Image, Reply};
use klamm_wire::{Gather, find_coordinator};

use super::coordinators::coordinator_of;
use super::{borrowed, check_named, endpoint_of};
use crate::net::{Close, Context, Request};

/// First version that asks for several keys at once (KIP-699).
const FIRST_OF_SEVERAL: i16 = 4;
/// First version that knows coordinators of share groups (KIP-932).
const FIRST_OF_SHARES: i16 = 6;

/// Keys after which others on the core are served first.
const KEYS_AT_ONCE: usize = 5_000;

/// What a coordinator coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Group,
    Transaction,
    Share,
}

impl Kind {
    const fn of(number: i8) -> Option<Self> {
        match number {
            0 => Some(Self::Group),
            1 => Some(Self::Transaction),
            2 => Some(Self::Share),
            _ => None,
        }
    }
}

/// Answers the request, once the topic of groups is there.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: find_coordinator::RequestView<'_> = request.body()?;
    check_named(&request, view.coordinator_keys().iter().map(|_| 1))?;
    let kind = Kind::of(view.key_type());
    if kind == Some(Kind::Group) && context.shards.image().topic(OFFSETS_TOPIC).is_none() {
        make_offsets_topic(&context).await;
    }
    let image = context.shards.image();
    let find = |key: &str| find(&image, context.listener_name(), request.version, kind, key);
    if request.version < FIRST_OF_SEVERAL {
        let found = find(view.key());
        return request.answer(&find_coordinator::Response {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..Default::default()
        });
    }
    let mut coordinators = Vec::new();
    for (number, key) in view.coordinator_keys().iter().enumerate() {
        if number % KEYS_AT_ONCE == KEYS_AT_ONCE - 1 {
            exec::yield_now().await;
        }
        coordinators.push(find_coordinator::Coordinator {
            key: borrowed(key),
            ..find(key)
        });
    }
    request.answer(&find_coordinator::Response {
        coordinators,
        ..Default::default()
    })
}

/// Makes the topic, as a client's wish for a topic would: with its own shape.
async fn make_offsets_topic(context: &Context) {
    let name = OFFSETS_TOPIC.to_owned();
    let command = Command::AutoCreateTopic { name };
    match context.shards.control(command).await {
        Reply::AutoCreateTopic(Ok(_)) => {}
        Reply::AutoCreateTopic(Err(error)) => {
            // Clients ask ten times a second.
            if !context.front.quiet.borrow_mut().admit("no topic of groups") {
                return;
            }
            tracing::warn!(topic = OFFSETS_TOPIC, %error, "cannot make the topic that keeps groups: no group can be joined; it is tried again with the next request");
        }
        other => unreachable!("AutoCreateTopic is answered by {other:?}"),
    }
}

fn find<'i>(
    image: &'i Image,
    listener: &'i str,
    version: i16,
    kind: Option<Kind>,
    key: &str,
) -> find_coordinator::Coordinator<'i> {
    let code = match kind {
        None => ErrorCode::InvalidRequest,
        Some(Kind::Share) if version < FIRST_OF_SHARES => ErrorCode::InvalidRequest,
        // Final for all clients, and the one whose text says that the broker cannot do it.
        Some(Kind::Transaction | Kind::Share) => ErrorCode::UnsupportedVersion,
        Some(Kind::Group) => {
            let node = coordinator_of(image, key).map(|(_, node)| node);
            match node.and_then(|node| endpoint_of(image, listener, node)) {
                None => ErrorCode::CoordinatorNotAvailable,
                Some(found) => {
                    return find_coordinator::Coordinator {
                        node_id: found.node.0,
                        host: borrowed(found.host),
                        port: i32::from(found.port),
                        error_message: message_of(version, ErrorCode::None),
                        ..Default::default()
                    };
                }
            }
        }
    };
    find_coordinator::Coordinator {
        node_id: -1,
        port: -1,
        error_code: code.code(),
        error_message: message_of(version, code),
        ..Default::default()
    }
}

/// Kafka names success, too, where one key is asked for.
fn message_of(version: i16, code: ErrorCode) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match code {
        ErrorCode::None if version >= FIRST_OF_SEVERAL => "",
        ErrorCode::CoordinatorNotAvailable => "The coordinator is not available.",
        ErrorCode::UnsupportedVersion => "This broker coordinates groups only.",
        code => code.name(),
    }))
}
