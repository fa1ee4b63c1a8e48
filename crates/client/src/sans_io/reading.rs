//! What the consuming machines share: what a [`Fetcher`] wants done with connections, and what it
//! is told of their answers.

use klamm_model::{Instant, NodeId};
use klamm_wire::{fetch as fetch_wire, list_offsets};

use super::{Base, Note};
use crate::admin::milliseconds;
use crate::connection::Response;
use crate::fetch;
use crate::fetcher::{Action, Fetcher};
use crate::offsets;

/// Carries out what the fetching machine wants next; false where it wants nothing.
pub(super) fn act(base: &mut Base, machine: &mut Fetcher, now: Instant) -> bool {
    let Some(action) = machine.poll(now, &base.cluster) else {
        return false;
    };
    match action {
        Action::Refresh(topics) => base.ask_metadata(now, topics),
        Action::FindOffsets { node, wanted } => {
            let isolation = machine.options().fetch.isolation;
            let timeout = milliseconds(base.hub.options().request_timeout);
            let request = offsets::request(&wanted, isolation, timeout);
            let note = Note::Offsets(node);
            base.send(now, Some(node), note, (request, i16::MAX));
        }
        Action::Fetch { node, plan } => {
            let shaped = fetch::request(&plan, &machine.options().fetch);
            let message = (shaped.request, shaped.version_max);
            base.send(now, Some(node), Note::Records(node), message);
        }
    }
    true
}

/// Takes an answer.
pub(super) fn take(
    base: &mut Base,
    machine: &mut Fetcher,
    now: Instant,
    note: Note,
    response: &Response,
) {
    match note {
        Note::Metadata(topics) => {
            base.on_metadata_end(&topics);
            // One that cannot be used leaves leaders in doubt: they are asked for again.
            let _ = base.take_metadata(response);
        }
        Note::Records(node) => on_records(base, machine, now, node, response),
        Note::Offsets(node) => match response.view::<list_offsets::ResponseView<'_>>() {
            Ok(view) => machine.on_offsets(now, node, offsets::read(&view), &mut base.cluster),
            Err(_) => machine.on_offsets_lost(now, node),
        },
        Note::Identify | Note::Produce(_) | Note::Group(_) => {
            unreachable!("one that reads asks for what is read")
        }
    }
}

fn on_records(
    base: &mut Base,
    machine: &mut Fetcher,
    now: Instant,
    node: NodeId,
    response: &Response,
) {
    let Ok(view) = response.view::<fetch_wire::ResponseView<'_>>() else {
        return machine.on_lost(now, node);
    };
    let cluster = &mut base.cluster;
    match fetch::read(&view, &response.body, cluster) {
        Ok(answer) => machine.on_answer(now, node, answer, cluster),
        Err(error) => machine.on_refusal(now, node, &error),
    }
}

/// An answer will not come.
pub(super) fn on_lost(base: &mut Base, machine: &mut Fetcher, now: Instant, note: Note) {
    match note {
        Note::Records(node) => machine.on_lost(now, node),
        Note::Offsets(node) => machine.on_offsets_lost(now, node),
        Note::Metadata(topics) => base.on_metadata_end(&topics),
        Note::Identify | Note::Produce(_) | Note::Group(_) => {}
    }
}
