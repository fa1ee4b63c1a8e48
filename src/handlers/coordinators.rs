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
        CoordinateError::NotHere | CoordinateError::Failed => ErrorCode::NotCoordinator,
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
    begin(context, group, command).await
}

/// As [`ask`], and the coordinator is asked when this returns: who wants to know of many groups
/// waits for all of them together.
pub(crate) fn begin(
    context: &Context,
    group: &str,
    command: Command,
) -> impl Future<Output = Result<Reply, ErrorCode>> + use<> {
    let image = context.shards.image();
    let partition = own_coordinator(&image, context.front.node(), group);
    let asked = partition.map(|partition| context.shards.coordinate(partition, command));
    async move { asked?.await.map_err(code_of) }
}

/// Bytes of an answer beyond which no further group is answered, as many as a request may have. A
/// small request can name many large groups.
const ANSWER_BYTES_MAX: usize = 100 << 20;

/// Bytes of groups that are awaited together, as far as those before them tell.
const AWAITED_BYTES: usize = 8 << 20;

/// Groups that are awaited together at most, and of which nothing is known yet.
const AWAITED_MAX: usize = 64;
const AWAITED_FIRST: usize = 4;

/// What the groups that are answered already take of an answer.
#[derive(Debug, Default)]
pub(crate) struct AnswerRoom {
    groups: usize,
    bytes: usize,
}

impl AnswerRoom {
    /// What whoever is not answered any more is told.
    pub(crate) const FULL: ErrorCode = ErrorCode::MessageTooLarge;

    /// One more group takes this much.
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.groups += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// True if no further group is answered.
    pub(crate) const fn is_full(&self) -> bool {
        self.bytes >= ANSWER_BYTES_MAX
    }

    /// How many groups are asked about next: none if there is no room.
    pub(crate) fn at_once(&self) -> usize {
        match self.bytes.checked_div(self.groups) {
            _ if self.is_full() => 0,
            None => AWAITED_FIRST,
            Some(mean) => (AWAITED_BYTES / mean.max(1)).clamp(1, AWAITED_MAX),
        }
    }
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
    fn large_groups_are_asked_for_one_by_one_until_the_answer_is_full() {
        let mut room = AnswerRoom::default();
        assert_eq!(room.at_once(), AWAITED_FIRST);
        room.add(300);
        assert_eq!(room.at_once(), AWAITED_MAX);
        let mut large = 0;
        while room.at_once() > 0 {
            room.add(20 << 20);
            assert!(room.at_once() <= 1);
            large += 1;
        }
        assert!(room.is_full());
        assert_eq!(large, 5, "of 20 MiB each");
    }

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
