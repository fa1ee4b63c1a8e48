//! ListGroups: the groups that this broker coordinates, of all its cores.

use std::borrow::Cow;

use klamm_model::{ErrorCode, OFFSETS_TOPIC, TopicPartition};
use klamm_shard::api::CoordinateError;
use klamm_shard::api::coord::{Command, GroupState, GroupType, List, ListedGroup, Reply};
use klamm_wire::{Gather, list_groups};

use super::check_named;
use super::coordinators::code_of;
use crate::net::{Close, Context, Request};

/// The states of a group of the classic protocol.
const STATES: [GroupState; 5] = [
    GroupState::Empty,
    GroupState::PreparingRebalance,
    GroupState::CompletingRebalance,
    GroupState::Stable,
    GroupState::Dead,
];

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: list_groups::RequestView<'_> = request.body()?;
    let filters = view.states_filter().iter().chain(view.types_filter());
    check_named(&request, filters.map(|_| 1))?;
    let list = List {
        states: known(view.states_filter().iter(), &STATES.map(GroupState::as_str)),
        types: known(view.types_filter().iter(), &[GroupType::Classic.as_str()]),
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
            // A list that lacks groups without a word would be taken for whole.
            Err(CoordinateError::Failed) => code = ErrorCode::CoordinatorNotAvailable,
            Err(error) => code = code_of(error),
        }
    }
    if code != ErrorCode::None {
        // As in Kafka, the error stands alone.
        groups.clear();
    }
    request.answer(&list_groups::Response {
        error_code: code.code(),
        groups: groups.into_iter().map(shown).collect(),
        ..Default::default()
    })
}

/// The words of a filter that may fit something, each once; one that fits nothing where there are
/// none such, since a filter without words lets all pass.
fn known<'w>(asked: impl Iterator<Item = &'w str>, words: &[&str]) -> Vec<String> {
    let mut found = vec![false; words.len()];
    let mut is_filter = false;
    for asked in asked {
        is_filter = true;
        let place = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(asked));
        if let Some(place) = place {
            found[place] = true;
        }
    }
    let known = words.iter().zip(found).filter(|(_, found)| *found);
    let known: Vec<String> = known.map(|(word, _)| (*word).to_owned()).collect();
    match is_filter && known.is_empty() {
        true => vec![String::new()],
        false => known,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_any_length_is_as_long_as_there_are_words_that_fit() {
        let states = STATES.map(GroupState::as_str);
        let of = |asked: &[&str]| known(asked.iter().copied(), &states);
        assert_eq!(of(&[]), Vec::<String>::new(), "all pass");
        assert_eq!(of(&["stable", "x", "EMPTY", "Stable"]), ["Empty", "Stable"]);
        assert_eq!(of(&["x", "y"]), [""], "nothing passes");
    }
}
