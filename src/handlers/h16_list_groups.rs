//! ListGroups: the groups that this broker coordinates, of all its cores.

use std::borrow::Cow;
use std::collections::BTreeSet;

use klamm_model::{ErrorCode, OFFSETS_TOPIC, TopicPartition};
use klamm_shard::api::CoordinateError;
use klamm_shard::api::coord::{Command, GroupState, GroupType, List, ListedGroup, Reply};
use klamm_wire::{Gather, list_groups};

use super::check_named;
use super::coordinators::{AnswerRoom, code_of};
use crate::net::{Close, Context, Request};

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: list_groups::RequestView<'_> = request.body()?;
    let filters = view.states_filter().iter().chain(view.types_filter());
    check_named(&request, filters.map(|_| 1))?;
    let list = List {
        states: set_of(view.states_filter(), GroupState::named),
        types: set_of(view.types_filter(), GroupType::named),
        from: None,
    };
    let ask = |partition, list: List| context.shards.coordinate(partition, Command::List(list));
    let asked = own_coordinators(&context).into_iter();
    let asked = asked.map(|partition| (partition, ask(partition, list.clone())));
    let asked: Vec<_> = asked.collect();
    let mut groups = Vec::new();
    let mut room = AnswerRoom::default();
    let mut code = ErrorCode::None;
    for (partition, asked) in asked {
        let mut outcome = asked.await;
        while !room.is_full() {
            let next = match outcome {
                Ok(Reply::List(listed)) => {
                    let shown = listed.groups.into_iter().map(shown);
                    groups.extend(shown.take_while(|group| room.take(bytes_of(group)).is_ok()));
                    listed.next
                }
                Ok(other) => unreachable!("a list is answered by {other:?}"),
                // It has moved away: whoever has it now is asked as well.
                Err(CoordinateError::NotHere) => None,
                Err(error) => {
                    code = code_of_list(error);
                    None
                }
            };
            let Some(from) = next else {
                break;
            };
            let from = Some(from);
            outcome = ask(
                partition,
                List {
                    from,
                    ..list.clone()
                },
            )
            .await;
        }
    }
    if room.is_full() {
        code = ErrorCode::MessageTooLarge;
    }
    if code != ErrorCode::None {
        // As in Kafka, the error stands alone.
        groups.clear();
    }
    request.answer(&list_groups::Response {
        error_code: code.code(),
        groups,
        ..Default::default()
    })
}

/// What a list is answered that cannot name the groups of a coordinator. Without a word it would be
/// taken for whole.
const fn code_of_list(error: CoordinateError) -> ErrorCode {
    match error {
        CoordinateError::Failed => ErrorCode::CoordinatorNotAvailable,
        error => code_of(error),
    }
}

/// What the words of a filter stand for; `None` if it has none. One that stands for nothing fits no
/// group.
fn set_of<T: Ord>(
    words: klamm_wire::Array<'_, &str>,
    named: impl Fn(&str) -> Option<T>,
) -> Option<BTreeSet<T>> {
    (!words.is_empty()).then(|| words.iter().filter_map(named).collect())
}

/// What a group takes of the memory of an answer.
fn bytes_of(group: &list_groups::ListedGroup<'_>) -> usize {
    size_of_val(group) + group.group_id.len() + group.protocol_type.len()
}

/// The partitions whose groups this broker coordinates.
fn own_coordinators(context: &Context) -> Vec<TopicPartition> {
    let image = context.shards.image();
    let Some(topic) = image.topic(OFFSETS_TOPIC) else {
        return Vec::new();
    };
    let node = context.front.node();
    let own = topic.partitions();
    let own = own.filter(|(_, partition)| partition.leader == Some(node));
    own.map(|(index, _)| TopicPartition {
        topic: topic.id(),
        index,
    })
    .collect()
}

fn shown(group: ListedGroup) -> list_groups::ListedGroup<'static> {
    list_groups::ListedGroup {
        group_id: Cow::Owned(group.group.as_str().to_owned()),
        protocol_type: Cow::Owned(group.protocol_type),
        group_state: Cow::Borrowed(group.state.as_str()),
        group_type: Cow::Borrowed(group.group_type.as_str()),
    }
}
