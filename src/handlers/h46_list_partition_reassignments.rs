//! ListPartitionReassignments (KIP-455). Replicas are not moved between brokers yet, so nothing is
//! ever under way; of partitions that are not being moved Kafka says nothing either.

use klamm_wire::{Gather, list_partition_reassignments};

use crate::net::{Close, Request};

/// Answers the request.
///
/// # Errors
/// The body cannot be read.
pub fn handle(request: &Request) -> Result<Gather, Close> {
    let _: list_partition_reassignments::RequestView<'_> = request.body()?;
    request.answer(&list_partition_reassignments::Response {
        error_message: None,
        ..Default::default()
    })
}
