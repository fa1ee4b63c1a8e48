//! DeleteGroups: forgets groups without members, with their offsets.

use std::borrow::Cow;
use std::collections::BTreeSet;

use klamm_model::ErrorCode;
use klamm_shard::api::coord::{Command, DeleteGroupError, GroupId, Reply};
use klamm_wire::{Gather, delete_groups};

use super::check_named;
use super::coordinators::ask;
use crate::net::{Close, Context, Request};

/// Answers the request when the groups are gone for good.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: delete_groups::RequestView<'_> = request.body()?;
    check_named(&request, view.groups_names().iter().map(|_| 1))?;
    let mut seen = BTreeSet::new();
    let mut results = Vec::new();
    for name in view.groups_names().iter().filter(|name| seen.insert(*name)) {
        let command = Command::Delete {
            groups: vec![GroupId::new(name)],
        };
        let code = match ask(&context, name, command).await {
            Ok(Reply::Delete(outcomes)) => {
                let outcome = outcomes.into_iter().next();
                outcome.map_or(ErrorCode::None, |(_, outcome)| code_of(outcome))
            }
            Ok(other) => unreachable!("a deletion is answered by {other:?}"),
            Err(code) => code,
        };
        results.push(delete_groups::DeletableGroupResult {
            group_id: Cow::Owned(name.to_owned()),
            error_code: code.code(),
        });
    }
    request.answer(&delete_groups::Response {
        results,
        ..Default::default()
    })
}

const fn code_of(outcome: Result<(), DeleteGroupError>) -> ErrorCode {
    match outcome {
        Ok(()) => ErrorCode::None,
        Err(DeleteGroupError::GroupNotFound) => ErrorCode::GroupIdNotFound,
        Err(DeleteGroupError::NonEmptyGroup) => ErrorCode::NonEmptyGroup,
    }
}
