//! ListGroups: the groups that this broker coordinates, of all its cores.

use std::borrow::Cow;

use klamm_model::{ErrorCode, OFFSETS_TOPIC, TopicPartition};
use klamm_shard::api::CoordinateError;
use klamm_shard::api::coord::{Command, List, ListedGroup, Reply};
use klamm_wire::{Gather, list_groups};

use super::check_named;
use super::coordinators::code_of;
use crate::net::{Close, Context, Request};

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: list_groups::RequestView<'_> = request.body()?;
    let filters = view.states_filter().iter().chain(view.types_filter());
    check_named(&request, filters.map(|_| 1))?;
    let words = |words: klamm_wire::Array<'_, &str>| words.iter().map(str::to_owned).collect();
    let list = List {
        states: words(view.states_filter()),
        types: words(view.types_filter()),
    };
    let mut groups: Vec<ListedGroup> = Vec::new();
    let mut code = ErrorCode::None;
    let asked = own_coordinators(&context).into_iter();
    let asked: Vec<_> = asked
        .map(|partition| {
            let command = Command::List(list.clone());
            context.shards.coordinate(partition, command)
        })
        .collect();
    for asked in asked {
        match asked.await {
            Ok(Reply::List(listed)) => groups.extend(listed),
            Ok(other) => unreachable!("a list is answered by {other:?}"),
            // It has moved away: whoever has it now is asked as well.
            Err(CoordinateError::NotHere) => {}
            Err(error) => code = code_of(error),
        }
    }
    request.answer(&list_groups::Response {
        error_code: code.code(),
        groups: groups.into_iter().map(shown).collect(),
        ..Default::default()
    })
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
