//! Which partition of `__consumer_offsets` coordinates a group, and how it is asked.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use klamm_model::{ErrorCode, NodeId, OFFSETS_TOPIC, PartitionIndex, TopicPartition};
use klamm_shard::api::CoordinateError;
use klamm_shard::api::coord::{Command, GroupInstanceId, MemberId, Reply};
use klamm_shard::api::metadata::Image;

use crate::net::Context;

/// Java's `String.hashCode`, of UTF-16 units.
fn java_hash(text: &str) -> i32 {
    let units = text.encode_utf16();
    units.fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The place of a key among that many partitions, as Kafka has it (`Utils.abs`).
fn place_of(key: &str, partitions: usize) -> Option<PartitionIndex> {
    let partitions = i32::try_from(partitions).ok().filter(|&count| count > 0)?;
    let hash = java_hash(key).checked_abs().unwrap_or(0);
    Some(PartitionIndex(hash % partitions))
}

/// The coordinator of a group and the node where it is; `None` as long as there is none.
pub(crate) fn coordinator_of(image: &Image, group: &str) -> Option<(TopicPartition, NodeId)> {
    let topic = image.topic(OFFSETS_TOPIC)?;
    let index = place_of(group, topic.partition_count())?;
    let partition = topic.partition(index)?;
    let topic = topic.id();
    Some((TopicPartition { topic, index }, partition.leader?))
}

/// The partition that coordinates a group, if this node leads it.
///
/// # Errors
/// `NOT_COORDINATOR`, so that the client asks again who is; also where nobody is yet.
pub(crate) fn own_coordinator(
    image: &Image,
    node: NodeId,
    group: &str,
) -> Result<TopicPartition, ErrorCode> {
    match coordinator_of(image, group) {
        Some((partition, leader)) if leader == node => Ok(partition),
        _ => Err(ErrorCode::NotCoordinator),
    }
}

/// What a client is told if the coordinator decides nothing.
pub(crate) const fn code_of(error: CoordinateError) -> ErrorCode {
    match error {
        CoordinateError::NotHere => ErrorCode::NotCoordinator,
        CoordinateError::Loading => ErrorCode::CoordinatorLoadInProgress,
        CoordinateError::NoRoom => ErrorCode::CoordinatorNotAvailable,
        CoordinateError::TooLarge => ErrorCode::UnknownServerError,
    }
}

/// Lets the coordinator of a group decide something.
///
/// # Errors
/// It is not here, or decides nothing now.
pub(crate) async fn ask(
    context: &Context,
    group: &str,
    command: Command,
) -> Result<Reply, ErrorCode> {
    let image = context.shards.image();
    let partition = own_coordinator(&image, context.front.node(), group)?;
    drop(image);
    let outcome = context.shards.coordinate(partition, command).await;
    outcome.map_err(code_of)
}

/// As [`ask`], for what may be answered only when others have done their part. Whoever leaves
/// meanwhile is not waited for; whoever is only hurried, because others need the memory of the
/// request, is told to come again.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn ask_patiently(
    context: &Context,
    group: &str,
    command: Command,
) -> Result<Reply, ErrorCode> {
    let mut asked = pin!(ask(context, group, command));
    let mut pressed = pin!(context.caller.pressed());
    poll_fn(|task| {
        if let Poll::Ready(reply) = asked.as_mut().poll(task) {
            return Poll::Ready(reply);
        }
        let pressed = pressed.as_mut().poll(task);
        pressed.map(|()| Err(ErrorCode::NotCoordinator))
    })
    .await
}

/// The id of a member; an empty one is none.
pub(crate) fn member_of(id: &str) -> Option<MemberId> {
    (!id.is_empty()).then(|| MemberId::new(id))
}

/// The name of a static member, where the request gives one.
pub(crate) fn instance_of(name: Option<&str>) -> Option<GroupInstanceId> {
    name.map(GroupInstanceId::new)
}

/// The id of a member on the wire.
pub(crate) fn member_text(member: Option<&MemberId>) -> String {
    member.map_or_else(String::new, |member| member.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_spread_as_javas_hash_spreads_them() {
        // The values are those of Java's own `hashCode`.
        for (text, hash) in [
            ("", 0),
            ("a", 97),
            ("flights", -771_814_909),
            ("gruppe-\u{fc}-\u{1f680}", -1_164_021_338),
            ("polygenelubricants", i32::MIN),
        ] {
            assert_eq!(java_hash(text), hash, "{text}");
        }
        assert_eq!(place_of("polygenelubricants", 50), Some(PartitionIndex(0)));
        assert_eq!(place_of("flights", 50), Some(PartitionIndex(9)));
        assert_eq!(place_of("flights", 0), None);
    }
}
