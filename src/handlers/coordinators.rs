//! Which partition of `__consumer_offsets` coordinates a group, and how it is asked.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::task::Poll;

use klamm_model::{ErrorCode, NodeId, OFFSETS_TOPIC, TopicPartition, partition_of_group};
use klamm_shard::api::CoordinateError;
use klamm_shard::api::coord::{Command, GroupInstanceId, MemberId, Reply};
use klamm_shard::api::metadata::Image;

use crate::features::GROUP_VERSION;
use crate::net::Context;

/// The coordinator of a group and the node where it is; `None` as long as there is none.
pub(crate) fn coordinator_of(image: &Image, group: &str) -> Option<(TopicPartition, NodeId)> {
    let topic = image.topic(OFFSETS_TOPIC)?;
    let index = partition_of_group(group, topic.partition_count())?;
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
/// waits for several of them together.
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

/// Groups that are asked about together.
pub(crate) const ASKED_TOGETHER: usize = 32;

/// Bytes of an answer about groups at most, as many as a request may have: a small request can name
/// many large groups, or a large one many times.
const ANSWER_BYTES_MAX: usize = 100 << 20;

/// What the groups that are answered already take of an answer. The first one for which there is no
/// room is refused, and all behind it.
#[derive(Debug, Default)]
pub(crate) struct AnswerRoom {
    bytes: usize,
    is_full: bool,
}

impl AnswerRoom {
    /// What groups behind the last one that is answered are told. Clients ask for these again, and
    /// for nothing else.
    pub(crate) const LATER: ErrorCode = ErrorCode::CoordinatorLoadInProgress;

    /// How much more may be answered.
    pub(crate) const fn left(&self) -> usize {
        ANSWER_BYTES_MAX - self.bytes
    }

    /// True if no further group is answered.
    pub(crate) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// One more group takes this much, unless there is no room for it.
    ///
    /// # Errors
    /// What it is told: [`LATER`](Self::LATER), and where it is too large for any answer, what
    /// clients do not try again.
    pub(crate) const fn take(&mut self, bytes: usize) -> Result<(), ErrorCode> {
        if bytes > self.left() {
            return Err(self.refuse());
        }
        self.bytes += bytes;
        Ok(())
    }

    /// A group is not answered because there is no room. Gives what it is told.
    pub(crate) const fn refuse(&mut self) -> ErrorCode {
        let is_first = self.bytes == 0 && !self.is_full;
        self.is_full = true;
        match is_first {
            true => ErrorCode::MessageTooLarge,
            false => Self::LATER,
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

/// An address as Java writes it.
pub(crate) fn host_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => format!("/{}", long_text(address)),
    }
}

fn long_text(address: Ipv6Addr) -> String {
    let segments = address.segments().map(|segment| format!("{segment:x}"));
    segments.join(":")
}

/// True where the file and the cluster's features allow groups of the consumer protocol.
pub(crate) fn are_consumer_groups_served(context: &Context) -> bool {
    let image = context.shards.image();
    let level = image.features().get(GROUP_VERSION);
    level.is_some_and(|level| *level > 0) && context.front.config.groups.consumer.is_enabled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_room_is_refused_with_all_behind_it_so_that_it_comes_first_next_time() {
        let mut room = AnswerRoom::default();
        assert_eq!(room.take(ANSWER_BYTES_MAX - 10), Ok(()));
        assert_eq!(room.take(10), Ok(()), "there is room for that");
        assert!(!room.is_full());
        let later = ErrorCode::CoordinatorLoadInProgress;
        assert_eq!(room.take(1), Err(later));
        assert!(room.is_full());
    }

    #[test]
    fn a_group_that_no_answer_has_room_for_is_told_so_for_good() {
        let mut room = AnswerRoom::default();
        let never = ErrorCode::MessageTooLarge;
        assert_eq!(room.take(ANSWER_BYTES_MAX + 1), Err(never));
        assert!(room.is_full());
        assert_eq!(room.refuse(), AnswerRoom::LATER, "for those behind it");
    }

    #[test]
    fn addresses_are_written_as_java_writes_them() {
        for (address, text) in [
            ("127.0.0.1", "/127.0.0.1"),
            ("::1", "/0:0:0:0:0:0:0:1"),
            ("::ffff:10.0.0.7", "/10.0.0.7"),
            ("fe80::a:bc", "/fe80:0:0:0:0:0:a:bc"),
        ] {
            assert_eq!(host_text(address.parse().expect("an address")), text);
        }
    }
}
