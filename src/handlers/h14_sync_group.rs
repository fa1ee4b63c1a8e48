//! SyncGroup: the leader of a round brings the assignments, members get theirs.

use std::borrow::Cow;

use bytes::Bytes;
use klamm_model::ErrorCode;
use klamm_shard::api::coord::{Command, GenerationId, GroupId, MemberId, Reply, Sync, SyncError};
use klamm_wire::{Gather, sync_group};

use super::check_named;
use super::coordinators::{ask_patiently, instance_of};
use crate::net::{Close, Context, Request};

/// First version that must name the kind of group and the protocol (KIP-559).
const FIRST_WITH_PROTOCOL: i16 = 5;

/// Answers the request when the assignments are kept.
///
/// # Errors
/// The body cannot be read.
pub async fn handle(context: Context, request: Request) -> Result<Gather, Close> {
    let view: sync_group::RequestView<'_> = request.body()?;
    check_named(&request, view.assignments().iter().map(|_| 1))?;
    let names_both = view.protocol_type().is_some() && view.protocol_name().is_some();
    let outcome = if request.version >= FIRST_WITH_PROTOCOL && !names_both {
        Err(ErrorCode::InconsistentGroupProtocol)
    } else {
        let command = Command::Sync(sync_of(&view));
        match ask_patiently(&context, view.group_id(), command).await {
            Ok(Reply::Sync(outcome)) => outcome.map_err(code_of),
            Ok(other) => unreachable!("a sync is answered by {other:?}"),
            Err(code) => Err(code),
        }
    };
    request.answer(&match outcome {
        Ok(synced) => sync_group::Response {
            protocol_type: Some(Cow::Owned(synced.protocol_type)),
            protocol_name: Some(Cow::Owned(synced.protocol)),
            assignment: Cow::Owned(synced.assignment.to_vec()),
            ..Default::default()
        },
        Err(code) => sync_group::Response {
            error_code: code.code(),
            ..Default::default()
        },
    })
}

fn sync_of(view: &sync_group::RequestView<'_>) -> Sync {
    let assignments = view.assignments().iter().map(|assigned| {
        let member = MemberId::new(assigned.member_id());
        (member, Bytes::copy_from_slice(assigned.assignment()))
    });
    Sync {
        group: GroupId::new(view.group_id()),
        member: MemberId::new(view.member_id()),
        instance: instance_of(view.group_instance_id()),
        generation: GenerationId(view.generation_id()),
        protocol_type: view.protocol_type().map(str::to_owned),
        protocol: view.protocol_name().map(str::to_owned),
        assignments: assignments.collect(),
    }
}

const fn code_of(error: SyncError) -> ErrorCode {
    match error {
        SyncError::InvalidGroupId => ErrorCode::InvalidGroupId,
        SyncError::UnknownMember => ErrorCode::UnknownMemberId,
        SyncError::FencedInstance => ErrorCode::FencedInstanceId,
        SyncError::IllegalGeneration => ErrorCode::IllegalGeneration,
        SyncError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        SyncError::RebalanceInProgress | SyncError::Superseded => ErrorCode::RebalanceInProgress,
        SyncError::TooLarge => ErrorCode::UnknownServerError,
    }
}
